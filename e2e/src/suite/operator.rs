//! The operator under test: the built program as a process of the host, with exactly the rights of its ServiceAccount.
//!
//! It is `sluicegate` of the same build as the tests (`cargo build -p sluicegate-cli`), or what `SLUICEGATE_E2E_BINARY`
//! names. Every process that is started here ends with the tests' own process, however that ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{apply_as, service_error};
use crate::api;
use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};
use crate::layout::write;
use crate::process::ProcessId;
use crate::programs::last_lines;

/// The namespace of the operator, of the platform's credentials and of the Lease.
pub const NAMESPACE: &str = "sluicegate-system";
/// The user that the API server sees: the ServiceAccount of the operator's Deployment.
pub const USER: &str = "system:serviceaccount:sluicegate-system:sluicegate-operator";
/// The Lease on which the operator elects its leader.
pub const LEASE: &str = "sluicegate-operator";
/// The group that every ServiceAccount is in.
pub const GROUP: &str = "system:serviceaccounts";
/// The logical id of the cluster that the operator runs on.
pub const CLUSTER: &str = "local";
/// What an orderly end may take.
const END_LIMIT: Duration = Duration::from_secs(20);

/// One instance of the operator: a name, a log, and a process or none.
#[derive(Debug)]
pub struct Operator {
    name: String,
    arguments: Vec<String>,
    program: PathBuf,
    log: PathBuf,
    authorities: Option<PathBuf>,
    child: Mutex<Option<Child>>,
}

impl Operator {
    /// Prepares an instance; nothing runs yet. Instances of one cluster elect a leader among themselves.
    ///
    /// # Errors
    /// Where its kubeconfig cannot be made or the program is not built.
    pub fn new(cluster: &Cluster, name: &str) -> Result<Operator> {
        // Several instances run on one host.
        Self::of(cluster, name, program()?, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// As [`Operator::new`], with a program of the caller's, which serves its metrics at an address of the caller's.
    ///
    /// # Errors
    /// Where its kubeconfig cannot be made.
    pub fn of(cluster: &Cluster, name: &str, program: PathBuf, listen: SocketAddr) -> Result<Operator> {
        let arguments = ["--namespace", NAMESPACE, "--listen", &listen.to_string()];
        Self::part(cluster, "operator", name, program, &kubeconfig(cluster)?, &arguments)
    }

    /// Any part of Sluicegate that runs in a cluster: a subcommand of the program, with a kubeconfig of its own.
    pub(super) fn part(
        cluster: &Cluster,
        subcommand: &str,
        name: &str,
        program: PathBuf,
        kubeconfig: &str,
        arguments: &[&str],
    ) -> Result<Operator> {
        let file = cluster.layout().path(&format!("{subcommand}s")).join(format!("{name}.kubeconfig"));
        write(&file, kubeconfig)?;
        let file = file.display().to_string();
        let arguments = [&[subcommand, "--kubeconfig", &file], arguments].concat();
        Ok(Operator {
            name: name.to_owned(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
            program,
            log: cluster.layout().log(&format!("{subcommand}-{name}")),
            authorities: None,
            child: Mutex::new(None),
        })
    }

    /// The same that also trusts the authorities in a file, as an administrator has it do by `SSL_CERT_FILE`.
    #[must_use]
    pub fn trusting(mut self, authorities: PathBuf) -> Operator {
        self.authorities = Some(authorities);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it. One that runs is left alone.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn start(&self) -> Result<()> {
        let mut child = self.child();
        if child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None))) {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log).doing("opening", &self.log)?;
        let errors = log.try_clone().doing("opening", &self.log)?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(&self.program).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command
            .env("RUST_BACKTRACE", "1")
            .env_remove("KUBECONFIG")
            .envs(self.authorities.iter().map(|file| ("SSL_CERT_FILE", file)));
        *child = Some(spawn(command)?);
        Ok(())
    }

    /// Ends it as a crash does (SIGKILL).
    ///
    /// # Errors
    /// Where it was not running.
    pub fn kill(&self) -> Result<()> {
        self.end(Signal::SIGKILL).map(|_| ())
    }

    /// Ends it as Kubernetes does (SIGTERM), and says how long that took.
    ///
    /// # Errors
    /// Where it was not running, did not end in time, or ended with an error.
    pub fn stop(&self) -> Result<Duration> {
        self.end(Signal::SIGTERM)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.child().as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The id of its process, where it was started.
    pub fn pid(&self) -> Option<u32> {
        self.child().as_ref().map(Child::id)
    }

    /// Resident memory now and at most so far, in bytes; `None` where it does not run.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let field = |name: &str| {
            let kilobytes = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            kilobytes.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() * 1024
        };
        Some((field("VmRSS:"), field("VmHWM:")))
    }

