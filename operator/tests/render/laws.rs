//! What holds of everything that is rendered.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use k8s_openapi::{
    DeepMerge,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, ResourceQuota, Secret, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{Role, RoleBinding},
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sluicegate_crds::TENANT_LABEL;
use sluicegate_operator::{
    cluster::store::Store,
    object::{AGENT_PODS, Key, Kind, Object, Owner, PART_OF_LABEL, Stage},
    render::{AgentId, Member, Pause, Rendered, render},
    rights,
};

use crate::world::{World, config, smallest};

/// FluxConfigs of every kind, for a tenant.
pub fn variety(tenant: &str) -> String {
    [
        smallest(&format!("{tenant}/app")),
        config(
            &format!("{tenant}/sealed"),
            &format!(
                "  source: {{url: ssh://git@git.example.com/{tenant}/app, verify: {{secretRef: {{name: signers}}}}}}
  namespace: {tenant}-extra
  decryption: {{secretRef: {{name: keys}}}}
  dependsOn: [{{name: app}}, {{name: redis}}]"
            ),
        ),
        config(
            &format!("{tenant}/redis"),
            "  source: {url: oci://registry.example.com/charts, kind: Helm, verify: {provider: cosign}}
  chart:
    name: redis
    valuesFrom: [{kind: ConfigMap, name: sizes}, {kind: Secret, name: passwords, optional: true}]",
        ),
        config(
            &format!("{tenant}/web"),
            &format!("  source: {{url: oci://registry.example.com/{tenant}/web, ref: {{tag: v1}}}}\n  chart: {{}}\n  dependsOn: [{{name: redis}}]"),
        ),
        config(&format!("{tenant}/bucket"), &format!("  source: {{url: https://s3.example.com/{tenant}, kind: Bucket, secretRef: {{name: s3}}}}")),
        config(
            &format!("{tenant}/watched"),
            &format!(
                "  source: {{url: https://git.example.com/{tenant}/watched}}
  notify: [{{channel: chat}}]
  imageUpdates: {{images: [{{name: app, image: registry.example.com/{tenant}/app, policy: {{semver: {{range: 1.x}}}}}}]}}"
            ),
        ),
    ]
    .concat()
}

/// Agents of all placements, with all kinds of members.
pub fn all() -> BTreeMap<AgentId, Rendered> {
    let tenants = ["shop", "beside-shop", "pool-a", "pool-b"];
    let quota = "  tenants: {names: [shop]}\n  quota: {pods: \"50\", requests.memory: 8192Mi}";
    World::new().policy(quota).agents(&tenants.map(variety).concat())
}

/// All objects, the copies among them.
fn objects(rendered: &Rendered) -> impl Iterator<Item = &Object> {
    rendered.objects.iter().chain(rendered.copies.iter().map(|copy| &copy.object))
}

#[test]
fn the_order_of_members_does_not_matter() {
    let world = World::new();
    let admitted = world.admit(&(variety("pool-a") + &variety("pool-b")));
    let mut members: Vec<Member<'_>> =
        admitted.iter().map(|admitted| Member { admitted, pause: Pause::Nothing }).collect();
    let agent = AgentId::of(admitted[0].resolved());
    let expected = render(&agent, &members, &world.site).unwrap();
    for _ in 0..members.len() {
        members.rotate_left(1);
        assert_eq!(render(&agent, &members, &world.site).unwrap(), expected);
        let reversed: Vec<Member<'_>> = members.iter().rev().copied().collect();
        assert_eq!(render(&agent, &reversed, &world.site).unwrap(), expected);
    }
}

#[test]
fn objects_come_by_stage_and_each_once() {
    for (agent, rendered) in all() {
        let keys: Vec<_> =
            rendered.objects.iter().map(|object| (object.key.kind.stage(), object.key.clone())).collect();
        assert!(keys.is_sorted(), "{agent}");
        assert_eq!(
            objects(&rendered).map(|object| &object.key).collect::<HashSet<_>>().len(),
            objects(&rendered).count()
        );
        assert!(rendered.objects.iter().all(|object| object.key.kind.stage() != Stage::Credential));
    }
}

#[test]
fn manifests_say_the_same_as_keys_and_owners() {
    for (agent, rendered) in all() {
        for object in objects(&rendered) {
            let metadata = &object.manifest["metadata"];
            assert_eq!(object.manifest["kind"], object.key.kind.name());
            assert_eq!(object.manifest["apiVersion"], object.key.kind.api_version());
            assert_eq!(metadata["name"], object.key.name);
            assert_eq!(metadata["namespace"].as_str().unwrap_or_default(), object.key.namespace);
            assert_eq!(object.key.kind.namespaced(), !object.key.namespace.is_empty());
            for (label, value) in object.owner.labels(&agent.namespace) {
                assert_eq!(metadata["labels"][label], value, "{}", object.key);
                assert!(value.len() <= 63);
            }
        }
    }
}

