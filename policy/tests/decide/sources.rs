//! Sources against the allow and deny lists of their kind.

use serde_json::{Value, json};
use sluicegate_crds::SourceKind;
use sluicegate_policy::Rule;

use crate::world::World;

fn url(url: &str) -> Value {
    json!({"source": {"url": url}})
}

fn of(kind: &str, url: &str) -> Value {
    json!({"source": {"url": url, "kind": kind}})
}

#[test]
fn accepts_what_an_entry_matches_and_hands_it_on_byte_for_byte() {
    let world = World::new();
    for text in [
        "https://git.example.com/team-a/shop.git",
        "https://git.example.com/team-a/shop",
        "https://git.example.com:443/team-a/group/shop",
        "ssh://git@git.example.com/team-a/shop.git",
        "https://git.example.com/team-a/Shop",
    ] {
        let admitted = world.accepts(url(text));
        assert_eq!(&*admitted.resolved().url, text);
        assert_eq!(admitted.resolved().terms.kind.value, SourceKind::Git);
    }
}

#[test]
fn rejects_what_no_entry_matches() {
    let world = World::new();
    for text in [
        "https://git.example.com/team-b/shop.git",
        "https://git.example.com/team-a",
        "https://git.example.com/Team-A/shop",
        "https://git.example.com.evil.example/team-a/shop",
        "https://evil.example/team-a/shop",
        "https://git.example.com:8443/team-a/shop",
        "ssh://root@git.example.com/team-a/shop",
        "https://git.example.com/team-a-b/shop",
        "https://s3.example.com/team-a",
    ] {
        let found = world.rejects(url(text), Rule::SourceNotAllowed);
        assert_eq!(found.field, "spec.source.url");
        assert!(found.allowed.iter().any(|allowed| allowed == "https://git.example.com/team-a/**"), "{found:?}");
    }
}

#[test]
fn rejects_what_is_not_canonical_before_anything_matches() {
    let world = World::new().policy("any", json!({"sources": {"git": {"allow": ["**"]}}}));
    for text in [
        "https://token@git.example.com/team-a/shop",
        "https://git.example.com/team-a/../team-b/shop",
        "https://git.example.com/team-a//shop",
        "https://git.example.com/team-a/shop/",
        "https://git.example.com/team-a/shop?ref=x",
        "https://git.example.com/team-a/%2e%2e/shop",
        "https://git.example.com/team-a/shop\\..",
        "https://GIT.example.com/team-a/shop",
        "git@git.example.com:team-a/shop.git",
        "file:///etc/passwd",
        "https://0x7f.1/team-a/shop",
        "",
    ] {
        assert_eq!(world.rejects(url(text), Rule::InvalidUrl).value.as_deref(), Some(text));
    }
    let found = world.rejects(url("git@git.example.com:team-a/shop.git"), Rule::InvalidUrl);
    assert_eq!(found.suggestion.as_deref(), Some("ssh://git@git.example.com/team-a/shop.git"));
}

#[test]
fn a_deny_wins_over_every_allow_of_every_policy() {
    let world = World::new().policy("any", json!({"priority": 900, "sources": {"git": {"allow": ["**"]}}}));
    let found = world.rejects(url("https://git.example.com/team-a/attic/shop"), Rule::SourceDenied);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/teams spec.sources.git.deny[0]");
    world.rejects(url("https://git.example.com/team-a/attic/shop.git"), Rule::SourceDenied);
    world.accepts(url("https://git.example.com/team-a/attic"));
    world.accepts(url("https://elsewhere.example/attic/x/y"));
}

#[test]
fn allow_lists_are_united() {
    let github = json!({"sources": {"git": {"allow": ["https://github.com/${tenant}/*"]}}});
    let world = World::new().policy("github", github);
    let admitted = world.accepts(url("https://github.com/team-a/shop"));
    assert_eq!(admitted.resolved().source_allowed_by.to_string(), "FluxPolicy/github spec.sources.git.allow[0]");
    world.accepts(json!({}));
    world.rejects(url("https://github.com/team-a/group/shop"), Rule::SourceNotAllowed);
}

#[test]
fn an_empty_list_allows_nothing_and_two_stars_anything_but_plain_http() {
    let world = World::new().with(json!({"sources": {"git": {"allow": []}}}));
    assert!(world.rejects(json!({}), Rule::SourceNotAllowed).allowed.is_empty());
    let world = World::new().with(json!({"sources": {"git": {"allow": ["**"]}}}));
    world.accepts(url("https://anywhere.example/x"));
    let found = world.rejects(url("http://anywhere.example/x"), Rule::SourceNotAllowed);
    assert_eq!(found.suggestion.as_deref(), Some("https://anywhere.example/x"));
    let world = World::new().with(json!({"sources": {"git": {"allow": ["http://git.example.com/**"]}}}));
    world.accepts(url("http://git.example.com/x"));
    world.rejects(url("https://git.example.com/x"), Rule::SourceNotAllowed);
}

#[test]
fn each_kind_has_its_own_lists() {
    let world = World::new();
    let tag = json!({"tag": "1.0.0"});
    let artifact = "oci://registry.example.com/team-a/app";
    world.accepts(json!({"source": {"url": artifact, "ref": tag}}));
    world.accepts(of("Bucket", "https://s3.example.com/team-a"));
    world.rejects(of("Bucket", "https://git.example.com/team-a"), Rule::SourceNotAllowed);
    let charts = json!({"source": {"url": "oci://registry.example.com/charts", "ref": tag}});
    world.rejects(charts, Rule::SourceNotAllowed);
}

#[test]
fn kind_and_scheme_go_together() {
    let world = World::new();
    for (kind, text) in [
        ("Git", "oci://registry.example.com/team-a/app"),
        ("OCI", "https://git.example.com/team-a/shop"),
        ("Bucket", "oci://registry.example.com/team-a"),
        ("Bucket", "https://s3.example.com/team-a/folder"),
        ("Bucket", "https://s3.example.com"),
    ] {
        assert_eq!(world.rejects(of(kind, text), Rule::SourceKindMismatch).field, "spec.source.url", "{kind} {text}");
    }
    let helm = json!({"source": {"url": "ssh://git@git.example.com/x", "kind": "Helm"}, "chart": {"name": "redis"}});
    world.rejects(helm, Rule::SourceKindMismatch);
}

#[test]
fn only_git_servers_take_a_name_with_and_without_git_for_the_same() {
    let world = World::new();
    world.rejects(of("Bucket", "https://s3.example.com/team-a.git"), Rule::SourceKindMismatch);
    world.rejects(url("oci://registry.example.com/team-a/app.git"), Rule::SourceKindMismatch);
    let helm =
        json!({"source": {"url": "https://charts.example.com/stable.git", "kind": "Helm"}, "chart": {"name": "redis"}});
    world.rejects(helm, Rule::SourceKindMismatch);
}

#[test]
fn placeholders_stand_for_the_place_that_was_decided() {
    let by_place = json!({"sources": {"git": {"allow": ["https://git.example.com/${cluster}/${namespace}/*"]}}});
    let world = World::new().with(by_place);
    world.accepts(url("https://git.example.com/prod-eu/team-a/shop"));
    world.rejects(url("https://git.example.com/prod-us/team-a/shop"), Rule::SourceNotAllowed);
    let moved = json!({
        "source": {"url": "https://git.example.com/prod-us/team-a-x/shop"}, "cluster": "prod-us", "namespace": "team-a-x",
    });
    world.accepts(moved);
}
