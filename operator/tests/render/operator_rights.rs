//! The operator has the rights that it needs for what is rendered, and no others.

use std::collections::BTreeSet;

use serde_json::Value;
use sluicegate_operator::{
    object::{Kind, Stage},
    rights::{self, Rule},
};

use crate::laws::all;

/// A right: group, resource, verb, and the name where it is for one object only.
type Right = (String, String, String, Option<String>);

fn rights_of(rules: &[Rule]) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    for rule in rules {
        let names: Vec<Option<String>> =
            if rule.names.is_empty() { vec![None] } else { rule.names.iter().cloned().map(Some).collect() };
        for resource in &rule.resources {
            for verb in &rule.verbs {
                for name in &names {
                    all.insert((rule.group.clone(), resource.clone(), verb.clone(), name.clone()));
                }
            }
        }
    }
    all
}

fn right(group: &str, resource: &str, verb: &str, name: Option<&str>) -> Right {
    (group.to_owned(), resource.to_owned(), verb.to_owned(), name.map(str::to_owned))
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// What everything that is rendered asks of the operator: to see whose it is and that it stays, to apply it, to remove it, and to give what a binding
/// gives.
fn needed(copies: bool) -> BTreeSet<Right> {
    let mut needed = BTreeSet::new();
    for rendered in all().into_values() {
        let objects = rendered.objects.iter().chain(rendered.copies.iter().map(|copy| &copy.object));
        for object in objects {
            let kind = object.key.kind;
            if (kind.stage() == Stage::Credential) == copies {
                for verb in ["get", "list", "watch", "create", "patch", "delete"] {
                    needed.insert(right(kind.group(), kind.plural(), verb, None));
                }
            }
            if kind == Kind::RoleBinding && !copies {
                let role = &object.manifest["roleRef"];
                let resource = if role["kind"] == "Role" { "roles" } else { "clusterroles" };
                needed.insert(right(RBAC, resource, "bind", role["name"].as_str()));
            }
            if kind == Kind::Role && copies {
                // Nobody can give in a Role what he has not.
                for rule in object.manifest["rules"].as_array().unwrap() {
                    for resource in rule["resources"].as_array().unwrap() {
                        for verb in rule["verbs"].as_array().unwrap().iter().map(Value::as_str) {
                            needed.insert(right("", resource.as_str().unwrap(), verb.unwrap(), None));
                        }
                    }
                }
            }
        }
    }
    needed
}

/// What the operator does beside applying what is rendered.
fn beside() -> BTreeSet<Right> {
    [
        // Whether an agent is alive.
        right("coordination.k8s.io", "leases", "list", None),
        // What is wrong with a chart.
        right("source.toolkit.fluxcd.io", "helmcharts", "list", None),
        right("source.toolkit.fluxcd.io", "helmcharts", "watch", None),
        // What people are told.
        right("events.k8s.io", "events", "create", None),
        right("events.k8s.io", "events", "patch", None),
        // Where agents reach the API servers.
        right("", "services", "get", Some("kubernetes")),
        right("discovery.k8s.io", "endpointslices", "list", None),
        // Whether the guard is in force.
        right("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "list", None),
        right("admissionregistration.k8s.io", "validatingwebhookconfigurations", "list", None),
    ]
    .into_iter()
    // What the guard knows, and to be let through by it.
    .chain(
        ["list", "watch", "create", "patch", "delete", "administer"]
            .map(|verb| right("sluicegate.dev", "tenantguards", verb, None)),
    )
    .chain(guests())
    .collect()
}

/// Kinds of Flux that are not rendered and may be in an agent's namespace when that goes.
fn guests() -> impl Iterator<Item = Right> {
    let kinds = [
        ("source", "helmcharts"),
        ("image", "imagepolicies"),
        ("image", "imagerepositories"),
        ("image", "imageupdateautomations"),
        ("notification", "alerts"),
        ("notification", "providers"),
        ("notification", "receivers"),
    ];
    kinds.into_iter().flat_map(|(group, plural)| {
        ["list", "delete"].map(|verb| right(&format!("{group}.toolkit.fluxcd.io"), plural, verb, None))
    })
}

/// Roles of controllers that no member of these tests needs, but a policy can list.
fn listed_only() -> BTreeSet<Right> {
    let mut listed = BTreeSet::from([right(RBAC, "clusterroles", "bind", Some("sluicegate-source-watcher"))]);
    // Which of them read copies depends on what their objects name.
    for controller in
        ["notification-controller", "image-reflector-controller", "image-automation-controller", "source-watcher"]
    {
        listed.insert(right(RBAC, "roles", "bind", Some(&format!("sluicegate-{controller}-copies"))));
    }
    listed
}

#[test]
fn the_operator_has_the_rights_that_it_needs_and_no_others() {
    let has = rights_of(&rights::operator_role().rules);
    let needs: BTreeSet<Right> = needed(false).into_iter().chain(beside()).chain(listed_only()).collect();
    assert_eq!(needs.difference(&has).collect::<Vec<_>>(), Vec::<&Right>::new(), "it needs these and has them not");
    assert_eq!(has.difference(&needs).collect::<Vec<_>>(), Vec::<&Right>::new(), "it has these and nothing needs them");
}

#[test]
fn the_operator_can_keep_copies_and_let_controllers_read_them() {
    let role = rights::agent_roles().into_iter().find(|role| role.name == rights::OPERATOR_SECRETS).unwrap();
    assert_eq!(rights_of(&role.rules), needed(true));
}

#[test]
fn controllers_impersonate_the_reconciler_of_their_tenant_only() {
    let mut bound = BTreeSet::new();
    for (agent, rendered) in all() {
        for object in rendered.objects.iter().filter(|object| object.key.kind == Kind::RoleBinding) {
            let role = object.manifest["roleRef"]["name"].as_str().unwrap();
            if role.starts_with(rights::IMPERSONATE) {
                assert_eq!(role == rights::IMPERSONATE_POOL, agent.namespace.starts_with("sluicegate--pool-"));
                bound.insert(role.to_owned());
            }
        }
    }
    assert_eq!(bound.len(), 2);
}
