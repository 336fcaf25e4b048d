//! What is rendered, as documentation (the snapshots), and what always holds of it (the laws).
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "render/laws.rs"]
mod laws;
#[path = "render/operator_rights.rs"]
mod operator_rights;
#[path = "render/settings.rs"]
mod settings;
#[path = "render/shapes.rs"]
mod shapes;
#[path = "render/world.rs"]
mod world;
