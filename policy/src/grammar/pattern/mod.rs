//! Patterns: what allows or denies a URL, an image or a name.
//!
//! A pattern is read once and then asked often; asking allocates nothing. `*` is one whole segment, `**`
//! is one or more and comes last, `*.` in front of a host is exactly one more label, and a placeholder
//! stands for a DNS label. There are no partial wildcards in URLs and images, and no regular expressions.
//!
//! A pattern has two questions, because doubt must fall on the safe side in both kinds of list:
//! `matches` for a list that allows (and for choosing), `denies` for a list that denies. They differ only
//! where a value of a placeholder is not a DNS label, and where `**` alone meets plain `http`.

mod expanded;
mod image;
mod name;
mod overlap;
mod url;

use std::fmt;

pub(crate) use expanded::{Authority, Expanded, Path};

pub use image::ImagePattern;
pub use name::NamePattern;
pub use url::UrlPattern;

use super::ParseError;
use super::image::ImageReason;
use super::name::NameReason;
use super::placeholder::{self, Bindings, Piece, PlaceholderReason};
use super::url::UrlReason;

/// The pattern that stands for anything.
const ANY: &str = "**";

/// Something about a pattern that its author should have meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Danger {
    /// `**` alone: anything at all.
    Everything,
    /// `http`: anyone on the way can replace what is fetched.
    PlainHttp,
    /// Every path on a host: on a shared one, such as Docker Hub, everybody's.
    WholeHost,
}

impl fmt::Display for Danger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Everything => "`**` alone matches anything at all",
            Self::PlainHttp => "plain http can be changed by anyone between the server and the cluster",
            Self::WholeHost => "the pattern matches every path on the host",
        })
    }
}

/// Why a text is not accepted as a pattern.
pub type PatternError = ParseError<PatternReason>;

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternReason {
    /// Nothing there.
    #[error("the pattern is empty")]
    Empty,
    /// What is wrong with the URL that the pattern is.
    #[error("{0}")]
    Url(UrlReason),
    /// What is wrong with the image that the pattern is.
    #[error("{0}")]
    Image(ImageReason),
    /// What is wrong with the name that the pattern is.
    #[error("{0}")]
    Name(NameReason),
    /// A placeholder.
    #[error("{0}")]
    Placeholder(PlaceholderReason),
    /// A placeholder in scheme, user, host, port or tag.
    #[error("placeholders are allowed in the segments of the path only")]
    PlaceholderOutsidePath,
    /// `*` beside other characters.
    #[error("`*` stands for a whole segment; it cannot be a part of one")]
    PartialWildcard,
    /// `**` in front of something else.
    #[error("`**` can only be the last segment")]
    DoubleStarNotLast,
    /// `*` in a host other than as `*.` in front.
    #[error("in a host `*` is allowed only in front, as in *.example.com, for exactly one label")]
    HostWildcard,
    /// `*` in a user, port or tag.
    #[error("`*` is allowed only in front of a host and as a segment of the path")]
    MisplacedWildcard,
    /// An image pattern that does not begin with a host.
    #[error("an image pattern begins with the host of its registry, such as docker.io")]
    HostMissing,
    /// An image pattern without a path.
    #[error("an image pattern has a path behind the host, such as /**")]
    PathMissing,
    /// `docker.io/nginx`, which is `docker.io/library/nginx`.
    #[error("Docker Hub has no images with one component; official images are under library/")]
    HubOneComponent,
    /// `index.docker.io`.
    #[error("Docker Hub is written docker.io")]
    HubAlias,
    /// `@sha256:…`
    #[error("a pattern cannot name a digest; it ends with the path or a :tag")]
    Digest,
}

/// A reason and its place.
type Fault = (PatternReason, usize);

/// A host in a pattern, in lowercase.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exact(Box<str>),
    /// One more label in front of these.
    OneMore(Box<str>),
}

impl HostPattern {
    /// Reads a host; `check` judges it (without `*.`) by the grammar that it belongs to.
    fn parse(text: &str, at: usize, check: impl Fn(&str, usize) -> Result<(), Fault>) -> Result<Self, Fault> {
        if text.contains('$') {
            return Err((PatternReason::PlaceholderOutsidePath, at));
        }
        let (wild, rest, rest_at) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest, at + 2),
            None => (false, text, at),
        };
        if rest.contains('*') {
            return Err((PatternReason::HostWildcard, at));
        }
        check(rest, rest_at)?;
        if wild {
            // `*.0.0.1` would be a label in front of an address.
            if rest.starts_with('[') || super::host::ends_in_a_number(rest) {
                return Err((PatternReason::HostWildcard, at));
            }
            return Ok(Self::OneMore(rest.into()));
        }
        Ok(Self::Exact(rest.into()))
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *host || own.eq_ignore_ascii_case(host),
            Self::OneMore(own) => {
                host.len().checked_sub(own.len() + 1).and_then(|dot| host.split_at_checked(dot)).is_some_and(
                    |(label, rest)| {
                        rest.strip_prefix('.').is_some_and(|rest| own.eq_ignore_ascii_case(rest))
                            && !label.is_empty()
                            && !label.contains('.')
                    },
                )
            }
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

