//! `sluicegate render`: what would be applied, as files and on standard output.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use std::{collections::BTreeMap, path::Path};

use cli::{Folder, PLATFORM, REFUSED, Ran, SHOP, repository, run_in};

const EU: &str = "--api-server=prod-eu=192.0.2.1:6443";
const US: &str = "--api-server=prod-us=192.0.2.2:6443";

/// A folder with the platform and the FluxConfig of one team.
fn shop() -> Folder {
    let folder = Folder::with_platform();
    folder.write("shop.yaml", SHOP);
    folder
}

/// `kind namespace/name` of each object, in order.
fn objects(text: &str) -> Vec<String> {
    text.split("---\n")
        .skip(1)
        .map(|document| {
            let value: serde_json::Value = serde_saphyr::from_str(document).unwrap();
            let metadata = &value["metadata"];
            let namespace = metadata["namespace"].as_str().unwrap_or_default();
            format!("{} {namespace}/{}", value["kind"].as_str().unwrap(), metadata["name"].as_str().unwrap())
        })
        .collect()
}

/// All files below a folder, by path.
fn files(folder: &Folder, below: &str) -> BTreeMap<String, String> {
    fn list(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                list(root, &path, found);
            } else {
                let shown = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(shown, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    let root = folder.path(below);
    list(&root, &root, &mut found);
    found
}

#[test]
fn prints_every_object_in_the_order_in_which_it_is_applied() {
    let ran = shop().run(["render", EU]).exits(0);
    let found = objects(&ran.stdout);
    assert_eq!(found.first().unwrap(), "Namespace /sluicegate-team-a");
    assert_eq!(found.last().unwrap(), "Kustomization sluicegate-team-a/shop");
    for expected in ["RoleBinding sluicegate-team-a/sluicegate-impersonate", "GitRepository sluicegate-team-a/shop"] {
        assert!(found.iter().any(|object| object == expected), "{found:?}");
    }
    assert!(!found.iter().any(|object| object.starts_with("Secret ")), "{found:?}");
    assert!(ran.stdout.contains("192.0.2.1/32"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn says_which_secrets_have_to_be_provided_and_prints_none() {
    let folder = Folder::empty();
    let credentials = "  credentials: [{match: \"https://git.example.com/**\", secretRef: {name: git-reader}}]\n";
    folder.write("platform.yaml", PLATFORM.to_owned() + credentials);
    folder.write("shop.yaml", SHOP);
    let ran = folder.run(["render", EU]).exits(0);
    assert!(!ran.stdout.contains("kind: Secret\n"), "{}", ran.stdout);
    assert_eq!(
        ran.stderr,
        "1 Secret or ConfigMap to provide, which no file should hold:\n  \
         prod-eu Secret sluicegate-team-a/sluicegate-git-reader: a copy of the platform's git-reader\n"
    );
}

#[test]
fn writes_one_file_an_agent_and_the_second_run_changes_nothing() {
    let folder = shop();
    folder.write("us.yaml", SHOP.replace("name: shop", "name: shop-us") + "  cluster: prod-us\n");
    folder.run(["render", "-o", "out", EU, US]).exits(0).says("2 agents in out: 2 written, 0 unchanged, 0 removed");
    let first = files(&folder, "out");
    assert_eq!(first.keys().collect::<Vec<_>>(), ["prod-eu/sluicegate-team-a.yaml", "prod-us/sluicegate-team-a.yaml"]);
    folder.run(["render", "-o", "out", EU, US]).exits(0).says("0 written, 2 unchanged, 0 removed");
    assert_eq!(files(&folder, "out"), first);
    // What was written is nothing to judge.
    folder.run(["check"]).exits(0);
}

#[test]
fn removes_what_is_no_more_and_nothing_of_others() {
    let folder = shop();
    folder.write("other.yaml", SHOP.replace("team-a", "team-b"));
    folder.write("out/prod-eu/by-hand.yaml", "kind: Other\n");
    folder.run(["render", "-o", "out", EU]).exits(0).says("2 written");
    std::fs::remove_file(folder.path("other.yaml")).unwrap();
    folder.run(["render", "-o", "out", EU]).exits(0).says("0 written, 1 unchanged, 1 removed");
    let left = files(&folder, "out");
    assert_eq!(left.keys().collect::<Vec<_>>(), ["prod-eu/by-hand.yaml", "prod-eu/sluicegate-team-a.yaml"]);
}

#[test]
fn an_agent_is_rendered_whole_and_the_others_are_left_alone() {
    let folder = Folder::empty();
    folder.write("platform.yaml", PLATFORM.to_owned() + "  agent: {placement: Pooled}\n");
    folder.write("a/shop.yaml", SHOP);
    folder.write("b/shop.yaml", SHOP.replace("team-a", "team-b"));
    folder.write("c/shop.yaml", SHOP.replace("team-a", "team-c") + "  cluster: prod-us\n");
    folder.run(["render", "-o", "out", EU, US]).exits(0).says("2 agents");
    let all = files(&folder, "out");
    assert!(all["prod-eu/sluicegate--pool-1.yaml"].contains("team-b--shop"));
    folder
        .run(["render", "a", "--policies", ".", "-o", "out", EU])
        .exits(0)
        .says("1 agent in out: 0 written, 1 unchanged, 0 removed");
    assert_eq!(files(&folder, "out"), all);
}

#[test]
fn asks_for_the_addresses_of_each_cluster() {
    let folder = shop();
    folder.write("us.yaml", SHOP.replace("name: shop", "name: shop-us") + "  cluster: prod-us\n");
    folder
        .run(["render", "-o", "out"])
        .exits(2)
        .says("no address of one is known; give --api-server prod-eu=IP:PORT --api-server prod-us=IP:PORT");
    folder.run(["render", EU, "--api-server=prod-uss=192.0.2.1:1"]).exits(2).says("did you mean prod-us?");
    folder.run(["render", "--api-server=prod-eu=api.example.com:443"]).exits(2).says("api.example.com:443");
    folder.run(["render", "--api-server=192.0.2.1:443"]).exits(2).says("write CLUSTER=VALUE");
    assert!(!folder.path("out").exists());
}

#[test]
fn renders_nothing_of_a_platform_with_a_refused_flux_config() {
    let folder = shop();
    folder.write("stolen.yaml", REFUSED);
    let ran: Ran = folder.run(["render", "-o", "out", EU]).exits(1).says("error[source-not-allowed]");
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("stolen.yaml:5:") && ran.stderr.ends_with("nothing is rendered until this is mended\n")
    );
    assert!(!folder.path("out").exists());
    Folder::with_platform().run(["render", EU]).exits(2).says("nothing to render");
}

#[test]
fn names_the_policy_that_cannot_be_followed() {
    let folder = Folder::empty();
    folder.write("platform.yaml", PLATFORM.to_owned() + "  agent: {version: 1.x}\n");
    folder.write("shop.yaml", SHOP);
    folder
        .run(["render", EU])
        .exits(2)
        .says("cannot render prod-eu/sluicegate-team-a: FluxPolicy/teams spec.agent.version names no release of Flux");
}

#[test]
fn binds_the_operator_as_whom_it_comes_to_a_cluster() {
    let folder = Folder::empty();
    let credentials = "  credentials: [{match: \"https://git.example.com/**\", secretRef: {name: git-reader}}]\n";
    folder.write("platform.yaml", PLATFORM.to_owned() + credentials);
    folder.write("shop.yaml", SHOP);
    let user = folder.run(["render", EU, "--operator=prod-eu=sluicegate@fleet"]).exits(0);
    assert!(user.stdout.contains("kind: User\n  name: sluicegate@fleet\n"), "{}", user.stdout);
    let account = folder.run(["render", EU, "--operator=prod-eu=system:serviceaccount:fleet:sluicegate"]).exits(0);
    assert!(account.stdout.contains("  name: sluicegate\n  namespace: fleet\n"), "{}", account.stdout);
}

#[test]
fn the_example_platform_can_be_rendered() {
    let folder = Folder::empty();
    let out = folder.path("out").display().to_string();
    let addresses = ["dev", "prod-eu", "prod-us"].map(|cluster| format!("--api-server={cluster}=192.0.2.1:6443"));
    let args = ["render", "examples/platform", "-o", &out].into_iter().chain(addresses.iter().map(String::as_str));
    run_in(&repository(""), "", args).exits(0);
    let found = files(&folder, "out");
    assert!(found.len() >= 9, "{:?}", found.keys());
    for (path, text) in found {
        assert!(objects(&text).len() > 10, "{path}");
    }
}
