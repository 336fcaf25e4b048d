//! What makes pods, as the API server takes or refuses it where the webhook is the guard.

use serde_json::{Value, json};

use crate::support::on_guarded;
use crate::ward::{Ward, allowing};

fn workloads(namespace: &str, image: &str) -> Vec<(Value, &'static str)> {
    let labels = json!({"app": "x"});
    let pod = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": image}]}});
    let mut once = pod.clone();
    once["spec"]["restartPolicy"] = json!("Never");
    let object = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x", "namespace": namespace}, "spec": spec});
    let selected = json!({"selector": {"matchLabels": labels}, "template": pod});
    let mut bare = object("v1", "PodTemplate", json!({}));
    bare["template"] = pod.clone();
    bare.as_object_mut().expect("an object").remove("spec");
    vec![
        (object("apps/v1", "Deployment", selected.clone()), "spec.template.spec"),
        (object("apps/v1", "ReplicaSet", selected.clone()), "spec.template.spec"),
        (object("apps/v1", "StatefulSet", selected.clone()), "spec.template.spec"),
        (object("apps/v1", "DaemonSet", selected), "spec.template.spec"),
        (object("batch/v1", "Job", json!({"template": once})), "spec.template.spec"),
        (
            object("batch/v1", "CronJob", json!({"schedule": "@daily", "jobTemplate": {"spec": {"template": once}}})),
            "spec.jobTemplate.spec.template.spec",
        ),
        (object("v1", "ReplicationController", json!({"selector": labels, "template": pod})), "spec.template.spec"),
        (bare, "template.spec"),
    ]
}

#[test]
fn templates_are_judged_for_an_early_answer() {
    on_guarded("workloads", async |hook| {
        let policy = allowing(json!({"images": {"allow": ["registry.example.com/team-a/**"]}}));
        let ward = Ward::new(&hook, "team", &[policy]).await?;
        for (object, _) in workloads(&ward.judge.name, "registry.example.com/team-a/x:1") {
            ward.accepts(object).await?;
        }
        for (object, at) in workloads(&ward.judge.name, "evil.example/x:1") {
            ward.rejects(object, &format!("{at}.containers[0].image: no policy allows tenant")).await?;
        }
        Ok(())
    });
}

#[test]
fn what_runs_no_new_image_may_change() {
    on_guarded("scaled", async |hook| {
        let policy = allowing(json!({"images": {"allow": ["registry.example.com/team-a/**"]}}));
        let ward = Ward::new(&hook, "team", &[policy]).await?;
        let (mut deployment, _) = workloads(&ward.judge.name, "registry.example.com/team-a/x:1").remove(0);
        deployment["spec"]["replicas"] = json!(0);
        hook.create(deployment.clone()).await?.accepted();
        hook.patch(&deployment, json!({"spec": {"paused": true}})).await?.accepted();
        let evil =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "x", "image": "evil.example/x:1"}]}}}});
        hook.patch(&deployment, evil).await?.rejected("[image-not-allowed]");
        hook.delete(&deployment).await?.accepted();
        Ok(())
    });
}
