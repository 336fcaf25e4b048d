//! FluxPolicies, as the API server stores or refuses them.

use serde_json::json;

use crate::support::{minimal, on_shared, policy};

#[test]
fn refuses_patterns_that_do_not_compile() {
    on_shared("pattern", async |hook| {
        let name = hook.space.prefix();
        let mut bad = policy(name, "nobody");
        bad["spec"]["sources"]["git"]["allow"] = json!(["https://git.example.com/*.git"]);
        let message = hook.apply(bad).await?.rejected("[invalid-pattern]");
        assert!(message.contains("spec.sources.git.allow[0]"), "{message}");
        Ok(())
    });
}

#[test]
fn refuses_a_conflict_and_names_both() {
    on_shared("conflict", async |hook| {
        let tenant = hook.tenant().await?;
        let rival = format!("{tenant}-rival");
        let mut other = policy(&rival, &tenant);
        other["spec"]["defaults"]["path"] = json!("deploy");
        let message = hook.apply(other.clone()).await?.rejected("[policy-conflict]");
        assert!(message.contains(&rival) && message.contains(&tenant), "{message}");
        other["spec"]["priority"] = json!(1);
        hook.apply(other.clone()).await?.accepted();
        hook.delete(&other).await?.accepted();
        Ok(())
    });
}

#[test]
fn dangerous_grants_come_back_as_warnings() {
    on_shared("danger", async |hook| {
        let name = hook.space.prefix();
        let mut wide = policy(name, "nobody");
        wide["spec"]["images"] = json!({"allow": ["**"]});
        wide["spec"]["role"] = json!("cluster-admin");
        let warnings = hook.dry_run(wide).await?.accepted().warnings;
        for rule in ["grants-everything", "powerful-role"] {
            assert!(warnings.iter().any(|warning| warning.contains(rule)), "{rule}: {warnings:?}");
        }
        Ok(())
    });
}

#[test]
fn a_change_says_how_many_fluxconfigs_it_cuts_off() {
    on_shared("cutoff", async |hook| {
        let tenant = hook.tenant().await?;
        hook.apply(minimal(&tenant)).await?.accepted();
        let mut shrunk = policy(&tenant, &tenant);
        shrunk["spec"]["sources"] = json!({});
        let expected = format!("this cuts off 1 FluxConfig that is admitted now: {tenant}/shop");
        hook.space
            .wait("the webhook to know the FluxConfig", 10, || async {
                let warnings = hook.dry_run(shrunk.clone()).await?.accepted().warnings;
                Ok(warnings.contains(&expected).then_some(()))
            })
            .await?;
        let warnings = hook.delete(&policy(&tenant, &tenant)).await?.accepted().warnings;
        assert_eq!(warnings, [expected]);
        Ok(())
    });
}
