//! The task that keeps the snapshot: five watches, gathered into one value.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject},
};
use serde_json::Value;
use sluicegate_crds::{FluxCluster, FluxConfig, FluxConfigSpec, FluxPolicy, GuardMode, TENANT_GUARD, TenantGuard};
use sluicegate_operator::{
    cluster::{
        connect::Connection,
        lean::{Lean, Reading},
        watch::{News, Turns, watch},
    },
    object::Kind,
    telemetry::health::{Beat, Gate},
    tenancy,
};
use sluicegate_policy::{
    ClustersByName, CompiledPolicy, InvalidPolicy, Labels, Namespace, NamespacesByName, PolicySet, compile,
    guard::Residents,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{Configs, Current, ResidentsOf, Snapshot};
use crate::telemetry::{Metrics, Watched};

/// News that come this close together make one snapshot.
const GATHER: Duration = Duration::from_millis(5);
/// How often the loop turns at least, for those who watch whether it does.
const BEAT: Duration = Duration::from_secs(5);

/// Something that changed; `None`: it is gone.
#[derive(Debug)]
enum Change {
    Config((String, String), Option<Box<FluxConfig>>),
    Policy(String, Option<Box<Policy>>),
    Cluster(String, Option<Cluster>),
    Namespace(String, Option<Namespace>),
    /// What the TenantGuard of a namespace says of the agent there.
    Guard(String, Option<Residents>),
    /// All objects of a kind have been told. What is not named is gone.
    Listed(Watched, HashSet<(String, String)>),
}

/// A policy as it was read; none where it cannot be.
#[derive(Debug)]
struct Policy(Option<FluxPolicy>);

/// A FluxCluster as it was read.
#[derive(Debug)]
struct Cluster {
    facts: sluicegate_policy::Cluster,
    /// Its guard, where it is the cluster that the webhook runs on.
    here: Option<GuardMode>,
}

/// What is known, and what was compiled from it.
#[derive(Default)]
struct Known {
    policies: BTreeMap<String, (Policy, Result<Arc<CompiledPolicy>, InvalidPolicy>)>,
    set: PolicySet,
    namespaces: Arc<NamespacesByName>,
    clusters: Arc<ClustersByName>,
    configs: Arc<Configs>,
    here: BTreeMap<String, GuardMode>,
    residents: ResidentsOf,
    listed: HashSet<Watched>,
    /// Something is not as the last snapshot has it.
    changed: bool,
    policies_changed: bool,
}

/// Watches the management cluster and keeps the snapshot, for as long as it is polled.
pub async fn keep(connection: Connection, current: Arc<Current>, metrics: Arc<Metrics>, beat: Beat, complete: Gate) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    for watched in Watched::ALL {
        let (client, turns) = (connection.client.clone(), connection.turns.clone());
        tokio::spawn(follow(client, turns, *watched, sender.clone(), metrics.clone()));
    }
    drop(sender);
    let mut known = Known::default();
    let mut took = Duration::ZERO;
    loop {
        beat.turn();
        let change = match timeout(BEAT, receiver.recv()).await {
            Ok(Some(change)) => change,
            Ok(None) => return,
            Err(_) => continue,
        };
        // At most a quarter of the time goes into snapshots, however much changes.
        sleep(GATHER.max(took * 3)).await;
        known.take(change);
        while let Ok(change) = receiver.try_recv() {
            known.take(change);
        }
        if known.listed.len() < Watched::ALL.len() {
            continue;
        }
        let first = current.get().is_none();
        if !known.changed && !first {
            continue;
        }
        let began = Instant::now();
        current.set(known.snapshot());
        took = began.elapsed();
        metrics.snapshot(known.set.policies().len(), known.configs.len());
        debug!(?took, "the snapshot is new");
        if first {
            complete.open();
            info!(policies = known.policies.len(), configs = known.configs.len(), "the snapshot is complete");
        }
    }
}

