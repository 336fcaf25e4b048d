//! Who may ask, where administrators say so: clients with a certificate of an authority of theirs, by name if they like.
//!
//! The file with the authority may change at any time. Those whom the new one does not accept lose their connections.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use rustls::{
    CertificateError as Refusal, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sluicegate_operator::telemetry::health::Beat;
use tokio::time::sleep;
use tracing::{info, warn};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{CertificateError, certificates, files::FilesError, parse};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(10);

/// The authority, as it stands.
#[derive(Debug)]
struct Authority(Arc<dyn ClientCertVerifier>);

/// Who may be a client.
#[derive(Debug)]
pub struct Clients {
    authority: ArcSwapOption<Authority>,
    /// Names of which a certificate must have one; all where there are none.
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
}

impl Clients {
    /// Those whose certificates have one of these names; all of the authority's where there are none. Nobody before there is
    /// an authority.
    pub fn named(names: Vec<String>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { authority: ArcSwapOption::empty(), names, provider }
    }

    /// Takes certificates of this authority, or of these authorities, from the next connection on.
    ///
    /// # Errors
    /// Where the text has no certificate that an authority can be; then what stood before stays.
    pub fn set(&self, authorities: &str) -> Result<(), CertificateError> {
        const WHAT: &str = "the authority of clients";
        let mut roots = RootCertStore::empty();
        for certificate in certificates(WHAT, authorities)? {
            roots.add(certificate).map_err(|error| CertificateError::malformed(WHAT, error))?;
        }
        if roots.is_empty() {
            return Err(CertificateError::malformed(WHAT, "there is no certificate in it"));
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| CertificateError::malformed(WHAT, error))?;
        self.authority.store(Some(Arc::new(Authority(verifier))));
        Ok(())
    }

    /// Whether a client with these certificates, its own first, may ask now.
    pub fn accepts(&self, chain: &[CertificateDer<'static>]) -> bool {
        chain.split_first().is_some_and(|(own, others)| self.verify_client_cert(own, others, UnixTime::now()).is_ok())
    }

    fn is_named(&self, certificate: &X509Certificate<'_>) -> bool {
        let is_one = |name: &str| self.names.iter().any(|allowed| allowed == name);
        let mut common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let mut alternative = alternative.iter().flat_map(|extension| &extension.value.general_names);
        self.names.is_empty()
            || common.any(is_one)
            || alternative.any(|name| matches!(name, GeneralName::DNSName(name) if is_one(name)))
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The authority may change, and API servers have one certificate for us.
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let authority = self.authority.load();
        let Some(Authority(verifier)) = authority.as_deref() else {
            return Err(Refusal::UnknownIssuer.into());
        };
        let verified = verifier.verify_client_cert(own, others, now)?;
        match parse("the client's certificate", own) {
            Ok(certificate) if self.is_named(&certificate) => Ok(verified),
            Ok(_) => Err(Refusal::ApplicationVerificationFailure.into()),
            Err(_) => Err(Refusal::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The file with the authority.
#[derive(Clone, Debug)]
pub struct AuthorityFile {
    /// Certificates in PEM.
    pub path: PathBuf,
}

impl AuthorityFile {
    async fn read(&self) -> Result<String, FilesError> {
        let read = tokio::fs::read_to_string(&self.path).await;
        read.map_err(|source| FilesError::Read { path: self.path.clone(), source })
    }

    fn take(&self, text: &str, clients: &Clients) -> Result<(), FilesError> {
        clients.set(text).map_err(|source| FilesError::Use { path: self.path.clone(), source })
    }

    /// Takes it for the first time.
    ///
    /// # Errors
    /// Where it is not there or no authority: nobody may ask then, and somebody has to mend that.
    pub async fn load(&self, clients: &Clients) -> Result<(), FilesError> {
        self.take(&self.read().await?, clients)
    }

    /// Takes what it becomes, for as long as it is polled, and says so each time. What cannot be used changes nothing.
    pub async fn follow(self, clients: Arc<Clients>, beat: Beat, changed: impl Fn()) {
        let mut last = self.read().await.ok();
        loop {
            sleep(EVERY).await;
            beat.turn();
            let read = match self.read().await {
                Ok(read) if last.as_ref() == Some(&read) => continue,
                Ok(read) => read,
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the authority of clients stays as it is");
                    continue;
                }
            };
            match self.take(&read, &clients) {
                Ok(()) => {
                    info!("a new authority of clients is in use");
                    changed();
                    last = Some(read);
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the authority of clients stays as it is");
                }
            }
        }
    }
}
