//! Who else writes an object of ours, by `metadata.managedFields`: the manager, by which operation and subresource, and which
//! fields. For people; nothing is decided by it, since everybody may call themselves what they like.

use kube::core::ObjectMeta;
use serde_json::{Value, json};

use crate::{
    fields::names,
    object::{MANAGER, SUSPENDER},
};

/// Where the API server does not say who it was.
pub const UNKNOWN: &str = "the API server does not say who writes it";
/// Where the object is gone.
const DELETED: &str = "somebody deletes it, and the audit log of the API server says who";
/// Most writers that are named.
const WRITERS: usize = 3;
/// Most fields of one that are named.
const FIELDS: usize = 5;

/// Who changes, adds to or deletes an object that should be as `manifest`; `live` is the object as it is.
pub fn of(live: Option<&Value>, manifest: &Value) -> String {
    let Some(live) = live else { return DELETED.to_owned() };
    let mut entries: Vec<(&Value, Vec<String>)> = others(live)
        .map(|entry| {
            let mut fields = Vec::new();
            differing(&entry["fieldsV1"], live, manifest, &mut fields);
            (entry, fields)
        })
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    entries.sort_by(|(one, _), (other, _)| time(other).cmp(time(one)));
    if !entries.is_empty() {
        let told = entries.iter().take(WRITERS).map(|(entry, fields)| {
            let shown = fields.iter().take(FIELDS).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if fields.len() > FIELDS { " and more" } else { "" };
            format!("{} writes {shown}{more}", manager(entry))
        });
        return told.collect::<Vec<_>>().join("; ");
    }
    let mut lost = Vec::new();
    missing(manifest, live, "", &mut lost);
    let lost = lost.into_iter().take(FIELDS).collect::<Vec<_>>().join(", ");
    match (others(live).max_by_key(|entry| time(entry)), lost.is_empty()) {
        (Some(last), true) => format!("{} wrote it last", manager(last)),
        (Some(last), false) => format!("{lost} is taken away; {} wrote the object last", manager(last)),
        (None, true) => UNKNOWN.to_owned(),
        (None, false) => format!("{lost} is taken away; {UNKNOWN}"),
    }
}

/// Who wrote an object last, or its status.
pub fn last(live: Option<&Value>, status: bool) -> String {
    let Some(live) = live else { return DELETED.to_owned() };
    let entries = managed(live).filter(|entry| is_other(entry) && (entry["subresource"] == "status") == status);
    entries
        .max_by_key(|entry| time(entry))
        .map_or_else(|| UNKNOWN.to_owned(), |last| format!("{} writes it", manager(last)))
}

/// Who wrote the status of an object of ours last, by its metadata.
pub fn status_of(metadata: &ObjectMeta) -> String {
    last(Some(&json!({"metadata": metadata})), true)
}

/// Who else wrote an object last, and when, by its metadata.
pub fn newest(metadata: &ObjectMeta) -> Option<(String, String)> {
    let object = json!({"metadata": metadata});
    let last = others(&object).max_by_key(|entry| time(entry))?;
    Some((time(last).to_owned(), manager(last)))
}

fn managed(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten()
}

/// Entries of others, statuses aside: those have writers of their own.
fn others(object: &Value) -> impl Iterator<Item = &Value> {
    managed(object).filter(|entry| is_other(entry) && entry["subresource"] != "status")
}

fn is_other(entry: &Value) -> bool {
    entry["manager"] != MANAGER && entry["manager"] != SUSPENDER
}

/// RFC 3339 in UTC, as the API server writes it: in the order of text.
fn time(entry: &Value) -> &str {
    entry["time"].as_str().unwrap_or_default()
}

fn manager(entry: &Value) -> String {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    match (text("manager"), text("subresource")) {
        ("", _) => "a writer without a name".to_owned(),
        (name, "") => format!("`{name}` ({})", text("operation")),
        (name, "scale") => format!(
            "`{name}` ({} by the subresource scale, as a HorizontalPodAutoscaler or `kubectl scale` does)",
            text("operation")
        ),
        (name, subresource) => format!("`{name}` ({} by the subresource {subresource})", text("operation")),
    }
}

/// Fields that `set` names and that are not as the manifest has them, additions included. Metadata count only where they are
/// in the manifest.
fn differing(set: &Value, live: &Value, manifest: &Value, found: &mut Vec<String>) {
    for (path, inner) in set.as_object().into_iter().flatten() {
        match path.strip_prefix("f:") {
            Some("apiVersion" | "kind" | "status") | None => {}
            Some("metadata") => {
                for part in ["labels", "annotations"] {
                    let wanted = &manifest["metadata"][part];
                    for name in inner[format!("f:{part}")].as_object().into_iter().flat_map(|set| set.keys()) {
                        let name = name.strip_prefix("f:").unwrap_or_default();
                        if !wanted[name].is_null() && wanted[name] != live["metadata"][part][name] {
                            found.push(format!("metadata.{part}.{name}"));
                        }
                    }
                }
            }
            Some(name) => below(inner, &live[name], &manifest[name], name, found),
        }
    }
}

