//! What verdicts are reached from: the compiled policies and the facts of the management cluster, as one value that is
//! replaced as a whole. Whoever decides takes the value that stands and needs no lock; what changes meanwhile counts for the
//! next request.
//!
//! `keeper` builds it from watches. Nothing here decides.

mod keeper;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::{ArcSwapOption, Guard};
use sluicegate_crds::FluxConfig;
use sluicegate_policy::{Declaration, Facts, Labels, Placer, PolicySet, Unseen, since};

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
    /// Labels of the Namespaces.
    pub namespaces: Arc<BTreeMap<String, Labels>>,
    /// Labels of the FluxClusters.
    pub clusters: Arc<BTreeMap<String, Labels>>,
    /// The FluxConfigs.
    pub configs: Arc<Configs>,
}

impl Snapshot {
    /// Gathers the facts.
    pub fn new(
        policies: PolicySet,
        namespaces: Arc<BTreeMap<String, Labels>>,
        clusters: Arc<BTreeMap<String, Labels>>,
        configs: Arc<Configs>,
    ) -> Self {
        let facts = facts(&policies, &namespaces, &clusters, &configs);
        Self { policies, facts, namespaces, clusters, configs }
    }

    /// The same cluster under other policies.
    pub fn under(&self, policies: PolicySet) -> Self {
        Self::new(policies, self.namespaces.clone(), self.clusters.clone(), self.configs.clone())
    }

    /// The same policies over other Namespaces and FluxClusters.
    pub fn over(&self, namespaces: Arc<BTreeMap<String, Labels>>, clusters: Arc<BTreeMap<String, Labels>>) -> Self {
        Self::new(self.policies.clone(), namespaces, clusters, self.configs.clone())
    }
}

fn facts(
    policies: &PolicySet,
    namespaces: &BTreeMap<String, Labels>,
    clusters: &BTreeMap<String, Labels>,
    configs: &Configs,
) -> Facts {
    fn borrowed(map: &BTreeMap<String, Labels>) -> impl Iterator<Item = (&str, &Labels)> {
        map.iter().map(|(name, labels)| (name.as_str(), labels))
    }
    let mut facts = Facts::of(Unseen::Absent, borrowed(namespaces), borrowed(clusters));
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
