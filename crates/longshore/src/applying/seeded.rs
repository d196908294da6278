//! A sink that cannot go on from what it holds: it waits for a whole database, and takes that.

use std::path::Path;

use longshore_apply::{DatabaseImage, LogFacts, Sink};
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::Role;

use super::task::{AGAIN, ApplierTask, LOOK, Turn};
use crate::archived;
use crate::error::{Error, Result};
use crate::seeding;
use crate::snapshot::SnapshotHead;
use crate::tails;

impl ApplierTask {
    /// Applies; a sink that the log does not reach back to is seeded, if its upstream can do that.
    pub(super) fn take(&self) -> Result<Turn> {
        match self.apply() {
            Err(Error::Apply(error @ longshore_apply::Error::SinkTooOld { .. }))
                if self.log.wal.role() == Role::Follower && (self.open)()?.takes_image(self.log.wal.content()) =>
            {
                self.be_seeded(error)
            }
            Err(Error::Apply(
                error @ (longshore_apply::Error::SinkElsewhere { .. } | longshore_apply::Error::SinkAstray { .. }),
            )) if self.log.wal.role() == Role::Follower => self.leave_branch(error),
            ended => ended.map(|()| Turn::Ended),
        }
    }

    /// A sink that has applied what was set aside as a tail is seeded, if it can be, and until then read by nobody (F-095). Any
    /// other is elsewhere for reasons that nobody knows.
    fn leave_branch(&self, why: longshore_apply::Error) -> Result<Turn> {
        let mut sink = (self.open)()?;
        let failed = |failure| longshore_apply::Error::SinkOpen { sink: self.label(), failure };
        let held = sink.open(&self.facts()).map_err(failed)?;
        if sink.is_astray() {
            tracing::warn!(log = %self.log.name, sink = self.label(), "somebody else wrote it: nobody reads it until it is seeded");
            return self.be_sent_a_seed(why, Some(sink));
        }
        let Some(held) = held else { return Err(why.into()) };
        let Some(tail) = tails::holding(&self.log.wal, held)? else { return Err(why.into()) };
        if !seeding::can_be_seeded(self.log.wal.content()) {
            let reason = format!(
                "{} holds position {} of {}, which was set aside, and cannot be taken back; move what it has made away and start \
                 the agent again, then it is made anew from the log",
                self.label(),
                held.lsn,
                tail.place
            );
            return Err(Error::Refused { kind: ErrorKind::Diverged, reason, at: Some(tail.from) });
        }
        tracing::warn!(log = %self.log.name, sink = self.label(), held = %held.lsn, tail = tail.place, "it is of a branch that died: nobody reads it until it is seeded");
        self.be_sent_a_seed(why, Some(sink))
    }

    fn be_seeded(&self, why: longshore_apply::Error) -> Result<Turn> {
        if self.be_seeded_from_archive() {
            return Ok(Turn::Seeded);
        }
        self.be_sent_a_seed(why, None)
    }

    /// Waits for a snapshot of the upstream and gives it to the sink: to `withheld`, which is open and read by nobody, or to a
    /// new one.
    fn be_sent_a_seed(&self, why: longshore_apply::Error, withheld: Option<Box<dyn Sink>>) -> Result<Turn> {
        let (why, is_withheld) = (why.to_string(), withheld.is_some());
        let mut sink = match withheld {
            Some(sink) => Some(sink),
            None => Some(self.opened()?),
        };
        let seen = sink.as_ref().and_then(|sink| sink.durable());
        loop {
            let image = sink.as_mut().and_then(|sink| held_image(&mut **sink));
            // One that cannot say what it holds is opened once there is a file.
            sink = sink.filter(|_| is_withheld || image.is_some());
            match (self.attempt(&why, seen, image, sink.as_mut(), is_withheld), &mut sink) {
                // A file that does not hold is gone by now, and fetched again.
                (Err(error), _) if is_spoilt(&error) => {
                    self.report(&error.to_string());
                    self.pause(AGAIN);
                    if !is_withheld || self.log.applying.stopping() {
                        return Ok(Turn::Seeded);
                    }
                }
                (Err(error @ Error::Refused { .. }), Some(sink)) if is_withheld => {
                    return self.stay_withheld(&error, &mut **sink);
                }
                (outcome, _) => return outcome.map(|()| Turn::Seeded),
            }
        }
    }

