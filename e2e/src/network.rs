//! Addresses and names. They are the same in every cluster: each has a network of its own.

/// The one node.
pub const NODE_NAME: &str = "node";
/// Its address, and that of every server of the harness.
pub const NODE_ADDRESS: &str = "172.30.0.2";
/// Another address that pods reach, on which nothing listens but what a test opens: a server from elsewhere.
pub const ELSEWHERE_ADDRESS: &str = "172.30.0.3";
/// The link that holds the addresses.
pub const NODE_LINK: &str = "node0";
/// Addresses of pods.
pub const POD_CIDR: &str = "10.244.0.0/16";
/// Addresses of Services.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The `kubernetes` Service.
pub const API_SERVICE_ADDRESS: &str = "10.96.0.1";
/// The DNS Service.
pub const DNS_ADDRESS: &str = "10.96.0.10";
/// The API server's port.
pub const API_PORT: u16 = 6443;
/// The port through which the node's own components reach the API server, so that this way alone can be cut.
pub const NODE_API_PORT: u16 = 6444;
/// The registry's port.
pub const REGISTRY_PORT: u16 = 5000;
/// The netfilter queue on which NetworkPolicies are decided.
pub const POLICY_QUEUE: u16 = 100;

/// The Git server, as pods and the node name it: `http`, `https` and `ssh` on their usual ports.
pub const GIT_HOST: &str = "git.sluicegate.test";
/// The same server by the name that it has in `examples/platform`.
pub const EXAMPLE_GIT_HOST: &str = "git.kestrel.example";
/// The Helm repository: `http` and `https` on their usual ports.
pub const CHARTS_HOST: &str = "charts.sluicegate.test";
/// The OCI registry: plain HTTP on [`REGISTRY_PORT`].
pub const REGISTRY_HOST: &str = "registry.sluicegate.test";
