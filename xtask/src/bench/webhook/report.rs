//! The result of `bench webhook`: what is promised, and the tables.

use std::fmt::Write as _;

use super::load::Shape;
use super::peers::{CONNECTIONS, Peer};
use super::plane::Way;
use super::platform::Question;
use crate::bench::table::{machine, thousands};
use crate::bench::targets::{Target, mebibytes};

/// Number of tenants at which the promises hold.
pub(super) const AT: usize = 10_000;

/// What a request cost one of the two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    pub(super) per_second: f64,
    pub(super) cpu_micros: f64,
    pub(super) median_micros: f64,
    pub(super) p99_micros: f64,
    /// In bytes.
    pub(super) resident: u64,
}

/// What was measured of one question at one number of tenants and connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) tenants: usize,
    pub(super) question: Question,
    pub(super) shape: Shape,
    pub(super) ours: Cost,
    /// The bare webhook's, or that of another tool.
    pub(super) other: Cost,
    /// Ours to the other's; of the round in the middle, for each by itself.
    pub(super) throughput: f64,
    pub(super) cpu: f64,
    pub(super) median: f64,
}

/// What was measured of an admission server of others.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub(super) peer: Peer,
    pub(super) version: String,
    pub(super) cell: Cell,
}

/// What a create through an API server took on a way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passage {
    pub(super) object: &'static str,
    pub(super) way: Way,
    pub(super) connections: usize,
    pub(super) requests: usize,
    pub(super) median_micros: f64,
    pub(super) p99_micros: f64,
    /// The median, to that of the way with neither.
    pub(super) to_neither: f64,
}

