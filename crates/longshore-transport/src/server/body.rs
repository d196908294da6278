//! The bodies of requests and answers, with what hangs on them.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, ready},
};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// A request's body that must be complete by a deadline, so that nobody holds a call open with a byte a
/// minute (F-088).
pub(super) struct DeadlineBody {
    body: Incoming,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl DeadlineBody {
    pub(super) fn new(body: Incoming, deadline: Option<Instant>) -> DeadlineBody {
        DeadlineBody { body, deadline: deadline.map(|at| Box::pin(sleep_until(at))) }
    }
}

impl Body for DeadlineBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(deadline) = &mut self.deadline else {
            return Poll::Pending;
        };
        ready!(deadline.as_mut().poll(context));
        self.deadline = None;
        let status = tonic::Status::invalid_argument("the request did not arrive within the deadline");
        Poll::Ready(Some(Err(status.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many calls of a connection are open, and whether there ever was one.
#[derive(Clone, Default)]
pub(super) struct Calls(Arc<Counts>);

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    ever: AtomicUsize,
}

impl Calls {
    /// Counts a call until what is returned is dropped.
    pub(super) fn begin(&self) -> Call {
        self.0.open.fetch_add(1, SeqCst);
        self.0.ever.fetch_add(1, SeqCst);
        Call(self.clone())
    }

    /// How many calls there have been, if none is open now.
    pub(super) fn idle_since(&self) -> Option<usize> {
        let ever = self.0.ever.load(SeqCst);
        (self.0.open.load(SeqCst) == 0).then_some(ever)
    }
}

/// An open call.
pub(super) struct Call(Calls);

impl Drop for Call {
    fn drop(&mut self) {
        (self.0).0.open.fetch_sub(1, SeqCst);
    }
}

/// An answer's body, which keeps its call counted while it is sent.
pub(super) struct CountedBody<B> {
    body: B,
    _call: Call,
}

impl<B> CountedBody<B> {
    pub(super) fn new(body: B, call: Call) -> CountedBody<B> {
        CountedBody { body, _call: call }
    }
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
