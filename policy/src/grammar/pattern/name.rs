//! Patterns of names (tenants, namespaces, clusters, charts), such as `team-*` or `${tenant}-*`.

use std::fmt;

use super::super::name::{NameReason, check_label, is_dns_label};
use super::super::placeholder::{self, Bindings, Piece};
use super::{PatternError, PatternReason};

/// A pattern of DNS labels, in which `*` is any run of characters, an empty one included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    text: Box<str>,
    /// What stands between the stars; one more than there are stars.
    groups: Box<[Box<[Piece]>]>,
    /// Without star and placeholder.
    is_literal: bool,
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says why the text is not a pattern, and where.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let fail = |reason, offset, canonical| PatternError { reason, offset, canonical };
        if text.is_empty() {
            return Err(fail(PatternReason::Empty, 0, None));
        }
        let mut groups: Vec<Box<[Piece]>> = Vec::new();
        // The pattern as the shortest name that it could match, to be judged as a name.
        let mut sample = String::with_capacity(text.len());
        let mut at = 0;
        for group in text.split('*') {
            let pieces = placeholder::split(group)
                .map_err(|(reason, inner)| fail(PatternReason::Placeholder(reason), at + inner, None))?;
            if at > 0 {
                sample.push('x');
            }
            sample.push_str(&placeholder::filled(&pieces));
            groups.push(pieces.into());
            at += group.len() + 1;
        }
        check_label(&sample).map_err(|reason| {
            let (offset, canonical) = match reason {
                NameReason::BadCharacter(found) => (
                    text.find(found).unwrap_or(0),
                    Some(text.to_ascii_lowercase())
                        .filter(|lower| found.is_ascii_uppercase() && Self::parse(lower).is_ok()),
                ),
                _ => (0, None),
            };
            fail(PatternReason::Name(reason), offset, canonical)
        })?;
        let is_literal = matches!(&*groups, [group] if matches!(&**group, [Piece::Text(_)]));
        Ok(Self { text: text.into(), groups: groups.into(), is_literal })
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the name is one of these. What is not a DNS label never is, and a placeholder whose value
    /// is not a DNS label matches nothing.
    #[must_use]
    pub fn matches(&self, name: &str, bindings: &Bindings<'_>) -> bool {
        // What a literal is was judged as a name. Most patterns do not fit; only a name that does is worth judging.
        if self.is_literal { *self.text == *name } else { self.fits(name, bindings) && is_dns_label(name) }
    }

    fn fits(&self, name: &str, bindings: &Bindings<'_>) -> bool {
        let [first, rest @ ..] = &*self.groups else {
            return false;
        };
        let Some(mut name) = placeholder::strip(&**first, name, bindings) else {
            return false;
        };
        let [middle @ .., last] = rest else {
            return name.is_empty();
        };
        for group in middle {
            // The leftmost place leaves the most for what follows.
            let found = (0..=name.len()).find_map(|at| placeholder::strip(&**group, name.get(at..)?, bindings));
            match found {
                Some(after) => name = after,
                None => return false,
            }
        }
        let Some(len) = placeholder::filled_len(last, bindings) else {
            return false;
        };
        name.len()
            .checked_sub(len)
            .and_then(|at| placeholder::strip(&**last, name.get(at..)?, bindings))
            .is_some_and(str::is_empty)
    }

    /// As [`Self::matches`], for a list that denies: a placeholder whose value is not a DNS label, or a
    /// name that is none, is denied.
    #[must_use]
    pub fn denies(&self, name: &str, bindings: &Bindings<'_>) -> bool {
        !is_dns_label(name)
            || !self.groups.iter().all(|group| placeholder::bound(&**group, bindings))
            || self.matches(name, bindings)
    }

    /// Whether it has neither star nor placeholder, so that it is the one name that it matches.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.is_literal
    }

    /// Whether it matches every name.
    #[must_use]
    pub fn matches_everything(&self) -> bool {
        self.groups.iter().all(|group| group.is_empty())
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
