//! Which policies a FluxConfig is judged by, whatever the verdict is: for digests, counts, and what becomes of one that is
//! refused.

use std::sync::Arc;

use sluicegate_crds::{FluxConfig, OnViolation};

use crate::{
    facts::{Facts, LabelsOf},
    placement::Placer,
    set::{PolicySet, Selection},
};

/// The policies that judge a FluxConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Concern {
    /// Their names, by descending priority; those with errors last.
    pub policies: Vec<Arc<str>>,
    /// What happens to one that had been admitted and is refused now. Suspend where policies do not say, or do not agree.
    pub on_violation: OnViolation,
}

/// Finds the policies that judge a FluxConfig: those that apply where it goes, or, where that cannot be said, all that select
/// its tenant.
pub fn concern(config: &FluxConfig, policies: &PolicySet, facts: &Facts) -> Concern {
    let home = config.metadata.namespace.as_deref().unwrap_or_default();
    let Some(tenant) = facts.tenant(home) else { return Concern::default() };
    let labels = facts.labels(home);
    let broken = policies.invalid_for(&tenant, labels);
    let selection = match Placer::new(policies, facts).place(config).placement {
        Ok(place) => Some(place.policies),
        Err(_) => policies.select(&tenant, labels).ok().map(|selection| {
            let cluster = config.spec.cluster.as_deref().and_then(|id| facts.clusters().get_key_value(id));
            match cluster {
                Some((id, cluster)) => selection.on(id, LabelsOf::Known(&cluster.labels)),
                None => selection,
            }
        }),
    };
    let on_violation = |selection: &Selection<'_>| {
        let found = selection.highest("spec.onViolation", |policy| policy.spec.on_violation).ok().flatten();
        found.map(|field| field.value)
    };
    Concern {
        on_violation: selection.as_ref().and_then(on_violation).unwrap_or_default(),
        policies: selection.iter().flat_map(Selection::iter).map(|policy| policy.name.clone()).chain(broken).collect(),
    }
}
