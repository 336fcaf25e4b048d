//! What `sluicegate render` prints is what the operator applied.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::{API_PORT, API_SERVICE_ADDRESS, NODE_ADDRESS};
use sluicegate_e2e::suite::operator::{CLUSTER, documents, program};
use sluicegate_e2e::suite::snapshot::{Snapshot, lacks};

use crate::support::{API, Platform, SOON, Tenant, on_plane, secret};

/// Every YAML file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// What `render` prints for the objects of the test as they are on the cluster.
async fn render(platform: &Platform, tenants: &[&Tenant]) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("platform"), folder.path().join("rendered"));
    std::fs::create_dir(&input).expect("a folder");
    let mut objects = vec![platform.space.get(API, "FluxCluster", "", CLUSTER).await?.unwrap_or_default()];
    for policy in
        platform.space.api(API, "FluxPolicy", "").list(&kube::api::ListParams::default()).await.into_iter().flatten()
    {
        objects.push(serde_json::to_value(policy).expect("an object"));
    }
    for tenant in tenants {
        objects.push(platform.space.get("v1", "Namespace", "", &tenant.name).await?.unwrap_or_default());
        for name in ["git", "oci", "chart"] {
            objects.push(tenant.look(name).await?);
        }
    }
    for (number, object) in objects.into_iter().enumerate() {
        let mut object = object;
        object["status"].take();
        object.as_object_mut().expect("an object").remove("status");
        for field in ["managedFields", "resourceVersion", "uid", "generation"] {
            object["metadata"].as_object_mut().expect("metadata").remove(field);
        }
        std::fs::write(input.join(format!("{number}.yaml")), object.to_string()).expect("written");
    }
    let mut command = Command::new(program()?);
    command.arg("render").arg(&input).arg("-o").arg(&output);
    // As `kubectl get service,endpointslices --namespace default` shows them.
    for address in [format!("{API_SERVICE_ADDRESS}:443"), format!("{NODE_ADDRESS}:{API_PORT}")] {
        command.arg("--api-server").arg(format!("{CLUSTER}={address}"));
    }
    let printed = command.output().expect("sluicegate runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(printed.status.success(), "{}{}", text(&printed.stdout), text(&printed.stderr));
    let mut rendered = Vec::new();
    for file in files(&output.join(CLUSTER)) {
        rendered.extend(documents(&std::fs::read_to_string(&file).expect("a file"))?);
    }
    assert!(!rendered.is_empty(), "nothing in {}", output.display());
    Ok(rendered)
}

fn same_as_applied(placement: &'static str) {
    on_plane(&format!("render-{}", placement.to_lowercase()), async |platform| {
        let (one, other) = (platform.tenant("one").await?, platform.tenant("other").await?);
        platform.policy("teams", &[&one, &other], json!({"agent": {"placement": placement}})).await?;
        for tenant in [&one, &other] {
            platform.space.apply(secret(&tenant.name, "values", json!({"values.yaml": "a: b\n"}))).await?;
            let charts = format!("http://charts.sluicegate.test/{}", tenant.name);
            let oci = format!("oci://172.30.0.2:5000/{}/manifests", tenant.name);
            let values = json!([{"kind": "Secret", "name": "values"}]);
            tenant
                .config("git", json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}}))
                .await?;
            tenant.config("oci", json!({"source": {"url": oci, "ref": {"tag": "v1"}}})).await?;
            tenant
                .config(
                    "chart",
                    json!({"source": {"kind": "Helm", "url": charts}, "chart": {"name": "web", "valuesFrom": values}}),
                )
                .await?;
            for name in ["git", "oci", "chart"] {
                tenant.reaches(name, "Admitted", "True", SOON).await?;
            }
        }
        let rendered = render(&platform, &[&one, &other]).await?;
        println!("{placement}: {} objects", rendered.len());
        let same = || async {
            let mut wrong = Vec::new();
            for object in &rendered {
                let text =
                    |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                let (kind, namespace, name) = (text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
                let live = platform.space.get(&text("/apiVersion"), &kind, &namespace, &name).await?;
                match live {
                    None => wrong.push(format!("{kind} {namespace}/{name} is not there")),
                    Some(live) => wrong.extend(lacks(&format!("{kind} {namespace}/{name}: "), object, &live)),
                }
            }
            if wrong.is_empty() {
                Ok(Some(()))
            } else {
                Err(Error::Service { what: "differs".into(), why: wrong.join("\n") })
            }
        };
        platform.space.wait("an applied state like the rendered one", SOON, same).await?;
        // And nothing was applied that is not printed.
        let names: Vec<(String, String, String)> = rendered
            .iter()
            .map(|object| {
                let text =
                    |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                (text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
            })
            .collect();
        let agents: Vec<&str> =
            names.iter().filter(|(kind, ..)| kind == "Namespace").map(|(_, _, name)| name.as_str()).collect();
        let live = Snapshot::take(&platform.space, &agents).await?.owned();
        let more: Vec<String> = live
            .only(|key, value| {
                let applied = !value["metadata"]["labels"][crate::support::AGENT_LABEL].is_null();
                let derived = ["Pod", "ReplicaSet"].contains(&key.kind.as_str());
                applied && !derived && !names.contains(&(key.kind.clone(), key.namespace.clone(), key.name.clone()))
            })
            .0
            .keys()
            .map(ToString::to_string)
            .collect();
        // A rendered Secret is a reference to its original, never its content.
        let copies: Vec<&String> =
            more.iter().filter(|name| !name.starts_with("Secret ") && !name.starts_with("ConfigMap ")).collect();
        assert!(copies.is_empty(), "applied and not printed: {copies:?}");
        Ok(())
    });
}

#[test]
fn render_prints_what_is_applied_in_placement_namespace() {
    same_as_applied("Namespace");
}

#[test]
fn render_prints_what_is_applied_in_placement_isolated() {
    same_as_applied("Isolated");
}

#[test]
fn render_prints_what_is_applied_in_placement_pooled() {
    same_as_applied("Pooled");
}
