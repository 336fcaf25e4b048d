//! Patterns of source URLs, such as `https://git.example.com/${tenant}/**`.

use std::fmt;

use super::super::host::check_url_host;
use super::super::placeholder::{Bindings, Piece};
use super::super::url::{
    self, Scheme, SourceUrl, UrlReason, canonical_of, check_segment, cut_authority, read_authority, read_scheme,
};
use super::{
    ANY, Authority, Danger, Expanded, Fault, HostPattern, PathPattern, PatternError, PatternReason, SegmentPattern,
    prefix_len,
};

/// A pattern of source URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlPattern {
    text: Box<str>,
    /// How much of the text is literal.
    literal: usize,
    /// `None`: `**` alone.
    place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    scheme: Scheme,
    user: Option<Box<str>>,
    host: HostPattern,
    /// With the default filled in.
    port: u16,
    path: PathPattern,
}

impl UrlPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says why the text is not a pattern, where, and what the canonical form is if one can be offered.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        read(text).map_err(|(reason, offset)| {
            let canonical = match &reason {
                PatternReason::Url(first) => {
                    let first = url::Fault { reason: first.clone(), offset };
                    canonical_of(text, &first, |candidate| match read(candidate) {
                        Ok(_) => Ok(()),
                        // A reason that no repair knows ends the search.
                        Err((PatternReason::Url(reason), offset)) => Err(url::Fault { reason, offset }),
                        Err(_) => Err(url::Fault { reason: UrlReason::Empty, offset: 0 }),
                    })
                }
                _ => None,
            };
            PatternError { reason, offset, canonical }
        })
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the URL is one of these, for a list that allows. Plain `http` matches only a pattern that
    /// says `http`; a placeholder whose value is not a DNS label matches nothing.
    #[must_use]
    pub fn matches(&self, url: &SourceUrl<'_>, bindings: &Bindings<'_>) -> bool {
        match &self.place {
            None => url.scheme() != Scheme::Http,
            Some(place) => {
                place.path.fits(url.segment_count())
                    && place.matches_authority(url)
                    && place.path.matches(None, url.compared_path(), bindings)
            }
        }
    }

    /// Whether the URL is one of these, for a list that denies: as [`Self::matches`], but `**` alone is
    /// every URL, and a placeholder whose value is not a DNS label denies whatever is on the host.
    #[must_use]
    pub fn denies(&self, url: &SourceUrl<'_>, bindings: &Bindings<'_>) -> bool {
        match &self.place {
            None => true,
            Some(place) if place.path.is_bound(bindings) => self.matches(url, bindings),
            Some(place) => place.matches_authority(url),
        }
    }

    /// How specific the pattern is, to choose among several that match: 0 for `**` alone, 1 for a host with
    /// `*.`, and 2 for a literal host plus 1 for each segment in front of the first wildcard.
    #[must_use]
    pub fn specificity(&self) -> usize {
        match &self.place {
            None => 0,
            Some(place) if place.host.is_exact() => 2 + place.path.literal_count(),
            Some(_) => 1,
        }
    }

    /// The text up to the first wildcard, placeholders included.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.text[..self.literal]
    }

    /// The pattern with placeholders filled in, the default port too; `None`: `**` alone.
    pub(crate) fn expanded(&self, bindings: &Bindings<'_>) -> Option<Expanded<'_>> {
        let place = self.place.as_ref()?;
        Some(Expanded {
            authority: Authority::of(Some(place.scheme), place.user.as_deref(), &place.host, Some(place.port)),
            path: place.path.expanded(bindings),
            tag: None,
        })
    }

    /// What the author of the pattern should have meant.
    pub fn dangers(&self) -> impl Iterator<Item = Danger> + use<> {
        let (everything, http, whole) = match &self.place {
            None => (true, false, false),
            Some(place) => (false, place.scheme == Scheme::Http, place.path.is_open()),
        };
        [
            everything.then_some(Danger::Everything),
            http.then_some(Danger::PlainHttp),
            whole.then_some(Danger::WholeHost),
        ]
        .into_iter()
        .flatten()
    }
}

impl Place {
    fn matches_authority(&self, url: &SourceUrl<'_>) -> bool {
        self.scheme == url.scheme()
            && self.port == url.effective_port()
            && self.host.matches(url.host())
            && self.user.as_deref() == url.user()
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn read(text: &str) -> Result<UrlPattern, Fault> {
    if text.is_empty() {
        return Err((PatternReason::Empty, 0));
    }
    if text == ANY {
        return Ok(UrlPattern { text: text.into(), literal: 0, place: None });
    }
    let (scheme, start) = read_scheme(text).map_err(from_url)?;
    let (written, path) = cut_authority(text, start);
    if let Some(at) = written.find('$') {
        return Err((PatternReason::PlaceholderOutsidePath, start + at));
    }
    // The host alone may have a wildcard, and only in front.
    let host_at = written.rfind('@').map_or(0, |at| at + 1);
    if let Some(at) = written.find('*')
        && at < host_at
    {
        return Err((PatternReason::MisplacedWildcard, start + at));
    }
    if let Some(at) = written[host_at..].find(':')
        && written[host_at + at..].contains('*')
    {
        return Err((PatternReason::MisplacedWildcard, start + host_at + at + 1));
    }
    let authority = read_authority(scheme, written, start).map_err(from_url)?;
    let host = HostPattern::parse(authority.host, authority.host_at, |host, at| {
        check_url_host(host).map_err(|(reason, inner)| (PatternReason::Url(UrlReason::Host(reason)), at + inner))
    })?;
    authority.check_oci(scheme).map_err(from_url)?;
    let (mut path, written_path, path_at) = match path {
        None => (PathPattern { segments: Box::default(), rest: false }, "", text.len()),
        Some((path, at)) => {
            let parsed = PathPattern::parse(path, at, |segment, last| {
                check_segment(segment, last)
                    .map_err(|(reason, inner)| (PatternReason::Url(UrlReason::Segment(reason)), inner))
            })?;
            (parsed, path, at)
        }
    };
    if !path.rest {
        drop_git_suffix(&mut path);
    }
    let literal = if host.is_exact() {
        match path.literal_count() {
            0 => start + written.len(),
            count => path_at + prefix_len(written_path, count),
        }
    } else {
        0
    };
    Ok(UrlPattern {
        text: text.into(),
        literal,
        place: Some(Place {
            scheme,
            user: authority.user.map(Into::into),
            host,
            port: authority.port.unwrap_or(scheme.default_port()),
            path,
        }),
    })
}

fn from_url(fault: url::Fault) -> Fault {
    (PatternReason::Url(fault.reason), fault.offset)
}

/// Leaves out one trailing `.git`, as the segments of a URL do.
fn drop_git_suffix(path: &mut PathPattern) {
    match path.segments.last_mut() {
        Some(SegmentPattern::Literal(text)) => {
            if let Some(short) = text.strip_suffix(".git") {
                *text = short.into();
            }
        }
        Some(SegmentPattern::Pieces(pieces)) => {
            let Some(Piece::Text(text)) = pieces.last() else {
                return;
            };
            let Some(short) = text.strip_suffix(".git") else {
                return;
            };
            let mut kept = pieces[..pieces.len() - 1].to_vec();
            if !short.is_empty() {
                kept.push(Piece::Text(short.into()));
            }
            *pieces = kept.into();
        }
        Some(SegmentPattern::One) | None => {}
    }
}
