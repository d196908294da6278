//! What an operator should hear about, delivered through a bounded queue.

use std::collections::VecDeque;
use std::sync::Mutex;

use longshore_format::{Lsn, Name};

use crate::Bell;
use crate::retention::Consumer;
use crate::shared::lock;

/// Something that happened and that somebody should see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The log failed and is stopped.
    Poisoned {
        /// What happened.
        cause: String,
    },
    /// A torn tail was cut when the log was opened.
    TailCut {
        /// Where the log ends now.
        at: Lsn,
        /// How many bytes were copied aside.
        bytes: u64,
        /// Where to, if there were any.
        aside: Option<String>,
    },
    /// The wall clock jumped forward; record times are held to the monotonic clock until the log is opened again.
    ClockStepped {
        /// By how much, in microseconds.
        micros: u64,
    },
    /// The next segment cannot be prepared: the disk, or the log's limit, is used up. Appends go on while segments last.
    NoSpace {
        /// How many bytes one segment needs.
        needed: u64,
    },
    /// Segments can be prepared again.
    SpaceAgain,
    /// A consumer lost its place in the log.
    Dropped {
        /// Who.
        consumer: Consumer,
        /// Where it was.
        at: Lsn,
    },
    /// A slot was forgotten on request.
    Forgotten {
        /// Which.
        slot: Name,
    },
    /// Oldest segments were removed.
    Trimmed {
        /// The first position that is left.
        first: Lsn,
    },
    /// A file that is not ours lies in the log's directory; it is left alone.
    ForeignFile {
        /// Its name.
        name: String,
    },
    /// A temporary file of an interrupted preparation was removed.
    TemporaryRemoved {
        /// Its name.
        name: String,
    },
    /// A footer was missing or half written on one of the last segments, and is written again.
    FooterRewritten {
        /// The segment.
        segment: Lsn,
    },
    /// A segment's index did not hold and is rebuilt in memory.
    IndexRebuilt {
        /// The segment.
        segment: Lsn,
    },
    /// The medium below makes weaker promises than a local disk.
    Medium {
        /// In words.
        concern: String,
    },
    /// Events were lost because nobody took them.
    Missed {
        /// How many.
        count: u64,
    },
}

/// The newest events, oldest first. When it is full the oldest go, and are counted.
#[derive(Debug, Default)]
pub struct Events {
    queue: Mutex<Queue>,
    arrived: Bell,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    missed: u64,
}

impl Events {
    const LIMIT: usize = 256;

    pub(crate) fn push(&self, event: Event) {
        let mut queue = lock(&self.queue);
        if queue.events.len() == Events::LIMIT {
            queue.events.pop_front();
            queue.missed += 1;
        }
        queue.events.push_back(event);
        drop(queue);
        self.arrived.ring();
    }

    /// Takes all that arrived since the last call.
    pub fn take(&self) -> Vec<Event> {
        let mut queue = lock(&self.queue);
        let missed = std::mem::take(&mut queue.missed);
        let missed = (missed > 0).then_some(Event::Missed { count: missed });
        missed.into_iter().chain(queue.events.drain(..)).collect()
    }

    /// Waits until there is at least one, and takes all.
    pub async fn next(&self) -> Vec<Event> {
        loop {
            let listener = self.arrived.listen();
            let events = self.take();
            if !events.is_empty() {
                return events;
            }
            listener.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_them() {
        let events = Events::default();
        for _ in 0..Events::LIMIT + 3 {
            events.push(Event::SpaceAgain);
        }
        let taken = events.take();
        assert_eq!(taken[0], Event::Missed { count: 3 });
        assert_eq!(taken.len(), Events::LIMIT + 1);
        assert!(events.take().is_empty());
    }
}
