//! What Sluicegate owns, and who may touch it.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_crds::AGENT_LABEL;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::operator::USER;
use sluicegate_e2e::suite::{Space, User};

use crate::support::{Ward, deletes, guarded, patches, policy};

const OURS: &str = "this is Sluicegate's";

pub(crate) fn everything() -> Value {
    policy(json!({"images": {"allow": ["**"]}, "sources": {"git": {"allow": ["**"]}}}))
}

/// A tenant's namespace in which an agent lives too, with somebody of the team who may do everything in it.
pub(crate) async fn shared(space: &Space) -> Result<(Ward, User)> {
    let ward = Ward::new(space, "team", &[everything()]).await?;
    let mut guard = ward.judge.guard();
    guard.accounts = vec!["kustomize-controller".to_owned(), "sluicegate-reconciler".to_owned()];
    ward.guard(guard).await?;
    let member = ward.member("member", "cluster-admin").await?;
    Ok((ward, member))
}

pub(crate) fn ours(ward: &Ward) -> Value {
    json!({"app.kubernetes.io/managed-by": "sluicegate", AGENT_LABEL: ward.judge.name})
}

fn binding(ward: &Ward, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name, "namespace": ward.judge.name, "labels": labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "sluicegate-reconciler", "namespace": ward.judge.name}],
    })
}

fn deployment(ward: &Ward, labels: Value, account: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kustomize-controller", "namespace": ward.judge.name, "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"serviceAccountName": account, "containers": [{"name": "x", "image": "x"}]}}},
    })
}

#[test]
fn a_reconciler_s_binding_and_an_agent_s_deployment_stay_as_they_are() {
    guarded("binding", async |space| {
        let (ward, member) = shared(&space).await?;
        let binding = binding(&ward, "reconciler", ours(&ward));
        let deployment = deployment(&ward, ours(&ward), "default");
        for object in [&binding, &deployment] {
            space.apply(object.clone()).await?;
            let why = deletes(&member.client, object).await.expect_err("a member deletes it");
            assert!(why.contains(OURS), "{why}");
            let why = patches(&member.client, object, json!({"metadata": {"labels": {AGENT_LABEL: null}}}))
                .await
                .expect_err("a member takes the label off");
            assert!(why.contains(OURS), "{why}");
        }
        let sidecar = json!({"spec": {"template": {"spec": {"containers": [{"name": "out", "image": "x"}]}}}});
        assert!(patches(&member.client, &deployment, sidecar).await.is_err_and(|why| why.contains(OURS)));
        let scaled = crate::support::api_of(&member.client, &deployment)
            .patch_scale(
                "kustomize-controller",
                &PatchParams::default(),
                &Patch::Merge(&json!({"spec": {"replicas": 3}})),
            )
            .await;
        let why = crate::support::said(&scaled.expect_err("a member scales it"));
        assert!(why.contains("this is the agent's"), "{why}");
        // What is not ours is the team's.
        let own = self::binding(&ward, "own", json!({}));
        space.apply(own.clone()).await?;
        deletes(&member.client, &own).await.expect("the team's own");
        // An administrator may mend by hand.
        deletes(&ward.client, &binding).await.expect("an administrator may");
        Ok(())
    });
}

#[test]
fn nobody_plants_what_looks_like_sluicegate_s() {
    guarded("planted", async |space| {
        let (ward, member) = shared(&space).await?;
        let config = |labels: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": ward.judge.name, "labels": labels}});
        assert!(ward.tries(&member.client, &config(ours(&ward))).await.is_err_and(|why| why.contains(OURS)));
        assert!(
            ward.tries(&member.client, &config(json!({"app.kubernetes.io/part-of": "sluicegate-agent"})))
                .await
                .is_err_and(|why| why.contains(OURS))
        );
        assert_eq!(
            ward.tries(&member.client, &config(json!({"app.kubernetes.io/managed-by": "sluicegate"}))).await,
            Ok(())
        );
        Ok(())
    });
}

#[test]
fn nobody_runs_or_acts_as_an_agent() {
    guarded("acts", async |space| {
        let (ward, member) = shared(&space).await?;
        for account in ["kustomize-controller", "own"] {
            space.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": ward.judge.name}})).await?;
        }
        let pod = |account: &str| {
            let mut pod = ward.judge.pod("x");
            pod["spec"]["serviceAccountName"] = json!(account);
            pod
        };
        let why = "serviceAccountName: this account is the agent's";
        assert_eq!(ward.tries(&member.client, &pod("own")).await, Ok(()));
        assert!(ward.tries(&member.client, &pod("kustomize-controller")).await.is_err_and(|said| said.contains(why)));
        let mut planted = deployment(&ward, json!({}), "kustomize-controller");
        planted["metadata"]["name"] = json!("planted");
        assert!(ward.tries(&member.client, &planted).await.is_err_and(|said| said.contains(why)));
        let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
            kube::Api::namespaced(member.client.clone(), &ward.judge.name);
        let request = k8s_openapi::api::authentication::v1::TokenRequest::default();
        accounts
            .create_token_request("own", &kube::api::PostParams::default(), &request)
            .await
            .expect("the team's own");
        let refused =
            accounts.create_token_request("kustomize-controller", &kube::api::PostParams::default(), &request).await;
        let said = crate::support::said(&refused.expect_err("a token of the agent's"));
        assert!(said.contains("nobody takes its tokens"), "{said}");
        Ok(())
    });
}

