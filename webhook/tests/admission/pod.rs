//! Pods in tenants' namespaces: what they run and mount, and as whom.

use serde_json::{Value, json};
use sluicegate_crds::GuardMode;

use super::world::{Ask, complete, config, guarded, guarded_by, guarded_with, guarding, pod};

const GOOD: &str = "registry.example.com/team-a/shop:1.0";
const BAD: &str = "evil.example/x:1";

fn running(image: &str) -> Value {
    pod("team-a", json!({"containers": [{"name": "shop", "image": image}]}))
}

#[test]
fn accepts_images_that_policy_allows() {
    for image in [GOOD, "nginx:1.27", "docker.io/library/nginx:1.27"] {
        Ask::create("Pod", running(image)).passes(&guarded());
    }
    Ask::create("Pod", pod("team-a", json!({}))).passes(&guarded());
}

#[test]
fn rejects_images_wherever_a_pod_names_them() {
    for (list, entry, field) in [
        ("containers", json!({"image": BAD}), "containers[0].image"),
        ("initContainers", json!({"image": BAD}), "initContainers[0].image"),
        ("ephemeralContainers", json!({"image": BAD}), "ephemeralContainers[0].image"),
        ("volumes", json!({"image": {"reference": BAD}}), "volumes[0].image.reference"),
    ] {
        let why = format!("spec.{field}: no policy allows tenant team-a this image [image-not-allowed]");
        let object = pod("team-a", json!({list: [entry]}));
        Ask::create("Pod", object.clone()).is_refused(&guarded(), &why);
        // `kubectl debug` comes as an update of a subresource.
        Ask::update("Pod", running(GOOD), object)
            .set("subResource", json!("ephemeralcontainers"))
            .is_refused(&guarded(), &why);
    }
}

#[test]
fn says_what_check_says() {
    let said = Ask::create("Pod", running("nginx")).is_refused(&guarded(), "[image-tag-denied]");
    assert!(said.contains("\n  decided by: policy teams, spec.images.denyTags[0]\n  help: name a version"), "{said}");
    let said = Ask::create("Pod", running(BAD)).is_refused(&guarded(), "spec.containers[0].image: ");
    assert!(
        said.contains(
            "\n  allowed: docker.io/library/nginx, registry.example.com/team-a/**\n  decided by: policy teams"
        ),
        "{said}"
    );
    Ask::create("Pod", running("sha256:abc")).is_refused(&guarded(), "[invalid-image]");
    let many: Vec<Value> = (0..20).map(|number| json!({"image": format!("{BAD}.{number}")})).collect();
    let said =
        Ask::create("Pod", pod("team-a", json!({"containers": many}))).is_refused(&guarded(), "[image-not-allowed]");
    assert!(said.ends_with("… and 12 more"), "{said}");
}

#[test]
fn of_an_update_what_is_new_is_judged() {
    let bad = running(BAD);
    let mut finalized = bad.clone();
    finalized["metadata"]["finalizers"] = json!([]);
    finalized["spec"]["initContainers"] = json!([{"image": GOOD}]);
    Ask::update("Pod", bad.clone(), finalized).passes(&guarded());
    let mut moved = bad.clone();
    moved["spec"]["initContainers"] = json!([{"image": BAD}]);
    Ask::update("Pod", bad.clone(), moved).passes(&guarded());
    Ask::update("Pod", bad, running("evil.example/y:1")).is_refused(&guarded(), "[image-not-allowed]");
    Ask::delete("Pod", running(BAD)).passes(&guarded());
}

#[test]
fn a_name_that_is_generated_does_not_matter() {
    let mut object = running(BAD);
    object["metadata"] = json!({"generateName": "shop-", "namespace": "team-a"});
    let ask = Ask::create("Pod", object);
    ask.clone().set("name", json!("")).is_refused(&guarded(), "[image-not-allowed]");
}

#[test]
fn what_the_server_records_is_not_looked_at() {
    let mut object = running(GOOD);
    object["metadata"]["managedFields"] = json!([{"fieldsV1": {"containers": [{"image": BAD}]}}]);
    object["status"] = json!({"containerStatuses": [{"image": BAD}], "containers": [{"image": BAD}]});
    Ask::create("Pod", object).passes(&guarded());
}

#[test]
fn images_that_a_team_narrows_to_are_all_it_gets() {
    let mut spec = complete("team-a");
    spec["images"] = json!(["registry.example.com/team-a/web/**"]);
    let narrowed = guarded_with(guarding(), &[config("team-a", "shop", spec.clone())]);
    Ask::create("Pod", running("registry.example.com/team-a/web/x:1")).passes(&narrowed);
    Ask::create("Pod", running(GOOD)).is_refused(&narrowed, "the team's own FluxConfig narrows the list");
    // One that does not narrow lets all in again.
    let both = [config("team-a", "shop", spec.clone()), config("team-a", "other", complete("team-a"))];
    Ask::create("Pod", running(GOOD)).passes(&guarded_with(guarding(), &both));
    // What is not admitted says nothing.
    spec["source"]["url"] = json!("https://evil.example/x");
    let refused = guarded_with(guarding(), &[config("team-a", "shop", spec)]);
    Ask::create("Pod", running(GOOD)).passes(&refused);
}

#[test]
fn nobody_runs_as_an_agent() {
    let as_account = |account: &str| {
        pod(
            "shared",
            json!({"serviceAccountName": account, "containers": [{"image": "registry.example.com/team-b/x:1"}]}),
        )
    };
    let why = "serviceAccountName: this account is the agent's, and nobody else runs as it";
    for account in ["kustomize-controller", "sluicegate-reconciler"] {
        let ask = Ask::create("Pod", as_account(account));
        ask.is_refused(&guarded(), why);
        ask.clone().by(super::world::OPERATOR).passes(&guarded());
        // Kubernetes makes the pods of the agent's Deployments.
        let kubernetes = json!({"username": "system:serviceaccount:kube-system:replicaset-controller",
            "groups": ["system:serviceaccounts", "system:serviceaccounts:kube-system"]});
        ask.clone().set("userInfo", kubernetes).passes(&guarded());
        Ask::update("Pod", as_account(account), as_account(account)).passes(&guarded());
        Ask::update("Pod", as_account("own"), as_account(account)).is_refused(&guarded(), why);
    }
    Ask::create("Pod", as_account("own")).passes(&guarded());
    // Where no agent lives yet one may tomorrow.
    let mut object = running(GOOD);
    object["spec"]["serviceAccountName"] = json!("kustomize-controller");
    Ask::create("Pod", object).is_refused(&guarded(), why);
}

#[test]
fn an_agent_runs_its_own_images_and_no_others() {
    let running = |image: &str| pod("shared", json!({"containers": [{"image": image}]}));
    Ask::create("Pod", running("ghcr.io/fluxcd/kustomize-controller:v1.9.4")).passes(&guarded());
    Ask::create("Pod", running("ghcr.io/fluxcd/kustomize-controller:v1.9.5"))
        .is_refused(&guarded(), "[image-not-allowed]");
}

#[test]
fn with_another_guard_nothing_is_refused_here() {
    for mode in [GuardMode::Native, GuardMode::Off] {
        Ask::create("Pod", running(BAD)).passes(&guarded_by(mode, guarding(), &[]));
    }
}
