//! Connections that watches share. Copies of Secrets are watched in each agent's namespace, as there is no right to read them
//! everywhere; five hundred agents would be five hundred connections, of some 40 KiB here and more at the API server. Over
//! HTTP/2 a watch is a stream. One that is read as soon as something comes, as all of these are, keeps none of its neighbours
//! waiting.
//!
//! A server without HTTP/2, as behind some load balancers, says so when the connection is made; then each watch has its own again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt as _},
};
use tower::{BoxError, ServiceBuilder};
use tracing::debug;

use super::connect::CONNECT_TIMEOUT;

/// Watches on one connection. API servers allow 100 streams unless they are told otherwise (`--http2-max-streams-per-connection`),
/// and what is beyond that waits without an error.
const SHARED: usize = 64;
/// How often a connection on which nothing happens is asked whether it is still there, and how long the answer may take.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);

/// The shared connections to one cluster.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    config: Config,
    /// For those who cannot share.
    plain: Client,
    shared: Mutex<Vec<Stream>>,
}

/// A place on a connection, for as long as it is kept.
#[derive(Clone)]
pub struct Stream {
    /// The client to watch with.
    pub client: Client,
    /// One for each place, and the pool's own.
    taken: Arc<()>,
}

impl Streams {
    /// None is opened before somebody watches.
    pub fn new(config: Config, plain: Client) -> Self {
        Self(Arc::new(Inner { config, plain, shared: Mutex::default() }))
    }

    /// A place for one watch.
    pub fn join(&self) -> Stream {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = shared.iter().find(|stream| Arc::strong_count(&stream.taken) <= SHARED) {
            return stream.clone();
        }
        let client = self.0.open().unwrap_or_else(|error| {
            debug!(error, "watches do not share connections");
            self.0.plain.clone()
        });
        let stream = Stream { client, taken: Arc::default() };
        shared.push(stream.clone());
        stream
    }
}

impl Inner {
    /// A client with a connection of its own, by HTTP/2 where the server speaks it. As kube makes one, but for the protocol.
    fn open(&self) -> Result<Client, BoxError> {
        let config = &self.config;
        if config.proxy_url.is_some() {
            return Err("they go through a proxy".into());
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
        if let Some(name) = &config.tls_server_name {
            tls = tls.with_server_name_resolver(FixedServerNameResolver::new(name.clone().try_into()?));
        }
        let http = HttpClient::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PONG)
            .build::<_, Body>(tls.enable_all_versions().wrap_connector(tcp));
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer()?)
            .layer(config.extra_headers_layer()?)
            .map_err(BoxError::from)
            .service(http);
        Ok(Client::new(service, config.default_namespace.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_watches_share_one_and_those_who_leave_make_room() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Config::new("https://127.0.0.1:1".parse().unwrap());
        let streams = Streams::new(config.clone(), Client::try_from(config).unwrap());
        let connections = |joined: &[Stream]| {
            let mut distinct: Vec<_> = joined.iter().map(|stream| Arc::as_ptr(&stream.taken)).collect();
            distinct.sort_unstable();
            distinct.dedup();
            distinct.len()
        };
        let mut joined: Vec<Stream> = (0..2 * SHARED).map(|_| streams.join()).collect();
        assert_eq!(connections(&joined), 2);
        joined.push(streams.join());
        assert_eq!(connections(&joined), 3);
        // One leaves the first: there is room on it, and no fourth is opened.
        joined.remove(0);
        joined.push(streams.join());
        assert_eq!(connections(&joined), 3);
    }
}
