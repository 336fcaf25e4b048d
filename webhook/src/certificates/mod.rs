//! The serving certificate, and the API server's trust in it: from files that somebody else keeps ([`files`], for cert-manager
//! and for administrators with an authority of their own), or from an authority of our own in a Secret ([`managed`]).
//!
//! Who may be a client at all is said in [`clients`], where administrators want that.
//!
//! Whoever accepts connections takes the certificate that stands, so a new one costs no connection.

pub mod authority;
pub mod clients;
pub mod files;
pub mod managed;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not PEM, or something else in it.
    #[error("{what} cannot be read: {why}")]
    Malformed {
        /// Which of the texts.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// Certificate and key are of different pairs.
    #[error("the key is not the certificate's")]
    Mismatch,
}

impl CertificateError {
    fn malformed(what: &'static str, why: impl ToString) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }
}

/// The certificate that stands; none before the first.
#[derive(Debug, Default)]
pub struct Serving(ArcSwapOption<CertifiedKey>);

impl Serving {
    /// Serves this from the next connection on, and says when it ends, in seconds since the epoch.
    ///
    /// # Errors
    /// Where the texts are no pair; then what stood before stays.
    pub fn set(&self, chain: &str, key: &str) -> Result<i64, CertificateError> {
        let chain = certificates("the certificate", chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| CertificateError::malformed("the key", error))?;
        let ends = match chain.first() {
            Some(leaf) => parse("the certificate", leaf)?.validity().not_after.timestamp(),
            None => return Err(CertificateError::malformed("the certificate", "it is empty")),
        };
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => CertificateError::Mismatch,
            other => CertificateError::malformed("the key", other),
        })?;
        self.0.store(Some(Arc::new(certified)));
        Ok(ends)
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.0.load().is_some()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| CertificateError::malformed(what, error))
}

fn parse<'c>(what: &'static str, der: &'c CertificateDer<'_>) -> Result<X509Certificate<'c>, CertificateError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| CertificateError::malformed(what, error))?;
    Ok(parsed)
}