/// The round in the middle, number by number. Ratios are those of the two that were measured one after the other.
pub(super) fn middle(tenants: usize, question: Question, shape: Shape, rounds: &[(Cost, Cost)]) -> Cell {
    let of = |value: &dyn Fn(&(Cost, Cost)) -> f64| -> f64 {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let cost = |pick: &dyn Fn(&(Cost, Cost)) -> Cost| Cost {
        per_second: of(&|round| pick(round).per_second),
        cpu_micros: of(&|round| pick(round).cpu_micros),
        median_micros: of(&|round| pick(round).median_micros),
        p99_micros: of(&|round| pick(round).p99_micros),
        resident: rounds.iter().map(|round| pick(round).resident).max().unwrap_or_default(),
    };
    Cell {
        tenants,
        question,
        shape,
        ours: cost(&|(ours, _)| *ours),
        other: cost(&|(_, other)| *other),
        throughput: of(&|(ours, other)| ours.per_second / other.per_second),
        cpu: of(&|(ours, other)| ours.cpu_micros / other.cpu_micros),
        median: of(&|(ours, other)| ours.median_micros / other.median_micros),
    }
}

/// Judges every promise for which what it needs was measured.
pub(super) fn judge(cells: &[Cell], passages: &[Passage], beside: &[Beside]) -> Vec<Target> {
    let mut targets = Vec::new();
    let at = format!("{} tenants", thousands(AT));
    for (what, is_meant) in [("FluxConfigs", true), ("pods", false)] {
        let of_it = |cell: &&Cell| cell.tenants == AT && cell.question.is_flux_config() == is_meant;
        let worst = |value: fn(&Cell) -> f64| cells.iter().filter(of_it).map(value).max_by(f64::total_cmp);
        if let Some(least) = worst(|cell| -cell.throughput).map(|least| -least) {
            targets.push(Target {
                promise: format!("{at}, {what}: always at least 0.80 times the throughput of the bare webhook"),
                measured: format!("{least:.2} times"),
                met: least >= 0.8,
            });
        }
        for (value, measure) in [
            (worst(|cell| cell.cpu), "time of processors for a request"),
            (worst(|cell| cell.median), "median latency"),
        ] {
            if let Some(most) = value {
                targets.push(Target {
                    promise: format!("{at}, {what}: never more than 1.5 times the bare webhook's {measure}"),
                    measured: format!("{most:.2} times"),
                    met: most <= 1.5,
                });
            }
        }
    }
    targets.extend(memory(cells));
    for (way, over, most, promise) in [
        (Way::Guard, Way::Allows, 1.3, "at most 1.3 times the median through a policy that allows everything"),
        (Way::LongGuard, Way::Guard, 1.05, "500 patterns take at most 1.05 times the median with 10"),
    ] {
        for guarded in passages.iter().filter(|passage| passage.object == "Pod" && passage.way == way) {
            let other = passages.iter().find(|other| {
                (other.object, other.connections, other.way) == (guarded.object, guarded.connections, over)
            });
            if let Some(other) = other {
                let ratio = guarded.median_micros / other.median_micros;
                targets.push(Target {
                    promise: format!("a pod through the guard, {} at a time: {promise}", guarded.connections),
                    measured: format!("{ratio:.2} times"),
                    met: ratio <= most,
                });
            }
        }
    }
    targets.extend(Peer::ALL.into_iter().flat_map(|peer| to_peer(peer, beside)));
    targets
}

/// How much less than another tool ours takes, of all that the two were asked.
fn to_peer(peer: Peer, beside: &[Beside]) -> Vec<Target> {
    let cells = || beside.iter().filter(|measured| measured.peer == peer).map(|measured| &measured.cell);
    let least = cells().map(|cell| cell.throughput).min_by(f64::total_cmp);
    let most = cells().map(|cell| cell.cpu).max_by(f64::total_cmp);
    let (Some(least), Some(most)) = (least, most) else { return Vec::new() };
    let (at, name) = (format!("{} tenants, {CONNECTIONS} connections", thousands(AT)), peer.name());
    vec![
        Target {
            promise: format!("{at}: at least 10 times the throughput of {name}"),
            measured: format!("{least:.1} times"),
            met: least >= 10.0,
        },
        Target {
            promise: format!("{at}: at most 1/20 of {name}'s time of processors for a request"),
            measured: format!("1/{:.1}", most.recip()),
            met: most <= 0.05,
        },
    ]
}

/// Flat with connections, linear in tenants.
fn memory(cells: &[Cell]) -> Vec<Target> {
    let mut targets = Vec::new();
    let resident = |tenants: usize, shape: Option<Shape>| -> Option<f64> {
        let of_it =
            cells.iter().filter(|cell| cell.tenants == tenants && shape.is_none_or(|shape| cell.shape == shape));
        of_it.map(|cell| mebibytes(cell.ours.resident)).max_by(f64::total_cmp)
    };
    let (one, many) = (Shape::of(1), Shape::of(256));
    if let (Some(few), Some(more)) = (resident(AT, Some(one)), resident(AT, Some(many))) {
        let grown = more - few;
        targets.push(Target {
            promise: format!("{} tenants: 255 more connections take less than 25 MiB", thousands(AT)),
            measured: format!("{grown:.0} MiB"),
            met: grown < 25.0,
        });
    }
    if let (Some(little), Some(middle), Some(most)) =
        (resident(AT / 1000, None), resident(AT / 10, None), resident(AT, None))
    {
        let ratio = (most - little) / (middle - little).max(0.1);
        targets.push(Target {
            promise: format!(
                "from {} to {} tenants memory grows at most 12 times as much as from {} to {}",
                AT / 1000,
                thousands(AT),
                AT / 1000,
                thousands(AT / 10)
            ),
            measured: format!("{ratio:.1} times"),
            met: ratio <= 12.0,
        });
    }
    targets
}

/// The machine and the measurements.
pub(super) fn draw(cells: &[Cell], passages: &[Passage], beside: &[Beside], rounds: usize, seconds: f64) -> String {
    let mut text = format!("{}; {rounds} times {seconds} s of each, in turn; the round in the middle.\n\n", machine());
    text.push_str(
        "| question | bytes | tenants | connections | requests/s | bare | ratio | CPU, µs a request | bare | ratio | median, µs | bare | ratio | p99, µs | bare | MiB | bare |\n\
         | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    // Writing to a String cannot fail.
    for cell in cells {
        let Cell { tenants, question, shape, ours, other: bare, throughput, cpu, median } = cell;
        let connections = match shape.streams {
            1 => shape.connections.to_string(),
            streams => format!("{}, HTTP/2 × {streams}", shape.connections),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {connections} | {} | {} | {throughput:.2} | {:.1} | {:.1} | {cpu:.2} | {:.0} | {:.0} | {median:.2} | {:.0} | {:.0} | {:.0} | {:.0} |",
            question.name(),
            thousands(question.size()),
            thousands(*tenants),
            thousands(ours.per_second as usize),
            thousands(bare.per_second as usize),
            ours.cpu_micros,
            bare.cpu_micros,
            ours.median_micros,
            bare.median_micros,
            ours.p99_micros,
            bare.p99_micros,
            mebibytes(ours.resident),
            mebibytes(bare.resident),
        );
    }
    if !passages.is_empty() {
        text.push_str(
            "\nThrough an API server, all ways in turn:\n\n\
             | create | passes | at a time | requests | median, µs | p99, µs | median to neither |\n\
             | :--- | :--- | ---: | ---: | ---: | ---: | ---: |\n",
        );
    }
    for passage in passages {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} | {:.0} | {:.2} |",
            passage.object,
            passage.way.name(),
            passage.connections,
            thousands(passage.requests),
            passage.median_micros,
            passage.p99_micros,
            passage.to_neither,
        );
    }
    text.push_str(&draw_peers(beside));
    text
}

