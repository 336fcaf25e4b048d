//! The Sluicegate kinds, `sluicegate.dev/v1alpha1`, as Rust types.
//!
//! What lives here: the shapes of [`FluxConfig`] (a team's wish), [`FluxPolicy`] (the administrators' decisions) and
//! [`FluxCluster`] (a logical cluster id), with their bounds, CEL rules and printer columns, and [`generate`], which turns
//! them into CustomResourceDefinitions and editor schemas. What does not: any decision. Whether a FluxConfig is admitted
//! is for the engine in `sluicegate-policy`, which depends on this crate and never the other way.

pub mod bounds;
mod common;
mod flux_cluster;
mod flux_config;
mod flux_policy;
pub mod generate;

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
    Features, FluxPolicy, FluxPolicySpec, FluxPolicyStatus, HelmSources, ImageRules, Limits, OnViolation, PatternList,
    Placement, Scheduling, Sources, Taint, TenantSecrets, Toleration, TolerationOperator, VerificationKey,
};

/// The API group of every Sluicegate kind.
pub const GROUP: &str = "sluicegate.dev";
/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "sluicegate.dev/v1alpha1";
/// Label on a Namespace that gives the tenant another name than the namespace's. Only administrators may set it.
pub const TENANT_LABEL: &str = "sluicegate.dev/tenant";
