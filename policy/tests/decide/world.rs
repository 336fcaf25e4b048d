//! A small platform to try things on: three clusters, some teams, one policy; and how a case says what it expects.

use serde_json::{Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_policy::{
    Admitted, Cluster, Declaration, Facts, Labels, Placer, PolicySet, Rule, Since, Unseen, Verdict, Violation, compile,
    decide_placed,
};

/// Policies, facts, and the FluxConfigs that exist beside the one that is judged.
pub struct World {
    writer: Option<String>,
    policies: Vec<FluxPolicy>,
    pub facts: Facts,
    declared: Vec<(FluxConfig, Since)>,
}

/// The policy of [`World::new`], for teams named `team-…`.
pub fn teams() -> Value {
    json!({
        "tenants": {"names": ["team-*"]},
        "sources": {
            "git": {
                "allow": ["https://git.example.com/${tenant}/**", "ssh://git@git.example.com/${tenant}/**"],
                "deny": ["https://git.example.com/*/attic/**"],
            },
            "helm": {
                "allow": ["https://charts.example.com/stable", "oci://registry.example.com/charts"],
                "charts": {"allow": ["redis", "nginx-*"], "deny": ["nginx-legacy"]},
            },
            "oci": {"allow": ["oci://registry.example.com/${tenant}/**"]},
            "bucket": {"allow": ["https://s3.example.com/${tenant}"]},
        },
        "images": {
            "allow": ["registry.example.com/${tenant}/**", "docker.io/library/*"],
            "deny": ["docker.io/library/alpine"],
            "denyTags": ["latest"],
        },
        "destinations": [
            {"clusters": ["prod-*"], "namespaces": ["${tenant}", "${tenant}-*"], "createNamespace": true},
        ],
        "credentials": [{"match": "https://git.example.com/**", "secretRef": {"name": "git-example-com"}}],
        "defaults": {"cluster": "prod-eu", "namespace": "${tenant}", "ref": {"branch": "main"}},
        "features": {"helm": true},
        "channels": [{"name": "ops", "type": "slack", "address": "https://slack.example.com/hook"}],
    })
}

/// A digest, for whoever needs one.
pub const SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl World {
    /// Clusters `prod-eu`, `prod-us` and `dev`, and the policy [`teams`].
    pub fn new() -> Self {
        let mut facts = Facts::new(Unseen::Absent);
        for (id, environment) in [("prod-eu", "production"), ("prod-us", "production"), ("dev", "development")] {
            facts.cluster(id, labels(&[("env", environment)]));
        }
        Self { policies: vec![policy("teams", teams())], facts, declared: Vec::new(), writer: None }
    }

    /// The same without any policy.
    pub fn lawless() -> Self {
        Self { policies: Vec::new(), ..Self::new() }
    }

    /// With a change of the policy `teams`, as a JSON merge patch.
    pub fn with(mut self, patch: Value) -> Self {
        let mut spec = teams();
        merge(&mut spec, patch);
        self.policies[0] = policy("teams", spec);
        self
    }

    /// With one more policy; tenants are `*` unless it says otherwise.
    pub fn policy(mut self, name: &str, spec: Value) -> Self {
        let mut whole = json!({"tenants": {"names": ["*"]}});
        merge(&mut whole, spec);
        self.policies.push(policy(name, whole));
        self
    }

    /// With a FluxConfig that exists already.
    pub fn declared(mut self, home: &str, name: &str, patch: Value, since: Since) -> Self {
        self.declared.push((config(home, name, patch), since));
        self
    }

    /// With a Namespace of the management cluster.
    pub fn namespace(mut self, name: &str, found: &[(&str, &str)]) -> Self {
        self.facts.namespace(name, labels(found));
        self
    }

    /// With one more FluxCluster.
    pub fn with_cluster(mut self, id: &str, cluster: Cluster) -> Self {
        self.facts.cluster(id, cluster);
        self
    }

    /// With files only: a Namespace that they do not show has unknown labels.
    pub fn files_only(mut self) -> Self {
        let clusters = self.facts.clusters().clone();
        self.facts = Facts::new(Unseen::Unknown);
        for (id, cluster) in clusters {
            self.facts.cluster(id, cluster);
        }
        self
    }

    /// With the user who writes.
    pub fn written_by(mut self, user: &str) -> Self {
        self.writer = Some(user.to_owned());
        self
    }

    pub fn set(&self) -> PolicySet {
        PolicySet::compile(&self.policies)
    }

    /// All that exists, the FluxConfig that is judged included.
    pub fn facts_with(&self, judged: &FluxConfig) -> Facts {
        let (set, mut facts) = (self.set(), self.facts.clone());
        for (config, since) in &self.declared {
            facts.declare(Declaration::of(config, &set, &self.facts, *since));
        }
        let (home, name) = (judged.metadata.namespace.as_deref(), judged.metadata.name.as_deref());
        if facts.times(home.unwrap_or_default(), name.unwrap_or_default()) == 0 {
            facts.declare(Declaration::of(judged, &set, &self.facts, None));
        }
        facts
    }

    pub fn verdict(&self, config: &FluxConfig) -> Verdict {
        let (set, facts) = (self.set(), self.facts_with(config));
        let placed = Placer::new(&set, &facts).place(config);
        let placed = match &self.writer {
            Some(user) => placed.written_by(user),
            None => placed,
        };
        decide_placed(placed, &facts)
    }

    /// Expects `team-a/shop` with these fields to be admitted.
    #[track_caller]
    pub fn accepts(&self, patch: Value) -> Admitted {
        self.accepts_in("team-a", patch)
    }

    #[track_caller]
    pub fn accepts_in(&self, home: &str, patch: Value) -> Admitted {
        match self.verdict(&config(home, "shop", patch)) {
            Verdict::Admitted(admitted) => *admitted,
            other => panic!("should be admitted:\n{}", show_all(other.violations())),
        }
    }

    /// Expects `team-a/shop` with these fields to be refused for one reason only.
    #[track_caller]
    pub fn rejects(&self, patch: Value, rule: Rule) -> Violation {
        self.rejects_in("team-a", patch, rule)
    }

    #[track_caller]
    pub fn rejects_in(&self, home: &str, patch: Value, rule: Rule) -> Violation {
        let verdict = self.verdict(&config(home, "shop", patch));
        match verdict.violations() {
            [violation] if violation.rule == rule => {
                assert_readable(violation);
                violation.clone()
            }
            [] => panic!("should be refused by {rule}, and is admitted"),
            others => panic!("should be refused by {rule} alone:\n{}", show_all(others)),
        }
    }
}

/// A FluxConfig of the smallest shape, changed by a merge patch of its spec.
pub fn config(home: &str, name: &str, patch: Value) -> FluxConfig {
    let mut spec = json!({"source": {"url": format!("https://git.example.com/{home}/shop.git")}});
    merge(&mut spec, patch);
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "FluxConfig",
        "metadata": {"name": name, "namespace": home},
        "spec": spec,
    });
    let config: FluxConfig = serde_json::from_value(object).unwrap();
    assert_known(&spec, &serde_json::to_value(&config.spec).unwrap());
    config
}

