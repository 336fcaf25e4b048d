//! The sluicegate command line as a library: everything that `main` calls.

pub mod manifest;
pub mod report;
