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
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::debug;

use super::{Server, activity::End, connections::Seat, exchange};

/// What a connection may take to end when everything ends.
const END: Duration = Duration::from_secs(10);
/// What a connection may take to end that is of no use, or whose place is needed.
const LEAVE: Duration = Duration::from_secs(2);
/// What somebody who has just connected may take for the first request when everything ends.
const FIRST: Duration = Duration::from_secs(3);

/// Serves a connection to its end.
pub(super) async fn run(server: &Arc<Server>, acceptor: &TlsAcceptor, stream: TcpStream, seat: &Arc<Seat>) {
    // Answers are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let Some(stream) = handshake(server, acceptor, stream, seat).await else {
        server.metrics.refused_connection();
        return;
    };
    let session = stream.get_ref().1;
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    seat.is_established(session.peer_certificates());
    let service = {
        let (server, seat) = (server.clone(), seat.clone());
        service_fn(move |request| {
            let (server, seat) = (server.clone(), seat.clone());
            seat.activity().begins();
            async move {
                let mut response = exchange::answer(&server, &seat, request).await;
                if !is_http2 && server.is_leaving() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
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
        drive(server, seat, connection, |connection| connection.graceful_shutdown()).await;
    } else {
        let connection = http1::Builder::new()
            // Those who look after connections see to headers that do not come.
            .header_read_timeout(None)
            .max_headers(64)
            .max_buf_size(limits.header_bytes.max(8 * 1024))
            .serve_connection(TokioIo::new(stream), service);
        drive(server, seat, connection, |connection| connection.graceful_shutdown()).await;
    }
}

/// A handshake, unless it breaks, takes too long, or its place is needed.
async fn handshake(
    server: &Server,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    seat: &Seat,
) -> Option<TlsStream<TcpStream>> {
    let mut accepted = pin!(timeout(server.limits.handshake, acceptor.accept(stream)));
    // A connection that is let in while everything ends is still answered.
    match seat.activity().drive(accepted.as_mut(), Some(End::Ended)).await {
        Ok(Ok(Ok(stream))) => return Some(stream),
        Ok(Ok(Err(error))) => debug!(error = &error as &dyn std::error::Error, "a TLS handshake broke"),
        Ok(Err(_)) => debug!("a TLS handshake took too long"),
        Err(_) => debug!("a TLS handshake was cut off to let another connection in"),
    }
    None
}

/// Drives a connection to its end, which it is told of where it is of no use, where its place is needed, or when everything
/// ends.
async fn drive<C>(server: &Server, seat: &Seat, connection: C, tell: impl Fn(Pin<&mut C>))
where
    C: Future<Output = hyper::Result<()>>,
{
    let activity = seat.activity();
    let mut connection = pin!(connection);
    let driven = match activity.drive(connection.as_mut(), None).await {
        // Its first request is on its way; the answer ends it.
        Err(End::Ended) if activity.is_new() => {
            let first = timeout(FIRST, activity.drive(connection.as_mut(), Some(End::Ended)));
            first.await.unwrap_or(Err(End::Ended))
        }
        driven => driven,
    };
    let driven = match driven {
        Err(end @ (End::Useless | End::Ended)) => {
            tell(connection.as_mut());
            let within = if end == End::Useless { LEAVE } else { END };
            timeout(within, activity.drive(connection.as_mut(), Some(End::Ended))).await.unwrap_or(Err(End::Cut))
        }
        driven => driven,
    };
    match driven {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "a connection broke"),
        Err(_) => debug!("a connection is cut"),
    }
    if activity.is_new() {
        server.metrics.refused_connection();
    }
}
