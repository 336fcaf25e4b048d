//! One connection: handshake, protocol, and its end when nothing comes of it.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, header};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, interval, timeout},
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{Server, exchange};

/// How often it is looked whether a connection is of use.
const LOOK: Duration = Duration::from_millis(500);
/// What a connection that was told to end may take for it.
const END: Duration = Duration::from_secs(10);
/// What somebody who has just connected may take for the first request when everything ends.
const FIRST: Duration = Duration::from_secs(3);

/// What goes on on a connection.
#[derive(Debug, Default)]
struct Activity {
    open: AtomicUsize,
    done: AtomicUsize,
}

/// A request that is being answered; it counts until it is dropped, however that ends.
struct Open(Arc<Activity>);

impl Open {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.open.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Activity {
    /// Whether no request has come yet.
    fn is_new(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && self.done.load(Ordering::Relaxed) == 0
    }
}

/// Why a connection ends.
enum End {
    /// By itself.
    Closed(hyper::Result<()>),
    /// Nothing comes of it.
    Useless,
    /// Everything ends.
    Ended,
}

/// Serves a connection to its end.
pub(super) async fn run(server: &Arc<Server>, acceptor: &TlsAcceptor, stream: TcpStream, ended: watch::Receiver<bool>) {
    // Answers are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(server.limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            server.metrics.refused_connection();
            debug!(error = &error as &dyn std::error::Error, "a TLS handshake broke");
            return;
        }
        Err(_) => {
            server.metrics.refused_connection();
            debug!("a TLS handshake took too long");
            return;
        }
    };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let activity = Arc::new(Activity::default());
    let service = {
        let (server, activity) = (server.clone(), activity.clone());
        service_fn(move |request| {
            let (server, open) = (server.clone(), Open::new(&activity));
            async move {
                let mut response = exchange::answer(&server, request).await;
                if !is_http2 && server.is_leaving() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                drop(open);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let limits = &server.limits;
    if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            // What a connection makes us hold is bounded by its windows, and not by streams times bodies.
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024)
            .max_send_buf_size(256 * 1024)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service);
        supervise(server, &activity, ended, connection, |connection| connection.graceful_shutdown()).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // It counts from the answer before, so it ends connections that are not used.
            .header_read_timeout(limits.idle)
            .max_headers(64)
            .max_buf_size(limits.header_bytes.max(8 * 1024))
            .serve_connection(TokioIo::new(stream), service);
        supervise(server, &activity, ended, connection, |connection| connection.graceful_shutdown()).await;
    }
}

/// Drives a connection, and tells it to end where it is of no use, or when everything ends.
async fn supervise<C>(
    server: &Server,
    activity: &Activity,
    mut ended: watch::Receiver<bool>,
    connection: C,
    tell: impl Fn(std::pin::Pin<&mut C>),
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut look = interval(LOOK);
    let (mut seen, mut since) = (0, Instant::now());
    let end = loop {
        tokio::select! {
            result = &mut connection => break End::Closed(result),
            _ = ended.wait_for(|ended| *ended) => break End::Ended,
            _ = look.tick() => {
                let (open, done) = (activity.open.load(Ordering::Relaxed), activity.done.load(Ordering::Relaxed));
                if open > 0 || done != seen {
                    (seen, since) = (done, Instant::now());
                }
                let patience = if done == 0 { server.limits.headers } else { server.limits.idle };
                if since.elapsed() >= patience {
                    break End::Useless;
                }
            }
        }
    };
    let end = match end {
        // Its first request is on its way; the answer ends it.
        End::Ended if activity.is_new() => timeout(FIRST, &mut connection).await.map_or(End::Ended, End::Closed),
        end => end,
    };
    let result = match end {
        End::Closed(result) => result,
        End::Useless | End::Ended => {
            tell(connection.as_mut());
            match timeout(END, connection).await {
                Ok(result) => result,
                Err(_) => {
                    debug!("a connection did not end by itself and is cut");
                    Ok(())
                }
            }
        }
    };
    if let Err(error) = result {
        debug!(error = &error as &dyn std::error::Error, "a connection broke");
    }
    if activity.done.load(Ordering::Relaxed) == 0 {
        server.metrics.refused_connection();
    }
}
