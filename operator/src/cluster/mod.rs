//! One cluster that is deployed to: its client, its inventory, its queue and its tasks. Nothing here waits for another
//! cluster.

pub mod client;
pub mod connect;
mod fetch;
pub mod lean;
mod lines;
pub mod place;
pub mod queue;
pub mod runtime;
pub mod store;
mod streams;
pub mod watch;

pub use client::{ApiError, ApiResult, ClusterClient};
pub use runtime::Runtime;
