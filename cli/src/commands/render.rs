//! `sluicegate render`: every object that would be applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use sluicegate_crds::FluxCluster;
use sluicegate_operator::{
    render::{Absence, Account, AgentId, CopySource, Member, Pause, Rendered, Site, render},
    rights,
};
use sluicegate_policy::{Admitted, Verdict, closest, decide};

use super::{CommandError, ContextArgs, Exit, Terminal, usage, with_causes};
use crate::{
    output::{Folder, OutputError, Trees},
    platform::{Judged, Keep, Platform, SourceTexts},
    report::{Outcome, Report, human, text},
};

/// Arguments of `render`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sluicegate render --api-server prod=10.96.0.1:443 --api-server prod=192.0.2.10:6443
                                                 print what the whole repository becomes
  sluicegate render -o rendered --api-server prod=10.96.0.1:443
                                                 one file an agent: rendered/CLUSTER/NAMESPACE.yaml
  sluicegate render tenants/shop --policies . --api-server prod=10.96.0.1:443
                                                 the agents of one team, with everything else that they serve

Agents reach the API servers and little else, so their addresses become part of the objects: those of the Service
kubernetes and of the endpoints behind it (kubectl get service,endpointslices --namespace default).
Secrets are not printed; a note says which ones have to be provided.")]
pub(super) struct Args {
    /// Files and folders, `-` for standard input; the current folder when absent
    paths: Vec<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
    /// Write files to this folder; what an earlier run wrote there and is no more is removed
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Address of an API server of a cluster, IP:PORT; may be repeated, for each cluster too
    #[arg(long = "api-server", value_name = "CLUSTER=ADDRESS")]
    api_servers: Vec<OfCluster<SocketAddr>>,
    /// User that the operator is on a cluster, where it is not the ServiceAccount that is installed with it
    #[arg(long = "operator", value_name = "CLUSTER=USER")]
    operators: Vec<OfCluster<String>>,
}

/// A value for one cluster.
#[derive(Clone, Debug)]
struct OfCluster<T> {
    cluster: String,
    value: T,
}

impl<T: FromStr<Err: std::fmt::Display>> FromStr for OfCluster<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (cluster, value) = text.split_once('=').ok_or("write CLUSTER=VALUE, such as prod=10.96.0.1:443")?;
        let value = value.parse().map_err(|error| format!("{value:?} is none: {error}"))?;
        Ok(Self { cluster: cluster.to_owned(), value })
    }
}

/// First line of every file; a file without it is not ours to remove.
const HEADER: &str = "# Rendered by `sluicegate render`; the next run overwrites what is changed here.\n";

impl Args {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let platform = self.context.load(&self.paths, terminal)?;
        let judged = platform.judge(Keep::Admitted, terminal.progress);
        if let Some(exit) = refuse(&platform, &judged, terminal)? {
            return Ok(exit);
        }
        self.check_clusters(&platform)?;
        let agents = Agents::gather(&platform, &judged);
        if agents.wanted.is_empty() {
            return Err(CommandError::Usage(
                "nothing to render: there is no FluxConfig; name the folder that holds them".to_owned(),
            ));
        }
        let rendered = self.render(&platform, &agents)?;
        match &self.output {
            Some(folder) => write_files(folder, &self.context.trees(&self.paths), &rendered, &agents, terminal)?,
            None => {
                for (agent, rendered) in &rendered {
                    terminal.out.write_all(manifests(agent, rendered)?.as_bytes())?;
                }
            }
        }
        note_copies(&rendered, terminal)?;
        Ok(Exit::Fine)
    }

    /// An address for a cluster that does not exist is a mistake in writing.
    fn check_clusters(&self, platform: &Platform) -> Result<(), CommandError> {
        let known: Vec<&str> =
            platform.clusters.iter().filter_map(|cluster| cluster.object.metadata.name.as_deref()).collect();
        let named = self.api_servers.iter().map(|of| of.cluster.as_str());
        for cluster in named.chain(self.operators.iter().map(|of| of.cluster.as_str())) {
            if !known.contains(&cluster) {
                let hint = match closest(cluster, known.iter().copied()) {
                    Some(closest) => format!("; did you mean {closest}?"),
                    None => format!("; there are {}", known.join(", ")),
                };
                return Err(CommandError::Usage(format!("there is no FluxCluster {cluster:?}{hint}")));
            }
        }
        Ok(())
    }

    fn render(&self, platform: &Platform, agents: &Agents) -> Result<BTreeMap<AgentId, Rendered>, CommandError> {
        let mut sites: BTreeMap<&str, Site> = BTreeMap::new();
        for agent in &agents.wanted {
            let cluster = platform
                .clusters
                .iter()
                .find(|cluster| cluster.object.metadata.name.as_deref() == Some(agent.cluster.as_str()));
            sites
                .entry(&agent.cluster)
                .or_insert_with(|| self.site(&agent.cluster, cluster.map(|cluster| &*cluster.object)));
        }
        let unknown: Vec<String> = sites
            .iter()
            .filter(|(_, site)| site.api_servers.is_empty())
            .map(|(cluster, _)| format!("--api-server {cluster}=IP:PORT"))
            .collect();
        if !unknown.is_empty() {
            return Err(CommandError::Usage(format!(
                "agents reach nothing but the API servers, and no address of one is known; give {}",
                unknown.join(" ")
            )));
        }
        let mut all = BTreeMap::new();
        for (agent, site) in agents.wanted.iter().filter_map(|agent| Some((agent, sites.get(agent.cluster.as_str())?)))
        {
            let members = agents.members.get(agent).map_or(&[][..], Vec::as_slice);
            let members: Vec<Member<'_>> =
                members.iter().map(|admitted| Member { admitted, pause: Pause::Nothing }).collect();
            let rendered = render(agent, &members, site)
                .map_err(|error| CommandError::Usage(format!("cannot render {agent}: {}", with_causes(&error))))?;
            all.insert(agent.clone(), rendered);
        }
        Ok(all)
    }

    fn site(&self, id: &str, cluster: Option<&FluxCluster>) -> Site {
        let operator = match self.operators.iter().find(|of| of.cluster == id) {
            Some(of) => user(&of.value),
            None => Account::ServiceAccount {
                namespace: rights::OPERATOR_NAMESPACE.to_owned(),
                name: rights::OPERATOR.to_owned(),
            },
        };
        Site {
            flux_version: cluster.and_then(|cluster| cluster.spec.flux.as_ref()?.version.clone()),
            api_servers: self.api_servers.iter().filter(|of| of.cluster == id).map(|of| of.value).collect(),
            operator,
        }
    }
}

