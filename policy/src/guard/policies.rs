//! The ValidatingAdmissionPolicies and their bindings, as manifests. `deploy/guard` is generated from here.
//!
//! Two families. What depends on policies takes the TenantGuard of the request's namespace as its parameter, and refuses where
//! there is none. What does not (who may touch what Sluicegate owns) has no parameter, so that it holds in the seconds after a
//! start of the API server in which parameters cannot be found, and in namespaces that are on their way out.
//!
//! All fail closed, and none selects `kube-system` or Sluicegate's own namespace, whatever labels somebody gives to them: a
//! cluster must always be able to start itself and its guard.

use serde_json::{Value, json};
use sluicegate_crds::{
    AGENT_LABEL, AGENT_PODS, CONFIG_LABEL, CREATED_ANNOTATION, GROUP, HOME_LABEL, MANAGED_BY_LABEL, MANAGER,
    PART_OF_LABEL, SYSTEM_NAMESPACE, TENANT_GUARD, TENANT_LABEL, VERSION,
};

use super::cel::{self, text, texts};
use super::evaluator::{AGENT_ACCOUNT, AGENT_OWN, AGENT_POD, KUBERNETES_GROUPS, KUBERNETES_USERS, unlabelled};
use super::{flux_fields, network};
use crate::rule::Rule;
use crate::source::{NO_DIGEST, NO_SIGNATURE};

/// Verb on `tenantguards.sluicegate.dev`, on the whole cluster, of those who may do what the guard keeps from everybody else: the
/// operator has it, and whoever has every right on the cluster.
pub const ADMINISTER: &str = "administer";

/// The controllers of an agent: names of their ServiceAccounts, Deployments and Services' pods.
pub const CONTROLLERS: [&str; 7] = [
    "source-controller",
    "source-watcher",
    "kustomize-controller",
    "helm-controller",
    "notification-controller",
    "image-reflector-controller",
    "image-automation-controller",
];

/// The controller that makes HelmCharts from HelmReleases.
pub(super) const HELM_CONTROLLER: &str = "helm-controller";

/// API groups of Flux.
pub(super) const FLUX_GROUPS: [&str; 6] = [
    "source.toolkit.fluxcd.io",
    "source.extensions.fluxcd.io",
    "kustomize.toolkit.fluxcd.io",
    "helm.toolkit.fluxcd.io",
    "notification.toolkit.fluxcd.io",
    "image.toolkit.fluxcd.io",
];

/// Namespaces that no policy ever selects, whatever labels they have: a cluster must be able to start itself.
pub const EXEMPT: [&str; 4] = ["kube-node-lease", "kube-public", "kube-system", SYSTEM_NAMESPACE];

/// A generated file: its name, what it is for, and its documents.
#[derive(Clone, Debug)]
pub struct Document {
    /// Name of the file.
    pub file: String,
    /// What it is for, in one line.
    pub purpose: &'static str,
    /// The policy, then its bindings.
    pub manifests: Vec<Value>,
}

/// All of them.
pub fn manifests() -> Vec<Document> {
    policies().into_iter().map(Policy::document).collect()
}

/// All of them, in the making.
pub(super) fn policies() -> [Policy; 9] {
    [
        images(),
        flux(),
        network_policies(),
        access(),
        objects(),
        flux_status(),
        agent_namespaces(),
        namespaces(),
        guards(),
    ]
}

/// Whose namespaces a policy is for.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Tenants,
    Agents,
}

impl Of {
    pub(super) fn selector(self) -> Value {
        let key = |key: &str, operator: &str| json!({"key": key, "operator": operator});
        let exempt = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": EXEMPT});
        let requirements = match self {
            Of::Tenants => vec![key(TENANT_LABEL, "Exists"), exempt],
            Of::Agents => vec![key(AGENT_LABEL, "Exists"), key(TENANT_LABEL, "DoesNotExist"), exempt],
        };
        json!({"matchExpressions": requirements})
    }
}

/// A policy in the making.
pub(super) struct Policy {
    pub(super) name: &'static str,
    pub(super) purpose: &'static str,
    pub(super) parameter: bool,
    /// Whom it is for; empty: every namespace, and what has none.
    pub(super) of: &'static [Of],
    pub(super) resources: Vec<Value>,
    pub(super) conditions: Vec<Value>,
    variables: Vec<Value>,
    pub(super) validations: Vec<Value>,
}

