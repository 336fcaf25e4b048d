//! The webhook under test: replicas of the built program as processes of the host, with exactly the rights of its
//! ServiceAccount, and what stands before them in a cluster. The API server lives in the cluster's own network; a socket on
//! the node's address leads to the replicas, as the Service does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use super::operator::{self, NAMESPACE, Operator};
use super::{apply_as, service_error};
use crate::api;
use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};
use crate::network::NODE_ADDRESS;

/// The user that the API server sees: the ServiceAccount of the webhook's Deployment.
pub const USER: &str = "system:serviceaccount:sluicegate-system:sluicegate-webhook";
/// The Secret with the authority and the serving certificate.
pub const SECRET: &str = "sluicegate-webhook-tls";
/// Both webhook configurations.
pub const CONFIGURATION: &str = "sluicegate";
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A replica.
#[derive(Debug)]
pub struct Replica {
    process: Operator,
    admission: SocketAddr,
    probes: SocketAddr,
}

/// What stands before the replicas: it sends to those that are in the list.
#[derive(Debug)]
pub struct Front {
    address: String,
    behind: Arc<Mutex<Vec<SocketAddr>>>,
}

/// A port that nobody listens on now.
fn free() -> Result<SocketAddr> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").doing("finding", "a free port")?;
    socket.local_addr().doing("finding", "a free port")
}

impl Replica {
    /// Prepares a replica; nothing runs yet. `arguments` come after those that a replica on the host needs.
    ///
    /// # Errors
    /// Where its kubeconfig cannot be made or the program is not built.
    pub fn new(cluster: &Cluster, name: &str, arguments: &[&str]) -> Result<Replica> {
        Self::of(cluster, name, operator::program()?, arguments)
    }

    /// As [`Replica::new`], with a program of the caller's.
    ///
    /// # Errors
    /// Where its kubeconfig cannot be made.
    pub fn of(cluster: &Cluster, name: &str, program: PathBuf, arguments: &[&str]) -> Result<Replica> {
        let (admission, probes) = (free()?, free()?);
        let (listen, probe) = (admission.to_string(), probes.to_string());
        let mut all = vec!["--namespace", NAMESPACE, "--listen", &listen, "--probes", &probe];
        // A certificate of the caller's has its names.
        if !arguments.contains(&"--certificate-file") {
            all.extend(["--name", NODE_ADDRESS]);
        }
        all.extend(arguments);
        let kubeconfig = cluster.kubeconfig_for(USER, Some(operator::GROUP))?;
        let process = Operator::part(cluster, "webhook", name, program, &kubeconfig, &all)?;
        Ok(Replica { process, admission, probes })
    }

