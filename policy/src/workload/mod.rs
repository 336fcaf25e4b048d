//! What reaches outside in objects that are no FluxConfigs: images in pods and pod templates of every kind, and Flux
//! objects. It says what to ask; the answers are [`ask`](crate::ask)'s.
//!
//! Calls go one way: `walk` finds pods in any object while it is read, [`Pods`] keeps what they name, `flux` knows Flux objects, `dependencies` the files of charts.
//! They serve [`reaches`], for files, and the [`Evaluator`](crate::guard::Evaluator), for admission.

mod dependencies;
mod flux;
mod pods;
mod walk;

use serde_json::Value;
use sluicegate_crds::SourceKind;

pub use crate::flux_object::RECONCILER;
pub use dependencies::{CHART_FILES, Dependency, dependencies};
pub(crate) use flux::{CHART, FluxObject};
pub use pods::Pods;
use walk::{Named, walk};

use crate::{flux_object::REMOTE_HOSTS, rule::Rule, verdict::Violation};

/// Something in an object that a policy decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An image that a pod would run or mount.
    Image {
        /// Path of the field.
        field: String,
        /// The reference, as it stands.
        image: String,
    },
    /// A source that a Flux object would fetch.
    Source {
        /// Path of the field.
        field: String,
        /// The URL, as it stands.
        url: String,
        /// Kind of the source.
        kind: SourceKind,
    },
    /// Something that policy may ask for, and that an object written by hand has not.
    Bare {
        /// Path of the field.
        field: String,
        /// What it has not.
        lacks: Lacks,
    },
    /// What no team's Flux object may say: it reaches past every list, or nobody knows where it reaches.
    Forbidden(Box<Violation>),
}

/// What a source or a chart in a Flux object that a team writes may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// A digest of the artifact.
    Digest,
    /// A signature by keys of the platform: only a FluxConfig brings these.
    Signature,
}

/// Everything in an object that reaches outside, in the order of the object. Pods are found by their shape and not by the kind
/// around them. Depth is bounded by whoever parsed the object.
pub fn reaches(object: &Value) -> Vec<Reach> {
    let mut found = Vec::new();
    let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
    // Nobody applies a list as an object: its items are asked about one by one.
    let is_list = kind.ends_with("List") && object.get("items").is_some_and(Value::is_array);
    if is_list && is_flux(group) {
        return found;
    }
    if is_flux(group) {
        let namespace = object.get("metadata").and_then(|metadata| metadata.get("namespace")).and_then(Value::as_str);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        flux::reaches(kind, namespace.unwrap_or_default(), spec, None, &mut found);
        return found;
    }
    if group == "kustomize.config.k8s.io" {
        kustomization(object, &mut found);
        return found;
    }
    // A tree can always be read.
    let _ = walk(object, &mut |path, named| {
        if let Named::Image(image) = named {
            found.push(Reach::Image { field: path.to_string(), image: image.into_owned() });
        }
    });
    found
}

/// Whether an API group is one of Flux', of this release or of another.
fn is_flux(group: &str) -> bool {
    group.ends_with(".toolkit.fluxcd.io") || group.ends_with(".extensions.fluxcd.io")
}

/// What a change of a Flux object reaches that it did not reach before.
pub(crate) fn new_reaches(kind: &str, namespace: &str, object: &FluxObject, old: Option<&FluxObject>) -> Vec<Reach> {
    let mut found = Vec::new();
    flux::reaches(kind, namespace, &object.spec, old.map(|old| &old.spec), &mut found);
    found
}

/// `images` of a kustomization replace those of the manifests, and its `resources` may lie elsewhere.
fn kustomization(object: &Value, found: &mut Vec<Reach>) {
    for (index, image) in object.get("images").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let text = |field: &str| image.get(field).and_then(Value::as_str);
        // Without a new name the old one gets a new tag or digest.
        let (key, name) = match (text("newName"), text("name")) {
            (Some(name), _) => ("newName", name),
            (None, Some(name)) if text("newTag").is_some() || text("digest").is_some() => ("name", name),
            (None, _) => continue,
        };
        let reference = match (text("newTag"), text("digest")) {
            (_, Some(digest)) => format!("{name}@{digest}"),
            (Some(tag), None) => format!("{name}:{tag}"),
            (None, None) => name.to_owned(),
        };
        found.push(Reach::Image { field: format!("images[{index}].{key}"), image: reference });
    }
    for list in CHART_LISTS {
        if object.get(list).and_then(Value::as_array).is_some_and(|charts| !charts.is_empty()) {
            found.push(forbidden(
                list.to_owned(),
                "",
                "a kustomization of a team renders no charts: nobody would have checked where they come from",
                "deploy the chart by a FluxConfig with spec.chart",
            ));
        }
    }
    for list in ["resources", "bases", "components", "crds"] {
        for (index, entry) in object.get(list).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let Some(entry) = entry.as_str().filter(|entry| is_remote(entry)) else { continue };
            found.push(forbidden(
                format!("{list}[{index}]"),
                entry,
                "a kustomization of a team loads nothing from elsewhere: nobody would have checked it",
                "copy it into the repository, or sync it with a FluxConfig of its own",
            ));
        }
    }
}

