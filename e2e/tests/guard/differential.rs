//! Engine, guard, webhook and command line, asked the same: whatever one allows and another refuses is a failure.

use std::fmt::Write as _;

use fastrand::Rng;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::requests::{creates, replaces};
use sluicegate_e2e::suite::schemas::flux_kinds;
use sluicegate_e2e::suite::{Space, inputs};

use crate::support::{Ward, guarded};

/// Requests at the same time.
const CONCURRENCY: usize = 12;

/// Asks all about every object; what they disagree about, and how many they agree to allow and to refuse.
async fn compare(ward: &Ward, objects: Vec<Value>, found: &mut String) -> (usize, usize) {
    ward.judge.agreed(&objects, found);
    let answers = stream::iter(objects)
        .map(|object| async move {
            let said = ward.tries(&ward.client, &object).await;
            (object, said)
        })
        .buffer_unordered(CONCURRENCY);
    let mut counts = (0, 0);
    let mut answers = std::pin::pin!(answers);
    while let Some((object, said)) = answers.next().await {
        let judged = ward.judge.judges(&object);
        match (&said, judged.is_empty()) {
            (Ok(()), true) => counts.0 += 1,
            // A schema refuses what its kind cannot hold: that says nothing about the guard.
            (Err(why), _) if !why.contains("ValidatingAdmissionPolicy") => {}
            (Err(_), false) => counts.1 += 1,
            _ => {
                let _ = writeln!(found, "{object}\n  guard: {said:?}\n  engine: {judged:?}");
            }
        }
    }
    counts
}

/// Worlds of their own policies, and in each the same number of objects from `one`.
async fn worlds(
    space: &Space,
    seed: u64,
    worlds: usize,
    each: usize,
    one: impl Fn(&mut Rng, &Ward) -> Value,
) -> Result<()> {
    let mut random = Rng::with_seed(seed);
    let mut found = String::new();
    let (mut allowed, mut refused) = (0, 0);
    for world in 0..worlds {
        let policies: Vec<Value> = (0..random.usize(1..=3)).map(|_| inputs::policy(&mut random, &["*"])).collect();
        let ward = Ward::new(space, &format!("w{world}"), &policies).await?;
        let objects = (0..each).map(|_| one(&mut random, &ward)).collect();
        let before = found.len();
        let (yes, no) = compare(&ward, objects, &mut found).await;
        if found.len() > before {
            let _ = writeln!(found, "  policies: {}", json!(policies));
        }
        allowed += yes;
        refused += no;
    }
    println!("{}: seed {seed}, {allowed} allowed by all, {refused} refused by all", space.name());
    assert!(found.is_empty(), "they disagree:\n{found}");
    let all = worlds * each;
    assert!(allowed * 20 > all && refused * 20 > all, "one-sided inputs show little");
    Ok(())
}

#[test]
fn all_agree_about_images() {
    guarded("diff-images", async |space| {
        worlds(&space, 20_261_121, 20, 150, |random, ward| ward.judge.pod(&inputs::image(random))).await
    });
}

#[test]
fn all_agree_about_pods_with_many_images() {
    guarded("diff-pods", async |space| {
        worlds(&space, 20_261_122, 10, 40, |random, ward| {
            let mut pod = ward.judge.pod(&inputs::image(random));
            for (list, prefix) in [("containers", "c"), ("initContainers", "i")] {
                let more: Vec<Value> = (0..random.usize(0..2))
                    .map(|number| json!({"name": format!("{prefix}{number}"), "image": inputs::image(random)}))
                    .collect();
                let mut all = pod["spec"][list].as_array().cloned().unwrap_or_default();
                all.extend(more);
                pod["spec"][list] = json!(all);
            }
            pod
        })
        .await
    });
}

#[test]
fn all_agree_about_sources() {
    guarded("diff-sources", async |space| {
        worlds(&space, 20_261_123, 20, 100, |random, ward| ward.judge.source(random)).await
    });
}

