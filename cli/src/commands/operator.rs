//! `sluicegate operator`: what runs in the management cluster.

use std::{net::SocketAddr, path::PathBuf};

use sluicegate_operator::{
    Options,
    telemetry::log::{self, Format},
};

use super::{CommandError, Exit, serve, usage};

/// Arguments of `operator`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kubeconfig of the management cluster; absent: the account of the pod
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Namespace of the operator: its Lease, and the Secrets that policies name
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "sluicegate-system")]
    namespace: String,
    /// Name that the Lease shows
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "sluicegate-operator")]
    pod: String,
    /// Address for /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,kube=debug
    #[arg(long, value_name = "LEVEL", env = "RUST_LOG")]
    log_level: Option<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<Exit, CommandError> {
        log::init(self.log_level.as_deref(), Format::of_stderr()).map_err(usage)?;
        let options = Options {
            kubeconfig: self.kubeconfig,
            namespace: self.namespace,
            pod: self.pod,
            listen: Some(self.listen),
        };
        serve(async |stop| sluicegate_operator::run(options, stop).await)
    }
}
