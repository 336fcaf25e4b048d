//! Whether an agent works, and what is done where it does not, or where it has nothing to do.
//!
//! A pod of Flux is Ready even when it can do nothing, so that Leases and the age of what it says count too.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::warn;

use super::{
    apply::Inventory,
    members::{Members, Served},
};
use crate::{
    cluster::{Runtime, lean::Reading, store::Pods},
    flux::state::FluxState,
    object::{ConfigKey, Key, Kind, Object},
    render::Pause,
    status::AgentHealth,
};

/// A Lease holder is believed for this long.
pub const LEASE_CHECK: Duration = Duration::from_secs(60);
/// A controller must have been silent for this long beyond what its objects' intervals explain.
const PATIENCE: Duration = Duration::from_secs(300);
/// A controller that a restart has not cured is not restarted again before this time.
const RESTART: Duration = Duration::from_secs(1800);
/// How soon an agent that should sleep is looked at again, while its objects are not suspended yet.
const BUSY: Duration = Duration::from_secs(1);
/// The controller whose objects say when they were reconciled last.
const DATED: &str = "kustomize-controller";

/// What is read of a Lease: its holder.
const LEASE: Reading = Reading { fields: Some(&["spec"]), budget: 64 * 1024, ..Reading::IDENTITY };

/// What is known about an agent's rest from one reconcile to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Since when it has had nothing to do.
    idle_since: Option<Instant>,
    /// Since when objects have been older than they should be.
    stale_since: Option<Instant>,
    /// When a controller was restarted last, and whether it is still to be started again.
    restarted: Option<(Instant, bool)>,
}

/// How the agent's Deployments are to be scaled, other than rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As rendered.
    Up,
    /// As rendered; to be looked at again after this time.
    UpFor(Duration),
    /// All of it to zero: it sleeps.
    Asleep,
    /// One controller to zero and back.
    Restarting,
}

impl Vitals {
    /// What to do, by what was seen; `now` is a time of the cluster's objects.
    pub fn scale(&mut self, members: &Members, inventory: &Inventory, now: Timestamp) -> Scale {
        if let Some(scale) = self.rest(members, inventory) {
            return scale;
        }
        if self.is_stuck(members, inventory, now) {
            return Scale::Restarting;
        }
        Scale::Up
    }

    /// An agent whose FluxConfigs are all suspended has nothing to do.
    fn rest(&mut self, members: &Members, inventory: &Inventory) -> Option<Scale> {
        let Some(after) = sleep_after(members) else {
            self.idle_since = None;
            return None;
        };
        let mut flux = inventory.values().filter_map(|observed| observed.flux.as_ref());
        let is_idle = flux.all(|state| state.suspended && !state.deleting);
        // It slept before this process began.
        if is_idle && inventory.values().any(|observed| observed.pods == Some(Pods::Asleep)) {
            return Some(Scale::Asleep);
        }
        // Flux' objects are suspended by what follows this look, and no news tell of one's own writes.
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        Some(match after.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
            Some(left) => Scale::UpFor(left),
            None if is_idle => Scale::Asleep,
            None => Scale::UpFor(BUSY),
        })
    }

    fn is_stuck(&mut self, members: &Members, inventory: &Inventory, now: Timestamp) -> bool {
        if let Some((at, true)) = self.restarted {
            let down = |(key, observed): (&Arc<Key>, &Arc<crate::cluster::store::Observed>)| {
                key.name == DATED && observed.pods == Some(Pods::Asleep)
            };
            if !inventory.iter().any(down) {
                return true;
            }
            self.restarted = Some((at, false));
            return false;
        }
        // By its FluxConfig, since a pool has thousands of both.
        let staying: HashMap<&ConfigKey, &Served> =
            members.staying.iter().map(|served| (&served.planned.key, served)).collect();
        let stale = inventory.iter().filter(|(key, _)| key.kind == Kind::Kustomization).any(|(_, observed)| {
            let served = observed.owner.config().and_then(|config| staying.get(config));
            served.zip(observed.flux.as_ref()).is_some_and(|(served, state)| {
                let resolved = served.admitted.resolved();
                let interval = resolved.terms.interval.value;
                let timeout = resolved.terms.timeout.as_ref().map_or(interval, |timeout| timeout.value);
                is_stale(state, interval, timeout, now)
            })
        });
        if !stale {
            self.stale_since = None;
            return false;
        }
        let since = *self.stale_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE || self.restarted.is_some_and(|(at, _)| at.elapsed() < RESTART) {
            return false;
        }
        self.stale_since = None;
        self.restarted = Some((Instant::now(), true));
        true
    }
}

