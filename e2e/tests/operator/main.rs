//! The operator on a real cluster with real Flux, from `kubectl apply` of a FluxConfig to the team's pods and back to
//! nothing. It runs as a process of the host with the rights of its ServiceAccount (see `suite::operator`).
//!
//! `deliveries`, `escape`, `tenancy` and `sync` need the node of `cargo xtask cluster run`; `drift`, `life`,
//! `rendered` and `waits` share a control plane of the run, `quiet`, `faults`, `fights`, `floods`, `hostile`, `strays`, `clusters`
//! and `crds` start their own.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they measured and saw")]

mod clusters;
mod crds;
mod deliveries;
mod drift;
mod escape;
mod faults;
mod fights;
mod floods;
mod hostile;
mod life;
mod quiet;
mod rendered;
mod strays;
mod support;
mod sync;
mod tenancy;
mod waits;
