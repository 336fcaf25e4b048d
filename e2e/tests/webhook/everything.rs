//! Every resource and subresource that writes, by discovery, where the webhook is the guard: as `guard::everything` has it.

use serde_json::json;
use sluicegate_crds::AGENT_LABEL;
use sluicegate_e2e::error::Result;

use crate::kinds::{Attempt, labelling};
use crate::support::{Hook, on_guarded};
use crate::trial::{Trial, label, member, none, operator, pair, relabels_namespaces};
use crate::ward::{Ward, allowing};

fn held(why: &str) -> bool {
    why.contains(".sluicegate.dev\" denied the request")
}

async fn ward(hook: &Hook) -> Result<Ward> {
    let any = json!({"allow": ["**"]});
    let sources = json!({"git": any, "helm": any, "oci": any, "bucket": any});
    let ward = Ward::new(hook, "team", &[allowing(json!({"images": any, "sources": sources}))]).await?;
    let mut guard = ward.judge.guard();
    guard.accounts = ["source-controller", "sluicegate-reconciler"].map(str::to_owned).to_vec();
    ward.write(&guard).await?;
    Ok(ward)
}

#[test]
fn nobody_writes_anything_in_an_agent_s_namespace() {
    on_guarded("all-agent", async |hook| {
        let namespace = hook.space.namespace("agent").await?;
        let member = member(&hook.space, &namespace).await?;
        label(&hook.space, &namespace, pair(&namespace)).await;
        let administrator = operator(&hook.space).await?;
        let trial = Trial {
            administrator: &administrator,
            member: &member.client,
            namespace: &namespace,
            labels: json!({}),
            held,
        };
        none(&trial.tries_everything().await?);
        Ok(())
    });
}

#[test]
fn nobody_writes_what_is_ours_beside_a_tenant_s_workloads() {
    on_guarded("all-ours", async |hook| {
        let ward = ward(&hook).await?;
        let namespace = &ward.judge.name;
        let member = member(&hook.space, namespace).await?;
        let administrator = operator(&hook.space).await?;
        let exec = format!("/api/v1/namespaces/{namespace}/pods/source-controller-x/exec?command=ls");
        let known = || async {
            let tried = Attempt::connection(http::Method::POST, &exec).send(&member.client).await;
            Ok(tried.is_err_and(|why| held(&why)).then_some(()))
        };
        hook.space.wait("the webhook to know the agent", 10, known).await?;
        let trial =
            Trial { administrator: &administrator, member: &member.client, namespace, labels: pair(namespace), held };
        none(&trial.tries_everything().await?);
        Ok(())
    });
}

#[test]
fn nobody_plants_our_labels_in_any_namespace() {
    on_guarded("all-planted", async |hook| {
        let ward = ward(&hook).await?;
        let nobodys = hook.space.namespace("nobodys").await?;
        let administrator = operator(&hook.space).await?;
        for namespace in [&ward.judge.name, &nobodys] {
            let member = member(&hook.space, namespace).await?;
            let trial =
                Trial { administrator: &administrator, member: &member.client, namespace, labels: json!({}), held };
            none(&trial.plants_labels(&pair(namespace)).await?);
        }
        Ok(())
    });
}

#[test]
fn nobody_says_whose_a_namespace_is_through_any_subresource() {
    on_guarded("all-labels", async |hook| {
        let ward = ward(&hook).await?;
        label(&hook.space, &ward.judge.name, json!({AGENT_LABEL: "somewhere"})).await;
        let rules = json!([{"apiGroups": [""], "resources": ["namespaces", "namespaces/finalize", "namespaces/status"], "verbs": ["*"]}]);
        let user = hook.user("projects", rules).await?;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ward.judge.name}});
        let may = || async {
            let own = labelling(&json!({"own": "x"}));
            Ok(sluicegate_e2e::suite::requests::patches(&user.client, &object, own).await.ok())
        };
        hook.space.wait("the binding", 30, may).await?;
        none(&relabels_namespaces(&hook.space.client(), &user.client, &ward.judge.name, held).await?);
        Ok(())
    });
}
