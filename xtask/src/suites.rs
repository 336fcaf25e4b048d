//! The suites that need a cluster, and what is done about a test of theirs that fails.
//!
//! A test that waits for a real cluster can fail because the machine was busy elsewhere. With `--flake-attempts` such a test is run
//! again by itself on a cluster of its own, as Kubernetes' end-to-end tests are; that it needed another attempt is said at the end,
//! and one that fails every time fails the run. See docs/decisions/013-a-second-attempt.md.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::process::{cargo, root, run, shown};

/// The suites that share a cluster.
const SHARING: [&str; 6] = ["crds", "flux", "guard", "operator", "smoke", "webhook"];
/// The suite that starts clusters of its own.
const ALONE: &str = "lifecycle";
/// Their tests mostly wait for the cluster, so there are more threads than cores.
const SHARING_THREADS: &str = "4";
/// Those of the other suite start clusters.
const ALONE_THREADS: &str = "2";
/// More failures than this are no accident.
const FLAKES: usize = 3;

/// Runs all of them: a cluster is started for those that share one, and ended whatever happens; those about clusters themselves
/// start their own. The suites get `environment` beside this process's own. Gives the tests that passed, and not at once.
pub fn test(attempts: u32, environment: &[(&str, &str)]) -> Result<Vec<String>> {
    // Built first, so that the cluster does not wait for the compiler.
    run(cargo().args(["build", "--package", "sluicegate-cli", "--quiet"]))?;
    run(cargo().args(["test", "--package", "sluicegate-e2e", "--no-run", "--quiet"]))?;
    let xtask = std::env::current_exe().context("cannot find this program")?;
    let shared = || {
        let mut command = Command::new(&xtask);
        command.current_dir(root()).envs(environment.iter().copied());
        command.args(["cluster", "run", "--"]).arg(cargo().get_program());
        command
    };
    let alone = || {
        let mut command = cargo();
        command.envs(environment.iter().copied());
        command
    };
    let mut flaky = again(attempts, shared, &SHARING, SHARING_THREADS)?;
    flaky.extend(again(attempts, alone, &[ALONE], ALONE_THREADS)?);
    Ok(flaky)
}

/// Runs suites, and then what failed by itself, until nothing fails or there is no attempt left.
fn again(attempts: u32, runner: impl Fn() -> Command, suites: &[&str], threads: &str) -> Result<Vec<String>> {
    let command = || {
        let mut command = runner();
        command.args(["test", "--package", "sluicegate-e2e", "--no-fail-fast"]);
        command.args(suites.iter().flat_map(|suite| ["--test", suite]));
        command
    };
    let (mut failing, mut flaky) = (Vec::new(), Vec::new());
    for attempt in 1..=attempts.max(1) {
        let mut command = command();
        if attempt == 1 {
            command.args(["--", "--test-threads", threads]);
        } else {
            println!("\n--- attempt {attempt} of {attempts}: {}", failing.join(", "));
            command.args(["--", "--test-threads", "1", "--exact"]).args(&failing);
        }
        match failures(&mut command)? {
            Outcome::Passed => {
                flaky.append(&mut failing);
                return Ok(flaky);
            }
            Outcome::Failed(names) => {
                flaky.extend(failing.into_iter().filter(|name| !names.contains(name)));
                failing = names;
            }
        }
        if failing.is_empty() || failing.len() > FLAKES {
            break;
        }
    }
    bail!(
        "{} failed: {}",
        suites.join(", "),
        if failing.is_empty() { "see above".to_owned() } else { failing.join(", ") }
    )
}

/// How a run of suites ended.
enum Outcome {
    Passed,
    /// The tests that failed by name; none where the run ended without saying so.
    Failed(Vec<String>),
}

/// Shows a command, runs it, shows what it prints, and reads from it which tests failed.
fn failures(command: &mut Command) -> Result<Outcome> {
    let shown = shown(command);
    println!("$ {shown}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {shown}"))?;
    let mut names = Vec::new();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line.with_context(|| format!("cannot read what {shown} prints"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            names.extend(failed(&line).map(str::to_owned));
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {shown}"))?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed(names) })
}

/// The test that a line of Rust's test runner says has failed.
fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeSet};

    use super::*;

    #[test]
    fn no_suite_is_forgotten() {
        let entries = std::fs::read_dir(root().join("e2e/tests")).unwrap();
        let found: BTreeSet<String> =
            entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(found, SHARING.into_iter().chain([ALONE]).map(str::to_owned).collect());
    }

    /// A runner that prints these lines and fails, one text for each attempt; an empty one passes.
    fn prints<'a>(attempts: &'a [&'a str], made: &'a Cell<usize>) -> impl Fn() -> Command + 'a {
        move || {
            let text = attempts[made.replace(made.get() + 1)];
            let mut command = Command::new("sh");
            command.args(["-c", r#"printf '%s\n' "$0"; test -z "$0""#, text]);
            command
        }
    }

    #[test]
    fn one_that_passes_at_the_second_attempt_is_told() {
        let made = Cell::new(0);
        let output = ["test a::fine ... ok\ntest a::busy ... FAILED", ""];
        assert_eq!(again(2, prints(&output, &made), &["a"], "4").unwrap(), ["a::busy"]);
        assert_eq!(made.get(), 2);
    }

    #[test]
    fn one_that_fails_every_time_fails_the_run() {
        let made = Cell::new(0);
        let output = ["test a::one ... FAILED\ntest a::two ... FAILED", "test a::two ... FAILED"];
        let said = again(2, prints(&output, &made), &["a"], "4").unwrap_err().to_string();
        assert_eq!((said.as_str(), made.get()), ("a failed: a::two", 2));
    }

    #[test]
    fn nothing_is_run_again_unless_it_is_asked_for_and_few_tests_failed() {
        let four = (0..4).map(|number| format!("test {number} ... FAILED\n")).collect::<String>();
        for (attempts, output) in [(1, "test a ... FAILED"), (2, four.as_str()), (2, "error: could not compile")] {
            let made = Cell::new(0);
            assert!(again(attempts, prints(&[output], &made), &["a"], "4").is_err());
            assert_eq!(made.get(), 1, "{output}");
        }
    }
}
