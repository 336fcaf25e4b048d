//! What Flux says of one of its objects, and what to make of it.
//!
//! Statuses are read leniently: what is malformed is absent. They are judged strictly: what is absent is never taken for
//! success.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use sluicegate_crds::ConditionStatus;

/// What Flux says of one of its objects, pruned to what statuses need: tens of thousands of them are kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluxState {
    /// `metadata.generation`; 0 where absent.
    pub generation: i64,
    /// `status.observedGeneration`; -1 until the first success, as Flux itself writes it, and where absent.
    pub observed_generation: i64,
    /// `spec.suspend`. A suspended object keeps its last conditions.
    pub suspended: bool,
    /// It has a deletion timestamp.
    pub deleting: bool,
    /// Condition `Ready`, whatever its status.
    pub ready: Option<FluxCondition>,
    /// Condition `Stalled`, only while it holds: Flux has given up until the object changes.
    pub stalled: Option<Box<FluxCondition>>,
    /// Condition `Reconciling`, only while it holds: Flux works on it, or tries again.
    pub reconciling: Option<Box<FluxCondition>>,
    /// `status.lastAttemptedRevision`: a revision of the source, for HelmReleases the version of the chart.
    pub attempted: Option<Box<str>>,
    /// `status.lastAppliedRevision`; for HelmReleases the version of the chart that is deployed.
    pub applied: Option<Box<str>>,
    /// `status.artifact.revision` of sources and charts.
    pub artifact_revision: Option<Box<str>>,
    /// Number of objects in the inventory.
    pub objects: Option<u32>,
    /// `status.lastHandledReconcileAt`: the annotation `reconcile.fluxcd.io/requestedAt` as it was last obeyed.
    pub handled_at: Option<Box<str>>,
    /// When the last reconciliation ended, by `status.history` of Kustomizations. It grows old when a worker is stuck.
    pub last_reconciled: Option<Timestamp>,
}

/// A condition of a Flux object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FluxCondition {
    /// Whether it holds.
    pub status: ConditionStatus,
    /// One word: why. Empty where absent.
    pub reason: Box<str>,
    /// Flux' own words, whole.
    pub message: Box<str>,
    /// The `metadata.generation` that it speaks of.
    pub observed_generation: Option<i64>,
}

/// What to make of a Flux object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync<'a> {
    /// Flux has not looked at it, or not at its newest generation.
    Unstarted,
    /// Flux was told to leave it alone; what it says is of before.
    Suspended,
    /// Flux works on it, or waits for another object.
    Progressing(Option<&'a FluxCondition>),
    /// It failed.
    Failed {
        /// Flux' reason and message.
        condition: &'a FluxCondition,
        /// Flux does not try again before the object changes.
        terminal: bool,
    },
    /// Done.
    Ready(&'a FluxCondition),
}

/// Reasons of `Ready=False` that mean: another object comes first. That one says what is wrong, if anything is.
pub const WAITING: [&str; 2] = ["DependencyNotReady", "SourceNotReady"];

impl FluxState {
    /// Reads a Flux object of any kind; malformed parts are absent.
    pub fn read(object: &Value) -> FluxState {
        let metadata = &object["metadata"];
        let status = &object["status"];
        let condition = |kind| condition(status, kind);
        let holds = |found: &FluxCondition| found.status == ConditionStatus::True;
        FluxState {
            generation: metadata["generation"].as_i64().unwrap_or_default(),
            observed_generation: status["observedGeneration"].as_i64().unwrap_or(-1),
            suspended: object["spec"]["suspend"].as_bool().unwrap_or_default(),
            deleting: !metadata["deletionTimestamp"].is_null(),
            ready: condition("Ready"),
            stalled: condition("Stalled").filter(holds).map(Box::new),
            reconciling: condition("Reconciling").filter(holds).map(Box::new),
            attempted: text(&status["lastAttemptedRevision"]),
            applied: text(&status["lastAppliedRevision"]).or_else(|| deployed_chart(status)),
            artifact_revision: text(&status["artifact"]["revision"]),
            objects: status["inventory"]["entries"].as_array().and_then(|entries| u32::try_from(entries.len()).ok()),
            handled_at: text(&status["lastHandledReconcileAt"]),
            last_reconciled: last_reconciled(status),
        }
    }

    /// Whether its last word was that it is ready, be it of an older generation.
    pub fn is_ready(&self) -> bool {
        self.ready.as_ref().is_some_and(|ready| ready.status == ConditionStatus::True)
    }

    /// What to make of it.
    ///
    /// A condition counts only if it speaks of the newest generation. `observedGeneration` of the status does not say that:
    /// Flux moves it on success only, while the conditions of a failing object are of now.
    pub fn sync(&self) -> Sync<'_> {
        if self.deleting {
            return Sync::Progressing(None);
        }
        if self.suspended {
            return Sync::Suspended;
        }
        let current = |condition: &&FluxCondition| condition.observed_generation.is_none_or(|of| of >= self.generation);
        let ready = self.ready.as_ref().filter(current);
        if let Some(stalled) = self.stalled.as_deref().filter(current) {
            let failed = ready.filter(|ready| ready.status == ConditionStatus::False && !ready.message.is_empty());
            return Sync::Failed { condition: failed.unwrap_or(stalled), terminal: true };
        }
        let reconciling = self.reconciling.as_deref().filter(current);
        let Some(ready) = ready else {
            return if reconciling.is_some() { Sync::Progressing(reconciling) } else { Sync::Unstarted };
        };
        match ready.status {
            ConditionStatus::False if WAITING.contains(&&*ready.reason) || waits_for_artifact(ready) => {
                Sync::Progressing(Some(ready))
            }
            ConditionStatus::False => Sync::Failed { condition: ready, terminal: false },
            ConditionStatus::Unknown => Sync::Progressing(Some(ready)),
            ConditionStatus::True if reconciling.is_some() => Sync::Progressing(reconciling),
            ConditionStatus::True => Sync::Ready(ready),
        }
    }
}

/// A Kustomization whose source has fetched nothing yet has the same reason as one whose path is wrong.
fn waits_for_artifact(ready: &FluxCondition) -> bool {
    &*ready.reason == "ArtifactFailed" && ready.message.starts_with("Source artifact not found, retrying")
}

fn condition(status: &Value, kind: &str) -> Option<FluxCondition> {
    let found = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)?;
    let status = match found["status"].as_str()? {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        "Unknown" => ConditionStatus::Unknown,
        _ => return None,
    };
    Some(FluxCondition {
        status,
        reason: found["reason"].as_str().unwrap_or_default().into(),
        message: found["message"].as_str().unwrap_or_default().into(),
        observed_generation: found["observedGeneration"].as_i64(),
    })
}

fn text(value: &Value) -> Option<Box<str>> {
    value.as_str().filter(|text| !text.is_empty()).map(Into::into)
}

/// The history of a HelmRelease has its newest release first; at most one is deployed.
fn deployed_chart(status: &Value) -> Option<Box<str>> {
    let history = status["history"].as_array()?;
    text(&history.iter().find(|release| release["status"] == "deployed")?["chartVersion"])
}

fn last_reconciled(status: &Value) -> Option<Timestamp> {
    let history = status["history"].as_array()?;
    history.iter().filter_map(|entry| entry["lastReconciled"].as_str()?.parse().ok()).max()
}
