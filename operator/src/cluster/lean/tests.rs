use serde_json::json;
use sluicegate_policy::grammar::TenantName;

use super::*;

fn lean(object: &Value, reading: &Reading) -> Lean {
    read(object.to_string().as_bytes(), OneObject(reading)).unwrap()
}

fn object() -> Value {
    json!({
        "apiVersion": "v1", "kind": "X",
        "metadata": {
            "name": "n", "namespace": "s", "uid": "u", "resourceVersion": "7", "generation": 3,
            "labels": {MANAGED_BY_LABEL: "sluicegate", AGENT_LABEL: "a", "x": "y"},
            "annotations": {CREATED_ANNOTATION: "true", "z": "w", REQUESTED_AT_ANNOTATION: "now"},
            "finalizers": ["f"], "ownerReferences": [{"name": "o"}],
            "managedFields": [
                {"manager": "m", "fieldsV1": {"f:spec": {}}},
                {"manager": "m", "subresource": "status", "fieldsV1": {"f:status": {}}},
            ],
        },
        "spec": {"suspend": true, "list": [1, -2, 0.5, true, null, "t", {"a": {"b": []}}]},
        "status": {"inventory": {"entries": [{"id": "1"}, {"id": "2"}]}, "ready": true},
    })
}

#[test]
fn what_is_looked_at_is_as_it_was() {
    let whole = lean(&object(), &Reading::RENDERED);
    assert!(whole.whole);
    let mut expected = object();
    let metadata = expected["metadata"].as_object_mut().unwrap();
    metadata.remove("ownerReferences");
    metadata["managedFields"].as_array_mut().unwrap().pop();
    expected["status"]["inventory"]["entries"] = json!([null, null]);
    assert_eq!(whole.value, expected);

    let config = lean(&object(), &Reading::CONFIG).value;
    assert_eq!(config["metadata"]["labels"], json!({MANAGED_BY_LABEL: "sluicegate", AGENT_LABEL: "a"}));
    assert_eq!(config["metadata"]["annotations"], json!({CREATED_ANNOTATION: "true", REQUESTED_AT_ANNOTATION: "now"}));
    assert_eq!(config["metadata"]["managedFields"], Value::Null);
    assert_eq!(config["spec"], object()["spec"]);

    let namespace = lean(&object(), &Reading::NAMESPACE).value;
    assert_eq!((&namespace["spec"], &namespace["status"]), (&Value::Null, &Value::Null));
    assert_eq!(namespace["metadata"]["labels"], object()["metadata"]["labels"]);
    assert_eq!(namespace["metadata"]["managedFields"].as_array().unwrap().len(), 1);
}

#[test]
fn of_what_is_too_large_the_identity_remains_wherever_the_size_is() {
    let many = |of: fn(usize) -> (String, Value)| (0..200_000).map(of).collect::<Map<_, _>>();
    let entry = |number: usize| (format!("k{number}"), json!(""));
    let nested = (0..400).fold(json!(1), |inner, _| json!([inner]));
    for (place, value) in [
        ("/metadata/labels", Value::Object(many(entry))),
        ("/metadata/annotations", Value::Object(many(entry))),
        ("/metadata/finalizers", json!(vec![""; 2_000_000])),
        ("/metadata/managedFields", json!([{"fieldsV1": many(|number| (format!("f:{number}"), json!({})))}])),
        ("/spec", json!(vec![json!([0]); 400_000])),
        ("/spec", json!(vec![json!({"a": 0}); 100_000])),
        ("/spec", json!("x".repeat(40_000_000))),
        ("/spec", nested),
        ("/status", Value::Object(many(entry))),
    ] {
        let mut large = object();
        let (parent, field) = place.rsplit_once('/').unwrap();
        match (large.pointer_mut(place), value) {
            (Some(Value::Object(there)), Value::Object(more)) if parent == "/metadata" => there.extend(more),
            (_, value) => large.pointer_mut(parent).unwrap()[field] = value,
        }
        let reduced = lean(&large, &Reading { budget: 8 * 1024 * 1024, ..Reading::RENDERED });
        assert!(!reduced.whole, "{place}");
        let metadata = &reduced.value["metadata"];
        assert_eq!(metadata["labels"], json!({MANAGED_BY_LABEL: "sluicegate", AGENT_LABEL: "a"}), "{place}");
        assert_eq!(reduced.name(), ("s".to_owned(), "n".to_owned()), "{place}");
        assert_eq!((&metadata["uid"], &metadata["generation"]), (&json!("u"), &json!(3)), "{place}");
        assert_eq!(metadata["finalizers"], if place.ends_with("finalizers") { Value::Null } else { json!(["f"]) });
        assert!(reduced.value.to_string().len() < 500, "{place}");
        // Also where it is read after what is too large.
        if place.starts_with("/metadata") || place == "/status" {
            assert_eq!(reduced.value["spec"], json!({"suspend": true}), "{place}");
        }
    }
}

