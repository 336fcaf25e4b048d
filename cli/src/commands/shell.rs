//! `sluicegate schema`, `completions` and `man`: what goes into editors, shells and packages.

use std::path::PathBuf;

use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::Value;

use super::{CommandError, Exit, PolicyTest, Terminal, command, usage};
use crate::{
    output::{Folder, Trees},
    report::json,
};

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In an editor with a YAML language server, as the first line of a FluxConfig:
  # yaml-language-server: $schema=fluxconfig.schema.json")]
pub(super) struct SchemaArgs {
    /// Which schema; all of them, one a line, when absent
    #[arg(value_enum)]
    kind: Option<SchemaKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SchemaKind {
    Fluxcluster,
    Fluxconfig,
    Fluxpolicy,
    Policytest,
    /// The report of `check --report json`
    Report,
}

impl SchemaArgs {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let schemas = schemas();
        match self.kind {
            None => {
                for (name, _) in &schemas {
                    writeln!(terminal.out, "{name}")?;
                }
            }
            Some(kind) => {
                let wanted = clap::ValueEnum::to_possible_value(&kind).map(|value| value.get_name().to_owned());
                for (_, schema) in schemas.iter().filter(|(name, _)| Some(name) == wanted.as_ref()) {
                    writeln!(terminal.out, "{schema:#}")?;
                }
            }
        }
        Ok(Exit::Fine)
    }
}

/// All schemas by name: the kinds, `policytest` and `report`.
pub fn schemas() -> Vec<(String, Value)> {
    let mut schemas = sluicegate_crds::generate::editor_schemas();
    schemas.push(("policytest".to_owned(), PolicyTest::schema()));
    schemas.push(("report".to_owned(), json::schema()));
    schemas
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "sluicegate", &mut script);
        terminal.out.write_all(&script)?;
        Ok(Exit::Fine)
    }
}

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Folder to write them to, a file a command; it must exist
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl ManArgs {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
        let Some(folder) = Folder::open(&self.folder, &Trees::of(&[])).map_err(usage)? else {
            return Err(CommandError::Usage(format!(
                "the folder {} does not exist; make it first",
                self.folder.display()
            )));
        };
        let pages = pages(command());
        // Every place is looked at before the first is written.
        for page in &pages {
            folder.check(page.get_filename().as_ref()).map_err(usage)?;
        }
        for page in &pages {
            let mut text = Vec::new();
            page.render(&mut text)?;
            folder.write(page.get_filename().as_ref(), &text).map_err(usage)?;
        }
        writeln!(terminal.err, "manual pages are in {}", self.folder.display())?;
        Ok(Exit::Fine)
    }
}

/// The page of a command and those of its subcommands.
fn pages(command: clap::Command) -> Vec<Man> {
    fn collect(command: &clap::Command, pages: &mut Vec<Man>) {
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            collect(subcommand, pages);
        }
        pages.push(Man::new(command.clone()));
    }
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, &mut pages);
    pages
}
