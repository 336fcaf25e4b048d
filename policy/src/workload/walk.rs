//! Pods in an object, found while it is read: from a text or from a tree, and nothing of it is kept but what was looked for.
//!
//! Pods are found by their shape and not by the kind around them: a list `containers` whose items have an `image` is one in a
//! Deployment as in a kind that nobody has heard of. An object's own `metadata` and `status` are passed over: nothing is run
//! from there, and `managedFields` are often most of an object.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// Containers of a pod, wherever they stand.
const CONTAINERS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Something that pods name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named<'o> {
    /// An image that is run or mounted.
    Image(Cow<'o, str>),
    /// The ServiceAccount that it runs as.
    Account(Cow<'o, str>),
}

/// Where something stands. It becomes a text only for those who ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'p> {
    before: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Root,
    Key(&'p str),
    Item(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before {
            before.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(key) if is_plain(key) => {
                if self.before.is_some_and(|before| before.before.is_some()) {
                    f.write_char('.')?;
                }
                f.write_str(key)
            }
            Step::Key(key) => write!(f, "[{}]", Value::from(key)),
        }
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Who is told what was found, in the order of the object.
type Listener<'l, 'o> = &'l mut dyn FnMut(&Path<'_>, Named<'o>);

/// Reads an object, and tells of everything that its pods name.
///
/// # Errors
/// Where the object cannot be read. What was found before was told.
pub(crate) fn walk<'o, D: Deserializer<'o>>(object: D, listener: Listener<'_, 'o>) -> Result<(), D::Error> {
    let root = Path { before: None, step: Step::Root };
    Walk { place: Place::Object, path: &root, listener }.deserialize(object)
}

/// What a value is, by the keys above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The object itself.
    Object,
    Anything,
    Containers,
    Container,
    Volumes,
    Volume,
    /// `volumes[].image` (KEP-4639).
    ImageVolume,
    Image,
    Account,
    /// Not looked at.
    Passed,
}

impl Place {
    fn under(self, key: &str) -> Place {
        match (self, key) {
            (Place::Object, "metadata" | "status") => Place::Passed,
            (Place::Container, "image") | (Place::ImageVolume, "reference") => Place::Image,
            (Place::Volume, "image") => Place::ImageVolume,
            (_, "volumes") => Place::Volumes,
            (_, "serviceAccountName") => Place::Account,
            (_, key) if CONTAINERS.contains(&key) => Place::Containers,
            _ => Place::Anything,
        }
    }

    fn item(self) -> Place {
        match self {
            Place::Containers => Place::Container,
            Place::Volumes => Place::Volume,
            _ => Place::Anything,
        }
    }
}

struct Walk<'w, 'l, 'o> {
    place: Place,
    path: &'w Path<'w>,
    listener: Listener<'l, 'o>,
}

impl<'o> Walk<'_, '_, 'o> {
    fn text(self, text: Cow<'o, str>) {
        match self.place {
            Place::Image => (self.listener)(self.path, Named::Image(text)),
            Place::Account => (self.listener)(self.path, Named::Account(text)),
            _ => {}
        }
    }
}

impl<'o> DeserializeSeed<'o> for Walk<'_, '_, 'o> {
    type Value = ();

    fn deserialize<D: Deserializer<'o>>(self, value: D) -> Result<(), D::Error> {
        if self.place == Place::Passed {
            return value.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        value.deserialize_any(self)
    }
}

impl<'o> Visitor<'o> for Walk<'_, '_, 'o> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'o str) -> Result<(), E> {
        self.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'o>>(self, mut items: A) -> Result<(), A::Error> {
        let Walk { place, path, listener } = self;
        for index in 0.. {
            let path = Path { before: Some(path), step: Step::Item(index) };
            let item = Walk { place: place.item(), path: &path, listener: &mut *listener };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'o>>(self, mut entries: A) -> Result<(), A::Error> {
        let Walk { place, path, listener } = self;
        while let Some(key) = entries.next_key_seed(Key)? {
            let path = Path { before: Some(path), step: Step::Key(&key) };
            let value = Walk { place: place.under(&key), path: &path, listener: &mut *listener };
            entries.next_value_seed(value)?;
        }
        Ok(())
    }
}

