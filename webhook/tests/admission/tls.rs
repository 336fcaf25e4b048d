//! The server over real TLS: what it speaks, and what it does about clients that are slow or broken. Those that mean ill are in
//! `hostile`.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use sluicegate_webhook::{
    certificates::authority::Ages,
    server::{Limits, Server},
    snapshot::Current,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsConnector;

use super::server::{Webhook, client, limits, material, review, webhook};

#[tokio::test]
async fn answers_over_http_1() {
    let webhook = webhook(limits()).await;
    let answer = webhook.answer("/validate?timeout=5s", review()).await;
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!(answer["response"]["allowed"], true);
    let answer = webhook.answer("/complete", review()).await;
    assert_eq!(answer["response"]["patchType"], "JSONPatch");
    assert_eq!(webhook.counted("sluicegate_webhook_requests_total{outcome=\"patched\"}"), 1);
    assert_eq!(webhook.counted("sluicegate_webhook_requests_total{outcome=\"allowed\"}"), 1);
}

#[tokio::test]
async fn answers_over_http_2_many_at_once() {
    let webhook = webhook(limits()).await;
    let stream = webhook.connect(&["h2"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let requests = (0..100).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            let response = sender.send_request(Webhook::request("/validate", review())).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&body).unwrap()["response"]["allowed"].clone()
        })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), true);
    }
    driver.abort();
}

#[tokio::test]
async fn what_is_no_review_is_refused_in_words_of_http() {
    let webhook = webhook(limits()).await;
    let typed = |content_type: &str| {
        let mut request = Webhook::request("/validate", review());
        request.headers_mut().insert("content-type", content_type.parse().unwrap());
        request
    };
    let mut untyped = Webhook::request("/validate", review());
    untyped.headers_mut().remove("content-type");
    let mut get = Webhook::request("/validate", Vec::new());
    *get.method_mut() = http::Method::GET;
    for (request, expected) in [
        (typed("application/json; charset=utf-8"), 200),
        (typed("text/plain"), 415),
        (typed("application/x-protobuf"), 415),
        (untyped, 415),
        (get, 405),
        (Webhook::request("/", review()), 404),
        (Webhook::request("/validate/x", review()), 404),
        (Webhook::request("/validate", Vec::new()), 400),
        (Webhook::request("/validate", b"{".to_vec()), 400),
        (Webhook::request("/validate", review()[..200].to_vec()), 400),
        (Webhook::request("/validate", vec![b'['; 60_000]), 400),
        (Webhook::request("/validate", vec![0xff; 1000]), 400),
        (Webhook::request("/validate", vec![b' '; 64 * 1024 + 1]), 413),
    ] {
        let about = format!("{request:?}");
        assert_eq!(webhook.send(request).await.0, expected, "{about}");
    }
    webhook.still_serves().await;
}

#[tokio::test]
async fn what_is_a_review_and_cannot_be_read_is_denied_with_its_uid() {
    let webhook = webhook(limits()).await;
    let text = String::from_utf8(review()).unwrap();
    for (from, to) in [
        ("admission.k8s.io/v1", "admission.k8s.io/v3"),
        ("\"CREATE\"", "\"CONJURE\""),
        ("\"operation\"", "\"operatio\""),
    ] {
        let answer = webhook.answer("/validate", text.replace(from, to).into_bytes()).await;
        assert_eq!(answer["response"]["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002", "{to}");
        assert_eq!(answer["response"]["allowed"], false, "{to}");
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    }
}

#[tokio::test]
async fn answers_nothing_before_it_knows_everything() {
    let webhook = webhook(limits()).await;
    let empty = Arc::new(Current::default());
    let server = Server::new(empty, webhook.serving.clone(), None, webhook.metrics.clone(), limits());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(server.serve(listener, std::future::pending()));
    let unready = Webhook { address, served: tokio::spawn(async { Ok(()) }), ..webhook };
    assert_eq!(unready.send(Webhook::request("/validate", review())).await.0, 503);
}

#[tokio::test]
async fn speaks_tls_1_2_and_1_3_and_nothing_older_or_else() {
    let webhook = webhook(limits()).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connector = TlsConnector::from(Arc::new(client(&webhook.material.bundle, &["h2"], &[version])));
        let stream = TcpStream::connect(webhook.address).await.unwrap();
        connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap();
    }
    // A ClientHello of TLS 1.0 and of 1.1, and SSL 3: record, handshake, version, random, no session, one cipher, no compression.
    for minor in [0, 1, 2] {
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.extend([0, 0, 2, 0, 47, 1, 0]);
        let mut handshake = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
        handshake.extend(hello);
        let mut record = vec![22, 3, minor, 0, u8::try_from(handshake.len()).unwrap()];
        record.extend(handshake);
        let mut stream = TcpStream::connect(webhook.address).await.unwrap();
        stream.write_all(&record).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer.first(), Some(&21), "an alert, and no handshake: {answer:?}");
    }
    let mut plain = TcpStream::connect(webhook.address).await.unwrap();
    plain.write_all(b"POST /validate HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(10), plain.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"), "plain HTTP is answered");
    // Those two have said nothing either.
    let refused = async {
        while webhook.counted("sluicegate_webhook_refused_connections_total") < 4 + 2 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), refused).await.expect("every connection is counted");
    webhook.still_serves().await;
}

