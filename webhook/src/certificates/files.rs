//! Certificate and key from files that somebody else keeps: cert-manager by way of a mounted Secret, or administrators. The
//! API server's trust is theirs to keep as well.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sluicegate_operator::telemetry::health::Beat;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{CertificateError, Serving};
use crate::telemetry::Metrics;

/// How often the files are looked at. Whoever replaces them does so days before the old ones end.
const EVERY: Duration = Duration::from_secs(10);

/// Where they are, both PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate, and those between it and the authority.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// One cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// They are no pair.
    #[error("{path} cannot be used")]
    Use {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: CertificateError,
    },
}

impl Files {
    async fn read(&self) -> Result<(String, String), FilesError> {
        async fn text(path: &Path) -> Result<String, FilesError> {
            tokio::fs::read_to_string(path).await.map_err(|source| FilesError::Read { path: path.to_owned(), source })
        }
        Ok((text(&self.chain).await?, text(&self.key).await?))
    }

    fn serve(&self, (chain, key): &(String, String), serving: &Serving, metrics: &Metrics) -> Result<(), FilesError> {
        let ends = serving.set(chain, key).map_err(|source| FilesError::Use { path: self.chain.clone(), source })?;
        metrics.certificate_ends(ends);
        Ok(())
    }

    /// Serves them for the first time.
    ///
    /// # Errors
    /// Where they are not there or no pair: somebody has to mend that before anything can be served.
    pub async fn load(&self, serving: &Serving, metrics: &Metrics) -> Result<(), FilesError> {
        self.serve(&self.read().await?, serving, metrics)
    }

    /// Serves what they become, for as long as it is polled. Between the one file and the other they may be no pair; then what
    /// stood stays.
    pub async fn follow(self, serving: Arc<Serving>, metrics: Arc<Metrics>, beat: Beat) {
        let mut last = self.read().await.ok();
        loop {
            sleep(EVERY).await;
            beat.turn();
            let read = match self.read().await {
                Ok(read) if last.as_ref() == Some(&read) => continue,
                Ok(read) => read,
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the certificate stays as it is");
                    continue;
                }
            };
            match self.serve(&read, &serving, &metrics) {
                Ok(()) => {
                    info!("serving a new certificate");
                    last = Some(read);
                }
                Err(error) => warn!(error = &error as &dyn std::error::Error, "the certificate stays as it is"),
            }
        }
    }
}
