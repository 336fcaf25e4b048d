//! `sluicegate complete`: fills in what FluxConfigs leave to the policies.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use similar::TextDiff;
use sluicegate_policy::verdict;

use super::{CommandError, ContextArgs, Exit, Terminal, with_causes};
use crate::{
    manifest::{
        edit::{Addition, insert_fields},
        yaml::{Limits, decode_text},
    },
    output::{FilePlace, Trees},
    platform::{Judged, Keep, Platform, SourceTexts},
    report::{Outcome, Report, human, text},
};

/// Arguments of `complete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sluicegate complete --diff                     what would be filled in, in the whole repository
  sluicegate complete --write tenants/shop --policies .
                                                 fill in one team's files
  sluicegate complete tenants/shop/app.yaml --policies .
                                                 print the completed file

Only missing lines are inserted: comments, order, quoting and line ends stay as they are.
A FluxConfig that is refused is reported and left alone.")]
pub(super) struct Args {
    /// Files and folders, `-` for standard input; the current folder when absent
    paths: Vec<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// Write the files back
    #[arg(short, long, conflicts_with = "diff")]
    write: bool,
    /// Show what would change
    #[arg(short, long)]
    diff: bool,
}

/// A file with FluxConfigs, before and after.
struct Edited {
    file: u32,
    before: Arc<str>,
    after: String,
    fields: usize,
}

impl Args {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let platform = self.context.load(&self.paths, terminal)?;
        let judged = platform.judge(Keep::Admitted, terminal.progress);
        let exit = report(&platform, &judged, terminal)?;
        let mut broken = false;
        let mut edited = Vec::new();
        for (file, additions) in additions(&platform, &judged) {
            match edit(&platform, file, &additions) {
                Ok(Some(file)) => edited.push(file),
                Ok(None) => {}
                Err(message) => {
                    broken = true;
                    let shown = platform.files.get(file as usize).map_or("", |file| file.shown());
                    writeln!(terminal.err, "error: {}: {}", text::line(shown), text::line(&message))?;
                    for (addition, _) in additions.iter().flat_map(|(_, list)| list) {
                        let value = addition.value.to_string();
                        writeln!(terminal.err, "  add by hand: {} = {}", addition.path, text::line(&value))?;
                    }
                }
            }
        }
        let trees = self.context.trees(&self.paths);
        if self.write {
            check_places(&platform, &edited, &trees)?;
        }
        for (number, file) in edited.iter().enumerate() {
            if number > 0 && !self.write && !self.diff {
                separate(edited.get(number - 1), file, terminal)?;
            }
            self.hand_out(&platform, file, &trees, terminal)?;
        }
        if self.write || self.diff {
            let fields: usize = edited.iter().map(|file| file.fields).sum();
            let verb = if self.write { "filled in" } else { "to fill in" };
            let changed = edited.iter().filter(|file| file.fields > 0).count();
            writeln!(
                terminal.err,
                "{} {verb} in {}",
                text::counted(fields, "field", "fields"),
                text::counted(changed, "file", "files")
            )?;
        }
        Ok(if broken { Exit::CouldNotRun } else { exit })
    }

    fn hand_out(
        &self,
        platform: &Platform,
        edited: &Edited,
        trees: &Trees,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), CommandError> {
        let Some(file) = platform.files.get(edited.file as usize) else { return Ok(()) };
        match (self.write, self.diff, file.path()) {
            (true, _, Some(path)) => {
                if edited.fields > 0 {
                    FilePlace::open(path, trees).and_then(|place| place.write(edited.after.as_bytes())).map_err(
                        |error| CommandError::Usage(format!("{}; the file is as it was", with_causes(&error))),
                    )?;
                    writeln!(terminal.err, "completed {}", text::line(file.shown()))?;
                }
            }
            (_, true, _) => {
                let diff = TextDiff::from_lines(&*edited.before, edited.after.as_str());
                let shown = text::line(file.shown());
                // As git does: otherwise patch takes a name up to its first space.
                let end = if shown.contains(' ') { "\t" } else { "" };
                let (old, new) = (format!("a/{shown}{end}"), format!("b/{shown}{end}"));
                write!(terminal.out, "{}", diff.unified_diff().header(&old, &new))?;
            }
            // Standard input cannot be written back: it goes on to standard output, as everything does without --write.
            _ => terminal.out.write_all(edited.after.as_bytes())?,
        }
        Ok(())
    }
}

