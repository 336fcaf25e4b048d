//! A guarded cluster, tenants' namespaces in it, and who tries something there.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use sluicegate_crds::{TENANT_GUARD, TENANT_LABEL, TenantGuardSpec};
use sluicegate_e2e::Error;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::operator::manifests;
use sluicegate_e2e::suite::requests::{Said, tries};
pub(crate) use sluicegate_e2e::suite::requests::{api_of, deletes, patches, said};
use sluicegate_e2e::suite::{Space, Target, User, apply_as, own_control_plane, test_on, test_on_own_plane, unique};
use tokio::sync::OnceCell;

use crate::parties::Judge;

/// What a start of the API server, or an installation, may take until parameters are found; it takes half a minute.
pub(crate) const IN_FORCE: Duration = Duration::from_secs(120);

/// A number of tries: the first, and with `SLUICEGATE_E2E_FULL` the second.
pub(crate) fn number(usual: usize, full: usize) -> usize {
    if std::env::var_os("SLUICEGATE_E2E_FULL").is_some() { full } else { usual }
}

/// The control plane that the tests share.
pub(crate) fn guarded(name: &str, body: impl AsyncFnOnce(Space) -> Result<()>) {
    static CLUSTER: OnceLock<std::result::Result<Cluster, String>> = OnceLock::new();
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let find = || {
        // One that runs already spares a start while tests are written.
        let cluster = CLUSTER.get_or_init(|| match std::env::var("SLUICEGATE_E2E_GUARD_CLUSTER") {
            Ok(name) => Cluster::open(&name).map_err(|error| error.to_string()),
            Err(_) => own_control_plane(harness(), &unique("guard")).map_err(|error| error.to_string()),
        });
        let cluster = cluster.clone().map_err(|why| Error::Service { what: "the control plane".into(), why })?;
        Ok(Target::Harness(Box::new(cluster)))
    };
    test_on(name, find, async |space| {
        INSTALLED.get_or_try_init(|| install(&space)).await?;
        body(space).await
    });
}

/// A control plane of a test's own, with nothing installed. It ends with the test.
pub(crate) fn on_own_plane(name: &str, body: impl AsyncFnOnce(Space) -> Result<()>) {
    test_on_own_plane(harness(), name, async |space| body(space).await);
}

fn harness() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sluicegate-e2e"))
}

/// Installs kinds and policies in the order in which people do, and waits until they are in force.
pub(crate) async fn install(space: &Space) -> Result<()> {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for object in manifests(&deploy.join("crds"))? {
        apply_as(&space.client(), object).await?;
    }
    space
        .wait("the kind TenantGuard", 30, || async {
            space
                .condition(
                    ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "tenantguards.sluicegate.dev"),
                    "Established",
                    "True",
                    1,
                )
                .await
                .map(Some)
        })
        .await?;
    let began = Instant::now();
    for object in manifests(&deploy.join("guard"))? {
        apply_as(&space.client(), object).await?;
    }
    let ward =
        Ward::new(space, "installed", &[policy(json!({"images": {"allow": ["registry.example.com/**"]}}))]).await?;
    in_force(&ward).await?;
    println!("in force {:?} after the installation", began.elapsed());
    Ok(())
}

/// Waits until what is allowed passes and what is not does not.
pub(crate) async fn in_force(ward: &Ward) -> Result<()> {
    let began = Instant::now();
    loop {
        let allowed = ward.tries(&ward.client, &ward.judge.pod("registry.example.com/x:1")).await;
        let denied = ward.tries(&ward.client, &ward.judge.pod("evil.example/x:1")).await;
        if allowed.is_ok() && denied.as_ref().is_err_and(|why| why.contains("image-not-allowed")) {
            return Ok(());
        }
        if began.elapsed() > IN_FORCE {
            let why = format!("allowed: {allowed:?}, denied: {denied:?}");
            return Err(Error::Service { what: "the guard is not in force".into(), why });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until an image is allowed in a namespace, and another is not.
pub(crate) async fn in_force_for(space: &Space, namespace: &str, image: &str) -> Result<()> {
    let pod = |image: &str| {
        let metadata = json!({"name": "probe", "namespace": namespace});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "x", "image": image}]}})
    };
    let runs = async |image: &str| tries(&space.client(), &pod(image)).await.is_ok();
    let held = || async { Ok((runs(image).await && !runs("evil.example/x:1").await).then_some(())) };
    space.wait("the guard", IN_FORCE.as_secs(), held).await
}

