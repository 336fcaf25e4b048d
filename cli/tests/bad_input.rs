//! Whatever stands in the files: a clear error with its place, the right exit code, no panic, and an end.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use cli::{Folder, PLATFORM, REFUSED, Ran, SHOP};

/// Checks `file` with these bytes in it beside the platform.
#[track_caller]
fn check(file: &str, bytes: impl AsRef<[u8]>) -> Ran {
    let folder = Folder::with_platform();
    folder.write(file, bytes);
    folder.check(file)
}

/// One error of the rule, at the place.
#[track_caller]
fn refused(ran: Ran, rule: &str, place: &str) {
    let ran = ran.exits(1).says(&format!("--> {place}\n"));
    assert_eq!(ran.rules(), [rule], "{}", ran.all());
}

#[test]
fn refuses_a_duplicate_key_and_shows_both() {
    let ran = check("a.yaml", format!("{SHOP}  path: ./a\n  path: ./b\n")).says("it is first here").says("a.yaml:6:3");
    refused(ran, "invalid-yaml", "a.yaml:7:3");
    refused(check("a.json", r#"{"kind": "x", "kind": "FluxConfig"}"#), "invalid-yaml", "a.json:1:15");
}

#[test]
fn refuses_aliases_that_stand_for_too_much() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let ran = check("bomb.yaml", bomb).exits(1).says("the aliases stand for more than").says("--> bomb.yaml:");
    assert_eq!(ran.rules(), ["invalid-yaml"]);
    let ran = check("loop.yaml", "a: &a [*a]\n").exits(1).says("--> loop.yaml:1:");
    assert_eq!(ran.rules(), ["invalid-yaml"]);
}

#[test]
fn does_not_read_a_hundred_megabytes() {
    let ran = check("big.yaml", vec![b' '; 100_000_000]).exits(2).says("--> big.yaml\n").says("has more than");
    assert_eq!(ran.rules(), ["unreadable-file"]);
    let folder = Folder::with_platform();
    folder
        .run_with(vec![b'\n'; 100_000_000], ["check", "--policies", "platform.yaml", "-"])
        .exits(2)
        .says("--> -\n")
        .says("has more than");
}

#[test]
fn refuses_a_hundred_thousand_brackets() {
    for (file, open) in [("a.yaml", "["), ("a.json", "{"), ("b.yaml", "- "), ("b.json", "[{\"a\": ")] {
        let ran =
            check(file, open.repeat(100_000)).exits(1).says("is nested deeper than").says(&format!("--> {file}:1:"));
        assert_eq!(ran.rules(), ["invalid-yaml"], "{open}");
    }
    // Closed ones are no better.
    let closed = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(check("a.yaml", closed).says("is nested deeper than"), "invalid-yaml", "a.yaml:1:69");
}

#[test]
fn refuses_what_is_not_plain_utf_8_text() {
    let utf16: Vec<u8> = SHOP.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, message, place) in [
        ([b"\xef\xbb\xbf", SHOP.as_bytes()].concat(), "starts with a byte order mark", "a.yaml:1:1"),
        ([b"\xff\xfe", utf16.as_slice()].concat(), "is UTF-16", "a.yaml:1:1"),
        (utf16, "is UTF-16", "a.yaml:1:1"),
        ([SHOP.as_bytes(), b"# caf\xe9\n"].concat(), "byte 0xe9", "a.yaml:6:6"),
        ([SHOP.as_bytes(), b"# \0\n"].concat(), "contains a NUL character", "a.yaml:6:3"),
    ] {
        refused(check("a.yaml", bytes).says(message), "invalid-yaml", place);
    }
}

#[test]
fn refuses_tabs_for_indentation() {
    let ran = check("a.yaml", SHOP.replace("  source", "\tsource")).says("a tab where YAML wants spaces");
    refused(ran, "invalid-yaml", "a.yaml:5:1");
}

