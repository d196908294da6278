//! A running program: what it printed so far, and how it ended.

use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_format::Lsn;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::sink::{Failure, Held, SinkError};

/// One program, watched by a thread of its own that reads its output and then its exit status. The
/// thread ends with the program; [`Child::kill`] makes that soon.
pub(super) struct Child {
    name: String,
    /// The process group, which is the program's own.
    group: Option<Pid>,
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What the thread has seen; it writes, everybody reads.
#[derive(Default)]
struct Seen {
    /// The first line.
    held: Option<Option<Held>>,
    /// The latest line.
    durable: Option<Lsn>,
    /// A line that is not a position, or goes back.
    nonsense: Option<String>,
    exit: Option<String>,
    succeeded: bool,
    interrupted: bool,
}

impl Child {
    pub(super) fn watch(name: String, mut process: std::process::Child) -> Arc<Child> {
        let stdout = process.stdout.take().expect("the output was asked for as a pipe");
        let group = Pid::from_raw(process.id().cast_signed());
        let (seen, changed) = (Mutex::default(), Condvar::new());
        let child = Arc::new(Child { name, group, seen, changed });
        let watched = Arc::clone(&child);
        std::thread::spawn(move || {
            watched.read(stdout);
            watched.note_exit(process.wait());
        });
        child
    }

    /// The position it prints first.
    pub(super) fn held(&self, timeout: Duration) -> Result<Option<Held>, SinkError> {
        let done = |seen: &Seen| seen.held.is_some() || seen.exit.is_some() || seen.nonsense.is_some();
        let seen = self.wait(timeout, done);
        match seen.held {
            Some(held) => Ok(held),
            None if seen.exit.is_some() || seen.nonsense.is_some() => Err(self.failure(&seen)),
            None => {
                drop(seen);
                self.kill();
                Err(self.error(
                    Failure::Unavailable,
                    &format!("printed no position within {timeout:?}; print it and flush, 0 for none"),
                ))
            }
        }
    }

    pub(super) fn durable(&self) -> Option<Lsn> {
        self.seen().durable
    }

    /// Whether it still runs, and has claimed nothing that it was not given.
    pub(super) fn check(&self, committed: Option<Lsn>) -> Result<(), SinkError> {
        let seen = self.seen();
        if seen.exit.is_some() || seen.nonsense.is_some() || seen.interrupted {
            return Err(self.failure(&seen));
        }
        self.check_claim(&seen, committed)
    }

    /// The error of a write that failed: the reason is how the program ended, which comes a moment
    /// after its pipe breaks.
    pub(super) fn ended(&self, broken: std::io::Error) -> SinkError {
        let seen = self.wait(Duration::from_secs(5), |seen| seen.exit.is_some());
        if seen.exit.is_some() || seen.interrupted {
            self.failure(&seen)
        } else {
            let what = format!("no longer reads its input: {broken}; read until it ends");
            self.error(Failure::Unavailable, &what)
        }
    }

    /// Its input has ended: waits for its end, and for the position it owes.
    pub(super) fn finish(&self, committed: Option<Lsn>, timeout: Duration) -> Result<(), SinkError> {
        let seen = self.wait(timeout, |seen| seen.exit.is_some() || seen.nonsense.is_some());
        if seen.exit.is_none() && seen.nonsense.is_none() {
            drop(seen);
            self.kill();
            let what = format!("still ran {timeout:?} after its input ended; end when it ends");
            return Err(self.error(Failure::Unavailable, &what));
        }
        if !seen.succeeded || seen.nonsense.is_some() || seen.interrupted {
            return Err(self.failure(&seen));
        }
        self.check_claim(&seen, committed)?;
        match committed {
            Some(lsn) if seen.durable < committed => {
                let what = format!(
                    "ended without making position {lsn} durable ({}); print each position once it \
                     is stored, the last one before you end",
                    seen.durable.map_or("it printed none".into(), |lsn| format!("it printed {lsn}")),
                );
                Err(self.error(Failure::Unavailable, &what))
            }
            _ => Ok(()),
        }
    }

    /// Kills it and makes every blocked call return.
    pub(super) fn interrupt(&self) {
        self.seen().interrupted = true;
        self.kill();
    }

    /// Kills it and all that it started. Harmless when it has ended.
    pub(super) fn kill(&self) {
        let seen = self.seen();
        if let (Some(group), None) = (self.group, &seen.exit) {
            // It may end this very moment; then there is nothing left to kill.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }

    fn read(&self, stdout: ChildStdout) {
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A position has at most twenty digits and a checksum eight.
            match lines.by_ref().take(256).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&line);
            let mut seen = self.seen();
            if let Err(reason) = seen.take(text.trim()) {
                seen.nonsense.get_or_insert(format!("{:?} ({reason})", text.trim()));
            }
            drop(seen);
            self.changed.notify_all();
        }
    }

    fn note_exit(&self, status: std::io::Result<ExitStatus>) {
        let mut seen = self.seen();
        seen.succeeded = matches!(&status, Ok(status) if status.success());
        seen.exit = Some(match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        });
        self.changed.notify_all();
    }

    fn check_claim(&self, seen: &Seen, committed: Option<Lsn>) -> Result<(), SinkError> {
        match seen.durable {
            Some(claimed) if Some(claimed) > committed => {
                let what = format!(
                    "says that position {claimed} is durable but was given no further than {}; \
                     print positions of records with \"last\":true only",
                    committed.unwrap_or(Lsn::ZERO),
                );
                Err(self.error(Failure::Refused, &what))
            }
            _ => Ok(()),
        }
    }

    fn failure(&self, seen: &Seen) -> SinkError {
        if seen.interrupted {
            return self.error(Failure::Interrupted, "interrupted; run it again, it resumes");
        }
        if let Some(line) = &seen.nonsense {
            let what = format!("printed {line}; print positions only, and messages to standard error");
            return self.error(Failure::Refused, &what);
        }
        let exit = seen.exit.as_deref().unwrap_or("ended");
        let at = seen.durable.unwrap_or(Lsn::ZERO);
        let what = format!("ended before its input did ({exit}), durable up to {at}; see its standard error");
        self.error(Failure::Unavailable, &what)
    }

    fn error(&self, failure: Failure, what: &str) -> SinkError {
        SinkError::new(failure, format!("{} {what}", self.name))
    }

    fn wait(&self, timeout: Duration, done: impl Fn(&Seen) -> bool) -> MutexGuard<'_, Seen> {
        let deadline = Instant::now() + timeout;
        let mut seen = self.seen();
        while !done(&seen) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            seen = self.changed.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        seen
    }

    /// The facts are plain values, whole at any moment: a panic elsewhere does not spoil them.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn take(&mut self, line: &str) -> Result<(), &'static str> {
        let mut words = line.split_ascii_whitespace();
        let lsn: Lsn = words.next().and_then(|word| word.parse().ok()).ok_or("not a position")?;
        let crc = words.next().map(|word| u32::from_str_radix(word, 16));
        let crc = crc.transpose().map_err(|_| "the second word is not the crc of a line")?;
        if words.next().is_some() {
            return Err("more than a position and a crc");
        }
        let held = (lsn != Lsn::ZERO).then_some(lsn);
        if held < self.durable {
            return Err("positions only grow");
        }
        self.held.get_or_insert(held.map(|lsn| Held { lsn, crc }));
        self.durable = held;
        Ok(())
    }
}
