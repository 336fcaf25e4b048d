//! GitLab's Code Quality report: the findings beside the changed lines of a merge request.

use std::io;

use serde::Serialize;

use super::model::{Finding, Report, Severity};
use super::text::{line, shortened};
use super::{fingerprint, json_text};

#[derive(Serialize)]
struct Issue<'a> {
    description: String,
    check_name: &'a str,
    fingerprint: String,
    severity: &'static str,
    location: Location<'a>,
}

#[derive(Serialize)]
struct Location<'a> {
    path: &'a str,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
    end: usize,
}

/// Writes the array of issues. GitLab shows one issue a fingerprint, and those without a line on
/// the first line of their file.
///
/// # Errors
///
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    let issues: Vec<Issue<'_>> = report
        .findings()
        .iter()
        .zip(fingerprint::fingerprints(report))
        .map(|(finding, fingerprint)| issue(finding, fingerprint))
        .collect();
    json_text::write(&issues, out)
}

fn issue(finding: &Finding, fingerprint: String) -> Issue<'_> {
    let mut description = line(&finding.message).into_owned();
    if !finding.allowed.is_empty() {
        description.push_str("; allowed: ");
        description.push_str(&shortened(&finding.allowed));
    }
    Issue {
        description,
        check_name: &finding.rule,
        fingerprint,
        severity: match finding.severity {
            Severity::Error => "critical",
            Severity::Warning => "minor",
        },
        location: Location {
            path: &finding.path,
            lines: Lines {
                begin: finding.span.map_or(1, |span| span.line),
                end: finding.span.map_or(1, |span| span.last_line()),
            },
        },
    }
}
