//! Fights with other writers, and their end. Somebody (an autoscaler, another controller, a person with a script) changes what
//! Sluicegate writes as often as Sluicegate puts it right: without a bound both write for ever.
//!
//! Each repair of an object is counted. The first are made at once, as drift has to be: [`SAME`] of the same drift, [`ANY`] of
//! whatever drift. After that the object counts as contested, and is put right again after a backoff that doubles with each
//! repair; meanwhile nothing is written. A repair that holds for a while ends the contest. What is wanted anew (another
//! manifest) is no repair and does not wait.
//!
//! What lives here: the counting ([`Contests`]), what can be contested ([`Subject`]), who the other writer is ([`writers`]),
//! and how it is told ([`announce`]). What does not: any write of what is contested.

pub mod writers;

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::{api::core::v1::ObjectReference, jiff::Timestamp};
use kube::runtime::events::{Event, EventType};
use sluicegate_crds::{API_VERSION, TENANT_GUARD};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    events::Events,
    fields::Fingerprint,
    object::{ConfigKey, Key},
    status::Reason,
    telemetry::metrics::{Metrics, Written},
};

/// Repairs of the same drift with which a contest begins.
pub const SAME: usize = 5;
/// Repairs of any drift with which it begins: somebody may change something else each time.
pub const ANY: usize = 20;
/// Time between the last of those and the next; it doubles from then on.
const FIRST: Duration = Duration::from_secs(10);
/// Most time between two repairs.
pub const LONGEST: Duration = Duration::from_secs(600);
/// A repair that holds for so long, and for twice the time that the next would have to wait, ends the contest.
const QUIET: Duration = Duration::from_secs(300);
/// How often what is over is forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// Records for which there is always room; what ten thousand at once took is given back.
const SMALL: usize = 64;

/// What is written, and others could write too. One that is made again under its name is another: `String` is the uid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An object that is rendered.
    Object(Key),
    /// The TenantGuard of a namespace.
    TenantGuard(Arc<str>),
    /// The CRDs of Flux on a cluster, all together.
    FluxCrds,
    /// Spec and finalizers of a FluxConfig.
    Config(ConfigKey, String),
    /// Status of a FluxConfig.
    ConfigStatus(ConfigKey, String),
    /// Status of a FluxPolicy, by its name.
    PolicyStatus(String, String),
    /// Status of a FluxCluster, by its name.
    ClusterStatus(String, String),
}

impl Subject {
    /// Its kind, as the metrics have it.
    pub fn kind(&self) -> Written {
        match self {
            Subject::Object(key) => Written::Object(key.kind),
            Subject::TenantGuard(_) => Written::TenantGuard,
            Subject::FluxCrds => Written::CustomResourceDefinition,
            Subject::Config(..) | Subject::ConfigStatus(..) => Written::FluxConfig,
            Subject::PolicyStatus(..) => Written::FluxPolicy,
            Subject::ClusterStatus(..) => Written::FluxCluster,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Object(key) => write!(f, "{key}"),
            Subject::TenantGuard(namespace) => write!(f, "the TenantGuard of namespace {namespace}"),
            Subject::FluxCrds => f.write_str("the CRDs of Flux"),
            Subject::Config(key, _) => write!(f, "FluxConfig {key}"),
            Subject::ConfigStatus(key, _) => write!(f, "the status of FluxConfig {key}"),
            Subject::PolicyStatus(name, _) => write!(f, "the status of FluxPolicy {name}"),
            Subject::ClusterStatus(id, _) => write!(f, "the status of FluxCluster {id}"),
        }
    }
}

/// In which way something is not as it should be. Two that look alike are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift(u64);

impl Drift {
    /// Where it is not told in which way.
    pub const ANY: Drift = Drift(0);

    /// Of what was seen.
    pub fn of(seen: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        seen.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// Whether something that is not as it should be may be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Now. `contested`: when it is, the next repair has to wait, so that it is worth a look who the other writer is.
    Now {
        /// The next repair has to wait.
        contested: bool,
    },
    /// After this time.
    Wait(Duration),
}

/// A contest as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// Who writes what, in words.
    pub writer: String,
    /// Repairs so far.
    pub repairs: u32,
    /// Before this moment nothing is written.
    pub until: Timestamp,
}

impl Contest {
    /// For statuses: the same while the contest goes on, however many repairs there are. A status stands in every FluxConfig of
    /// an agent.
    fn lasting(&self, subject: &impl fmt::Display) -> String {
        format!("{subject} is contested: {}", self.writer)
    }

