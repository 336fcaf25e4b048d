//! Deployments and Services of an agent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sluicegate_crds::{AgentComponent, Scheduling};
use sluicegate_policy::egress::ProxyPlan;

use super::{
    Site,
    names::NOBODY,
    output::{Output, fields},
    settings::{Resources, Settings},
};
use crate::{
    flux::controllers::{Controller, HEALTH_PORT, METRICS_PORT},
    object::{AGENT_PODS, CONTROLLER_LABEL, Kind, Owner, PART_OF_LABEL},
    quantity::Quantity,
};

pub(super) fn render(settings: &Settings<'_>, site: &Site, output: &mut Output<'_>) {
    for component in &settings.components {
        let controller = Controller::of(*component);
        let labels = json!({CONTROLLER_LABEL: controller.name, PART_OF_LABEL: AGENT_PODS});
        for (name, port) in controller.services {
            let spec = json!({
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": port}],
                "selector": labels,
            });
            output.add(Kind::Service, *name, &Owner::Agent, json!({"spec": spec}));
        }
        let spec = json!({
            "replicas": 1,
            "selector": {"matchLabels": labels},
            // Two of one controller would work on the same files and the same objects.
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": pod(controller, settings, site)},
        });
        output.add(Kind::Deployment, controller.name, &Owner::Agent, json!({"spec": spec}));
    }
}

fn pod(controller: &Controller, settings: &Settings<'_>, site: &Site) -> Value {
    let mut volumes = vec![json!({"emptyDir": {}, "name": "temp"})];
    if controller.data {
        volumes.insert(0, json!({"emptyDir": {}, "name": "data"}));
    }
    let mut node_selector = BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]);
    let Scheduling { node_selector: wanted, tolerations, priority_class_name } =
        settings.scheduling.cloned().unwrap_or_default();
    node_selector.extend(wanted);
    fields([
        ("containers", Some(json!([container(controller, settings, site)]))),
        ("nodeSelector", Some(json!(node_selector))),
        ("priorityClassName", priority_class_name.map(Value::from)),
        ("securityContext", Some(json!({"fsGroup": 1337}))),
        ("serviceAccountName", Some(json!(controller.name))),
        ("terminationGracePeriodSeconds", Some(json!(controller.grace))),
        ("tolerations", (!tolerations.is_empty()).then(|| json!(tolerations))),
        ("volumes", Some(json!(volumes))),
    ])
}

fn container(controller: &Controller, settings: &Settings<'_>, site: &Site) -> Value {
    let image =
        format!("{}/{}:{}", settings.image_registry, controller.name, settings.release.tag(controller.component));
    let mut mounts = vec![json!({"mountPath": "/tmp", "name": "temp"})];
    if controller.data {
        mounts.insert(0, json!({"mountPath": "/data", "name": "data"}));
    }
    let mut ports = vec![("http-prom", METRICS_PORT), ("healthz", HEALTH_PORT)];
    ports.extend(controller.ports);
    let probe = |path: &str, port: &str| json!({"httpGet": {"path": path, "port": port}});
    // References are owned as a whole, with what the API server fills in.
    let namespace = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    let limit = json!({"resourceFieldRef": {"containerName": "manager", "divisor": "0", "resource": "limits.memory"}});
    let mut env = vec![
        json!({"name": "RUNTIME_NAMESPACE", "valueFrom": namespace}),
        json!({"name": "GOMEMLIMIT", "valueFrom": limit}),
    ];
    let proxy = settings.egress.as_ref().and_then(|egress| egress.proxy.as_ref());
    env.extend(proxy.filter(|_| settings.reaches_out(controller)).into_iter().flat_map(|proxy| proxied(proxy, site)));
    json!({
        "args": args(controller, settings),
        "env": env,
        "image": image,
        "livenessProbe": probe("/healthz", "healthz"),
        "name": "manager",
        "ports": ports
            .into_iter()
            .map(|(name, port)| json!({"containerPort": port, "name": name, "protocol": "TCP"}))
            .collect::<Vec<_>>(),
        "readinessProbe": if controller.ready_by_serving { probe("/", "http") } else { probe("/readyz", "healthz") },
        "resources": resources(&settings.resources),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    })
}

/// Services of the cluster: as `host.namespace.svc`, in full, and in full with the dot of the root, which the controllers write.
const IN_CLUSTER: [&str; 4] = [".cluster.local", ".cluster.local.", ".svc", ".svc."];

/// What makes a program connect by a proxy. Its API server is reached by address, and what is in the cluster by name.
fn proxied(proxy: &ProxyPlan, site: &Site) -> [Value; 3] {
    let servers: BTreeSet<String> = site.api_servers.iter().map(|server| server.ip().to_string()).collect();
    let without: Vec<&str> = IN_CLUSTER
        .into_iter()
        .chain(servers.iter().map(String::as_str))
        .chain(proxy.no_proxy.iter().map(String::as_str))
        .collect();
    [
        json!({"name": "HTTPS_PROXY", "value": proxy.url}),
        json!({"name": "HTTP_PROXY", "value": proxy.url}),
        json!({"name": "NO_PROXY", "value": without.join(",")}),
    ]
}

fn args(controller: &Controller, settings: &Settings<'_>) -> Vec<String> {
    let mut args: Vec<String> =
        ["--watch-all-namespaces=false", "--log-level=info", "--log-encoding=json", "--enable-leader-election"]
            .map(str::to_owned)
            .to_vec();
    let notified = settings.components.contains(&AgentComponent::Notification);
    if notified && controller.component != AgentComponent::Notification {
        args.push("--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.cluster.local./".to_owned());
    }
    args.extend(controller.args.iter().map(|arg| (*arg).to_owned()));
    if controller.refuses_cross_namespace_refs {
        args.push("--no-cross-namespace-refs=true".to_owned());
    }
    if controller.component == AgentComponent::Kustomize && !settings.remote_bases {
        args.push("--no-remote-bases=true".to_owned());
    }
    if controller.impersonates {
        args.push(format!("--default-service-account={NOBODY}"));
    }
    if controller.watches_config {
        args.push("--feature-gates=DisableConfigWatchers=true".to_owned());
    }
    if let Some(concurrency) = settings.concurrency {
        args.push(format!("--concurrent={concurrency}"));
    }
    args
}

fn resources(resources: &Resources) -> Value {
    json!({"limits": canonical(&resources.limits), "requests": canonical(&resources.requests)})
}

/// As the API server stores them.
pub(super) fn canonical(quantities: &BTreeMap<String, Quantity>) -> Map<String, Value> {
    quantities.iter().map(|(name, quantity)| (name.clone(), Value::from(quantity.canonical()))).collect()
}
