//! A small platform, and requests to change it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_policy::{Labels, PolicySet};
use sluicegate_webhook::{
    decide::{Budget, Hook, decide},
    review::{Answer, read},
    snapshot::{Configs, Snapshot},
};

pub const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

/// A request, which is changed until it is sent.
#[derive(Clone)]
pub struct Ask(Value);

/// The platform: policy `teams`, clusters `prod-eu` and `dev`, tenants `team-a` and `team-b`.
pub fn snapshot() -> Snapshot {
    with(vec![("teams", teams())], &[])
}

pub fn with(policies: Vec<(&str, Value)>, configs: &[Value]) -> Snapshot {
    let policies: Vec<FluxPolicy> = policies
        .into_iter()
        .map(|(name, spec)| {
            let object = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy",
                "metadata": {"name": name}, "spec": spec});
            serde_json::from_value(object).unwrap()
        })
        .collect();
    let named = |pairs: &[(&str, &str)]| -> BTreeMap<String, Labels> {
        let labels = |label: &str| Labels::from([("env".to_owned(), label.to_owned())]);
        pairs.iter().map(|(name, label)| ((*name).to_owned(), labels(label))).collect()
    };
    let configs: Configs = configs
        .iter()
        .map(|object| {
            let config: FluxConfig = serde_json::from_value(object.clone()).unwrap();
            let metadata = &config.metadata;
            ((metadata.namespace.clone().unwrap(), metadata.name.clone().unwrap()), Arc::new(config))
        })
        .collect();
    Snapshot::new(
        PolicySet::compile(&policies),
        Arc::new(named(&[("team-a", ""), ("team-b", ""), ("other", "")])),
        Arc::new(named(&[("prod-eu", "production"), ("dev", "development")])),
        Arc::new(configs),
    )
}

pub fn teams() -> Value {
    json!({
        "tenants": {"names": ["team-*"]},
        "sources": {"git": {"allow": ["https://git.example.com/${tenant}/**"]}},
        "images": {"allow": ["registry.example.com/${tenant}/**"]},
        "destinations": [{"clusters": ["prod-eu", "dev"], "namespaces": ["${tenant}", "${tenant}-*"]}],
        "defaults": {"cluster": "prod-eu", "namespace": "${tenant}", "ref": {"branch": "main"}, "path": "./"},
        "limits": {"fluxConfigs": 3},
    })
}

/// `teams` with some fields replaced.
pub fn teams_with(fields: Value) -> Value {
    let mut spec = teams();
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

pub fn config(home: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig",
        "metadata": {"name": name, "namespace": home, "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec})
}

/// A FluxConfig's spec with everything in it.
pub fn complete(home: &str) -> Value {
    json!({"source": {"url": url(home), "ref": {"branch": "main"}}, "path": "./", "cluster": "prod-eu", "namespace": home})
}

pub fn url(home: &str) -> String {
    format!("https://git.example.com/{home}/shop.git")
}

impl Ask {
    pub fn about(group: &str, kind: &str, resource: &str, operation: &str) -> Self {
        let version = if group.is_empty() { "v1" } else { "v1alpha1" };
        Ask(json!({
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": resource},
            "operation": operation, "userInfo": {"username": FLUX, "groups": ["system:authenticated"]},
            "object": null, "oldObject": null, "dryRun": false,
        }))
    }

    /// Makes an object; with its namespace and name, if it has them.
    pub fn create(kind: &str, object: Value) -> Self {
        let ask = Self::of(kind, "CREATE", &object);
        ask.set("object", object)
    }

    pub fn update(kind: &str, old: Value, object: Value) -> Self {
        let ask = Self::of(kind, "UPDATE", &object);
        ask.set("object", object).set("oldObject", old)
    }

    pub fn delete(kind: &str, old: Value) -> Self {
        let ask = Self::of(kind, "DELETE", &old);
        ask.set("oldObject", old)
    }

    fn of(kind: &str, operation: &str, object: &Value) -> Self {
        let (group, resource) = match kind {
            "FluxConfig" => ("sluicegate.dev", "fluxconfigs"),
            "FluxPolicy" => ("sluicegate.dev", "fluxpolicies"),
            "FluxCluster" => ("sluicegate.dev", "fluxclusters"),
            "Namespace" => ("", "namespaces"),
            other => panic!("{other}"),
        };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (name, namespace) = (text("name"), if kind == "Namespace" { text("name") } else { text("namespace") });
        Self::about(group, kind, resource, operation).set("name", json!(name)).set("namespace", json!(namespace))
    }

    pub fn set(mut self, field: &str, value: Value) -> Self {
        self.0[field] = value;
        self
    }

    pub fn by(self, user: &str) -> Self {
        self.set("userInfo", json!({"username": user}))
    }

    /// The review as it is sent.
    pub fn body(&self) -> Vec<u8> {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": self.0});
        review.to_string().into_bytes()
    }

    pub fn at(&self, hook: Hook, snapshot: &Snapshot) -> Answer {
        let budget = Budget::until(Instant::now() + Duration::from_secs(60));
        let answer = decide(hook, &read(&self.body()).unwrap(), snapshot, budget);
        // Whether something is stored afterwards changes nothing.
        let dry = self.clone().set("dryRun", json!(true)).body();
        assert_eq!(answer, decide(hook, &read(&dry).unwrap(), snapshot, budget), "a dry run is answered otherwise");
        answer
    }

    /// Expects it to be allowed, and gives the warnings.
    #[track_caller]
    pub fn accepts(&self, snapshot: &Snapshot) -> Vec<String> {
        let answer = self.at(Hook::Validate, snapshot);
        assert!(answer.is_allowed(), "should be allowed: {:?}", answer.refusal());
        assert!(answer.patch().is_empty(), "only /complete changes anything");
        answer.warnings().to_vec()
    }

    /// Expects it to be denied for this rule, and gives the message.
    #[track_caller]
    pub fn rejects(&self, snapshot: &Snapshot, rule: &str) -> String {
        let answer = self.at(Hook::Validate, snapshot);
        let message = answer.refusal().unwrap_or_else(|| panic!("should be denied for {rule}")).to_owned();
        let first = message.lines().next().unwrap_or_default();
        assert!(first.ends_with(&format!("[{rule}]")), "denied for something else than {rule}: {message}");
        assert!(first.len() < 200, "the first line is long: {first}");
        message
    }

    /// What completion adds.
    pub fn patch(&self, snapshot: &Snapshot) -> Value {
        let answer = self.at(Hook::Complete, snapshot);
        assert!(answer.is_allowed(), "completion denies nothing: {:?}", answer.refusal());
        json!(answer.patch())
    }
}
