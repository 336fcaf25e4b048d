//! Fault levers: ending, starting and pausing components, and cutting or slowing lines.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::cluster::{Cluster, Running};
use crate::components::{Component, ETCD_NO_FSYNC, relay_control};
use crate::error::{Context, Error, Result};
use crate::helper::relay::Line;
use crate::layout::write;
use crate::process::ProcessId;

/// A line on which traffic can be held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From programs on the host (tests, an operator under test) to the API server.
    HostToApi,
    /// From the node (kubelet, kube-proxy, the policy enforcer) to the API server.
    NodeToApi,
    /// From programs on the host to the Git server.
    HostToGit,
    /// From programs on the host to the registry.
    HostToRegistry,
}

impl Way {
    fn relay(self) -> &'static str {
        match self {
            Way::HostToApi => "host-api",
            Way::NodeToApi => "node-api",
            Way::HostToGit => "host-git",
            Way::HostToRegistry => "host-registry",
        }
    }
}

/// The state of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP.
    Paused,
    /// It is not there.
    Ended,
}

impl Cluster {
    /// The names of the components, in order.
    pub fn components(&self) -> Vec<String> {
        let folder = self.layout.path("processes");
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = names
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// The state of a component.
    ///
    /// # Errors
    /// [`Error::NoComponent`].
    pub fn state(&self, component: &str) -> Result<State> {
        let process = self.running(component)?.process;
        Ok(match (process.is_alive(), process.is_paused()) {
            (false, _) => State::Ended,
            (true, true) => State::Paused,
            (true, false) => State::Running,
        })
    }

    /// A component's process, as seen from the host.
    ///
    /// # Errors
    /// [`Error::NoComponent`].
    pub fn process(&self, component: &str) -> Result<ProcessId> {
        Ok(self.running(component)?.process)
    }

    /// Ends a component as an administrator does (SIGTERM), and waits for it.
    ///
    /// # Errors
    /// [`Error::NoComponent`], or [`Error::NotReady`] where it does not end within 30 seconds.
    pub fn stop(&self, component: &str) -> Result<()> {
        self.end(component, Signal::SIGTERM)
    }

    /// Ends a component as a crash does (SIGKILL), and waits for it.
    ///
    /// # Errors
    /// As [`Cluster::stop`].
    pub fn kill(&self, component: &str) -> Result<()> {
        self.end(component, Signal::SIGKILL)
    }

    /// Starts a component that has ended, as it was started before. One that runs is left alone. Nothing restarts
    /// components by itself: a kubelet, say, ends when it finds no container runtime, so that one is started first; this
    /// returns when the runtime answers.
    ///
    /// The relays on the host's loopback cannot be started again: their sockets went with them. Use
    /// [`Cluster::set_line`] there.
    ///
    /// # Errors
    /// [`Error::NoComponent`], or where it cannot be started.
    pub fn start_again(&self, component: &str) -> Result<()> {
        let running = self.running(component)?;
        if running.process.is_alive() {
            return Ok(());
        }
        if component.starts_with("host-") {
            let why = "its socket on the host's loopback went with it; set_line breaks such a line and mends it";
            return Err(Error::Service { what: format!("starting {component} again"), why: why.into() });
        }
        let environment = crate::cluster::environment(&self.layout);
        let process = crate::namespaces::spawn(
            &self.record.init,
            &running.arguments,
            &environment,
            &self.layout.log(component),
            None,
        )?;
        self.keep_running(component, &Running { process, ..running })?;
        if component == "containerd" { self.await_runtime() } else { Ok(()) }
    }

    /// Stops a process where it is (SIGSTOP).
    ///
    /// # Errors
    /// [`Error::NoComponent`].
    pub fn pause(&self, component: &str) -> Result<()> {
        self.running(component)?.process.signal(Signal::SIGSTOP);
        Ok(())
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// [`Error::NoComponent`].
    pub fn resume(&self, component: &str) -> Result<()> {
        self.running(component)?.process.signal(Signal::SIGCONT);
        Ok(())
    }

    /// Restarts etcd with or without writing through to the disk; its data stay.
    ///
    /// # Errors
    /// As [`Cluster::stop`].
    pub fn set_etcd_fsync(&self, fsync: bool) -> Result<()> {
        self.stop("etcd")?;
        let mut running = self.running("etcd")?;
        running.arguments.retain(|argument| argument != ETCD_NO_FSYNC);
        if !fsync {
            running.arguments.push(ETCD_NO_FSYNC.into());
        }
        self.start(&Component { name: "etcd", arguments: running.arguments })
    }

    /// Sets the state of a line; the relay follows within 50 milliseconds, open connections included.
    ///
    /// # Errors
    /// Where the control file cannot be written.
    pub fn set_line(&self, way: Way, line: Line) -> Result<()> {
        let path = relay_control(&self.layout, way.relay());
        let content = serde_json::to_vec(&line).map_err(std::io::Error::from).doing("writing", &path)?;
        write(&path, content)?;
        // The relay reads the file every 20 ms; when this returns the new state holds.
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    }

    pub(crate) fn component_is_alive(&self, component: &str) -> bool {
        self.running(component).is_ok_and(|running| running.process.is_alive())
    }

    pub(crate) fn running(&self, component: &str) -> Result<Running> {
        let path = self.layout.path("processes").join(format!("{component}.json"));
        match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).map_err(std::io::Error::from).doing("reading", &path),
            Err(_) => Err(Error::NoComponent {
                name: self.name().to_owned(),
                component: component.to_owned(),
                known: self.components().join(", "),
            }),
        }
    }

    fn end(&self, component: &str, signal: Signal) -> Result<()> {
        const LIMIT: Duration = Duration::from_secs(30);
        let process = self.running(component)?.process;
        process.signal(signal);
        // A paused process takes SIGTERM only when it goes on.
        process.signal(Signal::SIGCONT);
        if process.wait_gone(LIMIT) {
            Ok(())
        } else {
            Err(Error::NotReady {
                what: format!("the end of {component}"),
                seconds: LIMIT.as_secs(),
                log: String::new(),
            })
        }
    }
}
