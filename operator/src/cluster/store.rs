//! What a cluster has of ours: pruned to what reconciling asks for, tens of thousands of objects in some tens of megabytes.
//!
//! The inventory is the cluster itself: every object that carries our labels, under the agent that the labels name. It is
//! written with the object in one request, so that nothing can be lost between the two.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
pub use sluicegate_crds::CREATED_ANNOTATION;
use sluicegate_crds::TENANT_LABEL;

use crate::{
    fields::{self, Fingerprint},
    flux::state::FluxState,
    object::{
        AGENT_LABEL, CONFIG_LABEL, ConfigKey, HOME_LABEL, Key, Kind, MANAGED_BY_LABEL, MANAGER, Owner, labelled_config,
    },
};

/// An object of ours, as it was seen last.
#[derive(Clone, Debug)]
pub struct Observed {
    /// For whom it is, by its labels. The objects of a FluxConfig share it.
    pub owner: Arc<Owner>,
    /// `metadata.uid`: what is deleted is this object and no later one of its name.
    pub uid: Box<str>,
    /// Of the fields that we own; absent where we own none.
    pub fingerprint: Option<Fingerprint>,
    /// Somebody has added fields.
    pub foreign: bool,
    /// It is being deleted.
    pub deleting: bool,
    /// What Flux says; for Flux objects.
    pub flux: Option<Box<FluxState>>,
    /// For Deployments.
    pub pods: Option<Pods>,
    version: Option<u64>,
    agent: Arc<str>,
}

/// The pods of a Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// As many are available as asked for, of the newest generation.
    Available,
    /// Fewer are.
    Missing,
    /// None is asked for.
    Asleep,
}

/// A namespace, of ours or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceState {
    /// The tenant that it belongs to.
    pub tenant: Option<Box<str>>,
    /// The tenant whose home an administrator's label says that it is.
    pub home: Option<Box<str>>,
    /// The agent that it belongs to.
    pub agent: Option<Box<str>>,
    /// It is one of ours, and we made it: what is in it came after us.
    pub created: bool,
    /// It is being deleted.
    pub deleting: bool,
}

/// What changed for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The agents whose objects changed.
    pub agents: Vec<Arc<str>>,
    /// Only what Flux or a Deployment says has changed, so that there is nothing to repair.
    pub status_only: bool,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Arc<Key>, Arc<Observed>>,
    by_agent: HashMap<Arc<str>, BTreeSet<Arc<Key>>>,
    by_config: HashMap<ConfigKey, OfConfig>,
    namespaces: HashMap<Box<str>, NamespaceState>,
    charts: HashMap<ConfigKey, (ChartName, FluxState)>,
    missing: HashSet<Kind>,
    /// Watches whose first list has not come, and whether it was refused.
    unsynced: HashMap<Watched, bool>,
}

/// What there is of a FluxConfig: a handful of objects.
#[derive(Debug)]
struct OfConfig {
    owner: Arc<Owner>,
    keys: Vec<Arc<Key>>,
}

/// Objects that most FluxConfigs become: source and delivery.
const USUAL: usize = 2;

/// Namespace and name of a HelmChart.
type ChartName = (String, String);

/// What a watch is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    /// A kind, in the whole cluster.
    Kind(Kind),
    /// Copies of Secrets and ConfigMaps in one namespace: there is no right to read them everywhere.
    Copies(Kind, Box<str>),
}

/// The inventory of one cluster.
#[derive(Debug, Default)]
pub struct Store(Mutex<Inner>);

impl Store {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A poisoned lock would mean a panic while a map was changed; every change is a single insert or remove.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts down a watch whose first list has not come yet; nothing is removed from a cluster before all have.
    pub fn expect(&self, watched: Watched) {
        self.inner().unsynced.insert(watched, false);
    }

    /// The first list of a watch has come; `missing` where the cluster does not have the kind.
    pub fn synced(&self, watched: &Watched, missing: bool) {
        let mut inner = self.inner();
        inner.unsynced.remove(watched);
        if let Watched::Kind(kind) = watched {
            if missing {
                inner.missing.insert(*kind);
            } else {
                inner.missing.remove(kind);
            }
        }
    }

    /// A watch was refused; whether its first list has not come and it is the first time.
    pub fn refused(&self, watched: &Watched) -> bool {
        self.inner().unsynced.get_mut(watched).is_some_and(|refused| !std::mem::replace(refused, true))
    }

