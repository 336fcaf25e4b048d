//! Image references, by the grammar of the distribution project (`distribution/reference`), which is what
//! containerd, Docker and the kubelet read them with.
//!
//! ```text
//! reference = [ host "/" ] path [ ":" tag ] [ "@" digest ]
//! host      = ( domain / "[" IPv6 "]" ) [ ":" port ]
//! path      = component *( "/" component )                ; at most 255 bytes, the implied library/ too
//! component = alnum *( separator alnum )                  ; alnum = 1*[a-z0-9]
//! separator = "." / "_" / "__" / 1*"-"
//! tag       = [A-Za-z0-9_] *127[A-Za-z0-9_.-]
//! digest    = ( "sha256:" 64hex ) / ( "sha384:" 96hex ) / ( "sha512:" 128hex )
//! ```
//!
//! The first component is a host only if it is `localhost` or has a `.`, a `:` or an uppercase letter;
//! without one the image is on Docker Hub, whose one-component names live under `library/`.
//!
//! Narrower than the project, each for a gap between two readers of the same text:
//! - `sha256:…` without a host or path, which a node may take for the id of a local image;
//! - a first component that looks like a host and is not one (`foo.b_r/x`), where the project falls back
//!   to a name without any host and other readers connect to it;
//! - Docker Hub in uppercase (`DOCKER.IO/x`), which is not Docker Hub to the project and is to DNS;
//! - ports with leading zeros, port 0 and ports above 65535;
//! - IP addresses that are not in their one canonical spelling.

use std::fmt;

use super::ParseError;
use super::digest::{self, DigestError};
use super::host::{HostReason, PortReason, check_image_host, parse_port};

/// The longest path of an image, in bytes, an implied `library/` included.
pub const MAX_PATH: usize = 255;
/// The longest tag, in bytes.
pub const MAX_TAG: usize = 128;
/// What Docker Hub is called in a reference.
pub const HUB: &str = "docker.io";
/// Its older name.
const HUB_LEGACY: &str = "index.docker.io";
/// Where the one-component names of Docker Hub live.
const LIBRARY: &str = "library";

/// An image reference, borrowed from the text that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageRef<'a> {
    text: &'a str,
    /// As written, or `docker.io`; with the port.
    authority: &'a str,
    host: &'a str,
    port: Option<u16>,
    /// Whether `library/` is to be read in front of the path.
    library: bool,
    path: &'a str,
    count: usize,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> ImageRef<'a> {
    /// Reads a reference.
    ///
    /// # Errors
    /// Says why the text is not a reference, where, and what was meant if that is beyond doubt.
    pub fn parse(text: &'a str) -> Result<Self, ImageError> {
        read(text).map_err(|fault| {
            let canonical = canonical_of(text, &fault);
            ImageError { reason: fault.reason, offset: fault.offset, canonical }
        })
    }

    /// The text, byte for byte.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The host without its port: `docker.io` for Docker Hub, else as written. Compare it without regard
    /// to ASCII case.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The port, if one is written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The host as [`Self::host`], with its port if one is written.
    #[must_use]
    pub fn host_with_port(&self) -> &'a str {
        self.authority
    }

    /// The components of the path, with the implied `library`.
    pub fn components(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let (implied, path) = self.path_parts();
        implied.into_iter().chain(path.split('/'))
    }

    /// The component that is implied, and the path as written.
    pub(super) fn path_parts(&self) -> (Option<&'a str>, &'a str) {
        (self.library.then_some(LIBRARY), self.path)
    }

    /// How many components the path has, with the implied `library`.
    #[must_use]
    pub fn component_count(&self) -> usize {
        self.count
    }

    /// The tag, if one is written; beside a digest it decides nothing.
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest, if one is written, with its algorithm.
    #[must_use]
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }

    /// The tag that is pulled: none where there is a digest, `latest` where neither is written.
    #[must_use]
    pub fn effective_tag(&self) -> Option<&'a str> {
        match self.digest {
            Some(_) => None,
            None => Some(self.tag.unwrap_or("latest")),
        }
    }

    /// The reference spelled out: host (in lowercase where that leaves it a host), `library/`, and tag and
    /// digest as they are written.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::with_capacity(self.text.len() + HUB.len() + LIBRARY.len() + 2);
        let host = self.host.to_ascii_lowercase();
        // `Foo/bar` has a host because of its capital alone; `foo/bar` is on Docker Hub.
        if self.port.is_some() || is_host(&host) {
            out.push_str(&self.authority.to_ascii_lowercase());
        } else {
            out.push_str(self.authority);
        }
        for component in self.components() {
            out.push('/');
            out.push_str(component);
        }
        self.push_version(&mut out);
        out
    }

    /// The reference as people write it: without `docker.io/` and `library/` where it means the same
    /// without them.
    #[must_use]
    pub fn familiar(&self) -> String {
        if self.authority == HUB {
            let mut components = self.components();
            let mut short = String::with_capacity(self.text.len());
            if self.count == 2 && self.components().next() == Some(LIBRARY) {
                components.next();
            }
            for (n, component) in components.enumerate() {
                if n > 0 {
                    short.push('/');
                }
                short.push_str(component);
            }
            self.push_version(&mut short);
            let canonical = self.canonical();
            if read(&short).is_ok_and(|again| again.canonical() == canonical) {
                return short;
            }
            return canonical;
        }
        self.canonical()
    }

    fn push_version(&self, out: &mut String) {
        if let Some(tag) = self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = self.digest {
            out.push('@');
            out.push_str(digest);
        }
    }
}

