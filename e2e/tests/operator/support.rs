//! A platform with teams: what an administrator and teams do, and what they see.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::accounts::Account;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::images::PROBE_IMAGE;
use sluicegate_e2e::network::{GIT_HOST, NODE_ADDRESS, REGISTRY_PORT};
use sluicegate_e2e::suite::git::{self, Repository};
use sluicegate_e2e::suite::operator::{self, CLUSTER, NAMESPACE, Operator};
use sluicegate_e2e::suite::{Space, Target, own_control_plane, skip, test, test_on, unique};
use tokio::sync::{Mutex, OnceCell};

pub(crate) const API: &str = "sluicegate.dev/v1alpha1";
pub(crate) const CONFIG: (&str, &str) = (API, "FluxConfig");
pub(crate) const CRD: (&str, &str) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
pub(crate) const DEPLOYMENT: (&str, &str) = ("apps/v1", "Deployment");
pub(crate) const KUSTOMIZATION: (&str, &str) = ("kustomize.toolkit.fluxcd.io/v1", "Kustomization");
pub(crate) const GIT_REPOSITORY: (&str, &str) = ("source.toolkit.fluxcd.io/v1", "GitRepository");
pub(crate) const HELM_RELEASE: (&str, &str) = ("helm.toolkit.fluxcd.io/v2", "HelmRelease");
pub(crate) const AGENT_LABEL: &str = "sluicegate.dev/agent";
pub(crate) const CONFIG_LABEL: &str = "sluicegate.dev/config";
pub(crate) const HOME_LABEL: &str = "sluicegate.dev/home";
/// From `kubectl apply` to pods that run, on a machine that also compiles: it takes some ten seconds on a quiet one.
pub(crate) const START: u64 = 180;
/// What follows from a change where nothing has to start.
pub(crate) const SOON: u64 = 60;

/// The one pool of the cluster of the run: who looks at all of it, or takes its end for his own, must be alone in it.
pub(crate) static POOL: Mutex<()> = Mutex::const_new(());

/// A cluster with Sluicegate installed, and the operator that serves it.
#[derive(Clone)]
pub(crate) struct Platform {
    pub(crate) space: Space,
    pub(crate) cluster: Cluster,
    pub(crate) operator: Arc<Operator>,
}

/// A team: a namespace on the management cluster, a folder on the Git server, an account for it.
#[derive(Clone)]
pub(crate) struct Tenant {
    pub(crate) platform: Platform,
    /// The home namespace, which is the tenant's name and its folder on every server.
    pub(crate) name: String,
}

/// The cluster of the run, with a node; the operator is shared by the tests.
pub(crate) fn on_node(name: &str, body: impl AsyncFnOnce(Platform) -> Result<()>) {
    static SHARED: OnceCell<Arc<Operator>> = OnceCell::const_new();
    test(name, async |space| {
        let Some(cluster) = space.cluster().filter(|cluster| cluster.has_node()).cloned() else {
            return skip(name, "needs the harness's Git server, registry and node");
        };
        let operator = SHARED.get_or_try_init(|| start(&cluster)).await?.clone();
        guarded(Platform { space, cluster, operator }, body).await
    });
}

/// A control plane of this run: no pods and no Flux controllers, so nothing moves that the test does not move.
pub(crate) fn on_plane(name: &str, body: impl AsyncFnOnce(Platform) -> Result<()>) {
    static CLUSTER: std::sync::OnceLock<std::result::Result<Cluster, String>> = std::sync::OnceLock::new();
    static SHARED: OnceCell<Arc<Operator>> = OnceCell::const_new();
    let find = || {
        let cluster = CLUSTER.get_or_init(|| plane("plane").map_err(|error| error.to_string()));
        let cluster = cluster.clone().map_err(|why| Error::Service { what: "the control plane".into(), why })?;
        Ok(Target::Harness(Box::new(cluster)))
    };
    test_on(name, find, async |space| {
        let cluster = space.cluster().cloned().expect("a cluster of the harness");
        let operator = SHARED.get_or_try_init(|| start(&cluster)).await?.clone();
        guarded(Platform { space, cluster, operator }, body).await
    });
}

