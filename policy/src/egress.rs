//! Where an agent's controllers may connect to: what a policy says, checked, and what several say together.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use sluicegate_crds::{Egress, EgressProxy, bounds};

use crate::{
    grammar::{Cidr, NamespaceName, ProxyUrl, is_no_proxy},
    rule::Rule,
    show,
    verdict::Violation,
};

/// What the controllers that reach out may connect to, beside the API servers, DNS and the agent itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressPlan {
    /// Blocks of addresses. None lies within the link-local addresses.
    pub blocks: BTreeSet<Cidr>,
    /// Namespaces whose pods may be reached.
    pub namespaces: BTreeSet<String>,
    /// The proxy by which they connect.
    pub proxy: Option<ProxyPlan>,
}

/// An HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPlan {
    /// Its URL: scheme, host, port.
    pub url: String,
    /// Hosts, ends of hosts, addresses and blocks that are reached without it.
    pub no_proxy: BTreeSet<String>,
}

/// Why two plans cannot hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMeeting {
    /// Two proxies: neither is stricter.
    #[error("they name different proxies")]
    Proxies,
    /// No block and no namespace is in both.
    #[error("they have no block and no namespace in common")]
    Nothing,
}

/// Addresses that are of the node only, such as a cloud's credentials for the machine: IPv4 and IPv6.
pub const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

impl EgressPlan {
    /// What both allow.
    ///
    /// # Errors
    /// Where nothing is left, or where a choice would have to be made.
    pub fn meet(&self, other: &Self) -> Result<Self, NoMeeting> {
        let blocks: BTreeSet<Cidr> =
            self.blocks.iter().flat_map(|mine| other.blocks.iter().filter_map(|theirs| mine.meet(theirs))).collect();
        let namespaces: BTreeSet<String> = self.namespaces.intersection(&other.namespaces).cloned().collect();
        if blocks.is_empty() && namespaces.is_empty() {
            return Err(NoMeeting::Nothing);
        }
        let proxy = match (&self.proxy, &other.proxy) {
            (Some(mine), Some(theirs)) if mine.url != theirs.url => return Err(NoMeeting::Proxies),
            (Some(mine), Some(theirs)) => Some(ProxyPlan {
                url: mine.url.clone(),
                no_proxy: mine.no_proxy.intersection(&theirs.no_proxy).cloned().collect(),
            }),
            (proxy, None) | (None, proxy) => proxy.clone(),
        };
        Ok(Self { blocks, namespaces, proxy })
    }
}

impl fmt::Display for EgressPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = few(self.blocks.iter());
        parts.extend(few(self.namespaces.iter().map(|namespace| format!("namespace {namespace}"))));
        if let Some(proxy) = &self.proxy {
            let without = few(proxy.no_proxy.iter());
            let without = if without.is_empty() { String::new() } else { format!(" except for {}", without.join(" ")) };
            parts.push(format!("by proxy {}{without}", proxy.url));
        }
        f.write_str(&parts.join(", "))
    }
}

/// Entries of a list that are shown: the text stands in the status of every FluxConfig.
const SHOWN: usize = 8;

/// The first entries, and how many more there are.
fn few<T: fmt::Display>(all: impl ExactSizeIterator<Item = T>) -> Vec<String> {
    let more = all.len().saturating_sub(SHOWN);
    let shown = all.take(SHOWN).map(|entry| entry.to_string());
    shown.chain((more > 0).then(|| format!("{more} more"))).collect()
}

const FIELD: &str = "spec.agent.egress";

