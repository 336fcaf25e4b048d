//! `TenantGuard`: what a tenant may in one namespace, compiled for the API server.

// Columns of the same type are not the same column.
#![allow(clippy::duplicated_attributes)]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;

/// Name of the one TenantGuard of a namespace.
pub const TENANT_GUARD: &str = "sluicegate";

/// What a tenant may in the namespace, compiled from the policies: the parameter of the ValidatingAdmissionPolicies of
/// `deploy/guard`. Written by the operator, and by nobody else; its source of truth is the FluxPolicies.
///
/// No field has a default that allows: where something is missing the guard refuses.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "sluicegate.dev",
    version = "v1alpha1",
    kind = "TenantGuard",
    plural = "tenantguards",
    shortname = "tg",
    category = "sluicegate",
    namespaced,
    derive = "PartialEq",
    doc = "What a tenant may in a namespace, compiled for the API server. Written by the operator, and by nobody else.",
    printcolumn(name = "TENANT", type_ = "string", json_path = ".spec.tenant"),
    printcolumn(name = "CLUSTER", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "REFUSAL", type_ = "string", json_path = ".spec.refusal"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct TenantGuardSpec {
    /// The tenant that the namespace belongs to.
    #[schemars(length(min = 1, max = bounds::LABEL))]
    pub tenant: String,
    /// Id of the cluster.
    #[schemars(length(min = 1, max = bounds::LABEL))]
    pub cluster: String,
    /// User name of the operator on this cluster: what it writes was decided by the engine.
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub operator: String,
    /// ServiceAccounts of the agent that lives in this namespace, which nobody else may use; empty where none does.
    #[schemars(length(max = bounds::ITEMS), inner(length(min = 1, max = bounds::NAME)))]
    pub accounts: Vec<String>,
    /// Why nothing is allowed at all, in one line with the rule's id; empty where the lists decide.
    #[schemars(length(max = bounds::PATH))]
    pub refusal: String,
    /// Images of pods.
    pub images: GuardedImages,
    /// Sources of Flux objects.
    pub sources: GuardedSources,
}

/// Images that pods may run or mount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardedImages {
    /// What policies allow.
    pub allow: PatternIndex,
    /// What policies deny; it wins.
    pub deny: PatternIndex,
    /// What FluxConfigs narrow to; absent where one of those that deploy here does not narrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<PatternIndex>,
    /// Tags that are denied where no digest is named, with the policy that denies each.
    #[schemars(extend("maxProperties" = bounds::GUARD_KEYS), inner(length(max = bounds::NAME)))]
    pub deny_tags: BTreeMap<String, String>,
    /// Whether a digest is asked for.
    pub require_digest: bool,
    /// Images of the agent's own controllers, where they run beside the workloads: word for word, whatever the lists say.
    #[schemars(length(max = bounds::ITEMS), inner(length(min = 1, max = bounds::PATH)))]
    pub agent: Vec<String>,
}

/// Sources that Flux objects may name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardedSources {
    /// Of GitRepositories.
    pub git: GuardedList,
    /// Of HelmRepositories.
    pub helm: GuardedList,
    /// Of OCIRepositories.
    pub oci: GuardedList,
    /// Of Buckets, as `https://endpoint/bucket`.
    pub bucket: GuardedList,
    /// Whether an OCIRepository must name a digest.
    pub require_digest: bool,
    /// Whether signatures are asked for: then a FluxConfig deploys a source, and nobody writes one by hand.
    pub require_verification: bool,
}

/// What of a kind of source is allowed and denied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuardedList {
    /// What policies allow.
    pub allow: PatternIndex,
    /// What policies deny; it wins.
    pub deny: PatternIndex,
}

/// A list of patterns in the form in which CEL looks one up: by shape.
///
/// A reference is a list of parts. Of an image: host with port in lowercase, the same with `*.` for its first label, the tag
/// with `:` in front or `@` where a digest decides, and each component of the path, Docker Hub and `library` spelled out. Of a
/// URL: `scheme|user|host|port` with the default port filled in, the same with `*.` for the first label of the host, and each
/// segment of the path without a trailing `.git`. No part contains `/`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatternIndex {
    /// The rule that takes in everything (`**`; in a list that allows URLs, everything but plain http); absent where there is
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = bounds::GUARD_RULE))]
    pub any: Option<String>,
    /// The others. Cost grows with the number of shapes, not with the number of patterns.
    #[schemars(length(max = bounds::GUARD_SHAPES))]
    pub shapes: Vec<Shape>,
}

/// All patterns with the same number of parts and the same wildcards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// How many parts a reference has.
    #[schemars(range(min = 1, max = 4096))]
    pub parts: u32,
    /// It may have more.
    pub more: bool,
    /// Places of the parts that a pattern fixes, from 0.
    #[schemars(length(min = 1, max = bounds::PATTERN))]
    pub keep: Vec<u32>,
    /// The fixed parts of each pattern, joined by `/`, and the rule that it comes from.
    #[schemars(extend("maxProperties" = bounds::GUARD_KEYS), inner(length(max = bounds::GUARD_RULE)))]
    pub rules: BTreeMap<String, String>,
}
