//! Running one program and measuring it, and what one has used that runs.
//!
//! The program that is run is the only child of a small process of its own, this very binary called again: `getrusage` tells the peak
//! memory of children as one number for all of them, and a child starts with the peak of the process that forked it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};

/// The kernel counts the time of processes in hundredths of a second.
pub(super) const TICKS: f64 = 100.0;

/// A program to run.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// Program and arguments.
    pub(super) command: Vec<OsString>,
    /// Working folder.
    pub(super) folder: PathBuf,
    /// Where its standard output goes.
    pub(super) stdout: PathBuf,
    /// Where its standard error goes.
    pub(super) stderr: PathBuf,
}

/// What one run cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// From the start of the process to its end, by a monotonic clock.
    pub(super) wall: Duration,
    /// User and system time of all its threads.
    pub(super) cpu: Duration,
    /// Most resident memory, in bytes.
    pub(super) peak: u64,
    /// Exit code; `None` where a signal ended it.
    pub(super) code: Option<i32>,
}

/// Arguments of the process that measures.
#[derive(Debug, Args)]
pub struct Command {
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    stdout: PathBuf,
    #[arg(long)]
    stderr: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the program in a process that has no other child.
pub(super) fn measure(job: &Job) -> anyhow::Result<Run> {
    let own = std::env::current_exe().context("this program's own path")?;
    let output = process::Command::new(own)
        .args(["bench", "measure", "--folder"])
        .arg(&job.folder)
        .arg("--stdout")
        .arg(&job.stdout)
        .arg("--stderr")
        .arg(&job.stderr)
        .arg("--")
        .args(&job.command)
        .stderr(Stdio::inherit())
        .output()
        .context("the measuring process")?;
    ensure!(output.status.success(), "{} could not be run", job.command[0].display());
    serde_json::from_slice(&output.stdout).context("what the measuring process says")
}

/// The measuring process.
pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    let create = |path: &Path| File::create(path).with_context(|| format!("{}", path.display()));
    let (program, arguments) = command.command.split_first().context("no program is given")?;
    let mut job = process::Command::new(program);
    job.args(arguments)
        .current_dir(&command.folder)
        .stdin(Stdio::null())
        .stdout(create(&command.stdout)?)
        .stderr(create(&command.stderr)?);
    let start = Instant::now();
    let status = job.status().with_context(|| format!("{}", program.display()))?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let run = Run {
        wall,
        cpu: Duration::from_micros(u64::try_from(micros).unwrap_or_default()),
        // Linux counts in KiB.
        peak: u64::try_from(usage.max_rss()).unwrap_or_default() * 1024,
        code: status.code(),
    };
    serde_json::to_writer(std::io::stdout().lock(), &run)?;
    Ok(())
}

/// Time of processors that a process has used, in seconds, with or without its children that have ended; 0 of one that is gone.
pub(super) fn of_process(pid: u32, children: bool) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold spaces; it ends with the last parenthesis.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    // utime stime cutime cstime
    let fields = fields.split_whitespace().skip(11).take(if children { 4 } else { 2 });
    let ticks: f64 = fields.filter_map(|text| text.parse::<f64>().ok()).sum();
    ticks / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_some_time() {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(50) {
            std::hint::spin_loop();
        }
        assert!(of_process(std::process::id(), false) > 0.0);
        assert_eq!(of_process(u32::MAX, true), 0.0);
    }
}
