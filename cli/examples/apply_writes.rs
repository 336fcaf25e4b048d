//! The least that a client of Kubernetes needs for its writes, for the operator's bench to compare with: reads them from a file
//! and sends them, through the client that the operator uses, in the order and with the concurrency that it has. It watches
//! nothing, compares nothing and decides nothing; it prints what it took.
//!
//! Each line of the file is a [`Write`]. Those of one unit are sent by stage, and a stage begins when the one before is done.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use clap::Parser;
use futures::{TryStreamExt as _, stream};
use kube::{
    Client,
    api::{Patch, PatchParams},
    core::Request,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sluicegate_operator::cluster::connect;

/// The one that `sluicegate` has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rights that were given a moment ago are not in force everywhere yet.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Parser)]
struct Args {
    /// The cluster, and who the client is there
    kubeconfig: PathBuf,
    /// The writes, as JSON, one a line
    writes: PathBuf,
    /// Field manager
    #[arg(long, default_value = "sluicegate")]
    manager: String,
    /// Units that are worked on at the same time
    #[arg(long)]
    units: usize,
    /// Requests of a unit at the same time
    #[arg(long)]
    requests: usize,
}

/// One write.
#[derive(Deserialize)]
struct Write {
    unit: usize,
    stage: usize,
    /// Path of the collection, such as `/api/v1/namespaces/x/secrets`.
    path: String,
    name: String,
    subresource: Option<String>,
    /// A JSON merge patch; a server-side apply otherwise.
    merge: bool,
    body: Value,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    // Only fails where one is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = connect::management(Some(&args.kubeconfig)).await?.client;
    let mut units: BTreeMap<usize, BTreeMap<usize, Vec<Write>>> = BTreeMap::new();
    for line in fs::read_to_string(&args.writes)?.lines() {
        let write: Write = serde_json::from_str(line)?;
        units.entry(write.unit).or_default().entry(write.stage).or_default().push(write);
    }
    let (sent, again) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    stream::iter(units.into_values().map(Ok::<_, Box<dyn Error>>))
        .try_for_each_concurrent(args.units, |stages| async {
            for writes in stages.into_values() {
                stream::iter(writes.into_iter().map(Ok))
                    .try_for_each_concurrent(args.requests, |write| async {
                        let tries = send(&client, &args.manager, write).await?;
                        sent.fetch_add(1, Ordering::Relaxed);
                        again.fetch_add(tries - 1, Ordering::Relaxed);
                        Ok::<_, Box<dyn Error>>(())
                    })
                    .await?;
            }
            Ok(())
        })
        .await?;
    let seconds = start.elapsed().as_secs_f64();
    let result = json!({"writes": sent.into_inner(), "again": again.into_inner(), "seconds": seconds});
    std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{result}\n"))?;
    Ok(())
}

/// Sends one write; how often it had to.
async fn send(client: &Client, manager: &str, write: Write) -> Result<usize, Box<dyn Error>> {
    let Write { path, name, subresource, merge, body, .. } = write;
    let to = Request::new(path);
    for tries in 1..=TRIES {
        let request = if merge {
            let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
            to.patch(&name, &parameters, &Patch::Merge(&body))
        } else {
            let parameters = PatchParams::apply(manager).force();
            match &subresource {
                Some(subresource) => to.patch_subresource(subresource, &name, &parameters, &Patch::Apply(&body)),
                None => to.patch(&name, &parameters, &Patch::Apply(&body)),
            }
        };
        match client.request::<Value>(request?).await {
            Ok(_) => return Ok(tries),
            Err(kube::Error::Api(status)) if status.code == 403 && tries < TRIES => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(format!("{} {name}: {error}", to.url_path).into()),
        }
    }
    Err(format!("{} {name}: refused {TRIES} times", to.url_path).into())
}
