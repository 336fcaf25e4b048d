//! An agent and everything that it serves, made what it should be in five steps: dereference, decide, render, apply, report.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    Report,
    apply::{self, Applied, Difference, Inventory},
    dependencies, dereference,
    health::{self, LEASE_CHECK, Scale},
    members::{Members, Served},
};
use crate::{
    cluster::Runtime,
    contest::{self, Subject},
    context::Context,
    flux_crds,
    object::{ConfigKey, Key, Kind, Object, Owner, REQUESTED_AT_ANNOTATION},
    plan::Planned,
    render::{self, AgentId, Copy, Member, RenderError, Rendered, Site},
    rights::OPERATOR_SECRETS,
    status::AgentHealth,
    telemetry::metrics::Reconciled,
};

/// Originals that are not watched are read again this often.
const POLL: Duration = Duration::from_secs(60);
/// How long the list of copies is waited for, where the API server neither gives nor refuses it.
const PATIENCE: Duration = Duration::from_secs(30);

/// When to look again, if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// When something changes.
    Change,
    /// After this time.
    After(Duration),
    /// After a backoff: something went wrong.
    Retry,
}

impl Next {
    /// As the metrics say it.
    pub fn outcome(self) -> Reconciled {
        match self {
            Next::Change => Reconciled::Unchanged,
            Next::After(_) => Reconciled::Waiting,
            Next::Retry => Reconciled::Failed,
        }
    }
}

