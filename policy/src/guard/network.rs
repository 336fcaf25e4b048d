//! NetworkPolicies beside an agent: they add up, so that one of a team's own can open what the agent's keep shut.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use sluicegate_crds::{AGENT_PODS, PART_OF_LABEL};

use super::{
    cel::{text, texts},
    policies::CONTROLLERS,
};

/// Label with the name of a pod's controller.
const CONTROLLER_LABEL: &str = "app.kubernetes.io/name";
/// Labels that pods of an agent have or may have with values that nobody knows beforehand: those that Kubernetes gives to pods.
const UNKNOWN_LABELS: [&str; 3] = ["pod-template-hash", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// What is said of a NetworkPolicy that opens an agent's pods.
pub(super) const OPENS: &str = "spec.podSelector: NetworkPolicies add up, and this one would open what the agent of this namespace may reach, or who may reach it; leave its pods out, with matchExpressions: [{key: app.kubernetes.io/part-of, operator: NotIn, values: [sluicegate-agent]}]";

/// The spec of a NetworkPolicy, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    pod_selector: Option<Selector>,
    policy_types: Option<Vec<String>>,
    ingress: Option<Vec<Value>>,
    egress: Option<Vec<Value>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: Option<Vec<String>>,
}

/// Whether a NetworkPolicy opens pods of an agent that the old one did not open in the same way.
///
/// # Errors
/// Where it cannot be read.
pub(super) fn opens(object: &str, old: Option<&str>) -> Result<bool, serde_json::Error> {
    let new = Spec::read(object)?;
    let old = old.and_then(|old| Spec::read(old).ok());
    Ok(new.has_rules()
        && !new.pod_selector.as_ref().is_some_and(Selector::spares_agents)
        && !old.is_some_and(|old| old.covers(&new)))
}

impl Spec {
    fn read(object: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Policy {
            #[serde(default)]
            spec: Option<Spec>,
        }
        serde_json::from_str::<Policy>(object).map(|policy| policy.spec.unwrap_or_default())
    }

    fn ingress(&self) -> &[Value] {
        self.ingress.as_deref().unwrap_or_default()
    }

    fn egress(&self) -> &[Value] {
        self.egress.as_deref().unwrap_or_default()
    }

    /// One without rules opens nothing.
    fn has_rules(&self) -> bool {
        !self.ingress().is_empty() || !self.egress().is_empty()
    }

    /// Whether `new` opens nothing that this one does not open.
    fn covers(&self, new: &Self) -> bool {
        let types = |spec: &Self| spec.policy_types.clone().unwrap_or_default();
        self.pod_selector == new.pod_selector
            && types(self) == types(new)
            && new.ingress().iter().all(|rule| self.ingress().contains(rule))
            && new.egress().iter().all(|rule| self.egress().contains(rule))
    }
}

impl Selector {
    /// Whether no pod of an agent can match. Its pods have a closed set of labels, so one requirement that none of them meets
    /// is enough.
    fn spares_agents(&self) -> bool {
        self.match_labels.iter().flatten().any(|(key, value)| no_agent_has(key, &[value]))
            || self.match_expressions.iter().flatten().any(Requirement::spares_agents)
    }
}

impl Requirement {
    fn spares_agents(&self) -> bool {
        let key = &*self.key;
        let values: Vec<&String> = self.values.iter().flatten().collect();
        let has = |value: &str| values.iter().any(|known| *known == value);
        match &*self.operator {
            "In" => no_agent_has(key, &values),
            "NotIn" if key == PART_OF_LABEL => has(AGENT_PODS),
            "NotIn" if key == CONTROLLER_LABEL => CONTROLLERS.iter().all(|name| has(name)),
            "Exists" => !is_known(key),
            "DoesNotExist" => key == PART_OF_LABEL || key == CONTROLLER_LABEL,
            _ => false,
        }
    }
}

