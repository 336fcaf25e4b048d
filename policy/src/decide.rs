//! The verdict on one FluxConfig. Read this first.

use std::{borrow::Cow, sync::Arc};

use sluicegate_crds::FluxConfig;

use crate::{
    automation, chart, delivery,
    delivery::Times,
    effective,
    effective::Effective,
    facts::Facts,
    grammar::{NamespaceName, TenantName},
    placement::{Placed, Placement, Placer},
    relations,
    rule::Rule,
    set::{PolicySet, Selection},
    source,
    source::SourceVerdict,
    tenancy,
    verdict::{Addition, Admitted, Blanks, DecryptionPlan, Field, Resolved, Subscription, Terms, Verdict, Violation},
};

/// Completes a FluxConfig from the policies and validates the result against them.
///
/// 1. *identity*: the object has a name, and its namespace says which tenant it is of;
/// 2. *placement*: cluster and namespace, from the policies that apply on every cluster, and whether the tenant may deploy
///    there;
/// 3. everything else, from all policies that apply at that place: source, delivery, chart, automation, and what policies
///    alone decide;
/// 4. *relations*: what it means to the other FluxConfigs.
///
/// All violations are found at once, as far as one does not hide the next. The verdict is a function of the three
/// arguments alone: no clock, no I/O, no order of policies.
pub fn decide(config: &FluxConfig, policies: &PolicySet, facts: &Facts) -> Verdict {
    decide_placed(Placer::new(policies, facts).place(config), facts)
}

/// As [`decide`], for one of many FluxConfigs, whose placement was needed for its [`Declaration`](crate::Declaration)
/// already. Namespaces and clusters in `facts` must be those that it was placed by.
pub fn decide_placed(placed: Placed<'_>, facts: &Facts) -> Verdict {
    let config = placed.config;
    match judge(placed, facts) {
        Ok(judged) => Verdict::Admitted(Box::new(judged.admit(config, facts))),
        Err(found) if found.iter().any(|violation| violation.rule == Rule::UndeterminedSelector) => {
            Verdict::Undetermined(found)
        }
        Err(found) => Verdict::Refused(found),
    }
}

/// The violations of [`decide_placed`], for whoever need not know what an admitted FluxConfig resolves to; none where it is
/// admitted.
pub fn violations(placed: Placed<'_>, facts: &Facts) -> Vec<Violation> {
    judge(placed, facts).err().unwrap_or_default()
}

/// The additions of an admitted FluxConfig, as [`Admitted::additions`] has them, for whoever need not know what it resolves
/// to; none where it is not admitted.
pub fn additions(placed: Placed<'_>, facts: &Facts) -> Vec<Addition> {
    let spec = &placed.config.spec;
    judge(placed, facts).map(|judged| judged.blanks().additions(spec)).unwrap_or_default()
}

/// What the steps found out about a FluxConfig without violations.
struct Judged<'p> {
    place: Placement<'p>,
    source: SourceVerdict<'p>,
    path: Option<Field<Cow<'p, str>>>,
    times: Times,
    decryption: Option<Field<DecryptionPlan>>,
    notify: Vec<Subscription>,
    effective: Effective,
}

fn judge<'p>(placed: Placed<'p>, facts: &Facts) -> Result<Judged<'p>, Vec<Violation>> {
    let Placed { config, placement, writer: user, .. } = placed;
    let mut found = Vec::new();
    identity(config, &mut found);
    let place = match placement {
        Ok(place) => place,
        Err(violations) => {
            found.extend(violations);
            // What does not depend on the place is worth saying all the same.
            found.extend(source::parse(&config.spec.source.url).err());
            return Err(distinct(found));
        }
    };
    found.extend(user.and_then(|user| writer(&place.policies, user, &place.tenant).err()));
    delivery::bounds(config, &mut found);
    let read = source::read(config, &mut found);
    let source = read.as_ref().and_then(|read| source::judge(config, read, &place, &mut found));
    let mut path = None;
    if let Some((url, Field { value: kind, .. })) = &read {
        path = delivery::path(config, *kind, &place).map_err(|violation| found.push(violation)).ok();
        chart::judge(config, url, *kind, &place, &mut found);
    }
    if let Some(source) = &source {
        automation::judge(config, source, &place, &mut found);
    }
    delivery::images(config, &place, &mut found);
    delivery::substitute(config, &mut found);
    let times = delivery::times(config, &place.policies).map_err(|violations| found.extend(violations)).ok();
    let decryption = delivery::decryption(config, &place).map_err(|violation| found.push(violation)).ok();
    let notify = delivery::notify(config, &place.policies).map_err(|violations| found.extend(violations)).ok();
    let effective =
        effective::combine(Some(&config.spec), &place.policies).map_err(|conflicts| found.extend(conflicts)).ok();
    if let Some(effective) = &effective {
        let credentials = source.as_ref().and_then(|source| source.credentials.as_ref());
        let decryption = decryption.as_ref().and_then(Option::as_ref);
        found.extend(effective::exposed(effective, credentials, decryption));
    }
    relations::judge(config, &place, facts, &mut found);

    let (Some(source), Some(path), Some(times), Some(decryption), Some(notify), Some(effective), []) =
        (source, path, times, decryption, notify, effective, found.as_slice())
    else {
        return Err(distinct(found));
    };
    Ok(Judged { place, source, path, times, decryption, notify, effective })
}

