//! The files of charts that name dependencies, which Flux fetches with the chart.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sluicegate_policy::{
    DEPENDENCY_NAME, Question,
    workload::{CHART_FILES, Dependency, dependencies},
};

use super::{Exit, Judge, JudgedFile, as_deployed};
use crate::{
    manifest::{
        files::File,
        yaml::{Document, Kind},
    },
    report::{Checked, ObjectId, Outcome},
};

/// Where repositories begin: a dependency by path may not lead out of one.
pub(super) struct Roots {
    /// The current folder and the folders that were named, without links.
    named: Vec<PathBuf>,
}

impl Roots {
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let all = [PathBuf::from(".")].into_iter().chain(paths.iter().cloned());
        Self { named: all.filter_map(|path| fs::canonicalize(path).ok()).collect() }
    }

    /// How many folders the folder of a file is below the root of its repository: of the git checkout, or else of the uppermost
    /// folder that was named.
    fn depth(&self, file: &File) -> usize {
        let Some(folder) = file.path().and_then(|path| fs::canonicalize(path).ok()?.parent().map(Path::to_owned))
        else {
            return 0;
        };
        let checkout = folder.ancestors().position(|folder| folder.join(".git").exists());
        let named =
            || folder.ancestors().enumerate().filter(|(_, folder)| self.is_named(folder)).map(|(up, _)| up).max();
        checkout.or_else(named).unwrap_or(0)
    }

    fn is_named(&self, folder: &Path) -> bool {
        self.named.iter().any(|named| named == folder)
    }
}

impl Judge<'_> {
    /// Judges the dependencies in a file of a chart.
    pub(super) fn chart_file(&self, file: &File, document: &Document<'_>, judged: &mut JudgedFile) {
        let shown = file.shown();
        let (folder, name) = shown.rsplit_once('/').unwrap_or(("", shown));
        let root = document.root();
        if !CHART_FILES.contains(&name) || root.kind() != Kind::Mapping {
            return;
        }
        let chart = match as_deployed(root) {
            Ok(chart) => chart,
            Err(place) => return judged.tag(shown, place),
        };
        let found = dependencies(&chart, self.roots.depth(file));
        if found.is_empty() {
            return;
        }
        let title = chart.get("name").and_then(serde_json::Value::as_str);
        let title = title.or_else(|| folder.rsplit('/').next()).unwrap_or_default();
        let id = ObjectId { kind: "Chart".to_owned(), namespace: None, name: title.to_owned() };
        let mut outcome = Outcome::Admitted;
        for dependency in found {
            judged.checked += 1;
            let violations = match dependency {
                Dependency::Local => Vec::new(),
                Dependency::Refused(violation) => vec![(Exit::Violations, *violation)],
                Dependency::Fetched { url_field, url, name_field, name } => {
                    let mut violations = self.ask(Question::Chart { url: &url, name: &name });
                    for (_, violation) in &mut violations {
                        let field = if violation.field == DEPENDENCY_NAME { &name_field } else { &url_field };
                        violation.field = field.clone().into();
                    }
                    violations
                }
            };
            for violation in violations {
                outcome = judged.note((shown, document, ""), &id, violation, outcome);
            }
        }
        judged.objects.push(Checked { object: id, path: shown.to_owned(), line: 1, outcome });
    }
}
