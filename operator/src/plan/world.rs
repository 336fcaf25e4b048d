//! The management cluster's objects, and what the engine says of them. Pure: news in, changed plans out.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Value, json};
use sluicegate_crds::{
    DeletionPolicy, FluxCluster, FluxConfig, FluxConfigSpec, FluxConfigStatus, FluxPolicy, FluxPolicySpec,
};
use sluicegate_policy::{
    Admitted, Cluster, Declaration, Facts, InvalidPolicy, Namespace, NamespacesByName, PolicySet, Rule, Unseen,
    Verdict, Violation, compile, concern, decide,
    grammar::{ClusterId, NamespaceName, TenantName},
    since,
    verdict::Common,
};

use super::{Judgement, Packed, Planned, PolicyCounts};
use crate::{
    fields::{self, Fingerprint},
    object::ConfigKey,
    render::AgentId,
};

/// Something that changed on the management cluster. Of all but the readable ones `None` says that it is gone.
#[derive(Debug)]
pub enum Change {
    /// A FluxConfig.
    Config(ConfigKey, Option<Box<ReadConfig>>),
    /// A FluxPolicy.
    Policy(String, Option<Box<ReadPolicy>>),
    /// A FluxCluster.
    Cluster(String, Option<Box<FluxCluster>>),
    /// A Namespace of the management cluster.
    Namespace(String, Option<Namespace>),
    /// The tenant's label of a namespace on another cluster: cluster, namespace and tenant.
    TenantLabel(String, String, Option<String>),
    /// All namespaces of another cluster that carry a tenant's label, in place of those that were known.
    TenantLabels(String, Vec<(String, String)>),
    /// Whether a FluxCluster that is reached by a kubeconfig has turned out to be the management cluster.
    Alias(String, bool),
}

/// A FluxConfig as it was read.
#[derive(Debug)]
pub struct ReadConfig {
    config: Packed,
    /// Why it could not be read; then only its metadata is there.
    error: Option<Box<str>>,
    /// Of its whole status.
    status: Fingerprint,
}

/// A FluxPolicy as it was read.
#[derive(Debug)]
pub struct ReadPolicy {
    policy: FluxPolicy,
    error: Option<String>,
}

/// What policies mean, by name: the policy, its errors, and its counts.
pub type Policies = BTreeMap<String, (Arc<FluxPolicy>, Vec<Violation>, PolicyCounts)>;

/// What every decision about a tenant stands on: for those who ask about more than one FluxConfig.
#[derive(Debug, Default)]
pub struct Ground {
    /// The policies.
    pub policies: PolicySet,
    /// Namespaces of the management cluster and FluxClusters; no FluxConfigs.
    pub facts: Facts,
}

/// Names of all that is known.
pub struct Names {
    /// FluxConfigs.
    pub configs: Vec<ConfigKey>,
    /// FluxPolicies.
    pub policies: Vec<String>,
    /// FluxClusters.
    pub clusters: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<String>,
}

impl Change {
    /// A FluxConfig from its JSON. The API server checks the shape, so one that cannot be read is of another version; what it
    /// deployed is left as it is.
    pub fn config(key: ConfigKey, object: Value) -> Self {
        let metadata = object["metadata"].clone();
        let (config, error) = match serde_json::from_value(object) {
            Ok(config) => (config, None),
            Err(error) => {
                let mut config = FluxConfig::new(&key.name, FluxConfigSpec::default());
                config.metadata = serde_json::from_value(metadata).unwrap_or_default();
                (config, Some(error.to_string().into()))
            }
        };
        let status = status_digest(config.status.as_ref());
        let read = ReadConfig { config: Packed::of(config), error, status };
        Change::Config(key, Some(Box::new(read)))
    }

    /// A FluxConfig that is too large to be read, from what is left of its JSON. What it deployed is left as it is.
    pub fn large_config(key: ConfigKey, identity: Value) -> Self {
        let mut config = FluxConfig::new(&key.name, FluxConfigSpec::default());
        config.metadata = serde_json::from_value(identity["metadata"].clone()).unwrap_or_default();
        let status = status_digest(None);
        let error =
            Some("it is too large: its spec must be shorter, such as chart.values in a ConfigMap (valuesFrom)".into());
        Change::Config(key, Some(Box::new(ReadConfig { config: Packed::of(config), error, status })))
    }

