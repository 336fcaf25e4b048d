//! `sluicegate can`: yes or no, with the reason.

use std::{
    ffi::OsString,
    io::{BufRead, Read, Write},
};

use sluicegate_crds::SourceKind;
use sluicegate_policy::{Answer, Facts, PolicyField, PolicySet, Question, Violation, ask, grammar::TenantName};

use super::{CommandError, ContextArgs, Exit, Terminal};
use crate::{
    platform::{Platform, located_policy_field, policy_fields},
    report::{Finding, text},
};

/// Longest value that is read from standard input, in bytes: far above any that could be allowed.
const LONGEST: u64 = 64 * 1024;

/// Arguments of `can`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sluicegate can shop sync https://git.example.com/shop/app.git
  sluicegate can shop pull registry.example.com/shop/app:1.2 --cluster prod-eu
  sluicegate can shop deploy-to prod-eu/shop-checkout
  sluicegate can shop pull - < images.txt              one value a line

Exit codes: 0 yes, 1 no, 2 could not tell. With several values or clusters one no is a no.")]
pub(super) struct Args {
    /// The tenant
    tenant: String,
    #[command(subcommand)]
    question: QuestionArgs,
}

#[derive(Debug, clap::Subcommand)]
enum QuestionArgs {
    /// May an agent of the tenant sync from this source?
    Sync {
        /// URL of the source, taken as it is; `-` reads one a line
        #[arg(allow_hyphen_values = true)]
        url: OsString,
        /// Kind of source; by the URL's scheme when absent
        #[arg(long, value_enum)]
        kind: Option<KindArg>,
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// May a pod of the tenant run this image?
    Pull {
        /// Image reference, taken as it is; `-` reads one a line
        #[arg(allow_hyphen_values = true)]
        image: OsString,
        #[command(flatten)]
        scope: ScopeArgs,
    },
    /// May the tenant deploy to this place?
    DeployTo {
        /// CLUSTER/NAMESPACE, or NAMESPACE for every cluster that the tenant may use; `-` reads one a line
        #[arg(allow_hyphen_values = true, value_name = "CLUSTER/NAMESPACE")]
        place: OsString,
        #[command(flatten)]
        scope: ScopeArgs,
    },
}

#[derive(Debug, clap::Args)]
struct ScopeArgs {
    #[command(flatten)]
    context: ContextArgs,
    /// Only this cluster; otherwise every cluster that the tenant may use
    #[arg(long, value_name = "CLUSTER")]
    cluster: Option<String>,
    /// Target namespace that ${namespace} stands for in policies; otherwise the policies' default
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Print nothing; the exit code is the answer
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KindArg {
    Git,
    Oci,
    Helm,
    Bucket,
}

impl Args {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let (value, scope) = match &self.question {
            QuestionArgs::Sync { url, scope, .. } => (url, scope),
            QuestionArgs::Pull { image, scope } => (image, scope),
            QuestionArgs::DeployTo { place, scope } => (place, scope),
        };
        let tenant = TenantName::new(self.tenant.as_str())
            .map_err(|error| CommandError::Usage(format!("{:?} is no tenant: {error}", self.tenant)))?;
        let platform = scope.context.load_context(terminal)?;
        let (policies, facts) = platform.engine();
        broken_context(&platform, &policies, terminal)?;
        let asker =
            Asker { args: self, scope, tenant: &tenant, platform: &platform, policies: &policies, facts: &facts };
        if value != "-" {
            return asker.answer(&value.to_string_lossy(), false, terminal);
        }
        let mut exit = None;
        let mut lines = std::io::stdin().lock();
        let mut line = Vec::new();
        while read_line(&mut lines, &mut line)? {
            let value = String::from_utf8_lossy(&line);
            if !value.is_empty() {
                exit = exit.max(Some(asker.answer(&value, true, terminal)?));
            }
        }
        // Whatever was to print the values has failed: silence is no yes.
        exit.ok_or_else(|| CommandError::Usage("there is no value on the standard input; give one a line".to_owned()))
    }
}

/// Reads a line without its `\n`; everything else in it, a carriage return too, is part of the value. `false` at the end.
/// Of a line that is too long only the beginning is kept: what follows is not another value.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, CommandError> {
    line.clear();
    if input.by_ref().take(LONGEST).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else {
        input.skip_until(b'\n')?;
    }
    Ok(true)
}

