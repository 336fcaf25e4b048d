//! Large objects of every kind that a process watches, one kind at a time: what ends a process that reads whole lists. Which
//! kinds those are is read in the API server's audit log, so that a kind that is watched some day is not forgotten.

use std::collections::BTreeSet;

use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Map, Value, json};

use super::{service_error, space::Space};
use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};

/// Labels that make an object large. With their entries in `managedFields` it has some 1.4 MB, of 1.5 MiB that etcd takes.
const LABELS: usize = 45_000;
/// Label by which the objects are found again.
const MARK: &str = "sluicegate-e2e/flood";

/// What a process watches: a kind, everywhere or in one namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    group: String,
    version: String,
    plural: String,
    namespace: Option<String>,
}

impl Watched {
    /// All that a user has watched since a cluster started.
    ///
    /// # Errors
    /// Where there is no audit log.
    pub fn by(cluster: &Cluster, user: &str) -> Result<BTreeSet<Watched>> {
        let log = cluster.layout().log("audit");
        let text = std::fs::read_to_string(&log).doing("reading", &log)?;
        let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let watched = entries.filter(|entry| entry["verb"] == "watch" && entry["user"]["username"] == user);
        Ok(watched.map(|entry| Self::read(&entry["objectRef"])).collect())
    }

    fn read(reference: &Value) -> Self {
        let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
        Self {
            group: text("apiGroup"),
            version: text("apiVersion"),
            plural: text("resource"),
            namespace: reference["namespace"].as_str().map(str::to_owned),
        }
    }

    /// For people.
    pub fn name(&self) -> String {
        let place = self.namespace.as_deref().map(|namespace| format!(" in {namespace}"));
        format!("{}.{}{}", self.plural, self.group, place.unwrap_or_default())
    }

    /// Kind and whether it has namespaces, by discovery.
    async fn resource(&self, client: &kube::Client) -> Result<(ApiResource, bool)> {
        let failed = |error| Error::api(format!("discovering {}", self.name()), error);
        let list = if self.group.is_empty() {
            client.list_core_api_resources(&self.version).await.map_err(failed)?
        } else {
            client.list_api_group_resources(&format!("{}/{}", self.group, self.version)).await.map_err(failed)?
        };
        let found = list.resources.into_iter().find(|resource| resource.name == self.plural);
        let found = found.ok_or_else(|| service_error(self.name(), "it is not served"))?;
        let kind = GroupVersionKind::gvk(&self.group, &self.version, &found.kind);
        Ok((ApiResource::from_gvk_with_plural(&kind, &self.plural), found.namespaced))
    }
}

/// What is planted at the same time: with `SLUICEGATE_E2E_FULL` sixty objects of one kind after the other, as many as were reported to end
/// a process; otherwise two of every kind at once, which takes a minute.
pub fn rounds(watched: BTreeSet<Watched>) -> Vec<(usize, Vec<Watched>)> {
    if std::env::var_os("SLUICEGATE_E2E_FULL").is_some() {
        watched.into_iter().map(|one| (60, vec![one])).collect()
    } else {
        vec![(2, watched.into_iter().collect())]
    }
}

/// For people: what a round plants.
pub fn named(count: usize, watched: &[Watched]) -> String {
    let names: Vec<String> = watched.iter().map(Watched::name).collect();
    format!("{count} large each of {}", names.join(", "))
}

/// Large objects of one kind, until [`Flood::end`].
#[derive(Debug)]
pub struct Flood {
    api: Api<DynamicObject>,
}

