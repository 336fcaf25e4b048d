//! A FluxConfig: its blanks are filled and it is held by our finalizer before anything is deployed; its status is told; it is
//! let go when nothing of it is left.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Resource as _,
    runtime::events::{Event, EventType},
};
use serde_json::{Value, json};
use sluicegate_crds::{API_VERSION, DeletionPolicy, FluxConfig, FluxConfigStatus, OnViolation};
use tracing::{info, warn};

use super::{Report, agent::Next};
use crate::{
    cluster::{ApiError, ApiResult, Runtime, client::OwnPatch},
    contest::{self, Drift, Subject, Turn, writers},
    context::{Context, Written},
    fields::Fingerprint,
    flux::state::FluxState,
    object::{ConfigKey, Key, Owner, Stage},
    plan::{FINALIZER, Judgement, Planned, status_digest},
    status::{self, AgentHealth, Judged, Progress, Seen},
};

/// How long a status stays as an earlier process wrote it, before it is asked again whether enough is known.
const EARLY: Duration = Duration::from_secs(1);

/// Prepares a FluxConfig, tells its status, or lets it go.
pub async fn reconcile(context: &Context, key: &ConfigKey) -> Next {
    let Some(planned) = context.plan.config(key) else {
        context.arrived(key);
        return Next::Change;
    };
    match step(context, &planned).await {
        Ok(next) => next,
        // It is gone, or another by now: the watch tells.
        Err(error) if error.is_not_found() => Next::Change,
        Err(error) if error.is_conflict() => Next::After(Duration::from_millis(500)),
        Err(ApiError::NotLeading) => Next::After(Duration::from_secs(1)),
        Err(error) => {
            warn!(config = %key, %error, "will be tried again");
            Next::Retry
        }
    }
}

async fn step(context: &Context, planned: &Arc<Planned>) -> ApiResult<Next> {
    let config = planned.config.unpack();
    let situation = Situation::of(context, planned);
    if planned.leaving.is_some() {
        if !planned.is_held() {
            return Ok(Next::Change);
        }
        if situation.is_gone() {
            let_go(context, planned, &config).await?;
            return Ok(Next::Change);
        }
    } else {
        if time_left(planned, &config).is_some_and(|left| left.is_zero()) {
            info!(config = %planned.key, "its time to live is over");
            let (home, name) = (&planned.key.home, &planned.key.name);
            context.management.delete_own::<FluxConfig>(Some(home), name, uid(&config)).await?;
            return Ok(Next::Change);
        }
        if let Judgement::Admitted(admitted) = &planned.judgement
            && !planned.is_prepared()
        {
            prepare_in_turn(context, planned, &config, &admitted.complete(&config)).await?;
        }
    }
    if situation.is_too_early(context, planned, &config) {
        return Ok(Next::After(EARLY));
    }
    if situation.is_under_way(planned) {
        let patience = context.patience(&planned.key);
        if !patience.is_zero() {
            return Ok(Next::After(patience));
        }
    } else {
        context.arrived(&planned.key);
    }
    let left = time_left(planned, &config).map(|left| left + Duration::from_secs(1));
    let subject = Subject::Config(planned.key.clone(), uid(&config).to_owned());
    let prepares = context.contests.pending(&subject).map(|(wait, _)| wait);
    let tells = tell(context, planned, config, &situation).await?;
    Ok([left, prepares, tells].into_iter().flatten().min().map_or(Next::Change, Next::After))
}

/// What there is of a FluxConfig.
struct Situation {
    runtime: Option<Arc<Runtime>>,
    unreachable: Option<String>,
    report: Option<Arc<Report>>,
    owner: Owner,
    flux: Vec<(Arc<Key>, FluxState)>,
    chart: Option<FluxState>,
    anywhere: bool,
    looked_at: bool,
}