#[test]
fn what_is_rendered_is_where_the_inventory_looks_for_it() {
    for (agent, rendered) in all() {
        let store = Store::default();
        // Targets that administrators have labelled are not rendered.
        for object in objects(&rendered).filter(|object| object.key.kind != Kind::Namespace) {
            let labels = match &object.owner {
                Owner::Agent => continue,
                Owner::Tenant(tenant) | Owner::Config { tenant, .. } => json!({TENANT_LABEL: tenant}),
            };
            let is_target = object.key.namespace != agent.namespace || !agent.namespace.starts_with("sluicegate-");
            if is_target {
                let name = &object.key.namespace;
                store.saw(Kind::Namespace, &json!({"metadata": {"name": name, "labels": labels}}));
            }
        }
        for object in objects(&rendered) {
            assert!(!store.saw(object.key.kind, &object.manifest).strays, "{agent}: {} is elsewhere", object.key);
        }
        let found: HashSet<Key> = store.inventory(&agent.namespace).into_keys().map(|key| (*key).clone()).collect();
        let wanted: HashSet<Key> = objects(&rendered).map(|object| object.key.clone()).collect();
        assert_eq!(found, wanted, "{agent}");
    }
}

/// Every `name` below a field of this name.
fn references<'v>(value: &'v Value, field: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if name == field {
                    found.push(value);
                }
                references(value, field, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, field, found)),
        _ => {}
    }
}

#[test]
fn whatever_is_named_exists() {
    let fixed: BTreeSet<String> = rights::agent_roles().into_iter().map(|role| role.name).collect();
    for (agent, rendered) in all() {
        let known: HashSet<(&str, &str, &str)> = objects(&rendered)
            .map(|object| (object.key.kind.name(), object.key.namespace.as_str(), object.key.name.as_str()))
            .collect();
        let beside = agent.namespace.starts_with("beside-");
        let here = |kind: &str, name: &str| known.contains(&(kind, agent.namespace.as_str(), name));
        let mut seen = 0;
        for object in objects(&rendered) {
            let mut check = |field: &str, exists: &dyn Fn(&Value) -> bool| {
                let mut found = Vec::new();
                references(&object.manifest, field, &mut found);
                seen += found.len();
                for reference in found {
                    assert!(exists(reference), "{agent}: {} names {field} {reference}, which is not there", object.key);
                }
            };
            let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
            // A team's own objects are where its agent is.
            let own = |name: &str| beside && ["signers", "keys", "s3", "sizes", "passwords"].contains(&name);
            check("secretRef", &|value| here("Secret", &name(value)) || own(&name(value)));
            check("sourceRef", &|value| here(value["kind"].as_str().unwrap(), &name(value)));
            check("chartRef", &|value| here(value["kind"].as_str().unwrap(), &name(value)));
            check("valuesFrom", &|list| {
                list.as_array()
                    .unwrap()
                    .iter()
                    .all(|value| here(value["kind"].as_str().unwrap(), &name(value)) || own(&name(value)))
            });
            check("dependsOn", &|list| {
                list.as_array().unwrap().iter().all(|value| here(object.key.kind.name(), &name(value)))
            });
            check("serviceAccountName", &|value| here("ServiceAccount", value.as_str().unwrap()));
            check("roleRef", &|value| match value["kind"].as_str().unwrap() {
                "ClusterRole" => fixed.contains(&name(value)),
                kind => known.contains(&(kind, object.key.namespace.as_str(), &name(value))),
            });
            check("subjects", &|list| {
                list.as_array().unwrap().iter().all(|value| {
                    let namespace = value["namespace"].as_str().unwrap();
                    known.contains(&("ServiceAccount", namespace, &name(value)))
                        || (namespace, name(value).as_str()) == (rights::OPERATOR_NAMESPACE, rights::OPERATOR)
                })
            });
        }
        assert!(seen > 15, "{agent}: {seen}");
    }
}

