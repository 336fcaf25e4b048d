//! Several tenants, and a Flux of the platform's own, on one cluster.

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::programs::FLUX;
use sluicegate_e2e::suite::flux;
use sluicegate_e2e::suite::operator::{self, NAMESPACE};

use crate::escape::PLATFORM_FLUX;
use crate::support::{
    API, GIT_REPOSITORY, KUSTOMIZATION, POOL, Platform, SOON, START, Tenant, config_map, has, message, on_node,
    on_own_plane, on_plane, seconds, secret, workload,
};

#[test]
fn two_tenants_in_one_pool_have_flux_configs_of_the_same_name() {
    on_node("same-name", async |platform| {
        let _alone = POOL.lock().await;
        let (one, other) = (platform.tenant("one").await?, platform.tenant("other").await?);
        platform.policy("teams", &[&one, &other], json!({"agent": {"placement": "Pooled"}})).await?;
        for tenant in [&one, &other] {
            let repository = tenant.repository("shop", &[("app.yaml", &workload("web", &tenant.name))])?;
            tenant.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        }
        for tenant in [&one, &other] {
            tenant.reaches("shop", "Ready", "True", START).await?;
            tenant.runs(&tenant.target(), "web", &tenant.name, SOON).await?;
        }
        one.remove("shop", START).await?;
        seconds(3).await;
        other.runs(&other.target(), "web", &other.name, 1).await?;
        other.reaches("shop", "Ready", "True", SOON).await.map(|_| ())
    });
}

/// A policy with which two tenants may both deploy to one namespace.
async fn shared(platform: &Platform, tenants: &[&Tenant]) -> Result<String> {
    let namespace = format!("{}-shared", platform.space.prefix());
    let destinations = json!([{"clusters": ["local"], "namespaces": [namespace], "createNamespace": true}]);
    platform
        .policy("teams", tenants, json!({"destinations": destinations, "defaults": {"namespace": namespace}}))
        .await?;
    Ok(namespace)
}

fn config() -> Value {
    json!({"source": {"url": ""}})
}

async fn declare(tenant: &Tenant) -> Result<()> {
    let mut spec = config();
    spec["source"]["url"] = json!(format!("https://git.sluicegate.test/{}/shop", tenant.name));
    tenant.config("shop", spec).await.map(|_| ())
}

#[test]
fn of_two_tenants_with_one_target_the_first_keeps_it() {
    on_plane("one-target", async |platform| {
        let (first, second) = (platform.tenant("first").await?, platform.tenant("second").await?);
        let namespace = shared(&platform, &[&first, &second]).await?;
        declare(&first).await?;
        first.reaches("shop", "Admitted", "True", SOON).await?;
        // Time has seconds only.
        seconds(2).await;
        declare(&second).await?;
        second.refused("shop", "target-claimed").await?;
        let kept = first.look("shop").await?;
        assert!(has(&kept, "Admitted", "True"), "{}", kept["status"]);
        let labels = platform.space.get("v1", "Namespace", "", &namespace).await?.unwrap_or_default();
        assert_eq!(labels["metadata"]["labels"]["sluicegate.dev/tenant"], first.name.as_str());
        // When the first goes, the second has it, without being touched.
        first.remove("shop", START).await?;
        second.reaches("shop", "Admitted", "True", SOON).await.map(|_| ())
    });
}

#[test]
fn a_namespace_of_another_tenant_is_not_taken() {
    on_plane("taken", async |platform| {
        let tenant = platform.tenant("team").await?;
        let namespace = shared(&platform, &[&tenant]).await?;
        let labels = json!({"sluicegate.dev/tenant": "somebody-else"});
        let owned = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
        platform.space.apply(owned).await?;
        declare(&tenant).await?;
        let config = tenant.refused("shop", "target-claimed").await?;
        assert!(message(&config, "Ready").contains("somebody-else"), "{}", config["status"]);
        seconds(2).await;
        let found = platform.space.get("v1", "Namespace", "", &namespace).await?.unwrap_or_default();
        assert_eq!(found["metadata"]["labels"]["sluicegate.dev/tenant"], "somebody-else");
        let kind = ("rbac.authorization.k8s.io/v1", "RoleBinding");
        let bindings = platform.labelled(kind, "app.kubernetes.io/managed-by", "sluicegate").await?;
        assert!(bindings.iter().all(|binding| binding["metadata"]["namespace"] != namespace.as_str()));
        platform.space.delete("v1", "Namespace", "", &namespace).await
    });
}

