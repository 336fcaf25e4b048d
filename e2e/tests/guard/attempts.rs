//! What the operator's suite marks as `only_the_guard_…`: the same attempts, by somebody with the same rights, for whichever
//! guard stands there alone. An agent lives beside the team's workloads, as with placement Namespace.
//!
//! One attempt of that suite is none for admission: a chart that names another server inside. It never passes the API server;
//! what holds it is where source-controller may connect to.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_crds::AGENT_LABEL;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::requests::{api_of, deletes, patches, said, tries};
use sluicegate_e2e::suite::{Space, User};

const GIT: &str = "source.toolkit.fluxcd.io/v1";
/// Accounts of the agent, for the TenantGuard.
pub(crate) const ACCOUNTS: [&str; 2] = ["kustomize-controller", "sluicegate-reconciler"];

/// What the policy of whoever tries allows, laid over the spec of one.
pub(crate) fn allowed() -> Value {
    json!({
        "images": {"allow": ["sluicegate.test/probe"]},
        "sources": {"git": {"allow": ["https://git.example.com/team/**"]}},
    })
}

/// A target namespace with an agent in it, and who tries something there.
pub(crate) struct Prison {
    pub(crate) space: Space,
    pub(crate) namespace: String,
    /// Has `edit`, and may write Flux objects but not their status.
    pub(crate) member: User,
    /// Has `admin`.
    pub(crate) admin: User,
}

