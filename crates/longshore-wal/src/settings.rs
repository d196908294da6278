//! What can be set about a log. Components (directory, environment) are arguments of the constructors instead.

use std::time::Duration;

use crate::retention::Retention;

/// What this process does with the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Mints records: appends, opens runs, sets marks. Only for the writer of the log's current epoch.
    #[default]
    Writer,
    /// Stores what its upstream minted, byte for byte, and mints nothing.
    Follower,
}

/// Settings of an open log. The defaults are those of a primary on a machine of its own.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this process does with the log.
    pub role: Role,
    /// Appends are refused with `Full` while more than this many bytes wait to be synced. 64 MiB: a second of a fast disk.
    pub unsynced_limit: u64,
    /// The log never takes more than this many bytes of disk, prepared segments included; `None` leaves it to the disk.
    pub disk_limit: Option<u64>,
    /// How many segments are kept ready ahead of the active one, the last of them allocated at once and filled as the log grows. Two: a
    /// full disk is noticed two segments early.
    pub prepared: usize,
    /// What is kept, and for whom.
    pub retention: Retention,
    /// The watermark in the control file is synced when the log was idle for this long. 100 ms.
    pub control_idle: Duration,
    /// A forward step of the wall clock beyond this against the monotonic one is held back and reported. 60 s.
    pub clock_step: Duration,
    /// A follower's way out of a damaged tail: cut below what is known durable, remember what was lost, and fetch it again.
    /// Off by default, because a damaged tail is otherwise an operator's decision.
    pub cut_below_durable: bool,
    /// Open the log even where locks may not keep a second owner out (a network file system). Off by default.
    pub any_medium: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            role: Role::Writer,
            unsynced_limit: 64 << 20,
            disk_limit: None,
            prepared: 2,
            retention: Retention::default(),
            control_idle: Duration::from_millis(100),
            clock_step: Duration::from_secs(60),
            cut_below_durable: false,
            any_medium: false,
        }
    }
}