    /// Where it serves admission, on the host's loopback.
    pub fn address(&self) -> SocketAddr {
        self.admission
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn start(&self) -> Result<()> {
        self.process.start()?;
        let deadline = tokio::time::Instant::now() + READY_LIMIT;
        while !self.is_ready().await {
            if tokio::time::Instant::now() >= deadline || !self.process.is_running() {
                let log = format!("\n{}", self.log_tail("", 20));
                return Err(Error::NotReady { what: "the webhook".to_owned(), seconds: READY_LIMIT.as_secs(), log });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Whether its own probe says that it can serve.
    pub async fn is_ready(&self) -> bool {
        self.get("/readyz").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// The answer to a GET at its address for metrics and probes, headers included.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn get(&self, path: &str) -> Result<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let what = "the webhook's probes";
        let mut stream = TcpStream::connect(self.probes).await.doing("reaching", what)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: probes\r\n\r\n");
        stream.write_all(request.as_bytes()).await.doing("asking", what)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.doing("asking", what)?;
        Ok(answer)
    }

    /// Ends it as a crash does.
    ///
    /// # Errors
    /// Where it was not running.
    pub fn kill(&self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it as Kubernetes does, and says how long that took.
    ///
    /// # Errors
    /// Where it was not running or did not end in time.
    pub fn stop(&self) -> Result<Duration> {
        self.process.stop()
    }

    /// Resident memory now and at most so far, in bytes; `None` where it does not run.
    pub fn memory(&self) -> Option<(u64, u64)> {
        self.process.memory()
    }

    /// The end of its log.
    pub fn log_tail(&self, word: &str, lines: usize) -> String {
        self.process.log_tail(word, lines)
    }
}

impl Front {
    /// Opens a socket on the node's address. Connections go to the replicas in turn.
    ///
    /// # Errors
    /// Where there is no free port.
    pub fn open(cluster: &Cluster) -> Result<Front> {
        let socket = cluster.listen(0)?;
        socket.set_nonblocking(true).doing("opening", "the webhook's address")?;
        let address = socket.local_addr().doing("opening", "the webhook's address")?.to_string();
        let behind: Arc<Mutex<Vec<SocketAddr>>> = Arc::default();
        let to = behind.clone();
        // Tests have runtimes of their own, and this outlives them.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(relay(socket, to));
            }
        });
        Ok(Front { address, behind })
    }

    /// Puts these replicas behind it, and no others. Open connections stay.
    pub fn lead_to(&self, replicas: &[&Replica]) {
        let addresses = replicas.iter().map(|replica| replica.admission).collect();
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Where the API server finds it.
    pub fn address(&self) -> &str {
        &self.address
    }
}

async fn relay(socket: std::net::TcpListener, behind: Arc<Mutex<Vec<SocketAddr>>>) {
    let Ok(socket) = TcpListener::from_std(socket) else { return };
    let turn = AtomicUsize::new(0);
    while let Ok((mut from, _)) = socket.accept().await {
        let list = behind.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = turn.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            for offset in 0..list.len() {
                if let Some(address) = list.get((first + offset) % list.len())
                    && let Ok(mut to) = TcpStream::connect(address).await
                {
                    // As a Service does it: nothing is held back for more to come.
                    let _ = (from.set_nodelay(true), to.set_nodelay(true));
                    // However it ends, both sides see it.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                    return;
                }
            }
        });
    }
}

/// Installs the webhook's account and rights.
///
/// # Errors
/// The API server's refusal.
pub async fn install_rights(cluster: &Cluster) -> Result<()> {
    for object in manifests()? {
        if !matches!(object["kind"].as_str(), Some("Deployment" | "PodDisruptionBudget" | "Service"))
            && !is_configuration(&object)
        {
            apply_as(&api::client(&cluster.layout().kubeconfig()).await?, object).await?;
        }
    }
    Ok(())
}

/// Has the API server ask at an address: the webhook configurations of `deploy/webhook`, with the address in place of the
/// Service.
///
/// # Errors
/// The API server's refusal.
pub async fn install_configurations(cluster: &Cluster, address: &str) -> Result<()> {
    install_from(cluster, address, manifests()?).await
}

/// Makes the webhook at an address the guard of the cluster: the configuration of `deploy/guard-webhook`, and
/// `spec.guard: Webhook` of its FluxCluster.
///
/// # Errors
/// The API server's refusal.
pub async fn install_guard(cluster: &Cluster, address: &str) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/guard-webhook");
    install_from(cluster, address, operator::manifests(&folder)?).await?;
    let client = api::client(&cluster.layout().kubeconfig()).await?;
    let chosen = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxCluster", "metadata": {"name": operator::CLUSTER},
        "spec": {"connection": {"inCluster": {}}, "guard": "Webhook"},
    });
    apply_as(&client, chosen).await.map(|_| ())
}

async fn install_from(cluster: &Cluster, address: &str, manifests: Vec<Value>) -> Result<()> {
    let client = api::client(&cluster.layout().kubeconfig()).await?;
    for mut object in manifests.into_iter().filter(is_configuration) {
        for hook in object["webhooks"].as_array_mut().into_iter().flatten() {
            let path = hook["clientConfig"]["service"]["path"].as_str().unwrap_or_default().to_owned();
            hook["clientConfig"] = json!({"url": format!("https://{address}{path}")});
        }
        apply_as(&client, object).await?;
    }
    Ok(())
}

fn is_configuration(object: &Value) -> bool {
    object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
}

fn manifests() -> Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/webhook");
    let objects = operator::manifests(&folder)?;
    if objects.is_empty() {
        return Err(service_error(folder.display().to_string(), "there is nothing: run `cargo xtask generate`"));
    }
    Ok(objects)
}
