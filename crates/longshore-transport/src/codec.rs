//! Messages as protobuf, refused before they can do harm.

use std::marker::PhantomData;

use bytes::Buf;
use prost::{Message, encoding::decode_varint};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

use crate::Error;

/// The most fields at the top of one message.
///
/// An empty element of a list takes two bytes on the wire and many in memory, so that a bound on a
/// message's bytes is none on what it becomes. This one is (F-101); lists deeper down stand in messages
/// whose bytes are bounded tightly.
const MAX_FIELDS: usize = (1 << 16) + 16;

/// The codec of every call.
pub(crate) struct Bounded<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Bounded<T, U> {
    fn default() -> Self {
        Bounded(PhantomData)
    }
}

impl<T, U> Codec for Bounded<T, U>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(PhantomData)
    }
}

/// Decodes messages that are within the bounds.
pub(crate) struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // All of the message is in one piece here.
        check_fields(buffer.chunk())?;
        let message = U::decode(buffer).map_err(Error::malformed)?;
        Ok(Some(message))
    }
}

/// Counts the fields at the top of a message, without looking into them.
fn check_fields(mut message: &[u8]) -> Result<(), Error> {
    let cut_off = || Error::malformed("a field is cut off");
    let mut count = 0;
    while message.has_remaining() {
        count += 1;
        if count > MAX_FIELDS {
            return Err(Error::malformed(format!("more than {MAX_FIELDS} fields")));
        }
        let key = decode_varint(&mut message).map_err(Error::malformed)?;
        let len = match key & 7 {
            0 => {
                decode_varint(&mut message).map_err(Error::malformed)?;
                0
            }
            1 => 8,
            2 => decode_varint(&mut message).map_err(Error::malformed)?,
            5 => 4,
            other => return Err(Error::malformed(format!("wire type {other}"))),
        };
        let rest = usize::try_from(len).ok().and_then(|len| message.get(len..));
        message = rest.ok_or_else(cut_off)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    #[test]
    fn ordinary_messages_pass() {
        let record = proto::RecordDraft { payload: vec![7; 1000].into(), kind: 300 };
        let append = proto::AppendRequest {
            log: "orders".to_owned(),
            records: vec![record; 1000],
            expect: Some(u64::MAX),
            wait: "replicas:2".to_owned(),
            timeout_millis: 1,
        };
        check_fields(&append.encode_to_vec()).unwrap();
        let hello = proto::Holding { last_crc: 7, end: 9, ..Default::default() };
        check_fields(&hello.encode_to_vec()).unwrap();
        check_fields(&[]).unwrap();
    }

    #[test]
    fn a_million_empty_records_in_two_megabytes_are_refused() {
        // F-101: two bytes each, field 2, length 0.
        let error = check_fields(&[0x12, 0x00].repeat(1 << 20)).unwrap_err();
        assert!(error.to_string().contains("more than 65552 fields"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        // F-098, F-100: cut off, overlong, a length of 2^64 - 1, groups.
        for bytes in [&[0x12][..], &[0x12, 0x05, 1], &[0x09, 1, 2], &[0xff; 11], &[0x0b], &[0x0d, 1]] {
            assert!(check_fields(bytes).is_err(), "{bytes:?}");
        }
        let huge = [&[0x12][..], &[0xff; 9], &[0x01]].concat();
        assert!(check_fields(&huge).is_err());
    }
}
