//! How a FluxConfig lives and dies as far as a control plane alone can show: nothing moves here that the test does not
//! move. What Flux makes of it is in `sync`.

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::operator::{CLUSTER, NAMESPACE};
use sluicegate_e2e::suite::snapshot::Snapshot;

use crate::support::{
    API, CONFIG, GIT_REPOSITORY, KUSTOMIZATION, Platform, SOON, START, Tenant, has, message, on_own_plane, on_plane,
    seconds,
};

/// A tenant with one admitted FluxConfig `shop`, and the name of its policy.
async fn team(platform: &Platform, suffix: &str, over: Value) -> Result<(Tenant, String)> {
    let tenant = platform.tenant(suffix).await?;
    let policy = platform.policy(suffix, &[&tenant], over).await?;
    tenant.config("shop", shop(&tenant)).await?;
    tenant.reaches("shop", "Admitted", "True", SOON).await?;
    tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
    Ok((tenant, policy))
}

fn shop(tenant: &Tenant) -> Value {
    json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}})
}

fn resolved(config: &Value, field: &str) -> (String, String) {
    let all = config["status"]["resolved"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|one| one["field"] == field).cloned().unwrap_or_default();
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (text("value"), text("origin"))
}

/// Changes a policy's spec by a merge patch.
async fn change(platform: &Platform, policy: &str, spec: Value) -> Result<()> {
    platform.edit((API, "FluxPolicy"), "", policy, json!({"spec": spec})).await.map(|_| ())
}

/// Waits until the object that delivers `shop` is as a check says.
async fn delivered(tenant: &Tenant, kind: (&str, &str), what: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
    let look = || async {
        let found = tenant.delivery(kind, "shop", 1).await?;
        if check(&found) {
            return Ok(Some(found));
        }
        Err(sluicegate_e2e::Error::Service { what: kind.1.into(), why: found["spec"].to_string() })
    };
    tenant.platform.space.wait(what, SOON, look).await
}

#[test]
fn blanks_of_placement_are_filled_in_and_others_follow_the_policy() {
    on_plane("blanks", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({})).await?;
        let config = tenant.look("shop").await?;
        let spec = &config["spec"];
        assert_eq!(spec["source"]["ref"], json!({"branch": "main"}));
        assert_eq!(spec["path"], "./");
        assert_eq!(spec["cluster"], CLUSTER);
        assert_eq!(spec["namespace"], tenant.target().as_str());
        assert!(spec["interval"].is_null() && spec["prune"].is_null(), "operational fields follow the policy: {spec}");
        let (value, origin) = resolved(&config, "spec.interval");
        assert!(value == "5s" && origin.contains(&policy), "{value} from {origin}");
        // A later default moves nothing that runs.
        change(
            &platform,
            &policy,
            json!({"defaults": {"path": "./other", "namespace": "${tenant}-moved", "interval": "7s"}}),
        )
        .await?;
        delivered(&tenant, KUSTOMIZATION, "the new interval", |found| {
            found["spec"]["interval"] == "7s" && found["spec"]["path"] == "./"
        })
        .await?;
        assert_eq!(tenant.look("shop").await?["spec"]["namespace"], tenant.target().as_str());
        Ok(())
    });
}

#[test]
fn a_policy_change_touches_exactly_those_that_it_concerns() {
    on_plane("concerned", async |platform| {
        let (one, policy) = team(&platform, "one", json!({})).await?;
        let (other, _) = team(&platform, "other", json!({})).await?;
        seconds(3).await;
        let words = [other.name.as_str()];
        let versions = async || -> Result<Vec<(String, Value)>> {
            let all = Snapshot::take(&platform.space, &words).await?;
            let version = |value: &Value| value["metadata"]["resourceVersion"].clone();
            let ours = |kind: &str| !["Pod", "ReplicaSet", "Deployment"].contains(&kind);
            let kept = all.0.iter().filter(|(key, _)| ours(&key.kind));
            Ok(kept.map(|(key, value)| (key.to_string(), version(value))).collect())
        };
        let before = versions().await?;
        change(&platform, &policy, json!({"defaults": {"interval": "9s"}})).await?;
        let what = "the new interval in the status";
        one.until(what, "shop", SOON, |config| resolved(config, "spec.interval").0 == "9s").await?;
        seconds(3).await;
        let after = versions().await?;
        let touched: Vec<_> = after.iter().filter(|entry| !before.contains(entry)).collect();
        assert!(touched.is_empty(), "somebody else's objects were written: {touched:?}");
        Ok(())
    });
}

