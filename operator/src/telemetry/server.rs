//! The HTTP server for metrics and probes: `/metrics`, `/healthz` (the loops turn), `/readyz` (the caches are filled; a
//! stand-by is ready too). Connections, headers and times are bounded; a connection serves one request.
//!
//! Anybody who reaches the port can hold connections, and a probe that is not answered within a second ends the process. So a
//! newcomer never waits for a place: where there are too many connections, one of those that are there is cut.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{
    health::Health,
    metrics::{CONTENT_TYPE, Exposition},
    peers::{Candidate, Peer, first_to_go},
};

/// Most connections at the same time.
const CONNECTIONS: usize = 128;
/// How long a client may take to send its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last, the slowest reader included.
const CONNECTION_WITHIN: Duration = Duration::from_secs(15);
/// Most headers of a request.
const HEADERS: usize = 64;
/// Most bytes of a request that are buffered.
const BUFFER: usize = 16 * 1024;

/// Serves until `stop` is ready; connections that are open then are cut.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<dyn Exposition>,
    health: Health,
    stop: impl Future<Output = ()> + Send,
) {
    let places = Places::default();
    let serve = |stream, address: SocketAddr| {
        let (metrics, health, place) = (Arc::clone(&metrics), health.clone(), places.take(address.ip()));
        Some(async move {
            tokio::select! {
                () = place.is_lost() => debug!("a connection for metrics or probes was cut to let another in"),
                () = connection(stream, &*metrics, &health) => {}
            }
        })
    };
    accept(&listener, stop, serve).await;
}

