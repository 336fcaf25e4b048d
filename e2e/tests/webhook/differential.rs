//! Engine, command line and webhook, the latter behind an API server, asked the same: whatever they say differently is a
//! failure. What an API server sends is not what was sent to it. The guard's suite asks them about much more, without one.

use std::fmt::Write as _;

use fastrand::Rng;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sluicegate_crds::FluxConfig;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::inputs;
use sluicegate_e2e::suite::operator::CLUSTER;
use sluicegate_policy::{Placer, Violation, message, violations};

use crate::parties::{Judge, Rules};
use crate::support::{config, on_guarded};
use crate::ward::{Ward, allowing};

/// Requests at the same time.
const CONCURRENCY: usize = 12;

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

/// Asks all about every object. What the API server's schemas refuse says nothing about the webhook; everything else must be said
/// in the engine's words, in whatever order.
async fn compare(ward: &Ward, objects: Vec<Value>, found: &mut String) -> Result<(usize, usize)> {
    ward.judge.agreed(&objects, found);
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
fn all_agree_behind_an_api_server() {
    on_guarded("diff", async |hook| {
        let mut random = Rng::with_seed(20_261_125);
        let mut found = String::new();
        let (mut allowed, mut refused) = (0, 0);
        for world in 0..6 {
            let policies: Vec<Value> = (0..random.usize(1..=3)).map(|_| inputs::policy(&mut random, &["*"])).collect();
            let ward = Ward::new(&hook, &format!("w{world}"), &policies).await?;
            let objects = (0..160).map(|number| match number % 2 {
                0 => ward.judge.pod(&inputs::image(&mut random)),
                _ => ward.judge.source(&mut random),
            });
            let (yes, no) = compare(&ward, objects.collect(), &mut found).await?;
            (allowed, refused) = (allowed + yes, refused + no);
        }
        let ward = Ward::new(&hook, "open", &[open()]).await?;
        let fields = (0..400).map(|_| ward.judge.reaching(&mut random));
        let (yes, no) = compare(&ward, fields.chain(ward.judge.tabled()).collect(), &mut found).await?;
        (allowed, refused) = (allowed + yes, refused + no);
        println!("behind an API server: {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        assert!(allowed > 200 && refused > 500);
        Ok(())
    });
}

/// What the engine says of a FluxConfig.
fn judged(judge: &Judge, object: &Value) -> Vec<Violation> {
    let config: FluxConfig = serde_json::from_value(object.clone()).expect("a FluxConfig");
    violations(Placer::new(&judge.policies, &judge.facts).place(&config), &judge.facts)
}

#[test]
fn all_agree_about_flux_configs() {
    on_guarded("diff-configs", async |hook| {
        let mut random = Rng::with_seed(20_261_126);
        let mut found = String::new();
        let (mut allowed, mut refused) = (0, 0);
        for world in 0..8 {
            let mut policy = inputs::policy(&mut random, &["*"]);
            policy["defaults"] =
                json!({"cluster": CLUSTER, "namespace": "${tenant}", "ref": {"branch": "main"}, "path": "./"});
            if world % 2 == 0 {
                policy["sources"] = open()["sources"].clone();
            }
            let ward = Ward::new(&hook, &format!("c{world}"), &[policy]).await?;
            let (name, client) = (&ward.judge.name, hook.space.client());
            let objects: Vec<Value> = (0..150)
                .map(|number| config(name, &format!("c{number}"), inputs::flux_config(&mut random, name)))
                .collect();
            let (checked, looked_at) = ward.judge.check(&objects, &[]);
            assert_eq!(looked_at.len(), objects.len());
            let answers: Vec<_> = stream::iter(&objects)
                .map(|object| ward.hook.tries(&client, object))
                .buffered(CONCURRENCY)
                .collect()
                .await;
            for ((object, checked), answer) in objects.iter().zip(checked).zip(answers) {
                let (judged, answer) = (judged(&ward.judge, object), answer?);
                let rules: Rules = judged.iter().map(|violation| violation.rule.id().to_owned()).collect();
                let by_webhook = answer.message().contains("denied the request");
                let said = judged.iter().all(|one| answer.message().contains(&message::sentence(one)));
                let agreed = match (answer.status < 300, judged.is_empty()) {
                    // The API server's schemas say something else, and `check` says it as the schema.
                    (false, _) if !by_webhook => continue,
                    (passed, fine) => passed == fine && said && checked == rules,
                };
                allowed += usize::from(judged.is_empty());
                refused += usize::from(!judged.is_empty());
                if !agreed {
                    let (status, message) = (answer.status, answer.message());
                    let _ = writeln!(
                        found,
                        "{object}\n  webhook: {status} {message}\n  check: {checked:?}\n  engine: {judged:?}"
                    );
                }
            }
        }
        println!("FluxConfigs: {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        assert!(allowed > 50 && refused > 300);
        Ok(())
    });
}