#[test]
fn an_empty_folder_is_an_error_unless_that_is_fine() {
    let folder = Folder::empty();
    for args in [&["check"][..], &["check", "."]] {
        let ran = folder.run(args).exits(2).says("error: nothing to check").says("--allow-empty");
        assert_eq!(ran.stdout, "");
    }
    folder.run(["check", "--allow-empty"]).exits(0).says("checked nothing in 0 files");
    folder.run(["check", "nowhere"]).exits(2).says("there is no such file or folder").says("--> nowhere\n");
    folder.run(["check", "--allow-empty", "nowhere"]).exits(2);
}

#[test]
fn a_folder_of_other_things_is_as_good_as_empty() {
    let folder = Folder::empty();
    folder.write("values.yaml", "replicas: 3\n");
    folder.write("deployment.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n");
    folder.write("README.md", "# not YAML: [\n");
    folder.write("charts/a/Chart.yaml", "name: a\n");
    folder.write("charts/a/templates/x.yaml", "{{ not: YAML\n");
    folder.run(["check"]).exits(2).says("error: nothing to check");
    let ran = folder.run(["check", "--allow-empty"]).exits(0).says("in 3 files");
    ran.says("passed over: 1 other Kubernetes object, 2 documents that are no Kubernetes objects, 1 folder of Helm");
}

#[test]
fn a_file_that_cannot_be_read_is_not_nothing() {
    let folder = Folder::empty();
    folder.write("broken.yaml", "a: [\n");
    folder.run(["check"]).exits(1).says("error[invalid-yaml]");
    folder.run(["check", "--allow-empty"]).exits(1);
}

#[test]
fn a_policy_with_a_malformed_pattern_is_reported_once_and_admits_nobody() {
    let folder = Folder::empty();
    folder.write("policy.yaml", PLATFORM.replace("git.example.com/${tenant}/**", "git.example.com/x${tenant/**"));
    for number in 0..5 {
        folder.write(format!("{number}.yaml"), SHOP.replace("name: shop", &format!("name: a{number}")));
    }
    let ran = folder.run(["check"]).exits(1).says("--> policy.yaml:17:19\n");
    assert_eq!(ran.rules(), ["invalid-pattern"]);
    ran.says("0 admitted, 0 refused, 1 invalid, 5 undecided; 1 error");
    folder.run(["explain", "team-a/a1"]).exits(1).says("policy.yaml:17:19");
    folder.run(["complete", "--write"]).exits(1).says("0 fields filled in in 0 files");
    folder.run(["can", "team-a", "pull", "registry.example.com/team-a/app:1"]).exits(1).says("[invalid-policy]");
    // The policy counts where it only gives the context, too.
    folder.run(["check", "0.yaml", "--policies", "policy.yaml"]).exits(1).says("0 admitted").says("policy.yaml:17:19");
}

#[test]
fn a_policy_with_an_unknown_field_admits_nobody() {
    let folder = Folder::empty();
    folder.write("policy.yaml", PLATFORM.replace("denyTags", "denyTag"));
    folder.write("shop.yaml", SHOP);
    let ran = folder.run(["check"]).exits(1).says("did you mean denyTags?").says("--> policy.yaml:");
    assert_eq!(ran.rules(), ["unknown-field"]);
    ran.says("0 admitted, 0 refused, 1 invalid, 1 undecided");
}

#[test]
fn a_policy_that_selects_unclearly_admits_nobody_at_all() {
    let folder = Folder::with_platform();
    let second = "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {name: other}\n";
    folder.write("other.yaml", format!("{second}spec:\n  tenants: {{names: [team-z], selectr: {{}}}}\n"));
    folder.write("shop.yaml", SHOP);
    let ran = folder.run(["check"]).exits(1).says("0 admitted, 0 refused, 1 invalid, 1 undecided");
    assert_eq!(ran.rules(), ["unknown-field"]);
    // A typing error that makes it no policy at all, likewise.
    folder.write("other.yaml", format!("{second}spec: {{tenants: {{names: 7}}}}\n"));
    let ran = folder.run(["check"]).exits(1).says("0 admitted, 0 refused, 1 invalid, 1 undecided");
    assert_eq!(ran.rules(), ["invalid-value"]);
}

