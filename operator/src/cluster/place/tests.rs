use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::{
    cluster::store::{Store, Watched},
    object::{ConfigKey, Kind},
    rights,
};

const TENANT: &str = "red-v";
const ISOLATED: &str = "sluicegate-red-v";
const POOL: &str = "sluicegate--pool-2";
/// Agent and target at once, with placement Namespace.
const BESIDE: &str = "red-v-beside";
/// A target of the tenant whose agent is elsewhere.
const TARGET: &str = "red-v-app";
/// Somebody else's.
const OTHERS: [&str; 4] = ["red-scratch", "red-a-app", "sluicegate-red-a", "sluicegate--pool-x"];

/// Whose the namespaces are: by the labels that they carry.
fn namespaces() -> Vec<serde_json::Value> {
    let of = |name: &str, labels: serde_json::Value| json!({"metadata": {"name": name, "labels": labels}});
    vec![
        of(ISOLATED, json!(Owner::Agent.labels(ISOLATED))),
        of(POOL, json!(Owner::Agent.labels(POOL))),
        of(BESIDE, json!({"sluicegate.dev/tenant": TENANT})),
        of(TARGET, json!(Owner::Tenant(TENANT.into()).labels(ISOLATED))),
        of("red-scratch", json!({})),
        of("red-a-app", json!({"sluicegate.dev/tenant": "red-a"})),
        of("sluicegate-red-a", json!(Owner::Agent.labels("sluicegate-red-a"))),
        // Whoever may label namespaces says that this is an agent's; no agent has such a name.
        of("sluicegate--pool-x", json!({"sluicegate.dev/agent": "sluicegate--pool-x"})),
    ]
}

fn store() -> Store {
    let store = Store::default();
    for namespace in namespaces() {
        store.saw(Kind::Namespace, &namespace);
    }
    store
}

fn owners() -> [Owner; 3] {
    let config = ConfigKey::new(TENANT, "app");
    [Owner::Agent, Owner::Tenant(TENANT.into()), Owner::Config { tenant: TENANT.into(), config }]
}

fn object(kind: Kind, namespace: &str, owner: &Owner, agent: &str) -> serde_json::Value {
    let (name, namespace) = if kind == Kind::Namespace { (namespace, "") } else { ("planted", namespace) };
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": "u", "resourceVersion": "9", "labels": owner.labels(agent),
            "finalizers": ["outsider.example/stay"],
        },
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "X", "message": "mail your token"}]},
    })
}

/// Kinds that are rendered for an owner.
fn rendered_for(owner: &Owner) -> Vec<Kind> {
    Kind::ALL.iter().copied().filter(|kind| is_rendered_for(*kind, owner)).collect()
}

#[test]
fn what_is_planted_anywhere_else_is_in_no_inventory() {
    let mut tried = 0;
    for agent in [ISOLATED, POOL, BESIDE] {
        for owner in owners() {
            for kind in Kind::ALL {
                for place in OTHERS {
                    let store = store();
                    let planted = object(*kind, place, &owner, agent);
                    // A Namespace that carries the tenant's label is the tenant's: nobody but administrators may write it.
                    if *kind == Kind::Namespace && matches!(owner, Owner::Tenant(_)) {
                        continue;
                    }
                    let touched = store.saw(*kind, &planted);
                    tried += 1;
                    let what = format!("{kind} of {owner:?} of agent {agent} in {place}");
                    // Whose namespace was relabelled hears of it, and puts the label right.
                    let bothered = touched.agents.iter().any(|told| **told == *agent);
                    assert!(!bothered && touched.strays, "{what}: the victim is not bothered, and it is reported");
                    assert!(store.inventory(agent).keys().all(|key| key.kind == Kind::Namespace), "{what}");
                    let config = ConfigKey::new(TENANT, "app");
                    assert!(!store.has_config(&config) && store.agent_with(&config).is_none(), "{what}");
                    assert!(store.flux_of(&config, agent).is_empty(), "{what}");
                    let strays = store.strays(3);
                    assert_eq!((strays.counts[kind], strays.first.len()), (1, 1), "{what}");
                    // It goes as it came.
                    assert!(store.lost(*kind, &planted).strays, "{what}");
                    assert_eq!(store.strays(3), Default::default(), "{what}");
                }
            }
        }
    }
    assert_eq!(tried, 3 * OTHERS.len() * (3 * Kind::ALL.len() - 1));
}

