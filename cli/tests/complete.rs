//! `sluicegate complete`: what is missing is inserted, and not another byte is touched.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use std::{path::Path, process::Command};

use cli::{Folder, PLATFORM, REFUSED, SHOP};
use proptest::prelude::*;
use serde_json::Value;
use sluicegate_cli::platform::{Keep, Platform, Request};

/// The FluxConfigs of a file as the policies complete them, in their order: what a file must mean once it is completed.
fn admitted(folder: &Folder, file: &str) -> Vec<Value> {
    each(folder, file, true)
}

/// The FluxConfigs of a file as they stand.
fn written(folder: &Folder, file: &str) -> Vec<Value> {
    each(folder, file, false)
}

fn each(folder: &Folder, file: &str, complete: bool) -> Vec<Value> {
    let request =
        Request { paths: vec![folder.path(file)], context: vec![folder.path("platform.yaml")], ..Request::default() };
    let platform = Platform::load(&request).unwrap();
    let judged = platform.judge(Keep::Admitted, false);
    assert!(judged.findings.is_empty(), "{:?}", judged.findings);
    judged
        .configs
        .iter()
        .map(|config| {
            let object = &platform.configs[config.index].object;
            let completed = config.admitted.as_ref().unwrap().complete(object);
            serde_json::to_value(if complete { &completed.spec } else { &object.spec }).unwrap()
        })
        .collect()
}

/// Whether `after` is `before` with something inserted: each byte is there, in its order.
fn is_insertion(before: &str, after: &str) -> bool {
    let mut rest = after.bytes();
    before.bytes().all(|byte| rest.any(|other| other == byte))
}

/// Whether each line of `before` is there, whole but for what was inserted into it.
fn keeps_lines(before: &str, after: &str) -> bool {
    let mut rest = after.split_inclusive('\n');
    before.split_inclusive('\n').all(|line| rest.any(|other| is_insertion(line.trim_end(), other)))
}

const COMPLETE: [&str; 5] = ["complete", "--write", "x", "--policies", "platform.yaml"];

/// Completes the file twice and checks all that is promised.
#[track_caller]
fn completes(name: &str, before: &str) -> String {
    let folder = Folder::with_platform();
    let file = format!("x/{name}");
    folder.write(&file, before);
    let expected = admitted(&folder, &file);
    folder.run(COMPLETE).exits(0);
    let after = folder.read(&file);
    assert!(is_insertion(before, &after), "{before}\n{after}");
    assert!(keeps_lines(before, &after), "{before}\n{after}");
    assert_ne!(before, after);
    assert_eq!(written(&folder, &file), expected, "{after}");
    folder.run(COMPLETE).exits(0).says("0 fields filled in in 0 files").does_not_say("completed ");
    assert_eq!(folder.read(&file), after, "the second run changes nothing");
    folder.run(["check", "x", "--policies", "platform.yaml"]).exits(0);
    after
}

