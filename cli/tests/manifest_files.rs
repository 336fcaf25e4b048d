//! Which files `manifest::files` finds, and how it reads them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use sluicegate_cli::manifest::files::{CollectError, FileProblemKind, FileSet, Options, collect, for_each_parsed};
use sluicegate_cli::manifest::yaml::{Limits, YamlErrorKind};
use tempfile::TempDir;

/// A folder with these files, each holding its own name.
fn tree(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        write(folder.path(), file, &format!("name: {file:?}\n"));
    }
    folder
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn find(folder: &TempDir, paths: &[&str], exclude: &[&str]) -> FileSet {
    let paths: Vec<PathBuf> = paths.iter().map(|path| folder.path().join(path)).collect();
    let options = Options { exclude: exclude.iter().map(|glob| (*glob).to_owned()).collect(), ..Options::default() };
    collect(&paths, &options).unwrap()
}

/// The paths of the set, without the temporary folder.
fn shown(folder: &TempDir, set: &FileSet) -> Vec<String> {
    set.files.iter().map(|file| below(folder, file.shown())).collect()
}

fn below(folder: &TempDir, path: &str) -> String {
    path.strip_prefix(&format!("{}/", folder.path().display())).unwrap_or(path).to_owned()
}

fn problems(folder: &TempDir, set: &FileSet) -> Vec<(String, FileProblemKind)> {
    set.problems.iter().map(|problem| (below(folder, &problem.file), problem.kind.clone())).collect()
}

#[test]
fn takes_manifests_in_folders_and_any_file_that_is_named() {
    let folder = tree(&[
        "b/z.yaml",
        "b/a.yml",
        "b/c.json",
        "b/notes.md",
        "b/yaml",
        "a-b.yaml",
        "a/b.yaml",
        ".hidden.yaml",
        ".git/config.yaml",
        ".github/workflow.yaml",
        "named.txt",
    ]);
    assert_eq!(
        shown(&folder, &find(&folder, &["."], &[])),
        [".hidden.yaml", "a-b.yaml", "a/b.yaml", "b/a.yml", "b/c.json", "b/z.yaml"]
    );
    assert_eq!(shown(&folder, &find(&folder, &["named.txt", ".github"], &[])), [".github/workflow.yaml", "named.txt"]);
}

#[test]
fn reads_a_file_once_however_often_it_is_named() {
    let folder = tree(&["a/b/c.yaml", "a/d.yaml"]);
    symlink(folder.path().join("a/d.yaml"), folder.path().join("a/l.yaml")).unwrap();
    symlink(folder.path().join("a"), folder.path().join("link")).unwrap();
    for paths in [&["a", "a/b", "a/b/c.yaml", "a/d.yaml", "a/../a"][..], &["a"], &["a/l.yaml", "a"], &["a", "link"]] {
        let set = find(&folder, paths, &[]);
        assert_eq!(set.files.len(), 2, "{paths:?}: {set:?}");
        assert_eq!(set.problems, [], "{paths:?}");
    }
    assert_eq!(shown(&folder, &find(&folder, &["a/b", "a"], &[])), ["a/b/c.yaml", "a/d.yaml"]);
    assert_eq!(shown(&folder, &find(&folder, &["a/l.yaml"], &[])), ["a/l.yaml"]);
}

#[test]
fn leaves_out_what_gitignore_names_outside_of_a_checkout_too() {
    let folder = tree(&["keep.yaml", "drop.yaml", "sub/keep.yaml", "sub/local.yaml", "build/out.yaml"]);
    write(folder.path(), ".gitignore", "drop.yaml\n/build/\n");
    write(folder.path(), "sub/.gitignore", "local.yaml\n");
    write(folder.path(), ".ignore", "keep.yaml\n");
    assert!(!folder.path().join(".git").exists());
    assert_eq!(shown(&folder, &find(&folder, &["."], &[])), ["keep.yaml", "sub/keep.yaml"]);
    assert_eq!(shown(&folder, &find(&folder, &["drop.yaml"], &[])), ["drop.yaml"]);
}

