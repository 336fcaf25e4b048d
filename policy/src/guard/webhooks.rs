//! The same guard for an API server that asks a webhook: each policy as an entry of a ValidatingWebhookConfiguration.
//!
//! What a policy without a parameter says, who may touch what Sluicegate owns, the API server finds out by itself in match
//! conditions, from the same CEL; the webhook gets only what must be refused. The others come to the
//! [`Evaluator`](super::Evaluator).

use serde_json::Value;

use super::owned::{accounts, administers, drains, is_kubernetes};
use super::policies::{Of, Policy, condition, policies};
use super::{cel::texts, is_flux};

/// How a webhook answers what an entry sends to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// By what the policies say of the object.
    Judges,
    /// With this refusal, whatever it is: the conditions have found out that it must not be.
    Refuses(String),
}

/// An entry of a ValidatingWebhookConfiguration, without the webhook's address.
#[derive(Clone, Debug)]
pub struct GuardHook {
    /// First part of its name: that of the policy, for agents' namespaces with `-agents`.
    pub name: String,
    /// Name of the policy that it stands for.
    pub policy: &'static str,
    /// `namespaceSelector`; none where the request's namespace does not matter.
    pub selector: Option<Value>,
    /// `objectSelector`; none where an object's labels do not matter.
    pub objects: Option<Value>,
    /// `rules`.
    pub rules: Vec<Value>,
    /// `matchConditions`.
    pub conditions: Vec<Value>,
    /// What the webhook says.
    pub answers: Answers,
}

/// All entries, in the order of the policies.
pub fn hooks() -> Vec<GuardHook> {
    policies().into_iter().flat_map(hooks_of).collect()
}

fn hooks_of(policy: Policy) -> Vec<GuardHook> {
    let (conditions, answers) =
        if policy.parameter { (judged_where(policy.name), Answers::Judges) } else { refused_where(&policy) };
    // Images that Flux scans are judged with everything else of a Flux object, and asked about once.
    let of_flux = |rule: &Value| {
        rule["apiGroups"]
            .as_array()
            .is_some_and(|groups| groups.iter().any(|group| group.as_str().is_some_and(is_flux)))
    };
    let rules: Vec<Value> =
        policy.resources.iter().filter(|rule| policy.name != "pods" || !of_flux(rule)).cloned().collect();
    let hook = |of: Option<Of>| GuardHook {
        name: match (policy.of, of) {
            ([_, _], Some(Of::Agents)) => format!("{}-agents", policy.name),
            _ => policy.name.to_owned(),
        },
        policy: policy.name,
        selector: of.map(Of::selector),
        objects: policy.selects.clone(),
        rules: rules.clone(),
        conditions: conditions.clone(),
        answers: answers.clone(),
    };
    match policy.of {
        [] => vec![hook(None)],
        of => of.iter().map(|of| hook(Some(*of))).collect(),
    }
}

/// What changes nothing that is judged is not sent at all: a Deployment is scaled and a finalizer removed whoever is away.
fn judged_where(policy: &str) -> Vec<Value> {
    let differs = |field: &str| format!("object.{field} != oldObject.{field}");
    let new = "object == null || oldObject == null";
    match policy {
        "network-policies" => vec![
            condition("not-kubernetes", format!("!{}", is_kubernetes())),
            condition("not-an-administrator", format!("!{}", administers())),
            condition("what-is-judged-changes", format!("{new} || {}", differs("?spec"))),
        ],
        "access" => vec![
            condition("not-kubernetes", format!("!{}", is_kubernetes())),
            condition("not-an-administrator", format!("!{}", administers())),
            // Whether an agent lives there is another question; what cannot be its own nobody has to be asked about.
            condition(
                "may-be-an-agent-s",
                format!(
                    "request.name.split(':').exists(part, {}.exists(name, part.startsWith(name)))",
                    texts(accounts())
                ),
            ),
            condition("not-a-drain", format!("!{}", drains())),
        ],
        "pods" => {
            let templates = ["?template", "?spec.?template", "?spec.?jobTemplate"].map(differs).join(" || ");
            let changes = format!("{new} || (object.kind == 'Pod' ? {} : {templates})", differs("?spec"));
            vec![condition("what-runs-changes", changes)]
        }
        _ => {
            let changes = ["?spec", "?metadata.?labels"].map(differs).join(" || ");
            vec![condition("what-is-judged-changes", format!("{new} || {changes}"))]
        }
    }
}

/// The policy's own conditions, and that its one validation does not hold.
fn refused_where(policy: &Policy) -> (Vec<Value>, Answers) {
    let mut conditions = policy.conditions.clone();
    let mut message = String::new();
    for validation in &policy.validations {
        let text = |field: &str| validation[field].as_str().unwrap_or_default().to_owned();
        if text("expression") != "false" {
            conditions.push(condition("refused", format!("!({})", text("expression"))));
        }
        message = text("message");
    }
    (conditions, Answers::Refuses(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_its_hooks_and_every_binding_one() {
        let bindings = super::super::manifests().into_iter().flat_map(|document| document.manifests);
        let mut bindings: Vec<String> = bindings
            .filter(|manifest| manifest["kind"] == "ValidatingAdmissionPolicyBinding")
            .map(|manifest| manifest["metadata"]["name"].as_str().unwrap().trim_start_matches("sluicegate-").to_owned())
            .collect();
        let mut names: Vec<String> = hooks().into_iter().map(|hook| hook.name).collect();
        bindings.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, bindings);
    }

    #[test]
    fn a_policy_without_a_parameter_has_one_validation_and_asks_for_none() {
        for policy in policies().iter().filter(|policy| !policy.parameter) {
            assert_eq!(policy.validations.len(), 1, "{}", policy.name);
            let all = serde_json::to_string(&policy.conditions).unwrap() + &policy.validations[0].to_string();
            assert!(!all.contains("params") && !all.contains("variables"), "{}", policy.name);
        }
    }

    #[test]
    fn no_condition_reads_what_a_webhook_has_not() {
        for hook in hooks() {
            assert!(!serde_json::to_string(&hook.conditions).unwrap().contains("params"), "{}", hook.name);
            assert!(hook.conditions.len() <= 64);
            let judges = matches!(hook.policy, "pods" | "flux" | "network-policies" | "access");
            assert_eq!(hook.answers == Answers::Judges, judges, "{}", hook.name);
        }
    }
}
