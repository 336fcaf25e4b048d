//! Flux objects of tenants, as the API server takes or refuses them where the webhook is the guard. What each field may be is
//! the differential test's; here is a case of every kind.

use serde_json::{Value, json};

use crate::support::on_guarded;
use crate::ward::{Ward, allowing};

const SOURCE: &str = "source.toolkit.fluxcd.io/v1";
const NOTIFY: &str = "notification.toolkit.fluxcd.io/v1beta3";
const IMAGE: &str = "image.toolkit.fluxcd.io/v1";

fn policy() -> Value {
    allowing(json!({
        "sources": {
            "git": {"allow": ["https://git.example.com/team-a/**"]}, "oci": {"allow": ["oci://registry.example.com/team-a/**"]},
            "helm": {"allow": ["https://charts.example.com/stable"]}, "bucket": {"allow": ["https://s3.example.com/team-a"]},
        },
        "images": {"allow": ["registry.example.com/team-a/**"]},
    }))
}

#[test]
fn every_kind_is_judged() {
    on_guarded("kinds", async |hook| {
        let ward = Ward::new(&hook, "team", &[policy()]).await?;
        let source = |kind: &str, name: &str| json!({"kind": kind, "name": name});
        let cases: [(&str, &str, Value, Value, &str); 12] = [
            (
                SOURCE,
                "GitRepository",
                json!({"interval": "1m", "url": "https://git.example.com/team-a/x"}),
                json!({"url": "https://git.example.com/team-b/x"}),
                "spec.url: no policy allows",
            ),
            (
                SOURCE,
                "OCIRepository",
                json!({"interval": "1m", "url": "oci://registry.example.com/team-a/x"}),
                json!({"insecure": true}),
                "spec.insecure: ",
            ),
            (
                SOURCE,
                "HelmRepository",
                json!({"interval": "1m", "url": "https://charts.example.com/stable"}),
                json!({"passCredentials": true}),
                "spec.passCredentials: ",
            ),
            (
                SOURCE,
                "HelmChart",
                json!({"interval": "1m", "chart": "x", "sourceRef": source("HelmRepository", "x")}),
                json!({"sourceRef": {"kind": "HelmRepository", "name": "x", "namespace": "other"}}),
                "",
            ),
            (
                SOURCE,
                "Bucket",
                json!({"interval": "1m", "endpoint": "s3.example.com", "bucketName": "team-a"}),
                json!({"bucketName": "team-b"}),
                "spec.endpoint: no policy allows",
            ),
            (
                "kustomize.toolkit.fluxcd.io/v1",
                "Kustomization",
                json!({"interval": "1m", "prune": true, "sourceRef": source("GitRepository", "x")}),
                json!({"targetNamespace": "kube-system"}),
                "spec.targetNamespace: ",
            ),
            (
                "helm.toolkit.fluxcd.io/v2",
                "HelmRelease",
                json!({"interval": "1m", "chartRef": source("OCIRepository", "x")}),
                json!({"storageNamespace": "other"}),
                "spec.storageNamespace: ",
            ),
            (
                IMAGE,
                "ImageRepository",
                json!({"interval": "1m", "image": "registry.example.com/team-a/x"}),
                json!({"image": "evil.example/x"}),
                "spec.image: no policy allows",
            ),
            (
                IMAGE,
                "ImagePolicy",
                json!({"imageRepositoryRef": {"name": "x"}, "policy": {"semver": {"range": "1.x"}}}),
                json!({"imageRepositoryRef": {"name": "x", "namespace": "other"}}),
                "spec.imageRepositoryRef.namespace: ",
            ),
            (
                NOTIFY,
                "Provider",
                json!({"type": "slack"}),
                json!({"address": "https://hooks.example.com/x"}),
                "spec.address: events go to channels",
            ),
            (
                NOTIFY,
                "Alert",
                json!({"providerRef": {"name": "x"}, "eventSources": [source("GitRepository", "x")]}),
                json!({"eventSources": [{"kind": "GitRepository", "name": "x", "namespace": "other"}]}),
                "spec.eventSources[0].namespace: ",
            ),
            (
                "notification.toolkit.fluxcd.io/v1",
                "Receiver",
                json!({"type": "github", "secretRef": {"name": "x"}, "resources": [source("GitRepository", "x")]}),
                json!({"resources": [{"kind": "GitRepository", "name": "x", "namespace": "other"}]}),
                "spec.resources[0].namespace: ",
            ),
        ];
        for (api, kind, good, bad, why) in cases {
            ward.accepts(ward.judge.flux(api, kind, good.clone())).await?;
            let mut spec = good.clone();
            for (field, value) in bad.as_object().expect("fields") {
                spec[field] = value.clone();
            }
            // The schema of a HelmChart has no namespace in its reference: the API server takes it out.
            if !why.is_empty() {
                ward.rejects(ward.judge.flux(api, kind, spec), why).await?;
            }
            let mut unlabelled = ward.judge.flux(api, kind, good);
            unlabelled["metadata"]["labels"] = json!({});
            ward.rejects(unlabelled, "metadata.labels: without the label").await?;
        }
        let pushes = json!({"interval": "1m", "sourceRef": source("GitRepository", "x"), "git": {"commit": {"author": {"email": "x@example.com"}}}});
        let pushes = ward.judge.flux(IMAGE, "ImageUpdateAutomation", pushes);
        ward.rejects(pushes, "kind: what is pushed where is said by a FluxConfig").await?;
        Ok(())
    });
}

#[test]
fn a_change_is_judged_by_what_is_new() {
    on_guarded("changed", async |hook| {
        let ward = Ward::new(&hook, "team", &[policy()]).await?;
        let object = ward.judge.flux(
            SOURCE,
            "GitRepository",
            json!({"interval": "1m", "url": "https://git.example.com/team-a/x"}),
        );
        hook.create(object.clone()).await?.accepted();
        hook.patch(&object, json!({"spec": {"recurseSubmodules": true}})).await?.rejected("spec.recurseSubmodules: ");
        hook.patch(&object, json!({"spec": {"suspend": true}})).await?.accepted();
        hook.patch(&object, json!({"metadata": {"labels": {"sluicegate.dev/agent": null}}}))
            .await?
            .rejected("metadata.labels: ");
        hook.patch(&object, json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "x"}}}))
            .await?
            .accepted();
        hook.delete(&object).await?.accepted();
        Ok(())
    });
}
