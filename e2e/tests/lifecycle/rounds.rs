//! Up and down, again and again. `SLUICEGATE_E2E_ROUNDS=20` does it twenty times, with a node each time.

use crate::support::{Machine, Own, assert_gone, namespaces_of, unique};

fn round(name: &str, options: &[&str]) {
    let own = Own::up(name, options);
    let namespaces = namespaces_of(&own.cluster);
    drop(own);
    assert_gone(name, &namespaces);
}

#[test]
fn clusters_leave_no_trace() {
    let name = unique("rounds");
    let before = Machine::look();
    match std::env::var("SLUICEGATE_E2E_ROUNDS").ok().and_then(|rounds| rounds.parse::<u32>().ok()) {
        Some(rounds) => {
            for number in 1..=rounds {
                round(&name, &[]);
                println!("round {number} of {rounds}");
                before.assert_nothing_new();
            }
        }
        None => {
            round(&name, &["--control-plane-only"]);
            round(&name, &["--control-plane-only"]);
            round(&name, &[]);
        }
    }
    before.assert_nothing_new();
}

#[test]
fn a_second_up_finds_the_cluster_and_other_options_are_refused() {
    use crate::support::{finish, harness};
    let name = unique("twice");
    let _own = Own::up(&name, &["--control-plane-only"]);
    let (code, output) = finish(&mut harness(&["up", "--control-plane-only", "--name", &name]));
    assert!(code == Some(0) && output.contains("is running already"), "{output}");
    let (code, output) = finish(&mut harness(&["up", "--control-plane-only", "--fsync", "--name", &name]));
    assert!(code == Some(2) && output.contains("with other options") && output.contains("cluster down"), "{output}");
    let (code, output) = finish(&mut harness(&["status", "--name", &name]));
    assert!(code == Some(0) && output.contains("kube-apiserver            running"), "{output}");
    let (code, output) = finish(&mut harness(&["kubeconfig", "--name", &name]));
    assert!(code == Some(0) && std::path::Path::new(output.trim()).exists(), "{output}");
    let (code, output) = finish(&mut harness(&["logs", "--name", &name, "nothing"]));
    assert!(code == Some(2) && output.contains("has no component nothing; it has etcd"), "{output}");
}
