//! From what was seen to the status that is written, and to the events that tell of it. Pure: time comes in as a value.
//!
//! What lives here: the views of verdict, agent and Flux' own statuses that teams ([`flux_config`]) and administrators
//! ([`flux_policy`], [`flux_cluster`]) read, and [`transitions`]. What does not: any decision, and any write. Equal input
//! gives equal output, and a time in a status moves only when what it stands beside changes, so that whoever compares before
//! writing never writes an unchanged status.
//!
//! Conditions follow kstatus: `Ready` is the summary; `Reconciling` is there only while something goes on or is tried again,
//! `Stalled` only while nothing will change before somebody acts.

mod cluster;
mod condition;
mod policy;
mod sync;
#[cfg(test)]
mod tests;
mod transition;

use std::fmt::Write as _;

use k8s_openapi::jiff::Timestamp;
use sluicegate_crds::{
    Condition, ConditionStatus, FluxConfig, FluxConfigStatus, OnViolation, ResolvedField, SyncStatus, ViolationStatus,
    bounds,
};
use sluicegate_policy::{Admitted, Violation, text::escape};

pub use cluster::{ClusterSeen, flux_cluster};
pub use condition::{ADMITTED, AGENT_READY, READY, RECONCILING, Reason, STALLED, SYNCED};
pub use policy::flux_policy;
pub use transition::{NOTE, Transition, transitions};

use condition::{Conditions, Outcome};
pub(crate) use condition::{listed, shown};

use crate::{flux::state::FluxState, object::Key};

/// What the engine said of a FluxConfig.
#[derive(Clone, Copy, Debug)]
pub enum Judged<'a> {
    /// It is admitted.
    Admitted(&'a Admitted),
    /// It is refused.
    Refused {
        /// Why.
        violations: &'a [Violation],
        /// It had been admitted before: what is done with what it deployed.
        kept: Option<OnViolation>,
    },
    /// A fact is missing, so that neither can be said; what runs goes on.
    Undetermined(&'a [Violation]),
}

/// How far the operator is with it.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// What is rendered is not yet what is on the cluster.
    Applying,
    /// All that is rendered is on the cluster.
    Applied,
    /// Something is in the way, one sentence an entry: an object that is not ours, a namespace of another tenant, a cluster
    /// that cannot be reached.
    Blocked(&'a [String]),
    /// What it deployed is removed.
    Removing {
        /// Objects that are still there.
        waiting: &'a [Key],
        /// The team's objects stay.
        orphan: bool,
    },
}

/// How the agent is, judged by the holders of its Leases and the age of its objects' statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AgentHealth {
    /// There is none yet.
    #[default]
    Absent,
    /// Not all of its controllers work: which, and why.
    Starting(String),
    /// All of its controllers work.
    Ready,
    /// It is scaled to zero, since nothing was to do.
    Sleeping,
    /// Its cluster cannot be asked.
    Unknown,
}

/// All that the status of a FluxConfig is made from.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The FluxConfig with its present status.
    pub config: &'a FluxConfig,
    /// What the engine said.
    pub judged: Judged<'a>,
    /// How far the operator is.
    pub progress: Progress<'a>,
    /// How the agent is.
    pub agent: &'a AgentHealth,
    /// The GitRepository, OCIRepository, HelmRepository or Bucket.
    pub source: Option<&'a FluxState>,
    /// The HelmChart, where there is one.
    pub chart: Option<&'a FluxState>,
    /// The Kustomization or HelmRelease.
    pub delivery: Option<&'a FluxState>,
    /// What somebody else keeps changing, one sentence an entry.
    pub contested: &'a [String],
    /// Names of FluxConfigs that come first and are not ready, where the operator holds it back for them.
    pub waits_for: Option<&'a str>,
    /// Digest of the policies that the verdict was made with.
    pub policy_digest: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

impl Seen<'_> {
    /// It goes for good, as opposed to what it deployed going since a policy forbids it.
    fn deleting(&self) -> bool {
        self.config.metadata.deletion_timestamp.is_some()
            || (matches!(self.progress, Progress::Removing { .. }) && !matches!(self.judged, Judged::Refused { .. }))
    }

    fn old(&self) -> Option<&FluxConfigStatus> {
        self.config.status.as_ref()
    }
}

