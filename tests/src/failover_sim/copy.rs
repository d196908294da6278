//! A node's copy of the log: what is in memory, and what of it a crash leaves.

use std::convert::Infallible;
use std::rc::Rc;

use longshore_format::{Content, Epoch, EpochHistory, LogId, Lsn, SegmentSize, WriterId};
use longshore_protocol::{GivenUp, GivenWay, Holding, LogState, NodeId, Policy, Witness, in_force};

use super::record::{Id, Records, What, index, lsn};

const LOG: LogId = LogId::from_bytes([1; 16]);

/// One copy. Its lives and policies are those of its records, those that are not durable yet among them.
#[derive(Debug)]
pub(super) struct Copy {
    log: Vec<Id>,
    synced: usize,
    /// How much of it is shown to anybody, where not all is.
    shown: Option<usize>,
    history: EpochHistory,
    policies: Vec<(Lsn, Rc<Policy>)>,
    accepted: Epoch,
    accepted_synced: Epoch,
    /// The epochs that were begun or were to be begun here.
    own: Vec<WriterId>,
    /// To whom it gave way, as far as it remembers.
    given_way: GivenWay,
    /// What it was to begin and gave up, as far as it remembers.
    given_up: GivenUp,
    lost: Option<usize>,
}

impl Copy {
    /// An empty copy of a log whose first life is known.
    pub(super) fn new(history: EpochHistory) -> Copy {
        let accepted = history.current().epoch;
        Copy {
            log: Vec::new(),
            synced: 0,
            shown: None,
            history,
            policies: Vec::new(),
            accepted,
            accepted_synced: accepted,
            own: Vec::new(),
            given_way: GivenWay::default(),
            given_up: GivenUp::default(),
            lost: None,
        }
    }

    pub(super) fn log(&self) -> &[Id] {
        &self.log
    }

    pub(super) fn synced(&self) -> usize {
        self.synced
    }

    /// How much of what is durable here is passed on and archived.
    pub(super) fn shown(&self) -> usize {
        self.shown.map_or(self.synced, |shown| shown.min(self.synced))
    }

    /// Nothing beyond `from` is shown before somebody says so.
    pub(super) fn hold_back(&mut self, from: usize) {
        self.shown = Some(from);
    }

    /// Whether it may hold what it does not show.
    pub(super) fn holds_back(&self) -> bool {
        self.shown.is_some()
    }

    /// The writer has made durable what lies before `to`.
    pub(super) fn show_up_to(&mut self, to: usize) {
        self.shown = self.shown.map(|shown| shown.max(to));
    }

    /// Whatever comes is durable at the writer.
    pub(super) fn show_all(&mut self) {
        self.shown = None;
    }

    pub(super) fn history(&self) -> &EpochHistory {
        &self.history
    }

    pub(super) fn accepted(&self) -> Epoch {
        self.accepted
    }

    /// Puts a record at the end; false if it does not belong there.
    pub(super) fn append(&mut self, id: Id, records: &Records) -> bool {
        let record = records.get(id);
        if record.before != self.log.last().copied() {
            return false;
        }
        if let What::EpochStart(life) | What::Incarnation(life) = &record.what
            && self.history.push(*life).is_err()
        {
            return false;
        }
        self.log.push(id);
        if let What::Policy(policy) = &record.what {
            self.policies.push((lsn(self.log.len()), Rc::clone(policy)));
        }
        true
    }

    /// Makes all of it durable.
    pub(super) fn sync(&mut self) {
        self.synced = self.log.len();
        self.lost.take_if(|lost| *lost <= self.synced);
    }

    /// Accepts an epoch for ever, durable when this returns; false if a later one was accepted, or another of its number.
    pub(super) fn accept(&mut self, epoch: Epoch) -> bool {
        let another = epoch.number == self.accepted.number && epoch != self.accepted;
        if epoch.number < self.accepted.number || another {
            return false;
        }
        self.given_way.accepts(epoch, self.accepted, self.history.current().epoch);
        self.accepted = epoch;
        self.accepted_synced = epoch;
        true
    }

    /// Accepts an epoch that this node wants to begin.
    pub(super) fn accept_own(&mut self, epoch: Epoch) -> bool {
        let accepted = self.accept(epoch);
        if accepted {
            self.own.push(epoch.writer);
        }
        accepted
    }

    /// Whether this node minted the last epoch of its log.
    pub(super) fn is_own(&self) -> bool {
        self.own.contains(&self.history.current().epoch.writer)
    }

    /// It was to begin an epoch, and does not.
    pub(super) fn gives_up(&mut self, epoch: Epoch) {
        self.given_up.notes(epoch, self.history.current().epoch);
    }

    /// Makes the first life one that was minted here.
    pub(super) fn own_first_life(&mut self) {
        self.own.push(self.history.current().epoch.writer);
    }

    /// Whether a record of this epoch's says what the log promises.
    pub(super) fn has_policy_of_epoch(&self) -> bool {
        self.policies.last().is_some_and(|(end, _)| lsn(self.epoch_start()) < *end)
    }

