//! One violation of every rule, in full: what a reader sees. The snapshot is to be read as a newcomer would.

use std::collections::BTreeMap;

use serde_json::json;
use sluicegate_policy::{
    Answer, Cluster, Question, Rule, Violation, ask, check_cluster, compile, dangerous_grants, grammar::TenantName,
};

use crate::world::{World, assert_readable, config, errors_of, merge, policy, show, teams};

/// Rules that the engine never names: they are about files, or about objects that it does not read.
const NOT_OF_THE_ENGINE: [Rule; 5] =
    [Rule::UnreadableFile, Rule::InvalidYaml, Rule::UnknownField, Rule::UnknownKind, Rule::FluxObjectNotAllowed];

fn refused(world: &World, patch: serde_json::Value) -> Vec<Violation> {
    world.verdict(&config("team-a", "shop", patch)).violations().to_vec()
}

fn pull(world: &World, image: &str) -> Vec<Violation> {
    let tenant = TenantName::new("team-a").unwrap();
    let question = Question::Pull { image, narrowing: &[] };
    ask(question, &tenant, "team-a", Some("prod-eu"), None, &world.set(), &world.facts)
        .into_iter()
        .filter_map(|(_, answer)| match answer {
            Answer::No(violation) => Some(*violation),
            Answer::Yes(_) | Answer::Unknown(_) => None,
        })
        .collect()
}

fn grants() -> Vec<Violation> {
    let mut spec = teams();
    let dangerous = json!({
        "sources": {"git": {"allow": ["**", "http://git.example.com/${tenant}/**", "https://github.com/**"]}},
        "destinations": [{"clusters": ["*"], "namespaces": ["*"]}],
        "credentials": [{"match": "https://git.example.com/**", "secretRef": {"name": "git-example-com"}, "expose": true}],
        "role": "cluster-admin",
    });
    merge(&mut spec, dangerous);
    dangerous_grants(&compile(&policy("teams", spec)).unwrap())
}

