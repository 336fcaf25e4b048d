//! The cluster is a real one: pods run, names resolve, Services route, policies and rights hold. Needs the cluster that
//! `cargo xtask cluster up` (or `run`) starts, or `SLUICEGATE_E2E_KUBECONFIG`.

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::cluster::artifacts;
use sluicegate_e2e::images::PROBE_IMAGE;
use sluicegate_e2e::network::{API_SERVICE_ADDRESS, GIT_HOST, NODE_ADDRESS, REGISTRY_HOST, REGISTRY_PORT};
use sluicegate_e2e::suite::{apply_as, create_as, http, skip, test};

/// The code of an API server's refusal; 0 for everything else.
fn code<T>(result: &Result<T, Error>) -> u16 {
    match result {
        Err(Error::Api { source, .. }) => match &**source {
            kube::Error::Api(status) => status.code,
            _ => 0,
        },
        _ => 0,
    }
}

fn message<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::Api { source, .. }) => source.to_string(),
        Err(error) => error.to_string(),
        Ok(_) => String::new(),
    }
}

#[test]
fn pods_run_and_resolve_names() {
    test("smoke-dns", async |space| {
        let namespace = space.namespace("a").await?;
        let probe = space.probe(&namespace, "probe", json!({}), json!({})).await?;
        let addresses = probe.resolve("kubernetes.default.svc.cluster.local").await?;
        if space.cluster().is_some() {
            assert_eq!(addresses, API_SERVICE_ADDRESS);
            assert_eq!(probe.resolve(GIT_HOST).await?, NODE_ADDRESS);
        }
        assert!(!addresses.is_empty());
        assert!(
            message(probe.resolve("nowhere.invalid.").await).contains("no such host"),
            "a name that does not exist is denied, not waited for"
        );
        Ok(())
    });
}

#[test]
fn a_service_routes_to_its_pods() {
    test("smoke-service", async |space| {
        let namespace = space.namespace("a").await?;
        space.probe(&namespace, "server", json!({"app": "server"}), json!({})).await?;
        let client = space.probe(&namespace, "client", json!({}), json!({})).await?;
        space
            .apply(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
                "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
            }))
            .await?;
        let url = format!("http://web.{namespace}.svc.cluster.local/echo?text=hello");
        let answer = space.wait("the Service's answer", 60, || async { client.get(&url).await.map(Some) }).await?;
        assert_eq!(answer, "200\nhello");
        Ok(())
    });
}

#[test]
fn a_secret_and_an_account_s_token_mount_into_a_pod() {
    test("smoke-secret", async |space| {
        let namespace = space.namespace("a").await?;
        space.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": namespace}, "stringData": {"key": "value"}})).await?;
        let extra = json!({
            "volumes": [{"name": "s", "secret": {"secretName": "s"}}],
            "containers": [{"volumeMounts": [{"name": "s", "mountPath": "/secret"}]}],
        });
        let probe = space.probe(&namespace, "probe", json!({}), extra).await?;
        assert_eq!(probe.file("/secret/key").await?, "value");
        let token = probe.file("/var/run/secrets/kubernetes.io/serviceaccount/token").await?;
        assert_eq!(token.split('.').count(), 3, "a signed token");
        Ok(())
    });
}

#[test]
fn a_user_has_the_rights_that_rbac_gives_and_no_others() {
    test("smoke-rbac", async |space| {
        let (own, foreign) = (space.namespace("own").await?, space.namespace("foreign").await?);
        let user = space.user("alice", None).await?;
        let config_map = |namespace: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}});
        assert_eq!(code(&create_as(&user.client, config_map(&own)).await), 403, "without a binding");
        space.bind(&user, &own, "alice", ("ClusterRole", "edit")).await?;
        space
            .wait("the binding's effect", 30, || async { create_as(&user.client, config_map(&own)).await.map(Some) })
            .await?;
        assert_eq!(code(&create_as(&user.client, config_map(&foreign)).await), 403, "in another namespace");
        let escalation = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "more", "namespace": own},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user.name}],
        });
        assert_eq!(code(&apply_as(&user.client, escalation).await), 403, "more than it has");
        if let Some(cluster) = space.cluster() {
            let path = cluster.layout().path("logs/audit.log");
            let logged = space.wait("the audit log", 30, || async {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                Ok(log.lines().any(|line| line.contains(&user.name) && line.contains("\"code\":403")).then_some(()))
            });
            logged.await?;
        }
        Ok(())
    });
}

