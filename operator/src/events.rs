//! Kubernetes' events, written beside the work: they are for people, so nothing waits for one, and where more happens than
//! anybody reads the rest is dropped. Statuses say everything anyway.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, Recorder, Reporter},
};
use sluicegate_policy::text::escape;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tracing::{debug, warn};

use crate::{
    cluster::client::Permit,
    status::{NOTE, shown},
};

/// Events that wait; about as many as other components of Kubernetes let wait.
const WAITING: usize = 1000;
/// Events that are remembered, so that one that comes again counts as a series. kube remembers all of six minutes, each whole.
const REMEMBERED: usize = 100;
/// Time between two.
const PAUSE: Duration = Duration::from_millis(20);

type Told = (Event, ObjectReference);

/// Takes events to write.
#[derive(Clone, Debug)]
pub struct Events(Sender<Told>);

impl Events {
    /// Takes events, for [`write()`] to write.
    pub fn new() -> (Self, Receiver<Told>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), receiver)
    }

    /// Writes an event about an object some time. What it says is made fit to show: whoever shows events shows them as they are.
    pub fn tell(&self, event: Event, about: ObjectReference) {
        let Event { type_, reason, note, action, secondary } = event;
        let event = Event {
            type_,
            reason: escape(&reason).into_owned(),
            note: note.map(|note| shown(&note, NOTE)),
            action: escape(&action).into_owned(),
            secondary,
        };
        if self.0.try_send((event, about)).is_err() {
            debug!("an event was dropped");
        }
    }
}

/// Writes events, one after the other, for as long as there are any to come.
pub async fn write(client: Client, reporter: Reporter, permit: Permit, mut events: Receiver<Told>) {
    let fresh = || Recorder::new(client.clone(), reporter.clone());
    let (mut recorder, mut remembered) = (fresh(), 0);
    while let Some((event, about)) = events.recv().await {
        // Whoever leads now tells of what it does.
        if !permit() {
            continue;
        }
        if let Err(error) = recorder.publish(&event, &about).await {
            warn!(%error, "cannot write an event");
        }
        remembered += 1;
        if remembered == REMEMBERED {
            (recorder, remembered) = (fresh(), 0);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::events::EventType;
    use sluicegate_policy::text::is_hidden;

    use super::*;

    #[tokio::test]
    async fn says_nothing_that_draws_more_than_itself() {
        let (events, mut receiver) = Events::new();
        let hostile = format!("\u{1b}[2J\u{202e}{}\n\u{2028}x\u{85}", "\u{e0061}".repeat(500));
        let event = Event {
            type_: EventType::Warning,
            reason: hostile.clone(),
            note: Some(hostile.clone()),
            action: hostile,
            secondary: None,
        };
        events.tell(event, ObjectReference::default());
        let (event, _) = receiver.recv().await.unwrap();
        let note = event.note.unwrap();
        assert!(note.len() <= NOTE && note.starts_with(r"\u{1b}[2J\u{202e}"), "{note}");
        assert!(![note, event.reason, event.action].iter().any(|text| text.chars().any(is_hidden)));
    }

    #[tokio::test]
    async fn drops_what_is_too_much_and_waits_for_nobody() {
        let (events, mut receiver) = Events::new();
        for number in 0..WAITING + 10 {
            let event = Event {
                type_: EventType::Normal,
                reason: "Admitted".to_owned(),
                note: None,
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            let about = ObjectReference { name: Some(number.to_string()), ..ObjectReference::default() };
            events.tell(event, about);
        }
        drop(events);
        let mut names = Vec::new();
        while let Some((_, about)) = receiver.recv().await {
            names.extend(about.name);
        }
        assert_eq!(names.len(), WAITING);
        assert_eq!(names.first().map(String::as_str), Some("0"));
    }
}
