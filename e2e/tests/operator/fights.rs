//! Whoever writes against the operator is answered at once a few times, and then less and less. The kinds are not listed here:
//! an object of every kind that is rendered is fought for, and everything else that the operator writes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::{NODE_ADDRESS, REGISTRY_PORT};
use sluicegate_e2e::suite::operator::{CLUSTER, Operator, program};
use sluicegate_e2e::suite::snapshot::{Key, Snapshot, differences};
use sluicegate_operator::contest::SAME;
use sluicegate_operator::object::Kind;
use tokio::task::JoinHandle;

use crate::drift::{comparable, edits};
use crate::quiet::{lines, writes};
use crate::support::{
    AGENT_LABEL, API, CONFIG, DEPLOYMENT, Platform, SOON, Tenant, api_of, has, message, on_own_plane, seconds, secret,
};

/// How long they fight.
const FIGHT: u64 = 60;
/// Requests for one object in that time: the free repairs, those after 10 and 30 seconds and what began before, each of up to
/// three requests (an apply, what takes additions away, and a new beginning where it was deleted).
const MOST: usize = 3 * (SAME + 4);
/// The longest wait that has begun by then.
const LAST: Duration = Duration::from_secs(80);
/// Time for the last repair, once its time has come.
const LIMIT: Duration = Duration::from_secs(8);

/// The platform with an operator whose metrics can be read at a port.
async fn measured(platform: Platform) -> Result<(Platform, u16)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket").local_addr().expect("an address").port();
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let operator = Arc::new(Operator::of(&platform.cluster, "measured", program()?, listen)?);
    operator.start()?;
    let platform = Platform { operator, ..platform };
    platform.operator_works().await?;
    Ok((platform, port))
}

async fn metric(port: u16, series: &str) -> Result<u64> {
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let answer = sluicegate_e2e::suite::http::send(port, request).await?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    Ok(value.unwrap_or_else(|| panic!("no {series} in\n{text}")))
}

