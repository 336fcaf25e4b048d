//! The cluster's part of the cgroup hierarchies (version 1 and 2): made before the kubelet needs it, removed after the
//! last process is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::process::wait_until;

const MOUNTS: &str = "/proc/self/mounts";

/// Every mounted hierarchy.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string(MOUNTS).unwrap_or_default();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (target, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup" || kind == "cgroup2").then(|| PathBuf::from(target))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Makes the cluster's group in every hierarchy.
///
/// # Errors
/// Where one cannot be made.
pub fn create(layout: &Layout) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(layout.cgroup().trim_start_matches('/'));
        fs::create_dir_all(&group).doing("making", &group)?;
        // A new cpuset has no processors and no memory, and nothing runs in it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (Ok(value), true) = (fs::read(hierarchy.join(file)), group.join(file).exists()) {
                fs::write(group.join(file), value).doing("setting", group.join(file))?;
            }
        }
        if let Ok(controllers) = fs::read_to_string(hierarchy.join("cgroup.controllers")) {
            for controller in controllers.split_whitespace() {
                let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
                let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
    }
    Ok(())
}

/// Removes the cluster's groups.
///
/// # Errors
/// [`Error::Leftover`] where one still has processes.
pub fn remove(layout: &Layout) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(layout.cgroup().trim_start_matches('/'));
        let mut refusal = None;
        // A group can be removed only a moment after its last process has died.
        let gone = wait_until(Duration::from_secs(10), || {
            refusal = remove_tree(&group).err();
            !group.exists()
        });
        if !gone {
            let why = refusal.map(|error| error.to_string()).unwrap_or_default();
            return Err(Error::Leftover {
                name: layout.name().to_owned(),
                what: format!("cgroup {}", group.display()),
                why,
            });
        }
    }
    Ok(())
}

fn remove_tree(group: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(group) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Every group of the machine, for comparisons.
pub fn all() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
                collect(&entry.path(), found);
            }
        }
    }
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        collect(&hierarchy, &mut found);
    }
    found.sort();
    found
}
