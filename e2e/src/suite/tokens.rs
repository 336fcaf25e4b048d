//! Users by the tokens of ServiceAccounts, as Kubernetes makes them: bound to a pod, or to nothing.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::{Space, User, create_as, service_error};
use crate::api;
use crate::error::{Error, Result};

/// The controller of Kubernetes that makes the pods of Deployments.
const REPLICASETS: &str = "system:serviceaccount:kube-system:replicaset-controller";

impl Space {
    /// A ServiceAccount with every right on the cluster, as a user who has a token of it. With a pod's name the pod is made, as
    /// that account, and the token is bound to it, as those in pods are.
    ///
    /// # Errors
    /// The API server's refusal, and an existing cluster, whose authority is not ours.
    pub async fn account(&self, namespace: &str, account: &str, pod: Option<&str>) -> Result<User> {
        let metadata = |name: &str| json!({"name": name, "namespace": namespace});
        self.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(account)})).await?;
        let rbac = "rbac.authorization.k8s.io";
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": namespace});
        self.apply(json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": format!("{}-{namespace}-{account}", self.prefix())},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "sluicegate-e2e-everything"}, "subjects": [subject],
        }))
        .await?;
        // Not `cluster-admin`: who has that administers.
        self.apply(json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": "sluicegate-e2e-everything"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "create", "update", "patch", "delete", "deletecollection"]}],
        }))
        .await?;
        let bound = match pod {
            None => None,
            Some(pod) => Some(self.pod_of(namespace, account, pod).await?),
        };
        let token = self.token(namespace, account, bound).await?;
        let name = format!("system:serviceaccount:{namespace}:{account}");
        self.bearer(name, &token).await
    }

    /// A user by a token.
    ///
    /// # Errors
    /// On an existing cluster, whose authority is not ours.
    pub async fn bearer(&self, name: String, token: &str) -> Result<User> {
        let cluster = self.cluster().ok_or_else(|| service_error("a token", "it needs a cluster of the harness"))?;
        let mut config: Value = serde_json::from_str(&cluster.kubeconfig_for(&name, None)?)
            .map_err(|error| service_error("the kubeconfig", error))?;
        config["users"][0]["user"] = json!({"token": token});
        let kubeconfig = config.to_string();
        let client = api::client_from_text(&kubeconfig).await?;
        Ok(User { name, kubeconfig, client })
    }

    async fn token(&self, namespace: &str, account: &str, bound: Option<BoundObjectReference>) -> Result<String> {
        let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(self.client(), namespace);
        let spec = TokenRequestSpec { bound_object_ref: bound, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| Error::api(format!("a token of {namespace}/{account}"), error))?;
        answer.status.map(|status| status.token).ok_or_else(|| service_error("a token", "there is none in the answer"))
    }

    async fn pod_of(&self, namespace: &str, account: &str, pod: &str) -> Result<BoundObjectReference> {
        let cluster = self.cluster().ok_or_else(|| service_error("a pod", "it needs a cluster of the harness"))?;
        let kubernetes = cluster.kubeconfig_for(REPLICASETS, Some("system:serviceaccounts:kube-system"))?;
        let kubernetes = api::client_from_text(&kubernetes).await?;
        // The guard lets Kubernetes make pods of an agent's accounts, and nobody else.
        let images = self.get("sluicegate.dev/v1alpha1", "TenantGuard", namespace, "sluicegate").await?;
        let image = images.and_then(|guard| guard["spec"]["images"]["agent"][0].as_str().map(str::to_owned));
        create_as(&kubernetes, json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": namespace},
            "spec": {"serviceAccountName": account, "containers": [{"name": "x", "image": image.unwrap_or_else(|| "x:1".to_owned())}]},
        }))
        .await?;
        let found = self.get("v1", "Pod", namespace, pod).await?.unwrap_or_default();
        Ok(BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.to_owned()),
            uid: found["metadata"]["uid"].as_str().map(str::to_owned),
        })
    }
}
