//! The CRDs' own rules: bounds, patterns and CEL, evaluated as the API server does it.

#![allow(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use kube::{CustomResourceExt, core::cel::Validator};
use serde_json::{Value, json};
use sluicegate_crds::{FluxCluster, FluxConfig, FluxPolicy, generate};

fn schema<K: CustomResourceExt>() -> Value {
    let crd = K::crd();
    let version = crd.spec.versions.first().expect("a CRD has a version");
    serde_json::to_value(version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref())).expect("JSON")
}

/// Messages of the CEL rules that an object breaks.
fn cel<K: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema::<K>(), object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
    }
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig", "metadata": {"name": "shop", "namespace": "team-a"}, "spec": spec})
}

fn policy(spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("tenants").is_none() {
        spec["tenants"] = json!({"names": ["team-*"]});
    }
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": "teams"}, "spec": spec})
}

fn cluster(spec: Value) -> Value {
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster", "metadata": {"name": "prod-eu"}, "spec": spec})
}

#[track_caller]
fn accepts<K: CustomResourceExt>(object: &Value) {
    assert_eq!(cel::<K>(object, None), Vec::<String>::new(), "{object}");
}

#[track_caller]
fn rejects<K: CustomResourceExt>(object: &Value, message: &str) {
    let errors = cel::<K>(object, None);
    assert!(errors.iter().any(|error| error.contains(message)), "{object}: {errors:?}");
}

const URL: &str = "https://git.example.com/team-a/shop.git";

#[test]
fn a_reference_is_exactly_one() {
    for reference in [json!({"branch": "main"}), json!({"tag": "v1"}), json!({"semver": "1.x"})] {
        accepts::<FluxConfig>(&config(json!({"source": {"url": URL, "ref": reference}})));
    }
    for reference in [json!({}), json!({"branch": "main", "tag": "v1"})] {
        rejects::<FluxConfig>(&config(json!({"source": {"url": URL, "ref": reference}})), "exactly one of branch");
    }
}

#[test]
fn a_target_is_set_once_and_never_moves() {
    let at = |cluster: Option<&str>, namespace: Option<&str>| {
        let mut spec = json!({"source": {"url": URL}});
        if let Some(cluster) = cluster {
            spec["cluster"] = json!(cluster);
        }
        if let Some(namespace) = namespace {
            spec["namespace"] = json!(namespace);
        }
        config(spec)
    };
    let blank = at(None, None);
    let placed = at(Some("prod-eu"), Some("team-a"));
    assert!(cel::<FluxConfig>(&placed, Some(&blank)).is_empty());
    assert!(cel::<FluxConfig>(&placed, Some(&placed)).is_empty());
    for (new, message) in [
        (at(Some("prod-us"), Some("team-a")), "cluster cannot change"),
        (at(None, Some("team-a")), "cluster cannot change"),
        (at(Some("prod-eu"), Some("team-b")), "namespace cannot change"),
        (at(Some("prod-eu"), None), "namespace cannot change"),
    ] {
        let errors = cel::<FluxConfig>(&new, Some(&placed));
        assert!(errors.iter().any(|error| error.contains(message)), "{new}: {errors:?}");
    }
}

#[test]
fn a_helm_source_has_a_chart() {
    accepts::<FluxConfig>(&config(json!({"source": {"url": URL, "kind": "Helm"}, "chart": {"name": "redis"}})));
    rejects::<FluxConfig>(&config(json!({"source": {"url": URL, "kind": "Helm"}})), "a Helm source needs chart");
}

#[test]
fn names_of_configs_and_clusters_are_labels() {
    let mut object = config(json!({"source": {"url": URL}}));
    object["metadata"]["name"] = json!("a.b");
    rejects::<FluxConfig>(&object, "DNS label");
    let mut object = cluster(json!({"connection": {"inCluster": {}}}));
    object["metadata"]["name"] = json!("eu.prod");
    rejects::<FluxCluster>(&object, "DNS label");
}

#[test]
fn a_cluster_is_reached_in_exactly_one_way() {
    let kubeconfig = json!({"secretRef": {"name": "x"}});
    accepts::<FluxCluster>(&cluster(json!({"connection": {"inCluster": {}}})));
    accepts::<FluxCluster>(&cluster(json!({"connection": {"kubeconfig": kubeconfig}})));
    rejects::<FluxCluster>(&cluster(json!({"connection": {}})), "exactly one of inCluster");
    rejects::<FluxCluster>(
        &cluster(json!({"connection": {"inCluster": {}, "kubeconfig": kubeconfig}})),
        "exactly one of inCluster",
    );
    rejects::<FluxCluster>(
        &cluster(json!({"connection": {"inCluster": {}}, "flux": {"crds": "Managed"}})),
        "needs artifact",
    );
}