/// A control plane of the test's own, with Sluicegate installed and no operator started yet. It ends with the test.
pub(crate) fn on_own_plane(name: &str, body: impl AsyncFnOnce(Platform) -> Result<()>) {
    let own = std::cell::OnceCell::new();
    let find = || {
        let plane = own_plane(name)?;
        let cluster = plane.cluster.clone();
        let _ = own.set(plane);
        Ok(Target::Harness(Box::new(cluster)))
    };
    test_on(name, find, async |space| {
        let cluster = space.cluster().cloned().expect("a cluster of the harness");
        operator::install(&cluster).await?;
        let operator = Arc::new(Operator::new(&cluster, "a")?);
        guarded(Platform { space, cluster, operator }, body).await
    });
}

/// A control plane that ends when it is dropped.
pub(crate) struct OwnPlane {
    pub(crate) cluster: Cluster,
}

impl Drop for OwnPlane {
    fn drop(&mut self) {
        let _ = Cluster::down(self.cluster.name());
    }
}

pub(crate) fn own_plane(label: &str) -> Result<OwnPlane> {
    Ok(OwnPlane { cluster: plane(label)? })
}

/// An administrator's client of a cluster.
pub(crate) async fn client_of(cluster: &Cluster) -> Result<kube::Client> {
    sluicegate_e2e::api::client(&cluster.layout().kubeconfig()).await
}

fn plane(label: &str) -> Result<Cluster> {
    own_control_plane(Path::new(env!("CARGO_BIN_EXE_sluicegate-e2e")), &unique(label))
}

async fn start(cluster: &Cluster) -> Result<Arc<Operator>> {
    operator::install(cluster).await?;
    let operator = Arc::new(Operator::new(cluster, "shared")?);
    operator.start()?;
    Ok(operator)
}

