//! A cluster that asks the webhook, and requests whose answers are seen whole, warnings included.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::webhook::{Front, Replica, install_configurations, install_guard, install_rights};
use sluicegate_e2e::suite::{Space, Target, User, operator, own_control_plane, test_on, test_on_own_plane, unique};
use tokio::sync::OnceCell;

pub(crate) const API: &str = "sluicegate.dev/v1alpha1";

/// A cluster with Sluicegate's kinds, and the webhook's replicas.
#[derive(Clone)]
pub(crate) struct Hook {
    pub(crate) space: Space,
    pub(crate) cluster: Cluster,
    pub(crate) front: Arc<Front>,
}

/// What the API server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) object: Value,
    pub(crate) warnings: Vec<String>,
}

fn harness() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluicegate-e2e"))
}

/// A control plane that tests share, with one replica that runs all the time.
struct Shared {
    label: &'static str,
    cluster: OnceLock<std::result::Result<Cluster, String>>,
    running: OnceCell<(Arc<Front>, Replica)>,
}

impl Shared {
    const fn new(label: &'static str) -> Self {
        Self { label, cluster: OnceLock::new(), running: OnceCell::const_new() }
    }

    fn target(&self) -> Result<Target> {
        let cluster = self
            .cluster
            .get_or_init(|| own_control_plane(harness(), &unique(self.label)).map_err(|error| error.to_string()));
        let cluster = cluster.clone().map_err(|why| Error::Service { what: "the control plane".into(), why })?;
        Ok(Target::Harness(Box::new(cluster)))
    }

    /// What is installed beside the webhook configurations that answer for Sluicegate's own kinds is the caller's.
    async fn hook(&self, space: Space, install: impl AsyncFnOnce(&Cluster, &Front) -> Result<()>) -> Result<Hook> {
        let cluster = space.cluster().cloned().expect("a cluster of the harness");
        let start = async || {
            let front = prepare(&cluster).await?;
            let replica = Replica::new(&cluster, "shared", &[])?;
            replica.start().await?;
            front.lead_to(&[&replica]);
            install_configurations(&cluster, front.address()).await?;
            install(&cluster, &front).await?;
            Ok::<_, Error>((Arc::new(front), replica))
        };
        let (front, _) = self.running.get_or_try_init(start).await?;
        let hook = Hook { space, cluster: cluster.clone(), front: front.clone() };
        hook.is_asked().await?;
        Ok(hook)
    }
}

/// On a control plane that the tests of Sluicegate's own kinds share.
pub(crate) fn on_shared(name: &str, body: impl AsyncFnOnce(Hook) -> Result<()>) {
    static SHARED: Shared = Shared::new("hook");
    test_on(name, || SHARED.target(), async |space| body(SHARED.hook(space, async |_, _| Ok(())).await?).await);
}

/// On a control plane that the tests of the guard share: the webhook is its guard, and there are no ValidatingAdmissionPolicies.
pub(crate) fn on_guarded(name: &str, body: impl AsyncFnOnce(Hook) -> Result<()>) {
    static SHARED: Shared = Shared::new("ward");
    test_on(
        name,
        || SHARED.target(),
        async |space| {
            let guard = async |cluster: &Cluster, front: &Front| install_guard(cluster, front.address()).await;
            body(SHARED.hook(space, guard).await?).await
        },
    );
}

/// A control plane of the test's own, with everything installed but the webhook configurations, and nothing running.
pub(crate) fn on_own(name: &str, body: impl AsyncFnOnce(Hook) -> Result<()>) {
    test_on_own_plane(harness(), name, async |space| {
        let cluster = space.cluster().cloned().expect("a cluster of the harness");
        let front = Arc::new(prepare(&cluster).await?);
        body(Hook { space, cluster, front }).await
    });
}

async fn prepare(cluster: &Cluster) -> Result<Front> {
    operator::install(cluster).await?;
    install_rights(cluster).await?;
    Front::open(cluster)
}