pub fn policy(name: &str, spec: Value) -> FluxPolicy {
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1",
        "kind": "FluxPolicy",
        "metadata": {"name": name},
        "spec": spec,
    });
    let policy: FluxPolicy = serde_json::from_value(object).unwrap();
    assert_known(&spec, &serde_json::to_value(&policy.spec).unwrap());
    policy
}

pub fn labels(found: &[(&str, &str)]) -> Labels {
    found.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What is wrong with a policy that is `teams` with a change.
#[track_caller]
pub fn errors_of(patch: Value) -> Vec<Violation> {
    let mut spec = teams();
    merge(&mut spec, patch);
    match compile(&policy("teams", spec)) {
        Ok(_) => Vec::new(),
        Err(invalid) => {
            invalid.errors().iter().for_each(assert_readable);
            invalid.errors().to_vec()
        }
    }
}

/// Expects a policy that is `teams` with a change to have one error.
#[track_caller]
pub fn policy_error(patch: Value, rule: Rule, field: &str) -> Violation {
    match errors_of(patch).as_slice() {
        [violation] if (violation.rule, &*violation.field) == (rule, field) => violation.clone(),
        others => panic!("should be {rule} at {field}, found:\n{}", show_all(others)),
    }
}

/// JSON merge patch (RFC 7386).
pub fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(&key);
                } else {
                    merge(base.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (base, patch) => *base = patch,
    }
}

/// A field that a test misspells would be dropped, and the test would prove nothing.
#[track_caller]
fn assert_known(written: &Value, read: &Value) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let empty = value.as_array().is_some_and(Vec::is_empty);
                match read.get(key) {
                    Some(found) => assert_known(value, found),
                    None => assert!(empty, "there is no field {key}"),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            written.iter().zip(read).for_each(|(written, read)| assert_known(written, read));
        }
        (written, read) => assert_eq!(written, read),
    }
}

/// A violation can be read by somebody who sees Sluicegate for the first time.
#[track_caller]
pub fn assert_readable(violation: &Violation) {
    let shown = show(violation);
    assert!(!violation.help.is_empty(), "does not say how to go on:\n{shown}");
    assert!(!violation.field.is_empty(), "does not say where:\n{shown}");
    let names = ["FluxConfig ", "Flux ", "Namespace ", "Docker Hub ", "In ", "NotIn ", "Exists ", "DoesNotExist "];
    let starts_low = violation.message.starts_with(|first: char| !first.is_uppercase());
    assert!(starts_low || names.iter().any(|name| violation.message.starts_with(name)), "capital:\n{shown}");
    for sentence in violation.help.iter().chain([&violation.message]) {
        // A sentence may end in a dot or an ellipsis that is part of what it shows.
        let shows_dots = ["- and .", "..."].iter().any(|end| sentence.ends_with(end));
        assert!(!sentence.is_empty() && (shows_dots || !sentence.ends_with('.')), "stop:\n{shown}");
        assert!(!sentence.contains("  ") && !sentence.contains('\n'), "spaces:\n{shown}");
    }
}

pub fn show_all(violations: &[Violation]) -> String {
    violations.iter().map(show).collect()
}

/// A violation in full.
pub fn show(violation: &Violation) -> String {
    use std::fmt::Write as _;
    let Violation { rule, field, value, message, allowed, decided_by, help, suggestion, related } = violation;
    let mut out = format!("[{rule}] {}\n  {field}", rule.title());
    if let Some(value) = value {
        write!(out, ": {value}").unwrap();
    }
    writeln!(out, "\n  {message}").unwrap();
    for allowed in allowed {
        writeln!(out, "  allowed: {allowed}").unwrap();
    }
    for field in decided_by {
        writeln!(out, "  decided by: {field}").unwrap();
    }
    for object in related {
        writeln!(out, "  see also: {object}").unwrap();
    }
    for help in help {
        writeln!(out, "  help: {help}").unwrap();
    }
    if let Some(suggestion) = suggestion {
        writeln!(out, "  write instead: {suggestion}").unwrap();
    }
    out
}
