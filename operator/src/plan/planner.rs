//! The task that keeps the plan: it alone reads the management cluster's news, and asks the engine.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use kube::{
    Api,
    core::{ApiResource, DynamicObject},
};
use sluicegate_crds::{FluxCluster, FluxConfig, FluxPolicy};
use tokio::{
    sync::{mpsc, watch as channel},
    time::{Instant, sleep, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    Judgement, Planned, target,
    world::{Change, Policies, World},
};
use crate::{
    cluster::{
        Runtime,
        lean::{Lean, Reading},
        watch::{News, watch},
    },
    context::Context,
    object::{ConfigKey, Kind},
    telemetry::{
        health::{Beat, Gate},
        metrics::{Verdict, Watched},
    },
    tenancy,
};

/// News that come this close together are taken as one.
const GATHER: Duration = Duration::from_millis(20);
/// How often the loop turns at least, for those who watch whether it does.
const BEAT: Duration = Duration::from_secs(5);
/// Counts for the policies' statuses are made at most this often.
const COUNT: Duration = Duration::from_secs(1);

/// What of the management cluster is watched for decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Config,
    Policy,
    Cluster,
    Namespace,
    Secret,
}

impl Source {
    const ALL: [Source; 5] = [Source::Config, Source::Policy, Source::Cluster, Source::Namespace, Source::Secret];

    fn resource(self) -> ApiResource {
        match self {
            Source::Config => ApiResource::erase::<FluxConfig>(&()),
            Source::Policy => ApiResource::erase::<FluxPolicy>(&()),
            Source::Cluster => ApiResource::erase::<FluxCluster>(&()),
            Source::Namespace => Kind::Namespace.api_resource(),
            Source::Secret => Kind::Secret.api_resource(),
        }
    }
}

impl Source {
    fn reading(self) -> Reading {
        match self {
            Source::Config => Reading::CONFIG,
            Source::Policy => Reading::OWN,
            Source::Cluster => Reading::CLUSTER,
            Source::Namespace => Reading::NAMESPACE,
            Source::Secret => Reading::RENDERED,
        }
    }

    fn shown(self) -> Watched {
        match self {
            Source::Config => Watched::FluxConfig,
            Source::Policy => Watched::FluxPolicy,
            Source::Cluster => Watched::FluxCluster,
            Source::Namespace => Watched::Object(Kind::Namespace),
            Source::Secret => Watched::Object(Kind::Secret),
        }
    }
}

/// What the planner is told.
pub enum Message {
    /// Something has changed.
    Change(Change),
    /// All objects of a kind have been told: namespace and name of each.
    Listed(Source, HashSet<(String, String)>),
    /// All namespaces of a cluster that carry a tenant's label, with their tenants. Nothing is done on a cluster before what
    /// is planned for it follows from them.
    Labels(Weak<Runtime>, Vec<(String, String)>),
}

/// What the planner tells to other tasks.
pub struct Channels {
    /// Clusters, or Secrets with a kubeconfig, have changed.
    pub clusters: Arc<tokio::sync::Notify>,
    /// What policies mean now.
    pub policies: channel::Sender<Arc<Policies>>,
    /// What it is told; [`Context::news`] is the other end.
    pub news: mpsc::UnboundedReceiver<Message>,
}