/// A policy for one tenant: its own folder on one Git server, its own namespaces on the cluster.
pub(crate) fn policy(name: &str, tenant: &str) -> Value {
    json!({"apiVersion": API, "kind": "FluxPolicy", "metadata": {"name": name}, "spec": {
        "tenants": {"names": [tenant]},
        "sources": {"git": {"allow": ["https://git.example.com/${tenant}/**"]}},
        "destinations": [{"clusters": ["local"], "namespaces": ["${tenant}", "${tenant}-*"]}],
        "defaults": {"cluster": "local", "namespace": "${tenant}", "ref": {"branch": "main"}, "path": "./"},
    }})
}

pub(crate) fn url(tenant: &str) -> String {
    format!("https://git.example.com/{tenant}/shop.git")
}

pub(crate) fn config(tenant: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": API, "kind": "FluxConfig", "metadata": {"name": name, "namespace": tenant}, "spec": spec})
}

pub(crate) fn minimal(tenant: &str) -> Value {
    config(tenant, "shop", json!({"source": {"url": url(tenant)}}))
}

/// The object of a namespace.
pub(crate) fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

pub(crate) fn path(object: &Value) -> (String, String) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api, kind) = (text("/apiVersion"), text("/kind"));
    let root = if api.contains('/') { format!("/apis/{api}") } else { format!("/api/{api}") };
    let plural = match kind.to_lowercase().strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{}s", kind.to_lowercase()),
    };
    let namespace = text("/metadata/namespace");
    let list = if namespace.is_empty() {
        format!("{root}/{plural}")
    } else {
        format!("{root}/namespaces/{namespace}/{plural}")
    };
    let one = format!("{list}/{}", text("/metadata/name"));
    (list, one)
}

/// Sends a request with somebody's client, and gives the whole answer.
pub(crate) async fn send(
    client: &kube::Client,
    method: http::Method,
    path: &str,
    content_type: &str,
    body: Value,
) -> Result<Answer> {
    let fail = |why: String| Error::Service { what: path.to_owned(), why };
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(CONTENT_TYPE, content_type)
        .body(Body::from(body.to_string().into_bytes()))
        .map_err(|error| fail(error.to_string()))?;
    let response = client.send(request).await.map_err(|error| fail(error.to_string()))?;
    let (status, warnings) = (response.status().as_u16(), warnings(response.headers()));
    let body = response.into_body().collect().await.map_err(|error| fail(error.to_string()))?.to_bytes();
    let object = serde_json::from_slice(&body).map_err(|error| fail(error.to_string()))?;
    Ok(Answer { status, object, warnings })
}

/// `Warning: 299 - "text"`, with quotes and backslashes escaped.
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all("warning").into_iter().filter_map(|value| value.to_str().ok());
    texts
        .map(|text| {
            let quoted = text.strip_prefix("299 - \"").and_then(|text| text.strip_suffix('"')).unwrap_or(text);
            quoted.replace("\\\"", "\"").replace("\\\\", "\\")
        })
        .collect()
}

