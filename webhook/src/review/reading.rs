//! The fields of a review, in whatever order they come. Where those before an object say what will be looked at, the object
//! is read for that then and there; otherwise its text is kept for later.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sluicegate_crds::GROUP;
use sluicegate_policy::{guard::is_read_whole, workload::Pods};

use super::{FLUX_CONFIGS, GroupVersionKind, GroupVersionResource, Object, Operation, Request, Text, UserInfo};

/// What of objects is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Their texts.
    Texts,
    /// What their pods name; of Flux objects, NetworkPolicies, and those that nobody looks at, the texts.
    Pods,
    /// FluxConfigs; of all others the texts.
    Configs,
}

impl Reading {
    /// How the object that comes next is read, by what came before it.
    fn next(self, resource: Option<&GroupVersionResource<'_>>, operation: Option<Operation>) -> Reading {
        let (Some(resource), Some(Operation::Create | Operation::Update)) = (resource, operation) else {
            return Reading::Texts;
        };
        match self {
            Reading::Pods if !is_read_whole(&resource.group, &resource.resource) => Reading::Pods,
            Reading::Configs if resource.group == GROUP && resource.resource == FLUX_CONFIGS => Reading::Configs,
            Reading::Texts | Reading::Pods | Reading::Configs => Reading::Texts,
        }
    }
}

/// Both versions and kinds, and the request.
pub(super) struct Review<'r> {
    pub(super) api_version: Cow<'r, str>,
    pub(super) kind: Cow<'r, str>,
    pub(super) request: Request<'r>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ReviewField {
    ApiVersion,
    Kind,
    Request,
    #[serde(other)]
    Other,
}

/// A review that is read so.
pub(super) struct Whole(pub(super) Reading);

impl<'r> DeserializeSeed<'r> for Whole {
    type Value = Review<'r>;

    fn deserialize<D: Deserializer<'r>>(self, review: D) -> Result<Review<'r>, D::Error> {
        review.deserialize_map(self)
    }
}

