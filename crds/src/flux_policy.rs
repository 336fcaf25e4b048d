//! `FluxPolicy`: what administrators decide once, for many teams.

// Printer columns of the same type look like repeated attributes to clippy.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, Decryption, DeletionPolicy, NameSelector, Reference, SecretReference, Selector, bounds};

/// What administrators decide once: who may sync what to where, and what fills the blanks.
///
/// All policies that select a tenant apply together: allow lists are united, any deny wins, limits are the strictest.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "sluicegate.dev",
    version = "v1alpha1",
    kind = "FluxPolicy",
    plural = "fluxpolicies",
    shortname = "fp",
    category = "sluicegate",
    category = "flux",
    status = "FluxPolicyStatus",
    derive = "PartialEq",
    doc = "What administrators decide once: which sources, images and destinations tenants may use, and what fills the blanks.",
    printcolumn(name = "PRIORITY", type_ = "integer", json_path = ".spec.priority"),
    printcolumn(name = "TENANTS", type_ = "integer", json_path = ".status.tenants"),
    printcolumn(name = "ADMITTED", type_ = "integer", json_path = ".status.admitted"),
    printcolumn(name = "REFUSED", type_ = "integer", json_path = ".status.refused"),
    printcolumn(name = "READY", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.clusters) || (has(self.clusters.names) && '*' in self.clusters.names && !has(self.clusters.selector)) || (!has(self.destinations) && (!has(self.defaults) || (!has(self.defaults.cluster) && !has(self.defaults.__namespace__))))").message("a policy for some clusters only must not set destinations, defaults.cluster or defaults.namespace: where a FluxConfig goes is decided before its cluster is known"),
)]
pub struct FluxPolicySpec {
    /// Which tenants it is for.
    pub tenants: NameSelector,
    /// Which clusters it is for; absent (or `names: ["*"]`): every cluster. A policy for some clusters only cannot decide
    /// where a FluxConfig goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<NameSelector>,
    /// Decides between defaults of several policies, and nothing else: the highest wins. 0 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1000, max = 1000))]
    pub priority: Option<i32>,
    /// Which repositories, charts, artifacts and buckets may be synced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// Which images may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<ImageRules>,
    /// Where tenants may deploy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = bounds::ITEMS))]
    pub destinations: Vec<Destination>,
    /// Credentials for sources. The most specific match is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS))]
    pub credentials: Vec<Credential>,
    /// Whether a FluxConfig may name a Secret of its own. Any Deny wins; denied when no policy says Allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_secrets: Option<TenantSecrets>,
    /// Users who may write FluxConfigs, such as `system:serviceaccount:flux-system:kustomize-controller`. Absent: whoever
    /// RBAC lets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS), inner(length(min = 1, max = bounds::NAME)))]
    pub writers: Vec<String>,
    /// What fills the blanks of a FluxConfig.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Box<Defaults>>,
    /// Upper and lower bounds; the strictest of all policies applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What tenants may use. On where some policy turns it on and none turns it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Channels that teams may choose from in `notify`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub channels: Vec<Channel>,
    /// The agents that serve the tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Box<Agent>>,
    /// Hard limits of a ResourceQuota in each of the tenant's target namespaces: quantities by resource name as Kubernetes has
    /// them, such as `pods: "50"` or `requests.memory: 8Gi`. No ResourceQuota when no policy says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = bounds::ITEMS))]
    pub quota: BTreeMap<String, String>,
    /// ClusterRole bound to the tenant's reconciler in its target namespaces. `sluicegate-tenant` when no policy names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub role: Option<String>,
    /// What happens to an admitted FluxConfig that a policy change forbids. Suspend when no policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_violation: Option<OnViolation>,
}

/// Which repositories, charts, artifacts and buckets may be synced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sources {
    /// Git repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<PatternList>,
    /// Helm repositories and their charts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSources>,
    /// OCI artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<ArtifactSources>,
    /// Buckets, as `https://endpoint/bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<PatternList>,
    /// Only signed commits and artifacts. On where any policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_verification: Option<bool>,
    /// Public keys that signatures are checked with. The most specific match is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS))]
    pub verification_keys: Vec<VerificationKey>,
}

/// Patterns that allow and deny. Any deny wins over every allow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatternList {
    /// Allowed; united over all policies. An empty list allows nothing; `"**"` allows everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub allow: Vec<String>,
    /// Denied, whatever is allowed elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub deny: Vec<String>,
}

/// [`PatternList`] for Helm repositories, with their charts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HelmSources {
    /// Allowed repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub allow: Vec<String>,
    /// Denied repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub deny: Vec<String>,
    /// Names of charts in those repositories; `*` matches any run of characters. A chart must be allowed beside its
    /// repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charts: Option<PatternList>,
}

