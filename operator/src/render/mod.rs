//! From admitted FluxConfigs to every object of their agent. Pure, and the same bytes for the same members in any order.
//!
//! One agent is rendered at a time, with all that it serves. Read [`render`] first; it calls, in the order in which objects
//! are applied, `namespaces`, `access`, `network`, `workloads`, and for each member `source` and `delivery`. `settings`
//! combines what members want of the agent, `names` says what everything is called, `output` collects.
//!
//! Nothing here reads a Secret: what has to be in an agent's namespace is said by a `Copy`, and whoever applies fills in
//! the content.

mod access;
mod delivery;
mod names;
mod namespaces;
mod network;
mod output;
mod settings;
mod source;
mod workloads;

use std::{collections::BTreeSet, fmt, net::SocketAddr};

use sluicegate_crds::Placement;
use sluicegate_policy::{Admitted, egress::NoMeeting, verdict::Resolved};

use crate::{
    flux::releases::{self, Release, ReleaseError},
    object::{ConfigKey, Kind, Object, Owner},
    quantity::QuantityError,
};
#[cfg(test)]
pub(crate) use names::NOBODY;
pub(crate) use names::RECONCILER;
pub(crate) use names::may_serve;
pub(crate) use output::DOCKER_CONFIG;
use output::Output;
use settings::Settings;

/// Which agent: one to a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId {
    /// Id of the cluster.
    pub cluster: String,
    /// Namespace on it in which the controllers, the Flux objects and the copies are.
    pub namespace: String,
}

impl AgentId {
    /// The agent that serves a FluxConfig.
    pub fn of(resolved: &Resolved) -> AgentId {
        let tenant = resolved.tenant.as_str();
        let namespace = match resolved.terms.standing.agent.placement.value {
            Placement::Namespace => resolved.namespace.value.as_str().to_owned(),
            Placement::Isolated => names::isolated(tenant),
            Placement::Pooled => names::pooled(tenant, resolved.terms.standing.agent.pools.value),
        };
        AgentId { cluster: resolved.cluster.value.as_str().to_owned(), namespace }
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.namespace)
    }
}

/// A FluxConfig that an agent serves.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The FluxConfig.
    pub admitted: &'a Admitted,
    /// What of it the operator holds back, whatever its own `suspend` says.
    pub pause: Pause,
}

/// What of a FluxConfig is suspended though it did not ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pause {
    /// Nothing.
    #[default]
    Nothing,
    /// The Kustomization or HelmRelease, since another FluxConfig comes first; its source is fetched.
    Delivery,
    /// Source and delivery: policy forbids it by now.
    Everything,
}

/// What has to be known of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `FluxCluster.spec.flux.version`: the release, or a range, where no policy names one.
    pub flux_version: Option<String>,
    /// Addresses of the API servers: of the Service `kubernetes`, and of what is behind it.
    pub api_servers: Vec<SocketAddr>,
    /// Who the operator is on that cluster.
    pub operator: Account,
}

/// A user of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// A ServiceAccount of that cluster.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A user from elsewhere, by name.
    User(String),
}

/// Everything of one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// All objects but the copies, by stage, then by key.
    pub objects: Vec<Object>,
    /// Secrets and ConfigMaps that are copied, by key.
    pub copies: Vec<Copy>,
    /// The release of Flux that its controllers are of.
    pub release: &'static Release,
}

/// A Secret or ConfigMap that an agent has a copy of.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// The copy without its content; with a `type` where the reader asks for one.
    pub object: Object,
    /// What it is a copy of.
    pub from: CopySource,
    /// What it means that there is none.
    pub absence: Absence,
    /// What of the original is copied.
    pub content: Content,
}

/// What of an original is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All data.
    Everything,
    /// Of a team's Secret for a source: user, password, token, key. Certificate authorities and known hosts are not the
    /// team's to say: whoever says them can make any server look like the one that policy allows.
    Credential {
        /// The administrators' Secret from which these come, if policy gives one for the source.
        authority: Option<String>,
    },
}

impl Copy {
    /// The Secrets of the administrators that it is made of.
    pub fn platform(&self) -> impl Iterator<Item = &String> {
        let whole = match &self.from {
            CopySource::Platform { name } => Some(name),
            CopySource::Tenant { .. } | CopySource::Beside { .. } => None,
        };
        let authority = match &self.content {
            Content::Credential { authority } => authority.as_ref(),
            Content::Everything => None,
        };
        whole.into_iter().chain(authority)
    }
}

/// What it means that there is nothing to copy. Where readers ask for different things the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// There is no copy either: the reader can do without.
    Fine,
    /// The copy is empty. The reader asks for it by name, and a team that needs nothing in it need not have one: a default
    /// decryption key.
    Empty,
    /// It is an error.
    Wrong,
}

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopySource {
    /// A Secret of the administrators, in the operator's namespace on the management cluster.
    Platform {
        /// Its name.
        name: String,
    },
    /// A Secret or ConfigMap of a team, beside its FluxConfig on the management cluster.
    Tenant {
        /// [`Kind::Secret`] or [`Kind::ConfigMap`].
        kind: Kind,
        /// The namespace.
        home: String,
        /// Its name.
        name: String,
    },
    /// A Secret of a team in the agent's own namespace, on the agent's cluster.
    Beside {
        /// [`Kind::Secret`].
        kind: Kind,
        /// Its name.
        name: String,
    },
}

