//! How the API server is told of the webhook, with which rights it runs, and how: as data, from which `deploy/webhook` is
//! generated.
//!
//! What must not pass while the webhook is away is `Fail`, and no more than that. The cluster must always be able to start
//! itself: nothing in kube-system or in Sluicegate's own namespace is ever sent here, the operator's own work is not, and no
//! rule names a kind that a cluster needs to start. The guard is a configuration of its own: whoever installs it decides that
//! tenants' namespaces take nothing new while nobody answers. `docs/admission.md` has the reasons one by one.

use serde_json::{Value, json};
use sluicegate_crds::{GROUP, HOME_LABEL, TENANT_LABEL, VERSION};
use sluicegate_operator::{
    object::{MANAGED_BY_LABEL, MANAGER},
    rights::{OPERATOR, OPERATOR_NAMESPACE, Role, WEBHOOK_CONFIGURATION, rule},
};
use sluicegate_policy::guard::{ADMINISTER, Answers, GuardHook, RESERVED_PREFIX, hooks};

use crate::decide::Hook;

/// Name of both webhook configurations of the management cluster.
pub const CONFIGURATION: &str = "sluicegate";
/// Name of the ValidatingWebhookConfiguration that makes the webhook the guard of its cluster.
pub const GUARD_CONFIGURATION: &str = WEBHOOK_CONFIGURATION;
/// ServiceAccount, roles, Deployment and Service of the webhook.
pub const WEBHOOK: &str = "sluicegate-webhook";
/// Secret with the authority and the serving certificate.
pub const SECRET: &str = "sluicegate-webhook-tls";
/// Port on which the pods serve admission.
const PORT: u16 = 9443;
/// Port on which the pods serve metrics and probes.
const PROBES: u16 = 8080;
/// How long the API server waits for an answer, in seconds.
const TIMEOUT: u8 = 5;
/// Namespaces that are never looked at: the cluster has to be able to start itself, and Sluicegate to start in it.
const NEVER: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", OPERATOR_NAMESPACE];

/// Whatever writes the labels of a Namespace.
const NAMESPACES: &[&str] = &["namespaces", "namespaces/finalize", "namespaces/status"];

/// DNS name by which the API server finds the webhook.
pub fn service_name(namespace: &str) -> String {
    format!("{WEBHOOK}.{namespace}.svc")
}

/// What a webhook is asked about.
struct Rule {
    /// First part of its name.
    name: &'static str,
    hook: Hook,
    group: &'static str,
    version: &'static str,
    resources: &'static [&'static str],
    namespaced: bool,
    operations: &'static [&'static str],
    /// Whether requests are refused while nobody answers.
    fails: bool,
    conditions: Vec<(&'static str, String)>,
}

/// The operator completes FluxConfigs itself and removes finalizers, and must be able to while the webhook is away.
fn not_the_operator() -> (&'static str, String) {
    let user = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}");
    ("not-the-operator", format!("request.userInfo.username != '{user}'"))
}

/// Labels, finalizers and statuses change often, and nothing is decided from them.
fn spec_changes() -> (&'static str, String) {
    ("the-spec-changes", "request.operation != 'UPDATE' || object.spec != oldObject.spec".to_owned())
}

/// `namespace` is a word of CEL's own, hence `in`.
fn has_blanks() -> (&'static str, String) {
    let all = "['cluster', 'namespace', 'path'].all(field, field in object.spec)";
    (
        "it-has-blanks",
        format!("!has(object.spec) || !has(object.spec.source) || !{all} || !has(object.spec.source.ref)"),
    )
}

/// The label's value in a list, so that no label and an empty one differ.
fn tenant_label_changes() -> (&'static str, String) {
    let changes = |name: &str| {
        let label = |object: &str| {
            format!(
                "(has({object}.metadata.labels) && '{name}' in {object}.metadata.labels ? \
                 [{object}.metadata.labels['{name}']] : [])"
            )
        };
        let old = format!("(request.operation == 'UPDATE' ? {} : [])", label("oldObject"));
        format!("{} != {old}", label("object"))
    };
    ("the-tenant-label-changes", format!("{} || {}", changes(TENANT_LABEL), changes(HOME_LABEL)))
}

