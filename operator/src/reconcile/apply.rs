//! Fourth step: what should be against what is. [`Difference::between`] is pure and says what to write and what to remove;
//! [`carry_out`] does it, by stage, and writes nothing where nothing differs.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use sluicegate_crds::{DeletionPolicy, TENANT_LABEL};

use super::{
    guests,
    members::{Members, Wish},
};
use crate::{
    cluster::{
        ApiError, Runtime,
        store::{CREATED_ANNOTATION, Observed},
    },
    contest::{Contest, Drift, Subject, writers},
    fields::{self, Fingerprint},
    object::{AGENT_LABEL, ConfigKey, Key, Kind, MANAGED_BY_LABEL, MANAGER, MANAGERS, Object, Owner, SUSPENDER, Stage},
    plan::{Plan, Planned},
    render::AgentId,
};

/// Requests of one reconcile at the same time. Sixteen agents are worked on at once, and each request under way is a connection
/// of some 40 KiB.
const CONCURRENCY: usize = 4;
/// How often the removal of what others have added is tried on an object that somebody writes at the same time.
const ATTEMPTS: u32 = 5;

/// What there is of an agent.
pub type Inventory = HashMap<Arc<Key>, Arc<Observed>>;

/// An object that is to go.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which.
    pub key: Arc<Key>,
    /// As it was seen.
    pub observed: Arc<Observed>,
    /// What it deployed stays.
    pub orphan: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Difference {
    /// To be applied where it differs, by stage.
    pub wanted: BTreeMap<Stage, Vec<Object>>,
    /// To be removed now.
    pub removals: Vec<Removal>,
    /// To be removed some time, the ones above included, with their owners.
    pub waiting: Vec<(Owner, Key)>,
    /// To be left alone, but suspended.
    pub to_suspend: Vec<Arc<Key>>,
}

impl Difference {
    /// Compares. `desired` is what stays; `full` is that and what those who leave had, of which everything is kept, and
    /// repaired, that something needs which is not gone yet: an agent, until its last Kustomization has been pruned.
    pub fn between(
        desired: BTreeMap<Key, Object>,
        full: BTreeMap<Key, Object>,
        inventory: &Inventory,
        members: &Members,
        unknown: &[Key],
    ) -> Self {
        let undesired: Vec<(&Arc<Key>, &Arc<Observed>)> = inventory
            .iter()
            .filter(|(key, observed)| {
                !desired.contains_key(key) && !members.is_frozen(&observed.owner) && !unknown.contains(key)
            })
            .collect();
        let needed = |owner: &Owner, stage: Stage| {
            undesired.iter().any(|(key, other)| key.kind.stage() > stage && other.owner.within(owner))
        };
        let mut difference = Self::default();
        for (key, observed) in &undesired {
            difference.waiting.push(((*observed.owner).clone(), (***key).clone()));
            if !needed(&observed.owner, key.kind.stage()) {
                let orphan = match &*observed.owner {
                    Owner::Config { config, .. } => members.orphaned.contains(config),
                    Owner::Agent | Owner::Tenant(_) => false,
                };
                difference.removals.push(Removal { key: (*key).clone(), observed: (*observed).clone(), orphan });
            }
        }
        let kept: Vec<Object> = full
            .into_values()
            .filter(|object| !desired.contains_key(&object.key) && needed(&object.owner, object.key.kind.stage()))
            .collect();
        for object in desired.into_values().chain(kept) {
            difference.wanted.entry(object.key.kind.stage()).or_default().push(object);
        }
        let suspended = |config: &ConfigKey| members.frozen.get(config).is_some_and(|(_, suspend)| *suspend);
        for (key, observed) in inventory {
            if let Owner::Config { config, .. } = &*observed.owner
                && key.kind.is_flux()
                && suspended(config)
                && observed.flux.as_ref().is_some_and(|flux| !flux.suspended)
            {
                difference.to_suspend.push(key.clone());
            }
        }
        // What the others wait for first: a status names only the first few.
        difference.waiting.sort_by(|(one_owner, one), (other_owner, other)| {
            let backwards = other.kind.stage().cmp(&one.kind.stage());
            backwards.then_with(|| (one_owner, one).cmp(&(other_owner, other)))
        });
        difference.removals.sort_by(|a, b| b.key.kind.stage().cmp(&a.key.kind.stage()).then_with(|| a.key.cmp(&b.key)));
        difference
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Applied {
    /// What is in the way.
    pub blocked: Vec<(Owner, String)>,
    /// Requests that went wrong in passing; they are worth another try.
    pub failures: Vec<(Owner, String)>,
    /// Objects that had been changed by somebody else, or were gone.
    pub repaired: Vec<Kind>,
    /// Objects that somebody else keeps changing, and that are not written now: for whom, and who the other writer is.
    pub contested: Vec<(Owner, String)>,
    /// When the first of them may be written.
    pub contested_for: Option<Duration>,
    /// Contests that this repair has begun or prolonged.
    pub fought: Vec<(Key, Contest)>,
    /// Objects written or removed.
    pub writes: usize,
    /// This process may not write any more.
    pub deposed: bool,
}

/// Why one object is not as it should be.
enum Failure {
    /// People have to do something.
    Blocked(String),
    /// It is worth another try.
    Api(ApiError),
    /// It is being deleted, and made again when it is gone.
    Deleting,
    /// Somebody else keeps changing it, and it is not its turn.
    Contested,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure::Api(error)
    }
}

/// Writes of which each waits for its turn, where somebody else keeps changing the object.
struct Turns<'a> {
    runtime: &'a Runtime,
    fought: Mutex<Vec<(Key, Contest)>>,
}

