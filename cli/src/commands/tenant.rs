//! `sluicegate check --tenant`: a team's own repository, image by image, Flux object by Flux object, and chart by chart.

mod charts;

use std::path::PathBuf;

use serde_json::Value;
use sluicegate_crds::FluxConfig;
use sluicegate_policy::{
    Answer, Facts, PolicyField, PolicySet, Question, Rule, Violation, ask,
    grammar::{ImagePattern, TenantName},
    workload::{CHART_FILES, Reach, reaches},
};

use super::{CommandError, Exit};
use crate::{
    manifest::{
        files::{self, File, Options},
        yaml::{Document, Kind, Limits, Node, Span},
    },
    platform::{Platform, finding_span, policy_fields},
    progress::Progress,
    report::{Checked, Decider, Finding, ObjectId, Outcome, PassedOver, Severity},
};

/// Whose repository it is, and where it goes.
pub(super) struct Scope<'a> {
    pub(super) tenant: &'a str,
    pub(super) cluster: Option<&'a str>,
    pub(super) namespace: Option<&'a str>,
}

/// What was found in a team's repository.
pub(super) struct JudgedTenant {
    pub(super) findings: Vec<Finding>,
    pub(super) objects: Vec<Checked>,
    pub(super) files: Vec<File>,
    /// Images, sources and charts that were asked about.
    pub(super) checked: usize,
    pub(super) undetermined: bool,
    pub(super) passed_over: Vec<PassedOver>,
}

/// Judges the files by the policies of the platform.
pub(super) fn judge(
    platform: &Platform,
    paths: &[PathBuf],
    exclude: &[String],
    scope: &Scope<'_>,
    progress: bool,
) -> Result<JudgedTenant, CommandError> {
    let tenant = TenantName::new(scope.tenant)
        .map_err(|error| CommandError::Usage(format!("{:?} is no tenant: {error}", scope.tenant)))?;
    let (policies, facts) = platform.engine();
    if policies.policies().is_empty() && policies.invalid().is_empty() {
        return Err(CommandError::Usage(
            "no FluxPolicy in the files of --policies; name the platform repository".to_owned(),
        ));
    }
    let options = Options { exclude: exclude.to_vec(), limits: Limits::default(), also: &CHART_FILES };
    let paths = if paths.is_empty() { vec![PathBuf::from(".")] } else { paths.to_vec() };
    let set = files::collect(&paths, &options)?;
    let home = facts.home_of(&tenant).unwrap_or(tenant.as_str()).to_owned();
    let roots = charts::Roots::of(&paths);
    let narrowing = narrowing(platform, &facts, &tenant, scope);
    let judge = Judge {
        tenant: &tenant,
        home: &home,
        scope,
        policies: &policies,
        facts: &facts,
        narrowing: &narrowing,
        roots: &roots,
    };
    let bar = Progress::start(set.files.len(), "reading files", progress);
    let judged = files::for_each_parsed(&set.files, &options.limits, |file, _, documents| {
        bar.step();
        match documents {
            Ok(documents) => judge.file(file, &documents),
            Err(error) => {
                let rule = Rule::InvalidYaml;
                let mut finding =
                    Finding::new(Severity::Error, rule.id(), rule.title(), file.shown(), error.kind.to_string());
                finding.span = Some(finding_span(error.span));
                finding.help.push("mend the file, or leave it out with --exclude if it is a template".to_owned());
                JudgedFile { findings: vec![(finding, Vec::new())], ..JudgedFile::default() }
            }
        }
    });
    drop(bar);
    let mut findings = platform.findings.clone();
    let mut undetermined = platform.unreadable;
    let mut open = Vec::new();
    let mut objects = Vec::new();
    let mut checked = 0;
    for problem in set.problems.iter().cloned().chain(judged.iter().filter_map(|file| file.as_ref().err().cloned())) {
        undetermined = true;
        let rule = Rule::UnreadableFile;
        findings.push(Finding::new(
            Severity::Error,
            rule.id(),
            rule.title(),
            problem.file.clone(),
            problem.kind.to_string(),
        ));
    }
    for file in judged.into_iter().flatten() {
        checked += file.checked;
        undetermined |= file.undetermined;
        objects.extend(file.objects);
        open.extend(file.findings);
    }
    let places = policy_fields(platform, open.iter().flat_map(|(_, deciders)| deciders));
    findings.extend(open.into_iter().map(|(mut finding, deciders)| {
        finding.decided_by = deciders
            .into_iter()
            .map(|field| Decider {
                place: places.get(&field).cloned(),
                policy: field.policy.to_string(),
                field: Some(field.field.into_owned()),
            })
            .collect();
        finding
    }));
    let passed_over = passed_over(&set.passed_over);
    Ok(JudgedTenant { findings, objects, files: set.files, checked, undetermined, passed_over })
}