/// A name that is kept for the namespace of an agent.
fn reserved_name() -> (&'static str, String) {
    ("the-name-is-reserved", format!("object.metadata.name.startsWith('{RESERVED_PREFIX}')"))
}

/// Those who may do what the guard keeps from everybody else may say whose a namespace is: guard and webhook ask the same.
fn may_administer() -> String {
    format!("authorizer.group('{GROUP}').resource('tenantguards').check('{ADMINISTER}').allowed()")
}

fn mutating() -> Vec<Rule> {
    vec![Rule {
        name: "complete.fluxconfigs",
        hook: Hook::Complete,
        group: GROUP,
        version: VERSION,
        resources: &["fluxconfigs"],
        namespaced: true,
        operations: &["CREATE", "UPDATE"],
        // The operator completes what comes incomplete.
        fails: false,
        conditions: vec![not_the_operator(), spec_changes(), has_blanks()],
    }]
}

fn validating() -> Vec<Rule> {
    let own = |name: &'static str, resources: &'static [&'static str]| Rule {
        name,
        hook: Hook::Validate,
        group: GROUP,
        version: VERSION,
        resources,
        namespaced: false,
        operations: &["CREATE", "UPDATE", "DELETE"],
        // The operator takes a policy with errors for one that denies, and administrators must be able to withdraw a grant
        // whatever is away.
        fails: false,
        conditions: Vec::new(),
    };
    let not_an_administrator = || ("not-an-administrator", format!("!{}", may_administer()));
    let namespaces = |name: &'static str, hook: Hook, fails: bool, who: (&'static str, String)| Rule {
        name,
        hook,
        group: "",
        version: "v1",
        resources: NAMESPACES,
        namespaced: false,
        operations: &["CREATE", "UPDATE"],
        fails,
        conditions: vec![not_the_operator(), tenant_label_changes(), who],
    };
    vec![
        Rule {
            name: "fluxconfigs",
            hook: Hook::Validate,
            group: GROUP,
            version: VERSION,
            resources: &["fluxconfigs"],
            namespaced: true,
            operations: &["CREATE", "UPDATE"],
            // Who may write is found out here and nowhere else.
            fails: true,
            conditions: vec![not_the_operator(), spec_changes()],
        },
        own("fluxpolicies", &["fluxpolicies"]),
        own("fluxclusters", &["fluxclusters"]),
        namespaces("tenant-label", Hook::TenantLabel, true, not_an_administrator()),
        Rule {
            resources: &["namespaces"],
            operations: &["CREATE"],
            conditions: vec![not_the_operator(), reserved_name(), not_an_administrator()],
            // Sluicegate takes no namespace that is there: a tenant would wait for an administrator.
            ..namespaces("namespace-name", Hook::NamespaceName, true, not_an_administrator())
        },
        namespaces("namespaces", Hook::Validate, false, ("an-administrator", may_administer())),
    ]
}

impl Rule {
    fn manifest(&self, namespace: &str) -> Value {
        let mut hook = json!({
            "name": format!("{}.{GROUP}", self.name),
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": WEBHOOK, "namespace": namespace, "path": self.hook.path(), "port": 443}},
            "rules": [{
                "apiGroups": [self.group], "apiVersions": [self.version], "resources": self.resources,
                "operations": self.operations, "scope": if self.namespaced { "Namespaced" } else { "Cluster" },
            }],
            "failurePolicy": if self.fails { "Fail" } else { "Ignore" },
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": TIMEOUT,
        });
        if self.namespaced || self.resources.contains(&"namespaces") {
            hook["namespaceSelector"] = json!({"matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": NEVER},
            ]});
        }
        if !self.conditions.is_empty() {
            hook["matchConditions"] = self
                .conditions
                .iter()
                .map(|(name, expression)| json!({"name": name, "expression": expression}))
                .collect();
        }
        hook
    }
}

