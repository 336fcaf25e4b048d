//! A control plane of the bench's own, with the operator under test on it, and what both cost.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use sluicegate_e2e::api::{self, Api};
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::suite::operator::{GROUP, Operator, USER, documents, install};
use sluicegate_e2e::suite::{apply_as, own_control_plane};
use tokio::runtime::Runtime;

use super::audit::Written;
use super::platform::{BARE_GROUP, Write};
use crate::bench::measure::{TICKS, of_process};
use crate::process::root;

/// Nothing but what is measured writes to the API server; without it Deployments get no ReplicaSets and namespaces no accounts.
const PAUSED: &str = "kube-controller-manager";
/// When the operator has written nothing for so long, it is done.
const QUIET: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(50);

/// The programs that are measured.
pub(super) struct Programs {
    pub(super) operator: PathBuf,
    pub(super) bare: PathBuf,
}

/// A control plane; it ends with this.
pub(super) struct Plane {
    cluster: Cluster,
    api: Api,
    runtime: Runtime,
    operator: Operator,
    metrics: SocketAddr,
    bare: PathBuf,
    folder: PathBuf,
}

impl Drop for Plane {
    fn drop(&mut self) {
        if self.operator.is_running() {
            let _ = self.operator.kill();
        }
        let _ = Cluster::down(self.cluster.name());
    }
}

/// What the bare client says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Sent {
    pub(super) writes: usize,
    /// Writes that had to be sent again.
    pub(super) again: usize,
    pub(super) seconds: f64,
}

/// What the operator's metrics say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Gauges {
    /// Requests that write.
    pub(super) writes: u64,
    /// Reconciliations of agents and FluxConfigs.
    pub(super) reconciles: u64,
    /// Agents and FluxConfigs that stand in line.
    pub(super) queued: u64,
}

/// Time of processors since the start of the machine or of a process, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent {
    pub(super) at: Instant,
    /// Everything on the machine.
    pub(super) busy: f64,
    pub(super) operator: f64,
    pub(super) api_server: f64,
    /// All that is measured: the cluster, the operator, the bench and the bare client.
    pub(super) ours: f64,
}

impl Spent {
    /// What was spent since.
    pub(super) fn since(&self, before: &Self) -> Cost {
        Cost {
            operator: self.operator - before.operator,
            api_server: self.api_server - before.api_server,
            others: ((self.busy - before.busy) - (self.ours - before.ours)).max(0.0),
            all: self.at.duration_since(before.at).as_secs_f64()
                * thread::available_parallelism().map_or(1, usize::from) as f64,
        }
    }
}

/// Time of processors that was spent in some time, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) operator: f64,
    pub(super) api_server: f64,
    /// Whatever is not measured.
    pub(super) others: f64,
    /// All that there was.
    pub(super) all: f64,
}

impl Cost {
    pub(super) fn add(&mut self, other: &Self) {
        self.operator += other.operator;
        self.api_server += other.api_server;
        self.others += other.others;
        self.all += other.all;
    }
}

impl Plane {
    /// Starts one with Sluicegate's kinds and rights, and the kind that the bare client writes to.
    pub(super) fn start(name: &str, programs: &Programs, folder: &Path) -> anyhow::Result<Self> {
        let cluster = own_control_plane(&std::env::current_exe()?, name)?;
        let metrics = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let plane = Self {
            api: Api::new(&cluster.layout().kubeconfig())?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            operator: Operator::of(&cluster, "bench", programs.operator.clone(), metrics)?,
            metrics,
            bare: programs.bare.clone(),
            folder: folder.to_owned(),
            cluster,
        };
        plane.install()?;
        plane.cluster.pause(PAUSED)?;
        Ok(plane)
    }

