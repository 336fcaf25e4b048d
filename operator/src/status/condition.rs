//! Conditions: their types and reasons, and how they are put together.

use std::{borrow::Cow, fmt};

use k8s_openapi::jiff::Timestamp;
use sluicegate_crds::{Condition, ConditionStatus};
use sluicegate_policy::text::escape;

/// The summary.
pub const READY: &str = "Ready";
/// The engine's verdict on a FluxConfig.
pub const ADMITTED: &str = "Admitted";
/// Whether the agent of a FluxConfig works.
pub const AGENT_READY: &str = "AgentReady";
/// Whether what is in the source is on the cluster, by Flux' word.
pub const SYNCED: &str = "Synced";
/// There only while it holds: something goes on, or is tried again.
pub const RECONCILING: &str = "Reconciling";
/// There only while it holds: nothing changes before somebody acts.
pub const STALLED: &str = "Stalled";

/// Longest message of a condition, in bytes.
pub(super) const MESSAGE: usize = 32768;
/// Most entries of a list in a message.
const LISTED: usize = 10;

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident,)*) => {
        /// Why a condition is what it is. `Synced` has Flux' own reasons beside these.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $reason,)* }

        impl Reason {
            /// All of them.
            pub const ALL: &[Reason] = &[$(Reason::$reason,)*];

            /// As it stands in a condition or an event.
            pub const fn name(self) -> &'static str { match self { $(Reason::$reason => stringify!($reason),)* } }
        }
    };
}

reasons! {
    /// Everything is as it should be.
    Succeeded,
    /// The engine admits it.
    Admitted,
    /// The engine refuses it.
    PolicyViolation,
    /// The engine lacks a fact.
    Undetermined,
    /// It is not admitted, so nothing is done for it.
    NotAdmitted,
    /// Objects are being applied.
    Applying,
    /// Something is in the way.
    Blocked,
    /// Somebody else keeps changing what Sluicegate writes, and it waits before it does so again.
    Contested,
    /// It is being deleted.
    Deleting,
    /// The team suspended it.
    Suspended,
    /// Something goes on.
    Progressing,
    /// It failed and is tried again.
    ProgressingWithRetry,
    /// Flux has not looked at it yet.
    Unstarted,
    /// Flux failed.
    SyncFailed,
    /// Flux applied a revision.
    Synced,
    /// There is no agent yet.
    AgentAbsent,
    /// Not all controllers of the agent work.
    AgentStarting,
    /// The agent works.
    AgentReady,
    /// The agent is scaled to zero.
    AgentSleeping,
    /// The agent's cluster cannot be asked.
    AgentUnknown,
    /// A policy is valid and in force.
    Valid,
    /// A policy is invalid; tenants that it selects are denied.
    Invalid,
    /// A cluster answers.
    Reachable,
    /// A cluster does not answer.
    Unreachable,
    /// Flux' kinds are missing on a cluster, or too old.
    FluxMissing,
    /// The guard of a cluster is not in force.
    GuardMissing,
    /// A platform-wide Flux would reconcile tenants' objects.
    PlatformFluxNotExcluded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Reason> for Cow<'static, str> {
    fn from(reason: Reason) -> Self {
        Cow::Borrowed(reason.name())
    }
}

/// A condition without its type and its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub status: ConditionStatus,
    pub reason: Cow<'static, str>,
    pub message: String,
}

impl Outcome {
    pub fn holds(reason: Reason, message: String) -> Self {
        Self { status: ConditionStatus::True, reason: reason.into(), message }
    }

    pub fn fails(reason: Reason, message: String) -> Self {
        Self { status: ConditionStatus::False, reason: reason.into(), message }
    }

    pub fn unknown(reason: Reason, message: String) -> Self {
        Self { status: ConditionStatus::Unknown, reason: reason.into(), message }
    }
}

/// New conditions in the making. A condition keeps the time of its last transition while its status is the same.
pub(super) struct Conditions<'a> {
    old: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    pub list: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    pub fn new(old: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { old, generation, now, list: Vec::with_capacity(5) }
    }

    pub fn set(&mut self, type_: &'static str, outcome: Outcome) {
        let Outcome { status, reason, message } = outcome;
        let since = self
            .old
            .iter()
            .find(|old| old.type_ == type_ && old.status == status)
            .map_or_else(|| seconds(self.now), |old| old.last_transition_time.clone());
        self.list.push(Condition {
            type_: type_.to_owned(),
            status,
            reason: reason.into_owned(),
            message: shown(&message, MESSAGE),
            last_transition_time: since,
            observed_generation: self.generation,
        });
    }
}

/// RFC 3339 in whole seconds, as everywhere in Kubernetes.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// The condition of that type.
pub(super) fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// A text of others as it is shown: as one line, with hidden characters spelled, and as much of it as fits into so many bytes
/// with an ellipsis at the end. What was shown once is not changed again.
pub(crate) fn shown(text: &str, most: usize) -> String {
    const ELLIPSIS: &str = "…";
    let text = escape(text);
    if text.len() <= most {
        return text.into_owned();
    }
    format!("{}{ELLIPSIS}", &text[..text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()))])
}

/// The first of many, and how many more there are.
pub(crate) fn listed(items: impl Iterator<Item = String>, number: usize) -> String {
    let mut text = items.take(LISTED).collect::<Vec<_>>().join(", ");
    if number > LISTED {
        text.push_str(&format!(" and {} more", number - LISTED));
    }
    text
}
