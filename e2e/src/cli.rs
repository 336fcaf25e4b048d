//! `cargo xtask cluster`: what a developer types.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::cluster::{Cluster, HelperCommand, Options, Started};
use crate::error::{Context, Error, Result};
use crate::faults::State;
use crate::helper::Helper;
use crate::images;
use crate::interrupt;
use crate::layout::{DEFAULT_NAME, known_clusters};
use crate::packages;
use crate::programs::{self, Programs};

/// Arguments of `cluster`.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Clone, Debug, Args)]
struct Name {
    /// The cluster's name: another one runs beside the first.
    #[arg(long, default_value = DEFAULT_NAME, env = "SLUICEGATE_E2E_CLUSTER")]
    name: String,
}

#[derive(Clone, Debug, Args)]
struct Kind {
    #[command(flatten)]
    name: Name,
    /// No node and no pods: etcd, API server and controller manager, ready in seconds.
    #[arg(long)]
    control_plane_only: bool,
    /// Let etcd write through to the disk, for tests that make the machine fail.
    #[arg(long)]
    fsync: bool,
    /// The API server's port on the host's loopback [default: a free one].
    #[arg(long)]
    port: Option<u16>,
}

impl From<Kind> for Options {
    fn from(kind: Kind) -> Options {
        Options {
            name: kind.name.name,
            control_plane_only: kind.control_plane_only,
            fsync: kind.fsync,
            port: kind.port,
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
enum ClusterCommand {
    /// Start a cluster, building what is missing, and wait until it can be used.
    Up(Kind),
    /// End a cluster and remove everything of it.
    Down {
        #[command(flatten)]
        name: Name,
        /// Every cluster of this machine.
        #[arg(long)]
        all: bool,
    },
    /// Say which components run.
    Status(Name),
    /// Print the log of a component, or name the logs there are.
    Logs {
        #[command(flatten)]
        name: Name,
        /// The component.
        component: Option<String>,
        /// Go on printing what is added.
        #[arg(long, short)]
        follow: bool,
    },
    /// Print the path of the administrator's kubeconfig.
    Kubeconfig(Name),
    /// Build every program and image without starting anything.
    Build {
        /// Only what a cluster without a node needs.
        #[arg(long)]
        control_plane_only: bool,
    },
    /// Run a command inside the cluster's namespaces.
    Exec {
        #[command(flatten)]
        name: Name,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Start a cluster, run a command with KUBECONFIG set, and end the cluster, whatever happens.
    Run {
        #[command(flatten)]
        kind: Kind,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    #[command(subcommand, hide = true)]
    Helper(Helper),
}

/// Runs the command and reports its error; the exit code is 0, 2 (could not run), 130 (Ctrl-C), or that of the command
/// that `run` and `exec` ran.
pub fn run(arguments: ClusterArgs) -> ExitCode {
    let result = match arguments.command {
        ClusterCommand::Helper(helper) => crate::helper::run(helper).map(|()| ExitCode::SUCCESS),
        command => interrupt::install().and_then(|()| dispatch(command)),
    };
    result.unwrap_or_else(|error| {
        crate::say(&format!("error: {error}"));
        ExitCode::from(error.exit_code())
    })
}

fn dispatch(command: ClusterCommand) -> Result<ExitCode> {
    match command {
        ClusterCommand::Up(kind) => up(&kind.into()),
        ClusterCommand::Down { name, all } => down(if all { known_clusters() } else { vec![name.name] }),
        ClusterCommand::Status(name) => status(&name.name),
        ClusterCommand::Logs { name, component, follow } => logs(&name.name, component.as_deref(), follow),
        ClusterCommand::Kubeconfig(name) => {
            print(&format!("{}\n", Cluster::open(&name.name)?.layout().kubeconfig().display()))
        }
        ClusterCommand::Build { control_plane_only } => build(!control_plane_only),
        ClusterCommand::Exec { name, command } => exec(&Cluster::open(&name.name)?, &command),
        ClusterCommand::Run { kind, command } => with_cluster(&kind.into(), &command),
        ClusterCommand::Helper(_) => Ok(ExitCode::SUCCESS),
    }
}

fn print(text: &str) -> Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader (`head`, a pager) has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS).doing("writing to", "standard output"),
    }
}

fn up(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let Started { cluster, was_running, .. } = Cluster::up(options, &HelperCommand::this_program()?, false)?;
    let ports = cluster.ports();
    let state = if was_running {
        "is running already".to_owned()
    } else {
        format!("is ready after {:.1} s", started.elapsed().as_secs_f64())
    };
    let argument = if options.name == DEFAULT_NAME { String::new() } else { format!(" --name {}", options.name) };
    print(&format!(
        "cluster {} {state}\n\n  export KUBECONFIG={}\n\n\
         API server  {}\nGit         http://127.0.0.1:{}/  (inside: http(s)://git.sluicegate.test, ssh://git@git.sluicegate.test)\n\
         registry    127.0.0.1:{}  (inside: registry.sluicegate.test:5000)\n\n\
         cargo xtask cluster status{argument}    what runs\ncargo xtask cluster logs{argument}      what it says\ncargo xtask cluster down{argument}      end it\n",
        cluster.name(),
        cluster.layout().kubeconfig().display(),
        cluster.server(),
        ports.git,
        ports.registry,
    ))
}

fn down(names: Vec<String>) -> Result<ExitCode> {
    for name in names {
        let text = if Cluster::down(&name)? {
            format!("cluster {name} is gone\n")
        } else {
            format!("there is no cluster {name}\n")
        };
        print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit code 1 where a component is not running.
fn status(name: &str) -> Result<ExitCode> {
    let cluster = Cluster::open(name)?;
    let mut healthy = true;
    for component in cluster.components() {
        let state = match cluster.state(&component)? {
            State::Running => "running",
            State::Paused => "paused",
            State::Ended => "ended",
        };
        healthy &= state == "running";
        print(&format!("{component:<26}{state:<9}{}\n", cluster.process(&component)?.pid))?;
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn logs(name: &str, component: Option<&str>, follow: bool) -> Result<ExitCode> {
    let cluster = Cluster::open(name)?;
    let Some(component) = component else {
        return print(&format!("{}\n{}\n", cluster.layout().path("logs").display(), cluster.components().join("\n")));
    };
    cluster.process(component)?;
    let path = cluster.layout().log(component);
    let mut file = fs::File::open(&path).doing("opening", &path)?;
    loop {
        std::io::copy(&mut file, &mut std::io::stdout()).doing("printing", &path)?;
        if !follow || interrupt::requested() {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn build(with_node: bool) -> Result<ExitCode> {
    packages::ensure(with_node)?;
    let programs = Programs::find()?;
    programs.ensure(&programs::needed(with_node))?;
    if with_node {
        images::ensure(&programs)?;
    }
    print("everything is built\n")
}

fn exec(cluster: &Cluster, command: &[String]) -> Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    print(&cluster.run_inside(command)?)
}

/// Starts a cluster, runs a command, ends the cluster: after success, failure, Ctrl-C and panics alike. Even SIGKILL
/// ends it, by the lifeline; then only files and cgroups are left, which the next `up` or `down` removes.
///
/// The exit code is the command's, 130 after Ctrl-C. The calling program must offer [`ClusterArgs`] as its subcommand
/// `cluster`, see [`HelperCommand`].
///
/// # Errors
/// Where the cluster cannot be started or ended.
pub fn with_cluster(options: &Options, command: &[String]) -> Result<ExitCode> {
    interrupt::install()?;
    interrupt::end_with_parent()?;
    let started = Cluster::up(options, &HelperCommand::this_program()?, true)?;
    let end = End { name: &options.name, keep: started.was_running };
    let result = run_command(&started.cluster.layout().kubeconfig(), &options.name, command);
    drop(started);
    end.now()?;
    result
}

/// Ends the cluster when it goes out of scope, unless the cluster was there before.
struct End<'a> {
    name: &'a str,
    keep: bool,
}

impl End<'_> {
    fn now(mut self) -> Result<()> {
        let keep = std::mem::replace(&mut self.keep, true);
        if keep { Ok(()) } else { Cluster::down(self.name).map(|_| ()) }
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.keep {
            let _ = Cluster::down(self.name);
        }
    }
}

fn run_command(kubeconfig: &Path, name: &str, command: &[String]) -> Result<ExitCode> {
    let Some((program, _)) = command.split_first() else {
        return Ok(ExitCode::SUCCESS);
    };
    // Whatever ends this process ends the command as well.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--"])
        .args(command)
        .env("KUBECONFIG", kubeconfig)
        .env("SLUICEGATE_E2E_CLUSTER", name)
        .stdin(Stdio::null())
        .spawn()
        .doing("starting", program)?;
    loop {
        if let Some(status) = child.try_wait().doing("waiting for", program)? {
            interrupt::check()?;
            return Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from));
        }
        if interrupt::requested() {
            // From a terminal it had the signal as well; from elsewhere only this process had it.
            let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Interrupted);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
