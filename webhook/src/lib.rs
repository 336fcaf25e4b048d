//! The admission webhook: completes FluxConfigs, and says at once and in full why something is not allowed.
//!
//! Calls go one way. [`review`] reads the API server's questions and writes answers. [`snapshot`] holds what verdicts are
//! reached from. [`decide`] is the answer to a question, of a snapshot; what is allowed is not said here but by the engine in
//! `sluicegate-policy`. [`certificates`] keeps the serving certificate, and the API server's trust in it. [`server`] is TLS and
//! HTTP with bounds on everything. [`install`] says how the API server is told of all this, as data, and with which rights it
//! runs; `deploy/webhook` is generated from it. [`run`](run()) starts everything. What a process in a cluster needs besides
//! (health, watches, probes, roles as data) is the operator's.

pub mod certificates;
pub mod decide;
pub mod install;
pub mod review;
mod run;
pub mod server;
pub mod snapshot;
pub mod telemetry;

pub use run::{Certificate, ClientCertificates, Options, RunError, run};
