//! The second part, on a cluster: Sluicegate is installed, the merged file applied, and everything follows.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use sluicegate_e2e::{
    accounts::Account,
    api::{Api, path_of},
    cluster::Cluster,
    error, interrupt,
    network::EXAMPLE_GIT_HOST,
    suite::{
        git::{Repository, set_account},
        operator::documents,
    },
};
use sluicegate_operator::object::{AGENT_LABEL, Kind};

use super::{
    files,
    merge_request::{FILE, Platform},
    screen::{Screen, Watch},
};
use crate::process::root;

/// The operator's namespace.
const SYSTEM: &str = "sluicegate-system";
/// The team's namespace, for its FluxConfigs and, on `dev`, for what they deploy.
const TEAM: &str = "shop";
/// Where the team's agent lives.
const AGENT: &str = "sluicegate-shop";
const CONFIGS: &str = "/apis/sluicegate.dev/v1alpha1/namespaces/shop/fluxconfigs";
const CONFIG: &str = "/apis/sluicegate.dev/v1alpha1/namespaces/shop/fluxconfigs/gift-cards";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/gift-cards";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/sluicegate";
/// What the Service may take to follow its pods.
const SERVICE_LIMIT: Duration = Duration::from_secs(30);
/// As whom the demo applies what a reader would apply.
const MANAGER: &str = "kubectl";
/// The account of the Git server, and the Secret that the example platform's policies name.
const ROBOT: &str = "git-kestrel-read";
/// The Secret with the team's decryption keys, as the policies name it.
const KEYS: &str = "sops-shop";
const TOKEN: &str = "only-the-platform-knows";

/// What the team deploys.
pub enum Source {
    /// Its repository on the harness's Git server.
    Own {
        /// The repository.
        repository: Repository,
        /// What the server's certificate is signed by.
        authority: String,
    },
    /// One that the cluster can reach and nobody pushes to.
    Public {
        /// Its URL.
        url: String,
        /// The branch.
        branch: String,
        /// The folder with the manifests.
        path: String,
    },
}

impl Source {
    /// Makes the team's repository, and an account that may read it.
    pub fn own(cluster: &Cluster) -> Result<Self> {
        let folder = cluster.layout().path("git/shop/gift-cards.git");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("cannot remove the repository of an earlier demo")?;
        }
        let repository = Repository::create(cluster, "shop/gift-cards")?;
        repository.commit("main", "Gift cards", &[("app.yaml", Some(&files::gift_cards("Gift cards")))])?;
        let account = Account { token: TOKEN.into(), repositories: vec![TEAM.into()], ..Account::default() };
        set_account(cluster, ROBOT, account)?;
        Ok(Self::Own { repository, authority: cluster.authority()?.certificate })
    }

    /// The one that the environment names, or one that every Flux user knows.
    pub fn public() -> Self {
        let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Self::Public {
            url: variable("SLUICEGATE_DEMO_REPOSITORY", "https://github.com/stefanprodan/podinfo"),
            branch: variable("SLUICEGATE_DEMO_BRANCH", "master"),
            path: variable("SLUICEGATE_DEMO_PATH", "./kustomize"),
        }
    }

    /// Its URL, as the cluster reaches it.
    pub fn url(&self) -> String {
        match self {
            Self::Own { .. } => format!("https://{EXAMPLE_GIT_HOST}/shop/gift-cards.git"),
            Self::Public { url, .. } => url.clone(),
        }
    }
}

/// The cluster and everybody on it.
pub struct Play<'p> {
    pub screen: &'p Screen,
    pub platform: &'p Platform<'p>,
    pub api: Api,
    pub source: Source,
    /// Sluicegate's image where it is not the one that `deploy/` names.
    pub image: Option<String>,
}