impl Flood {
    /// Makes so many of them. They carry both labels of what Sluicegate renders; `scratch` is where those go that nobody says
    /// a namespace for.
    ///
    /// # Errors
    /// Where one is refused: then somebody has to say here how one is made.
    pub async fn of(space: &Space, watched: &Watched, scratch: &str, count: usize) -> Result<Flood> {
        let client = space.client();
        let (resource, namespaced) = watched.resource(&client).await?;
        let api = if namespaced {
            let namespace = watched.namespace.as_deref().unwrap_or(scratch);
            Api::namespaced_with(client, namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        };
        for number in 0..count {
            let mut labels: Map<String, Value> = (0..LABELS).map(|label| (format!("k{label:07}"), json!(""))).collect();
            for (label, value) in [
                (MARK, "large"),
                ("app.kubernetes.io/managed-by", "sluicegate"),
                ("sluicegate.dev/agent", "sluicegate-nobody"),
            ] {
                labels.insert(label.to_owned(), json!(value));
            }
            let mut object = body(&resource.kind);
            object["apiVersion"] = json!(resource.api_version);
            object["kind"] = json!(resource.kind);
            object["metadata"] = json!({"name": format!("{}-large-{number}", space.prefix()), "labels": labels});
            let object = serde_json::from_value(object).map_err(|error| service_error("an object", error))?;
            let made = api.create(&PostParams::default(), &object).await;
            made.map_err(|error| Error::api(format!("making a large {}", resource.kind), error))?;
        }
        Ok(Flood { api })
    }

    /// Takes them away, and waits until they are gone.
    ///
    /// # Errors
    /// Where the API server does not do so.
    pub async fn end(self, space: &Space) -> Result<()> {
        let large = ListParams::default().labels(MARK);
        let failed = |error| Error::api("taking large objects away", error);
        let named = async || -> Result<Vec<String>> {
            let left = self.api.list_metadata(&large.clone().limit(500)).await.map_err(failed)?;
            Ok(left.items.into_iter().filter_map(|object| object.metadata.name).collect())
        };
        for name in named().await? {
            self.api.delete(&name, &DeleteParams::background()).await.map_err(failed)?;
        }
        space.wait("the end of large objects", 120, || async { Ok(named().await?.is_empty().then_some(())) }).await
    }
}

/// The least that an API server takes of a kind, beside metadata.
fn body(kind: &str) -> Value {
    let source = json!({"kind": "GitRepository", "name": "none"});
    match kind {
        "Service" => json!({"spec": {"ports": [{"port": 1}]}}),
        "RoleBinding" => {
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "none"}})
        }
        "NetworkPolicy" => json!({"spec": {"podSelector": {}}}),
        "Deployment" => json!({"spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "none"}},
            "template": {"metadata": {"labels": {"app": "none"}}, "spec": {"containers": [{"name": "none", "image": "none"}]}},
        }}),
        "GitRepository" => json!({"spec": {"interval": "1h", "url": "https://git.example.com/none", "suspend": true}}),
        "OCIRepository" => {
            json!({"spec": {"interval": "1h", "url": "oci://registry.example.com/none", "suspend": true}})
        }
        "HelmRepository" => {
            json!({"spec": {"interval": "1h", "url": "https://charts.example.com/none", "suspend": true}})
        }
        "Bucket" => {
            json!({"spec": {"interval": "1h", "endpoint": "s3.example.com", "bucketName": "none", "suspend": true}})
        }
        "HelmChart" => json!({"spec": {"interval": "1h", "chart": "none", "sourceRef": source, "suspend": true}}),
        "Kustomization" => json!({"spec": {"interval": "1h", "prune": false, "sourceRef": source, "suspend": true}}),
        "HelmRelease" => {
            json!({"spec": {"interval": "1h", "suspend": true, "chart": {"spec": {"chart": "none", "sourceRef": source}}}})
        }
        "FluxConfig" => json!({"spec": {"source": {"url": "https://git.example.com/nobody/none"}}}),
        "FluxPolicy" => json!({"spec": {"tenants": {"names": ["nobody"]}}}),
        "FluxCluster" => json!({"spec": {"connection": {"kubeconfig": {"secretRef": {"name": "none"}}}}}),
        "TenantGuard" => {
            let none = json!({"shapes": []});
            let list = json!({"allow": none, "deny": none});
            json!({"spec": {
                "tenant": "nobody", "cluster": "local", "operator": "nobody", "accounts": [], "refusal": "none",
                "images": {"allow": none, "deny": none, "denyTags": {}, "requireDigest": false, "agent": []},
                "sources": {"git": list, "helm": list, "oci": list, "bucket": list, "requireVerification": false, "requireDigest": false},
            }})
        }
        _ => json!({}),
    }
}
