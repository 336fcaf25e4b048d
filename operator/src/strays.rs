//! Tells administrators of strays: objects that carry Sluicegate's labels where Sluicegate has not put them. Somebody may have
//! planted them, or a namespace has lost its label while something of ours was in it. They are counted in a metric and named in an
//! event on the FluxCluster, and nothing else is done about them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use kube::{
    Resource as _,
    runtime::events::{Event, EventType},
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    cluster::{Runtime, store::Strays},
    context::Context,
    object::MANAGED_BY_LABEL,
};

/// Strays that an event names.
const NAMED: usize = 5;
/// Longest list of their names, in bytes. The note of an event has at most 1,024.
const NAMES: usize = 700;
/// News that come this close together are told as one.
const GATHER: Duration = Duration::from_secs(1);
/// Time between two events, however often strays come and go.
const PAUSE: Duration = Duration::from_secs(60);
/// Strays that stay are told of again. Kubernetes keeps an event for an hour.
const AGAIN: Duration = Duration::from_secs(3600);

/// Tells of the strays of one cluster, for as long as it is connected.
pub async fn tell(context: Arc<Context>, runtime: Weak<Runtime>) {
    let Some(changed) = runtime.upgrade().map(|runtime| runtime.strays_changed.clone()) else { return };
    let mut told: Option<(Strays, Instant)> = None;
    let mut wait = Duration::ZERO;
    loop {
        // Whether something changed or the time is up is all the same.
        let _ = timeout(wait, changed.notified()).await;
        sleep(GATHER).await;
        let Some(strays) = runtime.upgrade().map(|runtime| runtime.store.strays(NAMED)) else { return };
        let Some(id) = runtime.upgrade().map(|runtime| runtime.id.clone()) else { return };
        context.metrics.strays(&id, &strays.counts);
        wait = AGAIN;
        if strays.first.is_empty() {
            continue;
        }
        if let Some((before, at)) = &told {
            let due = if *before == strays { AGAIN } else { PAUSE };
            let left = due.saturating_sub(at.elapsed());
            if !left.is_zero() {
                wait = left;
                continue;
            }
        }
        // A process that does not lead tells nothing, and will tell everything when it does.
        context.lead().await;
        if let Some(cluster) = context.plan.cluster(&id) {
            let event = Event {
                type_: EventType::Warning,
                reason: REASON.to_owned(),
                note: Some(message(&strays)),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            context.events.tell(event, cluster.object_ref(&()));
        }
        told = Some((strays, Instant::now()));
    }
}

/// Reason of the events.
const REASON: &str = "StrayObjects";

fn message(strays: &Strays) -> String {
    let count: usize = strays.counts.values().sum();
    let mut names = String::new();
    let mut named = 0;
    for key in &strays.first {
        let name = key.to_string();
        if names.len() + name.len() > NAMES {
            break;
        }
        names.push_str(if named == 0 { "" } else { ", " });
        names.push_str(&name);
        named += 1;
    }
    if count > named {
        names.push_str(&format!(" and {} more", count - named));
    }
    let (objects, carry) = if count == 1 { ("object", "carries") } else { ("objects", "carry") };
    format!(
        "{count} {objects} {carry} Sluicegate's labels in a place where Sluicegate has not put them: {names}. They are neither used nor \
         removed: find out who made them, then delete them or take the label {MANAGED_BY_LABEL} off"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Key, Kind};

    #[test]
    fn an_event_names_the_first_and_counts_the_rest() {
        let key = |number| Key { kind: Kind::Service, namespace: "x".into(), name: format!("s{number}") };
        let strays = |count: usize| Strays {
            counts: [(Kind::Service, count)].into(),
            first: (0..count.min(NAMED)).map(key).collect(),
        };
        let one = message(&strays(1));
        assert!(one.starts_with("1 object carries") && one.contains(": Service x/s0. "), "{one}");
        let many = message(&strays(100_000));
        assert!(many.contains("Service x/s4 and 99995 more"), "{many}");
        let long =
            |number| Key { name: format!("{}{number}", "n".repeat(252)), namespace: "x".repeat(63), ..key(number) };
        let longest = message(&Strays { first: (0..NAMED).map(long).collect(), ..strays(usize::MAX) });
        assert!(longest.len() <= 1024 && longest.contains(&long(0).to_string()), "{longest}");
    }
}
