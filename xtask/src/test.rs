//! `cargo xtask test`: everything that has to hold.

use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::statvfs::statvfs;

use crate::{
    generate, licences,
    process::{cargo, root, run, target_directory},
    suites,
};

const GIB: u64 = 1 << 30;
/// What has to be free on the disk where nothing is built yet: everything that is built took 4.4 GiB, and clusters 2.5 more.
const TO_BUILD: u64 = 8 * GIB;
/// What has to be free where it is.
const TO_RUN: u64 = 4 * GIB;

/// What the suites read to run at full size. A test that has a small and a whole version names its variable in
/// docs/development.md.
const LONG: [(&str, &str); 3] =
    [("SLUICEGATE_E2E_FULL", "1"), ("SLUICEGATE_E2E_KILLS", "200"), ("SLUICEGATE_E2E_ROUNDS", "20")];

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the quick part, without a cluster
    #[arg(long)]
    unit: bool,
    /// Also the long proofs: every measurement at full size, 200 kills of the operator, 20 rounds of clusters
    #[arg(long, conflicts_with = "unit")]
    long: bool,
    /// How often a test that needs a cluster is tried before it counts as failed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    flake_attempts: u32,
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
            let environment: &[_] = if self.long { &LONG } else { &[] };
            let flaky = step("tests on a real cluster", || suites::test(self.flake_attempts, environment))?;
            step("the demo, on a cluster of its own", the_demo)?;
            if !flaky.is_empty() {
                println!("\npassed, but not at the first attempt: {}", flaky.join(", "));
            }
        }
        println!("\nall tests passed in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("\n=== {name}");
    work()
}

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
    room()
}

/// A full disk shows as a linker that dies of a signal, or as pods that are evicted.
fn room() -> Result<()> {
    let target = target_directory()?;
    let is_built = target.join("debug/deps").exists();
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let disk = statvfs(&target).with_context(|| format!("cannot ask for the room in {}", target.display()))?;
    enough(&target.display().to_string(), disk.blocks_available() * disk.fragment_size(), is_built)
}

fn enough(place: &str, free: u64, is_built: bool) -> Result<()> {
    let needed = if is_built { TO_RUN } else { TO_BUILD };
    ensure!(
        free >= needed,
        "{place} has {} MiB free and {} MiB are needed: make room (`cargo clean` removes what was built), or set \
         CARGO_TARGET_DIR to another disk",
        free >> 20,
        needed >> 20
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_before_anything_is_built() {
        assert!(enough("target", TO_BUILD, false).is_ok());
        assert!(enough("target", TO_RUN, true).is_ok());
        let error = enough("target", TO_BUILD - 1, false).unwrap_err().to_string();
        assert!(error.starts_with("target has 8191 MiB free and 8192 MiB are needed: make room"), "{error}");
        assert!(enough("target", TO_RUN - 1, true).is_err());
    }
}