#[test]
fn policies_that_contradict_each_other_are_both_named_with_their_lines() {
    let folder = Folder::with_platform();
    let policy = |name: &str, interval: &str| {
        format!(
            "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {{name: {name}}}\n\
             spec:\n  tenants: {{names: [team-a]}}\n  defaults:\n    interval: {interval}\n"
        )
    };
    folder.write("b.yaml", policy("second", "7m"));
    folder.write("shop.yaml", SHOP);
    let ran = folder.run(["check"]).exits(1).says("policies second and teams both have priority 0");
    assert_eq!(ran.rules(), ["policy-conflict"]);
    let ran = ran.says("policy second, spec.defaults.interval (b.yaml:7)").says("0 admitted");
    let line = PLATFORM.lines().position(|line| line.contains("defaults:")).unwrap() + 1;
    ran.says(&format!("policy teams, spec.defaults.interval (platform.yaml:{line})"));
    // The same value is no contradiction.
    folder.write("b.yaml", policy("second", "5m"));
    folder.run(["check"]).exits(0);
}

#[test]
fn a_selector_without_the_namespace_is_neither_yes_nor_no() {
    let folder = Folder::empty();
    folder.write("p.yaml", PLATFORM.replace("names: [\"team-*\"]", "selector: {matchLabels: {tier: gold}}"));
    folder.write("shop.yaml", SHOP);
    let ran = folder.run(["check"]).exits(2).says("--> shop.yaml:3:35").says("team-a's Namespace");
    assert_eq!(ran.rules(), ["undetermined-selector"]);
    ran.says("add the manifest of the Namespace").says("0 admitted, 0 refused, 1 undecided");
    folder.run(["can", "team-a", "pull", "registry.example.com/team-a/app:1"]).exits(2).says("unknown\n");
    let namespace =
        |tier| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: team-a, labels: {{tier: {tier}}}}}\n");
    folder.write("ns.yaml", namespace("gold"));
    folder.run(["check"]).exits(0).says("1 admitted");
    folder.write("ns.yaml", namespace("tin"));
    assert_eq!(folder.run(["check"]).exits(1).rules(), ["no-policy"]);
}

#[test]
fn a_slip_in_version_or_kind_takes_nothing_out_of_sight() {
    for (from, to, place, help) in [
        ("v1alpha1", "v1alph1", "a.yaml:1:13", "write sluicegate.dev/v1alpha1"),
        ("v1alpha1", "v1", "a.yaml:1:13", "write sluicegate.dev/v1alpha1"),
        ("sluicegate.dev", "slucegate.dev", "a.yaml:1:13", "write sluicegate.dev/v1alpha1"),
        ("sluicegate.dev/", "", "a.yaml:1:13", "write sluicegate.dev/v1alpha1"),
        ("FluxConfig", "FluxConfg", "a.yaml:2:7", "write FluxConfig"),
        ("FluxConfig", "fluxconfig", "a.yaml:2:7", "write FluxConfig"),
        ("apiVersion", "apiversion", "a.yaml:1:1", "does not say its apiVersion"),
    ] {
        let ran = check("a.yaml", SHOP.replace(from, to)).says(help);
        refused(ran, "unknown-kind", place);
    }
}

#[test]
fn a_tag_takes_nothing_out_of_sight() {
    // To whoever decodes them these are `FluxConfig` and `kind`.
    for (from, to, place) in [
        ("kind: FluxConfig", "kind: !!binary Rmx1eENvbmZpZw==", "a.yaml:2:"),
        ("kind: FluxConfig", "!!binary a2luZA==: FluxConfig", "a.yaml:2:"),
        ("apiVersion: ", "apiVersion: !x ", "a.yaml:1:"),
    ] {
        let ran = check("a.yaml", REFUSED.replace(from, to)).exits(1).says(&format!("--> {place}"));
        assert_eq!(ran.rules(), ["unknown-kind"], "{to}");
    }
    // Elsewhere in what is no object of ours, tags are not our business.
    let folder = Folder::with_platform();
    folder.write("x/ci.yml", "job: !reference [a, b]\n");
    folder.write("x/good.yaml", SHOP);
    folder.check("x").exits(0);
}

