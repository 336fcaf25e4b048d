//! What somebody else keeps changing, as teams and administrators read it.

use sluicegate_crds::{Condition, FluxConfigStatus, GuardMode};

use super::{
    Case, ClusterSeen, ConditionStatus, Judged, Progress, READY, Reason, SYNCED, Seen, condition, flux_cluster,
    flux_config, time, transitions,
};

fn contested(case: &Case, contested: &[String], progress: Progress<'_>) -> FluxConfigStatus {
    flux_config(&Seen {
        config: &case.config,
        judged: Judged::Admitted(&case.admitted),
        progress,
        agent: &case.agent,
        source: case.source.as_ref(),
        chart: case.chart.as_ref(),
        delivery: case.delivery.as_ref(),
        contested,
        waits_for: None,
        policy_digest: None,
        now: case.now,
    })
}

fn told(until: &str) -> [String; 1] {
    [format!("Deployment a/b is contested: `x` writes spec.replicas; again after {until}")]
}

#[test]
fn a_contest_is_told_while_it_lasts_and_once_as_an_event() {
    let mut case = Case::new();
    let quiet = case.status();
    case.write(quiet);
    let status = contested(&case, &told("10:00:00"), Progress::Applied);
    let ready = condition(&status, READY);
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, "Contested"));
    assert!(ready.message.contains("`x` writes spec.replicas"));
    assert_eq!(condition(&status, SYNCED).status, ConditionStatus::True, "what Flux says is not hidden");
    let events = case.write(status);
    assert_eq!(
        events.iter().map(|event| (event.reason, event.warning)).collect::<Vec<_>>(),
        [(Reason::Contested, true)]
    );
    // Another time is no news.
    let later = contested(&case, &told("10:00:20"), Progress::Applied);
    assert_eq!(case.write(later), []);
    let over = contested(&case, &[], Progress::Applied);
    assert_eq!(condition(&over, READY).status, ConditionStatus::True);
    assert_eq!(transitions(case.config.status.as_ref(), &over), []);
}

#[test]
fn what_is_in_the_way_comes_first() {
    let case = Case::new();
    let blocked = ["somebody's".to_owned()];
    let status = contested(&case, &told("10:00:00"), Progress::Blocked(&blocked));
    assert_eq!(condition(&status, READY).reason, "Blocked");
}

#[test]
fn the_cluster_says_what_is_contested_there() {
    let contested = told("10:00:00");
    let status = flux_cluster(&ClusterSeen {
        old: None,
        generation: Some(1),
        reachable: Ok(()),
        kubernetes_version: None,
        flux: Ok(()),
        flux_version: None,
        agents: 1,
        tenants: 1,
        guard: Ok(GuardMode::Native),
        platform_flux: &[],
        contested: &contested,
        now: time(0),
    });
    let found: Vec<&Condition> = status.conditions.iter().filter(|one| one.type_ == "Contested").collect();
    assert!(matches!(found[..], [one] if one.status == ConditionStatus::True && one.message == contested[0]));
}
