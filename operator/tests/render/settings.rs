//! The settings of an agent: what policy says, what several policies say, and what cannot be.

use serde_json::{Value, json};
use sluicegate_operator::{
    object::{Kind, Owner},
    render::{Absence, CopySource, Rendered},
};

use crate::world::{World, config, smallest};

/// A container of a controller.
#[track_caller]
fn container(rendered: &Rendered, controller: &str) -> Value {
    let deployment =
        rendered.objects.iter().find(|object| object.key.kind == Kind::Deployment && object.key.name == controller);
    let spec = &deployment.unwrap_or_else(|| panic!("there is no {controller}")).manifest["spec"]["template"]["spec"];
    spec["containers"][0].clone()
}

fn controllers(rendered: &Rendered) -> Vec<&str> {
    let deployments = rendered.objects.iter().filter(|object| object.key.kind == Kind::Deployment);
    deployments.map(|object| object.key.name.as_str()).collect()
}

const CHART: &str = "  source: {url: https://charts.example.com/stable, kind: Helm}\n  chart: {name: redis}";

#[test]
fn components_are_those_that_are_needed() {
    let world = World::new();
    for (spec, expected) in [
        ("", &["kustomize-controller", "source-controller"][..]),
        ("\n  notify: [{channel: chat}]", &["kustomize-controller", "notification-controller", "source-controller"]),
        (
            "\n  imageUpdates: {images: [{name: app, image: registry.example.com/shop/app, policy: {semver: {range: 1.x}}}]}",
            &["image-automation-controller", "image-reflector-controller", "kustomize-controller", "source-controller"],
        ),
    ] {
        let (_, rendered) =
            world.agent(&config("shop/app", &format!("  source: {{url: https://git.example.com/shop/app}}{spec}")));
        assert_eq!(controllers(&rendered), expected);
    }
    let (_, rendered) = world.agent(&config("shop/app", CHART));
    assert_eq!(controllers(&rendered), ["helm-controller", "kustomize-controller", "source-controller"]);
}

#[test]
fn what_is_needed_is_there_whatever_policy_lists() {
    let world = World::new().policy("  tenants: {names: [shop]}\n  agent: {components: [source, notification]}");
    let (_, rendered) = world.agent(&config("shop/app", CHART));
    assert_eq!(controllers(&rendered), ["helm-controller", "notification-controller", "source-controller"]);
    let (_, rendered) = world.agent(&smallest("shop/app"));
    assert_eq!(controllers(&rendered), ["kustomize-controller", "notification-controller", "source-controller"]);
}

#[test]
fn events_are_sent_only_where_somebody_hears_them() {
    let quiet = World::new().agent(&smallest("shop/app")).1;
    assert!(!container(&quiet, "source-controller").to_string().contains("--events-addr"));
    let world = World::new().policy("  tenants: {names: [shop]}\n  agent: {components: [notification]}");
    let heard = world.agent(&smallest("shop/app")).1;
    assert!(
        container(&heard, "source-controller").to_string().contains("--events-addr=http://notification-controller.")
    );
    assert!(!container(&heard, "notification-controller").to_string().contains("--events-addr"));
}

#[test]
fn a_pool_is_given_the_most_that_any_of_its_tenants_needs() {
    let world = World::new()
        .policy(
            "  tenants: {names: [pool-a]}
  agent:
    version: 2.8.x
    components: [notification]
    imageRegistry: mirror.example.com/a
    concurrency: 2
    resources: {requests: {cpu: 50m, memory: 1Gi}, limits: {memory: 2Gi, cpu: 1}}
    scheduling: {nodeSelector: {pool: a}}",
        )
        .policy(
            "  tenants: {names: [pool-b]}
  agent:
    version: 2.9.2
    components: [helm]
    imageRegistry: mirror.example.com/b
    concurrency: 8
    resources: {requests: {cpu: '0.2'}, limits: {memory: 512Mi}}",
        );
    let (_, rendered) = world.agent(&(smallest("pool-b/app") + &smallest("pool-a/app")));
    assert_eq!(rendered.release.version, "2.9.2");
    assert_eq!(
        controllers(&rendered),
        ["helm-controller", "kustomize-controller", "notification-controller", "source-controller"]
    );
    let found = container(&rendered, "source-controller");
    assert_eq!(found["image"], "mirror.example.com/a/source-controller:v1.9.3");
    assert!(found["args"].as_array().unwrap().contains(&"--concurrent=8".into()));
    // Of the CPU one of them has no limit.
    let expected = serde_json::json!({"limits": {"memory": "2Gi"}, "requests": {"cpu": "200m", "memory": "1Gi"}});
    assert_eq!(found["resources"], expected);
}

