//! `cargo xtask demo`: the main job on the screen. A team's merge request against the example platform, and then, on a
//! cluster, everything that follows from it: an agent, a workload, an update, a refusal, an end.
//!
//! [`merge_request`] needs files and Git only. Behind it [`stage`] makes a cluster ready, on which [`play`] goes on.

mod files;
mod merge_request;
mod play;
mod screen;
mod stage;

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use sluicegate_e2e::{
    api::Api,
    cluster::Cluster,
    images::{Image, probe_as},
    interrupt,
};

use self::{
    merge_request::Platform,
    play::{Play, Source},
    screen::Screen,
    stage::{Backstage, Existing},
};
use crate::{
    image,
    process::{cargo, run, target_directory},
};

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Wait for Enter before each step
    #[arg(long)]
    step: bool,
    /// Only the merge request: no cluster, no root
    #[arg(long)]
    no_cluster: bool,
    /// Name of the cluster; one that runs already is used, and left
    #[arg(long, default_value = "demo")]
    name: String,
}

impl Args {
    /// Runs it; the exit code is 0, 1 (something failed) or 130 (Ctrl-C).
    pub fn run(&self) -> ExitCode {
        let outcome = self.play();
        if interrupt::requested() {
            println!("\nStopped. Nothing is left of it.");
            return ExitCode::from(130);
        }
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("\nerror: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn play(&self) -> Result<()> {
        let existing = if self.no_cluster { None } else { Existing::find()? };
        interrupt::install()?;
        println!("Building sluicegate …");
        run(cargo().args(["build", "--quiet", "--package", "sluicegate-cli"]))?;
        let program = target_directory()?.join("debug/sluicegate");
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let screen = Screen::new(self.step);
        let own = !self.no_cluster && existing.is_none() && nix::unistd::geteuid().is_root();
        let backstage = if own { Some(Backstage::start(&self.name, scratch.path())?) } else { None };

        screen.part("The merge request: files, no cluster");
        let folder = scratch.path().join("platform");
        let platform = Platform::new(&screen, program, &folder)?;
        platform.merge_request()?;
        if self.no_cluster {
            println!("\nThat was the merge request. Without --no-cluster it goes on: agent, workload, update, end.");
            return Ok(());
        }
        screen.part("The cluster: what follows from the merge");
        match (backstage, existing) {
            (Some(backstage), _) => on_own(&screen, &platform, backstage)?,
            (None, Some(existing)) => on_existing(&screen, &platform, existing)?,
            (None, None) => bail!(
                "the second part starts a Kubernetes node on this machine, which takes root: `sudo -E cargo xtask demo`; \
                 or name a cluster of yours with SLUICEGATE_E2E_KUBECONFIG, or leave it out with --no-cluster"
            ),
        }
        println!(
            "\nRead on: docs/for-teams.md, docs/for-administrators.md. Look around yourself: `cargo xtask cluster up`."
        );
        Ok(())
    }
}

/// On a cluster of this machine, which ends afterwards.
fn on_own(screen: &Screen, platform: &Platform<'_>, mut backstage: Backstage) -> Result<()> {
    screen.step("A Kubernetes node with Flux on this machine: upstream's programs, built while you were reading.")?;
    let cluster = backstage.wait(screen)?;
    screen.command(&format!("export KUBECONFIG={}", cluster.layout().kubeconfig().display()));
    screen.note("What follows needs no kubectl: the demo makes the same calls, and shows the commands you would type.");
    let images = [Image::at(&image::deployed()?, &image::archive()?), probe_as(files::IMAGE)?];
    cluster.load_images(&images)?;
    let source = Source::own(&cluster)?;
    let api = Api::new(&cluster.layout().kubeconfig())?;
    let name = cluster.name().to_owned();
    Play { screen, platform, api, source, image: None }.perform()?;
    backstage.end()?;
    match Cluster::open(&name) {
        Ok(_) => screen.good(&format!("cluster {name} was there before the demo, and stays")),
        Err(_) => screen.good("the cluster has ended: no process, no network, no file is left"),
    }
    Ok(())
}

/// On a cluster of the reader's, from which everything is taken away again.
fn on_existing(screen: &Screen, platform: &Platform<'_>, existing: Existing) -> Result<()> {
    screen.step("Your cluster: what differs there.")?;
    let source = Source::public();
    screen.note("Your nodes cannot reach this machine's Git server, so the team deploys a public repository:");
    screen.note(&format!("  {} (others: SLUICEGATE_DEMO_REPOSITORY, _BRANCH and _PATH)", source.url()));
    screen.note("Nobody pushes to that here, so the update by a commit is left out. All else is the same.");
    screen.note(&format!("Sluicegate's image is pulled from {} (SLUICEGATE_IMAGE).", existing.image));
    let api = Api::new(&existing.kubeconfig)?;
    let play = Play { screen, platform, api, source, image: Some(existing.image) };
    play.ensure_free()?;
    let outcome = play.perform();
    let cleared = play.clear();
    outcome.and(cleared)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use sluicegate_cli::{
        platform::{Keep, Platform as Files, Request},
        report::model::Outcome,
    };
    use sluicegate_crds::AgentComponent;
    use sluicegate_e2e::{
        programs::{FLUX, version},
        suite::operator::documents,
    };
    use sluicegate_operator::flux::releases;

    use super::{
        files::{DEV, IMAGE, gift_cards, here},
        merge_request::{FILE, WISH, copy},
    };
    use crate::process::root;

    /// The platform repository of the second part, with a team's file.
    fn platform(folder: &Path, file: &str) -> Files {
        copy(&root().join("examples/platform"), folder).unwrap();
        for (path, text) in [
            ("clusters/dev.yaml", DEV),
            ("policies/here.yaml", &here(Some("https://git.example.com/x"), "kubernetes-admin")),
            (FILE, file),
        ] {
            fs::write(folder.join(path), text).unwrap();
        }
        Files::load(&Request { paths: vec![folder.to_owned()], ..Request::default() }).unwrap()
    }

    #[test]
    fn what_the_demo_adds_to_the_example_platform_is_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let judged = platform(folder.path(), WISH).judge(Keep::Admitted, false);
        assert!(judged.configs.iter().all(|config| config.outcome == Outcome::Admitted), "{:?}", judged.findings);
        let gift_cards = judged.configs.iter().filter_map(|config| config.admitted.as_deref());
        let gift_cards =
            gift_cards.map(|admitted| admitted.resolved()).find(|resolved| &*resolved.name == "gift-cards");
        let agent = &gift_cards.unwrap().terms.standing.agent;
        assert_eq!(agent.image_registry.value, "ghcr.io/fluxcd");
    }

