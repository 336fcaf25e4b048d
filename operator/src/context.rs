//! What all tasks of the operator share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use sluicegate_crds::FluxConfigStatus;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    cluster::{ClusterClient, Runtime, queue::Queue, runtime::Listener},
    contest::Ledger,
    events::Events,
    fields::Fingerprint,
    lease::Leadership,
    object::ConfigKey,
    plan::{Ground, Plan, planner::Message},
    secrets::Secrets,
    telemetry::metrics::{Metrics, Watched},
};

/// How long news of Flux may wait, so that several become one.
const SOON: Duration = Duration::from_millis(100);
/// FluxConfigs for whose passing states there is always room; what ten thousand at once took is given back.
const SMALL: usize = 64;

/// A status that was written, and has not come back by the watch yet.
#[derive(Clone, Debug)]
pub struct Written {
    /// The status before, as the watch had told it.
    pub over: Fingerprint,
    /// What was written.
    pub status: FluxConfigStatus,
}

/// What all tasks share.
pub struct Context {
    /// What should be.
    pub plan: Plan,
    /// What decisions about tenants stand on.
    pub ground: watch::Sender<Arc<Ground>>,
    /// FluxConfigs to be prepared, and whose status may be another now.
    pub configs: Queue<ConfigKey>,
    /// The administrators' Secrets.
    pub secrets: Secrets,
    /// The management cluster.
    pub management: ClusterClient,
    /// Namespace of the operator.
    pub namespace: String,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Kubernetes' events.
    pub events: Events,
    /// What the planner is told beside its own watches.
    pub news: mpsc::UnboundedSender<Message>,
    /// Whether this process leads.
    pub leadership: watch::Receiver<Leadership>,
    /// What others keep changing of Sluicegate's own objects.
    pub contests: Ledger,
    clusters: RwLock<BTreeMap<String, Arc<Runtime>>>,
    problems: RwLock<BTreeMap<String, String>>,
    written: Mutex<HashMap<ConfigKey, Written>>,
    under_way: Mutex<HashMap<ConfigKey, Instant>>,
}

/// How long a status waits for what comes next. It mostly comes at once, and then one status says both.
const PATIENCE: Duration = Duration::from_secs(10);

impl Context {
    /// Nothing known yet. The planner takes the other end of [`news`](Self::news).
    pub fn new(
        management: ClusterClient,
        namespace: String,
        metrics: Arc<Metrics>,
        events: Events,
        leadership: watch::Receiver<Leadership>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Message>) {
        let (news, told) = mpsc::unbounded_channel();
        let context = Arc::new(Self {
            news,
            plan: Plan::default(),
            ground: watch::Sender::default(),
            configs: Queue::default(),
            secrets: Secrets::default(),
            management,
            namespace,
            contests: Ledger::new("", metrics.clone()),
            metrics,
            events,
            leadership,
            clusters: RwLock::default(),
            problems: RwLock::default(),
            written: Mutex::default(),
            under_way: Mutex::default(),
        });
        (context, told)
    }

    /// Tells the planner, which lives as long as the process.
    pub fn tell(&self, message: Message) {
        let _ = self.news.send(message);
    }

    /// A cluster that is connected.
    pub fn cluster(&self, id: &str) -> Option<Arc<Runtime>> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All clusters that are connected.
    pub fn clusters(&self) -> Vec<Arc<Runtime>> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The agents that have something of a FluxConfig, by what is on the clusters: what is known of one that was refused ever
    /// since this process began.
    pub fn agents_with(&self, key: &ConfigKey) -> impl Iterator<Item = (Arc<Runtime>, Arc<str>)> {
        self.clusters().into_iter().filter_map(|runtime| {
            let agent = runtime.store.agent_with(key)?;
            Some((runtime, agent))
        })
    }