/// Whether pods of agents have or may have the label.
fn is_known(key: &str) -> bool {
    key == PART_OF_LABEL || key == CONTROLLER_LABEL || UNKNOWN_LABELS.contains(&key)
}

/// Whether no pod of an agent has one of these values.
fn no_agent_has(key: &str, values: &[&String]) -> bool {
    if key == PART_OF_LABEL {
        values.iter().all(|value| *value != AGENT_PODS)
    } else if key == CONTROLLER_LABEL {
        values.iter().all(|value| !CONTROLLERS.contains(&value.as_str()))
    } else {
        !UNKNOWN_LABELS.contains(&key)
    }
}

/// The same in CEL: whether the policy `object` opens nothing of an agent that `oldObject` did not open.
pub(super) fn opens_nothing() -> String {
    let rules = |object: &str, field: &str| format!("{object}.?spec.?{field}.orValue([])");
    let no_agent_has = |key: &str, values: &str| {
        format!(
            "({key} == {part_of} ? !({agents} in {values}) : {key} == {controller} ? !{values}.exists(v, v in {controllers}) : !({key} in {unknown}))",
            part_of = text(PART_OF_LABEL),
            agents = text(AGENT_PODS),
            controller = text(CONTROLLER_LABEL),
            controllers = texts(CONTROLLERS),
            unknown = texts(UNKNOWN_LABELS),
        )
    };
    let selector = "object.?spec.?podSelector";
    let spares = format!(
        "{selector}.?matchLabels.orValue({{}}).exists(k, {labels})
|| {selector}.?matchExpressions.orValue([]).exists(e, [e.?values.orValue([])].exists(values,
  e.operator == 'In' ? {within} :
  e.operator == 'NotIn' ? (e.key == {part_of} ? {agents} in values : e.key == {controller} && {controllers}.all(c, c in values)) :
  e.operator == 'Exists' ? !(e.key in {known}) :
  e.operator == 'DoesNotExist' && e.key in {own}))",
        labels = no_agent_has("k", &format!("[{selector}.?matchLabels.orValue({{}})[k]]")),
        within = no_agent_has("e.key", "values"),
        part_of = text(PART_OF_LABEL),
        agents = text(AGENT_PODS),
        controller = text(CONTROLLER_LABEL),
        controllers = texts(CONTROLLERS),
        known = texts([PART_OF_LABEL, CONTROLLER_LABEL].into_iter().chain(UNKNOWN_LABELS)),
        own = texts([PART_OF_LABEL, CONTROLLER_LABEL]),
    );
    let no_rules = format!("{}.size() + {}.size() == 0", rules("object", "ingress"), rules("object", "egress"));
    let same = |field: &str| format!("object.?spec.?{field} == oldObject.?spec.?{field}");
    let covered = |field: &str| format!("{}.all(r, r in {})", rules("object", field), rules("oldObject", field));
    let before = format!(
        "oldObject != null && {} && {} && {} && {}",
        same("podSelector"),
        same("policyTypes"),
        covered("ingress"),
        covered("egress"),
    );
    format!("{no_rules}\n|| {before}\n|| {spares}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(selector: Value, rules: Value) -> String {
        let mut spec = rules;
        spec["podSelector"] = selector;
        json!({"kind": "NetworkPolicy", "metadata": {"name": "x"}, "spec": spec}).to_string()
    }

    fn open() -> Value {
        json!({"egress": [{}], "policyTypes": ["Egress"]})
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    #[test]
    fn a_selector_that_leaves_agents_out_opens_nothing_of_theirs() {
        let mut all = CONTROLLERS.to_vec();
        for selector in [
            json!({"matchLabels": {"app": "shop"}}),
            json!({"matchLabels": {CONTROLLER_LABEL: "shop"}}),
            json!({"matchLabels": {PART_OF_LABEL: "shop"}}),
            json!({"matchLabels": {PART_OF_LABEL: AGENT_PODS, "app": "shop"}}),
            expression(PART_OF_LABEL, "NotIn", &[AGENT_PODS]),
            expression(PART_OF_LABEL, "NotIn", &["x", AGENT_PODS]),
            expression(PART_OF_LABEL, "DoesNotExist", &[]),
            expression(PART_OF_LABEL, "In", &["shop", "cart"]),
            expression(CONTROLLER_LABEL, "DoesNotExist", &[]),
            expression(CONTROLLER_LABEL, "In", &["shop"]),
            expression(CONTROLLER_LABEL, "NotIn", &all),
            expression("app", "Exists", &[]),
            expression("app", "In", &["shop"]),
        ] {
            assert_eq!(opens(&policy(selector.clone(), open()), None).ok(), Some(false), "{selector}");
        }
        all.pop();
        for selector in [
            json!({}),
            json!(null),
            json!({"matchLabels": {}}),
            json!({"matchLabels": {PART_OF_LABEL: AGENT_PODS}}),
            json!({"matchLabels": {CONTROLLER_LABEL: "kustomize-controller"}}),
            json!({"matchLabels": {"pod-template-hash": "5d4f8c7b9"}}),
            json!({"matchLabels": {"topology.kubernetes.io/zone": "a"}}),
            expression(PART_OF_LABEL, "NotIn", &["shop"]),
            expression(PART_OF_LABEL, "Exists", &[]),
            expression(PART_OF_LABEL, "In", &["shop", AGENT_PODS]),
            expression(CONTROLLER_LABEL, "Exists", &[]),
            expression(CONTROLLER_LABEL, "In", &["shop", "source-controller"]),
            expression(CONTROLLER_LABEL, "NotIn", &all),
            expression("app", "DoesNotExist", &[]),
            expression("app", "NotIn", &["shop"]),
            expression("pod-template-hash", "Exists", &[]),
            expression("pod-template-hash", "DoesNotExist", &[]),
            expression("topology.kubernetes.io/zone", "NotIn", &["a"]),
        ] {
            assert_eq!(opens(&policy(selector.clone(), open()), None).ok(), Some(true), "{selector}");
        }
    }

    #[test]
    fn a_policy_without_rules_opens_nothing() {
        let deny = json!({"policyTypes": ["Egress", "Ingress"], "egress": [], "ingress": null});
        assert_eq!(opens(&policy(json!({}), deny), None).ok(), Some(false));
        assert_eq!(opens(&policy(json!({}), json!({"ingress": [{}]})), None).ok(), Some(true));
        assert_eq!(opens("{\"kind\":\"NetworkPolicy\"}", None).ok(), Some(false));
        assert!(opens("7", None).is_err() && opens("{\"spec\":7}", None).is_err());
    }

    #[test]
    fn of_a_change_what_is_new_opens() {
        let both = json!({"egress": [{}, {"ports": [{"port": 53}]}], "policyTypes": ["Egress"]});
        let old = policy(json!({}), both);
        let opens = |new: String| super::opens(&new, Some(&old)).ok();
        assert_eq!(opens(old.clone()), Some(false));
        assert_eq!(opens(policy(json!({}), json!({"egress": [{}], "policyTypes": ["Egress"]}))), Some(false));
        assert_eq!(opens(policy(json!({}), json!({"egress": [{"ports": []}], "policyTypes": ["Egress"]}))), Some(true));
        assert_eq!(
            opens(policy(json!({}), json!({"egress": [{}], "ingress": [{}], "policyTypes": ["Egress"]}))),
            Some(true)
        );
        assert_eq!(opens(policy(json!({}), json!({"egress": [{}], "policyTypes": ["Egress", "Ingress"]}))), Some(true));
        let narrowed = policy(json!({"matchLabels": {CONTROLLER_LABEL: "source-controller"}}), open());
        assert_eq!(opens(narrowed), Some(true), "another selector is another policy");
        assert_eq!(opens(policy(json!({"matchLabels": {"app": "shop"}}), open())), Some(false));
    }
}
