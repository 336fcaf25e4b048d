//! Which fields of an object are whose: the `fieldsV1` sets of `metadata.managedFields`, in the notation of Kubernetes'
//! structured-merge-diff (`f:` a field, `k:` an item of a list by its keys, `v:` an element of a set, `i:` by index, `.` the
//! node itself).
//!
//! Two questions are answered from them without keeping any object in memory. *Has what we applied changed?* The part of the
//! object that we own has a [`Fingerprint`], and so has the manifest that we would apply. *Has somebody added something?*
//! Server-side apply leaves other people's fields alone, so an added `spec.include` would live on beside ours: [`foreign`]
//! finds such additions, and says which JSON Patch removes them.

use std::fmt;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::object::MANAGER;

/// Digest of the fields that Sluicegate owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Of a manifest as it would be applied.
    pub fn of_manifest(manifest: &Value) -> Self {
        let mut hasher = Sha256::new();
        if let Value::Object(fields) = manifest {
            let mut owned = Map::new();
            for (name, value) in fields {
                match name.as_str() {
                    "apiVersion" | "kind" => {}
                    "metadata" => {
                        if let Value::Object(metadata) = value {
                            let identity = |name: &str| matches!(name, "name" | "namespace");
                            let rest: Map<String, Value> = metadata
                                .iter()
                                .filter(|(name, _)| !identity(name))
                                .map(|(name, value)| (name.clone(), value.clone()))
                                .collect();
                            if !rest.is_empty() {
                                owned.insert(name.clone(), Value::Object(rest));
                            }
                        }
                    }
                    _ => {
                        owned.insert(name.clone(), value.clone());
                    }
                }
            }
            hash(&Value::Object(owned), &mut hasher);
        }
        Self::finish(hasher)
    }

    /// Of what we own of a live object; `None` where we own nothing of it.
    pub fn of_live(object: &Value) -> Option<Self> {
        let mut hasher = Sha256::new();
        hash(&project(object, ours(object)?), &mut hasher);
        Some(Self::finish(hasher))
    }

    /// Of a text.
    pub fn of_text(text: &str) -> Self {
        Self::finish(Sha256::new_with_prefix(text))
    }

    fn finish(hasher: Sha256) -> Self {
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize()[..16]);
        Self(short)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Digest of any value, independent of the order of keys.
pub fn digest(value: &Value) -> Fingerprint {
    let mut hasher = Sha256::new();
    hash(value, &mut hasher);
    Fingerprint::finish(hasher)
}

/// Feeds a value to a hash, with keys in order and lengths in front, so that different values never give the same bytes.
fn hash(value: &Value, hasher: &mut Sha256) {
    let mut length = |tag: u8, length: usize| {
        hasher.update([tag]);
        hasher.update((length as u64).to_le_bytes());
    };
    match value {
        Value::Null => length(0, 0),
        Value::Bool(value) => length(1, usize::from(*value)),
        Value::Number(number) => {
            let text = number.to_string();
            length(2, text.len());
            hasher.update(text);
        }
        Value::String(text) => {
            length(3, text.len());
            hasher.update(text);
        }
        Value::Array(items) => {
            length(4, items.len());
            for item in items {
                hash(item, hasher);
            }
        }
        Value::Object(fields) => {
            length(5, fields.len());
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort_unstable();
            for name in names {
                hasher.update((name.len() as u64).to_le_bytes());
                hasher.update(name);
                hash(&fields[name], hasher);
            }
        }
    }
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    // Status and other subresources have writers of their own.
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().filter(|entry| entry["subresource"].as_str().unwrap_or_default().is_empty())
}

/// The set of fields that we applied.
fn ours(object: &Value) -> Option<&Value> {
    entries(object)
        .find(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply")
        .map(|entry| &entry["fieldsV1"])
}

/// Whether we ever applied this object: the mark that survives the removal of its labels.
pub fn is_ours(object: &Value) -> bool {
    entries(object).any(|entry| entry["manager"] == MANAGER)
}

/// The managers that own a field, by the names on the way to it; those of subresources too.
pub fn owners<'o>(object: &'o Value, path: &[&str]) -> Vec<&'o str> {
    let owns = |entry: &&Value| {
        let mut set = &entry["fieldsV1"];
        path.iter().all(|name| {
            set = &set[format!("f:{name}")];
            !set.is_null()
        })
    };
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().filter(owns).filter_map(|entry| entry["manager"].as_str()).collect()
}