/// How long an agent without work stays up; `None`: it has some, or policy lets no agent sleep. Where several FluxConfigs have
/// several policies, the longest counts.
fn sleep_after(members: &Members) -> Option<Duration> {
    if members.staying.is_empty() || !members.leaving.is_empty() || !members.frozen.is_empty() {
        return None;
    }
    let of = |served: &Served| {
        let resolved = served.admitted.resolved();
        let rests = resolved.terms.suspend || served.pause == Pause::Everything;
        resolved.terms.standing.agent.sleep_after.as_ref().filter(|_| rests).map(|after| after.value)
    };
    members.staying.iter().map(of).try_fold(Duration::ZERO, |longest, after| Some(longest.max(after?)))
}

/// Whether Flux says that all is well, and has said nothing for much longer than the interval.
fn is_stale(state: &FluxState, interval: Duration, timeout: Duration, now: Timestamp) -> bool {
    let Some(last) = state.last_reconciled else { return false };
    let age = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    let quiet = !state.suspended && !state.deleting && state.reconciling.is_none() && state.is_ready();
    quiet && age > interval.saturating_mul(3).saturating_add(timeout).saturating_add(PATIENCE)
}

/// Scales Deployments down where that is to be done.
pub fn lay_down(scale: Scale, desired: &mut BTreeMap<Key, Object>) {
    let zero = |key: &Key| match scale {
        Scale::Up | Scale::UpFor(_) => false,
        Scale::Asleep => true,
        Scale::Restarting => key.name == DATED,
    };
    for object in desired.values_mut().filter(|object| object.key.kind == Kind::Deployment && zero(&object.key)) {
        object.manifest["spec"]["replicas"] = json!(0);
    }
}