#[test]
fn defaults_of_resources_stay_within_what_policy_says() {
    for (resources, expected) in [
        ("{limits: {memory: 32Mi}}", r#"{"limits":{"memory":"32Mi"},"requests":{"cpu":"10m","memory":"32Mi"}}"#),
        ("{requests: {memory: 2Gi}}", r#"{"limits":{"memory":"2Gi"},"requests":{"cpu":"10m","memory":"2Gi"}}"#),
        ("{limits: {cpu: 5m}}", r#"{"limits":{"cpu":"5m","memory":"1Gi"},"requests":{"cpu":"5m","memory":"64Mi"}}"#),
    ] {
        let world = World::new().policy(&format!("  tenants: {{names: [shop]}}\n  agent: {{resources: {resources}}}"));
        let found = container(&world.agent(&smallest("shop/app")).1, "source-controller");
        assert_eq!(found["resources"].to_string(), expected);
    }
}

#[test]
fn the_cluster_says_the_release_where_no_policy_does() {
    let mut world = World::new().policy("  tenants: {names: [shop]}\n  agent: {version: 2.7.x}");
    world.site.flux_version = Some("2.8.x".to_owned());
    assert_eq!(world.agent(&smallest("shop/app")).1.release.version, "2.7.5");
}

#[test]
fn what_cannot_be_followed_is_named() {
    for (agent, message) in [
        (
            "{version: 1.x}",
            "FluxPolicy/extra-3 spec.agent.version names no release of Flux: \"1.x\" matches none of the Flux releases that are known: 2.7.5, 2.8.8, 2.9.0, 2.9.1, 2.9.2, 2.9.3, 2.9.4",
        ),
        (
            "{resources: {requests: {cpu: lots}}}",
            "FluxPolicy/extra-3 spec.agent.resources.requests.cpu is \"lots\": this is no quantity, such as 100m, 0.5 or 512Mi",
        ),
        (
            "{resources: {requests: {cpu: 2}, limits: {cpu: 1000m}}}",
            "FluxPolicy/extra-3 spec.agent.resources.requests.cpu is 2, which is more than the limit of 1",
        ),
    ] {
        let world = World::new().policy(&format!("  tenants: {{names: [shop]}}\n  agent: {agent}"));
        assert_eq!(world.refuses(&smallest("shop/app")), message);
    }
    let mut world = World::new();
    world.site.api_servers.clear();
    assert_eq!(world.refuses(&smallest("shop/app")), "no address of an API server of cluster prod is known");
}

#[test]
fn remote_bases_open_the_way_out_for_kustomize_only() {
    let world = World::new().policy("  tenants: {names: [shop]}\n  features: {remoteBases: true}");
    let (_, rendered) = world.agent(&(smallest("shop/app") + &config("shop/redis", CHART)));
    let anywhere = |controller: &str| {
        let name = format!("sluicegate-{controller}");
        let policy =
            rendered.objects.iter().find(|object| object.key.kind == Kind::NetworkPolicy && object.key.name == name);
        policy.unwrap().manifest.to_string().contains("0.0.0.0/0")
    };
    assert!(anywhere("kustomize-controller") && anywhere("source-controller") && !anywhere("helm-controller"));
    assert!(!container(&rendered, "kustomize-controller").to_string().contains("--no-remote-bases"));
    assert!(
        container(&World::new().agent(&smallest("shop/app")).1, "kustomize-controller")
            .to_string()
            .contains("--no-remote-bases=true")
    );
}

/// What a controller's NetworkPolicy lets it connect to, rule by rule.
fn egress_of(rendered: &Rendered, controller: &str) -> Vec<Value> {
    let name = format!("sluicegate-{controller}");
    let policy = rendered.objects.iter().find(|o| o.key.kind == Kind::NetworkPolicy && o.key.name == name);
    policy.unwrap().manifest["spec"]["egress"].as_array().unwrap().clone()
}

const EVERYTHING: &str = "\n  notify: [{channel: chat}]\n  imageUpdates: {images: [{name: app, image: registry.example.com/shop/app, policy: {semver: {range: 1.x}}}]}";

#[test]
fn controllers_that_reach_out_reach_the_blocks_of_policy_and_nothing_else() {
    let limits = "egress: {cidrs: [198.51.100.0/24, 168.0.0.0/6, \"2001:db8::/32\"], namespaces: [git]}";
    let world = World::new().policy(&format!(
        "  tenants: {{names: [shop]}}\n  features: {{remoteBases: true}}\n  agent: {{components: [source, kustomize, helm, notification, image-reflector, image-automation, source-watcher], {limits}}}"
    ));
    let configs = config("shop/app", &format!("  source: {{url: https://git.example.com/shop/app}}{EVERYTHING}"));
    let (_, rendered) = world.agent(&(configs + &config("shop/redis", CHART)));
    let all = controllers(&rendered);
    assert_eq!(all.len(), 7);
    let name = |name: &str| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    let block = |cidr: &str| json!({"ipBlock": {"cidr": cidr}});
    let out = json!({"to": [
        {"ipBlock": {"cidr": "168.0.0.0/6", "except": ["169.254.0.0/16"]}},
        block("198.51.100.0/24"),
        block("2001:db8::/32"),
        name("git"),
    ]});
    for controller in all {
        let rules = egress_of(&rendered, controller);
        let reaches_out = !matches!(controller, "helm-controller" | "source-watcher");
        assert_eq!(rules.contains(&out), reaches_out, "{controller}");
        // No rule leads to all ports but this one, and none to every namespace or to every address.
        for rule in rules.iter().filter(|rule| **rule != out) {
            assert!(
                rule.get("ports").is_some_and(|ports| !ports.as_array().unwrap().is_empty()),
                "{controller}: {rule}"
            );
            let open = json!({"namespaceSelector": {}});
            let peers = rule["to"].as_array().unwrap();
            assert!(!peers.is_empty() && (!reaches_out || !peers.contains(&open)), "{controller}: {rule}");
            assert!(!rule.to_string().contains("/0\""), "{controller}: {rule}");
        }
        let dns = rules.iter().find(|rule| rule["ports"][0]["port"] == 53).unwrap();
        let answering = if reaches_out { name("kube-system") } else { json!({"namespaceSelector": {}}) };
        assert_eq!(dns["to"], json!([answering, block("169.254.0.0/16"), block("fe80::/10")]), "{controller}");
    }
}

#[test]
fn a_proxy_is_told_to_controllers_that_reach_out_and_to_no_other() {
    let proxy = "egress: {cidrs: [192.0.2.7/32], proxy: {url: \"http://proxy.example.com:3128\", noProxy: [git.example.com, 192.0.2.0/24]}}";
    let world = World::new().policy(&format!("  tenants: {{names: [shop]}}\n  agent: {{{proxy}}}"));
    let configs = config("shop/app", &format!("  source: {{url: https://git.example.com/shop/app}}{EVERYTHING}"));
    let (_, rendered) = world.agent(&(configs + &config("shop/redis", CHART)));
    let mut told = 0;
    for controller in controllers(&rendered) {
        let container = container(&rendered, controller);
        let env = |name: &str| {
            let mut all = container["env"].as_array().unwrap().iter();
            all.find(|env| env["name"] == name).map(|env| env["value"].as_str().unwrap().to_owned())
        };
        if matches!(controller, "helm-controller" | "kustomize-controller") {
            assert_eq!(env("HTTPS_PROXY").or(env("HTTP_PROXY")).or(env("NO_PROXY")), None, "{controller}");
            continue;
        }
        told += 1;
        for name in ["HTTPS_PROXY", "HTTP_PROXY"] {
            assert_eq!(env(name).as_deref(), Some("http://proxy.example.com:3128"), "{controller}");
        }
        // Every API server by its address, and what is called in the cluster by its name.
        let without = ".cluster.local,.cluster.local.,.svc,.svc.,10.96.0.1,192.0.2.10,192.0.2.0/24,git.example.com";
        assert_eq!(env("NO_PROXY").as_deref(), Some(without), "{controller}");
    }
    assert_eq!(told, 4);
    let quiet = World::new().agent(&smallest("shop/app")).1;
    assert!(!container(&quiet, "source-controller").to_string().contains("PROXY"));
}

#[test]
fn tenants_of_a_pool_get_what_all_of_their_policies_allow() {
    let world = |b: &str| {
        let world = World::new().policy(
            "  tenants: {names: [pool-a]}\n  agent: {egress: {cidrs: [10.0.0.0/8, 192.0.2.0/24], namespaces: [git]}}",
        );
        if b.is_empty() {
            world
        } else {
            world.policy(&format!("  tenants: {{names: [pool-b]}}\n  agent: {{egress: {b}}}"))
        }
    };
    let both = smallest("pool-b/app") + &smallest("pool-a/app");
    let out = |b: &str| egress_of(&world(b).agent(&both).1, "source-controller").last().unwrap().to_string();
    // One of them has no limit of its own.
    let all = out("");
    assert!(all.contains("10.0.0.0/8") && all.contains("192.0.2.0/24") && all.contains("git"), "{all}");
    let some = out("{cidrs: [10.1.0.0/16]}");
    assert!(some.contains("10.1.0.0/16") && !some.contains("192.0.2") && !some.contains("git"), "{some}");
    assert_eq!(
        world("{cidrs: [203.0.113.0/24]}").refuses(&both),
        "FluxPolicy/extra-3 spec.agent.egress and FluxPolicy/extra-4 spec.agent.egress are for tenants of one pool, whose \
         controllers are under both: they have no block and no namespace in common"
    );
}

#[test]
fn a_quota_is_in_each_target_namespace_as_the_api_server_stores_it() {
    let quota = "  tenants: {names: [shop]}\n  quota: {pods: \"50\", requests.memory: 8192Mi}";
    let world = World::new().policy(quota);
    let more = config("shop/more", "  source: {url: https://git.example.com/shop/app}\n  namespace: shop-extra");
    let (_, rendered) = world.agent(&(smallest("shop/app") + &more));
    let quotas: Vec<_> = rendered.objects.iter().filter(|object| object.key.kind == Kind::ResourceQuota).collect();
    let namespaces: Vec<&str> = quotas.iter().map(|object| object.key.namespace.as_str()).collect();
    assert_eq!(namespaces, ["shop", "shop-extra"]);
    for object in quotas {
        assert_eq!(object.manifest["spec"], json!({"hard": {"pods": "50", "requests.memory": "8Gi"}}));
        assert_eq!(object.owner, Owner::Tenant("shop".to_owned()));
    }
    let (_, other) = world.agent(&smallest("pool-a/app"));
    assert!(other.objects.iter().all(|object| object.key.kind != Kind::ResourceQuota));
}

#[test]
fn a_quota_that_is_none_is_named() {
    let world = World::new().policy("  tenants: {names: [shop]}\n  quota: {pods: many}");
    assert_eq!(
        world.refuses(&smallest("shop/app")),
        "FluxPolicy/extra-3 spec.quota.pods is \"many\": this is no quantity, such as 100m, 0.5 or 512Mi"
    );
}

#[test]
fn a_default_key_may_be_absent_and_credentials_may_not() {
    let world = World::new().policy(
        "  tenants: {names: [shop]}\n  defaults: {decryption: {provider: sops, secretRef: {name: \"sops-${tenant}\"}}}",
    );
    let (_, rendered) = world.agent(&smallest("shop/app"));
    let absence = |name: &str| {
        let of = |from: &CopySource| matches!(from, CopySource::Platform { name: found } if found == name);
        rendered.copies.iter().find(|copy| of(&copy.from)).map(|copy| copy.absence)
    };
    assert_eq!(absence("sops-shop"), Some(Absence::Empty));
    assert_eq!(absence("git-reader"), Some(Absence::Wrong));
}