/// A case for every rule; the first violation of a rule is the one that is shown.
fn cases() -> Vec<Violation> {
    let world = World::new();
    let helm = |chart: &str| json!({"source": {"kind": "Helm", "url": "https://charts.example.com/stable"}, "chart": {"name": chart}});
    let url = |url: &str| json!({"source": {"url": url}});
    let signed = json!({"sources": {"requireVerification": true}});
    let after = |name: &str| json!({"dependsOn": [{"name": name}]});
    let connection = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster", "metadata": {"name": "prod-eu"},
        "spec": {"connection": {}},
    });
    let shared = json!({"destinations": [{"clusters": ["prod-eu"], "namespaces": ["shared"]}]});
    let hub = || {
        let policy = json!({"destinations": [{"clusters": ["hub"], "namespaces": ["team-*"]}]});
        World::new().policy("hub", policy).with_cluster("hub", Cluster { management: true, ..Cluster::default() })
    };
    let at = |namespace: &str| json!({"cluster": "hub", "namespace": namespace});
    [
        refused(&hub().namespace("team-b", &[]).declared("team-b", "shop", at("team-b-x"), None), at("team-b")),
        refused(&hub().declared("team-b", "shop", at("team-a"), None), at("team-a-x")),
        errors_of(json!({"agent": {"imageRegistry": "fluxcd"}})),
        errors_of(json!({"destinations": [{"namespaces": ["x"]}]})),
        refused(&world, json!({"images": vec!["**"; 101]})),
        refused(
            &World::new().declared("team-a", "shop", json!({}), None).declared("team-a", "shop", json!({}), None),
            json!({}),
        ),
        refused(
            &World::new()
                .policy("gold", json!({"tenants": {"selector": {"matchLabels": {"plan": "gold"}}}}))
                .files_only(),
            json!({}),
        ),
        refused(&world, json!({"namespace": "Team_A"})),
        refused(&World::lawless(), json!({})),
        refused(&World::new().policy("broken", json!({"role": ""})), json!({})),
        refused(&World::new().policy("more", json!({"defaults": {"cluster": "prod-us"}})), json!({})),
        refused(&World::new().policy("gitops", json!({"writers": ["flux"]})).written_by("alice"), json!({})),
        refused(&World::new().with(json!({"defaults": {"cluster": null}})), json!({})),
        refused(&world, json!({"cluster": "prod-uk"})),
        refused(&World::new().with(json!({"defaults": {"namespace": null}})), json!({})),
        refused(&world, json!({"namespace": "team-b"})),
        refused(
            &World::new().policy("any", json!({"destinations": [{"clusters": ["*"], "namespaces": ["*"]}]})),
            json!({"namespace": "kube-system"}),
        ),
        refused(
            &World::new().policy("shared", shared).declared("team-b", "shop", json!({"namespace": "shared"}), Some(1)),
            json!({"namespace": "shared"}),
        ),
        refused(&world, url("git@git.example.com:team-a/shop.git")),
        refused(&world, json!({"source": {"kind": "OCI"}})),
        refused(&world, url("https://git.example.com/team-b/shop.git")),
        refused(&world, url("https://git.example.com/team-a/attic/shop.git")),
        refused(&world, json!({"source": {"kind": "Helm", "url": "https://charts.example.com/stable"}})),
        refused(&world, helm("reddis")),
        refused(&world, helm("nginx-legacy")),
        refused(&world, url("oci://registry.example.com/team-a/app")),
        refused(&world, json!({"source": {"ref": {"branch": "main", "tag": "v1"}}})),
        refused(&world, json!({"path": "../other"})),
        refused(&World::new().policy("signed", signed), json!({})),
        refused(&world, json!({"source": {"verify": {"provider": "cosign"}}})),
        refused(
            &World::new().policy("strict", json!({"sources": {"oci": {"requireDigest": true}}})),
            json!({"source": {"url": "oci://registry.example.com/team-a/app", "ref": {"tag": "1.0.0"}}}),
        ),
        refused(&world, json!({"source": {"secretRef": {"name": "mine"}}})),
        refused(
            &World::new().policy(
                "more",
                json!({"credentials": [{"match": "https://git.example.com/**", "secretRef": {"name": "other"}}]}),
            ),
            json!({}),
        ),
        refused(&World::new().policy("agents", json!({"agent": {"placement": "Namespace"}})), json!({})),
        refused(&world, json!({"decryption": {"provider": "sops"}})),
        refused(
            &World::new().policy("on", json!({"features": {"decryption": true}})),
            json!({"decryption": {"provider": "sops"}}),
        ),
        refused(&world, json!({"interval": "5 minutes"})),
        refused(&World::new().with(json!({"limits": {"minInterval": "1m"}})), json!({"interval": "10s"})),
        refused(&World::new().with(json!({"limits": {"maxTtl": "7d"}})), json!({"ttl": "30d"})),
        refused(
            &World::new().with(json!({"limits": {"fluxConfigs": 1}})).declared("team-a", "api", json!({}), Some(1)),
            json!({}),
        ),
        refused(&world, json!({"notify": [{"channel": "opps"}]})),
        refused(&World::new().declared("team-a", "base", json!({}), None), after("bass")),
        refused(&World::new().declared("team-a", "base", after("shop"), None), after("base")),
        refused(&world, json!({"substitute": {"image-tag": "1"}})),
        pull(&world, "registry.example.com/Team-A/shop:1"),
        pull(&world, "registry.example.com/team-b/shop:1"),
        pull(&world, "alpine:3.20"),
        pull(&world, "nginx"),
        pull(&World::new().policy("strict", json!({"images": {"requireDigest": true}})), "nginx:1.27"),
        errors_of(json!({"images": {"allow": ["nginx"]}})),
        errors_of(json!({"clusters": {"names": ["prod-*"]}, "defaults": null})),
        check_cluster(&serde_json::from_value(connection).unwrap()),
        grants(),
    ]
    .concat()
}

#[test]
fn every_rule_of_the_engine_has_a_readable_case() {
    let mut shown: BTreeMap<usize, Violation> = BTreeMap::new();
    for violation in cases() {
        assert_readable(&violation);
        let position = Rule::ALL.iter().position(|rule| *rule == violation.rule).unwrap();
        shown.entry(position).or_insert(violation);
    }
    for (position, rule) in Rule::ALL.iter().enumerate() {
        let ours = !NOT_OF_THE_ENGINE.contains(rule);
        assert_eq!(shown.contains_key(&position), ours, "{rule} has {} case", if ours { "no" } else { "a" });
    }
    let text: Vec<String> = shown.values().map(show).collect();
    insta::assert_snapshot!("catalogue", text.join("\n"));
}
