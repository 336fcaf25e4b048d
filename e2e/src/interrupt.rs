//! Ctrl-C and termination, noticed at any moment: the signals only raise a flag, and everything that waits looks at it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Takes SIGINT, SIGTERM and SIGHUP from now on. Call it once, at the start of a command that must clean up.
///
/// # Errors
/// Where the system refuses the handlers.
pub fn install() -> Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).doing("handling signal", signal.to_string())?;
    }
    Ok(())
}

/// Asks for SIGTERM when the process that started this one ends: `cargo xtask` may be ended without a word to the program
/// that it runs.
///
/// # Errors
/// Where the system refuses.
pub fn end_with_parent() -> Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGTERM)
        .doing("asking for", "a signal at the parent's end")
}

/// Whether one of the signals came.
pub fn requested() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Ends the current work if one of the signals came.
///
/// # Errors
/// [`Error::Interrupted`] then.
pub fn check() -> Result<()> {
    if requested() { Err(Error::Interrupted) } else { Ok(()) }
}

/// Polls until the condition holds; looks at the signals meanwhile.
///
/// # Errors
/// What the condition returns, [`Error::Interrupted`], or [`Error::NotReady`] after the time limit.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        check()?;
        if condition()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Error::NotReady { what: what.to_owned(), seconds: limit.as_secs(), log: String::new() });
        }
        std::thread::sleep(Duration::from_millis(25));
    }
}
