//! Clients that mean ill, over a socket of the real server: none gets more than a refusal, and none keeps others out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{Request, Version};
use http_body_util::{Full, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use sluicegate_webhook::certificates::authority::Ages;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::{
    server::{Webhook, client, limits, material, review, webhook},
    world::{Ask, config, url},
};

const HEAD: &str = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
const MALFORMED: &str = "sluicegate_webhook_requests_total{outcome=\"malformed\"}";
const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// A review whose object is this text.
fn about(object: &str) -> Vec<u8> {
    let review = Ask::create("FluxConfig", config("team-a", "shop", json!({"source": {"url": url("team-a")}})));
    let text = String::from_utf8(review.set("object", json!("OBJECT")).body()).unwrap();
    text.replace("\"OBJECT\"", object).into_bytes()
}

/// A review that must be denied.
fn of_another_team() -> Vec<u8> {
    about(&config("team-a", "shop", json!({"source": {"url": url("team-b")}})).to_string())
}

async fn http2_client(webhook: &Webhook) -> http2::SendRequest<Full<Bytes>> {
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(webhook.connect(&["h2"]).await)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn a_request_that_breaks_off_anywhere_is_answered_by_nothing() {
    let webhook = webhook(limits()).await;
    let body = review();
    let whole = [format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()).into_bytes(), body].concat();
    for end in (0..whole.len()).step_by(97) {
        let mut stream = webhook.connect(&["http/1.1"]).await;
        stream.write_all(&whole[..end]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("the connection ends");
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("200 OK") && !answer.contains("allowed"), "after {end} bytes: {answer}");
    }
    webhook.still_serves().await;
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_cut_off_in_time() {
    let webhook = webhook(limits()).await;
    let mut stream = webhook.connect(&["http/1.1"]).await;
    stream.write_all(format!("{HEAD}Content-Length: 10000\r\n\r\n").as_bytes()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let trickle = tokio::spawn(async move {
        while write.write_all(b" ").await.is_ok() {
            let _ = write.flush().await;
            sleep(Duration::from_millis(50)).await;
        }
    });
    let began = Instant::now();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(10), read.read_to_end(&mut answer)).await.expect("the connection ends");
    trickle.abort();
    assert!(answer.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Headers are no better.
    let mut stream = webhook.connect(&["http/1.1"]).await;
    let began = Instant::now();
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    while stream.write_all(b"X: y\r\n").await.is_ok() && stream.flush().await.is_ok() {
        sleep(Duration::from_millis(50)).await;
        assert!(began.elapsed() < Duration::from_secs(15), "headers may go on for ever");
    }
    webhook.still_serves().await;
}

#[tokio::test]
async fn a_flood_that_is_not_announced_is_cut_off() {
    let webhook = webhook(limits()).await;
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    let mut stream = webhook.connect(&["http/1.1"]).await;
    stream.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let mut sent = 0;
    // 16 chunks are what a body may have; sockets hold some more.
    let flood = async {
        while sent < 100_000 && stream.write_all(chunk.as_bytes()).await.is_ok() {
            sent += 1;
        }
    };
    timeout(Duration::from_secs(20), flood).await.expect("it is cut off");
    assert!(sent < 100_000, "{sent} chunks were taken");
    let mut sender = http2_client(&webhook).await;
    let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 4096]))));
    let (mut flood, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(webhook.connect(&["h2"]).await)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://127.0.0.1/validate")
        .header("content-type", "application/json")
        .body(StreamBody::new(endless))
        .unwrap();
    let answer = timeout(Duration::from_secs(10), flood.send_request(request)).await.expect("it is cut off");
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 413));
    // Other connections do not notice.
    assert_eq!(sender.send_request(Webhook::request("/validate", review())).await.unwrap().status(), 200);
    webhook.still_serves().await;
}

