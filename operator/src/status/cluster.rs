//! The status of a FluxCluster.

use k8s_openapi::jiff::Timestamp;
use sluicegate_crds::{ConditionStatus, FluxClusterStatus, GuardMode, bounds};

use super::{
    condition::{Conditions, Outcome, READY, RECONCILING, Reason, listed, shown},
    policy::count,
};
use crate::object::AGENT_LABEL;

/// Whether the cluster answers.
const REACHABLE: &str = "Reachable";
/// There only while it holds: a platform-wide Flux would reconcile tenants' objects with its own rights.
const PLATFORM_FLUX: &str = "PlatformFluxNotExcluded";
/// There only while it holds: somebody else keeps changing what Sluicegate writes there.
const CONTESTED: &str = "Contested";

/// All that the status of a FluxCluster is made from.
#[derive(Clone, Copy, Debug)]
pub struct ClusterSeen<'a> {
    /// Its present status.
    pub old: Option<&'a FluxClusterStatus>,
    /// Its `metadata.generation`.
    pub generation: Option<i64>,
    /// Whether it answers, or why not.
    pub reachable: Result<(), &'a str>,
    /// Version of its API server.
    pub kubernetes_version: Option<&'a str>,
    /// Whether Flux' kinds can be used, or why not.
    pub flux: Result<(), &'a str>,
    /// The release of its Flux CRDs, where the operator manages them.
    pub flux_version: Option<&'a str>,
    /// Agents that run there.
    pub agents: usize,
    /// Tenants that deploy there.
    pub tenants: usize,
    /// The guard in force, or why it is not.
    pub guard: Result<GuardMode, &'a str>,
    /// Deployments (`namespace/name`) of a platform-wide Flux whose selector takes in tenants' objects.
    pub platform_flux: &'a [String],
    /// What somebody else keeps changing there, one sentence an entry.
    pub contested: &'a [String],
    /// Now.
    pub now: Timestamp,
}

/// The status of a FluxCluster. What a cluster that does not answer had said of itself stays.
pub fn flux_cluster(seen: &ClusterSeen<'_>) -> FluxClusterStatus {
    let mut conditions =
        Conditions::new(seen.old.map_or(&[][..], |status| &status.conditions), seen.generation, seen.now);
    let ready = match (seen.reachable, seen.flux, seen.guard) {
        (Err(why), _, _) => Outcome::fails(Reason::Unreachable, format!("the cluster does not answer: {why}")),
        (Ok(()), Err(why), _) => Outcome::fails(Reason::FluxMissing, format!("Flux' kinds cannot be used: {why}")),
        (Ok(()), Ok(_), Err(why)) => Outcome::fails(Reason::GuardMissing, format!("the guard is not in force: {why}")),
        (Ok(()), Ok(_), Ok(_)) => Outcome::holds(Reason::Succeeded, "agents can be deployed".to_owned()),
    };
    let retried = (ready.status != ConditionStatus::True).then(|| Outcome {
        status: ConditionStatus::True,
        reason: Reason::ProgressingWithRetry.into(),
        message: ready.message.clone(),
    });
    conditions.set(READY, ready);
    conditions.set(
        REACHABLE,
        match seen.reachable {
            Ok(()) => Outcome::holds(Reason::Reachable, "the API server answers".to_owned()),
            Err(why) => Outcome::fails(Reason::Unreachable, why.to_owned()),
        },
    );
    if !seen.platform_flux.is_empty() {
        let list = listed(seen.platform_flux.iter().cloned(), seen.platform_flux.len());
        let message = format!(
            "{list} would reconcile tenants' Flux objects with rights of its own: set --watch-label-selector=!{AGENT_LABEL} \
             on each"
        );
        conditions.set(PLATFORM_FLUX, Outcome::holds(Reason::PlatformFluxNotExcluded, message));
    }
    if !seen.contested.is_empty() {
        let list = listed(seen.contested.iter().cloned(), seen.contested.len());
        conditions.set(CONTESTED, Outcome::holds(Reason::Contested, list));
    }
    if let Some(retried) = retried {
        conditions.set(RECONCILING, retried);
    }
    let known = seen.old.filter(|_| seen.reachable.is_err());
    let text = |text: &str| shown(text, bounds::NAME);
    FluxClusterStatus {
        conditions: conditions.list,
        kubernetes_version: seen
            .kubernetes_version
            .map(text)
            .or_else(|| known.and_then(|status| status.kubernetes_version.clone())),
        flux_version: seen.flux_version.map(text).or_else(|| known.and_then(|status| status.flux_version.clone())),
        agents: Some(count(seen.agents)),
        tenants: Some(count(seen.tenants)),
        guard: seen.guard.ok(),
        observed_generation: seen.generation,
    }
}
