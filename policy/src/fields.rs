//! The effective configuration as a list of texts, for `explain` and for the status.

use std::collections::BTreeMap;

use sluicegate_crds::Placement;

use crate::{
    grammar::format_duration,
    reference, source,
    verdict::{Field, Origin, Resolved, Standing, Terms, VerificationPlan},
};

type Entry = (&'static str, String, Origin);

/// Fields with values and origins, placement first. The destructuring has no `..`, so that a new field must be listed or
/// passed over on purpose.
pub(crate) fn list(resolved: &Resolved) -> Vec<Entry> {
    let Resolved {
        tenant: _,
        home: _,
        name: _,
        cluster,
        namespace,
        url,
        source_allowed_by: _,
        reference,
        path,
        chart,
        credentials,
        verification,
        depends_on,
        substitute,
        decryption,
        image_updates,
        images,
        terms,
    } = resolved;
    let Terms {
        create_namespace,
        own_home: _,
        kind,
        interval,
        retry_interval,
        timeout,
        prune,
        wait,
        notify,
        ttl,
        deletion,
        suspend,
        standing,
    } = &**terms;
    let Standing { remote_bases: _, quota, role, on_violation, agent } = &**standing;
    let mut list: Vec<Entry> = Vec::with_capacity(32);
    let config = |field, value: String| (field, value, Origin::FluxConfig);
    list.push(config("spec.source.url", url.to_string()));
    list.push(entry("spec.source.kind", kind, |kind| source::name(*kind).to_owned()));
    list.extend(reference.as_ref().map(|field| {
        entry("spec.source.ref", field, |value| {
            reference::parts(value).map(|(name, text)| format!("{name}: {text}")).collect::<Vec<_>>().join(", ")
        })
    }));
    list.extend(path.as_ref().map(|field| entry("spec.path", field, ToString::to_string)));
    list.push(entry("spec.cluster", cluster, ToString::to_string));
    list.push(entry("spec.namespace", namespace, ToString::to_string));
    if let Some(chart) = chart {
        list.extend(chart.name.as_ref().map(|name| config("spec.chart.name", name.clone())));
        list.extend(chart.version.as_ref().map(|version| config("spec.chart.version", version.clone())));
    }
    list.extend(credentials.as_ref().map(|field| entry("credentials", field, ToString::to_string)));
    list.extend(verification.as_ref().map(|field| entry("spec.source.verify", field, verification_text)));
    list.push(entry("spec.interval", interval, |value| format_duration(*value)));
    list.extend(
        retry_interval.as_ref().map(|field| entry("spec.retryInterval", field, |value| format_duration(*value))),
    );
    list.extend(timeout.as_ref().map(|field| entry("spec.timeout", field, |value| format_duration(*value))));
    list.push(entry("spec.prune", prune, ToString::to_string));
    list.push(entry("spec.wait", wait, ToString::to_string));
    if !images.is_empty() {
        list.push(config("spec.images", images.join(", ")));
    }
    if !depends_on.is_empty() {
        list.push(config("spec.dependsOn", depends_on.join(", ")));
    }
    if !substitute.is_empty() {
        let names: Vec<&str> = substitute.keys().map(String::as_str).collect();
        list.push(config("spec.substitute", names.join(", ")));
    }
    list.extend(
        decryption.as_ref().map(|field| entry("spec.decryption", field, |plan| format!("sops, key {}", plan.keys))),
    );
    if let Some(updates) = image_updates {
        let images: Vec<&str> = updates.images.iter().map(|update| update.image.as_str()).collect();
        list.push(config("spec.imageUpdates", images.join(", ")));
    }
    if !notify.is_empty() {
        let names: Vec<&str> = notify.iter().map(|subscription| subscription.channel.name.as_str()).collect();
        list.push(config("spec.notify", names.join(", ")));
    }
    list.extend(ttl.map(|ttl| config("spec.ttl", format_duration(ttl))));
    list.push(entry("spec.deletion", deletion, |value| format!("{value:?}")));
    if *suspend {
        list.push(config("spec.suspend", "true".to_owned()));
    }
    list.push(entry("createNamespace", create_namespace, ToString::to_string));
    list.extend(quota.as_ref().map(|field| entry("quota", field, quantities)));
    list.push(entry("role", role, Clone::clone));
    list.push(entry("onViolation", on_violation, |value| format!("{value:?}")));
    list.push(entry("agent.placement", &agent.placement, |value| format!("{value:?}")));
    if agent.placement.value == Placement::Pooled {
        list.push(entry("agent.pools", &agent.pools, ToString::to_string));
    }
    list.extend(agent.version.as_ref().map(|field| entry("agent.version", field, Clone::clone)));
    list.extend(agent.components.as_ref().map(|field| {
        entry("agent.components", field, |value| {
            value.iter().map(|component| format!("{component:?}").to_lowercase()).collect::<Vec<_>>().join(", ")
        })
    }));
    list.push(entry("agent.imageRegistry", &agent.image_registry, Clone::clone));
    list.extend(agent.concurrency.as_ref().map(|field| entry("agent.concurrency", field, ToString::to_string)));
    list.extend(agent.resources.as_ref().map(|field| {
        entry("agent.resources", field, |value| {
            format!("requests {}; limits {}", quantities(&value.requests), quantities(&value.limits))
        })
    }));
    list.extend(agent.egress.as_ref().map(|field| entry("agent.egress", field, ToString::to_string)));
    list.extend(
        agent.sleep_after.as_ref().map(|field| entry("agent.sleepAfter", field, |value| format_duration(*value))),
    );
    list
}

fn quantities(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(name, quantity)| format!("{name} {quantity}")).collect::<Vec<_>>().join(", ")
}

fn entry<T>(name: &'static str, field: &Field<T>, show: impl FnOnce(&T) -> String) -> Entry {
    (name, show(&field.value), field.origin.clone())
}

fn verification_text(plan: &VerificationPlan) -> String {
    match plan {
        VerificationPlan::Git { mode, keys } => format!("{mode:?}, keys {keys}"),
        VerificationPlan::Oci { provider, keys: Some(keys), .. } => format!("{provider:?}, keys {keys}").to_lowercase(),
        VerificationPlan::Oci { provider, keys: None, .. } => format!("{provider:?}, keyless").to_lowercase(),
    }
}