impl Play<'_> {
    /// Everything, in order.
    pub fn perform(&self) -> Result<()> {
        self.install()?;
        self.decide()?;
        self.merge()?;
        self.rights()?;
        if let Source::Own { repository, .. } = &self.source {
            self.update(repository)?;
        }
        self.refuse()?;
        self.delete()
    }

    fn install(&self) -> Result<()> {
        self.screen
            .step("An administrator installs Sluicegate: kinds, rights, the guard, two replicas each of operator and webhook.")?;
        if let Some(image) = &self.image {
            self.screen
                .command(&format!("(cd deploy && kustomize edit set image ghcr.io/sluicegate/sluicegate={image})"));
        }
        self.screen.command("kubectl apply -k deploy/");
        let objects = self.manifests()?;
        for object in &objects {
            self.api.apply(object, MANAGER)?;
        }
        self.screen.output(&counted(&objects));
        self.screen.command(&format!("watch kubectl get pods,leases --namespace {SYSTEM}"));
        let lease = format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/sluicegate-operator");
        self.screen.watch().until("two replicas of each, and an API server that trusts the webhook", 180, |watch| {
            let ready = self.see_pods(watch, SYSTEM)?;
            let lease = self.api.get(&lease)?.unwrap_or_default();
            let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
            // The identity is the pod's name and a random part.
            let leader = holder.split('_').next().unwrap_or_default();
            if !leader.is_empty() {
                watch.see("lease/sluicegate-operator", &format!("{leader} leads"));
            }
            let hooks = self.api.get(WEBHOOKS)?.unwrap_or_default();
            let trusted = !hooks["webhooks"][0]["clientConfig"]["caBundle"].is_null();
            Ok(ready == 4 && !leader.is_empty() && trusted)
        })?;
        Ok(())
    }

    fn decide(&self) -> Result<()> {
        let screen = self.screen;
        screen.step("Administrators say what the company decided: clusters, policies, the team, a credential.")?;
        let public = match &self.source {
            Source::Own { .. } => None,
            Source::Public { url, .. } => Some(url.as_str()),
        };
        self.platform.write("clusters/dev.yaml", files::DEV)?;
        self.platform.write("policies/here.yaml", &files::here(public, &self.me()?))?;
        screen.note("This cluster plays Kestrel's cluster dev. policies/here.yaml says where Flux's images are, and lets you write");
        screen.note("FluxConfigs: Kestrel's own policies let nobody do that but Flux, from the platform repository.");
        self.platform.commit("This cluster is dev")?;
        let mut arguments = vec!["clusters/dev.yaml".to_owned(), "tenants/shop/namespace.yaml".to_owned()];
        let mut policies: Vec<String> = fs::read_dir(self.platform.path("policies"))?
            .filter_map(|entry| Some(format!("policies/{}", entry.ok()?.file_name().to_str()?)))
            .collect();
        policies.sort();
        arguments.extend(policies);
        screen.command("kubectl apply -f clusters/dev.yaml -f policies/ -f tenants/shop/namespace.yaml");
        let mut objects = Vec::new();
        for file in &arguments {
            objects.extend(documents(&self.platform.read(file)?)?);
        }
        for object in &objects {
            self.api.apply(object, MANAGER)?;
        }
        screen.output(&counted(&objects));
        if let Source::Own { authority, .. } = &self.source {
            screen.command(&format!(
                "kubectl create secret generic {ROBOT} --namespace {SYSTEM} --from-literal=username=… --from-literal=password=…"
            ));
            let data = json!({"username": ROBOT, "password": TOKEN, "ca.crt": authority});
            self.api.apply(
                &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": ROBOT, "namespace": SYSTEM}, "stringData": data}),
                MANAGER,
            )?;
            screen.note("It stays with the platform: the team can neither read nor name it.");
        }
        screen.command(&format!("kubectl create secret generic {KEYS} --namespace {SYSTEM}"));
        screen.note("The keys of the team's encrypted files, which policy teams gives to its agent: it has none yet.");
        let keys = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS, "namespace": SYSTEM}});
        self.api.apply(&keys, MANAGER)?;
        screen.command("watch kubectl get fluxclusters,fluxpolicies");
        let expected = objects.iter().filter(|object| object["kind"] != "Namespace").count();
        screen.watch().until("policies that are in force", 60, |watch| {
            let mut ready = 0;
            for plural in ["fluxclusters", "fluxpolicies"] {
                for object in self.list(&format!("/apis/sluicegate.dev/v1alpha1/{plural}"))? {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    let (status, message) = condition(&object, "Ready");
                    if !status.is_empty() {
                        let singular = if plural == "fluxclusters" { "fluxcluster" } else { "fluxpolicy" };
                        watch.see(&format!("{singular}/{name}"), &format!("{:<7} {message}", readiness(status)));
                    }
                    ready += usize::from(status == "True");
                }
            }
            Ok(ready == expected)
        })?;
        Ok(())
    }

    fn merge(&self) -> Result<()> {
        self.screen.step("The merged file reaches the cluster. (CI does that, or Flux; here it is one command.)")?;
        if let Source::Public { url, branch, path } = &self.source {
            let text = self.platform.read(FILE)?.replace("https://git.kestrel.example/shop/gift-cards.git", url);
            let text = text.replace("branch: main", &format!("branch: {branch}"));
            self.platform.write(FILE, &text.replace("path: ./", &format!("path: {path}")))?;
            self.platform.sluicegate(&["check", FILE, "--policies", "."], true)?;
            self.platform.commit("Deploy a repository that this cluster can reach")?;
        }
        self.apply_config()?;
        self.screen
            .command("watch kubectl get fluxconfigs,deployments,gitrepositories,kustomizations --all-namespaces");
        self.screen.watch().until("an agent, and what it deploys", 300, |watch| {
            let config = self.see_everything(watch)?;
            Ok(settled(&config) && condition(&config, "Ready").0 == "True" && self.rolled()?)
        })?;
        self.screen.command(&format!("kubectl get fluxconfigs --namespace {TEAM}"));
        self.show_config()?;
        self.say("Gift cards")
    }

    fn rights(&self) -> Result<()> {
        self.screen.step("The agent acts as an account of the team's, which may do nothing anywhere else.")?;
        let kustomization = format!("/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{AGENT}/kustomizations");
        let account = self.list(&kustomization)?.first().map(|object| object["spec"]["serviceAccountName"].clone());
        let account = account.as_ref().and_then(Value::as_str).context("the agent has no Kustomization")?.to_owned();
        for (verb, group, resource, namespace, allowed) in [
            ("create", "apps", "deployments", TEAM, true),
            ("create", "apps", "deployments", "kube-system", false),
            ("get", "", "secrets", SYSTEM, false),
            ("create", "rbac.authorization.k8s.io", "rolebindings", TEAM, false),
        ] {
            let user = format!("system:serviceaccount:{AGENT}:{account}");
            self.screen.command(&format!("kubectl auth can-i {verb} {resource} --namespace {namespace} --as {user}"));
            let question = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
                "spec": {"user": user, "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": namespace}},
            });
            let answer = self.api.ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", &question)?;
            let may = answer["status"]["allowed"] == true;
            self.screen.output(if may { "yes" } else { "no" });
            ensure!(may == allowed, "{user} {} {verb} {resource} in {namespace}", if may { "may" } else { "may not" });
        }
        Ok(())
    }

    fn update(&self, repository: &Repository) -> Result<()> {
        self.screen.step("The team pushes to its own repository. Nobody else is needed.")?;
        self.screen.command("git commit -am \"Ten percent off\" && git push   # in shop/gift-cards");
        let text = files::gift_cards("Gift cards, ten percent off");
        let head = repository.commit("main", "Ten percent off", &[("app.yaml", Some(&text))])?;
        self.screen.command(&format!(
            "kubectl annotate fluxconfig gift-cards --namespace {TEAM} --overwrite reconcile.fluxcd.io/requestedAt=\"$(date)\""
        ));
        self.screen.note("The agent looks every two minutes by itself; this asks it to look now.");
        let request = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": head}}});
        self.api.patch(CONFIG, &request)?;
        self.screen.watch().until("the new commit", 180, |watch| {
            let config = self.see_everything(watch)?;
            let revision = config["status"]["sync"]["lastAppliedRevision"].as_str().unwrap_or_default();
            Ok(revision.ends_with(&head) && condition(&config, "Ready").0 == "True" && self.rolled()?)
        })?;
        self.say("Gift cards, ten percent off")
    }

    fn refuse(&self) -> Result<()> {
        let screen = self.screen;
        screen.step("Somebody reaches for another team's repository. The merge request says no.")?;
        let good = self.platform.read(FILE)?;
        let wanted = "https://git.kestrel.example/payments/ledger.git";
        screen.command(&format!("sed -i 's|{}|{wanted}|' {FILE}", self.source.url()));
        self.platform.write(FILE, &good.replace(&self.source.url(), wanted))?;
        self.platform.sluicegate(&["check", FILE, "--policies", "."], false)?;
        screen.step("It is merged all the same. The API server refuses it, and what ran before goes on.")?;
        self.platform.commit("Merge it although the pipeline is red")?;
        screen.command(&format!("kubectl apply -f {FILE}"));
        for object in documents(&self.platform.read(FILE)?)? {
            self.is_refused(&object, "[source-not-allowed]")?;
        }
        if matches!(self.source, Source::Own { .. }) {
            self.say("Gift cards, ten percent off")?;
            screen.step(
                "So is an image from elsewhere in the team's namespace, whoever runs it: you are an administrator.",
            )?;
            screen.command(&format!("kubectl run miner --namespace {TEAM} --image docker.io/evil/miner"));
            let container = json!({"name": "miner", "image": "docker.io/evil/miner"});
            let metadata = json!({"name": "miner", "namespace": TEAM});
            let pod =
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}});
            self.is_refused(&pod, "[image-not-allowed]")?;
            screen.note(
                "That is the guard: policies inside the API server, which hold with nothing of Sluicegate running.",
            );
        }
        screen.step("The commit is taken back.")?;
        self.platform.say_git(&["revert", "--no-edit", "HEAD"])?;
        ensure!(self.platform.read(FILE)? == good, "git revert gave another file");
        self.apply_config()?;
        screen.watch().until("all as it was", 60, |watch| {
            let config = self.see_everything(watch)?;
            Ok(settled(&config) && condition(&config, "Ready").0 == "True")
        })?;
        Ok(())
    }

    fn delete(&self) -> Result<()> {
        let screen = self.screen;
        screen.step("The team takes its service away. The agent deletes what it deployed, then it goes itself.")?;
        self.platform.say_git(&["rm", "--quiet", FILE])?;
        self.platform.commit("Take the gift cards away")?;
        screen.command(&format!("kubectl delete fluxconfig gift-cards --namespace {TEAM}"));
        self.api.delete(CONFIG)?;
        self.gone()?;
        screen.command(&format!("kubectl get all,secrets --all-namespaces --selector {AGENT_LABEL}"));
        let left = self.left()?;
        ensure!(left.is_empty(), "there is still {}", left.join(", "));
        screen.output("No resources found");
        Ok(())
    }

    /// Waits until the FluxConfig, its agent and its workload are gone.
    fn gone(&self) -> Result<()> {
        self.screen.watch().until("the end of it", 180, |watch| {
            let config = self.see_everything(watch)?;
            let mut there = !config.is_null();
            for (name, path) in [
                ("fluxconfig/gift-cards", CONFIG.to_owned()),
                ("deployment/gift-cards", DEPLOYMENT.to_owned()),
                (&format!("namespace/{AGENT}"), format!("/api/v1/namespaces/{AGENT}")),
            ] {
                match self.api.get(&path)? {
                    None => watch.gone(name),
                    Some(object) => {
                        there = true;
                        if !object["metadata"]["deletionTimestamp"].is_null() && name.starts_with("namespace") {
                            watch.see(name, "Terminating");
                        }
                    }
                }
            }
            Ok(!there)
        })?;
        Ok(())
    }

    /// Everything that belongs to an agent, of each kind that Sluicegate makes.
    fn left(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for kind in Kind::ALL {
            let prefix = if kind.group().is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group()) };
            let path = format!("{prefix}/{}/{}?labelSelector={AGENT_LABEL}", kind.version(), kind.plural());
            for object in self.list(&path)? {
                left.push(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or_default()));
            }
        }
        Ok(left)
    }

    /// Applies the team's file as it is in the platform repository.
    fn apply_config(&self) -> Result<()> {
        self.screen.command(&format!("kubectl apply -f {FILE}"));
        for object in documents(&self.platform.read(FILE)?)? {
            self.api.apply(&object, MANAGER)?;
        }
        Ok(())
    }

    /// Applies what must not be stored, and shows why it is not.
    fn is_refused(&self, object: &Value, why: &str) -> Result<()> {
        match self.api.apply(object, MANAGER) {
            Ok(_) => bail!("{} was stored, and should have been refused: {why}", path_of(object)),
            Err(error::Error::Api { source, .. }) if source.to_string().contains(why) => {
                let text = if let kube::Error::Api(status) = &*source { status.message.as_str() } else { why };
                self.screen.output(&format!("Error from server (Forbidden): {text}"));
                Ok(())
            }
            Err(error) => Err(error).context(format!("this was to be refused because of {why}")),
        }
    }

    /// As whom the API server knows the reader.
    fn me(&self) -> Result<String> {
        let question = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let answer = self.api.ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", &question)?;
        let name = answer["status"]["userInfo"]["username"].as_str();
        Ok(name.context("the API server does not say who this is")?.to_owned())
    }

    /// Asks the team's service what it says.
    fn say(&self, text: &str) -> Result<()> {
        if matches!(self.source, Source::Public { .. }) {
            return Ok(());
        }
        let path = "/api/v1/namespaces/shop/services/gift-cards:80/proxy/env?name=TEXT";
        self.screen.command(&format!("kubectl get --raw '{path}'"));
        // A pod is ready a moment before the Service leads to it.
        interrupt::wait_for(&format!("a service that says {text:?}"), SERVICE_LIMIT, || {
            Ok(self.api.text(path).is_ok_and(|said| said == text))
        })?;
        self.screen.output(text);
        Ok(())
    }

    /// Whether the team's pods run as its repository says, and no others.
    fn rolled(&self) -> error::Result<bool> {
        if matches!(self.source, Source::Public { .. }) {
            return Ok(true);
        }
        let deployment = self.api.get(DEPLOYMENT)?.unwrap_or_default();
        let status = &deployment["status"];
        Ok(status["observedGeneration"] == deployment["metadata"]["generation"]
            && ["replicas", "updatedReplicas", "readyReplicas"].iter().all(|field| status[field] == 1))
    }

    /// The FluxConfigs of the team, as `kubectl get` shows them.
    fn show_config(&self) -> Result<()> {
        let mut rows = Vec::new();
        for config in self.list(CONFIGS)? {
            let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (status, message) = condition(&config, "Ready");
            let revision = text("/status/sync/lastAppliedRevision");
            let (branch, hash) = revision.split_once("@sha1:").unwrap_or((&revision, ""));
            rows.push(vec![
                text("/metadata/name"),
                text("/spec/cluster"),
                text("/spec/namespace"),
                format!("{branch}@sha1:{}", hash.get(..8).unwrap_or(hash)),
                status.to_owned(),
                message.to_owned(),
            ]);
        }
        self.screen.table(&["NAME", "CLUSTER", "NAMESPACE", "REVISION", "READY", "STATUS"], &rows);
        Ok(())
    }

    /// Tells what is new about the FluxConfig, its agent and its workload; gives the FluxConfig, null where there is none.
    fn see_everything(&self, watch: &mut Watch<'_>) -> error::Result<Value> {
        let config = self.api.get(CONFIG)?.unwrap_or_default();
        if !config.is_null() {
            let (status, message) = condition(&config, "Ready");
            let state = if config["metadata"]["deletionTimestamp"].is_null() { readiness(status) } else { "Deleting" };
            watch.see("fluxconfig/gift-cards", &format!("{state:<9} {message}"));
        }
        if let Some(namespace) = self.api.get(&format!("/api/v1/namespaces/{AGENT}"))? {
            watch.see(&format!("namespace/{AGENT}"), namespace["status"]["phase"].as_str().unwrap_or_default());
        }
        for (kind, path) in [
            ("deployment", format!("/apis/apps/v1/namespaces/{AGENT}/deployments")),
            ("gitrepository", format!("/apis/source.toolkit.fluxcd.io/v1/namespaces/{AGENT}/gitrepositories")),
            ("kustomization", format!("/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{AGENT}/kustomizations")),
            ("deployment", format!("/apis/apps/v1/namespaces/{TEAM}/deployments")),
        ] {
            for object in self.list(&path)? {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let state = if kind == "deployment" {
                    replicas(&object)
                } else {
                    let (status, message) = condition(&object, "Ready");
                    format!("{:<9} {message}", readiness(status))
                };
                watch.see(&format!("{kind}/{name}"), &state);
            }
        }
        Ok(config)
    }

    /// Tells what is new about pods; gives how many are ready.
    fn see_pods(&self, watch: &mut Watch<'_>, namespace: &str) -> error::Result<usize> {
        let mut ready = 0;
        for pod in self.list(&format!("/api/v1/namespaces/{namespace}/pods"))? {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let waits = pod.pointer("/status/containerStatuses/0/state/waiting/reason").and_then(Value::as_str);
            let is_ready = condition(&pod, "Ready").0 == "True";
            let phase = waits.or(pod["status"]["phase"].as_str()).unwrap_or_default();
            watch.see(&format!("pod/{name}"), &format!("{}/1  {phase}", usize::from(is_ready)));
            ready += usize::from(is_ready);
        }
        Ok(ready)
    }

    /// The objects of a collection; none where its namespace or its kind does not exist.
    fn list(&self, path: &str) -> error::Result<Vec<Value>> {
        let list = self.api.get(path)?.unwrap_or_default();
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// What `kubectl apply -k deploy/` applies, in its order.
    fn manifests(&self) -> Result<Vec<Value>> {
        let deploy = root().join("deploy");
        let read =
            |file: &str| fs::read_to_string(deploy.join(file)).with_context(|| format!("cannot read deploy/{file}"));
        let kustomization: Value = serde_saphyr::from_str(&read("kustomization.yaml")?)?;
        let mut objects = Vec::new();
        for file in kustomization["resources"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            objects.extend(documents(&read(file)?)?);
        }
        for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
            if let Some(image) = &self.image {
                object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
            }
        }
        Ok(objects)
    }

    /// Whether nobody uses Sluicegate on this cluster, or what the demo would make there.
    pub fn ensure_free(&self) -> Result<()> {
        for (what, path) in [
            (format!("a namespace {SYSTEM}"), format!("/api/v1/namespaces/{SYSTEM}")),
            (format!("a namespace {TEAM}"), format!("/api/v1/namespaces/{TEAM}")),
            ("Sluicegate's kinds".to_owned(), kind_path("fluxconfigs.sluicegate.dev")),
        ] {
            ensure!(
                self.api.get(&path)?.is_none(),
                "there is {what} on this cluster already; the demo would change it"
            );
        }
        for kind in ["gitrepositories.source.toolkit.fluxcd.io", "kustomizations.kustomize.toolkit.fluxcd.io"] {
            let there = self.api.get(&kind_path(kind))?.is_some();
            ensure!(there, "the cluster has no {kind}: install Flux's kinds first, for example with `flux install`");
        }
        Ok(())
    }

    /// Takes away all that the demo made, also after Ctrl-C.
    pub fn clear(&self) -> Result<()> {
        println!("\nTaking everything away again …");
        // The operator has to be there for this; where it never was, neither was a FluxConfig.
        let waits = std::time::Instant::now();
        while self.api.delete(CONFIG)? && waits.elapsed().as_secs() < 120 {
            std::thread::sleep(Duration::from_millis(500));
        }
        let mut paths = Vec::new();
        for file in ["clusters/dev.yaml", "tenants/shop/namespace.yaml"] {
            paths.extend(documents(&self.platform.read(file)?)?.iter().map(path_of));
        }
        for policy in self.list("/apis/sluicegate.dev/v1alpha1/fluxpolicies")? {
            let name = policy["metadata"]["name"].as_str().unwrap_or_default();
            paths.push(format!("/apis/sluicegate.dev/v1alpha1/fluxpolicies/{name}"));
        }
        paths.extend(self.manifests()?.iter().rev().map(path_of));
        for path in &paths {
            self.api.delete(path)?;
        }
        while waits.elapsed().as_secs() < 240 {
            let mut left = false;
            for path in &paths {
                left |= self.api.get(path)?.is_some();
            }
            if !left {
                self.screen.good("nothing of it is left on your cluster");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        bail!("some of it is still there after four minutes: `kubectl get namespaces,fluxconfigs -A` shows what")
    }
}

fn kind_path(name: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}

/// Whether the operator has seen its newest version.
fn settled(config: &Value) -> bool {
    !config.is_null() && config["status"]["observedGeneration"] == config["metadata"]["generation"]
}

/// The status and the message of a condition; empty where there is none.
fn condition<'o>(object: &'o Value, kind: &str) -> (&'o str, &'o str) {
    let all = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == kind);
    let part = |field: &str| found.and_then(|condition| condition[field].as_str()).unwrap_or_default();
    (part("status"), part("message"))
}

