//! An object that is read as it arrives.

use std::fs::File;
use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::{GetResultPayload, ObjectStoreExt};
use tokio::runtime::Handle;

use super::Store;
use crate::error::Result;

/// The bytes of an object. They are waited for: read them where a thread may wait.
pub(crate) struct Body {
    /// How many the store says there are.
    pub(crate) len: u64,
    bytes: Arriving,
}

enum Arriving {
    /// From a directory: read with no copy in between.
    File(File),
    Pieces {
        stream: BoxStream<'static, object_store::Result<Bytes>>,
        piece: Bytes,
        runtime: Handle,
    },
}

impl Store {
    /// An object, as it arrives; `None` if there is none.
    pub(crate) async fn body(&self, name: &str) -> Result<Option<Body>> {
        let got = match self.objects.get(&self.path(name)).await {
            Err(error) if Store::is_absent(&error) => return Ok(None),
            got => got.map_err(|error| self.failed(name, error))?,
        };
        let len = got.range.end.saturating_sub(got.range.start);
        let bytes = match got.payload {
            GetResultPayload::File(file, _) => Arriving::File(file),
            GetResultPayload::Stream(stream) => {
                Arriving::Pieces { stream, piece: Bytes::new(), runtime: Handle::current() }
            }
        };
        Ok(Some(Body { len, bytes }))
    }
}

impl Read for Body {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Arriving::File(file) => file.read(to),
            Arriving::Pieces { stream, piece, runtime } => {
                while piece.is_empty() {
                    match runtime.block_on(stream.next()) {
                        Some(next) => *piece = next.map_err(io::Error::other)?,
                        None => return Ok(0),
                    }
                }
                let len = piece.len().min(to.len());
                piece.copy_to_slice(&mut to[..len]);
                Ok(len)
            }
        }
    }
}
