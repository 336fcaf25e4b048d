//! The CRDs of Flux where a FluxCluster says `crds: Managed`: from a real registry, behind TLS and a password.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use kube::api::ListParams;
use serde_json::{Value, json};
use sluicegate_e2e::Error;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::error::Result;
use sluicegate_e2e::programs::Programs;
use sluicegate_e2e::suite::operator::{self, CLUSTER, NAMESPACE, Operator};
use sluicegate_e2e::suite::{http as web, oci};

use crate::support::{API, CRD, DEPLOYMENT, Platform, SOON, Tenant, has, message, on_own_plane, seconds};

const REPOSITORY: &str = "fluxcd/flux-manifests";
const ARTIFACT: &str = "sluicegate.dev/flux-artifact";
const SECRET: &str = "mirror";
/// A change of a CRD is seen within a minute.
const COMPARED: u64 = 60 + SOON;

/// What must not be applied though it is in the artifact.
const FOREIGN: &str = "
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sluicegate-e2e-foreign}
rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]
";

/// The cluster's registry behind TLS and a password; its address.
fn registry(cluster: &Cluster) -> Result<String> {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("localhost:{}", socket.local_addr().expect("an address").port());
    let port = cluster.ports().registry;
    let login = format!("Basic {}", STANDARD.encode("mirror:open sesame"));
    let answer = |status: StatusCode| Response::builder().status(status);
    web::serve_requests(socket, &cluster.authority()?.server("registry", &["localhost"])?, move |request| {
        let is_known =
            request.headers().get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == login.as_bytes());
        async move {
            if !is_known {
                let refused =
                    answer(StatusCode::UNAUTHORIZED).header(header::WWW_AUTHENTICATE, "Basic realm=\"mirror\"");
                return refused.body(Bytes::new()).unwrap();
            }
            let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            let mut forwarded = Request::builder().method(request.method()).uri(path);
            for accept in request.headers().get_all(header::ACCEPT) {
                forwarded = forwarded.header(header::ACCEPT, accept);
            }
            let forwarded = forwarded.body(request.body().to_vec()).unwrap();
            let away = |error: Error| answer(StatusCode::BAD_GATEWAY).body(Bytes::from(error.to_string())).unwrap();
            web::send(port, forwarded).await.unwrap_or_else(away)
        }
    })?;
    Ok(address)
}

/// Publishes the release's manifests as `flux push artifact` does; the reference that the operator is to find.
async fn publish(cluster: &Cluster, address: &str, version: &str) -> Result<String> {
    let crds = Programs::find()?.flux_crds()?.join("\n---\n");
    let manifests = format!("{crds}{FOREIGN}");
    let files = [("flux-system/gotk-components.yaml", &*manifests), ("README.md", "Flux")];
    let digest = oci::push_artifact(cluster, REPOSITORY, version, &files).await?;
    Ok(format!("oci://{address}/{REPOSITORY}:{version}@{digest}"))
}

async fn say(platform: &Platform, flux: Value) -> Result<()> {
    platform.edit((API, "FluxCluster"), "", CLUSTER, json!({"spec": {"flux": flux}})).await.map(|_| ())
}

/// Waits until the FluxCluster says that it is ready, or why not, and has these CRDs.
async fn told(platform: &Platform, ready: Result<(), &[&str]>, version: Option<&str>) -> Result<()> {
    let (status, words) = match ready {
        Ok(()) => ("True", &[][..]),
        Err(words) => ("False", words),
    };
    let look = || async {
        let cluster = platform.space.get(API, "FluxCluster", "", CLUSTER).await?.unwrap_or_default();
        let why = message(&cluster, "Ready");
        let is_told = has(&cluster, "Ready", status)
            && cluster["status"]["fluxVersion"].as_str() == version
            && cluster["status"]["observedGeneration"] == cluster["metadata"]["generation"]
            && words.iter().all(|word| why.contains(word));
        if is_told {
            return Ok(Some(why));
        }
        Err(Error::Service { what: "its status".into(), why: cluster["status"].to_string() })
    };
    let why = platform.space.wait(&format!("FluxCluster with Ready={status}, {words:?}"), SOON, look).await?;
    println!("{version:?}, Ready={status}: {why}");
    Ok(())
}

/// The CRDs of Flux with the artifact that each is from.
async fn crds(platform: &Platform) -> Result<Vec<(String, Option<String>)>> {
    let list = platform.space.api(CRD.0, CRD.1, "").list(&ListParams::default()).await;
    let list = list.map_err(|error| Error::Service { what: "CRDs".into(), why: error.to_string() })?;
    let all = list.into_iter().map(|crd| crd.metadata);
    let all = all.filter_map(|crd| Some((crd.name?, crd.annotations.unwrap_or_default().remove(ARTIFACT))));
    Ok(all.filter(|(name, _)| name.ends_with(".fluxcd.io")).collect())
}

/// Waits until the tenant has a source-controller with this tag.
async fn runs(tenant: &Tenant, tag: &str) -> Result<()> {
    let image = || async { Ok(image(tenant).await?.filter(|image| image.ends_with(tag))) };
    tenant.platform.space.wait(&format!("a source-controller {tag}"), SOON, image).await.map(|_| ())
}

async fn image(tenant: &Tenant) -> Result<Option<String>> {
    let deployment =
        tenant.platform.space.get(DEPLOYMENT.0, DEPLOYMENT.1, &tenant.agent(), "source-controller").await?;
    let deployment = deployment.unwrap_or_default();
    Ok(deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().map(str::to_owned))
}