    /// Whether the inventory of an agent is whole: all kinds have been listed, and the copies in its namespace.
    pub fn is_whole(&self, agent: &str) -> bool {
        self.inner().unsynced.keys().all(|watched| match watched {
            Watched::Kind(_) => false,
            Watched::Copies(_, namespace) => &**namespace != agent,
        })
    }

    /// Whether there is no right to list the copies in an agent's namespace.
    pub fn is_hidden(&self, agent: &str) -> bool {
        let of_agent = |watched: &Watched| matches!(watched, Watched::Copies(_, namespace) if **namespace == *agent);
        self.inner().unsynced.iter().any(|(watched, refused)| *refused && of_agent(watched))
    }

    /// Whether all kinds have been listed.
    pub fn is_synced(&self) -> bool {
        !self.inner().unsynced.keys().any(|watched| matches!(watched, Watched::Kind(_)))
    }

    /// Kinds that the cluster does not have.
    pub fn missing(&self) -> Vec<Kind> {
        let mut missing: Vec<Kind> = self.inner().missing.iter().copied().collect();
        missing.sort_unstable();
        missing
    }

    /// Takes note of an object as the API server gave it, by a watch or as the answer to a write. News that are not newer than
    /// what is known are passed over: every write of ours comes twice. What is not ours is not kept.
    pub fn saw(&self, kind: Kind, object: &Value) -> Touched {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let key = Key { kind, namespace: text("namespace").to_owned(), name: text("name").to_owned() };
        let version: Option<u64> = text("resourceVersion").parse().ok();
        let mut inner = self.inner();
        if kind == Kind::Namespace {
            inner.namespaces.insert(key.name.as_str().into(), namespace_state(object));
        }
        if let Some(known) = inner.objects.get(&key)
            && known.version.is_some()
            && version <= known.version
        {
            return Touched { agents: Vec::new(), status_only: true };
        }
        let labels = &metadata["labels"];
        let label = |name: &str| labels[name].as_str();
        let (Some(MANAGER), Some(agent)) = (label(MANAGED_BY_LABEL), label(AGENT_LABEL)) else {
            return Touched { agents: inner.forget(&key, None).into_iter().collect(), status_only: false };
        };
        let owner = match (label(TENANT_LABEL), label(HOME_LABEL), label(CONFIG_LABEL)) {
            (Some(tenant), Some(home), Some(name)) => {
                Owner::Config { tenant: tenant.to_owned(), config: ConfigKey::new(home, name) }
            }
            (Some(tenant), _, _) => Owner::Tenant(tenant.to_owned()),
            _ => Owner::Agent,
        };
        let observed = Observed {
            owner: inner.shared(owner),
            uid: text("uid").into(),
            fingerprint: Fingerprint::of_live(object),
            foreign: !fields::foreign(object).is_empty(),
            deleting: metadata["deletionTimestamp"].is_string(),
            flux: kind.is_flux().then(|| Box::new(FluxState::read(object))),
            pods: (kind == Kind::Deployment).then(|| pods(object)),
            version,
            agent: inner.shared_agent(agent),
        };
        inner.keep(key, observed)
    }

    /// An object is gone; `object` is the last that was seen of it.
    pub fn lost(&self, kind: Kind, object: &Value) -> Touched {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let key = Key { kind, namespace: text("namespace").to_owned(), name: text("name").to_owned() };
        let mut inner = self.inner();
        if kind == Kind::Namespace {
            inner.namespaces.remove(key.name.as_str());
        }
        let agents = inner.forget(&key, text("resourceVersion").parse().ok()).into_iter().collect();
        Touched { agents, status_only: false }
    }

    /// An object was not there when we asked for it.
    pub fn absent(&self, key: &Key) {
        let mut inner = self.inner();
        if key.kind == Kind::Namespace {
            inner.namespaces.remove(key.name.as_str());
        }
        inner.forget(key, None);
    }

