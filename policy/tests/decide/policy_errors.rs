//! Policies with errors: what they are, and that everything they select is denied.

use serde_json::{Value, json};
use sluicegate_crds::FluxCluster;
use sluicegate_policy::{InvalidPolicy, PolicySet, Rule, check_cluster, compile, decide};

use crate::world::{World, assert_readable, config, errors_of, policy, policy_error, teams};

#[test]
fn a_good_policy_has_no_errors() {
    assert_eq!(errors_of(json!({})), []);
}

#[test]
fn a_malformed_text_is_an_error_at_its_place() {
    for (patch, field) in [
        (json!({"tenants": {"names": ["team-a", "Team"]}}), "spec.tenants.names[1]"),
        (json!({"tenants": {"names": ["${tenant}"]}}), "spec.tenants.names[0]"),
        (json!({"sources": {"git": {"allow": ["git.example.com/**"]}}}), "spec.sources.git.allow[0]"),
        (json!({"sources": {"git": {"deny": ["https://git.example.com/**/x"]}}}), "spec.sources.git.deny[0]"),
        (json!({"sources": {"git": {"allow": ["https://git.example.com/${team}/**"]}}}), "spec.sources.git.allow[0]"),
        (json!({"sources": {"helm": {"allow": ["https://*/x"]}}}), "spec.sources.helm.allow[0]"),
        (json!({"sources": {"helm": {"charts": {"deny": ["Redis"]}}}}), "spec.sources.helm.charts.deny[0]"),
        (json!({"sources": {"oci": {"deny": ["oci://registry/x"]}}}), "spec.sources.oci.deny[0]"),
        (json!({"sources": {"bucket": {"allow": ["s3://x"]}}}), "spec.sources.bucket.allow[0]"),
        (json!({"images": {"allow": ["nginx"]}}), "spec.images.allow[0]"),
        (json!({"images": {"deny": ["docker.io/library/ngin*"]}}), "spec.images.deny[0]"),
        (json!({"images": {"denyTags": ["latest", "dev-*"]}}), "spec.images.denyTags[1]"),
        (json!({"images": {"denyTags": [" latest"]}}), "spec.images.denyTags[0]"),
        (json!({"destinations": [{"clusters": ["Prod"], "namespaces": ["x"]}]}), "spec.destinations[0].clusters[0]"),
        (json!({"destinations": [{"clusters": ["*"], "namespaces": ["a b"]}]}), "spec.destinations[0].namespaces[0]"),
        (
            json!({"destinations": [{"clusters": ["*"], "namespaces": ["${namespace}"]}]}),
            "spec.destinations[0].namespaces[0]",
        ),
        (json!({"credentials": [{"match": "git", "secretRef": {"name": "x"}}]}), "spec.credentials[0].match"),
        (
            json!({"credentials": [{"match": "**", "secretRef": {"name": "${x}"}}]}),
            "spec.credentials[0].secretRef.name",
        ),
        (json!({"defaults": {"namespace": "${nope}"}}), "spec.defaults.namespace"),
        (json!({"defaults": {"path": "./${nope}"}}), "spec.defaults.path"),
    ] {
        policy_error(patch, Rule::InvalidPattern, field);
    }
}

