//! Documents to Rust types, strictly.
//!
//! [`decode`] guesses nothing: a text must be a text to every reader of YAML, a boolean
//! `true` or `false`, and nothing is turned into something else. A value of `null` is a
//! field that is not there, as the Kubernetes API server has it. Fields that a type does
//! not know are collected, not refused: what follows from them is the caller's to say.
//!
//! Serde's own buffering hides what is inside `#[serde(flatten)]` and untagged enums: errors
//! there point at the value around them, and unknown fields there go unseen.

mod error;
mod suggest;

use std::cell::RefCell;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

pub use error::{DecodeError, DecodeErrorKind};

use super::path;
use super::yaml::{Entry, Kind, Node, Place, Plain, Span, Style, resolve};
use error::{did_you_mean, list};
use suggest::suggest;

/// A decoded document and what its type did not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<T> {
    /// The value.
    pub value: T,
    /// Fields that the type does not have, in the order of the text.
    pub unknown: Vec<UnknownField>,
}

/// A field that its type does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Its path, in the notation of [`path`].
    pub path: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// The names that are allowed in its stead.
    pub allowed: &'static [&'static str],
    /// The nearest of those, if any is near.
    pub suggestion: Option<&'static str>,
}

impl UnknownField {
    /// The key: what to underline.
    #[must_use]
    pub fn span(&self) -> Span {
        self.place.key.unwrap_or(self.place.value)
    }
}

impl std::fmt::Display for UnknownField {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "unknown field `{}`", self.path)?;
        match self.suggestion {
            Some(_) => formatter.write_str(&did_you_mean(self.suggestion)),
            None => write!(formatter, "; allowed are {}", list(self.allowed)),
        }
    }
}

/// Decodes a document, or a part of one, as a `T`.
///
/// # Errors
/// The first value that is not what `T` wants, with its path and place.
pub fn decode<T: DeserializeOwned>(node: Node<'_>) -> Result<Decoded<T>, DecodeError> {
    let unknown = RefCell::new(Vec::new());
    let address = Address::Root;
    let value = Value { node, key: None, address: &address, unknown: &unknown, numbers_as_text: false };
    let place = value.place();
    match T::deserialize(value) {
        Ok(value) => Ok(Decoded { value, unknown: unknown.into_inner() }),
        Err(error) => Err(error.at(&address, place).with_unknown(unknown.into_inner())),
    }
}

/// The way from the root to a value, on the stack; text only where somebody asks.
pub(crate) enum Address<'a> {
    /// The value that was given to [`decode`].
    Root,
    /// A field or an entry of a map.
    Key(&'a Address<'a>, &'a str),
    /// An item of a list.
    Index(&'a Address<'a>, usize),
}

impl Address<'_> {
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, key) => {
                let mut text = parent.render();
                path::push_key(&mut text, key);
                text
            }
            Self::Index(parent, index) => {
                let mut text = parent.render();
                path::push_index(&mut text, *index);
                text
            }
        }
    }
}

/// A value on its way into a type.
#[derive(Clone, Copy)]
struct Value<'d, 'a> {
    node: Node<'d>,
    key: Option<Span>,
    address: &'a Address<'a>,
    unknown: &'a RefCell<Vec<UnknownField>>,
    /// A Kubernetes quantity may be written as a number.
    numbers_as_text: bool,
}

