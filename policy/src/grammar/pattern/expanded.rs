//! Patterns taken apart, placeholders filled in: for whoever has to say the same in another language.

use super::super::url::Scheme;
use super::{Bindings, HostPattern, PathPattern, SegmentPattern, placeholder};

/// A pattern of a URL or an image, in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expanded<'p> {
    /// Whose server.
    pub(crate) authority: Authority<'p>,
    /// What on it.
    pub(crate) path: Path,
    /// The tag that is pinned; images only.
    pub(crate) tag: Option<&'p str>,
}

/// Everything in front of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority<'p> {
    /// URLs only.
    pub(crate) scheme: Option<Scheme>,
    /// With ssh only.
    pub(crate) user: Option<&'p str>,
    /// In lowercase, without `*.`.
    pub(crate) host: &'p str,
    /// One more label in front of the host.
    pub(crate) one_more: bool,
    /// For URLs always there.
    pub(crate) port: Option<u16>,
}

/// The path of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// Segment by segment, `None` for any one; with `rest` one or more others follow.
    Segments {
        /// The segments.
        segments: Vec<Option<String>>,
        /// Whether others follow.
        rest: bool,
    },
    /// A placeholder has no value that is a DNS label: a list that allows takes nothing, one that denies takes every path.
    Unbound,
}

impl<'p> Authority<'p> {
    pub(super) fn of(
        scheme: Option<Scheme>,
        user: Option<&'p str>,
        host: &'p HostPattern,
        port: Option<u16>,
    ) -> Authority<'p> {
        let (host, one_more) = match host {
            HostPattern::Exact(host) => (&**host, false),
            HostPattern::OneMore(host) => (&**host, true),
        };
        Authority { scheme, user, host, one_more, port }
    }
}

impl PathPattern {
    pub(super) fn expanded(&self, bindings: &Bindings<'_>) -> Path {
        let segments: Option<Vec<Option<String>>> = self
            .segments
            .iter()
            .map(|segment| match segment {
                SegmentPattern::One => Some(None),
                SegmentPattern::Literal(text) => Some(Some(text.to_string())),
                SegmentPattern::Pieces(pieces) => placeholder::expand(pieces, bindings).map(Some),
            })
            .collect();
        match segments {
            Some(segments) => Path::Segments { segments, rest: self.rest },
            None => Path::Unbound,
        }
    }
}
