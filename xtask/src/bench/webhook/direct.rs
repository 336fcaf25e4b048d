//! Requests straight to the webhooks: ours and another in turn, A B B A.

use std::path::{Path, PathBuf};

use super::load::{Ask, Loader, Server, Shape};
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
                let rounds = in_turn(
                    plan.rounds,
                    || cost(loader, &ours.server, shape, plan.seconds, &asked),
                    || cost(loader, &bare.server, shape, plan.seconds, &asked_bare),
                )?;
                let cell = middle(tenants, question, shape, &rounds);
                say(&format!("{cell:?}"));
                cells.push(cell);
            }
        }
    }
    Ok(cells)
}

/// Measures two, A B B A: neither is always the first.
pub(super) fn in_turn(
    rounds: usize,
    one: impl Fn() -> anyhow::Result<Cost>,
    other: impl Fn() -> anyhow::Result<Cost>,
) -> anyhow::Result<Vec<(Cost, Cost)>> {
    let round = |round: usize| {
        if round.is_multiple_of(2) {
            let one = one()?;
            Ok((one, other()?))
        } else {
            let other = other()?;
            Ok((one()?, other))
        }
    };
    (0..rounds).map(round).collect()
}

/// What a request costs a server that is asked these for so long.
pub(super) fn cost(
    loader: &Loader,
    server: &Server,
    shape: Shape,
    seconds: f64,
    requests: &[Ask],
) -> anyhow::Result<Cost> {
    let outcome = loader.run(server, shape, seconds, requests)?;
    let answers: usize = outcome.groups.iter().map(|group| group.answers).sum();
    let group = outcome.groups[0];
    Ok(Cost {
        per_second: answers as f64 / outcome.seconds,
        cpu_micros: outcome.cpu_seconds * 1e6 / answers as f64,
        median_micros: group.median_micros,
        p99_micros: group.p99_micros,
        resident: outcome.resident,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn neither_is_always_the_first_and_a_pair_is_of_one_round() {
        let asked = RefCell::new(String::new());
        let ask = |name: char| {
            asked.borrow_mut().push(name);
            Ok(Cost { per_second: asked.borrow().len() as f64, ..Cost::default() })
        };
        let rounds = in_turn(3, || ask('a'), || ask('b')).unwrap();
        assert_eq!(*asked.borrow(), "abbaab");
        let order: Vec<(f64, f64)> = rounds.iter().map(|(one, other)| (one.per_second, other.per_second)).collect();
        assert_eq!(order, [(1.0, 2.0), (4.0, 3.0), (5.0, 6.0)]);
    }
}
