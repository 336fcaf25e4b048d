//! FluxClusters: a connection that is not exactly one refuses them; FluxConfigs that they cut off are a warning.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use sluicegate_crds::{FluxCluster, FluxClusterSpec, FluxConfig, GuardMode};
use sluicegate_policy::{check_cluster, message};

use super::{Budget, Labelled, impact, read, unreadable};
use crate::{
    review::{Answer, Operation, Request},
    snapshot::Snapshot,
};

#[derive(Debug, Deserialize)]
struct Cluster {
    #[serde(default)]
    metadata: Labelled,
    spec: FluxClusterSpec,
}

pub(super) fn validate(request: &Request<'_>, snapshot: &Snapshot, budget: Budget) -> Answer {
    let mut clusters = snapshot.clusters.clone();
    let mut answer = Answer::allowed();
    let name = &*request.name;
    match request.operation {
        Operation::Connect => return Answer::allowed(),
        Operation::Delete => drop(Arc::make_mut(&mut clusters).remove(name)),
        Operation::Create | Operation::Update => {
            let object = match read::<Cluster>(request.object.as_ref()) {
                Ok(object) => object,
                Err(error) => return unreadable(&error),
            };
            let unchanged = read::<Cluster>(request.old_object.as_ref()).is_ok_and(|old| old.spec == object.spec);
            let facts = sluicegate_policy::Cluster {
                labels: Arc::new(object.metadata.labels.unwrap_or_default()),
                management: object.spec.connection.in_cluster.is_some(),
            };
            let name = if name.is_empty() { object.metadata.name } else { name.to_owned() };
            if !unchanged {
                let mut cluster = FluxCluster::new(&name, object.spec);
                cluster.metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                let errors = check_cluster(&cluster);
                if !errors.is_empty() {
                    return Answer::denied(message::refusal(&errors));
                }
                let spec = &cluster.spec;
                if spec.guard == Some(GuardMode::Webhook) && spec.connection.in_cluster.is_none() {
                    answer = answer.warn(
                        "spec.guard: the webhook guards the cluster that it runs on and no other; Native is for this one",
                    );
                }
            }
            if clusters.get(&*name) == Some(&facts) {
                return answer;
            }
            Arc::make_mut(&mut clusters).insert(name.into(), facts);
        }
    }
    let after = snapshot.over(snapshot.namespaces.clone(), clusters);
    // Those that leave the cluster to a default may be there, too.
    let there = |config: &FluxConfig| config.spec.cluster.as_deref().is_none_or(|cluster| cluster == name);
    match impact::cut_off(snapshot, &after, there, budget).warning() {
        Some(warning) => answer.warn(warning),
        None => answer,
    }
}
