//! What policies alone decide about an admitted FluxConfig: switches, role, agent. And the conflicts among all defaults.

use sluicegate_crds::{Agent, DeletionPolicy, FluxConfigSpec, OnViolation, Placement as AgentPlacement};

use crate::{
    compile::CompiledPolicy,
    delivery,
    set::Selection,
    verdict::{AgentPlan, Field, Violation},
};

/// ClusterRole of a reconciler when no policy names one; the chart installs it.
const ROLE: &str = "sluicegate-tenant";
/// Where the controllers' images come from when no policy says.
const IMAGE_REGISTRY: &str = "ghcr.io/fluxcd";

/// What policies alone decide.
pub(crate) struct Effective {
    pub(crate) prune: Field<bool>,
    pub(crate) wait: Field<bool>,
    pub(crate) deletion: Field<DeletionPolicy>,
    pub(crate) remote_bases: bool,
    pub(crate) role: Field<String>,
    pub(crate) on_violation: Field<OnViolation>,
    pub(crate) agent: AgentPlan,
}

fn agent(policy: &CompiledPolicy) -> Option<&Agent> {
    policy.spec.agent.as_deref()
}

/// Combines with what the FluxConfig sets itself; the conflicts where that cannot be done.
pub(crate) fn combine(spec: Option<&FluxConfigSpec>, policies: &Selection<'_>) -> Result<Effective, Vec<Violation>> {
    let mut conflicts = Vec::new();
    macro_rules! highest {
        ($field:literal, $value:expr) => {
            policies.highest($field, $value).unwrap_or_else(|conflict| {
                conflicts.push(conflict);
                None
            })
        };
    }
    let prune = highest!("spec.defaults.prune", |policy| policy.defaults()?.prune);
    let wait = highest!("spec.defaults.wait", |policy| policy.defaults()?.wait);
    let deletion = highest!("spec.defaults.deletion", |policy| policy.defaults()?.deletion);
    let role = highest!("spec.role", |policy| policy.spec.role.as_deref());
    let on_violation = highest!("spec.onViolation", |policy| policy.spec.on_violation);
    let plan = AgentPlan {
        placement: highest!("spec.agent.placement", |policy| agent(policy)?.placement)
            .unwrap_or_else(|| Field::built_in(AgentPlacement::Isolated)),
        version: highest!("spec.agent.version", |policy| agent(policy)?.version.as_deref())
            .map(|field| field.map(str::to_owned)),
        components: highest!("spec.agent.components", |policy| agent(policy)?.components.as_ref())
            .map(|field| field.map(Clone::clone)),
        resources: highest!("spec.agent.resources", |policy| agent(policy)?.resources.as_ref())
            .map(|field| field.map(Clone::clone)),
        image_registry: highest!("spec.agent.imageRegistry", |policy| agent(policy)?.image_registry.as_deref())
            .map_or_else(|| Field::built_in(IMAGE_REGISTRY.to_owned()), |field| field.map(str::to_owned)),
        concurrency: highest!("spec.agent.concurrency", |policy| agent(policy)?.concurrency),
        scheduling: highest!("spec.agent.scheduling", |policy| agent(policy)?.scheduling.as_ref())
            .map(|field| field.map(Clone::clone)),
        sleep_after: highest!("spec.agent.sleepAfter", |policy| policy.durations.sleep_after),
    };
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let (remote_bases, _) =
        policies.agreed("spec.features.remoteBases", |policy| policy.spec.features.as_ref()?.remote_bases);
    Ok(Effective {
        prune: spec.and_then(|spec| spec.prune).map(Field::config).or(prune).unwrap_or_else(|| Field::built_in(true)),
        wait: spec.and_then(|spec| spec.wait).map(Field::config).or(wait).unwrap_or_else(|| Field::built_in(false)),
        deletion: spec
            .and_then(|spec| spec.deletion)
            .map(Field::config)
            .or(deletion)
            .unwrap_or_else(|| Field::built_in(DeletionPolicy::Prune)),
        remote_bases,
        role: role.map_or_else(|| Field::built_in(ROLE.to_owned()), |field| field.map(str::to_owned)),
        on_violation: on_violation.unwrap_or_else(|| Field::built_in(OnViolation::Suspend)),
        agent: plan,
    })
}

/// All conflicts among the defaults of policies that apply together.
pub(crate) fn conflicts(policies: &Selection<'_>) -> Vec<Violation> {
    let mut conflicts = combine(None, policies).err().unwrap_or_default();
    conflicts.extend(delivery::conflicts(policies));
    let placement = [
        policies.highest("spec.defaults.cluster", |policy| policy.defaults()?.cluster.as_deref()).err(),
        policies.highest("spec.defaults.namespace", |policy| policy.defaults()?.namespace.as_deref()).err(),
        policies.highest("spec.defaults.ref", |policy| policy.defaults()?.reference.as_ref()).err(),
    ];
    conflicts.extend(placement.into_iter().flatten());
    conflicts
}