fn user(name: &str) -> Account {
    match name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => Account::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() },
        None => Account::User(name.to_owned()),
    }
}

/// Shows what is wrong, and says how that ends; nothing is rendered of a platform with mistakes in it.
fn refuse(platform: &Platform, judged: &Judged, terminal: &mut Terminal<'_>) -> Result<Option<Exit>, CommandError> {
    let refused = judged.configs.iter().any(|config| config.outcome != Outcome::Admitted);
    let report = Report::new(judged.findings.clone(), Vec::new());
    if !refused && !report.has_errors() && !platform.unreadable {
        return Ok(None);
    }
    let texts = SourceTexts::of(platform);
    for finding in report.findings() {
        writeln!(terminal.err, "{}\n", human::draw(finding, &|path| texts.get(path), terminal.color))?;
    }
    writeln!(terminal.err, "nothing is rendered until this is mended")?;
    Ok(Some(if platform.unreadable || judged.undetermined { Exit::CouldNotRun } else { Exit::Violations }))
}

/// Who is served by whom.
struct Agents {
    /// Those that serve a FluxConfig of the files that were named.
    wanted: BTreeSet<AgentId>,
    /// All FluxConfigs by agent, those of the context too: an agent is rendered whole.
    members: BTreeMap<AgentId, Vec<Admitted>>,
    /// Of some FluxConfig of the context nobody knows the agent.
    incomplete: bool,
}

impl Agents {
    fn gather(platform: &Platform, judged: &Judged) -> Self {
        let mut agents = Self { wanted: BTreeSet::new(), members: BTreeMap::new(), incomplete: false };
        for admitted in judged.configs.iter().filter_map(|config| config.admitted.clone()) {
            let agent = AgentId::of(admitted.resolved());
            agents.wanted.insert(agent.clone());
            agents.members.entry(agent).or_default().push(*admitted);
        }
        for config in platform.configs.iter().filter(|config| platform.is_context(&config.at)) {
            match decide(&config.object, &judged.policies, &judged.facts) {
                Verdict::Admitted(admitted) if !config.flawed => {
                    agents.members.entry(AgentId::of(admitted.resolved())).or_default().push(*admitted);
                }
                Verdict::Admitted(_) | Verdict::Refused(_) | Verdict::Undetermined(_) => agents.incomplete = true,
            }
        }
        agents
    }
}

/// All objects of an agent, in the order in which they are applied.
fn manifests(agent: &AgentId, rendered: &Rendered) -> Result<String, CommandError> {
    let mut text = HEADER.to_owned();
    // A String takes everything.
    let _ = writeln!(text, "# Agent {} on cluster {}: Flux {}", agent.namespace, agent.cluster, rendered.release);
    for object in &rendered.objects {
        let yaml = serde_saphyr::to_string(&object.manifest)
            .map_err(|error| CommandError::Usage(format!("cannot write {} as YAML: {error}", object.key)))?;
        text.push_str("---\n");
        text.push_str(&yaml);
    }
    Ok(text)
}

