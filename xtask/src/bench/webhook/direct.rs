//! Requests straight to the webhooks: ours and the bare one in turn, A B A B.

use std::path::{Path, PathBuf};

use super::load::{Loader, Outcome, Shape};
use super::platform::Question;
use super::report::{Cell, Cost, middle};
use super::subject::{Certificate, Subject};
use crate::bench::say;

/// The programs.
pub(super) struct Programs {
    pub(super) ours: PathBuf,
    pub(super) bare: PathBuf,
}

/// What is asked for.
pub(super) struct Plan<'p> {
    pub(super) tenants: &'p [usize],
    pub(super) shapes: &'p [Shape],
    /// How often each of the two is measured.
    pub(super) rounds: usize,
    /// How long each time.
    pub(super) seconds: f64,
}

/// Measures everything that is asked for.
pub(super) fn measure(
    plan: &Plan<'_>,
    programs: &Programs,
    loader: &Loader,
    folder: &Path,
) -> anyhow::Result<Vec<Cell>> {
    let certificate = Certificate::new(folder)?;
    let mut cells = Vec::new();
    for &tenants in plan.tenants {
        say(&format!("{tenants} tenants"));
        let ours = Subject::ours(&programs.ours, &certificate, tenants, folder)?;
        let bare = Subject::bare(&programs.bare, &certificate)?;
        for question in Question::ALL {
            let (asked, asked_bare) = (question.requests(tenants, true), question.requests(tenants, false));
            // What is measured must have been decided.
            loader.run(&ours.server, Shape::of(1), 0.05, &question.forbidden(tenants))?;
            for &shape in plan.shapes {
                let mut rounds = Vec::with_capacity(plan.rounds);
                for round in 0..plan.rounds {
                    let first = || loader.run(&ours.server, shape, plan.seconds, &asked).map(|outcome| cost(&outcome));
                    let second =
                        || loader.run(&bare.server, shape, plan.seconds, &asked_bare).map(|outcome| cost(&outcome));
                    // Neither is always the first.
                    let (ours, bare) = if round % 2 == 0 {
                        let ours = first()?;
                        (ours, second()?)
                    } else {
                        let bare = second()?;
                        (first()?, bare)
                    };
                    rounds.push((ours, bare));
                }
                let cell = middle(tenants, question, shape, &rounds);
                say(&format!("{cell:?}"));
                cells.push(cell);
            }
        }
    }
    Ok(cells)
}

/// What a request cost.
fn cost(outcome: &Outcome) -> Cost {
    let answers: usize = outcome.groups.iter().map(|group| group.answers).sum();
    let group = outcome.groups[0];
    Cost {
        per_second: answers as f64 / outcome.seconds,
        cpu_micros: outcome.cpu_seconds * 1e6 / answers as f64,
        median_micros: group.median_micros,
        p99_micros: group.p99_micros,
        resident: outcome.resident,
    }
}
