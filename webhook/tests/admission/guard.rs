//! Which namespaces the guard is about, and what counts where it knows too little.

use serde_json::{Value, json};

use super::world::{Ask, guarded, guarded_with, guarding, pod, teams_with};

fn bad(namespace: &str) -> Value {
    pod(namespace, json!({"containers": [{"image": "evil.example/x:1"}]}))
}

#[test]
fn what_is_no_tenant_s_is_not_judged() {
    for namespace in ["team-b", "other", "kube-system", "sluicegate-system"] {
        Ask::create("Pod", bad(namespace)).passes(&guarded());
    }
    let cluster_scoped = Ask::about("", "Node", "nodes", "CREATE").set("object", json!({"metadata": {"name": "x"}}));
    cluster_scoped.passes(&guarded());
}

#[test]
fn a_namespace_that_cannot_be_judged_takes_nothing() {
    Ask::create("Pod", bad("team-new")).is_refused(&guarded(), "namespace team-new has no TenantGuard yet");
    Ask::create("Pod", bad("made-just-now")).is_refused(&guarded(), "namespace made-just-now is not known yet");
    Ask::delete("Pod", bad("team-new")).passes(&guarded());
}

#[test]
fn a_tenant_that_may_not_be_there_is_told_so_once() {
    let many = pod("foreign", json!({"containers": [{"image": "a:1"}, {"image": "b:1"}]}));
    let said = Ask::create("Pod", many.clone()).is_refused(&guarded(), "no policy selects tenant nobody [no-policy]");
    assert_eq!(said.matches("[no-policy]").count(), 1, "{said}");
    Ask::update("Pod", many.clone(), many).passes(&guarded());
    let elsewhere = teams_with(json!({"destinations": [{"clusters": ["dev"], "namespaces": ["**"]}]}));
    let nowhere = guarded_with(elsewhere, &[]);
    Ask::create("Pod", bad("team-a")).is_refused(&nowhere, "[");
    let beside =
        guarded_with(teams_with(json!({"destinations": [{"clusters": ["prod-eu"], "namespaces": ["x"]}]})), &[]);
    Ask::create("Pod", bad("team-a")).is_refused(&beside, "may not deploy to namespace team-a on cluster prod-eu");
    let other = guarded_with(teams_with(json!({"destinations": [{"clusters": ["dev"], "namespaces": ["*"]}]})), &[]);
    Ask::create("Pod", bad("team-a")).is_refused(&other, "tenant team-a may not deploy to cluster prod-eu");
}

#[test]
fn policies_of_another_cluster_say_nothing_here() {
    let mut policy = guarding();
    policy["images"]["denyTags"] = json!([]);
    Ask::create("Pod", pod("team-a", json!({"containers": [{"image": "nginx"}]}))).passes(&guarded_with(policy, &[]));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let ask = Ask::create("Pod", bad("team-a"));
    for object in [json!(null), json!([[[[]]]]), json!(7)] {
        let answer = ask.clone().set("object", object.clone()).at(sluicegate_webhook::decide::Hook::Guard, &guarded());
        // A list without pods names nothing; only what is no object at all is not understood.
        assert_eq!(answer.is_allowed(), !object.is_null(), "{object}: {answer:?}");
    }
    let flux = super::world::flux("source.toolkit.fluxcd.io/v1", "GitRepository", json!({}));
    for object in [json!(null), json!([]), json!({"spec": 7})] {
        let answer = Ask::create("GitRepository", flux.clone())
            .set("object", object)
            .at(sluicegate_webhook::decide::Hook::Guard, &guarded());
        assert!(answer.refusal().is_some_and(|why| why.contains("cannot read it")), "{answer:?}");
    }
    let mut deep = json!("x");
    for _ in 0..100 {
        deep = json!([deep]);
    }
    ask.set("object", json!({"spec": deep})).passes(&guarded());
}
