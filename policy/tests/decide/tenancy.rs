//! Whose a namespace is: every combination of what can be known of it, against the rule in the order in which it is written
//! down in `docs/decisions/018-homes-and-targets.md`.

use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_policy::{Cluster, LabelWriter, Namespace, Rule, Since, Violation};

use crate::world::{World, config, labels, show_all};

/// The tenant that has `SPACE` as a target, and its home.
const DEPLOYER: &str = "team-a";
/// The namespace that two tenants want, and the tenant whose home it is by its name.
const SPACE: &str = "team-a-pay";
const THIRD: &str = "team-x";
/// The management cluster.
const HUB: &str = "hub";

/// What is known of `SPACE`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    /// Nothing: files need not have a Namespace.
    No,
    Unlabelled,
    /// Sluicegate made it, and somebody took the label away.
    Made,
    Home(&'static str),
    Tenant(&'static str, LabelWriter),
}

const TIMES: [Since; 4] = [Some(10), Some(20), Some(30), None];

fn everything_seen() -> Vec<Seen> {
    let mut all = vec![Seen::No, Seen::Unlabelled, Seen::Made];
    for tenant in [DEPLOYER, SPACE, THIRD] {
        all.push(Seen::Home(tenant));
        for writer in [LabelWriter::Administrator, LabelWriter::Sluicegate, LabelWriter::Creator] {
            all.push(Seen::Tenant(tenant, writer));
        }
    }
    all
}

fn world(seen: Seen) -> World {
    let mut world = World::new()
        .with(json!({"destinations": [{"clusters": [HUB], "namespaces": ["${tenant}", "${tenant}-*"], "createNamespace": true}]}))
        .with_cluster(HUB, Cluster { management: true, ..Cluster::default() });
    let namespace = |label: &str, tenant: &str, tenant_label_by| Namespace {
        labels: Arc::new(labels(&[(label, tenant)])),
        tenant_label_by,
    };
    match seen {
        Seen::No => {}
        Seen::Unlabelled => world.facts.namespace(SPACE, Namespace::default()),
        Seen::Made => {
            let made = Namespace { tenant_label_by: LabelWriter::Creator, ..Namespace::default() };
            world.facts.namespace(SPACE, made);
        }
        Seen::Home(tenant) => {
            world.facts.namespace(SPACE, namespace("sluicegate.dev/home", tenant, LabelWriter::Administrator));
        }
        Seen::Tenant(tenant, writer) => {
            world.facts.namespace(SPACE, namespace("sluicegate.dev/tenant", tenant, writer));
        }
    }
    world
}

/// Whose `SPACE` is: `lived_in` and `claimed` say since when a FluxConfig lives in it, and since when `DEPLOYER` claims it.
fn holder(seen: Seen, lived_in: Option<Since>, claimed: Option<Since>) -> Option<&'static str> {
    let first = || match (lived_in, claimed) {
        (Some(lived_in), Some(claimed)) => {
            let age = |since: Since| since.unwrap_or(i64::MAX);
            match age(lived_in).cmp(&age(claimed)) {
                std::cmp::Ordering::Less => Some(SPACE),
                std::cmp::Ordering::Greater => Some(DEPLOYER),
                std::cmp::Ordering::Equal => None,
            }
        }
        (Some(_), None) => Some(SPACE),
        (None, Some(_)) => Some(DEPLOYER),
        (None, None) => None,
    };
    match seen {
        Seen::Home(tenant) | Seen::Tenant(tenant, LabelWriter::Administrator | LabelWriter::Creator) => Some(tenant),
        Seen::Tenant(DEPLOYER, LabelWriter::Sluicegate) if lived_in.is_some() && claimed.is_some() => first(),
        Seen::Tenant(tenant, LabelWriter::Sluicegate) => Some(tenant),
        Seen::Unlabelled if lived_in.is_some() => Some(SPACE),
        Seen::Unlabelled | Seen::Made | Seen::No => first(),
    }
}