    /// After a watch has listed everything anew: what it did not name is gone.
    pub fn only(&self, watched: &Watched, listed: &HashSet<Key>) -> Touched {
        let mut inner = self.inner();
        let of_watch = |key: &Key| match watched {
            Watched::Kind(kind) => key.kind == *kind,
            Watched::Copies(kind, namespace) => key.kind == *kind && *key.namespace == **namespace,
        };
        if *watched == Watched::Kind(Kind::Namespace) {
            let named = |name: &str| {
                listed.contains(&Key { kind: Kind::Namespace, namespace: String::new(), name: name.to_owned() })
            };
            inner.namespaces.retain(|name, _| named(name));
        }
        let gone: Vec<Arc<Key>> =
            inner.objects.keys().filter(|key| of_watch(key) && !listed.contains(&***key)).cloned().collect();
        let mut agents: Vec<Arc<str>> = gone.iter().filter_map(|key| inner.forget(key, None)).collect();
        agents.sort_unstable();
        agents.dedup();
        Touched { agents, status_only: false }
    }

    /// Everything of an agent.
    pub fn inventory(&self, agent: &str) -> HashMap<Arc<Key>, Arc<Observed>> {
        let inner = self.inner();
        let keys = inner.by_agent.get(agent).into_iter().flatten();
        keys.filter_map(|key| Some((key.clone(), inner.objects.get(key)?.clone()))).collect()
    }

    /// All agents that have something, in order.
    pub fn agents(&self) -> Vec<Arc<str>> {
        let mut agents: Vec<Arc<str>> = self.inner().by_agent.keys().cloned().collect();
        agents.sort_unstable();
        agents
    }

    /// Whether there is anything of a FluxConfig.
    pub fn has_config(&self, config: &ConfigKey) -> bool {
        self.inner().by_config.contains_key(config)
    }

    /// An agent that has something of a FluxConfig.
    pub fn agent_with(&self, config: &ConfigKey) -> Option<Arc<str>> {
        let inner = self.inner();
        let key = inner.by_config.get(config)?.keys.first()?;
        Some(inner.objects.get(key)?.agent.clone())
    }

