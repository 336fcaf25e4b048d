//! The command lines and configuration files of Kubernetes' own programs, etcd, the container runtime and the servers.
//!
//! What is not explained here is a default of its program. Paths below `/run`, `/var/lib` and `/var/log` are private to
//! the cluster (see [`crate::namespaces`]).

use std::path::Path;

use serde_json::{Value, json};

use crate::error::Result;
use crate::images::PAUSE_IMAGE;
use crate::layout::{Layout, write};
use crate::network::{
    API_PORT, DNS_ADDRESS, NODE_ADDRESS, NODE_API_PORT, NODE_NAME, POD_CIDR, POLICY_QUEUE, REGISTRY_HOST,
    REGISTRY_PORT, SERVICE_CIDR,
};
use crate::pki::{Authority, write_kubeconfig};
use crate::programs::{ETCD, KUBERNETES, NETPOL, Programs, REGISTRY};

/// The container runtime's socket, inside.
pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
/// etcd's option for clusters that may lose their data when the machine fails.
pub const ETCD_NO_FSYNC: &str = "--unsafe-no-fsync";

/// A program of the cluster: its name in `status`, `logs` and the fault levers, and how to start it.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name.
    pub name: &'static str,
    /// Program and arguments.
    pub arguments: Vec<String>,
}

impl Component {
    fn new(name: &'static str, program: impl AsRef<Path>) -> Component {
        Component { name, arguments: vec![program.as_ref().display().to_string()] }
    }

    fn arg(mut self, argument: impl Into<String>) -> Component {
        self.arguments.push(argument.into());
        self
    }

    /// `--name=path` for each file of the cluster's certificates.
    fn pki(self, layout: &Layout, options: &[(&str, &str)]) -> Component {
        options
            .iter()
            .fold(self, |component, (option, file)| component.arg(format!("--{option}={}", layout.pki(file).display())))
    }
}

/// etcd. It listens on the loopback of the cluster's own network, where only its components are.
pub fn etcd(layout: &Layout, programs: &Programs, fsync: bool) -> Result<Component> {
    let component = Component::new("etcd", programs.path(ETCD, "server")?)
        .arg(format!("--data-dir={}", layout.path("etcd").display()))
        .arg("--listen-client-urls=http://127.0.0.1:2379")
        .arg("--advertise-client-urls=http://127.0.0.1:2379")
        .arg("--listen-peer-urls=http://127.0.0.1:2380")
        .arg("--log-level=warn");
    Ok(if fsync { component } else { component.arg(ETCD_NO_FSYNC) })
}

/// The API server, with the audit log in `logs/audit.log`.
pub fn api_server(layout: &Layout, programs: &Programs) -> Result<Component> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [
            // Leases are renewed every two seconds by each component and say nothing about anybody's rights.
            {"level": "None", "verbs": ["get", "update"], "resources": [{"group": "coordination.k8s.io"}], "userGroups": ["system:nodes"]},
            {"level": "Metadata"},
        ],
    });
    write(&layout.path("audit-policy.json"), policy.to_string())?;
    write(&layout.path("webhook-clients.json"), webhook_clients(layout).to_string())?;
    write(&layout.path("admission.json"), admission(&layout.path("webhook-clients.json")).to_string())?;
    Ok(Component::new("kube-apiserver", programs.path(KUBERNETES, "kube-apiserver")?)
        .arg("--etcd-servers=http://127.0.0.1:2379")
        .arg(format!("--secure-port={API_PORT}"))
        // Pods reach the `kubernetes` Service at this address.
        .arg(format!("--advertise-address={NODE_ADDRESS}"))
        .arg(format!("--service-cluster-ip-range={SERVICE_CIDR}"))
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        .arg(format!("--admission-control-config-file={}", layout.path("admission.json").display()))
        .arg("--allow-privileged=true")
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        .arg("--kubelet-preferred-address-types=InternalIP")
        .arg("--requestheader-allowed-names=front-proxy-client")
        .arg("--requestheader-username-headers=X-Remote-User")
        .arg("--requestheader-group-headers=X-Remote-Group")
        .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
        .arg(format!("--audit-policy-file={}", layout.path("audit-policy.json").display()))
        .arg(format!("--audit-log-path={}", layout.path("logs/audit.log").display()))
        // Without it an orderly stop waits a minute for watches to end by themselves.
        .arg("--shutdown-watch-termination-grace-period=1s")
        .arg("--profiling=false")
        .pki(
            layout,
            &[
                ("client-ca-file", "ca.crt"),
                ("tls-cert-file", "apiserver.crt"),
                ("tls-private-key-file", "apiserver.key"),
                ("service-account-key-file", "service-accounts.pub"),
                ("service-account-signing-key-file", "service-accounts.key"),
                ("kubelet-client-certificate", "apiserver-kubelet.crt"),
                ("kubelet-client-key", "apiserver-kubelet.key"),
                ("kubelet-certificate-authority", "ca.crt"),
                ("requestheader-client-ca-file", "front-proxy-ca.crt"),
                ("proxy-client-cert-file", "front-proxy-client.crt"),
                ("proxy-client-key-file", "front-proxy-client.key"),
            ],
        ))
}