/// [`PatternList`] for OCI artifacts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArtifactSources {
    /// Allowed artifacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub allow: Vec<String>,
    /// Denied artifacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub deny: Vec<String>,
    /// Every artifact must be named by digest. On where any policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
}

/// Public keys for sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationKey {
    /// Sources that they are for.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub pattern: String,
    /// The Secret with the public keys, in the operator's namespace; `${tenant}` is allowed in the name.
    pub secret_ref: SecretReference,
}

/// Which images may run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageRules {
    /// Allowed; united over all policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub allow: Vec<String>,
    /// Denied, whatever is allowed elsewhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::PATTERNS), inner(length(min = 1, max = bounds::PATTERN)))]
    pub deny: Vec<String>,
    /// Every image must be named by digest. On where any policy asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_digest: Option<bool>,
    /// Tags that no image may have; an image with neither tag nor digest has the tag `latest`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS), inner(length(min = 1, max = 128)))]
    pub deny_tags: Vec<String>,
}

/// A place that tenants may deploy to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.clusters) || has(self.clusterSelector)").message("clusters or clusterSelector is required"))]
pub struct Destination {
    /// Cluster ids; `*` matches any run of characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = bounds::PATTERNS), inner(length(min = 1, max = bounds::LABEL)))]
    pub clusters: Vec<String>,
    /// Labels of the FluxCluster; beside `clusters` both must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<Selector>,
    /// Namespaces; `*` matches any run of characters, `${tenant}` and `${cluster}` stand for their names.
    #[schemars(length(min = 1, max = bounds::PATTERNS), inner(length(min = 1, max = 128)))]
    pub namespaces: Vec<String>,
    /// The operator creates a missing namespace. One that exists is taken only with an administrator's label, or as the tenant's
    /// own home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_namespace: Option<bool>,
}

/// Credentials for sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    /// Sources that they are for.
    #[serde(rename = "match")]
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub pattern: String,
    /// The Secret, in the operator's namespace; `${tenant}` is allowed in the name.
    pub secret_ref: SecretReference,
    /// May be copied to a namespace where the team can read it. false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<bool>,
}

/// Whether teams may name Secrets of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TenantSecrets {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// What fills the blanks of a FluxConfig. Each field is taken from the policy with the highest priority that has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// Cluster id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::LABEL))]
    pub cluster: Option<String>,
    /// Target namespace; `${tenant}` and `${cluster}` are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub namespace: Option<String>,
    /// What of the source is synced. `branch` and `commit` fill in for Git only, `digest` for OCI only.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Folder in the source; `${tenant}`, `${namespace}` and `${cluster}` are allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::PATH))]
    pub path: Option<String>,
    /// How often the source is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION))]
    pub interval: Option<String>,
    /// How soon a failed sync is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION))]
    pub retry_interval: Option<String>,
    /// How long one sync may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION))]
    pub timeout: Option<String>,
    /// Delete from the cluster what disappears from the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<bool>,
    /// Report success only when all deployed objects are healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Decrypt SOPS files with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<Decryption>,
    /// What becomes of deployed objects when a FluxConfig is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<DeletionPolicy>,
}

/// Upper and lower bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most FluxConfigs that a tenant may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub flux_configs: Option<u32>,
    /// Shortest `interval` and `retryInterval`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION))]
    pub min_interval: Option<String>,
    /// Longest `ttl`; days are allowed, such as `7d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION))]
    pub max_ttl: Option<String>,
}

/// What tenants may use. Absent is "says nothing".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// Helm releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<bool>,
    /// Image automation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_updates: Option<bool>,
    /// SOPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decryption: Option<bool>,
    /// Kustomizations that load bases from other repositories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_bases: Option<bool>,
}

/// A channel that teams may choose in `notify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Name that teams use.
    #[schemars(length(min = 1, max = bounds::LABEL), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Type of the receiving system (`Provider.spec.type`).
    #[serde(rename = "type")]
    pub type_: ChannelType,
    /// Address, where it is no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::URL))]
    pub address: Option<String>,
    /// Room or channel in the receiving system; `${tenant}` is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub channel: Option<String>,
    /// Secret with address or token, in the operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

/// Receiving systems (`Provider.spec.type` of Flux).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelType {
    /// Prometheus Alertmanager.
    Alertmanager,
    /// Discord.
    Discord,
    /// Any HTTP endpoint.
    Generic,
    /// Any HTTP endpoint, with an HMAC signature.
    #[serde(rename = "generic-hmac")]
    GenericHmac,
    /// Commit status on Gitea.
    Gitea,
    /// Commit status on GitHub.
    Github,
    /// Commit status on GitLab.
    Gitlab,
    /// Google Chat.
    Googlechat,
    /// Grafana annotations.
    Grafana,
    /// Matrix.
    Matrix,
    /// Microsoft Teams.
    Msteams,
    /// Opsgenie.
    Opsgenie,
    /// PagerDuty.
    Pagerduty,
    /// Rocket.Chat.
    Rocket,
    /// Sentry.
    Sentry,
    /// Slack.
    Slack,
    /// Telegram.
    Telegram,
    /// Webex.
    Webex,
}

