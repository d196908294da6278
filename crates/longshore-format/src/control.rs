//! The control file: what a node knows about a log beyond the log itself.

use thiserror::Error;

use crate::bytes::{Fields, is_zero};
use crate::control_codec as codec;
use crate::{Content, Digest, Epoch, EpochHistory, FormatError, LogId, Lsn, Name, Policy, SegmentSize, WriterId};

/// A node's own state of one log. It may be ahead of the log directory, never behind; any older
/// version of [`durable`](Control::durable) is also true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Which log.
    pub log: LogId,
    /// What the log's records mean.
    pub content: Content,
    /// The size of its segments.
    pub size: SegmentSize,
    /// The writer ids under which this node minted records, or tried to begin an epoch, oldest first. Only promises in
    /// records of these epochs speak of this node's disk.
    pub writers: Vec<WriterId>,
    /// The lives of the log.
    pub history: EpochHistory,
    /// The highest epoch this node ever accepted.
    pub highest: Epoch,
    /// The digest of the segment before the first one that this node ever held, if its log did not
    /// begin with the first segment: that segment's footer names it.
    pub before: Option<Digest>,
    /// Everything below is durable on this disk.
    pub durable: Lsn,
    /// Where the log ended when it was closed cleanly; `None` while it is open, and after a crash.
    pub clean: Option<Lsn>,
    /// This node acknowledged bytes up to here and then lost some; `None` once it has them again.
    pub lost: Option<Lsn>,
    /// Who follows this log, and how far each has come.
    pub slots: Vec<Slot>,
    /// The newest policies of the log, oldest first, each with the position that its record ends at: the last one holds, the
    /// one before it until the last is durable under both, and older ones after a truncation.
    pub policies: Vec<(Lsn, Policy)>,
    /// Of a follower that is shipped what its writer is still syncing: what lies before is durable at the writer, too, and nothing
    /// else is shown to anybody. `None` where all that is durable here is shown.
    pub shown: Option<Lsn>,
    /// A change to the directory that was decided and must be finished before anything else.
    pub intent: Option<Intent>,
}

/// How far one replica has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name: its certificate's identity.
    pub name: Name,
    /// It made everything below durable.
    pub durable: Lsn,
    /// It applied everything below.
    pub applied: Lsn,
    /// When it was last heard of, in microseconds since 1970 UTC; zero for never.
    pub seen: u64,
    /// It was dropped because it held back too much: it must be seeded again.
    pub lost: bool,
}

/// A change to a log's directory that takes several steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Intent {
    /// Cut the log to end at `at`, and keep the rest as a log of its own.
    Truncate {
        /// The new end.
        at: Lsn,
        /// When that was decided, in microseconds since 1970 UTC; names the place of the rest.
        time: u64,
    },
}

/// Why bytes are not a slot of a control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlFault {
    /// All zeros: never written.
    #[error("the control slot is empty")]
    Empty,
    /// Something else altogether.
    #[error("this is no longshore control file")]
    Magic,
    /// Whole, and written by a later version.
    #[error("the control file was written by a newer version: format {0}, this version reads up to 3")]
    NewerVersion(u16),
    /// Torn or damaged.
    #[error("the control slot does not match its checksum")]
    Checksum,
    /// Whole, but a field says what cannot be.
    #[error("the control slot has an impossible {0}")]
    Field(&'static str),
}

impl Control {
    /// The two slots of the file are this far apart, and each is this long.
    pub const SLOT_LEN: usize = 64 << 10;
    /// The most writer ids of its own that a node keeps: as many as a history has entries.
    pub const WRITERS_LIMIT: usize = EpochHistory::LIMIT;
    /// The most replicas that can follow a log.
    pub const SLOTS_LIMIT: usize = 256;
    /// The most policies that are kept.
    pub const POLICIES_LIMIT: usize = 4;
    /// The newest version that this code reads. It writes the lowest that says all: 2 where there are policies, 3 where not all is
    /// shown.
    pub const VERSION: u16 = 3;

    fn version(&self) -> u16 {
        match self.shown {
            Some(_) => 3,
            None if self.policies.is_empty() => 1,
            None => 2,
        }
    }

    /// What this node knows to be durable on its own disk: by the saved watermark, by the clean end, and by acks, of which
    /// no more was noted than was durable here when they came.
    pub fn known_durable(&self) -> Lsn {
        let acked = self.slots.iter().map(|slot| slot.durable).max().unwrap_or(Lsn::ZERO);
        self.size.normalise(self.durable.max(acked).max(self.clean.unwrap_or(Lsn::ZERO)))
    }

    /// Notes an id under which this node begins an epoch, or tries to; forgets the oldest if there are too many.
    pub fn push_writer(&mut self, writer: WriterId) {
        if self.writers.contains(&writer) {
            return;
        }
        if self.writers.len() == Control::WRITERS_LIMIT {
            self.writers.remove(0);
        }
        self.writers.push(writer);
    }

