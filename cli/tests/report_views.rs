//! Every view of `check`'s findings over one fixture: what it looks like (snapshots), what its
//! readers require of it (schemas), and what an attacker must not be able to do with it.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in the helpers of tests, too

#[path = "data/report/fixture.rs"]
mod fixture;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use proptest::prelude::*;
use serde_json::Value;
use sluicegate_cli::report::{
    Finding, Report, Severity, fingerprint, github, gitlab, human, json, junit, rule_url, sarif,
};

type Writer = dyn Fn(&Report, &mut Vec<u8>) -> io::Result<()>;

fn written(writer: &Writer, report: &Report) -> String {
    let mut out = Vec::new();
    writer(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn human(report: &Report, options: human::Options) -> String {
    written(&move |report, out| human::write(report, &fixture::sources, options, out), report)
}

fn junit(report: &Report) -> String {
    written(&|report, out| junit::write(report, &fixture::sources, out), report)
}

fn gitlab(report: &Report) -> String {
    written(&|report, out| gitlab::write(report, out), report)
}

fn github(report: &Report) -> String {
    written(&|report, out| github::write(report, out), report)
}

fn sarif(report: &Report) -> String {
    written(&|report, out| sarif::write(report, out), report)
}

fn json(report: &Report) -> String {
    written(&|report, out| json::write(report, out), report)
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// The folder of a package that this test is built with: registries publish schemas inside them.
fn package_dir(name: &str) -> PathBuf {
    let cargo = || Command::new(env!("CARGO"));
    let version = cargo().arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = cargo()
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform"])
        .arg(host.unwrap())
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let problem = String::from_utf8_lossy(&metadata.stderr).into_owned();
    assert!(metadata.status.success(), "{problem}");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    Path::new(manifest).parent().unwrap().to_owned()
}

fn schema_errors(schema: &Value, instance: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors = validator.iter_errors(instance);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn human_view() {
    insta::assert_snapshot!(human(&fixture::report(), human::Options::default()));
}

#[test]
fn human_view_in_color() {
    let shop: Vec<Finding> = fixture::findings().into_iter().take(2).collect();
    let options = human::Options { color: true, max: None };
    insta::assert_snapshot!(human(&Report::new(shop, Vec::new()), options).replace('\u{1b}', "␛"));
}

#[test]
fn human_view_counts_what_it_does_not_show() {
    let capped = |max| {
        let options = human::Options { color: false, max: Some(max) };
        human(&fixture::report(), options)
    };
    let two = capped(2);
    assert!(two.contains("… and 5 more findings that are not shown (5 errors, 0 warnings)\n"));
    assert_eq!(two.matches(" --> teams/").count(), 2);
    assert!(!two.contains("about images-wider"));
    let six = capped(6);
    assert!(six.contains("… and 1 more finding that is not shown (1 error, 0 warnings)\n"));
    assert_eq!(capped(7), human(&fixture::report(), human::Options::default()));
}

#[test]
fn human_view_of_a_run_without_findings_is_the_summary() {
    let good = fixture::report().checked()[1].clone();
    let report = Report::new(Vec::new(), vec![good]).with_files(1);
    assert_eq!(human(&report, human::Options::default()), "checked 1 FluxConfig in 1 file: 1 admitted, 0 refused\n");
}

#[test]
fn gitlab_view() {
    insta::assert_snapshot!(gitlab(&fixture::report()));
}

#[test]
fn gitlab_view_has_the_documented_fields_and_unique_fingerprints() {
    let report = fixture::report();
    let issues = parsed(&gitlab(&report));
    let issues = issues.as_array().unwrap();
    assert_eq!(issues.len(), report.findings().len());
    let mut fingerprints = HashSet::new();
    for (issue, finding) in issues.iter().zip(report.findings()) {
        assert!(!issue["description"].as_str().unwrap().is_empty());
        assert_eq!(issue["check_name"], *finding.rule);
        let severity = issue["severity"].as_str().unwrap();
        assert!(["info", "minor", "major", "critical", "blocker"].contains(&severity));
        assert_eq!(issue["location"]["path"], finding.path);
        assert!(issue["location"]["lines"]["begin"].as_u64().unwrap() >= 1);
        assert!(fingerprints.insert(issue["fingerprint"].as_str().unwrap()));
    }
}

#[test]
fn github_view() {
    insta::assert_snapshot!(github(&fixture::report()));
}

/// What GitHub's runner makes of a line: the command, its properties, its text.
fn run_command(line: &str) -> (String, Vec<(String, String)>, String) {
    let (head, message) = line.strip_prefix("::").unwrap().split_once("::").unwrap();
    let (command, properties) = head.split_once(' ').unwrap();
    let unescape = |text: &str| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        text.replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
    };
    let properties = properties.split(',').map(|property| {
        let (key, value) = property.split_once('=').unwrap();
        (key.to_owned(), unescape(value))
    });
    (command.to_owned(), properties.collect(), unescape(message))
}

#[test]
fn github_view_is_one_command_a_finding_whatever_the_files_say() {
    let report = fixture::report();
    let view = github(&report);
    assert_eq!(view.lines().count(), report.findings().len());
    for (line, finding) in view.lines().zip(report.findings()) {
        let (command, properties, message) = run_command(line);
        assert_eq!(command, finding.severity.as_str());
        let expected_keys: &[&str] = match finding.span {
            None => &["file", "title"],
            Some(span) if span.line == span.end_line => &["file", "line", "endLine", "col", "endColumn", "title"],
            Some(_) => &["file", "line", "endLine", "title"],
        };
        let keys: Vec<&str> = properties.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, expected_keys);
        assert_eq!(properties[0].1, finding.path);
        assert_eq!(properties.last().unwrap().1, format!("{}: {}", finding.rule, finding.title));
        assert_eq!(message.lines().count(), 1 + usize::from(!finding.allowed.is_empty()) + finding.help.len());
    }
}

#[test]
fn github_view_keeps_paths_that_look_like_the_end_of_a_command() {
    let path = "teams/a::b,line=1,c%3A%.yaml";
    let finding = Finding::new(Severity::Warning, "a-rule", "A, title::", path, "a message");
    let view = github(&Report::new(vec![finding], Vec::new()));
    let (_, properties, message) = run_command(view.trim_end());
    let expected = [("file", path), ("title", "a-rule: A, title::")];
    assert_eq!(properties, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(message, "a message");
}

#[test]
fn sarif_view() {
    insta::assert_snapshot!(sarif(&fixture::report()));
}

#[test]
fn sarif_view_fits_the_official_schema() {
    let schema = fs::read_to_string(package_dir("serde-sarif").join("src/schema.json")).unwrap();
    let mut schema = parsed(&schema);
    assert_eq!(schema["title"], "Static Analysis Results Format (SARIF) Version 2.1.0 JSON Schema");
    // The published schema has a pattern with a stray bracket, which is no regular expression of
    // ECMAScript. It is about a field that we do not write.
    for part in ["run", "toolComponent"] {
        let language = &mut schema["definitions"][part]["properties"]["language"];
        let pattern = language.as_object_mut().unwrap().remove("pattern");
        assert_eq!(pattern.unwrap(), "^[a-zA-Z]{2}|^[a-zA-Z]{2}-[a-zA-Z]{2}]?$");
    }
    assert!(!sarif(&fixture::report()).contains("\"language\""));
    for report in [fixture::report(), Report::new(Vec::new(), Vec::new())] {
        let log = parsed(&sarif(&report));
        assert_eq!(schema_errors(&schema, &log), Vec::<String>::new());
    }
    // The schema is one that can say no.
    let mut wrong = parsed(&sarif(&fixture::report()));
    wrong["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0.into();
    wrong["runs"][0]["results"][1]["level"] = "fatal".into();
    assert_eq!(schema_errors(&schema, &wrong).len(), 2);
}

#[test]
fn sarif_view_holds_together_and_has_what_code_scanning_wants() {
    let report = fixture::report();
    let log = parsed(&sarif(&report));
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let mut fingerprints = HashSet::new();
    for (result, finding) in run["results"].as_array().unwrap().iter().zip(report.findings()) {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert_eq!(rule["helpUri"], rule_url(&finding.rule));
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
        assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%");
        assert!(run["originalUriBaseIds"]["%SRCROOT%"].is_object());
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.bytes().all(|b| b.is_ascii_graphic() && !b"#?:[]\\".contains(&b)), "{uri}");
        assert!(fingerprints.insert(result["partialFingerprints"].to_string()));
        let message = result["message"]["text"].as_str().unwrap();
        assert!(!message.contains("]("), "a link: {message}");
        let plain = message.replace("{{", "").replace("}}", "");
        assert!(!plain.contains(['{', '}']), "an argument: {message}");
        assert_eq!(result.get("fixes").is_some(), finding.suggestion.is_some() && finding.span.is_some());
    }
    assert_eq!(fingerprints.len(), report.findings().len());
}

#[test]
fn junit_view() {
    insta::assert_snapshot!(junit(&fixture::report()));
}

#[test]
fn junit_view_fits_the_schema_of_jenkins() {
    use xmloxide::validation::xsd::{parse_xsd, validate_xsd};

    let schema = fs::read_to_string(package_dir("junit-report").join("tests/JUnit.xsd")).unwrap();
    let schema = parse_xsd(&schema).unwrap();
    let errors = |xml: &str| {
        let document = xmloxide::Document::parse_str(xml).unwrap();
        let errors = validate_xsd(&document, &schema).errors;
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let xml = junit(&fixture::report());
    // junit-4.xsd is older than the attribute `skipped` of the outermost element, which today's
    // readers know; it is the only thing that goes beyond.
    let newer = format!(" skipped=\"{}\"", fixture::UNDECIDED);
    let root = xml.find("<testsuites").unwrap();
    let at = root + xml[root..].find(&newer).unwrap();
    assert!(at < xml.find("<testsuite ").unwrap());
    let xml = format!("{}{}", &xml[..at], &xml[at + newer.len()..]);
    assert_eq!(errors(&xml), Vec::<String>::new());
    // The schema is one that can say no.
    assert!(!errors(&xml.replacen("<testcase name=", "<testcase nom=", 1)).is_empty());
    assert!(!errors(&xml.replacen("</failure>", "</failure><failed/>", 1)).is_empty());
}

#[test]
fn junit_view_has_each_object_once_and_counts_right() {
    let report = fixture::report();
    let xml = junit(&report);
    let read = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let cases: Vec<_> = read.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
    let files = cases.iter().filter(|case| case.classname.as_deref() == Some("file"));
    assert_eq!(files.count(), 1);
    assert_eq!(cases.len(), report.checked().len() + 1);
    assert_eq!(read.tests, cases.len());
    assert_eq!((read.failures, read.errors), (5, 0));
    assert_eq!(read.skipped, fixture::UNDECIDED);
    // A second reader, and one that would refuse characters which XML does not have.
    let document = xmloxide::Document::parse_str(&xml).unwrap();
    assert_eq!(document.node_name(document.root_element().unwrap()), Some("testsuites"));
}

#[test]
fn junit_view_tells_two_objects_of_one_name_apart_by_their_lines() {
    let report = fixture::report();
    let shop = report.findings()[0].clone();
    let mut twice = vec![report.checked()[2].clone(); 2];
    twice[1].line = shop.span.unwrap().line + 1;
    assert_eq!(Some(&twice[0].object), shop.object.as_ref());
    for (line, failing) in [(1, 0), (twice[1].line, 1)] {
        let mut finding = shop.clone();
        finding.span.as_mut().unwrap().line = line;
        let xml = junit(&Report::new(vec![finding], twice.clone()));
        let read = quick_junit::Report::deserialize_from_str(&xml).unwrap();
        let has_rule = |case: &quick_junit::TestCase| match &case.status {
            quick_junit::TestCaseStatus::NonSuccess { ty, .. } => ty.is_some(),
            _ => false,
        };
        let failed = read.test_suites[0].test_cases.iter().position(has_rule);
        assert_eq!(failed, Some(failing));
        // The object without a finding of its own was refused all the same.
        assert_eq!(read.failures, 2);
    }
}

#[test]
fn json_view() {
    insta::assert_snapshot!(json(&fixture::report()));
}

#[test]
fn json_view_fits_its_published_schema_and_loses_nothing() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas/report.schema.json");
    let schema = json::schema();
    let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if env::var_os("UPDATE_SCHEMAS").is_some_and(|value| value == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &text).unwrap();
    }
    let published = fs::read_to_string(&file).unwrap();
    assert!(published == text, "{} is out of date; write it anew with UPDATE_SCHEMAS=1", file.display());
    let document = parsed(&json(&fixture::report()));
    assert_eq!(schema_errors(&schema, &document), Vec::<String>::new());
    let mut wrong = document.clone();
    wrong["schemaVersion"] = 2.into();
    wrong["findings"][0]["severity"] = "fatal".into();
    assert_eq!(schema_errors(&schema, &wrong).len(), 2);

    let findings = document["findings"].as_array().unwrap();
    let nasty = findings.iter().find(|f| f["path"] == "teams/team-x/nasty.yaml");
    assert_eq!(nasty.unwrap()["value"], fixture::NASTY_VALUE);
}

/// Without the colours that we set ourselves.
fn without_colors(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap();
        assert!(part[end..].starts_with('m'), "not a colour: {part:?}");
        out.push_str(&part[end + 1..]);
    }
    out
}

#[test]
fn no_view_lets_a_file_draw_on_the_terminal_or_command_the_ci_system() {
    let report = fixture::report();
    let color = human::Options { color: true, max: None };
    let views = [
        ("human", human(&report, human::Options::default())),
        ("color", without_colors(&human(&report, color))),
        ("gitlab", gitlab(&report)),
        ("github", github(&report)),
        ("sarif", sarif(&report)),
        ("junit", junit(&report)),
        ("json", json(&report)),
    ];
    for (name, view) in views {
        assert!(view.contains("gro.live"), "{name} does not show the value at all");
        for char in view.chars() {
            let bad = (char.is_control() && char != '\n') || "\u{202e}\u{2066}\u{200b}\u{fffe}".contains(char);
            assert!(!bad, "{name} shows {char:?}");
        }
        for command in ["##vso[", "##[", "##teamcity["] {
            assert!(!view.contains(command), "{name} shows {command}");
        }
        if name != "github" {
            let command = view.lines().find(|line| line.trim_start().starts_with("::"));
            assert_eq!(command, None, "{name}");
        }
    }
}

/// The run's findings after lines were added above them in their files.
fn moved(by: &[usize]) -> Report {
    let findings = fixture::findings().into_iter().zip(by.iter().cycle());
    let findings = findings.map(|(mut finding, by)| {
        if let Some(span) = &mut finding.span {
            span.line += by;
            span.end_line += by;
            span.start += by;
            span.end += by;
        }
        finding.message.push('!');
        finding
    });
    Report::new(findings.collect(), Vec::new())
}

proptest! {
    #[test]
    fn fingerprints_stay_when_lines_move(by in prop::collection::vec(0_usize..1000, 1..8)) {
        let named = |report: &Report| {
            let mut named: Vec<_> = report
                .findings()
                .iter()
                .map(|f| (f.rule.clone(), f.path.clone(), f.field.clone()))
                .zip(fingerprint::fingerprints(report))
                .collect();
            named.sort();
            named
        };
        prop_assert_eq!(named(&moved(&by)), named(&fixture::report()));
    }

    #[test]
    fn the_order_of_findings_does_not_depend_on_the_order_they_came_in(
        findings in Just(fixture::findings()).prop_shuffle()
    ) {
        let (shuffled, report) = (Report::new(findings, Vec::new()), fixture::report());
        prop_assert_eq!(shuffled.findings(), report.findings());
        prop_assert_eq!(
            fingerprint::fingerprints(&shuffled),
            fingerprint::fingerprints(&report)
        );
    }
}

#[test]
fn fingerprints_differ_by_rule_object_field_and_value() {
    let changes: [fn(&mut Finding); 5] = [
        |_| (),
        |f| f.rule = "other".into(),
        |f| f.object.as_mut().unwrap().name = "other".into(),
        |f| f.field = None,
        |f| f.value = Some("other".into()),
    ];
    let fingerprints: HashSet<String> = changes
        .iter()
        .map(|change| {
            let mut finding = fixture::findings().swap_remove(0);
            change(&mut finding);
            fingerprint::fingerprints(&Report::new(vec![finding], Vec::new())).swap_remove(0)
        })
        .collect();
    assert_eq!(fingerprints.len(), changes.len());
}
