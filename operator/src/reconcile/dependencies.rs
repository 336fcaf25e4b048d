//! `dependsOn`, as far as Flux cannot wait by itself: it knows objects of one kind in one namespace only. For all others the
//! operator waits, and holds the delivery back by suspending it.

use std::collections::HashMap;

use super::members::Members;
use crate::{
    context::Context,
    flux::state::{FluxState, Sync},
    object::{ConfigKey, Key, Stage},
    plan::Planned,
    render::Pause,
    status::listed,
};

use super::apply::Inventory;

/// How a FluxConfig is that others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Ready,
    /// It is being looked at: whoever runs goes on, whoever has not begun waits.
    Unsettled,
    NotReady,
}

/// Holds back those whose dependencies are not ready, and says for each what it waits for.
///
/// Who was let through once is held back again only when a dependency fails, as every success of a dependency begins with
/// some progress.
pub fn hold_back(members: &mut Members, context: &Context, inventory: &Inventory) -> HashMap<ConfigKey, String> {
    if members.staying.iter().all(|served| served.admitted.resolved().depends_on.is_empty()) {
        return HashMap::new();
    }
    // Flux waits for these.
    let native: HashMap<ConfigKey, bool> = members
        .staying
        .iter()
        .map(|served| (served.planned.key.clone(), served.admitted.resolved().chart.is_some()))
        .collect();
    let mut waits = HashMap::new();
    for served in members.staying.iter_mut().filter(|served| served.pause == Pause::Nothing) {
        let resolved = served.admitted.resolved();
        let names: Vec<String> = resolved
            .depends_on
            .iter()
            .filter(|name| {
                let key = ConfigKey::new(served.planned.key.home.clone(), name.as_str());
                native.get(&key) != Some(&resolved.chart.is_some()) && {
                    let readiness = context.plan.config(&key).map_or(Readiness::NotReady, |it| of(context, &it));
                    holds(readiness, is_running(&served.planned.key, inventory))
                }
            })
            .cloned()
            .collect();
        if !names.is_empty() {
            served.pause = Pause::Delivery;
            let count = names.len();
            waits.insert(served.planned.key.clone(), listed(names.into_iter(), count));
        }
    }
    waits
}

fn holds(readiness: Readiness, is_running: bool) -> bool {
    match readiness {
        Readiness::Ready => false,
        Readiness::Unsettled => !is_running,
        Readiness::NotReady => true,
    }
}

/// Whether its delivery is there and not suspended.
fn is_running(config: &ConfigKey, inventory: &Inventory) -> bool {
    inventory.iter().any(|(key, observed)| {
        key.kind.stage() == Stage::Delivery
            && observed.owner.config() == Some(config)
            && observed.flux.as_ref().is_some_and(|flux| !flux.suspended)
    })
}

fn of(context: &Context, planned: &Planned) -> Readiness {
    let place = planned.agent.as_ref().and_then(|agent| Some((context.cluster(&agent.cluster)?, agent)));
    let Some((runtime, agent)) = place else { return Readiness::Unsettled };
    let flux: Vec<(std::sync::Arc<Key>, FluxState)> = runtime.store.flux_of(&planned.key, &agent.namespace);
    let delivery = flux.iter().find(|(key, _)| key.kind.stage() == Stage::Delivery);
    delivery.map_or(Readiness::NotReady, |(_, state)| readiness(state))
}

fn readiness(state: &FluxState) -> Readiness {
    match state.sync() {
        Sync::Ready(_) => Readiness::Ready,
        // What it says is of before, and stands until it is resumed.
        Sync::Suspended if state.is_ready() => Readiness::Ready,
        Sync::Progressing(_) => Readiness::Unsettled,
        Sync::Unstarted | Sync::Suspended | Sync::Failed { .. } => Readiness::NotReady,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(suspend: bool, conditions: Value) -> FluxState {
        FluxState::read(&json!({
            "metadata": {"generation": 1}, "spec": {"suspend": suspend}, "status": {"conditions": conditions},
        }))
    }

    fn ready(status: &str, reason: &str) -> Value {
        json!([{"type": "Ready", "status": status, "reason": reason, "message": "m", "observedGeneration": 1}])
    }

    #[test]
    fn nobody_begins_before_what_comes_first_is_ready() {
        for (state, expected) in [
            (state(false, json!([])), Readiness::NotReady),
            (state(false, ready("Unknown", "Progressing")), Readiness::Unsettled),
            (state(false, ready("False", "BuildFailed")), Readiness::NotReady),
            (state(false, ready("False", "DependencyNotReady")), Readiness::Unsettled),
            (state(false, ready("True", "ReconciliationSucceeded")), Readiness::Ready),
            (state(true, ready("True", "ReconciliationSucceeded")), Readiness::Ready),
            (state(true, json!([])), Readiness::NotReady),
        ] {
            assert_eq!(readiness(&state), expected, "{state:?}");
            assert_eq!(holds(expected, false), expected != Readiness::Ready);
        }
    }

    #[test]
    fn who_runs_is_held_back_by_failures_only() {
        assert!(!holds(Readiness::Unsettled, true) && !holds(Readiness::Ready, true));
        assert!(holds(Readiness::NotReady, true));
    }
}
