//! Whether an object is where Sluicegate would have put it. Labels can be written by everybody who may write the object, so they
//! alone do not make it Sluicegate's: an object counts only in a namespace that is the agent's or the tenant's, by the labels that
//! only administrators and the operator write on Namespaces, and only if it is of a kind that is rendered for its owner. Pure.

use super::store::NamespaceState;
use crate::{
    object::{Key, Kind, Owner},
    render,
};

/// Whether an object that carries these labels is Sluicegate's. `namespace` answers for the namespaces of the cluster.
pub fn is_rightful<'n>(
    key: &Key,
    owner: &Owner,
    agent: &str,
    namespace: impl Fn(&str) -> Option<&'n NamespaceState>,
) -> bool {
    if !is_rendered_for(key.kind, owner) {
        return false;
    }
    let of_agent = || namespace(agent).is_some_and(|state| is_agents(agent, state, owner));
    match (key.kind, owner) {
        (Kind::Namespace, Owner::Agent) => key.name == agent && render::may_serve(agent, None),
        // Its labels say whose target it is: the tenant's label is the owner that was read of them.
        (Kind::Namespace, Owner::Tenant(tenant)) => {
            render::may_serve(agent, Some(tenant)) || (key.name == agent && of_agent())
        }
        (Kind::Namespace, Owner::Config { .. }) => false,
        // What a tenant has in its targets: they need not be beside the agent.
        (Kind::RoleBinding | Kind::ResourceQuota, Owner::Tenant(tenant)) => {
            let of_tenant = namespace(&key.namespace).is_some_and(|state| state.is_of(tenant));
            of_tenant && (render::may_serve(agent, Some(tenant)) || (key.namespace == agent && of_agent()))
        }
        _ => key.namespace == agent && of_agent(),
    }
}

/// Whether a namespace is an agent's that serves this owner.
fn is_agents(agent: &str, state: &NamespaceState, owner: &Owner) -> bool {
    let tenant = match owner {
        Owner::Agent => None,
        Owner::Tenant(tenant) | Owner::Config { tenant, .. } => Some(tenant.as_str()),
    };
    // Of an agent by itself; one that is the operator's own making stays one whatever becomes of its labels.
    let by_itself = (state.agent.as_deref() == Some(agent) || state.created) && render::may_serve(agent, tenant);
    // Of an agent in the tenant's own namespace.
    let beside_the_team = match tenant {
        Some(tenant) => state.is_of(tenant),
        None => state.is_of_any(),
    };
    by_itself || beside_the_team
}

/// Whether objects of a kind are rendered for such an owner.
fn is_rendered_for(kind: Kind, owner: &Owner) -> bool {
    match kind {
        Kind::Namespace | Kind::ServiceAccount | Kind::RoleBinding => !matches!(owner, Owner::Config { .. }),
        Kind::Role | Kind::NetworkPolicy | Kind::Service | Kind::Deployment => *owner == Owner::Agent,
        Kind::ResourceQuota => matches!(owner, Owner::Tenant(_)),
        Kind::Secret => !matches!(owner, Owner::Tenant(_)),
        Kind::ConfigMap
        | Kind::GitRepository
        | Kind::OciRepository
        | Kind::HelmRepository
        | Kind::Bucket
        | Kind::Kustomization
        | Kind::HelmRelease => matches!(owner, Owner::Config { .. }),
    }
}

#[cfg(test)]
mod tests;
