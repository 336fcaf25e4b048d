//! Policies for some clusters.

use serde_json::json;
use sluicegate_policy::{Rule, compile};

use crate::world::{SHA256, World, errors_of, policy, policy_error};

#[test]
fn count_on_their_clusters_only() {
    let strict = json!({
        "clusters": {"names": ["prod-us"]},
        "sources": {"git": {"deny": ["https://git.example.com/team-a/**"]}},
    });
    let world = World::new().policy("strict", strict);
    world.accepts(json!({}));
    world.rejects(json!({"cluster": "prod-us"}), Rule::SourceDenied);
    let more = json!({
        "clusters": {"names": ["prod-us"]},
        "sources": {"git": {"allow": ["https://github.com/**"]}},
    });
    let world = World::new().policy("more", more);
    let github = json!({"source": {"url": "https://github.com/x/y"}});
    world.rejects(github.clone(), Rule::SourceNotAllowed);
    let mut there = github;
    there["cluster"] = json!("prod-us");
    world.accepts(there);
}

#[test]
fn select_clusters_by_labels_too() {
    let signed = json!({
        "clusters": {"selector": {"matchLabels": {"env": "production"}}},
        "images": {"requireDigest": true},
        "sources": {"oci": {"requireDigest": true}},
    });
    let world = World::new()
        .policy("signed", signed)
        .policy("dev", json!({"destinations": [{"clusters": ["dev"], "namespaces": ["${tenant}"]}]}));
    let oci = |cluster: &str, reference| json!({"source": {"url": "oci://registry.example.com/team-a/app", "ref": reference}, "cluster": cluster});
    world.rejects(oci("prod-eu", json!({"tag": "1"})), Rule::SourceDigestRequired);
    world.accepts(oci("prod-eu", json!({"digest": SHA256})));
    world.accepts(oci("dev", json!({"tag": "1"})));
}

#[test]
fn cannot_decide_the_placement() {
    for (spec, field) in [
        (json!({"defaults": {"cluster": "prod-eu"}}), "spec.defaults.cluster"),
        (json!({"defaults": {"namespace": "${tenant}"}}), "spec.defaults.namespace"),
        (json!({"destinations": [{"clusters": ["*"], "namespaces": ["x"]}]}), "spec.destinations"),
    ] {
        let mut scoped = json!({"tenants": {"names": ["*"]}, "clusters": {"names": ["prod-*"]}});
        crate::world::merge(&mut scoped, spec);
        let invalid = compile(&policy("scoped", scoped)).unwrap_err();
        assert_eq!(
            invalid.errors().iter().map(|found| (found.rule, &*found.field)).collect::<Vec<_>>(),
            [(Rule::PolicyScope, field)]
        );
    }
}

#[test]
fn every_cluster_out_loud_is_every_cluster() {
    assert!(errors_of(json!({"clusters": {"names": ["*"]}})).is_empty());
    World::new().with(json!({"clusters": {"names": ["prod-*", "*"]}})).accepts(json!({}));
    // Beside a selector it is not.
    let some = json!({"clusters": {"names": ["*"], "selector": {"matchLabels": {"env": "production"}}}});
    assert_eq!(errors_of(some).len(), 3);
    // The names beside it are read all the same.
    policy_error(json!({"clusters": {"names": ["*", "Prod"]}}), Rule::InvalidPattern, "spec.clusters.names[1]");
}

#[test]
fn no_clusters_at_all_is_an_error() {
    policy_error(json!({"clusters": {}, "destinations": null, "defaults": null}), Rule::MissingField, "spec.clusters");
}

#[test]
fn alone_they_place_nothing() {
    let scoped = json!({"clusters": {"names": ["prod-eu"]}, "sources": {"git": {"allow": ["**"]}}});
    World::lawless().policy("scoped", scoped).rejects(json!({}), Rule::MissingCluster);
}
