//! Admission servers of others beside ours: the same reviews, and of our policy the part that they can say in a rule or two. Each
//! runs as it is installed, but for what costs it time and decides nothing: reports and events are off, and metrics where they can be.
//!
//! They watch a control plane of the bench's own and are asked straight, as ours is; nothing goes through its API server.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sluicegate_e2e::suite::operator::{documents, install, manifests};

use super::direct::{Plan, Programs, cost, in_turn};
use super::load::{Ask, Loader, Shape};
use super::plane::Plane;
use super::platform::{self, Question};
use super::report::{AT, Beside, middle};
use super::subject::{Certificate, Subject, ending, free};
use crate::bench::measure::of_process;
use crate::bench::say;
use crate::bench::tool::Tool;

/// Connections over which all are asked.
pub(super) const CONNECTIONS: usize = 16;
/// What a kind or a server may take until it is served, and what a policy may take until it is in force.
const IN_FORCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);
/// Seconds of processors that a server uses in a second in which nobody asks it anything.
const AT_REST: f64 = 0.02;
/// Owner of the fields that the bench applies.
const MANAGER: &str = "sluicegate-bench";
/// The Secret in which Kyverno keeps its authority, and that with its certificate.
const AUTHORITY: &str = "kyverno-ca";
const PAIR: &str = "kyverno-pair";

/// What is shown of a log, and of each line in characters.
const LINES: usize = 8;
const LINE: usize = 400;

/// An admission server of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Kyverno,
    Gatekeeper,
}

impl Peer {
    /// In the order in which they are measured. Kyverno is the last: it has its API server ask it about more than the bench does.
    pub(super) const ALL: [Self; 2] = [Self::Gatekeeper, Self::Kyverno];

    /// Name for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kyverno => "Kyverno",
            Self::Gatekeeper => "Gatekeeper",
        }
    }

    fn tool(self) -> Tool {
        match self {
            Self::Kyverno => Tool {
                name: "kyverno",
                folder: "kyverno",
                module: "github.com/kyverno/kyverno",
                command: "/cmd/kyverno",
            },
            Self::Gatekeeper => Tool {
                name: "gatekeeper",
                folder: "gatekeeper",
                module: "github.com/open-policy-agent/gatekeeper/v3",
                command: "",
            },
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Kyverno => "kyverno",
            Self::Gatekeeper => "gatekeeper-system",
        }
    }

    /// Folders of its module with its kinds.
    fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Kyverno => &[
                "config/crds/kyverno",
                "config/crds/policies.kyverno.io",
                "config/crds/policyreport",
                "config/crds/reports",
            ],
            Self::Gatekeeper => &["charts/gatekeeper/crds"],
        }
    }

    /// What it is to decide by.
    fn policy(self) -> &'static str {
        match self {
            Self::Kyverno => include_str!("policies/kyverno.yaml"),
            Self::Gatekeeper => include_str!("policies/gatekeeper.yaml"),
        }
    }

    /// Where its API server would ask it.
    fn path(self, question: Question) -> &'static str {
        match (self, question) {
            (Self::Gatekeeper, _) => "/v1/admit?timeout=5s",
            (Self::Kyverno, Question::Pod | Question::LargePod) => "/vpol/tenant-images?timeout=5s",
            (Self::Kyverno, _) => "/vpol/tenant-sources?timeout=5s",
        }
    }

    fn at_its_path(self, question: Question, mut asks: Vec<Ask>) -> Vec<Ask> {
        for ask in &mut asks {
            self.path(question).clone_into(&mut ask.path);
        }
        asks
    }

    /// Starts it, and waits until it takes connections.
    fn start(self, program: &Path, plane: &Plane, certificate: &Certificate, log: &Path) -> anyhow::Result<Subject> {
        let (listen, probes) = (free()?, free()?);
        let mut command = ending(program);
        command.arg(format!("--kubeconfig={}", plane.cluster.layout().kubeconfig().display()));
        let (host, port) = (listen.ip(), listen.port());
        match self {
            Self::Gatekeeper => {
                // The second makes the kinds of constraints, once.
                command.args(["--operation=webhook", "--operation=generate"]);
                command.args(["--disable-cert-rotation", "--debug-use-fake-pod", "--shutdown-delay=0"]);
                command.arg("--default-create-vap-binding-for-constraints=false");
                command.args([format!("--host={host}"), format!("--port={port}"), format!("--health-addr={probes}")]);
                command.arg(format!("--cert-dir={}", certificate.folder().display()));
                // Its metrics have no address of their own; a free port is what can be asked for.
                command.args(["--prometheus-port=0", "--log-level=ERROR"]);
                command.env("POD_NAMESPACE", self.namespace());
            }
            Self::Kyverno => {
                command.args([format!("--webhookServerHost={host}"), format!("--webhookServerPort={port}")]);
                command.args([format!("--serverIP={host}"), format!("--servicePort={port}")]);
                command.args([format!("--caSecretName={AUTHORITY}"), format!("--tlsSecretName={PAIR}")]);
                command.args([
                    "--tlsKeyAlgorithm=ECDSA",
                    "--disableMetrics=true",
                    "--controllerRuntimeMetricsAddress=0",
                ]);
                command.args(["--admissionReports=false", "--v=0"]);
                command.arg("--omitEvents=PolicyViolation,PolicyApplied,PolicyError,PolicySkipped");
                for (name, value) in [
                    ("KYVERNO_NAMESPACE", self.namespace()),
                    ("KYVERNO_SERVICEACCOUNT_NAME", "kyverno-admission-controller"),
                    ("KYVERNO_ROLE_NAME", "kyverno:admission-controller"),
                    ("KYVERNO_DEPLOYMENT", "kyverno-admission-controller"),
                    ("KYVERNO_POD_NAME", "kyverno-admission-controller"),
                    ("KYVERNO_SVC", "kyverno-svc"),
                    ("INIT_CONFIG", "kyverno"),
                    ("METRICS_CONFIG", "kyverno-metrics"),
                ] {
                    command.env(name, value);
                }
            }
        }
        command.stdout(File::create(log)?).stderr(File::options().append(true).open(log)?);
        let subject = Subject::start(command, listen, certificate.bundle())?;
        let mut subject = subject.wait(self.name(), || TcpStream::connect(listen).is_ok())?;
        if self == Self::Kyverno {
            subject.server.trusted = plane.authority()?;
        }
        Ok(subject)
    }
}

