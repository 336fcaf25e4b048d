//! Which files are read, and reading them.
//!
//! [`collect`] turns what the user named into a list that does not depend on the machine:
//! sorted, each file once, the same for any number of threads. [`for_each_parsed`] and
//! [`fold_parsed`] read and parse them in parallel and keep nothing but what the caller makes
//! of each.
//!
//! In folders only `.yaml`, `.yml` and `.json` files count, and those of a chart that a caller asks for. Left out are what `.gitignore`
//! files name (in a git checkout or not), hidden folders, the `templates` of Helm charts,
//! which are not YAML, and links to folders: what they lead to is found where it is, or is
//! none of this tree's business. Files whose name begins with a dot are read: `kubectl apply`
//! would take them, and a check that passes over what is deployed is none. A path that the
//! user names is read whatever it is called.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use ignore::{DirEntry, WalkBuilder, WalkState};
use rayon::iter::ParallelIterator as _;
use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::yaml::{Document, Limits, YamlError, decode_text, parse_decoded};

/// What to leave out.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Globs in the notation of `.gitignore`, matched against the paths as they are shown.
    pub exclude: Vec<String>,
    /// How large a file may be.
    pub limits: Limits,
    /// Names of files that count where a `Chart.yaml` is beside them, such as `Chart.lock`: elsewhere other tools have files of
    /// these names, which are not YAML.
    pub also: &'static [&'static str],
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    shown: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Path(PathBuf),
    /// What came from the standard input, which can be read only once.
    Input(Vec<u8>),
}

/// The files that were found, and what stood in the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSet {
    /// The files, sorted by the path that is shown.
    pub files: Vec<File>,
    /// What could not be looked at, sorted likewise. A caller that answers for all files
    /// must not answer while there are any.
    pub problems: Vec<FileProblem>,
    /// What was left out without being asked to.
    pub passed_over: PassedOver,
}

/// What was left out without being asked to, as paths, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// `templates` folders of Helm charts.
    pub helm_templates: Vec<String>,
    /// Links to folders.
    pub linked_folders: Vec<String>,
    /// Archives in the folder `charts` of a Helm chart.
    pub packed_charts: Vec<String>,
}

/// A path that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {kind}")]
pub struct FileProblem {
    /// The path as it is shown.
    pub file: String,
    /// What is wrong with it.
    pub kind: FileProblemKind,
}

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblemKind {
    /// Nothing is there.
    #[error("there is no such file or folder")]
    NotFound,
    /// It was there a moment ago.
    #[error("was removed while it was about to be read")]
    Vanished,
    /// The system refuses.
    #[error("may not be read: permission denied")]
    Denied,
    /// A link to nothing.
    #[error("is a link to something that does not exist")]
    BrokenLink,
    /// A link that leads back to itself.
    #[error("is a link that leads back to itself")]
    LinkLoop,
    /// A link out of every folder that was named.
    #[error("is a link out of the folders that are read; name its target {target} as well to read it")]
    OutsideLink {
        /// Where it leads.
        target: String,
    },
    /// A socket, a pipe, a device.
    #[error("is {what}, not a file")]
    NotAFile {
        /// "a socket", "a named pipe", "a device".
        what: &'static str,
    },
    /// More bytes than allowed.
    #[error("has more than {limit} bytes, the most that is read")]
    TooLarge {
        /// [`Limits::bytes`].
        limit: usize,
    },
    /// Anything else that the system says.
    #[error("cannot be read: {0}")]
    Io(String),
}

/// Why nothing was looked for at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A glob of [`Options::exclude`] is none.
    #[error("`{glob}` is not a glob")]
    Glob {
        /// The glob.
        glob: String,
        /// What is wrong with it.
        source: ignore::Error,
    },
}

