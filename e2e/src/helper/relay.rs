//! A TCP relay whose line can be made slow, silent or broken while it is in use.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::error::{Context, Result};

/// The state of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// Everything passes.
    #[default]
    Open,
    /// Everything passes, this many milliseconds later, in each direction.
    Slow(u64),
    /// Nothing passes and nothing is refused, as if packets were lost; what was sent arrives when the line opens.
    Silent,
    /// Connections are closed, new ones too.
    Broken,
}

const CONTROL_POLL: Duration = Duration::from_millis(20);
const CHUNK: usize = 64 << 10;

pub(super) fn run(listen: Option<SocketAddr>, to: SocketAddr, control: PathBuf) -> Result<()> {
    super::runtime()?.block_on(async move {
        let listener = match listen {
            Some(address) => TcpListener::bind(address).await.doing("listening on", address.to_string())?,
            None => {
                let socket =
                    std::io::stdin().as_fd().try_clone_to_owned().doing("taking", "the socket on standard input")?;
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true).doing("setting up", "the socket on standard input")?;
                TcpListener::from_std(socket).doing("listening on", "standard input")?
            }
        };
        let (publish, line) = watch::channel(read(&control).await);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CONTROL_POLL).await;
                let now = read(&control).await;
                publish.send_if_modified(|line| std::mem::replace(line, now) != now);
            }
        });
        loop {
            let (inbound, _) = listener.accept().await.doing("accepting on", to.to_string())?;
            tokio::spawn(connect(inbound, to, line.clone()));
        }
    })
}

/// A control file that is missing or being replaced leaves the line open.
async fn read(control: &PathBuf) -> Line {
    let content = tokio::fs::read(control).await.unwrap_or_default();
    serde_json::from_slice(&content).unwrap_or_default()
}

async fn connect(inbound: TcpStream, to: SocketAddr, mut line: watch::Receiver<Line>) {
    // A silent line lets no connection through either: the caller hangs, as it would when its SYN is lost.
    if line.wait_for(|line| *line != Line::Silent).await.is_err() || *line.borrow() == Line::Broken {
        return;
    }
    let Ok(outbound) = TcpStream::connect(to).await else {
        return;
    };
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let (from_caller, to_caller) = inbound.into_split();
    let (from_server, to_server) = outbound.into_split();
    let mut broken = line.clone();
    tokio::select! {
        _ = async { tokio::join!(pass(from_caller, to_server, line.clone()), pass(from_server, to_caller, line.clone())) } => {}
        _ = broken.wait_for(|line| *line == Line::Broken) => {}
    }
}

/// One direction: reading goes on while what was read waits for its time, so a slow line keeps its throughput.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) {
    let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let reading = line.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let delay = match *reading.borrow() {
                Line::Slow(milliseconds) => Duration::from_millis(milliseconds),
                _ => Duration::ZERO,
            };
            let Some(chunk) = buffer.get(..count) else {
                break;
            };
            if queue.send((Instant::now() + delay, chunk.to_vec())).await.is_err() {
                break;
            }
        }
    };
    let write = async move {
        while let Some((time, chunk)) = due.recv().await {
            tokio::time::sleep_until(time).await;
            if line.wait_for(|line| *line != Line::Silent).await.is_err() || to.write_all(&chunk).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo_behind(line: watch::Receiver<Line>) -> SocketAddr {
        let server = TcpListener::bind("127.0.0.1:0").await.expect("server");
        let to = server.local_addr().expect("address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = socket.into_split();
                    tokio::io::copy(&mut read, &mut write).await
                });
            }
        });
        let relay = TcpListener::bind("127.0.0.1:0").await.expect("relay");
        let address = relay.local_addr().expect("address");
        tokio::spawn(async move {
            while let Ok((socket, _)) = relay.accept().await {
                tokio::spawn(connect(socket, to, line.clone()));
            }
        });
        address
    }

    async fn round_trip(socket: &mut TcpStream) -> std::io::Result<()> {
        socket.write_all(b"ping").await?;
        socket.read_exact(&mut [0; 4]).await.map(|_| ())
    }

    #[tokio::test]
    async fn a_silent_line_holds_bytes_back_and_delivers_them_when_it_opens() {
        let (set, line) = watch::channel(Line::Open);
        let mut socket = TcpStream::connect(echo_behind(line).await).await.expect("connected");
        round_trip(&mut socket).await.expect("an open line passes");
        set.send(Line::Silent).expect("set");
        socket.write_all(b"ping").await.expect("the caller notices nothing");
        let mut answer = [0; 4];
        let waited = tokio::time::timeout(Duration::from_millis(200), socket.read_exact(&mut answer)).await;
        assert!(waited.is_err(), "nothing arrives on a silent line");
        set.send(Line::Open).expect("set");
        tokio::time::timeout(Duration::from_secs(5), socket.read_exact(&mut answer))
            .await
            .expect("in time")
            .expect("delivered");
        assert_eq!(&answer, b"ping");
    }

    #[tokio::test]
    async fn a_slow_line_delays_both_directions() {
        let (_set, line) = watch::channel(Line::Slow(100));
        let mut socket = TcpStream::connect(echo_behind(line).await).await.expect("connected");
        let started = Instant::now();
        round_trip(&mut socket).await.expect("it passes");
        assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_broken_line_closes_open_connections_and_refuses_new_ones() {
        let (set, line) = watch::channel(Line::Open);
        let address = echo_behind(line).await;
        let mut socket = TcpStream::connect(address).await.expect("connected");
        round_trip(&mut socket).await.expect("an open line passes");
        set.send(Line::Broken).expect("set");
        assert!(matches!(socket.read(&mut [0; 4]).await, Ok(0) | Err(_)), "closed");
        let mut second = TcpStream::connect(address).await.expect("the relay itself still listens");
        assert!(round_trip(&mut second).await.is_err(), "and closes at once");
    }
}