impl Answer {
    pub(crate) fn message(&self) -> &str {
        self.object["message"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn accepted(self) -> Answer {
        assert!(self.status < 300, "should be accepted: {} {}", self.status, self.message());
        self
    }

    /// Refused because the webhook cannot be asked: 500, in words that name it.
    #[track_caller]
    pub(crate) fn unanswered(self) {
        assert!(self.status >= 400, "should be refused: {}", self.object);
        assert!(self.message().contains("failed calling webhook"), "refused for another reason: {}", self.message());
    }

    /// Refused, in words that contain this.
    #[track_caller]
    pub(crate) fn rejected(self, why: &str) -> String {
        assert!((400..500).contains(&self.status), "should be refused: {} {}", self.status, self.object);
        assert!(self.message().contains(why), "refused, but not because of {why}: {}", self.message());
        self.message().to_owned()
    }
}

impl Hook {
    /// A namespace with a tenant of its own and its policy.
    pub(crate) async fn tenant(&self) -> Result<String> {
        let tenant = self.space.namespace("t").await?;
        self.apply(policy(&tenant, &tenant)).await?.accepted();
        self.knows(&tenant).await?;
        Ok(tenant)
    }

    /// Waits until the webhook has heard of a tenant's policy.
    pub(crate) async fn knows(&self, tenant: &str) -> Result<()> {
        self.space
            .wait("the webhook to know the policy", 30, || async {
                let answer = self.dry_run(minimal(tenant)).await?;
                if answer.status < 300 {
                    return Ok(Some(()));
                }
                Err(Error::Service { what: tenant.to_owned(), why: answer.message().to_owned() })
            })
            .await
    }

    /// Waits until the API server asks the webhook: what has no policy is refused.
    pub(crate) async fn is_asked(&self) -> Result<()> {
        let object = config("default", "nobody", json!({"source": {"url": url("nobody")}}));
        self.space
            .wait("the API server to ask the webhook", 60, || async {
                let answer = self.dry_run(object.clone()).await?;
                Ok((answer.status == 403 && answer.message().contains("[no-policy]")).then_some(()))
            })
            .await
    }

    pub(crate) async fn apply(&self, object: Value) -> Result<Answer> {
        self.apply_by(&self.space.client(), object).await
    }

    pub(crate) async fn apply_by(&self, client: &kube::Client, object: Value) -> Result<Answer> {
        let path = format!("{}?fieldManager=test&force=true", path(&object).1);
        send(client, http::Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// As kustomize-controller asks before it applies.
    pub(crate) async fn dry_run(&self, object: Value) -> Result<Answer> {
        let path = format!("{}?fieldManager=test&force=true&dryRun=All", path(&object).1);
        send(&self.space.client(), http::Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// Creates an object without keeping it, by somebody's client.
    pub(crate) async fn tries(&self, client: &kube::Client, object: &Value) -> Result<Answer> {
        let path = format!("{}?dryRun=All", path(object).0);
        send(client, http::Method::POST, &path, "application/json", object.clone()).await
    }

    pub(crate) async fn create(&self, object: Value) -> Result<Answer> {
        send(&self.space.client(), http::Method::POST, &path(&object).0, "application/json", object).await
    }

    /// Replaces an object as it is by another, as `kubectl replace` does.
    pub(crate) async fn replace(&self, mut object: Value) -> Result<Answer> {
        let (_, one) = path(&object);
        let found = send(&self.space.client(), http::Method::GET, &one, "application/json", json!({})).await?;
        object["metadata"]["resourceVersion"] = found.object["metadata"]["resourceVersion"].clone();
        send(&self.space.client(), http::Method::PUT, &one, "application/json", object).await
    }

    pub(crate) async fn patch(&self, object: &Value, patch: Value) -> Result<Answer> {
        let client = self.space.client();
        send(&client, http::Method::PATCH, &path(object).1, "application/merge-patch+json", patch).await
    }

    pub(crate) async fn delete(&self, object: &Value) -> Result<Answer> {
        send(&self.space.client(), http::Method::DELETE, &path(object).1, "application/json", json!({})).await
    }

    /// A user who may do everything with these resources, and nothing else.
    pub(crate) async fn user(&self, name: &str, rules: Value) -> Result<User> {
        let user = self.space.user(name, None).await?;
        let kind = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": user.name}});
        let mut role = kind("ClusterRole");
        role["rules"] = rules;
        self.space.apply(role).await?;
        let mut binding = kind("ClusterRoleBinding");
        binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user.name});
        binding["subjects"] = json!([{"kind": "User", "name": user.name, "apiGroup": "rbac.authorization.k8s.io"}]);
        self.space.apply(binding).await?;
        Ok(user)
    }
}
