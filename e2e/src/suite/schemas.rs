//! Flux objects over the schemas of their CRDs: every field of every kind, whether somebody knows it or not.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::programs::Programs;

/// How many optional fields of an object a generated one has on average.
const FIELDS: usize = 3;

/// A version of a Flux kind, as its CRD has it.
#[derive(Clone, Debug)]
pub struct FluxKind {
    /// API group.
    pub group: String,
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Schema of the spec.
    pub spec: Value,
}

/// Every served version of every kind of the release that the suites run.
///
/// # Errors
/// Where the CRDs have not been fetched, or cannot be read.
pub fn flux_kinds() -> Result<Vec<FluxKind>> {
    let unreadable = |why: String| Error::Service { what: "the CRDs of Flux".into(), why };
    let mut kinds = Vec::new();
    for text in Programs::find()?.flux_crds()? {
        let crds: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| unreadable(error.to_string()))?;
        for crd in crds {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (group, kind) = (text(&crd["spec"]["group"]), text(&crd["spec"]["names"]["kind"]));
            for version in crd["spec"]["versions"].as_array().into_iter().flatten().filter(|one| one["served"] == true)
            {
                kinds.push(FluxKind {
                    group: group.clone(),
                    api_version: format!("{group}/{}", text(&version["name"])),
                    kind: kind.clone(),
                    spec: version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone(),
                });
            }
        }
    }
    Ok(kinds)
}

impl FluxKind {
    fn object(&self, spec: Value) -> Value {
        json!({"apiVersion": self.api_version, "kind": self.kind, "spec": spec})
    }

    /// An object for each field and each kind of value that it may have, with nothing else but what the schema demands.
    pub fn every_field(&self, namespace: &str) -> Vec<Value> {
        variants(&self.spec, "spec", namespace).into_iter().map(|spec| self.object(spec)).collect()
    }

    /// An object with some of its fields.
    pub fn some_fields(&self, random: &mut Rng, namespace: &str) -> Value {
        self.object(some(random, &self.spec, "spec", namespace))
    }
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema["properties"].as_object()
}

fn required(schema: &Value) -> Vec<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Values of a field that has no fields of its own.
fn leaves(schema: &Value, name: &str, namespace: &str) -> Vec<Value> {
    if let Some(allowed) = schema["enum"].as_array() {
        return allowed.clone();
    }
    let texts = |list: &[&str]| list.iter().map(|text| json!(text)).collect::<Vec<_>>();
    match schema["type"].as_str() {
        Some("boolean") => vec![json!(true), json!(false)],
        Some("integer" | "number") => vec![json!(1)],
        Some("object") if schema["additionalProperties"].is_object() => vec![
            json!({"app": "x"}),
            json!({"sluicegate.dev/agent": namespace}),
            json!({"sluicegate.dev/agent": "other"}),
            json!({"sluicegate.dev/tenant": namespace}),
            json!({"app.kubernetes.io/managed-by": "sluicegate"}),
            json!({"app.kubernetes.io/part-of": "sluicegate-agent"}),
        ],
        Some("string") => match schema["pattern"].as_str().unwrap_or_default() {
            pattern if pattern.contains("ms|s|m") => texts(&["1m"]),
            pattern if pattern.contains("oci") && !pattern.contains("http") => {
                texts(&["oci://registry.example.com/team-a/x", "oci://evil.example/x"])
            }
            pattern if pattern.contains("http") => {
                texts(&["https://git.example.com/team-a/x", "http://evil.example/x"])
            }
            pattern if !pattern.is_empty() => texts(&["x"]),
            _ => match name {
                "namespace" | "targetNamespace" | "storageNamespace" => texts(&[namespace, "other"]),
                "name" => texts(&[
                    "x",
                    "sluicegate-x",
                    "refs/heads/x",
                    "refs/merge-requests/1/head",
                    "refs/tags/../pull/1/head",
                ]),
                "serviceAccountName" => texts(&["sluicegate-reconciler", "default"]),
                "components" => texts(&["../x", "https://evil.example/x", "GitHub.com/evil/x", "a//b"]),
                "image" => texts(&["registry.example.com/team-a/x"]),
                _ => texts(&["x"]),
            },
        },
        // Free content.
        _ => vec![json!({"image": "evil.example/x", "secretRef": {"name": "x"}})],
    }
}

/// The least that a schema demands, with one thing more or another.
fn variants(schema: &Value, name: &str, namespace: &str) -> Vec<Value> {
    if schema["type"] == "array" {
        let mut lists: Vec<Value> =
            variants(&schema["items"], name, namespace).into_iter().map(|item| json!([item])).collect();
        lists.push(json!([]));
        return lists;
    }
    let Some(properties) = properties(schema) else { return leaves(schema, name, namespace) };
    let least = least(schema, name, namespace);
    let mut all = vec![least.clone()];
    for (field, schema) in properties {
        for value in variants(schema, field, namespace) {
            let mut object = least.clone();
            object[field] = value;
            all.push(object);
        }
    }
    all
}

/// The least that a schema demands.
fn least(schema: &Value, name: &str, namespace: &str) -> Value {
    if schema["type"] == "array" {
        return json!([least(&schema["items"], name, namespace)]);
    }
    let Some(properties) = properties(schema) else {
        return leaves(schema, name, namespace).swap_remove(0);
    };
    let fields = required(schema)
        .into_iter()
        .filter_map(|field| Some((field.to_owned(), least(properties.get(field)?, field, namespace))));
    Value::Object(fields.collect())
}

fn some(random: &mut Rng, schema: &Value, name: &str, namespace: &str) -> Value {
    if schema["type"] == "array" {
        let number = random.usize(0..3);
        return (0..number).map(|_| some(random, &schema["items"], name, namespace)).collect();
    }
    let Some(properties) = properties(schema) else {
        let all = leaves(schema, name, namespace);
        return random.choice(&all).cloned().unwrap_or_default();
    };
    let required = required(schema);
    let mut object = Map::new();
    for (field, schema) in properties {
        if required.contains(&&**field) || random.usize(0..properties.len().max(FIELDS)) < FIELDS {
            object.insert(field.clone(), some(random, schema, field, namespace));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> FluxKind {
        let text = json!({"type": "string"});
        let item = json!({"type": "object", "required": ["name"], "properties": {"name": text, "namespace": text}});
        let schema = json!({"type": "object", "required": ["url"], "properties": {
            "url": {"type": "string", "pattern": "^(http|https)://.*$"},
            "suspend": {"type": "boolean"},
            "dependsOn": {"type": "array", "items": item},
        }});
        FluxKind { group: "x".into(), api_version: "x/v1".into(), kind: "X".into(), spec: schema }
    }

    #[test]
    fn every_field_is_there_with_all_that_is_demanded() {
        let all = kind().every_field("team-a");
        let url = "https://git.example.com/team-a/x";
        for spec in [
            json!({"url": url}),
            json!({"url": url, "suspend": false}),
            json!({"url": url, "dependsOn": []}),
            json!({"url": url, "dependsOn": [{"name": "x", "namespace": "other"}]}),
        ] {
            assert!(all.iter().any(|object| object["spec"] == spec), "{spec}");
        }
        assert!(all.iter().all(|object| object["spec"]["url"].is_string()));
    }

    #[test]
    fn the_same_seed_gives_the_same_object() {
        let one = |seed| kind().some_fields(&mut Rng::with_seed(seed), "team-a");
        assert_eq!(one(7), one(7));
    }
}