#[test]
fn a_file_that_is_named_twice_is_read_once() {
    let folder = Folder::with_platform();
    folder.write("a/shop.yaml", SHOP);
    for paths in ["a/shop.yaml ./a/shop.yaml a/../a/shop.yaml", "a a/shop.yaml", ". a"] {
        folder.check(paths).exits(0).says(" 1 admitted, 0 refused");
    }
    // What is judged is not judged once more for being context.
    folder.run(["check", "a", "--policies", "."]).exits(0).says("checked 1 FluxConfig in 1 file: 1 admitted");
}

#[test]
fn reads_the_standard_input_beside_files() {
    let folder = Folder::with_platform();
    let check = ["check", "--policies", "platform.yaml", "-"];
    folder.run_with(SHOP, check).exits(0).says("1 admitted");
    let ran = folder.run_with(REFUSED, check).exits(1).says("--> -:5:17\n");
    assert_eq!(ran.rules(), ["source-not-allowed"]);
    folder.run_with("", check).exits(2).says("nothing to check").says(" in -;");
    // A file of that name is another thing.
    folder.write("-", REFUSED);
    folder.run_with(SHOP, check).exits(0).says("1 admitted, 0 refused");
    let both = folder.run_with(SHOP, ["check", "--policies", "platform.yaml", "-", "./-"]).exits(1);
    both.says("1 admitted, 1 refused");
}

#[test]
fn reads_documents_lists_json_and_windows_lines_alike() {
    let refused_in_list = |kind: &str, version: &str| {
        let items = [SHOP, REFUSED].map(|config| format!("- {}", config.trim_end().replace('\n', "\n  ")));
        format!("apiVersion: {version}\nkind: {kind}\nitems:\n{}\n", items.join("\n"))
    };
    let json = |name: &str, team: &str| {
        format!(
            r#"{{"apiVersion": "sluicegate.dev/v1alpha1", "kind": "FluxConfig",
 "metadata": {{"name": "{name}", "namespace": "team-a"}},
 "spec": {{"source": {{"url": "https://git.example.com/{team}/shop"}}}}}}"#
        )
    };
    for (file, text, place) in [
        ("a.yaml", format!("---\n{SHOP}---\n---\n{REFUSED}...\n"), "a.yaml:13:17"),
        ("a.yaml", format!("%YAML 1.2\n---\n{SHOP}---\n{REFUSED}"), "a.yaml:13:17"),
        ("a.yaml", format!("{SHOP}---\n{REFUSED}").replace('\n', "\r\n"), "a.yaml:11:17"),
        ("a.yml", format!("{SHOP}---\n{}", REFUSED.trim_end()), "a.yml:11:17"),
        ("a.yaml", refused_in_list("List", "v1"), "a.yaml:13:19"),
        ("a.yaml", refused_in_list("ConfigMapList", "v1"), "a.yaml:13:19"),
        ("a.yaml", refused_in_list("Anything", "example.com/v1"), "a.yaml:13:19"),
        (
            "a.json",
            format!(
                r#"{{"apiVersion": "v1", "kind": "List", "items": [{}, {}]}}"#,
                json("a", "team-a"),
                json("b", "team-b")
            ),
            "a.json:5:29",
        ),
    ] {
        let ran = check(file, &text).says("1 admitted, 1 refused");
        refused(ran, "source-not-allowed", place);
    }
}

#[test]
fn a_list_in_a_list_is_looked_into() {
    let item = REFUSED.trim_end().replace('\n', "\n    ");
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - {item}\n");
    refused(check("a.yaml", text), "source-not-allowed", "a.yaml:11:21");
}

