//! What a node that is to be promoted asks the archive, and fetches from it.

use longshore_format::{Epoch, Lsn};
use longshore_protocol::{Archived, Beside, Witness};

use super::archive::Reply;
use super::bucket::Seen;
use super::clock::{Moment, SECOND};
use super::record::lsn;
use super::shape::name;
use super::world::{Step, World};

/// What an attempt knows of the archive.
#[derive(Debug, Default)]
pub(super) struct Consultation {
    /// The question that is not answered yet, and until when that is waited for.
    pending: Option<(u64, Moment)>,
    /// What is archived, as of when the store said so.
    heard: Option<(Option<Seen>, Moment)>,
    /// The question whose answer brings what this copy lacks.
    fetches: Option<u64>,
}

/// Whether an epoch may begin, as far as the archive goes.
pub(super) enum Consulted {
    /// It may, here; `loses` if it does without what the archive has.
    Begin { loses: bool },
    /// Not yet.
    Wait,
    /// Not at all.
    Refused(String),
}

impl Consultation {
    /// Whether the answer is still to come.
    pub(super) fn is_pending(&self, at: Moment) -> bool {
        self.pending.is_some_and(|(_, until)| at < until)
    }

    /// What is archived, if the store has said so.
    fn archived(&self) -> Option<Archived> {
        let (_, manifest) = self.heard.as_ref()?.0.as_ref()?;
        Some(manifest.archived())
    }

    /// A number below which an epoch of a new attempt must not be.
    pub(super) fn next_number(&self) -> u64 {
        self.archived().map_or(0, |archived| archived.epoch() + 1)
    }

    /// Where a later epoch began that the archive knows of, if this copy goes on beyond that: its end may be what died then.
    pub(super) fn later(&self, copy: &Witness) -> Option<Lsn> {
        match self.archived()?.beside(copy) {
            Beside::Later { at } => Some(at),
            _ => None,
        }
    }

    /// When the store said what is archived.
    pub(super) fn asked(&self) -> Option<Moment> {
        self.heard.as_ref().map(|(_, served)| *served)
    }
}

impl World {
    /// Asks what is archived.
    pub(super) fn consult(&mut self, number: usize) -> Consultation {
        if self.bucket.is_none() {
            return Consultation::default();
        }
        let pending = Some((self.read_bucket(number), self.at + 5 * SECOND));
        Consultation { pending, ..Consultation::default() }
    }

    /// An answer of the store that a promotion waits for; `false` if none does.
    pub(super) fn replied_to_promotion(
        &mut self,
        number: usize,
        errand: u64,
        reply: &Reply,
        served: Moment,
    ) -> Step<bool> {
        let Some(consultation) = self.nodes[number].attempt.as_mut().map(|attempt| &mut attempt.consultation) else {
            return Ok(false);
        };
        let Reply::Holds(holds) = reply else { return Ok(false) };
        if consultation.pending.take_if(|(pending, _)| *pending == errand).is_some() {
            consultation.heard = Some((holds.clone(), served));
            return Ok(true);
        }
        if consultation.fetches.take_if(|fetches| *fetches == errand).is_none() {
            return Ok(false);
        }
        self.take_archived(number).map(|()| true)
    }

    /// Whether the epoch may begin where this copy ends. `over` says that nothing more is waited for.
    pub(super) fn consulted(&mut self, number: usize, epoch: Epoch, (loss, over): (bool, bool)) -> Consulted {
        if self.bucket.is_none() {
            return Consulted::Begin { loses: false };
        }
        let node = &mut self.nodes[number];
        let witness = node.copy.witness(node.id.clone(), &self.records);
        let Some(attempt) = &mut node.attempt else { return Consulted::Wait };
        if attempt.consultation.is_pending(self.at) || attempt.consultation.fetches.is_some() && !over {
            return Consulted::Wait;
        }
        if attempt.consultation.heard.is_none() {
            self.tally.archive_silent += 1;
            return Consulted::Begin { loses: false };
        }
        let Some(archived) = attempt.consultation.archived() else { return Consulted::Begin { loses: false } };
        if epoch.number <= archived.epoch() {
            self.heard_of(number, archived.history.current().epoch);
            return Consulted::Refused(format!("the archive knows of epoch {}", archived.epoch()));
        }
        match archived.beside(&witness) {
            Beside::Later { at } if !loss => {
                self.tally.refused_archive += 1;
                Consulted::Refused(format!("the archive has epoch {} from {at} on", archived.epoch()))
            }
            Beside::Beyond { to } if !over => {
                self.note(|| format!("{} fetches from the archive up to {to}", name(number)));
                self.hang_up(number);
                let fetches = Some(self.read_bucket(number));
                if let Some(attempt) = &mut self.nodes[number].attempt {
                    attempt.consultation.fetches = fetches;
                }
                Consulted::Wait
            }
            Beside::Beyond { to } if !loss => Consulted::Refused(format!("what is archived up to {to} does not come")),
            Beside::Later { .. } | Beside::Beyond { .. } => Consulted::Begin { loses: true },
            Beside::Within | Beside::Dead { .. } | Beside::Unrelated => Consulted::Begin { loses: false },
        }
    }

    /// Appends what is archived beyond this copy, as it was when the store was asked first.
    fn take_archived(&mut self, number: usize) -> Step {
        self.hang_up(number);
        let node = &mut self.nodes[number];
        node.copy.sync();
        let witness = node.copy.witness(node.id.clone(), &self.records);
        let heard = node.attempt.as_ref().and_then(|attempt| attempt.consultation.heard.clone());
        let Some((Some((_, manifest)), _)) = heard else { return Ok(()) };
        let Beside::Beyond { to } = manifest.archived().beside(&witness) else { return Ok(()) };
        let from = self.nodes[number].copy.log().len();
        for id in manifest.log.iter().skip(from) {
            if !self.append(number, *id)? {
                return Err(format!("{} fetches what does not follow its last record", name(number)));
            }
        }
        self.tally.archive_fetches += 1;
        let copy = &mut self.nodes[number].copy;
        copy.sync();
        copy.show_up_to(copy.log().len());
        assert_eq!(lsn(copy.synced()), to, "all of it was fetched");
        let epoch = copy.history().current().epoch;
        if copy.accepted().number < epoch.number {
            copy.accept(epoch);
        }
        Ok(())
    }
}