impl Prison {
    /// Binds the roles. The namespace has its policy and its TenantGuard, with the accounts of the agent.
    pub(crate) async fn new(space: &Space, namespace: &str) -> Result<Prison> {
        let (member, admin) = (space.user("member", None).await?, space.user("admin", None).await?);
        let groups = ["source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"];
        let verbs = ["get", "list", "watch", "create", "update", "patch", "delete"];
        let name = format!("{}-flux", space.prefix());
        let rules = json!([{"apiGroups": groups, "resources": ["*"], "verbs": verbs}]);
        space
            .apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}))
            .await?;
        for (user, role) in [(&member, "edit"), (&member, name.as_str()), (&admin, "admin")] {
            space.bind(user, namespace, role, ("ClusterRole", role)).await?;
        }
        let prison = Prison { space: space.clone(), namespace: namespace.to_owned(), member, admin };
        let source = prison.source(json!({"url": "https://git.example.com/team/x"}));
        let map = prison.object("v1", "ConfigMap", "x", json!({}));
        let may = || async {
            let both = tries(&prison.member.client, &source).await.and(tries(&prison.admin.client, &map).await);
            both.map(Some).map_err(|why| sluicegate_e2e::Error::Service { what: "what is allowed".into(), why })
        };
        space.wait("the roles, and the guard that lets pass what is allowed", 60, may).await?;
        Ok(prison)
    }

    fn object(&self, api: &str, kind: &str, name: &str, over: Value) -> Value {
        let mut object =
            json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": self.namespace}});
        for (field, value) in over.as_object().cloned().unwrap_or_default() {
            object[field] = value;
        }
        object
    }

    /// A source as a team writes it here.
    fn source(&self, over: Value) -> Value {
        let mut object = self.object(GIT, "GitRepository", "x", json!({"spec": over}));
        object["metadata"]["labels"] = json!({AGENT_LABEL: self.namespace});
        object["spec"]["interval"] = json!("10m");
        object
    }

    fn pod(&self) -> Value {
        let container = json!({"name": "x", "image": "sluicegate.test/probe:v1"});
        self.object("v1", "Pod", "x", json!({"spec": {"containers": [container]}}))
    }

    /// What Sluicegate has put there.
    async fn rendered(&self, mut object: Value) -> Result<Value> {
        object["metadata"]["labels"] =
            json!({"app.kubernetes.io/managed-by": "sluicegate", AGENT_LABEL: self.namespace});
        self.space.apply(object).await
    }

    /// A source of the team's own that names the agent's credential, and another server.
    pub(crate) async fn sends_a_credential_elsewhere(&self) -> Result<()> {
        for url in [
            "https://evil.example/x.git",
            "http://203.0.113.1:8080/x.git",
            "https://git.example.com.evil.example/team/x",
        ] {
            let object = self.source(json!({"url": url, "secretRef": {"name": "sluicegate-team-git"}}));
            let why = tries(&self.member.client, &object).await.expect_err(url);
            assert!(why.contains("[source-not-allowed]"), "{why}");
        }
        Ok(())
    }

    pub(crate) async fn includes_submodules_and_proxies(&self) -> Result<()> {
        for (field, value) in [
            ("recurseSubmodules", json!(true)),
            ("include", json!([{"repository": {"name": "x"}}])),
            ("proxySecretRef", json!({"name": "x"})),
        ] {
            let mut object = self.source(json!({"url": "https://git.example.com/team/x"}));
            object["spec"][field] = value;
            let why = tries(&self.member.client, &object).await.expect_err(field);
            assert!(why.contains(&format!("spec.{field}: ")), "{why}");
        }
        Ok(())
    }

    /// A source of a merge request, of a Secret that says which server is the right one, or written by a second object.
    pub(crate) async fn fetches_what_nobody_merged(&self) -> Result<()> {
        for (field, value, at) in [
            ("ref", json!({"name": "refs/merge-requests/1/head"}), "spec.ref.name: "),
            ("ref", json!({"name": "refs/pull/1/head"}), "spec.ref.name: "),
            ("secretRef", json!({"name": "own-with-an-authority"}), "spec.secretRef: "),
            ("secretRef", json!({"name": "sluicegate-team-git"}), "spec.secretRef: "),
            ("verify", json!({"mode": "HEAD", "secretRef": {"name": "own"}}), "spec.verify: "),
            ("sparseCheckout", json!(["x"]), "spec.sparseCheckout: "),
        ] {
            let mut object = self.source(json!({"url": "https://git.example.com/team/x"}));
            object["spec"][field] = value;
            let why = tries(&self.member.client, &object).await.expect_err(field);
            assert!(why.contains(at) && why.contains("[flux-object-not-allowed]"), "{why}");
        }
        Ok(())
    }

    /// A NetworkPolicy beside the agent's own: they add up.
    pub(crate) async fn opens_the_agent_s_network(&self) -> Result<()> {
        let network = |selector: Value| {
            let spec =
                json!({"podSelector": selector, "policyTypes": ["Egress", "Ingress"], "egress": [{}], "ingress": [{}]});
            self.object("networking.k8s.io/v1", "NetworkPolicy", "open", json!({"spec": spec}))
        };
        let client = &self.member.client;
        for selector in [
            json!({}),
            json!({"matchLabels": {"app.kubernetes.io/name": "kustomize-controller"}}),
            json!({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}),
        ] {
            let why = tries(client, &network(selector.clone())).await.expect_err("it opens the agent");
            assert!(why.contains("NetworkPolicies add up"), "{selector}: {why}");
        }
        let own = network(json!({"matchLabels": {"app": "shop"}}));
        assert_eq!(tries(client, &own).await, Ok(()));
        // What opens the team's own pods first opens no others afterwards.
        self.space.apply(own.clone()).await?;
        let wider = json!({"spec": {"podSelector": {"matchLabels": null}}});
        let why = patches(client, &own, wider).await.map(drop).expect_err("it is widened");
        assert!(why.contains("NetworkPolicies add up"), "{why}");
        Ok(())
    }

    pub(crate) async fn edits_the_agent(&self) -> Result<()> {
        let container = json!({"name": "manager", "image": "sluicegate.test/probe:v1"});
        let labels = json!({"app": "kustomize-controller"});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
        let spec = json!({"replicas": 0, "selector": {"matchLabels": labels}, "template": template});
        let deployment = self.object("apps/v1", "Deployment", "kustomize-controller", json!({"spec": spec}));
        let deployment = self.rendered(deployment).await?;
        let sidecar = json!({"name": "out", "image": "sluicegate.test/probe:v1"});
        let sidecar = json!({"spec": {"template": {"spec": {"containers": [container, sidecar]}}}});
        let client = &self.member.client;
        for refused in [
            deletes(client, &deployment).await.expect_err("it is deleted"),
            patches(client, &deployment, sidecar).await.map(drop).expect_err("it gets a sidecar"),
            patches(client, &deployment, json!({"metadata": {"labels": {AGENT_LABEL: null}}}))
                .await
                .map(drop)
                .expect_err("it loses its label"),
        ] {
            assert!(refused.contains("this is Sluicegate's"), "{refused}");
        }
        let more = Patch::Merge(json!({"spec": {"replicas": 5}}));
        let scaled =
            api_of(client, &deployment).patch_scale("kustomize-controller", &PatchParams::default(), &more).await;
        let why = said(&scaled.expect_err("it is scaled"));
        assert!(why.contains("this is the agent's"), "{why}");
        Ok(())
    }

    pub(crate) async fn runs_a_pod_as_a_controller(&self) -> Result<()> {
        self.space.apply(self.object("v1", "ServiceAccount", ACCOUNTS[0], json!({}))).await?;
        let mut pod = self.pod();
        assert_eq!(tries(&self.member.client, &pod).await, Ok(()));
        pod["spec"]["serviceAccountName"] = json!(ACCOUNTS[0]);
        let why = tries(&self.member.client, &pod).await.expect_err("it runs");
        assert!(why.contains("this account is the agent's"), "{why}");
        Ok(())
    }

    pub(crate) async fn deletes_the_reconciler_s_binding(&self) -> Result<()> {
        let binding = json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNTS[1], "namespace": self.namespace}],
        });
        let binding = self.object("rbac.authorization.k8s.io/v1", "RoleBinding", "sluicegate-team", binding);
        let binding = self.rendered(binding).await?;
        let why = deletes(&self.admin.client, &binding).await.expect_err("it is deleted");
        assert!(why.contains("this is Sluicegate's"), "{why}");
        let more =
            json!({"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": self.admin.name}]});
        let why = patches(&self.admin.client, &binding, more).await.map(drop).expect_err("it is given away");
        assert!(why.contains("this is Sluicegate's"), "{why}");
        Ok(())
    }
}
