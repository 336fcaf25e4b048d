//! A platform on a control plane: policies, tenants, FluxConfigs, and all that has to be written for them. The same size
//! always gives the same objects. Every tenant is there twice, once for the operator and once for the bare client, under names
//! of the same length.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::{Context as _, bail};
use kube::{Resource as _, core::DynamicObject};
use serde::Serialize;
use serde_json::{Value, json};
use sluicegate_crds::{FluxConfig, FluxPolicy};
use sluicegate_e2e::network::{API_PORT, API_SERVICE_ADDRESS, NODE_ADDRESS};
use sluicegate_e2e::suite::operator::{CLUSTER, NAMESPACE};
use sluicegate_operator::flux::state::FluxState;
use sluicegate_operator::object::{Key, MANAGED_BY_LABEL, Stage};
use sluicegate_operator::render::{Account, AgentId, CopySource, Member, Pause, Site, render};
use sluicegate_operator::rights;
use sluicegate_operator::status::{self, AgentHealth, Judged, Progress, Seen};
use sluicegate_policy::{Admitted, Declaration, Facts, Labels, PolicySet, Unseen, Verdict, decide};

use crate::bench::corpus::{APPS, PER_TENANT};

/// API group of the FluxConfigs that the bare client writes to: the operator does not know it.
pub(super) const BARE_GROUP: &str = "bench.sluicegate.dev";
/// In place of the operator's own label, so that it leaves alone what the bare client has applied. Of the same length.
const BARE_MANAGER: &str = "bareclient";
/// The administrators' Secret that agents get a copy of.
const CREDENTIAL: &str = "git-example-com";
/// The policy that is changed.
pub(super) const POLICY: &str = "teams";

/// For whom a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Operator,
    Bare,
}

impl For {
    fn tenant(self, number: usize) -> String {
        match self {
            For::Operator => format!("team-{number:05}"),
            For::Bare => format!("bare-{number:05}"),
        }
    }

    fn group(self) -> &'static str {
        match self {
            For::Operator => sluicegate_crds::GROUP,
            For::Bare => BARE_GROUP,
        }
    }
}

/// A write, as `cli/examples/apply_writes.rs` reads it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Write {
    unit: usize,
    stage: usize,
    path: String,
    name: String,
    subresource: Option<&'static str>,
    merge: bool,
    body: Value,
}

/// What an object is called: resource, namespace, name.
pub(super) type Named = (String, String, String);

/// A platform with so many FluxConfigs for each of the two.
pub(super) struct Platform {
    pub(super) configs: usize,
    policies: PolicySet,
    site: Site,
}

impl Platform {
    pub(super) fn new(configs: usize) -> anyhow::Result<Self> {
        let policies: Vec<FluxPolicy> =
            policies().into_iter().map(serde_json::from_value).collect::<Result<_, _>>().context("a policy")?;
        let address = |text: String| text.parse().with_context(|| text);
        let site = Site {
            flux_version: Some("2.9.3".to_owned()),
            api_servers: vec![
                address(format!("{API_SERVICE_ADDRESS}:443"))?,
                address(format!("{NODE_ADDRESS}:{API_PORT}"))?,
            ],
            operator: Account::ServiceAccount {
                namespace: rights::OPERATOR_NAMESPACE.to_owned(),
                name: rights::OPERATOR.to_owned(),
            },
        };
        Ok(Self { configs, policies: PolicySet::compile(&policies), site })
    }

    /// Numbers of the tenants.
    pub(super) fn tenants(&self) -> Range<usize> {
        0..self.configs.div_ceil(PER_TENANT)
    }

