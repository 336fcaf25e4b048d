//! All policies together: which of them select a tenant, and how they combine.
//!
//! Allow lists are united, any deny wins, limits are the strictest, features are on where somebody turns them on and nobody
//! off, and defaults come field by field from the highest priority. Two different defaults of equal priority are an error of
//! the policies, never a coin toss.

use std::sync::{Arc, OnceLock};

use foldhash::{HashMap, HashSet};
use sluicegate_crds::FluxPolicy;

use crate::{
    compile::{self, CompiledPolicy, InvalidPolicy},
    effective::Combined,
    facts::{Facts, LabelsOf},
    grammar::{Bindings, TenantName},
    rule::Rule,
    select::{Matcher, Selected},
    verdict::{Field, FieldPath, Origin, PolicyField, Violation},
};

/// Compiled policies, indexed by the tenants that they select. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// By descending priority, then by name, so that nothing depends on the order in which they came.
    policies: Vec<Arc<CompiledPolicy>>,
    invalid: Vec<InvalidPolicy>,
    literal: HashMap<Box<str>, Vec<u32>>,
    other: Vec<u32>,
}

impl PolicySet {
    /// Compiles policies. Those with errors are kept aside and deny every tenant that they select.
    pub fn compile<'p>(policies: impl IntoIterator<Item = &'p FluxPolicy>) -> Self {
        Self::new(policies.into_iter().map(compile::compile))
    }

    /// A set of policies that were compiled one by one.
    pub fn new<P>(compiled: impl IntoIterator<Item = Result<P, InvalidPolicy>>) -> Self
    where
        P: Into<Arc<CompiledPolicy>>,
    {
        let mut set = Self::default();
        for policy in compiled {
            match policy {
                Ok(policy) => set.policies.push(policy.into()),
                Err(policy) => set.invalid.push(policy),
            }
        }
        set.policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        set.invalid.sort_by(|a, b| a.name.cmp(&b.name));
        for (index, policy) in (0_u32..).zip(&set.policies) {
            match policy.tenants.literals() {
                Some(names) => {
                    for name in names {
                        set.literal.entry(name.into()).or_default().push(index);
                    }
                }
                None => set.other.push(index),
            }
        }
        set
    }

    /// The set with one policy put in, in place of the one of that name.
    pub fn with(&self, policy: Result<CompiledPolicy, InvalidPolicy>) -> Self {
        let name = match &policy {
            Ok(policy) => policy.name.clone(),
            Err(policy) => policy.name.clone(),
        };
        Self::new(self.others(&name).chain([policy.map(Arc::new)]))
    }

    /// The set without the policy of a name.
    pub fn without(&self, name: &str) -> Self {
        Self::new(self.others(name))
    }

    fn others<'s>(&'s self, name: &'s str) -> impl Iterator<Item = Result<Arc<CompiledPolicy>, InvalidPolicy>> + 's {
        let policies = self.policies.iter().filter(move |policy| &*policy.name != name).cloned().map(Ok);
        policies.chain(self.invalid.iter().filter(move |policy| &*policy.name != name).cloned().map(Err))
    }

    /// Policies with errors.
    pub fn invalid(&self) -> &[InvalidPolicy] {
        &self.invalid
    }

    /// Names of the policies with errors that select a tenant, or might.
    pub(crate) fn invalid_for<'s>(
        &'s self,
        tenant: &'s TenantName,
        labels: LabelsOf<'s>,
    ) -> impl Iterator<Item = std::sync::Arc<str>> + 's {
        let selects = move |matcher: &Matcher| {
            let bindings = Bindings { tenant: tenant.as_str(), ..Bindings::default() };
            matcher.selects(tenant.as_str(), labels, &bindings) != Selected::No
        };
        self.invalid
            .iter()
            .filter(move |policy| policy.tenants.as_ref().is_none_or(selects))
            .map(|policy| policy.name.clone())
    }

    /// Policies without errors, by descending priority.
    pub fn policies(&self) -> &[Arc<CompiledPolicy>] {
        &self.policies
    }

    /// The policies that select a tenant, on any cluster.
    ///
    /// # Errors
    /// [`Rule::UndeterminedSelector`] where labels are not known, [`Rule::InvalidPolicy`] where a policy with errors selects
    /// the tenant, [`Rule::NoPolicy`] where none does.
    pub(crate) fn select(&self, tenant: &TenantName, labels: LabelsOf<'_>) -> Result<Selection<'_>, Violation> {
        let bindings = Bindings { tenant: tenant.as_str(), ..Bindings::default() };
        let selects = |matcher: &Matcher| matcher.selects(tenant.as_str(), labels, &bindings);
        let undetermined = |policy: &str| {
            Violation::new(
                Rule::UndeterminedSelector,
                "metadata.namespace",
                format!("policy {policy} selects tenants by labels, and the labels of tenant {tenant}'s Namespace are not known"),
            )
            .value(tenant.as_str())
            .help("add the manifest of the Namespace to the files, with its labels")
        };
        let mut unknown = None;
        for invalid in &self.invalid {
            match invalid.tenants.as_ref().map_or(Selected::Yes, selects) {
                Selected::No => {}
                Selected::Undetermined => unknown = unknown.or(Some(&invalid.name)),
                Selected::Yes => {
                    return Err(Violation::new(
                        Rule::InvalidPolicy,
                        "metadata.namespace",
                        format!(
                            "policy {} selects tenant {tenant} and has errors, so nothing is allowed",
                            invalid.name
                        ),
                    )
                    .value(tenant.as_str())
                    .decided_by([PolicyField { policy: invalid.name.clone(), field: "spec".into() }])
                    .help(
                        "an administrator mends the policy first; `sluicegate check` on its file says what is wrong",
                    ));
                }
            }
        }
        if let Some(name) = unknown {
            return Err(undetermined(name));
        }
        let literal = self.literal.get(tenant.as_str()).map_or(&[][..], Vec::as_slice);
        let mut indices: Vec<u32> = Vec::with_capacity(literal.len() + self.other.len().min(16));
        for index in literal.iter().chain(&self.other) {
            let policy = &self.policies[*index as usize];
            match selects(&policy.tenants) {
                Selected::Yes => indices.push(*index),
                Selected::No => {}
                Selected::Undetermined => return Err(undetermined(&policy.name)),
            }
        }
        if indices.is_empty() {
            return Err(Violation::new(
                Rule::NoPolicy,
                "metadata.namespace",
                format!("no policy selects tenant {tenant}"),
            )
            .value(tenant.as_str())
            .help("a FluxConfig stands in its team's own namespace: check metadata.namespace")
            .help("if this is a new team, an administrator adds it to spec.tenants of a FluxPolicy"));
        }
        indices.sort_unstable();
        indices.dedup();
        Ok(Selection::new(indices.into_iter().map(|index| &self.policies[index as usize])))
    }

    /// Defaults of equal priority that differ, for every tenant and cluster that is known: an error of the policies.
    pub fn conflicts(&self, facts: &Facts) -> Vec<Violation> {
        let mut conflicts: Vec<Violation> = Vec::new();
        // Most tenants have the same policies as others; what those say once they say always.
        let mut seen: HashSet<Vec<usize>> = HashSet::default();
        let mut homes: Vec<&str> = facts.homes().chain(self.literal.keys().map(Box::as_ref)).collect();
        homes.sort_unstable();
        homes.dedup();
        for home in homes {
            let Some(tenant) = facts.tenant(home) else { continue };
            let Ok(selection) = self.select(&tenant, facts.labels(home)) else { continue };
            let mut note = |selection: &Selection<'_>| {
                if !seen.insert(selection.iter().map(|policy| std::ptr::from_ref(policy).addr()).collect()) {
                    return;
                }
                for violation in crate::effective::conflicts(selection) {
                    if !conflicts.iter().any(|known| known.decided_by == violation.decided_by) {
                        conflicts.push(violation);
                    }
                }
            };
            note(&selection.everywhere());
            for (id, cluster) in facts.clusters() {
                note(&selection.on(id, LabelsOf::Known(&cluster.labels)));
            }
        }
        conflicts
    }
}

