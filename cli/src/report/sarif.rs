//! SARIF 2.1.0, for GitHub code scanning and editors.
//!
//! GitHub takes `partialFingerprints.primaryLocationLineHash` only in its own form, which its upload
//! action adds (and warns of for each result that brings another); ours has a name of its own.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Map, Value, json};

use super::model::{Finding, Report, Rule, Severity, Span, rule_url};
use super::text::{line, percent_encode, shortened};
use super::{fingerprint, json_text};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// GitHub's name for the root of the repository.
const ROOT: &str = "%SRCROOT%";
/// Raised when fingerprints are made in another way.
const FINGERPRINT: &str = "sluicegateFinding/v1";

/// Writes the log with one run.
///
/// # Errors
///
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    let rules = rules(report);
    let indices: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(index, id)| (*id, index)).collect();
    let results: Vec<Value> = report
        .findings()
        .iter()
        .zip(fingerprint::fingerprints(report))
        .map(|(finding, fingerprint)| result(finding, indices.get(finding.rule.as_ref()), &fingerprint))
        .collect();
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "sluicegate",
                "version": report.version(),
                "semanticVersion": report.version(),
                "informationUri": "https://sluicegate.dev",
                "rules": rules.values().map(descriptor).collect::<Vec<_>>(),
            }},
            "invocations": [{"executionSuccessful": true}],
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {
                ROOT: {"description": {"text": "The root of the repository that was checked."}},
            },
            "results": results,
        }],
    });
    json_text::write(&log, out)
}

/// The catalogue by id, and what the findings say of rules that it lacks.
fn rules(report: &Report) -> BTreeMap<&str, Rule> {
    let mut rules: BTreeMap<&str, Rule> = report.rules().iter().map(|rule| (rule.id.as_ref(), rule.clone())).collect();
    for finding in report.findings() {
        rules.entry(&finding.rule).or_insert_with(|| Rule {
            id: finding.rule.clone(),
            title: finding.title.clone(),
            description: finding.title.clone(),
            severity: finding.severity,
        });
    }
    rules
}

fn descriptor(rule: &Rule) -> Value {
    let url = rule_url(&rule.id);
    json!({
        "id": rule.id,
        "name": pascal_case(&rule.id),
        "shortDescription": {"text": text(&rule.title)},
        "fullDescription": {"text": text(&rule.description)},
        "help": {"text": format!("{}\n{url}", text(&rule.description))},
        "helpUri": url,
        "defaultConfiguration": {"level": level(rule.severity)},
        "properties": {"precision": "very-high", "problem.severity": level(rule.severity)},
    })
}

fn result(finding: &Finding, rule_index: Option<&usize>, fingerprint: &str) -> Value {
    let mut lines = vec![text(&finding.message)];
    if !finding.allowed.is_empty() {
        lines.push(format!("allowed: {}", text(&shortened(&finding.allowed))));
    }
    lines.extend(finding.help.iter().map(|help| text(help)));

    let mut location = physical(&finding.path, finding.span.as_ref());
    if let Some(object) = &finding.object {
        let mut name = object.to_string();
        if let Some(field) = &finding.field {
            name.push(' ');
            name.push_str(field);
        }
        location.insert("logicalLocations".into(), json!([{"fullyQualifiedName": line(&name), "kind": "object"}]));
    }
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": level(finding.severity),
        "message": {"text": lines.join("\n")},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: fingerprint},
    });
    if !finding.related.is_empty() {
        let related = finding.related.iter().enumerate().map(|(id, related)| {
            let mut location = physical(&related.path, related.span.as_ref());
            location.insert("id".into(), id.into());
            location.insert("message".into(), json!({"text": text(&related.message)}));
            location
        });
        result["relatedLocations"] = related.collect();
    }
    if let (Some(suggestion), Some(span)) = (&finding.suggestion, &finding.span) {
        result["fixes"] = json!([{
            "description": {"text": format!("write {}", text(suggestion))},
            "artifactChanges": [{
                "artifactLocation": artifact(&finding.path),
                "replacements": [{
                    "deletedRegion": region(span),
                    "insertedContent": {"text": suggestion},
                }],
            }],
        }]);
    }
    result
}

/// A `location`; GitHub wants a line even of findings about a whole file.
fn physical(path: &str, span: Option<&Span>) -> Map<String, Value> {
    let region = span.map_or_else(|| json!({"startLine": 1}), region);
    let physical = json!({"artifactLocation": artifact(path), "region": region});
    Map::from_iter([("physicalLocation".to_owned(), physical)])
}

fn artifact(path: &str) -> Value {
    json!({"uri": percent_encode(path), "uriBaseId": ROOT})
}

fn region(span: &Span) -> Value {
    json!({
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Text of a message: braces mean arguments unless doubled (section 3.11.5 of the standard), and
/// `[text](target)` would be a link (3.11.6), which nothing we quote may make.
fn text(text: &str) -> String {
    line(text).replace('{', "{{").replace('}', "}}").replace("](", "] (")
}

/// `source-not-allowed` as `SourceNotAllowed`.
fn pascal_case(id: &str) -> String {
    id.split('-')
        .flat_map(|word| {
            let mut chars = word.chars();
            let first = chars.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(chars)
        })
        .collect()
}