/// How the agent is, whose Deployments should be these. And whether it has to be asked again: of Deployments a watch tells,
/// of Leases none does.
pub async fn health(
    runtime: &Runtime,
    agent: &Arc<str>,
    deployments: &[Key],
    scale: Scale,
    inventory: &Inventory,
) -> (AgentHealth, bool) {
    if deployments.is_empty() {
        return (AgentHealth::Absent, false);
    }
    match scale {
        Scale::Asleep => return (AgentHealth::Sleeping, false),
        Scale::Restarting => {
            warn!(cluster = %runtime.id, agent = %agent, controller = DATED, "is silent, and is restarted");
            return (AgentHealth::Starting(format!("{DATED} had been silent for too long, and is restarted")), true);
        }
        Scale::Up | Scale::UpFor(_) => {}
    }
    let available = |key: &&Key| inventory.get(*key).is_some_and(|observed| observed.pods == Some(Pods::Available));
    let down: Vec<&str> = deployments.iter().filter(|key| !available(key)).map(|key| key.name.as_str()).collect();
    if !down.is_empty() {
        runtime.unit(agent, |unit| unit.leading_since = None);
        return (AgentHealth::Starting(format!("no pod is ready of {}", down.join(", "))), false);
    }
    let since = runtime.unit(agent, |unit| unit.leading_since);
    if since.is_some_and(|since| since.elapsed() < LEASE_CHECK - Duration::from_secs(1)) {
        return (AgentHealth::Ready, false);
    }
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{agent}/leases");
    let held = |lease: &Value| {
        let holder = lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
        holder.then(|| lease["metadata"]["name"].as_str().unwrap_or_default().to_owned())
    };
    let leases = match runtime.client.list(&path, None, &LEASE, held).await {
        Ok(leases) => leases,
        Err(error) => {
            return (AgentHealth::Starting(format!("the Leases of its controllers cannot be read: {error}")), true);
        }
    };
    let holds = |name: &str| {
        let prefix = format!("{name}-leader-election");
        leases.iter().any(|lease| lease.starts_with(&prefix))
    };
    let idle: Vec<&str> = deployments.iter().map(|key| key.name.as_str()).filter(|name| !holds(name)).collect();
    if idle.is_empty() {
        runtime.unit(agent, |unit| unit.leading_since = Some(Instant::now()));
        (AgentHealth::Ready, false)
    } else {
        (AgentHealth::Starting(format!("no pod leads of {}", idle.join(", "))), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::store::Store, object::Owner, reconcile::testing::served};

    const NOW: &str = "2026-06-01T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    /// An agent with one FluxConfig, of which this is the Kustomization.
    fn agent(sleep_after: Option<&str>, suspend: bool, replicas: u32, last: &str) -> (Members, Inventory) {
        let mut spec = json!({"source": {"url": "https://git.example.com/team-a/shop.git"}, "interval": "10m"});
        spec["suspend"] = json!(suspend);
        let served = served(spec, json!({"sleepAfter": sleep_after}));
        let owner = Owner::Config { tenant: "team-a".to_owned(), config: served.planned.key.clone() };
        let store = Store::default();
        let labels = |owner: &Owner| json!(owner.labels("sluicegate-team-a"));
        let metadata = json!({"name": "sluicegate-team-a", "labels": labels(&Owner::Agent)});
        store.saw(Kind::Namespace, &json!({"metadata": metadata}));
        store.saw(
            Kind::Kustomization,
            &json!({
                "metadata": {"name": "shop", "namespace": "sluicegate-team-a", "generation": 1, "labels": labels(&owner)},
                "spec": {"suspend": suspend},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": "m"}],
                    "history": [{"lastReconciled": last}],
                },
            }),
        );
        store.saw(
            Kind::Deployment,
            &json!({
                "metadata": {"name": DATED, "namespace": "sluicegate-team-a", "labels": labels(&Owner::Agent)},
                "spec": {"replicas": replicas},
            }),
        );
        let members = Members { staying: vec![served], ..Members::default() };
        (members, store.inventory("sluicegate-team-a"))
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_without_work_falls_asleep_after_a_while() {
        let (members, inventory) = agent(Some("1h"), true, 1, NOW);
        let mut vitals = Vitals::default();
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::UpFor(Duration::from_secs(3600)));
        tokio::time::advance(Duration::from_secs(3599)).await;
        assert!(matches!(vitals.scale(&members, &inventory, now()), Scale::UpFor(_)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Asleep);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_whose_objects_are_still_to_be_suspended_is_looked_at_again() {
        let ((members, inventory), (_, busy)) = (agent(Some("1h"), true, 1, NOW), agent(Some("1h"), false, 1, NOW));
        let mut vitals = Vitals::default();
        assert_eq!(vitals.scale(&members, &busy, now()), Scale::UpFor(Duration::from_secs(3600)));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(vitals.scale(&members, &busy, now()), Scale::UpFor(BUSY), "it does not sleep over work");
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Asleep);
    }

    #[tokio::test(start_paused = true)]
    async fn work_keeps_awake_and_wakes() {
        let hour = Duration::from_secs(3600);
        for (members, inventory) in [agent(Some("1h"), false, 1, NOW), agent(None, true, 1, NOW)] {
            let mut vitals = Vitals::default();
            assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Up);
            tokio::time::advance(hour).await;
            assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Up);
        }
        // Somebody leaves: only an agent that is awake deletes what was deployed.
        let (mut members, inventory) = agent(Some("1h"), true, 0, NOW);
        assert_eq!(Vitals::default().scale(&members, &inventory, now()), Scale::Asleep);
        members.leaving = members.staying.clone();
        assert_eq!(Vitals::default().scale(&members, &inventory, now()), Scale::Up);
        members.leaving.clear();
        members.frozen.insert(ConfigKey::new("x", "y"), ("x".into(), false));
        assert_eq!(Vitals::default().scale(&members, &inventory, now()), Scale::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_controller_is_restarted_once() {
        let (members, inventory) = agent(None, false, 1, "2026-06-01T11:00:00Z");
        let (_, down) = agent(None, false, 0, "2026-06-01T11:00:00Z");
        let mut vitals = Vitals::default();
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Up, "it may just have been resumed");
        tokio::time::advance(PATIENCE).await;
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Restarting);
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Restarting, "until its Deployment is down");
        assert_eq!(vitals.scale(&members, &down, now()), Scale::Up);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Up, "it was restarted lately");
        tokio::time::advance(RESTART).await;
        assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Restarting);
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_speaks_or_explains_itself_is_left_alone() {
        for last in ["2026-06-01T11:50:00Z", "2026-06-01T11:16:00Z", "2027-01-01T00:00:00Z"] {
            let (members, inventory) = agent(None, false, 1, last);
            let mut vitals = Vitals::default();
            for _ in 0..4 {
                assert_eq!(vitals.scale(&members, &inventory, now()), Scale::Up, "{last}");
                tokio::time::advance(PATIENCE).await;
            }
        }
    }

    #[test]
    fn only_what_is_to_lie_down_is_scaled() {
        let deployment = |name: &str| {
            let key = Key { kind: Kind::Deployment, namespace: "a".to_owned(), name: name.to_owned() };
            (key.clone(), Object { key, owner: Owner::Agent, manifest: json!({"spec": {"replicas": 1}}) })
        };
        let replicas = |scale| {
            let mut desired = BTreeMap::from([deployment(DATED), deployment("source-controller")]);
            lay_down(scale, &mut desired);
            let replicas =
                desired.into_iter().map(|(key, object)| (key.name, object.manifest["spec"]["replicas"].as_i64()));
            replicas.collect::<HashMap<_, _>>()
        };
        let is = |dated, source| {
            HashMap::from([(DATED.to_owned(), Some(dated)), ("source-controller".to_owned(), Some(source))])
        };
        assert_eq!(replicas(Scale::Up), is(1, 1));
        assert_eq!(replicas(Scale::Restarting), is(0, 1));
        assert_eq!(replicas(Scale::Asleep), is(0, 0));
    }
}
