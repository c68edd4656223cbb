//! Server-sent events: a stream of them ends with the drain, after a complete event. Its client
//! then reconnects, to another process, and the drain does not wait for a response without an end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

use crate::types::body::{Body, BodyError};

/// Whether a stream was ended because of the drain. Shared with its telemetry.
pub(super) type EndedByDrain = Arc<AtomicBool>;

/// Whether the drain has started. The sender is dropped with the worker.
pub(super) type DrainSignal = watch::Receiver<bool>;

/// Lets the body of an event stream end with the drain. Other responses, and event streams whose
/// length is known, are not changed.
pub(super) fn end_with_drain(
    response: Response<Body>,
    drain: impl FnOnce() -> DrainSignal,
) -> (Response<Body>, Option<EndedByDrain>) {
    if response.body().size_hint().exact().is_some() || !is_event_stream(response.headers()) {
        return (response, None);
    }
    let ended = EndedByDrain::default();
    let is_encoded = response.headers().contains_key(CONTENT_ENCODING);
    let (mut drain, shared) = (drain(), Arc::clone(&ended));
    let response = response.map(|body| {
        Body::read_by(Box::pin(EventStream {
            body,
            drain: Some(Box::pin(async move {
                // An error means that the worker has ended.
                let _ = drain.wait_for(|started| *started).await;
            })),
            position: (!is_encoded).then_some(Position::Between),
            ended: shared,
        }))
    });
    (response, Some(ended))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"text/event-stream")
    })
}

/// The body of an event stream.
struct EventStream {
    body: Body,
    /// `None` once the drain has started.
    drain: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// `None` if the stream is encoded: it may end after any chunk, since apps flush complete
    /// events.
    position: Option<Position>,
    ended: EndedByDrain,
}

/// Where a stream is, by the last byte that was passed on (HTML, section 9.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Between two events.
    Between,
    /// In a comment between two events.
    Comment,
    /// In a line of an event.
    Line,
    /// At the start of another line of an event. `after_cr`: a line feed still belongs to the end
    /// of the previous line.
    LineStart { after_cr: bool },
}

impl Position {
    const fn after(self, byte: u8) -> Self {
        match (self, byte) {
            // An empty line ends the event; more of them have no meaning.
            (Self::Between | Self::Comment, b'\n' | b'\r')
            | (Self::LineStart { after_cr: false }, b'\n')
            | (Self::LineStart { .. }, b'\r') => Self::Between,
            (Self::Between, b':') | (Self::Comment, _) => Self::Comment,
            (Self::LineStart { after_cr: true } | Self::Line, b'\n') => {
                Self::LineStart { after_cr: false }
            }
            (Self::Line, b'\r') => Self::LineStart { after_cr: true },
            (Self::Between | Self::Line | Self::LineStart { .. }, _) => Self::Line,
        }
    }
}

impl EventStream {
    fn may_end(&self) -> bool {
        matches!(self.position, None | Some(Position::Between))
    }