#[test]
fn fills_in_what_is_missing_as_a_person_would() {
    assert_eq!(
        completes("a.yaml", SHOP),
        "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: team-a}
spec:
  source: {url: https://git.example.com/team-a/shop, ref: {branch: main}}
  path: ./deploy
  cluster: prod-eu
  namespace: team-a
"
    );
}

#[test]
fn keeps_comments_order_quotes_and_blank_lines() {
    let after = completes(
        "a.yaml",
        "\
# the shop
---
kind: 'FluxConfig'   # kind first

apiVersion: \"sluicegate.dev/v1alpha1\"
metadata:
    namespace:   team-a
    name: shop    # a name
    # labels come here
spec:


    # how often
    interval: '5m'
    source:
        # where from
        url: >-
          https://git.example.com/team-a/shop
        # no ref yet
    # the end of the spec
# the end of the file
",
    );
    for kept in [
        "kind: 'FluxConfig'   # kind first\n\n",
        "    # the end of the spec\n# the end of the file\n",
        "\n\n\n    # how often\n",
    ] {
        assert!(after.contains(kept), "{after}");
    }
}

#[test]
fn completes_what_a_person_may_write_by_hand() {
    let crlf = SHOP.replace('\n', "\r\n");
    let after = completes("a.yaml", &crlf);
    assert_eq!(after.matches('\n').count(), after.matches("\r\n").count());

    let unfinished = completes("a.yaml", SHOP.trim_end());
    assert!(!unfinished.ends_with('\n'), "{unfinished}");

    let flow = completes(
        "a.yaml",
        "{apiVersion: sluicegate.dev/v1alpha1, kind: FluxConfig, metadata: {name: shop, namespace: team-a},\n \
         spec: {source: {url: 'https://git.example.com/team-a/shop'}}}  # one line\n",
    );
    assert!(flow.ends_with("}}  # one line\n") || flow.ends_with("}  # one line\n"), "{flow}");

    let json = "{\n  \"apiVersion\": \"sluicegate.dev/v1alpha1\",\n  \"kind\": \"FluxConfig\",\n  \
                \"metadata\": {\"name\": \"shop\", \"namespace\": \"team-a\"},\n  \
                \"spec\": {\n    \"source\": {\n      \"url\": \"https://git.example.com/team-a/shop\"\n    }\n  }\n}\n";
    let after = completes("a.json", json);
    let value: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(value["spec"]["source"]["ref"]["branch"], "main");
    let compact: String = json.split_whitespace().collect();
    assert!(serde_json::from_str::<Value>(&completes("a.json", &compact)).is_ok());

    // A part of what is missing, and nulls that stand for nothing.
    completes("a.yaml", &format!("{SHOP}  cluster: prod-us\n"));
    let other = "    ref:\n      tag: v1\n";
    let source = "  source:\n    url: https://git.example.com/team-a/shop\n";
    completes(
        "a.yaml",
        &SHOP.replace("  source: {url: https://git.example.com/team-a/shop}\n", &format!("{source}{other}")),
    );
}

#[test]
fn completes_each_document_and_each_item_of_a_list() {
    let second = SHOP.replace("name: shop", "name: second") + "  namespace: team-a-second\n";
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a}\n";
    let after = completes("a.yaml", &format!("# first\n---\n{SHOP}---\n{namespace}---\n# empty\n---\n{second}...\n"));
    assert_eq!(after.matches("cluster: prod-eu").count(), 2);
    assert_eq!(after.matches("namespace: team-a\n").count(), 1, "{after}");

    let items = [SHOP.to_owned(), second].map(|config| format!("  - {}", config.trim_end().replace('\n', "\n    ")));
    let after = completes("a.yaml", &format!("apiVersion: v1\nkind: List\nitems:\n{}\n", items.join("\n")));
    assert_eq!(after.matches("\n      cluster: prod-eu\n").count(), 2, "{after}");
}

#[test]
fn completes_around_anchors() {
    let after = completes(
        "a.yaml",
        "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: &team team-a}
spec: &spec
  source:
    url: &url https://git.example.com/team-a/shop
  namespace: *team
",
    );
    assert!(after.contains("  namespace: *team\n") && after.contains("&spec\n"), "{after}");
}

#[test]
fn what_cannot_be_inserted_with_certainty_is_left_to_a_person() {
    let folder = Folder::with_platform();
    let shared = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: team-a}
