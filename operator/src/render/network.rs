//! Who an agent's pods talk to. Nothing but the agent's pods is selected: its namespace may be the team's own.
//!
//! What applies a team's manifests reaches the API server and the agent's own controllers only. Flux' `--no-remote-bases` does
//! not keep a kustomization from fetching plain files from any host; this does. What fetches, scans, pushes and notifies reaches
//! what `agent.egress` of the policies says, and anything but link-local addresses where none says.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Value, json};
use sluicegate_crds::AgentComponent;
use sluicegate_policy::{
    egress::{EgressPlan, LINK_LOCAL, link_local_in},
    grammar::Cidr,
};

use super::{Site, output::Output, settings::Settings};
use crate::{
    flux::controllers::{Controller, HTTP_PORT, METRICS_PORT},
    object::{AGENT_PODS, CONTROLLER_LABEL, Kind, Owner, PART_OF_LABEL},
};

/// Label of namespaces whose pods may read the agents' metrics.
const METRICS_LABEL: &str = "sluicegate.dev/metrics";
/// Every address, IPv4 and IPv6.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// Where a cluster's DNS usually is.
const DNS_NAMESPACE: &str = "kube-system";
/// Label with its own name that every namespace has.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(super) fn render(settings: &Settings<'_>, site: &Site, output: &mut Output<'_>) {
    let controllers: Vec<&Controller> =
        settings.components.iter().map(|component| Controller::of(*component)).collect();
    let deny = json!({"spec": {
        "podSelector": {"matchLabels": {PART_OF_LABEL: AGENT_PODS}},
        "policyTypes": ["Egress", "Ingress"],
    }});
    output.add(Kind::NetworkPolicy, "sluicegate-deny", &Owner::Agent, deny);
    for controller in &controllers {
        let spec = json!({
            "egress": egress(controller, &controllers, settings, site),
            "ingress": ingress(controller, &controllers),
            "podSelector": {"matchLabels": {CONTROLLER_LABEL: controller.name, PART_OF_LABEL: AGENT_PODS}},
            "policyTypes": ["Egress", "Ingress"],
        });
        output.add(Kind::NetworkPolicy, controller.role(), &Owner::Agent, json!({"spec": spec}));
    }
}

fn egress(controller: &Controller, all: &[&Controller], settings: &Settings<'_>, site: &Site) -> Vec<Value> {
    let mut rules = api_servers(site);
    let reaches_out = settings.reaches_out(controller);
    let limits = settings.egress.as_ref().filter(|_| reaches_out);
    // Of a pod, or of a cache on the node. Not of any address: somebody else's port 53 need not answer with DNS. Where servers
    // are limited, a pod of a team is not one by listening there.
    let dns = [("UDP", 53), ("TCP", 53)];
    let answering = if limits.is_some() { namespace(DNS_NAMESPACE) } else { json!({"namespaceSelector": {}}) };
    let to = [answering].into_iter().chain(LINK_LOCAL.map(|range| json!({"ipBlock": {"cidr": range}})));
    rules.push(json!({
        "ports": dns.map(|(protocol, port)| json!({"port": port, "protocol": protocol})),
        "to": to.collect::<Vec<_>>(),
    }));
    let served: Vec<Value> = all
        .iter()
        .filter(|other| other.name != controller.name)
        .filter(|other| {
            other.component == AgentComponent::Notification || (controller.fetches_artifacts && other.serves_artifacts)
        })
        .map(|other| pods(other.name))
        .collect();
    if !served.is_empty() {
        rules.push(json!({"ports": [port(HTTP_PORT)], "to": served}));
    }
    if reaches_out {
        let to = match limits {
            Some(plan) => limited(plan),
            None => {
                let outside = EVERYWHERE.iter().filter_map(|all| Cidr::parse(all).ok()).map(|all| block(&all));
                // For some network plugins pods are in no block of addresses.
                outside.chain([json!({"namespaceSelector": {}})]).collect()
            }
        };
        // A rule without peers would be one for every peer.
        if !to.is_empty() {
            rules.push(json!({"to": to}));
        }
    }
    rules
}

/// The peers that policies allow.
fn limited(plan: &EgressPlan) -> Vec<Value> {
    let namespaces = plan.namespaces.iter().map(|name| namespace(name));
    plan.blocks.iter().map(block).chain(namespaces).collect()
}

/// A block of addresses without the link-local ones in it.
fn block(block: &Cidr) -> Value {
    match link_local_in(block) {
        Some(except) => json!({"ipBlock": {"cidr": block.to_string(), "except": [except.to_string()]}}),
        None => json!({"ipBlock": {"cidr": block.to_string()}}),
    }
}

/// All pods of a namespace.
fn namespace(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {NAME_LABEL: name}}})
}

fn api_servers(site: &Site) -> Vec<Value> {
    let mut by_port: BTreeMap<u16, Vec<IpAddr>> = BTreeMap::new();
    for address in &site.api_servers {
        by_port.entry(address.port()).or_default().push(address.ip());
    }
    by_port
        .into_iter()
        .map(|(number, mut addresses)| {
            addresses.sort_unstable();
            addresses.dedup();
            let blocks: Vec<Value> = addresses
                .iter()
                .map(|address| {
                    let bits = if address.is_ipv4() { 32 } else { 128 };
                    json!({"ipBlock": {"cidr": format!("{address}/{bits}")}})
                })
                .collect();
            json!({"ports": [port(number)], "to": blocks})
        })
        .collect()
}

fn ingress(controller: &Controller, all: &[&Controller]) -> Vec<Value> {
    let metrics = json!({
        "from": [{"namespaceSelector": {"matchLabels": {METRICS_LABEL: "enabled"}}}],
        "ports": [port(METRICS_PORT)],
    });
    let callers: Vec<Value> = if controller.component == AgentComponent::Notification {
        vec![json!({"podSelector": {"matchLabels": {PART_OF_LABEL: AGENT_PODS}}})]
    } else if controller.serves_artifacts {
        all.iter()
            .filter(|other| other.fetches_artifacts && other.name != controller.name)
            .map(|other| pods(other.name))
            .collect()
    } else {
        Vec::new()
    };
    let mut rules = vec![metrics];
    if !callers.is_empty() {
        rules.push(json!({"from": callers, "ports": [port(HTTP_PORT)]}));
    }
    rules
}

/// Pods of a controller of this agent.
fn pods(controller: &str) -> Value {
    json!({"podSelector": {"matchLabels": {CONTROLLER_LABEL: controller, PART_OF_LABEL: AGENT_PODS}}})
}

fn port(number: u16) -> Value {
    json!({"port": number, "protocol": "TCP"})
}
