//! Connections to clusters. A kubeconfig in a Secret was written by somebody: what in it would run a program, read a file of this
//! process or trust anybody is refused.

use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::{streams::Streams, watch::Turns};

/// How long it may take until there is a connection.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a cluster is reached.
#[derive(Clone)]
pub struct Connection {
    /// For requests.
    pub client: Client,
    /// For watches of which there are many.
    pub streams: Streams,
    /// For what is read in turn.
    pub turns: Turns,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a kubeconfig.
    #[error("the kubeconfig cannot be read: {0}")]
    Malformed(String),
    /// Something that is not allowed in it.
    #[error("the kubeconfig has {0}, which is not allowed; write certificates and tokens into it instead")]
    Forbidden(&'static str),
    /// No client can be made of it.
    #[error("no client can be made: {0}")]
    Client(String),
}

/// The connection to the management cluster: by a kubeconfig of the user's own, where one is named, or as kube finds it (the account of
/// the pod).
///
/// # Errors
/// Says what is wrong, and with which file.
pub async fn management(kubeconfig: Option<&Path>) -> Result<Connection, ConnectError> {
    let config = match kubeconfig {
        None => Config::infer().await.map_err(|error| ConnectError::Client(error.to_string()))?,
        Some(path) => {
            let failed = |error: KubeconfigError| ConnectError::Client(format!("{}: {error}", path.display()));
            let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)?
        }
    };
    connection(config)
}

/// A connection from the text of a kubeconfig.
///
/// # Errors
/// Says what is wrong with it, and no secret.
pub async fn from_kubeconfig(text: &str) -> Result<Connection, ConnectError> {
    let kubeconfig =
        Kubeconfig::from_yaml(text).map_err(|_| ConnectError::Malformed("it is no YAML of that shape".into()))?;
    refuse(&kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|error| ConnectError::Malformed(error.to_string()))?;
    connection(config)
}

/// A connection from a configuration. Requests are not repeated below us: whoever asks has a backoff of its own.
///
/// # Errors
/// Where kube cannot make a client.
fn connection(mut config: Config) -> Result<Connection, ConnectError> {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let client = Client::try_from(config.clone()).map_err(|error| ConnectError::Client(error.to_string()))?;
    Ok(Connection { streams: Streams::new(config, client.clone()), client, turns: Turns::default() })
}

fn refuse(kubeconfig: &Kubeconfig) -> Result<(), ConnectError> {
    for user in kubeconfig.auth_infos.iter().filter_map(|user| user.auth_info.as_ref()) {
        let found = [
            (user.exec.is_some(), "an exec plugin"),
            (user.auth_provider.is_some(), "an auth provider"),
            (user.token_file.is_some(), "a tokenFile"),
            (user.client_certificate.is_some(), "a client-certificate file"),
            (user.client_key.is_some(), "a client-key file"),
        ];
        if let Some((_, what)) = found.iter().find(|(is_there, _)| *is_there) {
            return Err(ConnectError::Forbidden(what));
        }
    }
    for cluster in kubeconfig.clusters.iter().filter_map(|cluster| cluster.cluster.as_ref()) {
        let found = [
            (cluster.insecure_skip_tls_verify == Some(true), "insecure-skip-tls-verify"),
            (cluster.certificate_authority.is_some(), "a certificate-authority file"),
            (cluster.proxy_url.is_some(), "a proxy-url"),
            (cluster.server.as_deref().is_some_and(|server| !server.starts_with("https://")), "a server without https"),
        ];
        if let Some((_, what)) = found.iter().find(|(is_there, _)| *is_there) {
            return Err(ConnectError::Forbidden(what));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443'}}]
users: [{name: u, user: {token: abc}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

    #[tokio::test]
    async fn takes_what_is_in_the_file_itself() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        assert!(from_kubeconfig(FINE).await.is_ok());
    }

    #[tokio::test]
    async fn refuses_programs_files_and_trust_in_anybody() {
        for (from, to, what) in [
            ("token: abc", "exec: {command: /bin/sh, apiVersion: client.authentication.k8s.io/v1}", "exec"),
            ("token: abc", "tokenFile: /etc/passwd", "tokenFile"),
            ("token: abc", "client-key: /etc/key", "client-key"),
            ("token: abc", "auth-provider: {name: oidc, config: {}}", "auth provider"),
            ("'https://127.0.0.1:6443'", "'https://127.0.0.1:6443', insecure-skip-tls-verify: true", "insecure"),
            ("'https://127.0.0.1:6443'", "'https://127.0.0.1:6443', certificate-authority: /etc/ca", "authority"),
            ("'https://127.0.0.1:6443'", "'https://127.0.0.1:6443', proxy-url: 'http://evil'", "proxy"),
            ("https://", "http://", "without https"),
        ] {
            let error = from_kubeconfig(&FINE.replace(from, to)).await.err().map(|error| error.to_string());
            assert!(error.as_ref().is_some_and(|error| error.contains(what)), "{to}: {error:?}");
        }
    }
}
