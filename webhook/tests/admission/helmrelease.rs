//! HelmReleases in tenants' namespaces.

use serde_json::json;

use super::world::{accepts_fields, rejects_fields};

const API: &str = "helm.toolkit.fluxcd.io/v2";

#[test]
fn rejects_fields_that_reach_past_every_list() {
    let spec = json!({"interval": "1m", "chartRef": {"kind": "OCIRepository", "name": "x"}});
    rejects_fields(
        API,
        "HelmRelease",
        spec,
        &[
            ("serviceAccountName", json!("default"), "spec.serviceAccountName: "),
            ("kubeConfig", json!({"secretRef": {"name": "x"}}), "spec.kubeConfig: "),
            ("targetNamespace", json!("kube-system"), "spec.targetNamespace: "),
            ("storageNamespace", json!("kube-system"), "spec.storageNamespace: "),
            ("valuesFrom", json!([{"kind": "Secret", "name": "x"}]), "spec.valuesFrom[0].kind: "),
            (
                "valuesFrom",
                json!([{"kind": "ConfigMap", "name": "x"}, {"kind": "ConfigMap", "name": "sluicegate-values"}]),
                "spec.valuesFrom[1].name: ",
            ),
            ("dependsOn", json!([{"name": "x", "namespace": "team-b"}]), "spec.dependsOn[0].namespace: "),
            (
                "chart",
                json!({"metadata": {"labels": {"sluicegate.dev/tenant": "team-a"}}, "spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x"}}}),
                "spec.chart.metadata.labels: ",
            ),
            (
                "chart",
                json!({"spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x"}, "verify": {"provider": "cosign", "secretRef": {"name": "x"}}}}),
                "spec.chart.spec.verify.secretRef: ",
            ),
            ("brandNew", json!(false), "spec.brandNew: policy has no rule for this field of kind HelmRelease"),
            (
                "chartRef",
                json!({"kind": "OCIRepository", "name": "x", "namespace": "team-b"}),
                "spec.chartRef.namespace: ",
            ),
            (
                "chart",
                json!({"spec": {"chart": "x", "sourceRef": {"kind": "HelmRepository", "name": "x", "namespace": "team-b"}}}),
                "spec.chart.spec.sourceRef.namespace: ",
            ),
        ],
    );
}

#[test]
fn accepts_what_sluicegate_would_say() {
    let spec = json!({"interval": "1m", "chartRef": {"kind": "OCIRepository", "name": "x"}});
    accepts_fields(
        API,
        "HelmRelease",
        spec,
        &[
            ("serviceAccountName", json!("sluicegate-reconciler")),
            ("targetNamespace", json!("team-a")),
            ("storageNamespace", json!("team-a")),
            ("install", json!({"crds": "Skip", "remediation": {"retries": 3}})),
            ("postRenderers", json!([{"kustomize": {"patches": [{"patch": "x", "target": {"kind": "Deployment"}}]}}])),
            ("valuesFrom", json!([{"kind": "ConfigMap", "name": "x"}])),
            // Values are the chart's, whatever they look like.
            (
                "values",
                json!({"serviceAccountName": "x", "containers": [{"image": "evil.example/x"}], "kubeConfig": {"a": 1}}),
            ),
        ],
    );
}
