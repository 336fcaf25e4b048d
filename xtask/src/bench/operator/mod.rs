//! `bench operator`: the operator on a control plane of its own, beside a bare client that makes the same writes to the same
//! API server in the same run.
//!
//! A run is: half of the bare client's writes; the operator from its start until everything is applied and every status is
//! written; the operator anew, which must write nothing; a change of a policy; the other half of the bare client's writes. So
//! whatever the API server does faster or slower as it grows hits both.
//!
//! Calls go one way: [`run`] makes a [`platform`] and starts a [`plane`] for it, reads the [`audit`] log of each phase, and
//! hands the [`report`] what it has found.

mod audit;
mod plane;
mod platform;
mod report;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{programs, say, table};
use audit::Written;
use plane::{Cost, Plane, Programs, Sent};
use platform::{For, Platform};
use report::Figures;

/// Options of `bench operator`.
#[derive(Debug, Args)]
pub struct Options {
    /// Numbers of FluxConfigs
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000], value_name = "N,…")]
    sizes: Vec<usize>,
    /// How often each size is run, each time on a new control plane; the run in the middle counts [default: 3, and 1 from
    /// 10,000 FluxConfigs on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Name of the control plane
    #[arg(long, default_value = "benchop")]
    name: String,
    /// Take `sluicegate` and `apply_writes` from this folder instead of building them
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Put the result into docs/performance.md
    #[arg(long)]
    write_docs: bool,
}

/// Agents of one cluster that the operator works on at the same time, and requests of each.
const AGENTS: usize = 16;
const REQUESTS: usize = 4;
/// FluxConfigs that it works on at the same time.
const CONFIGS: usize = 16;
/// Of a resync, what comes late would have come by then: clusters are looked at every ten seconds.
const AFTER: Duration = Duration::from_secs(15);

/// Runs the bench.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let programs = match &options.programs {
        Some(folder) => {
            let folder = std::path::absolute(folder)?;
            Programs { operator: folder.join("sluicegate"), bare: folder.join("apply_writes") }
        }
        None => {
            say("building sluicegate and the bare client (release)");
            Programs {
                operator: programs::copied(["--bin", "sluicegate"], temporary.path())?,
                bare: programs::copied(["--example", "apply_writes"], temporary.path())?,
            }
        }
    };
    let mut sizes = options.sizes.clone();
    sizes.sort_unstable();
    sizes.dedup();
    let mut figures = Vec::new();
    for configs in sizes {
        let runs = options.runs.unwrap_or(if configs < 10_000 { 3 } else { 1 });
        let mut of_size = Vec::new();
        for run in 1..=runs {
            say(&format!("{configs} FluxConfigs, run {run} of {runs}"));
            let found = once(configs, &options.name, &programs, temporary.path())?;
            say(&format!("{found:#?}"));
            of_size.push(found);
        }
        of_size.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
        let middle = of_size.swap_remove(of_size.len() / 2);
        figures.push(Figures { runs: runs as usize, ..middle });
    }
    let judged = report::judge(&figures);
    let text = format!("{}\n{}", report::draw(&figures), table::targets(&judged));
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes())?;
    if options.write_docs {
        table::write_docs("operator", &text)?;
    }
    let missed = judged.iter().filter(|target| !target.met).count();
    ensure!(missed == 0, "{missed} of {} promises are missed", judged.len());
    Ok(())
}

