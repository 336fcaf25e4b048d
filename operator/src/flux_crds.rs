//! The CRDs of Flux on clusters whose FluxCluster says `crds: Managed`: those of a release, from its OCI artifact, before any
//! agent of that release starts.
//!
//! They only ever go forward. An older release of the controllers works with newer CRDs, while a CRD that goes back may forget
//! a version in which objects are stored. They are never removed: with them all objects of all teams would be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use kube::{Resource as _, core::ObjectMeta};
use sluicegate_crds::{CrdManagement, FluxCluster};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    cluster::{ApiError, Runtime, runtime::FluxCrds},
    clusters::backoff,
    contest::{self, Drift, Subject, writers},
    context::Context,
    fields::Fingerprint,
    flux::{
        artifact::Repository,
        crds::{self, ARTIFACT_ANNOTATION},
        releases::{self, Release},
    },
    object::{MANAGED_BY_LABEL, MANAGER},
    rights::FLUX_CRDS,
};

/// How often it is looked whether other CRDs are wanted.
const LOOK: Duration = Duration::from_secs(2);
/// How often it is looked whether those that are there are still what was applied.
const COMPARE: Duration = Duration::from_secs(60);

const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Label by which a Flux Kustomization knows its objects.
const KUSTOMIZATION_LABEL: &str = "kustomize.toolkit.fluxcd.io/name";

/// Begins to keep the CRDs of a cluster; what runs ends with it.
pub fn start(context: &Arc<Context>, runtime: &Arc<Runtime>) {
    runtime.keep(tokio::spawn(keep(context.clone(), Arc::downgrade(runtime))).abort_handle());
}

/// How far the CRDs of a cluster are; `None` where somebody else installs them. What an earlier process has applied is in the
/// FluxCluster's status.
pub fn state(cluster: &FluxCluster, runtime: &Runtime) -> Option<FluxCrds> {
    managed(cluster)?;
    let mut state = runtime.flux_crds();
    state.release = state.release.or_else(|| told(cluster));
    Some(state)
}

/// Why no agent of this release may start on a cluster yet.
pub fn waits(context: &Context, runtime: &Runtime, release: &Release) -> Option<String> {
    let cluster = context.plan.cluster(&runtime.id)?;
    let there = state(&cluster, runtime)?.release;
    if there.is_some_and(|there| releases::age(there) >= releases::age(release)) {
        return None;
    }
    let there = there.map_or_else(|| "none yet".to_owned(), |there| format!("those of {there}"));
    Some(format!(
        "controllers of Flux {release} wait for the CRDs of that release; the cluster has {there}: see the status of \
         FluxCluster {id}, and its spec.flux.version",
        id = runtime.id
    ))
}

fn managed(cluster: &FluxCluster) -> Option<&sluicegate_crds::ClusterFlux> {
    cluster.spec.flux.as_ref().filter(|flux| flux.crds == Some(CrdManagement::Managed))
}

fn told(cluster: &FluxCluster) -> Option<&'static Release> {
    releases::exact(cluster.status.as_ref()?.flux_version.as_deref()?)
}

/// What a FluxCluster asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    repository: Repository,
    release: &'static Release,
}

impl Wanted {
    /// `None` where it asks for nothing.
    fn of(context: &Context, runtime: &Runtime) -> Option<Result<Self, String>> {
        let cluster = context.plan.cluster(&runtime.id)?;
        let flux = managed(&cluster)?;
        let there = state(&cluster, runtime).and_then(|state| state.release);
        let secret = flux.artifact_secret_ref.as_ref().map(|secret| {
            context.secrets.text(&secret.name, ".dockerconfigjson").ok_or_else(|| {
                format!("Secret {} in namespace {} has no .dockerconfigjson", secret.name, context.namespace)
            })
        });
        let wanted = || {
            let release = flux.version.as_deref().map_or(Ok(releases::newest()), releases::resolve);
            let release = release.map_err(|error| format!("spec.flux.version: {error}"))?;
            let release = there.filter(|there| releases::age(there) > releases::age(release)).unwrap_or(release);
            let repository =
                Repository::new(flux.artifact.as_deref().unwrap_or_default(), secret.transpose()?.as_deref());
            Ok(Self { repository: repository.map_err(|error| error.to_string())?, release })
        };
        Some(wanted())
    }
}

/// What was applied.
struct Applied {
    wanted: Wanted,
    artifact: String,
    /// `metadata.generation` of each, which changes with its spec.
    generations: BTreeMap<&'static str, Option<i64>>,
    compared: Instant,
}

async fn keep(context: Arc<Context>, runtime: Weak<Runtime>) {
    let mut applied: Option<Applied> = None;
    let mut failures = 0;
    loop {
        context.lead().await;
        let Some(runtime) = runtime.upgrade() else { return };
        let outcome = match Wanted::of(&context, &runtime) {
            None => {
                applied = None;
                Ok(None)
            }
            Some(Err(problem)) => Err(problem),
            Some(Ok(wanted)) => bring(&context, &runtime, wanted, &mut applied).await.map(Some),
        };
        let (now, delay) = match outcome {
            Ok(release) => {
                failures = 0;
                (FluxCrds { release, problem: None }, LOOK)
            }
            Err(problem) => {
                let known = runtime.flux_crds();
                if known.problem.as_ref() != Some(&problem) {
                    warn!(cluster = %runtime.id, problem, "the CRDs of Flux");
                }
                failures += 1;
                (FluxCrds { problem: Some(problem), ..known }, backoff(failures))
            }
        };
        runtime.set_flux_crds(now);
        drop(runtime);
        sleep(delay).await;
    }
}

