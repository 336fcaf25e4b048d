//! Signals to the harness at any moment.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sluicegate_e2e::cluster::Cluster;

use crate::support::{Ended, assert_gone, ended, finish, harness, namespaces_of, unique, within};

/// Moments in a start: files, namespaces, the first processes, the API server, the kinds.
const MOMENTS_MS: [u64; 5] = [30, 150, 400, 1500, 4000];

fn signal(child: &std::process::Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).expect("the harness runs");
}

#[test]
fn ctrl_c_during_a_start_leaves_nothing() {
    let name = unique("ctrl-c");
    let _ended = Ended(&name);
    for moment in MOMENTS_MS {
        let mut child = harness(&["up", "--control-plane-only", "--name", &name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        sleep(Duration::from_millis(moment));
        signal(&child, Signal::SIGINT);
        let code = ended(&mut child, 60);
        // Before its first line the program has no handler and ends by the signal itself; after its last it is done.
        assert!(matches!(code, Some(130 | 0) | None), "after {moment} ms: {code:?}");
        if code == Some(0) {
            Cluster::down(&name).expect("it ends");
        }
        assert_gone(&name, &BTreeSet::new());
    }
}

#[test]
fn ctrl_c_during_a_build_ends_the_build() {
    let (name, cache) = (unique("build"), tempfile::tempdir().expect("folder"));
    let mut command = harness(&["up", "--control-plane-only", "--name", &name]);
    let mut child = command
        .env("XDG_CACHE_HOME", cache.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let folders =
        || std::fs::read_dir(cache.path().join("sluicegate/e2e/programs")).into_iter().flatten().flatten().count();
    assert!(within(60, || folders() == 2), "the build begins");
    signal(&child, Signal::SIGINT);
    assert_eq!(ended(&mut child, 30), Some(130));
    assert_eq!(folders(), 0, "what was built by half is gone, and Go's temporary files with it");
    let marker = cache.path().display().to_string();
    let builders = || {
        let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        processes
            .filter(|entry| {
                std::fs::read(entry.path().join("cmdline"))
                    .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&marker))
            })
            .count()
    };
    assert!(within(10, || builders() == 0), "a compiler goes on");
    assert_gone(&name, &BTreeSet::new());
}

#[test]
fn after_a_killed_start_down_removes_what_was_left() {
    let name = unique("killed");
    let _ended = Ended(&name);
    for moment in MOMENTS_MS {
        let mut child = harness(&["up", "--control-plane-only", "--name", &name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        sleep(Duration::from_millis(moment));
        signal(&child, Signal::SIGKILL);
        child.wait().expect("it ended");
        let (code, output) = finish(&mut harness(&["down", "--name", &name]));
        assert_eq!(code, Some(0), "after {moment} ms: {output}");
        assert_gone(&name, &BTreeSet::new());
    }
}

#[test]
fn a_start_removes_what_a_killed_one_left() {
    let name = unique("again");
    let _ended = Ended(&name);
    let mut child = harness(&["up", "--control-plane-only", "--name", &name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    sleep(Duration::from_millis(1500));
    signal(&child, Signal::SIGKILL);
    child.wait().expect("it ended");
    let (code, output) = finish(&mut harness(&["up", "--control-plane-only", "--name", &name]));
    assert_eq!(code, Some(0), "{output}");
    let namespaces = namespaces_of(&Cluster::open(&name).expect("it runs"));
    Cluster::down(&name).expect("it ends");
    assert_gone(&name, &namespaces);
}

#[test]
fn a_killed_run_ends_its_cluster() {
    let name = unique("lifeline");
    let _ended = Ended(&name);
    let mut child = harness(&["run", "--control-plane-only", "--name", &name, "--", "sleep", "1000"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    assert!(within(90, || Cluster::open(&name).is_ok()), "it starts");
    let cluster = Cluster::open(&name).expect("it runs");
    let (namespaces, server) = (namespaces_of(&cluster), cluster.process("kube-apiserver").expect("a process"));
    // Only the run itself is ended, as when memory runs out; what it ran (`sleep`) is none of the cluster's.
    signal(&child, Signal::SIGKILL);
    child.wait().expect("it ended");
    assert!(within(10, || !server.is_alive()), "the API server outlives the run");
    assert!(within(10, || Cluster::open(&name).is_err()), "the first process is the last to go");
    Cluster::down(&name).expect("files go");
    assert_gone(&name, &namespaces);
}

#[test]
fn run_passes_on_the_exit_code_and_ends_the_cluster() {
    let name = unique("run");
    let _ended = Ended(&name);
    let (code, output) = finish(&mut harness(&[
        "run",
        "--control-plane-only",
        "--name",
        &name,
        "--",
        "sh",
        "-c",
        "test -r \"$KUBECONFIG\" && exit 7",
    ]));
    assert_eq!(code, Some(7), "{output}");
    assert_gone(&name, &BTreeSet::new());
}
