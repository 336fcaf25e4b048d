//! Work that waits: each key once, never twice at the same time, later where that was asked for.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

/// Keys for which there is always room.
const SMALL: usize = 64;

/// A queue of keys. As in Kubernetes' own work queues, a key that is pushed while it is worked on is worked on once more
/// afterwards, and any number of pushes before it is popped are one.
#[derive(Debug)]
pub struct Queue<K> {
    inner: Mutex<Inner<K>>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner<K> {
    ready: VecDeque<K>,
    queued: HashSet<K>,
    running: HashSet<K>,
    due: HashMap<K, Instant>,
    delayed: BTreeMap<(Instant, u64), K>,
    number: u64,
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        let inner = Inner {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            running: HashSet::new(),
            due: HashMap::new(),
            delayed: BTreeMap::new(),
            number: 0,
        };
        Self { inner: Mutex::new(inner), changed: Notify::new() }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    fn inner(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Work on it as soon as may be.
    pub fn push(&self, key: K) {
        let mut inner = self.inner();
        inner.due.remove(&key);
        if inner.queued.insert(key.clone()) && !inner.running.contains(&key) {
            inner.ready.push_back(key);
        }
        drop(inner);
        self.changed.notify_one();
    }

    /// Work on it after `delay`; sooner where that was asked for already.
    pub fn push_after(&self, key: K, delay: Duration) {
        let mut inner = self.inner();
        let at = Instant::now() + delay;
        if inner.queued.contains(&key) || inner.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        inner.due.insert(key.clone(), at);
        inner.number += 1;
        let number = inner.number;
        inner.delayed.insert((at, number), key);
        drop(inner);
        self.changed.notify_one();
    }

    /// The next key; to be given back by [`Queue::done`].
    pub async fn pop(&self) -> K {
        loop {
            let next = {
                let mut inner = self.inner();
                inner.promote(Instant::now());
                if let Some(key) = inner.ready.pop_front() {
                    inner.queued.remove(&key);
                    inner.running.insert(key.clone());
                    if inner.ready.is_empty() {
                        inner.give_back();
                    } else {
                        self.changed.notify_one();
                    }
                    return key;
                }
                inner.delayed.keys().next().map(|(at, _)| *at)
            };
            match next {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.changed.notified() => {}
                    }
                }
                None => self.changed.notified().await,
            }
        }
    }

    /// The work on a key has ended.
    pub fn done(&self, key: &K) {
        let mut inner = self.inner();
        inner.running.remove(key);
        if inner.queued.contains(key) {
            inner.ready.push_back(key.clone());
            drop(inner);
            self.changed.notify_one();
        }
    }

    /// Keys that wait or are worked on.
    pub fn len(&self) -> usize {
        let inner = self.inner();
        inner.queued.len() + inner.running.len()
    }

    /// Whether nothing waits and nothing is worked on, but what waits for its time.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Clone + Eq + Hash> Inner<K> {
    /// Gives back the room that ten thousand keys took.
    fn give_back(&mut self) {
        self.ready.shrink_to(SMALL);
        self.queued.shrink_to(SMALL);
        self.due.shrink_to(SMALL);
    }

    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                return;
            }
            let key = entry.remove();
            // A later or withdrawn wish of the same key leaves its entry behind.
            if self.due.get(&key) != Some(&at) {
                continue;
            }
            self.due.remove(&key);
            if self.queued.insert(key.clone()) && !self.running.contains(&key) {
                self.ready.push_back(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_pushes_are_one() {
        let queue = Queue::default();
        queue.push("a");
        queue.push("a");
        assert_eq!(queue.pop().await, "a");
        queue.done(&"a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_worked_on_twice_at_the_same_time_and_no_push_is_lost() {
        let queue = Queue::default();
        queue.push("a");
        assert_eq!(queue.pop().await, "a");
        queue.push("a");
        queue.push("b");
        assert_eq!(queue.pop().await, "b");
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.pop()).await.is_err());
        queue.done(&"a");
        assert_eq!(queue.pop().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_of_several_delays_counts() {
        let queue = Queue::default();
        queue.push_after("a", Duration::from_secs(60));
        queue.push_after("a", Duration::from_secs(5));
        queue.push_after("a", Duration::from_secs(30));
        let began = Instant::now();
        assert_eq!(queue.pop().await, "a");
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        queue.done(&"a");
        assert!(tokio::time::timeout(Duration::from_secs(120), queue.pop()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_ends_the_wait() {
        let queue = std::sync::Arc::new(Queue::default());
        queue.push_after("later", Duration::from_secs(60));
        let popping = tokio::spawn({
            let queue = queue.clone();
            async move { queue.pop().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.push("now");
        assert_eq!(popping.await.ok(), Some("now"));
    }
}