impl Turns<'_> {
    /// Does `write`, which makes `key`, in which there is a `drift`, what is `wanted`, if it is its turn. Whether the API server was given something to write
    /// is said by `has_written`, and who the other writer is by `writer`, from the object as it is.
    async fn take<T>(
        &self,
        key: &Key,
        (wanted, drift): (Fingerprint, Drift),
        writer: impl FnOnce(Option<&Value>) -> String,
        has_written: impl FnOnce(&T) -> bool,
        write: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let who = async {
            match self.runtime.client.get(key).await {
                Ok(live) => writer(live.as_ref()),
                Err(_) => writers::UNKNOWN.to_owned(),
            }
        };
        let begun = self.runtime.contests.begin(Subject::Object(key.clone()), wanted, drift, who).await;
        let begun = begun.map_err(|_| Failure::Contested)?;
        let done = write.await?;
        if has_written(&done)
            && let Some((_, contest)) = begun.wrote()
        {
            self.fought.lock().unwrap_or_else(PoisonError::into_inner).push((key.clone(), contest));
        }
        Ok(done)
    }
}

/// Does what is to be done.
pub async fn carry_out(
    runtime: &Arc<Runtime>,
    agent: &Arc<str>,
    inventory: &Inventory,
    plan: &Plan,
    difference: Difference,
) -> Applied {
    let applied = Mutex::new(Applied::default());
    let turns = &Turns { runtime, fought: Mutex::default() };
    let note = |owner: &Owner, key: &Key, result: Result<bool, Failure>| {
        let pending = runtime.contests.pending(&Subject::Object(key.clone()));
        let mut applied = applied.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, why)) = pending {
            applied.contested.push((owner.clone(), why));
            applied.contested_for = Some(applied.contested_for.map_or(left, |sooner| sooner.min(left)));
        }
        match result {
            Ok(written) => applied.writes += usize::from(written),
            Err(Failure::Deleting | Failure::Contested) => {}
            Err(Failure::Blocked(why)) => applied.blocked.push((owner.clone(), why)),
            Err(Failure::Api(ApiError::NotLeading)) => applied.deposed = true,
            Err(Failure::Api(error)) if error.is_final() => {
                applied.blocked.push((owner.clone(), format!("{key}: {error}")));
            }
            Err(Failure::Api(error)) => applied.failures.push((owner.clone(), format!("{key}: {error}"))),
        }
    };
    let Difference { wanted, mut removals, waiting, to_suspend } = difference;
    let mut intent = 0;
    for objects in wanted.into_values() {
        let objects: Vec<(Object, Fingerprint)> = objects
            .into_iter()
            .map(|object| {
                let fingerprint = Fingerprint::of_manifest(&object.manifest);
                intent ^= hash(&(&object.key, fingerprint));
                (object, fingerprint)
            })
            .collect();
        stream::iter(&objects)
            .for_each_concurrent(CONCURRENCY, |(object, wanted)| async {
                let observed = inventory.get(&object.key).map(Arc::as_ref);
                let result = put(runtime, turns, agent, plan, object, *wanted, observed).await;
                if matches!(result, Ok(true)) {
                    applied.lock().unwrap_or_else(PoisonError::into_inner).repaired.push(object.key.kind);
                }
                note(&object.owner, &object.key, result);
            })
            .await;
        if applied.lock().unwrap_or_else(PoisonError::into_inner).deposed {
            break;
        }
    }
    stream::iter(to_suspend)
        .for_each_concurrent(CONCURRENCY, |key| async move {
            if let Some(observed) = inventory.get(&key) {
                note(&observed.owner, &key, suspend_in_turn(runtime, turns, &key).await);
            }
        })
        .await;
    // The controllers go last of all that Flux has in a namespace that goes with them.
    let ends = waiting.iter().any(|(_, key)| key.kind == Kind::Namespace && *key.name == **agent)
        && runtime.store.namespace(agent).is_some_and(|namespace| namespace.created && !namespace.deleting)
        && removals.iter().any(|removal| removal.key.kind.stage() == Stage::Agent);
    if ends {
        let why = match guests::see_off(&runtime.client, agent).await {
            Ok(left) if left.is_empty() => None,
            Ok(left) => Some(format!("waiting for {}, which others have made", left.join(", "))),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = why {
            removals.retain(|removal| removal.key.kind.stage() > Stage::Agent);
            applied.lock().unwrap_or_else(PoisonError::into_inner).blocked.push((Owner::Agent, why));
        }
    }
    // One after the other where it matters has been settled: what may go now may go in any order.
    stream::iter(removals)
        .for_each_concurrent(CONCURRENCY, |removal| async move {
            let result = remove_in_turn(runtime, turns, plan, &removal).await;
            note(&removal.observed.owner, &removal.key, result);
        })
        .await;
    let mut applied = applied.into_inner().unwrap_or_else(PoisonError::into_inner);
    applied.fought = std::mem::take(&mut *turns.fought.lock().unwrap_or_else(PoisonError::into_inner));
    let is_whole = applied.blocked.is_empty() && applied.failures.is_empty() && !applied.deposed;
    let settled = runtime.unit(agent, |unit| std::mem::replace(&mut unit.settled, is_whole.then_some(intent)));
    // What was written for another intent repairs nothing.
    if settled != Some(intent) {
        applied.repaired.clear();
    }
    applied
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Makes an object what it should be; whether anything had to be written.
async fn put(
    runtime: &Arc<Runtime>,
    turns: &Turns<'_>,
    agent: &Arc<str>,
    plan: &Plan,
    object: &Object,
    wanted: Fingerprint,
    observed: Option<&Observed>,
) -> Result<bool, Failure> {
    let key = &object.key;
    match observed {
        Some(observed) if observed.deleting => return Err(Failure::Deleting),
        Some(observed) => {
            let accepted = runtime.unit(agent, |unit| unit.accepted.get(key).copied());
            let same = observed.fingerprint == Some(wanted)
                || accepted.is_some_and(|(was, became)| was == wanted && observed.fingerprint == Some(became));
            if same && !observed.foreign {
                return Ok(false);
            }
        }
        None => {}
    }
    let writer = |live: Option<&Value>| writers::of(live, &object.manifest);
    let has_written = |placed: &Placed| matches!(placed, Placed::Live(_));
    let drift = Drift::of(&observed.map(|observed| (observed.fingerprint, observed.foreign)));
    let placing = place(runtime, agent, plan, object, observed);
    let live = match turns.take(key, (wanted, drift), writer, has_written, placing).await? {
        Placed::Live(live) => live,
        Placed::Done(written) => return Ok(written),
    };
    let live = without_additions(runtime, key, live).await?;
    runtime.saw(key.kind, &live);
    let became = Fingerprint::of_live(&live);
    runtime.unit(agent, |unit| match became {
        Some(became) if became != wanted => {
            unit.accepted.insert(key.clone(), (wanted, became));
        }
        _ => {
            unit.accepted.remove(key);
        }
    });
    Ok(true)
}

/// What came of the attempt to put an object where it should be.
enum Placed {
    /// It was applied, and is this.
    Live(Value),
    /// Nothing is to be applied; whether something was written.
    Done(bool),
}

/// Applies an object, unless what is in its place is somebody else's.
async fn place(
    runtime: &Arc<Runtime>,
    agent: &Arc<str>,
    plan: &Plan,
    object: &Object,
    observed: Option<&Observed>,
) -> Result<Placed, Failure> {
    let key = &object.key;
    match observed {
        Some(_) => {}
        None if key.kind == Kind::Namespace => {
            if let Some(done) = take_namespace(runtime, agent, plan, object).await? {
                return Ok(Placed::Done(done));
            }
        }
        None => {
            // What came into a namespace of our own making came after us. Elsewhere it may be somebody's.
            let made_by_us = runtime.store.namespace(&key.namespace).is_some_and(|namespace| namespace.created);
            if !made_by_us
                && let Some(existing) = runtime.client.get(key).await?
                && !fields::is_ours(&existing)
            {
                return Err(Failure::Blocked(format!(
                    "{key} exists and is not Sluicegate's: whoever made it removes or renames it"
                )));
            }
        }
    }
    match runtime.client.apply(key, &object.manifest).await {
        // These fields never change; the object is made again.
        Err(ApiError::Refused { code: 422, .. })
            if matches!(key.kind, Kind::RoleBinding | Kind::Secret) && observed.is_some() =>
        {
            if let Some(observed) = observed {
                runtime.client.delete(key, &observed.uid).await?;
            }
            Ok(Placed::Live(runtime.client.apply(key, &object.manifest).await?))
        }
        answer => Ok(Placed::Live(answer?)),
    }
}

/// Removes what others have added to an object of ours.
async fn without_additions(runtime: &Runtime, key: &Key, mut live: Value) -> Result<Value, ApiError> {
    let mut attempts = 0;
    loop {
        let additions = fields::foreign(&live);
        if additions.is_empty() {
            return Ok(live);
        }
        attempts += 1;
        match runtime.client.json_patch(key, &fields::removal(&live, &additions)).await {
            // Somebody has written since, most often a controller its status: the version in the patch is not that of the
            // object any more.
            Err(ApiError::Refused { code: 409 | 422, .. }) if attempts < ATTEMPTS => {
                let Some(newer) = runtime.client.get(key).await? else { return Ok(live) };
                live = newer;
            }
            answer => return answer,
        }
    }
}

/// A namespace that is not ours yet: it is made, or taken, or somebody else's. `None`: it is to be applied.
async fn take_namespace(
    runtime: &Runtime,
    agent: &Arc<str>,
    plan: &Plan,
    object: &Object,
) -> Result<Option<bool>, Failure> {
    let name = &object.key.name;
    // A namespace is taken once, and a label that the watch has not told of yet may give it to somebody else.
    if runtime.store.namespace(name).is_some()
        && let Some(live) = runtime.client.get(&object.key).await?
    {
        runtime.saw(Kind::Namespace, &live);
    }
    let tenant = object.manifest["metadata"]["labels"][TENANT_LABEL].as_str();
    match runtime.store.namespace(name) {
        None => {
            let mut manifest = object.manifest.clone();
            manifest["metadata"]["annotations"][CREATED_ANNOTATION] = json!("true");
            let live = runtime.client.create(&object.key, &manifest).await?;
            runtime.saw(Kind::Namespace, &live);
            // Applied as well, so that from now on the fields are ours as those of everything else are.
            Ok(None)
        }
        Some(state) if state.deleting => Err(Failure::Deleting),
        Some(state) => match (tenant, &object.owner) {
            // What was decided may be older than a label, or than a namespace that somebody made: it is asked once more.
            (Some(tenant), Owner::Tenant(_)) => {
                let id = AgentId { cluster: runtime.id.clone(), namespace: agent.to_string() };
                let at_home = || plan.members(&id).iter().any(|member| lives_in(member, name, tenant));
                let here = runtime.management;
                let wish = Wish { tenant, cluster: &runtime.id, namespace: name, at_home: here && at_home(), here };
                wish.granted(&state).map(|()| None).map_err(Failure::Blocked)
            }
            // Of our making, and somebody took a label away; or an administrator gave it the label of this agent.
            (None, Owner::Agent)
                if state.tenant.is_none() && (state.created || state.agent.as_deref() == Some(name)) =>
            {
                Ok(None)
            }
            (_, _) => Err(Failure::Blocked(format!(
                "namespace {name} on cluster {} exists, and Sluicegate did not make it, so no agent can be in it; an administrator deletes it, or, who knows what is in it, gives it to the agent: kubectl label namespace {name} {AGENT_LABEL}={name}",
                runtime.id,
            ))),
        },
    }
}

/// Whether a FluxConfig of this tenant lives in a namespace of the management cluster.
fn lives_in(planned: &Planned, namespace: &str, tenant: &str) -> bool {
    let admitted = planned.judgement.known();
    *planned.key.home == *namespace && admitted.is_some_and(|admitted| admitted.resolved().tenant.as_str() == tenant)
}

async fn suspend(runtime: &Runtime, key: &Key, suspended: bool) -> Result<(), Failure> {
    let live = runtime.client.merge(key, &json!({"spec": {"suspend": suspended}}), SUSPENDER).await?;
    runtime.saw(key.kind, &live);
    Ok(())
}

async fn suspend_in_turn(runtime: &Runtime, turns: &Turns<'_>, key: &Key) -> Result<bool, Failure> {
    let manifest = json!({"spec": {"suspend": true}});
    let writer = |live: Option<&Value>| writers::of(live, &manifest);
    let suspended = Fingerprint::of_manifest(&manifest);
    turns.take(key, (suspended, Drift::ANY), writer, |()| true, suspend(runtime, key, true)).await?;
    Ok(true)
}

/// Removes an object that somebody may make again and again.
async fn remove_in_turn(runtime: &Runtime, turns: &Turns<'_>, plan: &Plan, removal: &Removal) -> Result<bool, Failure> {
    let Removal { key, observed, orphan } = removal;
    // Of one that is being deleted already only that is changed.
    let resumes =
        key.kind.stage() == Stage::Delivery && observed.flux.as_ref().is_some_and(|flux| flux.suspended) != *orphan;
    if observed.deleting && !resumes {
        return remove(runtime, plan, removal).await;
    }
    let absent = Fingerprint::of_text("absent");
    let writer = |live: Option<&Value>| writers::last(live, false);
    turns.take(key, (absent, Drift::ANY), writer, |removed| *removed || resumes, remove(runtime, plan, removal)).await
}

/// What an orphan has deployed stays, and so does the namespace that it is in: from now on it counts as one that was there
/// before us.
async fn keep_target(runtime: &Runtime, delivery: &Key) -> Result<(), ApiError> {
    let Some(live) = runtime.client.get(delivery).await? else { return Ok(()) };
    let Some(target) = live["spec"]["targetNamespace"].as_str() else { return Ok(()) };
    if !runtime.store.namespace(target).is_some_and(|namespace| namespace.created) {
        return Ok(());
    }
    let key = Key { kind: Kind::Namespace, namespace: String::new(), name: target.to_owned() };
    let live =
        runtime.client.merge(&key, &json!({"metadata": {"annotations": {CREATED_ANNOTATION: null}}}), MANAGER).await?;
    runtime.saw(Kind::Namespace, &live);
    Ok(())
}

/// A patch that takes our labels off a namespace that we made and do not delete. What an orphan has deployed in it stays, and
/// so does its tenant's label. One in which FluxConfigs live is a home from now on: it keeps what administrators wrote.
fn without_us(live: &Value, is_home: bool) -> Value {
    let mut metadata = json!({"labels": {MANAGED_BY_LABEL: null, AGENT_LABEL: null}});
    if is_home {
        metadata["annotations"] = json!({CREATED_ANNOTATION: null});
        let writers = fields::owners(live, &["metadata", "labels", TENANT_LABEL]);
        if writers.iter().all(|writer| MANAGERS.contains(writer)) {
            metadata["labels"][TENANT_LABEL] = Value::Null;
        }
    }
    json!({"metadata": metadata})
}

/// Removes an object; whether anything had to be written.
async fn remove(runtime: &Runtime, plan: &Plan, removal: &Removal) -> Result<bool, Failure> {
    let Removal { key, observed, orphan } = removal;
    let is_suspended = observed.flux.as_ref().is_some_and(|flux| flux.suspended);
    if key.kind.stage() == Stage::Delivery && is_suspended != *orphan {
        // Flux prunes what it deployed, unless it is suspended.
        match suspend(runtime, key, *orphan).await {
            Err(Failure::Api(error)) if error.is_not_found() => {
                runtime.store.absent(key);
                return Ok(false);
            }
            other => other?,
        }
    }
    if observed.deleting {
        return Ok(false);
    }
    if let Owner::Config { config, .. } = &*observed.owner
        && key.kind.stage() == Stage::Delivery
        && plan.config(config).is_some_and(|planned| planned.leaving == Some(DeletionPolicy::Orphan))
    {
        keep_target(runtime, key).await?;
    }
    if key.kind == Kind::Namespace {
        let state = runtime.store.namespace(&key.name).unwrap_or_default();
        let is_home = runtime.management && (plan.is_home(&key.name) || state.home.is_some());
        let is_deployed_to = match &*observed.owner {
            // A claim of another tenant, which is not served while the label stands, holds up nobody.
            Owner::Tenant(tenant) => plan.is_target_of(&runtime.id, &key.name, tenant),
            Owner::Agent | Owner::Config { .. } => plan.is_target(&runtime.id, &key.name),
        };
        if is_deployed_to {
            return Ok(false);
        }
        if !state.created || is_home {
            // It was there before us, and is given back as it was.
            let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": key.name}});
            let mut live = runtime.client.apply(key, &bare).await?;
            if live["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGER {
                // We made it, and what was made with it is not only applied.
                live = runtime.client.merge(key, &without_us(&live, state.created), MANAGER).await?;
            }
            runtime.saw(Kind::Namespace, &live);
            return Ok(true);
        }
    }
    match runtime.client.delete(key, &observed.uid).await {
        // It is another object by now; the watch tells.
        Err(error) if error.is_conflict() => Ok(false),
        other => {
            other?;
            runtime.store.deleting(key);
            Ok(true)
        }
    }
}
