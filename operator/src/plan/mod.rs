//! What should be: every FluxConfig with its verdict, and which agent serves it. Made by the [`planner`] from the management
//! cluster's objects, read by those who reconcile.

mod packed;
pub mod planner;
mod world;

pub use packed::Packed;
pub use world::{Change, Ground, Policies, status_digest};

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use sluicegate_crds::{DeletionPolicy, FluxCluster, OnViolation};
use sluicegate_policy::{Admitted, Violation};

use crate::{fields::Fingerprint, object::ConfigKey, render::AgentId};

/// Finalizer on every FluxConfig that has been admitted.
pub use sluicegate_crds::FINALIZER;

/// What the engine said of a FluxConfig, in the form in which it is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// It is deployed.
    Admitted(Arc<Admitted>),
    /// It is not; what had been deployed before is treated as `kept` says.
    Refused {
        /// Why.
        violations: Arc<[Violation]>,
        /// What policies say of FluxConfigs that were admitted before.
        on_violation: OnViolation,
        /// As it was admitted last, where this process has seen it.
        last: Option<Arc<Admitted>>,
    },
    /// A fact is missing: nothing changes.
    Undetermined {
        /// Which.
        violations: Arc<[Violation]>,
        /// As it was admitted last, where this process has seen it.
        last: Option<Arc<Admitted>>,
    },
}

impl Judgement {
    /// What is or was admitted.
    pub fn known(&self) -> Option<&Arc<Admitted>> {
        match self {
            Judgement::Admitted(admitted) => Some(admitted),
            Judgement::Refused { last, .. } | Judgement::Undetermined { last, .. } => last.as_ref(),
        }
    }
}

/// A FluxConfig and what was decided about it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Which.
    pub key: ConfigKey,
    /// The object.
    pub config: Arc<Packed>,
    /// Of the whole status as it was read.
    pub status: Fingerprint,
    /// The verdict.
    pub judgement: Judgement,
    /// The agent that serves it, or did.
    pub agent: Option<AgentId>,
    /// It is being deleted, and what becomes of what it deployed.
    pub leaving: Option<DeletionPolicy>,
    /// Digest of the policies that judged it.
    pub policy_digest: Arc<str>,
    /// When this was planned: grows with every plan.
    pub version: u64,
}

impl Planned {
    /// Whether it carries our finalizer.
    pub fn is_held(&self) -> bool {
        self.config.is_held()
    }

    /// Whether its blanks are filled and our finalizer is on it, so that it may be deployed.
    pub fn is_prepared(&self) -> bool {
        match &self.judgement {
            Judgement::Admitted(admitted) => self.is_held() && admitted.additions().is_empty(),
            Judgement::Refused { .. } | Judgement::Undetermined { .. } => self.is_held(),
        }
    }
}

/// What one policy means to the tenants: for its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Tenants with FluxConfigs that it judges.
    pub tenants: BTreeSet<String>,
    /// FluxConfigs that it judges and that are admitted.
    pub admitted: usize,
    /// FluxConfigs that it judges and that are not.
    pub refused: usize,
}

/// FluxConfigs, in order: mostly one, and rarely more than some dozens.
type Keys = Vec<ConfigKey>;

#[derive(Debug, Default)]
struct Inner {
    configs: HashMap<ConfigKey, Arc<Planned>>,
    agents: HashMap<AgentId, Keys>,
    targets: HashMap<(String, String), Keys>,
    dependents: HashMap<ConfigKey, Keys>,
    clusters: BTreeMap<String, Arc<FluxCluster>>,
    homes: HashMap<Arc<str>, usize>,
    complete: bool,
}

/// The plan. Written by the planner alone.
#[derive(Debug, Default)]
pub struct Plan(RwLock<Inner>);

impl Plan {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything on the management cluster has been seen. Before, nothing may be concluded from absence.
    pub fn is_complete(&self) -> bool {
        self.read().complete
    }

    /// A FluxConfig.
    pub fn config(&self, key: &ConfigKey) -> Option<Arc<Planned>> {
        self.read().configs.get(key).cloned()
    }

    /// The FluxConfigs of an agent, in order.
    pub fn members(&self, agent: &AgentId) -> Vec<Arc<Planned>> {
        let inner = self.read();
        let keys = inner.agents.get(agent).into_iter().flatten();
        keys.filter_map(|key| inner.configs.get(key)).cloned().collect()
    }

    /// Agents of the FluxConfigs that depend on one.
    pub fn agents_of_dependents(&self, key: &ConfigKey) -> BTreeSet<AgentId> {
        let inner = self.read();
        let dependents = inner.dependents.get(key).into_iter().flatten();
        dependents.filter_map(|dependent| inner.configs.get(dependent)?.agent.clone()).collect()
    }

    /// All agents on a cluster that have a FluxConfig, in order.
    pub fn agents(&self, cluster: &str) -> Vec<AgentId> {
        let mut agents: Vec<AgentId> =
            self.read().agents.keys().filter(|agent| agent.cluster == cluster).cloned().collect();
        agents.sort_unstable();
        agents
    }

