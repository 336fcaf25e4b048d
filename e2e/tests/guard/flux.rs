//! What Flux objects in a tenant's namespace may fetch, and what they may reach.

use serde_json::{Value, json};
use sluicegate_e2e::suite::operator::USER;

use crate::support::{Ward, guarded, policy};

const SOURCE: &str = "source.toolkit.fluxcd.io/v1";

#[test]
fn sources_are_fetched_from_where_policy_allows() {
    guarded("sources", async |space| {
        let ward = Ward::new(&space, "team", &[policy(json!({"sources": {
            "git": {"allow": ["https://git.example.com/team-a/**", "ssh://git@git.example.com/team-a/*", "http://plain.example.com/**"], "deny": ["https://git.example.com/*/attic"]},
            "oci": {"allow": ["oci://registry.example.com/team-a/**"]},
            "helm": {"allow": ["https://charts.example.com/stable", "**"]},
            "bucket": {"allow": ["https://s3.example.com/team-a"]},
        }}))]).await?;
        let git = |url: &str| ward.judge.flux(SOURCE, "GitRepository", json!({"interval": "1m", "url": url}));
        for url in [
            "https://git.example.com/team-a/shop",
            "https://git.example.com/team-a/shop.git",
            "https://git.example.com:443/team-a/g/shop.git",
            "ssh://git@git.example.com/team-a/shop.git",
            "http://plain.example.com/x",
        ] {
            ward.accepts(git(url)).await;
        }
        let no = format!("spec.url: no policy allows tenant {} this Git source [source-not-allowed]", ward.judge.name);
        for url in [
            "https://git.example.com/team-b/shop",
            "https://git.example.com/team-a",
            "https://git.example.com:8443/team-a/shop",
            "http://git.example.com/team-a/shop",
            "ssh://evil@git.example.com/team-a/shop",
            "https://git.example.com.evil.example/team-a/shop",
            "https://git.example.com/team-a.git/shop",
        ] {
            ward.rejects(git(url), &no).await;
        }
        ward.rejects(
            git("https://git.example.com/team-a/attic"),
            "policy policy-0 denies Git sources that match https://git.example.com/*/attic [source-denied]",
        )
        .await;
        for url in [
            "https://user@git.example.com/team-a/shop",
            "https://git.example.com/team-a/../team-b/shop",
            "https://git.example.com/team-a/shop%2e",
            "https://GIT.example.com/team-a/shop",
            "https://git.example.com./team-a/shop",
            "https://git.example.com/team-a//shop",
            "https://git.example.com/team-a/shop?x=1",
            "https://b\u{fc}cher.example/team-a/shop",
        ] {
            ward.rejects(git(url), "[invalid-url]").await;
        }
        let other = |kind: &str, url: &str| ward.judge.flux(SOURCE, kind, json!({"interval": "1m", "url": url}));
        ward.accepts(other("OCIRepository", "oci://registry.example.com/team-a/manifests")).await;
        ward.rejects(
            other("OCIRepository", "oci://registry.example.com/team-b/manifests"),
            "this OCI source [source-not-allowed]",
        )
        .await;
        ward.rejects(other("OCIRepository", "oci://harbor/team-a/manifests"), "[invalid-url]").await;
        ward.accepts(other("HelmRepository", "https://anything.example/x")).await;
        ward.rejects(other("HelmRepository", "http://anything.example/x"), "this Helm source [source-not-allowed]")
            .await;
        ward.rejects(other("HelmRepository", "https://anything.example/x.git"), "[source-kind-mismatch]").await;
        let bucket = |endpoint: &str, name: &str| {
            ward.judge.flux(SOURCE, "Bucket", json!({"interval": "1m", "endpoint": endpoint, "bucketName": name}))
        };
        ward.accepts(bucket("s3.example.com", "team-a")).await;
        ward.rejects(bucket("s3.example.com", "team-b"), "spec.endpoint: no policy allows").await;
        ward.rejects(bucket("s3.example.com/team-a/x", "team-a"), "[source-kind-mismatch]").await;
        Ok(())
    });
}

