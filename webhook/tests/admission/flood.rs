//! Connections that only take up room: three times as many as there is room for, in every way in which a client can hold one.
//! Whatever they do, a newcomer with a review is answered, a connection that is in use stays, and in the end nothing is left.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::Frame,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::json;
use sluicegate_webhook::server::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    server::{Webhook, client, limits, review, webhook},
    world::{Ask, teams},
};

/// Where the flood comes from.
const FLOOD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// Where somebody else comes from.
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);
const HEAD: &str = "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
/// How long somebody whose connection was ended takes to come again.
const AGAIN: Duration = Duration::from_secs(1);
/// What is asked for is an answer within a second. Tests run beside others, on machines that do something else.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// A way to hold a connection.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// Says nothing.
    Tcp,
    /// Begins a TLS handshake.
    HalfHandshake,
    /// Says nothing after the handshake.
    Handshaken,
    /// Sends half of the headers.
    HalfHeaders,
    /// Asks something harmless that is no review.
    OtherRequest,
    /// Asks it again and again.
    OtherRequests,
    /// Opens HTTP/2 and says nothing.
    Http2,
    /// The same, with pings.
    Http2Pings,
    /// Opens as many streams as it may, without bodies.
    Http2Streams,
    /// Sends a body byte by byte.
    SlowBody,
    /// Sends all of a large body but its end.
    LargeBody,
    /// Asks one review and says nothing more.
    Review,
    /// Asks reviews all the time.
    Reviews,
    /// Asks reviews that take long, and does not wait for the answers.
    LongReviews,
}

const ALL: [Hold; 14] = [
    Hold::Tcp,
    Hold::HalfHandshake,
    Hold::Handshaken,
    Hold::HalfHeaders,
    Hold::OtherRequest,
    Hold::OtherRequests,
    Hold::Http2,
    Hold::Http2Pings,
    Hold::Http2Streams,
    Hold::SlowBody,
    Hold::LargeBody,
    Hold::Review,
    Hold::Reviews,
    Hold::LongReviews,
];

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

async fn connect_tls(
    from: Ipv4Addr,
    to: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(config.clone()).connect(name, connect(from, to).await?).await
}

/// A request over HTTP/1.1 as bytes.
fn request(body: &[u8]) -> Vec<u8> {
    [format!("{HEAD}Content-Length: {}\r\n\r\n", body.len()).into_bytes(), body.to_vec()].concat()
}

/// A review whose answer asks about every FluxConfig.
fn long_review() -> Vec<u8> {
    let policy = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": "x"}, "spec": teams()});
    Ask::create("FluxPolicy", policy).body()
}

impl Hold {
    /// Holds one connection until the other side ends it.
    async fn hold(self, to: SocketAddr, h1: &Arc<ClientConfig>, h2: &Arc<ClientConfig>) -> std::io::Result<()> {
        match self {
            Hold::Tcp => until_ended(connect(FLOOD, to).await?).await,
            Hold::HalfHandshake => {
                let mut stream = connect(FLOOD, to).await?;
                stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await?;
                until_ended(stream).await
            }
            Hold::Http2 | Hold::Http2Pings | Hold::Http2Streams => {
                self.hold_http2(connect_tls(FLOOD, to, h2).await?).await
            }
            _ => self.hold_http1(connect_tls(FLOOD, to, h1).await?).await,
        }
    }

    async fn hold_http1(self, stream: TlsStream<TcpStream>) -> std::io::Result<()> {
        let (mut read, mut write) = tokio::io::split(stream);
        let sent = match self {
            Hold::HalfHeaders => HEAD.as_bytes().to_vec(),
            Hold::OtherRequest | Hold::OtherRequests => b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            Hold::SlowBody => format!("{HEAD}Content-Length: 500000\r\n\r\n").into_bytes(),
            Hold::LargeBody => {
                [format!("{HEAD}Content-Length: 600000\r\n\r\n").into_bytes(), vec![b' '; 500_000]].concat()
            }
            Hold::Review | Hold::Reviews => request(&review()),
            Hold::LongReviews => request(&long_review()),
            _ => Vec::new(),
        };
        // What is sent again, and how often.
        let (again, every) = match self {
            Hold::OtherRequests | Hold::Reviews | Hold::LongReviews => (sent.clone(), Duration::from_millis(500)),
            Hold::SlowBody => (b" ".to_vec(), Duration::from_millis(100)),
            _ => (Vec::new(), Duration::MAX),
        };
        let sending = async {
            write.write_all(&sent).await?;
            write.flush().await?;
            if again.is_empty() {
                std::future::pending::<()>().await;
            }
            loop {
                sleep(every).await;
                write.write_all(&again).await?;
                write.flush().await?;
            }
        };
        tokio::select! {
            ended = until_ended(&mut read) => ended,
            ended = sending => ended,
        }
    }

