//! Credentials: the most specific match, never a URL that the match is not for, and never where a team could read them.

use serde_json::{Value, json};
use sluicegate_policy::{Rule, verdict::SecretSource};

use crate::world::World;

fn credential(pattern: &str, name: &str) -> Value {
    json!({"match": pattern, "secretRef": {"name": name}})
}

fn secret(world: &World, patch: Value) -> Option<String> {
    let admitted = world.accepts(patch);
    admitted.resolved().credentials.as_ref().map(|field| match &field.value {
        SecretSource::Platform { name, .. } | SecretSource::Tenant { name, .. } => name.clone(),
    })
}

#[test]
fn the_most_specific_match_wins_whatever_priority_and_order_say() {
    let world = World::new()
        .policy("team", json!({"priority": -5, "credentials": [credential("https://git.example.com/${tenant}/**", "of-${tenant}")]}))
        .policy("loud", json!({"priority": 1000, "credentials": [credential("**", "everything")]}));
    assert_eq!(secret(&world, json!({})).as_deref(), Some("of-team-a"));
    let ssh = json!({"source": {"url": "ssh://git@git.example.com/team-a/shop.git"}});
    assert_eq!(secret(&world, ssh).as_deref(), Some("everything"));
}

#[test]
fn no_match_is_anonymous() {
    let world = World::new();
    assert_eq!(secret(&world, json!({})).as_deref(), Some("git-example-com"));
    assert_eq!(secret(&world, json!({"source": {"url": "ssh://git@git.example.com/team-a/shop.git"}})), None);
}

#[test]
fn never_over_plain_http_unless_the_entry_says_so() {
    let world = World::new()
        .with(json!({"sources": {"git": {"allow": ["http://git.example.com/**"]}}}))
        .policy("any", json!({"credentials": [credential("**", "everything")]}));
    assert_eq!(secret(&world, json!({"source": {"url": "http://git.example.com/x"}})), None);
}

#[test]
fn a_tie_between_different_secrets_is_an_error() {
    let same = json!({"credentials": [credential("https://git.example.com/**", "git-example-com")]});
    assert_eq!(secret(&World::new().policy("same", same), json!({})).as_deref(), Some("git-example-com"));
    let other = json!({"priority": 7, "credentials": [credential("https://git.example.com/**", "other")]});
    let found = World::new().policy("other", other).rejects(json!({}), Rule::CredentialConflict);
    assert_eq!(found.decided_by.len(), 2);
    // A tie among the less specific is of no importance.
    let world = World::new()
        .policy("a", json!({"credentials": [credential("**", "a")]}))
        .policy("b", json!({"credentials": [credential("**", "b")]}));
    assert_eq!(secret(&world, json!({})).as_deref(), Some("git-example-com"));
}

#[test]
fn teams_bring_secrets_where_some_policy_allows_it_and_none_denies() {
    let own = json!({"source": {"secretRef": {"name": "mine"}}});
    World::new().rejects(own.clone(), Rule::TenantSecretNotAllowed);
    let allowed = World::new().policy("open", json!({"tenantSecrets": "Allow"}));
    assert!(matches!(
        &allowed.accepts(own.clone()).resolved().credentials.as_ref().unwrap().value,
        SecretSource::Tenant { name, .. } if name == "mine"
    ));
    allowed.rejects(json!({"source": {"secretRef": {"name": "../mine"}}}), Rule::InvalidName);
    let found = allowed
        .policy("closed", json!({"priority": -1, "tenantSecrets": "Deny"}))
        .rejects(own, Rule::TenantSecretNotAllowed);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/closed spec.tenantSecrets");
}

#[test]
fn is_not_copied_to_where_the_team_reads_it_unless_exposed() {
    let beside = json!({"agent": {"placement": "Namespace"}});
    let found = World::new().policy("agents", beside.clone()).rejects(json!({}), Rule::CredentialNotExposed);
    assert!(found.message.contains("git-example-com"));
    for placement in ["Isolated", "Pooled"] {
        World::new().policy("agents", json!({"agent": {"placement": placement}})).accepts(json!({}));
    }
    let exposed = json!({"credentials": [
        {"match": "https://git.example.com/**", "secretRef": {"name": "git-example-com"}, "expose": true},
    ]});
    World::new().with(exposed).policy("agents", beside.clone()).accepts(json!({}));
    let own = json!({"source": {"secretRef": {"name": "mine"}}});
    World::new().with(json!({"tenantSecrets": "Allow"})).policy("agents", beside).accepts(own);
}
