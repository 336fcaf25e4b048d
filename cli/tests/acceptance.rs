//! What people are promised: the examples, every command, and how each ends.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use cli::{Folder, PLATFORM, REFUSED, Ran, SHOP, binary, repository, run_in};
use serde_json::Value;
use sluicegate_cli::manifest::{
    de,
    yaml::{Limits, parse},
};

const COMMANDS: [&str; 9] = ["check", "can", "complete", "explain", "render", "test", "schema", "completions", "man"];

#[track_caller]
fn run<'a>(args: impl IntoIterator<Item = &'a str>) -> Ran {
    run_in(&repository(""), "", args)
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(repository(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn the_smallest_flux_config_passes_beside_a_policy_in_which_everything_is_set() {
    let ran = run(["check", "cli/tests/data/design"]).exits(0);
    assert_eq!(ran.rules(), [""; 0]);
    ran.says("checked 1 FluxConfig, 1 policy, 1 cluster in 3 files: 1 admitted, 0 refused");
}

#[test]
fn the_example_platform_passes_without_a_warning() {
    let ran = run(["check", "--strict", "examples/platform"]).exits(0);
    assert_eq!(ran.rules(), [""; 0]);
    assert!(ran.stdout.contains(" 0 refused"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[test]
fn the_policy_tests_of_the_example_platform_pass() {
    let ran = run(["test", "examples/platform"]).exits(0).says("policy tests: ok.").says(" 0 failed");
    assert!(ran.stdout.matches(" ... ok\n").count() >= 20, "{}", ran.stdout);
}

#[test]
fn refuses_every_rejected_example_by_its_rule_at_its_line_and_with_help() {
    let files = [yaml_files("examples/rejected"), yaml_files("examples/rejected/policies")].concat();
    assert!(files.len() >= 70, "{}", files.len());
    let root = repository("").canonicalize().unwrap();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let header = text.lines().next().and_then(|line| line.strip_prefix("# expect: ")).unwrap();
        let mut expected: Vec<&str> = header.split(", ").collect();
        expected.sort_unstable();
        let shown = path.canonicalize().unwrap().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let ran = run(["check", "--policies", "examples/platform", &shown]);
        let mut rules = ran.rules();
        rules.sort();
        rules.dedup();
        assert_eq!(rules, expected, "{shown}: {}", ran.all());
        // Where facts are missing there is neither a yes nor a no.
        assert_eq!(ran.code, if expected == ["undetermined-selector"] { 2 } else { 1 }, "{shown}");
        assert_eq!(ran.stderr, "", "{shown}");
        for finding in ran.findings() {
            let Some((file, line, column)) = finding.place() else { panic!("{shown}: no place in {}", finding.text) };
            assert_eq!(file, shown);
            let source = text.lines().nth(line - 1).unwrap();
            assert!(column >= 1 && column <= source.chars().count() + 1, "{shown}: {line}:{column}");
            let excerpt = finding.text.lines().any(|row| row.trim_start().starts_with(&format!("{line} | ")));
            assert!(excerpt, "{shown}: no excerpt in {}", finding.text);
            assert!(finding.text.contains("^"), "{shown}: nothing is marked in {}", finding.text);
            assert!(finding.text.contains("= help: "), "{shown}: no help in {}", finding.text);
        }
        for rule in expected {
            assert!(ran.stdout.contains(&format!("about {rule}: https://")), "{shown}: {}", ran.stdout);
        }
    }
}

#[test]
fn a_warning_fails_only_where_asked() {
    let folder = Folder::empty();
    folder.write("p.yaml", PLATFORM.replace("\"registry.example.com/${tenant}/**\"", "\"**\""));
    let ran = folder.run(["check"]).exits(0).says("1 warning");
    assert_eq!(ran.rules().len(), 1);
    folder.run(["check", "--strict"]).exits(1);
}

#[test]
fn shows_as_many_findings_as_asked_and_counts_the_rest() {
    let folder = Folder::with_platform();
    folder.write("a.yaml", REFUSED);
    folder.write("b.yaml", REFUSED.replace("stolen", "other"));
    let ran = folder.run(["check", "--max", "1"]).exits(1).says("… and 1 more finding that is not shown");
    assert_eq!(ran.rules().len(), 1);
    let quiet = folder.run(["check", "--quiet"]).exits(1);
    assert_eq!(quiet.all(), "");
}

#[test]
fn leaves_out_what_is_excluded_and_what_git_ignores() {
    let folder = Folder::with_platform();
    folder.write("bad/a.yaml", REFUSED);
    folder.write("good.yaml", SHOP);
    folder.run(["check"]).exits(1);
    folder.run(["check", "--exclude", "bad/"]).exits(0).says("1 admitted, 0 refused");
    folder.run(["check", "--exclude", "bad/{"]).exits(2).says("error: `bad/{` is not a glob");
    folder.write(".gitignore", "bad/\n");
    folder.run(["check"]).exits(0);
}

#[test]
fn a_failing_policy_test_shows_the_difference_and_why() {
    let folder = Folder::with_platform();
    folder.write(
        "tests.yaml",
        "\
apiVersion: sluicegate.dev/v1alpha1
kind: PolicyTest
metadata: {name: wrongly-hopeful}
spec:
  config:
    metadata: {namespace: team-a}
    spec: {source: {url: https://git.example.com/team-b/shop}}
  expect: {verdict: Admitted}
---
apiVersion: sluicegate.dev/v1alpha1
kind: PolicyTest
metadata: {name: right}
spec:
  can: {tenant: team-a, pull: registry.example.com/team-a/app:1}
  expect: {verdict: Admitted}
---
apiVersion: sluicegate.dev/v1alpha1
kind: PolicyTest
metadata: {name: wrong-value}
spec:
  config:
    metadata: {namespace: team-a}
    spec: {source: {url: https://git.example.com/team-a/shop}}
  expect: {verdict: Admitted, resolved: {spec.cluster: prod-us, spec.path: ./deploy}}
",
    );
    let ran = folder.run(["test"]).exits(1);
    let ran = ran
        .says("test wrongly-hopeful ... FAILED (tests.yaml)")
        .says("    -verdict: Admitted\n    +verdict: Refused\n")
        .says("because: spec.source.url: no policy allows tenant team-a this Git source [source-not-allowed]")
        .says("test right ... ok")
        .says("     verdict: Admitted\n    -spec.cluster: prod-us\n    +spec.cluster: prod-eu\n     spec.path: ./deploy\n");
    ran.says("policy tests: FAILED. 1 passed, 2 failed");
    folder.run(["test", "--filter", "right"]).exits(0).says("1 passed, 0 failed");
    folder.run(["test", "--filter", "nothing-is-called-so"]).exits(2).says("no PolicyTest");
}

#[test]
fn a_policy_test_with_a_mistake_in_it_fails_rather_than_passing_over() {
    let folder = Folder::with_platform();
    let head = "apiVersion: sluicegate.dev/v1alpha1\nkind: PolicyTest\nmetadata: {name: x}\nspec:\n";
    let can = "  can: {tenant: team-a, pull: registry.example.com/team-a/app:1}\n";
    for (rest, message) in [
        (format!("{can}  expect: {{verdict: Maybe}}\n"), "tests.yaml:6"),
        (format!("{can}  expects: {{verdict: Admitted}}\n"), "tests.yaml:"),
        (
            format!("{can}  expect: {{verdict: Refused, rules: [image-not-alowed]}}\n"),
            "did you mean image-not-allowed?",
        ),
        (format!("{can}  configFile: nowhere.yaml\n  expect: {{verdict: Admitted}}\n"), "exactly one of"),
        ("  configFile: nowhere.yaml\n  expect: {verdict: Admitted}\n".to_owned(), "nowhere.yaml"),
        ("  can: {tenant: team-a}\n  expect: {verdict: Admitted}\n".to_owned(), "exactly one of"),
    ] {
        folder.write("tests.yaml", format!("{head}{rest}"));
        folder.run(["test"]).exits(1).says(message);
    }
}

#[test]
fn explains_each_value_by_file_and_by_name() {
    let by_file = run(["explain", "examples/platform/tenants/shop/shop.yaml", "--policies", "examples/platform"]);
    let by_file = by_file.exits(0).says("FluxConfig shop/shop of tenant shop\n");
    let row = |field: &str| by_file.stdout.lines().find(|line| line.trim_start().starts_with(field)).unwrap();
    assert!(row("spec.source.url").ends_with("set in the FluxConfig"));
    // The policy, the field and the line: enough to open the file there.
    let from = row("spec.source.ref");
    let (policy, place) = from.rsplit_once(" (").unwrap();
    assert!(policy.contains("policy ") && policy.ends_with("spec.defaults.ref"), "{from}");
    let (file, line) = place.trim_end_matches(')').rsplit_once(':').unwrap();
    let text = fs::read_to_string(repository(file)).unwrap();
    assert!(text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap().contains("branch"), "{from}");

    let by_name = run(["explain", "shop/shop", "--policies", "examples/platform"]).exits(0);
    assert_eq!(by_name.stdout, by_file.stdout);
}

#[test]
fn explains_for_programs() {
    let folder = Folder::with_platform();
    folder.write("shop.yaml", SHOP);
    let ran = folder.run(["explain", "shop", "-o", "json"]).exits(0);
    let object: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&object["tenant"], &object["name"]), (&"team-a".into(), &"shop".into()));
    let fields = object["fields"].as_array().unwrap();
    let cluster = fields.iter().find(|field| field["field"] == "spec.cluster").unwrap();
    assert_eq!(cluster["value"], "prod-eu");
    let line = PLATFORM.lines().position(|line| line.contains("defaults:")).unwrap() + 1;
    assert_eq!(cluster["origin"], format!("policy teams spec.defaults.cluster (platform.yaml:{line})"));
}

#[test]
fn explaining_what_is_not_there_offers_what_is() {
    let folder = Folder::with_platform();
    folder.write("shop.yaml", SHOP);
    folder.run(["explain", "team-a/shp"]).exits(2).says("did you mean team-a/shop?");
    folder.run(["explain", "something-else-altogether"]).exits(2).says("name a file, or NAMESPACE/NAME");
    folder.run(["explain", "platform.yaml"]).exits(2).says("there is no FluxConfig in platform.yaml");
}

#[test]
fn explaining_what_is_refused_says_why() {
    let folder = Folder::with_platform();
    folder.write("stolen.yaml", REFUSED);
    for what in ["stolen.yaml", "team-a/stolen", "stolen"] {
        folder.run(["explain", what]).exits(1).says("error[source-not-allowed]").says("stolen.yaml:5:");
    }
    folder.write("stolen.yaml", format!("{SHOP}  intervall: 5m\n"));
    folder.run(["explain", "stolen.yaml"]).exits(1).says("error[unknown-field]").does_not_say("of tenant");
    folder.write("stolen.yaml", format!("{SHOP}  prune: perhaps\n"));
    for what in ["stolen.yaml", "team-a/shop"] {
        folder.run(["explain", what]).exits(1).says("error[invalid-value]").says("stolen.yaml:6:10");
    }
    folder.write("stolen.yaml", "a: [\n");
    folder.run(["explain", "stolen.yaml"]).exits(1).says("error[invalid-yaml]");
}

fn schema(kind: &str) -> jsonschema::Validator {
    let ran = run(["schema", kind]).exits(0);
    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    jsonschema::options().build(&schema).unwrap()
}

/// The documents of a file as JSON, with what an editor would take for their kind.
fn documents(path: &Path) -> Vec<(String, Value)> {
    let text = fs::read_to_string(path).unwrap();
    parse(&text, &Limits::default())
        .unwrap()
        .iter()
        .map(|document| de::decode::<Value>(document.root()).unwrap().value)
        .map(|value| (value["kind"].as_str().unwrap_or_default().to_lowercase(), value))
        .collect()
}

#[test]
fn the_schemas_for_editors_accept_the_examples_and_refuse_what_check_refuses() {
    let names = run(["schema"]).exits(0).stdout;
    let kinds: Vec<&str> = names.lines().collect();
    assert_eq!(kinds, ["fluxcluster", "fluxconfig", "fluxpolicy", "policytest", "report"]);
    let schemas: Vec<(&str, jsonschema::Validator)> = kinds.iter().map(|kind| (*kind, schema(kind))).collect();
    let validator = |kind: &str| schemas.iter().find(|(name, _)| *name == kind).map(|(_, validator)| validator);
    let mut accepted = 0;
    for folder in
        ["clusters", "policies", "policy-tests"].map(|name| format!("examples/platform/{name}")).into_iter().chain(
            fs::read_dir(repository("examples/platform/tenants"))
                .unwrap()
                .map(|entry| format!("examples/platform/tenants/{}", entry.unwrap().file_name().to_str().unwrap())),
        )
    {
        for path in yaml_files(&folder) {
            for (kind, value) in documents(&path) {
                let Some(validator) = validator(&kind) else { continue };
                let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
                assert_eq!(errors, [""; 0], "{}", path.display());
                accepted += 1;
            }
        }
    }
    assert!(accepted >= 50, "{accepted}");
    for name in [
        "unknown-field-typo",
        "unknown-field-of-flux",
        "policies/unknown-field-denied",
        "wrong-enum",
        "missing-url",
        "quoted-boolean",
    ] {
        let path = repository(&format!("examples/rejected/{name}.yaml"));
        for (kind, value) in documents(&path) {
            assert!(!validator(&kind).unwrap().is_valid(&value), "{name} is valid");
        }
    }
}

#[test]
fn prints_completions_for_each_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = run(["completions", shell]).exits(0);
        for command in COMMANDS {
            assert!(ran.stdout.contains(command), "{shell}: {command}");
        }
    }
    let bash = Folder::empty();
    bash.write("script", run(["completions", "bash"]).stdout);
    let checked = Command::new("bash").arg("-n").arg(bash.path("script")).status().unwrap();
    assert!(checked.success());
    run(["completions", "tcsh"]).exits(2).says("possible values");
}

#[test]
fn writes_a_manual_page_a_command() {
    let folder = Folder::empty();
    folder.run(["man", "nowhere"]).exits(2).says("the folder nowhere does not exist");
    assert!(!folder.path("nowhere").exists());
    folder.run(["man", "."]).exits(0);
    for command in COMMANDS {
        let page = folder.read(&format!("sluicegate-{command}.1"));
        assert!(page.contains(".TH sluicegate") && page.contains(".SH SYNOPSIS"), "{command}");
    }
}

#[test]
fn every_command_has_help_and_knows_its_version() {
    let help = run(["--help"]).exits(0).says("Exit codes: 0 fine, 1 violations, 2 could not run.");
    for command in COMMANDS {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}");
        let own = run([command, "--help"]).exits(0);
        assert!(own.stdout.contains(&format!("Usage: sluicegate {command}")), "{}", own.stdout);
        assert_eq!(own.stderr, "");
        assert_eq!(run(["help", command]).exits(0).stdout, own.stdout);
        run([command, "--version"]).exits(0).says(env!("CARGO_PKG_VERSION"));
    }
    for question in ["sync", "pull", "deploy-to"] {
        run(["can", "shop", question, "--help"]).exits(0).says("--cluster");
    }
}

#[test]
fn wrong_usage_exits_2_and_says_so() {
    for (args, message) in [
        (&["--no-such-flag"][..], "unexpected argument '--no-such-flag'"),
        (&["check", "--reports", "x"], "a similar argument exists: '--report'"),
        (&["chek"], "similar subcommands exist: 'schema', 'check'"),
        (&["check", "--report", "sarrif=x"], "did you mean `sarif`?"),
        (&["check", "--tenant", "shop"], "--policies"),
        (&["check", "--cluster", "dev"], "--tenant"),
        (&["check", "--max", "many"], "invalid value 'many'"),
        (&["complete", "--write", "--diff"], "cannot be used with"),
        (&["schema", "fluxconfg"], "a similar value exists: 'fluxconfig'"),
        (&["can", "shop"], "Usage: sluicegate can"),
        (&[], "Usage: sluicegate"),
    ] {
        let ran = run(args.iter().copied()).exits(2).says(message);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
}

#[test]
fn a_reader_that_stops_early_causes_no_noise() {
    let folder = Folder::with_platform();
    let many: Vec<String> = (0..2_000).map(|number| REFUSED.replace("stolen", &format!("a{number}"))).collect();
    folder.write("many.yaml", many.join("---\n"));
    for args in [
        &["check"][..],
        &["check", "--quiet", "--report", "json=-"],
        &["check", "--quiet", "--report", "github"],
        &["complete", "many.yaml", "--policies", "platform.yaml"],
        &["completions", "zsh"],
        &["--help"],
        &["check", "--help"],
    ] {
        let mut child = Command::new(binary())
            .args(args)
            .current_dir(folder.path(""))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One byte is read, and then nobody reads any more.
        let mut stdout = child.stdout.take().unwrap();
        if args.contains(&"check") && !args.contains(&"--help") {
            stdout.read_exact(&mut [0]).unwrap();
        }
        drop(stdout);
        let mut stderr = child.stderr.take().unwrap();
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        assert!(!said.contains("panicked") && !said.contains("error: "), "{args:?}: {said}");
        assert!(matches!(code, Some(0..=2)), "{args:?}: {code:?}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let folder = Folder::with_platform();
    folder.write("bad.yaml", REFUSED);
    folder.run(["check"]).exits(1).does_not_say("\u{1b}[");
    folder.run(["--color", "never", "check"]).exits(1).does_not_say("\u{1b}[");
    folder.run(["check", "--color", "always"]).exits(1).says("\u{1b}[");
}
