//! Second step: which FluxConfigs an agent serves, and how each of them is treated. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use sluicegate_crds::{DeletionPolicy, OnViolation};
use sluicegate_policy::Admitted;

use crate::{
    cluster::store::NamespaceState,
    object::{ConfigKey, Owner},
    plan::{Judgement, Planned},
    render::{AgentId, Pause},
};

/// One that is rendered.
#[derive(Clone, Debug)]
pub struct Served {
    /// The FluxConfig.
    pub planned: Arc<Planned>,
    /// As it is deployed.
    pub admitted: Arc<Admitted>,
    /// What of it is held back.
    pub pause: Pause,
}

/// Everybody whom an agent concerns.
#[derive(Clone, Debug, Default)]
pub struct Members {
    /// Those whose objects should be there.
    pub staying: Vec<Served>,
    /// Those whose objects go, as far as it is known what they are.
    pub leaving: Vec<Served>,
    /// Those whose objects are left as they are; `true`: but suspended.
    pub frozen: BTreeMap<ConfigKey, (String, bool)>,
    /// Those whose deployed objects outlive what deployed them.
    pub orphaned: BTreeSet<ConfigKey>,
    /// What is in the way.
    pub blocked: Vec<(Owner, String)>,
}

impl Members {
    /// Whether an object's fate waits for a FluxConfig that is left as it is.
    pub fn is_frozen(&self, owner: &Owner) -> bool {
        self.frozen
            .iter()
            .any(|(config, (tenant, _))| Owner::Config { tenant: tenant.clone(), config: config.clone() }.within(owner))
    }

    /// Sorts FluxConfigs by how they are treated.
    ///
    /// `planned` are those that the plan gives to this agent and those of which it has objects; `namespace` answers for the
    /// cluster's namespaces.
    pub fn sort(
        agent: &AgentId,
        planned: impl IntoIterator<Item = Arc<Planned>>,
        namespace: impl Fn(&str) -> Option<NamespaceState>,
    ) -> Self {
        let mut members = Self::default();
        let mut seen = HashSet::new();
        for planned in planned {
            if seen.insert(planned.key.clone()) {
                members.add(agent, planned, &namespace);
            }
        }
        members
    }

    fn add(&mut self, agent: &AgentId, planned: Arc<Planned>, namespace: &impl Fn(&str) -> Option<NamespaceState>) {
        let key = planned.key.clone();
        if planned.agent.as_ref().is_some_and(|other| other != agent) {
            // It is served elsewhere by now, where what runs is taken over.
            self.orphaned.insert(key);
            return;
        }
        if let Some(deletion) = planned.leaving {
            if deletion == DeletionPolicy::Orphan {
                self.orphaned.insert(key);
            }
            if let Some(admitted) = planned.judgement.known().cloned() {
                self.leaving.push(Served { planned, admitted, pause: Pause::Nothing });
            }
            return;
        }
        let tenant = |admitted: &Admitted| admitted.resolved().tenant.as_str().to_owned();
        let (admitted, suspended) = match &planned.judgement {
            Judgement::Refused { on_violation: OnViolation::Remove, last, .. } => {
                if let Some(admitted) = last.clone() {
                    self.leaving.push(Served { planned, admitted, pause: Pause::Nothing });
                }
                return;
            }
            Judgement::Admitted(admitted) => (admitted.clone(), false),
            Judgement::Refused { on_violation, last, .. } => {
                let suspend = *on_violation == OnViolation::Suspend;
                match last {
                    Some(last) => (last.clone(), suspend),
                    None => {
                        self.frozen.insert(key.clone(), (key.home.to_string(), suspend));
                        return;
                    }
                }
            }
            Judgement::Undetermined { last: Some(last), .. } => (last.clone(), false),
            Judgement::Undetermined { last: None, .. } => {
                self.frozen.insert(key.clone(), (key.home.to_string(), false));
                return;
            }
        };
        if !planned.is_prepared() {
            self.frozen.insert(key, (tenant(&admitted), false));
            return;
        }
        if let Err(why) = may_use(&admitted, agent, namespace) {
            let owner = Owner::Config { tenant: tenant(&admitted), config: key.clone() };
            self.blocked.push((owner, why));
            self.frozen.insert(key, (tenant(&admitted), false));
            return;
        }
        let pause = if suspended { Pause::Everything } else { Pause::Nothing };
        self.staying.push(Served { planned, admitted, pause });
    }
}

/// Whether the target namespace is this tenant's, or may become it.
fn may_use(
    admitted: &Admitted,
    agent: &AgentId,
    namespace: &impl Fn(&str) -> Option<NamespaceState>,
) -> Result<(), String> {
    let resolved = admitted.resolved();
    let name = resolved.namespace.value.as_str();
    let tenant = resolved.tenant.as_str();
    let may_create = resolved.terms.create_namespace.value;
    let label = sluicegate_crds::TENANT_LABEL;
    match namespace(name) {
        None if may_create => Ok(()),
        None => Err(format!(
            "namespace {name} does not exist on cluster {}, and policy does not let Sluicegate create it: an administrator creates it with the label {label}={tenant}, or sets createNamespace: true",
            agent.cluster
        )),
        Some(state) => match state.tenant.as_deref() {
            Some(owner) if owner == tenant => Ok(()),
            Some(owner) => Err(format!("namespace {name} on cluster {} belongs to tenant {owner}", agent.cluster)),
            None if may_create => Ok(()),
            None => Err(format!(
                "namespace {name} on cluster {} belongs to nobody, and policy does not let Sluicegate take it: an administrator labels it {label}={tenant}, or sets createNamespace: true",
                agent.cluster
            )),
        },
    }
}
