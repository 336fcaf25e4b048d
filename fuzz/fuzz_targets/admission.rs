//! Deciding: whatever the objects of a request are, there is an answer, it is the engine's, and a change is never judged more
//! strictly than the same object when it is new.
#![no_main]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json, value::RawValue};
use sluicegate_crds::{FluxPolicy, GuardMode, TENANT_LABEL};
use sluicegate_policy::{
    Answer as Verdict, Labels, PolicySet, Question, ask,
    grammar::TenantName,
    guard::Residents,
    workload::{Reach, reaches},
};
use sluicegate_webhook::{
    decide::{Budget, Hook, decide},
    review::{self, Answer, Reading, read},
    snapshot::Snapshot,
};

const TEAM: &str = "team-a";
const CLUSTER: &str = "prod-eu";

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let policy: FluxPolicy = serde_json::from_value(json!({
        "apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxPolicy", "metadata": {"name": "teams"},
        "spec": {
            "tenants": {"names": ["team-*"]},
            "sources": {
                "git": {"allow": ["https://git.example.com/${tenant}/**"], "deny": ["https://git.example.com/*/attic"]},
                "oci": {"allow": ["oci://registry.example.com/**"]}, "helm": {"allow": ["**"]},
            },
            "images": {"allow": ["registry.example.com/${tenant}/**", "docker.io/library/*"], "denyTags": ["latest"]},
            "destinations": [{"clusters": ["*"], "namespaces": ["${tenant}", "${tenant}-*"]}],
            "defaults": {"cluster": CLUSTER, "namespace": "${tenant}", "ref": {"branch": "main"}, "path": "./"},
        },
    }))
    .expect("a policy");
    let tenant = Labels::from([(TENANT_LABEL.to_owned(), TEAM.to_owned())]);
    let residents = Residents {
        operator: "operator".to_owned(),
        accounts: vec!["agent".to_owned()],
        images: vec!["ghcr.io/fluxcd/x:1".to_owned()],
    };
    Snapshot::new(
        PolicySet::compile([&policy]),
        Arc::new(BTreeMap::from([(TEAM.into(), tenant.into())])),
        Arc::new(BTreeMap::from([(CLUSTER.into(), Labels::new().into())])),
        Arc::default(),
    )
    .guarding(
        &BTreeMap::from([(CLUSTER.to_owned(), GuardMode::Webhook)]),
        &BTreeMap::from([(TEAM.to_owned(), residents)]),
    )
});

/// Group, version, kind, resource.
const KINDS: [(&str, &str, &str, &str); 12] = [
    ("", "v1", "Pod", "pods"),
    ("apps", "v1", "Deployment", "deployments"),
    ("batch", "v1", "CronJob", "cronjobs"),
    ("source.toolkit.fluxcd.io", "v1", "GitRepository", "gitrepositories"),
    ("source.toolkit.fluxcd.io", "v1", "Bucket", "buckets"),
    ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", "kustomizations"),
    ("helm.toolkit.fluxcd.io", "v2", "HelmRelease", "helmreleases"),
    ("image.toolkit.fluxcd.io", "v1", "ImageRepository", "imagerepositories"),
    ("notification.toolkit.fluxcd.io", "v1", "Receiver", "receivers"),
    ("sluicegate.dev", "v1alpha1", "FluxConfig", "fluxconfigs"),
    ("sluicegate.dev", "v1alpha1", "FluxPolicy", "fluxpolicies"),
    ("", "v1", "Namespace", "namespaces"),
];

