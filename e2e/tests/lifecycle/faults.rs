//! The levers that later suites pull.

use std::time::{Duration, Instant};

use serde_json::json;
use sluicegate_e2e::Line;
use sluicegate_e2e::api;
use sluicegate_e2e::cluster::Cluster;
use sluicegate_e2e::components::ETCD_NO_FSYNC;
use sluicegate_e2e::faults::{State, Way};
use sluicegate_e2e::suite::create_as;

use crate::support::{Own, unique, within};

/// A probe of the API server that does not wait long.
struct Probe {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

impl Probe {
    fn new(cluster: &Cluster) -> Probe {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = runtime.block_on(api::client(&cluster.layout().kubeconfig())).expect("a client");
        Probe { runtime, client }
    }

    fn get(&self, path: &str, limit: Duration) -> Option<String> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.runtime.block_on(async { tokio::time::timeout(limit, self.client.request_text(request)).await.ok()?.ok() })
    }

    fn answers(&self) -> bool {
        self.get("/readyz", Duration::from_secs(1)).is_some_and(|text| text == "ok")
    }

    fn create(&self, object: serde_json::Value) {
        self.runtime.block_on(create_as(&self.client, object)).expect("created");
    }
}

fn etcd_arguments(cluster: &Cluster) -> String {
    let pid = cluster.process("etcd").expect("etcd").pid;
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs")
}

#[test]
fn components_stop_start_pause_and_lines_break() {
    let own = Own::up(&unique("levers"), &["--control-plane-only"]);
    let cluster = &own.cluster;
    let probe = Probe::new(cluster);
    let config_map = "/api/v1/namespaces/default/configmaps/kept";
    probe
        .create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept", "namespace": "default"}}));

    // Killed and started again, etcd has its data.
    cluster.kill("etcd").expect("killed");
    assert_eq!(cluster.state("etcd").expect("known"), State::Ended);
    assert!(probe.get(config_map, Duration::from_secs(1)).is_none(), "without etcd nothing is read");
    cluster.start_again("etcd").expect("started");
    assert!(within(90, || probe.get(config_map, Duration::from_secs(1)).is_some()), "the data are back");

    // With fsync and without.
    assert!(etcd_arguments(cluster).contains(ETCD_NO_FSYNC));
    cluster.set_etcd_fsync(true).expect("restarted");
    assert!(!etcd_arguments(cluster).contains(ETCD_NO_FSYNC));
    assert!(within(90, || probe.get(config_map, Duration::from_secs(1)).is_some()), "the data are still there");

    // An orderly end of the API server, and a start.
    cluster.stop("kube-apiserver").expect("stopped");
    assert!(!probe.answers());
    cluster.start_again("kube-apiserver").expect("started");
    assert!(within(120, || probe.answers()), "it is back");

    // Paused, it takes connections and answers none.
    cluster.pause("kube-apiserver").expect("paused");
    assert!(within(5, || cluster.state("kube-apiserver").is_ok_and(|state| state == State::Paused)));
    assert!(!probe.answers());
    cluster.resume("kube-apiserver").expect("resumed");
    assert!(within(60, || probe.answers()), "it goes on");

    // The host's line alone: the API server itself is fine.
    cluster.set_line(Way::HostToApi, Line::Silent).expect("set");
    assert!(!probe.answers());
    cluster.set_line(Way::HostToApi, Line::Broken).expect("set");
    let started = Instant::now();
    assert!(!probe.answers());
    assert!(started.elapsed() < Duration::from_millis(900), "a broken line is noticed at once");
    cluster.set_line(Way::HostToApi, Line::Slow(150)).expect("set");
    let started = Instant::now();
    assert!(probe.get("/readyz", Duration::from_secs(10)).is_some());
    assert!(started.elapsed() >= Duration::from_millis(300), "there and back");
    cluster.set_line(Way::HostToApi, Line::Open).expect("set");
    assert!(within(10, || probe.answers()));
}

#[test]
fn another_control_plane_is_reachable_inside_by_a_link() {
    let here = Own::up(&unique("here"), &["--control-plane-only"]);
    let there = Own::up(&unique("there"), &["--control-plane-only"]);
    let url = here.cluster.link(&there.cluster, 7443).expect("linked");
    // The certificate of the other authority tells that it is the other server.
    let mut command = std::process::Command::new("openssl");
    command.args([
        "s_client",
        "-brief",
        "-verify_return_error",
        "-connect",
        url.trim_start_matches("https://"),
        "-CAfile",
    ]);
    command.arg(there.cluster.layout().pki("ca.crt"));
    here.cluster.run_inside(command).expect("the other server is there");
}

#[test]
fn a_node_that_is_cut_off_starts_pods_when_the_line_opens() {
    let own = Own::up(&unique("cut"), &[]);
    let cluster = &own.cluster;
    let probe = Probe::new(cluster);
    let image = sluicegate_e2e::images::PROBE_IMAGE;
    let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [{"name": "c", "image": image}]}});
    let running = |name: &str| {
        probe
            .get(&format!("/api/v1/namespaces/default/pods/{name}"), Duration::from_secs(2))
            .is_some_and(|text| text.contains("\"phase\":\"Running\""))
    };
    probe.create(pod("first"));
    assert!(within(90, || running("first")), "the node works");

    cluster.set_line(Way::NodeToApi, Line::Silent).expect("set");
    probe.create(pod("second"));
    assert!(!within(4, || running("second")), "a node that is cut off learns nothing");
    cluster.set_line(Way::NodeToApi, Line::Open).expect("set");
    assert!(within(90, || running("second")), "and goes on when the line opens");

    // The node's programs crash and come back; pods live on.
    for component in ["containerd", "kubelet", "netpol", "kube-proxy"] {
        cluster.kill(component).expect("killed");
        cluster.start_again(component).expect("started");
    }
    probe.create(pod("third"));
    assert!(within(120, || running("third")), "the node works again");
    assert!(running("first"), "what ran before still runs");
}
