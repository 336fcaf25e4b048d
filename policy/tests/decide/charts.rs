//! Helm: charts beside their repositories, and where values come from.

use serde_json::{Value, json};
use sluicegate_policy::Rule;

use crate::world::World;

fn helm(chart: Value) -> Value {
    json!({"source": {"kind": "Helm", "url": "https://charts.example.com/stable"}, "chart": chart})
}

#[test]
fn accepts_a_chart_that_is_allowed_in_a_repository_that_is() {
    let world = World::new();
    let admitted = world.accepts(helm(json!({"name": "redis", "version": "20.x"})));
    assert!(admitted.resolved().path.is_none() && admitted.resolved().reference.is_none());
    world.accepts(helm(json!({"name": "nginx-ingress", "values": {"replicas": 2}, "releaseName": "web"})));
    let over_oci =
        json!({"source": {"kind": "Helm", "url": "oci://registry.example.com/charts"}, "chart": {"name": "redis"}});
    world.accepts(over_oci);
}

#[test]
fn rejects_other_charts_and_other_repositories() {
    let world = World::new();
    let found = world.rejects(helm(json!({"name": "redsi"})), Rule::ChartNotAllowed);
    assert_eq!((found.field.as_ref(), found.suggestion.as_deref()), ("spec.chart.name", Some("redis")));
    world.rejects(helm(json!({"name": "nginx-legacy"})), Rule::ChartDenied);
    let elsewhere =
        json!({"source": {"kind": "Helm", "url": "https://charts.example.com/edge"}, "chart": {"name": "redis"}});
    world.rejects(elsewhere, Rule::SourceNotAllowed);
}

#[test]
fn a_chart_is_allowed_by_a_policy_that_allows_its_repository() {
    let charts_only = json!({"sources": {"helm": {"charts": {"allow": ["*"]}}}});
    let world = World::new().policy("charts-only", charts_only);
    world.rejects(helm(json!({"name": "vault"})), Rule::ChartNotAllowed);
    let both =
        json!({"sources": {"helm": {"allow": ["https://charts.example.com/*"], "charts": {"allow": ["vault"]}}}});
    world.policy("both", both).accepts(helm(json!({"name": "vault"})));
    // A deny needs no repository.
    let deny = json!({"sources": {"helm": {"charts": {"deny": ["red*"]}}}});
    World::new().policy("deny", deny).rejects(helm(json!({"name": "redis"})), Rule::ChartDenied);
}

#[test]
fn a_repository_without_charts_allows_none() {
    let world = World::new().with(json!({"sources": {"helm": {"charts": null}}}));
    assert!(world.rejects(helm(json!({"name": "redis"})), Rule::ChartNotAllowed).allowed.is_empty());
}

#[test]
fn a_chart_that_is_an_oci_artifact_takes_values_but_no_files_of_values() {
    let world = World::new();
    let chart = |chart: Value| {
        json!({
            "source": {"url": "oci://registry.example.com/team-a/chart", "ref": {"tag": "1.0.0"}},
            "chart": chart,
        })
    };
    world.accepts(chart(json!({"values": {"replicas": 2}})));
    let found = world.rejects(chart(json!({"valuesFiles": ["values-prod.yaml"]})), Rule::InvalidChart);
    assert_eq!(found.field, "spec.chart.valuesFiles");
}

#[test]
fn a_chart_is_named_as_its_source_asks_for() {
    let world = World::new();
    let repository = json!({"source": {"kind": "Helm", "url": "https://charts.example.com/stable"}});
    world.rejects(repository, Rule::InvalidChart);
    world.rejects(helm(json!({})), Rule::InvalidChart);
    world.rejects(helm(json!({"name": "Redis"})), Rule::InvalidChart);
    world.rejects(helm(json!({"name": "../redis"})), Rule::InvalidChart);
    world.rejects(helm(json!({"name": "redis", "version": "not a version"})), Rule::InvalidChart);
    world.accepts(json!({"chart": {}, "path": "charts/shop"}));
    world.rejects(json!({"chart": {"name": "redis"}}), Rule::InvalidChart);
    world.rejects(json!({"chart": {"version": "1.x"}}), Rule::InvalidChart);
    let artifact =
        json!({"source": {"url": "oci://registry.example.com/team-a/chart", "ref": {"tag": "1.0.0"}}, "chart": {}});
    assert!(world.accepts(artifact).resolved().path.is_none());
}

#[test]
fn a_release_has_a_name_that_helm_takes() {
    let world = World::new();
    for name in ["Web", "web.1", "-web", &"x".repeat(54)] {
        let found = world.rejects(helm(json!({"name": "redis", "releaseName": name})), Rule::InvalidName);
        assert_eq!(found.field, "spec.chart.releaseName");
    }
    world.accepts(helm(json!({"name": "redis", "releaseName": "x".repeat(53)})));
}

#[test]
fn charts_have_no_path_where_the_source_is_the_chart() {
    let world = World::new();
    let mut with_path = helm(json!({"name": "redis"}));
    with_path["path"] = json!("./x");
    world.rejects(with_path, Rule::InvalidPath);
    let artifact = json!({
        "source": {"url": "oci://registry.example.com/team-a/chart", "ref": {"tag": "1.0.0"}}, "chart": {}, "path": "./",
    });
    world.rejects(artifact, Rule::InvalidPath);
}

#[test]
fn values_come_from_the_teams_own_objects() {
    let world = World::new();
    let from = |kind: &str, name: &str| helm(json!({"name": "redis", "valuesFrom": [{"kind": kind, "name": name}]}));
    world.accepts(from("ConfigMap", "values"));
    world.rejects(from("ConfigMap", "Values"), Rule::InvalidName);
    let found = world.rejects(from("Secret", "values"), Rule::TenantSecretNotAllowed);
    assert_eq!(found.field, "spec.chart.valuesFrom[0].name");
    World::new().with(json!({"tenantSecrets": "Allow"})).accepts(from("Secret", "values"));
    world.accepts(helm(json!({"name": "redis", "valuesFiles": ["values/prod.yaml"]})));
    let found = world.rejects(helm(json!({"name": "redis", "valuesFiles": ["../values.yaml"]})), Rule::InvalidPath);
    assert_eq!(found.field, "spec.chart.valuesFiles[0]");
}

#[test]
fn helm_is_a_feature() {
    let world = World::new().with(json!({"features": null}));
    world.rejects(helm(json!({"name": "redis"})), Rule::FeatureOff);
    world.rejects(json!({"chart": {}}), Rule::FeatureOff);
}
