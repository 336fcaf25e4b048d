//! `--report FORMAT=FILE`: which reports to write, and where to.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::model::Report;
use super::{Sources, github, gitlab, json, junit, sarif};
use crate::output::{FilePlace, OutputError, Trees};

/// A form of report that `--report` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// GitLab Code Quality.
    Gitlab,
    /// SARIF 2.1.0.
    Sarif,
    /// JUnit XML.
    Junit,
    /// Sluicegate's own JSON.
    Json,
    /// GitHub Actions' workflow commands.
    Github,
}

impl Format {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Gitlab, Self::Sarif, Self::Junit, Self::Json, Self::Github];

    /// As in `--report`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Sarif => "sarif",
            Self::Junit => "junit",
            Self::Json => "json",
            Self::Github => "github",
        }
    }
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Standard output, spelt `-`.
    Stdout,
    /// A file, in a folder that exists.
    File(PathBuf),
}

/// One `--report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportSpec {
    /// The form.
    pub format: Format,
    /// Where it goes.
    pub target: Target,
}

/// A `--report` that makes no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A format that does not exist.
    #[error("there is no report format `{given}`{}; formats: {}", did_you_mean(given), formats())]
    UnknownFormat {
        /// What was given.
        given: String,
    },
    /// A format that goes to a file, without a file.
    #[error("a {format} report needs a file: `{format}=FILE`, or `{format}=-` for standard output")]
    MissingFile {
        /// The format.
        format: Format,
    },
    /// Two reports for one place.
    #[error("a {first} and a {second} report cannot both go to {target}")]
    SameTarget {
        /// The first of them.
        first: Format,
        /// The second of them.
        second: Format,
        /// The place.
        target: Target,
    },
}

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Folders are not created: a typing error would make one.
    #[error("the folder {} of the report {} does not exist; create it first", folder.display(), file.display())]
    NoFolder {
        /// The missing folder.
        folder: PathBuf,
        /// The report.
        file: PathBuf,
    },
    /// The file is a folder.
    #[error("the report {} is a folder; name a file in it", file.display())]
    IsFolder {
        /// The folder.
        file: PathBuf,
    },
    /// A link, something else that is not a file, or what the system says.
    #[error(transparent)]
    Output(OutputError),
    /// Standard output is closed.
    #[error("cannot write the report to standard output")]
    Stdout(#[source] io::Error),
}

impl WriteError {
    fn of(error: OutputError) -> Self {
        match error {
            // The whole folder has to be made, not only its first component that is missing.
            OutputError::NoFolder { file, .. } => {
                Self::NoFolder { folder: file.parent().map(Path::to_owned).unwrap_or_default(), file }
            }
            OutputError::NotAFile { file, what: "a folder" } => Self::IsFolder { file },
            error => Self::Output(error),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Format {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| SpecError::UnknownFormat { given: text.to_owned() })
    }
}

impl FromStr for ReportSpec {
    type Err = SpecError;

    /// `FORMAT=FILE`, `FORMAT=-`, or `github` alone for standard output.
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (format, file) = match text.split_once('=') {
            Some((format, file)) => (format.parse()?, file),
            None => (text.parse()?, ""),
        };
        let target = match file {
            "" if format == Format::Github => Target::Stdout,
            "" => return Err(SpecError::MissingFile { format }),
            "-" => Target::Stdout,
            file => Target::File(file.into()),
        };
        Ok(Self { format, target })
    }
}

fn formats() -> String {
    Format::ALL.map(Format::as_str).join(", ")
}

fn did_you_mean(given: &str) -> String {
    let distance = |format: &Format| strsim::osa_distance(format.as_str(), &given.to_lowercase());
    match Format::ALL.into_iter().min_by_key(distance) {
        Some(near) if distance(&near) <= 2 => format!(" (did you mean `{near}`?)"),
        _ => String::new(),
    }
}

/// Refuses two reports for one place.
///
/// # Errors
///
/// [`SpecError::SameTarget`], for the first such pair.
pub fn check_targets(specs: &[ReportSpec]) -> Result<(), SpecError> {
    for (index, second) in specs.iter().enumerate() {
        let before = specs.iter().take(index);
        if let Some(first) = before.into_iter().find(|first| first.target == second.target) {
            return Err(SpecError::SameTarget {
                first: first.format,
                second: second.format,
                target: second.target.clone(),
            });
        }
    }
    Ok(())
}

impl ReportSpec {
    /// Refuses a place that no file can be written to, so that a typing error is found before the work and before
    /// other reports are written.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn check_place(&self, trees: &Trees) -> Result<(), WriteError> {
        match &self.target {
            Target::Stdout => Ok(()),
            Target::File(file) => FilePlace::open(file, trees).map(drop).map_err(WriteError::of),
        }
    }

    /// Writes `report`, to `stdout` or so that its file is either the old one or the whole new one.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    pub fn write(
        &self,
        report: &Report,
        sources: &Sources<'_>,
        trees: &Trees,
        stdout: &mut impl Write,
    ) -> Result<(), WriteError> {
        match &self.target {
            Target::Stdout => {
                self.write_to(report, sources, stdout).and_then(|()| stdout.flush()).map_err(WriteError::Stdout)
            }
            Target::File(file) => FilePlace::open(file, trees)
                .and_then(|place| place.write_with(|mut out| self.write_to(report, sources, &mut out)))
                .map_err(WriteError::of),
        }
    }

    fn write_to(&self, report: &Report, sources: &Sources<'_>, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Gitlab => gitlab::write(report, out),
            Format::Sarif => sarif::write(report, out),
            Format::Junit => junit::write(report, sources, out),
            Format::Json => json::write(report, out),
            Format::Github => github::write(report, out),
        }
    }
}
