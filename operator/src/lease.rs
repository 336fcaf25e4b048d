//! Who may write: leader election on a `coordination.k8s.io/v1` Lease, with fencing.
//!
//! One process leads, the others stand by. The leader renews the Lease; a stand-by that has seen no change of it for the
//! whole lease, by its own monotonic clock, takes it over. Writes of the Lease are conditional on its `resourceVersion`, so
//! that of two which try only one succeeds.
//!
//! The leader's right ends at a deadline that lies before the end of the lease, and [`Guard::may_write`] compares with the
//! clock at the moment of the question. So a process that was cut off, starved or stopped for a minute knows on its first
//! instruction that it does not lead any more. What remains is a request that was on its way when the process stopped; the
//! time between deadline and end of the lease is there for that, and the kernel's clock must not stand still while others'
//! run (as in a virtual machine that is paused).

mod machine;
mod store;
#[cfg(test)]
mod tests;

use std::{pin::pin, time::Duration};

use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime, jiff::Timestamp};
use kube::Client;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info, warn};

pub use machine::Timing;
use machine::{Action, Hold, Machine, Record};
use store::{Leases, Store, StoreError};

/// Whether this process leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another one does, or nobody.
    Following,
    /// This one does.
    Leading {
        /// Number of this leadership: the Lease's `leaseTransitions`. Every leadership has a higher one than all before.
        term: i32,
    },
}

/// Says at any moment whether this process may write. Cheap to ask and to clone.
#[derive(Clone, Debug)]
pub struct Guard {
    hold: watch::Receiver<Option<Hold>>,
}

impl Guard {
    /// Whether this process leads now, by the clock of now.
    pub fn may_write(&self) -> bool {
        self.current().is_some()
    }

    /// A permit for work that begins now; none while another one leads.
    pub fn permit(&self) -> Option<Permit> {
        Some(Permit { term: self.current()?, guard: self.clone() })
    }

    fn current(&self) -> Option<i32> {
        let hold = *self.hold.borrow();
        hold.filter(|hold| Instant::now() < hold.until).map(|hold| hold.term)
    }
}

/// The right to write within one leadership: what was read in an earlier one must not be written in a later one.
#[derive(Clone, Debug)]
pub struct Permit {
    term: i32,
    guard: Guard,
}

impl Permit {
    /// Whether the leadership that it was given in still lasts. Ask before each write.
    pub fn may_write(&self) -> bool {
        self.guard.current() == Some(self.term)
    }

    /// The leadership that it was given in.
    pub fn term(&self) -> i32 {
        self.term
    }
}

/// A candidate for leadership.
pub struct Election<S = Leases> {
    store: S,
    identity: String,
    timing: Timing,
    machine: Machine,
    /// The Lease as it was last read or written.
    lease: Option<Lease>,
    hold: watch::Sender<Option<Hold>>,
    leadership: watch::Sender<Leadership>,
}

impl Election<Leases> {
    /// A candidate for the Lease of that name. `pod` is for people who look at the Lease; the identity that is written gets a
    /// random part, since a pod that starts again under its old name is another process.
    pub fn new(client: Client, namespace: &str, name: &str, pod: &str, timing: Timing) -> Self {
        Self::over(Leases::new(client, namespace, name), format!("{pod}_{:016x}", fastrand::u64(..)), timing)
    }
}

impl<S: Store> Election<S> {
    fn over(store: S, identity: String, timing: Timing) -> Self {
        Self {
            store,
            machine: Machine::new(identity.clone(), timing),
            identity,
            timing,
            lease: None,
            hold: watch::Sender::new(None),
            leadership: watch::Sender::new(Leadership::Following),
        }
    }

    /// What is written as holder.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Tells of each change of leadership.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// For all that write.
    pub fn guard(&self) -> Guard {
        Guard { hold: self.hold.subscribe() }
    }

    /// Takes part until `stop` is ready, then releases the Lease, so that another one leads at its next look. Whoever stops
    /// it must have ended its writing before.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        loop {
            let end = self.end();
            let next = tokio::select! {
                biased;
                () = &mut stop => break,
                () = passed(end) => Instant::now(),
                next = self.turn() => next,
            };
            self.machine.expire(Instant::now());
            self.publish();
            let end = self.end();
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = passed(end) => {
                    self.machine.expire(Instant::now());
                    self.publish();
                }
                () = sleep_until(next) => {}
            }
        }
        self.release().await;
    }

    /// One look at the Lease, and one write if it is ours or free. Returns when to look again.
    async fn turn(&mut self) -> Instant {
        let begun = Instant::now();
        match self.attempt().await {
            Ok(Some(free)) => free.min(begun + self.timing.renew),
            Ok(None) => begun + self.timing.renew,
            Err(StoreError::Conflict) => {
                debug!("the lease was changed by another candidate");
                Instant::now() + self.timing.renew / 8
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "cannot renew or look at the lease");
                Instant::now() + self.timing.renew / 2
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<Instant>, StoreError> {
        let limit = self.timing.request;
        self.lease = limited(limit, self.store.get()).await?;
        let action = self.machine.step(Instant::now(), self.lease.as_ref().map(Record::read));
        self.publish();
        let sent = Instant::now();
        let written = match action {
            Action::Wait(free) => return Ok(Some(free)),
            Action::Create(term) => limited(limit, self.store.create(self.held(Lease::default(), term))).await?,
            Action::Replace(term) => {
                let lease = self.held(self.lease.clone().unwrap_or_default(), term);
                limited(limit, self.store.replace(lease)).await?
            }
        };
        self.machine.written(sent, &Record::read(&written));
        self.lease = Some(written);
        self.publish();
        Ok(None)
    }

    /// The Lease with this process as its holder. The times in it are for people.
    fn held(&self, mut lease: Lease, term: i32) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = lease.spec.get_or_insert_default();
        if spec.lease_transitions != Some(term) || spec.acquire_time.is_none() {
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.timing.lease.as_secs()).ok();
        spec.lease_transitions = Some(term);
        spec.renew_time = Some(now);
        lease
    }

    async fn release(&mut self) {
        self.machine.resign();
        self.publish();
        let ours = |lease: &Lease| Record::read(lease).holder == self.identity;
        let Some(mut lease) = self.lease.clone().filter(ours) else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        match limited(self.timing.request, self.store.replace(lease)).await {
            Ok(_) => info!("released the lease"),
            // It runs out by itself.
            Err(error) => warn!(error = &error as &dyn std::error::Error, "cannot release the lease"),
        }
    }

    fn end(&self) -> Option<Instant> {
        self.machine.hold().map(|hold| hold.until)
    }

    /// Makes known what the machine says: the right itself silently, its coming and going to those who wait for it.
    fn publish(&self) {
        let hold = self.machine.hold();
        self.hold.send_if_modified(|published| {
            *published = hold;
            false
        });
        let leadership = hold.map_or(Leadership::Following, |hold| Leadership::Leading { term: hold.term });
        let changed = self.leadership.send_if_modified(|published| {
            let changed = *published != leadership;
            *published = leadership;
            changed
        });
        if changed {
            match leadership {
                Leadership::Leading { term } => info!(term, identity = self.identity, "leading"),
                Leadership::Following => info!(identity = self.identity, "not leading any more"),
            }
        }
    }
}

/// Waits for that moment; for ever where there is none.
async fn passed(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn limited<T>(limit: Duration, request: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(limit, request).await.unwrap_or(Err(StoreError::Late))
}
