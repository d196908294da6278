//! One sink's thread: it applies the log, or captures the sink's database, whichever the log's role asks for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_apply::{Applier, Interrupt, Step, Target};
use longshore_format::ErrorKind;
use longshore_protocol::Backoff;
use longshore_wal::{Consumer, Role, Wal};

use super::{OpenSink, SinkView};
use crate::captured::OpenCapture;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::lock;
use crate::log::Log;
use crate::tails;

/// One sink's thread.
pub(super) struct ApplierTask {
    pub(super) log: Arc<Log>,
    pub(super) number: usize,
    pub(super) open: OpenSink,
    pub(super) capture: Option<OpenCapture>,
    pub(super) interrupt: Arc<Mutex<Option<Interrupt>>>,
}

/// How a turn of an applier ended, if nothing failed.
pub(super) enum Turn {
    Ended,
    /// The sink holds a snapshot now: apply from there.
    Seeded,
}

/// Between two attempts of a sink that fails again and again; a turn that lasts longer was none of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Between two attempts to be seeded, or to get what another holds.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// How long an idle applier sleeps at most before it looks whether it should end.
pub(super) const LOOK: Duration = Duration::from_millis(200);

impl ApplierTask {
    pub(super) fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(200), LONGEST_PAUSE);
        while !self.log.applying.stopping() {
            let begun = self.log.now();
            let ended = self.turn();
            if LONGEST_PAUSE < self.log.now().saturating_sub(begun) {
                // What failed then has nothing to do with what failed before.
                backoff.reset();
            }
            match ended {
                Ok(Turn::Ended) => return,
                Ok(Turn::Seeded) => {}
                Err(_) if self.log.applying.stopping() => return,
                Err(error) if self.captures() => {
                    // Whatever it is, nothing is lost by looking again: what is committed meanwhile is captured then.
                    if self.report(&error.to_string()) {
                        let message = format!("log {}: {} is not captured: {error}", self.log.name, self.label());
                        self.log.events.raise(Event::Warning { message });
                    }
                    // Who waits for another to let go begins soon after that.
                    let is_busy = error.kind() == ErrorKind::Busy;
                    self.pause(if is_busy { AGAIN } else { backoff.pause(self.random()) });
                }
                Err(Error::Apply(error)) if error.is_passing() => {
                    self.report(&error.to_string());
                    self.pause(backoff.pause(self.random()));
                }
                Err(error) => {
                    self.stopped(&error);
                    return;
                }
            }
        }
    }

    /// Somebody has to look: what was received stays received, and goes on.
    pub(super) fn stopped(&self, why: &Error) {
        self.report(&why.to_string());
        let (log, sink) = (self.log.name.clone(), self.label());
        self.log.events.raise(Event::ApplyStopped { log, sink, reason: why.to_string() });
    }

    /// Whether the sink's database is where the log comes from.
    fn captures(&self) -> bool {
        self.capture.is_some() && self.log.wal.role() == Role::Writer && !self.log.wal.is_fenced()
    }

    fn turn(&self) -> Result<Turn> {
        match &self.capture {
            Some(capture) if self.captures() => self.capture(capture),
            // Until the log is open again as one that follows.
            Some(_) if self.log.wal.role() == Role::Writer => Ok(Turn::Ended),
            _ => self.take(),
        }
    }

    /// Captures as long as this node writes the log, and keeps writers out from then until the log is open in its next role.
    fn capture(&self, open: &OpenCapture) -> Result<Turn> {
        let captured = open(&self.log.name, &self.log.wal)?;
        {
            // Before anything else: applications write from here on, and whoever accepts an epoch must find whom to hold.
            let mut sinks = self.log.applying.lock();
            (sinks[self.number].captured, sinks[self.number].known) = (Some(Arc::clone(&captured)), true);
            let needed = sinks.iter().filter_map(SinkView::held).min();
            self.log.wal.hold(Consumer::Applier, needed);
        }
        self.log.offered.set(captured.snapshotter());
        while !self.log.applying.stopping() && !captured.has_ended() {
            self.log.applying.lock()[self.number].problem = captured.problem();
            self.log.standing.wake();
            self.pause(LOOK);
        }
        let ended = captured.end();
        self.log.applying.lock()[self.number].captured = None;
        ended.map(|()| Turn::Ended)
    }

    /// Applies until the agent stops or something fails.
    pub(super) fn apply(&self) -> Result<()> {
        let sink = (self.open)()?;
        let mut applier = Applier::open(self.log.wal.clone(), sink, Target::LATEST)?;
        if let Some(held) = applier.held().filter(|held| self.log.wal.end() < held.lsn)
            && tails::holding(&self.log.wal, held)?.is_some()
        {
            // The log may come to that position again, with other records.
            return Err(longshore_apply::Error::SinkElsewhere { sink: applier.sink_name(), held: held.lsn }.into());
        }
        *lock(&self.interrupt) = Some(applier.interrupt());
        self.publish(&mut applier);
        while !self.log.applying.stopping() {
            match applier.step()? {
                Step::Working => {}
                Step::Applied(_) => self.publish(&mut applier),
                Step::Idle => {
                    self.publish(&mut applier);
                    let beyond = applier.progress().position.just_after();
                    // However it ends, the next step finds out.
                    let _ = self.log.wal.durable().wait_blocking(beyond, Some(LOOK));
                }
                Step::Done => return Ok(()),
            }
        }
        *lock(&self.interrupt) = None;
        applier.finish()?;
        Ok(())
    }

    fn publish(&self, applier: &mut Applier<Wal>) {
        let progress = applier.progress();
        let needed = {
            let mut sinks = self.log.applying.lock();
            if !sinks[self.number].came_to(progress.applied, progress.held) {
                return;
            }
            sinks.iter().filter_map(SinkView::held).min()
        };
        self.log.wal.hold(Consumer::Applier, needed);
        self.log.standing.wake();
    }

    /// Shows a problem; whether it is another than before.
    pub(super) fn report(&self, problem: &str) -> bool {
        let problem = Some(problem.to_owned());
        let mut sinks = self.log.applying.lock();
        let is_news = sinks[self.number].problem != problem;
        (sinks[self.number].problem, sinks[self.number].known) = (problem, true);
        drop(sinks);
        self.log.standing.wake();
        is_news
    }

    pub(super) fn label(&self) -> String {
        self.log.applying.lock()[self.number].label.clone()
    }

    /// Sleeps in short steps, so that an agent that stops is not kept.
    pub(super) fn pause(&self, mut rest: Duration) {
        while !rest.is_zero() && !self.log.applying.stopping() {
            std::thread::sleep(rest.min(LOOK));
            rest = rest.saturating_sub(LOOK);
        }
    }

    fn random(&self) -> u64 {
        crate::random(&*self.log.environment)
    }
}
