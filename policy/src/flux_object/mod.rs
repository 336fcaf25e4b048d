//! Flux objects that a team writes itself: which fields they may have, for the engine and, in CEL, for the guard.
//!
//! It is an allow list. [`KINDS`] has every field of every Flux kind with a decision that somebody has made, down to where free
//! text begins. A field that is not there is refused, and so is a kind: what a new release of Flux brings is refused until it
//! has been looked at. Of a change only what is new is judged.

mod table;

use serde_json::{Map, Value};
use sluicegate_crds::{AGENT_LABEL, AGENT_PODS, GROUP, MANAGED_BY_LABEL, MANAGER, PART_OF_LABEL};

pub use table::KINDS;

use crate::{rule::Rule, verdict::Violation};

/// ServiceAccount that the controllers of a tenant's own agent impersonate.
pub const RECONCILER: &str = "sluicegate-reconciler";
/// What the names of the platform's Secrets and ConfigMaps begin with, where an agent has copies of them.
pub(crate) const PLATFORM_COPY: &str = "sluicegate-";
/// Hosts that kustomize takes for remote ones without a scheme in front of them.
pub(crate) const REMOTE_HOSTS: [&str; 4] = ["github.com", "gitlab.com", "bitbucket.org", "dev.azure.com"];
/// What the names of references that a source may sync begin with.
pub(crate) const REFERENCES: [&str; 2] = ["refs/heads/", "refs/tags/"];
/// What to do instead of writing a Flux object with a field that nobody has looked at.
const USE_A_CONFIG: &str = "remove it, or use a FluxConfig instead of this object";
/// Field that stops a Flux object of any kind, and is not a reason to refuse one.
pub(crate) const SUSPEND: &str = "suspend";

/// A kind of Flux.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its API group.
    pub group: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What its objects may say.
    pub spec: Spec,
}

/// What objects of a kind may say.
#[derive(Clone, Copy, Debug)]
pub enum Spec {
    /// These fields, and no others.
    Fields(&'static [Field]),
    /// Nothing: teams write no objects of this kind.
    Refused(Refused),
}

/// Why a kind is refused.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Why.
    pub message: &'static str,
    /// What to do instead.
    pub help: &'static str,
}

/// A field, and what has been decided about it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// The decision.
    pub decision: Decision,
}

/// What has been decided about a field.
#[derive(Clone, Copy, Debug)]
pub enum Decision {
    /// It may say anything.
    Free,
    /// An object whose fields have decisions of their own.
    Object(&'static [Field]),
    /// A list of objects whose fields have decisions of their own.
    List(&'static [Field]),
    /// It may say what the judgement lets it say.
    Judged(Judgement),
}

/// What a field may be, and what is said where it is something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it may be.
    pub may_be: MayBe,
    /// Why it may be nothing else.
    pub message: &'static str,
    /// What to do instead.
    pub help: &'static str,
}

/// What a field may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayBe {
    /// Absent, or null, `false`, an empty list.
    Absent,
    /// The same, or this text.
    Text(&'static str),
    /// The same, or empty, or the object's own namespace.
    OwnNamespace,
    /// A text that does not begin as names of the platform's copies do.
    NotPlatform,
    /// Empty, or the full name of a branch or of a tag.
    BranchOrTag,
    /// A list of paths that lie in the source.
    LocalPaths,
    /// Labels or annotations without those that are Sluicegate's, but for the one that says whose a Flux object is.
    TeamLabels,
}

/// The entry of a kind.
pub(crate) fn known(kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.name == kind)
}

