//! AdmissionReviews as bytes: whatever has a uid is answered with it, and what is read says what a reader of JSON reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sluicegate_policy::workload::Pods;
use sluicegate_webhook::review::{Answer, Object, Reading, ReviewError, encode, read};

/// The answer is one that the API server takes: with the uid, and a refusal with its reason.
fn answered(uid: &str, answer: &Answer) {
    let sent = encode(uid, answer).expect("texts are JSON");
    let sent: Value = serde_json::from_slice(&sent).expect("an answer is JSON");
    assert_eq!(sent["response"]["uid"], uid);
    assert_eq!(sent["response"]["allowed"], answer.is_allowed());
    assert_eq!(sent["response"]["status"]["message"].as_str(), answer.refusal());
}

/// Whoever reads an object once knows of it what two readings say.
fn agree(once: &Option<Object<'_>>, twice: &Option<Object<'_>>) {
    let text = twice.as_ref().map(|object| object.text().expect("texts were asked for"));
    assert_ne!(text, Some("null"));
    match once {
        Some(Object::Pods(pods)) => assert_eq!(Some(pods), text.and_then(|text| Pods::read(text).ok()).as_ref()),
        Some(Object::Config(read)) => {
            assert_eq!(Some(&**read), text.and_then(|text| serde_json::from_str(text).ok()).as_ref());
        }
        Some(Object::Text(kept)) => assert_eq!(Some(kept.get()), text),
        None => assert_eq!(text, None),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let texts = read(bytes, Reading::Texts);
    for reading in [Reading::Pods, Reading::Configs] {
        match (&read(bytes, reading), &texts) {
            (Ok(once), Ok(twice)) => {
                assert_eq!((&once.uid, &once.name, once.operation), (&twice.uid, &twice.name, twice.operation));
                agree(&once.object, &twice.object);
                agree(&once.old_object, &twice.old_object);
            }
            (Err(once), Err(twice)) => assert_eq!(once, twice),
            (once, twice) => panic!("{once:?} and {twice:?}"),
        }
    }
    match texts {
        Ok(request) => {
            assert!(!request.uid.is_empty());
            answered(&request.uid, &Answer::allowed());
        }
        Err(ReviewError::Denied { uid, reason }) => {
            assert!(!uid.is_empty() && !reason.is_empty());
            answered(&uid, &Answer::denied(reason));
        }
        Err(ReviewError::Unreadable(reason)) => assert!(!reason.is_empty()),
    }
    // Without what only texts can have (a key that comes twice), whatever has a uid is answered.
    let Ok(tree) = serde_json::from_slice::<Value>(bytes) else { return };
    // A list stands for an object whose fields come in order; nobody sends that.
    let in_order = |pointer: &str| tree.pointer(pointer).is_some_and(Value::is_array);
    if ["", "/request", "/request/kind", "/request/resource", "/request/userInfo"].into_iter().any(in_order) {
        return;
    }
    let body = tree.to_string();
    let expected = |pointer: &str| tree.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let uid = expected("/request/uid");
    match read(body.as_bytes(), Reading::Texts) {
        Ok(request) => {
            assert_eq!(request.uid, uid);
            assert_eq!(request.name, expected("/request/name"));
            assert_eq!(request.namespace, expected("/request/namespace"));
            assert_eq!(request.sub_resource, expected("/request/subResource"));
            assert_eq!(request.kind.kind, expected("/request/kind/kind"));
            assert_eq!(request.resource.resource, expected("/request/resource/resource"));
            assert_eq!(request.user_info.username, expected("/request/userInfo/username"));
            assert_eq!((expected("/apiVersion"), expected("/kind")), ("admission.k8s.io/v1", "AdmissionReview"));
        }
        Err(ReviewError::Denied { uid: found, .. }) => assert_eq!(found, uid),
        Err(ReviewError::Unreadable(_)) => assert!(uid.is_empty(), "{body}"),
    }
});
