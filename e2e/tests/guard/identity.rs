//! Who is believed to be an agent's controller, what makes a credential of one, which names are kept for agents, and who works
//! beside them: Kubernetes, drains, network plug-ins and the add-ons that administrators name.

use http::Method;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sluicegate_crds::{AGENT_LABEL, bounds};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::suite::requests::{api_of, patches, said, tries};
use sluicegate_e2e::suite::{Space, User};

use crate::kinds::{Attempt, labelling};
use crate::owned::{everything, ours, shared};
use crate::support::{Ward, guarded};

const TAKES_NO_TOKENS: &str = "nobody takes its tokens";

/// A user with these rights on the whole cluster, and no others.
async fn with_rights(space: &Space, name: &str, rules: Value) -> Result<User> {
    let (user, rbac) = (space.user(name, None).await?, "rbac.authorization.k8s.io");
    space
        .apply(json!({"apiVersion": format!("{rbac}/v1"), "kind": "ClusterRole", "metadata": {"name": user.name}, "rules": rules}))
        .await?;
    space
        .apply(json!({
            "apiVersion": format!("{rbac}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": user.name},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": user.name},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": user.name}],
        }))
        .await?;
    Ok(user)
}

/// Waits until somebody may, as far as RBAC is asked.
async fn may(space: &Space, user: &User, attempt: Attempt) -> Result<()> {
    let tried = || async {
        match attempt.send(&user.client).await {
            Ok(_) => Ok(Some(())),
            Err(why) => Err(sluicegate_e2e::Error::Service { what: attempt.to_string(), why }),
        }
    };
    space.wait("what is allowed", 30, tried).await
}

fn patching(path: &str, body: Value) -> Attempt {
    Attempt::new(Method::PATCH, path, "application/merge-patch+json", body)
}

/// A server-side apply that is carried out.
fn applying(path: &str, manager: &str, body: Value) -> Attempt {
    let path = format!("{path}?fieldManager={manager}");
    Attempt { method: Method::PATCH, path, content: "application/apply-patch+yaml", body }
}

