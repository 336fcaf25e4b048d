//! Flux objects: what they fetch, and what of them an allow list of fields does not have.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use sluicegate_crds::{AGENT_LABEL, SourceKind};

use super::{Lacks, Reach, walk::Key};
use crate::flux_object;

/// What of a Flux object is judged, and nothing else of it: values for a chart, for example, are passed over unread.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FluxObject {
    /// The label that keeps a Flux of the platform away.
    pub(crate) agent: Option<String>,
    /// Its spec without values for a chart.
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
        let judged = |key: &str| self.kind != "HelmRelease" || key != "values";
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
    flux_object::judge(kind, namespace, spec, old, &mut violations);
    found.extend(violations.into_iter().map(|violation| Reach::Forbidden(Box::new(violation))));
    fetched(kind, spec, old, found);
    bare(kind, spec, old, found);
}

/// What is fetched or scanned.
fn fetched(kind: &str, spec: &Value, old: Option<&Value>, found: &mut Vec<Reach>) {
    let text = |field: &str| spec.get(field).and_then(Value::as_str);
    let new = |field: &str| differs(spec, old, field);
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

/// What policy may ask for, and an object that is written by hand has not.
fn bare(kind: &str, spec: &Value, old: Option<&Value>, found: &mut Vec<Reach>) {
    let is_source = found.iter().rev().find_map(|reach| match reach {
        Reach::Source { field, .. } => Some(field.clone()),
        _ => None,
    });
    if let Some(field) = is_source {
        found.push(Reach::Bare { field, lacks: Lacks::Signature });
    }
    let digest = spec.get("ref").and_then(|reference| reference.get("digest")).and_then(Value::as_str);
    if kind == "OCIRepository"
        && digest.unwrap_or_default().is_empty()
        && (differs(spec, old, "url") || differs(spec, old, "ref"))
    {
        found.push(Reach::Bare { field: "spec.ref".to_owned(), lacks: Lacks::Digest });
    }
    // Of a Helm repository signatures are checked chart by chart.
    let chart = |spec: &Value| match kind {
        "HelmChart" => Some(spec.clone()),
        "HelmRelease" => spec.get("chart")?.get("spec").cloned(),
        _ => None,
    };
    let field = if kind == "HelmChart" { "spec.sourceRef" } else { "spec.chart.spec.sourceRef" };
    if let Some(new) = chart(spec)
        && new["sourceRef"]["kind"] == "HelmRepository"
        && CHART.iter().any(|field| differs(&new, old.and_then(chart).as_ref(), field))
    {
        found.push(Reach::Bare { field: field.to_owned(), lacks: Lacks::Signature });
    }
}

/// What says which chart it is.
pub(crate) const CHART: [&str; 3] = ["chart", "sourceRef", "version"];

fn differs(spec: &Value, old: Option<&Value>, field: &str) -> bool {
    old.is_none_or(|old| old.get(field) != spec.get(field))
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
        assert_eq!(
            object.spec,
            json!({"interval": "1m", "serviceAccountName": "x", "chart": {"spec": {"chart": "y"}}})
        );
        let object = FluxObject::read("HelmChart", r#"{"spec":{"values":{}}}"#).unwrap();
        assert_eq!(object.spec, json!({"values": {}}), "only a HelmRelease has values of the chart's");
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
        // The source is one more: it may have to be signed.
        assert_eq!(all(bad.clone(), json!({})), 4);
        assert_eq!(all(bad.clone(), bad.clone()), 0);
        let mut worse = bad.clone();
        worse["ignore"] = json!("y");
        assert_eq!(all(worse, bad), 1);
        let mut found = Vec::new();
        let bucket = |name: &str| json!({"endpoint": "s3.example.com", "bucketName": name});
        reaches("Bucket", "team-a", &bucket("b"), Some(&bucket("a")), &mut found);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_policy_may_ask_for_is_missed_where_it_is_new() {
        let bare = |kind: &str, spec: Value, old: Option<&Value>| -> Vec<(String, Lacks)> {
            let mut found = Vec::new();
            reaches(kind, "team-a", &spec, old, &mut found);
            let bare = |reach| match reach {
                Reach::Bare { field, lacks } => Some((field, lacks)),
                _ => None,
            };
            found.into_iter().filter_map(bare).collect()
        };
        let oci = json!({"url": "oci://registry.example.com/x", "ref": {"tag": "1"}});
        let signature = |field: &str| (field.to_owned(), Lacks::Signature);
        let digest = ("spec.ref".to_owned(), Lacks::Digest);
        assert_eq!(bare("OCIRepository", oci.clone(), None), [signature("spec.url"), digest.clone()]);
        assert_eq!(bare("OCIRepository", oci.clone(), Some(&oci)), []);
        let mut tagged = oci.clone();
        tagged["ref"] = json!({"tag": "2"});
        assert_eq!(bare("OCIRepository", tagged, Some(&oci)), [digest]);
        let mut pinned = oci.clone();
        pinned["ref"] = json!({"digest": "sha256:0"});
        assert_eq!(bare("OCIRepository", pinned, Some(&oci)), []);
        let chart = |kind: &str| json!({"chart": "x", "sourceRef": {"kind": kind, "name": "x"}});
        assert_eq!(bare("HelmChart", chart("HelmRepository"), None), [signature("spec.sourceRef")]);
        assert_eq!(bare("HelmChart", chart("GitRepository"), None), []);
        let release = |kind: &str, interval: &str| json!({"interval": interval, "chart": {"spec": chart(kind)}});
        let old = release("HelmRepository", "1m");
        assert_eq!(bare("HelmRelease", old.clone(), None), [signature("spec.chart.spec.sourceRef")]);
        assert_eq!(bare("HelmRelease", release("HelmRepository", "2m"), Some(&old)), []);
        assert_eq!(bare("HelmRelease", json!({"chartRef": {"kind": "OCIRepository", "name": "x"}}), None), []);
    }
}