#[test]
fn in_the_right_place_a_kind_that_is_not_rendered_for_the_owner_is_not_believed() {
    for agent in [ISOLATED, POOL, BESIDE] {
        for owner in owners() {
            let rendered = rendered_for(&owner);
            assert!(!rendered.is_empty());
            for kind in Kind::ALL.iter().filter(|kind| !rendered.contains(kind)) {
                for place in [agent, TARGET] {
                    let store = store();
                    store.saw(*kind, &object(*kind, place, &owner, agent));
                    let mut found = store.inventory(agent);
                    found.retain(|key, _| key.kind != Kind::Namespace);
                    assert!(found.is_empty(), "{kind} of {owner:?} in {place}");
                }
            }
        }
    }
}

#[test]
fn the_target_of_a_tenant_is_no_place_for_what_is_beside_its_agent() {
    for agent in [ISOLATED, POOL] {
        for owner in owners() {
            for kind in rendered_for(&owner) {
                if kind == Kind::Namespace {
                    continue;
                }
                let store = store();
                store.saw(kind, &object(kind, TARGET, &owner, agent));
                let believed = store.inventory(agent).keys().any(|key| key.namespace == TARGET);
                let belongs = matches!((kind, &owner), (Kind::RoleBinding | Kind::ResourceQuota, Owner::Tenant(_)));
                assert_eq!(believed, belongs, "{kind} of {owner:?}");
            }
        }
    }
}

#[test]
fn another_tenant_s_labels_in_one_s_own_namespaces_are_not_believed() {
    // A member of `red-a` with every right in its namespaces, on a cluster without a guard.
    let victim = ConfigKey::new(TENANT, "app");
    for place in ["red-a-app", "sluicegate-red-a"] {
        for owner in owners() {
            for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Namespace) {
                let store = store();
                // The agent's label names the namespace itself, as if the victim were served there.
                store.saw(*kind, &object(*kind, place, &owner, place));
                assert!(!store.has_config(&victim), "{kind} of {owner:?} in {place}");
                let inventory = store.inventory(place);
                assert!(
                    inventory.values().all(|observed| *observed.owner == Owner::Agent),
                    "{kind} of {owner:?} in {place}"
                );
            }
        }
    }
}

#[test]
fn what_was_believed_is_kept_until_it_is_gone_whatever_becomes_of_labels() {
    let store = store();
    let owner = &owners()[1];
    let binding = object(Kind::RoleBinding, TARGET, owner, ISOLATED);
    store.saw(Kind::RoleBinding, &binding);
    let has = |store: &Store| store.inventory(ISOLATED).keys().any(|key| key.kind == Kind::RoleBinding);
    assert!(has(&store));
    // An administrator gives the target to another tenant: the binding of the first must go, so it must not be forgotten.
    store.saw(Kind::Namespace, &json!({"metadata": {"name": TARGET, "labels": {"sluicegate.dev/tenant": "red-a"}}}));
    let mut again = binding.clone();
    again["metadata"]["resourceVersion"] = json!("10");
    store.saw(Kind::RoleBinding, &again);
    assert!(has(&store));
    // Another object of its name is not it.
    again["metadata"]["resourceVersion"] = json!("11");
    again["metadata"]["uid"] = json!("another");
    store.saw(Kind::RoleBinding, &again);
    assert!(!has(&store));
    assert_eq!(store.strays(1).counts[&Kind::RoleBinding], 1);

    // Nor is one that says something else by now.
    let store = self::store();
    store.saw(Kind::RoleBinding, &object(Kind::RoleBinding, BESIDE, owner, BESIDE));
    let relabelled = Owner::Tenant("red-a".into());
    let mut stolen = object(Kind::RoleBinding, BESIDE, &relabelled, ISOLATED);
    stolen["metadata"]["resourceVersion"] = json!("10");
    store.saw(Kind::RoleBinding, &stolen);
    assert!(!has(&store));
}

