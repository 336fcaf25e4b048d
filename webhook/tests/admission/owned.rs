//! What belongs to an agent or to Sluicegate: TenantGuards, an agent's pods, accounts and scale, the status of Flux objects.

use serde_json::{Value, json};
use sluicegate_crds::GuardMode;
use sluicegate_webhook::decide::Hook;

use super::world::{Ask, OPERATOR, guarded, guarded_by, guarding};

fn access(group: &str, resource: &str, sub: &str, operation: &str, name: &str) -> Ask {
    Ask::about(group, "Whatever", resource, operation)
        .set("namespace", json!("shared"))
        .set("name", json!(name))
        .set("subResource", json!(sub))
        .set("object", json!({"kind": "Whatever"}))
}

#[test]
fn nobody_enters_the_pods_of_an_agent() {
    for sub in ["exec", "attach", "portforward", "proxy"] {
        let enter = |pod: &str| access("", "pods", sub, "CONNECT", pod);
        for pod in ["kustomize-controller", "kustomize-controller-7d9f-x2b"] {
            enter(pod).is_refused(&guarded(), "this pod is the agent's, and nobody enters it");
            enter(pod).by(OPERATOR).passes(&guarded());
        }
        for pod in ["shop", "kustomize-controllers", "my-kustomize-controller-x"] {
            enter(pod).passes(&guarded());
        }
        // Where no agent lives.
        enter("kustomize-controller-x").set("namespace", json!("team-a")).passes(&guarded());
    }
}

#[test]
fn a_proxied_name_may_have_a_scheme_and_a_port() {
    for resource in ["pods", "services"] {
        let enter = |name: &str| access("", resource, "proxy", "CONNECT", name);
        for name in [
            "kustomize-controller-x:8080",
            "http:kustomize-controller-x:8080",
            "https:kustomize-controller:",
            "x:kustomize-controller",
        ] {
            enter(name).is_refused(&guarded(), "nobody enters it");
        }
        enter("http:shop:8080").passes(&guarded());
    }
}

#[test]
fn nobody_evicts_binds_or_scales_an_agent() {
    let why = "this is the agent's, and nobody evicts, binds or scales it";
    let scales = ["deployments", "statefulsets", "whatevers"].map(|resource| ("apps", resource, "scale", "UPDATE"));
    for (group, resource, sub, operation) in scales {
        let of = |name: &str| access(group, resource, sub, operation, name);
        of("kustomize-controller").is_refused(&guarded(), why);
        of("kustomize-controller").by(OPERATOR).passes(&guarded());
        for name in ["shop", "kustomize-controller-x"] {
            of(name).passes(&guarded());
        }
    }
    for (group, resource, sub, operation) in [
        ("apps", "replicasets", "scale", "UPDATE"),
        ("", "pods", "eviction", "CREATE"),
        ("", "pods", "binding", "CREATE"),
        ("", "bindings", "", "CREATE"),
    ] {
        let of = |name: &str| access(group, resource, sub, operation, name);
        for name in ["kustomize-controller", "kustomize-controller-x"] {
            of(name).is_refused(&guarded(), why);
            of(name).by(OPERATOR).passes(&guarded());
            of(name).set("namespace", json!("team-a")).passes(&guarded());
        }
        for name in ["shop", "kustomize-controllers", "my-kustomize-controller"] {
            of(name).passes(&guarded());
        }
    }
}

#[test]
fn refuses_what_the_api_server_has_found_to_be_sluicegate_s() {
    for (policy, why) in [
        ("tenantguards", "a TenantGuard follows from policies"),
        ("objects", "this is Sluicegate's"),
        ("flux-status", "status: only the agent of this namespace writes the status of Flux objects"),
        ("agent-namespaces", "this namespace is an agent's"),
        ("namespaces", "metadata.labels: only administrators and Sluicegate say whose a namespace is"),
        ("namespace-names", "metadata.name: Sluicegate names the namespaces of agents"),
        ("names", "this name is an agent's"),
        ("tokens", "metadata.annotations[kubernetes.io/service-account.name]: Kubernetes would fill this Secret"),
        ("planted", "metadata.labels: app.kubernetes.io/managed-by=sluicegate and sluicegate.dev/agent together"),
        ("fluxconfig-metadata", "metadata: this FluxConfig has more than 64 labels"),
    ] {
        let hook = Hook::at(&format!("/refuse/{policy}")).unwrap();
        for operation in ["CREATE", "UPDATE", "DELETE", "CONNECT"] {
            let ask = Ask::about("sluicegate.dev", "TenantGuard", "tenantguards", operation)
                .set("namespace", json!("team-a"));
            let answer = ask.at(hook, &guarded());
            assert!(answer.refusal().is_some_and(|said| said.starts_with(why)), "{answer:?}");
            for mode in [GuardMode::Native, GuardMode::Off] {
                assert!(ask.at(hook, &guarded_by(mode, guarding(), &[])).is_allowed(), "{mode:?}");
            }
        }
    }
    for policy in ["pods", "flux", "access", "", "x"] {
        assert_eq!(Hook::at(&format!("/refuse/{policy}")), None);
    }
}

#[test]
fn no_network_policy_of_a_team_opens_an_agent_beside_it() {
    let policy = |namespace: &str, selector: Value| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "x", "namespace": namespace},
            "spec": {"podSelector": selector, "policyTypes": ["Egress"], "egress": [{}]},
        })
    };
    let ask = |object: Value| Ask::create("NetworkPolicy", object);
    let said = ask(policy("shared", json!({}))).is_refused(&guarded(), "spec.podSelector: NetworkPolicies add up");
    assert!(said.contains("operator: NotIn, values: [sluicegate-agent]"), "{said}");
    ask(policy("shared", json!({"matchLabels": {"app": "shop"}}))).passes(&guarded());
    ask(policy("team-a", json!({}))).passes(&guarded());
    ask(policy("shared", json!({}))).by(OPERATOR).passes(&guarded());
    let old = policy("shared", json!({}));
    Ask::update("NetworkPolicy", old.clone(), old).passes(&guarded());
    let own = policy("shared", json!({"matchLabels": {"app": "shop"}}));
    Ask::update("NetworkPolicy", own, policy("shared", json!({}))).is_refused(&guarded(), "spec.podSelector: ");
}
