//! The cluster's own network, mount, process, IPC and host-name namespaces.
//!
//! Everything of a cluster runs below one first process (PID 1 of its namespace). When that one is killed the kernel
//! kills everything else in there, and mounts, links and firewall rules vanish with their namespaces: ending a cluster
//! is one signal, whatever state it is in.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;

use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::process::{self, ProcessId, wait_until};

/// What the first process prints when its namespaces are set up.
pub(crate) const READY: &str = "ready";

/// Starts the first process of a cluster. With a lifeline the cluster ends when this process does, even by SIGKILL.
///
/// # Errors
/// Where the namespaces cannot be made; the text of what was refused is in the error.
pub fn launch(layout: &Layout, helper: &[String], lifeline: bool) -> Result<(ProcessId, Option<Child>)> {
    let log_path = layout.log("init");
    let log = File::create(&log_path).doing("making", &log_path)?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--"]);
    command.args(helper).arg("init").arg("--run").arg(layout.run());
    if lifeline {
        command.arg("--lifeline").stdin(Stdio::piped());
    } else {
        command.stdin(Stdio::null());
    }
    // In a group of its own Ctrl-C does not reach it: the harness decides how a cluster ends.
    command.stdout(Stdio::piped()).stderr(log).process_group(0);
    let mut child = command.spawn().doing("starting", "unshare")?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).doing("reading from", "the first process")?;
    }
    let init = find_init(&layout.run()).filter(|_| line.trim() == READY);
    let Some(init) = init else {
        let _ = child.kill();
        let _ = child.wait();
        kill_all(&layout.run())?;
        let text = std::fs::read_to_string(&log_path).unwrap_or_default();
        return Err(Error::Command {
            command: "unshare".into(),
            status: "no namespaces".into(),
            output: text.trim().to_owned(),
        });
    };
    Ok((init, Some(child)))
}

/// The first process of the cluster in this folder, running or not recorded yet: it is known by its arguments, so it is
/// found even if the harness was killed before it could write anything down.
pub fn find_init(run: &Path) -> Option<ProcessId> {
    let run = run.to_string_lossy();
    let is_init = |pid: &i32| {
        let arguments = process::arguments(*pid);
        let marked = arguments.windows(3).any(|window| window[0] == "init" && window[1] == "--run" && window[2] == run);
        marked && process::ids_in_namespaces(*pid).as_slice().get(1..) == Some(&[1])
    };
    process::all().into_iter().filter(is_init).find_map(ProcessId::of)
}

/// Kills a cluster's first process, and with it everything; returns when nothing is left.
///
/// # Errors
/// [`Error::Leftover`] if it does not go away.
pub fn kill_all(run: &Path) -> Result<()> {
    while let Some(init) = find_init(run) {
        init.signal(Signal::SIGKILL);
        // The kernel answers only after every process in the namespace is gone.
        if !wait_until(Duration::from_secs(30), || !init.exists() || ProcessId::of(init.pid).is_none()) {
            let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Error::Leftover {
                name,
                what: format!("process {}", init.pid),
                why: "it does not react to SIGKILL".into(),
            });
        }
    }
    Ok(())
}

/// Runs a closure in a thread that has entered the cluster's namespaces; processes that it starts are inside.
fn inside<T: Send>(init: &ProcessId, all: bool, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let open = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", init.pid);
        File::open(&path).doing("opening", &path)
    };
    let mut entered = vec![(open("net")?, CloneFlags::CLONE_NEWNET)];
    if all {
        entered.push((open("ipc")?, CloneFlags::CLONE_NEWIPC));
        entered.push((open("uts")?, CloneFlags::CLONE_NEWUTS));
        entered.push((open("pid")?, CloneFlags::CLONE_NEWPID));
        entered.push((open("mnt")?, CloneFlags::CLONE_NEWNS));
    }
    // Opened, the namespaces stay what they are; only now is it certain whose they were.
    if !init.is_alive() {
        return Err(Error::NotRunning { name: "of this process".into() });
    }
    let body = move || -> Result<T> {
        if all {
            // A thread that shares its root and working directory with others may not change mount namespaces.
            unshare(CloneFlags::CLONE_FS).doing("leaving", "the shared file system state")?;
        }
        for (namespace, kind) in entered {
            setns(namespace, kind).doing("entering", "a namespace of the cluster")?;
        }
        work()
    };
    std::thread::scope(|scope| {
        scope.spawn(body).join().unwrap_or_else(|_| {
            Err(Error::Service {
                what: "entering the cluster's namespaces".into(),
                why: "the thread ended early".into(),
            })
        })
    })
}

/// A socket that listens inside the cluster's network and is served by this process: this is how a webhook on the host
/// is reached from the API server and from pods.
///
/// # Errors
/// Where the cluster is gone or the address taken.
pub fn listen(init: &ProcessId, address: SocketAddr) -> Result<TcpListener> {
    inside(init, false, || TcpListener::bind(address).doing("listening on", address.to_string()))
}

/// Runs a command inside to its end.
///
/// # Errors
/// [`Error::Command`] with the end of what it printed.
pub fn run(init: &ProcessId, command: Command) -> Result<String> {
    inside(init, true, || crate::programs::run_logged(command))
}

/// Starts a component inside: a session of its own, a child of the cluster's first process, its output appended to a
/// log file. A socket that was made outside becomes its standard input.
///
/// # Errors
/// Where it cannot be started. That it ends right afterwards is no error here.
pub fn spawn(
    init: &ProcessId,
    arguments: &[String],
    environment: &[(String, String)],
    log: &Path,
    socket: Option<TcpListener>,
) -> Result<ProcessId> {
    let what = arguments.first().cloned().unwrap_or_default();
    let output = File::options().create(true).append(true).open(log).doing("opening", log)?;
    let errors = output.try_clone().doing("opening", log)?;
    // `setsid --fork` ends at once, so that the component becomes a child of the cluster's first process and is never
    // this process's to reap. It tells its id, as seen inside, before it becomes the component.
    let pid_file =
        tempfile::NamedTempFile::new_in(log.parent().unwrap_or(Path::new("/"))).doing("making a file beside", log)?;
    let mut command = Command::new("setsid");
    command.args(["--fork", "sh", "-c", "echo $$ > \"$0\"; exec \"$@\""]).arg(pid_file.path()).args(arguments);
    // What the developer's shell exports (proxies, credentials) is none of the components' business.
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command.stdin(socket.map_or_else(Stdio::null, |socket| OwnedFd::from(socket).into())).stdout(output).stderr(errors);
    inside(init, true, || {
        let status = command.status().doing("starting", &what)?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Command { command: what.clone(), status: status.to_string(), output: String::new() })
        }
    })?;
    let mut inner = None;
    wait_until(Duration::from_secs(10), || {
        inner =
            std::fs::read_to_string(pid_file.path()).ok().and_then(|text| text.strip_suffix('\n')?.parse::<i32>().ok());
        inner.is_some()
    });
    let ended = || Error::NotReady { what: what.clone(), seconds: 10, log: String::new() };
    let inner = inner.ok_or_else(ended)?;
    let namespace = process::pid_namespace(init.pid);
    let found = process::all().into_iter().find(|pid| {
        process::ids_in_namespaces(*pid).as_slice().get(1..) == Some(&[inner])
            && process::pid_namespace(*pid) == namespace
    });
    found.and_then(ProcessId::of).ok_or_else(ended)
}
