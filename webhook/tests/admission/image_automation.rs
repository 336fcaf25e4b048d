//! ImageRepository, ImagePolicy and ImageUpdateAutomation in tenants' namespaces.

use serde_json::json;

use super::world::{Ask, flux, guarded, rejects_fields};

const API: &str = "image.toolkit.fluxcd.io/v1";

#[test]
fn an_image_that_is_scanned_is_one_that_may_run() {
    let of = |image: &str| flux(API, "ImageRepository", json!({"interval": "1m", "image": image}));
    let good = of("registry.example.com/team-a/shop:1");
    Ask::create("ImageRepository", good.clone()).passes(&guarded());
    let bad = of("evil.example/shop:1");
    let why = "spec.image: no policy allows tenant team-a this image [image-not-allowed]";
    Ask::create("ImageRepository", bad.clone()).is_refused(&guarded(), why);
    Ask::update("ImageRepository", good, bad.clone()).is_refused(&guarded(), why);
    Ask::update("ImageRepository", bad.clone(), bad).passes(&guarded());
}

#[test]
fn rejects_fields_that_reach_past_every_list() {
    let repository = json!({"interval": "1m", "image": "registry.example.com/team-a/shop:1"});
    rejects_fields(
        API,
        "ImageRepository",
        repository,
        &[
            ("proxySecretRef", json!({"name": "x"}), "spec.proxySecretRef: "),
            ("certSecretRef", json!({"name": "x"}), "spec.certSecretRef: "),
            ("provider", json!("gcp"), "spec.provider: "),
            ("insecure", json!(true), "spec.insecure: "),
            ("serviceAccountName", json!("x"), "spec.serviceAccountName: "),
        ],
    );
    let policy = json!({"imageRepositoryRef": {"name": "x"}, "policy": {"semver": {"range": "1.x"}}});
    rejects_fields(
        API,
        "ImagePolicy",
        policy,
        &[("imageRepositoryRef", json!({"name": "x", "namespace": "team-b"}), "spec.imageRepositoryRef.namespace: ")],
    );
    let automation = json!({"interval": "1m", "sourceRef": {"kind": "GitRepository", "name": "x"}});
    rejects_fields(
        API,
        "ImageUpdateAutomation",
        automation,
        &[
            ("git", json!({"push": {"branch": "main"}}), "spec.git.push: "),
            (
                "sourceRef",
                json!({"kind": "GitRepository", "name": "x", "namespace": "team-b"}),
                "spec.sourceRef.namespace: ",
            ),
        ],
    );
}
