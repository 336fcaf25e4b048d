//! From parser events to arenas.

use std::collections::HashMap;
use std::collections::HashSet;

use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, StructureStyle};

use super::text::{check_size, check_text};
use super::{Document, Kind, Limits, NO_KEY, NodeData, Pair, Span, Style, Tag, Value, YamlError, YamlErrorKind};

/// Reads every document of a text; empty ones are passed over. JSON is YAML here.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn parse<'t>(text: &'t str, limits: &Limits) -> Result<Vec<Document<'t>>, YamlError> {
    check_size(text.len(), limits)?;
    check_text(text)?;
    parse_decoded(text, limits)
}

/// As [`parse`], for a text that [`decode_text`](super::decode_text) gave: it need not be looked through once more.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(crate) fn parse_decoded<'t>(text: &'t str, limits: &Limits) -> Result<Vec<Document<'t>>, YamlError> {
    let mut options = Options::default();
    // One more than the limit, so that the builder is the one that refuses.
    options.flow_nesting_limit = limits.depth.saturating_add(1);
    options.block_nesting_limit = limits.depth.saturating_add(1);
    // What manifests have on average; one allocation for most, and none too large.
    let guess = (text.len() / 8 + 8).min(1024);
    let mut builder = Builder {
        text,
        limits,
        expanded: 0,
        documents: Vec::new(),
        nodes: Vec::with_capacity(guess),
        pairs: Vec::with_capacity(guess / 2),
        frames: Vec::with_capacity(8),
        scratch: Vec::with_capacity(16),
        anchors: HashMap::new(),
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax(text, limits, &error))?;
        builder.take(event, place(span.start, span.end))?;
    }
    Ok(builder.documents)
}

/// A collection that is still open.
struct Frame {
    id: u32,
    /// Where its pairs begin in the scratch.
    first: usize,
    /// The key that waits for its value.
    key: u32,
    mapping: bool,
    weight: u64,
    height: u16,
    anchor: usize,
}

struct Builder<'t, 'l> {
    text: &'t str,
    limits: &'l Limits,
    /// Keys and values so far, over all documents, aliases expanded.
    expanded: u64,
    documents: Vec<Document<'t>>,
    nodes: Vec<NodeData<'t>>,
    pairs: Vec<Pair>,
    frames: Vec<Frame>,
    scratch: Vec<Pair>,
    /// The nodes of anchors that are closed; the parser numbers anchors uniquely.
    anchors: HashMap<usize, u32>,
    root: Option<u32>,
}