    /// What Flux says of the objects of a FluxConfig.
    pub fn flux_of(&self, config: &ConfigKey) -> Vec<(Arc<Key>, FluxState)> {
        let inner = self.inner();
        let keys = inner.by_config.get(config).into_iter().flat_map(|found| &found.keys);
        let mut found: Vec<(Arc<Key>, FluxState)> = keys
            .filter_map(|key| {
                let flux = inner.objects.get(key)?.flux.as_ref()?;
                Some((key.clone(), (**flux).clone()))
            })
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Takes note of a HelmChart, which helm-controller makes for a FluxConfig. Gives the FluxConfig.
    pub fn saw_chart(&self, object: &Value) -> Option<ConfigKey> {
        let config = labelled_config(object)?;
        let known = (chart_name(object), FluxState::read(object));
        self.inner().charts.insert(config.clone(), known);
        Some(config)
    }

    /// A HelmChart is gone. Gives its FluxConfig, unless that has another by now.
    pub fn lost_chart(&self, object: &Value) -> Option<ConfigKey> {
        let config = labelled_config(object)?;
        let mut inner = self.inner();
        inner.charts.get(&config).filter(|(name, _)| *name == chart_name(object))?;
        inner.charts.remove(&config);
        Some(config)
    }

    /// After the HelmCharts have been listed anew: what was not named is gone. Gives the FluxConfigs of those.
    pub fn only_charts(&self, listed: &HashSet<ChartName>) -> Vec<ConfigKey> {
        let mut inner = self.inner();
        let gone: Vec<ConfigKey> = inner
            .charts
            .iter()
            .filter(|(_, (name, _))| !listed.contains(name))
            .map(|(config, _)| config.clone())
            .collect();
        for config in &gone {
            inner.charts.remove(config);
        }
        gone
    }

    /// What Flux says of the HelmChart of a FluxConfig.
    pub fn chart_of(&self, config: &ConfigKey) -> Option<FluxState> {
        self.inner().charts.get(config).map(|(_, state)| state.clone())
    }

    /// A deletion has been asked for.
    pub fn deleting(&self, key: &Key) {
        if let Some(observed) = self.inner().objects.get_mut(key) {
            Arc::make_mut(observed).deleting = true;
        }
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<NamespaceState> {
        self.inner().namespaces.get(name).cloned()
    }
}

impl Inner {
    fn keep(&mut self, key: Key, observed: Observed) -> Touched {
        let key = match self.objects.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => Arc::new(key),
        };
        let observed = Arc::new(observed);
        let mut agents = vec![observed.agent.clone()];
        let before = self.objects.insert(key.clone(), observed.clone());
        if let Some(before) = &before {
            self.leave_config(&before.owner, &key);
        }
        if let Some(before) = before.as_ref().filter(|before| before.agent != observed.agent) {
            self.leave_agent(&before.agent, &key);
            agents.push(before.agent.clone());
        }
        self.by_agent.entry(observed.agent.clone()).or_default().insert(key.clone());
        if let Some(config) = observed.owner.config() {
            let new = || OfConfig { owner: observed.owner.clone(), keys: Vec::with_capacity(USUAL) };
            self.by_config.entry(config.clone()).or_insert_with(new).keys.push(key);
        }
        let status_only = agents.len() == 1
            && before.is_some_and(|before| {
                before.fingerprint == observed.fingerprint
                    && before.foreign == observed.foreign
                    && before.deleting == observed.deleting
                    && before.uid == observed.uid
            });
        Touched { agents, status_only }
    }

    /// `version` is that of the deletion: of an object that was made again since, nothing is forgotten.
    fn forget(&mut self, key: &Key, version: Option<u64>) -> Option<Arc<str>> {
        let known = self.objects.get(key)?;
        if let (Some(known), Some(version)) = (known.version, version)
            && version < known
        {
            return None;
        }
        let known = self.objects.remove(key)?;
        self.leave_agent(&known.agent, key);
        self.leave_config(&known.owner, key);
        Some(known.agent.clone())
    }

    fn leave_agent(&mut self, agent: &Arc<str>, key: &Key) {
        if let Some(keys) = self.by_agent.get_mut(agent) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_agent.remove(agent);
            }
        }
    }

    fn leave_config(&mut self, owner: &Owner, key: &Key) {
        let Some(config) = owner.config() else { return };
        if let Some(found) = self.by_config.get_mut(config) {
            found.keys.retain(|other| **other != *key);
            if found.keys.is_empty() {
                self.by_config.remove(config);
            }
        }
    }

    fn shared_agent(&self, agent: &str) -> Arc<str> {
        self.by_agent.get_key_value(agent).map_or_else(|| Arc::from(agent), |(known, _)| known.clone())
    }

    /// The one that is known already, where there is one.
    fn shared(&self, owner: Owner) -> Arc<Owner> {
        static AGENT: LazyLock<Arc<Owner>> = LazyLock::new(|| Arc::new(Owner::Agent));
        if owner == Owner::Agent {
            return AGENT.clone();
        }
        let known = owner.config().and_then(|config| self.by_config.get(config));
        known.filter(|known| *known.owner == owner).map_or_else(|| Arc::new(owner), |known| known.owner.clone())
    }
}

fn chart_name(object: &Value) -> ChartName {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

fn namespace_state(object: &Value) -> NamespaceState {
    let metadata = &object["metadata"];
    let label = |name: &str| metadata["labels"][name].as_str().map(Into::into);
    NamespaceState {
        tenant: label(TENANT_LABEL),
        home: label(HOME_LABEL),
        agent: label(AGENT_LABEL),
        created: metadata["annotations"][CREATED_ANNOTATION].is_string(),
        deleting: metadata["deletionTimestamp"].is_string(),
    }
}

fn pods(object: &Value) -> Pods {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let status = &object["status"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let current = object["metadata"]["generation"].as_i64() == status["observedGeneration"].as_i64();
    match wanted {
        0 => Pods::Asleep,
        _ if current && count("availableReplicas") >= wanted && count("updatedReplicas") >= wanted => Pods::Available,
        _ => Pods::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_that_may_not_be_listed_are_told_from_those_that_come_late() {
        let store = Store::default();
        let of = |namespace: &str| Watched::Copies(Kind::Secret, namespace.into());
        store.expect(of("a"));
        store.expect(of("b"));
        assert!(!store.is_whole("a") && !store.is_hidden("a"));
        assert!(store.refused(&of("a")));
        assert!(!store.refused(&of("a")), "it is told once");
        assert!(store.is_hidden("a") && !store.is_whole("a"));
        assert!(!store.is_hidden("b"));
        store.synced(&of("a"), false);
        assert!(store.is_whole("a") && !store.is_hidden("a"));
        assert!(!store.refused(&of("a")), "what has been listed is known");
    }
}