#[test]
fn a_namespace_that_somebody_made_is_taken_with_an_administrator_s_label_only_and_survives() {
    on_plane("made-before", async |platform| {
        let tenant = platform.tenant("team").await?;
        let namespace = shared(&platform, &[&tenant]).await?;
        // Whoever makes it may be admin in it, and would read what the team deploys.
        let found = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"own": "label"}}});
        platform.space.apply(found).await?;
        let binding = json!({
            "apiVersion": ROLE_BINDING.0, "kind": ROLE_BINDING.1, "metadata": {"name": "mine", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "squatter"}],
        });
        platform.space.apply(binding).await?;
        declare(&tenant).await?;
        let label = format!("kubectl label namespace {namespace} sluicegate.dev/tenant={}", tenant.name);
        tenant.fails("shop", SOON, &["Sluicegate did not make it", &label]).await?;
        seconds(3).await;
        let look = || async { Ok(platform.space.get("v1", "Namespace", "", &namespace).await?.unwrap_or_default()) };
        let left: Value = look().await?;
        assert!(left["metadata"]["labels"]["sluicegate.dev/tenant"].is_null(), "{}", left["metadata"]["labels"]);
        assert!(bound(&platform, &namespace).await?.is_empty(), "nothing is deployed there");
        let owned = json!({"metadata": {"labels": {"sluicegate.dev/tenant": tenant.name}}});
        platform.edit(("v1", "Namespace"), "", &namespace, owned).await?;
        let taken = || async { Ok((!bound(&platform, &namespace).await?.is_empty()).then_some(())) };
        platform.space.wait("the reconciler's binding", SOON, taken).await?;
        tenant.remove("shop", START).await?;
        let given_back = || async {
            let left: Value = look().await?;
            assert!(left["metadata"]["deletionTimestamp"].is_null(), "{}", left["metadata"]);
            Ok(left["metadata"]["labels"]["app.kubernetes.io/managed-by"].is_null().then_some(left))
        };
        let left = platform.space.wait("the namespace as it was", SOON, given_back).await?;
        let labels = &left["metadata"]["labels"];
        assert_eq!((&labels["own"], &labels["sluicegate.dev/tenant"]), (&json!("label"), &json!(tenant.name)));
        platform.space.delete("v1", "Namespace", "", &namespace).await
    });
}

#[test]
fn a_home_that_is_deployed_to_is_labelled_and_survives() {
    on_plane("home", async |platform| {
        let tenant = platform.tenant("team").await?;
        // Nothing has to be created, and no administrator has to label it.
        let destinations = json!([{"clusters": ["local"], "namespaces": [tenant.name]}]);
        let defaults = json!({"namespace": tenant.name});
        platform.policy("teams", &[&tenant], json!({"destinations": destinations, "defaults": defaults})).await?;
        declare(&tenant).await?;
        let home = || async { platform.space.get("v1", "Namespace", "", &tenant.name).await };
        let labelled = || async {
            let found = home().await?.unwrap_or_default();
            Ok((found["metadata"]["labels"]["sluicegate.dev/tenant"] == tenant.name.as_str()).then_some(()))
        };
        platform.space.wait("the tenant's label, by which guards know it", SOON, labelled).await?;
        tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        tenant.remove("shop", START).await?;
        let given_back = || async {
            let left = home().await?.expect("it was there before us");
            assert!(left["metadata"]["deletionTimestamp"].is_null(), "{}", left["metadata"]);
            let labels = &left["metadata"]["labels"];
            let ours = ["app.kubernetes.io/managed-by", "sluicegate.dev/agent", "sluicegate.dev/tenant"];
            Ok(ours.iter().all(|label| labels[*label].is_null()).then_some(()))
        };
        platform.space.wait("the home as it was", SOON, given_back).await
    });
}

const ROLE_BINDING: (&str, &str) = ("rbac.authorization.k8s.io/v1", "RoleBinding");

