//! From objects to verdicts: policies are compiled, facts gathered, and the engine asked about each FluxConfig.

use std::{collections::HashMap, sync::Arc};

use rayon::prelude::*;
use sluicegate_crds::{FluxCluster, FluxConfig, MANAGED_BY_LABEL, MANAGER};
use sluicegate_policy::{
    Admitted, Cluster, Declaration, Facts, InvalidPolicy, LabelWriter, Labels, Namespace, Placed, Placer, PolicySet,
    Rule, Unseen, Verdict, Violation, check_cluster, compile, dangerous_grants, decide_placed, verdict::ObjectRef,
    violations,
};

use super::{
    At, Located, Platform, ReadPolicy,
    locate::{self, Found},
};
use crate::{
    progress::Progress,
    report::{Checked, Finding, ObjectId, Outcome},
};

/// The verdict on one FluxConfig.
#[derive(Debug)]
pub struct JudgedConfig {
    /// Index in [`Platform::configs`].
    pub index: usize,
    /// The verdict, where it is asked for; `None` to save memory.
    pub admitted: Option<Box<Admitted>>,
    /// What came out.
    pub outcome: Outcome,
    /// Ids of the rules that it breaks.
    pub rules: Vec<Rule>,
}

/// Everything that was found out about a platform.
#[derive(Debug)]
pub struct Judged {
    /// The policies.
    pub policies: PolicySet,
    /// The facts.
    pub facts: Facts,
    /// FluxConfigs in the order of [`Platform::configs`], those of the context left out.
    pub configs: Vec<JudgedConfig>,
    /// What is wrong, and what somebody should look at; sorted by nothing yet.
    pub findings: Vec<Finding>,
    /// Every object that was looked at.
    pub checked: Vec<Checked>,
    /// Whether some verdict could not be reached for want of facts.
    pub undetermined: bool,
}

/// A verdict of which the admitted configuration is kept only where it is asked for.
type Kept = Result<Option<Box<Admitted>>, Vec<Violation>>;

/// What is kept of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Only whether it was admitted.
    Outcome,
    /// The admitted configuration as well.
    Admitted,
}

impl Platform {
    /// Compiles the policies and gathers the facts that files can give.
    pub fn engine(&self) -> (PolicySet, Facts) {
        let policies = self.compiled();
        let (facts, _) = self.facts(&policies);
        (policies, facts)
    }

    fn compiled(&self) -> PolicySet {
        PolicySet::new(self.policies.iter().map(|policy| match &*policy.object {
            ReadPolicy::Unreadable(name) => Err(InvalidPolicy::unreadable(name)),
            ReadPolicy::Decoded(decoded) => match compile(decoded) {
                Ok(compiled) if policy.flawed => Err(compiled.reject()),
                compiled => compiled,
            },
        }))
    }

