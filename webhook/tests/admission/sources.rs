//! Flux sources in tenants' namespaces: GitRepository, OCIRepository, HelmRepository, HelmChart, Bucket.

use serde_json::{Value, json};

use super::world::{Ask, OPERATOR, accepts_fields, flux, guarded, rejects_fields};

const API: &str = "source.toolkit.fluxcd.io/v1";

fn at(kind: &str, url: &str) -> Value {
    flux(API, kind, json!({"interval": "1m", "url": url}))
}

#[test]
fn accepts_sources_that_policy_allows() {
    for (kind, url) in [
        ("GitRepository", "https://git.example.com/team-a/shop"),
        ("GitRepository", "https://git.example.com/team-a/deep/shop.git"),
        ("OCIRepository", "oci://registry.example.com/team-a/manifests"),
        ("HelmRepository", "https://charts.example.com/stable"),
    ] {
        Ask::create(kind, at(kind, url)).passes(&guarded());
    }
    let bucket = json!({"interval": "1m", "endpoint": "s3.example.com", "bucketName": "team-a"});
    Ask::create("Bucket", flux(API, "Bucket", bucket)).passes(&guarded());
}

#[test]
fn rejects_other_sources() {
    for (kind, url, rule) in [
        ("GitRepository", "https://git.example.com/team-b/shop", "this Git source [source-not-allowed]"),
        ("GitRepository", "http://git.example.com/team-a/shop", "[source-not-allowed]"),
        ("GitRepository", "https://git.example.com/team-a/attic", "[source-denied]"),
        ("GitRepository", "https://user@git.example.com/team-a/shop", "[invalid-url]"),
        ("GitRepository", "https://git.example.com/team-a/../team-b", "[invalid-url]"),
        ("GitRepository", "oci://registry.example.com/team-a/x", "[source-kind-mismatch]"),
        ("OCIRepository", "oci://registry.example.com/team-b/x", "this OCI source [source-not-allowed]"),
        ("HelmRepository", "https://charts.example.com/other", "this Helm source [source-not-allowed]"),
        ("HelmRepository", "https://charts.example.com/stable.git", "[source-kind-mismatch]"),
    ] {
        let object = at(kind, url);
        let said = Ask::create(kind, object.clone()).is_refused(&guarded(), rule);
        assert!(said.starts_with("spec.url: "), "{said}");
        // What was there before is no reason to refuse a change of something else.
        let mut suspended = object.clone();
        suspended["spec"]["suspend"] = json!(true);
        Ask::update(kind, object.clone(), suspended).passes(&guarded());
        Ask::delete(kind, object.clone()).passes(&guarded());
        // What the operator writes the engine has decided.
        Ask::create(kind, object).by(OPERATOR).passes(&guarded());
    }
    let bucket =
        |name: &str| flux(API, "Bucket", json!({"interval": "1m", "endpoint": "s3.example.com", "bucketName": name}));
    Ask::create("Bucket", bucket("team-b"))
        .is_refused(&guarded(), "spec.endpoint: no policy allows tenant team-a this Bucket");
    Ask::update("Bucket", bucket("team-a"), bucket("team-b")).is_refused(&guarded(), "spec.endpoint: ");
}

#[test]
fn rejects_fields_of_a_gitrepository_that_reach_past_every_list() {
    let spec = json!({"interval": "1m", "url": "https://git.example.com/team-a/shop"});
    rejects_fields(
        API,
        "GitRepository",
        spec.clone(),
        &[
            ("recurseSubmodules", json!(true), "spec.recurseSubmodules: submodules come from repositories"),
            ("include", json!([{"repository": {"name": "x"}}]), "spec.include: "),
            ("proxySecretRef", json!({"name": "x"}), "spec.proxySecretRef: "),
            ("provider", json!("azure"), "spec.provider: "),
            ("ignore", json!("/*"), "spec.ignore: "),
            ("serviceAccountName", json!("x"), "spec.serviceAccountName: "),
        ],
    );
    accepts_fields(
        API,
        "GitRepository",
        spec,
        &[
            ("secretRef", json!({"name": "own"})),
            ("provider", json!("generic")),
            ("recurseSubmodules", json!(false)),
            ("include", json!([])),
        ],
    );
}

#[test]
fn rejects_fields_of_other_sources_that_reach_past_every_list() {
    let cases = [
        ("proxySecretRef", json!({"name": "x"}), "spec.proxySecretRef: "),
        ("certSecretRef", json!({"name": "x"}), "spec.certSecretRef: "),
        ("provider", json!("aws"), "spec.provider: "),
        ("insecure", json!(true), "spec.insecure: "),
        ("serviceAccountName", json!("x"), "spec.serviceAccountName: "),
    ];
    rejects_fields(API, "OCIRepository", json!({"url": "oci://registry.example.com/team-a/x"}), &cases);
    let bucket = json!({"endpoint": "s3.example.com", "bucketName": "team-a"});
    rejects_fields(API, "Bucket", bucket.clone(), &cases);
    rejects_fields(API, "Bucket", bucket, &[("sts", json!({"endpoint": "x"}), "spec.sts: ")]);
    let helm = json!({"url": "https://charts.example.com/stable"});
    rejects_fields(API, "HelmRepository", helm.clone(), &cases[1..]);
    rejects_fields(API, "HelmRepository", helm, &[("passCredentials", json!(true), "spec.passCredentials: ")]);
}

#[test]
fn a_helmchart_s_source_is_beside_it() {
    let of = |namespace: Value| {
        let source = json!({"kind": "HelmRepository", "name": "x", "namespace": namespace});
        flux(API, "HelmChart", json!({"chart": "redis", "sourceRef": source}))
    };
    Ask::create("HelmChart", of(json!("team-a"))).passes(&guarded());
    Ask::create("HelmChart", of(json!(null))).passes(&guarded());
    Ask::create("HelmChart", of(json!("team-b"))).is_refused(&guarded(), "spec.sourceRef.namespace: ");
}

#[test]
fn a_flux_object_says_whose_it_is() {
    let good = at("GitRepository", "https://git.example.com/team-a/shop");
    for labels in
        [json!(null), json!({}), json!({"sluicegate.dev/agent": "other"}), json!({"sluicegate.dev/agent": ""})]
    {
        let mut object = good.clone();
        object["metadata"]["labels"] = labels;
        Ask::create("GitRepository", object.clone()).is_refused(&guarded(), "metadata.labels: without the label");
        Ask::update("GitRepository", good.clone(), object.clone()).is_refused(&guarded(), "metadata.labels: ");
        Ask::update("GitRepository", object.clone(), object.clone()).passes(&guarded());
        Ask::update("GitRepository", object, good.clone()).passes(&guarded());
    }
    let mut both = at("GitRepository", "https://evil.example/x");
    both["metadata"]["labels"] = json!({});
    let said = Ask::create("GitRepository", both).is_refused(&guarded(), "[source-not-allowed]");
    assert!(said.contains("\nmetadata.labels: "), "{said}");
}
