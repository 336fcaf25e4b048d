//! What holds while somebody in the cluster takes up the webhook's connections, and who may be its client where administrators
//! say so.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::NODE_ADDRESS;
use sluicegate_e2e::pki::{Credential, WEBHOOK_CLIENT};
use sluicegate_e2e::suite::operator;
use sluicegate_e2e::suite::webhook::{Replica, SECRET, install_configurations};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Hook, config, minimal, on_own, url};

/// Connections of the flood; the webhook has room for 1,024.
const FLOOD: usize = 1_400;
/// Where the flood comes from; the API server comes from elsewhere.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A client of the webhook, with a certificate or without.
#[derive(Clone)]
struct Client {
    to: std::net::SocketAddr,
    config: Arc<ClientConfig>,
}

impl Client {
    async fn new(hook: &Hook, replica: &Replica, credential: Option<&Credential>) -> Result<Client> {
        let secret = hook.space.get("v1", "Secret", operator::NAMESPACE, SECRET).await?.expect("the Secret is there");
        let authority = STANDARD.decode(secret["data"]["ca.crt"].as_str().expect("an authority")).expect("base64");
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&authority).map(|one| one.expect("PEM")));
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match credential {
            None => config.with_no_client_auth(),
            Some(credential) => {
                let chain = CertificateDer::pem_slice_iter(credential.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain.map(|one| one.expect("PEM")).collect(), key).expect("a pair")
            }
        };
        Ok(Client { to: replica.address(), config: Arc::new(config) })
    }

    async fn connect(&self) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((FROM, 0).into())?;
        let name = ServerName::try_from(NODE_ADDRESS).expect("an address");
        TlsConnector::from(self.config.clone()).connect(name, socket.connect(self.to).await?).await
    }

    /// Sends something harmless, and gives the first of what comes back.
    async fn ask(&self) -> std::io::Result<(TlsStream<tokio::net::TcpStream>, String)> {
        let mut stream = self.connect().await?;
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok((stream, String::from_utf8_lossy(&answer).into_owned()))
    }
}

/// Opens that many connections, asks something harmless on each and holds it; again where one is ended. Ends when what it
/// gives is dropped. It has a thread of its own, as a pod would have its own processes.
fn flood(client: Client) -> oneshot::Sender<()> {
    let (end, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for _ in 0..FLOOD {
            let client = client.clone();
            runtime.spawn(async move {
                loop {
                    if let Ok((mut stream, _)) = client.ask().await {
                        let mut rest = [0; 4096];
                        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        let _ = runtime.block_on(ended);
    });
    end
}

/// Waits until so many connections are open.
async fn crowded(hook: &Hook, replica: &Replica, least: u64) -> Result<()> {
    hook.space
        .wait("the flood to be there", 60, || async {
            let text = replica.get("/metrics").await?;
            let open = text.lines().find_map(|line| line.strip_prefix("sluicegate_webhook_connections ")?.parse().ok());
            Ok(open.is_some_and(|open: u64| open >= least).then_some(()))
        })
        .await
}

#[test]
fn a_flood_of_connections_delays_no_request_of_the_api_server() {
    on_own("flood", async |hook| {
        let replica = Replica::new(&hook.cluster, "a", &[])?;
        replica.start().await?;
        hook.front.lead_to(&[&replica]);
        install_configurations(&hook.cluster, hook.front.address()).await?;
        hook.is_asked().await?;
        let tenant = hook.tenant().await?;
        let end = flood(Client::new(&hook, &replica, None).await?);
        crowded(&hook, &replica, 900).await?;
        let mut slowest = Duration::ZERO;
        for round in 0..3 {
            // All connections of the API server are gone; those of the flood come again before it asks.
            replica.kill()?;
            replica.start().await?;
            crowded(&hook, &replica, 500).await?;
            for _ in 0..5 {
                let began = Instant::now();
                hook.dry_run(minimal(&tenant)).await?.accepted();
                let forbidden = config(&tenant, "x", json!({"source": {"url": url("other")}}));
                hook.dry_run(forbidden).await?.rejected("[source-not-allowed]");
                slowest = slowest.max(began.elapsed());
            }
            assert!(replica.is_ready().await, "round {round}");
        }
        println!("under {FLOOD} connections that come again at once: two requests took {slowest:?} at most");
        // What is asked for is a second. The machine is shared with the flood and with other tests.
        assert!(slowest < Duration::from_secs(4), "{slowest:?}");
        drop(end);
        hook.dry_run(minimal(&tenant)).await?.accepted();
        Ok(())
    });
}

fn put(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file is written");
    std::fs::rename(new, path).expect("a file is put in place");
}

#[test]
fn with_an_authority_of_clients_only_the_api_server_is_answered() {
    on_own("clients", async |hook| {
        let authority = hook.cluster.authority()?;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.crt");
        put(&file, &authority.certificate);
        // This authority signs certificates of users too: the name tells the API server from them.
        let arguments = ["--client-ca", file.to_str().expect("a path"), "--client-name", WEBHOOK_CLIENT];
        let replica = Replica::new(&hook.cluster, "a", &arguments)?;
        replica.start().await?;
        hook.front.lead_to(&[&replica]);
        install_configurations(&hook.cluster, hook.front.address()).await?;
        hook.is_asked().await?;
        let tenant = hook.tenant().await?;
        hook.dry_run(minimal(&tenant)).await?.accepted();
        for (what, credential) in [("nobody", None), ("a user", Some(authority.client("alice", &["system:masters"])?))]
        {
            let client = Client::new(&hook, &replica, credential.as_ref()).await?;
            assert!(client.ask().await.is_err(), "{what} is answered");
        }
        let api_server = authority.client(WEBHOOK_CLIENT, &[])?;
        let client = Client::new(&hook, &replica, Some(&api_server)).await?;
        assert_eq!(client.ask().await.expect("it is answered").1, "HTTP/1.1 404");
        // Another authority counts without a restart, on connections that are open too.
        let (foreign, _) = sluicegate_e2e::pki::Authority::create("another authority")?;
        put(&file, &foreign.certificate);
        let refused = || async { Ok((hook.dry_run(minimal(&tenant)).await?.status >= 500).then_some(())) };
        hook.space.wait("the API server to be refused", 30, refused).await?;
        hook.dry_run(minimal(&tenant)).await?.unanswered();
        assert!(replica.is_ready().await, "probes need no certificate");
        put(&file, &authority.certificate);
        let accepted = || async { Ok((hook.dry_run(minimal(&tenant)).await?.status < 300).then_some(())) };
        hook.space.wait("the API server to be answered again", 30, accepted).await?;
        Ok(())
    });
}
