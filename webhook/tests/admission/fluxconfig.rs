//! FluxConfigs.

use serde_json::{Value, json};
use sluicegate_policy::{Placer, message, violations};

use super::world::{Ask, FLUX, complete, config, snapshot, teams, teams_with, url, with};

fn minimal(home: &str) -> Value {
    config(home, "shop", json!({"source": {"url": url(home)}}))
}

fn create(object: Value) -> Ask {
    Ask::create("FluxConfig", object)
}

fn update(old: Value, new: Value) -> Ask {
    Ask::update("FluxConfig", old, new)
}

fn added(field: &str, value: Value) -> Value {
    json!({"op": "add", "path": format!("/spec/{field}"), "value": value})
}

#[test]
fn completes_where_it_goes_and_what_is_synced() {
    let patch = create(minimal("team-a")).patch(&snapshot());
    let expected = json!([
        added("source/ref", json!({"branch": "main"})),
        added("path", json!("./")),
        added("cluster", json!("prod-eu")),
        added("namespace", json!("team-a")),
    ]);
    assert_eq!(patch, expected);
}

#[test]
fn completes_only_what_is_missing_and_a_complete_one_not_at_all() {
    let spec =
        json!({"source": {"url": url("team-a")}, "cluster": "dev", "namespace": "team-a-test", "path": "deploy"});
    let patch = create(config("team-a", "shop", spec)).patch(&snapshot());
    assert_eq!(patch, json!([added("source/ref", json!({"branch": "main"}))]));
    assert_eq!(create(config("team-a", "shop", complete("team-a"))).patch(&snapshot()), json!([]));
}

#[test]
fn what_is_completed_is_accepted() {
    let mut object = minimal("team-a");
    for operation in create(object.clone()).patch(&snapshot()).as_array().unwrap() {
        let pointer = operation["path"].as_str().unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[field] = operation["value"].clone();
    }
    assert!(create(object.clone()).accepts(&snapshot()).is_empty());
    assert_eq!(create(object).patch(&snapshot()), json!([]));
}

#[test]
fn a_new_default_moves_nothing() {
    let moved = with(
        vec![(
            "teams",
            teams_with(json!({"defaults": {"cluster": "dev", "namespace": "${tenant}-x", "ref": {"branch": "x"}}})),
        )],
        &[config("team-a", "shop", complete("team-a"))],
    );
    // As by `kubectl replace` of the minimal file.
    let patch = update(config("team-a", "shop", complete("team-a")), minimal("team-a")).patch(&moved);
    assert_eq!(patch[0], added("cluster", json!("prod-eu")));
    assert_eq!(patch[1], added("namespace", json!("team-a")));
}

#[test]
fn what_is_refused_or_goes_is_not_completed() {
    let foreign = config("team-a", "shop", json!({"source": {"url": url("team-b")}}));
    assert_eq!(create(foreign).patch(&snapshot()), json!([]));
    let mut going = minimal("team-a");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(update(going.clone(), going).patch(&snapshot()), json!([]));
    assert_eq!(Ask::delete("FluxConfig", minimal("team-a")).patch(&snapshot()), json!([]));
    // The schema says better what is wrong with it.
    assert_eq!(create(config("team-a", "shop", json!({"source": 7}))).patch(&snapshot()), json!([]));
}

#[test]
fn a_name_that_the_api_server_makes_later_is_no_obstacle() {
    let mut object = minimal("team-a");
    object["metadata"] = json!({"generateName": "review-", "namespace": "team-a"});
    let ask = create(object).set("name", json!("")).set("namespace", json!("team-a"));
    assert_eq!(ask.patch(&snapshot()).as_array().unwrap().len(), 4);
}

#[test]
fn accepts_what_the_policy_allows_from_whoever_may_write() {
    assert!(create(minimal("team-a")).accepts(&snapshot()).is_empty());
    assert!(create(minimal("team-b")).accepts(&snapshot()).is_empty());
    let limited = with(vec![("teams", teams_with(json!({"writers": [FLUX]})))], &[]);
    assert!(create(minimal("team-a")).by(FLUX).accepts(&limited).is_empty());
    create(minimal("team-a")).by("alice").rejects(&limited, "writer-not-allowed");
    let old = config("team-a", "shop", complete("team-a"));
    let mut new = old.clone();
    new["spec"]["suspend"] = json!(true);
    update(old, new).by("alice").rejects(&limited, "writer-not-allowed");
}

#[test]
fn rejects_in_the_engines_words() {
    let snapshot = snapshot();
    for (spec, rule) in [
        (json!({"source": {"url": url("team-b")}}), "source-not-allowed"),
        (json!({"source": {"url": "https://git.example.com/team-a/../x"}}), "invalid-url"),
        (json!({"source": {"url": url("team-a")}, "cluster": "moon"}), "unknown-cluster"),
        (json!({"source": {"url": url("team-a")}, "namespace": "team-b"}), "destination-not-allowed"),
        (json!({"source": {"url": url("team-a")}, "namespace": "kube-system"}), "destination-not-allowed"),
        (json!({"source": {"url": url("team-a")}, "path": "../x"}), "invalid-path"),
        (json!({"source": {"url": url("team-a"), "secretRef": {"name": "x"}}}), "tenant-secret-not-allowed"),
    ] {
        let object = config("team-a", "shop", spec);
        let message = create(object.clone()).rejects(&snapshot, rule);
        let typed = serde_json::from_value(object).unwrap();
        let found = violations(Placer::new(&snapshot.policies, &snapshot.facts).place(&typed), &snapshot.facts);
        assert_eq!(message, message::refusal(&found));
    }
    create(minimal("other")).rejects(&snapshot, "no-policy");
}