/// A key, borrowed where nothing in it is escaped.
pub(crate) struct Key;

impl<'o> DeserializeSeed<'o> for Key {
    type Value = Cow<'o, str>;

    fn deserialize<D: Deserializer<'o>>(self, key: D) -> Result<Cow<'o, str>, D::Error> {
        key.deserialize_str(self)
    }
}

impl<'o> Visitor<'o> for Key {
    type Value = Cow<'o, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'o, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }

    fn visit_borrowed_str<E>(self, key: &'o str) -> Result<Cow<'o, str>, E> {
        Ok(Cow::Borrowed(key))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(text: &str) -> Vec<(String, Named<'_>)> {
        let mut found = Vec::new();
        let mut text = serde_json::Deserializer::from_str(text);
        walk(&mut text, &mut |path, named| found.push((path.to_string(), named))).unwrap();
        found
    }

    #[test]
    fn a_text_and_its_tree_name_the_same() {
        let object = json!({"spec": {"template": {"spec": {
            "containers": [{"image": "a"}, {"image": 7}, "x", [{"image": "y"}], {"image": {"reference": "z"}}],
            "odd key": {"containers": [{"image": "\u{e9}\n"}]}, "": {"initContainers": [{"image": "b", "env": [{"image": "n"}]}]},
            "volumes": [{"image": {"reference": "c"}}, {"image": "n"}, {"emptyDir": {"reference": "n"}}],
            "serviceAccountName": "robot", "ephemeralContainers": {"image": "n"}, "image": "n",
        }}}});
        let text = object.to_string();
        let mut tree = Vec::new();
        walk(&object, &mut |path, named| tree.push((path.to_string(), named))).unwrap();
        assert_eq!(found(&text), tree);
        let mut fields: Vec<(&str, &str)> = tree
            .iter()
            .map(|(field, named)| match named {
                Named::Image(text) | Named::Account(text) => (field.as_str(), &**text),
            })
            .collect();
        fields.sort_unstable();
        let expected = [
            ("spec.template.spec.containers[0].image", "a"),
            ("spec.template.spec.serviceAccountName", "robot"),
            ("spec.template.spec.volumes[0].image.reference", "c"),
            ("spec.template.spec[\"\"].initContainers[0].image", "b"),
            ("spec.template.spec[\"odd key\"].containers[0].image", "\u{e9}\n"),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn nothing_is_copied_that_is_not_escaped() {
        let found = found(r#"{"spec":{"containers":[{"image":"a"},{"image":"b\u0062"}]}}"#);
        assert!(matches!(found[0].1, Named::Image(Cow::Borrowed("a"))));
        assert!(matches!(&found[1].1, Named::Image(Cow::Owned(text)) if text == "bb"));
    }

    #[test]
    fn of_a_key_that_comes_twice_both_are_seen() {
        let found =
            found(r#"{"spec":{"containers":[{"image":"a","image":"b"}]},"spec":{"containers":[{"image":"c"}]}}"#);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn what_was_recorded_of_an_object_names_nothing() {
        let record = r#"{"metadata":{"x":{"containers":[{"image":"a"}]}},"status":{"containers":[{"image":"a"}]},"spec":{"status":{"containers":[{"image":"b"}]}}}"#;
        assert_eq!(found(record), [("spec.status.containers[0].image".to_owned(), Named::Image("b".into()))]);
    }

    #[test]
    fn what_is_too_deep_is_an_error() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(walk(&mut serde_json::Deserializer::from_str(&deep), &mut |_, _| {}).is_err());
    }
}