    /// Waits for one file and gives it to the sink, whose readers have seen the log so far.
    fn attempt(
        &self,
        why: &str,
        seen: Option<Lsn>,
        image: Option<Box<dyn DatabaseImage>>,
        mut sink: Option<&mut Box<dyn Sink>>,
        is_withheld: bool,
    ) -> Result<()> {
        self.report(&format!("{why}; waiting for a snapshot of the upstream"));
        let path = seeding::path_of(&self.log.data_dir, &self.log.name);
        self.log.seeding.ask(image);
        let outcome = self.wait_for_seed(why, sink.as_deref_mut(), is_withheld).and_then(|()| {
            self.goes_back(seen, &path)?;
            match sink {
                Some(sink) => seeding::give(&mut **sink, &path, |_| !self.log.applying.stopping()),
                None => self.seed(&path),
            }
        });
        self.log.seeding.leave(&path);
        outcome
    }

    /// Tells of a snapshot that is from before what the sink's readers have seen. One serves all who ask for a while, and none is
    /// made anew for each: the log is applied from there, and the readers soon see what they saw, but for what died.
    fn goes_back(&self, seen: Option<Lsn>, path: &Path) -> Result<()> {
        let (snapshot, end) = (SnapshotHead::of(path)?.lsn, self.log.wal.durable().get());
        let view = &mut self.log.applying.lock()[self.number];
        // They may not even see yet what they had seen before it was seeded the last time.
        view.seen = view.seen.max(seen.map(|seen| seen.min(end))).filter(|seen| snapshot < *seen);
        if let Some(seen) = view.seen {
            tracing::warn!(
                log = %self.log.name, sink = view.label, %seen, %snapshot,
                "it is seeded from before what its readers have seen: they see an earlier state until the log is applied that far"
            );
        }
        Ok(())
    }

    /// Nothing seeds it before somebody has looked, and until the agent stops nobody reads it.
    fn stay_withheld(&self, why: &Error, sink: &mut dyn Sink) -> Result<Turn> {
        self.stopped(why);
        while !self.log.applying.stopping() {
            if let Err(error) = sink.withhold() {
                tracing::debug!(sink = sink.name(), %error, "who reads it may go on");
            }
            self.pause(AGAIN);
        }
        Ok(Turn::Ended)
    }

