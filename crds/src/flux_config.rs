//! `FluxConfig`: what a team says. Everything but the source's URL is optional.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::{Condition, Decryption, DeletionPolicy, Reference, SecretReference, bounds};

/// What a team wants synced, and where to. The smallest valid one names a source URL only.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "sluicegate.dev",
    version = "v1alpha1",
    kind = "FluxConfig",
    plural = "fluxconfigs",
    shortname = "fc",
    category = "sluicegate",
    category = "flux",
    namespaced,
    status = "FluxConfigStatus",
    derive = "PartialEq",
    doc = "What a team wants synced, and where to. Administrators' policies complete and validate it.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63").message("metadata.name is a DNS label of at most 63 characters"),
    printcolumn(name = "CLUSTER", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "NAMESPACE", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "REVISION", type_ = "string", json_path = ".status.sync.lastAppliedRevision"),
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.cluster) || (has(self.cluster) && self.cluster == oldSelf.cluster)").message("cluster cannot change: delete this FluxConfig and create one for the other cluster"),
    validation = Rule::new("!has(oldSelf.__namespace__) || (has(self.__namespace__) && self.__namespace__ == oldSelf.__namespace__)").message("namespace cannot change: delete this FluxConfig and create one for the other namespace"),
    validation = Rule::new("!has(self.source.kind) || self.source.kind != 'Helm' || has(self.chart)").message("a Helm source needs chart"),
)]
pub struct FluxConfigSpec {
    /// Where the manifests or the chart come from.
    pub source: Source,
    /// Folder in the source, relative to its root. Completed from policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::PATH))]
    pub path: Option<String>,
    /// Deploy a Helm chart instead of the manifests under `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart: Option<Box<Chart>>,
    /// Logical id of the cluster to deploy to: the name of a FluxCluster. Completed from policy; never changes afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::LABEL), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub cluster: Option<String>,
    /// Namespace to deploy to. Completed from policy; never changes afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::LABEL), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: Option<String>,
    /// Image patterns; they narrow what policy allows and can never widen it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = bounds::CONFIG_IMAGES), inner(length(min = 1, max = bounds::PATTERN)))]
    pub images: Vec<String>,
    /// How often the source is looked at, such as `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub interval: Option<String>,
    /// How soon a failed sync is tried again; `interval` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub retry_interval: Option<String>,
    /// How long one sync, its health checks included, may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub timeout: Option<String>,
    /// Delete from the cluster what disappears from the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
    /// Report success only when all deployed objects are healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// FluxConfigs of the same tenant that must be ready first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub depends_on: Vec<Dependency>,
    /// Plain values for `${name}` in the manifests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = bounds::ENTRIES))]
    pub substitute: BTreeMap<String, String>,
    /// Decrypt SOPS files in the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,
    /// Keep image tags in the repository up to date by commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_updates: Option<Box<ImageUpdates>>,
    /// Channels, of those that policy offers, which hear about syncs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub notify: Vec<Notification>,
    /// The FluxConfig removes itself after this time: a review environment. Days are allowed, such as `3d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"))]
    pub ttl: Option<String>,
    /// What becomes of the deployed objects when this FluxConfig is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionPolicy>,
    /// Stop syncing; nothing that runs is touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Where manifests or charts come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `https://`, `ssh://` (Git), `oci://` (OCI artifact or Helm), in canonical form. A bucket is `https://endpoint/bucket`.
    #[schemars(length(min = 1, max = bounds::URL), regex(pattern = "^[!-~]+$"))]
    pub url: String,
    /// Kind of source; from the URL's scheme when absent: OCI for `oci://`, Git otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SourceKind>,
    /// What of the source is synced. Completed from policy.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// The team's own Secret with credentials, where policy lets teams bring one. Absent: the policy's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Sync only what carries a good signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Box<Verification>>,
}

/// Kinds of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SourceKind {
    /// A Git repository over https or ssh.
    Git,
    /// An OCI artifact, or a Helm chart as one.
    #[serde(rename = "OCI")]
    Oci,
    /// A Helm repository over https or oci.
    Helm,
    /// An S3-compatible bucket.
    Bucket,
}

/// Signatures that are asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.mode) && has(self.provider))").message("mode is for Git, provider for OCI: only one of them is allowed"))]
pub struct Verification {
    /// Git: which objects must be signed. HEAD when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<VerificationMode>,
    /// OCI: which tool signed. cosign when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<VerificationProvider>,
    /// The team's own Secret with public keys, where policy lets teams bring one. Absent: the policy's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// OCI, keyless cosign: who may have signed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub match_oidc_identity: Vec<OidcIdentity>,
}

/// Which Git objects must be signed (`GitRepository.spec.verify.mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerificationMode {
    /// The commit.
    #[default]
    #[serde(rename = "HEAD")]
    Head,
    /// The tag.
    Tag,
    /// The tag and the commit it points at.
    #[serde(rename = "TagAndHEAD")]
    TagAndHead,
}

/// Tools that sign OCI artifacts (`OCIRepository.spec.verify.provider`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum VerificationProvider {
    /// Sigstore cosign.
    #[default]
    Cosign,
    /// Notary Project notation.
    Notation,
}

/// An OIDC identity, both parts regular expressions of the signing tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcIdentity {
    /// Issuer.
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub issuer: String,
    /// Subject.
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub subject: String,
}

