//! What is known of Flux: which images a release has, what each controller is given and may do, and what its objects say;
//! and where a release's manifests are pulled from.
//!
//! Nothing here is Sluicegate's choice; what is chosen is in [`render`](crate::render).

pub mod artifact;
pub mod controllers;
pub mod crds;
pub mod hint;
mod ranges;
pub mod releases;
pub mod state;
