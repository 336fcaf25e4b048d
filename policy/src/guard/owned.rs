//! The policies that say who may touch what Sluicegate owns: agents, their names and credentials, namespaces, TenantGuards.
//!
//! Metadata can be written through every subresource that carries it, so rules name `*/*`, and who is exempt is said by user.
//! Only `access` has a parameter: which pods and Deployments of a tenant's namespace are an agent's is known by name alone.

use serde_json::{Value, json};
use sluicegate_crds::{
    AGENT_LABEL, AGENT_PODS, CONFIG_LABEL, CREATED_ANNOTATION, GROUP, HOME_LABEL, MANAGED_BY_LABEL, MANAGER,
    PART_OF_LABEL, TENANT_LABEL, bounds,
};

use super::cel::{text, texts};
use super::evaluator::{AGENT_OWN, AGENT_POD, KUBERNETES_GROUPS, KUBERNETES_USERS};
use super::policies::{CHANGES, CONTROLLERS, FLUX_GROUPS, Of, Policy, WRITES, condition, resources, validation};
use crate::flux_object::RECONCILER;

/// Verb on `tenantguards.sluicegate.dev`, on the whole cluster, of those who may do what the guard keeps from everybody else: the
/// operator has it, and so has everybody with every right on the cluster.
pub const ADMINISTER: &str = "administer";
/// Verb on `tenantguards.sluicegate.dev`, on the whole cluster, of add-ons: they may write in agents' namespaces what is not
/// Sluicegate's own.
pub const MAINTAIN: &str = "maintain";
/// What the names of the namespaces begin with that Sluicegate makes for agents.
pub const RESERVED_PREFIX: &str = "sluicegate-";

/// Key in a user's extra fields with the name of the pod that a token is bound to. Tokens of Secrets and of plain
/// TokenRequests have none, nor has somebody who impersonates the account.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
/// Type of the Secrets that Kubernetes fills with a token, and the annotation that says of which account.
const TOKEN_SECRET: &str = "kubernetes.io/service-account-token";
const TOKEN_ACCOUNT: &str = "kubernetes.io/service-account.name";
/// Label of an EndpointSlice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Annotation in which `kubectl apply` keeps the whole manifest.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Services of an agent.
const SERVICES: [&str; 4] = ["notification-controller", "source-controller", "source-watcher", "webhook-receiver"];

/// Names of ServiceAccounts that are an agent's, in every tenant's namespace: a namespace may get its agent tomorrow.
pub(super) fn accounts() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.into_iter().chain([RECONCILER])
}

/// All of them.
pub(super) fn policies() -> Vec<Policy> {
    vec![
        access(),
        names(),
        tokens(),
        objects(),
        planted(),
        flux_status(),
        agent_namespaces(),
        namespaces(),
        namespace_names(),
        flux_config_metadata(),
        guards(),
    ]
}

/// The requests's subresource; empty where there is none.
const SUBRESOURCE: &str = "request.?subResource.orValue('')";

/// Name of the object. Where a collection is deleted the request has none, and each object is asked about with its own.
const NAME: &str =
    "(request.?name.orValue('') != '' ? request.name : oldObject == null ? '' : oldObject.?metadata.?name.orValue(''))";

/// The user is Kubernetes itself: its controllers, its scheduler, a node.
pub(super) fn is_kubernetes() -> String {
    format!(
        "(request.userInfo.username in {} || has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in {}))",
        texts(KUBERNETES_USERS),
        texts(KUBERNETES_GROUPS),
    )
}

fn has_verb(verb: &str) -> String {
    format!("authorizer.group('{GROUP}').resource('tenantguards').check('{verb}').allowed()")
}

/// The user may do what is kept from everybody else.
pub(super) fn administers() -> String {
    has_verb(ADMINISTER)
}

/// The user is a controller of the agent in the request's namespace, and asks from its own pod.
fn is_controller() -> String {
    format!(
        "{}.exists(c, request.userInfo.username == 'system:serviceaccount:' + request.?namespace.orValue('') + ':' + c\n&& request.userInfo.?extra[?{}].orValue([]).exists(p, p.startsWith(c + '-')))",
        texts(CONTROLLERS),
        text(POD_NAME),
    )
}

