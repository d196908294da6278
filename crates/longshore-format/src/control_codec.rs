//! The payload of a control slot, as bytes.

use crate::bytes::Fields;
use crate::control::{Control, ControlFault, Intent, Slot};
use crate::{Content, Digest, Epoch, EpochHistory, FormatError, LogId, Lsn, Name, Policy, SegmentSize, WriterId};

pub(crate) fn encode(control: &Control) -> Result<Vec<u8>, FormatError> {
    within("writer ids", Control::WRITERS_LIMIT, control.writers.len())?;
    within("policies", Control::POLICIES_LIMIT, control.policies.len())?;
    within("replicas", Control::SLOTS_LIMIT, control.slots.len())?;
    let mut bytes = Vec::with_capacity(256 + control.slots.len() * SLOT_MAX);
    bytes.extend_from_slice(control.log.as_bytes());
    bytes.push(control.content.code());
    bytes.extend_from_slice(&(control.size.get() as u32).to_le_bytes());
    bytes.extend_from_slice(&control.highest.number.to_le_bytes());
    bytes.extend_from_slice(control.highest.writer.as_bytes());
    bytes.extend_from_slice(&control.durable.get().to_le_bytes());
    push_option(&mut bytes, control.clean.map(|lsn| lsn.get().to_le_bytes()));
    push_option(&mut bytes, control.lost.map(|lsn| lsn.get().to_le_bytes()));
    push_option(&mut bytes, control.before.map(|digest| *digest.as_bytes()));
    bytes.extend_from_slice(&control.history.encode());
    bytes.push(control.writers.len() as u8);
    for writer in &control.writers {
        bytes.extend_from_slice(writer.as_bytes());
    }
    bytes.extend_from_slice(&(control.slots.len() as u16).to_le_bytes());
    for slot in &control.slots {
        push_slot(&mut bytes, slot);
    }
    if !control.policies.is_empty() || control.shown.is_some() {
        bytes.push(control.policies.len() as u8);
    }
    for (end, policy) in &control.policies {
        let policy = policy.encode()?;
        bytes.extend_from_slice(&end.get().to_le_bytes());
        bytes.extend_from_slice(&(policy.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&policy);
    }
    if let Some(shown) = control.shown {
        bytes.extend_from_slice(&shown.get().to_le_bytes());
    }
    push_intent(&mut bytes, control.intent);
    Ok(bytes)
}

/// Reads what version 1, 2 or 3 wrote; from 2 on there are policies, from 3 on what is shown.
pub(crate) fn decode(payload: &[u8], version: u16) -> Result<Control, ControlFault> {
    let field = ControlFault::Field;
    let mut fields = Fields(payload);
    let control = Control {
        log: LogId::from_bytes(fields.array().ok_or(field("log id"))?),
        content: fields.u8().and_then(Content::from_code).ok_or(field("content"))?,
        size: fields.u32().and_then(|size| SegmentSize::new(size.into()).ok()).ok_or(field("segment size"))?,
        highest: take_epoch(&mut fields).ok_or(field("epoch"))?,
        durable: fields.lsn().ok_or(field("watermark"))?,
        clean: take_option(&mut fields, Fields::lsn).ok_or(field("clean end"))?,
        lost: take_option(&mut fields, Fields::lsn).ok_or(field("lost position"))?,
        before: take_option(&mut fields, |fields| fields.array().map(Digest::from_bytes)).ok_or(field("digest"))?,
        history: EpochHistory::take(&mut fields).map_err(|_| field("history"))?,
        writers: take_writers(&mut fields).ok_or(field("writer ids"))?,
        slots: take_slots(&mut fields).ok_or(field("replicas"))?,
        policies: match version {
            1 => Vec::new(),
            _ => take_policies(&mut fields).ok_or(field("policies"))?,
        },
        shown: match version {
            ..3 => None,
            _ => Some(fields.lsn().ok_or(field("shown position"))?),
        },
        intent: take_intent(&mut fields).ok_or(field("intent"))?,
    };
    if fields.0.is_empty() { Ok(control) } else { Err(field("length")) }
}

fn within(what: &'static str, limit: usize, got: usize) -> Result<(), FormatError> {
    if got <= limit { Ok(()) } else { Err(FormatError::TooMany { what, limit, got }) }
}

/// One byte that says whether the value follows, then the value.
fn push_option<const N: usize>(bytes: &mut Vec<u8>, value: Option<[u8; N]>) {
    bytes.push(value.is_some().into());
    bytes.extend_from_slice(value.as_ref().map_or(&[], |value| value.as_slice()));
}

/// The outer `Option` is whether the bytes held up.
fn take_option<'a, T>(fields: &mut Fields<'a>, take: impl FnOnce(&mut Fields<'a>) -> Option<T>) -> Option<Option<T>> {
    match fields.u8()? {
        0 => Some(None),
        1 => Some(Some(take(fields)?)),
        _ => None,
    }
}

fn take_epoch(fields: &mut Fields<'_>) -> Option<Epoch> {
    Some(Epoch { number: fields.u64()?, writer: WriterId::from_bytes(fields.array()?) })
}

fn take_writers(fields: &mut Fields<'_>) -> Option<Vec<WriterId>> {
    let count = Some(usize::from(fields.u8()?)).filter(|n| *n <= Control::WRITERS_LIMIT)?;
    (0..count).map(|_| fields.array().map(WriterId::from_bytes)).collect()
}

fn push_slot(bytes: &mut Vec<u8>, slot: &Slot) {
    let name = slot.name.as_str().as_bytes();
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&slot.durable.get().to_le_bytes());
    bytes.extend_from_slice(&slot.applied.get().to_le_bytes());
    bytes.extend_from_slice(&slot.seen.to_le_bytes());
    bytes.push(slot.lost.into());
}

fn take_slots(fields: &mut Fields<'_>) -> Option<Vec<Slot>> {
    let count = Some(usize::from(fields.u16()?)).filter(|n| *n <= Control::SLOTS_LIMIT)?;
    (0..count).map(|_| take_slot(fields)).collect()
}

fn take_slot(fields: &mut Fields<'_>) -> Option<Slot> {
    let name_len = fields.u8()?.into();
    let name = std::str::from_utf8(fields.take(name_len)?).ok()?;
    Some(Slot {
        name: Name::new(name).ok()?,
        durable: fields.lsn()?,
        applied: fields.lsn()?,
        seen: fields.u64()?,
        lost: match fields.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        },
    })
}

fn take_policies(fields: &mut Fields<'_>) -> Option<Vec<(Lsn, Policy)>> {
    let count = Some(usize::from(fields.u8()?)).filter(|n| *n <= Control::POLICIES_LIMIT)?;
    let take = |_| {
        let (end, length) = (fields.lsn()?, fields.u16()?.into());
        Some((end, Policy::decode(fields.take(length)?)?))
    };
    (0..count).map(take).collect()
}

fn push_intent(bytes: &mut Vec<u8>, intent: Option<Intent>) {
    match intent {
        None => bytes.push(0),
        Some(Intent::Truncate { at, time }) => {
            bytes.push(1);
            bytes.extend_from_slice(&at.get().to_le_bytes());
            bytes.extend_from_slice(&time.to_le_bytes());
        }
    }
}

fn take_intent(fields: &mut Fields<'_>) -> Option<Option<Intent>> {
    match fields.u8()? {
        0 => Some(None),
        1 => Some(Some(Intent::Truncate { at: fields.lsn()?, time: fields.u64()? })),
        _ => None,
    }
}

/// The longest encoding of one replica's slot.
const SLOT_MAX: usize = 1 + Name::MAX_LEN + 3 * 8 + 1;
