//! FluxClusters, as the API server stores or refuses them.

use serde_json::json;

use crate::support::{API, minimal, on_shared};

#[test]
fn a_connection_is_exactly_one() {
    on_shared("connection", async |hook| {
        let cluster = |connection| {
            json!({"apiVersion": API, "kind": "FluxCluster", "metadata": {"name": hook.space.prefix()},
                "spec": {"connection": connection}})
        };
        hook.apply(cluster(json!({}))).await?.rejected("exactly one of inCluster, kubeconfig");
        let remote = cluster(json!({"kubeconfig": {"secretRef": {"name": "x"}}}));
        hook.apply(remote.clone()).await?.accepted();
        hook.delete(&remote).await?.accepted();
        Ok(())
    });
}

#[test]
fn deleting_one_says_what_it_cuts_off() {
    on_shared("lost", async |hook| {
        let tenant = hook.tenant().await?;
        hook.apply(minimal(&tenant)).await?.accepted();
        hook.space
            .wait("the webhook to know the FluxConfig", 10, || async {
                let path = "/apis/sluicegate.dev/v1alpha1/fluxclusters/local";
                let client = hook.space.client();
                // In the body: with a body the API server does not look at the query.
                let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]});
                let answer =
                    crate::support::send(&client, http::Method::DELETE, path, "application/json", options).await?;
                let told = answer.accepted().warnings.iter().any(|warning| warning.contains("this cuts off"));
                Ok(told.then_some(()))
            })
            .await
    });
}
