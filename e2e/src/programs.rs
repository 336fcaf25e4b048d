//! The programs that are built from Go modules, and the cache that makes a second build unnecessary.
//!
//! One folder under `e2e/modules` is one module with exact versions. What is built is kept under
//! [`cache_root`], keyed by everything that goes into it: `go.mod`, `go.sum`, the sources
//! beside them, the flags and Go's own version. A fresh checkout on a machine that has built before builds nothing.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::layout::{cache_root, need_space};

/// The version that Kubernetes says it is.
pub const KUBERNETES_VERSION: &str = "1.35.4";
const GO_WANTED: &str = "1.26";
/// A cold build of everything takes about this much (Go's build cache, its module cache and the programs).
const BUILD_SPACE: u64 = 14 << 30;

/// A folder under `e2e/modules` and what comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module {
    /// The folder, and for Flux's controllers the program.
    pub name: &'static str,
    /// What is handed to `go build`: `tool` for modules that only name tools, `.` for a main of our own.
    target: &'static str,
    /// For Flux's controllers the module whose `config/crd/bases` holds the kinds.
    crds: Option<&'static str>,
}

impl Module {
    const fn tool(name: &'static str) -> Module {
        Module { name, target: "tool", crds: None }
    }
    const fn own(name: &'static str) -> Module {
        Module { name, target: ".", crds: None }
    }
    const fn flux(name: &'static str, module: &'static str) -> Module {
        Module { name, target: "tool", crds: Some(module) }
    }
}

/// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy.
pub const KUBERNETES: Module = Module::tool("kubernetes");
/// etcd.
pub const ETCD: Module = Module::tool("etcd");
/// The OCI registry.
pub const REGISTRY: Module = Module::tool("registry");
/// The cluster's DNS.
pub const COREDNS: Module = Module::tool("coredns");
/// Enforces NetworkPolicies.
pub const NETPOL: Module = Module::own("netpol");
/// The tests' workload, and every pod's sandbox container.
pub const PROBE: Module = Module::own("probe");
/// SOPS and age: no part of a cluster, built when a suite first encrypts something.
pub const SOPS: Module = Module::tool("sops");
/// Flux's controllers, in the order in which they are installed.
pub const FLUX: [Module; 6] = [
    Module::flux("source-controller", "github.com/fluxcd/source-controller"),
    Module::flux("kustomize-controller", "github.com/fluxcd/kustomize-controller"),
    Module::flux("helm-controller", "github.com/fluxcd/helm-controller"),
    Module::flux("notification-controller", "github.com/fluxcd/notification-controller"),
    Module::flux("image-reflector-controller", "github.com/fluxcd/image-reflector-controller"),
    Module::flux("image-automation-controller", "github.com/fluxcd/image-automation-controller"),
];

/// The modules that a cluster needs.
pub fn needed(with_node: bool) -> Vec<Module> {
    let mut modules = vec![KUBERNETES, ETCD, REGISTRY];
    if with_node {
        modules.extend([COREDNS, NETPOL, PROBE]);
        modules.extend(FLUX);
    }
    modules
}

/// Built programs and the files that come with them.
#[derive(Debug)]
pub struct Programs {
    cache: PathBuf,
    go: String,
}

impl Programs {
    /// Finds Go and the cache.
    ///
    /// # Errors
    /// [`Error::NoGo`] where there is no Go, or one that is too old.
    pub fn find() -> Result<Programs> {
        Ok(Programs { cache: cache_root(), go: go_version()? })
    }

    /// The path of a program.
    ///
    /// # Errors
    /// Where the module's files cannot be read.
    pub fn path(&self, module: Module, program: &str) -> Result<PathBuf> {
        Ok(self.folder(module)?.join(program))
    }