/// What is wrong with the spec of an object of `kind` that was not wrong before; `found` gets a violation for each.
pub(crate) fn judge(kind: &str, namespace: &str, spec: &Value, old: Option<&Value>, found: &mut Vec<Violation>) {
    match known(kind).map(|kind| kind.spec) {
        Some(Spec::Fields(fields)) => {
            if let Some(spec) = spec.as_object() {
                let object = Object { kind, namespace };
                object.fields(fields, "spec", spec, old.and_then(Value::as_object), found);
            }
        }
        Some(Spec::Refused(Refused { message, help })) if is_new(spec, old) => {
            found.push(Violation::new(Rule::FluxObjectNotAllowed, "kind", message).value(kind).help(help));
        }
        None if is_new(spec, old) => {
            let message = unknown_kind(kind);
            found.push(Violation::new(Rule::FluxObjectNotAllowed, "kind", message).value(kind).help(USE_A_CONFIG));
        }
        Some(Spec::Refused(_)) | None => {}
    }
}

/// What is said of a kind that nobody has looked at.
fn unknown_kind(kind: &str) -> String {
    let kind = if is_plain(kind) { kind } else { "this name" };
    format!("policy has no rule for Flux objects of kind {kind}")
}

/// What is said of a field that nobody has looked at.
fn unknown_field(kind: &str) -> String {
    format!("policy has no rule for this field of kind {kind}")
}

/// Whether an object says something that it did not say before, other than that it is suspended.
fn is_new(spec: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return true };
    let others = |spec: &Value| -> Map<String, Value> {
        let fields = spec.as_object().cloned().unwrap_or_default();
        fields.into_iter().filter(|(key, value)| key != SUSPEND && !value.is_null()).collect()
    };
    others(spec) != others(old)
}

/// Whether a name can be shown as it is.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The object that is judged.
struct Object<'o> {
    kind: &'o str,
    namespace: &'o str,
}

impl Object<'_> {
    fn fields(
        &self,
        known: &'static [Field],
        at: &str,
        new: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        found: &mut Vec<Violation>,
    ) {
        for (key, value) in new.iter().filter(|(_, value)| !value.is_null()) {
            let before = old.and_then(|old| old.get(key));
            match known.iter().find(|field| field.name == key).map(|field| field.decision) {
                Some(Decision::Free) => {}
                Some(Decision::Object(known)) => {
                    if let Some(fields) = value.as_object() {
                        self.fields(known, &format!("{at}.{key}"), fields, before.and_then(Value::as_object), found);
                    }
                }
                Some(Decision::List(known)) => {
                    let before: &[Value] = before.and_then(Value::as_array).map_or(&[], Vec::as_slice);
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        if let Some(fields) = item.as_object().filter(|_| !before.contains(item)) {
                            self.fields(known, &format!("{at}.{key}[{index}]"), fields, None, found);
                        }
                    }
                }
                Some(Decision::Judged(judgement)) if before != Some(value) => {
                    judgement.judge(&format!("{at}.{key}"), value, self.namespace, found);
                }
                None if before != Some(value) => {
                    let field = if is_plain(key) { format!("{at}.{key}") } else { at.to_owned() };
                    let mut violation =
                        Violation::new(Rule::FluxObjectNotAllowed, field, unknown_field(self.kind)).help(USE_A_CONFIG);
                    violation.value = (!is_plain(key)).then(|| key.clone());
                    found.push(violation);
                }
                Some(Decision::Judged(_)) | None => {}
            }
        }
    }
}

