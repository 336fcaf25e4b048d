//! Files that commands write: what a link, a pipe or another process in the tree makes of them.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, which may panic")]

#[path = "data/cli.rs"]
mod cli;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cli::{PLATFORM, Ran, SHOP, binary, run_in};
use sluicegate_cli::{
    output::{FilePlace, Folder, OutputError, Trees},
    report::Format,
};

const EU: &str = "--api-server=prod-eu=192.0.2.1:6443";

/// Arguments that make a command write files. Every other argument is in [`READS`]: an argument that is in neither list, such
/// as a new one, fails `every_argument_is_known_to_write_or_not_to`.
const WRITES: &[(&str, &str)] = &[("check", "reports"), ("complete", "write"), ("render", "output"), ("man", "folder")];

const READS: &[(&str, &[&str])] = &[
    (
        "check",
        &["paths", "policies", "exclude", "tenant", "cluster", "namespace", "allow_empty", "strict", "max", "quiet"],
    ),
    ("can sync", &["url", "kind", "policies", "exclude", "tenant", "cluster", "namespace", "quiet"]),
    ("can pull", &["image", "policies", "exclude", "tenant", "cluster", "namespace", "quiet"]),
    ("can deploy-to", &["place", "policies", "exclude", "tenant", "cluster", "namespace", "quiet"]),
    ("can", &["tenant"]),
    ("complete", &["paths", "policies", "exclude", "diff"]),
    ("explain", &["what", "policies", "exclude", "output"]),
    ("render", &["paths", "policies", "exclude", "api_servers", "operators"]),
    ("test", &["paths", "policies", "exclude", "filter"]),
    ("operator", &[]),
    ("webhook", &[]),
    ("schema", &["kind"]),
    ("completions", &["shell"]),
];

/// A command that writes, in a folder made by [`Scene::new`].
struct Case {
    name: String,
    /// The argument of [`WRITES`] that it is a case of.
    writes: (&'static str, &'static str),
    args: Vec<String>,
    /// A file that it writes, below the current folder.
    file: &'static str,
}

fn cases() -> Vec<Case> {
    let case = |name: &str, writes, args: &[&str], file| Case {
        name: name.to_owned(),
        writes,
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        file,
    };
    let mut cases = vec![
        case(
            "render",
            ("render", "output"),
            &["render", "-o", "a/out", EU, "platform.yaml", "fixed"],
            "a/out/prod-eu/sluicegate-team-a.yaml",
        ),
        case(
            "complete a file",
            ("complete", "write"),
            &["complete", "--write", "tenants/a/shop.yaml", "--policies", "platform.yaml"],
            "tenants/a/shop.yaml",
        ),
        case("man", ("man", "folder"), &["man", "pages/one"], "pages/one/sluicegate.1"),
    ];
    for format in Format::ALL {
        let report = format!("--report={format}=reports/ci/out");
        let args = ["check", "--quiet", &report, "platform.yaml", "fixed"];
        cases.push(case(&report, ("check", "reports"), &args, "reports/ci/out"));
    }
    cases
}

/// What a component of the file's path becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Planted {
    LinkToFile,
    LinkToNothing,
    LinkToFolder,
    Pipe,
    Socket,
    Folder,
}

const LINKS: [Planted; 3] = [Planted::LinkToFile, Planted::LinkToNothing, Planted::LinkToFolder];

/// A FluxConfig that lacks what `complete` fills in.
fn flux_config(name: &str) -> String {
    SHOP.replace("name: shop,", &format!("name: {name},"))
}

/// A platform in `work`, and beside it what must not be touched.
struct Scene(tempfile::TempDir);

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for (path, name) in [
            ("work/fixed/shop.yaml", "fixed"),
            ("work/tenants/a/shop.yaml", "shop"),
            // What is behind a link is what the command would take for its own.
            ("outside/shop.yaml", "outside"),
            ("outside/victim.yaml", "victim"),
            ("outside/a/shop.yaml", "outside-a"),
        ] {
            let path = scene.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, flux_config(name)).unwrap();
        }
        fs::write(scene.path("work/platform.yaml"), PLATFORM).unwrap();
        for folder in ["work/reports/ci", "work/pages/one"] {
            fs::create_dir_all(scene.path(folder)).unwrap();
        }
        scene
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        run_in(&self.path("work"), "", args)
    }

    /// Puts something in the place of a component.
    fn plant(&self, path: &Path, what: Planted) {
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            let _ = fs::remove_file(path);
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match what {
            Planted::LinkToFile => symlink(self.path("outside/victim.yaml"), path).unwrap(),
            Planted::LinkToNothing => symlink(self.path("outside/nothing"), path).unwrap(),
            Planted::LinkToFolder => symlink(self.path("outside"), path).unwrap(),
            Planted::Pipe => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            Planted::Socket => drop(UnixListener::bind(path).unwrap()),
            Planted::Folder => fs::create_dir(path).unwrap(),
        }
    }
}

