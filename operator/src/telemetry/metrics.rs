//! Metrics, named by the conventions of Prometheus. Labels have values from closed sets only, so that no team can make
//! series: each function takes an enum and nothing else, but for the ids of clusters, which administrators write.

use std::{collections::BTreeMap, fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{cluster::ApiError, object::Kind};

/// `Content-Type` of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0];

macro_rules! labels {
    ($(#[$doc:meta])* $set:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $set { $($(#[$value_doc])* $value,)* }

        impl $set {
            /// All of them.
            pub const ALL: &[$set] = &[$($set::$value,)*];

            /// As the label has it.
            pub const fn label(self) -> &'static str { match self { $($set::$value => $text,)* } }
        }
    };
}

labels! {
    /// How a reconciliation ended.
    Reconciled {
        /// Nothing was to do.
        Unchanged = "unchanged",
        /// Objects were written.
        Changed = "changed",
        /// It waits for something: finalizers, an agent that comes up.
        Waiting = "waiting",
        /// It failed and is tried again.
        Failed = "failed",
        /// It was given up, since this process does not lead any more.
        Fenced = "fenced",
    }
}

labels! {
    /// What was asked of an API server.
    Verb {
        /// One object.
        Get = "get",
        /// Many objects.
        List = "list",
        /// Changes.
        Watch = "watch",
        /// A new object.
        Create = "create",
        /// An object as a whole.
        Update = "update",
        /// A part of an object, server-side apply included.
        Patch = "patch",
        /// No object.
        Delete = "delete",
    }
}

labels! {
    /// How an API server answered.
    Answer {
        /// As wished.
        Ok = "ok",
        /// There is no such object.
        NotFound = "not_found",
        /// The object has changed meanwhile, or exists already.
        Conflict = "conflict",
        /// The operator lacks the right, or admission refused.
        Forbidden = "forbidden",
        /// Too many requests.
        Throttled = "throttled",
        /// Another mistake of the operator's.
        Rejected = "rejected",
        /// A mistake of the API server's.
        ServerError = "server_error",
        /// None at all, or none that can be read.
        Unreachable = "unreachable",
    }
}

labels! {
    /// What stands in line.
    Queue {
        /// Agents to be reconciled.
        Agents = "agents",
        /// Statuses to be written.
        Statuses = "statuses",
    }
}

labels! {
    /// The engine's answers.
    Verdict {
        /// Admitted.
        Admitted = "admitted",
        /// Refused.
        Refused = "refused",
        /// A fact is missing.
        Undetermined = "undetermined",
    }
}

/// Kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watched {
    /// FluxConfigs.
    FluxConfig,
    /// FluxPolicies.
    FluxPolicy,
    /// FluxClusters.
    FluxCluster,
    /// Leases of agents' controllers.
    Lease,
    /// Flux' HelmCharts.
    HelmChart,
    /// Objects that are rendered.
    Object(Kind),
}

impl Watched {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Watched> {
        [Self::FluxConfig, Self::FluxPolicy, Self::FluxCluster, Self::Lease, Self::HelmChart]
            .into_iter()
            .chain(Kind::ALL.iter().map(|kind| Self::Object(*kind)))
    }

    /// As the label has it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FluxConfig => "FluxConfig",
            Self::FluxPolicy => "FluxPolicy",
            Self::FluxCluster => "FluxCluster",
            Self::Lease => "Lease",
            Self::HelmChart => "HelmChart",
            Self::Object(kind) => kind.name(),
        }
    }
}

/// Kinds that are written, and that others could write too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Written {
    /// FluxConfigs.
    FluxConfig,
    /// FluxPolicies.
    FluxPolicy,
    /// FluxClusters.
    FluxCluster,
    /// TenantGuards.
    TenantGuard,
    /// The CRDs of Flux.
    CustomResourceDefinition,
    /// Objects that are rendered.
    Object(Kind),
}

impl Written {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Written> {
        [Self::FluxConfig, Self::FluxPolicy, Self::FluxCluster, Self::TenantGuard, Self::CustomResourceDefinition]
            .into_iter()
            .chain(Kind::ALL.iter().map(|kind| Self::Object(*kind)))
    }

    /// As the label has it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FluxConfig => "FluxConfig",
            Self::FluxPolicy => "FluxPolicy",
            Self::FluxCluster => "FluxCluster",
            Self::TenantGuard => "TenantGuard",
            Self::CustomResourceDefinition => "CustomResourceDefinition",
            Self::Object(kind) => kind.name(),
        }
    }
}