fn named(api_version: &str, kind: &str, name: &str, namespaced: bool) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {
        "name": name, "labels": {MANAGED_BY_LABEL: MANAGER},
    }});
    if namespaced {
        object["metadata"]["namespace"] = json!(OPERATOR_NAMESPACE);
    }
    object
}

/// The webhook configurations: mutating, then validating. Without `caBundle`, which the webhook, cert-manager or the
/// administrator fills in.
pub fn configurations() -> [Value; 2] {
    let configuration = |kind: &str, rules: Vec<Rule>, reinvocation: bool| {
        let mut object = named("admissionregistration.k8s.io/v1", kind, CONFIGURATION, false);
        let hooks = rules.iter().map(|rule| {
            let mut hook = rule.manifest(OPERATOR_NAMESPACE);
            if reinvocation {
                // Another webhook may change what the blanks follow from.
                hook["reinvocationPolicy"] = json!("IfNeeded");
            }
            hook
        });
        object["webhooks"] = hooks.collect();
        object
    };
    [
        configuration("MutatingWebhookConfiguration", mutating(), true),
        configuration("ValidatingWebhookConfiguration", validating(), false),
    ]
}

/// The webhook configuration that makes the webhook the guard of the cluster that it runs on: what the
/// ValidatingAdmissionPolicies of `deploy/guard` match, from the same code. It fails closed, as they do.
pub fn guard_configuration() -> Value {
    let kind = "ValidatingWebhookConfiguration";
    let mut object = named("admissionregistration.k8s.io/v1", kind, GUARD_CONFIGURATION, false);
    object["webhooks"] = hooks().iter().map(guard_hook).collect();
    object
}

fn guard_hook(hook: &GuardHook) -> Value {
    let path = match &hook.answers {
        Answers::Judges => Hook::Guard.path(),
        Answers::Refuses(_) => Hook::Refuse(hook.policy).path(),
    };
    let mut manifest = json!({
        "name": format!("{}.guard.{GROUP}", hook.name),
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": WEBHOOK, "namespace": OPERATOR_NAMESPACE, "path": path, "port": 443}},
        "rules": hook.rules,
        "matchConditions": hook.conditions,
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT,
    });
    for (field, selector) in [("namespaceSelector", &hook.selector), ("objectSelector", &hook.objects)] {
        if let Some(selector) = selector {
            manifest[field] = selector.clone();
        }
    }
    manifest
}

/// The webhook's rights on the management cluster.
pub fn webhook_role() -> Role {
    let configurations = &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    Role {
        name: WEBHOOK.to_owned(),
        namespace: None,
        purpose: "what the webhook reads to decide, and the API server's trust in its certificate",
        rules: vec![
            rule(GROUP, &["fluxclusters", "fluxconfigs", "fluxpolicies", "tenantguards"], &["list", "watch"]),
            rule("", &["namespaces"], &["list", "watch"]),
            rule("admissionregistration.k8s.io", configurations, &["get", "list", "watch", "patch"])
                .named([CONFIGURATION, GUARD_CONFIGURATION]),
        ],
    }
}

/// The webhook's rights in its own namespace: its Secret.
pub fn webhook_namespace_role() -> Role {
    Role {
        name: WEBHOOK.to_owned(),
        namespace: Some(OPERATOR_NAMESPACE),
        purpose: "the Secret with the authority and the serving certificate of the webhook",
        rules: vec![
            // A create cannot be limited by name.
            rule("", &["secrets"], &["create"]),
            rule("", &["secrets"], &["get", "list", "watch", "update"]).named([SECRET]),
        ],
    }
}

fn binding(role: &Role) -> Value {
    let kind = if role.namespace.is_some() { "Role" } else { "ClusterRole" };
    let api = "rbac.authorization.k8s.io";
    let mut object = named(&format!("{api}/v1"), &format!("{kind}Binding"), &role.name, role.namespace.is_some());
    object["roleRef"] = json!({"apiGroup": api, "kind": kind, "name": role.name});
    object["subjects"] = json!([{"kind": "ServiceAccount", "name": WEBHOOK, "namespace": OPERATOR_NAMESPACE}]);
    object
}

