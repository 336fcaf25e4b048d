//! Fields of Flux objects that reach past every list: a table, for the engine and, in CEL, for the guard.

use serde_json::Value;

use crate::{rule::Rule, verdict::Violation};

/// ServiceAccount that the controllers of a tenant's own agent impersonate.
pub const RECONCILER: &str = "sluicegate-reconciler";
/// What the names of the platform's Secrets begin with, where an agent has copies of them.
pub(crate) const PLATFORM_SECRET: &str = "sluicegate-";

/// A field of some kinds, and what it may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FluxField {
    /// Kinds that have it.
    pub(crate) kinds: &'static [&'static str],
    /// Its place under `spec`.
    pub(crate) path: &'static [&'static str],
    /// What it may be.
    pub(crate) may_be: MayBe,
    /// Why it may be nothing else.
    pub(crate) message: &'static str,
    /// What to do instead.
    pub(crate) help: &'static str,
}

/// What a field may be: absent (or null, `false`, an empty list), or one thing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayBe {
    /// Nothing more.
    Absent,
    /// This text.
    Text(&'static str),
    /// The object's own namespace.
    OwnNamespace,
    /// A list without references to Secrets.
    NoSecrets,
    /// A list whose entries name no other namespace.
    OwnNamespaces,
    /// A reference to a Secret that is not the platform's.
    TeamSecret,
}

const SOURCES: &[&str] = &["GitRepository", "OCIRepository", "HelmRepository", "Bucket", "ImageRepository"];
const ACCOUNT: &str = "the agent impersonates the tenant's reconciler and nobody else";
const CLUSTER: &str = "another cluster is reached by a FluxConfig that names it, and by nothing else";
const CHANNEL: &str = "events go to channels that policy offers";
const NOTIFY: &str = "use spec.notify of the FluxConfig";
const FOREIGN: &str = "a source in another namespace is another team's";
const BESIDE: &str = "remove namespace: the source is beside the object";
const SECRET: &str = "the agent reads this Secret with its own rights, not the team's";
const MOUNT: &str = "mount the Secret in the pod instead, or encrypt the value with SOPS";

const fn field(
    kinds: &'static [&'static str],
    path: &'static [&'static str],
    may_be: MayBe,
    message: &'static str,
    help: &'static str,
) -> FluxField {
    FluxField { kinds, path, may_be, message, help }
}

