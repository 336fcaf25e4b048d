//! Files in, objects with places out.
//!
//! Calls go one way, in this order:
//!
//! 1. [`files`] finds the manifests that the user named and reads each once;
//! 2. [`yaml`] turns text into documents in which every key and value knows its place;
//! 3. [`de`] decodes a document into a Rust type strictly, and says what it did not know;
//! 4. [`edit`] inserts fields into a text without touching another byte of it.
//!
//! What does not live here: the kinds themselves, and any opinion on what they say. A place
//! is a line and a column; turning it into a report is the reader's work.

pub mod de;

pub mod edit;
pub mod files;
pub mod path;
pub mod yaml;
