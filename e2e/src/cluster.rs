//! Starting, finding and ending a cluster.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::addons;
use crate::api::Api;
use crate::cgroups;
use crate::components::{self, CONTAINERD_SOCKET, Component};
use crate::error::{Context, Error, Result};
use crate::images::{self, Image};
use crate::interrupt::{self, wait_for};
use crate::layout::{Layout, Lock, need_space, write};
use crate::namespaces;
use crate::network::{
    API_PORT, API_SERVICE_ADDRESS, CHARTS_HOST, EXAMPLE_GIT_HOST, GIT_HOST, NODE_ADDRESS, NODE_API_PORT, NODE_NAME,
    POD_CIDR, POLICY_QUEUE, REGISTRY_HOST, REGISTRY_PORT,
};
use crate::packages;
use crate::pki::{self, Authority};
use crate::process::ProcessId;
use crate::programs::{self, Programs, last_lines};

/// A cluster with a node takes about this much of the disk.
const NODE_SPACE: u64 = 3 << 30;
/// A control plane alone.
const CONTROL_PLANE_SPACE: u64 = 256 << 20;
/// What a component may take to become ready. It takes seconds, more beside a build that uses every core; one that ends
/// is noticed at once.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// What kind of cluster is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Its name; another one runs beside it.
    pub name: String,
    /// Only etcd, API server and controller manager, with Flux's kinds and the servers of the harness: no pods.
    pub control_plane_only: bool,
    /// etcd writes through to the disk. Slow; needed where the machine itself is made to fail.
    pub fsync: bool,
    /// The API server's port on the host's loopback; absent: a free one.
    pub port: Option<u16>,
}

/// What is written down about a running cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) options: Options,
    pub(crate) init: ProcessId,
    /// Program and first arguments of the helpers, as run inside.
    pub(crate) helper: Vec<String>,
    pub(crate) ports: Ports,
    /// Whether everything came up.
    pub(crate) complete: bool,
}

/// Ports on the host's loopback that lead into the cluster.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// The API server (HTTPS).
    pub api: u16,
    /// The Git server (HTTP).
    pub git: u16,
    /// The registry (HTTP).
    pub registry: u16,
}

/// A running component as written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) arguments: Vec<String>,
    pub(crate) process: ProcessId,
}

/// A cluster that runs.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) layout: Layout,
    pub(crate) record: Record,
}

/// How the helper binary is called, as in `["/path/xtask", "cluster", "helper"]`.
#[derive(Clone, Debug)]
pub struct HelperCommand(Vec<String>);

impl HelperCommand {
    /// This very program, which must offer [`crate::cli::ClusterArgs`] as its subcommand `cluster`.
    ///
    /// # Errors
    /// Where the system does not tell the program's path.
    pub fn this_program() -> Result<HelperCommand> {
        let path = std::env::current_exe().doing("finding", "this program")?;
        Ok(HelperCommand(vec![path.display().to_string(), "cluster".into(), "helper".into()]))
    }
}

/// What a start gives: the cluster, and with a lifeline the process that holds it.
#[derive(Debug)]
pub struct Started {
    /// The cluster.
    pub cluster: Cluster,
    /// Whether it had been running before.
    pub was_running: bool,
    /// With a lifeline: the cluster ends when this is dropped, or when this process ends.
    pub lifeline: Option<Child>,
}

