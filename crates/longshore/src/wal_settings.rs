//! From what a user sets to what the parts below take.

use std::time::Duration;

use longshore_protocol::{AckPolicy, Limits};
use longshore_wal::{Pressure, Retention, Role};

use crate::settings::{AckSettings, AtCap, NetworkSettings, RetentionSettings, Settings, Shortfall};

/// A log's settings.
pub(crate) fn wal_settings(settings: &Settings, role: Role) -> longshore_wal::Settings {
    longshore_wal::Settings {
        role,
        unsynced_limit: settings.log.unsynced_limit.0,
        disk_limit: settings.log.disk_limit.map(|limit| limit.0),
        prepared: settings.log.prepared_segments,
        retention: retention(&settings.retention),
        // Of no effect for a writer. A follower's bytes are at its upstream: it may cut a damaged tail and fetch it again.
        cut_below_durable: true,
        ..longshore_wal::Settings::default()
    }
}

fn retention(settings: &RetentionSettings) -> Retention {
    let limited = settings.keep_size.is_some() || settings.keep_age.is_some();
    Retention {
        // With an age alone nothing is kept for its size; with neither, everything is.
        keep_bytes: settings.keep_size.map_or(if limited { 0 } else { u64::MAX }, |size| size.0),
        keep_age: settings.keep_age.unwrap_or(Duration::ZERO),
        cap_bytes: settings.slot_cap.map_or(u64::MAX, |cap| cap.0),
        slots_at_cap: at_cap(settings.at_cap),
        archive_at_cap: at_cap(settings.archive_at_cap),
        slot_idle: settings.slot_idle.unwrap_or(Duration::MAX),
    }
}

fn at_cap(setting: AtCap) -> longshore_wal::AtCap {
    match setting {
        AtCap::Drop => longshore_wal::AtCap::Drop,
        AtCap::Block => longshore_wal::AtCap::Block,
    }
}

/// What a log retains, its cap lowered to what the disk can bear: one lost replica must not fill it
/// (F-093).
pub(crate) fn capped(settings: &RetentionSettings, pressure: &Pressure) -> Retention {
    let mut retention = retention(settings);
    let Some(free) = pressure.disk_free else { return retention };
    let room = pressure.disk_used.saturating_add(free);
    let reserve = settings.min_free.0.min(room / 10);
    retention.cap_bytes = retention.cap_bytes.min(room.saturating_sub(reserve));
    retention
}

impl AckSettings {
    pub(crate) fn policy(&self) -> AckPolicy {
        AckPolicy {
            durability: self.durability.clone(),
            timeout: self.timeout,
            shortfall: match self.shortfall {
                Shortfall::Accept => longshore_protocol::Shortfall::Accept,
                Shortfall::Refuse => longshore_protocol::Shortfall::Refuse,
                Shortfall::Degrade => longshore_protocol::Shortfall::Degrade { after: self.degrade_after },
            },
        }
    }
}

impl NetworkSettings {
    /// The rhythms of a replication stream.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            heartbeat: self.heartbeat,
            silence: self.silence,
            answer: self.handshake,
            stall: self.stall,
            window: self.window.0,
            batch: usize::try_from(self.frame.0).expect("at most 1 MiB, checked with the settings"),
        }
    }
}