#[test]
fn a_text_that_cannot_become_a_name_is_an_error() {
    for (patch, field) in [
        (
            json!({"credentials": [{"match": "**", "secretRef": {"name": "Git Token"}}]}),
            "spec.credentials[0].secretRef.name",
        ),
        (json!({"defaults": {"namespace": "${tenant}_x"}}), "spec.defaults.namespace"),
        (json!({"defaults": {"path": "../${tenant}"}}), "spec.defaults.path"),
        (json!({"defaults": {"cluster": "Prod"}}), "spec.defaults.cluster"),
        (
            json!({"defaults": {"decryption": {"provider": "sops", "secretRef": {"name": "${tenant}/x"}}}}),
            "spec.defaults.decryption.secretRef.name",
        ),
        (json!({"agent": {"version": "newest"}}), "spec.agent.version"),
        (json!({"agent": {"imageRegistry": "fluxcd"}}), "spec.agent.imageRegistry"),
        (json!({"agent": {"imageRegistry": "ghcr.io/fluxcd:v1"}}), "spec.agent.imageRegistry"),
        (json!({"agent": {"egress": {"cidrs": ["192.0.2.7/24"]}}}), "spec.agent.egress.cidrs[0]"),
        (json!({"agent": {"egress": {"cidrs": ["192.0.2.0/24", "git.example.com"]}}}), "spec.agent.egress.cidrs[1]"),
        (json!({"agent": {"egress": {"cidrs": ["169.254.169.254/32"]}}}), "spec.agent.egress.cidrs[0]"),
        (json!({"agent": {"egress": {"cidrs": ["fe80::/64"]}}}), "spec.agent.egress.cidrs[0]"),
        (json!({"agent": {"egress": {"namespaces": ["git-*"]}}}), "spec.agent.egress.namespaces[0]"),
        (
            json!({"agent": {"egress": {"cidrs": ["192.0.2.0/24"], "proxy": {"url": "http://u:p@proxy.example.com"}}}}),
            "spec.agent.egress.proxy.url",
        ),
        (
            json!({"agent": {"egress": {"cidrs": ["192.0.2.0/24"], "proxy": {"url": "http://198.51.100.1:3128"}}}}),
            "spec.agent.egress.proxy.url",
        ),
        (
            json!({"agent": {"egress": {"namespaces": ["egress"], "proxy": {"url": "http://squid.egress.svc:3128", "noProxy": ["a", "*"]}}}}),
            "spec.agent.egress.proxy.noProxy[1]",
        ),
        (json!({"role": "a/b"}), "spec.role"),
        (json!({"role": ""}), "spec.role"),
    ] {
        policy_error(patch, Rule::InvalidValue, field);
    }
    assert_eq!(
        errors_of(json!({"agent": {"imageRegistry": "ghcr.io/fluxcd", "version": "2.9.x"}, "role": "system:x"})),
        []
    );
    for egress in [
        json!({"cidrs": ["0.0.0.0/0", "::/0"]}),
        json!({"cidrs": ["192.0.2.0/24"], "proxy": {"url": "http://192.0.2.7:3128", "noProxy": [".example.com", "10.0.0.0/8"]}}),
        json!({"cidrs": ["192.0.2.0/24"], "proxy": {"url": "http://proxy.example.com:3128"}}),
        json!({"namespaces": ["egress"], "proxy": {"url": "http://10.96.7.7:3128"}}),
    ] {
        assert_eq!(errors_of(json!({"agent": {"egress": egress}})), []);
    }
}

#[test]
fn what_is_missing_is_an_error() {
    for (patch, field) in [
        (json!({"tenants": {"names": []}}), "spec.tenants"),
        (json!({"destinations": [{"namespaces": ["x"]}]}), "spec.destinations[0]"),
        (json!({"destinations": [{"clusters": ["*"], "namespaces": []}]}), "spec.destinations[0].namespaces"),
        (json!({"defaults": {"decryption": {"provider": "sops"}}}), "spec.defaults.decryption.secretRef"),
        (json!({"channels": [{"name": "x", "type": "slack"}]}), "spec.channels[0]"),
        (json!({"agent": {"egress": {}}}), "spec.agent.egress"),
        (json!({"agent": {"egress": {"proxy": {"url": "http://proxy.example.com:3128"}}}}), "spec.agent.egress"),
    ] {
        policy_error(patch, Rule::MissingField, field);
    }
}

#[test]
fn references_and_durations_are_well_formed() {
    policy_error(json!({"defaults": {"ref": {"tag": "v1"}}}), Rule::InvalidRef, "spec.defaults.ref");
    policy_error(json!({"defaults": {"ref": {"branch": "a b"}}}), Rule::InvalidRef, "spec.defaults.ref.branch");
    for (patch, field) in [
        (json!({"defaults": {"interval": "5"}}), "spec.defaults.interval"),
        (json!({"defaults": {"timeout": "0s"}}), "spec.defaults.timeout"),
        (json!({"limits": {"minInterval": "1d"}}), "spec.limits.minInterval"),
        (json!({"limits": {"maxTtl": "one week"}}), "spec.limits.maxTtl"),
        (json!({"agent": {"sleepAfter": "-1h"}}), "spec.agent.sleepAfter"),
    ] {
        policy_error(patch, Rule::InvalidDuration, field);
    }
}

#[test]
fn a_selector_that_can_select_nothing_is_an_error() {
    let selector = |selector: Value| json!({"tenants": {"selector": selector}});
    let expression = |operator: &str, values: Value| json!({"matchExpressions": [{"key": "plan", "operator": operator, "values": values}]});
    for bad in [
        json!({"matchLabels": {"": "x"}}),
        json!({"matchLabels": {"a/b/c": "x"}}),
        json!({"matchLabels": {"plan": "gold plated"}}),
        json!({"matchLabels": {"plan": "x".repeat(64)}}),
        expression("In", json!([])),
        expression("NotIn", json!([])),
        expression("Exists", json!(["x"])),
        expression("In", json!(["-x"])),
    ] {
        let found = errors_of(selector(bad.clone()));
        assert!(matches!(found.as_slice(), [one] if one.rule == Rule::InvalidValue), "{bad}: {found:?}");
        assert!(found[0].field.starts_with("spec.tenants.selector.match"), "{}", found[0].field);
        // Whom it was meant to select nobody knows: everybody is denied.
        let world = World::new().policy("broken", selector(bad));
        world.rejects(json!({}), Rule::InvalidPolicy);
    }
    for good in [
        json!({"matchLabels": {"example.com/plan": "", "a": "b.C_d-1"}}),
        expression("In", json!(["a", ""])),
        expression("DoesNotExist", json!([])),
    ] {
        assert_eq!(errors_of(selector(good)), []);
    }
}