#[tokio::test]
async fn a_foreign_authority_is_not_trusted_and_foreign_pairs_are_not_served() {
    let webhook = webhook(limits()).await;
    let foreign = material(None, &Ages::default());
    assert!(webhook.connect_trusting(&foreign.bundle, &["h2"]).await.is_err());
    assert!(webhook.serving.set(&foreign.chain, &webhook.material.key).is_err());
    assert!(webhook.serving.set("", &webhook.material.key).is_err());
    assert!(webhook.serving.set(&webhook.material.chain, "no key").is_err());
    // What stood before stands.
    webhook.still_serves().await;
}

#[tokio::test]
async fn a_new_certificate_costs_no_connection_and_no_request() {
    let webhook = webhook(limits()).await;
    let stream = webhook.connect(&["h2"]).await;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut material = webhook.material.clone();
    for _ in 0..20 {
        // One that is lost is made anew.
        material.chain = String::new();
        material = super::server::material(Some(&material), &Ages::default());
        assert_eq!(material.bundle, webhook.material.bundle);
        webhook.serving.set(&material.chain, &material.key).unwrap();
        let response = sender.send_request(Webhook::request("/validate", review())).await.unwrap();
        assert_eq!(response.status(), 200);
        webhook.still_serves().await;
    }
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_keep_nobody_out() {
    let webhook = webhook(limits()).await;
    // All places are taken by clients that say nothing, before the handshake and after.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(webhook.address).await.unwrap());
    }
    let mut handshaken = Vec::new();
    for alpn in ["h2", "http/1.1"] {
        for _ in 0..4 {
            handshaken.push(webhook.connect(&[alpn]).await);
        }
    }
    let began = Instant::now();
    webhook.still_serves().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop((silent, handshaken));
    // One header now and then, and a body that never ends.
    let text = webhook.raw(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-").await;
    assert!(!text.contains("200 OK"), "{text}");
    let text = webhook
        .raw(b"POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        .await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    webhook.still_serves().await;
}

#[tokio::test]
async fn long_headers_and_announced_floods_are_refused_unread() {
    let webhook = webhook(limits()).await;
    let long = format!("POST /validate HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert!(!webhook.raw(long.as_bytes()).await.contains("200 OK"));
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let text = webhook.raw(format!("POST /validate HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
    let flood = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n";
    let text = webhook.raw(flood.as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    webhook.still_serves().await;
}

#[tokio::test]
async fn what_is_going_on_is_finished_and_nothing_new_is_taken_at_the_end() {
    let mut webhook = webhook(Limits { request: Duration::from_secs(30), ..limits() }).await;
    // Half of a request is on its way when the end comes.
    let mut stream = webhook.connect(&["http/1.1"]).await;
    let body = review();
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await;
    webhook.stop.take().unwrap().send(()).unwrap();
    sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(webhook.address).await.is_err(), "a new connection is taken");
    stream.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    timeout(Duration::from_secs(5), webhook.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn who_has_just_connected_is_answered_at_the_end_and_sent_elsewhere() {
    let mut webhook = webhook(limits()).await;
    let stream = webhook.connect(&["http/1.1"]).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    webhook.stop.take().unwrap().send(()).unwrap();
    sleep(Duration::from_millis(200)).await;
    let response = sender.send_request(Webhook::request("/validate", review())).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["connection"], "close");
    response.into_body().collect().await.unwrap();
    timeout(Duration::from_secs(2), driver).await.expect("the connection stays open").unwrap().unwrap();
    timeout(Duration::from_secs(2), webhook.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_is_not_used_for_a_while_is_kept() {
    let webhook = webhook(limits()).await;
    let stream = webhook.connect(&["http/1.1"]).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let response = sender.send_request(Webhook::request("/validate", review())).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
        // Longer than the first request may take.
        sleep(limits().first_review * 2).await;
        sender.ready().await.unwrap();
    }
}

#[tokio::test]
async fn a_new_policy_counts_from_the_next_request_on() {
    let webhook = webhook(limits()).await;
    webhook.still_serves().await;
    webhook.current.set(super::world::with(Vec::new(), &[]));
    let answer = webhook.answer("/validate", review()).await;
    assert_eq!(answer["response"]["allowed"], false);
    assert_eq!(answer["response"]["status"]["code"], 403);
}
