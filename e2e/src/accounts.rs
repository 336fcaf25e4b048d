//! Who may use which repository of the Git server. A file in the cluster's folder is the source of truth; the servers
//! read it again for every request, so an account that is made, changed or taken away counts at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::layout::write;

const FILE: &str = "git-accounts.json";

/// All accounts by name, and what nobody in particular may read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Accounts {
    /// The accounts.
    pub accounts: BTreeMap<String, Account>,
    /// Repositories, or folders of them, that need no account.
    pub public: Vec<String>,
}

/// One account.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Account {
    /// The password of HTTP basic authentication.
    pub token: String,
    /// Public keys for ssh, in OpenSSH's format.
    pub keys: Vec<String>,
    /// Repositories (`team-a/shop`), or folders of them (`team-a`), that the account reads and writes.
    pub repositories: Vec<String>,
}

impl Accounts {
    /// Reads the accounts of a cluster; none where none were made.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn load(run: &Path) -> Result<Accounts> {
        let path = run.join(FILE);
        match fs::read(&path) {
            Ok(content) => serde_json::from_slice(&content).map_err(std::io::Error::from).doing("reading", &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Accounts::default()),
            Err(error) => Err(error).doing("reading", &path),
        }
    }

    /// Changes the accounts of a cluster; tests of one run do this side by side, so one waits for the other.
    ///
    /// # Errors
    /// Where a file cannot be read or written.
    pub fn update(run: &Path, helper: &[String], change: impl FnOnce(&mut Accounts)) -> Result<()> {
        let path = run.join(format!("{FILE}.lock"));
        let file = fs::File::create(&path).doing("opening", &path)?;
        let _lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).doing("locking", &path)?;
        let mut accounts = Accounts::load(run)?;
        change(&mut accounts);
        accounts.save(run, helper)
    }

    // The accounts, and the file of keys that sshd reads.
    fn save(&self, run: &Path, helper: &[String]) -> Result<()> {
        let mut keys = String::new();
        for (name, account) in &self.accounts {
            for key in &account.keys {
                keys.push_str(&format!(
                    "restrict,command=\"{} git-shell --run {} --account {name}\" {key}\n",
                    helper.join(" "),
                    run.display()
                ));
            }
        }
        write(&run.join("ssh/authorized_keys"), keys)?;
        let content = serde_json::to_vec_pretty(self).map_err(std::io::Error::from).doing("writing", run.join(FILE))?;
        write(&run.join(FILE), content)
    }

    /// The account behind a name and token.
    pub fn authenticate(&self, name: &str, token: &str) -> bool {
        self.accounts.get(name).is_some_and(|account| !account.token.is_empty() && account.token == token)
    }

    /// Whether an account (or nobody in particular) may use a repository.
    pub fn may_use(&self, account: Option<&str>, repository: &str) -> bool {
        let covers = |entry: &String| {
            entry == repository || repository.strip_prefix(entry.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        match account {
            None => self.public.iter().any(covers),
            Some(name) => {
                self.may_use(None, repository)
                    || self.accounts.get(name).is_some_and(|account| account.repositories.iter().any(covers))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_reaches_its_own_folder_and_no_neighbour_with_a_like_name() {
        let account = Account { token: "t".into(), repositories: vec!["team-a".into()], ..Account::default() };
        let accounts = Accounts { accounts: [("a".to_owned(), account)].into(), public: vec!["open/docs".into()] };
        assert!(accounts.may_use(Some("a"), "team-a/shop") && accounts.may_use(Some("a"), "open/docs"));
        assert!(
            !accounts.may_use(Some("a"), "team-ab/shop")
                && !accounts.may_use(None, "team-a/shop")
                && !accounts.may_use(Some("b"), "team-a/shop")
        );
        assert!(accounts.authenticate("a", "t") && !accounts.authenticate("a", "") && !accounts.authenticate("b", "t"));
    }
}
