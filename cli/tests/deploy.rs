//! `deploy/` is what administrators install: it is whole, it has no field that Kubernetes does not know, and what it starts
//! exists.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::{
    api::{
        admissionregistration::v1 as admission, apps::v1::Deployment, core::v1, networking::v1 as networking,
        policy::v1 as disruption, rbac::v1 as rbac,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// A document of a file below `deploy/`.
struct Document {
    file: PathBuf,
    value: Value,
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// Every YAML file below a folder, relative to `deploy/`.
fn files() -> BTreeSet<PathBuf> {
    let mut folders = vec![deploy()];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(deploy()).unwrap().to_owned());
            }
        }
    }
    files
}

fn documents() -> Vec<Document> {
    let mut documents = Vec::new();
    for file in files() {
        let text = fs::read_to_string(deploy().join(&file)).unwrap();
        let parsed: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        documents.extend(parsed.into_iter().map(|value| Document { file: file.clone(), value }));
    }
    documents
}

fn kind(kind: &str) -> Vec<Value> {
    documents().into_iter().map(|document| document.value).filter(|value| value["kind"] == kind).collect()
}

/// The Deployment of a part of Sluicegate.
fn deployment(name: &str) -> Value {
    let mut deployments = kind("Deployment");
    deployments.retain(|deployment| deployment["metadata"]["name"] == name);
    assert_eq!(deployments.len(), 1);
    deployments.remove(0)
}

fn operator() -> Value {
    deployment("sluicegate-operator")
}

fn webhook() -> Value {
    deployment("sluicegate-webhook")
}

fn port<'d>(deployment: &'d Value, name: &str) -> &'d Value {
    let ports = deployment["spec"]["template"]["spec"]["containers"][0]["ports"].as_array().unwrap();
    &ports.iter().find(|port| port["name"] == name).unwrap()["containerPort"]
}

/// Where a value has something that its type does not keep: a field with a typing error, or one in the wrong place.
fn lost(given: &Value, kept: &Value, place: &str) -> Vec<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            let entries = given.iter().map(|(key, value)| (value, kept.get(key), format!("{place}.{key}")));
            entries
                .flat_map(|(value, kept, place)| match kept {
                    Some(kept) => lost(value, kept, &place),
                    None => vec![place],
                })
                .collect()
        }
        (Value::Array(given), Value::Array(kept)) if given.len() == kept.len() => {
            let entries = given.iter().zip(kept).enumerate();
            entries.flat_map(|(index, (given, kept))| lost(given, kept, &format!("{place}[{index}]"))).collect()
        }
        (given, kept) if given == kept => Vec::new(),
        _ => vec![place.to_owned()],
    }
}

fn strict<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), String> {
    let typed: T = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
    let lost = lost(value, &serde_json::to_value(&typed).unwrap(), "");
    if lost.is_empty() { Ok(()) } else { Err(format!("unknown: {}", lost.join(", "))) }
}

/// The fields of a Kustomization that we use; kustomize refuses others by itself.
fn kustomization(value: &Value) -> Result<(), String> {
    let known = ["apiVersion", "kind", "resources"];
    let unknown: Vec<_> = value.as_object().unwrap().keys().filter(|key| !known.contains(&key.as_str())).collect();
    if unknown.is_empty() { Ok(()) } else { Err(format!("unknown: {unknown:?}")) }
}

const ADMISSION: &str = "admissionregistration.k8s.io/v1";

fn judge(value: &Value) -> Result<(), String> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("v1", "Namespace") => strict::<v1::Namespace>(value),
        ("v1", "Service") => strict::<v1::Service>(value),
        ("v1", "ServiceAccount") => strict::<v1::ServiceAccount>(value),
        ("apps/v1", "Deployment") => strict::<Deployment>(value),
        ("policy/v1", "PodDisruptionBudget") => strict::<disruption::PodDisruptionBudget>(value),
        (ADMISSION, "MutatingWebhookConfiguration") => strict::<admission::MutatingWebhookConfiguration>(value),
        (ADMISSION, "ValidatingWebhookConfiguration") => strict::<admission::ValidatingWebhookConfiguration>(value),
        (ADMISSION, "ValidatingAdmissionPolicy") => strict::<admission::ValidatingAdmissionPolicy>(value),
        (ADMISSION, "ValidatingAdmissionPolicyBinding") => strict::<admission::ValidatingAdmissionPolicyBinding>(value),
        ("networking.k8s.io/v1", "NetworkPolicy") => strict::<networking::NetworkPolicy>(value),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => strict::<rbac::ClusterRole>(value),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => strict::<rbac::ClusterRoleBinding>(value),
        ("rbac.authorization.k8s.io/v1", "Role") => strict::<rbac::Role>(value),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => strict::<rbac::RoleBinding>(value),
        ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => strict::<CustomResourceDefinition>(value),
        ("kustomize.config.k8s.io/v1beta1", "Kustomization") => kustomization(value),
        (version, kind) => Err(format!("{version} {kind} is judged by no type: add it to this test")),
    }
}

