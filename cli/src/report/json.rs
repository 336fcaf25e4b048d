//! Sluicegate's own JSON: all that is known of a run, in a documented and stable form.
//!
//! Fields are only ever added while [`SCHEMA_VERSION`] stays the same. Texts are as they stand in
//! the files, not yet made fit for showing; see [`text`](super::text).

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use super::model::{Checked, Finding, Report, Summary, rule_url};
use super::{fingerprint, json_text};

/// Version of the form, raised with each change that readers must know of.
pub const SCHEMA_VERSION: u32 = 1;

/// Findings of `sluicegate check`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Sluicegate report")]
struct Document<'a> {
    /// Version of this form.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    schema_version: u32,
    /// What wrote the report.
    tool: Tool<'a>,
    /// The counts.
    summary: &'a Summary,
    /// By path, line, column and rule.
    findings: Vec<Entry<'a>>,
    /// Every object that was looked at, by path and line.
    checked: &'a [Checked],
}

/// What wrote the report.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    /// Always `sluicegate`.
    name: &'a str,
    /// Version of sluicegate.
    version: &'a str,
}

/// A finding and what is derived from it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    /// The page that explains the rule.
    rule_url: String,
    /// The same from run to run for the same finding, wherever it moves; unique in a report.
    fingerprint: String,
}

/// Writes the report.
///
/// # Errors
///
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    let document = Document {
        schema_version: SCHEMA_VERSION,
        tool: Tool { name: "sluicegate", version: report.version() },
        summary: report.summary(),
        findings: report
            .findings()
            .iter()
            .zip(fingerprint::fingerprints(report))
            .map(|(finding, fingerprint)| Entry { finding, rule_url: rule_url(&finding.rule), fingerprint })
            .collect(),
        checked: report.checked(),
    };
    json_text::write(&document, out)
}

/// The JSON schema of what [`write()`] writes.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Document<'_>).to_value()
}