/// Everything below a folder: kinds, texts and targets of links. No link is followed.
fn everything(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        let text = if metadata.is_dir() {
            found.extend(everything(&path));
            "folder".to_owned()
        } else if metadata.is_symlink() {
            format!("link to {}", fs::read_link(&path).unwrap().display())
        } else if metadata.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            format!("{:?}", metadata.file_type().is_fifo())
        };
        found.insert(path, text);
    }
    found
}

/// What changed since `before`.
fn changed(before: &BTreeMap<PathBuf, String>, folder: &Path) -> Vec<PathBuf> {
    let after = everything(folder);
    let all: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

#[test]
fn every_argument_is_known_to_write_or_not_to() {
    fn look(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        for argument in command.get_arguments().filter(|argument| !argument.is_global_set()) {
            let id = argument.get_id().as_str();
            if !matches!(id, "help" | "version" | "color") {
                found.push((path.to_owned(), id.to_owned()));
            }
        }
        for below in command.get_subcommands() {
            look(below, format!("{path} {}", below.get_name()).trim(), found);
        }
    }
    let mut found = Vec::new();
    look(&sluicegate_cli::command(), "", &mut found);
    assert!(found.len() > 40, "{found:?}");
    let servers = ["operator", "webhook"];
    for (command, id) in &found {
        let writes = WRITES.contains(&(command.as_str(), id.as_str()));
        let reads = READS.iter().any(|(name, ids)| name == command && ids.contains(&id.as_str()));
        // What runs in a pod writes no file: `nothing_else_writes_files`.
        let serves = servers.contains(&command.as_str());
        assert!(
            writes || reads || serves,
            "say in WRITES, with a case, or in READS whether `{command}` writes by `{id}`"
        );
    }
    let cases = cases();
    for written in WRITES {
        assert!(found.iter().any(|(command, id)| (command.as_str(), id.as_str()) == *written), "{written:?} is gone");
        assert!(cases.iter().any(|case| case.writes == *written), "{written:?} has no case");
    }
}

/// Functions that make, change or remove files.
const WRITERS: [&str; 18] = [
    "fs::write",
    "File::create",
    "create_dir",
    "fs::rename",
    "remove_file",
    "remove_dir",
    "OpenOptions",
    "File::options",
    "fs::copy",
    "hard_link",
    "fs::symlink(",
    "set_permissions",
    "tempfile",
    "persist(",
    "generate_to",
    "O_WRONLY",
    "O_RDWR",
    "O_CREAT",
];

#[test]
fn nothing_else_writes_files() {
    fn look(folder: &Path, found: &mut Vec<String>, files: &mut usize) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, found, files);
            } else if path.extension() == Some("rs".as_ref()) && path.file_name() != Some("tests.rs".as_ref()) {
                *files += 1;
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
                for writer in WRITERS.iter().filter(|writer| code.contains(**writer)) {
                    found.push(format!("{}: {writer}", path.display()));
                }
            }
        }
    }
    let (mut found, mut files) = (Vec::new(), 0);
    for sources in ["crds/src", "policy/src", "operator/src", "webhook/src", "cli/src"] {
        look(&cli::repository(sources), &mut found, &mut files);
    }
    assert!(files > 100, "{files}");
    let (ours, others): (Vec<_>, Vec<_>) = found.iter().partition(|found| found.contains("/cli/src/output/"));
    assert!(others.is_empty(), "write files by sluicegate_cli::output: {others:#?}");
    assert!(!ours.is_empty(), "the words of WRITERS are those that the module uses");
}

