//! The webhook as a whole: what runs, and how it ends.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use sluicegate_operator::{
    cluster::connect,
    telemetry::{health::Health, server},
};
use tokio::{
    net::TcpListener,
    time::{interval, sleep},
};
use tracing::info;

use crate::{
    certificates::{
        Serving,
        authority::Ages,
        clients::{AuthorityFile, Clients},
        files::{Files, FilesError},
        managed::Managed,
    },
    server::{Limits, Server},
    snapshot::{Current, keep},
    telemetry::Metrics,
};

/// Where the certificate comes from.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// Files that somebody else keeps, the API server's trust included.
    Files(Files),
    /// An authority of our own, for these names.
    Managed(Vec<String>),
}

/// Clients are to have certificates.
#[derive(Clone, Debug)]
pub struct ClientCertificates {
    /// The authority that signs them.
    pub authority: AuthorityFile,
    /// Names of which a certificate must have one; any where there are none.
    pub names: Vec<String>,
}

/// What the webhook is told at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kubeconfig of the management cluster; the pod's own account when absent.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the webhook: its Secret.
    pub namespace: String,
    /// Where admission is served.
    pub listen: SocketAddr,
    /// Where metrics and health are served.
    pub probes: SocketAddr,
    /// The certificate.
    pub certificate: Certificate,
    /// Who may ask; everybody when absent.
    pub clients: Option<ClientCertificates>,
    /// How long certificates of our own live.
    pub ages: Ages,
    /// After it is told to end it goes on for so long, until nobody is sent here any more.
    pub linger: Duration,
}

/// Why the webhook ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No connection to the management cluster can be made.
    #[error("cannot connect to the management cluster: {0}")]
    Connect(String),
    /// An address cannot be served.
    #[error("cannot serve {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The files with the certificate, or with the authority of clients, cannot be used.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// Runs until `stop` is ready, then finishes what is going on.
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
    let metrics = Arc::new(Metrics::default());
    let (current, serving, health) = (Arc::new(Current::default()), Arc::new(Serving::default()), Health::default());
    let listen =
        async |address| TcpListener::bind(address).await.map_err(|source| RunError::Listen { address, source });
    let (listener, probes) = (listen(options.listen).await?, listen(options.probes).await?);
    tokio::spawn(server::serve(probes, metrics.clone(), health.clone(), std::future::pending()));
    tokio::spawn(keep(
        connection,
        current.clone(),
        metrics.clone(),
        health.task("the snapshot", Duration::from_secs(60)),
        health.gate("the list of all policies, clusters, Namespaces and FluxConfigs"),
    ));
    let beat = health.task("the certificate", Duration::from_secs(180));
    let certificate = health.gate("the serving certificate");
    match options.certificate {
        Certificate::Files(files) => {
            files.load(&serving, &metrics).await?;
            certificate.open();
            tokio::spawn(files.follow(serving.clone(), metrics.clone(), beat));
        }
        Certificate::Managed(names) => {
            let managed = Managed { client, namespace: options.namespace, names, ages: options.ages };
            tokio::spawn(managed.keep(serving.clone(), metrics.clone(), beat, certificate));
        }
    }
    let clients = match options.clients {
        None => None,
        Some(ClientCertificates { authority, names }) => {
            let clients = Arc::new(Clients::named(names));
            authority.load(&clients).await?;
            Some((authority, clients))
        }
    };
    let accepted = clients.as_ref().map(|(_, clients)| clients.clone());
    let server = Server::new(current, serving, accepted, metrics, Limits::default().within(files()));
    if let Some((authority, clients)) = clients {
        let beat = health.task("the authority of clients", Duration::from_secs(180));
        let served = server.clone();
        tokio::spawn(authority.follow(clients, beat, move || served.clients_changed()));
    }
    let beat = health.task("the runtime", Duration::from_secs(60));
    let ticks = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            beat.turn();
        }
    });
    info!(listen = %options.listen, "started");
    let (linger, leaving) = (options.linger, server.clone());
    let ending = async move {
        stop.await;
        info!("stopping");
        leaving.leave();
        // Whoever sends requests here hears of it by the probe, or by the list of endpoints, and that takes a moment.
        let _leaving = health.gate("the end of this process");
        sleep(linger).await;
    };
    let served = server.serve(listener, ending).await;
    ticks.abort();
    served.map_err(|source| RunError::Listen { address: options.listen, source })
}

/// How many files this process may have open, which is made as many as its parent allows: where that is left at the usual 1,024,
/// connections would use them up.
fn files() -> u64 {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if setrlimit(Resource::RLIMIT_NOFILE, most, most).is_ok() { most } else { now }
}
