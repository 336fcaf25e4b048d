//! Field paths: `spec.source.url`, `spec.images[2]`, `metadata.labels["a.b/c"]`.
//!
//! One notation for what is written in messages and what [`Document::locate`] reads:
//! names joined by dots, positions in brackets counted from zero, and names that hold
//! anything but letters, digits, `-` and `_` quoted in brackets.
//!
//! [`Document::locate`]: super::yaml::Document::locate

use std::borrow::Cow;
use std::fmt::Write as _;

/// One step of a field path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'p> {
    /// The field or map entry of that name.
    Key(Cow<'p, str>),
    /// The list item at that position, counted from zero.
    Index(usize),
}

/// Reads a path into its steps. The empty path has none and means the whole document.
/// `None` where the text is not a path.
#[must_use]
pub fn parse(path: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            if inner.starts_with('"') {
                let (key, after) = quoted(inner)?;
                steps.push(Step::Key(key));
                rest = after.strip_prefix(']')?;
            } else {
                let (digits, after) = inner.split_once(']')?;
                if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return None;
                }
                steps.push(Step::Index(digits.parse().ok()?));
                rest = after;
            }
        } else {
            let name = if steps.is_empty() { rest } else { rest.strip_prefix('.')? };
            let end = name.find(['.', '[']).unwrap_or(name.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Key(Cow::Borrowed(&name[..end])));
            rest = &name[end..];
        }
    }
    Some(steps)
}

/// Reads `"text"` with `\"` and `\\` as the only escapes; returns what follows it too.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let body = text.strip_prefix('"')?;
    let mut key = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(key), &body[at + 1..])),
            '\\' => key.push(characters.next()?.1),
            other => key.push(other),
        }
    }
    None
}

/// Appends the name `key` to `path`, quoted where a plain name would not be one.
pub fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty()
        && key.chars().all(|character| character.is_alphanumeric() || matches!(character, '-' | '_' | '$'));
    if plain {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        return;
    }
    path.push_str("[\"");
    for character in key.chars() {
        if matches!(character, '"' | '\\') {
            path.push('\\');
        }
        path.push(character);
    }
    path.push_str("\"]");
}

/// Appends the position `index`, counted from zero, to `path`.
pub fn push_index(path: &mut String, index: usize) {
    // Writing into a String cannot fail.
    let _ = write!(path, "[{index}]");
}

/// The path that `steps` make, as [`parse`] reads it.
#[must_use]
pub fn render(steps: &[Step<'_>]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(key) => push_key(&mut path, key),
            Step::Index(index) => push_index(&mut path, *index),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Step<'_> {
        Step::Key(Cow::Borrowed(text))
    }

    #[test]
    fn reads_names_positions_and_quoted_names() {
        for (text, steps) in [
            ("", vec![]),
            ("spec", vec![key("spec")]),
            ("spec.source.url", vec![key("spec"), key("source"), key("url")]),
            ("spec.images[2]", vec![key("spec"), key("images"), Step::Index(2)]),
            ("[0][1].a", vec![Step::Index(0), Step::Index(1), key("a")]),
            ("metadata.labels[\"a.b/c\"]", vec![key("metadata"), key("labels"), key("a.b/c")]),
            (r#"a["q\"b\\c"].d"#, vec![key("a"), key("q\"b\\c"), key("d")]),
        ] {
            assert_eq!(parse(text).as_deref(), Some(&steps[..]), "{text}");
            assert_eq!(render(&steps), text);
        }
    }

    #[test]
    fn refuses_what_is_not_a_path() {
        for text in [".a", "a.", "a..b", "a[", "a[x]", "a[-1]", "a[\"b]", "a[\"b\"", "a[1]b", "a[]", "a[+1]"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