#[tokio::test]
async fn two_lengths_and_other_ambiguities_are_refused() {
    let webhook = webhook(limits()).await;
    let body = String::from_utf8(review()).unwrap();
    let length = body.len();
    for headers in [
        format!("Content-Length: {length}\r\nContent-Length: 5\r\n"),
        format!("Content-Length: +{length}\r\n"),
        format!("Content-Length: {length}, 5\r\n"),
        format!("Content-Length : {length}\r\n"),
        "Content-Length: -1\r\n".to_owned(),
        "Content-Length: 18446744073709551616\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
    ] {
        let text = webhook.raw(format!("{HEAD}{headers}Connection: close\r\n\r\n{body}").as_bytes()).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{headers}: {text}");
    }
    for line in ["POST /validate HTTP/2.0", "POST /validate HTTP/9.9", "POST  /validate", "GARBAGE", "\0\0\0\0"] {
        let text = webhook.raw(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
        assert!(!text.contains(" 200 ") && !text.contains("allowed"), "{line}: {text}");
    }
    webhook.still_serves().await;
}

#[tokio::test]
async fn a_second_request_behind_the_first_is_a_request_of_its_own() {
    let webhook = webhook(limits()).await;
    let good = review();
    let foreign = of_another_team();
    let request = |body: &[u8], more: &str| {
        [format!("{HEAD}Content-Length: {}\r\n{more}\r\n", body.len()).into_bytes(), body.to_vec()].concat()
    };
    let text = webhook.raw(&[request(&good, ""), request(&foreign, "Connection: close\r\n")].concat()).await;
    let at = |verdict: &str| text.match_indices(verdict).map(|(at, _)| at).collect::<Vec<_>>();
    let (allowed, denied) = (at("\"allowed\":true"), at("\"allowed\":false"));
    assert!(allowed.len() == 1 && denied.len() == 1 && allowed < denied, "{text}");
}

#[tokio::test]
async fn objects_that_are_no_objects_are_denied_with_the_uid() {
    let webhook = webhook(limits()).await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
    let (lists, maps) = (deep("[", "]"), deep("{\"spec\":", "}"));
    for object in [
        lists.as_str(),
        &maps,
        &format!("{{\"metadata\":{{}},\"spec\":{{\"source\":{maps}}}}}"),
        "null",
        "7",
        "\"text\"",
        "[]",
        "{}",
        "{\"spec\":null}",
        "{\"spec\":{\"source\":{\"url\":7}}}",
        // Which of two counts is for nobody to guess.
        "{\"spec\":{\"source\":{\"url\":\"https://git.example.com/team-a/shop.git\"}},\"spec\":{\"source\":{\"url\":\"https://git.example.com/team-b/x.git\"}}}",
        "{\"metadata\":{\"name\":\"\\ud800\"},\"spec\":{}}",
    ] {
        let answer = webhook.answer("/validate", about(object)).await;
        let shown = &object[..object.len().min(60)];
        assert_eq!(answer["response"]["uid"], UID, "{shown}");
        assert_eq!(answer["response"]["allowed"], false, "{shown}");
        // Completion leaves to judgement what it does not understand.
        let answer = webhook.answer("/complete", about(object)).await;
        assert_eq!(
            (&answer["response"]["allowed"], &answer["response"]["patch"]),
            (&json!(true), &Value::Null),
            "{shown}"
        );
    }
    webhook.still_serves().await;
}

#[tokio::test]
async fn reviews_that_say_something_twice_are_no_reviews() {
    let webhook = webhook(limits()).await;
    let text = String::from_utf8(review()).unwrap();
    for (from, to, status) in [
        ("\"operation\":", "\"operation\":\"CREATE\",\"operation\":", 200),
        ("\"object\":", "\"object\":{},\"object\":", 200),
        ("\"uid\":", "\"uid\":\"1\",\"uid\":", 400),
        ("\"request\":", "\"request\":{\"uid\":\"1\"},\"request\":", 400),
    ] {
        let (found, body) = webhook.send(Webhook::request("/validate", text.replacen(from, to, 1).into_bytes())).await;
        assert_eq!(found, status, "{to}");
        if status == 200 {
            let answer: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(
                (&answer["response"]["uid"], &answer["response"]["allowed"]),
                (&json!(UID), &json!(false)),
                "{to}"
            );
        }
    }
    // More of it behind the end.
    let (status, _) = webhook.send(Webhook::request("/validate", format!("{text}{text}").into_bytes())).await;
    assert_eq!(status, 400);
    assert_eq!(webhook.counted(MALFORMED), 3);
}

#[tokio::test]
async fn streams_that_are_opened_and_dropped_cost_others_nothing() {
    let webhook = webhook(limits()).await;
    let sender = http2_client(&webhook).await;
    for _ in 0..2_000 {
        let mut sender = sender.clone();
        if sender.ready().await.is_err() {
            // Cut off: well.
            break;
        }
        // Dropped at once: the stream is reset.
        drop(sender.send_request(Webhook::request("/validate", review())));
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    webhook.still_serves().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn long_headers_over_http_2_are_refused() {
    let webhook = webhook(limits()).await;
    let mut sender = http2_client(&webhook).await;
    let mut request = Webhook::request("/validate", review());
    *request.version_mut() = Version::HTTP_2;
    for number in 0..40 {
        let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        request.headers_mut().insert(name, "y".repeat(1024).parse().unwrap());
    }
    let answer = timeout(Duration::from_secs(10), sender.send_request(request)).await.unwrap();
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431), "long headers are read");
    webhook.still_serves().await;
}

#[tokio::test]
async fn whoever_brings_a_foreign_certificate_gets_no_more_than_others() {
    let webhook = webhook(limits()).await;
    let foreign = material(None, &Ages::default());
    // The server asks nobody for a certificate, so a client that has one does not show it.
    let config = {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(
            CertificateDer::pem_slice_iter(webhook.material.bundle.as_bytes()).map(Result::unwrap),
        );
        let chain = CertificateDer::pem_slice_iter(foreign.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(foreign.key.as_bytes()).unwrap();
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap()
    };
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(webhook.address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
    let body = of_another_team();
    let head = format!("{HEAD}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.into_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("\"allowed\":false"), "{answer}");
}

#[tokio::test]
async fn a_name_that_is_not_the_servers_is_not_taken_for_it() {
    let webhook = webhook(limits()).await;
    let connector = TlsConnector::from(Arc::new(client(&webhook.material.bundle, &["h2"], rustls::ALL_VERSIONS)));
    let stream = TcpStream::connect(webhook.address).await.unwrap();
    let name = ServerName::try_from("sluicegate-webhook.sluicegate-system.svc").unwrap();
    assert!(connector.connect(name, stream).await.is_err(), "the certificate is for 127.0.0.1 alone");
    webhook.still_serves().await;
}

#[tokio::test]
async fn garbage_in_place_of_tls_is_refused_and_counted() {
    let webhook = webhook(limits()).await;
    let mut random = fastrand::Rng::with_seed(7);
    for length in [1, 5, 64, 1_000, 20_000] {
        let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        let mut stream = TcpStream::connect(webhook.address).await.unwrap();
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("it is cut off");
    }
    // A handshake that claims a record of 64 KiB and never sends it.
    let mut stream = TcpStream::connect(webhook.address).await.unwrap();
    stream.write_all(&[22, 3, 1, 0xff, 0xff, 1]).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("it is cut off");
    let counted = async {
        while webhook.counted("sluicegate_webhook_refused_connections_total") < 6 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), counted).await.expect("every connection is counted");
    webhook.still_serves().await;
}
