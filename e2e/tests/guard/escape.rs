//! The attempts that nothing else can stop, with the ValidatingAdmissionPolicies alone: neither webhook nor operator runs.

use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::Space;

use crate::attempts::{ACCOUNTS, Prison, allowed};
use crate::support::{Ward, guarded, policy};

async fn prison(space: &Space) -> Result<Prison> {
    let ward = Ward::new(space, "team", &[policy(allowed())]).await?;
    let mut guard = ward.judge.guard();
    guard.accounts = ACCOUNTS.map(str::to_owned).to_vec();
    ward.guard(guard).await?;
    Prison::new(space, &ward.judge.name).await
}

#[test]
fn a_credential_is_not_sent_elsewhere_by_a_source_of_the_team_s_own() {
    guarded("out-credential", async |space| prison(&space).await?.sends_a_credential_elsewhere().await);
}

#[test]
fn include_submodules_and_proxy_of_a_source_of_the_team_s_own_are_refused() {
    guarded("out-include", async |space| prison(&space).await?.includes_submodules_and_proxies().await);
}

#[test]
fn a_source_of_the_team_s_own_fetches_what_was_merged_from_whom_policy_says() {
    guarded("out-reference", async |space| prison(&space).await?.fetches_what_nobody_merged().await);
}

#[test]
fn a_network_policy_of_the_team_s_own_does_not_open_the_agent() {
    guarded("out-network", async |space| prison(&space).await?.opens_the_agent_s_network().await);
}

#[test]
fn the_agent_beside_the_workloads_is_not_edited() {
    guarded("out-edit", async |space| prison(&space).await?.edits_the_agent().await);
}

#[test]
fn no_pod_runs_as_a_controller_beside_the_workloads() {
    guarded("out-pod", async |space| prison(&space).await?.runs_a_pod_as_a_controller().await);
}

#[test]
fn an_admin_of_the_target_does_not_delete_the_reconciler_s_binding() {
    guarded("out-binding", async |space| prison(&space).await?.deletes_the_reconciler_s_binding().await);
}
