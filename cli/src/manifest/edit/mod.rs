//! Fields into a text, without touching another byte of it.
//!
//! [`insert_fields`] finds where a person would have written the field (`insert`), writes
//! it as its surroundings are written (`render`), and then reads the new text and compares:
//! what it hands back is the old tree plus the fields, or an error and nothing changed.

mod insert;
mod render;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::path::{self, Step};
use super::yaml::{Document, Kind, Limits, Node, Place, Span, YamlError, parse};

/// A field to insert.
#[derive(Debug, Clone, PartialEq)]
pub struct Addition {
    /// Where, in the notation of [`path`]; the last step is a name. Mappings on the way that
    /// do not exist are made.
    pub path: String,
    /// What: a scalar, a list or a small mapping. `null` adds nothing.
    pub value: Json,
}

impl Addition {
    /// The field `path` with the value `value`.
    pub fn new(path: impl Into<String>, value: impl Into<Json>) -> Self {
        Self { path: path.into(), value: value.into() }
    }
}

/// Why a field cannot be inserted. The text is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The text cannot be read.
    #[error("{0}")]
    Yaml(#[from] YamlError),
    /// There are not that many documents.
    #[error("there is no document number {index}: the text has {count}")]
    NoDocument {
        /// The document that was asked for, counted from zero, empty ones not counted.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The path cannot be one of a field to insert.
    #[error("`{path}` is not the path of a field that can be inserted")]
    BadPath {
        /// The path.
        path: String,
    },
    /// The field is there with another value.
    #[error("`{path}` is there already, with another value")]
    Conflict {
        /// The path.
        path: String,
        /// Where it is.
        place: Place,
    },
    /// Something on the way is a scalar or a list.
    #[error("`{path}` is {found}, so no field can be inserted there")]
    NotAMapping {
        /// The path of what is on the way.
        path: String,
        /// What it is.
        found: &'static str,
        /// Where it is.
        place: Place,
    },
    /// The mapping is written elsewhere, or stands for others too.
    #[error("`{path}` {how}; write `{field}` there by hand")]
    Shared {
        /// The path of the mapping.
        path: String,
        /// "is written through an alias", "comes from a merge key", …
        how: &'static str,
        /// The field to write.
        field: String,
        /// Where the mapping is.
        place: Place,
    },
    /// The field cannot be inserted with certainty.
    #[error("`{path}` cannot be inserted here without changing something else; write it by hand")]
    Unsafe {
        /// The path.
        path: String,
        /// Where it would be.
        place: Place,
    },
}

impl EditError {
    /// What to underline, where there is something to underline.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Yaml(error) => Some(error.span),
            Self::NoDocument { .. } | Self::BadPath { .. } => None,
            Self::Conflict { place, .. }
            | Self::NotAMapping { place, .. }
            | Self::Shared { place, .. }
            | Self::Unsafe { place, .. } => Some(place.highlight()),
        }
    }
}

/// A change of a text: `with` instead of the bytes from `start` to `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Splice {
    start: usize,
    end: usize,
    with: String,
}

/// Inserts fields into the document number `document` (from zero, empty ones not counted)
/// of `text`, one after the other. Fields that are there with that value are passed over.
///
/// All but the inserted characters is byte for byte what it was; only a `null` that is
/// written out gives way to its value.
///
/// # Errors
/// Whatever keeps one of the fields from being inserted with certainty.
pub fn insert_fields(text: &str, document: usize, additions: &[Addition]) -> Result<String, EditError> {
    let limits = Limits::default();
    let mut current = text.to_owned();
    for addition in additions {
        let steps = steps(addition)?;
        let documents = parse(&current, &limits)?;
        let Some(edited) = documents.get(document) else {
            return Err(EditError::NoDocument { index: document, count: documents.len() });
        };
        let Some(splices) = plan(&current, edited.root(), &steps, addition)? else {
            continue;
        };
        let changed = apply(&current, splices);
        let kept =
            parse(&changed, &limits).is_ok_and(|after| is_promised(&documents, &after, document, &steps, addition));
        if !kept {
            return Err(EditError::Unsafe {
                path: addition.path.clone(),
                place: edited.locate_nearest(&addition.path).place,
            });
        }
        drop(documents);
        current = changed;
    }
    Ok(current)
}

fn steps(addition: &Addition) -> Result<Vec<Step<'_>>, EditError> {
    path::parse(&addition.path)
        .filter(|steps| matches!(steps.last(), Some(Step::Key(_))))
        .ok_or_else(|| EditError::BadPath { path: addition.path.clone() })
}

fn apply(text: &str, mut splices: Vec<Splice>) -> String {
    splices.sort_by_key(|splice| splice.start);
    let added: usize = splices.iter().map(|splice| splice.with.len()).sum();
    let mut changed = String::with_capacity(text.len() + added);
    let mut at = 0;
    for splice in &splices {
        changed.push_str(&text[at..splice.start]);
        changed.push_str(&splice.with);
        at = splice.end;
    }
    changed.push_str(&text[at..]);
    changed
}

