//! Metrics of the webhook, named by the conventions of Prometheus. Labels have values from closed sets only.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};
use sluicegate_operator::telemetry::metrics::Exposition;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 10] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watched {
    /// FluxConfigs.
    FluxConfig,
    /// FluxPolicies.
    FluxPolicy,
    /// FluxClusters.
    FluxCluster,
    /// Namespaces.
    Namespace,
    /// TenantGuards.
    TenantGuard,
}

impl Watched {
    /// All of them.
    pub const ALL: &[Watched] =
        &[Watched::FluxConfig, Watched::FluxPolicy, Watched::FluxCluster, Watched::Namespace, Watched::TenantGuard];

    fn label(self) -> &'static str {
        match self {
            Watched::FluxConfig => "FluxConfig",
            Watched::FluxPolicy => "FluxPolicy",
            Watched::FluxCluster => "FluxCluster",
            Watched::Namespace => "Namespace",
            Watched::TenantGuard => "TenantGuard",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Allowed as it was.
    Allowed,
    /// Allowed with changes.
    Patched,
    /// Denied.
    Denied,
    /// Nothing that can be answered, such as a body that is no review.
    Malformed,
    /// Not ready, too late, or too much at once: the failure policy decides.
    Unanswered,
}

impl Outcome {
    const ALL: [Outcome; 5] =
        [Outcome::Allowed, Outcome::Patched, Outcome::Denied, Outcome::Malformed, Outcome::Unanswered];

    fn label(self) -> &'static str {
        match self {
            Outcome::Allowed => "allowed",
            Outcome::Patched => "patched",
            Outcome::Denied => "denied",
            Outcome::Malformed => "malformed",
            Outcome::Unanswered => "unanswered",
        }
    }
}

/// Why the webhook ended a connection by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// There were too many handshakes, and newer ones.
    NewerHandshakes,
    /// There were too many connections, newer ones, and no review was answered on it.
    NewerConnections,
    /// There were too many connections, and it was the one of its peer that was used longest ago.
    LongestIdle,
    /// Its peer held most bytes of unfinished requests, and there were too many of those.
    Memory,
    /// It was let in and asked no review in time.
    NoReview,
    /// It was not used for a long time.
    Idle,
    /// Its client certificate is no longer accepted.
    Certificate,
    /// All others were being answered: it was not let in.
    NoRoom,
}

impl EndedBy {
    const ALL: [EndedBy; 8] = [
        EndedBy::NewerHandshakes,
        EndedBy::NewerConnections,
        EndedBy::LongestIdle,
        EndedBy::Memory,
        EndedBy::NoReview,
        EndedBy::Idle,
        EndedBy::Certificate,
        EndedBy::NoRoom,
    ];

    fn label(self) -> &'static str {
        match self {
            EndedBy::NewerHandshakes => "newer_handshakes",
            EndedBy::NewerConnections => "newer_connections",
            EndedBy::LongestIdle => "longest_idle",
            EndedBy::Memory => "memory",
            EndedBy::NoReview => "no_review",
            EndedBy::Idle => "idle",
            EndedBy::Certificate => "client_certificate",
            EndedBy::NoRoom => "no_room",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

type Count = Counter<u64, AtomicU64>;

/// All metrics of the webhook.
pub struct Metrics {
    registry: Registry,
    requests: Family<ByOutcome, Count>,
    /// The requests' counters, which every request needs: found once and not looked up again.
    by_outcome: [Count; Outcome::ALL.len()],
    duration: Histogram,
    connections: Gauge,
    refused_connections: Count,
    ended_connections: Family<ByReason, Count>,
    held_bytes: Gauge,
    watch_restarts: Family<ByKind, Count>,
    policies: Gauge,
    configs: Gauge,
    certificate_expiry: Gauge,
    contested_repairs: Family<ByKind, Count>,
}

/// Kinds that the webhook writes, and that others could write too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Written {
    /// The Secret with the authority.
    Secret,
    /// `caBundle` of ValidatingWebhookConfigurations.
    Validating,
    /// `caBundle` of the MutatingWebhookConfiguration.
    Mutating,
}

impl Written {
    /// All of them.
    pub const ALL: [Written; 3] = [Written::Secret, Written::Validating, Written::Mutating];

