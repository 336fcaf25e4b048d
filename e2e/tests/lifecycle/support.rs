//! The harness as a program, and what a machine looks like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use sluicegate_e2e::cgroups;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::layout::Layout;

/// A name that no other test of this machine has.
pub(crate) fn unique(label: &str) -> String {
    format!("t{}-{label}", std::process::id())
}

/// `cluster ARGUMENTS`, not started yet.
pub(crate) fn harness(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate-e2e"));
    command.arg("cluster").args(arguments).stdin(Stdio::null());
    command
}

/// Runs the harness to its end; its exit code and everything that it printed.
pub(crate) fn finish(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the harness starts");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// A cluster of a test's own, gone when the test ends.
pub(crate) struct Own {
    pub(crate) cluster: Cluster,
}

impl Own {
    pub(crate) fn up(name: &str, options: &[&str]) -> Own {
        let (code, output) = finish(harness(&["up", "--name", name]).args(options));
        assert_eq!(code, Some(0), "{output}");
        Own { cluster: Cluster::open(name).expect("it runs") }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let result = Cluster::down(self.cluster.name());
        if !std::thread::panicking() {
            result.expect("it ends");
        }
    }
}

/// Ends a cluster when the test ends, also by a failure.
pub(crate) struct Ended<'a>(pub(crate) &'a str);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = Cluster::down(self.0);
    }
}

/// What a cluster could leave behind on the machine, each thing by its name.
pub(crate) struct Machine(BTreeSet<String>);

impl Machine {
    /// Links, mounts, named network namespaces, cgroups and firewall rules of the host.
    pub(crate) fn look() -> Machine {
        let mut found = BTreeSet::new();
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        found.extend(
            text("/proc/net/dev").lines().filter_map(|line| Some(format!("link {}", line.split_once(':')?.0.trim()))),
        );
        found.extend(text("/proc/self/mounts").lines().map(|line| format!("mount {line}")));
        let named = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        found.extend(named.map(|entry| format!("namespace {}", entry.file_name().display())));
        // Clusters of other tests come and go meanwhile, and so do groups of the system's sessions; a group that a dead
        // cluster left has no processes.
        let foreign = |path: &PathBuf| path.to_string_lossy().contains("/sluicegate-e2e-") || has_processes(path);
        found.extend(
            cgroups::all().into_iter().filter(|path| !foreign(path)).map(|path| format!("cgroup {}", path.display())),
        );
        for table in ["filter", "nat", "mangle"] {
            let rules = Command::new("iptables")
                .args(["-t", table, "-S"])
                .output()
                .map(|output| output.stdout)
                .unwrap_or_default();
            found.extend(String::from_utf8_lossy(&rules).lines().map(|rule| format!("rule {table} {rule}")));
        }
        Machine(found)
    }

    /// Nothing is there now that was not there then.
    pub(crate) fn assert_nothing_new(&self) {
        let new = || Machine::look().0.difference(&self.0).cloned().collect::<Vec<_>>();
        // A group of somebody else's that is being made has no processes for a moment.
        assert!(within(10, || new().is_empty()), "left behind: {:?}", new());
    }
}

fn has_processes(group: &Path) -> bool {
    let own = fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| !text.is_empty());
    own || fs::read_dir(group)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.path().is_dir() && has_processes(&entry.path()))
}

/// The namespaces that a running cluster made, by inode.
pub(crate) fn namespaces_of(cluster: &Cluster) -> BTreeSet<PathBuf> {
    let pid = cluster.process("kube-apiserver").expect("it has an API server").pid;
    ["net", "mnt", "pid", "ipc", "uts"]
        .iter()
        .map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("it runs"))
        .collect()
}

/// Nothing of a cluster is left: no file, no cgroup, no process that names it, and none in its namespaces.
pub(crate) fn assert_gone(name: &str, namespaces: &BTreeSet<PathBuf>) {
    let layout = Layout::new(name).expect("a name");
    assert!(!layout.run().exists(), "{} is left", layout.run().display());
    let lock = layout.run().with_extension("lock");
    assert!(!lock.exists(), "{} is left", lock.display());
    let group = layout.cgroup();
    let groups: Vec<PathBuf> = cgroups::all()
        .into_iter()
        .filter(|path| {
            path.to_string_lossy().contains(&format!("{group}/")) || path.to_string_lossy().ends_with(&group)
        })
        .collect();
    assert!(groups.is_empty(), "cgroups are left: {groups:?}");
    let run = layout.run().display().to_string();
    assert!(
        within(5, || processes_of(&run, namespaces).is_empty()),
        "processes are left: {:?}",
        processes_of(&run, namespaces)
    );
}

fn processes_of(run: &str, namespaces: &BTreeSet<PathBuf>) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| {
            let folder = entry.path();
            entry.file_name().to_str()?.parse::<u32>().ok()?;
            let arguments =
                String::from_utf8_lossy(&fs::read(folder.join("cmdline")).unwrap_or_default()).replace('\0', " ");
            let inside = ["net", "mnt", "pid", "ipc", "uts"]
                .iter()
                .any(|kind| fs::read_link(folder.join("ns").join(kind)).is_ok_and(|inode| namespaces.contains(&inode)));
            let named = arguments.split(' ').any(|argument| argument.contains(&format!("{run}/")) || argument == run);
            (inside || named).then(|| format!("{} {arguments}", folder.display()))
        })
        .collect()
}

/// Polls until the condition holds.
pub(crate) fn within(seconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits for a child; its exit code, `None` after a signal.
pub(crate) fn ended(child: &mut Child, seconds: u64) -> Option<i32> {
    let mut status = None;
    assert!(
        within(seconds, || {
            status = child.try_wait().expect("a child");
            status.is_some()
        }),
        "the harness does not end"
    );
    status.and_then(|status| status.code())
}
