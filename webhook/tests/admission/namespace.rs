//! Namespaces: the label that says whose they are.

use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_policy::{LabelWriter, Labels, Namespace};
use sluicegate_webhook::decide::Hook;

use super::world::{Ask, complete, config, snapshot, teams, teams_with, with};

fn namespace(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn tenant(name: &str) -> Value {
    json!({"sluicegate.dev/tenant": name})
}

#[test]
fn accepts_a_label_that_names_a_tenant() {
    assert!(Ask::create("Namespace", namespace("x", tenant("team-a"))).accepts(&snapshot()).is_empty());
    assert!(Ask::create("Namespace", namespace("x", json!({}))).accepts(&snapshot()).is_empty());
    Ask::delete("Namespace", namespace("team-a", tenant("team-a"))).accepts(&snapshot());
}

#[test]
fn rejects_a_label_that_can_name_nobody() {
    for bad in ["Team_A", "", "-", &"x".repeat(64)] {
        let answer = Ask::create("Namespace", namespace("x", tenant(bad))).at(Hook::Validate, &snapshot());
        assert!(answer.refusal().is_some_and(|why| why.contains("sluicegate.dev/tenant")), "{bad}: {answer:?}");
    }
    // One that is there already does not get in the way of anything else.
    let bad = namespace("x", tenant("Team_A"));
    Ask::update("Namespace", bad.clone(), bad).accepts(&snapshot());
}

#[test]
fn says_whom_another_tenant_cuts_off() {
    let full = with(vec![("teams", teams())], &[config("team-a", "shop", complete("team-a"))]);
    let ask = Ask::update("Namespace", namespace("team-a", json!({})), namespace("team-a", tenant("team-b")));
    assert_eq!(ask.accepts(&full), ["this cuts off 1 FluxConfig that is admitted now: team-a/shop"]);
}

/// A policy with which tenants deploy to the management cluster, and homes may be matched by another tenant's pattern.
fn on_hub() -> Value {
    teams_with(
        json!({"destinations": [{"clusters": ["prod-eu", "dev", "hub"], "namespaces": ["${tenant}", "team-*"]}]}),
    )
}

fn deploying(home: &str, namespace: &str) -> Value {
    config(
        home,
        "shop",
        json!({"source": {"url": format!("https://git.example.com/{home}/shop")}, "cluster": "hub", "namespace": namespace}),
    )
}

#[test]
fn says_whom_a_home_label_cuts_off() {
    let full = with(vec![("teams", on_hub())], &[deploying("team-a", "team-b")]);
    let home = json!({"sluicegate.dev/home": "team-b"});
    let ask = Ask::update("Namespace", namespace("team-b", json!({})), namespace("team-b", home.clone()));
    assert_eq!(ask.accepts(&full), ["this cuts off 1 FluxConfig that is admitted now: team-a/shop"]);
    let mut both = home;
    both["sluicegate.dev/tenant"] = json!("team-a");
    let warnings = Ask::update("Namespace", namespace("team-b", json!({})), namespace("team-b", both)).accepts(&full);
    assert!(warnings[0].contains("a namespace is never both"), "{warnings:?}");
    for bad in ["Team_A", ""] {
        let labels = json!({"sluicegate.dev/home": bad});
        let answer = Ask::create("Namespace", namespace("x", labels)).at(Hook::Validate, &full);
        assert!(answer.refusal().is_some_and(|why| why.contains("sluicegate.dev/home")), "{bad}: {answer:?}");
    }
}

#[test]
fn a_home_is_no_target_and_nobody_moves_into_one() {
    let home = with(vec![("teams", on_hub())], &[deploying("team-b", "team-b-app")]);
    let answer = Ask::create("FluxConfig", deploying("team-a", "team-b")).at(Hook::Validate, &home);
    assert!(answer.refusal().is_some_and(|why| why.contains("namespace-is-a-home")), "{answer:?}");
    // Its own tenant may.
    Ask::create("FluxConfig", config("team-b", "own", deploying("team-b", "team-b")["spec"].clone())).accepts(&home);
    // A namespace that Sluicegate made as somebody's target.
    let mut namespaces = (*home.namespaces).clone();
    let labels = Labels::from([("sluicegate.dev/tenant".to_owned(), "team-a".to_owned())]);
    namespaces.insert("team-x".into(), Namespace { labels: labels.into(), tenant_label_by: LabelWriter::Creator });
    let target = home.over(Arc::new(namespaces), home.clusters.clone());
    let answer = Ask::create("FluxConfig", deploying("team-x", "team-x-app")).at(Hook::Validate, &target);
    assert!(answer.refusal().is_some_and(|why| why.contains("home-is-a-target")), "{answer:?}");
}

#[test]
fn whoever_may_not_administer_guards_may_not_say_whose_a_namespace_is() {
    let (none, a, b) = (json!({}), tenant("team-a"), tenant("team-b"));
    let home = json!({"sluicegate.dev/home": "team-a"});
    for (old, new) in [(&none, &a), (&a, &b), (&a, &none), (&none, &tenant("")), (&none, &home), (&home, &none)] {
        let ask =
            Ask::update("Namespace", namespace("x", old.clone()), namespace("x", new.clone())).by("mal\u{202e}lory");
        let answer = ask.at(Hook::TenantLabel, &snapshot());
        assert!(answer.refusal().is_some_and(|why| why.contains("mal\\u{202e}lory may not")), "{answer:?}");
    }
    assert!(!Ask::create("Namespace", namespace("x", a.clone())).at(Hook::TenantLabel, &snapshot()).is_allowed());
    for sub in ["status", "finalize"] {
        let ask = Ask::update("Namespace", namespace("x", a.clone()), namespace("x", b.clone()));
        assert!(!ask.set("subResource", json!(sub)).at(Hook::TenantLabel, &snapshot()).is_allowed(), "{sub}");
    }
    // Everything else about it is none of our business.
    let mut labelled = a.clone();
    labelled["team"] = json!("x");
    let ask = Ask::update("Namespace", namespace("x", a.clone()), namespace("x", labelled));
    assert!(ask.at(Hook::TenantLabel, &snapshot()).is_allowed());
    assert!(Ask::delete("Namespace", namespace("x", a)).at(Hook::TenantLabel, &snapshot()).is_allowed());
}

#[test]
fn a_name_that_is_kept_for_agents_is_refused() {
    let answer = Ask::create("Namespace", namespace("sluicegate-x", json!({}))).at(Hook::NamespaceName, &snapshot());
    assert!(answer.refusal().is_some_and(|why| why.contains("choose another name")), "{answer:?}");
}
