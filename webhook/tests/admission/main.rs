//! What is admitted and what is not, as a specification, a file a kind; and the server over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![allow(clippy::print_stdout, reason = "tests say what they measured")]

mod clients;
mod flood;
mod fluxcluster;
mod fluxconfig;
mod fluxpolicy;
mod guard;
mod helmrelease;
mod hostile;
mod image_automation;
mod kustomization;
mod namespace;
mod notification;
mod owned;
mod pod;
mod requests;
mod server;
mod sources;
mod tls;
mod workload;
mod world;
