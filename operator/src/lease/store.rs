//! Where the Lease is kept.

use std::{collections::BTreeMap, future::Future};

use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};

use crate::object::{MANAGED_BY_LABEL, MANAGER};

/// Why the Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another candidate was faster.
    #[error("the lease has changed meanwhile")]
    Conflict,
    /// No answer in time.
    #[error("no answer in time")]
    Late,
    /// The API server refused.
    #[error("the API server refused")]
    Api(#[source] Box<kube::Error>),
}

impl From<kube::Error> for StoreError {
    fn from(error: kube::Error) -> Self {
        match &error {
            // A Lease that is gone, or is there already, has changed too.
            kube::Error::Api(status) if matches!(status.code, 404 | 409) => StoreError::Conflict,
            _ => StoreError::Api(Box::new(error)),
        }
    }
}

/// One Lease with optimistic concurrency.
pub trait Store: Send + Sync {
    /// Reads it; none where it does not exist.
    fn get(&self) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;
    /// Makes it; a conflict where it exists.
    fn create(&self, lease: Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
    /// Writes it; a conflict where its `resourceVersion` is another by now.
    fn replace(&self, lease: Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;
}

/// The Lease in a cluster.
pub struct Leases {
    api: Api<Lease>,
    name: String,
}

impl Leases {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }
}

impl Store for Leases {
    async fn get(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.api.get_opt(&self.name).await?)
    }

    async fn create(&self, mut lease: Lease) -> Result<Lease, StoreError> {
        lease.metadata = ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGER.to_owned())])),
            ..ObjectMeta::default()
        };
        Ok(self.api.create(&PostParams::default(), &lease).await?)
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        Ok(self.api.replace(&self.name, &PostParams::default(), &lease).await?)
    }
}
