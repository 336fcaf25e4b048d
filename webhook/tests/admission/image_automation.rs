//! ImageRepository, ImagePolicy and ImageUpdateAutomation in tenants' namespaces.

use serde_json::{Value, json};

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
}

#[test]
fn nothing_is_pushed_but_by_a_flux_config() {
    let with = |field: &str, value: Value| {
        let mut spec = json!({"interval": "1m", "sourceRef": {"kind": "GitRepository", "name": "x"}});
        spec[field] = value;
        flux(API, "ImageUpdateAutomation", spec)
    };
    let why = "kind: what is pushed where is said by a FluxConfig, and by nothing else [flux-object-not-allowed]";
    let old = with("interval", json!("1m"));
    Ask::create("ImageUpdateAutomation", old.clone()).is_refused(&guarded(), why);
    Ask::create("ImageUpdateAutomation", with("git", json!({"push": {"branch": "main"}}))).is_refused(&guarded(), why);
    Ask::update("ImageUpdateAutomation", old.clone(), with("interval", json!("2m"))).is_refused(&guarded(), why);
    // What was there before can be stopped.
    Ask::update("ImageUpdateAutomation", old.clone(), with("suspend", json!(true))).passes(&guarded());
    Ask::delete("ImageUpdateAutomation", old).passes(&guarded());
}

#[test]
fn a_kind_that_nobody_has_looked_at_is_refused() {
    for (api, kind) in [
        ("source.toolkit.fluxcd.io/v1", "ExternalArtifact"),
        ("source.extensions.fluxcd.io/v1beta1", "ArtifactGenerator"),
        ("image.toolkit.fluxcd.io/v1", "BrandNew"),
    ] {
        let object = flux(api, kind, json!({"interval": "1m"}));
        Ask::create(kind, object.clone()).is_refused(&guarded(), "kind: ");
        Ask::update(kind, object.clone(), object).passes(&guarded());
    }
}
