//! Hosts and ports, for URLs and images alike.
//!
//! A host is a DNS name or an IPv4 address in plain dotted decimal. Whatever a resolver would read as
//! an address although it is not written that way (`127.1`, `0x7f.1`, `017700000001`) is refused:
//! `inet_aton` knows dozens of spellings of one address, and a deny list knows one.

use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::is_dns_label;

/// The longest DNS name, in bytes.
const MAX_HOST: usize = 253;
/// The longest DNS label, in bytes.
const MAX_LABEL: usize = 63;

/// Why a host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostReason {
    /// Nothing stands where the host should.
    #[error("the host is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("the host has more than {MAX_HOST} characters")]
    TooLong,
    /// A host in a URL is written in lower case.
    #[error("the host has uppercase letters; it is written in lowercase")]
    Uppercase,
    /// `example.com.` names the same machine as `example.com` to DNS and another to most servers.
    #[error("the host ends with a dot")]
    TrailingDot,
    /// Two dots in a row, or one in front.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// A label of more than 63 bytes.
    #[error("the host has a label of more than {MAX_LABEL} characters")]
    LabelTooLong,
    /// A label that begins or ends with `-`.
    #[error("a label of the host begins or ends with `-`")]
    LabelEdge,
    /// Something that is not a letter, a digit, `-` or `.`.
    #[error(
        "the host has {}; letters, digits, `-` and `.` are allowed",
        super::shown(*.0)
    )]
    BadCharacter(char),
    /// A host that ends in a number is an address, and this one is not written as plain dotted decimal.
    #[error("the host is an IP address in an unusual spelling; write four decimal numbers without leading zeros")]
    UnusualAddress,
    /// An IPv6 address in a source URL.
    #[error("IPv6 addresses are not accepted here; use a host name")]
    Ipv6,
    /// Brackets around something that is not an IPv6 address.
    #[error("the host in brackets is not an IPv6 address")]
    NotIpv6,
    /// An IPv6 address that is not in the spelling of RFC 5952.
    #[error("the IPv6 address is not in its shortest spelling (RFC 5952)")]
    Ipv6Spelling,
}

/// Why a port is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortReason {
    /// A colon with nothing behind it.
    #[error("the port after `:` is empty")]
    Empty,
    /// Something that is not a digit.
    #[error("the port has {}; it is a number", super::shown(*.0))]
    NotANumber(char),
    /// `0443`.
    #[error("the port has leading zeros")]
    LeadingZero,
    /// Port 0 cannot be connected to.
    #[error("port 0 does not exist")]
    Zero,
    /// Above 65535.
    #[error("the port is above 65535")]
    TooLarge,
}

/// Reads a port as it is written behind the colon.
pub(super) fn parse_port(text: &str) -> Result<u16, PortReason> {
    if text.is_empty() {
        return Err(PortReason::Empty);
    }
    if let Some(found) = text.chars().find(|c| !c.is_ascii_digit()) {
        return Err(PortReason::NotANumber(found));
    }
    if text.bytes().all(|b| b == b'0') {
        return Err(PortReason::Zero);
    }
    if text.starts_with('0') {
        return Err(PortReason::LeadingZero);
    }
    text.parse().map_err(|_| PortReason::TooLarge)
}

/// Checks the host of a source URL; the offset is from the start of `host`.
pub(super) fn check_url_host(host: &str) -> Result<(), (HostReason, usize)> {
    if host.is_empty() {
        return Err((HostReason::Empty, 0));
    }
    if host.starts_with('[') {
        return Err((HostReason::Ipv6, 0));
    }
    if let Some(at) = host.bytes().position(|b| b.is_ascii_uppercase()) {
        return Err((HostReason::Uppercase, at));
    }
    if host.len() > MAX_HOST {
        return Err((HostReason::TooLong, MAX_HOST));
    }
    if host.len() > 1 && host.ends_with('.') && !host.ends_with("..") {
        return Err((HostReason::TrailingDot, host.len() - 1));
    }
    let mut at = 0;
    for label in super::parts(host, b'.') {
        check_label(label).map_err(|(reason, inner)| (reason, at + inner))?;
        if label.len() > MAX_LABEL {
            return Err((HostReason::LabelTooLong, at));
        }
        at += label.len() + 1;
    }
    check_address(host)
}