impl Situation {
    fn of(context: &Context, planned: &Planned) -> Self {
        let tenant = planned.judgement.known().map(|admitted| admitted.resolved().tenant.as_str().to_owned());
        let tenant = tenant.unwrap_or_else(|| planned.key.home.to_string());
        let (cluster, runtime, agent): (_, _, Option<Arc<str>>) = match &planned.agent {
            Some(agent) => (
                Some(agent.cluster.clone()),
                context.cluster(&agent.cluster),
                Some(Arc::from(agent.namespace.as_str())),
            ),
            None => match context.agents_with(&planned.key).next() {
                Some((runtime, agent)) => (Some(runtime.id.clone()), Some(runtime), Some(agent)),
                None => (None, None, None),
            },
        };
        let unreachable = cluster.and_then(|id| match &runtime {
            Some(runtime) => runtime.info().unreachable.map(|why| format!("cluster {id} does not answer: {why}")),
            None => Some(match context.problem(&id) {
                Some(problem) => format!("cluster {id}: {problem}"),
                None if context.plan.cluster(&id).is_none() => format!("cluster {id} has no FluxCluster any more"),
                None => format!("cluster {id} is not connected yet"),
            }),
        });
        let place = runtime.as_ref().zip(agent.as_ref());
        let report = place.and_then(|(runtime, agent)| runtime.report(agent));
        let flux = place.map(|(runtime, agent)| runtime.store.flux_of(&planned.key, agent)).unwrap_or_default();
        let chart = place.and_then(|(runtime, agent)| runtime.store.chart_of(&planned.key, agent));
        Self {
            flux,
            chart,
            looked_at: planned.agent.is_none()
                || report.as_ref().is_some_and(|report| report.has_seen(&planned.key, planned.version)),
            anywhere: context
                .clusters()
                .iter()
                .any(|runtime| !runtime.store.is_synced() || runtime.store.has_config(&planned.key)),
            owner: Owner::Config { tenant, config: planned.key.clone() },
            runtime,
            unreachable,
            report,
        }
    }

    /// Whether this process cannot know better yet than the status that is there: after a start, while clusters that can be
    /// reached are read for the first time.
    fn is_too_early(&self, context: &Context, planned: &Planned, config: &FluxConfig) -> bool {
        let metadata = &config.metadata;
        let is_told = config.status.as_ref().is_some_and(|status| {
            status.observed_generation.is_some() && status.observed_generation == metadata.generation
        });
        let is_read = |id: &str, runtime: Option<&Arc<Runtime>>| match runtime {
            None => context.problem(id).is_some() || context.plan.cluster(id).is_none(),
            Some(runtime) => runtime.store.is_synced() || runtime.info().unreachable.is_some(),
        };
        let waits = match &planned.agent {
            Some(agent) => {
                !is_read(&agent.cluster, self.runtime.as_ref())
                    || (self.runtime.is_some() && self.unreachable.is_none() && !self.is_reported())
            }
            // It may have something on any of them.
            None => context.plan.clusters().keys().any(|id| !is_read(id, context.cluster(id).as_ref())),
        };
        is_told && waits
    }

    /// Whether this process has reconciled the agent.
    fn is_reported(&self) -> bool {
        self.report.as_ref().is_some_and(|report| !report.seen.is_empty())
    }

    /// Whether nothing is in the way, and all that is left to say is that its objects are being applied.
    fn is_under_way(&self, planned: &Planned) -> bool {
        matches!(planned.judgement, Judgement::Admitted(_))
            && planned.leaving.is_none()
            && self.unreachable.is_none()
            && !(self.looked_at && planned.is_prepared())
            && self.blocked().is_empty()
    }

    fn waiting(&self) -> Vec<Key> {
        self.report.iter().flat_map(|report| report.waiting_for(&self.owner)).cloned().collect()
    }

    /// Whether nothing of it is left anywhere, and nothing that goes with it.
    fn is_gone(&self) -> bool {
        !self.anywhere && self.looked_at && self.unreachable.is_none() && self.waiting().is_empty()
    }

    fn blocked(&self) -> Vec<String> {
        let mut blocked: Vec<String> = self.unreachable.iter().cloned().collect();
        blocked.extend(self.report.iter().flat_map(|report| report.blocked_for(&self.owner)).map(str::to_owned));
        blocked.sort();
        blocked.dedup();
        blocked
    }

