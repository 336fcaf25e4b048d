//! What goes on: [`metrics`], the [`server`] that shows them and says whether the process is well, the [`log`].

pub mod health;
pub mod log;
pub mod metrics;
pub mod peers;
pub mod server;