spec: &spec
  source: {url: https://git.example.com/team-a/shop}
---
apiVersion: v1
kind: List
items:
- apiVersion: sluicegate.dev/v1alpha1
  kind: FluxConfig
  metadata: {name: a, namespace: team-a}
  spec: &shared
    source: {url: https://git.example.com/team-a/shop}
- apiVersion: sluicegate.dev/v1alpha1
  kind: FluxConfig
  metadata: {name: b, namespace: team-a}
  spec: *shared
";
    folder.write("x/a.yaml", shared);
    let ran = folder
        .run(COMPLETE)
        .exits(2)
        .says("error: x/a.yaml: ")
        .says("add by hand: items[0].spec.cluster = \"prod-eu\"");
    ran.says("0 fields filled in in 0 files");
    assert_eq!(folder.read("x/a.yaml"), shared);
}

#[test]
fn what_is_refused_is_left_alone() {
    let folder = Folder::with_platform();
    let both = format!("{SHOP}---\n{REFUSED}");
    folder.write("x/both.yaml", &both);
    folder.write("x/refused.yaml", REFUSED.replace("stolen", "alone"));
    folder.write("x/flawed.yaml", SHOP.replace("name: shop", "name: flawed") + "  intervall: 5m\n");
    folder.write("x/broken.yaml", "a: [\n");
    let before: Vec<String> = ["refused", "flawed", "broken"].map(|name| folder.read(&format!("x/{name}.yaml"))).into();
    let ran = folder.run(COMPLETE).exits(1).says("error[source-not-allowed]").says("x/refused.yaml:5:17");
    ran.says("completed x/both.yaml").says("4 fields filled in in 1 file\n").does_not_say("completed x/refused");
    let after: Vec<String> = ["refused", "flawed", "broken"].map(|name| folder.read(&format!("x/{name}.yaml"))).into();
    assert_eq!(before, after);
    let completed = folder.read("x/both.yaml");
    assert!(completed.ends_with(&format!("---\n{REFUSED}")), "{completed}");
    assert!(completed.contains("cluster: prod-eu"));
}

#[test]
fn prints_what_it_would_write_and_writes_nothing() {
    let folder = Folder::with_platform();
    folder.write("x/a.yaml", SHOP);
    folder.write("x/b.yaml", SHOP.replace("name: shop", "name: b").trim_end());
    folder.write("x/c.yaml", format!("---\n{}", SHOP.replace("name: shop", "name: c")));
    let printed = folder.run(["complete", "x", "--policies", "platform.yaml"]).exits(0);
    assert_eq!(printed.stderr, "");
    assert_eq!(folder.read("x/a.yaml"), SHOP);
    folder.run(COMPLETE).exits(0).says("12 fields filled in in 3 files");
    let files = ["a", "b", "c"].map(|name| folder.read(&format!("x/{name}.yaml")));
    assert_eq!(printed.stdout, format!("{}---\n{}\n{}", files[0], files[1], files[2]));
    // What is printed is a stream of documents again.
    folder.write("all.yaml", &printed.stdout);
    folder.run(["check", "all.yaml", "--policies", "platform.yaml"]).exits(0).says("3 admitted");
}

#[test]
fn standard_input_goes_to_standard_output() {
    let folder = Folder::with_platform();
    for flags in [&[][..], &["--write"]] {
        let args = [&["complete", "-", "--policies", "platform.yaml"], flags].concat();
        let ran = folder.run_with(SHOP, &args).exits(0);
        assert!(ran.stdout.ends_with("  cluster: prod-eu\n  namespace: team-a\n"), "{}", ran.stdout);
        let refused = folder.run_with(REFUSED, &args).exits(1);
        assert_eq!(refused.stdout, REFUSED);
    }
}

#[test]
fn a_diff_can_be_applied() {
    let text = |name: &str| SHOP.replace("name: shop", &format!("name: {name}"));
    let folder = Folder::with_platform();
    folder.write("x/a.yaml", format!("# a comment\n{}\n# the end\n", text("a")));
    folder.write("x/crlf.yaml", text("crlf").replace('\n', "\r\n"));
    folder.write("x/open.yaml", text("open").trim_end());
    folder.write("x/with space.yaml", text("space"));
    folder.write("x/done.yaml", text("done"));
    folder.run(["complete", "--write", "x/done.yaml", "--policies", "platform.yaml"]).exits(0);
    let names = ["a", "crlf", "open", "with space", "done"];
    let contents = || names.map(|name| folder.read(&format!("x/{name}.yaml")));
    let before = contents();
    let diff = folder.run(["complete", "--diff", "x", "--policies", "platform.yaml"]).exits(0);
    let diff = diff.says("16 fields to fill in in 4 files").does_not_say("done.yaml");
    assert_eq!(contents(), before);
    folder.run(COMPLETE).exits(0);
    let after = contents();
    assert_ne!(before, after);
    folder.write("the.diff", &diff.stdout);
    for program in [&["git", "apply", "-p1", "the.diff"][..], &["patch", "-p1", "--binary", "-s", "-i", "the.diff"]] {
        for (name, text) in names.iter().zip(&before) {
            folder.write(format!("x/{name}.yaml"), text);
        }
        let mut command = Command::new(program[0]);
        // Not the repository that this one may lie in.
        command.args(&program[1..]).current_dir(folder.path("")).env("GIT_CEILING_DIRECTORIES", folder.path(".."));
        match command.output() {
            Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) if program[0] == "patch" && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => panic!("{program:?}: {error}"),
        }
        assert_eq!(contents(), after, "{program:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_refused_and_permissions_stay() {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    let folder = Folder::with_platform();
    folder.write("x/a.yaml", SHOP);
    fs::set_permissions(folder.path("x/a.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("x/a.yaml", folder.path("link.yaml")).unwrap();
    let complete = |file: &str| folder.run(["complete", "--write", file, "--policies", "platform.yaml"]);
    complete("link.yaml").exits(2).says("cannot write link.yaml: it is a link").says("no file is changed");
    assert!(folder.path("link.yaml").is_symlink());
    assert_eq!(folder.read("x/a.yaml"), SHOP);
    complete("x/a.yaml").exits(0);
    assert!(folder.read("x/a.yaml").contains("cluster: prod-eu"));
    assert_eq!(fs::metadata(folder.path("x/a.yaml")).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path("x")).unwrap().count(), 1);
}

#[test]
fn the_examples_are_completed_to_what_is_deployed() {
    let examples = cli::repository("examples/platform");
    let folder = Folder::empty();
    copy(&examples, &folder, Path::new(""));
    let load = || Platform::load(&Request { paths: vec![folder.path("")], ..Request::default() }).unwrap();
    let platform = load();
    let expected: Vec<Value> = platform
        .judge(Keep::Admitted, false)
        .configs
        .iter()
        .map(|config| {
            let completed = config.admitted.as_ref().unwrap().complete(&platform.configs[config.index].object);
            serde_json::to_value(completed.spec).unwrap()
        })
        .collect();
    assert!(expected.len() >= 15);
    folder.run(["complete", "--write"]).exits(0);
    let found: Vec<Value> =
        load().configs.iter().map(|config| serde_json::to_value(&config.object.spec).unwrap()).collect();
    assert_eq!(found, expected);
    folder.run(["complete", "--write"]).exits(0).says("0 fields filled in in 0 files");
    folder.run(["check", "--strict"]).exits(0);
}

fn copy(from: &Path, to: &Folder, below: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let below = below.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), to, &below);
        } else {
            to.write(&below, std::fs::read(entry.path()).unwrap());
        }
    }
}

