//! A tenant's namespace on a cluster whose guard is the webhook, and the engine with the same policies.

use serde_json::{Value, json};
use sluicegate_crds::{TENANT_GUARD, TENANT_LABEL, TenantGuardSpec};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::User;

use crate::parties::Judge;
use crate::support::{API, Hook};

/// A namespace with its policies on the cluster, and the engine with the same.
pub(crate) struct Ward {
    pub(crate) hook: Hook,
    pub(crate) judge: Judge,
}

/// A Helm repository that every policy of a test allows: that it is allowed shows that the webhook knows the policy.
fn mark(policy: &str) -> String {
    format!("https://mark.example.com/{policy}")
}

impl Ward {
    /// A namespace with these policies, each the spec of one.
    pub(crate) async fn new(hook: &Hook, suffix: &str, policies: &[Value]) -> Result<Ward> {
        let name = hook.space.namespace(suffix).await?;
        let mut compiled = Vec::new();
        for (number, spec) in policies.iter().enumerate() {
            let mut spec = spec.clone();
            let id = format!("{name}-{number}");
            spec["tenants"] = json!({"names": [name]});
            let mut allow = spec["sources"]["helm"]["allow"].as_array().cloned().unwrap_or_default();
            allow.push(json!(mark(&id)));
            spec["sources"]["helm"] = json!({"allow": allow});
            let object = json!({"apiVersion": API, "kind": "FluxPolicy", "metadata": {"name": id}, "spec": spec});
            hook.apply(object.clone()).await?.accepted();
            compiled.push(serde_json::from_value(object).expect("a policy"));
        }
        let ward = Ward { hook: hook.clone(), judge: Judge::new(&name, compiled) };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let labels = json!({"metadata": {"labels": {TENANT_LABEL: name}}});
        hook.patch(&namespace, labels).await?.accepted();
        ward.write(&ward.judge.guard()).await?;
        let known = || async {
            for number in 0..policies.len() {
                let url = mark(&format!("{name}-{number}"));
                let object = ward.judge.flux(
                    "source.toolkit.fluxcd.io/v1",
                    "HelmRepository",
                    json!({"interval": "1m", "url": url}),
                );
                if hook.tries(&hook.space.client(), &object).await?.status >= 300 {
                    return Ok(None);
                }
            }
            let refused = hook.tries(&hook.space.client(), &ward.judge.pod("evil.example/x%:1")).await?;
            Ok(refused.message().contains("[invalid-image]").then_some(()))
        };
        hook.space.wait("the webhook to know the policies", 60, known).await?;
        Ok(ward)
    }

    /// Writes the TenantGuard, as the operator does.
    pub(crate) async fn write(&self, spec: &TenantGuardSpec) -> Result<()> {
        let metadata = json!({"name": TENANT_GUARD, "namespace": self.judge.name});
        let object = json!({"apiVersion": API, "kind": "TenantGuard", "metadata": metadata, "spec": spec});
        self.hook.apply(object).await?.accepted();
        Ok(())
    }

    pub(crate) async fn accepts(&self, object: Value) -> Result<()> {
        self.hook.tries(&self.hook.space.client(), &object).await?.accepted();
        Ok(())
    }

    pub(crate) async fn rejects(&self, object: Value, why: &str) -> Result<String> {
        Ok(self.hook.tries(&self.hook.space.client(), &object).await?.rejected(why))
    }

    /// Somebody who may do everything in this namespace.
    pub(crate) async fn member(&self, suffix: &str) -> Result<User> {
        let user = self.hook.space.user(suffix, None).await?;
        self.hook.space.bind(&user, &self.judge.name, suffix, ("ClusterRole", "cluster-admin")).await?;
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": self.judge.name}});
        let allowed = || async { Ok((self.hook.tries(&user.client, &map).await?.status < 300).then_some(())) };
        self.hook.space.wait("the binding's effect", 30, allowed).await?;
        Ok(user)
    }
}

/// A FluxPolicy's spec that lets its tenant deploy everywhere; `over` is laid over it.
pub(crate) fn allowing(over: Value) -> Value {
    let mut spec = json!({"destinations": [{"clusters": ["*"], "namespaces": ["*"]}]});
    for (field, value) in over.as_object().cloned().unwrap_or_default() {
        spec[field] = value;
    }
    spec
}