/// Why an agent cannot be rendered. All of it is for administrators to mend: nothing that a team writes is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// There is no such release of Flux.
    #[error("{field} names no release of Flux")]
    Version {
        /// The field, with the policy or cluster that it is of.
        field: String,
        /// Why.
        source: ReleaseError,
    },
    /// A resource quantity is none.
    #[error("{field} is {text:?}")]
    Quantity {
        /// The field, with the policy that it is of.
        field: String,
        /// What it says.
        text: String,
        /// What is wrong with it.
        source: QuantityError,
    },
    /// More is requested than there may be.
    #[error("{field} is {request}, which is more than the limit of {limit}")]
    RequestAboveLimit {
        /// The field, with the policy that it is of.
        field: String,
        /// The request.
        request: String,
        /// The limit.
        limit: String,
    },
    /// Tenants of one pool have limits of egress that do not go together.
    #[error("{first} and {second} are for tenants of one pool, whose controllers are under both")]
    Egress {
        /// The field, with the first policy that it is of.
        first: String,
        /// The same of another policy.
        second: String,
        /// Why they do not go together.
        source: NoMeeting,
    },
    /// Nobody has said where the API servers are, and without them no controller may reach one.
    #[error("no address of an API server of cluster {cluster} is known")]
    NoApiServer {
        /// The cluster.
        cluster: String,
    },
    /// A member is served by another agent.
    #[error("FluxConfig {config} is served by agent {other}")]
    NotAMember {
        /// The FluxConfig.
        config: ConfigKey,
        /// Its agent.
        other: AgentId,
    },
}

/// A FluxConfig while it is rendered.
struct Item<'a> {
    resolved: &'a Resolved,
    /// Name of its objects.
    name: String,
    owner: Owner,
    pause: Pause,
}

impl<'a> Item<'a> {
    fn new(member: &Member<'a>) -> Self {
        let resolved = member.admitted.resolved();
        let config = ConfigKey::of(resolved);
        Self {
            resolved,
            name: names::config(resolved, &resolved.name),
            owner: Owner::Config { tenant: resolved.tenant.as_str().to_owned(), config },
            pause: if resolved.terms.suspend { Pause::Everything } else { member.pause },
        }
    }

    fn target(&self) -> &'a str {
        self.resolved.namespace.value.as_str()
    }

    fn tenant(&self) -> &'a str {
        self.resolved.tenant.as_str()
    }
}

/// Renders an agent with everything that it serves. Without members there is nothing of it.
///
/// # Errors
/// Some field of a policy or cluster cannot be followed; the error names it.
pub fn render(agent: &AgentId, members: &[Member<'_>], site: &Site) -> Result<Rendered, RenderError> {
    let mut items: Vec<Item<'_>> = members.iter().map(Item::new).collect();
    items.sort_by(|a, b| a.key().cmp(&b.key()));
    for item in &items {
        let other = AgentId::of(item.resolved);
        if other != *agent {
            let config = ConfigKey::of(item.resolved);
            return Err(RenderError::NotAMember { config, other });
        }
    }
    let resolved: Vec<&Resolved> = items.iter().map(|item| item.resolved).collect();
    let Some(settings) = Settings::combine(&resolved, site)? else {
        return Ok(Rendered { objects: Vec::new(), copies: Vec::new(), release: releases::newest() });
    };
    if site.api_servers.is_empty() {
        return Err(RenderError::NoApiServer { cluster: agent.cluster.clone() });
    }
    let mut output = Output::new(agent);
    namespaces::render(&settings, &items, &mut output)?;
    network::render(&settings, site, &mut output);
    workloads::render(&settings, site, &mut output);
    for item in &items {
        let source = source::render(item, &mut output);
        delivery::render(item, &source, &items, &mut output);
    }
    // Last, as it depends on what is read.
    access::render(&settings, &items, site, &mut output);
    Ok(output.finish(settings.release))
}

impl Rendered {
    /// Images of the agent's own pods.
    pub fn images(&self) -> BTreeSet<String> {
        let pods = self.objects.iter().filter(|object| object.key.kind == Kind::Deployment);
        let containers = pods.filter_map(|object| object.manifest["spec"]["template"]["spec"]["containers"].as_array());
        containers.flatten().filter_map(|container| container["image"].as_str().map(str::to_owned)).collect()
    }
}

impl Item<'_> {
    fn key(&self) -> (&str, &str, &str) {
        (self.tenant(), &self.resolved.home, &self.resolved.name)
    }
}