/// The names of Sluicegate's RoleBindings in a namespace.
async fn bound(platform: &Platform, namespace: &str) -> Result<Vec<String>> {
    let mut found = platform.labelled(ROLE_BINDING, "app.kubernetes.io/managed-by", "sluicegate").await?;
    found.retain(|binding| binding["metadata"]["namespace"] == namespace);
    Ok(found.iter().map(|binding| binding["metadata"]["name"].to_string()).collect())
}

/// What marks the victim's home.
#[derive(Clone, Copy, Debug)]
enum Marked {
    /// Only that its FluxConfigs live there.
    No,
    ByTenantLabel,
    ByHomeLabel,
}

/// A tenant `…-pay`, and a tenant whose destinations match that one's home.
async fn neighbours(platform: &Platform, case: &str, on_violation: &str, marked: Marked) -> Result<(Tenant, Tenant)> {
    let (attacker, victim) = (platform.tenant(case).await?, platform.tenant(&format!("{case}-pay")).await?);
    assert!(victim.name.starts_with(&format!("{}-", attacker.name)), "{} is not matched", victim.name);
    let destinations =
        json!([{"clusters": ["local"], "namespaces": ["${tenant}", "${tenant}-*"], "createNamespace": true}]);
    let over = json!({"onViolation": on_violation, "destinations": destinations});
    platform.policy(case, &[&attacker, &victim], over).await?;
    let label = match marked {
        Marked::No => return Ok((attacker, victim)),
        Marked::ByTenantLabel => "sluicegate.dev/tenant",
        Marked::ByHomeLabel => "sluicegate.dev/home",
    };
    let labels = json!({"metadata": {"labels": {label: victim.name}}});
    platform.edit(("v1", "Namespace"), "", &victim.name, labels).await?;
    Ok((attacker, victim))
}

fn to(tenant: &Tenant, namespace: &str) -> Value {
    json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}, "namespace": namespace})
}

/// The attacker has nothing in the victim's home, and the victim's FluxConfig is as it was.
async fn nothing_is_taken(platform: &Platform, attacker: &Tenant, victim: &Tenant, config: &str) -> Result<()> {
    let refused = attacker.look("attack").await?;
    assert!(has(&refused, "Admitted", "False"), "{}", refused["status"]);
    let found = platform.labelled(ROLE_BINDING, "sluicegate.dev/tenant", &attacker.name).await?;
    let there: Vec<&Value> = found.iter().filter(|one| one["metadata"]["namespace"] == victim.name.as_str()).collect();
    assert!(there.is_empty(), "{there:?}");
    let home = platform.space.get("v1", "Namespace", "", &victim.name).await?.unwrap_or_default();
    assert_ne!(home["metadata"]["labels"]["sluicegate.dev/tenant"], attacker.name.as_str());
    let kept = victim.look(config).await?;
    assert!(has(&kept, "Admitted", "True"), "{}", kept["status"]);
    let delivery = victim.delivery(KUSTOMIZATION, config, 1).await?;
    let metadata = &delivery["metadata"];
    assert!(metadata["deletionTimestamp"].is_null() && delivery["spec"]["suspend"] != true, "{delivery}");
    Ok(())
}

#[test]
fn a_home_is_not_taken_over_however_it_is_marked_and_whatever_policy_says_of_violations() {
    on_plane("takeover", async |platform| {
        for (number, (marked, on_violation)) in [Marked::No, Marked::ByTenantLabel, Marked::ByHomeLabel]
            .into_iter()
            .flat_map(|marked| ["Suspend", "Remove"].map(|on_violation| (marked, on_violation)))
            .enumerate()
        {
            println!("{marked:?}, {on_violation}");
            let (attacker, victim) = neighbours(&platform, &format!("n{number}"), on_violation, marked).await?;
            victim.config("shop", to(&victim, &victim.target())).await?;
            let before = victim.delivery(KUSTOMIZATION, "shop", SOON).await?;
            attacker.config("attack", to(&attacker, &victim.name)).await?;
            attacker.refused("attack", "namespace-is-a-home").await?;
            seconds(4).await;
            nothing_is_taken(&platform, &attacker, &victim, "shop").await?;
            let after = victim.delivery(KUSTOMIZATION, "shop", 1).await?;
            assert_eq!(before["metadata"]["uid"], after["metadata"]["uid"]);
        }
        Ok(())
    });
}