/// How to insert one field; `None` where it is there already.
fn plan(text: &str, root: Node<'_>, steps: &[Step<'_>], addition: &Addition) -> Result<Option<Vec<Splice>>, EditError> {
    let wanted = Tree::of_json(&addition.value);
    if wanted == Tree::Null || root.at_path(steps).is_some_and(|node| Tree::of(node) == wanted) {
        return Ok(None);
    }
    let mut node = root;
    let mut place = Place { value: root.span(), key: None };
    let mut above = None;
    for (depth, step) in steps.iter().enumerate() {
        let here = || path::render(&steps[..depth]);
        let shared = |how| EditError::Shared { path: here(), how, field: path::render(&steps[depth..]), place };
        if node.is_alias() {
            return Err(shared("is written through an alias"));
        }
        if node.is_shared() {
            return Err(shared("is what an alias elsewhere stands for"));
        }
        let not_a_mapping = || EditError::NotAMapping { path: here(), found: node.kind().noun(), place };
        let found = match step {
            Step::Index(index) => node.items().nth(*index).map(|item| (item, None)),
            Step::Key(_) if node.kind() != Kind::Mapping => return Err(not_a_mapping()),
            Step::Key(key) => match node.entry(key) {
                None => None,
                Some(entry) if entry.merged => {
                    place = entry.place();
                    return Err(EditError::Shared {
                        path: path::render(&steps[..=depth]),
                        how: "comes from a merge key",
                        field: path::render(&steps[depth..]),
                        place,
                    });
                }
                Some(entry) => Some((entry.value, Some(entry))),
            },
        };
        let unsafe_here = || EditError::Unsafe { path: addition.path.clone(), place };
        let rest = steps.get(depth + 1..).unwrap_or_default();
        match (found, step) {
            (None, Step::Index(_)) => return Err(not_a_mapping()),
            (None, Step::Key(key)) => {
                let value = nest(rest, addition)?;
                let target = insert::Target { text, mapping: node, above };
                return target.field(key, &value).map(Some).ok_or_else(unsafe_here);
            }
            (Some((value, Some(entry))), _) if value.is_null() && !value.is_alias() => {
                let json = nest(rest, addition)?;
                let target = insert::Target { text, mapping: node, above };
                return target.value(&entry, &json).map(Some).ok_or_else(unsafe_here);
            }
            (Some((value, entry)), _) => {
                let next = Place { value: value.span(), key: entry.map(|entry| entry.key.span()) };
                if rest.is_empty() {
                    return Err(EditError::Conflict { path: addition.path.clone(), place: next });
                }
                above = Some(node);
                place = next;
                node = value;
            }
        }
    }
    Ok(None)
}

/// The value with the mappings around it that have to be made.
fn nest(rest: &[Step<'_>], addition: &Addition) -> Result<Json, EditError> {
    let mut value = addition.value.clone();
    for step in rest.iter().rev() {
        let Step::Key(key) = step else {
            return Err(EditError::BadPath { path: addition.path.clone() });
        };
        value = Json::Object(std::iter::once((key.to_string(), value)).collect());
    }
    Ok(value)
}

/// The promise of [`insert_fields`]: every document means what it meant, and the one that was
/// changed has the field besides.
fn is_promised(
    before: &[Document<'_>],
    after: &[Document<'_>],
    document: usize,
    steps: &[Step<'_>],
    addition: &Addition,
) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).enumerate().all(|(index, (before, after))| {
            let mut expected = Tree::of(before.root());
            let added = index != document || expected.add(steps, Tree::of_json(&addition.value)).is_some();
            added && expected == Tree::of(after.root())
        })
}

/// What a document means, aliases and merge keys expanded, for comparison.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Null,
    Scalar(Kind, String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

impl Tree {
    fn of(node: Node<'_>) -> Self {
        match node.kind() {
            Kind::Null => Self::Null,
            Kind::Sequence => Self::List(node.items().map(Self::of).collect()),
            Kind::Mapping => {
                Self::Map(node.entries().map(|entry| (entry.name().to_owned(), Self::of(entry.value))).collect())
            }
            kind => Self::Scalar(kind, node.scalar().map_or("", |(text, _)| text).to_owned()),
        }
    }

    fn of_json(value: &Json) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Scalar(Kind::Bool, value.to_string()),
            Json::Number(number) if number.is_f64() => Self::Scalar(Kind::Float, number.to_string()),
            Json::Number(number) => Self::Scalar(Kind::Integer, number.to_string()),
            Json::String(text) => Self::Scalar(Kind::Text, text.clone()),
            Json::Array(items) => Self::List(items.iter().map(Self::of_json).collect()),
            Json::Object(fields) => {
                Self::Map(fields.iter().map(|(key, value)| (key.clone(), Self::of_json(value))).collect())
            }
        }
    }

    /// Puts a value where `steps` lead; `None` where they lead nowhere.
    fn add(&mut self, steps: &[Step<'_>], value: Self) -> Option<()> {
        let Some((first, rest)) = steps.split_first() else {
            *self = value;
            return Some(());
        };
        if *self == Self::Null {
            *self = Self::Map(BTreeMap::new());
        }
        match (self, first) {
            (Self::Map(entries), Step::Key(key)) => {
                entries.entry(key.to_string()).or_insert(Self::Null).add(rest, value)
            }
            (Self::List(items), Step::Index(index)) => items.get_mut(*index)?.add(rest, value),
            _ => None,
        }
    }
}
