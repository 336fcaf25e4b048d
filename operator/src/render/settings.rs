//! The settings of an agent, from those of its members: where tenants share a pool their policies may differ.

use std::collections::{BTreeMap, BTreeSet};

use sluicegate_crds::{AgentComponent, AgentResources, Placement, Scheduling};
use sluicegate_policy::{Origin, egress::EgressPlan, verdict::Resolved};

use super::{RenderError, Site};
use crate::{
    flux::{
        controllers::Controller,
        releases::{self, Release, ReleaseError},
    },
    quantity::Quantity,
};

/// What each controller of an agent has in common.
pub(super) struct Settings<'a> {
    pub(super) placement: Placement,
    pub(super) release: &'static Release,
    pub(super) components: BTreeSet<AgentComponent>,
    pub(super) resources: Resources,
    pub(super) concurrency: Option<u32>,
    pub(super) image_registry: &'a str,
    pub(super) scheduling: Option<&'a Scheduling>,
    /// Some member may load bases from elsewhere.
    pub(super) remote_bases: bool,
    /// Where controllers that reach out may connect to; anywhere but link-local addresses where no member's policy says.
    pub(super) egress: Option<EgressPlan>,
}

/// Quantities by name.
pub(super) struct Resources {
    pub(super) requests: BTreeMap<String, Quantity>,
    pub(super) limits: BTreeMap<String, Quantity>,
}

/// What is requested where policy does not say: requests decide what fits on a node, and controllers use far less than
/// Flux' own manifests ask for.
const REQUESTS: [(&str, &str); 2] = [("cpu", "10m"), ("memory", "64Mi")];
/// Where policy sets no limit; of the CPU there is none.
const LIMITS: [(&str, &str); 1] = [("memory", "1Gi")];

impl<'a> Settings<'a> {
    /// Combines the settings of members, which are sorted by tenant. `None` where there are none.
    pub(super) fn combine(members: &[&'a Resolved], site: &Site) -> Result<Option<Self>, RenderError> {
        let Some(first) = members.first() else { return Ok(None) };
        let mut combined = Self {
            placement: first.terms.standing.agent.placement.value,
            release: release(first, site)?,
            components: BTreeSet::new(),
            resources: Resources::read(first)?,
            concurrency: None,
            image_registry: &first.terms.standing.agent.image_registry.value,
            scheduling: first.terms.standing.agent.scheduling.as_ref().map(|field| &field.value),
            remote_bases: false,
            egress: egress(members)?,
        };
        for member in members {
            combined.components.extend(components(member));
            combined.concurrency =
                combined.concurrency.max(member.terms.standing.agent.concurrency.as_ref().map(|field| field.value));
            combined.remote_bases |= member.terms.standing.remote_bases;
            let release = release(member, site)?;
            if releases::age(release) > releases::age(combined.release) {
                combined.release = release;
            }
            combined.resources.grow(Resources::read(member)?);
        }
        Ok(Some(combined))
    }

    /// Whether a controller connects to more than the API servers and the agent.
    pub(super) fn reaches_out(&self, controller: &Controller) -> bool {
        controller.reaches_out || (self.remote_bases && controller.component == AgentComponent::Kustomize)
    }
}

/// What all members' policies allow: a limit for one of them is one for their controllers.
fn egress(members: &[&Resolved]) -> Result<Option<EgressPlan>, RenderError> {
    let mut met: Option<(EgressPlan, String)> = None;
    for field in members.iter().filter_map(|member| member.terms.standing.agent.egress.as_ref()) {
        let said = place("agent.egress", &field.origin);
        met = Some(match met {
            None => (field.value.clone(), said),
            Some((plan, first)) => match plan.meet(&field.value) {
                Ok(plan) => (plan, first),
                Err(source) => return Err(RenderError::Egress { first, second: said, source }),
            },
        });
    }
    Ok(met.map(|(plan, _)| plan))
}

fn release(member: &Resolved, site: &Site) -> Result<&'static Release, RenderError> {
    let fault = |field: String| move |source: ReleaseError| RenderError::Version { field, source };
    match (&member.terms.standing.agent.version, &site.flux_version) {
        (Some(field), _) => releases::resolve(&field.value).map_err(fault(place("agent.version", &field.origin))),
        (None, Some(range)) => {
            let field = format!("FluxCluster/{} spec.flux.version", member.cluster.value.as_str());
            releases::resolve(range).map_err(fault(field))
        }
        (None, None) => Ok(releases::newest()),
    }
}