#[test]
fn a_policy_selects_and_does_not_place_where_it_is_for_some_clusters_only() {
    accepts::<FluxPolicy>(&policy(json!({})));
    rejects::<FluxPolicy>(&policy(json!({"tenants": {}})), "names or selector is required");
    rejects::<FluxPolicy>(&policy(json!({"clusters": {}})), "names or selector is required");
    let destinations = json!([{"clusters": ["prod-*"], "namespaces": ["${tenant}"]}]);
    accepts::<FluxPolicy>(&policy(json!({"destinations": destinations})));
    accepts::<FluxPolicy>(&policy(json!({"clusters": {"names": ["*"]}, "destinations": destinations})));
    let message = "must not set destinations";
    let some = json!({"names": ["prod-*"]});
    rejects::<FluxPolicy>(&policy(json!({"clusters": some, "destinations": destinations})), message);
    rejects::<FluxPolicy>(&policy(json!({"clusters": some, "defaults": {"cluster": "prod-eu"}})), message);
    rejects::<FluxPolicy>(&policy(json!({"clusters": some, "defaults": {"namespace": "x"}})), message);
    accepts::<FluxPolicy>(&policy(json!({"clusters": some, "defaults": {"interval": "1m"}})));
    rejects::<FluxPolicy>(&policy(json!({"destinations": [{"namespaces": ["x"]}]})), "clusters or clusterSelector");
}

/// Every list, map and text of a spec has a bound: an unbounded one makes CEL rules too expensive for the API server, and
/// loops of the engine long.
#[test]
fn every_list_map_and_text_of_a_spec_is_bounded() {
    for crd in generate::crds() {
        let kind = crd.spec.names.kind.clone();
        let version = crd.spec.versions.first().expect("a version");
        let schema =
            serde_json::to_value(version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()))
                .expect("JSON");
        let mut unbounded = Vec::new();
        walk(&schema["properties"]["spec"], "spec", &mut unbounded);
        // Nobody writes a TenantGuard but the operator, for whom an empty text is one that says nothing.
        unbounded.retain(|found| kind != "TenantGuard" || !found.ends_with("may be empty"));
        assert_eq!(unbounded, Vec::<String>::new(), "{kind}");
    }
}

fn walk(schema: &Value, path: &str, unbounded: &mut Vec<String>) {
    match schema["type"].as_str() {
        Some("array") => {
            if schema.get("maxItems").is_none() {
                unbounded.push(format!("{path}: list"));
            }
            walk(&schema["items"], &format!("{path}[]"), unbounded);
        }
        // Values of a map of texts share the bound of the request.
        Some("string") if !path.ends_with("{}") => {
            if schema.get("maxLength").is_none() && schema.get("enum").is_none() {
                unbounded.push(format!("{path}: text"));
            }
            if schema.get("enum").is_none()
                && schema.get("minLength").is_none()
                && !path.ends_with("[]")
                && !path.ends_with(".value")
            {
                unbounded.push(format!("{path}: text may be empty"));
            }
        }
        Some("object") => {
            if schema.get("additionalProperties").is_some() {
                if schema.get("maxProperties").is_none() {
                    unbounded.push(format!("{path}: map"));
                }
                walk(&schema["additionalProperties"], &format!("{path}{{}}"), unbounded);
            }
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                walk(property, &format!("{path}.{name}"), unbounded);
            }
        }
        _ => {}
    }
    if schema.get("description").is_none() && !path.ends_with("[]") && !path.ends_with("{}") {
        unbounded.push(format!("{path}: no description"));
    }
}

#[test]
fn editor_schemas_are_valid_and_close_every_object() {
    for (name, schema) in generate::editor_schemas() {
        let validator = jsonschema::draft202012::new(&schema).expect(&name);
        if name == "fluxconfig" {
            assert!(validator.is_valid(&config(json!({"source": {"url": URL}}))));
            assert!(!validator.is_valid(&config(json!({"source": {"url": URL}, "intervall": "5m"}))));
            assert!(!validator.is_valid(&config(json!({"source": {"url": URL, "reff": {}}}))));
            assert!(!validator.is_valid(&config(json!({"source": {}}))));
        }
    }
}