impl<'d> Value<'d, '_> {
    fn place(&self) -> Place {
        Place { value: self.node.span(), key: self.key }
    }

    fn fail(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError::new(kind).at(self.address, self.place())
    }

    fn wrong(&self, expected: &dyn serde::de::Expected) -> DecodeError {
        self.fail(DecodeErrorKind::WrongType { found: describe(self.node), expected: expected.to_string() })
    }

    fn check_tag(&self) -> Result<(), DecodeError> {
        if self.node.tag_fits() { Ok(()) } else { Err(self.fail(DecodeErrorKind::Tag)) }
    }

    fn disputed(&self, advice: &'static str) -> DecodeError {
        let text = self.node.scalar().map_or("", |(text, _)| text);
        match resolve(text) {
            Plain::Disputed { yaml_1_1, yaml_1_2 } => {
                self.fail(DecodeErrorKind::Disputed { text: text.to_owned(), yaml_1_1, yaml_1_2, advice })
            }
            _ => self.fail(DecodeErrorKind::Invalid("cannot be read".to_owned())),
        }
    }

    /// The text of a scalar that must be one.
    fn text(&self, expected: &dyn serde::de::Expected) -> Result<&'d str, DecodeError> {
        self.check_tag()?;
        let Some((text, _)) = self.node.scalar() else {
            return Err(self.wrong(expected));
        };
        match self.node.kind() {
            Kind::Text => Ok(text),
            Kind::Integer | Kind::Float if self.numbers_as_text => Ok(text),
            Kind::Disputed => Err(self.disputed("put it in quotes")),
            kind if text.is_empty() => {
                Err(self
                    .fail(DecodeErrorKind::WrongType { found: kind.noun().to_owned(), expected: expected.to_string() }))
            }
            kind => Err(self.fail(DecodeErrorKind::NeedsQuotes { text: text.to_owned(), reads_as: kind.noun() })),
        }
    }

    fn number<V: Visitor<'d>>(&self, visitor: V) -> Result<V::Value, DecodeError> {
        self.check_tag()?;
        let plain = self.node.scalar().filter(|(_, style)| *style == Style::Plain).map(|(text, _)| resolve(text));
        match plain {
            Some(Plain::Integer(value)) if self.node.kind() == Kind::Integer => visit_integer(value, visitor),
            Some(Plain::Float(value)) if self.node.kind() == Kind::Float => visitor.visit_f64(value),
            Some(Plain::Disputed { .. }) if self.node.kind() == Kind::Disputed => {
                Err(self.disputed("write a plain decimal number"))
            }
            _ => Err(self.wrong(&visitor)),
        }
    }

    fn map<V: Visitor<'d>>(self, fields: Option<&'static [&'static str]>, visitor: V) -> Result<V::Value, DecodeError> {
        self.check_tag()?;
        if self.node.kind() != Kind::Mapping {
            return Err(self.wrong(&visitor));
        }
        visitor
            .visit_map(Entries { of: self, rest: self.node.entries(), fields, current: None })
            .map_err(|error| error.at(self.address, self.place()))
    }

    fn list<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.check_tag()?;
        if self.node.kind() != Kind::Sequence {
            return Err(self.wrong(&visitor));
        }
        visitor
            .visit_seq(Items { of: self, rest: self.node.items(), index: 0 })
            .map_err(|error| error.at(self.address, self.place()))
    }
}

fn visit_integer<'d, V: Visitor<'d>>(value: i128, visitor: V) -> Result<V::Value, DecodeError> {
    if let Ok(value) = u64::try_from(value) {
        visitor.visit_u64(value)
    } else if let Ok(value) = i64::try_from(value) {
        visitor.visit_i64(value)
    } else {
        visitor.visit_i128(value)
    }
}

/// What is written, for messages: the kind, and a scalar's text where it is short.
fn describe(node: Node<'_>) -> String {
    let kind = node.kind();
    match node.scalar() {
        Some((text, _)) if !text.is_empty() && kind != Kind::Null => {
            let short: String = text.chars().take(40).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            format!("{} `{}{dots}`", kind.noun(), short.escape_debug())
        }
        _ => kind.noun().to_owned(),
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.number(visitor)
        }
    )*};
}

