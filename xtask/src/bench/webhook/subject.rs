//! The webhooks that are measured: the program as it runs in a cluster, on a platform of its own, the bare one, and those of
//! others.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use sluicegate_e2e::suite::operator::spawn;
use sluicegate_webhook::certificates::authority::{Ages, Material, next};

use super::load::Server;
use super::platform;
use super::stand_in::StandIn;

/// What a webhook may take until it is ready.
const READY: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

/// Names of a certificate's files.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// A certificate and its key, in a folder.
pub(super) struct Certificate {
    material: Material,
    folder: PathBuf,
}

impl Certificate {
    /// A new one for the loopback.
    pub(super) fn new(folder: &Path) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs().try_into()?;
        let material = next(None, &[Ipv4Addr::LOCALHOST.to_string()], now, &Ages::default())?;
        let material = material.context("a certificate")?;
        fs::write(folder.join(CHAIN), &material.chain)?;
        fs::write(folder.join(KEY), &material.key)?;
        Ok(Self { material, folder: folder.to_owned() })
    }

    /// The folder that has it as `tls.crt` and `tls.key`.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The authorities that vouch for it, in PEM.
    pub(super) fn bundle(&self) -> &str {
        &self.material.bundle
    }

    fn arguments(&self, command: &mut Command) {
        command.arg("--certificate-file").arg(self.folder.join(CHAIN)).arg("--key-file").arg(self.folder.join(KEY));
    }
}

/// A webhook that runs; it ends with this.
pub(super) struct Subject {
    child: Child,
    pub(super) server: Server,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on now.
pub(super) fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?.local_addr()?)
}

impl Subject {
    /// Starts `sluicegate webhook` on a platform of so many tenants, and waits until it is ready.
    pub(super) fn ours(
        program: &Path,
        certificate: &Certificate,
        tenants: usize,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let platform = StandIn::start(platform::collections(tenants))?;
        let kubeconfig = folder.join(format!("kubeconfig-{tenants}"));
        fs::write(&kubeconfig, platform.kubeconfig().to_string())?;
        let (listen, probes) = (free()?, free()?);
        let mut command = ending(program);
        command.arg("webhook").arg("--kubeconfig").arg(&kubeconfig);
        command.args(["--probes", &probes.to_string(), "--log-level", "warn"]);
        let subject = Self::serving(command, certificate, listen)?;
        subject.wait("sluicegate webhook", || is_ready(probes))
    }

    /// Starts the bare webhook.
    pub(super) fn bare(program: &Path, certificate: &Certificate) -> anyhow::Result<Self> {
        let listen = free()?;
        let subject = Self::serving(ending(program), certificate, listen)?;
        subject.wait("the bare webhook", || TcpStream::connect(listen).is_ok())
    }

    fn serving(mut command: Command, certificate: &Certificate, listen: SocketAddr) -> anyhow::Result<Self> {
        command.args(["--listen", &listen.to_string()]);
        certificate.arguments(&mut command);
        command.stdout(Stdio::null());
        Self::start(command, listen, certificate.bundle())
    }

    /// Starts a program that serves at this address, with a certificate of these authorities.
    pub(super) fn start(mut command: Command, listen: SocketAddr, trusted: &str) -> anyhow::Result<Self> {
        // All get the same, and nothing of the caller's.
        command.env_remove("KUBECONFIG").env_remove("RUST_LOG").stdin(Stdio::null());
        let child = spawn(command)?;
        let server = Server {
            address: listen,
            server_name: Ipv4Addr::LOCALHOST.to_string(),
            trusted: trusted.to_owned(),
            identity: None,
            process: child.id(),
        };
        Ok(Self { child, server })
    }

    /// Waits until it is ready.
    pub(super) fn wait(mut self, what: &str, is_ready: impl Fn() -> bool) -> anyhow::Result<Self> {
        let began = Instant::now();
        while !is_ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{what} ended with {status}");
            }
            if began.elapsed() > READY {
                bail!("{what} is not ready after {} s", READY.as_secs());
            }
            sleep(POLL);
        }
        Ok(self)
    }
}

/// A program that ends with this one.
pub(super) fn ending(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

fn is_ready(probes: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(probes)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}
