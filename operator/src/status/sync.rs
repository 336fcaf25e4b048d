//! `Synced` and `status.sync`: what Flux says of source, chart and delivery, as one answer.

use std::borrow::Cow;

use sluicegate_crds::{ConditionStatus, OnViolation, SyncStatus, bounds};

use super::{
    AgentHealth, Judged, Progress, Seen, blocked,
    condition::{Outcome, Reason, SYNCED},
};
use crate::flux::{
    hint::hint,
    state::{FluxCondition, FluxState, Sync, WAITING},
};

/// Longest error that is kept, in bytes: as long as the message of a condition can be.
pub(super) const ERROR: usize = 32768;

/// The answer.
pub(super) struct Synced {
    pub outcome: Outcome,
    /// The team asked for silence, and has it.
    pub suspended: bool,
    /// Flux has given up.
    pub terminal: bool,
    pub status: Option<SyncStatus>,
}

pub(super) fn synced(seen: &Seen<'_>) -> Synced {
    let answer = answer(seen);
    let suspended = answer.reason == Reason::Suspended.name();
    let failure =
        if seen.deleting() { removal_failure(seen).map(|condition| (condition, false)) } else { failure(seen) };
    Synced {
        suspended,
        terminal: failure.is_some_and(|(_, terminal)| terminal),
        status: status(seen, failure.map(|(condition, _)| condition)),
        outcome: answer,
    }
}

fn answer(seen: &Seen<'_>) -> Outcome {
    if seen.deleting() {
        return match removal_failure(seen) {
            Some(condition) => Outcome::fails(Reason::SyncFailed, explained(condition)),
            None => Outcome::fails(Reason::Deleting, "being deleted".to_owned()),
        };
    }
    let not_admitted = |message: &str| Outcome::fails(Reason::NotAdmitted, message.to_owned());
    match seen.judged {
        Judged::Refused { kept: None, .. } => not_admitted("nothing is synced before it is admitted"),
        Judged::Refused { kept: Some(OnViolation::Suspend), .. } => {
            not_admitted("not synced until it is admitted again; what runs stays")
        }
        Judged::Refused { kept: Some(OnViolation::Remove), .. } => not_admitted("what it deployed is removed"),
        Judged::Undetermined(_) if seen.delivery.is_none() => {
            Outcome::unknown(Reason::NotAdmitted, "nothing is synced before it is admitted".to_owned())
        }
        Judged::Admitted(_) | Judged::Undetermined(_) | Judged::Refused { kept: Some(OnViolation::Keep), .. } => {
            flux(seen)
        }
    }
}

/// What Flux says. A failure of what comes first explains those that follow from it.
fn flux(seen: &Seen<'_>) -> Outcome {
    let progressing = |message: String| Outcome::unknown(Reason::Progressing, message);
    if seen.config.spec.suspend == Some(true) {
        return match seen.delivery {
            Some(delivery) if !delivery.suspended => progressing("being suspended".to_owned()),
            Some(FluxState { applied: Some(revision), .. }) => {
                Outcome::unknown(Reason::Suspended, format!("suspended at revision {revision}; what runs stays"))
            }
            Some(_) | None => Outcome::unknown(Reason::Suspended, "suspended; what runs stays".to_owned()),
        };
    }
    if let Some((condition, _)) = failure(seen) {
        return Outcome { reason: reason(condition), ..Outcome::fails(Reason::SyncFailed, explained(condition)) };
    }
    if let Some(names) = seen.waits_for {
        return progressing(format!("waits for {names}, which must be ready first"));
    }
    let Some(delivery) = seen.delivery else {
        return match seen.progress {
            Progress::Blocked(reasons) => Outcome::fails(Reason::Blocked, blocked(reasons)),
            Progress::Applied => Outcome::unknown(Reason::Unstarted, "Flux has not begun".to_owned()),
            Progress::Applying | Progress::Removing { .. } => {
                Outcome::unknown(Reason::Applying, "the objects for Flux are being applied".to_owned())
            }
        };
    };
    for (name, state) in states(seen) {
        match state.sync() {
            Sync::Ready(_) | Sync::Failed { .. } => {}
            Sync::Unstarted => {
                return Outcome::unknown(Reason::Unstarted, format!("Flux has not looked at the {name} yet"));
            }
            Sync::Suspended => return progressing(format!("the {name} is suspended in Flux, and is resumed")),
            Sync::Progressing(None) => return progressing(format!("the {name} is being deleted, and is made again")),
            Sync::Progressing(Some(condition)) => {
                return again(seen, delivery).unwrap_or_else(|| progressing(explained(condition)));
            }
        }
    }
    // The revisions of charts and of what is in charts are not those of sources.
    if let (None, Some(source), Some(applied)) = (&seen.config.spec.chart, seen.source, &delivery.applied)
        && let Some(fetched) = &source.artifact_revision
        && fetched != applied
    {
        return progressing(format!("revision {fetched} is fetched and comes next; applied is {applied}"));
    }
    match (seen.progress, &delivery.ready) {
        (Progress::Applied | Progress::Blocked(_), Some(ready)) => Outcome {
            reason: reason(ready),
            ..Outcome::holds(
                Reason::Synced,
                match seen.agent {
                    AgentHealth::Sleeping => format!("{}, before the agent fell asleep", ready.message),
                    AgentHealth::Absent | AgentHealth::Starting(_) | AgentHealth::Ready | AgentHealth::Unknown => {
                        ready.message.clone().into()
                    }
                },
            )
        },
        _ => Outcome::unknown(Reason::Applying, "changes for Flux are being applied".to_owned()),
    }
}

