//! What a cluster has of ours: pruned to what reconciling asks for, tens of thousands of objects in some tens of megabytes.
//!
//! The inventory is the cluster itself: every object that carries our labels where we would have put it ([`super::place`]), under
//! the agent that the labels name. It is written with the object in one request, so that nothing can be lost between the two.
//! What carries our labels elsewhere is a *stray*: it is counted and reported, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
pub use sluicegate_crds::CREATED_ANNOTATION;
use sluicegate_crds::TENANT_LABEL;

use super::place;
use crate::{
    fields::{self, Fingerprint},
    flux::state::FluxState,
    object::{AGENT_LABEL, CONFIG_LABEL, ConfigKey, HOME_LABEL, Key, Kind, MANAGED_BY_LABEL, MANAGER, Owner},
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
    /// The tenant that it belonged to when its deletion began. A namespace that is being deleted loses the label at once.
    pub parting: Option<Box<str>>,
}

impl NamespaceState {
    /// Whether it is this tenant's, or was when its deletion began.
    pub fn is_of(&self, tenant: &str) -> bool {
        self.tenant.as_deref().or(self.parting.as_deref()) == Some(tenant)
    }

    /// Whether it is some tenant's, or was when its deletion began.
    pub fn is_of_any(&self) -> bool {
        self.tenant.is_some() || self.parting.is_some()
    }
}

/// What changed for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The agents whose objects changed.
    pub agents: Vec<Arc<str>>,
    /// Only what Flux or a Deployment says has changed, so that there is nothing to repair.
    pub status_only: bool,
    /// Strays that are where they belong by now, since their namespace has got its label. They have to be read again.
    pub regained: Vec<Key>,
    /// Strays have come or gone.
    pub strays: bool,
}

/// What carries our labels where we would not have put it.
#[derive(Clone, Debug)]
struct Stray {
    owner: Owner,
    agent: Box<str>,
    version: Option<u64>,
}