/// Accepts every connection at once until `stop` is ready, and gives those that are open then. `serve` bounds them: it ends
/// others, or gives `None` for a connection that it does not serve.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    stop: impl Future<Output = ()> + Send,
    serve: impl Fn(TcpStream, SocketAddr) -> Option<F> + Send + Sync,
) -> JoinSet<()> {
    let mut stop = std::pin::pin!(stop);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return connections,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, address)) => {
                if let Some(connection) = serve(stream, address) {
                    connections.spawn(connection);
                }
            }
            Err(error) => {
                // Out of file descriptors, for example: that passes.
                warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The connections that are open, at most [`CONNECTIONS`].
#[derive(Clone, Default)]
struct Places(Arc<Mutex<Vec<Taken>>>);

struct Taken {
    lost: Arc<Notify>,
    peer: Peer,
    since: Instant,
}

/// A connection's place, until it is dropped.
struct Place {
    places: Places,
    lost: Arc<Notify>,
}

impl Places {
    /// A place for one more: where all are taken, another connection loses its own.
    fn take(&self, address: IpAddr) -> Place {
        let mut taken = self.taken();
        if taken.len() >= CONNECTIONS {
            let candidates = taken.iter().enumerate();
            let candidates =
                candidates.map(|(key, one)| Candidate { key, peer: one.peer, weight: 1, since: one.since });
            if let Some(Candidate { key, .. }) = first_to_go(candidates) {
                taken.swap_remove(key).lost.notify_one();
            }
        }
        let lost = Arc::new(Notify::new());
        taken.push(Taken { lost: Arc::clone(&lost), peer: address.into(), since: Instant::now() });
        Place { places: self.clone(), lost }
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<Taken>> {
        // Every change is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Ready when somebody else has it.
    async fn is_lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().retain(|one| !Arc::ptr_eq(&one.lost, &self.lost));
    }
}

async fn connection(stream: TcpStream, metrics: &dyn Exposition, health: &Health) {
    let service = service_fn(async |request: Request<Incoming>| {
        Ok::<_, Infallible>(answer(request.method(), request.uri().path(), metrics, health))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_WITHIN, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "a connection for metrics or probes broke"),
        Err(_) => debug!("a connection for metrics or probes took too long"),
    }
}

fn answer(method: &Method, path: &str, metrics: &dyn Exposition, health: &Health) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
    }
    match path {
        "/metrics" => match metrics.text() {
            Ok(metrics) => {
                let mut response = text(StatusCode::OK, metrics);
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
                response
            }
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n".to_owned()),
        },
        "/healthz" => probe(&health.late()),
        "/readyz" => probe(&health.missing()),
        _ => text(StatusCode::NOT_FOUND, "here are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

/// Well, unless there are problems.
fn probe(problems: &[String]) -> Response<Full<Bytes>> {
    if problems.is_empty() {
        text(StatusCode::OK, "ok\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problems.join("\n")))
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::oneshot,
        time::timeout,
    };

    use super::{CONNECTIONS, serve};
    use crate::telemetry::{health::Health, metrics::Metrics};

    struct Server {
        address: SocketAddr,
        health: Health,
        _stop: oneshot::Sender<()>,
    }

    async fn server() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::default();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(listener, Arc::new(Metrics::new()), health.clone(), async {
            let _ = stopped.await;
        }));
        Server { address, health, _stop: stop }
    }

    impl Server {
        async fn send(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // A server that refuses before it has read all may reset the connection after its answer.
            let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.unwrap();
            String::from_utf8(answer).unwrap()
        }

        async fn get(&self, path: &str) -> (u16, String) {
            let answer = self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), body.to_owned())
        }
    }

    #[tokio::test]
    async fn shows_the_metrics() {
        let (status, body) = server().await.get("/metrics").await;
        assert_eq!(status, 200);
        assert!(body.contains("sluicegate_operator_leader 0"));
        assert!(body.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn is_unhealthy_while_a_loop_hangs_and_ready_all_the_same() {
        let server = server().await;
        let beat = server.health.task("planner", Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (status, body) = server.get("/healthz").await;
        assert_eq!((status, body.starts_with("planner has not turned")), (503, true), "{body}");
        assert_eq!(server.get("/readyz").await.0, 200);
        beat.finish();
        assert_eq!(server.get("/healthz").await, (200, "ok\n".to_owned()));
    }

    #[tokio::test]
    async fn is_not_ready_before_its_caches_are_filled() {
        let server = server().await;
        let gate = server.health.gate("the cache of FluxConfigs");
        assert_eq!(server.get("/readyz").await, (503, "the cache of FluxConfigs is not there yet\n".to_owned()));
        assert_eq!(server.get("/healthz").await.0, 200);
        gate.open();
        assert_eq!(server.get("/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn refuses_other_paths_and_methods() {
        let server = server().await;
        assert_eq!(server.get("/").await.0, 404);
        assert_eq!(server.get("/metrics/").await.0, 404);
        let answer = server.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    }

    #[tokio::test]
    async fn refuses_too_many_or_too_long_headers() {
        let server = server().await;
        let many: String = (0..100).map(|number| format!("X-{number}: y\r\n")).collect();
        let answer = server.send(&format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        let long = "y".repeat(32 * 1024);
        let answer = server.send(&format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn whatever_clients_hold_a_probe_is_answered_at_once() {
        const HELD: [(&str, &str); 4] = [
            ("nothing", ""),
            ("half a request", "GET /healthz HTTP/1.1\r\nHost:"),
            ("a request that is answered and never read", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("a body that does not come", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"),
        ];
        for (what, sent) in HELD {
            let server = server().await;
            let mut held = Vec::new();
            for _ in 0..3 * CONNECTIONS {
                let mut stream = TcpStream::connect(server.address).await.unwrap();
                let _ = stream.write_all(sent.as_bytes()).await;
                held.push(stream);
            }
            // Kubelets wait for one second. Silent clients are only ended after five.
            let answer = timeout(Duration::from_secs(4), server.get("/healthz")).await;
            assert_eq!(answer.unwrap_or_else(|_| panic!("{what}: not answered")).0, 200, "{what}");
            drop(held);
        }
    }

    #[tokio::test]
    async fn connections_have_a_bound_and_those_that_are_gone_leave_no_trace() {
        let places = super::Places::default();
        let address = std::net::IpAddr::from([127, 0, 0, 1]);
        let held: Vec<_> = (0..3 * CONNECTIONS).map(|_| places.take(address)).collect();
        assert_eq!(places.taken().len(), CONNECTIONS);
        for (number, place) in held.iter().enumerate() {
            let lost = timeout(Duration::ZERO, place.is_lost()).await.is_ok();
            assert_eq!(lost, number < 2 * CONNECTIONS, "the oldest go first: {number}");
        }
        drop(held);
        assert!(places.taken().is_empty());
    }

    #[tokio::test]
    async fn serves_one_request_a_connection() {
        let server = server().await;
        let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(server.send(twice).await.matches("HTTP/1.1 200").count(), 1);
    }
}
