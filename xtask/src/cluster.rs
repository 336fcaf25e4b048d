//! `cargo xtask cluster`: see the crate `sluicegate-e2e`, which does all of it.

pub(crate) use sluicegate_e2e::cli::{ClusterArgs, run};
