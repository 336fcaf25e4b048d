//! One request: what is no review is refused in HTTP's words, so that the failure policy counts; what is one is answered.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout_at;
use tracing::{debug, warn};

use super::{
    Server,
    connections::{Seat, TooMuch},
};
use crate::{
    decide::{Budget, Hook, decide, is_long},
    review::{self, Answer, ReviewError},
    snapshot::Snapshot,
    telemetry::Outcome,
};

/// Of the time that there is, this part may go into what is said beside the verdict.
const ASIDES: f64 = 0.5;

/// Why there is no answer.
struct Unanswered {
    status: StatusCode,
    why: String,
    outcome: Outcome,
}

impl Unanswered {
    fn malformed(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), outcome: Outcome::Malformed }
    }

    fn unable(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), outcome: Outcome::Unanswered }
    }
}

impl From<TooMuch> for Unanswered {
    fn from(_: TooMuch) -> Self {
        Self::unable(StatusCode::SERVICE_UNAVAILABLE, "too much is asked at the same time")
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer(
    server: &Arc<Server>,
    seat: &Arc<Seat>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let began = Instant::now();
    let (outcome, response) = match review(server, seat, request, began).await {
        Ok((outcome, body)) => (outcome, response(StatusCode::OK, "application/json", body)),
        Err(Unanswered { status, why, outcome }) => {
            debug!(%status, why, "not answered");
            (outcome, response(status, "text/plain; charset=utf-8", format!("{why}\n").into_bytes()))
        }
    };
    server.metrics.answered(outcome, began.elapsed());
    response
}

fn response(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn review(
    server: &Arc<Server>,
    seat: &Arc<Seat>,
    request: Request<Incoming>,
    began: Instant,
) -> Result<(Outcome, Vec<u8>), Unanswered> {
    let hook = Hook::at(request.uri().path())
        .ok_or_else(|| Unanswered::malformed(StatusCode::NOT_FOUND, "no webhook is served at this path"))?;
    if request.method() != Method::POST {
        return Err(Unanswered::malformed(StatusCode::METHOD_NOT_ALLOWED, "only POST"));
    }
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.map(|value| value.split(';').next().unwrap_or_default().trim());
    if !media_type.is_some_and(|value| value.eq_ignore_ascii_case("application/json")) {
        return Err(Unanswered::malformed(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only application/json"));
    }
    let allowed = server.limits.request.min(patience(request.uri().query()));
    let deadline = began + allowed;
    let body = body(request.into_body(), server.limits.body, deadline, seat).await?;
    // From here on the connection is not ended for another's sake.
    let _answering = seat.answering();
    let answer = answer_whole(server, seat, hook, body, began, deadline).await;
    if answer.is_ok() {
        seat.reviewed();
    }
    answer
}

/// Answers a review that has come whole.
async fn answer_whole(
    server: &Arc<Server>,
    seat: &Arc<Seat>,
    hook: Hook,
    body: Bytes,
    began: Instant,
    deadline: Instant,
) -> Result<(Outcome, Vec<u8>), Unanswered> {
    let snapshot = server.current.get();
    let Some(snapshot) = &*snapshot else {
        return Err(Unanswered::unable(StatusCode::SERVICE_UNAVAILABLE, "the policies are not all known yet"));
    };
    let question = match review::read(&body, hook.reading()) {
        Ok(question) => question,
        Err(ReviewError::Denied { uid, reason }) => return encoded(&uid, &Answer::denied(reason)),
        Err(error @ ReviewError::Unreadable(_)) => {
            return Err(Unanswered::malformed(StatusCode::BAD_REQUEST, error.to_string()));
        }
    };
    let budget = Budget::until(began + deadline.duration_since(began).mul_f64(ASIDES));
    if !is_long(hook, &question) {
        return decided(hook, question, snapshot, budget);
    }
    drop(question);
    let answer = long(server, seat, hook, body, snapshot.clone(), budget);
    match timeout_at(deadline.into(), answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Unanswered::unable(StatusCode::SERVICE_UNAVAILABLE, "there was no time for an answer")),
    }
}

/// An answer that takes its time, beside the threads that serve.
async fn long(
    server: &Arc<Server>,
    seat: &Arc<Seat>,
    hook: Hook,
    body: Bytes,
    snapshot: Arc<Snapshot>,
    budget: Budget,
) -> Result<(Outcome, Vec<u8>), Unanswered> {
    let waiting = seat.wait(body.len())?;
    // The semaphore is never closed.
    let turn = Arc::clone(&server.long).acquire_owned().await.ok();
    let answer = tokio::task::spawn_blocking(move || {
        // It goes on where nobody waits for it any more, and counts until it ends.
        let _counted = (waiting, turn);
        match review::read(&body, hook.reading()) {
            Ok(question) => decided(hook, question, &snapshot, budget),
            Err(error) => Err(Unanswered::malformed(StatusCode::BAD_REQUEST, error.to_string())),
        }
    });
    match answer.await {
        Ok(answer) => answer,
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "an answer broke");
            Err(Unanswered::unable(StatusCode::INTERNAL_SERVER_ERROR, "the answer broke"))
        }
    }
}

fn decided(
    hook: Hook,
    question: review::Request<'_>,
    snapshot: &Snapshot,
    budget: Budget,
) -> Result<(Outcome, Vec<u8>), Unanswered> {
    let uid = question.uid.clone();
    encoded(&uid, &decide(hook, question, snapshot, budget))
}

fn encoded(uid: &str, answer: &Answer) -> Result<(Outcome, Vec<u8>), Unanswered> {
    let outcome = match (answer.is_allowed(), answer.patch()) {
        (false, _) => Outcome::Denied,
        (true, []) => Outcome::Allowed,
        (true, _) => Outcome::Patched,
    };
    match review::encode(uid, answer) {
        Ok(body) => Ok((outcome, body)),
        Err(error) => Err(Unanswered::unable(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// What has come of a body. Pieces are put together as they come: a body of many small ones takes no more memory than its
/// bytes.
struct Collected {
    /// A body that comes in one piece stays where it was read.
    first: Option<Bytes>,
    all: Vec<u8>,
    most: usize,
}

impl Collected {
    fn too_long(most: usize) -> Unanswered {
        Unanswered::malformed(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {most} bytes"))
    }

    fn len(&self) -> usize {
        self.first.as_ref().map_or(0, Bytes::len) + self.all.len()
    }

    /// One more piece, of which `rest` bytes are announced to follow.
    fn push(&mut self, piece: Bytes, rest: u64) -> Result<(), Unanswered> {
        if self.len() + piece.len() > self.most {
            return Err(Self::too_long(self.most));
        }
        if self.len() == 0 {
            self.first = Some(piece);
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            // What is announced may never come.
            let rest = usize::try_from(rest).unwrap_or(usize::MAX).min(64 * 1024);
            self.all.reserve(first.len() + piece.len() + rest);
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(&piece);
        Ok(())
    }

    /// The next piece of a body, whether there was one, and how long it was.
    fn poll(&mut self, context: &mut Context<'_>, body: &mut Incoming) -> Poll<Result<Option<usize>, Unanswered>> {
        Poll::Ready(match ready!(Pin::new(&mut *body).poll_frame(context)) {
            None => Ok(None),
            Some(Err(error)) => Err(Unanswered::malformed(StatusCode::BAD_REQUEST, error.to_string())),
            Some(Ok(frame)) => {
                let piece = frame.into_data().unwrap_or_default();
                let length = piece.len();
                self.push(piece, body.size_hint().lower()).map(|()| Some(length))
            }
        })
    }

    fn whole(self) -> Bytes {
        self.first.unwrap_or_else(|| self.all.into())
    }
}

/// A body. Where it is long in coming its bytes are counted until it is whole.
async fn body(mut body: Incoming, most: usize, deadline: Instant, seat: &Arc<Seat>) -> Result<Bytes, Unanswered> {
    let announced = body.size_hint().lower();
    let most_bytes = u64::try_from(most).unwrap_or(u64::MAX);
    if announced > most_bytes {
        // Who is still writing when the connection ends may never see the answer. A flood is refused unread.
        let is_flood = announced > most_bytes.saturating_mul(4);
        while !is_flood && matches!(timeout_at(deadline.into(), body.frame()).await, Ok(Some(Ok(_)))) {}
        return Err(Collected::too_long(most));
    }
    let mut collected = Collected { first: None, all: Vec::new(), most };
    // A body mostly comes with its headers, and a request that waits for nobody needs neither a clock nor to be counted.
    let mut asked = false;
    let at_hand = poll_fn(|context| {
        loop {
            match collected.poll(context, &mut body) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(ended) => return Poll::Ready(Some(ended)),
                Poll::Pending if asked => return Poll::Ready(None),
                Poll::Pending => {
                    asked = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    });
    if let Some(ended) = at_hand.await {
        return ended.map(|_| collected.whole());
    }
    let mut held = seat.hold(collected.len())?;
    let rest = async {
        while let Some(length) = poll_fn(|context| collected.poll(context, &mut body)).await? {
            held.more(length)?;
        }
        Ok(())
    };
    match timeout_at(deadline.into(), rest).await {
        Ok(ended) => ended.map(|()| collected.whole()),
        Err(_) => Err(Unanswered::malformed(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// How long the API server waits, as it says in the query (`timeout=10s`), less what the way takes.
fn patience(query: Option<&str>) -> Duration {
    let seconds = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("timeout=")?.strip_suffix('s')?.parse::<u32>().ok());
    match seconds {
        Some(seconds) => Duration::from_secs(seconds.into()).mul_f64(0.8),
        None => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_before_the_api_server_gives_up() {
        assert_eq!(patience(Some("timeout=10s")), Duration::from_secs(8));
        assert_eq!(patience(Some("a=b&timeout=1s")), Duration::from_millis(800));
        for query in [None, Some(""), Some("timeout="), Some("timeout=1m0s"), Some("timeout=-5s")] {
            assert_eq!(patience(query), Duration::MAX, "{query:?}");
        }
    }
}
