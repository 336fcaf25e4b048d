//! The operator: from an admitted FluxConfig to a Flux agent that stays in its namespace.
//!
//! Calls go one way. [`object`] (kinds, keys, owners, stages) and [`flux`] (what Flux' releases are, need and say) are at
//! the bottom. `render` is pure: admitted FluxConfigs in, every object out. [`status`] is pure too: what was seen in, the
//! status to write out. [`lease`] says who may write, [`telemetry`] what goes on. Nothing here decides what is allowed; that is for the engine in
//! `sluicegate-policy`, and only its `Admitted` can be rendered.

pub mod flux;
pub mod lease;
pub mod object;
pub mod status;
pub mod telemetry;
