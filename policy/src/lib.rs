//! Sluicegate policy.
