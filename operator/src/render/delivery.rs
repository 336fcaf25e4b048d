//! What deploys a team's objects: a Kustomization, or a HelmRelease. Applied as the tenant's reconciler, into the target
//! namespace, whatever the team's manifests say.
//!
//! Alerts and image automation, for which FluxConfigs can ask already, belong here too.

use serde_json::{Map, Value, json};
use sluicegate_crds::{AgentComponent, Chart, DeletionPolicy, SourceKind, ValuesKind};
use sluicegate_policy::{Origin, grammar::format_duration};

use super::{
    Absence, Item, Pause, names,
    output::{Output, fields},
    source::Source,
};
use crate::object::{Kind, MANAGED_BY_LABEL};

/// How often a failed installation or upgrade is tried again before it waits for a change.
const RETRIES: u32 = 3;

pub(super) fn render(item: &Item<'_>, source: &Source, all: &[Item<'_>], output: &mut Output<'_>) {
    let resolved = item.resolved;
    let kind = kind(item);
    let common = [
        ("dependsOn", depends_on(item, all)),
        ("interval", Some(json!(format_duration(resolved.terms.interval.value)))),
        (
            "serviceAccountName",
            Some(json!(names::reconciler(resolved.terms.standing.agent.placement.value, item.tenant()))),
        ),
        ("suspend", (item.pause != Pause::Nothing).then_some(json!(true))),
        ("targetNamespace", Some(json!(item.target()))),
        ("timeout", resolved.terms.timeout.as_ref().map(|timeout| json!(format_duration(timeout.value)))),
    ];
    let own = match &resolved.chart {
        None => kustomization(item, source, output),
        Some(chart) => helm_release(item, chart, source, output),
    };
    let mut spec = fields(common);
    if let (Some(spec), Value::Object(own)) = (spec.as_object_mut(), own) {
        spec.extend(own);
    }
    output.add(kind, item.name.clone(), &item.owner, json!({"spec": spec}));
}

fn kind(item: &Item<'_>) -> Kind {
    if item.resolved.chart.is_some() { Kind::HelmRelease } else { Kind::Kustomization }
}

/// Flux waits for objects of the same kind in the same namespace only. For any other FluxConfig the operator waits, and
/// suspends this one meanwhile.
fn depends_on(item: &Item<'_>, all: &[Item<'_>]) -> Option<Value> {
    let resolved = item.resolved;
    let list: Vec<Value> = resolved
        .depends_on
        .iter()
        .filter(|name| {
            let found = all.iter().find(|other| other.resolved.home == resolved.home && *other.resolved.name == **name);
            found.is_some_and(|other| kind(other) == kind(item))
        })
        .map(|name| json!({"name": names::config(resolved, name)}))
        .collect();
    (!list.is_empty()).then(|| json!(list))
}

fn kustomization(item: &Item<'_>, source: &Source, output: &mut Output<'_>) -> Value {
    let resolved = item.resolved;
    let decryption = resolved.decryption.as_ref().map(|plan| {
        // A default is for all teams, also for those that have nothing encrypted.
        let absence = if plan.origin == Origin::FluxConfig { Absence::Wrong } else { Absence::Empty };
        let keys = output.secret(item, &plan.value.keys, AgentComponent::Kustomize, None, absence);
        json!({"provider": plan.value.provider, "secretRef": {"name": keys}})
    });
    // Flux by itself deletes what it deployed where it prunes, and only there.
    let deletion = match (resolved.terms.deletion.value, resolved.terms.prune.value) {
        (DeletionPolicy::Prune, true) => None,
        (DeletionPolicy::Prune, false) => Some(json!("Delete")),
        (DeletionPolicy::Orphan, _) => Some(json!("Orphan")),
    };
    fields([
        ("decryption", decryption),
        ("deletionPolicy", deletion),
        ("force", Some(json!(false))),
        ("path", resolved.path.as_ref().map(|path| json!(path.value))),
        ("postBuild", (!resolved.substitute.is_empty()).then(|| json!({"substitute": resolved.substitute}))),
        ("prune", Some(json!(resolved.terms.prune.value))),
        (
            "retryInterval",
            resolved.terms.retry_interval.as_ref().map(|interval| json!(format_duration(interval.value))),
        ),
        ("sourceRef", Some(reference(item, source))),
        ("wait", resolved.terms.wait.value.then_some(json!(true))),
    ])
}

fn helm_release(item: &Item<'_>, chart: &Chart, source: &Source, output: &mut Output<'_>) -> Value {
    let resolved = item.resolved;
    let Chart { name, version, release_name, values, values_from, values_files } = chart;
    let values_from: Vec<Value> = values_from
        .iter()
        .map(|reference| {
            let kind = match reference.kind {
                ValuesKind::Secret => Kind::Secret,
                ValuesKind::ConfigMap => Kind::ConfigMap,
            };
            let optional = reference.optional.unwrap_or(false);
            let absence = if optional { Absence::Fine } else { Absence::Wrong };
            let name = output.team(item, kind, &reference.name, AgentComponent::Helm, None, absence);
            fields([
                ("kind", Some(json!(reference.kind))),
                ("name", Some(json!(name))),
                ("optional", optional.then_some(json!(true))),
                ("targetPath", reference.target_path.as_ref().map(|path| json!(path))),
                ("valuesKey", reference.values_key.as_ref().map(|key| json!(key))),
            ])
        })
        .collect();
    let (chart, chart_ref) = if source.kind == Kind::OciRepository {
        (None, Some(reference(item, source)))
    } else {
        let of_repository = resolved.terms.kind.value == SourceKind::Helm;
        let path = resolved.path.as_ref().map(|path| &*path.value);
        let spec = fields([
            ("chart", name.as_deref().or(path).map(|chart| json!(chart))),
            ("interval", Some(json!(format_duration(resolved.terms.interval.value)))),
            // In Git a chart changes without a new version.
            ("reconcileStrategy", (!of_repository).then(|| json!("Revision"))),
            ("sourceRef", Some(reference(item, source))),
            ("valuesFiles", (!values_files.is_empty()).then(|| json!(values_files))),
            ("verify", source.chart_verification.clone()),
            ("version", version.as_ref().map(|version| json!(version))),
        ]);
        // helm-controller makes the HelmChart, and gives it these labels only: without the agent's a platform-wide Flux
        // would take it. It is helm-controller's, so it is not marked as managed by Sluicegate.
        let mut labels = item.owner.labels(&output.agent.namespace);
        labels.remove(MANAGED_BY_LABEL);
        (Some(json!({"metadata": {"labels": labels}, "spec": spec})), None)
    };
    let release_name = release_name.clone().unwrap_or_else(|| names::release(resolved));
    fields([
        ("chart", chart),
        ("chartRef", chart_ref),
        ("driftDetection", Some(json!({"mode": "enabled"}))),
        // Kinds are for administrators: the reconciler could not create one.
        ("install", Some(json!({"crds": "Skip", "remediation": {"retries": RETRIES}}))),
        ("releaseName", Some(json!(release_name))),
        // Where it is not said Flux looks for releases in the agent's namespace, where the reconciler may not.
        ("storageNamespace", Some(json!(item.target()))),
        ("upgrade", Some(json!({"crds": "Skip", "remediation": {"retries": RETRIES}}))),
        ("values", values.clone().filter(|values: &Map<_, _>| !values.is_empty()).map(Value::Object)),
        ("valuesFrom", (!values_from.is_empty()).then(|| json!(values_from))),
    ])
}

fn reference(item: &Item<'_>, source: &Source) -> Value {
    json!({"kind": source.kind.name(), "name": item.name})
}
