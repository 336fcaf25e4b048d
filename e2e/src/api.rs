//! Calls to the API server from code that waits: the harness while it starts a cluster.

use std::path::Path;
use std::time::Duration;

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use crate::error::{Context, Error, Result};

/// A client whose calls block.
pub struct Api {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

/// A client from a kubeconfig file. It asks once: retries would hide how long something takes to become ready.
///
/// # Errors
/// Where the file cannot be read or names no usable cluster.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let unusable = |why: String| Error::Service { what: format!("the kubeconfig {}", kubeconfig.display()), why };
    let config = Kubeconfig::read_from(kubeconfig).map_err(|error| unusable(error.to_string()))?;
    client_of(config).await.map_err(|error| unusable(error.to_string()))
}

/// A client from a kubeconfig's text.
///
/// # Errors
/// Where the text names no usable cluster.
pub async fn client_from_text(kubeconfig: &str) -> Result<kube::Client> {
    let unusable = |why: String| Error::Service { what: "a kubeconfig".into(), why };
    let config = Kubeconfig::from_yaml(kubeconfig).map_err(|error| unusable(error.to_string()))?;
    client_of(config).await.map_err(|error| unusable(error.to_string()))
}

async fn client_of(kubeconfig: Kubeconfig) -> std::result::Result<kube::Client, Box<dyn std::error::Error>> {
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Ok(kube::Client::try_from(config)?)
}

impl Api {
    /// Connects as the kubeconfig says.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub fn new(kubeconfig: &Path) -> Result<Api> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().doing("starting", "the runtime")?;
        let client = runtime.block_on(client(kubeconfig))?;
        Ok(Api { runtime, client })
    }

    /// The object or list at a path; `None` where there is no such thing.
    ///
    /// # Errors
    /// Every other answer, and none within five seconds.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(|error| Error::Service { what: path.to_owned(), why: error.to_string() })?;
        match self.block(self.client.request::<Value>(request)) {
            Some(Ok(value)) => Ok(Some(value)),
            Some(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Some(Err(error)) => Err(Error::api(path, error)),
            None => Err(Error::Service { what: path.to_owned(), why: "no answer".into() }),
        }
    }

    /// Whether the server says that it is ready.
    pub fn is_ready(&self) -> bool {
        let Ok(request) = Request::get("/readyz").body(Vec::new()) else {
            return false;
        };
        matches!(self.block(self.client.request_text(request)), Some(Ok(text)) if text.trim() == "ok")
    }

    /// Creates an object from YAML or JSON; one that exists already is left as it is.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn create(&self, collection: &str, text: &str) -> Result<()> {
        let body = text.as_bytes().to_vec();
        let request = Request::post(collection).header("content-type", "application/yaml").body(body);
        let request =
            request.map_err(|error| Error::Service { what: collection.to_owned(), why: error.to_string() })?;
        match self.block(self.client.request::<Value>(request)) {
            Some(Ok(_)) => Ok(()),
            Some(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
            Some(Err(error)) => Err(Error::api(format!("creating in {collection}"), error)),
            None => Err(Error::Service { what: format!("creating in {collection}"), why: "no answer".into() }),
        }
    }

    fn block<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), request).await.ok() })
    }
}
