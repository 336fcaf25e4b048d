//! Upper bounds of lists, maps and texts, shared by the CRD schemas and the engine.
//!
//! They keep an object well under the API server's limits (1.5 MiB for a request, a CEL cost budget that is computed from
//! `maxItems` and `maxLength`) and make every loop of the engine finite.

/// Longest URL, in bytes.
pub const URL: usize = 2048;
/// Longest URL or image pattern, in bytes.
pub const PATTERN: usize = 512;
/// Longest DNS label (RFC 1123), in bytes: tenants, namespaces, cluster ids.
pub const LABEL: usize = 63;
/// Longest DNS subdomain (RFC 1123), in bytes: names of objects.
pub const NAME: usize = 253;
/// Longest path inside a repository, in bytes.
pub const PATH: usize = 1024;
/// Longest Git reference, version range or digest, in bytes.
pub const REFERENCE: usize = 256;
/// Longest duration text, in bytes.
pub const DURATION: usize = 32;
/// Longest free text (a value to substitute, a message), in bytes.
pub const TEXT: usize = 4096;
/// Most patterns in one allow or deny list.
pub const PATTERNS: usize = 1000;
/// Most image patterns in one FluxConfig.
pub const CONFIG_IMAGES: usize = 100;
/// Most entries in lists that hold a handful in practice (dependencies, channels, destinations, tolerations).
pub const ITEMS: usize = 64;
/// Most entries in a map (labels, substitutions).
pub const ENTRIES: usize = 256;
/// Most shapes in one list of a TenantGuard: what CEL compares with every image. Policies of hundreds of patterns have about
/// ten.
pub const GUARD_SHAPES: usize = 64;
/// Most patterns of one shape in a TenantGuard.
pub const GUARD_KEYS: usize = 4096;
/// Longest text in a TenantGuard that says which rule a pattern is of, in bytes: two names and a pattern fit.
pub const GUARD_RULE: usize = 1024;
/// Most labels, and most annotations, of a FluxConfig.
pub const METADATA_ENTRIES: usize = 64;
/// Most bytes in all labels of a FluxConfig, keys and values; the same in all annotations but [`LAST_APPLIED_BYTES`].
pub const METADATA_BYTES: usize = 16 * 1024;
/// Most bytes in the annotation in which `kubectl apply` keeps a FluxConfig's manifest.
pub const LAST_APPLIED_BYTES: usize = 64 * 1024;
/// Most finalizers, beside the operator's, and most ownerReferences of a FluxConfig.
pub const METADATA_REFERENCES: usize = 16;
/// Most bytes in all ownerReferences of a FluxConfig.
pub const OWNERS_BYTES: usize = 4 * 1024;
/// Most entries in a FluxConfig's managedFields.
pub const FIELD_MANAGERS: usize = 32;
/// Most bytes in a FluxConfig's managedFields, as a text.
pub const FIELD_MANAGERS_BYTES: usize = 128 * 1024;