impl<'t> Builder<'t, '_> {
    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let implicit = span.start == span.end && matches!(style, ScalarStyle::Plain);
                let (style, span) = match style {
                    ScalarStyle::Plain => (Style::Plain, span),
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (Style::Quoted, span),
                    ScalarStyle::Literal | ScalarStyle::Folded => (Style::Block, self.trim_block(span)),
                };
                let span = if implicit { self.behind_colon(span) } else { span };
                // The parser gives `~` for what is not there.
                let text = if implicit { "".into() } else { text };
                let tag = tag.map_or(Tag::None, |tag| meaning(&tag));
                let id = self.push(Value::Scalar(text, style), span, tag)?;
                self.close_anchor(anchor, id);
                self.place_value(id, 1, 0)
            }
            Event::SequenceStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let value = Value::Sequence { first: 0, count: 0, flow };
                let tag = tag.map_or(Tag::None, |tag| meaning(&tag));
                let span = if flow { span } else { from_dash(self.text, span) };
                self.open(value, span, tag, anchor, false)
            }
            Event::MappingStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let value = Value::Mapping { first: 0, count: 0, flow };
                let tag = tag.map_or(Tag::None, |tag| meaning(&tag));
                self.open(value, span, tag, anchor, true)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(anchor) => {
                let Some(&target) = self.anchors.get(&anchor) else {
                    return Err(error(YamlErrorKind::SelfReference, span));
                };
                self.nodes[target as usize].shared = true;
                let (weight, height) = {
                    let data = &self.nodes[target as usize];
                    (data.weight, data.height)
                };
                // The alias counts for what it stands for.
                self.count(u64::from(weight) - 1, span, true)?;
                let id = self.push(Value::Alias(target), span, Tag::None)?;
                if self.frames.len() + usize::from(height) > self.limits.depth {
                    return Err(self.too_deep(span));
                }
                self.place_value(id, weight.into(), height)
            }
            Event::DocumentEnd => {
                self.finish();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn push(&mut self, value: Value<'t>, span: Span, tag: Tag) -> Result<u32, YamlError> {
        self.count(1, span, false)?;
        let id = narrow(self.nodes.len());
        self.nodes.push(NodeData { value, span, weight: 1, height: 0, tag, shared: false });
        Ok(id)
    }

    fn count(&mut self, nodes: u64, span: Span, alias: bool) -> Result<(), YamlError> {
        self.expanded += nodes;
        if self.expanded > self.limits.nodes.min(u32::MAX as usize - 1) as u64 {
            let limit = self.limits.nodes;
            let kind = if alias { YamlErrorKind::AliasBomb { limit } } else { YamlErrorKind::TooManyNodes { limit } };
            return Err(error(kind, span));
        }
        Ok(())
    }

    fn too_deep(&self, span: Span) -> YamlError {
        let limit = self.limits.depth;
        error(YamlErrorKind::TooDeep { limit }, span)
    }

    fn open(&mut self, value: Value<'t>, span: Span, tag: Tag, anchor: usize, mapping: bool) -> Result<(), YamlError> {
        if self.frames.len() >= self.limits.depth {
            return Err(self.too_deep(span));
        }
        let id = self.push(value, span, tag)?;
        self.frames.push(Frame { id, first: self.scratch.len(), key: NO_KEY, mapping, weight: 1, height: 0, anchor });
        Ok(())
    }

    fn close_anchor(&mut self, anchor: usize, id: u32) {
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
    }

    /// Puts a finished node where it belongs: as a key, a value, an item or the root.
    fn place_value(&mut self, id: u32, weight: u64, height: u16) -> Result<(), YamlError> {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(id);
            return Ok(());
        };
        frame.weight += weight;
        frame.height = frame.height.max(height);
        if frame.mapping && frame.key == NO_KEY {
            let data = &self.nodes[id as usize];
            let meant = match data.value {
                Value::Alias(target) => &self.nodes[target as usize],
                _ => data,
            };
            let found = match meant.value {
                Value::Scalar(..) | Value::Alias(_) => None,
                Value::Sequence { .. } => Some("a list"),
                Value::Mapping { .. } => Some("a mapping"),
            };
            if let Some(found) = found {
                let span = data.span;
                return Err(error(YamlErrorKind::KeyNotText { found }, span));
            }
            frame.key = id;
        } else {
            self.scratch.push(Pair { key: frame.key, value: id, merged: false });
            frame.key = NO_KEY;
        }
        Ok(())
    }

    fn close(&mut self, span: Span) -> Result<(), YamlError> {
        let Some(mut frame) = self.frames.pop() else {
            return Ok(());
        };
        let last = self.scratch[frame.first..].last().map(|pair| self.nodes[pair.value as usize].span);
        if frame.mapping {
            self.check_duplicates(frame.first)?;
            self.merge(&mut frame)?;
        }
        let first = narrow(self.pairs.len());
        let count = narrow(self.scratch.len() - frame.first);
        self.pairs.extend(self.scratch.drain(frame.first..));
        let height = frame.height + 1;
        let weight = u32::try_from(frame.weight).unwrap_or(u32::MAX);
        let data = &mut self.nodes[frame.id as usize];
        let in_brackets = match &mut data.value {
            Value::Sequence { first: at, count: number, flow } | Value::Mapping { first: at, count: number, flow } => {
                *at = first;
                *number = count;
                *flow
            }
            Value::Scalar(..) | Value::Alias(_) => false,
        };
        data.weight = weight;
        data.height = height;
        // A block collection ends where its last value does, not where the next thing begins.
        let end = if in_brackets { span } else { last.unwrap_or(span) };
        if end.end >= data.span.start {
            data.span.end = end.end;
            data.span.end_line = end.end_line;
            data.span.end_column = end.end_column;
        }
        self.close_anchor(frame.anchor, frame.id);
        self.place_value(frame.id, weight.into(), height)
    }

    fn key_text(&self, pair: &Pair) -> &str {
        let mut data = &self.nodes[pair.key as usize];
        if let Value::Alias(target) = data.value {
            data = &self.nodes[target as usize];
        }
        match &data.value {
            Value::Scalar(text, _) => text,
            _ => "",
        }
    }

    fn check_duplicates(&self, first: usize) -> Result<(), YamlError> {
        let pairs = &self.scratch[first..];
        let twin = if pairs.len() <= 16 {
            pairs.iter().enumerate().find_map(|(index, pair)| {
                let key = self.key_text(pair);
                pairs[..index].iter().find(|earlier| self.key_text(earlier) == key).map(|earlier| (earlier, pair))
            })
        } else {
            let mut seen = HashMap::with_capacity(pairs.len());
            pairs.iter().find_map(|pair| seen.insert(self.key_text(pair), pair).map(|earlier| (earlier, pair)))
        };
        match twin {
            None => Ok(()),
            Some((earlier, later)) => Err(error(
                YamlErrorKind::DuplicateKey {
                    key: self.key_text(later).to_owned(),
                    first: self.nodes[earlier.key as usize].span,
                },
                self.nodes[later.key as usize].span,
            )),
        }
    }

    /// Whether the pair is a merge: a plain `<<`.
    fn is_merge(&self, pair: &Pair) -> bool {
        let data = &self.nodes[pair.key as usize];
        matches!(&data.value, Value::Scalar(text, Style::Plain) if text == "<<")
    }

    /// Replaces a merge key by the entries that it brings and that are not here yet.
    fn merge(&mut self, frame: &mut Frame) -> Result<(), YamlError> {
        let Some(at) = self.scratch[frame.first..].iter().position(|pair| self.is_merge(pair)) else {
            return Ok(());
        };
        let merge = self.scratch.remove(frame.first + at);
        let span = self.nodes[merge.value as usize].span;
        let mut sources = Vec::new();
        match self.meant(merge.value) {
            Value::Mapping { first, count, .. } => sources.push((*first, *count)),
            Value::Sequence { first, count, .. } => {
                let items = *first as usize..(*first + *count) as usize;
                for item in &self.pairs[items] {
                    match self.meant(item.value) {
                        Value::Mapping { first, count, .. } => sources.push((*first, *count)),
                        other => {
                            let found = noun(other);
                            return Err(error(YamlErrorKind::BadMerge { found }, span));
                        }
                    }
                }
            }
            other => {
                let found = noun(other);
                return Err(error(YamlErrorKind::BadMerge { found }, span));
            }
        }
        let mut here: HashSet<String> =
            self.scratch[frame.first..].iter().map(|pair| self.key_text(pair).to_owned()).collect();
        for (first, count) in sources {
            for index in first..first + count {
                let pair = self.pairs[index as usize];
                // Looking costs as much as taking.
                self.count(1, span, true)?;
                if here.insert(self.key_text(&pair).to_owned()) {
                    let weight = u64::from(self.nodes[pair.value as usize].weight) + 1;
                    self.count(weight, span, true)?;
                    frame.weight += weight;
                    self.scratch.push(Pair { merged: true, ..pair });
                }
            }
        }
        Ok(())
    }

    fn meant(&self, id: u32) -> &Value<'t> {
        match &self.nodes[id as usize].value {
            Value::Alias(target) => &self.nodes[*target as usize].value,
            value => value,
        }
    }

    /// A block scalar without the blank lines behind it.
    fn trim_block(&self, span: Span) -> Span {
        let body = &self.text[span.range()];
        let kept = body.trim_end_matches([' ', '\n', '\r']);
        if kept.is_empty() {
            return span.at_start();
        }
        let breaks = kept.bytes().filter(|byte| *byte == b'\n').count();
        let last = kept.rsplit('\n').next().unwrap_or(kept).chars().count();
        let column = if breaks == 0 { span.column } else { 1 };
        Span {
            end: span.start + narrow(kept.len()),
            end_line: span.line + narrow(breaks),
            end_column: column + narrow(last),
            ..span
        }
    }

    /// The parser places a value that is not there before the colon of its key.
    fn behind_colon(&self, span: Span) -> Span {
        if self.text.as_bytes().get(span.start as usize) != Some(&b':') {
            return span;
        }
        Span {
            start: span.start + 1,
            end: span.end + 1,
            column: span.column + 1,
            end_column: span.end_column + 1,
            ..span
        }
    }

    fn finish(&mut self) {
        self.anchors.clear();
        let nodes = std::mem::take(&mut self.nodes);
        let pairs = std::mem::take(&mut self.pairs);
        let Some(root) = self.root.take() else {
            return;
        };
        let empty = matches!(nodes.get(root as usize), Some(NodeData {
            value: Value::Scalar(text, Style::Plain), tag: Tag::None, .. }) if text.is_empty());
        if !empty {
            self.documents.push(Document { nodes, pairs, root });
        }
    }
}

