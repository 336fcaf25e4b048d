//! Requests of somebody's, and the API server's refusal as a text.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

/// What came of a request: something, or the words of the refusal.
pub type Said<T> = std::result::Result<T, String>;

/// The API for an object, by its apiVersion, kind and namespace.
pub fn api_of(client: &Client, object: &Value) -> Api<DynamicObject> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
    match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

/// Creates an object without keeping it.
///
/// # Errors
/// The refusal.
pub async fn tries(client: &Client, object: &Value) -> Said<()> {
    let api = api_of(client, object);
    let object: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&parameters, &object).await.map(|_| ()).map_err(|error| said(&error))
}

/// Creates an object, and gives it back as it is stored.
///
/// # Errors
/// The refusal.
pub async fn creates(client: &Client, object: &Value) -> Said<Value> {
    let created: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let done = api_of(client, object).create(&PostParams::default(), &created).await;
    serde_json::to_value(done.map_err(|error| said(&error))?).map_err(|error| error.to_string())
}

/// Replaces an object, in which its version stands, without keeping the change.
///
/// # Errors
/// The refusal.
pub async fn replaces(client: &Client, object: &Value) -> Said<()> {
    let new: DynamicObject = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let parameters = PostParams { dry_run: true, ..PostParams::default() };
    let done = api_of(client, object).replace(name(object), &parameters, &new).await;
    done.map(|_| ()).map_err(|error| said(&error))
}

/// Changes an object by a merge patch.
///
/// # Errors
/// The refusal.
pub async fn patches(client: &Client, object: &Value, patch: Value) -> Said<Value> {
    let done = api_of(client, object).patch(name(object), &PatchParams::default(), &Patch::Merge(&patch)).await;
    let changed = done.map_err(|error| said(&error))?;
    serde_json::to_value(changed).map_err(|error| error.to_string())
}

/// Deletes an object.
///
/// # Errors
/// The refusal.
pub async fn deletes(client: &Client, object: &Value) -> Said<()> {
    let done = api_of(client, object).delete(name(object), &DeleteParams::default()).await;
    done.map(|_| ()).map_err(|error| said(&error))
}

/// What the API server said.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => format!("{other:?}"),
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
