//! What somebody changes or deletes of what Sluicegate owns is put right within five seconds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::{NODE_ADDRESS, REGISTRY_PORT};
use sluicegate_e2e::suite::snapshot::{Key, Snapshot, differences, essence};

use crate::support::{AGENT_LABEL, Platform, SOON, Tenant, on_plane, seconds, secret};

const LIMIT: Duration = Duration::from_secs(5);

/// A tenant whose agent has an object of every kind that is rendered; gives all of them once nothing moves any more.
async fn everything(platform: &Platform) -> Result<(Tenant, Snapshot)> {
    let tenant = platform.tenant("team").await?;
    platform.policy("teams", &[&tenant], json!({})).await?;
    platform.space.apply(secret(&tenant.name, "values", json!({"values.yaml": "a: b\n"}))).await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "values", "namespace": tenant.name}, "data": {"values.yaml": "a: b\n"}});
    platform.space.apply(map).await?;
    let git = |name: &str| format!("https://git.sluicegate.test/{}/{name}", tenant.name);
    let oci = format!("oci://{NODE_ADDRESS}:{REGISTRY_PORT}/{}/manifests", tenant.name);
    let values = json!([{"kind": "Secret", "name": "values"}, {"kind": "ConfigMap", "name": "values"}]);
    let charts = format!("http://charts.sluicegate.test/{}", tenant.name);
    for (name, spec) in [
        ("git", json!({"source": {"url": git("shop")}})),
        ("oci", json!({"source": {"url": oci, "ref": {"tag": "v1"}}})),
        ("chart", json!({"source": {"kind": "Helm", "url": charts}, "chart": {"name": "web", "valuesFrom": values}})),
    ] {
        tenant.config(name, spec).await?;
        tenant.reaches(name, "Admitted", "True", SOON).await?;
    }
    let mut last = Snapshot::default();
    let mut since = Instant::now();
    let deadline = Instant::now() + Duration::from_secs(SOON);
    while since.elapsed() < Duration::from_secs(3) {
        assert!(Instant::now() < deadline, "the objects of {} do not come to rest", tenant.name);
        let now = owned(platform, &tenant).await?;
        if !last.difference(&now).is_empty() {
            since = Instant::now();
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let kinds: BTreeSet<&str> = last.0.keys().map(|key| key.kind.as_str()).collect();
    for kind in [
        "Namespace",
        "ServiceAccount",
        "RoleBinding",
        "NetworkPolicy",
        "Secret",
        "Service",
        "Deployment",
        "GitRepository",
        "OCIRepository",
        "HelmRepository",
        "Kustomization",
        "HelmRelease",
    ] {
        assert!(kinds.contains(kind), "no {kind} among {kinds:?}");
    }
    Ok((tenant, last))
}

/// What the operator applied for a tenant; nothing of what controllers made of that.
async fn owned(platform: &Platform, tenant: &Tenant) -> Result<Snapshot> {
    let all = Snapshot::take(&platform.space, &[&tenant.name]).await?.owned();
    Ok(all.only(|key, value| {
        let labelled = !value["metadata"]["labels"][AGENT_LABEL].is_null();
        labelled && !["Pod", "ReplicaSet"].contains(&key.kind.as_str())
    }))
}

/// Waits until an object is as it was; how long it took, or what is still wrong.
async fn mended(platform: &Platform, key: &Key, before: &Value) -> std::result::Result<Duration, String> {
    let started = Instant::now();
    loop {
        let found = platform.space.get(&key.api_version, &key.kind, &key.namespace, &key.name).await;
        let mut found = found.map_err(|error| error.to_string())?.unwrap_or_default();
        found["apiVersion"] = before["apiVersion"].clone();
        found["kind"] = before["kind"].clone();
        let wrong = differences("", &comparable(before), &comparable(&found));
        if wrong.is_empty() && found["metadata"]["deletionTimestamp"].is_null() {
            return Ok(started.elapsed());
        }
        if started.elapsed() > LIMIT {
            return Err(format!("{key} after {} s: {}", LIMIT.as_secs(), wrong.join("; ")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Addresses are the cluster's, and new ones after an object was made again.
pub(crate) fn comparable(object: &Value) -> Value {
    let mut object = essence(object);
    if object["kind"] == "Service" {
        for field in ["clusterIP", "clusterIPs"] {
            object["spec"][field] = Value::Null;
        }
    }
    object
}

fn report(what: &str, times: &[(String, Duration)], wrong: &[String]) {
    let slowest = times.iter().max_by_key(|(_, time)| *time);
    if let Some((key, time)) = slowest {
        println!("{what}: {} put right, the slowest in {:.2} s ({key})", times.len(), time.as_secs_f64());
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    assert!(!times.is_empty(), "{what}: nothing was tried");
}

#[test]
fn what_is_deleted_comes_back() {
    on_plane("deleted", async |platform| {
        let (_tenant, before) = everything(&platform).await?;
        let (mut times, mut wrong) = (Vec::new(), Vec::new());
        // A namespace that is being deleted takes everything with it and cannot be called back: see `life`.
        for (key, value) in before.0.iter().filter(|(key, _)| key.kind != "Namespace") {
            platform.space.delete(&key.api_version, &key.kind, &key.namespace, &key.name).await?;
            match mended(&platform, key, value).await {
                Ok(time) => times.push((key.to_string(), time)),
                Err(text) => wrong.push(text),
            }
        }
        report("deleted", &times, &wrong);
        Ok(())
    });
}

#[test]
fn what_is_edited_or_added_to_is_put_back() {
    on_plane("edited", async |platform| {
        let (_tenant, before) = everything(&platform).await?;
        let (mut times, mut wrong) = (Vec::new(), Vec::new());
        let mut edited = BTreeSet::new();
        for (key, value) in &before.0 {
            let edits = edits(key, value);
            for (what, patch) in edits {
                let kind = (key.api_version.as_str(), key.kind.as_str());
                let changed = platform.edit(kind, &key.namespace, &key.name, patch).await?;
                let what = format!("{key}: {what}");
                assert!(
                    !differences("", &comparable(value), &comparable(&changed)).is_empty(),
                    "{what} changed nothing; the test is wrong"
                );
                edited.insert(key.kind.clone());
                match mended(&platform, key, value).await {
                    Ok(time) => times.push((what, time)),
                    Err(text) => {
                        wrong.push(format!("{what}: {text}"));
                        break;
                    }
                }
            }
        }
        println!("edited kinds: {edited:?}");
        report("edited", &times, &wrong);
        Ok(())
    });
}

/// Ways to bend an object, as merge patches.
pub(crate) fn edits(key: &Key, value: &Value) -> Vec<(&'static str, Value)> {
    let longer = |pointer: &str, item: Value| {
        let mut list = value.pointer(pointer).cloned().unwrap_or_else(|| json!([]));
        list.as_array_mut().expect("a list").push(item);
        list
    };
    let mut edits = match key.kind.as_str() {
        // Its tenant's label is no drift: who gives a namespace to another tenant is an administrator, see `tenancy`.
        "Namespace" => Vec::new(),
        "ServiceAccount" => vec![("a pull secret", json!({"imagePullSecrets": [{"name": "evil"}]}))],
        "Role" => {
            let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
            vec![("one more rule", json!({"rules": longer("/rules", all)})), ("no rule", json!({"rules": []}))]
        }
        "RoleBinding" => {
            let user = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "evil"});
            vec![
                ("one more subject", json!({"subjects": longer("/subjects", user)})),
                ("no subject", json!({"subjects": []})),
            ]
        }
        "NetworkPolicy" => vec![
            ("one more way out", json!({"spec": {"egress": longer("/spec/egress", json!({}))}})),
            ("other pods", json!({"spec": {"podSelector": {"matchLabels": {"x": "y"}}}})),
        ],
        "ResourceQuota" => vec![("more pods", json!({"spec": {"hard": {"pods": "500"}}}))],
        "Bucket" => vec![
            ("a proxy", json!({"spec": {"proxySecretRef": {"name": "evil"}}})),
            ("plain HTTP", json!({"spec": {"insecure": true}})),
        ],
        "Secret" => vec![
            ("one more key", json!({"data": {"evil": "eA=="}})),
            (
                "another value",
                json!({"data": {value["data"].as_object().and_then(|data| data.keys().next()).cloned().unwrap_or_default(): "eA=="}}),
            ),
        ],
        "ConfigMap" => vec![("one more key", json!({"data": {"evil": "x"}}))],
        "Service" => vec![
            ("other pods", json!({"spec": {"selector": {"app": "evil"}}})),
            ("an address outside", json!({"spec": {"externalIPs": ["192.0.2.1"]}})),
        ],
        "Deployment" => {
            let containers = "/spec/template/spec/containers";
            let mut image = value.pointer(containers).cloned().unwrap_or_default();
            image[0]["image"] = json!("sluicegate.test/probe:v1");
            let mut arguments = value.pointer(containers).cloned().unwrap_or_default();
            arguments[0]["args"].as_array_mut().expect("arguments").push(json!("--watch-all-namespaces=true"));
            let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
            let evil = json!({"name": "evil", "image": "sluicegate.test/probe:v1"});
            vec![
                ("one more container", pod(json!({"containers": longer(containers, evil.clone())}))),
                ("a container before", pod(json!({"initContainers": [evil]}))),
                ("another image", pod(json!({"containers": image}))),
                ("one more argument", pod(json!({"containers": arguments}))),
                ("the node's network", pod(json!({"hostNetwork": true}))),
                ("another account", pod(json!({"serviceAccountName": "default", "serviceAccount": "default"}))),
                ("no pods", json!({"spec": {"replicas": 0}})),
            ]
        }
        "GitRepository" => vec![
            ("include", json!({"spec": {"include": [{"repository": {"name": "evil"}}]}})),
            ("a proxy", json!({"spec": {"proxySecretRef": {"name": "evil"}}})),
            ("submodules", json!({"spec": {"recurseSubmodules": true}})),
            ("another URL", json!({"spec": {"url": "https://git.sluicegate.test/evil/evil"}})),
            ("suspended", json!({"spec": {"suspend": true}})),
        ],
        "OCIRepository" => vec![
            ("a proxy", json!({"spec": {"proxySecretRef": {"name": "evil"}}})),
            ("plain HTTP", json!({"spec": {"insecure": true}})),
        ],
        "HelmRepository" => vec![
            ("credentials for every host", json!({"spec": {"passCredentials": true}})),
            ("another URL", json!({"spec": {"url": "http://charts.sluicegate.test/evil"}})),
        ],
        "Kustomization" => vec![
            ("another cluster", json!({"spec": {"kubeConfig": {"secretRef": {"name": "evil"}}}})),
            ("another account", json!({"spec": {"serviceAccountName": "evil"}})),
            ("another target", json!({"spec": {"targetNamespace": "evil"}})),
            (
                "a Secret's values",
                json!({"spec": {"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "evil"}]}}}),
            ),
        ],
        "HelmRelease" => vec![
            ("other values", json!({"spec": {"values": {"evil": true}}})),
            ("another cluster", json!({"spec": {"kubeConfig": {"secretRef": {"name": "evil"}}}})),
            ("another storage", json!({"spec": {"storageNamespace": "evil"}})),
        ],
        other => panic!("no edits are known for {other}: add some"),
    };
    // Every object is known by its labels: without them it would be nobody's.
    edits.push(("without a label", json!({"metadata": {"labels": {AGENT_LABEL: null}}})));
    edits.push(("of another agent", json!({"metadata": {"labels": {AGENT_LABEL: "evil"}}})));
    edits.push(("not managed", json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "evil"}}})));
    edits
}

#[test]
fn foreign_labels_and_annotations_stay() {
    on_plane("foreign", async |platform| {
        let (_tenant, before) = everything(&platform).await?;
        let mark = json!({"metadata": {"annotations": {"example.com/mark": "x"}, "labels": {"example.com/mark": "x"}}});
        for key in before.0.keys() {
            platform.edit((&key.api_version, &key.kind), &key.namespace, &key.name, mark.clone()).await?;
        }
        seconds(5).await;
        for key in before.0.keys() {
            let found =
                platform.space.get(&key.api_version, &key.kind, &key.namespace, &key.name).await?.unwrap_or_default();
            for field in ["annotations", "labels"] {
                assert_eq!(found["metadata"][field]["example.com/mark"], "x", "{field} of {key}");
            }
        }
        Ok(())
    });
}
