//! What policies alone decide about an admitted FluxConfig: switches, role, agent. And the conflicts among all defaults.

use std::sync::Arc;

use sluicegate_crds::{Agent, DeletionPolicy, FluxConfigSpec, OnViolation, Placement as AgentPlacement, SourceKind};

use crate::{
    compile::CompiledPolicy,
    delivery,
    rule::Rule,
    set::Selection,
    source::{self, Credentials},
    verdict::{AgentPlan, DecryptionPlan, Field, Origin, SecretSource, Standing, Violation},
};

/// ClusterRole of a reconciler when no policy names one; the chart installs it.
const ROLE: &str = "sluicegate-tenant";
/// Where the controllers' images come from when no policy says.
const IMAGE_REGISTRY: &str = "ghcr.io/fluxcd";

/// What the policies that apply decide: the switches that a FluxConfig may set, and the rest.
pub(crate) struct Effective {
    pub(crate) prune: Field<bool>,
    pub(crate) wait: Field<bool>,
    pub(crate) deletion: Field<DeletionPolicy>,
    pub(crate) standing: Arc<Standing>,
}

/// What policies say together before any FluxConfig is looked at; a conflict stands where they do not agree.
#[derive(Debug)]
pub(crate) struct Combined {
    prune: Result<Option<Field<bool>>, Violation>,
    wait: Result<Option<Field<bool>>, Violation>,
    deletion: Result<Option<Field<DeletionPolicy>>, Violation>,
    standing: Result<Arc<Standing>, Vec<Violation>>,
}

fn agent(policy: &CompiledPolicy) -> Option<&Agent> {
    policy.spec.agent.as_deref()
}

impl Combined {
    pub(crate) fn of(policies: &Selection<'_>) -> Self {
        Self {
            prune: policies.highest("spec.defaults.prune", |policy| policy.defaults()?.prune),
            wait: policies.highest("spec.defaults.wait", |policy| policy.defaults()?.wait),
            deletion: policies.highest("spec.defaults.deletion", |policy| policy.defaults()?.deletion),
            standing: standing(policies).map(Arc::new),
        }
    }
}

fn standing(policies: &Selection<'_>) -> Result<Standing, Vec<Violation>> {
    let mut conflicts = Vec::new();
    macro_rules! highest {
        ($field:literal, $value:expr) => {
            policies.highest($field, $value).unwrap_or_else(|conflict| {
                conflicts.push(conflict);
                None
            })
        };
    }
    let quota = highest!("spec.quota", |policy| Some(&policy.spec.quota).filter(|quota| !quota.is_empty()));
    let role = highest!("spec.role", |policy| policy.spec.role.as_deref());
    let on_violation = highest!("spec.onViolation", |policy| policy.spec.on_violation);
    let agent = AgentPlan {
        placement: highest!("spec.agent.placement", |policy| agent(policy)?.placement)
            .unwrap_or_else(|| Field::built_in(AgentPlacement::Isolated)),
        pools: highest!("spec.agent.pools", |policy| agent(policy)?.pools).unwrap_or_else(|| Field::built_in(1)),
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
        egress: highest!("spec.agent.egress", |policy| policy.egress.as_ref()).map(|field| field.map(Clone::clone)),
        sleep_after: highest!("spec.agent.sleepAfter", |policy| policy.durations.sleep_after),
    };
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let (remote_bases, _) =
        policies.agreed("spec.features.remoteBases", |policy| policy.spec.features.as_ref()?.remote_bases);
    Ok(Standing {
        remote_bases,
        quota: quota.map(|field| field.map(Clone::clone)),
        role: role.map_or_else(|| Field::built_in(ROLE.to_owned()), |field| field.map(str::to_owned)),
        on_violation: on_violation.unwrap_or_else(|| Field::built_in(OnViolation::Suspend)),
        agent,
    })
}

