//! A test's own place in the cluster.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::{Target, service_error};
use crate::api;
use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};
use crate::images::PROBE_IMAGE;

/// The name under which the suites apply objects.
const FIELD_MANAGER: &str = "sluicegate-e2e";
const POLL: Duration = Duration::from_millis(100);

/// A set of namespaces, and an administrator's client.
#[derive(Clone)]
pub struct Space {
    name: String,
    prefix: String,
    target: Arc<Target>,
    client: kube::Client,
    namespaces: Arc<Mutex<Vec<String>>>,
}

/// A user with the rights that RBAC gives, and no others.
pub struct User {
    /// The name that RBAC sees.
    pub name: String,
    /// A kubeconfig for programs.
    pub kubeconfig: String,
    /// A client for the test.
    pub client: kube::Client,
}

/// A pod of the tests' workload, see `e2e/modules/probe`.
#[derive(Clone)]
pub struct Probe {
    client: kube::Client,
    namespace: String,
    name: String,
    /// Its address.
    pub address: String,
}

impl Space {
    pub(super) async fn new(name: &str, target: Target) -> Result<Space> {
        let client = api::client(&target.kubeconfig()).await?;
        let mut random = [0; 3];
        std::io::Read::read_exact(
            &mut std::fs::File::open("/dev/urandom").doing("opening", "/dev/urandom")?,
            &mut random,
        )
        .doing("reading", "/dev/urandom")?;
        let prefix = format!("{name}-{}", crate::programs::hex(&random));
        Ok(Space { name: name.to_owned(), prefix, target: Arc::new(target), client, namespaces: Arc::default() })
    }

    /// The test's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What begins the names of everything of this test, cluster-scoped objects included.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The administrator's client.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The cluster if it is the harness's own, with its servers and fault levers.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.target.harness()
    }

    /// Namespaces made so far.
    pub fn namespaces(&self) -> Vec<String> {
        self.namespaces.lock().map(|names| names.clone()).unwrap_or_default()
    }

    /// Makes a namespace of this test. It is ready for pods when this returns.
    ///
    /// # Errors
    /// Where the API server refuses it.
    pub async fn namespace(&self, suffix: &str) -> Result<String> {
        let name = format!("{}-{suffix}", self.prefix);
        self.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"sluicegate-e2e/test": self.name}}})).await?;
        if let Ok(mut names) = self.namespaces.lock() {
            names.push(name.clone());
        }
        self.wait(&format!("the default account of {name}"), 30, || async {
            Ok(self.get("v1", "ServiceAccount", &name, "default").await?.map(|_| ()))
        })
        .await?;
        Ok(name)
    }

    pub(super) async fn delete_namespaces(&self) {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client());
        for name in self.namespaces() {
            let _ = api.delete(&name, &DeleteParams::background()).await;
        }
    }

    /// The API of a kind, in a namespace or, with an empty one, in the cluster.
    pub fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        api_of(self.client(), api_version, kind, namespace)
    }

    /// Applies an object (server-side), as the administrator.
    ///
    /// # Errors
    /// The API server's refusal.
    pub async fn apply(&self, object: Value) -> Result<Value> {
        apply_as(&self.client, object).await
    }

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// Every other answer of the API server.
    pub async fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>> {
        let found = self.api(api_version, kind, namespace).get_opt(name).await;
        let found = found.map_err(|error| Error::api(format!("{kind} {namespace}/{name}"), error))?;
        found
            .map(|object| serde_json::to_value(object).map_err(|error| service_error(format!("{kind} {name}"), error)))
            .transpose()
    }

    /// Deletes an object; one that is not there is fine.
    ///
    /// # Errors
    /// Every other answer of the API server.
    pub async fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<()> {
        match self.api(api_version, kind, namespace).delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(Error::api(format!("deleting {kind} {namespace}/{name}"), error)),
        }
    }

    /// Waits until a check gives something; its errors count as "not yet", and the last one is told at the end.
    ///
    /// # Errors
    /// [`Error::NotReady`] after the time limit.
    pub async fn wait<T, F>(&self, what: &str, seconds: u64, mut check: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let last = match check().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => String::new(),
                Err(error) => format!("; last: {error}"),
            };
            if Instant::now() >= deadline {
                return Err(Error::NotReady { what: what.to_owned(), seconds, log: last });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until an object has a condition with this status, and gives the object.
    ///
    /// # Errors
    /// [`Error::NotReady`] with the object's conditions.
    pub async fn condition(
        &self,
        (api_version, kind, namespace, name): (&str, &str, &str, &str),
        condition: &str,
        status: &str,
        seconds: u64,
    ) -> Result<Value> {
        let mut seen = Value::Null;
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < deadline {
            if let Ok(Some(object)) = self.get(api_version, kind, namespace, name).await {
                seen = object["status"]["conditions"].clone();
                if seen
                    .as_array()
                    .is_some_and(|all| all.iter().any(|one| one["type"] == condition && one["status"] == status))
                {
                    return Ok(object);
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Error::NotReady {
            what: format!("{condition}={status} of {kind} {namespace}/{name}"),
            seconds,
            log: format!("; it has {seen}"),
        })
    }

    /// A user of the cluster. The name is made unique to this test.
    ///
    /// # Errors
    /// Where no kubeconfig can be made.
    pub async fn user(&self, name: &str, group: Option<&str>) -> Result<User> {
        let name = format!("{}-{name}", self.prefix);
        let kubeconfig = match &*self.target {
            Target::Harness(cluster) => cluster.kubeconfig_for(&name, group)?,
            // An existing cluster's authority is not ours: the administrator impersonates, which RBAC treats alike.
            Target::Existing(path) => {
                let text = std::fs::read_to_string(path).doing("reading", path)?;
                let mut config = kube::config::Kubeconfig::from_yaml(&text)
                    .map_err(|error| service_error("the kubeconfig", error))?;
                for user in &mut config.auth_infos {
                    if let Some(info) = &mut user.auth_info {
                        info.impersonate = Some(name.clone());
                        info.impersonate_groups = group.map(|group| vec![group.to_owned()]);
                    }
                }
                serde_json::to_string(&config).map_err(|error| service_error("the kubeconfig", error))?
            }
        };
        let client = api::client_from_text(&kubeconfig).await?;
        Ok(User { name, kubeconfig, client })
    }

    /// Gives a user a role in a namespace, by a RoleBinding of this name; `role` is its kind (`ClusterRole`, `Role`) and name. It takes
    /// a moment until it is in force.
    ///
    /// # Errors
    /// The API server's refusal.
    pub async fn bind(&self, user: &User, namespace: &str, name: &str, role: (&str, &str)) -> Result<()> {
        let rbac = "rbac.authorization.k8s.io";
        let binding = json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": rbac, "kind": role.0, "name": role.1},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user.name}],
        });
        self.apply(binding).await.map(drop)
    }

    /// Starts a pod of the tests' workload and waits until it serves. `spec` is merged over the pod's own spec.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn probe(&self, namespace: &str, name: &str, labels: Value, extra: Value) -> Result<Probe> {
        let image = std::env::var("SLUICEGATE_E2E_PROBE_IMAGE").unwrap_or_else(|_| PROBE_IMAGE.to_owned());
        let mut spec = json!({
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "probe", "image": image, "imagePullPolicy": "IfNotPresent", "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}},
            }],
        });
        merge(&mut spec, extra);
        self.apply(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec})).await?;
        let pod = self.condition(("v1", "Pod", namespace, name), "Ready", "True", 120).await?;
        let address = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        Ok(Probe { client: self.client(), namespace: namespace.to_owned(), name: name.to_owned(), address })
    }
}