impl<'d> Deserializer<'d> for Value<'d, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.node.kind() {
            Kind::Null => {
                self.check_tag()?;
                visitor.visit_unit()
            }
            Kind::Bool => self.deserialize_bool(visitor),
            Kind::Integer | Kind::Float => self.number(visitor),
            Kind::Disputed => {
                Err(self.disputed("write `true` or `false`, a plain decimal number, or put it in quotes"))
            }
            Kind::Text => visitor.visit_borrowed_str(self.text(&"a text")?),
            Kind::Sequence => self.list(visitor),
            Kind::Mapping => self.map(None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.check_tag()?;
        match self.node.scalar().map(|(text, _)| resolve(text)) {
            Some(Plain::Bool { value, canonical }) if self.node.kind() == Kind::Bool => {
                if canonical {
                    return visitor.visit_bool(value);
                }
                Err(self.fail(DecodeErrorKind::WrongType {
                    found: describe(self.node),
                    expected: format!("`{value}` in lower case"),
                }))
            }
            _ if self.node.kind() == Kind::Disputed => Err(self.disputed("write `true` or `false`")),
            _ => Err(self.wrong(&"`true` or `false`")),
        }
    }

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    }

    fn deserialize_char<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let text = self.text(&visitor)?;
        visitor.visit_borrowed_str(text).map_err(|error: DecodeError| error.at(self.address, self.place()))
    }

    fn deserialize_string<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_unit() } else { Err(self.wrong(&visitor)) }
    }

    fn deserialize_unit_struct<V: Visitor<'d>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        // `cpu: 1` is a quantity to Kubernetes, which reads the number as the text `1`.
        self.numbers_as_text = name == "Quantity";
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.list(visitor)
    }

    fn deserialize_tuple<V: Visitor<'d>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.map(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.map(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.check_tag()?;
        let expected = || format!("one of {}", list(variants));
        let access = if self.node.kind() == Kind::Mapping {
            let mut entries = self.node.entries();
            match (entries.next(), entries.next()) {
                (Some(entry), None) => Variant { of: self, name: entry.name(), content: Some(entry) },
                _ => {
                    return Err(self.fail(DecodeErrorKind::WrongType {
                        found: "a mapping that has not exactly one key".to_owned(),
                        expected: expected(),
                    }));
                }
            }
        } else {
            Variant { of: self, name: self.text(&expected().as_str())?, content: None }
        };
        visitor.visit_enum(access).map_err(|error| error.at(self.address, self.place()))
    }

    fn deserialize_identifier<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

/// The entries of a mapping; of a struct where `fields` is known.
struct Entries<'d, 'a, I> {
    of: Value<'d, 'a>,
    rest: I,
    fields: Option<&'static [&'static str]>,
    current: Option<Entry<'d>>,
}

impl<'d, I: ExactSizeIterator<Item = Entry<'d>>> MapAccess<'d> for Entries<'d, '_, I> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        for entry in self.rest.by_ref() {
            let name = entry.name();
            let address = Address::Key(self.of.address, name);
            if let Some(fields) = self.fields {
                if !fields.contains(&name) {
                    self.of.unknown.borrow_mut().push(UnknownField {
                        path: address.render(),
                        name: name.to_owned(),
                        place: entry.place(),
                        allowed: fields,
                        suggestion: suggest(name, fields),
                    });
                    continue;
                }
                if entry.value.is_null() {
                    continue;
                }
            }
            self.current = Some(entry);
            let key = Key { entry, address: &address };
            return seed.deserialize(key).map(Some).map_err(|error| error.at(&address, key_place(&entry)));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let Some(entry) = self.current.take() else {
            return Err(DecodeError::custom("a value was asked for before its key"));
        };
        let address = Address::Key(self.of.address, entry.name());
        let value = Value {
            node: entry.value,
            key: Some(entry.key.span()),
            address: &address,
            unknown: self.of.unknown,
            numbers_as_text: false,
        };
        let place = value.place();
        seed.deserialize(value).map_err(|error| error.at(&address, place))
    }

    fn size_hint(&self) -> Option<usize> {
        self.fields.is_none().then(|| self.rest.len())
    }
}

/// The place of a key by itself.
fn key_place(entry: &Entry<'_>) -> Place {
    Place { value: entry.key.span(), key: Some(entry.key.span()) }
}

/// A key on its way into a type. Keys are texts; those that only look like another type are
/// taken where all readers make the same text of them.
struct Key<'d, 'a> {
    entry: Entry<'d>,
    address: &'a Address<'a>,
}

