//! Pods of tenants, as the API server takes or refuses them where the webhook is the guard.

use http::Method;
use serde_json::{Value, json};

use crate::support::{on_guarded, path, send};
use crate::ward::{Ward, allowing};

const GOOD: &str = "registry.example.com/team-a/shop:1.0";
const BAD: &str = "evil.example/x:1";

fn images() -> Value {
    allowing(json!({"images": {"allow": ["registry.example.com/team-a/**"], "denyTags": ["latest"]}}))
}

#[test]
fn images_are_judged_wherever_a_pod_names_them() {
    on_guarded("pods", async |hook| {
        let ward = &Ward::new(&hook, "team", &[images()]).await?;
        ward.accepts(ward.judge.pod(GOOD)).await?;
        for (pointer, entry, field) in [
            ("initContainers", json!([{"name": "i", "image": BAD}]), "initContainers[0].image"),
            ("volumes", json!([{"name": "v", "image": {"reference": BAD}}]), "volumes[0].image.reference"),
        ] {
            let mut pod = ward.judge.pod(GOOD);
            pod["spec"][pointer] = entry;
            let why =
                format!("spec.{field}: no policy allows tenant {} this image [image-not-allowed]", ward.judge.name);
            ward.rejects(pod, &why).await?;
        }
        let said = ward.rejects(ward.judge.pod(BAD), "spec.containers[0].image: no policy allows").await?;
        assert!(said.contains("\n  allowed: registry.example.com/team-a/**\n  decided by: policy "), "{said}");
        ward.rejects(ward.judge.pod("registry.example.com/team-a/shop"), "[image-tag-denied]").await?;
        let mut generated = ward.judge.pod(BAD);
        generated["metadata"] = json!({"generateName": "x-", "namespace": ward.judge.name});
        ward.rejects(generated, "[image-not-allowed]").await?;
        Ok(())
    });
}

#[test]
fn a_pod_that_runs_is_judged_by_what_is_new() {
    on_guarded("updates", async |hook| {
        let ward = &Ward::new(&hook, "team", &[images()]).await?;
        let pod = ward.judge.pod(GOOD);
        hook.create(pod.clone()).await?.accepted();
        // The policy shrinks, and the pod stays what it is.
        let narrower = allowing(json!({"images": {"allow": ["registry.example.com/team-a/web/**"]}}));
        let mut policy = narrower;
        policy["tenants"] = json!({"names": [ward.judge.name]});
        let metadata = json!({"name": format!("{}-0", ward.judge.name)});
        hook.apply(
            json!({"apiVersion": crate::support::API, "kind": "FluxPolicy", "metadata": metadata, "spec": policy}),
        )
        .await?
        .accepted();
        hook.space
            .wait("the smaller policy", 30, || async {
                let client = hook.space.client();
                let mut other = pod.clone();
                other["metadata"]["name"] = json!("other");
                Ok((hook.tries(&client, &other).await?.status == 403).then_some(()))
            })
            .await?;
        hook.patch(&pod, json!({"metadata": {"labels": {"a": "b"}, "finalizers": ["example.com/x"]}}))
            .await?
            .accepted();
        hook.patch(&pod, json!({"metadata": {"finalizers": null}})).await?.accepted();
        hook.patch(&pod, json!({"spec": {"activeDeadlineSeconds": 1000}})).await?.accepted();
        let strategic = async |sub: &str, patch: Value| {
            let path = format!("{}{sub}", path(&pod).1);
            send(&hook.space.client(), Method::PATCH, &path, "application/strategic-merge-patch+json", patch).await
        };
        let debug = async |image: &str| {
            let name = format!("d{}", image.len());
            let container = json!({"name": name, "image": image, "terminationMessagePolicy": "File"});
            strategic("/ephemeralcontainers", json!({"spec": {"ephemeralContainers": [container]}})).await
        };
        debug("evil.example/debug:1").await?.rejected("spec.ephemeralContainers[0].image: no policy allows");
        debug("registry.example.com/team-a/web/debug:1").await?.accepted();
        let image = json!({"spec": {"containers": [{"name": "x", "image": BAD}]}});
        strategic("", image).await?.rejected("[image-not-allowed]");
        hook.delete(&pod).await?.accepted();
        Ok(())
    });
}

#[test]
fn a_namespace_without_a_guard_starts_nothing() {
    on_guarded("closed", async |hook| {
        let name = hook.space.namespace("late").await?;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": name}, "spec": {"containers": [{"name": "x", "image": GOOD}]}});
        hook.tries(&hook.space.client(), &pod).await?.accepted();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        hook.patch(&namespace, json!({"metadata": {"labels": {"sluicegate.dev/tenant": name}}})).await?.accepted();
        hook.space
            .wait("the refusal", 10, || async {
                let answer = hook.tries(&hook.space.client(), &pod).await?;
                Ok(answer.message().contains("has no TenantGuard yet").then_some(()))
            })
            .await?;
        hook.patch(&namespace, json!({"metadata": {"labels": {"sluicegate.dev/tenant": null}}})).await?.accepted();
        hook.space
            .wait("its end", 10, || async {
                Ok((hook.tries(&hook.space.client(), &pod).await?.status < 300).then_some(()))
            })
            .await
    });
}
