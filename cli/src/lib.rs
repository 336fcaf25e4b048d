//! The sluicegate command line as a library: everything that `main` calls.
//!
//! Calls go one way: `commands` (one a file) -> [`platform`] (the repository, judged) -> [`manifest`] (files, YAML, places)
//! and the engine (`sluicegate_policy`); what was found goes out by [`report`], and files are written by [`output`] alone.

mod commands;
pub mod manifest;
pub mod output;
pub mod platform;
mod progress;
pub mod report;

pub use commands::{PolicyTest, command, run, schemas};