/// Strays of a cluster, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// How many there are of each kind.
    pub counts: BTreeMap<Kind, usize>,
    /// The first few, in order.
    pub first: Vec<Key>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Arc<Key>, Arc<Observed>>,
    by_agent: HashMap<Arc<str>, BTreeSet<Arc<Key>>>,
    by_config: HashMap<ConfigKey, OfConfig>,
    namespaces: HashMap<Box<str>, NamespaceState>,
    strays: HashMap<Key, Stray>,
    /// By the HelmRelease that has it.
    charts: HashMap<Arc<Key>, FluxState>,
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
        let regained =
            if kind == Kind::Namespace { inner.saw_namespace(&key.name, namespace_state(object)) } else { Vec::new() };
        let known = inner.objects.get(&key).map(|known| known.version);
        if let Some(known) = known.or_else(|| inner.strays.get(&key).map(|stray| stray.version))
            && known.is_some()
            && version <= known
        {
            return Touched { status_only: true, regained, ..Touched::default() };
        }
        let labels = &metadata["labels"];
        let label = |name: &str| labels[name].as_str();
        let (Some(MANAGER), Some(agent)) = (label(MANAGED_BY_LABEL), label(AGENT_LABEL)) else {
            let strays = inner.strays.remove(&key).is_some();
            let agents = inner.forget(&key, None).into_iter().collect();
            return Touched { agents, regained, strays, status_only: false };
        };
        let owner = match (label(TENANT_LABEL), label(HOME_LABEL), label(CONFIG_LABEL)) {
            (Some(tenant), Some(home), Some(name)) => {
                Owner::Config { tenant: tenant.to_owned(), config: ConfigKey::new(home, name) }
            }
            (Some(tenant), _, _) => Owner::Tenant(tenant.to_owned()),
            _ => Owner::Agent,
        };
        let deleting = metadata["deletionTimestamp"].is_string();
        let Some(owner) = inner.believed(&key, owner.clone(), agent, text("uid"), deleting) else {
            let agents: Vec<Arc<str>> = inner.forget(&key, None).into_iter().collect();
            let strays = inner.strays.insert(key, Stray { owner, agent: agent.into(), version }).is_none();
            return Touched { agents, regained, strays, status_only: false };
        };
        let strays = inner.strays.remove(&key).is_some();
        let observed = Observed {
            owner: inner.shared(owner),
            uid: text("uid").into(),
            fingerprint: Fingerprint::of_live(object),
            foreign: !fields::foreign(object).is_empty(),
            deleting,
            flux: kind.is_flux().then(|| Box::new(FluxState::read(object))),
            pods: (kind == Kind::Deployment).then(|| pods(object)),
            version,
            agent: inner.shared_agent(agent),
        };
        let touched = inner.keep(key, observed);
        Touched { regained, strays, ..touched }
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
        let version = text("resourceVersion").parse().ok();
        let older = |stray: &Stray| stray.version.is_none() || version.is_none() || stray.version <= version;
        let strays = inner.strays.get(&key).is_some_and(older) && inner.strays.remove(&key).is_some();
        let agents = inner.forget(&key, version).into_iter().collect();
        Touched { agents, strays, ..Touched::default() }
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
        let before = inner.strays.len();
        inner.strays.retain(|key, _| !of_watch(key) || listed.contains(key));
        Touched { agents, strays: inner.strays.len() != before, ..Touched::default() }
    }

    /// What carries our labels and is not where we would have put it: how much of each kind, and the first `most` of all.
    pub fn strays(&self, most: usize) -> Strays {
        let inner = self.inner();
        let mut strays = Strays::default();
        let mut first: BTreeSet<&Key> = BTreeSet::new();
        for key in inner.strays.keys() {
            *strays.counts.entry(key.kind).or_default() += 1;
            first.insert(key);
            if first.len() > most {
                first.pop_last();
            }
        }
        strays.first = first.into_iter().cloned().collect();
        strays
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

    /// What Flux says of the objects that an agent has of a FluxConfig.
    pub fn flux_of(&self, config: &ConfigKey, agent: &str) -> Vec<(Arc<Key>, FluxState)> {
        let inner = self.inner();
        let keys = inner.by_config.get(config).into_iter().flat_map(|found| &found.keys);
        let mut found: Vec<(Arc<Key>, FluxState)> = keys
            .filter_map(|key| {
                let observed = inner.objects.get(key).filter(|observed| *observed.agent == *agent)?;
                Some((key.clone(), (**observed.flux.as_ref()?).clone()))
            })
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Takes note of a HelmChart. It counts if it is the one that helm-controller makes for a HelmRelease of ours, by its name:
    /// its labels can be anybody's. Gives the FluxConfig.
    pub fn saw_chart(&self, object: &Value) -> Option<ConfigKey> {
        let mut inner = self.inner();
        let (release, config) = inner.release_of(&chart_name(object))?;
        inner.charts.insert(release, FluxState::read(object));
        Some(config)
    }

    /// A HelmChart is gone. Gives the FluxConfig that had it.
    pub fn lost_chart(&self, object: &Value) -> Option<ConfigKey> {
        let mut inner = self.inner();
        let (release, config) = inner.release_of(&chart_name(object))?;
        inner.charts.remove(&release).map(|_| config)
    }

    /// After the HelmCharts have been listed anew: what was not named is gone. Gives the FluxConfigs of those.
    pub fn only_charts(&self, listed: &HashSet<ChartName>) -> Vec<ConfigKey> {
        let mut inner = self.inner();
        let listed: HashSet<Arc<Key>> =
            listed.iter().filter_map(|name| inner.release_of(name)).map(|(release, _)| release).collect();
        let gone: Vec<Arc<Key>> = inner.charts.keys().filter(|release| !listed.contains(*release)).cloned().collect();
        for release in &gone {
            inner.charts.remove(release);
        }
        gone.iter().filter_map(|release| inner.objects.get(release)?.owner.config().cloned()).collect()
    }

    /// What Flux says of the HelmChart that an agent has of a FluxConfig.
    pub fn chart_of(&self, config: &ConfigKey, agent: &str) -> Option<FluxState> {
        let inner = self.inner();
        let keys = &inner.by_config.get(config)?.keys;
        keys.iter().filter(|key| key.namespace == agent).find_map(|key| inner.charts.get(key)).cloned()
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
    /// Takes note of a namespace; strays that belong there by now.
    fn saw_namespace(&mut self, name: &str, mut state: NamespaceState) -> Vec<Key> {
        let before = self.namespaces.get(name);
        if state.deleting && state.tenant.is_none() {
            state.parting = before.and_then(|before| before.tenant.clone().or_else(|| before.parting.clone()));
        }
        if before == Some(&state) {
            return Vec::new();
        }
        self.namespaces.insert(name.into(), state);
        let concerned = self.strays.iter().filter(|(key, stray)| key.namespace == name || *stray.agent == *name);
        let regained: Vec<Key> = concerned
            .filter(|(key, stray)| {
                place::is_rightful(key, &stray.owner, &stray.agent, |name| self.namespaces.get(name))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in &regained {
            // Whatever version comes next is news.
            if let Some(stray) = self.strays.get_mut(key) {
                stray.version = None;
            }
        }
        regained
    }

    /// The owner that an object's labels name, if they are believed where it is. What was believed once stays so while it says
    /// the same, whatever becomes of the labels of its namespace: otherwise it would be left behind.
    fn believed(&self, key: &Key, owner: Owner, agent: &str, uid: &str, deleting: bool) -> Option<Owner> {
        if let Some(known) = self.objects.get(key)
            && *known.uid == *uid
            && *known.agent == *agent
        {
            if *known.owner == owner {
                return Some(owner);
            }
            // A target that is being deleted loses its tenant's label, and is waited for all the same.
            if key.kind == Kind::Namespace && deleting {
                return Some((*known.owner).clone());
            }
        }
        place::is_rightful(key, &owner, agent, |name| self.namespaces.get(name)).then_some(owner)
    }

    /// The HelmRelease of ours that has a HelmChart of this name, and its FluxConfig.
    fn release_of(&self, (namespace, name): &ChartName) -> Option<(Arc<Key>, ConfigKey)> {
        // What helm-controller calls it, whatever the namespace is called.
        let release = name.strip_prefix(namespace.as_str())?.strip_prefix('-')?;
        let key = Key { kind: Kind::HelmRelease, namespace: namespace.clone(), name: release.to_owned() };
        let (key, observed) = self.objects.get_key_value(&key)?;
        Some((key.clone(), observed.owner.config()?.clone()))
    }

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
        Touched { agents, status_only, ..Touched::default() }
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
        self.charts.remove(key);
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
        parting: None,
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
