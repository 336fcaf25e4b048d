//! `sluicegate test`: the administrators' policy tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluicegate_crds::{FluxConfig, FluxConfigSpec, SourceKind};
use sluicegate_policy::{
    Answer, Declaration, Facts, PolicySet, Question, Rule, Verdict, Violation, ask, decide, grammar::TenantName,
};

use super::{CommandError, ContextArgs, Exit, Terminal};
use crate::{
    manifest::{
        de,
        files::{self, Options},
        yaml::{self, Limits, Node},
    },
    platform::decode_config,
    report::text,
};

/// Arguments of `test`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A policy test is a YAML file in the platform repository:
  apiVersion: sluicegate.dev/v1alpha1
  kind: PolicyTest
  metadata: {name: shop-may-not-sync-others}
  spec:
    config:
      metadata: {name: x, namespace: shop}
      spec: {source: {url: https://git.example.com/payments/api.git}}
    expect: {verdict: Refused, rules: [source-not-allowed]}

Instead of config: configFile: FILE, or can: {tenant: shop, pull: IMAGE | sync: URL | deployTo: CLUSTER/NAMESPACE}.
With verdict Admitted, expect.resolved may name effective values, as `sluicegate explain` shows them.")]
pub(super) struct Args {
    /// Files and folders with policy tests; the current folder when absent
    paths: Vec<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

/// A policy test: what is asked, and what is expected.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTest {
    /// `sluicegate.dev/v1alpha1`.
    pub api_version: String,
    /// `PolicyTest`.
    pub kind: String,
    /// Its name.
    pub metadata: TestMetadata,
    /// What is asked and expected.
    pub spec: PolicyTestSpec,
}

/// Metadata of a policy test.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TestMetadata {
    /// Name of the test.
    pub name: String,
}

/// What is asked, and what is expected: exactly one of `config`, `configFile`, `can`, and `expect`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTestSpec {
    /// A FluxConfig, without `apiVersion` and `kind`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<TestConfig>,
    /// A file with one FluxConfig, relative to the test's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_file: Option<String>,
    /// A question, as to `sluicegate can`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can: Option<TestQuestion>,
    /// What is expected.
    pub expect: Expectation,
}

/// A FluxConfig in a policy test.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TestConfig {
    /// Name and namespace.
    pub metadata: TestConfigMetadata,
    /// As in a FluxConfig.
    pub spec: FluxConfigSpec,
}

/// Name and namespace of a FluxConfig in a policy test.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TestConfigMetadata {
    /// Name; `test` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tenant's namespace on the management cluster.
    pub namespace: String,
}

/// A question: exactly one of `sync`, `pull`, `deployTo`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TestQuestion {
    /// The tenant.
    pub tenant: String,
    /// URL of a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// Kind of that source; by the URL's scheme when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SourceKind>,
    /// Image reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<String>,
    /// `CLUSTER/NAMESPACE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy_to: Option<String>,
    /// Only this cluster; otherwise every cluster that the tenant may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
}

/// What a policy test expects.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expectation {
    /// The verdict.
    pub verdict: ExpectedVerdict,
    /// With `Refused`: exactly these rules, in any order. Absent: whichever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<String>>,
    /// With `Admitted`: effective values by field, such as `spec.cluster: prod-eu`; others may be there too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: BTreeMap<String, String>,
}

/// The verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExpectedVerdict {
    /// Admitted; `can`: yes.
    Admitted,
    /// Refused; `can`: no.
    Refused,
}

impl PolicyTest {
    /// JSON schema for editors.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(PolicyTest).to_value()
    }
}

/// What came out, in the form of what is expected.
struct Outcome {
    verdict: &'static str,
    rules: BTreeSet<&'static str>,
    resolved: BTreeMap<String, String>,
    violations: Vec<Violation>,
}