/// One that is built.
pub(super) struct Built {
    peer: Peer,
    program: PathBuf,
    version: String,
}

/// Builds all of them, if that has not been done.
pub(super) fn build() -> anyhow::Result<Vec<Built>> {
    let build = |peer: Peer| peer.tool().build().map(|(program, version)| Built { peer, program, version });
    Peer::ALL.into_iter().map(build).collect()
}

/// Measures each of them in turn with ours, question by question. Ours has the policies of [`AT`] tenants.
pub(super) fn measure(
    peers: &[Built],
    name: &str,
    plan: &Plan<'_>,
    programs: &Programs,
    loader: &Loader,
    folder: &Path,
) -> anyhow::Result<Vec<Beside>> {
    let plane = Plane::start(name)?;
    plane.prepare()?;
    let certificate = Certificate::new(folder)?;
    let ours = Subject::ours(&programs.ours, &certificate, AT, folder)?;
    let mut measured = Vec::new();
    for Built { peer, program, version } in peers {
        say(&format!("{} {version}", peer.name()));
        let log = folder.join(format!("{}.log", peer.tool().name));
        let began = Instant::now();
        let theirs = plane.lead(*peer, program, &certificate, &log, loader).with_context(|| last_words(*peer, &log))?;
        say(&format!("decides, and is at rest, after {} s", began.elapsed().as_secs()));
        for question in QUESTIONS {
            let asked = question.requests(AT, true);
            let asked_theirs = peer.at_its_path(question, asked.clone());
            let shape = Shape::of(CONNECTIONS);
            let rounds = in_turn(
                plan.rounds,
                || cost(loader, &ours.server, shape, plan.seconds, &asked),
                || cost(loader, &theirs.server, shape, plan.seconds, &asked_theirs),
            )
            .with_context(|| last_words(*peer, &log))?;
            let beside = Beside { peer: *peer, version: version.clone(), cell: middle(AT, question, shape, &rounds) };
            say(&format!("{beside:?}"));
            measured.push(beside);
        }
    }
    Ok(measured)
}

/// What all of them can be asked.
const QUESTIONS: [Question; 3] = [Question::Validate, Question::Pod, Question::LargePod];

impl Plane {
    /// Our kinds, and the namespaces that reviews are about: who is asked looks them up.
    fn prepare(&self) -> anyhow::Result<()> {
        self.runtime.block_on(install(&self.cluster))?;
        for namespace in platform::namespaces(AT) {
            self.api.apply(&namespace, MANAGER)?;
        }
        self.calm()
    }