/// One run.
fn once(configs: usize, name: &str, programs: &Programs, folder: &Path) -> anyhow::Result<Figures> {
    let load = load();
    let platform = Platform::new(configs)?;
    let limit = Duration::from_secs(120 + configs as u64 / 10);
    let (all, half) = (platform.tenants(), platform.tenants().end / 2);
    let agents = all.end;
    let plane = Plane::start(name, programs, folder)?;
    plane.prepare(&platform.setup())?;

    let mut bare = Bare::default();
    bare.apply(&plane, &platform, 0..half)?;

    let before = plane.spent()?;
    let began = plane.start_operator()?;
    plane.settle(configs + agents, limit)?;
    let after = plane.spent()?;
    let converged = plane.written(began, Timestamp::now())?;
    complete(&platform, &converged)?;
    let digest = statuses(&plane, configs, None)?;
    let (settled, peak) = plane.memory()?;
    plane.wait_for_clusters(limit)?;
    plane.stop_operator()?;

    let restarted = plane.start_operator()?;
    let resync = plane.look(configs + agents, limit)?;
    std::thread::sleep(AFTER);
    let resynced = plane.written(restarted, Timestamp::now())?;

    let policy = json!({
        "apiVersion": sluicegate_crds::API_VERSION, "kind": "FluxPolicy", "metadata": {"name": platform::POLICY},
        "spec": platform::teams(&["https://git.example.com/*/archive/**"]),
    });
    let changed = plane.change(policy)?;
    // What follows begins with the first news of the policy.
    std::thread::sleep(Duration::from_millis(500));
    plane.settle(0, limit)?;
    let told = plane.written(changed, Timestamp::now())?;
    statuses(&plane, configs, Some(&digest))?;
    let peak = peak.max(plane.memory()?.1);
    plane.stop_operator()?;

    bare.apply(&plane, &platform, half..agents)?;

    Ok(Figures {
        runs: 1,
        configs,
        agents,
        objects: bare.objects.writes,
        load,
        bare_objects: bare.objects.seconds,
        bare_statuses: bare.statuses.seconds,
        bare_again: bare.objects.again + bare.statuses.again,
        operator: seconds(began, converged.last)?,
        writes: converged.count(),
        by_resource: converged.by_resource,
        refused: converged.refused,
        operator_cost: after.since(&before),
        bare_cost: bare.cost,
        settled,
        peak,
        resync: resync.as_secs_f64(),
        resync_writes: resynced.by_resource.into_iter().chain(resynced.refused).collect(),
        policy: seconds(changed, told.last)?,
        policy_writes: told.count(),
    })
}

/// What the bare client needed so far.
#[derive(Default)]
struct Bare {
    objects: Sent,
    statuses: Sent,
    cost: Cost,
}

impl Bare {
    fn apply(&mut self, plane: &Plane, platform: &Platform, tenants: std::ops::Range<usize>) -> anyhow::Result<()> {
        let objects = platform.rendered(For::Bare, tenants.clone())?;
        let statuses = platform.statuses(For::Bare, tenants)?;
        for (so_far, writes, units, requests) in
            [(&mut self.objects, objects, AGENTS, REQUESTS), (&mut self.statuses, statuses, CONFIGS, 1)]
        {
            let before = plane.spent()?;
            let sent = plane.apply(&writes, units, requests)?;
            self.cost.add(&plane.spent()?.since(&before));
            so_far.writes += sent.writes;
            so_far.again += sent.again;
            so_far.seconds += sent.seconds;
        }
        Ok(())
    }
}

/// Everything that is rendered was written, and nothing else was.
fn complete(platform: &Platform, written: &Written) -> anyhow::Result<()> {
    let of_others = |resource: &str| matches!(resource, "events" | "fluxconfigs" | "fluxpolicies" | "fluxclusters");
    let found: BTreeSet<_> = written
        .objects
        .iter()
        .filter(|(resource, _, name)| !of_others(resource) && !name.is_empty())
        .cloned()
        .collect();
    let expected = platform.expected()?;
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    ensure!(missing.is_empty(), "the operator did not apply {missing:?}, {} of {}", found.len(), expected.len());
    let more: Vec<_> = found.difference(&expected).take(3).collect();
    ensure!(more.is_empty(), "the operator wrote {more:?}, which nobody asked for");
    Ok(())
}

/// Every FluxConfig says what it should: admitted, deployed, judged by other policies than those of this digest. The digest that
/// they have now.
fn statuses(plane: &Plane, configs: usize, before: Option<&str>) -> anyhow::Result<String> {
    let (mut seen, mut digests) = (0, BTreeSet::new());
    plane.configs(|config| {
        let status = &config["status"];
        let condition = |kind: &str| -> &Value {
            let mut conditions = status["conditions"].as_array().into_iter().flatten();
            conditions.find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
        };
        let done = condition("Admitted")["status"] == "True"
            && condition("Ready")["reason"] == "AgentStarting"
            && status["observedGeneration"] == config["metadata"]["generation"]
            && config["metadata"]["finalizers"] == json!(["sluicegate.dev/agent"]);
        ensure!(done, "a FluxConfig is not done: {config:#}");
        digests.insert(status["policyDigest"].as_str().unwrap_or_default().to_owned());
        seen += 1;
        Ok(())
    })?;
    ensure!(seen == configs, "{seen} FluxConfigs of {configs}");
    let digest = digests.pop_first().context("no digest")?;
    ensure!(digests.is_empty() && before != Some(&digest), "a FluxConfig still has the digest of old policies");
    Ok(digest)
}

fn seconds(from: Timestamp, to: Option<Timestamp>) -> anyhow::Result<f64> {
    Ok(to.context("nothing was written")?.duration_since(from).as_secs_f64())
}

/// Processes that wanted a processor in the minute before, on average.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or_default()
}
