//! What there was when a test failed: events, objects and logs of its namespaces, and the ends of the components' logs.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, ListParams, LogParams};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::Value;

use super::{Space, service_error};
use crate::cluster::artifacts;
use crate::error::{Context, Error, Result};

const COMPONENT_LINES: usize = 300;

pub(super) async fn write(space: &Space) -> Result<PathBuf> {
    let folder = artifacts().join(space.prefix());
    std::fs::create_dir_all(&folder).doing("making", &folder)?;
    let client = space.client();
    let discovery = Discovery::new(client.clone()).run().await.map_err(|error| Error::api("discovery", error))?;
    for namespace in namespaces(space).await {
        let place = folder.join(&namespace);
        std::fs::create_dir_all(&place).doing("making", &place)?;
        for group in discovery.groups() {
            for (resource, capabilities) in group.recommended_resources() {
                if capabilities.scope != Scope::Namespaced || !capabilities.supports_operation(verbs::LIST) {
                    continue;
                }
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
                let Ok(list) = api.list(&ListParams::default()).await else {
                    continue;
                };
                if list.items.is_empty() {
                    continue;
                }
                let name = if resource.group.is_empty() {
                    resource.plural.clone()
                } else {
                    format!("{}.{}", resource.plural, resource.group)
                };
                save(&place.join(format!("{name}.json")), &list.items)?;
                if resource.plural == "events" && resource.group.is_empty() {
                    write_events(&place, &list.items)?;
                }
            }
        }
        write_logs(&client, &namespace, &place).await?;
    }
    if let Some(cluster) = space.cluster() {
        let mut components = cluster.components();
        let logs = std::fs::read_dir(cluster.layout().path("logs")).into_iter().flatten().flatten();
        let logs = logs.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()));
        components.extend(logs.filter(|name| name.starts_with("operator-")));
        for component in components {
            let path = folder.join("components").join(format!("{component}.log"));
            crate::layout::write(&path, cluster.log_tail(&component, COMPONENT_LINES))?;
        }
    }
    Ok(folder)
}

/// Those of the test, and those that others made for it: agents and targets have its names in theirs.
async fn namespaces(space: &Space) -> Vec<String> {
    let mut names = space.namespaces();
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(space.client());
    if let Ok(list) = api.list(&ListParams::default()).await {
        names.extend(list.into_iter().filter_map(|one| one.metadata.name).filter(|name| name.contains(space.prefix())));
    }
    names.sort();
    names.dedup();
    names
}

fn save(path: &Path, items: &[DynamicObject]) -> Result<()> {
    let text = serde_json::to_vec_pretty(items).map_err(|error| service_error(path.display().to_string(), error))?;
    std::fs::write(path, text).doing("writing", path)
}

/// One line an event, in the order of time, for reading.
fn write_events(place: &Path, items: &[DynamicObject]) -> Result<()> {
    let mut lines: Vec<String> = items
        .iter()
        .map(|event| {
            let text = |pointer: &str| event.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let time = event.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
            format!(
                "{time} {} {}/{} {}: {}",
                text("/type"),
                text("/involvedObject/kind"),
                text("/involvedObject/name"),
                text("/reason"),
                text("/message")
            )
        })
        .collect();
    lines.sort();
    let path = place.join("events.txt");
    std::fs::write(&path, lines.join("\n") + "\n").doing("writing", &path)
}

async fn write_logs(client: &kube::Client, namespace: &str, place: &Path) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let Ok(list) = pods.list(&ListParams::default()).await else {
        return Ok(());
    };
    for pod in list {
        let name = pod.metadata.name.unwrap_or_default();
        let spec = pod.spec.unwrap_or_default();
        for container in spec.init_containers.unwrap_or_default().iter().chain(&spec.containers) {
            for previous in [false, true] {
                let parameters =
                    LogParams { container: Some(container.name.clone()), previous, ..LogParams::default() };
                let Ok(text) = pods.logs(&name, &parameters).await else {
                    continue;
                };
                let suffix = if previous { ".previous" } else { "" };
                let path = place.join(format!("{name}.{}{suffix}.log", container.name));
                std::fs::write(&path, text).doing("writing", &path)?;
            }
        }
    }
    Ok(())
}