/// A tenant whose agent has an object of every kind; gives all of them once nothing moves any more.
async fn everything(platform: &Platform, suffix: &str) -> Result<(Tenant, Snapshot)> {
    let tenant = platform.tenant(suffix).await?;
    let bucket = json!({"allow": ["https://buckets.sluicegate.test/${tenant}"]});
    let over = json!({"quota": {"pods": "50"}, "sources": {"bucket": bucket}});
    platform.policy(suffix, &[&tenant], over).await?;
    platform.space.apply(secret(&tenant.name, "values", json!({"values.yaml": "a: b\n"}))).await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "values", "namespace": tenant.name}, "data": {"values.yaml": "a: b\n"}});
    platform.space.apply(map).await?;
    let oci = format!("oci://{NODE_ADDRESS}:{REGISTRY_PORT}/{}/manifests", tenant.name);
    let values = json!([{"kind": "Secret", "name": "values"}, {"kind": "ConfigMap", "name": "values"}]);
    for (name, spec) in [
        ("git", json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}})),
        ("held", json!({"source": {"url": format!("https://git.sluicegate.test/{}/held", tenant.name)}})),
        ("oci", json!({"source": {"url": oci, "ref": {"tag": "v1"}}})),
        (
            "bucket",
            json!({"source": {"kind": "Bucket", "url": format!("https://buckets.sluicegate.test/{}", tenant.name)}}),
        ),
        (
            "chart",
            json!({"source": {"kind": "Helm", "url": format!("http://charts.sluicegate.test/{}", tenant.name)}, "chart": {"name": "web", "valuesFrom": values}}),
        ),
    ] {
        tenant.config(name, spec).await?;
        tenant.reaches(name, "Admitted", "True", SOON).await?;
    }
    let (mut last, mut since) = (Snapshot::default(), Instant::now());
    let deadline = Instant::now() + Duration::from_secs(SOON);
    while since.elapsed() < Duration::from_secs(3) {
        assert!(Instant::now() < deadline, "the objects of {} do not come to rest", tenant.name);
        let all = Snapshot::take(&platform.space, &[&tenant.name]).await?.owned();
        let now = all.only(|key, value| {
            let labelled = !value["metadata"]["labels"][AGENT_LABEL].is_null();
            labelled && !["Pod", "ReplicaSet"].contains(&key.kind.as_str())
        });
        if !last.difference(&now).is_empty() {
            since = Instant::now();
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Ok((tenant, last))
}

/// One object of every kind; a kind that is missing is an error.
fn one_of_each(objects: &Snapshot) -> Vec<(Key, Value)> {
    let one = |kind: Kind| {
        // Without its right to Secrets the operator does something else altogether.
        let fit = |key: &&Key| key.kind == kind.name() && !key.name.contains("operator");
        let key = objects.0.keys().find(fit).unwrap_or_else(|| panic!("no {kind} among the objects of the tenant"));
        (key.clone(), objects.0[key].clone())
    };
    Kind::ALL.iter().map(|kind| one(*kind)).collect()
}

/// Somebody who writes whenever the operator has.
struct Meddler {
    name: String,
    /// What the operator writes of it, as the audit log has it: a part of the path.
    path: String,
    writes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Meddler {
    /// Does `meddle` until `stop`; it says whether it has written.
    fn new<F>(name: String, path: String, stop: &Arc<AtomicBool>, meddle: impl Fn(usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let writes = Arc::new(AtomicUsize::new(0));
        let (count, stop) = (writes.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                if meddle(count.load(Ordering::SeqCst)).await {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        });
        Self { name, path, writes, task }
    }
}

fn plural(kind: &str) -> &'static str {
    Kind::ALL.iter().find(|known| known.name() == kind).map(|known| known.plural()).expect("a kind that is rendered")
}

fn path(key: &Key) -> String {
    match key.namespace.as_str() {
        "" => format!("/{}/{}?", plural(&key.kind), key.name),
        namespace => format!("/namespaces/{namespace}/{}/{}?", plural(&key.kind), key.name),
    }
}

/// Whether everything that a merge patch asks for is there already.
fn is_patched(object: &Value, patch: &Value) -> bool {
    match patch {
        Value::Object(fields) => fields.iter().all(|(name, inner)| is_patched(&object[name], inner)),
        // The API server fills items in.
        Value::Array(items) => {
            let found = object.as_array().map_or(&[][..], Vec::as_slice);
            found.len() == items.len() && items.iter().zip(found).all(|(item, found)| is_patched(found, item))
        }
        Value::Null => object.is_null(),
        other => other == object,
    }
}

/// Edits an object as soon as the edit is undone.
fn editor(platform: &Platform, key: &Key, patch: Value, stop: &Arc<AtomicBool>) -> Meddler {
    let api = api_of(platform.space.client(), (&key.api_version, &key.kind), &key.namespace);
    let name = key.name.clone();
    Meddler::new(key.to_string(), path(key), stop, move |_| {
        let (api, name, patch) = (api.clone(), name.clone(), patch.clone());
        async move {
            let Ok(Some(found)) = api.get_opt(&name).await else { return false };
            let found = serde_json::to_value(found).expect("an object");
            if is_patched(&found, &patch) || !found["metadata"]["deletionTimestamp"].is_null() {
                return false;
            }
            let parameters = PatchParams { field_manager: Some("meddler".into()), ..PatchParams::default() };
            api.patch(&name, &parameters, &Patch::Merge(&patch)).await.is_ok()
        }
    })
}

/// Deletes an object as soon as it is there.
fn deleter(platform: &Platform, key: &Key, stop: &Arc<AtomicBool>) -> Meddler {
    let api = api_of(platform.space.client(), (&key.api_version, &key.kind), &key.namespace);
    let name = key.name.clone();
    Meddler::new(key.to_string(), path(key), stop, move |_| {
        let (api, name) = (api.clone(), name.clone());
        async move {
            let Ok(Some(found)) = api.get_opt(&name).await else { return false };
            found.metadata.deletion_timestamp.is_none()
                && api.delete(&name, &kube::api::DeleteParams::default()).await.is_ok()
        }
    })
}

/// Writes something else into a status each time, as soon as the operator has written over it.
fn liar(platform: &Platform, kind: &'static str, namespace: &str, name: &str, stop: &Arc<AtomicBool>) -> Meddler {
    let api = api_of(platform.space.client(), (API, kind), namespace);
    let (name, path) = (name.to_owned(), format!("{}/{name}/status?", kind_path(kind)));
    Meddler::new(format!("the status of {kind} {namespace}/{name}"), path, stop, move |count| {
        let (api, name) = (api.clone(), name.clone());
        async move {
            let Ok(found) = api.get_status(&name).await else { return false };
            let conditions = &found.data["status"]["conditions"];
            let lie = json!([{"type": "Ready", "status": "True", "reason": "Lie", "message": format!("lie {count}"), "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
            if conditions[0]["reason"] == "Lie" {
                return false;
            }
            let parameters = PatchParams { field_manager: Some("meddler".into()), ..PatchParams::default() };
            let patch = json!({"status": {"conditions": lie}});
            api.patch_status(&name, &parameters, &Patch::Merge(&patch)).await.is_ok()
        }
    })
}

fn kind_path(kind: &str) -> &'static str {
    match kind {
        "FluxConfig" => "/fluxconfigs",
        "FluxPolicy" => "/fluxpolicies",
        "FluxCluster" => "/fluxclusters",
        other => panic!("no path of {other}"),
    }
}

/// Notes of the events with the reason of contests.
async fn notes(platform: &Platform) -> Result<Vec<String>> {
    let events = platform.space.api("events.k8s.io/v1", "Event", "");
    let events = events.list(&ListParams::default()).await;
    let events = events.map_err(|error| Error::Service { what: "events".into(), why: error.to_string() })?;
    let contested = events.into_iter().filter(|event| event.data["reason"] == "Contested");
    Ok(contested.filter_map(|event| event.data["note"].as_str().map(str::to_owned)).collect())
}

#[test]
fn every_writer_that_fights_is_answered_less_and_less() {
    on_own_plane("fights", async |platform| {
        let (platform, port) = measured(platform).await?;
        // TenantGuards are written where there is a guard.
        platform.edit((API, "FluxCluster"), "", CLUSTER, json!({"spec": {"guard": "Webhook"}})).await?;
        let (edited, edited_objects) = everything(&platform, "edited").await?;
        let (deleted, deleted_objects) = everything(&platform, "deleted").await?;
        let policy = format!("{}-edited", platform.space.prefix());
        let guard = Key {
            api_version: API.into(),
            kind: "TenantGuard".into(),
            namespace: edited.target(),
            name: "sluicegate".into(),
        };

        let stop = Arc::new(AtomicBool::new(false));
        let mut meddlers = Vec::new();
        let mut fought: BTreeMap<Key, Value> = BTreeMap::new();
        for (key, value) in one_of_each(&edited_objects) {
            // A label that is only taken away is nobody's, and so nobody would be named.
            let mut edits = edits(&key, &value);
            let (_, patch) = if key.kind == "Namespace" { edits.pop().expect("an edit") } else { edits.swap_remove(0) };
            meddlers.push(editor(&platform, &key, patch, &stop));
            fought.insert(key, value);
        }
        // A namespace that is being deleted takes everything with it.
        for (key, value) in one_of_each(&deleted_objects).into_iter().filter(|(key, _)| key.kind != "Namespace") {
            meddlers.push(deleter(&platform, &key, &stop));
            fought.insert(key, value);
        }
        meddlers.push(liar(&platform, "FluxConfig", &edited.name, "oci", &stop));
        meddlers.push(liar(&platform, "FluxPolicy", "", &policy, &stop));
        meddlers.push(liar(&platform, "FluxCluster", "", CLUSTER, &stop));
        let from = lines(&platform);
        let guards = api_of(platform.space.client(), (API, "TenantGuard"), &guard.namespace);
        meddlers.push(Meddler::new(
            "TenantGuard".into(),
            format!("{}/tenantguards/", guard.namespace),
            &stop,
            move |_| {
                let guards = guards.clone();
                async move {
                    let Ok(list) = guards.list(&ListParams::default()).await else { return false };
                    let Some(one) = list.items.into_iter().next() else { return false };
                    let name = one.metadata.name.unwrap_or_default();
                    guards.delete(&name, &kube::api::DeleteParams::default()).await.is_ok()
                }
            },
        ));
        // Its finalizer, which the operator puts on.
        let configs = api_of(platform.space.client(), CONFIG, &edited.name);
        let held = format!("/namespaces/{}/fluxconfigs/held?", edited.name);
        meddlers.push(Meddler::new("FluxConfig held".into(), held, &stop, move |_| {
            let configs = configs.clone();
            async move {
                let Ok(Some(found)) = configs.get_opt("held").await else { return false };
                let patch = json!({"metadata": {"finalizers": []}});
                found.metadata.finalizers.is_some_and(|list| !list.is_empty())
                    && configs.patch("held", &PatchParams::default(), &Patch::Merge(&patch)).await.is_ok()
            }
        }));

        seconds(FIGHT).await;
        let found = writes(&platform, from);
        stop.store(true, Ordering::SeqCst);
        let stopped = Instant::now();
        let configs = [edited.look("git").await?, deleted.look("git").await?];
        let mut wrong = Vec::new();
        for meddler in meddlers {
            meddler.task.await.expect("a meddler that ends");
            let theirs = meddler.writes.load(Ordering::SeqCst);
            let matches = |uri: &str| format!("{uri}?").contains(&meddler.path);
            let ours: usize = found.iter().filter(|(uri, _)| matches(uri)).map(|(_, count)| count).sum();
            println!("{}: {theirs} writes of the other, {ours} of the operator's", meddler.name);
            if theirs < SAME {
                wrong.push(format!("{}: there was no fight: {theirs} writes", meddler.name));
            }
            if ours > MOST || theirs > MOST {
                wrong.push(format!("{}: {ours} writes of the operator's, {theirs} of the other", meddler.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));

        // People hear of it: by events with the other's name, by metrics, by statuses.
        let notes = notes(&platform).await?;
        for key in fought.keys() {
            let subject = if key.namespace.is_empty() {
                format!("{}/{} is contested", key.kind, key.name)
            } else {
                format!("{} {}/{} is contested", key.kind, key.namespace, key.name)
            };
            let note = notes.iter().find(|note| note.starts_with(&subject));
            match note {
                None => wrong.push(format!("no event of {key}")),
                Some(note) if note.contains("`meddler`") || note.contains("deletes it") => {}
                Some(note) => wrong.push(format!("an event that does not say who: {note}")),
            }
        }
        for subject in ["the TenantGuard of", "FluxConfig ", "the status of FluxConfig", "the status of FluxPolicy"] {
            if !notes.iter().any(|note| note.starts_with(subject)) {
                wrong.push(format!("no event of {subject}"));
            }
        }
        assert!(wrong.is_empty(), "{}\n--- events\n{}", wrong.join("\n"), notes.join("\n"));
        for kind in Kind::ALL {
            let labels = format!("{{cluster=\"{CLUSTER}\",kind=\"{}\"}}", kind.name());
            let repairs = metric(port, &format!("sluicegate_operator_contested_repairs_total{labels}")).await?;
            let waiting = metric(port, &format!("sluicegate_operator_contested_objects{labels}")).await?;
            assert!(repairs > 0 && waiting > 0, "{kind}: {repairs} repairs, {waiting} wait");
        }
        for config in &configs {
            let name = &config["metadata"]["namespace"];
            assert!(has(config, "Ready", "False") && message(config, "Ready").contains("is contested"), "{name}");
        }

        // The others have stopped: all is right again when the last wait is over that could begin in that time.
        let deadline = stopped + LAST + LIMIT;
        for (key, before) in &fought {
            loop {
                let found = platform.space.get(&key.api_version, &key.kind, &key.namespace, &key.name).await?;
                let mut found = found.unwrap_or_default();
                found["apiVersion"] = before["apiVersion"].clone();
                found["kind"] = before["kind"].clone();
                let left = differences("", &comparable(before), &comparable(&found));
                if left.is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "{key} is not right again: {}", left.join("; "));
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Ok(())
    });
}

#[test]
fn a_horizontal_pod_autoscaler_is_named_and_answered_less_and_less() {
    on_own_plane("autoscaler", async |platform| {
        let (platform, port) = measured(platform).await?;
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({"agent": {"placement": "Namespace"}})).await?;
        let url = format!("https://git.sluicegate.test/{}/shop", tenant.name);
        tenant.config("shop", json!({"source": {"url": url}})).await?;
        let agent = tenant.target();
        let name = "source-controller";
        let api = api_of(platform.space.client(), DEPLOYMENT, &agent);
        platform
            .space
            .wait("the agent's Deployment", SOON, || async { Ok(api.get_opt(name).await.ok().flatten()) })
            .await?;
        // As many pods as it asks for are asked for without any metrics.
        platform
            .space
            .apply(json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "more", "namespace": agent},
                "spec": {
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                    "minReplicas": 3, "maxReplicas": 5,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
                },
            }))
            .await?;
        let config = tenant
            .until("a status that names the autoscaler", "shop", 240, |config| {
                let ready = message(config, "Ready");
                ready.contains("kube-controller-manager") && ready.contains("scale") && ready.contains("spec.replicas")
            })
            .await?;
        assert!(has(&config, "Ready", "False"));
        let notes = notes(&platform).await?;
        assert!(notes.iter().any(|note| note.contains("kube-controller-manager")), "{notes:?}");
        let series =
            format!("sluicegate_operator_contested_repairs_total{{cluster=\"{CLUSTER}\",kind=\"Deployment\"}}");
        assert!(metric(port, &series).await? > 0);
        let from = lines(&platform);
        seconds(FIGHT).await;
        let path = format!("/{agent}/deployments/{name}");
        let found: usize =
            writes(&platform, from).iter().filter(|(uri, _)| uri.contains(&path)).map(|(_, count)| count).sum();
        println!("{found} writes in the minute after it was told");
        assert!(found <= 3, "{found}");
        // Without it all is as it was.
        platform.space.delete("autoscaling/v2", "HorizontalPodAutoscaler", &agent, "more").await?;
        platform
            .space
            .wait("one pod again", 200, || async {
                let found = api.get_opt(name).await.ok().flatten().map(|found| found.data["spec"]["replicas"].clone());
                Ok(found.filter(|replicas| *replicas == 1))
            })
            .await
            .map(|_| ())
    });
}
