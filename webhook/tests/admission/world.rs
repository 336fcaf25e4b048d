//! A small platform, and requests to change it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy, GuardMode};
use sluicegate_policy::{Cluster, Labels, Namespace, PolicySet, guard::Residents};
use sluicegate_webhook::{
    decide::{Budget, Hook, decide},
    review::{Answer, Reading, encode, read},
    snapshot::{Configs, Snapshot},
};

pub const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

pub const OPERATOR: &str = "system:serviceaccount:sluicegate-system:sluicegate-operator";

/// A request, which is changed until it is sent.
#[derive(Clone)]
pub struct Ask(Value);

/// The platform: policy `teams`, clusters `prod-eu` and `dev`, tenants `team-a` and `team-b`.
pub fn snapshot() -> Snapshot {
    with(vec![("teams", teams())], &[])
}

/// The same as `snapshot`, where the webhook guards cluster `prod-eu`: with Flux sources of every kind allowed, images of the
/// tenant's own registry, and TenantGuards in `team-a`, which is labelled as tenant `team-a`'s, and in `shared`, where an agent
/// of `team-b` lives too. `team-new` has a label and no TenantGuard.
pub fn guarded() -> Snapshot {
    guarded_with(guarding(), &[])
}

pub fn guarding() -> Value {
    teams_with(json!({
        "sources": {
            "git": {"allow": ["https://git.example.com/${tenant}/**"], "deny": ["https://git.example.com/*/attic"]},
            "oci": {"allow": ["oci://registry.example.com/${tenant}/**"]},
            "helm": {"allow": ["https://charts.example.com/stable"]},
            "bucket": {"allow": ["https://s3.example.com/${tenant}"]},
        },
        "images": {"allow": ["registry.example.com/${tenant}/**", "docker.io/library/nginx"], "denyTags": ["latest"]},
        "destinations": [{"clusters": ["prod-eu", "dev"], "namespaces": ["${tenant}", "${tenant}-*", "shared"]}],
    }))
}

pub fn guarded_with(policy: Value, configs: &[Value]) -> Snapshot {
    guarded_by(GuardMode::Webhook, policy, configs)
}

pub fn guarded_by(mode: GuardMode, policy: Value, configs: &[Value]) -> Snapshot {
    let mut snapshot = with(vec![("teams", policy)], configs);
    let tenants = [
        ("team-a", "team-a"),
        ("shared", "team-b"),
        ("team-new", "team-new"),
        ("foreign", "nobody"),
        ("kube-system", "team-a"),
    ];
    let mut namespaces = (*snapshot.namespaces).clone();
    for (namespace, tenant) in tenants {
        let labels = Labels::from([("sluicegate.dev/tenant".to_owned(), tenant.to_owned())]);
        namespaces.insert(namespace.into(), labels.into());
    }
    snapshot = snapshot.over(Arc::new(namespaces), snapshot.clusters.clone());
    let resident = |accounts: &[&str], images: &[&str]| {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Residents { operator: OPERATOR.to_owned(), accounts: texts(accounts), images: texts(images) }
    };
    let agent =
        resident(&["kustomize-controller", "sluicegate-reconciler"], &["ghcr.io/fluxcd/kustomize-controller:v1.9.4"]);
    let none = resident(&[], &[]);
    let residents =
        [("team-a", none.clone()), ("shared", agent), ("foreign", none)].map(|(name, found)| (name.to_owned(), found));
    snapshot.guarding(&BTreeMap::from([("prod-eu".to_owned(), mode)]), &BTreeMap::from(residents))
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
    let labels = |label: &str| Labels::from([("env".to_owned(), label.to_owned())]);
    let namespace = |name: &str| (name.into(), Namespace::from(labels("")));
    let cluster = |name: &str, label: &str| (name.into(), Cluster::from(labels(label)));
    // The management cluster, on which nobody but the tests of homes deploys.
    let hub = Cluster { management: true, ..Cluster::default() };
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
        Arc::new(["team-a", "team-b", "other"].map(namespace).into()),
        Arc::new([cluster("prod-eu", "production"), cluster("dev", "development"), ("hub".into(), hub)].into()),
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

/// A pod in a namespace.
pub fn pod(namespace: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop", "namespace": namespace}, "spec": spec})
}

/// A Flux object of the team in `team-a`.
pub fn flux(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "spec": spec, "metadata": {
        "name": "shop", "namespace": "team-a", "labels": {"sluicegate.dev/agent": "team-a"},
    }})
}

