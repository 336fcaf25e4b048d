//! `cargo xtask test`: everything that has to hold.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::{
    generate, licences,
    process::{cargo, root, run},
};

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the quick part, without a cluster
    #[arg(long)]
    unit: bool,
}

impl Args {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        let began = Instant::now();
        preflight()?;
        step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
        step("lints", || {
            run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))
        })?;
        step("documentation", || {
            run(cargo().args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings"))
        })?;
        step("licences", licences::check)?;
        step("generated files", || generate::check(&generate::files()?))?;
        step("tests", || run(cargo().args(["test", "--workspace", "--exclude", "sluicegate-e2e", "--quiet"])))?;
        step("tests of the harness", || {
            run(cargo().args(["test", "--package", "sluicegate-e2e", "--lib", "--quiet"]))
        })?;
        if !self.unit {
            step("tests on a real cluster", on_a_cluster)?;
            step("the demo, on a cluster of its own", the_demo)?;
        }
        println!("\nall tests passed in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n=== {name}");
    work()
}

/// The cluster suites: a cluster is started for those that share one, and ended whatever happens; those about clusters
/// themselves start their own.
fn on_a_cluster() -> Result<()> {
    // Built first, so that the cluster does not wait for the compiler.
    run(cargo().args(["build", "--package", "sluicegate-cli", "--quiet"]))?;
    run(cargo().args(["test", "--package", "sluicegate-e2e", "--no-run", "--quiet"]))?;
    let xtask = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(xtask);
    command.current_dir(root()).args(["cluster", "run", "--"]);
    command.arg(cargo().get_program()).args(["test", "--package", "sluicegate-e2e"]);
    command.args(SHARING.iter().flat_map(|suite| ["--test", suite]));
    run(command.args(["--", "--test-threads", THREADS]))?;
    run(cargo().args(["test", "--package", "sluicegate-e2e", "--test", ALONE]))
}

/// The suites that share a cluster.
const SHARING: [&str; 6] = ["crds", "flux", "guard", "operator", "smoke", "webhook"];
/// The suite that starts clusters of its own.
const ALONE: &str = "lifecycle";
/// Their tests mostly wait for the cluster, so there are more threads than cores.
const THREADS: &str = "4";

/// The demo from the installation to nothing left, with nobody who presses a key. It takes a minute beside the image's build,
/// and nothing else runs the operator as administrators do: from its image, under its own account, by `deploy/`.
fn the_demo() -> Result<()> {
    let xtask = std::env::current_exe().context("cannot find this program")?;
    run(Command::new(xtask).current_dir(root()).args(["demo", "--name", "test-demo"]).stdin(Stdio::null()))
}

/// What the tests need beside Rust, said before an hour is gone.
fn preflight() -> Result<()> {
    let go = Command::new("go").arg("version").current_dir(root()).output();
    if !go.is_ok_and(|output| output.status.success()) {
        bail!(
            "Go is missing: the image grammar is compared with the distribution project's Go library; \
             install Go 1.24 or newer (Debian: apt-get install golang-go, or https://go.dev/dl) and put it on the PATH"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_suite_is_forgotten() {
        let entries = std::fs::read_dir(root().join("e2e/tests")).unwrap();
        let found: BTreeSet<String> =
            entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(found, SHARING.into_iter().chain([ALONE]).map(str::to_owned).collect());
    }
}