/// The policies that apply to one tenant, by descending priority. Clones share them, and what they say together.
#[derive(Clone, Debug)]
pub(crate) struct Selection<'p>(Arc<Together<'p>>);

#[derive(Debug)]
struct Together<'p> {
    policies: Vec<&'p Arc<CompiledPolicy>>,
    combined: OnceLock<Combined>,
}

impl<'p> Selection<'p> {
    pub(crate) fn new(policies: impl Iterator<Item = &'p Arc<CompiledPolicy>>) -> Self {
        Self(Arc::new(Together { policies: policies.collect(), combined: OnceLock::new() }))
    }

    /// Those that apply whatever the cluster is: they decide the placement.
    pub(crate) fn everywhere(&self) -> Selection<'p> {
        self.those(|policy| policy.clusters.is_none())
    }

    /// Those that apply on a cluster.
    pub(crate) fn on(&self, cluster: &str, labels: LabelsOf<'_>) -> Selection<'p> {
        self.those(|policy| {
            policy.clusters.as_ref().is_none_or(|clusters| {
                // The labels of a cluster are part of the FluxCluster, so they are known whenever the cluster is. Where they
                // are not, a policy that might apply does.
                clusters.selects(cluster, labels, &Bindings::default()) != Selected::No
            })
        })
    }

    /// Some of them. All of them, as it mostly is, are shared with what they say together.
    fn those(&self, wanted: impl Fn(&CompiledPolicy) -> bool) -> Selection<'p> {
        if self.iter().all(&wanted) {
            return self.clone();
        }
        Self::new(self.shared().filter(|policy| wanted(policy)))
    }

    /// What they decide alone, worked out once for all FluxConfigs of a tenant on a cluster.
    pub(crate) fn combined(&self) -> &Combined {
        self.0.combined.get_or_init(|| Combined::of(self))
    }

    /// All that apply to one of these.
    pub(crate) fn union(selections: &[Selection<'p>]) -> Selection<'p> {
        let mut policies: Vec<&Arc<CompiledPolicy>> = selections.iter().flat_map(Selection::shared).collect();
        policies.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
        policies.dedup_by(|a, b| a.name == b.name);
        Self::new(policies.into_iter())
    }

    /// The policies.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'p CompiledPolicy> + use<'_, 'p> {
        self.0.policies.iter().map(|policy| &***policy)
    }

    /// The policies, for whoever keeps them.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &'p Arc<CompiledPolicy>> + use<'_, 'p> {
        self.0.policies.iter().copied()
    }

    /// The value of the highest priority.
    ///
    /// # Errors
    /// [`Rule::PolicyConflict`] where two policies of that priority have different values.
    pub(crate) fn highest<T: PartialEq>(
        &self,
        field: &'static str,
        value: impl Fn(&'p CompiledPolicy) -> Option<T>,
    ) -> Result<Option<Field<T>>, Violation> {
        let mut found: Option<(&CompiledPolicy, T)> = None;
        for policy in self.iter() {
            if let Some((first, _)) = &found
                && first.priority > policy.priority
            {
                break;
            }
            let Some(value) = value(policy) else { continue };
            match &found {
                None => found = Some((policy, value)),
                Some((first, chosen)) if *chosen != value => return Err(conflict(field, first, policy)),
                Some(_) => {}
            }
        }
        Ok(found.map(|(policy, value)| Field { value, origin: Origin::Policy(policy.field(field)) }))
    }

    /// On where some policy says true and none says false; with the field that decided, if any did.
    pub(crate) fn agreed(
        &self,
        field: &'static str,
        value: impl Fn(&CompiledPolicy) -> Option<bool>,
    ) -> (bool, Option<PolicyField>) {
        let mut on = None;
        for policy in self.iter() {
            match value(policy) {
                Some(false) => return (false, Some(policy.field(field))),
                Some(true) if on.is_none() => on = Some(policy.field(field)),
                Some(true) | None => {}
            }
        }
        (on.is_some(), on)
    }

    /// The first policy that asks for something.
    pub(crate) fn asked(&self, field: &'static str, value: impl Fn(&CompiledPolicy) -> bool) -> Option<PolicyField> {
        self.iter().find(|policy| value(policy)).map(|policy| policy.field(field))
    }

    /// The strictest bound: the greatest by `stricter`.
    pub(crate) fn strictest<T: Copy>(
        &self,
        field: impl Into<FieldPath>,
        value: impl Fn(&CompiledPolicy) -> Option<T>,
        stricter: impl Fn(T, T) -> bool,
    ) -> Option<(T, PolicyField)> {
        let mut found: Option<(T, &CompiledPolicy)> = None;
        for policy in self.iter() {
            if let Some(value) = value(policy)
                && found.is_none_or(|(strictest, _)| stricter(value, strictest))
            {
                found = Some((value, policy));
            }
        }
        found.map(|(value, policy)| (value, policy.field(field)))
    }
}

pub(crate) fn conflict(field: &'static str, first: &CompiledPolicy, second: &CompiledPolicy) -> Violation {
    Violation::new(
        Rule::PolicyConflict,
        field,
        format!(
            "policies {} and {} both have priority {} and give different values for {field}",
            first.name, second.name, first.priority
        ),
    )
    .decided_by([first.field(field), second.field(field)])
    .help("give one of them a higher priority, or the same value")
}
