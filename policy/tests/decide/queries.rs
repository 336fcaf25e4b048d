//! Questions about a tenant: `can TENANT …`.

use serde_json::json;
use sluicegate_policy::{Answer, Question, Rule, ask, grammar::TenantName};

use crate::world::{World, assert_readable};

fn answers(world: &World, question: Question<'_>, cluster: Option<&str>, namespace: Option<&str>) -> Vec<String> {
    let tenant = TenantName::new("team-a").unwrap();
    ask(question, &tenant, "team-a", cluster, namespace, &world.set(), &world.facts)
        .into_iter()
        .map(|(cluster, answer)| match answer {
            Answer::Yes(field) => format!("{cluster}: yes, {field}"),
            Answer::No(violation) => {
                assert_readable(&violation);
                format!("{cluster}: no, {}", violation.rule)
            }
            Answer::Unknown(violation) => {
                assert_readable(&violation);
                format!("{cluster}: unknown, {}", violation.rule)
            }
        })
        .collect()
}

fn sync(url: &str) -> Question<'_> {
    Question::Sync { url, kind: None }
}

const SHOP: &str = "https://git.example.com/team-a/shop";

#[test]
fn without_a_cluster_each_that_the_tenant_may_use_is_asked() {
    let allowed = "yes, FluxPolicy/teams spec.sources.git.allow[0]";
    let world = World::new();
    assert_eq!(answers(&world, sync(SHOP), None, None), [format!("prod-eu: {allowed}"), format!("prod-us: {allowed}")]);
    let strict = json!({"clusters": {"names": ["prod-us"]}, "sources": {"git": {"deny": ["**"]}}});
    let world = world.policy("strict", strict);
    assert_eq!(
        answers(&world, sync(SHOP), None, None),
        [format!("prod-eu: {allowed}"), "prod-us: no, source-denied".to_owned()]
    );
}

#[test]
fn where_a_tenant_may_not_deploy_the_answer_is_no() {
    let world = World::new();
    let pull = Question::Pull { image: "nginx:1", narrowing: &[] };
    for question in [sync(SHOP), pull, Question::DeployTo { namespace: "team-a" }] {
        assert_eq!(answers(&world, question, Some("dev"), None), ["dev: no, destination-not-allowed"]);
        assert_eq!(answers(&world, question, Some("gone"), None), ["gone: no, unknown-cluster"]);
    }
    for question in [sync(SHOP), pull] {
        assert_eq!(
            answers(&world, question, Some("prod-eu"), Some("team-b")),
            ["prod-eu: no, destination-not-allowed"]
        );
        assert_eq!(answers(&world, question, Some("prod-eu"), Some("Team")), ["prod-eu: no, invalid-name"]);
        assert!(answers(&world, question, Some("prod-eu"), Some("team-a-x"))[0].contains("yes"));
    }
    assert!(answers(&World::new().with(json!({"destinations": null})), sync(SHOP), None, None).is_empty());
}

#[test]
fn the_namespace_stands_for_its_placeholder() {
    let world = World::new().with(json!({"sources": {"git": {"allow": ["https://git.example.com/${namespace}/*"]}}}));
    assert!(answers(&world, sync(SHOP), Some("prod-eu"), None)[0].contains("yes"));
    assert!(answers(&world, sync(SHOP), Some("prod-eu"), Some("team-a-x"))[0].contains("no, source-not-allowed"));
    // Neither said nor in a default: nothing stands for it.
    let world = World::new().with(json!({
        "sources": {"git": {"allow": ["https://git.example.com/${namespace}/*"]}}, "defaults": {"namespace": null},
    }));
    assert_eq!(answers(&world, sync(SHOP), Some("prod-eu"), None), ["prod-eu: no, source-not-allowed"]);
}

#[test]
fn deploy_to_knows_reserved_namespaces() {
    let world = World::new().policy("any", json!({"destinations": [{"clusters": ["*"], "namespaces": ["*"]}]}));
    for (namespace, found) in [
        ("team-a", "yes, FluxPolicy/any spec.destinations[0]"),
        ("anything", "yes, FluxPolicy/any spec.destinations[0]"),
        ("kube-system", "no, reserved-namespace"),
        ("Nope", "no, invalid-name"),
    ] {
        let question = Question::DeployTo { namespace };
        assert_eq!(answers(&world, question, Some("prod-eu"), None), [format!("prod-eu: {found}")]);
    }
}

#[test]
fn bad_texts_are_a_no() {
    let world = World::new();
    assert_eq!(answers(&world, sync("ftp://x"), Some("prod-eu"), None), ["prod-eu: no, invalid-url"]);
    let pull = Question::Pull { image: "NGINX", narrowing: &[] };
    assert_eq!(answers(&world, pull, Some("prod-eu"), None), ["prod-eu: no, invalid-image"]);
}

#[test]
fn unknown_labels_and_broken_policies_are_no_yes() {
    let gold = json!({"tenants": {"selector": {"matchLabels": {"plan": "gold"}}}});
    let world = World::new().policy("gold", gold).files_only();
    assert_eq!(answers(&world, sync(SHOP), None, None), ["*: unknown, undetermined-selector"]);
    let world = World::new().policy("broken", json!({"role": ""}));
    assert_eq!(answers(&world, sync(SHOP), None, None), ["*: no, invalid-policy"]);
    assert_eq!(answers(&World::lawless(), sync(SHOP), None, None), ["*: no, no-policy"]);
}

#[test]
fn the_same_url_and_place_get_the_same_answer_as_a_fluxconfig() {
    let world = World::new();
    assert!(answers(&world, sync(SHOP), Some("prod-eu"), Some("team-a"))[0].contains("yes"));
    world.accepts(json!({"source": {"url": SHOP}}));
    let other = "https://git.example.com/team-b/shop";
    assert!(answers(&world, sync(other), Some("prod-eu"), Some("team-a"))[0].contains("no"));
    world.rejects(json!({"source": {"url": other}}), Rule::SourceNotAllowed);
}