    /// As manifests and the label have it.
    pub const fn label(self) -> &'static str {
        match self {
            Written::Secret => "Secret",
            Written::Validating => "ValidatingWebhookConfiguration",
            Written::Mutating => "MutatingWebhookConfiguration",
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<ByOutcome, Count>::default();
        let by_outcome =
            Outcome::ALL.map(|outcome| requests.get_or_create_owned(&ByOutcome { outcome: outcome.label() }));
        let mut metrics = Self {
            registry: Registry::with_prefix("sluicegate_webhook"),
            requests,
            by_outcome,
            duration: Histogram::new(BUCKETS),
            connections: Gauge::default(),
            refused_connections: Count::default(),
            ended_connections: Family::default(),
            held_bytes: Gauge::default(),
            watch_restarts: Family::default(),
            policies: Gauge::default(),
            configs: Gauge::default(),
            certificate_expiry: Gauge::default(),
            contested_repairs: Family::default(),
        };
        for written in Written::ALL {
            metrics.contested_repairs.get_or_create_owned(&ByKind { kind: written.label() });
        }
        for watched in Watched::ALL {
            metrics.watch_restarts.get_or_create_owned(&ByKind { kind: watched.label() });
        }
        for reason in EndedBy::ALL {
            metrics.ended_connections.get_or_create_owned(&ByReason { reason: reason.label() });
        }
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Admission requests by what became of them", self.requests.clone());
        registry.register("request_duration_seconds", "How long admission requests took", self.duration.clone());
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register(
            "refused_connections",
            "Connections that ended before a request: foreign or old TLS, silence, malformed HTTP",
            self.refused_connections.clone(),
        );
        registry.register(
            "ended_connections",
            "Connections that the webhook ended or did not let in, by reason",
            self.ended_connections.clone(),
        );
        registry.register(
            "held_bytes",
            "Bytes of request bodies that have not come whole, or whose answers are waited for",
            self.held_bytes.clone(),
        );
        registry.register("watch_restarts", "Watches that had to begin again", self.watch_restarts.clone());
        registry.register("policies", "FluxPolicies in the snapshot", self.policies.clone());
        registry.register("fluxconfigs", "FluxConfigs in the snapshot", self.configs.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the serving certificate ends, in seconds since the epoch",
            self.certificate_expiry.clone(),
        );
        registry.register(
            "contested_repairs",
            "Repairs after which the next has to wait, since somebody else keeps changing the object",
            self.contested_repairs.clone(),
        );
        registry.register("build", "What is running", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
    }

    /// A request was answered.
    pub fn answered(&self, outcome: Outcome, took: Duration) {
        self.by_outcome[outcome as usize].inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// A connection was opened or, with -1, closed.
    pub fn connected(&self, change: i64) {
        self.connections.inc_by(change);
    }

    /// A connection ended before a request.
    pub fn refused_connection(&self) {
        self.refused_connections.inc();
    }

    /// A connection was ended, or not let in.
    pub fn ended_connection(&self, why: EndedBy) {
        self.ended_connections.get_or_create_owned(&ByReason { reason: why.label() }).inc();
    }

    /// So many bytes of bodies are held now.
    pub fn holds_bytes(&self, bytes: usize) {
        self.held_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A watch had to begin again.
    pub fn watch_restarted(&self, watched: Watched) {
        self.watch_restarts.get_or_create_owned(&ByKind { kind: watched.label() }).inc();
    }

    /// The next repair of an object of this kind has to wait.
    pub fn contested_repair(&self, written: Written) {
        self.contested_repairs.get_or_create_owned(&ByKind { kind: written.label() }).inc();
    }

    /// What is in the snapshot.
    pub fn snapshot(&self, policies: usize, configs: usize) {
        self.policies.set(i64::try_from(policies).unwrap_or(i64::MAX));
        self.configs.set(i64::try_from(configs).unwrap_or(i64::MAX));
    }

    /// The serving certificate ends then, in seconds since the epoch.
    pub fn certificate_ends(&self, at: i64) {
        self.certificate_expiry.set(at);
    }
}

impl Exposition for Metrics {
    fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted_as_itself() {
        let metrics = Metrics::default();
        for outcome in Outcome::ALL {
            metrics.answered(outcome, Duration::from_millis(1));
        }
        let text = metrics.text().unwrap();
        for outcome in Outcome::ALL {
            let line = format!("sluicegate_webhook_requests_total{{outcome=\"{}\"}} 1\n", outcome.label());
            assert!(text.contains(&line), "{text}");
        }
    }

    #[test]
    fn every_reason_is_counted_as_itself_and_there_from_the_beginning() {
        let metrics = Metrics::default();
        for count in 0..2 {
            let text = metrics.text().unwrap();
            for reason in EndedBy::ALL {
                let series = format!("sluicegate_webhook_ended_connections_total{{reason=\"{}\"}}", reason.label());
                assert!(text.contains(&format!("{series} {count}\n")), "{text}");
                metrics.ended_connection(reason);
            }
        }
    }
}
