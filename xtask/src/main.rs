//! The project's own commands.

mod cluster;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Command {
    /// A real Kubernetes node with real Flux on this machine.
    Cluster(cluster::ClusterArgs),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Cluster(arguments) => cluster::run(arguments),
    }
}
