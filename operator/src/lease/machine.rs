//! The decisions of an election, without clock and client: an observation goes in, what to do comes out.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

/// How long things take. `deadline` must be well below `lease`: the difference is what clocks may drift and requests may
/// linger before two processes could both think that they lead.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// A lease that has not changed for this long is free.
    pub lease: Duration,
    /// How often the holder renews, and the others look.
    pub renew: Duration,
    /// A holder that has not renewed for this long stops.
    pub deadline: Duration,
    /// How long one request may take.
    pub request: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(2),
            deadline: Duration::from_secs(10),
            request: Duration::from_secs(3),
        }
    }
}

/// Longest lease of another holder that is believed: a malformed one must not block everybody for years.
const LONGEST: Duration = Duration::from_secs(300);

/// A Lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Empty: nobody.
    pub holder: String,
    /// How long its holder wants it to be respected, where it says.
    pub lease: Option<Duration>,
    /// `leaseTransitions`.
    pub term: i32,
    /// `metadata.resourceVersion`.
    pub version: String,
}

impl Record {
    pub fn read(lease: &Lease) -> Self {
        let spec = lease.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
            lease: seconds.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds).min(LONGEST)),
            term: spec.and_then(|spec| spec.lease_transitions).unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// The right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The fencing token.
    pub term: i32,
    /// It ends then, unless it is renewed.
    pub until: Instant,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make the Lease, with this term.
    Create(i32),
    /// Write the Lease that was read, with this term, provided that it is still the same.
    Replace(i32),
    /// Somebody else has it, until then at least.
    Wait(Instant),
}

/// What one candidate knows. Only its own clock counts: a Lease is old when this process has seen no change of it for long,
/// whatever times are written in it.
#[derive(Debug)]
pub(super) struct Machine {
    identity: String,
    timing: Timing,
    /// The newest record, and when it was first seen.
    seen: Option<(Record, Instant)>,
    hold: Option<Hold>,
    /// Highest term ever seen; a Lease that is deleted and made again must not lower it.
    highest: i32,
}

impl Machine {
    pub fn new(identity: String, timing: Timing) -> Self {
        Self { identity, timing, seen: None, hold: None, highest: 0 }
    }

    /// What to do about the Lease as it was just read; none: it does not exist.
    pub fn step(&mut self, now: Instant, observed: Option<Record>) -> Action {
        self.expire(now);
        let Some(record) = observed else {
            self.hold = None;
            // Deleted under our feet. Another one that held it may not know yet, and has the right to write for as long as
            // before; mostly it makes the Lease anew.
            if let Some((last, since)) = &self.seen
                && last.holder != self.identity
                && let free = self.free(last, *since)
                && now < free
            {
                return Action::Wait(free);
            }
            self.seen = None;
            return Action::Create(self.next_term());
        };
        self.highest = self.highest.max(record.term);
        let since = self.note(now, &record);
        if record.holder == self.identity {
            return match self.hold {
                Some(hold) if hold.term == record.term => Action::Replace(record.term),
                // Ours, but of a time that is over (the right had run out, or an answer was lost): a new term.
                Some(_) | None => {
                    self.hold = None;
                    Action::Replace(self.next_term())
                }
            };
        }
        self.hold = None;
        let free = self.free(&record, since);
        if now < free { Action::Wait(free) } else { Action::Replace(self.next_term()) }
    }

    /// A write of ours succeeded. Its time counts from before it was sent: others may have seen it any time after.
    pub fn written(&mut self, sent: Instant, record: &Record) {
        self.highest = self.highest.max(record.term);
        self.note(sent, record);
        self.hold =
            (record.holder == self.identity).then_some(Hold { term: record.term, until: sent + self.timing.deadline });
    }

    /// Gives up a right that has run out.
    pub fn expire(&mut self, now: Instant) {
        self.hold = self.hold.filter(|hold| now < hold.until);
    }

    /// Gives up the right.
    pub fn resign(&mut self) {
        self.hold = None;
    }

    /// The right to write, if it was not given up.
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// When that record was first seen.
    fn note(&mut self, now: Instant, record: &Record) -> Instant {
        match &self.seen {
            Some((seen, since)) if seen == record => *since,
            Some(_) | None => {
                self.seen = Some((record.clone(), now));
                now
            }
        }
    }

    /// When a Lease is free that was first seen then and does not change: at once where nobody holds it.
    fn free(&self, record: &Record, since: Instant) -> Instant {
        if record.holder.is_empty() { since } else { since + record.lease.unwrap_or(self.timing.lease) }
    }

    fn next_term(&self) -> i32 {
        self.highest.saturating_add(1)
    }
}
