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
    /// `planned` are those that the plan gives to this agent and those of which it has objects; `here`: the cluster is
    /// the management cluster; `namespace` answers for its namespaces.
    pub fn sort(
        agent: &AgentId,
        planned: impl IntoIterator<Item = Arc<Planned>>,
        here: bool,
        namespace: impl Fn(&str) -> Option<NamespaceState>,
    ) -> Self {
        let mut members = Self::default();
        let mut seen = HashSet::new();
        for planned in planned {
            if seen.insert(planned.key.clone()) {
                members.add(agent, planned, here, &namespace);
            }
        }
        members
    }

    fn add(
        &mut self,
        agent: &AgentId,
        planned: Arc<Planned>,
        here: bool,
        namespace: &impl Fn(&str) -> Option<NamespaceState>,
    ) {
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
        if let Err(why) = may_use(&admitted, agent, here, namespace) {
            let owner = Owner::Config { tenant: tenant(&admitted), config: key.clone() };
            self.blocked.push((owner, why));
            self.frozen.insert(key, (tenant(&admitted), false));
            return;
        }
        let pause = if suspended { Pause::Everything } else { Pause::Nothing };
        self.staying.push(Served { planned, admitted, pause });
    }
}

/// What has to be known of a tenant that wants a namespace on a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'w> {
    /// The tenant.
    pub tenant: &'w str,
    /// The cluster's id.
    pub cluster: &'w str,
    /// The namespace.
    pub namespace: &'w str,
    /// Whether FluxConfigs of the tenant live in it.
    pub at_home: bool,
    /// Whether it is on the management cluster.
    pub here: bool,
}

impl Wish<'_> {
    /// Whether a namespace that exists is the tenant's, or may become it. One that Sluicegate did not make is taken only where
    /// an administrator's label says so, or where it is the tenant's own home: what is in any other one is its maker's.
    pub fn granted(&self, state: &NamespaceState) -> Result<(), String> {
        let Self { tenant, cluster, namespace, at_home, here } = *self;
        let home = state.home.as_deref().filter(|_| here);
        let label = sluicegate_crds::TENANT_LABEL;
        match (home, state.tenant.as_deref()) {
            (Some(home), _) if home != tenant => {
                Err(format!("namespace {namespace} on cluster {cluster} is the home of tenant {home}"))
            }
            (_, Some(owner)) if owner == tenant => Ok(()),
            (_, Some(owner)) => Err(format!(
                "namespace {namespace} on cluster {cluster} belongs to tenant {owner}: its label is {label}={owner}"
            )),
            (Some(_), None) => Ok(()),
            // Of one that Sluicegate made somebody has taken the label away.
            (None, None) if state.created || (here && at_home) => Ok(()),
            (None, None) => Err(format!(
                "namespace {namespace} on cluster {cluster} exists, and Sluicegate did not make it; an administrator who knows what is in it gives it to the tenant: kubectl label namespace {namespace} {label}={tenant}"
            )),
        }
    }
}

/// Whether the target namespace is this tenant's, or may become it.
fn may_use(
    admitted: &Admitted,
    agent: &AgentId,
    here: bool,
    namespace: &impl Fn(&str) -> Option<NamespaceState>,
) -> Result<(), String> {
    let resolved = admitted.resolved();
    let name = resolved.namespace.value.as_str();
    let tenant = resolved.tenant.as_str();
    match namespace(name) {
        None if resolved.terms.create_namespace.value => Ok(()),
        None => Err(format!(
            "namespace {name} does not exist on cluster {}, and policy does not let Sluicegate create it: an administrator creates it with the label {label}={tenant}, or sets createNamespace: true",
            agent.cluster,
            label = sluicegate_crds::TENANT_LABEL,
        )),
        Some(state) => {
            let at_home = *resolved.home == *name;
            Wish { tenant, cluster: &agent.cluster, namespace: name, at_home, here }.granted(&state)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_exists_is_taken_with_a_label_or_as_the_tenant_s_own_home() {
        let labels = [None, Some("shop"), Some("pay")];
        let mut granted = 0;
        for (home, tenant) in labels.into_iter().flat_map(|home| labels.map(|tenant| (home, tenant))) {
            for flags in 0..8 {
                let (here, at_home, created) = (flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
                let state = NamespaceState {
                    home: home.map(Into::into),
                    tenant: tenant.map(Into::into),
                    created,
                    ..NamespaceState::default()
                };
                let wish = Wish { tenant: "shop", cluster: "prod", namespace: "x", at_home, here };
                // On other clusters there are no homes.
                let home = home.filter(|_| here);
                let expected = match (home, tenant) {
                    (Some("pay"), _) | (_, Some("pay")) => false,
                    (_, Some(_)) | (Some(_), None) => true,
                    (None, None) => created || (here && at_home),
                };
                let answer = wish.granted(&state);
                assert_eq!(answer.is_ok(), expected, "{wish:?} {state:?}: {answer:?}");
                granted += usize::from(expected);
                if (home, tenant) == (None, None) && !expected {
                    let why = answer.unwrap_err();
                    assert!(why.contains("kubectl label namespace x sluicegate.dev/tenant=shop"), "{why}");
                }
            }
        }
        assert!(granted > 5, "{granted}");
    }
}
