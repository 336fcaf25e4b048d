//! Several tenants, and a Flux of the platform's own, on one cluster.

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::programs::FLUX;
use sluicegate_e2e::suite::flux;

use crate::escape::PLATFORM_FLUX;
use crate::support::{
    GIT_REPOSITORY, KUSTOMIZATION, POOL, Platform, SOON, START, Tenant, config_map, has, message, on_node, on_plane,
    seconds, workload,
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
        let config = tenant.until("a refusal that names the owner", "shop", SOON, |config| {
            has(config, "Ready", "False") && config["status"].to_string().contains("somebody-else")
        });
        println!("taken: {}", message(&config.await?, "Ready"));
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
fn a_namespace_without_an_owner_is_adopted_and_survives() {
    on_plane("adopted", async |platform| {
        let tenant = platform.tenant("team").await?;
        let namespace = shared(&platform, &[&tenant]).await?;
        let found = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {"own": "label"}}});
        platform.space.apply(found).await?;
        declare(&tenant).await?;
        let label = || async {
            let found = platform.space.get("v1", "Namespace", "", &namespace).await?.unwrap_or_default();
            Ok((found["metadata"]["labels"]["sluicegate.dev/tenant"] == tenant.name.as_str()).then_some(found))
        };
        let adopted = platform.space.wait("the tenant's label", SOON, label).await?;
        assert_eq!(adopted["metadata"]["labels"]["own"], "label");
        tenant.remove("shop", START).await?;
        let left = platform.space.get("v1", "Namespace", "", &namespace).await?.expect("it was there before us");
        assert!(left["metadata"]["deletionTimestamp"].is_null(), "{}", left["metadata"]);
        platform.space.delete("v1", "Namespace", "", &namespace).await
    });
}

#[test]
fn a_home_that_is_deployed_to_is_labelled_and_survives() {
    on_plane("home", async |platform| {
        let tenant = platform.tenant("team").await?;
        let destinations = json!([{"clusters": ["local"], "namespaces": [tenant.name], "createNamespace": true}]);
        let defaults = json!({"namespace": tenant.name});
        platform.policy("teams", &[&tenant], json!({"destinations": destinations, "defaults": defaults})).await?;
        declare(&tenant).await?;
        let home = || async { platform.space.get("v1", "Namespace", "", &tenant.name).await };
        let labelled = || async {
            let found = home().await?.unwrap_or_default();
            Ok((found["metadata"]["labels"]["sluicegate.dev/tenant"] == tenant.name.as_str()).then_some(()))
        };
        platform.space.wait("the tenant's label, by which guards know it", SOON, labelled).await?;
        tenant.remove("shop", START).await?;
        let given_back = || async {
            let left = home().await?.expect("it was there before us");
            assert!(left["metadata"]["deletionTimestamp"].is_null(), "{}", left["metadata"]);
            Ok(left["metadata"]["labels"]["app.kubernetes.io/managed-by"].is_null().then_some(()))
        };
        platform.space.wait("the home as it was", SOON, given_back).await
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
