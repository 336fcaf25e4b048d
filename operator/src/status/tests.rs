//! Statuses as a specification: what Flux says, and what the team reads then.

mod contested;
mod hostile;
mod steady;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde_json::{Value, json};
use sluicegate_crds::{
    Condition, ConditionStatus, FluxClusterStatus, FluxConfig, FluxConfigStatus, FluxPolicy, GuardMode, OnViolation,
    bounds,
};
use sluicegate_policy::{Admitted, Declaration, Facts, Labels, PolicySet, Rule, Unseen, Verdict, Violation, decide};

use super::{
    ADMITTED, AGENT_READY, AgentHealth, ClusterSeen, Judged, Progress, READY, RECONCILING, Reason, STALLED, SYNCED,
    Seen, Transition, condition::find, flux_cluster, flux_config, flux_policy, transitions,
};
use crate::{
    flux::state::FluxState,
    object::{Key, Kind},
};

/// What is seen, owned.
struct Case {
    config: FluxConfig,
    admitted: Admitted,
    agent: AgentHealth,
    source: Option<FluxState>,
    chart: Option<FluxState>,
    delivery: Option<FluxState>,
    waits_for: Option<String>,
    now: Timestamp,
}

const REVISION: &str = "main@sha1:1111111111111111111111111111111111111111";

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn policy(spec: Value) -> FluxPolicy {
    serde_json::from_value(json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": "teams"}, "spec": spec,
    }))
    .unwrap()
}

impl Case {
    fn new() -> Self {
        Self::of(json!({"source": {"url": "https://git.example.com/team-a/shop.git"}}))
    }

    fn of(spec: Value) -> Self {
        let config: FluxConfig = serde_json::from_value(json!({
            "apiVersion": "sluicegate.dev/v1alpha1",
            "kind": "FluxConfig",
            "metadata": {"name": "shop", "namespace": "team-a", "generation": 3},
            "spec": spec,
        }))
        .unwrap();
        let set = PolicySet::compile(&[policy(json!({
            "tenants": {"names": ["team-*"]},
            "sources": {
                "git": {"allow": ["https://git.example.com/${tenant}/**"]},
                "helm": {"allow": ["https://charts.example.com/stable"], "charts": {"allow": ["redis"]}},
            },
            "features": {"helm": true},
            "destinations": [{"clusters": ["prod"], "namespaces": ["${tenant}"]}],
            "defaults": {"cluster": "prod", "namespace": "${tenant}", "ref": {"branch": "main"}},
        }))]);
        let mut facts = Facts::new(Unseen::Absent);
        facts.cluster("prod", Labels::default());
        facts.declare(Declaration::of(&config, &set, &facts, None));
        let Verdict::Admitted(admitted) = decide(&config, &set, &facts) else { panic!("not admitted") };
        let healthy = |status: Value| Some(FluxState::read(&json!({"metadata": {"generation": 1}, "status": status})));
        Self {
            config,
            admitted: *admitted,
            agent: AgentHealth::Ready,
            source: healthy(json!({
                "observedGeneration": 1,
                "artifact": {"revision": REVISION},
                "conditions": [
                    ready("True", "Succeeded", &format!("stored artifact for revision '{REVISION}'")),
                    {"type": "ArtifactInStorage", "status": "True", "reason": "Succeeded", "observedGeneration": 1},
                ],
            })),
            chart: None,
            delivery: healthy(json!({
                "observedGeneration": 1,
                "lastAppliedRevision": REVISION,
                "lastAttemptedRevision": REVISION,
                "inventory": {"entries": [{"id": "team-a_app-cm__ConfigMap", "v": "v1"}, {"id": "x", "v": "v1"}]},
                "conditions": [ready("True", "ReconciliationSucceeded", &format!("Applied revision: {REVISION}"))],
            })),
            waits_for: None,
            now: time(0),
        }
    }

    fn judged(&self, judged: Judged<'_>, progress: Progress<'_>) -> FluxConfigStatus {
        flux_config(&Seen {
            config: &self.config,
            judged,
            progress,
            agent: &self.agent,
            source: self.source.as_ref(),
            chart: self.chart.as_ref(),
            delivery: self.delivery.as_ref(),
            contested: &[],
            waits_for: self.waits_for.as_deref(),
            policy_digest: Some("sha256:abc"),
            now: self.now,
        })
    }

    fn status(&self) -> FluxConfigStatus {
        self.during(Progress::Applied)
    }

    fn during(&self, progress: Progress<'_>) -> FluxConfigStatus {
        self.judged(Judged::Admitted(&self.admitted), progress)
    }

    fn refused(&self, violations: &[Violation], kept: Option<OnViolation>) -> FluxConfigStatus {
        self.judged(Judged::Refused { violations, kept }, Progress::Applied)
    }

    /// As time goes on: the status is written, and the events are told.
    fn write(&mut self, status: FluxConfigStatus) -> Vec<Transition> {
        let told = transitions(self.config.status.as_ref(), &status);
        self.config.status = Some(status);
        told
    }
}

fn ready(status: &str, reason: &str, message: &str) -> Value {
    json!({"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": 1})
}

fn with(type_: &str, reason: &str) -> Value {
    json!({"type": type_, "status": "True", "reason": reason, "message": "", "observedGeneration": 1})
}

fn state(conditions: &[Value]) -> Option<FluxState> {
    Some(FluxState::read(&json!({"metadata": {"generation": 1}, "status": {"conditions": conditions}})))
}

