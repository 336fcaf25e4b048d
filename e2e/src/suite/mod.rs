//! What suites use: one shared cluster a run, namespaces of its own for each test, fixtures, and a record of what there
//! was when a test failed.
//!
//! A test is [`test()`] with an async body. It finds the cluster by `SLUICEGATE_E2E_KUBECONFIG` (any cluster that exists)
//! or by `SLUICEGATE_E2E_CLUSTER` (one of this harness, which `cargo xtask cluster run` or `up` has started).

mod diagnostics;
pub mod flux;
pub mod git;
pub mod helm;
pub mod http;
pub mod oci;
mod space;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};
use crate::layout::DEFAULT_NAME;

pub use space::{Probe, Space, User, apply_as, create_as};

/// The cluster of this run.
#[derive(Clone, Debug)]
pub enum Target {
    /// One of this harness.
    Harness(Box<Cluster>),
    /// One that exists, by its kubeconfig. It has no servers and no fault levers of ours.
    Existing(PathBuf),
}

impl Target {
    /// Finds the cluster as the environment says.
    ///
    /// # Errors
    /// [`Error::NotRunning`] with the command that starts one.
    pub fn find() -> Result<Target> {
        if let Some(path) = std::env::var_os("SLUICEGATE_E2E_KUBECONFIG") {
            return Ok(Target::Existing(path.into()));
        }
        let name = std::env::var("SLUICEGATE_E2E_CLUSTER").unwrap_or_else(|_| DEFAULT_NAME.to_owned());
        Ok(Target::Harness(Box::new(Cluster::open(&name)?)))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Target::Harness(cluster) => cluster.layout().kubeconfig(),
            Target::Existing(path) => path.clone(),
        }
    }

    /// The harness's own cluster; `None` for one that exists.
    pub fn harness(&self) -> Option<&Cluster> {
        match self {
            Target::Harness(cluster) => Some(cluster),
            Target::Existing(_) => None,
        }
    }
}

/// Runs a test against the shared cluster. `name` begins the names of its namespaces (a DNS label of at most 20
/// characters). After success the namespaces are deleted; after a failure events, objects and logs are written to a
/// folder that the failure's output names, and with `SLUICEGATE_E2E_KEEP` the namespaces stay.
///
/// # Panics
/// With the body's panic, or where it returned an error: that is how a test fails.
pub fn test<F>(name: &str, body: impl FnOnce(Space) -> F)
where
    F: Future<Output = Result<()>>,
{
    let outcome = catch_unwind(AssertUnwindSafe(|| run(name, body)));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            crate::say(&format!("{name}: {error}"));
            resume_unwind(Box::new(error.to_string()));
        }
        Err(panic) => resume_unwind(panic),
    }
}

fn run<F>(name: &str, body: impl FnOnce(Space) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .doing("starting", "the runtime")?;
    let space = runtime.block_on(Space::new(name, Target::find()?))?;
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body(space.clone()))));
    let failed = !matches!(outcome, Ok(Ok(())));
    if failed {
        match runtime.block_on(diagnostics::write(&space)) {
            Ok(folder) => {
                crate::say(&format!("{name} failed; events, objects and logs of its namespaces: {}", folder.display()));
            }
            Err(error) => crate::say(&format!("{name} failed, and nothing could be recorded: {error}")),
        }
    }
    if !failed || std::env::var_os("SLUICEGATE_E2E_KEEP").is_none() {
        runtime.block_on(space.delete_namespaces());
    }
    match outcome {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    }
}

/// Says why a test has nothing to do against this cluster.
///
/// # Errors
/// Never; the type is that of a test's body.
pub fn skip(test: &str, why: &str) -> Result<()> {
    crate::say(&format!("{test}: skipped: {why}"));
    Ok(())
}

pub(crate) fn service_error(what: impl Into<String>, why: impl ToString) -> Error {
    Error::Service { what: what.into(), why: why.to_string() }
}
