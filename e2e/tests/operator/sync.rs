//! What Flux says and does, as teams see it in the status of their FluxConfigs.

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;

use crate::support::{CONFIG, Platform, SOON, START, Tenant, config_map, has, on_node, says, seconds, workload};

async fn team(platform: &Platform) -> Result<Tenant> {
    let tenant = platform.tenant("team").await?;
    platform.policy("teams", &[&tenant], json!({})).await?;
    Ok(tenant)
}

/// The text of a ConfigMap of the team's, once it is this.
async fn text(tenant: &Tenant, name: &str, wanted: &str) -> Result<()> {
    let look = || async {
        let found = tenant.platform.space.get("v1", "ConfigMap", &tenant.target(), name).await?.unwrap_or_default();
        Ok((found["data"]["text"] == wanted).then_some(()))
    };
    tenant.platform.space.wait(&format!("ConfigMap {name} with {wanted}"), SOON, look).await
}

#[test]
fn errors_of_flux_are_told_whole() {
    on_node("errors", async |platform| {
        let tenant = team(&platform).await?;
        let broken = json!({"kind": "Nonsense", "apiVersion": "no.such/v1", "metadata": {"name": "x"}}).to_string();
        let unhealthy = workload("sick", "x").replace("/healthz", "/nothing");
        let repository = tenant.repository(
            "shop",
            &[
                ("fine/app.yaml", &config_map("fine", "x")),
                ("build/kustomization.yaml", "resources: [missing.yaml]\n"),
                ("kind/app.yaml", &broken),
                ("sick/app.yaml", &unhealthy),
                ("forbidden/app.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: out}\n"),
            ],
        )?;
        let url = repository.https_url();
        let at = |path: &str| json!({"source": {"url": url}, "path": path, "timeout": "10s"});
        tenant.config("fine", at("fine")).await?;
        tenant.config("branch", json!({"source": {"url": url, "ref": {"branch": "nope"}}, "path": "fine"})).await?;
        tenant
            .config("absent", json!({"source": {"url": format!("https://git.sluicegate.test/{}/absent", tenant.name)}}))
            .await?;
        for path in ["nowhere", "build", "kind", "sick", "forbidden"] {
            tenant.config(path, at(path)).await?;
        }
        tenant.config("chart", json!({"source": {"url": url}, "path": "fine", "chart": {}})).await?;
        tenant.reaches("fine", "Ready", "True", START).await?;
        // Flux writes conditions first, and the rest of a status in a second request.
        let head = format!("main@sha1:{}", repository.head("main")?);
        let applied = |config: &Value| config["status"]["sync"]["lastAppliedRevision"] == head;
        let ready = tenant.until("the revision that is applied", "fine", SOON, applied).await?;
        let sync = &ready["status"]["sync"];
        assert_eq!(sync["lastAttemptedRevision"], sync["lastAppliedRevision"], "{sync}");
        assert!(sync["objects"].as_i64() == Some(1) && sync["error"].is_null(), "{sync}");
        for (name, words) in [
            ("branch", ["couldn't find remote ref", "refs/heads/nope"].as_slice()),
            ("absent", &["absent", "git.sluicegate.test"]),
            ("nowhere", &["path not found", "nowhere"]),
            ("build", &["kustomize build failed", "missing.yaml"]),
            ("kind", &["no matches for kind", "Nonsense"]),
            ("sick", &["health check failed", "sick"]),
            ("chart", &["chart"]),
            ("forbidden", &["forbidden", "namespaces", "sluicegate-reconciler"]),
        ] {
            // In one look, as Flux tries again, and says that it does.
            let told = |config: &Value| {
                let said = says(config);
                [("Ready", "False"), ("Synced", "False"), ("Admitted", "True"), ("AgentReady", "True")]
                    .into_iter()
                    .all(|(condition, status)| has(config, condition, status))
                    && words.iter().all(|word| said.contains(word))
            };
            let what = format!("FluxConfig {name} that was admitted, whose agent works, and that fails with {words:?}");
            let config = tenant.until(&what, name, START, told).await?;
            println!("{name}: {}", says(&config));
        }
        // One does not disturb another.
        tenant.reaches("fine", "Ready", "True", SOON).await.map(|_| ())
    });
}

#[test]
fn a_wrong_credential_is_told_and_a_rotated_one_is_used() {
    on_node("rotation", async |platform| {
        let tenant = team(&platform).await?;
        let repository = tenant.repository("shop", &[("app.yaml", &config_map("app", "one"))])?;
        tenant.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        tenant.reaches("shop", "Ready", "True", START).await?;
        tenant.account("new")?;
        repository.commit("main", "second", &[("app.yaml", Some(&config_map("app", "two")))])?;
        let said = tenant.fails("shop", SOON, &["authentication"]).await?;
        println!("rotation: {said}");
        text(&tenant, "app", "one").await?;
        tenant.credential("new").await?;
        tenant.reaches("shop", "Ready", "True", SOON).await?;
        text(&tenant, "app", "two").await
    });
}