impl File {
    /// The path for people: as the user gave it, with `/`, `-` for the standard input.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The path on disk; none for the standard input.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Path(path) => Some(path),
            Source::Input(_) => None,
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// What the system says, and a file that is larger than `limits` allow.
    pub fn read(&self, limits: &Limits) -> Result<Cow<'_, [u8]>, FileProblem> {
        match &self.source {
            Source::Input(bytes) => Ok(Cow::Borrowed(bytes)),
            Source::Path(_) => {
                let mut bytes = Vec::new();
                self.read_into(&mut bytes, limits)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    fn read_into(&self, bytes: &mut Vec<u8>, limits: &Limits) -> Result<(), FileProblem> {
        bytes.clear();
        let path = match &self.source {
            Source::Input(input) => {
                bytes.extend_from_slice(input);
                return Ok(());
            }
            Source::Path(path) => path,
        };
        let file = fs::File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => self.problem(FileProblemKind::Vanished),
            _ => self.problem(system(&error)),
        })?;
        read_bounded(file, bytes, limits).map_err(|kind| self.problem(kind))
    }

    /// Paths that are shown alike, which only bytes that are not UTF-8 can be, stand in the order of their bytes.
    fn order(&self) -> impl Ord + '_ {
        (self.shown.as_str(), self.path().map(Path::as_os_str))
    }

    fn problem(&self, kind: FileProblemKind) -> FileProblem {
        FileProblem { file: self.shown.clone(), kind }
    }
}

fn read_bounded(source: impl io::Read, bytes: &mut Vec<u8>, limits: &Limits) -> Result<(), FileProblemKind> {
    let limit = limits.bytes;
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    source.take(most).read_to_end(bytes).map_err(|error| system(&error))?;
    if bytes.len() > limit {
        return Err(FileProblemKind::TooLarge { limit });
    }
    Ok(())
}

fn system(error: &io::Error) -> FileProblemKind {
    match error.kind() {
        io::ErrorKind::NotFound => FileProblemKind::NotFound,
        io::ErrorKind::PermissionDenied => FileProblemKind::Denied,
        _ => FileProblemKind::Io(error.to_string()),
    }
}

