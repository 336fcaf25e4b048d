//! The objects of a request, as far as they are read.

use serde::Deserialize;
use serde_json::value::RawValue;
use sluicegate_crds::FluxConfigSpec;
use sluicegate_policy::workload::Pods;

/// An object of a request, as far as it is read.
#[derive(Clone, Debug)]
pub enum Object<'r> {
    /// Its text, known to be JSON and no more.
    Text(&'r RawValue),
    /// What its pods name.
    Pods(Pods<'r>),
    /// A FluxConfig.
    Config(Box<Manifest<FluxConfigSpec>>),
}

impl<'r> Object<'r> {
    /// The text, where it was kept.
    pub fn text(&self) -> Option<&'r str> {
        match self {
            Object::Text(text) => Some(text.get()),
            Object::Pods(_) | Object::Config(_) => None,
        }
    }
}

/// An object of a kind: metadata and spec, and nothing that somebody else has to judge.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Manifest<S> {
    /// Metadata.
    #[serde(default)]
    pub metadata: Metadata,
    /// The spec.
    pub spec: S,
}

/// What of their metadata is looked at. The rest, `managedFields` above all, is passed over unread.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Name; empty where the API server will make one.
    pub name: String,
    /// What that one will begin with.
    pub generate_name: String,
    /// When it was deleted, if it was.
    pub deletion_timestamp: Option<String>,
}
