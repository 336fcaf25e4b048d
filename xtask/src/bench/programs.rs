//! The programs that are compared, and how each is run on a corpus.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::corpus::Verdicts;
use super::measure::{Job, Run};
use super::peers::Peer;
use crate::process;

/// What a program is in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads and parses the files, and nothing else.
    Bare,
    /// `sluicegate check`, its findings for people.
    Check,
    /// `sluicegate check`, every kind of report beside that.
    CheckWithReports,
    /// Another tool with an equivalent policy.
    Peer(Peer),
}

/// A program to compare.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) role: Role,
    /// Name for people, with the version of a peer.
    pub(super) name: String,
    path: PathBuf,
}

/// Builds all programs, in the order in which they run. Those of the workspace are copied to `folder`, so that a build that
/// goes on elsewhere does not change them between two runs.
pub(super) fn build(peers: bool, folder: &Path) -> anyhow::Result<Vec<Program>> {
    super::say("building sluicegate (release)");
    let (check, bare) = (copied(["--bin", "sluicegate"], folder)?, copied(["--example", "read_and_parse"], folder)?);
    let program = |role, name: &str, path: &Path| Program { role, name: name.to_owned(), path: path.to_owned() };
    let mut programs = vec![
        program(Role::Bare, "bare reader", &bare),
        program(Role::Check, "sluicegate check", &check),
        program(Role::CheckWithReports, "sluicegate check, all reports", &check),
    ];
    for peer in Peer::ALL.into_iter().filter(|_| peers) {
        let (path, version) = peer.tool().build()?;
        programs.push(program(Role::Peer(peer), &format!("{} {version}", peer.name()), &path));
    }
    Ok(programs)
}

/// Builds one target of the command line's package and copies it to a folder, so that a build that goes on elsewhere does not
/// change it between two runs.
pub(super) fn copied(target: [&str; 2], folder: &Path) -> anyhow::Result<PathBuf> {
    let copy = folder.join(target[1]);
    fs::copy(cargo(target)?, &copy)?;
    Ok(copy)
}

/// Builds one target of the command line's package and returns its path.
fn cargo(target: [&str; 2]) -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let output = process::cargo()
        .args(["build", "--release", "--locked", "--quiet", "--message-format=json-render-diagnostics"])
        .args(["--package", "sluicegate-cli"])
        .args(target)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    ensure!(output.status.success(), "cargo build {} ended with {}", target.join(" "), output.status);
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let mut executables = messages.filter_map(|line| serde_json::from_slice::<Message>(line).ok()?.executable);
    executables.next().with_context(|| format!("cargo build {} made no program", target.join(" ")))
}

impl Program {
    /// Whether it takes part at this number of FluxConfigs: the peers would take minutes for the largest.
    pub(super) fn takes_part(&self, configs: usize) -> bool {
        configs <= 10_000 || !matches!(self.role, Role::Peer(_))
    }

    /// Prepares a run on the repository `corpus`; what it needs or leaves is in the folder `scratch`.
    pub(super) fn job(&self, corpus: &Path, scratch: &Path) -> anyhow::Result<Job> {
        fs::create_dir_all(scratch)?;
        let mut command: Vec<OsString> = vec![self.path.clone().into()];
        let mut stdout = PathBuf::from("/dev/null");
        match self.role {
            Role::Bare => {}
            Role::Check => command.push("check".into()),
            Role::CheckWithReports => {
                command.push("check".into());
                for format in ["gitlab", "sarif", "junit", "json"] {
                    let mut report = OsString::from(format!("{format}="));
                    report.push(scratch.join(format));
                    command.extend(["--report".into(), report]);
                }
            }
            Role::Peer(peer) => {
                command.extend(peer.prepare(&scratch.join("policy"))?);
                stdout = scratch.join("stdout");
            }
        }
        Ok(Job { command, folder: corpus.to_owned(), stdout, stderr: scratch.join("stderr") })
    }

    /// Whether a run on a corpus with violations ended as it should.
    ///
    /// # Errors
    /// Says how it ended, and what it said.
    pub(super) fn ensure_done(&self, run: &Run, scratch: &Path) -> anyhow::Result<()> {
        let done = match self.role {
            Role::Bare => run.code == Some(0),
            Role::Check | Role::CheckWithReports => run.code == Some(1),
            Role::Peer(peer) => peer.is_done(run.code),
        };
        let said = fs::read_to_string(scratch.join("stderr")).unwrap_or_default();
        ensure!(done, "{} ended with exit code {:?}:\n{said}", self.name, run.code);
        Ok(())
    }

    /// The verdicts that it left in `scratch`, for files that it refuses; `None` where it tells none that can be read.
    pub(super) fn verdicts(&self, scratch: &Path) -> anyhow::Result<Option<Verdicts>> {
        match self.role {
            Role::Bare | Role::Check => Ok(None),
            Role::CheckWithReports => {
                let text = fs::read(scratch.join("json")).context("the JSON report")?;
                own_verdicts(&text).map(Some)
            }
            Role::Peer(peer) => peer.verdicts(&fs::read(scratch.join("stdout"))?).map(Some),
        }
    }
}

/// Reads sluicegate's own JSON report.
fn own_verdicts(report: &[u8]) -> anyhow::Result<Verdicts> {
    #[derive(Deserialize)]
    struct Report {
        findings: Vec<Finding>,
    }
    #[derive(Deserialize)]
    struct Finding {
        path: String,
        rule: String,
    }
    let report: Report = serde_json::from_slice(report).context("the JSON report")?;
    let mut verdicts = Verdicts::new();
    for Finding { path, rule } in report.findings {
        verdicts.entry(path).or_default().push(rule);
    }
    Ok(verdicts)
}