#[test]
fn no_command_writes_through_a_link() {
    let mut tried = 0;
    for case in cases() {
        let components: Vec<&Path> = {
            let mut all: Vec<&Path> = Path::new(case.file).ancestors().filter(|path| path.as_os_str() != "").collect();
            all.reverse();
            all
        };
        for second in [false, true] {
            for component in &components {
                for planted in LINKS {
                    let scene = Scene::new();
                    let context = format!("{} {planted:?} at {} second {second}", case.name, component.display());
                    if second {
                        scene.run(&case.args).exits(0);
                        assert!(scene.path("work").join(case.file).is_file(), "{context}");
                    }
                    scene.plant(&scene.path("work").join(component), planted);
                    refuses(&scene, &case.args, &context);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried >= 100, "{tried}");
}

/// Runs a command that must refuse; nothing is changed anywhere.
#[track_caller]
fn refuses(scene: &Scene, args: &[String], context: &str) {
    let before = everything(&scene.path(""));
    let ran = scene.run(args);
    assert_eq!(changed(&before, &scene.path("")), Vec::<PathBuf>::new(), "{context}: {}", ran.all());
    // `complete` reads first, and says of a link to nothing or into a file that there is nothing to read.
    assert_eq!(ran.code, 2, "{context}: {}", ran.all());
    let unread = context.starts_with("complete") && ran.stderr.contains("Not a directory");
    assert!(ran.all().contains("is a link") || unread || args[0] == "complete", "{context}: {}", ran.all());
}

#[test]
fn what_is_not_a_file_is_not_replaced() {
    for case in cases() {
        for planted in [Planted::Pipe, Planted::Socket, Planted::Folder] {
            // What `complete` reads is a file already.
            if case.args[0] == "complete" {
                continue;
            }
            let scene = Scene::new();
            let context = format!("{} {planted:?}", case.name);
            scene.plant(&scene.path("work").join(case.file), planted);
            let before = everything(&scene.path(""));
            let ran = scene.run(&case.args);
            assert_eq!(changed(&before, &scene.path("")), Vec::<PathBuf>::new(), "{context}: {}", ran.all());
            assert_eq!(ran.code, 2, "{context}: {}", ran.all());
            let what = ["a named pipe", "a socket", "a folder"];
            assert!(what.iter().any(|what| ran.stderr.contains(what)), "{context}: {}", ran.stderr);
        }
    }
}

#[test]
fn another_name_of_the_same_file_keeps_the_old_text() {
    for case in cases() {
        let scene = Scene::new();
        scene.run(&case.args).exits(0);
        let file = scene.path("work").join(case.file);
        fs::remove_file(&file).unwrap();
        fs::hard_link(scene.path("outside/victim.yaml"), &file).unwrap();
        scene.run(&case.args).exits(0);
        assert_eq!(
            fs::read_to_string(scene.path("outside/victim.yaml")).unwrap(),
            flux_config("victim"),
            "{}",
            case.name
        );
        assert_ne!(fs::read_to_string(&file).unwrap(), flux_config("victim"), "{}", case.name);
    }
}

#[test]
fn one_link_among_many_files_leaves_all_of_them_as_they_are() {
    let scene = Scene::new();
    for number in 0..5 {
        fs::write(scene.path(&format!("work/tenants/{number}.yaml")), flux_config(&format!("s{number}"))).unwrap();
    }
    symlink(scene.path("outside/victim.yaml"), scene.path("work/tenants/z.yaml")).unwrap();
    fs::remove_file(scene.path("work/tenants/a/shop.yaml")).unwrap();
    let args = ["complete", "--write", "tenants", "tenants/z.yaml", "--policies", "platform.yaml"].map(str::to_owned);
    refuses(&scene, &args, "complete");
    // Of a link that leads to another file of the same folders, the file is completed and the link stays.
    fs::remove_file(scene.path("work/tenants/z.yaml")).unwrap();
    symlink("0.yaml", scene.path("work/tenants/z.yaml")).unwrap();
    scene.run(["complete", "--write", "tenants", "--policies", "platform.yaml"]).exits(0).says("in 5 files");
    assert!(scene.path("work/tenants/z.yaml").is_symlink());
}

#[test]
fn absolute_paths_into_a_tree_are_as_relative_ones() {
    let scene = Scene::new();
    let run = |report: PathBuf| {
        let report = format!("--report=json={}", report.display());
        run_in(&scene.path("work"), "", ["check", "--quiet", &report, "platform.yaml", "fixed"])
    };
    symlink(scene.path("outside"), scene.path("work/reports/link")).unwrap();
    run(scene.path("work/reports/link/x.json")).exits(2).says("work/reports/link is a link");
    // By way of a link of the user's, which leads to the tree or into it.
    symlink(scene.path("work"), scene.path("to-work")).unwrap();
    symlink(scene.path("work/reports"), scene.path("to-reports")).unwrap();
    run(scene.path("to-work/reports/link/x.json")).exits(2).says("to-work/reports/link is a link");
    run(scene.path("to-reports/link/x.json")).exits(2).says("to-reports/link is a link");
    run(scene.path("to-work/reports/x.json")).exits(0);
    assert!(scene.path("work/reports/x.json").is_file());
    // Another checkout than the current folder.
    for folder in ["other/.git", "other/reports"] {
        fs::create_dir_all(scene.path(folder)).unwrap();
    }
    symlink(scene.path("outside"), scene.path("other/reports/link")).unwrap();
    run(scene.path("other/reports/link/x.json")).exits(2).says("other/reports/link is a link");
    // A folder that is named to be judged.
    fs::create_dir_all(scene.path("named/tenants")).unwrap();
    fs::write(scene.path("named/tenants/shop.yaml"), SHOP).unwrap();
    symlink(scene.path("outside"), scene.path("named/link")).unwrap();
    let (named, out) = (scene.path("named").display().to_string(), scene.path("named/link/out").display().to_string());
    scene.run(["render", EU, "-o", &out, &named, "--policies", "platform.yaml"]).exits(2).says("named/link is a link");
    let context = ["render", EU, "-o", &out, "platform.yaml", "fixed", "--policies", &named];
    scene.run(context).exits(2).says("named/link is a link");
    // Elsewhere folders may be links, and files may not.
    symlink(scene.path("outside"), scene.path("elsewhere")).unwrap();
    run(scene.path("elsewhere/x.json")).exits(0);
    assert!(scene.path("outside/x.json").is_file());
    symlink("x.json", scene.path("outside/y.json")).unwrap();
    run(scene.path("elsewhere/y.json")).exits(2).says("elsewhere/y.json: it is a link");
    let out = scene.path("elsewhere").display().to_string();
    scene.run(["render", EU, "-o", &out, "platform.yaml", "fixed"]).exits(2).says("elsewhere: it is a link");
}

#[test]
fn what_the_caller_opened_is_written_to() {
    let scene = Scene::new();
    let bash = |script: &str| {
        let output = Command::new("bash")
            .args(["-c", script])
            .env("S", binary())
            .current_dir(scene.path("work"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(&output)
    };
    let check = |report: &str| format!("\"$S\" check --quiet --report json={report} platform.yaml fixed");
    for report in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-"] {
        let ran = bash(&check(report)).exits(0);
        assert!(ran.stdout.starts_with('{') && ran.stdout.ends_with("}\n"), "{report}: {}", ran.all());
    }
    let ran = bash(&check("/dev/stderr")).exits(0);
    assert!(ran.stderr.starts_with('{'), "{}", ran.all());
    bash(&check("/dev/null")).exits(0);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    for (number, script) in [
        check("/dev/stdout") + " > out.json",
        check("/dev/fd/3") + " 3> out.json",
        check("/proc/self/fd/3") + " 3> out.json",
        check(">(cat > out.json; echo done > done)") + "; until [ -e done ]; do sleep 0.01; done",
    ]
    .iter()
    .enumerate()
    {
        bash(script).exits(0);
        let text = fs::read_to_string(scene.path("work/out.json")).unwrap();
        assert!(text.starts_with('{') && text.ends_with("}\n"), "{number}: {text}");
        fs::remove_file(scene.path("work/out.json")).unwrap();
    }
}

#[test]
fn replaces_a_file_whole_with_its_permissions() {
    let scene = Scene::new();
    let trees = Trees::of(&[]);
    let write =
        |path: &str, text: &[u8]| FilePlace::open(&scene.path(path), &trees).and_then(|place| place.write(text));
    let file = scene.path("outside/victim.yaml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let old = fs::File::open(&file).unwrap();
    write("outside/victim.yaml", b"new").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    // Whoever has the old file open still sees the old one whole.
    assert_ne!(metadata.ino(), old.metadata().unwrap().ino());
    assert_eq!(std::io::read_to_string(old).unwrap(), flux_config("victim"));
    write("outside/made.yaml", b"made").unwrap();
    assert!(matches!(write("outside/missing/a.yaml", b"x"), Err(OutputError::NoFolder { .. })));
    assert!(matches!(write("outside/made.yaml/a.yaml", b"x"), Err(OutputError::NotAFolder { .. })));
    assert!(matches!(write("outside/a", b"x"), Err(OutputError::NotAFile { .. })));
    // A text that breaks off leaves the old one, and nothing beside it.
    let before = everything(&scene.path("outside"));
    let broken = FilePlace::open(&file, &trees).unwrap().write_with(|out| {
        out.write_all(b"half")?;
        Err(std::io::Error::other("full"))
    });
    assert!(broken.is_err());
    assert_eq!(everything(&scene.path("outside")), before);
}

#[test]
fn a_name_is_one_component() {
    let scene = Scene::new();
    let folder = Folder::open(&scene.path("work"), &Trees::default()).unwrap().unwrap();
    for name in ["", ".", "..", "a/b", "../outside", "/etc", "tenants/"] {
        let name = OsStr::new(name);
        for refused in [
            folder.write(name, b"x").is_err(),
            folder.remove(name).is_err(),
            folder.read(name).is_err(),
            folder.folder(name).is_err(),
            folder.make_folder(name).is_err(),
        ] {
            assert!(refused, "{name:?}");
        }
    }
}

/// Longest that one side of the race waits for enough turns.
const RACE: Duration = Duration::from_secs(60);

/// Puts a link in the place of a folder, and the folder back, until it is told to stop.
fn swap(place: &Path, outside: &Path, stop: &AtomicBool) {
    let aside = place.with_extension("aside");
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) && began.elapsed() < 2 * RACE {
        // What the writer still writes into goes the next time.
        let _ = fs::remove_dir_all(&aside);
        if fs::rename(place, &aside).is_err() {
            continue;
        }
        // Where the writer has made a folder meanwhile, that is the one.
        if symlink(outside, place).is_ok() {
            std::thread::sleep(Duration::from_micros(100));
            fs::remove_file(place).unwrap();
        }
        let _ = fs::rename(&aside, place);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_folder_that_becomes_a_link_meanwhile_leads_nowhere() {
    let scene = Scene::new();
    let outside = everything(&scene.path("outside"));
    let work = scene.path("work");
    fs::create_dir_all(work.join("a/out/prod-eu")).unwrap();
    let stop = AtomicBool::new(false);
    let trees = Trees::of(std::slice::from_ref(&work));
    let (mut written, mut refused) = (0, 0);
    std::thread::scope(|threads| {
        threads.spawn(|| swap(&work.join("a/out"), &scene.path("outside"), &stop));
        // Until both were met often, whatever the machine does.
        let began = Instant::now();
        for turn in 0_u64.. {
            if (written >= 200 && refused >= 200) || began.elapsed() > RACE {
                break;
            }
            let made = Folder::make(&work.join("a/out"), &trees).and_then(|folder| {
                let cluster = folder.make_folder("prod-eu".as_ref())?;
                cluster.write("victim.yaml".as_ref(), turn.to_string().as_bytes())?;
                folder.remove("victim.yaml".as_ref()).or(Ok(()))
            });
            let file = FilePlace::open(&work.join("a/out/victim.yaml"), &trees).and_then(|place| place.write(b"x"));
            for done in [made, file] {
                match done {
                    Ok(()) => written += 1,
                    Err(OutputError::Link { .. }) => refused += 1,
                    // Its folder has just been taken away.
                    Err(_) => {}
                }
            }
        }
        for turn in 0..40 {
            let server = format!("--api-server=prod-eu=192.0.2.{turn}:6443");
            scene.run(["render", "-o", "a/out", &server, "platform.yaml", "fixed"]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(everything(&scene.path("outside")), outside, "{written} written, {refused} refused");
    assert!(written >= 200 && refused >= 200, "{written} written, {refused} refused");
}