    /// One sentence with the time of the next repair, and what to do.
    pub fn text(&self, subject: &impl fmt::Display) -> String {
        let Contest { writer, repairs, until } = self;
        format!(
            "{subject} is contested: {writer}; Sluicegate has put it right {repairs} times and does so again after {until}, \
             later each time: have the other writer leave it alone"
        )
    }
}

#[derive(Debug)]
struct Record {
    wanted: Fingerprint,
    /// What was wanted before that.
    previous: Fingerprint,
    /// What was repaired before the contest began.
    drifts: Vec<Drift>,
    /// Repairs since the contest began, that one included.
    contested: u32,
    wrote: Instant,
    delay: Duration,
    contest: Option<Contest>,
}

impl Record {
    fn is_over(&self) -> bool {
        self.wrote.elapsed() >= QUIET.max(self.delay * 2)
    }

    fn left(&self) -> Duration {
        self.delay.saturating_sub(self.wrote.elapsed())
    }

    /// `drift` is absent where it is no repair.
    fn turn(&self, drift: Option<Drift>) -> Turn {
        let left = self.left();
        match drift {
            Some(drift) if !self.is_over() => {
                if left.is_zero() {
                    Turn::Now { contested: self.is_contest(drift) }
                } else {
                    Turn::Wait(left)
                }
            }
            Some(_) | None => Turn::Now { contested: false },
        }
    }

    /// Whether one more repair of this drift makes it a contest, or goes on with one.
    fn is_contest(&self, drift: Drift) -> bool {
        let same = self.drifts.iter().filter(|one| **one == drift).count();
        self.contested > 0 || same + 1 >= SAME || self.drifts.len() + 1 >= ANY
    }

    /// Whether somebody else has written what was seen.
    fn is_foreign(&self, seen: Fingerprint) -> bool {
        !self.is_over() && seen != self.wanted && seen != self.previous
    }
}

/// Repairs of late. What is not repaired any more is forgotten.
#[derive(Debug)]
pub struct Contests<K> {
    records: HashMap<K, Record>,
    tidied: Option<Instant>,
}

impl<K> Default for Contests<K> {
    fn default() -> Self {
        Self { records: HashMap::new(), tidied: None }
    }
}

impl<K: Clone + Eq + Hash> Contests<K> {
    /// Whether `key`, which differs from what is `wanted` by a `drift`, may be written now. To write what was not wanted before
    /// repairs nothing.
    pub fn turn(&self, key: &K, wanted: Fingerprint, drift: Drift) -> Turn {
        let now = Turn::Now { contested: false };
        self.records.get(key).map_or(now, |record| record.turn((record.wanted == wanted).then_some(drift)))
    }

    /// The same of something whose wanted state goes on by itself, such as a status: it repairs where it is written over
    /// something that somebody else has written.
    pub fn turn_over(&self, key: &K, seen: Fingerprint) -> Turn {
        let now = Turn::Now { contested: false };
        self.records.get(key).map_or(now, |record| record.turn(record.is_foreign(seen).then_some(Drift::ANY)))
    }

    /// Takes note of a write; gives the contest where the next has to wait. `writer` says who the other one is.
    pub fn wrote(&mut self, key: K, wanted: Fingerprint, drift: Drift, writer: Option<String>) -> Option<Contest> {
        let repairs = self.records.get(&key).is_some_and(|record| record.wanted == wanted && !record.is_over());
        self.note(key, wanted, wanted, repairs.then_some(drift), writer)
    }

    /// The same for [`turn_over`](Self::turn_over).
    pub fn wrote_over(
        &mut self,
        key: K,
        seen: Fingerprint,
        wanted: Fingerprint,
        writer: Option<String>,
    ) -> Option<Contest> {
        let repairs = self.records.get(&key).is_some_and(|record| record.is_foreign(seen));
        self.note(key, wanted, seen, repairs.then_some(Drift::ANY), writer)
    }

