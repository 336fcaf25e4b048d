//! Flux objects of others in an agent's namespace: what a team wrote beside ours, and what controllers made of ours. With the
//! namespace they go too, and must go first: their finalizers are the agent's to take away, and hold the namespace when it is
//! gone.

use serde_json::Value;

use crate::cluster::{ApiResult, ClusterClient, lean::Reading};

/// Kinds that carry finalizers of Flux: group, version, plural, kind. Those that deploy come first, and use the others.
const DEPLOY: &[(&str, &str, &str, &str)] = &[
    ("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization"),
    ("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease"),
    ("image.toolkit.fluxcd.io", "v1", "imageupdateautomations", "ImageUpdateAutomation"),
];
const OTHERS: &[(&str, &str, &str, &str)] = &[
    ("source.toolkit.fluxcd.io", "v1", "buckets", "Bucket"),
    ("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository"),
    ("source.toolkit.fluxcd.io", "v1", "helmcharts", "HelmChart"),
    ("source.toolkit.fluxcd.io", "v1", "helmrepositories", "HelmRepository"),
    ("source.toolkit.fluxcd.io", "v1", "ocirepositories", "OCIRepository"),
    ("image.toolkit.fluxcd.io", "v1", "imagepolicies", "ImagePolicy"),
    ("image.toolkit.fluxcd.io", "v1", "imagerepositories", "ImageRepository"),
    ("notification.toolkit.fluxcd.io", "v1", "receivers", "Receiver"),
    ("notification.toolkit.fluxcd.io", "v1beta3", "alerts", "Alert"),
    ("notification.toolkit.fluxcd.io", "v1beta3", "providers", "Provider"),
];

/// The kinds beside those that are rendered, for the operator's rights: group and plural.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    DEPLOY.iter().chain(OTHERS).map(|(group, _, plural, _)| (*group, *plural))
}

struct Guest {
    name: String,
    uid: String,
    deleting: bool,
}

impl Guest {
    fn read(object: &Value) -> Self {
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), uid: text("uid"), deleting: metadata["deletionTimestamp"].is_string() }
    }
}

/// Has the Flux objects in a namespace deleted, those that deploy before the others; what is still there, for people.
///
/// # Errors
/// Of the first request that failed.
pub async fn see_off(client: &ClusterClient, namespace: &str) -> ApiResult<Vec<String>> {
    for kinds in [DEPLOY, OTHERS] {
        let mut left = Vec::new();
        for (group, version, plural, kind) in kinds {
            let path = format!("/apis/{group}/{version}/namespaces/{namespace}/{plural}");
            let objects = match client.list(&path, None, &Reading::IDENTITY, |object| Some(Guest::read(object))).await {
                Err(error) if error.is_not_found() => continue,
                objects => objects?,
            };
            for Guest { name, uid, deleting } in objects {
                if !deleting {
                    client.delete_path(&path, &name, &uid).await?;
                }
                left.push(format!("{kind} {namespace}/{name}"));
            }
        }
        if !left.is_empty() {
            return Ok(left);
        }
    }
    Ok(Vec::new())
}
