//! Whether two patterns have anything in common. Never says no wrongly; it decides no verdict on an image, only whether a
//! pattern is of any use.

use std::borrow::Cow;

use super::super::placeholder::{Bindings, Piece};
use super::{HostPattern, PathPattern, SegmentPattern};

impl HostPattern {
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), Self::Exact(host)) | (Self::OneMore(_), Self::Exact(host)) => self.matches(host),
            (Self::Exact(host), Self::OneMore(_)) => other.matches(host),
            (Self::OneMore(own), Self::OneMore(host)) => own.eq_ignore_ascii_case(host),
        }
    }
}

impl PathPattern {
    pub(super) fn overlaps(&self, other: &Self, bindings: &Bindings<'_>) -> bool {
        let (own, theirs) = (self.segments.len(), other.segments.len());
        let lengths = match (self.rest, other.rest) {
            (true, true) => true,
            (true, false) => theirs > own,
            (false, true) => own > theirs,
            (false, false) => own == theirs,
        };
        lengths && self.segments.iter().zip(&other.segments).all(|(a, b)| a.overlaps(b, bindings))
    }
}

impl SegmentPattern {
    /// The one text that matches; `None` where many do, or none.
    fn text(&self, bindings: &Bindings<'_>) -> Option<Cow<'_, str>> {
        match self {
            Self::One => None,
            Self::Literal(own) => Some(Cow::Borrowed(own)),
            Self::Pieces(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => Some(&**text),
                    Piece::Hole(hole) => bindings.get(*hole),
                })
                .collect::<Option<String>>()
                .map(Cow::Owned),
        }
    }

    fn overlaps(&self, other: &Self, bindings: &Bindings<'_>) -> bool {
        match (self.text(bindings), other.text(bindings)) {
            (Some(own), Some(theirs)) => own == theirs,
            (None, _) => *self == Self::One && other.is_bound(bindings),
            (_, None) => *other == Self::One && self.is_bound(bindings),
        }
    }
}
