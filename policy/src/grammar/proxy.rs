//! HTTP proxies: their URLs, and the hosts that are reached without them.

use super::{
    Cidr, HostReason, PortReason,
    host::{check_url_host, parse_port},
};

/// URL of an HTTP proxy: scheme, host and port, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyUrl<'t> {
    host: &'t str,
}

/// Why a URL is not one of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyReason {
    /// Another scheme, or none.
    #[error("the URL of a proxy begins with http:// or https://")]
    Scheme,
    /// A password would be readable in every pod.
    #[error("the URL of a proxy has no user and no password: every pod of an agent would show them")]
    UserInfo,
    /// Something behind the host and port.
    #[error("the URL of a proxy ends with its host or port")]
    Path,
    /// The host.
    #[error(transparent)]
    Host(HostReason),
    /// The port.
    #[error(transparent)]
    Port(PortReason),
}

impl<'t> ProxyUrl<'t> {
    /// Parses a URL.
    ///
    /// # Errors
    /// Where the text is anything else.
    pub fn parse(text: &'t str) -> Result<Self, ProxyReason> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(ProxyReason::Scheme)?;
        if rest.contains('@') {
            return Err(ProxyReason::UserInfo);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(ProxyReason::Path);
        }
        let host = match rest.rsplit_once(':') {
            Some((host, port)) if !rest.starts_with('[') => {
                parse_port(port).map_err(ProxyReason::Port)?;
                host
            }
            _ => rest,
        };
        check_url_host(host).map_err(|(reason, _)| ProxyReason::Host(reason))?;
        Ok(Self { host })
    }

    /// The host: a DNS name or an IPv4 address.
    #[must_use]
    pub fn host(&self) -> &'t str {
        self.host
    }
}

/// Whether an entry of `NO_PROXY` is a host, the end of one with a dot in front, an address or a block. `*` would turn the
/// proxy off.
#[must_use]
pub fn is_no_proxy(entry: &str) -> bool {
    entry.parse::<std::net::IpAddr>().is_ok()
        || Cidr::parse(entry).is_ok()
        || check_url_host(entry.strip_prefix('.').unwrap_or(entry)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_scheme_host_and_port() {
        for (text, host) in [
            ("http://proxy.example.com:3128", "proxy.example.com"),
            ("https://proxy.example.com", "proxy.example.com"),
            ("http://192.0.2.7:8080", "192.0.2.7"),
            ("http://squid.egress.svc.cluster.local:3128", "squid.egress.svc.cluster.local"),
        ] {
            assert_eq!(ProxyUrl::parse(text).unwrap().host(), host);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for (text, words) in [
            ("proxy.example.com:3128", "begins with"),
            ("socks5://proxy.example.com", "begins with"),
            ("HTTP://proxy.example.com", "begins with"),
            ("", "begins with"),
            ("http://", "is empty"),
            ("http://u:p@proxy.example.com", "no user"),
            ("http://proxy.example.com/", "ends with"),
            ("http://proxy.example.com?x", "ends with"),
            ("http://proxy.example.com#x", "ends with"),
            ("http://Proxy.example.com", "lowercase"),
            ("http://proxy.example.com:0", "port 0"),
            ("http://proxy.example.com:x", "is a number"),
            ("http://proxy example.com", "a space"),
            ("http://proxy.example.com,evil", "`,`"),
            ("http://proxy.example.com\n", "U+000A"),
            ("http://[2001:db8::1]:3128", "IPv6"),
            ("http://127.1", "unusual"),
        ] {
            let reason = ProxyUrl::parse(text).unwrap_err().to_string();
            assert!(reason.contains(words), "{text}: {reason}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_and_addresses_one_by_one() {
        for entry in ["git.example.com", ".example.com", "192.0.2.7", "2001:db8::1", "10.0.0.0/8", "localhost"] {
            assert!(is_no_proxy(entry), "{entry}");
        }
        for entry in ["", "*", "*.example.com", ".", "a,b", "a b", "a:80", "http://a", "10.0.0.1/8", "..example.com"] {
            assert!(!is_no_proxy(entry), "{entry}");
        }
    }
}
