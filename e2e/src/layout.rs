//! Where a cluster keeps what: one folder a cluster under a root that every user of the machine shares, so that whoever
//! has the rights to end a cluster also finds it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Context, Error, Result};

/// The name of the cluster where none is given.
pub const DEFAULT_NAME: &str = "sluicegate";

/// The folders and files of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    name: String,
    root: PathBuf,
}

impl Layout {
    /// The layout of a cluster under `SLUICEGATE_E2E_STATE`, or `/var/tmp/sluicegate-e2e`.
    ///
    /// # Errors
    /// [`Error::BadName`] for what could not be part of a path, a cgroup and a host name.
    pub fn new(name: &str) -> Result<Layout> {
        let fits = (1..=30).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !fits {
            return Err(Error::BadName { name: name.to_owned() });
        }
        Ok(Layout { name: name.to_owned(), root: state_root() })
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that holds everything of this cluster.
    pub fn run(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// A path inside the cluster's folder.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.run().join(relative)
    }

    /// The record of a running cluster.
    pub fn record(&self) -> PathBuf {
        self.path("cluster.json")
    }

    /// The administrator's kubeconfig, for programs on the host.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// The log file of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.path("logs").join(format!("{component}.log"))
    }

    /// A file of the cluster's certificates.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.path("pki").join(file)
    }

    /// The path of the cluster's cgroup under each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("/sluicegate-e2e-{}", self.name)
    }

    /// The file whose lock is the right to change the cluster.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.root.join(format!("{}.lock", self.name))
    }

    /// Makes the shared root and takes the cluster's lock; it is held until the guard is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] if another command works on the cluster, [`Error::ForeignState`] if the root is not root's own.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.lock_file();
        loop {
            self.make_root()?;
            let file = match File::options().create(true).truncate(false).write(true).open(&path) {
                // Another command has just let go, and the empty root went with its lock.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                file => file.doing("opening", &path)?,
            };
            let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                return Err(Error::Busy { name: self.name.clone() });
            };
            // The former owner removes the file when it lets go: what was locked may be no file any more.
            let locked = lock.metadata().doing("looking at", &path)?.ino();
            if fs::metadata(&path).is_ok_and(|there| there.ino() == locked) {
                return Ok(Lock { _lock: lock, path, root: self.root.clone() });
            }
        }
    }

    fn make_root(&self) -> Result<()> {
        if let Some(parent) = self.root.parent() {
            fs::create_dir_all(parent).doing("making", parent)?;
        }
        match fs::create_dir(&self.root) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error).doing("making", &self.root);
            }
            _ => {}
        }
        // The root lies where everybody may make folders: one that somebody else prepared is not trusted.
        let metadata = fs::symlink_metadata(&self.root).doing("looking at", &self.root)?;
        let strict = metadata.permissions().mode() & 0o022 == 0;
        if !metadata.is_dir() || metadata.uid() != nix::unistd::geteuid().as_raw() || !strict {
            return Err(Error::ForeignState { path: self.root.clone() });
        }
        Ok(())
    }
}

/// The exclusive right to change a cluster. Letting go removes the lock file, and the root when nothing else is in it.
#[derive(Debug)]
pub struct Lock {
    _lock: Flock<File>,
    path: PathBuf,
    root: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.root);
    }
}

/// Names of the clusters that have a folder, running or left behind.
pub fn known_clusters() -> Vec<String> {
    let Ok(entries) = fs::read_dir(state_root()) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    names
}

fn state_root() -> PathBuf {
    std::env::var_os("SLUICEGATE_E2E_STATE").map_or_else(|| PathBuf::from("/var/tmp/sluicegate-e2e"), PathBuf::from)
}

/// Where built programs and images are kept between runs and checkouts: `$XDG_CACHE_HOME/sluicegate/e2e`.
pub fn cache_root() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    base.or_else(home).unwrap_or_else(|| PathBuf::from("/var/cache")).join("sluicegate/e2e")
}

/// Fails early where a disk is too full for what comes.
///
/// # Errors
/// [`Error::NoSpace`], or where the file system cannot be asked.
pub fn need_space(path: &Path, needed: u64, variable: &'static str) -> Result<()> {
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let statistics = nix::sys::statvfs::statvfs(existing).doing("asking for free space of", existing)?;
    let free = statistics.blocks_available() * statistics.fragment_size();
    if free < needed {
        return Err(Error::NoSpace { path: existing.to_owned(), free, needed, variable });
    }
    Ok(())
}

/// Writes a file that only root reads, and its folders.
///
/// # Errors
/// Where the file system refuses.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing("making", folder)?;
    }
    // Readers never see half of a file.
    let temporary = path.with_file_name(format!(
        ".{}.{}",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    fs::write(&temporary, content).doing("writing", &temporary)?;
    fs::rename(&temporary, path).doing("writing", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_leave_the_folder() {
        for name in ["", "..", "a/b", "-a", "1a", "A", "a.b", &"a".repeat(31)] {
            assert!(matches!(Layout::new(name), Err(Error::BadName { .. })), "{name}");
        }
        for name in ["a", "sluicegate", "remote-2"] {
            assert!(Layout::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn says_how_much_space_is_missing() {
        let error =
            need_space(Path::new("/no/such/folder"), u64::MAX, "XDG_CACHE_HOME").expect_err("no disk is that large");
        assert!(error.to_string().contains("point XDG_CACHE_HOME at another disk"), "{error}");
    }
}