impl Policy {
    fn document(self) -> Document {
        let name = format!("sluicegate-{}", self.name);
        let metadata = |name: &str| json!({"name": name, "labels": {MANAGED_BY_LABEL: MANAGER}, "annotations": {"sluicegate.dev/purpose": self.purpose}});
        let mut constraints = json!({"matchPolicy": "Equivalent", "resourceRules": self.resources});
        // In the policy too: what goes wrong before a binding's selector is looked at is refused everywhere.
        if let [of] = self.of {
            constraints["namespaceSelector"] = of.selector();
        }
        let mut spec = json!({
            "failurePolicy": "Fail",
            "matchConstraints": constraints,
            "validations": self.validations,
        });
        for (field, list) in [("matchConditions", self.conditions), ("variables", self.variables)] {
            if !list.is_empty() {
                spec[field] = json!(list);
            }
        }
        if self.parameter {
            spec["paramKind"] = json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": "TenantGuard"});
        }
        let api = "admissionregistration.k8s.io/v1";
        let policy =
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": metadata(&name), "spec": spec});
        let binding = |of: Option<Of>| {
            let suffix = match (self.of, of) {
                ([_, _], Some(Of::Agents)) => "-agents",
                _ => "",
            };
            let mut spec = json!({"policyName": name, "validationActions": ["Deny"]});
            if let Some(of) = of {
                spec["matchResources"] = json!({"namespaceSelector": of.selector()});
            }
            if self.parameter {
                spec["paramRef"] = json!({"name": TENANT_GUARD, "parameterNotFoundAction": "Deny"});
            }
            let name = format!("{name}{suffix}");
            json!({"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": metadata(&name), "spec": spec})
        };
        let mut manifests = vec![policy];
        if self.of.is_empty() {
            manifests.push(binding(None));
        }
        manifests.extend(self.of.iter().map(|of| binding(Some(*of))));
        Document { file: format!("{}.yaml", self.name), purpose: self.purpose, manifests }
    }
}

fn resources(groups: &[&str], resources: &[&str], operations: &[&str]) -> Value {
    json!({"apiGroups": groups, "apiVersions": ["*"], "operations": operations, "resources": resources})
}

pub(super) fn condition(name: &str, expression: impl Into<String>) -> Value {
    json!({"name": name, "expression": expression.into()})
}

fn variable(name: &str, expression: impl Into<String>) -> Value {
    json!({"name": name, "expression": expression.into()})
}

fn validation(expression: impl Into<String>, message: impl Into<String>) -> Value {
    json!({"expression": expression.into(), "message": message.into(), "reason": "Forbidden"})
}

/// With a message that is put together at run time.
fn told(expression: impl Into<String>, message: impl Into<String>, told: impl Into<String>) -> Value {
    let mut validation = validation(expression, message);
    validation["messageExpression"] = json!(told.into());
    validation
}

const WRITES: [&str; 2] = ["CREATE", "UPDATE"];
const CHANGES: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];
/// Kinds that make pods.
const WORKLOADS: [(&str, &[&str]); 3] = [
    ("", &["pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers"]),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
];

/// Who asks is Kubernetes itself: its controllers, its scheduler, a node.
pub(super) fn is_kubernetes() -> String {
    format!(
        "(request.userInfo.username in {} || has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in {}))",
        texts(KUBERNETES_USERS),
        texts(KUBERNETES_GROUPS),
    )
}

/// Who asks may do what is kept from everybody else.
pub(super) fn administers() -> String {
    format!("authorizer.group('{GROUP}').resource('tenantguards').check('{ADMINISTER}').allowed()")
}

/// Who asks is a controller of the agent in the request's namespace.
fn is_controller() -> String {
    format!(
        "request.userInfo.username in {}.map(c, 'system:serviceaccount:' + request.namespace + ':' + c)",
        texts(CONTROLLERS)
    )
}

/// The fields of an object that are not for its controllers to keep.
const SAME_CONTENT: &str = "object != null && oldObject != null && object.?spec == oldObject.?spec && object.?metadata.?labels == oldObject.?metadata.?labels";

