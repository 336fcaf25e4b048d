//! The guard: what policies say, in the words of the API server.
//!
//! What lives here: [`compile`], which turns the policies that apply to a tenant in one namespace into the lists of a
//! TenantGuard (`index` builds them), and [`manifests`], the fixed ValidatingAdmissionPolicies that read them. And for a webhook
//! that does the same: the [`Evaluator`], which judges an object by the policies themselves, and [`hooks`], what the API server
//! asks about. What does not: any decision of its own. A list is looked up in CEL exactly as
//! [`ask`](crate::ask) asks the patterns, and suites on a real API server hold all of them together.
//!
//! Calls go one way: [`compile`] and the [`Evaluator`] read `set`, `placement` and the patterns; [`manifests`] reads
//! [`flux_object`](crate::flux_object), whose table of fields `flux_fields` translates. `network` knows which NetworkPolicies
//! an agent's pods would feel.

mod cel;
mod evaluator;
mod flux_fields;
mod index;
mod network;
mod owned;
mod policies;
mod webhooks;

pub use evaluator::{Evaluator, Refusal, Residents, User};
pub use owned::{ADMINISTER, MAINTAIN, RESERVED_PREFIX, reserved_name};
pub use policies::{CONTROLLERS, Document, EXEMPT, manifests};
pub use webhooks::{Answers, GuardHook, hooks};

use std::collections::BTreeMap;

use sluicegate_crds::{GuardedImages, GuardedList, GuardedSources, PatternIndex, SourceKind, TenantGuardSpec, bounds};

use crate::{
    compile::{CompiledPolicy, Rules},
    facts::Facts,
    grammar::{Bindings, ClusterId, ImagePattern, NamespaceName, TenantName, UrlPattern},
    image, placement,
    rule::Rule,
    set::{PolicySet, Selection},
    source,
    verdict::Violation,
};
use index::Builder;

/// What a TenantGuard may be in bytes, of the 1.5 MiB that the API server stores.
const LARGEST: usize = 1_000_000;

/// Whether an API group is one of Flux.
pub fn is_flux(group: &str) -> bool {
    policies::FLUX_GROUPS.contains(&group)
}

/// Whether objects of an API group and resource are NetworkPolicies.
pub fn is_network_policy(group: &str, resource: &str) -> bool {
    (group, resource) == ("networking.k8s.io", "networkpolicies")
}

/// Whether objects of an API group and resource are judged by more than what their pods name.
pub fn is_read_whole(group: &str, resource: &str) -> bool {
    is_flux(group) || is_network_policy(group, resource)
}

/// A namespace and whom it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Ward<'w> {
    /// The tenant.
    pub tenant: &'w TenantName,
    /// The tenant's namespaces on the management cluster: their labels choose the policies. Where there are several, what
    /// applies to one applies to all that the tenant has here.
    pub homes: &'w [&'w str],
    /// The cluster.
    pub cluster: &'w ClusterId,
    /// The namespace on it.
    pub namespace: &'w NamespaceName,
    /// What the FluxConfigs that deploy here narrow to: `None` where one does not narrow, or there is none.
    pub narrowing: Option<&'w [ImagePattern]>,
}

/// Compiles what a tenant may in a namespace. Where the engine would answer every question with the same no, that no is the
/// `refusal`. The fields that are the cluster's own
/// (`operator`, `accounts`, `images.agent`) are left empty.
pub fn compile(ward: &Ward<'_>, policies: &PolicySet, facts: &Facts) -> TenantGuardSpec {
    let mut spec = TenantGuardSpec {
        tenant: ward.tenant.to_string(),
        cluster: ward.cluster.to_string(),
        operator: String::new(),
        accounts: Vec::new(),
        refusal: String::new(),
        images: GuardedImages::default(),
        sources: GuardedSources::default(),
    };
    match lists(ward, policies, facts) {
        Ok((images, sources)) => {
            spec.images = images;
            spec.sources = sources;
        }
        Err(violation) => {
            let mut refusal = violation.to_string();
            if refusal.len() > bounds::PATH {
                refusal = format!("nothing is allowed here [{}]", violation.rule);
            }
            spec.refusal = refusal;
        }
    }
    spec
}