pub(super) fn place(field: &str, origin: &Origin) -> String {
    match origin {
        Origin::Policy(origin) => origin.to_string(),
        Origin::FluxConfig | Origin::BuiltIn => field.to_owned(),
    }
}

/// What a member needs is there whatever policy lists.
fn components(member: &Resolved) -> impl Iterator<Item = AgentComponent> {
    let listed = member.terms.standing.agent.components.iter().flat_map(|field| field.value.iter().copied());
    let needed = [
        (AgentComponent::Source, true),
        (AgentComponent::Kustomize, member.terms.standing.agent.components.is_none() || member.chart.is_none()),
        (AgentComponent::Helm, member.chart.is_some()),
        (AgentComponent::Notification, !member.terms.notify.is_empty()),
        (AgentComponent::ImageReflector, member.image_updates.is_some()),
        (AgentComponent::ImageAutomation, member.image_updates.is_some()),
    ];
    listed.chain(needed.into_iter().filter(|(_, needed)| *needed).map(|(component, _)| component))
}

impl Resources {
    /// What a member's policy says, and what is taken where it says nothing.
    fn read(member: &Resolved) -> Result<Self, RenderError> {
        static NONE: AgentResources = AgentResources { requests: BTreeMap::new(), limits: BTreeMap::new() };
        let (said, field) = match &member.terms.standing.agent.resources {
            Some(field) => (&field.value, place("agent.resources", &field.origin)),
            None => (&NONE, String::new()),
        };
        let read = |part: &str, said: &BTreeMap<String, String>| quantities(&format!("{field}.{part}"), said);
        let mut resources = Self { requests: read("requests", &said.requests)?, limits: read("limits", &said.limits)? };
        for (name, text) in LIMITS {
            if let (false, Ok(quantity)) = (resources.limits.contains_key(name), Quantity::parse(text)) {
                // A request that is larger than what is usual as a limit is meant.
                let quantity = resources.requests.get(name).map_or(quantity, |request| quantity.max(*request));
                resources.limits.insert(name.to_owned(), quantity);
            }
        }
        for (name, text) in REQUESTS {
            if let (false, Ok(quantity)) = (resources.requests.contains_key(name), Quantity::parse(text)) {
                let quantity = resources.limits.get(name).map_or(quantity, |limit| quantity.min(*limit));
                resources.requests.insert(name.to_owned(), quantity);
            }
        }
        for (name, request) in &resources.requests {
            if let Some(limit) = resources.limits.get(name).filter(|limit| *limit < request) {
                return Err(RenderError::RequestAboveLimit {
                    field: format!("{field}.requests.{name}"),
                    request: request.canonical(),
                    limit: limit.canonical(),
                });
            }
        }
        Ok(resources)
    }

    /// The larger of each; no limit is larger than any.
    fn grow(&mut self, other: Self) {
        for (name, quantity) in other.requests {
            let mine = self.requests.entry(name).or_insert(quantity);
            *mine = (*mine).max(quantity);
        }
        self.limits.retain(|name, _| other.limits.contains_key(name));
        for (name, quantity) in other.limits {
            if let Some(mine) = self.limits.get_mut(&name) {
                *mine = (*mine).max(quantity);
            }
        }
    }
}

/// Reads quantities by resource name; `field` is where they are said.
pub(super) fn quantities(
    field: &str,
    said: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Quantity>, RenderError> {
    let read = |(name, text): (&String, &String)| match Quantity::parse(text) {
        Ok(quantity) => Ok((name.clone(), quantity)),
        Err(source) => Err(RenderError::Quantity { field: format!("{field}.{name}"), text: text.clone(), source }),
    };
    said.iter().map(read).collect()
}
