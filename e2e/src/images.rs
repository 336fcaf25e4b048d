//! Container images made of one static program each, as OCI archives: no container engine is involved. Those of upstream's
//! programs are made by [`ensure`], Sluicegate's own by whoever calls [`pack`].

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::{Context, Result};
use crate::layout::need_space;
use crate::network::{REGISTRY_HOST, REGISTRY_PORT};
use crate::programs::{COREDNS, FLUX, Module, PROBE, Programs, hex, version};

/// The image of every pod's sandbox.
pub const PAUSE_IMAGE: &str = "sluicegate.test/pause:v1";
/// The image of the tests' workload, see `e2e/modules/probe`.
pub const PROBE_IMAGE: &str = "sluicegate.test/probe:v1";
/// What changes when the layout of images changes.
const FORMAT: &str = "2";

/// An image and the archive that holds it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The full reference under which the node knows it, as upstream names it.
    pub reference: String,
    /// The reference under which the node's registry serves it.
    pub pushed: String,
    archive: PathBuf,
}

impl Image {
    /// One that was packed before.
    pub fn at(reference: &str, archive: &Path) -> Image {
        let path = reference.split_once('/').map_or(reference, |(_, path)| path);
        let pushed = format!("{REGISTRY_HOST}:{REGISTRY_PORT}/{path}");
        Image { pushed, reference: reference.to_owned(), archive: archive.to_owned() }
    }

    /// The archive, for `ctr images import`.
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

/// What goes into an image.
#[derive(Clone, Debug)]
pub struct Recipe<'r> {
    /// The static program.
    pub binary: &'r Path,
    /// Its name in the image, in `/usr/local/bin`.
    pub program: &'r str,
    /// Arguments that every container starts with.
    pub command: &'r [&'r str],
    /// The full reference that the archive names, such as `registry.example.com/team/app:v1`.
    pub reference: &'r str,
    /// Labels of the image, such as those of the OCI image specification.
    pub labels: &'r [(&'r str, String)],
    /// Certificate authorities that the program trusts, PEM; none: it trusts nobody that it is not told to.
    pub authorities: Option<Vec<u8>>,
}

/// Writes an image as an OCI archive. The same recipe always gives the same bytes.
///
/// # Errors
/// Where the program cannot be read, or the archive not be written.
pub fn pack(recipe: &Recipe<'_>, archive: &Path) -> Result<Image> {
    let folder = archive.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).doing("making", folder)?;
    let unfinished = tempfile::NamedTempFile::new_in(folder).doing("making a file in", folder)?;
    write_archive(unfinished.as_file(), recipe).doing("writing the image of", recipe.binary)?;
    unfinished.persist(archive).doing("keeping", archive)?;
    Ok(Image::at(recipe.reference, archive))
}

/// The tests' workload under another name.
///
/// # Errors
/// Where it is not built or the cache cannot be written.
pub fn probe_as(reference: &str) -> Result<Image> {
    image(&Programs::find()?, PROBE, "probe", reference.to_owned(), &["serve"])
}

/// Every image that a cluster with a node needs, made where it is missing.
///
/// # Errors
/// Where a program is not built or the cache cannot be written.
pub fn ensure(programs: &Programs) -> Result<Vec<Image>> {
    let mut images = vec![
        image(programs, PROBE, "probe", PAUSE_IMAGE.to_owned(), &["pause"])?,
        image(programs, PROBE, "probe", PROBE_IMAGE.to_owned(), &["serve"])?,
        image(programs, COREDNS, "coredns", coredns_image()?, &[])?,
    ];
    for module in FLUX {
        images.push(image(programs, module, module.name, flux_image(module)?, &[])?);
    }
    Ok(images)
}

/// CoreDNS's image, as upstream names it.
///
/// # Errors
/// Where its version cannot be read.
pub fn coredns_image() -> Result<String> {
    Ok(format!("registry.k8s.io/coredns/coredns:{}", version(COREDNS)?))
}

/// A Flux controller's image, as upstream names it.
///
/// # Errors
/// Where its version cannot be read.
pub fn flux_image(controller: Module) -> Result<String> {
    Ok(format!("ghcr.io/fluxcd/{}:{}", controller.name, version(controller)?))
}

