//! All of Flux's controllers run as pods in a namespace of their own and do their work from the harness's servers.

use base64::Engine as _;
use serde_json::{Value, json};
use sluicegate_e2e::accounts::Account;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::error::{Error, Result};
use sluicegate_e2e::suite::{Space, flux, git, helm, oci, skip, test};

const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: NAME\ndata:\n  from: FROM\n";

fn manifest(name: &str, from: &str) -> String {
    CONFIG_MAP.replace("NAME", name).replace("FROM", from)
}

fn secret(namespace: &str, name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": data})
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
}

fn kustomization(namespace: &str, name: &str, source_kind: &str) -> Value {
    let spec = json!({"interval": "10m", "path": "./", "prune": true, "targetNamespace": namespace, "sourceRef": {"kind": source_kind, "name": name}});
    object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", namespace, name, spec)
}

/// The `from` of a ConfigMap that Flux has applied.
async fn applied(space: &Space, namespace: &str, name: &str) -> Result<String> {
    space.condition(("kustomize.toolkit.fluxcd.io/v1", "Kustomization", namespace, name), "Ready", "True", 120).await?;
    let found = space.get("v1", "ConfigMap", namespace, name).await?.unwrap_or_default();
    Ok(found["data"]["from"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn all_six_controllers_sync_from_every_kind_of_source() {
    test("smoke-flux", async |space| {
        let Some(cluster) = space.cluster() else {
            return skip(space.name(), "needs the harness's Git server and registry");
        };
        let namespace = space.namespace("flux").await?;
        flux::install_all(&space, &namespace).await?;
        let team = space.prefix();
        let repository = git::Repository::create(cluster, &format!("{team}/shop"))?;
        repository.commit("main", "first", &[("app.yaml", Some(&manifest("http", "git over http")))])?;

        over_https_with_a_token(&space, cluster, &namespace, &repository).await?;
        over_ssh_with_a_key(&space, cluster, &namespace).await?;
        from_an_oci_artifact(&space, cluster, &namespace).await?;
        a_helm_release(&space, cluster, &namespace).await?;
        image_automation(&space, cluster, &namespace).await?;
        a_notification(&space, &namespace).await?;
        Ok(())
    });
}

async fn over_https_with_a_token(
    space: &Space,
    cluster: &Cluster,
    namespace: &str,
    repository: &git::Repository,
) -> Result<()> {
    let account =
        Account { token: "right-token".into(), repositories: vec![space.prefix().to_owned()], ..Account::default() };
    git::set_account(cluster, &format!("{}-bot", space.prefix()), account)?;
    let credentials =
        |token: &str| json!({"username": format!("{}-bot", space.prefix()), "password": token, "ca.crt": ""});
    let source = object(
        "source.toolkit.fluxcd.io/v1",
        "GitRepository",
        namespace,
        "http",
        json!({"url": repository.https_url(), "interval": "10m", "ref": {"branch": "main"}, "secretRef": {"name": "git-http"}}),
    );
    let with_ca = |token: &str| -> Result<Value> {
        let mut data = credentials(token);
        data["ca.crt"] = json!(cluster.authority()?.certificate);
        Ok(data)
    };
    space.apply(secret(namespace, "git-http", with_ca("wrong-token")?)).await?;
    space.apply(source).await?;
    let refused = space
        .condition(("source.toolkit.fluxcd.io/v1", "GitRepository", namespace, "http"), "FetchFailed", "True", 120)
        .await?;
    assert!(refused.to_string().contains("authentication required"), "a wrong token is refused: {}", refused["status"]);
    space.apply(secret(namespace, "git-http", with_ca("right-token")?)).await?;
    let annotation = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository", "metadata": {"name": "http", "namespace": namespace, "annotations": {"reconcile.fluxcd.io/requestedAt": "now"}},
        "spec": {"url": repository.https_url(), "interval": "10m", "ref": {"branch": "main"}, "secretRef": {"name": "git-http"}}});
    space.apply(annotation).await?;
    space.apply(kustomization(namespace, "http", "GitRepository")).await?;
    assert_eq!(applied(space, namespace, "http").await?, "git over http");
    Ok(())
}

async fn over_ssh_with_a_key(space: &Space, cluster: &Cluster, namespace: &str) -> Result<()> {
    let key = git::SshKey::generate()?;
    let folder = format!("{}-ssh", space.prefix());
    let repository = git::Repository::create(cluster, &format!("{folder}/shop"))?;
    repository.commit("main", "first", &[("app.yaml", Some(&manifest("ssh", "git over ssh")))])?;
    git::set_account(
        cluster,
        &folder,
        Account { keys: vec![key.public], repositories: vec![folder.clone()], ..Account::default() },
    )?;
    space
        .apply(secret(
            namespace,
            "git-ssh",
            json!({"identity": key.private, "known_hosts": git::known_hosts(cluster)?}),
        ))
        .await?;
    space.apply(object("source.toolkit.fluxcd.io/v1", "GitRepository", namespace, "ssh", json!({"url": repository.ssh_url(), "interval": "10m", "ref": {"branch": "main"}, "secretRef": {"name": "git-ssh"}}))).await?;
    space.apply(kustomization(namespace, "ssh", "GitRepository")).await?;
    assert_eq!(applied(space, namespace, "ssh").await?, "git over ssh");
    Ok(())
}

async fn from_an_oci_artifact(space: &Space, cluster: &Cluster, namespace: &str) -> Result<()> {
    let repository = format!("{}/manifests", space.prefix());
    oci::push_artifact(cluster, &repository, "v1", &[("app.yaml", &manifest("oci", "an artifact"))]).await?;
    let spec = json!({"url": format!("oci://{}", oci::reference(&repository)), "interval": "10m", "insecure": true, "ref": {"tag": "v1"}});
    space.apply(object("source.toolkit.fluxcd.io/v1", "OCIRepository", namespace, "oci", spec)).await?;
    space.apply(kustomization(namespace, "oci", "OCIRepository")).await?;
    assert_eq!(applied(space, namespace, "oci").await?, "an artifact");
    Ok(())
}

async fn a_helm_release(space: &Space, cluster: &Cluster, namespace: &str) -> Result<()> {
    let template = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-chart\ndata:\n  from: {{ .Values.from | quote }}\n";
    let chart = helm::Chart::package(
        "tiny",
        "0.1.0",
        &[("values.yaml", "from: default\n"), ("templates/config.yaml", template)],
    )?;
    let url = helm::publish(cluster, space.prefix(), std::slice::from_ref(&chart))?;
    oci::push_chart(cluster, &format!("{}/charts", space.prefix()), &chart).await?;
    space
        .apply(object(
            "source.toolkit.fluxcd.io/v1",
            "HelmRepository",
            namespace,
            "http",
            json!({"url": url, "interval": "10m"}),
        ))
        .await?;
    let oci_url = format!("oci://{}", oci::reference(&format!("{}/charts", space.prefix())));
    space
        .apply(object(
            "source.toolkit.fluxcd.io/v1",
            "HelmRepository",
            namespace,
            "oci",
            json!({"type": "oci", "insecure": true, "url": oci_url, "interval": "10m"}),
        ))
        .await?;
    for (name, repository) in [("over-http", "http"), ("over-oci", "oci")] {
        let chart = json!({"spec": {"chart": "tiny", "version": "0.1.0", "sourceRef": {"kind": "HelmRepository", "name": repository}}});
        space
            .apply(object(
                "helm.toolkit.fluxcd.io/v2",
                "HelmRelease",
                namespace,
                name,
                json!({"interval": "10m", "chart": chart, "values": {"from": name}}),
            ))
            .await?;
    }
    for name in ["over-http", "over-oci"] {
        space.condition(("helm.toolkit.fluxcd.io/v2", "HelmRelease", namespace, name), "Ready", "True", 120).await?;
        let found = space.get("v1", "ConfigMap", namespace, &format!("{name}-chart")).await?.unwrap_or_default();
        assert_eq!(found["data"]["from"], name);
    }
    Ok(())
}

/// image-reflector-controller finds the newest tag, image-automation-controller pushes it to the repository.
async fn image_automation(space: &Space, cluster: &Cluster, namespace: &str) -> Result<()> {
    let image = format!("{}/app", space.prefix());
    for tag in ["1.0.0", "1.1.0"] {
        oci::push_artifact(cluster, &image, tag, &[("x", tag)]).await?;
    }
    let reference = oci::reference(&image);
    let repository = git::Repository::create(cluster, &format!("{}/automated", space.prefix()))?;
    let marker = format!("{{\"$imagepolicy\": \"{namespace}:app\"}}");
    let before =
        repository.commit("main", "first", &[("app.yaml", Some(&format!("image: {reference}:1.0.0 # {marker}\n")))])?;
    let image_api = "image.toolkit.fluxcd.io/v1";
    space
        .apply(object(
            image_api,
            "ImageRepository",
            namespace,
            "app",
            json!({"image": reference, "interval": "10m", "insecure": true}),
        ))
        .await?;
    space
        .apply(object(
            image_api,
            "ImagePolicy",
            namespace,
            "app",
            json!({"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": ">=1.0.0"}}}),
        ))
        .await?;
    space.apply(object("source.toolkit.fluxcd.io/v1", "GitRepository", namespace, "automated", json!({"url": repository.https_url(), "interval": "10m", "ref": {"branch": "main"}, "secretRef": {"name": "git-http"}}))).await?;
    let author = json!({"name": "bot", "email": "bot@example.com"});
    let spec = json!({
        "interval": "10m", "sourceRef": {"kind": "GitRepository", "name": "automated"},
        "git": {"commit": {"author": author}, "push": {"branch": "main"}}, "update": {"path": "./", "strategy": "Setters"},
    });
    // Without a policy that has decided there is nothing to push, and the next look is ten minutes away.
    space.condition((image_api, "ImagePolicy", namespace, "app"), "Ready", "True", 120).await?;
    space.apply(object(image_api, "ImageUpdateAutomation", namespace, "app", spec)).await?;
    let pushed = space
        .wait("the pushed update", 120, || async { Ok(Some(repository.head("main")?).filter(|head| *head != before)) });
    pushed.await.map(|_| ())
}

