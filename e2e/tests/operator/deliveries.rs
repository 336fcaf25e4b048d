//! Every kind of delivery in every placement: from `kubectl apply` of a FluxConfig to the team's pods running, an update,
//! the removal of an object from the source, the end of the FluxConfig; and nothing is left behind.

use std::time::Instant;

use serde_json::{Value, json};
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::{NODE_ADDRESS, REGISTRY_PORT};
use sluicegate_e2e::suite::git::Repository;
use sluicegate_e2e::suite::helm::{self, Chart};
use sluicegate_e2e::suite::oci;
use sluicegate_e2e::suite::operator::NAMESPACE;
use sluicegate_e2e::suite::signing::Signer;
use sluicegate_e2e::suite::snapshot::Snapshot;
use sluicegate_e2e::suite::sops::AgeKey;

use crate::support::{
    AGENT_LABEL, DEPLOYMENT, HOME_LABEL, KUSTOMIZATION, POOL, Platform, SOON, START, Tenant, config_map, on_node,
    secret, workload,
};

#[test]
fn every_delivery_lives_and_dies_in_placement_namespace() {
    on_node("deliver-own", async |platform| lives_and_dies(platform, "Namespace").await);
}

#[test]
fn every_delivery_lives_and_dies_in_placement_isolated() {
    on_node("deliver-isolated", async |platform| lives_and_dies(platform, "Isolated").await);
}

#[test]
fn every_delivery_lives_and_dies_in_placement_pooled() {
    on_node("deliver-pooled", async |platform| {
        let _alone = POOL.lock().await;
        lives_and_dies(platform, "Pooled").await
    });
}

const CONFIGS: [&str; 5] = ["git", "artifact", "chart", "chart-artifact", "umbrella"];

async fn lives_and_dies(platform: Platform, placement: &str) -> Result<()> {
    let space = &platform.space;
    let tenant = platform.tenant("team").await?;
    platform.policy("teams", &[&tenant], json!({"agent": {"placement": placement}})).await?;
    let sources = Sources::make(&tenant).await?;
    let values = |namespace: &str| secret(namespace, "umbrella-values", json!({"values.yaml": "fromSecret: known\n"}));
    if placement != "Namespace" {
        space.apply(values(&tenant.name)).await?;
    }
    let before = Snapshot::take(space, &[space.prefix()]).await?;

    let started = Instant::now();
    for (name, spec) in sources.configs(&tenant) {
        tenant.config(name, spec).await?;
    }
    if placement == "Namespace" {
        // There the team's Secrets are beside its workloads, where the agent is.
        let made = || async { space.get("v1", "Namespace", "", &tenant.target()).await };
        space.wait("the target namespace", SOON, made).await?;
        space.apply(values(&tenant.target())).await?;
    }
    for name in CONFIGS {
        tenant.reaches(name, "Ready", "True", START).await?;
        tenant.runs(&tenant.target(), &sources.workload(name), "one", SOON).await?;
        println!("{placement}: {name} runs after {:.1} s", started.elapsed().as_secs_f64());
    }
    let agents = placed(&platform, &tenant, placement).await?;
    let umbrella = space.get("v1", "ConfigMap", &tenant.target(), "umbrella").await?.unwrap_or_default();
    assert_eq!(umbrella["data"], json!({"file": "prod", "secret": "known"}), "values of the file and of the Secret");
    assert!(space.get("v1", "ConfigMap", &tenant.target(), "umbrella-library").await?.is_some(), "the dependency");

    let started = Instant::now();
    sources.update().await?;
    for name in CONFIGS {
        tenant.runs(&tenant.target(), &sources.workload(name), "two", START).await?;
        let extra = format!("{}-extra", sources.workload(name));
        let gone =
            || async { Ok(space.get("v1", "ConfigMap", &tenant.target(), &extra).await?.is_none().then_some(())) };
        space.wait(&format!("the end of {extra}"), SOON, gone).await?;
        tenant.reaches(name, "Ready", "True", SOON).await?;
        println!("{placement}: {name} updated after {:.1} s", started.elapsed().as_secs_f64());
    }

    let started = Instant::now();
    let (last, others) = CONFIGS.split_last().expect("five");
    for name in others {
        tenant.remove(name, START).await?;
    }
    tenant.runs(&tenant.target(), &sources.workload(last), "two", 1).await?;
    tenant.remove(last, START).await?;
    println!("{placement}: gone after {:.1} s", started.elapsed().as_secs_f64());
    let words: Vec<&str> = agents.iter().map(String::as_str).chain([space.prefix()]).collect();
    let left = || async {
        let left = before.difference(&Snapshot::take(space, &words).await?);
        if left.is_empty() {
            Ok(Some(()))
        } else {
            Err(sluicegate_e2e::Error::Service { what: "left".into(), why: left })
        }
    };
    // A namespace takes some seconds to empty itself after its last object was let go.
    space.wait("a cluster as it was before", SOON, left).await
}