    /// A FluxPolicy from its JSON. One that cannot be read denies everybody.
    pub fn policy(name: String, object: Value) -> Self {
        let metadata = object["metadata"].clone();
        let read = match serde_json::from_value(object) {
            Ok(policy) => ReadPolicy { policy, error: None },
            Err(error) => {
                let mut policy = FluxPolicy::new(&name, FluxPolicySpec::default());
                policy.metadata = serde_json::from_value(metadata).unwrap_or_default();
                ReadPolicy { policy, error: Some(error.to_string()) }
            }
        };
        Change::Policy(name, Some(Box::new(read)))
    }

    /// Kind and name, of those that have no namespace.
    pub fn name(&self) -> (&'static str, String) {
        match self {
            Change::Config(key, _) => ("config", key.to_string()),
            Change::Policy(name, _) => ("policy", name.clone()),
            Change::Cluster(name, _) => ("cluster", name.clone()),
            Change::Namespace(name, _) => ("namespace", name.clone()),
            Change::TenantLabel(cluster, ..) | Change::TenantLabels(cluster, _) => ("tenant-label", cluster.clone()),
            Change::Alias(cluster, _) => ("alias", cluster.clone()),
        }
    }
}

struct Known {
    config: Arc<Packed>,
    error: Option<Box<str>>,
    status: Fingerprint,
    declaration: Declaration,
    /// Of the policies that judge it.
    digest: Arc<str>,
    /// What was decided last, if anything was.
    plan: Option<Arc<Planned>>,
}

/// What FluxConfigs have in common that the same policies judge.
#[derive(Default)]
struct Judges {
    names: Box<[Arc<str>]>,
    common: Common,
}

impl Known {
    /// Looks up the policies that judge it; whether they are others than before, or say something else.
    fn find_policies(
        &mut self,
        set: &PolicySet,
        facts: &Facts,
        policies: &BTreeMap<String, KnownPolicy>,
        judges: &mut HashMap<Arc<str>, Judges>,
    ) -> bool {
        let names = concern(&self.config.unpack(), set, facts).policies;
        let digest = policies_digest(&names, policies);
        let digest = match judges.get_key_value(&*digest) {
            Some((known, _)) => known.clone(),
            None => {
                let digest: Arc<str> = Arc::from(digest);
                judges.insert(digest.clone(), Judges { names: names.into(), ..Judges::default() });
                digest
            }
        };
        let others = self.digest != digest;
        self.digest = digest;
        others
    }
}

struct KnownPolicy {
    policy: Arc<FluxPolicy>,
    error: Option<String>,
    digest: Fingerprint,
}

/// Everything that decisions are made from.
#[derive(Default)]
pub struct World {
    policies: BTreeMap<String, KnownPolicy>,
    set: PolicySet,
    clusters: BTreeMap<String, Arc<FluxCluster>>,
    /// FluxClusters with a kubeconfig that leads to the management cluster.
    aliases: BTreeSet<String>,
    namespaces: NamespacesByName,
    configs: HashMap<ConfigKey, Box<Known>>,
    /// By the digest of the policies.
    judges: HashMap<Arc<str>, Judges>,
    /// Kept from one batch to the next: for ten thousand FluxConfigs it takes milliseconds to put them together, and most news
    /// change nothing in them.
    facts: Facts,
    /// Whether they say what is.
    current: bool,
    version: u64,
}

/// What a batch of changes did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// FluxConfigs that are planned anew.
    pub planned: Vec<Arc<Planned>>,
    /// FluxConfigs that are gone, as they were planned last.
    pub gone: Vec<Arc<Planned>>,
    /// FluxConfigs that the engine was asked about.
    pub decided: usize,
    /// FluxClusters or their connections may have changed.
    pub clusters: bool,
    /// Policies may have changed.
    pub policies: bool,
    /// What decisions about tenants stand on has changed.
    pub ground: bool,
}

#[derive(Default)]
struct Dirty {
    configs: HashSet<ConfigKey>,
    policies: bool,
    everything: bool,
    /// Namespaces on which the claims are others now.
    targets: HashSet<(ClusterId, NamespaceName)>,
    /// Namespaces of the management cluster in which other FluxConfigs live now, or whose label is another.
    spaces: HashSet<Arc<str>>,
    /// Tenants that have other FluxConfigs now.
    tenants: HashSet<TenantName>,
}

impl Dirty {
    /// A FluxConfig is declared otherwise than before, or not any more.
    fn declared(&mut self, declaration: &Declaration) {
        self.targets.extend(declaration.target().cloned());
        self.tenants.extend(declaration.tenant().cloned());
        self.spaces.insert(declaration.home().clone());
    }
}

