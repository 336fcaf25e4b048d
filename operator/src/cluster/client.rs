//! Requests to one cluster. Every write asks first whether this process may write at all.

use std::{sync::Arc, time::Duration};

use kube::{
    api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy},
    core::{DynamicObject, ObjectMeta, PartialObjectMeta, Request, Resource},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    connect::Connection,
    fetch::{self, Failure},
    lean::{Lean, Reading},
    streams::Stream,
    watch::Turns,
};
use crate::{
    errors::with_causes,
    object::{Key, Kind, MANAGER},
    telemetry::metrics::{Answer, Metrics, Verb},
};

/// How long one request may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Whether this process may write: it leads, and its lease is surely not over.
pub type Permit = Arc<dyn Fn() -> bool + Send + Sync>;

/// Why a request gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another operator leads, or the lease may be over: nothing was sent.
    #[error("this operator does not lead any more")]
    NotLeading,
    /// No answer in time. A write may have been done or not.
    #[error("the API server did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The API server's answer.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        code: u16,
        /// Kubernetes' reason, such as `Forbidden`.
        reason: String,
        /// Its message.
        message: String,
    },
    /// The object is larger than anything that Sluicegate works with, and was not read.
    #[error("it is larger than anything that Sluicegate works with")]
    TooLarge,
    /// It could not be asked, or its answer not be understood.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(String),
}

impl ApiError {
    /// Whether the API server said that there is no such object, or no such kind.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Refused { code: 404, .. })
    }

    /// Whether it said that the object is another one by now.
    pub fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Refused { code: 409, .. })
    }

    /// Whether it would not answer differently before something else changes.
    pub fn is_final(&self) -> bool {
        matches!(self, ApiError::Refused { code: 400 | 403 | 422, .. })
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                ApiError::Refused { code: status.code, reason: status.reason.clone(), message: status.message.clone() }
            }
            other => ApiError::Unreachable(with_causes(&other)),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Api(status) => {
                ApiError::Refused { code: status.code, reason: status.reason, message: status.message }
            }
            Failure::Other(why) => ApiError::Unreachable(why),
        }
    }
}

/// A result of a request.
pub type ApiResult<T> = Result<T, ApiError>;

/// A client of one cluster.
#[derive(Clone)]
pub struct ClusterClient {
    connection: Connection,
    permit: Permit,
    metrics: Arc<Metrics>,
}

impl ClusterClient {
    /// Every write asks `permit`.
    pub fn new(connection: Connection, permit: Permit, metrics: Arc<Metrics>) -> Self {
        Self { connection, permit, metrics }
    }

    /// Where its requests are counted.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// kube's client, for watches.
    pub fn inner(&self) -> kube::Client {
        self.connection.client.clone()
    }

    /// A place on a connection that watches share.
    pub fn stream(&self) -> Stream {
        self.connection.streams.join()
    }

    /// What is read of the cluster in turn.
    pub fn turns(&self) -> Turns {
        self.connection.turns.clone()
    }

    /// Whether this process may write.
    pub fn may_write(&self) -> bool {
        (self.permit)()
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        verb: Verb,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> ApiResult<T> {
        let request = request.map_err(|error| ApiError::Unreachable(error.to_string()))?;
        let answer = tokio::time::timeout(TIMEOUT, self.connection.client.request(request)).await;
        self.metrics.requested(verb, answer.as_ref().map_or(Answer::Unreachable, Answer::of));
        answer.map_err(|_| ApiError::Timeout)?.map_err(ApiError::from)
    }

    /// The object that answers a request, read in bounded memory.
    async fn ask_object(
        &self,
        verb: Verb,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        reading: &Reading,
    ) -> ApiResult<Lean> {
        let request = request.map_err(|error| ApiError::Unreachable(error.to_string()))?;
        let Connection { client, turns, .. } = &self.connection;
        self.in_time(verb, fetch::object(client, request, reading, &turns.long)).await
    }

    async fn in_time<T>(&self, verb: Verb, asked: impl Future<Output = Result<T, Failure>>) -> ApiResult<T> {
        let answer = match tokio::time::timeout(TIMEOUT, asked).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(ApiError::Timeout),
        };
        self.metrics.requested(verb, Answer::of_api(&answer));
        answer
    }

