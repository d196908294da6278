//! A sealed segment's file, a piece at a time.

use std::sync::Arc;

use bytes::Bytes;
use longshore_transport::BoxStream;
use longshore_wal::SegmentReader;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::server::blocking;

/// Bytes per piece; at most two are in memory.
const PIECE: u64 = 512 << 10;

/// Streams the first `len` bytes of a segment's file.
pub(crate) fn stream(reader: Arc<SegmentReader>, len: u64) -> BoxStream<Bytes> {
    let (pieces, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut offset = 0;
        while offset < len {
            let want = usize::try_from(PIECE.min(len - offset)).expect("a piece is small");
            let reader = Arc::clone(&reader);
            let piece = blocking("read a segment", move || {
                let mut piece = vec![0; want];
                let got = reader.read_at(&mut piece, offset)?;
                piece.truncate(got);
                Ok(Bytes::from(piece))
            });
            let piece = piece.await.map_err(longshore_transport::Error::from);
            let ended = piece.as_ref().map_or(true, Bytes::is_empty);
            offset += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if pieces.send(piece).await.is_err() || ended {
                return;
            }
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}