/// What was left out, for the summary.
fn passed_over(left_out: &files::PassedOver) -> Vec<PassedOver> {
    let files::PassedOver { helm_templates, linked_folders, packed_charts } = left_out;
    [
        ("folder of Helm templates", "folders of Helm templates", helm_templates.len()),
        ("link to a folder", "links to folders", linked_folders.len()),
        ("packed chart", "packed charts", packed_charts.len()),
    ]
    .into_iter()
    .map(|(one, many, count)| PassedOver { reason: if count == 1 { one } else { many }.into(), count })
    .collect()
}

/// The patterns with which the tenant's FluxConfigs narrow the images of a target: those of all of them together, and none
/// where one of them does not narrow.
fn narrowing(platform: &Platform, facts: &Facts, tenant: &TenantName, scope: &Scope<'_>) -> Vec<ImagePattern> {
    let concerns = |config: &FluxConfig| {
        let home = config.metadata.namespace.as_deref().unwrap_or_default();
        let same = |wanted: Option<&str>, found: Option<&str>| wanted.is_none() || found.is_none() || wanted == found;
        facts.tenant(home).as_ref() == Some(tenant)
            && same(scope.cluster, config.spec.cluster.as_deref())
            && same(scope.namespace, config.spec.namespace.as_deref())
    };
    let configs: Vec<&FluxConfig> =
        platform.configs.iter().map(|config| &*config.object).filter(|config| concerns(config)).collect();
    if configs.iter().any(|config| config.spec.images.is_empty()) {
        return Vec::new();
    }
    configs
        .iter()
        .flat_map(|config| &config.spec.images)
        .filter_map(|pattern| ImagePattern::parse(pattern).ok())
        .collect()
}

/// An object of a team's repository, read as generously as those who deploy it: `0644` and `yes` are none of our business,
/// and become text. Tags are: `!!binary` hides an image from whoever does not decode it. The error is the place of one.
fn as_deployed(node: Node<'_>) -> Result<Value, Span> {
    if !node.tag_fits() {
        return Err(node.span());
    }
    let text = node.scalar().map_or("", |(text, _)| text);
    Ok(match node.kind() {
        Kind::Null => Value::Null,
        Kind::Bool => text.starts_with(['t', 'T']).into(),
        Kind::Mapping => {
            let entries = node.entries().map(|entry| match entry.key.tag_fits() {
                true => Ok((entry.name().to_owned(), as_deployed(entry.value)?)),
                false => Err(entry.key.span()),
            });
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
        Kind::Sequence => Value::Array(node.items().map(as_deployed).collect::<Result<_, _>>()?),
        Kind::Text | Kind::Integer | Kind::Float | Kind::Disputed => text.into(),
    })
}

struct Judge<'a> {
    tenant: &'a TenantName,
    home: &'a str,
    scope: &'a Scope<'a>,
    policies: &'a PolicySet,
    facts: &'a Facts,
    narrowing: &'a [ImagePattern],
    roots: &'a charts::Roots,
}

#[derive(Default)]
struct JudgedFile {
    /// Findings, with the fields of policies that decided.
    findings: Vec<(Finding, Vec<PolicyField>)>,
    objects: Vec<Checked>,
    checked: usize,
    undetermined: bool,
}

impl JudgedFile {
    /// Notes a tag, which hides a value.
    fn tag(&mut self, shown: &str, place: Span) {
        let rule = Rule::InvalidValue;
        let message = "this tag makes another value of what is written here";
        let mut finding = Finding::new(Severity::Error, rule.id(), rule.title(), shown, message);
        finding.span = Some(finding_span(place));
        finding.help.push("write the value as plain text, without a tag".to_owned());
        self.findings.push((finding, Vec::new()));
    }