#[test]
fn leaves_out_what_the_user_excludes() {
    let folder = tree(&["a.yaml", "vendor/b.yaml", "x/vendor/c.yaml", "x/d.test.yaml", "x/e.yaml"]);
    let set = find(&folder, &["."], &["vendor/", "*.test.yaml"]);
    assert_eq!(shown(&folder, &set), ["a.yaml", "x/e.yaml"]);
    let set = find(&folder, &["x/vendor/c.yaml", "a.yaml"], &["vendor"]);
    assert_eq!(shown(&folder, &set), ["a.yaml"]);
    let set = find(&folder, &["x/vendor"], &["**/vendor/**"]);
    assert_eq!(set.files, []);

    let options = Options { exclude: vec!["a{b".to_owned()], ..Options::default() };
    let error = collect(&[], &options).unwrap_err();
    assert!(matches!(&error, CollectError::Glob { glob, .. } if glob == "a{b"));
    assert_eq!(error.to_string(), "`a{b` is not a glob");
}

#[test]
fn passes_over_the_templates_of_helm_charts_and_says_so() {
    let folder = tree(&[
        "charts/shop/Chart.yaml",
        "charts/shop/values.yaml",
        "charts/shop/templates/deployment.yaml",
        "charts/shop/templates/tests/test.yaml",
        "charts/shop/charts/db/Chart.yaml",
        "charts/shop/charts/db/templates/db.yaml",
        "plain/templates/a.yaml",
    ]);
    let set = find(&folder, &["."], &[]);
    assert_eq!(
        shown(&folder, &set),
        [
            "charts/shop/Chart.yaml",
            "charts/shop/charts/db/Chart.yaml",
            "charts/shop/values.yaml",
            "plain/templates/a.yaml"
        ]
    );
    let passed: Vec<String> = set.passed_over.helm_templates.iter().map(|path| below(&folder, path)).collect();
    assert_eq!(passed, ["charts/shop/charts/db/templates", "charts/shop/templates"]);
    let set = find(&folder, &["charts/shop/templates"], &[]);
    assert_eq!(set.files.len(), 2, "what the user names is read");
}

#[test]
fn collects_every_problem_with_its_path() {
    let folder = tree(&["ok.yaml", "dir/ok.yaml", "elsewhere/secret.yaml"]);
    let root = folder.path();
    symlink("nowhere", root.join("dir/broken.yaml")).unwrap();
    symlink("nowhere", root.join("dir/broken")).unwrap();
    symlink("two.yaml", root.join("dir/one.yaml")).unwrap();
    symlink("one.yaml", root.join("dir/two.yaml")).unwrap();
    symlink(".", root.join("dir/loop")).unwrap();
    symlink("../elsewhere/secret.yaml", root.join("dir/outside.yaml")).unwrap();
    symlink("../elsewhere", root.join("dir/outside")).unwrap();
    let _socket = UnixListener::bind(root.join("dir/socket.yaml")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(root.join("dir/pipe.yaml")).status().unwrap();
    assert!(made.success());
    let set = find(&folder, &["missing.yaml", "dir", "ok.yaml", "dir/pipe.yaml"], &[]);
    assert_eq!(shown(&folder, &set), ["dir/ok.yaml", "ok.yaml"]);
    let target = fs::canonicalize(root.join("elsewhere/secret.yaml")).unwrap();
    let expected = [
        ("dir/broken.yaml", FileProblemKind::BrokenLink),
        ("dir/one.yaml", FileProblemKind::LinkLoop),
        ("dir/outside.yaml", FileProblemKind::OutsideLink { target: target.display().to_string() }),
        ("dir/pipe.yaml", FileProblemKind::NotAFile { what: "a named pipe" }),
        ("dir/socket.yaml", FileProblemKind::NotAFile { what: "a socket" }),
        ("dir/two.yaml", FileProblemKind::LinkLoop),
        ("missing.yaml", FileProblemKind::NotFound),
    ]
    .map(|(path, kind)| (path.to_owned(), kind));
    assert_eq!(problems(&folder, &set), expected);
    let links: Vec<String> = set.passed_over.linked_folders.iter().map(|path| below(&folder, path)).collect();
    assert_eq!(links, ["dir/loop", "dir/outside"]);
    // Named together with its target, the link is the same file.
    let set = find(&folder, &["dir/outside.yaml", "elsewhere"], &[]);
    assert_eq!(set.files.len(), 1);
    assert_eq!(set.problems, []);
}

#[test]
fn reports_folders_and_files_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tree(&["closed/a.yaml", "file.yaml"]);
    let close = |path: &str| {
        let path = folder.path().join(path);
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    };
    close("closed");
    close("file.yaml");
    if fs::read_dir(folder.path().join("closed")).is_ok() {
        println!("skipped: this user may read everything, as root may");
        return;
    }
    let set = find(&folder, &["."], &[]);
    assert_eq!(problems(&folder, &set), [("closed".to_owned(), FileProblemKind::Denied)]);
    let read = for_each_parsed(&set.files, &Limits::default(), |_, _, _| ());
    assert_eq!(read[0].as_ref().unwrap_err().kind, FileProblemKind::Denied);
    fs::set_permissions(folder.path().join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn finds_the_same_list_with_any_number_of_threads() {
    let names: Vec<String> = (0..300).map(|n| format!("team-{}/app-{n}/config.yaml", n % 17)).collect();
    let folder = tree(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let with = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let set = find(&folder, &["."], &[]);
            let read = for_each_parsed(&set.files, &Limits::default(), |file, text, documents| {
                assert!(file.shown().ends_with("config.yaml"));
                let documents = documents.unwrap();
                let name = documents[0].find("name").unwrap().as_str().unwrap();
                (name.to_owned(), text.len())
            });
            (shown(&folder, &set), read)
        })
    };
    let (one, read) = with(1);
    assert_eq!(one.len(), 300);
    assert!(one.is_sorted());
    for (shown, read) in one.iter().zip(&read) {
        assert_eq!(shown, &read.as_ref().unwrap().0);
    }
    assert_eq!(with(5), (one, read));
}

