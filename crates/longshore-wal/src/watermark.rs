//! A position that only moves forward, which anybody may wait for.
//!
//! One watermark wakes all its waiters with one notification: waking a thread or task per acknowledgement through a
//! channel of its own costs some 16 µs each, which would bound the rate of acknowledged appends.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use longshore_format::Lsn;

use crate::{Bell, Error, Listening};

/// Why a watermark will never reach a position.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The log was closed in order before the position was reached.
    #[error("the log was closed; open it again")]
    Closed,
    /// The log failed; nothing more becomes durable in this process.
    #[error("{0}")]
    Failed(Error),
    /// The deadline of the wait passed; the position may still be reached.
    #[error("not reached in time; wait again for the same position")]
    TimedOut,
}

/// A position that only moves forward, and an end.
///
/// Waiting is cancel safe: dropping a wait loses nothing.
#[derive(Debug)]
pub struct Watermark {
    /// Stored by the one owner (release), loaded by anybody (acquire).
    position: AtomicU64,
    /// Set once; after that the position stays.
    ended: OnceLock<Ended>,
    moved: Bell,
}

impl Watermark {
    /// A watermark at `position`.
    pub fn new(position: Lsn) -> Watermark {
        Watermark { position: AtomicU64::new(position.get()), ended: OnceLock::new(), moved: Bell::new() }
    }

    /// Where it stands.
    #[inline]
    pub fn get(&self) -> Lsn {
        Lsn::new(self.position.load(Ordering::Acquire))
    }

    /// Why it will not move any more, if so.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.get()
    }

    /// Waits until it stands at or after `lsn`, and returns where it stands.
    pub async fn wait(&self, lsn: Lsn) -> Result<Lsn, Ended> {
        loop {
            if let Some(outcome) = self.outcome(lsn) {
                return outcome;
            }
            let listener = self.moved.listen();
            if let Some(outcome) = self.outcome(lsn) {
                return outcome;
            }
            listener.await;
        }
    }

    /// As [`Watermark::wait`] on this thread; gives up with [`Ended::TimedOut`] after `timeout`.
    pub fn wait_blocking(&self, lsn: Lsn, timeout: Option<Duration>) -> Result<Lsn, Ended> {
        // A deadline too far off to be represented is none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(outcome) = self.outcome(lsn) {
                return outcome;
            }
            let listener = self.moved.listen();
            if let Some(outcome) = self.outcome(lsn) {
                return outcome;
            }
            match deadline {
                None => listener.wait(),
                Some(deadline) => {
                    if !listener.wait_until(deadline) {
                        return self.outcome(lsn).unwrap_or(Err(Ended::TimedOut));
                    }
                }
            }
        }
    }

    /// To be told of the next move, end or [`nudge`](Self::nudge).
    pub(crate) fn listen(&self) -> Listening {
        self.moved.listen()
    }

    /// Wakes all waiters without a move.
    pub(crate) fn nudge(&self) {
        self.moved.ring();
    }

    /// Moves forward to `lsn` and wakes all waiters; does nothing if it stands there or further, or has ended.
    pub fn advance(&self, lsn: Lsn) {
        if self.ended.get().is_some() || lsn <= self.get() {
            return;
        }
        self.position.fetch_max(lsn.get(), Ordering::AcqRel);
        self.moved.ring();
    }

    /// Ends it in order: waits for what it has not reached return [`Ended::Closed`].
    pub fn close(&self) {
        self.end(Ended::Closed);
    }

    /// Ends it by a failure: waits for what it has not reached return the error.
    pub fn poison(&self, error: Error) {
        self.end(Ended::Failed(error));
    }

    fn end(&self, ended: Ended) {
        // The first reason stays: it is the cause of what follows.
        let _already_ended = self.ended.set(ended);
        self.moved.ring();
    }

    fn outcome(&self, lsn: Lsn) -> Option<Result<Lsn, Ended>> {
        let position = self.get();
        if lsn <= position {
            return Some(Ok(position));
        }
        self.ended.get().map(|ended| Err(ended.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_wait_ends_by_value_by_close_and_by_deadline() {
        let mark = Arc::new(Watermark::new(Lsn::new(10)));
        assert_eq!(mark.wait_blocking(Lsn::new(10), None).unwrap(), Lsn::new(10));
        let late = mark.wait_blocking(Lsn::new(11), Some(Duration::from_millis(1)));
        assert!(matches!(late, Err(Ended::TimedOut)));

        let waiter = {
            let mark = Arc::clone(&mark);
            std::thread::spawn(move || mark.wait_blocking(Lsn::new(20), None))
        };
        mark.advance(Lsn::new(15));
        mark.advance(Lsn::new(25));
        assert_eq!(waiter.join().unwrap().unwrap(), Lsn::new(25));

        let waiter = {
            let mark = Arc::clone(&mark);
            std::thread::spawn(move || mark.wait_blocking(Lsn::new(30), None))
        };
        mark.close();
        assert!(matches!(waiter.join().unwrap(), Err(Ended::Closed)));
        assert_eq!(mark.wait_blocking(Lsn::new(25), None).unwrap(), Lsn::new(25), "what was reached stays reached");
    }

    #[test]
    fn it_never_moves_back() {
        let mark = Watermark::new(Lsn::new(10));
        mark.advance(Lsn::new(5));
        assert_eq!(mark.get(), Lsn::new(10));
    }
}
