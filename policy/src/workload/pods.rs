//! What the pods of an object name, kept of an object that is read once.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::walk::{Named, walk};

/// What the pods of an object name, in the order of the object. It is made while the object is read, wherever the object
/// stands, and the rest of the object is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods<'o> {
    pub(crate) images: Vec<PodImage<'o>>,
    pub(crate) accounts: Vec<Cow<'o, str>>,
}

/// An image that a pod would run or mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodImage<'o> {
    /// Path of the field.
    pub(crate) field: String,
    /// The reference, as it stands.
    pub(crate) image: Cow<'o, str>,
}

impl<'o> Pods<'o> {
    /// Reads the text of an object.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(text: &'o str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

impl<'de: 'o, 'o> Deserialize<'de> for Pods<'o> {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        let mut pods = Pods::default();
        walk(object, &mut |path, named| match named {
            Named::Image(image) => pods.images.push(PodImage { field: path.to_string(), image }),
            Named::Account(account) => pods.accounts.push(account),
        })?;
        Ok(pods)
    }
}