    /// Why a cluster is not connected.
    pub fn problem(&self, id: &str) -> Option<String> {
        self.problems.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Puts a cluster in, or says why there is none. What ran before is stopped.
    pub fn set_cluster(&self, id: &str, runtime: Result<Arc<Runtime>, Option<String>>) {
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        let mut problems = self.problems.write().unwrap_or_else(PoisonError::into_inner);
        let problem = problems.get(id).cloned();
        let before = match runtime {
            Ok(runtime) => {
                self.metrics.cluster(id);
                problems.remove(id);
                clusters.insert(id.to_owned(), runtime)
            }
            Err(problem) => {
                match problem {
                    Some(problem) => problems.insert(id.to_owned(), problem),
                    None => problems.remove(id),
                };
                self.metrics.no_cluster(id);
                clusters.remove(id)
            }
        };
        let is_news = before.is_some() || problems.get(id) != problem.as_ref();
        drop((clusters, problems));
        if let Some(before) = before {
            before.stop();
        }
        if is_news {
            self.tell_all_of(id);
        }
    }

    /// Waits until this process leads.
    pub async fn lead(&self) {
        let mut leadership = self.leadership.clone();
        // The sender lives as long as the process.
        let _ = leadership.wait_for(|leadership| matches!(leadership, Leadership::Leading { .. })).await;
    }

    /// Has the statuses of all FluxConfigs looked at that a cluster serves.
    pub fn tell_all_of(&self, cluster: &str) {
        for planned in self.plan.agents(cluster).iter().flat_map(|agent| self.plan.members(agent)) {
            self.configs.push(planned.key.clone());
        }
    }

    /// The statuses that were written and have not come back yet.
    fn written(&self) -> MutexGuard<'_, HashMap<ConfigKey, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The status that was written over this one, where it has not come back yet.
    pub fn written_over(&self, key: &ConfigKey, over: Fingerprint) -> Option<Written> {
        self.written().get(key).filter(|written| written.over == over).cloned()
    }

    /// Keeps a status that was written until it comes back. It may have by now: then there is nothing to keep.
    pub fn wrote(&self, key: &ConfigKey, written: Written) {
        let mut all = self.written();
        if self.plan.config(key).is_some_and(|planned| planned.status == written.over) {
            all.insert(key.clone(), written);
        } else {
            all.remove(key);
        }
    }

    /// Forgets what was written of FluxConfigs that have another status by now, or are gone. A status is large.
    pub fn came_back<'k>(&self, keys: impl IntoIterator<Item = &'k ConfigKey>) {
        let mut all = self.written();
        for key in keys {
            if let Some(written) = all.get(key)
                && self.plan.config(key).is_none_or(|planned| planned.status != written.over)
            {
                all.remove(key);
            }
        }
        all.shrink_to(SMALL);
    }

    /// How much longer the status of a FluxConfig, whose objects are being applied, may wait for them.
    pub fn patience(&self, key: &ConfigKey) -> Duration {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *under_way.entry(key.clone()).or_insert_with(Instant::now);
        PATIENCE.saturating_sub(since.elapsed())
    }

    /// Nothing is under way for a FluxConfig any more.
    pub fn arrived(&self, key: &ConfigKey) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(key);
        under_way.shrink_to(SMALL);
    }

    /// Has an agent looked at.
    pub fn push_agent(&self, cluster: &str, agent: Arc<str>) {
        if let Some(runtime) = self.cluster(cluster) {
            runtime.queue.push(agent);
        }
    }
}

/// Tells the context what a cluster's watches say.
pub struct ContextListener {
    /// The context.
    pub context: Arc<Context>,
}

impl Listener for ContextListener {
    fn answers(&self, cluster: &str) {
        self.context.tell_all_of(cluster);
    }

    fn config(&self, key: ConfigKey) {
        for agent in self.context.plan.agents_of_dependents(&key) {
            if let Some(runtime) = self.context.cluster(&agent.cluster) {
                runtime.queue.push_after(Arc::from(agent.namespace.as_str()), SOON);
            }
        }
        self.context.configs.push_after(key, SOON);
    }

    fn namespace(&self, cluster: &str, name: &str) {
        for planned in self.context.plan.deployed(cluster, name) {
            if let Some(agent) = &planned.agent {
                self.context.push_agent(&agent.cluster, Arc::from(agent.namespace.as_str()));
            }
        }
    }

    fn watched(&self, watched: Watched, failure: Option<&str>) {
        if let Some(failure) = failure {
            self.context.metrics.watch_restarted(watched);
            tracing::warn!(kind = watched.label(), failure, "watch");
        }
    }
}