fn image(programs: &Programs, module: Module, program: &str, reference: String, command: &[&str]) -> Result<Image> {
    let folder = programs.image_cache();
    let name = reference.replace(['/', ':'], "_");
    let archive = folder.join(format!("{name}-{}-{FORMAT}.tar", programs.key(module)?));
    if !archive.exists() {
        fs::create_dir_all(&folder).doing("making", &folder)?;
        let binary = programs.path(module, program)?;
        need_space(&folder, 3 * fs::metadata(&binary).doing("looking at", &binary)?.len(), "XDG_CACHE_HOME")?;
        // What upstream's programs trust is what this machine trusts.
        let authorities = fs::read("/etc/ssl/certs/ca-certificates.crt").ok();
        let recipe = Recipe { binary: &binary, program, command, reference: &reference, labels: &[], authorities };
        pack(&recipe, &archive)?;
    }
    Ok(Image::at(&reference, &archive))
}

fn write_archive(file: &File, recipe: &Recipe<'_>) -> std::io::Result<()> {
    let mut layer = tempfile::tempfile()?;
    write_layer(&mut layer, recipe)?;
    let (layer_digest, layer_size) = digest_of(&mut layer)?;
    let program = format!("/usr/local/bin/{}", recipe.program);
    let entrypoint: Vec<&str> = std::iter::once(program.as_str()).chain(recipe.command.iter().copied()).collect();
    let mut container = json!({
        "User": "65534:65534", "Entrypoint": entrypoint, "WorkingDir": "/", "Env": ["PATH=/usr/local/bin"],
    });
    if !recipe.labels.is_empty() {
        let labels = recipe.labels.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        container["Labels"] = Value::Object(labels.collect());
    }
    let config = json!({
        "architecture": architecture(), "os": "linux", "config": container,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        "history": [{"created_by": "cargo xtask"}],
    });
    let config = Blob::of(&config);
    let manifest = Blob::of(&json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{}", config.digest), "size": config.bytes.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{layer_digest}"), "size": layer_size}],
    }));
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": format!("sha256:{}", manifest.digest), "size": manifest.bytes.len(),
            "platform": {"architecture": architecture(), "os": "linux"},
            // containerd takes the whole reference from here, other tools the tag.
            "annotations": {"io.containerd.image.name": recipe.reference, "org.opencontainers.image.ref.name": tag(recipe.reference)},
        }],
    });
    let mut tar = tar::Builder::new(BufWriter::new(file));
    append(&mut tar, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut tar, "index.json", 0o644, index.to_string().as_bytes())?;
    append(&mut tar, &format!("blobs/sha256/{}", config.digest), 0o644, &config.bytes)?;
    append(&mut tar, &format!("blobs/sha256/{}", manifest.digest), 0o644, &manifest.bytes)?;
    let mut header = header(0o644, layer_size);
    std::io::Seek::rewind(&mut layer)?;
    tar.append_data(&mut header, format!("blobs/sha256/{layer_digest}"), BufReader::new(layer))?;
    tar.into_inner()?.flush()
}

/// The program, the certificates that it trusts, a user, and a folder for temporary files. The layer is not compressed:
/// it travels over loopback only, and unpacking is what a start would wait for.
fn write_layer(file: &mut File, recipe: &Recipe<'_>) -> std::io::Result<()> {
    let mut tar = tar::Builder::new(BufWriter::new(file));
    for (folder, mode) in [
        ("etc/", 0o755),
        ("etc/ssl/", 0o755),
        ("etc/ssl/certs/", 0o755),
        ("tmp/", 0o1777),
        ("usr/", 0o755),
        ("usr/local/", 0o755),
        ("usr/local/bin/", 0o755),
    ] {
        let mut header = header(mode, 0);
        header.set_entry_type(tar::EntryType::Directory);
        tar.append_data(&mut header, folder, std::io::empty())?;
    }
    append(
        &mut tar,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/tmp:/sbin/nologin\n",
    )?;
    append(&mut tar, "etc/group", 0o644, b"root:x:0:\nnobody:x:65534:\n")?;
    // The C library of a static program asks the files of the pod first, then its name servers.
    append(&mut tar, "etc/nsswitch.conf", 0o644, b"passwd: files\ngroup: files\nhosts: files dns\n")?;
    if let Some(authorities) = &recipe.authorities {
        append(&mut tar, "etc/ssl/certs/ca-certificates.crt", 0o644, authorities)?;
    }
    let source = File::open(recipe.binary)?;
    let mut header = header(0o755, source.metadata()?.len());
    tar.append_data(&mut header, format!("usr/local/bin/{}", recipe.program), source)?;
    tar.into_inner()?.flush()
}

