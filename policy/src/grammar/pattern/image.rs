//! Patterns of images, such as `registry.example.com/${tenant}/**` or `docker.io/library/nginx:1.27`.

use std::fmt;

use super::super::host::{HostReason, PortReason};
use super::super::image::{HUB, ImageReason, ImageRef, MAX_PATH, check_component, check_tag, is_host, read_authority};
use super::super::placeholder::Bindings;
use super::{
    ANY, Authority, Danger, Expanded, Fault, HostPattern, PathPattern, PatternError, PatternReason, prefix_len,
};

/// A pattern of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    text: Box<str>,
    /// How much of the text is literal.
    literal: usize,
    /// `None`: `**` alone.
    place: Option<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: HostPattern,
    port: Option<u16>,
    path: PathPattern,
    tag: Option<Box<str>>,
}

impl ImagePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says why the text is not a pattern, where, and what the canonical form is if one can be offered.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        read(text).map_err(|(reason, offset)| PatternError {
            canonical: canonical_of(text, &reason, offset),
            reason,
            offset,
        })
    }

    /// The text of the pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the image is one of these, for a list that allows. A pattern with a tag matches an image
    /// that is pulled by this tag (`latest` where none is written), and none that names a digest. A
    /// placeholder whose value is not a DNS label matches nothing.
    #[must_use]
    pub fn matches(&self, image: &ImageRef<'_>, bindings: &Bindings<'_>) -> bool {
        self.place.as_ref().is_none_or(|place| {
            place.path.fits(image.component_count()) && place.matches_around(image) && {
                let (implied, path) = image.path_parts();
                place.path.matches(implied, path, bindings)
            }
        })
    }

    /// Whether the image is one of these, for a list that denies: as [`Self::matches`], but a placeholder
    /// whose value is not a DNS label denies whatever is on the host.
    #[must_use]
    pub fn denies(&self, image: &ImageRef<'_>, bindings: &Bindings<'_>) -> bool {
        match &self.place {
            Some(place) if !place.path.is_bound(bindings) => place.matches_around(image),
            _ => self.matches(image, bindings),
        }
    }

    /// Whether some image may match both patterns. It never says no wrongly.
    #[must_use]
    pub fn overlaps(&self, other: &Self, bindings: &Bindings<'_>) -> bool {
        let (Some(own), Some(theirs)) = (&self.place, &other.place) else { return true };
        own.port == theirs.port
            && own.host.overlaps(&theirs.host)
            && own.path.overlaps(&theirs.path, bindings)
            && (own.tag.is_none() || theirs.tag.is_none() || own.tag == theirs.tag)
    }

    /// How specific the pattern is: 0 for `**` alone, 1 for a host with `*.`, and 2 for a literal host plus
    /// 1 for each component in front of the first wildcard.
    #[must_use]
    pub fn specificity(&self) -> usize {
        match &self.place {
            None => 0,
            Some(place) if place.host.is_exact() => 2 + place.path.literal_count(),
            Some(_) => 1,
        }
    }

    /// The text up to the first wildcard or tag, placeholders included.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.text[..self.literal]
    }

    /// The tag that the pattern pins.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.place.as_ref()?.tag.as_deref()
    }

    /// The pattern with placeholders filled in; `None`: `**` alone.
    pub(crate) fn expanded(&self, bindings: &Bindings<'_>) -> Option<Expanded<'_>> {
        let place = self.place.as_ref()?;
        Some(Expanded {
            authority: Authority::of(None, None, &place.host, place.port),
            path: place.path.expanded(bindings),
            tag: place.tag.as_deref(),
        })
    }

    /// What the author of the pattern should have meant.
    pub fn dangers(&self) -> impl Iterator<Item = Danger> + use<> {
        let danger = match &self.place {
            None => Some(Danger::Everything),
            Some(place) => place.path.is_open().then_some(Danger::WholeHost),
        };
        danger.into_iter()
    }
}

