//! URLs of sources: Git, Helm, OCI and Bucket.
//!
//! ```text
//! url     = scheme "://" [ user "@" ] host [ ":" port ] *( "/" segment )
//! scheme  = "https" / "http" / "ssh" / "oci"
//! user    = letter or digit, then letters, digits, ".", "_", "-"     ; with ssh always, else never
//! host    = labels of [a-z0-9-] joined by "."                        ; or dotted decimal IPv4
//! segment = 1*( letter / digit / "." / "_" / "-" )                   ; not ".", "..", ".git"; not "-…"
//! ```
//!
//! Printable ASCII, at most [`MAX_URL`] bytes. Nothing is decoded, folded or dropped: a URL that some
//! client would repair is refused, because the client that repairs it differently is the way around the
//! allowlist.

use std::fmt;

use super::ParseError;
use super::host::{HostReason, PortReason, check_url_host, parse_port};

/// The longest URL, in bytes.
pub const MAX_URL: usize = 2048;
/// The longest user name in an ssh URL, in bytes.
const MAX_USER: usize = 64;

/// How a source is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// `https`
    Https,
    /// `http`: only where an entry says so.
    Http,
    /// `ssh`
    Ssh,
    /// `oci`
    Oci,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Https, Self::Http, Self::Ssh, Self::Oci];

    /// The scheme as it is written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::Oci => "oci",
        }
    }

    /// The port that a URL may leave out.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Https | Self::Oci => 443,
            Self::Http => 80,
            Self::Ssh => 22,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A source URL in canonical form, borrowed from the text that it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceUrl<'a> {
    text: &'a str,
    scheme: Scheme,
    user: Option<&'a str>,
    host: &'a str,
    port: Option<u16>,
    /// Everything behind the `/` that ends the host; empty where there is none.
    path: &'a str,
    count: usize,
}

impl<'a> SourceUrl<'a> {
    /// Reads a URL.
    ///
    /// # Errors
    /// Says why the text is not a URL in canonical form, where, and what the canonical form is if one
    /// can be offered.
    pub fn parse(text: &'a str) -> Result<Self, UrlError> {
        read(text).map_err(|fault| {
            let canonical = canonical_of(text, &fault, |t| read(t).map(drop));
            UrlError { reason: fault.reason, offset: fault.offset, canonical }
        })
    }

    /// The text, byte for byte: what Flux is given.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// How the source is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user of an ssh URL.
    #[must_use]
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The host, in lowercase.
    #[must_use]
    pub fn host(&self) -> &'a str {
        self.host
    }

    /// The port, if one is written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port that is connected to.
    #[must_use]
    pub fn effective_port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The segments of the path as they are compared: one trailing `.git` of the last is left out.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.compared_path().split('/').take(self.count)
    }

    /// The path without its leading `/`, as it is compared.
    pub(super) fn compared_path(&self) -> &'a str {
        self.path.strip_suffix(".git").unwrap_or(self.path)
    }

    /// How many segments the path has.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.count
    }

    /// One spelling for all URLs that compare equal: without the default port and the trailing `.git`.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        out.push_str(self.scheme.as_str());
        out.push_str("://");
        if let Some(user) = self.user {
            out.push_str(user);
            out.push('@');
        }
        out.push_str(self.host);
        if self.effective_port() != self.scheme.default_port() {
            out.push(':');
            out.push_str(&self.effective_port().to_string());
        }
        if !self.path.is_empty() {
            out.push('/');
            // One `.git` is dropped, once: of `x.git.git` nothing is, or it would become `x` in two steps.
            out.push_str(self.path.strip_suffix(".git").filter(|rest| !rest.ends_with(".git")).unwrap_or(self.path));
        }
        out
    }

    /// Whether both are the same source: all parts equal, the default port and one trailing `.git` being
    /// free.
    #[must_use]
    pub fn same_source(&self, other: &SourceUrl<'_>) -> bool {
        self.scheme == other.scheme
            && self.user == other.user
            && self.host == other.host
            && self.effective_port() == other.effective_port()
            && self.count == other.count
            && self.segments().eq(other.segments())
    }
}

impl fmt::Display for SourceUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Why a text is not accepted as a source URL.
pub type UrlError = ParseError<UrlReason>;

