//! What lists cost: within the API server's budget for CEL, and in time. Time is the API server's own account of the policy's
//! evaluations (`apiserver_validating_admission_policy_check_duration_seconds`), which it keeps of refusals; so the last
//! container of each pod has an image that is not allowed, and everything before it is evaluated.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluicegate_crds::{Shape, bounds};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;

use crate::support::{Ward, install, number, on_own_plane, policy};

/// Evaluations for one number.
fn rounds() -> usize {
    number(10, 60)
}

/// A pod with so many containers with long names of images, all allowed by the rule that is looked at last, but one.
fn pod(ward: &Ward, containers: usize, last: &str) -> Value {
    let mut pod = ward.judge.pod("x");
    let image = |number: usize| format!("registry.example.com/team-a/some/longer/path/of/an/image/app-{number}:1.2.3");
    let mut list: Vec<Value> =
        (1..containers).map(|number| json!({"name": format!("c{number}"), "image": image(number)})).collect();
    list.push(json!({"name": "last", "image": last}));
    pod["spec"]["containers"] = json!(list);
    pod
}

/// Seconds and number of evaluations so far.
async fn spent(ward: &Ward) -> Result<(f64, f64)> {
    let request = http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let text = ward.client.request_text(request).await.map_err(|error| Error::api("the metrics", error))?;
    let sum = |suffix: &str| -> f64 {
        let name = format!("apiserver_validating_admission_policy_check_duration_seconds_{suffix}{{");
        let lines = text.lines().filter(|line| line.starts_with(&name) && line.contains("policy=\"sluicegate-pods\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    Ok((sum("sum"), sum("count")))
}

/// Mean milliseconds of an evaluation.
async fn mean(ward: &Ward, containers: usize) -> Result<f64> {
    let object = pod(ward, containers, "evil.example/x:1");
    let before = spent(ward).await?;
    for _ in 0..rounds() {
        let why = ward.tries(&ward.client, &object).await.expect_err("it is not allowed");
        assert!(why.contains("[image-not-allowed]"), "{why}");
    }
    let after = spent(ward).await?;
    assert!(after.1 - before.1 >= rounds() as f64, "the API server counts refusals: {before:?} {after:?}");
    Ok((after.0 - before.0) * 1e3 / (after.1 - before.1))
}

/// A guard with so many shapes a list, each of so many rules; only the last shape of the allow list takes the images in.
async fn filled(ward: &Ward, shapes: usize, rules: usize) -> Result<()> {
    let mut guard = ward.judge.guard();
    let texts = |shape: usize| -> BTreeMap<String, String> {
        let rule = "FluxPolicy/x spec.images.allow[0]";
        (0..rules)
            .map(|rule| format!("registry.example.com/nothing-{shape}-{rule}"))
            .map(|key| (key, rule.to_owned()))
            .collect()
    };
    let other =
        |shape: usize| Shape { parts: 4, more: true, keep: (0..2 + (shape % 3) as u32).collect(), rules: texts(shape) };
    guard.images.deny.shapes = (0..shapes).map(other).collect();
    guard.images.allow.shapes = (0..shapes - 1).map(other).collect();
    let last = BTreeMap::from([("registry.example.com/team-a".to_owned(), "last".to_owned())]);
    guard.images.allow.shapes.push(Shape { parts: 5, more: true, keep: vec![0, 3], rules: last });
    ward.guard(guard).await
}

#[test]
fn cost_follows_shapes_and_the_longest_lists_are_within_the_budget() {
    on_own_plane("guard-limits", async |space| {
        install(&space).await?;
        let ward =
            Ward::new(&space, "team", &[policy(json!({"images": {"allow": ["registry.example.com/team-a/**"]}}))])
                .await?;
        println!("shapes a list | rules a shape | containers | mean ms of an evaluation");
        for (shapes, rules) in [(1, 1), (7, 10), (7, 70), (20, 50), (bounds::GUARD_SHAPES, 60)] {
            filled(&ward, shapes, rules).await?;
            for containers in [1, 5, 20] {
                println!("{shapes} | {rules} | {containers} | {:.3}", mean(&ward, containers).await?);
            }
        }
        // The longest lists are in force. Pods have a handful of containers.
        let mut most = 0;
        for containers in [20, 30, 40, 50, 60, 80, 100, 150, 200] {
            let object = pod(&ward, containers, "registry.example.com/team-a/x:1");
            match ward.tries(&ward.client, &object).await {
                Ok(()) => most = containers,
                Err(why) => {
                    assert!(why.contains("cost limit"), "{why}");
                    break;
                }
            }
        }
        println!("with the longest lists {most} containers are within the budget");
        assert!(most >= 30, "a pod of {most} containers is the largest");

        let list = |number: usize| -> Vec<String> {
            let others = (0..number).map(|one| format!("registry.example.com/team-{one}/**"));
            others.chain(["registry.example.com/team-a/**".to_owned()]).collect()
        };
        let ward =
            |number: usize| policy(json!({"images": {"allow": list(number), "deny": list(number)[..number].to_vec()}}));
        let few = Ward::new(&space, "few", &[ward(10)]).await?;
        let many = Ward::new(&space, "many", &[ward(999)]).await?;
        // A busy machine makes both slower, and the best of several is what the lists themselves cost.
        let (mut of_few, mut of_many) = (f64::MAX, f64::MAX);
        for _ in 0..5 {
            of_few = of_few.min(mean(&few, 5).await?);
            of_many = of_many.min(mean(&many, 5).await?);
        }
        println!("five containers: {of_few:.3} ms with 10 patterns, {of_many:.3} ms with 1,000");
        // Growing with the list would be a hundred times as much.
        assert!(of_many < of_few * 10.0, "{of_few} {of_many}");
        Ok(())
    });
}