    async fn hold_http2(self, mut stream: TlsStream<TcpStream>) -> std::io::Result<()> {
        if matches!(self, Hold::Http2Streams) {
            return self.hold_streams(stream).await;
        }
        // The preface, and settings without any.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        let (mut read, mut write) = tokio::io::split(stream);
        let pings = async {
            write.flush().await?;
            if matches!(self, Hold::Http2) {
                std::future::pending::<()>().await;
            }
            loop {
                write.write_all(b"\0\0\x08\x06\0\0\0\0\0pingping").await?;
                write.flush().await?;
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            ended = until_ended(&mut read) => ended,
            ended = pings => ended,
        }
    }

    async fn hold_streams(self, stream: TlsStream<TcpStream>) -> std::io::Result<()> {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(std::io::Error::other)?;
        let mut streams = Vec::new();
        for _ in 0..100 {
            let mut sender = sender.clone();
            // A body that never comes.
            let body = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed());
            let request = Request::post("https://127.0.0.1/validate").header("content-type", "application/json");
            streams.push(async move { sender.send_request(request.body(body).unwrap()).await });
        }
        tokio::select! {
            _ = connection => {}
            _ = futures::future::join_all(streams) => {}
        }
        Ok(())
    }
}

fn series(reason: &str) -> String {
    format!("sluicegate_webhook_ended_connections_total{{reason=\"{reason}\"}}")
}

impl Hold {
    /// Why such connections are ended: what a flood of them must be seen by.
    fn ended_by(self) -> &'static [&'static str] {
        match self {
            Hold::Tcp | Hold::HalfHandshake => &["newer_handshakes"],
            Hold::LargeBody => &["memory"],
            Hold::Http2Streams => &["memory", "newer_connections"],
            Hold::Review | Hold::Reviews => &["longest_idle"],
            Hold::LongReviews => &["longest_idle", "newer_connections"],
            _ => &["newer_connections"],
        }
    }
}