impl Known {
    fn take(&mut self, change: Change) {
        match change {
            Change::Config(key, Some(config)) => {
                // Its status is written often, and nothing is decided from it.
                let same = self.configs.get(&key).is_some_and(|known| {
                    known.spec == config.spec && known.metadata.creation_timestamp == config.metadata.creation_timestamp
                });
                if !same {
                    Arc::make_mut(&mut self.configs).insert(key, Arc::from(config));
                    self.changed = true;
                }
            }
            Change::Config(key, None) => {
                self.changed |=
                    self.configs.contains_key(&key) && Arc::make_mut(&mut self.configs).remove(&key).is_some();
            }
            Change::Policy(name, Some(policy)) => {
                let same = self.policies.get(&name).is_some_and(|(known, _)| match (&known.0, &policy.0) {
                    (Some(known), Some(policy)) => known.spec == policy.spec,
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                });
                if !same {
                    let compiled = match &policy.0 {
                        Some(policy) => compile(policy).map(Arc::new),
                        None => Err(InvalidPolicy::unreadable(&name)),
                    };
                    self.policies.insert(name, (*policy, compiled));
                    self.policies_changed = true;
                }
            }
            Change::Policy(name, None) => self.policies_changed |= self.policies.remove(&name).is_some(),
            Change::Cluster(id, cluster) => {
                let (facts, here) = cluster.map_or((None, None), |cluster| (Some(cluster.facts), cluster.here));
                self.changed |= set(&mut self.here, id.clone(), here);
                self.changed |= put(&mut self.clusters, id, facts);
            }
            Change::Guard(namespace, residents) => self.changed |= set(&mut self.residents, namespace, residents),
            Change::Namespace(name, namespace) => self.changed |= put(&mut self.namespaces, name, namespace),
            Change::Listed(watched, names) => {
                self.forget(watched, &names);
                self.listed.insert(watched);
            }
        }
        self.changed |= self.policies_changed;
    }

