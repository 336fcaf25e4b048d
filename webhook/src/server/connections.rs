//! All connections: who is let in, who goes for it, and who is ended because nothing comes of it.
//!
//! - **A newcomer is let in.** Where there are as many connections as there may be, one of those that are there goes. One
//!   that is answering a request never does.
//! - **A connection is trusted with time and place once it has been answered a review.** Until then it is a *newcomer*: it has
//!   some seconds, whatever else it asks. Newcomers have one half of the places, the others the other half: the half that takes
//!   more than its own loses a connection.
//! - **In each half the peer (by address) with the most connections loses the one of which nothing has come for longest.** So
//!   one peer pushes out no other, and where all come from one address the oldest goes, and nobody is refused.
//! - **Bytes are counted too**: those of requests that have not come whole. Where they are too many, the peer that holds most
//!   loses a connection.
//!
//! `docs/decisions/025-places-at-the-webhook.md` has the reasons. One task looks at all connections now and then; a request
//! takes the lock once in the life of its connection, or where too many bytes are held.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use sluicegate_operator::telemetry::peers::{Candidate, Peer, first_to_go};
use tokio::time::{Instant, interval};
use tracing::warn;

use super::{
    Limits,
    activity::{Activity, Answering, End},
};
use crate::telemetry::{EndedBy, Metrics};

/// How often it is looked whether connections are of use.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is logged that connections were ended to let others in.
const LOG: Duration = Duration::from_secs(10);
/// What a request counts for beside its body while it is waited for.
const REQUEST: usize = 4 * 1024;
/// What a connection may hold however much others do.
const SMALL: usize = 64 * 1024;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In its TLS handshake.
    Handshake,
    /// Not yet answered any review.
    Newcomer,
    /// Answered a review.
    Known,
    /// Told to end.
    Leaving,
}

impl Stage {
    fn is_new(self) -> bool {
        matches!(self, Stage::Handshake | Stage::Newcomer)
    }
}

/// A connection and what is known of it.
#[derive(Debug)]
struct Place {
    activity: Arc<Activity>,
    peer: Peer,
    stage: Stage,
    /// Since when it has been at this stage; of a known one, when it was last seen to have been answered a review.
    since: Instant,
    /// How many reviews it had been answered then.
    reviews: usize,
    /// The client's certificate and those between it and the authority, where clients have them.
    client: Vec<CertificateDer<'static>>,
}

#[derive(Debug, Default)]
struct Known {
    /// By number, and so by age.
    places: BTreeMap<u64, Place>,
    next: u64,
    /// How many places there are of each stage.
    counts: [usize; 4],
    ended: bool,
    /// Connections that were ended to let others in since that was last logged.
    pushed_out: u64,
    logged: Option<Instant>,
}

/// All connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    metrics: Arc<Metrics>,
    known: Mutex<Known>,
    /// Bytes of all requests that have not come whole, or wait.
    held: AtomicUsize,
    /// Those of requests that wait.
    waiting: AtomicUsize,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    activity: Arc<Activity>,
    connections: Arc<Connections>,
}

/// Too many bytes are held at the same time, or too many long answers are waited for.
#[derive(Debug)]
pub(super) struct TooMuch;

impl Known {
    fn count(&self, stage: Stage) -> usize {
        self.counts[stage as usize]
    }

    fn come_to(&mut self, number: u64, stage: Stage, now: Instant) {
        if let Some(place) = self.places.get_mut(&number) {
            self.counts[place.stage as usize] -= 1;
            self.counts[stage as usize] += 1;
            (place.stage, place.since) = (stage, now);
        }
    }

    /// Those of some stages that are not answering any request.
    fn candidates(&self, stages: impl Fn(Stage) -> bool) -> impl Iterator<Item = (Candidate<u64>, &Activity)> {
        let places = self.places.iter().filter(move |(_, place)| stages(place.stage) && !place.activity.is_answering());
        places.map(|(number, place)| {
            let candidate = Candidate { key: *number, peer: place.peer, weight: 1, since: place.since.into_std() };
            (candidate, &*place.activity)
        })
    }

    /// Of some stages, the one that goes first, by the number of connections.
    fn first(&self, stages: impl Fn(Stage) -> bool) -> Option<u64> {
        first_to_go(self.candidates(stages).map(|(candidate, _)| candidate)).map(|candidate| candidate.key)
    }

    /// Of some stages, the one that goes first, by bytes.
    fn first_by_bytes(&self, stages: impl Fn(Stage) -> bool) -> Option<u64> {
        let held = self.candidates(stages).filter_map(|(candidate, activity)| {
            let weight = activity.held().load(Ordering::Relaxed);
            (weight > 0).then_some(Candidate { weight, ..candidate })
        });
        first_to_go(held).map(|candidate| candidate.key)
    }

