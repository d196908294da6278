//! The segment that is being appended to: mapped, or written with `pwrite` where a follower catches up.

use std::sync::Arc;

use longshore_format::{Lsn, Minted, SegmentHeader};
use longshore_storage::{File, RegionReader, RegionWriter};

use crate::view::{Live, Segment};
use crate::{Error, Result};

/// A prepared segment: allocated, durable, and not begun.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) base: Lsn,
    pub(crate) file: Arc<dyn File>,
    /// Absent in a segment that is to be written rather than mapped.
    pub(crate) map: Option<(RegionWriter, RegionReader)>,
}

/// The one way into the active segment.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) base: Lsn,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Mapped(RegionWriter),
    Written(Arc<dyn File>),
}

impl Active {
    /// Begins a prepared segment with its header.
    pub(crate) fn begin(spare: Spare, header: SegmentHeader) -> Result<(Active, Segment)> {
        let bytes = header.encode();
        let Spare { base, file, map } = spare;
        assert_eq!(base, header.base(), "segments are prepared in order");
        let (way, map) = match map {
            Some((mut writer, reader)) => {
                writer.copy_in(0, &bytes);
                writer.publish(bytes.len());
                (Way::Mapped(writer), Some(reader))
            }
            None => {
                file.write_all_at(&bytes, 0).map_err(Error::io("write a segment's header"))?;
                (Way::Written(Arc::clone(&file)), None)
            }
        };
        Ok((Active { base, way }, Segment::live(header, Live { file, map })))
    }

    /// Goes on in a segment that holds `len` bytes already.
    pub(crate) fn resume(base: Lsn, mut writer: RegionWriter, len: u64) -> Active {
        writer.publish(len as usize);
        Active { base, way: Way::Mapped(writer) }
    }

    /// Copies a minted record in. The alignment bytes after the payload are zero already, as is all that follows.
    #[inline]
    pub(crate) fn put(&mut self, offset: u64, minted: &Minted, payload: &[u8]) -> Result<()> {
        match &mut self.way {
            Way::Mapped(writer) => {
                let at = offset as usize;
                writer.copy_in(at, &minted.header);
                writer.copy_in(at + minted.header.len(), payload);
                Ok(())
            }
            Way::Written(_) => {
                self.put_frames(offset, &minted.header)?;
                self.put_frames(offset + minted.header.len() as u64, payload)
            }
        }
    }

    /// Copies whole records in as they came.
    pub(crate) fn put_frames(&mut self, offset: u64, frames: &[u8]) -> Result<()> {
        match &mut self.way {
            Way::Mapped(writer) => {
                writer.copy_in(offset as usize, frames);
                Ok(())
            }
            Way::Written(file) => file.write_all_at(frames, offset).map_err(Error::io("write to a segment")),
        }
    }

    /// Gives all before `offset` to the readers of the map. They look only at what is durable.
    #[inline]
    pub(crate) fn publish(&mut self, offset: u64) {
        if let Way::Mapped(writer) = &mut self.way {
            writer.publish(offset as usize);
        }
    }
}
