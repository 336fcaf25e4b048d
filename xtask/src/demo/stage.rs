//! Where the second part plays: a cluster of this machine, which is built and started while the first part is on the screen,
//! or one that the reader has.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sluicegate_e2e::{cluster::Cluster, interrupt};

use super::screen::{Screen, shorten};

/// What the end of a cluster may take.
const END_LIMIT: Duration = Duration::from_secs(60);

/// A cluster that the reader has.
pub struct Existing {
    /// Its administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// Sluicegate's image, as its nodes pull it.
    pub image: String,
}

impl Existing {
    /// The one that the environment names; `None` where it names none.
    pub fn find() -> Result<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os("SLUICEGATE_E2E_KUBECONFIG") else {
            return Ok(None);
        };
        let image = std::env::var("SLUICEGATE_IMAGE").ok().filter(|image| !image.is_empty()).context(
            "SLUICEGATE_E2E_KUBECONFIG names a cluster; name an image that its nodes can pull with SLUICEGATE_IMAGE too: \
             `cargo xtask image --reference REGISTRY/sluicegate:demo` makes it, `skopeo copy` or `crane push` pushes it",
        )?;
        Ok(Some(Self { kubeconfig: kubeconfig.into(), image }))
    }
}

/// What is built and started behind the first part: the operator's image, and the cluster. Both end with this process,
/// however that ends.
pub struct Backstage {
    name: String,
    image: Task,
    cluster: Task,
}

impl Backstage {
    /// Starts both; their words go to files in `folder`.
    pub fn start(name: &str, folder: &Path) -> Result<Self> {
        let cluster = ["cluster", "run", "--name", name, "--", "sleep", "infinity"];
        Ok(Self {
            name: name.to_owned(),
            image: Task::start("image of Sluicegate", &["image", "--debug"], folder.join("image.log"))?,
            cluster: Task::start("Kubernetes node with Flux", &cluster, folder.join("cluster.log"))?,
        })
    }

    /// Shows how far it is, until both are there.
    pub fn wait(&mut self, screen: &Screen) -> Result<Cluster> {
        let bars = MultiProgress::new();
        self.image.show(&bars);
        self.cluster.show(&bars);
        let waited = self.both(&bars);
        // Where the lines cannot be taken away they stay.
        let _ = bars.clear();
        let cluster = waited?;
        screen.good(&format!("{} after {}", self.image.label, seconds(self.image.took)));
        screen.good(&format!("{} after {}", self.cluster.label, seconds(self.cluster.took)));
        Ok(cluster)
    }

    fn both(&mut self, bars: &MultiProgress) -> Result<Cluster> {
        let mut cluster = None;
        loop {
            interrupt::check()?;
            if self.image.took.is_none() {
                match self.image.look(bars)? {
                    Some(status) if status.success() => self.image.done(),
                    Some(status) => bail!(self.image.failure(status)),
                    None => {}
                }
            }
            if cluster.is_none() {
                if let Some(status) = self.cluster.look(bars)? {
                    bail!(self.cluster.failure(status));
                }
                cluster = Cluster::open(&self.name).ok();
                if cluster.is_some() {
                    self.cluster.done();
                }
            }
            match &cluster {
                Some(cluster) if self.image.took.is_some() => return Ok(cluster.clone()),
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Ends the cluster, unless it had been there before.
    pub fn end(mut self) -> Result<()> {
        self.image.end()?;
        self.cluster.end()
    }
}

impl Drop for Backstage {
    fn drop(&mut self) {
        // The error of whatever went wrong is told already.
        let _ = self.image.end();
        let _ = self.cluster.end();
    }
}

/// One of the project's own commands, run behind the screen.
struct Task {
    label: &'static str,
    child: Child,
    log: PathBuf,
    began: Instant,
    took: Option<Duration>,
    bar: ProgressBar,
    said: String,
}

impl Task {
    fn start(label: &'static str, arguments: &[&str], log: PathBuf) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start setpriv (Debian: util-linux)")?;
        let (began, bar) = (Instant::now(), ProgressBar::hidden());
        Ok(Self { label, child, log, began, took: None, bar, said: String::new() })
    }

    fn show(&mut self, bars: &MultiProgress) {
        self.bar = bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
            self.bar.set_style(style);
        }
    }

    /// Whether it ended, and how; meanwhile its last words.
    fn look(&mut self, bars: &MultiProgress) -> Result<Option<ExitStatus>> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("begins").trim();
        if bars.is_hidden() {
            // Of a compiler's thousand lines one is enough where none can be taken back.
            let word = if last.starts_with("Compiling") { "Compiling …" } else { last };
            if self.said != word {
                println!("  {}: {}", self.label, shorten(word));
                self.said = word.to_owned();
            }
        } else {
            self.bar.set_message(shorten(&format!("{}: {last} ({})", self.label, seconds(Some(self.began.elapsed())))));
            self.bar.tick();
        }
        Ok(self.child.try_wait()?)
    }

    fn done(&mut self) {
        self.took = Some(self.began.elapsed());
        self.bar.finish_with_message(format!("{}: there", self.label));
    }

    fn failure(&self, status: ExitStatus) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n");
        format!("{}: ended with {status}\n{last}", self.label)
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // It may have ended in this moment.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not end: process {}", self.label, self.child.id())
    }
}

fn seconds(took: Option<Duration>) -> String {
    format!("{:.0} s", took.unwrap_or_default().as_secs_f64())
}
