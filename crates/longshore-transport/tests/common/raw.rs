//! gRPC by hand, for what no client of ours would send.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut, Bytes, BytesMut};
use hyper::{
    Method, Request,
    body::{Body, Frame},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;

use super::{Pki, Running, pki::foreign};

/// What came back.
#[derive(Debug, Default)]
pub struct Answer {
    /// The gRPC status; `None` when the stream was reset.
    pub status: Option<u32>,
    /// The bytes of all messages, with their prefixes.
    pub bytes: Vec<u8>,
}

/// A request's body: these pieces, and then an end, or nothing at all.
pub struct Pieces {
    pieces: mpsc::UnboundedReceiver<Bytes>,
    /// Keeps the body open.
    _open: Option<mpsc::UnboundedSender<Bytes>>,
}

impl Pieces {
    pub fn whole(bytes: impl Into<Bytes>) -> Pieces {
        let (sender, pieces) = mpsc::unbounded_channel();
        sender.send(bytes.into()).unwrap();
        Pieces { pieces, _open: None }
    }

    pub fn without_end(bytes: impl Into<Bytes>) -> Pieces {
        let (sender, pieces) = mpsc::unbounded_channel();
        sender.send(bytes.into()).unwrap();
        Pieces { pieces, _open: Some(sender) }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A message with its prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

/// Calls a method with a body, as `identity`.
pub async fn call(pki: &Pki, agent: &Running, identity: &str, path: &str, body: Pieces) -> Answer {
    let socket = TcpStream::connect(agent.address).await.unwrap();
    let config = std::sync::Arc::new(foreign(pki, identity, &[&rustls::version::TLS13]));
    let stream = TlsConnector::from(config).connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("https://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    let mut answer = Answer::default();
    if let Ok(response) = sender.send_request(request).await {
        let (head, mut body) = response.into_parts();
        let status = |headers: &hyper::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        answer.status = status(&head.headers);
        while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            if let Some(data) = frame.data_ref() {
                answer.bytes.extend_from_slice(data);
            }
            if let Some(trailers) = frame.trailers_ref() {
                answer.status = status(trailers);
            }
        }
    }
    connection.abort();
    answer
}
