//! A platform of so many tenants, each with a policy of its own beside one for all, and what the API server asks about it. The
//! same number always gives the same objects. The webhook is the guard of the cluster that it runs on.

use serde_json::{Value, json};
use sluicegate_crds::{TENANT_GUARD, TENANT_LABEL};
use sluicegate_e2e::suite::operator::USER;

use super::load::Ask;
use super::stand_in::Collections;

/// Requests are about no more tenants than this, which are spread evenly over all.
const ASKED: usize = 64;
/// Who writes FluxConfigs, in every request.
pub(super) const WRITER: &str = "system:serviceaccount:flux-system:kustomize-controller";
/// The tenant in the recorded reviews.
pub(super) const RECORDED: &str = "team-00000";

/// The cluster that the webhook runs on.
const HERE: &str = "prod-eu";

/// What the webhook is asked about, by one review each, as [`record`](super::record) has heard it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// A minimal FluxConfig is to be completed.
    Complete,
    /// The completed FluxConfig is to be judged.
    Validate,
    /// A pod with one container is to be judged.
    Pod,
    /// A pod with many containers is.
    LargePod,
}

impl Question {
    /// Every one that is measured.
    pub(super) const ALL: [Self; 4] = [Self::Complete, Self::Validate, Self::Pod, Self::LargePod];

    /// Name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Complete => "FluxConfig, completed",
            Self::Validate => "FluxConfig, judged",
            Self::Pod => "pod",
            Self::LargePod => "large pod",
        }
    }

    /// Whether it is about a FluxConfig, and not about a pod.
    pub(super) fn is_flux_config(self) -> bool {
        matches!(self, Self::Complete | Self::Validate)
    }

    /// The review as an API server sent it.
    fn recorded(self) -> &'static str {
        match self {
            Self::Complete => include_str!("reviews/fluxconfig_complete.json"),
            Self::Validate => include_str!("reviews/fluxconfig_validate.json"),
            Self::Pod => include_str!("reviews/pod.json"),
            Self::LargePod => include_str!("reviews/pod_large.json"),
        }
    }

    /// Name of the file that it is recorded in.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Complete => "fluxconfig_complete.json",
            Self::Validate => "fluxconfig_validate.json",
            Self::Pod => "pod.json",
            Self::LargePod => "pod_large.json",
        }
    }

    /// Whether a review asks it.
    pub(super) fn is_asked_by(self, review: &str) -> bool {
        let review: Value = serde_json::from_str(review).unwrap_or_default();
        let request = &review["request"];
        let containers = request["object"]["spec"]["containers"].as_array().map_or(0, Vec::len);
        match self {
            Self::Complete | Self::Validate => request["kind"]["kind"] == "FluxConfig",
            Self::Pod => containers == 1,
            Self::LargePod => containers > 1,
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Complete => "/complete?timeout=5s",
            Self::Validate => "/validate?timeout=5s",
            Self::Pod | Self::LargePod => "/guard?timeout=5s",
        }
    }

    /// Bytes of a request.
    pub(super) fn size(self) -> usize {
        self.recorded().trim_end().len()
    }

    /// What an answer has that was thought over: a patch, or the permission.
    fn answer(self) -> &'static str {
        match self {
            Self::Complete => r#""patchType":"JSONPatch""#,
            Self::Validate | Self::Pod | Self::LargePod => r#""allowed":true"#,
        }
    }

    /// Requests of many tenants. A webhook that allows everything says no more than that.
    pub(super) fn requests(self, tenants: usize, thinks: bool) -> Vec<Ask> {
        let expects = if thinks { self.answer() } else { r#""allowed":true"# };
        let each = |tenant: usize| self.ask(self.recorded().trim_end().replace(RECORDED, &name(tenant)), expects);
        asked(tenants).map(each).collect()
    }

    /// The same requests for what belongs to another tenant.
    pub(super) fn forbidden(self, tenants: usize) -> Vec<Ask> {
        let own = |host: &str| format!("{host}.example.com/{RECORDED}/");
        let wrong = self.recorded().trim_end().replace(&own("git"), "git.example.com/team-x/");
        let wrong = wrong.replace(&own("registry"), "registry.example.com/team-x/");
        let expects = match self {
            Self::Complete => r#""allowed":true}"#,
            Self::Validate | Self::Pod | Self::LargePod => r#""allowed":false"#,
        };
        asked(tenants).map(|tenant| self.ask(wrong.replace(RECORDED, &name(tenant)), expects)).collect()
    }

    fn ask(self, body: String, expects: &str) -> Ask {
        Ask { group: 0, path: self.path().to_owned(), body, status: 200, expects: expects.to_owned() }
    }
}

fn name(tenant: usize) -> String {
    format!("team-{tenant:05}")
}

/// The tenants that requests are about.
fn asked(tenants: usize) -> impl Iterator<Item = usize> {
    let number = tenants.min(ASKED);
    (0..number).map(move |index| index * tenants / number)
}

