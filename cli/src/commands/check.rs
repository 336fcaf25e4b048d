//! `sluicegate check`: the verdict on everything in the files.

use std::{path::PathBuf, time::Instant};

use sluicegate_policy::Rule;

use super::{CommandError, ContextArgs, Exit, Terminal, tenant};
use crate::{
    output::Trees,
    platform::{Keep, SourceTexts},
    report::{self, Report, ReportSpec, Target, check_targets, human},
};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sluicegate check                                    the platform repository in this folder
  sluicegate check tenants/shop --policies .          one team's files, by the policies of the whole repository
  sluicegate check --tenant shop --policies ../platform deploy/
                                                      a team's own repository: images, Flux objects, charts
  kustomize build . | sluicegate check --tenant shop --policies ../platform -
  sluicegate check --report gitlab=codequality.json --report junit=junit.xml")]
pub(super) struct Args {
    /// Files and folders to judge, `-` for standard input; the current folder when absent
    paths: Vec<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// Judge a team's own repository: the images and Flux objects of its workloads, and the dependencies of its charts
    #[arg(long, value_name = "TENANT", requires = "policies")]
    tenant: Option<String>,
    /// With --tenant: judge for this cluster only; otherwise for every cluster that the tenant may use
    #[arg(long, value_name = "CLUSTER", requires = "tenant")]
    cluster: Option<String>,
    /// With --tenant: the target namespace; otherwise the policies' default
    #[arg(long, value_name = "NAMESPACE", requires = "tenant")]
    namespace: Option<String>,
    /// Write a report: gitlab=FILE, sarif=FILE, junit=FILE, json=FILE, github; `-` for standard output; may be repeated
    #[arg(long = "report", value_name = "FORMAT[=FILE]")]
    reports: Vec<ReportSpec>,
    /// Nothing to check is not an error
    #[arg(long)]
    allow_empty: bool,
    /// Warnings count as violations
    #[arg(long)]
    strict: bool,
    /// Show at most so many findings
    #[arg(long, value_name = "N")]
    max: Option<usize>,
    /// Show nothing but errors of the program itself; reports are written all the same
    #[arg(short, long)]
    quiet: bool,
}

impl Args {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let began = Instant::now();
        check_targets(&self.reports)?;
        let trees = self.context.trees(&self.paths);
        for spec in &self.reports {
            spec.check_place(&trees)?;
        }
        let platform = match &self.tenant {
            // A team's repository is read as it is; only the context holds objects of the platform.
            Some(_) => self.context.load_context(terminal)?,
            None => self.context.load(&self.paths, terminal)?,
        };
        if let Some(tenant) = &self.tenant {
            let scope =
                tenant::Scope { tenant, cluster: self.cluster.as_deref(), namespace: self.namespace.as_deref() };
            let judged = tenant::judge(&platform, &self.paths, &self.context.exclude, &scope, terminal.progress)?;
            if judged.checked == 0 && judged.findings.is_empty() && !self.allow_empty {
                return Err(nothing(&self.paths, "no workload, no Flux object and no dependency of a chart"));
            }
            let texts = SourceTexts::new(&judged.files);
            let report = Report::new(judged.findings, judged.objects)
                .with_files(judged.files.len())
                .with_passed_over(judged.passed_over);
            return self.show(report, &|path| texts.get(path), judged.undetermined, (began, &trees), terminal);
        }
        let judged = platform.judge(Keep::Outcome, terminal.progress);
        let files = platform.context_from as usize;
        if platform.is_empty() && judged.findings.is_empty() && !self.allow_empty {
            return Err(nothing(&self.paths, "no FluxConfig, FluxPolicy or FluxCluster"));
        }
        let report = Report::new(judged.findings, judged.checked)
            .with_files(files)
            .with_passed_over(platform.passed_over.clone());
        let texts = SourceTexts::of(&platform);
        let undetermined = judged.undetermined || platform.unreadable;
        let exit = self.show(report, &|path| texts.get(path), undetermined, (began, &trees), terminal);
        std::mem::forget((platform, judged.policies, judged.facts, judged.configs));
        exit
    }

    /// Writes the report. It is not dropped, nor are the objects that were judged: the process ends next and its memory goes at
    /// once; to give back that of ten thousand objects before would be work for nothing.
    fn show(
        &self,
        report: Report,
        sources: &report::Sources<'_>,
        undetermined: bool,
        (began, trees): (Instant, &Trees),
        terminal: &mut Terminal<'_>,
    ) -> Result<Exit, CommandError> {
        let report = report.with_rules(catalogue()).with_elapsed(began.elapsed());
        let options = human::Options { color: terminal.color, max: self.max };
        let to_stdout = self.reports.iter().any(|spec| spec.target == Target::Stdout);
        if !self.quiet {
            // A report on standard output is for a program; people read the other stream.
            let mut out: &mut dyn std::io::Write = if to_stdout { terminal.err } else { terminal.out };
            human::write(&report, sources, options, &mut out)?;
        }
        for spec in &self.reports {
            spec.write(&report, sources, trees, &mut terminal.out)?;
        }
        let violated = report.has_errors() || (self.strict && report.summary().warnings > 0);
        std::mem::forget(report);
        Ok(match (undetermined, violated) {
            (true, _) => Exit::CouldNotRun,
            (false, true) => Exit::Violations,
            (false, false) => Exit::Fine,
        })
    }
}

fn nothing(paths: &[PathBuf], what: &str) -> CommandError {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let place = if shown.is_empty() { ".".to_owned() } else { shown.join(", ") };
    CommandError::Usage(format!(
        "nothing to check: {what} in {place}; name the folder that holds them, or say --allow-empty if that is fine"
    ))
}

/// The rules as reports carry them.
fn catalogue() -> Vec<report::Rule> {
    Rule::ALL
        .iter()
        .map(|rule| report::Rule {
            id: rule.id().into(),
            title: rule.title().into(),
            description: rule.title().into(),
            severity: match rule.severity() {
                sluicegate_policy::Severity::Error => report::Severity::Error,
                sluicegate_policy::Severity::Warning => report::Severity::Warning,
            },
        })
        .collect()
}
