//! Requests through an API server: what a create takes with the webhook, with the guard, and with neither. All are sent in
//! turn by the same load, each way to a namespace of its own, as dry runs: so nothing is stored, and what etcd does hides
//! nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sluicegate_crds::{API_VERSION, FluxPolicy, TENANT_GUARD, TENANT_LABEL};
use sluicegate_e2e::api::{self, Api};
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::suite::operator::{self, CLUSTER, install, manifests};
use sluicegate_e2e::suite::webhook::{CONFIGURATION, Front, Replica, install_configurations, install_rights};
use sluicegate_e2e::suite::{apply_as, own_control_plane};
use sluicegate_policy::grammar::{ClusterId, NamespaceName, TenantName};
use sluicegate_policy::guard::{Ward, compile};
use sluicegate_policy::{Facts, Labels, PolicySet, Unseen};
use tokio::runtime::Runtime;

use super::load::{Ask, Loader, Server, Shape};
use super::platform;
use super::report::Passage;
use crate::bench::say;
use crate::process::root;

/// Nothing but what is measured writes to the API server.
const PAUSED: &str = "kube-controller-manager";
/// What the webhook and the guard may take until they are in force.
const IN_FORCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);
/// Label of the namespaces, with the way that requests to them take.
const WAY: &str = "sluicegate-bench";
/// The policy that allows everything, in place of the guard's.
const ALLOWS: &str = "sluicegate-bench-allows";
/// The guard's policy for pods.
const PODS: &str = "sluicegate-pods";

/// What a request passes on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Neither,
    Webhook,
    /// The guard, with [`FEW`] patterns for images.
    Guard,
    /// The guard, with [`MANY`].
    LongGuard,
    /// A policy that allows everything, with the guard's parameter.
    Allows,
}

/// Patterns for images that a tenant's policy has.
const FEW: usize = 10;
/// Those of a long one.
const MANY: usize = 500;

impl Way {
    const ALL: [Self; 5] = [Self::Neither, Self::Webhook, Self::Guard, Self::LongGuard, Self::Allows];

    /// Name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Neither => "neither",
            Self::Webhook => "webhook",
            Self::Guard => "guard",
            Self::LongGuard => "guard with 500 patterns",
            Self::Allows => "a policy that allows everything",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Neither => "neither",
            Self::Webhook => "webhook",
            Self::Guard => "guard",
            Self::LongGuard => "long-guard",
            Self::Allows => "allows",
        }
    }

    fn namespace(self) -> String {
        format!("bench-{}", self.label())
    }

    /// How many patterns the TenantGuard has, where there is one.
    fn patterns(self) -> Option<usize> {
        match self {
            Self::Guard | Self::Allows => Some(FEW),
            Self::LongGuard => Some(MANY),
            Self::Neither | Self::Webhook => None,
        }
    }
}

/// What is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    FluxConfig,
    Pod,
}

impl Object {
    const ALL: [Self; 2] = [Self::FluxConfig, Self::Pod];

    /// Name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FluxConfig => "FluxConfig",
            Self::Pod => "Pod",
        }
    }

    /// The ways on which somebody judges it; the first is that on which nobody does.
    fn ways(self) -> &'static [Way] {
        match self {
            Self::FluxConfig => &[Way::Neither, Way::Webhook, Way::Guard],
            Self::Pod => &[Way::Neither, Way::Allows, Way::Guard, Way::LongGuard],
        }
    }

    fn path(self, namespace: &str) -> String {
        match self {
            Self::FluxConfig => format!("/apis/{API_VERSION}/namespaces/{namespace}/fluxconfigs?dryRun=All"),
            Self::Pod => format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"),
        }
    }

    /// One that is allowed, or one that must be refused.
    fn body(self, namespace: &str, allowed: bool) -> Value {
        let owner = if allowed { namespace } else { "somebody" };
        match self {
            Self::FluxConfig => json!({
                "apiVersion": API_VERSION, "kind": "FluxConfig", "metadata": {"generateName": "shop-", "namespace": namespace},
                "spec": {"source": {"url": format!("https://git.example.com/{owner}/shop.git")}},
            }),
            Self::Pod => pod(namespace, owner),
        }
    }

    /// What the refusal says, on a way on which there is one.
    fn refusal(self) -> &'static str {
        match self {
            Self::FluxConfig => "[source-not-allowed]",
            Self::Pod => "[image-not-allowed]",
        }
    }
}

