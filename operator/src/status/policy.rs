//! The status of a FluxPolicy.

use k8s_openapi::jiff::Timestamp;
use sluicegate_crds::{ConditionStatus, FluxPolicyStatus};
use sluicegate_policy::Violation;

use super::{
    condition::{Conditions, Outcome, READY, Reason, STALLED},
    refusal,
};

/// The status of a FluxPolicy: whether it is `valid` or why not, how many `tenants` it selects, and how many of their
/// FluxConfigs are `admitted` and `refused`.
pub fn flux_policy(
    old: Option<&FluxPolicyStatus>,
    generation: Option<i64>,
    valid: Result<(), &[Violation]>,
    tenants: usize,
    admitted: usize,
    refused: usize,
    now: Timestamp,
) -> FluxPolicyStatus {
    let mut conditions = Conditions::new(old.map_or(&[][..], |status| &status.conditions), generation, now);
    match valid {
        Ok(()) => {
            let message = if tenants == 0 { "in force; it selects no tenant" } else { "in force" };
            conditions.set(READY, Outcome::holds(Reason::Valid, message.to_owned()));
        }
        Err(violations) => {
            let message = format!("{}; every tenant that it selects is denied", refusal(violations));
            let ready = Outcome::fails(Reason::Invalid, message);
            conditions.set(READY, ready.clone());
            conditions.set(STALLED, Outcome { status: ConditionStatus::True, ..ready });
        }
    }
    FluxPolicyStatus {
        conditions: conditions.list,
        tenants: Some(count(tenants)),
        admitted: Some(count(admitted)),
        refused: Some(count(refused)),
        observed_generation: generation,
    }
}

/// As Kubernetes has integers.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