/// Sees to it that the cluster has the CRDs that are wanted; the release that they are of.
async fn bring(
    context: &Context,
    runtime: &Runtime,
    wanted: Wanted,
    applied: &mut Option<Applied>,
) -> Result<&'static Release, String> {
    let release = wanted.release;
    if let Some(applied) = applied.as_mut().filter(|applied| applied.wanted == wanted) {
        if applied.compared.elapsed() < COMPARE {
            return Ok(release);
        }
        if is_as_applied(runtime, applied).await? {
            applied.compared = Instant::now();
            return Ok(release);
        }
    }
    let failed = |why: String| format!("the CRDs of Flux {release} are not applied: {why}");
    let intent = Fingerprint::of_text(&format!("{wanted:?}"));
    let begun = runtime.contests.begin(Subject::FluxCrds, intent, Drift::ANY, writer(runtime)).await;
    let begun = begun.map_err(|_| {
        let why = runtime.contests.pending(&Subject::FluxCrds).map(|(_, why)| why);
        failed(why.unwrap_or_else(|| "somebody else keeps changing them".to_owned()))
    })?;
    *applied = None;
    let artifact = wanted.repository.pull(release).await.map_err(|error| failed(error.to_string()))?;
    let reference = artifact.reference;
    let manifests = {
        let reference = reference.clone();
        tokio::task::spawn_blocking(move || crds::find(&artifact.archive, &reference)).await
    };
    let manifests = manifests.map_err(|error| failed(error.to_string()))?;
    let manifests = manifests.map_err(|error| failed(format!("{reference}: {error}")))?;
    // None is written before it is known that all may be.
    for name in manifests.keys() {
        let there = metadata(runtime, name).await?;
        if let Some(keeper) = there.as_ref().and_then(other_keeper) {
            return Err(failed(format!("{name} is kept by {keeper}, which has to let go of it first")));
        }
    }
    let mut generations = BTreeMap::new();
    for (name, manifest) in &manifests {
        let answer = runtime.client.apply_path(PATH, name, manifest).await;
        let metadata = answer.map_err(|error| failed(refusal(name, error)))?;
        generations.insert(*name, metadata.generation);
    }
    if let Some((subject, contest)) = begun.wrote()
        && let Some(cluster) = context.plan.cluster(&runtime.id)
    {
        contest::announce(&context.events, &subject, &contest, cluster.object_ref(&()), None);
    }
    info!(cluster = %runtime.id, artifact = reference, crds = generations.len(), "the CRDs of Flux are in place");
    *applied = Some(Applied { wanted, artifact: reference, generations, compared: Instant::now() });
    Ok(release)
}

/// Who else wrote one of them last.
async fn writer(runtime: &Runtime) -> String {
    let mut last: Option<(String, String)> = None;
    for name in crds::NAMES {
        let Ok(Some(metadata)) = metadata(runtime, name).await else { continue };
        if let Some((time, writer)) = writers::newest(&metadata)
            && last.as_ref().is_none_or(|(newest, _)| *newest < time)
        {
            last = Some((time, format!("{writer} writes {name}")));
        }
    }
    last.map_or_else(|| writers::UNKNOWN.to_owned(), |(_, writer)| writer)
}

async fn is_as_applied(runtime: &Runtime, applied: &Applied) -> Result<bool, String> {
    for (name, generation) in &applied.generations {
        let there = metadata(runtime, name).await?;
        let is_same = there.is_some_and(|there| {
            let annotations = there.annotations.as_ref();
            let artifact = annotations.and_then(|annotations| annotations.get(ARTIFACT_ANNOTATION));
            there.generation == *generation && artifact == Some(&applied.artifact)
        });
        if !is_same {
            info!(cluster = %runtime.id, crd = name, "is not what was applied");
            return Ok(false);
        }
    }
    Ok(true)
}

async fn metadata(runtime: &Runtime, name: &str) -> Result<Option<ObjectMeta>, String> {
    runtime.client.metadata(PATH, name).await.map_err(|error| refusal(name, error))
}

/// Who else puts a CRD right, again and again.
fn other_keeper(metadata: &ObjectMeta) -> Option<String> {
    let labels = metadata.labels.as_ref()?;
    if let Some(name) = labels.get(KUSTOMIZATION_LABEL) {
        return Some(format!("the Kustomization {name}"));
    }
    labels.get(MANAGED_BY_LABEL).filter(|manager| *manager != MANAGER).cloned()
}

fn refusal(name: &str, error: ApiError) -> String {
    match error {
        ApiError::Refused { code: 403, message, .. } => {
            format!("{message}; the right to it is the ClusterRole {FLUX_CRDS}: deploy/flux-crds")
        }
        error => format!("{name}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_puts_a_crd_right_is_told_by_its_labels() {
        let metadata = |label: &str, value: &str| ObjectMeta {
            labels: Some(BTreeMap::from([(label.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        };
        assert_eq!(other_keeper(&ObjectMeta::default()), None);
        assert_eq!(other_keeper(&metadata("app.kubernetes.io/part-of", "flux")), None);
        assert_eq!(other_keeper(&metadata(MANAGED_BY_LABEL, MANAGER)), None);
        assert_eq!(other_keeper(&metadata(MANAGED_BY_LABEL, "Helm")), Some("Helm".into()));
        assert_eq!(
            other_keeper(&metadata(KUSTOMIZATION_LABEL, "flux-system")),
            Some("the Kustomization flux-system".into())
        );
    }
}