async fn until_ended(mut read: impl tokio::io::AsyncRead + Unpin) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while read.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// A flood, until it is dropped. It has a thread of its own, as it would have a machine of its own.
struct Flood {
    opened: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(webhook: &Webhook, hold: Hold, connections: usize, again: Duration) -> Self {
        let (address, opened) = (webhook.address, Arc::<AtomicUsize>::default());
        let config = |alpn| Arc::new(client(&webhook.material.bundle, &[alpn], rustls::ALL_VERSIONS));
        let (h1, h2) = (config("http/1.1"), config("h2"));
        let (end, ended) = oneshot::channel::<()>();
        let count = opened.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for _ in 0..connections {
                let (h1, h2, count) = (h1.clone(), h2.clone(), count.clone());
                runtime.spawn(async move {
                    loop {
                        count.fetch_add(1, Ordering::Relaxed);
                        let _ = hold.hold(address, &h1, &h2).await;
                        sleep(again).await;
                    }
                });
            }
            let _ = runtime.block_on(ended);
        });
        Flood { opened, end: Some(end), thread: Some(thread) }
    }

    fn end(mut self) {
        self.end.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A review on a connection of its own.
async fn ask_anew(webhook: &Webhook, config: &Arc<ClientConfig>, from: Ipv4Addr) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = connect_tls(from, webhook.address, config).await.map_err(|error| said(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
    let _driver = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(Webhook::request("/validate", review())).await.map_err(|error| said(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| said(&error))?.to_bytes();
    let answer = String::from_utf8_lossy(&body);
    if status == 200 && answer.contains("\"allowed\":true") { Ok(()) } else { Err(format!("{status} {answer}")) }
}

/// How long it takes until somebody new is answered. From the flood's own address it may take more than one attempt: who is
/// who cannot be told there.
async fn newcomer(webhook: &Webhook, from: Ipv4Addr) -> Duration {
    let config = Arc::new(client(&webhook.material.bundle, &["http/1.1"], rustls::ALL_VERSIONS));
    let began = Instant::now();
    loop {
        let left = ANSWERED_WITHIN.saturating_sub(began.elapsed());
        match timeout(left, ask_anew(webhook, &config, from)).await {
            Ok(Ok(())) => return began.elapsed(),
            Ok(Err(_)) if from == FLOOD => sleep(Duration::from_millis(10)).await,
            other => panic!("{from} is not answered after {:?}: {other:?}", began.elapsed()),
        }
    }
}

fn small() -> Limits {
    Limits {
        connections: 64,
        handshakes: 32,
        handshake: Duration::from_secs(5),
        first_review: Duration::from_secs(5),
        request: Duration::from_secs(8),
        body: 1024 * 1024,
        bodies: 4 * 1024 * 1024,
        waiting: 8,
        ..limits()
    }
}

fn open(webhook: &Webhook) -> usize {
    webhook.counted("sluicegate_webhook_connections").try_into().unwrap()
}

async fn until(what: &str, mut met: impl FnMut() -> bool) {
    let waited = async {
        while !met() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), waited).await.unwrap_or_else(|_| panic!("{what}"));
}

/// How many bytes of unfinished bodies may be held: the bound, what is held for a moment by connections that are ended, and
/// what no connection is refused.
fn most_bytes(limits: &Limits) -> usize {
    limits.bodies + limits.bodies / 4 + 2 * limits.connections * 64 * 1024
}

/// Floods a webhook, and says what newcomers of either address waited at most.
async fn floods(hold: Hold, bounds: Limits, connections: usize, again: Duration) -> (Duration, Duration) {
    let webhook = webhook(bounds.clone()).await;
    // An API server that has been there before.
    let config = Arc::new(client(&webhook.material.bundle, &["h2"], rustls::ALL_VERSIONS));
    let stream = connect_tls(OTHER, webhook.address, &config).await.unwrap();
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(driver);
    let mut still = async || {
        let answered = timeout(ANSWERED_WITHIN, sender.send_request(Webhook::request("/validate", review()))).await;
        let response =
            answered.expect("an old connection is not answered in time").expect("an old connection is ended");
        assert_eq!(response.status(), 200, "{hold:?}");
    };
    still().await;
    let flood = Flood::start(&webhook, hold, connections, again);
    let tls = !matches!(hold, Hold::Tcp | Hold::HalfHandshake);
    let full = if tls { bounds.connections / 2 } else { bounds.handshakes };
    until("the flood does not come", || flood.opened.load(Ordering::Relaxed) >= connections && open(&webhook) >= full)
        .await;
    let (mut other, mut same) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..10 {
        other = other.max(newcomer(&webhook, OTHER).await);
        same = same.max(newcomer(&webhook, FLOOD).await);
        still().await;
        assert!(open(&webhook) <= 2 * bounds.connections, "{hold:?}: {} connections", open(&webhook));
        let held: usize = webhook.counted("sluicegate_webhook_held_bytes").try_into().unwrap();
        assert!(held <= most_bytes(&bounds), "{hold:?}: {held} bytes");
        sleep(Duration::from_millis(100)).await;
    }
    let ended: u64 = hold.ended_by().iter().map(|reason| webhook.counted(&series(reason))).sum();
    assert!(ended > 0, "{hold:?}: no connection was ended for the reason that it should have been");
    println!(
        "{hold:?}, {connections} connections: a newcomer from elsewhere waits {other:?}, from the same address {same:?}"
    );
    flood.end();
    until("connections are left", || open(&webhook) <= 1).await;
    still().await;
    drop(sender);
    until("a connection is left", || open(&webhook) == 0).await;
    until("bytes are left", || webhook.counted("sluicegate_webhook_held_bytes") == 0).await;
    (other, same)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_holds_connections_keeps_no_newcomer_out() {
    for hold in ALL {
        let bounds = small();
        let connections = 3 * bounds.connections;
        floods(hold, bounds, connections, AGAIN).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fourteen_hundred_connections_that_come_again_at_once_keep_no_newcomer_out() {
    // Both ends of every connection are in this process.
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most).unwrap();
    for hold in [Hold::OtherRequest, Hold::Review] {
        let bounds = Limits { drain: Duration::from_secs(1), ..Limits::default() };
        floods(hold, bounds, 1_400, Duration::from_millis(50)).await;
    }
}