#[test]
fn a_request_is_handled_at_once_and_a_suspended_one_rests() {
    on_node("request", async |platform| {
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({"defaults": {"interval": "1h"}})).await?;
        let repository = tenant.repository("shop", &[("app.yaml", &config_map("app", "one"))])?;
        tenant.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        tenant.reaches("shop", "Ready", "True", START).await?;
        repository.commit("main", "second", &[("app.yaml", Some(&config_map("app", "two")))])?;
        let request = |at: &str| json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": at}}});
        platform.edit(CONFIG, &tenant.name, "shop", request("first")).await?;
        text(&tenant, "app", "two").await?;
        let head = repository.head("main")?;
        tenant
            .until("the new revision", "shop", SOON, |config| {
                config["status"]["sync"]["lastAppliedRevision"]
                    .as_str()
                    .is_some_and(|revision| revision.ends_with(&head))
            })
            .await?;
        platform.edit(CONFIG, &tenant.name, "shop", json!({"spec": {"suspend": true}})).await?;
        tenant
            .until("a word about the suspension", "shop", SOON, |config| {
                says(config).to_lowercase().contains("suspend")
            })
            .await?;
        repository.commit("main", "third", &[("app.yaml", Some(&config_map("app", "three")))])?;
        platform.edit(CONFIG, &tenant.name, "shop", request("second")).await?;
        seconds(5).await;
        text(&tenant, "app", "two").await?;
        platform.edit(CONFIG, &tenant.name, "shop", json!({"spec": {"suspend": null}})).await?;
        text(&tenant, "app", "three").await
    });
}

#[test]
fn a_dependency_comes_first() {
    on_node("depends", async |platform| {
        let tenant = team(&platform).await?;
        let broken = tenant.repository("first", &[("app.yaml", "not: yaml: at all\n")])?;
        let second = tenant.repository("second", &[("app.yaml", &config_map("second", "x"))])?;
        tenant.config("first", json!({"source": {"url": broken.https_url()}})).await?;
        tenant
            .config("second", json!({"source": {"url": second.https_url()}, "dependsOn": [{"name": "first"}]}))
            .await?;
        let waits = |config: &serde_json::Value| !has(config, "Ready", "True") && says(config).contains("first");
        let waiting = tenant.until("a word about what it waits for", "second", START, waits).await?;
        println!("depends: {}", says(&waiting));
        assert!(platform.space.get("v1", "ConfigMap", &tenant.target(), "second").await?.is_none());
        broken.commit("main", "mended", &[("app.yaml", Some(&config_map("first", "x")))])?;
        tenant.reaches("first", "Ready", "True", START).await?;
        tenant.reaches("second", "Ready", "True", START).await.map(|_| ())
    });
}

#[test]
fn what_an_orphan_deployed_stays_and_what_a_suspended_one_deployed_goes() {
    on_node("orphan", async |platform| {
        let tenant = team(&platform).await?;
        for (name, over) in [("kept", json!({"deletion": "Orphan"})), ("asleep", json!({}))] {
            let repository = tenant.repository(name, &[("app.yaml", &config_map(name, "x"))])?;
            let mut spec = json!({"source": {"url": repository.https_url()}});
            for (field, value) in over.as_object().cloned().unwrap_or_default() {
                spec[field] = value;
            }
            tenant.config(name, spec).await?;
        }
        for name in ["kept", "asleep"] {
            tenant.reaches(name, "Ready", "True", START).await?;
        }
        platform.edit(CONFIG, &tenant.name, "asleep", json!({"spec": {"suspend": true}})).await?;
        tenant
            .until("a word about the suspension", "asleep", SOON, |config| {
                says(config).to_lowercase().contains("suspend")
            })
            .await?;
        tenant.remove("asleep", START).await?;
        let found = platform.space.get("v1", "ConfigMap", &tenant.target(), "asleep").await?;
        assert!(found.is_none(), "a suspended FluxConfig that is deleted takes what it deployed with it");
        tenant.remove("kept", START).await?;
        let found = platform.space.get("v1", "ConfigMap", &tenant.target(), "kept").await?;
        assert!(
            found.is_some_and(|found| found["metadata"]["deletionTimestamp"].is_null()),
            "it stays, and its namespace"
        );
        assert!(
            platform
                .space
                .get("v1", "Namespace", "", &tenant.agent())
                .await?
                .is_none_or(|agent| !agent["metadata"]["deletionTimestamp"].is_null())
        );
        platform.space.delete("v1", "Namespace", "", &tenant.target()).await
    });
}

#[test]
fn what_a_policy_forbids_later_stays_and_is_synced_no_more() {
    on_node("violation", async |platform| {
        let tenant = platform.tenant("team").await?;
        let policy = platform.policy("teams", &[&tenant], json!({})).await?;
        let repository = tenant.repository("shop", &[("app.yaml", &workload("web", "one"))])?;
        tenant.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        tenant.reaches("shop", "Ready", "True", START).await?;
        let nothing = json!({"spec": {"sources": {"git": {"allow": ["https://git.sluicegate.test/nobody/*"]}}}});
        platform.edit((crate::support::API, "FluxPolicy"), "", &policy, nothing).await?;
        tenant.refused("shop", "source-not-allowed").await?;
        repository.commit("main", "second", &[("app.yaml", Some(&workload("web", "two")))])?;
        seconds(12).await;
        tenant.runs(&tenant.target(), "web", "one", 1).await?;
        tenant.remove("shop", START).await
    });
}
