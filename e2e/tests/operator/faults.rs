//! The operator is killed again and again in the middle of a long run of changes, the API server and etcd end and start,
//! somebody else writes into its objects; afterwards the cluster is as it would be without all of that, object by object.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::operator::{LEASE, NAMESPACE};
use sluicegate_e2e::suite::snapshot::{Snapshot, essence};

use crate::support::{AGENT_LABEL, API, Platform, api_of, on_own_plane, secret};

const TENANTS: usize = 6;
const CONFIGS: usize = 4;

/// How many times the operator is killed, one minute's worth of it. `SLUICEGATE_E2E_KILLS` says otherwise.
fn kills() -> usize {
    std::env::var("SLUICEGATE_E2E_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

fn tenant(number: u64) -> String {
    format!("fault-t{number}")
}

/// One change of what teams and administrators write. Errors are the API server's, which may be away.
async fn change(platform: &Platform, numbers: &mut Numbers) -> Result<()> {
    let space = &platform.space;
    let (team, name) = (tenant(numbers.below(TENANTS as u64)), format!("c{}", numbers.below(CONFIGS as u64)));
    let what = numbers.below(10);
    let detail = numbers.below(5);
    match what {
        0..=5 => space.apply(config(&team, &name, detail)).await.map(|_| ()),
        6 | 7 => space.delete(API, "FluxConfig", &team, &name).await,
        8 => space.apply(credential(&team, detail)).await.map(|_| ()),
        _ => space.apply(policy(detail)).await.map(|_| ()),
    }
}

fn config(team: &str, name: &str, detail: u64) -> Value {
    let url = match detail {
        // Now and then one that is refused.
        4 => "https://git.example.com/somebody/else".to_owned(),
        other => format!("https://git.example.com/{team}/r{other}"),
    };
    let spec = json!({"source": {"url": url}, "interval": format!("{}s", 30 + detail), "suspend": detail == 3});
    json!({"apiVersion": API, "kind": "FluxConfig", "metadata": {"name": name, "namespace": team}, "spec": spec})
}

fn credential(team: &str, detail: u64) -> Value {
    secret(NAMESPACE, &format!("{team}-git"), json!({"username": team, "password": format!("p{detail}")}))
}

fn policy(detail: u64) -> Value {
    let spec = json!({
        "tenants": {"names": ["fault-t*"]},
        "sources": {"git": {"allow": ["https://git.example.com/${tenant}/**"]}},
        "destinations": [{"clusters": ["local"], "namespaces": ["${tenant}-*"], "createNamespace": true}],
        "credentials": [{"match": "https://git.example.com/**", "secretRef": {"name": "${tenant}-git"}}],
        "defaults": {"cluster": "local", "namespace": "${tenant}-app", "ref": {"branch": "main"}, "path": "./", "retryInterval": format!("{}s", 10 + detail)},
        "agent": {"version": "2.9.3"},
    });
    json!({"apiVersion": API, "kind": "FluxPolicy", "metadata": {"name": "faults"}, "spec": spec})
}

/// What is there in the end, whatever happened before: the same for a run with and without faults.
async fn finish(platform: &Platform) -> Result<()> {
    let patiently = async |object: Value| {
        let applied = || async {
            let applied = platform.space.apply(object.clone()).await?;
            // What is applied to something that is being deleted goes with it.
            Ok(applied["metadata"]["deletionTimestamp"].is_null().then_some(()))
        };
        platform.space.wait("the API server", 60, applied).await
    };
    patiently(policy(1)).await?;
    // What had been admitted before it was refused goes on to exist, and is no end that both runs have.
    platform.remove(&tenant(0), "c0", 120).await?;
    for number in 0..TENANTS as u64 {
        let team = tenant(number);
        patiently(credential(&team, number % 5)).await?;
        for index in 0..CONFIGS as u64 {
            let name = format!("c{index}");
            // Each tenant has another number of them, the last none at all; one of the first tenant's is refused.
            if index + number < TENANTS as u64 - 1 {
                let detail = if number == 0 && index == 0 { 4 } else { (index + number) % 4 };
                patiently(config(&team, &name, detail)).await?;
            } else {
                platform.space.delete(API, "FluxConfig", &team, &name).await?;
            }
        }
    }
    Ok(())
}

async fn prepare(platform: &Platform) -> Result<()> {
    for number in 0..TENANTS as u64 {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant(number)}});
        platform.space.apply(namespace).await?;
        platform.space.apply(credential(&tenant(number), 0)).await?;
    }
    platform.space.apply(policy(0)).await.map(|_| ())
}