impl World {
    /// The clusters.
    pub fn clusters(&self) -> &BTreeMap<String, Arc<FluxCluster>> {
        &self.clusters
    }

    /// What decisions about tenants stand on.
    pub fn ground(&self) -> Ground {
        Ground { policies: self.set.clone(), facts: self.bare_facts() }
    }

    /// Names of all that is known.
    pub fn names(&self) -> Names {
        Names {
            configs: self.configs.keys().cloned().collect(),
            policies: self.policies.keys().cloned().collect(),
            clusters: self.clusters.keys().cloned().collect(),
            namespaces: self.namespaces.keys().map(ToString::to_string).collect(),
        }
    }

    /// Takes in changes and decides what they may concern, and nothing else.
    pub fn take(&mut self, changes: impl IntoIterator<Item = Change>) -> Outcome {
        let mut dirty = Dirty::default();
        let mut outcome = Outcome::default();
        let mut relabelled: HashSet<Arc<str>> = HashSet::new();
        let mut replaced: Vec<(ConfigKey, Box<ReadConfig>)> = Vec::new();
        for change in changes {
            match change {
                Change::Config(key, Some(config)) => replaced.push((key, config)),
                Change::Config(key, None) => {
                    replaced.retain(|(other, _)| *other != key);
                    if let Some(known) = self.configs.remove(&key) {
                        self.current = false;
                        dirty.declared(&known.declaration);
                        outcome.gone.extend(known.plan);
                    }
                }
                Change::Policy(name, policy) => {
                    let known = policy.map(|read| {
                        let ReadPolicy { policy, error } = *read;
                        let digest = fields::digest(&json!([policy.spec, error]));
                        KnownPolicy { policy: Arc::new(policy), error, digest }
                    });
                    let digest = known.as_ref().map(|known| known.digest);
                    let before = match known {
                        Some(known) => self.policies.insert(name, known),
                        None => self.policies.remove(&name),
                    };
                    dirty.policies |= before.map(|before| before.digest) != digest;
                    outcome.ground |= dirty.policies;
                    outcome.policies = true;
                }
                Change::Cluster(id, cluster) => {
                    outcome.clusters = true;
                    let cluster = cluster.map(|cluster| Arc::new(*cluster));
                    let facts =
                        |cluster: Option<&Arc<FluxCluster>>| cluster.map(|cluster| self.cluster_facts(&id, cluster));
                    dirty.everything |= facts(self.clusters.get(&id)) != facts(cluster.as_ref());
                    outcome.ground = true;
                    match cluster {
                        Some(cluster) => self.clusters.insert(id, cluster),
                        None => {
                            self.facts.no_tenant_labels(&id);
                            self.clusters.remove(&id)
                        }
                    };
                }
                Change::Namespace(name, namespace) => {
                    if self.namespaces.get(&*name) != namespace.as_ref() {
                        let name: Arc<str> = name.into();
                        match namespace {
                            Some(namespace) => {
                                self.facts.namespace(name.clone(), namespace.clone());
                                self.namespaces.insert(name.clone(), namespace);
                            }
                            None => {
                                self.facts.no_namespace(&name);
                                self.namespaces.remove(&name);
                            }
                        }
                        outcome.ground = true;
                        relabelled.insert(name);
                    }
                }
                Change::TenantLabel(cluster, namespace, tenant) => {
                    self.label(&cluster, &namespace, tenant.as_deref(), &mut dirty);
                }
                Change::TenantLabels(cluster, labels) => {
                    let named: HashSet<&str> = labels.iter().map(|(namespace, _)| namespace.as_str()).collect();
                    let known = self.facts.tenant_labels(&cluster);
                    let gone = known.filter(|(namespace, _)| !named.contains(namespace));
                    let gone: Vec<String> = gone.map(|(namespace, _)| namespace.to_owned()).collect();
                    for namespace in gone {
                        self.label(&cluster, &namespace, None, &mut dirty);
                    }
                    for (namespace, tenant) in labels {
                        self.label(&cluster, &namespace, Some(&tenant), &mut dirty);
                    }
                }
                Change::Alias(cluster, is_alias) => {
                    let before = self.aliases.contains(&cluster);
                    dirty.everything |= before != is_alias;
                    outcome.ground |= before != is_alias;
                    match is_alias {
                        true => self.aliases.insert(cluster),
                        false => self.aliases.remove(&cluster),
                    };
                }
            }
        }
        if dirty.policies {
            self.judges.clear();
            self.set = PolicySet::new(self.policies.iter().map(|(name, known)| match &known.error {
                Some(_) => Err(InvalidPolicy::unreadable(name)),
                None => compile(&known.policy),
            }));
        }
        let mut restated = HashSet::new();
        if dirty.policies || dirty.everything {
            self.place_all();
        } else {
            self.place_in(&relabelled, &mut dirty);
        }
        dirty.spaces.extend(relabelled);
        let mut facts = self.take_facts();
        self.replace(replaced, &mut facts, &mut dirty, &mut restated);
        let facts = if self.current { facts } else { self.new_facts(facts) };
        self.find_concerned(&facts, &mut dirty);
        outcome.decided = dirty.configs.len();
        outcome.planned.extend(dirty.configs.iter().filter_map(|key| self.plan(key, &facts)));
        outcome.planned.extend(restated.difference(&dirty.configs).filter_map(|key| self.restate(key)));
        self.facts = facts;
        self.current = true;
        outcome
    }

