//! A real Kubernetes node with real Flux, run as processes on one machine, and what suites need to test against it.
//!
//! Calls go downwards: [`cli`] and [`suite`] use [`cluster`], which uses everything below it ([`namespaces`],
//! [`components`], [`programs`], [`images`], …). [`helper`] is the other side: the small programs that run inside a
//! cluster. Of Sluicegate only [`suite::operator`] knows anything, which starts the program under test.
//!
//! Ways in: [`cluster::Cluster`] starts, finds and ends clusters and holds the fault levers, [`suite`] is what tests
//! use, [`cli`] is `cargo xtask cluster`.

pub mod accounts;
pub mod addons;
pub mod api;
pub mod cgroups;
pub mod cli;
pub mod cluster;
pub mod components;
pub mod error;
pub mod faults;
pub mod helper;
pub mod images;
pub mod interrupt;
pub mod layout;
pub mod namespaces;
pub mod network;
pub mod packages;
pub mod pki;
pub mod process;
pub mod programs;
pub mod suite;

pub use error::{Error, Result};
pub use helper::relay::Line;

/// Tells the developer about progress, on standard error.
#[allow(clippy::print_stderr, reason = "the command line's own progress messages")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