/// Has the API server present a certificate to webhooks that ask for one; others do not see it.
fn admission(kubeconfig: &Path) -> Value {
    let clients = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig,
    });
    let plugins = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"]
        .map(|name| json!({"name": name, "configuration": clients}));
    json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins})
}

/// A kubeconfig whose users are named by the webhooks that they are presented to: here every one.
fn webhook_clients(layout: &Layout) -> Value {
    let user = json!({
        "client-certificate": layout.pki("apiserver-webhooks.crt"), "client-key": layout.pki("apiserver-webhooks.key"),
    });
    json!({"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]})
}

/// The controller manager.
pub fn controller_manager(layout: &Layout, programs: &Programs, authority: &Authority) -> Result<Component> {
    let kubeconfig =
        component_kubeconfig(layout, authority, "controller-manager", API_PORT, "system:kube-controller-manager", &[])?;
    Ok(Component::new("kube-controller-manager", programs.path(KUBERNETES, "kube-controller-manager")?)
        .arg(format!("--kubeconfig={kubeconfig}"))
        .arg("--use-service-account-credentials=true")
        .arg("--leader-elect=false")
        .arg("--bind-address=127.0.0.1")
        .arg("--profiling=false")
        .pki(
            layout,
            &[
                ("root-ca-file", "ca.crt"),
                ("service-account-private-key-file", "service-accounts.key"),
                ("cluster-signing-cert-file", "ca.crt"),
                ("cluster-signing-key-file", "ca.key"),
            ],
        ))
}

/// The scheduler.
pub fn scheduler(layout: &Layout, programs: &Programs, authority: &Authority) -> Result<Component> {
    let kubeconfig = component_kubeconfig(layout, authority, "scheduler", API_PORT, "system:kube-scheduler", &[])?;
    Ok(Component::new("kube-scheduler", programs.path(KUBERNETES, "kube-scheduler")?)
        .arg(format!("--kubeconfig={kubeconfig}"))
        .arg("--leader-elect=false")
        .arg("--bind-address=127.0.0.1")
        .arg("--profiling=false"))
}

/// The container runtime.
pub fn containerd(layout: &Layout) -> Result<Component> {
    let cni = layout.path("cni");
    // Pods hang on routed links (`ptp`), not on a bridge: what one pod sends to another crosses the FORWARD hooks, where
    // NetworkPolicies are enforced, without any setting of the kernel's bridge code.
    let network = json!({
        "cniVersion": "0.4.0", "name": "pods",
        "plugins": [{
            "type": "ptp", "mtu": 1500,
            "ipam": {"type": "host-local", "dataDir": "/var/lib/cni/networks", "ranges": [[{"subnet": POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }],
    });
    write(&cni.join("10-pods.conflist"), network.to_string())?;
    let config = format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE no process may lower its score, and runc gives up.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".registry.mirrors."{REGISTRY_HOST}:{REGISTRY_PORT}"]
    endpoint = ["http://{REGISTRY_HOST}:{REGISTRY_PORT}"]
"#,
        root = layout.path("containerd").display(),
        cni = cni.display(),
    );
    let path = layout.path("containerd.toml");
    write(&path, config)?;
    Ok(Component::new("containerd", "/usr/bin/containerd")
        .arg("--config")
        .arg(path.display().to_string())
        .arg("--log-level")
        .arg("warn"))
}

/// The kubelet.
pub fn kubelet(layout: &Layout, programs: &Programs, authority: &Authority) -> Result<Component> {
    let kubeconfig = component_kubeconfig(
        layout,
        authority,
        "kubelet",
        NODE_API_PORT,
        &format!("system:node:{NODE_NAME}"),
        &["system:nodes"],
    )?;
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": layout.pki("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki("kubelet-server.crt"), "tlsPrivateKeyFile": layout.pki("kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "cgroupDriver": "cgroupfs", "cgroupRoot": layout.cgroup(), "failCgroupV1": false,
        "failSwapOn": false, "localStorageCapacityIsolation": false,
        "clusterDNS": [DNS_ADDRESS], "clusterDomain": "cluster.local", "resolvConf": layout.path("etc/resolv.conf"),
        "podLogsDir": layout.path("pods"), "maxPods": 250,
        // A full disk of the machine is the developer's matter; the node must not throw out pods because of it.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        // Images are loaded under one name and may be pulled under another; the kubelet would then ask the first name's
        // registry, which does not exist, whether it may use what it has.
        "imagePullCredentialsVerificationPolicy": "NeverVerify",
        "serializeImagePulls": false, "registryPullQPS": 0, "eventRecordQPS": 0,
        "healthzBindAddress": "127.0.0.1",
        // Secrets and ConfigMaps reach pods by watch; the sync period only bounds what a watch misses.
        "syncFrequency": "10s", "nodeStatusUpdateFrequency": "4s",
    });
    let path = layout.path("kubelet.json");
    write(&path, config.to_string())?;
    Ok(Component::new("kubelet", programs.path(KUBERNETES, "kubelet")?)
        .arg(format!("--config={}", path.display()))
        .arg(format!("--kubeconfig={kubeconfig}"))
        .arg(format!("--root-dir={}", layout.path("kubelet").display()))
        .arg(format!("--cert-dir={}", layout.path("kubelet/pki").display()))
        .arg(format!("--hostname-override={NODE_NAME}"))
        .arg(format!("--node-ip={NODE_ADDRESS}")))
}

/// kube-proxy.
pub fn proxy(layout: &Layout, programs: &Programs, authority: &Authority) -> Result<Component> {
    let kubeconfig = component_kubeconfig(layout, authority, "kube-proxy", NODE_API_PORT, "system:kube-proxy", &[])?;
    let config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "mode": "iptables", "clusterCIDR": POD_CIDR, "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": kubeconfig},
        // The table's size belongs to the whole machine; it stays as it is.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249",
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    });
    let path = layout.path("kube-proxy.json");
    write(&path, config.to_string())?;
    Ok(Component::new("kube-proxy", programs.path(KUBERNETES, "kube-proxy")?)
        .arg(format!("--config={}", path.display())))
}

/// What enforces NetworkPolicies.
pub fn policy_enforcer(layout: &Layout, programs: &Programs, authority: &Authority) -> Result<Component> {
    let kubeconfig = component_kubeconfig(layout, authority, "netpol", NODE_API_PORT, "sluicegate-e2e:netpol", &[])?;
    Ok(Component::new("netpol", programs.path(NETPOL, "netpol")?)
        .arg(format!("--kubeconfig={kubeconfig}"))
        .arg(format!("--node={NODE_NAME}"))
        .arg(format!("--queue={POLICY_QUEUE}"))
        .arg(format!("--pod-cidr={POD_CIDR}")))
}

/// The OCI registry.
pub fn registry(layout: &Layout, programs: &Programs) -> Result<Component> {
    let config = json!({
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": true}},
        "storage": {"filesystem": {"rootdirectory": layout.path("registry")}, "delete": {"enabled": true}},
        "http": {"addr": format!("{NODE_ADDRESS}:{REGISTRY_PORT}")},
    });
    let path = layout.path("registry.json");
    write(&path, config.to_string())?;
    Ok(Component::new("registry", programs.path(REGISTRY, "registry")?).arg("serve").arg(path.display().to_string()))
}

/// The SSH server for `ssh://git@git.sluicegate.test/…`.
pub fn ssh(layout: &Layout) -> Result<Component> {
    let folder = layout.path("ssh");
    let config = format!(
        "ListenAddress {NODE_ADDRESS}\nHostKey {folder}/host_ed25519\nAuthorizedKeysFile {folder}/authorized_keys\nPidFile none\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPermitRootLogin prohibit-password\nAllowUsers git\n\
         AllowTcpForwarding no\nX11Forwarding no\nStrictModes no\nPrintMotd no\nUseDNS no\nMaxStartups 100\n",
        folder = folder.display(),
    );
    let path = layout.path("sshd_config");
    write(&path, config)?;
    Ok(Component::new("sshd", "/usr/sbin/sshd").arg("-D").arg("-e").arg("-f").arg(path.display().to_string()))
}

/// The web server for Git over HTTP and for charts.
pub fn web(layout: &Layout, helper: &[String]) -> Component {
    helper_component("web", helper, "web")
        .arg("--run")
        .arg(layout.run().display().to_string())
        .arg("--address")
        .arg(NODE_ADDRESS)
}

/// A relay to an address inside; without `listen` it serves the socket on its standard input.
pub fn relay(layout: &Layout, helper: &[String], name: &'static str, listen: Option<String>, to: String) -> Component {
    let component = helper_component(name, helper, "relay")
        .arg("--to")
        .arg(to)
        .arg("--control")
        .arg(relay_control(layout, name).display().to_string());
    match listen {
        Some(address) => component.arg("--listen").arg(address),
        None => component,
    }
}

/// The file that a relay obeys.
pub fn relay_control(layout: &Layout, name: &str) -> std::path::PathBuf {
    layout.path("relays").join(format!("{name}.json"))
}

fn helper_component(name: &'static str, helper: &[String], role: &str) -> Component {
    let mut arguments = helper.to_vec();
    arguments.push(role.to_owned());
    Component { name, arguments }
}

fn component_kubeconfig(
    layout: &Layout,
    authority: &Authority,
    name: &str,
    port: u16,
    user: &str,
    groups: &[&str],
) -> Result<String> {
    let path = layout.path("kubeconfigs").join(name);
    write_kubeconfig(authority, &path, &format!("https://{NODE_ADDRESS}:{port}"), user, groups)?;
    Ok(path.display().to_string())
}