impl fmt::Display for ImageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Why a text is not accepted as an image reference.
pub type ImageError = ParseError<ImageReason>;

/// What is wrong with an image reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageReason {
    /// Nothing there.
    #[error("the image is empty")]
    Empty,
    /// A space, a control character or anything beyond ASCII.
    #[error("the image has {}; it is printable ASCII without spaces", super::shown(*.0))]
    NotPrintableAscii(char),
    /// 64 hexadecimal digits.
    #[error("64 hexadecimal digits are the id of a local image, not the name of one")]
    BareId,
    /// `sha256:…` without a name.
    #[error("a digest without a name may be taken for the id of a local image; write name@sha256:...")]
    BareDigest,
    /// The host.
    #[error("{0}")]
    Host(HostReason),
    /// `docker.io` or `index.docker.io` in another case.
    #[error("Docker Hub is written in lowercase; other spellings are another registry to some nodes")]
    HubSpelling,
    /// The port.
    #[error("{0}")]
    Port(PortReason),
    /// No component where one should be: `a//b`, a leading or trailing `/`.
    #[error("the name has an empty component")]
    EmptyComponent,
    /// Uppercase letters in the name.
    #[error("the name has uppercase letters; it is written in lowercase")]
    Uppercase,
    /// A separator at an edge, two in a row, or more underscores than two.
    #[error(
        "the components of a name begin and end with a letter or digit, joined by one `.`, one or two `_`, or any number of `-`"
    )]
    Separator,
    /// Something that no name has.
    #[error("the name has {}; lowercase letters, digits, `.`, `_` and `-` are allowed", super::shown(*.0))]
    BadCharacter(char),
    /// More than [`MAX_PATH`] bytes without the host.
    #[error("the name has more than {MAX_PATH} characters")]
    PathTooLong,
    /// Nothing behind the colon.
    #[error("the tag after `:` is empty")]
    TagEmpty,
    /// More than [`MAX_TAG`] bytes.
    #[error("the tag has more than {MAX_TAG} characters")]
    TagTooLong,
    /// Something that no tag has, or not at its beginning.
    #[error("the tag has {}; letters, digits, `_`, `.` and `-` are allowed, the last two not first", super::shown(*.0))]
    TagCharacter(char),
    /// The digest.
    #[error("{0}")]
    Digest(DigestError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: ImageReason,
    pub(super) offset: usize,
}

fn fault(reason: ImageReason, offset: usize) -> Fault {
    Fault { reason, offset }
}

fn read(text: &str) -> Result<ImageRef<'_>, Fault> {
    if text.is_empty() {
        return Err(fault(ImageReason::Empty, 0));
    }
    if let Some((at, found)) = text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
        return Err(fault(ImageReason::NotPrintableAscii(found), at));
    }
    if digest::is_bare_hex(text) {
        return Err(fault(ImageReason::BareId, 0));
    }
    // However many digits follow: containerd resolves a prefix of an image's id as well.
    if ["sha256:", "sha384:", "sha512:"].iter().any(|algorithm| text.starts_with(algorithm)) && !text.contains('/') {
        return Err(fault(ImageReason::BareDigest, 0));
    }
    let (authority, at) = match text.split_once('/') {
        Some((first, _)) if is_host(first) => (Some(first), first.len() + 1),
        _ => (None, 0),
    };
    let (authority, host, port) = match authority {
        None | Some(HUB | HUB_LEGACY) => (HUB, HUB, None),
        Some(written) => {
            let (host, port) = read_authority(written, 0)?;
            (written, host, port)
        }
    };
    let rest = &text[at..];
    let path = &rest[..rest.find([':', '@']).unwrap_or(rest.len())];
    let count = check_path(path, at)?;
    let library = authority == HUB && count == 1;
    let whole = path.len() + if library { LIBRARY.len() + 1 } else { 0 };
    if whole > MAX_PATH {
        return Err(fault(ImageReason::PathTooLong, at));
    }
    let (tag, digest) = read_version(&rest[path.len()..], at + path.len())?;
    Ok(ImageRef { text, authority, host, port, library, path, count: count + usize::from(library), tag, digest })
}

/// Whether the first component of a name is read as a host.
pub(super) fn is_host(first: &str) -> bool {
    first == "localhost" || first.bytes().any(|b| matches!(b, b'.' | b':') || b.is_ascii_uppercase())
}

