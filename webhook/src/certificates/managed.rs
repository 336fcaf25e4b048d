//! The authority of our own in a Secret, and the API server's trust in it. All replicas do the same: read the Secret, write it
//! where something is due (the API server lets one of them win, and the others read again), serve what it says, and keep
//! `caBundle` of the webhook configurations as it says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::Secret,
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluicegate_operator::{
    contest::{Contests, Drift, Turn, writers},
    fields::Fingerprint,
    telemetry::health::{Beat, Gate},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    CertificateError, Serving,
    authority::{Ages, AuthorityError, Material, next},
};
use crate::{
    install::{CONFIGURATION, GUARD_CONFIGURATION, SECRET},
    telemetry::{Metrics, Written},
};

/// After a failure.
const AGAIN: Duration = Duration::from_secs(2);
/// How long one look may take; it is a handful of requests.
const WITHIN: Duration = Duration::from_secs(30);
/// How often two replicas may get in each other's way before it is an error.
const TRIES: usize = 5;

/// Why a look ended early.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("the API server refused {what}")]
    Api { what: String, source: kube::Error },
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("the Secret {SECRET} cannot be served")]
    Serve(#[from] CertificateError),
    #[error("the Secret {SECRET} is written by others all the time")]
    Contended,
    #[error("the patch of {0} cannot be written")]
    Patch(&'static str, #[source] serde_json::Error),
    #[error("{0}")]
    Contested(String),
    #[error("the API server did not answer within {} s", WITHIN.as_secs())]
    Slow,
}

fn refused(what: impl Into<String>) -> impl FnOnce(kube::Error) -> LookError {
    let what = what.into();
    move |source| LookError::Api { what, source }
}

/// What is kept.
#[derive(Clone)]
pub struct Managed {
    /// The cluster.
    pub client: Client,
    /// Namespace of the Secret.
    pub namespace: String,
    /// Names that the API server asks by.
    pub names: Vec<String>,
    /// How long certificates live.
    pub ages: Ages,
}

impl Managed {
    /// Keeps Secret, certificate and trust, for as long as it is polled.
    pub async fn keep(self, serving: Arc<Serving>, metrics: Arc<Metrics>, beat: Beat, ready: Gate) {
        let news = Arc::new(Notify::new());
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        tokio::spawn(tell(secrets, SECRET, news.clone()));
        for name in [CONFIGURATION, GUARD_CONFIGURATION] {
            let configurations = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
            tokio::spawn(tell(configurations, name, news.clone()));
        }
        tokio::spawn(tell(Api::<MutatingWebhookConfiguration>::all(self.client.clone()), CONFIGURATION, news.clone()));
        let mut served: Option<Material> = None;
        let (mut contests, mut contested) = (Contests::default(), None);
        loop {
            beat.turn();
            let look = timeout(WITHIN, self.look(&mut served, &serving, &metrics, &mut contests)).await;
            let wait = match look.unwrap_or(Err(LookError::Slow)) {
                Ok(waits) => {
                    ready.open();
                    if let Some(why) = waits.as_ref().filter(|_| waits != contested) {
                        warn!("{why}");
                    }
                    contested = waits;
                    // Whatever watches say.
                    if contested.is_some() { AGAIN } else { self.ages.look_every() }
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "the certificate");
                    AGAIN
                }
            };
            // Whichever comes first.
            let _ = timeout(wait, news.notified()).await;
            // A flood of news is one.
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn look(
        &self,
        served: &mut Option<Material>,
        serving: &Serving,
        metrics: &Metrics,
        contests: &mut Contests<Place>,
    ) -> Result<Option<String>, LookError> {
        let material = self.material(metrics, contests).await?;
        // Trust comes first: whoever reads of a new authority does not yet see what it has signed.
        let mut waits = None;
        for name in [CONFIGURATION, GUARD_CONFIGURATION] {
            let place = (Written::Validating, name);
            let trusts = self.trust::<ValidatingWebhookConfiguration>(place, &material.bundle, metrics, contests).await;
            waits = waits.or(contested(trusts)?);
        }
        let place = (Written::Mutating, CONFIGURATION);
        let trusts = self.trust::<MutatingWebhookConfiguration>(place, &material.bundle, metrics, contests).await;
        waits = waits.or(contested(trusts)?);
        if served.as_ref() != Some(&material) {
            metrics.certificate_ends(serving.set(&material.chain, &material.key)?);
            info!("serving the certificate of the Secret {SECRET}");
            *served = Some(material);
        }
        Ok(waits)
    }

    /// The Secret's content, which is written first where something is due.
    async fn material(&self, metrics: &Metrics, contests: &mut Contests<Place>) -> Result<Material, LookError> {
        let (place, readable) = ((Written::Secret, SECRET), Fingerprint::of_text("readable"));
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        for _ in 0..TRIES {
            let secret = secrets.get_opt(SECRET).await.map_err(refused(format!("reading the Secret {SECRET}")))?;
            let found = secret.as_ref().and_then(content);
            let now = Timestamp::now().as_second();
            let Some(material) = next(found.as_ref(), &self.names, now, &self.ages)? else {
                if let Some(found) = found {
                    return Ok(found);
                }
                continue;
            };
            let parameters = PostParams::default();
            // What is due is renewed; what somebody else has made unreadable is made again, and not for ever.
            let spoiled = found.is_none();
            if spoiled {
                wait_turn(contests, place, readable)?;
            }
            let metadata = secret.as_ref().map(|secret| secret.metadata.clone()).unwrap_or_default();
            let written = match secret {
                None => secrets.create(&parameters, &manifest(None, &material)).await,
                // With its resource version: it must be the one that was read.
                Some(secret) => secrets.replace(SECRET, &parameters, &manifest(Some(secret), &material)).await,
            };
            match written {
                Ok(_) => {
                    info!("wrote the Secret {SECRET}");
                    if spoiled {
                        wrote(contests, metrics, place, readable, &metadata);
                    }
                    return Ok(material);
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    debug!("another replica wrote the Secret {SECRET} first");
                    sleep(Duration::from_millis(fastrand::u64(20..200))).await;
                }
                Err(error) => return Err(refused(format!("writing the Secret {SECRET}"))(error)),
            }
        }
        Err(LookError::Contended)
    }

    /// Has the API server trust these authorities. A configuration that is not there is somebody's wish.
    async fn trust<K>(
        &self,
        place: Place,
        bundle: &str,
        metrics: &Metrics,
        contests: &mut Contests<Place>,
    ) -> Result<(), LookError>
    where
        K: kube::Resource<Scope = kube::core::ClusterResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
        K: serde::Serialize,
        K::DynamicType: Default,
    {
        let (kind, name) = (place.0.label(), place.1);
        let api: Api<K> = Api::all(self.client.clone());
        let Some(found) = api.get_opt(name).await.map_err(refused(format!("reading the {kind} {name}")))? else {
            debug!(kind, name, "there is none");
            return Ok(());
        };
        let metadata = found.meta().clone();
        let found = serde_json::to_value(found).map_err(|error| LookError::Patch(kind, error))?;
        let operations = operations(&found, &STANDARD.encode(bundle));
        if operations.is_empty() {
            return Ok(());
        }
        let wanted = Fingerprint::of_text(bundle);
        wait_turn(contests, place, wanted)?;
        let patch = serde_json::from_value(Value::Array(operations)).map_err(|error| LookError::Patch(kind, error))?;
        api.patch(name, &PatchParams::default(), &Patch::<()>::Json(patch))
            .await
            .map_err(refused(format!("patching the {kind} {name}")))?;
        info!(kind, name, "has the authorities of the Secret {SECRET}");
        wrote(contests, metrics, place, wanted, &metadata);
        Ok(())
    }
}

/// What is written: its kind, and its name.
type Place = (Written, &'static str);

/// Why something has to wait; it must not keep the rest from being done.
fn contested(result: Result<(), LookError>) -> Result<Option<String>, LookError> {
    match result {
        Ok(()) => Ok(None),
        Err(LookError::Contested(why)) => Ok(Some(why)),
        Err(error) => Err(error),
    }
}

/// Nothing is written while somebody else keeps writing the same.
fn wait_turn(contests: &Contests<Place>, place: Place, wanted: Fingerprint) -> Result<(), LookError> {
    let Turn::Wait(_) = contests.turn(&place, wanted, Drift::ANY) else { return Ok(()) };
    let subject = format!("{} {}", place.0.label(), place.1);
    let why = contests.pending(&place).map(|(_, contest)| contest.text(&subject));
    Err(LookError::Contested(why.unwrap_or_else(|| format!("{subject} is contested"))))
}

/// It was written over what somebody else, whom its metadata name, had made of it.
fn wrote(contests: &mut Contests<Place>, metrics: &Metrics, place: Place, wanted: Fingerprint, before: &ObjectMeta) {
    let writer = writers::newest(before).map(|(_, writer)| format!("{writer} writes it"));
    if contests.wrote(place, wanted, Drift::ANY, writer).is_some() {
        metrics.contested_repair(place.0);
    }
}

/// What makes every webhook of a configuration trust a bundle. Each is named as well as numbered, since somebody may change
/// the list meanwhile.
fn operations(configuration: &Value, bundle: &str) -> Vec<Value> {
    let webhooks = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let differing = webhooks.iter().enumerate().filter(|(_, hook)| hook["clientConfig"]["caBundle"] != bundle);
    differing
        .flat_map(|(index, hook)| {
            [
                json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": hook["name"]}),
                json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle}),
            ]
        })
        .collect()
}

const BUNDLE: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

fn content(secret: &Secret) -> Option<Material> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
    Some(Material { bundle: text(BUNDLE)?, authority_key: text(AUTHORITY_KEY)?, chain: text(CHAIN)?, key: text(KEY)? })
}

