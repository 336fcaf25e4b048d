//! What belongs to Sluicegate in tenants' and agents' namespaces, where the webhook is the guard.

use http::Method;
use serde_json::{Value, json};
use sluicegate_crds::AGENT_LABEL;
use sluicegate_e2e::suite::operator::USER;

use crate::support::{Answer, on_guarded, path, send};
use crate::ward::{Ward, allowing};

const MERGE: &str = "application/merge-patch+json";

fn everything() -> Value {
    allowing(json!({"images": {"allow": ["**"]}, "sources": {"git": {"allow": ["**"]}}}))
}

async fn patch(client: &kube::Client, object: &Value, sub: &str, body: Value) -> sluicegate_e2e::error::Result<Answer> {
    send(client, Method::PATCH, &format!("{}{sub}", path(object).1), MERGE, body).await
}

#[test]
fn a_tenantguard_is_written_by_the_operator() {
    on_guarded("guards", async |hook| {
        let ward = Ward::new(&hook, "team", &[everything()]).await?;
        let member = ward.member("member").await?;
        let guard = json!({"apiVersion": crate::support::API, "kind": "TenantGuard", "metadata": {"name": "sluicegate", "namespace": ward.judge.name}});
        let why = "a TenantGuard follows from policies";
        let change = json!({"spec": {"images": {"requireDigest": true}}});
        patch(&member.client, &guard, "", change.clone()).await?.rejected(why);
        let delete = async |client: &kube::Client| {
            send(client, Method::DELETE, &path(&guard).1, "application/json", json!({})).await
        };
        delete(&member.client).await?.rejected(why);
        let mut another = guard.clone();
        another["metadata"]["name"] = json!("another");
        another["spec"] = serde_json::to_value(ward.judge.guard()).expect("a spec");
        hook.tries(&member.client, &another).await?.rejected(why);
        // The operator has no more than its own role, and the administrator every right.
        let cluster = hook.space.cluster().expect("a cluster of the harness");
        let kubeconfig = cluster.kubeconfig_for(USER, Some("system:serviceaccounts"))?;
        let operator = sluicegate_e2e::api::client_from_text(&kubeconfig).await?;
        patch(&operator, &guard, "", change).await?.accepted();
        delete(&hook.space.client()).await?.accepted();
        Ok(())
    });
}

#[test]
fn what_carries_sluicegate_s_labels_is_sluicegate_s() {
    on_guarded("planted", async |hook| {
        let ward = Ward::new(&hook, "team", &[everything()]).await?;
        let member = ward.member("member").await?;
        let map = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": ward.judge.name, "labels": labels}});
        let ours = json!({"app.kubernetes.io/managed-by": "sluicegate", AGENT_LABEL: ward.judge.name});
        let why = "this is Sluicegate's";
        hook.tries(&member.client, &map("x", ours.clone())).await?.rejected(why);
        hook.tries(&member.client, &map("x", json!({"app.kubernetes.io/managed-by": "sluicegate"}))).await?.accepted();
        let object = map("ours", ours);
        hook.create(object.clone()).await?.accepted();
        patch(&member.client, &object, "", json!({"metadata": {"labels": null}})).await?.rejected(why);
        send(&member.client, Method::DELETE, &path(&object).1, "application/json", json!({})).await?.rejected(why);
        hook.delete(&object).await?.accepted();
        Ok(())
    });
}