fn service() -> Value {
    let mut object = named("v1", "Service", WEBHOOK, true);
    object["spec"] = json!({
        "selector": {"app.kubernetes.io/name": WEBHOOK},
        "ports": [{"name": "https", "port": 443, "targetPort": "https"}],
    });
    object
}

fn deployment() -> Value {
    let labels = json!({"app.kubernetes.io/name": WEBHOOK, MANAGED_BY_LABEL: MANAGER});
    let selector = json!({"app.kubernetes.io/name": WEBHOOK});
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "probes"}, "periodSeconds": 5});
    let container = json!({
        "name": "webhook",
        "image": format!("ghcr.io/sluicegate/sluicegate:v{}", env!("CARGO_PKG_VERSION")),
        "args": ["webhook"],
        "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "ports": [{"name": "https", "containerPort": PORT}, {"name": "probes", "containerPort": PROBES}],
        "readinessProbe": probe("/readyz"),
        "livenessProbe": probe("/healthz"),
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        },
    });
    let mut object = named("apps/v1", "Deployment", WEBHOOK, true);
    object["spec"] = json!({
        "replicas": 2,
        // A new pod is ready before an old one goes.
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "selector": {"matchLabels": selector},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": WEBHOOK,
                "priorityClassName": "system-cluster-critical",
                "terminationGracePeriodSeconds": 45,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"},
                },
                "topologySpreadConstraints": [{
                    "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": selector},
                }],
                "containers": [container],
            },
        },
    });
    object
}

fn disruption_budget() -> Value {
    let mut object = named("policy/v1", "PodDisruptionBudget", WEBHOOK, true);
    object["spec"] = json!({"minAvailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": WEBHOOK}}});
    object
}

/// In: admission, and metrics and probes, as two rules, so that administrators can say for each from where. API servers ask
/// from addresses of nodes or of tunnels, which no selector names. Out: what the operator's own policy lets out.
fn network_policy() -> Value {
    let mut object = named("networking.k8s.io/v1", "NetworkPolicy", WEBHOOK, true);
    let dns = ["UDP", "TCP"].map(|protocol| json!({"port": 53, "protocol": protocol}));
    object["spec"] = json!({
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": WEBHOOK}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"ports": [{"port": "https", "protocol": "TCP"}]},
            {"ports": [{"port": "probes", "protocol": "TCP"}]},
        ],
        "egress": [
            {"ports": dns},
            {
                "to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
                    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128"]}},
                ],
                "ports": [{"port": 1, "endPort": 65535, "protocol": "TCP"}],
            },
        ],
    });
    object
}

/// The generated files by name: a header, and the documents of each.
pub fn files() -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let (cluster, namespace) = (webhook_role(), webhook_namespace_role());
    vec![
        (
            "rbac.yaml",
            "The webhook's account and rights on the management cluster.",
            vec![
                named("v1", "ServiceAccount", WEBHOOK, true),
                cluster.manifest(),
                namespace.manifest(),
                binding(&cluster),
                binding(&namespace),
            ],
        ),
        (
            "deployment.yaml",
            "The webhook's pods, and the Service by which the API server finds them.",
            vec![service(), deployment(), disruption_budget()],
        ),
        (
            "network-policy.yaml",
            "Into the webhook's pods: admission and probes, from anywhere. Out: DNS, and API servers, whose ports differ\n# between clusters; never the addresses at which clouds serve their machines' credentials. docs/admission.md says how to\n# let in nobody but the API servers.",
            vec![network_policy()],
        ),
        (
            "webhook-configurations.yaml",
            "What the API server asks the webhook, and what counts while it is away.",
            configurations().into(),
        ),
    ]
}