/// A segment of a path in a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SegmentPattern {
    One,
    Literal(Box<str>),
    Pieces(Box<[Piece]>),
}

impl SegmentPattern {
    /// Takes what matches off the front of a path; what follows must be its end or a `/`.
    fn strip<'t>(&self, path: &'t str, bindings: &Bindings<'_>) -> Option<&'t str> {
        match self {
            Self::One => Some(&path[path.bytes().position(|b| b == b'/').unwrap_or(path.len())..]),
            Self::Literal(own) => path.strip_prefix(&**own),
            Self::Pieces(pieces) => placeholder::strip(&**pieces, path, bindings),
        }
    }

    fn is_bound(&self, bindings: &Bindings<'_>) -> bool {
        match self {
            Self::Pieces(pieces) => placeholder::bound(&**pieces, bindings),
            Self::One | Self::Literal(_) => true,
        }
    }
}

/// The path of a pattern: its segments, and whether one or more others follow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PathPattern {
    segments: Box<[SegmentPattern]>,
    rest: bool,
}

impl PathPattern {
    /// Reads a path without its leading `/`; `check` judges each segment, placeholders filled in, and is
    /// told whether it is the last.
    fn parse(
        path: &str,
        start: usize,
        check: impl Fn(&str, bool) -> Result<(), (PatternReason, usize)>,
    ) -> Result<Self, Fault> {
        let mut segments = Vec::new();
        let mut rest = false;
        let mut at = start;
        let end = start + path.len();
        for segment in path.split('/') {
            let last = at + segment.len() == end;
            match segment {
                "*" => segments.push(SegmentPattern::One),
                "**" if last => rest = true,
                "**" => return Err((PatternReason::DoubleStarNotLast, at)),
                _ => segments.push(Self::segment(segment, last, at, &check)?),
            }
            at += segment.len() + 1;
        }
        Ok(Self { segments: segments.into(), rest })
    }

    fn segment(
        segment: &str,
        last: bool,
        at: usize,
        check: impl Fn(&str, bool) -> Result<(), (PatternReason, usize)>,
    ) -> Result<SegmentPattern, Fault> {
        if let Some(star) = segment.find('*') {
            return Err((PatternReason::PartialWildcard, at + star));
        }
        if !segment.contains('$') {
            check(segment, last).map_err(|(reason, inner)| (reason, at + inner))?;
            return Ok(SegmentPattern::Literal(segment.into()));
        }
        let pieces =
            placeholder::split(segment).map_err(|(reason, inner)| (PatternReason::Placeholder(reason), at + inner))?;
        // A place inside the filled-in text is not one in the pattern: point at the segment.
        check(&placeholder::filled(&pieces), last).map_err(|(reason, _)| (reason, at))?;
        Ok(SegmentPattern::Pieces(pieces.into()))
    }

    /// Whether a path of so many segments can match at all: the cheapest question, asked first.
    fn fits(&self, count: usize) -> bool {
        if self.rest { count > self.segments.len() } else { count == self.segments.len() }
    }

    /// Whether the segments match, of a path that [`Self::fits`]; `implied` stands in front of it. The path
    /// is not cut up first: most patterns differ in their first segment.
    fn matches(&self, implied: Option<&str>, path: &str, bindings: &Bindings<'_>) -> bool {
        let mut segments = self.segments.iter();
        if let Some(implied) = implied
            && let Some(first) = segments.next()
            && first.strip(implied, bindings) != Some("")
        {
            return false;
        }
        let mut rest = path;
        for segment in segments {
            match segment.strip(rest, bindings) {
                Some("") => rest = "",
                Some(after) => match after.strip_prefix('/') {
                    Some(after) => rest = after,
                    None => return false,
                },
                None => return false,
            }
        }
        true
    }

    fn is_bound(&self, bindings: &Bindings<'_>) -> bool {
        self.segments.iter().all(|s| s.is_bound(bindings))
    }

    /// How many segments in front are literal once placeholders are filled in.
    fn literal_count(&self) -> usize {
        self.segments.iter().take_while(|s| **s != SegmentPattern::One).count()
    }

    /// Whether it says nothing about the path but its length.
    fn is_open(&self) -> bool {
        (self.rest || !self.segments.is_empty()) && self.segments.iter().all(|s| *s == SegmentPattern::One)
    }
}

/// How much of a path the first `count` segments are, in bytes.
fn prefix_len(path: &str, count: usize) -> usize {
    let len: usize = path.split('/').take(count).map(|s| s.len() + 1).sum();
    len.saturating_sub(1).min(path.len())
}