#[test]
fn says_what_is_allowed_and_who_decided() {
    let message = create(config("team-a", "shop", json!({"source": {"url": url("team-b")}})))
        .rejects(&snapshot(), "source-not-allowed");
    insta::assert_snapshot!(message);
}

#[test]
fn the_namespace_of_the_request_counts_and_not_what_the_object_says() {
    let ask = create(minimal("team-b")).set("namespace", json!("team-a"));
    ask.rejects(&snapshot(), "source-not-allowed");
}

#[test]
fn what_a_policy_no_longer_allows_can_still_be_cleaned_up() {
    let shrunk = with(vec![("teams", teams_with(json!({"sources": {"git": {"allow": []}}})))], &[]);
    let old = config("team-a", "shop", complete("team-a"));
    let mut finalizer = old.clone();
    finalizer["metadata"]["finalizers"] = json!(["sluicegate.dev/agent"]);
    assert!(update(finalizer.clone(), old.clone()).accepts(&shrunk).is_empty());
    assert!(Ask::delete("FluxConfig", old.clone()).accepts(&shrunk).is_empty());
    // A step that makes nothing worse is let through, and said to be not enough.
    let mut suspended = old.clone();
    suspended["spec"]["suspend"] = json!(true);
    let warnings = update(old.clone(), suspended).accepts(&shrunk);
    assert!(warnings[0].contains("source-not-allowed"), "{warnings:?}");
    // Another source is new, and so is what else is wrong.
    let mut elsewhere = old.clone();
    elsewhere["spec"]["source"]["url"] = json!("https://evil.example/x");
    update(old.clone(), elsewhere).rejects(&shrunk, "source-not-allowed");
    let mut path = old.clone();
    path["spec"]["path"] = json!("../x");
    let message = update(old, path).rejects(&shrunk, "invalid-path");
    assert!(!message.contains("source-not-allowed"), "{message}");
}

#[test]
fn a_dependency_may_come_in_the_same_commit() {
    let spec = json!({"source": {"url": url("team-a")}, "dependsOn": [{"name": "base"}]});
    let warnings = create(config("team-a", "shop", spec)).accepts(&snapshot());
    assert!(warnings[0].contains("unknown-dependency"), "{warnings:?}");
}

#[test]
fn one_more_than_the_limit_is_rejected_and_those_that_are_there_are_not() {
    let configs: Vec<Value> =
        (0..3).map(|number| config("team-a", &format!("c{number}"), complete("team-a"))).collect();
    let full = with(vec![("teams", teams())], &configs);
    create(minimal("team-a")).rejects(&full, "too-many-flux-configs");
    create(minimal("team-b")).accepts(&full);
    let mut changed = configs[0].clone();
    changed["spec"]["path"] = json!("deploy");
    update(configs[0].clone(), changed).accepts(&full);
}

#[test]
fn a_target_belongs_to_who_was_there_first() {
    let shared = teams_with(json!({"destinations": [{"clusters": ["prod-eu"], "namespaces": ["shared"]}]}));
    let mut spec = complete("team-a");
    spec["namespace"] = json!("shared");
    let taken = with(vec![("teams", shared)], &[config("team-a", "shop", spec)]);
    let mut other = complete("team-b");
    other["namespace"] = json!("shared");
    create(config("team-b", "shop", other)).rejects(&taken, "target-claimed");
}

#[test]
fn a_status_and_a_connection_are_not_judged() {
    let foreign = config("team-a", "shop", json!({"source": {"url": url("team-b")}}));
    create(foreign.clone()).set("subResource", json!("status")).accepts(&snapshot());
    create(foreign).set("operation", json!("CONNECT")).accepts(&snapshot());
}

#[test]
fn what_cannot_be_read_is_rejected_and_who_manages_fields_is_not_looked_at() {
    let ask = create(config("team-a", "shop", json!({"source": {"url": 7}})));
    let answer = ask.at(sluicegate_webhook::decide::Hook::Validate, &snapshot());
    assert!(answer.refusal().unwrap().contains("cannot read it"), "{answer:?}");
    let nothing = Ask::about("sluicegate.dev", "FluxConfig", "fluxconfigs", "CREATE");
    assert!(!nothing.at(sluicegate_webhook::decide::Hook::Validate, &snapshot()).is_allowed());
    let mut noisy = minimal("team-a");
    noisy["metadata"]["managedFields"] = json!([{"manager": 7, "nonsense": [[]]}]);
    create(noisy).accepts(&snapshot());
}