impl Answer {
    /// What became of a request.
    pub fn of<T>(result: &Result<T, kube::Error>) -> Self {
        match result {
            Ok(_) => Answer::Ok,
            Err(kube::Error::Api(status)) => Self::of_code(status.code),
            Err(_) => Answer::Unreachable,
        }
    }

    /// The same of a request whose answer was read in bounded memory.
    pub fn of_api<T>(result: &Result<T, ApiError>) -> Self {
        match result {
            Ok(_) => Answer::Ok,
            Err(ApiError::Refused { code, .. }) => Self::of_code(*code),
            Err(_) => Answer::Unreachable,
        }
    }

    const fn of_code(code: u16) -> Self {
        match code {
            404 => Answer::NotFound,
            409 => Answer::Conflict,
            401 | 403 => Answer::Forbidden,
            429 => Answer::Throttled,
            500.. => Answer::ServerError,
            _ => Answer::Rejected,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRequest {
    verb: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

/// `cluster` is the name of a FluxCluster, which administrators choose; empty for Sluicegate's own objects on the management
/// cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCluster {
    cluster: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerdict {
    verdict: &'static str,
}

type Count = Counter<u64, AtomicU64>;

/// All metrics of the operator.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ByResult, Count>,
    reconcile_duration: Histogram,
    requests: Family<ByRequest, Count>,
    queue_depth: Family<ByQueue, Gauge>,
    watch_restarts: Family<ByKind, Count>,
    fluxconfigs: Family<ByVerdict, Gauge>,
    drift_repairs: Family<ByKind, Count>,
    contested_repairs: Family<ByCluster, Count>,
    contested_objects: Family<ByCluster, Gauge>,
    strays: Family<ByCluster, Gauge>,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero: every series exists from the start, so that rates are right from the first event on.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sluicegate_operator"),
            reconciles: Family::default(),
            reconcile_duration: Histogram::new(BUCKETS),
            requests: Family::default(),
            queue_depth: Family::default(),
            watch_restarts: Family::default(),
            fluxconfigs: Family::default(),
            drift_repairs: Family::default(),
            contested_repairs: Family::default(),
            contested_objects: Family::default(),
            strays: Family::default(),
            leader: Gauge::default(),
        };
        metrics.register();
        metrics.zero();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("reconciles", "Reconciliations of agents", self.reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "How long reconciliations of agents took",
            self.reconcile_duration.clone(),
        );
        registry.register("api_requests", "Requests to API servers", self.requests.clone());
        registry.register("queue_depth", "What stands in line", self.queue_depth.clone());
        registry.register("watch_restarts", "Watches that had to begin again", self.watch_restarts.clone());
        registry.register("fluxconfigs", "FluxConfigs by the engine's verdict", self.fluxconfigs.clone());
        registry.register(
            "drift_repairs",
            "Objects that somebody else had changed or deleted, and that were put right",
            self.drift_repairs.clone(),
        );
        registry.register(
            "contested_repairs",
            "Repairs after which the next has to wait, since somebody else keeps changing the object",
            self.contested_repairs.clone(),
        );
        registry.register(
            "contested_objects",
            "Objects that wait for their next repair, since somebody else keeps changing them",
            self.contested_objects.clone(),
        );
        registry.register(
            "strays",
            "Objects that carry Sluicegate's labels where Sluicegate has not put them, and are passed over",
            self.strays.clone(),
        );
        registry.register("leader", "1 where this process leads", self.leader.clone());
        registry.register("build", "What is running", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    }

    fn zero(&self) {
        for result in Reconciled::ALL {
            self.reconciles.get_or_create_owned(&ByResult { result: result.label() });
        }
        for verb in Verb::ALL {
            for answer in Answer::ALL {
                self.requests.get_or_create_owned(&ByRequest { verb: verb.label(), result: answer.label() });
            }
        }
        for queue in Queue::ALL {
            self.queue_depth.get_or_create_owned(&ByQueue { queue: queue.label() });
        }
        for watched in Watched::all() {
            self.watch_restarts.get_or_create_owned(&ByKind { kind: watched.label() });
        }
        for verdict in Verdict::ALL {
            self.fluxconfigs.get_or_create_owned(&ByVerdict { verdict: verdict.label() });
        }
        for kind in Kind::ALL {
            self.drift_repairs.get_or_create_owned(&ByKind { kind: kind.name() });
        }
        // Sluicegate's own objects.
        self.cluster("");
    }

    /// A reconciliation of an agent ended.
    pub fn reconciled(&self, result: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&ByResult { result: result.label() }).inc();
        self.reconcile_duration.observe(took.as_secs_f64());
    }

    /// A request was answered.
    pub fn requested(&self, verb: Verb, answer: Answer) {
        self.requests.get_or_create(&ByRequest { verb: verb.label(), result: answer.label() }).inc();
    }

    /// So many stand in line.
    pub fn queued(&self, queue: Queue, depth: usize) {
        self.queue_depth.get_or_create(&ByQueue { queue: queue.label() }).set(integer(depth));
    }

    /// A watch had to begin again.
    pub fn watch_restarted(&self, watched: Watched) {
        self.watch_restarts.get_or_create(&ByKind { kind: watched.label() }).inc();
    }

    /// So many FluxConfigs have that verdict.
    pub fn fluxconfigs(&self, verdict: Verdict, number: usize) {
        self.fluxconfigs.get_or_create(&ByVerdict { verdict: verdict.label() }).set(integer(number));
    }

    /// An object that somebody else had changed or deleted was put right.
    pub fn drift_repaired(&self, kind: Kind) {
        self.drift_repairs.get_or_create(&ByKind { kind: kind.name() }).inc();
    }

    /// So many objects of each kind carry Sluicegate's labels on a cluster where it has not put them. Clusters are named by
    /// administrators.
    pub fn strays(&self, cluster: &str, counts: &BTreeMap<Kind, usize>) {
        for kind in Kind::ALL {
            let place = ByCluster { cluster: cluster.to_owned(), kind: kind.name() };
            self.strays.get_or_create_owned(&place).set(integer(counts.get(kind).copied().unwrap_or_default()));
        }
    }

    /// The next repair of an object of this kind has to wait.
    pub fn contested_repair(&self, cluster: &str, kind: Written) {
        let label = ByCluster { cluster: cluster.to_owned(), kind: kind.label() };
        self.contested_repairs.get_or_create_owned(&label).inc();
    }

    /// So many objects of a kind wait for their next repair.
    pub fn contested(&self, cluster: &str, kind: Written, number: usize) {
        let label = ByCluster { cluster: cluster.to_owned(), kind: kind.label() };
        self.contested_objects.get_or_create_owned(&label).set(integer(number));
    }

    /// A cluster is connected: its series are there from now on.
    pub fn cluster(&self, cluster: &str) {
        for kind in Written::all() {
            let label = ByCluster { cluster: cluster.to_owned(), kind: kind.label() };
            self.contested_repairs.get_or_create_owned(&label);
            self.contested_objects.get_or_create_owned(&label);
        }
    }

    /// A cluster is not connected any more, and has no series.
    pub fn no_cluster(&self, cluster: &str) {
        for kind in Written::all() {
            let label = ByCluster { cluster: cluster.to_owned(), kind: kind.label() };
            self.contested_repairs.remove(&label);
            self.contested_objects.remove(&label);
        }
        for kind in Kind::ALL {
            self.strays.remove(&ByCluster { cluster: cluster.to_owned(), kind: kind.name() });
        }
    }

    /// This process leads, or does not.
    pub fn leads(&self, leading: bool) {
        self.leader.set(i64::from(leading));
    }
}

/// What a process shows of itself at `/metrics`.
pub trait Exposition: Send + Sync {
    /// All metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Where the encoder fails, which writing to memory does not.
    fn text(&self) -> Result<String, fmt::Error>;
}

impl Exposition for Metrics {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn integer(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        time::Duration,
    };