    /// Who goes so that one more can be let in, if anybody can.
    fn goes(&self, limits: &Limits) -> Option<(u64, EndedBy)> {
        let new = || self.first(Stage::is_new).map(|number| (number, EndedBy::NewerConnections));
        let known = || self.first(|stage| stage == Stage::Known).map(|number| (number, EndedBy::LongestIdle));
        if self.count(Stage::Handshake) + self.count(Stage::Newcomer) >= limits.connections / 2 {
            new().or_else(known)
        } else {
            known().or_else(new)
        }
    }

    /// Who has most connections, and how many those are.
    fn busiest(&self) -> Option<(Peer, usize)> {
        let mut peers: HashMap<Peer, usize> = HashMap::new();
        for place in self.places.values() {
            *peers.entry(place.peer).or_default() += 1;
        }
        peers.into_iter().max_by_key(|(_, count)| *count)
    }
}

impl Connections {
    pub(super) fn new(limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            known: Mutex::default(),
            held: AtomicUsize::default(),
            waiting: AtomicUsize::default(),
        })
    }

    /// One more, from now on: another goes where there is no room. `None` where nobody can go.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Seat>> {
        let (mut known, now) = (self.known(), Instant::now());
        if known.count(Stage::Handshake) >= self.limits.handshakes
            && let Some(number) = known.first(|stage| stage == Stage::Handshake)
        {
            self.push_out(&mut known, number, EndedBy::NewerHandshakes, now);
        }
        let open = known.places.len() - known.count(Stage::Leaving);
        if open >= self.limits.connections {
            match known.goes(&self.limits) {
                Some((number, why)) => self.push_out(&mut known, number, why, now),
                None => return self.refused(),
            }
        }
        // Threads that have not come to ending what was told to end do not make room for more.
        if known.places.len() >= self.limits.connections.saturating_mul(2) {
            return self.refused();
        }
        let activity = Arc::new(Activity::default());
        if known.ended {
            activity.tell(End::Ended);
        }
        let number = known.next;
        known.next += 1;
        known.counts[Stage::Handshake as usize] += 1;
        let place = Place {
            activity: activity.clone(),
            peer: address.into(),
            stage: Stage::Handshake,
            since: now,
            reviews: 0,
            client: Vec::new(),
        };
        known.places.insert(number, place);
        drop(known);
        self.metrics.connected(1);
        Some(Arc::new(Seat { number, activity, connections: Arc::clone(self) }))
    }

    fn refused(&self) -> Option<Arc<Seat>> {
        self.metrics.ended_connection(EndedBy::NoRoom);
        None
    }

    /// Ends one so that another has its place.
    fn push_out(&self, known: &mut Known, number: u64, why: EndedBy, now: Instant) {
        known.pushed_out += 1;
        // A newcomer has been answered nothing that it would miss.
        let gently = known.places.get(&number).is_some_and(|place| place.stage == Stage::Known);
        let end = if gently && why != EndedBy::Memory { End::Useless } else { End::Cut };
        self.end_one(known, number, end, why, now);
    }

    fn end_one(&self, known: &mut Known, number: u64, end: End, why: EndedBy, now: Instant) {
        let Some(place) = known.places.get(&number) else { return };
        place.activity.tell(end);
        self.metrics.ended_connection(why);
        known.come_to(number, Stage::Leaving, now);
        // Those that take their time for it are cut where they become many.
        if known.count(Stage::Leaving) > self.limits.connections / 4 {
            let mut leaving = known.places.values().filter(|place| place.stage == Stage::Leaving);
            if let Some(place) = leaving.find(|place| place.activity.told() < Some(End::Cut)) {
                place.activity.tell(End::Cut);
            }
        }
    }

    /// Tells all to end, and everyone who comes from now on.
    pub(super) fn end(&self) {
        let mut known = self.known();
        known.ended = true;
        for place in known.places.values() {
            place.activity.tell(End::Ended);
        }
    }

    /// Ends those whose client's certificate is no longer accepted.
    pub(super) fn end_foreign(&self, accepts: impl Fn(&[CertificateDer<'static>]) -> bool) {
        let (mut known, now) = (self.known(), Instant::now());
        let open = known.places.iter().filter(|(_, place)| !matches!(place.stage, Stage::Handshake | Stage::Leaving));
        let foreign: Vec<u64> = open.filter(|(_, place)| !accepts(&place.client)).map(|(number, _)| *number).collect();
        for number in foreign {
            self.end_one(&mut known, number, End::Useless, EndedBy::Certificate, now);
        }
    }

    /// Looks after them, for as long as it is awaited.
    pub(super) async fn look_after(&self) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        self.metrics.holds_bytes(self.held.load(Ordering::Relaxed));
        let mut known = self.known();
        let mut useless = Vec::new();
        for (number, place) in &mut known.places {
            let (reviews, answering) = (place.activity.reviews(), place.activity.is_answering());
            let why = match place.stage {
                // Its clock is its own.
                Stage::Handshake | Stage::Leaving => continue,
                Stage::Newcomer if answering => continue,
                Stage::Newcomer if now.duration_since(place.since) >= self.limits.first_review => EndedBy::NoReview,
                Stage::Known if answering || reviews != place.reviews => {
                    (place.reviews, place.since) = (reviews, now);
                    continue;
                }
                Stage::Known if now.duration_since(place.since) >= self.limits.idle => EndedBy::Idle,
                Stage::Newcomer | Stage::Known => continue,
            };
            useless.push((*number, why));
        }
        for (number, why) in useless {
            self.end_one(&mut known, number, End::Useless, why, now);
        }
        let is_due = known.logged.is_none_or(|logged| now.duration_since(logged) >= LOG);
        if known.pushed_out > 0
            && is_due
            && let Some((peer, of)) = known.busiest()
        {
            warn!(
                ended = known.pushed_out, %peer, of, connections = known.places.len(),
                "connections were ended to let others in; `peer` has most of those that are open"
            );
            (known.pushed_out, known.logged) = (0, Some(now));
        }
    }

    /// Ends connections until what is held is within its bound; whether it is then.
    fn relieve(&self) -> bool {
        let (mut known, now) = (self.known(), Instant::now());
        loop {
            let staying = known.places.values().filter(|place| place.stage != Stage::Leaving);
            let held: usize = staying.map(|place| place.activity.held().load(Ordering::Relaxed)).sum();
            if held <= self.limits.bodies {
                return true;
            }
            let goes =
                known.first_by_bytes(Stage::is_new).or_else(|| known.first_by_bytes(|stage| stage == Stage::Known));
            match goes {
                Some(number) => self.push_out(&mut known, number, EndedBy::Memory, now),
                None => return false,
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that is done with it leaves a half.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// What goes on on the connection.
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// The handshake is over; with the client's certificates, where it has any.
    pub(super) fn is_established(&self, client: Option<&[CertificateDer<'static>]>) {
        let mut known = self.connections.known();
        if known.places.get(&self.number).is_some_and(|place| place.stage == Stage::Handshake) {
            known.come_to(self.number, Stage::Newcomer, Instant::now());
            if let Some(place) = known.places.get_mut(&self.number) {
                place.client = client.unwrap_or_default().to_vec();
            }
        }
    }

    /// A request has come whole and is being answered until what is given is dropped.
    pub(super) fn answering(&self) -> Answering {
        self.activity.answering()
    }

    /// A review was answered.
    pub(super) fn reviewed(&self) {
        if self.activity.reviewed() {
            let mut known = self.connections.known();
            if known.places.get(&self.number).is_some_and(|place| place.stage == Stage::Newcomer) {
                known.come_to(self.number, Stage::Known, Instant::now());
                if let Some(place) = known.places.get_mut(&self.number) {
                    place.reviews = 1;
                }
            }
        }
    }

    /// Counts a request that does not come at once, of which so many bytes are there.
    pub(super) fn hold(self: &Arc<Self>, bytes: usize) -> Result<Held, TooMuch> {
        let mut held = Held { seat: Arc::clone(self), bytes: 0 };
        held.more(REQUEST + bytes)?;
        Ok(held)
    }

    /// Counts a request whose answer may have to wait.
    pub(super) fn wait(self: &Arc<Self>, bytes: usize) -> Result<Waiting, TooMuch> {
        let held = self.hold(bytes)?;
        let connections = &self.connections;
        let known = connections.known();
        let peer = known.places.get(&self.number).map(|place| place.peer);
        let (mut all, mut of_peer) = (0, 0);
        for place in known.places.values() {
            let waiting = place.activity.waiting().load(Ordering::Relaxed);
            all += waiting;
            of_peer += if Some(place.peer) == peer { waiting } else { 0 };
        }
        let limits = &connections.limits;
        let bytes_waiting = connections.waiting.load(Ordering::Relaxed) + bytes;
        if all >= limits.waiting || of_peer >= (limits.waiting / 4).max(1) || bytes_waiting > limits.bodies / 4 {
            return Err(TooMuch);
        }
        self.activity.waiting().fetch_add(1, Ordering::Relaxed);
        connections.waiting.fetch_add(bytes, Ordering::Relaxed);
        Ok(Waiting { held, bytes })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut known = self.connections.known();
        if let Some(place) = known.places.remove(&self.number) {
            known.counts[place.stage as usize] -= 1;
        }
        drop(known);
        self.connections.metrics.connected(-1);
    }
}

/// Bytes of a request that are held, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    seat: Arc<Seat>,
    bytes: usize,
}

impl Held {
    /// So many more.
    pub(super) fn more(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.bytes += bytes;
        let (connections, activity) = (&self.seat.connections, &self.seat.activity);
        let own = activity.held().fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = connections.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let most = connections.limits.bodies;
        if all <= most {
            return Ok(());
        }
        let is_relieved = connections.relieve();
        // Those that were told to end still hold what they hold for a moment.
        if own > SMALL && (!is_relieved || all > most + most / 4) { Err(TooMuch) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seat.activity.held().fetch_sub(self.bytes, Ordering::Relaxed);
        self.seat.connections.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A request whose answer may have to wait, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    held: Held,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let seat = &self.held.seat;
        seat.activity.waiting().fetch_sub(1, Ordering::Relaxed);
        seat.connections.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin};

    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    fn limits() -> Limits {
        Limits {
            connections: 8,
            handshakes: 4,
            first_review: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            bodies: 1024 * 1024,
            waiting: 8,
            ..Limits::default()
        }
    }

    fn connections() -> Arc<Connections> {
        Connections::new(limits(), Arc::default())
    }

    /// One that has been answered a review.
    fn known(connections: &Arc<Connections>, address: [u8; 4]) -> Arc<Seat> {
        let seat = newcomer(connections, address);
        seat.reviewed();
        seat
    }

    /// One that has not.
    fn newcomer(connections: &Arc<Connections>, address: [u8; 4]) -> Arc<Seat> {
        let seat = connections.enter(address.into()).unwrap();
        seat.is_established(None);
        seat
    }

    fn told(seats: &[Arc<Seat>]) -> Vec<Option<End>> {
        seats.iter().map(|seat| seat.activity().told()).collect()
    }

    /// How many of these were told to end.
    fn ended(seats: &[Arc<Seat>]) -> usize {
        told(seats).iter().flatten().count()
    }

    /// What a connection that does nothing by itself is told, and after how many seconds; `None` within `within`.
    async fn driven(connections: &Connections, seat: &Seat, within: u64) -> Option<(End, u64)> {
        let began = Instant::now();
        let mut connection = pin!(pending::<()>());
        tokio::select! {
            () = connections.look_after() => None,
            told = seat.activity().drive(connection.as_mut(), None) => Some((told.unwrap_err(), began.elapsed().as_secs())),
            () = tokio::time::sleep(Duration::from_secs(within)) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_is_told_to_end() {
        let connections = connections();
        let seat = newcomer(&connections, A);
        assert_eq!(driven(&connections, &seat, 60).await, Some((End::Useless, 10)));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_no_reviews_keep_no_connection() {
        let connections = connections();
        let (seat, began) = (newcomer(&connections, A), Instant::now());
        for _ in 0..9 {
            seat.activity().begins();
            drop(seat.answering());
            assert_eq!(driven(&connections, &seat, 1).await, None);
        }
        assert_eq!(driven(&connections, &seat, 60).await.map(|(end, _)| end), Some(End::Useless));
        assert_eq!(began.elapsed().as_secs(), 10);
        // After a review they keep it no longer either.
        let (seat, began) = (known(&connections, A), Instant::now());
        for _ in 0..29 {
            seat.activity().begins();
            drop(seat.answering());
            assert_eq!(driven(&connections, &seat, 10).await, None);
        }
        assert_eq!(driven(&connections, &seat, 60).await.map(|(end, _)| end), Some(End::Useless));
        assert_eq!(began.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_review_there_is_more_patience() {
        let connections = connections();
        let seat = known(&connections, A);
        assert_eq!(driven(&connections, &seat, 600).await, Some((End::Useless, 300)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_being_answered_keeps_its_connection() {
        for seat in [newcomer, known] {
            let connections = connections();
            let seat = seat(&connections, A);
            let answering = seat.answering();
            assert_eq!(driven(&connections, &seat, 3600).await, None);
            // Nor does it go for another, which is refused where all are answering.
            let others: Vec<_> = (0..7).map(|_| newcomer(&connections, B)).collect();
            let answers: Vec<_> = others.iter().map(|seat| seat.answering()).collect();
            assert!(connections.enter(A.into()).is_none());
            assert_eq!(seat.activity().told(), None);
            drop((answering, answers));
            assert!(driven(&connections, &seat, 600).await.is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_end_all_are_told_and_those_who_come_later() {
        let connections = connections();
        let before = newcomer(&connections, A);
        connections.end();
        for seat in [before, newcomer(&connections, A)] {
            assert_eq!(driven(&connections, &seat, 60).await, Some((End::Ended, 0)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_gone_leaves_no_trace() {
        let connections = connections();
        for round in 0..3 {
            let seats: Vec<_> = (0..30).filter_map(|_| connections.enter(A.into())).collect();
            for seat in seats.iter().step_by(2) {
                seat.is_established(None);
                seat.reviewed();
            }
            assert!(connections.known().places.len() <= 2 * limits().connections, "round {round}");
            drop(seats);
            let known = connections.known();
            assert!(known.places.is_empty() && known.counts == [0; 4], "round {round}: {known:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_handshake_goes_for_a_newer_one() {
        let connections = connections();
        let enter = |address: [u8; 4]| connections.enter(address.into()).unwrap();
        let seats: Vec<_> = [B, A, A, A, A, A].map(enter).into();
        let cut = Some(End::Cut);
        assert_eq!(told(&seats), [None, cut, cut, None, None, None], "of the peer with most");
    }

    #[tokio::test(start_paused = true)]
    async fn newcomers_and_known_ones_have_half_of_the_places_each() {
        // Those that were answered reviews fill everything; one newcomer after the other has a place all the same.
        let connections = connections();
        let hoard: Vec<_> = (0..8).map(|_| known(&connections, A)).collect();
        let first = newcomer(&connections, A);
        let others: Vec<_> = (0..3).map(|_| newcomer(&connections, A)).collect();
        assert_eq!((ended(&hoard), first.activity().told(), ended(&others)), (4, None, 0));
        // What such a connection is being sent is still sent, unless many take their time for it.
        assert_eq!(told(&hoard)[..4], [End::Cut, End::Cut, End::Useless, End::Useless].map(Some));
        // Newcomers are no more than their half then.
        let flood: Vec<_> = (0..20).filter_map(|_| connections.enter(A.into())).collect();
        assert_eq!(ended(&hoard), 4, "{:?}", flood.len());
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_pushes_out_no_other() {
        for seat in [newcomer, known] {
            let connections = connections();
            let other = seat(&connections, B);
            let flood: Vec<_> = (0..14).map(|_| seat(&connections, A)).collect();
            assert_eq!(other.activity().told(), None);
            assert_eq!(ended(&flood), 7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_address_the_one_that_was_answered_last_stays() {
        let connections = connections();
        let seats: Vec<_> = (0..8).map(|_| known(&connections, A)).collect();
        tokio::time::advance(Duration::from_secs(5)).await;
        seats[0].reviewed();
        connections.look(Instant::now());
        let newer: Vec<_> = (0..3).map(|_| newcomer(&connections, A)).collect();
        let gone: Vec<bool> = told(&seats).iter().map(Option::is_some).collect();
        assert_eq!(gone, [false, true, true, true, false, false, false, false]);
        assert_eq!(ended(&newer), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_peer_that_holds_most_bytes_loses_a_connection() {
        let connections = connections();
        let (small, big) = (newcomer(&connections, B), [newcomer(&connections, A), newcomer(&connections, A)]);
        let _small = small.hold(300_000).unwrap();
        let mut held = big[0].hold(300_000).unwrap();
        let _more = big[1].hold(300_000).unwrap();
        assert_eq!(ended(&big), 0);
        let _ = held.more(200_000);
        assert_eq!((small.activity().told(), ended(&big)), (None, 1));
        assert_eq!(big[0].activity().told(), Some(End::Cut));
        // Small requests are let in while bytes are still held by those who go; large ones are not.
        let late = newcomer(&connections, B);
        assert!(late.hold(1_000).is_ok());
        assert!(held.more(300_000).is_err());
        drop(held);
        assert!(late.hold(100_000).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_more_long_answers_than_a_share() {
        let connections = connections();
        let (one, other) = (newcomer(&connections, A), newcomer(&connections, B));
        let first: Vec<_> = (0..4).map(|_| one.wait(1_000)).collect();
        assert_eq!(first.iter().filter(|waiting| waiting.is_ok()).count(), 2);
        assert!(other.wait(1_000).is_ok());
        // Nor with more bytes than a quarter of all.
        assert!(other.wait(300_000).is_err());
        drop(first);
        assert!(one.wait(1_000).is_ok());
        assert_eq!(connections.held.load(Ordering::Relaxed), 0);
    }
}