/// Lets a policy forbid what it allowed.
async fn forbid(platform: &Platform, policy: &str) -> Result<()> {
    change(platform, policy, json!({"sources": {"git": {"allow": ["https://git.sluicegate.test/nobody/*"]}}})).await
}

#[test]
fn on_violation_suspend_stops_the_sync_and_leaves_what_runs() {
    on_plane("suspend-it", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({"onViolation": "Suspend"})).await?;
        forbid(&platform, &policy).await?;
        tenant.refused("shop", "source-not-allowed").await?;
        delivered(&tenant, KUSTOMIZATION, "a suspended Kustomization", |found| found["spec"]["suspend"] == true)
            .await?;
        seconds(2).await;
        let refused = tenant.look("shop").await?;
        assert_eq!(resolved(&refused, "spec.interval").0, "5s", "what it was resolved to: {}", refused["status"]);
        change(
            &platform,
            &policy,
            json!({"sources": {"git": {"allow": ["https://git.sluicegate.test/${tenant}/**"]}}}),
        )
        .await?;
        tenant.reaches("shop", "Admitted", "True", SOON).await?;
        delivered(&tenant, KUSTOMIZATION, "a Kustomization that goes on", |found| found["spec"]["suspend"] != true)
            .await?;
        Ok(())
    });
}

#[test]
fn on_violation_keep_goes_on_as_it_was_last_admitted() {
    on_plane("keep-it", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({"onViolation": "Keep"})).await?;
        let before = tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        forbid(&platform, &policy).await?;
        tenant.until("a violation", "shop", SOON, |config| has(config, "Admitted", "False")).await?;
        seconds(3).await;
        let after = tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        assert_eq!(before["spec"], after["spec"]);
        assert!(after["metadata"]["deletionTimestamp"].is_null());
        // And it is still kept right.
        let (namespace, name) =
            (after["metadata"]["namespace"].as_str().unwrap(), after["metadata"]["name"].as_str().unwrap());
        platform.edit(KUSTOMIZATION, namespace, name, json!({"spec": {"targetNamespace": "evil"}})).await?;
        delivered(&tenant, KUSTOMIZATION, "the right target", |found| found["spec"] == before["spec"]).await?;
        Ok(())
    });
}

#[test]
fn on_violation_remove_takes_away_what_was_deployed() {
    on_plane("remove-it", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({"onViolation": "Remove"})).await?;
        forbid(&platform, &policy).await?;
        tenant.refused("shop", "source-not-allowed").await?;
        let gone = || async {
            let found = platform.labelled(KUSTOMIZATION, "sluicegate.dev/home", &tenant.name).await?;
            let agent = platform.space.get("v1", "Namespace", "", &tenant.agent()).await?;
            let going = agent.is_none_or(|agent| !agent["metadata"]["deletionTimestamp"].is_null());
            Ok((found.is_empty() && going).then_some(()))
        };
        platform.space.wait("an end of delivery and agent", SOON, gone).await
    });
}