#[test]
fn only_an_agent_s_own_controllers_write_the_status_of_flux_objects() {
    guarded("status", async |space| {
        let (ward, member) = shared(&space).await?;
        let object = ward.judge.flux(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            json!({"interval": "1m", "url": "https://git.example.com/x"}),
        );
        space.apply(object.clone()).await?;
        let forged = json!({"status": {"observedGeneration": 1}});
        let patch = async |client: &kube::Client| {
            let api = crate::support::api_of(client, &object);
            api.patch_status("x", &PatchParams::default(), &Patch::Merge(&forged))
                .await
                .map(|_| ())
                .map_err(|error| crate::support::said(&error))
        };
        let why = "only the agent of this namespace writes the status";
        // Not even whoever may do everything: a Flux of the platform can.
        for client in [&member.client, &ward.client] {
            assert!(patch(client).await.is_err_and(|said| said.contains(why)));
        }
        let controller = space.account(&ward.judge.name, "source-controller", Some("source-controller-x")).await?;
        let written = || async { Ok(patch(&controller.client).await.ok()) };
        space.wait("the controller's rights", 30, written).await?;
        let elsewhere = space.namespace("elsewhere").await?;
        let other = space.account(&elsewhere, "source-controller", Some("source-controller-x")).await?;
        let refused = || async { Ok(patch(&other.client).await.is_err_and(|said| said.contains(why)).then_some(())) };
        space.wait("the refusal", 30, refused).await?;
        Ok(())
    });
}

/// The administrator as another user, who may do everything as far as RBAC is asked.
pub(crate) async fn impersonating(space: &Space, user: &str) -> Result<kube::Client> {
    let cluster = space.cluster().expect("a cluster of the harness");
    space
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": format!("{}-{}", space.prefix(), user.replace(':', "-"))},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
        }))
        .await?;
    sluicegate_e2e::api::client_from_text(&cluster.kubeconfig_for(user, None)?).await
}

#[test]
fn a_namespace_of_an_agent_is_its_own() {
    guarded("agent", async |space| {
        let namespace = space.namespace("agent").await?;
        let patch =
            json!({"metadata": {"labels": {AGENT_LABEL: namespace, "app.kubernetes.io/managed-by": "sluicegate"}}});
        patches(
            &space.client(),
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            patch,
        )
        .await
        .expect("an administrator may");
        let ward = Ward::new(&space, "team", &[everything()]).await?;
        let user = space.user("outsider", None).await?;
        space.bind(&user, &namespace, "outsider", ("ClusterRole", "cluster-admin")).await?;
        for mut object in [
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}),
            ward.judge.pod("x"),
            json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "x"}, "spec": {"interval": "1m", "url": "https://git.example.com/x"}}),
        ] {
            object["metadata"]["namespace"] = json!(namespace);
            let refused = async || match ward.tries(&user.client, &object).await {
                // The binding takes a moment.
                Err(why) if why.contains("this namespace is an agent's") => Ok(Some(())),
                Err(_) => Ok(None),
                Ok(()) => panic!("an outsider writes {object}"),
            };
            space.wait("the refusal", 30, refused).await?;
        }
        Ok(())
    });
}

#[test]
fn whose_a_namespace_is_is_said_by_administrators() {
    guarded("labels", async |space| {
        let ward = Ward::new(&space, "team", &[everything()]).await?;
        let user = space.user("projects", None).await?;
        let name = format!("{}-projects", space.prefix());
        space.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}]})).await?;
        space
            .apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name}],
            }))
            .await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ward.judge.name}});
        space
            .wait("the binding's effect", 30, || async {
                Ok(patches(&user.client, &namespace, json!({"metadata": {"labels": {"own": "x"}}})).await.ok())
            })
            .await?;
        let why = "only administrators and Sluicegate say whose a namespace is";
        for change in [
            json!({"sluicegate.dev/tenant": null}),
            json!({"sluicegate.dev/tenant": "other"}),
            json!({AGENT_LABEL: "x"}),
        ] {
            let refused = patches(&user.client, &namespace, json!({"metadata": {"labels": change}})).await;
            assert!(refused.as_ref().is_err_and(|said| said.contains(why)), "{refused:?}");
        }
        assert!(deletes(&user.client, &namespace).await.is_err_and(|said| said.contains(why)));
        let fresh = |labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("{}-new", space.prefix()), "labels": labels}});
        assert_eq!(ward.tries(&user.client, &fresh(json!({}))).await, Ok(()));
        assert!(
            ward.tries(&user.client, &fresh(json!({"sluicegate.dev/tenant": "x"})))
                .await
                .is_err_and(|said| said.contains(why))
        );
        Ok(())
    });
}

#[test]
fn a_tenantguard_is_written_by_the_operator() {
    guarded("guards", async |space| {
        let (ward, member) = shared(&space).await?;
        let guard = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "TenantGuard", "metadata": {"name": "sluicegate", "namespace": ward.judge.name}});
        let why = "a TenantGuard follows from policies";
        assert!(deletes(&member.client, &guard).await.is_err_and(|said| said.contains(why)));
        assert!(
            patches(
                &member.client,
                &guard,
                json!({"spec": {"images": {"requireDigest": false}}, "metadata": {"labels": {"x": "y"}}})
            )
            .await
            .is_err_and(|said| said.contains(why))
        );
        // The operator has no more than its own role.
        for document in sluicegate_e2e::suite::operator::manifests(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/operator"),
        )? {
            space
                .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sluicegate-system"}}))
                .await?;
            space.apply(document).await?;
        }
        let cluster = space.cluster().expect("a cluster of the harness");
        let operator =
            sluicegate_e2e::api::client_from_text(&cluster.kubeconfig_for(USER, Some("system:serviceaccounts"))?)
                .await?;
        let written =
            || async { Ok(patches(&operator, &guard, json!({"metadata": {"labels": {"x": "y"}}})).await.ok()) };
        space.wait("the operator's rights", 30, written).await?;
        Ok(())
    });
}
