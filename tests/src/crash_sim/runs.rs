//! Runs of several appends: finished, dropped, or interrupted by a crash.

use longshore_format::Kind;
use longshore_wal::Run;

use super::ledger::Expected;
use super::node::{Step, Stop};
use super::primary::{Primary, place};
use crate::sim_rng::Rng;

/// A run as the ledger must see it: its newest record is held back by the log until it is known whether it is the last.
#[derive(Debug, Default)]
struct Begun {
    held: Option<Vec<u8>>,
    in_log: u64,
}

impl Primary {
    /// One run, with syncs in the middle of it.
    pub(super) fn run(&mut self, rng: &mut Rng) -> Step {
        let Some(mut run) = self.node.with_room("begin", |wal| wal.begin())? else {
            return Ok(());
        };
        let mut begun = Begun::default();
        for _ in 0..rng.below(6) {
            if !self.append_to(&mut run, &mut begun)? {
                return self.drop_run(run, &begun);
            }
            if rng.one_in(4) {
                self.node.sync()?;
                self.node.check_noticed()?;
                self.node.read()?;
            }
        }
        match rng.below(6) {
            0 if self.interrupts_runs => {
                self.open_run = Some(run);
                self.node.note(|| "crash inside a run".to_owned());
                Err(Stop::Down)
            }
            0 | 1 => self.drop_run(run, &begun),
            _ => self.finish_run(run, begun),
        }
    }

    /// `false` if the disk has no room: nothing was added.
    fn append_to(&mut self, run: &mut Run, begun: &mut Begun) -> Step<bool> {
        let held = u64::from(begun.held.is_some());
        let payload = self.source.payload(self.node.ledger.user_records() + held);
        let appended = self.node.with_room("append to a run", |_| run.append(Kind::USER, &payload))?;
        if appended.is_none() {
            return Ok(false);
        }
        if let Some(before) = begun.held.replace(payload) {
            let flags = place(begun.in_log == 0, false);
            self.node.ledger.appended(Expected::user(Kind::USER, flags, &before));
            begun.in_log += 1;
        }
        Ok(true)
    }

    fn finish_run(&mut self, mut run: Run, begun: Begun) -> Step {
        let Some(end) = self.node.with_room("finish a run", |_| run.finish())? else {
            return self.drop_run(run, &begun);
        };
        if let Some(last) = begun.held {
            let mut expected = Expected::user(Kind::USER, place(begun.in_log == 0, true), &last);
            expected.end = Some(end);
            expected.header_crc = Some(self.node.wal().last_crc());
            self.node.ledger.appended(expected);
        }
        self.node.note(|| format!("finished a run at {end}"));
        Ok(())
    }

    fn drop_run(&mut self, run: Run, begun: &Begun) -> Step {
        drop(run);
        if begun.in_log > 0 {
            self.node.ledger.appended(Expected::of_log(Kind::ABORT));
        }
        self.node.note(|| format!("gave up a run of {} records in the log", begun.in_log));
        Ok(())
    }
}