fn object(api: &str, kind: &str, namespace: &str, name: &str) -> Value {
    json!({"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}})
}

/// A Secret that Kubernetes fills with a token.
fn token_secret(namespace: &str, name: &str, account: &str) -> Value {
    let mut secret = object("v1", "Secret", namespace, name);
    secret["type"] = json!("kubernetes.io/service-account-token");
    secret["metadata"]["annotations"] = json!({"kubernetes.io/service-account.name": account});
    secret
}

#[test]
fn a_controller_is_believed_by_the_token_of_its_pod_alone() {
    guarded("believed", async |space| {
        let name = space.namespace("team").await?;
        // A Secret from the time before the namespace was a tenant's.
        let mut account = object("v1", "ServiceAccount", &name, "source-controller");
        account["metadata"]["labels"] = json!({});
        space.apply(account).await?;
        space.apply(token_secret(&name, "before", "source-controller")).await?;
        let filled = || async {
            let secret = space.get("v1", "Secret", &name, "before").await?.unwrap_or_default();
            Ok(secret["data"]["token"].as_str().map(str::to_owned))
        };
        let token = space.wait("Kubernetes to fill the Secret", 30, filled).await?;
        let token = String::from_utf8(base64_of(&token)).expect("a token");
        let ward = Ward::over(&space, name.clone(), &[everything()]).await?;
        let source = ward.judge.flux(
            "source.toolkit.fluxcd.io/v1",
            "GitRepository",
            json!({"interval": "1m", "url": "https://git.example.com/x"}),
        );
        space.apply(source.clone()).await?;
        let writes = async |client: &kube::Client| {
            let status = json!({"status": {"observedGeneration": 1}});
            let done = api_of(client, &source).patch_status("x", &PatchParams::default(), &Patch::Merge(&status)).await;
            done.map(|_| ()).map_err(|error| said(&error))
        };
        let bound = space.account(&name, "source-controller", Some("source-controller-x")).await?;
        space.wait("the controller's rights", 30, || async { Ok(writes(&bound.client).await.ok()) }).await?;
        let user = format!("system:serviceaccount:{name}:source-controller");
        let certificate = space.cluster().expect("a cluster of the harness").kubeconfig_for(&user, None)?;
        for (what, client) in [
            ("a token of a Secret", space.bearer(user.clone(), &token).await?.client),
            ("a token that is bound to nothing", space.account(&name, "source-controller", None).await?.client),
            ("a pod of another name", space.account(&name, "source-controller", Some("shop-x")).await?.client),
            (
                "another controller's pod",
                space.account(&name, "source-controller", Some("helm-controller-x")).await?.client,
            ),
            ("the name alone", sluicegate_e2e::api::client_from_text(&certificate).await?),
        ] {
            let why = writes(&client).await.expect_err(what);
            assert!(why.contains("only the agent of this namespace"), "{what}: {why}");
        }
        Ok(())
    });
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

#[test]
fn kubernetes_fills_no_secret_with_a_token_of_an_agent_s_account() {
    guarded("filled", async |space| {
        let (ward, member) = shared(&space).await?;
        let name = &ward.judge.name;
        for account in sluicegate_policy::guard::CONTROLLERS.into_iter().chain(["sluicegate-reconciler"]) {
            for client in [&member.client, &ward.client] {
                let why = tries(client, &token_secret(name, "x", account)).await.expect_err(account);
                assert!(why.contains(TAKES_NO_TOKENS), "{why}");
            }
        }
        // Where no agent lives yet, the names are kept all the same.
        let empty = Ward::new(&space, "empty", &[everything()]).await?;
        let why =
            tries(&empty.client, &token_secret(&empty.judge.name, "x", "helm-controller")).await.expect_err("early");
        assert!(why.contains(TAKES_NO_TOKENS), "{why}");
        space.apply(object("v1", "ServiceAccount", name, "own")).await?;
        let own = token_secret(name, "own", "own");
        space.apply(own.clone()).await?;
        let to = |account: &str| json!({"metadata": {"annotations": {"kubernetes.io/service-account.name": account}}});
        let why = patches(&member.client, &own, to("source-controller")).await.expect_err("it is made the agent's");
        assert!(why.contains(TAKES_NO_TOKENS), "{why}");
        patches(&member.client, &own, labelling(&json!({"x": "y"}))).await.expect("it is the team's own");
        Ok(())
    });
}

#[test]
fn names_of_an_agent_are_kept_before_there_is_one() {
    guarded("kept", async |space| {
        let ward = Ward::new(&space, "team", &[everything()]).await?;
        let member = ward.member("member", "cluster-admin").await?;
        let name = &ward.judge.name;
        let slice = |service: &str| {
            let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", name, "x");
            slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": service});
            slice["addressType"] = json!("IPv4");
            slice["endpoints"] = json!([{"addresses": ["192.0.2.1"]}]);
            slice
        };
        for (kept, free) in [
            (object("v1", "ServiceAccount", name, "helm-controller"), object("v1", "ServiceAccount", name, "helm")),
            (object("v1", "Endpoints", name, "source-controller"), object("v1", "Endpoints", name, "own")),
            (
                object("coordination.k8s.io/v1", "Lease", name, "helm-controller-leader-election"),
                object("coordination.k8s.io/v1", "Lease", name, "helm-leader-election"),
            ),
            (slice("source-controller"), slice("own")),
        ] {
            let why = tries(&member.client, &kept).await.expect_err("a name is taken");
            assert!(why.contains("this name is an agent's"), "{why}");
            assert_eq!(tries(&member.client, &free).await, Ok(()));
            assert_eq!(tries(&ward.client, &kept).await, Ok(()), "an administrator may");
        }
        // Nor does anybody run as one whose account was there before.
        space.apply(object("v1", "ServiceAccount", name, "helm-controller")).await?;
        let mut pod = ward.judge.pod("x:1");
        pod["spec"]["serviceAccountName"] = json!("helm-controller");
        let why = tries(&member.client, &pod).await.expect_err("it runs");
        assert!(why.contains("this account is the agent's"), "{why}");
        // A controller writes its own Lease.
        let lease = object("coordination.k8s.io/v1", "Lease", name, "source-controller-leader-election");
        let controller = space.account(name, "source-controller", Some("source-controller-x")).await?;
        space.wait("the controller's rights", 30, || async { Ok(tries(&controller.client, &lease).await.ok()) }).await
    });
}

#[test]
fn namespaces_with_the_names_of_agents_are_made_by_sluicegate() {
    guarded("squatted", async |space| {
        let rules = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]}]);
        let user = with_rights(&space, "projects", rules).await?;
        let named = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let free = named(&format!("{}-free", space.prefix()));
        space.wait("the rights", 30, || async { Ok(tries(&user.client, &free).await.ok()) }).await?;
        let generated = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "sluicegate-"}});
        for object in [named("sluicegate-shop"), named("sluicegate--pool-1"), generated] {
            let why = tries(&user.client, &object).await.expect_err("it is made");
            assert!(why.contains("choose another name"), "{why}");
            assert_eq!(tries(&space.client(), &object).await, Ok(()), "an administrator may");
        }
        Ok(())
    });
}

