//! The small programs that run inside a cluster: its first process, relays, the web server for Git repositories and
//! charts, and the shell behind `ssh://` sources. They are hidden subcommands of the harness's own binary.

mod git_shell;
mod init;
pub(crate) mod relay;
mod web;

use std::path::PathBuf;

use clap::Subcommand;

use crate::error::Result;

/// What a helper process is told to be.
#[derive(Clone, Debug, Subcommand)]
pub enum Helper {
    /// The first process of a cluster's namespaces: sets them up, then reaps what is orphaned.
    Init {
        /// The cluster's folder.
        #[arg(long)]
        run: PathBuf,
        /// End, and everything with it, when standard input closes.
        #[arg(long)]
        lifeline: bool,
    },
    /// Passes TCP connections on, as the control file says: at once, late, not at all.
    Relay {
        /// Where to listen; absent: the socket that standard input is.
        #[arg(long)]
        listen: Option<std::net::SocketAddr>,
        /// Where to connect to.
        #[arg(long)]
        to: std::net::SocketAddr,
        /// A JSON file, read again and again.
        #[arg(long)]
        control: PathBuf,
    },
    /// Serves Git repositories and a folder of charts over HTTP and HTTPS.
    Web {
        /// The cluster's folder.
        #[arg(long)]
        run: PathBuf,
        /// The address to listen on, ports 80 and 443.
        #[arg(long)]
        address: std::net::IpAddr,
    },
    /// Runs the one Git command that sshd passes on, for an account.
    GitShell {
        /// The cluster's folder.
        #[arg(long)]
        run: PathBuf,
        /// Whose key it was.
        #[arg(long)]
        account: String,
    },
}

/// Runs a helper to its end.
///
/// # Errors
/// What stopped it.
pub fn run(helper: Helper) -> Result<()> {
    match helper {
        Helper::Init { run, lifeline } => init::run(&run, lifeline),
        Helper::Relay { listen, to, control } => relay::run(listen, to, control),
        Helper::Web { run, address } => web::run(run, address),
        Helper::GitShell { run, account } => git_shell::run(&run, &account),
    }
}

/// A runtime for helpers: they wait, they do not compute.
fn runtime() -> Result<tokio::runtime::Runtime> {
    use crate::error::Context;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().doing("starting", "the runtime")
}