    async fn write<T: DeserializeOwned>(
        &self,
        verb: Verb,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> ApiResult<T> {
        if !self.may_write() {
            return Err(ApiError::NotLeading);
        }
        self.ask(verb, request).await
    }

    /// The object as it is after a write. Of one that is too large its identity.
    async fn write_object(
        &self,
        verb: Verb,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        reading: &Reading,
    ) -> ApiResult<Value> {
        if !self.may_write() {
            return Err(ApiError::NotLeading);
        }
        self.ask_object(verb, request, reading).await.map(|object| object.value)
    }

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// Every other answer.
    pub async fn get(&self, key: &Key) -> ApiResult<Option<Value>> {
        let request = request(key.kind, &key.namespace).get(&key.name, &GetParams::default());
        match found(self.ask_object(Verb::Get, request, &Reading::RENDERED).await)? {
            Some(object) if !object.whole => Err(ApiError::TooLarge),
            object => Ok(object.map(|object| object.value)),
        }
    }

    /// Any path of the API, such as `/version`.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn get_path(&self, path: &str) -> ApiResult<Value> {
        let request =
            http::Request::get(path).body(Vec::new()).map_err(|error| ApiError::Unreachable(error.to_string()))?;
        self.ask(Verb::Get, Ok(request)).await
    }

    /// The metadata of an object below a path, such as `/api/v1/namespaces/x/secrets`; `None` where there is none.
    ///
    /// # Errors
    /// Every other answer.
    pub async fn metadata(&self, path: &str, name: &str) -> ApiResult<Option<ObjectMeta>> {
        let request = Request::new(path).get_metadata(name, &GetParams::default());
        found(self.ask::<PartialObjectMeta>(Verb::Get, request).await.map(|object| object.metadata))
    }

