//! The web server: Git repositories below [`GIT_HOST`](crate::network::GIT_HOST), everything else from a folder.

use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

use crate::accounts::Accounts;
use crate::error::{Context, Error, Result};
use crate::network::{EXAMPLE_GIT_HOST, GIT_HOST};

type Answer = Response<Full<Bytes>>;

pub(super) fn run(run: PathBuf, address: IpAddr) -> Result<()> {
    let run: Arc<Path> = run.into();
    super::runtime()?.block_on(async move {
        let plain = TcpListener::bind((address, 80)).await.doing("listening on", "port 80")?;
        let secure = TcpListener::bind((address, 443)).await.doing("listening on", "port 443")?;
        let acceptor = tls(&run)?;
        loop {
            tokio::select! {
                accepted = plain.accept() => if let Ok((socket, _)) = accepted {
                    tokio::spawn(serve(socket, Arc::clone(&run)));
                },
                accepted = secure.accept() => if let Ok((socket, _)) = accepted {
                    let (acceptor, run) = (acceptor.clone(), Arc::clone(&run));
                    tokio::spawn(async move {
                        if let Ok(socket) = acceptor.accept(socket).await {
                            serve(socket, run).await;
                        }
                    });
                },
            }
        }
    })
}

fn tls(run: &Path) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_file(run.join("pki/web.crt"));
    let key = PrivateKeyDer::from_pem_file(run.join("pki/web.key"));
    let failed = |why: String| Error::Service { what: "the web server's certificate".into(), why };
    let (certificate, key) =
        (certificate.map_err(|error| failed(error.to_string()))?, key.map_err(|error| failed(error.to_string()))?);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key));
    Ok(TlsAcceptor::from(Arc::new(config.map_err(|error| failed(error.to_string()))?)))
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + Send, run: Arc<Path>) {
    let service = service_fn(move |request| {
        let run = Arc::clone(&run);
        async move { Ok::<_, std::convert::Infallible>(answer(request, &run).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(request: Request<Incoming>, run: &Path) -> Answer {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // The host's relay for Git has a loopback address and a port; charts are always asked for by name.
    let is_git = host
        .split(':')
        .next()
        .is_some_and(|name| [GIT_HOST, EXAMPLE_GIT_HOST, "127.0.0.1", "localhost"].contains(&name));
    if is_git { git(request, run).await } else { file(request.uri().path(), &run.join("charts")).await }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer
}

async fn file(path: &str, folder: &Path) -> Answer {
    let relative = Path::new(path.trim_start_matches('/'));
    if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    }
    match tokio::fs::read(folder.join(relative)).await {
        Ok(content) => plain(StatusCode::OK, content),
        Err(_) => plain(StatusCode::NOT_FOUND, "not found\n"),
    }
}

/// The repository of `/team-a/shop.git/info/refs`, by the endpoints of Git's smart HTTP protocol.
fn repository(path: &str) -> Option<&str> {
    let path = path.trim_start_matches('/');
    let end = ["/info/refs", "/git-upload-pack", "/git-receive-pack", "/HEAD", "/objects/"]
        .iter()
        .filter_map(|endpoint| path.find(endpoint))
        .min()?;
    let repository = path.get(..end)?;
    let repository = repository.strip_suffix(".git").unwrap_or(repository);
    let clean = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    repository.split('/').all(clean).then_some(repository)
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, token) = decoded.split_once(':')?;
    Some((name.to_owned(), token.to_owned()))
}

async fn git(request: Request<Incoming>, run: &Path) -> Answer {
    let path = request.uri().path().to_owned();
    let Some(repository) = repository(&path).map(str::to_owned) else {
        return plain(StatusCode::NOT_FOUND, "not found\n");
    };
    let Ok(accounts) = Accounts::load(run) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "accounts cannot be read\n");
    };
    let user = match credentials(request.headers()) {
        Some((name, token)) if accounts.authenticate(&name, &token) => Some(name),
        Some(_) => return unauthorized(),
        None => None,
    };
    if !accounts.may_use(user.as_deref(), &repository) {
        // As forges do it: whoever has no account is asked for one, whoever has no right sees nothing.
        return if user.is_none() { unauthorized() } else { plain(StatusCode::NOT_FOUND, "repository not found\n") };
    }
    let writing = path.ends_with("/git-receive-pack")
        || request.uri().query().is_some_and(|query| query.contains("git-receive-pack"));
    if writing && user.is_none() {
        return unauthorized();
    }
    let rest = path
        .find("/info/refs")
        .or_else(|| path.rfind("/git-"))
        .or_else(|| path.find("/HEAD"))
        .or_else(|| path.find("/objects/"));
    let endpoint = rest.and_then(|at| path.get(at..)).unwrap_or_default();
    match backend(request, run, &format!("/{repository}.git{endpoint}"), user.as_deref()).await {
        Ok(answer) => answer,
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn unauthorized() -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "authentication required\n");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Basic realm=\"git\""));
    answer
}

/// `git http-backend` speaks CGI: the request in the environment and on standard input, headers and body back.
async fn backend(request: Request<Incoming>, run: &Path, path: &str, user: Option<&str>) -> Result<Answer> {
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    command.env("GIT_PROJECT_ROOT", run.join("git")).env("GIT_HTTP_EXPORT_ALL", "1").env("PATH_INFO", path);
    command
        .env("REQUEST_METHOD", request.method().as_str())
        .env("QUERY_STRING", request.uri().query().unwrap_or_default());
    command.env("REMOTE_USER", user.unwrap_or_default()).env("REMOTE_ADDR", "127.0.0.1");
    for (name, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "HTTP_GIT_PROTOCOL"),
    ] {
        if let Some(value) = request.headers().get(name).and_then(|value| value.to_str().ok()) {
            command.env(variable, value);
        }
    }
    let failed = |why: String| Error::Service { what: "git http-backend".into(), why };
    let body = request.into_body().collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
    command.env("CONTENT_LENGTH", body.len().to_string());
    let mut child = command.spawn().doing("starting", "git http-backend")?;
    let mut stdin = child.stdin.take().ok_or_else(|| failed("it has no standard input".into()))?;
    let feed = async move {
        // It may answer and end before it has read everything.
        let _ = stdin.write_all(&body).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.doing("reading from", "git http-backend")?.stdout;
    let end = output
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| failed("it sent no headers".into()))?;
    let (head, content) = output.split_at(end + 4);
    let mut answer = plain(StatusCode::OK, content.to_vec());
    for line in String::from_utf8_lossy(head).lines() {
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| StatusCode::from_bytes(code.as_bytes()).ok());
            *answer.status_mut() = code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        } else if let (Ok(name), Ok(value)) = (name.parse::<header::HeaderName>(), value.parse::<header::HeaderValue>())
        {
            answer.headers_mut().insert(name, value);
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_repository_in_the_protocol_s_paths() {
        assert_eq!(repository("/team-a/shop.git/info/refs"), Some("team-a/shop"));
        assert_eq!(repository("/team-a/shop/git-upload-pack"), Some("team-a/shop"));
        for path in ["/", "/team-a/shop.git", "/../x/info/refs", "/a//b/info/refs", "/.ssh/info/refs"] {
            assert_eq!(repository(path), None, "{path}");
        }
    }
}
