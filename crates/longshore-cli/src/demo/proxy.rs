//! A TCP proxy that can stop forwarding while both ends live: a link that is cut without anybody
//! being told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::failure::Failure;

/// The proxy; dropped, every connection through it is closed.
pub(super) struct Proxy {
    address: SocketAddr,
    flowing: Arc<watch::Sender<bool>>,
    _runtime: Runtime,
}

impl Proxy {
    /// Forwards to `target`, which need not be there yet.
    pub(super) fn start(target: SocketAddr) -> Result<Self, Failure> {
        let runtime = crate::runtime::for_agents()?;
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .map_err(|error| Failure::internal(format!("proxy: {error}")))?;
        let address = listener.local_addr().map_err(|error| Failure::internal(format!("proxy: {error}")))?;
        let (flowing, gate) = watch::channel(true);
        runtime.spawn(accept(listener, target, gate));
        Ok(Self { address, flowing: Arc::new(flowing), _runtime: runtime })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From here on nothing passes, in either direction, and no connection is closed.
    pub(super) fn cut(&self) {
        self.flowing.send_replace(false);
    }

    /// What waited passes on.
    pub(super) fn mend(&self) {
        self.flowing.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, gate: watch::Receiver<bool>) {
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let gate = gate.clone();
        tokio::spawn(async move {
            // The application is away for a moment: whoever dials tries again.
            let Ok(far) = TcpStream::connect(target).await else { return };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::select! {
                () = pump(near_in, far_out, gate.clone()) => {}
                () = pump(far_in, near_out, gate) => {}
            }
        });
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => read,
        };
        if gate.wait_for(|flowing| *flowing).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // Give the last bytes a moment to be read before the other direction is dropped too.
    tokio::time::sleep(Duration::from_millis(10)).await;
}