/// A Helm chart. From a Helm source by `name`; from Git or a bucket by the FluxConfig's `path`; an OCI source is the chart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Name of the chart in a Helm repository; for no other kind of source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::LABEL))]
    pub name: Option<String>,
    /// Version or range of versions of the chart in a Helm repository; the newest when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::REFERENCE))]
    pub version: Option<String>,
    /// Name of the release; the FluxConfig's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 53), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub release_name: Option<String>,
    /// Values in the FluxConfig itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form_object")]
    pub values: Option<serde_json::Map<String, serde_json::Value>>,
    /// ConfigMaps and Secrets of the team with values; later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub values_from: Vec<ValuesReference>,
    /// Files with values in the source, relative to its root; later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS), inner(length(min = 1, max = bounds::PATH)))]
    pub values_files: Vec<String>,
}

fn free_form_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A ConfigMap or Secret with Helm values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValuesReference {
    /// ConfigMap or Secret.
    pub kind: ValuesKind,
    /// Name of the object, in the namespace of the Flux objects.
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub name: String,
    /// Key in the object; `values.yaml` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub values_key: Option<String>,
    /// Where a single value goes, in Helm's dot notation; absent: the key holds a whole values file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub target_path: Option<String>,
    /// A missing object is no error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Kinds of object that hold Helm values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValuesKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A FluxConfig of the same tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Its name.
    #[schemars(length(min = 1, max = bounds::LABEL))]
    pub name: String,
}

/// Image automation: newer tags of images are committed to the repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageUpdates {
    /// Branch that commits are pushed to; the synced branch when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::REFERENCE))]
    pub branch: Option<String>,
    /// Folder in which image references are updated; the FluxConfig's `path` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::PATH))]
    pub path: Option<String>,
    /// The images.
    #[schemars(length(min = 1, max = bounds::ITEMS))]
    pub images: Vec<ImageUpdate>,
}

/// One image that automation watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageUpdate {
    /// Name that the markers in the manifests use.
    #[schemars(length(min = 1, max = bounds::LABEL), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The image without tag or digest.
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub image: String,
    /// Which tag is the newest.
    pub policy: ImagePolicy,
    /// Which tags are looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_tags: Option<FilterTags>,
}

/// Which tag is the newest: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.semver), has(self.alphabetical), has(self.numerical)].filter(x, x).size() == 1").message("exactly one of semver, alphabetical, numerical is allowed"))]
pub struct ImagePolicy {
    /// The highest semantic version in a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<SemverPolicy>,
    /// The last in alphabetical order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alphabetical: Option<AlphabeticalPolicy>,
    /// The last in numerical order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numerical: Option<NumericalPolicy>,
}

/// Chooses by semantic version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SemverPolicy {
    /// Range of versions.
    #[schemars(length(min = 1, max = bounds::REFERENCE))]
    pub range: String,
}

/// Chooses by alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlphabeticalPolicy {
    /// Direction; ascending when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Ordering>,
}

/// Chooses by numerical order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NumericalPolicy {
    /// Direction; ascending when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Ordering>,
}

/// Direction of an order: the last one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Ascending.
    #[default]
    Asc,
    /// Descending.
    Desc,
}

/// A filter on tags, as in Flux' ImagePolicy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilterTags {
    /// Regular expression (RE2) that a tag must match.
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub pattern: String,
    /// What of the match is ordered, such as `$ts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub extract: Option<String>,
}

/// A channel that hears about syncs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Name of a channel that policy offers.
    #[schemars(length(min = 1, max = bounds::LABEL))]
    pub channel: String,
    /// What is sent; errors when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<NotificationSeverity>,
}

/// What a channel hears (`Alert.spec.eventSeverity`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NotificationSeverity {
    /// Everything.
    Info,
    /// Failures only.
    #[default]
    Error,
}

/// What became of a FluxConfig.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FluxConfigStatus {
    /// `Ready` (the summary), `Admitted`, `AgentReady`, `Synced`; and, only while they hold, `Reconciling` (it goes on or is
    /// tried again) or `Stalled` (nothing changes before somebody acts).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub conditions: Vec<Condition>,
    /// Effective values and where each comes from; those of the last admission while what it deployed is still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ENTRIES))]
    pub resolved: Vec<ResolvedField>,
    /// Why it is not admitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ENTRIES))]
    pub violations: Vec<ViolationStatus>,
    /// What Flux did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// Digest of the policies that the verdict was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_digest: Option<String>,
    /// The `metadata.generation` that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// One effective value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedField {
    /// Path of the field, such as `spec.interval`.
    pub field: String,
    /// The value, as text.
    pub value: String,
    /// `FluxConfig`, `FluxPolicy/<name>` with the field it comes from, or `built-in`.
    pub origin: String,
}

/// One reason for a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViolationStatus {
    /// Stable id of the rule, such as `source-not-allowed`.
    pub rule: String,
    /// Path of the field.
    pub field: String,
    /// What was found and what is allowed.
    pub message: String,
}

/// What Flux did with an admitted FluxConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// Revision that was tried last, such as `main@sha1:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// Revision that was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// Author of that commit, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// First line of that commit's message, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_message: Option<String>,
    /// Flux' last error, in full; it stays until Flux succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Number of objects that are deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<i64>,
}
