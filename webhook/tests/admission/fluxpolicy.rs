//! FluxPolicies.

use serde_json::{Value, json};

use super::world::{Ask, complete, config, snapshot, teams, teams_with, with};

fn policy(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": name}, "spec": spec})
}

fn create(name: &str, spec: Value) -> Ask {
    Ask::create("FluxPolicy", policy(name, spec))
}

fn update(old: Value, new: Value) -> Ask {
    Ask::update("FluxPolicy", policy("teams", old), policy("teams", new))
}

#[test]
fn accepts_a_policy_without_mistakes_and_dangers() {
    assert!(create("more", teams_with(json!({"tenants": {"names": ["ops"]}}))).accepts(&snapshot()).is_empty());
    assert!(update(teams(), teams()).accepts(&snapshot()).is_empty());
}

#[test]
fn rejects_malformed_patterns_all_at_once() {
    let spec = teams_with(json!({"sources": {"git": {"allow": ["https://git.example.com/*.git", "x y"]}}}));
    let message = create("bad", spec).rejects(&snapshot(), "invalid-pattern");
    assert!(
        message.contains("spec.sources.git.allow[0]") && message.contains("spec.sources.git.allow[1]"),
        "{message}"
    );
    let spec = teams_with(json!({"images": {"allow": ["registry.example.com/${team}/**"]}}));
    create("bad", spec).rejects(&snapshot(), "invalid-pattern");
    let spec = json!({"tenants": {"names": ["*"]}, "clusters": {"names": ["dev"]}, "defaults": {"cluster": "dev"}});
    create("bad", spec).rejects(&snapshot(), "policy-scope");
}

#[test]
fn rejects_a_conflict_and_names_the_other_policy() {
    let message =
        create("rival", teams_with(json!({"defaults": {"cluster": "dev"}}))).rejects(&snapshot(), "policy-conflict");
    assert!(message.contains("teams") && message.contains("rival"), "{message}");
    // With a priority of its own it is none.
    create("rival", teams_with(json!({"defaults": {"cluster": "dev"}, "priority": 1}))).accepts(&snapshot());
}

#[test]
fn a_conflict_of_others_is_not_this_requests() {
    let torn = with(vec![("one", teams_with(json!({"defaults": {"cluster": "dev"}}))), ("teams", teams())], &[]);
    create("more", teams_with(json!({"tenants": {"names": ["ops"]}}))).accepts(&torn);
    // Nor does the one that is there keep somebody from changing something else.
    update(teams(), teams_with(json!({"limits": {"fluxConfigs": 9}}))).accepts(&torn);
}

#[test]
fn dangerous_grants_are_warnings() {
    let spec = teams_with(json!({
        "tenants": {"names": ["ops"]}, "images": {"allow": ["**"]}, "role": "cluster-admin",
        "sources": {"git": {"allow": ["http://git.example.com/x/**"]}},
    }));
    let warnings = create("wide", spec).accepts(&snapshot());
    for rule in ["grants-everything", "powerful-role", "grants-plain-http"] {
        assert!(warnings.iter().any(|warning| warning.contains(rule)), "{rule}: {warnings:?}");
    }
}

#[test]
fn says_how_many_fluxconfigs_a_change_cuts_off() {
    let configs: Vec<Value> = (0..3)
        .flat_map(|number| ["team-a", "team-b"].map(|home| config(home, &format!("c{number}"), complete(home))))
        .collect();
    let full = with(vec![("teams", teams())], &configs);
    let warnings = update(teams(), teams_with(json!({"sources": {"git": {"allow": []}}}))).accepts(&full);
    let expected = "this cuts off 6 FluxConfigs that are admitted now: team-a/c0, team-a/c1, team-a/c2, …";
    assert_eq!(warnings, [expected]);
    let only_a = teams_with(json!({"sources": {"git": {"allow": ["https://git.example.com/team-b/**"]}}}));
    let warnings = update(teams(), only_a).accepts(&full);
    assert_eq!(warnings, ["this cuts off 3 FluxConfigs that are admitted now: team-a/c0, team-a/c1, team-a/c2"]);
    // What stays allowed is not counted, and neither is what another policy says of others.
    assert!(update(teams(), teams_with(json!({"limits": {"fluxConfigs": 9}}))).accepts(&full).is_empty());
    let deny = json!({"tenants": {"names": ["team-b"]}, "sources": {"git": {"deny": ["https://git.example.com/**"]}}});
    let warnings = create("deny", deny).accepts(&full);
    assert_eq!(warnings, ["this cuts off 3 FluxConfigs that are admitted now: team-b/c0, team-b/c1, team-b/c2"]);
}

#[test]
fn deleting_one_is_allowed_and_says_what_it_cuts_off() {
    let full = with(vec![("teams", teams())], &[config("team-a", "shop", complete("team-a"))]);
    let warnings = Ask::delete("FluxPolicy", policy("teams", teams())).accepts(&full);
    assert_eq!(warnings, ["this cuts off 1 FluxConfig that is admitted now: team-a/shop"]);
}

#[test]
fn metadata_of_a_policy_with_mistakes_can_be_changed() {
    let bad = teams_with(json!({"images": {"allow": ["x y"]}}));
    update(bad.clone(), bad).accepts(&snapshot());
}