#[test]
fn nodes_are_drained_and_networks_are_plugged_in_but_nobody_else_moves_an_agent() {
    guarded("drains", async |space| {
        let (ward, member) = shared(&space).await?;
        let own = space.namespace("own").await?;
        let drainer = with_rights(
            &space,
            "drainer",
            json!([{"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]}]),
        )
        .await?;
        let network = with_rights(
            &space,
            "network",
            json!([{"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "patch"]}]),
        )
        .await?;
        space.bind(&member, &own, "member", ("ClusterRole", "cluster-admin")).await?;
        for namespace in [&ward.judge.name, &own] {
            let mut pod = object("v1", "Pod", namespace, "kustomize-controller-x");
            pod["metadata"]["labels"] = json!({"app.kubernetes.io/part-of": "sluicegate-agent"});
            pod["spec"] = json!({"containers": [{"name": "x", "image": "x:1"}]});
            space.apply(pod).await?;
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": own}});
        patches(&space.client(), &namespace, labelling(&json!({AGENT_LABEL: own})))
            .await
            .expect("an administrator may");
        for namespace in [&ward.judge.name, &own] {
            let path = format!("/api/v1/namespaces/{namespace}/pods/kustomize-controller-x");
            let eviction = object("policy/v1", "Eviction", namespace, "kustomize-controller-x");
            let evict = Attempt::post(&format!("{path}/eviction"), eviction);
            may(&space, &drainer, evict.clone()).await?;
            let held = || async {
                let why = evict.send(&member.client).await.expect_err("a member evicts it");
                Ok(why.contains("ValidatingAdmissionPolicy 'sluicegate-").then_some(()))
            };
            space.wait("the refusal", 30, held).await?;
            let status = |patch: Value| patching(&format!("{path}/status"), patch);
            let annotations = json!({"metadata": {"annotations": {"cni.example.com/address": "192.0.2.1"}}});
            may(&space, &network, status(annotations.clone())).await?;
            let labels = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": null}}});
            for (client, patch) in
                [(&network.client, &labels), (&member.client, &labels), (&member.client, &annotations)]
            {
                let why = status(patch.clone()).send(client).await.expect_err("its metadata changes");
                assert!(why.contains("ValidatingAdmissionPolicy 'sluicegate-"), "{why}");
            }
        }
        Ok(())
    });
}

#[test]
fn add_ons_that_administrators_name_write_beside_an_agent_and_nothing_of_it() {
    guarded("add-ons", async |space| {
        let namespace = space.namespace("agent").await?;
        let own = json!({AGENT_LABEL: namespace, "app.kubernetes.io/managed-by": "sluicegate"});
        let object_of = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        patches(&space.client(), &object_of, labelling(&own)).await.expect("an administrator may");
        let verbs = ["get", "create", "update", "patch", "delete"];
        let rights = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": verbs});
        let maintains = json!({"apiGroups": ["sluicegate.dev"], "resources": ["tenantguards"], "verbs": ["maintain"]});
        let named = with_rights(&space, "named", json!([rights, maintains])).await?;
        let other = with_rights(&space, "other", json!([rights])).await?;
        let map = object("v1", "ConfigMap", &namespace, "authority");
        space.wait("the rights", 30, || async { Ok(tries(&named.client, &map).await.ok()) }).await?;
        let mut planted = map.clone();
        planted["metadata"]["labels"] = own;
        let mut source = object("source.toolkit.fluxcd.io/v1", "GitRepository", &namespace, "x");
        source["spec"] = json!({"interval": "1m", "url": "https://git.example.com/x"});
        for (user, refused) in [(&named, &planted), (&named, &source), (&other, &map)] {
            let why = tries(&user.client, refused).await.expect_err("it is written");
            assert!(why.contains("this namespace is an agent's"), "{why}");
        }
        let exec = format!("/api/v1/namespaces/{namespace}/pods/x/exec?command=ls");
        let why = Attempt::connection(Method::POST, &exec).send(&named.client).await.expect_err("it enters");
        assert!(why.contains("this namespace is an agent's"), "{why}");
        Ok(())
    });
}

#[test]
fn kubernetes_goes_on_copying_labels_of_ours() {
    guarded("copies", async |space| {
        let (ward, _) = shared(&space).await?;
        let mut service = object("v1", "Service", &ward.judge.name, "source-controller");
        service["metadata"]["labels"] = ours(&ward);
        service["spec"] = json!({"ports": [{"port": 80}], "selector": {"app": "x"}});
        space.apply(service).await?;
        let mut deployment = object("apps/v1", "Deployment", &ward.judge.name, "own");
        let template = json!({"metadata": {"labels": {"app": "x", "app.kubernetes.io/part-of": "sluicegate-agent"}},
            "spec": {"containers": [{"name": "x", "image": "x:1"}]}});
        deployment["spec"] = json!({"replicas": 1, "selector": {"matchLabels": {"app": "x"}}, "template": template});
        space.apply(deployment).await?;
        let name = &ward.judge.name;
        let copied = || async {
            let slices = format!(
                "/apis/discovery.k8s.io/v1/namespaces/{name}/endpointslices?labelSelector=sluicegate.dev/agent"
            );
            let pods = format!("/api/v1/namespaces/{name}/pods?labelSelector=app.kubernetes.io/part-of");
            let slices = crate::kinds::get(&space.client(), &slices).await?;
            let pods = crate::kinds::get(&space.client(), &pods).await?;
            let some = |list: &Value| list["items"].as_array().is_some_and(|items| !items.is_empty());
            Ok((some(&slices) && some(&pods)).then_some(()))
        };
        space.wait("slices and pods with the labels of what they are made from", 60, copied).await
    });
}

#[test]
fn the_metadata_of_a_flux_config_is_bounded_whoever_writes_it() {
    guarded("bounded", async |space| {
        let home = space.namespace("home").await?;
        let config = |metadata: Value| {
            let mut config = object("sluicegate.dev/v1alpha1", "FluxConfig", &home, "x");
            config["spec"] = json!({"source": {"url": "https://git.example.com/x"}});
            for (field, value) in metadata.as_object().cloned().unwrap_or_default() {
                config["metadata"][field] = value;
            }
            config
        };
        let numbered = |number: usize, value: &str| -> Value {
            (0..number).map(|at| (format!("example.com/{at}"), json!(value))).collect::<serde_json::Map<_, _>>().into()
        };
        let prefixed = |number: usize| -> Value {
            let prefix = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
            let key = |at: usize| format!("{prefix}/{at}{}", "x".repeat(58));
            (0..number).map(|at| (key(at), json!("v".repeat(63)))).collect::<serde_json::Map<_, _>>().into()
        };
        let owner = |uid: usize, name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid.to_string()});
        let owners = |number: usize, name: &str| (0..number).map(|uid| owner(uid, name)).collect::<Vec<_>>();
        let finalizers = |number: usize| (0..number).map(|at| format!("example.com/{at}")).collect::<Vec<_>>();
        let (entries, references) = (bounds::METADATA_ENTRIES, bounds::METADATA_REFERENCES);
        let applied = |size: usize| json!({"kubectl.kubernetes.io/last-applied-configuration": "é".repeat(size / 2)});
        let client = space.client();
        for fits in [
            json!({"labels": numbered(entries, "x")}),
            json!({"labels": prefixed(40)}),
            json!({"annotations": numbered(entries, &"x".repeat(200))}),
            json!({"annotations": applied(bounds::LAST_APPLIED_BYTES)}),
            json!({"finalizers": finalizers(references)}),
            json!({"ownerReferences": owners(references, "x")}),
        ] {
            assert_eq!(tries(&client, &config(fits.clone())).await, Ok(()), "{fits}");
        }
        let too_much = "metadata: this FluxConfig has more than";
        for exceeds in [
            json!({"labels": numbered(entries + 1, "x")}),
            json!({"labels": prefixed(50)}),
            // As large as a request may be.
            json!({"labels": prefixed(3000)}),
            json!({"annotations": numbered(entries + 1, "x")}),
            json!({"annotations": numbered(entries, &"é".repeat(200))}),
            json!({"annotations": applied(bounds::LAST_APPLIED_BYTES + 2)}),
            json!({"finalizers": finalizers(references + 1)}),
            json!({"ownerReferences": owners(references + 1, "x")}),
            json!({"ownerReferences": owners(1, &"x".repeat(5000))}),
        ] {
            let why = tries(&client, &config(exceeds.clone())).await.expect_err("it is too much");
            assert!(why.contains(too_much), "{}: {why}", &exceeds.to_string()[..80]);
        }
        // As many finalizers as there may be, and the operator's own.
        let mut all = finalizers(references);
        all.push("sluicegate.dev/agent".to_owned());
        let full = config(json!({"finalizers": all}));
        space.apply(full.clone()).await?;
        patches(&client, &full, json!({"metadata": {"finalizers": ["sluicegate.dev/agent"]}})).await.expect("fewer");

        let rights = json!([{"apiGroups": ["sluicegate.dev"], "resources": ["fluxconfigs", "fluxconfigs/status"], "verbs": ["*"]}]);
        let team = with_rights(&space, "team", rights).await?;
        let path = format!("/apis/sluicegate.dev/v1alpha1/namespaces/{home}/fluxconfigs/x");
        may(&space, &team, patching(&path, labelling(&json!({"x": "y"})))).await?;
        // Every name of a field manager leaves an entry.
        let mut refused = None;
        for number in 0..=bounds::FIELD_MANAGERS {
            let applied = json!({"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig", "metadata": {"name": "x", "labels": {"x": "y"}}});
            let attempt = applying(&path, &format!("manager-{number}"), applied);
            refused = attempt.send(&team.client).await.err();
            if refused.is_some() {
                break;
            }
        }
        assert!(refused.as_ref().is_some_and(|why| why.contains(too_much)), "{refused:?}");
        // Field managers that name fields which are nowhere.
        let fields: serde_json::Map<String, Value> = (0..9000).map(|at| (format!("f:field-{at}"), json!({}))).collect();
        let entry = json!({"manager": "m", "operation": "Update", "apiVersion": "sluicegate.dev/v1alpha1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields}});
        let mut whole = crate::kinds::get(&client, &path).await?;
        whole["metadata"]["managedFields"] = json!([entry]);
        let attempt = Attempt::new(Method::PUT, &path, "application/json", whole);
        match attempt.send(&team.client).await {
            Err(why) => assert!(why.contains(too_much), "{why}"),
            Ok(stored) => assert!(stored["metadata"]["managedFields"].to_string().len() < bounds::FIELD_MANAGERS_BYTES),
        }
        Ok(())
    });
}
