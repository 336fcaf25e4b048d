//! What can go wrong with the test cluster, said so that a developer knows how to go on.

use std::path::{Path, PathBuf};

/// A failure of the harness. The text says what was found and what to do; it never needs the source code beside it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cluster's processes need rights that only root has (namespaces, mounts, cgroups).
    #[error(
        "the test cluster needs root (network namespaces, mounts, cgroups): run it as root, or set SLUICEGATE_E2E_KUBECONFIG to use a cluster that exists"
    )]
    NotRoot,
    /// Debian packages are missing and cannot be installed from here.
    #[error(
        "these packages are missing: {packages}; install them as root: apt-get update && apt-get install --no-install-recommends {packages}"
    )]
    MissingPackages {
        /// Names, separated by blanks.
        packages: String,
    },
    /// There is no usable Go toolchain.
    #[error(
        "building the cluster's programs needs Go {wanted} or newer on the PATH ({found}); see https://go.dev/doc/install"
    )]
    NoGo {
        /// The lowest version that builds every module.
        wanted: &'static str,
        /// What was found instead.
        found: String,
    },
    /// A Go module could not be built or downloaded.
    #[error("building {module} ended with an error; {hint}\n{log}")]
    Build {
        /// The folder under `e2e/modules`.
        module: String,
        /// What the developer can do.
        hint: &'static str,
        /// The last lines that Go printed.
        log: String,
    },
    /// The disk is too full to begin.
    #[error("{} MiB are free under {}, {} MiB are needed; make room, or point {variable} at another disk", .free >> 20, .path.display(), .needed >> 20)]
    NoSpace {
        /// Where the space is missing.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
        /// The environment variable that moves the folder.
        variable: &'static str,
    },
    /// The port that was asked for is taken.
    #[error(
        "port {port} on the host's loopback is in use; give another one with --port, or leave the option out for a free one"
    )]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// A name that could not be part of a path or a cgroup.
    #[error("{name:?} is no cluster name: 1 to 30 of a-z, 0-9 and '-', with a letter in front")]
    BadName {
        /// What was given.
        name: String,
    },
    /// Another harness process works on the same cluster.
    #[error("another command is working on cluster {name} right now; wait for it to end")]
    Busy {
        /// The cluster.
        name: String,
    },
    /// The cluster runs already, with other options.
    #[error("cluster {name} is running already, with other options; `cargo xtask cluster down --name {name}` ends it")]
    Running {
        /// The cluster.
        name: String,
    },
    /// No such cluster runs.
    #[error("cluster {name} is not running; `cargo xtask cluster up --name {name}` starts it")]
    NotRunning {
        /// The cluster.
        name: String,
    },
    /// A state folder that belongs to somebody else.
    #[error("{} is not a folder of root's own (mode 0755 or stricter); remove it, or set SLUICEGATE_E2E_STATE", .path.display())]
    ForeignState {
        /// The folder.
        path: PathBuf,
    },
    /// A component did not become ready in time, or ended.
    #[error("{what} was not ready after {seconds} s{log}")]
    NotReady {
        /// The component or object that was waited for.
        what: String,
        /// How long it was waited for.
        seconds: u64,
        /// The end of its log, with a line break in front; may be empty.
        log: String,
    },
    /// A component that is not part of this cluster.
    #[error("cluster {name} has no component {component}; it has {known}")]
    NoComponent {
        /// The cluster.
        name: String,
        /// What was asked for.
        component: String,
        /// What there is.
        known: String,
    },
    /// A program that the harness called failed.
    #[error("`{command}` ended with {status}: {output}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// Something of the cluster could not be removed.
    #[error("{what} of cluster {name} could not be removed: {why}")]
    Leftover {
        /// The cluster.
        name: String,
        /// Process, cgroup or folder.
        what: String,
        /// Why.
        why: String,
    },
    /// Ctrl-C, or a request to end.
    #[error("interrupted; everything that was started has been ended")]
    Interrupted,
    /// A request to the API server failed.
    #[error("{what}: {source}")]
    Api {
        /// What was asked for.
        what: String,
        /// The client's error.
        #[source]
        source: Box<kube::Error>,
    },
    /// A certificate could not be made.
    #[error("making the certificate of {whom}: {source}")]
    Certificate {
        /// Its subject.
        whom: String,
        /// The library's error.
        #[source]
        source: rcgen::Error,
    },
    /// A request to one of the harness's servers was not answered as it should be.
    #[error("{what}: {why}")]
    Service {
        /// What was asked for.
        what: String,
        /// What came back.
        why: String,
    },
    /// A file or folder could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// The action and the path.
        what: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what was being done when the system refused.
pub trait Context<T> {
    /// Names the action and the path it was done to.
    ///
    /// # Errors
    /// The error, with its context.
    fn doing(self, action: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn doing(self, action: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: format!("{action} {}", path.as_ref().display()),
            source: source.into(),
        })
    }
}

impl Error {
    /// An error of the API client with what was asked for.
    pub fn api(what: impl Into<String>, source: kube::Error) -> Error {
        Error::Api { what: what.into(), source: Box::new(source) }
    }

    /// The exit code of the command line: 130 after Ctrl-C, as shells have it, otherwise 2 (could not run).
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted => 130,
            _ => 2,
        }
    }
}