fn write_files(
    path: &Path,
    trees: &Trees,
    rendered: &BTreeMap<AgentId, Rendered>,
    agents: &Agents,
    terminal: &mut Terminal<'_>,
) -> Result<(), CommandError> {
    let mut changed = Vec::new();
    // Every place is looked at before the first is written.
    let existing = Folder::open(path, trees).map_err(usage)?;
    for (agent, rendered) in rendered {
        let (text, name) = (manifests(agent, rendered)?, file_name(agent));
        let old = match &existing {
            Some(folder) => read(folder, &agent.cluster, &name)?,
            None => None,
        };
        if old.as_deref() != Some(text.as_bytes()) {
            changed.push((agent, name, text));
        }
    }
    let folder = Folder::make(path, trees).map_err(usage)?;
    for (agent, name, text) in &changed {
        let cluster = folder.make_folder(agent.cluster.as_ref()).map_err(usage)?;
        cluster.write(name.as_ref(), text.as_bytes()).map_err(usage)?;
    }
    let mut removed = 0;
    // Whether an agent is gone is known only if it is known of every FluxConfig which agent serves it.
    if !agents.incomplete {
        let known: BTreeSet<(OsString, OsString)> =
            agents.members.keys().map(|agent| (agent.cluster.clone().into(), file_name(agent).into())).collect();
        removed = remove_stale(&folder, &known)?;
    }
    let (written, same) = (changed.len(), rendered.len() - changed.len());
    writeln!(
        terminal.err,
        "{} in {}: {written} written, {same} unchanged, {removed} removed",
        text::counted(rendered.len(), "agent", "agents"),
        text::line(&path.display().to_string()),
    )?;
    Ok(())
}

/// Name of an agent's file in the folder of its cluster.
fn file_name(agent: &AgentId) -> String {
    format!("{}.yaml", agent.namespace)
}

fn read(folder: &Folder, cluster: &str, name: &str) -> Result<Option<Vec<u8>>, CommandError> {
    match folder.folder(cluster.as_ref()).map_err(usage)? {
        Some(cluster) => cluster.read(name.as_ref()).map_err(usage),
        None => Ok(None),
    }
}

/// Removes the files that an earlier run wrote and that are not among those that are known; returns how many. Looks only as
/// deep as files are written.
fn remove_stale(folder: &Folder, known: &BTreeSet<(OsString, OsString)>) -> Result<usize, CommandError> {
    let mut removed = 0;
    for cluster in folder.names().map_err(usage)? {
        let inside = match folder.folder(&cluster) {
            Ok(Some(inside)) => inside,
            // A file, or a link: nothing that was written here.
            Ok(None) | Err(OutputError::Link { .. } | OutputError::NotAFolder { .. }) => continue,
            Err(error) => return Err(usage(error)),
        };
        let before = removed;
        for name in inside.names().map_err(usage)? {
            let ours = || inside.read(&name).ok().flatten().is_some_and(|bytes| bytes.starts_with(HEADER.as_bytes()));
            if !known.contains(&(cluster.clone(), name.clone())) && ours() {
                inside.remove(&name).map_err(usage)?;
                removed += 1;
            }
        }
        if removed > before {
            folder.remove_empty(&cluster);
        }
    }
    Ok(removed)
}

/// Says which Secrets and ConfigMaps are not among what was rendered.
fn note_copies(rendered: &BTreeMap<AgentId, Rendered>, terminal: &mut Terminal<'_>) -> Result<(), CommandError> {
    let copies: Vec<_> =
        rendered.iter().flat_map(|(agent, rendered)| rendered.copies.iter().map(move |copy| (agent, copy))).collect();
    if copies.is_empty() {
        return Ok(());
    }
    writeln!(
        terminal.err,
        "{} to provide, which no file should hold:",
        text::counted(copies.len(), "Secret or ConfigMap", "Secrets and ConfigMaps")
    )?;
    for (agent, copy) in copies {
        let from = match &copy.from {
            CopySource::Platform { name } => format!("the platform's {name}"),
            CopySource::Tenant { home, name, .. } => format!("{home}/{name} of the team"),
            CopySource::Beside { name, .. } => format!("{}/{name} of the team", copy.object.key.namespace),
        };
        let absence = match copy.absence {
            Absence::Fine => ", if there is one",
            Absence::Empty => ", empty if there is none",
            Absence::Wrong => "",
        };
        let key = &copy.object.key;
        let copy = format!("{} {} {}/{}: a copy of {from}{absence}", agent.cluster, key.kind, key.namespace, key.name);
        writeln!(terminal.err, "  {}", text::line(&copy))?;
    }
    Ok(())
}
