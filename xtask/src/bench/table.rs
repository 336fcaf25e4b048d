//! The result as a Markdown table, and its place in the documentation.

use std::fmt::Write as _;
use std::fs;
use std::thread;

use anyhow::Context as _;

use super::check::Measured;
use super::programs::Role;
use super::targets::{Target, mebibytes};

const DOCS: &str = "docs/performance.md";

/// The machine, such as `2 cores, AMD EPYC`.
pub(super) fn machine() -> String {
    format!("{} cores, {}", thread::available_parallelism().map_or(1, usize::from), processor())
}

/// The machine and the measurements.
pub(super) fn draw(measured: &[Measured], runs: u32) -> String {
    let mut text = format!("{}; {runs} runs of each program, in turn (peers: every third time).\n\n", machine());
    text.push_str(
        "| FluxConfigs | program | best, s | median, s | CPU, s | per second | peak, MiB | to the bare reader |\n\
         | ---: | :--- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for entry in measured {
        let bare = measured.iter().find(|other| other.configs == entry.configs && other.role == Role::Bare);
        let seconds = entry.best.as_secs_f64();
        let ratio = bare.map_or(String::new(), |bare| format!("{:.2}", seconds / bare.best.as_secs_f64()));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {seconds:.3} | {:.3} | {:.3} | {} | {:.0} | {ratio} |",
            thousands(entry.configs),
            entry.name,
            entry.median.as_secs_f64(),
            entry.cpu.as_secs_f64(),
            thousands((entry.configs as f64 / seconds) as usize),
            mebibytes(entry.peak),
        );
    }
    text
}

/// The promises and how they were kept.
pub(super) fn targets(targets: &[Target]) -> String {
    let mut text = "| promise | measured | |\n| :--- | ---: | :--- |\n".to_owned();
    for Target { promise, measured, met } in targets {
        let _ = writeln!(text, "| {promise} | {measured} | {} |", if *met { "kept" } else { "**missed**" });
    }
    text
}

fn processor() -> String {
    let unknown = || "processor unknown".to_owned();
    let Ok(info) = fs::read_to_string("/proc/cpuinfo") else { return unknown() };
    let model =
        info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()));
    model.unwrap_or_else(unknown)
}

/// With a comma between thousands.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Puts the text between the markers that the documentation has for this bench.
pub(super) fn write_docs(bench: &str, text: &str) -> anyhow::Result<()> {
    let path = crate::process::root().join(DOCS);
    let page = fs::read_to_string(&path).context(DOCS)?;
    let page = replace(&page, bench, text).with_context(|| format!("{DOCS} has no markers for the table"))?;
    fs::write(&path, page).context(DOCS)
}

fn replace(page: &str, bench: &str, text: &str) -> Option<String> {
    let marker = |word: &str| format!("<!-- written by `cargo xtask bench {bench} --write-docs`: {word} -->\n");
    let (begin, end) = (marker("begin"), marker("end"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (123_456, "123,456"), (1_000_000, "1,000,000")]
        {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let part = |bench: &str, text: &str| {
            let marker = |word| format!("<!-- written by `cargo xtask bench {bench} --write-docs`: {word} -->\n");
            format!("{}{text}{}", marker("begin"), marker("end"))
        };
        let page = |text: &str| format!("before\n{}between\n{}after\n", part("a", "a\n"), part("b", text));
        let once = replace(&page("old\n"), "b", "new\n").unwrap();
        assert_eq!(once, page("\nnew\n\n"));
        assert_eq!(replace(&once, "b", "new\n").unwrap(), once);
        assert_eq!(replace(&once, "c", "new\n"), None);
    }

    #[test]
    fn the_documentation_has_the_markers() {
        let page = fs::read_to_string(crate::process::root().join(DOCS)).unwrap();
        for bench in ["check", "operator", "webhook"] {
            assert!(replace(&page, bench, "").is_some(), "{bench}");
        }
    }
}
