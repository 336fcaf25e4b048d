//! `sluicegate webhook`: admission, in the management cluster.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use sluicegate_operator::telemetry::log::{self, Format};
use sluicegate_webhook::{
    Certificate, ClientCertificates, Options,
    certificates::{authority::Ages, clients::AuthorityFile, files::Files},
    install,
};

use super::{CommandError, Exit, serve, usage};

/// Arguments of `webhook`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kubeconfig of the management cluster; absent: the account of the pod
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the webhook: its Service, and the Secret with its certificate
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "sluicegate-system")]
    namespace: String,
    /// Address for the API server
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9443")]
    listen: SocketAddr,
    /// Address for /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    probes: SocketAddr,
    /// Serve this certificate, of cert-manager or your own, and leave the API server's trust in it to others; absent: an
    /// authority of the webhook's own, in a Secret
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
    /// Name or address in the webhook's own certificate; may be repeated; absent: the name of its Service
    #[arg(long = "name", value_name = "NAME", conflicts_with = "certificate_file")]
    names: Vec<String>,
    /// Serve only clients with a certificate of this authority (PEM): the API servers, which must be told to present theirs.
    /// The file is read again when it changes; absent: everybody who can connect is answered
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Name that a client's certificate must have, as its common name or as a DNS name; may be repeated, one is enough; absent:
    /// any name
    #[arg(long = "client-name", value_name = "NAME", requires = "client_ca")]
    client_names: Vec<String>,
    /// Seconds that a certificate of the webhook's own lives
    #[arg(long, value_name = "SECONDS", default_value_t = 90 * 24 * 60 * 60, hide = true)]
    certificate_age: u64,
    /// Seconds that an authority of the webhook's own lives
    #[arg(long, value_name = "SECONDS", default_value_t = 3 * 365 * 24 * 60 * 60, hide = true)]
    authority_age: u64,
    /// Seconds that a new authority is trusted before it signs
    #[arg(long, value_name = "SECONDS", default_value_t = 600, hide = true)]
    authority_settles: u64,
    /// Seconds to go on serving after the signal to end, until the API server sends nothing here any more
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    linger: u64,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,kube=debug
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG")]
    log_level: Option<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, CommandError> {
        log::init(self.log_level.as_deref(), Format::of_stderr()).map_err(usage)?;
        let certificate = match (self.certificate_file, self.key_file) {
            (Some(chain), Some(key)) => Certificate::Files(Files { chain, key }),
            _ if self.names.is_empty() => Certificate::Managed(vec![install::service_name(&self.namespace)]),
            _ => Certificate::Managed(self.names),
        };
        let options = Options {
            kubeconfig: self.kubeconfig,
            namespace: self.namespace,
            listen: self.listen,
            probes: self.probes,
            certificate,
            clients: self
                .client_ca
                .map(|path| ClientCertificates { authority: AuthorityFile { path }, names: self.client_names }),
            ages: Ages {
                authority: Duration::from_secs(self.authority_age),
                serving: Duration::from_secs(self.certificate_age),
                settle: Duration::from_secs(self.authority_settles),
            },
            linger: Duration::from_secs(self.linger),
        };
        serve(async |stop| sluicegate_webhook::run(options, stop).await)
    }
}
