//! Text that a repository chooses, as Flux passes it on: nothing of it reaches a status, an event or the log raw.

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_policy::text::is_hidden;

use crate::support::{GIT_REPOSITORY, KUSTOMIZATION, Platform, SOON, api_of, message, on_own_plane, seconds};

const HOSTILE: &str = "\u{1b}]0;pwned\u{7}\u{1b}[2J\r\n\u{85}\u{202e}\u{2066}\u{2028}\u{200b}\u{e0061}##vso[x]pwned";

/// Writes a status as the controllers of Flux do.
async fn says(platform: &Platform, kind: (&str, &str), object: &Value, status: Value) -> Result<()> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let api = api_of(platform.space.client(), kind, text("namespace"));
    let parameters = PatchParams { field_manager: Some("flux".into()), ..PatchParams::default() };
    let done = api.patch_status(text("name"), &parameters, &Patch::Merge(&json!({"status": status}))).await;
    done.map(|_| ()).map_err(|error| Error::Service { what: kind.1.into(), why: error.to_string() })
}

fn texts<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| texts(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[track_caller]
fn assert_plain(value: &Value) {
    let mut all = Vec::new();
    texts(value, &mut all);
    let bad: Vec<&&str> = all.iter().filter(|text| text.chars().any(is_hidden)).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn what_a_repository_says_draws_nothing_but_itself() {
    on_own_plane("hostile", async |platform| {
        platform.operator.start()?;
        platform.operator_works().await?;
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({})).await?;
        let url = format!("https://git.sluicegate.test/{}/shop", tenant.name);
        tenant.config("shop", json!({"source": {"url": url}})).await?;
        let (source, delivery) =
            (tenant.delivery(GIT_REPOSITORY, "shop", SOON).await?, tenant.delivery(KUSTOMIZATION, "shop", SOON).await?);
        let conditions = |status: &str, reason: &str| {
            json!([{"type": "Ready", "status": status, "reason": reason, "message": HOSTILE, "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        let revision = format!("main{HOSTILE}@sha1:1111111111111111111111111111111111111111");
        let artifact = json!({"revision": revision, "digest": "sha256:1111111111111111111111111111111111111111111111111111111111111111",
            "path": "p", "url": "http://source/x", "lastUpdateTime": "2026-01-01T00:00:00Z"});
        let fetched =
            json!({"observedGeneration": 1, "artifact": artifact, "conditions": conditions("True", "Succeeded")});
        says(&platform, GIT_REPOSITORY, &source, fetched).await?;
        for (status, reason) in
            [("False", "BuildFailed"), ("True", "ReconciliationSucceeded"), ("Unknown", "Progressing")]
        {
            let told = json!({"observedGeneration": 1, "lastAppliedRevision": revision, "lastAttemptedRevision": revision,
                "conditions": conditions(status, reason)});
            says(&platform, KUSTOMIZATION, &delivery, told).await?;
            let shown = tenant
                .until("what Flux says", "shop", SOON, |config| {
                    let condition = config["status"]["conditions"].as_array().into_iter().flatten();
                    status == "Unknown"
                        || condition.clone().any(|one| one["type"] == "Synced" && one["status"] == status)
                })
                .await?;
            assert_plain(&shown["status"]);
            if status == "False" {
                let synced = message(&shown, "Synced");
                assert!(synced.contains(r"\u{1b}]0;pwned\u{7}") && synced.contains(r"\r\n"), "{synced}");
            }
        }
        seconds(3).await;
        let config = tenant.look("shop").await?;
        assert_plain(&config["status"]);
        let events = platform.space.api("events.k8s.io/v1", "Event", &tenant.name).list(&ListParams::default()).await;
        let events = events.map_err(|error| Error::Service { what: "events".into(), why: error.to_string() })?;
        let notes: Vec<Value> = events.into_iter().map(|event| event.data).collect();
        assert!(
            notes.iter().any(|event| event["note"].as_str().is_some_and(|note| note.contains("pwned"))),
            "{notes:?}"
        );
        notes.iter().for_each(|event| assert_plain(&event["note"]));
        // Its log, whose lines are JSON: neither as it stands there nor as somebody reads it.
        let log = platform.operator.log_tail("", 10_000);
        for line in log.lines() {
            assert!(!line.chars().any(is_hidden), "{line:?}");
            if let Ok(parsed) = serde_json::from_str::<Value>(line) {
                assert_plain(&parsed);
            }
        }
        // What does not change is not written again.
        let before = config["metadata"]["resourceVersion"].clone();
        seconds(5).await;
        assert_eq!(tenant.look("shop").await?["metadata"]["resourceVersion"], before);
        Ok(())
    });
}
