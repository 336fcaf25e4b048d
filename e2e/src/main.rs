//! `sluicegate-e2e cluster …`: the same as `cargo xtask cluster …`, for tests that start clusters themselves.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "sluicegate-e2e")]
enum Command {
    /// A real Kubernetes node with real Flux on this machine.
    Cluster(sluicegate_e2e::cli::ClusterArgs),
}

fn main() -> ExitCode {
    let Command::Cluster(arguments) = Command::parse();
    sluicegate_e2e::cli::run(arguments)
}
