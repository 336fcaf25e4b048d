//! FluxConfigs as they are served, for tests.

use std::sync::Arc;

use serde_json::{Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_policy::{Declaration, Facts, Labels, PolicySet, Unseen, Verdict, decide};

use super::members::Served;
use crate::{
    object::ConfigKey,
    plan::{Judgement, Packed, Planned, status_digest},
    render::{AgentId, Pause},
};

/// The FluxConfig `shop` of `team-a` with this `spec`, admitted by a policy with this `agent`.
pub fn served(spec: Value, agent: Value) -> Served {
    let config: FluxConfig = serde_json::from_value(json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig",
        "metadata": {"name": "shop", "namespace": "team-a", "generation": 1}, "spec": spec,
    }))
    .unwrap();
    let policy: FluxPolicy = serde_json::from_value(json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": "teams"}, "spec": {
            "tenants": {"names": ["team-*"]},
            "sources": {"git": {"allow": ["https://git.example.com/${tenant}/**"]}},
            "destinations": [{"clusters": ["prod"], "namespaces": ["${tenant}"]}],
            "defaults": {"cluster": "prod", "namespace": "${tenant}", "ref": {"branch": "main"}},
            "agent": agent,
        },
    }))
    .unwrap();
    let set = PolicySet::compile(&[policy]);
    let mut facts = Facts::new(Unseen::Absent);
    facts.cluster("prod", Labels::default());
    facts.declare(Declaration::of(&config, &set, &facts, None));
    let admitted = match decide(&config, &set, &facts) {
        Verdict::Admitted(admitted) => Arc::new(*admitted),
        other => panic!("not admitted: {other:?}"),
    };
    let planned = Planned {
        key: ConfigKey::new("team-a", "shop"),
        config: Arc::new(Packed::of(config)),
        status: status_digest(None),
        judgement: Judgement::Admitted(admitted.clone()),
        agent: Some(AgentId::of(admitted.resolved())),
        leaving: None,
        policy_digest: Arc::from(""),
        version: 1,
    };
    Served { planned: Arc::new(planned), admitted, pause: Pause::Nothing }
}