fn manifest(found: Option<Secret>, material: &Material) -> Secret {
    let Material { bundle, authority_key, chain, key } = material;
    let entries = [(BUNDLE, bundle), (AUTHORITY_KEY, authority_key), (CHAIN, chain), (KEY, key)];
    let data = entries.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.clone().into_bytes())));
    let metadata = match found {
        Some(secret) => secret.metadata,
        None => ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([("app.kubernetes.io/managed-by".to_owned(), "sluicegate".to_owned())])),
            ..ObjectMeta::default()
        },
    };
    Secret { metadata, data: Some(data.collect()), type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() }
}

/// Tells of every change of one object.
async fn tell<K>(api: Api<K>, name: &str, news: Arc<Notify>)
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
    K::DynamicType: Default,
{
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher::watcher(api, only).default_backoff());
    while let Some(event) = futures::StreamExt::next(&mut events).await {
        match event {
            Ok(_) => news.notify_one(),
            Err(error) => debug!(name, %error, "watch"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_patched_and_nothing_by_its_number_alone() {
        let configuration = json!({"webhooks": [
            {"name": "a", "clientConfig": {"caBundle": "new"}},
            {"name": "b", "clientConfig": {"caBundle": "old"}},
            {"name": "c", "clientConfig": {}},
        ]});
        let expected = json!([
            {"op": "test", "path": "/webhooks/1/name", "value": "b"},
            {"op": "add", "path": "/webhooks/1/clientConfig/caBundle", "value": "new"},
            {"op": "test", "path": "/webhooks/2/name", "value": "c"},
            {"op": "add", "path": "/webhooks/2/clientConfig/caBundle", "value": "new"},
        ]);
        assert_eq!(Value::Array(operations(&configuration, "new")), expected);
        assert!(operations(&json!({}), "new").is_empty());
    }

    #[test]
    fn the_secret_keeps_everything() {
        let material = Material {
            bundle: "a".to_owned(),
            authority_key: "b".to_owned(),
            chain: "c".to_owned(),
            key: "d".to_owned(),
        };
        assert_eq!(content(&manifest(None, &material)), Some(material.clone()));
        let mut partial = manifest(None, &material);
        partial.data.as_mut().unwrap().remove(KEY);
        assert_eq!(content(&partial), None);
    }
}
