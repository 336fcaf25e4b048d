//! Whether the process is well: its loops turn, and what it must know before it can do anything is known.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What all tasks report to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    tasks: BTreeMap<u64, Task>,
    gates: BTreeMap<String, bool>,
}

#[derive(Debug)]
struct Task {
    name: String,
    limit: Duration,
    last: Instant,
}

impl Health {
    /// A loop that is to turn at least once in `limit`, also when it has nothing to do. Its first turn counts from now.
    pub fn task(&self, name: impl Into<String>, limit: Duration) -> Beat {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.tasks.insert(id, Task { name: name.into(), limit, last: Instant::now() });
        Beat { id, health: self.clone() }
    }

    /// Something that must be there before the process is ready: a cache that is filled. Closed at first.
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        self.lock().gates.insert(name.clone(), false);
        Gate { name, health: self.clone() }
    }

    /// Loops that have not turned in time, each with how long ago they did last; empty: the process is well.
    pub fn late(&self) -> Vec<String> {
        let now = Instant::now();
        let late = |task: &&Task| now.duration_since(task.last) > task.limit;
        let text = |task: &Task| {
            let ago = now.duration_since(task.last).as_secs();
            format!("{} has not turned for {ago} s, allowed are {} s", task.name, task.limit.as_secs())
        };
        self.lock().tasks.values().filter(late).map(text).collect()
    }

    /// What is still missing; empty: the process is ready.
    pub fn missing(&self) -> Vec<String> {
        self.lock()
            .gates
            .iter()
            .filter(|(_, open)| !**open)
            .map(|(name, _)| format!("{name} is not there yet"))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whoever panicked had changed no more than a time or a flag.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One loop. A loop that panics takes its beat with it and is late soon after; one that ends on purpose says so.
#[derive(Debug)]
pub struct Beat {
    id: u64,
    health: Health,
}

impl Beat {
    /// The loop turns.
    pub fn turn(&self) {
        if let Some(task) = self.health.lock().tasks.get_mut(&self.id) {
            task.last = Instant::now();
        }
    }

    /// The loop ends, and that is well.
    pub fn finish(self) {
        self.health.lock().tasks.remove(&self.id);
    }
}

/// Something that must be there before the process is ready.
#[derive(Debug)]
pub struct Gate {
    name: String,
    health: Health,
}

impl Gate {
    /// It is there.
    pub fn open(&self) {
        self.health.lock().gates.insert(self.name.clone(), true);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::Health;

    #[tokio::test(start_paused = true)]
    async fn names_the_loop_that_hangs() {
        let health = Health::default();
        let planner = health.task("planner", Duration::from_secs(10));
        let _worker = health.task("worker", Duration::from_secs(60));
        advance(Duration::from_secs(10)).await;
        assert_eq!(health.late(), Vec::<String>::new());
        advance(Duration::from_secs(1)).await;
        assert_eq!(health.late(), ["planner has not turned for 11 s, allowed are 10 s"]);
        planner.turn();
        assert_eq!(health.late(), Vec::<String>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_is_late_and_one_that_ends_is_not() {
        let health = Health::default();
        drop(health.task("panicked", Duration::from_secs(10)));
        health.task("ended", Duration::from_secs(10)).finish();
        advance(Duration::from_secs(11)).await;
        assert_eq!(health.late(), ["panicked has not turned for 11 s, allowed are 10 s"]);
    }

    #[test]
    fn is_ready_when_all_gates_are_open() {
        let health = Health::default();
        let (configs, policies) = (health.gate("the cache of FluxConfigs"), health.gate("the cache of FluxPolicies"));
        configs.open();
        assert_eq!(health.missing(), ["the cache of FluxPolicies is not there yet"]);
        policies.open();
        assert_eq!(health.missing(), Vec::<String>::new());
    }
}
