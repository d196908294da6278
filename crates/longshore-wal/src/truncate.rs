//! Truncation to a fork: the tail is set aside as a log of its own, and nothing is edited.
//!
//! The intent is written down first. Then, each step durable before the next:
//!
//! 1. what is kept of the segment with the fork is copied to `<base>.fork`;
//! 2. the old files from there on move to `diverged/<fork>-<time>/`, the last first, after a control file was put there;
//! 3. the copy takes the old name;
//! 4. control says where the log ends now, and the intent is gone.
//!
//! Which steps are done can be seen from the names, so that the next open goes on where a crash interrupted.

use std::collections::VecDeque;
use std::sync::Arc;

use longshore_format::{Control, Intent, Lsn};
use longshore_storage::{Access, Directory, Environment};

use crate::control_file::{self, ControlFile};
use crate::names::{DIVERGED, FORK, Names};
use crate::prepare::{TEMPORARY, remove_if_there};
use crate::view::{Segment, View};
use crate::{Error, Result, Role, Settings, Wal};

/// A tail that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The directory below the log's that holds it as a log of its own, for [`ReadLog`](crate::ReadLog).
    pub place: String,
    /// Where the two part: the log ends here now.
    pub from: Lsn,
    /// Where the tail ended.
    pub to: Lsn,
}

/// Cuts a closed log to end at the boundary `fork`, moving the old files to `diverged/…`. Crashing at any point is
/// harmless: the next open finishes it. Readers that were opened before keep reading the old files, and end with them.
pub fn set_aside(dir: &Arc<dyn Directory>, env: &Arc<dyn Environment>, fork: Lsn) -> Result<SetAside> {
    // Opening as a follower mends the tail and mints nothing; closing makes all of it durable.
    let settings = Settings { role: Role::Follower, ..Settings::default() };
    let (wal, _recovery) = Wal::open(Arc::clone(dir), Arc::clone(env), settings)?;
    let fork = wal.segment_size().normalise(fork);
    let (found, to) = (wal.offered_reader(fork).map(drop), wal.end());
    wal.close()?;
    found?;
    let _lock = dir.lock().map_err(Error::io("take the log's lock"))?;
    let control = ControlFile::open(dir, Access::Write)?;
    let time = env.wall_micros();
    control.settle()?;
    control.change(|state| state.intent = Some(Intent::Truncate { at: fork, time }));
    control.sync()?;
    finish(dir, &control)?;
    Ok(SetAside { place: place(fork, time), from: fork, to })
}

/// Finishes a truncation that was decided; `false` if none was.
pub(crate) fn finish(dir: &Arc<dyn Directory>, control: &ControlFile) -> Result<bool> {
    let old = control.state();
    let Some(Intent::Truncate { at, time }) = old.intent else { return Ok(false) };
    control.settle()?;
    let truncation = Truncation { dir, old: &old, at, base: old.size.base_of(at), place: place(at, time) };
    truncation.run()?;
    control.change(|state| {
        if let Some(history) = state.history.before(at) {
            state.history = history;
        }
        state.cut_policies(at);
        state.durable = at;
        state.clean = Some(at);
        state.lost = None;
        state.shown = state.shown.map(|shown| shown.min(at));
        for slot in &mut state.slots {
            slot.durable = slot.durable.min(at);
            slot.applied = slot.applied.min(at);
        }
        state.intent = None;
    });
    control.sync()?;
    Ok(true)
}

fn place(at: Lsn, time: u64) -> String {
    format!("{DIVERGED}/{at}-{time}")
}

struct Truncation<'a> {
    dir: &'a Arc<dyn Directory>,
    old: &'a Control,
    at: Lsn,
    /// The segment with the fork.
    base: Lsn,
    place: String,
}

impl Truncation<'_> {
    fn run(&self) -> Result<()> {
        let name = self.old.size.file_name(self.base);
        let copy = format!("{:020}{FORK}", self.base);
        let aside = self.aside()?;
        let copied = exists(self.dir, &copy)?;
        let moved = exists(&aside, &name)?;
        if !copied && (moved || !exists(self.dir, &name)?) {
            // Done before a crash; or the fork is where a segment would begin that never was.
            return Ok(());
        }
        if !copied {
            self.copy_kept(&name, &copy)?;
        }
        if !exists(&aside, control_file::NAME)? {
            ControlFile::create(&aside, self.control_aside())?;
        }
        self.move_old(&aside)?;
        self.dir.rename(&copy, &name).map_err(Error::io("rename the kept part of a segment"))?;
        self.dir.sync().map_err(Error::io("sync the log's directory"))
    }

    /// The directory for the tail; it and its name are durable.
    fn aside(&self) -> Result<Arc<dyn Directory>> {
        let (outer, inner) = self.place.split_once('/').expect("a place is below another directory");
        let open = || {
            let diverged = self.dir.subdir(outer)?;
            self.dir.sync()?;
            let aside = diverged.subdir(inner)?;
            diverged.sync()?;
            Ok(aside)
        };
        open().map_err(Error::io("make a directory for the tail"))
    }

    fn copy_kept(&self, name: &str, copy: &str) -> Result<()> {
        let size = self.old.size;
        let temporary = format!("{copy}{TEMPORARY}");
        let write = || {
            remove_if_there(&**self.dir, &temporary)?;
            let from = self.dir.open(name, Access::Read)?;
            let to = self.dir.create(&temporary)?;
            to.allocate(size.get())?;
            to.zero_fill(0..size.get())?;
            let mut buffer = vec![0; 256 << 10];
            let kept = size.offset_in(self.at);
            let mut at = 0;
            while at < kept {
                let len = buffer.len().min((kept - at) as usize);
                from.read_exact_at(&mut buffer[..len], at)?;
                to.write_all_at(&buffer[..len], at)?;
                at += len as u64;
            }
            to.sync()?;
            self.dir.rename(&temporary, copy)?;
            self.dir.sync()
        };
        write().map_err(Error::io("copy the kept part of a segment"))
    }

    /// What makes the tail a log of its own: where it ended, and who wrote it.
    fn control_aside(&self) -> Control {
        // Asked of the segment before; only the tail's own next seal would need it, and nobody appends to it.
        let view = View::at_rest(self.dir, self.old, Lsn::MAX, self.base, self.segments_before());
        Control {
            before: view.digest_before(self.base).ok(),
            slots: Vec::new(),
            shown: None,
            intent: None,
            ..self.old.clone()
        }
    }

    fn segments_before(&self) -> VecDeque<Arc<Segment>> {
        let before = self.base.checked_sub(self.old.size.get());
        before.into_iter().map(|base| Arc::new(Segment::at_rest(base))).collect()
    }

    fn move_old(&self, aside: &Arc<dyn Directory>) -> Result<()> {
        let bases = Names::of(self.dir, self.old.size)?.bases;
        for base in bases.into_iter().rev().filter(|base| self.base <= *base) {
            let name = self.old.size.file_name(base);
            let moved = self.dir.rename(&name, &format!("{}/{name}", self.place));
            moved.map_err(Error::io("move a segment of the tail"))?;
            // Where it goes to first: between the two it has two names rather than none.
            aside.sync().map_err(Error::io("sync the tail's directory"))?;
            self.dir.sync().map_err(Error::io("sync the log's directory"))?;
        }
        Ok(())
    }
}

fn exists(dir: &Arc<dyn Directory>, name: &str) -> Result<bool> {
    let entries = dir.list().map_err(Error::io("list a directory"))?;
    Ok(entries.iter().any(|entry| entry.name == name))
}
