//! What can be wrong with the machine, said before anything is started.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Own, assert_gone, finish, harness, unique};

fn refused(command: &mut Command, name: &str, expected: &[&str]) {
    let (code, output) = finish(command);
    assert_eq!(code, Some(2), "{output}");
    for part in expected {
        assert!(output.contains(part), "{part:?} is missing in: {output}");
    }
    assert_gone(name, &BTreeSet::new());
}

#[test]
fn another_user_is_told_to_be_root() {
    let name = unique("nobody");
    // The program itself lies where only root may look.
    let folder = tempfile::tempdir().expect("folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("open");
    let copy = folder.path().join("harness");
    std::fs::copy(env!("CARGO_BIN_EXE_sluicegate-e2e"), &copy).expect("copied");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
            .arg(&copy)
            .arg("cluster")
            .args(arguments);
        command
    };
    refused(&mut as_nobody(&["up", "--name", &name]), &name, &["needs root", "SLUICEGATE_E2E_KUBECONFIG"]);
    let own = Own::up(&name, &["--control-plane-only"]);
    let (code, output) = finish(&mut as_nobody(&["down", "--name", &name]));
    assert!(code == Some(2) && output.contains("needs root"), "{output}");
    assert!(own.cluster.process("etcd").expect("etcd").is_alive());
}

#[test]
fn a_port_in_use_is_named() {
    let name = unique("port");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    refused(
        &mut harness(&["up", "--control-plane-only", "--name", &name, "--port", &port]),
        &name,
        &[&format!("port {port}"), "--port"],
    );
}

#[test]
fn a_bad_name_is_refused() {
    let (code, output) = finish(&mut harness(&["up", "--name", "../x"]));
    assert!(code == Some(2) && output.contains("\"../x\" is no cluster name"), "{output}");
}

#[test]
fn a_machine_without_go_is_told_what_is_missing() {
    let name = unique("no-go");
    refused(
        harness(&["up", "--control-plane-only", "--name", &name]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        &name,
        &["needs Go", "or newer"],
    );
}

#[test]
fn a_module_that_cannot_be_downloaded_is_named() {
    let (name, empty) = (unique("offline"), tempfile::tempdir().expect("folder"));
    let mut command = harness(&["up", "--control-plane-only", "--name", &name]);
    command
        .env("XDG_CACHE_HOME", empty.path())
        .env("GOMODCACHE", empty.path().join("mod"))
        .env("GOPROXY", "off")
        .env("GOFLAGS", "-modcacherw");
    refused(&mut command, &name, &["building kubernetes ended with an error", "could not be downloaded"]);
}

#[test]
fn a_full_disk_is_told_before_anything_is_started() {
    let name = unique("full");
    let folder = tempfile::tempdir().expect("folder");
    // The small disk exists only for this one process.
    let on_small_disk = |variable: &str| {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=1m,mode=755 none \"$0\" && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script]).arg(folder.path()).arg(env!("CARGO_BIN_EXE_sluicegate-e2e"));
        command.args(["cluster", "up", "--control-plane-only", "--name", &name]).env(variable, folder.path());
        command
    };
    refused(&mut on_small_disk("SLUICEGATE_E2E_STATE"), &name, &["MiB are needed", "SLUICEGATE_E2E_STATE"]);
    refused(&mut on_small_disk("XDG_CACHE_HOME"), &name, &["MiB are needed", "XDG_CACHE_HOME"]);
}

#[test]
fn a_state_folder_that_somebody_else_prepared_is_not_trusted() {
    let (name, folder) = (unique("foreign"), tempfile::tempdir().expect("folder"));
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("open to all");
    refused(
        harness(&["up", "--control-plane-only", "--name", &name]).env("SLUICEGATE_E2E_STATE", folder.path()),
        &name,
        &["not a folder of root's own"],
    );
}
