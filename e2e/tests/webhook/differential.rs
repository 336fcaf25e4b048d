//! The engine and the webhook, asked the same: whatever they say differently is a failure. First without an API server, about
//! everything that the guard's suite asks the ValidatingAdmissionPolicies (the same seeds, so that all three are held together);
//! then through one, since what it sends is not what was sent to it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sluicegate_crds::{FluxPolicy, GuardMode, TENANT_LABEL};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::inputs;
use sluicegate_e2e::suite::operator::{CLUSTER, USER};
use sluicegate_policy::guard::Residents;
use sluicegate_policy::{Labels, message};
use sluicegate_webhook::decide::{Budget, Hook, decide};
use sluicegate_webhook::review::read;
use sluicegate_webhook::snapshot::Snapshot;

use crate::support::on_guarded;
use crate::ward::{Judge, Ward, allowing};

const NAME: &str = "team";
/// Requests at the same time.
const CONCURRENCY: usize = 12;

/// A webhook that knows these policies.
fn world(policies: &[Value]) -> (Judge, Snapshot) {
    let policies: Vec<FluxPolicy> = policies
        .iter()
        .enumerate()
        .map(|(number, spec)| {
            let metadata = json!({"name": format!("policy-{number}")});
            let object = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": metadata, "spec": spec});
            serde_json::from_value(object).expect("a policy")
        })
        .collect();
    let judge = Judge::new(NAME, &policies);
    let named = |name: &str, labels: Labels| Arc::new(BTreeMap::from([(name.to_owned(), labels)]));
    let labels = Labels::from([(TENANT_LABEL.to_owned(), NAME.to_owned())]);
    let snapshot =
        Snapshot::new(judge.policies.clone(), named(NAME, labels), named(CLUSTER, Labels::new()), Arc::default());
    let residents = Residents { operator: USER.to_owned(), ..Residents::default() };
    let here = BTreeMap::from([(CLUSTER.to_owned(), GuardMode::Webhook)]);
    (judge, snapshot.guarding(&here, &BTreeMap::from([(NAME.to_owned(), residents)])))
}

/// What the webhook answers.
fn answers(snapshot: &Snapshot, object: &Value) -> Option<String> {
    let (group, version) = object["apiVersion"].as_str().and_then(|api| api.split_once('/')).unwrap_or(("", "v1"));
    let kind = object["kind"].as_str().unwrap_or_default();
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "kind": {"group": group, "version": version, "kind": kind}, "name": "x", "namespace": NAME,
        "resource": {"group": group, "version": version, "resource": kind.to_lowercase() + "s"}, "operation": "CREATE",
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]}, "object": object, "oldObject": null,
    }});
    let body = review.to_string();
    let budget = Budget::until(Instant::now() + Duration::from_secs(60));
    let answer = decide(Hook::Guard, &read(body.as_bytes()).expect("a review"), snapshot, budget);
    answer.refusal().map(str::to_owned)
}

/// Worlds of their own policies, and in each the same number of objects from `one`; both sides must say the same words.
fn worlds(seed: u64, worlds: usize, each: usize, one: impl Fn(&mut Rng, &Judge) -> Value) {
    let mut random = Rng::with_seed(seed);
    let mut found = String::new();
    let (mut allowed, mut refused) = (0, 0);
    for _ in 0..worlds {
        let policies: Vec<Value> = (0..random.usize(1..=3)).map(|_| inputs::policy(&mut random, &["*"])).collect();
        let (judge, snapshot) = world(&policies);
        for _ in 0..each {
            let object = one(&mut random, &judge);
            match same(&judge, &snapshot, &object) {
                Ok(true) => allowed += 1,
                Ok(false) => refused += 1,
                Err(why) => {
                    let _ = writeln!(found, "{object}\n{why}  policies: {}", json!(policies));
                }
            }
        }
    }
    println!("seed {seed}: {allowed} allowed by both, {refused} refused by both");
    assert!(found.is_empty(), "engine and webhook disagree:\n{found}");
    let all = worlds * each;
    assert!(allowed * 20 > all && refused * 20 > all, "one-sided inputs show little");
}

fn same(judge: &Judge, snapshot: &Snapshot, object: &Value) -> std::result::Result<bool, String> {
    let judged = judge.judges(object);
    let expected = (!judged.is_empty()).then(|| message::refusal(&judged));
    let said = answers(snapshot, object);
    if said == expected {
        return Ok(said.is_none());
    }
    Err(format!("  webhook: {said:?}\n  engine: {expected:?}\n"))
}

#[test]
fn engine_and_webhook_agree_about_images() {
    worlds(20_261_121, 20, 150, |random, judge| judge.pod(&inputs::image(random)));
}

#[test]
fn engine_and_webhook_agree_about_pods_with_many_images() {
    worlds(20_261_122, 10, 40, |random, judge| {
        let mut pod = judge.pod(&inputs::image(random));
        for (list, prefix) in [("containers", "c"), ("initContainers", "i")] {
            let more: Vec<Value> = (0..random.usize(0..2))
                .map(|number| json!({"name": format!("{prefix}{number}"), "image": inputs::image(random)}))
                .collect();
            let mut all = pod["spec"][list].as_array().cloned().unwrap_or_default();
            all.extend(more);
            pod["spec"][list] = json!(all);
        }
        pod
    });
}

