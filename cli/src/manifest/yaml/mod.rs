//! YAML and JSON text as documents in which every key and value knows its place.
//!
//! A [`Document`] is one flat arena of nodes that borrows from the text; [`Node`] is a
//! handle into it. Parsing is granit-parser's; what this module adds are limits (size,
//! depth, number of nodes after expansion of aliases), duplicate keys, merge keys, and
//! places. Nothing here recurses over the input.
//!
//! Columns count characters from 1, lines count from 1, offsets count bytes from 0.

mod build;
mod scalar;
mod text;

use std::borrow::Cow;

pub use build::parse;
pub(crate) use build::parse_decoded;
pub use scalar::{Plain, is_safe_plain, resolve};
pub use text::decode_text;

use super::path::{self, Step};

/// What a text may ask of the machine. The defaults are far above any manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of a text in bytes; at most 4 GiB whatever is set.
    pub bytes: usize,
    /// Mappings and lists inside each other, after expansion of aliases.
    pub depth: usize,
    /// Keys and values in one text, after expansion of aliases and merge keys.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, depth: 64, nodes: 1_000_000 }
    }
}

/// A stretch of the text, from its first character to just behind its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset just behind the last byte.
    pub end: u32,
    /// Line of the first character, from 1.
    pub line: u32,
    /// Column of the first character, from 1, in characters.
    pub column: u32,
    /// Line just behind the last character, from 1.
    pub end_line: u32,
    /// Column just behind the last character, from 1, in characters.
    pub end_column: u32,
}

impl Span {
    /// The bytes of the text that the span covers.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The empty span at its beginning.
    #[must_use]
    pub fn at_start(self) -> Self {
        Self { end: self.start, end_line: self.line, end_column: self.column, ..self }
    }
}

/// Where a field is: its value, and its key where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The value. Empty, just behind the colon, where nothing is written.
    pub value: Span,
    /// The key; none for list items and whole documents.
    pub key: Option<Span>,
}

impl Place {
    /// What to underline: the value where it is on one line, otherwise its key,
    /// otherwise the beginning of the value.
    #[must_use]
    pub fn highlight(&self) -> Span {
        let value = self.value;
        if value.line == value.end_line && value.start < value.end {
            return value;
        }
        self.key.unwrap_or_else(|| value.at_start())
    }
}

/// The place of a path, or of the nearest thing above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest {
    /// The place of the deepest part of the path that exists.
    pub place: Place,
    /// Whether that part is the whole path.
    pub exact: bool,
}

/// Why a text is not a list of documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct YamlError {
    /// What is wrong.
    pub kind: YamlErrorKind,
    /// Where it is wrong.
    pub span: Span,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum YamlErrorKind {
    /// The text starts with U+FEFF.
    #[error("starts with a byte order mark; save it without")]
    ByteOrderMark,
    /// The text is UTF-16.
    #[error("is UTF-16; save it as UTF-8")]
    Utf16,
    /// The text is not UTF-8 from this byte on.
    #[error("is not UTF-8: byte 0x{byte:02x} here; save it as UTF-8")]
    InvalidUtf8 {
        /// The first byte that is not UTF-8.
        byte: u8,
    },
    /// The text contains U+0000.
    #[error("contains a NUL character: this is not a text file")]
    Nul,
    /// A tab where spaces must be.
    #[error("a tab where YAML wants spaces: indent with spaces only")]
    Tab,
    /// More bytes than allowed.
    #[error("has more than {limit} bytes, the most that is read")]
    TooLarge {
        /// [`Limits::bytes`].
        limit: usize,
    },
    /// More keys and values than allowed.
    #[error("has more than {limit} keys and values, the most that is read")]
    TooManyNodes {
        /// [`Limits::nodes`].
        limit: usize,
    },
    /// Nested deeper than allowed.
    #[error("is nested deeper than {limit} levels, the most that is read")]
    TooDeep {
        /// [`Limits::depth`].
        limit: usize,
    },
    /// The aliases of the text stand for more than is allowed.
    #[error(
        "the aliases stand for more than {limit} keys and values once they are expanded, \
         the most that is read"
    )]
    AliasBomb {
        /// [`Limits::nodes`].
        limit: usize,
    },
    /// An alias inside the very value that it stands for.
    #[error("this alias stands for a value that contains it")]
    SelfReference,
    /// An alias without its anchor.
    #[error("this alias has no anchor `&{name}` before it in this document")]
    UnknownAnchor {
        /// The name after the asterisk.
        name: String,
    },
    /// The same key twice in one mapping.
    #[error("`{key}` is here a second time; it is first on line {}", first.line)]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it is first.
        first: Span,
    },
    /// A key that is a mapping, a list or an alias of one.
    #[error("a key must be a text, and this is {found}")]
    KeyNotText {
        /// "a mapping", "a list".
        found: &'static str,
    },
    /// `<<` with something that is neither a mapping nor a list of mappings.
    #[error("`<<` merges a mapping or a list of mappings, and this is {found}")]
    BadMerge {
        /// What it is.
        found: &'static str,
    },
    /// Whatever else YAML does not allow.
    #[error("{0}")]
    Syntax(String),
}