fn noun(value: &Value<'_>) -> &'static str {
    match value {
        Value::Scalar(..) | Value::Alias(_) => "a scalar",
        Value::Sequence { .. } => "a list",
        Value::Mapping { .. } => "a mapping",
    }
}

fn meaning(tag: &granit_parser::Tag) -> Tag {
    if tag.original_handle().is_empty() && tag.suffix() == "!" {
        return Tag::Text;
    }
    match tag.core_suffix() {
        Some("str") => Tag::Text,
        Some("int") => Tag::Core(Kind::Integer),
        Some("float") => Tag::Core(Kind::Float),
        Some("bool") => Tag::Core(Kind::Bool),
        Some("null") => Tag::Core(Kind::Null),
        Some("seq") => Tag::Core(Kind::Sequence),
        Some("map") => Tag::Core(Kind::Mapping),
        _ => Tag::Foreign,
    }
}

fn place(start: Marker, end: Marker) -> Span {
    let bytes = |marker: Marker| narrow(marker.byte_offset().unwrap_or_default());
    Span {
        start: bytes(start),
        end: bytes(end).max(bytes(start)),
        line: narrow(start.line()),
        column: narrow(start.col() + 1),
        end_line: narrow(end.line()),
        end_column: narrow(end.col() + 1),
    }
}

/// The first tab that indents a line, on the line of `near` or below: the parser points
/// behind it, or at the value that the line might have continued.
fn indenting_tab(text: &str, near: Span) -> Option<Span> {
    let start = text.get(..near.start as usize)?.rfind('\n').map_or(0, |at| at + 1);
    let mut offset = start;
    for (line, content) in (near.line..).zip(text[start..].split_inclusive('\n')) {
        let indentation = content.len() - content.trim_start_matches([' ', '\t']).len();
        if let Some(at) = content[..indentation].find('\t') {
            let column = narrow(at + 1);
            return Some(Span {
                start: narrow(offset + at),
                end: narrow(offset + at + 1),
                line,
                column,
                end_line: line,
                end_column: column + 1,
            });
        }
        offset += content.len();
    }
    None
}

/// The parser places a list that is not indented behind its first dash.
fn from_dash(text: &str, span: Span) -> Span {
    let before = text.get(..span.start as usize).unwrap_or_default().trim_end_matches([' ', '\t']);
    if text[span.start as usize..].starts_with('-') || !before.ends_with('-') {
        return span;
    }
    let back = span.start - narrow(before.len() - 1);
    Span { start: span.start - back, column: span.column.saturating_sub(back).max(1), ..span }
}

/// The limit on the size of a text keeps every offset below 4 GiB.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn error(kind: YamlErrorKind, span: Span) -> YamlError {
    YamlError { kind, span }
}

