//! `check --report`: all reports of one run, as their readers want them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use std::{collections::BTreeSet, fs};

use cli::{Folder, PLATFORM, REFUSED, Ran, SHOP};
use serde_json::Value;

/// Two errors and a warning in three files.
fn folder() -> Folder {
    let folder = Folder::empty();
    folder.write("p.yaml", PLATFORM.replace("\"docker.io/library/*\"", "\"**\""));
    folder.write("teams/good.yaml", SHOP);
    folder.write("teams/bad.yaml", REFUSED.to_owned() + "  interval: 0s\n");
    folder
}

const ALL: [&str; 10] = [
    "--report",
    "gitlab=gl.json",
    "--report",
    "sarif=r.sarif",
    "--report",
    "junit=junit.xml",
    "--report",
    "json=r.json",
    "--report",
    "github",
];

fn run(folder: &Folder, args: &[&str]) -> Ran {
    folder.run([&["check"], args].concat())
}

fn json(folder: &Folder, name: &str) -> Value {
    serde_json::from_str(&folder.read(name)).unwrap()
}

/// Rules with the line of each, sorted.
fn sorted<'a>(list: impl IntoIterator<Item = (&'a Value, &'a Value)>) -> Vec<(String, u64)> {
    let mut list: Vec<_> =
        list.into_iter().map(|(rule, line)| (rule.as_str().unwrap().to_owned(), line.as_u64().unwrap())).collect();
    list.sort();
    list
}

