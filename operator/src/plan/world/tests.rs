use serde_json::json;
use sluicegate_policy::{LabelWriter, Labels};

use super::*;

fn policy(name: &str, deny: &str) -> Change {
    let spec = json!({
        "tenants": {"names": ["team-*"]},
        "sources": {"git": {"allow": ["https://git.example.com/${tenant}/**"], "deny": [format!("https://git.example.com/*/{deny}/**")]}},
        "destinations": [{"clusters": ["local", "remote"], "namespaces": ["shared", "team-*"], "createNamespace": true}],
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

fn remote() -> Change {
    let object = json!({
        "apiVersion": sluicegate_crds::API_VERSION, "kind": "FluxCluster", "metadata": {"name": "remote"},
        "spec": {"connection": {"kubeconfig": {"secretRef": {"name": "remote"}}}},
    });
    Change::Cluster("remote".to_owned(), serde_json::from_value(object).ok().map(Box::new))
}

/// A Namespace with one label.
fn namespace(label: &str, value: &str, tenant_label_by: LabelWriter) -> Option<Namespace> {
    Some(Namespace { labels: Arc::new(Labels::from([(label.to_owned(), value.to_owned())])), tenant_label_by })
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
    let tenant = format!("team-{}", random.u8(..3));
    let target = ["shared", "team-1-app", "team-0", "team-1"][random.usize(..4)].to_owned();
    let by = [LabelWriter::Administrator, LabelWriter::Sluicegate, LabelWriter::Creator][random.usize(..3)];
    match random.u8(..24) {
        0 => policy("one", ["attic", "c1"][random.usize(..2)]),
        1 => cluster(["x", "y"][random.usize(..2)]),
        2 => Change::Namespace(home, None),
        3 => Change::Namespace(home, namespace("l", &random.u8(..3).to_string(), LabelWriter::default())),
        4 => Change::Namespace(home, namespace(sluicegate_crds::TENANT_LABEL, &tenant, by)),
        5 => Change::Namespace(target, random.bool().then(Namespace::default)),
        6 | 7 => Change::Config(key, None),
        8 => Change::Namespace(home, namespace(sluicegate_crds::HOME_LABEL, &tenant, by)),
        9 | 10 => Change::TenantLabel("remote".to_owned(), target, random.bool().then_some(tenant)),
        11 => Change::TenantLabels("remote".to_owned(), vec![(target, tenant)]),
        12 => match random.u8(..4) {
            0 => Change::Alias("remote".to_owned(), true),
            1 => Change::Cluster("remote".to_owned(), None),
            _ => Change::Alias("remote".to_owned(), false),
        },
        13 => remote(),
        _ => {
            let mut spec = json!({"source": {"url": format!("https://git.example.com/{home}/c{}/x", random.u8(..3))}});
            if random.bool() {
                spec["namespace"] = json!(target);
            }
            if random.u8(..3) == 0 {
                spec["cluster"] = json!("remote");
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
        world.namespaces.iter().map(|(name, namespace)| Change::Namespace(name.to_string(), Some(namespace.clone()))),
    );
    changes.extend(world.aliases.iter().map(|id| Change::Alias(id.clone(), true)));
    let labels = world.facts.tenant_labels("remote").map(|(name, tenant)| (name.to_owned(), tenant.to_owned()));
    changes.push(Change::TenantLabels("remote".to_owned(), labels.collect()));
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
    let (mut admitted, mut disputed) = (0, 0);
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::default();
        world.take([policy("one", "attic"), cluster("x"), remote()]);
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
        for (yes, violations, ..) in judged(&world).values() {
            admitted += usize::from(*yes);
            let said = violations.join(" ");
            disputed +=
                usize::from(["target-claimed", "is-a-home", "is-a-target"].iter().any(|rule| said.contains(rule)));
        }
    }
    assert!(admitted > 100 && disputed > 100, "{admitted} admitted, {disputed} disputed");
}

/// Whether a FluxConfig is admitted, and by which rules not.
fn verdict(world: &World, key: &ConfigKey) -> Vec<Rule> {
    match &world.configs[key].plan.as_ref().unwrap().judgement {
        Judgement::Admitted(_) => Vec::new(),
        Judgement::Refused { violations, .. } | Judgement::Undetermined { violations, .. } => {
            violations.iter().map(|violation| violation.rule).collect()
        }
    }
}

#[test]
fn a_claim_that_a_label_makes_void_keeps_nobody_out_in_whichever_order_the_news_come() {
    let (early, late) = (ConfigKey::new("team-0", "c0"), ConfigKey::new("team-1", "c0"));
    let spec = |tenant: &str| json!({"source": {"url": format!("https://git.example.com/{tenant}/x")}, "cluster": "remote", "namespace": "shared"});
    let label = |tenant: &str| Change::TenantLabel("remote".to_owned(), "shared".to_owned(), Some(tenant.to_owned()));
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::default();
        world.take([policy("one", "attic"), cluster("x"), remote()]);
        for step in order {
            world.take([match step {
                0 => config(&early, spec("team-0"), 0, 0),
                1 => config(&late, spec("team-1"), 5, 0),
                _ => label("team-1"),
            }]);
        }
        assert_eq!(verdict(&world, &early), [Rule::TargetClaimed], "{order:?}");
        assert_eq!(verdict(&world, &late), [], "{order:?}");
        // A label of somebody who is not there takes it from both; without a label the first has it.
        world.take([label("somebody")]);
        assert_eq!(verdict(&world, &late), [Rule::TargetClaimed], "{order:?}");
        world.take([Change::TenantLabels("remote".to_owned(), Vec::new())]);
        assert_eq!((verdict(&world, &early), verdict(&world, &late)), (vec![], vec![Rule::TargetClaimed]), "{order:?}");
    }
}

#[test]
fn a_home_is_its_tenant_s_in_whichever_order_the_news_come() {
    let (attack, own) = (ConfigKey::new("team-0", "c0"), ConfigKey::new("team-1", "c0"));
    let source = |tenant: &str| json!({"url": format!("https://git.example.com/{tenant}/x")});
    let attacks = || config(&attack, json!({"source": source("team-0"), "namespace": "team-1"}), 0, 0);
    let lives = || config(&own, json!({"source": source("team-1"), "namespace": "team-1-app"}), 5, 0);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::default();
        world.take([policy("one", "attic"), cluster("x")]);
        for step in order {
            world.take([match step {
                0 => attacks(),
                1 => lives(),
                _ => Change::Namespace("team-1".to_owned(), Some(Namespace::default())),
            }]);
        }
        assert_eq!(verdict(&world, &attack), [Rule::NamespaceIsAHome], "{order:?}");
        assert_eq!(verdict(&world, &own), [], "{order:?}");
        // When nobody lives there any more it may become a target, and then nobody moves in.
        world.take([Change::Config(own.clone(), None)]);
        assert_eq!(verdict(&world, &attack), [], "{order:?}");
        let made = namespace(sluicegate_crds::TENANT_LABEL, "team-0", LabelWriter::Creator);
        world.take([Change::Namespace("team-1".to_owned(), made)]);
        world.take([lives()]);
        assert_eq!((verdict(&world, &attack), verdict(&world, &own)), (vec![], vec![Rule::HomeIsATarget]), "{order:?}");
        world.take([Change::Namespace(
            "team-1".to_owned(),
            namespace(sluicegate_crds::HOME_LABEL, "team-1", LabelWriter::default()),
        )]);
        assert_eq!(verdict(&world, &own), [], "{order:?}");
    }
}

#[test]
fn a_label_concerns_those_whom_it_takes_a_namespace_from_and_nobody_else() {
    let mut world = World::default();
    world.take([policy("one", "attic"), cluster("x"), remote()]);
    let spec = |tenant: u8, cluster: &str| json!({"source": {"url": format!("https://git.example.com/team-{tenant}/x")}, "cluster": cluster});
    let keys: Vec<ConfigKey> = (0..100).map(|number| ConfigKey::new(format!("team-{number}"), "c0")).collect();
    let cluster_of = |number: u8| if number < 50 { "remote" } else { "local" };
    world.take(keys.iter().zip(0_u8..).map(|(key, number)| config(key, spec(number, cluster_of(number)), 0, 0)));
    let label = |namespace: &str, tenant: &str| {
        Change::TenantLabel("remote".to_owned(), namespace.to_owned(), Some(tenant.to_owned()))
    };
    // The operator's own labels on what it has made: the first of the one tenant there, the second in nobody's way.
    assert_eq!(world.take([label("team-7-app", "team-7"), label("unknown", "team-3")]).decided, 0);
    assert_eq!(world.take([label("team-8-app", "team-3")]).decided, 1);
    // On the management cluster: a target that was made, a home that was labelled.
    let made = namespace(sluicegate_crds::TENANT_LABEL, "team-60", LabelWriter::Creator);
    assert_eq!(world.take([Change::Namespace("team-60-app".to_owned(), made)]).decided, 1);
    let home = namespace(sluicegate_crds::HOME_LABEL, "team-61", LabelWriter::default());
    assert_eq!(world.take([Change::Namespace("team-61".to_owned(), home)]).decided, 1);
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
