//! FluxConfigs that wait for each other where Flux cannot, and agents that have nothing to do. On a control plane alone: what
//! Flux would say is said by the test.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_e2e::{Error, error::Result};

use crate::support::{
    AGENT_LABEL, CONFIG, DEPLOYMENT, GIT_REPOSITORY, HELM_RELEASE, KUSTOMIZATION, Platform, SOON, Tenant, api_of,
    message, on_plane, seconds,
};

fn source(tenant: &Tenant) -> Value {
    json!({"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)})
}

/// Says of the Kustomization of `shop` what Flux would say.
async fn say(tenant: &Tenant, status: &str, reason: &str) -> Result<()> {
    let found = tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
    let text = |field: &str| found["metadata"][field].as_str().unwrap_or_default().to_owned();
    let condition = json!({
        "type": "Ready", "status": status, "reason": reason, "message": "as the test says",
        "observedGeneration": found["metadata"]["generation"], "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    let api = api_of(tenant.platform.space.client(), KUSTOMIZATION, &text("namespace"));
    let said = api.patch_status(&text("name"), &PatchParams::default(), &patch).await;
    said.map(|_| ()).map_err(|error| Error::Service { what: "a status".into(), why: error.to_string() })
}

async fn release_is(tenant: &Tenant, suspended: bool) -> Result<Value> {
    let what = format!("the HelmRelease with suspend: {suspended}");
    tenant
        .platform
        .space
        .wait(&what, SOON, || async {
            let found = tenant.delivery(HELM_RELEASE, "second", SOON).await?;
            Ok(((found["spec"]["suspend"] == true) == suspended).then_some(found))
        })
        .await
}

#[test]
fn a_release_waits_for_a_kustomization() {
    on_plane("waits", async |platform| {
        let tenant = platform.tenant("team").await?;
        platform.policy("team", &[&tenant], json!({})).await?;
        tenant.config("shop", json!({"source": source(&tenant)})).await?;
        let second = json!({"source": source(&tenant), "path": "chart", "chart": {}, "dependsOn": [{"name": "shop"}]});
        tenant.config("second", second).await?;

        release_is(&tenant, true).await?;
        let fetched = tenant.delivery(GIT_REPOSITORY, "second", SOON).await?;
        assert!(fetched["spec"]["suspend"].is_null(), "what it needs is fetched meanwhile: {}", fetched["spec"]);
        let names = |config: &Value| message(config, "Synced").contains("waits for shop");
        tenant.until("a word about what comes first", "second", SOON, names).await?;
        say(&tenant, "Unknown", "Progressing").await?;
        seconds(2).await;
        release_is(&tenant, true).await?;

        say(&tenant, "True", "ReconciliationSucceeded").await?;
        release_is(&tenant, false).await?;
        let silent = |config: &Value| !message(config, "Synced").contains("waits for");
        tenant.until("no word about it any more", "second", SOON, silent).await?;
        // Every sync of what comes first begins with some progress: nobody is stopped by that.
        say(&tenant, "Unknown", "Progressing").await?;
        seconds(2).await;
        release_is(&tenant, false).await?;

        say(&tenant, "False", "BuildFailed").await?;
        release_is(&tenant, true).await.map(|_| ())
    });
}

/// Waits until the controllers of the tenant's agent are asked for this many pods each.
async fn replicas_are(platform: &Platform, tenant: &Tenant, wanted: i64) -> Result<()> {
    let what = format!("controllers with {wanted} pods each");
    platform
        .space
        .wait(&what, SOON, || async {
            let found = platform.labelled(DEPLOYMENT, AGENT_LABEL, &tenant.agent()).await?;
            let all = found.iter().all(|deployment| deployment["spec"]["replicas"] == wanted);
            Ok((!found.is_empty() && all).then_some(()))
        })
        .await
}

#[test]
fn an_agent_without_work_sleeps_and_wakes() {
    on_plane("sleeps", async |platform| {
        let tenant = platform.tenant("team").await?;
        platform.policy("team", &[&tenant], json!({"agent": {"sleepAfter": "3s"}})).await?;
        tenant.config("shop", json!({"source": source(&tenant)})).await?;
        replicas_are(&platform, &tenant, 1).await?;
        seconds(5).await;
        replicas_are(&platform, &tenant, 1).await?;

        let suspend = |suspend: bool| json!({"spec": {"suspend": suspend}});
        platform.edit(CONFIG, &tenant.name, "shop", suspend(true)).await?;
        replicas_are(&platform, &tenant, 0).await?;
        let asleep = |config: &Value| message(config, "AgentReady").contains("sleeps");
        tenant.until("an agent that sleeps", "shop", SOON, asleep).await?;
        platform.edit(CONFIG, &tenant.name, "shop", suspend(false)).await?;
        replicas_are(&platform, &tenant, 1).await?;

        platform.edit(CONFIG, &tenant.name, "shop", suspend(true)).await?;
        replicas_are(&platform, &tenant, 0).await?;
        tenant.remove("shop", SOON).await
    });
}
