//! What verdicts are reached from: the compiled policies and the facts of the management cluster, as one value that is
//! replaced as a whole. Whoever decides takes the value that stands and needs no lock; what changes meanwhile counts for the
//! next request.
//!
//! `keeper` builds it from watches, and `guarded` works out what tenants may in their namespaces. Nothing here decides.

mod guarded;
mod keeper;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwapOption, Guard};
use sluicegate_crds::{FluxConfig, GuardMode};
use sluicegate_policy::{ClustersByName, Declaration, Facts, NamespacesByName, Placer, PolicySet, Unseen, since};

pub use guarded::{Guarded, ResidentsOf, Standing};
pub use keeper::keep;

/// FluxConfigs by namespace and name.
pub type Configs = BTreeMap<(String, String), Arc<FluxConfig>>;

/// The management cluster at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The policies.
    pub policies: PolicySet,
    /// Namespaces, FluxClusters and FluxConfigs, as the engine takes them.
    pub facts: Facts,
    /// The Namespaces.
    pub namespaces: Arc<NamespacesByName>,
    /// The FluxClusters.
    pub clusters: Arc<ClustersByName>,
    /// The FluxConfigs.
    pub configs: Arc<Configs>,
    /// Tenants' namespaces on the cluster that the webhook runs on, where it is the guard.
    pub guarded: Guarded,
}

impl Snapshot {
    /// Gathers the facts. Nothing is guarded yet.
    pub fn new(
        policies: PolicySet,
        namespaces: Arc<NamespacesByName>,
        clusters: Arc<ClustersByName>,
        configs: Arc<Configs>,
    ) -> Self {
        let facts = facts(&policies, &namespaces, &clusters, &configs);
        Self { policies, facts, namespaces, clusters, configs, guarded: Guarded::default() }
    }

    /// The same with what tenants may in their namespaces on this cluster. `here` are the FluxClusters that say that they are
    /// it, with their guards.
    pub fn guarding(mut self, here: &BTreeMap<String, GuardMode>, residents: &ResidentsOf) -> Self {
        let Self { policies, facts, namespaces, configs, .. } = &self;
        self.guarded = Guarded::new(here, policies, facts, namespaces, configs, residents);
        self
    }

    /// The same cluster under other policies, guarding nothing.
    pub fn under(&self, policies: PolicySet) -> Self {
        Self::new(policies, self.namespaces.clone(), self.clusters.clone(), self.configs.clone())
    }

    /// The same policies over other Namespaces and FluxClusters, guarding nothing.
    pub fn over(&self, namespaces: Arc<NamespacesByName>, clusters: Arc<ClustersByName>) -> Self {
        Self::new(self.policies.clone(), namespaces, clusters, self.configs.clone())
    }
}

fn facts(policies: &PolicySet, namespaces: &NamespacesByName, clusters: &ClustersByName, configs: &Configs) -> Facts {
    let mut facts = Facts::of(Unseen::Absent, namespaces, clusters.clone());
    let declarations: Vec<Declaration> = {
        let mut placer = Placer::new(policies, &facts);
        configs.values().map(|config| placer.place(config).declaration(since(config))).collect()
    };
    for declaration in declarations {
        facts.declare(declaration);
    }
    facts
}

/// The snapshot that stands; none before it is complete, so that nothing is ever answered from half of the facts.
#[derive(Debug, Default)]
pub struct Current(ArcSwapOption<Snapshot>);

impl Current {
    /// The snapshot, borrowed for one answer.
    pub fn get(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.0.load()
    }

    /// Replaces it.
    pub fn set(&self, snapshot: Snapshot) {
        self.0.store(Some(Arc::new(snapshot)));
    }
}
