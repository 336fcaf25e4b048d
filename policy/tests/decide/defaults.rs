//! Defaults: field by field from the highest priority, never by a coin toss; and completion.

use serde_json::{Value, json};
use sluicegate_policy::{Origin, Rule};

use crate::world::{World, assert_readable, config};

#[test]
fn what_the_team_says_wins() {
    let world = World::new().with(json!({"defaults": {"interval": "10m", "prune": false, "deletion": "Orphan"}}));
    let admitted = world.accepts(json!({"interval": "7m", "prune": true}));
    let resolved = admitted.resolved();
    assert_eq!((resolved.terms.interval.value.as_secs(), &resolved.terms.interval.origin), (420, &Origin::FluxConfig));
    assert!(resolved.terms.prune.value);
    assert_eq!(resolved.terms.deletion.origin.to_string(), "FluxPolicy/teams spec.defaults.deletion");
}

#[test]
fn each_field_comes_from_the_highest_priority_that_has_it() {
    let world = World::new()
        .with(json!({"defaults": {"interval": "10m", "timeout": "1m"}}))
        .policy("high", json!({"priority": 10, "defaults": {"interval": "20m", "cluster": "prod-us"}}))
        .policy("low", json!({"priority": -10, "defaults": {"timeout": "9m", "retryInterval": "2m"}}));
    let admitted = world.accepts(json!({}));
    let resolved = admitted.resolved();
    assert_eq!(resolved.terms.interval.value.as_secs(), 1200);
    assert_eq!(resolved.cluster.value.as_str(), "prod-us");
    assert_eq!(resolved.terms.timeout.as_ref().unwrap().value.as_secs(), 60);
    assert_eq!(resolved.terms.retry_interval.as_ref().unwrap().value.as_secs(), 120);
}

#[test]
fn equal_priority_and_different_values_is_an_error_that_names_both() {
    let cases: [(&str, Value, Value); 16] = [
        ("spec.defaults.cluster", json!({"cluster": "prod-us"}), json!({"cluster": "prod-us"})),
        ("spec.defaults.namespace", json!({"namespace": "${tenant}-x"}), json!({"namespace": "team-a"})),
        ("spec.defaults.ref", json!({"ref": {"tag": "v1"}}), json!({"source": {"ref": {"tag": "v1"}}})),
        ("spec.defaults.path", json!({"path": "./x"}), json!({"path": "./"})),
        ("spec.defaults.interval", json!({"interval": "1h"}), json!({"interval": "5m"})),
        ("spec.defaults.retryInterval", json!({"retryInterval": "1h"}), json!({"retryInterval": "5m"})),
        ("spec.defaults.timeout", json!({"timeout": "1h"}), json!({"timeout": "5m"})),
        ("spec.defaults.prune", json!({"prune": false}), json!({"prune": true})),
        ("spec.defaults.wait", json!({"wait": true}), json!({"wait": true})),
        ("spec.defaults.deletion", json!({"deletion": "Orphan"}), json!({"deletion": "Prune"})),
        ("spec.role", json!("role-b"), Value::Null),
        ("spec.onViolation", json!("Keep"), Value::Null),
        ("spec.agent.placement", json!({"placement": "Pooled"}), Value::Null),
        ("spec.agent.concurrency", json!({"concurrency": 2}), Value::Null),
        ("spec.agent.version", json!({"version": "2.8.x"}), Value::Null),
        ("spec.agent.egress", json!({"egress": {"cidrs": ["192.0.2.0/24"]}}), Value::Null),
    ];
    let base = World::new().with(json!({
        "defaults": {
            "path": "./", "interval": "5m", "retryInterval": "1m", "timeout": "3m", "prune": true, "wait": false,
            "deletion": "Prune",
        },
        "role": "role-a",
        "onViolation": "Suspend",
        "agent": {
                        "placement": "Isolated", "concurrency": 4, "version": "2.9.x",
                        "egress": {"cidrs": ["192.0.2.0/24"], "namespaces": ["git"]},
                    },
    }));
    base.accepts(json!({}));
    drop(base);
    for (field, value, set) in cases {
        let key = field.split('.').nth(1).unwrap();
        let with = |priority: i32| {
            World::new()
                .with(json!({
                    "defaults": {
                        "path": "./", "interval": "5m", "retryInterval": "1m", "timeout": "3m", "prune": true,
                        "wait": false, "deletion": "Prune",
                    },
                    "role": "role-a",
                    "onViolation": "Suspend",
                    "agent": {
                        "placement": "Isolated", "concurrency": 4, "version": "2.9.x",
                        "egress": {"cidrs": ["192.0.2.0/24"], "namespaces": ["git"]},
                    },
                }))
                .policy("second", json!({"priority": priority, key: value}))
        };
        let found = with(0).rejects(json!({}), Rule::PolicyConflict);
        assert_eq!(found.field, field);
        assert!(found.message.contains("second") && found.message.contains("teams"), "{field}");
        with(1).accepts(json!({}));
        with(-1).accepts(json!({}));
        // What the team sets itself asks for no default.
        if !set.is_null() {
            with(0).accepts(set);
        }
        let conflicts = with(0).namespace("team-a", &[]).set().conflicts(&with(0).namespace("team-a", &[]).facts);
        assert_eq!(conflicts.iter().map(|found| found.field.as_ref()).collect::<Vec<_>>(), [field]);
        conflicts.iter().for_each(assert_readable);
        assert!(with(1).set().conflicts(&with(1).namespace("team-a", &[]).facts).is_empty());
    }
}