#[test]
fn what_applies_a_teams_objects_is_bound_in_the_teams_namespaces_and_nowhere_else() {
    for (agent, rendered) in all() {
        for object in rendered.objects.iter().filter(|object| object.key.kind == Kind::RoleBinding) {
            let role = object.manifest["roleRef"]["name"].as_str().unwrap();
            for subject in object.manifest["subjects"].as_array().unwrap() {
                let reconciler = subject["name"].as_str().unwrap().contains("reconciler");
                assert_eq!(role == rights::TENANT, reconciler, "{}", object.key);
                let tenant = object.manifest["metadata"]["labels"][TENANT_LABEL].as_str().unwrap_or_default();
                if reconciler {
                    let namespace = object.key.namespace.as_str();
                    assert!(namespace == tenant || namespace == format!("{tenant}-extra"), "{}", object.key);
                } else {
                    assert_eq!(object.key.namespace, agent.namespace);
                }
            }
        }
        for object in rendered.objects.iter().filter(|object| object.key.kind.stage() == Stage::Delivery) {
            let spec = &object.manifest["spec"];
            let tenant = object.manifest["metadata"]["labels"][TENANT_LABEL].as_str().unwrap();
            let account = spec["serviceAccountName"].as_str().unwrap();
            assert!(account == "sluicegate-reconciler" || account == format!("reconciler-{tenant}"), "{}", object.key);
            assert!(spec["targetNamespace"].as_str().unwrap().starts_with(tenant));
        }
    }
}

#[test]
fn controllers_read_the_copies_and_nothing_else() {
    for (agent, rendered) in all() {
        let mut readable = BTreeSet::new();
        for object in rendered.objects.iter().filter(|object| object.key.kind == Kind::Role) {
            for rule in object.manifest["rules"].as_array().unwrap() {
                assert_eq!(rule["verbs"], serde_json::json!(["get"]));
                readable.extend(
                    rule["resourceNames"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()),
                );
            }
        }
        let copies: BTreeSet<String> = rendered.copies.iter().map(|copy| copy.object.key.name.clone()).collect();
        assert!(readable.is_superset(&copies), "{agent}");
        if !agent.namespace.starts_with("beside-") {
            assert_eq!(readable, copies, "{agent}");
        }
    }
}

#[test]
fn nothing_but_the_agents_pods_is_cut_off() {
    for (agent, rendered) in all() {
        let mut policies = 0;
        for object in rendered.objects.iter().filter(|object| object.key.kind == Kind::NetworkPolicy) {
            policies += 1;
            assert_eq!(object.key.namespace, agent.namespace);
            assert_eq!(object.manifest["spec"]["podSelector"]["matchLabels"][PART_OF_LABEL], AGENT_PODS);
        }
        let deployments = rendered.objects.iter().filter(|object| object.key.kind == Kind::Deployment).count();
        assert_eq!(policies, deployments + 1);
    }
}

#[test]
fn another_tenant_in_a_pool_changes_nothing_of_the_others() {
    let world = World::new();
    let (_, alone) = world.agent(&variety("pool-a"));
    let (_, together) = world.agent(&(variety("pool-a") + &variety("pool-b")));
    let of = |rendered: &Rendered, tenant: &str| -> Vec<Value> {
        objects(rendered)
            .map(|object| object.manifest.clone())
            .filter(|manifest| manifest["metadata"]["labels"][TENANT_LABEL] == tenant)
            .collect()
    };
    assert_eq!(of(&alone, "pool-a"), of(&together, "pool-a"));
    assert!(!of(&together, "pool-b").is_empty() && of(&alone, "pool-b").is_empty());
    // A Secret of the platform that both use is there once, and stays the same.
    let shared = |rendered: &Rendered| {
        rendered.copies.iter().find(|copy| copy.object.key.name == "sluicegate-git-reader").cloned().unwrap()
    };
    assert_eq!(shared(&alone), shared(&together));
}

#[test]
fn who_waits_for_another_has_its_source_fetched_and_who_is_forbidden_has_not() {
    let world = World::new();
    let admitted = world.admit(&smallest("shop/app"));
    let agent = AgentId::of(admitted[0].resolved());
    for pause in [Pause::Nothing, Pause::Delivery, Pause::Everything] {
        let rendered = render(&agent, &[Member { admitted: &admitted[0], pause }], &world.site).unwrap();
        for object in rendered.objects.iter().filter(|object| object.key.kind.is_flux()) {
            let expected = match object.key.kind.stage() {
                Stage::Delivery => pause != Pause::Nothing,
                _ => pause == Pause::Everything,
            };
            assert_eq!(object.manifest["spec"]["suspend"] == true, expected, "{} {pause:?}", object.key);
        }
    }
}

#[test]
fn without_members_there_is_nothing() {
    let agent = AgentId { cluster: "prod".to_owned(), namespace: "sluicegate-shop".to_owned() };
    let rendered = render(&agent, &[], &World::new().site).unwrap();
    assert!(rendered.objects.is_empty() && rendered.copies.is_empty());
}