    fn note(
        &mut self,
        key: K,
        wanted: Fingerprint,
        previous: Fingerprint,
        drift: Option<Drift>,
        writer: Option<String>,
    ) -> Option<Contest> {
        self.tidy();
        let now = Instant::now();
        let new = || Record {
            wanted,
            previous,
            drifts: Vec::new(),
            contested: 0,
            wrote: now,
            delay: Duration::ZERO,
            contest: None,
        };
        let record = self.records.entry(key).or_insert_with(new);
        if record.is_over() {
            *record = new();
            return None;
        }
        record.wrote = now;
        if record.wanted != wanted {
            record.previous = std::mem::replace(&mut record.wanted, wanted);
        }
        let drift = drift?;
        if !record.is_contest(drift) {
            record.drifts.push(drift);
            return None;
        }
        record.delay = delay(record.contested);
        record.contested += 1;
        let until = Timestamp::now().checked_add(record.delay).unwrap_or(Timestamp::MAX);
        let contest = Contest {
            writer: writer.unwrap_or_else(|| writers::UNKNOWN.to_owned()),
            repairs: u32::try_from(record.drifts.len()).unwrap_or(u32::MAX).saturating_add(record.contested),
            until: Timestamp::from_second(until.as_second() + 1).unwrap_or(until),
        };
        record.contest = Some(contest.clone());
        Some(contest)
    }

    /// The contest of a key, and how long nothing is written; `None` where the next repair would be made at once.
    pub fn pending(&self, key: &K) -> Option<(Duration, &Contest)> {
        let record = self.records.get(key)?;
        Some((record.left(), record.contest.as_ref()?)).filter(|(left, _)| !left.is_zero())
    }

    /// All that wait.
    pub fn all(&self) -> impl Iterator<Item = (&K, &Contest)> {
        self.records.keys().filter_map(|key| Some((key, self.pending(key)?.1)))
    }

    /// Forgets what is over, now and then.
    fn tidy(&mut self) {
        if self.tidied.is_none_or(|last| last.elapsed() >= TIDY) {
            self.tidied = Some(Instant::now());
            self.records.retain(|_, record| !record.is_over());
            self.records.shrink_to(SMALL);
        }
    }
}

/// How long the next repair waits, after so many beyond the free ones.
fn delay(beyond: u32) -> Duration {
    let whole = FIRST.saturating_mul(1 << beyond.min(16)).min(LONGEST);
    // Never all at the same moment.
    whole.mul_f64(0.8 + fastrand::f64() / 5.0)
}

/// The contests of one cluster, or of the management cluster's own objects; shared by all who write there.
#[derive(Debug)]
pub struct Ledger {
    /// Id of the cluster; empty for Sluicegate's own objects on the management cluster.
    cluster: String,
    contests: Mutex<Contests<Subject>>,
    metrics: Arc<Metrics>,
}

impl Ledger {
    /// Nothing is contested yet.
    pub fn new(cluster: impl Into<String>, metrics: Arc<Metrics>) -> Self {
        Self { cluster: cluster.into(), contests: Mutex::default(), metrics }
    }

    fn contests(&self) -> MutexGuard<'_, Contests<Subject>> {
        // A record is changed as a whole or not at all.
        self.contests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`Contests::turn_over`].
    pub fn turn_over(&self, subject: &Subject, seen: Fingerprint) -> Turn {
        self.contests().turn_over(subject, seen)
    }

    /// As [`Contests::wrote_over`], and counted.
    pub fn wrote_over(
        &self,
        subject: &Subject,
        seen: Fingerprint,
        wanted: Fingerprint,
        writer: Option<String>,
    ) -> Option<Contest> {
        let contest = self.contests().wrote_over(subject.clone(), seen, wanted, writer);
        self.count(subject, contest)
    }

    fn count(&self, subject: &Subject, contest: Option<Contest>) -> Option<Contest> {
        if contest.is_some() {
            self.metrics.contested_repair(&self.cluster, subject.kind());
            self.show();
        }
        contest
    }

    /// Begins a write, if it is its turn, as [`Contests::turn`] has it. `writer` is asked who the other writer is where people
    /// will be told.
    ///
    /// # Errors
    /// The time that the write has to wait.
    pub async fn begin(
        &self,
        subject: Subject,
        wanted: Fingerprint,
        drift: Drift,
        writer: impl Future<Output = String>,
    ) -> Result<Begun<'_>, Duration> {
        let turn = self.contests().turn(&subject, wanted, drift);
        let writer = match turn {
            Turn::Wait(left) => return Err(left),
            Turn::Now { contested: false } => None,
            Turn::Now { contested: true } => Some(writer.await),
        };
        Ok(Begun { ledger: self, subject, wanted, drift, writer })
    }

    /// As [`Contests::pending`], told in words that stay the same while the contest goes on.
    pub fn pending(&self, subject: &Subject) -> Option<(Duration, String)> {
        let contests = self.contests();
        contests.pending(subject).map(|(left, contest)| (left, contest.lasting(subject)))
    }

    /// All that wait, told in words with the time of the next repair, in order.
    pub fn all(&self) -> Vec<String> {
        let contests = self.contests();
        let mut all: Vec<(&Subject, &Contest)> = contests.all().collect();
        all.sort_unstable_by_key(|(subject, _)| *subject);
        all.into_iter().map(|(subject, contest)| contest.text(subject)).collect()
    }

    /// Has the metrics say how many wait.
    pub fn show(&self) {
        let mut counts: HashMap<Written, usize> = HashMap::new();
        for (subject, _) in self.contests().all() {
            *counts.entry(subject.kind()).or_default() += 1;
        }
        for kind in Written::all() {
            self.metrics.contested(&self.cluster, kind, counts.get(&kind).copied().unwrap_or_default());
        }
    }
}

