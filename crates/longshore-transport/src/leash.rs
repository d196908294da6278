//! How a call or a connection is ended from outside, and why.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::Error;

/// Pulled once, with a reason; what hangs on it then ends.
#[derive(Debug, Default)]
pub(crate) struct Leash {
    pulled: CancellationToken,
    reason: OnceLock<Error>,
}

impl Leash {
    /// Ends what hangs on it. Only the first reason counts.
    pub(crate) fn pull(&self, reason: Error) {
        let _ = self.reason.set(reason);
        self.pulled.cancel();
    }

    /// The reason, once it was pulled.
    pub(crate) fn reason(&self) -> Option<&Error> {
        self.reason.get()
    }

    /// Completes when it is pulled.
    pub(crate) fn pulled(&self) -> WaitForCancellationFutureOwned {
        self.pulled.clone().cancelled_owned()
    }
}

/// A stream on a leash: when it is pulled, the stream yields the reason and ends.
pub(crate) struct Leashed<S, Held> {
    stream: Option<S>,
    leash: Arc<Leash>,
    pulled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Dropped with the stream.
    _held: Held,
}

impl<S, Held> Leashed<S, Held> {
    /// Puts a stream on a leash. `held` lives as long as the stream.
    pub(crate) fn new(stream: S, leash: Arc<Leash>, held: Held) -> Self {
        let pulled = Box::pin(leash.pulled());
        Leashed { stream: Some(stream), leash, pulled, _held: held }
    }
}

impl<T, E, S, Held> Stream for Leashed<S, Held>
where
    S: Stream<Item = Result<T, E>> + Unpin,
    E: From<Error>,
    Held: Unpin,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T, E>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        if this.pulled.as_mut().poll(context).is_ready() {
            this.stream = None;
            let reason = this.leash.reason().expect("a reason is set before the leash is pulled");
            return Poll::Ready(Some(Err(reason.clone().into())));
        }
        Pin::new(stream).poll_next(context)
    }
}
