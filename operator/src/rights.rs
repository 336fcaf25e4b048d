//! Who may do what: the fixed roles that are installed on every cluster, as data. `deploy/operator` is generated from it.
//!
//! All ClusterRoles but the operator's own are bound in single namespaces only. The operator can bind those that are named
//! here, and nobody can be given more than they say: it has no `escalate`, and `bind` by name only.

use serde_json::{Value, json};
use sluicegate_policy::guard;

use crate::{
    flux::{
        controllers::{CONTROLLERS, Controller},
        crds,
    },
    object::{Kind, MANAGED_BY_LABEL, MANAGER, Stage},
    reconcile::guests,
    render::RECONCILER,
};

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = sluicegate_crds::SYSTEM_NAMESPACE;
/// The ValidatingWebhookConfiguration that makes a webhook the guard of its cluster.
pub const WEBHOOK_CONFIGURATION: &str = "sluicegate-guard";
/// ServiceAccount, ClusterRole and Role of the operator.
pub const OPERATOR: &str = "sluicegate-operator";
/// ClusterRole with which the operator reads and writes copies, bound by itself where there are some.
pub const OPERATOR_SECRETS: &str = "sluicegate-operator-secrets";
/// ClusterRole with which the operator manages the CRDs of Flux, where an administrator binds it.
pub const FLUX_CRDS: &str = "sluicegate-operator-flux-crds";
/// ClusterRole of the controllers that impersonate the reconciler of an agent with one tenant.
pub const IMPERSONATE: &str = "sluicegate-impersonate";
/// ClusterRole of the controllers that impersonate the reconcilers of a pool.
pub const IMPERSONATE_POOL: &str = "sluicegate-impersonate-pool";
/// ClusterRole of reconcilers where no policy names another.
pub const TENANT: &str = "sluicegate-tenant";

const RBAC: &str = "rbac.authorization.k8s.io";
const OWN: &str = "sluicegate.dev";

/// A rule of a role: resources of one API group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: String,
    /// Resources, such as `deployments` or `leases/status`.
    pub resources: Vec<String>,
    /// Verbs.
    pub verbs: Vec<String>,
    /// Names of objects; empty: all.
    pub names: Vec<String>,
}

/// A rule for all objects of some resources.
pub fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Rule {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Rule { group: group.to_owned(), resources: owned(resources), verbs: owned(verbs), names: Vec::new() }
}

impl Rule {
    /// For the objects with these names only.
    pub fn named(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names = names.into_iter().map(Into::into).collect();
        self
    }

    /// For the subresource `status`.
    pub fn of_status(mut self) -> Self {
        self.resources.iter_mut().for_each(|resource| resource.push_str("/status"));
        self
    }

    /// As in a manifest.
    pub fn manifest(&self) -> Value {
        let mut rule = json!({"apiGroups": [self.group], "resources": self.resources, "verbs": self.verbs});
        if !self.names.is_empty() {
            rule["resourceNames"] = json!(self.names);
        }
        rule
    }
}

/// A role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// Its namespace; none: a ClusterRole.
    pub namespace: Option<&'static str>,
    /// What it is for, in one line.
    pub purpose: &'static str,
    /// What it allows.
    pub rules: Vec<Rule>,
}

impl Role {
    fn cluster(name: impl Into<String>, purpose: &'static str, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), namespace: None, purpose, rules }
    }

    /// As a manifest.
    pub fn manifest(&self) -> Value {
        let mut metadata = json!({
            "name": self.name,
            "labels": {MANAGED_BY_LABEL: MANAGER},
            "annotations": {"sluicegate.dev/purpose": self.purpose},
        });
        if let Some(namespace) = self.namespace {
            metadata["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": if self.namespace.is_some() { "Role" } else { "ClusterRole" },
            "metadata": metadata,
            "rules": self.rules.iter().map(Rule::manifest).collect::<Vec<_>>(),
        })
    }
}

/// The ClusterRoles that agents and tenants are given, one namespace at a time.
pub fn agent_roles() -> Vec<Role> {
    let mut roles: Vec<Role> = CONTROLLERS
        .iter()
        .map(|controller| {
            Role::cluster(controller.role(), "what the controller asks for in its namespace", controller.rules())
        })
        .collect();
    let impersonate = || rule("", &["serviceaccounts"], &["impersonate"]);
    roles.push(Role::cluster(
        IMPERSONATE,
        "the controllers of an agent with one tenant act as that tenant's reconciler",
        vec![impersonate().named([RECONCILER])],
    ));
    roles.push(Role::cluster(
        IMPERSONATE_POOL,
        "the controllers of a pool act as the reconciler that an object names, and only the operator writes objects there",
        vec![impersonate()],
    ));
    roles.push(tenant_role());
    roles.push(Role::cluster(
        OPERATOR_SECRETS,
        "the operator keeps the copies of Secrets and ConfigMaps in an agent's namespace",
        vec![rule("", &["configmaps", "secrets"], &["get", "list", "watch", "create", "patch", "delete"])],
    ));
    roles
}

