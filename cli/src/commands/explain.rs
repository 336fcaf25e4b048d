//! `sluicegate explain`: each effective value of a FluxConfig and where it comes from.

use std::path::PathBuf;

use serde_json::json;
use sluicegate_policy::{Admitted, Origin};

use super::{CommandError, ContextArgs, Exit, Terminal};
use crate::{
    platform::{Judged, JudgedConfig, Keep, Platform, SourceTexts, located_policy_field, policy_fields},
    report::{Finding, Outcome, Report, human, json_text, text},
};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sluicegate explain tenants/shop/app.yaml --policies .
  sluicegate explain shop/app                    by namespace and name, in the repository in this folder
  sluicegate explain app -o json")]
pub(super) struct Args {
    /// A file with FluxConfigs, or the [NAMESPACE/]NAME of one
    #[arg(value_name = "FILE|NAME")]
    what: String,
    #[command(flatten)]
    context: ContextArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

impl Args {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let path = PathBuf::from(&self.what);
        let by_file = self.what == "-" || path.exists();
        let platform = match (by_file, self.context.policies.is_empty()) {
            (true, true) => {
                // The file to explain, and everything around it to explain it by.
                let context = ContextArgs { policies: vec![PathBuf::from(".")], exclude: self.context.exclude.clone() };
                context.load(&[path], terminal)?
            }
            (true, false) => self.context.load(&[path], terminal)?,
            (false, _) => self.context.load(&self.context.policies, terminal)?,
        };
        let judged = platform.judge(Keep::Admitted, terminal.progress);
        let chosen: Vec<&JudgedConfig> =
            judged.configs.iter().filter(|config| by_file || self.names_config(&platform, config)).collect();
        let broken = self.broken(&platform, &judged, by_file);
        if chosen.is_empty() && broken.is_empty() {
            return Err(CommandError::Usage(self.none(&platform, by_file)));
        }
        let mut exit = Exit::Fine;
        if !broken.is_empty() {
            exit = if platform.unreadable { Exit::CouldNotRun } else { Exit::Violations };
            draw(&platform, broken, terminal)?;
        }
        for config in chosen {
            match config.admitted.as_ref().filter(|_| config.outcome == Outcome::Admitted) {
                Some(admitted) => self.show(&platform, admitted, terminal)?,
                None => {
                    exit = exit.max(if judged.undetermined { Exit::CouldNotRun } else { Exit::Violations });
                    self.refuse(&platform, &judged.findings, config, terminal)?;
                }
            }
        }
        Ok(exit)
    }

    fn names_config(&self, platform: &Platform, config: &JudgedConfig) -> bool {
        platform.configs.get(config.index).is_some_and(|located| {
            let metadata = &located.object.metadata;
            self.names(metadata.namespace.as_deref(), metadata.name.as_deref().unwrap_or_default())
        })
    }

    fn names(&self, namespace: Option<&str>, name: &str) -> bool {
        match self.what.split_once('/') {
            Some((wanted, rest)) => namespace == Some(wanted) && name == rest,
            None => name == self.what,
        }
    }

    /// What is wrong with the files, or with FluxConfigs that are so wrong that there is no verdict on them.
    fn broken(&self, platform: &Platform, judged: &Judged, by_file: bool) -> Vec<Finding> {
        let context = platform.files.get(platform.context_from as usize..).unwrap_or_default();
        let here = |finding: &Finding| by_file && !context.iter().any(|file| file.shown() == finding.path);
        let meant = |finding: &Finding| match &finding.object {
            None => here(finding),
            Some(object) if object.kind != "FluxConfig" => false,
            Some(object) => here(finding) || !by_file && self.names(object.namespace.as_deref(), &object.name),
        };
        let read = |finding: &Finding| {
            platform.configs.iter().any(|config| {
                let metadata = &config.object.metadata;
                platform.shown(&config.at) == finding.path
                    && finding.object.as_ref().is_some_and(|object| {
                        Some(object.name.as_str()) == metadata.name.as_deref() && object.namespace == metadata.namespace
                    })
            })
        };
        judged.findings.iter().filter(|finding| meant(finding) && !read(finding)).cloned().collect()
    }

