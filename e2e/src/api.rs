//! Calls to the API server from code that waits: the harness while it starts a cluster, and the demo.

use std::path::Path;
use std::time::Duration;

use http::Request;
use kube::api::DynamicObject;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind, Resource};
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

    /// Creates an object that is an answer itself, such as a review of somebody's rights.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn ask(&self, collection: &str, question: &Value) -> Result<Value> {
        self.send("POST", collection, "application/json", question.to_string().into_bytes())
    }

    /// Applies an object (server-side) as this field manager.
    ///
    /// # Errors
    /// The server's refusal.
    pub fn apply(&self, object: &Value, manager: &str) -> Result<Value> {
        let path = format!("{}?fieldManager={manager}&force=true", path_of(object));
        self.send("PATCH", &path, "application/apply-patch+yaml", object.to_string().into_bytes())
    }

    /// Changes the object at a path (JSON merge patch).
    ///
    /// # Errors
    /// The server's refusal.
    pub fn patch(&self, path: &str, patch: &Value) -> Result<Value> {
        self.send("PATCH", path, "application/merge-patch+json", patch.to_string().into_bytes())
    }

    /// Deletes the object at a path; `false` where there is none.
    ///
    /// # Errors
    /// Every other answer, and none in time.
    pub fn delete(&self, path: &str) -> Result<bool> {
        match self.send("DELETE", path, "application/json", Vec::new()) {
            Err(Error::Api { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.code == 404) => {
                Ok(false)
            }
            result => result.map(|_| true),
        }
    }

    /// The text at a path, such as what a pod answers through the server's proxy.
    ///
    /// # Errors
    /// Every answer but a good one, and none in time.
    pub fn text(&self, path: &str) -> Result<String> {
        let request = request("GET", path, "text/plain", Vec::new())?;
        let answer = self.block(self.client.request_text(request)).ok_or_else(|| no_answer(path))?;
        answer.map_err(|error| Error::api(path, error))
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Result<Value> {
        let request = request(method, path, content_type, body)?;
        let answer = self.block(self.client.request::<Value>(request)).ok_or_else(|| no_answer(path))?;
        answer.map_err(|error| Error::api(format!("{method} {path}"), error))
    }

    fn block<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), request).await.ok() })
    }
}

fn request(method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>> {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type).body(body);
    request.map_err(|error| Error::Service { what: path.to_owned(), why: error.to_string() })
}

fn no_answer(what: &str) -> Error {
    Error::Service { what: what.to_owned(), why: "no answer".into() }
}

/// The path of an object, by its kind, namespace and name.
pub fn path_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
    let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
    format!("{}/{}", DynamicObject::url_path(&resource, namespace), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_have_the_paths_of_their_kinds() {
        for (version, kind, namespace, path) in [
            ("v1", "Namespace", None, "/api/v1/namespaces/x"),
            ("v1", "Secret", Some("a"), "/api/v1/namespaces/a/secrets/x"),
            (
                "networking.k8s.io/v1",
                "NetworkPolicy",
                Some("a"),
                "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies/x",
            ),
            ("sluicegate.dev/v1alpha1", "FluxPolicy", None, "/apis/sluicegate.dev/v1alpha1/fluxpolicies/x"),
        ] {
            let object =
                json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
            assert_eq!(path_of(&object), path);
        }
    }
}
