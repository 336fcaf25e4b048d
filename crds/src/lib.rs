//! Sluicegate crds.