#[test]
fn every_manifest_has_only_fields_that_kubernetes_knows() {
    for Document { file, value } in documents() {
        let judged = judge(&value);
        assert_eq!(judged, Ok(()), "{}: {} {}", file.display(), value["kind"], value["metadata"]["name"]);
    }
}

#[test]
fn a_field_with_a_typing_error_is_found() {
    let mut deployment = operator();
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnlyRootFileSystem"] = json!(true);
    assert_eq!(judge(&deployment), Err("unknown: .spec.template.spec.containers[0].readOnlyRootFileSystem".into()));
}

#[test]
fn the_kustomization_names_every_file_and_no_other() {
    let [kustomization] = kind("Kustomization").try_into().unwrap();
    let named = kustomization["resources"].as_array().unwrap().iter();
    let named: BTreeSet<PathBuf> = named.map(|name| PathBuf::from(name.as_str().unwrap())).collect();
    let mut there = files();
    there.remove(Path::new("kustomization.yaml"));
    // For administrators who choose them: in place of `guard/`, and in place of installing Flux' own kinds themselves.
    for chosen in ["guard-webhook/webhook-configuration.yaml", "flux-crds/rbac.yaml"] {
        assert!(there.remove(Path::new(chosen)), "{chosen}");
    }
    assert_eq!(named, there);
}

/// The arguments of a Deployment's container, as the command line reads them.
fn arguments(deployment: &Value) -> (String, clap::ArgMatches) {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    let matches = sluicegate_cli::command().try_get_matches_from(["sluicegate"].into_iter().chain(arguments)).unwrap();
    let (name, matches) = matches.subcommand().unwrap();
    // What is set in the environment is read.
    let command = sluicegate_cli::command().find_subcommand(name).unwrap().clone();
    let read: BTreeSet<_> = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    for variable in container["env"].as_array().unwrap() {
        assert!(read.contains(variable["name"].as_str().unwrap()), "nothing reads {}", variable["name"]);
    }
    (name.to_owned(), matches.clone())
}

/// The port of an address among the arguments.
fn listens(matches: &clap::ArgMatches, argument: &str) -> u16 {
    let address = matches.get_raw(argument).unwrap().next().unwrap().to_str().unwrap();
    address.parse::<std::net::SocketAddr>().unwrap().port()
}

#[test]
fn the_command_line_takes_what_the_deployments_give_it() {
    let (name, matches) = arguments(&operator());
    assert_eq!(name, "operator");
    // The probes' port is the one that it listens on.
    assert_eq!(*port(&operator(), "http"), listens(&matches, "listen"));
    let (name, matches) = arguments(&webhook());
    assert_eq!(name, "webhook");
    assert_eq!(*port(&webhook(), "https"), listens(&matches, "listen"));
    assert_eq!(*port(&webhook(), "probes"), listens(&matches, "probes"));
}

/// Whether a selector selects the pods of a Deployment.
fn selects(selector: &Value, deployment: &Value) -> bool {
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
fn everything_that_selects_pods_selects_those_of_its_own_part() {
    let deployments = [operator(), webhook()];
    let named = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let selectors = [
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("Deployment", "/spec/selector/matchLabels"),
    ];
    for (kinds, pointer) in selectors {
        let objects = kind(kinds);
        assert!(!objects.is_empty(), "{kinds}");
        for object in objects {
            let selector = object.pointer(pointer).unwrap();
            let selected: Vec<_> =
                deployments.iter().filter(|deployment| selects(selector, deployment)).map(named).collect();
            assert_eq!(selected, [named(&object)], "{kinds}");
        }
    }
}

#[test]
fn the_api_server_finds_the_webhook_s_service() {
    let service =
        kind("Service").into_iter().find(|service| service["metadata"]["name"] == "sluicegate-webhook").unwrap();
    let given = &service["spec"]["ports"][0];
    assert!(port(&webhook(), given["targetPort"].as_str().unwrap()).is_u64());
    for configuration in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"].into_iter().flat_map(kind) {
        for hook in configuration["webhooks"].as_array().unwrap() {
            let wanted = &hook["clientConfig"]["service"];
            assert_eq!(
                [&wanted["name"], &wanted["namespace"]],
                [&service["metadata"]["name"], &service["metadata"]["namespace"]]
            );
            assert_eq!(wanted["port"], given["port"]);
        }
    }
}

#[test]
fn pods_run_under_the_restricted_pod_security_standard() {
    for deployment in [operator(), webhook()] {
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        }
        assert!(["hostNetwork", "hostPID", "hostIPC", "volumes"].iter().all(|field| pod[field].is_null()));
    }
}