/// What a node is, as every reader reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// A boolean.
    Bool,
    /// An integer.
    Integer,
    /// A floating-point number.
    Float,
    /// A text.
    Text,
    /// A scalar that YAML 1.1 and 1.2 read differently.
    Disputed,
    /// A list.
    Sequence,
    /// A mapping.
    Mapping,
}

impl Kind {
    /// The kind with its article, for messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool => "a boolean",
            Self::Integer | Self::Float => "a number",
            Self::Text => "a text",
            Self::Disputed => "a word that YAML 1.1 and 1.2 read differently",
            Self::Sequence => "a list",
            Self::Mapping => "a mapping",
        }
    }
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single or double quotes.
    Quoted,
    /// As `|` or `>`.
    Block,
}

/// A tag, as far as it changes what a value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    None,
    /// `!!str` or `!`: text whatever it looks like.
    Text,
    /// `!!int`, `!!float`, `!!bool`, `!!null`, `!!seq`, `!!map`: must be what it says.
    Core(Kind),
    /// Anything else; means nothing in a manifest.
    Foreign,
}

const NO_KEY: u32 = u32::MAX;

/// A pair of a mapping, or an item of a list (without a key).
#[derive(Debug, Clone, Copy)]
struct Pair {
    key: u32,
    value: u32,
    merged: bool,
}

#[derive(Debug, Clone)]
enum Value<'t> {
    Scalar(Cow<'t, str>, Style),
    Sequence { first: u32, count: u32, flow: bool },
    Mapping { first: u32, count: u32, flow: bool },
    Alias(u32),
}

#[derive(Debug, Clone)]
struct NodeData<'t> {
    value: Value<'t>,
    span: Span,
    /// Number of nodes that this one stands for, itself included.
    weight: u32,
    /// Levels of collections, itself included.
    height: u16,
    tag: Tag,
    /// Whether an alias stands for it.
    shared: bool,
}

/// One document of a text.
#[derive(Debug, Clone)]
pub struct Document<'t> {
    nodes: Vec<NodeData<'t>>,
    pairs: Vec<Pair>,
    root: u32,
}

/// A value in a [`Document`]. Aliases are seen through: what is asked is answered by what
/// they stand for, except [`Node::span`] and [`Node::is_alias`].
#[derive(Debug, Clone, Copy)]
pub struct Node<'d> {
    document: &'d Document<'d>,
    id: u32,
}

/// An entry of a mapping.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'d> {
    /// The key.
    pub key: Node<'d>,
    /// The value.
    pub value: Node<'d>,
    /// Whether it comes from a merge key rather than being written here.
    pub merged: bool,
}

impl<'d> Entry<'d> {
    /// The key's text.
    #[must_use]
    pub fn name(&self) -> &'d str {
        self.key.scalar().map_or("", |(text, _)| text)
    }

    /// Where the entry is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { value: self.value.span(), key: Some(self.key.span()) }
    }
}

impl<'t> Document<'t> {
    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { document: self, id: self.root }
    }

    /// The value at a field path ([`path`]); the empty path is the root.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Node<'_>> {
        self.root().at_path(&path::parse(path)?)
    }

    /// The place of the field at `path` ([`path`]); `None` where there is no such field.
    #[must_use]
    pub fn locate(&self, path: &str) -> Option<Place> {
        Some(self.locate_nearest(path)).filter(|nearest| nearest.exact).map(|nearest| nearest.place)
    }

    /// The place of the field at `path`, or of the deepest field above it that exists: where
    /// to point when a field is absent.
    #[must_use]
    pub fn locate_nearest(&self, path: &str) -> Nearest {
        let mut node = self.root();
        let mut place = Place { value: node.span(), key: None };
        let Some(steps) = path::parse(path) else {
            return Nearest { place, exact: false };
        };
        for step in &steps {
            let Some((next, key)) = node.step(step) else {
                return Nearest { place, exact: false };
            };
            node = next;
            place = Place { value: node.span(), key };
        }
        Nearest { place, exact: true }
    }

    fn data(&self, id: u32) -> &NodeData<'t> {
        // Ids are made by the builder of this very document.
        &self.nodes[id as usize]
    }
}

impl<'d> Node<'d> {
    fn written(self) -> &'d NodeData<'d> {
        self.document.data(self.id)
    }

    fn meant(self) -> &'d NodeData<'d> {
        let written = self.written();
        match written.value {
            Value::Alias(target) => self.document.data(target),
            _ => written,
        }
    }

    fn at(self, id: u32) -> Self {
        Self { id, ..self }
    }

