//! Events: what changed between two statuses, told once.

use sluicegate_crds::{Condition, ConditionStatus, FluxConfigStatus};

use super::condition::{ADMITTED, AGENT_READY, READY, Reason, SYNCED, find, shown};

/// Longest note of an event, in bytes (the API server's limit).
pub const NOTE: usize = 1024;

/// A change that is worth an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Why.
    pub reason: Reason,
    /// What happened; at most 1,024 bytes.
    pub message: String,
    /// Somebody should look.
    pub warning: bool,
}

/// The events for a change of status: none for a status that says the same, and none for what only goes on.
pub fn transitions(old: Option<&FluxConfigStatus>, new: &FluxConfigStatus) -> Vec<Transition> {
    [verdict(old, new), agent(old, new), sync(old, new), summary(old, new)].into_iter().flatten().collect()
}

fn verdict(old: Option<&FluxConfigStatus>, new: &FluxConfigStatus) -> Option<Transition> {
    let (before, now) = both(old, new, ADMITTED)?;
    let same = before.is_some_and(|before| before.status == now.status);
    match now.status {
        ConditionStatus::True if !same => Some(normal(Reason::Admitted, &now.message)),
        // Another refusal is news, another wording of it is not.
        ConditionStatus::False if !same || !old.is_some_and(|old| same_rules(old, new)) => {
            Some(warning(Reason::PolicyViolation, &now.message))
        }
        ConditionStatus::Unknown if !same => Some(warning(Reason::Undetermined, &now.message)),
        ConditionStatus::True | ConditionStatus::False | ConditionStatus::Unknown => None,
    }
}

fn same_rules(old: &FluxConfigStatus, new: &FluxConfigStatus) -> bool {
    let rules = |status: &FluxConfigStatus| {
        status.violations.iter().map(|one| (one.rule.clone(), one.field.clone())).collect::<Vec<_>>()
    };
    rules(old) == rules(new)
}

/// An agent that comes up for the first time is no news while it does.
fn agent(old: Option<&FluxConfigStatus>, new: &FluxConfigStatus) -> Option<Transition> {
    let (before, now) = both(old, new, AGENT_READY)?;
    let worked = before.is_some_and(|before| before.status == ConditionStatus::True);
    let known = |reason: Reason| now.reason == reason.name();
    match now.status {
        ConditionStatus::True if !worked && known(Reason::AgentReady) => Some(normal(Reason::AgentReady, &now.message)),
        ConditionStatus::False if worked => {
            let reason = if known(Reason::AgentAbsent) { Reason::AgentAbsent } else { Reason::AgentStarting };
            Some(warning(reason, &now.message))
        }
        ConditionStatus::Unknown if worked && known(Reason::AgentUnknown) => {
            Some(warning(Reason::AgentUnknown, &now.message))
        }
        ConditionStatus::True | ConditionStatus::False | ConditionStatus::Unknown => None,
    }
}

/// Flux tries again and again, and says the same with other names of temporary folders; that is told once.
fn sync(old: Option<&FluxConfigStatus>, new: &FluxConfigStatus) -> Option<Transition> {
    let (_, now) = both(old, new, SYNCED)?;
    let before = old.and_then(|old| old.sync.as_ref());
    let sync = new.sync.as_ref()?;
    let failed = before.and_then(|before| before.error.as_deref());
    match (&sync.error, now.status) {
        (Some(error), ConditionStatus::False) => (failed.map(without_digits) != Some(without_digits(error)))
            .then(|| warning(Reason::SyncFailed, &now.message)),
        (None, ConditionStatus::True) => {
            let applied = before.and_then(|before| before.last_applied_revision.as_ref());
            (failed.is_some() || applied != sync.last_applied_revision.as_ref())
                .then(|| normal(Reason::Synced, &now.message))
        }
        _ => None,
    }
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

/// What only the summary tells: suspension, deletion, and what is in the way.
fn summary(old: Option<&FluxConfigStatus>, new: &FluxConfigStatus) -> Option<Transition> {
    let (before, now) = both(old, new, READY)?;
    let was = |reason: Reason| before.is_some_and(|before| before.reason == reason.name());
    let is = |reason: Reason| now.reason == reason.name();
    let begins = |reason: Reason| is(reason) && !was(reason);
    if begins(Reason::Suspended) {
        return Some(normal(Reason::Suspended, &now.message));
    }
    if begins(Reason::Deleting) {
        return Some(normal(Reason::Deleting, &now.message));
    }
    let another = before.is_none_or(|before| without_digits(&before.message) != without_digits(&now.message));
    let in_the_way = [Reason::Blocked, Reason::Contested].into_iter().find(|reason| is(*reason))?;
    (!was(in_the_way) || another).then(|| warning(in_the_way, &now.message))
}

fn both<'a>(
    old: Option<&'a FluxConfigStatus>,
    new: &'a FluxConfigStatus,
    type_: &str,
) -> Option<(Option<&'a Condition>, &'a Condition)> {
    Some((old.and_then(|old| find(&old.conditions, type_)), find(&new.conditions, type_)?))
}

fn normal(reason: Reason, message: &str) -> Transition {
    Transition { reason, message: shown(message, NOTE), warning: false }
}

fn warning(reason: Reason, message: &str) -> Transition {
    Transition { reason, message: shown(message, NOTE), warning: true }
}
