//! The server on a socket, and clients of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, pki_types::ServerName};
use serde_json::{Value, json};
use sluicegate_operator::telemetry::metrics::Exposition as _;
use sluicegate_webhook::{
    certificates::{
        Serving,
        authority::{Ages, Material, next},
        clients::Clients,
    },
    server::{Limits, Server},
    snapshot::Current,
    telemetry::Metrics,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::world::{Ask, config, snapshot, url};

const NOW: i64 = 1_790_000_000;

pub(super) struct Webhook {
    pub(super) address: SocketAddr,
    pub(super) current: Arc<Current>,
    pub(super) serving: Arc<Serving>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) material: Material,
    pub(super) server: Arc<Server>,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) served: JoinHandle<std::io::Result<()>>,
}

pub(super) fn limits() -> Limits {
    Limits {
        connections: 16,
        handshake: Duration::from_secs(1),
        first_review: Duration::from_secs(1),
        request: Duration::from_secs(1),
        body: 64 * 1024,
        drain: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

pub(super) fn material(found: Option<&Material>, ages: &Ages) -> Material {
    next(found, &["127.0.0.1".to_owned()], now(), ages).unwrap().unwrap()
}

pub(super) async fn webhook(limits: Limits) -> Webhook {
    webhook_for(limits, None).await
}

/// One that serves these clients alone.
pub(super) async fn webhook_for(limits: Limits, clients: Option<Arc<Clients>>) -> Webhook {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (current, serving, metrics) =
        (Arc::new(Current::default()), Arc::new(Serving::default()), Arc::new(Metrics::default()));
    let material = material(None, &Ages::default());
    assert!(serving.set(&material.chain, &material.key).unwrap() > NOW);
    current.set(snapshot());
    let server = Server::new(current.clone(), serving.clone(), clients, metrics.clone(), limits);
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(server.clone().serve(listener, async {
        let _ = stopped.await;
    }));
    Webhook { address, current, serving, metrics, material, server, stop: Some(stop), served }
}

pub(super) fn review() -> Vec<u8> {
    Ask::create("FluxConfig", config("team-a", "shop", json!({"source": {"url": url("team-a")}}))).body()
}

pub(super) fn client(bundle: &str, alpn: &[&str], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

impl Webhook {
    pub(super) async fn connect(&self, alpn: &[&str]) -> TlsStream<TcpStream> {
        self.connect_trusting(&self.material.bundle, alpn).await.unwrap()
    }

    pub(super) async fn connect_trusting(&self, bundle: &str, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(client(bundle, alpn, rustls::ALL_VERSIONS)));
        let stream = TcpStream::connect(self.address).await?;
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
    }

    pub(super) fn request(path: &str, body: Vec<u8>) -> Request<Full<Bytes>> {
        Request::post(format!("https://127.0.0.1{path}"))
            .header("content-type", "application/json")
            .header("host", "127.0.0.1")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    }

    /// Over HTTP/1.1.
    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> (StatusCode, Vec<u8>) {
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.connect(&["http/1.1"]).await)).await.unwrap();
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
        driver.abort();
        (status, body)
    }

    pub(super) async fn answer(&self, path: &str, body: Vec<u8>) -> Value {
        let (status, body) = self.send(Self::request(path, body)).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// Sends bytes as they are, and gives what comes back until the connection ends.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(&["http/1.1"]).await;
        // A server that cuts off need not wait for the rest, nor say good-bye.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ =
            timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the connection stays open");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.text().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("{series}: {text}"))
    }

    pub(super) async fn still_serves(&self) {
        let answer = self.answer("/validate", review()).await;
        assert_eq!(answer["response"]["allowed"], true);
    }
}