/// The agents that serve the tenants. Each field is taken from the policy with the highest priority that has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Where agents live. Isolated when no policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// With placement Pooled: the number of pools on each cluster. A tenant is always in the same one. 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub pools: Option<u32>,
    /// Flux release, such as `2.9.3`, or a range such as `2.9.x`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::REFERENCE))]
    pub version: Option<String>,
    /// Controllers; those that a tenant's FluxConfigs need when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 7))]
    pub components: Option<Vec<AgentComponent>>,
    /// Resources of each controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<AgentResources>,
    /// Registry and folder of the controllers' images. `ghcr.io/fluxcd` when no policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub image_registry: Option<String>,
    /// Objects that a controller reconciles at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub concurrency: Option<u32>,
    /// Where its pods may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// An agent with nothing to do for this long is scaled to zero; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::DURATION))]
    pub sleep_after: Option<String>,
    /// Where its controllers may connect to. Anywhere but link-local addresses when no policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
}

/// Where the controllers of an agent that fetch, scan, push and notify may connect to, beside the API servers, DNS and the agent
/// itself. A NetworkPolicy holds it, which knows addresses and not hosts; a proxy knows hosts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.cidrs) || has(self.namespaces)").message("cidrs or namespaces is required: otherwise nothing could be reached"))]
pub struct Egress {
    /// Blocks of addresses outside the cluster, such as `192.0.2.0/24` or `2001:db8::/32`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = bounds::ITEMS), inner(length(min = 1, max = 49)))]
    pub cidrs: Vec<String>,
    /// Namespaces whose pods may be reached, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = bounds::ITEMS), inner(length(min = 1, max = bounds::LABEL)))]
    pub namespaces: Vec<String>,
    /// The HTTP proxy by which the controllers connect; its address is in `cidrs`, or its pods are in one of `namespaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<EgressProxy>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EgressProxy {
    /// Its URL: scheme, host and port, without user and path, such as `http://proxy.example.com:3128`.
    #[schemars(length(min = 1, max = bounds::URL))]
    pub url: String,
    /// Hosts that are reached without it: names, `.example.com` for every host below, addresses, blocks. Services of the cluster
    /// and the API servers always are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS), inner(length(min = 1, max = bounds::NAME)))]
    pub no_proxy: Vec<String>,
}

/// Where agent, Flux objects and credentials live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Placement {
    /// In the target namespace, beside the team's workloads.
    Namespace,
    /// In a namespace of the tenant's own, which the team cannot touch.
    #[default]
    Isolated,
    /// In one namespace for many tenants, each with a reconciler of its own.
    Pooled,
}

/// Controllers of Flux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgentComponent {
    /// source-controller.
    Source,
    /// kustomize-controller.
    Kustomize,
    /// helm-controller.
    Helm,
    /// notification-controller.
    Notification,
    /// image-reflector-controller.
    ImageReflector,
    /// image-automation-controller.
    ImageAutomation,
    /// source-watcher.
    SourceWatcher,
}

/// Resources of a controller's container, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentResources {
    /// Requests: quantities by resource name, such as `cpu: 10m`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: BTreeMap<String, String>,
    /// Limits: quantities by resource name, such as `memory: 512Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub limits: BTreeMap<String, String>,
}

/// Where an agent's pods may run, as in a PodSpec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = bounds::ITEMS))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that its pods bear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub tolerations: Vec<Toleration>,
    /// PriorityClass of its pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = bounds::NAME))]
    pub priority_class_name: Option<String>,
}

/// A taint that a pod bears, as in a PodSpec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key of the taint; absent: every key, with `operator: Exists`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// How the taint's value relates to `value`. Equal when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bounds::LABEL))]
    pub value: Option<String>,
    /// Effect of the taint; absent: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Taint>,
    /// For how long, with `NoExecute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// How a toleration compares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The values are equal.
    #[default]
    Equal,
    /// The taint exists.
    Exists,
}

/// Effects of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Taint {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away where possible.
    PreferNoSchedule,
    /// Running pods are evicted too.
    NoExecute,
}

/// What happens to an admitted FluxConfig that a policy change forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnViolation {
    /// It is not synced any more; what runs stays.
    #[default]
    Suspend,
    /// It goes on as it was last admitted.
    Keep,
    /// What it deployed is removed.
    Remove,
}

/// What became of a FluxPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FluxPolicyStatus {
    /// `Ready`: it is valid and in force; `Stalled` only while it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::ITEMS))]
    pub conditions: Vec<Condition>,
    /// Tenants that it selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<i64>,
    /// FluxConfigs of those tenants that are admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<i64>,
    /// FluxConfigs of those tenants that are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<i64>,
    /// The `metadata.generation` that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
