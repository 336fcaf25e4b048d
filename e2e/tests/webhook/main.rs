//! Admission on a real API server: what is accepted and what is not, a file a kind, and what happens when webhooks come and
//! go. The webhook runs as processes of the host with the rights of its ServiceAccount (see `suite::webhook`), on control
//! planes of the run.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they measured and saw")]

#[path = "../guard/attempts.rs"]
mod attempts;
mod availability;
mod connections;
mod differential;
mod escape;
mod everything;
mod floods;
mod flux;
mod fluxcluster;
mod fluxconfig;
mod fluxpolicy;
#[path = "../guard/kinds.rs"]
mod kinds;
mod namespace;
mod owned;
#[path = "../guard/parties.rs"]
mod parties;
mod pod;
mod support;
#[path = "../guard/trial.rs"]
mod trial;
mod ward;
mod workload;