impl Judged<'_> {
    fn blanks(&self) -> Blanks<'_> {
        let Placement { cluster, namespace, .. } = &self.place;
        Blanks {
            reference: self.source.reference.as_ref().map(|field| (field.value, &field.origin)),
            path: self.path.as_ref().map(|field| (&*field.value, &field.origin)),
            cluster: (cluster.value.as_str(), &cluster.origin),
            namespace: (namespace.value.as_str(), &namespace.origin),
        }
    }

    fn admit(self, config: &FluxConfig, facts: &Facts) -> Admitted {
        let additions = self.blanks().additions(&config.spec);
        let Self { place, source, path, times, decryption, notify, effective } = self;
        let spec = &config.spec;
        let Effective { prune, wait, deletion, standing } = effective;
        let metadata = &config.metadata;
        let (home, name) =
            facts.name(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        let own_home = tenancy::is_own_home(&place, facts, &home);
        let namespace = place.namespace.map(|namespace| facts.target(&place.cluster.value, namespace));
        let terms = Terms {
            create_namespace: place.granted.create_namespace(),
            own_home,
            kind: source.kind,
            interval: times.interval,
            retry_interval: times.retry_interval,
            timeout: times.timeout,
            prune,
            wait,
            notify: notify.into(),
            ttl: times.ttl,
            deletion,
            suspend: spec.suspend.unwrap_or(false),
            standing,
        };
        let resolved = Resolved {
            home,
            name,
            tenant: place.tenant,
            cluster: place.cluster,
            namespace,
            url: spec.source.url.as_str().into(),
            source_allowed_by: Arc::new(source.allowed_by.field()),
            reference: source.reference.map(|reference| Arc::new(reference.map(Clone::clone))),
            path: path.map(|path| path.map(Box::from)),
            chart: spec.chart.clone(),
            credentials: source.credentials.as_ref().map(|credentials| Arc::new(credentials.secret())),
            verification: source.verification.map(Arc::new),
            depends_on: spec.depends_on.iter().map(|dependency| dependency.name.clone()).collect(),
            substitute: spec.substitute.clone(),
            decryption: decryption.map(Arc::new),
            image_updates: spec.image_updates.clone(),
            images: spec.images.as_slice().into(),
            terms: Arc::new(terms),
        };
        Admitted::new(resolved, additions)
    }
}

/// One field can be found wrong by two steps, in the same words.
fn distinct(found: Vec<Violation>) -> Vec<Violation> {
    let mut kept: Vec<Violation> = Vec::with_capacity(found.len());
    for violation in found {
        if !kept.contains(&violation) {
            kept.push(violation);
        }
    }
    kept
}

/// A FluxConfig is named by a DNS label: it becomes part of the names of Flux objects.
fn identity(config: &FluxConfig, found: &mut Vec<Violation>) {
    let name = config.metadata.name.as_deref().unwrap_or_default();
    if let Err(error) = NamespaceName::check(name) {
        let message = if name.is_empty() {
            "metadata.name is missing".to_owned()
        } else {
            format!("this is no name for a FluxConfig: {}", error.reason())
        };
        found.push(Violation::new(Rule::InvalidName, "metadata.name", message).value(name).help(
            "lowercase letters, digits and - are allowed, at most 63 characters, and the first and last is no -",
        ));
    }
}

fn writer(policies: &Selection<'_>, user: &str, tenant: &TenantName) -> Result<(), Violation> {
    let mut limited = Vec::new();
    let mut allowed = Vec::new();
    for policy in policies.iter().filter(|policy| !policy.spec.writers.is_empty()) {
        if policy.spec.writers.iter().any(|writer| writer == user) {
            return Ok(());
        }
        limited.push(policy.field("spec.writers"));
        allowed.extend(policy.spec.writers.iter().cloned());
    }
    if limited.is_empty() {
        return Ok(());
    }
    Err(Violation::new(
        Rule::WriterNotAllowed,
        "metadata",
        format!("{user} may not write FluxConfigs of tenant {tenant}"),
    )
    .value(user)
    .allowed(source::unique(allowed))
    .decided_by(limited)
    .help("change the file in the platform repository instead, by a merge request"))
}
