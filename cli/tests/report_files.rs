//! `--report`: what it accepts, what it answers to mistakes, and what it does to files.

#![allow(clippy::unwrap_used)] // in the helpers of tests, too

use std::fs;
use std::path::Path;

use sluicegate_cli::output::Trees;
use sluicegate_cli::report::{
    Finding, Format, Report, ReportSpec, Severity, SpecError, Target, WriteError, check_targets,
};

fn report() -> Report {
    let finding = Finding::new(Severity::Error, "a-rule", "A title", "a.yaml", "a message");
    Report::new(vec![finding], Vec::new())
}

fn write(format: Format, file: &Path) -> Result<(), WriteError> {
    let spec = ReportSpec { format, target: Target::File(file.to_owned()) };
    let mut stdout = Vec::new();
    let written = spec.write(&report(), &|_| None, &Trees::default(), &mut stdout);
    assert!(stdout.is_empty());
    written
}

#[test]
fn accepts_formats_with_files_and_standard_output() {
    let file = |file: &str| Target::File(file.into());
    for (text, format, target) in [
        ("gitlab=gl.json", Format::Gitlab, file("gl.json")),
        ("sarif=out/a=b.sarif", Format::Sarif, file("out/a=b.sarif")),
        ("junit=j.xml", Format::Junit, file("j.xml")),
        ("json=-", Format::Json, Target::Stdout),
        ("github", Format::Github, Target::Stdout),
        ("github=-", Format::Github, Target::Stdout),
        ("github=commands.txt", Format::Github, file("commands.txt")),
    ] {
        assert_eq!(text.parse(), Ok(ReportSpec { format, target }), "{text}");
    }
}

#[test]
fn answers_mistakes_with_what_would_be_right() {
    const FORMATS: &str = "formats: gitlab, sarif, junit, json, github";
    for (text, message) in [
        ("sarrif=x", format!("there is no report format `sarrif` (did you mean `sarif`?); {FORMATS}")),
        ("JUnit=x", format!("there is no report format `JUnit` (did you mean `junit`?); {FORMATS}")),
        ("checkstyle=x", format!("there is no report format `checkstyle`; {FORMATS}")),
        ("", format!("there is no report format ``; {FORMATS}")),
        ("gitlab", "a gitlab report needs a file: `gitlab=FILE`, or `gitlab=-` for standard output".into()),
        ("json=", "a json report needs a file: `json=FILE`, or `json=-` for standard output".into()),
    ] {
        let error = text.parse::<ReportSpec>().unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
}

#[test]
fn refuses_two_reports_for_one_place() {
    let check = |texts: &[&str]| -> Result<(), SpecError> {
        let specs: Vec<ReportSpec> = texts.iter().map(|text| text.parse().unwrap()).collect();
        check_targets(&specs)
    };
    assert_eq!(check(&["github", "json=a", "sarif=b"]), Ok(()));
    assert_eq!(
        check(&["json=a", "github", "sarif=-"]).unwrap_err().to_string(),
        "a github and a sarif report cannot both go to standard output"
    );
    assert_eq!(check(&["json=a", "sarif=a"]).unwrap_err().to_string(), "a json and a sarif report cannot both go to a");
}

#[test]
fn every_format_writes_the_same_to_a_file_as_to_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let file = folder.path().join(format.as_str());
        write(format, &file).unwrap();
        let mut stdout = Vec::new();
        let target = Target::Stdout;
        ReportSpec { format, target }.write(&report(), &|_| None, &Trees::default(), &mut stdout).unwrap();
        assert!(String::from_utf8(stdout.clone()).unwrap().contains("a message"));
        assert_eq!(fs::read(file).unwrap(), stdout, "{format}");
    }
}

#[test]
fn replaces_an_older_report_and_leaves_nothing_else_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    fs::write(&file, "x".repeat(100_000)).unwrap();
    write(Format::Json, &file).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with('{') && text.ends_with("}\n"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn does_not_invent_folders() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no/such/report.json");
    let error = write(Format::Json, &file).unwrap_err();
    assert!(matches!(error, WriteError::NoFolder { .. }), "{error}");
    assert!(error.to_string().ends_with("does not exist; create it first"));
    assert!(!folder.path().join("no").exists());
}

#[test]
fn says_that_a_folder_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = write(Format::Json, folder.path()).unwrap_err();
    assert!(matches!(error, WriteError::IsFolder { .. }), "{error}");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_report_can_be_read_by_whom_the_umask_allows() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write(Format::Json, &ours).unwrap();
        fs::write(&plain, "").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink(&file, &link).unwrap();
        let error = write(Format::Json, &link).unwrap_err();
        assert!(error.to_string().contains("it is a link"), "{error}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    }

    #[test]
    fn a_pipe_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt as _;

        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        write(Format::Json, &pipe).unwrap();
        // First, because a reader of a pipe that nobody writes to would wait forever.
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        assert!(reader.join().unwrap().starts_with('{'));
    }
}