#[test]
fn nobody_enters_or_acts_as_an_agent() {
    on_guarded("acts", async |hook| {
        let ward = Ward::new(&hook, "team", &[everything()]).await?;
        let member = ward.member("member").await?;
        let mut guard = ward.judge.guard();
        guard.accounts = vec!["kustomize-controller".to_owned()];
        ward.write(&guard).await?;
        let metadata = |name: &str| json!({"name": name, "namespace": ward.judge.name});
        for name in ["kustomize-controller", "own"] {
            hook.create(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name)}))
                .await?
                .accepted();
        }
        let pod = |account: &str| {
            let mut pod = ward.judge.pod("x:1");
            pod["spec"]["serviceAccountName"] = json!(account);
            pod
        };
        let known = || async {
            let answer = hook.tries(&member.client, &pod("kustomize-controller")).await?;
            Ok(answer.message().contains("this account is the agent's").then_some(()))
        };
        hook.space.wait("the webhook to know the agent", 10, known).await?;
        hook.tries(&member.client, &pod("own")).await?.accepted();
        let base = format!("/api/v1/namespaces/{}", ward.judge.name);
        let post =
            async |path: String, body: Value| send(&member.client, Method::POST, &path, "application/json", body).await;
        let exec = async |pod: &str| post(format!("{base}/pods/{pod}/exec?command=ls"), json!({})).await;
        exec("kustomize-controller-7d9f-x").await?.rejected("nobody enters it");
        exec("shop").await?.rejected("not found");
        let request =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}});
        let token =
            async |account: &str| post(format!("{base}/serviceaccounts/{account}/token"), request.clone()).await;
        token("kustomize-controller").await?.rejected("nobody takes its tokens");
        token("own").await?.accepted();
        let deployment = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name), "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x:1"}]}}}});
        for name in ["kustomize-controller", "own"] {
            hook.create(deployment(name)).await?.accepted();
        }
        let scale = json!({"spec": {"replicas": 0, "x": 1}});
        patch(&member.client, &deployment("kustomize-controller"), "/scale", scale.clone())
            .await?
            .rejected("or scales it");
        patch(&member.client, &deployment("own"), "/scale", scale).await?.accepted();
        Ok(())
    });
}

#[test]
fn only_an_agent_s_own_controllers_write_the_status_of_flux_objects() {
    on_guarded("status", async |hook| {
        let ward = Ward::new(&hook, "team", &[everything()]).await?;
        let spec = json!({"interval": "1m", "url": "https://git.example.com/x"});
        let object = ward.judge.flux("source.toolkit.fluxcd.io/v1", "GitRepository", spec);
        hook.create(object.clone()).await?.accepted();
        let forged = json!({"status": {"observedGeneration": 1}});
        // Not even whoever may do everything: a Flux of the platform can.
        let why = "only the agent of this namespace writes the status";
        patch(&hook.space.client(), &object, "/status", forged.clone()).await?.rejected(why);
        let name = &ward.judge.name;
        let bound = hook.space.account(name, "source-controller", Some("source-controller-x")).await?.client;
        let written =
            || async { Ok((patch(&bound, &object, "/status", forged.clone()).await?.status < 300).then_some(())) };
        hook.space.wait("the controller's rights", 30, written).await?;
        let unbound = hook.space.account(name, "source-controller", None).await?.client;
        patch(&unbound, &object, "/status", forged.clone()).await?.rejected(why);
        Ok(())
    });
}

#[test]
fn a_namespace_of_an_agent_is_its_own() {
    on_guarded("agent", async |hook| {
        let ward = Ward::new(&hook, "team", &[everything()]).await?;
        let member = ward.member("member").await?;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ward.judge.name}});
        // The same namespace becomes an agent's: the member keeps all rights in it.
        let labels = json!({"metadata": {"labels": {AGENT_LABEL: ward.judge.name, "sluicegate.dev/tenant": null}}});
        hook.patch(&object, labels).await?.accepted();
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": ward.judge.name}});
        hook.space
            .wait("the refusal", 10, || async {
                let answer = hook.tries(&member.client, &secret).await?;
                Ok(answer.message().contains("this namespace is an agent's").then_some(()))
            })
            .await?;
        hook.tries(&member.client, &ward.judge.pod("x:1")).await?.rejected("this namespace is an agent's");
        hook.tries(&hook.space.client(), &secret).await?.accepted();
        Ok(())
    });
}

#[test]
fn whose_a_namespace_is_is_said_by_administrators() {
    on_guarded("labels", async |hook| {
        let ward = Ward::new(&hook, "team", &[everything()]).await?;
        let bob = hook.user("bob", json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}])).await?;
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ward.judge.name}});
        let may = || async {
            let answer = patch(&bob.client, &object, "", json!({"metadata": {"labels": {"own": "x"}}})).await?;
            Ok((answer.status < 300).then_some(()))
        };
        hook.space.wait("the binding's effect", 30, may).await?;
        let why = "only administrators and Sluicegate say whose a namespace is";
        patch(&bob.client, &object, "", json!({"metadata": {"labels": {AGENT_LABEL: "x"}}})).await?.rejected(why);
        send(&bob.client, Method::DELETE, &path(&object).1, "application/json", json!({})).await?.rejected(why);
        Ok(())
    });
}