#[test]
fn an_older_claim_on_a_home_does_not_keep_its_owner_out() {
    on_plane("older", async |platform| {
        for (number, marked) in [Marked::No, Marked::ByTenantLabel, Marked::ByHomeLabel].into_iter().enumerate() {
            println!("{marked:?}");
            let (attacker, victim) = neighbours(&platform, &format!("n{number}"), "Remove", marked).await?;
            attacker.config("attack", to(&attacker, &victim.name)).await?;
            attacker.until("a verdict", "attack", SOON, |config| has(config, "Ready", "False")).await?;
            // Time has seconds only.
            seconds(2).await;
            victim.config("own", to(&victim, &victim.name)).await?;
            victim.delivery(KUSTOMIZATION, "own", SOON).await?;
            attacker.refused("attack", "namespace-is-a-home").await?;
            nothing_is_taken(&platform, &attacker, &victim, "own").await?;
        }
        Ok(())
    });
}

#[test]
fn nobody_moves_into_a_target_and_it_is_given_back_when_it_is_one_no_more() {
    on_plane("moves-in", async |platform| {
        let (deployer, late) = neighbours(&platform, "n", "Remove", Marked::No).await?;
        let target = format!("{}-target", late.name);
        deployer.config("shop", to(&deployer, &target)).await?;
        deployer.delivery(KUSTOMIZATION, "shop", SOON).await?;
        // By the namespace's name it would be a tenant that a policy selects.
        let lodger = Tenant { platform: platform.clone(), name: target.clone() };
        platform.policy("lodger", &[&lodger], json!({})).await?;
        lodger.config("in", to(&lodger, &lodger.target())).await?;
        lodger.refused("in", "home-is-a-target").await?;
        let kept = deployer.look("shop").await?;
        assert!(has(&kept, "Admitted", "True"), "{}", kept["status"]);
        deployer.remove("shop", START).await?;
        let given_back = || async {
            let left = platform.space.get("v1", "Namespace", "", &target).await?.expect("FluxConfigs live in it");
            assert!(left["metadata"]["deletionTimestamp"].is_null(), "{}", left["metadata"]);
            let ours = ["app.kubernetes.io/managed-by", "sluicegate.dev/agent", "sluicegate.dev/tenant"];
            Ok(ours.iter().all(|label| left["metadata"]["labels"][*label].is_null()).then_some(()))
        };
        platform.space.wait("a namespace without Sluicegate's labels", SOON, given_back).await?;
        // Then it is the home of those who live in it.
        lodger.reaches("in", "Admitted", "True", SOON).await?;
        lodger.remove("in", START).await?;
        platform.space.delete("v1", "Namespace", "", &target).await
    });
}

#[test]
fn a_target_that_an_administrator_makes_a_home_is_given_back_and_serves_its_tenant() {
    on_plane("becomes-home", async |platform| {
        let (deployer, owner) = neighbours(&platform, "n", "Remove", Marked::No).await?;
        let target = format!("{}-target", deployer.name);
        deployer.config("shop", to(&deployer, &target)).await?;
        deployer.delivery(KUSTOMIZATION, "shop", SOON).await?;
        let home = json!({"metadata": {"labels": {"sluicegate.dev/home": owner.name}}});
        platform.edit(("v1", "Namespace"), "", &target, home).await?;
        deployer.refused("shop", "namespace-is-a-home").await?;
        // Whose FluxConfigs are in it is said by the label, and their target is the home itself.
        let destinations = json!([{"clusters": ["local"], "namespaces": [target]}]);
        platform.policy("becomes-home", &[&owner], json!({"destinations": destinations})).await?;
        let there = Tenant { platform: platform.clone(), name: target.clone() };
        there.config("own", to(&owner, &target)).await?;
        there.reaches("own", "Admitted", "True", SOON).await?;
        let taken = || async {
            let found = platform.space.get("v1", "Namespace", "", &target).await?.expect("it is somebody's home");
            let ours = found["metadata"]["labels"]["sluicegate.dev/tenant"] == owner.name.as_str();
            let left = bound(&platform, &target).await?;
            Ok((ours && left.len() == 1 && found["metadata"]["deletionTimestamp"].is_null()).then_some(()))
        };
        platform.space.wait("the home as its tenant's target, and nothing of the other", START, taken).await?;
        there.remove("own", START).await?;
        deployer.remove("shop", START).await?;
        let left = platform.space.get("v1", "Namespace", "", &target).await?.unwrap_or_default();
        assert!(left["metadata"]["deletionTimestamp"].is_null(), "{}", left["metadata"]);
        assert_eq!(left["metadata"]["labels"]["sluicegate.dev/home"], owner.name.as_str());
        platform.space.delete("v1", "Namespace", "", &target).await
    });
}

