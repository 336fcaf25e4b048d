//! The program that sends requests, `cli/examples/load_admission.rs`: what it is told, and what it tells.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

/// Before anything counts: connections are new, and so are their buffers.
const WARM_UP_SECONDS: f64 = 0.3;

/// Connections, and what goes on on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) connections: usize,
    /// Requests of a connection at the same time; more than one are sent over HTTP/2.
    pub(super) streams: usize,
}

impl Shape {
    /// Connections with one request at a time, over HTTP/1.1, as API servers have them.
    pub(super) fn of(connections: usize) -> Self {
        Self { connections, streams: 1 }
    }

    /// One connection of HTTP/2, as proxies have to a webhook.
    pub(super) const HTTP2: Self = Self { connections: 1, streams: 64 };
}

/// A request that is sent again and again.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ask {
    /// Times are told by group, which are counted from 0.
    pub(super) group: usize,
    pub(super) path: String,
    pub(super) body: String,
    pub(super) status: u16,
    /// A text that must be in the answer.
    pub(super) expects: String,
}

/// Who is asked, and as whom.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Name in its certificate.
    pub(super) server_name: String,
    /// Authorities that are trusted, in PEM.
    pub(super) trusted: String,
    /// Certificate and key of the client, in PEM.
    pub(super) identity: Option<(String, String)>,
    /// The process whose time and memory are told.
    pub(super) process: u32,
}

#[derive(Serialize)]
struct Job<'j> {
    #[serde(flatten)]
    server: &'j Server,
    connections: usize,
    streams: usize,
    warm_up_seconds: f64,
    seconds: f64,
    requests: &'j [Ask],
}

/// What came of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Outcome {
    /// How long answers counted.
    pub(super) seconds: f64,
    /// Time of processors that the process used meanwhile.
    pub(super) cpu_seconds: f64,
    /// Its resident memory at the end, in bytes, with all connections open.
    pub(super) resident: u64,
    pub(super) groups: Vec<Group>,
}

/// What came of the requests of a group.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Group {
    pub(super) answers: usize,
    pub(super) median_micros: f64,
    pub(super) p99_micros: f64,
}

/// The program.
pub(super) struct Loader {
    program: PathBuf,
    /// Where it is told what to do.
    job: PathBuf,
}

impl Loader {
    pub(super) fn new(program: PathBuf, folder: &Path) -> Self {
        Self { program, job: folder.join("load.json") }
    }

    /// Sends requests for so long.
    ///
    /// # Errors
    /// Where an answer is not the expected one, or there were none.
    pub(super) fn run(&self, server: &Server, shape: Shape, seconds: f64, requests: &[Ask]) -> anyhow::Result<Outcome> {
        let Shape { connections, streams } = shape;
        let job = Job { server, connections, streams, warm_up_seconds: WARM_UP_SECONDS, seconds, requests };
        fs::write(&self.job, serde_json::to_vec(&job)?).context("what the load is told")?;
        let output = Command::new(&self.program)
            .stdin(fs::File::open(&self.job)?)
            .output()
            .with_context(|| self.program.display().to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "the load ended with {}: {}", output.status, said.trim());
        let outcome: Outcome = serde_json::from_slice(&output.stdout).context("what the load says")?;
        ensure!(outcome.groups.iter().all(|group| group.answers > 0), "nothing was answered in {seconds} s");
        Ok(outcome)
    }
}
