//! Whose a namespace is. On every cluster a namespace belongs to one tenant. On the management cluster it is a home, in which
//! FluxConfigs live, or another tenant's target, and never both.
//!
//! What decides, the strongest first:
//! 1. an administrator's label: on the management cluster `sluicegate.dev/home`, or `sluicegate.dev/tenant` where an
//!    administrator wrote it ([`Namespace::home_label`]); on any other cluster `sluicegate.dev/tenant`;
//! 2. Sluicegate's own label on a namespace that it made for a tenant: no FluxConfig in it is older;
//! 3. FluxConfigs in a namespace that carries no tenant's label: nobody else is given it, so that every other claim is void;
//! 4. time: of those that remain the first has it. Without times, or with equal ones, nobody has it.
//!
//! A claim that one of the first three makes void does not count against anybody.

use std::sync::Arc;

use sluicegate_crds::{HOME_LABEL, TENANT_LABEL};

use crate::{
    facts::{Declared, Facts, LabelWriter, Namespace, age},
    grammar::TenantName,
    placement::Placement,
    rule::Rule,
    show,
    verdict::{ObjectRef, Violation},
};

/// FluxConfigs that a violation names at most.
const NAMED: usize = 5;

/// Why a tenant does not have a namespace.
enum Lost<'f> {
    /// A label gives it to this tenant.
    Labelled { label: &'static str, owner: &'f str },
    /// FluxConfigs of this tenant live in it.
    Home { owner: TenantName },
    /// Others claim it, and were first or as early.
    Claimed { others: Vec<&'f Arc<Declared>> },
}

/// A namespace, with all that says whose it is.
struct Space<'f> {
    facts: &'f Facts,
    name: &'f str,
    /// Whether it is on the management cluster.
    here: bool,
    /// Where it is here, as it was seen.
    seen: Option<&'f Namespace>,
    claims: &'f [Arc<Declared>],
}

impl<'f> Space<'f> {
    fn on(cluster: &str, name: &'f str, facts: &'f Facts) -> Self {
        if facts.is_management(cluster) {
            return Self::here(name, facts);
        }
        Self { facts, name, here: false, seen: None, claims: facts.claims(cluster, name) }
    }

    fn here(name: &'f str, facts: &'f Facts) -> Self {
        Self { facts, name, here: true, seen: facts.seen(name), claims: facts.claims_here(name) }
    }

