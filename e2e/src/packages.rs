//! What the node takes from the distribution: a container runtime, network plugins, Git and OpenSSH.

use std::path::Path;
use std::process::Command;

use crate::error::{Error, Result};
use crate::programs::run_undisturbed;

/// A package and a file that shows that it is there.
const CONTROL_PLANE: &[(&str, &str)] =
    &[("iproute2", "/usr/sbin/ip"), ("git", "/usr/bin/git"), ("openssh-server", "/usr/sbin/sshd")];
const NODE: &[(&str, &str)] = &[
    ("containerd", "/usr/bin/containerd"),
    ("runc", "/usr/sbin/runc"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
    ("iptables", "/usr/sbin/iptables"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("ethtool", "/usr/sbin/ethtool"),
    ("socat", "/usr/bin/socat"),
];

/// The packages that are not installed.
pub fn missing(with_node: bool) -> Vec<&'static str> {
    let wanted = CONTROL_PLANE.iter().chain(if with_node { NODE } else { &[] });
    wanted.filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect()
}

/// Installs what is missing.
///
/// # Errors
/// [`Error::MissingPackages`] with the command to run, where this is not root or not Debian, or `apt-get` refused.
pub fn ensure(with_node: bool) -> Result<()> {
    let packages = missing(with_node);
    if packages.is_empty() {
        return Ok(());
    }
    let explain = || Error::MissingPackages { packages: packages.join(" ") };
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/apt-get").exists() {
        return Err(explain());
    }
    crate::say(&format!("installing {}", packages.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-o", "DPkg::Lock::Timeout=120"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run_undisturbed(command)
    };
    let install = [&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat();
    // An old list of packages is the usual reason for a refusal, so a second try reads it anew.
    let installed = apt(&install).or_else(|error| match error {
        Error::Interrupted => Err(error),
        _ => apt(&["update"]).and_then(|_| apt(&install)),
    });
    match installed {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(Error::Command { output, .. }) => {
            crate::say(&output);
            Err(explain())
        }
        _ if missing(with_node).is_empty() => Ok(()),
        _ => Err(explain()),
    }
}
