//! FluxConfigs as they are kept: ten thousand are in memory, and one at a time is looked at. As compressed JSON one is a tenth of
//! what it is as a value, and reading it takes some microseconds.

use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use sluicegate_crds::{Condition, ConditionStatus, FluxConfig, FluxConfigSpec};

use super::FINALIZER;
use crate::{object::REQUESTED_AT_ANNOTATION, status};

/// What most FluxConfigs say in most places, so that what remains of one is what it alone says. It changes nothing but their
/// size: where types or messages grow away from it they are kept less well.
const TYPICAL: &[u8] = include_bytes!("typical.json");

/// A FluxConfig without managed fields and without what others keep on it.
#[derive(Debug)]
pub struct Packed {
    /// Its JSON, by LZ4 with [`TYPICAL`] before it.
    compressed: Box<[u8]>,
    held: bool,
    requested_at: Option<Box<str>>,
}

impl Packed {
    /// Keeps one.
    pub fn of(mut config: FluxConfig) -> Self {
        slim(&mut config);
        let metadata = &config.metadata;
        let request = metadata.annotations.as_ref().and_then(|annotations| annotations.get(REQUESTED_AT_ANNOTATION));
        Self {
            held: metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER),
            requested_at: request.map(|request| request.as_str().into()),
            // Its maps have texts as keys, so that it can be written.
            compressed: compress_prepend_size_with_dict(&serde_json::to_vec(&config).unwrap_or_default(), TYPICAL)
                .into(),
        }
    }

    /// Whether it carries our finalizer.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Who asked for a sync last, and when: the annotation [`REQUESTED_AT_ANNOTATION`].
    pub fn requested_at(&self) -> Option<&str> {
        self.requested_at.as_deref()
    }

    /// The FluxConfig.
    pub fn unpack(&self) -> FluxConfig {
        // What was written from the type can be read as the type: see the test.
        decompress_size_prepended_with_dict(&self.compressed, TYPICAL)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_else(|| FluxConfig::new("", FluxConfigSpec::default()))
    }
}

/// Drops what is not looked at again.
fn slim(config: &mut FluxConfig) {
    let metadata = &mut config.metadata;
    metadata.managed_fields = None;
    // What `kubectl apply` and Flux keep on it is as large as itself.
    metadata.labels = None;
    metadata.annotations.take_if(|annotations| {
        annotations.retain(|name, _| name == REQUESTED_AT_ANNOTATION);
        annotations.is_empty()
    });
    if let Some(told) = &mut config.status {
        // What one that is not admitted any more was resolved to is written nowhere else.
        let admitted =
            |condition: &Condition| condition.type_ == status::ADMITTED && condition.status == ConditionStatus::True;
        if told.conditions.iter().any(admitted) {
            told.resolved = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(metadata: Value, spec: Value, status: Value) -> FluxConfig {
        let api_version = sluicegate_crds::API_VERSION;
        let object = json!({"apiVersion": api_version, "kind": "FluxConfig", "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_is_looked_at_again_is_as_it_was() {
        let metadata = json!({
            "name": "shop", "namespace": "team-a", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
            "finalizers": ["a/b", FINALIZER], "annotations": {REQUESTED_AT_ANNOTATION: "now", "x": "y"}, "labels": {"l": "m"},
        });
        let spec = json!({
            "source": {"url": "https://git.example.com/team-a/shop", "ref": {"branch": "main"}}, "path": "./deploy",
            "cluster": "prod", "namespace": "shop", "images": ["a/*"], "interval": "5m", "prune": false,
            "dependsOn": [{"name": "base"}], "substitute": {"A": "\u{1f6b0} \"b\""}, "suspend": true,
            "chart": {"name": "x", "version": "1.x", "values": {"a": [1, 2.5, null, {"b": true}]}},
        });
        let conditions = json!([{
            "type": "Ready", "status": "False", "reason": "PolicyViolation", "message": "two\nlines",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 3,
        }]);
        let violations = json!([{"rule": "image-denied", "field": "spec.images[0]", "message": "no"}]);
        let status = json!({"observedGeneration": 3, "conditions": conditions, "violations": violations});
        let whole = config(metadata.clone(), spec.clone(), status.clone());
        let packed = Packed::of(whole.clone());
        let back = packed.unpack();
        assert_eq!((&back.spec, &back.status), (&whole.spec, &whole.status));
        assert!(packed.is_held());
        assert_eq!(packed.requested_at(), Some("now"));
        let mut slimmed = whole.metadata;
        slimmed.labels = None;
        slimmed.annotations = Some([(REQUESTED_AT_ANNOTATION.to_owned(), "now".to_owned())].into());
        assert_eq!(back.metadata, slimmed);
    }

    #[test]
    fn most_of_a_usual_one_is_not_kept() {
        let metadata = json!({
            "name": "checkout", "namespace": "team-fish", "uid": "d47916cc-b38c-4318-99b2-b76ea046981b",
            "resourceVersion": "396412", "generation": 2, "creationTimestamp": "2026-11-22T08:01:36Z",
            "finalizers": [FINALIZER],
        });
        let spec = json!({
            "source": {"url": "https://git.example.org/fish/checkout.git", "ref": {"branch": "main"}}, "path": "./deploy/live",
            "cluster": "prod-eu", "namespace": "fish-live", "interval": "10m",
        });
        let condition = |kind: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": "True", "reason": reason, "message": message,
                "lastTransitionTime": "2026-11-22T08:01:39Z", "observedGeneration": 2,
            })
        };
        let revision = "main@sha1:7b5d3c9f10a24b6f8e0d1c2b3a49586776859403";
        let applied = format!("Applied revision: {revision}");
        let status = json!({
            "conditions": [
                condition("Ready", "ReconciliationSucceeded", &applied),
                condition("Admitted", "Admitted", "the source is allowed by FluxPolicy/fish spec.sources.git.allow[3]"),
                condition("AgentReady", "AgentReady", "all controllers of the agent work"),
                condition("Synced", "ReconciliationSucceeded", &applied),
            ],
            "sync": {"lastAttemptedRevision": revision, "lastAppliedRevision": revision, "objects": 7},
            "policyDigest": "d0c1a2b3f4e5968778695a4b3c2d1e0f", "observedGeneration": 2,
        });
        let whole = config(metadata, spec, status);
        let json = serde_json::to_vec(&whole).unwrap().len();
        let kept = Packed::of(whole).compressed.len();
        assert!(kept * 4 < json, "{kept} bytes for {json}");
    }

    #[test]
    fn what_is_typical_can_be_read() {
        // A name that changes in the types would make all FluxConfigs larger, and nobody would see it.
        for line in std::str::from_utf8(TYPICAL).unwrap().lines() {
            let typical: FluxConfig = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&typical).unwrap(), line, "in the order and with the names of the types");
        }
    }

    #[test]
    fn one_that_could_not_be_read_is_kept_by_its_metadata() {
        let bare = Packed::of(FluxConfig::new("shop", FluxConfigSpec::default())).unpack();
        assert_eq!(bare.metadata.name.as_deref(), Some("shop"));
        assert_eq!(bare.spec, FluxConfigSpec::default());
    }
}
