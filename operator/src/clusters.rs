//! Which clusters are connected: a runtime for each FluxCluster, made anew when its connection changes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::Resource as _;
use serde_json::json;
use sluicegate_crds::{API_VERSION, FluxCluster};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::{
    cluster::{
        ApiResult, ClusterClient, Runtime,
        client::{OwnPatch, Permit},
        connect::{self, Connection},
    },
    contest::{self, Subject, Turn, writers},
    context::{Context, ContextListener},
    fields::{self, Fingerprint},
    flux_crds, guard,
    object::Kind,
    plan::{Change, planner::Message},
    reconcile::{self, agent::Next},
    render::Account,
    status::{self, ClusterSeen},
    strays,
    telemetry::metrics::Queue,
};

/// Agents of one cluster that are reconciled at the same time.
const WORKERS: usize = 16;
/// How often clusters are looked at when nothing tells of a change.
const LOOK: Duration = Duration::from_secs(10);

/// A cluster that is connected, and what its agents were rendered with.
struct Connected {
    how: Fingerprint,
    flux_version: Option<String>,
    /// Which cluster it is: the uid of its Namespace `kube-system`, which lives as long as the cluster.
    uid: String,
}

/// Connects clusters as FluxClusters come and go, for ever.
pub async fn run(context: Arc<Context>, management: Connection, permit: Permit, changed: Arc<Notify>) {
    let mut connected: BTreeMap<String, Connected> = BTreeMap::new();
    loop {
        // Nobody to tell: the look comes in any case.
        let _ = tokio::time::timeout(LOOK, changed.notified()).await;
        if !context.plan.is_complete() {
            continue;
        }
        let clusters = context.plan.clusters();
        let gone: Vec<String> = connected.keys().filter(|id| !clusters.contains_key(*id)).cloned().collect();
        for id in gone {
            info!(cluster = id, "is not connected any more");
            connected.remove(&id);
            context.set_cluster(&id, Err(None));
        }
        for (id, cluster) in oldest_first(&clusters) {
            let wanted = match Wanted::of(&context, cluster) {
                Ok(wanted) => wanted,
                Err(problem) => {
                    connected.remove(id);
                    context.set_cluster(id, Err(Some(problem)));
                    continue;
                }
            };
            let how = wanted.fingerprint();
            let flux_version = cluster.spec.flux.as_ref().and_then(|flux| flux.version.clone());
            if let Some(known) = connected.get_mut(id).filter(|known| known.how == how) {
                if known.flux_version != flux_version {
                    known.flux_version = flux_version;
                    if let Some(runtime) = context.cluster(id) {
                        runtime.try_again();
                    }
                }
                continue;
            }
            let others = connected.iter().filter(|(other, _)| *other != id);
            let others: BTreeMap<&str, &str> = others.map(|(other, known)| (&*known.uid, &**other)).collect();
            match connect(&context, id, &wanted, &management, &permit, &others).await {
                Ok((runtime, uid)) => {
                    info!(cluster = id, "connected");
                    connected.insert(id.clone(), Connected { how, flux_version, uid });
                    context.set_cluster(id, Ok(runtime.clone()));
                    start(&context, &runtime);
                }
                Err(problem) => {
                    warn!(cluster = id, problem, "cannot be connected");
                    connected.remove(id);
                    context.set_cluster(id, Err(Some(problem)));
                }
            }
        }
        context.clusters().iter().for_each(|runtime| runtime.contests.show());
        context.contests.show();
        if context.management.may_write() {
            for (id, cluster) in &clusters {
                if let Err(error) = tell(&context, id, cluster).await {
                    warn!(cluster = id, %error, "cannot write the status");
                }
            }
        }
    }
}

/// The order in which clusters are connected: of two FluxClusters for one cluster the older keeps it.
fn oldest_first(clusters: &BTreeMap<String, Arc<FluxCluster>>) -> Vec<(&String, &Arc<FluxCluster>)> {
    let mut ordered: Vec<_> = clusters.iter().collect();
    ordered.sort_by_key(|(_, cluster)| cluster.metadata.creation_timestamp.as_ref().map(|time| time.0));
    ordered
}

/// How a cluster is reached.
enum Wanted {
    InCluster,
    Kubeconfig(String),
}

