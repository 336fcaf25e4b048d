//! CustomResourceDefinitions and editor schemas, made from the types.
//!
//! `cargo xtask crds` writes both to `deploy/crds` and `docs/schemas`; a test fails when the files differ.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{API_VERSION, FluxCluster, FluxConfig, FluxPolicy, TenantGuard};

/// The CustomResourceDefinitions of all kinds, in alphabetical order.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![FluxCluster::crd(), FluxConfig::crd(), FluxPolicy::crd(), TenantGuard::crd()]
}

/// A JSON schema (2020-12) a kind that people write, for editors: file name without ending, and the schema.
///
/// It is the CRD's own schema with `apiVersion`, `kind` and the usual metadata fixed, and with unknown fields forbidden, as
/// `sluicegate check` forbids them.
pub fn editor_schemas() -> Vec<(String, Value)> {
    [FluxCluster::crd(), FluxConfig::crd(), FluxPolicy::crd()].iter().map(editor_schema).collect()
}

fn editor_schema(crd: &CustomResourceDefinition) -> (String, Value) {
    let kind = &crd.spec.names.kind;
    let mut schema = crd
        .spec
        .versions
        .first()
        .and_then(|version| version.schema.as_ref()?.open_api_v3_schema.as_ref())
        .and_then(|schema| serde_json::to_value(schema).ok())
        .unwrap_or_default();
    close(&mut schema);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(kind);
    schema["required"] = json!(["apiVersion", "kind", "metadata", "spec"]);
    schema["properties"]["apiVersion"] = json!({"const": API_VERSION});
    schema["properties"]["kind"] = json!({"const": kind});
    schema["properties"]["metadata"] = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 63},
            "namespace": {"type": "string", "minLength": 1, "maxLength": 63},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    });
    (kind.to_lowercase(), schema)
}

/// Forbids unknown fields in every object that lists its properties, and turns `nullable` into a type.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let open = map.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
            if map.get("properties").is_some_and(Value::is_object) && !open && !map.contains_key("additionalProperties")
            {
                map.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            map.remove("x-kubernetes-validations");
            map.remove("nullable");
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Name of the file that holds a CRD: `sluicegate.dev_fluxconfigs.yaml`.
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}