/// The part of `value` that `set` names.
fn project(value: &Value, set: &Value) -> Value {
    let Some(set) = set.as_object() else { return value.clone() };
    if set.is_empty() {
        return value.clone();
    }
    match value {
        Value::Object(fields) => {
            let mut projected = Map::new();
            for (path, inner) in set {
                if let Some(name) = path.strip_prefix("f:")
                    && let Some(value) = fields.get(name)
                {
                    projected.insert(name.to_owned(), project(value, inner));
                }
            }
            Value::Object(projected)
        }
        Value::Array(items) => {
            let picked = items.iter().enumerate().filter_map(|(index, item)| {
                let (_, inner) = set.iter().find(|(path, _)| names(path, index, item))?;
                Some(project(item, inner))
            });
            Value::Array(picked.collect())
        }
        other => other.clone(),
    }
}

/// Whether a path element names this item of a list.
pub(crate) fn names(element: &str, index: usize, item: &Value) -> bool {
    if let Some(keys) = element.strip_prefix("k:") {
        let keys: Option<Map<String, Value>> = serde_json::from_str(keys).ok();
        return keys.is_some_and(|keys| keys.iter().all(|(key, value)| &item[key] == value));
    }
    if let Some(value) = element.strip_prefix("v:") {
        return serde_json::from_str::<Value>(value).is_ok_and(|value| &value == item);
    }
    element.strip_prefix("i:").is_some_and(|text| text.parse() == Ok(index))
}

/// What others have added to an object of ours, as JSON Pointers to remove, the last item of a list first. Metadata and
/// status are passed over: finalizers, annotations and status are written by whoever works with the object.
pub fn foreign(object: &Value) -> Vec<String> {
    static NOTHING: Value = Value::Null;
    let ours = ours(object).unwrap_or(&NOTHING);
    let mut pointers = Vec::new();
    for entry in entries(object).filter(|entry| entry["manager"] != MANAGER) {
        let Some(set) = entry["fieldsV1"].as_object() else { continue };
        for (path, inner) in set {
            let Some(name) = path.strip_prefix("f:") else { continue };
            if !matches!(name, "metadata" | "status" | "apiVersion" | "kind") {
                beyond(&object[name], inner, ours.get(path), &format!("/{}", escape(name)), &mut pointers);
            }
        }
    }
    pointers.retain(|pointer| !is_alias(object, pointer));
    pointers.sort_by(|a, b| by_position(b, a));
    pointers.dedup();
    pointers
}

/// Whether a field only repeats another one: the API server fills `serviceAccount` of a pod, which is deprecated, from
/// `serviceAccountName`, for the manager that changed that, and fills it again after it was removed.
fn is_alias(object: &Value, pointer: &str) -> bool {
    let Some(pod) = pointer.strip_suffix("/serviceAccount") else { return false };
    let pod = object.pointer(pod).unwrap_or(&Value::Null);
    pod["serviceAccountName"].is_string() && pod["serviceAccount"] == pod["serviceAccountName"]
}