/// What is wrong with a URL. Messages never repeat userinfo: it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlReason {
    /// Nothing there.
    #[error("the URL is empty")]
    Empty,
    /// More than [`MAX_URL`] bytes.
    #[error("the URL has more than {MAX_URL} characters")]
    TooLong,
    /// A space, a control character or anything beyond ASCII.
    #[error("the URL has {}; it is printable ASCII without spaces", super::shown(*.0))]
    NotPrintableAscii(char),
    /// No `://`, or nothing in front of it.
    #[error("the URL does not begin with https://, ssh:// or oci://")]
    MissingScheme,
    /// A scheme that is not one of the four.
    #[error("unknown scheme `{}`; there are https, ssh, oci and http", super::quoted(.0, 32))]
    UnknownScheme(String),
    /// A scheme that would be known in lowercase.
    #[error("the scheme is written in lowercase")]
    SchemeUppercase,
    /// `git@host:path`.
    #[error("this is the scp-like form; a URL begins with ssh://")]
    ScpLike,
    /// `%2e`.
    #[error("the URL has `%`; nothing in it may be percent-encoded")]
    Percent,
    /// `?`
    #[error("the URL has a query (`?`)")]
    Query,
    /// `#`
    #[error("the URL has a fragment (`#`)")]
    Fragment,
    /// `\`, which some parsers take for `/`.
    #[error("the URL has a backslash")]
    Backslash,
    /// Anything in front of `@` where the scheme is not ssh.
    #[error("a user name or password in front of `@` is not allowed with {0}://")]
    Userinfo(Scheme),
    /// `user:password@` with ssh.
    #[error("a password in the URL is not allowed")]
    Password,
    /// An ssh URL without a user.
    #[error("an ssh URL names its user, as in ssh://git@host/path")]
    MissingUser,
    /// A user with other characters, too long, or more than one `@`.
    #[error(
        "the user in front of `@` may have letters, digits, `.`, `_` and `-`, at most {MAX_USER}, and begins with a letter or digit"
    )]
    BadUser,
    /// The host.
    #[error("{0}")]
    Host(HostReason),
    /// An oci URL whose host has neither a dot nor a port: clients take it for a name on Docker Hub.
    #[error("the host has neither a dot nor a port, so clients look for it on Docker Hub; write the full host name")]
    OciHostUnqualified,
    /// The port.
    #[error("{0}")]
    Port(PortReason),
    /// The path.
    #[error("{0}")]
    Segment(SegmentReason),
}

/// What is wrong with a segment of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentReason {
    /// The path ends with `/`.
    #[error("the path ends with `/`")]
    TrailingSlash,
    /// `//`
    #[error("the path has an empty segment (`//`)")]
    Empty,
    /// `.` or `..`, or what becomes one when `.git` is dropped.
    #[error("the path has a segment `.` or `..`")]
    Dots,
    /// `.git` alone, or what becomes it when `.git` is dropped.
    #[error("`.git` alone is not a segment")]
    DotGit,
    /// A segment that a command line would take for an option.
    #[error("a segment of the path begins with `-`")]
    LeadingDash,
    /// A segment that a shell would take for a home directory.
    #[error("a segment of the path begins with `~`")]
    LeadingTilde,
    /// Something that is not a letter, a digit, `.`, `_` or `-`.
    #[error("the path has {}; letters, digits, `.`, `_` and `-` are allowed", super::shown(*.0))]
    BadCharacter(char),
}

/// A reason and its place: what a failed reading is, before a canonical form was sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: UrlReason,
    pub(super) offset: usize,
}

fn fault(reason: UrlReason, offset: usize) -> Fault {
    Fault { reason, offset }
}

fn read(text: &str) -> Result<SourceUrl<'_>, Fault> {
    let (scheme, start) = read_scheme(text)?;
    let (authority, path) = cut_authority(text, start);
    let authority = read_authority(scheme, authority, start)?;
    check_url_host(authority.host).map_err(|(reason, at)| fault(UrlReason::Host(reason), authority.host_at + at))?;
    authority.check_oci(scheme)?;
    let (path, count) = match path {
        None => ("", 0),
        Some((path, at)) => (path, check_path(path, at)?),
    };
    Ok(SourceUrl { text, scheme, user: authority.user, host: authority.host, port: authority.port, path, count })
}