/// The status of a FluxConfig.
pub fn flux_config(seen: &Seen<'_>) -> FluxConfigStatus {
    let generation = seen.config.metadata.generation;
    let old = seen.old().map_or(&[][..], |status| &status.conditions);
    let admitted = admitted(seen);
    let agent = agent(seen);
    let synced = sync::synced(seen);
    let Summary { ready, settled } = summary(seen, &admitted, &agent, &synced);

    let mut conditions = Conditions::new(old, generation, seen.now);
    let abnormal = settled.condition(&ready);
    conditions.set(READY, ready);
    conditions.set(ADMITTED, admitted);
    conditions.set(AGENT_READY, agent);
    conditions.set(SYNCED, synced.outcome);
    if let Some((kind, outcome)) = abnormal {
        conditions.set(kind, outcome);
    }
    fit_to_show(FluxConfigStatus {
        conditions: conditions.list,
        resolved: resolved(seen),
        violations: violations(seen.judged),
        sync: synced.status,
        policy_digest: seen.policy_digest.map(str::to_owned),
        observed_generation: generation,
    })
}

/// The last thing that is done to a status: no text of it, wherever it came from, draws anything but itself. A new field of a
/// status has to be named here.
fn fit_to_show(status: FluxConfigStatus) -> FluxConfigStatus {
    let FluxConfigStatus { conditions, resolved, violations, sync, policy_digest, observed_generation } = status;
    let text = |text: String| escape(&text).into_owned();
    let resolved = resolved.into_iter().map(|field| {
        let ResolvedField { field, value, origin } = field;
        ResolvedField { field: text(field), value: text(value), origin: text(origin) }
    });
    let violations = violations.into_iter().map(|violation| {
        let ViolationStatus { rule, field, message } = violation;
        ViolationStatus { rule: text(rule), field: shown(&field, bounds::TEXT), message: shown(&message, bounds::TEXT) }
    });
    let sync = sync.map(|sync| {
        let SyncStatus { last_attempted_revision, last_applied_revision, author, commit_message, error, objects } =
            sync;
        SyncStatus {
            last_attempted_revision: last_attempted_revision.map(|revision| shown(&revision, bounds::TEXT)),
            last_applied_revision: last_applied_revision.map(|revision| shown(&revision, bounds::TEXT)),
            author: author.map(text),
            commit_message: commit_message.map(text),
            error: error.map(|error| shown(&error, sync::ERROR)),
            objects,
        }
    });
    FluxConfigStatus {
        conditions: fit_conditions(conditions),
        resolved: resolved.collect(),
        violations: violations.collect(),
        sync,
        policy_digest: policy_digest.map(text),
        observed_generation,
    }
}

fn fit_conditions(conditions: Vec<Condition>) -> Vec<Condition> {
    let fit = |condition: Condition| {
        let Condition { type_, status, reason, message, last_transition_time, observed_generation } = condition;
        let text = |text: String| escape(&text).into_owned();
        Condition {
            type_: text(type_),
            status,
            reason: text(reason),
            message: shown(&message, condition::MESSAGE),
            last_transition_time: text(last_transition_time),
            observed_generation,
        }
    };
    conditions.into_iter().map(fit).collect()
}

/// `Ready`, and whether more is to come.
struct Summary {
    ready: Outcome,
    settled: Settled,
}

/// What kstatus wants to know beside `Ready`.
enum Settled {
    /// Nothing more is to do.
    Done,
    /// It goes on by itself.
    Progressing,
    /// It failed and is tried again.
    Retrying,
    /// Nothing changes before somebody acts.
    Stalled,
}