    fn replace(
        &mut self,
        replaced: Vec<(ConfigKey, Box<ReadConfig>)>,
        facts: &mut Facts,
        dirty: &mut Dirty,
        restated: &mut HashSet<ConfigKey>,
    ) {
        for (key, read) in replaced {
            let ReadConfig { config: packed, error, status } = *read;
            let config = packed.unpack();
            let same = self.configs.get(&key).is_some_and(|known| {
                let before = known.config.unpack();
                before.spec == config.spec
                    && known.error == error
                    && before.metadata.deletion_timestamp == config.metadata.deletion_timestamp
                    && before.metadata.uid == config.metadata.uid
            });
            if same && let Some(known) = self.configs.get_mut(&key) {
                known.config = Arc::new(packed);
                known.status = status;
                restated.insert(key);
                continue;
            }
            let mut declaration = Declaration::of(&config, &self.set, facts, since(&config));
            // With the texts of the declaration, so that they are in memory once.
            let declared = ConfigKey::new(declaration.home().clone(), declaration.name().clone());
            let key = match self.configs.get_key_value(&key) {
                Some((known, _)) => known.clone(),
                None if declared == key => declared,
                None => key,
            };
            dirty.configs.insert(key.clone());
            // Others hear only what it declares.
            let before = self.configs.get(&key);
            if let Some(same) = before.filter(|before| before.declaration == declaration) {
                // The facts keep the one that they were told.
                declaration = same.declaration.clone();
            } else {
                dirty.declared(&declaration);
                match before {
                    Some(before) => {
                        dirty.declared(&before.declaration);
                        self.current = false;
                    }
                    None => facts.declare(declaration.clone()),
                }
            }
            let plan = self.configs.get_mut(&key).and_then(|known| known.plan.take());
            let known = Known { config: Arc::new(packed), error, status, declaration, digest: Arc::default(), plan };
            self.configs.insert(key, Box::new(known));
        }
    }

    fn cluster_facts(&self, id: &str, cluster: &FluxCluster) -> Cluster {
        Cluster {
            labels: Arc::new(cluster.metadata.labels.clone().unwrap_or_default()),
            management: cluster.spec.connection.in_cluster.is_some() || self.aliases.contains(id),
        }
    }

    fn bare_facts(&self) -> Facts {
        let clusters = self.clusters.iter().map(|(id, cluster)| (id.as_str().into(), self.cluster_facts(id, cluster)));
        Facts::of(Unseen::Absent, &self.namespaces, clusters.collect())
    }

    /// Takes note of the tenant's label of a namespace on another cluster. It concerns those whom it takes the namespace from,
    /// and those whom it had been taken from: mostly it is that of the one tenant that deploys there, and nobody.
    fn label(&mut self, cluster: &str, namespace: &str, tenant: Option<&str>, dirty: &mut Dirty) {
        let Some((id, name)) = ClusterId::new(cluster).ok().zip(NamespaceName::new(namespace).ok()) else { return };
        let before = self.facts.tenant_label_of(cluster, namespace);
        if before == tenant {
            return;
        }
        let agrees = |label: Option<&str>, claimant: &TenantName| label.is_none_or(|of| of == claimant.as_str());
        let claimants: Vec<&TenantName> = self.facts.claimants(cluster, namespace).collect();
        let one_and_agreed = |one: &TenantName| {
            agrees(before, one) && agrees(tenant, one) && claimants.iter().all(|other| *other == one)
        };
        let nobody = claimants.first().is_none_or(|one| one_and_agreed(one));
        self.facts.tenant_label(cluster, namespace, tenant);
        if !nobody {
            dirty.targets.insert((id, name));
        }
    }