#[test]
fn all_agree_about_fields_of_flux_objects() {
    guarded("diff-fields", async |space| {
        let everything = json!({"allow": ["**"]});
        let policy = crate::support::policy(
            json!({"sources": {"git": everything, "oci": everything, "helm": everything, "bucket": everything}}),
        );
        let ward = Ward::new(&space, "team", &[policy]).await?;
        let mut random = Rng::with_seed(20_261_124);
        let objects = (0..600).map(|_| ward.judge.reaching(&mut random)).collect();
        let mut found = String::new();
        let (allowed, refused) = compare(&ward, objects, &mut found).await;
        println!("diff-fields: {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        assert!(allowed > 50 && refused > 50);
        Ok(())
    });
}

/// Policies that allow every source, and what they ask for beside that.
fn open(asks: &Value) -> Value {
    let everything = json!({"allow": ["**"]});
    let mut sources = json!({"git": everything, "oci": everything, "helm": everything, "bucket": everything});
    for (field, value) in asks.as_object().into_iter().flatten() {
        match (&mut sources[field], value) {
            (Value::Object(known), Value::Object(more)) => known.extend(more.clone()),
            (known, value) => *known = value.clone(),
        }
    }
    crate::support::policy(json!({"sources": sources, "images": everything}))
}

#[test]
fn all_agree_about_every_field_of_every_crd() {
    guarded("diff-crds", async |space| {
        let kinds = flux_kinds()?;
        let mut found = String::new();
        for (suffix, asks) in
            [("open", json!({})), ("strict", json!({"requireVerification": true, "oci": {"requireDigest": true}}))]
        {
            let ward = Ward::new(&space, suffix, &[open(&asks)]).await?;
            let mut random = Rng::with_seed(20_261_201);
            let mut objects: Vec<Value> = Vec::new();
            for kind in &kinds {
                objects.extend(kind.every_field(&ward.judge.name));
                objects.extend((0..40).map(|_| kind.some_fields(&mut random, &ward.judge.name)));
            }
            let objects: Vec<Value> = objects.iter().map(|object| ward.judge.placed(object)).collect();
            let number = objects.len();
            let (allowed, refused) = compare(&ward, objects, &mut found).await;
            println!("diff-crds {suffix}: {number} objects, {allowed} allowed by all, {refused} refused by all");
            assert!(allowed > 100 && refused > 100);
        }
        assert!(found.is_empty(), "they disagree:\n{found}");
        Ok(())
    });
}

#[test]
fn all_agree_about_changes_of_flux_objects() {
    guarded("diff-changes", async |space| {
        let kinds = flux_kinds()?;
        let mut ward = Ward::new(&space, "team", &[open(&json!({"oci": {"requireDigest": true}}))]).await?;
        // What the operator writes is not judged: so there is something to change, whatever it is.
        let operator = ward.member("operator", "cluster-admin").await?;
        ward.judge.operator = operator.name.clone();
        ward.guard(ward.judge.guard()).await?;
        let webhook = ward.judge.webhook();
        let mut random = Rng::with_seed(20_261_202);
        let (mut allowed, mut refused, mut found) = (0, 0, String::new());
        for (number, kind) in kinds.iter().cycle().take(kinds.len() * 30).enumerate() {
            let mut old = ward.judge.placed(&kind.some_fields(&mut random, &ward.judge.name));
            old["metadata"]["name"] = json!(format!("x{number}"));
            let Ok(old) = creates(&operator.client, &old).await else { continue };
            // Some fields change, and the others stay.
            let mut new = old.clone();
            let other = kind.some_fields(&mut random, &ward.judge.name);
            for (field, value) in other["spec"].as_object().into_iter().flatten() {
                if random.bool() {
                    new["spec"][field] = value.clone();
                }
            }
            let guard = replaces(&ward.client, &new).await;
            let said = ward.judge.said_by(&webhook, &new, Some(&old));
            match (&guard, &said) {
                (Ok(()), None) => allowed += 1,
                (Err(why), _) if !why.contains("ValidatingAdmissionPolicy") => {}
                (Err(_), Some(_)) => refused += 1,
                _ => {
                    let _ = writeln!(found, "{old}\n  to {new}\n  guard: {guard:?}\n  webhook: {said:?}");
                }
            }
            let same = replaces(&ward.client, &old).await;
            assert_eq!(same, Ok(()), "what does not change is refused: {old}");
        }
        println!("diff-changes: {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        assert!(allowed > 50 && refused > 50);
        Ok(())
    });
}

#[test]
fn all_agree_about_every_case_of_the_tables() {
    guarded("diff-tables", async |space| {
        let everything = json!({"allow": ["**"], "deny": []});
        let http = json!({"allow": ["**", "http://*.example.com/**", "http://git.example.com/*", "http://git.example.com:443/*"]});
        let policy = crate::support::policy(json!({
            "images": everything, "sources": {"git": http, "oci": everything, "helm": everything, "bucket": everything},
        }));
        let ward = &Ward::new(&space, "team", &[policy]).await?;
        let all = ward.judge.tabled();
        let mut found = String::new();
        let number = all.len();
        let (allowed, refused) = compare(ward, all, &mut found).await;
        println!("diff-tables: {number} objects, {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        Ok(())
    });
}