    /// What administrators and teams write.
    pub(super) fn setup(&self) -> Vec<Write> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": CREDENTIAL, "namespace": NAMESPACE},
            "stringData": {"username": "flux", "password": "a token of some forty characters, or fifty"},
        });
        let mut writes = vec![apply(0, 0, "/api/v1/namespaces/sluicegate-system/secrets", CREDENTIAL, secret)];
        for policy in policies() {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            writes.push(apply(0, 0, "/apis/sluicegate.dev/v1alpha1/fluxpolicies", &name, policy));
        }
        for whom in [For::Operator, For::Bare] {
            for number in self.tenants() {
                let tenant = whom.tenant(number);
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}});
                writes.push(apply(number, 0, "/api/v1/namespaces", &tenant, namespace));
                for config in self.configs_of(whom, number) {
                    let name = config["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                    writes.push(apply(number, 1, &collection(whom, &tenant), &name, config));
                }
            }
        }
        writes
    }

    fn configs_of(&self, whom: For, number: usize) -> impl Iterator<Item = Value> {
        let first = number * PER_TENANT;
        (first..self.configs.min(first + PER_TENANT)).map(move |index| config(whom, number, index))
    }

    /// The FluxConfigs of a tenant with what the engine says of them.
    fn admitted(&self, whom: For, number: usize) -> anyhow::Result<Vec<(FluxConfig, Admitted)>> {
        let mut facts = Facts::new(Unseen::Absent);
        let tenant = whom.tenant(number);
        facts.namespace(tenant.as_str(), Labels::from([("kubernetes.io/metadata.name".to_owned(), tenant.clone())]));
        facts.cluster(CLUSTER, Labels::new());
        let configs: Vec<FluxConfig> =
            self.configs_of(whom, number).map(serde_json::from_value).collect::<Result<_, _>>()?;
        let bare = facts.clone();
        for config in &configs {
            facts.declare(Declaration::of(config, &self.policies, &bare, None));
        }
        let judged = configs.into_iter().map(|config| match decide(&config, &self.policies, &facts) {
            Verdict::Admitted(admitted) => Ok((config, *admitted)),
            other => bail!("a FluxConfig of {tenant} is not admitted: {:?}", other.violations()),
        });
        judged.collect()
    }

    /// Everything that is rendered for these tenants, in the order in which it is applied.
    pub(super) fn rendered(&self, whom: For, tenants: Range<usize>) -> anyhow::Result<Vec<Write>> {
        let mut writes = Vec::new();
        for number in tenants {
            let judged = self.admitted(whom, number)?;
            let mut agents: BTreeMap<AgentId, Vec<Member<'_>>> = BTreeMap::new();
            for (_, admitted) in &judged {
                let member = Member { admitted, pause: Pause::Nothing };
                agents.entry(AgentId::of(admitted.resolved())).or_default().push(member);
            }
            for (agent, members) in agents {
                let rendered = render(&agent, &members, &self.site)?;
                for object in rendered.objects {
                    writes.push(object_write(whom, number, &object.key, object.manifest));
                }
                for copy in rendered.copies {
                    let CopySource::Platform { .. } = copy.from else { bail!("a copy of {:?}", copy.from) };
                    let mut manifest = copy.object.manifest;
                    manifest["data"] = json!({"username": "Zmx1eA==", "password": "YSB0b2tlbiBvZiBzb21lIGZvcnR5IGNoYXJhY3RlcnMsIG9yIGZpZnR5"});
                    manifest["type"] = json!("Opaque");
                    writes.push(object_write(whom, number, &copy.object.key, manifest));
                }
            }
        }
        Ok(writes)
    }

    /// What has to be written to the FluxConfigs themselves: blanks and finalizer, and the status when all is applied.
    pub(super) fn statuses(&self, whom: For, tenants: Range<usize>) -> anyhow::Result<Vec<Write>> {
        let now = k8s_openapi::jiff::Timestamp::now();
        let starting = AgentHealth::Starting("no pod is ready of kustomize-controller, source-controller".to_owned());
        let flux = FluxState::read(&json!({"metadata": {"generation": 1}}));
        let mut writes = Vec::new();
        for number in tenants {
            for (config, admitted) in self.admitted(whom, number)? {
                let path = collection(whom, &whom.tenant(number));
                let name = config.metadata.name.clone().unwrap_or_default();
                let complete = admitted.complete(&config);
                let patch = json!({"metadata": {"finalizers": ["sluicegate.dev/agent"]}, "spec": complete.spec});
                let unit = writes.len() / 2;
                writes.push(Write { merge: true, ..apply(unit, 0, &path, &name, patch) });
                let status = status::flux_config(&Seen {
                    config: &complete,
                    judged: Judged::Admitted(&admitted),
                    progress: Progress::Applied,
                    agent: &starting,
                    source: Some(&flux),
                    chart: None,
                    delivery: Some(&flux),
                    contested: &[],
                    waits_for: None,
                    policy_digest: Some("0123456789abcdef0123456789abcdef"),
                    now,
                });
                let body = json!({
                    "apiVersion": format!("{}/v1alpha1", whom.group()), "kind": "FluxConfig",
                    "metadata": {"name": name, "namespace": whom.tenant(number)}, "status": status,
                });
                writes.push(Write { subresource: Some("status"), ..apply(unit, 1, &path, &name, body) });
            }
        }
        Ok(writes)
    }

    /// Names of everything that is rendered for the operator's tenants.
    pub(super) fn expected(&self) -> anyhow::Result<BTreeSet<Named>> {
        let writes = self.rendered(For::Operator, self.tenants())?;
        Ok(writes.into_iter().map(|write| named(&write)).collect())
    }
}

