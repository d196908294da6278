//! How often it is looked what an application has committed.

use std::time::Duration;

use crate::capture::CaptureStep;

/// Between two looks. What was committed meanwhile shares one sync of the `-wal` and one of the log, which the application's
/// own syncs have to share the disk with: looking every millisecond cost it a fifth of its rate.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// The same while an application commits so often that every look delays some of its commits: fewer than one in a hundred.
/// A replica is to be behind by a quarter of a second at most.
const PAUSE_WHEN_BUSY: Duration = Duration::from_millis(175);
/// So many transactions a second are often.
const BUSY: f64 = 3000.0;
/// About so much of the `-wal` may wait for the next look: who writes that in less time is looked at more often.
const MOST_WAITING: f64 = 3.0 * (1 << 20) as f64;

/// Until the next look, after one that copied so many `bytes` of what was committed `since` the one before. The `-wal` may
/// take so many more until it is to be copied back, which is best done at once.
pub(super) fn pause_after(step: CaptureStep, since: Duration, bytes: u64, until_checkpoint: u64) -> Duration {
    match step {
        CaptureStep::Captured(transactions) if BUSY * since.as_secs_f64() < transactions as f64 => {
            let most = MOST_WAITING.min(until_checkpoint as f64);
            since.mul_f64(most / bytes.max(1) as f64).clamp(PAUSE, PAUSE_WHEN_BUSY)
        }
        _ => PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_commits_often_is_looked_at_seldom_and_before_the_wal_is_long() {
        const MIB: u64 = 1 << 20;
        let captured = CaptureStep::Captured;
        for (step, since, bytes, until_checkpoint, pause) in [
            (CaptureStep::Idle, 100, 0, 16 * MIB, 10),
            (captured(100), 100, MIB / 2, 16 * MIB, 10),
            (captured(1000), 100, 3 * MIB, 16 * MIB, 100),
            (captured(1000), 100, 6 * MIB, 3 * MIB, 50),
            (captured(1000), 100, 6 * MIB, 0, 10),
            (captured(2000), 100, 15 * MIB, 16 * MIB, 20),
            (captured(2000), 50, 0, 16 * MIB, 175),
        ] {
            let took = pause_after(step, Duration::from_millis(since), bytes, until_checkpoint);
            assert_eq!(took.as_millis(), pause, "{step:?} in {since} ms, {bytes} bytes, {until_checkpoint} left");
        }
    }
}