/// Makes an agent what it should be.
pub async fn reconcile(context: &Context, runtime: &Arc<Runtime>, agent: &Arc<str>) -> Next {
    let planned = context.plan.is_complete() && runtime.is_planned();
    if !planned || !runtime.store.is_synced() || !runtime.info().is_known() {
        return Next::After(Duration::from_millis(200));
    }
    let id = AgentId { cluster: runtime.id.clone(), namespace: agent.to_string() };
    let mut inventory = runtime.store.inventory(agent);
    let mut listed = true;
    if has_copies(&inventory, agent) {
        listed = watch_copies(runtime, agent, &inventory);
        // With what has come since.
        inventory = runtime.store.inventory(agent);
    }
    let waited = runtime.unit(agent, |unit| {
        let since = unit.copies_asked.filter(|_| !listed).unwrap_or_else(Instant::now);
        unit.copies_asked = (!listed).then_some(since);
        since.elapsed()
    });
    if !listed && waited < PATIENCE && !runtime.store.is_hidden(agent) {
        // Their list has been asked for, and will push this agent again. Where it is refused, the right to it may be what has to
        // be put right.
        return Next::After(PATIENCE - waited);
    }
    // One look at the plan: what is told to have been seen is what was sorted.
    let planned = concerned(context, &id, &inventory);
    let seen: HashMap<ConfigKey, u64> = planned.iter().map(|planned| (planned.key.clone(), planned.version)).collect();
    let mut members = Members::sort(&id, planned, runtime.management, |name| runtime.store.namespace(name));
    let waits_for = dependencies::hold_back(&mut members, context, &inventory);
    let site = site(context, runtime);
    let rendered = match render_members(&id, &members, &site) {
        Ok(rendered) => rendered,
        Err(error) => {
            let blocked = vec![(Owner::Agent, error.to_string())];
            let health = runtime.unit(agent, |unit| unit.report.health.clone());
            tell(context, runtime, agent, Report { seen, blocked, health, ..Report::default() });
            return Next::Retry;
        }
    };
    let RenderedMembers { staying, full } = rendered;
    let is_first = !runtime.unit(agent, |unit| unit.report.seen.is_empty());
    let platform = staying.iter().flat_map(|rendered| &rendered.copies).flat_map(Copy::platform).cloned();
    context.secrets.uses(&runtime.id, agent, platform);

    let waits = staying.as_ref().and_then(|rendered| flux_crds::waits(context, runtime, rendered.release));
    let (mut desired, filled) = objects(staying, context, runtime).await;
    let (mut full, filled_full) = objects(full, context, runtime).await;
    let polled = filled.polled || filled_full.polled;
    pass_on_requests(&mut desired, &members);
    let scale = runtime.unit(agent, |unit| unit.vitals.scale(&members, &inventory, Timestamp::now()));
    let deployments: Vec<Key> = desired.keys().filter(|key| key.kind == Kind::Deployment).cloned().collect();
    health::lay_down(scale, &mut desired);
    let mut unknown = filled.unknown;
    unknown.extend(filled_full.unknown);
    if waits.is_some() {
        // What runs goes on running as it is.
        full.retain(|key, _| key.kind != Kind::Deployment);
        desired.retain(|key, _| key.kind != Kind::Deployment);
        unknown.extend(deployments.iter().cloned());
    }
    let mut difference = Difference::between(desired, full, &inventory, &members, &unknown);
    // What was not listed yet is not missing.
    if !runtime.store.is_whole(agent) {
        difference.removals.retain(|removal| !removal.key.kind.is_copied());
    }
    let waiting = difference.waiting.clone();
    let applied = apply::carry_out(runtime, agent, &inventory, &context.plan, difference).await;
    let inventory = runtime.store.inventory(agent);
    if has_copies(&inventory, agent) {
        watch_copies(runtime, agent, &inventory);
    }
    let Applied { blocked, failures, repaired, contested, contested_for, fought, writes, deposed } = applied;
    if deposed {
        return Next::After(Duration::from_secs(1));
    }
    if writes > 0 {
        debug!(cluster = %runtime.id, agent = %agent, writes, first = is_first, "applied");
    }
    for kind in repaired {
        context.metrics.drift_repaired(kind);
    }
    if let Some(cluster) = context.plan.cluster(&runtime.id) {
        for (key, contest) in fought {
            let uid = inventory.get(&key).map(|observed| &*observed.uid);
            let subject = Subject::Object(key.clone());
            contest::announce(&context.events, &subject, &contest, cluster.object_ref(&()), uid);
        }
    }
    if let Some(wait) = contested_for {
        // Whatever else there is to wait for: whoever has given up tells of nothing.
        runtime.queue.push_after(agent.clone(), wait);
    }
    for (_, failure) in &failures {
        warn!(cluster = %runtime.id, agent = %agent, failure, "not applied, will be tried again");
    }
    let (health, ask_again) = health::health(runtime, agent, &deployments, scale, &inventory).await;
    let next = match (&failures[..], &health) {
        ([_, ..], _) => Next::Retry,
        _ if !blocked.is_empty() => Next::Retry,
        _ if let Scale::UpFor(left) = scale => Next::After(left),
        (_, AgentHealth::Starting(_)) if ask_again => Next::After(Duration::from_secs(2)),
        _ if !waiting.is_empty() => Next::After(Duration::from_secs(10)),
        _ if polled => Next::After(POLL),
        (_, AgentHealth::Ready) => Next::After(LEASE_CHECK),
        _ => Next::Change,
    };
    let is_gone = inventory.is_empty() && members.staying.is_empty();
    let mut all_blocked = members.blocked;
    all_blocked.extend(filled.blocked);
    all_blocked.extend(blocked);
    all_blocked.extend(failures);
    all_blocked.extend(waits.map(|why| (Owner::Agent, why)));
    let waiting = waiting.into_iter().filter(|(_, key)| inventory.contains_key(key)).collect();
    tell(context, runtime, agent, Report { seen, waiting, blocked: all_blocked, contested, waits_for, health });
    if is_gone && context.plan.members(&id).is_empty() {
        info!(cluster = %runtime.id, agent = %agent, "agent is gone");
        runtime.forget(agent);
        return Next::Change;
    }
    next
}