fn answer(hook: Hook, request: &Value, object: &RawValue, old: Option<&RawValue>) -> Answer {
    let texts = (serde_json::to_string(object), serde_json::to_string(&old));
    let (Ok(object), Ok(old)) = texts else { unreachable!("they came as texts") };
    let mut request = request.to_string();
    request.pop();
    let body = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{request},"object":{object},"oldObject":{old}}}}}"#
    );
    let read = read(body.as_bytes(), hook.reading()).expect("a review");
    let budget = Budget::until(Instant::now() + Duration::from_secs(60));
    let answer = decide(hook, read, &SNAPSHOT, budget);
    let texts = review::read(body.as_bytes(), Reading::Texts).expect("a review");
    assert_eq!(answer, decide(hook, texts, &SNAPSHOT, budget), "an object that is read once is judged otherwise");
    if let Some(refusal) = answer.refusal() {
        assert!(!refusal.is_empty() && refusal.len() < 20_000);
        assert!(!refusal.contains(|c: char| c.is_control() && c != '\n'), "{refusal:?}");
    }
    answer
}

/// What the engine says of the tree, as `check` asks it.
fn engine_refuses(object: &Value) -> bool {
    let tenant = TenantName::new(TEAM).expect("a name");
    reaches(object).iter().any(|reach| {
        let question = match reach {
            Reach::Forbidden(_) => return true,
            // The agent's own.
            Reach::Image { image, .. } if image == "ghcr.io/fluxcd/x:1" => return false,
            Reach::Image { image, .. } => Question::Pull { image, narrowing: &[] },
            Reach::Source { url, kind, .. } => Question::Sync { url, kind: Some(*kind) },
            Reach::Bare { lacks, .. } => Question::Bare { lacks: *lacks },
        };
        let answers = ask(question, &tenant, TEAM, Some(CLUSTER), Some(TEAM), &SNAPSHOT.policies, &SNAPSHOT.facts);
        answers.iter().any(|(_, answer)| !matches!(answer, Verdict::Yes(_)))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let [choice, texts @ ..] = bytes else { return };
    let Ok(texts) = std::str::from_utf8(texts) else { return };
    let (object, old) = texts.split_once('\0').unwrap_or((texts, "null"));
    let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
    let (Some(object), Some(old)) = (raw(object), raw(old)) else { return };
    let (group, version, kind, resource) = KINDS[*choice as usize % KINDS.len()];
    let request = |operation: &str| {
        json!({
            "uid": "1", "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": resource}, "operation": operation,
            "namespace": TEAM, "name": "x", "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        })
    };
    for hook in [Hook::Complete, Hook::Validate, Hook::TenantLabel, Hook::Refuse("objects")] {
        answer(hook, &request("UPDATE"), &object, Some(&old));
    }
    let created = answer(Hook::Guard, &request("CREATE"), &object, None);
    let updated = answer(Hook::Guard, &request("UPDATE"), &object, Some(&old));
    assert!(updated.is_allowed() || !created.is_allowed(), "a change is judged more strictly than what is new");
    let kept = answer(Hook::Guard, &request("UPDATE"), &object, Some(&object));
    let unread = |answer: &Answer| answer.refusal().is_some_and(|why| why.contains("cannot read it"));
    assert!(kept.is_allowed() || unread(&kept), "what does not change is refused: {kept:?}");

    // The same as a tree, in which no key comes twice.
    let Ok(mut tree) = serde_json::from_str::<Value>(object.get()) else { return };
    if !tree.is_object() {
        return;
    }
    tree["apiVersion"] = json!(if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") });
    tree["kind"] = json!(kind);
    if !tree["metadata"].is_object() {
        tree["metadata"] = json!({});
    }
    tree["metadata"]["namespace"] = json!(TEAM);
    tree["metadata"]["labels"] = json!({"sluicegate.dev/agent": TEAM});
    let Some(text) = raw(&tree.to_string()) else { return };
    let judged = answer(Hook::Guard, &request("CREATE"), &text, None);
    let as_agent = judged.refusal().is_some_and(|why| why.contains("serviceAccountName: this account"));
    if !unread(&judged) && !as_agent {
        assert_eq!(judged.is_allowed(), !engine_refuses(&tree), "{tree}: {judged:?}");
    }
});