/// An eviction by a user who may evict any pod of the cluster: a node is drained.
pub(super) fn drains() -> String {
    format!(
        "({SUBRESOURCE} == 'eviction' && authorizer.group('').resource('pods').subresource('eviction').check('create').allowed())"
    )
}

/// Annotations or the status of a pod, written by a user who may do so to any pod of the cluster: a network plug-in.
fn annotates_pods() -> String {
    let same = ["finalizers", "ownerReferences"]
        .map(|field| format!("object.?metadata.?{field} == oldObject.?metadata.?{field}"))
        .join(" && ");
    format!(
        "(request.resource.group == '' && request.resource.resource == 'pods' && {SUBRESOURCE} in ['', 'status'] && {SAME_CONTENT} && {same}\n&& ['patch', 'update'].exists(v, authorizer.group('').resource('pods').subresource({SUBRESOURCE}).check(v).allowed()))"
    )
}

/// The fields of an object that are not for its controllers to keep.
const SAME_CONTENT: &str = "object != null && oldObject != null && object.?spec == oldObject.?spec && object.?metadata.?labels == oldObject.?metadata.?labels";

/// Every resource and subresource in namespaces. A selector of namespaces leaves out no object that is in none, so that has to
/// be said: a policy for some namespaces must not judge a ClusterRole.
fn everything(operations: &[&str]) -> Value {
    let mut rule = resources(&["*"], &["*/*"], operations);
    rule["scope"] = json!("Namespaced");
    rule
}

fn not_kubernetes() -> Value {
    condition("not-kubernetes", format!("!{}", is_kubernetes()))
}

fn not_an_administrator() -> Value {
    condition("not-an-administrator", format!("!{}", administers()))
}

fn not_a_network_plug_in() -> Value {
    condition("not-a-network-plug-in", format!("!{}", annotates_pods()))
}

fn access() -> Policy {
    let whole = |named: &str, others: &str| {
        format!(
            "{named} || request.userInfo.username == params.spec.operator || {}\n|| {}{others}",
            is_kubernetes(),
            administers()
        )
    };
    // The name of a proxied pod or Service may have a scheme in front and a port behind.
    let connect = "request.operation != 'CONNECT' || !request.name.split(':').exists(n, params.spec.accounts.exists(a, n == a || n.startsWith(a + '-')))";
    let others = format!(
        "request.operation == 'CONNECT' || !params.spec.accounts.exists(a, {NAME} == a || request.resource.resource in {} && {NAME}.startsWith(a + '-'))",
        texts(PREFIXED)
    );
    Policy {
        name: "access",
        purpose: "Where an agent lives beside a tenant's workloads nobody enters, evicts or binds its pods, connects to its Services, or changes how many pods there are.",
        parameter: true,
        of: &[Of::Tenants],
        selects: None,
        resources: vec![
            resources(
                &[""],
                &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"],
                &["CONNECT"],
            ),
            resources(&[""], &["bindings", "pods/binding", "pods/eviction"], &["CREATE"]),
            resources(&["*"], &["*/scale"], &["UPDATE"]),
        ],
        conditions: Vec::new(),
        variables: Vec::new(),
        validations: vec![
            validation(whole(connect, ""), AGENT_POD),
            validation(whole(&others, &format!(" || {}", drains())), AGENT_OWN),
        ],
    }
}

/// Resources of an agent whose names only begin with the name of a controller.
pub(super) const PREFIXED: [&str; 3] = ["bindings", "pods", "replicasets"];

/// Whether an object carries the two labels by which the operator knows what is its own.
fn has_pair(object: &str) -> String {
    let label = |label: &str| format!("{object}.?metadata.?labels[?{}]", text(label));
    format!("{}.orValue('') == '{MANAGER}' && {}.hasValue()", label(MANAGED_BY_LABEL), label(AGENT_LABEL))
}

/// Whether an object carries labels of what Sluicegate owns.
fn is_ours(object: &str) -> String {
    format!(
        "{} || {object}.?metadata.?labels[?{}].orValue('') == '{AGENT_PODS}'",
        has_pair(object),
        text(PART_OF_LABEL)
    )
}

fn either_is_ours() -> String {
    format!("object != null && ({}) || oldObject != null && ({})", is_ours("object"), is_ours("oldObject"))
}