/// Everything of the run once nothing has moved for five seconds, nothing is being deleted and every FluxConfig was looked at.
async fn settled(platform: &Platform) -> Result<Snapshot> {
    let deadline = Instant::now() + Duration::from_secs(180);
    let (mut last, mut since) = (Snapshot::default(), Instant::now());
    loop {
        let all = match Snapshot::take(&platform.space, &["fault-t"]).await {
            Ok(all) => all,
            Err(error) if Instant::now() > deadline => return Err(error),
            // An API server that has just come back refuses lists for a moment.
            Err(_) => {
                since = Instant::now();
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
        };
        let now = all.only(|key, value| {
            let owned = !value["metadata"]["labels"][AGENT_LABEL].is_null();
            let derived = ["Pod", "ReplicaSet", "Event"].contains(&key.kind.as_str());
            (owned || key.kind == "FluxConfig" || key.kind == "Namespace") && !derived
        });
        let open: Vec<String> = now
            .0
            .iter()
            .filter(|(key, value)| {
                let looked_at = value["status"]["observedGeneration"] == value["metadata"]["generation"];
                // A Namespace may be on its way out for longer than that, and nothing of it moves.
                !value["metadata"]["deletionTimestamp"].is_null() || key.kind == "FluxConfig" && !looked_at
            })
            .map(|(key, value)| format!("{key}: {} {}", value["metadata"], value["status"]))
            .collect();
        let difference = last.difference(&now);
        if !open.is_empty() || !difference.is_empty() {
            since = Instant::now();
        }
        last = now;
        if since.elapsed() > Duration::from_secs(5) {
            return Ok(last);
        }
        if Instant::now() > deadline {
            let log = format!("; {difference}{}", open.join("\n"));
            return Err(Error::NotReady { what: "rest after the run".into(), seconds: 180, log });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What two clusters cannot have in common.
fn comparable(snapshot: Snapshot) -> Snapshot {
    let strip = |value: Value| {
        let conditions = value["status"]["conditions"].clone();
        let mut object = essence(&value);
        if object["kind"] == "Service" {
            object["spec"]["clusterIP"] = Value::Null;
            object["spec"]["clusterIPs"] = Value::Null;
        }
        if object["kind"] == "FluxConfig" {
            let all = conditions.as_array().cloned().unwrap_or_default();
            let kept =
                all.iter().map(|one| json!({"type": one["type"], "status": one["status"], "reason": one["reason"]}));
            object["conditions"] = kept.collect();
        }
        object
    };
    Snapshot(snapshot.0.into_iter().map(|(key, value)| (key, strip(value))).collect())
}

/// Somebody who bends what Sluicegate owns, by force.
async fn meddle(platform: &Platform, numbers: &mut Numbers) -> Result<()> {
    let kinds = [
        ("apps/v1", "Deployment", json!({"spec": {"replicas": 3}})),
        ("kustomize.toolkit.fluxcd.io/v1", "Kustomization", json!({"spec": {"path": "./evil", "force": true}})),
        ("source.toolkit.fluxcd.io/v1", "GitRepository", json!({"spec": {"url": "https://evil.example.com/x"}})),
        ("rbac.authorization.k8s.io/v1", "RoleBinding", json!({"subjects": []})),
        ("v1", "ServiceAccount", json!({"metadata": {"labels": {AGENT_LABEL: "evil"}}})),
    ];
    let (version, kind, patch) = kinds[usize::try_from(numbers.below(5)).unwrap_or_default()].clone();
    let found = platform.labelled((version, kind), "app.kubernetes.io/managed-by", "sluicegate").await?;
    let count = u64::try_from(found.len()).unwrap_or_default();
    if count == 0 {
        return Ok(());
    }
    let chosen = &found[usize::try_from(numbers.below(count)).unwrap_or_default()]["metadata"];
    let (namespace, name) =
        (chosen["namespace"].as_str().unwrap_or_default(), chosen["name"].as_str().unwrap_or_default());
    if !namespace.contains("fault-t") {
        return Ok(());
    }
    let api = api_of(platform.space.client(), (version, kind), namespace);
    if numbers.below(4) == 0 {
        let _ = api.delete(name, &kube::api::DeleteParams::default()).await;
    } else {
        let _ = platform.edit((version, kind), namespace, name, patch).await;
    }
    Ok(())
}

/// Kills the operator at random moments until it was killed often enough, while everything else goes on.
async fn kill(platform: Platform, count: Arc<AtomicUsize>, wanted: usize) -> Result<()> {
    let mut numbers = Numbers(0x5EED_0001);
    while count.load(Ordering::Relaxed) < wanted {
        // From before it has read anything to long after it came to rest.
        let pause = match numbers.below(4) {
            0 => numbers.below(150),
            1 | 2 => 150 + numbers.below(700),
            _ => 800 + numbers.below(1500),
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        platform.operator.kill()?;
        count.fetch_add(1, Ordering::Relaxed);
        // Whoever is dead leads no more. The next one would find out by waiting for the end of the lease, which `quiet`
        // measures; here that would be most of the time. While the API server is away, it waits indeed.
        let lease = ("coordination.k8s.io/v1", "Lease");
        let _ = platform.edit(lease, NAMESPACE, LEASE, json!({"spec": {"holderIdentity": ""}})).await;
        platform.operator.start()?;
    }
    Ok(())
}

#[test]
fn after_many_kills_everything_is_as_without_any() {
    let expected: Arc<std::sync::Mutex<Option<Snapshot>>> = Arc::default();
    let keep = expected.clone();
    on_own_plane("calm", async move |platform| {
        prepare(&platform).await?;
        platform.operator.start()?;
        finish(&platform).await?;
        *keep.lock().expect("a snapshot") = Some(comparable(settled(&platform).await?));
        Ok(())
    });
    let expected = expected.lock().expect("a snapshot").take().expect("the run without faults came first");
    assert!(expected.0.len() > 100, "{} objects", expected.0.len());
    on_own_plane("faults", async move |platform| {
        prepare(&platform).await?;
        platform.operator.start()?;
        let started = Instant::now();
        let count = Arc::new(AtomicUsize::new(0));
        let killer = tokio::spawn(kill(platform.clone(), count.clone(), kills()));
        let (mut changes, mut meddled, mut outages) = (0, 0, 0);
        let mut numbers = Numbers(0x5EED_0002);
        while !killer.is_finished() {
            changes += usize::from(change(&platform, &mut numbers).await.is_ok());
            if numbers.below(5) == 0 {
                meddled += usize::from(meddle(&platform, &mut numbers).await.is_ok());
            }
            if numbers.below(120) == 0 {
                let victim = ["kube-apiserver", "etcd"][usize::try_from(numbers.below(2)).unwrap_or_default()];
                platform.cluster.kill(victim)?;
                tokio::time::sleep(Duration::from_millis(numbers.below(3000))).await;
                platform.cluster.start_again(victim)?;
                outages += 1;
            }
            tokio::time::sleep(Duration::from_millis(numbers.below(300))).await;
        }
        killer.await.expect("the killer")?;
        let took = started.elapsed().as_secs_f64();
        let killed = count.load(Ordering::Relaxed);
        println!("{killed} kills, {changes} changes, {meddled} meddlings, {outages} outages in {took:.0} s");
        assert!(killed >= kills() && changes > killed);
        finish(&platform).await?;
        let found = comparable(settled(&platform).await?);
        let difference = expected.difference(&found);
        assert!(difference.is_empty(), "against a run without faults:\n{difference}");
        Ok(())
    });
}