/// What the API server has: policies, clusters, and for each tenant a Namespace, its TenantGuard and a FluxConfig.
pub(super) fn collections(tenants: usize) -> Collections {
    let sluicegate = |resource: &str| format!("/apis/sluicegate.dev/v1alpha1/{resource}");
    let numbers = || (0..tenants).map(name);
    let clusters = [HERE, "prod-us", "dev"].map(|id| {
        let stage = if id == "dev" { "development" } else { "production" };
        object("FluxCluster", json!({"name": id, "labels": {"example.com/stage": stage}}), cluster(id))
    });
    Collections::from([
        (
            sluicegate("fluxpolicies"),
            [baseline()]
                .into_iter()
                .chain(numbers().map(|tenant| policy(&tenant)))
                .map(|policy| policy.to_string())
                .collect(),
        ),
        (sluicegate("fluxclusters"), clusters.map(|cluster| cluster.to_string()).to_vec()),
        (sluicegate("fluxconfigs"), numbers().map(|tenant| config(&tenant).to_string()).collect()),
        (sluicegate("tenantguards"), numbers().map(|tenant| tenant_guard(&tenant).to_string()).collect()),
        ("/api/v1/namespaces".to_owned(), numbers().map(|tenant| namespace(&tenant).to_string()).collect()),
    ])
}

fn object(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": sluicegate_crds::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec})
}

/// Of three clusters the webhook runs on the first, and is its guard.
fn cluster(id: &str) -> Value {
    let (connection, guard) = match id {
        HERE => (json!({"inCluster": {}}), "Webhook"),
        _ => (json!({"kubeconfig": {"secretRef": {"name": id}}}), "Native"),
    };
    json!({"connection": connection, "flux": {"version": "2.9.3"}, "guard": guard})
}

/// For all tenants: what everybody may use, what nobody may, and who writes.
fn baseline() -> Value {
    let spec = json!({
        "tenants": {"names": ["*"]},
        "writers": [WRITER, "system:serviceaccount:platform:deploy-bot"],
        "sources": {
            "git": {
                "allow": ["https://git.example.com/platform/base-manifests", "https://git.example.com/platform/ingress-classes"],
                "deny": ["https://git.example.com/*/attic/**", "https://git.example.com/*/sandbox/**", "https://git.example.com/*/mirror/**"],
            },
            "oci": {"allow": ["oci://registry.example.com/platform/manifests/**"]},
        },
        "images": {"allow": ["registry.example.com/platform/**", "registry.example.com/mirror/library/*"], "denyTags": ["latest"]},
        "limits": {"fluxConfigs": 50, "minInterval": "1m"},
        "features": {"imageUpdates": false},
        "defaults": {"cluster": "prod-eu", "namespace": "${tenant}", "ref": {"branch": "main"}, "path": "./", "interval": "5m", "prune": true},
    });
    object("FluxPolicy", json!({"name": "baseline"}), spec)
}

fn policy(tenant: &str) -> Value {
    let spec = json!({
        "tenants": {"names": [tenant]},
        "sources": {
            "git": {
                "allow": [format!("https://git.example.com/{tenant}/**"), format!("https://git.example.com/shared/{tenant}")],
                "deny": [format!("https://git.example.com/{tenant}/legacy/**")],
            },
            "oci": {"allow": [format!("oci://registry.example.com/{tenant}/**")]},
            "helm": {"allow": ["https://charts.example.com/stable"], "charts": {"allow": ["redis", "nginx"]}},
        },
        "images": {"allow": [format!("registry.example.com/{tenant}/**"), "docker.io/library/*"]},
        "destinations": [{"clusters": ["prod-*", "dev"], "namespaces": [tenant, format!("{tenant}-*")], "createNamespace": true}],
    });
    object("FluxPolicy", json!({"name": tenant}), spec)
}

/// The namespaces that requests are about.
pub(super) fn namespaces(tenants: usize) -> Vec<Value> {
    asked(tenants).map(|tenant| namespace(&name(tenant))).collect()
}

fn namespace(tenant: &str) -> Value {
    let labels = json!({"kubernetes.io/metadata.name": tenant, "example.com/tier": "tenant", TENANT_LABEL: tenant});
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant, "labels": labels}})
}

/// What the webhook reads of one: who writes there beside the team.
fn tenant_guard(tenant: &str) -> Value {
    let spec = json!({"tenant": tenant, "cluster": HERE, "operator": USER, "accounts": [], "images": {"agent": []}});
    object("TenantGuard", json!({"name": TENANT_GUARD, "namespace": tenant}), spec)
}

fn config(tenant: &str) -> Value {
    let spec = json!({
        "source": {"url": format!("https://git.example.com/{tenant}/base.git"), "ref": {"branch": "main"}},
        "path": "./deploy", "cluster": "prod-eu", "namespace": tenant, "interval": "10m",
    });
    let metadata = json!({"name": "base", "namespace": tenant, "creationTimestamp": "2026-01-05T08:00:00Z"});
    object("FluxConfig", metadata, spec)
}