/// What was said last, while Flux looks once more at what it has looked at: at each interval it says that it is in progress,
/// and nothing is known to have changed.
fn again(seen: &Seen<'_>, delivery: &FluxState) -> Option<Outcome> {
    let old = seen.old()?;
    let last = old.conditions.iter().find(|condition| condition.type_ == SYNCED)?;
    let in_progress = delivery.ready.as_ref().is_some_and(|ready| !WAITING.contains(&&*ready.reason));
    let same_config = last.observed_generation == seen.config.metadata.generation;
    // Of what failed Flux does not say which generation it has looked at.
    let same_delivery = last.status == ConditionStatus::False || delivery.observed_generation == delivery.generation;
    let tried = old.sync.as_ref()?.last_attempted_revision.as_deref();
    let same_revision = tried.is_some() && tried == delivery.attempted.as_deref();
    // The revisions of charts are not those of sources.
    let fetched = seen.source.and_then(|source| source.artifact_revision.as_deref());
    let newest = seen.config.spec.chart.is_some() || fetched == tried;
    let known = last.status != ConditionStatus::Unknown;
    let applied = matches!(seen.progress, Progress::Applied | Progress::Blocked(_));
    (known && in_progress && same_config && same_delivery && same_revision && newest && applied).then(|| Outcome {
        status: last.status,
        reason: last.reason.clone().into(),
        message: last.message.clone(),
    })
}

/// In the order in which they depend on each other.
fn states<'a>(seen: &Seen<'a>) -> impl Iterator<Item = (&'static str, &'a FluxState)> {
    [("source", seen.source), ("chart", seen.chart), ("delivery", seen.delivery)]
        .into_iter()
        .filter_map(|(name, state)| Some((name, state?)))
}

/// The first failure, and whether it is final.
fn failure<'a>(seen: &Seen<'a>) -> Option<(&'a FluxCondition, bool)> {
    states(seen).find_map(|(_, state)| match state.sync() {
        Sync::Failed { condition, terminal } => Some((condition, terminal)),
        Sync::Unstarted | Sync::Suspended | Sync::Progressing(_) | Sync::Ready(_) => None,
    })
}

/// Why a delivery does not go. Only what it says while it is being deleted counts, and no other object.
fn removal_failure<'a>(seen: &Seen<'a>) -> Option<&'a FluxCondition> {
    let ready = seen.delivery.filter(|delivery| delivery.deleting)?.ready.as_ref()?;
    (ready.status == ConditionStatus::False).then_some(ready)
}

/// Flux' reason, where it is one: conditions of ours must be valid whatever Flux' objects hold.
fn reason(condition: &FluxCondition) -> Cow<'static, str> {
    let reason = &*condition.reason;
    let valid = reason.len() <= 128
        && reason.starts_with(|first: char| first.is_ascii_alphabetic())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match (valid, condition.status) {
        (true, _) => Cow::Owned(reason.to_owned()),
        (false, ConditionStatus::True) => Reason::Synced.into(),
        (false, _) => Reason::SyncFailed.into(),
    }
}

/// Flux' message whole, and before it what it means where that is not plain.
fn explained(condition: &FluxCondition) -> String {
    match hint(&condition.message) {
        Some(hint) => format!("{hint}. Flux says: {}", condition.message),
        None if condition.message.is_empty() => format!("Flux says only: {}", condition.reason),
        None => condition.message.clone().into(),
    }
}

/// `status.sync`. While the cluster cannot be asked, what was known last stays. An error stays until Flux succeeds: between
/// two tries Flux says only that it tries again.
fn status(seen: &Seen<'_>, failure: Option<&FluxCondition>) -> Option<SyncStatus> {
    let old = seen.old().and_then(|status| status.sync.as_ref());
    if states(seen).next().is_none() {
        let blind = matches!(seen.progress, Progress::Blocked(_)) || matches!(seen.agent, AgentHealth::Unknown);
        return old.filter(|_| blind).cloned();
    }
    let well = states(seen).all(|(_, state)| matches!(state.sync(), Sync::Ready(_)));
    let error = match failure {
        Some(condition) => Some(super::shown(&condition.message, ERROR)),
        None if well => None,
        None => old.and_then(|old| old.error.clone()),
    };
    let revision = |revision: Option<&str>| revision.map(|text| super::shown(text, bounds::TEXT));
    let delivery = seen.delivery;
    let status = SyncStatus {
        last_attempted_revision: revision(delivery.and_then(|state| state.attempted.as_deref())),
        last_applied_revision: revision(delivery.and_then(|state| state.applied.as_deref())),
        author: None,
        commit_message: None,
        error,
        objects: delivery.and_then(|state| state.objects).map(i64::from),
    };
    (status != SyncStatus::default()).then_some(status)
}
