//! Where a FluxConfig goes, and whether its tenant may deploy there.

use serde_json::json;
use sluicegate_policy::{Origin, Rule, Verdict};

use crate::world::{World, config};

#[test]
fn fills_cluster_and_namespace_from_the_defaults() {
    let admitted = World::new().accepts(json!({}));
    let resolved = admitted.resolved();
    assert_eq!((resolved.cluster.value.as_str(), resolved.namespace.value.as_str()), ("prod-eu", "team-a"));
    assert_eq!(resolved.cluster.origin.to_string(), "FluxPolicy/teams spec.defaults.cluster");
    assert!(resolved.terms.create_namespace.value);
}

#[test]
fn a_team_chooses_among_its_destinations() {
    let world = World::new();
    let admitted = world.accepts(json!({"cluster": "prod-us", "namespace": "team-a-staging"}));
    assert_eq!(admitted.resolved().cluster.origin, Origin::FluxConfig);
    let found = world.rejects(json!({"cluster": "dev"}), Rule::DestinationNotAllowed);
    assert_eq!(found.field, "spec.cluster");
    assert_eq!(found.allowed, ["namespace team-a on prod-*", "namespace team-a-* on prod-*"]);
    for namespace in ["team-b", "team-ab", "team", "default", "team-a-"] {
        let rule = if namespace.ends_with('-') { Rule::InvalidName } else { Rule::DestinationNotAllowed };
        assert_eq!(world.rejects(json!({ "namespace": namespace }), rule).field, "spec.namespace");
    }
}

#[test]
fn rejects_a_cluster_that_does_not_exist_and_offers_only_those_that_the_tenant_may_use() {
    let found = World::new().rejects(json!({"cluster": "prod-eux"}), Rule::UnknownCluster);
    assert_eq!(found.suggestion.as_deref(), Some("prod-eu"));
    assert_eq!(found.allowed, ["prod-eu", "prod-us"]);
    let found = World::new().with(json!({"defaults": {"cluster": "gone"}})).rejects(json!({}), Rule::UnknownCluster);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/teams spec.defaults.cluster");
}

#[test]
fn rejects_what_neither_the_team_nor_a_policy_places() {
    let world = World::new().with(json!({"defaults": {"cluster": null}}));
    assert_eq!(world.rejects(json!({}), Rule::MissingCluster).allowed, ["prod-eu", "prod-us"]);
    world.accepts(json!({"cluster": "prod-us"}));
    let world = World::new().with(json!({"defaults": {"namespace": null}}));
    world.rejects(json!({}), Rule::MissingNamespace);
    world.accepts(json!({"namespace": "team-a"}));
}

#[test]
fn no_destination_is_no_destination() {
    let world = World::new().with(json!({"destinations": null}));
    let found = world.rejects(json!({}), Rule::DestinationNotAllowed);
    assert!(found.allowed.is_empty());
    world.rejects(json!({"cluster": "prod-eu", "namespace": "team-a"}), Rule::DestinationNotAllowed);
}

#[test]
fn reserved_namespaces_are_reached_only_by_their_full_name() {
    let world = World::new().policy("any", json!({"destinations": [{"clusters": ["*"], "namespaces": ["*"]}]}));
    world.accepts(json!({"namespace": "anything"}));
    for namespace in
        ["kube-system", "kube-public", "flux-system", "sluicegate", "sluicegate-team-b", "sluicegate-system"]
    {
        let found = world.rejects(json!({ "namespace": namespace }), Rule::ReservedNamespace);
        assert_eq!(found.field, "spec.namespace");
    }
    // A placeholder is no name in full either: a tenant called like the platform is not the platform.
    let world =
        World::new().policy("self", json!({"destinations": [{"clusters": ["*"], "namespaces": ["${tenant}"]}]}));
    let found =
        world.policy("more", json!({"sources": {"git": {"allow": ["**"]}}, "defaults": {"cluster": "prod-eu"}}));
    found.rejects_in("kube-system", json!({"namespace": "kube-system"}), Rule::ReservedNamespace);
    let spelled = json!({"destinations": [{"clusters": ["prod-eu"], "namespaces": ["kube-system"]}]});
    let world = World::new().policy("platform", spelled);
    world.accepts(json!({"namespace": "kube-system"}));
    world.rejects(json!({"namespace": "kube-system", "cluster": "prod-us"}), Rule::DestinationNotAllowed);
}