    /// All FluxConfigs.
    pub fn configs(&self) -> Vec<Arc<Planned>> {
        self.read().configs.values().cloned().collect()
    }

    /// The FluxConfigs that deploy into a namespace, those that leave included.
    pub fn deployed(&self, cluster: &str, namespace: &str) -> Vec<Arc<Planned>> {
        let inner = self.read();
        let keys = inner.targets.get(&(cluster.to_owned(), namespace.to_owned())).into_iter().flatten();
        keys.filter_map(|key| inner.configs.get(key)).cloned().collect()
    }

    /// Whether some FluxConfig that stays deploys into a namespace.
    pub fn is_target(&self, cluster: &str, namespace: &str) -> bool {
        let inner = self.read();
        let target = (cluster.to_owned(), namespace.to_owned());
        let stays = |key: &ConfigKey| inner.configs.get(key).is_some_and(|planned| planned.leaving.is_none());
        inner.targets.get(&target).is_some_and(|keys| keys.iter().any(stays))
    }

    /// Whether something that a tenant deploys into a namespace stays there.
    pub fn is_target_of(&self, cluster: &str, namespace: &str, tenant: &str) -> bool {
        let goes = |planned: &Planned| {
            let removed = matches!(planned.judgement, Judgement::Refused { on_violation: OnViolation::Remove, .. });
            removed || planned.leaving.is_some()
        };
        let of_tenant = |planned: &Planned| {
            planned.judgement.known().is_some_and(|admitted| admitted.resolved().tenant.as_str() == tenant)
        };
        self.deployed(cluster, namespace).iter().any(|planned| of_tenant(planned) && !goes(planned))
    }

    /// Whether FluxConfigs live in this namespace of the management cluster.
    pub fn is_home(&self, namespace: &str) -> bool {
        self.read().homes.contains_key(namespace)
    }

    /// A cluster.
    pub fn cluster(&self, id: &str) -> Option<Arc<FluxCluster>> {
        self.read().clusters.get(id).cloned()
    }

    /// All clusters.
    pub fn clusters(&self) -> BTreeMap<String, Arc<FluxCluster>> {
        self.read().clusters.clone()
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    /// Puts in a FluxConfig, in place of what was known of it.
    fn put(&mut self, planned: Arc<Planned>) {
        self.remove(&planned.key);
        if let Some(agent) = &planned.agent {
            enter(&mut self.agents, agent.clone(), &planned.key);
        }
        if let Some(target) = target(&planned) {
            enter(&mut self.targets, target, &planned.key);
        }
        for dependency in dependencies(&planned) {
            enter(&mut self.dependents, dependency, &planned.key);
        }
        *self.homes.entry(planned.key.home.clone()).or_default() += 1;
        self.configs.insert(planned.key.clone(), planned);
    }

    fn remove(&mut self, key: &ConfigKey) {
        let Some(planned) = self.configs.remove(key) else { return };
        if let Some(agent) = &planned.agent {
            leave(&mut self.agents, agent, key);
        }
        if let Some(target) = target(&planned) {
            leave(&mut self.targets, &target, key);
        }
        for dependency in dependencies(&planned) {
            leave(&mut self.dependents, &dependency, key);
        }
        if let Some(count) = self.homes.get_mut(&key.home) {
            *count -= 1;
            if *count == 0 {
                self.homes.remove(&key.home);
            }
        }
    }
}

fn dependencies(planned: &Planned) -> Vec<ConfigKey> {
    let key = |name: &str| ConfigKey::new(planned.key.home.clone(), name);
    match &planned.judgement {
        // That one need not be unpacked is felt where ten thousand are put in at once.
        Judgement::Admitted(admitted) => admitted.resolved().depends_on.iter().map(|name| key(name)).collect(),
        Judgement::Refused { .. } | Judgement::Undetermined { .. } => {
            planned.config.unpack().spec.depends_on.iter().map(|dependency| key(&dependency.name)).collect()
        }
    }
}

fn enter<K: Hash + Eq>(index: &mut HashMap<K, Keys>, at: K, key: &ConfigKey) {
    let keys = index.entry(at).or_insert_with(|| Keys::with_capacity(1));
    if let Err(place) = keys.binary_search(key) {
        keys.insert(place, key.clone());
    }
}

fn leave<K: Hash + Eq>(index: &mut HashMap<K, Keys>, at: &K, key: &ConfigKey) {
    if let Some(keys) = index.get_mut(at) {
        if let Ok(place) = keys.binary_search(key) {
            keys.remove(place);
        }
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

/// Cluster and namespace that a FluxConfig deploys into.
pub(crate) fn target(planned: &Planned) -> Option<(String, String)> {
    let resolved = planned.judgement.known()?.resolved();
    Some((resolved.cluster.value.as_str().to_owned(), resolved.namespace.value.as_str().to_owned()))
}
