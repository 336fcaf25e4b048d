//! What the operator's suite marks as `only_the_guard_…`: the same attempts, by somebody with the same rights, with the guard
//! alone. An agent lives beside the team's workloads, as with placement Namespace.
//!
//! One attempt of that suite is none for admission: a chart that names another server inside. It never passes the API server;
//! what holds it is where source-controller may connect to.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::{Space, User};

use crate::support::{AGENT_LABEL, Ward, api_of, deletes, guarded, patches, policy, said};

const GIT: &str = "source.toolkit.fluxcd.io/v1";

/// A target namespace with an agent in it, and an editor who may write Flux objects.
async fn prison(space: &Space) -> Result<(Ward, User)> {
    let allowed = policy(json!({
        "images": {"allow": ["sluicegate.test/probe"]},
        "sources": {"git": {"allow": ["https://git.example.com/team/**"]}},
    }));
    let ward = Ward::new(space, "team", &[allowed]).await?;
    let mut guard = ward.compiled();
    guard.accounts = vec!["kustomize-controller".to_owned(), "sluicegate-reconciler".to_owned()];
    ward.guard(guard).await?;
    let groups = ["source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"];
    let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let name = format!("{}-flux", space.prefix());
    let rules = json!([{"apiGroups": groups, "resources": ["*"], "verbs": verbs}]);
    let api = "rbac.authorization.k8s.io/v1";
    space.apply(json!({"apiVersion": api, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})).await?;
    let member = ward.member("member", "edit").await?;
    space
        .apply(json!({
            "apiVersion": api, "kind": "RoleBinding", "metadata": {"name": "flux", "namespace": ward.name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": member.name}],
        }))
        .await?;
    let own = ward.flux(GIT, "GitRepository", json!({"interval": "10m", "url": "https://git.example.com/team/x"}));
    let may = || async { Ok(ward.tries(&member.client, &own).await.ok()) };
    space.wait("the right to write Flux objects", 30, may).await?;
    Ok((ward, member))
}

fn ours(ward: &Ward) -> Value {
    json!({"app.kubernetes.io/managed-by": "sluicegate", AGENT_LABEL: ward.name})
}

/// What Sluicegate has put there.
async fn rendered(space: &Space, ward: &Ward, mut object: Value) -> Result<Value> {
    object["metadata"]["namespace"] = json!(ward.name);
    object["metadata"]["labels"] = ours(ward);
    space.apply(object).await
}

#[test]
fn a_credential_is_not_sent_elsewhere_by_a_source_of_the_team_s_own() {
    guarded("out-credential", async |space| {
        let (ward, member) = prison(&space).await?;
        let copy = json!({"name": "sluicegate-team-git"});
        for url in [
            "https://evil.example/x.git",
            "http://203.0.113.1:8080/x.git",
            "https://git.example.com.evil.example/team/x",
        ] {
            let object = ward.flux(GIT, "GitRepository", json!({"interval": "10m", "url": url, "secretRef": copy}));
            let why = ward.tries(&member.client, &object).await.expect_err(url);
            assert!(why.contains("[source-not-allowed]"), "{why}");
        }
        Ok(())
    });
}

#[test]
fn include_submodules_and_proxy_of_a_source_of_the_team_s_own_are_refused() {
    guarded("out-include", async |space| {
        let (ward, member) = prison(&space).await?;
        for (field, value) in [
            ("recurseSubmodules", json!(true)),
            ("include", json!([{"repository": {"name": "x"}}])),
            ("proxySecretRef", json!({"name": "x"})),
        ] {
            let mut spec = json!({"interval": "10m", "url": "https://git.example.com/team/x"});
            spec[field] = value;
            let why = ward.tries(&member.client, &ward.flux(GIT, "GitRepository", spec)).await.expect_err(field);
            assert!(why.contains(&format!("spec.{field}: ")), "{why}");
        }
        Ok(())
    });
}

#[test]
fn the_agent_beside_the_workloads_is_not_edited() {
    guarded("out-edit", async |space| {
        let (ward, member) = prison(&space).await?;
        let container = json!({"name": "manager", "image": "sluicegate.test/probe:v1"});
        let labels = json!({"app": "kustomize-controller"});
        let deployment = rendered(&space, &ward, json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kustomize-controller"},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
        }))
        .await?;
        let sidecar = json!({"spec": {"template": {"spec": {"containers": [container, {"name": "out", "image": "sluicegate.test/probe:v1"}]}}}});
        for refused in [
            deletes(&member.client, &deployment).await.expect_err("it is deleted"),
            patches(&member.client, &deployment, sidecar).await.map(drop).expect_err("it gets a sidecar"),
            patches(&member.client, &deployment, json!({"metadata": {"labels": {AGENT_LABEL: null}}}))
                .await
                .map(drop)
                .expect_err("it loses its label"),
        ] {
            assert!(refused.contains("this is Sluicegate's"), "{refused}");
        }
        let none = Patch::Merge(json!({"spec": {"replicas": 5}}));
        let scaled = api_of(&member.client, &deployment)
            .patch_scale("kustomize-controller", &PatchParams::default(), &none)
            .await;
        assert!(said(&scaled.expect_err("it is scaled")).contains("this is the agent's"));
        Ok(())
    });
}

#[test]
fn no_pod_runs_as_a_controller_beside_the_workloads() {
    guarded("out-pod", async |space| {
        let (ward, member) = prison(&space).await?;
        space.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "kustomize-controller", "namespace": ward.name}})).await?;
        let mut pod = ward.pod("sluicegate.test/probe:v1");
        assert_eq!(ward.tries(&member.client, &pod).await, Ok(()));
        pod["spec"]["serviceAccountName"] = json!("kustomize-controller");
        let why = ward.tries(&member.client, &pod).await.expect_err("it runs");
        assert!(why.contains("this account is the agent's"), "{why}");
        Ok(())
    });
}

#[test]
fn an_admin_of_the_target_does_not_delete_the_reconciler_s_binding() {
    guarded("out-binding", async |space| {
        let (ward, _) = prison(&space).await?;
        let admin = ward.member("admin", "admin").await?;
        let binding = rendered(&space, &ward, json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "sluicegate-team"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "sluicegate-reconciler", "namespace": ward.name}],
        }))
        .await?;
        let why = deletes(&admin.client, &binding).await.expect_err("it is deleted");
        assert!(why.contains("this is Sluicegate's"), "{why}");
        Ok(())
    });
}
