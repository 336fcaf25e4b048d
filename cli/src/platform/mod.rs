//! The platform repository: its files as objects, judged by the engine.
//!
//! Calls go one way: [`Platform::load`] reads files into objects with places (`document`), [`Platform::judge`] gives the
//! engine its policies and facts and asks for every verdict (`judge`), and `locate` turns violations into findings with
//! line and column. What lives elsewhere: reading and parsing ([`manifest`](crate::manifest)), deciding
//! (`sluicegate_policy`), writing reports ([`report`](crate::report)).

mod document;
mod judge;
mod locate;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use sluicegate_crds::{FluxCluster, FluxConfig, FluxPolicy};
use sluicegate_policy::Labels;

use crate::{
    manifest::{
        files::{self, CollectError, File, FileProblem, Options},
        yaml::{Document, YamlError},
    },
    progress::Progress,
    report::{Finding, ObjectId, PassedOver, Severity},
};

pub use document::decode_config;
pub(crate) use document::span as finding_span;
pub use judge::{Judged, JudgedConfig, Keep};
pub use locate::{SourceTexts, located_policy_field, policy_fields};

/// Bytes of files that are kept in memory, over all files.
const KEPT_TEXTS: usize = 16 << 20;

/// What to read, and as what.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Files and folders that are judged.
    pub paths: Vec<PathBuf>,
    /// Files and folders that only give policies, clusters and namespaces, and FluxConfigs of others.
    pub context: Vec<PathBuf>,
    /// Globs of what is left out.
    pub exclude: Vec<String>,
    /// Whether progress may be shown.
    pub progress: bool,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Index in [`Platform::files`].
    pub file: u32,
    /// Number of the document in the file, counted from 0.
    pub document: u32,
    /// Path of the object in the document: empty, or `items[3]` in a `List`.
    pub base: Box<str>,
    /// Line of the object, counted from 1.
    pub line: u32,
}

/// An object and where it stands.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The object; in a box, since lists of ten thousand are moved and grow.
    pub object: Box<T>,
    /// Where it stands.
    pub at: At,
    /// It was read, but something in it is wrong that is reported already (an unknown field).
    pub flawed: bool,
}

/// A policy as it was read.
#[derive(Clone, Debug)]
pub enum ReadPolicy {
    /// It decodes.
    Decoded(Box<FluxPolicy>),
    /// It does not; its name, and that it exists, are all that is known.
    Unreadable(String),
}

/// A Namespace of the management cluster.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
}

/// The objects of one or more folders.
#[derive(Debug, Default)]
pub struct Platform {
    /// The files, sorted by the path that is shown; those of the context come last.
    pub files: Vec<File>,
    /// From this index on files are context.
    pub context_from: u32,
    /// Texts of files with FluxConfigs, in the order of [`Platform::files`], so that what is found in them can be shown without
    /// reading them again; absent for other files, and for all from [`KEPT_TEXTS`] bytes on.
    texts: Vec<Option<Box<str>>>,
    /// Teams' FluxConfigs.
    pub configs: Vec<Located<FluxConfig>>,
    /// Policies.
    pub policies: Vec<Located<ReadPolicy>>,
    /// Clusters.
    pub clusters: Vec<Located<FluxCluster>>,
    /// Namespaces of the management cluster.
    pub namespaces: Vec<Located<Namespace>>,
    /// FluxConfigs and FluxClusters that do not decode: what they are, and where.
    pub undecoded: Vec<(ObjectId, At)>,
    /// What is wrong with the files themselves.
    pub findings: Vec<Finding>,
    /// Whether something could not be read at all.
    pub unreadable: bool,
    /// What was passed over.
    pub passed_over: Vec<PassedOver>,
}

impl Platform {
    /// Reads the files.
    ///
    /// # Errors
    /// Only where nothing could be looked for; what is wrong with single files is in [`Platform::findings`].
    pub fn load(request: &Request) -> Result<Self, CollectError> {
        Self::load_keeping(request, KEPT_TEXTS)
    }

