//! `bench check`: the programs on repositories of growing size.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use super::corpus::{self, Verdicts};
use super::measure::{Run, measure};
use super::programs::{self, Program, Role};
use super::{say, table, targets};

/// Peers run in one round out of three: they need seconds where our own programs need tenths, and are tens of times from their promises.
const PEERS_EVERY: u32 = 3;

/// Options of `bench check`.
#[derive(Debug, Args)]
pub struct Options {
    /// Numbers of FluxConfig files
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000, 100_000], value_name = "N,…")]
    sizes: Vec<usize>,
    /// Compare with conftest, gator and opa too, up to 10,000 files; they are built with Go once (the default)
    #[arg(long, overrides_with = "no_peers")]
    peers: bool,
    /// Leave conftest, gator and opa out
    #[arg(long, overrides_with = "peers")]
    no_peers: bool,
    /// How often each program runs, the peers in every third round only; the best run counts
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write_docs: bool,
    /// Make the corpora in this folder and keep them, instead of in one that is removed
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// What a program needed for so many FluxConfigs.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) configs: usize,
    pub(super) role: Role,
    pub(super) name: String,
    /// Wall time of the fastest run.
    pub(super) best: Duration,
    /// Wall time of the run in the middle.
    pub(super) median: Duration,
    /// Least CPU time of a run.
    pub(super) cpu: Duration,
    /// Most memory that a run had resident, in bytes.
    pub(super) peak: u64,
}

/// Runs the bench.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let programs = programs::build(!options.no_peers, temporary.path())?;
    let base = match &options.keep {
        Some(folder) => std::path::absolute(folder)?,
        None => temporary.path().to_owned(),
    };
    let mut sizes = options.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let mut measured = Vec::new();
    for configs in sizes {
        ensure!(configs >= 20, "--sizes {configs}: with less than 20 files none would be wrong");
        measured.extend(compare(&programs, configs, options.runs, &base.join(configs.to_string()))?);
    }
    let table = table::draw(&measured, options.runs);
    let judged = targets::judge(&measured);
    let text = format!("{table}\n{}", table::targets(&judged));
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    if options.write_docs {
        table::write_docs("check", &text)?;
    }
    let missed = judged.iter().filter(|target| !target.met).count();
    ensure!(missed == 0, "{missed} of {} promises are missed", judged.len());
    Ok(())
}

/// Runs all programs in turn on one corpus, so that what else the machine does hits all of them alike.
fn compare(programs: &[Program], configs: usize, runs: u32, base: &std::path::Path) -> anyhow::Result<Vec<Measured>> {
    let corpus = base.join("platform");
    if corpus.exists() {
        fs::remove_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
    }
    fs::create_dir_all(&corpus).with_context(|| corpus.display().to_string())?;
    say(&format!("{configs} FluxConfigs, {runs} runs"));
    let expected = corpus::write(&corpus, configs)?;
    let mut entries = Vec::new();
    for (index, program) in programs.iter().enumerate().filter(|(_, program)| program.takes_part(configs)) {
        let scratch = base.join(format!("program-{index}"));
        entries.push((program, program.job(&corpus, &scratch)?, scratch, Vec::new()));
    }
    for round in 0..runs {
        let in_turn = |program: &Program| round.is_multiple_of(PEERS_EVERY) || !matches!(program.role, Role::Peer(_));
        for (program, job, scratch, done) in entries.iter_mut().filter(|(program, ..)| in_turn(program)) {
            let run = measure(job)?;
            program.ensure_done(&run, scratch)?;
            done.push(run);
        }
    }
    for (program, _, scratch, _) in &entries {
        if let Some(found) = program.verdicts(scratch)? {
            agree(&program.name, &expected, found)?;
        }
    }
    entries.into_iter().map(|(program, _, _, done)| summarise(program, configs, done)).collect()
}

fn summarise(program: &Program, configs: usize, mut runs: Vec<Run>) -> anyhow::Result<Measured> {
    runs.sort_by_key(|run| run.wall);
    let (best, middle) = (runs.first().context("no runs")?, &runs[runs.len() / 2]);
    Ok(Measured {
        configs,
        role: program.role,
        name: program.name.clone(),
        best: best.wall,
        median: middle.wall,
        cpu: runs.iter().map(|run| run.cpu).min().unwrap_or_default(),
        peak: runs.iter().map(|run| run.peak).max().unwrap_or_default(),
    })
}

/// Compares verdicts file by file, the ids of the rules included.
fn agree(name: &str, expected: &Verdicts, mut found: Verdicts) -> anyhow::Result<()> {
    let mut differences = Vec::new();
    for (file, rules) in expected {
        let mut others = found.remove(file).unwrap_or_default();
        others.sort_unstable();
        if *rules != others {
            differences.push(format!("{file}: expected {rules:?}, {name} says {others:?}"));
        }
    }
    differences.extend(found.into_iter().map(|(file, rules)| format!("{file}: no FluxConfig, {name} says {rules:?}")));
    if !differences.is_empty() {
        let number = differences.len();
        differences.truncate(10);
        bail!("{name} disagrees on {number} files, such as\n{}", differences.join("\n"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(entries: &[(&str, &[&str])]) -> Verdicts {
        entries
            .iter()
            .map(|(file, rules)| ((*file).to_owned(), rules.iter().map(|rule| (*rule).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn the_same_verdicts_agree_and_any_difference_does_not() {
        let expected = verdicts(&[("a", &[]), ("b", &["source-denied"])]);
        assert!(agree("x", &expected, verdicts(&[("b", &["source-denied"])])).is_ok());
        for other in [
            &[][..],
            &[("b", &["source-not-allowed"][..])],
            &[("b", &["source-denied", "unknown-cluster"])],
            &[("a", &["source-denied"]), ("b", &["source-denied"])],
            &[("b", &["source-denied"]), ("c", &["source-denied"])],
        ] {
            assert!(agree("x", &expected, verdicts(other)).is_err(), "{other:?}");
        }
    }
}
