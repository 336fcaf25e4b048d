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
            ("valuesFrom", json!([{"kind": "Secret", "name": "x"}]), "spec.valuesFrom[0]: "),
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
            ("valuesFrom", json!([{"kind": "ConfigMap", "name": "x"}])),
            // Values are the chart's, whatever they look like.
            (
                "values",
                json!({"serviceAccountName": "x", "containers": [{"image": "evil.example/x"}], "kubeConfig": {"a": 1}}),
            ),
        ],
    );
}