/// Agents are where the placement says, and nothing of Flux is anywhere else; gives their namespaces.
async fn placed(platform: &Platform, tenant: &Tenant, placement: &str) -> Result<Vec<String>> {
    let deliveries = platform.labelled(KUSTOMIZATION, HOME_LABEL, &tenant.name).await?;
    let mut agents: Vec<String> = deliveries
        .iter()
        .map(|object| object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned())
        .collect();
    agents.dedup();
    assert_eq!(agents.len(), 1, "one agent serves all: {agents:?}");
    match placement {
        "Namespace" => assert_eq!(agents[0], tenant.target()),
        "Isolated" => assert_eq!(agents[0], tenant.agent()),
        _ => assert!(!agents[0].contains(&tenant.name), "a pool has no tenant's name: {agents:?}"),
    }
    let running = platform.labelled(DEPLOYMENT, AGENT_LABEL, &agents[0]).await?;
    let names: Vec<&str> = running.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
    for controller in ["source-controller", "kustomize-controller", "helm-controller"] {
        assert!(names.iter().any(|name| name.contains(controller)), "{controller} in {names:?}");
    }
    for deployment in running {
        assert_eq!(deployment["metadata"]["namespace"], agents[0].as_str());
    }
    Ok(agents)
}

/// What the five FluxConfigs deliver.
struct Sources {
    tenant: Tenant,
    git: Repository,
    umbrella: Repository,
}

impl Sources {
    async fn make(tenant: &Tenant) -> Result<Sources> {
        let sources = Sources {
            tenant: tenant.clone(),
            git: tenant.repository(
                "shop",
                &[("app.yaml", &workload("git", "one")), ("extra.yaml", &config_map("git-extra", "x"))],
            )?,
            umbrella: tenant.repository(
                "umbrella",
                &[
                    ("charts/library/Chart.yaml", "apiVersion: v2\nname: library\nversion: 0.1.0\n"),
                    (
                        "charts/library/templates/map.yaml",
                        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: umbrella-library}\n",
                    ),
                    ("charts/umbrella/Chart.yaml", UMBRELLA),
                    ("charts/umbrella/values.yaml", "text: one\nextra: true\nfromFile: default\nfromSecret: default\n"),
                    ("charts/umbrella/values-prod.yaml", "fromFile: prod\n"),
                    ("charts/umbrella/templates/app.yaml", &template("umbrella")),
                    ("charts/umbrella/templates/map.yaml", UMBRELLA_MAP),
                ],
            )?,
        };
        sources.push("one", "0.1.0").await?;
        Ok(sources)
    }

    /// The Deployment that a FluxConfig delivers.
    fn workload(&self, config: &str) -> String {
        config.to_owned()
    }

    fn configs(&self, tenant: &Tenant) -> [(&'static str, Value); 5] {
        let registry = format!("oci://{NODE_ADDRESS}:{REGISTRY_PORT}/{}", tenant.name);
        let charts = format!("http://charts.sluicegate.test/{}", tenant.name);
        let values = json!({
            "valuesFiles": ["charts/umbrella/values.yaml", "charts/umbrella/values-prod.yaml"],
            "valuesFrom": [{"kind": "Secret", "name": "umbrella-values"}],
        });
        [
            ("git", json!({"source": {"url": self.git.https_url()}})),
            ("artifact", json!({"source": {"url": format!("{registry}/manifests"), "ref": {"tag": "v1"}}})),
            (
                "chart",
                json!({"source": {"kind": "Helm", "url": charts}, "chart": {"name": "chart", "version": ">=0.1.0"}}),
            ),
            (
                "chart-artifact",
                json!({"source": {"url": format!("{registry}/charts/chart-artifact"), "ref": {"semver": ">=0.1.0"}}, "chart": {}}),
            ),
            (
                "umbrella",
                json!({"source": {"url": self.umbrella.https_url()}, "path": "charts/umbrella", "chart": values}),
            ),
        ]
    }

    /// Publishes artifact and charts with a text; later versions have no extra object.
    async fn push(&self, text: &str, version: &str) -> Result<()> {
        let cluster = &self.tenant.platform.cluster;
        let name = &self.tenant.name;
        let mut files = vec![("app.yaml", workload("artifact", text))];
        if text == "one" {
            files.push(("extra.yaml", config_map("artifact-extra", "x")));
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (*path, content.as_str())).collect();
        oci::push_artifact(cluster, &format!("{name}/manifests"), "v1", &files).await?;
        let values = format!("text: {text}\nextra: {}\n", text == "one");
        let package = |chart: &str| {
            Chart::package(chart, version, &[("values.yaml", &values), ("templates/app.yaml", &template(chart))])
        };
        helm::publish(cluster, name, &[package("chart")?])?;
        oci::push_chart(cluster, &format!("{name}/charts"), &package("chart-artifact")?).await.map(|_| ())
    }

    async fn update(&self) -> Result<()> {
        self.git.commit("main", "second", &[("app.yaml", Some(&workload("git", "two"))), ("extra.yaml", None)])?;
        let values = "text: two\nextra: false\nfromFile: default\nfromSecret: default\n";
        self.umbrella.commit("main", "second", &[("charts/umbrella/values.yaml", Some(values))])?;
        self.push("two", "0.2.0").await
    }
}

