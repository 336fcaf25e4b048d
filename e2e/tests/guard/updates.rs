//! Of a change only what is new is judged: a policy that shrinks must not stop what runs from being scaled, ended or mended.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{Ward, api_of, deletes, guarded, patches, policy, said};

#[test]
fn what_runs_goes_on_after_a_policy_has_shrunk() {
    guarded("shrunk", async |space| {
        let ward = Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["registry.example.com/**"]}, "sources": {"git": {"allow": ["https://git.example.com/**"]}}}))]).await?;
        let labels = json!({"app": "x"});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x", "namespace": ward.judge.name},
            "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "registry.example.com/old:1"}]}}},
        });
        let mut git = ward.judge.flux(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            json!({"interval": "1m", "url": "https://git.example.com/old"}),
        );
        git["metadata"]["finalizers"] = json!(["finalizers.fluxcd.io"]);
        let mut pod = ward.judge.pod("registry.example.com/old:1");
        pod["metadata"]["finalizers"] = json!(["example.com/x"]);
        for object in [&deployment, &git, &pod] {
            space.apply(object.clone()).await?;
        }
        let mut shrunk = ward.judge.guard();
        shrunk.images.allow.shapes.clear();
        shrunk.sources.git.allow.shapes.clear();
        ward.guard(shrunk).await?;
        ward.rejects(ward.judge.pod("registry.example.com/old:1"), "[image-not-allowed]").await;

        patches(&ward.client, &deployment, json!({"spec": {"replicas": 1, "paused": true}}))
            .await
            .expect("it is scaled");
        patches(&ward.client, &deployment, json!({"metadata": {"annotations": {"x": "y"}}}))
            .await
            .expect("it is annotated");
        patches(&ward.client, &pod, json!({"metadata": {"labels": {"x": "y"}}})).await.expect("it is labelled");
        patches(&ward.client, &git, json!({"spec": {"suspend": true}})).await.expect("it is suspended");
        let new = json!({"spec": {"template": {"spec": {"containers": [{"name": "x", "image": "registry.example.com/new:1"}]}}}});
        assert!(patches(&ward.client, &deployment, new).await.is_err_and(|why| why.contains("[image-not-allowed]")));
        assert!(
            patches(&ward.client, &git, json!({"spec": {"url": "https://git.example.com/new"}}))
                .await
                .is_err_and(|why| why.contains("[source-not-allowed]"))
        );
        assert!(
            patches(&ward.client, &git, json!({"spec": {"recurseSubmodules": true}}))
                .await
                .is_err_and(|why| why.contains("spec.recurseSubmodules"))
        );
        let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "evil.example/x:1"}]}});
        let attached = api_of(&ward.client, &pod)
            .patch_subresource("ephemeralcontainers", "x", &PatchParams::default(), &Patch::Strategic(&debugger))
            .await;
        let why = said(&attached.expect_err("it is attached"));
        assert!(why.contains("spec.ephemeralContainers[0].image: no policy allows"), "{why}");

        for object in [&git, &pod] {
            deletes(&ward.client, object).await.expect("it is deleted");
            patches(&ward.client, object, json!({"metadata": {"finalizers": null}})).await.expect("it is let go");
        }
        Ok(())
    });
}

#[test]
fn a_change_of_a_guard_is_in_force_at_once() {
    guarded("at-once", async |space| {
        let ward =
            Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["registry.example.com/**"]}}))]).await?;
        let mut slowest = std::time::Duration::ZERO;
        for round in 0..10 {
            let mut guard = ward.judge.guard();
            if round % 2 == 0 {
                guard.images.allow.shapes.clear();
            }
            let object = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "TenantGuard", "metadata": {"name": "sluicegate", "namespace": ward.judge.name}, "spec": guard});
            space.apply(object).await?;
            let began = std::time::Instant::now();
            while ward.tries(&ward.client, &ward.judge.pod("registry.example.com/x:1")).await.is_ok()
                != (round % 2 == 1)
            {
                assert!(began.elapsed().as_secs() < 5, "the guard did not change");
            }
            slowest = slowest.max(began.elapsed());
        }
        println!("a change of a guard was in force after {slowest:?} at most");
        Ok(())
    });
}
