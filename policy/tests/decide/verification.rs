//! Signatures.

use serde_json::{Value, json};
use sluicegate_policy::{
    Rule,
    verdict::{SecretSource, VerificationPlan},
};

use crate::world::World;

const KEYS: &str = "https://git.example.com/**";

fn keys(pattern: &str) -> Value {
    json!({"sources": {"verificationKeys": [{"match": pattern, "secretRef": {"name": "signers"}}]}})
}

fn required() -> Value {
    json!({"sources": {"requireVerification": true}})
}

fn verify(verify: Value) -> Value {
    json!({"source": {"verify": verify}})
}

#[test]
fn nobody_asks_nobody_checks() {
    assert!(World::new().accepts(json!({})).resolved().verification.is_none());
}

#[test]
fn what_a_policy_asks_for_is_checked_with_the_keys_of_policies() {
    let world = World::new().policy("signed", required()).policy("keys", keys(KEYS));
    let admitted = world.accepts(json!({}));
    let found = admitted.resolved().verification.as_ref().unwrap();
    assert_eq!(found.origin.to_string(), "FluxPolicy/signed spec.sources.requireVerification");
    assert!(
        matches!(&found.value, VerificationPlan::Git { keys: SecretSource::Platform { name, .. }, .. } if name == "signers")
    );
    World::new().policy("signed", required()).rejects(json!({}), Rule::VerificationRequired);
    let elsewhere = World::new().policy("signed", required()).policy("keys", keys("https://github.com/**"));
    elsewhere.rejects(json!({}), Rule::VerificationRequired);
}

#[test]
fn keys_that_a_team_brings_prove_nothing_where_a_policy_asks() {
    let own = verify(json!({"secretRef": {"name": "mine"}}));
    let world = World::new().with(json!({"tenantSecrets": "Allow"}));
    world.accepts(own.clone());
    let world = world.policy("signed", required()).policy("keys", keys(KEYS));
    world.rejects(own, Rule::VerificationRequired);
    let keyless = json!({
        "source": {
            "url": "oci://registry.example.com/team-a/app",
            "ref": {"tag": "1"},
            "verify": {"matchOidcIdentity": [{"issuer": "^https://me$", "subject": ".*"}]},
        },
    });
    world.rejects(keyless.clone(), Rule::VerificationRequired);
    World::new().accepts(keyless);
}

#[test]
fn what_cannot_be_verified_is_refused_where_a_policy_asks() {
    let world = World::new().policy("signed", required()).policy("keys", keys("**"));
    let bucket = json!({"source": {"kind": "Bucket", "url": "https://s3.example.com/team-a"}});
    world.rejects(bucket.clone(), Rule::VerificationRequired);
    let helm = |url: &str| json!({"source": {"kind": "Helm", "url": url}, "chart": {"name": "redis"}});
    world.rejects(helm("https://charts.example.com/stable"), Rule::VerificationRequired);
    world.accepts(helm("oci://registry.example.com/charts"));
    let mut asked = bucket;
    asked["source"]["verify"] = json!({});
    World::new().policy("keys", keys("**")).rejects(asked, Rule::InvalidVerification);
}

#[test]
fn verification_fits_its_source() {
    let world = World::new().policy("keys", keys(KEYS));
    world.accepts(verify(json!({})));
    world.accepts(verify(json!({"mode": "HEAD"})));
    let found = world.rejects(verify(json!({"provider": "cosign"})), Rule::InvalidVerification);
    assert_eq!(found.field, "spec.source.verify.provider");
    let oci = json!({"source": {
        "url": "oci://registry.example.com/team-a/app", "ref": {"tag": "1"}, "verify": {"mode": "HEAD"},
    }});
    world.rejects(oci, Rule::InvalidVerification);
    World::new().rejects(verify(json!({})), Rule::InvalidVerification);
    World::new().rejects(verify(json!({"secretRef": {"name": "mine"}})), Rule::TenantSecretNotAllowed);
}

#[test]
fn a_signed_tag_is_asked_for_where_a_tag_is_synced() {
    let world = World::new().policy("keys", keys(KEYS));
    for mode in ["Tag", "TagAndHEAD"] {
        let on = |reference: Value| json!({"source": {"ref": reference, "verify": {"mode": mode}}});
        world.accepts(on(json!({"tag": "v1"})));
        world.accepts(on(json!({"semver": "1.x"})));
        world.rejects(on(json!({"branch": "main"})), Rule::InvalidVerification);
        world.rejects(verify(json!({ "mode": mode })), Rule::InvalidVerification);
    }
}

#[test]
fn the_most_specific_keys_are_used() {
    let world = World::new().policy("keys", keys("https://git.example.com/**")).policy(
        "own",
        json!({"sources": {"verificationKeys": [
            {"match": "https://git.example.com/${tenant}/**", "secretRef": {"name": "signers-${tenant}"}},
        ]}}),
    );
    let admitted = world.accepts(verify(json!({})));
    let found = &admitted.resolved().verification.as_ref().unwrap().value;
    assert!(
        matches!(found, VerificationPlan::Git { keys: SecretSource::Platform { name, .. }, .. } if name == "signers-team-a")
    );
}
