//! The result of `bench operator`: what is promised, and the tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plane::Cost;
use crate::bench::table::{machine, thousands};
use crate::bench::targets::{Target, mebibytes};

/// Number of FluxConfigs at which the promises hold.
const AT: usize = 10_000;

/// What was measured at one size. Times in seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) configs: usize,
    /// Runs, of which this is the one in the middle.
    pub(super) runs: usize,
    pub(super) agents: usize,
    /// Rendered objects.
    pub(super) objects: usize,
    /// Processes that wanted a processor before.
    pub(super) load: f64,
    /// The bare client's time for all rendered objects.
    pub(super) bare_objects: f64,
    /// The bare client's time for blanks, finalizer and status of all FluxConfigs.
    pub(super) bare_statuses: f64,
    /// Writes that the bare client had to send again.
    pub(super) bare_again: usize,
    /// The operator's time from its start to the last of the same writes.
    pub(super) operator: f64,
    /// The operator's writes until then, refused ones and events included.
    pub(super) writes: usize,
    pub(super) by_resource: BTreeMap<String, usize>,
    pub(super) refused: BTreeMap<String, usize>,
    pub(super) operator_cost: Cost,
    pub(super) bare_cost: Cost,
    /// Resident memory in bytes, when it has converged.
    pub(super) settled: u64,
    /// Most resident memory that it ever had, in bytes.
    pub(super) peak: u64,
    /// From its start until it has looked at everything again.
    pub(super) resync: f64,
    /// What it wrote then, and in the time after.
    pub(super) resync_writes: BTreeMap<String, usize>,
    /// From a change of a policy to the last status.
    pub(super) policy: f64,
    pub(super) policy_writes: usize,
}

impl Figures {
    /// The operator's rate, with the bare client's as 1, for the same writes.
    pub(super) fn rate(&self) -> f64 {
        (self.bare_objects + self.bare_statuses) / self.operator
    }

    /// The writes that there cannot be less of: each object, and two for each FluxConfig.
    fn needed(&self) -> usize {
        self.objects + 2 * self.configs
    }

    fn resynced(&self) -> usize {
        self.resync_writes.values().sum()
    }

    fn per_config(&self, number: usize) -> f64 {
        number as f64 / self.configs as f64
    }
}

/// Judges every promise.
pub(super) fn judge(figures: &[Figures]) -> Vec<Target> {
    let mut targets = Vec::new();
    for of in figures.iter().filter(|of| of.configs == AT) {
        let at = format!("{} FluxConfigs", thousands(AT));
        targets.push(Target {
            promise: format!("{at}: at least 0.80 times the rate of the bare client"),
            measured: format!("{:.2} times", of.rate()),
            met: of.rate() >= 0.8,
        });
        targets.push(Target {
            promise: format!("{at}: less than 100 MiB resident, at any time"),
            measured: format!("{:.0} MiB", mebibytes(of.peak)),
            met: mebibytes(of.peak) < 100.0,
        });
    }
    for of in figures {
        targets.push(Target {
            promise: format!("{} FluxConfigs: a resync writes nothing", thousands(of.configs)),
            measured: format!("{} writes", of.resynced()),
            met: of.resynced() == 0,
        });
    }
    targets
}

/// The machine and the measurements.
pub(super) fn draw(figures: &[Figures]) -> String {
    let mut text = format!("{}.\n\n", machine());
    text.push_str(
        "| FluxConfigs | agents | objects | bare client, s | of it objects | operator, s | rate to the bare client's | needed writes per FluxConfig | made | CPU to the API server's | runs |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    // Writing to a String cannot fail.
    for of in figures {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {} |",
            thousands(of.configs),
            thousands(of.agents),
            thousands(of.objects),
            of.bare_objects + of.bare_statuses,
            of.bare_objects,
            of.operator,
            of.rate(),
            of.per_config(of.needed()),
            of.per_config(of.writes),
            of.operator_cost.operator / of.operator_cost.api_server,
            of.runs,
        );
    }
    text.push_str(
        "\n| FluxConfigs | resident, MiB | at most | resync, s | its writes | policy to last status, s | its writes per FluxConfig | to the bare client's time |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for of in figures {
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.1} | {} | {:.1} | {:.2} | {:.2} |",
            thousands(of.configs),
            mebibytes(of.settled),
            mebibytes(of.peak),
            of.resync,
            of.resynced(),
            of.policy,
            of.per_config(of.policy_writes),
            of.policy / of.bare_statuses,
        );
    }
    if let Some(largest) = figures.last() {
        let list = |writes: &BTreeMap<String, usize>| -> String {
            let list = writes.iter().map(|(what, number)| format!("{what} {}", thousands(*number))).collect::<Vec<_>>();
            if list.is_empty() { "none".to_owned() } else { list.join(", ") }
        };
        let _ = writeln!(
            text,
            "\nThe operator's writes at {} FluxConfigs: {}. Refused: {}. The bare client sent {} again.",
            thousands(largest.configs),
            list(&largest.by_resource),
            list(&largest.refused),
            largest.bare_again,
        );
    }
    text.push_str("\nMeanwhile on the machine: ");
    for (index, of) in figures.iter().enumerate() {
        let share = |cost: &Cost| 100.0 * cost.others / cost.all.max(f64::MIN_POSITIVE);
        let _ = write!(
            text,
            "{}at {} a load of {:.1} before the run, and others had {:.0} % of the processors beside the operator and {:.0} % beside the bare client",
            if index == 0 { "" } else { "; " },
            thousands(of.configs),
            of.load,
            share(&of.operator_cost),
            share(&of.bare_cost),
        );
    }
    text.push_str(".\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(configs: usize) -> Figures {
        Figures {
            configs,
            bare_objects: 60.0,
            bare_statuses: 20.0,
            operator: 100.0,
            peak: 99 << 20,
            ..Figures::default()
        }
    }

    fn missed(figures: &[Figures]) -> Vec<String> {
        judge(figures).into_iter().filter(|target| !target.met).map(|target| target.promise).collect()
    }

    #[test]
    fn a_run_within_every_bound_misses_nothing() {
        assert_eq!(judge(&[figures(100), figures(AT)]).len(), 4);
        assert_eq!(missed(&[figures(100), figures(AT)]), Vec::<String>::new());
    }

    #[test]
    fn each_bound_is_missed_on_its_own() {
        let writes = BTreeMap::from([("secrets".to_owned(), 1)]);
        for (measured, word) in [
            (Figures { operator: 100.1, ..figures(AT) }, "bare client"),
            (Figures { peak: 100 << 20, ..figures(AT) }, "MiB"),
            (Figures { resync_writes: writes.clone(), ..figures(AT) }, "writes nothing"),
            (Figures { resync_writes: writes, operator: 1000.0, ..figures(100) }, "writes nothing"),
        ] {
            let missed = missed(&[measured]);
            assert_eq!(missed.len(), 1, "{word}: {missed:?}");
            assert!(missed[0].contains(word), "{missed:?}");
        }
    }
}