/// Others beside ours.
fn draw_peers(beside: &[Beside]) -> String {
    if beside.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "\nBeside others, {} tenants for ours, {CONNECTIONS} connections:\n\n\
         | beside | question | requests/s | ours | ratio | CPU, µs a request | ours | ratio | MiB | ours |\n\
         | :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        thousands(AT)
    );
    for Beside { peer, version, cell } in beside {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} {version} | {} | {} | {} | {:.1} | {:.1} | {:.1} | 1/{:.1} | {:.0} | {:.0} |",
            peer.name(),
            cell.question.name(),
            thousands(cell.other.per_second as usize),
            thousands(cell.ours.per_second as usize),
            cell.throughput,
            cell.other.cpu_micros,
            cell.ours.cpu_micros,
            cell.cpu.recip(),
            mebibytes(cell.other.resident),
            mebibytes(cell.ours.resident),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost() -> Cost {
        Cost { per_second: 1000.0, cpu_micros: 10.0, median_micros: 50.0, p99_micros: 100.0, resident: 10 << 20 }
    }

    fn cell(tenants: usize, connections: usize, resident: u64) -> Cell {
        let ours = Cost { resident: resident << 20, ..cost() };
        let shape = Shape::of(connections);
        let question = Question::Validate;
        Cell { tenants, question, shape, ours, other: cost(), throughput: 0.8, cpu: 1.5, median: 1.5 }
    }

    fn all() -> Vec<Cell> {
        let pod = Cell { question: Question::Pod, ..cell(AT, 1, 100) };
        vec![cell(10, 16, 20), cell(1_000, 16, 30), cell(AT, 1, 115), cell(AT, 256, 139), pod]
    }

    fn passage(way: Way, median_micros: f64) -> Passage {
        Passage { object: "Pod", way, connections: 1, requests: 10, median_micros, p99_micros: 1.0, to_neither: 1.0 }
    }

    fn missed(cells: &[Cell], passages: &[Passage]) -> Vec<String> {
        judge(cells, passages, &[]).into_iter().filter(|target| !target.met).map(|target| target.promise).collect()
    }

    #[test]
    fn a_run_within_every_bound_misses_nothing() {
        let passages = [passage(Way::Allows, 100.0), passage(Way::Guard, 130.0), passage(Way::LongGuard, 136.0)];
        assert_eq!(judge(&all(), &passages, &[]).len(), 10);
        assert_eq!(missed(&all(), &passages), Vec::<String>::new());
    }

    #[test]
    fn each_bound_is_missed_on_its_own() {
        let with = |change: fn(&mut Vec<Cell>)| {
            let mut cells = all();
            change(&mut cells);
            cells
        };
        for (cells, word) in [
            (with(|cells| cells[2].throughput = 0.79), "FluxConfigs: always at least 0.80 times the throughput"),
            (
                with(|cells| cells[3].cpu = 1.51),
                "FluxConfigs: never more than 1.5 times the bare webhook's time of processors",
            ),
            (
                with(|cells| cells[2].median = 1.51),
                "FluxConfigs: never more than 1.5 times the bare webhook's median latency",
            ),
            (with(|cells| cells[4].throughput = 0.79), "pods: always at least 0.80 times the throughput"),
            (
                with(|cells| cells[4].cpu = 1.51),
                "pods: never more than 1.5 times the bare webhook's time of processors",
            ),
            (with(|cells| cells[4].median = 1.51), "pods: never more than 1.5 times the bare webhook's median latency"),
            (with(|cells| cells[3].ours.resident += 1 << 20), "more connections"),
            (with(|cells| cells[1].ours.resident = 29 << 20), "memory grows"),
        ] {
            let missed = missed(&cells, &[]);
            assert_eq!(missed.len(), 1, "{word}: {missed:?}");
            assert!(missed[0].contains(word), "{missed:?}");
        }
        let slow = missed(&[], &[passage(Way::Allows, 100.0), passage(Way::Guard, 131.0)]);
        assert!(slow.len() == 1 && slow[0].contains("allows everything"), "{slow:?}");
        let slow = missed(&[], &[passage(Way::Guard, 100.0), passage(Way::LongGuard, 106.0)]);
        assert!(slow.len() == 1 && slow[0].contains("500 patterns"), "{slow:?}");
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert!(judge(&[cell(100, 16, 10)], &[passage(Way::Neither, 1.0)], &[]).is_empty());
    }

    #[test]
    fn of_several_rounds_the_one_in_the_middle_counts_and_ratios_are_of_one_round() {
        let round = |ours: f64, bare: f64| (Cost { per_second: ours, ..cost() }, Cost { per_second: bare, ..cost() });
        let rounds = [round(90.0, 100.0), round(40.0, 50.0), round(10.0, 100.0)];
        let cell = middle(10, Question::Validate, Shape::of(1), &rounds);
        assert_eq!((cell.ours.per_second, cell.other.per_second), (40.0, 100.0));
        assert!((cell.throughput - 0.8).abs() < 1e-9, "{}", cell.throughput);
    }

    fn beside(peer: Peer, throughput: f64, cpu: f64) -> Beside {
        Beside { peer, version: "v1.2.3".to_owned(), cell: Cell { throughput, cpu, ..cell(AT, CONNECTIONS, 100) } }
    }

    #[test]
    fn other_tools_are_judged_by_the_question_where_they_are_nearest() {
        let kyverno = [beside(Peer::Kyverno, 30.0, 0.02), beside(Peer::Kyverno, 10.0, 0.05)];
        let judged = judge(&[], &[], &kyverno);
        assert_eq!(judged.len(), 2);
        assert!(judged.iter().all(|target| target.met && target.promise.contains("Kyverno")), "{judged:?}");
        assert_eq!([&*judged[0].measured, &judged[1].measured], ["10.0 times", "1/20.0"]);
        let gatekeeper = [beside(Peer::Gatekeeper, 9.9, 0.01), beside(Peer::Gatekeeper, 40.0, 0.051)];
        let judged = judge(&[], &[], &[&kyverno[..], &gatekeeper].concat());
        let missed: Vec<&str> =
            judged.iter().filter(|target| !target.met).map(|target| target.promise.as_str()).collect();
        assert!(missed.len() == 2 && missed.iter().all(|promise| promise.contains("Gatekeeper")), "{missed:?}");
    }

    #[test]
    fn other_tools_have_a_table_where_they_were_measured() {
        assert!(!draw(&[], &[], &[], 1, 1.0).contains("Beside"));
        let text = draw(&[], &[], &[beside(Peer::Gatekeeper, 25.0, 0.04)], 1, 1.0);
        assert!(
            text.ends_with(
                "| Gatekeeper v1.2.3 | FluxConfig, judged | 1,000 | 1,000 | 25.0 | 10.0 | 10.0 | 1/25.0 | 10 | 100 |\n"
            ),
            "{text}"
        );
    }
}