#[test]
fn fields_that_reach_past_every_list_are_refused() {
    guarded("fields", async |space| {
        let ward = Ward::new(&space, "team", &[policy(json!({"sources": {"git": {"allow": ["**"]}, "oci": {"allow": ["**"]}, "bucket": {"allow": ["**"]}}, "images": {"allow": ["**"]}}))]).await?;
        let git = json!({"interval": "1m", "url": "https://git.example.com/team-a/x"});
        let kustomization =
            json!({"interval": "1m", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "x"}});
        let release = json!({"interval": "1m", "chartRef": {"kind": "OCIRepository", "name": "x"}});
        let (kustomize, helm) = ("kustomize.toolkit.fluxcd.io/v1", "helm.toolkit.fluxcd.io/v2");
        let own = &ward.judge.name;
        for (api, kind, base, field, value) in [
            (SOURCE, "GitRepository", &git, "provider", json!("generic")),
            (SOURCE, "GitRepository", &git, "recurseSubmodules", json!(false)),
            (kustomize, "Kustomization", &kustomization, "serviceAccountName", json!("sluicegate-reconciler")),
            (kustomize, "Kustomization", &kustomization, "targetNamespace", json!(own)),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "postBuild",
                json!({"substituteFrom": [{"kind": "ConfigMap", "name": "x"}]}),
            ),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "decryption",
                json!({"provider": "sops", "secretRef": {"name": "own"}}),
            ),
            (helm, "HelmRelease", &release, "storageNamespace", json!(own)),
        ] {
            let mut spec = base.clone();
            spec[field] = value;
            ward.accepts(ward.judge.flux(api, kind, spec)).await;
        }
        for (api, kind, base, field, value, why) in [
            (
                SOURCE,
                "GitRepository",
                &git,
                "recurseSubmodules",
                json!(true),
                "spec.recurseSubmodules: submodules come from repositories that nobody checked [flux-object-not-allowed]",
            ),
            (SOURCE, "GitRepository", &git, "include", json!([{"repository": {"name": "x"}}]), "spec.include: "),
            (SOURCE, "GitRepository", &git, "proxySecretRef", json!({"name": "x"}), "spec.proxySecretRef: "),
            (SOURCE, "GitRepository", &git, "ignore", json!("/*"), "spec.ignore: "),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "serviceAccountName",
                json!("default"),
                "spec.serviceAccountName: the agent impersonates the tenant's reconciler and nobody else",
            ),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "targetNamespace",
                json!("kube-system"),
                "spec.targetNamespace: ",
            ),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "kubeConfig",
                json!({"secretRef": {"name": "x"}}),
                "spec.kubeConfig: ",
            ),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "postBuild",
                json!({"substituteFrom": [{"kind": "Secret", "name": "x"}]}),
                "spec.postBuild.substituteFrom[].kind: ",
            ),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "decryption",
                json!({"provider": "sops", "secretRef": {"name": "sluicegate-sops"}}),
                "spec.decryption.secretRef.name: ",
            ),
            (
                kustomize,
                "Kustomization",
                &kustomization,
                "sourceRef",
                json!({"kind": "GitRepository", "name": "x", "namespace": "other"}),
                "spec.sourceRef.namespace: ",
            ),
            (
                helm,
                "HelmRelease",
                &release,
                "valuesFrom",
                json!([{"kind": "Secret", "name": "x"}]),
                "spec.valuesFrom[].kind: ",
            ),
            (helm, "HelmRelease", &release, "storageNamespace", json!("other"), "spec.storageNamespace: "),
        ] {
            let mut spec = base.clone();
            spec[field] = value;
            ward.rejects(ward.judge.flux(api, kind, spec), why).await;
        }
        let provider = json!({"type": "generic", "address": "https://hooks.example.com/x"});
        ward.rejects(
            ward.judge.flux("notification.toolkit.fluxcd.io/v1beta3", "Provider", provider),
            "spec.address: events go to channels that policy offers",
        )
        .await;
        let pushes = json!({"interval": "1m", "sourceRef": {"kind": "GitRepository", "name": "x"}, "git": {"commit": {"author": {"email": "x@example.com"}}, "push": {"branch": "main"}}});
        ward.rejects(
            ward.judge.flux("image.toolkit.fluxcd.io/v1", "ImageUpdateAutomation", pushes),
            "kind: what is pushed where is said by a FluxConfig",
        )
        .await;
        ward.accepts(ward.judge.flux(
            "image.toolkit.fluxcd.io/v1",
            "ImageRepository",
            json!({"interval": "1m", "image": "registry.example.com/x"}),
        ))
        .await;
        Ok(())
    });
}