    fn install(&self) -> anyhow::Result<()> {
        let file = root().join("deploy/crds/sluicegate.dev_fluxconfigs.yaml");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let mut kind = documents(&text)?.pop().context("a kind")?;
        kind["metadata"]["name"] = json!(format!("fluxconfigs.{BARE_GROUP}"));
        kind["spec"]["group"] = json!(BARE_GROUP);
        for field in ["shortNames", "categories"] {
            kind["spec"]["names"][field] = Value::Null;
        }
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "bench"},
            "rules": [{"apiGroups": [BARE_GROUP], "resources": ["fluxconfigs", "fluxconfigs/status"], "verbs": ["*"]}],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bench"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}],
        });
        self.runtime.block_on(async {
            install(&self.cluster).await?;
            let client = api::client(&self.cluster.layout().kubeconfig()).await?;
            for object in [kind, role, binding] {
                apply_as(&client, object).await?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        let path = format!("/apis/{BARE_GROUP}/v1alpha1/fluxconfigs?limit=1");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.api.get(&path)?.is_none() {
            ensure!(Instant::now() < deadline, "the kind of the bare client is not served");
            sleep(POLL);
        }
        Ok(())
    }

    /// Sends writes by the bare client, as the administrator.
    pub(super) fn prepare(&self, writes: &[Write]) -> anyhow::Result<Sent> {
        self.send(writes, &self.cluster.layout().kubeconfig(), "bench", 8, 4)
    }

    /// Sends writes by the bare client, as the operator's own account, `units` at the same time with so many `requests` each.
    pub(super) fn apply(&self, writes: &[Write], units: usize, requests: usize) -> anyhow::Result<Sent> {
        let kubeconfig = self.folder.join("kubeconfig");
        fs::write(&kubeconfig, self.cluster.kubeconfig_for(USER, Some(GROUP))?)?;
        self.send(writes, &kubeconfig, "sluicegate", units, requests)
    }

    fn send(
        &self,
        writes: &[Write],
        kubeconfig: &Path,
        manager: &str,
        units: usize,
        requests: usize,
    ) -> anyhow::Result<Sent> {
        let mut lines = Vec::new();
        for write in writes {
            serde_json::to_writer(&mut lines, write)?;
            lines.push(b'\n');
        }
        let file = self.folder.join("writes");
        fs::write(&file, lines)?;
        let output = Command::new(&self.bare)
            .args([kubeconfig, &file])
            .args(["--manager", manager, "--units", &units.to_string(), "--requests", &requests.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .context("the bare client")?;
        ensure!(output.status.success(), "the bare client ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("what the bare client says")
    }

    /// Starts the operator; the moment before.
    pub(super) fn start_operator(&self) -> anyhow::Result<Timestamp> {
        let now = Timestamp::now();
        self.operator.start()?;
        Ok(now)
    }

    /// Ends the operator in good order.
    pub(super) fn stop_operator(&self) -> anyhow::Result<()> {
        self.operator.stop()?;
        Ok(())
    }

    /// Waits until the operator has nothing to do and has written nothing for a while, after at least so many reconciliations.
    pub(super) fn settle(&self, reconciles: usize, limit: Duration) -> anyhow::Result<Gauges> {
        let began = Instant::now();
        let (mut last, mut since) = (Gauges::default(), Instant::now());
        loop {
            let now = self.gauges().unwrap_or_default();
            if now.writes != last.writes || now.queued > 0 || now.reconciles < reconciles as u64 {
                since = Instant::now();
            }
            if since.elapsed() > QUIET {
                return Ok(now);
            }
            if began.elapsed() > limit {
                bail!(
                    "the operator is not done after {} s: {now:?}\n{}",
                    limit.as_secs(),
                    self.operator.log_tail("", 20)
                );
            }
            last = now;
            sleep(POLL);
        }
    }

    /// Waits until the operator has made so many reconciliations and has nothing to do.
    pub(super) fn look(&self, reconciles: usize, limit: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        loop {
            let now = self.gauges().unwrap_or_default();
            if now.reconciles >= reconciles as u64 && now.queued == 0 {
                return Ok(began.elapsed());
            }
            if began.elapsed() > limit {
                bail!(
                    "the operator is not done after {} s: {now:?}\n{}",
                    limit.as_secs(),
                    self.operator.log_tail("", 20)
                );
            }
            sleep(POLL / 5);
        }
    }

    /// The operator's metrics; none where it does not serve them yet.
    fn gauges(&self) -> Option<Gauges> {
        let mut stream = TcpStream::connect(self.metrics).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(Gauges::read(&text))
    }

    /// What the operator's account wrote in a time.
    pub(super) fn written(&self, from: Timestamp, to: Timestamp) -> anyhow::Result<Written> {
        Written::read(&self.cluster.layout().path("logs"), USER, from, to)
    }

    /// All FluxConfigs, by the page.
    pub(super) fn configs(&self, mut each: impl FnMut(&Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let path = "/apis/sluicegate.dev/v1alpha1/fluxconfigs?limit=200";
        let mut next = path.to_owned();
        loop {
            let page = self.api.get(&next)?.context("no FluxConfigs are served")?;
            page["items"].as_array().into_iter().flatten().try_for_each(&mut each)?;
            match page["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => next = format!("{path}&continue={token}"),
                _ => return Ok(()),
            }
        }
    }

    /// Waits until the FluxClusters say how they are. The operator tells it ten seconds after its start, when few FluxConfigs
    /// have long converged.
    pub(super) fn wait_for_clusters(&self, limit: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let clusters =
                self.api.get("/apis/sluicegate.dev/v1alpha1/fluxclusters")?.context("no FluxClusters are served")?;
            let mut items = clusters["items"].as_array().into_iter().flatten();
            if items.all(|cluster| cluster["status"]["conditions"].is_array()) {
                return Ok(());
            }
            ensure!(began.elapsed() < limit, "a FluxCluster has no status after {} s", limit.as_secs());
            sleep(POLL);
        }
    }

    /// Changes an object as an administrator does; the moment before.
    pub(super) fn change(&self, object: Value) -> anyhow::Result<Timestamp> {
        self.runtime.block_on(async {
            let client = api::client(&self.cluster.layout().kubeconfig()).await?;
            let now = Timestamp::now();
            apply_as(&client, object).await?;
            Ok(now)
        })
    }

    /// The operator's resident memory now and at most so far, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<(u64, u64)> {
        self.operator.memory().context("the operator does not run")
    }

    /// What was spent so far.
    pub(super) fn spent(&self) -> anyhow::Result<Spent> {
        let operator = self.operator.pid().map(|pid| of_process(pid, false)).unwrap_or_default();
        let mut ours = operator + of_process(std::process::id(), true);
        for component in self.cluster.components() {
            ours += of_process(self.cluster.process(&component)?.pid.cast_unsigned(), false);
        }
        let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
        let fields: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|text| text.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal
        let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|index| fields.get(*index)).sum();
        Ok(Spent {
            at: Instant::now(),
            busy: busy / TICKS,
            operator,
            api_server: of_process(self.cluster.process("kube-apiserver")?.pid.cast_unsigned(), false),
            ours,
        })
    }
}

impl Gauges {
    fn read(text: &str) -> Self {
        let sum = |name: &str, wanted: &dyn Fn(&str) -> bool| -> u64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| wanted(rest));
            lines.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
        };
        let writes = ["create", "update", "patch", "delete"].map(|verb| format!("verb=\"{verb}\""));
        Self {
            writes: sum("sluicegate_operator_api_requests_total", &|labels| {
                writes.iter().any(|verb| labels.contains(verb.as_str()))
            }),
            reconciles: sum("sluicegate_operator_reconciles_total", &|_| true),
            queued: sum("sluicegate_operator_queue_depth", &|_| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_operator_serves() {
        let metrics = sluicegate_operator::telemetry::metrics::Metrics::new();
        use sluicegate_operator::telemetry::metrics::{Answer, Exposition as _, Queue, Reconciled, Verb};
        metrics.requested(Verb::Patch, Answer::Ok);
        metrics.requested(Verb::Patch, Answer::Forbidden);
        metrics.requested(Verb::Delete, Answer::Ok);
        metrics.requested(Verb::Get, Answer::Ok);
        metrics.queued(Queue::Agents, 3);
        metrics.queued(Queue::Statuses, 4);
        metrics.reconciled(Reconciled::Changed, Duration::from_millis(1));
        metrics.reconciled(Reconciled::Failed, Duration::from_millis(1));
        assert_eq!(Gauges::read(&metrics.text().unwrap()), Gauges { writes: 3, reconciles: 2, queued: 7 });
    }
}
