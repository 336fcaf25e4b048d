//! `cargo xtask fuzz`: the fuzz targets, one after the other.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, root, run};

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Targets; all when absent
    targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, default_value_t = 600)]
    seconds: u32,
}

impl Args {
    /// Runs them. What a run adds to the corpus stays out of the repository.
    pub fn run(&self) -> Result<()> {
        let mut known: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))
            .context("cannot list fuzz/fuzz_targets")?
            .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
            .collect();
        known.sort();
        if let Some(unknown) = self.targets.iter().find(|target| !known.contains(target)) {
            bail!("there is no fuzz target {unknown}; there are {}", known.join(", "));
        }
        if !cargo().args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
            run(cargo().args(["install", "cargo-fuzz", "--locked"]))?;
        }
        let targets = if self.targets.is_empty() { &known } else { &self.targets };
        let scratch = tempfile::tempdir()?;
        for target in targets {
            let corpus = scratch.path().join(target);
            fs::create_dir_all(&corpus)?;
            let seeds = root().join("fuzz/corpus").join(target);
            let mut fuzz = cargo();
            // libFuzzer needs flags that only a nightly compiler takes, or a stable one that is told so.
            fuzz.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", target]).arg(&corpus);
            if seeds.is_dir() {
                fuzz.arg(&seeds);
            }
            fuzz.arg("--")
                .arg(format!("-max_total_time={}", self.seconds))
                .arg("-timeout=10")
                .arg("-rss_limit_mb=2048");
            run(&mut fuzz)?;
        }
        println!("{} fuzz targets held for {} s each", targets.len(), self.seconds);
        Ok(())
    }
}
