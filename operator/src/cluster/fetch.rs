//! Requests whose answers are read in bounded memory: single objects, and lists page by page.

use std::time::Duration;

use kube::{
    Client,
    client::Body,
    core::{Request, params::ListParams},
};

use super::{
    lean::{self, Lean, OneObject, OnePage, PageEnd, Reading, Status},
    lines::{Incoming, LONGEST, Long, ReadError},
};
use crate::errors::with_causes;

/// Objects of a page, and how many bytes make it smaller.
const PAGE: u32 = 64;
const PAGE_BYTES: usize = 1024 * 1024;
/// Longest refusal that is read, in bytes.
const REFUSAL: usize = 64 * 1024;
/// How long the API server may take to begin an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// Why there is no answer, or none that can be read.
#[derive(Debug)]
pub(super) enum Failure {
    /// The API server's refusal.
    Api(Status),
    /// Another reason.
    Other(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Failure::Api(Status {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
            }),
            other => Failure::Other(with_causes(&other)),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Failure::Other(error.to_string())
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Failure::Other(error)
    }
}

/// Sends a request; its answer is still to be read.
pub(super) async fn send(client: &Client, request: http::Request<Vec<u8>>, long: &Long) -> Result<Incoming, Failure> {
    let answer = tokio::time::timeout(ANSWER, client.send(request.map(Body::from))).await;
    let response = answer.map_err(|_| format!("no answer for {} s", ANSWER.as_secs()))??;
    let status = response.status();
    let incoming = Incoming::new(response.into_body(), long.clone());
    if status.is_success() {
        return Ok(incoming);
    }
    let refusal = incoming.all(REFUSAL).await?;
    let mut refused: Status = serde_json::from_slice(refusal.bytes()).unwrap_or_default();
    refused.code = status.as_u16();
    if refused.message.is_empty() {
        refused.message = status.to_string();
    }
    Err(Failure::Api(refused))
}

/// The object that answers a request.
pub(super) async fn object(
    client: &Client,
    request: http::Request<Vec<u8>>,
    reading: &Reading,
    long: &Long,
) -> Result<Lean, Failure> {
    let answer = send(client, request, long).await?.all(LONGEST).await?;
    Ok(lean::read(answer.bytes(), OneObject(reading))?)
}

/// Whether there is any object of a path.
pub(super) async fn any(client: &Client, path: &str, labels: &str, long: &Long) -> Result<bool, Failure> {
    let parameters = ListParams::default().labels(labels).limit(1);
    let request = Request::new(path).list(&parameters).map_err(|error| error.to_string())?;
    let page = send(client, request, long).await?.all(LONGEST).await?;
    let mut any = false;
    lean::read(page.bytes(), OnePage(&Reading::IDENTITY, |_| any = true))?;
    Ok(any)
}

/// Tells all objects of a path, in pages that shrink until they have few bytes. Gives the version of the list.
pub(super) async fn pages(
    client: &Client,
    path: &str,
    labels: Option<&str>,
    reading: &Reading,
    long: &Long,
    mut tell: impl FnMut(Lean),
) -> Result<String, Failure> {
    let (mut limit, mut next) = (PAGE, None);
    loop {
        let parameters = ListParams {
            label_selector: labels.map(str::to_owned),
            limit: Some(limit),
            continue_token: next.clone(),
            ..ListParams::default()
        };
        let request = Request::new(path).list(&parameters).map_err(|error| error.to_string())?;
        let most = if limit == 1 { LONGEST } else { PAGE_BYTES };
        let page = match send(client, request, long).await?.all(most).await {
            Err(ReadError::TooLong(_)) if limit > 1 => {
                limit = (limit / 8).max(1);
                continue;
            }
            page => page?,
        };
        let PageEnd { resource_version, next: more } = lean::read(page.bytes(), OnePage(reading, &mut tell))?;
        if more.is_empty() {
            return Ok(resource_version);
        }
        next = Some(more);
        limit = (limit * 2).min(PAGE);
    }
}
