//! The label of a Namespace that names its tenant. Nothing else of a Namespace is judged.

use std::sync::Arc;

use serde::Deserialize;
use sluicegate_crds::{FluxConfig, TENANT_LABEL};
use sluicegate_policy::{grammar::TenantName, text};

use super::{Budget, Labelled, impact, read, unreadable};
use crate::{
    review::{Answer, Operation, Request},
    snapshot::Snapshot,
};

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(default)]
    metadata: Labelled,
}

impl Namespace {
    fn tenant(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(TENANT_LABEL).map(String::as_str)
    }
}

/// Whoever comes here may not administer TenantGuards, and so may not say whose a namespace is.
pub(super) fn refuse(request: &Request<'_>) -> Answer {
    let new = read::<Namespace>(request.object.as_ref()).ok();
    let old = read::<Namespace>(request.old_object.as_ref()).ok();
    let tenant = |namespace: &Option<Namespace>| namespace.as_ref()?.tenant().map(str::to_owned);
    // A Namespace that goes takes its label along.
    if request.operation == Operation::Delete || (new.is_some() && tenant(&new) == tenant(&old)) {
        return Answer::allowed();
    }
    Answer::denied(format!(
        "metadata.labels[{TENANT_LABEL}]: {} may not say which tenant a namespace belongs to\n  help: whoever may \
         administer TenantGuards may; ask an administrator of the platform",
        text::line(&request.user_info.username)
    ))
}

/// Whether the label can name a tenant, and what its change cuts off.
pub(super) fn validate(request: &Request<'_>, snapshot: &Snapshot, budget: Budget) -> Answer {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Answer::allowed();
    }
    let new = match read::<Namespace>(request.object.as_ref()) {
        Ok(new) => new,
        Err(error) => return unreadable(&error),
    };
    let old = read::<Namespace>(request.old_object.as_ref()).ok();
    if old.as_ref().is_some_and(|old| old.tenant() == new.tenant()) {
        return Answer::allowed();
    }
    if let Some(Err(error)) = new.tenant().map(TenantName::new) {
        return Answer::denied(format!(
            "metadata.labels[{TENANT_LABEL}]: this is no name for a tenant: {}\n  help: write the tenant's name, or remove the \
             label: then the namespace's own name is the tenant's",
            error.reason()
        ));
    }
    let name = if request.name.is_empty() { new.metadata.name } else { request.name.to_string() };
    let mut namespaces = snapshot.namespaces.clone();
    Arc::make_mut(&mut namespaces).insert(name.as_str().into(), new.metadata.labels.unwrap_or_default().into());
    let after = snapshot.over(namespaces, snapshot.clusters.clone());
    let here = |config: &FluxConfig| config.metadata.namespace.as_deref() == Some(&name);
    match impact::cut_off(snapshot, &after, here, budget).warning() {
        Some(warning) => Answer::allowed().warn(warning),
        None => Answer::allowed(),
    }
}
