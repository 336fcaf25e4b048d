//! `admission.k8s.io/v1` AdmissionReview: what the API server asks, read without copying, and what it is answered. Pure: bytes
//! in, bytes out; what the answer is, is for [`decide`](crate::decide).

mod answer;
mod object;
mod reading;

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed as _, Error as _},
};
use sluicegate_policy::text;

pub use answer::{Answer, PatchOperation, encode};
pub use object::{Manifest, Metadata, Object};
pub use reading::Reading;
use reading::{Review, Whole};

/// The one version that is spoken.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind of question and answer.
pub const KIND: &str = "AdmissionReview";
/// FluxConfigs as they are called in URLs.
pub(crate) const FLUX_CONFIGS: &str = "fluxconfigs";

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// Make an object.
    Create,
    /// Change one; patch and apply too.
    Update,
    /// Delete one, or many one by one.
    Delete,
    /// Open a connection: `exec`, `attach`, `port-forward`, `proxy`.
    Connect,
}

/// A question. All texts are the request's own.
#[derive(Debug)]
pub struct Request<'r> {
    /// What the answer must repeat.
    pub uid: Cow<'r, str>,
    /// Kind of the object.
    pub kind: GroupVersionKind<'r>,
    /// The resource in the URL, in the version in which the object comes.
    pub resource: GroupVersionResource<'r>,
    /// `status`, `scale`, `ephemeralcontainers`, …; empty: the object itself.
    pub sub_resource: Cow<'r, str>,
    /// Name of the object; empty where the API server will make one of `generateName`.
    pub name: Cow<'r, str>,
    /// Namespace of the object; empty for cluster-scoped ones. For a Namespace its own name.
    pub namespace: Cow<'r, str>,
    /// What is wanted.
    pub operation: Operation,
    /// Who wants it.
    pub user_info: UserInfo<'r>,
    /// The object as it would be; absent for DELETE.
    pub object: Option<Object<'r>>,
    /// The object as it is; absent for CREATE.
    pub old_object: Option<Object<'r>>,
    /// Nothing will be stored. Answers are the same, and none has a side effect.
    pub dry_run: bool,
}

/// A kind.
#[derive(Debug, Deserialize)]
pub struct GroupVersionKind<'r> {
    /// API group; empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'r, str>,
    /// Version.
    #[serde(borrow, default)]
    pub version: Cow<'r, str>,
    /// Name, as in `kind:`.
    #[serde(borrow)]
    pub kind: Cow<'r, str>,
}

/// A resource.
#[derive(Debug, Deserialize)]
pub struct GroupVersionResource<'r> {
    /// API group; empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'r, str>,
    /// Version.
    #[serde(borrow, default)]
    pub version: Cow<'r, str>,
    /// Name in URLs: plural, lower case.
    #[serde(borrow)]
    pub resource: Cow<'r, str>,
}

/// Who asks.
#[derive(Debug, Deserialize)]
pub struct UserInfo<'r> {
    /// Name of the user.
    #[serde(borrow)]
    pub username: Cow<'r, str>,
    /// The user's groups.
    #[serde(borrow, default, deserialize_with = "list")]
    groups: Vec<Text<'r>>,
}

impl UserInfo<'_> {
    /// The user's groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|Text(group)| &**group)
    }
}

/// A text; without a type of its own serde would copy it.
#[derive(Debug, Default, Deserialize)]
struct Text<'r>(#[serde(borrow)] Cow<'r, str>);

/// A list, which Go also writes as null.
fn list<'r, D: Deserializer<'r>>(value: D) -> Result<Vec<Text<'r>>, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// Why there is no question in a body.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewError {
    /// Nothing in it can be answered: there is no uid, or the text is no JSON.
    #[error("the body is no AdmissionReview: {0}")]
    Unreadable(String),
    /// It has a uid, and more cannot be read. It is denied.
    #[error("{reason}")]
    Denied {
        /// What the answer must repeat.
        uid: String,
        /// What is wrong.
        reason: String,
    },
}

/// As much of a review as is needed to deny it.
#[derive(Deserialize)]
struct Deniable<'r> {
    #[serde(borrow)]
    request: Identified<'r>,
}

#[derive(Deserialize)]
struct Identified<'r> {
    #[serde(borrow)]
    uid: Cow<'r, str>,
}

