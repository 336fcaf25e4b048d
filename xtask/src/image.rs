//! `cargo xtask image`: the operator's container image, one static program, as an OCI archive. No container engine is needed.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use sluicegate_e2e::images::{Image, Recipe, pack};

use crate::process::{cargo, root, run, target_directory};

/// Where the Deployment is that names the image.
const DEPLOYMENT: &str = "deploy/operator/deployment.yaml";

/// Arguments of `image`.
#[derive(clap::Args)]
pub struct Args {
    /// Where to write it [default: image/sluicegate.tar in cargo's target folder]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Its full reference [default: the one that deploy/ names]
    #[arg(long, value_name = "REFERENCE")]
    reference: Option<String>,
    /// Take the unoptimised program, which most work on the project has built already
    #[arg(long)]
    debug: bool,
}

impl Args {
    /// Builds and writes it.
    pub fn run(&self) -> Result<()> {
        let reference = self.reference.clone().map_or_else(deployed, Ok)?;
        let archive = self.output.clone().map_or_else(archive, Ok)?;
        let image = build(&reference, &archive, self.debug)?;
        let size = std::fs::metadata(image.archive()).context("cannot look at the archive")?.len();
        println!("{reference}: {} ({} MiB)", archive.display(), size >> 20);
        if !std::io::stdout().is_terminal() {
            return Ok(());
        }
        println!(
            "  ctr --namespace k8s.io images import {0}\n  skopeo copy oci-archive:{0} docker://{reference}",
            archive.display()
        );
        Ok(())
    }
}

/// The image's reference in the manifests that administrators install.
pub fn deployed() -> Result<String> {
    let text = std::fs::read_to_string(root().join(DEPLOYMENT)).context(DEPLOYMENT)?;
    let deployment: Value = serde_saphyr::from_str(&text).context(DEPLOYMENT)?;
    let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str();
    Ok(image.with_context(|| format!("{DEPLOYMENT} names no image"))?.to_owned())
}

/// Where the archive goes if nobody says.
pub fn archive() -> Result<PathBuf> {
    Ok(target_directory()?.join("image/sluicegate.tar"))
}

fn build(reference: &str, archive: &Path, debug: bool) -> Result<Image> {
    ensure!(cfg!(all(target_os = "linux", target_env = "gnu")), "the image is built on Linux with the GNU C library");
    let binary = if debug { debug_program()? } else { program()? };
    let recipe = Recipe {
        binary: &binary,
        program: "sluicegate",
        command: &[],
        reference,
        labels: &labels(),
        authorities: Some(authorities()),
    };
    Ok(pack(&recipe, archive)?)
}

/// Builds the program with the C library inside, since an image has no other.
fn program() -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // With a target of its own the flag leaves procedural macros and build scripts alone: those cannot be static.
    let arguments =
        ["build", "--release", "--locked", "--package", "sluicegate-cli", "--bin", "sluicegate", "--target"];
    let mut build = cargo();
    build.args(arguments).arg(&target);
    build.env("RUSTFLAGS", "-C target-feature=+crt-static").env_remove("CARGO_ENCODED_RUSTFLAGS");
    run(&mut build)?;
    Ok(target_directory()?.join(target).join("release/sluicegate"))
}

/// The same of what `cargo build` has made: only the last step, which links it, is another.
fn debug_program() -> Result<PathBuf> {
    let arguments = ["rustc", "--locked", "--package", "sluicegate-cli", "--bin", "sluicegate", "--"];
    run(cargo().args(arguments).args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"]))?;
    Ok(target_directory()?.join("debug/sluicegate"))
}

/// Where it comes from. There is no time of the build in it: the same commit gives the same image.
fn labels() -> Vec<(&'static str, String)> {
    let mut labels = vec![
        ("org.opencontainers.image.title", "sluicegate".to_owned()),
        ("org.opencontainers.image.description", "The platform operator for Flux".to_owned()),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
        ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY").to_owned()),
    ];
    if let Some(revision) = git(&["rev-parse", "HEAD"]) {
        let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|status| !status.is_empty());
        let revision = if changed { format!("{revision}-dirty") } else { revision };
        labels.push(("org.opencontainers.image.revision", revision));
    }
    labels.extend(git(&["log", "-1", "--format=%cI"]).map(|time| ("org.opencontainers.image.created", time)));
    labels
}

/// What Git says about this checkout; nothing where it is none.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Mozilla's list of authorities, PEM. The operator takes the authority of its own cluster from its account, and that of
/// another from its kubeconfig; these are for API servers whose kubeconfig names none. They are those of a crate, so that
/// the image does not depend on what the machine that builds it happens to trust.
fn authorities() -> Vec<u8> {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, left) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = left;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_the_one_that_administrators_install() {
        assert_eq!(deployed().unwrap(), format!("ghcr.io/sluicegate/sluicegate:v{}", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn authorities_are_whole_certificates() {
        let text = String::from_utf8(authorities()).unwrap();
        let found: Vec<Vec<u8>> = text
            .split_terminator("-----END CERTIFICATE-----\n")
            .map(|part| STANDARD.decode(part.trim_start_matches("-----BEGIN CERTIFICATE-----\n").replace('\n', "")))
            .collect::<Result<_, _>>()
            .unwrap();
        let expected: Vec<Vec<u8>> =
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| certificate.to_vec()).collect();
        assert!(expected.len() > 50);
        assert_eq!(found, expected);
    }

    #[test]
    fn labels_say_where_an_image_comes_from() {
        let labels = labels();
        // A copy of the files without their history has no revision.
        let revision = root().join(".git").exists().then_some("revision");
        for name in ["title", "version", "licenses", "source"].into_iter().chain(revision) {
            let name = format!("org.opencontainers.image.{name}");
            assert!(labels.iter().any(|(key, value)| *key == name && !value.is_empty()), "{name}: {labels:?}");
        }
    }
}