/// This machine's architecture, which is that of every program that is built on it, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tag(reference: &str) -> &str {
    reference.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/')).unwrap_or("latest")
}

struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn of(value: &Value) -> Blob {
        let bytes = value.to_string().into_bytes();
        Blob { digest: hex(&Sha256::digest(&bytes)), bytes }
    }
}

/// A header without times or owners, so that the same program always makes the same layer.
fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn append(tar: &mut tar::Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> std::io::Result<()> {
    tar.append_data(&mut header(mode, content.len() as u64), path, content)
}

fn digest_of(file: &mut File) -> std::io::Result<(String, u64)> {
    std::io::Seek::rewind(file)?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let count = file.read(&mut buffer)?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else {
            return Ok((hex(&hash.finalize()), size));
        };
        hash.update(chunk);
        size += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(folder: &Path, authorities: Option<Vec<u8>>) -> Image {
        let binary = folder.join("program");
        fs::write(&binary, "program").expect("written");
        let labels = [("org.opencontainers.image.title", "x".to_owned())];
        let recipe = Recipe {
            binary: &binary,
            program: "x",
            command: &["serve"],
            reference: "example.test/x:v1",
            labels: &labels,
            authorities,
        };
        pack(&recipe, &folder.join("archive.tar")).expect("packed")
    }

    fn contents(archive: impl Read) -> std::collections::BTreeMap<String, Vec<u8>> {
        let mut contents = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().expect("tar") {
            let mut entry = entry.expect("entry");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("read");
            contents.insert(entry.path().expect("path").display().to_string(), bytes);
        }
        contents
    }

    #[test]
    fn an_archive_names_its_image_and_holds_every_blob_it_refers_to() {
        let folder = tempfile::tempdir().expect("folder");
        let image = packed(folder.path(), Some(b"authorities".to_vec()));
        assert_eq!(image.pushed, "registry.sluicegate.test:5000/x:v1");
        let contents = contents(File::open(image.archive()).expect("archive"));
        let index: Value = serde_json::from_slice(&contents["index.json"]).expect("json");
        let manifest = &index["manifests"][0];
        assert_eq!(manifest["annotations"]["io.containerd.image.name"], "example.test/x:v1");
        let blob = |descriptor: &Value| {
            contents[&format!("blobs/{}", descriptor["digest"].as_str().expect("digest").replace(':', "/"))].clone()
        };
        let manifest: Value = serde_json::from_slice(&blob(manifest)).expect("json");
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).expect("json");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.title"], "x");
        assert_eq!(config["config"]["Entrypoint"], json!(["/usr/local/bin/x", "serve"]));
        let layer = blob(&manifest["layers"][0]);
        assert_eq!(
            hex(&Sha256::digest(&layer)),
            manifest["layers"][0]["digest"].as_str().expect("digest").trim_start_matches("sha256:")
        );
        let files = self::contents(layer.as_slice());
        assert_eq!(files["etc/ssl/certs/ca-certificates.crt"], b"authorities");
        assert_eq!(files["usr/local/bin/x"], b"program");
    }

    #[test]
    fn the_same_recipe_gives_the_same_bytes() {
        let folders = [tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder")];
        let [one, other] = folders.each_ref().map(|folder| packed(folder.path(), None));
        let read = |image: &Image| fs::read(image.archive()).expect("archive");
        assert_eq!(read(&one), read(&other));
    }

    #[test]
    fn a_tag_is_told_from_a_port() {
        let tags = ["example.test/x:v1", "example.test:5000/x"].map(tag);
        assert_eq!(tags, ["v1", "latest"]);
    }
}