/// Checks what holds for the text as a whole, and reads the scheme. Returns where the rest begins.
pub(super) fn read_scheme(text: &str) -> Result<(Scheme, usize), Fault> {
    check_text(text)?;
    // Three bytes are looked for most cheaply as what they are: the first colon is nearly always theirs.
    let colon = text.bytes().position(|byte| byte == b':').filter(|at| text[*at..].starts_with("://"));
    let Some(end) = colon.or_else(|| text.find("://")) else {
        let slash = text.find('/').unwrap_or(text.len());
        let scp = text[..slash]
            .find(':')
            .is_some_and(|colon| colon > 0 && !Scheme::ALL.iter().any(|s| s.as_str() == &text[..colon]));
        let reason = if scp { UrlReason::ScpLike } else { UrlReason::MissingScheme };
        return Err(fault(reason, 0));
    };
    let written = &text[..end];
    let Some(scheme) = Scheme::ALL.into_iter().find(|s| s.as_str().eq_ignore_ascii_case(written)) else {
        let reason = if written.is_empty() {
            UrlReason::MissingScheme
        } else {
            UrlReason::UnknownScheme(written.chars().take(33).collect())
        };
        return Err(fault(reason, 0));
    };
    if scheme.as_str() != written {
        return Err(fault(UrlReason::SchemeUppercase, 0));
    }
    let start = end + "://".len();
    if super::all(&text[start..], |byte| !matches!(byte, b'%' | b'?' | b'#' | b'\\')) {
        return Ok((scheme, start));
    }
    for (at, byte) in text.bytes().enumerate().skip(start) {
        let reason = match byte {
            b'%' => UrlReason::Percent,
            b'?' => UrlReason::Query,
            b'#' => UrlReason::Fragment,
            b'\\' => UrlReason::Backslash,
            _ => continue,
        };
        return Err(fault(reason, at));
    }
    Ok((scheme, start))
}

fn check_text(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(fault(UrlReason::Empty, 0));
    }
    if text.len() > MAX_URL {
        return Err(fault(UrlReason::TooLong, MAX_URL));
    }
    if super::all(text, |byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    match text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
        Some((at, found)) => Err(fault(UrlReason::NotPrintableAscii(found), at)),
        None => Ok(()),
    }
}

/// Cuts at the `/` that ends the authority; the path comes without it, with its place in the text.
pub(super) fn cut_authority(text: &str, start: usize) -> (&str, Option<(&str, usize)>) {
    let rest = &text[start..];
    match rest.bytes().position(|byte| byte == b'/') {
        Some(at) => (&rest[..at], Some((&rest[at + 1..], start + at + 1))),
        None => (rest, None),
    }
}

/// What stands between `://` and the path; the host is not yet checked.
pub(super) struct Authority<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) host_at: usize,
    pub(super) port: Option<u16>,
}

impl Authority<'_> {
    /// Clients of registries read the host of `oci://harbor/team/app` as the first component of a name
    /// on Docker Hub, where anyone can register `harbor`.
    pub(super) fn check_oci(&self, scheme: Scheme) -> Result<(), Fault> {
        if scheme == Scheme::Oci && self.port.is_none() && self.host != "localhost" && !self.host.contains('.') {
            return Err(fault(UrlReason::OciHostUnqualified, self.host_at));
        }
        Ok(())
    }
}

pub(super) fn read_authority(scheme: Scheme, text: &str, start: usize) -> Result<Authority<'_>, Fault> {
    let (user, host_port) = match text.bytes().rposition(|byte| byte == b'@') {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    };
    let host_at = start + text.len() - host_port.len();
    match (scheme, user) {
        (Scheme::Ssh, Some(user)) => check_user(user).map_err(|reason| fault(reason, start))?,
        (Scheme::Ssh, None) if !host_port.is_empty() => {
            return Err(fault(UrlReason::MissingUser, start));
        }
        (_, Some(_)) => return Err(fault(UrlReason::Userinfo(scheme), start)),
        (_, None) => {}
    }
    if host_port.starts_with('[') {
        return Err(fault(UrlReason::Host(HostReason::Ipv6), host_at));
    }
    let (host, port) = match host_port.bytes().position(|byte| byte == b':') {
        None => (host_port, None),
        Some(colon) => {
            let (host, port) = (&host_port[..colon], &host_port[colon + 1..]);
            let at = host_at + host.len() + 1;
            let port = parse_port(port).map_err(|reason| fault(UrlReason::Port(reason), at))?;
            (host, Some(port))
        }
    };
    Ok(Authority { user, host, host_at, port })
}

fn check_user(user: &str) -> Result<(), UrlReason> {
    if user.is_empty() {
        return Err(UrlReason::MissingUser);
    }
    if user.contains(':') && !user.contains('@') {
        return Err(UrlReason::Password);
    }
    let fits = user.len() <= MAX_USER
        && user.as_bytes()[0].is_ascii_alphanumeric()
        && user.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if fits { Ok(()) } else { Err(UrlReason::BadUser) }
}