/// Reads a question.
///
/// # Errors
/// A body that is no review at all, or one that must be denied. An answer without the uid counts as no answer, and a webhook
/// that may be ignored would then have let pass what it could not read.
pub fn read(body: &[u8], reading: Reading) -> Result<Request<'_>, ReviewError> {
    let denied = |uid: &str, reason: String| ReviewError::Denied { uid: uid.to_owned(), reason };
    match review(body, reading) {
        Ok(review) if review.request.uid.is_empty() => Err(ReviewError::Unreadable("request.uid is empty".to_owned())),
        Ok(review) if review.api_version != API_VERSION || review.kind != KIND => {
            let found = format!("{:?} {:?}", review.api_version, review.kind);
            Err(denied(&review.request.uid, format!("this webhook speaks {API_VERSION} {KIND}, and not {found}")))
        }
        Ok(review) => Ok(review.request),
        Err(error) => match serde_json::from_slice::<Deniable<'_>>(body) {
            Ok(Deniable { request: Identified { uid } }) if !uid.is_empty() => {
                Err(denied(&uid, format!("this request cannot be read: {}", text::line(&error.to_string()))))
            }
            Ok(_) | Err(_) => Err(ReviewError::Unreadable(error.to_string())),
        },
    }
}

fn review(body: &[u8], reading: Reading) -> Result<Review<'_>, serde_json::Error> {
    // JSON is UTF-8 (RFC 8259, 8.1). Found out once, no text in it need be asked again.
    let text = str::from_utf8(body).map_err(serde_json::Error::custom)?;
    // What cannot be read this way may be an object that nobody will look at, or one that is just too deep inside of a review:
    // its text says.
    if reading != Reading::Texts
        && let Ok(review) = whole(text, reading)
    {
        return Ok(review);
    }
    whole(text, Reading::Texts)
}

fn whole(text: &str, reading: Reading) -> Result<Review<'_>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let review = Whole(reading).deserialize(&mut json)?;
    json.end().map(|()| review)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVIEW: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{
        "uid":"7f1","kind":{"group":"sluicegate.dev","version":"v1alpha1","kind":"FluxConfig"},
        "resource":{"group":"sluicegate.dev","version":"v1alpha1","resource":"fluxconfigs"},
        "requestKind":{"group":"sluicegate.dev","version":"v1alpha1","kind":"FluxConfig"},
        "name":"shop","namespace":"team-a","operation":"CREATE",
        "userInfo":{"username":"al\u0069ce","uid":"1","groups":["a"],"extra":{"x":["y"]}},
        "object":{"spec":{}},"oldObject":null,"dryRun":true,"options":{"kind":"CreateOptions"}}}"#;

    #[test]
    fn reads_without_copying() {
        let request = read(REVIEW.as_bytes(), Reading::Texts).unwrap();
        assert_eq!((&*request.uid, &*request.name, &*request.namespace), ("7f1", "shop", "team-a"));
        assert_eq!((request.operation, request.dry_run), (Operation::Create, true));
        assert!(matches!(request.uid, Cow::Borrowed(_)) && matches!(request.kind.kind, Cow::Borrowed(_)));
        // Only what is escaped is written out.
        assert_eq!(request.user_info.username, "alice");
        assert!(request.user_info.groups().eq(["a"]));
        assert!(matches!(request.user_info.groups[0], Text(Cow::Borrowed(_))));
        assert_eq!(request.object.as_ref().and_then(Object::text), Some("{\"spec\":{}}"));
        assert!(request.old_object.is_none() && request.sub_resource.is_empty());
    }

    #[test]
    fn denies_with_the_uid_what_it_cannot_read() {
        for (from, to, why) in [
            ("\"CREATE\"", "\"PAINT\"", "PAINT"),
            ("\"CREATE\"", "7", "expected value"),
            ("\"userInfo\":{", "\"userInfo\":[],\"user\":{", "invalid length 0"),
            ("\"operation\":\"CREATE\",", "", "missing field `operation`"),
            ("admission.k8s.io/v1\"", "admission.k8s.io/v2\"", "admission.k8s.io/v2"),
            ("AdmissionReview", "PodReview", "PodReview"),
        ] {
            let text = REVIEW.replace(from, to);
            for reading in [Reading::Texts, Reading::Pods, Reading::Configs] {
                match read(text.as_bytes(), reading) {
                    Err(ReviewError::Denied { uid, reason }) => {
                        assert_eq!(uid, "7f1");
                        assert!(reason.contains(why), "{reason}");
                    }
                    other => panic!("{to}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn answers_nothing_where_there_is_no_uid() {
        let cut = &REVIEW[..REVIEW.len() - 9];
        let nameless = REVIEW.replace("\"uid\":\"7f1\",", "");
        let empty = REVIEW.replace("\"7f1\"", "\"\"");
        let deep = format!("{{\"request\":{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for reading in [Reading::Texts, Reading::Pods, Reading::Configs] {
            for text in ["", "null", "[]", "{}", "{\"request\":null}", cut, &nameless, &empty, &deep] {
                assert!(matches!(read(text.as_bytes(), reading), Err(ReviewError::Unreadable(_))), "{text}");
            }
            let no_text = b"\xff\xfe{\"request\":{\"uid\":\"1\"}}";
            assert!(matches!(read(no_text, reading), Err(ReviewError::Unreadable(_))));
        }
    }
}
