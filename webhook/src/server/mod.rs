//! TLS and HTTP, with bounds on everything that a client can use up: connections, time, headers, bodies, streams.
//!
//! Anybody in the cluster can connect, so a connection must show within seconds that it is worth its place. `connection` is
//! one connection, `exchange` one request on it, `activity` what goes on on it; `connections` decides who stays.

mod activity;
mod connection;
mod connections;
mod exchange;

use std::{
    io,
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::available_parallelism,
    time::Duration,
};

use connections::{Connections, Seat};
use rustls::{
    ServerConfig,
    server::{NoClientAuth, NoServerSessionStorage},
};
use sluicegate_operator::telemetry::server::accept;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::{AbortOnDropHandle, LocalPoolHandle};
use tracing::{info, warn};

use crate::{
    certificates::{Serving, clients::Clients},
    snapshot::Current,
    telemetry::Metrics,
};

/// What a client may use up.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at the same time, handshakes included. For one more another goes. As many again may be on their way out.
    pub connections: usize,
    /// TLS handshakes at the same time. For one more another goes.
    pub handshakes: usize,
    /// Streams of an HTTP/2 connection at the same time.
    pub streams: u32,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the handshake to the first review that is answered, whatever else is asked meanwhile.
    pub first_review: Duration,
    /// Without any review, after the first. Longer than clients keep a connection that they do not use (Go: 90 s), so that it
    /// is never ended while somebody sends on it.
    pub idle: Duration,
    /// For a request, from its headers to its answer. The API server's own limit counts where it is shorter.
    pub request: Duration,
    /// Bytes of a body. The API server takes objects of up to 3 MiB, and sends the old one beside the new one.
    pub body: usize,
    /// Bytes of all bodies that are waited for, or that wait for their answers. Where they are more, a connection goes.
    pub bodies: usize,
    /// Long answers that are waited for at the same time; of one peer, a quarter of them.
    pub waiting: usize,
    /// Bytes of all headers of a request.
    pub header_bytes: usize,
    /// What is going on may take this long when the process ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshakes: 512,
            streams: 250,
            handshake: Duration::from_secs(5),
            first_review: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            request: Duration::from_secs(8),
            body: 8 * 1024 * 1024,
            bodies: 128 * 1024 * 1024,
            waiting: 64,
            header_bytes: 16 * 1024,
            drain: Duration::from_secs(15),
        }
    }
}

impl Limits {
    /// No more connections than a process has files for that may have so many open, those on their way out included. Some are
    /// for what else it does.
    pub fn within(mut self, files: u64) -> Self {
        let most = usize::try_from(files.saturating_sub(128) / 2).unwrap_or(usize::MAX);
        self.connections = self.connections.min(most).max(8);
        self.handshakes = self.handshakes.min(self.connections / 2);
        self
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
    /// Who may be a client, where not everybody may.
    clients: Option<Arc<Clients>>,
    /// Answers that ask about every FluxConfig, one after the other: the others are not to wait for them.
    long: Arc<Semaphore>,
    /// All that are open.
    connections: Arc<Connections>,
    /// Whether clients are to go elsewhere.
    leaving: AtomicBool,
}

impl Server {
    /// A server that answers nothing yet. Without `clients` everybody may ask.
    pub fn new(
        current: Arc<Current>,
        serving: Arc<Serving>,
        clients: Option<Arc<Clients>>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Arc<Self> {
        Arc::new(Self {
            current,
            serving,
            clients,
            long: Arc::new(Semaphore::new(1)),
            connections: Connections::new(limits.clone(), metrics.clone()),
            metrics,
            limits,
            leaving: AtomicBool::default(),
        })
    }

    /// Ends connections of clients that are no longer accepted, after who is accepted has changed.
    pub fn clients_changed(&self) {
        if let Some(clients) = &self.clients {
            self.connections.end_foreign(|chain| clients.accepts(chain));
        }
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
            .with_client_cert_verifier(match &self.clients {
                None => Arc::new(NoClientAuth),
                Some(clients) => clients.clone(),
            })
            .with_cert_resolver(self.serving.clone());
        if self.clients.is_some() {
            // A session that is taken up again is not asked for its certificate again, and that may no longer be accepted.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
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
            () = self.connections.look_after() => {}
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
        // A connection stays on one thread with all its requests: none of them wakes another thread, and what it needs is in
        // the caches of one processor.
        let threads = LocalPoolHandle::new(available_parallelism().map_or(1, NonZero::get));
        let serve = |stream: TcpStream, address: SocketAddr| {
            // Without a seat the connection is closed.
            let seat = self.connections.enter(address.ip())?;
            Some(self.clone().serve_on(threads.clone(), acceptor.clone(), stream, seat))
        };
        let mut connections = accept(&listener, stop, &serve).await;
        self.leave();
        // Those who are connected already, as far as the kernel and the client know, are served too.
        for _ in 0..self.limits.connections {
            let Ok(Ok((stream, address))) = timeout(Duration::ZERO, listener.accept()).await else { break };
            if let Some(connection) = serve(stream, address) {
                connections.spawn(connection);
            }
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

    /// Serves a connection on a thread of its own choice, to its end.
    async fn serve_on(
        self: Arc<Self>,
        threads: LocalPoolHandle,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        seat: Arc<Seat>,
    ) {
        // Threads wait for sockets that are their own.
        let Ok(stream) = stream.into_std() else { return };
        let served = threads.spawn_pinned(move || async move {
            let Ok(stream) = TcpStream::from_std(stream) else { return };
            connection::run(&self, &acceptor, stream, &seat).await;
        });
        if let Err(error) = AbortOnDropHandle::new(served).await {
            warn!(error = &error as &dyn std::error::Error, "a connection broke off");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_no_more_than_files() {
        let within = |files| {
            let limits = Limits::default().within(files);
            (limits.connections, limits.handshakes)
        };
        assert_eq!(within(1_048_576), (1024, 512));
        assert_eq!(within(1024), (448, 224));
        assert_eq!(within(0), (8, 4));
    }
}
