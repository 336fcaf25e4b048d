//! The operator as a whole: what runs, and how it ends.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, runtime::events::Reporter};
use serde_json::json;
use sluicegate_crds::{API_VERSION, FluxPolicy};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::{
    cluster::{
        ClusterClient,
        client::{OwnPatch, Permit},
        connect,
    },
    clusters::{self, backoff},
    contest::{self, Subject, Turn, writers},
    context::Context,
    events::{self, Events},
    fields,
    lease::{Election, Leadership, Timing},
    plan::{Policies, planner},
    reconcile::{self, agent::Next},
    status,
    telemetry::{
        health::Health,
        metrics::{Metrics, Queue},
        server,
    },
};

/// Name of the Lease.
const LEASE: &str = "sluicegate-operator";
/// FluxConfigs that are looked at at the same time.
const CONFIG_WORKERS: usize = 16;

/// What the operator is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kubeconfig of the management cluster; the pod's own account when absent.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the operator: its Lease, and the administrators' Secrets.
    pub namespace: String,
    /// Name of the pod, for people who look at the Lease.
    pub pod: String,
    /// Where metrics and health are served; nowhere when absent.
    pub listen: Option<SocketAddr>,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No connection to the management cluster can be made.
    #[error("cannot connect to the management cluster: {0}")]
    Connect(String),
    /// The address for metrics and health cannot be served.
    #[error("cannot serve metrics and health on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs until `stop` is ready, then hands over.
///
/// # Errors
/// Where it cannot even begin. Later everything is tried again.
pub async fn run(options: Options, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), RunError> {
    // Another part of the program may have chosen already; then that choice stands.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let connection = connect::management(options.kubeconfig.as_deref())
        .await
        .map_err(|error| RunError::Connect(error.to_string()))?;
    let client = connection.client.clone();
    let metrics = Arc::new(Metrics::new());
    let election = Election::new(client.clone(), &options.namespace, LEASE, &options.pod, Timing::default());
    let guard = election.guard();
    let permit: Permit = Arc::new(move || guard.may_write());
    let management = ClusterClient::new(connection.clone(), permit.clone(), metrics.clone());
    let reporter = Reporter { controller: "sluicegate-operator".to_owned(), instance: Some(options.pod.clone()) };
    let (events, told_events) = Events::new();
    let writer = events::write(client.clone(), reporter, permit.clone(), told_events);
    let (context, news) =
        Context::new(management, options.namespace.clone(), metrics.clone(), events, election.leadership());

    let health = Health::default();
    if let Some(address) = options.listen {
        let listener =
            tokio::net::TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source })?;
        tokio::spawn(server::serve(listener, metrics.clone(), health.clone(), std::future::pending()));
    }
    let changed = Arc::new(Notify::new());
    let (policies, told) = watch::channel(Arc::default());
    let mut tasks = vec![
        tokio::spawn(planner::run(
            context.clone(),
            planner::Channels { clusters: changed.clone(), policies, news },
            health.task("planner", Duration::from_secs(60)),
            health.gate("the list of everything on the management cluster"),
        )),
        tokio::spawn(count_leadership(context.clone())),
        tokio::spawn(clusters::run(context.clone(), connection, permit, changed)),
        tokio::spawn(tell_policies(context.clone(), told)),
        tokio::spawn(writer),
    ];
    for _ in 0..CONFIG_WORKERS {
        tasks.push(tokio::spawn(work(context.clone())));
    }
    info!(namespace = options.namespace, "started");
    let ended = {
        let context = context.clone();
        async move {
            stop.await;
            info!("stopping");
            // Nothing is written any more when the Lease is released.
            for task in &tasks {
                task.abort();
            }
            for runtime in context.clusters() {
                runtime.stop();
            }
            for task in tasks {
                // It was aborted, which is an error to whoever waits for it.
                let _ = task.await;
            }
        }
    };
    election.run(ended).await;
    Ok(())
}

async fn count_leadership(context: Arc<Context>) {
    let mut leadership = context.leadership.clone();
    loop {
        context.metrics.leads(matches!(*leadership.borrow_and_update(), Leadership::Leading { .. }));
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

async fn work(context: Arc<Context>) {
    loop {
        context.lead().await;
        let key = context.configs.pop().await;
        let began = tokio::time::Instant::now();
        let next = reconcile::config::reconcile(&context, &key).await;
        context.metrics.reconciled(next.outcome(), began.elapsed());
        context.configs.done(&key);
        context.metrics.queued(Queue::Statuses, context.configs.len());
        match next {
            Next::Change => {}
            Next::After(delay) => context.configs.push_after(key, delay),
            Next::Retry => context.configs.push_after(key, backoff(3)),
        }
    }
}

/// Writes what policies mean into their statuses.
async fn tell_policies(context: Arc<Context>, mut told: watch::Receiver<Arc<Policies>>) {
    let mut wait = None;
    loop {
        // A status that somebody else keeps writing is looked at again when its time has come, whether anything changes or not.
        let changed = match wait {
            Some(wait) => tokio::time::timeout(wait, told.changed()).await.unwrap_or(Ok(())),
            None => told.changed().await,
        };
        if changed.is_err() {
            return;
        }
        wait = None;
        context.lead().await;
        let policies = told.borrow_and_update().clone();
        for (name, (policy, errors, counts)) in policies.iter() {
            let valid = if errors.is_empty() { Ok(()) } else { Err(errors.as_slice()) };
            let status = status::flux_policy(
                policy.status.as_ref(),
                policy.metadata.generation,
                valid,
                counts.tenants.len(),
                counts.admitted,
                counts.refused,
                Timestamp::now(),
            );
            let new = json!(status);
            let (seen, wanted) = (fields::digest(&json!(policy.status)), fields::digest(&new));
            if seen == wanted {
                continue;
            }
            let subject = Subject::PolicyStatus(name.clone(), policy.metadata.uid.clone().unwrap_or_default());
            if let Turn::Wait(left) = context.contests.turn_over(&subject, seen) {
                wait = Some(wait.map_or(left, |sooner: Duration| sooner.min(left)));
                continue;
            }
            let body =
                json!({"apiVersion": API_VERSION, "kind": "FluxPolicy", "metadata": {"name": name}, "status": new});
            if let Err(error) = context.management.patch_own::<FluxPolicy>(None, name, OwnPatch::Status(&body)).await {
                warn!(policy = name, %error, "cannot write the status");
                continue;
            }
            let writer = writers::status_of(&policy.metadata);
            if let Some(contest) = context.contests.wrote_over(&subject, seen, wanted, Some(writer)) {
                contest::announce(&context.events, &subject, &contest, policy.object_ref(&()), None);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
