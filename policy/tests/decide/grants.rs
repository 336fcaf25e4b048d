//! Dangerous grants: warnings about what a policy may say.

use serde_json::{Value, json};
use sluicegate_policy::{Rule, Severity, compile, dangerous_grants};

use crate::world::{assert_readable, merge, policy, teams};

fn grants(patch: Value) -> Vec<(Rule, String)> {
    let mut spec = teams();
    merge(&mut spec, patch);
    let found = dangerous_grants(&compile(&policy("teams", spec)).unwrap());
    found.iter().for_each(assert_readable);
    assert!(found.iter().all(|found| found.severity() == Severity::Warning));
    found.into_iter().map(|found| (found.rule, found.field.into_owned())).collect()
}

#[test]
fn a_careful_policy_has_none() {
    assert_eq!(grants(json!({"images": {"allow": ["registry.example.com/${tenant}/**"]}})), []);
}

#[test]
fn names_each_with_its_place() {
    for (patch, rule, field) in [
        (json!({"sources": {"git": {"allow": ["**"]}}}), Rule::GrantsEverything, "spec.sources.git.allow[0]"),
        (
            json!({"sources": {"oci": {"allow": ["oci://ghcr.io/**"]}}}),
            Rule::GrantsWholeHost,
            "spec.sources.oci.allow[0]",
        ),
        (
            json!({"sources": {"git": {"allow": ["http://git.example.com/${tenant}/**"]}}}),
            Rule::GrantsPlainHttp,
            "spec.sources.git.allow[0]",
        ),
        (json!({"images": {"allow": ["**"]}}), Rule::GrantsEverything, "spec.images.allow[0]"),
        (
            json!({"destinations": [{"clusters": ["*"], "namespaces": ["x", "*"]}]}),
            Rule::GrantsEveryNamespace,
            "spec.destinations[0].namespaces[1]",
        ),
        (
            json!({"credentials": [{"match": "https://x.example/**", "secretRef": {"name": "x"}, "expose": true}]}),
            Rule::ExposesCredential,
            "spec.credentials[0].expose",
        ),
        (
            json!({"credentials": [{"match": "**", "secretRef": {"name": "x"}}]}),
            Rule::GrantsEverything,
            "spec.credentials[0].match",
        ),
        (json!({"role": "cluster-admin"}), Rule::PowerfulRole, "spec.role"),
    ] {
        let mut whole = json!({"images": {"allow": ["registry.example.com/${tenant}/**"]}});
        merge(&mut whole, patch);
        assert_eq!(grants(whole), [(rule, field.to_owned())]);
    }
}

#[test]
fn a_denied_everything_is_no_grant() {
    let patch = json!({"sources": {"git": {"deny": ["**"]}}, "images": {"allow": [], "deny": ["**"]}});
    assert_eq!(grants(patch), []);
}