#[test]
fn a_kubeconfig_that_leads_to_the_management_cluster_reaches_no_home() {
    on_own_plane("alias", async |platform| {
        platform.operator.start()?;
        platform.operator_works().await?;
        let (attacker, victim) = neighbours(&platform, "n", "Remove", Marked::No).await?;
        victim.config("shop", to(&victim, &victim.target())).await?;
        victim.delivery(KUSTOMIZATION, "shop", SOON).await?;
        let credential = json!({"value": operator::kubeconfig(&platform.cluster)?});
        platform.space.apply(secret(NAMESPACE, "alias", credential)).await?;
        let cluster = json!({"connection": {"kubeconfig": {"secretRef": {"name": "alias"}}}, "flux": {"version": "2.9.3"}, "guard": "Off"});
        let metadata = json!({"name": "alias"});
        platform
            .space
            .apply(json!({"apiVersion": API, "kind": "FluxCluster", "metadata": metadata, "spec": cluster}))
            .await?;
        // It is not worked on under two names: what one of them plans the other would take away.
        platform.space.condition((API, "FluxCluster", "", "alias"), "Reachable", "False", SOON).await?;
        let destinations = json!([{"clusters": ["alias"], "namespaces": ["${tenant}-*"], "createNamespace": true}]);
        platform.policy("alias", &[&attacker], json!({"destinations": destinations})).await?;
        let mut attack = to(&attacker, &victim.name);
        attack["cluster"] = json!("alias");
        attacker.config("attack", attack).await?;
        attacker.refused("attack", "namespace-is-a-home").await?;
        seconds(3).await;
        nothing_is_taken(&platform, &attacker, &victim, "shop").await
    });
}

#[test]
fn a_namespace_that_an_administrator_gives_to_another_tenant_is_left_alone() {
    on_plane("given", async |platform| {
        let tenant = platform.tenant("team").await?;
        let namespace = shared(&platform, &[&tenant]).await?;
        declare(&tenant).await?;
        tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        let give = |tenant: &str| json!({"metadata": {"labels": {"sluicegate.dev/tenant": tenant}}});
        platform.edit(("v1", "Namespace"), "", &namespace, give("somebody-else")).await?;
        let names =
            |config: &Value| has(config, "Ready", "False") && message(config, "Ready").contains("somebody-else");
        tenant.until("a word about the new owner", "shop", SOON, names).await?;
        let found = platform.space.get("v1", "Namespace", "", &namespace).await?.unwrap_or_default();
        assert_eq!(found["metadata"]["labels"]["sluicegate.dev/tenant"], "somebody-else");
        platform.edit(("v1", "Namespace"), "", &namespace, give(&tenant.name)).await?;
        let heals = |config: &Value| !message(config, "Ready").contains("somebody-else");
        tenant.until("a status without complaint", "shop", SOON, heals).await.map(|_| ())
    });
}