    /// Why `tenant` does not have it. `label` is the tenant's label where it is not here. `own` is the age of the FluxConfig
    /// that asks; `lives_here`: in this namespace.
    fn lost(&self, tenant: &TenantName, label: Option<&'f str>, own: i64, lives_here: bool) -> Option<Lost<'f>> {
        let labelled = |label, owner: &'f str| (owner != tenant.as_str()).then_some(Lost::Labelled { label, owner });
        if let Some((label, owner)) = self.seen.and_then(Namespace::home_label) {
            return labelled(label, owner);
        }
        let label = self.seen.and_then(Namespace::tenant_label).or(label);
        let lived_in = if self.here { self.facts.lived_in_since(self.name) } else { None };
        let lived_in = lived_in.or(lives_here.then_some(own));
        let resident = lived_in.and_then(|since| Some((self.facts.tenant(self.name)?, since)));
        let mine = |other: &Option<TenantName>| other.as_ref() == Some(tenant);
        let is_resident = resident.as_ref().is_some_and(|(resident, _)| resident == tenant);
        match (label, &resident) {
            // Nearly every namespace is labelled for the one tenant that has to do with it.
            (Some(owner), None) => return labelled(TENANT_LABEL, owner),
            (Some(owner), Some((resident, _))) => {
                let adopted = self.seen.is_some_and(|seen| seen.tenant_label_by == LabelWriter::Sluicegate);
                let served = |claim: &Arc<Declared>| claim.tenant.as_ref().is_some_and(|of| of.as_str() == owner);
                let open = adopted && resident.as_str() != owner && self.claims.iter().any(served);
                if !open || !(is_resident || tenant.as_str() == owner) {
                    return labelled(TENANT_LABEL, owner);
                }
            }
            (None, Some((resident, _))) if self.is_lodgers() => {
                return (!is_resident).then(|| Lost::Home { owner: resident.clone() });
            }
            (None, None) if self.claims.iter().all(|claim| mine(&claim.tenant)) => return None,
            (None, _) => {}
        }
        let counts = |claim: &&Arc<Declared>| {
            label.is_none_or(|owner| claim.tenant.as_ref().is_some_and(|of| of.as_str() == owner))
        };
        let first = |of_tenant: bool| {
            let claims = self.claims.iter().filter(counts).filter(|claim| mine(&claim.tenant) == of_tenant);
            let lived_in = resident.iter().filter(|_| is_resident == of_tenant).map(|(_, since)| *since);
            claims.map(|claim| age(claim.since)).chain(lived_in).min()
        };
        let theirs = first(false)?;
        if first(true).unwrap_or(own) < theirs {
            return None;
        }
        match resident {
            Some((owner, since)) if !is_resident && since == theirs => Some(Lost::Home { owner }),
            _ => {
                let others = self.claims.iter().filter(counts).filter(|claim| !mine(&claim.tenant)).collect();
                Some(Lost::Claimed { others })
            }
        }
    }

    /// Whether it is there and nobody made it for a tenant: then a claim on it cannot be served, and those who live in it have
    /// it.
    fn is_lodgers(&self) -> bool {
        self.seen.is_some_and(|seen| seen.tenant_label_by != LabelWriter::Creator)
    }

    /// Whether it is the home of `owner`, to whom a label gives it, and not only a target.
    fn is_home_of(&self, owner: &str) -> bool {
        let label = self.seen.and_then(Namespace::home_label);
        let lived_in = || self.here && self.lodgers().next().is_some();
        let by_name = || self.facts.tenant(self.name).is_some_and(|tenant| tenant.as_str() == owner);
        label.is_some_and(|(label, _)| label == HOME_LABEL) || lived_in() && (label.is_some() || by_name())
    }

    /// Some FluxConfigs that live in it.
    fn lodgers(&self) -> impl Iterator<Item = ObjectRef> {
        self.facts.living_in(self.name).take(NAMED).map(|(home, name)| ObjectRef {
            kind: "FluxConfig",
            namespace: home.to_string(),
            name: name.to_string(),
        })
    }
}

/// Whether a FluxConfig may be where it is, and deploy where it goes. Violations are added to `found`.
pub(crate) fn judge(place: &Placement<'_>, facts: &Facts, home: &str, name: &str, found: &mut Vec<Violation>) {
    let own = age(facts.since(home, name));
    found.extend(lives(place, facts, home, own));
    if !is_at_home(place, facts, home) {
        found.extend(deploys(place, facts, own));
    }
}

/// Whether the target is the namespace in which the FluxConfig lives.
fn is_at_home(place: &Placement<'_>, facts: &Facts, home: &str) -> bool {
    facts.is_management(place.cluster.value.as_str()) && place.namespace.value.as_str() == home
}

/// Whether the target is a home of the tenant that Sluicegate has to label: an administrator has not said that its workloads
/// are the tenant's, and need not.
pub(crate) fn is_own_home(place: &Placement<'_>, facts: &Facts, home: &str) -> bool {
    let label = facts.seen(place.namespace.value.as_str()).and_then(Namespace::home_label);
    match label {
        Some((HOME_LABEL, owner)) => {
            facts.is_management(place.cluster.value.as_str()) && owner == place.tenant.as_str()
        }
        Some(_) => false,
        None => is_at_home(place, facts, home),
    }
}

/// The target is not another tenant's.
fn deploys(place: &Placement<'_>, facts: &Facts, own: i64) -> Option<Violation> {
    let (cluster, namespace) = (place.cluster.value.as_str(), place.namespace.value.as_str());
    let space = Space::on(cluster, namespace, facts);
    let label = if space.here { None } else { facts.tenant_label_of(cluster, namespace) };
    let at = |rule, message: String| Violation::new(rule, "spec.namespace", message).value(namespace);
    let choose = "a namespace on a cluster belongs to one tenant: choose another namespace";
    Some(match space.lost(&place.tenant, label, own, false)? {
        Lost::Labelled { label, owner } if space.is_home_of(owner) => {
            let message = format!(
                "namespace {namespace} on cluster {cluster} is the home of tenant {owner}: its label is {label}={owner}"
            );
            at(Rule::NamespaceIsAHome, message)
                .related(space.lodgers())
                .help("no tenant deploys to the home of another one: choose another namespace")
        }
        Lost::Labelled { label, owner } => {
            let message = format!(
                "namespace {namespace} on cluster {cluster} belongs to tenant {owner}: its label is {label}={owner}"
            );
            at(Rule::TargetClaimed, message).help(choose).help("if the label is wrong, an administrator corrects it")
        }
        Lost::Home { owner } => {
            let message = format!(
                "namespace {namespace} on cluster {cluster} is the home of tenant {owner}: FluxConfigs live in it"
            );
            at(Rule::NamespaceIsAHome, message)
                .related(space.lodgers())
                .help("no tenant deploys to the home of another one: choose another namespace")
        }
        Lost::Claimed { others } => {
            let message =
                format!("namespace {namespace} on cluster {cluster} is also the target of {}", tenants(&others));
            at(Rule::TargetClaimed, message).related(others.iter().take(NAMED).map(|claim| claim.object())).help(choose)
        }
    })
}

/// The namespace in which a FluxConfig lives is not another tenant's target.
fn lives(place: &Placement<'_>, facts: &Facts, home: &str, own: i64) -> Option<Violation> {
    let space = Space::here(home, facts);
    let message = match space.lost(&place.tenant, None, own, true)? {
        Lost::Labelled { owner, .. } => {
            format!("tenant {owner} deploys to namespace {home}: its label is {TENANT_LABEL}={owner}")
        }
        Lost::Home { owner } => format!("namespace {home} is the home of tenant {owner}"),
        Lost::Claimed { ref others } => format!("namespace {home} is the target of {}", tenants(others)),
    };
    let claims = space.claims.iter().filter(|claim| claim.tenant.as_ref() != Some(&place.tenant));
    Some(
        Violation::new(Rule::HomeIsATarget, "metadata.namespace", message)
            .value(home)
            .related(claims.take(NAMED).map(|claim| claim.object()))
            .help("a namespace is a home or another tenant's target, never both: put the FluxConfig into another namespace")
            .help(format!(
                "if {home} is the home of tenant {tenant}, an administrator says so: kubectl label namespace {home} {label}={tenant}",
                tenant = place.tenant,
                label = HOME_LABEL,
            )),
    )
}

fn tenants(claims: &[&Arc<Declared>]) -> String {
    let mut tenants: Vec<&str> =
        claims.iter().filter_map(|claim| claim.tenant.as_ref().map(TenantName::as_str)).collect();
    tenants.dedup();
    format!("tenant {}", show::joined(&tenants))
}
