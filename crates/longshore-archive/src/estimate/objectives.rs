//! How much may be lost (RPO) and how long it takes to be back (RTO).

use std::num::NonZero;
use std::time::Duration;

use super::{Link, Transfer, Workload, duration};

/// How far the copy may be behind when the primary is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rpo {
    /// At most so much.
    Within(Duration),
    /// The link carries less than is written: the copy falls further behind all the time.
    Growing,
}

/// Of a replica: the sync interval, a round trip, and what waits to be sent before it.
pub fn replica_rpo(workload: &Workload, link: &Link, sync_every: Duration, backlog_bytes: u64) -> Rpo {
    if workload.link_rate() >= link.bandwidth.get() as f64 {
        return Rpo::Growing;
    }
    let backlog = link.carries(backlog_bytes as f64);
    Rpo::Within(sync_every.saturating_add(link.rtt).saturating_add(backlog))
}

/// Of an archive: the tail interval and the time one put takes. Without a tail, or when segments
/// fill faster, the time that a segment takes to fill stands for the interval.
pub fn archive_rpo(workload: &Workload, link: &Link) -> Rpo {
    if workload.archive_rate() >= link.bandwidth.get() as f64 {
        return Rpo::Growing;
    }
    if workload.rate == 0 {
        return Rpo::Within(Duration::ZERO);
    }
    let fill = duration(workload.segment_size.get() as f64 / workload.rate as f64);
    let interval = workload.tail_every.map_or(fill, |every| every.get().min(fill));
    let put = link.carries(workload.link_rate() * interval.as_secs_f64()).saturating_add(link.rtt);
    Rpo::Within(interval.saturating_add(put))
}

/// The way back from an archive, step by step, at its longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Until somebody knows and decides.
    pub detect: Duration,
    /// A snapshot and the log after it.
    pub fetch: Transfer,
    /// That log into the database.
    pub apply: Duration,
}

impl Recovery {
    /// Of `workload` over `link`, with `apply_rate` bytes of log applied per second.
    pub fn new(workload: &Workload, link: Link, detect: Duration, apply_rate: NonZero<u64>) -> Recovery {
        let (objects, bytes) = workload.restore();
        let mean_bytes = (bytes / objects as f64).ceil() as u64;
        let apply = duration(workload.longest_log() / apply_rate.get() as f64);
        Recovery { detect, fetch: Transfer { objects, mean_bytes, link }, apply }
    }

    /// The RTO: one step after the other.
    pub fn total(&self) -> Duration {
        self.detect.saturating_add(self.fetch.total()).saturating_add(self.apply)
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::tests::workload;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn link(bandwidth: u64) -> Link {
        let (bandwidth, parallel) = (NonZero::new(bandwidth).unwrap(), NonZero::new(8).unwrap());
        Link { bandwidth, rtt: Duration::from_millis(80), parallel }
    }

    fn millis(millis: u64) -> Rpo {
        Rpo::Within(Duration::from_millis(millis))
    }

    #[test]
    fn a_replica_loses_what_is_not_synced_on_its_way_or_waiting() {
        let sync = Duration::from_millis(10);
        // 10 ms + 80 ms, and 32 MiB / 64 MiB/s = 500 ms of backlog.
        assert_eq!(replica_rpo(&workload(), &link(64 * MIB), sync, 0), millis(90));
        assert_eq!(replica_rpo(&workload(), &link(64 * MIB), sync, 32 * MIB), millis(590));
        assert_eq!(replica_rpo(&workload(), &link(MIB), sync, 0), Rpo::Growing);
    }

    #[test]
    fn an_archive_loses_an_interval_and_a_put() {
        // 1 s, 80 ms, and 1 MiB / 16 MiB/s = 62.5 ms.
        let tail = archive_rpo(&workload(), &link(16 * MIB));
        assert_eq!(tail, Rpo::Within(Duration::from_micros(1_142_500)));
        // 64 MiB / 1 MiB/s = 64 s, 80 ms, and 64 MiB / 16 MiB/s = 4 s.
        let sealed = Workload { tail_every: None, ..workload() };
        assert_eq!(archive_rpo(&sealed, &link(16 * MIB)), millis(68_080));
        assert_eq!(archive_rpo(&workload(), &link(2 * MIB)), Rpo::Growing);
        assert_eq!(archive_rpo(&Workload { rate: 0, ..sealed }, &link(16 * MIB)), millis(0));
    }

    #[test]
    fn being_back_takes_noticing_fetching_and_applying() {
        let recovery =
            Recovery::new(&workload(), link(64 * MIB), Duration::from_secs(30), NonZero::new(48 * MIB).unwrap());
        // 1,510 objects × 64 MiB / 64 MiB/s = 1,510 s; 1,510 × 80 ms / 8 = 15.1 s.
        assert_eq!(recovery.fetch.objects, 1_510);
        assert_eq!(recovery.fetch.total(), Duration::from_millis(1_525_100));
        // 86,400 MiB / 48 MiB/s = 1,800 s.
        assert_eq!(recovery.apply, Duration::from_secs(1_800));
        assert_eq!(recovery.total(), Duration::from_millis(3_355_100));
    }

    #[test]
    fn the_longest_way_back_is_as_long_as_can_be() {
        let endless = Workload { rate: u64::MAX, size: u64::MAX, ..workload() };
        let recovery = Recovery::new(&endless, link(1), Duration::MAX, NonZero::<u64>::MIN);
        assert_eq!(recovery.total(), Duration::MAX);
    }
}
