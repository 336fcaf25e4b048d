//! JUnit XML: a test suite a file, a test case an object, for the test views of CI systems.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::Sources;
use super::human::draw;
use super::model::{Checked, Finding, ObjectId, Outcome, Report, Severity};
use super::text::{counted, escape, line};

/// The objects of one file, each with its findings.
#[derive(Default)]
struct File<'a> {
    cases: Vec<(&'a Checked, Vec<&'a Finding>)>,
    /// Where in `cases` an object is; more than once, where the file has it more than once.
    indices: HashMap<&'a ObjectId, Vec<usize>>,
    /// Findings about no object, or about one that is not among the checked ones.
    rest: Vec<&'a Finding>,
}

/// Writes the report. Errors are failures with the text that people get, warnings are output of a
/// test that passes, and what could not be judged is skipped. A file with findings of its own has a
/// further test case for them.
///
/// # Errors
///
/// Those of `out`.
pub fn write(report: &Report, sources: &Sources<'_>, out: &mut impl io::Write) -> io::Result<()> {
    let mut junit = quick_junit::Report::new("sluicegate check");
    if let Some(seconds) = report.summary().elapsed_seconds {
        junit.set_time(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }
    for (path, file) in files(report) {
        junit.add_test_suite(suite(path, &file, sources));
    }
    junit.serialize(out).map_err(io::Error::other)
}

fn files(report: &Report) -> BTreeMap<&str, File<'_>> {
    let mut files: BTreeMap<&str, File<'_>> = BTreeMap::new();
    for checked in report.checked() {
        let file = files.entry(&checked.path).or_default();
        let indices = file.indices.entry(&checked.object).or_default();
        indices.push(file.cases.len());
        file.cases.push((checked, Vec::new()));
    }
    for finding in report.findings() {
        let file = files.entry(&finding.path).or_default();
        let index = file.index_of(finding);
        match index.and_then(|index| file.cases.get_mut(index)) {
            Some((_, findings)) => findings.push(finding),
            None => file.rest.push(finding),
        }
    }
    files
}

impl File<'_> {
    /// The object that `finding` is about. Where the file has it twice, it is the last one that
    /// starts before the finding.
    fn index_of(&self, finding: &Finding) -> Option<usize> {
        let line = finding.span.map_or(0, |span| span.line);
        let indices = self.indices.get(finding.object.as_ref()?)?;
        let starts = |index: &&usize| self.cases.get(**index).map_or(0, |(c, _)| c.line);
        let before = indices.iter().rfind(|index| starts(index) <= line);
        before.or(indices.first()).copied()
    }
}

fn suite(path: &str, file: &File<'_>, sources: &Sources<'_>) -> TestSuite {
    let path = escape(path);
    let mut suite = TestSuite::new(&*path);
    for (checked, findings) in &file.cases {
        let object = &checked.object;
        let name = match &object.namespace {
            Some(namespace) => format!("{}/{}", line(namespace), line(&object.name)),
            None => line(&object.name).into_owned(),
        };
        let mut case = case(&name, Some(checked.outcome), findings, sources);
        case.set_classname(&*line(&object.kind));
        case.extra.insert("file".into(), (&*path).into());
        suite.add_test_case(case);
    }
    if !file.rest.is_empty() {
        let mut case = case(&path, None, &file.rest, sources);
        case.set_classname("file");
        case.extra.insert("file".into(), (&*path).into());
        suite.add_test_case(case);
    }
    suite
}

fn case(name: &str, outcome: Option<Outcome>, findings: &[&Finding], sources: &Sources<'_>) -> TestCase {
    let (errors, warnings): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|f| f.severity == Severity::Error);
    let mut case = TestCase::new(name, status(outcome, &errors, sources));
    if !warnings.is_empty() {
        case.set_system_out(drawn(&warnings, sources));
    }
    case
}

fn status(outcome: Option<Outcome>, errors: &[&Finding], sources: &Sources<'_>) -> TestCaseStatus {
    if let Some(first) = errors.first() {
        let mut message = line(&first.message).into_owned();
        if errors.len() > 1 {
            let more = counted(errors.len() - 1, "more error", "more errors");
            message.push_str(&format!(" (and {more})"));
        }
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status.set_message(message);
        status.set_type(&*line(&first.rule));
        status.set_description(drawn(errors, sources));
        return status;
    }
    match outcome {
        None | Some(Outcome::Admitted | Outcome::Valid) => TestCaseStatus::success(),
        // The reason is then a finding about something else, such as a policy.
        Some(Outcome::Refused | Outcome::Invalid) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message("refused; the reason is a finding elsewhere");
            status
        }
        Some(Outcome::Undecided) => {
            let mut status = TestCaseStatus::skipped();
            status.set_description("not judged: what the verdict depends on is invalid");
            status
        }
    }
}

fn drawn(findings: &[&Finding], sources: &Sources<'_>) -> String {
    let drawn: Vec<String> = findings.iter().map(|f| draw(f, sources, false)).collect();
    drawn.join("\n\n")
}
