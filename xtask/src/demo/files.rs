//! What the second part adds to the example platform, and what is in the team's own repository.

use serde_json::json;

/// Where the team's program is, as its policies allow it.
pub const IMAGE: &str = "registry.kestrel.example/shop/gift-cards:1.0.0";

/// The cluster `dev` of the example platform, played by the cluster that the operator runs on.
pub const DEV: &str = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxCluster
metadata:
  name: dev
  labels: {environment: dev, region: eu}
spec:
  connection: {inCluster: {}}
  flux: {version: 2.9.3, crds: External}
";

/// What is different here: whence Flux's own images come, which release of it, and who writes FluxConfigs. On a cluster of the
/// reader's also a repository that it can reach, with whatever images that needs.
pub fn here(source: Option<&str>, writer: &str) -> String {
    let mut spec = json!({
        "tenants": {"names": ["shop"]},
        "priority": 100,
        "writers": [writer],
        "agent": {"imageRegistry": "ghcr.io/fluxcd", "version": "2.9.3"},
    });
    if let Some(source) = source {
        spec["sources"] = json!({"git": {"allow": [source]}});
        spec["images"] = json!({"allow": ["**"]});
    }
    json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": "here"}, "spec": spec})
        .to_string()
        + "\n"
}

/// The team's own repository: a Deployment whose pods say a text, and a Service.
pub fn gift_cards(text: &str) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: gift-cards}}
spec:
  selector: {{matchLabels: {{app: gift-cards}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: gift-cards}}}}
    spec:
      terminationGracePeriodSeconds: 0
      automountServiceAccountToken: false
      securityContext: {{runAsNonRoot: true, runAsUser: 65534, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
        - name: gift-cards
          image: {IMAGE}
          env: [{{name: TEXT, value: \"{text}\"}}]
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
          resources: {{requests: {{cpu: 5m, memory: 16Mi}}, limits: {{memory: 64Mi}}}}
          securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: gift-cards}}
spec:
  selector: {{app: gift-cards}}
  ports: [{{port: 80, targetPort: 8080}}]
"
    )
}
