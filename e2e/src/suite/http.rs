//! Plain HTTP to the harness's servers on the host's loopback, and an HTTPS server for webhooks.

use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::service_error;
use crate::error::{Context, Result};
use crate::pki::Credential;

/// One request on a connection of its own.
///
/// # Errors
/// Where nobody answers. Every status is an answer.
pub async fn send(port: u16, request: Request<Vec<u8>>) -> Result<Response<Bytes>> {
    let what = format!("{} {}", request.method(), request.uri());
    let failed = |error: hyper::Error| service_error(what.clone(), error);
    let socket =
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.doing("connecting to port", port.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    let running = tokio::spawn(connection);
    let (mut head, body) = request.into_parts();
    head.headers.entry(http::header::HOST).or_insert(http::HeaderValue::from_static("127.0.0.1"));
    let answer = sender.send_request(Request::from_parts(head, Full::new(Bytes::from(body)))).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(failed)?.to_bytes();
    running.abort();
    Ok(Response::from_parts(head, body))
}

/// Serves HTTPS on a socket (see [`crate::cluster::Cluster::listen`]) until the runtime ends: every request's body goes
/// to `answer`, and what it returns is the JSON of the response.
///
/// # Errors
/// Where the certificate cannot be used.
pub fn serve(
    socket: TcpListener,
    credential: &Credential,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
) -> Result<()> {
    serve_requests(socket, credential, move |request| {
        let mut response = Response::new(Bytes::from(answer(request.body())));
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        std::future::ready(response)
    })
}

/// Serves HTTPS on a socket until the runtime ends.
///
/// # Errors
/// Where the certificate cannot be used.
pub fn serve_requests<F>(
    socket: TcpListener,
    credential: &Credential,
    answer: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
) -> Result<()>
where
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let certificate = CertificateDer::from_pem_slice(credential.certificate.as_bytes())
        .map_err(|error| service_error("a certificate", error))?;
    let key =
        PrivateKeyDer::from_pem_slice(credential.key.as_bytes()).map_err(|error| service_error("a key", error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(|error| service_error("a server's certificate", error))?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    socket.set_nonblocking(true).doing("setting up", "a socket")?;
    let listener = tokio::net::TcpListener::from_std(socket).doing("setting up", "a socket")?;
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                let Ok(socket) = acceptor.accept(socket).await else {
                    return;
                };
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = Arc::clone(&answer);
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let response = answer(Request::from_parts(head, body)).await;
                        Ok::<_, hyper::Error>(response.map(Full::new))
                    }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    Ok(())
}
