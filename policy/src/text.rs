//! Text from files and objects, made fit for showing.
//!
//! Whoever opens a merge request chooses what the reports quote, and whoever writes an object what a refusal quotes. Shown as they are, control
//! characters redraw a reviewer's terminal, direction overrides make a line read as another one
//! ("Trojan Source", CVE-2021-42574), invisible characters hide a difference, and a log line can be
//! a command to the CI system that keeps the log. [`line()`] and [`escape`] leave nothing of that.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest text that [`line()`] shows in full, in characters.
const LONGEST: usize = 1000;
/// Entries of a list that [`shortened`] shows.
const LISTED: usize = 5;

/// `text` as one line that draws nothing but itself: hidden characters are spelt as in Rust
/// (`\n`, `\u{202e}`), and what a CI system would take for a command is broken up.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte == b' ' || (byte.is_ascii_graphic() && byte != b'#');
    if text.bytes().all(plain) || !pieces(text).any(|piece| piece.hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for piece in pieces(text) {
        piece.push_to(&mut out);
    }
    Cow::Owned(out)
}

/// [`escape`], cut after 1,000 characters with a note of how many are left out.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    let escaped = escape(text);
    let Some((at, _)) = escaped.char_indices().nth(LONGEST) else {
        return escaped;
    };
    let (shown, rest) = escaped.split_at(at);
    Cow::Owned(format!("{shown}… ({} more characters)", rest.chars().count()))
}

/// The first five entries of a list, and how many more there are.
#[must_use]
pub fn shortened(list: &[String]) -> String {
    let shown: Vec<_> = list.iter().take(LISTED).map(|entry| line(entry)).collect();
    let shown = shown.join(", ");
    match list.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown}, … and {more} more"),
    }
}

/// `text` with every byte percent-encoded that is not unreserved in a URI path; `/` stays.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// `1 file`, `2 files`.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// One character of a text and whether it must not be shown as it is.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it stands, in bytes.
    pub at: usize,
    /// The character.
    pub char: char,
    /// It must not be shown as it is.
    pub hidden: bool,
}

impl Piece {
    /// Appends the character or, if it is hidden, its spelling.
    pub fn push_to(self, out: &mut String) {
        match self.char {
            char if !self.hidden => out.push(char),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char => drop(write!(out, "\\u{{{:x}}}", u32::from(char))),
        }
    }
}

/// The characters of `text` with their byte offsets.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece> {
    text.char_indices().map(|(at, char)| Piece {
        at,
        char,
        hidden: is_hidden(char) || (char == '#' && starts_command(&text[at..])),
    })
}

/// Whether a character draws nothing of its own, moves others, or ends the line.
pub fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            // Soft hyphen, joiners, fillers, variation selectors, tags: nothing to see.
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            // Marks, overrides and isolates of direction.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // For private use: each font draws what it likes.
            | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}'
            // Not characters.
            | '\u{fdd0}'..='\u{fdef}')
        || u32::from(char) & 0xfffe == 0xfffe
}

/// Whether a `#` opens what Azure Pipelines, TeamCity or the older syntax of GitHub's runner takes
/// for a command wherever it stands in a line: `##vso[`, `##teamcity[`, `##[`.
fn starts_command(rest: &str) -> bool {
    rest.strip_prefix("##").is_some_and(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).starts_with('[')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_out_what_cannot_be_seen() {
        for (text, shown) in [
            ("plain", "plain"),
            ("größe 日本 🦀", "größe 日本 🦀"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("team\u{200b}-a\u{feff}", "team\\u{200b}-a\\u{feff}"),
            ("a\u{2028}b\u{85}c", "a\\u{2028}b\\u{85}c"),
            ("\u{e0061}", "\\u{e0061}"),
            ("\u{fffe}\u{e000}", "\\u{fffe}\\u{e000}"),
        ] {
            assert_eq!(escape(text), shown, "{text:?}");
        }
    }

    #[test]
    fn breaks_up_commands_to_ci_systems_and_leaves_comments_alone() {
        for (text, shown) in [
            ("x ##vso[task.setvariable]y", "x \\u{23}#vso[task.setvariable]y"),
            ("##[error]boo", "\\u{23}#[error]boo"),
            ("###[error]boo", "#\\u{23}#[error]boo"),
            ("##teamcity[buildStop]", "\\u{23}#teamcity[buildStop]"),
            ("## a heading [1]", "## a heading [1]"),
            ("#### done", "#### done"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_escaped_once_is_plain_and_stays_as_it_is(
            text in "[a#\\[\\\\{}u\r\n\u{1b}\u{9b}é日\u{ad}\u{200b}\u{202e}\u{2066}\u{2028}\u{e000}\u{e0061}\u{fffe}]{0,60}|\\PC{0,60}"
        ) {
            let once = escape(&text).into_owned();
            assert!(!once.chars().any(is_hidden) && !once.contains("##["), "{once:?}");
            assert_eq!(escape(&once), once);
            // Wherever it is cut.
            for (at, _) in once.char_indices() {
                assert_eq!(escape(&once[..at]), once[..at]);
            }
        }
    }

    #[test]
    fn cuts_what_is_too_long_to_read() {
        assert_eq!(line(&"x".repeat(1000)).chars().count(), 1000);
        let cut = line(&"é".repeat(1007)).into_owned();
        assert!(cut.ends_with("é… (7 more characters)"), "{cut}");
    }
}
