//! Every kind that the API server serves in namespaces, by discovery: an object of each, and every request that writes one.
//!
//! A kind or subresource of discovery for which there is no object or body here is an error with its name, so that nothing new
//! of Kubernetes or Flux goes untried.

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::requests::said;

/// Kinds that ask something and are never stored.
const REVIEWS: [&str; 1] = ["LocalSubjectAccessReview"];
/// Subresources that open a connection, whatever the method.
const CONNECTIONS: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// A resource, or one of its subresources, in one version.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    /// Plural, as in URLs.
    pub(crate) name: String,
    /// Empty: the resource itself.
    pub(crate) sub: String,
    pub(crate) kind: String,
    namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(crate) fn has(&self, verb: &str) -> bool {
        self.verbs.iter().any(|found| found == verb)
    }

    fn root(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn collection(&self, namespace: &str) -> String {
        format!("{}/namespaces/{namespace}/{}", self.root(), self.name)
    }

    fn is_connection(&self) -> bool {
        CONNECTIONS.contains(&self.sub.as_str())
    }
}

pub(crate) async fn get(client: &Client, path: &str) -> Result<Value> {
    let request = Request::get(path).body(Vec::new());
    let request = request.map_err(|error| Error::Service { what: path.to_owned(), why: error.to_string() })?;
    client.request(request).await.map_err(|error| Error::api(path, error))
}