/// Reads and parses every file in parallel; returns what `work` makes of each, in the order
/// of `files`. Text and documents live only as long as `work` runs; of a file that is not
/// YAML it is given the error, and of one that is not UTF-8 a text with replacements.
///
/// # Errors
/// One for each file that cannot be read, in its place in the list.
pub fn for_each_parsed<T, F>(files: &[File], limits: &Limits, work: F) -> Vec<Result<T, FileProblem>>
where
    T: Send,
    F: Fn(&File, &str, Result<Vec<Document<'_>>, YamlError>) -> T + Sync,
{
    let one = |bytes: &mut Vec<u8>, file| parsed(file, bytes, limits, |text, documents| work(file, text, documents));
    files.par_iter().with_min_len(8).map_init(|| Vec::with_capacity(8 << 10), one).collect()
}

/// Files that are read into one collection by [`fold_parsed`].
const FOLDED: usize = 32;

/// As [`for_each_parsed`], into collections of what a few files hold each, in the order of `files`: to hand over ten thousand
/// lists with one object each from thread to thread costs more than to read them.
pub fn fold_parsed<T, F, P>(files: &[File], limits: &Limits, work: F, problem: P) -> Vec<T>
where
    T: Default + Send,
    F: Fn(&mut T, &File, &str, Result<Vec<Document<'_>>, YamlError>) + Sync,
    P: Fn(&mut T, FileProblem) + Sync,
{
    let some = |bytes: &mut Vec<u8>, files: &[File]| {
        let mut made = T::default();
        for file in files {
            let done = parsed(file, bytes, limits, |text, documents| work(&mut made, file, text, documents));
            if let Err(found) = done {
                problem(&mut made, found);
            }
        }
        made
    };
    files.par_chunks(FOLDED).map_init(|| Vec::with_capacity(8 << 10), some).collect()
}

/// Reads and parses one file.
fn parsed<T>(
    file: &File,
    bytes: &mut Vec<u8>,
    limits: &Limits,
    work: impl FnOnce(&str, Result<Vec<Document<'_>>, YamlError>) -> T,
) -> Result<T, FileProblem> {
    file.read_into(bytes, limits)?;
    let made = match decode_text(bytes, limits) {
        Ok(text) => work(text, parse_decoded(text, limits)),
        Err(error) => work(&String::from_utf8_lossy(bytes), Err(error)),
    };
    // One large file must not make every later one as expensive in memory.
    if bytes.capacity() > 1 << 20 {
        *bytes = Vec::new();
    }
    Ok(made)
}

/// Finds the files that `paths` mean: files, folders, and `-` for the standard input.
///
/// # Errors
/// Only what makes looking pointless; what is wrong with single paths is in
/// [`FileSet::problems`].
pub fn collect(paths: &[PathBuf], options: &Options) -> Result<FileSet, CollectError> {
    let exclude = Arc::new(globs(&options.exclude)?);
    let mut finds = Finds::default();
    let mut roots = Vec::new();
    let mut set = FileSet::default();
    for path in paths {
        if path.as_os_str() == "-" {
            if set.files.is_empty() {
                let mut bytes = Vec::new();
                match read_bounded(io::stdin().lock(), &mut bytes, &options.limits) {
                    Ok(()) => set.files.push(File { shown: "-".to_owned(), source: Source::Input(bytes) }),
                    Err(kind) => finds.problem("-".to_owned(), kind),
                }
            }
            continue;
        }
        if excluded_itself(&exclude, path) {
            continue;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                walk(path, roots.len(), (&exclude, options.also), &mut finds);
                roots.push(Root { path, real });
            }
            Ok(metadata) => match refuse_special(&metadata, path) {
                Some(kind) => finds.problem(show(path), kind),
                None => finds.found.push(Find::at(path.clone(), fs::canonicalize(path).ok(), false)),
            },
            Err(error) => {
                let kind = if path.is_symlink() { broken(&error) } else { system(&error) };
                finds.problem(show(path), kind);
            }
        }
    }
    finds.finish(&roots, &mut set);
    Ok(set)
}

fn globs(exclude: &[String]) -> Result<Gitignore, CollectError> {
    let mut builder = GitignoreBuilder::new("");
    let fail = |glob: &str, source| CollectError::Glob { glob: glob.to_owned(), source };
    for glob in exclude {
        builder.add_line(None, glob).map_err(|source| fail(glob, source))?;
    }
    builder.build().map_err(|source| fail(&exclude.join(" "), source))
}

/// Whether a path that the user named is excluded, by itself or by a folder above it.
fn excluded_itself(exclude: &Gitignore, path: &Path) -> bool {
    let shown = PathBuf::from(show(path));
    shown
        .ancestors()
        .filter(|part| !part.as_os_str().is_empty())
        .any(|part| exclude.matched(part, part != shown).is_ignore() || exclude.matched(part, true).is_ignore())
}

/// The path as it is shown: with `/`, without `./` in front, bytes that are not UTF-8 spelt out, so that two
/// files never look like one.
fn show(path: &Path) -> String {
    // Nearly every path needs no more than this.
    if let Some(text) = path.to_str().filter(|_| std::path::MAIN_SEPARATOR == '/') {
        let text = text.strip_prefix("./").unwrap_or(text);
        if !text.is_empty()
            && text != "."
            && !text.contains("//")
            && !text.contains("/.")
            && !text.ends_with('/')
            && !text.starts_with("./")
        {
            return text.to_owned();
        }
    }
    let shown: PathBuf = path.components().filter(|component| !matches!(component, Component::CurDir)).collect();
    let mut text = String::new();
    for chunk in shown.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    if text.is_empty() {
        return ".".to_owned();
    }
    if std::path::MAIN_SEPARATOR == '/' { text } else { text.replace(std::path::MAIN_SEPARATOR, "/") }
}

/// What is found on the way.
#[derive(Debug, Default)]
struct Finds {
    found: Vec<Find>,
    problems: Vec<FileProblem>,
    passed_over: PassedOver,
}

/// A folder that the user named.
#[derive(Debug)]
struct Root<'p> {
    path: &'p Path,
    /// The path without links.
    real: PathBuf,
}

#[derive(Debug)]
struct Find {
    file: File,
    place: FindPlace,
}

#[derive(Debug)]
enum FindPlace {
    /// In the folder of that number, without a link on the way.
    Below(usize),
    /// Where the path without links says.
    At {
        real: PathBuf,
        /// Whether it is a link in a folder, which may only lead to where files are read anyway.
        linked: bool,
    },
}

impl Find {
    fn new(path: PathBuf, place: FindPlace) -> Self {
        Self { file: File { shown: show(&path), source: Source::Path(path) }, place }
    }

    fn at(path: PathBuf, real: Option<PathBuf>, linked: bool) -> Self {
        let real = real.unwrap_or_else(|| path.clone());
        Self::new(path, FindPlace::At { real, linked })
    }

    fn path(&self) -> &Path {
        self.file.path().unwrap_or(Path::new(""))
    }

    fn is_linked(&self) -> bool {
        matches!(self.place, FindPlace::At { linked: true, .. })
    }

    /// The path without links: what tells whether two finds are one file.
    fn real(&self, roots: &[Root<'_>]) -> PathBuf {
        match &self.place {
            FindPlace::Below(root) => {
                let Root { path, real } = &roots[*root];
                real.join(self.path().strip_prefix(path).unwrap_or(self.path()))
            }
            FindPlace::At { real, .. } => real.clone(),
        }
    }
}

impl Finds {
    fn problem(&mut self, file: String, kind: FileProblemKind) {
        self.problems.push(FileProblem { file, kind });
    }

    /// Sorts, takes each file once, and judges the links.
    fn finish(mut self, roots: &[Root<'_>], set: &mut FileSet) {
        let found = std::mem::take(&mut self.found);
        // In one folder without links every path is another file: so it nearly always is, and then nothing need be looked up.
        let plain = roots.len() == 1 && found.iter().all(|find| matches!(find.place, FindPlace::Below(_)));
        if plain {
            set.files.extend(found.into_iter().map(|find| find.file));
            set.files.par_sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        } else {
            self.take_once(found, roots, set);
            set.files.sort_by(|a, b| a.shown.cmp(&b.shown));
        }
        self.problems.sort_by(|a, b| a.file.cmp(&b.file));
        self.problems.dedup();
        set.problems = self.problems;
        let PassedOver { helm_templates, linked_folders, packed_charts } = &mut self.passed_over;
        for list in [helm_templates, linked_folders, packed_charts] {
            list.sort();
            list.dedup();
        }
        set.passed_over = self.passed_over;
    }

    fn take_once(&mut self, mut found: Vec<Find>, roots: &[Root<'_>], set: &mut FileSet) {
        // A file's own name comes before any link to it, so what links lead to has been seen when they come. Paths are compared
        // and hashed as bytes: component by component costs several times as much.
        found
            .sort_unstable_by(|a, b| (a.is_linked(), a.path().as_os_str()).cmp(&(b.is_linked(), b.path().as_os_str())));
        let mut seen: HashSet<OsString> = HashSet::with_capacity(found.len());
        for find in found {
            let real = find.real(roots);
            let inside = || seen.contains(real.as_os_str()) || roots.iter().any(|root| real.starts_with(&root.real));
            if find.is_linked() && !inside() {
                let kind = FileProblemKind::OutsideLink { target: show(&real) };
                self.problems.push(FileProblem { file: find.file.shown, kind });
                continue;
            }
            if seen.insert(real.into_os_string()) {
                set.files.push(find.file);
            }
        }
    }
}

/// Finds the files below the folder `root`, which is the one of that number.
fn walk(root: &Path, number: usize, (exclude, also): (&Arc<Gitignore>, &'static [&'static str]), finds: &mut Finds) {
    let shared = Arc::new(Mutex::new(std::mem::take(finds)));
    let filter = {
        let shared = Arc::clone(&shared);
        let exclude = Arc::clone(exclude);
        move |entry: &DirEntry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            if entry.depth() == 0 {
                return true;
            }
            if !exclude.is_empty() && exclude.matched(show(entry.path()), is_folder).is_ignore() {
                return false;
            }
            if !is_folder {
                return true;
            }
            if is_helm_templates(entry.path()) {
                lock(&shared).passed_over.helm_templates.push(show(entry.path()));
                return false;
            }
            !entry.file_name().as_encoded_bytes().starts_with(b".")
        }
    };
    WalkBuilder::new(root)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .git_exclude(false)
        .git_ignore(true)
        .require_git(false)
        .parents(true)
        .follow_links(false)
        .threads(rayon::current_num_threads().min(8))
        .filter_entry(filter)
        .build_parallel()
        .run(|| {
            let shared = Arc::clone(&shared);
            Box::new(move |entry| {
                look_at(entry, (root, number), also, &shared);
                WalkState::Continue
            })
        });
    *finds = std::mem::take(&mut *lock(&shared));
}

/// A panic elsewhere does not make what was found less true.
fn lock(shared: &Mutex<Finds>) -> std::sync::MutexGuard<'_, Finds> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_at(
    entry: Result<DirEntry, ignore::Error>,
    (root, number): (&Path, usize),
    also: &[&str],
    shared: &Mutex<Finds>,
) {
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => {
            let path = path_of(&error).map_or_else(|| show(root), show);
            let kind = match error.io_error() {
                Some(io) if io.kind() == io::ErrorKind::NotFound => FileProblemKind::Vanished,
                Some(io) => system(io),
                None => FileProblemKind::Io(error.to_string()),
            };
            lock(shared).problem(path, kind);
            return;
        }
    };
    let Some(kind) = entry.file_type() else {
        return;
    };
    let path = entry.path();
    if kind.is_dir() {
        return;
    }
    if is_packed_chart(path) {
        lock(shared).passed_over.packed_charts.push(show(path));
        return;
    }
    if kind.is_symlink() {
        look_at_link(path, also, shared);
        return;
    }
    if !counts(path, also) {
        return;
    }
    if let Some(what) = special(kind) {
        lock(shared).problem(show(path), FileProblemKind::NotAFile { what });
        return;
    }
    let find = Find::new(entry.into_path(), FindPlace::Below(number));
    lock(shared).found.push(find);
}

