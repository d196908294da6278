//! Who follows this log, how far each has come, and what is trimmed therefore.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use longshore_format::{Control, Lsn, Name, Slot};
use longshore_storage::Trouble;

use crate::retention::{Consumer, Decision, Extent, Need, Retention};
use crate::shared::Shared;
use crate::{Error, Event, Full, Result, Wal};

/// How far a replica has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotAck {
    /// It made everything below durable.
    pub durable: Lsn,
    /// It applied everything below.
    pub applied: Lsn,
}

/// A replica's slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Its name: its certificate's identity.
    pub name: Name,
    /// How far it has come.
    pub ack: SlotAck,
    /// When it was last heard of, in microseconds since 1970 UTC; zero for never.
    pub last_seen: u64,
    /// For how long it has been silent, of the time that this process has had the log open (monotonic).
    pub silent: Duration,
    /// It lost its place and must be seeded again.
    pub lost: bool,
    /// How many more bytes can be appended before it loses its place, or appends block; `None` without a cap.
    pub headroom: Option<u64>,
}

/// A consumer that lost its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Who.
    pub consumer: Consumer,
    /// Where it was.
    pub at: Lsn,
    /// Whether it was silent for too long, rather than too far behind.
    pub idle: bool,
}

/// What a trim did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The first position that is left.
    pub first: Lsn,
    /// How many segments were removed.
    pub segments: usize,
    /// Who lost its place.
    pub dropped: Vec<Dropped>,
    /// What was decided.
    pub decision: Decision,
}

/// What is known of consumers beyond the control file: it goes with the process.
#[derive(Debug)]
pub(crate) struct Consumers {
    retention: Retention,
    /// From where on those that have no slot need the log.
    holds: BTreeMap<Consumer, Lsn>,
    /// When each slot was last heard of; when the log was opened for those that were not.
    heard: BTreeMap<Name, Duration>,
    opened: Duration,
    /// Why appends are refused whatever their size.
    pub(crate) held: Option<Full>,
}

impl Consumers {
    pub(crate) fn new(retention: Retention, now: Duration) -> Consumers {
        Consumers { retention, holds: BTreeMap::new(), heard: BTreeMap::new(), opened: now, held: None }
    }

    fn silent(&self, slot: &Name, now: Duration) -> Duration {
        now.saturating_sub(self.heard.get(slot).copied().unwrap_or(self.opened))
    }
}

impl Wal {
    /// Notes how far a replica has come; its slot is made on first use. Acks never move back, but for a slot that was lost
    /// and begins again where the log still is. A slot that is new is durable when this returns, which takes one sync;
    /// otherwise the ack is written down with the next sync: an older one is also true.
    pub fn ack(&self, slot: &Name, ack: SlotAck) -> Result<()> {
        self.note_ack(slot, ack, |known, ack| {
            if known.lost {
                *known = Slot {
                    lost: ack.durable < self.first(),
                    durable: ack.durable,
                    applied: ack.applied,
                    ..known.clone()
                };
            }
            known.durable = known.durable.max(ack.durable);
            known.applied = known.applied.max(ack.applied);
        })
    }

    /// Begins a slot anew at `ack`, whatever it was: for a replica that was seeded or truncated.
    pub fn reset_slot(&self, slot: &Name, ack: SlotAck) -> Result<()> {
        self.note_ack(slot, ack, |known, ack| {
            *known = Slot { lost: false, durable: ack.durable, applied: ack.applied, ..known.clone() };
        })
    }