    /// The kinds of all Flux controllers, one YAML text a file.
    ///
    /// # Errors
    /// Where they have not been fetched, see [`Programs::ensure`].
    pub fn flux_crds(&self) -> Result<Vec<String>> {
        let mut texts = Vec::new();
        for module in FLUX {
            let folder = self.crd_folder(module)?;
            let mut files: Vec<PathBuf> =
                fs::read_dir(&folder).doing("listing", &folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
            files.sort();
            for file in files {
                texts.push(fs::read_to_string(&file).doing("reading", &file)?);
            }
        }
        Ok(texts)
    }

    /// What changes when the program changes; names files made from it.
    ///
    /// # Errors
    /// Where the module's files cannot be read.
    pub fn key(&self, module: Module) -> Result<String> {
        let folder = source(module);
        let mut files: Vec<PathBuf> =
            fs::read_dir(&folder).doing("listing", &folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.sort();
        let mut hash = Sha256::new();
        hash.update(&self.go);
        hash.update(link_flags());
        for file in files {
            hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update(fs::read(&file).doing("reading", &file)?);
        }
        Ok(hex(&hash.finalize()[..8]))
    }

    fn folder(&self, module: Module) -> Result<PathBuf> {
        Ok(self.cache.join("programs").join(format!("{}-{}", module.name, self.key(module)?)))
    }

    fn crd_folder(&self, module: Module) -> Result<PathBuf> {
        Ok(self.cache.join("crds").join(format!("{}-{}", module.name, self.key(module)?)))
    }

    /// The folder for images made of these programs.
    pub fn image_cache(&self) -> PathBuf {
        self.cache.join("images")
    }

    /// Builds what is missing, one module after the other (a Go build uses every core by itself), and says how far it is.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Build`], [`Error::Interrupted`].
    pub fn ensure(&self, modules: &[Module]) -> Result<()> {
        fs::create_dir_all(&self.cache).doing("making", &self.cache)?;
        // Two clusters that start at once must not build the same twice; the second waits and then finds it built.
        let lock_path = self.cache.join("build.lock");
        let lock_file = fs::File::create(&lock_path).doing("opening", &lock_path)?;
        let _lock = self.wait_for_builder(lock_file)?;
        let mut missing = Vec::new();
        for module in modules {
            if !self.folder(*module)?.exists() {
                missing.push(*module);
            }
        }
        if !missing.is_empty() {
            need_space(&self.cache, BUILD_SPACE / 12 * (missing.len() as u64).min(12), "XDG_CACHE_HOME")?;
        }
        for (index, module) in missing.iter().enumerate() {
            self.build(*module, index + 1, missing.len())?;
        }
        for module in FLUX {
            if !self.crd_folder(module)?.exists() {
                self.fetch_crds(module)?;
            }
        }
        Ok(())
    }

    fn wait_for_builder(&self, mut file: fs::File) -> Result<nix::fcntl::Flock<fs::File>> {
        let mut told = false;
        loop {
            match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((returned, _)) => file = returned,
            }
            if !told {
                crate::say("waiting for another build to end");
                told = true;
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn build(&self, module: Module, number: usize, of: usize) -> Result<()> {
        let started = Instant::now();
        let target = self.folder(module)?;
        let unfinished = target.with_extension("unfinished");
        // Go's own folder for temporary files lies beside it: killed, Go does not remove it.
        let work = target.with_extension("work");
        let clear = || {
            let _ = fs::remove_dir_all(&unfinished);
            let _ = fs::remove_dir_all(&work);
        };
        clear();
        for folder in [&unfinished, &work] {
            fs::create_dir_all(folder).doing("making", folder)?;
        }
        let progress = Progress::new(format!("building {} ({number} of {of})", module.name));
        let mut command = go(module);
        command.env("GOTMPDIR", &work).args([
            "build",
            "-buildvcs=false",
            "-trimpath",
            "-mod=readonly",
            "-ldflags",
            &link_flags(),
            "-o",
        ]);
        command.arg(&unfinished).arg(module.target);
        let result = run_with(command, true, || progress.tick()).map_err(|error| as_build_error(module, error));
        let kept = result.and_then(|_| fs::rename(&unfinished, &target).doing("keeping", &target));
        clear();
        kept?;
        progress.done(started.elapsed());
        Ok(())
    }

    fn fetch_crds(&self, module: Module) -> Result<()> {
        let Some(path) = module.crds else {
            return Ok(());
        };
        let mut download = go(module);
        download.args(["mod", "download", path]);
        run_logged(download).map_err(|error| as_build_error(module, error))?;
        let mut list = go(module);
        list.args(["list", "-m", "-f", "{{.Dir}}", path]);
        let folder = run_logged(list).map_err(|error| as_build_error(module, error))?;
        let bases = Path::new(folder.trim()).join("config/crd/bases");
        let target = self.crd_folder(module)?;
        let unfinished = target.with_extension("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished).doing("making", &unfinished)?;
        for entry in fs::read_dir(&bases).doing("listing", &bases)?.flatten() {
            let content = fs::read(entry.path()).doing("reading", entry.path())?;
            let copy = unfinished.join(entry.file_name());
            fs::write(&copy, content).doing("writing", &copy)?;
        }
        fs::rename(&unfinished, &target).doing("keeping", &target)
    }
}

/// The version of a tool's module, as in `go.mod`; empty for our own mains.
///
/// # Errors
/// Where `go.mod` cannot be read.
pub fn version(module: Module) -> Result<String> {
    let path = source(module).join("go.mod");
    let text = fs::read_to_string(&path).doing("reading", &path)?;
    let wanted = module.crds.map_or_else(|| format!("/{}", module.name), str::to_owned);
    let version = text
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(path, _)| path.ends_with(&wanted));
    Ok(version.map(|(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned()).unwrap_or_default())
}

fn source(module: Module) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(module.name)
}

fn link_flags() -> String {
    let package = "k8s.io/component-base/version";
    let mut parts = KUBERNETES_VERSION.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!(
        "-s -w -X {package}.gitVersion=v{KUBERNETES_VERSION} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} -X {package}.gitTreeState=clean"
    )
}

/// `go` in a module's folder. `setpriv` ends it together with the harness, however that ends, and `nice` leaves the
/// machine usable meanwhile.
fn go(module: Module) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "nice", "-n", "5", "go"]);
    // A workspace file above the checkout, or flags of the developer's own, must not change what is built.
    command.current_dir(source(module)).env("GOWORK", "off").env("CGO_ENABLED", "0").env_remove("GOFLAGS");
    command
}

fn go_version() -> Result<String> {
    let no_go = |found: &str| Error::NoGo { wanted: GO_WANTED, found: found.to_owned() };
    let output = Command::new("go").args(["env", "GOVERSION"]).current_dir(source(PROBE)).output();
    let output = output.map_err(|_| no_go("there is none"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let number = |text: &str| {
        let mut parts = text.trim_start_matches("go").split(['.', '-', 'r']).map_while(|part| part.parse::<u32>().ok());
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    if number(&version) < number(GO_WANTED) {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(no_go(if version.is_empty() { &complaint } else { &version }));
    }
    Ok(version)
}

fn as_build_error(module: Module, error: Error) -> Error {
    let Error::Command { output, .. } = error else {
        return error;
    };
    let hint = if [
        "dial tcp",
        "proxyconnect",
        "no such host",
        "reading https",
        "i/o timeout",
        "GOPROXY=off",
        "Forbidden",
        "connection refused",
    ]
    .iter()
    .any(|sign| output.contains(sign))
    {
        "a module could not be downloaded: is the Go module proxy reachable (`go env GOPROXY`)?"
    } else if output.contains("no space left on device") {
        "the disk is full: make room, or move Go's caches with GOCACHE and GOMODCACHE"
    } else {
        "Go's own words follow"
    };
    Error::Build { module: module.name.to_owned(), hint, log: output }
}

/// Runs a command to its end, killed on Ctrl-C; what it printed on success, or [`Error::Command`] with the end of it.
pub(crate) fn run_logged(command: Command) -> Result<String> {
    run_with(command, true, || {})
}

/// Runs a command to its end even after Ctrl-C, because a half of it would do harm (a package manager). As
/// [`run_logged`] otherwise.
pub(crate) fn run_undisturbed(command: Command) -> Result<String> {
    let result = run_with(command, false, || {});
    interrupt::check()?;
    result
}

fn run_with(mut command: Command, may_be_killed: bool, mut tick: impl FnMut()) -> Result<String> {
    let line = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ");
    let mut output = tempfile::tempfile().doing("making", "a temporary file")?;
    let stdout = output.try_clone().doing("opening", "a temporary file")?;
    let stderr = output.try_clone().doing("opening", "a temporary file")?;
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).process_group(0);
    let mut child = command.spawn().doing("starting", command.get_program().to_string_lossy().as_ref())?;
    let group = Pid::from_raw(child.id().cast_signed());
    let status = loop {
        if let Some(status) = child.try_wait().doing("waiting for", &line)? {
            break status;
        }
        if may_be_killed && interrupt::requested() {
            let _ = killpg(group, Signal::SIGKILL);
            let _ = child.wait();
            return Err(Error::Interrupted);
        }
        tick();
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut bytes = Vec::new();
    output.seek(SeekFrom::Start(0)).doing("reading the output of", &line)?;
    output.read_to_end(&mut bytes).doing("reading the output of", &line)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.success() {
        return Ok(text);
    }
    Err(Error::Command { command: line, status: status.to_string(), output: last_lines(&text, 30) })
}

/// The end of a text, for messages.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One step of work that takes longer than a second: a spinner on a terminal, two plain lines elsewhere.
struct Progress {
    bar: indicatif::ProgressBar,
    what: String,
}

impl Progress {
    fn new(what: String) -> Progress {
        let bar = indicatif::ProgressBar::new_spinner();
        if bar.is_hidden() {
            crate::say(&what);
        }
        bar.set_message(what.clone());
        if let Ok(style) = indicatif::ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        Progress { bar, what }
    }

    fn tick(&self) {
        self.bar.tick();
    }

    fn done(self, took: Duration) {
        self.bar.finish_and_clear();
        crate::say(&format!("{}: {} s", self.what, took.as_secs()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_names_exact_versions() {
        for module in needed(true).into_iter().chain([SOPS]) {
            let text = fs::read_to_string(source(module).join("go.mod")).expect("go.mod");
            assert!(!text.contains("latest"), "{}", module.name);
            if module.target == "tool" {
                assert!(text.contains("tool"), "{} names its tools", module.name);
            }
        }
    }

    #[test]
    fn a_download_that_fails_is_told_from_code_that_does_not_compile() {
        let failed = |output: &str| {
            as_build_error(PROBE, Error::Command { command: "go".into(), status: "1".into(), output: output.into() })
                .to_string()
        };
        assert!(
            failed("Get \"https://proxy/x\": dial tcp: lookup proxy: no such host").contains("could not be downloaded")
        );
        assert!(failed("main.go:1:1: syntax error").contains("Go's own words follow"));
    }

    #[test]
    fn a_command_that_fails_is_told_with_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let message = run_logged(command).expect_err("exit 3").to_string();
        assert!(message.contains("out\nerr") && message.contains('3'), "{message}");
    }
}
