//! The CustomResourceDefinitions of `deploy/crds` on a real API server: it takes them, their CEL rules within its cost
//! budget, and refuses what they forbid.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::suite::{Space, test};

const CRD: &str = "apiextensions.k8s.io/v1";

async fn install(space: &Space) -> Result<(), Error> {
    for crd in sluicegate_crds::generate::crds() {
        let name = crd.metadata.name.clone().unwrap();
        // What is tested is the file that people install.
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/crds")
            .join(sluicegate_crds::generate::file_name(&crd));
        assert!(fs::read_to_string(&file).unwrap().contains(&name), "{}", file.display());
        let mut object = serde_json::to_value(&crd).unwrap();
        object["apiVersion"] = json!(CRD);
        object["kind"] = json!("CustomResourceDefinition");
        space.apply(object).await?;
        space.condition((CRD, "CustomResourceDefinition", "", &name), "Established", "True", 30).await?;
    }
    Ok(())
}

fn config(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

async fn refused(space: &Space, object: Value, why: &str) {
    match space.apply(object.clone()).await {
        Ok(_) => panic!("should be refused because {why}: {object}"),
        Err(error) => {
            let text = format!("{error:?} {error}");
            assert!(text.contains(why), "refused, but not because {why}: {text}");
        }
    }
}

#[test]
fn the_api_server_takes_the_crds_and_enforces_them() {
    test("crds", async |space| {
        install(&space).await?;
        let namespace = space.namespace("team").await?;
        let url = "https://git.example.com/team-a/shop.git";
        space.apply(config(&namespace, "shop", json!({"source": {"url": url}}))).await?;
        let placed = json!({"source": {"url": url}, "cluster": "prod-eu", "namespace": "team-a"});
        space.apply(config(&namespace, "shop", placed)).await?;
        let moved = json!({"source": {"url": url}, "cluster": "prod-us", "namespace": "team-a"});
        refused(&space, config(&namespace, "shop", moved), "cluster cannot change").await;
        let twice = json!({"source": {"url": url, "ref": {"branch": "main", "tag": "v1"}}});
        refused(&space, config(&namespace, "twice", twice), "exactly one of branch").await;
        refused(&space, config(&namespace, "empty", json!({"source": {"url": ""}})), "spec.source.url").await;
        refused(&space, config(&namespace, "a.b", json!({"source": {"url": url}})), "DNS label").await;
        let policy = |spec: Value| {
            json!({
                "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy",
                "metadata": {"name": space.prefix()}, "spec": spec,
            })
        };
        let destinations = json!([{"clusters": ["prod-*"], "namespaces": ["${tenant}"]}]);
        let bound = json!({
            "tenants": {"names": ["team-*"]}, "clusters": {"names": ["prod-*"]}, "destinations": destinations,
        });
        refused(&space, policy(bound), "must not set destinations").await;
        space.apply(policy(json!({"tenants": {"names": ["team-*"]}, "destinations": destinations}))).await?;
        space.delete("sluicegate.dev/v1alpha1", "FluxPolicy", "", space.prefix()).await?;
        Ok(())
    });
}