/// notification-controller takes a webhook of a Git forge and asks for a new fetch.
async fn a_notification(space: &Space, namespace: &str) -> Result<()> {
    space.apply(secret(namespace, "hook", json!({"token": "s3cret"}))).await?;
    let resources = json!([{"kind": "GitRepository", "name": "http", "apiVersion": "source.toolkit.fluxcd.io/v1"}]);
    space
        .apply(object(
            "notification.toolkit.fluxcd.io/v1",
            "Receiver",
            namespace,
            "hook",
            json!({"type": "generic", "secretRef": {"name": "hook"}, "resources": resources}),
        ))
        .await?;
    let path = space.wait("the receiver's path", 120, || async {
        let found =
            space.get("notification.toolkit.fluxcd.io/v1", "Receiver", namespace, "hook").await?.unwrap_or_default();
        Ok(found["status"]["webhookPath"].as_str().filter(|path| !path.is_empty()).map(str::to_owned))
    });
    let path = path.await?;
    let probe = space.probe(namespace, "caller", json!({}), json!({})).await?;
    let url = format!("http://webhook-receiver.{namespace}.svc.cluster.local{path}");
    // The receiver's own cache learns of the object a moment after its status was written.
    let called = space.wait("the receiver's answer", 30, || async {
        let answer = probe.get(&url).await?;
        if answer.starts_with("200") { Ok(Some(())) } else { Err(Error::Service { what: url.clone(), why: answer }) }
    });
    called.await?;
    let handled = space.wait("the fetch that the hook asked for", 30, || async {
        let source =
            space.get("source.toolkit.fluxcd.io/v1", "GitRepository", namespace, "http").await?.unwrap_or_default();
        Ok(source["status"]["lastHandledReconcileAt"].as_str().filter(|at| *at != "now").map(str::to_owned))
    });
    handled.await.map(|_| ())
}

