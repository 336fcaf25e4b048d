//! Charts and the harness's Helm repository.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::service_error;
use crate::cluster::Cluster;
use crate::error::{Context, Result};
use crate::network::CHARTS_HOST;
use crate::programs::hex;

/// A packaged chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `Chart.yaml` as JSON.
    pub metadata: Value,
    /// The archive (`.tgz`).
    pub archive: Vec<u8>,
}

impl Chart {
    /// Packages a chart: files are paths below the chart's folder (`values.yaml`, `templates/x.yaml`) and their content.
    ///
    /// # Errors
    /// Where the archive cannot be made.
    pub fn package(name: &str, version: &str, files: &[(&str, &str)]) -> Result<Chart> {
        let metadata = json!({"apiVersion": "v2", "name": name, "version": version, "type": "application"});
        let text = metadata.to_string();
        let paths = std::iter::once(("Chart.yaml", text.as_str())).chain(files.iter().copied());
        let archive = gzip_tar(paths.map(|(path, content)| (format!("{name}/{path}"), content)))?;
        Ok(Chart { name: name.to_owned(), version: version.to_owned(), metadata, archive })
    }
}

/// A compressed archive of text files.
///
/// # Errors
/// Where it cannot be made.
pub fn gzip_tar<'a>(files: impl IntoIterator<Item = (String, &'a str)>) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, &path, content.as_bytes()).doing("packing", &path)?;
    }
    let mut encoder = tar.into_inner().doing("packing", "an archive")?;
    encoder.flush().doing("packing", "an archive")?;
    encoder.finish().doing("packing", "an archive")
}

/// Publishes charts as a Helm repository of its own and gives its URL inside the cluster. Publishing again replaces the
/// repository's index.
///
/// # Errors
/// Where the files cannot be written.
pub fn publish(cluster: &Cluster, repository: &str, charts: &[Chart]) -> Result<String> {
    let folder = cluster.layout().path("charts").join(repository);
    fs::create_dir_all(&folder).doing("making", &folder)?;
    let mut entries = serde_json::Map::new();
    for chart in charts {
        let file = format!("{}-{}.tgz", chart.name, chart.version);
        let path = folder.join(&file);
        fs::write(&path, &chart.archive).doing("writing", &path)?;
        let mut entry = chart.metadata.clone();
        entry["urls"] = json!([file]);
        entry["digest"] = json!(hex(&Sha256::digest(&chart.archive)));
        entry["created"] = json!("2026-01-01T00:00:00Z");
        let versions = entries.entry(chart.name.clone()).or_insert_with(|| json!([]));
        versions.as_array_mut().ok_or_else(|| service_error("the index", "an entry is no list"))?.push(entry);
    }
    let index = json!({"apiVersion": "v1", "generated": "2026-01-01T00:00:00Z", "entries": entries});
    crate::layout::write(&folder.join("index.yaml"), index.to_string())?;
    Ok(format!("http://{CHARTS_HOST}/{repository}"))
}