/// Checks what a policy says. Errors are added to `errors`, and the plan is of use only where there are none.
pub(crate) fn compile(egress: &Egress, errors: &mut Vec<Violation>) -> EgressPlan {
    let Egress { cidrs, namespaces, proxy } = egress;
    bounded("cidrs", cidrs.len(), errors);
    bounded("namespaces", namespaces.len(), errors);
    if cidrs.is_empty() && namespaces.is_empty() {
        let message = "nothing may be reached: neither cidrs nor namespaces are given";
        errors.push(
            Violation::new(Rule::MissingField, FIELD, message)
                .help("name the blocks of addresses of the servers that the tenants' sources are on, or of the proxy"),
        );
    }
    let blocks = blocks(cidrs, errors);
    for (index, namespace) in namespaces.iter().enumerate() {
        if let Err(error) = NamespaceName::check(namespace) {
            errors.push(
                Violation::new(Rule::InvalidValue, format!("{FIELD}.namespaces[{index}]"), show::no_name(&error))
                    .value(namespace.as_str())
                    .help("write the name of a namespace in full; there are no wildcards"),
            );
        }
    }
    let namespaces: BTreeSet<String> = namespaces.iter().cloned().collect();
    let proxy = proxy.as_ref().map(|proxy| self::proxy(proxy, &blocks, &namespaces, errors));
    EgressPlan { blocks, namespaces, proxy }
}

fn bounded(field: &str, found: usize, errors: &mut Vec<Violation>) {
    if found > bounds::ITEMS {
        let most = bounds::ITEMS;
        errors.push(
            Violation::new(
                Rule::OutOfBounds,
                format!("{FIELD}.{field}"),
                format!("{found} entries, at most {most} are allowed"),
            )
            .help("name larger blocks, or let a proxy decide about hosts"),
        );
    }
}

fn blocks(cidrs: &[String], errors: &mut Vec<Violation>) -> BTreeSet<Cidr> {
    let mut blocks = BTreeSet::new();
    for (index, text) in cidrs.iter().enumerate() {
        let field = || format!("{FIELD}.cidrs[{index}]");
        match Cidr::parse(text) {
            Ok(block) if link_local().any(|range| range.covers(&block)) => errors.push(
                Violation::new(
                    Rule::InvalidValue,
                    field(),
                    "these addresses are of the node only, and no agent may reach them",
                )
                .value(text.as_str())
                .help("leave it out: a cloud's credentials for the machine are there"),
            ),
            Ok(block) => {
                blocks.insert(block);
            }
            Err(error) => {
                let canonical = error.canonical().map(str::to_owned);
                let violation =
                    Violation::new(Rule::InvalidValue, field(), error.reason().to_string()).value(text.as_str());
                errors.push(
                    match &canonical {
                        Some(canonical) => violation.help(format!("write {canonical}")),
                        None => {
                            violation.help("write it as in 192.0.2.0/24 or 2001:db8::/32; names of hosts have no block")
                        }
                    }
                    .suggestion(canonical),
                );
            }
        }
    }
    blocks
}

/// The ranges of [`LINK_LOCAL`].
fn link_local() -> impl Iterator<Item = Cidr> {
    LINK_LOCAL.iter().filter_map(|range| Cidr::parse(range).ok())
}

/// The part of the link-local addresses that a block covers: what has to be taken out of it.
#[must_use]
pub fn link_local_in(block: &Cidr) -> Option<Cidr> {
    link_local().find(|range| block.covers(range))
}