/// Everything in namespaces that has a writing verb, and `namespaces` with its subresources.
pub(crate) async fn discover(client: &Client) -> Result<Vec<Resource>> {
    let mut versions = vec![(String::new(), "v1".to_owned())];
    for group in get(client, "/apis").await?["groups"].as_array().into_iter().flatten() {
        for version in group["versions"].as_array().into_iter().flatten() {
            versions.push((text(&group["name"]), text(&version["version"])));
        }
    }
    let mut found = Vec::new();
    for (group, version) in versions {
        let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/{version}") };
        for resource in get(client, &root).await?["resources"].as_array().into_iter().flatten() {
            let full = text(&resource["name"]);
            let (name, sub) = full.split_once('/').unwrap_or((full.as_str(), ""));
            let verbs: Vec<String> = resource["verbs"].as_array().into_iter().flatten().map(text).collect();
            found.push(Resource {
                group: group.clone(),
                version: version.clone(),
                name: name.to_owned(),
                sub: sub.to_owned(),
                kind: text(&resource["kind"]),
                namespaced: resource["namespaced"] == true,
                verbs,
            });
        }
    }
    found.retain(|resource| {
        let writes = ["create", "update", "patch", "delete", "deletecollection"].iter().any(|verb| resource.has(verb));
        let is_namespaces = resource.group.is_empty() && resource.name == "namespaces";
        writes && (resource.namespaced || is_namespaces) && !REVIEWS.contains(&resource.kind.as_str())
    });
    Ok(found)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What an object of a resource is called, so that it can be an agent's.
pub(crate) fn name_of(resource: &Resource) -> String {
    match (&*resource.group, &*resource.name) {
        ("" | "apps", "pods" | "replicasets" | "bindings") => "source-controller-x".to_owned(),
        ("coordination.k8s.io", "leases") => "source-controller-leader-election".to_owned(),
        // Both groups have the same objects.
        ("events.k8s.io", "events") => "source-controller-event".to_owned(),
        _ => "source-controller".to_owned(),
    }
}

/// An object of a resource's kind; `None` where nobody has written one down yet.
pub(crate) fn sample(resource: &Resource, namespace: &str, labels: &Value) -> Option<Value> {
    let selected = json!({"matchLabels": {"app": "x"}});
    let pod = json!({"containers": [{"name": "x", "image": "x:1"}]});
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": pod});
    let job =
        json!({"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": pod["containers"]}}});
    let devices = json!({"devices": {}});
    let source = json!({"kind": "GitRepository", "name": "x"});
    let spec = |spec: Value| json!({"spec": spec});
    let fields = match (&*resource.group, &*resource.kind) {
        ("", "Binding") => json!({"target": {"kind": "Node", "name": "x"}}),
        ("", "ConfigMap" | "Endpoints" | "Secret" | "ServiceAccount") => json!({}),
        ("", "Event") => {
            json!({"involvedObject": {"namespace": namespace}, "reason": "X", "message": "x", "type": "Normal"})
        }
        ("", "LimitRange") => spec(json!({"limits": []})),
        ("", "PersistentVolumeClaim") => spec(
            json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "x", "resources": {"requests": {"storage": "1Mi"}}}),
        ),
        ("", "Pod") => spec(pod),
        ("", "PodTemplate") => json!({"template": template}),
        ("", "ReplicationController") => spec(json!({"replicas": 0, "selector": {"app": "x"}, "template": template})),
        ("", "ResourceQuota") => spec(json!({"hard": {"count/widgets.example.com": "9"}})),
        ("", "Service") => spec(json!({"ports": [{"port": 80}]})),
        ("apps", "ControllerRevision") => json!({"revision": 1, "data": {}}),
        ("apps", "DaemonSet") => spec(json!({"selector": selected, "template": template})),
        ("apps", "Deployment" | "ReplicaSet") => {
            spec(json!({"replicas": 0, "selector": selected, "template": template}))
        }
        ("apps", "StatefulSet") => {
            spec(json!({"replicas": 0, "serviceName": "x", "selector": selected, "template": template}))
        }
        ("autoscaling", "HorizontalPodAutoscaler") => spec(
            json!({"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}),
        ),
        ("batch", "CronJob") => spec(json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": job}})),
        ("batch", "Job") => spec(job),
        ("coordination.k8s.io", "Lease") => spec(json!({"holderIdentity": "x", "leaseDurationSeconds": 15})),
        ("discovery.k8s.io", "EndpointSlice") => json!({"addressType": "IPv4", "endpoints": []}),
        ("events.k8s.io", "Event") => json!({
            "eventTime": "2026-12-01T00:00:00.000000Z", "reportingController": "example.com/x", "reportingInstance": "x",
            "action": "X", "reason": "X", "type": "Normal", "regarding": {"namespace": namespace},
        }),
        ("networking.k8s.io", "Ingress") => {
            spec(json!({"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}))
        }
        ("networking.k8s.io", "NetworkPolicy") => spec(json!({"podSelector": {}})),
        ("policy", "PodDisruptionBudget") => {
            spec(json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "y"}}}))
        }
        ("rbac.authorization.k8s.io", "Role") => json!({"rules": []}),
        ("rbac.authorization.k8s.io", "RoleBinding") => {
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"}})
        }
        ("resource.k8s.io", "ResourceClaim") => spec(devices),
        ("resource.k8s.io", "ResourceClaimTemplate") => spec(json!({"spec": devices})),
        ("storage.k8s.io", "CSIStorageCapacity") => json!({"storageClassName": "x"}),
        ("source.toolkit.fluxcd.io", "GitRepository") => {
            spec(json!({"interval": "1m", "url": "https://git.example.com/x"}))
        }
        ("source.toolkit.fluxcd.io", "HelmRepository") => {
            spec(json!({"interval": "1m", "url": "https://charts.example.com"}))
        }
        ("source.toolkit.fluxcd.io", "OCIRepository") => {
            spec(json!({"interval": "1m", "url": "oci://registry.example.com/x"}))
        }
        ("source.toolkit.fluxcd.io", "Bucket") => {
            spec(json!({"interval": "1m", "endpoint": "s3.example.com", "bucketName": "bucket"}))
        }
        ("source.toolkit.fluxcd.io", "HelmChart") => {
            spec(json!({"interval": "1m", "chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x"}}))
        }
        ("source.toolkit.fluxcd.io", "ExternalArtifact") => spec(json!({"sourceRef": source})),
        ("source.extensions.fluxcd.io", "ArtifactGenerator") => spec(json!({
            "sources": [{"alias": "x", "kind": "GitRepository", "name": "x"}],
            "artifacts": [{"name": "x", "copy": [{"from": "@x/**", "to": "@artifact/"}]}],
        })),
        ("kustomize.toolkit.fluxcd.io", "Kustomization") => {
            spec(json!({"interval": "1m", "prune": true, "sourceRef": source}))
        }
        ("helm.toolkit.fluxcd.io", "HelmRelease") => spec(json!({
            "interval": "1m", "chart": {"spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x"}}},
        })),
        ("notification.toolkit.fluxcd.io", "Alert") => {
            spec(json!({"providerRef": {"name": "x"}, "eventSources": [source]}))
        }
        ("notification.toolkit.fluxcd.io", "Provider") => {
            spec(json!({"type": "generic", "address": "https://hooks.example.com"}))
        }
        ("notification.toolkit.fluxcd.io", "Receiver") => {
            spec(json!({"type": "generic", "resources": [source], "secretRef": {"name": "x"}}))
        }
        ("image.toolkit.fluxcd.io", "ImageRepository") => {
            spec(json!({"image": "registry.example.com/x", "interval": "1m"}))
        }
        ("image.toolkit.fluxcd.io", "ImagePolicy") => {
            spec(json!({"imageRepositoryRef": {"name": "x"}, "policy": {"semver": {"range": "*"}}}))
        }
        ("image.toolkit.fluxcd.io", "ImageUpdateAutomation") => spec(
            json!({"interval": "1m", "sourceRef": source, "git": {"commit": {"author": {"email": "x@example.com"}}}}),
        ),
        ("sluicegate.dev", "FluxConfig") => spec(json!({"source": {"url": "https://git.example.com/x"}})),
        ("sluicegate.dev", "TenantGuard") => spec(guard()),
        _ => return None,
    };
    let mut object = fields;
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    object["metadata"] = json!({"name": name_of(resource), "namespace": namespace, "labels": labels});
    Some(object)
}

