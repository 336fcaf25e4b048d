//! Repositories on the harness's Git server.

use std::io::Write;
use std::process::{Command, Stdio};

use super::signing::Signer;
use crate::accounts::{Account, Accounts};
use crate::cluster::Cluster;
use crate::error::{Context, Error, Result};
use crate::network::GIT_HOST;
use crate::programs::run_logged;

/// A repository, named as in URLs (`team-a/shop`).
#[derive(Clone, Debug)]
pub struct Repository {
    cluster: Cluster,
    name: String,
}

/// A key pair in OpenSSH's format.
#[derive(Clone, Debug)]
pub struct SshKey {
    /// The private key.
    pub private: String,
    /// The public key, one line.
    pub public: String,
}

/// One change of a commit; the first text is the path.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    /// A file with this content.
    File(&'a str, &'a str),
    /// A symbolic link to this target.
    Link(&'a str, &'a str),
    /// Another repository's commit (what `.gitmodules` says where it is).
    Submodule(&'a str, &'a str),
    /// Gone.
    Deleted(&'a str),
}

impl SshKey {
    /// A new ed25519 key.
    ///
    /// # Errors
    /// Where `ssh-keygen` fails.
    pub fn generate() -> Result<SshKey> {
        let folder = tempfile::tempdir().doing("making", "a temporary folder")?;
        let path = folder.path().join("key");
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(&path);
        run_logged(command)?;
        let read = |path: &std::path::Path| std::fs::read_to_string(path).doing("reading", path);
        Ok(SshKey { private: read(&path)?, public: read(&path.with_extension("pub"))?.trim().to_owned() })
    }
}

