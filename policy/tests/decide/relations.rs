//! What FluxConfigs mean to each other.

use serde_json::{Value, json};
use sluicegate_policy::Rule;

use crate::world::World;

/// Both teams may deploy to `shared`.
fn shared(theirs: Option<i64>, mine: Option<i64>) -> World {
    let spec = json!({"destinations": [{"clusters": ["prod-eu"], "namespaces": ["shared"]}]});
    World::new().policy("shared", spec).declared("team-b", "shop", json!({"namespace": "shared"}), theirs).declared(
        "team-a",
        "shop",
        json!({"namespace": "shared"}),
        mine,
    )
}

#[test]
fn the_first_tenant_keeps_a_target() {
    let here = json!({"namespace": "shared"});
    shared(Some(200), Some(100)).accepts(here.clone());
    shared(None, Some(100)).accepts(here.clone());
    let found = shared(Some(100), Some(200)).rejects(here.clone(), Rule::TargetClaimed);
    assert_eq!(found.related[0].to_string(), "FluxConfig team-b/shop");
    assert!(found.message.contains("team-b"));
    // Where nobody knows who was first, nobody has it.
    shared(Some(100), Some(100)).rejects(here.clone(), Rule::TargetClaimed);
    shared(None, None).rejects(here.clone(), Rule::TargetClaimed);
    shared(Some(100), None).rejects(here, Rule::TargetClaimed);
}

#[test]
fn a_tenant_that_was_there_first_may_add_to_its_target() {
    shared(Some(200), None)
        .declared("team-a", "older", json!({"namespace": "shared"}), Some(100))
        .accepts(json!({"namespace": "shared"}));
}

#[test]
fn a_claim_counts_only_where_its_tenant_may_deploy() {
    let squatter = json!({"namespace": "team-a"});
    World::new().declared("team-b", "squatter", squatter, Some(1)).accepts(json!({}));
}

#[test]
fn the_same_namespace_on_another_cluster_is_another_target() {
    let spec = json!({"destinations": [{"clusters": ["*"], "namespaces": ["shared"]}]});
    World::new()
        .policy("shared", spec)
        .declared("team-b", "shop", json!({"namespace": "shared"}), Some(1))
        .accepts(json!({"namespace": "shared", "cluster": "prod-us"}));
}

#[test]
fn an_object_is_declared_once() {
    let world = World::new().declared("team-a", "shop", json!({}), Some(1)).declared("team-a", "shop", json!({}), None);
    world.rejects(json!({}), Rule::DuplicateObject);
    World::new().declared("team-b", "shop", json!({}), Some(1)).accepts(json!({}));
}

fn after(names: &[&str]) -> Value {
    json!({"dependsOn": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>()})
}

#[test]
fn dependencies_exist_in_the_same_namespace() {
    let world = World::new().declared("team-a", "base", json!({}), None).declared("team-b", "other", json!({}), None);
    assert_eq!(world.accepts(after(&["base"])).resolved().depends_on[..], ["base"]);
    let found = world.rejects(after(&["bass"]), Rule::UnknownDependency);
    assert_eq!((found.field.as_ref(), found.suggestion.as_deref()), ("spec.dependsOn[0].name", Some("base")));
    assert_eq!(found.allowed, ["base"]);
    world.rejects(after(&["other"]), Rule::UnknownDependency);
}

#[test]
fn dependencies_do_not_lead_back() {
    World::new().rejects(after(&["shop"]), Rule::DependencyCycle);
    let world = World::new()
        .declared("team-a", "a", after(&["b"]), None)
        .declared("team-a", "b", after(&["shop", "c"]), None)
        .declared("team-a", "c", json!({}), None);
    let found = world.rejects(after(&["c", "a"]), Rule::DependencyCycle);
    assert_eq!((found.field.as_ref(), found.value.as_deref()), ("spec.dependsOn[1].name", Some("a")));
    assert!(found.message.ends_with("shop -> a -> b -> shop"), "{}", found.message);
    world.accepts(after(&["c"]));
    // A cycle of others is theirs.
    World::new()
        .declared("team-a", "x", after(&["y"]), None)
        .declared("team-a", "y", after(&["x"]), None)
        .accepts(after(&["x"]));
}

#[test]
fn every_dependency_that_leads_back_is_named() {
    let world = World::new()
        .declared("team-a", "a", after(&["hub"]), None)
        .declared("team-a", "b", after(&["hub"]), None)
        .declared("team-a", "hub", after(&["shop"]), None);
    let judged = crate::world::config("team-a", "shop", after(&["a", "b"]));
    let fields: Vec<String> = world.verdict(&judged).violations().iter().map(|found| found.field.to_string()).collect();
    assert_eq!(fields, ["spec.dependsOn[0].name", "spec.dependsOn[1].name"]);
}

#[test]
fn a_long_chain_of_dependencies_is_followed_to_its_end() {
    let mut world = World::new();
    for index in 0..500 {
        world = world.declared("team-a", &format!("c{index}"), after(&[&format!("c{}", index + 1)]), None);
    }
    world.declared("team-a", "c500", json!({}), None).accepts(after(&["c0", "c1", "c2"]));
}
