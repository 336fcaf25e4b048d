//! Kustomizations of Flux in tenants' namespaces.

use serde_json::json;

use super::world::{accepts_fields, rejects_fields};

const API: &str = "kustomize.toolkit.fluxcd.io/v1";

#[test]
fn rejects_fields_that_reach_past_every_list() {
    let spec = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "x"}});
    rejects_fields(
        API,
        "Kustomization",
        spec,
        &[
            ("serviceAccountName", json!("default"), "spec.serviceAccountName: the agent impersonates"),
            ("kubeConfig", json!({"secretRef": {"name": "x"}}), "spec.kubeConfig: "),
            ("kubeConfig", json!({"configMapRef": {"name": "x"}}), "spec.kubeConfig: "),
            ("targetNamespace", json!("kube-system"), "spec.targetNamespace: "),
            (
                "sourceRef",
                json!({"kind": "GitRepository", "name": "x", "namespace": "team-b"}),
                "spec.sourceRef.namespace: ",
            ),
            (
                "decryption",
                json!({"provider": "sops", "secretRef": {"name": "sluicegate-sops"}}),
                "spec.decryption.secretRef.name: ",
            ),
            (
                "postBuild",
                json!({"substituteFrom": [{"kind": "ConfigMap", "name": "sluicegate-x"}]}),
                "spec.postBuild.substituteFrom[0].name: ",
            ),
            (
                "decryption",
                json!({"provider": "sops", "serviceAccountName": "x"}),
                "spec.decryption.serviceAccountName: ",
            ),
            ("components", json!(["../x", "https://evil.example/x"]), "spec.components[1]: "),
            (
                "healthChecks",
                json!([{"kind": "Deployment", "name": "x", "namespace": "team-b"}]),
                "spec.healthChecks[0].namespace: ",
            ),
            ("commonMetadata", json!({"labels": {"sluicegate.dev/config": "x"}}), "spec.commonMetadata.labels: "),
            ("brandNew", json!([]), "spec.brandNew: policy has no rule for this field of kind Kustomization"),
            (
                "postBuild",
                json!({"substituteFrom": [{"kind": "ConfigMap", "name": "x"}, {"kind": "Secret", "name": "x"}]}),
                "spec.postBuild.substituteFrom[1].kind: ",
            ),
        ],
    );
}

#[test]
fn accepts_what_sluicegate_would_say() {
    let spec = json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "x"}});
    accepts_fields(
        API,
        "Kustomization",
        spec,
        &[
            ("serviceAccountName", json!("sluicegate-reconciler")),
            ("targetNamespace", json!("team-a")),
            ("sourceRef", json!({"kind": "GitRepository", "name": "x", "namespace": "team-a"})),
            ("decryption", json!({"provider": "sops", "secretRef": {"name": "own"}})),
            ("postBuild", json!({"substitute": {"a": "b"}, "substituteFrom": [{"kind": "ConfigMap", "name": "x"}]})),
        ],
    );
}
