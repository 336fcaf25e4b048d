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
use tokio::{sync::Semaphore, time::Instant};

use super::{
    fetch::{self, Failure},
    lean::{self, Event, Lean, OneEvent, Reading, Status},
    lines::{Incoming, Long},
};
use crate::clusters::backoff;

/// The longest pause of a watch that does not work.
const LONGEST: Duration = Duration::from_secs(5);
/// A watch that ends sooner is resumed after this time.
const SHORTEST: Duration = Duration::from_secs(1);
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
        let (started, resumed) = (Instant::now(), watch.since.is_some());
        match watch.follow(&mut sink, &mut failures).await {
            // The API server ends every watch some time. One that ends at once is not asked again at once.
            Ok(()) => {
                failures = 0;
                if resumed && started.elapsed() < SHORTEST {
                    tokio::time::sleep(SHORTEST).await;
                }
            }
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

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;
    use crate::object::Kind;

    /// What an API server answers: to a watch from the beginning, to a page, and to a watch from a version on.
    struct Server {
        streams: bool,
        objects: Vec<Value>,
        asked: Mutex<Vec<String>>,
    }

    impl Server {
        fn answer(&self, request: &Request<Body>) -> (u16, String) {
            let query = request.uri().query().unwrap_or_default().to_owned();
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(query.clone());
            let value = |name: &str| {
                query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(str::to_owned)
            };
            let lines = |kind: &str, objects: &[Value]| -> String {
                objects.iter().map(|object| format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")).collect()
            };
            if value("sendInitialEvents").is_some() {
                if !self.streams {
                    return (422, json!({"kind": "Status", "code": 422, "message": "forbidden"}).to_string());
                }
                let annotations = json!({"k8s.io/initial-events-end": "true"});
                let end = json!({"metadata": {"resourceVersion": "90", "annotations": annotations}});
                return (200, lines("ADDED", &self.objects) + &lines("BOOKMARK", &[end]));
            }
            if value("watch").is_some() {
                let news = match value("resourceVersion").as_deref() {
                    Some("90") => lines("DELETED", &self.objects[..1]),
                    _ => lines("ERROR", &[json!({"kind": "Status", "code": 410, "message": "too old"})]),
                };
                return (200, news);
            }
            let limit: usize = value("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
            let from: usize = value("continue").and_then(|from| from.parse().ok()).unwrap_or_default();
            let end = self.objects.len().min(from + limit);
            let next = if end < self.objects.len() { end.to_string() } else { String::new() };
            let metadata = json!({"resourceVersion": "90", "continue": next});
            (200, json!({"metadata": metadata, "items": self.objects[from..end]}).to_string())
        }
    }

    fn object(number: usize, size: usize) -> Value {
        let metadata = json!({"name": format!("o{number:03}"), "namespace": "n", "resourceVersion": "7"});
        json!({"metadata": metadata, "data": {"x": "x".repeat(size)}})
    }

    /// What a watch tells until it has told of a deletion.
    async fn told(server: &Arc<Server>) -> Vec<String> {
        let answering = server.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (status, body) = answering.answer(&request);
            let response = Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap();
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let api: Api<DynamicObject> = Api::all_with(Client::new(service, "default"), &Kind::ConfigMap.api_resource());
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let watching = tokio::spawn(async move {
            watch(api, Some("a=b"), Reading::RENDERED, Turns::default(), |news| {
                let text = match news {
                    News::Saw(object) => format!("saw {}", object.text("name")),
                    News::Lost(object) => format!("lost {}", object.text("name")),
                    News::Listed(names) => format!("listed {}", names.len()),
                    other => format!("{other:?}"),
                };
                let _ = sender.send(text);
            })
            .await;
        });
        let mut told = Vec::new();
        while let Some(text) = receiver.recv().await {
            let last = text.starts_with("lost");
            told.push(text);
            if last {
                break;
            }
        }
        watching.abort();
        told
    }

    #[tokio::test]
    async fn what_is_listed_is_told_once_by_streams_and_by_pages_that_shrink() {
        for streams in [true, false] {
            // Ten of them are a page by far.
            let objects: Vec<Value> = (0..30).map(|number| object(number, 400 * 1024)).collect();
            let server = Arc::new(Server { streams, objects, asked: Mutex::default() });
            let told = told(&server).await;
            let mut expected: Vec<String> = (0..30).map(|number| format!("saw o{number:03}")).collect();
            expected.extend(["listed 30".to_owned(), "lost o000".to_owned()]);
            assert_eq!(told, expected, "streams: {streams}");
            let asked = server.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            assert!(asked.iter().all(|query| query.contains("labelSelector=a%3Db")), "{asked:?}");
            let smallest =
                asked.iter().filter(|query| query.contains("limit=1&") || query.ends_with("limit=1")).count();
            assert_eq!(smallest > 0, !streams, "{asked:?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_old_is_listed_anew() {
        let server = Arc::new(Server { streams: false, objects: vec![object(0, 10)], asked: Mutex::default() });
        let api: Api<DynamicObject> = {
            let answering = server.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let (status, body) = answering.answer(&request);
                let response = Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap();
                async move { Ok::<_, std::convert::Infallible>(response) }
            });
            Api::all_with(Client::new(service, "default"), &Kind::ConfigMap.api_resource())
        };
        let mut watch = Watch {
            path: api.resource_url().to_owned(),
            client: api.into_client(),
            labels: None,
            reading: Reading::RENDERED,
            turns: Turns::default(),
            streams: false,
            since: Some("1".to_owned()),
        };
        let failure = watch.follow(&mut |_| {}, &mut 0).await;
        assert!(matches!(failure, Err(Failure::Api(Status { code: 410, .. }))));
    }
}