#[test]
fn a_namespace_with_too_many_labels_is_nobody_s() {
    let mut namespace = object();
    namespace["metadata"]["labels"][TENANT_LABEL] = json!("team-a");
    let labels = namespace_labels(&lean(&namespace, &Reading::NAMESPACE));
    assert_eq!((labels[TENANT_LABEL].as_str(), labels["x"].as_str()), ("team-a", "y"));
    let more = (0..5_000).map(|number| (format!("k{number}"), json!("")));
    namespace["metadata"]["labels"].as_object_mut().unwrap().extend(more);
    let labels = namespace_labels(&lean(&namespace, &Reading::NAMESPACE));
    assert!(TenantName::new(&labels[TENANT_LABEL]).is_err() && labels.len() == 2, "{labels:?}");
}

#[test]
fn labels_that_are_not_looked_at_cost_nothing() {
    let mut config = object();
    config["metadata"]["labels"] = Value::Object((0..200_000).map(|n| (format!("k{n}"), json!(""))).collect());
    let read = lean(&config, &Reading::CONFIG);
    assert!(read.whole);
    assert_eq!(read.value["metadata"]["labels"], json!({}));
}

#[test]
fn events_pages_and_refusals_are_told_apart() {
    // In the order in which the API server writes them.
    let event = |kind: &str, object: Value| {
        let line = format!(r#"{{"type":"{kind}","object":{object}}}"#);
        read(line.as_bytes(), OneEvent(&Reading::RENDERED))
    };
    assert!(matches!(event("ERROR", json!({"kind": "Status", "code": 410, "message": "old"})),
        Ok(Event::Error(Status { code: 410, message, .. })) if message == "old"));
    let end = json!({"metadata": {"resourceVersion": "9", "annotations": {INITIAL_EVENTS_END: "true"}}});
    assert!(matches!(event("BOOKMARK", end),
        Ok(Event::Bookmark(bookmark)) if bookmark.ends_initial_events() && bookmark.text("resourceVersion") == "9"));
    for (kind, lost) in [("ADDED", false), ("MODIFIED", false), ("DELETED", true)] {
        let event = event(kind, object());
        assert_eq!(matches!(event, Ok(Event::Lost(_))), lost);
        assert_eq!(matches!(event, Ok(Event::Saw(_))), !lost);
    }
    assert!(event("NEW", object()).is_err());
    assert!(read(b"{}", OneEvent(&Reading::RENDERED)).is_err());
    let mut names = Vec::new();
    let page =
        json!({"kind": "XList", "metadata": {"resourceVersion": "5", "continue": "c"}, "items": [object(), object()]});
    let end = read(page.to_string().as_bytes(), OnePage(&Reading::RENDERED, |object: Lean| names.push(object.name())));
    assert_eq!(end, Ok(PageEnd { resource_version: "5".to_owned(), next: "c".to_owned() }));
    assert_eq!(names.len(), 2);
}
