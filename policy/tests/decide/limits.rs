//! Limits: the strictest of all policies.

use serde_json::{Value, json};
use sluicegate_policy::Rule;

use crate::world::World;

#[test]
fn intervals_are_not_shorter_than_the_longest_minimum() {
    let world = World::new()
        .with(json!({"limits": {"minInterval": "1m"}}))
        .policy("calm", json!({"priority": -3, "limits": {"minInterval": "3m"}}));
    world.accepts(json!({"interval": "3m", "retryInterval": "180s"}));
    let found = world.rejects(json!({"interval": "179s"}), Rule::IntervalTooShort);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/calm spec.limits.minInterval");
    assert_eq!(found.suggestion.as_deref(), Some("3m"));
    let found = world.rejects(json!({"retryInterval": "10s"}), Rule::IntervalTooShort);
    assert_eq!(found.field, "spec.retryInterval");
}

#[test]
fn a_default_is_held_to_the_limits_too() {
    let world = World::new().with(json!({"defaults": {"interval": "30s"}, "limits": {"minInterval": "1m"}}));
    let found = world.rejects(json!({}), Rule::IntervalTooShort);
    assert_eq!(found.decided_by[1].to_string(), "FluxPolicy/teams spec.defaults.interval");
    world.accepts(json!({"interval": "1m"}));
}

#[test]
fn durations_are_durations_of_flux_and_longer_than_nothing() {
    let world = World::new();
    for field in ["interval", "retryInterval", "timeout", "ttl"] {
        for text in ["", "5", "5 m", "-5m", "1w", "5M", "0s", "0h0m", "9999999999h"] {
            let found = world.rejects(json!({ field: text }), Rule::InvalidDuration);
            assert_eq!(found.field, format!("spec.{field}"), "{text:?}");
        }
    }
    world.rejects(json!({"interval": "1d"}), Rule::InvalidDuration);
    world.accepts(json!({"ttl": "1d"}));
}

#[test]
fn the_time_to_live_has_an_end() {
    let world =
        World::new().with(json!({"limits": {"maxTtl": "7d"}})).policy("short", json!({"limits": {"maxTtl": "36h"}}));
    world.accepts(json!({}));
    world.accepts(json!({"ttl": "1d12h"}));
    let found = world.rejects(json!({"ttl": "37h"}), Rule::TtlTooLong);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/short spec.limits.maxTtl");
}

#[test]
fn those_past_the_limit_are_refused_the_youngest_first() {
    let beside = |limit: u32, since: Option<i64>| {
        World::new()
            .with(json!({"limits": {"fluxConfigs": 9}}))
            .policy("few", json!({"limits": {"fluxConfigs": limit}}))
            .declared("team-a", "api", json!({}), Some(100))
            .declared("team-a", "shop", json!({}), since)
            .declared("team-a", "zoo", json!({}), Some(300))
            .declared("team-b", "old", json!({}), Some(1))
    };
    beside(2, Some(200)).accepts(json!({}));
    beside(1, Some(200)).rejects(json!({}), Rule::TooManyFluxConfigs);
    beside(2, Some(400)).rejects(json!({}), Rule::TooManyFluxConfigs);
    beside(3, Some(400)).accepts(json!({}));
    // Of the same age the name decides; without a known age it comes last.
    beside(1, Some(100)).rejects(json!({}), Rule::TooManyFluxConfigs);
    beside(2, Some(300)).accepts(json!({}));
    let found = beside(2, None).rejects(json!({}), Rule::TooManyFluxConfigs);
    assert_eq!(found.decided_by[0].to_string(), "FluxPolicy/few spec.limits.fluxConfigs");
}

#[test]
fn a_limit_of_none_refuses_the_first() {
    let world = World::new().with(json!({"limits": {"fluxConfigs": 0}}));
    world.rejects(json!({}), Rule::TooManyFluxConfigs);
    // Also where the facts do not know it yet.
    let config = crate::world::config("team-a", "shop", json!({}));
    let verdict = sluicegate_policy::decide(&config, &world.set(), &world.facts);
    assert_eq!(verdict.violations()[0].rule, Rule::TooManyFluxConfigs);
}

#[test]
fn all_namespaces_of_a_tenant_count_together() {
    let world = World::new()
        .with(json!({"limits": {"fluxConfigs": 1}}))
        .namespace("team-a-two", &[("sluicegate.dev/tenant", "team-a")])
        .declared("team-a-two", "first", json!({}), Some(1));
    world.rejects(json!({}), Rule::TooManyFluxConfigs);
}

#[test]
fn lists_and_texts_have_bounds() {
    let many = |count: usize, item: Value| Value::Array(vec![item; count]);
    let world = World::new();
    world.accepts(json!({"images": many(100, json!("**"))}));
    world.rejects(json!({"images": many(101, json!("**"))}), Rule::OutOfBounds);
    world.rejects(json!({"notify": many(65, json!({"channel": "ops"}))}), Rule::OutOfBounds);
    world.rejects(json!({"substitute": {"a": "x".repeat(4097)}}), Rule::OutOfBounds);
    world.accepts(json!({"substitute": {"a": "x".repeat(4096)}}));
}
