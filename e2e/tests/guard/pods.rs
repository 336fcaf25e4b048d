//! What pods and templates of pods may name.

use serde_json::{Value, json};

use crate::support::{Ward, guarded, policy};

fn sha() -> String {
    format!("sha256:{}", "a".repeat(64))
}

fn images() -> Value {
    policy(json!({"images": {
        "allow": ["registry.example.com/team-a/**", "docker.io/library/nginx", "*.mirror.example.com/library/*", "registry.example.com/base/go:1.24"],
        "deny": ["registry.example.com/team-a/attic/**"],
        "denyTags": ["latest"],
    }}))
}

#[test]
fn images_are_judged_wherever_a_pod_names_them() {
    guarded("pods", async |space| {
        let ward = Ward::new(&space, "team", &[images()]).await?;
        let good = "registry.example.com/team-a/shop:1";
        ward.accepts(ward.judge.pod(good)).await;
        ward.accepts(ward.judge.pod("nginx:1.27")).await;
        ward.accepts(ward.judge.pod("index.docker.io/nginx:1.27")).await;
        ward.accepts(ward.judge.pod("eu.mirror.example.com/library/redis:7")).await;
        ward.accepts(ward.judge.pod("REGISTRY.example.com/team-a/shop:1")).await;
        ward.accepts(ward.judge.pod(&format!("registry.example.com/team-a/shop@{}", sha()))).await;
        ward.accepts(ward.judge.pod("registry.example.com/base/go:1.24")).await;

        let not_allowed = format!(
            "spec.containers[0].image: no policy allows tenant {} this image [image-not-allowed]",
            ward.judge.name
        );
        ward.rejects(ward.judge.pod("evil.example/x:1"), &not_allowed).await;
        ward.rejects(ward.judge.pod("registry.example.com.evil.example/team-a/shop:1"), &not_allowed).await;
        ward.rejects(ward.judge.pod("registry.example.com:5000/team-a/shop:1"), &not_allowed).await;
        ward.rejects(ward.judge.pod("a.eu.mirror.example.com/library/redis:7"), &not_allowed).await;
        ward.rejects(ward.judge.pod("team-a/shop:1"), &not_allowed).await;
        // A pinned tag is this tag, and no digest.
        ward.rejects(ward.judge.pod("registry.example.com/base/go:1.25"), &not_allowed).await;
        ward.rejects(ward.judge.pod(&format!("registry.example.com/base/go:1.24@{}", sha())), &not_allowed).await;
        ward.rejects(
            ward.judge.pod("registry.example.com/team-a/attic/x:1"),
            "policy policy-0 denies images that match registry.example.com/team-a/attic/** [image-denied]",
        )
        .await;
        ward.rejects(
            ward.judge.pod("nginx"),
            "without tag and digest this is latest, a tag that policy policy-0 denies [image-tag-denied]",
        )
        .await;
        ward.rejects(ward.judge.pod("nginx:latest"), "policy policy-0 denies the tag latest [image-tag-denied]").await;
        for odd in [
            "sha256:abc",
            "DOCKER.IO/library/nginx:1",
            "registry.example.com/Team-A/x:1",
            "registry.example.com/team-a//x:1",
            "b\u{fc}cher.example/x:1",
            "registry.example.com:0443/team-a/x:1",
            "user@registry.example.com/team-a/x:1",
        ] {
            ward.rejects(ward.judge.pod(odd), "[invalid-image]").await;
        }
        Ok(())
    });
}