impl Probe {
    /// The addresses of a name, one a line.
    ///
    /// # Errors
    /// Where the pod cannot resolve it.
    pub async fn resolve(&self, name: &str) -> Result<String> {
        self.ask("resolve", "name", name).await
    }

    /// The answer to a GET: the status in the first line, then the body.
    ///
    /// # Errors
    /// Where the pod reaches nobody there.
    pub async fn get(&self, url: &str) -> Result<String> {
        self.ask("get", "url", url).await
    }

    /// Opens a TCP connection to `HOST:PORT`.
    ///
    /// # Errors
    /// Where it does not come about.
    pub async fn connect(&self, address: &str) -> Result<()> {
        self.ask("tcp", "address", address).await.map(|_| ())
    }

    /// The content of a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn file(&self, path: &str) -> Result<String> {
        self.ask("file", "path", path).await
    }

    /// Asks one of the workload's endpoints, through the API server.
    async fn ask(&self, endpoint: &str, parameter: &str, value: &str) -> Result<String> {
        let encoded: String = value
            .bytes()
            .map(
                |byte| {
                    if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
                },
            )
            .collect();
        let url = format!(
            "/api/v1/namespaces/{}/pods/{}:8080/proxy/{endpoint}?{parameter}={encoded}",
            self.namespace, self.name
        );
        let request = ::http::Request::get(&url).body(Vec::new()).map_err(|error| service_error(&url, error))?;
        self.client
            .request_text(request)
            .await
            .map_err(|error| Error::api(format!("{endpoint} {value} in {}", self.name), error))
    }
}

/// Applies an object (server-side) with somebody's client.
///
/// # Errors
/// The API server's refusal.
pub async fn apply_as(client: &kube::Client, object: Value) -> Result<Value> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
    let api = api_of(client.clone(), &text("/apiVersion"), &kind, &namespace);
    let applied = api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object)).await;
    let applied = applied.map_err(|error| Error::api(format!("applying {kind} {namespace}/{name}"), error))?;
    serde_json::to_value(applied).map_err(|error| service_error(format!("{kind} {name}"), error))
}

/// Creates an object with somebody's client: unlike an apply it needs no right but `create`.
///
/// # Errors
/// The API server's refusal.
pub async fn create_as(client: &kube::Client, object: Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object).map_err(|error| service_error("an object", error))?;
    let types = object.types.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let api = api_of(client.clone(), &types.api_version, &types.kind, &namespace);
    api.create(&PostParams::default(), &object)
        .await
        .map(|_| ())
        .map_err(|error| Error::api(format!("creating {}", types.kind), error))
}

fn api_of(client: kube::Client, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if namespace.is_empty() {
        Api::all_with(client, &resource)
    } else {
        Api::namespaced_with(client, namespace, &resource)
    }
}

/// Objects are merged by key, everything else is replaced; the first container is merged, not replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(base), Value::Array(over)) if base.len() == 1 && over.len() == 1 => {
            for (one, other) in base.iter_mut().zip(over) {
                merge(one, other);
            }
        }
        (_, Value::Null) => {}
        (base, over) => *base = over,
    }
}