#[test]
fn lists_have_bounds() {
    let many: Vec<String> = (0..1001).map(|index| format!("registry.example.com/x{index}")).collect();
    policy_error(json!({"images": {"allow": many}}), Rule::OutOfBounds, "spec.images.allow");
    let blocks: Vec<String> = (0..65).map(|index| format!("10.0.{index}.0/24")).collect();
    policy_error(json!({"agent": {"egress": {"cidrs": blocks}}}), Rule::OutOfBounds, "spec.agent.egress.cidrs");
}

#[test]
fn names_of_channels_are_their_own() {
    let channel = json!({"name": "ops", "type": "slack", "address": "https://x.example"});
    policy_error(json!({"channels": [channel, channel]}), Rule::InvalidValue, "spec.channels[1].name");
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let found = errors_of(json!({"images": {"allow": ["nginx", "x"]}, "limits": {"maxTtl": "x"}, "role": ""}));
    assert_eq!(found.len(), 4);
}

#[test]
fn whom_it_selects_is_denied_and_nobody_else() {
    let broken = json!({"tenants": {"names": ["team-a"]}, "images": {"deny": ["nginx"]}});
    let world = World::new().policy("broken", broken);
    let found = world.rejects(json!({}), Rule::InvalidPolicy);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/broken spec");
    world.accepts_in("team-b", json!({}));
}

#[test]
fn a_certain_denial_is_said_though_another_selector_is_open() {
    let world = World::new()
        .policy("a", json!({"tenants": {"selector": {"matchLabels": {"plan": "gold"}}}, "role": ""}))
        .policy("b", json!({"role": ""}))
        .files_only();
    world.rejects(json!({}), Rule::InvalidPolicy);
}

#[test]
fn a_policy_that_cannot_be_read_denies_everybody() {
    let good = compile(&policy("teams", teams()));
    let set = PolicySet::new([good, Err(InvalidPolicy::unreadable("broken"))]);
    let verdict = decide(&config("team-a", "shop", json!({})), &set, &World::new().facts);
    assert_eq!(verdict.violations()[0].rule, Rule::InvalidPolicy);
    assert_eq!(set.invalid()[0].name(), "broken");
}

fn cluster(name: &str, spec: Value) -> FluxCluster {
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster", "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

#[test]
fn clusters_are_reached_in_exactly_one_way() {
    let one = json!({"connection": {"inCluster": {}}});
    let other = json!({"connection": {"kubeconfig": {"secretRef": {"name": "prod-eu"}}}});
    assert_eq!(check_cluster(&cluster("prod-eu", one)), []);
    assert_eq!(check_cluster(&cluster("prod-eu", other)), []);
    for (name, spec, rule) in [
        ("prod-eu", json!({"connection": {}}), Rule::InvalidConnection),
        (
            "prod-eu",
            json!({"connection": {"inCluster": {}, "kubeconfig": {"secretRef": {"name": "x"}}}}),
            Rule::InvalidConnection,
        ),
        ("prod-eu", json!({"connection": {"kubeconfig": {"secretRef": {"name": "X"}}}}), Rule::InvalidValue),
        ("Prod", json!({"connection": {"inCluster": {}}}), Rule::InvalidName),
        ("prod.eu", json!({"connection": {"inCluster": {}}}), Rule::InvalidName),
        ("x", json!({"connection": {"inCluster": {}}, "flux": {"version": "new"}}), Rule::InvalidValue),
        ("x", json!({"connection": {"inCluster": {}}, "flux": {"crds": "Managed"}}), Rule::MissingField),
        ("x", json!({"connection": {"inCluster": {}}, "flux": {"artifact": "ghcr.io/x"}}), Rule::InvalidUrl),
    ] {
        let found = check_cluster(&cluster(name, spec));
        assert_eq!(found.iter().map(|found| found.rule).collect::<Vec<_>>(), [rule]);
        found.iter().for_each(assert_readable);
    }
}