impl Wanted {
    fn of(context: &Context, cluster: &FluxCluster) -> Result<Self, String> {
        let connection = &cluster.spec.connection;
        match (&connection.in_cluster, &connection.kubeconfig) {
            (Some(_), None) => Ok(Wanted::InCluster),
            (None, Some(kubeconfig)) => {
                let reference = &kubeconfig.secret_ref;
                let key = reference.key.as_deref().unwrap_or("value");
                context.secrets.text(&reference.name, key).map(Wanted::Kubeconfig).ok_or_else(|| {
                    format!(
                        "Secret {} in namespace {} has no kubeconfig under the key {key}",
                        reference.name, context.namespace
                    )
                })
            }
            _ => Err("spec.connection needs exactly one of inCluster, kubeconfig".to_owned()),
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        match self {
            Wanted::InCluster => Fingerprint::of_text("in-cluster"),
            Wanted::Kubeconfig(text) => Fingerprint::of_text(text),
        }
    }
}

/// Connects a cluster. `others` are those that are connected, by uid. A cluster under two ids would be worked on twice, and each
/// would take away what only the other plans.
async fn connect(
    context: &Arc<Context>,
    id: &str,
    wanted: &Wanted,
    management: &Connection,
    permit: &Permit,
    others: &BTreeMap<&str, &str>,
) -> Result<(Arc<Runtime>, String), String> {
    let (connection, is_management) = match wanted {
        Wanted::InCluster => (management.clone(), true),
        Wanted::Kubeconfig(text) => (connect::from_kubeconfig(text).await.map_err(|error| error.to_string())?, false),
    };
    let client = ClusterClient::new(connection, permit.clone(), context.metrics.clone());
    let uid = uid(&client).await?;
    let is_management = is_management || uid == self::uid(&context.management).await?;
    // What is planned follows from it before anything is done there: see `Message::Labels`.
    context.tell(Message::Change(Change::Alias(id.to_owned(), is_management)));
    if let Some(other) = others.get(&*uid) {
        return Err(format!(
            "it is the same cluster as that of FluxCluster {other}, which is older: a cluster has one FluxCluster; remove one of them, and name the other in spec.cluster and in policies"
        ));
    }
    let account = tokio::time::timeout(Duration::from_secs(10), whoami(&client))
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    let listener = Arc::new(ContextListener { context: context.clone() });
    Ok((Runtime::new(id.to_owned(), client, account, is_management, listener), uid))
}

/// Which cluster it is: the uid of its Namespace `kube-system`.
async fn uid(client: &ClusterClient) -> Result<String, String> {
    let asked = tokio::time::timeout(Duration::from_secs(10), client.get_path("/api/v1/namespaces/kube-system"));
    let found = asked.await.map_err(|_| "it does not answer".to_owned())?.map_err(|error| error.to_string())?;
    let uid = found["metadata"]["uid"].as_str().map(str::to_owned);
    uid.ok_or_else(|| "Namespace kube-system has no uid, so it cannot be told which cluster this is".to_owned())
}

/// Who the operator is on a cluster: it binds itself, by name, where it keeps copies of Secrets.
async fn whoami(client: &ClusterClient) -> ApiResult<Account> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = client.review("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    let user = answer["status"]["userInfo"]["username"].as_str().unwrap_or_default();
    let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    Ok(match account {
        Some((namespace, name)) => Account::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() },
        None => Account::User(user.to_owned()),
    })
}

fn start(context: &Arc<Context>, runtime: &Arc<Runtime>) {
    runtime.start();
    guard::start(context, runtime);
    flux_crds::start(context, runtime);
    runtime.keep(tokio::spawn(strays::tell(context.clone(), Arc::downgrade(runtime))).abort_handle());
    for agent in context.plan.agents(&runtime.id) {
        runtime.queue.push(Arc::from(agent.namespace.as_str()));
    }
    for _ in 0..WORKERS {
        let task = tokio::spawn(work(context.clone(), Arc::downgrade(runtime)));
        runtime.keep(task.abort_handle());
    }
}