impl Cluster {
    /// Finds a running cluster.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn open(name: &str) -> Result<Cluster> {
        let layout = Layout::new(name)?;
        let not_running = || Error::NotRunning { name: name.to_owned() };
        let content = fs::read(layout.record()).map_err(|_| not_running())?;
        let record: Record = serde_json::from_slice(&content).map_err(|_| not_running())?;
        if !record.init.is_alive() || !record.complete {
            return Err(not_running());
        }
        Ok(Cluster { layout, record })
    }

    /// Starts a cluster and waits until it can be used. What is missing is installed and built first. After an error or
    /// Ctrl-C nothing of it is left.
    ///
    /// # Errors
    /// Everything in [`Error`]; the text says what to do.
    pub fn up(options: &Options, helper: &HelperCommand, lifeline: bool) -> Result<Started> {
        let layout = Layout::new(&options.name)?;
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let lock = layout.lock()?;
        match Cluster::open(&options.name) {
            // The options may leave the port open; the running cluster has one in any case.
            Ok(cluster)
                if Options { port: options.port.or(cluster.record.options.port), ..options.clone() }
                    == cluster.record.options =>
            {
                return Ok(Started { cluster, was_running: true, lifeline: None });
            }
            Ok(_) => {
                return Err(Error::Running { name: options.name.clone() });
            }
            Err(_) => {
                if remove(&layout, &lock)? {
                    crate::say(&format!("removed what an earlier cluster {} had left behind", options.name));
                }
            }
        }
        let host = HostSockets::bind(options.port)?;
        let with_node = !options.control_plane_only;
        packages::ensure(with_node)?;
        let programs = Programs::find()?;
        programs.ensure(&programs::needed(with_node))?;
        let images = if with_node { images::ensure(&programs)? } else { Vec::new() };
        need_space(&layout.run(), if with_node { NODE_SPACE } else { CONTROL_PLANE_SPACE }, "SLUICEGATE_E2E_STATE")?;
        let result = bring_up(&layout, options, helper, lifeline, &programs, &images, host);
        match result {
            Ok((cluster, child)) => Ok(Started { cluster, was_running: false, lifeline: child }),
            Err(error) => {
                keep_logs(&layout, &error);
                remove(&layout, &lock)?;
                Err(error)
            }
        }
    }

    /// Ends a cluster and removes everything of it, in whatever state it is; `false` where there was nothing.
    ///
    /// # Errors
    /// [`Error::NotRoot`], [`Error::Busy`], [`Error::Leftover`].
    pub fn down(name: &str) -> Result<bool> {
        let layout = Layout::new(name)?;
        let known =
            layout.run().exists() || layout.lock_file().exists() || namespaces::find_init(&layout.run()).is_some();
        if !known {
            return Ok(false);
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let lock = layout.lock()?;
        remove(&layout, &lock)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.layout.name()
    }

    /// Where its files are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The ways in from the host.
    pub fn ports(&self) -> Ports {
        self.record.ports
    }

    /// Whether it has a node.
    pub fn has_node(&self) -> bool {
        !self.record.options.control_plane_only
    }

    /// The authority that signs users.
    ///
    /// # Errors
    /// Where its files cannot be read.
    pub fn authority(&self) -> Result<Authority> {
        Authority::load(&self.layout)
    }

    /// The API server's address for programs on the host.
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.record.ports.api)
    }

    /// The API server's address for programs inside, pods among them.
    pub fn server_inside() -> String {
        format!("https://{NODE_ADDRESS}:{API_PORT}")
    }

    /// A kubeconfig for a user by a client certificate of the cluster's authority. The user has no rights but those
    /// that RBAC gives to the name and the group.
    ///
    /// # Errors
    /// Where the certificate cannot be made.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<String> {
        self.kubeconfig_at(&self.server(), user, group)
    }

    /// As [`Cluster::kubeconfig_for`], for programs that reach the API server elsewhere: pods by
    /// [`Cluster::server_inside`], another cluster by [`Cluster::link`].
    ///
    /// # Errors
    /// Where the certificate cannot be made.
    pub fn kubeconfig_at(&self, server: &str, user: &str, group: Option<&str>) -> Result<String> {
        let authority = self.authority()?;
        let credential = authority.client(user, group.as_slice())?;
        Ok(authority.kubeconfig(server, &credential))
    }

    /// A socket on the node's address that this process serves: webhooks on the host are reached through it. Port 0
    /// takes a free one.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn listen(&self, port: u16) -> Result<TcpListener> {
        self.listen_at(NODE_ADDRESS, port)
    }

    /// As [`Cluster::listen`], at another address of the node: [`ELSEWHERE_ADDRESS`](crate::network::ELSEWHERE_ADDRESS).
    ///
    /// # Errors
    /// Where the address is not the node's, or the port is taken.
    pub fn listen_at(&self, address: &str, port: u16) -> Result<TcpListener> {
        let address = format!("{address}:{port}").parse().map_err(std::io::Error::other).doing("reading", address)?;
        namespaces::listen(&self.record.init, address)
    }

    /// Runs a command in the cluster's namespaces to its end.
    ///
    /// # Errors
    /// [`Error::Command`] with the end of its output.
    pub fn run_inside(&self, command: Command) -> Result<String> {
        namespaces::run(&self.record.init, command)
    }

    /// Makes another cluster's API server reachable inside this one, at the node's address and this port: the remote
    /// cluster of multi-cluster tests. Its certificate is valid for that address.
    ///
    /// # Errors
    /// Where the port is taken.
    pub fn link(&self, remote: &Cluster, port: u16) -> Result<String> {
        let socket = self.listen(port)?;
        let component = components::relay(
            &remote.layout,
            &remote.record.helper,
            "link",
            None,
            format!("{NODE_ADDRESS}:{API_PORT}"),
        );
        let log = remote.layout.log("link");
        namespaces::spawn(&remote.record.init, &component.arguments, &environment(&remote.layout), &log, Some(socket))?;
        Ok(format!("https://{NODE_ADDRESS}:{port}"))
    }

    /// The end of a component's log.
    pub fn log_tail(&self, component: &str, lines: usize) -> String {
        last_lines(&fs::read_to_string(self.layout.log(component)).unwrap_or_default(), lines)
    }
}