/// What of the verdict is about whose a namespace is.
fn disputed(world: &World, home: &str, name: &str, patch: &Value) -> Vec<Violation> {
    let verdict = world.verdict(&config(home, name, patch.clone()));
    let rules = [Rule::TargetClaimed, Rule::NamespaceIsAHome, Rule::HomeIsATarget];
    verdict.violations().iter().filter(|violation| rules.contains(&violation.rule)).cloned().collect()
}

#[test]
fn a_namespace_is_a_home_or_another_tenant_s_target_and_never_both() {
    let (attack, at_home) = (json!({"cluster": HUB, "namespace": SPACE}), json!({"cluster": HUB, "namespace": SPACE}));
    let elsewhere = json!({"cluster": HUB, "namespace": "team-a-pay-prod"});
    let mut admitted_at_home = 0;
    let mut admitted_there = 0;
    for seen in everything_seen() {
        for lived_in in [None].into_iter().chain(TIMES.map(Some)) {
            for claimed in [None].into_iter().chain(TIMES.map(Some)) {
                for lodger in [&at_home, &elsewhere] {
                    let mut world = world(seen);
                    if let Some(since) = lived_in {
                        world = world.declared(SPACE, "pay", lodger.clone(), since);
                    }
                    if let Some(since) = claimed {
                        world = world.declared(DEPLOYER, "attack", attack.clone(), since);
                    }
                    let holder = holder(seen, lived_in, claimed);
                    let case = format!("{seen:?}, lived in {lived_in:?}, claimed {claimed:?}, deploys {lodger}");
                    // Whose the FluxConfigs in it are never follows from what Sluicegate wrote.
                    let resident = match seen {
                        Seen::Home(tenant) | Seen::Tenant(tenant, LabelWriter::Administrator) => tenant,
                        Seen::No | Seen::Unlabelled | Seen::Made | Seen::Tenant(..) => SPACE,
                    };
                    assert_eq!(world.facts.tenant(SPACE).unwrap().as_str(), resident, "{case}");
                    let stays = lived_in.map(|_| {
                        let found = disputed(&world, SPACE, "pay", lodger);
                        assert_eq!(found.is_empty(), holder == Some(resident), "{case}\n{}", show_all(&found));
                        assert!(found.iter().all(|one| one.rule == Rule::HomeIsATarget), "{case}");
                        found.is_empty()
                    });
                    let deploys = claimed.map(|_| {
                        let found = disputed(&world, DEPLOYER, "attack", &attack);
                        assert_eq!(found.is_empty(), holder == Some(DEPLOYER), "{case}\n{}", show_all(&found));
                        assert!(found.iter().all(|one| one.rule != Rule::HomeIsATarget), "{case}");
                        found.is_empty()
                    });
                    assert!(resident == DEPLOYER || (stays, deploys) != (Some(true), Some(true)), "both: {case}");
                    admitted_at_home += usize::from(stays == Some(true));
                    admitted_there += usize::from(deploys == Some(true));
                    // A FluxConfig that comes now takes nothing from anybody, and its verdict stays when it is stored.
                    if lived_in.is_none() && claimed != Some(None) {
                        let found = disputed(&world, SPACE, "new", lodger);
                        let stored = world.declared(SPACE, "new", lodger.clone(), Some(40));
                        assert_eq!(disputed(&stored, SPACE, "new", lodger).is_empty(), found.is_empty(), "{case}");
                    }
                }
            }
        }
    }
    assert!(admitted_at_home > 50 && admitted_there > 50, "{admitted_at_home} and {admitted_there}");
}

#[test]
fn a_home_that_carries_its_label_is_its_tenant_s_whatever_others_claim() {
    for seen in [Seen::Home(SPACE), Seen::Tenant(SPACE, LabelWriter::Administrator)] {
        for claimed in TIMES {
            let world = world(seen).declared(DEPLOYER, "attack", json!({"cluster": HUB, "namespace": SPACE}), claimed);
            let resolved = world.accepts_in(SPACE, json!({"cluster": HUB, "namespace": SPACE}));
            assert_eq!(resolved.resolved().terms.own_home, matches!(seen, Seen::Home(_)));
            let found = disputed(&world, DEPLOYER, "attack", &json!({"cluster": HUB, "namespace": SPACE}));
            assert_eq!(found.len(), 1);
            assert!(found[0].message.contains("tenant team-a-pay"), "{}", found[0].message);
        }
    }
}

