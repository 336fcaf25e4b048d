//! Benches: what the project promises about speed and memory, measured against a bare program and against others' tools in
//! one run, and judged as ratios, so that the result depends little on the machine.
//!
//! What lives here: making the input, running and measuring programs, judging, the table. What does not: any measured code,
//! and timed tests; nothing in `cargo test` depends on a clock.
//!
//! Calls go one way: [`check`] makes a [`corpus`], lists the [`programs`] (the [`peers`] among them), has each of them
//! [`measure`]d in turn, compares the verdicts, asks the [`targets`] and writes the [`table`]. [`operator`] and [`webhook`] have
//! folders of their own, and share the last two. What is others' program is a [`tool`].

mod check;
mod corpus;
mod measure;
mod operator;
mod peers;
mod programs;
mod table;
mod targets;
mod tool;
mod webhook;

use std::io::{self, Write as _};

use clap::Subcommand;

/// Benches of the project.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// `sluicegate check` against a bare reader, conftest, gator and opa; exit code 1 where a target is missed
    Check(check::Options),
    /// The operator against a bare client on a control plane of its own; exit code 1 where a target is missed
    Operator(operator::Options),
    /// The webhook against one of the same stack that allows everything, Kyverno and Gatekeeper; exit code 1 where a target is missed
    Webhook(webhook::Options),
    /// Runs one program and prints what it cost, as JSON
    #[command(hide = true)]
    Measure(measure::Command),
}

impl Bench {
    /// Runs the bench.
    ///
    /// # Errors
    /// Whatever keeps it from measuring, verdicts that differ, and a promise that is missed.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Check(options) => check::run(options),
            Self::Operator(options) => operator::run(options),
            Self::Webhook(options) => webhook::run(options),
            Self::Measure(command) => measure::run(command),
        }
    }
}

/// Tells what is going on, on standard error.
fn say(text: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