impl<'r> Visitor<'r> for Whole {
    type Value = Review<'r>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut entries: A) -> Result<Review<'r>, A::Error> {
        let (mut api_version, mut kind, mut request) = (None, None, None);
        while let Some(field) = entries.next_key()? {
            match field {
                ReviewField::ApiVersion => take(&mut api_version, "apiVersion", || entries.next_value::<Text<'r>>())?,
                ReviewField::Kind => take(&mut kind, "kind", || entries.next_value::<Text<'r>>())?,
                ReviewField::Request => take(&mut request, "request", || entries.next_value_seed(InReview(self.0)))?,
                ReviewField::Other => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Review {
            api_version: given(api_version, "apiVersion")?.0,
            kind: given(kind, "kind")?.0,
            request: given(request, "request")?,
        })
    }
}

/// The request of a review.
struct InReview(Reading);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Uid,
    Kind,
    Resource,
    SubResource,
    Name,
    Namespace,
    Operation,
    UserInfo,
    Object,
    OldObject,
    DryRun,
    #[serde(other)]
    Other,
}

impl<'r> DeserializeSeed<'r> for InReview {
    type Value = Request<'r>;

    fn deserialize<D: Deserializer<'r>>(self, request: D) -> Result<Request<'r>, D::Error> {
        request.deserialize_map(self)
    }
}

impl<'r> Visitor<'r> for InReview {
    type Value = Request<'r>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'r>>(self, mut entries: A) -> Result<Request<'r>, A::Error> {
        let (mut uid, mut kind, mut resource, mut sub_resource) = (None, None, None, None);
        let (mut name, mut namespace, mut operation, mut user_info) = (None, None, None, None);
        let (mut object, mut old_object, mut dry_run) = (None, None, None);
        while let Some(field) = entries.next_key()? {
            match field {
                Field::Uid => take(&mut uid, "uid", || entries.next_value::<Text<'r>>())?,
                Field::Kind => take(&mut kind, "kind", || entries.next_value::<GroupVersionKind<'r>>())?,
                Field::Resource => {
                    take(&mut resource, "resource", || entries.next_value::<GroupVersionResource<'r>>())?;
                }
                Field::SubResource => take(&mut sub_resource, "subResource", || entries.next_value::<Text<'r>>())?,
                Field::Name => take(&mut name, "name", || entries.next_value::<Text<'r>>())?,
                Field::Namespace => take(&mut namespace, "namespace", || entries.next_value::<Text<'r>>())?,
                Field::Operation => take(&mut operation, "operation", || entries.next_value::<Operation>())?,
                Field::UserInfo => take(&mut user_info, "userInfo", || entries.next_value::<UserInfo<'r>>())?,
                Field::Object => {
                    let reading = self.0.next(resource.as_ref(), operation);
                    take(&mut object, "object", || next_object(&mut entries, reading))?;
                }
                Field::OldObject => {
                    let reading = self.0.next(resource.as_ref(), operation);
                    take(&mut old_object, "oldObject", || next_object(&mut entries, reading))?;
                }
                Field::DryRun => take(&mut dry_run, "dryRun", || entries.next_value())?,
                Field::Other => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        let text = |text: Option<Text<'r>>| text.unwrap_or_default().0;
        Ok(Request {
            uid: given(uid, "uid")?.0,
            kind: given(kind, "kind")?,
            resource: given(resource, "resource")?,
            sub_resource: text(sub_resource),
            name: text(name),
            namespace: text(namespace),
            operation: given(operation, "operation")?,
            user_info: given(user_info, "userInfo")?,
            object: object.flatten(),
            old_object: old_object.flatten(),
            dry_run: dry_run.unwrap_or_default(),
        })
    }
}

fn next_object<'r, A: MapAccess<'r>>(entries: &mut A, reading: Reading) -> Result<Option<Object<'r>>, A::Error> {
    Ok(match reading {
        Reading::Texts => entries.next_value::<Option<&'r RawValue>>()?.map(Object::Text),
        Reading::Pods => entries.next_value::<Option<Pods<'r>>>()?.map(Object::Pods),
        Reading::Configs => entries.next_value::<Option<Box<_>>>()?.map(Object::Config),
    })
}

/// Which of two counts is for nobody to guess.
fn take<T, E: Error>(field: &mut Option<T>, name: &'static str, value: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
    if field.is_some() {
        return Err(E::duplicate_field(name));
    }
    *field = Some(value()?);
    Ok(())
}

fn given<T, E: Error>(field: Option<T>, name: &'static str) -> Result<T, E> {
    field.ok_or_else(|| E::missing_field(name))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{ReviewError, read},
        *,
    };

    const POD: &str = r#"{"spec":{"containers":[{"image":"a"}],"serviceAccountName":"robot"}}"#;

    /// A review with these fields beside those that every request has.
    fn review(fields: &[(&str, &str)]) -> String {
        let fields: String = fields.iter().map(|(name, value)| format!(r#","{name}":{value}"#)).collect();
        format!(
            r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"7f1","kind":{{"group":"","version":"v1","kind":"Pod"}},"userInfo":{{"username":"alice"}}{fields}}}}}"#
        )
    }

    fn resource(group: &str) -> String {
        format!(r#"{{"group":"{group}","version":"v1","resource":"pods"}}"#)
    }

    /// What is found of an object, by whichever way: `None` where it cannot be read.
    fn pods<'o>(object: &'o Option<Object<'_>>) -> Option<Pods<'o>> {
        match object.as_ref().unwrap() {
            Object::Pods(pods) => Some(pods.clone()),
            Object::Text(text) => Pods::read(text.get()).ok(),
            Object::Config(_) => panic!("nobody asked for a FluxConfig"),
        }
    }

    #[test]
    fn an_object_is_read_where_it_stands_if_only_its_pods_count() {
        for (group, operation, reading, is_read) in [
            ("", "CREATE", Reading::Pods, true),
            ("apps", "UPDATE", Reading::Pods, true),
            ("", "CREATE", Reading::Texts, false),
            ("", "DELETE", Reading::Pods, false),
            ("", "CONNECT", Reading::Pods, false),
            ("source.toolkit.fluxcd.io", "CREATE", Reading::Pods, false),
        ] {
            let (resource, operation) = (resource(group), format!("{operation:?}"));
            let fields = [("resource", &*resource), ("operation", &operation), ("object", POD), ("oldObject", POD)];
            let body = review(&fields);
            let request = read(body.as_bytes(), reading).unwrap();
            for object in [&request.object, &request.old_object] {
                assert_eq!(matches!(object, Some(Object::Pods(_))), is_read, "{body}");
                assert_eq!(pods(object), Pods::read(POD).ok());
            }
        }
    }

    #[test]
    fn a_flux_config_is_read_where_it_stands() {
        const CONFIG: &str =
            r#"{"metadata":{"name":"shop","managedFields":[{"fieldsV1":{}}]},"spec":{"source":{"url":"https://a/b"}}}"#;
        const UNKNOWN: &str = r#"{"spec":{"source":"of all evil"}}"#;
        let resource =
            |group: &str, name: &str| format!(r#"{{"group":"{group}","version":"v1alpha1","resource":"{name}"}}"#);
        let configs = resource(GROUP, FLUX_CONFIGS);
        for (resource, operation, object, reading, is_read) in [
            (&configs, "CREATE", CONFIG, Reading::Configs, true),
            (&configs, "UPDATE", CONFIG, Reading::Configs, true),
            (&configs, "DELETE", CONFIG, Reading::Configs, false),
            (&configs, "CREATE", CONFIG, Reading::Texts, false),
            (&configs, "CREATE", UNKNOWN, Reading::Configs, false),
            (&resource(GROUP, "fluxpolicies"), "CREATE", CONFIG, Reading::Configs, false),
            (&resource("example.com", FLUX_CONFIGS), "CREATE", CONFIG, Reading::Configs, false),
        ] {
            let operation = format!("{operation:?}");
            let fields =
                [("resource", &**resource), ("operation", &operation), ("object", object), ("oldObject", CONFIG)];
            let body = review(&fields);
            match read(body.as_bytes(), reading).unwrap().object.unwrap() {
                Object::Config(read) => {
                    assert!(is_read, "{body}");
                    assert_eq!((&*read.metadata.name, &*read.spec.source.url), ("shop", "https://a/b"));
                }
                Object::Text(text) => assert_eq!((is_read, text.get()), (false, object)),
                Object::Pods(_) => panic!("nobody asked for pods"),
            }
        }
    }

    #[test]
    fn the_order_of_the_fields_changes_nothing() {
        let resource = resource("");
        let fields = [("resource", &*resource), ("operation", "\"CREATE\""), ("object", POD), ("name", "\"shop\"")];
        let mut read_early = 0;
        for [a, b, c, d] in permutations() {
            let body = review(&[fields[a], fields[b], fields[c], fields[d]]);
            let request = read(body.as_bytes(), Reading::Pods).unwrap();
            assert_eq!(pods(&request.object), Pods::read(POD).ok(), "{body}");
            assert_eq!((&*request.name, request.operation), ("shop", Operation::Create));
            read_early += usize::from(request.object.unwrap().text().is_none());
        }
        // Of three places after two others, the last, whatever stands between.
        assert_eq!(read_early, 24 / 3);
    }

    fn permutations() -> impl Iterator<Item = [usize; 4]> {
        let all = (0..256).map(|n| [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6]);
        all.filter(|order| (0..4).all(|place| order.contains(&place)))
    }

    #[test]
    fn what_comes_twice_is_denied() {
        let resource = resource("");
        for twice in ["object", "oldObject", "resource", "operation", "dryRun"] {
            let fields = [
                ("resource", &*resource),
                ("operation", "\"UPDATE\""),
                ("object", POD),
                ("oldObject", "null"),
                ("dryRun", "true"),
            ];
            let again = *fields.iter().find(|(name, _)| *name == twice).unwrap();
            for place in 0..=fields.len() {
                let mut fields = fields.to_vec();
                fields.insert(place, again);
                for reading in [Reading::Texts, Reading::Pods, Reading::Configs] {
                    match read(review(&fields).as_bytes(), reading) {
                        Err(ReviewError::Denied { uid, reason }) => {
                            assert_eq!(uid, "7f1");
                            assert!(reason.contains(&format!("duplicate field `{twice}`")), "{reason}");
                        }
                        other => panic!("{twice}: {other:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn reading_once_finds_what_reading_twice_finds() {
        let nested = |depth: usize| format!("{}{POD}{}", "{\"x\":".repeat(depth), "}".repeat(depth));
        let (deep, deeper, deepest) = (nested(121), nested(123), nested(124));
        let resource = resource("");
        for (object, is_read, is_readable) in [
            (POD, true, true),
            (
                r#"{"spec":{"containers":[{"image":"a","image":"b"}]},"spec":{"containers":[{"image":"c"}]}}"#,
                true,
                true,
            ),
            (r#"{"spec":{"\u0063ontainers":[{"image":"\u0061"}]}}"#, true, true),
            (
                r#"{"metadata":{"containers":[{"image":"a"}]},"status":{"volumes":[{"image":{"reference":"b"}}]}}"#,
                true,
                true,
            ),
            ("7", true, true),
            ("\"text\"", true, true),
            ("[]", true, true),
            // An object may be a little deeper than what stands inside of a review.
            (&deep, true, true),
            (&deeper, false, true),
            (&deepest, false, false),
            // JSON by its grammar, and nothing that has a meaning.
            (r#"{"spec":{"containers":[{"image":"\ud800"}]}}"#, false, false),
            (r#"{"spec":{"containers":[{"image":"a","x":1e999}]}}"#, false, false),
        ] {
            for operation in ["CREATE", "UPDATE"] {
                let operation = format!("{operation:?}");
                let fields = [("resource", &*resource), ("operation", &operation), ("object", object)];
                let body = review(&[&fields[..], &[("oldObject", object)]].concat());
                let once = read(body.as_bytes(), Reading::Pods).unwrap();
                let twice = read(body.as_bytes(), Reading::Texts).unwrap();
                for (once, twice) in [(&once.object, &twice.object), (&once.old_object, &twice.old_object)] {
                    assert_eq!(matches!(once, Some(Object::Pods(_))), is_read, "{object}");
                    assert_eq!(pods(twice).is_some(), is_readable, "{object}");
                    assert_eq!(pods(once), pods(twice), "{object}");
                }
            }
        }
        for reading in [Reading::Texts, Reading::Pods, Reading::Configs] {
            let body = review(&[("resource", &resource), ("operation", "\"CREATE\""), ("object", "null")]);
            assert!(read(body.as_bytes(), reading).unwrap().object.is_none());
        }
    }
}
