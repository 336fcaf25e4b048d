//! Everything that is on a cluster, to compare with later: object by object, of every kind that can be listed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, verbs};
use serde_json::{Value, json};

use super::Space;
use crate::error::{Error, Result};

/// Kinds that come and go by themselves.
const NOISE: &[&str] = &["events", "leases", "endpoints", "endpointslices", "componentstatuses", "podmetrics", "nodes"];

/// Objects by kind, namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot(pub BTreeMap<Key, Value>);

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `apiVersion` and `kind`.
    pub api_version: String,
    /// As in `kind:`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

impl Snapshot {
    /// Lists all objects whose name, namespace or labels contain one of these words: a run's other tests go on meanwhile.
    ///
    /// # Errors
    /// Where the API server does not list a kind that it says it can.
    pub async fn take(space: &Space, words: &[&str]) -> Result<Snapshot> {
        let client = space.client();
        let discovery = Discovery::new(client.clone()).run().await.map_err(|error| Error::api("discovery", error))?;
        let mut found = BTreeMap::new();
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                if NOISE.contains(&resource.plural.as_str()) || !capabilities.supports_operation(verbs::LIST) {
                    continue;
                }
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                let mut answer = api.list(&ListParams::default()).await;
                // An API server that has just been told of a kind makes its storage, and says so for a second or two.
                for _ in 0..20 {
                    if !matches!(&answer, Err(kube::Error::Api(status)) if status.code == 429) {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    answer = api.list(&ListParams::default()).await;
                }
                let list = match answer {
                    Ok(list) => list,
                    // A kind that was removed between discovery and list.
                    Err(kube::Error::Api(status)) if status.code == 404 => continue,
                    Err(error) => return Err(Error::api(format!("listing {}", resource.plural), error)),
                };
                for object in list {
                    let metadata = &object.metadata;
                    let key = Key {
                        api_version: resource.api_version.clone(),
                        kind: resource.kind.clone(),
                        namespace: metadata.namespace.clone().unwrap_or_default(),
                        name: metadata.name.clone().unwrap_or_default(),
                    };
                    let labels = metadata.labels.clone().unwrap_or_default();
                    let mine = |word: &&str| {
                        key.name.contains(word)
                            || key.namespace.contains(word)
                            || labels.values().any(|value| value.contains(word))
                    };
                    if words.iter().any(mine) {
                        let mut value = serde_json::to_value(&object)
                            .map_err(|error| super::service_error(key.to_string(), error))?;
                        value["apiVersion"] = json!(resource.api_version);
                        value["kind"] = json!(resource.kind);
                        found.insert(key, value);
                    }
                }
            }
        }
        Ok(Snapshot(found))
    }

    /// Only what a check keeps.
    pub fn only(mut self, keep: impl Fn(&Key, &Value) -> bool) -> Snapshot {
        self.0.retain(|key, value| keep(key, value));
        self
    }

    /// Only what Sluicegate says is its own.
    pub fn owned(self) -> Snapshot {
        self.only(|_, value| value["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "sluicegate")
    }

    /// What differs, a line each; empty where nothing does. Compared is what [`essence`] leaves.
    pub fn difference(&self, later: &Snapshot) -> String {
        let mut text = String::new();
        for (key, before) in &self.0 {
            match later.0.get(key) {
                None => {
                    let _ = writeln!(text, "- {key}");
                }
                Some(after) => {
                    for line in differences("", &essence(before), &essence(after)) {
                        let _ = writeln!(text, "~ {key} {line}");
                    }
                }
            }
        }
        for key in later.0.keys().filter(|key| !self.0.contains_key(key)) {
            let _ = writeln!(text, "+ {key}");
        }
        text
    }
}

/// An object without what the API server and controllers write into it by themselves.
pub fn essence(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "managedFields", "generation", "uid", "creationTimestamp", "selfLink"] {
            metadata.remove(field);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.remove("deployment.kubernetes.io/revision");
        }
        if metadata.get("annotations").is_some_and(|all| all.as_object().is_some_and(serde_json::Map::is_empty)) {
            metadata.remove("annotations");
        }
    }
    object
}

/// Paths at which two values differ, with both sides.
pub fn differences(path: &str, one: &Value, other: &Value) -> Vec<String> {
    match (one, other) {
        _ if one == other => Vec::new(),
        (Value::Object(left), Value::Object(right)) => {
            let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            names
                .into_iter()
                .flat_map(|name| {
                    let side = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
                    differences(&format!("{path}.{name}"), &side(left), &side(right))
                })
                .collect()
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .flat_map(|(index, (left, right))| differences(&format!("{path}[{index}]"), left, right))
            .collect(),
        _ => vec![format!("{path}: {one} -> {other}")],
    }
}

/// Where an object lacks something that a manifest asks for: every field of the manifest must be there with its value,
/// what the API server added beside them does not count. Lists must agree item by item.
pub fn lacks(path: &str, manifest: &Value, live: &Value) -> Vec<String> {
    match (manifest, live) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .flat_map(|(name, wanted)| {
                lacks(&format!("{path}.{name}"), wanted, found.get(name).unwrap_or(&Value::Null))
            })
            .collect(),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => wanted
            .iter()
            .zip(found)
            .enumerate()
            .flat_map(|(index, (wanted, found))| lacks(&format!("{path}[{index}]"), wanted, found))
            .collect(),
        _ if manifest == live => Vec::new(),
        _ => vec![format!("{path}: {manifest} is wanted, {live} is there")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_may_be_added_and_nothing_may_be_missing() {
        let manifest = json!({"spec": {"a": 1, "list": [{"name": "x"}]}});
        assert!(
            lacks("", &manifest, &json!({"spec": {"a": 1, "b": 2, "list": [{"name": "x", "more": true}]}})).is_empty()
        );
        let longer = json!({"spec": {"a": 1, "list": [{"name": "x"}, {"name": "foreign"}]}});
        assert_eq!(lacks("", &manifest, &longer).len(), 1, "a foreign item of a list is seen");
        assert!(lacks("", &manifest, &json!({"spec": {"a": 2}}))[0].starts_with(".spec.a: 1 is wanted, 2 is there"));
    }

    #[test]
    fn a_difference_names_the_object_and_the_path() {
        let key = Key { api_version: "v1".into(), kind: "ConfigMap".into(), namespace: "a".into(), name: "b".into() };
        let at = |value: &str, version: &str| {
            Snapshot([(key.clone(), json!({"metadata": {"resourceVersion": version}, "data": {"k": value}}))].into())
        };
        assert_eq!(at("x", "1").difference(&at("x", "2")), "");
        assert_eq!(at("x", "1").difference(&at("y", "1")), "~ ConfigMap a/b .data.k: \"x\" -> \"y\"\n");
        assert_eq!(at("x", "1").difference(&Snapshot::default()), "- ConfigMap a/b\n");
    }
}
