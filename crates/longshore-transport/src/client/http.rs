//! An HTTP/2 connection as the generated stubs want it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;
use tower::Service;

use crate::settings::Http2;

/// Sends requests into one connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Http {
    sender: SendRequest<Body>,
    /// In plaintext: who we say we are.
    claim: Option<hyper::header::HeaderValue>,
}

impl Http {
    /// Takes over a connection. It lives in a task of its own, which ends with it: when the last `Http`
    /// and the last stream are dropped, or the peer is gone.
    pub(crate) async fn start<IO>(
        io: IO,
        settings: &Http2,
        claim: Option<hyper::header::HeaderValue>,
    ) -> hyper::Result<Http>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(settings.stream_window)
            .initial_connection_window_size(settings.connection_window)
            .max_frame_size(settings.max_frame_size)
            .max_send_buf_size(settings.send_buffer)
            .max_header_list_size(32 << 10)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(io))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("the connection broke: {error}");
            }
        });
        Ok(Http { sender, claim })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Service<Request<Body>> for Http {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(claim) = &self.claim {
            request.headers_mut().insert(crate::server::IDENTITY_HEADER, claim.clone());
        }
        Box::pin(self.sender.send_request(request))
    }
}