    /// As [`Platform::load`], with at most so many bytes of texts kept.
    fn load_keeping(request: &Request, most: usize) -> Result<Self, CollectError> {
        let options = Options { exclude: request.exclude.clone(), ..Options::default() };
        let judged = files::collect(&request.paths, &options)?;
        let context = files::collect(&request.context, &options)?;
        let mut platform = Self { files: judged.files, ..Self::default() };
        platform.context_from = index(platform.files.len());
        if !context.files.is_empty() {
            let known: HashSet<Option<PathBuf>> = platform.files.iter().map(canonical).collect();
            platform.files.extend(
                context.files.into_iter().filter(|file| file.path().is_none() || !known.contains(&canonical(file))),
            );
        }
        for problem in judged.problems.iter().chain(&context.problems) {
            platform.unreadable = true;
            platform.findings.push(unreadable(problem));
        }
        let progress = Progress::start(platform.files.len(), "reading files", request.progress);
        let kept = AtomicUsize::new(0);
        let read = |part: &mut Part, file: &File, text: &str, documents: Result<Vec<Document<'_>>, YamlError>| {
            progress.step();
            // Not by the path that is shown: `-` may be the standard input and a file.
            let number = platform.files.element_offset(file).map_or(u32::MAX, index);
            let before = part.loaded.configs.len();
            document::read(&mut part.loaded, file.shown(), number, text, documents);
            let keep = part.loaded.configs.len() > before
                && kept.fetch_add(text.len(), Ordering::Relaxed) < most.saturating_sub(text.len());
            part.texts.push(keep.then(|| Box::from(text)));
        };
        let problem = |part: &mut Part, problem: FileProblem| {
            part.texts.push(None);
            part.unreadable = true;
            part.loaded.findings.push(unreadable(&problem));
        };
        let parts = files::fold_parsed(&platform.files, &options.limits, read, problem);
        drop(progress);
        // Nearly every file holds one FluxConfig.
        platform.texts.reserve_exact(platform.files.len());
        platform.configs.reserve_exact(platform.files.len());
        let mut other_objects = 0;
        let mut other_documents = 0;
        for Part { loaded, texts, unreadable } in parts {
            platform.texts.extend(texts);
            platform.unreadable |= unreadable;
            let document::Loaded { configs, policies, clusters, namespaces, undecoded, findings, others, foreign } =
                loaded;
            platform.configs.extend(configs);
            platform.policies.extend(policies);
            platform.clusters.extend(clusters);
            platform.namespaces.extend(namespaces);
            platform.undecoded.extend(undecoded);
            platform.findings.extend(findings);
            other_objects += others;
            other_documents += foreign;
        }
        let helm = judged.passed_over.helm_templates.len() + context.passed_over.helm_templates.len();
        let linked = judged.passed_over.linked_folders.len() + context.passed_over.linked_folders.len();
        platform.passed_over = [
            ("other Kubernetes object", "other Kubernetes objects", other_objects),
            ("document that is no Kubernetes object", "documents that are no Kubernetes objects", other_documents),
            ("folder of Helm templates", "folders of Helm templates", helm),
            ("link to a folder", "links to folders", linked),
        ]
        .into_iter()
        .map(|(one, many, count)| PassedOver { reason: if count == 1 { one } else { many }.into(), count })
        .filter(|entry| entry.count > 0)
        .collect();
        Ok(platform)
    }

    /// Whether there is nothing of Sluicegate's in the files that are judged.
    pub fn is_empty(&self) -> bool {
        let judged = |at: &At| !self.is_context(at);
        !self.configs.iter().any(|object| judged(&object.at))
            && !self.policies.iter().any(|object| judged(&object.at))
            && !self.clusters.iter().any(|object| judged(&object.at))
            && !self.undecoded.iter().any(|(_, at)| judged(at))
    }

    /// Whether an object stands in a file that only gives context.
    pub fn is_context(&self, at: &At) -> bool {
        at.file >= self.context_from
    }

    /// Path of a file as it is shown.
    pub fn shown(&self, at: &At) -> &str {
        self.files.get(at.file as usize).map_or("", File::shown)
    }
}

/// What a few files hold, in their order.
#[derive(Default)]
struct Part {
    loaded: document::Loaded,
    texts: Vec<Option<Box<str>>>,
    unreadable: bool,
}

fn unreadable(problem: &FileProblem) -> Finding {
    let rule = sluicegate_policy::Rule::UnreadableFile;
    let mut finding =
        Finding::new(Severity::Error, rule.id(), rule.title(), problem.file.clone(), problem.kind.to_string());
    finding.help.push("make it readable, or leave it out with --exclude".to_owned());
    finding
}

fn canonical(file: &File) -> Option<PathBuf> {
    file.path().map(|path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()))
}

/// An index or count as it is kept: a list longer than `u32` can say does not fit into memory.
fn index(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::report::{Report, human};

    /// A platform with one policy and FluxConfigs that it refuses.
    fn write(folder: &Path) {
        let policy = "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxPolicy\nmetadata: {name: teams}\nspec:\n  tenants: {names: [\"*\"]}\n  \
                      sources: {git: {allow: [\"https://git.example.com/${tenant}/**\"]}}\n  defaults: {cluster: prod, \
                      namespace: \"${tenant}\", ref: {branch: main}}\n  destinations: [{clusters: [prod], namespaces: \
                      [\"${tenant}\"]}]\n";
        let cluster = "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxCluster\nmetadata: {name: prod}\nspec: {connection: \
                       {inCluster: {}}}\n";
        fs::write(folder.join("policy.yaml"), policy).unwrap();
        fs::write(folder.join("cluster.yaml"), cluster).unwrap();
        for number in 0..40 {
            let config = format!(
                "apiVersion: sluicegate.dev/v1alpha1\nkind: FluxConfig\nmetadata: {{name: app-{number}, namespace: team-a}}\n\
                 spec: {{source: {{url: \"https://git.example.com/team-b/app-{number}\"}}}}\n"
            );
            fs::write(folder.join(format!("app-{number}.yaml")), config).unwrap();
        }
    }

    fn kept(platform: &Platform) -> usize {
        platform.texts.iter().flatten().map(|text| text.len()).sum()
    }

    /// What `check` would write.
    fn shown(platform: &Platform) -> String {
        let judged = platform.judge(Keep::Outcome, false);
        let texts = SourceTexts::of(platform);
        let mut out = Vec::new();
        let report = Report::new(judged.findings, judged.checked);
        human::write(&report, &|path| texts.get(path), human::Options::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn keeps_no_more_texts_than_it_may_and_shows_the_same() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let request = Request { paths: vec![folder.path().to_owned()], ..Request::default() };
        let all = Platform::load(&request).unwrap();
        let expected = shown(&all);
        assert_eq!(expected.matches("error[source-not-allowed]").count(), 40, "{expected}");
        assert!(expected.contains("https://git.example.com/team-b/app-39\""), "{expected}");
        let size = kept(&all);
        let configs = all.texts.iter().flatten().count();
        assert_eq!(configs, 40, "the files with FluxConfigs, and no others");
        for most in [0, 1, size / 3, size - 1, size] {
            let some = Platform::load_keeping(&request, most).unwrap();
            assert!(kept(&some) <= most, "{} of {most}", kept(&some));
            assert_eq!(shown(&some), expected, "{most}");
        }
        assert!(kept(&Platform::load_keeping(&request, size / 3).unwrap()) > 0);
    }
}
