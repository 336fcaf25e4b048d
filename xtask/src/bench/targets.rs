//! What the project promises, as ratios and bounds.

use super::check::Measured;
use super::peers::Peer;
use super::programs::Role;

/// Number of FluxConfigs at which the promises hold.
const AT: usize = 10_000;

/// A promise and what was measured.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// What is promised, as a sentence.
    pub(super) promise: String,
    /// What was measured, with its unit.
    pub(super) measured: String,
    pub(super) met: bool,
}

/// Judges every promise for which the needed programs and sizes were measured.
pub(super) fn judge(measured: &[Measured]) -> Vec<Target> {
    let find = |configs, role| measured.iter().find(|entry| entry.configs == configs && entry.role == role);
    let seconds = |configs, role| find(configs, role).map(|entry| entry.best.as_secs_f64());
    let mut targets = Vec::new();
    let mut at_most = |promise: String, value: Option<f64>, limit: f64, unit: &str| {
        if let Some(value) = value {
            targets.push(Target { promise, measured: format!("{value:.2}{unit}"), met: value <= limit });
        }
    };
    let check = seconds(AT, Role::Check);
    let per = |other: Option<f64>| Some(check? / other?);
    at_most(
        "10,000 FluxConfigs: at most 1.5 times the bare reader".to_owned(),
        per(seconds(AT, Role::Bare)),
        1.5,
        " times",
    );
    at_most(
        "10,000 FluxConfigs: less than 100 MiB".to_owned(),
        find(AT, Role::Check).map(|entry| mebibytes(entry.peak)),
        100.0,
        " MiB",
    );
    at_most(
        "100,000 FluxConfigs: at most 12 times the time of 10,000".to_owned(),
        seconds(10 * AT, Role::Check).and_then(|more| Some(more / check?)),
        12.0,
        " times",
    );
    for (peer, factor) in [(Peer::Conftest, 10.0), (Peer::Gator, 10.0), (Peer::Opa, 5.0)] {
        if let Some(faster) = seconds(AT, Role::Peer(peer)).and_then(|peer| Some(peer / check?)) {
            targets.push(Target {
                promise: format!("10,000 FluxConfigs: at least {factor} times as fast as {}", peer.name()),
                measured: format!("{faster:.1} times"),
                met: faster >= factor,
            });
        }
    }
    targets
}

/// Bytes in MiB.
pub(super) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn entry(configs: usize, role: Role, millis: u64, mebibytes: u64) -> Measured {
        let wall = Duration::from_millis(millis);
        Measured { configs, role, name: String::new(), best: wall, median: wall, cpu: wall, peak: mebibytes << 20 }
    }

    fn missed(measured: &[Measured]) -> Vec<String> {
        judge(measured).into_iter().filter(|target| !target.met).map(|target| target.promise).collect()
    }

    #[test]
    fn a_run_within_every_bound_misses_nothing() {
        let measured = [
            entry(AT, Role::Bare, 100, 10),
            entry(AT, Role::Check, 150, 99),
            entry(10 * AT, Role::Check, 1_800, 400),
            entry(AT, Role::Peer(Peer::Conftest), 1_500, 10),
            entry(AT, Role::Peer(Peer::Gator), 1_500, 10),
            entry(AT, Role::Peer(Peer::Opa), 750, 10),
        ];
        assert_eq!(judge(&measured).len(), 6);
        assert_eq!(missed(&measured), Vec::<String>::new());
    }

    #[test]
    fn each_bound_is_missed_on_its_own() {
        let check = || entry(AT, Role::Check, 150, 99);
        for (measured, word) in [
            ([check(), entry(AT, Role::Bare, 99, 10)], "bare reader"),
            ([entry(AT, Role::Check, 150, 101), entry(AT, Role::Bare, 100, 10)], "MiB"),
            ([check(), entry(10 * AT, Role::Check, 1_801, 400)], "100,000"),
            ([check(), entry(AT, Role::Peer(Peer::Conftest), 1_499, 10)], "conftest"),
            ([check(), entry(AT, Role::Peer(Peer::Gator), 1_499, 10)], "gator"),
            ([check(), entry(AT, Role::Peer(Peer::Opa), 749, 10)], "opa"),
        ] {
            let missed = missed(&measured);
            assert_eq!(missed.len(), 1, "{word}: {missed:?}");
            assert!(missed[0].contains(word), "{missed:?}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert!(judge(&[entry(100, Role::Check, 10, 10)]).is_empty());
    }
}
