//! The operator: from an admitted FluxConfig to a Flux agent that stays in its namespace.
//!
//! Calls go one way. [`object`] (kinds, keys, owners, stages) and [`flux`] (what Flux' releases are, need and say) are at
//! the bottom. [`render`] is pure: admitted FluxConfigs in, every object out; [`rights`] says what everybody may do. [`status`]
//! is pure too: what was seen in, the status to write out. [`lease`] says who may write, [`contest`] when writing has to wait
//! because somebody else writes the same, [`telemetry`] what goes on. `plan` keeps what should be, [`cluster`] what is,
//! [`tenancy`] reads whose a namespace is, and `reconcile` makes the one the other; [`run`](run()) starts all of it.
//! Nothing here decides what is allowed; that is for the engine in `sluicegate-policy`, and only its `Admitted` can be
//! rendered.

pub mod cluster;
mod clusters;
pub mod contest;
mod context;
mod errors;
pub mod events;
pub mod fields;
pub mod flux;
mod flux_crds;
mod guard;
pub mod lease;
pub mod object;
mod plan;
mod quantity;
mod reconcile;
pub mod render;
pub mod rights;
mod run;
mod secrets;
pub mod status;
mod strays;
pub mod telemetry;
pub mod tenancy;

pub use run::{Options, RunError, run};
