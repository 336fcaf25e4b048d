//! Features: on where some policy turns them on and none turns them off. What they need beside that.

use serde_json::{Value, json};
use sluicegate_policy::{Rule, verdict::SecretSource};

use crate::world::World;

fn on(feature: &str) -> World {
    World::new().policy("on", json!({"features": {feature: true}}))
}

fn decryption(name: &str) -> Value {
    json!({"defaults": {"decryption": {"provider": "sops", "secretRef": {"name": name}}}})
}

fn update(change: Value) -> Value {
    let mut image = json!({
        "name": "shop", "image": "registry.example.com/team-a/shop", "policy": {"semver": {"range": "1.x"}},
    });
    crate::world::merge(&mut image, change);
    json!({"imageUpdates": {"images": [image]}})
}

#[test]
fn off_wins_whatever_the_priority() {
    let cases = [
        ("imageUpdates", update(json!({})), "spec.imageUpdates"),
        ("decryption", json!({"decryption": {"provider": "sops"}}), "spec.decryption"),
    ];
    for (feature, patch, field) in cases {
        let with = |world: World| world.policy("keys", decryption("sops-${tenant}"));
        let found = with(World::new()).rejects(patch.clone(), Rule::FeatureOff);
        assert_eq!((found.field.as_ref(), found.decided_by.len()), (field, 0));
        with(on(feature)).accepts(patch.clone());
        let off = with(on(feature)).policy("off", json!({"priority": -9, "features": {feature: false}}));
        let found = off.rejects(patch, Rule::FeatureOff);
        assert_eq!(found.decided_by[0].to_string(), format!("FluxPolicy/off spec.features.{feature}"));
    }
}

#[test]
fn remote_bases_are_off_unless_on() {
    assert!(!World::new().accepts(json!({})).resolved().terms.standing.remote_bases);
    assert!(on("remoteBases").accepts(json!({})).resolved().terms.standing.remote_bases);
    let off = on("remoteBases").policy("off", json!({"features": {"remoteBases": false}}));
    assert!(!off.accepts(json!({})).resolved().terms.standing.remote_bases);
}

#[test]
fn decryption_needs_a_key() {
    let wanted = json!({"decryption": {"provider": "sops"}});
    on("decryption").rejects(wanted.clone(), Rule::MissingDecryptionKey);
    let world = on("decryption").policy("keys", decryption("sops-${tenant}"));
    let key = |patch: Value| match world.accepts(patch).resolved().decryption.clone() {
        Some(field) => match &field.value.keys {
            SecretSource::Platform { name, .. } | SecretSource::Tenant { name, .. } => Some(name.clone()),
        },
        None => None,
    };
    assert_eq!(key(wanted).as_deref(), Some("sops-team-a"));
    assert_eq!(key(json!({})).as_deref(), Some("sops-team-a"));
    // Where the feature is off nobody has to take the offer.
    let off = World::new().policy("keys", decryption("sops"));
    assert!(off.accepts(json!({})).resolved().decryption.is_none());
}

#[test]
fn a_team_brings_a_key_where_it_may() {
    let own = json!({"decryption": {"provider": "sops", "secretRef": {"name": "mine"}}});
    on("decryption").rejects(own.clone(), Rule::TenantSecretNotAllowed);
    World::new().with(json!({"tenantSecrets": "Allow"})).rejects(own.clone(), Rule::FeatureOff);
    on("decryption").policy("open", json!({"tenantSecrets": "Allow"})).accepts(own);
}

#[test]
fn a_key_of_several_teams_is_not_copied_to_where_one_could_read_it() {
    let beside = json!({"agent": {"placement": "Namespace"}, "credentials": []});
    let world = |key: &str| {
        World::new()
            .with(json!({"credentials": []}))
            .policy("on", json!({"features": {"decryption": true}}))
            .policy("agents", beside.clone())
            .policy("keys", decryption(key))
    };
    assert_eq!(world("sops").rejects(json!({}), Rule::CredentialNotExposed).field, "spec.decryption");
    world("sops-${tenant}").accepts(json!({}));
}