    /// The end of its log; with a word only of the lines that contain it.
    pub fn log_tail(&self, word: &str, lines: usize) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let chosen: Vec<&str> = text.lines().filter(|line| line.contains(word)).collect();
        last_lines(&chosen.join("\n"), lines)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, signal: Signal) -> Result<Duration> {
        let mut guard = self.child();
        let what = format!("ending {}", self.name);
        let Some(mut child) = guard.take() else {
            return Err(service_error(what, "it was not started"));
        };
        if let Some(status) = child.try_wait().doing("looking for", &self.program)? {
            return Err(service_error(what, format!("it had ended before: {status}\n{}", self.log_tail("", 20))));
        }
        let started = Instant::now();
        if let Some(process) = ProcessId::of(child.id().cast_signed()) {
            process.signal(signal);
        }
        while started.elapsed() < END_LIMIT {
            if let Some(status) = child.try_wait().doing("waiting for", &self.program)? {
                if signal == Signal::SIGKILL || status.success() {
                    return Ok(started.elapsed());
                }
                let how = status.signal().map_or_else(|| status.to_string(), |signal| format!("by signal {signal}"));
                return Err(service_error(what, format!("it ended {how}\n{}", self.log_tail("", 20))));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(Error::NotReady { what, seconds: END_LIMIT.as_secs(), log: format!("\n{}", self.log_tail("", 20)) })
    }
}

/// A kubeconfig with the rights of the operator's ServiceAccount on a cluster.
///
/// # Errors
/// Where the certificate cannot be made.
pub fn kubeconfig(cluster: &Cluster) -> Result<String> {
    cluster.kubeconfig_for(USER, Some(GROUP))
}

/// The program under test.
///
/// # Errors
/// Where it is not built, with the command that builds it.
pub fn program() -> Result<PathBuf> {
    let path = match std::env::var_os("SLUICEGATE_E2E_BINARY") {
        Some(path) => PathBuf::from(path),
        // target/PROFILE/deps/TEST-HASH -> target/PROFILE/sluicegate
        None => {
            let test = std::env::current_exe().doing("finding", "this program")?;
            test.ancestors().nth(2).unwrap_or(Path::new("/")).join("sluicegate")
        }
    };
    if path.exists() {
        return Ok(path);
    }
    let why = "it is not built: `cargo build -p sluicegate-cli`, or name it with SLUICEGATE_E2E_BINARY";
    Err(service_error(path.display().to_string(), why))
}

/// Installs what an administrator installs: Sluicegate's kinds, the manifests of the operator (their Deployment without
/// pods, since the program under test runs on the host), and the FluxCluster [`CLUSTER`].
///
/// # Errors
/// The API server's refusal.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let client = api::client(&cluster.layout().kubeconfig()).await?;
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})];
    objects.extend(manifests(&deploy.join("crds"))?);
    objects.extend(manifests(&deploy.join("operator"))?);
    objects.sort_by_key(|object| match object["kind"].as_str() {
        Some("CustomResourceDefinition") => 0,
        Some("Namespace") => 1,
        _ => 2,
    });
    for mut object in objects {
        if object["kind"] == "Deployment" {
            object["spec"]["replicas"] = json!(0);
        }
        apply_as(&client, object).await?;
    }
    let local = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster", "metadata": {"name": CLUSTER},
        "spec": {"connection": {"inCluster": {}}, "flux": {"version": "2.9.3"}, "guard": "Off"},
    });
    // The kinds are served a moment after they were created.
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match apply_as(&client, local.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Every object of the YAML files in a folder.
///
/// # Errors
/// Where a file cannot be read or is no YAML.
pub fn manifests(folder: &Path) -> Result<Vec<Value>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).doing("listing", folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).doing("reading", &file)?;
        objects.extend(documents(&text).map_err(|why| service_error(file.display().to_string(), why))?);
    }
    // A kustomization names the others for kubectl; it is no object of a cluster.
    objects.retain(|object| object["kind"] != "Kustomization");
    Ok(objects)
}

/// The objects of a YAML text with any number of documents.
///
/// # Errors
/// Where it is no YAML.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let mut objects = Vec::new();
    for document in format!("\n{text}").split("\n---") {
        let value: Value = serde_saphyr::from_str(document).map_err(|error| service_error("YAML", error))?;
        if !value.is_null() {
            objects.push(value);
        }
    }
    Ok(objects)
}

type Order = (Command, Sender<std::io::Result<Child>>);

/// Starts a process that ends with this one. The kernel's signal on a parent's death means the parent's thread, and
/// tests run in threads that come and go; so one thread that stays starts them all.
///
/// # Errors
/// Where it cannot be started.
pub fn spawn(command: Command) -> Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, received) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in received {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let what = command.get_program().to_string_lossy().into_owned();
    let (answer, result) = channel();
    let gone = || service_error(&what, "the thread that starts processes has ended");
    keeper.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer)).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?.doing("starting", &what)
}
