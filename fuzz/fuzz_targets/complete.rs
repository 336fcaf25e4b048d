//! Fields into files: the new text means the old one and the fields, has every byte of it, and needs nothing more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use sluicegate_cli::manifest::{
    de,
    edit::{Addition, insert_fields},
    yaml::{Limits, parse},
};

/// What the documents mean; `None` where that is more than JSON can say.
fn meaning(text: &str) -> Option<Vec<Value>> {
    let documents = parse(text, &Limits::default()).ok()?;
    documents.iter().map(|document| de::decode::<Value>(document.root()).ok().map(|decoded| decoded.value)).collect()
}

/// Puts a value where the path of a field leads.
fn add(object: &mut Value, path: &str, value: &Value) {
    let mut place = object;
    for name in path.split('.') {
        if place.is_null() {
            *place = json!({});
        }
        place = &mut place[name];
    }
    *place = value.clone();
}

/// Whether each byte of `before` is in `after`, in its order.
fn is_insertion(before: &str, after: &str) -> bool {
    let mut rest = after.bytes();
    before.bytes().all(|byte| rest.any(|other| other == byte))
}

fuzz_target!(|text: &str| {
    let additions: Vec<Addition> = [
        ("spec.source.ref", json!({"branch": "main"})),
        ("spec.path", json!("./")),
        ("spec.cluster", json!("prod-eu")),
        ("spec.namespace", json!("no")),
    ]
    .map(|(path, value)| Addition::new(path, value))
    .into();
    for document in 0..2 {
        let Ok(after) = insert_fields(text, document, &additions) else { continue };
        assert_eq!(insert_fields(&after, document, &additions).as_deref(), Ok(after.as_str()), "twice");
        // A null that is written out gives way to its value.
        let nulls = ["null", "Null", "NULL", "~"].iter().any(|null| text.contains(null));
        assert!(nulls || is_insertion(text, &after), "{text:?} {after:?}");
        if let Some(mut expected) = meaning(text) {
            for addition in &additions {
                add(&mut expected[document], &addition.path, &addition.value);
            }
            assert_eq!(meaning(&after), Some(expected), "{text:?} {after:?}");
        }
        if text.contains("\r\n") && !text.replace("\r\n", "").contains(['\r', '\n']) {
            assert!(!after.replace("\r\n", "").contains('\n'), "{after:?}");
        }
    }
});
