//! `cargo xtask test`: everything that has to hold.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    generate, licences,
    process::{cargo, root, run},
};

/// Arguments of `test`.
#[derive(clap::Args)]
pub struct Args {
    /// Only the quick part: format, lints, licences, generated files, unit tests
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
        step("tests", || {
            let mut test = cargo();
            test.args(["test", "--workspace", "--quiet"]);
            if self.unit {
                test.args(["--lib", "--bins"]);
            }
            run(&mut test)
        })?;
        println!("\nall tests passed in {:.0} s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n=== {name}");
    work()
}

/// What the tests need beside Rust, said before an hour is gone.
fn preflight() -> Result<()> {
    let go = std::process::Command::new("go").arg("version").current_dir(root()).output();
    if !go.is_ok_and(|output| output.status.success()) {
        bail!(
            "Go is missing: the image grammar is compared with the distribution project's Go library; \
             install Go 1.24 or newer (Debian: apt-get install golang-go, or https://go.dev/dl) and put it on the PATH"
        );
    }
    Ok(())
}
