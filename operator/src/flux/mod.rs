//! What is known of Flux, as data: which images a release has, and what each controller is given and may do.
//!
//! Nothing here is Sluicegate's choice; what is chosen is in [`render`](crate::render).

pub mod controllers;
mod ranges;
pub mod releases;
