//! Artifacts on the harness's OCI registry.

use http::{Request, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::helm::{Chart, gzip_tar};
use super::{http as web, service_error};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::network::{REGISTRY_HOST, REGISTRY_PORT};
use crate::programs::hex;

/// Pushes files as an artifact of Flux and gives its digest (`sha256:…`) . `repository` is `team-a/shop`.
///
/// # Errors
/// Where the registry refuses it.
pub async fn push_artifact(cluster: &Cluster, repository: &str, tag: &str, files: &[(&str, &str)]) -> Result<String> {
    let layer = gzip_tar(files.iter().map(|(path, content)| ((*path).to_owned(), *content)))?;
    push(
        cluster,
        repository,
        tag,
        ("application/vnd.cncf.flux.config.v1+json", b"{}"),
        ("application/vnd.cncf.flux.content.v1.tar+gzip", &layer),
    )
    .await
}

/// Pushes a chart as `helm push` does and gives its digest. The chart's name is added to the repository.
///
/// # Errors
/// Where the registry refuses it.
pub async fn push_chart(cluster: &Cluster, repository: &str, chart: &Chart) -> Result<String> {
    let config = chart.metadata.to_string();
    let config = ("application/vnd.cncf.helm.config.v1+json", config.as_bytes());
    let layer = ("application/vnd.cncf.helm.chart.content.v1.tar+gzip", chart.archive.as_slice());
    push(cluster, &format!("{repository}/{}", chart.name), &chart.version, config, layer).await
}

/// The URL of a repository inside the cluster, without scheme and tag.
pub fn reference(repository: &str) -> String {
    format!("{REGISTRY_HOST}:{REGISTRY_PORT}/{repository}")
}

async fn push(
    cluster: &Cluster,
    repository: &str,
    tag: &str,
    config: (&str, &[u8]),
    layer: (&str, &[u8]),
) -> Result<String> {
    let config_digest = push_blob(cluster, repository, config.1).await?;
    let layer_digest = push_blob(cluster, repository, layer.1).await?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": config.0, "digest": config_digest, "size": config.1.len()},
        "layers": [{"mediaType": layer.0, "digest": layer_digest, "size": layer.1.len()}],
        "annotations": {
            "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
            "org.opencontainers.image.source": "https://git.sluicegate.test/", "org.opencontainers.image.revision": format!("{tag}@sha1:0000000000000000000000000000000000000000"),
        },
    });
    let body = manifest.to_string().into_bytes();
    let digest = digest(&body);
    let request = Request::put(format!("/v2/{repository}/manifests/{tag}"))
        .header(header::CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")
        .body(body);
    expect(cluster, request, StatusCode::CREATED).await?;
    Ok(digest)
}

async fn push_blob(cluster: &Cluster, repository: &str, content: &[u8]) -> Result<String> {
    let digest = digest(content);
    let started = expect(
        cluster,
        Request::post(format!("/v2/{repository}/blobs/uploads/")).body(Vec::new()),
        StatusCode::ACCEPTED,
    )
    .await?;
    let location = started.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let location: http::Uri =
        location.parse().map_err(|error| service_error("the registry's upload location", error))?;
    let path = location.path_and_query().map(ToString::to_string).unwrap_or_default();
    let separator = if path.contains('?') { '&' } else { '?' };
    let request = Request::put(format!("{path}{separator}digest={digest}"))
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .body(content.to_vec());
    expect(cluster, request, StatusCode::CREATED).await?;
    Ok(digest)
}

async fn expect(
    cluster: &Cluster,
    request: std::result::Result<Request<Vec<u8>>, http::Error>,
    status: StatusCode,
) -> Result<http::Response<bytes::Bytes>> {
    let request = request.map_err(|error| service_error("a request to the registry", error))?;
    let what = format!("{} {}", request.method(), request.uri());
    let answer = web::send(cluster.ports().registry, request).await?;
    if answer.status() == status {
        Ok(answer)
    } else {
        Err(service_error(what, format!("{}: {}", answer.status(), String::from_utf8_lossy(answer.body()))))
    }
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(content)))
}
