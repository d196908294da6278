//! The two ends of a stream of messages, whether gRPC or memory lies between them.
//!
//! The loops that feed and follow a log see only this, so that they run unchanged over a connection and in
//! a test.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use longshore_format::ErrorKind;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};

use crate::{BoxStream, Error, Result};

/// One end: sends `Out`, receives `In`.
pub struct Channel<Out, In> {
    sender: Sender<Out>,
    incoming: BoxStream<In>,
}

/// The sending half. Clones send into the same stream, which ends when the last of them is dropped.
///
/// Two bounded queues lie behind it. What goes through [`Sender::send`] waits its turn behind at most
/// `BULK_DEPTH` messages; what goes through [`Sender::send_urgent`] overtakes it, so that a heartbeat
/// never waits behind data. Order holds within each.
#[derive(Debug)]
pub struct Sender<Out> {
    bulk: mpsc::Sender<Out>,
    urgent: mpsc::Sender<Out>,
}

/// How many bulk messages wait for the network at most: one being encoded, one ready.
const BULK_DEPTH: usize = 2;

/// How many urgent messages wait at most; more means that the peer reads nothing at all.
const URGENT_DEPTH: usize = 16;

impl<Out: Send + 'static, In> Channel<Out, In> {
    /// A channel that receives from `incoming`, and the stream of what is sent into it.
    pub(crate) fn new(incoming: BoxStream<In>) -> (Channel<Out, In>, Outgoing<Out>) {
        let (bulk, bulk_receiver) = mpsc::channel(BULK_DEPTH);
        let (urgent, urgent_receiver) = mpsc::channel(URGENT_DEPTH);
        let outgoing =
            Outgoing { bulk: ReceiverStream::new(bulk_receiver), urgent: ReceiverStream::new(urgent_receiver) };
        (Channel { sender: Sender { bulk, urgent }, incoming }, outgoing)
    }

    /// Sets where messages come from, once that is known.
    pub(crate) fn receive_from(&mut self, incoming: BoxStream<In>) {
        self.incoming = incoming;
    }

    /// Two ends with memory between them.
    pub fn pair() -> (Channel<Out, In>, Channel<In, Out>)
    where
        In: Send + 'static,
    {
        // Each side's outgoing stream is the other's incoming one; a channel that is not made yet is
        // stood in for by an empty one.
        let (mut left, left_out) = Channel::new(Box::pin(tokio_stream::empty()));
        let (right, right_out) = Channel::new(Box::pin(left_out.map(Ok)));
        left.incoming = Box::pin(right_out.map(Ok));
        (left, right)
    }

    /// Sends a message after those before it; waits for room. Fails when the other end is gone.
    ///
    /// Cancel safe: a message whose send was dropped was not sent.
    pub async fn send(&mut self, message: Out) -> Result<()> {
        self.sender.send(message).await
    }

    /// Receives the next message; `None` when the other end has ended the stream in good order.
    ///
    /// Cancel safe: no message is lost.
    pub async fn receive(&mut self) -> Option<Result<In>> {
        self.incoming.next().await
    }

    /// A sender of its own, for another task.
    pub fn sender(&self) -> Sender<Out> {
        self.sender.clone()
    }

    /// The two halves.
    pub fn split(self) -> (Sender<Out>, BoxStream<In>) {
        (self.sender, self.incoming)
    }
}

impl<Out> Sender<Out> {
    /// Sends a message after those before it; waits for room. Fails when the other end is gone.
    pub async fn send(&self, message: Out) -> Result<()> {
        self.bulk.send(message).await.map_err(|_| gone())
    }

    /// Sends a message ahead of all that wait in [`Sender::send`]'s queue.
    pub async fn send_urgent(&self, message: Out) -> Result<()> {
        self.urgent.send(message).await.map_err(|_| gone())
    }

    /// Completes when nobody receives any more.
    pub async fn closed(&self) {
        self.bulk.closed().await;
    }
}

impl<Out> Clone for Sender<Out> {
    fn clone(&self) -> Self {
        Sender { bulk: self.bulk.clone(), urgent: self.urgent.clone() }
    }
}

/// What was sent into a channel, urgent messages first.
pub(crate) struct Outgoing<Out> {
    bulk: ReceiverStream<Out>,
    urgent: ReceiverStream<Out>,
}

impl<Out> Stream for Outgoing<Out> {
    type Item = Out;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Out>> {
        if let Poll::Ready(Some(message)) = Pin::new(&mut self.urgent).poll_next(context) {
            return Poll::Ready(Some(message));
        }
        // Every sender holds both queues, so the bulk one ends no sooner than the urgent one.
        Pin::new(&mut self.bulk).poll_next(context)
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the other end of the stream is gone", "connect again")
}