/// Runs a body; when it fails says what the FluxConfigs and the operator say, when it succeeds takes everything away.
async fn guarded(platform: Platform, body: impl AsyncFnOnce(Platform) -> Result<()>) -> Result<()> {
    let outcome = std::panic::AssertUnwindSafe(body(platform.clone())).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("{}", platform.report().await);
    }
    let gone = platform.clear().await;
    match outcome {
        Ok(Ok(())) => gone,
        Ok(Err(error)) => Err(error),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Platform {
    /// Waits until the operator has said that it reaches its own cluster.
    pub(crate) async fn operator_works(&self) -> Result<()> {
        self.space.condition((API, "FluxCluster", "", CLUSTER), "Ready", "True", SOON).await.map(|_| ())
    }

    /// A team. Its repositories need its account, which the platform holds in a Secret of the operator's namespace.
    pub(crate) async fn tenant(&self, suffix: &str) -> Result<Tenant> {
        let tenant = Tenant { platform: self.clone(), name: self.space.namespace(suffix).await? };
        tenant.token("right").await?;
        // The operator reads a team's own Secrets only where an administrator lets it.
        self.space
            .apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "sluicegate-operator-secrets", "namespace": tenant.name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sluicegate-operator-secrets"},
                "subjects": [{"kind": "ServiceAccount", "name": "sluicegate-operator", "namespace": NAMESPACE}],
            }))
            .await?;
        Ok(tenant)
    }

    /// A policy for these teams, with the fields of `over` laid over the usual ones (null takes a field away).
    pub(crate) async fn policy(&self, name: &str, tenants: &[&Tenant], over: Value) -> Result<String> {
        let name = format!("{}-{name}", self.space.prefix());
        let names: Vec<&str> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
        let mut spec = json!({
            "tenants": {"names": names},
            "sources": {
                "git": {"allow": [format!("https://{GIT_HOST}/${{tenant}}/**")]},
                "oci": {"allow": [format!("oci://{NODE_ADDRESS}:{REGISTRY_PORT}/${{tenant}}/**")]},
                "helm": {"allow": ["http://charts.sluicegate.test/${tenant}"], "charts": {"allow": ["*"]}},
            },
            "images": {"allow": [PROBE_IMAGE.split(':').next().unwrap_or_default()]},
            "destinations": [{"clusters": [CLUSTER], "namespaces": ["${tenant}-*"], "createNamespace": true}],
            "credentials": [{"match": format!("https://{GIT_HOST}/**"), "secretRef": {"name": "${tenant}-git"}, "expose": true}],
            "tenantSecrets": "Allow",
            "defaults": {
                "cluster": CLUSTER, "namespace": "${tenant}-app", "ref": {"branch": "main"}, "path": "./",
                "interval": "5s", "retryInterval": "5s", "timeout": "60s", "prune": true, "wait": true,
            },
            "features": {"helm": true, "decryption": true},
            "agent": {"version": "2.9.3", "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}}},
        });
        lay(&mut spec, over);
        self.space
            .apply(json!({"apiVersion": API, "kind": "FluxPolicy", "metadata": {"name": name}, "spec": spec}))
            .await?;
        Ok(name)
    }

    /// Objects of a kind with a label, everywhere.
    pub(crate) async fn labelled(&self, (version, kind): (&str, &str), label: &str, value: &str) -> Result<Vec<Value>> {
        let api: Api<DynamicObject> = self.space.api(version, kind, "");
        let list = api.list(&ListParams::default().labels(&format!("{label}={value}"))).await;
        let list = list.map_err(|error| Error::Service { what: format!("listing {kind}"), why: error.to_string() })?;
        Ok(list.into_iter().map(|object| serde_json::to_value(object).expect("an object")).collect())
    }

    /// Changes an object as an administrator's `kubectl patch` does, with a field manager that is not Sluicegate's.
    pub(crate) async fn edit(
        &self,
        (version, kind): (&str, &str),
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value> {
        edit_as(self.space.client(), (version, kind), namespace, name, patch).await
    }

    /// Waits until nothing is left of these FluxConfigs' home.
    pub(crate) async fn no_configs(&self, home: &str, seconds: u64) -> Result<()> {
        let api: Api<DynamicObject> = self.space.api(API, "FluxConfig", home);
        let what = format!("the end of the FluxConfigs in {home}");
        self.space
            .wait(&what, seconds, || async {
                let list = api.list(&ListParams::default()).await;
                let list = list.map_err(|error| Error::Service { what: home.into(), why: error.to_string() })?;
                match list.items.first() {
                    None => Ok(Some(())),
                    Some(left) => Err(Error::Service {
                        what: left.metadata.name.clone().unwrap_or_default(),
                        why: left.data["status"]["conditions"].to_string(),
                    }),
                }
            })
            .await
    }

    /// Deletes a FluxConfig and waits until it is gone.
    pub(crate) async fn remove(&self, home: &str, name: &str, seconds: u64) -> Result<()> {
        self.space.delete(API, "FluxConfig", home, name).await?;
        let gone = || async {
            match self.space.get(API, "FluxConfig", home, name).await? {
                None => Ok(Some(())),
                Some(left) => Err(Error::Service { what: name.into(), why: left["status"]["conditions"].to_string() }),
            }
        };
        self.space.wait(&format!("the end of FluxConfig {home}/{name}"), seconds, gone).await
    }

    /// Every FluxConfig of the test with its status, and what the operator logged about the test.
    pub(crate) async fn report(&self) -> String {
        let mut text = String::from("--- FluxConfigs\n");
        for home in self.space.namespaces() {
            let api: Api<DynamicObject> = self.space.api(API, "FluxConfig", &home);
            for config in api.list(&ListParams::default()).await.into_iter().flatten() {
                let name = config.metadata.name.clone().unwrap_or_default();
                let deleted = config.metadata.deletion_timestamp.is_some();
                text.push_str(&format!("{home}/{name}{}\n", if deleted { " (being deleted)" } else { "" }));
                for condition in config.data["status"]["conditions"].as_array().into_iter().flatten() {
                    let part = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
                    text.push_str(&format!(
                        "  {}={} {}: {}\n",
                        part("type"),
                        part("status"),
                        part("reason"),
                        part("message")
                    ));
                }
                for field in ["violations", "sync"] {
                    let value = &config.data["status"][field];
                    if !value.is_null() {
                        text.push_str(&format!("  {field}: {value}\n"));
                    }
                }
            }
        }
        let about = self.operator.log_tail(self.space.prefix(), 40);
        format!(
            "{text}--- the operator {} about it\n{about}\n--- its last lines\n{}",
            self.operator.name(),
            self.operator.log_tail("", 15)
        )
    }

    /// Takes away what the test made: FluxConfigs first, since only the operator can end them, then policies and Secrets.
    async fn clear(&self) -> Result<()> {
        if std::env::var_os("SLUICEGATE_E2E_KEEP").is_some() {
            return Ok(());
        }
        let mut result = Ok(());
        for home in self.space.namespaces() {
            let api: Api<DynamicObject> = self.space.api(API, "FluxConfig", &home);
            for config in api.list(&ListParams::default()).await.into_iter().flatten() {
                self.space.delete(API, "FluxConfig", &home, &config.metadata.name.unwrap_or_default()).await?;
            }
        }
        if self.operator.is_running() {
            for home in self.space.namespaces() {
                result = result.and(self.no_configs(&home, START).await);
            }
        }
        for (version, kind, namespace) in [(API, "FluxPolicy", ""), ("v1", "Secret", NAMESPACE)] {
            let api: Api<DynamicObject> = self.space.api(version, kind, namespace);
            for object in api.list(&ListParams::default()).await.into_iter().flatten() {
                let name = object.metadata.name.unwrap_or_default();
                if name.starts_with(self.space.prefix()) {
                    self.space.delete(version, kind, namespace, &name).await?;
                }
            }
        }
        result
    }
}

impl Tenant {
    /// Where its FluxConfigs go by default.
    pub(crate) fn target(&self) -> String {
        format!("{}-app", self.name)
    }

    /// Where an isolated agent of it lives.
    pub(crate) fn agent(&self) -> String {
        format!("sluicegate-{}", self.name)
    }

    /// Gives its account this token, on the Git server and in the platform's Secret.
    pub(crate) async fn token(&self, token: &str) -> Result<()> {
        self.account(token)?;
        self.credential(token).await
    }

    /// Gives its account this token on the Git server only.
    pub(crate) fn account(&self, token: &str) -> Result<()> {
        let account = Account { token: token.into(), repositories: vec![self.name.clone()], ..Account::default() };
        git::set_account(&self.platform.cluster, &self.name, account)
    }

    /// Writes this token into the platform's Secret only.
    pub(crate) async fn credential(&self, token: &str) -> Result<()> {
        let data =
            json!({"username": self.name, "password": token, "ca.crt": self.platform.cluster.authority()?.certificate});
        self.platform.space.apply(secret(NAMESPACE, &format!("{}-git", self.name), data)).await.map(|_| ())
    }

    /// A repository in its folder with a first commit.
    pub(crate) fn repository(&self, name: &str, files: &[(&str, &str)]) -> Result<Repository> {
        let repository = Repository::create(&self.platform.cluster, &format!("{}/{name}", self.name))?;
        let files: Vec<_> = files.iter().map(|(path, content)| (*path, Some(*content))).collect();
        repository.commit("main", "first", &files)?;
        Ok(repository)
    }

    /// Applies a FluxConfig.
    pub(crate) async fn config(&self, name: &str, spec: Value) -> Result<Value> {
        self.platform.space.apply(self.manifest(name, spec)).await
    }

    /// A FluxConfig as a file.
    pub(crate) fn manifest(&self, name: &str, spec: Value) -> Value {
        json!({"apiVersion": API, "kind": "FluxConfig", "metadata": {"name": name, "namespace": self.name}, "spec": spec})
    }

    /// A FluxConfig as it is now; `Null` where there is none.
    pub(crate) async fn look(&self, name: &str) -> Result<Value> {
        Ok(self.platform.space.get(API, "FluxConfig", &self.name, name).await?.unwrap_or_default())
    }

    /// Waits until a FluxConfig has a condition with this status at its newest generation.
    pub(crate) async fn reaches(&self, name: &str, condition: &str, status: &str, seconds: u64) -> Result<Value> {
        let what = format!("{condition}={status} of FluxConfig {}/{name}", self.name);
        self.until(&what, name, seconds, |config| has(config, condition, status)).await
    }

    /// Waits until its newest generation is in the state that a check asks for.
    pub(crate) async fn until(
        &self,
        what: &str,
        name: &str,
        seconds: u64,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        self.platform
            .space
            .wait(what, seconds, || async {
                let config = self.look(name).await?;
                let seen = config["status"]["observedGeneration"] == config["metadata"]["generation"];
                if seen && check(&config) {
                    return Ok(Some(config));
                }
                Err(Error::Service { what: "its status".into(), why: config["status"].to_string() })
            })
            .await
    }

    /// Waits until a FluxConfig is not ready and its status says all of these words; gives what it says.
    pub(crate) async fn fails(&self, name: &str, seconds: u64, words: &[&str]) -> Result<String> {
        let what = format!("FluxConfig {}/{name} that fails and says {words:?}", self.name);
        let config = self
            .until(&what, name, seconds, |config| {
                let says = says(config);
                has(config, "Ready", "False") && words.iter().all(|word| says.contains(word))
            })
            .await?;
        Ok(says(&config))
    }

    /// Waits until a FluxConfig is refused by this rule.
    pub(crate) async fn refused(&self, name: &str, rule: &str) -> Result<Value> {
        let what = format!("FluxConfig {}/{name} refused by {rule}", self.name);
        self.until(&what, name, SOON, |config| {
            let violations = config["status"]["violations"].as_array().map(Vec::as_slice).unwrap_or_default();
            has(config, "Admitted", "False")
                && has(config, "Ready", "False")
                && violations.iter().any(|one| one["rule"] == rule)
        })
        .await
    }

    /// Deletes a FluxConfig and waits until it is gone.
    pub(crate) async fn remove(&self, name: &str, seconds: u64) -> Result<()> {
        self.platform.remove(&self.name, name, seconds).await
    }

    /// The one object of a kind that a FluxConfig is delivered by.
    pub(crate) async fn delivery(&self, kind: (&str, &str), config: &str, seconds: u64) -> Result<Value> {
        self.platform
            .space
            .wait(&format!("the {} of FluxConfig {}/{config}", kind.1, self.name), seconds, || async {
                let mut found = self.platform.labelled(kind, CONFIG_LABEL, config).await?;
                found.retain(|object| object["metadata"]["labels"][HOME_LABEL] == self.name);
                Ok(found.pop())
            })
            .await
    }

    /// Waits until a Deployment of the team runs with this text.
    pub(crate) async fn runs(&self, namespace: &str, name: &str, text: &str, seconds: u64) -> Result<()> {
        let what = format!("pods of {namespace}/{name} that say {text}");
        self.platform
            .space
            .wait(&what, seconds, || async {
                let found = self.platform.space.get(DEPLOYMENT.0, DEPLOYMENT.1, namespace, name).await?;
                let found = found.unwrap_or_default();
                let rolled = found["status"]["observedGeneration"] == found["metadata"]["generation"]
                    && found["status"]["updatedReplicas"] == 1
                    && found["status"]["availableReplicas"] == 1
                    && found["status"]["replicas"] == 1;
                let says = found["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] == text;
                if rolled && says {
                    Ok(Some(()))
                } else {
                    Err(Error::Service { what: name.into(), why: found["status"].to_string() })
                }
            })
            .await
    }
}

/// Changes an object with somebody's client (JSON merge patch).
pub(crate) async fn edit_as(
    client: kube::Client,
    (version, kind): (&str, &str),
    namespace: &str,
    name: &str,
    patch: Value,
) -> Result<Value> {
    let api = api_of(client, (version, kind), namespace);
    let parameters = PatchParams { field_manager: Some("kubectl-edit".into()), ..PatchParams::default() };
    let changed = api.patch(name, &parameters, &Patch::Merge(&patch)).await;
    let what = format!("{kind} {namespace}/{name}");
    let changed = changed.map_err(|error| Error::Service { what, why: error.to_string() })?;
    Ok(serde_json::to_value(changed).expect("an object"))
}

/// The API of a kind with somebody's client; an empty namespace is the cluster.
pub(crate) fn api_of(client: kube::Client, (version, kind): (&str, &str), namespace: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, namespace, &resource)
    }
}