/// Watches the management cluster and plans, for ever.
pub async fn run(context: Arc<Context>, channels: Channels, beat: Beat, complete: Gate) {
    let Channels { clusters: clusters_changed, policies: policies_changed, news: mut receiver } = channels;
    for source in Source::ALL {
        tokio::spawn(follow(context.clone(), source, context.news.clone(), clusters_changed.clone()));
    }
    let mut world = World::default();
    let mut listed: HashSet<Source> = HashSet::new();
    let mut pending: Vec<Change> = Vec::new();
    let mut count_at: Option<Instant> = None;
    let mut labelled: Vec<Weak<Runtime>> = Vec::new();
    loop {
        beat.turn();
        let at = count_at.unwrap_or_else(|| Instant::now() + BEAT);
        let message = match timeout_at(at, receiver.recv()).await {
            Ok(message) => message,
            Err(_) => {
                if count_at.take().is_some() {
                    count(&context);
                    let _ = policies_changed.send(Arc::new(world.policies()));
                }
                continue;
            }
        };
        let Some(message) = message else { return };
        sleep(GATHER).await;
        let mut messages = vec![message];
        while let Ok(message) = receiver.try_recv() {
            messages.push(message);
        }
        for message in messages {
            match message {
                Message::Change(change) => pending.push(change),
                Message::Listed(source, names) => {
                    pending.extend(removed(&world, &pending, source, &names));
                    listed.insert(source);
                }
                Message::Labels(runtime, labels) => {
                    if let Some(id) = runtime.upgrade().map(|runtime| runtime.id.clone()) {
                        pending.push(Change::TenantLabels(id, labels));
                        labelled.push(runtime);
                    }
                }
            }
        }
        // From half of the facts wrong conclusions would be drawn.
        if listed.len() < Source::ALL.len() {
            continue;
        }
        let began = Instant::now();
        let outcome = world.take(std::mem::take(&mut pending));
        let (clusters, policies) =
            (outcome.clusters, outcome.policies || !outcome.planned.is_empty() || !outcome.gone.is_empty());
        debug!(decided = outcome.decided, planned = outcome.planned.len(), took = ?began.elapsed(), "planned");
        beat.turn();
        let was_complete = context.plan.is_complete();
        if outcome.ground || !was_complete {
            context.ground.send_replace(Arc::new(world.ground()));
        }
        publish(&context, &world, outcome.planned, &outcome.gone);
        for runtime in labelled.drain(..).filter_map(|runtime| runtime.upgrade()) {
            runtime.plan_is_whole();
        }
        if !was_complete {
            complete.open();
            info!(configs = context.plan.configs().len(), "the plan is complete");
            for runtime in context.clusters() {
                runtime.store.agents().into_iter().for_each(|agent| runtime.queue.push(agent));
            }
        }
        if clusters || !was_complete {
            clusters_changed.notify_one();
        }
        if policies && count_at.is_none() {
            count_at = Some(Instant::now() + COUNT);
        }
    }
}

fn count(context: &Context) {
    let (mut admitted, mut refused, mut undetermined) = (0, 0, 0);
    for planned in context.plan.configs() {
        match planned.judgement {
            Judgement::Admitted(_) => admitted += 1,
            Judgement::Refused { .. } => refused += 1,
            Judgement::Undetermined { .. } => undetermined += 1,
        }
    }
    context.metrics.fluxconfigs(Verdict::Admitted, admitted);
    context.metrics.fluxconfigs(Verdict::Refused, refused);
    context.metrics.fluxconfigs(Verdict::Undetermined, undetermined);
}

/// Puts the new plans in, and has everybody looked at whom they concern.
fn publish(context: &Context, world: &World, planned: Vec<Arc<Planned>>, gone: &[Arc<Planned>]) {
    // In order, so that those of one tenant come one after the other, and their agent is looked at once for all of them.
    let mut agents = BTreeSet::new();
    let mut targets = BTreeSet::new();
    let mut configs: BTreeMap<ConfigKey, bool> = BTreeMap::new();
    let mut unplaced = Vec::new();
    context.plan.write(|inner| {
        inner.clusters = world.clusters().clone();
        for planned in gone {
            agents.extend(planned.agent.clone());
            targets.extend(target(planned));
            inner.remove(&planned.key);
        }
        for planned in planned {
            let before = inner.configs.get(&planned.key);
            let concerns_agent = before.is_none_or(|before| {
                before.version != planned.version
                    || before.is_prepared() != planned.is_prepared()
                    || before.config.requested_at() != planned.config.requested_at()
            });
            if concerns_agent {
                agents.extend(before.and_then(|before| before.agent.clone()));
                agents.extend(planned.agent.clone());
                targets.extend(before.and_then(|before| target(before)));
                targets.extend(target(&planned));
                if planned.agent.is_none() {
                    unplaced.push(planned.key.clone());
                }
            }
            // A status that comes back as it was written asks for nothing.
            let restated = before.is_some_and(|before| before.version == planned.version && !concerns_agent);
            configs.insert(planned.key.clone(), restated);
            inner.put(planned);
        }
        inner.complete = true;
    });
    context.came_back(configs.keys().chain(gone.iter().map(|planned| &planned.key)));
    for (key, restated) in configs {
        if restated {
            context.configs.push_after(key, Duration::from_millis(500));
        } else {
            context.configs.push(key);
        }
    }
    for (cluster, namespace) in targets {
        if let Some(runtime) = context.cluster(&cluster) {
            runtime.guards.push(Arc::from(namespace.as_str()));
        }
    }
    for agent in agents {
        context.push_agent(&agent.cluster, Arc::from(agent.namespace.as_str()));
    }
    // Whose agent is not in the plan may have one on some cluster, which takes away what it deployed when it is deleted.
    for (runtime, agent) in unplaced.iter().flat_map(|key| context.agents_with(key)) {
        runtime.queue.push(agent);
    }
}

