//! What Flux' releases are, need and say.

pub mod hint;
pub mod state;