/// Reconciles agents of one cluster, one after the other, for as long as it is connected.
async fn work(context: Arc<Context>, runtime: std::sync::Weak<Runtime>) {
    loop {
        context.lead().await;
        let Some(runtime) = runtime.upgrade() else { return };
        let agent = runtime.queue.pop().await;
        let began = tokio::time::Instant::now();
        let next = reconcile::agent::reconcile(&context, &runtime, &agent).await;
        context.metrics.reconciled(next.outcome(), began.elapsed());
        let failures = runtime.unit(&agent, |unit| {
            unit.failures = if next == Next::Retry { unit.failures.saturating_add(1) } else { 0 };
            unit.failures
        });
        runtime.queue.done(&agent);
        context.metrics.queued(Queue::Agents, runtime.queue.len());
        match next {
            Next::Change => {}
            Next::After(delay) => runtime.queue.push_after(agent, delay),
            Next::Retry => runtime.queue.push_after(agent, backoff(failures)),
        }
    }
}

/// Half a second at first, a minute at most, and never all at the same moment.
pub fn backoff(failures: u32) -> Duration {
    let base = Duration::from_millis(500).saturating_mul(1 << failures.clamp(1, 8).saturating_sub(1));
    base.min(Duration::from_secs(60)).mul_f64(0.75 + fastrand::f64() / 2.0)
}

/// Writes the status of a FluxCluster where it says something else than before.
async fn tell(context: &Context, id: &str, cluster: &FluxCluster) -> ApiResult<()> {
    let runtime = context.cluster(id);
    let problem = context.problem(id);
    let info = runtime.as_ref().map(|runtime| runtime.info()).unwrap_or_default();
    if problem.is_none() && info.kubernetes_version.is_none() && info.unreachable.is_none() {
        // Nothing has been heard of it yet.
        return Ok(());
    }
    let agents = context.plan.agents(id);
    let tenants: std::collections::BTreeSet<String> = agents
        .iter()
        .flat_map(|agent| context.plan.members(agent))
        .filter_map(|planned| Some(planned.judgement.known()?.resolved().tenant.as_str().to_owned()))
        .collect();
    let missing: Vec<&str> = runtime
        .iter()
        .flat_map(|runtime| runtime.store.missing())
        .filter(|kind| kind.is_flux())
        .map(Kind::name)
        .collect();
    let missing = (!missing.is_empty()).then(|| format!("the cluster does not have {}", missing.join(", ")));
    let crds = runtime.as_ref().and_then(|runtime| flux_crds::state(cluster, runtime));
    let applying = || "their CRDs are being applied".to_owned();
    let problem_of_crds =
        crds.as_ref().and_then(|crds| crds.problem.clone().or_else(|| crds.release.is_none().then(applying)));
    let unusable = problem_of_crds.or(missing);
    let guard = guard::in_force(cluster, &info.admission);
    let contested = runtime.as_ref().map(|runtime| runtime.contests.all()).unwrap_or_default();
    let platform: Vec<String> = info.platform_flux.into_iter().collect();
    let status = status::flux_cluster(&ClusterSeen {
        old: cluster.status.as_ref(),
        generation: cluster.metadata.generation,
        reachable: match (&problem, &info.unreachable) {
            (Some(why), _) | (None, Some(why)) => Err(why),
            (None, None) => Ok(()),
        },
        kubernetes_version: info.kubernetes_version.as_deref(),
        flux: unusable.as_deref().map_or(Ok(()), Err),
        flux_version: crds.and_then(|crds| crds.release).map(|release| release.version),
        agents: agents.len(),
        tenants: tenants.len(),
        guard: guard.as_ref().map(|mode| *mode).map_err(String::as_str),
        platform_flux: &platform,
        contested: &contested,
        now: Timestamp::now(),
    });
    let new = json!(status);
    let (seen, wanted) = (fields::digest(&json!(cluster.status)), fields::digest(&new));
    if seen == wanted {
        return Ok(());
    }
    let subject = Subject::ClusterStatus(id.to_owned(), cluster.metadata.uid.clone().unwrap_or_default());
    let Turn::Now { .. } = context.contests.turn_over(&subject, seen) else { return Ok(()) };
    let body = json!({"apiVersion": API_VERSION, "kind": "FluxCluster", "metadata": {"name": id}, "status": new});
    context.management.patch_own::<FluxCluster>(None, id, OwnPatch::Status(&body)).await?;
    let writer = writers::status_of(&cluster.metadata);
    if let Some(contest) = context.contests.wrote_over(&subject, seen, wanted, Some(writer)) {
        contest::announce(&context.events, &subject, &contest, cluster.object_ref(&()), None);
    }
    Ok(())
}
