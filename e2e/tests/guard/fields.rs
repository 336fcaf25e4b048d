//! The table of fields of Flux objects against the CRDs of the release that the suites run: a field that the release has and the
//! table has not would be refused without anybody having looked at it, and the reverse is a decision about nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use sluicegate_e2e::suite::schemas::flux_kinds;
use sluicegate_policy::flux_object::{Decision, Field, KINDS, MayBe, Spec};

/// What of the schema and of the table does not go together.
fn compare(schema: &Value, known: &[Field], at: &str, found: &mut String) {
    let Some(properties) = schema["properties"].as_object() else {
        let _ = writeln!(found, "{at}: the table has fields, and the CRD has none");
        return;
    };
    for field in known.iter().filter(|field| !properties.contains_key(field.name)) {
        let _ = writeln!(found, "{at}.{}: in the table, and not in the CRD", field.name);
    }
    for (name, schema) in properties {
        let at = format!("{at}.{name}");
        let Some(field) = known.iter().find(|field| field.name == name) else {
            let _ =
                writeln!(found, "{at}: in the CRD, and nobody has decided about it in policy/src/flux_object/table.rs");
            continue;
        };
        let items = &schema["items"];
        match field.decision {
            Decision::Object(known) => compare(schema, known, &at, found),
            Decision::List(known) => compare(items, known, &at, found),
            Decision::Judged(judgement) if judgement.may_be == MayBe::Absent => {}
            Decision::Free | Decision::Judged(_) => {
                if schema["properties"].is_object() || items["properties"].is_object() {
                    let _ = writeln!(found, "{at}: has fields in the CRD, and nobody has decided about them");
                }
            }
        }
    }
}

#[test]
fn every_field_of_every_crd_has_a_decision() {
    let kinds = flux_kinds().expect("the CRDs");
    let mut found = String::new();
    for kind in &kinds {
        let known = KINDS.iter().find(|known| (known.group, known.name) == (&*kind.group, &*kind.kind));
        match known.map(|known| known.spec) {
            None => {
                let _ = writeln!(found, "{}: nobody has decided about this kind", kind.kind);
            }
            Some(Spec::Refused(_)) => {}
            Some(Spec::Fields(fields)) => {
                compare(&kind.spec, fields, &format!("{} {} spec", kind.api_version, kind.kind), &mut found);
            }
        }
    }
    let served: BTreeSet<&str> = kinds.iter().map(|kind| &*kind.kind).collect();
    for known in KINDS.iter().filter(|known| !served.contains(known.name)) {
        let _ = writeln!(found, "{}: the table has this kind, and the release has not", known.name);
    }
    assert!(found.is_empty(), "the table and the CRDs differ:\n{found}");
    assert!(kinds.len() >= 14, "only {} kinds", kinds.len());
}

#[test]
fn a_field_more_or_less_is_found() {
    let kinds = flux_kinds().expect("the CRDs");
    let git = kinds.iter().find(|kind| kind.kind == "GitRepository").expect("a kind");
    let Some(Spec::Fields(known)) = KINDS.iter().find(|kind| kind.name == "GitRepository").map(|kind| kind.spec) else {
        panic!("a kind with fields");
    };
    let differs = |schema: &Value| {
        let mut found = String::new();
        compare(schema, known, "spec", &mut found);
        found
    };
    assert_eq!(differs(&git.spec), "");
    let mut more = git.spec.clone();
    more["properties"]["ref"]["properties"]["newer"] = serde_json::json!({"type": "string"});
    assert!(differs(&more).contains("spec.ref.newer: in the CRD"));
    let mut less = git.spec.clone();
    less["properties"].as_object_mut().expect("fields").remove("url");
    assert!(differs(&less).contains("spec.url: in the table"));
    let mut deeper = git.spec.clone();
    deeper["properties"]["url"] = serde_json::json!({"type": "object", "properties": {"x": {"type": "string"}}});
    assert!(differs(&deeper).contains("spec.url: has fields in the CRD"));
}