    /// Follows the events in `data`. In a drain the data ends with the current event.
    fn pass(&mut self, data: &mut Bytes) {
        let is_draining = self.drain.is_none();
        let Some(position) = &mut self.position else {
            return;
        };
        let mut end = data.len();
        for (index, byte) in data.iter().enumerate() {
            *position = position.after(*byte);
            if is_draining && *position == Position::Between {
                end = index + 1;
                break;
            }
        }
        data.truncate(end);
    }
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(drain) = &mut this.drain
            && drain.as_mut().poll(cx).is_ready()
        {
            this.drain = None;
        }
        if this.drain.is_none() && this.may_end() && !this.body.is_end_stream() {
            this.ended.store(true, Ordering::Relaxed);
            this.body = Body::empty();
            return Poll::Ready(None);
        }
        let mut next = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut next
            && let Some(data) = frame.data_mut()
        {
            this.pass(data);
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// Yields these chunks, then waits for ever.
    struct Chunks(VecDeque<&'static str>);

    impl HttpBody for Chunks {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            match self.0.pop_front() {
                Some(chunk) => {
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(chunk.as_bytes())))))
                }
                None => Poll::Pending,
            }
        }
    }

    struct Stream {
        body: Body,
        drain: watch::Sender<bool>,
        ended: Option<EndedByDrain>,
    }

    fn stream(headers: &[(&str, &str)], chunks: &[&'static str]) -> Stream {
        let (sender, drain) = watch::channel(false);
        let chunks = Chunks(chunks.iter().copied().collect());
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Body::read_by(Box::pin(chunks))).unwrap();
        let (response, ended) = end_with_drain(response, || drain);
        Stream {
            body: response.into_body(),
            drain: sender,
            ended,
        }
    }

    impl Stream {
        /// The data to yield until the body ends or waits. `None`: it waits.
        async fn next(&mut self) -> Option<Option<String>> {
            poll_fn(|cx| {
                let polled = Pin::new(&mut self.body).poll_frame(cx);
                Poll::Ready(match polled {
                    Poll::Pending => None,
                    Poll::Ready(next) => Some(next.map(|frame| {
                        let data = frame.unwrap().into_data().unwrap();
                        String::from_utf8(data.to_vec()).unwrap()
                    })),
                })
            })
            .await
        }

        fn is_ended(&self) -> bool {
            self.ended
                .as_ref()
                .is_some_and(|ended| ended.load(Ordering::Relaxed))
        }
    }

    const EVENTS: [(&str, &str); 1] = [("content-type", "Text/Event-Stream; charset=utf-8")];

    #[tokio::test]
    async fn event_stream_in_drain_ends_after_the_current_event() {
        for (first, rest, expected) in [
            ("data: 1\n\n", "data: 2\n\n", None),
            ("data: 1\r\n\r\n", "data: 2\r\n\r\n", None),
            ("data: 1\r\r", "data: 2\r\r", None),
            (": ping\n", "data: 2\n\n", None),
            ("", "data: 1\n\n", None),
            ("data: 1\nda", "ta: 2\n\ndata: 3\n\n", Some("ta: 2\n\n")),
            ("data: 1\n", "\ndata: 3\n\n", Some("\n")),
            ("data: 1\r", "\n\r\ndata: 3", Some("\n\r")),
            ("data: 1\n: comment", "\n\ndata: 3", Some("\n\n")),
            ("id: 1\r\n", "data: 2\r\r\n", Some("data: 2\r\r")),
        ] {
            let mut events = stream(&EVENTS, &[first, rest]);
            assert_eq!(events.next().await, Some(Some(first.to_owned())));
            events.drain.send_replace(true);
            if let Some(expected) = expected {
                let next = events.next().await;
                assert_eq!(next, Some(Some(expected.to_owned())), "{first:?}");
            }
            assert_eq!(events.next().await, Some(None), "{first:?}");
            assert!(events.is_ended() && events.body.is_end_stream());
        }
    }

    #[tokio::test]
    async fn event_stream_without_drain_is_passed_as_it_is() {
        let chunks = ["data: 1\n\ndata: 2", "\n\n", ": ping\n\n"];
        let mut events = stream(&EVENTS, &chunks);
        for chunk in chunks {
            assert_eq!(events.next().await, Some(Some(chunk.to_owned())));
        }
        assert_eq!(events.next().await, None);
        assert!(!events.is_ended());
    }

    #[tokio::test]
    async fn encoded_event_stream_in_drain_ends_after_any_chunk() {
        let encoded = [EVENTS[0], ("content-encoding", "gzip")];
        let mut events = stream(&encoded, &["x", "y"]);
        assert_eq!(events.next().await, Some(Some("x".to_owned())));
        events.drain.send_replace(true);
        assert_eq!(events.next().await, Some(None));
    }

    #[tokio::test]
    async fn other_stream_in_drain_goes_on() {
        for content_type in ["text/event-streams", "application/grpc", "video/mp4"] {
            let mut other = stream(&[("content-type", content_type)], &["x", "y"]);
            other.drain.send_replace(true);
            for chunk in ["x", "y"] {
                assert_eq!(other.next().await, Some(Some(chunk.to_owned())));
            }
            assert_eq!(other.next().await, None);
            assert!(other.ended.is_none());
        }
    }
}