fn readiness(status: &str) -> &'static str {
    match status {
        "True" => "Ready",
        "False" => "NotReady",
        _ => "Waiting",
    }
}

fn replicas(deployment: &Value) -> String {
    let ready = deployment["status"]["readyReplicas"].as_u64().unwrap_or_default();
    format!("{ready}/{} ready", deployment["spec"]["replicas"].as_u64().unwrap_or(1))
}

/// How many objects of which kinds, in one line.
fn counted(objects: &[Value]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for object in objects {
        *kinds.entry(object["kind"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let parts: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!("{} objects: {}", objects.len(), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_is_missing_says_nothing() {
        let object = json!({"status": {"conditions": [{"type": "Ready", "status": "True", "message": "fine"}]}});
        assert_eq!(condition(&object, "Ready"), ("True", "fine"));
        assert_eq!(condition(&object, "Stalled"), ("", ""));
        assert_eq!(condition(&Value::Null, "Ready"), ("", ""));
    }

    #[test]
    fn a_status_of_an_older_version_is_not_settled() {
        let config = |observed: u32| json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed}});
        assert!(settled(&config(2)) && !settled(&config(1)) && !settled(&Value::Null));
    }

    #[test]
    fn objects_are_counted_by_kind() {
        let objects = [json!({"kind": "Role"}), json!({"kind": "Deployment"}), json!({"kind": "Role"})];
        assert_eq!(counted(&objects), "3 objects: 1 Deployment, 2 Role");
    }
}
