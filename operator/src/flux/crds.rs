//! Flux' CustomResourceDefinitions: which there are, and how they are found among the manifests of a release.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::object::{MANAGED_BY_LABEL, MANAGER};

/// All of them, by name. What else is in an artifact is never applied.
pub const NAMES: [&str; 15] = [
    "alerts.notification.toolkit.fluxcd.io",
    "artifactgenerators.source.extensions.fluxcd.io",
    "buckets.source.toolkit.fluxcd.io",
    "externalartifacts.source.toolkit.fluxcd.io",
    "gitrepositories.source.toolkit.fluxcd.io",
    "helmcharts.source.toolkit.fluxcd.io",
    "helmreleases.helm.toolkit.fluxcd.io",
    "helmrepositories.source.toolkit.fluxcd.io",
    "imagepolicies.image.toolkit.fluxcd.io",
    "imagerepositories.image.toolkit.fluxcd.io",
    "imageupdateautomations.image.toolkit.fluxcd.io",
    "kustomizations.kustomize.toolkit.fluxcd.io",
    "ocirepositories.source.toolkit.fluxcd.io",
    "providers.notification.toolkit.fluxcd.io",
    "receivers.notification.toolkit.fluxcd.io",
];
/// Without these no agent can deploy anything: an artifact that lacks one is none of Flux.
const NEEDED: [&str; 2] = ["gitrepositories.source.toolkit.fluxcd.io", "kustomizations.kustomize.toolkit.fluxcd.io"];

/// Annotation with the artifact that a CRD is from, digest included.
pub const ARTIFACT_ANNOTATION: &str = "sluicegate.dev/flux-artifact";
/// Those of Flux 2.9 have 1 MiB.
const LARGEST: u64 = 64 << 20;

/// What is applied of the CRDs among the manifests of an archive (tar, gzip), by name.
///
/// # Errors
/// Where it is no such archive, or has not what every agent needs.
pub fn find(archive: &[u8], artifact: &str) -> io::Result<BTreeMap<&'static str, Value>> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive).take(LARGEST));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !entry.header().entry_type().is_file()
            || !path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text)?;
        if !text.contains("CustomResourceDefinition") {
            continue;
        }
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| malformed(format!("{}: {error}", path.display())))?;
        for document in documents.into_iter().filter(|document| document["kind"] == "CustomResourceDefinition") {
            let name = NAMES.iter().find(|name| document["metadata"]["name"] == **name);
            if let Some(name) = name {
                found.insert(*name, manifest(name, document, artifact));
            }
        }
    }
    match NEEDED.iter().find(|name| !found.contains_key(*name)) {
        None => Ok(found),
        Some(missing) => Err(malformed(format!("there is no CustomResourceDefinition {missing} in it"))),
    }
}

fn malformed(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// What is applied of a CRD: what it says of its kind, and whose it is.
fn manifest(name: &str, mut crd: Value, artifact: &str) -> Value {
    let mut labels = crd["metadata"]["labels"].take();
    if !labels.is_object() {
        labels = json!({});
    }
    labels[MANAGED_BY_LABEL] = json!(MANAGER);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "labels": labels, "annotations": {ARTIFACT_ANNOTATION: artifact}},
        "spec": crd["spec"].take(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn finds_the_crds_of_flux_and_nothing_else() {
        let crd = |name: &str| {
            format!(
                "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: {name}\n  \
                 labels: {{app.kubernetes.io/version: v2.9.4}}\n  annotations: {{a: b}}\nspec: {{scope: Namespaced}}\nstatus: {{}}\n"
            )
        };
        let (source, foreign) = (crd(NEEDED[0]), crd("secrets.example.com"));
        let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: all}\n";
        let manifests = format!("---\n{source}---\n{role}---\n{foreign}");
        let (components, other) = (("flux-system/gotk-components.yaml", &*manifests), crd(NEEDED[1]));
        let found = find(&archive(&[components, ("other.yml", &other)]), "oci://x:v2.9.4@sha256:0").unwrap();
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), NEEDED);
        assert_eq!(
            found[NEEDED[0]],
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {
                    "name": NEEDED[0],
                    "labels": {"app.kubernetes.io/version": "v2.9.4", "app.kubernetes.io/managed-by": "sluicegate"},
                    "annotations": {ARTIFACT_ANNOTATION: "oci://x:v2.9.4@sha256:0"},
                },
                "spec": {"scope": "Namespaced"},
            })
        );
    }

    #[test]
    fn an_archive_that_is_none_is_an_error() {
        assert!(find(b"no gzip", "x").is_err());
        let mut plain = GzEncoder::new(Vec::new(), Compression::fast());
        plain.write_all(&[7; 2048]).unwrap();
        assert!(find(&plain.finish().unwrap(), "x").is_err());
        let broken = archive(&[("a.yaml", "kind: CustomResourceDefinition\n  metadata: [")]);
        assert!(find(&broken, "x").unwrap_err().to_string().starts_with("a.yaml: "));
        let other = find(&archive(&[("README.md", "kustomizations")]), "x").unwrap_err().to_string();
        assert!(other.contains(NEEDED[0]), "{other}");
    }

    #[test]
    fn the_names_are_sorted_and_those_that_every_agent_needs_are_among_them() {
        assert!(NAMES.is_sorted());
        assert!(NEEDED.iter().all(|name| NAMES.contains(name)));
        for kind in crate::object::Kind::ALL.iter().filter(|kind| kind.is_flux()) {
            let name = format!("{}.{}", kind.plural(), kind.group());
            assert!(NAMES.contains(&&*name), "{name}");
        }
    }
}
