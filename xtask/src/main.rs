//! The project's own commands. Thin: they call the rooms of the repository and the tools of the toolchain.

// A command line for developers: it prints, and a failure is a message.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod cluster;
mod demo;
mod fuzz;
mod generate;
mod image;
mod licences;
mod process;
mod suites;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sluicegate's own commands", max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job: a team's merge request, and on a cluster everything that follows from it
    Demo(demo::Args),
    /// Pass all tests: format, lints, licences, generated files, unit and integration tests
    Test(test::Args),
    /// Write what is generated from code: CRDs, JSON schemas, the index of rules, the reference of the command line
    #[command(alias = "crds")]
    Generate(generate::Args),
    /// Build the container image of one static program, and write it as an OCI archive
    Image(image::Args),
    /// Check the licences of all dependencies against deny.toml
    Licences,
    /// A real Kubernetes node with real Flux on this machine
    Cluster(cluster::ClusterArgs),
    /// Measure, beside a bare program and peers, in one run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run the fuzz targets, each for a while
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => return args.run(),
        Command::Test(args) => args.run(),
        Command::Generate(args) => args.run(),
        Command::Image(args) => args.run(),
        Command::Licences => licences::check(),
        Command::Cluster(arguments) => return cluster::run(arguments),
        Command::Bench(bench) => bench.run(),
        Command::Fuzz(args) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
