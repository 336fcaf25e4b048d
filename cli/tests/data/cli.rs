//! Runs the real binary in a folder of its own.
#![allow(dead_code, reason = "every test binary takes what it needs")]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

/// Longest that a run may take: only what hangs takes so long, on the slowest machine.
pub const HANGS: Duration = Duration::from_secs(60);

/// The cluster and the policy that most tests judge by: team `team-*`, Git, images and namespaces of its own.
pub const PLATFORM: &str = r#"apiVersion: sluicegate.dev/v1alpha1
kind: FluxCluster
metadata: {name: prod-eu}
spec: {connection: {inCluster: {}}}
---
apiVersion: sluicegate.dev/v1alpha1
kind: FluxCluster
metadata: {name: prod-us}
spec: {connection: {kubeconfig: {secretRef: {name: prod-us}}}}
---
apiVersion: sluicegate.dev/v1alpha1
kind: FluxPolicy
metadata: {name: teams}
spec:
  tenants: {names: ["team-*"]}
  sources:
    git: {allow: ["https://git.example.com/${tenant}/**"]}
    helm: {allow: ["https://charts.example.com/stable"], charts: {allow: [redis]}}
  images: {allow: ["registry.example.com/${tenant}/**", "docker.io/library/*"], denyTags: [latest]}
  destinations:
    - {clusters: ["prod-*"], namespaces: ["${tenant}", "${tenant}-*"]}
  defaults: {cluster: prod-eu, namespace: "${tenant}", ref: {branch: main}, path: ./deploy, interval: 5m}
  features: {helm: true}
"#;

/// Five lines, and valid.
pub const SHOP: &str = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: shop, namespace: team-a}
spec:
  source: {url: https://git.example.com/team-a/shop}
";

/// Not allowed: another team's source, on line 5.
pub const REFUSED: &str = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: stolen, namespace: team-a}
spec:
  source: {url: https://git.example.com/team-b/shop}
";

/// Below the repository's root.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The binary that is tested.
pub fn binary() -> PathBuf {
    assert_cmd::cargo::cargo_bin("sluicegate")
}

/// A folder in which the binary runs.
pub struct Folder(TempDir);

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    /// An empty one.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// One with [`PLATFORM`] in `platform.yaml`.
    pub fn with_platform() -> Self {
        let folder = Self::empty();
        folder.write("platform.yaml", PLATFORM);
        folder
    }

    /// Writes a file and the folders that it needs.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the binary here.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.run_with("", args)
    }

    /// Runs it with a text on its standard input.
    pub fn run_with<A: AsRef<OsStr>>(&self, stdin: impl Into<Vec<u8>>, args: impl IntoIterator<Item = A>) -> Ran {
        run_in(self.0.path(), stdin, args)
    }

    /// `check PATH… --policies platform.yaml`, on one line.
    pub fn check(&self, paths: &str) -> Ran {
        let paths = paths.split(' ').filter(|path| !path.is_empty());
        self.run(["check", "--policies", "platform.yaml"].into_iter().chain(paths))
    }
}

/// Runs the binary in a folder; a panic or a run that does not end fails the test.
#[track_caller]
pub fn run_in<A: AsRef<OsStr>>(folder: &Path, stdin: impl Into<Vec<u8>>, args: impl IntoIterator<Item = A>) -> Ran {
    let output = assert_cmd::Command::new(binary())
        .current_dir(folder)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .args(args)
        .write_stdin(stdin)
        .timeout(HANGS)
        .output()
        .unwrap();
    Ran::of(&output)
}

impl Ran {
    #[track_caller]
    pub fn of(output: &std::process::Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        let Some(code) = output.status.code() else { panic!("{}: {stdout}{stderr}", output.status) };
        assert!(!stderr.contains("panicked") && !stdout.contains("panicked"), "{stdout}{stderr}");
        Self { code, stdout, stderr }
    }

    /// Both streams.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.all().contains(text), "{text:?} is not in\n{}", self.all());
        self
    }

    #[track_caller]
    pub fn does_not_say(self, text: &str) -> Self {
        assert!(!self.all().contains(text), "{text:?} is in\n{}", self.all());
        self
    }

    /// Ids of the rules of the errors that people see, in their order.
    pub fn rules(&self) -> Vec<String> {
        self.findings().into_iter().map(|finding| finding.rule).collect()
    }

    /// What people see, finding by finding.
    pub fn findings(&self) -> Vec<Shown> {
        let mut findings: Vec<Shown> = Vec::new();
        for line in self.stdout.lines() {
            let head = ["error[", "warning["].into_iter().find_map(|start| line.strip_prefix(start));
            if let Some((rule, _)) = head.and_then(|rest| rest.split_once("]: ")) {
                findings.push(Shown { rule: rule.to_owned(), text: String::new() });
            } else if line.starts_with("about ") || line.starts_with("checked ") {
                break;
            }
            if let Some(finding) = findings.last_mut() {
                finding.text.push_str(line);
                finding.text.push('\n');
            }
        }
        findings
    }
}

/// A finding as it is drawn.
#[derive(Debug)]
pub struct Shown {
    pub rule: String,
    pub text: String,
}

impl Shown {
    /// `file:line:column` of the place that is shown first.
    pub fn place(&self) -> Option<(String, usize, usize)> {
        let (_, place) = self.text.lines().find_map(|line| line.split_once("--> "))?;
        let mut parts = place.rsplitn(3, ':');
        let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
        Some((file.to_owned(), line.parse().ok()?, column.parse().ok()?))
    }
}
