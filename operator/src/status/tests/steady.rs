//! A status that says the same as before, while Flux says that it looks again.

use super::*;

const IN_PROGRESS: &str = "Reconciliation in progress";

/// The delivery while Flux looks at this revision again.
fn looks_again(applied: &str, attempted: &str) -> Option<FluxState> {
    Some(FluxState::read(&json!({
        "metadata": {"generation": 1},
        "status": {
            "observedGeneration": 1,
            "lastAppliedRevision": applied,
            "lastAttemptedRevision": attempted,
            "conditions": [ready("Unknown", "Progressing", IN_PROGRESS), with("Reconciling", "Progressing")],
        },
    })))
}

#[test]
fn a_routine_look_of_flux_changes_nothing() {
    let mut case = Case::new();
    let synced = case.status();
    case.write(synced.clone());
    case.delivery = looks_again(REVISION, REVISION);
    let again = case.status();
    assert_eq!(summary(&again), summary(&synced));
    assert_eq!(condition(&again, SYNCED), condition(&synced, SYNCED));
}

#[test]
fn a_try_of_what_failed_fails_until_it_is_done() {
    let mut case = Case::new();
    let failed = [ready("False", "HealthCheckFailed", "timeout"), with("Reconciling", "ProgressingWithRetry")];
    case.delivery = Some(FluxState::read(&json!({
        "metadata": {"generation": 1},
        "status": {"lastAttemptedRevision": REVISION, "conditions": failed},
    })));
    let failed = case.status();
    assert_eq!(condition(&failed, SYNCED).status, ConditionStatus::False);
    case.write(failed.clone());
    case.delivery = looks_again("main@sha1:0", REVISION);
    assert_eq!(summary(&case.status()), summary(&failed));
}

#[test]
fn what_is_new_is_progress() {
    for case in [
        // A revision that was not tried before.
        |case: &mut Case| case.delivery = looks_again(REVISION, "main@sha1:2"),
        // The source has fetched another since.
        |case: &mut Case| {
            case.delivery = looks_again(REVISION, REVISION);
            case.source.as_mut().unwrap().artifact_revision = Some("main@sha1:2".into());
        },
        // The team has changed the FluxConfig.
        |case: &mut Case| {
            case.delivery = looks_again(REVISION, REVISION);
            case.config.metadata.generation = Some(4);
        },
        // The delivery itself is another.
        |case: &mut Case| {
            case.delivery = looks_again(REVISION, REVISION);
            case.delivery.as_mut().unwrap().observed_generation = 0;
        },
    ] {
        let mut changed = Case::new();
        let synced = changed.status();
        changed.write(synced);
        case(&mut changed);
        assert_eq!(condition(&changed.status(), SYNCED).status, ConditionStatus::Unknown);
    }
}
