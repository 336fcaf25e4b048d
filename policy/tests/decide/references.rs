//! What of a source is synced, and from which folder.

use serde_json::{Value, json};
use sluicegate_policy::{Origin, Rule};

use crate::world::{SHA256, World};

const COMMIT: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

fn reference(reference: Value) -> Value {
    json!({"source": {"ref": reference}})
}

fn artifact(reference: Value) -> Value {
    json!({"source": {"url": "oci://registry.example.com/team-a/app", "ref": reference}})
}

#[test]
fn a_reference_is_one_of_those_that_its_kind_knows() {
    let world = World::new();
    for found in [json!({"branch": "main"}), json!({"tag": "v1"}), json!({"semver": "1.x"}), json!({"commit": COMMIT})]
    {
        world.accepts(reference(found));
    }
    for found in [json!({"tag": "1.0.0"}), json!({"semver": ">=1.0.0"}), json!({"digest": SHA256})] {
        world.accepts(artifact(found));
    }
    world.rejects(reference(json!({"digest": SHA256})), Rule::InvalidRef);
    assert_eq!(
        world.rejects(artifact(json!({"branch": "main"})), Rule::InvalidRef).allowed,
        ["tag", "semver", "digest"]
    );
    let bucket = json!({"source": {"kind": "Bucket", "url": "https://s3.example.com/team-a", "ref": {"tag": "1"}}});
    world.rejects(bucket, Rule::InvalidRef);
}

#[test]
fn rejects_none_two_and_malformed_ones() {
    let world = World::new();
    for (found, field) in [
        (json!({}), "spec.source.ref"),
        (json!({"branch": "main", "tag": "v1"}), "spec.source.ref"),
        (json!({"branch": "-main"}), "spec.source.ref.branch"),
        (json!({"branch": "a..b"}), "spec.source.ref.branch"),
        (json!({"branch": ""}), "spec.source.ref.branch"),
        (json!({"tag": "v 1"}), "spec.source.ref.tag"),
        (json!({"semver": "latest!"}), "spec.source.ref.semver"),
        (json!({"commit": "da39a3e"}), "spec.source.ref.commit"),
    ] {
        assert_eq!(world.rejects(reference(found.clone()), Rule::InvalidRef).field, field, "{found}");
    }
    world.rejects(artifact(json!({"digest": "sha256:abc"})), Rule::InvalidRef);
}

#[test]
fn the_default_is_for_the_kinds_that_know_it() {
    let world = World::new();
    let admitted = world.accepts(json!({}));
    let found = admitted.resolved().reference.as_ref().unwrap();
    assert_eq!(found.value.branch.as_deref(), Some("main"));
    assert_eq!(found.origin.to_string(), "FluxPolicy/teams spec.defaults.ref");
    // A branch is nothing for an OCI artifact.
    world.rejects(json!({"source": {"url": "oci://registry.example.com/team-a/app"}}), Rule::MissingRef);
    // Beside it, of the same priority, a default for artifacts.
    let both = World::new().policy("artifacts", json!({"defaults": {"ref": {"digest": SHA256}}}));
    both.accepts(json!({"source": {"url": "oci://registry.example.com/team-a/app"}}));
    assert!(both.set().conflicts(&both.facts).is_empty());
    let without = World::new().with(json!({"defaults": {"ref": null}}));
    without.rejects(json!({}), Rule::MissingRef);
}

#[test]
fn artifacts_have_digests_where_any_policy_asks() {
    let world = World::new().policy("strict", json!({"sources": {"oci": {"requireDigest": true}}}));
    let found = world.rejects(artifact(json!({"tag": "1.0.0"})), Rule::SourceDigestRequired);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/strict spec.sources.oci.requireDigest");
    world.accepts(artifact(json!({"digest": SHA256})));
    world.accepts(json!({}));
}

#[test]
fn the_path_stays_inside_the_source() {
    let world = World::new();
    for path in ["./", "deploy", "./deploy/prod"] {
        assert_eq!(&*world.accepts(json!({ "path": path })).resolved().path.as_ref().unwrap().value, path);
    }
    for path in ["", "/etc", "..", "./../x", "a/../../b", "a//b", "a/", "~/x", "a\\b", "a\u{202e}b"] {
        assert_eq!(world.rejects(json!({ "path": path }), Rule::InvalidPath).field, "spec.path", "{path:?}");
    }
    assert_eq!(world.accepts(json!({})).resolved().path.as_ref().unwrap().origin, Origin::BuiltIn);
}

#[test]
fn the_default_path_is_filled_in() {
    let world = World::new().with(json!({"defaults": {"path": "./clusters/${cluster}/${namespace}"}}));
    let admitted = world.accepts(json!({}));
    assert_eq!(&*admitted.resolved().path.as_ref().unwrap().value, "./clusters/prod-eu/team-a");
}
