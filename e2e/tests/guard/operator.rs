//! The operator keeps TenantGuards: where the label is, as policy says, and as `FluxCluster.spec.guard` says.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_crds::{TENANT_GUARD, TENANT_LABEL};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::Space;
use sluicegate_e2e::suite::operator::{self, CLUSTER, Operator};

use crate::support::{in_force_for, install, on_own_plane, patches, policy};

const API: &str = "sluicegate.dev/v1alpha1";

async fn guard_of(space: &Space, namespace: &str) -> Result<Option<Value>> {
    space.get(API, "TenantGuard", namespace, TENANT_GUARD).await
}

async fn says(space: &Space, namespace: &str, check: impl Fn(Option<&Value>) -> bool) -> Result<Duration> {
    let began = Instant::now();
    space
        .wait("the TenantGuard", 60, || async {
            let guard = guard_of(space, namespace).await?;
            Ok(check(guard.as_ref()).then_some(()))
        })
        .await?;
    Ok(began.elapsed())
}

fn keys(guard: Option<&Value>) -> String {
    guard.map(|guard| guard["spec"]["images"]["allow"]["shapes"].to_string()).unwrap_or_default()
}

#[test]
fn tenantguards_follow_labels_and_policies() {
    on_own_plane("guard-operator", async |space| {
        let cluster = space.cluster().expect("a cluster of the harness").clone();
        operator::install(&cluster).await?;
        install(&space).await?;
        let flux_cluster = json!({"apiVersion": API, "kind": "FluxCluster", "metadata": {"name": CLUSTER}});
        let mode = async |mode: &str| {
            patches(&space.client(), &flux_cluster, json!({"spec": {"guard": mode}}))
                .await
                .expect("an administrator may")
        };
        mode("Native").await;
        let teams = |repository: &str| json!({"apiVersion": API, "kind": "FluxPolicy", "metadata": {"name": "teams"}, "spec": policy(json!({"images": {"allow": [repository]}}))});
        space.apply(teams("registry.example.com/one/**")).await?;
        let operator = Operator::new(&cluster, "guard")?;
        operator.start()?;

        let team = space.namespace("team").await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team}});
        patches(&space.client(), &namespace, json!({"metadata": {"labels": {TENANT_LABEL: team}}}))
            .await
            .expect("an administrator may");
        println!(
            "written after {:?}",
            says(&space, &team, |guard| keys(guard).contains("registry.example.com/one")).await?
        );
        in_force_for(&space, &team, "registry.example.com/one/x:1").await?;

        space.apply(teams("registry.example.com/two/**")).await?;
        println!(
            "a change of policy after {:?}",
            says(&space, &team, |guard| keys(guard).contains("registry.example.com/two")).await?
        );
        in_force_for(&space, &team, "registry.example.com/two/x:1").await?;

        space.delete(API, "TenantGuard", &team, TENANT_GUARD).await?;
        let took = says(&space, &team, |guard| guard.is_some()).await?;
        assert!(took < Duration::from_secs(5), "it was back after {took:?}");
        let guard =
            json!({"apiVersion": API, "kind": "TenantGuard", "metadata": {"name": TENANT_GUARD, "namespace": team}});
        let wider = json!({"spec": {"images": {"allow": {"any": "by hand"}}}});
        patches(&space.client(), &guard, wider).await.expect("an administrator may");
        let took =
            says(&space, &team, |guard| guard.is_some_and(|guard| guard["spec"]["images"]["allow"]["any"].is_null()))
                .await?;
        assert!(took < Duration::from_secs(5), "it was mended after {took:?}");

        let said = || async {
            let found = space.get(API, "FluxCluster", "", CLUSTER).await?.unwrap_or_default();
            Ok((found["status"]["guard"] == "Native").then_some(()))
        };
        space.wait("the FluxCluster's status", 90, said).await?;

        // What was written holds with nobody there, and goes on when somebody is there again.
        operator.stop()?;
        in_force_for(&space, &team, "registry.example.com/two/x:1").await?;
        operator.start()?;

        // Without a label there is no guard, and a namespace that is deleted goes, whatever is in it.
        patches(&space.client(), &namespace, json!({"metadata": {"labels": {TENANT_LABEL: null}}}))
            .await
            .expect("an administrator may");
        says(&space, &team, |guard| guard.is_none()).await?;
        patches(&space.client(), &namespace, json!({"metadata": {"labels": {TENANT_LABEL: team}}}))
            .await
            .expect("an administrator may");
        in_force_for(&space, &team, "registry.example.com/two/x:1").await?;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": team, "finalizers": ["example.com/x"]},
            "spec": {"containers": [{"name": "x", "image": "registry.example.com/two/x:1"}]},
        });
        space.apply(pod.clone()).await?;
        space.delete("v1", "Namespace", "", &team).await?;
        let let_go =
            || async { Ok(patches(&space.client(), &pod, json!({"metadata": {"finalizers": null}})).await.ok()) };
        space.wait("the finalizer's end", 60, let_go).await?;

        let other = space.namespace("other").await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}});
        patches(&space.client(), &namespace, json!({"metadata": {"labels": {TENANT_LABEL: other}}}))
            .await
            .expect("an administrator may");
        says(&space, &other, |guard| guard.is_some()).await?;
        mode("Off").await;
        let gone = says(&space, &other, |guard| guard.is_none()).await;
        operator.stop()?;
        gone.map(|_| ())
    });
}
