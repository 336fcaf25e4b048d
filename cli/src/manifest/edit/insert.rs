//! Where a person would have written a field.
//!
//! Behind the last field of its mapping, before comments that belong to what follows; some
//! fields have a neighbour that they go behind instead. Whatever is not plainly safe here is
//! refused with `None`.

use serde_json::Value as Json;

use super::{Splice, render};
use crate::manifest::yaml::{Entry, Kind, Node, Style};

/// Fields that belong directly behind another one.
const NEIGHBOURS: &[(&str, &str)] = &[("ref", "url")];

/// A mapping that a field goes into.
pub(super) struct Target<'d> {
    pub(super) text: &'d str,
    pub(super) mapping: Node<'d>,
    /// The mapping or list around it.
    pub(super) above: Option<Node<'d>>,
}

impl<'d> Target<'d> {
    /// Inserts the field `key`, which is not there.
    pub(super) fn field(&self, key: &str, value: &Json) -> Option<Vec<Splice>> {
        let written: Vec<Entry<'d>> = self.mapping.entries().filter(|entry| !entry.merged).collect();
        let neighbour = NEIGHBOURS
            .iter()
            .find(|(name, _)| *name == key)
            .and_then(|(_, before)| written.iter().find(|entry| entry.name() == *before));
        if self.mapping.is_flow() {
            match neighbour.or(written.last()) {
                Some(before) => self.flow_field(before, key, value),
                None => self.first_flow_field(key, value),
            }
        } else {
            self.block_field(neighbour, written.last()?, key, value)
        }
    }

    /// Gives the field `entry`, which has none, a value.
    pub(super) fn value(&self, entry: &Entry<'d>, value: &Json) -> Option<Vec<Splice>> {
        let span = entry.value.span().range();
        let in_json = self.text[entry.key.span().range()].starts_with('"');
        let inline = if in_json && self.mapping.is_flow() { render::json(value, false) } else { render::flow(value) };
        if !span.is_empty() {
            return Some(vec![Splice { start: span.start, end: span.end, with: inline }]);
        }
        if !self.text[..span.start].ends_with(':') {
            return None;
        }
        match value {
            Json::Object(fields) if !fields.is_empty() && !self.mapping.is_flow() => {
                let column = self.column_of(entry)?;
                let at = self.line_end(span.start);
                let eol = self.eol(at);
                let width = self.width();
                let lines = render::block_fields(fields, eol, column + width, width);
                Some(vec![insertion(at, format!("{eol}{lines}"))])
            }
            _ => Some(vec![insertion(span.start, format!(" {inline}"))]),
        }
    }

    fn first_flow_field(&self, key: &str, value: &Json) -> Option<Vec<Splice>> {
        let span = self.mapping.span().range();
        let inner = self.text.get(span.start + 1..span.end.checked_sub(1)?)?;
        if !inner.trim().is_empty() {
            // A merge key, or comments.
            return None;
        }
        let in_json = self
            .above
            .and_then(|above| above.entries().next())
            .is_some_and(|entry| above_is_flow(self.above) && self.text[entry.key.span().range()].starts_with('"'));
        let field = if in_json {
            format!("{}: {}", render::quoted(key), render::json(value, false))
        } else {
            format!("{}: {}", render::text(key), render::flow(value))
        };
        let space = if inner.starts_with(' ') { " " } else { "" };
        Some(vec![insertion(span.start + 1, format!("{space}{field}"))])
    }

    fn flow_field(&self, before: &Entry<'d>, key: &str, value: &Json) -> Option<Vec<Splice>> {
        let key_span = before.key.span().range();
        let end = entry_end(before);
        let in_json = self.text[key_span.clone()].starts_with('"');
        let between = &self.text[key_span.end..before.value.span().range().start.max(key_span.end)];
        let compact = in_json && between == ":";
        let indent = &self.text[self.line_start(key_span.start)..key_span.start];
        let own_line = indent.trim().is_empty() && self.line_start(key_span.start) > 0;
        let name = if in_json { render::quoted(key) } else { render::text(key) };
        if !own_line {
            let (separator, rendered) = if in_json {
                let space = if compact { "" } else { " " };
                let rendered = render::json(value, compact);
                (format!(",{space}"), format!("{name}:{space}{rendered}"))
            } else {
                (", ".to_owned(), format!("{name}: {}", render::flow(value)))
            };
            return Some(vec![insertion(end, format!("{separator}{rendered}"))]);
        }
        let line_end = self.line_end(end);
        let eol = self.eol(line_end);
        let rendered = if in_json {
            let open = self.mapping.span().range().start;
            let outer = &self.text[self.line_start(open)..open];
            let outer = &outer[..outer.len() - outer.trim_start().len()];
            let unit = indent.strip_prefix(outer).unwrap_or("  ");
            render::pretty_json(value, eol, indent, unit)
        } else {
            render::flow(value)
        };
        let line = format!("{eol}{indent}{name}: {rendered}");
        let tail = self.text[end..line_end].trim_start();
        let (comma, tail) = match tail.strip_prefix(',') {
            Some(tail) => (true, tail.trim_start()),
            None => (false, tail),
        };
        Some(match (comma, tail.starts_with('#')) {
            (_, false) => vec![insertion(end, format!(",{line}"))],
            (true, true) => vec![insertion(line_end, format!("{line},"))],
            (false, true) => vec![insertion(end, ",".to_owned()), insertion(line_end, line)],
        })
    }

