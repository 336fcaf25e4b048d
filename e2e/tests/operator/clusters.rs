//! Several clusters: each has its own deliveries, and one that is away is named and delays no other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::suite::operator::{self, CLUSTER, NAMESPACE};

use crate::support::{
    API, CONFIG, KUSTOMIZATION, SOON, Tenant, api_of, client_of, has, message, on_own_plane, own_plane, secret,
};

const ELSEWHERE: &str = "elsewhere";

fn spec(tenant: &Tenant, cluster: &str) -> Value {
    json!({"source": {"url": format!("https://git.sluicegate.test/{}/shop", tenant.name)}, "cluster": cluster})
}

#[test]
fn a_cluster_that_is_away_is_named_and_delays_no_other() {
    on_own_plane("clusters", async |platform| {
        let other = own_plane(ELSEWHERE)?;
        operator::install(&other.cluster).await?;
        platform.operator.start()?;
        let credential = json!({"value": operator::kubeconfig(&other.cluster)?});
        platform.space.apply(secret(NAMESPACE, ELSEWHERE, credential)).await?;
        let connection = json!({"kubeconfig": {"secretRef": {"name": ELSEWHERE}}});
        let cluster = json!({"connection": connection, "flux": {"version": "2.9.3"}, "guard": "Off"});
        let metadata = json!({"name": ELSEWHERE});
        platform
            .space
            .apply(json!({"apiVersion": API, "kind": "FluxCluster", "metadata": metadata, "spec": cluster}))
            .await?;
        let reachable = async |status: &str| {
            let cluster = (API, "FluxCluster", "", ELSEWHERE);
            platform.space.condition(cluster, "Reachable", status, SOON).await
        };
        reachable("True").await?;
        let tenant = platform.tenant("team").await?;
        let destinations =
            json!([{"clusters": [CLUSTER, ELSEWHERE], "namespaces": ["${tenant}-*"], "createNamespace": true}]);
        platform.policy("teams", &[&tenant], json!({"destinations": destinations})).await?;
        tenant.config("here", spec(&tenant, CLUSTER)).await?;
        tenant.config("there", spec(&tenant, ELSEWHERE)).await?;
        tenant.delivery(KUSTOMIZATION, "here", SOON).await?;
        let remote = client_of(&other.cluster).await?;
        let kustomizations = api_of(remote.clone(), KUSTOMIZATION, &tenant.agent());
        let interval = async |wanted: &str| {
            let look = || async {
                Ok(kustomizations.get("there").await.ok().filter(|one| one.data["spec"]["interval"] == wanted))
            };
            platform.space.wait("the Kustomization elsewhere", SOON, look).await
        };
        interval("5s").await?;
        // Each cluster has what is for it, and nothing else.
        assert!(kustomizations.get_opt("here").await.expect("an answer").is_none());
        let local = platform.labelled(KUSTOMIZATION, crate::support::CONFIG_LABEL, "there").await?;
        assert!(local.is_empty(), "{local:?}");

        other.cluster.kill("kube-apiserver")?;
        let away = reachable("False").await?;
        println!("away: {}", message(&away, "Reachable"));
        let names = |config: &Value| has(config, "Ready", "False") && message(config, "Ready").contains(ELSEWHERE);
        let told = tenant.until("a status that names the cluster", "there", SOON, names).await?;
        println!("away: {}", message(&told, "Ready"));
        platform.edit(CONFIG, &tenant.name, "there", json!({"spec": {"interval": "7s"}})).await?;
        let started = Instant::now();
        tenant.config("next", spec(&tenant, CLUSTER)).await?;
        tenant.delivery(KUSTOMIZATION, "next", SOON).await?;
        let took = started.elapsed();
        println!("a delivery beside a cluster that is away: {:.1} s", took.as_secs_f64());
        assert!(took < Duration::from_secs(5), "{took:?}");
        tenant.config("late", spec(&tenant, ELSEWHERE)).await?;
        tenant.until("a status that names the cluster", "late", SOON, names).await?;

        other.cluster.start_again("kube-apiserver")?;
        reachable("True").await?;
        interval("7s").await?;
        let heals = |config: &Value| !message(config, "Ready").contains("does not answer");
        tenant.until("a status without complaint", "there", SOON, heals).await?;
        // What is deleted while its cluster is away waits for it.
        other.cluster.kill("kube-apiserver")?;
        reachable("False").await?;
        for name in ["there", "late"] {
            platform.space.delete(API, "FluxConfig", &tenant.name, name).await?;
        }
        crate::support::seconds(5).await;
        for name in ["there", "late"] {
            assert!(!tenant.look(name).await?.is_null(), "{name} is let go before what it deployed is gone");
        }
        other.cluster.start_again("kube-apiserver")?;
        let gone = || async {
            let (there, late) = (tenant.look("there").await?, tenant.look("late").await?);
            if there.is_null() && late.is_null() {
                return Ok(Some(()));
            }
            Err(Error::Service { what: "left".into(), why: format!("{}{}", there["status"], late["status"]) })
        };
        // Namespaces end when that cluster's controllers have found their API server again.
        platform.space.wait("the end of both", 3 * SOON, gone).await?;
        let left = kustomizations.list(&kube::api::ListParams::default()).await.map(|list| list.items);
        assert!(left.expect("an answer").is_empty());
        assert!(tenant.delivery(KUSTOMIZATION, "here", 1).await?["metadata"]["deletionTimestamp"].is_null());
        Ok(())
    });
}