/// Flux for the whole cluster with the rights of an administrator, as platforms run it for themselves.
async fn platform_flux(platform: &Platform) -> Result<String> {
    let space = &platform.space;
    let namespace = space.namespace("flux").await?;
    flux::install(space, &namespace, &FLUX[..2]).await?;
    space
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "flux", "namespace": namespace}],
        }))
        .await?;
    for controller in &FLUX[..2] {
        let found = space.get("apps/v1", "Deployment", &namespace, controller.name).await?.unwrap_or_default();
        let mut containers = found["spec"]["template"]["spec"]["containers"].clone();
        let arguments = containers[0]["args"].as_array_mut().expect("arguments");
        arguments.retain(|argument| argument != "--watch-all-namespaces=false");
        arguments.push(json!("--watch-all-namespaces=true"));
        arguments.push(json!("--watch-label-selector=!sluicegate.dev/agent"));
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        platform.edit(("apps/v1", "Deployment"), &namespace, controller.name, patch).await?;
    }
    Ok(namespace)
}

#[test]
fn a_flux_for_the_whole_platform_and_agents_leave_each_other_alone() {
    on_node("platform-flux", async |platform| {
        let (_alone, _pool) = (PLATFORM_FLUX.write().await, POOL.lock().await);
        let own = platform_flux(&platform).await?;
        let space = &platform.space;
        let mut agents = Vec::new();
        for (name, placement) in [("own", "Namespace"), ("isolated", "Isolated"), ("pooled", "Pooled")] {
            let tenant = platform.tenant(name).await?;
            platform.policy(name, &[&tenant], json!({"agent": {"placement": placement}})).await?;
            let repository = tenant.repository("shop", &[("app.yaml", &config_map("app", "one"))])?;
            tenant.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
            agents.push((tenant, repository));
        }
        // The platform's own delivery, from the first team's repository for want of another.
        let (tenant, repository) = &agents[0];
        let authority = platform.cluster.authority()?.certificate;
        let credential = json!({"username": tenant.name, "password": "right", "ca.crt": authority});
        space.apply(crate::support::secret(&own, "git", credential)).await?;
        let spec = json!({"url": repository.https_url(), "interval": "5s", "ref": {"branch": "main"}, "secretRef": {"name": "git"}});
        space.apply(json!({"apiVersion": GIT_REPOSITORY.0, "kind": GIT_REPOSITORY.1, "metadata": {"name": "shop", "namespace": own}, "spec": spec})).await?;
        let spec = json!({"interval": "5s", "path": "./", "prune": true, "targetNamespace": own, "sourceRef": {"kind": "GitRepository", "name": "shop"}});
        space.apply(json!({"apiVersion": KUSTOMIZATION.0, "kind": KUSTOMIZATION.1, "metadata": {"name": "shop", "namespace": own}, "spec": spec})).await?;
        space.condition((KUSTOMIZATION.0, KUSTOMIZATION.1, &own, "shop"), "Ready", "True", START).await?;
        for (tenant, _) in &agents {
            tenant.reaches("shop", "Ready", "True", START).await?;
        }
        // Several intervals of everybody, with a change in the middle: each source is served by its own controller only.
        for round in 0..8 {
            if round == 3 {
                for (_, repository) in &agents {
                    repository.commit("main", "second", &[("app.yaml", Some(&config_map("app", "two")))])?;
                }
            }
            let served = async |namespace: &str, name: &str| -> Result<String> {
                let found = space.get(GIT_REPOSITORY.0, GIT_REPOSITORY.1, namespace, name).await?.unwrap_or_default();
                Ok(found["status"]["artifact"]["url"].as_str().unwrap_or_default().to_owned())
            };
            let url = served(&own, "shop").await?;
            assert!(
                url.contains(&format!("source-controller.{own}.svc")),
                "an agent took the platform's source: {url}"
            );
            for (tenant, _) in &agents {
                let source = tenant.delivery(GIT_REPOSITORY, "shop", SOON).await?;
                let namespace = source["metadata"]["namespace"].as_str().unwrap_or_default();
                let url = source["status"]["artifact"]["url"].as_str().unwrap_or_default();
                assert!(url.contains(&format!(".{namespace}.svc")), "the platform took a tenant's source: {url}");
            }
            seconds(2).await;
        }
        for (tenant, _) in &agents {
            let two = || async {
                let found = space.get("v1", "ConfigMap", &tenant.target(), "app").await?.unwrap_or_default();
                Ok((found["data"]["text"] == "two").then_some(()))
            };
            space.wait("the second commit", SOON, two).await?;
        }
        space.delete("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", &own).await
    });
}