/// Checks the host of an image: the grammar of the distribution project, less the addresses that have
/// more than one spelling. The offset is from the start of `host`.
pub(super) fn check_image_host(host: &str) -> Result<(), (HostReason, usize)> {
    if let Some(inner) = host.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else {
            return Err((HostReason::NotIpv6, 0));
        };
        // The grammar has no zone and no embedded dotted IPv4.
        if inner.bytes().any(|b| !(b.is_ascii_hexdigit() || b == b':')) {
            return Err((HostReason::NotIpv6, 0));
        }
        let Ok(address) = inner.parse::<Ipv6Addr>() else {
            return Err((HostReason::NotIpv6, 0));
        };
        if !is_spelled(inner, &address) {
            return Err((HostReason::Ipv6Spelling, 0));
        }
        return Ok(());
    }
    let mut at = 0;
    for label in host.split('.') {
        check_label(label).map_err(|(reason, inner)| (reason, at + inner))?;
        at += label.len() + 1;
    }
    check_address(host)
}

/// One label, in either case, of any length.
fn check_label(label: &str) -> Result<(), (HostReason, usize)> {
    if is_dns_label(label) {
        return Ok(());
    }
    if label.is_empty() {
        return Err((HostReason::EmptyLabel, 0));
    }
    if let Some((at, found)) = label.char_indices().find(|(_, c)| !(c.is_ascii_alphanumeric() || *c == '-')) {
        return Err((HostReason::BadCharacter(found), at));
    }
    if label.starts_with('-') {
        return Err((HostReason::LabelEdge, 0));
    }
    if label.ends_with('-') {
        return Err((HostReason::LabelEdge, label.len() - 1));
    }
    Ok(())
}

/// A host whose last label is a number is an address to resolvers (the WHATWG URL standard calls it
/// "ends in a number"), and then it must be the plain spelling of one.
fn check_address(host: &str) -> Result<(), (HostReason, usize)> {
    if ends_in_a_number(host) && host.parse::<Ipv4Addr>().is_err() {
        return Err((HostReason::UnusualAddress, 0));
    }
    Ok(())
}

/// Whether the last label is decimal, octal or `0x` hexadecimal.
pub(super) fn ends_in_a_number(host: &str) -> bool {
    let bytes = host.as_bytes();
    let last = bytes.iter().rposition(|byte| *byte == b'.').map_or(bytes, |at| &bytes[at + 1..]);
    match last {
        [] => false,
        [b'0', b'x' | b'X', hex @ ..] => hex.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    }
}

/// Whether `text` is how `address` is displayed, but for ASCII case; without allocating.
fn is_spelled(text: &str, address: &Ipv6Addr) -> bool {
    struct Expect<'a>(&'a [u8]);
    impl fmt::Write for Expect<'_> {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            match self.0.split_at_checked(part.len()) {
                Some((head, tail)) if head.eq_ignore_ascii_case(part.as_bytes()) => {
                    self.0 = tail;
                    Ok(())
                }
                _ => Err(fmt::Error),
            }
        }
    }
    let mut expect = Expect(text.as_bytes());
    write!(expect, "{address}").is_ok() && expect.0.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_every_spelling_of_an_address_but_the_plain_one() {
        for odd in [
            "127.1",
            "0x7f.1",
            "0x7f000001",
            "017700000001",
            "2130706433",
            "127.0.0.01",
            "127.0.0.256",
            "1.2.3.4.5",
            "example.0x",
            "example.123",
        ] {
            assert_eq!(check_url_host(odd), Err((HostReason::UnusualAddress, 0)), "{odd}");
            assert_eq!(check_image_host(odd), Err((HostReason::UnusualAddress, 0)), "{odd}");
        }
        for plain in ["127.0.0.1", "10.20.30.40", "1.example", "0x7f.example"] {
            assert_eq!(check_url_host(plain), Ok(()), "{plain}");
            assert_eq!(check_image_host(plain), Ok(()), "{plain}");
        }
    }

    #[test]
    fn accepts_an_ipv6_address_of_an_image_in_one_spelling_only() {
        for one in ["[::1]", "[2001:db8::1]", "[2001:DB8::A]", "[fe80::1]"] {
            assert_eq!(check_image_host(one), Ok(()), "{one}");
        }
        for other in ["[0::1]", "[2001:db8:0:0:0:0:0:1]", "[2001:0db8::1]"] {
            assert_eq!(check_image_host(other), Err((HostReason::Ipv6Spelling, 0)), "{other}");
        }
        for none in ["[]", "[abc]", "[::1", "[1:2]", "[::1%25eth0]", "[::127.0.0.1]"] {
            assert_eq!(check_image_host(none), Err((HostReason::NotIpv6, 0)), "{none}");
        }
    }
}