    /// Where all FluxConfigs go, after policies or labels of clusters have changed.
    fn place_all(&mut self) {
        let facts = self.bare_facts();
        for known in self.configs.values_mut() {
            let config = known.config.unpack();
            let declaration = Declaration::of(&config, &self.set, &facts, since(&config));
            // Plans that stay share their texts with the one that they were decided by.
            if known.declaration != declaration {
                known.declaration = declaration;
            }
        }
        self.current = false;
    }

    /// Where the FluxConfigs go that live in namespaces whose labels have changed: they may be another tenant's now, whom other
    /// policies select.
    fn place_in(&mut self, namespaces: &HashSet<Arc<str>>, dirty: &mut Dirty) {
        for namespace in namespaces {
            let keys: Vec<ConfigKey> = self
                .facts
                .living_in(namespace)
                .map(|(home, name)| ConfigKey::new(home.clone(), name.clone()))
                .collect();
            for key in keys {
                let Some(known) = self.configs.get_mut(&key) else { continue };
                let config = known.config.unpack();
                let declaration = Declaration::of(&config, &self.set, &self.facts, since(&config));
                if known.declaration != declaration {
                    dirty.declared(&known.declaration);
                    dirty.declared(&declaration);
                    known.declaration = declaration;
                    self.current = false;
                }
                dirty.configs.insert(key);
            }
        }
    }

    fn take_facts(&mut self) -> Facts {
        let facts = std::mem::take(&mut self.facts);
        if self.current {
            return facts;
        }
        self.current = true;
        self.new_facts(facts)
    }

    /// Puts the facts together anew. What is known of other clusters' namespaces is in the facts alone.
    fn new_facts(&self, before: Facts) -> Facts {
        let mut facts = self.bare_facts().with_tenant_labels_of(before);
        for known in self.configs.values() {
            facts.declare(known.declaration.clone());
        }
        facts
    }

    /// Adds those whose verdict may be another now: judged by another set of policies, in one tenant with what changed (limits
    /// and dependencies), or with a claim on a namespace that is another's now.
    fn find_concerned(&mut self, facts: &Facts, dirty: &mut Dirty) {
        if dirty.everything || dirty.policies {
            for (key, known) in &mut self.configs {
                if known.find_policies(&self.set, facts, &self.policies, &mut self.judges) || dirty.everything {
                    dirty.configs.insert(key.clone());
                }
            }
        } else {
            for key in &dirty.configs {
                if let Some(known) = self.configs.get_mut(key) {
                    known.find_policies(&self.set, facts, &self.policies, &mut self.judges);
                }
            }
        }
        let mut concerned: HashSet<(&Arc<str>, &Arc<str>)> = HashSet::new();
        for tenant in &dirty.tenants {
            concerned.extend(facts.configs_of(tenant));
        }
        for (cluster, namespace) in &dirty.targets {
            concerned.extend(facts.claiming(cluster.as_str(), namespace.as_str()));
            if facts.is_management(cluster.as_str()) {
                concerned.extend(facts.living_in(namespace.as_str()));
            }
        }
        for namespace in &dirty.spaces {
            concerned.extend(facts.living_in(namespace));
            concerned.extend(facts.claiming_here(namespace));
        }
        for (home, name) in concerned {
            let key = ConfigKey::new(home.clone(), name.clone());
            if let Some((known, _)) = self.configs.get_key_value(&key) {
                dirty.configs.insert(known.clone());
            }
        }
    }