    #[test]
    fn what_the_demo_reaches_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = WISH.replace("shop/gift-cards.git", "payments/ledger.git");
        let judged = platform(folder.path(), &file).judge(Keep::Outcome, false);
        let refused: Vec<_> = judged.configs.iter().filter(|config| config.outcome != Outcome::Admitted).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].rules.iter().map(|rule| rule.id()).collect::<Vec<_>>(), ["source-not-allowed"]);
    }

    #[test]
    fn the_release_that_the_demo_names_is_the_one_that_the_harness_builds() {
        let cluster = documents(DEV).unwrap().remove(0);
        let release = releases::resolve(cluster["spec"]["flux"]["version"].as_str().unwrap()).unwrap();
        for (controller, component) in FLUX.into_iter().zip([AgentComponent::Source, AgentComponent::Kustomize]) {
            assert_eq!(version(controller).unwrap(), release.tag(component), "{}", controller.name);
        }
    }

    #[test]
    fn the_team_s_repository_runs_the_image_that_is_loaded() {
        let objects = documents(&gift_cards("Ten percent off: today")).unwrap();
        let container = &objects[0]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            (container["image"].as_str(), container["env"][0]["value"].as_str()),
            (Some(IMAGE), Some("Ten percent off: today"))
        );
        assert_eq!(objects[1]["spec"]["selector"], objects[0]["spec"]["template"]["metadata"]["labels"]);
    }
}