/// What components see of the developer's environment: nothing but where programs are.
pub(crate) fn environment(layout: &Layout) -> Vec<(String, String)> {
    let path = |relative: &str| layout.path(relative).display().to_string();
    vec![
        ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
        ("HOME".into(), path("home")),
        ("TMPDIR".into(), path("tmp")),
        ("OTEL_TRACES_EXPORTER".into(), "none".into()),
    ]
}

/// Sockets on the host's loopback, bound before anything is built or started, so that a port in use costs no time.
struct HostSockets {
    api: TcpListener,
    git: TcpListener,
    registry: TcpListener,
}

impl HostSockets {
    fn bind(port: Option<u16>) -> Result<HostSockets> {
        let bind = |port: u16| TcpListener::bind(("127.0.0.1", port)).map_err(|_| Error::PortInUse { port });
        Ok(HostSockets { api: bind(port.unwrap_or(0))?, git: bind(0)?, registry: bind(0)? })
    }

    fn ports(&self) -> Result<Ports> {
        let port = |socket: &TcpListener| Ok(socket.local_addr().doing("asking for", "the port of a socket")?.port());
        Ok(Ports { api: port(&self.api)?, git: port(&self.git)?, registry: port(&self.registry)? })
    }
}

/// Ends and removes everything of a cluster. The order matters: no process, no mounts (they went with the namespace),
/// then cgroups, then files.
fn remove(layout: &Layout, _lock: &Lock) -> Result<bool> {
    let had_process = namespaces::find_init(&layout.run()).is_some();
    namespaces::kill_all(&layout.run())?;
    cgroups::remove(layout)?;
    let run = layout.run();
    match fs::remove_dir_all(&run) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(had_process),
        Err(error) => Err(Error::Leftover {
            name: layout.name().to_owned(),
            what: run.display().to_string(),
            why: error.to_string(),
        }),
    }
}

