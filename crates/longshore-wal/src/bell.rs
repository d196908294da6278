//! A bell that threads and tasks listen for, on any executor or none.
//!
//! Whoever rings wakes the listeners after it let go of the bell's own lock. That is the reason for a bell of our own: the
//! libraries that wait for both threads and tasks wake under it, and on a machine of few processors the woken thread then takes the
//! processor of the one that holds what it needs, waits for it, and is woken once more, which was two switches of each commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::shared::lock;

/// Rung when something has changed that somebody may be waiting for.
///
/// To miss nothing, listen first, then look, then wait.
#[derive(Debug, Default)]
pub struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How often it was rung.
    rung: AtomicU64,
    /// How many wait, changed under the lock. Counted up before `rung` is looked at for the last time, and looked at after `rung` was
    /// counted up, so that either the listener or the ringer sees the other.
    waiting: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    next: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Bell {
    /// A bell that nobody has rung.
    pub fn new() -> Bell {
        Bell::default()
    }

    /// To be told of the next ring. Dropping what this returns is harmless.
    pub fn listen(&self) -> Listening {
        let since = self.0.rung.load(Ordering::SeqCst);
        Listening { bell: Arc::clone(&self.0), since, waits_as: None }
    }

    /// Wakes everybody who listens.
    pub fn ring(&self) {
        self.0.rung.fetch_add(1, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiters = lock(&self.0.waiters);
        let wakers = std::mem::take(&mut waiters.wakers);
        self.0.waiting.store(0, Ordering::SeqCst);
        drop(waiters);
        wakers.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

/// Somebody who waits for the next ring: a future, or a thread that blocks. Cancel safe.
#[derive(Debug)]
#[must_use = "nothing waits unless this is awaited, or waited for"]
pub struct Listening {
    bell: Arc<Inner>,
    /// How often the bell had been rung when this began to listen.
    since: u64,
    /// Under which number its waker is kept.
    waits_as: Option<u64>,
}

impl Listening {
    /// Blocks the thread until the bell is rung.
    pub fn wait(self) {
        self.block(None);
    }

    /// Blocks the thread until the bell is rung, or `deadline` comes; whether it was rung.
    pub fn wait_until(self, deadline: Instant) -> bool {
        self.block(Some(deadline))
    }

    /// Blocks the thread until the bell is rung, for at most so long; whether it was rung.
    pub fn wait_for(self, timeout: Duration) -> bool {
        // A deadline too far off to be represented is none.
        self.block(Instant::now().checked_add(timeout))
    }

    fn block(mut self, deadline: Option<Instant>) -> bool {
        thread_local!(static WAKER: Waker = Arc::new(Parked(std::thread::current())).into());
        WAKER.with(|waker| {
            while !self.was_rung(waker) {
                match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                    None => std::thread::park(),
                    Some(Duration::ZERO) => return false,
                    Some(left) => std::thread::park_timeout(left),
                }
            }
            true
        })
    }

    /// Whether the bell was rung since this listens; else `waker` is woken when it is.
    fn was_rung(&mut self, waker: &Waker) -> bool {
        if self.bell.rung.load(Ordering::SeqCst) != self.since {
            return true;
        }
        let mut waiters = lock(&self.bell.waiters);
        let known = self.waits_as.and_then(|id| waiters.wakers.iter_mut().find(|(known, _)| *known == id));
        match known {
            Some((_, known)) => known.clone_from(waker),
            None => {
                let id = waiters.next;
                waiters.next += 1;
                waiters.wakers.push((id, waker.clone()));
                self.waits_as = Some(id);
                self.bell.waiting.fetch_add(1, Ordering::SeqCst);
            }
        }
        drop(waiters);
        self.bell.rung.load(Ordering::SeqCst) != self.since
    }
}

impl Future for Listening {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.was_rung(context.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(id) = self.waits_as else { return };
        let mut waiters = lock(&self.bell.waiters);
        if let Some(at) = waiters.wakers.iter().position(|(known, _)| *known == id) {
            waiters.wakers.swap_remove(at);
            self.bell.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A thread that waits.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_between_listening_and_waiting_is_heard() {
        let bell = Bell::new();
        let heard = bell.listen();
        bell.ring();
        heard.wait();
        assert!(!bell.listen().wait_for(Duration::from_millis(1)), "and an older one is not");
    }

    #[test]
    fn whoever_gives_up_leaves_nothing_behind() {
        let bell = Bell::new();
        for _ in 0..10 {
            assert!(!bell.listen().wait_for(Duration::from_micros(10)));
        }
        assert!(lock(&bell.0.waiters).wakers.is_empty());
        assert_eq!(bell.0.waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_listener_that_is_woken_finds_the_lock_free() {
        struct Rings(Bell);
        impl Wake for Rings {
            fn wake(self: Arc<Self>) {
                self.0.ring();
                assert!(self.0.0.waiters.try_lock().is_ok());
            }
        }
        let bell = Bell::new();
        let waker = Arc::new(Rings(Bell(Arc::clone(&bell.0)))).into();
        let (mut first, mut second) = (bell.listen(), bell.listen());
        assert!(!first.was_rung(&waker) && !second.was_rung(&waker));
        bell.ring();
        assert!(first.was_rung(&waker) && second.was_rung(&waker));
    }

    #[test]
    fn of_threads_that_wait_for_each_other_none_waits_for_ever() {
        let (turn, bell) = (AtomicU64::new(0), Bell::new());
        std::thread::scope(|scope| {
            for own in 0..4 {
                let (turn, bell) = (&turn, &bell);
                scope.spawn(move || {
                    for round in 0..2_000 {
                        loop {
                            let listening = bell.listen();
                            if turn.load(Ordering::Acquire) == round * 4 + own {
                                break;
                            }
                            listening.wait();
                        }
                        turn.fetch_add(1, Ordering::AcqRel);
                        bell.ring();
                    }
                });
            }
        });
        assert_eq!(turn.into_inner(), 8_000);
    }
}
