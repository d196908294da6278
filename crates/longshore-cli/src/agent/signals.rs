//! SIGTERM and SIGINT end an agent in order, a second one at once; SIGHUP reloads.

use longshore_format::ErrorKind;
use longshore_transport::Access;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// The signals an agent hears.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From here on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::internal(format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT; each SIGHUP until then reads certificates and grants again.
    pub(crate) async fn terminated(&mut self, access: &Access) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => match access.reload() {
                    Ok(()) => tracing::info!("certificates and grants read again"),
                    Err(error) => tracing::error!(%error, "certificates and grants stay as they were"),
                },
            }
        }
    }

    /// Waits for one more signal and ends the process: as safe as `kill -9`, and as sudden.
    pub(crate) async fn end_at_once(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::warn!("ending at once, as asked twice");
        std::process::exit(ErrorKind::Interrupted.exit_code().into());
    }
}