/// FluxConfigs that the plan gives to the agent, and those of which it has objects.
fn concerned(context: &Context, id: &AgentId, inventory: &Inventory) -> Vec<Arc<Planned>> {
    let mut planned = context.plan.members(id);
    let known: HashSet<ConfigKey> = planned.iter().map(|planned| planned.key.clone()).collect();
    let mut others: Vec<&ConfigKey> = inventory
        .values()
        .filter_map(|observed| observed.owner.config().filter(|config| !known.contains(config)))
        .collect();
    others.sort_unstable();
    others.dedup();
    planned.extend(others.into_iter().filter_map(|config| context.plan.config(config)));
    planned
}

/// What has to be known of a cluster to render for it.
pub fn site(context: &Context, runtime: &Runtime) -> Site {
    let spec = context.plan.cluster(&runtime.id).map(|cluster| cluster.spec.clone());
    Site {
        flux_version: spec.and_then(|spec| spec.flux?.version),
        api_servers: runtime.info().api_servers,
        operator: runtime.account.clone(),
    }
}

struct RenderedMembers {
    staying: Option<Rendered>,
    full: Option<Rendered>,
}

/// Third step. An agent that serves nobody is not rendered.
fn render_members(id: &AgentId, members: &Members, site: &Site) -> Result<RenderedMembers, RenderError> {
    let render = |served: &[&Served]| -> Result<Option<Rendered>, RenderError> {
        if served.is_empty() {
            return Ok(None);
        }
        let list: Vec<Member<'_>> =
            served.iter().map(|one| Member { admitted: &one.admitted, pause: one.pause }).collect();
        render::render(id, &list, site).map(Some)
    };
    let staying: Vec<&Served> = members.staying.iter().collect();
    let full = if members.leaving.is_empty() {
        None
    } else {
        // Whatever can be said of those who leave helps to keep their agent up; where nothing can, it is left alone.
        let all: Vec<&Served> = members.staying.iter().chain(&members.leaving).collect();
        render(&all).unwrap_or_default()
    };
    Ok(RenderedMembers { staying: render(&staying)?, full })
}

async fn objects(
    rendered: Option<Rendered>,
    context: &Context,
    runtime: &Runtime,
) -> (BTreeMap<Key, Object>, dereference::Filled) {
    let (objects, copies) = rendered.map(|rendered| (rendered.objects, rendered.copies)).unwrap_or_default();
    let mut filled = dereference::fill(copies, &context.secrets, &context.management, &runtime.client).await;
    let all = objects.into_iter().chain(std::mem::take(&mut filled.objects));
    (all.map(|object| (object.key.clone(), object)).collect(), filled)
}

/// Whoever asks for a sync asks by an annotation on the FluxConfig; Flux reads the same on its own objects.
fn pass_on_requests(desired: &mut BTreeMap<Key, Object>, members: &Members) {
    let requests: HashMap<&ConfigKey, &str> = members
        .staying
        .iter()
        .filter_map(|served| Some((&served.planned.key, served.planned.config.requested_at()?)))
        .collect();
    if requests.is_empty() {
        return;
    }
    for object in desired.values_mut().filter(|object| object.key.kind.is_flux()) {
        if let Owner::Config { config, .. } = &object.owner
            && let Some(request) = requests.get(config)
        {
            object.manifest["metadata"]["annotations"][REQUESTED_AT_ANNOTATION] = json!(request);
        }
    }
}

/// Whether the operator has bound itself to Secrets in the agent's namespace.
fn has_copies(inventory: &Inventory, agent: &str) -> bool {
    inventory.iter().any(|(key, _)| {
        key.kind.is_copied()
            || (key.kind == Kind::RoleBinding && key.namespace == agent && key.name == OPERATOR_SECRETS)
    })
}

fn watch_copies(runtime: &Arc<Runtime>, agent: &str, inventory: &Inventory) -> bool {
    runtime.watch_copies(agent, |kind| inventory.keys().any(|key| key.kind == kind))
}

/// Last step: the FluxConfigs hear of it.
fn tell(context: &Context, runtime: &Runtime, agent: &Arc<str>, report: Report) {
    let configs: Vec<ConfigKey> = report.seen.keys().cloned().collect();
    runtime.unit(agent, |unit| unit.report = Arc::new(report));
    for config in configs {
        context.configs.push(config);
    }
}