/// Finds a place that must not be written before the first file is written.
fn check_places(platform: &Platform, edited: &[Edited], trees: &Trees) -> Result<(), CommandError> {
    let changed = edited.iter().filter(|edited| edited.fields > 0);
    for path in changed.filter_map(|edited| platform.files.get(edited.file as usize)?.path()) {
        FilePlace::open(path, trees)
            .map_err(|error| CommandError::Usage(format!("{}; no file is changed", with_causes(&error))))?;
    }
    Ok(())
}

/// Keeps the documents of two files apart that are printed one after the other.
fn separate(before: Option<&Edited>, next: &Edited, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    if before.is_some_and(|before| !before.after.ends_with(['\n', '\r'])) {
        writeln!(terminal.out)?;
    }
    if !next.after.starts_with("---") && !next.after.starts_with('%') {
        writeln!(terminal.out, "---")?;
    }
    Ok(())
}

/// Shows what is wrong, on the stream that is not the result.
fn report(platform: &Platform, judged: &Judged, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
    let refused = judged.configs.iter().any(|config| config.outcome != Outcome::Admitted);
    let report = Report::new(judged.findings.clone(), Vec::new());
    if report.has_errors() {
        let texts = SourceTexts::of(platform);
        for finding in report.findings() {
            writeln!(terminal.err, "{}\n", human::draw(finding, &|path| texts.get(path), terminal.color))?;
        }
    }
    Ok(match (platform.unreadable || judged.undetermined, refused || report.has_errors()) {
        (true, _) => Exit::CouldNotRun,
        (false, true) => Exit::Violations,
        (false, false) => Exit::Fine,
    })
}

type ByDocument = Vec<(u32, Vec<(Addition, verdict::Origin)>)>;

/// What is to be added, by file and document. A file in which nothing is missing has an empty list.
fn additions(platform: &Platform, judged: &Judged) -> BTreeMap<u32, ByDocument> {
    let mut files: BTreeMap<u32, ByDocument> = BTreeMap::new();
    for config in &judged.configs {
        let Some(located) = platform.configs.get(config.index) else { continue };
        let list = files.entry(located.at.file).or_default();
        // What is wrong in another field than those of placement does not make a field that is filled in wrong, but whoever
        // mends it may say something else there. So nothing is written into a FluxConfig that is not admitted.
        let Some(admitted) = config.admitted.as_ref().filter(|_| config.outcome == Outcome::Admitted) else { continue };
        let prefix = if located.at.base.is_empty() { String::new() } else { format!("{}.", located.at.base) };
        let fields = admitted
            .additions()
            .iter()
            .map(|addition| {
                (Addition::new(format!("{prefix}{}", addition.field), addition.value.clone()), addition.origin.clone())
            })
            .collect();
        list.push((located.at.document, fields));
    }
    files
}

fn edit(platform: &Platform, file: u32, additions: &ByDocument) -> Result<Option<Edited>, String> {
    let Some(source) = platform.files.get(file as usize) else { return Ok(None) };
    let limits = Limits::default();
    let bytes = source.read(&limits).map_err(|problem| problem.to_string())?;
    let before = decode_text(&bytes, &limits).map_err(|error| error.to_string())?;
    let mut after = before.to_owned();
    let mut fields = 0;
    for (document, list) in additions {
        let list: Vec<Addition> = list.iter().map(|(addition, _)| addition.clone()).collect();
        if !list.is_empty() {
            after = insert_fields(&after, *document as usize, &list).map_err(|error| error.to_string())?;
            fields += list.len();
        }
    }
    Ok(Some(Edited { file, before: before.into(), after, fields }))
}