/// The policies that apply to a ward, where its tenant may deploy there at all.
fn selection<'p>(ward: &Ward<'_>, policies: &'p PolicySet, facts: &Facts) -> Result<Selection<'p>, Box<Violation>> {
    let own = [ward.tenant.as_str()];
    let homes = if ward.homes.is_empty() { &own[..] } else { ward.homes };
    let mut selected: Vec<Selection<'_>> = Vec::new();
    let mut none = None;
    for home in homes {
        match policies.select(ward.tenant, facts.labels(home)) {
            Ok(selection) => selected.push(selection),
            Err(violation) if violation.rule == Rule::NoPolicy => none = Some(violation),
            Err(violation) => return Err(Box::new(violation)),
        }
    }
    if let (Some(violation), []) = (none, &selected[..]) {
        return Err(Box::new(violation));
    }
    let selected = match &selected[..] {
        [one] => one.clone(),
        several => Selection::union(several),
    };
    let everywhere = selected.everywhere();
    let labels = facts.cluster_labels(ward.cluster.as_str());
    if !placement::usable(&everywhere, ward.cluster.as_str(), labels) {
        return Err(Box::new(placement::not_usable(&everywhere, ward.tenant, ward.cluster.as_str(), facts)));
    }
    placement::destination(&everywhere, ward.tenant, (ward.cluster, labels), ward.namespace, (true, true))?;
    Ok(selected.on(ward.cluster.as_str(), labels))
}

fn lists(
    ward: &Ward<'_>,
    policies: &PolicySet,
    facts: &Facts,
) -> Result<(GuardedImages, GuardedSources), Box<Violation>> {
    let selected = selection(ward, policies, facts)?;
    let bindings =
        Bindings { tenant: ward.tenant.as_str(), namespace: ward.namespace.as_str(), cluster: ward.cluster.as_str() };
    let mut size = 0;
    let mut finish = |field: &str, builder: Builder| -> Result<PatternIndex, Box<Violation>> {
        size += builder.size();
        let (shapes, most) = (builder.shapes(), bounds::GUARD_SHAPES);
        let index = builder.finish().filter(|_| size <= LARGEST);
        index.ok_or_else(|| {
            let message = format!(
                "the patterns of all policies for tenant {} have {shapes} shapes and {size} bytes, more than a guard can hold ({most} and {LARGEST})",
                ward.tenant
            );
            Box::new(Violation::new(Rule::OutOfBounds, field.to_owned(), message))
        })
    };
    let (mut allow, mut deny) = (Builder::default(), Builder::default());
    for policy in selected.iter() {
        for (index, pattern) in policy.images.allow.iter().enumerate() {
            allow.allow_image(pattern, &bindings, || format!("FluxPolicy/{} spec.images.allow[{index}]", policy.name));
        }
        for pattern in &policy.images.deny {
            deny.deny_image(pattern, &bindings, || image::denied(&policy.name, pattern));
        }
    }
    let narrow = ward.narrowing.map(|patterns| {
        let mut narrow = Builder::default();
        for pattern in patterns {
            narrow.allow_image(pattern, &bindings, || pattern.as_str().to_owned());
        }
        narrow
    });
    let mut deny_tags = BTreeMap::new();
    for policy in selected.iter() {
        for tag in policy.spec.images.iter().flat_map(|images| &images.deny_tags) {
            deny_tags.entry(tag.clone()).or_insert_with(|| policy.name.to_string());
        }
    }
    let require_digest = selected
        .iter()
        .any(|policy| policy.spec.images.as_ref().and_then(|images| images.require_digest) == Some(true));
    let images = GuardedImages {
        allow: finish("spec.images.allow", allow)?,
        deny: finish("spec.images.deny", deny)?,
        narrow: narrow.map(|narrow| finish("spec.images", narrow)).transpose()?,
        deny_tags,
        require_digest,
        agent: Vec::new(),
    };
    let mut list = |kind: SourceKind, field: &str, of: fn(&CompiledPolicy) -> &Rules<UrlPattern>| {
        let (mut allow, mut deny) = (Builder::default(), Builder::default());
        for policy in selected.iter() {
            for (index, pattern) in of(policy).allow.iter().enumerate() {
                allow.allow_url(pattern, &bindings, || format!("FluxPolicy/{} {field}.allow[{index}]", policy.name));
            }
            for pattern in &of(policy).deny {
                deny.deny_url(pattern, &bindings, || source::denied(&policy.name, kind, pattern));
            }
        }
        let allow = finish(&format!("{field}.allow"), allow)?;
        Ok::<_, Box<Violation>>(GuardedList { allow, deny: finish(&format!("{field}.deny"), deny)? })
    };
    let sources = GuardedSources {
        git: list(SourceKind::Git, "spec.sources.git", |policy| &policy.git)?,
        helm: list(SourceKind::Helm, "spec.sources.helm", |policy| &policy.helm)?,
        oci: list(SourceKind::Oci, "spec.sources.oci", |policy| &policy.oci)?,
        bucket: list(SourceKind::Bucket, "spec.sources.bucket", |policy| &policy.bucket)?,
        require_digest: selected.iter().any(source::requires_digest),
        require_verification: selected.iter().any(source::requires_verification),
    };
    Ok((images, sources))
}