impl Judgement {
    fn judge(&self, field: &str, value: &Value, namespace: &str, found: &mut Vec<Violation>) {
        let mut forbid = |field: String, value: &str| {
            let mut violation = Violation::new(Rule::FluxObjectNotAllowed, field, self.message).help(self.help);
            violation.value = (!value.is_empty()).then(|| value.to_owned());
            found.push(violation);
        };
        match self.may_be {
            MayBe::LocalPaths => {
                for (index, path) in value.as_array().into_iter().flatten().enumerate() {
                    if let Some(path) = path.as_str().filter(|path| !is_local(path)) {
                        forbid(format!("{field}[{index}]"), path);
                    }
                }
            }
            MayBe::TeamLabels => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if is_sluicegate_s(key, value.as_str().unwrap_or_default(), namespace) {
                        forbid(field.to_owned(), key);
                    }
                }
            }
            MayBe::NotPlatform | MayBe::BranchOrTag => {
                let text = value.as_str().unwrap_or_default();
                let fine = match self.may_be {
                    MayBe::NotPlatform => !text.starts_with(PLATFORM_COPY),
                    _ => text.is_empty() || is_branch_or_tag(text),
                };
                if !fine {
                    forbid(field.to_owned(), text);
                }
            }
            MayBe::Absent | MayBe::Text(_) | MayBe::OwnNamespace => {
                let harmless = match value {
                    Value::Null | Value::Bool(false) => true,
                    Value::Array(items) => items.is_empty(),
                    Value::String(text) => match self.may_be {
                        MayBe::Text(allowed) => text == allowed,
                        MayBe::OwnNamespace => text.is_empty() || text == namespace,
                        _ => false,
                    },
                    Value::Bool(true) | Value::Number(_) | Value::Object(_) => false,
                };
                if !harmless {
                    forbid(field.to_owned(), value.as_str().unwrap_or_default());
                }
            }
        }
    }
}

/// Whether a path lies in the source: nothing that kustomize could take for a URL.
fn is_local(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-');
    let lower = path.to_ascii_lowercase();
    path.bytes().all(plain) && !path.contains("//") && !REMOTE_HOSTS.iter().any(|host| lower.starts_with(host))
}

/// Whether a reference of Git is a branch or a tag by its full name.
fn is_branch_or_tag(name: &str) -> bool {
    REFERENCES.iter().any(|kind| name.starts_with(kind)) && !name.contains("..")
}