#[test]
fn no_place_for_an_image_is_left_out() {
    guarded("places", async |space| {
        let ward = Ward::new(&space, "team", &[images()]).await?;
        let (good, bad) = ("registry.example.com/team-a/shop:1", "evil.example/x:1");
        let container = |image: &str| json!([{"name": "x", "image": image}]);
        let spec = |init: &str, volume: &str| json!({"containers": container(good), "initContainers": [{"name": "i", "image": init}], "volumes": [{"name": "v", "image": {"reference": volume}}]});
        let metadata = json!({"name": "x", "namespace": ward.judge.name});
        let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        ward.accepts(pod(spec(good, good))).await;
        ward.rejects(pod(spec(bad, good)), "spec.initContainers[0].image: no policy allows").await;
        ward.rejects(pod(spec(good, bad)), "spec.volumes[0].image.reference: no policy allows").await;

        let labels = json!({"app": "x"});
        let template = |restart: &str, image: &str| json!({"metadata": {"labels": labels}, "spec": {"restartPolicy": restart, "containers": container(image)}});
        for (api, kind) in [
            ("apps/v1", "Deployment"),
            ("apps/v1", "ReplicaSet"),
            ("apps/v1", "StatefulSet"),
            ("apps/v1", "DaemonSet"),
            ("batch/v1", "Job"),
            ("batch/v1", "CronJob"),
            ("v1", "ReplicationController"),
            ("v1", "PodTemplate"),
        ] {
            let object = |image: &str| {
                let mut object = json!({"apiVersion": api, "kind": kind, "metadata": metadata});
                let (field, value) = match kind {
                    "PodTemplate" => ("template", template("Always", image)),
                    "CronJob" => {
                        let jobs = json!({"spec": {"template": template("Never", image)}});
                        ("spec", json!({"schedule": "* * * * *", "jobTemplate": jobs}))
                    }
                    "Job" => ("spec", json!({"template": template("Never", image)})),
                    "ReplicationController" => {
                        ("spec", json!({"selector": labels, "template": template("Always", image)}))
                    }
                    _ => ("spec", json!({"selector": {"matchLabels": labels}, "template": template("Always", image)})),
                };
                object[field] = value;
                if kind == "StatefulSet" {
                    object["spec"]["serviceName"] = json!("x");
                }
                object
            };
            ward.accepts(object(good)).await;
            let prefix = match kind {
                "PodTemplate" => "template.spec",
                "CronJob" => "spec.jobTemplate.spec.template.spec",
                _ => "spec.template.spec",
            };
            ward.rejects(object(bad), &format!("{prefix}.containers[0].image: no policy allows")).await;
        }
        Ok(())
    });
}

#[test]
fn a_digest_is_there_where_policy_asks_for_it() {
    guarded("digest", async |space| {
        let ward =
            Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["**"], "requireDigest": true}}))]).await?;
        ward.accepts(ward.judge.pod(&format!("anything.example/x:1@{}", sha()))).await;
        ward.rejects(
            ward.judge.pod("anything.example/x:1"),
            "policy asks for a digest, and the image is named without [image-digest-required]",
        )
        .await;
        Ok(())
    });
}

#[test]
fn where_nothing_is_allowed_the_engine_s_reason_is_told() {
    guarded("refusal", async |space| {
        let elsewhere = json!({"tenants": {"names": ["nobody"]}, "images": {"allow": ["**"]}});
        let ward = Ward::new(&space, "team", &[elsewhere]).await?;
        ward.rejects(ward.judge.pod("nginx:1"), &format!("no policy selects tenant {} [no-policy]", ward.judge.name))
            .await;
        let nowhere = policy(json!({"images": {"allow": ["**"]}, "destinations": []}));
        let ward = Ward::new(&space, "nowhere", &[nowhere]).await?;
        ward.rejects(ward.judge.pod("nginx:1"), "[destination-not-allowed]").await;
        Ok(())
    });
}

#[test]
fn a_tenant_s_namespace_without_a_guard_starts_nothing() {
    guarded("unguarded", async |space| {
        let ward = Ward::new(&space, "team", &[images()]).await?;
        space.delete("sluicegate.dev/v1alpha1", "TenantGuard", &ward.judge.name, "sluicegate").await?;
        let refused = || async {
            Ok(ward
                .tries(&ward.client, &ward.judge.pod("nginx:1.27"))
                .await
                .err()
                .filter(|why| why.contains("no params found")))
        };
        space.wait("the refusal", 30, refused).await.map(|_| ())
    });
}

#[test]
fn namespaces_that_are_nobody_s_and_the_cluster_s_own_are_left_alone() {
    guarded("left-alone", async |space| {
        let ward = Ward::new(&space, "team", &[images()]).await?;
        let free = space.namespace("free").await?;
        let mut pod = ward.judge.pod("evil.example/x:1");
        pod["metadata"]["namespace"] = json!(free);
        ward.accepts(pod.clone()).await;
        // Even with a tenant's label on them a cluster can start itself and its guard.
        for own in ["kube-system", "sluicegate-system"] {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own, "labels": {"sluicegate.dev/tenant": "x"}}});
            space.apply(namespace).await?;
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": own}});
            space.apply(account).await?;
            pod["metadata"]["namespace"] = json!(own);
            ward.accepts(pod.clone()).await;
            let bare = json!({"metadata": {"labels": {"sluicegate.dev/tenant": null}}});
            crate::support::patches(
                &ward.client,
                &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}}),
                bare,
            )
            .await
            .expect("an administrator may");
        }
        Ok(())
    });
}
