//! What the longest lists cost: within the API server's budget for CEL, and in time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_crds::{Shape, bounds};
use sluicegate_e2e::error::Result;

use crate::support::{Ward, guarded, policy};

/// A pod with so many containers whose images are all allowed, by the rule that is looked at last.
fn pod(ward: &Ward, containers: usize) -> Value {
    let mut pod = ward.pod("x");
    pod["spec"]["containers"] = (0..containers)
        .map(|number| json!({"name": format!("c{number}"), "image": format!("registry.example.com/team-a/some/longer/path/of/an/image/app-{number}:1.2.3")}))
        .collect();
    pod
}

async fn median(ward: &Ward, object: &Value, rounds: usize) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        if let Err(why) = ward.tries(&ward.client, object).await {
            panic!("refused: {why}");
        }
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[rounds / 2])
}

/// A guard with so many shapes a list, each of so many rules; only the last shape of the allow list takes the images in.
async fn filled(ward: &Ward, shapes: usize, rules: usize) -> Result<()> {
    let mut guard = ward.compiled();
    let texts = |shape: usize| -> BTreeMap<String, String> {
        (0..rules)
            .map(|rule| {
                (format!("registry.example.com/nothing-{shape}-{rule}"), "FluxPolicy/x spec.images.allow[0]".to_owned())
            })
            .collect()
    };
    let other =
        |shape: usize| Shape { parts: 4, more: true, keep: (0..2 + (shape % 5) as u32).collect(), rules: texts(shape) };
    guard.images.deny.shapes = (0..shapes).map(other).collect();
    guard.images.allow.shapes = (0..shapes - 1).map(other).collect();
    let last = BTreeMap::from([("registry.example.com/team-a".to_owned(), "last".to_owned())]);
    guard.images.allow.shapes.push(Shape { parts: 5, more: true, keep: vec![0, 3], rules: last });
    ward.guard(guard).await
}

#[test]
fn the_longest_lists_stay_within_the_budget() {
    guarded("limits", async |space| {
        let ward =
            Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["registry.example.com/team-a/**"]}}))])
                .await?;
        let free = space.namespace("free").await?;
        println!("shapes a list | containers | median ms");
        for containers in [1, 5, 20] {
            let mut object = pod(&ward, containers);
            object["metadata"]["namespace"] = json!(free);
            let took = median(&ward, &object, 40).await?;
            println!("no guard | {containers} | {:.2}", took.as_secs_f64() * 1e3);
        }
        for (shapes, rules) in [(1, 1), (8, 10), (8, 125), (bounds::GUARD_SHAPES, 60)] {
            filled(&ward, shapes, rules).await?;
            for containers in [1, 5, 20] {
                let took = median(&ward, &pod(&ward, containers), 40).await?;
                println!("{shapes} of {rules} rules | {containers} | {:.2}", took.as_secs_f64() * 1e3);
            }
        }
        // Pods have a handful of containers; what counts is that no list that a CRD lets in makes a usual pod fail.
        filled(&ward, bounds::GUARD_SHAPES, 60).await?;
        let mut most = 0;
        for containers in [50, 100, 200, 400, 800] {
            match ward.tries(&ward.client, &pod(&ward, containers)).await {
                Ok(()) => most = containers,
                Err(why) => {
                    assert!(why.contains("cost limit"), "{why}");
                    break;
                }
            }
        }
        println!("with the longest lists {most} containers are within the budget");
        assert!(most >= 50, "a pod of {most} containers is the largest");
        Ok(())
    });
}

#[test]
fn a_policy_of_a_thousand_patterns_costs_what_one_of_ten_does() {
    guarded("thousand", async |space| {
        let list = |number: usize| -> Vec<String> {
            (0..number)
                .map(|one| format!("registry.example.com/team-{one}/**"))
                .chain(["registry.example.com/team-a/**".to_owned()])
                .collect()
        };
        let ward =
            |number: usize| policy(json!({"images": {"allow": list(number), "deny": list(number)[..number].to_vec()}}));
        let few = Ward::new(&space, "few", &[ward(10)]).await?;
        let many = Ward::new(&space, "many", &[ward(999)]).await?;
        let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
        for _ in 0..5 {
            of_few.push(median(&few, &pod(&few, 5), 30).await?);
            of_many.push(median(&many, &pod(&many, 5), 30).await?);
        }
        of_few.sort_unstable();
        of_many.sort_unstable();
        println!("five containers: {:?} with 10 patterns, {:?} with 1,000", of_few[2], of_many[2]);
        // Noise of a busy machine is no failure; growing with the list would be a hundred times as much.
        assert!(of_many[2] < of_few[2] * 2, "{of_few:?} {of_many:?}");
        Ok(())
    });
}