/// Logs of a start that failed survive its removal, where `SLUICEGATE_E2E_ARTIFACTS` or the system's folder for
/// temporary files says.
fn keep_logs(layout: &Layout, error: &Error) {
    if matches!(error, Error::Interrupted) || !layout.path("logs").exists() {
        return;
    }
    let target = artifacts().join(format!("{}-failed-start", layout.name()));
    let _ = fs::remove_dir_all(&target);
    if fs::create_dir_all(&target).is_ok() {
        for entry in fs::read_dir(layout.path("logs")).into_iter().flatten().flatten() {
            let _ = fs::copy(entry.path(), target.join(entry.file_name()));
        }
        crate::say(&format!("logs of the failed start: {}", target.display()));
    }
}

/// Where what failed leaves its traces: `SLUICEGATE_E2E_ARTIFACTS`, else below the system's folder for temporary files.
pub fn artifacts() -> PathBuf {
    std::env::var_os("SLUICEGATE_E2E_ARTIFACTS")
        .map_or_else(|| std::env::temp_dir().join("sluicegate-e2e-failures"), PathBuf::from)
}

fn bring_up(
    layout: &Layout,
    options: &Options,
    helper: &HelperCommand,
    lifeline: bool,
    programs: &Programs,
    images: &[Image],
    host: HostSockets,
) -> Result<(Cluster, Option<Child>)> {
    let ports = host.ports()?;
    let (authority, helper) = prepare_files(layout, helper, ports)?;
    cgroups::create(layout)?;
    let (init, child) = namespaces::launch(layout, &helper, lifeline)?;
    let record =
        Record { options: Options { port: Some(ports.api), ..options.clone() }, init, helper, ports, complete: false };
    let mut cluster = Cluster { layout: layout.clone(), record };
    cluster.keep_record()?;
    let with_node = !options.control_plane_only;

    let node = if with_node { Some(cluster.start_runtime(images)?) } else { None };
    cluster.start_control_plane(programs, host)?;
    let api = Api::new(&layout.kubeconfig())?;
    cluster.await_ready("kube-apiserver", READY_LIMIT, || Ok(api.is_ready()))?;
    cluster.start(&components::controller_manager(layout, programs, &authority)?)?;
    if let Some(node) = node {
        cluster.start(&components::scheduler(layout, programs, &authority)?)?;
        cluster.start_node(programs, &authority)?;
        addons::node_addons(&api)?;
        addons::flux_crds(&api, programs)?;
        node.join().unwrap_or_else(|_| {
            Err(Error::Service { what: "loading images".into(), why: "the thread ended early".into() })
        })?;
        cluster.await_ready("kubelet", READY_LIMIT, || addons::node_is_ready(&api))?;
        cluster.await_ready("netpol", READY_LIMIT, || addons::dns_is_ready(&api))?;
    } else {
        addons::flux_crds(&api, programs)?;
    }
    cluster.await_default_account(&api)?;
    cluster.record.complete = true;
    cluster.keep_record()?;
    Ok((cluster, child))
}

