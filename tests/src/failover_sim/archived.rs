//! What was acknowledged as archived, and which epochs began without it.

use std::collections::BTreeMap;

use longshore_format::{Epoch, WriterId};

use super::clock::Moment;
use super::ledger::Ledger;
use super::record::{Id, Records, What};
use super::world::{Step, World};

/// What any writer ever acknowledged as archived, and whoever began an epoch since.
///
/// An archive has no vote, so a later epoch may begin without what is archived while that is under way. Not without what was
/// acknowledged when the archive was asked: whatever an epoch leaves behind, and sets aside in the archive, was acknowledged
/// later than that.
#[derive(Debug, Default)]
pub(super) struct ArchivedLedger {
    acknowledged: BTreeMap<Id, Acknowledged>,
    reached: BTreeMap<(u64, WriterId), usize>,
    /// When the archive was asked for each epoch that was to begin, if it answered.
    asked: BTreeMap<(u64, WriterId), Option<Moment>>,
}

#[derive(Debug)]
struct Acknowledged {
    position: usize,
    epoch: u64,
    at: Moment,
    /// It is in a branch that has a name: no promotion is told of it any more.
    set_aside: bool,
}

impl ArchivedLedger {
    /// Whether `log` leaves a record behind that it may: a later epoch in it asked the archive before that was acknowledged.
    fn may_lack(&self, acknowledged: &Acknowledged, log: &[Id], records: &Records) -> bool {
        log.iter().any(|id| {
            let What::EpochStart(life) = &records.get(*id).what else { return false };
            let asked = self.asked.get(&(life.epoch.number, life.epoch.writer)).copied().flatten();
            acknowledged.epoch < life.epoch.number && asked.is_none_or(|asked| asked <= acknowledged.at)
        })
    }
}

impl Ledger {
    /// An epoch is to begin with the last record of `log`; `asked` is when the archive said what it had.
    pub(super) fn goes_on(&mut self, epoch: Epoch, asked: Option<Moment>, log: &[Id], records: &Records) -> Step {
        self.archived.asked.insert((epoch.number, epoch.writer), asked);
        if self.loss_accepted {
            return Ok(());
        }
        for (id, acknowledged) in &self.archived.acknowledged {
            let Acknowledged { position, epoch: by, at, set_aside } = acknowledged;
            let lacks = !set_aside && *by < epoch.number && log.get(*position) != Some(id);
            if lacks && !self.archived.may_lack(acknowledged, log, records) {
                return Err(format!(
                    "epoch {} begins without record {id} at {position}, which epoch {by} acknowledged as archived at {} ms, \
                     before the archive was asked at {asked:?}",
                    epoch.number,
                    at / 1000,
                ));
            }
        }
        Ok(())
    }
}

impl Ledger {
    /// A log has parted from what is archived, and these records are a branch.
    pub(super) fn sets_aside(&mut self, ids: &[Id], log: &[Id], records: &Records) -> Step {
        for id in ids {
            let Some(acknowledged) = self.archived.acknowledged.get(id) else { continue };
            let may = acknowledged.set_aside || self.archived.may_lack(acknowledged, log, records);
            if !may && !self.loss_accepted {
                let Acknowledged { position, epoch, .. } = acknowledged;
                return Err(format!(
                    "record {id} at {position}, which epoch {epoch} acknowledged as archived, is set aside in the archive"
                ));
            }
            self.archived.acknowledged.get_mut(id).expect("it is there").set_aside = true;
        }
        Ok(())
    }
}

impl World {
    /// Waits for what is archived end up to there.
    pub(super) fn acknowledge_archived(&mut self, number: usize, epoch: Epoch, archived: usize) -> Step {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        let node = &self.nodes[number];
        let ledger = &mut self.ledger.archived;
        let reached = ledger.reached.entry((epoch.number, epoch.writer)).or_insert(0);
        let before = std::mem::replace(reached, archived.max(*reached));
        if archived <= before {
            return Ok(());
        }
        let log = node.copy.log().get(..archived).ok_or_else(|| {
            format!("{} acknowledges {archived} records as archived and has {}", node.id, node.copy.log().len())
        })?;
        for (position, id) in log.iter().enumerate().skip(before) {
            if !bucket.holds(position, *id) {
                return Err(format!("{} acknowledges record {id} at {position} as archived, and it is not", node.id));
            }
            let acknowledged = Acknowledged { position, epoch: epoch.number, at: self.at, set_aside: false };
            ledger.acknowledged.entry(*id).or_insert(acknowledged);
        }
        self.tally.archived += (archived - before) as u64;
        Ok(())
    }
}
