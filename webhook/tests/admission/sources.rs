//! Flux sources in tenants' namespaces: GitRepository, OCIRepository, HelmRepository, HelmChart, Bucket.

use serde_json::{Value, json};

use super::world::{Ask, OPERATOR, accepts_fields, flux, guarded, guarded_with, guarding, rejects_fields};

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
            ("secretRef", json!({"name": "own"}), "spec.secretRef: the agent reads this Secret with its own rights"),
            ("verify", json!({"mode": "HEAD", "secretRef": {"name": "own"}}), "spec.verify: "),
            ("sparseCheckout", json!(["x"]), "spec.sparseCheckout: "),
            ("ref", json!({"name": "refs/merge-requests/1/head"}), "spec.ref.name: requests to merge"),
            ("ref", json!({"branch": "main", "newer": 1}), "spec.ref.newer: policy has no rule for this field"),
            ("brandNew", json!(0), "spec.brandNew: policy has no rule for this field of kind GitRepository"),
        ],
    );
    accepts_fields(
        API,
        "GitRepository",
        spec,
        &[
            ("ref", json!({"branch": "main"})),
            ("ref", json!({"name": "refs/tags/v1"})),
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
    // The kind has no such field: an API server takes it out.
    Ask::create("HelmChart", of(json!("team-a"))).is_refused(&guarded(), "spec.sourceRef.namespace: ");
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

/// The platform of `guarded`, where policy asks for signatures and digests.
fn strict() -> sluicegate_webhook::snapshot::Snapshot {
    let mut policy = guarding();
    policy["sources"]["requireVerification"] = json!(true);
    policy["sources"]["oci"]["requireDigest"] = json!(true);
    guarded_with(policy, &[])
}

#[test]
fn where_policy_asks_for_signatures_no_source_is_written_by_hand() {
    let bucket = json!({"interval": "1m", "endpoint": "s3.example.com", "bucketName": "team-a"});
    for (kind, object, at) in [
        ("GitRepository", at("GitRepository", "https://git.example.com/team-a/shop"), "spec.url"),
        ("HelmRepository", at("HelmRepository", "https://charts.example.com/stable"), "spec.url"),
        ("Bucket", flux(API, "Bucket", bucket), "spec.endpoint"),
    ] {
        let why = format!("{at}: policy asks for signatures by keys that it gives");
        let said = Ask::create(kind, object.clone()).is_refused(&strict(), &why);
        assert!(
            said.contains("[verification-required]") && said.contains("help: deploy it with a FluxConfig"),
            "{said}"
        );
        Ask::create(kind, object.clone()).passes(&guarded());
        let mut suspended = object.clone();
        suspended["spec"]["suspend"] = json!(true);
        Ask::update(kind, object, suspended).passes(&strict());
    }
    // Of a Helm repository signatures are checked chart by chart, whoever wrote the repository.
    let chart = |kind: &str| json!({"chart": "redis", "sourceRef": {"kind": kind, "name": "x"}});
    let (by_repository, by_git) =
        (flux(API, "HelmChart", chart("HelmRepository")), flux(API, "HelmChart", chart("GitRepository")));
    Ask::create("HelmChart", by_repository.clone()).is_refused(&strict(), "spec.sourceRef: policy asks for signatures");
    Ask::create("HelmChart", by_git).passes(&strict());
    let release = flux("helm.toolkit.fluxcd.io/v2", "HelmRelease", json!({"chart": {"spec": chart("HelmRepository")}}));
    Ask::create("HelmRelease", release).is_refused(&strict(), "spec.chart.spec.sourceRef: policy asks for signatures");
    Ask::create("HelmChart", by_repository.clone()).by(OPERATOR).passes(&strict());
    // helm-controller makes HelmCharts of HelmReleases that were judged: where there is an agent of that name.
    let controller = "system:serviceaccount:team-a:helm-controller";
    Ask::create("HelmChart", by_repository).by(controller).is_refused(&strict(), "spec.sourceRef: ");
}

#[test]
fn where_policy_asks_for_a_digest_an_artifact_has_one() {
    let url = "oci://registry.example.com/team-a/manifests";
    let of = |reference: Value| flux(API, "OCIRepository", json!({"interval": "1m", "url": url, "ref": reference}));
    let digest = json!({"digest": format!("sha256:{}", "a".repeat(64))});
    let mut policy = guarding();
    policy["sources"]["oci"]["requireDigest"] = json!(true);
    let asks = guarded_with(policy, &[]);
    let why = "spec.ref: policy asks for a digest, and the artifact is named without [source-digest-required]";
    Ask::create("OCIRepository", of(json!({"tag": "1"}))).is_refused(&asks, why);
    Ask::create("OCIRepository", of(json!(null))).is_refused(&asks, why);
    Ask::create("OCIRepository", of(json!({"digest": ""}))).is_refused(&asks, why);
    Ask::create("OCIRepository", of(digest.clone())).passes(&asks);
    Ask::create("OCIRepository", of(json!({"tag": "1"}))).passes(&guarded());
    Ask::update("OCIRepository", of(json!({"tag": "1"})), of(json!({"tag": "1"}))).passes(&asks);
    Ask::update("OCIRepository", of(digest), of(json!({"tag": "1"}))).is_refused(&asks, why);
}