fn below(set: &Value, live: &Value, wanted: &Value, path: &str, found: &mut Vec<String>) {
    if live.is_null() {
        return;
    }
    let children = || set.as_object().into_iter().flatten().filter(|(element, _)| *element != ".");
    if wanted.is_null() || children().next().is_none() {
        if wanted != live {
            found.push(path.to_owned());
        }
        return;
    }
    for (element, inner) in children() {
        if let Some(name) = element.strip_prefix("f:") {
            below(inner, &live[name], &wanted[name], &format!("{path}.{name}"), found);
            continue;
        }
        let item = |list: &Value| {
            let items = list.as_array().map_or(&[][..], Vec::as_slice);
            items.iter().enumerate().find(|(index, item)| names(element, *index, item)).map(|(_, item)| item.clone())
        };
        let (theirs, ours) = (item(live).unwrap_or_default(), item(wanted).unwrap_or_default());
        below(inner, &theirs, &ours, &format!("{path}[{}]", element.get(2..).unwrap_or_default()), found);
    }
}

/// Fields of the manifest that the object does not have.
fn missing(manifest: &Value, live: &Value, path: &str, found: &mut Vec<String>) {
    for (name, wanted) in manifest.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match &live[name] {
            Value::Null => found.push(path),
            there if wanted.is_object() => missing(wanted, there, &path, found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(spec: Value, entries: Value) -> Value {
        json!({"metadata": {"name": "n", "labels": {"a": "theirs", "b": "b"}, "managedFields": entries}, "spec": spec, "status": {"x": 1}})
    }

    fn manifest() -> Value {
        json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "labels": {"a": "ours"}},
            "spec": {"replicas": 1, "containers": [{"name": "one", "image": "ours"}]}})
    }

    #[test]
    fn names_the_autoscaler() {
        let entries = json!([
            {"manager": MANAGER, "operation": "Apply", "time": "2026-01-01T00:00:09Z", "fieldsV1": {"f:spec": {"f:containers": {}}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "time": "2026-01-01T00:00:08Z", "fieldsV1": {"f:status": {"f:x": {}}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "time": "2026-01-01T00:00:08Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]);
        let live = object(json!({"replicas": 3, "containers": [{"name": "one", "image": "ours"}]}), entries);
        let expected = "`kube-controller-manager` (Update by the subresource scale, as a HorizontalPodAutoscaler or \
                        `kubectl scale` does) writes spec.replicas";
        assert_eq!(of(Some(&live), &manifest()), expected);
    }

    #[test]
    fn names_fields_that_were_changed_or_added_and_the_newest_writer_first() {
        let entries = json!([
            {"manager": "old", "operation": "Update", "time": "2026-01-01T00:00:01Z", "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}}},
            {"manager": "new", "operation": "Apply", "time": "2026-01-01T00:00:02Z", "fieldsV1": {"f:spec": {
                "f:extra": {"f:deep": {}}, "f:replicas": {}, "f:containers": {"k:{\"name\":\"one\"}": {".": {}, "f:image": {}, "f:name": {}}, "k:{\"name\":\"two\"}": {".": {}, "f:name": {}}}}}},
        ]);
        let spec = json!({"replicas": 1, "extra": {"deep": 1}, "containers": [{"name": "one", "image": "evil"}, {"name": "two"}]});
        let told = of(Some(&object(spec, entries)), &manifest());
        assert_eq!(
            told,
            "`new` (Apply) writes spec.containers[{\"name\":\"one\"}].image, spec.containers[{\"name\":\"two\"}], \
             spec.extra; `old` (Update) writes metadata.labels.a"
        );
    }

    #[test]
    fn names_what_is_gone_and_who_wrote_last() {
        let entries =
            json!([{"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T00:00:01Z", "fieldsV1": {}}]);
        let mut live = object(json!({"containers": []}), entries);
        let told = of(Some(&live), &manifest());
        assert!(told.contains("spec.replicas is taken away; `kubectl-edit` (Update) wrote"), "{told}");
        live["metadata"]["managedFields"] = Value::Null;
        assert!(of(Some(&live), &manifest()).ends_with(UNKNOWN));
        assert_eq!(of(None, &manifest()), DELETED);
    }

    #[test]
    fn names_who_writes_a_status() {
        let entries = json!([
            {"manager": MANAGER, "operation": "Apply", "subresource": "status", "time": "2026-01-01T00:00:03Z"},
            {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T00:00:02Z"},
            {"manager": "meddler", "operation": "Update", "subresource": "status", "time": "2026-01-01T00:00:01Z"},
        ]);
        let live = object(json!({}), entries);
        assert_eq!(last(Some(&live), true), "`meddler` (Update by the subresource status) writes it");
        assert_eq!(last(Some(&live), false), "`kubectl-edit` (Update) writes it");
    }
}