    /// The facts, and the placement of each FluxConfig that was found out on the way.
    fn facts<'p>(&'p self, policies: &'p PolicySet) -> (Facts, Vec<Placed<'p>>) {
        let mut facts = Facts::new(Unseen::Unknown);
        for namespace in &self.namespaces {
            facts.namespace(namespace.object.name.clone(), in_files(&namespace.object.labels));
        }
        for cluster in &self.clusters {
            let FluxCluster { metadata, spec, .. } = &*cluster.object;
            let labels = Arc::new(metadata.labels.clone().unwrap_or_default());
            let management = spec.connection.in_cluster.is_some();
            facts.cluster(metadata.name.clone().unwrap_or_default(), Cluster { labels, management });
        }
        // A FluxCluster with a mistake in it exists all the same: that FluxConfigs name it is not their mistake.
        for (object, _) in self.undecoded.iter().filter(|(object, _)| object.kind == "FluxCluster") {
            facts.cluster(object.name.clone(), sluicegate_policy::Labels::new());
        }
        let (placed, declarations): (Vec<Placed<'p>>, Vec<Declaration>) = self
            .configs
            .par_iter()
            .with_min_len(64)
            .map_init(
                || Placer::new(policies, &facts),
                |placer, config| {
                    let placed = placer.place(&config.object);
                    let declaration = placed.declaration(None);
                    (placed, declaration)
                },
            )
            .unzip();
        for declaration in declarations {
            facts.declare(declaration);
        }
        (facts, placed)
    }

    /// Judges every FluxConfig, FluxPolicy and FluxCluster of the files that are not context.
    pub fn judge(&self, keep: Keep, progress: bool) -> Judged {
        let policies = self.compiled();
        let (facts, placed) = self.facts(&policies);
        let mut found: Vec<Found> = Vec::new();
        let mut checked: Vec<Checked> = Vec::new();
        self.judge_policies(&policies, &facts, &mut found, &mut checked);
        self.judge_clusters(&mut found, &mut checked);
        for (object, at) in &self.undecoded {
            if !self.is_context(at) {
                checked.push(self.checked(object.clone(), at, Outcome::Invalid));
            }
        }
        // FluxConfigs are in the order of their files, and those of the context come last.
        let judged = self.configs.partition_point(|config| !self.is_context(&config.at));
        let bar = Progress::start(judged, "deciding", progress);
        let verdicts: Vec<(Kept, Checked)> = self.configs[..judged]
            .par_iter()
            .zip(placed)
            .with_min_len(64)
            .map(|(config, placed)| {
                bar.step();
                let admitted = match keep {
                    Keep::Outcome => match violations(placed, &facts) {
                        none if none.is_empty() => Ok(None),
                        violations => Err(violations),
                    },
                    Keep::Admitted => match decide_placed(placed, &facts) {
                        Verdict::Admitted(admitted) => Ok(Some(admitted)),
                        Verdict::Refused(violations) | Verdict::Undetermined(violations) => Err(violations),
                    },
                };
                let outcome = if config.flawed { Outcome::Invalid } else { Outcome::Admitted };
                (admitted, self.checked(config_id(&config.object), &config.at, outcome))
            })
            .collect();
        drop(bar);
        let mut configs = Vec::with_capacity(verdicts.len());
        let mut undetermined = false;
        checked.reserve(verdicts.len());
        for (index, (config, (verdict, mut looked_at))) in self.configs.iter().zip(verdicts).enumerate() {
            let violations = match verdict {
                Ok(admitted) => {
                    configs.push(JudgedConfig { index, admitted, outcome: looked_at.outcome, rules: Vec::new() });
                    checked.push(looked_at);
                    continue;
                }
                Err(violations) => violations,
            };
            let rules: Vec<Rule> = violations.iter().map(|violation| violation.rule).collect();
            undetermined |= rules.contains(&Rule::UndeterminedSelector);
            // What is wrong with a policy is said once, at the policy, and not for each FluxConfig that it selects.
            let here: Vec<Violation> =
                violations.into_iter().filter(|violation| !said_at_policy(violation, &found)).collect();
            let outcome =
                match (config.flawed, here.iter().all(|violation| violation.rule == Rule::UndeterminedSelector)) {
                    (true, _) => Outcome::Invalid,
                    (false, true) => Outcome::Undecided,
                    (false, false) => Outcome::Refused,
                };
            found.extend(here.into_iter().map(|violation| Found {
                violation,
                at: config.at.clone(),
                object: looked_at.object.clone(),
            }));
            looked_at.outcome = outcome;
            checked.push(looked_at);
            configs.push(JudgedConfig { index, admitted: None, outcome, rules });
        }
        let mut findings = self.findings.clone();
        findings.extend(locate::findings(self, found));
        Judged { policies, facts, configs, findings, checked, undetermined }
    }

    fn judge_policies(&self, policies: &PolicySet, facts: &Facts, found: &mut Vec<Found>, checked: &mut Vec<Checked>) {
        let mut seen: HashMap<&str, &At> = HashMap::new();
        let at_policy: HashMap<&str, &Located<ReadPolicy>> =
            self.policies.iter().rev().map(|policy| (policy_name(&policy.object), policy)).collect();
        let mut outcomes: HashMap<&str, Outcome> = HashMap::new();
        let note = |name: &str, violation: Violation, found: &mut Vec<Found>| {
            if let Some(policy) = at_policy.get(name) {
                let object = policy_id(name);
                found.push(Found { violation, at: policy.at.clone(), object });
            }
        };
        for invalid in policies.invalid() {
            outcomes.insert(invalid.name(), Outcome::Invalid);
            for violation in invalid.errors() {
                note(invalid.name(), violation.clone(), found);
            }
        }
        for policy in policies.policies() {
            for violation in dangerous_grants(policy) {
                note(policy.name(), violation, found);
            }
        }
        for conflict in policies.conflicts(facts) {
            for field in conflict.decided_by.clone() {
                outcomes.insert(at_policy.get_key_value(&*field.policy).map_or("", |(name, _)| name), Outcome::Invalid);
            }
            if let Some(first) = conflict.decided_by.first().map(|field| field.policy.clone()) {
                note(&first, conflict, found);
            }
        }
        for policy in &self.policies {
            let name = policy_name(&policy.object);
            if let Some(first) = seen.get(name) {
                found.push(self.duplicate("FluxPolicy", name, &policy.at, first));
            }
            seen.entry(name).or_insert(&policy.at);
            if !self.is_context(&policy.at) {
                let outcome = if policy.flawed {
                    Outcome::Invalid
                } else {
                    outcomes.get(name).copied().unwrap_or(Outcome::Valid)
                };
                checked.push(self.checked(policy_id(name), &policy.at, outcome));
            }
        }
    }

    fn judge_clusters(&self, found: &mut Vec<Found>, checked: &mut Vec<Checked>) {
        let mut seen: HashMap<&str, &At> = HashMap::new();
        for cluster in &self.clusters {
            let name = cluster.object.metadata.name.as_deref().unwrap_or_default();
            let object = ObjectId { kind: "FluxCluster".to_owned(), namespace: None, name: name.to_owned() };
            let mut outcome = if cluster.flawed { Outcome::Invalid } else { Outcome::Valid };
            for violation in check_cluster(&cluster.object) {
                outcome = Outcome::Invalid;
                found.push(Found { violation, at: cluster.at.clone(), object: object.clone() });
            }
            if let Some(first) = seen.get(name) {
                found.push(self.duplicate("FluxCluster", name, &cluster.at, first));
                outcome = Outcome::Invalid;
            }
            seen.entry(name).or_insert(&cluster.at);
            if !self.is_context(&cluster.at) {
                checked.push(self.checked(object, &cluster.at, outcome));
            }
        }
    }

    fn duplicate(&self, kind: &'static str, name: &str, at: &At, first: &At) -> Found {
        let message =
            format!("{kind} {name} is declared a second time; it is first in {}:{}", self.shown(first), first.line);
        let mut violation = Violation::new(Rule::DuplicateObject, "metadata.name", message);
        violation.value = Some(name.to_owned());
        violation.related = vec![ObjectRef { kind, namespace: String::new(), name: name.to_owned() }];
        violation.help = vec!["rename or remove one".to_owned()];
        Found {
            violation,
            at: at.clone(),
            object: ObjectId { kind: kind.to_owned(), namespace: None, name: name.to_owned() },
        }
    }

    fn checked(&self, object: ObjectId, at: &At, outcome: Outcome) -> Checked {
        Checked { object, path: self.shown(at).to_owned(), line: at.line as usize, outcome }
    }
}

