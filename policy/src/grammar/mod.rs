//! The grammars: every text that a verdict depends on is parsed here, once, strictly.
//!
//! What lives here: source URLs, image references, the patterns that allow or deny them, names,
//! templates, durations, paths and Git references. What does not: which pattern applies to whom,
//! and what a verdict says; that is the engine's, which calls this module and is never called by it.
//!
//! The rule of the house is *parse strictly, never repair*. A text is accepted in its canonical form
//! or not at all, and what is handed on is the text that was matched, byte for byte. Where a canonical
//! spelling can be offered safely, the error carries it. Parsers borrow their input and allocate only
//! when they fail; matching a parsed value against a pattern never allocates.
//!
//! Calls go one way: [`pattern`] reads [`url`] and [`image`], which read [`host`]; everything may read
//! [`name`] and [`placeholder`].

use std::fmt;

pub mod cidr;
pub mod digest;
pub mod duration;
pub mod git;
pub mod host;
pub mod image;
pub mod name;
pub mod path;
pub mod pattern;
pub mod placeholder;
pub mod proxy;
pub mod semver;
pub mod template;
pub mod url;

pub use cidr::{Cidr, CidrReason};
pub use digest::{Digest, DigestError};
pub use duration::{DurationError, format_duration, parse_duration, parse_duration_with_days};
pub use git::{CommitSha, GitBranch, GitError, GitTag};
pub use host::{HostReason, PortReason};
pub use image::{ImageError, ImageReason, ImageRef};
pub use name::{ChartName, ClusterId, NameError, NamespaceName, ObjectName, TenantName};
pub use path::{PathError, RepoPath};
pub(crate) use pattern::{Authority, Expanded, Path};
pub use pattern::{Danger, ImagePattern, NamePattern, PatternError, PatternReason, UrlPattern};
pub use placeholder::{BindingError, Bindings, Placeholder, PlaceholderReason};
pub use proxy::{ProxyReason, ProxyUrl, is_no_proxy};
pub use semver::{SemverError, SemverRange};
pub use template::{Template, TemplateError};
pub use url::{Scheme, SegmentReason, SourceUrl, UrlError, UrlReason};

/// Why a text is not accepted by a grammar whose errors can show a better spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError<R> {
    reason: R,
    offset: usize,
    canonical: Option<String>,
}

impl<R> ParseError<R> {
    /// What is wrong.
    #[must_use]
    pub fn reason(&self) -> &R {
        &self.reason
    }

    /// Where, in bytes from the start of the text.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The canonical spelling of what was meant, where that is beyond doubt. It parses.
    #[must_use]
    pub fn canonical(&self) -> Option<&str> {
        self.canonical.as_deref()
    }
}

impl<R: fmt::Display> fmt::Display for ParseError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        match &self.canonical {
            Some(canonical) => write!(f, "; write {canonical}"),
            None => Ok(()),
        }
    }
}

impl<R: fmt::Debug + fmt::Display> std::error::Error for ParseError<R> {}

/// Whether all bytes are such. It does not stop at the first that is not, so that it looks at many at once: nearly every text
/// is as it should be.
fn all(text: &str, such: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & such(byte))
}

/// The parts between bytes of ASCII; for texts of which the parts have a few bytes each quicker than [`str::split`].
fn parts(text: &str, divider: u8) -> impl Iterator<Item = &str> {
    debug_assert!(divider.is_ascii());
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.bytes().position(|byte| byte == divider) {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}

/// A character as a message shows it: printable ASCII in backquotes, all else by its code point, so
/// that nothing invisible or right-to-left ever reaches a terminal or a merge request.
fn shown(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        '`' => "a backquote".to_owned(),
        c if c.is_ascii_graphic() => format!("`{c}`"),
        c => format!("U+{:04X}", u32::from(c)),
    }
}

/// Text as a message quotes it: at most `most` characters of printable ASCII, the rest escaped.
fn quoted(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == most {
            out.push_str("...");
            break;
        }
        if c == ' ' || c.is_ascii_graphic() {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

/// Characters that a reader of a merge request cannot see, or that change how others are seen: controls,
/// separators other than the plain space, zero-width and bidirectional marks, tags, variation selectors.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{E0000}'..='\u{E0FFF}')
}
