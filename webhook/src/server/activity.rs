//! What goes on on connections, and who of them is told to end: those that nothing comes of, and in the end all.
//!
//! One task looks at all of them now and then. A connection itself looks at no clock and waits for nothing but its own
//! requests, so that a request costs no more for being bounded.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::time::{Instant, interval};

use super::Limits;

/// How often it is looked whether connections are of use.
const LOOK: Duration = Duration::from_millis(500);

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing comes of it.
    Useless,
    /// Everything ends.
    Ended,
}

/// What goes on on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    open: AtomicUsize,
    done: AtomicUsize,
    told: OnceLock<End>,
    driver: AtomicWaker,
}

impl Activity {
    /// A request has begun; it counts until what is given is dropped, however that ends.
    pub(super) fn request(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// How many requests have ended.
    pub(super) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Whether no request has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.open.load(Ordering::Relaxed) == 0 && self.done() == 0
    }

    /// Drives a connection to its own end, or until it is told to end.
    pub(super) async fn drive<C: Future>(&self, mut connection: Pin<&mut C>) -> Result<C::Output, End> {
        std::future::poll_fn(|context| {
            self.driver.register(context.waker());
            match self.told.get() {
                None => connection.as_mut().poll(context).map(Ok),
                Some(end) => Poll::Ready(Err(*end)),
            }
        })
        .await
    }

    fn tell(&self, end: End) {
        // Whoever was told before is ending already.
        if self.told.set(end).is_ok() {
            self.driver.wake();
        }
    }
}

/// A request that is being answered.
pub(super) struct Open(Arc<Activity>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    all: Vec<Looked>,
    ended: bool,
}

/// A connection as it was when it was looked at.
#[derive(Debug)]
struct Looked {
    activity: Weak<Activity>,
    done: usize,
    since: Instant,
}

impl Looked {
    /// Looks again; whether the connection is still there.
    fn again(&mut self, now: Instant, limits: &Limits) -> bool {
        let Some(activity) = self.activity.upgrade() else { return false };
        let done = activity.done();
        if done != self.done || activity.open.load(Ordering::Relaxed) > 0 {
            (self.done, self.since) = (done, now);
        }
        let patience = if done == 0 { limits.headers } else { limits.idle };
        if now.duration_since(self.since) >= patience {
            activity.tell(End::Useless);
        }
        true
    }
}

impl Connections {
    /// One more, from now on.
    pub(super) fn add(&self) -> Arc<Activity> {
        let activity = Arc::new(Activity::default());
        let mut known = self.known();
        if known.ended {
            activity.tell(End::Ended);
        }
        known.all.push(Looked { activity: Arc::downgrade(&activity), done: 0, since: Instant::now() });
        activity
    }

    /// Tells all to end, and whoever comes from now on.
    pub(super) fn end(&self) {
        let mut known = self.known();
        known.ended = true;
        for activity in known.all.iter().filter_map(|looked| looked.activity.upgrade()) {
            activity.tell(End::Ended);
        }
    }

    /// Looks after them, for as long as it is awaited.
    pub(super) async fn look_after(&self, limits: &Limits) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let now = Instant::now();
            self.known().all.retain_mut(|looked| looked.again(now, limits));
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Nothing that is done with it leaves a half.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin};

    use super::*;

    fn limits() -> Limits {
        Limits { headers: Duration::from_secs(10), idle: Duration::from_secs(300), ..Limits::default() }
    }

    /// What a connection that does nothing by itself is told, and after how many seconds; `None` within `within`.
    async fn told(connections: &Connections, activity: &Activity, within: u64) -> Option<(End, u64)> {
        let (limits, began) = (limits(), Instant::now());
        let mut connection = pin!(pending::<()>());
        tokio::select! {
            () = connections.look_after(&limits) => None,
            told = activity.drive(connection.as_mut()) => Some((told.unwrap_err(), began.elapsed().as_secs())),
            () = tokio::time::sleep(Duration::from_secs(within)) => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_nothing_is_told_to_end() {
        let connections = Connections::default();
        let activity = connections.add();
        assert_eq!(told(&connections, &activity, 60).await, Some((End::Useless, 10)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_request_there_is_more_patience() {
        let connections = Connections::default();
        let activity = connections.add();
        drop(activity.request());
        assert_eq!(told(&connections, &activity, 600).await, Some((End::Useless, 300)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_being_answered_keeps_its_connection() {
        let connections = Connections::default();
        let activity = connections.add();
        let open = activity.request();
        assert_eq!(told(&connections, &activity, 3600).await, None);
        drop(open);
        assert_eq!(told(&connections, &activity, 600).await, Some((End::Useless, 300)));
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_end_all_are_told_and_whoever_comes_later() {
        let connections = Connections::default();
        let before = connections.add();
        connections.end();
        for activity in [before, connections.add()] {
            assert_eq!(told(&connections, &activity, 60).await, Some((End::Ended, 0)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_gone_is_forgotten() {
        let connections = Connections::default();
        let (gone, stays) = (connections.add(), connections.add());
        drop(gone);
        assert_eq!(told(&connections, &stays, 1).await, None);
        assert_eq!(connections.known().all.len(), 1);
    }

    #[tokio::test]
    async fn what_a_connection_comes_to_is_handed_on() {
        let connections = Connections::default();
        let activity = connections.add();
        let mut connection = pin!(async { 7 });
        assert_eq!(activity.drive(connection.as_mut()).await, Ok(7));
    }
}
