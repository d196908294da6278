//! A proxy on loopback that can cut, stall and count what passes between two agents.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the proxy does with bytes at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Forwards both ways.
    Open,
    /// Forwards nothing; connections stay open, as in a partition.
    Stalled,
    /// Forwards what the client sends and drops what the server answers: one way only.
    Upward,
    /// Forwards what the server sends and drops what the client says.
    Downward,
}

/// A TCP proxy in front of one address.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    link: Mutex<Link>,
    changed: Condvar,
    /// Connections are closed once this many more bytes went down to the client; `u64::MAX`: never.
    cut_after: AtomicU64,
    /// How often that happened.
    cuts: AtomicU64,
    /// Bytes that went down to clients.
    sent_down: AtomicU64,
    generation: AtomicU64,
    /// Connections taken so far.
    connections: AtomicU64,
    /// Connections from this one on, counted from 1, are stalled whatever the link is.
    stalled_from: AtomicU64,
    closed: AtomicBool,
}

impl Proxy {
    /// Listens on a free port of loopback and forwards to `target`.
    pub fn start(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            link: Mutex::new(Link::Open),
            changed: Condvar::new(),
            cut_after: AtomicU64::new(u64::MAX),
            cuts: AtomicU64::new(0),
            sent_down: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            stalled_from: AtomicU64::new(u64::MAX),
            closed: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.closed.load(Ordering::Acquire) {
                    return;
                }
                accepting.clone().join(client);
            }
        });
        Proxy { address, shared }
    }

    /// Where to dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards new connections to another address from now on.
    pub fn aim(&self, target: SocketAddr) {
        *self.shared.target.lock().expect("no holder panics") = target;
    }

    /// Changes what happens to bytes from now on.
    pub fn set(&self, link: Link) {
        *self.shared.link.lock().expect("no holder panics") = link;
        self.shared.changed.notify_all();
    }

    /// Stalls the connections from this one on, counted from 1 in the order in which they were made; `u64::MAX`: none.
    pub fn stall_from(&self, connection: u64) {
        self.shared.stalled_from.store(connection, Ordering::Release);
        self.shared.changed.notify_all();
    }

    /// How many connections were made through it so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Closes every connection of the moment.
    pub fn reset(&self) {
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        self.shared.changed.notify_all();
    }

    /// Closes every connection after `bytes` more have gone down to a client, wherever in a message that is.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::Release);
    }
}

impl Proxy {
    /// How often [`cut_after`](Self::cut_after) has closed the connections.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Acquire)
    }

    /// How many bytes went down to clients so far.
    pub fn sent_down(&self) -> u64 {
        self.shared.sent_down.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.reset();
        // Wakes the accepting thread, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn join(self: Arc<Shared>, client: TcpStream) {
        let target = *self.target.lock().expect("no holder panics");
        let Ok(server) = TcpStream::connect(target) else {
            return;
        };
        let (Ok(client_in), Ok(server_in)) = (client.try_clone(), server.try_clone()) else {
            return;
        };
        let generation = self.generation.load(Ordering::Acquire);
        let number = self.connections.fetch_add(1, Ordering::AcqRel) + 1;
        let (up, down) = (self.clone(), self);
        std::thread::spawn(move || up.pump(client_in, server, Link::Upward, (generation, number)));
        std::thread::spawn(move || down.pump(server_in, client, Link::Downward, (generation, number)));
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, way: Link, (generation, number): (u64, u64)) {
        let mut buffer = vec![0; 64 << 10];
        // Lets the loop notice a reset while nothing arrives.
        drop(from.set_read_timeout(Some(Duration::from_millis(50))));
        while self.generation.load(Ordering::Acquire) == generation {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    continue;
                }
                Err(_) => break,
            };
            let Some(open) = self.pass(way, generation, number) else {
                break;
            };
            let cut = if way == Link::Downward { self.cut_within(count) } else { None };
            let forwarded = &buffer[..cut.unwrap_or(count)];
            if way == Link::Downward && open {
                self.sent_down.fetch_add(forwarded.len() as u64, Ordering::AcqRel);
            }
            if open && to.write_all(forwarded).is_err() || cut.is_some() {
                break;
            }
        }
        drop(from.shutdown(Shutdown::Both));
        drop(to.shutdown(Shutdown::Both));
    }

    /// Waits while the link is stalled. Whether this direction is forwarded; `None` once the connection is to be closed.
    fn pass(&self, way: Link, generation: u64, number: u64) -> Option<bool> {
        let mut link = self.link.lock().expect("no holder panics");
        loop {
            if self.generation.load(Ordering::Acquire) != generation {
                return None;
            }
            let stalled = self.stalled_from.load(Ordering::Acquire) <= number;
            match if stalled { Link::Stalled } else { *link } {
                Link::Open => return Some(true),
                Link::Stalled => link = self.changed.wait(link).expect("no holder panics"),
                one_way => return Some(one_way == way),
            }
        }
    }

    /// After how many of the next `count` bytes the connection is to be cut, if it is among them.
    fn cut_within(&self, count: usize) -> Option<usize> {
        let left = self.cut_after.load(Ordering::Acquire);
        if left == u64::MAX {
            return None;
        }
        let cut = left <= count as u64;
        self.cut_after.store(if cut { u64::MAX } else { left - count as u64 }, Ordering::Release);
        self.cuts.fetch_add(u64::from(cut), Ordering::AcqRel);
        cut.then_some(left as usize)
    }
}
