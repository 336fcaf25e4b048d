//! What a decision costs: nanoseconds for each call of `decide`, on one thread, the fastest of several rounds.
//!
//! `cargo run --release -p sluicegate-policy --example decide_cost`

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{hint::black_box, time::Instant};

use serde_json::{Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_policy::{Declaration, Facts, PolicySet, Unseen, decide};

const CALLS: u32 = 20_000;
const ROUNDS: u32 = 15;

fn policy(name: &str, spec: &Value) -> FluxPolicy {
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": name}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn config(home: &str, url: &str) -> FluxConfig {
    let object = json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig", "metadata": {"name": "shop", "namespace": home},
        "spec": {"source": {"url": url}},
    });
    serde_json::from_value(object).unwrap()
}

/// Ten patterns, the last of which is the one that matches.
fn spec(tenants: &str, priority: usize) -> Value {
    let patterns = |last: &str| -> Vec<String> {
        (0..9).map(|index| format!("https://git-{index}.example.com/${{tenant}}/**")).chain([last.to_owned()]).collect()
    };
    json!({
        "tenants": {"names": [tenants]},
        "priority": priority,
        "sources": {"git": {
            "allow": patterns("https://git.example.com/${tenant}/**"),
            "deny": patterns("https://git.example.com/*/attic/**"),
        }},
        "destinations": [{"clusters": ["prod-*"], "namespaces": ["${tenant}", "${tenant}-*"], "createNamespace": true}],
        "credentials": [{"match": "https://git.example.com/**", "secretRef": {"name": "git-example-com"}}],
        "defaults": {
            "cluster": "prod-eu", "namespace": "${tenant}", "ref": {"branch": "main"}, "path": "./", "interval": "5m",
        },
        "limits": {"fluxConfigs": 50, "minInterval": "1m"},
        "features": {"helm": true},
        "agent": {"placement": "Isolated", "version": "2.9.x", "components": ["source", "kustomize"]},
    })
}

fn measure(what: &str, policies: &[FluxPolicy], config: &FluxConfig) {
    let set = PolicySet::compile(policies);
    let mut facts = Facts::new(Unseen::Absent);
    facts.cluster("prod-eu", Default::default());
    facts.declare(Declaration::of(config, &set, &facts.clone(), Some(1)));
    let admitted = decide(config, &set, &facts).admitted().is_some();
    let fastest = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..CALLS {
                black_box(decide(black_box(config), &set, &facts));
            }
            start.elapsed() / CALLS
        })
        .min()
        .unwrap();
    println!("{what}: {} ns, {}", fastest.as_nanos(), if admitted { "admitted" } else { "refused" });
}

fn main() {
    let four: Vec<FluxPolicy> = (0..4).map(|index| policy(&format!("p{index}"), &spec("team-*", index))).collect();
    let good = "https://git.example.com/team-7/shop.git";
    let bad = "https://git.example.com/team-8/shop.git";
    measure("4 policies of 10 patterns", &four, &config("team-7", good));
    measure("4 policies of 10 patterns", &four, &config("team-7", bad));
    let many: Vec<FluxPolicy> =
        (0..10_000).map(|index| policy(&format!("p{index}"), &spec(&format!("team-{index}"), 0))).collect();
    measure("10,000 policies of one tenant each", &many, &config("team-7", good));
    measure("10,000 policies of one tenant each", &many, &config("team-7", bad));
}
