//! What runs for one cluster: a watch for each kind, workers, and what they know.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kube::{
    Api,
    core::{DynamicObject, Resource as _},
};
use serde_json::Value;
use tokio::{
    sync::{Notify, Semaphore, watch as channel},
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::{
    client::{ApiError, ApiResult, ClusterClient},
    lean::{Lean, Reading},
    queue::Queue,
    store::{Store, Touched, Watched},
    watch::{News, watch},
};
use crate::{
    contest::Ledger,
    fields::Fingerprint,
    flux::releases::Release,
    object::{AGENT_LABEL, ConfigKey, Key, Kind, MANAGED_BY_LABEL, MANAGER, helm_chart, labelled_config},
    reconcile::{Report, health::Vitals},
    render::Account,
    telemetry::metrics,
};

use tracing::warn;

/// How long a change of what Flux says may wait, so that several become one.
const SETTLE: Duration = Duration::from_millis(200);

/// How often a cluster is asked for what changes seldom.
const LOOK: Duration = Duration::from_secs(60);
/// How long a cluster of which something failed is left alone before it is asked.
const CALM: Duration = Duration::from_secs(1);
/// How often one is asked that did not answer.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How long to wait before a list that failed is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Namespaces whose copies are listed for the first time at the same time. After a start there are hundreds, and an API server
/// refuses a client that asks for all of them at once.
const TURNS: usize = 16;

/// What is known of a cluster as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// Why it cannot be reached; absent where it can.
    pub unreachable: Option<String>,
    /// Version of the API server, such as `v1.35.4`.
    pub kubernetes_version: Option<String>,
    /// Where pods reach the API server.
    pub api_servers: Vec<SocketAddr>,
    /// A platform-wide Flux that does not leave our objects alone: its Deployment.
    pub platform_flux: Option<String>,
    /// ValidatingAdmissionPolicyBindings and ValidatingWebhookConfigurations of Sluicegate.
    pub admission: BTreeSet<String>,
}

impl Info {
    /// Whether the cluster was asked at all.
    pub fn is_known(&self) -> bool {
        self.kubernetes_version.is_some() || self.unreachable.is_some()
    }
}

/// How far a cluster's Flux CRDs are, where the operator manages them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FluxCrds {
    /// The release that this process has applied.
    pub release: Option<&'static Release>,
    /// Why they are not those that are wanted.
    pub problem: Option<String>,
}

/// What a reconcile left for the next one.
#[derive(Debug, Default)]
pub struct UnitState {
    /// Failures in a row.
    pub failures: u32,
    /// When the Lease holders were seen last.
    pub leading_since: Option<Instant>,
    /// Since when the list of the copies has been waited for.
    pub copies_asked: Option<Instant>,
    /// Its rest, and its restarts.
    pub vitals: Vitals,
    /// Digest of all that was wanted when all of it was last there: what is written while it stays the same repairs drift.
    pub settled: Option<u64>,
    /// Objects whose stored form differs from what we applied, and is fine: what was applied, and what it became.
    pub accepted: HashMap<Key, (Fingerprint, Fingerprint)>,
    /// What is told to the FluxConfigs.
    pub report: Arc<Report>,
}

/// Who is told of news.
pub trait Listener: Send + Sync {
    /// Something was seen that a FluxConfig's status may show.
    fn config(&self, key: ConfigKey);
    /// A watch was answered; `None`: it works.
    fn watched(&self, watched: metrics::Watched, failure: Option<&str>);
    /// A cluster began or ceased to answer.
    fn answers(&self, cluster: &str);
    /// A namespace came, or another label says whose it is: those that deploy there may have waited for it.
    fn namespace(&self, cluster: &str, name: &str);
}

/// How far the first lists are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Listed {
    Nothing,
    /// The Namespaces: from now on it can be told whether an object is where it belongs.
    Namespaces,
    /// All kinds: it can be told which HelmCharts are of our HelmReleases.
    Everything,
}

/// How copies of one kind in one namespace are followed.
enum Copies {
    /// A task watches them, or looks whether there are any.
    Watched(AbortHandle),
    /// There are none, and who makes one says so. The handle of a task that has ended would keep the task's memory.
    Absent,
}