/// A pod with three containers, as a chart makes them.
fn pod(namespace: &str, owner: &str) -> Value {
    let container = |name: &str, image: String| {
        json!({
            "name": name, "image": image, "imagePullPolicy": "IfNotPresent",
            "env": (0..8).map(|number| json!({"name": format!("SETTING_{number}"), "value": format!("value-{number}.example.com:8080")})).collect::<Vec<_>>(),
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 5},
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "shop-7d9c6b8f5-", "namespace": namespace, "labels": {"app.kubernetes.io/name": "shop"}},
        "spec": {
            "containers": [
                container("shop", format!("registry.example.com/{owner}/shop:1.4.2")),
                container("cache", format!("registry.example.com/{owner}/cache:7")),
                container("proxy", "registry.example.com/mirror/library/nginx:1.27".to_owned()),
            ],
        },
    })
}

/// A control plane; it ends with this.
pub(super) struct Plane {
    pub(super) cluster: Cluster,
    pub(super) api: Api,
    pub(super) runtime: Runtime,
}

impl Drop for Plane {
    fn drop(&mut self) {
        let _ = Cluster::down(self.cluster.name());
    }
}

/// Measures every object on all its ways, with so many connections at a time, for so long each.
pub(super) fn measure(
    name: &str,
    program: PathBuf,
    connections: &[usize],
    seconds: f64,
    loader: &Loader,
) -> anyhow::Result<Vec<Passage>> {
    let plane = Plane::start(name)?;
    plane.install()?;
    let front = Front::open(&plane.cluster)?;
    let replica = Replica::of(&plane.cluster, "bench", program, &["--log-level", "warn"])?;
    plane.runtime.block_on(replica.start())?;
    front.lead_to(&[&replica]);
    plane.runtime.block_on(install_configurations(&plane.cluster, front.address()))?;
    plane.lead_to_the_webhook()?;
    plane.wait_until_in_force()?;
    plane.calm()?;
    let server = plane.server()?;
    let mut passages = Vec::new();
    for object in Object::ALL {
        let ways = object.ways();
        let requests: Vec<Ask> = ways
            .iter()
            .enumerate()
            .map(|(group, way)| {
                let namespace = way.namespace();
                let body = object.body(&namespace, true).to_string();
                Ask { group, path: object.path(&namespace), body, status: 201, expects: String::new() }
            })
            .collect();
        for &connections in connections {
            let outcome = loader.run(&server, Shape::of(connections), seconds * ways.len() as f64, &requests)?;
            let none = outcome.groups[0];
            for (way, group) in ways.iter().zip(&outcome.groups) {
                let passage = Passage {
                    object: object.name(),
                    way: *way,
                    connections,
                    requests: group.answers,
                    median_micros: group.median_micros,
                    p99_micros: group.p99_micros,
                    to_neither: group.median_micros / none.median_micros,
                };
                say(&format!("{passage:?}"));
                passages.push(passage);
            }
        }
    }
    replica.kill()?;
    Ok(passages)
}

impl Plane {
    /// Starts one.
    pub(super) fn start(name: &str) -> anyhow::Result<Self> {
        say("starting a control plane");
        let cluster = own_control_plane(&std::env::current_exe()?, name)?;
        Ok(Self {
            api: Api::new(&cluster.layout().kubeconfig())?,
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
            cluster,
        })
    }

    /// Has nobody write to it but the bench and what the bench has started.
    pub(super) fn calm(&self) -> anyhow::Result<()> {
        Ok(self.cluster.pause(PAUSED)?)
    }