    /// What is read of the objects of a path, such as `/api/v1/namespaces/x/secrets`, that match a label selector and of which
    /// `take` makes something.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn list<T>(
        &self,
        path: &str,
        labels: Option<&str>,
        reading: &Reading,
        mut take: impl FnMut(&Value) -> Option<T>,
    ) -> ApiResult<Vec<T>> {
        let Connection { client, turns, .. } = &self.connection;
        let mut taken = Vec::new();
        let tell = |object: Lean| taken.extend(take(&object.value));
        self.in_time(Verb::List, fetch::pages(client, path, labels, reading, &turns.long, tell)).await?;
        Ok(taken)
    }

    /// Whether any object of a path, such as `/api/v1/namespaces/x/secrets`, matches a label selector.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn any(&self, path: &str, labels: &str) -> ApiResult<bool> {
        let Connection { client, turns, .. } = &self.connection;
        self.in_time(Verb::List, fetch::any(client, path, labels, &turns.long)).await
    }

    /// Asks by a review, an object that is never stored.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn review(&self, path: &str, review: &Value) -> ApiResult<Value> {
        let request = Request::new(path).create(&PostParams::default(), review.to_string().into_bytes());
        self.ask(Verb::Create, request).await
    }

    /// Makes an object that must not exist yet.
    ///
    /// # Errors
    /// A conflict where it does.
    pub async fn create(&self, key: &Key, manifest: &Value) -> ApiResult<Value> {
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.write_object(
            Verb::Create,
            request(key.kind, &key.namespace).create(&parameters, manifest.to_string().into_bytes()),
            &Reading::RENDERED,
        )
        .await
    }

    /// Applies our fields, whoever had them before.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn apply(&self, key: &Key, manifest: &Value) -> ApiResult<Value> {
        let parameters = PatchParams::apply(MANAGER).force();
        self.write_object(
            Verb::Patch,
            request(key.kind, &key.namespace).patch(&key.name, &parameters, &Patch::Apply(manifest)),
            &Reading::RENDERED,
        )
        .await
    }

    /// The same of an object below a path; its metadata are the answer.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn apply_path(&self, path: &str, name: &str, manifest: &Value) -> ApiResult<ObjectMeta> {
        let parameters = PatchParams::apply(MANAGER).force();
        let request = Request::new(path).patch_metadata(name, &parameters, &Patch::Apply(manifest));
        self.write::<PartialObjectMeta>(Verb::Patch, request).await.map(|object| object.metadata)
    }

    /// A JSON merge patch. Its fields are `manager`'s: under a name other than [`MANAGER`] they count as added by others, so
    /// that the next apply takes away those that it does not want.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn merge(&self, key: &Key, patch: &Value, manager: &str) -> ApiResult<Value> {
        let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let request = request(key.kind, &key.namespace).patch(&key.name, &parameters, &Patch::Merge(patch));
        self.write_object(Verb::Patch, request, &Reading::RENDERED).await
    }

    /// A JSON Patch.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn json_patch(&self, key: &Key, patch: &Value) -> ApiResult<Value> {
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        // The dynamic patch is JSON already; kube's type wants operations, which are the same text.
        let patch: json_patch::Patch =
            serde_json::from_value(patch.clone()).map_err(|error| ApiError::Unreachable(error.to_string()))?;
        self.write_object(
            Verb::Patch,
            request(key.kind, &key.namespace).patch(&key.name, &parameters, &Patch::Json::<()>(patch)),
            &Reading::RENDERED,
        )
        .await
    }

    /// Deletes this very object and what it owns. One that is gone is fine.
    ///
    /// # Errors
    /// Every other answer.
    pub async fn delete(&self, key: &Key, uid: &str) -> ApiResult<()> {
        self.remove(request(key.kind, &key.namespace), &key.name, uid).await
    }

    /// The same of an object below a path, such as `/api/v1/namespaces/x/secrets`.
    ///
    /// # Errors
    /// Every other answer.
    pub async fn delete_path(&self, path: &str, name: &str, uid: &str) -> ApiResult<()> {
        self.remove(Request::new(path), name, uid).await
    }

    async fn remove(&self, request: Request, name: &str, uid: &str) -> ApiResult<()> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match self.write_object(Verb::Delete, request.delete(name, &parameters), &Reading::IDENTITY).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A patch of one of Sluicegate's own objects.
    ///
    /// # Errors
    /// The API server's refusal, or that there was none.
    pub async fn patch_own<K>(&self, namespace: Option<&str>, name: &str, patch: OwnPatch<'_>) -> ApiResult<Value>
    where
        K: Resource,
        K::DynamicType: Default,
    {
        let request = Request::new(K::url_path(&K::DynamicType::default(), namespace));
        let merge = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let (verb, request) = match patch {
            OwnPatch::Merge(patch) => (Verb::Patch, request.patch(name, &merge, &Patch::Merge(patch))),
            OwnPatch::Apply(object) => {
                (Verb::Patch, request.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)))
            }
            OwnPatch::Status(status) => {
                let parameters = PatchParams::apply(MANAGER).force();
                (Verb::Patch, request.patch_subresource("status", name, &parameters, &Patch::Apply(status)))
            }
        };
        self.write_object(verb, request, &Reading::OWN).await
    }

    /// Deletes one of Sluicegate's own objects: a FluxConfig whose time is over.
    ///
    /// # Errors
    /// Every answer but that it is gone.
    pub async fn delete_own<K>(&self, namespace: Option<&str>, name: &str, uid: &str) -> ApiResult<()>
    where
        K: Resource,
        K::DynamicType: Default,
    {
        self.remove(Request::new(K::url_path(&K::DynamicType::default(), namespace)), name, uid).await
    }
}

/// A patch of one of Sluicegate's own objects.
#[derive(Clone, Copy, Debug)]
pub enum OwnPatch<'a> {
    /// A JSON merge patch of the object.
    Merge(&'a Value),
    /// A server-side apply of the object.
    Apply(&'a Value),
    /// The whole status: what it does not name is removed.
    Status(&'a Value),
}

/// `None` where the API server says that there is none.
fn found<T>(answer: ApiResult<T>) -> ApiResult<Option<T>> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn request(kind: Kind, namespace: &str) -> Request {
    let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
    Request::new(DynamicObject::url_path(&kind.api_resource(), namespace))
}
