//! Flux's controllers in a namespace of their own, for suites that need some Flux and do not test Sluicegate's agents.

use serde_json::{Value, json};

use super::Space;
use crate::error::Result;
use crate::images::flux_image;
use crate::programs::{FLUX, Module};

/// Installs controllers (see [`crate::programs::FLUX`]) that watch only this namespace, and waits until they run. Their
/// account may do everything in the namespace and nothing elsewhere.
///
/// # Errors
/// Where one does not become available.
pub async fn install(space: &Space, namespace: &str, controllers: &[Module]) -> Result<()> {
    space
        .apply(
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "flux", "namespace": namespace}}),
        )
        .await?;
    let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    space.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "flux", "namespace": namespace}, "rules": rules})).await?;
    space
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "flux", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "flux"},
            "subjects": [{"kind": "ServiceAccount", "name": "flux", "namespace": namespace}],
        }))
        .await?;
    for controller in controllers {
        space.apply(deployment(namespace, *controller, &flux_image(*controller)?)).await?;
        for (name, port) in services(*controller) {
            space
                .apply(json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
                    "spec": {"selector": {"app": controller.name}, "ports": [{"name": "http", "port": 80, "targetPort": port}]},
                }))
                .await?;
        }
    }
    for controller in controllers {
        space.condition(("apps/v1", "Deployment", namespace, controller.name), "Available", "True", 180).await?;
    }
    Ok(())
}

/// Every controller.
///
/// # Errors
/// Where one does not become available.
pub async fn install_all(space: &Space, namespace: &str) -> Result<()> {
    install(space, namespace, &FLUX).await
}

fn services(controller: Module) -> Vec<(&'static str, u16)> {
    match controller.name {
        "source-controller" => vec![("source-controller", 9090)],
        "notification-controller" => vec![("notification-controller", 9090), ("webhook-receiver", 9292)],
        _ => Vec::new(),
    }
}

fn deployment(namespace: &str, controller: Module, image: &str) -> Value {
    let name = controller.name;
    let mut arguments = vec![
        "--watch-all-namespaces=false".to_owned(),
        "--log-level=info".into(),
        "--log-encoding=json".into(),
        "--enable-leader-election".into(),
    ];
    if name != "notification-controller" {
        arguments.push(format!("--events-addr=http://notification-controller.{namespace}.svc.cluster.local./"));
    }
    let mut volumes = vec![json!({"name": "tmp", "emptyDir": {}})];
    let mut mounts = vec![json!({"name": "tmp", "mountPath": "/tmp"})];
    if name == "source-controller" {
        arguments.push("--storage-path=/data".into());
        arguments.push(format!("--storage-adv-addr=source-controller.{namespace}.svc.cluster.local."));
    }
    if name == "source-controller" || name == "image-reflector-controller" {
        volumes.push(json!({"name": "data", "emptyDir": {}}));
        mounts.push(json!({"name": "data", "mountPath": "/data"}));
    }
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "healthz"}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 10});
    // Source serves artifacts only as the leader, and is of no use before.
    let ready = if name == "source-controller" {
        json!({"httpGet": {"path": "/", "port": 9090}, "periodSeconds": 1})
    } else {
        probe("/readyz")
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "serviceAccountName": "flux", "terminationGracePeriodSeconds": 5,
                    "securityContext": {"fsGroup": 1337, "runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
                    "volumes": volumes,
                    "containers": [{
                        "name": "manager", "image": image, "imagePullPolicy": "IfNotPresent", "args": arguments, "volumeMounts": mounts,
                        "env": [{"name": "RUNTIME_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
                        "ports": [{"containerPort": 9440, "name": "healthz"}],
                        "readinessProbe": ready,
                        "resources": {"requests": {"cpu": "5m", "memory": "64Mi"}},
                        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                    }],
                },
            },
        },
    })
}
