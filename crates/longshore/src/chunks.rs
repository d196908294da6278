//! A file on its way, a piece at a time.

use std::sync::Arc;

use bytes::Bytes;
use longshore_transport::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::error::Result;
use crate::server::blocking;

/// Bytes per piece; at most two are in memory.
const PIECE: u64 = 512 << 10;

/// Streams the bytes from `offset` to `len` of a file that `read` reads from a position on, as far as a buffer goes.
pub(crate) fn stream(
    read: impl Fn(&mut [u8], u64) -> Result<usize> + Send + Sync + 'static,
    mut offset: u64,
    len: u64,
) -> BoxStream<Bytes> {
    let (pieces, receiver) = mpsc::channel(1);
    let read = Arc::new(read);
    tokio::spawn(async move {
        while offset < len {
            let want = usize::try_from(PIECE.min(len - offset)).expect("a piece is small");
            let read = Arc::clone(&read);
            let piece = blocking("read a file to send", move || {
                let mut piece = vec![0; want];
                let got = read(&mut piece, offset)?;
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
