//! Who is asked the same about an object in a tenant's namespace, beside an API server: the engine, whose word counts, the
//! webhook, and the command line. Neither of these needs a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use sluicegate_crds::{AGENT_LABEL, FluxPolicy, GuardMode, TENANT_LABEL, TenantGuardSpec};
use sluicegate_e2e::suite::inputs;
use sluicegate_e2e::suite::operator::{CLUSTER, USER, program};
use sluicegate_policy::grammar::{ClusterId, NamespaceName, TenantName};
use sluicegate_policy::guard::{Residents, Ward as Place, compile};
use sluicegate_policy::workload::{Reach, reaches};
use sluicegate_policy::{Answer, Facts, Labels, PolicySet, Question, Unseen, Violation, ask, message};
use sluicegate_webhook::decide::{Budget, Hook, decide};
use sluicegate_webhook::review::read;
use sluicegate_webhook::snapshot::Snapshot;

/// Ids of rules.
pub(crate) type Rules = BTreeSet<String>;

/// The engine's side: a tenant with a namespace of its own name, and its policies.
pub(crate) struct Judge {
    /// The namespace, which is the tenant's name too.
    pub(crate) name: String,
    written: Vec<FluxPolicy>,
    pub(crate) policies: PolicySet,
    pub(crate) facts: Facts,
    /// User name of the operator.
    pub(crate) operator: String,
    /// ServiceAccounts of the agent that lives here.
    pub(crate) accounts: Vec<String>,
}

impl Judge {
    pub(crate) fn new(name: &str, written: Vec<FluxPolicy>) -> Judge {
        let mut facts = Facts::new(Unseen::Absent);
        facts.cluster(CLUSTER, Labels::new());
        let judge = Judge {
            name: name.to_owned(),
            policies: PolicySet::compile(&written),
            written,
            facts,
            operator: USER.to_owned(),
            accounts: Vec::new(),
        };
        assert!(judge.policies.invalid().is_empty(), "{:?}", judge.policies.invalid());
        judge
    }

    /// What the engine says of an object here, in the words and places of `check`.
    pub(crate) fn judges(&self, object: &Value) -> Vec<Violation> {
        let tenant = TenantName::new(self.name.as_str()).expect("a name");
        let mut found = Vec::new();
        for reach in reaches(object) {
            let (field, question) = match &reach {
                Reach::Forbidden(violation) => {
                    found.push((**violation).clone());
                    continue;
                }
                Reach::Image { field, image } => (field, Question::Pull { image, narrowing: &[] }),
                Reach::Source { field, url, kind } => (field, Question::Sync { url, kind: Some(*kind) }),
                Reach::Bare { field, lacks } => (field, Question::Bare { lacks: *lacks }),
            };
            let answers =
                ask(question, &tenant, &self.name, Some(CLUSTER), Some(&self.name), &self.policies, &self.facts);
            for (_, answer) in answers {
                if let Answer::No(violation) | Answer::Unknown(violation) = answer {
                    found.push(Violation { field: field.clone().into(), ..*violation });
                }
            }
        }
        found
    }

    /// What the operator would write.
    pub(crate) fn guard(&self) -> TenantGuardSpec {
        let tenant = TenantName::new(self.name.as_str()).expect("a name");
        let (cluster, namespace) =
            (ClusterId::new(CLUSTER).expect("an id"), NamespaceName::new(self.name.as_str()).expect("a name"));
        let place = Place { tenant: &tenant, homes: &[], cluster: &cluster, namespace: &namespace, narrowing: None };
        let mut spec = compile(&place, &self.policies, &self.facts);
        spec.operator = self.operator.clone();
        spec.accounts = self.accounts.clone();
        spec
    }