/// The generated file of `deploy/guard-webhook`: its name, a header, and its documents.
pub fn guard_file() -> (&'static str, &'static str, Vec<Value>) {
    let purpose = "Makes the webhook the guard of the cluster that it runs on, in place of deploy/guard. For `FluxCluster.spec.guard: Webhook`; apply it when the webhook's pods are ready.";
    ("webhook-configuration.yaml", purpose, vec![guard_configuration()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> Vec<Value> {
        configurations().into_iter().flat_map(|object| object["webhooks"].as_array().cloned().unwrap()).collect()
    }

    #[test]
    fn the_cluster_can_always_start_itself() {
        for hook in hooks() {
            let name = &hook["name"];
            let namespaced =
                hook["rules"][0]["scope"] == "Namespaced" || hook["rules"][0]["resources"][0] == "namespaces";
            if namespaced {
                let never = &hook["namespaceSelector"]["matchExpressions"][0];
                assert_eq!(never["operator"], "NotIn", "{name}");
                for namespace in ["kube-system", OPERATOR_NAMESPACE] {
                    assert!(never["values"].as_array().unwrap().contains(&json!(namespace)), "{name}");
                }
            } else {
                assert_eq!(hook["rules"][0]["apiGroups"], json!([GROUP]), "{name}");
            }
            for rule in hook["rules"].as_array().unwrap() {
                let all = rule.to_string();
                assert!(!all.contains('*'), "{name} has a wildcard");
            }
            assert!(hook["timeoutSeconds"].as_u64().unwrap() <= 5);
        }
    }

    #[test]
    fn only_what_nobody_else_finds_out_fails_without_the_webhook() {
        let failing: Vec<Value> = hooks()
            .into_iter()
            .filter(|hook| hook["failurePolicy"] == "Fail")
            .map(|hook| hook["name"].clone())
            .collect();
        assert_eq!(
            failing,
            ["fluxconfigs.sluicegate.dev", "tenant-label.sluicegate.dev", "namespace-name.sluicegate.dev"]
        );
    }

    #[test]
    fn nothing_has_side_effects_and_every_path_is_served() {
        for hook in hooks() {
            assert_eq!(hook["sideEffects"], "None");
            assert!(Hook::at(hook["clientConfig"]["service"]["path"].as_str().unwrap()).is_some());
        }
    }

    #[test]
    fn the_guard_fails_closed_in_tenants_and_agents_namespaces_alone() {
        let configuration = guard_configuration();
        for hook in configuration["webhooks"].as_array().unwrap() {
            let name = hook["name"].as_str().unwrap();
            assert_eq!(hook["failurePolicy"], "Fail", "{name}");
            assert!(hook["timeoutSeconds"].as_u64().unwrap() <= 5);
            let service = &hook["clientConfig"]["service"];
            let served = Hook::at(service["path"].as_str().unwrap());
            let requirements = hook["namespaceSelector"]["matchExpressions"].as_array();
            match requirements {
                Some(all) => {
                    let never = all.iter().find(|requirement| requirement["operator"] == "NotIn").unwrap();
                    for namespace in NEVER {
                        assert!(never["values"].as_array().unwrap().contains(&json!(namespace)), "{name}");
                    }
                    let labels = all.iter().filter(|requirement| requirement["operator"] == "Exists").count();
                    // In namespaces of nobody only what carries both labels of Sluicegate.
                    let planted = labels == 0 && hook["objectSelector"]["matchLabels"].is_object();
                    assert!((labels == 1 || planted) && served.is_some(), "{name}");
                }
                // Everywhere only what is Sluicegate's own, by conditions that hold for nobody who may.
                None => {
                    let Some(Hook::Refuse(policy)) = served else { panic!("{name}") };
                    let known = ["namespaces", "namespace-names", "fluxconfig-metadata", "tenantguards"];
                    assert!(known.contains(&policy), "{name}");
                    assert!(hook["matchConditions"].to_string().contains("administer"), "{name}");
                }
            }
        }
    }

    #[test]
    fn the_rights_are_the_least() {
        for role in [webhook_role(), webhook_namespace_role()] {
            for rule in &role.rules {
                assert!(!rule.resources.iter().chain(&rule.verbs).any(|text| text.contains('*')));
                let writes = rule.verbs.iter().any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
                let creates = rule.verbs == ["create"];
                assert!(!writes || creates || !rule.names.is_empty(), "{rule:?}");
                assert!(role.namespace.is_some() || !rule.resources.contains(&"secrets".to_owned()));
            }
        }
    }
}
