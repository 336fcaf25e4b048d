//! Objects of more than a megabyte, of every kind that the webhook watches: it starts and answers all the same.

use sluicegate_e2e::Error;
use sluicegate_e2e::suite::flood::{Flood, Watched, named, rounds};
use sluicegate_e2e::suite::webhook::{Replica, USER};

use crate::support::on_own;

const MIB: u64 = 1024 * 1024;
/// What `deploy/webhook` gives to the webhook.
const LIMIT: u64 = 512 * MIB;
/// What large objects may cost beside that, however many there are.
const COST: u64 = 96 * MIB;

#[test]
fn large_objects_of_no_watched_kind_end_the_webhook() {
    on_own("floods", async |hook| {
        let replica = Replica::new(&hook.cluster, "flooded", &[])?;
        // Ready when everything has been listed, with the most memory that it had until then.
        let peak = async || {
            replica.start().await?;
            let memory = replica.memory();
            let (_, most) =
                memory.ok_or_else(|| Error::Service { what: "the webhook".into(), why: replica.log_tail("", 20) })?;
            replica.stop()?;
            Ok::<_, Error>(most)
        };
        let usual = peak().await?;
        println!("without large objects: {} MiB", usual / MIB);
        let watched = Watched::by(&hook.cluster, USER)?;
        assert!(watched.len() >= 5, "what is watched is seen: {watched:?}");
        let scratch = hook.space.namespace("scratch").await?;
        for (count, watched) in rounds(watched) {
            let mut floods = Vec::new();
            for one in &watched {
                floods.push(Flood::of(&hook.space, one, &scratch, count).await?);
            }
            let most = peak().await?;
            let what = named(count, &watched);
            println!("{what}: {} MiB", most / MIB);
            assert!(most < LIMIT && most < usual + COST, "{what}: {} MiB, usually {}", most / MIB, usual / MIB);
            for flood in floods {
                flood.end(&hook.space).await?;
            }
        }
        Ok(())
    });
}