/// Combines with what the FluxConfig sets itself; the conflicts where that cannot be done.
pub(crate) fn combine(spec: Option<&FluxConfigSpec>, policies: &Selection<'_>) -> Result<Effective, Vec<Violation>> {
    let combined = policies.combined();
    let mut conflicts = Vec::new();
    // What the FluxConfig sets itself asks for no default, so policies need not agree on one.
    macro_rules! unless_set {
        ($set:ident) => {
            match (spec.and_then(|spec| spec.$set), &combined.$set) {
                (Some(set), _) => Some(Field::config(set)),
                (None, Ok(default)) => default.clone(),
                (None, Err(conflict)) => {
                    conflicts.push(conflict.clone());
                    None
                }
            }
        };
    }
    let prune = unless_set!(prune);
    let wait = unless_set!(wait);
    let deletion = unless_set!(deletion);
    match &combined.standing {
        Ok(standing) if conflicts.is_empty() => Ok(Effective {
            prune: prune.unwrap_or_else(|| Field::built_in(true)),
            wait: wait.unwrap_or_else(|| Field::built_in(false)),
            deletion: deletion.unwrap_or_else(|| Field::built_in(DeletionPolicy::Prune)),
            standing: Arc::clone(standing),
        }),
        Ok(_) => Err(conflicts),
        Err(more) => {
            conflicts.extend_from_slice(more);
            Err(conflicts)
        }
    }
}

/// Secrets of the platform that would have to be copied to the team's namespace, since its agent lives there, and may not.
pub(crate) fn exposed(
    effective: &Effective,
    credentials: Option<&Credentials<'_>>,
    decryption: Option<&Field<DecryptionPlan>>,
) -> impl Iterator<Item = Violation> {
    let placement = &effective.standing.agent.placement;
    let judge = move |field: &'static str, secret: &SecretSource, origin: &Origin, help: &'static str| {
        let SecretSource::Platform { name, expose: false } = secret else { return None };
        let decided = [origin, &placement.origin].into_iter().filter_map(|origin| match origin {
            Origin::Policy(field) => Some(field.clone()),
            Origin::FluxConfig | Origin::BuiltIn => None,
        });
        let message =
            format!("the agent lives in the team's namespace, where the team could read the platform's Secret {name}");
        Some(
            Violation::new(Rule::CredentialNotExposed, field, message)
                .decided_by(decided)
                .help(help)
                .help("or an administrator chooses agent.placement Isolated or Pooled"),
        )
    };
    let with_team = placement.value == AgentPlacement::Namespace;
    let credentials = credentials.filter(|_| with_team).and_then(|credentials| {
        let secret = credentials.secret();
        judge(
            "spec.source.url",
            &secret.value,
            &secret.origin,
            "an administrator sets expose: true for this credential",
        )
    });
    let decryption = decryption.filter(|_| with_team).and_then(|plan| {
        let help = "an administrator gives each team a key of its own, with ${tenant} in the Secret's name";
        judge("spec.decryption", &plan.value.keys, &plan.origin, help)
    });
    credentials.into_iter().chain(decryption)
}

/// All conflicts among the defaults of policies that apply together.
pub(crate) fn conflicts(policies: &Selection<'_>) -> Vec<Violation> {
    let mut conflicts = combine(None, policies).err().unwrap_or_default();
    conflicts.extend(delivery::conflicts(policies));
    let placement = [
        policies.highest("spec.defaults.cluster", |policy| policy.defaults()?.cluster.as_deref()).err(),
        policies.highest("spec.defaults.namespace", |policy| policy.defaults()?.namespace.as_deref()).err(),
    ];
    conflicts.extend(placement.into_iter().flatten());
    // As it is decided: a default for Git and one for OCI artifacts can stand side by side.
    for kind in [SourceKind::Git, SourceKind::Oci] {
        if let Err(conflict) = source::default_reference(policies, kind)
            && !conflicts.contains(&conflict)
        {
            conflicts.push(conflict);
        }
    }
    conflicts
}