fn names() -> Policy {
    let lease = format!(
        "{}.exists(c, {NAME} == c + '-leader-election' || {NAME}.startsWith(c + '-leader-election-'))",
        texts(CONTROLLERS)
    );
    let slice = format!(
        "[object, oldObject].exists(o, o != null && o.?metadata.?labels[?{}].orValue('') in {})",
        text(SERVICE_NAME),
        texts(SERVICES)
    );
    Policy {
        name: "names",
        purpose: "What an agent's controllers are known by (the names of their accounts, Leases and endpoints) is an agent's in every tenant's namespace, whether one lives there yet or not.",
        parameter: false,
        of: &[Of::Tenants],
        selects: None,
        resources: vec![
            resources(&[""], &["serviceaccounts", "serviceaccounts/token"], &["CREATE"]),
            resources(&[""], &["endpoints"], &CHANGES),
            resources(&["coordination.k8s.io"], &["leases"], &CHANGES),
            resources(&["discovery.k8s.io"], &["endpointslices"], &CHANGES),
        ],
        conditions: vec![
            condition(
                "an-agent-s-name",
                format!(
                    "request.resource.resource == 'serviceaccounts' ? {NAME} in {} :\nrequest.resource.resource == 'endpoints' ? {NAME} in {} :\nrequest.resource.resource == 'leases' ? {lease} : {slice}",
                    texts(accounts()),
                    texts(SERVICES),
                ),
            ),
            not_kubernetes(),
            condition(
                "not-its-controllers",
                format!("!(request.resource.resource == 'leases' && {})", is_controller()),
            ),
            not_an_administrator(),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            "false",
            "this name is an agent's: Sluicegate and Kubernetes make its accounts, Leases and endpoints, and nobody takes its tokens; use another name",
        )],
    }
}

fn tokens() -> Policy {
    let account = |object: &str| format!("{object}.?metadata.?annotations[?{}].orValue('')", text(TOKEN_ACCOUNT));
    Policy {
        name: "tokens",
        purpose: "Kubernetes fills no Secret of a tenant's namespace with a token of an agent's account.",
        parameter: false,
        of: &[Of::Tenants],
        selects: None,
        resources: vec![resources(&[""], &["secrets"], &WRITES)],
        conditions: vec![
            condition(
                "a-token-of-an-agent-s-account",
                format!(
                    "object.?type.orValue('') == '{TOKEN_SECRET}' && {new} in {accounts}\n&& (oldObject == null || {new} != {old})",
                    new = account("object"),
                    old = account("oldObject"),
                    accounts = texts(accounts()),
                ),
            ),
            not_kubernetes(),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            "false",
            format!(
                "metadata.annotations[{TOKEN_ACCOUNT}]: Kubernetes would fill this Secret with a token of an agent's account, and nobody takes its tokens; name another ServiceAccount"
            ),
        )],
    }
}

fn objects() -> Policy {
    Policy {
        name: "objects",
        purpose: "What carries the labels of Sluicegate in a tenant's namespace (agents, accounts, bindings, credentials, Flux objects) is written by Sluicegate alone, through whichever subresource, and nobody plants more of it.",
        parameter: false,
        of: &[Of::Tenants],
        selects: None,
        resources: vec![everything(&CHANGES)],
        conditions: vec![
            condition("ours", either_is_ours()),
            not_kubernetes(),
            // Finalizers and annotations of the objects that they reconcile.
            condition("not-its-controllers", format!("!({} && {SAME_CONTENT})", is_controller())),
            not_a_network_plug_in(),
            not_an_administrator(),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            "false",
            "this is Sluicegate's: it follows from FluxConfigs and policies, and nobody else writes it",
        )],
    }
}

fn planted() -> Policy {
    Policy {
        name: "planted",
        purpose: "The two labels by which the operator knows its own objects are written nowhere by anybody else, so that it watches nothing that others can make.",
        parameter: false,
        of: &[Of::Elsewhere],
        selects: Some(json!({
            "matchLabels": {MANAGED_BY_LABEL: MANAGER},
            "matchExpressions": [{"key": AGENT_LABEL, "operator": "Exists"}],
        })),
        resources: vec![everything(&WRITES)],
        conditions: vec![
            // They may be taken off.
            condition("has-both-labels", format!("object != null && {}", has_pair("object"))),
            not_kubernetes(),
            condition("not-its-controllers", format!("!({} && {SAME_CONTENT})", is_controller())),
            not_an_administrator(),
        ],
        variables: Vec::new(),
        validations: vec![validation(
            "false",
            format!(
                "metadata.labels: {MANAGED_BY_LABEL}={MANAGER} and {AGENT_LABEL} together say that this is Sluicegate's, and nobody else writes both; leave one of them out"
            ),
        )],
    }
}

