//! Provider, Alert and Receiver in tenants' namespaces.

use serde_json::json;

use super::world::{accepts_fields, rejects_fields};

const BETA: &str = "notification.toolkit.fluxcd.io/v1beta3";

#[test]
fn events_go_to_channels_of_the_platform() {
    rejects_fields(
        BETA,
        "Provider",
        json!({"type": "slack", "channel": "x"}),
        &[
            ("address", json!("https://hooks.example.com/x"), "spec.address: events go to channels that policy offers"),
            ("secretRef", json!({"name": "x"}), "spec.secretRef: "),
            ("proxy", json!("http://evil.example"), "spec.proxy: "),
            ("serviceAccountName", json!("x"), "spec.serviceAccountName: "),
            ("proxySecretRef", json!({"name": "x"}), "spec.proxySecretRef: "),
            ("certSecretRef", json!({"name": "x"}), "spec.certSecretRef: "),
        ],
    );
}

#[test]
fn events_of_others_are_not_for_this_team() {
    let alert = json!({"providerRef": {"name": "x"}, "eventSources": [{"kind": "GitRepository", "name": "x"}]});
    let sources =
        json!([{"kind": "GitRepository", "name": "x"}, {"kind": "GitRepository", "name": "x", "namespace": "team-b"}]);
    rejects_fields(BETA, "Alert", alert.clone(), &[("eventSources", sources, "spec.eventSources[1].namespace: ")]);
    let own = json!([{"kind": "GitRepository", "name": "*", "namespace": "team-a"}]);
    accepts_fields(BETA, "Alert", alert, &[("eventSources", own)]);
}

#[test]
fn nobody_has_others_reconciled() {
    let receiver =
        json!({"type": "github", "secretRef": {"name": "own"}, "resources": [{"kind": "GitRepository", "name": "x"}]});
    rejects_fields(
        "notification.toolkit.fluxcd.io/v1",
        "Receiver",
        receiver,
        &[
            (
                "resources",
                json!([{"kind": "GitRepository", "name": "x", "namespace": "team-b"}]),
                "spec.resources[0].namespace: ",
            ),
            ("secretRef", json!({"name": "sluicegate-token"}), "spec.secretRef.name: "),
            ("oidcProviders", json!([{"issuerURL": "https://evil.example"}]), "spec.oidcProviders: "),
        ],
    );
}
