//! Opening a log for its owner.

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard};

use longshore_format::{Control, Cursor, EpochEntry, Flags, Incarnation, Kind, payload, payload_crc};
use longshore_storage::{Access, Concern, Directory, Environment};

use crate::active::{Active, Spare};
use crate::append::Appender;
use crate::clock::Clock;
use crate::control_file::ControlFile;
use crate::mend::{Cut, mend};
use crate::prepare::Spares;
use crate::promote::Promotion;
use crate::shared::{Parts, Shared};
use crate::survey::{BelowDurable, Survey};
use crate::view::{Live, View};
use crate::{Error, Event, Recovery, Result, Role, Settings, Wal, truncate};

impl Wal {
    /// Opens the log in `dir`: takes its lock, finishes what an earlier process left, cuts a torn tail, and, for the
    /// writer after anything but a clean close, begins a new incarnation. Its cost does not grow with the log.
    ///
    /// If the log is damaged it is refused and nothing is changed.
    pub fn open(dir: Arc<dyn Directory>, env: Arc<dyn Environment>, settings: Settings) -> Result<(Wal, Recovery)> {
        Wal::open_as(dir, env, settings, None)
    }

    /// As [`open`](Wal::open), but as the writer of `promotion`'s epoch, which begins here.
    pub(crate) fn open_as(
        dir: Arc<dyn Directory>,
        env: Arc<dyn Environment>,
        settings: Settings,
        promotion: Option<&Promotion>,
    ) -> Result<(Wal, Recovery)> {
        let lock = dir.lock().map_err(Error::io("take the log's lock"))?;
        let concern = check_medium(&dir, &settings)?;
        let control = ControlFile::open(&dir, Access::Write)?;
        let finished_truncation = truncate::finish(&dir, &control)?;
        let below = match settings.cut_below_durable && settings.role == Role::Follower {
            true => BelowDurable::Cut,
            false => BelowDurable::Refuse,
        };
        let found = control.state();
        let survey = Survey::of(&dir, &found, below)?;
        match promotion {
            None => check_writer(&dir, &found, &survey, settings.role)?,
            Some(promotion) => promotion.check(&found)?,
        }
        let cut = mend(&dir, &control, &survey, env.wall_micros())?;

        let recovery = Recovery {
            clean: survey.clean,
            end: survey.chain.position,
            known_durable: survey.known,
            cut_bytes: cut.bytes,
            cut_file: cut.file.clone(),
            lost: control.look(|state| state.lost),
            finished_truncation,
        };
        if settings.role == Role::Writer {
            // What this node goes on with is durable at the writer, which it is.
            control.change(|state| state.shown = None);
        }
        let view = survey.view(&dir, &found).showing(control.look(|state| state.shown));
        tell(&view, &survey, &cut, concern);
        let active = go_live(&view, &survey)?;
        let spares = adopt(&view, &survey)?;
        let appender = Appender {
            cursor: Cursor::new(view.id, view.size, survey.chain),
            history: survey.history,
            active,
            clock: Clock::new(&*env, settings.clock_step),
            content: view.content,
            in_run: false,
            fenced: None,
        };
        let wal = Wal::of(Shared::new(Parts { appender, control, spares, lock, view, env, settings }));
        match promotion {
            None => wal.begin_writing(recovery.clean)?,
            Some(promotion) => wal.begin_epoch(promotion)?,
        }
        Ok((wal, recovery))
    }

    /// What the writer appends before anything else: after a crash a new incarnation, which closes an open run as aborted;
    /// after a clean close an `Abort` if a follower left a run open.
    fn begin_writing(&self, clean: bool) -> Result<()> {
        let shared = self.shared();
        if shared.settings.role == Role::Follower {
            return Ok(());
        }
        let mut appender = shared.lock(&shared.append)?;
        if clean {
            if appender.chain().run.is_some() {
                appender.mint(shared, Kind::ABORT, Flags::NONE, &[], payload_crc(&[]), None)?;
                appender.publish(shared);
            }
            return Ok(());
        }
        let incarnation = shared.draw_incarnation()?;
        let payload = payload::NewIncarnation { incarnation }.encode();
        drop(appender);
        let mut appender = self.place_for(payload.len(), 0)?;
        let epoch = appender.chain().life.epoch;
        let life = EpochEntry { start: appender.position(), epoch, incarnation };
        shared.announce_lives(&[life])?;
        appender.mint(shared, Kind::INCARNATION, Flags::NONE, &payload, payload_crc(&payload), Some(life))?;
        appender.publish(shared);
        drop(appender);
        // Nobody may know of a life that this node could forget: no record of it is offered before its first is durable.
        self.sync_once().map(drop)
    }
}

impl Wal {
    /// The appender of a log that was just opened, with a segment in which a record with so long a payload fits, and a segment
    /// ready after it if `more` does not fit behind it.
    pub(crate) fn place_for(&self, payload_len: usize, more: usize) -> Result<MutexGuard<'_, Appender>> {
        let shared = self.shared();
        let appender = shared.lock(&shared.append)?;
        if appender.has_place_for(payload_len + more) {
            return Ok(appender);
        }
        drop(appender);
        self.prepare_once()?;
        // All that recovery kept is durable, so nothing but the seal itself stands in the way of a next segment.
        while self.seal_once()? {}
        let mut appender = shared.lock(&shared.append)?;
        appender.make_place_for(shared, payload_len)?;
        Ok(appender)
    }
}

