//! What suites use: one shared cluster a run, namespaces of its own for each test, fixtures, and a record of what there
//! was when a test failed.
//!
//! A test is [`test()`] with an async body. It finds the cluster by `SLUICEGATE_E2E_KUBECONFIG` (any cluster that exists)
//! or by `SLUICEGATE_E2E_CLUSTER` (one of this harness, which `cargo xtask cluster run` or `up` has started).

mod diagnostics;
pub mod flood;
pub mod flux;
pub mod git;
pub mod helm;
pub mod http;
pub mod inputs;
pub mod oci;
pub mod operator;
pub mod requests;
pub mod schemas;
pub mod signing;
pub mod snapshot;
pub mod sops;
mod space;
mod tokens;
pub mod webhook;

use std::io::{Read as _, Seek as _};
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
    test_on(name, Target::find, body);
}

/// As [`test()`], against a cluster that the caller finds or starts.
///
/// # Panics
/// As [`test()`].
pub fn test_on<F>(name: &str, find: impl FnOnce() -> Result<Target>, body: impl FnOnce(Space) -> F)
where
    F: Future<Output = Result<()>>,
{
    let outcome = catch_unwind(AssertUnwindSafe(|| run(name, find()?, body)));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            crate::say(&format!("{name}: {error}"));
            resume_unwind(Box::new(error.to_string()));
        }
        Err(panic) => resume_unwind(panic),
    }
}

/// As [`test()`], on a control plane of the test's own, with nothing installed. It ends with the test. `harness` is as for
/// [`own_control_plane`].
///
/// # Panics
/// As [`test()`].
pub fn test_on_own_plane<F>(harness: &std::path::Path, name: &str, body: impl FnOnce(Space) -> F)
where
    F: Future<Output = Result<()>>,
{
    struct Ended(String);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = Cluster::down(&self.0);
        }
    }
    let ended = Ended(unique(name));
    test_on(name, || Ok(Target::Harness(Box::new(own_control_plane(harness, &ended.0)?))), body);
}

/// A name that no other process gives a cluster.
pub fn unique(label: &str) -> String {
    format!("{label}-{}", std::process::id())
}

fn run<F>(name: &str, target: Target, body: impl FnOnce(Space) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .doing("starting", "the runtime")?;
    let space = runtime.block_on(Space::new(name, target))?;
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

/// Starts a cluster without a node that ends with this process, for tests that pull levers or count writes. `harness` is
/// the harness's own program (`CARGO_BIN_EXE_sluicegate-e2e`).
///
/// # Errors
/// Where it does not start.
pub fn own_control_plane(harness: &std::path::Path, name: &str) -> Result<Cluster> {
    let mut command = std::process::Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(harness).args(["cluster", "run", "--name", name]);
    command.args(["--control-plane-only", "--", "sleep", "infinity"]).stdin(std::process::Stdio::null());
    // What it says matters only where it does not start: in the end it says that it was interrupted, which is how it ends.
    let mut said = tempfile::tempfile().doing("making", "a file")?;
    command.stdout(std::process::Stdio::null()).stderr(said.try_clone().doing("sharing", "a file")?);
    let mut child = operator::spawn(command)?;
    let deadline = std::time::Instant::now() + CONTROL_PLANE_LIMIT;
    loop {
        if let Ok(cluster) = Cluster::open(name) {
            return Ok(cluster);
        }
        let ended = child.try_wait().doing("starting", name)?;
        if ended.is_some() || std::time::Instant::now() >= deadline {
            let what = format!("the cluster {name}");
            let mut log = format!("; {ended:?}\n");
            said.rewind().and_then(|()| said.read_to_string(&mut log)).doing("reading", "what the cluster said")?;
            return Err(Error::NotReady { what, seconds: CONTROL_PLANE_LIMIT.as_secs(), log });
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// What a control plane may take to start; it takes ten seconds on a quiet machine.
const CONTROL_PLANE_LIMIT: std::time::Duration = std::time::Duration::from_secs(180);

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
