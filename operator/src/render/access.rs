//! Accounts and rights: one ServiceAccount a controller, one a tenant, and bindings in single namespaces only.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluicegate_crds::Placement;

use super::{Account, Item, Site, names, output::Output, settings::Settings};
use crate::{
    flux::controllers::Controller,
    object::{Kind, Owner},
    rights::{self, rule},
};

const RBAC: &str = "rbac.authorization.k8s.io";

pub(super) fn render(settings: &Settings<'_>, items: &[Item<'_>], site: &Site, output: &mut Output<'_>) {
    let namespace = output.agent.namespace.clone();
    let controllers: Vec<&Controller> =
        settings.components.iter().map(|component| Controller::of(*component)).collect();
    for controller in &controllers {
        output.add(Kind::ServiceAccount, controller.name, &Owner::Agent, json!({}));
        let subjects = [account(&namespace, controller.name)];
        output.add(
            Kind::RoleBinding,
            controller.role(),
            &Owner::Agent,
            binding("ClusterRole", &controller.role(), &subjects),
        );
    }
    impersonation(settings, &controllers, output);
    copies(site, output);
    reconcilers(settings, items, output);
}

/// The controllers that apply act as reconcilers, and have no right of their own on what they apply.
fn impersonation(settings: &Settings<'_>, controllers: &[&Controller], output: &mut Output<'_>) {
    let role = match settings.placement {
        Placement::Namespace | Placement::Isolated => rights::IMPERSONATE,
        Placement::Pooled => rights::IMPERSONATE_POOL,
    };
    let subjects: Vec<Value> = controllers
        .iter()
        .filter(|controller| controller.impersonates)
        .map(|controller| account(&output.agent.namespace, controller.name))
        .collect();
    if !subjects.is_empty() {
        output.add(Kind::RoleBinding, role, &Owner::Agent, binding("ClusterRole", role, &subjects));
    }
}

/// Each controller reads the Secrets and ConfigMaps that its objects name, one by one.
fn copies(site: &Site, output: &mut Output<'_>) {
    let namespace = output.agent.namespace.clone();
    let reads = output.reads().clone();
    for (component, read) in &reads {
        let controller = Controller::of(*component);
        let rules: Vec<Value> = [Kind::Secret, Kind::ConfigMap]
            .into_iter()
            .filter_map(|kind| {
                let names: Vec<&String> =
                    read.iter().filter(|(found, _)| *found == kind).map(|(_, name)| name).collect();
                (!names.is_empty()).then(|| rule(kind.group(), &[kind.plural()], &["get"]).named(names).manifest())
            })
            .collect();
        let role = rights::copies_role(controller);
        output.add(Kind::Role, role.clone(), &Owner::Agent, json!({"rules": rules}));
        let subjects = [account(&namespace, controller.name)];
        output.add(Kind::RoleBinding, role.clone(), &Owner::Agent, binding("Role", &role, &subjects));
    }
    if !reads.is_empty() {
        // Nobody can give what he has not: without it the operator could write neither the copies nor the Roles.
        let subject = match &site.operator {
            Account::ServiceAccount { namespace, name } => account(namespace, name),
            Account::User(name) => json!({"apiGroup": RBAC, "kind": "User", "name": name}),
        };
        output.add(
            Kind::RoleBinding,
            rights::OPERATOR_SECRETS,
            &Owner::Agent,
            binding("ClusterRole", rights::OPERATOR_SECRETS, &[subject]),
        );
    }
}

/// The account that each tenant's objects are applied with, bound in each of the tenant's target namespaces.
fn reconcilers(settings: &Settings<'_>, items: &[Item<'_>], output: &mut Output<'_>) {
    let bound: BTreeSet<(&str, &str, &str)> = items
        .iter()
        .map(|item| (item.tenant(), item.target(), item.resolved.terms.standing.role.value.as_str()))
        .collect();
    for (tenant, target, role) in bound {
        let owner = Owner::Tenant(tenant.to_owned());
        let reconciler = names::reconciler(settings.placement, tenant);
        output.add(Kind::ServiceAccount, reconciler.clone(), &owner, json!({}));
        let subjects = [account(&output.agent.namespace, &reconciler)];
        let name = names::binding(output.agent, tenant, role);
        output.add_to(target, Kind::RoleBinding, name, &owner, binding("ClusterRole", role, &subjects));
    }
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
}

fn binding(kind: &str, role: &str, subjects: &[Value]) -> Value {
    json!({"roleRef": {"apiGroup": RBAC, "kind": kind, "name": role}, "subjects": subjects})
}