impl Args {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let paths = if self.paths.is_empty() { vec![PathBuf::from(".")] } else { self.paths.clone() };
        let platform = match self.context.policies.is_empty() {
            true => self.context.load(&paths, terminal)?,
            false => self.context.load_context(terminal)?,
        };
        let (policies, facts) = platform.engine();
        super::can::broken_context(&platform, &policies, terminal)?;
        let (tests, mut failed) = self.collect(&paths, terminal)?;
        if tests.is_empty() && failed == 0 {
            return Err(CommandError::Usage(
                "no PolicyTest in the files; `sluicegate test --help` shows how one looks".to_owned(),
            ));
        }
        let mut passed = 0;
        for (place, test) in &tests {
            let name = text::line(&test.metadata.name);
            match judge(place, test, &policies, &facts) {
                Ok(None) => {
                    passed += 1;
                    writeln!(terminal.out, "test {name} ... ok")?;
                }
                Ok(Some(difference)) => {
                    failed += 1;
                    writeln!(terminal.out, "test {name} ... FAILED ({})\n{difference}", text::line(place))?;
                }
                Err(message) => {
                    failed += 1;
                    writeln!(
                        terminal.out,
                        "test {name} ... FAILED ({})\n  {}\n",
                        text::line(place),
                        text::line(&message)
                    )?;
                }
            }
        }
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        writeln!(terminal.out, "\npolicy tests: {verdict}. {passed} passed, {failed} failed")?;
        Ok(if failed == 0 { Exit::Fine } else { Exit::Violations })
    }

    /// The tests in the files, with the path of each, and how many could not be read.
    fn collect(
        &self,
        paths: &[PathBuf],
        terminal: &mut Terminal<'_>,
    ) -> Result<(Vec<(String, PolicyTest)>, usize), CommandError> {
        let options = Options { exclude: self.context.exclude.clone(), ..Options::default() };
        let set = files::collect(paths, &options)?;
        let read = files::for_each_parsed(&set.files, &options.limits, |file, _, documents| {
            let documents = documents.map_err(|error| format!("{}:{}: {error}", file.shown(), error.span.line))?;
            let tests =
                documents.iter().map(yaml::Document::root).filter(is_test).map(|node| decode(file.shown(), node));
            Ok::<_, String>(tests.collect::<Vec<_>>())
        });
        let mut tests = Vec::new();
        let mut failed = 0;
        let mut complain = |message: &str| -> Result<(), CommandError> {
            failed += 1;
            Ok(writeln!(terminal.err, "error: {}", text::line(message))?)
        };
        for problem in &set.problems {
            complain(&problem.to_string())?;
        }
        for file in read {
            match file {
                Err(problem) => complain(&problem.to_string())?,
                Ok(Err(message)) => complain(&message)?,
                Ok(Ok(found)) => {
                    for test in found {
                        match test {
                            Ok(test) => tests.push(test),
                            Err(message) => complain(&message)?,
                        }
                    }
                }
            }
        }
        if let Some(filter) = &self.filter {
            tests.retain(|(_, test)| test.metadata.name.contains(filter));
        }
        Ok((tests, failed))
    }
}

fn is_test(node: &Node<'_>) -> bool {
    let text = |field: &str| node.get(field).and_then(Node::as_str);
    text("apiVersion") == Some(sluicegate_crds::API_VERSION) && text("kind") == Some("PolicyTest")
}

fn decode(shown: &str, node: Node<'_>) -> Result<(String, PolicyTest), String> {
    let decoded = de::decode::<PolicyTest>(node)
        .map_err(|error| format!("{shown}:{}: {}: {}", error.span().line, error.path(), error.kind()))?;
    if let Some(unknown) = decoded.unknown.first() {
        return Err(format!("{shown}:{}: {unknown}", unknown.span().line));
    }
    let expect = &decoded.value.spec.expect;
    if let Some(unknown) = expect.rules.iter().flatten().find(|id| Rule::from_id(id).is_none()) {
        let hint = sluicegate_policy::closest(unknown, Rule::ALL.iter().map(|rule| rule.id()));
        let hint = hint.map(|hint| format!("; did you mean {hint}?")).unwrap_or_default();
        return Err(format!("{shown}: there is no rule {unknown:?}{hint}"));
    }
    Ok((shown.to_owned(), decoded.value))
}

/// Runs a test: `None` where it passes, otherwise what differs.
fn judge(place: &str, test: &PolicyTest, policies: &PolicySet, facts: &Facts) -> Result<Option<String>, String> {
    let spec = &test.spec;
    let outcome = match (&spec.config, &spec.config_file, &spec.can) {
        (Some(config), None, None) => {
            let mut object = FluxConfig::new(config.metadata.name.as_deref().unwrap_or("test"), config.spec.clone());
            object.metadata.namespace = Some(config.metadata.namespace.clone());
            decided(&object, policies, facts)
        }
        (None, Some(file), None) => decided(&read_config(place, file)?, policies, facts),
        (None, None, Some(question)) => answered(question, policies, facts)?,
        _ => return Err("exactly one of config, configFile, can is needed".to_owned()),
    };
    Ok(difference(&spec.expect, &outcome))
}