#[test]
fn the_same_findings_in_whatever_order_the_files_come() {
    let parts = [
        PLATFORM.to_owned(),
        SHOP.to_owned(),
        REFUSED.to_owned(),
        SHOP.replace("name: shop", "name: twice"),
        SHOP.replace("name: shop", "name: twice"),
        SHOP.replace("name: shop", "name: waits") + "  dependsOn: [{name: nothing}]\n",
        SHOP.replace("team-a", "team-b") + "  namespace: team-b-x\n  path: ../x\n",
        "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {name: more}\n\
         spec: {tenants: {names: [team-b]}, defaults: {interval: 9m}}\n"
            .to_owned(),
        "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxCluster\nmetadata: {name: prod-eu}\n\
         spec: {connection: {inCluster: {}}}\n"
            .to_owned(),
    ];
    let found = |order: &[usize], one_file: bool| {
        let folder = Folder::empty();
        if one_file {
            let texts: Vec<&str> = order.iter().map(|number| parts[*number].as_str()).collect();
            folder.write("all.yaml", texts.join("---\n"));
        } else {
            for (name, number) in order.iter().enumerate() {
                folder.write(format!("{}/{name}.yaml", number % 3), &parts[*number]);
            }
        }
        let ran = folder.run(["check", "--report", "json=report.json"]).exits(1);
        let report: serde_json::Value = serde_json::from_str(&folder.read("report.json")).unwrap();
        let mut findings: Vec<String> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| format!("{} {} {}", finding["rule"], finding["object"], finding["field"]))
            .collect();
        findings.sort();
        let summary = ran.stdout.lines().find(|line| line.starts_with("checked ")).unwrap();
        let (_, summary) = summary.split_once(": ").unwrap();
        (findings, summary.rsplit_once(" (").unwrap().0.to_owned())
    };
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let expected = found(&order, false);
    assert!(expected.0.len() >= 6, "{expected:?}");
    // Another order each time, the same ones in each run.
    let mut seed = 7_usize;
    for round in 0..12 {
        for last in (1..order.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, (seed >> 33) % (last + 1));
        }
        assert_eq!(found(&order, round % 2 == 0), expected, "{order:?}");
    }
}

#[cfg(unix)]
mod unix {
    use std::{
        fs,
        os::unix::{
            ffi::OsStrExt as _,
            fs::{PermissionsExt as _, symlink},
            process::CommandExt as _,
        },
        path::Path,
        process::Command,
    };

    use super::{
        cli::{Folder, PLATFORM, REFUSED, Ran, SHOP, binary},
        refused,
    };

    #[test]
    fn links_that_lead_nowhere_or_round_in_circles_are_errors() {
        let folder = Folder::with_platform();
        folder.write("good.yaml", SHOP);
        symlink("loop.yaml", folder.path("loop.yaml")).unwrap();
        symlink("nothing.yaml", folder.path("dangling.yaml")).unwrap();
        let ran = folder.run(["check"]).exits(2).says("--> dangling.yaml\n").says("--> loop.yaml\n");
        assert_eq!(ran.rules(), ["unreadable-file"; 2]);
        ran.says("is a link to something that does not exist").says("is a link that leads back to itself");
        folder.check("loop.yaml").exits(2).says("is a link that leads back to itself");
        folder.check("dangling.yaml").exits(2).says("is a link to something that does not exist");
    }

    #[test]
    fn folders_that_contain_themselves_are_walked_once() {
        let folder = Folder::with_platform();
        folder.write("tenants/shop.yaml", SHOP);
        symlink("../tenants", folder.path("tenants/again")).unwrap();
        folder.run(["check"]).exits(0).says("1 admitted").says("passed over: 1 link to a folder");
    }

    #[test]
    fn a_link_out_of_the_folders_is_not_followed_in_silence() {
        let (folder, outside) = (Folder::with_platform(), Folder::empty());
        let target = outside.write("shop.yaml", SHOP);
        symlink(&target, folder.path("shop.yaml")).unwrap();
        let ran = folder.run(["check"]).exits(2).says("--> shop.yaml\n").says(target.to_str().unwrap());
        assert_eq!(ran.rules(), ["unreadable-file"]);
    }

    #[test]
    fn pipes_and_devices_are_no_files() {
        let folder = Folder::with_platform();
        assert!(Command::new("mkfifo").arg(folder.path("pipe.yaml")).status().unwrap().success());
        folder.run(["check"]).exits(2).says("--> pipe.yaml\n").says("is a named pipe, not a file");
        folder.check("pipe.yaml").exits(2).says("is a named pipe, not a file");
        folder.check("/dev/zero").exits(2).says("is a device, not a file");
    }

