//! Whatever Flux, a cluster, a policy or another object says: no status and no event draws more than itself. The places are
//! not listed here; every text of what comes from outside is tried.

use serde_json::{Value, json};
use sluicegate_crds::FluxConfigStatus;
use sluicegate_policy::text::is_hidden;

use super::{
    AgentHealth, Case, ClusterSeen, FluxState, Judged, Key, Kind, OnViolation, Progress, Rule, Seen, Violation,
    flux_cluster, flux_config, flux_policy, time, transitions,
};

/// Escape, bell, carriage return, line feed, C1, overrides and isolates of direction, separators, zero width, tags, and a
/// command to a CI system.
const HOSTILE: &str =
    "\u{1b}]0;x\u{7}\r\n\u{85}\u{9b}31m\u{202e}\u{2066}\u{2028}\u{2029}\u{200b}\u{feff}\u{e0061}##vso[x]";

fn hostile(text: &str) -> String {
    format!("{text}{HOSTILE}{text}")
}

/// JSON Pointers of every text, at whatever depth; nothing of an object is known here.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| texts(item, &format!("{at}/{index}"), found));
        }
        Value::Object(fields) => {
            for (name, item) in fields {
                texts(item, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value with one text made hostile, for each text; and with all but the types of conditions, which decide what is read.
fn spoiled(value: &Value) -> Vec<Value> {
    let mut pointers = Vec::new();
    texts(value, "", &mut pointers);
    let spoil = |value: &mut Value, pointer: &str| {
        if let Some(text) = value.pointer_mut(pointer) {
            *text = json!(hostile(text.as_str().unwrap_or_default()));
        }
    };
    let mut all = value.clone();
    let decides = |pointer: &&String| pointer.ends_with("/type") || pointer.ends_with("/status");
    pointers.iter().filter(|pointer| !decides(pointer)).for_each(|pointer| spoil(&mut all, pointer));
    let one = pointers.iter().map(|pointer| {
        let mut one = value.clone();
        spoil(&mut one, pointer);
        one
    });
    one.chain([all]).collect()
}

#[track_caller]
fn assert_plain(value: &Value, context: &str) {
    let mut pointers = Vec::new();
    texts(value, "", &mut pointers);
    for pointer in pointers {
        let text = value.pointer(&pointer).and_then(Value::as_str).unwrap();
        assert!(!text.chars().any(is_hidden) && !text.contains("##vso["), "{context}: {pointer}: {text:?}");
    }
}

/// Looks at a status, at the events of its way there, and at the next status, which must be the same.
#[track_caller]
fn assert_status(case: &Case, judged: Judged<'_>, progress: Progress<'_>, contested: &[String], context: &str) {
    let seen = |status: Option<FluxConfigStatus>| {
        let mut config = case.config.clone();
        config.status = status;
        flux_config(&Seen {
            config: &config,
            judged,
            progress,
            agent: &case.agent,
            source: case.source.as_ref(),
            chart: case.chart.as_ref(),
            delivery: case.delivery.as_ref(),
            contested,
            waits_for: case.waits_for.as_deref(),
            policy_digest: Some(HOSTILE),
            now: case.now,
        })
    };
    let first = seen(case.config.status.clone());
    assert_plain(&json!(first), context);
    for transition in transitions(case.config.status.as_ref(), &first) {
        assert!(!transition.message.chars().any(is_hidden), "{context}: {transition:?}");
        assert!(transition.message.len() <= super::super::NOTE, "{context}");
    }
    let second = seen(Some(first.clone()));
    assert_eq!(seen(Some(second.clone())), second, "{context}: it is written again and again");
    assert_eq!(transitions(Some(&second), &second), [], "{context}");
}

/// Objects with everything that Flux' kinds have in their statuses: ready, at work, failed, given up; as they are and while
/// they are deleted.
fn flux_objects() -> Vec<Value> {
    let condition = |type_: &str, status: &str, reason: &str| {
        json!({"type": type_, "status": status, "reason": reason, "message": "line one\nline two", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let mut objects = Vec::new();
    for (status, reason, beside) in [
        ("True", "Succeeded", "Released"),
        ("False", "BuildFailed", "Stalled"),
        ("False", "BuildFailed", "Reconciling"),
        ("Unknown", "Progressing", "Reconciling"),
    ] {
        let mut object = json!({
            "apiVersion": "x.toolkit.fluxcd.io/v1", "kind": "HelmRelease",
            "metadata": {"name": "shop", "namespace": "team-a", "generation": 1, "uid": "u", "labels": {"l": "x"}, "annotations": {"a": "x"}},
            "spec": {"url": "https://git.example.com/a", "interval": "1m", "chart": {"spec": {"chart": "c"}}},
            "status": {
                "observedGeneration": 1, "url": "http://source/x", "observedIgnore": "x", "storageNamespace": "x",
                "artifact": {"revision": "main@sha1:1", "digest": "sha256:2", "path": "p", "url": "u", "metadata": {"org.opencontainers.image.authors": "x"}},
                "lastAppliedRevision": "main@sha1:1", "lastAttemptedRevision": "main@sha1:1", "lastAppliedOriginRevision": "x",
                "lastHandledReconcileAt": "now", "lastAttemptedConfigDigest": "x", "lastReleaseRevision": 1,
                "inventory": {"entries": [{"id": "x", "v": "v1"}]},
                "history": [{"chartName": "c", "chartVersion": "1.0.0", "status": "deployed", "name": "n", "lastReconciled": "2026-01-01T00:00:00Z", "digest": "d"}],
                "conditions": [condition("Ready", status, reason), condition(beside, "True", reason)],
            },
        });
        objects.push(object.clone());
        // Of a HelmRelease the chart that is deployed is in its history.
        object["status"]["lastAppliedRevision"] = Value::Null;
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        objects.push(object);
    }
    objects
}

#[test]
fn nothing_that_flux_says_draws_more_than_itself() {
    let violations = [Violation::new(Rule::SourceNotAllowed, "spec", "no")];
    let mut tried = 0;
    for object in flux_objects() {
        for spoiled in spoiled(&object) {
            let state = FluxState::read(&spoiled);
            for part in ["source", "chart", "delivery"] {
                let mut case = Case::new();
                match part {
                    "source" => case.source = Some(state.clone()),
                    "chart" => case.chart = Some(state.clone()),
                    _ => case.delivery = Some(state.clone()),
                }
                let admitted = case.admitted.clone();
                let judged = [
                    Judged::Admitted(&admitted),
                    Judged::Undetermined(&violations),
                    Judged::Refused { violations: &violations, kept: Some(OnViolation::Keep) },
                ];
                for judged in judged {
                    for progress in [Progress::Applied, Progress::Removing { waiting: &[], orphan: false }] {
                        assert_status(&case, judged, progress, &[], &format!("{part} {spoiled}"));
                        tried += 1;
                    }
                }
                case.config.spec.suspend = Some(true);
                assert_status(&case, Judged::Admitted(&admitted), Progress::Applied, &[], "suspended");
            }
        }
    }
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn nothing_that_clusters_policies_and_names_say_draws_more_than_itself() {
    let mut violation = Violation::new(Rule::SourceNotAllowed, HOSTILE, HOSTILE);
    (violation.allowed, violation.help) = (vec![HOSTILE.to_owned()], vec![HOSTILE.to_owned()]);
    let violations = [violation];
    let (blocked, waiting) = (
        [HOSTILE.to_owned(), hostile("x")],
        [Key { kind: Kind::Kustomization, namespace: HOSTILE.to_owned(), name: hostile("n") }],
    );
    let mut case = Case::new();
    case.waits_for = Some(HOSTILE.to_owned());
    let admitted = case.admitted.clone();
    for agent in [
        AgentHealth::Starting(HOSTILE.to_owned()),
        AgentHealth::Ready,
        AgentHealth::Absent,
        AgentHealth::Sleeping,
        AgentHealth::Unknown,
    ] {
        case.agent = agent;
        for judged in [
            Judged::Admitted(&admitted),
            Judged::Undetermined(&violations),
            Judged::Refused { violations: &violations, kept: None },
            Judged::Refused { violations: &violations, kept: Some(OnViolation::Suspend) },
        ] {
            for progress in [
                Progress::Applying,
                Progress::Applied,
                Progress::Blocked(&blocked),
                Progress::Removing { waiting: &waiting, orphan: true },
            ] {
                for contested in [&[][..], &blocked] {
                    assert_status(&case, judged, progress, contested, "told");
                }
            }
        }
    }
    let policy = flux_policy(None, Some(1), Err(&violations), 1, 1, 1, time(0));
    assert_plain(&json!(policy), "policy");
    for (reachable, flux) in [(Ok(()), Ok(())), (Err(HOSTILE), Ok(())), (Ok(()), Err(HOSTILE))] {
        for guard in [Ok(sluicegate_crds::GuardMode::Native), Err(HOSTILE)] {
            let seen = ClusterSeen {
                old: None,
                generation: Some(1),
                reachable,
                kubernetes_version: Some(HOSTILE),
                flux,
                flux_version: Some(HOSTILE),
                agents: 1,
                tenants: 1,
                guard,
                platform_flux: &blocked,
                contested: &blocked,
                now: time(0),
            };
            let status = flux_cluster(&seen);
            assert_plain(&json!(status), "cluster");
            assert_eq!(flux_cluster(&ClusterSeen { old: Some(&status), ..seen }), status);
        }
    }
}

#[test]
fn an_old_status_that_somebody_else_wrote_draws_no_more_either() {
    let mut case = Case::new();
    case.delivery = Some(FluxState::read(&json!({
        "metadata": {"generation": 1},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Progressing", "message": "x"}],
            "lastAttemptedRevision": "main@sha1:1111111111111111111111111111111111111111"},
    })));
    let admitted = case.admitted.clone();
    let violations = [Violation::new(Rule::SourceNotAllowed, "spec", "no")];
    let old = json!({
        "conditions": [{"type": "Synced", "status": "False", "reason": "BuildFailed", "message": "m", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "resolved": [{"field": "f", "value": "v", "origin": "o"}],
        "violations": [{"rule": "r", "field": "f", "message": "m"}],
        "sync": {"lastAttemptedRevision": "main@sha1:1111111111111111111111111111111111111111", "lastAppliedRevision": "r",
            "author": "a", "commitMessage": "c", "error": "e"},
        "policyDigest": "d",
    });
    for spoiled in spoiled(&old) {
        let Ok(status) = serde_json::from_value::<FluxConfigStatus>(spoiled) else { continue };
        case.config.status = Some(status);
        for judged in [Judged::Admitted(&admitted), Judged::Undetermined(&violations)] {
            for (progress, agent) in
                [(Progress::Applied, AgentHealth::Ready), (Progress::Blocked(&[]), AgentHealth::Unknown)]
            {
                case.agent = agent;
                assert_status(&case, judged, progress, &[], "old");
            }
        }
    }
}

#[test]
fn a_message_of_several_lines_is_one() {
    let mut case = Case::new();
    case.delivery = Some(FluxState::read(&json!({
        "metadata": {"generation": 1},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "BuildFailed", "message": "one\n\ttwo"}]},
    })));
    let status = case.status();
    let synced = status.conditions.iter().find(|condition| condition.type_ == super::SYNCED).unwrap();
    assert_eq!(synced.message, r"one\n\ttwo");
    assert_eq!(status.sync.unwrap().error.unwrap(), r"one\n\ttwo");
}
