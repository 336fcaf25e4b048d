//! Sluicegate policy.
pub mod grammar;
