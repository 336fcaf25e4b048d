//! GitHub Actions' workflow commands: findings as annotations of a pull request's changed files.
//!
//! GitHub shows at most ten errors and ten warnings of one step. All are printed nevertheless, so
//! that the log has them; a SARIF report has no such limit.

use std::io;

use super::model::{Finding, Report, Severity};
use super::text::{escape, line, shortened};

/// Writes one command a finding and line.
///
/// # Errors
///
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl io::Write) -> io::Result<()> {
    report.findings().iter().try_for_each(|finding| writeln!(out, "{}", command(finding)))
}

fn command(finding: &Finding) -> String {
    let name = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut command = format!("::{name} file={}", property(&escape(&finding.path)));
    if let Some(span) = finding.span {
        command.push_str(&format!(",line={},endLine={}", span.line, span.last_line()));
        // Columns mean something to GitHub on a single line only.
        if span.line == span.end_line {
            command.push_str(&format!(",col={},endColumn={}", span.column, span.end_column));
        }
    }
    let title = format!("{}: {}", line(&finding.rule), line(&finding.title));
    command.push_str(&format!(",title={}::", property(&title)));

    let mut lines = vec![line(&finding.message).into_owned()];
    if !finding.allowed.is_empty() {
        lines.push(format!("allowed: {}", shortened(&finding.allowed)));
    }
    lines.extend(finding.help.iter().map(|help| format!("help: {}", line(help))));
    command.push_str(&data(&lines.join("\n")));
    command
}

/// Escapes the text of a command, as the runner undoes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes the value of a property, which a comma or a colon would end.
fn property(value: &str) -> String {
    data(value).replace(':', "%3A").replace(',', "%2C")
}
