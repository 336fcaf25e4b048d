//! TenantGuards: in every namespace that carries a tenant's label, on every cluster that has a guard, what policy says.
//!
//! They follow the label and not FluxConfigs: a namespace without FluxConfigs must be able to start its pods again, and the
//! guard of a namespace goes with the label, last of all. A namespace that is being deleted loses the label at once, because
//! its TenantGuard may be deleted before its pods, and then not even finalizers could be taken off them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use kube::{
    Api, Resource as _,
    core::{ApiResource, DynamicObject},
};
use serde_json::{Value, json};
use sluicegate_crds::{API_VERSION, FluxCluster, GuardMode, TENANT_GUARD, TENANT_LABEL, TenantGuard};
use sluicegate_policy::{
    grammar::{ClusterId, ImagePattern, NamespaceName, TenantName},
    guard::{self, CONTROLLERS, Ward},
    workload::RECONCILER,
};
use tracing::{debug, warn};

use crate::{
    cluster::{
        ApiError, Runtime,
        client::OwnPatch,
        lean::{Lean, Reading},
        watch::{News, watch},
    },
    clusters::backoff,
    contest::{self, Begun, Drift, Subject, writers},
    context::Context,
    fields::{self, Fingerprint},
    object::{Key, Kind, MANAGED_BY_LABEL, MANAGER},
    plan::{Change, Ground, Planned, planner::Message},
    reconcile::agent::site,
    render::{self, Account, AgentId, Member, Pause},
    rights::WEBHOOK_CONFIGURATION,
};

/// Namespaces of one cluster that are looked at at the same time.
const WORKERS: usize = 4;
/// Everything is compared again this often.
const AGAIN: Duration = Duration::from_secs(300);

/// What was seen of a cluster.
#[derive(Default)]
struct Seen {
    namespaces: HashMap<Arc<str>, Labelled>,
    guards: HashMap<Arc<str>, Written>,
    listed: BTreeSet<&'static str>,
}

/// A namespace with a tenant's label.
#[derive(Clone, Debug)]
struct Labelled {
    uid: String,
    tenant: String,
    deleting: bool,
}

/// A TenantGuard that is there.
#[derive(Clone, Debug)]
struct Written {
    uid: String,
    spec: Fingerprint,
    ours: bool,
    version: Option<u64>,
}

impl Seen {
    /// Takes note of a TenantGuard, by the watch or as the answer to a write: whichever comes later may be the older one.
    fn saw(&mut self, namespace: Arc<str>, written: Written) {
        let known = self.guards.get(&namespace);
        if known.is_none_or(|known| known.version.is_none() || written.version >= known.version) {
            self.guards.insert(namespace, written);
        }
    }

    /// A TenantGuard is gone, unless there is a newer one.
    fn lost(&mut self, namespace: &str, version: Option<u64>) {
        if self.guards.get(namespace).is_some_and(|known| version.is_none() || version >= known.version) {
            self.guards.remove(namespace);
        }
    }
}

/// What runs for one cluster.
struct Guards {
    context: Arc<Context>,
    runtime: Weak<Runtime>,
    seen: Mutex<Seen>,
}

/// Begins to guard a cluster; what runs ends with it.
pub fn start(context: &Arc<Context>, runtime: &Arc<Runtime>) {
    let guards =
        Arc::new(Guards { context: context.clone(), runtime: Arc::downgrade(runtime), seen: Mutex::default() });
    let client = runtime.client.inner();
    let follow = |what: &'static str, resource: ApiResource, labels: Option<&'static str>| {
        let guards = guards.clone();
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let turns = runtime.client.turns();
        let task =
            tokio::spawn(async move { watch(api, labels, Reading::OWN, turns, |news| guards.take(what, news)).await });
        runtime.keep(task.abort_handle());
    };
    follow(NAMESPACES, Kind::Namespace.api_resource(), Some(TENANT_LABEL));
    follow(GUARDS, ApiResource::erase::<TenantGuard>(&()), None);
    runtime.keep(tokio::spawn(guards.clone().again()).abort_handle());
    for _ in 0..WORKERS {
        runtime.keep(tokio::spawn(guards.clone().work()).abort_handle());
    }
}

const NAMESPACES: &str = "namespaces";
const GUARDS: &str = "guards";

