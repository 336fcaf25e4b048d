//! Client certificates, where administrators ask for them: who is served, and who no longer is.

use std::{sync::Arc, time::Duration};

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use sluicegate_operator::telemetry::health::Health;
use sluicegate_webhook::certificates::clients::{AuthorityFile, Clients};
use time::OffsetDateTime;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::server::{Webhook, limits, review, webhook_for};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    chain: String,
    key: String,
}

fn params(common: &str, names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common);
    params.subject_alt_names = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    params.not_before = OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + time::Duration::hours(1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let (mut params, key) = (params(name, &[]), KeyPair::generate().unwrap());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = Vec::new();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn signs(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { chain: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn config(webhook: &Webhook, pair: Option<&Pair>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let ders = |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect::<Vec<_>>();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(ders(&webhook.material.bundle));
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match pair {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            config.with_client_auth_cert(ders(&pair.chain), key).unwrap()
        }
    })
}

async fn connect(webhook: &Webhook, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(webhook.address).await?;
    TlsConnector::from(config.clone()).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

/// Whether a review is answered. A client of TLS 1.3 hears of a refusal only when it asks.
async fn is_served(webhook: &Webhook, config: &Arc<ClientConfig>) -> bool {
    let asked = async {
        let stream = connect(webhook, config).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let response = sender.send_request(Webhook::request("/validate", review())).await.ok()?;
        Some(response.status() == 200)
    };
    timeout(Duration::from_secs(10), asked).await.expect("it is neither served nor refused").unwrap_or(false)
}

fn clients(authority: &str, names: &[&str]) -> Arc<Clients> {
    let clients = Clients::named(names.iter().map(|name| (*name).to_owned()).collect());
    clients.set(authority).unwrap();
    Arc::new(clients)
}

#[tokio::test]
async fn only_clients_of_the_authority_and_of_these_names_are_served() {
    let (ours, foreign) = (Authority::new("ours"), Authority::new("ours"));
    let expired = {
        let mut params = params("api", &[]);
        params.not_after = OffsetDateTime::now_utc() - time::Duration::minutes(1);
        params
    };
    let server = {
        let mut params = params("api", &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
    };
    let itself = {
        let key = KeyPair::generate().unwrap();
        Pair { chain: params("api", &[]).self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    };
    let cases = [
        ("no certificate", None, false, false),
        ("the name as common name", Some(ours.signs(params("api", &[]))), true, true),
        ("the name as a DNS name", Some(ours.signs(params("x", &["y", "api"]))), true, true),
        ("another name", Some(ours.signs(params("x", &["y"]))), true, false),
        ("a name that begins so", Some(ours.signs(params("api.evil", &["api.evil"]))), true, false),
        ("another case", Some(ours.signs(params("API", &[]))), true, false),
        ("no name", Some(ours.signs(params("", &[]))), true, false),
        ("another authority of this name", Some(foreign.signs(params("api", &[]))), false, false),
        ("signed by itself", Some(itself), false, false),
        ("no longer valid", Some(ours.signs(expired)), false, false),
        ("for servers", Some(ours.signs(server)), false, false),
    ];
    let anyone = webhook_for(limits(), Some(clients(&ours.pem, &[]))).await;
    let named = webhook_for(limits(), Some(clients(&ours.pem, &["kube-apiserver", "api"]))).await;
    for (what, pair, of_authority, of_name) in cases {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for (webhook, expected) in [(&anyone, of_authority), (&named, of_name)] {
                let config = config(webhook, pair.as_ref(), version);
                // The second time a session could be taken up again.
                for attempt in ["first", "second"] {
                    assert_eq!(is_served(webhook, &config).await, expected, "{what}, {version:?}, {attempt}");
                }
            }
        }
    }
}

#[tokio::test]
async fn without_an_authority_nobody_is_served() {
    let ours = Authority::new("ours");
    let webhook = webhook_for(limits(), Some(Arc::new(Clients::named(Vec::new())))).await;
    let pair = ours.signs(params("api", &[]));
    assert!(!is_served(&webhook, &config(&webhook, Some(&pair), &rustls::version::TLS13)).await);
    assert!(!is_served(&webhook, &config(&webhook, None, &rustls::version::TLS13)).await);
}

#[tokio::test]
async fn those_whom_a_new_authority_does_not_accept_lose_their_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let accepted = clients(&format!("{}{}", old.pem, new.pem), &[]);
    let webhook = webhook_for(limits(), Some(accepted.clone())).await;
    let mut senders = Vec::new();
    for authority in [&old, &new] {
        let pair = authority.signs(params("api", &[]));
        let mut config = (*config(&webhook, Some(&pair), &rustls::version::TLS13)).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = connect(&webhook, &Arc::new(config)).await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        assert_eq!(sender.send_request(Webhook::request("/validate", review())).await.unwrap().status(), 200);
        senders.push((sender, driver));
    }
    // What is no authority changes nothing.
    for text in ["", "no certificate", &old.pem[..200]] {
        assert!(accepted.set(text).is_err(), "{text}");
        webhook.server.clients_changed();
    }
    for (sender, _) in &mut senders {
        assert_eq!(sender.send_request(Webhook::request("/validate", review())).await.unwrap().status(), 200);
    }
    accepted.set(&new.pem).unwrap();
    webhook.server.clients_changed();
    let (_, ended) = senders.remove(0);
    let _ = timeout(Duration::from_secs(5), ended).await.expect("the connection stays open").unwrap();
    let (mut stays, _driver) = senders.remove(0);
    assert_eq!(stays.send_request(Webhook::request("/validate", review())).await.unwrap().status(), 200);
    let again = old.signs(params("api", &[]));
    assert!(!is_served(&webhook, &config(&webhook, Some(&again), &rustls::version::TLS13)).await);
    assert_eq!(webhook.counted("sluicegate_webhook_ended_connections_total{reason=\"client_certificate\"}"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_file_with_the_authority_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let file = AuthorityFile { path: folder.path().join("ca.crt") };
    let clients = Arc::new(Clients::named(Vec::new()));
    assert!(file.load(&clients).await.is_err(), "there is no file");
    std::fs::write(&file.path, "").unwrap();
    assert!(file.load(&clients).await.is_err(), "an empty file lets nobody in, and nobody means that");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let chain = |authority: &Authority| {
        let pair = authority.signs(params("api", &[]));
        CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect::<Vec<_>>()
    };
    let (of_old, of_new) = (chain(&old), chain(&new));
    std::fs::write(&file.path, &old.pem).unwrap();
    file.load(&clients).await.unwrap();
    assert!(clients.accepts(&of_old) && !clients.accepts(&of_new) && !clients.accepts(&[]));
    let beat = Health::default().task("the authority of clients", Duration::from_secs(180));
    let (said, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let path = file.path.clone();
    tokio::spawn(file.follow(clients.clone(), beat, move || said.send(()).unwrap()));
    for text in ["", "no certificate", &new.pem] {
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(clients.accepts(&of_old) && changes.try_recv().is_err(), "what cannot be used changes nothing");
        std::fs::write(&path, text).unwrap();
    }
    changes.recv().await.unwrap();
    assert!(!clients.accepts(&of_old) && clients.accepts(&of_new));
}