fn images() -> Policy {
    let pod = |object: &str| cel::pod(object);
    let account = |pod: &str| format!("variables.{pod}.?serviceAccountName.orValue('')");
    Policy {
        name: "pods",
        purpose: "Pods of tenants run images that policy allows, and none as an account of an agent. Templates of pods are judged for an early answer. Of an update what is new is judged.",
        parameter: true,
        of: &[Of::Tenants],
        resources: WORKLOADS
            .iter()
            .map(|(group, names)| resources(&[group], names, &WRITES))
            .chain([resources(&["image.toolkit.fluxcd.io"], &["imagerepositories"], &WRITES)])
            .collect(),
        conditions: Vec::new(),
        variables: vec![
            variable("pod", pod("object")),
            variable("oldPod", format!("oldObject == null ? dyn({{}}) : {}", pod("oldObject"))),
            variable("podField", cel::POD_FIELD),
            variable("before", cel::BEFORE),
            variable("images", cel::images()),
            variable("named", cel::NAMED),
            variable("cut", cel::CUT),
            variable("parts", cel::image_parts()),
            variable("findings", cel::image_findings()),
        ],
        validations: vec![
            told(
                "params.spec.refusal == '' || variables.images.size() == 0",
                cel::says(Rule::ImageNotAllowed.title(), Rule::ImageNotAllowed),
                "string(params.spec.refusal)",
            ),
            told(
                "params.spec.refusal != '' || variables.findings.size() == 0",
                cel::says(Rule::ImageNotAllowed.title(), Rule::ImageNotAllowed),
                "variables.findings.size() == 0 ? '' : variables.findings[0]",
            ),
            validation(
                format!(
                    "!({new} in params.spec.accounts) || oldObject != null && {new} == {old}\n|| request.userInfo.username == params.spec.operator || {kubernetes}",
                    new = account("pod"),
                    old = account("oldPod"),
                    kubernetes = is_kubernetes(),
                ),
                AGENT_ACCOUNT,
            ),
        ],
    }
}

fn flux() -> Policy {
    let mut validations = vec![
        told(
            "params.spec.refusal == '' || variables.urls.size() == 0",
            cel::says(Rule::SourceNotAllowed.title(), Rule::SourceNotAllowed),
            "string(params.spec.refusal)",
        ),
        told(
            "params.spec.refusal != '' || variables.findings.size() == 0",
            cel::says(Rule::SourceNotAllowed.title(), Rule::SourceNotAllowed),
            "variables.findings.size() == 0 ? '' : variables.findings[0]",
        ),
        told(
            "!params.spec.sources.requireVerification || variables.unsigned == ''",
            cel::says(NO_SIGNATURE, Rule::VerificationRequired),
            format!(
                "variables.unsigned + {}",
                text(&format!(": {}", cel::says(NO_SIGNATURE, Rule::VerificationRequired)))
            ),
        ),
        validation(
            format!("!params.spec.sources.requireDigest || {}", cel::NAMES_A_DIGEST),
            format!("spec.ref: {}", cel::says(NO_DIGEST, Rule::SourceDigestRequired)),
        ),
        validation(cel::label(), unlabelled()),
        told(
            flux_fields::kind_is_known(),
            cel::says(Rule::FluxObjectNotAllowed.title(), Rule::FluxObjectNotAllowed),
            flux_fields::kind_message(),
        ),
        told(
            "variables.derived || variables.unknown.size() == 0",
            cel::says(Rule::FluxObjectNotAllowed.title(), Rule::FluxObjectNotAllowed),
            flux_fields::unknown_message(),
        ),
    ];
    validations.extend(flux_fields::judged().into_iter().map(|(holds, says)| validation(holds, says)));
    let by_kind = |values: [&str; 4]| {
        let [git, oci, helm, bucket] = values;
        format!(
            "object.kind == 'GitRepository' ? {git} :\n  object.kind == 'OCIRepository' ? {oci} :\n  object.kind == 'HelmRepository' ? {helm} : {bucket}"
        )
    };
    Policy {
        name: "flux",
        purpose: "Flux objects of tenants fetch what policy allows, and have only fields that somebody has looked at. What the operator writes was decided before.",
        parameter: true,
        of: &[Of::Tenants],
        resources: vec![resources(&FLUX_GROUPS, &["*"], &WRITES)],
        conditions: vec![condition("not-the-operator", "request.userInfo.username != params.spec.operator")],
        variables: vec![
            variable("spec", "dyn(object).?spec.orValue({})"),
            variable("old", "oldObject == null ? dyn({}) : dyn(oldObject).?spec.orValue({})"),
            variable("sourceKind", by_kind(["'Git'", "'OCI'", "'Helm'", "'Bucket'"])),
            variable(
                "list",
                by_kind([
                    "params.spec.sources.git",
                    "params.spec.sources.oci",
                    "params.spec.sources.helm",
                    "params.spec.sources.bucket",
                ]),
            ),
            variable("urls", cel::SOURCES),
            variable("urlCut", cel::url_cut()),
            variable("urlParts", cel::url_parts()),
            variable("findings", cel::url_findings()),
            variable("derived", derived()),
            variable("unsigned", cel::unsigned()),
            variable("objects", flux_fields::objects()),
            variable("items", flux_fields::items()),
            variable("unknown", flux_fields::UNKNOWN),
        ],
        validations,
    }
}