    /// What somebody else keeps changing, of the FluxConfig and of what it stands on.
    fn contested(&self, context: &Context, spec: &Subject) -> Vec<String> {
        let of_agent = self.report.iter().flat_map(|report| report.contested_for(&self.owner)).map(str::to_owned);
        let of_spec = context.contests.pending(spec).map(|(_, why)| why);
        let mut contested: Vec<String> = of_agent.chain(of_spec).collect();
        contested.sort();
        contested.dedup();
        contested
    }

    fn waits_for(&self, key: &ConfigKey) -> Option<&str> {
        self.report.as_ref()?.waits_for.get(key).map(String::as_str)
    }

    fn state(&self, stage: Stage) -> Option<&FluxState> {
        self.flux.iter().find(|(key, _)| key.kind.stage() == stage).map(|(_, state)| state)
    }
}

fn uid(config: &FluxConfig) -> &str {
    config.metadata.uid.as_deref().unwrap_or_default()
}

/// How long a review environment still lives.
fn time_left(planned: &Planned, config: &FluxConfig) -> Option<Duration> {
    let ttl = planned.judgement.known()?.resolved().terms.ttl?;
    let created = config.metadata.creation_timestamp.as_ref()?.0;
    let age = Timestamp::now().duration_since(created);
    // A clock that runs behind the API server's makes it younger, not older.
    Some(ttl.saturating_sub(Duration::try_from(age).unwrap_or_default()))
}

/// Fills the blanks and puts our finalizer on, in one write and only onto the very object that was judged.
async fn prepare(context: &Context, planned: &Planned, config: &FluxConfig, complete: &FluxConfig) -> ApiResult<()> {
    let metadata = &config.metadata;
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    if !planned.is_held() {
        finalizers.push(FINALIZER.to_owned());
    }
    let mut patch = json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": finalizers}});
    if complete.spec != config.spec {
        patch["spec"] = serde_json::to_value(&complete.spec).unwrap_or(Value::Null);
    }
    context
        .management
        .patch_own::<FluxConfig>(Some(&planned.key.home), &planned.key.name, OwnPatch::Merge(&patch))
        .await?;
    Ok(())
}

/// The same, unless somebody else keeps undoing it.
async fn prepare_in_turn(
    context: &Context,
    planned: &Planned,
    config: &FluxConfig,
    complete: &FluxConfig,
) -> ApiResult<()> {
    let subject = Subject::Config(planned.key.clone(), uid(config).to_owned());
    let prepared = Fingerprint::of_text("prepared");
    let Ok(begun) = context.contests.begin(subject, prepared, Drift::ANY, writer(context, &planned.key, false)).await
    else {
        return Ok(());
    };
    prepare(context, planned, config, complete).await?;
    if let Some((subject, contest)) = begun.wrote() {
        contest::announce(&context.events, &subject, &contest, config.object_ref(&()), None);
    }
    Ok(())
}

/// Who else wrote a FluxConfig last, or its status.
async fn writer(context: &Context, key: &ConfigKey, status: bool) -> String {
    let path = format!("/apis/{API_VERSION}/namespaces/{}/{}/{}", key.home, FluxConfig::plural(&()), key.name);
    match context.management.get_path(&path).await {
        Ok(live) => writers::last(Some(&live), status),
        Err(_) => writers::UNKNOWN.to_owned(),
    }
}