#[test]
fn the_crds_of_a_release_come_from_its_artifact_and_before_its_controllers() {
    on_own_plane("managed", async |platform| {
        // As on a cluster where nobody has installed Flux.
        for (name, _) in crds(&platform).await? {
            platform.space.delete(CRD.0, CRD.1, "", &name).await?;
        }
        let none = || async { Ok(crds(&platform).await?.is_empty().then_some(())) };
        platform.space.wait("the end of the harness's CRDs", SOON, none).await?;
        let address = registry(&platform.cluster)?;
        let first = publish(&platform.cluster, &address, "v2.9.3").await?;
        let authority = platform.cluster.layout().path("registry-authority.pem");
        std::fs::write(&authority, platform.cluster.authority()?.certificate).expect("a file");
        let operator = Operator::new(&platform.cluster, "managed")?.trusting(authority);
        let platform = Platform { operator: Arc::new(operator), ..platform };
        let artifact = format!("oci://{address}/{REPOSITORY}");
        say(&platform, json!({"version": "2.9.3", "crds": "Managed", "artifact": artifact})).await?;
        platform.operator.start()?;
        let tenant = platform.tenant("team").await?;
        platform.policy("teams", &[&tenant], json!({"agent": {"version": null}})).await?;
        let url = format!("https://git.sluicegate.test/{}/shop", tenant.name);
        tenant.config("shop", json!({"source": {"url": url}})).await?;

        // What is missing is named, one thing after the other, and nothing is begun before all is there.
        told(&platform, Err(&["v2.9.3 cannot be pulled"]), None).await?;
        say(&platform, json!({"artifactSecretRef": {"name": SECRET}})).await?;
        told(&platform, Err(&[SECRET, NAMESPACE, ".dockerconfigjson"]), None).await?;
        let logins = json!({"auths": {address.as_str(): {"username": "mirror", "password": "open sesame"}}});
        let login = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": logins.to_string()},
        });
        platform.space.apply(login).await?;
        told(&platform, Err(&["forbidden", "deploy/flux-crds"]), None).await?;
        let waits = |config: &Value| config["status"]["conditions"].to_string().contains("wait for the CRDs");
        tenant.until("a FluxConfig that says what it waits for", "shop", SOON, waits).await?;
        assert_eq!((crds(&platform).await?, image(&tenant).await?), (Vec::new(), None));

        let rights = operator::manifests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/flux-crds"))?;
        for object in rights {
            platform.space.apply(object).await?;
        }
        told(&platform, Ok(()), Some("2.9.3")).await?;
        runs(&tenant, ":v1.9.3").await?;
        tenant.delivery(crate::support::KUSTOMIZATION, "shop", SOON).await?;
        let installed = crds(&platform).await?;
        assert!(installed.len() >= 14, "{installed:?}");
        assert!(installed.iter().all(|(_, from)| from.as_ref() == Some(&first)), "{installed:?}");
        for (version, kind, name) in [
            (CRD.0, CRD.1, "things.example.com"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole", "sluicegate-e2e-foreign"),
        ] {
            assert!(platform.space.get(version, kind, "", name).await?.is_none(), "{name} is none of Flux' CRDs");
        }

        // A release whose CRDs are not to be had changes nothing.
        say(&platform, json!({"version": "2.9.x"})).await?;
        told(&platform, Err(&["v2.9.4 cannot be pulled"]), Some("2.9.3")).await?;
        tenant.until("a FluxConfig that says what it waits for", "shop", SOON, waits).await?;
        assert!(image(&tenant).await?.is_some_and(|image| image.ends_with(":v1.9.3")));
        let second = publish(&platform.cluster, &address, "v2.9.4").await?;
        told(&platform, Ok(()), Some("2.9.4")).await?;
        runs(&tenant, ":v1.9.4").await?;

        // They do not go back with the controllers; what is known of them outlives the process.
        say(&platform, json!({"version": "2.9.3"})).await?;
        runs(&tenant, ":v1.9.3").await?;
        platform.operator.kill()?;
        platform.operator.start()?;
        seconds(5).await;
        told(&platform, Ok(()), Some("2.9.4")).await?;
        let all_second = || async {
            let all = crds(&platform).await?;
            let are = all.len() == installed.len() && all.iter().all(|(_, from)| from.as_ref() == Some(&second));
            Ok(are.then_some(()))
        };
        platform.space.wait("the CRDs of 2.9.4", SOON, all_second).await?;

        // What somebody changes or deletes is put right.
        let (changed, deleted) = ("gitrepositories.source.toolkit.fluxcd.io", "alerts.notification.toolkit.fluxcd.io");
        platform.edit(CRD, "", changed, json!({"spec": {"names": {"shortNames": ["stolen"]}}})).await?;
        platform.space.delete(CRD.0, CRD.1, "", deleted).await?;
        let mended = || async {
            let found = platform.space.get(CRD.0, CRD.1, "", changed).await?.unwrap_or_default();
            let is_mended = found["spec"]["names"]["shortNames"] == json!(["gitrepo"]);
            Ok((is_mended && platform.space.get(CRD.0, CRD.1, "", deleted).await?.is_some()).then_some(()))
        };
        platform.space.wait("CRDs as they were", COMPARED, mended).await?;

        // Who takes the FluxCluster's word back keeps what is there.
        say(&platform, json!({"crds": null, "artifact": null, "artifactSecretRef": null})).await?;
        told(&platform, Ok(()), None).await?;
        all_second().await?.expect("the CRDs stay");
        Ok(())
    });
}