fn prepare_files(layout: &Layout, helper: &HelperCommand, ports: Ports) -> Result<(Authority, Vec<String>)> {
    for folder in
        ["logs", "processes", "home", "tmp", "git", "charts", "relays", "bin", "ssh", "pods", "pki", "kubeconfigs"]
    {
        let path = layout.path(folder);
        fs::create_dir_all(&path).doing("making", &path)?;
    }
    // The folder holds keys; kubelet and pods reach it through mounts that root makes.
    protect(&layout.run(), 0o711)?;
    protect(&layout.path("pki"), 0o700)?;
    protect(&layout.path("kubeconfigs"), 0o700)?;
    // A copy: the original may be rebuilt while the cluster runs, and components may be restarted from it.
    let mut command = helper.0.clone();
    let copy = layout.path("bin/sluicegate-e2e");
    if let Some(program) = command.first_mut() {
        fs::copy(&*program, &copy).doing("copying", &*program)?;
        *program = copy.display().to_string();
    }
    let names = format!("{GIT_HOST} {EXAMPLE_GIT_HOST} {CHARTS_HOST} {REGISTRY_HOST}");
    let hosts = format!("127.0.0.1 localhost\n{NODE_ADDRESS} {NODE_NAME} {names}\n");
    write(&layout.path("etc/hosts"), hosts)?;
    write(&layout.path("etc/resolv.conf"), "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
    write(&layout.path("etc/nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files\n")?;
    let home = layout.path("home");
    let passwd = format!(
        "root:x:0:0:root:{home}:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\ngit:*:0:0::{home}:/bin/sh\n",
        home = home.display()
    );
    write(&layout.path("etc/passwd"), passwd)?;
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "sluicegate-e2e", "-f"]).arg(layout.path("ssh/host_ed25519"));
    programs::run_logged(keygen)?;
    write(&layout.path("ssh/authorized_keys"), "")?;
    let authority = pki::create(layout, NODE_ADDRESS, API_SERVICE_ADDRESS)?;
    pki::write_kubeconfig(
        &authority,
        &layout.kubeconfig(),
        &format!("https://127.0.0.1:{}", ports.api),
        "sluicegate-e2e:admin",
        &["system:masters"],
    )?;
    protect(&layout.kubeconfig(), 0o600)?;
    protect(&layout.path("ssh/host_ed25519"), 0o600)?;
    Ok((authority, command))
}

fn protect(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("protecting", path)
}

impl Cluster {
    pub(crate) fn keep_record(&self) -> Result<()> {
        let content = serde_json::to_vec_pretty(&self.record)
            .map_err(std::io::Error::from)
            .doing("writing", self.layout.record())?;
        write(&self.layout.record(), content)
    }

    /// Starts a component and writes it down.
    pub(crate) fn start(&self, component: &Component) -> Result<()> {
        self.start_with(component, None)
    }

    fn start_with(&self, component: &Component, socket: Option<TcpListener>) -> Result<()> {
        interrupt::check()?;
        let log = self.layout.log(component.name);
        let process =
            namespaces::spawn(&self.record.init, &component.arguments, &environment(&self.layout), &log, socket)
                .map_err(|error| self.with_log(component.name, error))?;
        self.keep_running(component.name, &Running { arguments: component.arguments.clone(), process })
    }

    pub(crate) fn keep_running(&self, name: &str, running: &Running) -> Result<()> {
        let path = self.layout.path("processes").join(format!("{name}.json"));
        let content = serde_json::to_vec_pretty(running).map_err(std::io::Error::from).doing("writing", &path)?;
        write(&path, content)
    }

    fn with_log(&self, component: &str, error: Error) -> Error {
        match error {
            Error::NotReady { what, seconds, .. } => Error::NotReady {
                what,
                seconds,
                log: format!("; the end of {component}'s log:\n{}", self.log_tail(component, 15)),
            },
            other => other,
        }
    }

    /// Waits for a condition that depends on a component; if the component ends meanwhile, that is the error.
    fn await_ready(&self, component: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
        let started = Instant::now();
        let result = wait_for(component, limit, || {
            if !self.component_is_alive(component) {
                return Err(Error::NotReady {
                    what: format!("{component} ended and"),
                    seconds: started.elapsed().as_secs(),
                    log: String::new(),
                });
            }
            // A refused or lost request only means: not yet.
            Ok(condition().unwrap_or(false))
        });
        result.map_err(|error| self.with_log(component, error))
    }