impl Place {
    /// Everything but the path.
    fn matches_around(&self, image: &ImageRef<'_>) -> bool {
        self.port == image.port()
            && self.host.matches(image.host())
            && self.tag.as_deref().is_none_or(|tag| image.effective_tag() == Some(tag))
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn read(text: &str) -> Result<ImagePattern, Fault> {
    if text.is_empty() {
        return Err((PatternReason::Empty, 0));
    }
    if text == ANY {
        return Ok(ImagePattern { text: text.into(), literal: 0, place: None });
    }
    if let Some((at, found)) = text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
        let reason = PatternReason::Image(ImageReason::NotPrintableAscii(found));
        return Err((reason, at));
    }
    if let Some(at) = text.find('@') {
        return Err((PatternReason::Digest, at));
    }
    let (host, port, path_at) = read_host(text)?;
    let path_end = text[path_at..].find(':').map_or(text.len(), |colon| path_at + colon);
    let written_path = &text[path_at..path_end];
    let path = PathPattern::parse(written_path, path_at, |component, _| {
        check_component(component).map_err(|(reason, at)| (PatternReason::Image(reason), at))
    })?;
    if written_path.len() > MAX_PATH {
        let reason = PatternReason::Image(ImageReason::PathTooLong);
        return Err((reason, path_at));
    }
    let on_hub = port.is_none() && host == HostPattern::Exact(HUB.into());
    if on_hub && !path.rest && path.segments.len() == 1 {
        return Err((PatternReason::HubOneComponent, path_at));
    }
    let tag = match text[path_end..].strip_prefix(':') {
        None => None,
        Some(tag) => Some(read_tag(tag, path_end + 1)?),
    };
    let literal = if host.is_exact() {
        match path.literal_count() {
            0 => path_at - 1,
            count => path_at + prefix_len(written_path, count),
        }
    } else {
        0
    };
    Ok(ImagePattern { text: text.into(), literal, place: Some(Place { host, port, path, tag }) })
}

/// Reads host and port; returns where the path begins.
fn read_host(text: &str) -> Result<(HostPattern, Option<u16>, usize), Fault> {
    let (written, path_at) = match text.split_once('/') {
        Some((written, _)) => (written, written.len() + 1),
        None if is_host(text) && !text.contains(':') => {
            return Err((PatternReason::PathMissing, text.len()));
        }
        None => return Err((PatternReason::HostMissing, 0)),
    };
    if let Some(at) = written.find('$') {
        return Err((PatternReason::PlaceholderOutsidePath, at));
    }
    if !is_host(written) {
        return Err((PatternReason::HostMissing, 0));
    }
    if written == "index.docker.io" {
        return Err((PatternReason::HubAlias, 0));
    }
    // What the host without `*.` is called decides nothing here: `*.internal` is a host all the same.
    let bare = written.strip_prefix("*.").unwrap_or(written);
    let bare_at = written.len() - bare.len();
    if bare.contains('*') {
        return Err((PatternReason::HostWildcard, 0));
    }
    let (host, port) =
        read_authority(bare, bare_at).map_err(|fault| (PatternReason::Image(fault.reason), fault.offset))?;
    if let Some(at) = host.bytes().position(|b| b.is_ascii_uppercase()) {
        let reason = PatternReason::Image(ImageReason::Host(HostReason::Uppercase));
        return Err((reason, bare_at + at));
    }
    let whole = &written[..bare_at + host.len()];
    let host = HostPattern::parse(whole, 0, |_, _| Ok(()))?;
    Ok((host, port, path_at))
}

fn read_tag(tag: &str, at: usize) -> Result<Box<str>, Fault> {
    if let Some(inner) = tag.find('$') {
        return Err((PatternReason::PlaceholderOutsidePath, at + inner));
    }
    if let Some(inner) = tag.find('*') {
        return Err((PatternReason::MisplacedWildcard, at + inner));
    }
    check_tag(tag).map_err(|(reason, inner)| (PatternReason::Image(reason), at + inner))?;
    Ok(tag.into())
}

/// The canonical spelling, where everyone would read the pattern the same way. It parses.
fn canonical_of(text: &str, reason: &PatternReason, at: usize) -> Option<String> {
    let mut candidate = repaired(text, reason, at)?;
    for _ in 0..4 {
        match read(&candidate) {
            Ok(_) => return Some(candidate),
            Err((reason, at)) => candidate = repaired(&candidate, &reason, at)?,
        }
    }
    None
}

fn repaired(text: &str, reason: &PatternReason, at: usize) -> Option<String> {
    match reason {
        PatternReason::HubAlias => {
            let (_, path) = text.split_once('/')?;
            Some(format!("{HUB}/{path}"))
        }
        PatternReason::HubOneComponent => {
            let path = text.get(at..)?;
            Some(format!("{HUB}/library/{path}"))
        }
        // `nginx` and `library/*` can only mean Docker Hub; a bare wildcard could mean anything.
        PatternReason::HostMissing if !text.starts_with('*') && !text.starts_with('/') => Some(format!("{HUB}/{text}")),
        PatternReason::Image(ImageReason::Host(HostReason::Uppercase) | ImageReason::HubSpelling) => {
            let (host, path) = text.split_once('/')?;
            // In lowercase `Foo/bar` would be a name on Docker Hub.
            let host = host.to_ascii_lowercase();
            is_host(&host).then(|| format!("{host}/{path}"))
        }
        PatternReason::Image(ImageReason::Port(PortReason::LeadingZero)) => {
            let rest = text.get(at..)?;
            Some([text.get(..at)?, rest.trim_start_matches('0')].concat())
        }
        _ => None,
    }
}