fn proxy(
    proxy: &EgressProxy,
    blocks: &BTreeSet<Cidr>,
    namespaces: &BTreeSet<String>,
    errors: &mut Vec<Violation>,
) -> ProxyPlan {
    let EgressProxy { url, no_proxy } = proxy;
    bounded("proxy.noProxy", no_proxy.len(), errors);
    match ProxyUrl::parse(url) {
        Ok(parsed) => {
            let address = parsed.host().parse::<IpAddr>().ok().map(Cidr::one);
            // The address of a pod or Service is of no block.
            if let Some(address) = address
                && namespaces.is_empty()
                && !blocks.iter().any(|block| block.covers(&address))
            {
                errors.push(
                    Violation::new(
                        Rule::InvalidValue,
                        format!("{FIELD}.proxy.url"),
                        "the proxy is in no block of cidrs, so no agent could reach it",
                    )
                    .value(url.as_str())
                    .help(format!("add {address} to cidrs")),
                );
            }
        }
        Err(reason) => errors.push(
            Violation::new(Rule::InvalidValue, format!("{FIELD}.proxy.url"), reason.to_string())
                .value(url.as_str())
                .help("write it as in http://proxy.example.com:3128"),
        ),
    }
    for (index, entry) in no_proxy.iter().enumerate().filter(|(_, entry)| !is_no_proxy(entry)) {
        let message = "this is not a host, an address or a block";
        errors.push(
            Violation::new(Rule::InvalidValue, format!("{FIELD}.proxy.noProxy[{index}]"), message)
                .value(entry.as_str())
                .help(
                    "write a host, .example.com for every host below it, an address, or a block such as 192.0.2.0/24",
                ),
        );
    }
    ProxyPlan { url: url.clone(), no_proxy: no_proxy.iter().cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(blocks: &[&str], namespaces: &[&str], proxy: Option<(&str, &[&str])>) -> EgressPlan {
        EgressPlan {
            blocks: blocks.iter().map(|text| Cidr::parse(text).unwrap()).collect(),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            proxy: proxy.map(|(url, without)| ProxyPlan {
                url: url.to_owned(),
                no_proxy: without.iter().map(|host| (*host).to_owned()).collect(),
            }),
        }
    }

    #[test]
    fn what_two_plans_allow_is_what_both_allow() {
        let one = plan(&["10.0.0.0/8", "192.0.2.0/24"], &["git", "egress"], None);
        let two = plan(&["10.1.0.0/16", "198.51.100.0/24", "192.0.0.0/16"], &["git"], Some(("http://p", &["a", "b"])));
        let both = plan(&["10.1.0.0/16", "192.0.2.0/24"], &["git"], Some(("http://p", &["a", "b"])));
        assert_eq!(one.meet(&two), Ok(both.clone()));
        assert_eq!(two.meet(&one), Ok(both));
        for any in [&one, &two] {
            assert_eq!(any.meet(any).as_ref(), Ok(any));
        }
        let three = plan(&["10.1.0.0/16"], &[], Some(("http://p", &["b", "c"])));
        assert_eq!(two.meet(&three), Ok(plan(&["10.1.0.0/16"], &[], Some(("http://p", &["b"])))));
        assert_eq!(two.meet(&plan(&["10.0.0.0/8"], &[], Some(("http://q", &[])))), Err(NoMeeting::Proxies));
        assert_eq!(one.meet(&plan(&["203.0.113.0/24"], &["other"], None)), Err(NoMeeting::Nothing));
    }

    #[test]
    fn is_shown_in_one_line() {
        let shown = plan(&["2001:db8::/32", "10.0.0.0/8"], &["git"], Some(("http://p:3128", &[".example.com", "x"])));
        assert_eq!(
            shown.to_string(),
            "10.0.0.0/8, 2001:db8::/32, namespace git, by proxy http://p:3128 except for .example.com x"
        );
    }

    #[test]
    fn of_long_lists_the_first_are_shown() {
        let blocks: Vec<String> = (0..64).map(|index| format!("10.0.{index}.0/24")).collect();
        let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
        let shown = plan(&blocks, &[], None).to_string();
        assert!(shown.starts_with("10.0.0.0/24, ") && shown.ends_with("10.0.7.0/24, 56 more"), "{shown}");
    }

    #[test]
    fn link_local_addresses_are_taken_out_of_larger_blocks() {
        let except = |text: &str| link_local_in(&Cidr::parse(text).unwrap()).map(|block| block.to_string());
        assert_eq!(except("0.0.0.0/0").as_deref(), Some("169.254.0.0/16"));
        assert_eq!(except("168.0.0.0/6").as_deref(), Some("169.254.0.0/16"));
        assert_eq!(except("::/0").as_deref(), Some("fe80::/10"));
        assert_eq!(except("10.0.0.0/8"), None);
        assert_eq!(except("2001:db8::/32"), None);
    }
}