fn generated_source(random: &mut Rng, judge: &Judge) -> Value {
    let url = inputs::url(random);
    let source = inputs::source(random, &url);
    let text = |field: &str| source[field].as_str().unwrap_or_default().to_owned();
    judge.flux(&text("apiVersion"), &text("kind"), source["spec"].clone())
}

fn generated_fields(random: &mut Rng, judge: &Judge) -> Value {
    let object = inputs::reaching(random, &judge.name);
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    judge.flux(&text("apiVersion"), &text("kind"), object["spec"].clone())
}

#[test]
fn engine_and_webhook_agree_about_sources() {
    worlds(20_261_123, 20, 100, generated_source);
}

/// Everything from everywhere.
fn open() -> Value {
    let everything = json!({"allow": ["**"]});
    let http =
        json!({"allow": ["**", "http://*.example.com/**", "http://git.example.com/*", "http://git.example.com:443/*"]});
    allowing(json!({
        "tenants": {"names": ["*"]}, "images": everything,
        "sources": {"git": http, "oci": everything, "helm": everything, "bucket": everything},
    }))
}

#[test]
fn engine_and_webhook_agree_about_fields_of_flux_objects_and_every_case_of_the_tables() {
    let (judge, snapshot) = world(&[open()]);
    let mut random = Rng::with_seed(20_261_124);
    let mut found = String::new();
    let (mut allowed, mut refused) = (0, 0);
    let fields = (0..3000).map(|_| generated_fields(&mut random, &judge));
    for object in fields.chain(tabled(&judge)) {
        match same(&judge, &snapshot, &object) {
            Ok(true) => allowed += 1,
            Ok(false) => refused += 1,
            Err(why) => found += &format!("{object}\n{why}"),
        }
    }
    println!("fields and tables: {allowed} allowed by both, {refused} refused by both");
    assert!(found.is_empty(), "engine and webhook disagree:\n{found}");
    assert!(allowed > 500 && refused > 500);
}

/// Every case of the tables that define the grammars, as a pod or as a source of each kind.
fn tabled(judge: &Judge) -> Vec<Value> {
    let images = inputs::table(include_str!("../../../policy/tests/data/images.txt"));
    let urls = inputs::table(include_str!("../../../policy/tests/data/urls.txt"));
    assert!(images.len() > 150 && urls.len() > 150, "{} images, {} URLs", images.len(), urls.len());
    // What Kubernetes itself does not take as a text of an image says nothing about the webhook.
    let images = images.iter().filter(|image| image.trim() == **image && !image.is_empty());
    let mut objects: Vec<Value> = images.map(|image| judge.pod(image)).collect();
    for url in &urls {
        for (api, kind) in &inputs::SOURCE_KINDS[..3] {
            objects.push(judge.flux(api, kind, json!({"interval": "1m", "url": url})));
        }
    }
    objects
}

/// The same through an API server. What its schemas refuse says nothing about the webhook; everything else must be said in the
/// engine's words, in whatever order.
async fn compare(ward: &Ward, objects: Vec<Value>, found: &mut String) -> Result<(usize, usize)> {
    let answers = stream::iter(objects)
        .map(|object| async move {
            let answer = ward.hook.tries(&ward.hook.space.client(), &object).await;
            (object, answer)
        })
        .buffer_unordered(CONCURRENCY);
    let mut counts = (0, 0);
    let mut answers = std::pin::pin!(answers);
    while let Some((object, answer)) = answers.next().await {
        let answer = answer?;
        let judged = ward.judge.judges(&object);
        let by_webhook = answer.message().contains("denied the request");
        match (answer.status < 300, judged.is_empty()) {
            (true, true) => counts.0 += 1,
            (false, _) if !by_webhook => {}
            (false, false) if judged.iter().all(|one| answer.message().contains(&message::sentence(one))) => {
                counts.1 += 1;
            }
            _ => {
                let _ = writeln!(
                    found,
                    "{object}\n  webhook: {} {}\n  engine: {judged:?}",
                    answer.status,
                    answer.message()
                );
            }
        }
    }
    Ok(counts)
}

#[test]
fn engine_and_webhook_agree_behind_an_api_server() {
    on_guarded("diff", async |hook| {
        let mut random = Rng::with_seed(20_261_125);
        let mut found = String::new();
        let (mut allowed, mut refused) = (0, 0);
        for world in 0..6 {
            let policies: Vec<Value> = (0..random.usize(1..=3)).map(|_| inputs::policy(&mut random, &["*"])).collect();
            let ward = Ward::new(&hook, &format!("w{world}"), &policies).await?;
            let objects = (0..160).map(|number| match number % 2 {
                0 => ward.judge.pod(&inputs::image(&mut random)),
                _ => generated_source(&mut random, &ward.judge),
            });
            let (yes, no) = compare(&ward, objects.collect(), &mut found).await?;
            (allowed, refused) = (allowed + yes, refused + no);
        }
        let ward = Ward::new(&hook, "open", &[open()]).await?;
        let fields = (0..400).map(|_| generated_fields(&mut random, &ward.judge));
        let (yes, no) = compare(&ward, fields.chain(tabled(&ward.judge)).collect(), &mut found).await?;
        (allowed, refused) = (allowed + yes, refused + no);
        println!("behind an API server: {allowed} allowed by both, {refused} refused by both");
        assert!(found.is_empty(), "engine and webhook disagree:\n{found}");
        assert!(allowed > 200 && refused > 500);
        Ok(())
    });
}
