//! Objects of more than a megabyte, of every kind that the operator watches: anybody who may write one of them, or labels of a
//! Namespace, could end an operator that reads lists as a whole.

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::flood::{Flood, Watched, named, rounds};
use sluicegate_e2e::suite::operator::USER;

use crate::support::{GIT_REPOSITORY, Platform, SOON, Tenant, on_own_plane, seconds};

const MIB: u64 = 1024 * 1024;
/// What `deploy/operator` gives to the operator.
const LIMIT: u64 = 512 * MIB;
/// What large objects may cost beside that, however many there are.
const COST: u64 = 96 * MIB;

/// Starts the operator, has it work, and gives the most memory that it had until then.
async fn peak(platform: &Platform, tenant: &Tenant, round: usize) -> Result<u64> {
    const REQUEST: &str = "reconcile.fluxcd.io/requestedAt";
    platform.operator.start()?;
    let round = format!("round {round}");
    let ask = json!({"metadata": {"annotations": {REQUEST: round}}});
    platform.edit(crate::support::CONFIG, &tenant.name, "shop", ask).await?;
    // It has listed everything when it passes the request on, and looks at everything that it lists.
    platform
        .space
        .wait("the request to sync at the GitRepository", SOON, || async {
            let (version, kind) = GIT_REPOSITORY;
            let source = platform.space.get(version, kind, &tenant.agent(), "shop").await?.unwrap_or_default();
            Ok((source["metadata"]["annotations"][REQUEST] == round).then_some(()))
        })
        .await?;
    seconds(1).await;
    let (_, most) = platform
        .operator
        .memory()
        .ok_or_else(|| Error::Service { what: "the operator".into(), why: platform.operator.log_tail("", 20) })?;
    platform.operator.stop()?;
    Ok(most)
}

#[test]
fn large_objects_of_no_watched_kind_end_the_operator() {
    on_own_plane("floods", async |platform| {
        platform.operator.start()?;
        platform.operator_works().await?;
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({})).await?;
        tenant
            .config("shop", json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}}))
            .await?;
        tenant.reaches("shop", "Admitted", "True", SOON).await?;
        let scratch = platform.space.namespace("scratch").await?;
        // Copies are watched once there are some.
        platform
            .space
            .wait("a watch of the Secrets of the agent", SOON, || async {
                let all = Watched::by(&platform.cluster, USER)?;
                let copies = all.iter().any(|watched| watched.name() == format!("secrets. in {}", tenant.agent()));
                Ok(copies.then_some(()))
            })
            .await?;
        seconds(2).await;
        platform.operator.stop()?;
        let watched = Watched::by(&platform.cluster, USER)?;
        assert!(watched.len() > 18, "what is watched is seen: {watched:?}");
        let usual = peak(&platform, &tenant, 0).await?;
        println!("without large objects: {} MiB", usual / MIB);
        for (round, (count, watched)) in rounds(watched).into_iter().enumerate() {
            let mut floods = Vec::new();
            for one in &watched {
                floods.push(Flood::of(&platform.space, one, &scratch, count).await?);
            }
            let most = peak(&platform, &tenant, round + 1).await?;
            let what = named(count, &watched);
            println!("{what}: {} MiB", most / MIB);
            assert!(most < LIMIT && most < usual + COST, "{what}: {} MiB, usually {}", most / MIB, usual / MIB);
            for flood in floods {
                flood.end(&platform.space).await?;
            }
        }
        // One object at a time: by streaming lists, which this API server has.
        let listed = platform.cluster.layout().log("audit");
        let text = std::fs::read_to_string(&listed).expect("the audit log");
        let entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let lists = entries.filter(|entry| {
            entry["verb"] == "list"
                && entry["user"]["username"] == USER
                && entry["objectRef"]["resource"] == "fluxconfigs"
        });
        assert_eq!(lists.count(), 0, "nothing that is watched is listed by pages");
        platform.operator.start()
    });
}