    /// Runs the binary as somebody who may not read everything.
    fn run_unprivileged(folder: &Folder, args: &[&str]) -> Ran {
        let probe = folder.write("probe", "");
        fs::set_permissions(&probe, fs::Permissions::from_mode(0o000)).unwrap();
        let reads_everything = fs::read(&probe).is_ok();
        fs::remove_file(&probe).unwrap();
        // The binary may lie where others may not go. Another process copies it: a file that this one has open for writing
        // is open in whatever another test starts at that moment, and cannot be run.
        let own = folder.path("sluicegate");
        assert!(Command::new("cp").arg(binary()).arg(&own).status().unwrap().success());
        let mut command = Command::new(&own);
        if reads_everything {
            fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o755)).unwrap();
            command.uid(65_534).gid(65_534);
        }
        Ran::of(&command.args(args).current_dir(folder.path("")).output().unwrap())
    }

    #[test]
    fn what_may_not_be_read_is_an_error() {
        let folder = Folder::with_platform();
        folder.write("good.yaml", SHOP);
        let secret = folder.write("secret.yaml", SHOP.replace("shop", "other"));
        let closed = folder.write("closed/a.yaml", SHOP.replace("shop", "third")).parent().unwrap().to_owned();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let ran = run_unprivileged(&folder, &["check"]).exits(2).says("--> secret.yaml\n").says("--> closed\n");
        assert_eq!(ran.rules(), ["unreadable-file"; 2]);
        let ran =
            ran.says("may not be read: permission denied").says("make it readable, or leave it out with --exclude");
        ran.says("1 admitted");
        let ran = run_unprivileged(&folder, &["check", "--exclude", "secret.yaml", "--exclude", "closed/"]);
        ran.exits(0).says("1 admitted");
        // So that the folder can be removed.
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_keeps_its_files_whole() {
        let folder = Folder::with_platform();
        folder.write("team/shop.yaml", SHOP);
        fs::set_permissions(folder.path("team"), fs::Permissions::from_mode(0o555)).unwrap();
        fs::set_permissions(folder.path("team/shop.yaml"), fs::Permissions::from_mode(0o644)).unwrap();
        let ran = run_unprivileged(&folder, &["complete", "--write", "team", "--policies", "platform.yaml"]).exits(2);
        let ran = ran.says("error: cannot write team/shop.yaml: Permission denied").says("the file is as it was");
        ran.does_not_say("completed team/shop.yaml");
        assert_eq!(folder.read("team/shop.yaml"), SHOP);
        assert_eq!(fs::read_dir(folder.path("team")).unwrap().count(), 1);
        fs::set_permissions(folder.path("team"), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn names_that_are_not_utf_8_are_told_apart() {
        let folder = Folder::with_platform();
        let name = |bytes: &'static [u8]| Path::new(std::ffi::OsStr::from_bytes(bytes));
        folder.write(name(b"team/\xfe.yaml"), format!("{}\n\n\n{REFUSED}", "# padding"));
        folder.write(name(b"team/\xff.yaml"), SHOP);
        let ran = folder.check("team").says("1 admitted, 1 refused");
        refused(ran, "source-not-allowed", r"team/\xfe.yaml:8:17");
        folder.run(["complete", "--write", "team", "--policies", "platform.yaml"]).exits(1);
        let read = |bytes| fs::read_to_string(folder.path(name(bytes))).unwrap();
        assert!(read(b"team/\xff.yaml").contains("cluster: prod-eu"));
        assert!(!read(b"team/\xfe.yaml").contains("cluster: prod-eu"));
    }

    #[test]
    fn control_characters_in_names_do_not_reach_the_terminal() {
        let folder = Folder::empty();
        folder.write("p.yaml", PLATFORM);
        folder.write("a\u{1b}[31m\n.yaml", REFUSED);
        let ran = folder.run(["check"]).exits(1);
        assert!(!ran.all().contains('\u{1b}'), "{}", ran.all());
    }
}