/// A TenantGuard that allows nothing.
fn guard() -> Value {
    let list = || json!({"shapes": []});
    let lists = || json!({"allow": list(), "deny": list()});
    json!({
        "tenant": "x", "cluster": "x", "operator": "x", "accounts": [], "refusal": "",
        "images": {"allow": list(), "deny": list(), "denyTags": {}, "requireDigest": false, "agent": []},
        "sources": {"git": lists(), "helm": lists(), "oci": lists(), "bucket": lists(), "requireVerification": false, "requireDigest": false},
    })
}

/// What is sent to a subresource that is no part of its object.
fn body(resource: &Resource, namespace: &str, labels: &Value) -> Option<Value> {
    let metadata = json!({"name": name_of(resource), "namespace": namespace, "labels": labels});
    match (&*resource.name, &*resource.sub) {
        ("pods", "binding") => Some(
            json!({"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": "x"}}),
        ),
        ("pods", "eviction") => Some(json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata})),
        ("serviceaccounts", "token") => {
            Some(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}))
        }
        _ => None,
    }
}

/// A request; objects are not written but by `keeping`.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content: &'static str,
    pub(crate) body: Value,
}

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

impl Attempt {
    pub(crate) fn new(method: Method, path: &str, content: &'static str, body: Value) -> Attempt {
        Attempt {
            method,
            path: format!("{path}{}dryRun=All", if path.contains('?') { '&' } else { '?' }),
            content,
            body,
        }
    }

    pub(crate) fn post(path: &str, body: Value) -> Attempt {
        Attempt::new(Method::POST, path, JSON, body)
    }

    /// Opens a connection; there is no other way to try that.
    pub(crate) fn connection(method: Method, path: &str) -> Attempt {
        Attempt { method, path: path.to_owned(), content: JSON, body: Value::Null }
    }

    /// Makes an object that stays.
    pub(crate) fn keeping(collection: &str, body: Value) -> Attempt {
        Attempt { method: Method::POST, path: collection.to_owned(), content: JSON, body }
    }