impl Settled {
    fn condition(&self, ready: &Outcome) -> Option<(&'static str, Outcome)> {
        let with = |reason: Reason| Outcome { status: ConditionStatus::True, reason: reason.into(), ..ready.clone() };
        match self {
            Settled::Done => None,
            Settled::Progressing => Some((RECONCILING, with(Reason::Progressing))),
            Settled::Retrying => Some((RECONCILING, with(Reason::ProgressingWithRetry))),
            Settled::Stalled => Some((STALLED, Outcome { status: ConditionStatus::True, ..ready.clone() })),
        }
    }
}

/// The first of these that is not well decides: deletion, verdict, what is in the way, agent, sync.
fn summary(seen: &Seen<'_>, admitted: &Outcome, agent: &Outcome, synced: &sync::Synced) -> Summary {
    if seen.deleting() {
        let ready = Outcome::fails(Reason::Deleting, deleting(seen, agent, &synced.outcome));
        return Summary { ready, settled: Settled::Progressing };
    }
    match admitted.status {
        ConditionStatus::True => {}
        ConditionStatus::False => {
            let mut ready = admitted.clone();
            if let Progress::Removing { waiting, .. } = seen.progress
                && !waiting.is_empty()
            {
                let _ = write!(ready.message, "; waiting for {}", keys(waiting));
            }
            return Summary { ready, settled: Settled::Stalled };
        }
        ConditionStatus::Unknown => return Summary { ready: admitted.clone(), settled: Settled::Retrying },
    }
    if let Progress::Blocked(reasons) = seen.progress {
        let ready = Outcome::fails(Reason::Blocked, blocked(reasons));
        return Summary { ready, settled: Settled::Retrying };
    }
    if !seen.contested.is_empty() {
        let ready = Outcome::fails(Reason::Contested, contested(seen.contested));
        return Summary { ready, settled: Settled::Retrying };
    }
    if agent.status != ConditionStatus::True {
        return Summary { ready: agent.clone(), settled: Settled::Progressing };
    }
    if synced.suspended {
        let ready = Outcome { status: ConditionStatus::True, ..synced.outcome.clone() };
        return Summary { ready, settled: Settled::Done };
    }
    let message = synced.outcome.message.clone();
    match synced.outcome.status {
        ConditionStatus::True => Summary { ready: Outcome::holds(Reason::Succeeded, message), settled: Settled::Done },
        ConditionStatus::False => Summary {
            ready: Outcome::fails(Reason::SyncFailed, message),
            settled: if synced.terminal { Settled::Stalled } else { Settled::Retrying },
        },
        ConditionStatus::Unknown => {
            Summary { ready: Outcome::unknown(Reason::Progressing, message), settled: Settled::Progressing }
        }
    }
}

/// What a deletion waits for. An agent that sleeps or is not up cannot delete anything, so it is named too.
fn deleting(seen: &Seen<'_>, agent: &Outcome, synced: &Outcome) -> String {
    let mut text = String::from("being deleted");
    match seen.progress {
        Progress::Removing { waiting, orphan } => {
            if orphan {
                text.push_str("; what it deployed stays");
            }
            if !waiting.is_empty() {
                let _ = write!(text, "; waiting for {}", keys(waiting));
            }
        }
        Progress::Blocked(reasons) => {
            let _ = write!(text, "; {}", blocked(reasons));
        }
        Progress::Applying | Progress::Applied => {}
    }
    for why in seen.contested {
        let _ = write!(text, "; {why}");
    }
    match seen.agent {
        AgentHealth::Sleeping => text.push_str("; the agent that does it sleeps and is woken first"),
        AgentHealth::Starting(_) | AgentHealth::Unknown => {
            let _ = write!(text, "; {}", agent.message);
        }
        AgentHealth::Absent | AgentHealth::Ready => {}
    }
    if synced.reason == Reason::SyncFailed.name() {
        let _ = write!(text, "; {}", synced.message);
    }
    text
}

fn blocked(reasons: &[String]) -> String {
    if reasons.is_empty() { "something is in the way".to_owned() } else { reasons.join("; ") }
}

/// What somebody else keeps changing, and what to do. Where there are many the first say who it is.
fn contested(reasons: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text = reasons.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ");
    if reasons.len() > SHOWN {
        let _ = write!(text, "; and {} more", reasons.len() - SHOWN);
    }
    text.push_str(". Sluicegate puts it right again, later each time: have the other writer leave it alone");
    text
}

