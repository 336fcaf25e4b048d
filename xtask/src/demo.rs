//! `cargo xtask demo`: a team's merge request against the example platform, on the screen.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, root, run};

/// Arguments of `demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Wait for Enter between the steps
    #[arg(long)]
    step: bool,
}

/// A new service of an existing team: what the team knows, and nothing else.
const WISH: &str = "\
# Gift cards, a new service of the shop.
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

impl Args {
    /// Runs it.
    pub fn run(&self) -> Result<()> {
        println!("Building sluicegate …");
        run(cargo().args(["build", "--quiet", "--package", "sluicegate-cli"]))?;
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let platform = scratch.path().join("platform");
        copy(&root().join("examples/platform"), &platform)?;
        let demo = Demo { program: program()?, platform: &platform, wait: self.step };
        demo.title("A platform repository: clusters, policies, and what teams asked for. Is it in order?");
        demo.sluicegate(&["check"], true)?;
        demo.title("Administrators test their policies as others test code.");
        demo.sluicegate(&["test", "--filter", "shop"], true)?;
        demo.title("Team shop opens a merge request. It says what it knows: which repository.");
        demo.write("tenants/shop/gift-cards.yaml", WISH)?;
        demo.sluicegate(&["check", "tenants/shop/gift-cards.yaml", "--policies", "."], true)?;
        demo.title("Automation fills in the blanks and commits them: a later change of a default moves nothing.");
        demo.sluicegate(&["complete", "--diff", "tenants/shop/gift-cards.yaml", "--policies", "."], true)?;
        demo.sluicegate(&["complete", "--write", "tenants/shop/gift-cards.yaml", "--policies", "."], true)?;
        demo.title("Where does each value come from?");
        demo.sluicegate(&["explain", "shop/gift-cards"], true)?;
        demo.title("Now a change that reaches for more. The merge request says no: where, why, and what is allowed.");
        demo.write("tenants/shop/gift-cards.yaml", FORBIDDEN)?;
        demo.sluicegate(&["check", "tenants/shop/gift-cards.yaml", "--policies", "."], false)?;
        demo.title("And without a file: may the team run this image?");
        demo.sluicegate(&["can", "shop", "pull", "registry.kestrel.example/payments/api:1.0"], false)?;
        println!("\nThat was the merge request. docs/for-teams.md and docs/for-administrators.md go on from here.");
        Ok(())
    }
}

struct Demo<'d> {
    program: PathBuf,
    platform: &'d Path,
    wait: bool,
}

impl Demo<'_> {
    fn title(&self, text: &str) {
        if self.wait {
            println!("\n[Enter]");
            // Without a terminal there is nobody to wait for.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        println!("\n\x1b[1m# {text}\x1b[0m");
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        println!("\n$ cat {path}\n{text}");
        fs::write(self.platform.join(path), text).with_context(|| format!("cannot write {path}"))
    }

    /// Runs sluicegate in the platform repository, and fails where it does not end as it should.
    fn sluicegate(&self, arguments: &[&str], fine: bool) -> Result<()> {
        println!("$ sluicegate {}", arguments.join(" "));
        let status = Command::new(&self.program)
            .args(arguments)
            .current_dir(self.platform)
            .status()
            .context("cannot start sluicegate")?;
        println!();
        match (status.code(), fine) {
            (Some(0), true) | (Some(1), false) => Ok(()),
            _ => bail!("sluicegate {} ended with {status}, which this demo did not expect", arguments.join(" ")),
        }
    }
}

/// The program that was just built.
fn program() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf().join("debug/sluicegate"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
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