    fn none(&self, platform: &Platform, by_file: bool) -> String {
        if by_file {
            return format!("there is no FluxConfig in {}", self.what);
        }
        let names: Vec<String> = platform
            .configs
            .iter()
            .map(|config| {
                let metadata = &config.object.metadata;
                format!(
                    "{}/{}",
                    metadata.namespace.as_deref().unwrap_or_default(),
                    metadata.name.as_deref().unwrap_or_default()
                )
            })
            .collect();
        let closest = sluicegate_policy::closest(&self.what, names.iter().map(String::as_str));
        let hint = match closest {
            Some(closest) => format!("; did you mean {closest}?"),
            None => "; name a file, or NAMESPACE/NAME of a FluxConfig in the files".to_owned(),
        };
        format!("there is no file and no FluxConfig {:?}{hint}", self.what)
    }

    fn show(&self, platform: &Platform, admitted: &Admitted, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
        let fields = admitted.field_origins();
        let resolved = admitted.resolved();
        let of_policies = fields.iter().filter_map(|(_, _, origin)| match origin {
            Origin::Policy(field) => Some(field),
            Origin::FluxConfig | Origin::BuiltIn => None,
        });
        let places = policy_fields(platform, of_policies.chain([&*resolved.source_allowed_by]));
        let origin = |origin: &Origin| match origin {
            Origin::FluxConfig => "set in the FluxConfig".to_owned(),
            Origin::BuiltIn => "built in".to_owned(),
            Origin::Policy(field) => located_policy_field(field, &places),
        };
        if self.output == Output::Json {
            let rows: Vec<_> = fields
                .iter()
                .map(|(field, value, from)| json!({"field": field, "value": value, "origin": origin(from)}))
                .collect();
            let object = json!({"tenant": resolved.tenant.as_str(), "namespace": *resolved.home, "name": *resolved.name, "fields": rows});
            json_text::write(&object, &mut terminal.out)?;
            return Ok(());
        }
        writeln!(
            terminal.out,
            "FluxConfig {}/{} of tenant {}",
            text::line(&resolved.home),
            text::line(&resolved.name),
            resolved.tenant
        )?;
        let width = |column: fn(&(&str, String, Origin)) -> usize| fields.iter().map(column).max().unwrap_or(0).min(60);
        let (names, values) = (width(|row| row.0.len()), width(|row| row.1.chars().count()));
        for (field, value, from) in &fields {
            writeln!(terminal.out, "  {field:names$}  {:values$}  {}", text::line(value), text::line(&origin(from)))?;
        }
        writeln!(
            terminal.out,
            "  the source is allowed by {}",
            located_policy_field(&resolved.source_allowed_by, &places)
        )?;
        Ok(())
    }

    fn refuse(
        &self,
        platform: &Platform,
        findings: &[Finding],
        config: &JudgedConfig,
        terminal: &mut Terminal<'_>,
    ) -> Result<(), CommandError> {
        let Some(located) = platform.configs.get(config.index) else { return Ok(()) };
        let path = platform.shown(&located.at);
        let metadata = &located.object.metadata;
        let own = |finding: &&Finding| {
            finding.path == path
                && finding.object.as_ref().is_none_or(|object| {
                    Some(object.name.as_str()) == metadata.name.as_deref() && object.namespace == metadata.namespace
                })
        };
        // What is wrong with a policy that selects the tenant is the reason too.
        let of_policies =
            |finding: &&Finding| finding.object.as_ref().is_some_and(|object| object.kind == "FluxPolicy");
        let mut mine: Vec<Finding> = findings.iter().filter(own).cloned().collect();
        if mine.is_empty() {
            mine = findings.iter().filter(of_policies).cloned().collect();
        }
        draw(platform, mine, terminal)
    }
}

fn draw(platform: &Platform, findings: Vec<Finding>, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let report = Report::new(findings, Vec::new());
    let texts = SourceTexts::of(platform);
    for finding in report.findings() {
        writeln!(terminal.out, "{}\n", human::draw(finding, &|path| texts.get(path), terminal.color))?;
    }
    Ok(())
}