/// What a new list does not name any more.
fn removed(world: &World, pending: &[Change], source: Source, names: &HashSet<(String, String)>) -> Vec<Change> {
    let gone = |namespace: &str, name: &str| !names.contains(&(namespace.to_owned(), name.to_owned()));
    let known = world.names();
    let unnamed = |known: Vec<String>, kind: &str, change: fn(String) -> Change| -> Vec<Change> {
        let waiting = pending.iter().map(Change::name).filter_map(|(of, name)| (of == kind).then_some(name));
        known.into_iter().chain(waiting).filter(|name| gone("", name)).map(change).collect()
    };
    match source {
        Source::Config => {
            let keys = known.configs.into_iter().chain(pending.iter().filter_map(|change| match change {
                Change::Config(key, _) => Some(key.clone()),
                _ => None,
            }));
            keys.filter(|key| gone(&key.home, &key.name)).map(|key| Change::Config(key, None)).collect()
        }
        Source::Policy => unnamed(known.policies, "policy", |name| Change::Policy(name, None)),
        Source::Cluster => unnamed(known.clusters, "cluster", |name| Change::Cluster(name, None)),
        Source::Namespace => unnamed(known.namespaces, "namespace", |name| Change::Namespace(name, None)),
        Source::Secret => Vec::new(),
    }
}

async fn follow(
    context: Arc<Context>,
    source: Source,
    sender: mpsc::UnboundedSender<Message>,
    clusters: Arc<tokio::sync::Notify>,
) {
    let client = context.management.inner();
    let resource = source.resource();
    let api: Api<DynamicObject> = match source {
        Source::Secret => Api::namespaced_with(client, &context.namespace, &resource),
        _ => Api::all_with(client, &resource),
    };
    let shown = source.shown();
    let push = |users: Vec<(String, Arc<str>)>| {
        for (cluster, agent) in users {
            context.push_agent(&cluster, agent);
        }
    };
    watch(api, None, source.reading(), context.management.turns(), |news| {
        let message = match news {
            News::Saw(object) if source == Source::Secret => {
                push(context.secrets.saw(&object.value));
                clusters.notify_one();
                return;
            }
            News::Lost(object) if source == Source::Secret => {
                push(context.secrets.lost(object.text("name")));
                clusters.notify_one();
                return;
            }
            News::Saw(object) => Message::Change(change(source, object, false)),
            News::Lost(object) => Message::Change(change(source, object, true)),
            News::Listed(names) => {
                if source == Source::Secret {
                    for name in context.secrets.names() {
                        if !names.contains(&(context.namespace.clone(), name.clone())) {
                            push(context.secrets.lost(&name));
                        }
                    }
                }
                Message::Listed(source, names)
            }
            News::Missing => {
                warn!(
                    kind = resource.kind,
                    "the management cluster does not have this kind: install Sluicegate's CRDs"
                );
                return;
            }
            News::Failed(failure) | News::Refused(failure) => {
                warn!(kind = resource.kind, failure, "watch");
                context.metrics.watch_restarted(shown);
                return;
            }
        };
        // The planner lives as long as the process.
        let _ = sender.send(message);
    })
    .await;
}

/// Decodes leniently: what cannot be read is known to be there, and that it cannot be read.
fn change(source: Source, object: Lean, gone: bool) -> Change {
    let (namespace, name) = object.name();
    let Lean { value, whole } = object;
    match source {
        Source::Config => {
            let key = ConfigKey::new(namespace, name);
            match (gone, whole) {
                (true, _) => Change::Config(key, None),
                (false, true) => Change::config(key, value),
                (false, false) => Change::large_config(key, value),
            }
        }
        Source::Policy if gone => Change::Policy(name, None),
        Source::Policy => Change::policy(name, value),
        Source::Cluster if gone => Change::Cluster(name, None),
        Source::Cluster => match serde_json::from_value(value) {
            Ok(cluster) => Change::Cluster(name, Some(Box::new(cluster))),
            Err(error) => {
                warn!(cluster = name, %error, "FluxCluster cannot be read");
                Change::Cluster(name, None)
            }
        },
        Source::Namespace | Source::Secret => {
            Change::Namespace(name, (!gone).then(|| tenancy::namespace(&Lean { value, whole })))
        }
    }
}
