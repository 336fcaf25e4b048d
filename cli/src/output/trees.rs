//! Folders whose files somebody else may have written.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::AtFlags,
    sys::stat::{FileStat, fstat, fstatat},
};

use super::folder::{Opened, open_folder};

/// Folders below which no link is followed: the current folder, folders that the user named, and every folder that holds
/// `.git`.
#[derive(Clone, Debug, Default)]
pub struct Trees {
    roots: BTreeSet<Id>,
}

/// Device and inode of a folder.
type Id = (u64, u64);

impl Trees {
    /// The current folder and the folders that `named` are, or that hold them.
    #[must_use]
    pub fn of(named: &[PathBuf]) -> Self {
        let folder = |path: &PathBuf| match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Some(metadata),
            Ok(_) => fs::metadata(path.parent()?).ok(),
            Err(_) => None,
        };
        let all = fs::metadata(".").into_iter().chain(named.iter().filter_map(folder));
        let mut roots: BTreeSet<Id> = all.map(|metadata| (metadata.dev(), metadata.ino())).collect();
        // Where a container starts in `/`, links such as /var/run are the system's.
        if let Ok(root) = fs::metadata("/") {
            roots.remove(&(root.dev(), root.ino()));
        }
        Self { roots }
    }

    /// Whether a tree begins in this folder.
    pub(super) fn begin_in(&self, folder: &Opened) -> bool {
        fstat(folder).is_ok_and(|stat| self.roots.contains(&id(&stat)))
            || fstatat(folder, ".git", AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether this folder is in a tree.
    pub(super) fn contain(&self, folder: &Opened) -> bool {
        if self.begin_in(folder) {
            return true;
        }
        let parent = |folder: &Opened| {
            let parent = open_folder(folder, Path::new(".."), true).ok()?;
            let (below, above) = (fstat(folder).ok()?, fstat(&parent).ok()?);
            // `/` is its own parent.
            (id(&below) != id(&above)).then_some(parent)
        };
        std::iter::successors(parent(folder), parent).any(|folder| self.begin_in(&folder))
    }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths differ between systems")]
fn id(stat: &FileStat) -> Id {
    (stat.st_dev as u64, u64::from(stat.st_ino))
}
