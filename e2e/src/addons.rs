//! What is put into a new cluster: DNS, the enforcer's rights, Flux's kinds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::Api;
use crate::error::Result;
use crate::images::coredns_image;
use crate::interrupt::wait_for;
use crate::network::{CHARTS_HOST, DNS_ADDRESS, EXAMPLE_GIT_HOST, GIT_HOST, NODE_ADDRESS, NODE_NAME, REGISTRY_HOST};
use crate::programs::Programs;

/// Installs Flux's kinds and waits until they are served.
///
/// # Errors
/// Where the API server refuses one.
pub fn flux_crds(api: &Api, programs: &Programs) -> Result<()> {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut count = 0;
    for text in programs.flux_crds()? {
        api.create(path, &text)?;
        count += 1;
    }
    wait_for("Flux's kinds", Duration::from_secs(180), || {
        let list = api.get(path)?.unwrap_or_default();
        let established = |item: &&Value| has_condition(item, "Established");
        let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(items.iter().filter(established).count() >= count)
    })
}

/// What only a cluster with a node has: the enforcer's rights and DNS.
///
/// # Errors
/// Where the API server refuses one.
pub fn node_addons(api: &Api) -> Result<()> {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    for (name, subject, rules) in [
        (
            "sluicegate-e2e:netpol",
            json!({"kind": "User", "name": "sluicegate-e2e:netpol", "apiGroup": "rbac.authorization.k8s.io"}),
            json!([
                {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["list", "watch"]},
            ]),
        ),
        (
            "system:coredns",
            json!({"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}),
            json!([
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ]),
        ),
    ] {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules});
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}, "subjects": [subject],
        });
        api.create(&format!("{rbac}/clusterroles"), &role.to_string())?;
        api.create(&format!("{rbac}/clusterrolebindings"), &binding.to_string())?;
    }
    for (collection, object) in coredns(&coredns_image()?) {
        api.create(collection, &object.to_string())?;
    }
    Ok(())
}

/// CoreDNS answers for the cluster and for the harness's own servers, and denies every other name at once: nothing is
/// ever asked of a server outside.
fn coredns(image: &str) -> [(&'static str, Value); 4] {
    // One block a zone: inside a block plugins run in CoreDNS's own order, in which `template` would answer first.
    let corefile = format!(
        "cluster.local:53 in-addr.arpa:53 {{\n    errors\n    health :8081 {{\n        lameduck 0s\n    }}\n    ready :8181\n    \
         kubernetes cluster.local in-addr.arpa {{\n        ttl 5\n    }}\n}}\n\
         sluicegate.test:53 kestrel.example:53 {{\n    errors\n    hosts {{\n        {NODE_ADDRESS} {GIT_HOST} {EXAMPLE_GIT_HOST} {CHARTS_HOST} {REGISTRY_HOST}\n    }}\n}}\n\
         .:53 {{\n    errors\n    template ANY ANY {{\n        rcode NXDOMAIN\n    }}\n}}\n"
    );
    let labels = json!({"k8s-app": "kube-dns"});
    let metadata = |name: &str| json!({"name": name, "namespace": "kube-system", "labels": labels});
    let probe =
        |path: &str, port: u16, period: u8| json!({"httpGet": {"path": path, "port": port}, "periodSeconds": period});
    let container = json!({
        "name": "coredns", "image": image, "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}],
        "ports": [{"name": "dns", "containerPort": 53, "protocol": "UDP"}, {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"}],
        "livenessProbe": probe("/health", 8081, 10), "readinessProbe": probe("/ready", 8181, 1),
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "readOnlyRootFilesystem": true},
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("coredns"),
        "spec": {
            "replicas": 1, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "coredns", "priorityClassName": "system-cluster-critical", "dnsPolicy": "Default",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata("kube-dns"),
        "spec": {
            "clusterIP": DNS_ADDRESS, "selector": labels,
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}],
        },
    });
    [
        (
            "/api/v1/namespaces/kube-system/serviceaccounts",
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("coredns")}),
        ),
        (
            "/api/v1/namespaces/kube-system/configmaps",
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("coredns"), "data": {"Corefile": corefile}}),
        ),
        ("/apis/apps/v1/namespaces/kube-system/deployments", deployment),
        ("/api/v1/namespaces/kube-system/services", service),
    ]
}

/// Whether the node is Ready.
///
/// # Errors
/// Where the API server does not answer.
pub fn node_is_ready(api: &Api) -> Result<bool> {
    Ok(api.get(&format!("/api/v1/nodes/{NODE_NAME}"))?.is_some_and(|node| has_condition(&node, "Ready")))
}

/// Whether DNS answers.
///
/// # Errors
/// Where the API server does not answer.
pub fn dns_is_ready(api: &Api) -> Result<bool> {
    Ok(api
        .get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")?
        .is_some_and(|deployment| has_condition(&deployment, "Available")))
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
}
