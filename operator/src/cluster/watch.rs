//! Watches, a task each: a kind that is missing or a cluster that is away delays nobody else.
//!
//! kube's own watcher reads lines and pages of any length and makes whole values of them, so that a few dozen objects of
//! a megabyte end a process with half a gigabyte. Here one object at a time is read, by a [`Reading`] that says what is
//! kept of it. Where the API server has streaming lists (Kubernetes 1.27 by a feature gate, on by default in current releases)
//! the first list is such a stream; elsewhere it comes in pages that shrink until they have few bytes.

use std::{collections::HashSet, sync::Arc, time::Duration};

use kube::{
    Api, Client,
    core::{DynamicObject, Request, params::WatchParams},
};
use tokio::sync::Semaphore;

use super::{
    fetch::{self, Failure},
    lean::{self, Event, Lean, OneEvent, Reading, Status},
    lines::{Incoming, Long},
};
use crate::clusters::backoff;

/// The longest pause of a watch that does not work.
const LONGEST: Duration = Duration::from_secs(5);
/// How long the API server keeps a watch open, in seconds, and how long it may be silent.
const OPEN: u32 = 290;
const SILENT: Duration = Duration::from_secs(OPEN as u64 + 5);
/// How long the next object of a list may take.
const NEXT: Duration = Duration::from_secs(60);
/// First lists of one cluster that are read at the same time.
const LISTS: usize = 4;
/// Long objects of one cluster that are in memory at the same time.
const LONG: usize = 2;

/// What a watch tells.
#[derive(Debug)]
pub enum News {
    /// An object as it is now.
    Saw(Lean),
    /// An object that is gone, as it was last.
    Lost(Lean),
    /// All objects have been told: namespace and name of each. What is not named is gone.
    Listed(HashSet<(String, String)>),
    /// The kind does not exist there.
    Missing,
    /// There is no right to it; it is tried again.
    Refused(String),
    /// It did not work for another reason; it is tried again.
    Failed(String),
}

/// What is read of one cluster in turn: first lists of watches, and what is long.
#[derive(Clone)]
pub struct Turns {
    lists: Arc<Semaphore>,
    pub(super) long: Long,
}

impl Default for Turns {
    fn default() -> Self {
        Self { lists: Arc::new(Semaphore::new(LISTS)), long: Long::new(LONG) }
    }
}