/// Refuses to answer from files of which some cannot be read.
pub(super) fn broken_context(
    platform: &Platform,
    policies: &PolicySet,
    terminal: &mut Terminal<'_>,
) -> Result<(), CommandError> {
    if policies.policies().is_empty() && policies.invalid().is_empty() {
        return Err(CommandError::Usage(
            "no FluxPolicy in the files; name the platform repository with --policies".to_owned(),
        ));
    }
    // A mistake in some team's FluxConfig changes no answer; anything else might.
    let matters = |finding: &&Finding| finding.object.as_ref().is_none_or(|object| object.kind != "FluxConfig");
    let findings: Vec<&Finding> = platform.findings.iter().filter(matters).collect();
    if findings.is_empty() {
        return Ok(());
    }
    for finding in findings {
        let line = finding.span.map(|span| format!(":{}:{}", span.line, span.column)).unwrap_or_default();
        writeln!(
            terminal.err,
            "error[{}]: {}{line}: {}",
            finding.rule,
            text::line(&finding.path),
            text::line(&finding.message)
        )?;
    }
    Err(CommandError::Usage("the files to judge by have errors; `sluicegate check` shows them in full".to_owned()))
}

struct Asker<'a> {
    args: &'a Args,
    scope: &'a ScopeArgs,
    tenant: &'a TenantName,
    platform: &'a Platform,
    policies: &'a PolicySet,
    facts: &'a Facts,
}

impl Asker<'_> {
    fn answer(&self, value: &str, many: bool, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let mut cluster = self.scope.cluster.as_deref();
        let question = match &self.args.question {
            QuestionArgs::Sync { kind, .. } => Question::Sync { url: value, kind: kind.map(KindArg::kind) },
            QuestionArgs::Pull { .. } => Question::Pull { image: value, narrowing: &[] },
            QuestionArgs::DeployTo { .. } => match value.split_once('/') {
                Some((place, _)) if cluster.is_some_and(|cluster| cluster != place) => {
                    return Err(CommandError::Usage(format!(
                        "two clusters are named: {place} in the place, and {} by --cluster",
                        cluster.unwrap_or_default()
                    )));
                }
                Some((place, namespace)) => {
                    cluster = Some(place);
                    Question::DeployTo { namespace }
                }
                None => Question::DeployTo { namespace: value },
            },
        };
        let home = self.facts.home_of(self.tenant).unwrap_or(self.tenant.as_str());
        let answers =
            ask(question, self.tenant, home, cluster, self.scope.namespace.as_deref(), self.policies, self.facts);
        let exit = answers
            .iter()
            .map(|(_, answer)| match answer {
                Answer::Yes(_) => Exit::Fine,
                Answer::No(_) => Exit::Violations,
                Answer::Unknown(_) => Exit::CouldNotRun,
            })
            .max()
            // No cluster at all: there is nowhere to sync to.
            .unwrap_or(Exit::Violations);
        if !self.scope.quiet {
            self.print(value, many, exit, &answers, terminal)?;
        }
        Ok(exit)
    }

    fn print(
        &self,
        value: &str,
        many: bool,
        exit: Exit,
        answers: &[(String, Answer)],
        terminal: &mut Terminal<'_>,
    ) -> Result<(), CommandError> {
        let word = match exit {
            Exit::Fine => "yes",
            Exit::Violations => "no",
            Exit::CouldNotRun => "unknown",
        };
        if many {
            writeln!(terminal.out, "{word} {}", text::line(value))?;
        } else {
            writeln!(terminal.out, "{word}")?;
        }
        if answers.is_empty() {
            writeln!(
                terminal.out,
                "  no policy gives tenant {} a destination on any cluster of the files",
                self.tenant
            )?;
        }
        let fields = answers.iter().flat_map(|(_, answer)| match answer {
            Answer::Yes(field) => std::slice::from_ref(field),
            Answer::No(violation) | Answer::Unknown(violation) => &violation.decided_by,
        });
        let places = policy_fields(self.platform, fields);
        let located = |field: &PolicyField| located_policy_field(field, &places);
        for (cluster, answer) in answers {
            match answer {
                Answer::Yes(field) => {
                    writeln!(terminal.out, "  on {}: allowed by {}", text::line(cluster), located(field))?;
                }
                Answer::No(violation) | Answer::Unknown(violation) => {
                    explain(cluster, violation, located, terminal.out)?;
                }
            }
        }
        Ok(())
    }
}

fn explain(
    cluster: &str,
    violation: &Violation,
    located: impl Fn(&PolicyField) -> String,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let cluster = if cluster == "*" { "any cluster".into() } else { text::line(cluster) };
    writeln!(out, "  on {cluster}: {} [{}]", text::line(&violation.message), violation.rule)?;
    for field in &violation.decided_by {
        writeln!(out, "    decided by {}", located(field))?;
    }
    if !violation.allowed.is_empty() {
        writeln!(out, "    allowed: {}", text::shortened(&violation.allowed))?;
    }
    for help in &violation.help {
        writeln!(out, "    help: {}", text::line(help))?;
    }
    Ok(())
}

impl KindArg {
    fn kind(self) -> SourceKind {
        match self {
            KindArg::Git => SourceKind::Git,
            KindArg::Oci => SourceKind::Oci,
            KindArg::Helm => SourceKind::Helm,
            KindArg::Bucket => SourceKind::Bucket,
        }
    }
}
