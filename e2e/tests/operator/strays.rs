//! Objects that carry a tenant's labels where Sluicegate has not put them. Anybody may write labels in a namespace of theirs: they
//! hold up nothing, say nothing in a status, are left alone, and are reported.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::{Context as _, Result};
use sluicegate_e2e::suite::create_as;
use sluicegate_e2e::suite::operator::{CLUSTER, Operator, program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{API, GIT_REPOSITORY, KUSTOMIZATION, SOON, on_own_plane, seconds};

/// What the operator says at its address for metrics.
async fn metrics(address: SocketAddr) -> Result<String> {
    let what = "the operator's metrics";
    let mut stream = TcpStream::connect(address).await.doing("reaching", what)?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.doing("asking", what)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.doing("asking", what)?;
    Ok(answer)
}

fn has(metrics: &str, kind: &str, count: usize) -> bool {
    let series = format!(r#"sluicegate_operator_strays{{cluster="{CLUSTER}",kind="{kind}"}} {count}"#);
    metrics.lines().any(|line| line == series)
}

#[test]
fn labels_elsewhere_hold_up_nothing_say_nothing_and_are_reported() {
    on_own_plane("strays", async |platform| {
        let space = &platform.space;
        let address = {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).doing("finding", "a free port")?;
            socket.local_addr().doing("finding", "a free port")?
        };
        let operator = Operator::of(&platform.cluster, "measured", program()?, address)?;
        operator.start()?;
        platform.operator_works().await?;
        let victim = platform.tenant("victim").await?;
        platform.policy("teams", &[&victim], json!({})).await?;
        let url = format!("https://git.sluicegate.test/{}/app", victim.name);
        victim.config("app", json!({"source": {"url": url}})).await?;
        victim.reaches("app", "Admitted", "True", SOON).await?;
        victim.delivery(KUSTOMIZATION, "app", SOON).await?;
        seconds(3).await;
        let before = victim.look("app").await?["status"].clone();

        // Somebody with the role `edit` in a namespace that has nothing to do with Sluicegate.
        let scratch = space.namespace("scratch").await?;
        let outsider = space.user("outsider", None).await?;
        space.bind(&outsider, &scratch, "edit", ("ClusterRole", "edit")).await?;
        let labels = json!({
            "app.kubernetes.io/managed-by": "sluicegate", "sluicegate.dev/agent": victim.agent(),
            "sluicegate.dev/tenant": victim.name, "sluicegate.dev/home": victim.name, "sluicegate.dev/config": "app",
        });
        let metadata = json!({
            "name": "planted", "namespace": scratch, "labels": labels, "finalizers": ["outsider.example/stay"],
        });
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 1}]}});
        create_as(&outsider.client, service).await?;
        // And with rights on Flux objects: one that speaks.
        let spec = json!({"interval": "1h", "url": "https://git.example.com/evil"});
        let source =
            json!({"apiVersion": GIT_REPOSITORY.0, "kind": GIT_REPOSITORY.1, "metadata": metadata, "spec": spec});
        create_as(&space.client(), source).await?;
        let ready = json!({
            "type": "Ready", "status": "False", "reason": "Evil", "message": "mail your token to the outsider",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        });
        let chart = json!({
            "apiVersion": GIT_REPOSITORY.0, "kind": "HelmChart", "metadata": metadata,
            "spec": {"interval": "1h", "chart": "evil", "sourceRef": {"kind": "HelmRepository", "name": "evil"}},
        });
        create_as(&space.client(), chart).await?;
        for kind in [GIT_REPOSITORY.1, "HelmChart"] {
            let api = space.api(GIT_REPOSITORY.0, kind, &scratch);
            let status = json!({"status": {"conditions": [ready]}});
            let patch = kube::api::Patch::Merge(&status);
            let told = api.patch_status("planted", &kube::api::PatchParams::default(), &patch).await;
            told.map_err(|error| Error::Service { what: format!("the status of the {kind}"), why: error.to_string() })?;
        }

        space
            .wait("the metric of strays", SOON, || async {
                let text = metrics(address).await?;
                Ok((has(&text, "Service", 1) && has(&text, "GitRepository", 1) && has(&text, "Kustomization", 0))
                    .then_some(()))
            })
            .await?;
        space
            .wait("an event that names the stray Service", SOON, || async {
                let events = space.api("events.k8s.io/v1", "Event", "");
                let events = events.list(&kube::api::ListParams::default()).await;
                let events =
                    events.map_err(|error| Error::Service { what: "events".into(), why: error.to_string() })?;
                let named = |event: &Value| {
                    event["reason"] == "StrayObjects"
                        && event["regarding"]["kind"] == "FluxCluster"
                        && event["regarding"]["name"] == CLUSTER
                        && event["note"]
                            .as_str()
                            .is_some_and(|note| note.contains(&format!("Service {scratch}/planted")))
                };
                Ok(events.items.iter().any(|event| named(&event.data)).then_some(()))
            })
            .await?;
        seconds(5).await;
        assert_eq!(victim.look("app").await?["status"], before, "the victim's status is as it was");

        // The end of the victim's FluxConfig, and of its agent, waits for nobody.
        platform.remove(&victim.name, "app", SOON).await?;
        let planted = async || -> Result<Value> {
            Ok(space.get("v1", "Service", &scratch, "planted").await?.unwrap_or_default()["metadata"].clone())
        };
        let left = planted().await?;
        assert_eq!(left["finalizers"], json!(["outsider.example/stay"]));
        assert_eq!(left["deletionTimestamp"], Value::Null, "the planted object is left alone");
        assert_eq!(left["labels"], labels);

        // Once they are gone the metric says so.
        for (version, kind) in [("v1", "Service"), GIT_REPOSITORY, (GIT_REPOSITORY.0, "HelmChart")] {
            platform.edit((version, kind), &scratch, "planted", json!({"metadata": {"finalizers": null}})).await?;
            space.delete(version, kind, &scratch, "planted").await?;
        }
        space
            .wait("the end of the metric", SOON, || async {
                let text = metrics(address).await?;
                Ok((has(&text, "Service", 0) && has(&text, "GitRepository", 0)).then_some(()))
            })
            .await?;
        assert!(space.get(API, "FluxConfig", &victim.name, "app").await?.is_none());
        operator.stop().map(|_| ())
    });
}