    fn note_ack(&self, slot: &Name, ack: SlotAck, note: impl FnOnce(&mut Slot, SlotAck)) -> Result<()> {
        let shared = self.shared();
        shared.alive()?;
        // What a replica has beyond what is durable here is no knowledge of this disk, and acks count in recovery.
        let durable = shared.view.durable.get();
        let ack = SlotAck { durable: ack.durable.min(durable), applied: ack.applied.min(durable) };
        let (now, seen) = (shared.env.monotonic(), shared.env.wall_micros());
        shared.lock(&shared.consumers)?.heard.insert(slot.clone(), now);
        let began = shared.control.change(|state| {
            let slots = &mut state.slots;
            let before = slots.iter().find(|known| known.name == *slot).filter(|known| !known.lost).cloned();
            let index = match slots.iter().position(|known| known.name == *slot) {
                Some(index) => index,
                None if slots.len() == Control::SLOTS_LIMIT => {
                    return Err(Error::Invalid("a log has at most 256 replicas; forget one that is gone"));
                }
                None => {
                    slots.push(Slot {
                        name: slot.clone(),
                        durable: ack.durable,
                        applied: ack.applied,
                        seen,
                        lost: false,
                    });
                    slots.len() - 1
                }
            };
            note(&mut slots[index], ack);
            slots[index].seen = seen;
            // What keeps less than before, or keeps something for the first time, must not be forgotten by a crash.
            Ok(before.is_none_or(|before| slots[index].durable < before.durable))
        })?;
        match began {
            true => shared.control.sync().map_err(|error| shared.poison(error)),
            false => Ok(()),
        }
    }

    /// Every slot, by name.
    pub fn slots(&self) -> Vec<SlotState> {
        let shared = self.shared();
        let now = shared.env.monotonic();
        let Ok(consumers) = shared.consumers.lock() else { return Vec::new() };
        let end = shared.view.durable.get();
        let cap = Some(consumers.retention.cap_bytes).filter(|cap| *cap < u64::MAX);
        let state = |slot: &Slot| SlotState {
            name: slot.name.clone(),
            ack: SlotAck { durable: slot.durable, applied: slot.applied },
            last_seen: slot.seen,
            silent: consumers.silent(&slot.name, now),
            lost: slot.lost,
            headroom: cap.map(|cap| cap.saturating_sub(end.since(slot.durable))),
        };
        let mut slots: Vec<SlotState> = shared.control.look(|control| control.slots.iter().map(state).collect());
        slots.sort_by(|a, b| a.name.cmp(&b.name));
        slots
    }

    /// Forgets a slot; durable when it returns. `false` if there was none.
    pub fn forget(&self, slot: &Name) -> Result<bool> {
        let shared = self.shared();
        shared.alive()?;
        let was_there = shared.control.change(|state| {
            let before = state.slots.len();
            state.slots.retain(|known| known.name != *slot);
            state.slots.len() < before
        });
        if !was_there {
            return Ok(false);
        }
        shared.control.sync().map_err(|error| shared.poison(error))?;
        shared.view.events.push(Event::Forgotten { slot: slot.clone() });
        Ok(true)
    }

    /// Says from where on the archive, the applier or the upstream's slowest replica needs the log; `None` for not at all.
    /// Kept in memory: say it after each open, before the first [`Wal::retain`].
    pub fn hold(&self, consumer: Consumer, from: Option<Lsn>) {
        let Ok(mut consumers) = self.shared().consumers.lock() else { return };
        match from {
            Some(from) => consumers.holds.insert(consumer, from),
            None => consumers.holds.remove(&consumer),
        };
    }

    /// What is kept, and for whom.
    pub fn retention(&self) -> Retention {
        self.shared().consumers.lock().map_or_else(|_| Retention::default(), |consumers| consumers.retention.clone())
    }

    /// Changes what is kept; takes effect at the next [`Wal::retain`].
    pub fn set_retention(&self, retention: Retention) {
        if let Ok(mut consumers) = self.shared().consumers.lock() {
            consumers.retention = retention;
        }
    }

    /// From where on the log is kept as things stand, and from where on it would be if `consumer` needed nothing.
    pub fn kept_without(&self, consumer: &Consumer) -> Result<(Lsn, Lsn)> {
        let shared = self.shared();
        let (retention, mut needs) = shared.needs()?;
        let extent = shared.extent(&retention)?;
        let kept = retention.decide(extent, &needs).keep_from;
        needs.retain(|need| need.consumer != *consumer);
        Ok((kept, retention.decide(extent, &needs).keep_from))
    }

