//! One connection: handshake, protocol, and its end when nothing comes of it.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, header};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::{
    Server,
    activity::{Activity, End},
    exchange,
};

/// What a connection that was told to end may take for it.
const END: Duration = Duration::from_secs(10);
/// What somebody who has just connected may take for the first request when everything ends.
const FIRST: Duration = Duration::from_secs(3);

/// Serves a connection to its end.
pub(super) async fn run(server: &Arc<Server>, acceptor: &TlsAcceptor, stream: TcpStream) {
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
    let activity = server.connections.add();
    let service = {
        let (server, activity) = (server.clone(), activity.clone());
        service_fn(move |request| {
            let (server, open) = (server.clone(), activity.request());
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
        drive(server, &activity, connection, |connection| connection.graceful_shutdown()).await;
    } else {
        let connection = http1::Builder::new()
            // Who looks after connections sees to headers that do not come.
            .header_read_timeout(None)
            .max_headers(64)
            .max_buf_size(limits.header_bytes.max(8 * 1024))
            .serve_connection(TokioIo::new(stream), service);
        drive(server, &activity, connection, |connection| connection.graceful_shutdown()).await;
    }
}

/// Drives a connection to its end, which it is told of where it is of no use, or when everything ends.
async fn drive<C>(server: &Server, activity: &Activity, connection: C, tell: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let driven = match activity.drive(connection.as_mut()).await {
        // Its first request is on its way; the answer ends it.
        Err(End::Ended) if activity.is_new() => timeout(FIRST, &mut connection).await.map_err(|_| End::Ended),
        driven => driven,
    };
    let result = match driven {
        Ok(result) => result,
        Err(End::Useless | End::Ended) => {
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
    if activity.done() == 0 {
        server.metrics.refused_connection();
    }
}