/// What a team may deploy into its own namespaces: what applications are made of. No rights, no quotas, no Flux objects, no
/// kinds that it is not known to need.
fn tenant_role() -> Role {
    const ALL: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
    Role::cluster(
        TENANT,
        "what a team's reconciler may deploy into the team's namespaces",
        vec![
            rule("", &["configmaps", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"], &ALL),
            rule("apps", &["daemonsets", "deployments", "statefulsets"], &ALL),
            // Whether a Deployment is healthy is seen at its ReplicaSets; of Jobs and Pods it is seen at the events too.
            rule("apps", &["replicasets"], &["get", "list", "watch"]),
            rule("", &["events"], &["get", "list", "watch"]),
            rule("autoscaling", &["horizontalpodautoscalers"], &ALL),
            rule("batch", &["cronjobs", "jobs"], &ALL),
            rule("networking.k8s.io", &["ingresses", "networkpolicies"], &ALL),
            rule("policy", &["poddisruptionbudgets"], &ALL),
        ],
    )
}

/// Name of the Role with the copies that a controller reads, in an agent's namespace.
pub fn copies_role(controller: &Controller) -> String {
    format!("{}-copies", controller.role())
}

/// Roles that the operator may give to others: ClusterRoles, then Roles.
///
/// A `role` of a FluxPolicy that is none of them needs a ClusterRole with `bind` on it, which an administrator binds to the
/// operator.
pub fn bindable() -> (Vec<String>, Vec<String>) {
    let cluster = agent_roles().into_iter().map(|role| role.name).collect();
    (cluster, CONTROLLERS.iter().map(copies_role).collect())
}

/// Everything that the operator does with an object that it renders.
const RENDERED: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// The operator's rights on a cluster. The same on each, the management cluster included.
///
/// What it gives to controllers in Roles, `get` on single copies, it has itself by [`OPERATOR_SECRETS`] in that namespace.
pub fn operator_role() -> Role {
    let mut rules: Vec<Rule> = Vec::new();
    for kind in Kind::ALL.iter().filter(|kind| kind.stage() != Stage::Credential) {
        match rules.iter_mut().find(|rule| rule.group == kind.group()) {
            Some(rule) => rule.resources.push(kind.plural().to_owned()),
            None => rules.push(rule(kind.group(), &[kind.plural()], &RENDERED)),
        }
    }
    for (group, plural) in guests::kinds() {
        if !rules.iter().any(|rule| rule.group == group && rule.resources.iter().any(|resource| resource == plural)) {
            // Where an agent's namespace goes, what others have made for Flux in it goes before.
            rules.push(rule(group, &[plural], &["list", "delete"]));
        }
    }
    let (cluster_roles, roles) = bindable();
    rules.extend([
        rule(RBAC, &["clusterroles"], &["bind"]).named(cluster_roles),
        rule(RBAC, &["roles"], &["bind"]).named(roles),
        // What is wrong with a chart is said there; helm-controller makes them.
        rule(Kind::HelmRepository.group(), &["helmcharts"], &["list", "watch"]),
        // Whoever holds a controller's Lease is what reconciles: the health of an agent.
        rule("coordination.k8s.io", &["leases"], &["list"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        // The parameters of the guard; whoever may administer them may do what the guard keeps from everybody else.
        rule(OWN, &["tenantguards"], &["list", "watch", "create", "patch", "delete", guard::ADMINISTER]),
        // Whether the guard is in force.
        rule(
            "admissionregistration.k8s.io",
            &["validatingadmissionpolicybindings", "validatingwebhookconfigurations"],
            &["list"],
        ),
        // Where the API servers are: agents may reach them and little else.
        rule("", &["services"], &["get"]).named(["kubernetes"]),
        rule("discovery.k8s.io", &["endpointslices"], &["list"]),
    ]);
    Role::cluster(OPERATOR, "what the operator does on a cluster", rules)
}

/// The operator's rights on the kinds of its own, on the management cluster.
pub fn operator_management_role() -> Role {
    Role::cluster(
        format!("{OPERATOR}-management"),
        "what the operator does with FluxConfigs, FluxPolicies and FluxClusters",
        vec![
            // Patched: what completion fills in, and the finalizer. Deleted: at the end of its time to live.
            rule(OWN, &["fluxconfigs"], &["list", "watch", "patch", "delete"]),
            rule(OWN, &["fluxclusters", "fluxpolicies"], &["list", "watch"]),
            rule(OWN, &["fluxclusters/status", "fluxconfigs/status", "fluxpolicies/status"], &["patch"]),
        ],
    )
}

/// The operator's rights on the CRDs of Flux, for clusters whose FluxCluster says `crds: Managed`.
///
/// `create` with names allows what a server-side apply makes, whose request has the name in its path; a POST has none.
pub fn flux_crds_role() -> Role {
    let verbs = ["get", "create", "patch"];
    Role::cluster(
        FLUX_CRDS,
        "the operator installs the CRDs of Flux, and no others",
        vec![rule("apiextensions.k8s.io", &["customresourcedefinitions"], &verbs).named(crds::NAMES)],
    )
}

/// The operator's rights in its own namespace: the Secrets that administrators put there, and its Lease.
pub fn operator_namespace_role() -> Role {
    Role {
        name: OPERATOR.to_owned(),
        namespace: Some(OPERATOR_NAMESPACE),
        purpose: "the Secrets of the administrators, which the operator copies to agents, and the operator's Lease",
        rules: vec![
            rule("", &["secrets"], &["get", "list", "watch"]),
            rule("coordination.k8s.io", &["leases"], &["create"]),
            rule("coordination.k8s.io", &["leases"], &["get", "update"]).named([OPERATOR]),
        ],
    }
}

/// Binds a role to the operator's account.
fn binding(role: &Role) -> Value {
    let mut manifest = role.manifest();
    let kind = if role.namespace.is_some() { "Role" } else { "ClusterRole" };
    manifest["kind"] = json!(format!("{kind}Binding"));
    manifest["roleRef"] = json!({"apiGroup": RBAC, "kind": kind, "name": role.name});
    manifest["subjects"] = json!([{"kind": "ServiceAccount", "name": OPERATOR, "namespace": OPERATOR_NAMESPACE}]);
    if let Some(fields) = manifest.as_object_mut() {
        fields.remove("rules");
    }
    manifest
}

/// The generated files by name: a header, and the documents of each.
pub fn files() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let mut shared = agent_roles();
    shared.push(operator_role());
    let account = |kind: &str| {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {
            "name": OPERATOR, "namespace": OPERATOR_NAMESPACE, "labels": {MANAGED_BY_LABEL: MANAGER},
        }})
    };
    let (management, namespace) = (operator_management_role(), operator_namespace_role());
    vec![
        (
            "cluster-roles.yaml",
            "The roles that must exist on every cluster with agents. Only `sluicegate-operator` is bound cluster-wide.",
            shared.iter().map(Role::manifest).collect(),
        ),
        (
            "management-rbac.yaml",
            "The operator's account and rights on the management cluster, beside those in `cluster-roles.yaml`.",
            vec![
                account("ServiceAccount"),
                management.manifest(),
                namespace.manifest(),
                binding(&operator_role()),
                binding(&management),
                binding(&namespace),
            ],
        ),
    ]
}

/// The generated file of `deploy/flux-crds`: a header, and its documents.
pub fn flux_crds_file() -> (&'static str, &'static str, Vec<Value>) {
    let role = flux_crds_role();
    (
        "rbac.yaml",
        "For clusters whose FluxCluster says `crds: Managed`. On others than the management cluster the binding is to the user of the kubeconfig.",
        vec![role.manifest(), binding(&role)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::NOBODY;

    fn all() -> Vec<Role> {
        let mut roles = agent_roles();
        roles.extend([operator_role(), operator_management_role(), operator_namespace_role(), flux_crds_role()]);
        roles
    }

    #[test]
    fn nothing_is_allowed_by_a_wildcard_and_nobody_can_escalate() {
        for role in all() {
            for rule in &role.rules {
                let all = [&rule.resources, &rule.verbs, &rule.names].into_iter().flatten();
                assert!(all.clone().all(|text| !text.contains('*')) && rule.group != "*", "{}", role.name);
                assert!(
                    !rule.verbs.iter().any(|verb| verb == "escalate" || verb == "deletecollection"),
                    "{}",
                    role.name
                );
                if rule.verbs.iter().any(|verb| verb == "bind") {
                    assert!(!rule.names.is_empty(), "{} binds anything", role.name);
                }
            }
        }
    }

    #[test]
    fn only_the_operator_binds_and_only_controllers_impersonate() {
        for role in all() {
            let has = |verb: &str| role.rules.iter().any(|rule| rule.verbs.iter().any(|found| found == verb));
            assert_eq!(has("bind"), role.name == OPERATOR && role.namespace.is_none(), "{}", role.name);
            assert_eq!(has("impersonate"), [IMPERSONATE, IMPERSONATE_POOL].contains(&&*role.name), "{}", role.name);
        }
    }

    #[test]
    fn nobody_holds_rights_on_secrets_on_a_whole_cluster() {
        let bound_cluster_wide = [operator_role(), operator_management_role()];
        for rule in bound_cluster_wide.iter().flat_map(|role| &role.rules) {
            assert!(!rule.resources.iter().any(|resource| resource == "secrets" || resource == "configmaps"));
        }
    }

    #[test]
    fn what_flux_takes_for_an_object_without_an_account_has_no_rights() {
        let named = agent_roles().into_iter().flat_map(|role| role.rules).flat_map(|rule| rule.names);
        assert!(!named.collect::<Vec<_>>().contains(&NOBODY.to_owned()));
    }

    #[test]
    fn teams_cannot_give_rights_or_write_flux_objects() {
        for rule in tenant_role().rules {
            assert!(!rule.group.contains("toolkit") && rule.group != RBAC && rule.group != OWN, "{}", rule.group);
            assert!(!rule.resources.iter().any(|resource| resource.contains('/')), "{:?}", rule.resources);
        }
    }
}