/// The parser's error in this project's words where those are clearer.
fn syntax(text: &str, limits: &Limits, found: &granit_parser::ScanError) -> YamlError {
    let marker = *found.marker();
    let mut span = place(marker, marker);
    if matches!(
        found.kind(),
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart
    ) {
        return error(YamlErrorKind::Tab, indenting_tab(text, span).unwrap_or(span));
    }
    // The parser may point behind the last character.
    let length = narrow(text.len());
    span.start = span.start.min(length);
    span.end = span.start;
    let rest = text.get(span.start as usize..).unwrap_or_default();
    let kind = match found.kind() {
        ErrorKind::RecursionLimitExceeded => YamlErrorKind::TooDeep { limit: limits.depth },
        ErrorKind::UnknownAnchor => YamlErrorKind::UnknownAnchor {
            name: rest
                .trim_start_matches('*')
                .split([' ', '\t', '\n', '\r', ',', ']', '}'])
                .next()
                .unwrap_or_default()
                .to_owned(),
        },
        ErrorKind::UnexpectedCharacter { character } => {
            let character = *character;
            YamlErrorKind::Syntax(match character {
                '@' | '`' | '%' => {
                    format!("an unquoted value cannot start with `{character}`; put it in quotes")
                }
                other => format!("the character {other:?} is not allowed here"),
            })
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => YamlErrorKind::Syntax(
            "a second `key: value` inside a value: put the text in quotes, or check the \
                 indentation"
                .to_owned(),
        ),
        ErrorKind::UnclosedFlowCollection { open } => YamlErrorKind::Syntax(format!("`{open}` is never closed")),
        ErrorKind::UnclosedQuotedScalar => YamlErrorKind::Syntax("this quote is never closed".to_owned()),
        ErrorKind::InvalidIndentation | ErrorKind::ExpectedBlockMappingKey => YamlErrorKind::Syntax(
            "the indentation does not fit: nothing above begins in this column, or a `:` is \
                 missing"
                .to_owned(),
        ),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            YamlErrorKind::Syntax("a key without its `:`".to_owned())
        }
        _ => YamlErrorKind::Syntax(found.info()),
    };
    // One character to underline, where there is one.
    if let Some(character) = rest.chars().next().filter(|c| !matches!(c, '\n' | '\r')) {
        span.end = span.start + narrow(character.len_utf8());
        span.end_column = span.column + 1;
    }
    error(kind, span)
}
