//! Liveness of one stream: any message counts as life, in both directions.

use std::time::Duration;

use crate::{Error, Limits, Result};

/// When something was last heard and said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulse {
    heard: Duration,
    said: Duration,
}

impl Pulse {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            heard: now,
            said: now,
        }
    }

    pub(crate) fn hear(&mut self, now: Duration) {
        self.heard = self.heard.max(now);
    }

    pub(crate) fn say(&mut self, now: Duration) {
        self.said = self.said.max(now);
    }

    /// Whether a heartbeat is due; an error when the peer was silent for too long.
    pub(crate) fn beat(&self, limits: &Limits, now: Duration) -> Result<bool> {
        let silent = now.saturating_sub(self.heard);
        if limits.silence <= silent {
            return Err(Error::Silent { heard: silent });
        }
        Ok(self.said.saturating_add(limits.heartbeat) <= now)
    }

    /// When [`beat`](Self::beat) has something new to say.
    pub(crate) fn deadline(&self, limits: &Limits) -> Duration {
        self.said
            .saturating_add(limits.heartbeat)
            .min(self.heard.saturating_add(limits.silence))
    }
}