/// Whether the object follows from another, which was judged: helm-controller makes the HelmChart of a HelmRelease.
fn derived() -> String {
    format!(
        "object.kind == 'HelmChart' && '{HELM_CONTROLLER}' in params.spec.accounts && request.userInfo.username == 'system:serviceaccount:' + request.namespace + ':{HELM_CONTROLLER}'"
    )
}

fn network_policies() -> Policy {
    Policy {
        name: "network-policies",
        purpose: "Where an agent lives beside a tenant's workloads no NetworkPolicy of the tenant's opens what the agent's own keep shut.",
        parameter: true,
        of: &[Of::Tenants],
        resources: vec![resources(&["networking.k8s.io"], &["networkpolicies"], &WRITES)],
        conditions: Vec::new(),
        variables: Vec::new(),
        validations: vec![validation(
            format!(
                "params.spec.accounts.size() == 0 || request.userInfo.username == params.spec.operator || {}\n|| {}\n|| {}",
                is_kubernetes(),
                network::opens_nothing(),
                administers()
            ),
            network::OPENS,
        )],
    }
}

fn access() -> Policy {
    let whole = |named: &str| {
        format!(
            "{named} || request.userInfo.username == params.spec.operator || {}\n|| {}",
            is_kubernetes(),
            administers()
        )
    };
    let connect = "request.operation != 'CONNECT' || !params.spec.accounts.exists(a, request.name.startsWith(a + '-') || request.name == a)";
    let others = "request.operation == 'CONNECT' || !(request.name in params.spec.accounts)";
    Policy {
        name: "access",
        purpose: "Where an agent lives beside a tenant's workloads nobody enters its pods, takes its tokens or changes how many there are.",
        parameter: true,
        of: &[Of::Tenants],
        resources: vec![
            resources(&[""], &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy"], &["CONNECT"]),
            resources(&[""], &["serviceaccounts/token"], &["CREATE"]),
            resources(&["apps"], &["deployments/scale"], &["UPDATE"]),
        ],
        conditions: Vec::new(),
        variables: Vec::new(),
        validations: vec![validation(whole(connect), AGENT_POD), validation(whole(others), AGENT_OWN)],
    }
}

/// Whether an object carries labels of what Sluicegate owns.
fn is_ours(object: &str) -> String {
    let label = |label: &str| format!("{object}.?metadata.?labels[?{}]", text(label));
    format!(
        "{managed}.orValue('') == '{MANAGER}' && {agent}.hasValue() || {pods}.orValue('') == '{AGENT_PODS}'",
        managed = label(MANAGED_BY_LABEL),
        agent = label(AGENT_LABEL),
        pods = label(PART_OF_LABEL),
    )
}

fn objects() -> Policy {
    Policy {
        name: "objects",
        purpose: "What carries the labels of Sluicegate in a tenant's namespace (agents, accounts, bindings, credentials, Flux objects) is written by Sluicegate alone, and nobody plants more of it.",
        parameter: false,
        of: &[Of::Tenants],
        resources: vec![
            resources(&["*"], &["*"], &CHANGES),
            resources(&[""], &["pods/ephemeralcontainers", "pods/resize"], &["UPDATE"]),
        ],
        conditions: vec![
            condition(
                "ours",
                format!("object != null && ({}) || oldObject != null && ({})", is_ours("object"), is_ours("oldObject")),
            ),
            condition("not-kubernetes", format!("!{}", is_kubernetes())),
            // Finalizers and annotations of the objects that they reconcile.
            condition("not-its-controllers", format!("!({} && {SAME_CONTENT})", is_controller())),
            condition("not-an-administrator", format!("!{}", administers())),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            "false",
            "this is Sluicegate's: it follows from FluxConfigs and policies, and nobody else writes it",
        )],
    }
}

