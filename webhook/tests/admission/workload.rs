//! What makes pods: judged by its template, for an answer to whoever wrote it.

use serde_json::{Value, json};

use super::world::{Ask, guarded};

const GOOD: &str = "registry.example.com/team-a/shop:1.0";
const BAD: &str = "evil.example/x:1";

fn workloads(image: &str) -> Vec<(&'static str, Value, &'static str)> {
    let pod = json!({"spec": {"containers": [{"name": "shop", "image": image}]}});
    let template = json!({"template": pod});
    let object = |api: &str, kind: &str, spec: &Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "shop", "namespace": "team-a"}, "spec": spec});
    let in_apps = |kind| (kind, object("apps/v1", kind, &template), "spec.template.spec");
    let mut bare = object("v1", "PodTemplate", &json!({}));
    bare["template"] = pod.clone();
    bare.as_object_mut().unwrap().remove("spec");
    vec![
        in_apps("Deployment"),
        in_apps("StatefulSet"),
        in_apps("DaemonSet"),
        in_apps("ReplicaSet"),
        ("Job", object("batch/v1", "Job", &template), "spec.template.spec"),
        (
            "CronJob",
            object("batch/v1", "CronJob", &json!({"jobTemplate": {"spec": template}})),
            "spec.jobTemplate.spec.template.spec",
        ),
        ("ReplicationController", object("v1", "ReplicationController", &template), "spec.template.spec"),
        ("PodTemplate", bare, "template.spec"),
    ]
}

#[test]
fn accepts_templates_of_allowed_images() {
    for (kind, object, _) in workloads(GOOD) {
        Ask::create(kind, object).passes(&guarded());
    }
}

#[test]
fn rejects_templates_of_other_images() {
    for ((kind, bad, at), (_, good, _)) in workloads(BAD).into_iter().zip(workloads(GOOD)) {
        let why = format!("{at}.containers[0].image: no policy allows tenant team-a this image [image-not-allowed]");
        Ask::create(kind, bad.clone()).is_refused(&guarded(), &why);
        Ask::update(kind, good, bad.clone()).is_refused(&guarded(), &why);
        let mut scaled = bad.clone();
        scaled["spec"]["replicas"] = json!(0);
        Ask::update(kind, bad.clone(), scaled).passes(&guarded());
        Ask::delete(kind, bad).passes(&guarded());
    }
}

#[test]
fn scaling_says_nothing_about_images() {
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "shop", "namespace": "team-a"}, "spec": {"replicas": 3}});
    let ask = Ask::about("apps", "Scale", "deployments", "UPDATE")
        .set("namespace", json!("team-a"))
        .set("name", json!("shop"))
        .set("subResource", json!("scale"))
        .set("object", scale.clone())
        .set("oldObject", scale);
    ask.passes(&guarded());
}
