//! Who is at the other end of a connection, and which connection goes where there are too many.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

/// A client by its address. The addresses of one IPv6 /64 are one client: a machine can usually take all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(IpAddr);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "{address}/64"),
        }
    }
}

/// A connection that may be ended so that there is room.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<K> {
    /// By what the caller knows it.
    pub key: K,
    /// Who is at its other end.
    pub peer: Peer,
    /// How much it takes up: 1 where connections are counted, bytes where memory is.
    pub weight: usize,
    /// Since when nothing has come of it.
    pub since: Instant,
}

/// The connection that is ended first: of the peer that takes up most, the one of which nothing has come for longest. Of peers
/// that take up the same, the one with the older connection loses it.
pub fn first_to_go<K>(candidates: impl Iterator<Item = Candidate<K>>) -> Option<Candidate<K>> {
    let mut peers: HashMap<Peer, (usize, Candidate<K>)> = HashMap::new();
    for candidate in candidates {
        match peers.get_mut(&candidate.peer) {
            None => {
                peers.insert(candidate.peer, (candidate.weight, candidate));
            }
            Some((weight, oldest)) => {
                *weight += candidate.weight;
                if candidate.since < oldest.since {
                    *oldest = candidate;
                }
            }
        }
    }
    let most = peers.into_values().max_by(|(one, a), (other, b)| one.cmp(other).then(b.since.cmp(&a.since)));
    most.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::from(address.parse::<IpAddr>().unwrap())
    }

    /// Which of these goes; each has an address, what it takes up, and for how many seconds nothing has come of it.
    fn goes(all: &[(&str, usize, u64)]) -> Option<usize> {
        let now = Instant::now() + Duration::from_secs(3600);
        let candidates = all.iter().enumerate().map(|(key, (address, weight, age))| Candidate {
            key,
            peer: peer(address),
            weight: *weight,
            since: now - Duration::from_secs(*age),
        });
        first_to_go(candidates).map(|candidate| candidate.key)
    }

    #[test]
    fn the_peer_with_most_loses_its_oldest() {
        assert_eq!(goes(&[]), None);
        assert_eq!(goes(&[("10.0.0.1", 1, 9), ("10.0.0.2", 1, 1), ("10.0.0.2", 1, 2)]), Some(2));
        // Of one address alone, the oldest.
        assert_eq!(goes(&[("10.0.0.1", 1, 1), ("10.0.0.1", 1, 3), ("10.0.0.1", 1, 2)]), Some(1));
        // Of as many addresses as connections, the oldest of all.
        assert_eq!(goes(&[("10.0.0.1", 1, 1), ("10.0.0.2", 1, 3), ("10.0.0.3", 1, 2)]), Some(1));
        // Bytes count, where they are what there is too much of.
        assert_eq!(goes(&[("10.0.0.1", 10, 1), ("10.0.0.2", 4, 9), ("10.0.0.2", 4, 8)]), Some(0));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_peer_and_mapped_ones_are_ipv4() {
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
        assert_eq!(peer("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(peer("::ffff:10.0.0.1").to_string(), "10.0.0.1");
    }
}