async fn let_go(context: &Context, planned: &Planned, config: &FluxConfig) -> ApiResult<()> {
    let metadata = &config.metadata;
    let finalizers: Vec<&String> =
        metadata.finalizers.iter().flatten().filter(|finalizer| *finalizer != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": metadata.resource_version, "finalizers": finalizers}});
    context
        .management
        .patch_own::<FluxConfig>(Some(&planned.key.home), &planned.key.name, OwnPatch::Merge(&patch))
        .await?;
    info!(config = %planned.key, "nothing is left of it");
    Ok(())
}

/// Writes the status where it says something else than before, and events for what changed; how long that has to wait, where
/// somebody else keeps writing it.
async fn tell(
    context: &Context,
    planned: &Planned,
    mut config: FluxConfig,
    situation: &Situation,
) -> ApiResult<Option<Duration>> {
    // What was written last and has not come back yet is what the next status goes on from.
    let written = context.written_over(&planned.key, planned.status);
    if let Some(written) = &written {
        config.status = Some(written.status.clone());
    }
    // What is not admitted any more keeps what it was resolved to then. Of one that is admitted that is not kept in memory.
    if let (
        Some(status),
        Judgement::Refused { last: Some(last), .. } | Judgement::Undetermined { last: Some(last), .. },
    ) = (&mut config.status, &planned.judgement)
    {
        status.resolved = last.fields();
    }
    let deployed = !situation.flux.is_empty();
    let judged = match &planned.judgement {
        Judgement::Admitted(admitted) => Judged::Admitted(admitted),
        Judgement::Refused { violations, on_violation, .. } => {
            Judged::Refused { violations, kept: deployed.then_some(*on_violation) }
        }
        Judgement::Undetermined { violations, .. } => Judged::Undetermined(violations),
    };
    let waiting = situation.waiting();
    let mut blocked = situation.blocked();
    let is_removed = matches!(planned.judgement, Judgement::Refused { on_violation: OnViolation::Remove, .. });
    let progress = if planned.leaving.is_some() || (is_removed && deployed) {
        if !blocked.is_empty() {
            blocked.extend(status::waiting(&waiting));
            Progress::Blocked(&blocked)
        } else {
            Progress::Removing { waiting: &waiting, orphan: planned.leaving == Some(DeletionPolicy::Orphan) }
        }
    } else if !blocked.is_empty() {
        Progress::Blocked(&blocked)
    } else if situation.looked_at && planned.is_prepared() {
        Progress::Applied
    } else {
        Progress::Applying
    };
    let health = match (&situation.runtime, &situation.unreachable, &situation.report) {
        (None, _, _) | (_, Some(_), _) => AgentHealth::Unknown,
        (Some(_), None, Some(report)) => report.health.clone(),
        (Some(_), None, None) => AgentHealth::Absent,
    };
    let contested = situation.contested(context, &Subject::Config(planned.key.clone(), uid(&config).to_owned()));
    let digest = Some(&*planned.policy_digest).filter(|digest| !digest.is_empty());
    let status = status::flux_config(&Seen {
        config: &config,
        judged,
        progress,
        agent: &health,
        source: situation.state(Stage::Source),
        chart: situation.chart.as_ref(),
        delivery: situation.state(Stage::Delivery),
        contested: &contested,
        waits_for: situation.waits_for(&planned.key),
        policy_digest: digest,
        now: Timestamp::now(),
    });
    let now = status_digest(Some(&status));
    let before = match &written {
        Some(written) => status_digest(Some(&written.status)),
        None => planned.status,
    };
    if now == before {
        return Ok(None);
    }
    let subject = Subject::ConfigStatus(planned.key.clone(), uid(&config).to_owned());
    let contested = match context.contests.turn_over(&subject, before) {
        Turn::Wait(left) => return Ok(Some(left)),
        Turn::Now { contested } => contested,
    };
    let writer = if contested { Some(writer(context, &planned.key, true).await) } else { None };
    let (home, name) = (&planned.key.home, &planned.key.name);
    let body = json!({
        "apiVersion": API_VERSION, "kind": "FluxConfig",
        "metadata": {"name": &**name, "namespace": &**home, "uid": uid(&config)},
        "status": status,
    });
    context.management.patch_own::<FluxConfig>(Some(home), name, OwnPatch::Status(&body)).await?;
    if let Some(contest) = context.contests.wrote_over(&subject, before, now, writer) {
        contest::announce(&context.events, &subject, &contest, config.object_ref(&()), None);
    }
    announce(context, &config, &status);
    context.wrote(&planned.key, Written { over: planned.status, status });
    Ok(None)
}

/// Events for people.
fn announce(context: &Context, config: &FluxConfig, status: &FluxConfigStatus) {
    for transition in status::transitions(config.status.as_ref(), status) {
        let event = Event {
            type_: if transition.warning { EventType::Warning } else { EventType::Normal },
            reason: transition.reason.to_string(),
            note: Some(transition.message),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        context.events.tell(event, config.object_ref(&()));
    }
}