#[test]
fn a_network_policy_stops_ingress() {
    test("smoke-ingress", async |space| {
        let (namespace, other) = (space.namespace("a").await?, space.namespace("b").await?);
        let server = space.probe(&namespace, "server", json!({"app": "server"}), json!({})).await?;
        let friend = space.probe(&namespace, "friend", json!({"app": "friend"}), json!({})).await?;
        let stranger = space.probe(&other, "stranger", json!({"app": "friend"}), json!({})).await?;
        let address = format!("{}:8080", server.address);
        friend.connect(&address).await?;
        stranger.connect(&address).await?;
        space
            .apply(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": namespace},
                "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}]}]},
            }))
            .await?;
        space
            .wait("the policy to stop the stranger", 60, || async {
                Ok(stranger.connect(&address).await.is_err().then_some(()))
            })
            .await?;
        friend.connect(&address).await?;
        Ok(())
    });
}

#[test]
fn a_network_policy_stops_egress_to_pods_services_and_the_node() {
    test("smoke-egress", async |space| {
        let namespace = space.namespace("a").await?;
        let server = space.probe(&namespace, "server", json!({"app": "server"}), json!({})).await?;
        let client = space.probe(&namespace, "client", json!({"app": "client"}), json!({})).await?;
        space
            .apply(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": namespace},
                "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8080}]},
            }))
            .await?;
        let (pod, service) = (format!("{}:8080", server.address), format!("web.{namespace}.svc.cluster.local:80"));
        space.wait("the Service", 60, || async { client.connect(&service).await.map(Some) }).await?;
        client.connect(&pod).await?;
        client.connect("kubernetes.default.svc.cluster.local:443").await?;
        // DNS stays allowed, so that what is refused is the connection and not its name.
        let policy = |allowed: Value| {
            let mut egress = vec![json!({"ports": [{"port": 53, "protocol": "UDP"}]})];
            egress.extend(allowed.as_array().cloned().unwrap_or_default());
            json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": namespace},
                "spec": {"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": egress},
            })
        };
        space.apply(policy(json!([]))).await?;
        space
            .wait("the policy to stop the client", 60, || async {
                Ok(client.connect(&pod).await.is_err().then_some(()))
            })
            .await?;
        assert!(client.connect(&service).await.is_err(), "a Service's address is no way around");
        assert!(
            client.connect("kubernetes.default.svc.cluster.local:443").await.is_err(),
            "nor is the API server open"
        );
        assert!(client.connect(&format!("{NODE_ADDRESS}:443")).await.is_err(), "nor the node's own address");
        space.apply(policy(json!([{"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}]))).await?;
        space.wait("the allowed pod", 60, || async { client.connect(&service).await.map(Some) }).await?;
        Ok(())
    });
}

#[test]
fn a_webhook_on_the_host_is_called_by_the_api_server() {
    test("smoke-webhook", async |space| {
        let Some(cluster) = space.cluster() else {
            return skip(space.name(), "needs the harness's network");
        };
        let namespace = space.namespace("a").await?;
        let socket = cluster.listen(0)?;
        let port = socket.local_addr().map(|address| address.port()).unwrap_or_default();
        let authority = cluster.authority()?;
        http::serve(socket, &authority.server("webhook", &[NODE_ADDRESS])?, |body| {
            let review: Value = serde_json::from_slice(body).unwrap_or_default();
            let allowed = review["request"]["object"]["data"]["wanted"] != "no";
            let response =
                json!({"uid": review["request"]["uid"], "allowed": allowed, "status": {"message": "the host says no"}});
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
                .to_string()
                .into_bytes()
        })?;
        let name = space.prefix();
        use base64::Engine as _;
        space
            .apply(json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name},
                "webhooks": [{
                    "name": "host.sluicegate.test", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 5,
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                    "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
                    "clientConfig": {"url": format!("https://{NODE_ADDRESS}:{port}/"), "caBundle": base64::engine::general_purpose::STANDARD.encode(&authority.certificate)},
                }],
            }))
            .await?;
        let config_map = |name: &str, wanted: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"wanted": wanted}});
        let client = space.client();
        let refused = space
            .wait("the webhook's refusal", 30, || async {
                let result = create_as(&client, config_map("denied", "no")).await;
                space.delete("v1", "ConfigMap", &namespace, "denied").await?;
                Ok(result.is_err().then(|| message(result)))
            })
            .await;
        let allowed = create_as(&client, config_map("allowed", "yes")).await;
        space.delete("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "", name).await?;
        assert!(refused?.contains("the host says no"));
        allowed
    });
}

