//! Programs of others that run beside ours.
//!
//! They are built from source in the exact versions of the Go modules under `e2e/modules`, whose `go.sum` pins every byte, and
//! kept outside of the checkout.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// A command of a Go module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tool {
    /// Its name.
    pub(super) name: &'static str,
    /// Folder under `e2e/modules`.
    pub(super) folder: &'static str,
    /// The module that it is from.
    pub(super) module: &'static str,
    /// Path of the command in that module, with a slash before it; empty where it is the module's root.
    pub(super) command: &'static str,
}

impl Tool {
    /// Builds it, if that has not been done, and returns the program and its version.
    pub(super) fn build(&self) -> anyhow::Result<(PathBuf, String)> {
        let Self { name, module, command, .. } = self;
        let version = self.version()?;
        let program = cache()?.join(format!("{name}-{version}"));
        if program.exists() {
            return Ok((program, version));
        }
        super::say(&format!("building {name} {version} from source; this is done once and takes minutes"));
        // A name that is not the final one, so that a build that is broken off leaves nothing behind.
        let partial = program.with_extension(format!("{}.partial", std::process::id()));
        let status = self
            .go(&["build", "-buildvcs=false", "-trimpath", "-mod=readonly", "-ldflags=-s -w", "-o"])
            .arg(&partial)
            .arg(format!("{module}{command}"))
            .status()
            .context("go, which builds the tools to compare with; --no-peers does without them")?;
        ensure!(status.success(), "go build of {name} {version} ended with {status}");
        fs::rename(&partial, &program)?;
        Ok((program, version))
    }

    /// The folder with the source of its module, fetched if need be.
    pub(super) fn source(&self) -> anyhow::Result<PathBuf> {
        #[derive(Deserialize)]
        struct Download {
            #[serde(rename = "Dir")]
            folder: PathBuf,
        }
        let output =
            self.go(&["mod", "download", "-json", self.module]).stderr(Stdio::inherit()).output().context("go")?;
        ensure!(output.status.success(), "go mod download of {} ended with {}", self.module, output.status);
        Ok(serde_json::from_slice::<Download>(&output.stdout).context("what go mod download says")?.folder)
    }

    /// The version that is pinned.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        let manifest = self.manifest();
        let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        let required = required(&text, self.module);
        required.with_context(|| format!("{} does not require {}", manifest.display(), self.module))
    }

    fn manifest(&self) -> PathBuf {
        crate::process::root().join("e2e/modules").join(self.folder).join("go.mod")
    }

    /// `go` in its folder, which leaves the machine usable.
    fn go(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "5", "go"]).args(arguments);
        command.current_dir(self.manifest().parent().unwrap_or(Path::new(".")));
        // A workspace file above the checkout, or flags of the developer's own, must not change what is built.
        command.env("GOWORK", "off").env("CGO_ENABLED", "0").env_remove("GOFLAGS");
        command
    }
}

/// The version of a module that a `go.mod` requires.
fn required(manifest: &str, module: &str) -> Option<String> {
    let lines = manifest.lines().map(|line| line.trim().trim_start_matches("require "));
    let versions = lines.filter_map(|line| line.strip_prefix(module)?.strip_prefix(' ')?.split_whitespace().next());
    versions.map(str::to_owned).next()
}

/// Where built programs are kept.
fn cache() -> anyhow::Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor a home folder is known")?;
    let folder = base.join("sluicegate/bin");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::Peer;

    #[test]
    fn every_tool_to_compare_with_is_pinned() {
        for peer in Peer::ALL {
            assert!(peer.tool().version().unwrap().starts_with('v'), "{}", peer.name());
        }
    }

    #[test]
    fn the_version_is_that_of_the_module_and_not_of_one_whose_name_begins_alike() {
        let manifest = "module x\n\ntool example.com/a/cmd\n\nrequire (\n\texample.com/a/b v1.0.0 // indirect\n\
                        \texample.com/a v2.3.4 // indirect\n)\n\nreplace example.com/a/b => example.com/c v9.0.0\n";
        assert_eq!(required(manifest, "example.com/a").as_deref(), Some("v2.3.4"));
        assert_eq!(required(manifest, "example.com/a/b").as_deref(), Some("v1.0.0"));
        assert_eq!(required("require example.com/a v1.2.3\n", "example.com/a").as_deref(), Some("v1.2.3"));
        assert_eq!(required(manifest, "example.com/d"), None);
    }
}