/// Whether a violation of a FluxConfig is one of a policy's that is reported there.
fn said_at_policy(violation: &Violation, found: &[Found]) -> bool {
    match violation.rule {
        Rule::InvalidPolicy => true,
        Rule::PolicyConflict => found.iter().any(|known| {
            known.violation.rule == Rule::PolicyConflict && known.violation.decided_by == violation.decided_by
        }),
        _ => false,
    }
}

fn config_id(config: &FluxConfig) -> ObjectId {
    let metadata = &config.metadata;
    ObjectId {
        kind: "FluxConfig".to_owned(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

fn policy_id(name: &str) -> ObjectId {
    ObjectId { kind: "FluxPolicy".to_owned(), namespace: None, name: name.to_owned() }
}

/// Name of a policy, readable or not.
pub(super) fn policy_name(policy: &ReadPolicy) -> &str {
    match policy {
        ReadPolicy::Decoded(policy) => policy.metadata.name.as_deref().unwrap_or_default(),
        ReadPolicy::Unreadable(name) => name,
    }
}

/// A Namespace in a file. One that `render` wrote carries the label of what is Sluicegate's, and an administrator's does not.
fn in_files(labels: &Labels) -> Namespace {
    let rendered = labels.get(MANAGED_BY_LABEL).is_some_and(|manager| manager == MANAGER);
    let tenant_label_by = if rendered { LabelWriter::Sluicegate } else { LabelWriter::Administrator };
    Namespace { labels: Arc::new(labels.clone()), tenant_label_by }
}
