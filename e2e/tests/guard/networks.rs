//! NetworkPolicies add up: beside an agent none of a team's own opens what the agent's keep shut.

use std::fmt::Write as _;

use fastrand::Rng;
use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::requests::{creates, replaces};
use sluicegate_e2e::suite::{Space, User};
use sluicegate_policy::guard::CONTROLLERS;

use crate::support::{Ward, guarded, policy};

const PART_OF: &str = "app.kubernetes.io/part-of";
const NAME: &str = "app.kubernetes.io/name";
const AGENT: &str = "sluicegate-agent";
const REFUSED: &str = "NetworkPolicies add up";

/// A tenant's namespace with an agent in it, and who has the role `admin` there.
async fn prison(space: &Space) -> Result<(Ward, User)> {
    let mut ward = Ward::new(space, "team", &[policy(json!({}))]).await?;
    ward.judge.accounts = CONTROLLERS.iter().chain(&["sluicegate-reconciler"]).map(|name| (*name).to_owned()).collect();
    ward.guard(ward.judge.guard()).await?;
    let member = ward.member("member", "admin").await?;
    Ok((ward, member))
}

fn network(ward: &Ward, spec: Value) -> Value {
    let metadata = json!({"name": "x", "namespace": ward.judge.name});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
}

fn open(selector: &Value) -> Value {
    json!({"podSelector": selector, "policyTypes": ["Egress", "Ingress"], "egress": [{}], "ingress": [{}]})
}

/// Every kind of requirement about every kind of label.
fn selectors() -> Vec<Value> {
    let mut selectors = vec![json!({})];
    let some = [AGENT, "kustomize-controller", "shop"];
    for key in [PART_OF, NAME, "pod-template-hash", "topology.kubernetes.io/zone", "app"] {
        for value in some {
            selectors.push(json!({"matchLabels": {key: value}}));
        }
        for operator in ["Exists", "DoesNotExist"] {
            selectors.push(json!({"matchExpressions": [{"key": key, "operator": operator}]}));
        }
        for operator in ["In", "NotIn"] {
            for values in
                [vec![AGENT], vec!["shop"], vec!["shop", AGENT], CONTROLLERS.to_vec(), CONTROLLERS[1..].to_vec()]
            {
                selectors.push(json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]}));
            }
        }
    }
    selectors
}

#[test]
fn no_network_policy_of_a_team_opens_its_agent() {
    guarded("networks", async |space| {
        let (ward, member) = prison(&space).await?;
        let team = json!({"matchLabels": {"app": "shop"}});
        let others = json!({"matchExpressions": [{"key": PART_OF, "operator": "NotIn", "values": [AGENT]}]});
        let closed = json!({"podSelector": {}, "policyTypes": ["Egress", "Ingress"]});
        for spec in [open(&team), open(&others), closed] {
            ward.tries(&member.client, &network(&ward, spec)).await.expect("it opens nothing of the agent");
        }
        for (field, kind) in [("egress", "Egress"), ("ingress", "Ingress")] {
            let spec = json!({"podSelector": {}, "policyTypes": [kind], field: [{}]});
            let why = ward.tries(&member.client, &network(&ward, spec)).await.expect_err(field);
            assert!(why.contains(REFUSED) && why.contains("NotIn, values: [sluicegate-agent]"), "{why}");
        }
        // Administrators may.
        ward.accepts(network(&ward, open(&json!({})))).await;
        // Where no agent lives there is nothing to open.
        let mut guard = ward.judge.guard();
        guard.accounts.clear();
        ward.guard(guard).await?;
        ward.tries(&member.client, &network(&ward, open(&json!({})))).await.expect("no agent lives here");
        Ok(())
    });
}

#[test]
fn every_selector_is_judged_alike_by_all() {
    guarded("selectors", async |space| {
        let (ward, member) = prison(&space).await?;
        let webhook = ward.judge.webhook();
        let (mut allowed, mut refused, mut found) = (0, 0, String::new());
        for selector in selectors() {
            let object = network(&ward, open(&selector));
            let guard = ward.tries(&member.client, &object).await;
            let said = ward.judge.said_by(&webhook, &object, None);
            match (&guard, &said) {
                (Ok(()), None) => allowed += 1,
                (Err(why), Some(said)) if why.contains(REFUSED) && said.contains(REFUSED) => refused += 1,
                _ => {
                    let _ = writeln!(found, "{selector}\n  guard: {guard:?}\n  webhook: {said:?}");
                }
            }
        }
        println!("selectors: {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        assert!(allowed > 20 && refused > 20);
        Ok(())
    });
}

#[test]
fn of_a_change_what_is_new_is_judged_alike_by_all() {
    guarded("network-changes", async |space| {
        let (ward, member) = prison(&space).await?;
        let webhook = ward.judge.webhook();
        let mut random = Rng::with_seed(20_261_203);
        let rules = [
            json!({}),
            json!({"ports": [{"port": 53, "protocol": "UDP"}]}),
            json!({"ports": [{"port": 443, "protocol": "TCP"}]}),
        ];
        let all = selectors();
        let one = |random: &mut Rng| {
            let mut spec = json!({"podSelector": random.choice(&all), "policyTypes": random.choice(&[json!(["Egress"]), json!(["Egress", "Ingress"])])});
            for field in ["egress", "ingress"] {
                spec[field] = (0..random.usize(0..3)).filter_map(|_| random.choice(&rules).cloned()).collect();
            }
            spec
        };
        let (mut allowed, mut refused, mut found) = (0, 0, String::new());
        for number in 0..80 {
            let mut old = network(&ward, one(&mut random));
            old["metadata"]["name"] = json!(format!("x{number}"));
            let old = creates(&ward.client, &old).await.expect("an administrator may");
            let mut new = old.clone();
            let changed = one(&mut random);
            for field in ["podSelector", "policyTypes", "egress", "ingress"] {
                if random.u8(0..3) == 0 {
                    new["spec"][field] = changed[field].clone();
                }
            }
            let guard = replaces(&member.client, &new).await;
            let said = ward.judge.said_by(&webhook, &new, Some(&old));
            match (&guard, &said) {
                (Ok(()), None) => allowed += 1,
                (Err(why), Some(_)) if why.contains(REFUSED) => refused += 1,
                _ => {
                    let _ = writeln!(found, "{old}\n  to {new}\n  guard: {guard:?}\n  webhook: {said:?}");
                }
            }
        }
        println!("network-changes: {allowed} allowed by all, {refused} refused by all");
        assert!(found.is_empty(), "they disagree:\n{found}");
        assert!(allowed > 10 && refused > 10);
        Ok(())
    });
}