#[test]
fn credentials_in_basic_form_are_what_the_server_checks() {
    test("smoke-git", async |space| {
        let Some(cluster) = space.cluster() else {
            return skip(space.name(), "needs the harness's Git server");
        };
        let name = space.prefix();
        git::Repository::create(cluster, &format!("{name}/shop"))?.commit("main", "first", &[("a", Some("b"))])?;
        git::set_account(
            cluster,
            name,
            Account { token: "t".into(), repositories: vec![name.to_owned()], ..Account::default() },
        )?;
        let status = async |authorization: Option<String>| {
            let mut request = http::Request::get(format!("/{name}/shop.git/info/refs?service=git-upload-pack"));
            if let Some(value) = authorization {
                request = request.header(
                    "authorization",
                    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(value)),
                );
            }
            sluicegate_e2e::suite::http::send(cluster.ports().git, request.body(Vec::new()).expect("a request"))
                .await
                .map(|answer| answer.status().as_u16())
        };
        assert_eq!(status(None).await?, 401);
        assert_eq!(status(Some(format!("{name}:wrong"))).await?, 401);
        assert_eq!(status(Some(format!("{name}:t"))).await?, 200);
        git::make_public(cluster, name)?;
        assert_eq!(status(None).await?, 200);
        Ok(())
    });
}