fn look_at_link(path: &Path, also: &[&str], shared: &Mutex<Finds>) {
    let target = fs::metadata(path);
    match target {
        Ok(metadata) if metadata.is_dir() => {
            lock(shared).passed_over.linked_folders.push(show(path));
        }
        _ if !counts(path, also) => {}
        Ok(metadata) => match refuse_special(&metadata, path) {
            Some(kind) => lock(shared).problem(show(path), kind),
            None => match fs::canonicalize(path) {
                Ok(real) => lock(shared).found.push(Find::at(path.to_owned(), Some(real), true)),
                Err(error) => lock(shared).problem(show(path), broken(&error)),
            },
        },
        Err(error) => lock(shared).problem(show(path), broken(&error)),
    }
}

/// What is wrong with a link that cannot be followed.
fn broken(error: &io::Error) -> FileProblemKind {
    match error.kind() {
        io::ErrorKind::NotFound => FileProblemKind::BrokenLink,
        io::ErrorKind::PermissionDenied => FileProblemKind::Denied,
        _ => FileProblemKind::LinkLoop,
    }
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => path_of(err),
        ignore::Error::Loop { child, .. } => Some(child),
        _ => None,
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

fn counts(path: &Path, also: &[&str]) -> bool {
    is_manifest(path)
        || (path.file_name().is_some_and(|name| also.iter().any(|also| name == *also))
            && path.parent().is_some_and(|folder| folder.join("Chart.yaml").is_file()))
}

/// What Helm takes for a chart that was fetched before.
fn is_packed_chart(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "tgz")
        && path.parent().is_some_and(|folder| {
            folder.file_name().is_some_and(|name| name == "charts")
                && folder.parent().is_some_and(|chart| chart.join("Chart.yaml").is_file())
        })
}

fn is_helm_templates(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == "templates")
        && folder.parent().is_some_and(|chart| chart.join("Chart.yaml").is_file())
}

/// Sockets, pipes and devices cannot be read twice, or ever end. What a shell passes as
/// `<(command)` is a pipe too, but one that the user wrote there on purpose.
fn refuse_special(metadata: &Metadata, path: &Path) -> Option<FileProblemKind> {
    let what = special(metadata.file_type())?;
    let substituted = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    (!substituted || what != PIPE).then_some(FileProblemKind::NotAFile { what })
}

const PIPE: &str = "a named pipe";

#[cfg(unix)]
fn special(kind: FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_socket() {
        Some("a socket")
    } else if kind.is_fifo() {
        Some(PIPE)
    } else if kind.is_block_device() || kind.is_char_device() {
        Some("a device")
    } else {
        None
    }
}

#[cfg(not(unix))]
fn special(kind: FileType) -> Option<&'static str> {
    let _ = PIPE;
    (!kind.is_file() && !kind.is_dir()).then_some("neither a file nor a folder")
}
