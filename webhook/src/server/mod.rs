//! TLS and HTTP, with bounds on everything that a client can use up: connections, time, headers, bodies, streams.
//!
//! Anybody in the cluster can connect, so a connection must show within seconds that it is worth its place. `connection` is
//! one connection, `exchange` one request on it; `activity` ends connections that nothing comes of.

mod activity;
mod connection;
mod exchange;

use std::{
    io,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use activity::Connections;
use rustls::ServerConfig;
use sluicegate_operator::telemetry::server::accept;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::{AbortOnDropHandle, LocalPoolHandle};
use tracing::{info, warn};

use crate::{certificates::Serving, snapshot::Current, telemetry::Metrics};

/// What a client may use up.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at the same time; more wait in the kernel.
    pub connections: usize,
    /// Streams of an HTTP/2 connection at the same time.
    pub streams: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the first request of a connection.
    pub headers: Duration,
    /// Without any request, after the first. Longer than clients keep a connection that they do not use (Go: 90 s), so that it
    /// is never ended while somebody sends on it.
    pub idle: Duration,
    /// For a request, from its headers to its answer. The API server's own limit counts where it is shorter.
    pub request: Duration,
    /// Bytes of a body. The API server takes objects of up to 3 MiB, and sends the old one beside the new one.
    pub body: usize,
    /// Bytes of all headers of a request.
    pub header_bytes: usize,
    /// What is going on may take this long when the process ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            streams: 250,
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(8),
            body: 8 * 1024 * 1024,
            header_bytes: 16 * 1024,
            drain: Duration::from_secs(15),
        }
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Server {
    /// What verdicts are reached from.
    pub current: Arc<Current>,
    /// The certificate.
    pub serving: Arc<Serving>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Bounds.
    pub limits: Limits,
    /// Answers that ask about every FluxConfig, one after the other: the others are not to wait for them.
    long: Semaphore,
    /// All that are open.
    connections: Connections,
    /// Whether clients are to go elsewhere.
    leaving: AtomicBool,
}

impl Server {
    /// A server that answers nothing yet.
    pub fn new(current: Arc<Current>, serving: Arc<Serving>, metrics: Arc<Metrics>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            current,
            serving,
            metrics,
            limits,
            long: Semaphore::new(1),
            connections: Connections::default(),
            leaving: AtomicBool::default(),
        })
    }

    /// From now on a connection ends with its next answer: clients find somebody else while this server still takes whoever
    /// comes. To end a connection that nobody uses is to meet a request that is on its way.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn tls(&self) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(self.serving.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// Serves until `stop` is ready; what is going on then is finished, new connections are not taken.
    ///
    /// # Errors
    /// Where TLS cannot be set up at all.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let acceptor = TlsAcceptor::from(Arc::new(self.tls().map_err(io::Error::other)?));
        tokio::select! {
            () = self.connections.look_after(&self.limits) => {}
            () = self.take(listener, &acceptor, stop) => {}
        }
        Ok(())
    }

    async fn take(
        self: &Arc<Self>,
        listener: TcpListener,
        acceptor: &TlsAcceptor,
        stop: impl Future<Output = ()> + Send,
    ) {
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        // A connection stays on one thread with all its requests: none of them wakes another thread, and what it needs is in
        // the caches of one processor.
        let threads = LocalPoolHandle::new(available_parallelism().map_or(1, NonZero::get));
        let serve = |stream: TcpStream, slot: Option<OwnedSemaphorePermit>| {
            let (server, acceptor, threads) = (self.clone(), acceptor.clone(), threads.clone());
            async move {
                // Threads wait for sockets that are their own.
                let Ok(stream) = stream.into_std() else { return };
                let served = threads.spawn_pinned(move || async move {
                    let Ok(stream) = TcpStream::from_std(stream) else { return };
                    server.metrics.connected(1);
                    connection::run(&server, &acceptor, stream).await;
                    server.metrics.connected(-1);
                });
                if let Err(error) = AbortOnDropHandle::new(served).await {
                    warn!(error = &error as &dyn std::error::Error, "a connection broke off");
                }
                drop(slot);
            }
        };
        let mut connections = accept(&listener, &slots, stop, &serve).await;
        self.leave();
        // Whoever is connected already, as far as the kernel and the client know, is served too.
        while let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
            && let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await
        {
            connections.spawn(serve(stream, Some(slot)));
        }
        drop(listener);
        // Everybody who could listen is a connection of this server.
        self.connections.end();
        info!(connections = connections.len(), "finishing what is going on");
        let finished = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.drain, finished).await.is_err() {
            warn!("connections that are still open are cut");
        }
    }
}