    /// Whether a snapshot from the archive was given to the sink.
    fn be_seeded_from_archive(&self) -> bool {
        let Some(sources) = self.log.sources.get() else { return false };
        let path = self.log.data_dir.join(format!("{}.seed-{}", self.log.name, self.number));
        let given = (|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| Error::io("start to fetch", &path, error))?;
            let Some(path) = runtime.block_on(archived::fetch_snapshot(sources, &self.log, &path))? else {
                return Ok(false);
            };
            self.seed(&path).map(|()| true)
        })();
        // Fetched again when it is needed again: by then there is a newer one.
        let _gone = std::fs::remove_file(&path);
        given.unwrap_or_else(|error: Error| {
            tracing::warn!(log = %self.log.name, sink = self.label(), %error, "no snapshot is taken from the archive");
            false
        })
    }

    fn seed(&self, path: &Path) -> Result<()> {
        seeding::apply(&mut *(self.open)()?, &self.facts(), path, |_| !self.log.applying.stopping())
    }

    fn facts(&self) -> LogFacts {
        LogFacts { id: self.log.wal.id(), content: self.log.wal.content() }
    }

    fn opened(&self) -> Result<Box<dyn Sink>> {
        let mut sink = (self.open)()?;
        let failed = |failure| longshore_apply::Error::SinkOpen { sink: self.label(), failure };
        sink.open(&self.facts()).map_err(failed)?;
        Ok(sink)
    }

    fn wait_for_seed(&self, why: &str, mut sink: Option<&mut Box<dyn Sink>>, is_withheld: bool) -> Result<()> {
        loop {
            if self.log.seeding.wants_image() {
                self.log.seeding.lend(sink.as_mut().and_then(|sink| held_image(&mut ***sink)));
            }
            if let Some(sink) = sink.as_mut().filter(|_| is_withheld) {
                // Who was still there a moment ago may have gone.
                let failed = |failure| longshore_apply::Error::SinkOpen { sink: self.label(), failure };
                sink.withhold().map_err(failed)?;
            }
            match self.log.seeding.outcome() {
                Some(seeding::Outcome::Fetched) => return Ok(()),
                Some(seeding::Outcome::Refused(reason)) => {
                    let reason = format!("{why}; a snapshot cannot be had: {reason}");
                    return Err(Error::Refused { kind: ErrorKind::TooOld, reason, at: None });
                }
                None if self.log.applying.stopping() => {
                    return Err(longshore_apply::Error::Interrupted { position: self.log.wal.end() }.into());
                }
                None => self.pause(LOOK),
            }
        }
    }
}

/// Whether it is the file that does not hold. A sink that says so of itself is opened anew.
fn is_spoilt(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && !matches!(error, Error::Apply(_))
}

