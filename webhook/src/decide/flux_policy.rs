//! FluxPolicies: errors and conflicts refuse them; dangerous grants, and FluxConfigs that they cut off, are warnings.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sluicegate_crds::{FluxConfig, FluxPolicy, FluxPolicySpec};
use sluicegate_policy::{Violation, compile, concern, dangerous_grants, message};

use super::{Budget, impact, read, unreadable};
use crate::{
    review::{Answer, Manifest, Operation, Request},
    snapshot::Snapshot,
};

pub(super) fn validate(request: &Request<'_>, snapshot: &Snapshot, budget: Budget) -> Answer {
    match request.operation {
        Operation::Connect => Answer::allowed(),
        Operation::Delete => {
            let after = snapshot.under(snapshot.policies.without(&request.name));
            warn_of_cut_off(Answer::allowed(), &request.name, snapshot, &after, budget)
        }
        Operation::Create | Operation::Update => write(request, snapshot, budget),
    }
}

fn write(request: &Request<'_>, snapshot: &Snapshot, budget: Budget) -> Answer {
    let object = match read::<Manifest<FluxPolicySpec>>(request.object.as_ref()) {
        Ok(object) => object,
        Err(error) => return unreadable(&error),
    };
    if read::<Manifest<FluxPolicySpec>>(request.old_object.as_ref()).is_ok_and(|old| old.spec == object.spec) {
        return Answer::allowed();
    }
    let name = if request.name.is_empty() { object.metadata.name } else { request.name.to_string() };
    let mut policy = FluxPolicy::new(&name, object.spec);
    policy.metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
    let compiled = match compile(&policy) {
        Ok(compiled) => compiled,
        Err(invalid) => return Answer::denied(message::refusal(invalid.errors())),
    };
    let dangers = dangerous_grants(&compiled);
    let after = snapshot.under(snapshot.policies.with(Ok(compiled)));
    let conflicts = new_conflicts(&name, snapshot, &after);
    if !conflicts.is_empty() {
        return Answer::denied(message::refusal(&conflicts));
    }
    let answer = dangers.iter().fold(Answer::allowed(), |answer, danger| answer.warn(message::sentence(danger)));
    warn_of_cut_off(answer, &name, snapshot, &after, budget)
}

/// Conflicts of this policy that are not there without its change. Those of others are not this request's.
fn new_conflicts(name: &str, before: &Snapshot, after: &Snapshot) -> Vec<Violation> {
    let known = before.policies.conflicts(&before.facts);
    let mut conflicts = after.policies.conflicts(&after.facts);
    conflicts.retain(|conflict| {
        let of_this = conflict.decided_by.iter().any(|field| &*field.policy == name);
        of_this && !known.iter().any(|known| known.decided_by == conflict.decided_by)
    });
    conflicts
}

fn warn_of_cut_off(answer: Answer, name: &str, before: &Snapshot, after: &Snapshot, budget: Budget) -> Answer {
    let judged_by = |config: &FluxConfig, at: &Snapshot| {
        concern(config, &at.policies, &at.facts).policies.iter().any(|policy| &**policy == name)
    };
    let cut_off =
        impact::cut_off(before, after, |config| judged_by(config, before) || judged_by(config, after), budget);
    match cut_off.warning() {
        Some(warning) => answer.warn(warning),
        None => answer,
    }
}