impl Shared {
    pub(crate) fn draw_incarnation(&self) -> Result<Incarnation> {
        let mut number = [0; 8];
        self.env.random(&mut number).map_err(Error::io("draw a random number"))?;
        Ok(Incarnation::new(u64::from_le_bytes(number)))
    }

    /// Notes lives in control, durably, before a record of theirs is in the log: control is never behind.
    pub(crate) fn announce_lives(&self, lives: &[EpochEntry]) -> Result<()> {
        self.control.change(|state| {
            for life in lives {
                state.history.push(*life).expect("the cursor accepted the life");
                if state.highest.number < life.epoch.number {
                    state.highest = life.epoch;
                }
            }
        });
        self.control.sync().map_err(|error| self.poison(error))
    }
}

fn check_medium(dir: &Arc<dyn Directory>, settings: &Settings) -> Result<Option<&'static str>> {
    let medium = dir.medium().map_err(Error::io("look at the file system"))?;
    match medium.concern() {
        None => Ok(None),
        Some(Concern::Refuse(concern)) if !settings.any_medium => Err(Error::Medium { concern }),
        Some(Concern::Warn(concern) | Concern::Refuse(concern)) => Ok(Some(concern)),
    }
}

/// Only the writer of the highest epoch accepted here mints (F-113), and only with a control file that knows of the log's
/// present (F-048).
fn check_writer(dir: &Arc<dyn Directory>, control: &Control, survey: &Survey, role: Role) -> Result<()> {
    let life = survey.chain.life;
    if role == Role::Follower {
        return Ok(());
    }
    if !control.writers.contains(&life.epoch.writer) {
        return Err(Error::NotTheWriter { epoch: life.epoch.to_string() });
    }
    if life.epoch.number < control.highest.number {
        return Err(Error::Fenced { epoch: life.epoch.to_string(), accepted: control.highest.to_string() });
    }
    let known = control.history.current();
    if !control.history.entries().contains(&life) {
        return Err(Error::Damaged {
            path: dir.path_hint(),
            file: crate::control_file::NAME.to_owned(),
            fault: format!("it is older than the log, which is in life {life} while control knows {known} as the last"),
        });
    }
    Ok(())
}

fn tell(view: &View, survey: &Survey, cut: &Cut, concern: Option<&str>) {
    let events = &view.events;
    if let Some(concern) = concern {
        events.push(Event::Medium { concern: concern.to_owned() });
    }
    for name in &survey.names.temporaries {
        events.push(Event::TemporaryRemoved { name: name.clone() });
    }
    for name in &survey.names.foreign {
        events.push(Event::ForeignFile { name: name.clone() });
    }
    if cut.bytes > 0 {
        events.push(Event::TailCut { at: survey.chain.position, bytes: cut.bytes, aside: cut.file.clone() });
    }
    for segment in survey.walked.iter().filter(|segment| segment.is_full() && survey.unsealed <= segment.base()) {
        events.push(Event::FooterRewritten { segment: segment.base() });
    }
}

/// Opens for writing what is not sealed; returns the active segment, mapped.
fn go_live(view: &View, survey: &Survey) -> Result<Option<Active>> {
    let size = view.size;
    let mut active = None;
    for walked in survey.walked.iter().filter(|walked| survey.unsealed <= walked.base()) {
        let base = walked.base();
        let file = view.dir.open(&size.file_name(base), Access::Write).map_err(Error::io("open a segment"))?;
        let mut map = None;
        if !walked.is_full() {
            let (writer, reader) = file.map(size.get() as usize).map_err(Error::io("map a segment"))?;
            active = Some(Active::resume(base, writer, size.offset_in(survey.chain.position)));
            map = Some(reader);
        }
        view.get(base).expect("the survey holds it").set_live(Live { file, map });
    }
    Ok(active)
}

/// Takes over the segments that were prepared before a clean close. After anything else there are none: what they hold is
/// not known.
fn adopt(view: &View, survey: &Survey) -> Result<Spares> {
    let size = view.size;
    let last = *survey.bases.last().expect("a log has segments");
    let mut next = size.next_base(last);
    let mut ready = VecDeque::new();
    if !survey.clean {
        return Ok(Spares::new(ready, next));
    }
    for base in &survey.later {
        let name = size.file_name(*base);
        let file = view.dir.open(&name, Access::Write).map_err(Error::io("open a prepared segment"))?;
        let len = file.len().map_err(Error::io("look at a prepared segment"))?;
        if Some(*base) != next || len < size.get() {
            // Never used, so nothing is lost with it; it is prepared again when its turn comes.
            view.dir.remove(&name).map_err(Error::io("remove a prepared segment"))?;
            continue;
        }
        let map = file.map(size.get() as usize).map_err(Error::io("map a prepared segment"))?;
        ready.push_back(Spare { base: *base, file, map: Some(map) });
        next = size.next_base(*base);
    }
    Ok(Spares::new(ready, next))
}