const UMBRELLA: &str = "apiVersion: v2\nname: umbrella\nversion: 0.1.0\n\
    dependencies:\n- {name: library, version: 0.1.0, repository: \"file://../library\"}\n";
const UMBRELLA_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: umbrella}\n\
    data: {file: {{ .Values.fromFile | quote }}, secret: {{ .Values.fromSecret | quote }}}\n";

/// A chart's template with the tests' workload and, where the values say so, one object more.
fn template(name: &str) -> String {
    let deployment = workload(name, "PLACEHOLDER").replace("\"PLACEHOLDER\"", "{{ .Values.text | quote }}");
    format!(
        "{deployment}{{{{- if .Values.extra }}}}\n---\n{}{{{{- end }}}}\n",
        config_map(&format!("{name}-extra"), "x")
    )
}

#[test]
fn only_signed_commits_are_synced_where_the_team_asks_for_it() {
    on_node("signed", async |platform| {
        let tenant = platform.tenant("team").await?;
        let signer = Signer::generate()?;
        let keys = format!("{}-signers", tenant.name);
        platform.space.apply(secret(NAMESPACE, &keys, json!({"author.asc": signer.public}))).await?;
        let match_all = format!("https://git.sluicegate.test/{}/**", tenant.name);
        let over = json!({"sources": {"verificationKeys": [{"match": match_all, "secretRef": {"name": keys}}]}});
        platform.policy("teams", &[&tenant], over).await?;
        let repository = tenant.repository("shop", &[("app.yaml", &config_map("signed", "unsigned"))])?;
        tenant.config("shop", json!({"source": {"url": repository.https_url(), "verify": {"mode": "HEAD"}}})).await?;
        let text = tenant.fails("shop", START, &["signature"]).await?;
        println!("an unsigned commit: {text}");
        assert!(platform.space.get("v1", "ConfigMap", &tenant.target(), "signed").await?.is_none());
        repository.commit("main", "second", &[("app.yaml", Some(&config_map("signed", "signed")))])?;
        repository.sign("main", &signer)?;
        tenant.reaches("shop", "Ready", "True", START).await?;
        let found = platform.space.get("v1", "ConfigMap", &tenant.target(), "signed").await?.unwrap_or_default();
        assert_eq!(found["data"]["text"], "signed");
        Ok(())
    });
}

#[test]
fn encrypted_files_are_decrypted_with_the_platform_s_key() {
    on_node("encrypted", async |platform| {
        let tenant = platform.tenant("team").await?;
        let key = AgeKey::generate()?;
        platform
            .space
            .apply(secret(NAMESPACE, &format!("{}-sops", tenant.name), json!({"team.agekey": key.private})))
            .await?;
        let decryption = json!({"provider": "sops", "secretRef": {"name": "${tenant}-sops"}});
        platform.policy("teams", &[&tenant], json!({"defaults": {"decryption": decryption}})).await?;
        let plain = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: database\nstringData:\n    password: s3cret\n";
        let encrypted = key.encrypt(plain)?;
        assert!(!encrypted.contains("s3cret"), "{encrypted}");
        let repository = tenant.repository("shop", &[("secret.yaml", &encrypted)])?;
        tenant.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        tenant.reaches("shop", "Ready", "True", START).await?;
        let found = platform.space.get("v1", "Secret", &tenant.target(), "database").await?.unwrap_or_default();
        assert_eq!(found["data"]["password"], "czNjcmV0");
        Ok(())
    });
}
