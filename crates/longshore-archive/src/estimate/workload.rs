//! What a database writes and what an archive keeps of it, in bytes, objects and requests.

use std::num::NonZero;
use std::time::Duration;

/// A time between two events; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(Duration);

impl Every {
    /// `None` for zero.
    pub fn new(time: Duration) -> Option<Every> {
        (!time.is_zero()).then_some(Every(time))
    }

    /// The time between two events.
    pub fn get(self) -> Duration {
        self.0
    }

    /// How often that is in `time`, in parts too.
    fn times_in(self, time: Duration) -> f64 {
        time.as_secs_f64() / self.0.as_secs_f64()
    }
}

/// How many bytes become one by compression: 1 is none at all, 4 is a quarter of the size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// No compression.
    pub const NONE: Ratio = Ratio(1.0);

    /// `None` for what is not from 0.1 to 10,000. Within these no sum here overflows.
    pub fn new(ratio: f64) -> Option<Ratio> {
        (0.1..=10_000.0).contains(&ratio).then_some(Ratio(ratio))
    }

    fn shrink(self, bytes: f64) -> f64 {
        bytes / self.0
    }
}

/// What is written and what is kept.
///
/// Two assumptions about an archive: a tail object holds what was written since the one before,
/// so with a tail each byte goes up twice, in a tail object and in its sealed segment; and tail
/// objects go away when their segment is there, so each byte is stored once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Bytes of log per second, before compression.
    pub rate: u64,
    /// The same for the log and for snapshots.
    pub ratio: Ratio,
    /// The database in bytes: what a snapshot holds.
    pub size: u64,
    /// Bytes per sealed segment, and per object of a snapshot.
    pub segment_size: NonZero<u64>,
    /// How often the unsealed end of the log goes to the archive; `None` for never.
    pub tail_every: Option<Every>,
    /// How often a snapshot goes to the archive.
    pub snapshot_every: Every,
    /// How far back one can go.
    pub retain: Duration,
}

impl Workload {
    /// Bytes per second to one replica.
    pub fn link_rate(&self) -> f64 {
        self.ratio.shrink(self.rate as f64)
    }

    /// Bytes per second to the archive: the log, its tail and the snapshots, spread evenly.
    pub fn archive_rate(&self) -> f64 {
        let log = self.link_rate();
        let tail = if self.tail_every.is_some() { log } else { 0.0 };
        let snapshots = self.ratio.shrink(self.size as f64) / self.snapshot_every.get().as_secs_f64();
        log + tail + snapshots
    }

    /// Bytes in the archive once `retain` has passed: the log, and every snapshot of that time
    /// with the one before it, from which the oldest point is reached.
    pub fn stored_bytes(&self) -> f64 {
        let log = self.rate as f64 * self.retain.as_secs_f64();
        let snapshots = self.snapshot_every.times_in(self.retain).ceil() + 1.0;
        self.ratio.shrink(log + snapshots * self.size as f64)
    }

    /// Objects put into the archive in `time`: tails, sealed segments, snapshots.
    pub fn puts_in(&self, time: Duration) -> f64 {
        let tails = self.tail_every.map_or(0.0, |every| every.times_in(time));
        let segments = self.rate as f64 * time.as_secs_f64() / self.segment_size.get() as f64;
        let snapshots = self.snapshot_every.times_in(time) * self.snapshot_objects() as f64;
        tails + segments + snapshots
    }

    /// Objects that one snapshot is: at least one.
    pub fn snapshot_objects(&self) -> u64 {
        self.size.div_ceil(self.segment_size.get()).max(1)
    }

    /// Bytes of log, before compression, that the longest restore applies after its snapshot.
    pub fn longest_log(&self) -> f64 {
        self.rate as f64 * self.snapshot_every.get().as_secs_f64()
    }

    /// Objects and compressed bytes that the longest restore fetches: a snapshot and the log after it.
    pub fn restore(&self) -> (u64, f64) {
        let segments = (self.longest_log() / self.segment_size.get() as f64).ceil();
        // A float that does not fit becomes the greatest integer.
        let objects = self.snapshot_objects().saturating_add(segments as u64);
        (objects, self.ratio.shrink(self.size as f64 + self.longest_log()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const DAY: Duration = Duration::from_secs(86_400);

    /// 1 MiB/s of log of a database of 10 GiB in segments of 64 MiB.
    pub(in super::super) fn workload() -> Workload {
        Workload {
            rate: 1 << 20,
            ratio: Ratio::NONE,
            size: 10 * GIB,
            segment_size: NonZero::new(64 << 20).unwrap(),
            tail_every: Every::new(Duration::from_secs(1)),
            snapshot_every: Every::new(DAY).unwrap(),
            retain: 30 * DAY,
        }
    }

    #[test]
    fn what_is_kept_is_the_log_and_the_snapshots() {
        // 30 d × 86,400 s × 1 MiB = 2,592,000 MiB; 31 snapshots × 10,240 MiB = 317,440 MiB.
        assert_eq!(workload().stored_bytes(), 2_909_440.0 * f64::from(1 << 20));
        let halved = Workload { ratio: Ratio::new(2.0).unwrap(), ..workload() };
        assert_eq!(halved.stored_bytes(), workload().stored_bytes() / 2.0);
    }

    #[test]
    fn puts_are_tails_segments_and_snapshots() {
        // A day: 86,400 tails, 86,400 MiB / 64 MiB = 1,350 segments, 10,240 / 64 = 160 for a snapshot.
        assert_eq!(workload().puts_in(DAY), 87_910.0);
        assert_eq!(Workload { tail_every: None, ..workload() }.puts_in(DAY), 1_510.0);
    }

    #[test]
    fn with_a_tail_the_log_goes_up_twice() {
        // 2 × 1 MiB/s, and 10 GiB in 86,400 s.
        let snapshots = 10.0 * GIB as f64 / 86_400.0;
        assert_eq!(workload().archive_rate(), 2.0 * f64::from(1 << 20) + snapshots);
        assert_eq!(workload().link_rate(), f64::from(1 << 20));
    }

    #[test]
    fn the_longest_restore_is_a_snapshot_and_all_log_up_to_the_next() {
        // 160 objects of the snapshot, 1,350 segments; 10,240 + 86,400 MiB.
        assert_eq!(workload().restore(), (1_510, 96_640.0 * f64::from(1 << 20)));
    }

    #[test]
    fn extremes_are_numbers_too() {
        let most = Workload {
            rate: u64::MAX,
            ratio: Ratio::new(0.1).unwrap(),
            size: u64::MAX,
            segment_size: NonZero::<u64>::MIN,
            tail_every: Every::new(Duration::from_nanos(1)),
            snapshot_every: Every::new(Duration::MAX).unwrap(),
            retain: Duration::MAX,
        };
        assert_eq!(most.restore().0, u64::MAX);
        for number in [most.archive_rate(), most.stored_bytes(), most.puts_in(Duration::MAX), most.restore().1] {
            assert!(number.is_finite() && number > 0.0, "{number}");
        }
        assert!(Every::new(Duration::ZERO).is_none());
        for wrong in [0.0, -1.0, 10_001.0, f64::NAN, f64::INFINITY] {
            assert!(Ratio::new(wrong).is_none(), "{wrong}");
        }
    }
}
