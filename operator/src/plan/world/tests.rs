use serde_json::json;

use super::*;

fn policy(name: &str, deny: &str) -> Change {
    let spec = json!({
        "tenants": {"names": ["team-*"]},
        "sources": {"git": {"allow": ["https://git.example.com/${tenant}/**"], "deny": [format!("https://git.example.com/*/{deny}/**")]}},
        "destinations": [{"clusters": ["local"], "namespaces": ["shared", "${tenant}-*"], "createNamespace": true}],
        "defaults": {"cluster": "local", "namespace": "${tenant}-app", "ref": {"branch": "main"}, "path": "./", "interval": "5m", "prune": true},
        "limits": {"fluxConfigs": 3},
    });
    Change::policy(
        name.to_owned(),
        json!({"apiVersion": sluicegate_crds::API_VERSION, "kind": "FluxPolicy", "metadata": {"name": name}, "spec": spec}),
    )
}

fn cluster(label: &str) -> Change {
    let object = json!({
        "apiVersion": sluicegate_crds::API_VERSION, "kind": "FluxCluster", "metadata": {"name": "local", "labels": {"a": label}},
        "spec": {"connection": {"inCluster": {}}},
    });
    Change::Cluster("local".to_owned(), serde_json::from_value(object).ok().map(Box::new))
}

fn config(key: &ConfigKey, spec: Value, age: u8, status: u8) -> Change {
    let object = json!({
        "apiVersion": sluicegate_crds::API_VERSION, "kind": "FluxConfig",
        "metadata": {"name": &*key.name, "namespace": &*key.home, "uid": format!("u{age}"), "generation": 1, "creationTimestamp": format!("2026-01-01T00:00:0{age}Z")},
        "spec": spec, "status": {"observedGeneration": status},
    });
    Change::config(key.clone(), object)
}

/// Any change to a small world.
fn change(random: &mut fastrand::Rng) -> Change {
    let home = format!("team-{}", random.u8(..3));
    let key = ConfigKey::new(home.clone(), format!("c{}", random.u8(..4)));
    match random.u8(..20) {
        0 => policy("one", ["attic", "c1"][random.usize(..2)]),
        1 => cluster(["x", "y"][random.usize(..2)]),
        2 => Change::Namespace(home, None),
        3 => Change::Namespace(home, Some(Labels::from([("l".to_owned(), random.u8(..3).to_string())]))),
        4 => Change::Namespace(
            home,
            Some(Labels::from([(sluicegate_crds::TENANT_LABEL.to_owned(), format!("team-{}", random.u8(..3)))])),
        ),
        5 => Change::Namespace(format!("other-{}", random.u8(..3)), random.bool().then(Labels::new)),
        6 | 7 => Change::Config(key, None),
        _ => {
            let mut spec = json!({"source": {"url": format!("https://git.example.com/{home}/c{}/x", random.u8(..3))}});
            if random.bool() {
                spec["namespace"] = json!(["shared", "team-1-app"][random.usize(..2)]);
            }
            if random.bool() {
                spec["dependsOn"] = json!([{"name": format!("c{}", random.u8(..4))}]);
            }
            config(&key, spec, random.u8(..3), random.u8(..3))
        }
    }
}

/// What is there in the end, as one batch.
fn all(world: &World) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    changes.extend(world.policies.iter().map(|(name, known)| Change::policy(name.clone(), json!(*known.policy))));
    changes.extend(
        world.clusters.iter().map(|(id, cluster)| Change::Cluster(id.clone(), Some(Box::new((**cluster).clone())))),
    );
    changes.extend(
        world.namespaces.iter().map(|(name, labels)| Change::Namespace(name.to_string(), Some((**labels).clone()))),
    );
    changes.extend(world.configs.iter().map(|(key, known)| Change::config(key.clone(), json!(known.config.unpack()))));
    changes
}

/// Whether it is admitted, why not, its agent, the digest of its policies.
type Told<'w> = (bool, Vec<String>, Option<&'w AgentId>, &'w str);

fn plans(world: &World) -> impl Iterator<Item = (&ConfigKey, &Arc<Planned>)> {
    world.configs.iter().filter_map(|(key, known)| Some((key, known.plan.as_ref()?)))
}

fn judged(world: &World) -> BTreeMap<&ConfigKey, Told<'_>> {
    let judged = plans(world).map(|(key, plan)| {
        let (admitted, violations) = match &plan.judgement {
            Judgement::Admitted(_) => (true, Vec::new()),
            Judgement::Refused { violations, .. } | Judgement::Undetermined { violations, .. } => {
                (false, violations.iter().map(ToString::to_string).collect())
            }
        };
        // One that was never admitted has no agent; one that was keeps it.
        let agent = plan.agent.as_ref().filter(|_| admitted);
        (key, (admitted, violations, agent, &*plan.policy_digest))
    });
    judged.collect()
}

#[test]
fn news_one_by_one_end_where_all_at_once_do() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::default();
        world.take([policy("one", "attic"), cluster("x")]);
        for _ in 0..random.usize(1..40) {
            let batch: Vec<Change> = (0..random.usize(1..4)).map(|_| change(&mut random)).collect();
            world.take(batch);
            for (key, plan) in plans(&world) {
                assert!(
                    Arc::ptr_eq(&plan.config, &world.configs[key].config),
                    "seed {seed}: {key} is planned as it was"
                );
            }
        }
        let mut fresh = World::default();
        fresh.take(all(&world));
        assert_eq!(judged(&world), judged(&fresh), "seed {seed}");
    }
}

#[test]
fn a_status_that_comes_back_asks_the_engine_nothing() {
    let key = ConfigKey::new("team-0", "c0");
    let other = ConfigKey::new("team-0", "c1");
    let spec = json!({"source": {"url": "https://git.example.com/team-0/x"}});
    let mut world = World::default();
    let first =
        [policy("one", "attic"), cluster("x"), config(&key, spec.clone(), 0, 0), config(&other, spec.clone(), 0, 0)];
    assert_eq!(world.take(first).decided, 2);
    assert_eq!(world.take([config(&key, spec.clone(), 0, 1)]).decided, 0);
    // Filled blanks concern nobody else; another place concerns the whole tenant.
    let mut filled = spec.clone();
    filled["namespace"] = json!("team-0-app");
    assert_eq!(world.take([config(&key, filled, 0, 1)]).decided, 1);
    let mut moved = spec;
    moved["namespace"] = json!("shared");
    assert_eq!(world.take([config(&key, moved, 0, 1)]).decided, 2);
}
