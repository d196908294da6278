//! Two connections to one upstream, so that the live tail of one log never queues behind the catch-up of another.
//!
//! Streams on one connection share its windows and the kernel's send buffer, which catch-up fills: what is appended now
//! would arrive behind megabytes of the past. So a log that is far behind is taken over a connection of its own, which is
//! made when it is first needed, and moves to the other one once it has caught up. A move opens the stream again, at the
//! exact position.

use std::time::Duration;

use longshore_format::Lsn;
use longshore_transport::{Address, Client, Connector, Error};
use tokio::sync::Mutex;

use crate::log::Log;

/// Which connection a log's stream takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// For logs that are about up to date.
    Live,
    /// For logs that are catching up.
    CatchUp,
}

impl Lane {
    /// The lane for a log whose end is `here` while its upstream's is `there`, in units of its segments. What is in between
    /// stays where it is, so that a log at the edge does not move to and fro.
    pub(crate) fn of(now: Lane, here: Lsn, there: Lsn, segment: u64) -> Lane {
        let behind = there.get().saturating_sub(here.get());
        match now {
            Lane::Live if 4 * segment < behind => Lane::CatchUp,
            Lane::CatchUp if behind <= segment => Lane::Live,
            stays => stays,
        }
    }
}

/// The connections to one upstream.
pub(crate) struct Lanes {
    live: Client,
    connector: Connector,
    address: Address,
    catch_up: Mutex<Option<Client>>,
}

impl Lanes {
    /// Connects.
    pub(crate) async fn connect(connector: &Connector, address: &Address) -> Result<Lanes, Error> {
        let live = connector.connect(address).await?;
        Ok(Lanes { live, connector: connector.clone(), address: address.clone(), catch_up: Mutex::default() })
    }

    /// The connection for live tails, and for everything that is asked.
    pub(crate) fn live(&self) -> &Client {
        &self.live
    }

    /// The connection of a lane; made anew if it was lost.
    pub(crate) async fn client(&self, lane: Lane) -> Result<Client, Error> {
        if lane == Lane::Live {
            return Ok(self.live.clone());
        }
        let mut catch_up = self.catch_up.lock().await;
        match &*catch_up {
            Some(client) if !client.is_closed() => Ok(client.clone()),
            _ => {
                let client = self.connector.connect(&self.address).await?;
                Ok(catch_up.insert(client).clone())
            }
        }
    }
}

/// Completes once `log`, which is followed on `lane`, belongs on the other one.
pub(crate) async fn belongs_elsewhere(log: &Log, lane: Lane) {
    loop {
        tokio::time::sleep(LOOK).await;
        if Lane::of(lane, log.wal.end(), log.upstream.durable(), log.wal.segment_size().get()) != lane {
            return;
        }
    }
}

/// How often it is looked whether a log has caught up or fallen behind. A stream that moves a little late loses nothing.
const LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_changes_lanes_far_behind_and_close_up_and_not_in_between() {
        const SEGMENT: u64 = 1 << 20;
        for (now, behind, lane) in [
            (Lane::Live, 0, Lane::Live),
            (Lane::Live, 4 * SEGMENT, Lane::Live),
            (Lane::Live, 4 * SEGMENT + 1, Lane::CatchUp),
            (Lane::CatchUp, 2 * SEGMENT, Lane::CatchUp),
            (Lane::CatchUp, SEGMENT + 1, Lane::CatchUp),
            (Lane::CatchUp, SEGMENT, Lane::Live),
        ] {
            let here = Lsn::new(7 * SEGMENT);
            assert_eq!(Lane::of(now, here, Lsn::new(here.get() + behind), SEGMENT), lane, "{now:?} {behind}");
            assert_eq!(
                Lane::of(now, Lsn::new(here.get() + behind), here, SEGMENT),
                Lane::Live,
                "ahead of the upstream"
            );
        }
    }
}
