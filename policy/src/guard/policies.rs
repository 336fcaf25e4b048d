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
    AGENT_LABEL, GROUP, MANAGED_BY_LABEL, MANAGER, SYSTEM_NAMESPACE, TENANT_GUARD, TENANT_LABEL, VERSION,
};

use super::cel::{self, text, texts};
use super::evaluator::{AGENT_ACCOUNT, unlabelled};
use super::owned::{self, accounts, administers, is_kubernetes};
use super::{flux_fields, network};
use crate::rule::Rule;
use crate::source::{NO_DIGEST, NO_SIGNATURE};

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
pub(super) fn policies() -> Vec<Policy> {
    let mut policies = vec![images(), flux(), network_policies()];
    policies.extend(owned::policies());
    policies
}

/// Whose namespaces a policy is for.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Tenants,
    Agents,
    /// Of neither.
    Elsewhere,
}

impl Of {
    pub(super) fn selector(self) -> Value {
        let key = |key: &str, operator: &str| json!({"key": key, "operator": operator});
        let exempt = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": EXEMPT});
        let requirements = match self {
            Of::Tenants => vec![key(TENANT_LABEL, "Exists"), exempt],
            Of::Agents => vec![key(AGENT_LABEL, "Exists"), key(TENANT_LABEL, "DoesNotExist"), exempt],
            Of::Elsewhere => vec![key(AGENT_LABEL, "DoesNotExist"), key(TENANT_LABEL, "DoesNotExist"), exempt],
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
    /// Labels of the objects that it is about, old or new; none: all.
    pub(super) selects: Option<Value>,
    pub(super) resources: Vec<Value>,
    pub(super) conditions: Vec<Value>,
    pub(super) variables: Vec<Value>,
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
        if let Some(selector) = self.selects {
            constraints["objectSelector"] = selector;
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

pub(super) fn resources(groups: &[&str], resources: &[&str], operations: &[&str]) -> Value {
    json!({"apiGroups": groups, "apiVersions": ["*"], "operations": operations, "resources": resources})
}

pub(super) fn condition(name: &str, expression: impl Into<String>) -> Value {
    json!({"name": name, "expression": expression.into()})
}

fn variable(name: &str, expression: impl Into<String>) -> Value {
    json!({"name": name, "expression": expression.into()})
}

pub(super) fn validation(expression: impl Into<String>, message: impl Into<String>) -> Value {
    json!({"expression": expression.into(), "message": message.into(), "reason": "Forbidden"})
}

/// With a message that is put together at run time.
fn told(expression: impl Into<String>, message: impl Into<String>, told: impl Into<String>) -> Value {
    let mut validation = validation(expression, message);
    validation["messageExpression"] = json!(told.into());
    validation
}

pub(super) const WRITES: [&str; 2] = ["CREATE", "UPDATE"];
pub(super) const CHANGES: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];
/// Kinds that make pods.
const WORKLOADS: [(&str, &[&str]); 3] = [
    ("", &["pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers"]),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
];

fn images() -> Policy {
    let pod = |object: &str| cel::pod(object);
    let account = |pod: &str| format!("variables.{pod}.?serviceAccountName.orValue('')");
    Policy {
        name: "pods",
        purpose: "Pods of tenants run images that policy allows, and none as an account of an agent. Templates of pods are judged for an early answer. Of an update what is new is judged.",
        parameter: true,
        of: &[Of::Tenants],
        selects: None,
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
                    "!({new} in {accounts}) || oldObject != null && {new} == {old}\n|| request.userInfo.username == params.spec.operator || {kubernetes}",
                    new = account("pod"),
                    old = account("oldPod"),
                    accounts = texts(accounts()),
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
        selects: None,
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
        selects: None,
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
