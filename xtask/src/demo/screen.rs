//! What the demo looks like: numbered steps, the commands that a reader would type, and what came of them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sluicegate_e2e::{
    error::{Error, Result},
    interrupt,
};

/// Between two looks at something that changes.
const LOOK: Duration = Duration::from_millis(250);
/// Longest line of a changing state, in characters.
const WIDTH: usize = 108;

/// Standard output, with colours only where somebody sees them.
pub struct Screen {
    color: bool,
    wait: bool,
    steps: Cell<usize>,
}

impl Screen {
    /// `wait`: for Enter before each step, where there is a terminal to press it on.
    pub fn new(wait: bool) -> Self {
        let color = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { color, wait: wait && io::stdin().is_terminal(), steps: Cell::new(0) }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The beginning of a part.
    pub fn part(&self, text: &str) {
        println!("\n{}", self.paint("1;36", &format!("=== {text} ===")));
    }

    /// The next step.
    ///
    /// # Errors
    /// Ctrl-C.
    pub fn step(&self, text: &str) -> Result<()> {
        interrupt::check()?;
        if self.wait {
            print!("\n{}", self.paint("2", "[Enter] "));
            // A prompt that cannot be written keeps nobody from pressing the key.
            let _ = io::stdout().flush();
            enter()?;
        }
        self.steps.set(self.steps.get() + 1);
        println!("\n{}", self.paint("1", &format!("{}. {text}", self.steps.get())));
        Ok(())
    }

    /// A command that a reader would type.
    pub fn command(&self, text: &str) {
        println!("\n{} {}", self.paint("2", "$"), self.paint("33", text));
    }

    /// What came of it.
    pub fn output(&self, text: &str) {
        for line in text.lines() {
            println!("  {line}");
        }
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        println!("  {}", self.paint("2", text));
    }

    /// Something is as it should be.
    pub fn good(&self, text: &str) {
        println!("  {} {text}", self.paint("32", "✔"));
    }

    /// Rows under a head, each column as wide as its widest cell.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        let widths: Vec<usize> = head
            .iter()
            .enumerate()
            .map(|(column, name)| {
                let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.max().unwrap_or_default().max(name.len())
            })
            .collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            shorten(padded.collect::<Vec<_>>().join("   ").trim_end())
        };
        println!("  {}", self.paint("2", &line(head.to_vec())));
        for row in rows {
            println!("  {}", line(row.iter().map(String::as_str).collect()));
        }
    }

    /// Something that changes, told line by line.
    pub fn watch(&self) -> Watch<'_> {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
            bar.set_style(style);
        }
        Watch { screen: self, began: Instant::now(), seen: BTreeMap::new(), bar }
    }
}

/// States by name, of which every change is a line, as `kubectl get --watch` has it.
pub struct Watch<'s> {
    screen: &'s Screen,
    began: Instant,
    seen: BTreeMap<String, String>,
    bar: ProgressBar,
}

impl Watch<'_> {
    /// What is now; said where it is another than before.
    pub fn see(&mut self, name: &str, state: &str) {
        if self.seen.get(name).is_some_and(|seen| seen == state) {
            return;
        }
        self.seen.insert(name.to_owned(), state.to_owned());
        let time = format!("{:5.1} s", self.began.elapsed().as_secs_f64());
        let line = shorten(&format!("{name:<45} {state}"));
        self.bar.suspend(|| println!("  {}  {}", self.screen.paint("2", &time), line.trim_end()));
    }

    /// Looks again and again, until a look says that it is done.
    ///
    /// # Errors
    /// Ctrl-C, and that it is not done after so many seconds, with the last error of a look.
    pub fn until(mut self, what: &str, seconds: u64, mut look: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        self.bar.set_message(what.to_owned());
        let limit = Duration::from_secs(seconds);
        let mut last = String::new();
        let outcome = interrupt::wait_for(what, limit, || {
            self.bar.tick();
            let done = match look(&mut self) {
                Ok(done) => done,
                // An answer that does not come in time is looked for again.
                Err(error) => {
                    last = format!("; last: {error}");
                    false
                }
            };
            if !done {
                std::thread::sleep(LOOK);
            }
            Ok(done)
        });
        self.bar.finish_and_clear();
        outcome.map_err(|error| match error {
            Error::NotReady { what, seconds, .. } => Error::NotReady { what, seconds, log: last },
            other => other,
        })
    }
}

/// At most one line of a terminal.
pub fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or(line).trim_end()),
        None => line.to_owned(),
    }
}

/// Waits for Enter, or Ctrl-C.
fn enter() -> Result<()> {
    let stdin = io::stdin();
    loop {
        interrupt::check()?;
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut ready, PollTimeout::from(100_u8)), Ok(count) if count > 0) {
            // Whatever was typed, or the end of the input, is as good as Enter.
            let _ = stdin.read_line(&mut String::new());
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_and_a_short_one_is_not() {
        assert_eq!(shorten("short\nand a second line"), "short");
        let cut = shorten(&"ä".repeat(200));
        assert_eq!(cut.chars().count(), WIDTH + 1);
        assert!(cut.ends_with('…'));
    }
}
