//! Records the reviews that the bench sends: what an API server asks when Flux applies a FluxConfig, and when the controllers of
//! Kubernetes make the pods of a Deployment. Nobody judges anything meanwhile.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sluicegate_crds::API_VERSION;
use sluicegate_e2e::api;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::network::NODE_ADDRESS;
use sluicegate_e2e::suite::operator::{self, install};
use sluicegate_e2e::suite::{apply_as, http, own_control_plane};

use super::platform::{Question, RECORDED, WRITER};
use crate::bench::say;

/// What the API server may take to ask about everything.
const LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);
/// Environment variables of a container.
const VARIABLES: usize = 12;

/// Reviews as they came.
type Heard = Arc<Mutex<Vec<String>>>;

/// Records every review into a folder.
pub(super) fn record(name: &str, folder: &Path) -> anyhow::Result<()> {
    say("starting a control plane");
    let cluster = own_control_plane(&std::env::current_exe()?, name)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let recorded = runtime.block_on(listen(&cluster));
    let ended = Cluster::down(cluster.name());
    for (question, review) in recorded? {
        say(&format!("{}: {} bytes", question.name(), review.len()));
        fs::write(folder.join(question.file()), review + "\n")?;
    }
    ended?;
    Ok(())
}

async fn listen(cluster: &Cluster) -> anyhow::Result<Vec<(Question, String)>> {
    install(cluster).await?;
    let administrator = api::client(&cluster.layout().kubeconfig()).await?;
    let rbac = "rbac.authorization.k8s.io";
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RECORDED}});
    let binding = json!({
        "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "kustomize-controller"},
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": rbac, "name": WRITER}],
    });
    let (completed, judged) = (Heard::default(), Heard::default());
    let mutating = configuration(cluster, "Mutating", &completed, Some(places()))?;
    let validating = configuration(cluster, "Validating", &judged, None)?;
    for object in [namespace, binding, mutating, validating] {
        apply_as(&administrator, object).await?;
    }
    let flux = api::client_from_text(&cluster.kubeconfig_for(WRITER, Some(operator::GROUP))?).await?;
    let began = Instant::now();
    loop {
        // It takes a moment until the API server asks, so each is written until it was asked about.
        for object in [flux_config(), deployment("shop", 1), deployment("suite", 18)] {
            apply_by_flux(&flux, object).await?;
        }
        let mut found = Vec::new();
        for question in Question::ALL {
            let heard = if question == Question::Complete { &completed } else { &judged };
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(
                heard.iter().find(|review| question.is_asked_by(review)).map(|review| (question, review.clone())),
            );
        }
        if found.len() == Question::ALL.len() {
            return Ok(found);
        }
        if began.elapsed() > LIMIT {
            bail!("the API server has asked about no more than {} of what is to be recorded", found.len());
        }
        for (kind, name) in [("fluxconfigs", "storefront"), ("deployments", "shop"), ("deployments", "suite")] {
            let group = if kind == "fluxconfigs" { API_VERSION } else { "apps/v1" };
            let path = format!("/apis/{group}/namespaces/{RECORDED}/{kind}/{name}");
            let request = ::http::Request::delete(path).body(Vec::new())?;
            administrator.request_text(request).await?;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Server-side apply, as kustomize-controller does.
async fn apply_by_flux(client: &kube::Client, object: Value) -> anyhow::Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let kind = format!("{}s", text("/kind").to_lowercase());
    let path = format!(
        "/apis/{}/namespaces/{RECORDED}/{kind}/{}?fieldManager=kustomize-controller&force=true",
        text("/apiVersion"),
        text("/metadata/name")
    );
    let request = ::http::Request::patch(path)
        .header(::http::header::CONTENT_TYPE, "application/apply-patch+yaml")
        .body(object.to_string().into_bytes())?;
    client.request_text(request).await.map(drop).context("applying")
}

/// A configuration that has the API server ask here about FluxConfigs and pods, and say everything is allowed.
fn configuration(cluster: &Cluster, kind: &str, heard: &Heard, patch: Option<Value>) -> anyhow::Result<Value> {
    let authority = cluster.authority()?;
    let socket = cluster.listen(0)?;
    let address = socket.local_addr()?;
    let record = heard.clone();
    http::serve(socket, &authority.server("recorder", &[NODE_ADDRESS])?, move |body| {
        let review: Value = serde_json::from_slice(body).unwrap_or_default();
        record.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(body).into_owned());
        let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
        if let (Some(patch), "FluxConfig") = (&patch, review["request"]["kind"]["kind"].as_str().unwrap_or_default()) {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(patch.to_string()));
        }
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        answer.to_string().into_bytes()
    })?;
    let rule = |group: &str, version: &str, resource: &str| json!({"apiGroups": [group], "apiVersions": [version], "operations": ["CREATE"], "resources": [resource]});
    Ok(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": "recorder"},
        "webhooks": [{
            "name": "recorder.sluicegate.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://{address}/"), "caBundle": STANDARD.encode(&authority.certificate)},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": RECORDED}},
            "rules": [rule("sluicegate.dev", "v1alpha1", "fluxconfigs"), rule("", "v1", "pods")],
        }],
    }))
}

/// What the webhook fills in.
fn places() -> Value {
    let add = |path: &str, value: Value| json!({"op": "add", "path": path, "value": value});
    json!([
        add("/spec/source/ref", json!({"branch": "main"})),
        add("/spec/path", json!("./")),
        add("/spec/cluster", json!("prod-eu")),
        add("/spec/namespace", json!(RECORDED)),
    ])
}

/// The labels that kustomize-controller gives everything.
fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": name, "kustomize.toolkit.fluxcd.io/name": "platform",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
    })
}

/// What a team writes.
fn flux_config() -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": "FluxConfig",
        "metadata": {"name": "storefront", "namespace": RECORDED, "labels": labels("storefront")},
        "spec": {
            "source": {"url": format!("https://git.example.com/{RECORDED}/storefront.git")},
            "interval": "10m", "timeout": "3m", "wait": true,
        },
    })
}

/// A Deployment with so many containers, each as charts have them.
fn deployment(name: &str, containers: usize) -> Value {
    let container = |number: usize| {
        let name = format!("{name}-{number}");
        let variable = |number: usize| json!({"name": format!("SETTING_{number}"), "value": format!("value-{number}.example.com:8080")});
        json!({
            "name": name, "image": format!("registry.example.com/{RECORDED}/{name}:1.4.{number}"),
            "env": (0..VARIABLES).map(variable).collect::<Vec<_>>(),
            "ports": [{"name": format!("http-{number}"), "containerPort": 8080 + number}],
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080 + number}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080 + number}},
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        })
    };
    let selected = json!({"app.kubernetes.io/name": name});
    let spec = json!({"containers": (0..containers).map(container).collect::<Vec<_>>()});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": RECORDED, "labels": labels(name)},
        "spec": {"selector": {"matchLabels": selected}, "template": {"metadata": {"labels": selected}, "spec": spec}},
    })
}
