//! The Sluicegate kinds, `sluicegate.dev/v1alpha1`, as Rust types.
//!
//! What lives here: the shapes of [`FluxConfig`] (a team's wish), [`FluxPolicy`] (the administrators' decisions),
//! [`FluxCluster`] (a logical cluster id) and [`TenantGuard`] (policies compiled for the API server), with their bounds, CEL rules and printer columns, and [`generate`], which turns
//! them into CustomResourceDefinitions and editor schemas. What does not: any decision. Whether a FluxConfig is admitted
//! is for the engine in `sluicegate-policy`, which depends on this crate and never the other way.

pub mod bounds;
mod common;
mod flux_cluster;
mod flux_config;
mod flux_policy;
pub mod generate;
mod tenant_guard;

pub use common::{
    Condition, ConditionStatus, Decryption, DecryptionProvider, DeletionPolicy, NameSelector, Reference, Requirement,
    SecretReference, Selector, SelectorOperator,
};
pub use flux_cluster::{
    ClusterConnection, ClusterFlux, CrdManagement, FluxCluster, FluxClusterSpec, FluxClusterStatus, GuardMode,
    InCluster, KubeconfigConnection, KubeconfigSecretReference,
};
pub use flux_config::{
    AlphabeticalPolicy, Chart, Dependency, FilterTags, FluxConfig, FluxConfigSpec, FluxConfigStatus, ImagePolicy,
    ImageUpdate, ImageUpdates, Notification, NotificationSeverity, NumericalPolicy, OidcIdentity, Ordering,
    ResolvedField, SemverPolicy, Source, SourceKind, SyncStatus, ValuesKind, ValuesReference, Verification,
    VerificationMode, VerificationProvider, ViolationStatus,
};
pub use flux_policy::{
    Agent, AgentComponent, AgentResources, ArtifactSources, Channel, ChannelType, Credential, Defaults, Destination,
    Egress, EgressProxy, Features, FluxPolicy, FluxPolicySpec, FluxPolicyStatus, HelmSources, ImageRules, Limits,
    OnViolation, PatternList, Placement, Scheduling, Sources, Taint, TenantSecrets, Toleration, TolerationOperator,
    VerificationKey,
};
pub use tenant_guard::{
    GuardedImages, GuardedList, GuardedSources, PatternIndex, Shape, TENANT_GUARD, TenantGuard, TenantGuardSpec,
};

/// The API group of every Sluicegate kind.
pub const GROUP: &str = "sluicegate.dev";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "sluicegate.dev/v1alpha1";
/// Label on a Namespace that says whose the workloads in it are, by which the guard knows it. Administrators may set it, and
/// Sluicegate sets it on targets.
pub const TENANT_LABEL: &str = "sluicegate.dev/tenant";
/// Label with the namespace of an agent, on everything that belongs to it, its Flux objects above all. A platform-wide Flux on
/// the same cluster leaves alone what carries it (`--watch-label-selector=!sluicegate.dev/agent`).
pub const AGENT_LABEL: &str = "sluicegate.dev/agent";
/// Label with the name of the FluxConfig that an object is of.
pub const CONFIG_LABEL: &str = "sluicegate.dev/config";
/// Label with the namespace of the FluxConfig that an object is of. On a Namespace of the management cluster: the name of the
/// tenant whose the FluxConfigs in it are, which only administrators may set.
pub const HOME_LABEL: &str = "sluicegate.dev/home";
/// Label on everything that Sluicegate owns; with [`MANAGER`] as its value.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Field manager of every server-side apply, and value of [`MANAGED_BY_LABEL`].
pub const MANAGER: &str = "sluicegate";
/// Label of an agent's pods; with [`AGENT_PODS`] as its value.
pub const PART_OF_LABEL: &str = "app.kubernetes.io/part-of";
/// Value of [`PART_OF_LABEL`].
pub const AGENT_PODS: &str = "sluicegate-agent";
/// Annotation on Namespaces that Sluicegate has made. Those that it found are given back, not deleted.
pub const CREATED_ANNOTATION: &str = "sluicegate.dev/created";
/// Finalizer of the operator on FluxConfigs.
pub const FINALIZER: &str = "sluicegate.dev/agent";
/// Namespace of Sluicegate itself.
pub const SYSTEM_NAMESPACE: &str = "sluicegate-system";