impl<'d> Key<'d, '_> {
    fn text(&self) -> Result<&'d str, DecodeError> {
        let name = self.entry.name();
        let fail = |kind| Err(DecodeError::new(kind).at(self.address, key_place(&self.entry)));
        let key = self.entry.key;
        if !key.tag_fits() {
            return fail(DecodeErrorKind::Tag);
        }
        let kind = key.kind();
        if kind == Kind::Text {
            return Ok(name);
        }
        match (kind, resolve(name)) {
            (Kind::Bool, Plain::Bool { canonical: true, .. }) => Ok(name),
            (Kind::Integer, Plain::Integer(value)) if value.to_string() == name => Ok(name),
            (Kind::Disputed, Plain::Disputed { yaml_1_1, yaml_1_2 }) => fail(DecodeErrorKind::Disputed {
                text: name.to_owned(),
                yaml_1_1,
                yaml_1_2,
                advice: "put it in quotes",
            }),
            (kind, _) => fail(DecodeErrorKind::NeedsQuotes { text: name.to_owned(), reads_as: kind.noun() }),
        }
    }
}

macro_rules! number_keys {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            match resolve(self.text()?) {
                Plain::Integer(value) => visit_integer(value, visitor),
                _ => Err(DecodeError::invalid_type(Unexpected::Str(self.entry.name()), &visitor)),
            }
        }
    )*};
}

impl<'d> Deserializer<'d> for Key<'d, '_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    number_keys! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        use serde::de::IntoDeserializer as _;
        let text: serde::de::value::StrDeserializer<'_, DecodeError> = self.text()?.into_deserializer();
        visitor.visit_enum(text)
    }

    forward_to_deserialize_any! {
        <W: Visitor<'d>>
        bool f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'d, 'a, I> {
    of: Value<'d, 'a>,
    rest: I,
    index: usize,
}

impl<'d, I: ExactSizeIterator<Item = Node<'d>>> SeqAccess<'d> for Items<'d, '_, I> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        let address = Address::Index(self.of.address, self.index);
        self.index += 1;
        let value = Value { node, key: None, address: &address, unknown: self.of.unknown, numbers_as_text: false };
        let place = value.place();
        seed.deserialize(value).map(Some).map_err(|error| error.at(&address, place))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// A variant of an enum: a word, or a mapping of one entry.
struct Variant<'d, 'a> {
    of: Value<'d, 'a>,
    name: &'d str,
    content: Option<Entry<'d>>,
}

impl<'d, 'a> Variant<'d, 'a> {
    fn inside<R>(
        self,
        expected: &str,
        take: impl FnOnce(Value<'d, '_>) -> Result<R, DecodeError>,
    ) -> Result<R, DecodeError> {
        let Some(entry) = self.content else {
            return Err(self.of.fail(DecodeErrorKind::WrongType {
                found: format!("the word `{}` alone", self.name),
                expected: expected.to_owned(),
            }));
        };
        let address = Address::Key(self.of.address, self.name);
        let value = Value {
            node: entry.value,
            key: Some(entry.key.span()),
            address: &address,
            unknown: self.of.unknown,
            numbers_as_text: false,
        };
        let place = value.place();
        take(value).map_err(|error| error.at(&address, place))
    }
}

impl<'d, 'a> EnumAccess<'d> for Variant<'d, 'a> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'d>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        use serde::de::IntoDeserializer as _;
        let place = match &self.content {
            Some(entry) => key_place(entry),
            None => self.of.place(),
        };
        let name: serde::de::value::StrDeserializer<'_, DecodeError> = self.name.into_deserializer();
        let variant = seed.deserialize(name).map_err(|error| error.at(self.of.address, place))?;
        Ok((variant, self))
    }
}

impl<'d> VariantAccess<'d> for Variant<'d, '_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.content {
            Some(entry) if !entry.value.is_null() => Err(self.of.fail(DecodeErrorKind::WrongType {
                found: "a mapping".to_owned(),
                expected: format!("the word `{}` alone", self.name),
            })),
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'d>>(self, seed: T) -> Result<T::Value, DecodeError> {
        self.inside("a mapping with that key and its value", |value| seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'d>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.inside("a mapping with that key and a list", |value| value.list(visitor))
    }

    fn struct_variant<V: Visitor<'d>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.inside("a mapping with that key and its fields", |value| value.map(Some(fields), visitor))
    }
}
