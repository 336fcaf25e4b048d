//! Flux sources: exactly the text that the engine matched, and nothing that reaches elsewhere.

use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_crds::{AgentComponent, SourceKind};
use sluicegate_policy::{
    grammar::format_duration,
    verdict::{Resolved, VerificationPlan},
};

use super::{
    Absence, Item, Pause,
    output::{DOCKER_CONFIG, Output, fields},
};
use crate::object::Kind;

/// Layer of a chart in an OCI artifact.
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// A rendered source, for those who refer to it.
pub(super) struct Source {
    pub(super) kind: Kind,
    /// Signatures that are checked with the chart, which is where Flux has it for Helm repositories.
    pub(super) chart_verification: Option<Value>,
}

pub(super) fn render(item: &Item<'_>, output: &mut Output<'_>) -> Source {
    let resolved = item.resolved;
    let registry = resolved.terms.kind.value == SourceKind::Oci;
    let secret = resolved.credentials.as_ref().map(|credentials| {
        let type_ = registry.then_some(DOCKER_CONFIG);
        output.credential(item, &credentials.value, type_)
    });
    let verify = resolved.verification.as_ref().map(|plan| verification(item, &plan.value, output));
    let common = [
        ("interval", Some(json!(format_duration(resolved.terms.interval.value)))),
        ("secretRef", secret.map(|name| json!({"name": name}))),
        ("suspend", (item.pause == Pause::Everything).then_some(json!(true))),
        ("timeout", resolved.terms.timeout.as_ref().map(|timeout| json!(without_hours(timeout.value)))),
    ];
    let (kind, own, chart_verification) = match resolved.terms.kind.value {
        SourceKind::Git => {
            let own = [("ref", reference(resolved)), ("url", Some(json!(resolved.url))), ("verify", verify)];
            (Kind::GitRepository, fields(own), None)
        }
        SourceKind::Oci => {
            let layer = resolved.chart.is_some().then(|| json!({"mediaType": CHART_LAYER, "operation": "copy"}));
            let own = [
                ("layerSelector", layer),
                ("ref", reference(resolved)),
                ("url", Some(json!(resolved.url))),
                ("verify", verify),
            ];
            (Kind::OciRepository, fields(own), None)
        }
        SourceKind::Helm => {
            let own = [
                ("type", resolved.url.starts_with("oci://").then(|| json!("oci"))),
                ("url", Some(json!(resolved.url))),
            ];
            (Kind::HelmRepository, fields(own), verify)
        }
        SourceKind::Bucket => {
            // `https://endpoint/bucket`, as the engine has it.
            let place = resolved.url.split_once("://").map_or(&*resolved.url, |(_, place)| place);
            let (endpoint, bucket) = place.split_once('/').unwrap_or((place, ""));
            let insecure = resolved.url.starts_with("http://").then_some(json!(true));
            let own =
                [("bucketName", Some(json!(bucket))), ("endpoint", Some(json!(endpoint))), ("insecure", insecure)];
            (Kind::Bucket, fields(own), None)
        }
    };
    let mut spec = fields(common);
    if let (Some(spec), Value::Object(own)) = (spec.as_object_mut(), own) {
        spec.extend(own);
    }
    output.add(kind, item.name.clone(), &item.owner, json!({"spec": spec}));
    Source { kind, chart_verification }
}

fn reference(resolved: &Resolved) -> Option<Value> {
    resolved.reference.as_ref().map(|reference| json!(reference.value))
}

fn verification(item: &Item<'_>, plan: &VerificationPlan, output: &mut Output<'_>) -> Value {
    match plan {
        VerificationPlan::Git { mode, keys } => {
            let keys = output.secret(item, keys, AgentComponent::Source, None, Absence::Wrong);
            json!({"mode": mode, "secretRef": {"name": keys}})
        }
        VerificationPlan::Oci { provider, keys, identities } => {
            let keys =
                keys.as_ref().map(|keys| output.secret(item, keys, AgentComponent::Source, None, Absence::Wrong));
            let identities: Vec<Value> = identities
                .iter()
                .map(|identity| json!({"issuer": identity.issuer, "subject": identity.subject}))
                .collect();
            fields([
                ("matchOIDCIdentity", (!identities.is_empty()).then(|| json!(identities))),
                ("provider", Some(json!(provider))),
                ("secretRef", keys.map(|name| json!({"name": name}))),
            ])
        }
    }
}

/// Timeouts of sources know no hours.
fn without_hours(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    if hours == 0 {
        return format_duration(duration);
    }
    let minutes = duration.as_secs() / 60;
    let rest = duration - Duration::from_secs(minutes * 60);
    if rest.is_zero() { format!("{minutes}m") } else { format!("{minutes}m{}", format_duration(rest)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_of_hours_is_said_in_minutes() {
        for (seconds, text) in [(90, "1m30s"), (3600, "60m"), (5400, "90m"), (7201, "120m1s")] {
            assert_eq!(without_hours(Duration::from_secs(seconds)), text);
        }
    }
}
