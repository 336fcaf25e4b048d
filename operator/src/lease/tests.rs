//! The state machine by itself; and whole elections in virtual time over a Lease in memory whose link to each candidate can
//! be cut, which no real API server does on demand.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::coordination::v1::Lease;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, advance, sleep},
};

use super::{
    Election, Guard, Leadership, Timing,
    machine::{Action, Hold, Machine, Record},
    store::{Store, StoreError},
};

const SECOND: Duration = Duration::from_secs(1);

fn record(holder: &str, term: i32, version: &str) -> Record {
    Record { holder: holder.to_owned(), lease: Some(15 * SECOND), term, version: version.to_owned() }
}

fn machine() -> (Machine, Instant) {
    (Machine::new("me".to_owned(), Timing::default()), Instant::now())
}

#[test]
fn creates_a_lease_that_does_not_exist() {
    let (mut machine, now) = machine();
    assert_eq!(machine.step(now, None), Action::Create(1));
    machine.written(now, &record("me", 1, "1"));
    assert_eq!(machine.hold(), Some(Hold { term: 1, until: now + 10 * SECOND }));
}

#[test]
fn takes_a_released_lease_at_once() {
    let (mut machine, now) = machine();
    assert_eq!(machine.step(now, Some(record("", 4, "9"))), Action::Replace(5));
}

#[test]
fn takes_a_held_lease_only_after_seeing_no_change_for_the_whole_lease() {
    let (mut machine, now) = machine();
    let held = || Some(record("other", 4, "9"));
    assert_eq!(machine.step(now, held()), Action::Wait(now + 15 * SECOND));
    let later = now + 14 * SECOND;
    assert_eq!(machine.step(later, held()), Action::Wait(now + 15 * SECOND));
    assert_eq!(machine.step(later, Some(record("other", 4, "10"))), Action::Wait(later + 15 * SECOND));
    assert_eq!(machine.step(later + 15 * SECOND, Some(record("other", 4, "10"))), Action::Replace(5));
}

#[test]
fn respects_the_lease_that_the_holder_asks_for_within_reason() {
    let (mut machine, now) = machine();
    let asks = |seconds| {
        let mut lease = Lease::default();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("other".to_owned());
        spec.lease_duration_seconds = Some(seconds);
        Some(Record::read(&lease))
    };
    assert_eq!(machine.step(now, asks(60)), Action::Wait(now + 60 * SECOND));
    assert_eq!(machine.step(now, asks(i32::MAX)), Action::Wait(now + 300 * SECOND));
    assert_eq!(machine.step(now, asks(-1)), Action::Wait(now + 15 * SECOND));
}

#[test]
fn loses_at_the_deadline_and_comes_back_with_a_new_term() {
    let (mut machine, now) = machine();
    machine.written(now, &record("me", 3, "1"));
    assert_eq!(machine.step(now + 9 * SECOND, Some(record("me", 3, "1"))), Action::Replace(3));
    assert!(machine.hold().is_some());
    assert_eq!(machine.step(now + 10 * SECOND, Some(record("me", 3, "1"))), Action::Replace(4));
    assert_eq!(machine.hold(), None);
}

#[test]
fn loses_when_another_one_holds_it_or_when_it_is_gone() {
    for observed in [Some(record("other", 4, "2")), None] {
        let (mut machine, now) = machine();
        machine.written(now, &record("me", 3, "1"));
        machine.step(now + SECOND, observed);
        assert_eq!(machine.hold(), None);
    }
}

#[test]
fn a_deleted_lease_does_not_lower_the_term() {
    let (mut machine, now) = machine();
    machine.step(now, Some(record("other", 41, "9")));
    assert_eq!(machine.step(now + 15 * SECOND, None), Action::Create(42));
}

#[test]
fn a_deleted_lease_is_respected_for_as_long_as_its_holder_may_not_know() {
    let (mut machine, now) = machine();
    machine.step(now, Some(record("other", 4, "9")));
    assert_eq!(machine.step(now + SECOND, None), Action::Wait(now + 15 * SECOND));
    // Its holder makes it anew.
    assert_eq!(machine.step(now + 3 * SECOND, Some(record("other", 5, "10"))), Action::Wait(now + 18 * SECOND));
    // One that was released belongs to nobody.
    machine.step(now + 4 * SECOND, Some(record("", 5, "11")));
    assert_eq!(machine.step(now + 5 * SECOND, None), Action::Create(6));
}