fn read_config(place: &str, file: &str) -> Result<FluxConfig, String> {
    let path = Path::new(place).parent().unwrap_or(Path::new("")).join(file);
    let limits = Limits::default();
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let text = yaml::decode_text(&bytes, &limits).map_err(|error| format!("{}: {error}", path.display()))?;
    let documents = yaml::parse(text, &limits).map_err(|error| format!("{}: {error}", path.display()))?;
    let is_config = |node: &Node<'_>| node.get("kind").and_then(Node::as_str) == Some("FluxConfig");
    let mut configs = documents.iter().map(yaml::Document::root).filter(is_config);
    match (configs.next(), configs.next()) {
        (Some(node), None) => match decode_config(node) {
            Ok(decoded) if decoded.unknown.is_empty() => Ok(decoded.value),
            Ok(decoded) => Err(format!(
                "{}: {}",
                path.display(),
                decoded.unknown.first().map(ToString::to_string).unwrap_or_default()
            )),
            Err(error) => Err(format!("{}: {}: {}", path.display(), error.path(), error.kind())),
        },
        (None, _) => Err(format!("{}: there is no FluxConfig in it", path.display())),
        (Some(_), Some(_)) => {
            Err(format!("{}: there are several FluxConfigs in it, and a test is about one", path.display()))
        }
    }
}

fn decided(config: &FluxConfig, policies: &PolicySet, facts: &Facts) -> Outcome {
    // The config of a test stands beside those of the repository, unless it is one of them.
    let mut facts = facts.clone();
    let metadata = &config.metadata;
    if facts.times(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default()) == 0
    {
        facts.declare(Declaration::of(config, policies, &facts, None));
    }
    match decide(config, policies, &facts) {
        Verdict::Admitted(admitted) => Outcome {
            verdict: "Admitted",
            rules: BTreeSet::new(),
            resolved: admitted.fields().into_iter().map(|field| (field.field, field.value)).collect(),
            violations: Vec::new(),
        },
        Verdict::Refused(violations) => refused("Refused", violations),
        Verdict::Undetermined(violations) => refused("Undetermined", violations),
    }
}

fn refused(verdict: &'static str, violations: Vec<Violation>) -> Outcome {
    Outcome {
        verdict,
        rules: violations.iter().map(|violation| violation.rule.id()).collect(),
        resolved: BTreeMap::new(),
        violations,
    }
}

fn answered(question: &TestQuestion, policies: &PolicySet, facts: &Facts) -> Result<Outcome, String> {
    let tenant = TenantName::new(question.tenant.as_str()).map_err(|error| error.to_string())?;
    let mut cluster = question.cluster.as_deref();
    let asked = match (&question.sync, &question.pull, &question.deploy_to) {
        (Some(url), None, None) => Question::Sync { url, kind: question.kind },
        (None, Some(image), None) => Question::Pull { image, narrowing: &[] },
        (None, None, Some(place)) => match place.split_once('/') {
            Some((on, namespace)) => {
                cluster = Some(on);
                Question::DeployTo { namespace }
            }
            None => Question::DeployTo { namespace: place },
        },
        _ => return Err("can: exactly one of sync, pull, deployTo is needed".to_owned()),
    };
    let home = facts.home_of(&tenant).unwrap_or(tenant.as_str());
    let answers = ask(asked, &tenant, home, cluster, None, policies, facts);
    let mut verdict = if answers.is_empty() { "Refused" } else { "Admitted" };
    let mut violations = Vec::new();
    for (_, answer) in answers {
        match answer {
            Answer::Yes(_) => {}
            Answer::No(violation) => {
                verdict = if verdict == "Undetermined" { verdict } else { "Refused" };
                violations.push(*violation);
            }
            Answer::Unknown(violation) => {
                verdict = "Undetermined";
                violations.push(*violation);
            }
        }
    }
    Ok(refused(verdict, violations))
}

/// Expected and actual as a diff, and the violations; `None` where they agree.
fn difference(expect: &Expectation, outcome: &Outcome) -> Option<String> {
    let mut expected = vec![format!("verdict: {:?}", expect.verdict)];
    let mut actual = vec![format!("verdict: {}", outcome.verdict)];
    if let Some(rules) = &expect.rules {
        let rules: BTreeSet<&str> = rules.iter().map(String::as_str).collect();
        expected.extend(rules.iter().map(|rule| format!("rule: {rule}")));
        actual.extend(outcome.rules.iter().map(|rule| format!("rule: {rule}")));
    }
    for (field, value) in &expect.resolved {
        expected.push(format!("{field}: {value}"));
        let found = outcome.resolved.get(field).map_or("(nothing)", String::as_str);
        actual.push(format!("{field}: {found}"));
    }
    if expected == actual {
        return None;
    }
    let (expected, actual) = (expected.join("\n") + "\n", actual.join("\n") + "\n");
    let diff = similar::TextDiff::from_lines(&expected, &actual);
    let mut shown = String::from("  - expected\n  + found\n");
    for change in diff.iter_all_changes() {
        shown.push_str(&format!("    {}{}\n", change.tag(), text::line(change.value().trim_end())));
    }
    for violation in &outcome.violations {
        shown.push_str(&format!(
            "  because: {}: {} [{}]\n",
            text::line(violation.field.as_ref()),
            text::line(&violation.message),
            violation.rule
        ));
    }
    Some(shown)
}
