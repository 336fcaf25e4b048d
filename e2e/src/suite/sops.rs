//! SOPS and age, built from their Go modules when a test first asks for them.

use std::path::PathBuf;
use std::process::Command;

use crate::error::{Context, Result};
use crate::programs::{Programs, SOPS, run_logged};

/// An age key pair.
#[derive(Clone, Debug)]
pub struct AgeKey {
    /// The private key, as Flux wants it in a Secret under a name that ends in `.agekey`.
    pub private: String,
    /// The recipient (`age1…`).
    pub recipient: String,
}

impl AgeKey {
    /// A new key.
    ///
    /// # Errors
    /// Where the programs cannot be built.
    pub fn generate() -> Result<AgeKey> {
        let private = run_logged(Command::new(tool("age-keygen")?))?;
        let recipient = private.lines().find_map(|line| line.strip_prefix("# public key: "));
        let recipient = recipient.unwrap_or_default().to_owned();
        // What it says on standard error is in the output as well.
        let private = private.lines().filter(|line| line.starts_with("AGE-SECRET-KEY-")).collect();
        Ok(AgeKey { private, recipient })
    }

    /// Encrypts the values under `data` and `stringData` of a manifest.
    ///
    /// # Errors
    /// Where `sops` refuses it.
    pub fn encrypt(&self, manifest: &str) -> Result<String> {
        let folder = tempfile::tempdir().doing("making", "a temporary folder")?;
        let path = folder.path().join("secret.yaml");
        std::fs::write(&path, manifest).doing("writing", &path)?;
        let mut command = Command::new(tool("sops")?);
        command.args(["--disable-version-check", "encrypt", "--in-place", "--encrypted-regex", "^(data|stringData)$"]);
        command.args(["--age", &self.recipient]).arg(&path).env("HOME", folder.path());
        run_logged(command)?;
        std::fs::read_to_string(&path).doing("reading", &path)
    }
}

fn tool(name: &str) -> Result<PathBuf> {
    let programs = Programs::find()?;
    programs.ensure(&[SOPS])?;
    programs.path(SOPS, name)
}