/// Lists of a kustomization that render charts, from wherever they say.
const CHART_LISTS: [&str; 2] = ["helmCharts", "helmChartInflationGenerator"];

/// What kustomize takes for a URL rather than for a path: a scheme, a host in front of a path, `git@`, a `?ref=`.
fn is_remote(entry: &str) -> bool {
    // kustomize compares hosts in lower case.
    let entry = entry.to_ascii_lowercase();
    let first = entry.split('/').next().unwrap_or_default();
    entry.contains("://")
        || entry.contains("git::")
        || entry.contains('@')
        || entry.contains("?ref=")
        || entry.contains("//")
        || REMOTE_HOSTS.iter().any(|host| first.starts_with(host))
}

fn forbidden(field: String, value: &str, message: &str, help: &str) -> Reach {
    let mut violation = Violation::new(Rule::FluxObjectNotAllowed, field, message).help(help);
    if !value.is_empty() {
        violation.value = Some(value.to_owned());
    }
    Reach::Forbidden(Box::new(violation))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn images_of(object: Value) -> Vec<(String, String)> {
        reaches(&object)
            .into_iter()
            .filter_map(|reach| match reach {
                Reach::Image { field, image } => Some((field, image)),
                Reach::Source { .. } | Reach::Bare { .. } | Reach::Forbidden(_) => None,
            })
            .collect()
    }

    #[test]
    fn finds_every_image_of_every_kind_of_workload() {
        let pod = json!({
            "containers": [{"image": "a"}],
            "initContainers": [{"image": "b"}],
            "ephemeralContainers": [{"image": "c"}],
            "volumes": [{"image": {"reference": "d"}}, {"emptyDir": {}}],
        });
        for (object, prefix) in [
            (json!({"apiVersion": "v1", "kind": "Pod", "spec": pod}), "spec"),
            (
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": pod}}}),
                "spec.template.spec",
            ),
            (
                json!({"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}}),
                "spec.jobTemplate.spec.template.spec",
            ),
            (json!({"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": pod}}), "template.spec"),
            (
                json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {"template": {"spec": pod}}}),
                "spec.template.spec",
            ),
        ] {
            let mut found = images_of(object);
            found.sort();
            let field = |rest: &str| format!("{prefix}.{rest}");
            let expected = [
                (field("containers[0].image"), "a"),
                (field("ephemeralContainers[0].image"), "c"),
                (field("initContainers[0].image"), "b"),
                (field("volumes[0].image.reference"), "d"),
            ];
            assert_eq!(found, expected.map(|(field, image)| (field, image.to_owned())));
        }
    }

    #[test]
    fn bans_what_reaches_past_every_list() {
        for (kind, spec, field) in [
            ("source.toolkit.fluxcd.io/v1/GitRepository", json!({"recurseSubmodules": true}), "spec.recurseSubmodules"),
            (
                "source.toolkit.fluxcd.io/v1/GitRepository",
                json!({"include": [{"repository": {"name": "x"}}]}),
                "spec.include",
            ),
            (
                "source.toolkit.fluxcd.io/v1/GitRepository",
                json!({"proxySecretRef": {"name": "x"}}),
                "spec.proxySecretRef",
            ),
            (
                "source.toolkit.fluxcd.io/v1/OCIRepository",
                json!({"insecure": true, "ref": {"digest": "sha256:0"}}),
                "spec.insecure",
            ),
            ("source.toolkit.fluxcd.io/v1/Bucket", json!({"provider": "aws"}), "spec.provider"),
            (
                "kustomize.toolkit.fluxcd.io/v1/Kustomization",
                json!({"kubeConfig": {"secretRef": {"name": "x"}}}),
                "spec.kubeConfig",
            ),
            (
                "kustomize.toolkit.fluxcd.io/v1/Kustomization",
                json!({"targetNamespace": "other"}),
                "spec.targetNamespace",
            ),
            (
                "kustomize.toolkit.fluxcd.io/v1/Kustomization",
                json!({"decryption": {"secretRef": {"name": "sluicegate-sops"}}}),
                "spec.decryption.secretRef.name",
            ),
            ("notification.toolkit.fluxcd.io/v1beta3/Provider", json!({"secretRef": {"name": "x"}}), "spec.secretRef"),
            (
                "notification.toolkit.fluxcd.io/v1/Receiver",
                json!({"resources": [{"name": "x"}, {"name": "x", "namespace": "other"}]}),
                "spec.resources[1].namespace",
            ),
            (
                "image.toolkit.fluxcd.io/v1/ImageUpdateAutomation",
                json!({"sourceRef": {"kind": "GitRepository", "name": "x"}}),
                "kind",
            ),
            ("source.extensions.fluxcd.io/v1beta1/ArtifactGenerator", json!({}), "kind"),
            (
                "source.toolkit.fluxcd.io/v1/GitRepository",
                json!({"ref": {"name": "refs/merge-requests/1/head"}}),
                "spec.ref.name",
            ),
            ("source.toolkit.fluxcd.io/v1/GitRepository", json!({"secretRef": {"name": "own"}}), "spec.secretRef"),
            (
                "kustomize.toolkit.fluxcd.io/v1/Kustomization",
                json!({"sourceRef": {"namespace": "other"}}),
                "spec.sourceRef.namespace",
            ),
            (
                "kustomize.toolkit.fluxcd.io/v1/Kustomization",
                json!({"postBuild": {"substituteFrom": [{"kind": "Secret", "name": "x"}]}}),
                "spec.postBuild.substituteFrom[0].kind",
            ),
            ("helm.toolkit.fluxcd.io/v2/HelmRelease", json!({"serviceAccountName": "x"}), "spec.serviceAccountName"),
            (
                "helm.toolkit.fluxcd.io/v2/HelmRelease",
                json!({"valuesFrom": [{"kind": "Secret", "name": "x"}]}),
                "spec.valuesFrom[0].kind",
            ),
        ] {
            let (api_version, kind) = kind.rsplit_once('/').unwrap();
            let found = reaches(&json!({"apiVersion": api_version, "kind": kind, "spec": spec}));
            let [Reach::Forbidden(violation)] = found.as_slice() else { panic!("{kind} {spec}: {found:?}") };
            assert_eq!(violation.field, field);
        }
    }

    #[test]
    fn passes_over_harmless_settings_of_flux_objects() {
        let object = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "spec": {"url": "https://git.example.com/a/b", "provider": "generic", "recurseSubmodules": false, "include": []},
        });
        let source = Reach::Source {
            field: "spec.url".into(),
            url: "https://git.example.com/a/b".into(),
            kind: SourceKind::Git,
        };
        let unsigned = Reach::Bare { field: "spec.url".into(), lacks: Lacks::Signature };
        assert_eq!(reaches(&object), [source, unsigned]);
    }

    #[test]
    fn lets_a_team_s_own_delivery_say_what_sluicegate_s_would() {
        let object = json!({
            "apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": {"namespace": "team-a"},
            "spec": {
                "serviceAccountName": RECONCILER, "targetNamespace": "team-a", "storageNamespace": "team-a",
                "chartRef": {"kind": "OCIRepository", "name": "x", "namespace": "team-a"},
                "valuesFrom": [{"kind": "ConfigMap", "name": "x"}],
            },
        });
        assert_eq!(reaches(&object), []);
    }

    #[test]
    fn finds_images_and_remote_bases_of_a_kustomization() {
        let object = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "resources": ["deploy.yaml", "../base", "https://evil.example/x.yaml", "GitHub.com/evil/repo"],
            "images": [
                {"name": "app", "newName": "evil.example/app", "newTag": "1"},
                {"name": "app", "newTag": "latest"},
                {"name": "app"},
            ],
            "helmCharts": [{"name": "x", "repo": "https://evil.example"}],
        });
        let fields: Vec<String> = reaches(&object)
            .into_iter()
            .map(|reach| match reach {
                Reach::Image { field, image } => format!("{field} {image}"),
                Reach::Source { field, .. } | Reach::Bare { field, .. } => field,
                Reach::Forbidden(violation) => violation.field.into_owned(),
            })
            .collect();
        let expected = [
            "images[0].newName evil.example/app:1",
            "images[1].name app:latest",
            "helmCharts",
            "resources[2]",
            "resources[3]",
        ];
        assert_eq!(fields, expected);
    }
}