fn flux_status() -> Policy {
    Policy {
        name: "flux-status",
        purpose: "The status of Flux objects says what is fetched and applied: only the controllers of the agent in their namespace write it.",
        parameter: false,
        of: &[Of::Tenants, Of::Agents],
        selects: None,
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
    let add_on = format!(
        "request.operation != 'CONNECT' && {SUBRESOURCE} in ['', 'status'] && !(request.resource.group in {}) && !({})\n&& {}",
        texts(FLUX_GROUPS),
        either_is_ours(),
        has_verb(MAINTAIN)
    );
    Policy {
        name: "agent-namespaces",
        purpose: "In a namespace of an agent's own nobody writes but Sluicegate, Kubernetes, the agent's controllers and, beside them, the add-ons that administrators have named.",
        parameter: false,
        of: &[Of::Agents],
        selects: None,
        resources: vec![everything(&["CREATE", "UPDATE", "DELETE", "CONNECT"])],
        conditions: vec![
            // A question about rights writes nothing.
            condition("not-a-review", "request.resource.group != 'authorization.k8s.io'"),
            not_kubernetes(),
            condition("not-its-controllers", format!("!({})", is_controller())),
            condition("not-a-drain", format!("!(request.resource.resource == 'pods' && {})", drains())),
            not_a_network_plug_in(),
            condition("not-an-add-on", format!("!({add_on})")),
            not_an_administrator(),
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
        selects: None,
        // `status` and `finalize` write labels too.
        resources: vec![resources(&[""], &["namespaces", "namespaces/*"], &CHANGES)],
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
            not_kubernetes(),
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

fn namespace_names() -> Policy {
    Policy {
        name: "namespace-names",
        purpose: "The names of agents' namespaces are there when Sluicegate needs them: nobody else makes one.",
        parameter: false,
        of: &[],
        selects: None,
        resources: vec![resources(&[""], &["namespaces"], &["CREATE"])],
        conditions: vec![
            condition("reserved", format!("object.metadata.name.startsWith('{RESERVED_PREFIX}')")),
            not_kubernetes(),
        ],
        variables: Vec::new(),
        validations: vec![validation(administers(), reserved_name())],
    }
}

/// What is said to somebody who makes a namespace with a name that is kept for agents.
pub fn reserved_name() -> String {
    format!(
        "metadata.name: Sluicegate names the namespaces of agents {RESERVED_PREFIX}..., and makes them itself; choose another name, or ask somebody with the verb {ADMINISTER} on tenantguards.{GROUP}"
    )
}

fn flux_config_metadata() -> Policy {
    let field = |object: &str, field: &str| format!("{object}.?metadata.?{field}");
    let changes =
        |name: &str| format!("(oldObject == null || {} != {})", field("object", name), field("oldObject", name));
    let bytes = "map(k, bytes(k).size() + bytes(m[k]).size()).sum()";
    let labels = format!(
        "{} && [{}.orValue({{}})].exists(m, m.size() > {} || m.{bytes} > {})",
        changes("labels"),
        field("object", "labels"),
        bounds::METADATA_ENTRIES,
        bounds::METADATA_BYTES,
    );
    let annotations = format!(
        "{} && [{}.orValue({{}})].exists(m, m.size() > {} || m.filter(k, k != '{LAST_APPLIED}').{bytes} > {} || bytes(m[?'{LAST_APPLIED}'].orValue('')).size() > {})",
        changes("annotations"),
        field("object", "annotations"),
        bounds::METADATA_ENTRIES,
        bounds::METADATA_BYTES,
        bounds::LAST_APPLIED_BYTES,
    );
    // The operator's own, which it must be able to set and to take away.
    let others = |object: &str| {
        format!("{}.orValue([]).filter(f, f != '{}')", field(object, "finalizers"), sluicegate_crds::FINALIZER)
    };
    let finalizers = format!(
        "(oldObject == null || {new} != {old}) && {new}.size() > {most}",
        new = others("object"),
        old = others("oldObject"),
        most = bounds::METADATA_REFERENCES,
    );
    let owners = format!(
        "{} && [{}.orValue([])].exists(m, m.size() > {} || m.map(o, bytes(o.apiVersion).size() + bytes(o.kind).size() + bytes(o.name).size() + bytes(o.uid).size()).sum() > {})",
        changes("ownerReferences"),
        field("object", "ownerReferences"),
        bounds::METADATA_REFERENCES,
        bounds::OWNERS_BYTES,
    );
    // Every write changes them; those who administer must get at an object that has too many.
    let managers = format!(
        "[{}.orValue([])].exists(m, m.size() > {} || '%s'.format([m]).size() > {}) && !{}",
        field("object", "managedFields"),
        bounds::FIELD_MANAGERS,
        bounds::FIELD_MANAGERS_BYTES,
        administers(),
    );
    Policy {
        name: "fluxconfig-metadata",
        purpose: "The metadata of FluxConfigs is bounded: the API server bounds neither the number of labels nor the bytes in them, and operator and webhook keep all FluxConfigs in memory.",
        parameter: false,
        of: &[],
        selects: None,
        resources: vec![resources(&[GROUP], &["fluxconfigs", "fluxconfigs/*"], &WRITES)],
        conditions: vec![
            not_kubernetes(),
            condition(
                "too-much",
                [labels, annotations, finalizers, owners, managers].map(|one| format!("({one})")).join("\n|| "),
            ),
        ],
        variables: Vec::new(),
        validations: vec![validation("false", too_much_metadata())],
    }
}

/// What is said of a FluxConfig with too much metadata.
fn too_much_metadata() -> String {
    format!(
        "metadata: this FluxConfig has more than {entries} labels or annotations, {size} bytes in either, {last} bytes in the annotation {LAST_APPLIED}, {references} finalizers or ownerReferences, {owners} bytes in ownerReferences, or {managers} field managers with {fields} bytes; remove what nothing reads",
        entries = bounds::METADATA_ENTRIES,
        size = bounds::METADATA_BYTES,
        last = bounds::LAST_APPLIED_BYTES,
        references = bounds::METADATA_REFERENCES,
        owners = bounds::OWNERS_BYTES,
        managers = bounds::FIELD_MANAGERS,
        fields = bounds::FIELD_MANAGERS_BYTES,
    )
}

fn guards() -> Policy {
    Policy {
        name: "tenantguards",
        purpose: "TenantGuards are what the guard knows: the operator writes them, and nobody else.",
        parameter: false,
        of: &[],
        selects: None,
        resources: vec![resources(&[GROUP], &["tenantguards", "tenantguards/*"], &CHANGES)],
        conditions: vec![not_kubernetes()],
        variables: Vec::new(),
        validations: vec![validation(
            administers(),
            "a TenantGuard follows from policies: change a FluxPolicy, and the operator writes it",
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_metadata_are_said() {
        let said = too_much_metadata();
        for bound in [bounds::METADATA_ENTRIES, bounds::METADATA_BYTES, bounds::FIELD_MANAGERS_BYTES] {
            assert!(said.contains(&format!(" {bound} ")), "{said}");
        }
    }

    #[test]
    fn a_policy_for_some_namespaces_judges_no_object_that_is_in_none() {
        for policy in policies().iter().filter(|policy| !policy.of.is_empty()) {
            for rule in &policy.resources {
                let wide = rule["resources"].as_array().is_some_and(|all| all.contains(&json!("*/*")));
                assert!(!wide || rule["scope"] == "Namespaced", "{}: {rule}", policy.name);
            }
        }
    }

    #[test]
    fn whatever_writes_metadata_is_judged_where_a_promise_hangs_on_it() {
        let covers = |policy: &Policy, resource: &str| {
            policy
                .resources
                .iter()
                .any(|rule| rule["resources"].as_array().is_some_and(|all| all.contains(&json!(resource))))
        };
        for policy in policies() {
            let (whole, every) = match policy.name {
                "objects" | "planted" | "agent-namespaces" => ("*/*", "*/*"),
                "namespaces" => ("namespaces", "namespaces/*"),
                "fluxconfig-metadata" => ("fluxconfigs", "fluxconfigs/*"),
                "tenantguards" => ("tenantguards", "tenantguards/*"),
                _ => continue,
            };
            assert!(covers(&policy, whole) && covers(&policy, every), "{}", policy.name);
        }
    }
}