/// What a sink holds, if it can say that: nothing depends on it.
fn held_image(sink: &mut dyn Sink) -> Option<Box<dyn DatabaseImage>> {
    sink.held_image().unwrap_or_else(|error| {
        tracing::debug!(sink = sink.name(), %error, "what it holds is not compared");
        None
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use longshore_apply::{Held, RunEnd, SinkError};
    use longshore_format::{Content, Lsn, Record};

    use super::super::{OpenSink, SinkView};
    use super::*;
    use crate::log::Log;
    use crate::snapshot::file::SnapshotWriter;
    use crate::{Primary, Settings};

    /// What became of a sink.
    #[derive(Default)]
    struct Seen {
        /// How far its readers have seen the log.
        held: Option<Lsn>,
        withheld: AtomicUsize,
        is_gone: AtomicBool,
    }

    struct Astray(Arc<Seen>);

    impl Drop for Astray {
        fn drop(&mut self) {
            self.0.is_gone.store(true, Ordering::Release);
        }
    }

    impl Sink for Astray {
        fn name(&self) -> String {
            "astray".to_owned()
        }
        fn open(&mut self, _log: &LogFacts) -> Result<Option<Held>, SinkError> {
            Ok(None)
        }
        fn begin(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn record(&mut self, _record: &Record<'_>) -> Result<(), SinkError> {
            Ok(())
        }
        fn commit(&mut self, _run: &RunEnd) -> Result<(), SinkError> {
            Ok(())
        }
        fn sync(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn durable(&self) -> Option<Lsn> {
            self.0.held
        }
        fn finish(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn withhold(&mut self) -> Result<(), SinkError> {
            self.0.withheld.fetch_add(1, Ordering::AcqRel);
            Ok(())
        }
    }

    /// Whoever is to seed it.
    fn task_of(log: &Arc<Log>) -> ApplierTask {
        let open: OpenSink = Arc::new(|| unreachable!("it is open"));
        let view = SinkView {
            label: "astray".to_owned(),
            applied: Lsn::ZERO,
            held: Lsn::ZERO,
            problem: None,
            seen: None,
            captured: None,
            kept: None,
            known: false,
        };
        log.applying.lock().push(view);
        ApplierTask { log: Arc::clone(log), number: 0, open, capture: None, interrupt: Arc::default() }
    }

    /// F-095: whoever read it before it was withheld may read an earlier state for a while, and that is told.
    #[test]
    fn f_095_a_snapshot_from_before_what_readers_have_seen_is_told_until_they_see_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let primary = Primary::create(dir.path(), "app", Content::Bytes, &Settings::default()).unwrap();
        let [snapshot, seen] = ["one", "two"].map(|payload| {
            let ticket = primary.append(&[payload]).unwrap();
            ticket.wait_blocking("local".parse().unwrap(), Duration::from_secs(30)).unwrap();
            ticket.position()
        });
        let log = primary.node().get(&"app".parse().unwrap()).unwrap();
        let task = task_of(&log);
        let held_at = |held: Lsn| {
            let link = log.wal.crc_at(snapshot).unwrap();
            let head = SnapshotHead { log: log.wal.id(), lsn: snapshot, link, time: 0 };
            let mut seed = SnapshotWriter::create(&seeding::path_of(&log.data_dir, &log.name), &head).unwrap();
            seed.payload(b"page").unwrap();
            seed.finish().unwrap();
            log.seeding.settle(seeding::Outcome::Fetched);
            let sink = Astray(Arc::new(Seen { held: Some(held), ..Seen::default() }));
            let why = longshore_apply::Error::SinkAstray { sink: "astray".to_owned() };
            assert!(matches!(task.be_sent_a_seed(why, Some(Box::new(sink))), Ok(Turn::Seeded)));
        };
        let told_at = |applied: Lsn| {
            log.applying.lock()[0].came_to(applied, applied);
            let sink = &log.applying.sinks()[0];
            assert_eq!(sink.problem, None, "it is applied to");
            sink.seen
        };
        held_at(seen);
        assert_eq!(told_at(snapshot), Some(seen));
        held_at(snapshot);
        assert_eq!(told_at(snapshot), Some(seen), "seeded again before they saw it");
        assert_eq!(told_at(seen), None);
        assert_eq!(told_at(snapshot), None, "they have seen it again");
        // Of what died they see nothing again.
        held_at(Lsn::new(seen.get() + 8000));
        assert_eq!(told_at(snapshot), Some(seen));
        assert_eq!(told_at(seen), None);
        held_at(snapshot);
        assert_eq!(told_at(snapshot), None);
        drop(primary);
    }

    fn until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// F-095: neither a file that is spoilt nor an upstream that has none to give lets readers in.
    #[test]
    fn f_095_nobody_reads_what_is_withheld_before_it_is_seeded() {
        let dir = tempfile::tempdir().unwrap();
        let primary = Primary::create(dir.path(), "app", Content::Bytes, &Settings::default()).unwrap();
        let log = primary.node().get(&"app".parse().unwrap()).unwrap();
        let task = task_of(&log);
        let seen = Arc::new(Seen::default());
        let sink = Astray(Arc::clone(&seen));
        let seed = seeding::path_of(&log.data_dir, &log.name);
        std::fs::write(&seed, [0; 4096]).unwrap();
        log.seeding.settle(seeding::Outcome::Fetched);
        let thread = std::thread::spawn(move || {
            let why = longshore_apply::Error::SinkAstray { sink: "astray".to_owned() };
            task.be_sent_a_seed(why, Some(Box::new(sink))).map(drop)
        });
        until("the file that is none to be removed", || !seed.exists());
        log.seeding.settle(seeding::Outcome::Refused("there is none".to_owned()));
        let problem = || log.applying.sinks()[0].problem.clone().unwrap_or_default();
        until("the refusal to be told", || problem().contains("cannot be had: there is none") || thread.is_finished());
        let withheld = seen.withheld.load(Ordering::Acquire);
        until("whoever comes to be kept out", || {
            withheld < seen.withheld.load(Ordering::Acquire) || thread.is_finished()
        });
        assert!(!seen.is_gone.load(Ordering::Acquire), "readers are let in: {}", problem());
        log.applying.stop(&log);
        thread.join().unwrap().unwrap();
        assert!(seen.is_gone.load(Ordering::Acquire));
        drop(primary);
    }
}