#[test]
fn a_namespace_is_created_only_where_a_matching_destination_says_so() {
    let world = World::new().with(json!({"destinations": [
        {"clusters": ["prod-*"], "namespaces": ["${tenant}"]},
        {"clusters": ["prod-us"], "namespaces": ["*"], "createNamespace": true},
        {"clusters": ["prod-eu"], "namespaces": ["other"], "createNamespace": true},
    ]}));
    assert!(!world.accepts(json!({})).resolved().terms.create_namespace.value);
    assert!(world.accepts(json!({"cluster": "prod-us"})).resolved().terms.create_namespace.value);
}

#[test]
fn destinations_select_clusters_by_labels_beside_names() {
    let world = World::new().with(json!({"destinations": [
        {"clusterSelector": {"matchLabels": {"env": "development"}}, "namespaces": ["${tenant}"]},
        {
            "clusters": ["*-eu"],
            "clusterSelector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["production"]}]},
            "namespaces": ["${tenant}-${cluster}"],
        },
    ]}));
    world.accepts(json!({"cluster": "dev"}));
    world.accepts(json!({"namespace": "team-a-prod-eu"}));
    let found =
        world.rejects(json!({"cluster": "prod-us", "namespace": "team-a-prod-us"}), Rule::DestinationNotAllowed);
    assert_eq!(
        found.allowed,
        [
            "namespace team-a on clusters selected by labels",
            "namespace team-a-prod-us on *-eu (and selected by labels)"
        ]
    );
}

#[test]
fn the_tenant_is_what_the_label_of_the_namespace_says() {
    let world = World::new().namespace("home-7", &[("sluicegate.dev/tenant", "team-a")]);
    let url = json!({"source": {"url": "https://git.example.com/team-a/shop.git"}});
    assert_eq!(world.accepts_in("home-7", url.clone()).resolved().tenant.as_str(), "team-a");
    // A namespace called team-a that belongs to another tenant gets nothing by its name.
    let world = World::new().namespace("team-a", &[("sluicegate.dev/tenant", "team-b")]);
    world.rejects_in("team-a", json!({"namespace": "team-b"}), Rule::SourceNotAllowed);
    world.rejects_in("team-a", json!({"namespace": "team-a"}), Rule::DestinationNotAllowed);
    let world = World::new().namespace("team-a", &[("sluicegate.dev/tenant", "Team A")]);
    assert!(world.rejects(json!({}), Rule::InvalidName).message.contains("sluicegate.dev/tenant"));
}

#[test]
fn rejects_names_that_are_no_labels() {
    let world = World::new();
    for home in ["", "Team-A", "team_a", "-team-a", "team-a.example", "../team-a"] {
        let patch = json!({"source": {"url": "https://git.example.com/team-a/shop.git"}});
        assert_eq!(world.rejects_in(home, patch, Rule::InvalidName).field, "metadata.namespace", "{home:?}");
    }
    for name in ["", "Shop", "shop.eu", "shop/../x", &"x".repeat(64)] {
        let verdict = world.verdict(&config("team-a", name, json!({})));
        let [found] = verdict.violations() else { panic!("{verdict:?}") };
        assert_eq!((found.rule, &*found.field), (Rule::InvalidName, "metadata.name"));
    }
    for cluster in ["prod-eu/../x", "PROD-EU", ""] {
        world.rejects(json!({ "cluster": cluster }), Rule::UnknownCluster);
    }
}

#[test]
fn no_policy_no_tenant() {
    World::lawless().rejects(json!({}), Rule::NoPolicy);
    World::new().rejects_in("other", json!({}), Rule::NoPolicy);
}

#[test]
fn an_unknown_label_leaves_the_verdict_open_and_never_admits() {
    let gold = json!({"tenants": {"names": ["team-*"], "selector": {"matchLabels": {"plan": "gold"}}}});
    let world = World::new().policy("gold", gold).files_only();
    let verdict = world.verdict(&config("team-a", "shop", json!({})));
    assert!(matches!(&verdict, Verdict::Undetermined(found) if found[0].rule == Rule::UndeterminedSelector));
    let world = world.namespace("team-a", &[("plan", "gold")]);
    world.accepts(json!({}));
    world.namespace("team-a", &[]).accepts(json!({}));
}

#[test]
fn says_what_is_wrong_with_the_url_though_the_place_is_wrong_too() {
    let patch = json!({"cluster": "nowhere", "source": {"url": "https://user@git.example.com/x"}});
    let verdict = World::new().verdict(&config("team-a", "shop", patch));
    let rules: Vec<Rule> = verdict.violations().iter().map(|violation| violation.rule).collect();
    assert_eq!(rules, [Rule::UnknownCluster, Rule::InvalidUrl]);
}
