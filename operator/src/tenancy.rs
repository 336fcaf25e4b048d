//! Namespaces as the engine needs them: whose label is whose. An administrator's label makes a namespace a home; what
//! Sluicegate writes on a target does not. The two are told apart by `metadata.managedFields`, so whatever watches Namespaces
//! keeps those.

use sluicegate_crds::{CREATED_ANNOTATION, TENANT_LABEL};
use sluicegate_policy::{LabelWriter, Namespace};

use crate::{
    cluster::lean::{Lean, namespace_labels},
    fields,
    object::MANAGERS,
};

/// Reads a Namespace.
///
/// A label of which `managedFields` do not tell who wrote it is an administrator's. On a namespace with our annotation
/// [`CREATED_ANNOTATION`] no label is: that one we made ourselves, whatever a backup that was restored, or a user who may
/// change Namespaces, has made of the managed fields.
pub fn namespace(object: &Lean) -> Namespace {
    let labels = namespace_labels(object);
    let object = &object.value;
    let metadata = &object["metadata"];
    let tenant_label_by = match labels.contains_key(TENANT_LABEL) {
        _ if metadata["annotations"][CREATED_ANNOTATION].is_string() => LabelWriter::Creator,
        false => LabelWriter::Administrator,
        true => {
            let writers = fields::owners(object, &["metadata", "labels", TENANT_LABEL]);
            let ours = !writers.is_empty() && writers.iter().all(|writer| MANAGERS.contains(writer));
            if ours { LabelWriter::Sluicegate } else { LabelWriter::Administrator }
        }
    };
    Namespace { labels: labels.into(), tenant_label_by }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluicegate_crds::{HOME_LABEL, MANAGER};

    use super::*;

    /// A Namespace with both labels, written by these managers: each with the subresource and the labels that it owns.
    fn labelled(managers: &[(&str, &str, &[&str])], annotations: Value) -> Namespace {
        let entry = |(manager, subresource, labels): &(&str, &str, &[&str])| {
            let owned: serde_json::Map<String, Value> =
                labels.iter().map(|label| (format!("f:{label}"), json!({}))).collect();
            json!({"manager": manager, "operation": "Apply", "subresource": subresource, "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": owned}}})
        };
        let entries: Vec<Value> = managers.iter().map(entry).collect();
        namespace(&Lean::whole(json!({"metadata": {
            "name": "home-7", "labels": {TENANT_LABEL: "shop", "other": "x"}, "annotations": annotations, "managedFields": entries,
        }})))
    }

    #[test]
    fn a_label_is_an_administrator_s_unless_only_sluicegate_wrote_it() {
        let (ours, theirs) = (MANAGER, "kubectl-label");
        let both: &[&str] = &[TENANT_LABEL, "other"];
        for (managers, expected) in [
            (&[][..], LabelWriter::Administrator),
            (&[(ours, "", both)], LabelWriter::Sluicegate),
            (&[("sluicegate-suspend", "", both)], LabelWriter::Sluicegate),
            (&[(theirs, "", both)], LabelWriter::Administrator),
            (&[(ours, "", both), (theirs, "", both)], LabelWriter::Administrator),
            (&[(ours, "", both), (theirs, "", &["other"])], LabelWriter::Sluicegate),
            (&[(ours, "", &["other"]), (theirs, "", &["other"])], LabelWriter::Administrator),
            (&[(ours, "", both), (theirs, "status", both)], LabelWriter::Administrator),
            (&[(theirs, "status", both)], LabelWriter::Administrator),
        ] {
            let found = labelled(managers, json!({}));
            assert_eq!(found.tenant_label_by, expected, "{managers:?}");
            assert_eq!(found.home_label().is_some(), expected == LabelWriter::Administrator, "{managers:?}");
            assert_eq!(found.tenant_label(), Some("shop"));
            // Of a namespace that Sluicegate made nobody can forge another history.
            let made = labelled(managers, json!({CREATED_ANNOTATION: "true"}));
            assert_eq!(made.tenant_label_by, LabelWriter::Creator, "{managers:?}");
            assert_eq!(made.home_label(), None);
        }
    }

    #[test]
    fn the_home_label_counts_with_any_writer_of_the_other() {
        let labels = json!({HOME_LABEL: "shop", TENANT_LABEL: "pay"});
        let found = namespace(&Lean::whole(
            json!({"metadata": {"labels": labels, "annotations": {CREATED_ANNOTATION: "true"}}}),
        ));
        assert_eq!((found.home_label(), found.tenant_label()), (Some((HOME_LABEL, "shop")), Some("pay")));
        assert_eq!(namespace(&Lean::whole(json!({"metadata": {"name": "x"}}))), Namespace::default());
        // Without its label a namespace that Sluicegate made is still one that it made.
        let bare = namespace(&Lean::whole(json!({"metadata": {"annotations": {CREATED_ANNOTATION: "true"}}})));
        assert_eq!((bare.home_label(), bare.tenant_label_by), (None, LabelWriter::Creator));
    }
}