#[test]
fn what_policy_asks_for_reaches_objects_that_a_team_writes() {
    guarded("asked", async |space| {
        let asks = json!({
            "git": {"allow": ["**"]}, "helm": {"allow": ["**"]}, "oci": {"allow": ["**"], "requireDigest": true},
        });
        let ward = Ward::new(&space, "digest", &[policy(json!({"sources": asks}))]).await?;
        let oci = |reference: Value| {
            let url = "oci://registry.example.com/team-a/x";
            ward.judge.flux(SOURCE, "OCIRepository", json!({"interval": "1m", "url": url, "ref": reference}))
        };
        let why = "spec.ref: policy asks for a digest, and the artifact is named without [source-digest-required]";
        ward.rejects(oci(json!({"tag": "1"})), why).await;
        ward.accepts(oci(json!({"digest": format!("sha256:{}", "a".repeat(64))}))).await;

        let asks = json!({"git": {"allow": ["**"]}, "helm": {"allow": ["**"]}, "requireVerification": true});
        let mut ward = Ward::new(&space, "signed", &[policy(json!({"sources": asks}))]).await?;
        let git = json!({"interval": "1m", "url": "https://git.example.com/team-a/x"});
        ward.rejects(ward.judge.flux(SOURCE, "GitRepository", git), "spec.url: policy asks for signatures").await;
        let chart = |kind: &str| json!({"interval": "1m", "chart": "x", "sourceRef": {"kind": kind, "name": "x"}});
        let chart = |kind: &str| ward.judge.flux(SOURCE, "HelmChart", chart(kind));
        ward.accepts(chart("GitRepository")).await;
        let (by_repository, why) = (chart("HelmRepository"), "spec.sourceRef: policy asks for signatures");
        ward.rejects(by_repository.clone(), why).await;
        // helm-controller makes HelmCharts of HelmReleases, which were judged: where it is the agent's.
        let user = format!("system:serviceaccount:{}:helm-controller", ward.judge.name);
        let controller = crate::owned::impersonating(&space, &user).await?;
        let refused = || async {
            let tried = ward.tries(&controller, &by_repository).await;
            Ok(tried.is_err_and(|said| said.contains(why)).then_some(()))
        };
        space.wait("a refusal where no agent lives", 30, refused).await?;
        ward.judge.accounts = vec!["helm-controller".to_owned()];
        ward.guard(ward.judge.guard()).await?;
        assert_eq!(ward.tries(&controller, &by_repository).await, Ok(()));
        let mut unlabelled = by_repository;
        unlabelled["metadata"]["labels"] = json!({});
        let tried = ward.tries(&controller, &unlabelled).await;
        assert!(tried.is_err_and(|said| said.contains("metadata.labels: ")), "whose it is is said all the same");
        Ok(())
    });
}

#[test]
fn a_flux_object_says_whose_it_is() {
    guarded("whose", async |space| {
        let ward = Ward::new(&space, "team", &[policy(json!({"sources": {"git": {"allow": ["**"]}}}))]).await?;
        let mut object =
            ward.judge.flux(SOURCE, "GitRepository", json!({"interval": "1m", "url": "https://git.example.com/x"}));
        ward.accepts(object.clone()).await;
        object["metadata"]["labels"] = json!({"sluicegate.dev/agent": "other"});
        ward.rejects(object.clone(), "metadata.labels: ").await;
        object["metadata"]["labels"] = json!({});
        ward.rejects(object, "metadata.labels: ").await;
        Ok(())
    });
}

#[test]
fn what_the_operator_writes_was_decided_before() {
    guarded("decided", async |space| {
        let ward = Ward::new(&space, "team", &[policy(json!({}))]).await?;
        let object = ward.judge.flux(
            SOURCE,
            "GitRepository",
            json!({"interval": "1m", "url": "https://elsewhere.example/x", "recurseSubmodules": true}),
        );
        ward.rejects(object.clone(), "[source-not-allowed]").await;
        let mut guard = ward.judge.guard();
        guard.operator = "system:admin".to_owned();
        assert_ne!(guard.operator, USER);
        let me = space.client();
        let review =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {"name": ""}});
        let review: kube::core::DynamicObject = serde_json::from_value(review).unwrap();
        let review = crate::support::api_of(
            &me,
            &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
        )
        .create(&kube::api::PostParams::default(), &review)
        .await
        .expect("a review");
        guard.operator = review.data["status"]["userInfo"]["username"].as_str().unwrap().to_owned();
        ward.guard(guard).await?;
        ward.accepts(object).await;
        Ok(())
    });
}