#[test]
fn one_run_writes_every_report_and_all_say_the_same() {
    let folder = folder();
    let ran = run(&folder, &ALL).exits(1);

    let own = json(&folder, "r.json");
    let schema: Value = serde_json::from_str(&folder.run(["schema", "report"]).stdout).unwrap();
    let errors: Vec<String> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&own).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    let findings = own["findings"].as_array().unwrap();
    assert!(findings.len() >= 3, "{own:#}");
    let expected = sorted(findings.iter().map(|finding| (&finding["rule"], &finding["span"]["line"])));

    let sarif = folder.read("r.sarif");
    // Every field in its place, by types that are made from the standard's schema.
    let _: serde_sarif::sarif::Sarif = serde_json::from_str(&sarif).unwrap();
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let line = |result: &'_ Value| result["locations"][0]["physicalLocation"]["region"]["startLine"].clone();
    let lines: Vec<Value> = results.iter().map(line).collect();
    assert_eq!(sorted(results.iter().map(|result| &result["ruleId"]).zip(&lines)), expected);
    let rules: BTreeSet<&str> = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            assert!(rule["helpUri"].as_str().unwrap().starts_with("https://"));
            rule["id"].as_str().unwrap()
        })
        .collect();
    assert!(expected.iter().all(|(rule, _)| rules.contains(rule.as_str())));

    let gitlab = json(&folder, "gl.json");
    let issues = gitlab.as_array().unwrap();
    assert_eq!(
        sorted(issues.iter().map(|issue| (&issue["check_name"], &issue["location"]["lines"]["begin"]))),
        expected
    );

    let junit = folder.read("junit.xml");
    xmloxide::Document::parse_str(&junit).unwrap();
    // A test case is an object, and fails once however much is wrong with it.
    assert_eq!(junit.matches("<failure").count(), 1, "{junit}");
    assert!(junit.contains("(and 1 more error)"), "{junit}");

    // Standard output is for the program that reads it, and people read the other stream.
    let commands: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(commands.len(), expected.len(), "{}", ran.stdout);
    assert!(
        commands.iter().all(|line| line.starts_with("::error ") || line.starts_with("::warning ")),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("error[source-not-allowed]: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("\nchecked 2 FluxConfigs, 1 policy, 2 clusters in 3 files: "), "{}", ran.stderr);
}

#[test]
fn people_read_standard_output_where_no_report_goes_there() {
    let folder = folder();
    let ran = run(&folder, &["--report", "json=r.json"]).exits(1);
    assert!(ran.stdout.contains("error[source-not-allowed]: "), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
    let mut written = json(&folder, "r.json");
    // The report is a file of the folder itself.
    fs::remove_file(folder.path("r.json")).unwrap();
    let quiet = run(&folder, &["--quiet", "--report", "json=-"]).exits(1);
    assert_eq!(quiet.stderr, "");
    let mut printed: Value = serde_json::from_str(&quiet.stdout).unwrap();
    for report in [&mut printed, &mut written] {
        report["summary"].as_object_mut().unwrap().remove("elapsedSeconds");
    }
    assert_eq!(printed, written);
}

#[test]
fn a_clean_run_writes_reports_without_findings() {
    let folder = Folder::with_platform();
    folder.write("good.yaml", SHOP);
    let ran = run(&folder, &ALL).exits(0);
    assert_eq!(ran.stdout, "");
    assert_eq!(json(&folder, "gl.json"), Value::Array(Vec::new()));
    assert_eq!(json(&folder, "r.sarif")["runs"][0]["results"], Value::Array(Vec::new()));
    assert!(!folder.read("junit.xml").contains("<failure"));
    // And an empty repository, where that is fine.
    let empty = Folder::empty();
    run(&empty, &[&["--allow-empty"], &ALL[..]].concat()).exits(0);
    assert_eq!(json(&empty, "gl.json"), Value::Array(Vec::new()));
}

#[test]
fn a_missing_folder_is_found_before_anything_is_written() {
    let folder = folder();
    let ran = run(&folder, &["--report", "gitlab=gl.json", "--report", "json=no/such/r.json"]).exits(2);
    let ran = ran.says("error: the folder no/such of the report no/such/r.json does not exist; create it first");
    assert_eq!(ran.stdout, "");
    assert!(!folder.path("gl.json").exists() && !folder.path("no").exists());
    run(&folder, &["--report", "json=teams"]).exits(2).says("the report teams is a folder; name a file in it");
    run(&folder, &["--report", "json=a", "--report", "sarif=a"]).exits(2).says("cannot both go to a");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_to_be_full() {
    let folder = folder();
    run(&folder, &["--report", "json=/dev/full"]).exits(2).says("cannot write /dev/full: No space left on device");
}

#[test]
fn an_older_report_stays_whole_where_the_run_fails() {
    let folder = folder();
    folder.write("gl.json", "[]");
    run(&folder, &["nowhere", "--report", "gitlab=gl.json", "--max", "x"]).exits(2);
    assert_eq!(folder.read("gl.json"), "[]");
    // What cannot be read is a finding like any other, and in the reports.
    run(&folder, &["nowhere", "--report", "gitlab=gl.json"]).exits(2);
    assert_eq!(json(&folder, "gl.json")[0]["check_name"], "unreadable-file");
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 3);
}

#[test]
fn fingerprints_do_not_change_when_text_moves() {
    let folder = folder();
    let fingerprints = || {
        run(&folder, &ALL).exits(1);
        let gitlab: Vec<String> = json(&folder, "gl.json")
            .as_array()
            .unwrap()
            .iter()
            .map(|issue| issue["fingerprint"].as_str().unwrap().to_owned())
            .collect();
        let sarif: Vec<String> = json(&folder, "r.sarif")["runs"][0]["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["partialFingerprints"].to_string())
            .collect();
        let lines: Vec<Value> = json(&folder, "gl.json")
            .as_array()
            .unwrap()
            .iter()
            .map(|issue| issue["location"]["lines"]["begin"].clone())
            .collect();
        (gitlab, sarif, lines)
    };
    let before = fingerprints();
    let distinct: BTreeSet<&String> = before.0.iter().collect();
    assert_eq!(distinct.len(), before.0.len());
    assert!(before.0.len() >= 3 && before.1.iter().all(|text| text.len() > 20), "{before:?}");
    for file in ["p.yaml", "teams/bad.yaml"] {
        let text = folder.read(file);
        folder.write(file, format!("{}{text}", "# moved\n".repeat(20)));
    }
    let after = fingerprints();
    assert_eq!((&before.0, &before.1), (&after.0, &after.1));
    assert_ne!(before.2, after.2, "the lines have moved");
    // Another value is another finding.
    folder.write("teams/bad.yaml", folder.read("teams/bad.yaml").replace("team-b/shop", "team-c/shop"));
    assert_ne!(fingerprints().0, before.0);
}