/// The guard that is in force on a cluster, or what is missing of the one that it should have.
pub fn in_force(cluster: &FluxCluster, admission: &BTreeSet<String>) -> Result<GuardMode, String> {
    let mode = cluster.spec.guard.unwrap_or_default();
    let (wanted, install): (Vec<String>, _) = match mode {
        GuardMode::Off => return Ok(mode),
        GuardMode::Webhook => (
            vec![format!("validatingwebhookconfigurations/{WEBHOOK_CONFIGURATION}")],
            "deploy/webhook and deploy/guard-webhook",
        ),
        GuardMode::Native => {
            let bindings = guard::manifests().into_iter().flat_map(|document| document.manifests);
            let bindings = bindings.filter(|manifest| manifest["kind"] == "ValidatingAdmissionPolicyBinding");
            let name = |manifest: Value| {
                Some(format!("validatingadmissionpolicybindings/{}", manifest["metadata"]["name"].as_str()?))
            };
            (bindings.filter_map(name).collect(), "the manifests of deploy/guard")
        }
    };
    match wanted.iter().find(|one| !admission.contains(*one)) {
        None => Ok(mode),
        Some(missing) => Err(format!("there is no {missing}: an administrator installs {install}, or sets spec.guard")),
    }
}

impl Guards {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, namespaces: impl IntoIterator<Item = Arc<str>>) {
        if let Some(runtime) = self.runtime.upgrade() {
            namespaces.into_iter().for_each(|namespace| runtime.guards.push(namespace));
        }
    }

    fn push_all(&self) {
        let all: BTreeSet<Arc<str>> = {
            let seen = self.seen();
            seen.namespaces.keys().chain(seen.guards.keys()).cloned().collect()
        };
        self.push(all);
    }

    fn take(&self, what: &'static str, news: News) {
        let of = |object: &Lean| Arc::<str>::from(object.text(if what == NAMESPACES { "name" } else { "namespace" }));
        let only_one = |object: &Lean| what == NAMESPACES || object.text("name") == TENANT_GUARD;
        match news {
            News::Saw(object) if only_one(&object) => {
                let namespace = of(&object);
                let mut seen = self.seen();
                if what == NAMESPACES {
                    let labelled = Labelled::read(&object.value);
                    self.tell_label(&namespace, Some(labelled.tenant.clone()));
                    seen.namespaces.insert(namespace.clone(), labelled);
                } else {
                    seen.saw(namespace.clone(), Written::read(&object.value));
                }
                drop(seen);
                self.push([namespace]);
            }
            News::Lost(object) if only_one(&object) => {
                let namespace = of(&object);
                let mut seen = self.seen();
                if what == NAMESPACES {
                    self.tell_label(&namespace, None);
                    seen.namespaces.remove(&namespace);
                } else {
                    seen.lost(&namespace, Written::read(&object.value).version);
                }
                drop(seen);
                self.push([namespace]);
            }
            News::Saw(_) | News::Lost(_) | News::Failed(_) | News::Refused(_) => {}
            News::Listed(listed) => {
                let mut seen = self.seen();
                if what == NAMESPACES {
                    seen.namespaces.retain(|name, _| listed.contains(&(String::new(), name.to_string())));
                    self.tell_labels(&seen);
                } else {
                    seen.guards.retain(|name, _| listed.contains(&(name.to_string(), TENANT_GUARD.to_owned())));
                }
                seen.listed.insert(what);
                drop(seen);
                self.push_all();
            }
            News::Missing => {
                self.seen().listed.remove(what);
            }
        }
    }

    /// Tells the planner whose a namespace is by its label. Those of the management cluster it watches itself.
    fn tell_label(&self, namespace: &str, tenant: Option<String>) {
        if let Some(runtime) = self.runtime.upgrade().filter(|runtime| !runtime.management) {
            let label = Change::TenantLabel(runtime.id.clone(), namespace.to_owned(), tenant);
            self.context.tell(Message::Change(label));
        }
    }

    fn tell_labels(&self, seen: &Seen) {
        let Some(runtime) = self.runtime.upgrade() else { return };
        let mut labels = Vec::new();
        if !runtime.management {
            labels.extend(seen.namespaces.iter().map(|(name, labelled)| (name.to_string(), labelled.tenant.clone())));
        }
        self.context.tell(Message::Labels(self.runtime.clone(), labels));
    }

    /// Has everything looked at when policies change, and now and then.
    async fn again(self: Arc<Self>) {
        let mut ground = self.context.ground.subscribe();
        loop {
            // Whether it changed or the time is up is all the same.
            let _ = tokio::time::timeout(AGAIN, ground.changed()).await;
            self.push_all();
        }
    }

    async fn work(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            self.context.lead().await;
            let Some(runtime) = self.runtime.upgrade() else { return };
            let namespace = runtime.guards.pop().await;
            let result = self.reconcile(&runtime, &namespace).await;
            runtime.guards.done(&namespace);
            match result {
                Ok(()) => failures = 0,
                Err(error) => {
                    warn!(cluster = %runtime.id, %namespace, error, "the guard is not what it should be, and is tried again");
                    failures += 1;
                    runtime.guards.push_after(namespace, backoff(failures));
                }
            }
        }
    }

    async fn reconcile(&self, runtime: &Arc<Runtime>, namespace: &Arc<str>) -> Result<(), String> {
        let Some(cluster) = self.context.plan.cluster(&runtime.id) else { return Ok(()) };
        let (labelled, written) = {
            let seen = self.seen();
            // From half of what is there nothing is concluded.
            if !self.context.plan.is_complete() || seen.listed.len() < 2 {
                return Ok(());
            }
            (seen.namespaces.get(namespace).cloned(), seen.guards.get(namespace).cloned())
        };
        // The webhook reads in them what only the operator knows: which agent lives in the namespace.
        let guarded = cluster.spec.guard.unwrap_or_default() != GuardMode::Off;
        match (labelled.filter(|_| guarded), written) {
            (None, None) => Ok(()),
            (None, Some(written)) if !written.ours => Ok(()),
            (None, Some(written)) => {
                let guard = Subject::TenantGuard(namespace.clone());
                let absent = Fingerprint::of_text("absent");
                let Some(begun) = self.begin(runtime, namespace, guard, absent).await else { return Ok(()) };
                self.delete(runtime, namespace, &written).await?;
                self.wrote(runtime, begun);
                Ok(())
            }
            (Some(labelled), _) if labelled.deleting => {
                let key = Key { kind: Kind::Namespace, namespace: String::new(), name: namespace.to_string() };
                let patch = json!({"metadata": {"labels": {TENANT_LABEL: null}}});
                let unlabelled = Fingerprint::of_text("unlabelled");
                let subject = Subject::Object(key.clone());
                let Some(begun) = self.begin(runtime, namespace, subject, unlabelled).await else { return Ok(()) };
                match runtime.client.merge(&key, &patch, MANAGER).await {
                    Err(error) if !error.is_not_found() => return Err(error.to_string()),
                    _ => {}
                }
                self.wrote(runtime, begun);
                Ok(())
            }
            (Some(labelled), written) => {
                let Some(spec) = self.spec(runtime, namespace, &labelled.tenant)? else { return Ok(()) };
                let wanted = fields::digest(&spec);
                if written.as_ref().is_some_and(|written| written.ours && written.spec == wanted) {
                    return Ok(());
                }
                let guard = Subject::TenantGuard(namespace.clone());
                // With another namespace of that name it begins anew.
                let intent = Fingerprint::of_text(&format!("{wanted} {}", labelled.uid));
                let Some(begun) = self.begin(runtime, namespace, guard, intent).await else { return Ok(()) };
                self.apply(runtime, namespace, spec, wanted, begun).await
            }
        }
    }

    /// Begins a write; `None`: it has to wait, since somebody else keeps writing the same.
    async fn begin<'r>(
        &self,
        runtime: &'r Runtime,
        namespace: &Arc<str>,
        subject: Subject,
        wanted: Fingerprint,
    ) -> Option<Begun<'r>> {
        let path = match &subject {
            Subject::TenantGuard(namespace) => {
                format!("/apis/{API_VERSION}/namespaces/{namespace}/{}/{TENANT_GUARD}", TenantGuard::plural(&()))
            }
            _ => format!("/api/v1/namespaces/{namespace}"),
        };
        let writer = async {
            match runtime.client.get_path(&path).await {
                Ok(live) => writers::last(Some(&live), false),
                Err(error) if error.is_not_found() => writers::last(None, false),
                Err(_) => writers::UNKNOWN.to_owned(),
            }
        };
        match runtime.contests.begin(subject, wanted, Drift::ANY, writer).await {
            Ok(begun) => Some(begun),
            Err(left) => {
                runtime.guards.push_after(namespace.clone(), left);
                None
            }
        }
    }

    /// A write was made.
    fn wrote(&self, runtime: &Runtime, begun: Begun<'_>) {
        if let Some((subject, contest)) = begun.wrote()
            && let Some(cluster) = self.context.plan.cluster(&runtime.id)
        {
            contest::announce(&self.context.events, &subject, &contest, cluster.object_ref(&()), None);
        }
    }

    async fn apply(
        &self,
        runtime: &Runtime,
        namespace: &str,
        spec: Value,
        wanted: Fingerprint,
        begun: Begun<'_>,
    ) -> Result<(), String> {
        let manifest = json!({
            "apiVersion": API_VERSION, "kind": "TenantGuard",
            "metadata": {"name": TENANT_GUARD, "namespace": namespace, "labels": {MANAGED_BY_LABEL: MANAGER}},
            "spec": spec,
        });
        let patch = OwnPatch::Apply(&manifest);
        let live = match runtime.client.patch_own::<TenantGuard>(Some(namespace), TENANT_GUARD, patch).await {
            Ok(live) => live,
            // The watch tells that the namespace is gone or on its way.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(ApiError::NotLeading) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        debug!(cluster = %runtime.id, namespace, "wrote the guard");
        self.wrote(runtime, begun);
        let written = Written::read(&live);
        let foreign = written.spec != wanted;
        self.seen().saw(Arc::from(namespace), written.clone());
        if foreign {
            // Somebody has added to it, who may administer it. It is made again, without.
            self.delete(runtime, namespace, &written).await?;
            return Err("somebody had added to it".to_owned());
        }
        Ok(())
    }

    async fn delete(&self, runtime: &Runtime, namespace: &str, written: &Written) -> Result<(), String> {
        let deleted = runtime.client.delete_own::<TenantGuard>(Some(namespace), TENANT_GUARD, &written.uid).await;
        match deleted {
            Err(error) if !error.is_conflict() && !matches!(error, ApiError::NotLeading) => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// What the guard of a namespace should say; `None` where that cannot be told now, and it stays as it is.
    fn spec(&self, runtime: &Runtime, namespace: &str, tenant: &str) -> Result<Option<Value>, String> {
        let names = (TenantName::new(tenant), ClusterId::new(runtime.id.as_str()), NamespaceName::new(namespace));
        // A label that is no tenant's name: without a TenantGuard nothing is allowed.
        let (Ok(tenant), Ok(cluster), Ok(ward)) = names else { return Ok(None) };
        let ground: Arc<Ground> = self.context.ground.borrow().clone();
        let deployed = self.context.plan.deployed(&runtime.id, namespace);
        let known = deployed.iter().filter_map(|planned| planned.judgement.known());
        let known: Vec<_> = known.map(|admitted| admitted.resolved()).filter(|found| found.tenant == tenant).collect();
        let mut homes: Vec<&str> = known.iter().map(|resolved| &*resolved.home).collect();
        if homes.is_empty() {
            homes.extend(ground.facts.home_of(&tenant));
        }
        homes.sort_unstable();
        homes.dedup();
        let narrows = !known.is_empty() && known.iter().all(|resolved| !resolved.images.is_empty());
        let patterns: Vec<ImagePattern> = known
            .iter()
            .flat_map(|resolved| &resolved.images)
            .filter_map(|pattern| ImagePattern::parse(pattern).ok())
            .collect();
        let mut spec = guard::compile(
            &Ward {
                tenant: &tenant,
                homes: &homes,
                cluster: &cluster,
                namespace: &ward,
                narrowing: narrows.then_some(&patterns[..]),
            },
            &ground.policies,
            &ground.facts,
        );
        spec.operator = match &runtime.account {
            Account::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
            Account::User(name) => name.clone(),
        };
        let agent = AgentId { cluster: runtime.id.clone(), namespace: namespace.to_owned() };
        let members = self.context.plan.members(&agent);
        if !members.is_empty() {
            spec.accounts = CONTROLLERS.iter().chain(&[RECONCILER]).map(|name| (*name).to_owned()).collect();
            spec.images.agent = self.agent_images(runtime, &agent, &members)?;
        }
        serde_json::to_value(spec).map(Some).map_err(|error| error.to_string())
    }

    fn agent_images(
        &self,
        runtime: &Runtime,
        agent: &AgentId,
        members: &[Arc<Planned>],
    ) -> Result<Vec<String>, String> {
        let members: Vec<Member<'_>> = members
            .iter()
            .filter_map(|planned| Some(Member { admitted: planned.judgement.known()?, pause: Pause::Nothing }))
            .collect();
        let rendered =
            render::render(agent, &members, &site(&self.context, runtime)).map_err(|error| error.to_string())?;
        Ok(rendered.images().into_iter().collect())
    }
}

impl Labelled {
    fn read(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self {
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            tenant: metadata["labels"][TENANT_LABEL].as_str().unwrap_or_default().to_owned(),
            deleting: metadata["deletionTimestamp"].is_string(),
        }
    }
}

impl Written {
    fn read(object: &Value) -> Self {
        let metadata = &object["metadata"];
        Self {
            uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
            spec: fields::digest(&object["spec"]),
            ours: metadata["labels"][MANAGED_BY_LABEL] == MANAGER,
            version: metadata["resourceVersion"].as_str().and_then(|version| version.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sluicegate_crds::FluxClusterSpec;

    use super::*;
    use crate::flux::controllers;

    #[test]
    fn an_answer_that_comes_late_hides_no_change() {
        let of = |version: u64, spec: &str| {
            let metadata = json!({"resourceVersion": version.to_string(), "labels": {MANAGED_BY_LABEL: MANAGER}});
            Written::read(&json!({"metadata": metadata, "spec": {"tenant": spec}}))
        };
        let (mut seen, namespace) = (Seen::default(), Arc::<str>::from("team"));
        // The watch tells of somebody's change before the answer to our own write, which was before, is there.
        seen.saw(namespace.clone(), of(7, "theirs"));
        seen.saw(namespace.clone(), of(6, "ours"));
        assert_eq!(seen.guards["team"].spec, of(7, "theirs").spec);
        seen.saw(namespace.clone(), of(9, "made again"));
        seen.lost("team", Some(8));
        assert_eq!(seen.guards["team"].version, Some(9));
        seen.lost("team", Some(10));
        assert!(seen.guards.is_empty());
    }

    #[test]
    fn the_guard_knows_every_controller() {
        let mut rendered: Vec<&str> = controllers::CONTROLLERS.iter().map(|controller| controller.name).collect();
        let mut known = CONTROLLERS.to_vec();
        rendered.sort_unstable();
        known.sort_unstable();
        assert_eq!(rendered, known);
    }

    fn cluster(guard: Option<GuardMode>) -> FluxCluster {
        FluxCluster::new("prod", FluxClusterSpec { guard, connection: Default::default(), flux: None })
    }

    #[test]
    fn a_guard_is_in_force_when_all_of_it_is_installed() {
        let all: BTreeSet<String> = guard::manifests()
            .into_iter()
            .flat_map(|document| document.manifests)
            .filter(|manifest| manifest["kind"] == "ValidatingAdmissionPolicyBinding")
            .filter_map(|manifest| {
                Some(format!("validatingadmissionpolicybindings/{}", manifest["metadata"]["name"].as_str()?))
            })
            .collect();
        assert_eq!(in_force(&cluster(None), &all), Ok(GuardMode::Native));
        for one in &all {
            let mut without = all.clone();
            without.remove(one);
            let why = in_force(&cluster(None), &without).unwrap_err();
            assert!(why.contains(one), "{why}");
        }
        assert_eq!(in_force(&cluster(Some(GuardMode::Off)), &BTreeSet::new()), Ok(GuardMode::Off));
        let webhook = cluster(Some(GuardMode::Webhook));
        assert!(in_force(&webhook, &all).is_err());
        // The webhook for FluxConfigs is none.
        let mut hooks = BTreeSet::from(["validatingwebhookconfigurations/sluicegate".to_owned()]);
        assert!(in_force(&webhook, &hooks).is_err());
        hooks.insert("validatingwebhookconfigurations/sluicegate-guard".to_owned());
        assert_eq!(in_force(&webhook, &hooks), Ok(GuardMode::Webhook));
    }
}