fn violation() -> Violation {
    Violation {
        allowed: vec!["https://git.example.com/team-a/**".to_owned()],
        help: vec!["use an allowed URL".to_owned()],
        ..Violation::new(Rule::SourceNotAllowed, "spec.source.url", "https://evil.example.com/x is not allowed")
    }
}

fn condition<'a>(status: &'a FluxConfigStatus, type_: &str) -> &'a Condition {
    find(&status.conditions, type_).unwrap_or_else(|| panic!("no {type_} in {:?}", status.conditions))
}

/// `Ready=True Succeeded | Synced=True …`, without what is as always.
fn summary(status: &FluxConfigStatus) -> String {
    let text = |condition: &Condition| format!("{}={:?} {}", condition.type_, condition.status, condition.reason);
    [READY, SYNCED, RECONCILING, STALLED]
        .iter()
        .filter_map(|type_| find(&status.conditions, type_).map(text))
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Which of the three objects says it.
#[derive(Clone, Copy)]
enum Of {
    Source,
    Chart,
    Delivery,
}

#[test]
fn says_what_flux_says() {
    use Of::{Chart, Delivery, Source};
    let retry = with("Reconciling", "ProgressingWithRetry");
    let fetch = with("FetchFailed", "Any");
    let forbidden = r#"ConfigMap/b/evil dry-run failed (Forbidden): configmaps "evil" is forbidden: User "system:serviceaccount:a:reconciler" cannot patch resource "configmaps" in API group "" in the namespace "b""#;
    // Object, its conditions, the summary, what the message of Ready begins with, what it has in it.
    #[rustfmt::skip]
    let cases: Vec<(Of, Vec<Value>, &str, &str, &str)> = vec![
        (Source, vec![ready("False", "GitOperationFailed", "failed to checkout and determine revision: unable to clone 'https://git.example.com/team-a/shop.git': authentication required: Unauthorized"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False GitOperationFailed | Reconciling=True ProgressingWithRetry", "the server wants credentials", "unable to clone 'https://git.example.com/team-a/shop.git'"),
        (Source, vec![ready("False", "AuthenticationFailed", "failed to get secret 'ns/x': failed to get API object: secrets \"x\" not found"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False AuthenticationFailed | Reconciling=True ProgressingWithRetry", "the Secret with the credentials", "secrets \"x\" not found"),
        (Source, vec![ready("False", "GitOperationFailed", "failed to checkout: couldn't find remote ref \"refs/heads/nope\""), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False GitOperationFailed | Reconciling=True ProgressingWithRetry", "the repository has no such branch", "refs/heads/nope"),
        (Source, vec![ready("False", "GitOperationFailed", "unable to clone: repository not found: x"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False GitOperationFailed | Reconciling=True ProgressingWithRetry", "there is no repository at this URL", "unable to clone"),
        (Source, vec![ready("False", "GitOperationFailed", "dial tcp 10.0.0.1:443: connect: connection refused"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False GitOperationFailed | Reconciling=True ProgressingWithRetry", "nothing answers", "10.0.0.1:443"),
        (Source, vec![ready("False", "GitOperationFailed", "dial tcp: lookup x on 10.96.0.10:53: server misbehaving"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False GitOperationFailed | Reconciling=True ProgressingWithRetry", "the host name cannot be resolved", "lookup x"),
        (Source, vec![ready("False", "GitOperationFailed", "failed to checkout: no match found for semver: >=1.0"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False GitOperationFailed | Reconciling=True ProgressingWithRetry", "no tag of the repository", ">=1.0"),
        (Source, vec![ready("False", "OCIArtifactPullFailed", "failed to pull"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False OCIArtifactPullFailed | Reconciling=True ProgressingWithRetry", "failed to pull", ""),
        (Source, vec![ready("False", "BucketOperationFailed", "bucket 'x' not found"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False BucketOperationFailed | Reconciling=True ProgressingWithRetry", "bucket 'x' not found", ""),
        (Source, vec![ready("False", "Failed", "failed to fetch index"), fetch.clone(), retry.clone()],
            "Ready=False SyncFailed | Synced=False Failed | Reconciling=True ProgressingWithRetry", "failed to fetch index", ""),
        (Source, vec![ready("Unknown", "Progressing", "building artifact: new upstream revision 'main@sha1:2'"), with("Reconciling", "Progressing")],
            "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing", "building artifact", ""),
        (Source, vec![],
            "Ready=Unknown Progressing | Synced=Unknown Unstarted | Reconciling=True Progressing", "Flux has not looked at the source yet", ""),
        (Chart, vec![ready("False", "InvalidChartReference", "invalid chart reference: failed to get chart version for remote reference: no chart name found"), with("Stalled", "InvalidChartReference"), fetch.clone()],
            "Ready=False SyncFailed | Synced=False InvalidChartReference | Stalled=True SyncFailed", "the repository has no chart of that name", "no chart name found"),
        (Delivery, vec![ready("False", "ArtifactFailed", "kustomization path not found: stat /tmp/kustomization-1/nope: no such file or directory"), retry.clone()],
            "Ready=False SyncFailed | Synced=False ArtifactFailed | Reconciling=True ProgressingWithRetry", "the source has no such folder", "kustomization-1/nope"),
        (Delivery, vec![ready("False", "ArtifactFailed", "GitRepository.source.toolkit.fluxcd.io \"x\" not found")],
            "Ready=False SyncFailed | Synced=False ArtifactFailed | Reconciling=True ProgressingWithRetry", "GitRepository", "not found"),
        (Delivery, vec![ready("False", "ArtifactFailed", "Source artifact not found, retrying in 30s")],
            "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing", "Source artifact not found", ""),
        (Delivery, vec![ready("False", "BuildFailed", "kustomize build failed: accumulating resources: x"), retry.clone()],
            "Ready=False SyncFailed | Synced=False BuildFailed | Reconciling=True ProgressingWithRetry", "kustomize build failed", ""),
        (Delivery, vec![ready("False", "BuildFailed", "failed to decode Kubernetes YAML from x: MalformedYAMLError: y"), retry.clone()],
            "Ready=False SyncFailed | Synced=False BuildFailed | Reconciling=True ProgressingWithRetry", "failed to decode", ""),
        (Delivery, vec![ready("False", "BuildFailed", "post build failed for 'x': envsubst error"), retry.clone()],
            "Ready=False SyncFailed | Synced=False BuildFailed | Reconciling=True ProgressingWithRetry", "post build failed", ""),
        (Delivery, vec![ready("False", "ReconciliationFailed", forbidden), retry.clone()],
            "Ready=False SyncFailed | Synced=False ReconciliationFailed | Reconciling=True ProgressingWithRetry", "the tenant's role does not allow", "ConfigMap/b/evil"),
        (Delivery, vec![ready("False", "ReconciliationFailed", "Service/ns/app dry-run failed (Forbidden): failed to get server groups: unknown"), retry.clone()],
            "Ready=False SyncFailed | Synced=False ReconciliationFailed | Reconciling=True ProgressingWithRetry", "the agent may not act as the tenant's reconciler", "failed to get server groups"),
        (Delivery, vec![ready("False", "ReconciliationFailed", "Foo/ns/x dry-run failed: no matches for kind \"Foo\" in version \"no.such/v1\""), retry.clone()],
            "Ready=False SyncFailed | Synced=False ReconciliationFailed | Reconciling=True ProgressingWithRetry", "the cluster does not know this kind", "no.such/v1"),
        (Delivery, vec![ready("False", "HealthCheckFailed", "health check failed after 30.0s: timeout waiting for: [Deployment/ns/n status: 'InProgress']"), json!({"type": "Healthy", "status": "False", "reason": "HealthCheckFailed"}), retry.clone()],
            "Ready=False SyncFailed | Synced=False HealthCheckFailed | Reconciling=True ProgressingWithRetry", "what was deployed did not become healthy", "Deployment/ns/n"),
        (Delivery, vec![ready("False", "DependencyNotReady", "dependency 'ns/x' is not ready")],
            "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing", "dependency 'ns/x' is not ready", ""),
        (Delivery, vec![ready("False", "AccessDenied", "can't access 'GitRepository/b/x', cross-namespace references have been blocked"), with("Stalled", "AccessDenied")],
            "Ready=False SyncFailed | Synced=False AccessDenied | Stalled=True SyncFailed", "Flux objects may refer only", "GitRepository/b/x"),
        (Delivery, vec![ready("True", "InstallSucceeded", "Helm install succeeded for release ns/n.v1 with chart tiny@0.1.0"), with("Released", "InstallSucceeded")],
            "Ready=True Succeeded | Synced=True InstallSucceeded", "Helm install succeeded for release ns/n.v1 with chart tiny@0.1.0", ""),
        (Delivery, vec![ready("False", "SourceNotReady", "HelmChart 'ns/x' is not ready: waiting"), with("Reconciling", "Progressing")],
            "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing", "HelmChart 'ns/x' is not ready", ""),
        (Delivery, vec![ready("False", "StateError", r#"Could not determine release state: failed to retrieve last release from storage: query: failed to query with labels: secrets is forbidden: User "system:serviceaccount:a:reconciler" cannot list resource "secrets" in API group "" in the namespace "b""#), retry.clone()],
            "Ready=False SyncFailed | Synced=False StateError | Reconciling=True ProgressingWithRetry", "the reconciler may not keep Helm's release records", "Could not determine release state"),
        (Delivery, vec![ready("False", "ValuesError", r#"could not resolve Secret chart values: secrets "x" is forbidden: User "system:serviceaccount:a:helm-controller" cannot get resource "secrets" in API group "" in the namespace "a""#), retry.clone()],
            "Ready=False SyncFailed | Synced=False ValuesError | Reconciling=True ProgressingWithRetry", "this names a Secret that the agent is not allowed to read", "secrets \"x\""),
        (Delivery, vec![ready("Unknown", "Progressing", "Running health checks for revision main@sha1:1 with a timeout of 30s"), with("Reconciling", "Progressing")],
            "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing", "Running health checks", ""),
        (Delivery, vec![],
            "Ready=Unknown Progressing | Synced=Unknown Unstarted | Reconciling=True Progressing", "Flux has not looked at the delivery yet", ""),
    ];
    for (of, conditions, expected, begins, contains) in cases {
        let mut case = Case::new();
        let state = state(&conditions);
        match of {
            Source => case.source = state,
            Chart => case.chart = state,
            Delivery => case.delivery = state,
        }
        let status = case.status();
        let ready = condition(&status, READY);
        assert_eq!(summary(&status), expected, "{conditions:#?}");
        assert!(ready.message.starts_with(begins) && ready.message.contains(contains), "{}", ready.message);
        if let Some(said) = conditions.first() {
            let said = said["message"].as_str().unwrap();
            assert!(ready.message.contains(said), "not whole: {}", ready.message);
            let error = status.sync.as_ref().and_then(|sync| sync.error.as_deref());
            assert_eq!(error, (ready.status == ConditionStatus::False).then_some(said));
        }
    }
}

#[test]
fn what_comes_first_is_named() {
    let mut case = Case::new();
    case.delivery.as_mut().unwrap().suspended = true;
    case.waits_for = Some("database, network".to_owned());
    let status = case.status();
    assert_eq!(
        summary(&status),
        "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing"
    );
    assert_eq!(condition(&status, READY).message, "waits for database, network, which must be ready first");
}

#[test]
fn a_synced_config_is_ready() {
    let status = Case::new().status();
    assert_eq!(summary(&status), "Ready=True Succeeded | Synced=True ReconciliationSucceeded");
    assert_eq!(condition(&status, READY).message, format!("Applied revision: {REVISION}"));
    assert_eq!(
        condition(&status, ADMITTED).message,
        "the source is allowed by FluxPolicy/teams spec.sources.git.allow[0]"
    );
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    let sync = status.sync.unwrap();
    assert_eq!(sync.last_applied_revision.as_deref(), Some(REVISION));
    assert_eq!(sync.last_attempted_revision.as_deref(), Some(REVISION));
    assert_eq!((sync.objects, sync.error), (Some(2), None));
    assert_eq!((status.observed_generation, status.policy_digest.as_deref()), (Some(3), Some("sha256:abc")));
    assert!(status.resolved.iter().any(|field| field.field == "spec.namespace" && field.value == "team-a"));
}

#[test]
fn the_same_again_is_written_as_it_was() {
    let mut case = Case::new();
    case.write(case.status());
    case.now = time(3600);
    let again = case.status();
    assert_eq!(Some(&again), case.config.status.as_ref());
    assert_eq!(transitions(case.config.status.as_ref(), &again), []);
}

#[test]
fn a_condition_keeps_its_time_until_its_status_changes() {
    let mut case = Case::new();
    case.write(case.status());
    case.now = time(60);
    case.delivery = state(&[ready("False", "BuildFailed", "kustomize build failed: x")]);
    case.write(case.status());
    let since =
        |case: &Case, type_| condition(case.config.status.as_ref().unwrap(), type_).last_transition_time.clone();
    assert_eq!(since(&case, READY), "2027-01-15T08:01:00Z");
    assert_eq!(since(&case, ADMITTED), "2027-01-15T08:00:00Z");
    case.now = time(120);
    case.delivery = state(&[ready("False", "BuildFailed", "kustomize build failed: y")]);
    case.write(case.status());
    assert_eq!(since(&case, READY), "2027-01-15T08:01:00Z");
}

#[test]
fn a_condition_of_an_older_generation_says_nothing() {
    let mut case = Case::new();
    for reconciling in [None, Some(with("Reconciling", "Progressing"))] {
        let conditions: Vec<Value> =
            [Some(ready("True", "ReconciliationSucceeded", "Applied")), reconciling].into_iter().flatten().collect();
        case.delivery = Some(FluxState::read(&json!({
            "metadata": {"generation": 2}, "status": {"observedGeneration": 1, "conditions": conditions},
        })));
        assert_eq!(condition(&case.status(), SYNCED).reason, Reason::Unstarted.name());
    }
}

#[test]
fn a_fetched_revision_that_is_not_applied_yet_is_no_success() {
    let mut case = Case::new();
    case.source.as_mut().unwrap().artifact_revision = Some("main@sha1:2".into());
    let status = case.status();
    assert_eq!(
        summary(&status),
        "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing"
    );
    assert!(condition(&status, READY).message.contains("revision main@sha1:2 is fetched and comes next"));
}

#[test]
fn revisions_of_charts_are_not_compared_with_those_of_their_repositories() {
    let mut case = Case::of(json!({
        "source": {"url": "https://charts.example.com/stable", "kind": "Helm"}, "chart": {"name": "redis", "version": "1.x"},
    }));
    case.delivery = Some(FluxState::read(&json!({
        "metadata": {"generation": 1},
        "status": {
            "lastAttemptedRevision": "1.2.0",
            "history": [
                {"chartVersion": "1.2.0", "status": "failed"},
                {"chartVersion": "1.1.0", "status": "deployed"},
                {"chartVersion": "1.0.0", "status": "superseded"},
            ],
            "conditions": [ready("True", "UpgradeSucceeded", "Helm upgrade succeeded")],
        },
    })));
    let status = case.status();
    assert_eq!(summary(&status), "Ready=True Succeeded | Synced=True UpgradeSucceeded");
    let sync = status.sync.unwrap();
    assert_eq!(sync.last_applied_revision.as_deref(), Some("1.1.0"));
    assert_eq!(sync.last_attempted_revision.as_deref(), Some("1.2.0"));
}

#[test]
fn the_agent_decides_when_the_sync_is_fine() {
    let mut case = Case::new();
    for (agent, expected, part) in [
        (
            AgentHealth::Absent,
            "Ready=False AgentAbsent | Synced=True ReconciliationSucceeded | Reconciling=True Progressing",
            "no agent",
        ),
        (
            AgentHealth::Starting("source-controller: ImagePullBackOff".to_owned()),
            "Ready=False AgentStarting | Synced=True ReconciliationSucceeded | Reconciling=True Progressing",
            "source-controller: ImagePullBackOff",
        ),
        (
            AgentHealth::Unknown,
            "Ready=Unknown AgentUnknown | Synced=True ReconciliationSucceeded | Reconciling=True Progressing",
            "does not say",
        ),
        (
            AgentHealth::Sleeping,
            "Ready=True Succeeded | Synced=True ReconciliationSucceeded",
            "before the agent fell asleep",
        ),
    ] {
        case.agent = agent;
        let status = case.status();
        assert_eq!(summary(&status), expected);
        assert!(condition(&status, READY).message.contains(part), "{}", condition(&status, READY).message);
    }
}

#[test]
fn a_refusal_is_shown_with_what_is_allowed() {
    let case = Case::new();
    let status = case.refused(&[violation()], None);
    assert_eq!(
        summary(&status),
        "Ready=False PolicyViolation | Synced=False NotAdmitted | Stalled=True PolicyViolation"
    );
    assert_eq!(
        condition(&status, READY).message,
        "spec.source.url: https://evil.example.com/x is not allowed [source-not-allowed]"
    );
    assert_eq!(condition(&status, AGENT_READY).reason, Reason::NotAdmitted.name());
    assert_eq!(status.violations.len(), 1);
    assert_eq!(status.violations[0].rule, "source-not-allowed");
    assert_eq!(
        status.violations[0].message,
        "https://evil.example.com/x is not allowed; allowed: https://git.example.com/team-a/**; use an allowed URL"
    );
    assert!(status.resolved.is_empty());
}

#[test]
fn a_refusal_of_what_had_been_admitted_says_what_becomes_of_it() {
    let mut case = Case::new();
    case.write(case.status());
    for (kept, synced, part) in [
        (OnViolation::Suspend, "Synced=False NotAdmitted", "stays and is not synced any more"),
        (OnViolation::Keep, "Synced=True ReconciliationSucceeded", "goes on as it was last admitted"),
        (OnViolation::Remove, "Synced=False NotAdmitted", "is removed"),
    ] {
        let status = case.refused(&[violation()], Some(kept));
        assert_eq!(summary(&status), format!("Ready=False PolicyViolation | {synced} | Stalled=True PolicyViolation"));
        assert!(condition(&status, READY).message.contains(part), "{}", condition(&status, READY).message);
        assert!(!status.resolved.is_empty(), "what still runs is not shown any more");
    }
}

#[test]
fn what_cannot_be_decided_is_unknown_and_goes_on() {
    let mut case = Case::new();
    let undetermined = |case: &Case| case.judged(Judged::Undetermined(&[violation()]), Progress::Applied);
    assert_eq!(
        summary(&undetermined(&case)),
        "Ready=Unknown Undetermined | Synced=True ReconciliationSucceeded | Reconciling=True ProgressingWithRetry"
    );
    (case.source, case.delivery) = (None, None);
    assert_eq!(
        summary(&undetermined(&case)),
        "Ready=Unknown Undetermined | Synced=Unknown NotAdmitted | Reconciling=True ProgressingWithRetry"
    );
}

#[test]
fn what_is_in_the_way_is_named_and_what_was_known_stays() {
    let mut case = Case::new();
    case.write(case.status());
    (case.source, case.delivery) = (None, None);
    let reasons = ["namespace team-a is of tenant team-b".to_owned(), "Service x is not ours".to_owned()];
    let status = case.during(Progress::Blocked(&reasons));
    assert_eq!(summary(&status), "Ready=False Blocked | Synced=False Blocked | Reconciling=True ProgressingWithRetry");
    assert_eq!(condition(&status, READY).message, "namespace team-a is of tenant team-b; Service x is not ours");
    assert_eq!(status.sync.unwrap().last_applied_revision.as_deref(), Some(REVISION));
}

#[test]
fn applying_is_no_success_and_does_not_hide_a_failure() {
    let mut case = Case::new();
    assert_eq!(
        summary(&case.during(Progress::Applying)),
        "Ready=Unknown Progressing | Synced=Unknown Applying | Reconciling=True Progressing"
    );
    case.delivery = state(&[ready("False", "BuildFailed", "kustomize build failed: x")]);
    assert_eq!(
        summary(&case.during(Progress::Applying)),
        "Ready=False SyncFailed | Synced=False BuildFailed | Reconciling=True ProgressingWithRetry"
    );
    (case.source, case.delivery) = (None, None);
    assert_eq!(condition(&case.during(Progress::Applying), SYNCED).reason, Reason::Applying.name());
    assert_eq!(condition(&case.status(), SYNCED).reason, Reason::Unstarted.name());
}

#[test]
fn suspended_by_the_team_is_settled_and_suspended_by_others_is_not() {
    let mut case = Case::new();
    case.delivery.as_mut().unwrap().suspended = true;
    let status = case.status();
    assert_eq!(
        summary(&status),
        "Ready=Unknown Progressing | Synced=Unknown Progressing | Reconciling=True Progressing"
    );
    assert!(condition(&status, READY).message.contains("is suspended in Flux, and is resumed"));
    case.config.spec.suspend = Some(true);
    let status = case.status();
    assert_eq!(summary(&status), "Ready=True Suspended | Synced=Unknown Suspended");
    assert!(condition(&status, READY).message.contains(REVISION));
    case.delivery.as_mut().unwrap().suspended = false;
    assert_eq!(condition(&case.status(), READY).message, "being suspended");
    // Made suspended: Flux writes no condition at all.
    case.delivery = Some(FluxState::read(&json!({
        "metadata": {"generation": 1}, "spec": {"suspend": true}, "status": {"observedGeneration": -1},
    })));
    assert_eq!(condition(&case.status(), READY).message, "suspended; what runs stays");
}

#[test]
fn a_deletion_says_what_it_waits_for() {
    let mut case = Case::new();
    let key = |kind, name: &str| Key { kind, namespace: "sluicegate-team-a".to_owned(), name: name.to_owned() };
    let waiting = [key(Kind::Kustomization, "shop"), key(Kind::GitRepository, "shop")];
    let removing = Progress::Removing { waiting: &waiting, orphan: false };
    let status = case.during(removing);
    assert_eq!(summary(&status), "Ready=False Deleting | Synced=False Deleting | Reconciling=True Progressing");
    assert_eq!(
        condition(&status, READY).message,
        "being deleted; waiting for Kustomization sluicegate-team-a/shop, GitRepository sluicegate-team-a/shop"
    );
    let orphan = case.during(Progress::Removing { waiting: &[], orphan: true });
    assert_eq!(condition(&orphan, READY).message, "being deleted; what it deployed stays");
    case.agent = AgentHealth::Sleeping;
    assert!(condition(&case.during(removing), READY).message.ends_with("sleeps and is woken first"));
    case.agent = AgentHealth::Ready;
    // A source that cannot be fetched any more is nobody's business now; a chart that cannot be uninstalled is.
    case.source = state(&[ready("False", "GitOperationFailed", "repository not found")]);
    case.delivery = Some(FluxState::read(&json!({
        "metadata": {"generation": 2, "deletionTimestamp": "2026-11-21T10:00:00Z"},
        "status": {"conditions": [ready("False", "UninstallFailed", "Helm uninstall failed for release ns/x.v1: boom")]},
    })));
    let status = case.during(removing);
    assert!(condition(&status, READY).message.ends_with("; Helm uninstall failed for release ns/x.v1: boom"));
    assert_eq!(status.sync.unwrap().error.as_deref(), Some("Helm uninstall failed for release ns/x.v1: boom"));
}

#[test]
fn a_deletion_counts_more_than_the_verdict() {
    let mut case = Case::new();
    case.config.metadata.deletion_timestamp = Some(Time(time(0)));
    assert_eq!(condition(&case.refused(&[violation()], None), READY).reason, Reason::Deleting.name());
    let blocked = ["the cluster prod cannot be reached".to_owned()];
    let status = case.during(Progress::Blocked(&blocked));
    assert_eq!(condition(&status, READY).message, "being deleted; the cluster prod cannot be reached");
}

#[test]
fn what_a_policy_removes_is_refused_and_not_deleted() {
    let case = Case::new();
    let waiting = [Key { kind: Kind::Kustomization, namespace: "a".to_owned(), name: "shop".to_owned() }];
    let status = case.judged(
        Judged::Refused { violations: &[violation()], kept: Some(OnViolation::Remove) },
        Progress::Removing { waiting: &waiting, orphan: false },
    );
    assert_eq!(condition(&status, READY).reason, Reason::PolicyViolation.name());
    assert!(condition(&status, READY).message.ends_with("waiting for Kustomization a/shop"));
}

#[test]
fn statuses_stay_within_the_bounds_of_their_schema() {
    let mut case = Case::new();
    let long = "é".repeat(40_000);
    case.delivery = state(&[ready("False", &"R".repeat(2000), &long)]);
    let status = case.status();
    assert!(status.conditions.iter().all(|condition| condition.message.len() <= 32768));
    assert!(status.conditions.iter().all(|condition| condition.reason.len() <= 1024));
    assert!(status.sync.as_ref().unwrap().error.as_ref().unwrap().len() <= 32768);
    assert!(transitions(None, &status).iter().all(|told| told.message.len() <= 1024));
    let many = vec![Violation { message: long, ..violation() }; 1000];
    let status = case.refused(&many, None);
    assert_eq!(status.violations.len(), bounds::ENTRIES);
    assert!(status.violations.iter().all(|violation| violation.message.len() <= bounds::TEXT));
    assert!(condition(&status, READY).message.len() <= 32768);
}

#[test]
fn reads_malformed_objects_as_having_said_nothing() {
    for object in [
        json!(null),
        json!([]),
        json!({"metadata": 1, "spec": "x", "status": []}),
        json!({"metadata": {"generation": "1"}, "status": {"conditions": {"type": "Ready"}, "history": 7, "artifact": 0}}),
        json!({"status": {"conditions": [null, 1, {"type": "Ready"}, {"type": "Ready", "status": "Maybe"}]}}),
        json!({"status": {"inventory": {"entries": "x"}, "history": [null, {"lastReconciled": "yesterday"}]}}),
    ] {
        let state = FluxState::read(&object);
        assert_eq!((state.ready, state.objects, state.last_reconciled), (None, None, None), "{object}");
        let mut case = Case::new();
        case.delivery = Some(FluxState::read(&object));
        assert_eq!(condition(&case.status(), READY).status, ConditionStatus::Unknown, "{object}");
    }
}

#[test]
fn reads_when_a_kustomization_was_last_reconciled() {
    let state = FluxState::read(&json!({"status": {
        "lastHandledReconcileAt": "2026-11-21T10:00:00Z",
        "history": [
            {"lastReconciled": "2026-11-21T10:05:00Z", "totalReconciliations": 3},
            {"lastReconciled": "2026-11-21T09:00:00Z", "totalReconciliations": 9},
        ],
    }}));
    assert_eq!(state.last_reconciled, Some("2026-11-21T10:05:00Z".parse().unwrap()));
    assert_eq!(state.handled_at.as_deref(), Some("2026-11-21T10:00:00Z"));
}

/// Everything with everything: what must hold of any status.
#[test]
fn any_status_is_consistent_and_stable() {
    let states = [
        None,
        state(&[]),
        state(&[ready("True", "Succeeded", "fine")]),
        state(&[ready("False", "BuildFailed", "kustomize build failed")]),
        state(&[ready("False", "AccessDenied", "blocked"), with("Stalled", "AccessDenied")]),
        state(&[ready("Unknown", "Progressing", "at it"), with("Reconciling", "Progressing")]),
        Some(FluxState::read(&json!({"spec": {"suspend": true}}))),
    ];
    let agents = [
        AgentHealth::Absent,
        AgentHealth::Starting("x".to_owned()),
        AgentHealth::Ready,
        AgentHealth::Sleeping,
        AgentHealth::Unknown,
    ];
    let violations = [violation()];
    let reasons = ["in the way".to_owned()];
    let refused = |kept| Judged::Refused { violations: &violations, kept };
    let progresses = [
        Progress::Applying,
        Progress::Applied,
        Progress::Blocked(&reasons),
        Progress::Removing { waiting: &[], orphan: false },
    ];
    let mut seen = 0;
    for (suspend, deleted) in [(false, false), (true, false), (false, true)] {
        let mut case = Case::new();
        case.config.spec.suspend = Some(suspend);
        case.config.metadata.deletion_timestamp = deleted.then(|| Time(time(0)));
        let admitted = case.admitted.clone();
        let judgements = [
            Judged::Admitted(&admitted),
            refused(None),
            refused(Some(OnViolation::Suspend)),
            refused(Some(OnViolation::Keep)),
            refused(Some(OnViolation::Remove)),
            Judged::Undetermined(&violations),
        ];
        for (source, delivery) in states.iter().flat_map(|source| states.iter().map(move |delivery| (source, delivery)))
        {
            (case.source, case.delivery) = (source.clone(), delivery.clone());
            for agent in &agents {
                case.agent = agent.clone();
                for (judged, progress) in
                    judgements.iter().flat_map(|judged| progresses.map(|progress| (*judged, progress)))
                {
                    (case.config.status, case.now) = (None, time(0));
                    let status = case.judged(judged, progress);
                    let context =
                        || format!("{judged:?} {progress:?} {agent:?} {source:?} {delivery:?} -> {status:#?}");
                    let holds = |type_| condition(&status, type_).status == ConditionStatus::True;
                    let [reconciling, stalled] =
                        [RECONCILING, STALLED].map(|type_| find(&status.conditions, type_).is_some());
                    if holds(READY) {
                        assert!(holds(ADMITTED) && holds(AGENT_READY) && (holds(SYNCED) || suspend), "{}", context());
                        assert!(!reconciling && !stalled, "{}", context());
                    } else {
                        assert!(reconciling != stalled, "{}", context());
                    }
                    assert!(
                        status.conditions.iter().all(|one| !one.reason.is_empty() && !one.message.is_empty()),
                        "{}",
                        context()
                    );
                    // Written and looked at again, it is the same.
                    (case.config.status, case.now) = (Some(status.clone()), time(999));
                    let again = case.judged(judged, progress);
                    assert_eq!(again, status);
                    assert_eq!(transitions(Some(&status), &again), []);
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 3 * 7 * 7 * 5 * 6 * 4);
}

fn told(transitions: &[Transition]) -> Vec<String> {
    let text = |one: &Transition| format!("{}{}", if one.warning { "!" } else { "" }, one.reason);
    transitions.iter().map(text).collect()
}

#[test]
fn tells_each_change_once() {
    let mut case = Case::new();
    let fine = case.delivery.clone();
    let fails = |folder: u32| {
        state(&[ready(
            "False",
            "ArtifactFailed",
            &format!("kustomization path not found: stat /tmp/kustomization-{folder}/x"),
        )])
    };
    case.agent = AgentHealth::Absent;
    case.delivery = None;
    assert_eq!(told(&case.write(case.during(Progress::Applying))), ["Admitted"]);
    case.agent = AgentHealth::Ready;
    assert_eq!(told(&case.write(case.status())), ["AgentReady"]);
    case.delivery = fine.clone();
    assert_eq!(told(&case.write(case.status())), ["Synced"]);
    // Fails, is tried again and again, and recovers at the same revision.
    case.delivery = fails(1);
    assert_eq!(told(&case.write(case.status())), ["!SyncFailed"]);
    case.delivery = state(&[ready("Unknown", "Progressing", "Fetching"), with("Reconciling", "Progressing")]);
    assert_eq!(told(&case.write(case.status())), [""; 0]);
    case.delivery = fails(22);
    assert_eq!(told(&case.write(case.status())), [""; 0]);
    case.delivery = state(&[ready("False", "BuildFailed", "kustomize build failed")]);
    assert_eq!(told(&case.write(case.status())), ["!SyncFailed"]);
    case.delivery = fine.clone();
    assert_eq!(told(&case.write(case.status())), ["Synced"]);
    // Applied again without any change: nothing to tell.
    assert_eq!(told(&case.write(case.during(Progress::Applying))), [""; 0]);
    assert_eq!(told(&case.write(case.status())), [""; 0]);
    // The agent breaks and comes back.
    case.agent = AgentHealth::Starting("helm-controller has no Lease".to_owned());
    assert_eq!(told(&case.write(case.status())), ["!AgentStarting"]);
    assert_eq!(told(&case.write(case.status())), [""; 0]);
    case.agent = AgentHealth::Ready;
    assert_eq!(told(&case.write(case.status())), ["AgentReady"]);
    // In the way, and not any more.
    let (one, other) = (["cluster prod is away".to_owned()], ["namespace of another".to_owned()]);
    assert_eq!(told(&case.write(case.during(Progress::Blocked(&one)))), ["!Blocked"]);
    assert_eq!(told(&case.write(case.during(Progress::Blocked(&one)))), [""; 0]);
    assert_eq!(told(&case.write(case.during(Progress::Blocked(&other)))), ["!Blocked"]);
    assert_eq!(told(&case.write(case.status())), [""; 0]);
    // Refused for one reason, then for another, then admitted again.
    let keep = Some(OnViolation::Keep);
    assert_eq!(told(&case.write(case.refused(&[violation()], keep))), ["!PolicyViolation"]);
    let reworded = Violation { message: "other words".to_owned(), ..violation() };
    assert_eq!(told(&case.write(case.refused(&[reworded], keep))), [""; 0]);
    let another = Violation::new(Rule::SourceNotAllowed, "spec.chart", "x");
    assert_eq!(told(&case.write(case.refused(&[another], keep))), ["!PolicyViolation"]);
    assert_eq!(told(&case.write(case.status())), ["Admitted"]);
    case.config.spec.suspend = Some(true);
    case.delivery.as_mut().unwrap().suspended = true;
    assert_eq!(told(&case.write(case.status())), ["Suspended"]);
    let removing = Progress::Removing { waiting: &[], orphan: false };
    assert_eq!(told(&case.write(case.during(removing))), ["Deleting"]);
    assert_eq!(told(&case.write(case.during(removing))), [""; 0]);
}

#[test]
fn a_policy_is_in_force_or_denies() {
    let valid = flux_policy(None, Some(2), Ok(()), 4, 10, 1, time(0));
    assert_eq!((valid.tenants, valid.admitted, valid.refused), (Some(4), Some(10), Some(1)));
    assert_eq!((valid.conditions.len(), valid.conditions[0].message.as_str()), (1, "in force"));
    assert_eq!(flux_policy(Some(&valid), Some(2), Ok(()), 4, 10, 1, time(99)), valid);
    let invalid = flux_policy(Some(&valid), Some(3), Err(&[violation()]), 4, 0, 11, time(99));
    let ready = find(&invalid.conditions, READY).unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (ConditionStatus::False, "Invalid"));
    assert!(ready.message.ends_with("every tenant that it selects is denied"));
    assert_eq!(find(&invalid.conditions, STALLED).unwrap().status, ConditionStatus::True);
}

#[test]
fn a_cluster_is_ready_when_it_answers_and_has_flux_and_its_guard() {
    let platform = ["flux-system/kustomize-controller".to_owned()];
    let fine = ClusterSeen {
        old: None,
        generation: Some(1),
        reachable: Ok(()),
        kubernetes_version: Some("v1.35.4"),
        flux: Ok(()),
        flux_version: Some("2.9.3"),
        agents: 2,
        tenants: 3,
        guard: Ok(GuardMode::Native),
        platform_flux: &[],
        contested: &[],
        now: time(0),
    };
    let told = |status: &FluxClusterStatus| {
        let text = |one: &Condition| format!("{}={:?} {}", one.type_, one.status, one.reason);
        status.conditions.iter().map(text).collect::<Vec<_>>().join(" | ")
    };
    let status = flux_cluster(&fine);
    assert_eq!(told(&status), "Ready=True Succeeded | Reachable=True Reachable");
    assert_eq!((status.agents, status.tenants, status.guard), (Some(2), Some(3), Some(GuardMode::Native)));
    assert_eq!(flux_cluster(&ClusterSeen { old: Some(&status), now: time(99), ..fine }), status);

    let away = flux_cluster(&ClusterSeen {
        old: Some(&status),
        reachable: Err("connection refused"),
        kubernetes_version: None,
        flux: Ok(()),
        flux_version: None,
        ..fine
    });
    assert_eq!(
        told(&away),
        "Ready=False Unreachable | Reachable=False Unreachable | Reconciling=True ProgressingWithRetry"
    );
    assert_eq!(
        (away.kubernetes_version, away.flux_version),
        (status.kubernetes_version.clone(), status.flux_version.clone())
    );

    let bare = flux_cluster(&ClusterSeen { flux: Err("no kind Kustomization"), ..fine });
    assert_eq!(
        told(&bare),
        "Ready=False FluxMissing | Reachable=True Reachable | Reconciling=True ProgressingWithRetry"
    );
    let open = flux_cluster(&ClusterSeen { guard: Err("no policy sluicegate-pods"), ..fine });
    assert_eq!(
        told(&open),
        "Ready=False GuardMissing | Reachable=True Reachable | Reconciling=True ProgressingWithRetry"
    );
    assert_eq!(open.guard, None);

    let shared = flux_cluster(&ClusterSeen { platform_flux: &platform, ..fine });
    assert_eq!(
        told(&shared),
        "Ready=True Succeeded | Reachable=True Reachable | PlatformFluxNotExcluded=True PlatformFluxNotExcluded"
    );
    assert!(shared.conditions[2].message.contains("flux-system/kustomize-controller"));
    assert!(shared.conditions[2].message.contains("--watch-label-selector=!sluicegate.dev/agent"));
}