#[test]
fn a_lease_under_our_name_that_we_do_not_hold_begins_a_new_term() {
    let (mut machine, now) = machine();
    assert_eq!(machine.step(now, Some(record("me", 7, "9"))), Action::Replace(8));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_may_not_write_when_it_wakes_up() {
    let hold = watch::Sender::new(Some(Hold { term: 1, until: Instant::now() + 10 * SECOND }));
    let guard = Guard { hold: hold.subscribe() };
    let permit = guard.permit().unwrap();
    advance(10 * SECOND - Duration::from_millis(1)).await;
    assert!(guard.may_write() && permit.may_write());
    // No task of the election has run since.
    advance(60 * SECOND).await;
    assert!(!guard.may_write() && !permit.may_write() && guard.permit().is_none());
    // And what was begun then does not go on in a later leadership.
    hold.send_replace(Some(Hold { term: 2, until: Instant::now() + 10 * SECOND }));
    assert!(guard.may_write() && !permit.may_write());
}

/// What a candidate's link to the API server does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Link {
    Up,
    /// Requests get no answer and have no effect.
    Cut,
    /// Requests fail.
    Refused,
    /// Requests have their effect, and the answer is lost.
    Deaf,
}

#[derive(Clone)]
struct Memory {
    lease: Arc<Mutex<(u64, Option<Lease>)>>,
    link: watch::Receiver<Link>,
}

impl Memory {
    async fn request<T>(&self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        sleep(Duration::from_millis(20)).await;
        let link = *self.link.borrow();
        let answer = match link {
            Link::Up => act(),
            Link::Refused => Err(StoreError::Late),
            Link::Cut => std::future::pending().await,
            Link::Deaf => {
                let _ = act();
                std::future::pending().await
            }
        };
        sleep(Duration::from_millis(20)).await;
        answer
    }
}

impl Store for Memory {
    async fn get(&self) -> Result<Option<Lease>, StoreError> {
        self.request(|| Ok(self.lease.lock().unwrap().1.clone())).await
    }

    async fn create(&self, lease: Lease) -> Result<Lease, StoreError> {
        self.request(|| store(&self.lease, lease, |there| there.is_none())).await
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, StoreError> {
        let version = lease.metadata.resource_version.clone();
        let same = |there: Option<&Lease>| there.is_some_and(|there| there.metadata.resource_version == version);
        self.request(|| store(&self.lease, lease, same)).await
    }
}

fn store(
    place: &Mutex<(u64, Option<Lease>)>,
    mut lease: Lease,
    allowed: impl FnOnce(Option<&Lease>) -> bool,
) -> Result<Lease, StoreError> {
    let mut place = place.lock().unwrap();
    if !allowed(place.1.as_ref()) {
        return Err(StoreError::Conflict);
    }
    place.0 += 1;
    lease.metadata.resource_version = Some(place.0.to_string());
    place.1 = Some(lease.clone());
    Ok(lease)
}

struct Candidate {
    guard: Guard,
    leadership: watch::Receiver<Leadership>,
    link: watch::Sender<Link>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Candidate {
    fn term(&self) -> Option<i32> {
        self.guard.permit().map(|permit| permit.term())
    }
}

#[derive(Default)]
struct World {
    lease: Arc<Mutex<(u64, Option<Lease>)>>,
}

impl World {
    fn candidate(&self, name: &str) -> Candidate {
        let link = watch::Sender::new(Link::Up);
        let memory = Memory { lease: Arc::clone(&self.lease), link: link.subscribe() };
        let election = Election::over(memory, name.to_owned(), Timing::default());
        let (stop, stopped) = oneshot::channel();
        Candidate {
            guard: election.guard(),
            leadership: election.leadership(),
            link,
            stop: Some(stop),
            task: tokio::spawn(election.run(async {
                let _ = stopped.await;
            })),
        }
    }

    /// One that has led for half a minute and so long, and one that stands by.
    async fn pair(&self, longer: Duration) -> (Candidate, Candidate) {
        let first = self.candidate("first");
        leads(&first, &[]).await;
        let second = self.candidate("second");
        sleep(30 * SECOND + longer).await;
        (first, second)
    }