/// A write whose turn it is.
#[derive(Debug)]
#[must_use = "a write that is not noted does not count"]
pub struct Begun<'a> {
    ledger: &'a Ledger,
    subject: Subject,
    wanted: Fingerprint,
    drift: Drift,
    writer: Option<String>,
}

impl Begun<'_> {
    /// It was written; the contest, where the next write has to wait.
    pub fn wrote(self) -> Option<(Subject, Contest)> {
        let Self { ledger, subject, wanted, drift, writer } = self;
        let contest = ledger.contests().wrote(subject.clone(), wanted, drift, writer);
        ledger.count(&subject, contest).map(|contest| (subject, contest))
    }
}

/// Tells people of a contest: in the log, and by an event about `regarding`. `uid` is that of the object, where it is known.
pub fn announce(events: &Events, subject: &Subject, contest: &Contest, regarding: ObjectReference, uid: Option<&str>) {
    warn!(%subject, writer = contest.writer, repairs = contest.repairs, "is contested");
    let (secondary, action) = match subject {
        Subject::Object(key) => (Some(reference(key, uid)), "Repair"),
        Subject::TenantGuard(namespace) => {
            let guard = ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some("TenantGuard".to_owned()),
                namespace: Some(namespace.to_string()),
                name: Some(TENANT_GUARD.to_owned()),
                ..ObjectReference::default()
            };
            (Some(guard), "Repair")
        }
        Subject::FluxCrds | Subject::Config(..) => (None, "Repair"),
        Subject::ConfigStatus(..) | Subject::PolicyStatus(..) | Subject::ClusterStatus(..) => (None, "RepairStatus"),
    };
    // What is contested stands beside the text as well: events that are alike in all but their text are taken for one that
    // comes again.
    let event = Event {
        type_: EventType::Warning,
        reason: Reason::Contested.to_string(),
        note: Some(contest.text(subject)),
        action: action.to_owned(),
        secondary,
    };
    events.tell(event, regarding);
}

