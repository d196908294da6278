//! Liveness of one stream: any message counts as life, in both directions.

use std::time::Duration;

use crate::{Error, Limits, Result, Turn};

/// When something was last heard and said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulse {
    heard: Duration,
    said: Duration,
}

impl Pulse {
    pub(crate) fn new(now: Duration) -> Self {
        Self { heard: now, said: now }
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

    /// What is due at an upstream that may have asked something at `asked`.
    pub(crate) fn turn(&mut self, limits: &Limits, asked: Option<Duration>, now: Duration) -> Result<Turn> {
        let answer_by = asked.map_or(Duration::MAX, |asked| asked.saturating_add(limits.answer));
        if answer_by <= now {
            let waited = now.saturating_sub(asked.unwrap_or(now));
            return Err(Error::Stalled { what: "answer a question", waited });
        }
        if self.beat(limits, now)? {
            self.say(now);
            return Ok(Turn::Heartbeat);
        }
        Ok(Turn::Until(self.deadline(limits).min(answer_by)))
    }

    /// When [`beat`](Self::beat) has something new to say.
    pub(crate) fn deadline(&self, limits: &Limits) -> Duration {
        self.said.saturating_add(limits.heartbeat).min(self.heard.saturating_add(limits.silence))
    }
}
