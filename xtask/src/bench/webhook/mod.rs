//! `bench webhook`: admission requests straight to `sluicegate webhook`, in turn with the same to a webhook of the same stack
//! that allows everything; and through an API server, with webhook, with guard and with neither.
//!
//! Calls go one way: [`run`] has [`direct`] start the [`subject`]s, ours on a [`platform`] that a [`stand_in`] for the API
//! server holds, and send them [`load`]; has [`plane`] do the same through a real API server, and [`peers`] with the admission
//! servers of others; and hands the [`report`] what they have found.

mod direct;
mod load;
mod peers;
mod plane;
mod platform;
mod record;
mod report;
mod stand_in;
mod subject;

use std::path::PathBuf;

use anyhow::ensure;
use clap::Args;

use super::{programs, say, table};
use crate::process::root;
use direct::{Plan, Programs};
use load::{Loader, Shape};

/// Requests through the API server at the same time.
const THROUGH: [usize; 2] = [1, 16];

/// Options of `bench webhook`.
#[derive(Debug, Args)]
pub struct Options {
    /// Numbers of tenants, each with a policy of its own
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 10_000], value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(1..=99_999))]
    tenants: Vec<u32>,
    /// Numbers of connections; one of HTTP/2 with 64 requests at a time is always measured too
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256], value_name = "N,…",
        value_parser = clap::value_parser!(u32).range(1..=500))]
    connections: Vec<u32>,
    /// How long each webhook is asked each time
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// How often each is asked, in turn; the round in the middle counts
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Leave out the requests through an API server, which need root, and with them Kyverno and Gatekeeper
    #[arg(long)]
    no_api_server: bool,
    /// Leave out Kyverno and Gatekeeper, which are built with Go once
    #[arg(long)]
    no_peers: bool,
    /// Name of the control plane
    #[arg(long, default_value = "benchhook")]
    name: String,
    /// Take `sluicegate`, `allow_everything` and `load_admission` from this folder instead of building them
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Put the result into docs/performance.md
    #[arg(long)]
    write_docs: bool,
    /// Measure nothing: record the reviews that are sent anew, from a control plane
    #[arg(long)]
    record: bool,
}

/// Runs the bench.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    if options.record {
        return record::record(&options.name, &root().join("xtask/src/bench/webhook/reviews"));
    }
    ensure!(options.seconds > 0.0, "--seconds {}: nothing can be measured in no time", options.seconds);
    let temporary = tempfile::tempdir()?;
    let folder = temporary.path();
    let (programs, load) = match &options.programs {
        Some(folder) => {
            let folder = std::path::absolute(folder)?;
            let programs = Programs { ours: folder.join("sluicegate"), bare: folder.join("allow_everything") };
            (programs, folder.join("load_admission"))
        }
        None => {
            say("building sluicegate, the bare webhook and the load (release)");
            let ours = programs::copied(["--bin", "sluicegate"], folder)?;
            let bare = programs::copied(["--example", "allow_everything"], folder)?;
            (Programs { ours, bare }, programs::copied(["--example", "load_admission"], folder)?)
        }
    };
    // What cannot be built is told before minutes were spent on measuring.
    let peers = if options.no_api_server || options.no_peers { Vec::new() } else { peers::build()? };
    let loader = Loader::new(load, folder);
    let sorted = |numbers: &[u32]| {
        let mut numbers: Vec<usize> = numbers.iter().map(|number| *number as usize).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let mut shapes: Vec<Shape> = sorted(&options.connections).into_iter().map(Shape::of).collect();
    shapes.push(Shape::HTTP2);
    let (tenants, rounds) = (sorted(&options.tenants), options.rounds as usize);
    let plan = Plan { tenants: &tenants, shapes: &shapes, rounds, seconds: options.seconds };
    let cells = direct::measure(&plan, &programs, &loader, folder)?;
    let passages = if options.no_api_server {
        Vec::new()
    } else {
        let seconds = options.seconds * f64::from(options.rounds);
        plane::measure(&options.name, programs.ours.clone(), &THROUGH, seconds, &loader)?
    };
    let beside = if peers.is_empty() {
        Vec::new()
    } else {
        peers::measure(&peers, &options.name, &plan, &programs, &loader, folder)?
    };
    let judged = report::judge(&cells, &passages, &beside);
    let text =
        format!("{}\n{}", report::draw(&cells, &passages, &beside, rounds, options.seconds), table::targets(&judged));
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    if options.write_docs {
        table::write_docs("webhook", &text)?;
    }
    let missed = judged.iter().filter(|target| !target.met).count();
    ensure!(missed == 0, "{missed} of {} promises are missed", judged.len());
    Ok(())
}