fn flux_status() -> Policy {
    Policy {
        name: "flux-status",
        purpose: "The status of Flux objects says what is fetched and applied: only the controllers of the agent in their namespace write it.",
        parameter: false,
        of: &[Of::Tenants, Of::Agents],
        resources: vec![resources(&FLUX_GROUPS, &["*/status"], &WRITES)],
        conditions: Vec::new(),
        variables: Vec::new(),
        validations: vec![validation(
            is_controller(),
            "status: only the agent of this namespace writes the status of Flux objects",
        )],
    }
}

fn agent_namespaces() -> Policy {
    let mut all: Vec<Value> = [
        (
            &[""][..],
            &[
                "configmaps",
                "pods",
                "pods/ephemeralcontainers",
                "pods/resize",
                "podtemplates",
                "replicationcontrollers",
                "resourcequotas",
                "secrets",
                "serviceaccounts",
                "services",
            ][..],
        ),
        (
            &["apps"],
            &[
                "daemonsets",
                "deployments",
                "deployments/scale",
                "replicasets",
                "replicasets/scale",
                "statefulsets",
                "statefulsets/scale",
            ],
        ),
        (&["batch"], &["cronjobs", "jobs"]),
        (&["networking.k8s.io"], &["networkpolicies"]),
        (&["rbac.authorization.k8s.io"], &["rolebindings", "roles"]),
    ]
    .into_iter()
    .map(|(groups, names)| resources(groups, names, &CHANGES))
    .collect();
    all.push(resources(&FLUX_GROUPS, &["*"], &CHANGES));
    all.push(resources(&[""], &["serviceaccounts/token"], &["CREATE"]));
    all.push(resources(
        &[""],
        &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"],
        &["CONNECT"],
    ));
    Policy {
        name: "agent-namespaces",
        purpose: "In a namespace of an agent's own nobody writes but Sluicegate, Kubernetes and the agent's controllers.",
        parameter: false,
        of: &[Of::Agents],
        resources: all,
        conditions: vec![
            condition("not-kubernetes", format!("!{}", is_kubernetes())),
            condition("not-its-controllers", format!("!({})", is_controller())),
            condition("not-an-administrator", format!("!{}", administers())),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            "false",
            "this namespace is an agent's: what is in it follows from FluxConfigs and policies, and nobody else writes it",
        )],
    }
}

fn namespaces() -> Policy {
    let value = |object: &str, field: &str, key: &str| {
        format!("({object} == null ? '' : {object}.?metadata.?{field}[?{key}].orValue(''))")
    };
    let changed = |field: &str, keys: &str| {
        format!("{keys}.exists(k, {} != {})", value("object", field, "k"), value("oldObject", field, "k"))
    };
    let labels = texts([AGENT_LABEL, CONFIG_LABEL, HOME_LABEL, TENANT_LABEL]);
    let managed = format!(
        "[object, oldObject].exists(o, o != null && o.?metadata.?labels[?'{MANAGED_BY_LABEL}'].orValue('') == '{MANAGER}')"
    );
    Policy {
        name: "namespaces",
        purpose: "Whose a namespace is, is said by administrators and Sluicegate: by labels that nobody else sets, changes or removes, nor deletes the namespace with them.",
        parameter: false,
        of: &[],
        resources: vec![resources(&[""], &["namespaces"], &CHANGES)],
        conditions: vec![
            condition(
                "whose-it-is",
                format!(
                    "{} || {}\n|| {managed} && {}",
                    changed("labels", &labels),
                    changed("annotations", &texts([CREATED_ANNOTATION])),
                    changed("labels", &texts([MANAGED_BY_LABEL])),
                ),
            ),
            condition("not-kubernetes", format!("!{}", is_kubernetes())),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            administers(),
            format!(
                "metadata.labels: only administrators and Sluicegate say whose a namespace is (labels {GROUP}/...)"
            ),
        )],
    }
}

fn guards() -> Policy {
    Policy {
        name: "tenantguards",
        purpose: "TenantGuards are what the guard knows: the operator writes them, and nobody else.",
        parameter: false,
        of: &[],
        resources: vec![resources(&[GROUP], &["tenantguards", "tenantguards/*"], &CHANGES)],
        conditions: vec![condition("not-kubernetes", format!("!{}", is_kubernetes()))],
        variables: Vec::new(),
        validations: vec![validation(
            administers(),
            "a TenantGuard follows from policies: change a FluxPolicy, and the operator writes it",
        )],
    }
}
