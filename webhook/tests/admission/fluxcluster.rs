//! FluxClusters.

use serde_json::{Value, json};

use super::world::{Ask, complete, config, snapshot, teams, teams_with, with};

fn cluster(name: &str, labels: Value, spec: Value) -> Value {
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster",
        "metadata": {"name": name, "labels": labels}, "spec": spec})
}

fn here() -> Value {
    json!({"connection": {"inCluster": {}}})
}

#[test]
fn accepts_a_cluster_that_is_reached_in_one_way() {
    assert!(Ask::create("FluxCluster", cluster("new", json!({}), here())).accepts(&snapshot()).is_empty());
    let remote = json!({"connection": {"kubeconfig": {"secretRef": {"name": "new"}}}});
    assert!(Ask::create("FluxCluster", cluster("new", json!({}), remote)).accepts(&snapshot()).is_empty());
}

#[test]
fn rejects_a_cluster_that_is_reached_in_no_way_or_two() {
    for connection in [json!({}), json!({"inCluster": {}, "kubeconfig": {"secretRef": {"name": "x"}}})] {
        let object = cluster("new", json!({}), json!({"connection": connection}));
        Ask::create("FluxCluster", object).rejects(&snapshot(), "invalid-connection");
    }
}

#[test]
fn says_what_another_label_cuts_off() {
    let by_label = teams_with(json!({"destinations": [
        {"clusterSelector": {"matchLabels": {"env": "production"}}, "namespaces": ["${tenant}"]},
    ]}));
    let full = with(vec![("teams", by_label)], &[config("team-a", "shop", complete("team-a"))]);
    let old = cluster("prod-eu", json!({"env": "production"}), here());
    let warnings =
        Ask::update("FluxCluster", old.clone(), cluster("prod-eu", json!({"env": "test"}), here())).accepts(&full);
    assert_eq!(warnings, ["this cuts off 1 FluxConfig that is admitted now: team-a/shop"]);
    assert!(Ask::update("FluxCluster", old.clone(), old).accepts(&full).is_empty());
}

#[test]
fn deleting_one_is_allowed_and_says_what_it_cuts_off() {
    let full = with(vec![("teams", teams())], &[config("team-a", "shop", complete("team-a"))]);
    let warnings = Ask::delete("FluxCluster", cluster("prod-eu", json!({}), here())).accepts(&full);
    assert_eq!(warnings, ["this cuts off 1 FluxConfig that is admitted now: team-a/shop"]);
    assert!(Ask::delete("FluxCluster", cluster("dev", json!({}), here())).accepts(&full).is_empty());
}