/// The policy of tenants on a control plane: what theirs are called like, and where they go.
pub(super) fn one_for_all(tenants: &str, cluster: &str) -> Value {
    let mut policy = baseline();
    policy["metadata"]["name"] = json!("bench");
    let spec = &mut policy["spec"];
    spec["tenants"]["names"] = json!([tenants]);
    spec["sources"]["git"]["allow"] = json!(["https://git.example.com/${tenant}/**"]);
    spec["images"]["allow"] = json!(["registry.example.com/${tenant}/**", "registry.example.com/mirror/library/*"]);
    spec["destinations"] = json!([{"clusters": [cluster], "namespaces": ["${tenant}"]}]);
    spec["defaults"]["cluster"] = json!(cluster);
    // The bench is the writer, under a name of its own.
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("writers");
    }
    policy
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use serde_json::from_str;
    use sluicegate_crds::{FluxConfig, FluxPolicy, GuardMode};
    use sluicegate_policy::guard::Residents;
    use sluicegate_policy::{Labels, PolicySet};
    use sluicegate_webhook::decide::{Budget, Hook, decide};
    use sluicegate_webhook::review;
    use sluicegate_webhook::snapshot::Snapshot;

    use super::*;

    fn snapshot(tenants: usize) -> Snapshot {
        let collections = collections(tenants);
        let list = |resource: &str| collections[&format!("/apis/sluicegate.dev/v1alpha1/{resource}")].iter();
        let policies: Vec<FluxPolicy> = list("fluxpolicies").map(|text| from_str(text).unwrap()).collect();
        let policies = PolicySet::compile(&policies);
        assert!(policies.invalid().is_empty(), "{:?}", policies.invalid());
        let configs = list("fluxconfigs").map(|text| {
            let config: FluxConfig = from_str(text).unwrap();
            let key = (config.metadata.namespace.clone().unwrap(), config.metadata.name.clone().unwrap());
            (key, Arc::new(config))
        });
        let named = |names: Vec<String>| names.into_iter().map(|name| (name.into(), Labels::new().into())).collect();
        let clusters = list("fluxclusters")
            .map(|text| from_str::<Value>(text).unwrap()["metadata"]["name"].as_str().unwrap().to_owned());
        let label = |tenant: String| (tenant.as_str().into(), Labels::from([(TENANT_LABEL.to_owned(), tenant)]).into());
        let resident = |tenant: String| (tenant, Residents { operator: USER.to_owned(), ..Residents::default() });
        Snapshot::new(
            policies,
            Arc::new((0..tenants).map(name).map(label).collect()),
            Arc::new(named(clusters.collect())),
            Arc::new(configs.collect()),
        )
        .guarding(
            &BTreeMap::from([(HERE.to_owned(), GuardMode::Webhook)]),
            &(0..tenants).map(name).map(resident).collect(),
        )
    }

    fn answer(snapshot: &Snapshot, ask: &Ask) -> String {
        let hook = Hook::at(ask.path.split('?').next().unwrap()).unwrap();
        let request = review::read(ask.body.as_bytes(), hook.reading()).unwrap();
        let uid = request.uid.clone();
        let answer = decide(hook, request, snapshot, Budget::until(Instant::now() + Duration::from_secs(60)));
        String::from_utf8(review::encode(&uid, &answer).unwrap()).unwrap()
    }

    #[test]
    fn every_request_is_answered_as_it_is_expected() {
        let tenants = 100;
        let snapshot = snapshot(tenants);
        for question in Question::ALL {
            for ask in question.requests(tenants, true).iter().chain(&question.forbidden(tenants)) {
                let answer = answer(&snapshot, ask);
                assert!(answer.contains(&ask.expects), "{}: {answer}", question.name());
            }
        }
    }

    #[test]
    fn requests_are_about_tenants_from_everywhere() {
        assert_eq!(asked(10).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        let spread: Vec<usize> = asked(10_000).collect();
        assert_eq!((spread.len(), spread[0], spread[63]), (64, 0, 9_843));
        let bodies = Question::Validate.requests(10_000, true);
        assert!(bodies[63].body.contains("team-09843") && !bodies[63].body.contains("team-00000"));
    }

    #[test]
    fn reviews_have_the_size_of_real_ones() {
        for (question, from, to) in [
            (Question::Complete, 1_700, 2_600),
            (Question::Validate, 1_700, 2_600),
            (Question::Pod, 5_000, 7_000),
            (Question::LargePod, 55_000, 65_000),
        ] {
            assert!((from..=to).contains(&question.size()), "{}: {}", question.name(), question.size());
            assert!(question.is_asked_by(question.recorded()), "{}", question.name());
        }
    }
}