#[test]
fn a_new_flux_config_that_is_refused_gets_nothing() {
    on_plane("refused", async |platform| {
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({})).await?;
        tenant.config("shop", json!({"source": {"url": "https://git.sluicegate.test/somebody/else"}})).await?;
        let config = tenant.refused("shop", "source-not-allowed").await?;
        let said = message(&config, "Ready");
        assert!(said.contains("no policy allows"), "{said}");
        let violation = &config["status"]["violations"][0];
        assert_eq!(violation["field"], "spec.source.url");
        seconds(2).await;
        assert!(platform.space.get("v1", "Namespace", "", &tenant.agent()).await?.is_none());
        assert!(platform.space.get("v1", "Namespace", "", &tenant.target()).await?.is_none());
        // Nobody selected by any policy is refused as well.
        let nobody = platform.tenant("nobody").await?;
        nobody.config("shop", shop(&nobody)).await?;
        nobody.refused("shop", "no-policy").await.map(|_| ())
    });
}

#[test]
fn an_invalid_policy_denies_all_that_it_selects_and_says_so() {
    on_plane("invalid", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({})).await?;
        let (other, _) = team(&platform, "other", json!({})).await?;
        change(&platform, &policy, json!({"sources": {"git": {"allow": ["https://git.sluicegate.test/part*/x"]}}}))
            .await?;
        tenant.refused("shop", "invalid-policy").await?;
        let found = platform.space.condition((API, "FluxPolicy", "", &policy), "Ready", "False", SOON).await?;
        println!("invalid: {}", message(&found, "Ready"));
        assert!(message(&found, "Ready").contains("spec.sources.git.allow[0]"), "{}", found["status"]);
        assert!(has(&other.look("shop").await?, "Admitted", "True"), "others are not concerned");
        Ok(())
    });
}

#[test]
fn policies_and_clusters_say_what_they_do() {
    on_plane("statuses", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({})).await?;
        tenant.config("wrong", json!({"source": {"url": "https://git.sluicegate.test/somebody/else"}})).await?;
        tenant.refused("wrong", "source-not-allowed").await?;
        let counted = || async {
            let found = platform.space.get(API, "FluxPolicy", "", &policy).await?.unwrap_or_default();
            let status = &found["status"];
            let right = status["tenants"] == 1 && status["admitted"] == 1 && status["refused"] == 1;
            if right && status["observedGeneration"] == found["metadata"]["generation"] && has(&found, "Ready", "True")
            {
                return Ok(Some(()));
            }
            Err(sluicegate_e2e::Error::Service { what: "its status".into(), why: status.to_string() })
        };
        platform.space.wait("the policy's numbers", SOON, counted).await?;
        let cluster = platform.space.condition((API, "FluxCluster", "", CLUSTER), "Ready", "True", SOON).await?;
        let status = &cluster["status"];
        assert!(has(&cluster, "Reachable", "True"), "{status}");
        assert!(status["kubernetesVersion"].as_str().is_some_and(|version| version.starts_with("v1.")), "{status}");
        let counted = || async {
            let found = platform.space.get(API, "FluxCluster", "", CLUSTER).await?.unwrap_or_default();
            let status = &found["status"];
            if status["agents"].as_i64() >= Some(1) && status["tenants"].as_i64() >= Some(1) {
                return Ok(Some(()));
            }
            Err(sluicegate_e2e::Error::Service { what: "its status".into(), why: status.to_string() })
        };
        platform.space.wait("the cluster's numbers", 90, counted).await?;
        Ok(())
    });
}

#[test]
fn conditions_have_the_shape_that_kubectl_wait_and_kstatus_read() {
    on_plane("conditions", async |platform| {
        let (tenant, _) = team(&platform, "team", json!({})).await?;
        let config = tenant.look("shop").await?;
        let conditions = config["status"]["conditions"].as_array().expect("conditions").clone();
        for wanted in ["Ready", "Admitted", "AgentReady", "Synced"] {
            assert!(conditions.iter().any(|one| one["type"] == wanted), "{wanted} in {conditions:?}");
        }
        for condition in &conditions {
            assert!(["True", "False", "Unknown"].contains(&condition["status"].as_str().unwrap_or_default()));
            let reason = condition["reason"].as_str().unwrap_or_default();
            assert!(reason.starts_with(char::is_uppercase) && reason.chars().all(char::is_alphanumeric), "{condition}");
            assert!(condition["lastTransitionTime"].as_str().is_some_and(|time| time.ends_with('Z')), "{condition}");
            assert_eq!(condition["observedGeneration"], config["metadata"]["generation"], "{condition}");
        }
        // Nothing runs here, so it is not ready, and says what it waits for.
        assert!(!has(&config, "Ready", "True"));
        assert!(!message(&config, "Ready").is_empty());
        // A change of the message alone is no transition.
        let time = |config: &Value| config["status"]["conditions"][0]["lastTransitionTime"].clone();
        tenant
            .config("shop", {
                let mut spec = shop(&tenant);
                spec["interval"] = json!("11s");
                spec
            })
            .await?;
        let later = tenant.reaches("shop", "Admitted", "True", SOON).await?;
        assert_eq!(time(&config), time(&later));
        Ok(())
    });
}

