//! A progress bar for work that takes longer than a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work may take without being shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Counts steps, and shows them from the second second on. Nothing is shown where that is not wanted.
#[derive(Debug)]
pub struct Progress {
    done: Arc<AtomicU64>,
    drawer: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts counting to `steps`.
    pub fn start(steps: usize, what: &'static str, shown: bool) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let drawer = shown.then(|| {
            let stop = Arc::new(AtomicBool::new(false));
            let (count, stopped) = (Arc::clone(&done), Arc::clone(&stop));
            let steps = u64::try_from(steps).unwrap_or(u64::MAX);
            (stop, thread::spawn(move || draw(steps, what, &count, &stopped)))
        });
        Self { done, drawer }
    }

    /// One step is done.
    pub fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, drawer)) = self.drawer.take() {
            stop.store(true, Ordering::Relaxed);
            drawer.thread().unpark();
            // A drawer that panicked has drawn its last; that is no reason to lose a verdict.
            let _ = drawer.join();
        }
    }
}

fn draw(steps: u64, what: &'static str, done: &AtomicU64, stop: &AtomicBool) {
    let began = Instant::now();
    let mut bar: Option<ProgressBar> = None;
    while !stop.load(Ordering::Relaxed) {
        thread::park_timeout(TICK);
        if began.elapsed() < PATIENCE {
            continue;
        }
        let bar = bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr()).with_message(what);
            match ProgressStyle::with_template("{msg} [{wide_bar}] {human_pos}/{human_len} {elapsed}") {
                Ok(style) => bar.with_style(style.progress_chars("=> ")),
                Err(_) => bar,
            }
        });
        bar.set_position(done.load(Ordering::Relaxed));
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}