    use super::{Answer, Exposition as _, Metrics, Queue, Reconciled, Verb, Verdict, Watched, Written};
    use crate::object::Kind;

    fn value(metrics: &Metrics, series: &str) -> Option<String> {
        let text = metrics.text().unwrap();
        text.lines().find_map(|line| Some(line.strip_prefix(series)?.trim().to_owned()))
    }

    #[test]
    fn counts_what_happens() {
        let metrics = Metrics::new();
        metrics.reconciled(Reconciled::Changed, Duration::from_millis(40));
        metrics.requested(Verb::Patch, Answer::Conflict);
        metrics.queued(Queue::Agents, 17);
        metrics.watch_restarted(Watched::Object(Kind::Kustomization));
        metrics.fluxconfigs(Verdict::Refused, 3);
        metrics.drift_repaired(Kind::RoleBinding);
        metrics.cluster("prod");
        metrics.contested_repair("prod", Written::Object(Kind::Deployment));
        metrics.contested("prod", Written::TenantGuard, 2);
        metrics.leads(true);
        for (series, expected) in [
            (r#"sluicegate_operator_reconciles_total{result="changed"}"#, "1"),
            (r#"sluicegate_operator_reconciles_total{result="failed"}"#, "0"),
            ("sluicegate_operator_reconcile_duration_seconds_sum", "0.04"),
            (r#"sluicegate_operator_reconcile_duration_seconds_bucket{le="0.025"}"#, "0"),
            (r#"sluicegate_operator_reconcile_duration_seconds_bucket{le="0.1"}"#, "1"),
            (r#"sluicegate_operator_api_requests_total{verb="patch",result="conflict"}"#, "1"),
            (r#"sluicegate_operator_queue_depth{queue="agents"}"#, "17"),
            (r#"sluicegate_operator_watch_restarts_total{kind="Kustomization"}"#, "1"),
            (r#"sluicegate_operator_fluxconfigs{verdict="refused"}"#, "3"),
            (r#"sluicegate_operator_drift_repairs_total{kind="RoleBinding"}"#, "1"),
            (r#"sluicegate_operator_contested_repairs_total{cluster="prod",kind="Deployment"}"#, "1"),
            (r#"sluicegate_operator_contested_objects{cluster="prod",kind="TenantGuard"}"#, "2"),
            (r#"sluicegate_operator_contested_objects{cluster="",kind="FluxConfig"}"#, "0"),
            ("sluicegate_operator_leader", "1"),
            (concat!(r#"sluicegate_operator_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), "1"),
        ] {
            assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}");
        }
    }

    #[test]
    fn has_every_series_from_the_start_and_no_other_later() {
        let series = |metrics: &Metrics| {
            let text = metrics.text().unwrap();
            text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect::<BTreeSet<_>>()
        };
        let metrics = Metrics::new();
        let before = series(&metrics);
        for result in Reconciled::ALL {
            metrics.reconciled(*result, Duration::from_secs(100));
        }
        for verb in Verb::ALL {
            for answer in Answer::ALL {
                metrics.requested(*verb, *answer);
            }
        }
        Queue::ALL.iter().for_each(|queue| metrics.queued(*queue, 1));
        Watched::all().for_each(|watched| metrics.watch_restarted(watched));
        Verdict::ALL.iter().for_each(|verdict| metrics.fluxconfigs(*verdict, 1));
        Kind::ALL.iter().for_each(|kind| metrics.drift_repaired(*kind));
        for written in Written::all() {
            metrics.contested_repair("", written);
            metrics.contested("", written, 1);
        }
        assert_eq!(series(&metrics), before);
        metrics.cluster("prod");
        let with = series(&metrics);
        assert_eq!(with.len(), before.len() + 2 * Written::all().count());
        Written::all().for_each(|written| metrics.contested("prod", written, 1));
        assert_eq!(series(&metrics), with);
        metrics.no_cluster("prod");
        assert_eq!(series(&metrics), before);
    }

    #[test]
    fn a_cluster_has_a_series_for_each_kind_while_it_is_connected() {
        let metrics = Metrics::new();
        let series = || metrics.text().unwrap().lines().filter(|line| line.contains("cluster=\"prod\"")).count();
        assert_eq!(series(), 0);
        metrics.strays("prod", &BTreeMap::from([(Kind::Service, 3)]));
        assert_eq!(series(), Kind::ALL.len());
        let of =
            |kind: &str| value(&metrics, &format!(r#"sluicegate_operator_strays{{cluster="prod",kind="{kind}"}}"#));
        assert_eq!((of("Service").as_deref(), of("Secret").as_deref()), (Some("3"), Some("0")));
        metrics.strays("prod", &BTreeMap::new());
        assert_eq!(of("Service").as_deref(), Some("0"));
        metrics.no_cluster("prod");
        assert_eq!(series(), 0);
    }

    #[test]
    fn sorts_answers() {
        let answer = |code| {
            let status = kube::core::Status { code, ..kube::core::Status::default() };
            Answer::of::<()>(&Err(kube::Error::Api(Box::new(status))))
        };
        assert_eq!(Answer::of(&Ok(())), Answer::Ok);
        for (code, expected) in [
            (404, Answer::NotFound),
            (409, Answer::Conflict),
            (403, Answer::Forbidden),
            (422, Answer::Rejected),
            (429, Answer::Throttled),
            (503, Answer::ServerError),
        ] {
            assert_eq!(answer(code), expected, "{code}");
        }
        assert_eq!(Answer::of::<()>(&Err(kube::Error::LinesCodecMaxLineLengthExceeded)), Answer::Unreachable);
    }
}