/// Adds the pointers of what `theirs` names and `ours` does not.
fn beyond(value: &Value, theirs: &Value, ours: Option<&Value>, pointer: &str, found: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    let Some(ours) = ours else {
        found.push(pointer.to_owned());
        return;
    };
    let (Some(theirs), Some(ours)) = (theirs.as_object(), ours.as_object()) else { return };
    // An empty set is the whole node. Where it is ours, nothing in it is foreign but what was put into an empty map.
    for (path, inner) in theirs {
        if path == "." {
            continue;
        }
        if let Some(name) = path.strip_prefix("f:") {
            let pointer = format!("{pointer}/{}", escape(name));
            beyond(&value[name], inner, ours.get(path), &pointer, found);
        } else if let Some(items) = value.as_array()
            && let Some(index) = items.iter().enumerate().position(|(index, item)| names(path, index, item))
        {
            beyond(&items[index], inner, ours.get(path), &format!("{pointer}/{index}"), found);
        }
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Orders pointers so that items of one list stand by their numbers.
fn by_position(a: &str, b: &str) -> std::cmp::Ordering {
    let parts = |text: &str| -> Vec<(u64, String)> {
        text.split('/').map(|part| (part.parse().unwrap_or(0), part.to_owned())).collect()
    };
    parts(a).cmp(&parts(b))
}

/// The JSON Patch that removes what [`foreign`] found, from exactly this version of the object.
pub fn removal(object: &Value, pointers: &[String]) -> Value {
    let version =
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": object["metadata"]["resourceVersion"]});
    let removals = pointers.iter().map(|pointer| json!({"op": "remove", "path": pointer}));
    Value::Array(std::iter::once(version).chain(removals).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(ours: Value, theirs: Value, body: Value) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "namespace": "s", "resourceVersion": "7", "labels": {"a": "b"},
        "managedFields": [
            {"manager": MANAGER, "operation": "Apply", "fieldsV1": ours},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": theirs},
            {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}},
        ]}});
        for (name, value) in body.as_object().unwrap() {
            object[name] = value.clone();
        }
        object
    }

    fn labels() -> Value {
        json!({"f:labels": {"f:a": {}}})
    }

    #[test]
    fn the_fingerprint_of_what_was_applied_is_that_of_the_manifest() {
        let manifest = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "namespace": "s", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "one", "args": ["x"]}], "empty": {}, "replicas": 1}});
        let ours = json!({"f:metadata": labels(), "f:spec": {"f:containers": {"k:{\"name\":\"one\"}": {".": {}, "f:name": {}, "f:args": {}}}, "f:empty": {}, "f:replicas": {}}});
        let body = json!({"spec": {"replicas": 1, "empty": {}, "defaulted": true, "containers": [{"name": "one", "args": ["x"], "image": "y"}]}});
        assert_eq!(Fingerprint::of_live(&live(ours, json!({}), body)), Some(Fingerprint::of_manifest(&manifest)));
    }

    #[test]
    fn a_changed_or_lost_field_changes_the_fingerprint() {
        let manifest = json!({"metadata": {"name": "n"}, "spec": {"replicas": 1}});
        let ours = json!({"f:spec": {"f:replicas": {}}});
        let same = live(ours.clone(), json!({}), json!({"spec": {"replicas": 1}}));
        let edited = live(json!({}), json!({"f:spec": {"f:replicas": {}}}), json!({"spec": {"replicas": 0}}));
        assert_eq!(Fingerprint::of_live(&same), Some(Fingerprint::of_manifest(&manifest)));
        assert_ne!(Fingerprint::of_live(&edited), Some(Fingerprint::of_manifest(&manifest)));
    }

    #[test]
    fn additions_of_others_are_found_and_removed_whole() {
        let ours = json!({"f:spec": {"f:url": {}, "f:containers": {"k:{\"name\":\"one\"}": {"f:name": {}}}}});
        let theirs = json!({"f:spec": {"f:proxySecretRef": {"f:name": {}}, "f:containers": {"k:{\"name\":\"two\"}": {".": {}, "f:name": {}}, "k:{\"name\":\"one\"}": {"f:image": {}}}}});
        let object = live(
            ours,
            theirs,
            json!({"spec": {"url": "u", "proxySecretRef": {"name": "p"}, "containers": [{"name": "one", "image": "evil"}, {"name": "two"}]}}),
        );
        let found = foreign(&object);
        assert_eq!(found, ["/spec/proxySecretRef", "/spec/containers/1", "/spec/containers/0/image"]);
        let patch = removal(&object, &found);
        assert_eq!(patch[0]["op"], "test");
        assert_eq!(patch.as_array().unwrap().len(), 4);
    }

    #[test]
    fn finalizers_status_and_fields_that_both_own_are_not_foreign() {
        let ours = json!({"f:spec": {"f:url": {}}});
        let theirs =
            json!({"f:metadata": {"f:finalizers": {"v:\"x\"": {}}}, "f:spec": {"f:url": {}}, "f:status": {"f:a": {}}});
        let object = live(ours, theirs, json!({"spec": {"url": "u"}, "status": {"a": 1}}));
        assert!(foreign(&object).is_empty());
    }

    #[test]
    fn what_is_put_into_an_empty_map_of_ours_is_foreign() {
        let ours = json!({"f:spec": {"f:emptyDir": {}}});
        let theirs = json!({"f:spec": {"f:emptyDir": {"f:medium": {}}}});
        let object = live(ours, theirs, json!({"spec": {"emptyDir": {"medium": "Memory"}}}));
        assert_eq!(foreign(&object), ["/spec/emptyDir/medium"]);
    }

    #[test]
    fn the_alias_of_an_account_s_name_is_no_addition() {
        let object = |alias: &str| {
            json!({
                "metadata": {"managedFields": [
                    {"manager": MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:serviceAccountName": {}}}}}},
                    {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:serviceAccount": {}}}}}},
                ]},
                "spec": {"template": {"spec": {"serviceAccountName": "source-controller", "serviceAccount": alias}}},
            })
        };
        assert!(foreign(&object("source-controller")).is_empty());
        assert_eq!(foreign(&object("evil")), ["/spec/template/spec/serviceAccount"]);
    }
}