/// All of them, in the order in which they are judged.
pub(crate) const FIELDS: &[FluxField] = &[
    field(
        &["GitRepository", "OCIRepository", "Bucket", "ImageRepository", "Provider"],
        &["proxySecretRef"],
        MayBe::Absent,
        "a proxy sees and sends everything, credentials included",
        "remove proxySecretRef",
    ),
    field(
        &["OCIRepository", "HelmRepository", "Bucket", "ImageRepository", "Provider"],
        &["certSecretRef"],
        MayBe::Absent,
        "own certificate authorities make any server look like an allowed one",
        "remove certSecretRef",
    ),
    field(
        SOURCES,
        &["provider"],
        MayBe::Text("generic"),
        "a cloud provider's identity is the platform's, not the team's",
        "remove provider, or write generic",
    ),
    field(
        &["OCIRepository", "HelmRepository", "Bucket", "ImageRepository"],
        &["insecure"],
        MayBe::Absent,
        "plain http can be read and changed on the way",
        "remove insecure",
    ),
    field(
        &["GitRepository"],
        &["recurseSubmodules"],
        MayBe::Absent,
        "submodules come from repositories that nobody checked",
        "remove recurseSubmodules",
    ),
    field(
        &["GitRepository"],
        &["include"],
        MayBe::Absent,
        "included repositories come along unchecked",
        "remove include, and use one FluxConfig for each repository",
    ),
    field(
        &["GitRepository", "OCIRepository", "Bucket"],
        &["ignore"],
        MayBe::Absent,
        "what of a source is left out is said in the source, where it is reviewed",
        "remove ignore, and write a .sourceignore to the source",
    ),
    field(
        &["HelmRepository"],
        &["passCredentials"],
        MayBe::Absent,
        "credentials would go to every host that the index names",
        "remove passCredentials",
    ),
    field(&["Bucket"], &["sts"], MayBe::Absent, "another endpoint would be asked for credentials", "remove sts"),
    field(SOURCES, &["serviceAccountName"], MayBe::Absent, ACCOUNT, "remove serviceAccountName"),
    field(
        &["Kustomization", "HelmRelease"],
        &["serviceAccountName"],
        MayBe::Text(RECONCILER),
        ACCOUNT,
        "remove serviceAccountName, or write sluicegate-reconciler",
    ),
    field(
        &["Kustomization", "HelmRelease"],
        &["kubeConfig"],
        MayBe::Absent,
        CLUSTER,
        "remove kubeConfig, and set spec.cluster of the FluxConfig",
    ),
    field(
        &["Kustomization", "HelmRelease"],
        &["targetNamespace"],
        MayBe::OwnNamespace,
        "another namespace is reached by a FluxConfig that names it, and by nothing else",
        "write the object's own namespace, or set spec.namespace of a FluxConfig",
    ),
    field(
        &["HelmRelease"],
        &["storageNamespace"],
        MayBe::OwnNamespace,
        "releases are stored in the target namespace",
        "remove storageNamespace, or write the object's own namespace",
    ),
    field(
        &["Kustomization"],
        &["decryption", "secretRef"],
        MayBe::TeamSecret,
        "the platform's keys decrypt what FluxConfigs deliver, and nothing else",
        "name a Secret of the team, or set spec.decryption of a FluxConfig",
    ),
    field(&["Kustomization"], &["postBuild", "substituteFrom"], MayBe::NoSecrets, SECRET, MOUNT),
    field(&["HelmRelease"], &["valuesFrom"], MayBe::NoSecrets, SECRET, MOUNT),
    field(
        &["Kustomization", "ImageUpdateAutomation", "HelmChart"],
        &["sourceRef", "namespace"],
        MayBe::OwnNamespace,
        FOREIGN,
        BESIDE,
    ),
    field(&["HelmRelease"], &["chartRef", "namespace"], MayBe::OwnNamespace, FOREIGN, BESIDE),
    field(&["HelmRelease"], &["chart", "spec", "sourceRef", "namespace"], MayBe::OwnNamespace, FOREIGN, BESIDE),
    field(&["ImagePolicy"], &["imageRepositoryRef", "namespace"], MayBe::OwnNamespace, FOREIGN, BESIDE),
    field(
        &["ImageUpdateAutomation"],
        &["git", "push"],
        MayBe::Absent,
        "what is pushed where is said by a FluxConfig, and by nothing else",
        "use spec.imageUpdates of the FluxConfig",
    ),
    field(&["Provider"], &["address"], MayBe::Absent, CHANNEL, NOTIFY),
    // A Secret may hold the address.
    field(&["Provider"], &["secretRef"], MayBe::Absent, CHANNEL, NOTIFY),
    field(
        &["Alert"],
        &["eventSources"],
        MayBe::OwnNamespaces,
        "what another team deploys is not this team's to hear of",
        "remove namespace",
    ),
    field(
        &["Receiver"],
        &["resources"],
        MayBe::OwnNamespaces,
        "what another team deploys is not this team's to reconcile",
        "remove namespace",
    ),
];

impl FluxField {
    /// Its path from the object, as messages say it.
    pub(crate) fn name(&self) -> String {
        format!("spec.{}", self.path.join("."))
    }

    /// What is wrong with it in an object of `kind`; `found` gets a violation for each.
    pub(crate) fn judge(&self, kind: &str, namespace: &str, spec: &Value, found: &mut Vec<Violation>) {
        if !self.kinds.contains(&kind) {
            return;
        }
        let Some(value) = self.path.iter().try_fold(spec, |value, key| value.get(key)) else { return };
        let mut forbid = |field: String, value: &str| {
            let mut violation = Violation::new(Rule::FluxObjectNotAllowed, field, self.message).help(self.help);
            violation.value = (!value.is_empty()).then(|| value.to_owned());
            found.push(violation);
        };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let entries = || value.as_array().into_iter().flatten().enumerate();
        let foreign = |other: &str| !other.is_empty() && other != namespace;
        match self.may_be {
            MayBe::NoSecrets => {
                for (index, entry) in entries().filter(|(_, entry)| text(entry, "kind") == "Secret") {
                    forbid(format!("{}[{index}]", self.name()), &text(entry, "name"));
                }
            }
            MayBe::OwnNamespaces => {
                for (index, entry) in entries().filter(|(_, entry)| foreign(&text(entry, "namespace"))) {
                    forbid(format!("{}[{index}].namespace", self.name()), &text(entry, "namespace"));
                }
            }
            MayBe::TeamSecret => {
                let name = text(value, "name");
                if name.starts_with(PLATFORM_SECRET) {
                    forbid(format!("{}.name", self.name()), &name);
                }
            }
            MayBe::Absent | MayBe::Text(_) | MayBe::OwnNamespace => {
                let harmless = match value {
                    Value::Null | Value::Bool(false) => true,
                    Value::Array(items) => items.is_empty(),
                    Value::String(text) => match self.may_be {
                        MayBe::Text(allowed) => text == allowed,
                        MayBe::OwnNamespace => text.is_empty() || text == namespace,
                        _ => false,
                    },
                    Value::Bool(true) | Value::Number(_) | Value::Object(_) => false,
                };
                if !harmless {
                    forbid(self.name(), value.as_str().unwrap_or_default());
                }
            }
        }
    }
}
