//! What is wrong with a document that does not decode.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::suggest::suggest;
use super::{Address, UnknownField};
use crate::manifest::yaml::{Place, Span};

/// Why a document is not the type that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    kind: DecodeErrorKind,
    path: String,
    place: Option<Place>,
    unknown: Vec<UnknownField>,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// A text is expected, and the unquoted value is something else.
    #[error("`{text}` reads as {reads_as} here, not as a text; put it in quotes: \"{text}\"")]
    NeedsQuotes {
        /// The unquoted value.
        text: String,
        /// "a boolean", "a number", "nothing".
        reads_as: &'static str,
    },
    /// An unquoted value that YAML 1.1 and 1.2 read differently.
    #[error(
        "`{text}` is {yaml_1_1} in YAML 1.1, as Kubernetes reads it, and {yaml_1_2} in YAML 1.2; \
         {advice}"
    )]
    Disputed {
        /// The unquoted value.
        text: String,
        /// What it is in YAML 1.1.
        yaml_1_1: &'static str,
        /// What it is in YAML 1.2.
        yaml_1_2: &'static str,
        /// What to write instead.
        advice: &'static str,
    },
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What is written.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// A field that must be there is not, or has no value.
    #[error("`{field}` is missing, and it is required")]
    MissingField {
        /// Its name.
        field: &'static str,
    },
    /// A word that is not one of those allowed.
    #[error("`{found}` is not one of {}{}", list(allowed), did_you_mean(suggestion.as_deref()))]
    UnknownVariant {
        /// What is written.
        found: String,
        /// What is allowed.
        allowed: Vec<String>,
        /// The nearest of those, if any is near.
        suggestion: Option<String>,
    },
    /// A tag that does not fit its value, or has no meaning in a manifest.
    #[error("this tag has no meaning here; leave it out")]
    Tag,
    /// What the type itself says against the value.
    #[error("{0}")]
    Invalid(String),
}

impl DecodeError {
    pub(super) fn new(kind: DecodeErrorKind) -> Self {
        Self(Box::new(Inner { kind, path: String::new(), place: None, unknown: Vec::new() }))
    }

    /// Gives the error its place, unless it has one: the innermost knows best.
    pub(super) fn at(mut self, address: &Address<'_>, place: Place) -> Self {
        if self.0.place.is_none() {
            self.0.path = address.render();
            self.0.place = Some(place);
        }
        self
    }

    pub(super) fn with_unknown(mut self, unknown: Vec<UnknownField>) -> Self {
        self.0.unknown = unknown;
        self
    }

    /// What is wrong.
    #[must_use]
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.0.kind
    }

    /// The path of the field, in the notation of [`crate::manifest::path`]; for a missing
    /// field that of its parent. Empty for the document itself.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Where the field is.
    #[must_use]
    pub fn place(&self) -> Place {
        self.0.place.unwrap_or(Place { value: Span::default(), key: None })
    }

    /// What to underline.
    #[must_use]
    pub fn span(&self) -> Span {
        self.place().highlight()
    }

    /// The fields that were not known, as far as decoding came: a misspelt field is often
    /// the reason why another is missing.
    #[must_use]
    pub fn unknown(&self) -> &[UnknownField] {
        &self.0.unknown
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(formatter, "{}: ", self.0.path)?;
        }
        self.0.kind.fmt(formatter)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(DecodeErrorKind::Invalid(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(DecodeErrorKind::WrongType { found: found.to_string(), expected: expected.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(DecodeErrorKind::MissingField { field })
    }

    fn unknown_variant(found: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(DecodeErrorKind::UnknownVariant {
            found: found.to_owned(),
            allowed: allowed.iter().map(ToString::to_string).collect(),
            suggestion: suggest(found, allowed).map(str::to_owned),
        })
    }
}

pub(super) fn list<T: AsRef<str>>(allowed: &[T]) -> String {
    let quoted: Vec<String> = allowed.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => "nothing: no value is allowed here".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

pub(super) fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