#[test]
fn a_member_of_another_agent_is_no_member() {
    let world = World::new();
    let admitted = world.admit(&smallest("shop/app"));
    let agent = AgentId { cluster: "prod".to_owned(), namespace: "sluicegate-other".to_owned() };
    let error = render(&agent, &[Member { admitted: &admitted[0], pause: Pause::Nothing }], &world.site).unwrap_err();
    assert_eq!(error.to_string(), "FluxConfig shop/app is served by agent prod/sluicegate-shop");
}

#[test]
fn homes_of_one_tenant_do_not_meet() {
    let world = World::new().home("shop-web", "shop").home("shop-api", "shop");
    let repository = |home: &str| config(&format!("{home}/app"), "  source: {url: https://git.example.com/shop/app}");
    let configs = ["shop", "shop-web", "shop-api"].map(repository).concat();
    let (agent, rendered) = world.agent(&configs);
    assert_eq!(agent.namespace, "sluicegate-shop");
    let names: Vec<&str> = rendered
        .objects
        .iter()
        .filter(|object| object.key.kind == Kind::Kustomization)
        .map(|object| object.key.name.as_str())
        .collect();
    assert_eq!(names, ["app", "shop-api--app", "shop-web--app"]);
}

#[test]
fn a_home_that_is_deployed_to_is_labelled_like_any_target() {
    let (_, rendered) = World::new().agent(&smallest("shop/app"));
    let is_home = |object: &&Object| object.key.kind == Kind::Namespace && object.key.name == "shop";
    let home = rendered.objects.iter().find(is_home).expect("guards know it by its label");
    assert_eq!(home.manifest["metadata"]["labels"]["sluicegate.dev/tenant"], "shop");
}

#[test]
fn a_tenant_moves_between_roles_by_another_binding() {
    let name = |world: World| {
        let (_, rendered) = world.agent(&smallest("shop/app"));
        let found = rendered.objects.iter().find(|object| object.key.namespace == "shop").unwrap();
        (found.key.name.clone(), found.manifest["roleRef"]["name"].as_str().unwrap().to_owned())
    };
    let (before, after) =
        (name(World::new()), name(World::new().policy("  tenants: {names: [shop]}\n  role: sluicegate-tenant-plus")));
    assert_ne!(before.0, after.0, "a RoleBinding cannot be given another role");
    assert_eq!((before.1.as_str(), after.1.as_str()), ("sluicegate-tenant", "sluicegate-tenant-plus"));
}

/// What Kubernetes' own types make of a manifest.
fn reread<T: DeserializeOwned + Serialize + DeepMerge>(manifest: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<T>(manifest.clone()).unwrap()).unwrap()
}

#[test]
fn kubernetes_knows_every_field() {
    for (_, rendered) in all() {
        for object in objects(&rendered) {
            let manifest = &object.manifest;
            let known = match object.key.kind {
                Kind::Namespace => reread::<Namespace>(manifest),
                Kind::ServiceAccount => reread::<ServiceAccount>(manifest),
                Kind::Role => reread::<Role>(manifest),
                Kind::RoleBinding => reread::<RoleBinding>(manifest),
                Kind::NetworkPolicy => reread::<NetworkPolicy>(manifest),
                Kind::ResourceQuota => reread::<ResourceQuota>(manifest),
                Kind::Secret => reread::<Secret>(manifest),
                Kind::ConfigMap => reread::<ConfigMap>(manifest),
                Kind::Service => reread::<Service>(manifest),
                Kind::Deployment => reread::<Deployment>(manifest),
                _ => continue,
            };
            assert_eq!(&known, manifest, "{}", object.key);
        }
    }
}

#[test]
fn nothing_is_there_that_means_the_same_as_nothing() {
    fn check(value: &Value, at: &str) {
        match value {
            Value::Null => panic!("{at} is null"),
            Value::Array(list) => {
                assert!(!list.is_empty(), "{at} is empty");
                list.iter().for_each(|value| check(value, at));
            }
            Value::Object(map) => {
                // These two mean something: a volume of this kind, and every namespace.
                assert!(
                    !map.is_empty() || at.ends_with(".emptyDir") || at.ends_with(".namespaceSelector"),
                    "{at} is empty"
                );
                map.iter().for_each(|(name, value)| check(value, &format!("{at}.{name}")));
            }
            _ => {}
        }
    }
    for (_, rendered) in all() {
        for object in objects(&rendered) {
            check(&object.manifest, &object.key.to_string());
        }
    }
}
