//! The commands, one a file. Each takes its arguments and the terminal, and says with which code to exit.

mod can;
mod check;
mod complete;
mod explain;
mod operator;
mod render;
mod shell;
mod tenant;
mod test;
mod webhook;

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    pin::Pin,
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    manifest::files::CollectError,
    output::Trees,
    platform::{Platform, Request},
    report::{ColorChoice, text, use_color},
};

pub use shell::schemas;
pub use test::PolicyTest;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Fine; `can`: yes.
    Fine = 0,
    /// Violations; `can`: no; `test`: failures.
    Violations = 1,
    /// Could not run, or could not tell.
    CouldNotRun = 2,
}

/// Why a command could not run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing could be looked for.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// Reports that do not go together.
    #[error(transparent)]
    Reports(#[from] crate::report::SpecError),
    /// A report that could not be written.
    #[error(transparent)]
    Write(#[from] crate::report::WriteError),
    /// The terminal, or what stands for it.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// Anything that the user can mend: what was found, and what to do.
    #[error("{0}")]
    Usage(String),
}

/// Completes and validates FluxConfigs against the platform's policies.
#[derive(Debug, Parser)]
#[command(
    name = "sluicegate",
    version,
    about = "The platform operator for Flux: teams say what they need, policies decide, agents stay in their namespace",
    after_help = "Exit codes: 0 fine, 1 violations, 2 could not run.\nRules are documented at https://sluicegate.dev/rules/",
    propagate_version = true,
    max_term_width = 120
)]
pub struct Cli {
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN", help_heading = "Global options")]
    color: ColorChoice,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Judge every FluxConfig, FluxPolicy and FluxCluster in the files; no cluster is needed
    Check(check::Args),
    /// Ask whether a tenant may sync a source, pull an image or deploy to a namespace
    Can(can::Args),
    /// Fill in what FluxConfigs leave to the policies: cluster, namespace, reference, path
    Complete(complete::Args),
    /// Show each effective value of a FluxConfig and where it comes from
    Explain(explain::Args),
    /// Write every object that would be applied; no cluster is needed
    Render(render::Args),
    /// Run the administrators' policy tests
    Test(test::Args),
    /// Run the operator: what makes agents of FluxConfigs, in the management cluster
    Operator(operator::Args),
    /// Run the webhook: what completes and judges objects as they are written, in the management cluster
    Webhook(webhook::Args),
    /// Print the JSON schema of a kind, for editors
    Schema(shell::SchemaArgs),
    /// Print the completion script of a shell
    Completions(shell::CompletionsArgs),
    /// Write the manual pages
    Man(shell::ManArgs),
}

/// Where policies, clusters and namespaces are read from.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ContextArgs {
    /// Files or folders with the policies, clusters and namespaces to judge by
    #[arg(long = "policies", value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Leave out files that match this glob, in the notation of .gitignore; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

impl ContextArgs {
    /// Reads `paths`, or the current folder where there are none, and the context.
    fn load(&self, paths: &[PathBuf], terminal: &Terminal<'_>) -> Result<Platform, CommandError> {
        let paths = if paths.is_empty() { vec![PathBuf::from(".")] } else { paths.to_vec() };
        self.read(paths, terminal)
    }

    /// Reads the context alone; that is the current folder where none is named.
    fn load_context(&self, terminal: &Terminal<'_>) -> Result<Platform, CommandError> {
        if self.policies.is_empty() { self.load(&[], terminal) } else { self.read(Vec::new(), terminal) }
    }

    /// Where somebody else may have written what is read: no file is written through a link there.
    fn trees(&self, paths: &[PathBuf]) -> Trees {
        Trees::of(&[paths, &self.policies].concat())
    }

    fn read(&self, paths: Vec<PathBuf>, terminal: &Terminal<'_>) -> Result<Platform, CommandError> {
        Ok(Platform::load(&Request {
            paths,
            context: self.policies.clone(),
            exclude: self.exclude.clone(),
            progress: terminal.progress,
        })?)
    }
}

/// Where output goes.
pub(crate) struct Terminal<'t> {
    out: &'t mut dyn Write,
    err: &'t mut dyn Write,
    color: bool,
    progress: bool,
}

/// Runs the program with its arguments, the first of which is its own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Asking for help is no error.
            let code = if error.use_stderr() { Exit::CouldNotRun } else { Exit::Fine };
            return if error.print().is_ok() {
                ExitCode::from(code as u8)
            } else {
                ExitCode::from(Exit::CouldNotRun as u8)
            };
        }
    };
    let env = |name: &str| std::env::var_os(name);
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let color = use_color(cli.color, stdout.is_terminal(), env);
    let progress = stderr.is_terminal() && !matches!(env("CI"), Some(ci) if ci == "true" || ci == "1");
    let mut out = io::BufWriter::new(stdout.lock());
    let mut err = stderr;
    let mut terminal = Terminal { out: &mut out, err: &mut err, color, progress };
    let result = dispatch(cli.command, &mut terminal);
    let flushed = out.flush();
    let code = match (result, flushed) {
        // Whoever reads the output has seen enough: `sluicegate … | head`.
        (Err(error), _) if is_closed_pipe(&error) => Exit::CouldNotRun,
        (Ok(_), Err(error)) if is_closed_pipe(&error) => Exit::CouldNotRun,
        (Ok(exit), Ok(())) => exit,
        (Ok(_), Err(error)) => complain(&mut err, &CommandError::Output(error)),
        (Err(error), _) => complain(&mut err, &error),
    };
    ExitCode::from(code as u8)
}

fn complain(err: &mut impl Write, error: &CommandError) -> Exit {
    // Where even that fails there is only the exit code left to say it.
    let _ = writeln!(err, "error: {}", text::escape(&with_causes(error)));
    Exit::CouldNotRun
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Runs what runs in a pod for weeks, until the first SIGTERM, which Kubernetes sends, or SIGINT. It does without transparent huge
/// pages: the allocator asks for them, of which the short commands that work on thousands of files are faster, and a server that
/// keeps many small values is half as large again.
fn serve<E: std::error::Error>(
    server: impl AsyncFnOnce(Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<(), E>,
) -> Result<Exit, CommandError> {
    // A kernel that cannot be asked has none.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server(Box::pin(stop)).await.map_err(usage)
    })?;
    Ok(Exit::Fine)
}

/// What a server that cannot begin says.
fn usage(error: impl std::error::Error) -> CommandError {
    CommandError::Usage(with_causes(&error))
}

/// An error and what caused it: messages do not repeat their source's text.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn dispatch(command: Command, terminal: &mut Terminal<'_>) -> Result<Exit, CommandError> {
    match command {
        Command::Check(args) => args.run(terminal),
        Command::Can(args) => args.run(terminal),
        Command::Complete(args) => args.run(terminal),
        Command::Explain(args) => args.run(terminal),
        Command::Render(args) => args.run(terminal),
        Command::Test(args) => args.run(terminal),
        Command::Operator(args) => args.run(),
        Command::Webhook(args) => args.run(),
        Command::Schema(args) => args.run(terminal),
        Command::Completions(args) => args.run(terminal),
        Command::Man(args) => args.run(terminal),
    }
}

/// The command line as clap knows it, for completions, manual pages and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}