/// Watches objects for as long as it is polled, and tells `sink`.
pub async fn watch(
    api: Api<DynamicObject>,
    labels: Option<&str>,
    reading: Reading,
    turns: Turns,
    mut sink: impl FnMut(News),
) {
    let path = api.resource_url().to_owned();
    let mut watch = Watch { client: api.into_client(), path, labels, reading, turns, streams: true, since: None };
    let mut failures = 0u32;
    loop {
        match watch.follow(&mut sink, &mut failures).await {
            // The API server ends every watch some time.
            Ok(()) => failures = 0,
            Err(failure) => {
                failures = failures.saturating_add(1);
                // Some seconds at most, since what it would tell is waited for.
                let mut pause = backoff(failures).min(LONGEST);
                match failure {
                    Failure::Api(Status { code: 410, .. }) if watch.since.take().is_some() => continue,
                    Failure::Api(Status { code: 404, .. }) => {
                        sink(News::Missing);
                        // Kinds are installed by people.
                        pause = pause.max(Duration::from_secs(2));
                    }
                    Failure::Api(Status { code: 403, message, .. }) => sink(News::Refused(message)),
                    Failure::Api(Status { message, .. }) | Failure::Other(message) => sink(News::Failed(message)),
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

struct Watch<'l> {
    client: Client,
    path: String,
    labels: Option<&'l str>,
    reading: Reading,
    turns: Turns,
    /// Whether the API server has streaming lists, as far as is known.
    streams: bool,
    /// The version that has been told; none before everything has been listed.
    since: Option<String>,
}

impl Watch<'_> {
    /// Lists, if nothing has been listed yet, and follows until the API server ends the watch.
    async fn follow(&mut self, sink: &mut impl FnMut(News), failures: &mut u32) -> Result<(), Failure> {
        let mut incoming = match &self.since {
            Some(since) => self.open(since, false).await?,
            None => {
                let turns = self.turns.lists.clone();
                // It is never closed.
                let _turn = turns.acquire().await.ok();
                match self.list(sink).await? {
                    Some(incoming) => incoming,
                    None => return Ok(()),
                }
            }
        };
        *failures = 0;
        loop {
            let Some(line) = incoming.line(SILENT).await? else { return Ok(()) };
            match lean::read(line.bytes(), OneEvent(&self.reading))? {
                Event::Saw(object) => {
                    self.told(&object);
                    sink(News::Saw(object));
                }
                Event::Lost(object) => {
                    self.told(&object);
                    sink(News::Lost(object));
                }
                Event::Bookmark(bookmark) => self.told(&bookmark),
                Event::Error(status) => return Err(Failure::Api(status)),
            }
        }
    }

    fn told(&mut self, object: &Lean) {
        let version = object.text("resourceVersion");
        if !version.is_empty() {
            self.since = Some(version.to_owned());
        }
    }

    /// Tells all objects. What goes on from there is the answer, or nothing where it is asked for anew.
    async fn list(&mut self, sink: &mut impl FnMut(News)) -> Result<Option<Incoming>, Failure> {
        if self.streams {
            match self.open("", true).await {
                Ok(incoming) => return self.list_by_stream(incoming, sink).await.map(Some),
                // One that does not know streaming lists takes the request for a mistake.
                Err(Failure::Api(Status { code: 400 | 422, .. })) => self.streams = false,
                Err(other) => return Err(other),
            }
        }
        self.list_by_pages(sink).await?;
        Ok(None)
    }

    async fn list_by_stream(
        &mut self,
        mut incoming: Incoming,
        sink: &mut impl FnMut(News),
    ) -> Result<Incoming, Failure> {
        let mut listed = HashSet::new();
        loop {
            let Some(line) = incoming.line(NEXT).await? else {
                return Err(Failure::Other("the list broke off".to_owned()));
            };
            match lean::read(line.bytes(), OneEvent(&self.reading))? {
                Event::Saw(object) => {
                    listed.insert(object.name());
                    sink(News::Saw(object));
                }
                Event::Lost(object) => {
                    listed.remove(&object.name());
                    sink(News::Lost(object));
                }
                Event::Bookmark(bookmark) if bookmark.ends_initial_events() => {
                    self.told(&bookmark);
                    sink(News::Listed(listed));
                    return Ok(incoming);
                }
                Event::Bookmark(_) => {}
                Event::Error(status) => return Err(Failure::Api(status)),
            }
        }
    }

    async fn list_by_pages(&mut self, sink: &mut impl FnMut(News)) -> Result<(), Failure> {
        let mut listed = HashSet::new();
        let tell = |object: Lean| {
            listed.insert(object.name());
            sink(News::Saw(object));
        };
        let version =
            fetch::pages(&self.client, &self.path, self.labels, &self.reading, &self.turns.long, tell).await?;
        self.since = Some(version);
        sink(News::Listed(listed));
        Ok(())
    }

    /// Opens a watch from a version on, or from the beginning.
    async fn open(&self, since: &str, from_beginning: bool) -> Result<Incoming, Failure> {
        let parameters = WatchParams {
            label_selector: self.labels.map(str::to_owned),
            timeout: Some(OPEN),
            bookmarks: true,
            send_initial_events: from_beginning,
            ..WatchParams::default()
        };
        let request = Request::new(&self.path).watch(&parameters, since).map_err(|error| error.to_string())?;
        fetch::send(&self.client, request, &self.turns.long).await
    }
}
