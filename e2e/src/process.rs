//! Processes by identity: a process id alone may belong to somebody else by the time a signal is sent.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process of this boot, seen from the host: the pair of id and start time never comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The id in the host's namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// `/proc/sys/kernel/random/boot_id`: a record of an earlier boot names nobody.
    pub boot: String,
}

impl ProcessId {
    /// The identity of a process that runs; `None` where there is none, or only a zombie.
    pub fn of(pid: i32) -> Option<ProcessId> {
        let (state, started) = stat(pid)?;
        (state != 'Z' && state != 'X').then(|| ProcessId { pid, started, boot: boot_id() })
    }

    /// Whether it still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        ProcessId::of(self.pid).as_ref() == Some(self)
    }

    /// Whether anything of it is left, a zombie included.
    pub fn exists(&self) -> bool {
        stat(self.pid).is_some_and(|(_, started)| started == self.started) && self.boot == boot_id()
    }

    /// Whether it was stopped by a signal (SIGSTOP).
    pub fn is_paused(&self) -> bool {
        self.is_alive() && stat(self.pid).is_some_and(|(state, _)| state == 'T')
    }

    /// Sends a signal if it is still the same process; `false` where it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        self.is_alive() && kill(Pid::from_raw(self.pid), signal).is_ok()
    }

    /// Waits until it is gone; `false` after the time limit.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        wait_until(limit, || !self.is_alive())
    }
}

/// Polls a condition; `false` after the time limit.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// State letter and start time of a process. The name field may hold blanks and parentheses, so what counts begins
/// behind the last `)`.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?.chars().next()?;
    // `starttime` is field 22; the state was field 3.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Every process id of the host's namespace.
pub(crate) fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// The arguments of a process; empty for a zombie or a kernel thread.
pub(crate) fn arguments(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty())
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// The ids that a process has, from the host's namespace down to the innermost.
pub(crate) fn ids_in_namespaces(pid: i32) -> Vec<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

/// The inode that names a process's PID namespace.
pub(crate) fn pid_namespace(pid: i32) -> Option<std::path::PathBuf> {
    fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns/pid")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_and_not_a_later_process_with_the_same_id() {
        let me = ProcessId::of(std::process::id().cast_signed()).expect("this process runs");
        assert!(me.is_alive());
        let other = ProcessId { started: me.started + 1, ..me.clone() };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::SIGKILL), "a stranger with the same id is never signalled");
        let earlier_boot = ProcessId { boot: "earlier".into(), ..me };
        assert!(!earlier_boot.is_alive());
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().expect("true runs");
        let pid = child.id().cast_signed();
        assert!(wait_until(Duration::from_secs(5), || stat(pid).is_some_and(|(state, _)| state == 'Z')));
        assert_eq!(ProcessId::of(pid), None);
        child.wait().expect("it ended");
    }
}
