//! Making a connection.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use longshore_format::ErrorKind;
use longshore_protocol::Name;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Address, Client, http::Http};
use crate::{
    ClientSettings, Error, Result,
    tls::{ClientTls, WRITE_BUFFER, claims, refusal},
};

/// Makes connections of one identity, with one set of settings.
#[derive(Clone)]
pub struct Connector {
    security: Security,
    settings: ClientSettings,
}

#[derive(Clone)]
enum Security {
    Tls(ClientTls),
    Plaintext(Name),
}

impl Connector {
    /// Connections with mutual TLS.
    pub fn new(tls: ClientTls, settings: ClientSettings) -> Connector {
        Connector { security: Security::Tls(tls), settings }
    }

    /// Plaintext connections, to loopback only, by a program that says it is `identity`.
    pub fn plaintext_on_loopback(identity: Name, settings: ClientSettings) -> Connector {
        Connector { security: Security::Plaintext(identity), settings }
    }

    /// Connects, and waits until the agent has accepted our certificate.
    ///
    /// Fails with [`ErrorKind::Denied`] when either end does not believe the other, and with
    /// [`ErrorKind::Unavailable`] when there is nobody to talk to.
    pub async fn connect(&self, address: &Address) -> Result<Client> {
        let deadline = self.settings.connect_deadline;
        timeout(deadline, self.connect_patiently(address)).await.unwrap_or_else(|_| {
            let message = format!("no connection to {address} within {deadline:?}");
            // An agent that speaks TLS waits for the client's first word, and in plaintext the client for the agent's.
            let next = match self.security {
                Security::Plaintext(_) => "does the agent speak TLS? then connect with certificates, not in plaintext",
                Security::Tls(_) => "check the address and the network; try again later",
            };
            Err(Error::new(ErrorKind::Unavailable, message, next))
        })
    }

    async fn connect_patiently(&self, address: &Address) -> Result<Client> {
        let refused = |error: io::Error| refusal(&address.to_string(), error);
        let socket = self.dial(address).await?;
        socket.set_nodelay(true).map_err(refused)?;
        let settings = &self.settings.http2;
        let (http, server, scheme) = match &self.security {
            Security::Plaintext(identity) => {
                let claim = identity.as_str().parse().expect("a name is a header value");
                let io = Greeted::read(socket).await.map_err(refused)?;
                (Http::start(io, settings, Some(claim)).await, None, "http")
            }
            Security::Tls(tls) => {
                let config = tls.config(address.pinned());
                let host = ServerName::try_from(address.host().to_owned()).map_err(|error| {
                    Error::new(ErrorKind::Invalid, format!("{address} is not a host: {error}"), "write HOST:PORT")
                })?;
                let mut stream = TlsConnector::from(config).connect(host, socket).await.map_err(refused)?;
                stream.get_mut().1.set_buffer_limit(Some(WRITE_BUFFER));
                let chain = stream.get_ref().1.peer_certificates();
                let server = chain.and_then(|chain| claims(chain.first()?)).and_then(|claims| claims.identity);
                let io = Greeted::read(stream).await.map_err(refused)?;
                (Http::start(io, settings, None).await, server, "https")
            }
        };
        let http = http.map_err(|error| refused(io::Error::other(error)))?;
        let origin = format!("{scheme}://{}", address.authority()).parse().expect("an address is a URI");
        let call_deadline = self.settings.call_deadline;
        Ok(Client { http, address: address.clone(), server, origin, call_deadline })
    }

    /// Tries the host's addresses in turn.
    async fn dial(&self, address: &Address) -> Result<TcpStream> {
        let refused = |error: io::Error| refusal(&address.to_string(), error);
        let plaintext = matches!(self.security, Security::Plaintext(_));
        let mut last = io::ErrorKind::NotFound.into();
        let found: Vec<SocketAddr> = lookup_host((address.host(), address.port())).await.map_err(refused)?.collect();
        for target in found {
            if plaintext && !target.ip().is_loopback() {
                let message = format!("refusing plaintext to {target}, which is not loopback");
                return Err(Error::new(ErrorKind::Invalid, message, "use TLS"));
            }
            match TcpStream::connect(target).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(refused(last))
    }
}

/// A connection whose first bytes have arrived and will be read again.
///
/// In TLS 1.3 a client is done with the handshake before the server has looked at its certificate. The
/// server's first bytes, its HTTP/2 settings, come only once it was accepted, so that waiting for them
/// turns a refusal into an error of connecting instead of one of the first call.
struct Greeted<IO> {
    greeting: BytesMut,
    io: IO,
}

impl<IO: AsyncRead + Unpin> Greeted<IO> {
    async fn read(mut io: IO) -> io::Result<Greeted<IO>> {
        let mut greeting = BytesMut::with_capacity(1024);
        if io.read_buf(&mut greeting).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it closed the connection at once; its log says why",
            ));
        }
        Ok(Greeted { greeting, io })
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Greeted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() {
            return Pin::new(&mut self.io).poll_read(context, buffer);
        }
        let len = self.greeting.len().min(buffer.remaining());
        buffer.put_slice(&self.greeting[..len]);
        self.greeting.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Greeted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