#[test]
fn image_updates_watch_images_that_are_allowed() {
    let world = on("imageUpdates");
    world.accepts(update(json!({})));
    world.rejects(update(json!({"image": "registry.example.com/team-b/shop"})), Rule::ImageNotAllowed);
    world.rejects(update(json!({"image": "docker.io/library/alpine"})), Rule::ImageDenied);
    world.rejects(update(json!({"image": "registry.example.com/team-a/shop:1.0.0"})), Rule::InvalidImage);
    world.rejects(update(json!({"image": "not an image"})), Rule::InvalidImage);
    world.rejects(update(json!({"name": "Shop"})), Rule::InvalidName);
    world.rejects(update(json!({"policy": {"numerical": {"order": "asc"}}})), Rule::InvalidValue);
    world.rejects(update(json!({"policy": {"semver": null}})), Rule::InvalidValue);
    world.rejects(update(json!({"policy": {"semver": {"range": "new"}}})), Rule::InvalidRef);
    world.rejects(json!({"imageUpdates": {"images": []}}), Rule::MissingField);
    let mut twice = update(json!({}));
    let again = twice["imageUpdates"]["images"][0].clone();
    twice["imageUpdates"]["images"].as_array_mut().unwrap().push(again);
    assert_eq!(world.rejects(twice, Rule::InvalidValue).field, "spec.imageUpdates.images[1].name");
}

#[test]
fn image_updates_have_a_branch_and_a_folder() {
    let world = on("imageUpdates");
    let with = |change: Value| {
        let mut patch = update(json!({}));
        crate::world::merge(&mut patch, change);
        patch
    };
    world.accepts(with(json!({"imageUpdates": {"branch": "updates", "path": "./deploy"}})));
    world.rejects(with(json!({"imageUpdates": {"branch": "../x"}})), Rule::InvalidRef);
    world.rejects(with(json!({"imageUpdates": {"path": "../x"}})), Rule::InvalidPath);
    world.rejects(with(json!({"source": {"ref": {"tag": "v1"}}})), Rule::InvalidRef);
    world.accepts(with(json!({"source": {"ref": {"tag": "v1"}}, "imageUpdates": {"branch": "main"}})));
    let artifact = json!({"source": {"url": "oci://registry.example.com/team-a/app", "ref": {"tag": "1"}}});
    world.rejects(with(artifact), Rule::SourceKindMismatch);
}

#[test]
fn channels_are_those_that_policy_offers() {
    let world = World::new();
    let admitted = world.accepts(json!({"notify": [{"channel": "ops", "severity": "info"}]}));
    assert_eq!(admitted.resolved().terms.notify[0].channel.name, "ops");
    let found = world.rejects(json!({"notify": [{"channel": "opps"}]}), Rule::UnknownChannel);
    assert_eq!((found.field.as_ref(), found.suggestion.as_deref()), ("spec.notify[0].channel", Some("ops")));
}

#[test]
fn substituted_names_are_variable_names() {
    let world = World::new();
    world.accepts(json!({"substitute": {"replicas": "3", "_x9": ""}}));
    for name in ["", "9x", "a-b", "a b", "${x}", "ä"] {
        world.rejects(json!({"substitute": {name: "1"}}), Rule::InvalidSubstitution);
    }
}

#[test]
fn charts_have_neither_decryption_nor_substitution() {
    let world = on("helm")
        .policy("keys", decryption("sops-${tenant}"))
        .policy("sops", json!({"features": {"decryption": true}}));
    let chart = |patch: Value| {
        let mut spec = json!({"chart": {}, "path": "./charts/shop"});
        crate::world::merge(&mut spec, patch);
        spec
    };
    assert_eq!(world.accepts(chart(json!({}))).resolved().decryption, None);
    let found = world.rejects(chart(json!({"decryption": {"provider": "sops"}})), Rule::SourceKindMismatch);
    assert_eq!(found.field, "spec.decryption");
    let found = world.rejects(chart(json!({"substitute": {"a": "b"}})), Rule::SourceKindMismatch);
    assert_eq!(found.field, "spec.substitute");
}
