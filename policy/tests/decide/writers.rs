//! Who may write FluxConfigs.

use serde_json::json;
use sluicegate_policy::Rule;

use crate::world::World;

const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

#[test]
fn whoever_rbac_lets_where_no_policy_says() {
    World::new().written_by("alice").accepts(json!({}));
}

#[test]
fn those_whom_any_policy_names() {
    let limited = || World::new().policy("gitops", json!({"writers": [FLUX]}));
    limited().written_by(FLUX).accepts(json!({}));
    let found = limited().written_by("alice").rejects(json!({}), Rule::WriterNotAllowed);
    assert_eq!((found.value.as_deref(), found.allowed), (Some("alice"), vec![FLUX.to_owned()]));
    let both = limited().policy("breakglass", json!({"writers": ["admin"]}));
    both.written_by("admin").accepts(json!({}));
    limited().written_by("").rejects(json!({}), Rule::WriterNotAllowed);
}

#[test]
fn files_have_no_writer() {
    World::new().policy("gitops", json!({"writers": [FLUX]})).accepts(json!({}));
}

#[test]
fn a_policy_for_some_clusters_names_writers_for_those() {
    let production = json!({"clusters": {"names": ["prod-eu"]}, "writers": [FLUX]});
    let world = World::new().policy("production", production).written_by("alice");
    world.rejects(json!({}), Rule::WriterNotAllowed);
    world.accepts(json!({"cluster": "prod-us"}));
}