/// A field of a spec with a value, in block or flow style, or absent.
fn field(name: &'static str, values: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), prop::sample::select(values).prop_map(move |value| format!("{name}: {value}\n"))]
}

fn comment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["", "", "# a comment\n", "\n", "#: {[\"'\n\n"][..])
}

/// A FluxConfig as a person may write it, that the policies admit.
fn config() -> impl Strategy<Value = String> {
    let source = (
        prop::sample::select(&["", "'", "\""][..]),
        field("ref", &["{branch: dev}", "{tag: 'v1.2'}", "{semver: \">=1.0\"}", "\n  branch: x # y"]),
        field("kind", &["Git"]),
        any::<bool>(),
    );
    let fields = (
        field("cluster", &["prod-us", "'prod-eu'", "\"prod-us\" # there"]),
        field("namespace", &["team-a-x", "'team-a'"]),
        field("path", &["./x", "\"./a b\"", "deploy"]),
        field("interval", &["5m", "1h0m0s", "'10m'"]),
        field("prune", &["true", "false"]),
        field("images", &["[registry.example.com/team-a/x]", "\n- registry.example.com/team-a/x\n# more"]),
    );
    (source, fields, prop::collection::vec(comment(), 8), any::<u64>(), 1..5_usize, any::<bool>()).prop_map(
        |((quote, reference, kind, flow), (a, b, c, d, e, f), comments, seed, width, flow_spec)| {
            let indent = |text: &str, by: usize| -> String {
                text.split_inclusive('\n')
                    .map(|line| if line.trim().is_empty() { line.to_owned() } else { format!("{}{line}", " ".repeat(by)) })
                    .collect()
            };
            let url = format!("url: {quote}https://git.example.com/team-a/shop{quote}\n");
            let single = |text: &str| !text.contains('#') && text.matches('\n').count() == 1;
            let in_flow = |texts: &[&str]| -> String {
                let list: Vec<&str> = texts.iter().filter(|text| single(text)).map(|text| text.trim_end()).collect();
                list.join(", ")
            };
            let source = if flow {
                format!("source: {{{}}}\n", in_flow(&[&url, &reference, &kind]))
            } else {
                format!("source:\n{}", indent(&format!("{kind}{}{url}{reference}", comments[0]), width))
            };
            let mut fields = [source, a, b, c, d, e, f];
            let last = fields.len() - 1;
            fields.swap(0, (seed % 7) as usize);
            fields.swap(last, (seed / 7 % 7) as usize);
            let spec = if flow_spec {
                let kept: Vec<&str> = fields.iter().map(String::as_str).collect();
                match in_flow(&kept) {
                    list if list.contains("source: ") => format!("spec: {{{list}}}\n"),
                    _ => "spec: {source: {url: https://git.example.com/team-a/shop}}\n".to_owned(),
                }
            } else {
                let body: String = fields.iter().zip(&comments[1..]).map(|(field, comment)| format!("{comment}{field}")).collect();
                format!("spec:\n{}", indent(&body, width))
            };
            format!(
                "{}apiVersion: sluicegate.dev/v1alpha1\nkind: FluxConfig\nmetadata: {{name: NAME, namespace: team-a}}\n{spec}",
                comments[0]
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever people write: what is completed means what is admitted, in the file as in the engine, and is done.
    #[test]
    fn completing_writes_what_is_admitted(
        configs in prop::collection::vec(config(), 1..4),
        crlf: bool,
        ending: bool,
    ) {
        let texts: Vec<String> = configs.iter().zip(0..).map(|(text, number)| text.replace("NAME", &format!("a{number}"))).collect();
        let mut before = texts.join("---\n");
        if crlf {
            before = before.replace('\n', "\r\n");
        }
        if !ending {
            before.truncate(before.trim_end().len());
        }
        let folder = Folder::empty();
        folder.write("platform.yaml", PLATFORM);
        folder.write("x/a.yaml", &before);
        let expected = admitted(&folder, "x/a.yaml");
        folder.run(COMPLETE).exits(0);
        let after = folder.read("x/a.yaml");
        prop_assert!(is_insertion(&before, &after), "{}\n{}", before, after);
        prop_assert!(keeps_lines(&before, &after), "{}\n{}", before, after);
        prop_assert!(!crlf || after.matches('\n').count() == after.matches("\r\n").count());
        prop_assert_eq!(written(&folder, "x/a.yaml"), expected, "{}", after);
        folder.run(COMPLETE).exits(0);
        prop_assert_eq!(folder.read("x/a.yaml"), after);
    }
}
