//! Flux objects: what they fetch, and the fields that reach past every list.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use sluicegate_crds::{AGENT_LABEL, SourceKind};

use super::{Reach, walk::Key};
use crate::flux_object::FIELDS;

/// What of a Flux object is judged, and nothing else of it: values for a chart, for example, are passed over unread.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FluxObject {
    /// The label that keeps a Flux of the platform away.
    pub(crate) agent: Option<String>,
    /// Its judged fields.
    pub(crate) spec: Value,
}

impl FluxObject {
    /// Reads one of a kind.
    ///
    /// # Errors
    /// Where the text is no object.
    pub(crate) fn read(kind: &str, text: &str) -> Result<Self, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let object = json.deserialize_map(Judged { kind })?;
        json.end().map(|()| object)
    }
}

/// What the fields of a spec, other than those of the table, are read for.
fn is_source(key: &str) -> bool {
    matches!(key, "url" | "endpoint" | "bucketName" | "image")
}

struct Judged<'k> {
    kind: &'k str,
}

impl<'o> Visitor<'o> for Judged<'_> {
    type Value = FluxObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'o>>(self, mut entries: A) -> Result<FluxObject, A::Error> {
        let mut object = FluxObject::default();
        let judged = |key: &str| {
            is_source(key)
                || FIELDS.iter().any(|field| field.path.first() == Some(&key) && field.kinds.contains(&self.kind))
        };
        while let Some(key) = entries.next_key_seed(Key)? {
            match &*key {
                "spec" => object.spec = entries.next_value_seed(Pruned(&judged))?,
                "metadata" => {
                    let metadata = entries.next_value_seed(Pruned(&|key| key == "labels"))?;
                    object.agent = metadata["labels"][AGENT_LABEL].as_str().map(str::to_owned);
                }
                _ => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(object)
    }
}

/// A value; of an object only these fields.
struct Pruned<'k>(&'k dyn Fn(&str) -> bool);

impl<'o> DeserializeSeed<'o> for Pruned<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'o>>(self, value: D) -> Result<Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'o> Visitor<'o> for Pruned<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'o>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            if (self.0)(&key) {
                kept.insert(key.into_owned(), entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Value::Object(kept))
    }
}

/// What the spec of a Flux object reaches that the old one does not.
pub(super) fn reaches(kind: &str, namespace: &str, spec: &Value, old: Option<&Value>, found: &mut Vec<Reach>) {
    let mut violations = Vec::new();
    for field in FIELDS.iter().filter(|field| old.is_none_or(|old| field.of(spec) != field.of(old))) {
        field.judge(kind, namespace, spec, &mut violations);
    }
    found.extend(violations.into_iter().map(|violation| Reach::Forbidden(Box::new(violation))));
    let text = |field: &str| spec.get(field).and_then(Value::as_str);
    let new = |field: &str| old.is_none_or(|old| old.get(field) != spec.get(field));
    let url = |kind: SourceKind| {
        let url = text("url").filter(|_| new("url"))?.to_owned();
        Some(Reach::Source { field: "spec.url".to_owned(), url, kind })
    };
    found.extend(match kind {
        "GitRepository" => url(SourceKind::Git),
        "OCIRepository" => url(SourceKind::Oci),
        "HelmRepository" => url(SourceKind::Helm),
        "Bucket" => match (text("endpoint"), text("bucketName")) {
            (Some(endpoint), Some(bucket)) if new("endpoint") || new("bucketName") => Some(Reach::Source {
                field: "spec.endpoint".to_owned(),
                url: format!("https://{endpoint}/{bucket}"),
                kind: SourceKind::Bucket,
            }),
            _ => None,
        },
        "ImageRepository" => text("image")
            .filter(|_| new("image"))
            .map(|image| Reach::Image { field: "spec.image".to_owned(), image: image.to_owned() }),
        _ => None,
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_judged_is_read() {
        let text = json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease",
            "metadata": {"name": "x", "managedFields": [{"fieldsV1": {"f:spec": {}}}], "labels": {AGENT_LABEL: "team-a", "x": "y"}},
            "spec": {"interval": "1m", "values": {"a": [1, 2, {"b": null}]}, "serviceAccountName": "x", "chart": {"spec": {"chart": "y"}}},
            "status": {"conditions": []},
        })
        .to_string();
        let object = FluxObject::read("HelmRelease", &text).unwrap();
        assert_eq!(object.agent.as_deref(), Some("team-a"));
        assert_eq!(object.spec, json!({"serviceAccountName": "x", "chart": {"spec": {"chart": "y"}}}));
        assert_eq!(FluxObject::read("Receiver", r#"{"metadata":null}"#).unwrap(), FluxObject::default());
        for text in ["[]", "7", "{", "{\"spec\":7}", "{} {}"] {
            assert!(FluxObject::read("HelmRelease", text).is_err(), "{text}");
        }
    }

    #[test]
    fn of_a_change_what_is_new_counts() {
        let all = |spec: Value, old: Value| {
            let mut found = Vec::new();
            reaches("GitRepository", "team-a", &spec, Some(&old), &mut found);
            found.len()
        };
        let bad = json!({"url": "https://evil.example/x", "recurseSubmodules": true, "ignore": "x"});
        assert_eq!(all(bad.clone(), json!({})), 3);
        assert_eq!(all(bad.clone(), bad.clone()), 0);
        let mut worse = bad.clone();
        worse["ignore"] = json!("y");
        assert_eq!(all(worse, bad), 1);
        let mut found = Vec::new();
        let bucket = |name: &str| json!({"endpoint": "s3.example.com", "bucketName": name});
        reaches("Bucket", "team-a", &bucket("b"), Some(&bucket("a")), &mut found);
        assert_eq!(found.len(), 1);
    }
}
