//! Namespaces of agents and targets, and the quotas of targets.

use std::collections::BTreeMap;

use serde_json::json;
use sluicegate_crds::Placement;

use super::{
    Item, RenderError,
    output::Output,
    settings::{Settings, place, quantities},
    workloads::canonical,
};
use crate::object::{Kind, Owner};

/// Name of the ResourceQuota in a target namespace.
const QUOTA: &str = "sluicegate";

/// # Errors
/// A quantity of a quota is none.
pub(super) fn render(settings: &Settings<'_>, items: &[Item<'_>], output: &mut Output<'_>) -> Result<(), RenderError> {
    if settings.placement != Placement::Namespace {
        let labels = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }}});
        output.add_to("", Kind::Namespace, output.agent.namespace.clone(), &Owner::Agent, labels);
    }
    let created: BTreeMap<&str, &str> = items
        .iter()
        .filter(|item| item.resolved.terms.create_namespace.value || item.resolved.terms.own_home)
        // Also one that FluxConfigs live in: it is not removed, but without its tenant's label nothing guards it.
        .map(|item| (item.target(), item.tenant()))
        .collect();
    for (target, tenant) in created {
        output.add_to("", Kind::Namespace, target, &Owner::Tenant(tenant.to_owned()), json!({}));
    }
    for item in items {
        if let Some(quota) = &item.resolved.terms.standing.quota {
            let hard = quantities(&place("quota", &quota.origin), &quota.value)?;
            let owner = Owner::Tenant(item.tenant().to_owned());
            output.add_to(
                item.target(),
                Kind::ResourceQuota,
                QUOTA,
                &owner,
                json!({"spec": {"hard": canonical(&hard)}}),
            );
        }
    }
    Ok(())
}