impl Drop for Copies {
    fn drop(&mut self) {
        if let Copies::Watched(task) = self {
            task.abort();
        }
    }
}

/// One cluster.
pub struct Runtime {
    /// Its logical id.
    pub id: String,
    /// Its client.
    pub client: ClusterClient,
    /// Who we are there.
    pub account: Account,
    /// Whether it is the management cluster too, in whichever way it is reached.
    pub management: bool,
    /// What there is of ours.
    pub store: Store,
    /// Agents to reconcile.
    pub queue: Queue<Arc<str>>,
    /// Namespaces whose TenantGuard is to be looked at.
    pub guards: Queue<Arc<str>>,
    /// What others keep changing there.
    pub contests: Ledger,
    info: RwLock<Info>,
    flux_crds: Mutex<FluxCrds>,
    /// Strays have come or gone.
    pub strays_changed: Arc<Notify>,
    turns: Arc<Semaphore>,
    /// How far the first lists are.
    listed: channel::Sender<Listed>,
    /// Objects to be read again.
    again: Queue<Key>,
    /// What is planned for it follows from the labels of its namespaces.
    planned: AtomicBool,
    /// Something failed: it is asked whether the cluster answers.
    doubt: Arc<Notify>,
    units: Mutex<HashMap<Arc<str>, UnitState>>,
    copies: Mutex<HashMap<(Kind, Box<str>), Copies>>,
    tasks: Mutex<Vec<AbortHandle>>,
    listener: Arc<dyn Listener>,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Runtime {
    /// A cluster that nobody watches yet.
    pub fn new(
        id: String,
        client: ClusterClient,
        account: Account,
        management: bool,
        listener: Arc<dyn Listener>,
    ) -> Arc<Self> {
        let store = Store::default();
        for kind in cluster_wide() {
            store.expect(Watched::Kind(kind));
        }
        Arc::new(Self {
            contests: Ledger::new(id.as_str(), client.metrics()),
            id,
            client,
            account,
            management,
            store,
            queue: Queue::default(),
            guards: Queue::default(),
            info: RwLock::default(),
            flux_crds: Mutex::default(),
            strays_changed: Arc::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
            listed: channel::Sender::new(Listed::Nothing),
            again: Queue::default(),
            planned: AtomicBool::new(false),
            doubt: Arc::default(),
            units: Mutex::default(),
            copies: Mutex::default(),
            tasks: Mutex::default(),
            listener,
        })
    }

    /// Begins to watch.
    pub fn start(self: &Arc<Self>) {
        for kind in cluster_wide() {
            let task = tokio::spawn(watch_kind(self.clone(), kind));
            self.keep(task.abort_handle());
        }
        for task in [
            tokio::spawn(watch_charts(self.clone())),
            tokio::spawn(keep_informed(self.clone())),
            tokio::spawn(read_again(Arc::downgrade(self))),
        ] {
            self.keep(task.abort_handle());
        }
    }

    /// Whether what is planned for it follows from the labels of its namespaces. Before, a FluxConfig may count as refused that
    /// has its target by such a label.
    pub fn is_planned(&self) -> bool {
        self.planned.load(Ordering::Acquire)
    }

    /// The plan follows from the labels of its namespaces: agents may be looked at.
    pub fn plan_is_whole(&self) {
        if !self.planned.swap(true, Ordering::AcqRel) {
            self.store.agents().into_iter().for_each(|agent| self.queue.push(agent));
        }
    }

    /// Adds a task that ends with this cluster.
    pub fn keep(&self, task: AbortHandle) {
        lock(&self.tasks).push(task);
    }

    /// Ends everything that runs for it.
    pub fn stop(&self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
        lock(&self.copies).clear();
    }

    /// What is known of it as a whole.
    pub fn info(&self) -> Info {
        self.info.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far its Flux CRDs are.
    pub fn flux_crds(&self) -> FluxCrds {
        lock(&self.flux_crds).clone()
    }

    /// Takes note of how far its Flux CRDs are. Agents that waited for another release are looked at.
    pub fn set_flux_crds(&self, now: FluxCrds) {
        let before = std::mem::replace(&mut *lock(&self.flux_crds), now.clone());
        if before.release != now.release {
            self.try_again();
        }
    }

    /// Works on what a reconcile left for the next one.
    pub fn unit<T>(&self, agent: &Arc<str>, work: impl FnOnce(&mut UnitState) -> T) -> T {
        work(lock(&self.units).entry(agent.clone()).or_default())
    }

    /// What was told last about an agent.
    pub fn report(&self, agent: &str) -> Option<Arc<Report>> {
        lock(&self.units).get(agent).map(|unit| unit.report.clone())
    }

    /// Has everything looked at as if nothing had failed.
    pub fn try_again(&self) {
        let mut agents = self.store.agents();
        let mut units = lock(&self.units);
        for (agent, unit) in units.iter_mut() {
            unit.failures = 0;
            agents.push(agent.clone());
        }
        drop(units);
        agents.into_iter().for_each(|agent| self.queue.push(agent));
    }

    /// Forgets an agent that is gone.
    pub fn forget(&self, agent: &str) {
        lock(&self.units).remove(agent);
        let mut copies = lock(&self.copies);
        for kind in Kind::COPIED {
            copies.remove(&(kind, agent.into()));
        }
    }

    /// Takes note of an answer to a write.
    pub fn saw(&self, kind: Kind, object: &Value) {
        self.note(&self.store.saw(kind, object));
    }

    /// What follows from news for strays.
    fn note(&self, touched: &Touched) {
        for key in &touched.regained {
            self.again.push(key.clone());
        }
        if touched.strays {
            self.strays_changed.notify_one();
        }
    }

    /// Waits until so much has been listed.
    async fn has_listed(&self, much: Listed) {
        // The sender is our own.
        let _ = self.listed.subscribe().wait_for(|listed| *listed >= much).await;
    }

    /// Watches the copies in a namespace, in which we have been given the right to; `true` where their list has come. A kind
    /// of which there is none is asked for once; it is `wanted` when we have made one.
    pub fn watch_copies(self: &Arc<Self>, namespace: &str, wanted: impl Fn(Kind) -> bool) -> bool {
        let mut copies = lock(&self.copies);
        for kind in Kind::COPIED {
            let wanted = wanted(kind);
            let place = (kind, Box::from(namespace));
            match copies.get(&place) {
                Some(Copies::Watched(task)) if !task.is_finished() => continue,
                Some(_) if !wanted => continue,
                Some(_) => {}
                None => self.store.expect(Watched::Copies(kind, namespace.into())),
            }
            // Weak, since the task would keep its own cluster alive.
            let task = tokio::spawn(follow_copies(Arc::downgrade(self), kind, namespace.into(), wanted));
            copies.insert(place, Copies::Watched(task.abort_handle()));
        }
        drop(copies);
        self.store.is_whole(namespace)
    }

    /// The calling task has found no copies, and ends.
    fn no_copies(&self, kind: Kind, namespace: &str) {
        // Unless it has been replaced meanwhile.
        if let Some(copies) = lock(&self.copies).get_mut(&(kind, namespace.into()))
            && matches!(copies, Copies::Watched(task) if tokio::task::try_id() == Some(task.id()))
        {
            *copies = Copies::Absent;
        }
    }

    fn take(&self, watched: &Watched, news: News) {
        let kind = match watched {
            Watched::Kind(kind) | Watched::Copies(kind, _) => *kind,
        };
        let touched = match news {
            News::Saw(Lean { value, .. }) if kind == Kind::Namespace => {
                let name = value["metadata"]["name"].as_str().unwrap_or_default();
                let before = self.store.namespace(name);
                let touched = self.store.saw(kind, &value);
                if before != self.store.namespace(name) {
                    self.listener.namespace(&self.id, name);
                }
                touched
            }
            News::Saw(Lean { value, .. }) => {
                let touched = self.store.saw(kind, &value);
                if kind.is_flux() && !touched.agents.is_empty() {
                    self.tell_config(&value);
                }
                touched
            }
            News::Lost(Lean { value, .. }) => {
                let touched = self.store.lost(kind, &value);
                if kind.is_flux() && !touched.agents.is_empty() {
                    self.tell_config(&value);
                }
                touched
            }
            News::Listed(listed) => {
                let listed: HashSet<Key> =
                    listed.into_iter().map(|(namespace, name)| Key { kind, namespace, name }).collect();
                let touched = self.store.only(watched, &listed);
                let whole = self.store.is_synced();
                self.store.synced(watched, false);
                self.listener.watched(metrics::Watched::Object(kind), None);
                if kind == Kind::Namespace {
                    self.listed.send_modify(|listed| *listed = Listed::Namespaces.max(*listed));
                }
                self.begin(whole);
                if let Watched::Copies(_, namespace) = watched {
                    self.queue.push(Arc::from(&**namespace));
                }
                touched
            }
            News::Missing => {
                let whole = self.store.is_synced();
                let touched = self.store.only(watched, &HashSet::new());
                self.store.synced(watched, true);
                self.listener.watched(metrics::Watched::Object(kind), Some("the cluster does not have this kind"));
                self.begin(whole);
                touched
            }
            News::Failed(failure) => {
                self.listener.watched(metrics::Watched::Object(kind), Some(&failure));
                self.doubt.notify_one();
                return;
            }
            News::Refused(failure) => {
                self.listener.watched(metrics::Watched::Object(kind), Some(&failure));
                self.doubt.notify_one();
                if let Watched::Copies(_, namespace) = watched
                    && self.store.refused(watched)
                {
                    // Who waits for the list waits in vain.
                    self.queue.push(Arc::from(&**namespace));
                }
                return;
            }
        };
        self.note(&touched);
        let Touched { agents, status_only, .. } = touched;
        for agent in agents {
            if !status_only {
                self.queue.push(agent);
            } else if kind == Kind::Deployment {
                self.queue.push_after(agent, SETTLE);
            }
        }
    }

    /// When the last of the first lists has come, everything that is there is looked at: also what nobody wants any more.
    fn begin(&self, was_synced: bool) {
        if !was_synced && self.store.is_synced() {
            self.listed.send_replace(Listed::Everything);
            for agent in self.store.agents() {
                self.queue.push(agent);
            }
        }
    }

    fn tell_config(&self, object: &Value) {
        if let Some(config) = labelled_config(object) {
            self.listener.config(config);
        }
    }
}

/// Kinds that are watched everywhere. Secrets and ConfigMaps are not: there is no right to.
fn cluster_wide() -> impl Iterator<Item = Kind> {
    Kind::ALL.iter().copied().filter(|kind| !kind.is_copied())
}

/// Both labels of what is rendered. Where there is a guard nobody else may write an object that has them.
fn ours() -> String {
    format!("{MANAGED_BY_LABEL}={MANAGER},{AGENT_LABEL}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches one kind of copies in a namespace; where none is `wanted`, only if there is one all the same.
async fn follow_copies(runtime: Weak<Runtime>, kind: Kind, namespace: Box<str>, wanted: bool) {
    let watched = Watched::Copies(kind, namespace.clone());
    let Some((client, turns)) = runtime.upgrade().map(|runtime| (runtime.client.clone(), runtime.turns.clone())) else {
        return;
    };
    let stream = client.stream();
    let resource = kind.api_resource();
    let path = DynamicObject::url_path(&resource, Some(&namespace));
    let api: Api<DynamicObject> = Api::namespaced_with(stream.client.clone(), &namespace, &resource);
    // Kept until the first list has come, or has not. It is never closed.
    let mut turn = turns.acquire().await.ok();
    let mut tell = |news| {
        if !matches!(news, News::Saw(_)) {
            turn = None;
        }
        if let Some(runtime) = runtime.upgrade() {
            runtime.take(&watched, news);
        }
    };
    let mut look = wanted;
    while !look {
        match client.any(&path, &ours()).await {
            Ok(false) => {
                tell(News::Listed(HashSet::new()));
                if let Some(runtime) = runtime.upgrade() {
                    runtime.no_copies(kind, &namespace);
                }
                return;
            }
            Ok(true) => look = true,
            Err(error) => {
                let refused = matches!(error, ApiError::Refused { code: 403, .. });
                let why = error.to_string();
                tell(if refused { News::Refused(why) } else { News::Failed(why) });
                sleep(ASK_AGAIN).await;
            }
        }
    }
    // Of hundreds of these tasks each keeps what it needs.
    let turns = client.turns();
    drop(client);
    watch(api, Some(&ours()), Reading::RENDERED, turns, tell).await;
}

async fn watch_kind(runtime: Arc<Runtime>, kind: Kind) {
    let api: Api<DynamicObject> = Api::all_with(runtime.client.inner(), &kind.api_resource());
    // Of namespaces all are seen: whose they are is asked before anything is put into them.
    let (labels, reading) = match kind {
        Kind::Namespace => (None, Reading::NAMESPACE),
        _ => (Some(ours()), Reading::RENDERED),
    };
    if kind != Kind::Namespace {
        runtime.has_listed(Listed::Namespaces).await;
    }
    let watched = Watched::Kind(kind);
    let (runtime, turns) = (Arc::downgrade(&runtime), runtime.client.turns());
    watch(api, labels.as_deref(), reading, turns, |news| {
        if let Some(runtime) = runtime.upgrade() {
            runtime.take(&watched, news);
        }
    })
    .await;
}

/// HelmCharts are made by helm-controller, so that nothing is decided by them; they say what is wrong with a chart.
async fn watch_charts(runtime: Arc<Runtime>) {
    let api: Api<DynamicObject> = Api::all_with(runtime.client.inner(), &helm_chart());
    runtime.has_listed(Listed::Everything).await;
    let (runtime, turns) = (Arc::downgrade(&runtime), runtime.client.turns());
    watch(api, Some(AGENT_LABEL), Reading::CHART, turns, |news| {
        let Some(runtime) = runtime.upgrade() else { return };
        let concerned = match news {
            News::Saw(object) => runtime.store.saw_chart(&object.value).into_iter().collect(),
            News::Lost(object) => runtime.store.lost_chart(&object.value).into_iter().collect(),
            News::Listed(listed) => runtime.store.only_charts(&listed),
            News::Missing => runtime.store.only_charts(&HashSet::new()),
            News::Failed(failure) | News::Refused(failure) => {
                runtime.listener.watched(metrics::Watched::HelmChart, Some(&failure));
                Vec::new()
            }
        };
        for config in concerned {
            runtime.listener.config(config);
        }
    })
    .await;
}

/// Reads objects again that had been passed over, since they were not where they belonged.
async fn read_again(runtime: Weak<Runtime>) {
    loop {
        let Some(runtime) = runtime.upgrade() else { return };
        let key = runtime.again.pop().await;
        match runtime.client.get(&key).await {
            Ok(Some(value)) => runtime.take(&Watched::Kind(key.kind), News::Saw(Lean::whole(value))),
            Ok(None) => runtime.store.absent(&key),
            Err(error) => warn!(cluster = %runtime.id, %key, %error, "cannot be read again"),
        }
        runtime.again.done(&key);
    }
}

/// Asks for what changes seldom: version, addresses, a platform-wide Flux; and whether the cluster answers at all.
async fn keep_informed(runtime: Arc<Runtime>) {
    let (weak, doubt) = (Arc::downgrade(&runtime), runtime.doubt.clone());
    drop(runtime);
    loop {
        let Some(runtime) = weak.upgrade() else { return };
        let before = runtime.info();
        let info = match inform(&runtime.client).await {
            Ok(info) => info,
            Err(error) => Info { unreachable: Some(error.to_string()), ..before.clone() },
        };
        let reachable = info.unreachable.is_none();
        if info.api_servers != before.api_servers {
            runtime.store.agents().into_iter().for_each(|agent| runtime.queue.push(agent));
        }
        let changed = info.unreachable != before.unreachable;
        *runtime.info.write().unwrap_or_else(PoisonError::into_inner) = info;
        if changed {
            if reachable {
                // Nobody waits for the end of the backoff that the outage has brought about.
                runtime.try_again();
            }
            runtime.listener.answers(&runtime.id);
        }
        drop(runtime);
        tokio::select! {
            () = tokio::time::sleep(if reachable { LOOK } else { LOOK_AGAIN }) => {}
            // All watches of a cluster that went away fail at once.
            () = doubt.notified(), if reachable => tokio::time::sleep(CALM).await,
        }
    }
}

/// What is read of the API servers' addresses, and of what could be a platform-wide Flux.
const SLICE: Reading = Reading { fields: Some(&["endpoints", "ports"]), budget: 1024 * 1024, ..Reading::IDENTITY };
const PLATFORM_FLUX: Reading = Reading { fields: Some(&["spec"]), budget: 256 * 1024, ..Reading::IDENTITY };

async fn inform(client: &ClusterClient) -> ApiResult<Info> {
    let version = client.get_path("/version").await?;
    let service = client.get_path("/api/v1/namespaces/default/services/kubernetes").await?;
    let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slices =
        client.list(path, Some("kubernetes.io/service-name=kubernetes"), &SLICE, |slice| Some(slice.clone())).await?;
    // Anybody may give a Deployment this label.
    let flux = client
        .list("/apis/apps/v1/deployments", Some("app.kubernetes.io/part-of=flux"), &PLATFORM_FLUX, reaches_us)
        .await?;
    let installed = format!("{MANAGED_BY_LABEL}={MANAGER}");
    let mut admission = BTreeSet::new();
    for resource in ["validatingadmissionpolicybindings", "validatingwebhookconfigurations"] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}");
        let named = |one: &Value| Some(format!("{resource}/{}", one["metadata"]["name"].as_str()?));
        let found = client.list(&path, Some(&installed), &Reading::IDENTITY, named).await;
        // A cluster may be too old to have the first; that is no reason to say that it does not answer.
        let found = match found {
            Err(error) if error.is_not_found() => Vec::new(),
            other => other?,
        };
        admission.extend(found);
    }
    Ok(Info {
        admission,
        unreachable: None,
        kubernetes_version: version["gitVersion"].as_str().map(str::to_owned),
        api_servers: api_servers(&service, &slices),
        platform_flux: flux.into_iter().next(),
    })
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The Service's addresses and its endpoints': which of the two a NetworkPolicy sees depends on what enforces it.
fn api_servers(service: &Value, slices: &[Value]) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    let ports = |value: &Value| -> Vec<u16> {
        let ports = value.as_array().into_iter().flatten();
        ports.filter_map(|port| port["port"].as_u64()?.try_into().ok()).collect()
    };
    let mut add = |addresses: &mut dyn Iterator<Item = &str>, ports: &[u16]| {
        for address in addresses.filter_map(|text| text.parse::<IpAddr>().ok()) {
            found.extend(ports.iter().map(|port| SocketAddr::new(address, *port)));
        }
    };
    add(&mut texts(&service["spec"]["clusterIPs"]), &ports(&service["spec"]["ports"]));
    for slice in slices {
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            add(&mut texts(&endpoint["addresses"]), &ports(&slice["ports"]));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// A controller of Flux that watches all namespaces and does not leave out what carries our label; `namespace/name` of it.
fn reaches_us(deployment: &Value) -> Option<String> {
    let metadata = &deployment["metadata"];
    if metadata["labels"][MANAGED_BY_LABEL] == MANAGER {
        return None;
    }
    let mut all = false;
    let mut left_out = false;
    for container in deployment["spec"]["template"]["spec"]["containers"].as_array()? {
        for argument in texts(&container["args"]) {
            all |= matches!(argument, "--watch-all-namespaces" | "--watch-all-namespaces=true");
            left_out |= argument
                .strip_prefix("--watch-label-selector=")
                .is_some_and(|selector| selector.split(',').any(|part| part.trim() == format!("!{AGENT_LABEL}")));
        }
    }
    // notification-controller has no selector, and acts for nobody.
    let harmless = metadata["name"].as_str().is_some_and(|name| name.starts_with("notification-controller"));
    (all && !left_out && !harmless).then(|| {
        format!(
            "{}/{}",
            metadata["namespace"].as_str().unwrap_or_default(),
            metadata["name"].as_str().unwrap_or_default()
        )
    })
}