    pub(crate) fn pod(&self, image: &str) -> Value {
        let metadata = json!({"name": "x", "namespace": self.name});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "x", "image": image}]}})
    }

    /// A Flux object as a team writes it here.
    pub(crate) fn flux(&self, api: &str, kind: &str, spec: Value) -> Value {
        let metadata = json!({"name": "x", "namespace": self.name, "labels": {AGENT_LABEL: self.name}});
        json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
    }

    /// A generated source.
    pub(crate) fn source(&self, random: &mut Rng) -> Value {
        let url = inputs::url(random);
        self.placed(&inputs::source(random, &url))
    }

    /// A generated Flux object with fields that reach somewhere.
    pub(crate) fn reaching(&self, random: &mut Rng) -> Value {
        self.placed(&inputs::reaching(random, &self.name))
    }

    pub(crate) fn placed(&self, object: &Value) -> Value {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        self.flux(text("apiVersion"), text("kind"), object["spec"].clone())
    }

    /// Every case of the tables that define the grammars, as a pod or as a source of each kind.
    pub(crate) fn tabled(&self) -> Vec<Value> {
        let images = inputs::table(include_str!("../../../policy/tests/data/images.txt"));
        let urls = inputs::table(include_str!("../../../policy/tests/data/urls.txt"));
        assert!(images.len() > 150 && urls.len() > 150, "{} images, {} URLs", images.len(), urls.len());
        // What Kubernetes itself does not take as a text of an image says nothing about anybody else.
        let images = images.iter().filter(|image| image.trim() == **image && !image.is_empty());
        let mut objects: Vec<Value> = images.map(|image| self.pod(image)).collect();
        for url in &urls {
            for (api, kind) in &inputs::SOURCE_KINDS[..3] {
                objects.push(self.flux(api, kind, json!({"interval": "1m", "url": url})));
            }
        }
        objects
    }

    /// Asks webhook and command line about the objects, and writes down what either says in other words than the engine, or
    /// by other rules.
    pub(crate) fn agreed(&self, objects: &[Value], found: &mut String) {
        let webhook = self.webhook();
        let before = found.len();
        for (object, checked) in objects.iter().zip(self.checked(objects)) {
            let judged = self.judges(object);
            let expected = (!judged.is_empty()).then(|| message::refusal(&judged));
            let said = self.said_by(&webhook, object, None);
            if said != expected {
                let _ = writeln!(found, "{object}\n  webhook: {said:?}\n  engine: {expected:?}");
            }
            let rules: Rules = judged.iter().map(|violation| violation.rule.id().to_owned()).collect();
            if checked != rules {
                let _ = writeln!(found, "{object}\n  check: {checked:?}\n  engine: {rules:?}");
            }
        }
        if found.len() > before {
            let _ = writeln!(found, "  policies: {}", json!(self.written));
        }
    }

    /// A webhook that is the guard here.
    pub(crate) fn webhook(&self) -> Snapshot {
        let labels = Labels::from([(TENANT_LABEL.to_owned(), self.name.clone())]);
        let namespaces = Arc::new(BTreeMap::from([(self.name.as_str().into(), labels.into())]));
        let clusters = Arc::new(BTreeMap::from([(CLUSTER.into(), Labels::new().into())]));
        let snapshot = Snapshot::new(self.policies.clone(), namespaces, clusters, Arc::default());
        let residents =
            Residents { operator: self.operator.clone(), accounts: self.accounts.clone(), ..Residents::default() };
        let here = BTreeMap::from([(CLUSTER.to_owned(), GuardMode::Webhook)]);
        snapshot.guarding(&here, &BTreeMap::from([(self.name.clone(), residents)]))
    }

    /// The webhook's refusal of an object that is created, or of a change where there is an old one.
    pub(crate) fn said_by(&self, webhook: &Snapshot, object: &Value, old: Option<&Value>) -> Option<String> {
        let (group, version) = object["apiVersion"].as_str().and_then(|api| api.split_once('/')).unwrap_or(("", "v1"));
        let kind = object["kind"].as_str().unwrap_or_default();
        let operation = if old.is_some() { "UPDATE" } else { "CREATE" };
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "1", "kind": {"group": group, "version": version, "kind": kind}, "name": "x", "namespace": self.name,
            "resource": {"group": group, "version": version, "resource": plural(kind)}, "operation": operation,
            "userInfo": {"username": "alice", "groups": ["system:authenticated"]}, "object": object, "oldObject": old,
        }});
        let body = review.to_string();
        let budget = Budget::until(Instant::now() + Duration::from_secs(60));
        let answer =
            decide(Hook::Guard, read(body.as_bytes(), Hook::Guard.reading()).expect("a review"), webhook, budget);
        answer.refusal().map(str::to_owned)
    }

    /// The rules that `sluicegate check --tenant` finds broken by each of the objects.
    fn checked(&self, objects: &[Value]) -> Vec<Rules> {
        let arguments = ["--tenant", &self.name, "--cluster", CLUSTER, "--namespace", &self.name];
        let (rules, looked_at) = self.check(objects, &arguments);
        // What names an image or a source was looked at.
        for (number, object) in objects.iter().enumerate() {
            assert_eq!(looked_at.contains(&number), !reaches(object).is_empty(), "not looked at: {object}");
        }
        rules
    }

    /// What `sluicegate check` says of each of the objects, and which it looked at: a file each, and the program as it is built.
    pub(crate) fn check(&self, objects: &[Value], arguments: &[&str]) -> (Vec<Rules>, BTreeSet<usize>) {
        let folder = tempfile::Builder::new().prefix("parties").tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        // A file of YAML has such characters only as escapes.
        let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        let write = |path: PathBuf, object: &Value| {
            let text: String = object.to_string().chars().map(escaped).collect();
            std::fs::write(path, text).expect("a file");
        };
        for name in ["platform", "objects"] {
            std::fs::create_dir(at(name)).expect("a folder");
        }
        let spec = json!({"connection": {"inCluster": {}}});
        let cluster = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster", "metadata": {"name": CLUSTER}, "spec": spec});
        write(at("platform/cluster.json"), &cluster);
        for (number, policy) in self.written.iter().enumerate() {
            write(at(&format!("platform/policy-{number}.json")), &json!(policy));
        }
        for (number, object) in objects.iter().enumerate() {
            write(at(&format!("objects/{number}.json")), object);
        }
        let output = Command::new(program().expect("the program"))
            .current_dir(folder.path())
            .args(["check", "--quiet", "--policies", "platform", "--report", "json=report.json"])
            .args(arguments)
            .arg("objects")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}: {said}", output.status);
        let report: Value = serde_json::from_slice(&std::fs::read(at("report.json")).expect("a report")).expect("JSON");
        // Of the platform's files nothing is asked.
        let number = |entry: &Value| -> Option<usize> {
            entry["path"].as_str()?.strip_prefix("objects/")?.strip_suffix(".json")?.parse().ok()
        };
        let mut rules = vec![Rules::new(); objects.len()];
        for finding in report["findings"].as_array().expect("findings") {
            if let (Some(number), "error") = (number(finding), finding["severity"].as_str().expect("a severity")) {
                rules[number].insert(finding["rule"].as_str().expect("a rule").to_owned());
            }
        }
        let checked = report["checked"].as_array().expect("objects");
        (rules, checked.iter().filter_map(number).collect())
    }
}

/// The resource of a kind.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => kind + "s",
    }
}