    /// Sends it; the answer, or the refusal in words.
    pub(crate) async fn send(&self, client: &Client) -> std::result::Result<Value, String> {
        let body = if self.body.is_null() { Vec::new() } else { self.body.to_string().into_bytes() };
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header("content-type", self.content)
            .body(body)
            .map_err(|error| error.to_string())?;
        let answer = client.request_text(request).await.map_err(|error| said(&error))?;
        Ok(serde_json::from_str(&answer).unwrap_or(Value::Null))
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// A patch of labels.
pub(crate) fn labelling(labels: &Value) -> Value {
    json!({"metadata": {"labels": labels}})
}

/// Every request that writes a resource or subresource of an object that is there, or makes one with these labels. `patch` is
/// what a patch changes.
///
/// # Errors
/// A kind or subresource that nobody has written down here, by its name.
pub(crate) async fn attempts(
    client: &Client,
    resource: &Resource,
    namespace: &str,
    labels: &Value,
    patch: &Value,
) -> std::result::Result<Vec<Attempt>, String> {
    let missing = || {
        format!(
            "{} {}/{} has no sample in e2e/tests/guard/kinds.rs: add one",
            resource.api_version(),
            resource.kind,
            resource.sub
        )
    };
    let collection = resource.collection(namespace);
    let object = format!("{collection}/{}", name_of(resource));
    let path = if resource.sub.is_empty() { object.clone() } else { format!("{object}/{}", resource.sub) };
    if resource.is_connection() {
        let methods = [
            ("create", Method::POST),
            ("get", Method::GET),
            ("update", Method::PUT),
            ("patch", Method::PATCH),
            ("delete", Method::DELETE),
        ];
        let path = if resource.sub == "proxy" { path } else { format!("{path}?command=ls&ports=80") };
        let methods = methods.into_iter().filter(|(verb, _)| resource.has(verb));
        return Ok(methods.map(|(_, method)| Attempt::connection(method, &path)).collect());
    }
    let mut found = Vec::new();
    if resource.has("create") {
        let body = if resource.sub.is_empty() {
            sample(resource, namespace, labels)
        } else {
            body(resource, namespace, labels)
        };
        let to = if resource.sub.is_empty() { &collection } else { &path };
        found.push(Attempt::post(to, body.ok_or_else(missing)?));
    }
    if resource.sub.is_empty() && sample(resource, namespace, labels).is_none() {
        return Err(missing());
    }
    if resource.has("update") {
        let from = if resource.has("get") { &path } else { &object };
        let mut whole = get(client, from).await.map_err(|error| error.to_string())?;
        merge(&mut whole, patch);
        found.push(Attempt::new(Method::PUT, &path, JSON, whole));
    }
    if resource.has("patch") {
        found.push(Attempt::new(Method::PATCH, &path, MERGE, patch.clone()));
    }
    if resource.has("delete") {
        found.push(Attempt::new(Method::DELETE, &path, JSON, Value::Null));
    }
    if resource.has("deletecollection") {
        found.push(Attempt::new(Method::DELETE, &collection, JSON, Value::Null));
    }
    Ok(found)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert_with(|| json!({})), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Every change of one label of a Namespace that a resource of it takes.
pub(crate) fn relabelling(resource: &Resource, path: &str, whole: &Value, label: &str, value: &Value) -> Vec<Attempt> {
    let mut found = Vec::new();
    if resource.has("patch") {
        found.push(Attempt::new(Method::PATCH, path, MERGE, labelling(&json!({label: value}))));
    }
    if resource.has("update") {
        let mut changed = whole.clone();
        if let Some(labels) = changed["metadata"]["labels"].as_object_mut() {
            labels.insert(label.to_owned(), value.clone());
            labels.retain(|_, value| !value.is_null());
        }
        found.push(Attempt::new(Method::PUT, path, JSON, changed));
    }
    found
}
