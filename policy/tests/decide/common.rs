//! What admitted FluxConfigs have in common is in memory once, and within bounds.

use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_policy::{
    Admitted, ClustersByName, Declaration, Facts, LabelsOf, NamespacesByName, Unseen, Verdict, decide, verdict::Common,
};

use crate::world::{World, config, labels};

fn admitted(world: &World, common: &mut Common, patch: Value) -> Admitted {
    let mut admitted = world.accepts(patch);
    admitted.share(common);
    admitted
}

fn every(seconds: usize) -> Value {
    json!({"interval": format!("{seconds}s")})
}

/// Ten thousand are kept, each behind a pointer to it and two counters, which together fill a slot of 384 bytes; the next one
/// has 448, which for ten thousand are 640 kB.
#[test]
fn an_admitted_fluxconfig_is_small() {
    assert!(size_of::<Admitted>() <= 368, "{} bytes", size_of::<Admitted>());
}

#[test]
fn what_two_say_in_the_same_way_is_shared() {
    let world = World::new().with(json!({
        "features": {"decryption": true},
        "defaults": {"decryption": {"provider": "sops", "secretRef": {"name": "sops-${tenant}"}}},
        "sources": {"requireVerification": true, "verificationKeys": [{"match": "https://git.example.com/**", "secretRef": {"name": "keys"}}]},
    }));
    let mut common = Common::default();
    let one = admitted(&world, &mut common, json!({"path": "./one"}));
    let other = admitted(&world, &mut common, json!({"path": "./other"}));
    let (one, other) = (one.resolved(), other.resolved());
    assert_ne!(one.path, other.path);
    assert!(Arc::ptr_eq(&one.terms, &other.terms));
    assert!(Arc::ptr_eq(&one.source_allowed_by, &other.source_allowed_by));
    assert!(Arc::ptr_eq(one.reference.as_ref().unwrap(), other.reference.as_ref().unwrap()));
    assert!(Arc::ptr_eq(one.credentials.as_ref().unwrap(), other.credentials.as_ref().unwrap()));
    assert!(Arc::ptr_eq(one.verification.as_ref().unwrap(), other.verification.as_ref().unwrap()));
    assert!(Arc::ptr_eq(one.decryption.as_ref().unwrap(), other.decryption.as_ref().unwrap()));
}

#[test]
fn sharing_changes_nothing_that_is_said() {
    let (world, mut common) = (World::new(), Common::default());
    let branch = json!({"source": {"ref": {"branch": "release"}}, "prune": false});
    for patch in [json!({}), every(60), branch, every(60), json!({"wait": true, "ttl": "3d"})] {
        let alone = world.accepts(patch.clone());
        assert_eq!(admitted(&world, &mut common, patch), alone);
    }
}

#[test]
fn other_terms_share_what_policies_alone_decide() {
    let (world, mut common) = (World::new(), Common::default());
    let one = admitted(&world, &mut common, every(60));
    let other = admitted(&world, &mut common, every(90));
    assert!(!Arc::ptr_eq(&one.resolved().terms, &other.resolved().terms));
    assert!(Arc::ptr_eq(&one.resolved().terms.standing, &other.resolved().terms.standing));
}

#[test]
fn what_is_shared_has_a_bound() {
    let (world, mut common) = (World::new(), Common::default());
    let mut kept: Vec<Admitted> =
        (0..Common::MOST).map(|number| admitted(&world, &mut common, every(60 + number))).collect();
    let known = |common: &mut Common, kept: &[Admitted], seconds: usize| {
        let again = admitted(&world, common, every(seconds));
        kept.iter().any(|kept| Arc::ptr_eq(&kept.resolved().terms, &again.resolved().terms))
    };
    assert!(known(&mut common, &kept, 60));
    assert!(known(&mut common, &kept, 60 + Common::MOST - 1));
    // There is no room for one more, so that another like it finds nothing to share.
    kept.push(admitted(&world, &mut common, every(7200)));
    assert!(!known(&mut common, &kept, 7200));
    // Where one is gone there is.
    kept.remove(0);
    kept.push(admitted(&world, &mut common, every(7200)));
    assert!(known(&mut common, &kept, 7200));
}

#[test]
fn names_are_in_memory_once() {
    let world = World::new().namespace("team-a", &[]);
    let (set, mut facts) = (world.set(), world.facts_with(&config("team-a", "shop", json!({}))));
    let cart = config("team-a", "cart", json!({}));
    facts.declare(Declaration::of(&cart, &set, &facts, None));
    let decided = ["shop", "cart"].map(|name| match decide(&config("team-a", name, json!({})), &set, &facts) {
        Verdict::Admitted(admitted) => admitted,
        other => panic!("{other:?}"),
    });
    let [shop, cart] = decided.each_ref().map(|admitted| admitted.resolved());
    assert!(Arc::ptr_eq(&shop.home, &cart.home));
    assert_eq!(shop.home.as_ptr(), shop.tenant.as_str().as_ptr());
    assert_eq!(shop.tenant.as_str().as_ptr(), cart.tenant.as_str().as_ptr());
    assert_eq!(shop.cluster.value.as_str().as_ptr(), cart.cluster.value.as_str().as_ptr());
    assert_eq!(shop.namespace.value.as_str().as_ptr(), cart.namespace.value.as_str().as_ptr());
    // Two verdicts on one FluxConfig have the name of its declaration.
    match decide(&config("team-a", "shop", json!({"wait": true})), &set, &facts) {
        Verdict::Admitted(again) => assert!(Arc::ptr_eq(&again.resolved().name, &shop.name)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn facts_share_labels_with_whoever_keeps_them() {
    let found = Arc::new(labels(&[("plan", "gold"), ("sluicegate.dev/tenant", "team-b")]));
    let namespaces = NamespacesByName::from([("team-a".into(), Arc::clone(&found).into())]);
    let clusters = ClustersByName::from([("team-a".into(), Arc::clone(&found).into())]);
    let facts = Facts::of(Unseen::Absent, &namespaces, clusters);
    let LabelsOf::Known(known) = facts.labels("team-a") else { panic!("they were told") };
    assert!(std::ptr::eq(known, &*found));
    assert!(Arc::ptr_eq(&facts.clusters()["team-a"].labels, &found));
    assert_eq!(facts.tenant("team-a").unwrap().as_str(), "team-b");
}