    fn block_field(
        &self,
        neighbour: Option<&Entry<'d>>,
        last: &Entry<'d>,
        key: &str,
        value: &Json,
    ) -> Option<Vec<Splice>> {
        let column = self.column_of(last)?;
        let eol_near = |at| self.eol(at);
        // Without a neighbour behind everything of the mapping, a merge key included.
        let (leaf, end) = match neighbour {
            Some(entry) => last_leaf(entry.value, entry_end(entry)),
            None => {
                let end = self.mapping.span().range().end;
                if entry_end(last) == end { last_leaf(last.value, end) } else { (None, end) }
            }
        };
        let width = self.width();
        if let Some((scalar, Style::Block)) = leaf.and_then(Node::scalar) {
            if leaf.is_some_and(|leaf| leaf.span().range().is_empty()) {
                // Nothing to go behind that would certainly not become part of it.
                return None;
            }
            if scalar.ends_with("\n\n") {
                // The blank lines behind it are part of it.
                let at = self.behind_blank_lines(end);
                let eol = eol_near(self.line_end(end));
                let line = render::block(key, value, eol, column, width);
                let indent = " ".repeat(column);
                return Some(vec![insertion(at, format!("{indent}{line}{eol}"))]);
            }
        }
        let at = self.behind_own_comments(self.line_end(end), column);
        let eol = eol_near(at);
        let line = render::block(key, value, eol, column, width);
        let indent = " ".repeat(column);
        Some(vec![insertion(at, format!("{eol}{indent}{line}"))])
    }

    /// The column of the mapping, from zero, if `entry` begins its line in it.
    fn column_of(&self, entry: &Entry<'d>) -> Option<usize> {
        let start = entry.key.span().range().start;
        let line = self.line_start(start);
        let before = &self.text[line..start];
        let first = self.mapping.span().range().start == start;
        let plain = before.bytes().all(|byte| byte == b' ' || (first && byte == b'-'));
        (plain && before.len() + 1 == self.mapping.span().column as usize).then_some(before.len())
    }

    /// How many spaces a level adds around here.
    fn width(&self) -> usize {
        let column = |node: Node<'_>| node.span().column;
        let deeper = |outer: Node<'_>, inner: Node<'_>| {
            let is_block = |node: Node<'_>| node.kind() == Kind::Mapping && !node.is_flow() && !node.is_alias();
            (is_block(outer) && is_block(inner) && column(inner) > column(outer))
                .then(|| (column(inner) - column(outer)) as usize)
        };
        let inside =
            |node: Node<'d>| node.entries().filter(|entry| !entry.merged).find_map(|entry| deeper(node, entry.value));
        inside(self.mapping).or_else(|| deeper(self.above?, self.mapping)).or_else(|| inside(self.above?)).unwrap_or(2)
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind(['\n', '\r']).map_or(0, |at| at + 1)
    }

    /// The end of the line, before its break.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find(['\n', '\r']).map_or(self.text.len(), |found| at + found)
    }

    /// The line break at `at`; at the end of the text the one that it uses.
    fn eol(&self, at: usize) -> &'static str {
        let here = &self.text[at..];
        if here.starts_with("\r\n") {
            "\r\n"
        } else if here.starts_with('\n') {
            "\n"
        } else if here.starts_with('\r') {
            "\r"
        } else if self.text.contains("\r\n") {
            "\r\n"
        } else if self.text.contains('\r') && !self.text.contains('\n') {
            "\r"
        } else {
            "\n"
        }
    }

    /// The end of the last comment line from the line end `at` on that is indented deeper
    /// than `column`: such comments belong to what is above them.
    fn behind_own_comments(&self, at: usize, column: usize) -> usize {
        let mut behind = at;
        let mut rest = &self.text[at..];
        loop {
            let eol = match rest.as_bytes() {
                [b'\r', b'\n', ..] => 2,
                [b'\n' | b'\r', ..] => 1,
                _ => return behind,
            };
            let start = self.text.len() - rest.len() + eol;
            let end = self.line_end(start);
            let line = &self.text[start..end];
            let content = line.trim_start_matches(' ');
            if content.starts_with('#') && line.len() - content.len() > column {
                behind = end;
            } else if !line.trim().is_empty() {
                return behind;
            }
            rest = &self.text[end..];
        }
    }

    /// The start of the first line behind `at` that is not blank.
    fn behind_blank_lines(&self, at: usize) -> usize {
        let rest = &self.text[at..];
        let blank = rest.len() - rest.trim_start().len();
        match rest[..blank].rfind(['\n', '\r']) {
            Some(found) => at + found + 1,
            None => self.text.len(),
        }
    }
}

fn above_is_flow(above: Option<Node<'_>>) -> bool {
    above.is_some_and(Node::is_flow)
}

fn insertion(at: usize, with: String) -> Splice {
    Splice { start: at, end: at, with }
}

/// Where an entry ends: behind its value, its colon or its key.
fn entry_end(entry: &Entry<'_>) -> usize {
    entry.value.span().range().end.max(entry.key.span().range().end)
}

/// The value that a block collection ends with, and where that is; no value where it ends
/// with a merge key.
fn last_leaf(value: Node<'_>, end: usize) -> (Option<Node<'_>>, usize) {
    let mut leaf = value;
    loop {
        if leaf.is_alias() || leaf.is_flow() {
            return (Some(leaf), end);
        }
        let last = match leaf.kind() {
            Kind::Mapping => leaf.entries().filter(|entry| !entry.merged).last().map(|entry| entry.value),
            Kind::Sequence => leaf.items().last(),
            _ => return (Some(leaf), end),
        };
        match last {
            Some(inner) if inner.span().range().end == leaf.span().range().end => leaf = inner,
            _ => return (None, end),
        }
    }
}