    /// Kinds, rights, guard, a policy, and the namespaces with what belongs into them.
    fn install(&self) -> anyhow::Result<()> {
        let policy = platform::one_for_all("bench-*", CLUSTER);
        let deploy = root().join("deploy");
        let guard = manifests(&deploy.join("guard"))?;
        let mut objects = vec![policy.clone()];
        for way in Way::ALL {
            let namespace = way.namespace();
            let mut labels = json!({WAY: way.label()});
            if matches!(way, Way::Guard | Way::LongGuard) {
                labels[TENANT_LABEL] = json!(namespace);
            }
            objects.push(
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}),
            );
            if let Some(patterns) = way.patterns() {
                objects.push(tenant_guard(&policy, &namespace, patterns)?);
            }
        }
        objects.extend(guard.iter().filter(|object| object["metadata"]["name"] == PODS).cloned().map(allows));
        objects.extend(guard);
        self.runtime.block_on(async {
            install(&self.cluster).await?;
            install_rights(&self.cluster).await?;
            let client = api::client(&self.cluster.layout().kubeconfig()).await?;
            for object in objects {
                apply_as(&client, object).await?;
            }
            Ok(())
        })
    }

    /// Has the webhook asked about one namespace alone.
    fn lead_to_the_webhook(&self) -> anyhow::Result<()> {
        for resource in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}/{CONFIGURATION}");
            let began = Instant::now();
            // The webhook writes into them in whom they are to trust; a list is changed as a whole.
            let mut found = loop {
                let found = self.api.get(&path)?.with_context(|| path.clone())?;
                let mut webhooks = found["webhooks"].as_array().into_iter().flatten();
                if webhooks.all(|webhook| webhook["clientConfig"]["caBundle"].is_string()) {
                    break found;
                }
                if began.elapsed() > IN_FORCE {
                    bail!("the webhook does not say whom to trust");
                }
                sleep(POLL);
            };
            for webhook in found["webhooks"].as_array_mut().into_iter().flatten() {
                webhook["namespaceSelector"]["matchLabels"] = json!({WAY: Way::Webhook.label()});
            }
            self.api.patch(&path, &json!({"webhooks": found["webhooks"]}))?;
        }
        Ok(())
    }

    /// Waits until what should pass passes on every way, and what should not is refused where somebody judges.
    fn wait_until_in_force(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        for object in Object::ALL {
            for way in object.ways() {
                let judged = matches!(
                    (object, way),
                    (Object::FluxConfig, Way::Webhook) | (Object::Pod, Way::Guard | Way::LongGuard)
                );
                loop {
                    let problem = self.problem(object, *way, judged);
                    let Some(problem) = problem else { break };
                    if began.elapsed() > IN_FORCE {
                        bail!("{} through {}: {problem}", object.name(), way.name());
                    }
                    sleep(POLL);
                }
            }
        }
        Ok(())
    }

    fn problem(&self, object: Object, way: Way, judged: bool) -> Option<String> {
        let namespace = way.namespace();
        let path = object.path(&namespace);
        if let Err(error) = self.api.ask(&path, &object.body(&namespace, true)) {
            return Some(error.to_string());
        }
        match self.api.ask(&path, &object.body(&namespace, false)) {
            Ok(_) if judged => Some("what is forbidden passes".to_owned()),
            Err(error) if judged && error.to_string().contains(object.refusal()) => None,
            Err(error) => Some(error.to_string()),
            Ok(_) => None,
        }
    }

    /// The API server, asked as its administrator.
    fn server(&self) -> anyhow::Result<Server> {
        let path = self.cluster.layout().kubeconfig();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let kubeconfig: Value = serde_saphyr::from_str(&text)?;
        let decoded = |value: &Value| -> anyhow::Result<String> {
            Ok(String::from_utf8(STANDARD.decode(value.as_str().context("a kubeconfig without certificates")?)?)?)
        };
        let (cluster, user) = (&kubeconfig["clusters"][0]["cluster"], &kubeconfig["users"][0]["user"]);
        let address = cluster["server"].as_str().and_then(|url| url.strip_prefix("https://")).context("no server")?;
        let address: SocketAddr = address.parse().with_context(|| address.to_owned())?;
        Ok(Server {
            address,
            server_name: address.ip().to_string(),
            trusted: decoded(&cluster["certificate-authority-data"])?,
            identity: Some((decoded(&user["client-certificate-data"])?, decoded(&user["client-key-data"])?)),
            process: self.cluster.process("kube-apiserver")?.pid.cast_unsigned(),
        })
    }
}

