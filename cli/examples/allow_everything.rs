//! The least that a webhook can cost, for benches to compare with: TLS and HTTP by the libraries, protocols and allocator of
//! `sluicegate webhook`. It reads a request's body, finds the uid in it and allows whatever it is asked. It bounds nothing,
//! counts nothing and decides nothing.

use std::{convert::Infallible, error::Error, fs, net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use serde::Deserialize;
use sluicegate_webhook::certificates::Serving;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The one that `sluicegate` has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
    /// Its certificate, in PEM
    #[arg(long)]
    certificate_file: PathBuf,
    /// The key of that
    #[arg(long)]
    key_file: PathBuf,
}

#[derive(Deserialize)]
struct Review<'r> {
    #[serde(borrow)]
    request: Identified<'r>,
}

#[derive(Deserialize)]
struct Identified<'r> {
    uid: &'r str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let serving = Arc::new(Serving::default());
    serving.set(&fs::read_to_string(args.certificate_file)?, &fs::read_to_string(args.key_file)?)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(acceptor.clone(), stream));
    }
}

/// A connection, to its end. Whoever cannot speak is left alone.
async fn serve(acceptor: TlsAcceptor, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    let _ = if is_http2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
    } else {
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    };
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (status, text) = match serde_json::from_slice::<Review<'_>>(&body) {
        Ok(Review { request: Identified { uid } }) => {
            let kind = r#""apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview""#;
            (StatusCode::OK, format!(r#"{{{kind},"response":{{"uid":"{uid}","allowed":true}}}}"#))
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