#[test]
fn copies_follow_the_original_and_go_with_the_last_user() {
    on_plane("copies", async |platform| {
        let (tenant, _) = team(&platform, "team", json!({})).await?;
        let oci = format!("oci://172.30.0.2:5000/{}/manifests", tenant.name);
        tenant.config("other", json!({"source": {"url": oci, "ref": {"tag": "v1"}}})).await?;
        tenant.delivery(KUSTOMIZATION, "other", SOON).await?;
        let source = tenant.delivery(GIT_REPOSITORY, "shop", SOON).await?;
        let name = source["spec"]["secretRef"]["name"].as_str().expect("a credential").to_owned();
        let holds = async |word: &str| {
            let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, word);
            let look = || async {
                let copy = platform.space.get("v1", "Secret", &tenant.agent(), &name).await?.unwrap_or_default();
                Ok((copy["data"]["password"] == encoded.as_str()).then_some(()))
            };
            platform.space.wait(&format!("the copy with {word}"), 10, look).await
        };
        holds("right").await?;
        tenant.credential("rotated").await?;
        holds("rotated").await?;
        tenant.remove("shop", START).await?;
        let gone =
            || async { Ok(platform.space.get("v1", "Secret", &tenant.agent(), &name).await?.is_none().then_some(())) };
        platform.space.wait("the end of the copy", SOON, gone).await?;
        let kept = platform.space.get("v1", "Secret", NAMESPACE, &format!("{}-git", tenant.name)).await?;
        assert!(kept.is_some(), "the original stays");
        tenant.delivery(KUSTOMIZATION, "other", 1).await.map(|_| ())
    });
}

#[test]
fn a_team_s_secret_does_not_say_which_server_is_the_right_one() {
    on_plane("authority", async |platform| {
        let space = &platform.space;
        for (suffix, placement) in [("apart", "Isolated"), ("beside", "Namespace")] {
            let tenant = platform.tenant(suffix).await?;
            platform.policy(suffix, &[&tenant], json!({"agent": {"placement": placement}})).await?;
            let (original, agent) = match placement {
                "Namespace" => (tenant.target(), tenant.target()),
                _ => (tenant.name.clone(), tenant.agent()),
            };
            let mut spec = shop(&tenant);
            spec["source"]["secretRef"] = json!({"name": "own"});
            tenant.config("shop", spec).await?;
            space.wait("the namespace", SOON, || async { space.get("v1", "Namespace", "", &original).await }).await?;
            let everything = ["ca.crt", "caFile", "known_hosts", "password", "tls.crt", "tls.key", "username"];
            let theirs: serde_json::Map<String, Value> =
                everything.iter().map(|key| ((*key).to_owned(), json!("theirs"))).collect();
            space.apply(crate::support::secret(&original, "own", json!(theirs))).await?;
            let source = tenant.delivery(GIT_REPOSITORY, "shop", START).await?;
            let name = source["spec"]["secretRef"]["name"].as_str().expect("a credential").to_owned();
            assert_ne!(name, "own", "{placement}: the source names the team's own Secret");
            let copy = || async {
                let copy = space.get("v1", "Secret", &agent, &name).await?.unwrap_or_default();
                Ok(copy["data"].as_object().cloned())
            };
            let copy = space.wait("the copy", START, copy).await?;
            assert_eq!(copy.keys().collect::<Vec<_>>(), ["ca.crt", "password", "username"], "{placement}");
            let platform_s = space.get("v1", "Secret", NAMESPACE, &format!("{}-git", tenant.name)).await?;
            let platform_s = platform_s.unwrap_or_default();
            assert_eq!(copy["ca.crt"], platform_s["data"]["ca.crt"], "{placement}: the authority is the platform's");
            assert_ne!(copy["password"], platform_s["data"]["password"], "{placement}: the password is the team's");
        }
        Ok(())
    });
}