pub(crate) fn secret(namespace: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data})
}

/// Whether a FluxConfig (or any object) has a condition.
pub(crate) fn has(object: &Value, condition: &str, status: &str) -> bool {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().any(|one| one["type"] == condition && one["status"] == status)
}

/// The message of a condition.
pub(crate) fn message(object: &Value, condition: &str) -> String {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|one| one["type"] == condition);
    found.and_then(|one| one["message"].as_str()).unwrap_or_default().to_owned()
}

/// Everything that a FluxConfig's status says about a failure.
pub(crate) fn says(config: &Value) -> String {
    let error = config["status"]["sync"]["error"].as_str().unwrap_or_default();
    format!("{} | {} | {error}", message(config, "Ready"), message(config, "Synced"))
}

/// The time between two looks at something that must not happen.
pub(crate) async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

/// Objects are merged by key, null takes away, everything else is replaced.
fn lay(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    lay(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over,
    }
}

/// A Deployment of the tests' workload whose pods say a text.
pub(crate) fn workload(name: &str, text: &str) -> String {
    let container = json!({
        "name": "probe", "image": PROBE_IMAGE, "imagePullPolicy": "IfNotPresent", "env": [{"name": "TEXT", "value": text}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
    });
    let labels = json!({"app": name});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]}},
        },
    })
    .to_string()
        + "\n"
}

/// A ConfigMap with one text.
pub(crate) fn config_map(name: &str, text: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}).to_string()
        + "\n"
}
