//! Deadlines and budgets of connections.

use std::time::Duration;

/// How HTTP/2 uses a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http2 {
    /// Bytes that a peer may send on one stream before it is read: 32 MiB, which fills 1 Gbit/s at 100 ms
    /// with room to spare (2.5 × bandwidth × round trip).
    pub stream_window: u32,
    /// The same for all streams of a connection together.
    pub connection_window: u32,
    /// The largest DATA frame accepted: 256 KiB, which costs 30 % less CPU than 16 KiB.
    pub max_frame_size: u32,
    /// Bytes that wait in memory for the network, per stream.
    pub send_buffer: usize,
    /// How often an idle or silent connection is asked whether it lives (F-087).
    pub keepalive_interval: Duration,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
}

impl Default for Http2 {
    fn default() -> Self {
        Http2 {
            stream_window: 32 << 20,
            connection_window: 32 << 20,
            max_frame_size: 256 << 10,
            send_buffer: 1 << 20,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// Settings of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// How connections are used.
    ///
    /// A client sends little, so a server's windows may be small: they bound what a hostile one can make
    /// it hold.
    pub http2: Http2,
    /// How long a TLS handshake may take (F-088).
    pub handshake_deadline: Duration,
    /// How many handshakes are worked on at once; more wait their turn (F-110).
    pub max_handshakes: usize,
    /// How many connections there are in all.
    pub max_connections: usize,
    /// How many connections one identity may have.
    pub max_connections_per_identity: usize,
    /// How many calls one connection may have open.
    pub max_streams_per_connection: u32,
    /// How long a connection may take from its handshake to its first call, and a stream to its first
    /// message (F-088).
    pub first_message_deadline: Duration,
    /// How long a connection may be without a call (F-088).
    pub idle_deadline: Duration,
    /// How often files are looked at, grants and certificates checked again, and streams ended whose
    /// caller lost either.
    pub poll_interval: Duration,
    /// How long calls in progress may take to end after a shutdown was asked for.
    pub drain_deadline: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            http2: Http2 { stream_window: 4 << 20, connection_window: 8 << 20, ..Http2::default() },
            handshake_deadline: Duration::from_secs(10),
            max_handshakes: 64,
            max_connections: 1024,
            max_connections_per_identity: 64,
            max_streams_per_connection: 100,
            first_message_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(600),
            poll_interval: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(10),
        }
    }
}

/// Settings of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// How the connection is used.
    pub http2: Http2,
    /// How long connecting, with the handshake, may take.
    pub connect_deadline: Duration,
    /// How long a call may take that waits for nothing but its answer.
    pub call_deadline: Duration,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            http2: Http2::default(),
            connect_deadline: Duration::from_secs(10),
            call_deadline: Duration::from_secs(30),
        }
    }
}