#[test]
fn gives_errors_of_texts_to_the_caller_and_errors_of_files_in_the_list() {
    let folder = tree(&["a.yaml", "d.yaml"]);
    write(folder.path(), "b.yaml", "a: [\n");
    write(folder.path(), "e.yaml", "");
    fs::write(folder.path().join("c.yaml"), b"a: \xff\n").unwrap();
    fs::write(folder.path().join("f.yaml"), vec![b'#'; 2_000]).unwrap();
    let set = find(&folder, &["."], &[]);
    fs::remove_file(folder.path().join("d.yaml")).unwrap();
    let limits = Limits { bytes: 1_000, ..Limits::default() };
    let results = for_each_parsed(&set.files, &limits, |_, text, documents| {
        (text.to_owned(), documents.map(|found| found.len()).map_err(|error| error.kind))
    });
    let kinds: Vec<_> = results.iter().map(|result| result.as_ref().map_err(|problem| problem.kind.clone())).collect();
    assert_eq!(kinds[0].as_ref().unwrap(), &&("name: \"a.yaml\"\n".to_owned(), Ok(1)));
    assert!(matches!(kinds[1].as_ref().unwrap().1, Err(YamlErrorKind::Syntax(_))));
    let (text, error) = kinds[2].as_ref().unwrap();
    assert_eq!(text, "a: \u{FFFD}\n");
    assert_eq!(error, &Err(YamlErrorKind::InvalidUtf8 { byte: 0xff }));
    assert_eq!(kinds[3], Err(FileProblemKind::Vanished));
    assert_eq!(kinds[4].as_ref().unwrap().1, Ok(0));
    assert_eq!(kinds[5], Err(FileProblemKind::TooLarge { limit: 1_000 }));
    assert_eq!(
        results[3].as_ref().unwrap_err().to_string(),
        format!("{}/d.yaml: was removed while it was about to be read", folder.path().display())
    );
}

#[test]
fn shows_paths_as_the_user_gave_them() {
    // The tests run in the folder of this package.
    let set = collect(&[PathBuf::from("./tests/..//tests/")], &Options::default()).unwrap();
    assert_eq!(set.problems, []);
    let set =
        collect(&[PathBuf::from("./Cargo.toml"), PathBuf::from("src/../Cargo.toml")], &Options::default()).unwrap();
    let shown: Vec<&str> = set.files.iter().map(|file| file.shown()).collect();
    assert_eq!(shown, ["Cargo.toml"]);
}