    /// Notes what is wrong with an object; what comes out for it then.
    fn note(
        &mut self,
        (shown, document, base): (&str, &Document<'_>, &str),
        id: &ObjectId,
        (exit, violation): (Exit, Violation),
        outcome: Outcome,
    ) -> Outcome {
        self.undetermined |= exit == Exit::CouldNotRun;
        let rule = violation.rule;
        let field = violation.field.into_owned();
        let mut finding = Finding::new(Severity::Error, rule.id(), rule.title(), shown, violation.message);
        finding.span = Some(finding_span(document.locate_nearest(&format!("{base}{field}")).place.highlight()));
        finding.object = Some(id.clone());
        finding.field = Some(field);
        finding.value = violation.value;
        finding.allowed = violation.allowed;
        finding.help = violation.help;
        finding.suggestion = violation.suggestion;
        self.findings.push((finding, violation.decided_by));
        match (exit, outcome) {
            (Exit::CouldNotRun, Outcome::Admitted | Outcome::Undecided) => Outcome::Undecided,
            _ => Outcome::Refused,
        }
    }
}

impl Judge<'_> {
    fn file(&self, file: &File, documents: &[Document<'_>]) -> JudgedFile {
        let shown = file.shown();
        let mut judged = JudgedFile::default();
        for document in documents {
            let root = document.root();
            self.chart_file(file, document, &mut judged);
            // kustomize lets its own file go without version and kind.
            let kustomization =
                shown.rsplit('/').next().is_some_and(|name| matches!(name, "kustomization.yaml" | "kustomization.yml"));
            if root.kind() != Kind::Mapping || (root.get("kind").is_none() && !kustomization) {
                continue;
            }
            match as_deployed(root) {
                Ok(mut object) => {
                    if object.get("kind").is_none() {
                        object["apiVersion"] = "kustomize.config.k8s.io/v1beta1".into();
                        object["kind"] = "Kustomization".into();
                    }
                    self.objects(shown, document, "", object, &mut judged);
                }
                Err(place) => judged.tag(shown, place),
            }
        }
        judged
    }

    /// An object, or those of a list: kubectl and Flux take every object with a list `items` for one, whatever its kind, and
    /// give the items a kind from the list's where they have none.
    fn objects(&self, shown: &str, document: &Document<'_>, base: &str, mut object: Value, judged: &mut JudgedFile) {
        let items = match object.get_mut("items") {
            Some(Value::Array(items)) => std::mem::take(items),
            _ => Vec::new(),
        };
        self.object(shown, document, base, &object, judged);
        let list_kind = object.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
        for (index, mut item) in items.into_iter().enumerate() {
            let named = item.get("kind").is_some() && item.get("apiVersion").is_some();
            if let (Some(fields), Some(kind), false) = (item.as_object_mut(), list_kind, named) {
                fields.insert("kind".to_owned(), kind.into());
                fields.insert("apiVersion".to_owned(), object.get("apiVersion").cloned().unwrap_or_default());
            }
            self.objects(shown, document, &format!("{base}items[{index}]."), item, judged);
        }
    }

    fn object(&self, shown: &str, document: &Document<'_>, base: &str, object: &Value, judged: &mut JudgedFile) {
        let found = reaches(object);
        if found.is_empty() {
            return;
        }
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let metadata = object.get("metadata");
        let id = ObjectId {
            kind: text(object.get("kind")).unwrap_or_default(),
            namespace: text(metadata.and_then(|metadata| metadata.get("namespace"))),
            name: text(metadata.and_then(|metadata| metadata.get("name"))).unwrap_or_default(),
        };
        let mut outcome = Outcome::Admitted;
        for reach in found {
            // What a source lacks is no image and no source of its own.
            judged.checked += usize::from(!matches!(reach, Reach::Bare { .. }));
            for (exit, mut violation) in self.violations(&reach) {
                if let Reach::Image { field, .. } | Reach::Source { field, .. } | Reach::Bare { field, .. } = &reach {
                    violation.field = field.clone().into();
                }
                outcome = judged.note((shown, document, base), &id, (exit, violation), outcome);
            }
        }
        let line = document.locate_nearest(base.trim_end_matches('.')).place.value.line as usize;
        judged.objects.push(Checked { object: id, path: shown.to_owned(), line, outcome });
    }

    fn violations(&self, reach: &Reach) -> Vec<(Exit, Violation)> {
        match reach {
            Reach::Forbidden(violation) => vec![(Exit::Violations, (**violation).clone())],
            Reach::Image { image, .. } => self.ask(Question::Pull { image, narrowing: self.narrowing }),
            Reach::Source { url, kind, .. } => self.ask(Question::Sync { url, kind: Some(*kind) }),
            Reach::Bare { lacks, .. } => self.ask(Question::Bare { lacks: *lacks }),
        }
    }

    /// What is wrong, once, however many clusters say so.
    fn ask(&self, question: Question<'_>) -> Vec<(Exit, Violation)> {
        let answers =
            ask(question, self.tenant, self.home, self.scope.cluster, self.scope.namespace, self.policies, self.facts);
        if answers.is_empty() {
            let message = format!("no policy gives tenant {} a destination on any cluster", self.tenant);
            return vec![(Exit::Violations, Violation::new(Rule::DestinationNotAllowed, "spec.cluster", message))];
        }
        let every = answers.len();
        let mut found: Vec<(Exit, Violation, Vec<String>)> = Vec::new();
        for (cluster, answer) in answers {
            let (exit, violation) = match answer {
                Answer::Yes(_) => continue,
                Answer::No(violation) => (Exit::Violations, *violation),
                Answer::Unknown(violation) => (Exit::CouldNotRun, *violation),
            };
            match found
                .iter_mut()
                .find(|(_, known, _)| known.rule == violation.rule && known.message == violation.message)
            {
                Some((_, _, clusters)) => clusters.push(cluster),
                None => found.push((exit, violation, vec![cluster])),
            }
        }
        found
            .into_iter()
            .map(|(exit, mut violation, clusters)| {
                if clusters.len() < every {
                    violation.message = format!("{} (on {})", violation.message, clusters.join(", "));
                }
                (exit, violation)
            })
            .collect()
    }
}