/// Harmless settings pass, and each of these fields is refused in an object that has them beside it; of an update only what
/// is new is.
#[track_caller]
pub fn rejects_fields(api_version: &str, kind: &str, spec: Value, fields: &[(&str, Value, &str)]) {
    let snapshot = guarded();
    let harmless = flux(api_version, kind, spec.clone());
    Ask::create(kind, harmless.clone()).passes(&snapshot);
    for (field, value, why) in fields {
        let mut spec = spec.clone();
        spec[field] = value.clone();
        let object = flux(api_version, kind, spec);
        let said = Ask::create(kind, object.clone()).is_refused(&snapshot, why);
        assert!(said.contains("[flux-object-not-allowed]") && said.contains("\n  help: "), "{said}");
        Ask::update(kind, harmless.clone(), object.clone()).is_refused(&snapshot, why);
        let mut suspended = object.clone();
        suspended["spec"]["suspend"] = json!(true);
        Ask::update(kind, object, suspended).passes(&snapshot);
    }
}

/// Each of these settings is fine.
#[track_caller]
pub fn accepts_fields(api_version: &str, kind: &str, spec: Value, fields: &[(&str, Value)]) {
    for (field, value) in fields {
        let mut spec = spec.clone();
        spec[field] = value.clone();
        Ask::create(kind, flux(api_version, kind, spec)).passes(&guarded());
    }
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
            _ => return Self::in_guarded(kind, operation, object),
        };
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (name, namespace) = (text("name"), if kind == "Namespace" { text("name") } else { text("namespace") });
        Self::about(group, kind, resource, operation).set("name", json!(name)).set("namespace", json!(namespace))
    }

    /// By group and version of the object, in the plural that all these kinds have.
    fn in_guarded(kind: &str, operation: &str, object: &Value) -> Self {
        let api = object["apiVersion"].as_str().unwrap();
        let group = api.split_once('/').map_or("", |(group, _)| group);
        let plural = kind.to_lowercase().replace("policy", "policie").replace("repository", "repositorie") + "s";
        let text = |field: &str| object["metadata"][field].clone();
        Self::about(group, kind, &plural, operation).set("name", text("name")).set("namespace", text("namespace"))
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

    /// The same with the fields in the API server's order: what is asked about comes before the objects, and an object is read
    /// where it stands.
    fn sent(&self) -> Vec<u8> {
        let mut fields = self.0.as_object().unwrap().clone();
        let objects = ["object", "oldObject"].map(|field| fields.remove(field).unwrap_or_default().to_string());
        let fields = Value::Object(fields).to_string();
        let fields = fields.strip_suffix('}').unwrap();
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{fields},"object":{},"oldObject":{}}}}}"#,
            objects[0], objects[1]
        )
        .into_bytes()
    }

    pub fn at(&self, hook: Hook, snapshot: &Snapshot) -> Answer {
        let budget = Budget::until(Instant::now() + Duration::from_secs(60));
        let asked = |body: &[u8]| decide(hook, read(body, hook.reading()).unwrap(), snapshot, budget);
        let answer = asked(&self.body());
        assert_eq!(answer, asked(&self.sent()), "the order of the fields changes the answer");
        let twice = decide(hook, read(&self.body(), Reading::Texts).unwrap(), snapshot, budget);
        assert_eq!(answer, twice, "an object that is read once is judged otherwise");
        // Whether something is stored afterwards changes nothing.
        let dry = self.clone().set("dryRun", json!(true)).body();
        assert_eq!(answer, asked(&dry), "a dry run is answered otherwise");
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

    /// Expects the guard to allow it.
    #[track_caller]
    pub fn passes(&self, snapshot: &Snapshot) {
        let answer = self.at(Hook::Guard, snapshot);
        assert!(answer.is_allowed(), "should be allowed: {:?}", answer.refusal());
        assert!(answer.patch().is_empty() && answer.warnings().is_empty(), "{answer:?}");
    }

    /// Expects the guard to refuse it with this in the first line, and gives the message.
    #[track_caller]
    pub fn is_refused(&self, snapshot: &Snapshot, why: &str) -> String {
        let answer = self.at(Hook::Guard, snapshot);
        let message = answer.refusal().unwrap_or_else(|| panic!("should be refused: {why}")).to_owned();
        let first = message.lines().next().unwrap_or_default();
        assert!(first.contains(why), "refused for something else than {why}: {message}");
        message
    }

    /// What completion adds.
    pub fn patch(&self, snapshot: &Snapshot) -> Value {
        let answer = self.at(Hook::Complete, snapshot);
        assert!(answer.is_allowed(), "completion denies nothing: {:?}", answer.refusal());
        let sent: Value = serde_json::from_slice(&encode("1", &answer).unwrap()).unwrap();
        let Some(patch) = sent["response"]["patch"].as_str() else { return json!([]) };
        serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap()
    }
}