#[test]
fn a_missing_credential_is_named_and_heals() {
    on_plane("missing", async |platform| {
        let tenant = platform.tenant("team").await?;
        let secret = format!("{}-absent", tenant.name);
        let credentials = json!([{"match": "https://git.sluicegate.test/**", "secretRef": {"name": secret}}]);
        platform.policy("teams", &[&tenant], json!({"credentials": credentials})).await?;
        tenant.config("shop", shop(&tenant)).await?;
        tenant
            .until("a status that names the Secret", "shop", SOON, |config| {
                has(config, "Ready", "False") && message(config, "Ready").contains(&secret)
            })
            .await?;
        platform
            .space
            .apply(crate::support::secret(NAMESPACE, &secret, json!({"username": "a", "password": "b"})))
            .await?;
        let healed = |config: &Value| !message(config, "Ready").contains(&secret);
        tenant.until("a status without complaint", "shop", SOON, healed).await.map(|_| ())
    });
}

#[test]
fn suspend_dependencies_and_requests_are_passed_on() {
    on_plane("passed-on", async |platform| {
        let (tenant, _) = team(&platform, "team", json!({})).await?;
        let mut second = shop(&tenant);
        second["dependsOn"] = json!([{"name": "shop"}]);
        tenant.config("second", second).await?;
        let first = tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        let second = tenant.delivery(KUSTOMIZATION, "second", SOON).await?;
        assert_eq!(second["spec"]["dependsOn"][0]["name"], first["metadata"]["name"]);
        let requested =
            json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": "2026-01-01T00:00:00Z"}}});
        platform.edit(CONFIG, &tenant.name, "shop", requested).await?;
        for kind in [KUSTOMIZATION, GIT_REPOSITORY] {
            delivered(&tenant, kind, "the request", |found| {
                found["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"] == "2026-01-01T00:00:00Z"
            })
            .await?;
        }
        platform.edit(CONFIG, &tenant.name, "shop", json!({"spec": {"suspend": true}})).await?;
        delivered(&tenant, KUSTOMIZATION, "a suspended Kustomization", |found| found["spec"]["suspend"] == true)
            .await?;
        platform.edit(CONFIG, &tenant.name, "shop", json!({"spec": {"suspend": null}})).await?;
        delivered(&tenant, KUSTOMIZATION, "a Kustomization that goes on", |found| found["spec"]["suspend"] != true)
            .await?;
        Ok(())
    });
}

#[test]
fn a_review_environment_removes_itself() {
    on_plane("ttl", async |platform| {
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({})).await?;
        let mut spec = shop(&tenant);
        spec["ttl"] = json!("8s");
        tenant.config("review", spec).await?;
        tenant.reaches("review", "Admitted", "True", SOON).await?;
        tenant.delivery(KUSTOMIZATION, "review", SOON).await?;
        platform.no_configs(&tenant.name, SOON).await?;
        let gone = || async {
            let agent = platform.space.get("v1", "Namespace", "", &tenant.agent()).await?;
            let target = platform.space.get("v1", "Namespace", "", &tenant.target()).await?;
            Ok((agent.is_none() && target.is_none()).then_some(()))
        };
        platform.space.wait("the end of its namespaces", SOON, gone).await
    });
}