/// Cuts host and port, and checks both.
pub(super) fn read_authority(text: &str, start: usize) -> Result<(&str, Option<u16>), Fault> {
    // The colons of an IPv6 address are inside its brackets.
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[host_end..].find(':') {
        None => (text, None),
        Some(found) => {
            let colon = host_end + found;
            (&text[..colon], Some((&text[colon + 1..], start + colon + 1)))
        }
    };
    if host.is_empty() {
        return Err(fault(ImageReason::Host(HostReason::Empty), start));
    }
    check_image_host(host).map_err(|(reason, at)| fault(ImageReason::Host(reason), start + at))?;
    let port = match port {
        None => None,
        Some((port, at)) => Some(parse_port(port).map_err(|reason| fault(ImageReason::Port(reason), at))?),
    };
    // Compared as hosts are, this would be Docker Hub; read as references are, it is not.
    if [HUB, HUB_LEGACY].iter().any(|hub| *hub != host && hub.eq_ignore_ascii_case(host)) {
        return Err(fault(ImageReason::HubSpelling, start));
    }
    Ok((host, port))
}

/// Checks the path and counts its components.
fn check_path(path: &str, start: usize) -> Result<usize, Fault> {
    let mut at = start;
    let mut count = 0;
    for component in path.split('/') {
        check_component(component).map_err(|(reason, inner)| fault(reason, at + inner))?;
        at += component.len() + 1;
        count += 1;
    }
    Ok(count)
}

/// Checks one component; the offset is from its start.
pub(super) fn check_component(component: &str) -> Result<(), (ImageReason, usize)> {
    if component.is_empty() {
        return Err((ImageReason::EmptyComponent, 0));
    }
    // The separator that was read since the last letter or digit; the start counts as one that is full.
    let mut run = 0;
    let mut separator = b'.';
    let mut full = true;
    for (at, found) in component.char_indices() {
        match found {
            'a'..='z' | '0'..='9' => {
                run = 0;
                full = false;
            }
            'A'..='Z' => return Err((ImageReason::Uppercase, at)),
            '.' | '_' | '-' => {
                let byte = component.as_bytes()[at];
                let fits = match run {
                    0 => !full,
                    1 => byte == separator && byte != b'.',
                    _ => byte == separator && byte == b'-',
                };
                if !fits {
                    return Err((ImageReason::Separator, at));
                }
                separator = byte;
                run += 1;
            }
            other => return Err((ImageReason::BadCharacter(other), at)),
        }
    }
    if run > 0 {
        return Err((ImageReason::Separator, component.len() - 1));
    }
    Ok(())
}

/// Reads what follows the path: nothing, `:tag`, `@digest` or both.
fn read_version(text: &str, start: usize) -> Result<(Option<&str>, Option<&str>), Fault> {
    let (tag, digest) = match text.split_once('@') {
        Some((tag, digest)) => (tag, Some(digest)),
        None => (text, None),
    };
    let tag = match tag.strip_prefix(':') {
        None => None,
        Some(tag) => {
            check_tag(tag).map_err(|(reason, at)| fault(reason, start + 1 + at))?;
            Some(tag)
        }
    };
    if let Some(digest) = digest {
        let at = start + text.len() - digest.len();
        digest::check(digest).map_err(|reason| fault(ImageReason::Digest(reason), at))?;
    }
    Ok((tag, digest))
}

/// Checks a tag without its colon; the offset is from its start.
pub(super) fn check_tag(tag: &str) -> Result<(), (ImageReason, usize)> {
    if tag.is_empty() {
        return Err((ImageReason::TagEmpty, 0));
    }
    if let Some((at, found)) = tag
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_alphanumeric() || *c == '_' || (*at > 0 && matches!(c, '.' | '-'))))
    {
        return Err((ImageReason::TagCharacter(found), at));
    }
    if tag.len() > MAX_TAG {
        return Err((ImageReason::TagTooLong, MAX_TAG));
    }
    Ok(())
}

/// What was meant, where that is beyond doubt; it parses. For showing, never for matching.
fn canonical_of(text: &str, first: &Fault) -> Option<String> {
    let mut candidate = repaired(text, first)?;
    for _ in 0..4 {
        match read(&candidate) {
            Ok(_) => return Some(candidate),
            Err(next) => candidate = repaired(&candidate, &next)?,
        }
    }
    None
}

fn repaired(text: &str, fault: &Fault) -> Option<String> {
    let at = fault.offset;
    match fault.reason {
        ImageReason::Uppercase => {
            let rest = text.get(at..)?;
            let end = at + rest.find([':', '@']).unwrap_or(rest.len());
            Some([&text[..at], &text[at..end].to_ascii_lowercase(), &text[end..]].concat())
        }
        ImageReason::HubSpelling => {
            let (host, rest) = text.split_once('/')?;
            Some(format!("{}/{rest}", host.to_ascii_lowercase()))
        }
        ImageReason::Host(HostReason::Ipv6Spelling) => {
            let end = text.find(']')?;
            let address: std::net::Ipv6Addr = text.get(1..end)?.parse().ok()?;
            Some(format!("[{address}{}", &text[end..]))
        }
        ImageReason::Port(PortReason::LeadingZero) => {
            let rest = text.get(at..)?;
            Some([text.get(..at)?, rest.trim_start_matches('0')].concat())
        }
        _ => None,
    }
}
