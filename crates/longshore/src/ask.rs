//! Asking an upstream what is to become of a copy of a log, without following it.

use longshore_format::{ErrorKind, Lsn, Name};
use longshore_protocol::{Follower, FollowerTurn, Hello, Limits, Probed, ToUpstream, Verdict};
use longshore_transport::Client;
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::link;

/// The upstream's verdict on a copy that is as `hello` says. `crc_at` answers its questions: the checksum of the record that
/// ends at a position, `None` if none does. Nothing is taken from it.
///
/// Dropping it ends the stream; nothing is lost.
pub(crate) async fn verdict(
    client: &Client,
    log: &Name,
    hello: Hello,
    limits: Limits,
    crc_at: impl Fn(Lsn) -> Result<Option<u32>>,
) -> Result<Verdict> {
    let (end, epoch) = (hello.holding.end, hello.holding.history.current().epoch);
    let (out, mut inlet) = link::open(client.follow(log, hello).await?, limits.stall);
    let mut follower = Follower::new(end, epoch, limits, out.now());
    loop {
        let message = timeout(limits.silence, inlet.next()).await.map_err(|_| silent(client, log))??;
        let message = message.ok_or_else(|| silent(client, log))?;
        match follower.on(&message, out.now())? {
            FollowerTurn::Answer(at) => out.send(ToUpstream::Probed(Probed { at, crc: crc_at(at)? })).await?,
            FollowerTurn::Verdict(verdict) => return Ok(verdict),
            _ => {}
        }
    }
}

/// What [`verdict`] is to answer of a log that is read: positions that it has not are ordinary.
pub(crate) fn crc_or_none(found: longshore_wal::Result<u32>) -> Result<Option<u32>> {
    use longshore_wal::Error::{Beyond, NotABoundary, TooOld};
    match found {
        Ok(crc) => Ok(Some(crc)),
        Err(NotABoundary { .. } | TooOld { .. } | Beyond { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn silent(client: &Client, log: &Name) -> Error {
    Error::Refused {
        kind: ErrorKind::Unavailable,
        reason: format!("{} did not say what is to become of log {log}; ask again", client.address()),
        at: None,
    }
}
