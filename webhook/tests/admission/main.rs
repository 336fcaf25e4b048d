//! What is admitted and what is not, as a specification, a file a kind; and the server over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod fluxcluster;
mod fluxconfig;
mod fluxpolicy;
mod hostile;
mod namespace;
mod requests;
mod server;
mod tls;
mod world;