    /// Decides one; `None` where its plan stays as it is.
    fn plan(&mut self, key: &ConfigKey, facts: &Facts) -> Option<Arc<Planned>> {
        let known = self.configs.get_mut(key)?;
        let config = known.config.unpack();
        let before = known.plan.as_ref();
        let last = before.and_then(|before| before.judgement.known()).cloned();
        let shared = |violations: Vec<Violation>| Arc::from(violations.into_boxed_slice());
        let verdict = match &known.error {
            None => decide(&config, &self.set, facts),
            Some(error) => {
                let message = format!("this version of Sluicegate cannot read it: {error}");
                Verdict::Undetermined(vec![Violation::new(Rule::UnreadableFile, "spec", message)])
            }
        };
        let judgement = match verdict {
            Verdict::Admitted(mut admitted) => {
                // Ten thousand have a handful between them.
                if let Some(judges) = self.judges.get_mut(&known.digest) {
                    admitted.share(&mut judges.common);
                }
                Judgement::Admitted(Arc::new(*admitted))
            }
            Verdict::Refused(violations) => Judgement::Refused {
                violations: shared(violations),
                on_violation: concern(&config, &self.set, facts).on_violation,
                last,
            },
            Verdict::Undetermined(violations) => Judgement::Undetermined { violations: shared(violations), last },
        };
        let metadata = &config.metadata;
        let leaving = metadata.deletion_timestamp.as_ref().map(|_| deletion(&judgement, &config));
        let agent = judgement
            .known()
            .map(|admitted| AgentId::of(admitted.resolved()))
            .or_else(|| before.and_then(|before| before.agent.clone()));
        let unchanged = before.is_some_and(|before| {
            let same_object = || {
                let old = before.config.unpack().metadata;
                old.generation == metadata.generation
                    && old.uid == metadata.uid
                    && old.finalizers == metadata.finalizers
            };
            before.judgement == judgement
                && before.leaving == leaving
                && before.policy_digest == known.digest
                && before.agent == agent
                && same_object()
        });
        if unchanged {
            return self.restate(key);
        }
        self.version += 1;
        let planned = Arc::new(Planned {
            key: key.clone(),
            config: known.config.clone(),
            status: known.status,
            judgement,
            agent,
            leaving,
            policy_digest: known.digest.clone(),
            version: self.version,
        });
        known.plan = Some(planned.clone());
        Some(planned)
    }

    /// Takes the object as it is now into a plan whose verdict stands; `None` where it is there already. With a version that is
    /// not the last one every write would be refused, for ever.
    fn restate(&mut self, key: &ConfigKey) -> Option<Arc<Planned>> {
        let known = self.configs.get_mut(key)?;
        let plan = known.plan.as_ref()?;
        if Arc::ptr_eq(&known.config, &plan.config) {
            return None;
        }
        let planned = Arc::new(Planned { config: known.config.clone(), status: known.status, ..(**plan).clone() });
        known.plan = Some(planned.clone());
        Some(planned)
    }

    /// What each policy means, for its status: errors of the policy, and counts.
    pub fn policies(&self) -> Policies {
        let mut counts: HashMap<&str, PolicyCounts> = HashMap::new();
        for (key, known) in &self.configs {
            let plan = known.plan.as_ref();
            let admitted = plan.is_some_and(|plan| matches!(plan.judgement, Judgement::Admitted(_)));
            for policy in self.judges.get(&known.digest).into_iter().flat_map(|judges| &judges.names) {
                let count = counts.entry(policy).or_default();
                count
                    .tenants
                    .insert(known.declaration.tenant().map_or_else(|| key.home.to_string(), ToString::to_string));
                if admitted {
                    count.admitted += 1;
                } else {
                    count.refused += 1;
                }
            }
        }
        let errors: HashMap<&str, &[Violation]> =
            self.set.invalid().iter().map(|invalid| (invalid.name(), invalid.errors())).collect();
        self.policies
            .iter()
            .map(|(name, known)| {
                let mut errors = errors.get(name.as_str()).map(|errors| errors.to_vec()).unwrap_or_default();
                if let Some(error) = &known.error {
                    let message = format!("this version of Sluicegate cannot read it: {error}");
                    errors.push(Violation::new(Rule::UnreadableFile, "spec", message));
                }
                let count = counts.remove(name.as_str()).unwrap_or_default();
                (name.clone(), (known.policy.clone(), errors, count))
            })
            .collect()
    }
}

/// What becomes of what a FluxConfig deployed when it is deleted: as decided, or, where nothing could be decided, as it says.
fn deletion(judgement: &Judgement, config: &FluxConfig) -> DeletionPolicy {
    let decided = judgement.known().map(|admitted: &Arc<Admitted>| admitted.resolved().terms.deletion.value);
    config.spec.deletion.or(decided).unwrap_or_default()
}

fn policies_digest(names: &[Arc<str>], policies: &BTreeMap<String, KnownPolicy>) -> String {
    let parts: BTreeSet<(&str, String)> =
        names.iter().filter_map(|name| Some((&**name, policies.get(&**name)?.digest.to_string()))).collect();
    fields::digest(&json!(parts)).to_string()
}

/// Digest of a status as this version of Sluicegate would write it.
pub fn status_digest(status: Option<&FluxConfigStatus>) -> Fingerprint {
    fields::digest(&status.map_or(Value::Null, |status| serde_json::to_value(status).unwrap_or_default()))
}