/// What the operator would write into a namespace, where the policy allows images by so many patterns.
fn tenant_guard(policy: &Value, namespace: &str, patterns: usize) -> anyhow::Result<Value> {
    let mut policy: FluxPolicy = serde_json::from_value(policy.clone())?;
    let allowed = &mut policy.spec.images.get_or_insert_default().allow;
    let more = patterns.saturating_sub(allowed.len());
    allowed.extend((0..more).map(|number| format!("registry.example.com/other-{number}/**")));
    let policies = PolicySet::compile([&policy]);
    let mut facts = Facts::new(Unseen::Absent);
    facts.cluster(CLUSTER, Labels::new());
    let (tenant, place, cluster) =
        (TenantName::new(namespace)?, NamespaceName::new(namespace)?, ClusterId::new(CLUSTER)?);
    let ward = Ward { tenant: &tenant, homes: &[], cluster: &cluster, namespace: &place, narrowing: None };
    let mut spec = compile(&ward, &policies, &facts);
    spec.operator = operator::USER.to_owned();
    let metadata = json!({"name": TENANT_GUARD, "namespace": namespace});
    Ok(json!({"apiVersion": API_VERSION, "kind": "TenantGuard", "metadata": metadata, "spec": spec}))
}

/// The guard's policy for pods or its binding, as one that allows everything in a namespace of its own.
fn allows(mut object: Value) -> Value {
    object["metadata"] = json!({"name": ALLOWS});
    let selector = json!({"matchLabels": {WAY: Way::Allows.label()}});
    let spec = &mut object["spec"];
    if spec["policyName"].is_string() {
        spec["policyName"] = json!(ALLOWS);
        spec["matchResources"]["namespaceSelector"] = selector;
    } else {
        spec["matchConstraints"]["namespaceSelector"] = selector;
        spec["variables"] = json!([]);
        spec["validations"] = json!([{"expression": "true"}]);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_that_allows_everything_is_the_guards_but_for_what_it_asks() {
        let guard = manifests(&root().join("deploy/guard")).unwrap();
        let pods: Vec<Value> = guard.into_iter().filter(|object| object["metadata"]["name"] == PODS).collect();
        assert_eq!(pods.len(), 2, "a policy and its binding");
        for object in pods {
            let other = allows(object.clone());
            assert_eq!(other["kind"], object["kind"]);
            for field in ["paramKind", "paramRef", "failurePolicy", "validationActions"] {
                assert_eq!(other["spec"][field], object["spec"][field], "{field}");
            }
            assert_eq!(
                other["spec"]["matchConstraints"]["resourceRules"],
                object["spec"]["matchConstraints"]["resourceRules"]
            );
        }
    }

    #[test]
    fn tenants_get_a_guard_that_allows_what_is_created() {
        for patterns in [FEW, MANY] {
            let guard = tenant_guard(&platform::one_for_all("bench-*", CLUSTER), "bench-guard", patterns).unwrap();
            assert!(guard["spec"]["refusal"].as_str().unwrap_or_default().is_empty(), "{guard}");
            let allowed = guard["spec"]["images"]["allow"].to_string();
            assert!(allowed.contains("bench-guard"), "{guard}");
            assert_eq!(allowed.matches("/other-").count(), patterns - 2, "{guard}");
        }
    }
}