    /// Installs a server with its policy, starts it, and waits until it decides by it.
    fn lead(
        &self,
        peer: Peer,
        program: &Path,
        certificate: &Certificate,
        log: &Path,
        loader: &Loader,
    ) -> anyhow::Result<Subject> {
        let source = peer.tool().source()?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": peer.namespace()}});
        self.api.apply(&namespace, MANAGER)?;
        for folder in peer.kinds() {
            for kind in manifests(&source.join(folder))? {
                self.api.apply(&kind, MANAGER)?;
            }
        }
        // Gatekeeper makes the kinds of constraints from their templates; Kyverno wants to be asked about policies once it runs.
        let (constraints, policies): (Vec<Value>, Vec<Value>) =
            documents(peer.policy())?.into_iter().partition(is_constraint);
        for policy in policies {
            until_in_force(|| Ok(self.api.apply(&policy, MANAGER).map(|_| ())?))?;
        }
        let subject = peer.start(program, self, certificate, log)?;
        for constraint in constraints {
            until_in_force(|| Ok(self.api.create(&collection(&constraint), &constraint.to_string())?))?;
        }
        for question in QUESTIONS {
            let wrong = peer.at_its_path(question, question.forbidden(AT));
            until_in_force(|| loader.run(&subject.server, Shape::of(1), 0.05, &wrong).map(|_| ()))
                .with_context(|| format!("{} decides nothing about a {}", peer.name(), question.name()))?;
        }
        wait_until_at_rest(subject.server.process);
        Ok(subject)
    }

    /// Whom to trust that speaks with Kyverno.
    fn authority(&self) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{}/secrets/{AUTHORITY}", Peer::Kyverno.namespace());
        let mut found = None;
        until_in_force(|| {
            let secret = self.api.get(&path)?.context("Kyverno has no authority yet")?;
            let encoded = secret["data"]["tls.crt"].as_str().context("Kyverno's authority has no certificate")?;
            found = Some(String::from_utf8(STANDARD.decode(encoded)?)?);
            Ok(())
        })?;
        found.context("Kyverno has no authority")
    }
}

/// The end of what it has written down. Errors have stacks in one line.
fn last_words(peer: Peer, log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(LINE).collect()).collect();
    format!("{} said last:\n{}\n", peer.name(), lines[lines.len().saturating_sub(LINES)..].join("\n"))
}

/// Whether it is a constraint, of a kind that Gatekeeper makes.
fn is_constraint(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.starts_with("constraints.gatekeeper.sh/"))
}

/// Where constraints of this kind are created: their kinds have no plural.
fn collection(constraint: &Value) -> String {
    let text = |field: &str| constraint[field].as_str().unwrap_or_default();
    format!("/apis/{}/{}", text("apiVersion"), text("kind").to_lowercase())
}

/// Waits until a process does nothing by itself: what its start costs is no cost of a request. One that never rests is
/// measured as it is.
fn wait_until_at_rest(process: u32) {
    let began = Instant::now();
    while began.elapsed() < IN_FORCE {
        let before = of_process(process, false);
        sleep(Duration::from_secs(1));
        if of_process(process, false) - before <= AT_REST {
            return;
        }
    }
}

/// Tries until it is done.
fn until_in_force(mut attempt: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if began.elapsed() > IN_FORCE => return Err(error),
            Err(_) => sleep(POLL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_rule_for_every_kind_that_it_is_asked_about() {
        for peer in Peer::ALL {
            let policy = documents(peer.policy()).unwrap();
            let text = serde_json::to_string(&policy).unwrap().to_lowercase();
            for word in ["fluxconfig", "pod", "https://git.example.com/", "registry.example.com/"] {
                assert!(text.contains(word), "{}: {word}", peer.name());
            }
            for question in QUESTIONS {
                let asks = peer.at_its_path(question, question.requests(AT, true));
                assert!(asks.iter().all(|ask| ask.path == peer.path(question) && ask.expects == r#""allowed":true"#));
            }
        }
    }

    #[test]
    fn the_version_of_each_is_pinned() {
        for peer in Peer::ALL {
            assert!(peer.tool().version().unwrap().starts_with('v'), "{}", peer.name());
        }
    }

    #[test]
    fn kyverno_is_asked_by_the_names_of_its_policies() {
        let names: Vec<String> = documents(Peer::Kyverno.policy())
            .unwrap()
            .iter()
            .map(|policy| policy["metadata"]["name"].as_str().unwrap().to_owned())
            .collect();
        for question in QUESTIONS {
            let path = Peer::Kyverno.path(question);
            assert!(names.iter().any(|name| path.starts_with(&format!("/vpol/{name}?"))), "{path}");
        }
    }

    #[test]
    fn constraints_are_told_from_what_makes_their_kinds() {
        let (constraints, templates): (Vec<Value>, Vec<Value>) =
            documents(Peer::Gatekeeper.policy()).unwrap().into_iter().partition(is_constraint);
        assert_eq!((constraints.len(), templates.len()), (2, 2));
        for constraint in &constraints {
            let made = templates.iter().any(|template| {
                template["spec"]["crd"]["spec"]["names"]["kind"] == constraint["kind"]
                    && collection(constraint).ends_with(&format!("/{}", template["metadata"]["name"].as_str().unwrap()))
            });
            assert!(made, "{constraint}");
        }
        assert_eq!(collection(&constraints[0]), "/apis/constraints.gatekeeper.sh/v1beta1/tenantsources");
    }
}