    /// Notes a policy whose record ends at `end`, forgetting the oldest if there are too many; what ended at or after it is
    /// superseded.
    pub fn push_policy(&mut self, end: Lsn, policy: Policy) {
        self.cut_policies(Lsn::new(end.get().saturating_sub(1)));
        if self.policies.len() == Control::POLICIES_LIMIT {
            self.policies.remove(0);
        }
        self.policies.push((end, policy));
    }

    /// Of the newest policies of a log, those whose records end at or before `at`: what held there can be told from them. `None`
    /// where that is forgotten, because so many came later that not both of a change that may have been under way are left.
    ///
    /// ```
    /// use longshore_format::{Control, Lsn, Name, Policy, Shortfall};
    ///
    /// let policy = Policy {
    ///     writer: Name::new("eu")?,
    ///     durability: "replicas:1".to_owned(),
    ///     shortfall: Shortfall::Block,
    ///     degraded: false,
    ///     voters: Vec::new(),
    /// };
    /// let newest = |count: u64| (1..=count).map(|at| (Lsn::new(at * 100), policy.clone())).collect::<Vec<_>>();
    /// let known = |count, at| Control::policies_at(&newest(count), Lsn::new(at)).map(<[_]>::len);
    /// assert_eq!(known(1, 99), Some(0), "there was none yet");
    /// assert_eq!(known(3, 100), Some(1));
    /// assert_eq!(known(4, 200), Some(2));
    /// assert_eq!(known(4, 199), None, "it may be the new one of a change whose old one is forgotten");
    /// # Ok::<(), longshore_format::FormatError>(())
    /// ```
    pub fn policies_at(newest: &[(Lsn, Policy)], at: Lsn) -> Option<&[(Lsn, Policy)]> {
        let known = newest.partition_point(|(end, _)| *end <= at);
        let forgotten = Control::POLICIES_LIMIT <= newest.len() && known < 2;
        (!forgotten).then(|| &newest[..known])
    }

    /// Forgets the policies whose records end after `end`.
    pub fn cut_policies(&mut self, end: Lsn) {
        self.policies.retain(|(at, _)| *at <= end);
    }

    /// The bytes to write at the start of a slot; of two good slots the one with the greater
    /// `sequence` counts. What lies after them in the slot does not matter.
    ///
    /// # Errors
    /// If there are more writers or slots than fit.
    pub fn encode_slot(&self, sequence: u64) -> Result<Vec<u8>, FormatError> {
        let payload = codec::encode(self)?;
        let mut bytes = Vec::with_capacity(PRELUDE + payload.len() + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.version().to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&payload);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// The sequence number and the state that a slot beginning with these bytes holds.
    pub fn decode_slot(bytes: &[u8]) -> Result<(u64, Control), ControlFault> {
        let bytes = &bytes[..bytes.len().min(Control::SLOT_LEN)];
        if is_zero(bytes) {
            return Err(ControlFault::Empty);
        }
        let mut fields = Fields(bytes);
        if fields.take(MAGIC.len()) != Some(MAGIC) {
            return Err(ControlFault::Magic);
        }
        let torn = ControlFault::Checksum;
        let version = fields.u16().ok_or(torn)?;
        let reserved = fields.u16().ok_or(torn)?;
        let length = fields.u32().ok_or(torn)? as usize;
        let sequence = fields.u64().ok_or(torn)?;
        let payload = fields.take(length).ok_or(torn)?;
        let covered = &bytes[..PRELUDE + length];
        if fields.u32() != Some(crc32fast::hash(covered)) {
            return Err(torn);
        }
        if version > Control::VERSION {
            return Err(ControlFault::NewerVersion(version));
        }
        if version == 0 || reserved != 0 {
            return Err(ControlFault::Field("version"));
        }
        Ok((sequence, codec::decode(payload, version)?))
    }

    /// Of the two slots of a control file, the newest good one: its number (0 or 1), its sequence
    /// number and its state.
    ///
    /// # Errors
    /// If neither is good, or one was written by a newer version (F-021, F-047).
    pub fn newest(slots: [&[u8]; 2]) -> Result<(usize, u64, Control), ControlFault> {
        let mut newest: Option<(usize, u64, Control)> = None;
        let mut fault = ControlFault::Empty;
        for (number, slot) in slots.into_iter().enumerate() {
            match Control::decode_slot(slot) {
                Ok((sequence, control)) => {
                    if newest.as_ref().is_none_or(|(_, best, _)| *best < sequence) {
                        newest = Some((number, sequence, control));
                    }
                }
                Err(newer @ ControlFault::NewerVersion(_)) => return Err(newer),
                Err(ControlFault::Empty) => {}
                Err(other) => fault = other,
            }
        }
        newest.ok_or(fault)
    }
}

const MAGIC: &[u8] = b"LONGCTRL";
/// Magic, version, reserved, length, sequence.
const PRELUDE: usize = 24;
