//! Files as bytes: what is read has its place in the text, and means to a reader of JSON what it means to us.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sluicegate_cli::{
    manifest::{
        de, path,
        yaml::{Document, Kind, Limits, Node, decode_text, parse},
    },
    platform::decode_config,
};

/// Every place lies in the text, and every path leads to its value.
fn places(text: &str, document: &Document<'_>, node: Node<'_>, path: &str, left: &mut usize) {
    let span = node.span();
    assert!(text.get(span.range()).is_some(), "{span:?} is not in the text");
    let before = &text[..span.start as usize];
    assert!(span.line >= 1 && span.column >= 1 && span.line as usize <= before.split(['\n', '\r']).count());
    assert_eq!(document.find(path).map(|found| found.span()), Some(span), "{path:?}");
    for (index, item) in node.items().enumerate() {
        // Aliases may stand for the same many times over.
        if *left == 0 {
            return;
        }
        *left -= 1;
        let mut below = path.to_owned();
        path::push_index(&mut below, index);
        places(text, document, item, &below, left);
    }
    for entry in node.entries() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        assert!(text.get(entry.place().highlight().range()).is_some());
        let mut below = path.to_owned();
        path::push_key(&mut below, entry.name());
        places(text, document, entry.value, &below, left);
    }
}

/// The same but for numbers, which JSON readers round in ways of their own.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(_), Value::Number(_)) => true,
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().all(|(key, value)| theirs.get(key).is_some_and(|other| same(value, other)))
        }
        _ => ours == theirs,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let text = match decode_text(bytes, &limits) {
        Ok(text) => text,
        Err(error) => {
            assert!(error.span.start as usize <= bytes.len() && !error.to_string().is_empty());
            return;
        }
    };
    let documents = match parse(text, &limits) {
        Ok(documents) => documents,
        Err(error) => {
            assert!(text.get(error.span.range()).is_some(), "{:?}: {error}", error.span);
            assert!(error.span.line >= 1 && error.span.column >= 1);
            return;
        }
    };
    for document in &documents {
        places(text, document, document.root(), "", &mut 2_000);
        match de::decode::<Value>(document.root()) {
            Ok(decoded) => assert!(decoded.unknown.is_empty()),
            Err(error) => assert!(text.get(error.span().range()).is_some()),
        }
        if document.root().kind() == Kind::Mapping {
            match decode_config(document.root()) {
                Ok(decoded) => {
                    for unknown in &decoded.unknown {
                        assert!(text.get(unknown.span().range()).is_some());
                    }
                }
                Err(error) => assert!(text.get(error.span().range()).is_some()),
            }
        }
    }
    if let (Ok(theirs), [document]) = (serde_json::from_str::<Value>(text), documents.as_slice())
        && text.starts_with(['{', '['])
        && let Ok(ours) = de::decode::<Value>(document.root())
    {
        assert!(same(&ours.value, &theirs), "{:?} {theirs:?}", ours.value);
    }
});