    fn forget(&mut self, watched: Watched, names: &HashSet<(String, String)>) {
        let gone = |name: &str| !names.contains(&(String::new(), name.to_owned()));
        let changes: Vec<Change> = match watched {
            Watched::FluxConfig => {
                let gone = self.configs.keys().filter(|key| !names.contains(*key)).cloned();
                gone.map(|key| Change::Config(key, None)).collect()
            }
            Watched::FluxPolicy => {
                self.policies.keys().filter(|name| gone(name)).map(|name| Change::Policy(name.clone(), None)).collect()
            }
            Watched::FluxCluster => {
                self.clusters.keys().filter(|id| gone(id)).map(|id| Change::Cluster(id.to_string(), None)).collect()
            }
            Watched::TenantGuard => {
                let gone = |namespace: &&String| !names.contains(&((*namespace).clone(), TENANT_GUARD.to_owned()));
                self.residents.keys().filter(gone).map(|name| Change::Guard(name.clone(), None)).collect()
            }
            Watched::Namespace => {
                let gone = self.namespaces.keys().filter(|name| gone(name));
                gone.map(|name| Change::Namespace(name.to_string(), None)).collect()
            }
        };
        for change in changes {
            self.take(change);
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        if std::mem::take(&mut self.policies_changed) {
            self.set = PolicySet::new(self.policies.values().map(|(_, compiled)| compiled.clone()));
        }
        self.changed = false;
        Snapshot::new(self.set.clone(), self.namespaces.clone(), self.clusters.clone(), self.configs.clone())
            .guarding(&self.here, &self.residents)
    }
}

fn put<T: Clone + PartialEq>(map: &mut Arc<BTreeMap<Arc<str>, T>>, name: String, value: Option<T>) -> bool {
    map.get(&*name) != value.as_ref() && set(Arc::make_mut(map), name.into(), value)
}

fn set<K: Ord, T: PartialEq>(map: &mut BTreeMap<K, T>, name: K, value: Option<T>) -> bool {
    if map.get(&name) == value.as_ref() {
        return false;
    }
    match value {
        Some(value) => map.insert(name, value),
        None => map.remove(&name),
    };
    true
}

async fn follow(
    client: Client,
    turns: Turns,
    watched: Watched,
    sender: mpsc::UnboundedSender<Change>,
    metrics: Arc<Metrics>,
) {
    let (resource, reading) = match watched {
        Watched::FluxConfig => (ApiResource::erase::<FluxConfig>(&()), Reading::CONFIG),
        Watched::FluxPolicy => (ApiResource::erase::<FluxPolicy>(&()), Reading::OWN),
        Watched::FluxCluster => (ApiResource::erase::<FluxCluster>(&()), Reading::CLUSTER),
        Watched::Namespace => (Kind::Namespace.api_resource(), Reading::NAMESPACE),
        Watched::TenantGuard => (ApiResource::erase::<TenantGuard>(&()), Reading::OWN),
    };
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    watch(api, None, reading, turns, |news| {
        let change = match news {
            // There is one in a namespace that counts.
            News::Saw(object) | News::Lost(object)
                if watched == Watched::TenantGuard && object.text("name") != TENANT_GUARD =>
            {
                return;
            }
            News::Saw(object) => read(watched, object, false),
            News::Lost(object) => read(watched, object, true),
            News::Listed(names) => Change::Listed(watched, names),
            News::Missing => {
                warn!(kind = resource.kind, "the cluster does not have this kind: install Sluicegate's CRDs");
                return;
            }
            News::Failed(failure) | News::Refused(failure) => {
                metrics.watch_restarted(watched);
                warn!(kind = resource.kind, failure, "watch");
                return;
            }
        };
        // The keeper lives as long as the process.
        let _ = sender.send(change);
    })
    .await;
}

/// Reads leniently: what cannot be read is known to be there. The API server checks shapes, so that is an object of another
/// version of Sluicegate.
fn read(watched: Watched, object: Lean, gone: bool) -> Change {
    let (namespace, name) = object.name();
    let Lean { value: object, whole } = object;
    let labels = || serde_json::from_value::<Labels>(object["metadata"]["labels"].clone()).unwrap_or_default();
    match watched {
        Watched::FluxConfig if gone => Change::Config((namespace, name), None),
        Watched::FluxConfig => {
            let metadata = object["metadata"].clone();
            let read = if whole {
                serde_json::from_value(object).map_err(|error| error.to_string())
            } else {
                Err("it is too large".to_owned())
            };
            let mut config = read.unwrap_or_else(|error| {
                warn!(namespace, name, error, "a FluxConfig cannot be read");
                let mut config = FluxConfig::new(&name, FluxConfigSpec::default());
                config.metadata = serde_json::from_value(metadata).unwrap_or_default();
                config
            });
            config.status = None;
            Change::Config((namespace, name), Some(Box::new(config)))
        }
        Watched::FluxPolicy if gone => Change::Policy(name, None),
        Watched::FluxPolicy => {
            let read = serde_json::from_value::<FluxPolicy>(object);
            if let Err(error) = &read {
                warn!(name, %error, "a FluxPolicy cannot be read; every tenant is denied");
            }
            Change::Policy(name, Some(Box::new(Policy(read.ok()))))
        }
        Watched::FluxCluster if gone => Change::Cluster(name, None),
        Watched::FluxCluster => {
            let spec = &object["spec"];
            let guard = serde_json::from_value::<Option<GuardMode>>(spec["guard"].clone());
            let guard = guard.ok().flatten().unwrap_or_default();
            let management = spec["connection"]["inCluster"].is_object();
            let facts = sluicegate_policy::Cluster { labels: Arc::new(labels()), management };
            Change::Cluster(name, Some(Cluster { facts, here: management.then_some(guard) }))
        }
        Watched::TenantGuard => Change::Guard(namespace, (!gone).then(|| residents(&object["spec"]))),
        Watched::Namespace => {
            Change::Namespace(name, (!gone).then(|| tenancy::namespace(&Lean { value: object, whole })))
        }
    }
}

fn residents(spec: &Value) -> Residents {
    let texts = |list: &Value| {
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    Residents {
        operator: spec["operator"].as_str().unwrap_or_default().to_owned(),
        accounts: texts(&spec["accounts"]),
        images: texts(&spec["images"]["agent"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Standing, *};

    fn config(url: &str, status: &str) -> Lean {
        Lean::whole(json!({
            "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig",
            "metadata": {"name": "shop", "namespace": "team-a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"source": {"url": url}}, "status": {"policyDigest": status},
        }))
    }

    #[test]
    fn a_new_status_makes_no_new_snapshot() {
        let mut known = Known::default();
        known.take(read(Watched::FluxConfig, config("https://a.example/x", "1"), false));
        assert!(known.changed);
        let snapshot = known.snapshot();
        assert_eq!(snapshot.facts.times("team-a", "shop"), 1);
        known.take(read(Watched::FluxConfig, config("https://a.example/x", "2"), false));
        assert!(!known.changed);
        known.take(read(Watched::FluxConfig, config("https://a.example/y", "2"), false));
        assert!(known.changed);
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut known = Known::default();
        known.take(read(Watched::FluxConfig, config("https://a.example/x", ""), false));
        known.take(read(
            Watched::Namespace,
            Lean::whole(json!({"metadata": {"name": "team-a", "labels": {"a": "b"}}})),
            false,
        ));
        known.take(Change::Listed(Watched::FluxConfig, HashSet::new()));
        known.take(Change::Listed(Watched::Namespace, HashSet::from([(String::new(), "team-a".to_owned())])));
        let snapshot = known.snapshot();
        assert_eq!(snapshot.facts.times("team-a", "shop"), 0);
        assert_eq!(snapshot.namespaces["team-a"].labels["a"], "b");
    }

    #[test]
    fn a_policy_that_cannot_be_read_denies_everybody() {
        let mut known = Known::default();
        known.take(read(
            Watched::FluxPolicy,
            Lean::whole(json!({"metadata": {"name": "p"}, "spec": {"priority": "x"}})),
            false,
        ));
        assert_eq!(known.snapshot().policies.invalid()[0].name(), "p");
        known.take(read(Watched::FluxPolicy, Lean::whole(json!({"metadata": {"name": "p"}})), true));
        assert!(known.snapshot().policies.invalid().is_empty());
    }

    #[test]
    fn the_cluster_that_it_runs_on_chooses_whether_it_is_the_guard() {
        let cluster = |connection: Value, guard: Value| {
            let spec = json!({"connection": connection, "guard": guard});
            read(Watched::FluxCluster, Lean::whole(json!({"metadata": {"name": "prod"}, "spec": spec})), false)
        };
        let tenant = json!({"metadata": {"name": "team-a", "labels": {"sluicegate.dev/tenant": "team-a"}}});
        let guard = || {
            let spec = json!({"operator": "o", "accounts": ["a"], "images": {"agent": ["i"]}});
            json!({"metadata": {"name": TENANT_GUARD, "namespace": "team-a"}, "spec": spec})
        };
        let mut known = Known::default();
        known.take(read(Watched::Namespace, Lean::whole(tenant), false));
        known.take(read(Watched::TenantGuard, Lean::whole(guard()), false));
        let residents =
            Residents { operator: "o".to_owned(), accounts: vec!["a".to_owned()], images: vec!["i".to_owned()] };
        assert_eq!(known.residents["team-a"], residents);
        let (here, elsewhere) = (json!({"inCluster": {}}), json!({"kubeconfig": {"secretRef": {"name": "x"}}}));
        for (connection, guard, enforces) in [
            (&here, json!("Webhook"), true),
            (&here, json!("Native"), false),
            (&here, json!(null), false),
            (&elsewhere, json!("Webhook"), false),
            (&here, json!("Webhook"), true),
        ] {
            known.take(cluster(connection.clone(), guard));
            assert_eq!(known.snapshot().guarded.enforces(), enforces, "{connection}");
        }
        assert!(matches!(known.snapshot().guarded.standing("team-a"), Standing::Judged(_)));
        known.take(Change::Listed(Watched::TenantGuard, HashSet::new()));
        assert!(known.changed);
        assert!(matches!(known.snapshot().guarded.standing("team-a"), Standing::Closed(_)));
        known.take(read(Watched::FluxCluster, Lean::whole(json!({"metadata": {"name": "prod"}})), true));
        assert!(!known.snapshot().guarded.enforces());
    }
}