impl Repository {
    /// Makes an empty repository.
    ///
    /// # Errors
    /// Where Git fails.
    pub fn create(cluster: &Cluster, name: &str) -> Result<Repository> {
        let repository = Repository { cluster: cluster.clone(), name: name.to_owned() };
        let path = repository.path();
        let mut init = Command::new("git");
        init.args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&path);
        run_logged(init)?;
        let mut config = Command::new("git");
        config.arg("-C").arg(&path).args(["config", "http.receivepack", "true"]);
        run_logged(config)?;
        Ok(repository)
    }

    fn path(&self) -> std::path::PathBuf {
        self.cluster.layout().path("git").join(format!("{}.git", self.name))
    }

    /// Adds a commit on a branch: files are written, those without content deleted, all others kept. Gives its id.
    ///
    /// # Errors
    /// Where Git fails.
    pub fn commit(&self, branch: &str, message: &str, files: &[(&str, Option<&str>)]) -> Result<String> {
        let entries = files.iter().map(|(path, content)| match content {
            Some(content) => Entry::File(path, content),
            None => Entry::Deleted(path),
        });
        self.commit_entries(branch, message, &entries.collect::<Vec<_>>())
    }

    /// As [`Repository::commit`], with links and submodules.
    ///
    /// # Errors
    /// Where Git fails.
    pub fn commit_entries(&self, branch: &str, message: &str, entries: &[Entry<'_>]) -> Result<String> {
        let reference = format!("refs/heads/{branch}");
        let parent = self.head(branch).ok();
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|time| time.as_secs())
            .unwrap_or_default();
        let mut stream = format!(
            "commit {reference}\ncommitter Tester <tester@example.com> {seconds} +0000\ndata {}\n{message}\n",
            message.len()
        );
        if let Some(parent) = parent {
            stream.push_str(&format!("from {parent}\n"));
        }
        for entry in entries {
            let inline = |mode: &str, path: &str, content: &str| {
                format!("M {mode} inline {path}\ndata {}\n{content}\n", content.len())
            };
            stream.push_str(&match entry {
                Entry::File(path, content) => inline("100644", path, content),
                Entry::Link(path, target) => inline("120000", path, target),
                Entry::Submodule(path, commit) => format!("M 160000 {commit} {path}\n"),
                Entry::Deleted(path) => format!("D {path}\n"),
            });
        }
        let mut import = Command::new("git")
            .arg("-C")
            .arg(self.path())
            .args(["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .doing("starting", "git fast-import")?;
        if let Some(mut stdin) = import.stdin.take() {
            stdin.write_all(stream.as_bytes()).doing("writing to", "git fast-import")?;
        }
        let status = import.wait().doing("waiting for", "git fast-import")?;
        if !status.success() {
            return Err(Error::Command {
                command: "git fast-import".into(),
                status: status.to_string(),
                output: String::new(),
            });
        }
        self.head(branch)
    }

    /// Replaces the newest commit of a branch by the same one with a signature, and gives its id.
    ///
    /// # Errors
    /// Where Git or OpenPGP fails.
    pub fn sign(&self, branch: &str, signer: &Signer) -> Result<String> {
        let head = self.head(branch)?;
        let ask = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new("git");
            command.arg("-C").arg(self.path()).args(arguments).env("GNUPGHOME", signer.home());
            for role in ["AUTHOR", "COMMITTER"] {
                command
                    .env(format!("GIT_{role}_NAME"), "Tester")
                    .env(format!("GIT_{role}_EMAIL"), "tester@example.com");
            }
            Ok(run_logged(command)?.trim().to_owned())
        };
        let message = ask(&["log", "-1", "--format=%B", &head])?;
        let parents = ask(&["log", "-1", "--format=%P", &head])?;
        let (key, tree) = (format!("-S{}", signer.fingerprint), format!("{head}^{{tree}}"));
        let mut arguments = vec!["commit-tree", &key, "-m", &message];
        for parent in parents.split(' ').filter(|parent| !parent.is_empty()) {
            arguments.extend(["-p", parent]);
        }
        arguments.push(&tree);
        let signed = ask(&arguments)?;
        ask(&["update-ref", &format!("refs/heads/{branch}"), &signed])?;
        Ok(signed)
    }

    /// The commit that a branch names.
    ///
    /// # Errors
    /// Where there is no such branch.
    pub fn head(&self, branch: &str) -> Result<String> {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(self.path())
            .args(["rev-parse", "--verify", "--quiet"])
            .arg(format!("refs/heads/{branch}"));
        Ok(run_logged(command)?.trim().to_owned())
    }

    /// The URL inside the cluster, `https`.
    pub fn https_url(&self) -> String {
        format!("https://{GIT_HOST}/{}.git", self.name)
    }

    /// The URL inside the cluster, plain `http`.
    pub fn http_url(&self) -> String {
        format!("http://{GIT_HOST}/{}.git", self.name)
    }

    /// The URL inside the cluster, `ssh`.
    pub fn ssh_url(&self) -> String {
        format!("ssh://git@{GIT_HOST}/{}.git", self.name)
    }

    /// The URL for programs on the host, plain `http`.
    pub fn host_url(&self) -> String {
        format!("http://127.0.0.1:{}/{}.git", self.cluster.ports().git, self.name)
    }
}

/// Makes or replaces an account of the Git server; it counts from now on.
///
/// # Errors
/// Where the accounts cannot be written.
pub fn set_account(cluster: &Cluster, name: &str, account: Account) -> Result<()> {
    Accounts::update(&cluster.layout().run(), &cluster.record.helper, |accounts| {
        accounts.accounts.insert(name.to_owned(), account);
    })
}

/// Lets everybody read a repository, or a folder of them.
///
/// # Errors
/// Where the accounts cannot be written.
pub fn make_public(cluster: &Cluster, path: &str) -> Result<()> {
    Accounts::update(&cluster.layout().run(), &cluster.record.helper, |accounts| accounts.public.push(path.to_owned()))
}

/// The server's line for a `known_hosts` file.
///
/// # Errors
/// Where its key cannot be read.
pub fn known_hosts(cluster: &Cluster) -> Result<String> {
    let path = cluster.layout().path("ssh/host_ed25519.pub");
    let key = std::fs::read_to_string(&path).doing("reading", &path)?;
    Ok(format!("{GIT_HOST} {key}"))
}
