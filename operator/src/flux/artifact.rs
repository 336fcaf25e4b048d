//! Pulls a release's manifests from a registry, where `flux push artifact` has put them.

use std::{collections::BTreeMap, fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::TryStreamExt as _;
use oci_client::{
    Client, Reference,
    client::ClientConfig,
    errors::OciDistributionError,
    manifest::{OciDescriptor, OciManifest},
    secrets::RegistryAuth,
};
use serde::Deserialize;
use sluicegate_policy::grammar::{Scheme, SourceUrl};
use tokio::time::timeout;

use super::releases::Release;
use crate::errors::with_causes;

/// Media type of the layer of an artifact that `flux push artifact` made.
const CONTENT: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";
/// That of Flux 2.9 has 0.1 MiB.
const LARGEST: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where releases are pulled from.
#[derive(Clone, PartialEq, Eq)]
pub struct Repository {
    host: String,
    path: String,
    login: Option<(String, String)>,
}

/// Why there are no manifests of a release.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Not a repository of a registry.
    #[error("spec.flux.artifact is no OCI repository, such as oci://ghcr.io/fluxcd/flux-manifests")]
    Repository,
    /// Its Secret has nothing for the registry. Nothing of its content is said.
    #[error("the Secret has no .dockerconfigjson with a user and a password for {0}")]
    Login(String),
    /// The registry does not give it.
    #[error("{artifact} cannot be pulled: {why}")]
    Registry {
        /// What was asked for.
        artifact: String,
        /// The registry's answer, or that there was none.
        why: String,
    },
}

/// The manifests of a release.
pub struct Artifact {
    /// Where they are from, digest included: `oci://ghcr.io/fluxcd/flux-manifests:v2.9.4@sha256:…`.
    pub reference: String,
    /// The archive (tar, gzip).
    pub archive: Vec<u8>,
}

impl Repository {
    /// A repository by its URL (`oci://`), and the content of `.dockerconfigjson` where the registry asks who pulls.
    ///
    /// # Errors
    /// Says what of the two is wrong, and no secret.
    pub fn new(url: &str, logins: Option<&str>) -> Result<Self, ArtifactError> {
        let url = SourceUrl::parse(url).ok().filter(|url| url.scheme() == Scheme::Oci);
        let url = url.ok_or(ArtifactError::Repository)?;
        let host = url.port().map_or_else(|| url.host().to_owned(), |port| format!("{}:{port}", url.host()));
        let path = url.segments().collect::<Vec<_>>().join("/");
        let login = match logins {
            None => None,
            Some(logins) => Some(login(logins, &host).ok_or_else(|| ArtifactError::Login(host.clone()))?),
        };
        Ok(Self { host, path, login })
    }

    /// Pulls the manifests of a release, whose tag is its version: `v2.9.4`.
    ///
    /// # Errors
    /// Where the registry does not give them.
    pub async fn pull(&self, release: &Release) -> Result<Artifact, ArtifactError> {
        let reference = Reference::with_tag(self.host.clone(), self.path.clone(), format!("v{release}"));
        let artifact = format!("oci://{reference}");
        let pulled = timeout(TIMEOUT, self.content(&reference)).await;
        let pulled = pulled.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()));
        match pulled.and_then(|pulled| pulled.map_err(|error| why(&error))) {
            Ok((archive, digest)) => Ok(Artifact { reference: format!("{artifact}@{digest}"), archive }),
            Err(why) => Err(ArtifactError::Registry { artifact, why }),
        }
    }

    /// The layer with the manifests, and the digest of the artifact. The library verifies both.
    async fn content(&self, reference: &Reference) -> Result<(Vec<u8>, String), OciDistributionError> {
        let client = Client::try_from(ClientConfig {
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(TIMEOUT),
            user_agent: concat!("sluicegate/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })?;
        let login = match &self.login {
            Some((user, password)) => RegistryAuth::Basic(user.clone(), password.clone()),
            None => RegistryAuth::Anonymous,
        };
        let refused = |why: &str| OciDistributionError::GenericError(Some(why.to_owned()));
        let (OciManifest::Image(manifest), digest) = client.pull_manifest(reference, &login).await? else {
            return Err(refused("it is an index of images"));
        };
        let is_content = |layer: &&OciDescriptor| layer.media_type == CONTENT;
        let layer = manifest.layers.iter().find(is_content).ok_or_else(|| refused("it has no layer of Flux"))?;
        let mut stream = client.pull_blob_stream(reference, layer).await?.stream;
        let mut archive = Vec::new();
        while let Some(chunk) = stream.try_next().await? {
            archive.extend_from_slice(&chunk);
            if archive.len() > LARGEST {
                return Err(refused("it is larger than 16 MiB"));
            }
        }
        Ok((archive, digest))
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({}/{})", self.host, self.path)
    }
}

fn why(error: &OciDistributionError) -> String {
    match error {
        OciDistributionError::GenericError(Some(why)) => why.clone(),
        other => with_causes(other),
    }
}

/// User and password for a registry, from what `docker login` writes.
fn login(logins: &str, host: &str) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Logins {
        auths: BTreeMap<String, Login>,
    }
    #[derive(Deserialize)]
    struct Login {
        username: Option<String>,
        password: Option<String>,
        auth: Option<String>,
    }
    let logins: Logins = serde_json::from_str(logins).ok()?;
    let is_for = |key: &str| key.trim_start_matches("https://").trim_end_matches('/') == host;
    let (_, login) = logins.auths.into_iter().find(|(key, _)| is_for(key))?;
    if let (Some(user), Some(password)) = (login.username, login.password) {
        return Some((user, password));
    }
    let decoded = STANDARD.decode(login.auth?).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_a_url_of_a_registry_and_perhaps_a_login() {
        let plain = Repository::new("oci://registry.example.com:5000/mirror/flux-manifests", None).unwrap();
        assert_eq!((plain.host.as_str(), plain.path.as_str()), ("registry.example.com:5000", "mirror/flux-manifests"));
        for url in ["https://ghcr.io/fluxcd/flux-manifests", "oci://ghcr.io/fluxcd/flux-manifests:v2.9.4", "ghcr.io/x"]
        {
            assert!(matches!(Repository::new(url, None), Err(ArtifactError::Repository)), "{url}");
        }
        let url = "oci://ghcr.io/fluxcd/flux-manifests";
        for logins in [
            r#"{"auths": {"ghcr.io": {"username": "me", "password": "it"}}}"#,
            r#"{"auths": {"https://ghcr.io/": {"auth": "bWU6aXQ="}}}"#,
        ] {
            assert_eq!(Repository::new(url, Some(logins)).unwrap().login, Some(("me".into(), "it".into())), "{logins}");
        }
        for logins in
            [r#"{"auths": {"docker.io": {"auth": "bWU6aXQ="}}}"#, "it", r#"{"auths": {"ghcr.io": {"auth": "it"}}}"#]
        {
            let error = Repository::new(url, Some(logins)).unwrap_err().to_string();
            assert!(error.ends_with("for ghcr.io") && !error.contains("it\""), "{error}");
        }
    }
}
