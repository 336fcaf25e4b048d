//! The attempts that nothing else can stop, with the webhook alone: no ValidatingAdmissionPolicy is installed and no operator
//! runs.

use serde_json::json;
use sluicegate_e2e::error::{Error, Result};

use crate::attempts::{ACCOUNTS, Prison, allowed};
use crate::support::{Hook, on_guarded};
use crate::ward::{Ward, allowing};

async fn prison(hook: &Hook) -> Result<Prison> {
    let policies = ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    let api = hook.space.api(policies.0, policies.1, "");
    let found = api.list(&kube::api::ListParams::default()).await.map_err(|error| Error::api("listing", error))?;
    assert!(found.items.is_empty(), "the webhook is not alone: {:?}", found.items);
    let ward = Ward::new(hook, "team", &[allowing(allowed())]).await?;
    let mut guard = ward.judge.guard();
    guard.accounts = ACCOUNTS.map(str::to_owned).to_vec();
    ward.write(&guard).await?;
    let metadata = json!({"name": ACCOUNTS[0], "namespace": ward.judge.name});
    hook.space.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await?;
    let mut pod = ward.judge.pod("sluicegate.test/probe:v1");
    pod["spec"]["serviceAccountName"] = ACCOUNTS[0].into();
    let known = || async {
        let answer = hook.tries(&hook.space.client(), &pod).await?;
        Ok(answer.message().contains("this account is the agent's").then_some(()))
    };
    hook.space.wait("the webhook to know the agent", 30, known).await?;
    Prison::new(&hook.space, &ward.judge.name).await
}

#[test]
fn a_credential_is_not_sent_elsewhere_by_a_source_of_the_team_s_own() {
    on_guarded("out-credential", async |hook| prison(&hook).await?.sends_a_credential_elsewhere().await);
}

#[test]
fn include_submodules_and_proxy_of_a_source_of_the_team_s_own_are_refused() {
    on_guarded("out-include", async |hook| prison(&hook).await?.includes_submodules_and_proxies().await);
}

#[test]
fn a_source_of_the_team_s_own_fetches_what_was_merged_from_whom_policy_says() {
    on_guarded("out-reference", async |hook| prison(&hook).await?.fetches_what_nobody_merged().await);
}

#[test]
fn a_network_policy_of_the_team_s_own_does_not_open_the_agent() {
    on_guarded("out-network", async |hook| prison(&hook).await?.opens_the_agent_s_network().await);
}

#[test]
fn the_agent_beside_the_workloads_is_not_edited() {
    on_guarded("out-edit", async |hook| prison(&hook).await?.edits_the_agent().await);
}

#[test]
fn no_pod_runs_as_a_controller_beside_the_workloads() {
    on_guarded("out-pod", async |hook| prison(&hook).await?.runs_a_pod_as_a_controller().await);
}

#[test]
fn an_admin_of_the_target_does_not_delete_the_reconciler_s_binding() {
    on_guarded("out-binding", async |hook| prison(&hook).await?.deletes_the_reconciler_s_binding().await);
}