/// Whether a label or annotation says that something is Sluicegate's.
fn is_sluicegate_s(key: &str, value: &str, namespace: &str) -> bool {
    // In a file the namespace may not be known yet.
    let whose = key == AGENT_LABEL && (value == namespace || namespace.is_empty());
    key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/')) && !whose
        || (key, value) == (MANAGED_BY_LABEL, MANAGER)
        || (key, value) == (PART_OF_LABEL, AGENT_PODS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn judged(kind: &str, spec: &Value, old: Option<&Value>) -> Vec<String> {
        let mut found = Vec::new();
        judge(kind, "team-a", spec, old, &mut found);
        found.into_iter().map(|violation| violation.field.into_owned()).collect()
    }

    #[test]
    fn a_field_is_in_the_table_once() {
        fn once(fields: &[Field], at: &str) {
            let mut names = BTreeSet::new();
            for field in fields {
                let at = format!("{at}.{}", field.name);
                assert!(names.insert(field.name), "{at} twice");
                if let Decision::Object(fields) | Decision::List(fields) = field.decision {
                    once(fields, &at);
                }
            }
        }
        let mut kinds = BTreeSet::new();
        for kind in KINDS {
            assert!(kinds.insert(kind.name), "{} twice", kind.name);
            if let Spec::Fields(fields) = kind.spec {
                once(fields, kind.name);
            }
        }
    }

    #[test]
    fn what_nobody_has_looked_at_is_refused() {
        let spec = json!({"interval": "1m", "brandNew": 0, "ref": {"newer": ""}, "gone": null});
        assert_eq!(judged("GitRepository", &spec, None), ["spec.brandNew", "spec.ref.newer"]);
        assert_eq!(judged("GitRepository", &spec, Some(&spec)), [""; 0]);
        let changed = json!({"interval": "2m", "brandNew": 1, "ref": {"newer": "", "tag": "x"}});
        assert_eq!(judged("GitRepository", &changed, Some(&spec)), ["spec.brandNew"]);
        let item = json!({"dependsOn": [{"name": "x", "newer": 1}]});
        assert_eq!(judged("Kustomization", &item, None), ["spec.dependsOn[0].newer"]);
        assert_eq!(judged("Kustomization", &json!({"\u{202e}": 1}), None), ["spec"]);
        assert_eq!(judged("Brandnew", &json!({}), None), ["kind"]);
    }

    #[test]
    fn an_object_of_a_refused_kind_can_be_suspended_and_not_changed() {
        let old = json!({"sourceRef": {"kind": "GitRepository", "name": "x"}});
        let with = |field: &str, value: Value| {
            let mut spec = old.clone();
            spec[field] = value;
            spec
        };
        for kind in ["ImageUpdateAutomation", "ExternalArtifact", "ArtifactGenerator"] {
            assert_eq!(judged(kind, &old, None), ["kind"]);
            assert_eq!(judged(kind, &with("suspend", json!(true)), Some(&old)), [""; 0]);
            assert_eq!(judged(kind, &with("interval", json!("2m")), Some(&old)), ["kind"]);
            assert_eq!(judged(kind, &json!({}), Some(&old)), ["kind"]);
        }
    }

    #[test]
    fn references_are_branches_and_tags() {
        let name = |name: &str| judged("GitRepository", &json!({"ref": {"name": name}}), None).is_empty();
        for fine in ["", "refs/heads/main", "refs/tags/v1.0.0", "refs/heads/a/b"] {
            assert!(name(fine), "{fine}");
        }
        for other in [
            "refs/merge-requests/1/head",
            "refs/pull/1/head",
            "refs/pull/1/merge",
            "refs/changes/01/1/1",
            "refs/heads",
            "refs/heads/../pull/1/head",
            "refs/notes/commits",
            "refs/remotes/origin/x",
            "HEAD",
            "main",
            " refs/heads/main",
            "REFS/heads/main",
        ] {
            assert!(!name(other), "{other}");
        }
    }

    #[test]
    fn components_lie_in_the_source() {
        let path = |path: &str| judged("Kustomization", &json!({"components": [path]}), None).is_empty();
        for fine in ["../base", "./a/b.c", "x_y", "a-b/c"] {
            assert!(path(fine), "{fine}");
        }
        for other in [
            "https://evil.example/x",
            "github.com/evil/x",
            "GitHub.com/evil/x",
            "git@evil.example:x",
            "evil.example//x",
            "x?ref=y",
            "evil.example:x",
        ] {
            assert!(!path(other), "{other}");
        }
    }

    #[test]
    fn labels_that_say_whose_something_is_are_sluicegate_s() {
        let labels = |labels: Value| judged("HelmRelease", &json!({"chart": {"metadata": {"labels": labels}}}), None);
        assert_eq!(labels(json!({AGENT_LABEL: "team-a", "app": "x", MANAGED_BY_LABEL: "Helm"})), [""; 0]);
        for (key, value) in [
            (AGENT_LABEL, "team-b"),
            ("sluicegate.dev/tenant", "team-a"),
            ("sluicegate.dev/config", "x"),
            (MANAGED_BY_LABEL, MANAGER),
            (PART_OF_LABEL, AGENT_PODS),
        ] {
            assert_eq!(labels(json!({key: value})), ["spec.chart.metadata.labels"], "{key}");
        }
    }

    #[test]
    fn of_a_list_the_items_that_are_new_are_judged() {
        let of = |items: Value| json!({"dependsOn": items});
        let foreign = json!({"name": "x", "namespace": "team-b"});
        let old = of(json!([foreign]));
        assert_eq!(judged("Kustomization", &old, None), ["spec.dependsOn[0].namespace"]);
        assert_eq!(judged("Kustomization", &of(json!([{"name": "y"}, foreign])), Some(&old)), [""; 0]);
        let other = of(json!([foreign, {"name": "y", "namespace": "team-b"}]));
        assert_eq!(judged("Kustomization", &other, Some(&old)), ["spec.dependsOn[1].namespace"]);
    }
}