    /// Where the last epoch begins.
    pub(super) fn epoch_start(&self) -> usize {
        let epoch = self.history.current().epoch;
        let first = self.history.entries().iter().find(|life| life.epoch == epoch);
        index(first.expect("the current life is one of them").start)
    }

    /// The newest policy, and where its record ends.
    pub(super) fn policy(&self) -> Option<(Lsn, &Policy)> {
        self.policies.last().map(|(end, policy)| (*end, &**policy))
    }

    /// The policies that hold.
    pub(super) fn in_force(&self) -> Vec<Policy> {
        in_force(&self.policies).iter().map(|(_, policy)| (**policy).clone()).collect()
    }

    /// Whether a change of the policy is under way.
    pub(super) fn is_changing(&self) -> bool {
        1 < in_force(&self.policies).len()
    }

    /// A crash: of what is not durable only as much stays as ends at `kept`.
    pub(super) fn crash(&mut self, kept: usize) {
        self.cut(kept.max(self.synced));
        self.synced = self.log.len();
        self.accepted = self.accepted_synced;
        (self.given_way, self.given_up) = (GivenWay::default(), GivenUp::default());
    }

    /// What histories prove to be no part of the log is set aside.
    pub(super) fn truncate(&mut self, to: usize) {
        self.cut(to);
        self.synced = self.log.len();
    }

    /// The disk loses what it had promised to keep, down to `to`, and the node finds out.
    pub(super) fn tear(&mut self, to: usize) {
        self.lost = self.lost.max(Some(self.synced));
        self.cut(to);
        self.synced = self.log.len();
    }

    /// Whether it misses what its disk had promised to keep.
    pub(super) fn has_lost(&self) -> bool {
        self.lost.is_some()
    }

    fn cut(&mut self, to: usize) {
        if self.log.len() <= to {
            return;
        }
        self.log.truncate(to);
        self.policies.retain(|(end, _)| *end <= lsn(to));
        let first = || EpochHistory::new(self.history.entries()[0]);
        self.history = self.history.before(lsn(to)).unwrap_or_else(first);
    }

    /// As it is told to an upstream.
    pub(super) fn holding(&self, records: &Records) -> Holding {
        Holding {
            log: LOG,
            content: Content::Bytes,
            segment_size: SegmentSize::MIN,
            history: self.history.clone(),
            first: lsn(0),
            end: lsn(self.log.len()),
            last_crc: records.crc(self.log.last().copied()),
            accepted: self.accepted,
            lost: self.lost.map(lsn),
            applied: None,
        }
    }

    /// As it is told to whoever promotes.
    pub(super) fn witness(&self, node: NodeId, records: &Records) -> Witness {
        Witness {
            node,
            history: self.history.clone(),
            first: lsn(0),
            end: lsn(self.synced),
            accepted: self.accepted,
            writes: self.is_own(),
            lost: self.lost.map(lsn),
            policies: in_force(&self.policies).iter().map(|(end, policy)| (*end, (**policy).clone())).collect(),
            time: self.log.last().map_or(0, |last| records.get(*last).time),
            gave_way: self.given_way.before(self.accepted, self.history.current().epoch),
            given_up: self.given_up.after(self.history.current().epoch),
        }
    }

    /// As a verdict on another copy sees it.
    pub(super) fn view<'a>(&'a self, records: &'a Records, writes: bool) -> View<'a> {
        View { copy: self, records, writes, end: self.shown() }
    }

    /// With what it holds back, for one that holds back, too.
    pub(super) fn whole<'a>(&'a self, records: &'a Records) -> View<'a> {
        View { copy: self, records, writes: false, end: self.synced }
    }

    /// The checksum of the record that ends at `at`, if one does.
    pub(super) fn crc_at(&self, at: Lsn, records: &Records) -> Option<u32> {
        let end = index(at);
        (lsn(end) == at && end <= self.log.len()).then(|| records.crc(self.last_before(end)))
    }

    fn last_before(&self, end: usize) -> Option<Id> {
        end.checked_sub(1).map(|last| self.log[last])
    }
}

/// A copy up to the end of what it shows.
pub(super) struct View<'a> {
    copy: &'a Copy,
    records: &'a Records,
    writes: bool,
    end: usize,
}

impl LogState for View<'_> {
    type Error = Infallible;

    fn log(&self) -> LogId {
        LOG
    }
    fn content(&self) -> Content {
        Content::Bytes
    }
    fn segment_size(&self) -> SegmentSize {
        SegmentSize::MIN
    }
    fn history(&self) -> &EpochHistory {
        &self.copy.history
    }
    fn accepted(&self) -> Epoch {
        self.copy.accepted
    }
    fn first(&self) -> Lsn {
        lsn(0)
    }
    fn end(&self) -> Lsn {
        lsn(self.end)
    }
    fn writes(&self) -> bool {
        self.writes
    }
    fn boundary(&self, at: Lsn) -> Result<(Lsn, u32), Infallible> {
        let end = index(at);
        Ok((lsn(end), self.records.crc(self.copy.last_before(end))))
    }
}
