//! Blocks of addresses, as NetworkPolicies take them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::ParseError;

/// Addresses that begin with the same bits: `192.0.2.0/24`, `2001:db8::/32`. The bits behind them are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// Why a text is not a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CidrReason {
    /// One address, without its number of bits.
    #[error("this is not a block: write the address, `/` and the number of bits")]
    NoBits,
    /// What stands before the `/`.
    #[error("this is not an IP address in plain spelling")]
    Address,
    /// What stands behind the `/`.
    #[error("the number of bits is not one from 0 to {most}")]
    Bits {
        /// 32 or 128.
        most: u8,
    },
    /// `192.0.2.7/24`.
    #[error("the address has bits behind those that count")]
    HostBits,
    /// `::ffff:192.0.2.0/120`.
    #[error("this is an IPv4 address in the spelling of IPv6, which network plugins read differently")]
    Mapped,
    /// `2001:DB8::/32`.
    #[error("the address is not in its shortest spelling (RFC 5952)")]
    Spelling,
}

impl Cidr {
    /// Parses a block.
    ///
    /// # Errors
    /// Where the text is anything else, or not in its canonical spelling.
    pub fn parse(text: &str) -> Result<Self, ParseError<CidrReason>> {
        let fail = |reason, offset, canonical| ParseError { reason, offset, canonical };
        let (address, bits) = match text.split_once('/') {
            Some(parts) => parts,
            None => {
                let canonical = text.parse::<IpAddr>().ok().map(|address| Self::one(address).to_string());
                return Err(fail(CidrReason::NoBits, text.len(), canonical));
            }
        };
        let parsed: IpAddr = address.parse().map_err(|_| fail(CidrReason::Address, 0, None))?;
        if matches!(parsed, IpAddr::V6(parsed) if parsed.to_ipv4_mapped().is_some()) {
            return Err(fail(CidrReason::Mapped, 0, None));
        }
        let most = width(parsed);
        let plain = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|byte| byte.is_ascii_digit());
        let count: Option<u8> =
            bits.parse().ok().filter(|count| plain && (bits == "0" || !bits.starts_with('0')) && *count <= most);
        let Some(bits) = count else {
            return Err(fail(CidrReason::Bits { most }, address.len() + 1, None));
        };
        let block = Self { address: masked(parsed, bits), bits };
        let canonical = block.to_string();
        if block.address != parsed {
            return Err(fail(CidrReason::HostBits, 0, Some(canonical)));
        }
        if canonical != text {
            return Err(fail(CidrReason::Spelling, 0, Some(canonical)));
        }
        Ok(block)
    }

    /// The block of one address.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        Self { address, bits: width(address) }
    }

    /// Whether every address of `other` is in this block.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.bits <= other.bits
            && masked(other.address, self.bits) == self.address
    }

    /// The addresses that are in both: two blocks lie one in the other, or apart.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(*other)
        } else if other.covers(self) {
            Some(*self)
        } else {
            None
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first bits of an address, the rest zero.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_blocks_in_their_canonical_spelling() {
        for text in
            ["0.0.0.0/0", "192.0.2.0/24", "192.0.2.7/32", "10.0.0.0/8", "::/0", "2001:db8::/32", "2001:db8::1/128"]
        {
            assert_eq!(Cidr::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_everything_else_and_offers_what_was_meant() {
        use CidrReason::{Address, Bits, HostBits, Mapped, NoBits, Spelling};
        for (text, reason, canonical) in [
            ("192.0.2.7", NoBits, Some("192.0.2.7/32")),
            ("2001:db8::1", NoBits, Some("2001:db8::1/128")),
            ("example.com", NoBits, None),
            ("", NoBits, None),
            ("192.0.2/24", Address, None),
            ("192.0.02.0/24", Address, None),
            ("0x7f.0.0.1/32", Address, None),
            (" 192.0.2.0/24", Address, None),
            ("[2001:db8::]/32", Address, None),
            ("fe80::1%eth0/64", Address, None),
            ("example.com/24", Address, None),
            ("/24", Address, None),
            ("192.0.2.0/33", Bits { most: 32 }, None),
            ("192.0.2.0/", Bits { most: 32 }, None),
            ("192.0.2.0/024", Bits { most: 32 }, None),
            ("192.0.2.0/+24", Bits { most: 32 }, None),
            ("192.0.2.0/24/8", Bits { most: 32 }, None),
            ("192.0.2.0/255.255.255.0", Bits { most: 32 }, None),
            ("2001:db8::/129", Bits { most: 128 }, None),
            ("192.0.2.7/24", HostBits, Some("192.0.2.0/24")),
            ("10.0.0.0/0", HostBits, Some("0.0.0.0/0")),
            ("2001:db8::1/32", HostBits, Some("2001:db8::/32")),
            ("::ffff:192.0.2.0/120", Mapped, None),
            ("2001:DB8::/32", Spelling, Some("2001:db8::/32")),
            ("2001:0db8::/32", Spelling, Some("2001:db8::/32")),
        ] {
            let error = Cidr::parse(text).unwrap_err();
            assert_eq!((*error.reason(), error.canonical()), (reason, canonical), "{text}");
            assert!(canonical.is_none_or(|canonical| Cidr::parse(canonical).is_ok()), "{text}");
        }
    }

    #[test]
    fn blocks_lie_one_in_the_other_or_apart() {
        let meet = |a: &str, b: &str| {
            let (a, b) = (Cidr::parse(a).unwrap(), Cidr::parse(b).unwrap());
            assert_eq!(a.meet(&b), b.meet(&a));
            a.meet(&b).map(|block| block.to_string())
        };
        for (a, b, both) in [
            ("10.0.0.0/8", "10.1.0.0/16", Some("10.1.0.0/16")),
            ("0.0.0.0/0", "10.1.2.3/32", Some("10.1.2.3/32")),
            ("10.0.0.0/8", "10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.0.0.0/9", "10.128.0.0/9", None),
            ("0.0.0.0/0", "::/0", None),
            ("2001:db8::/32", "2001:db8:1::/48", Some("2001:db8:1::/48")),
            ("2001:db8::/32", "2001:db9::/32", None),
        ] {
            assert_eq!(meet(a, b).as_deref(), both, "{a} {b}");
        }
    }
}
