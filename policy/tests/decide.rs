//! What the engine admits and refuses, by topic: the specification of policies, as cases.

// Clippy's leave to unwrap in tests ends at the functions that tests call.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "decide/catalogue.rs"]
mod catalogue;
#[path = "decide/charts.rs"]
mod charts;
#[path = "decide/cluster_scope.rs"]
mod cluster_scope;
#[path = "decide/common.rs"]
mod common;
#[path = "decide/credentials.rs"]
mod credentials;
#[path = "decide/defaults.rs"]
mod defaults;
#[path = "decide/features.rs"]
mod features;
#[path = "decide/grants.rs"]
mod grants;
#[path = "decide/images.rs"]
mod images;
#[path = "decide/limits.rs"]
mod limits;
#[path = "decide/placement.rs"]
mod placement;
#[path = "decide/policy_errors.rs"]
mod policy_errors;
#[path = "decide/queries.rs"]
mod queries;
#[path = "decide/references.rs"]
mod references;
#[path = "decide/relations.rs"]
mod relations;
#[path = "decide/sources.rs"]
mod sources;
#[path = "decide/tenancy.rs"]
mod tenancy;
#[path = "decide/verification.rs"]
mod verification;
#[path = "decide/world.rs"]
mod world;
#[path = "decide/writers.rs"]
mod writers;