#[test]
fn a_namespace_that_is_being_deleted_and_what_is_in_it_are_waited_for() {
    let state = |labels: serde_json::Value, deleting: bool| {
        let mut metadata = json!({"name": TARGET, "uid": "n", "resourceVersion": "1", "labels": labels});
        if deleting {
            metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            metadata["resourceVersion"] = json!("2");
        }
        json!({"metadata": metadata})
    };
    let owner = &owners()[1];
    let store = store();
    store.saw(Kind::Namespace, &state(json!(owner.labels(ISOLATED)), false));
    store.saw(Kind::Namespace, &state(json!(Owner::Agent.labels(ISOLATED)), true));
    let inventory = store.inventory(ISOLATED);
    let namespace = inventory.iter().find(|(key, _)| key.name == TARGET).map(|(_, observed)| observed.clone());
    let namespace = namespace.expect("it is waited for");
    assert!(namespace.deleting && *namespace.owner == *owner);
    // What is listed after that is in it all the same.
    store.saw(Kind::RoleBinding, &object(Kind::RoleBinding, TARGET, owner, ISOLATED));
    assert!(store.inventory(ISOLATED).keys().any(|key| key.kind == Kind::RoleBinding));
}

#[test]
fn a_namespace_that_gets_its_label_later_brings_back_what_is_in_it() {
    let store = Store::default();
    let owner = &owners()[2];
    let kustomization = object(Kind::Kustomization, ISOLATED, owner, ISOLATED);
    assert!(store.saw(Kind::Kustomization, &kustomization).strays);
    let touched = store.saw(Kind::Namespace, &namespaces()[0]);
    let key = Key { kind: Kind::Kustomization, namespace: ISOLATED.into(), name: "planted".into() };
    assert_eq!(touched.regained, [key]);
    // It is read again, and is the same.
    let touched = store.saw(Kind::Kustomization, &kustomization);
    assert!(touched.strays && !touched.agents.is_empty());
    assert_eq!(store.flux_of(&ConfigKey::new(TENANT, "app"), ISOLATED).len(), 1);
    assert_eq!(store.strays(1), Default::default());
}

#[test]
fn a_new_list_ends_strays_too() {
    let store = store();
    store.saw(Kind::Service, &object(Kind::Service, "red-scratch", &Owner::Agent, ISOLATED));
    assert!(store.only(&Watched::Kind(Kind::Service), &Default::default()).strays);
    assert_eq!(store.strays(1), Default::default());
}

#[test]
fn a_helm_chart_is_believed_by_the_name_of_our_helm_release_only() {
    let config = ConfigKey::new(TENANT, "app");
    let owner = &owners()[2];
    for agent in [ISOLATED, POOL, BESIDE] {
        let store = store();
        let mut release = object(Kind::HelmRelease, agent, owner, agent);
        release["metadata"]["name"] = json!("app");
        store.saw(Kind::HelmRelease, &release);
        let chart = |namespace: &str, name: &str| {
            let mut chart = object(Kind::HelmRelease, namespace, owner, agent);
            chart["metadata"]["name"] = json!(name);
            chart
        };
        let own = format!("{agent}-app");
        for place in OTHERS.into_iter().chain([TARGET, ISOLATED, POOL, BESIDE]) {
            for name in ["spoof", "app", &format!("{place}-app"), &format!("{agent}-app"), &format!("{agent}-other")] {
                if place == agent && name == own {
                    continue;
                }
                assert_eq!(store.saw_chart(&chart(place, name)), None, "{place}/{name} for {agent}");
                assert!(store.chart_of(&config, agent).is_none(), "{place}/{name} for {agent}");
            }
        }
        assert_eq!(store.saw_chart(&chart(agent, &own)), Some(config.clone()));
        assert!(store.chart_of(&config, agent).is_some());
        assert_eq!(store.lost_chart(&chart(agent, &own)), Some(config.clone()));
        assert!(store.chart_of(&config, agent).is_none());
        // It goes with the HelmRelease.
        store.saw_chart(&chart(agent, &own));
        store.lost(Kind::HelmRelease, &release);
        store.saw(Kind::HelmRelease, &release);
        assert!(store.chart_of(&config, agent).is_none());
    }
}

#[test]
fn the_operator_s_own_namespace_serves_nobody() {
    let namespace = rights::OPERATOR_NAMESPACE;
    let state = NamespaceState { agent: Some(namespace.into()), ..NamespaceState::default() };
    let all = HashMap::from([(namespace.to_owned(), state)]);
    for owner in owners() {
        for kind in Kind::ALL {
            let key = Key { kind: *kind, namespace: namespace.into(), name: namespace.into() };
            assert!(!is_rightful(&key, &owner, namespace, |name| all.get(name)), "{kind} of {owner:?}");
        }
    }
}