/// What something waits for, in words.
pub fn waiting(waiting: &[Key]) -> Option<String> {
    (!waiting.is_empty()).then(|| format!("waiting for {}", keys(waiting)))
}

fn keys(keys: &[Key]) -> String {
    listed(keys.iter().map(ToString::to_string), keys.len())
}

fn admitted(seen: &Seen<'_>) -> Outcome {
    match seen.judged {
        Judged::Admitted(admitted) => {
            let by = &admitted.resolved().source_allowed_by;
            Outcome::holds(Reason::Admitted, format!("the source is allowed by {by}"))
        }
        Judged::Refused { violations, kept } => {
            let mut message = refusal(violations);
            message.push_str(match kept {
                None => "",
                Some(OnViolation::Suspend) => "; what it deployed stays and is not synced any more",
                Some(OnViolation::Keep) => "; it goes on as it was last admitted",
                Some(OnViolation::Remove) => "; what it deployed is removed",
            });
            Outcome::fails(Reason::PolicyViolation, message)
        }
        Judged::Undetermined(violations) => Outcome::unknown(Reason::Undetermined, refusal(violations)),
    }
}

fn refusal(violations: &[Violation]) -> String {
    let list = listed(violations.iter().map(ToString::to_string), violations.len());
    match violations.len() {
        0 => "the engine gave no reason".to_owned(),
        1 => list,
        many => format!("{many} violations: {list}"),
    }
}

fn agent(seen: &Seen<'_>) -> Outcome {
    if matches!(seen.judged, Judged::Refused { kept: None, .. }) && !seen.deleting() {
        return Outcome::unknown(Reason::NotAdmitted, "no agent serves what is not admitted".to_owned());
    }
    match seen.agent {
        AgentHealth::Absent => Outcome::fails(Reason::AgentAbsent, "there is no agent yet".to_owned()),
        AgentHealth::Starting(why) => Outcome::fails(Reason::AgentStarting, format!("the agent is not up: {why}")),
        AgentHealth::Ready => Outcome::holds(Reason::AgentReady, "all controllers of the agent work".to_owned()),
        AgentHealth::Sleeping => Outcome::holds(
            Reason::AgentSleeping,
            "the agent sleeps, since it had nothing to do; what is said of the sync is of before".to_owned(),
        ),
        AgentHealth::Unknown => {
            Outcome::unknown(Reason::AgentUnknown, "the agent's cluster does not say how the agent is".to_owned())
        }
    }
}

/// Effective values of an admitted FluxConfig; those of the last admission while what it deployed is still there.
fn resolved(seen: &Seen<'_>) -> Vec<ResolvedField> {
    let mut fields = match seen.judged {
        Judged::Admitted(admitted) => admitted.fields(),
        Judged::Refused { kept: None, .. } => Vec::new(),
        Judged::Refused { kept: Some(_), .. } | Judged::Undetermined(_) => {
            seen.old().map(|status| status.resolved.clone()).unwrap_or_default()
        }
    };
    fields.truncate(bounds::ENTRIES);
    fields
}

fn violations(judged: Judged<'_>) -> Vec<ViolationStatus> {
    let (Judged::Refused { violations, .. } | Judged::Undetermined(violations)) = judged else { return Vec::new() };
    violations.iter().take(bounds::ENTRIES).map(violation).collect()
}

/// What was found, what is allowed, how to go on.
fn violation(violation: &Violation) -> ViolationStatus {
    let mut message = violation.message.clone();
    if !violation.allowed.is_empty() {
        let allowed = listed(violation.allowed.iter().cloned(), violation.allowed.len());
        let _ = write!(message, "; allowed: {allowed}");
    }
    for help in &violation.help {
        let _ = write!(message, "; {help}");
    }
    ViolationStatus {
        rule: violation.rule.id().to_owned(),
        field: shown(violation.field.as_ref(), bounds::TEXT),
        message: shown(&message, bounds::TEXT),
    }
}
