//! The label that says whose a Namespace is.

use serde_json::json;

use crate::support::{minimal, namespace, on_shared};

fn rights() -> serde_json::Value {
    json!([{"apiGroups": [""], "resources": ["namespaces", "namespaces/finalize", "namespaces/status"], "verbs": ["*"]}])
}

#[test]
fn whoever_may_not_administer_guards_may_not_say_whose_a_namespace_is() {
    on_shared("label", async |hook| {
        let bob = hook.user("bob", rights()).await?;
        let name = format!("{}-bob", hook.space.prefix());
        let tenant = |value: &str| json!({"sluicegate.dev/tenant": value});
        let by_bob = async |labels| hook.apply_by(&bob.client, namespace(&name, labels)).await;
        by_bob(tenant("team-a")).await?.rejected("may not say which tenant");
        by_bob(tenant("")).await?.rejected("may not say which tenant");
        by_bob(json!({"team": "x"})).await?.accepted();
        by_bob(tenant("team-a")).await?.rejected("may not say which tenant");
        hook.apply(namespace(&name, tenant("team-a"))).await?.accepted();
        // What is there stays, and everything else about the namespace is bob's.
        let object = namespace(&name, json!({}));
        let path = format!("/api/v1/namespaces/{name}");
        let patch = async |body| {
            let kind = "application/merge-patch+json";
            crate::support::send(&bob.client, http::Method::PATCH, &path, kind, body).await
        };
        patch(json!({"metadata": {"labels": {"team": "y"}}})).await?.accepted();
        patch(json!({"metadata": {"labels": {"sluicegate.dev/tenant": null}}})).await?.rejected("may not say");
        patch(json!({"metadata": {"labels": {"sluicegate.dev/tenant": "team-b"}}})).await?.rejected("may not say");
        // Whatever writes labels is asked about.
        let other = json!({"metadata": {"labels": {"sluicegate.dev/tenant": "team-b"}}});
        let kind = "application/merge-patch+json";
        let status = format!("{path}/status");
        crate::support::send(&bob.client, http::Method::PATCH, &status, kind, other).await?.rejected("may not say");
        let mut whole = crate::kinds::get(&hook.space.client(), &path).await?;
        whole["metadata"]["labels"]["sluicegate.dev/tenant"] = json!("team-b");
        let finalize = format!("{path}/finalize");
        crate::support::send(&bob.client, http::Method::PUT, &finalize, "application/json", whole)
            .await?
            .rejected("may not say");
        hook.delete(&object).await?.accepted();
        Ok(())
    });
}

#[test]
fn an_administrator_who_writes_nonsense_is_told_so() {
    on_shared("nonsense", async |hook| {
        let name = format!("{}-x", hook.space.prefix());
        let labels = json!({"sluicegate.dev/tenant": "Team_A"});
        hook.apply(namespace(&name, labels)).await?.rejected("this is no name for a tenant");
        Ok(())
    });
}

#[test]
fn another_tenant_for_a_namespace_says_what_it_cuts_off() {
    on_shared("given", async |hook| {
        let tenant = hook.tenant().await?;
        hook.apply(minimal(&tenant)).await?.accepted();
        let given = namespace(&tenant, json!({"sluicegate.dev/tenant": "somebody-else"}));
        hook.space
            .wait("the webhook to know the FluxConfig", 10, || async {
                let warnings = hook.dry_run(given.clone()).await?.accepted().warnings;
                Ok(warnings.iter().any(|warning| warning.contains("this cuts off 1 FluxConfig")).then_some(()))
            })
            .await
    });
}

#[test]
fn a_name_that_is_kept_for_agents_is_not_taken() {
    on_shared("name", async |hook| {
        let bob = hook.user("bob", rights()).await?;
        let free = namespace(&format!("{}-bob", hook.space.prefix()), json!({}));
        let may = || async { Ok((hook.tries(&bob.client, &free).await?.status < 300).then_some(())) };
        hook.space.wait("the binding's effect", 30, may).await?;
        let taken = namespace("sluicegate-shop", json!({}));
        hook.tries(&bob.client, &taken).await?.rejected("choose another name");
        hook.tries(&hook.space.client(), &taken).await?.accepted();
        Ok(())
    });
}
