//! What all tasks of the operator share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use kube::runtime::events::Recorder;
use sluicegate_crds::FluxConfigStatus;
use tokio::sync::watch;

use crate::{
    cluster::{ClusterClient, Runtime, queue::Queue, runtime::Listener},
    fields::Fingerprint,
    lease::Leadership,
    object::{ConfigKey, Kind},
    plan::{Ground, Plan},
    secrets::Secrets,
    telemetry::metrics::{Metrics, Watched},
};

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
    pub events: Recorder,
    /// Whether this process leads.
    pub leadership: watch::Receiver<Leadership>,
    clusters: RwLock<BTreeMap<String, Arc<Runtime>>>,
    problems: RwLock<BTreeMap<String, String>>,
    written: Mutex<HashMap<ConfigKey, Written>>,
}

impl Context {
    /// Nothing known yet.
    pub fn new(
        management: ClusterClient,
        namespace: String,
        metrics: Arc<Metrics>,
        events: Recorder,
        leadership: watch::Receiver<Leadership>,
    ) -> Arc<Self> {
        Arc::new(Self {
            plan: Plan::default(),
            ground: watch::Sender::default(),
            configs: Queue::default(),
            secrets: Secrets::default(),
            management,
            namespace,
            metrics,
            events,
            leadership,
            clusters: RwLock::default(),
            problems: RwLock::default(),
            written: Mutex::default(),
        })
    }

    /// A cluster that is connected.
    pub fn cluster(&self, id: &str) -> Option<Arc<Runtime>> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All clusters that are connected.
    pub fn clusters(&self) -> Vec<Arc<Runtime>> {
        self.clusters.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Why a cluster is not connected.
    pub fn problem(&self, id: &str) -> Option<String> {
        self.problems.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Puts a cluster in, or says why there is none. What ran before is stopped.
    pub fn set_cluster(&self, id: &str, runtime: Result<Arc<Runtime>, Option<String>>) {
        let mut clusters = self.clusters.write().unwrap_or_else(PoisonError::into_inner);
        let mut problems = self.problems.write().unwrap_or_else(PoisonError::into_inner);
        let before = match runtime {
            Ok(runtime) => {
                problems.remove(id);
                clusters.insert(id.to_owned(), runtime)
            }
            Err(problem) => {
                match problem {
                    Some(problem) => problems.insert(id.to_owned(), problem),
                    None => problems.remove(id),
                };
                clusters.remove(id)
            }
        };
        if let Some(before) = before {
            before.stop();
        }
    }

    /// Waits until this process leads.
    pub async fn lead(&self) {
        let mut leadership = self.leadership.clone();
        // The sender lives as long as the process.
        let _ = leadership.wait_for(|leadership| matches!(leadership, Leadership::Leading { .. })).await;
    }

    /// Works on the statuses that were written and have not come back yet.
    pub fn written(&self) -> MutexGuard<'_, HashMap<ConfigKey, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn config(&self, key: ConfigKey) {
        self.context.configs.push_after(key, std::time::Duration::from_millis(100));
    }

    fn watched(&self, kind: Kind, failure: Option<&str>) {
        if let Some(failure) = failure {
            self.context.metrics.watch_restarted(Watched::Object(kind));
            tracing::warn!(kind = kind.name(), failure, "watch");
        }
    }
}