#[test]
fn a_validating_admission_policy_is_enforced() {
    test("smoke-vap", async |space| {
        let namespace = space.namespace("a").await?;
        let name = space.prefix();
        let kind = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        space
            .apply(kind(
                "ValidatingAdmissionPolicy",
                json!({
                    "failurePolicy": "Fail",
                    "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]},
                    "validations": [{"expression": "!has(object.data) || !('bad' in object.data)", "message": "no bad data"}],
                }),
            ))
            .await?;
        let selector = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}});
        space
            .apply(kind(
                "ValidatingAdmissionPolicyBinding",
                json!({"policyName": name, "validationActions": ["Deny"], "matchResources": selector}),
            ))
            .await?;
        let client = space.client();
        let refused = space
            .wait("the policy's refusal", 60, || async {
                let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}, "data": {"bad": "x"}});
                let result = create_as(&client, object).await;
                space.delete("v1", "ConfigMap", &namespace, "c").await?;
                Ok(result.is_err().then(|| message(result)))
            })
            .await;
        for kind in ["ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"] {
            space.delete("admissionregistration.k8s.io/v1", kind, "", name).await?;
        }
        assert!(refused?.contains("no bad data"));
        Ok(())
    });
}

#[test]
fn the_node_pulls_an_image_from_the_registry() {
    test("smoke-pull", async |space| {
        if space.cluster().is_none() {
            return skip(space.name(), "needs the harness's registry");
        }
        let namespace = space.namespace("a").await?;
        let (_, path) = PROBE_IMAGE.split_once('/').unwrap_or_default();
        let image = format!("{REGISTRY_HOST}:{REGISTRY_PORT}/{path}");
        let extra = json!({"containers": [{"image": image, "imagePullPolicy": "Always"}]});
        space.probe(&namespace, "pulled", json!({}), extra).await?;
        Ok(())
    });
}

#[test]
fn a_test_that_fails_leaves_events_objects_and_logs() {
    let prefix = std::sync::Mutex::new(String::new());
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        test("smoke-fails", async |space| {
            *prefix.lock().expect("a lock") = space.prefix().to_owned();
            let namespace = space.namespace("a").await?;
            space.probe(&namespace, "witness", json!({}), json!({})).await?;
            Err(Error::Service { what: "this test".into(), why: "it fails on purpose".into() })
        });
    }));
    assert!(outcome.is_err(), "an error of the body fails the test");
    let prefix = prefix.into_inner().expect("a lock");
    let folder = artifacts().join(&prefix);
    let read = |file: &str| {
        std::fs::read_to_string(folder.join(format!("{prefix}-a")).join(file))
            .unwrap_or_else(|error| panic!("{file}: {error}"))
    };
    assert!(read("events.txt").contains("Pod/witness Started"), "{}", read("events.txt"));
    assert!(read("pods.json").contains("\"witness\""));
    read("witness.probe.log");
    std::fs::remove_dir_all(&folder).expect("removed");
}
