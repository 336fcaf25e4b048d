//! Watches, a task each: a kind that is missing or a cluster that is away delays nobody else.

use std::{collections::HashSet, pin::pin, time::Duration};

use futures::StreamExt as _;
use kube::{
    Api,
    core::DynamicObject,
    runtime::{
        WatchStreamExt as _,
        utils::Backoff,
        watcher::{self, Event},
    },
};
use serde_json::Value;

use crate::clusters::backoff;

/// The longest pause of a watch that does not work.
const LONGEST: Duration = Duration::from_secs(5);

/// Objects that are read at once. A page is in memory several times over while it is read, and after a start a score of
/// watches read theirs at the same time.
const PAGE: u32 = 50;

/// What a watch tells.
#[derive(Debug)]
pub enum News {
    /// An object as it is now.
    Saw(Value),
    /// An object that is gone, as it was last.
    Lost(Value),
    /// All objects have been told: namespace and name of each. What is not named is gone.
    Listed(HashSet<(String, String)>),
    /// The kind does not exist there.
    Missing,
    /// There is no right to it; it is tried again.
    Refused(String),
    /// It did not work for another reason; it is tried again.
    Failed(String),
}

/// How soon a watch that broke is tried again: some seconds at most, since what it would tell is waited for, and from the
/// beginning after it has worked. kube's own pace grows to a minute, and stays there for two minutes after an outage.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
}

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(backoff(self.failures).min(LONGEST))
    }
}

impl Backoff for Pace {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Watches objects for as long as it is polled, and tells `sink`.
pub async fn watch(api: Api<DynamicObject>, labels: Option<&str>, mut sink: impl FnMut(News)) {
    let config = watcher::Config {
        label_selector: labels.map(str::to_owned),
        page_size: Some(PAGE),
        ..watcher::Config::default()
    };
    let mut events = pin!(watcher::watcher(api, config).backoff(Pace::default()));
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                let metadata = &object.metadata;
                listed.insert((
                    metadata.namespace.clone().unwrap_or_default(),
                    metadata.name.clone().unwrap_or_default(),
                ));
                tell(object, News::Saw, &mut sink);
            }
            Ok(Event::InitDone) => sink(News::Listed(std::mem::take(&mut listed))),
            Ok(Event::Apply(object)) => tell(object, News::Saw, &mut sink),
            Ok(Event::Delete(object)) => tell(object, News::Lost, &mut sink),
            Err(error) => {
                match code(&error) {
                    Some(404) => {
                        sink(News::Missing);
                        // kube's own backoff begins in milliseconds; kinds are installed by people.
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                    Some(403) => sink(News::Refused(error.to_string())),
                    _ => sink(News::Failed(error.to_string())),
                }
            }
        }
    }
}

fn tell(object: DynamicObject, news: fn(Value) -> News, sink: &mut impl FnMut(News)) {
    // An object that came as JSON is JSON.
    if let Ok(value) = serde_json::to_value(object) {
        sink(news(value));
    }
}

/// The API server's answer, where it gave one.
fn code(error: &watcher::Error) -> Option<u16> {
    let source = match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => source,
        watcher::Error::WatchError(status) => return Some(status.code),
        watcher::Error::NoResourceVersion => return None,
    };
    match source {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
