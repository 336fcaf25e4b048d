//! The labels of a Namespace that say whose its workloads and its FluxConfigs are. Nothing else of a Namespace is judged.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;
use sluicegate_crds::{FluxConfig, HOME_LABEL, TENANT_LABEL};
use sluicegate_operator::{cluster::lean::Lean, tenancy};
use sluicegate_policy::{Namespace, grammar::TenantName, text};

use super::{Budget, impact, read, unreadable};
use crate::{
    review::{Answer, Operation, Request},
    snapshot::Snapshot,
};

/// The labels that name a tenant.
const LABELS: [&str; 2] = [TENANT_LABEL, HOME_LABEL];

/// The first of the labels that two objects have with different values.
fn changed(old: Option<&Namespace>, new: Option<&Namespace>) -> Option<&'static str> {
    let value = |namespace: Option<&Namespace>, label: &str| namespace?.labels.get(label).cloned();
    LABELS.into_iter().find(|label| value(old, label) != value(new, label))
}

/// Whoever comes here may not administer TenantGuards, and so may not say whose a namespace is.
pub(super) fn refuse(request: &Request<'_>) -> Answer {
    // A Namespace that goes takes its label along.
    if request.operation == Operation::Delete {
        return Answer::allowed();
    }
    let read = |object| read::<Value>(object).ok().map(|object| tenancy::namespace(&Lean::whole(object)));
    let (new, old) = (read(request.object.as_ref()), read(request.old_object.as_ref()));
    let changed = changed(old.as_ref(), new.as_ref());
    let Some(label) = changed.or_else(|| new.is_none().then_some(TENANT_LABEL)) else { return Answer::allowed() };
    Answer::denied(format!(
        "metadata.labels[{label}]: {} may not say which tenant a namespace belongs to\n  help: whoever may administer \
         TenantGuards may; ask an administrator of the platform",
        text::line(&request.user_info.username)
    ))
}

/// Whether the labels can name a tenant, and what their change cuts off.
pub(super) fn validate(request: &Request<'_>, snapshot: &Snapshot, budget: Budget) -> Answer {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Answer::allowed();
    }
    let object = match read::<Value>(request.object.as_ref()) {
        Ok(object) => object,
        Err(error) => return unreadable(&error),
    };
    let object = Lean::whole(object);
    let new = tenancy::namespace(&object);
    let old = read::<Value>(request.old_object.as_ref()).ok().map(|old| tenancy::namespace(&Lean::whole(old)));
    if changed(old.as_ref(), Some(&new)).is_none() {
        return Answer::allowed();
    }
    for label in LABELS {
        if let Some(Err(error)) = new.labels.get(label).map(TenantName::new) {
            return Answer::denied(format!(
                "metadata.labels[{label}]: this is no name for a tenant: {}\n  help: write the tenant's name, or remove the \
                 label: then the namespace's own name is the tenant's",
                error.reason()
            ));
        }
    }
    let mut answer = Answer::allowed();
    if let (Some((HOME_LABEL, home)), Some(tenant)) = (new.home_label(), new.tenant_label())
        && home != tenant
    {
        answer = answer.warn(format!(
            "metadata.labels: {HOME_LABEL} says that this is the home of tenant {home}, and {TENANT_LABEL} that tenant \
             {tenant} deploys here: a namespace is never both, and the home counts"
        ));
    }
    let name = match &*request.name {
        "" => object.text("name"),
        name => name,
    };
    let mut namespaces = snapshot.namespaces.clone();
    Arc::make_mut(&mut namespaces).insert(name.into(), new);
    let after = snapshot.over(namespaces, snapshot.clusters.clone());
    // Those that live in it, and those that deploy to it.
    let deploys: HashSet<(&str, &str)> =
        snapshot.facts.claiming_here(name).map(|(home, name)| (&**home, &**name)).collect();
    let concerned = |config: &FluxConfig| {
        let (home, of) = (config.metadata.namespace.as_deref(), config.metadata.name.as_deref());
        home == Some(name) || home.zip(of).is_some_and(|key| deploys.contains(&key))
    };
    match impact::cut_off(snapshot, &after, concerned, budget).warning() {
        Some(warning) => answer.warn(warning),
        None => answer,
    }
}