/// Checks a path without its leading `/` and counts its segments.
fn check_path(path: &str, start: usize) -> Result<usize, Fault> {
    let mut at = start;
    let mut count = 0;
    let end = start + path.len();
    for segment in super::parts(path, b'/') {
        let last = at + segment.len() == end;
        check_segment(segment, last).map_err(|(reason, inner)| fault(UrlReason::Segment(reason), at + inner))?;
        at += segment.len() + 1;
        count += 1;
    }
    Ok(count)
}

/// Checks one segment; the offset is from its start.
pub(super) fn check_segment(segment: &str, last: bool) -> Result<(), (SegmentReason, usize)> {
    let reason = match segment.as_bytes() {
        [] if last => SegmentReason::TrailingSlash,
        [] => SegmentReason::Empty,
        b"." | b".." => SegmentReason::Dots,
        b".git" => SegmentReason::DotGit,
        // What is left when the suffix is dropped must be a segment too.
        b".git.git" if last => SegmentReason::DotGit,
        b"..git" | b"...git" if last => SegmentReason::Dots,
        [b'-', ..] => SegmentReason::LeadingDash,
        [b'~', ..] => SegmentReason::LeadingTilde,
        _ if super::all(segment, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) => {
            return Ok(());
        }
        _ => {
            return match segment
                .char_indices()
                .find(|(_, c)| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
            {
                Some((at, found)) => Err((SegmentReason::BadCharacter(found), at)),
                None => Ok(()),
            };
        }
    };
    Err((reason, 0))
}

/// Repairs one fault after the other until `check` is content. What it returns passes `check`; it is for
/// showing, never for matching.
pub(super) fn canonical_of(text: &str, first: &Fault, check: impl Fn(&str) -> Result<(), Fault>) -> Option<String> {
    let mut candidate = repaired(text, first)?;
    // Faults that can be repaired are few, and each repair removes one.
    for _ in 0..8 {
        match check(&candidate) {
            Ok(()) => return Some(candidate),
            Err(next) => candidate = repaired(&candidate, &next)?,
        }
    }
    None
}

/// The text without one fault, where everyone would read it the same way.
fn repaired(text: &str, fault: &Fault) -> Option<String> {
    let at = fault.offset;
    let cut = |from: usize, to: usize| Some([text.get(..from)?, text.get(to..)?].concat());
    match &fault.reason {
        UrlReason::ScpLike => {
            let (user_host, path) = text.split_once(':')?;
            let (user, host) = user_host.split_once('@')?;
            let path = path.strip_prefix('/').unwrap_or(path);
            // `git@host:2222/path` is a port to some and a directory to scp.
            let first = path.split('/').next()?;
            let doubtful = first.bytes().all(|b| b.is_ascii_digit());
            (!doubtful).then(|| format!("ssh://{user}@{host}/{path}"))
        }
        UrlReason::SchemeUppercase => {
            let (scheme, rest) = text.split_once("://")?;
            Some(format!("{}://{rest}", scheme.to_ascii_lowercase()))
        }
        UrlReason::Userinfo(_) => {
            let (authority, _) = cut_authority(text, at);
            let (user, host) = authority.split_once('@')?;
            // With two `@` parsers disagree about which of them ends the userinfo.
            if host.contains('@') {
                return None;
            }
            cut(at, at + user.len() + 1)
        }
        UrlReason::Password => {
            let user = text.get(at..)?.split(':').next()?;
            let from = at + user.len();
            cut(from, from + text.get(from..)?.find('@')?)
        }
        UrlReason::MissingUser => {
            let rest = text.get(at..)?;
            (!rest.starts_with('@')).then(|| format!("{}git@{rest}", &text[..at]))
        }
        UrlReason::Host(HostReason::Uppercase) => {
            let end = at + text.get(at..)?.find(['/', ':']).unwrap_or(text.len() - at);
            Some([&text[..at], &text[at..end].to_ascii_lowercase(), &text[end..]].concat())
        }
        UrlReason::Host(HostReason::TrailingDot) => cut(at, at + 1),
        UrlReason::Port(PortReason::Empty) => cut(at - 1, at),
        UrlReason::Port(PortReason::LeadingZero) => {
            let rest = text.get(at..)?;
            cut(at, at + rest.len() - rest.trim_start_matches('0').len())
        }
        UrlReason::Segment(SegmentReason::TrailingSlash) => cut(at - 1, at),
        _ => None,
    }
}
