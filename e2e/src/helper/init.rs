//! The first process of a cluster.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::sethostname;

use crate::error::{Context, Result};
use crate::network::{ELSEWHERE_ADDRESS, NODE_ADDRESS, NODE_LINK, NODE_NAME, SERVICE_CIDR};
use crate::programs::run_logged;

/// Folders that programs write to by default. Each cluster gets an empty one of its own, so that two clusters, and the
/// host's own container runtime, never meet.
const PRIVATE: &[&str] = &["/run", "/var/lib", "/var/log"];
/// How often orphans are reaped.
const REAP_EVERY_MS: u16 = 100;

pub(super) fn run(run: &Path, lifeline: bool) -> Result<()> {
    isolate_files(run)?;
    set_up_network()?;
    sethostname(NODE_NAME).doing("naming", "the host")?;
    println(crate::namespaces::READY);
    loop {
        let stdin = std::io::stdin();
        let mut descriptors = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let watched: &mut [PollFd<'_>] = if lifeline { &mut descriptors } else { &mut [] };
        // Nothing is ever written to the lifeline: any event on it means that its other end is closed.
        if matches!(poll(watched, PollTimeout::from(REAP_EVERY_MS)), Ok(events) if events > 0) {
            return Ok(());
        }
        while !matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(WaitStatus::StillAlive) | Err(_)) {}
    }
}

fn isolate_files(run: &Path) -> Result<()> {
    const NO_FS: Option<&str> = None;
    for folder in PRIVATE {
        mount(Some("tmpfs"), *folder, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
            .doing("mounting over", folder)?;
    }
    for folder in ["/run/netns", "/run/lock", "/run/sshd", "/var/lib/cni"] {
        fs::create_dir_all(folder).doing("making", folder)?;
    }
    for file in ["hosts", "resolv.conf", "passwd", "nsswitch.conf"] {
        let target = Path::new("/etc").join(file);
        if target.exists() {
            mount(Some(&run.join("etc").join(file)), &target, NO_FS, MsFlags::MS_BIND, NO_FS)
                .doing("mounting over", &target)?;
        }
    }
    Ok(())
}

fn set_up_network() -> Result<()> {
    let ip = |arguments: &str| {
        let mut command = Command::new("ip");
        command.args(arguments.split(' '));
        run_logged(command)
    };
    ip("link set lo up")?;
    // The kernel has no dummy links; a bridge without ports holds an address as well.
    ip(&format!("link add {NODE_LINK} type bridge"))?;
    for address in [NODE_ADDRESS, ELSEWHERE_ADDRESS] {
        ip(&format!("address add {address}/32 dev {NODE_LINK}"))?;
    }
    ip(&format!("link set {NODE_LINK} up"))?;
    // The API server calls webhooks by their Services. kube-proxy rewrites such an address on its way out, for which there has to
    // be a way: without a route there is none.
    ip(&format!("route add {SERVICE_CIDR} dev {NODE_LINK}"))?;
    for (setting, value) in [("net/ipv4/ip_forward", "1"), ("net/ipv4/ip_unprivileged_port_start", "0")] {
        let path = Path::new("/proc/sys").join(setting);
        fs::write(&path, value).doing("setting", &path)?;
    }
    Ok(())
}

fn println(line: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