#[test]
fn a_tenant_s_own_home_is_its_target_without_a_label() {
    let own = world(Seen::Unlabelled).accepts_in(SPACE, json!({"cluster": HUB, "namespace": SPACE}));
    assert!(own.resolved().terms.own_home);
    // A namespace of the same name on another cluster is none.
    let world = World::new().with_cluster(HUB, Cluster { management: true, ..Cluster::default() });
    assert!(!world.accepts(json!({"namespace": "team-a"})).resolved().terms.own_home);
}

#[test]
fn homes_are_on_the_management_cluster_only() {
    let world = World::new()
        .with_cluster(HUB, Cluster { management: true, ..Cluster::default() })
        .declared(SPACE, "pay", json!({}), Some(1))
        .declared(DEPLOYER, "other", json!({"namespace": SPACE}), Some(2));
    // Its home is no matter on prod-eu, where both claim a namespace of that name.
    assert!(disputed(&world, SPACE, "pay", &json!({})).is_empty());
    let found = disputed(&world, DEPLOYER, "other", &json!({"namespace": SPACE}));
    assert_eq!(found.iter().map(|one| one.rule).collect::<Vec<_>>(), [Rule::TargetClaimed]);
}

#[test]
fn the_management_cluster_is_one_place_under_all_its_ids() {
    let everywhere = json!({"destinations": [{"clusters": ["*"], "namespaces": ["${tenant}", "${tenant}-*"]}]});
    let here = || Cluster { management: true, ..Cluster::default() };
    let world = World::new().policy("everywhere", everywhere).with_cluster(HUB, here()).with_cluster("alias", here());
    let world = world.declared(SPACE, "pay", json!({"cluster": HUB, "namespace": "team-a-pay-x"}), Some(1)).declared(
        DEPLOYER,
        "other",
        json!({"cluster": "alias", "namespace": "team-a-pay-x"}),
        Some(2),
    );
    assert_eq!(
        disputed(&world, DEPLOYER, "other", &json!({"cluster": "alias", "namespace": "team-a-pay-x"}))[0].rule,
        Rule::TargetClaimed
    );
    assert!(disputed(&world, SPACE, "pay", &json!({"cluster": HUB, "namespace": "team-a-pay-x"})).is_empty());
    let attack = json!({"cluster": "alias", "namespace": SPACE});
    let world = world.declared(DEPLOYER, "attack", attack.clone(), Some(3));
    assert_eq!(disputed(&world, DEPLOYER, "attack", &attack)[0].rule, Rule::NamespaceIsAHome);
}

#[test]
fn a_claim_on_a_namespace_that_is_labelled_for_another_tenant_is_void() {
    let both = json!({"destinations": [{"clusters": ["prod-eu"], "namespaces": ["shared"]}]});
    let here = json!({"namespace": "shared"});
    for label in [None, Some("team-a"), Some("team-b"), Some(THIRD)] {
        for (a, b) in TIMES.into_iter().flat_map(|a| TIMES.map(|b| (a, b))) {
            let mut world = World::new()
                .policy("both", both.clone())
                .declared("team-a", "shop", here.clone(), a)
                .declared("team-b", "shop", here.clone(), b);
            world.facts.tenant_label("prod-eu", "shared", Some("somebody"));
            world.facts.tenant_label("prod-eu", "shared", label);
            world.facts.tenant_label("prod-us", "shared", Some(THIRD));
            let has = |tenant: &str| {
                let found = disputed(&world, tenant, "shop", &here);
                assert!(found.iter().all(|one| one.rule == Rule::TargetClaimed), "{label:?} {a:?} {b:?}");
                found.is_empty()
            };
            let age = |since: Since| since.unwrap_or(i64::MAX);
            let expected = match label {
                None => (age(a) < age(b), age(b) < age(a)),
                Some(owner) => (owner == "team-a", owner == "team-b"),
            };
            assert_eq!((has("team-a"), has("team-b")), expected, "{label:?} {a:?} {b:?}");
        }
    }
}