/// An object as events name it.
fn reference(key: &Key, uid: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some(key.kind.api_version()),
        kind: Some(key.kind.name().to_owned()),
        namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        name: Some(key.name.clone()),
        uid: uid.map(str::to_owned),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn wanted(text: &str) -> Fingerprint {
        Fingerprint::of_text(text)
    }

    /// Repairs as often as allowed, as if the other writer answered at once; the number of repairs in this time.
    async fn fight(contests: &mut Contests<&'static str>, time: Duration) -> u32 {
        let (began, mut repairs) = (Instant::now(), 0);
        loop {
            match contests.turn(&"object", wanted("a"), Drift::ANY) {
                Turn::Now { .. } => {
                    contests.wrote("object", wanted("a"), Drift::ANY, None);
                    repairs += 1;
                    advance(Duration::from_millis(1)).await;
                }
                Turn::Wait(left) if began.elapsed() + left > time => return repairs,
                Turn::Wait(left) => advance(left).await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_repairs_are_made_at_once_and_then_fewer_and_fewer() {
        let mut contests = Contests::default();
        assert_eq!(contests.wrote("object", wanted("a"), Drift::ANY, None), None, "it was made");
        for _ in 1..SAME {
            assert!(matches!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Now { .. }));
            assert_eq!(contests.wrote("object", wanted("a"), Drift::ANY, None), None);
        }
        assert_eq!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Now { contested: true });
        let contest = contests.wrote("object", wanted("a"), Drift::ANY, Some("x changes y".to_owned())).unwrap();
        assert_eq!((contest.repairs, contest.writer.as_str()), (5, "x changes y"));
        let mut delays = Vec::new();
        for _ in 0..10 {
            let Turn::Wait(left) = contests.turn(&"object", wanted("a"), Drift::ANY) else { panic!("it waits") };
            assert!(contests.pending(&"object").is_some());
            delays.push(left);
            advance(left).await;
            assert_eq!(contests.pending(&"object"), None);
            assert_eq!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Now { contested: true });
            contests.wrote("object", wanted("a"), Drift::ANY, None);
        }
        for (index, left) in delays.iter().enumerate() {
            let whole = FIRST.saturating_mul(1 << index).min(LONGEST);
            assert!(*left <= whole && *left >= whole.mul_f64(0.79), "{index}: {left:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_costs_a_bounded_number_of_writes() {
        let mut contests = Contests::default();
        let minute = fight(&mut contests, Duration::from_secs(60)).await;
        assert!((7..=10).contains(&minute), "{minute}");
        let day = fight(&mut contests, Duration::from_secs(24 * 60 * 60)).await;
        assert!(day <= 190, "{day}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_every_quarter_of_a_minute_is_a_fight_too() {
        // As often as a HorizontalPodAutoscaler looks.
        let (mut contests, began, mut repairs) = (Contests::default(), Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(24 * 60 * 60) {
            if let Turn::Now { .. } = contests.turn(&"object", wanted("a"), Drift::ANY) {
                contests.wrote("object", wanted("a"), Drift::ANY, None);
                repairs += 1;
            }
            advance(Duration::from_secs(15)).await;
        }
        assert!(repairs <= 190, "{repairs}");
    }

    #[tokio::test(start_paused = true)]
    async fn to_change_something_else_each_time_is_a_fight_too() {
        let (mut contests, mut repairs) = (Contests::default(), 0);
        for number in 0..1000 {
            let drift = Drift::of(&number);
            if let Turn::Now { .. } = contests.turn(&"object", wanted("a"), drift) {
                contests.wrote("object", wanted("a"), drift, None);
                repairs += 1;
            }
        }
        // The first write makes the object.
        assert_eq!(repairs, ANY + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_repair_that_holds_ends_the_contest() {
        let mut contests = Contests::default();
        fight(&mut contests, Duration::from_secs(60)).await;
        let (left, _) = contests.pending(&"object").unwrap();
        advance(left).await;
        // Long enough for a short contest, and not for this one.
        contests.wrote("object", wanted("a"), Drift::ANY, None);
        let (left, _) = contests.pending(&"object").unwrap();
        advance(left).await;
        assert_eq!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Now { contested: true });
        advance(QUIET.max(left * 2)).await;
        assert_eq!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Now { contested: false });
        for _ in 0..SAME {
            assert!(matches!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Now { .. }));
            assert_eq!(contests.wrote("object", wanted("a"), Drift::ANY, None), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_wanted_anew_does_not_wait_and_does_not_end_the_contest() {
        let mut contests = Contests::default();
        fight(&mut contests, Duration::from_secs(60)).await;
        assert!(matches!(contests.turn(&"object", wanted("a"), Drift::ANY), Turn::Wait(_)));
        assert_eq!(contests.turn(&"object", wanted("b"), Drift::ANY), Turn::Now { contested: false });
        assert_eq!(contests.wrote("object", wanted("b"), Drift::ANY, None), None);
        assert!(matches!(contests.turn(&"object", wanted("b"), Drift::ANY), Turn::Wait(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_goes_on_by_itself_is_no_contest_and_one_that_others_write_is() {
        let mut contests = Contests::default();
        let mut seen = wanted("none");
        for number in 0..100 {
            assert_eq!(contests.turn_over(&"status", seen), Turn::Now { contested: false });
            let now = wanted(&number.to_string());
            assert_eq!(contests.wrote_over("status", seen, now, None), None);
            // The watch is one behind, at times.
            if number % 3 > 0 {
                seen = now;
            }
            if number % 3 == 2 {
                advance(Duration::from_millis(10)).await;
            }
        }
        let mut writes = 0;
        for number in 0..100 {
            let theirs = wanted(&format!("theirs {number}"));
            if let Turn::Now { .. } = contests.turn_over(&"status", theirs) {
                contests.wrote_over("status", theirs, wanted(&format!("ours {number}")), None);
                writes += 1;
            }
        }
        assert_eq!(writes, SAME);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_forgotten() {
        let mut contests = Contests::default();
        for number in 0..10_000 {
            contests.wrote(number, wanted("a"), Drift::ANY, None);
        }
        advance(QUIET).await;
        contests.wrote(0, wanted("a"), Drift::ANY, None);
        assert_eq!(contests.records.len(), 1);
        assert!(contests.records.capacity() < 1000);
    }
}
