//! What the loops at both ends of a stream share: a clock, and sends that never wait for ever.

use std::time::Duration;

use longshore_format::Lsn;
use longshore_protocol as protocol;
use longshore_transport::{Channel, Sender};
use longshore_wal::Ended;
use tokio::time::{Instant, timeout};

use crate::error::Result;

/// The two halves of one end of a stream.
pub(crate) fn open<Out: Send + 'static, In>(
    channel: Channel<Out, In>,
    stall: Duration,
) -> (Outlet<Out>, Inlet<Out, In>) {
    let outlet = Outlet { sender: channel.sender(), began: Instant::now(), stall };
    (outlet, Inlet { channel })
}

/// What comes in.
pub(crate) struct Inlet<Out, In> {
    channel: Channel<Out, In>,
}

impl<Out: Send + 'static, In> Inlet<Out, In> {
    /// Receives the next message; `None` when the peer ended the stream. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<In>> {
        Ok(self.channel.receive().await.transpose()?)
    }
}

/// What goes out, and the stream's clock.
pub(crate) struct Outlet<Out> {
    pub(crate) sender: Sender<Out>,
    began: Instant,
    /// A message that finds no room for this long ends the stream: the peer reads nothing (F-089).
    stall: Duration,
}

impl<Out> Outlet<Out> {
    /// The time since the stream began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The moment that [`now`](Self::now) will call `at`.
    pub(crate) fn moment(&self, at: Duration) -> Instant {
        // One too far off to be represented is never waited for to its end anyway.
        self.began.checked_add(at).unwrap_or_else(|| self.began + Duration::from_secs(86_400))
    }

    /// Sends a message after those before it.
    pub(crate) async fn send(&self, message: Out) -> Result<()> {
        timeout(self.stall, self.sender.send(message)).await.map_err(|_| self.stalled())??;
        Ok(())
    }

    /// Sends a message before the frames that wait.
    pub(crate) async fn send_urgent(&self, message: Out) -> Result<()> {
        timeout(self.stall, self.sender.send_urgent(message)).await.map_err(|_| self.stalled())??;
        Ok(())
    }

    fn stalled(&self) -> protocol::Error {
        protocol::Error::Stalled { what: "take a message", waited: self.stall }
    }
}

/// What became of a wait for a watermark: it moved, or the log has ended.
pub(crate) fn moved(outcome: std::result::Result<Lsn, Ended>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Ended::Failed(error)) => Err(error.into()),
        Err(_) => Err(longshore_wal::Error::Closed.into()),
    }
}
