//! Requests over TLS, as many as are answered, for benches: so many connections, on each the next request when the one before
//! is answered, or several at the same time over HTTP/2. It reads a [`Job`] from standard input and prints an [`Outcome`],
//! both JSON. An answer that is not the expected one ends it.

use std::{
    error::Error,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::Barrier, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The one that `sluicegate` has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The kernel counts the time of processes in hundredths of a second.
const TICKS: f64 = 100.0;

#[derive(Deserialize)]
struct Job {
    address: SocketAddr,
    /// Name in the server's certificate.
    server_name: String,
    /// Authorities that are trusted, in PEM.
    trusted: String,
    /// The client's own certificate and key, in PEM.
    identity: Option<(String, String)>,
    connections: usize,
    /// Requests of a connection at the same time; more than one are sent over HTTP/2, one over HTTP/1.1.
    streams: usize,
    /// Before anything counts.
    warm_up_seconds: f64,
    seconds: f64,
    /// The process whose time and memory are told.
    process: u32,
    /// Sent in turn.
    requests: Vec<Ask>,
}

#[derive(Deserialize)]
struct Ask {
    /// Times are told by group, which are counted from 0.
    group: usize,
    path: String,
    body: String,
    status: u16,
    /// A text that is in the answer.
    expects: String,
}

#[derive(Serialize)]
struct Outcome {
    seconds: f64,
    /// Time of processors that the process used meanwhile.
    cpu_seconds: f64,
    /// Resident memory of the process at the end, in bytes, with all connections open.
    resident: u64,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    answers: usize,
    median_micros: f64,
    p99_micros: f64,
}

/// What a connection sends on.
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// A request that is sent again and again.
struct Prepared {
    group: usize,
    uri: String,
    host: String,
    body: Bytes,
    status: u16,
    expects: String,
}

const WARM_UP: u8 = 0;
const COUNT: u8 = 1;
const END: u8 = 2;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let job: Job = serde_json::from_reader(std::io::stdin().lock())?;
    let groups = job.requests.iter().map(|request| request.group + 1).max().ok_or("there are no requests")?;
    let connector = TlsConnector::from(Arc::new(tls(&job)?));
    let requests = Arc::new(prepare(&job));
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let ready = Arc::new(Barrier::new(job.connections * job.streams + 1));
    let mut workers = JoinSet::new();
    for connection in 0..job.connections {
        let stream = connect(&job, &connector).await?;
        for (stream, sender) in senders(stream, job.streams).await?.into_iter().enumerate() {
            // Not everybody begins with the same request.
            let first = (connection * job.streams + stream) * 7;
            workers.spawn(work(sender, requests.clone(), first, groups, phase.clone(), ready.clone()));
        }
    }
    ready.wait().await;
    tokio::time::sleep(Duration::from_secs_f64(job.warm_up_seconds)).await;
    let (before, began) = (cpu_seconds(job.process)?, Instant::now());
    phase.store(COUNT, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(job.seconds)).await;
    phase.store(END, Ordering::Relaxed);
    let (seconds, after, resident) = (began.elapsed().as_secs_f64(), cpu_seconds(job.process)?, resident(job.process)?);
    let mut times: Vec<Vec<u32>> = vec![Vec::new(); groups];
    while let Some(worker) = workers.join_next().await {
        for (all, some) in times.iter_mut().zip(worker??) {
            all.extend(some);
        }
    }
    let groups = times.into_iter().map(summarise).collect();
    let outcome = Outcome { seconds, cpu_seconds: after - before, resident, groups };
    serde_json::to_writer(std::io::stdout().lock(), &outcome)?;
    Ok(())
}

fn tls(job: &Job) -> Result<ClientConfig, Failure> {
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(job.trusted.as_bytes()) {
        trusted.add(certificate?)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted);
    let mut config = match &job.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?
        }
    };
    config.alpn_protocols = vec![if job.streams > 1 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

fn prepare(job: &Job) -> Vec<Prepared> {
    let prepared = |request: &Ask| Prepared {
        group: request.group,
        // HTTP/1.1 sends the path, HTTP/2 the authority too.
        uri: match job.streams {
            1 => request.path.clone(),
            _ => format!("https://{}{}", job.address, request.path),
        },
        host: job.address.to_string(),
        body: Bytes::from(request.body.clone()),
        status: request.status,
        expects: request.expects.clone(),
    };
    job.requests.iter().map(prepared).collect()
}

async fn connect(job: &Job, connector: &TlsConnector) -> Result<TlsStream<TcpStream>, Failure> {
    let stream = TcpStream::connect(job.address).await?;
    stream.set_nodelay(true)?;
    Ok(connector.connect(ServerName::try_from(job.server_name.clone())?, stream).await?)
}

async fn senders(stream: TlsStream<TcpStream>, streams: usize) -> Result<Vec<Sender>, Failure> {
    if streams == 1 {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        return Ok(vec![Sender::Http1(sender)]);
    }
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok((0..streams).map(|_| Sender::Http2(sender.clone())).collect())
}

/// Sends requests until the end. Nanoseconds of each that was answered while it counted, by group.
async fn work(
    mut sender: Sender,
    requests: Arc<Vec<Prepared>>,
    first: usize,
    groups: usize,
    phase: Arc<AtomicU8>,
    ready: Arc<Barrier>,
) -> Result<Vec<Vec<u32>>, Failure> {
    let mut times = vec![Vec::new(); groups];
    ready.wait().await;
    let mut next = first;
    loop {
        let prepared = &requests[next % requests.len()];
        next += 1;
        let request = Request::post(&prepared.uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::HOST, &prepared.host)
            .body(Full::new(prepared.body.clone()))?;
        let began = Instant::now();
        let response = sender.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let took = began.elapsed();
        if status != prepared.status || !contains(&body, prepared.expects.as_bytes()) {
            return Err(format!("{}: {status} {}", prepared.uri, String::from_utf8_lossy(&body)).into());
        }
        match phase.load(Ordering::Relaxed) {
            WARM_UP => {}
            COUNT => times[prepared.group].push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX)),
            _ => return Ok(times),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn summarise(mut times: Vec<u32>) -> Group {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(0.0, |nanos| f64::from(*nanos) / 1000.0)
    };
    Group { answers: times.len(), median_micros: at(0.5), p99_micros: at(0.99) }
}

fn cpu_seconds(process: u32) -> Result<f64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold spaces; it ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc is not as it should be")?;
    // utime stime
    Ok(fields.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum::<f64>() / TICKS)
}

fn resident(process: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
    Ok(field.ok_or("/proc is not as it should be")?.trim().parse::<u64>()? * 1024)
}
