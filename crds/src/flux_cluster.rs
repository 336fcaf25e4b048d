//! `FluxCluster`: a logical cluster id and how to reach the cluster behind it.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, SecretReference, bounds};

/// A cluster that teams may name by its logical id (`metadata.name`). Its labels are what `clusterSelector`s match.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "sluicegate.dev",
    version = "v1alpha1",
    kind = "FluxCluster",
    plural = "fluxclusters",
    shortname = "fcl",
    category = "sluicegate",
    category = "flux",
    status = "FluxClusterStatus",
    derive = "PartialEq",
    doc = "A logical cluster id, and how Sluicegate reaches the cluster behind it. Written by administrators.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && self.metadata.name.size() <= 63").message("metadata.name is a cluster id: a DNS label of at most 63 characters"),
    printcolumn(name = "GUARD", type_ = "string", json_path = ".spec.guard"),
    printcolumn(name = "KUBERNETES", type_ = "string", json_path = ".status.kubernetesVersion"),
    printcolumn(name = "FLUX", type_ = "string", json_path = ".status.fluxVersion"),
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct FluxClusterSpec {
    /// How the operator reaches it: exactly one way.
    pub connection: ClusterConnection,
    /// The Flux release on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux: Option<ClusterFlux>,
    /// What rejects forbidden objects at admission. Native (ValidatingAdmissionPolicy) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardMode>,
}

/// How the operator reaches a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.inCluster) != has(self.kubeconfig)").message("exactly one of inCluster, kubeconfig is allowed"))]
pub struct ClusterConnection {
    /// The cluster that the operator itself runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_cluster: Option<InCluster>,
    /// Another cluster, by a kubeconfig in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<KubeconfigConnection>,
}

/// The cluster that the operator itself runs on; there is nothing to set: `inCluster: {}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InCluster {}

/// A connection by kubeconfig. Exec plugins, file paths and `insecure-skip-tls-verify` in it are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigConnection {
    /// The Secret, in the operator's namespace.
    pub secret_ref: KubeconfigSecretReference,
}

/// A key of a Secret that holds a kubeconfig.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeconfigSecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub name: String,
    /// Key in the Secret; `value` when absent, as in Flux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub key: Option<String>,
}

/// The Flux release on a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.crds) || self.crds != 'Managed' || has(self.artifact)").message("crds: Managed needs artifact, the OCI repository with the releases' manifests"))]
#[x_kube(validation = Rule::new("!has(self.artifactSecretRef) || has(self.artifact)").message("artifactSecretRef needs artifact"))]
pub struct ClusterFlux {
    /// Release, such as `2.9.3`, or a range such as `2.9.x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::REFERENCE))]
    pub version: Option<String>,
    /// Who installs the Flux CRDs. External when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crds: Option<CrdManagement>,
    /// OCI repository with the releases' manifests, for `crds: Managed`, such as `oci://ghcr.io/fluxcd/flux-manifests`. The tag
    /// is the release: `v2.9.3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::URL))]
    pub artifact: Option<String>,
    /// Secret of the type `kubernetes.io/dockerconfigjson` in the operator's namespace, for a registry that asks who pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_secret_ref: Option<SecretReference>,
}

/// Who installs the Flux CRDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CrdManagement {
    /// Somebody else; Sluicegate only checks them.
    #[default]
    External,
    /// Sluicegate, from the release's OCI artifact. They never go back to an older release, and stay when this is taken away.
    Managed,
}

/// What rejects forbidden objects at admission on a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GuardMode {
    /// The API server's own ValidatingAdmissionPolicies.
    #[default]
    Native,
    /// Sluicegate's validating webhook.
    Webhook,
    /// Nothing: tenants' objects are not checked at admission.
    Off,
}

/// What the operator saw of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FluxClusterStatus {
    /// `Ready` and `Reachable`; and, only while they hold, `PlatformFluxNotExcluded` (a platform-wide Flux would reconcile
    /// tenants' objects with rights of its own), `Contested` (somebody else keeps changing what Sluicegate writes there) and
    /// `Reconciling`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub conditions: Vec<Condition>,
    /// Version of the API server, such as `v1.35.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_version: Option<String>,
    /// Release of the Flux CRDs, where Sluicegate manages them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux_version: Option<String>,
    /// Agents that run there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<i64>,
    /// Tenants that deploy there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<i64>,
    /// The guard in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardMode>,
    /// The `metadata.generation` that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