#[test]
fn an_end_that_waits_says_for_whom_and_goes_on_after_a_restart() {
    on_own_plane("stuck", async |platform| {
        platform.operator.start()?;
        let (tenant, _) = team(&platform, "team", json!({})).await?;
        let found = tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        let (namespace, name) =
            (found["metadata"]["namespace"].as_str().unwrap(), found["metadata"]["name"].as_str().unwrap());
        // As Flux does; nobody here will ever take it away again.
        platform
            .edit(KUSTOMIZATION, namespace, name, json!({"metadata": {"finalizers": ["finalizers.fluxcd.io"]}}))
            .await?;
        platform.space.delete(API, "FluxConfig", &tenant.name, "shop").await?;
        let waits = |config: &Value| {
            let said = message(config, "Ready");
            has(config, "Ready", "False") && said.contains("Kustomization") && said.contains(name)
        };
        let said = async || {
            let look = || async { Ok(Some(tenant.look("shop").await?).filter(|config| waits(config))) };
            platform.space.wait("a status that names the Kustomization", SOON, look).await
        };
        println!("stuck: {}", message(&said().await?, "Ready"));
        seconds(3).await;
        for (version, kind, namespace, name) in [
            ("v1", "Namespace", "", tenant.agent()),
            ("v1", "ServiceAccount", tenant.agent().as_str(), "sluicegate-reconciler".to_owned()),
        ] {
            let kept = platform.space.get(version, kind, namespace, &name).await?.unwrap_or_default();
            assert!(!kept.is_null() && kept["metadata"]["deletionTimestamp"].is_null(), "{kind} {name} goes too early");
        }
        platform.operator.kill()?;
        platform.operator.start()?;
        seconds(3).await;
        said().await?;
        // The source goes after the Kustomization, and is waited for like it.
        platform.edit(KUSTOMIZATION, namespace, name, json!({"metadata": {"finalizers": null}})).await?;
        platform.no_configs(&tenant.name, SOON).await
    });
}

#[test]
fn an_agent_namespace_that_is_deleted_comes_back() {
    on_plane("agent-gone", async |platform| {
        let (tenant, _) = team(&platform, "team", json!({})).await?;
        let before = platform.space.get("v1", "Namespace", "", &tenant.agent()).await?.unwrap_or_default();
        platform.space.delete("v1", "Namespace", "", &tenant.agent()).await?;
        let back = || async {
            let found = platform.space.get("v1", "Namespace", "", &tenant.agent()).await?.unwrap_or_default();
            let new = !found.is_null() && found["metadata"]["uid"] != before["metadata"]["uid"];
            Ok(new.then_some(()))
        };
        platform.space.wait("a new namespace", SOON, back).await?;
        tenant.delivery(KUSTOMIZATION, "shop", SOON).await.map(|_| ())
    });
}

#[test]
fn a_deleted_policy_leaves_its_tenants_without_rights_but_lets_them_end() {
    on_plane("no-policy", async |platform| {
        let (tenant, policy) = team(&platform, "team", json!({})).await?;
        platform.space.delete(API, "FluxPolicy", "", &policy).await?;
        tenant.refused("shop", "no-policy").await?;
        delivered(&tenant, KUSTOMIZATION, "a suspended Kustomization", |found| found["spec"]["suspend"] == true)
            .await?;
        tenant.remove("shop", START).await
    });
}

#[test]
fn one_that_was_refused_before_a_restart_takes_away_what_it_deployed() {
    on_own_plane("refused", async |platform| {
        platform.operator.start()?;
        let (tenant, _) = team(&platform, "team", json!({})).await?;
        let other = json!({"spec": {"source": {"url": "https://git.sluicegate.test/somebody/else"}}});
        platform.edit(CONFIG, &tenant.name, "shop", other).await?;
        tenant.reaches("shop", "Admitted", "False", SOON).await?;
        // The next process knows of what was deployed by nothing but what is on the cluster.
        platform.operator.kill()?;
        platform.operator.start()?;
        platform.operator_works().await?;
        seconds(5).await;
        tenant.delivery(KUSTOMIZATION, "shop", SOON).await?;
        tenant.remove("shop", START).await
    });
}
