//! What an API server sends, read in bounded memory: a watch line by line, a page of a list up to a number of bytes. Short texts
//! are read at once. The few that are long wait for one another, so that however many watches are sent megabytes at the same
//! time, a small number of them is in memory.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// A text of this length is read without waiting, in bytes.
const SHORT: usize = 256 * 1024;
/// Longest text that is read, in bytes. An object has at most 1.5 MiB in etcd, unless an administrator says otherwise; as JSON, in which a
/// byte may take six, it is shorter than this.
pub(super) const LONGEST: usize = 16 * 1024 * 1024;
/// How long the next part of a text may take whose beginning is there.
const PART: Duration = Duration::from_secs(30);

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing came in time.
    #[error("nothing came for {} s", .0.as_secs())]
    Silent(Duration),
    /// The text is longer than was asked for.
    #[error("more than {0} bytes")]
    TooLong(usize),
}

/// Texts that are longer than [`SHORT`] and are in memory at the same time.
#[derive(Clone)]
pub(super) struct Long(Arc<Semaphore>);

impl Long {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.0.clone().acquire_owned().await.ok()
    }
}

/// A text, and the turn that it takes while it is long.
pub(super) struct Text {
    bytes: Vec<u8>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Text {
    fn empty() -> Self {
        Self { bytes: Vec::new(), turn: None }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    async fn append(&mut self, part: &[u8], long: &Long) {
        if self.turn.is_none() && self.bytes.len() + part.len() > SHORT {
            self.turn = long.turn().await;
        }
        self.bytes.extend_from_slice(part);
    }
}

/// The answer to a request, as it comes.
pub(super) struct Incoming {
    parts: BoxStream<'static, Result<Bytes, String>>,
    part: Bytes,
    long: Long,
}

impl Incoming {
    pub(super) fn new(body: Body, long: Long) -> Self {
        Self::of(body.into_data_stream().map(|part| part.map_err(|error| error.to_string())), long)
    }

    fn of(parts: impl Stream<Item = Result<Bytes, String>> + Send + 'static, long: Long) -> Self {
        Self { parts: parts.boxed(), part: Bytes::new(), long }
    }

    /// Has the next part in `part`; `false` at the end.
    async fn advance(&mut self, patience: Duration) -> Result<bool, ReadError> {
        while self.part.is_empty() {
            let part = timeout(patience, self.parts.next()).await.map_err(|_| ReadError::Silent(patience))?;
            match part {
                None => return Ok(false),
                Some(part) => self.part = part.map_err(ReadError::Broken)?,
            }
        }
        Ok(true)
    }

    /// The next line without its end; `None` at the end. Its beginning may take as long as `patience` says.
    pub(super) async fn line(&mut self, patience: Duration) -> Result<Option<Text>, ReadError> {
        let mut line = Text::empty();
        while self.advance(if line.bytes.is_empty() { patience } else { PART }).await? {
            let end = self.part.iter().position(|byte| *byte == b'\n');
            let part = self.part.split_to(end.unwrap_or(self.part.len()));
            if line.bytes.len() + part.len() > LONGEST {
                return Err(ReadError::TooLong(LONGEST));
            }
            line.append(&part, &self.long).await;
            if end.is_some() {
                self.part.advance(1);
                if !line.bytes.is_empty() {
                    return Ok(Some(line));
                }
            }
        }
        // A line that breaks off is none: the watch is resumed before it.
        Ok(None)
    }

    /// All of it, if it is not longer than `most`.
    pub(super) async fn all(mut self, most: usize) -> Result<Text, ReadError> {
        let mut text = Text::empty();
        while self.advance(PART).await? {
            let part = std::mem::take(&mut self.part);
            if text.bytes.len() + part.len() > most {
                return Err(ReadError::TooLong(most));
            }
            text.append(&part, &self.long).await;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn incoming(parts: Vec<Vec<u8>>, long: &Long) -> Incoming {
        Incoming::of(stream::iter(parts.into_iter().map(|part| Ok(Bytes::from(part)))), long.clone())
    }

    async fn lines(mut incoming: Incoming) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some(line) = incoming.line(PART).await.unwrap() {
            found.push(line.bytes);
        }
        found
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let text = b"one\n\ntwo\nthree\nbroken off";
        for size in 1..text.len() {
            let parts = text.chunks(size).map(<[u8]>::to_vec).collect();
            let found = lines(incoming(parts, &Long::new(1))).await;
            assert_eq!(found, [&b"one"[..], b"two", b"three"], "cut by {size}");
        }
    }

    #[tokio::test]
    async fn long_lines_wait_for_one_another_and_short_ones_for_nobody() {
        let long = Long::new(1);
        let text = || vec![vec![b'x'; SHORT], b"yz\n".to_vec(), b"short\n".to_vec()];
        let mut first = incoming(text(), &long);
        let held = first.line(PART).await.unwrap().unwrap();
        assert_eq!(held.bytes().len(), SHORT + 2);
        let mut second = incoming(text(), &long);
        let waits = tokio::time::timeout(Duration::from_millis(50), second.line(PART)).await;
        assert!(waits.is_err(), "the second long line waits for the first");
        assert_eq!(first.line(PART).await.unwrap().unwrap().bytes(), b"short");
        drop(held);
        let mut third = incoming(text(), &long);
        assert_eq!(third.line(PART).await.unwrap().unwrap().bytes().len(), SHORT + 2);
    }

    #[tokio::test]
    async fn what_has_no_end_is_given_up() {
        let parts = vec![vec![b'x'; 1024 * 1024]; 20];
        let endless = incoming(parts.clone(), &Long::new(1)).line(PART).await;
        assert!(matches!(endless, Err(ReadError::TooLong(LONGEST))));
        let page = incoming(parts, &Long::new(1)).all(LONGEST).await;
        assert!(matches!(page, Err(ReadError::TooLong(LONGEST))));
        assert_eq!(incoming(vec![b"a".to_vec(), b"b".to_vec()], &Long::new(1)).all(2).await.unwrap().bytes(), b"ab");
    }
}