#[test]
fn the_image_is_of_this_version() {
    for deployment in [operator(), webhook()] {
        let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        assert_eq!(image, format!("ghcr.io/sluicegate/sluicegate:v{}", env!("CARGO_PKG_VERSION")));
    }
}

/// The objects that the Kustomizations in a page of the documentation make of those in `deploy/`.
fn patched_by(page: &str) -> Vec<Value> {
    let text = fs::read_to_string(deploy().join("../docs").join(page)).unwrap();
    // Blocks in lists are indented as a whole.
    let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("yaml\n"));
    let blocks = blocks.map(|block| {
        let indent = " ".repeat(block.len() - block.trim_start_matches(' ').len());
        block.lines().map(|line| format!("{}\n", line.strip_prefix(&indent).unwrap_or(line))).collect::<String>()
    });
    let kustomizations = blocks
        .map(|block| serde_saphyr::from_str::<Value>(&block).unwrap_or_else(|error| panic!("{page}: {error}\n{block}")))
        .filter(|block| block["kind"] == "Kustomization");
    let patches = kustomizations.flat_map(|block| block["patches"].as_array().cloned().unwrap());
    patches
        .map(|patch| {
            let target = &patch["target"];
            let mut objects = kind(target["kind"].as_str().unwrap());
            objects.retain(|object| object["metadata"]["name"] == target["name"]);
            let mut object = objects.pop().unwrap_or_else(|| panic!("{page}: there is no {target}"));
            let operations: json_patch::Patch = serde_saphyr::from_str(patch["patch"].as_str().unwrap()).unwrap();
            json_patch::patch(&mut object, &operations).unwrap();
            object
        })
        .collect()
}

#[test]
fn the_patches_in_the_documentation_fit() {
    let [policy, webhook] = patched_by("admission.md").try_into().unwrap();
    assert_eq!((judge(&policy), judge(&webhook)), (Ok(()), Ok(())));
    // Limited is who may ask; probes are not.
    let [admission, probes] = policy["spec"]["ingress"].as_array().unwrap().clone().try_into().unwrap();
    assert_eq!(admission["ports"][0]["port"], "https");
    assert!(admission["from"][0]["ipBlock"]["cidr"].is_string());
    assert_eq!((&probes["ports"][0]["port"], &probes["from"]), (&json!("probes"), &Value::Null));
    let (_, matches) = arguments(&webhook);
    let authority = matches.get_raw("client_ca").unwrap().next().unwrap().to_str().unwrap();
    let container = &webhook["spec"]["template"]["spec"]["containers"][0];
    assert!(authority.starts_with(container["volumeMounts"][0]["mountPath"].as_str().unwrap()));
    assert_eq!(container["volumeMounts"][0]["name"], webhook["spec"]["template"]["spec"]["volumes"][0]["name"]);
}

/// What a selector of Namespaces leaves out by name.
fn left_out(selector: &Value) -> BTreeSet<String> {
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let by_name = expressions.filter(|one| one["key"] == "kubernetes.io/metadata.name" && one["operator"] == "NotIn");
    by_name.flat_map(|one| one["values"].as_array().unwrap()).map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_cluster_can_start_itself_with_all_of_it_installed() {
    let own =
        |rules: &Value| rules.as_array().unwrap().iter().all(|rule| rule["apiGroups"] == json!(["sluicegate.dev"]));
    let of_namespaces = |resource: &Value| resource.as_str().unwrap().split('/').next() == Some("namespaces");
    let names_only = |rules: &Value| {
        rules.as_array().unwrap().iter().all(|rule| rule["resources"].as_array().unwrap().iter().all(of_namespaces))
    };
    let free = |selector: &Value| {
        let left = left_out(selector);
        ["kube-system", "sluicegate-system"].iter().all(|name| left.contains(*name))
    };
    for policy in kind("ValidatingAdmissionPolicyBinding") {
        let name = &policy["metadata"]["name"];
        let policies = kind("ValidatingAdmissionPolicy");
        let rules = &policies.iter().find(|one| one["metadata"]["name"] == policy["spec"]["policyName"]).unwrap()["spec"]
            ["matchConstraints"]["resourceRules"];
        assert!(
            own(rules) || names_only(rules) || free(&policy["spec"]["matchResources"]["namespaceSelector"]),
            "{name}"
        );
    }
    for configuration in ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"].into_iter().flat_map(kind) {
        for hook in configuration["webhooks"].as_array().unwrap() {
            // About Namespaces the guard's webhook is sent only what it refuses in any case: `refused` is a match condition.
            let conditions = hook["matchConditions"].as_array().into_iter().flatten();
            let refuses = names_only(&hook["rules"]) && conditions.into_iter().any(|one| one["name"] == "refused");
            assert!(own(&hook["rules"]) || refuses || free(&hook["namespaceSelector"]), "{}", hook["name"]);
        }
    }
}
