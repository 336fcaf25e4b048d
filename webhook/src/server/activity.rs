//! What goes on on one connection, in atomics: a request costs no lock for being bounded.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures::task::AtomicWaker;

/// Why a connection is to end. The later ones count where a connection is told more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// Nothing comes of it, or its place is needed: what has been answered is still sent.
    Useless,
    /// Everything ends.
    Ended,
    /// Its place is needed at once.
    Cut,
}

impl End {
    fn of(told: u8) -> Option<Self> {
        match told {
            0 => None,
            1 => Some(End::Useless),
            2 => Some(End::Ended),
            _ => Some(End::Cut),
        }
    }

    fn code(self) -> u8 {
        match self {
            End::Useless => 1,
            End::Ended => 2,
            End::Cut => 3,
        }
    }
}

/// What goes on on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that have begun, whatever they are.
    requests: AtomicUsize,
    /// Requests whose body is there and whose answer is not.
    answering: AtomicUsize,
    /// Reviews that were answered.
    reviews: AtomicUsize,
    /// Long answers that are waited for.
    waiting: AtomicUsize,
    /// Bytes of requests that have not come whole, or wait.
    held: AtomicUsize,
    told: AtomicU8,
    driver: AtomicWaker,
}

impl Activity {
    /// A request has begun.
    pub(super) fn begins(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether no request has come yet.
    pub(super) fn is_new(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// A request has come whole and is being answered until what is given is dropped, however that ends.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answering(Arc::clone(self))
    }

    /// Whether any request is being answered.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    /// A review was answered; whether it was the connection's first.
    pub(super) fn reviewed(&self) -> bool {
        self.reviews.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// How many reviews were answered.
    pub(super) fn reviews(&self) -> usize {
        self.reviews.load(Ordering::Relaxed)
    }

    /// Long answers that are waited for.
    pub(super) fn waiting(&self) -> &AtomicUsize {
        &self.waiting
    }

    /// Bytes of requests that have not come whole, or wait.
    pub(super) fn held(&self) -> &AtomicUsize {
        &self.held
    }

    /// Drives a connection to its own end, or until it is told to end for a reason beyond this one.
    pub(super) async fn drive<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        beyond: Option<End>,
    ) -> Result<C::Output, End> {
        std::future::poll_fn(|context| {
            self.driver.register(context.waker());
            match self.told() {
                Some(end) if Some(end) > beyond => Poll::Ready(Err(end)),
                _ => connection.as_mut().poll(context).map(Ok),
            }
        })
        .await
    }

    /// What the connection was told.
    pub(super) fn told(&self) -> Option<End> {
        End::of(self.told.load(Ordering::Acquire))
    }

    pub(super) fn tell(&self, end: End) {
        if self.told.fetch_max(end.code(), Ordering::AcqRel) < end.code() {
            self.driver.wake();
        }
    }
}

/// A request that is being answered.
pub(super) struct Answering(Arc<Activity>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin};

    use super::*;

    #[tokio::test]
    async fn what_a_connection_comes_to_is_handed_on() {
        let activity = Activity::default();
        let mut connection = pin!(async { 7 });
        assert_eq!(activity.drive(connection.as_mut(), None).await, Ok(7));
    }

    #[tokio::test]
    async fn a_connection_that_ends_gently_can_still_be_cut() {
        let activity = Activity::default();
        let mut connection = pin!(pending::<()>());
        activity.tell(End::Useless);
        assert_eq!(activity.drive(connection.as_mut(), None).await, Err(End::Useless));
        let ending = tokio::join!(activity.drive(connection.as_mut(), Some(End::Useless)), async {
            activity.tell(End::Useless);
            tokio::task::yield_now().await;
            activity.tell(End::Cut);
        });
        assert_eq!(ending.0, Err(End::Cut));
        // What counts less than what was told before changes nothing.
        activity.tell(End::Ended);
        assert_eq!(activity.told(), Some(End::Cut));
    }

    #[test]
    fn codes_keep_the_order() {
        let all = [End::Useless, End::Ended, End::Cut];
        assert!(all.is_sorted() && all.map(End::code).is_sorted());
        assert_eq!(all.map(|end| End::of(end.code())), all.map(Some));
    }
}
