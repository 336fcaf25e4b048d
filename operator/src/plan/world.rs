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
    Admitted, Declaration, Facts, InvalidPolicy, Labels, LabelsByName, PolicySet, Rule, Unseen, Verdict, Violation,
    compile, concern, decide,
    grammar::{ClusterId, NamespaceName},
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
    /// Labels of a Namespace.
    Namespace(String, Option<Labels>),
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
    namespaces: LabelsByName,
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
    targets: HashSet<(ClusterId, NamespaceName)>,
    homes: HashSet<Arc<str>>,
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
        let mut replaced: Vec<(ConfigKey, Box<ReadConfig>)> = Vec::new();
        let mut relabelled: HashSet<Arc<str>> = HashSet::new();
        for change in changes {
            match change {
                Change::Config(key, Some(config)) => replaced.push((key, config)),
                Change::Config(key, None) => {
                    replaced.retain(|(other, _)| *other != key);
                    if let Some(known) = self.configs.remove(&key) {
                        self.current = false;
                        dirty.targets.extend(known.declaration.target().cloned());
                        dirty.homes.insert(key.home.clone());
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
                    let labels = |cluster: Option<&Arc<FluxCluster>>| {
                        cluster.map(|cluster| cluster.metadata.labels.clone().unwrap_or_default())
                    };
                    dirty.everything |= labels(self.clusters.get(&id)) != labels(cluster.as_ref());
                    outcome.ground = true;
                    match cluster {
                        Some(cluster) => self.clusters.insert(id, cluster),
                        None => self.clusters.remove(&id),
                    };
                }
                Change::Namespace(name, labels) => {
                    let labels = labels.map(Arc::new);
                    if self.namespaces.get(&*name) != labels.as_ref() {
                        let name: Arc<str> = name.into();
                        match labels {
                            Some(labels) => {
                                self.facts.namespace(name.clone(), labels.clone());
                                self.namespaces.insert(name.clone(), labels);
                            }
                            None => {
                                self.namespaces.remove(&name);
                                self.current = false;
                            }
                        }
                        outcome.ground = true;
                        relabelled.insert(name);
                    }
                }
            }
        }
        dirty.everything |= !relabelled.is_empty() && self.configs.keys().any(|key| relabelled.contains(&*key.home));
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
        }
        let mut facts = self.take_facts();
        self.replace(replaced, &mut facts, &mut dirty, &mut restated);
        let facts = if self.current { facts } else { self.new_facts() };
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
                dirty.targets.extend(before.and_then(|before| before.declaration.target().cloned()));
                dirty.targets.extend(declaration.target().cloned());
                dirty.homes.insert(key.home.clone());
                match before {
                    Some(_) => self.current = false,
                    None => facts.declare(declaration.clone()),
                }
            }
            let plan = self.configs.get_mut(&key).and_then(|known| known.plan.take());
            let known = Known { config: Arc::new(packed), error, status, declaration, digest: Arc::default(), plan };
            self.configs.insert(key, Box::new(known));
        }
    }

    fn bare_facts(&self) -> Facts {
        let labels = |cluster: &FluxCluster| Arc::new(cluster.metadata.labels.clone().unwrap_or_default());
        let clusters = self.clusters.iter().map(|(id, cluster)| (id.as_str().into(), labels(cluster)));
        Facts::of(Unseen::Absent, &self.namespaces, clusters.collect())
    }

    /// Where all FluxConfigs go, after policies or labels have changed.
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

    fn take_facts(&mut self) -> Facts {
        if !self.current {
            self.facts = self.new_facts();
            self.current = true;
        }
        std::mem::take(&mut self.facts)
    }

    fn new_facts(&self) -> Facts {
        let mut facts = self.bare_facts();
        for known in self.configs.values() {
            facts.declare(known.declaration.clone());
        }
        facts
    }

    /// Adds those whose verdict may be another now: judged by another set of policies, in one tenant with what changed (limits
    /// and dependencies), or with one target (claims).
    fn find_concerned(&mut self, facts: &Facts, dirty: &mut Dirty) {
        let tenants: HashSet<String> =
            dirty.homes.iter().filter_map(|home| Some(facts.tenant(home)?.as_str().to_owned())).collect();
        let all = dirty.everything || dirty.policies;
        if !all && tenants.is_empty() && dirty.targets.is_empty() {
            for key in &dirty.configs {
                if let Some(known) = self.configs.get_mut(key) {
                    known.find_policies(&self.set, facts, &self.policies, &mut self.judges);
                }
            }
            return;
        }
        for (key, known) in &mut self.configs {
            let of_tenant = facts.tenant(&key.home).is_some_and(|tenant| tenants.contains(tenant.as_str()));
            let of_target = known.declaration.target().is_some_and(|target| dirty.targets.contains(target));
            let mut concerned = of_tenant || of_target;
            if all || dirty.configs.contains(key) {
                concerned |=
                    known.find_policies(&self.set, facts, &self.policies, &mut self.judges) || dirty.everything;
            }
            if concerned {
                dirty.configs.insert(key.clone());
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
