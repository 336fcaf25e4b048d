//! FluxConfigs, as the API server stores or refuses them.

use serde_json::{Value, json};

use crate::support::{config, minimal, on_shared, policy, url};

#[test]
fn completes_a_minimal_file_and_stores_what_it_completed() {
    on_shared("complete", async |hook| {
        let tenant = hook.tenant().await?;
        let stored = hook.apply(minimal(&tenant)).await?.accepted().object;
        let expected = json!({
            "source": {"url": url(&tenant), "ref": {"branch": "main"}}, "path": "./", "cluster": "local",
            "namespace": tenant,
        });
        assert_eq!(stored["spec"], expected);
        // The same file again changes nothing.
        let again = hook.apply(minimal(&tenant)).await?.accepted().object;
        assert_eq!(again["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);
        Ok(())
    });
}

#[test]
fn a_new_default_moves_nothing_however_the_file_is_written_again() {
    on_shared("default", async |hook| {
        let tenant = hook.tenant().await?;
        hook.apply(minimal(&tenant)).await?.accepted();
        let mut moved = policy(&tenant, &tenant);
        moved["spec"]["defaults"]["namespace"] = json!("${tenant}-new");
        hook.apply(moved).await?.accepted();
        let placed = async |answer: crate::support::Answer| answer.accepted().object["spec"]["namespace"].clone();
        hook.space
            .wait("the new default", 30, || async {
                let other = hook.dry_run(config(&tenant, "other", json!({"source": {"url": url(&tenant)}}))).await?;
                Ok((other.object["spec"]["namespace"] == format!("{tenant}-new")).then_some(()))
            })
            .await?;
        assert_eq!(placed(hook.apply(minimal(&tenant)).await?).await, tenant);
        assert_eq!(placed(hook.replace(minimal(&tenant)).await?).await, tenant);
        Ok(())
    });
}

#[test]
fn refuses_in_the_words_of_check() {
    on_shared("words", async |hook| {
        let tenant = hook.tenant().await?;
        for (spec, rule) in [
            (json!({"source": {"url": url("other")}}), "source-not-allowed"),
            (json!({"source": {"url": "https://git.example.com/a/../b"}}), "invalid-url"),
            (json!({"source": {"url": url(&tenant)}, "cluster": "moon"}), "unknown-cluster"),
            (json!({"source": {"url": url(&tenant)}, "namespace": "kube-system"}), "destination-not-allowed"),
            (json!({"source": {"url": url(&tenant)}, "path": "../x"}), "invalid-path"),
        ] {
            let object = config(&tenant, "shop", spec);
            hook.dry_run(object.clone()).await?.rejected(&format!("[{rule}]"));
            let message = hook.apply(object.clone()).await?.rejected(&format!("[{rule}]"));
            assert!(message.contains("\n  help: "), "{message}");
            assert!(hook.space.get("sluicegate.dev/v1alpha1", "FluxConfig", &tenant, "shop").await?.is_none());
        }
        Ok(())
    });
}

#[test]
fn a_dry_run_is_answered_like_the_real_thing_and_stores_nothing() {
    on_shared("dry", async |hook| {
        let tenant = hook.tenant().await?;
        let answer = hook.dry_run(minimal(&tenant)).await?.accepted();
        assert_eq!(answer.object["spec"]["cluster"], "local");
        assert!(hook.space.get("sluicegate.dev/v1alpha1", "FluxConfig", &tenant, "shop").await?.is_none());
        Ok(())
    });
}

#[test]
fn a_generated_name_is_completed_and_judged() {
    on_shared("generated", async |hook| {
        let tenant = hook.tenant().await?;
        let named = |spec: Value| {
            let mut object = config(&tenant, "", spec);
            object["metadata"] = json!({"generateName": "review-", "namespace": tenant});
            object
        };
        let stored = hook.create(named(json!({"source": {"url": url(&tenant)}}))).await?.accepted().object;
        assert_eq!(stored["spec"]["cluster"], "local");
        hook.create(named(json!({"source": {"url": url("other")}}))).await?.rejected("[source-not-allowed]");
        Ok(())
    });
}

#[test]
fn only_those_whom_policy_names_write_and_everybody_whom_rbac_lets_deletes() {
    on_shared("writers", async |hook| {
        let tenant = hook.tenant().await?;
        let rules = json!([{"apiGroups": ["sluicegate.dev"], "resources": ["fluxconfigs"], "verbs": ["*"]}]);
        let (bot, alice) = (hook.user("bot", rules.clone()).await?, hook.user("alice", rules).await?);
        let mut limited = policy(&tenant, &tenant);
        limited["spec"]["writers"] = json!([bot.name]);
        hook.apply(limited).await?.accepted();
        hook.space
            .wait("the limit to count", 30, || async {
                let answer = hook.apply_by(&alice.client, minimal(&tenant)).await?;
                Ok((answer.status == 403 && answer.message().contains("[writer-not-allowed]")).then_some(()))
            })
            .await?;
        hook.apply_by(&bot.client, minimal(&tenant)).await?.accepted();
        let mut changed = minimal(&tenant);
        changed["spec"]["suspend"] = json!(true);
        hook.apply_by(&alice.client, changed).await?.rejected("[writer-not-allowed]");
        hook.delete(&minimal(&tenant)).await?.accepted();
        Ok(())
    });
}

#[test]
fn what_a_policy_no_longer_allows_can_be_cleaned_up() {
    on_shared("shrink", async |hook| {
        let tenant = hook.tenant().await?;
        let object = minimal(&tenant);
        hook.apply(object.clone()).await?.accepted();
        let finalizers = json!({"metadata": {"finalizers": ["example.com/held"]}});
        hook.patch(&object, finalizers).await?.accepted();
        let mut shrunk = policy(&tenant, &tenant);
        shrunk["spec"]["sources"] = json!({});
        hook.apply(shrunk).await?.accepted();
        hook.space
            .wait("the policy to shrink", 30, || async {
                let other = hook.dry_run(config(&tenant, "other", object["spec"].clone())).await?;
                Ok((other.status == 403).then_some(()))
            })
            .await?;
        hook.patch(&object, json!({"metadata": {"labels": {"a": "b"}}})).await?.accepted();
        let step = hook.patch(&object, json!({"spec": {"suspend": true}})).await?.accepted();
        assert!(step.warnings.iter().any(|warning| warning.contains("source-not-allowed")), "{:?}", step.warnings);
        hook.patch(&object, json!({"spec": {"source": {"url": url("x")}}})).await?.rejected("[source-not-allowed]");
        hook.delete(&object).await?.accepted();
        hook.patch(&object, json!({"metadata": {"finalizers": null}})).await?.accepted();
        hook.space
            .wait("it to be gone", 10, || async {
                let found = hook.space.get("sluicegate.dev/v1alpha1", "FluxConfig", &tenant, "shop").await?;
                Ok(found.is_none().then_some(()))
            })
            .await
    });
}

#[test]
fn a_dependency_of_the_same_commit_is_a_warning() {
    on_shared("depends", async |hook| {
        let tenant = hook.tenant().await?;
        let spec = json!({"source": {"url": url(&tenant)}, "dependsOn": [{"name": "base"}]});
        let answer = hook.dry_run(config(&tenant, "shop", spec)).await?.accepted();
        assert!(answer.warnings.iter().any(|warning| warning.contains("unknown-dependency")), "{:?}", answer.warnings);
        Ok(())
    });
}

#[test]
fn the_schema_speaks_first() {
    on_shared("schema", async |hook| {
        let tenant = hook.tenant().await?;
        hook.create(config(&tenant, "shop", json!({"source": {"url": 7}}))).await?.rejected("spec.source.url");
        hook.create(config(&tenant, "shop", json!({}))).await?.rejected("spec.source");
        Ok(())
    });
}