    fn start_control_plane(&self, programs: &Programs, host: HostSockets) -> Result<()> {
        let (layout, helper) = (&self.layout, &self.record.helper);
        self.start(&components::etcd(layout, programs, self.record.options.fsync)?)?;
        self.start(&components::api_server(layout, programs)?)?;
        let inside = |port: u16| format!("{NODE_ADDRESS}:{port}");
        self.start_with(&components::relay(layout, helper, "host-api", None, inside(API_PORT)), Some(host.api))?;
        self.start_with(&components::relay(layout, helper, "host-git", None, inside(80)), Some(host.git))?;
        self.start_with(
            &components::relay(layout, helper, "host-registry", None, inside(REGISTRY_PORT)),
            Some(host.registry),
        )?;
        self.start(&components::relay(layout, helper, "node-api", Some(inside(NODE_API_PORT)), inside(API_PORT)))?;
        self.start(&components::registry(layout, programs)?)?;
        self.start(&components::web(layout, helper))?;
        self.start(&components::ssh(layout)?)?;
        Ok(())
    }

    /// Starts the container runtime and loads the images in a thread of its own, while the control plane starts.
    fn start_runtime(&self, images: &[Image]) -> Result<thread::JoinHandle<Result<()>>> {
        self.start(&components::containerd(&self.layout)?)?;
        let (cluster, images) = (self.clone(), images.to_vec());
        Ok(thread::spawn(move || cluster.load_images(&images)))
    }

    /// A call of the container runtime's own client.
    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ctr");
        command.args(["--address", CONTAINERD_SOCKET, "--namespace", "k8s.io"]).args(arguments);
        namespaces::run(&self.record.init, command)
    }

    pub(crate) fn await_runtime(&self) -> Result<()> {
        self.await_ready("containerd", READY_LIMIT, || self.ctr(&["version"]).map(|_| true))
    }

    /// Loads images on the node, under their own names, and pushes them to its registry.
    ///
    /// # Errors
    /// Where the cluster has no node, or the container runtime refuses an archive.
    pub fn load_images(&self, images: &[Image]) -> Result<()> {
        self.await_runtime()?;
        for image in images {
            self.ctr(&["images", "import", &path_text(image.archive())])?;
        }
        self.await_ready("registry", READY_LIMIT, || Ok(self.registry_answers()))?;
        for image in images {
            self.ctr(&["images", "push", "--plain-http", &image.pushed, &image.reference])?;
        }
        Ok(())
    }

    fn registry_answers(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.record.ports.registry)).is_ok_and(|mut socket| {
            use std::io::{Read, Write};
            let mut answer = [0; 12];
            let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
            socket.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").and_then(|()| socket.read_exact(&mut answer)).is_ok()
                && answer.ends_with(b"200")
        })
    }

    fn start_node(&self, programs: &Programs, authority: &Authority) -> Result<()> {
        let layout = &self.layout;
        self.queue_new_connections()?;
        self.await_runtime()?;
        self.start(&components::kubelet(layout, programs, authority)?)?;
        self.start(&components::proxy(layout, programs, authority)?)?;
        self.start(&components::policy_enforcer(layout, programs, authority)?)
    }

    /// Hands the first packet of every connection from or to a pod to the enforcer: between pods and Services in FORWARD,
    /// from pods to the node's own address (API server, Git, registry) in INPUT. The mangle table comes after the
    /// translation of Service addresses and before everything that kube-proxy accepts.
    fn queue_new_connections(&self) -> Result<()> {
        let queue = format!("-m conntrack --ctstate NEW -j NFQUEUE --queue-num {POLICY_QUEUE}");
        for rule in [format!("FORWARD {queue}"), format!("INPUT -s {POD_CIDR} {queue}")] {
            let mut iptables = Command::new("iptables");
            iptables.args(["-w", "-t", "mangle", "-A"]).args(rule.split(' '));
            namespaces::run(&self.record.init, iptables)?;
        }
        Ok(())
    }

    /// Pods and suites need the account that the controller manager makes in each namespace.
    fn await_default_account(&self, api: &Api) -> Result<()> {
        self.await_ready("kube-controller-manager", READY_LIMIT, || {
            Ok(api.get("/api/v1/namespaces/default/serviceaccounts/default")?.is_some())
        })
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}