#[test]
fn two_channels_of_one_name_are_a_conflict() {
    let other = json!({"channels": [{"name": "ops", "type": "slack", "address": "https://slack.example.com/other"}]});
    let world = World::new().policy("other", other).namespace("team-a", &[]);
    assert_eq!(world.set().conflicts(&world.facts)[0].field, "spec.channels");
    world.rejects(json!({"notify": [{"channel": "ops"}]}), Rule::PolicyConflict);
    world.accepts(json!({}));
}

#[test]
fn completion_writes_the_placement_and_nothing_else() {
    let world = World::new().with(json!({"defaults": {"interval": "10m", "path": "./deploy"}}));
    let short = config("team-a", "shop", json!({}));
    let admitted = world.accepts(json!({}));
    let complete = admitted.complete(&short);
    assert_eq!(
        serde_json::to_value(&complete.spec).unwrap(),
        json!({
            "source": {"url": "https://git.example.com/team-a/shop.git", "ref": {"branch": "main"}},
            "path": "./deploy",
            "cluster": "prod-eu",
            "namespace": "team-a",
        })
    );
    let fields: Vec<&str> = admitted.additions().iter().map(|addition| addition.field).collect();
    assert_eq!(fields, ["spec.source.ref", "spec.path", "spec.cluster", "spec.namespace"]);
    let verdict = world.verdict(&complete);
    assert!(verdict.admitted().unwrap().additions().is_empty());
}

#[test]
fn a_complete_fluxconfig_stays_where_it_is_when_defaults_change() {
    let complete = World::new().accepts(json!({})).complete(&config("team-a", "shop", json!({})));
    let world = World::new().with(
        json!({"defaults": {"cluster": "prod-us", "namespace": "${tenant}-x", "ref": {"branch": null, "tag": "v2"}}}),
    );
    let verdict = world.verdict(&complete);
    let resolved = verdict.admitted().unwrap().resolved();
    assert_eq!((resolved.cluster.value.as_str(), resolved.namespace.value.as_str()), ("prod-eu", "team-a"));
    assert_eq!(resolved.reference.as_ref().unwrap().value.branch.as_deref(), Some("main"));
}

#[test]
fn every_field_is_listed_with_its_origin() {
    let admitted = World::new().accepts(json!({"interval": "7m"}));
    let fields: Vec<String> = admitted
        .fields()
        .into_iter()
        .map(|field| format!("{} = {} ({})", field.field, field.value, field.origin))
        .collect();
    insta::assert_snapshot!("fields", fields.join("\n"));
}
