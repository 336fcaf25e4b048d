//! Where nothing changes nothing is written, and a standby takes over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::operator::{NAMESPACE, Operator, USER};

use crate::support::{Platform, SOON, Tenant, on_own_plane, seconds};

/// What the operator wrote, by verb and path, from a place in the audit log on. Its Lease is renewed all the time.
pub(crate) fn writes(platform: &Platform, from: usize) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(platform.cluster.layout().log("audit")).expect("the audit log");
    let mut found = BTreeMap::new();
    for line in text.lines().skip(from) {
        let entry: Value = serde_json::from_str(line).unwrap_or_default();
        let verb = entry["verb"].as_str().unwrap_or_default();
        let writes = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
        // Reviews ask something, and are never stored.
        let kept =
            !["leases", "selfsubjectreviews"].contains(&entry["objectRef"]["resource"].as_str().unwrap_or_default());
        if entry["user"]["username"] == USER && writes && kept {
            *found.entry(format!("{verb} {}", entry["requestURI"].as_str().unwrap_or_default())).or_default() += 1;
        }
    }
    found
}

pub(crate) fn lines(platform: &Platform) -> usize {
    std::fs::read_to_string(platform.cluster.layout().log("audit")).map(|text| text.lines().count()).unwrap_or_default()
}

async fn teams(platform: &Platform, count: usize) -> Result<Vec<Tenant>> {
    let mut tenants = Vec::new();
    for number in 0..count {
        tenants.push(platform.tenant(&format!("t{number}")).await?);
    }
    platform.policy("teams", &tenants.iter().collect::<Vec<_>>(), json!({})).await?;
    for tenant in &tenants {
        for name in ["one", "two", "three"] {
            let url = format!("https://git.sluicegate.test/{}/{name}", tenant.name);
            tenant.config(name, json!({"source": {"url": url}})).await?;
        }
        let foreign = json!({"source": {"url": "https://git.sluicegate.test/somebody/else"}});
        tenant.config("refused", foreign).await?;
    }
    for tenant in &tenants {
        for name in ["one", "two", "three"] {
            tenant.reaches(name, "Admitted", "True", SOON).await?;
        }
        tenant.refused("refused", "source-not-allowed").await?;
    }
    Ok(tenants)
}

#[test]
fn a_resync_without_a_change_writes_nothing() {
    on_own_plane("quiet", async |platform| {
        platform.operator.start()?;
        platform.operator_works().await?;
        teams(&platform, 5).await?;
        let settled = lines(&platform);
        assert!(writes(&platform, 0).len() > 100, "what is counted is seen: {:?}", writes(&platform, 0));
        // What follows the last status: events, late statuses of Deployments that never start here.
        seconds(10).await;
        println!("after the last FluxConfig was admitted: {:?}", writes(&platform, settled));
        let before = lines(&platform);
        platform.operator.stop()?;
        platform.operator.start()?;
        seconds(60).await;
        let found = writes(&platform, before);
        assert!(found.is_empty(), "written in a minute without a change:\n{found:#?}");
        // It is not quiet because it is dead.
        let tenant = platform.tenant("late").await?;
        platform.policy("late", &[&tenant], json!({})).await?;
        tenant
            .config("shop", json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}}))
            .await?;
        tenant.reaches("shop", "Admitted", "True", SOON).await.map(|_| ())
    });
}

async fn leader(platform: &Platform) -> Result<String> {
    let leases = platform.space.api("coordination.k8s.io/v1", "Lease", NAMESPACE);
    let leases = leases.list(&kube::api::ListParams::default()).await;
    let leases =
        leases.map_err(|error| sluicegate_e2e::Error::Service { what: "leases".into(), why: error.to_string() })?;
    let holders: Vec<String> = leases
        .into_iter()
        .filter_map(|lease| lease.data["spec"]["holderIdentity"].as_str().map(str::to_owned))
        .collect();
    assert!(holders.len() < 2, "one Lease decides: {holders:?}");
    Ok(holders.concat())
}

/// A FluxConfig that is made now; how long its admission took.
async fn works(tenant: &Tenant, name: &str) -> Result<Duration> {
    let started = Instant::now();
    let url = format!("https://git.sluicegate.test/{}/{name}", tenant.name);
    tenant.config(name, json!({"source": {"url": url}})).await?;
    tenant.reaches(name, "Admitted", "True", SOON).await?;
    Ok(started.elapsed())
}

#[test]
fn a_standby_takes_over_from_a_leader_that_was_killed_and_at_once_from_one_that_stopped() {
    on_own_plane("failover", async |platform| {
        let (first, second) = (platform.operator.clone(), Arc::new(Operator::new(&platform.cluster, "b")?));
        first.start()?;
        platform.operator_works().await?;
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({})).await?;
        works(&tenant, "one").await?;
        let before = leader(&platform).await?;
        second.start()?;
        seconds(5).await;
        assert_eq!(leader(&platform).await?, before, "a standby waits");
        first.kill()?;
        let took = works(&tenant, "two").await?;
        println!("after kill -9 of the leader: {:.1} s", took.as_secs_f64());
        assert!(took < Duration::from_secs(20), "{took:?}");
        let after = leader(&platform).await?;
        assert_ne!(after, before);
        first.start()?;
        seconds(5).await;
        assert_eq!(leader(&platform).await?, after, "the former leader waits");
        let stopped = second.stop()?;
        let took = works(&tenant, "three").await?;
        println!("a clean stop in {:.1} s, the next in {:.1} s", stopped.as_secs_f64(), took.as_secs_f64());
        assert!(took < Duration::from_secs(5), "it hands over at once: {took:?}");
        assert!(first.is_running());
        Ok(())
    });
}