fn named(write: &Write) -> Named {
    let resource = write.path.rsplit('/').next().unwrap_or_default().to_owned();
    let namespace = write.body["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
    (resource, namespace, write.name.clone())
}

fn apply(unit: usize, stage: usize, path: &str, name: &str, body: Value) -> Write {
    Write { unit, stage, path: path.to_owned(), name: name.to_owned(), subresource: None, merge: false, body }
}

fn collection(whom: For, namespace: &str) -> String {
    format!("/apis/{}/v1alpha1/namespaces/{namespace}/fluxconfigs", whom.group())
}

fn object_write(whom: For, unit: usize, key: &Key, mut manifest: Value) -> Write {
    if whom == For::Bare {
        manifest["metadata"]["labels"][MANAGED_BY_LABEL] = json!(BARE_MANAGER);
    }
    let namespace = Some(key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let path = DynamicObject::url_path(&key.kind.api_resource(), namespace);
    let stage = match key.kind.stage() {
        Stage::Namespace => 0,
        Stage::Access => 1,
        Stage::Credential => 2,
        Stage::Agent => 3,
        Stage::Source => 4,
        Stage::Delivery => 5,
    };
    apply(unit, stage, &path, &key.name, manifest)
}

/// Four of ten are minimal, one of ten is an OCI artifact.
fn config(whom: For, number: usize, index: usize) -> Value {
    let (tenant, app) = (whom.tenant(number), APPS[index % PER_TENANT]);
    let mut spec = json!({"source": {"url": format!("https://git.example.com/{tenant}/{app}.git")}});
    match index % 10 {
        0..4 => {}
        4..9 => {
            spec["path"] = json!("./deploy/overlays/live");
            spec["interval"] = json!("10m");
            spec["timeout"] = json!("3m");
        }
        _ => {
            let url = format!("oci://registry.example.com/{tenant}/{app}");
            spec["source"] = json!({"url": url, "ref": {"tag": "v1.2.3"}});
        }
    }
    if !index.is_multiple_of(PER_TENANT) && index % 4 == 1 {
        spec["dependsOn"] = json!([{"name": APPS[index % PER_TENANT - 1]}]);
    }
    json!({
        "apiVersion": format!("{}/v1alpha1", whom.group()), "kind": "FluxConfig",
        "metadata": {"name": app, "namespace": tenant, "labels": {"example.com/app": app}}, "spec": spec,
    })
}

fn policies() -> Vec<Value> {
    let policy = |name: &str, spec: Value| json!({"apiVersion": sluicegate_crds::API_VERSION, "kind": "FluxPolicy", "metadata": {"name": name}, "spec": spec});
    let baseline = json!({
        "tenants": {"names": ["*"]},
        "sources": {
            "git": {
                "allow": [
                    "https://git.example.com/platform/base-manifests",
                    "https://git.example.com/platform/ingress-classes",
                    "https://git.example.com/platform/log-shipping",
                    "https://git.example.com/platform/metrics-stack",
                ],
                "deny": [
                    "https://git.example.com/*/attic/**",
                    "https://git.example.com/*/sandbox/**",
                    "https://git.example.com/*/mirror/**",
                    "https://git.example.com/*/export/**",
                ],
            },
            "oci": {"allow": ["oci://registry.example.com/platform/manifests/**"]},
        },
        "images": {"allow": ["registry.example.com/platform/**", "registry.example.com/mirror/library/*"], "denyTags": ["latest"]},
        "credentials": [{"match": "https://git.example.com/**", "secretRef": {"name": CREDENTIAL}}],
        "limits": {"fluxConfigs": 50, "minInterval": "1m"},
        "features": {"decryption": false, "imageUpdates": false},
    });
    vec![policy("baseline", baseline), policy(POLICY, teams(&[]))]
}

/// The spec of the policy that is changed, with more paths that it denies.
pub(super) fn teams(deny: &[&str]) -> Value {
    json!({
        "tenants": {"names": ["team-*", "bare-*"]},
        "sources": {
            "git": {"allow": ["https://git.example.com/${tenant}/**"], "deny": deny},
            "oci": {"allow": ["oci://registry.example.com/${tenant}/**"]},
        },
        "images": {"allow": ["registry.example.com/${tenant}/**"]},
        "destinations": [{"clusters": [CLUSTER], "namespaces": ["${tenant}-*"], "createNamespace": true}],
        "defaults": {
            "cluster": CLUSTER, "namespace": "${tenant}-live", "ref": {"branch": "main"}, "path": "./", "interval": "5m", "prune": true,
        },
        "agent": {"resources": {"requests": {"cpu": "5m", "memory": "32Mi"}}},
    })
}
