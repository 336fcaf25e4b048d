//! Licences of all dependencies, held against the list in deny.toml.
//!
//! `cargo deny` reads the same file and also knows advisories; this needs nothing but what is in the registry's cache, so it
//! runs on every machine and in every test run.

use std::fs;

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use crate::process::root;

#[derive(Deserialize)]
struct Deny {
    licenses: Licences,
}

#[derive(Deserialize)]
struct Licences {
    allow: Vec<String>,
}

/// Fails where a dependency has a licence that deny.toml does not allow, or none.
pub fn check() -> Result<()> {
    let text = fs::read_to_string(root().join("deny.toml")).context("cannot read deny.toml")?;
    let deny: Deny = toml::from_str(&text).context("deny.toml is malformed")?;
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).exec()?;
    let mut refused = Vec::new();
    let mut checked = 0;
    for package in metadata.packages.iter().filter(|package| package.source.is_some()) {
        checked += 1;
        let Some(licence) = &package.license else {
            refused.push(format!("{} {}: no licence", package.name, package.version));
            continue;
        };
        let expression =
            Expression::parse_mode(licence, ParseMode::LAX).with_context(|| format!("{}: {licence}", package.name))?;
        let allowed = expression.evaluate(|requirement| {
            let id = requirement.license.id().map(|id| id.name);
            // An exception only adds permissions.
            id.is_some_and(|id| deny.licenses.allow.iter().any(|allowed| allowed == id))
        });
        if !allowed {
            refused.push(format!("{} {}: {licence}", package.name, package.version));
        }
    }
    if refused.is_empty() {
        println!("{checked} dependencies have licences that deny.toml allows");
        return Ok(());
    }
    bail!("licences that deny.toml does not allow:\n  {}", refused.join("\n  "))
}
