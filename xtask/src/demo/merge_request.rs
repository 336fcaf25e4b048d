//! The first part: a team's merge request against a copy of `examples/platform`. Files and Git, no cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::screen::Screen;
use crate::process::root;

/// The team's file, in the platform repository.
pub const FILE: &str = "tenants/shop/gift-cards.yaml";

/// A new service of an existing team: what the team knows, and nothing else.
pub const WISH: &str = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: gift-cards, namespace: shop}
spec:
  source: {url: https://git.kestrel.example/shop/gift-cards.git}
";

/// The same, from somebody in a hurry, or from somebody who wants out.
const FORBIDDEN: &str = "\
apiVersion: sluicegate.dev/v1alpha1
kind: FluxConfig
metadata: {name: gift-cards, namespace: shop}
spec:
  source:
    url: https://git.kestrel.example@git.evil.example/shop/gift-cards.git
  namespace: kube-system
  intervall: 1s
";

/// A copy of the example platform, as a repository of its own.
pub struct Platform<'d> {
    screen: &'d Screen,
    /// The program, as it was just built.
    program: PathBuf,
    folder: &'d Path,
}

impl<'d> Platform<'d> {
    /// Copies it to a folder.
    pub fn new(screen: &'d Screen, program: PathBuf, folder: &'d Path) -> Result<Self> {
        copy(&root().join("examples/platform"), folder)?;
        let platform = Self { screen, program, folder };
        platform.git(&["init", "--quiet", "--initial-branch=main"])?;
        platform.git(&["add", "."])?;
        platform.git(&["commit", "--quiet", "--message", "The platform of Kestrel"])?;
        Ok(platform)
    }

    /// From the team's wish to its merge.
    pub fn merge_request(&self) -> Result<()> {
        let screen = self.screen;
        screen.step("A platform repository: clusters, policies, and what teams asked for. Is it in order?")?;
        self.sluicegate(&["check"], true)?;
        screen.step("Administrators test their policies as others test code.")?;
        self.sluicegate(&["test", "--filter", "shop"], true)?;
        screen.step("Team shop opens a merge request for a new service. It says what it knows: which repository.")?;
        self.say_git(&["switch", "--quiet", "--create", "gift-cards"])?;
        self.write(FILE, WISH)?;
        screen.command(&format!("cat {FILE}"));
        screen.output(WISH);
        self.sluicegate(&["check", FILE, "--policies", "."], true)?;
        screen.step("What will be deployed, and which policy says so?")?;
        self.sluicegate(&["explain", "shop/gift-cards"], true)?;
        screen.step("A pipeline fills in the blanks and commits them: a later change of a default moves nothing.")?;
        self.sluicegate(&["complete", "--diff", FILE, "--policies", "."], true)?;
        self.sluicegate(&["complete", "--write", FILE, "--policies", "."], true)?;
        self.commit("Add the gift cards of the shop")?;
        screen
            .step("A change that reaches for more is refused in the merge request: where, why, and what is allowed.")?;
        self.write(FILE, FORBIDDEN)?;
        screen.command(&format!("cat {FILE}"));
        screen.output(FORBIDDEN);
        self.sluicegate(&["check", FILE, "--policies", "."], false)?;
        self.say_git(&["restore", FILE])?;
        screen.step("The same question without a file: may the team run this image?")?;
        self.sluicegate(
            &["can", "shop", "pull", "registry.kestrel.example/payments/api:1.0", "--cluster", "dev"],
            false,
        )?;
        screen.step("The pipeline is green, the merge request is merged.")?;
        self.say_git(&["switch", "--quiet", "main"])?;
        self.say_git(&["merge", "--quiet", "gift-cards"])
    }

    /// Where it is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The text of a file.
    pub fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.path(file)).with_context(|| format!("cannot read {file}"))
    }

    /// Replaces a file.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.path(file), text).with_context(|| format!("cannot write {file}"))
    }

    /// Commits every change, and shows how.
    pub fn commit(&self, message: &str) -> Result<()> {
        self.screen.command(&format!("git add . && git commit -m \"{message}\""));
        self.git(&["add", "."])?;
        self.git(&["commit", "--quiet", "--message", message])
    }

    /// Runs Git and shows it.
    pub fn say_git(&self, arguments: &[&str]) -> Result<()> {
        let shown: Vec<_> = arguments.iter().filter(|argument| **argument != "--quiet").copied().collect();
        self.screen.command(&format!("git {}", shown.join(" ")));
        self.git(arguments)
    }

    /// Runs Git, whatever the developer has configured.
    pub fn git(&self, arguments: &[&str]) -> Result<()> {
        let settings = ["user.name=Sluicegate", "user.email=demo@kestrel.example", "commit.gpgsign=false"];
        let mut command = Command::new("git");
        command.current_dir(self.folder).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .args(arguments)
            .output()
            .context("cannot start git")?;
        if !output.status.success() {
            bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs sluicegate in the repository, and fails where it does not end as it should.
    pub fn sluicegate(&self, arguments: &[&str], fine: bool) -> Result<()> {
        self.screen.command(&format!("sluicegate {}", arguments.join(" ")));
        let mut command = Command::new(&self.program);
        let status = command.args(arguments).current_dir(self.folder).status().context("cannot start sluicegate")?;
        sluicegate_e2e::interrupt::check()?;
        match (status.code(), fine) {
            (Some(0), true) | (Some(1), false) => Ok(()),
            _ => bail!("sluicegate {} ended with {status}, which this demo did not expect", arguments.join(" ")),
        }
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot copy to {}", target.display()))?;
        }
    }
    Ok(())
}