/// A FluxPolicy for every tenant, that lets all deploy everywhere; `over` is laid over its spec.
pub(crate) fn policy(over: Value) -> Value {
    let mut spec = json!({
        "tenants": {"names": ["*"]},
        "destinations": [{"clusters": ["*"], "namespaces": ["*"]}],
        "sources": {"git": {"allow": ["https://git.example.com/team-a/**"]}},
    });
    for (field, value) in over.as_object().cloned().unwrap_or_default() {
        spec[field] = value;
    }
    spec
}

/// A tenant's namespace with its TenantGuard, and the engine with the same policies.
pub(crate) struct Ward {
    pub(crate) space: Space,
    pub(crate) client: Client,
    pub(crate) judge: Judge,
}

impl Ward {
    pub(crate) async fn new(space: &Space, suffix: &str, policies: &[Value]) -> Result<Ward> {
        Ward::over(space, space.namespace(suffix).await?, policies).await
    }

    /// Makes a namespace that is there a tenant's.
    pub(crate) async fn over(space: &Space, name: String, policies: &[Value]) -> Result<Ward> {
        let policy = |(number, spec): (usize, &Value)| {
            let metadata = json!({"name": format!("policy-{number}")});
            serde_json::from_value(json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": metadata, "spec": spec})).expect("a policy")
        };
        let judge = Judge::new(&name, policies.iter().enumerate().map(policy).collect());
        let ward = Ward { space: space.clone(), client: space.client(), judge };
        ward.label().await?;
        ward.guard(ward.judge.guard()).await?;
        Ok(ward)
    }

    pub(crate) async fn label(&self) -> Result<()> {
        let patch = json!({"metadata": {"labels": {TENANT_LABEL: self.judge.name}}});
        let api: Api<DynamicObject> = self.space.api("v1", "Namespace", "");
        let done = api.patch(&self.judge.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        done.map(|_| ()).map_err(|error| Error::api("labelling", error))
    }

    /// Writes the TenantGuard, and waits until it is what the policies read: an image of the agent's that no other has.
    pub(crate) async fn guard(&self, mut spec: TenantGuardSpec) -> Result<()> {
        static WRITTEN: AtomicUsize = AtomicUsize::new(0);
        let mark = format!("mark.example/m:{}", WRITTEN.fetch_add(1, Ordering::Relaxed));
        spec.images.agent.push(mark.clone());
        let metadata = json!({"name": TENANT_GUARD, "namespace": self.judge.name});
        let object =
            json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "TenantGuard", "metadata": metadata, "spec": spec});
        self.space.apply(object).await?;
        let mut pod = self.judge.pod(&mark);
        pod["metadata"]["name"] = json!("mark");
        let read = || async { Ok(self.tries(&self.client, &pod).await.ok()) };
        self.space.wait("the policies to read the guard", IN_FORCE.as_secs(), read).await
    }

    /// Creates an object without keeping it; the refusal.
    pub(crate) async fn tries(&self, client: &Client, object: &Value) -> Said<()> {
        tries(client, object).await
    }

    #[track_caller]
    pub(crate) fn accepts(&self, object: Value) -> impl Future<Output = ()> + '_ {
        let place = std::panic::Location::caller();
        async move {
            if let Err(why) = self.tries(&self.client, &object).await {
                panic!("{place}: should be allowed: {object}\n{why}");
            }
        }
    }

    #[track_caller]
    pub(crate) fn rejects<'w>(&'w self, object: Value, why: &'w str) -> impl Future<Output = ()> + 'w {
        let place = std::panic::Location::caller();
        async move {
            match self.tries(&self.client, &object).await {
                Ok(()) => panic!("{place}: should be refused because {why}: {object}"),
                Err(said) => assert!(said.contains(why), "{place}: refused, but not because {why}: {said}"),
            }
        }
    }

    /// Somebody with a role of Kubernetes in this namespace.
    pub(crate) async fn member(&self, suffix: &str, role: &str) -> Result<User> {
        let user = self.space.user(suffix, None).await?;
        self.space.bind(&user, &self.judge.name, suffix, ("ClusterRole", role)).await?;
        let api = api_of(
            &user.client,
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": self.judge.name}}),
        );
        let allowed = || async { Ok(api.list(&kube::api::ListParams::default()).await.ok().map(|_| ())) };
        self.space.wait("the binding's effect", 30, allowed).await?;
        Ok(user)
    }
}