    /// Trims what nobody needs, and takes their place from consumers that are beyond the cap or silent for too long. The
    /// threads of [`Wal::start`] do this after each seal and each second.
    pub fn retain(&self) -> Result<Trimmed> {
        let shared = self.shared();
        shared.alive()?;
        let (retention, needs) = shared.needs()?;
        let decision = retention.decide(shared.extent(&retention)?, &needs);
        let dropped: Vec<Dropped> = needs
            .iter()
            .filter(|need| decision.drop.contains(&need.consumer))
            .map(|need| Dropped {
                consumer: need.consumer.clone(),
                at: need.from,
                idle: retention.slot_idle < need.silent,
            })
            .collect();
        shared.take_places(&dropped)?;
        let holder = decision.blocked_by.as_ref().and_then(|holder| needs.iter().find(|need| need.consumer == *holder));
        shared.set_held(holder.map(|need| Full::Held {
            consumer: need.consumer.clone(),
            from: need.from,
            cap: retention.cap_bytes,
        }))?;
        let segments = shared.trim(decision.keep_from)?;
        shared.room.ring();
        Ok(Trimmed { first: shared.view.first(), segments, dropped, decision })
    }
}

impl Shared {
    /// What is to be kept, and who needs what.
    fn needs(&self) -> Result<(Retention, Vec<Need>)> {
        let now = self.env.monotonic();
        let consumers = self.lock(&self.consumers)?;
        let mut needs: Vec<Need> = self.control.look(|control| {
            let slots = control.slots.iter().filter(|slot| !slot.lost);
            slots
                .map(|slot| Need {
                    consumer: Consumer::Slot(slot.name.clone()),
                    from: slot.durable,
                    silent: consumers.silent(&slot.name, now),
                })
                .collect()
        });
        needs.extend(consumers.holds.iter().map(|(consumer, from)| Need {
            consumer: consumer.clone(),
            from: *from,
            silent: Duration::ZERO,
        }));
        Ok((consumers.retention.clone(), needs))
    }

    fn set_held(&self, held: Option<Full>) -> Result<()> {
        self.is_held.store(held.is_some(), Ordering::Relaxed);
        self.lock(&self.consumers)?.held = held;
        Ok(())
    }

    fn extent(&self, retention: &Retention) -> Result<Extent> {
        let (first, end) = (self.view.first(), self.view.durable.get());
        let aged = match retention.keep_age {
            // Without an age everything is old enough.
            Duration::ZERO => end,
            age => {
                let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                self.older_than(self.env.wall_micros().saturating_sub(age))?.unwrap_or(first)
            }
        };
        Ok(Extent { first, end, aged })
    }

    /// Where the newest segment begins before which every record is older than `time`.
    fn older_than(&self, time: u64) -> Result<Option<Lsn>> {
        let mut newest = None;
        for segment in self.view.all() {
            let chain = self.view.chain_of(&segment)?;
            if time <= chain.time {
                break;
            }
            newest = Some(chain.position);
        }
        Ok(newest)
    }

    /// Takes their place from consumers, durably, before anything that they might still have read is removed.
    fn take_places(&self, dropped: &[Dropped]) -> Result<()> {
        if dropped.is_empty() {
            return Ok(());
        }
        for Dropped { consumer, at, .. } in dropped {
            self.lock(&self.consumers)?.holds.remove(consumer);
            if let Consumer::Slot(name) = consumer {
                self.control.change(|state| {
                    state.slots.iter_mut().filter(|slot| slot.name == *name).for_each(|slot| slot.lost = true);
                });
            }
            self.view.events.push(Event::Dropped { consumer: consumer.clone(), at: *at });
        }
        self.control.sync().map_err(|error| self.poison(error))
    }

    /// Removes the oldest segments that lie wholly before `keep_from`, each durably before the next, so that a crash leaves
    /// no gap. A sealed one always stays, because the next seal names its digest.
    fn trim(&self, keep_from: Lsn) -> Result<usize> {
        let size = self.view.size;
        let mut removed = 0;
        let keep = size.base_of(keep_from);
        while let Some(segment) =
            self.view.pop_first(|second| second.base <= keep && second.base < self.view.sealed.get())
        {
            match self.view.dir.remove(&size.file_name(segment.base)) {
                Err(error) if Trouble::of(&error) != Trouble::NotFound => {
                    return Err(Error::io("remove a trimmed segment")(error));
                }
                _ => {}
            }
            self.view.dir.sync().map_err(|error| self.poison(Error::io("sync the log's directory")(error)))?;
            removed += 1;
        }
        if removed > 0 {
            self.view.events.push(Event::Trimmed { first: self.view.first() });
        }
        Ok(removed)
    }
}