    fn pairs(self) -> &'d [Pair] {
        match self.meant().value {
            Value::Sequence { first, count, .. } | Value::Mapping { first, count, .. } => {
                &self.document.pairs[first as usize..(first + count) as usize]
            }
            Value::Scalar(..) | Value::Alias(_) => &[],
        }
    }

    /// The value that `steps` lead to from here.
    #[must_use]
    pub fn at_path(self, steps: &[Step<'_>]) -> Option<Self> {
        steps.iter().try_fold(self, |node, step| Some(node.step(step)?.0))
    }

    fn step(self, step: &Step<'_>) -> Option<(Self, Option<Span>)> {
        match step {
            Step::Key(key) => self.entry(key).map(|entry| (entry.value, Some(entry.key.span()))),
            Step::Index(index) => self.items().nth(*index).map(|item| (item, None)),
        }
    }

    /// Where the value is written; for an alias, where the alias is.
    #[must_use]
    pub fn span(self) -> Span {
        self.written().span
    }

    /// Whether the value is written as an alias of a value elsewhere.
    #[must_use]
    pub fn is_alias(self) -> bool {
        matches!(self.written().value, Value::Alias(_))
    }

    /// Whether aliases elsewhere stand for this value, so that a change here changes them.
    #[must_use]
    pub fn is_shared(self) -> bool {
        self.meant().shared
    }

    /// Whether it is a mapping in `{}` or a list in `[]`.
    #[must_use]
    pub fn is_flow(self) -> bool {
        matches!(self.meant().value, Value::Sequence { flow: true, .. } | Value::Mapping { flow: true, .. })
    }

    /// What the value is.
    #[must_use]
    pub fn kind(self) -> Kind {
        let data = self.meant();
        match &data.value {
            Value::Sequence { .. } => Kind::Sequence,
            Value::Mapping { .. } => Kind::Mapping,
            Value::Scalar(text, Style::Plain) if data.tag != Tag::Text => match resolve(text) {
                Plain::Text => Kind::Text,
                Plain::Null => Kind::Null,
                Plain::Bool { .. } => Kind::Bool,
                Plain::Integer(_) => Kind::Integer,
                Plain::Float(_) => Kind::Float,
                Plain::Disputed { .. } => Kind::Disputed,
            },
            Value::Scalar(..) | Value::Alias(_) => Kind::Text,
        }
    }

    /// Whether the value is nothing, `~` or `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        matches!(&self.meant().value, Value::Scalar(text, Style::Plain)
            if matches!(text.as_bytes().first(), None | Some(b'~' | b'n' | b'N')))
            && self.kind() == Kind::Null
    }

    /// Whether its tag, if any, fits what the value is.
    #[must_use]
    pub fn tag_fits(self) -> bool {
        match self.meant().tag {
            Tag::None => true,
            Tag::Text => !matches!(self.kind(), Kind::Sequence | Kind::Mapping),
            Tag::Core(Kind::Float) => matches!(self.kind(), Kind::Float | Kind::Integer),
            Tag::Core(kind) => self.kind() == kind,
            Tag::Foreign => false,
        }
    }

    /// A scalar's text, without quotes and escapes, and how it is written. `None` for lists
    /// and mappings.
    #[must_use]
    pub fn scalar(self) -> Option<(&'d str, Style)> {
        match &self.meant().value {
            Value::Scalar(text, style) => Some((text, *style)),
            _ => None,
        }
    }

    /// The text where the value is one to every reader; `None` for a plain `yes` or `1`.
    #[must_use]
    pub fn as_str(self) -> Option<&'d str> {
        (self.kind() == Kind::Text).then(|| self.scalar()).flatten().map(|(text, _)| text)
    }

    /// The value of the key `key`; `None` where there is none or this is no mapping.
    #[must_use]
    pub fn get(self, key: &str) -> Option<Self> {
        self.entry(key).map(|entry| entry.value)
    }

    /// The entry of the key `key`; `None` where there is none or this is no mapping.
    #[must_use]
    pub fn entry(self, key: &str) -> Option<Entry<'d>> {
        self.entries().find(|entry| entry.name() == key)
    }

    /// Where the key `key` of this mapping is written.
    #[must_use]
    pub fn key_span(self, key: &str) -> Option<Span> {
        self.entry(key).map(|entry| entry.key.span())
    }

    /// The entries of a mapping in their order, merged ones last; none for anything else.
    pub fn entries(self) -> impl ExactSizeIterator<Item = Entry<'d>> + use<'d> {
        let pairs = match self.meant().value {
            Value::Mapping { .. } => self.pairs(),
            _ => &[],
        };
        pairs.iter().map(move |pair| Entry { key: self.at(pair.key), value: self.at(pair.value), merged: pair.merged })
    }

    /// The items of a list in their order; none for anything else.
    pub fn items(self) -> impl ExactSizeIterator<Item = Node<'d>> + use<'d> {
        let pairs = match self.meant().value {
            Value::Sequence { .. } => self.pairs(),
            _ => &[],
        };
        pairs.iter().map(move |pair| self.at(pair.value))
    }
}