    fn holder(&self) -> String {
        self.lease.lock().unwrap().1.as_ref().map(|lease| Record::read(lease).holder).unwrap_or_default()
    }
}

/// Waits until that candidate may write, and watches that no other one may at the same time. Returns how long it took.
async fn leads(candidate: &Candidate, others: &[&Candidate]) -> Duration {
    let begun = Instant::now();
    while !candidate.guard.may_write() {
        assert!(begun.elapsed() < 120 * SECOND, "nobody leads");
        sleep(Duration::from_millis(10)).await;
    }
    assert!(others.iter().all(|other| !other.guard.may_write()), "two lead");
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_stands_by() {
    let world = World::default();
    let (first, second) = (world.candidate("first"), world.candidate("second"));
    sleep(300 * SECOND).await;
    let leading = [&first, &second].into_iter().filter(|candidate| candidate.guard.may_write()).count();
    assert_eq!(leading, 1);
    assert_eq!([first.term(), second.term()].into_iter().flatten().collect::<Vec<_>>(), [1]);
}

#[tokio::test(start_paused = true)]
async fn takes_over_within_20_seconds_when_the_leader_is_killed() {
    // Wherever in its round the leader is killed.
    for millis in (0..2500).step_by(130) {
        let world = World::default();
        let (first, second) = world.pair(Duration::from_millis(millis)).await;
        first.task.abort();
        let killed = Instant::now();
        sleep(10 * SECOND).await;
        leads(&second, &[&first]).await;
        let took = killed.elapsed();
        assert!(took < 20 * SECOND, "took {took:?}");
        assert_eq!(second.term(), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_the_other_begins() {
    for link in [Link::Cut, Link::Refused] {
        let world = World::default();
        let (mut first, second) = world.pair(Duration::ZERO).await;
        first.link.send_replace(link);
        let cut = Instant::now();
        first.leadership.mark_unchanged();
        first.leadership.changed().await.unwrap();
        assert_eq!(*first.leadership.borrow(), Leadership::Following);
        assert!(cut.elapsed() <= 10 * SECOND, "stopped after {:?}", cut.elapsed());
        assert!(!first.guard.may_write() && !second.guard.may_write());
        leads(&second, &[&first]).await;
        // Back again, it stands by.
        first.link.send_replace(Link::Up);
        sleep(60 * SECOND).await;
        assert!(second.guard.may_write() && !first.guard.may_write());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_deletes_makes_no_second_leader() {
    // Wherever in their rounds it is deleted.
    for millis in (0..2500).step_by(130) {
        let world = World::default();
        let (first, second) = world.pair(Duration::from_millis(millis)).await;
        world.lease.lock().unwrap().1 = None;
        for _ in 0..3000 {
            sleep(Duration::from_millis(10)).await;
            assert!(!second.guard.may_write(), "the first one may write for {:?}", first.term());
        }
        assert_eq!(first.term(), Some(2), "it made the Lease anew");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_hands_over_at_once() {
    let world = World::default();
    let (mut first, second) = world.pair(Duration::ZERO).await;
    first.stop.take().unwrap().send(()).unwrap();
    (&mut first.task).await.unwrap();
    assert_eq!(world.holder(), "");
    assert!(!first.guard.may_write());
    assert!(leads(&second, &[&first]).await <= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_stand_by_that_stops_leaves_the_lease_alone() {
    let world = World::default();
    let (first, mut second) = world.pair(Duration::ZERO).await;
    second.stop.take().unwrap().send(()).unwrap();
    second.task.await.unwrap();
    assert_eq!(world.holder(), "first");
    assert!(first.guard.may_write());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_does_not_cost_the_leadership() {
    let world = World::default();
    let first = world.candidate("first");
    leads(&first, &[]).await;
    first.link.send_replace(Link::Deaf);
    sleep(4 * SECOND).await;
    first.link.send_replace(Link::Up);
    sleep(60 * SECOND).await;
    assert_eq!(first.term(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn never_do_two_lead_whatever_the_links_do() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::default();
        let mut candidates: Vec<Candidate> = ["a", "b", "c"].into_iter().map(|name| world.candidate(name)).collect();
        let (mut highest, mut leader, mut changes) = (0, None, 0);
        for _ in 0..6000 {
            sleep(Duration::from_millis(100)).await;
            if random.u32(..100) == 0 {
                let link = [Link::Up, Link::Up, Link::Cut, Link::Refused, Link::Deaf][random.usize(..5)];
                candidates[random.usize(..3)].link.send_replace(link);
            }
            if random.u32(..600) == 0 {
                // Killed, and started again under another identity.
                let which = random.usize(..3);
                candidates[which].task.abort();
                let fresh = world.candidate(&format!("{seed}-{}", random.u32(..)));
                drop(std::mem::replace(&mut candidates[which], fresh));
            }
            let leading: Vec<(usize, i32)> =
                candidates.iter().enumerate().filter_map(|(which, one)| Some((which, one.term()?))).collect();
            assert!(leading.len() <= 1, "seed {seed}: {leading:?} lead at once");
            if let Some(&now) = leading.first()
                && leader != Some(now)
            {
                assert!(now.1 > highest, "seed {seed}: term {} follows {highest}", now.1);
                (highest, leader, changes) = (now.1, Some(now), changes + 1);
            }
        }
        assert!(changes > 3, "seed {seed}: the links did too little");
        for candidate in &candidates {
            candidate.task.abort();
        }
    }
}
