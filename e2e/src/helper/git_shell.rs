//! What `sshd` runs for a key of an account: one Git command on one repository, nothing else.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::accounts::Accounts;
use crate::error::{Error, Result};

pub(super) fn run(run: &Path, account: &str) -> Result<()> {
    let wish = std::env::var("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    let refuse = |why: &str| Error::Service { what: format!("{account} asks for {wish:?}"), why: why.to_owned() };
    let (command, repository) = parse(&wish).ok_or_else(|| refuse("only Git over ssh is served"))?;
    let accounts = Accounts::load(run)?;
    if !accounts.may_use(Some(account), repository) {
        return Err(refuse("no such repository for this account"));
    }
    let error = Command::new(command).arg(run.join("git").join(format!("{repository}.git"))).exec();
    Err(refuse(&error.to_string()))
}

/// `git-upload-pack '/team-a/shop.git'` as the command and the repository's name (`team-a/shop`).
fn parse(wish: &str) -> Option<(&'static str, &str)> {
    let (command, path) = wish.split_once(' ')?;
    let command = ["git-upload-pack", "git-receive-pack"].into_iter().find(|known| *known == command)?;
    let path = path.strip_prefix('\'')?.strip_suffix('\'')?.trim_start_matches('/');
    let repository = path.strip_suffix(".git").unwrap_or(path);
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    repository.split('/').all(plain).then_some((command, repository))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_git_commands_on_plain_paths_only() {
        assert_eq!(parse("git-upload-pack '/team-a/shop.git'"), Some(("git-upload-pack", "team-a/shop")));
        assert_eq!(parse("git-receive-pack 'team-a/shop'"), Some(("git-receive-pack", "team-a/shop")));
        for wish in [
            "",
            "sh",
            "git-upload-pack",
            "git-upload-pack '../x'",
            "git-upload-pack '/a/../b'",
            "rm '/a'",
            "git-upload-pack '/a;b'",
        ] {
            assert_eq!(parse(wish), None, "{wish}");
        }
    }
}
