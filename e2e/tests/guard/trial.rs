//! Tries every resource and subresource that writes, by discovery, as a user with all rights in a namespace or on Namespaces, and
//! tells which of the requests no guard refused. For whichever guard stands there.

use kube::Client;
use serde_json::{Value, json};
use sluicegate_crds::{AGENT_LABEL, TENANT_LABEL};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::operator::USER;
use sluicegate_e2e::suite::requests::patches;
use sluicegate_e2e::suite::{Space, User};

use crate::kinds::{Attempt, Resource, attempts, discover, labelling, name_of, sample};

/// Somebody in a namespace, and those who prepare it.
pub(crate) struct Trial<'t> {
    /// Has every right, and the guard's permission.
    pub(crate) administrator: &'t Client,
    /// Has every right in the namespace.
    pub(crate) member: &'t Client,
    pub(crate) namespace: &'t str,
    /// Labels of the objects that are there.
    pub(crate) labels: Value,
    /// Whether a refusal is the guard's own.
    pub(crate) held: fn(&str) -> bool,
}

impl Trial<'_> {
    /// Makes an object of every kind, and tries every request that writes it; what was not refused by the guard.
    pub(crate) async fn tries_everything(&self) -> Result<Vec<String>> {
        let (mut open, mut tried) = (Vec::new(), 0);
        let resources = self.prepare(&mut open).await?;
        for resource in &resources {
            let change = labelling(&json!({"sluicegate-e2e": "x"}));
            let attempts = attempts(self.administrator, resource, self.namespace, &self.labels, &change).await;
            match attempts {
                Err(why) => open.push(why),
                Ok(attempts) => {
                    for attempt in attempts {
                        tried += 1;
                        match attempt.send(self.member).await {
                            Err(why) if (self.held)(&why) => {}
                            Err(why) => open.push(format!("{attempt}: refused, and not by the guard: {why}")),
                            Ok(_) => open.push(format!("{attempt}: accepted")),
                        }
                    }
                }
            }
        }
        println!("{}: {tried} requests at {} resources", self.namespace, resources.len());
        assert!(tried > 250, "only {tried} requests");
        Ok(open)
    }

    /// Tries to give both labels of Sluicegate to an object of every kind that has none, and to make one with them. A request that
    /// is accepted and leaves the labels off has written nothing.
    pub(crate) async fn plants_labels(&self, pair: &Value) -> Result<Vec<String>> {
        let (mut open, mut held) = (Vec::new(), 0);
        for resource in self.prepare(&mut open).await? {
            let attempts = attempts(self.administrator, &resource, self.namespace, pair, &labelling(pair)).await;
            match attempts {
                Err(why) => open.push(why),
                Ok(attempts) => {
                    for attempt in
                        attempts.iter().filter(|attempt| attempt.body.pointer("/metadata/labels") == Some(pair))
                    {
                        match attempt.send(self.member).await {
                            Err(why) if (self.held)(&why) => held += 1,
                            Err(why) => open.push(format!("{attempt}: refused, and not by the guard: {why}")),
                            Ok(answer) if has_pair(&answer) => open.push(format!("{attempt}: planted")),
                            Ok(_) => {}
                        }
                    }
                }
            }
        }
        assert!(held > 100, "only {held} requests were refused");
        Ok(open)
    }

    /// An object of every kind that can be made; all resources of the namespace.
    async fn prepare(&self, open: &mut Vec<String>) -> Result<Vec<Resource>> {
        let mut resources = discover(self.administrator).await?;
        resources.retain(|resource| resource.name != "namespaces");
        for resource in resources.iter().filter(|resource| resource.sub.is_empty() && resource.has("get")) {
            let Some(object) = sample(resource, self.namespace, &self.labels) else { continue };
            let collection = resource.collection(self.namespace);
            // One version of a kind was the first.
            if crate::kinds::get(self.administrator, &format!("{collection}/{}", name_of(resource))).await.is_ok() {
                continue;
            }
            if let Err(why) = Attempt::keeping(&collection, object).send(self.administrator).await {
                open.push(format!("{} {} cannot be made: {why}", resource.api_version(), resource.kind));
            }
        }
        Ok(resources)
    }
}

fn has_pair(object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    labels["app.kubernetes.io/managed-by"] == "sluicegate" && labels[AGENT_LABEL].is_string()
}

pub(crate) fn pair(agent: &str) -> Value {
    json!({"app.kubernetes.io/managed-by": "sluicegate", AGENT_LABEL: agent})
}

/// Tries every resource of Namespaces with a change of each label, and each with its removal.
pub(crate) async fn relabels_namespaces(
    administrator: &Client,
    user: &Client,
    namespace: &str,
    held: fn(&str) -> bool,
) -> Result<Vec<String>> {
    let mut open = Vec::new();
    let mut resources = discover(administrator).await?;
    resources.retain(|resource| resource.name == "namespaces");
    let subs: Vec<&str> = resources.iter().map(|resource| resource.sub.as_str()).collect();
    assert_eq!(subs, ["", "finalize", "status"], "what writes Namespaces");
    for resource in &resources {
        let path = format!("/api/v1/namespaces/{namespace}");
        let path = if resource.sub.is_empty() { path } else { format!("{path}/{}", resource.sub) };
        for label in [TENANT_LABEL, AGENT_LABEL, "sluicegate.dev/home", "sluicegate.dev/config"] {
            let whole = crate::kinds::get(administrator, &format!("/api/v1/namespaces/{namespace}")).await?;
            let was = &whole["metadata"]["labels"][label];
            for value in if was.is_null() { vec![json!("other")] } else { vec![json!("other"), Value::Null] } {
                for attempt in crate::kinds::relabelling(resource, &path, &whole, label, &value) {
                    match attempt.send(user).await {
                        Err(why) if held(&why) => {}
                        other => open.push(format!("{attempt} {label}={value}: {other:?}")),
                    }
                }
            }
        }
    }
    Ok(open)
}

/// Fails with every request that was not refused.
#[track_caller]
pub(crate) fn none(open: &[String]) {
    assert!(open.is_empty(), "{} of them:\n{}", open.len(), open.join("\n"));
}

/// The operator, with every right.
pub(crate) async fn operator(space: &Space) -> Result<Client> {
    let rbac = "rbac.authorization.k8s.io";
    space
        .apply(json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": format!("{}-operator", space.prefix())},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": USER}],
        }))
        .await?;
    let cluster = space.cluster().expect("a cluster of the harness");
    sluicegate_e2e::api::client_from_text(&cluster.kubeconfig_for(USER, None)?).await
}

/// Somebody with `cluster-admin` in one namespace, once that is so.
pub(crate) async fn member(space: &Space, namespace: &str) -> Result<User> {
    let user = space.user("member", None).await?;
    space.bind(&user, namespace, "member", ("ClusterRole", "cluster-admin")).await?;
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    space.wait("the binding", 30, || async { Ok(crate::kinds::get(&user.client, &path).await.ok()) }).await?;
    Ok(user)
}

/// Changes labels of a namespace.
pub(crate) async fn label(space: &Space, namespace: &str, labels: Value) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    patches(&space.client(), &object, labelling(&labels)).await.expect("an administrator may");
}
