//! What the log's own records carry.

use crate::fault::LifeFault;
use crate::history::may_follow;
use crate::{Chain, EpochEntry, EpochHistory, FormatError, HistoryFault, Incarnation, Kind, Name};

/// The payload of [`Kind::EPOCH_START`]: the whole history, ending with the epoch that begins here.
/// The new entry says where the new epoch forks off (its start is this record's) and who began it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The history, the new life last.
    pub history: EpochHistory,
}

impl EpochStart {
    /// The payload as bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.history.encode()
    }

    /// The payload that exactly these bytes hold.
    pub fn decode(payload: &[u8]) -> Result<EpochStart, HistoryFault> {
        EpochHistory::decode(payload).map(|history| EpochStart { history })
    }
}

/// The payload of [`Kind::INCARNATION`]: the new incarnation of the epoch there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewIncarnation {
    /// The number, freshly drawn.
    pub incarnation: Incarnation,
}

impl NewIncarnation {
    /// The payload as bytes.
    pub fn encode(&self) -> [u8; 8] {
        self.incarnation.get().to_le_bytes()
    }

    /// The payload that exactly these bytes hold.
    pub fn decode(payload: &[u8]) -> Option<NewIncarnation> {
        let bytes = payload.try_into().ok()?;
        Some(NewIncarnation { incarnation: Incarnation::new(u64::from_le_bytes(bytes)) })
    }
}

/// The payload of [`Kind::MARK`]: a name that a replay can stop at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The name.
    pub name: Name,
}

impl Mark {
    /// The payload as bytes: the name's.
    pub fn encode(&self) -> &[u8] {
        self.name.as_str().as_bytes()
    }

    /// The payload that exactly these bytes hold.
    pub fn decode(payload: &[u8]) -> Result<Mark, FormatError> {
        let shown = &payload[..payload.len().min(2 * Name::MAX_LEN)];
        let name = Name::new(&String::from_utf8_lossy(shown))?;
        Ok(Mark { name })
    }
}

/// The life that a good record of `kind` with this payload begins, when `before` is the state
/// before it.
pub(crate) fn new_life(kind: Kind, payload: &[u8], before: &Chain) -> Result<EpochEntry, LifeFault> {
    let life = if kind == Kind::INCARNATION {
        let new = NewIncarnation::decode(payload).ok_or(LifeFault::Payload)?;
        EpochEntry { start: before.position, epoch: before.life.epoch, incarnation: new.incarnation }
    } else {
        let history = EpochStart::decode(payload).map_err(|_| LifeFault::Payload)?.history;
        match history.entries() {
            [.., last, new] if *last == before.life => *new,
            _ => return Err(LifeFault::Linkage),
        }
    };
    check_life(before, kind, &life)?;
    Ok(life)
}

/// Whether a record of `kind` after `before` may begin `life`.
pub(crate) fn check_life(before: &Chain, kind: Kind, life: &EpochEntry) -> Result<(), LifeFault> {
    let same_epoch = life.epoch == before.life.epoch;
    if life.start != before.position || same_epoch != (kind == Kind::INCARNATION) {
        return Err(LifeFault::Linkage);
    }
    may_follow(&before.life, life).map_err(LifeFault::Order)
}
