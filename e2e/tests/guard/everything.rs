//! Every resource and subresource that writes, by discovery, against every promise that nobody writes: tried by a user with all
//! rights in the namespace, or on Namespaces, and refused in the guard's own words.

use serde_json::json;
use sluicegate_crds::AGENT_LABEL;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::Space;
use sluicegate_e2e::suite::requests::patches;

use crate::kinds::labelling;
use crate::support::{Ward, guarded, policy};
use crate::trial::{Trial, label, member, none, operator, pair, relabels_namespaces};

fn held(why: &str) -> bool {
    why.contains("ValidatingAdmissionPolicy 'sluicegate-")
}

async fn ward(space: &Space, suffix: &str) -> Result<Ward> {
    let any = json!({"allow": ["**"]});
    let sources = json!({"git": any, "helm": any, "oci": any, "bucket": any});
    let ward = Ward::new(space, suffix, &[policy(json!({"images": any, "sources": sources}))]).await?;
    let mut guard = ward.judge.guard();
    guard.accounts = ["source-controller", "sluicegate-reconciler"].map(str::to_owned).to_vec();
    ward.guard(guard).await?;
    Ok(ward)
}

#[test]
fn nobody_writes_anything_in_an_agent_s_namespace() {
    guarded("all-agent", async |space| {
        let namespace = space.namespace("agent").await?;
        let member = member(&space, &namespace).await?;
        label(&space, &namespace, pair(&namespace)).await;
        let trial = Trial {
            administrator: &operator(&space).await?,
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
    guarded("all-ours", async |space| {
        let ward = ward(&space, "team").await?;
        let member = member(&space, &ward.judge.name).await?;
        let trial = Trial {
            administrator: &operator(&space).await?,
            member: &member.client,
            namespace: &ward.judge.name,
            labels: pair(&ward.judge.name),
            held,
        };
        none(&trial.tries_everything().await?);
        Ok(())
    });
}

#[test]
fn nobody_plants_our_labels_in_any_namespace() {
    guarded("all-planted", async |space| {
        let ward = ward(&space, "team").await?;
        let nobodys = space.namespace("nobodys").await?;
        let administrator = operator(&space).await?;
        for namespace in [&ward.judge.name, &nobodys] {
            let member = member(&space, namespace).await?;
            let trial =
                Trial { administrator: &administrator, member: &member.client, namespace, labels: json!({}), held };
            none(&trial.plants_labels(&pair(namespace)).await?);
        }
        Ok(())
    });
}

#[test]
fn nobody_says_whose_a_namespace_is_through_any_subresource() {
    guarded("all-labels", async |space| {
        let ward = ward(&space, "team").await?;
        label(&space, &ward.judge.name, json!({AGENT_LABEL: "somewhere"})).await;
        let user = space.user("projects", None).await?;
        let rbac = "rbac.authorization.k8s.io";
        let name = format!("{}-projects", space.prefix());
        let rules = json!([{"apiGroups": [""], "resources": ["namespaces", "namespaces/finalize", "namespaces/status"], "verbs": ["*"]}]);
        space.apply(json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})).await?;
        space
            .apply(json!({
                "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": user.name}],
            }))
            .await?;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ward.judge.name}});
        space
            .wait("the binding", 30, || async {
                Ok(patches(&user.client, &object, labelling(&json!({"own": "x"}))).await.ok())
            })
            .await?;
        none(&relabels_namespaces(&space.client(), &user.client, &ward.judge.name, held).await?);
        Ok(())
    });
}
