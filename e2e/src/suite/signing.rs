//! OpenPGP keys for signed commits.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::error::{Context, Result};
use crate::programs::run_logged;

/// A key pair in a keyring of its own. The keyring's agent ends with it.
#[derive(Debug)]
pub struct Signer {
    home: tempfile::TempDir,
    /// The fingerprint.
    pub fingerprint: String,
    /// The public key, armoured: what Flux wants in a Secret.
    pub public: String,
}

impl Signer {
    /// A new key without a passphrase.
    ///
    /// # Errors
    /// Where `gpg` fails.
    pub fn generate() -> Result<Signer> {
        let home = tempfile::tempdir().doing("making", "a temporary folder")?;
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(home.path(), private).doing("protecting", home.path())?;
        let identity = "Tester <tester@example.com>";
        run_logged(gpg(
            home.path(),
            &["--passphrase", "", "--quick-generate-key", identity, "ed25519", "sign", "never"],
        ))?;
        let listed = run_logged(gpg(home.path(), &["--with-colons", "--list-keys"]))?;
        let fingerprint = listed.lines().find_map(|line| line.strip_prefix("fpr:"));
        let fingerprint = fingerprint.unwrap_or_default().trim_matches(':').to_owned();
        let public = run_logged(gpg(home.path(), &["--armor", "--export", &fingerprint]))?;
        Ok(Signer { home, fingerprint, public })
    }

    /// The keyring's folder (`GNUPGHOME`).
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let mut end = Command::new("gpgconf");
        end.arg("--homedir").arg(self.home.path()).args(["--kill", "all"]);
        let _ = run_logged(end);
    }
}

fn gpg(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("gpg");
    command.arg("--homedir").arg(home).args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback"]);
    command.args(arguments);
    command
}
