//! A wire between client and server on which answers are lost, and requests are lost or damaged, when a test says so.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

#[derive(Clone)]
pub(crate) struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: String,
    armed: AtomicBool,
    lost: AtomicUsize,
    /// So many puts pass.
    passing: AtomicUsize,
    /// The others are kept back, or else cut.
    holding: AtomicBool,
    held: AtomicUsize,
    /// Puts that were answered.
    answered: AtomicUsize,
    /// Something was held or answered.
    changed: Notify,
    damaging: AtomicBool,
    puts: AtomicUsize,
    /// How the last put began.
    head: Mutex<String>,
}

impl Proxy {
    pub(crate) async fn new(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (armed, lost, passing) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
        let (damaging, head, server) = (AtomicBool::new(false), Mutex::default(), server.to_owned());
        let (holding, changed) = (AtomicBool::new(false), Notify::new());
        let [held, answered, puts] = [const { AtomicUsize::new(0) }; 3];
        let state = State { server, armed, lost, passing, holding, held, answered, changed, damaging, puts, head };
        let proxy = Proxy { address: listener.local_addr().unwrap(), state: Arc::new(state) };
        let state = Arc::clone(&proxy.state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, Arc::clone(&state)));
            }
        });
        proxy
    }

    /// The next put is done, and nobody hears of it.
    pub(crate) fn lose_the_next_answer(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// So many puts pass from now on, and after them no more.
    pub(crate) fn cut_puts_from(&self, count: usize) {
        self.state.passing.store(count, Ordering::SeqCst);
    }

    /// So many puts pass from now on, and the next ones are kept back for ever; returns when there is one and the others were
    /// answered.
    pub(crate) async fn hold_puts_from(&self, count: usize) {
        let state = &self.state;
        state.answered.store(0, Ordering::SeqCst);
        state.holding.store(true, Ordering::SeqCst);
        self.cut_puts_from(count);
        while state.held.load(Ordering::SeqCst) == 0 || state.answered.load(Ordering::SeqCst) < count {
            state.changed.notified().await;
        }
    }

    /// A bit of the next put, which must be short, is another when it arrives.
    pub(crate) fn damage_the_next_put(&self) {
        self.state.damaging.store(true, Ordering::SeqCst);
    }

    /// How the last put began.
    pub(crate) fn head(&self) -> String {
        self.state.head.lock().unwrap().clone()
    }

    pub(crate) fn puts(&self) -> usize {
        self.state.puts.load(Ordering::SeqCst)
    }

    pub(crate) fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

impl State {
    fn takes_no_put(&self) -> bool {
        let fewer = |left: usize| left.checked_sub(1);
        self.passing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_err()
    }
}

async fn carry(mut client: TcpStream, state: Arc<State>) {
    let Ok(mut server) = TcpStream::connect(&state.server).await else { return };
    let (mut asked, mut answered) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut losing, mut damaging, mut putting) = (false, false, false);
    loop {
        let ended = tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(len) if 0 < len => {
                    // A client that does not pipeline begins a request at the beginning of what is read.
                    let put = asked[..len].starts_with(b"PUT ");
                    putting |= put;
                    losing |= put && state.armed.swap(false, Ordering::SeqCst);
                    damaging |= put && state.damaging.swap(false, Ordering::SeqCst);
                    if put {
                        state.puts.fetch_add(1, Ordering::SeqCst);
                        *state.head.lock().unwrap() = String::from_utf8_lossy(&asked[..len.min(4096)]).into_owned();
                    }
                    // The body comes with the head or after it.
                    if damaging && !asked[..len].ends_with(b"\r\n\r\n") {
                        asked[len - 1] ^= 1;
                        damaging = false;
                    }
                    let stopped = put && state.takes_no_put();
                    if stopped && state.holding.load(Ordering::SeqCst) {
                        state.held.fetch_add(1, Ordering::SeqCst);
                        state.changed.notify_one();
                        std::future::pending::<()>().await;
                    }
                    stopped || server.write_all(&asked[..len]).await.is_err()
                }
                _ => true,
            },
            read = server.read(&mut answered) => match read {
                Ok(len) if 0 < len && losing => {
                    state.lost.fetch_add(1, Ordering::SeqCst);
                    true
                }
                Ok(len) if 0 < len => {
                    if std::mem::take(&mut putting) {
                        state.answered.fetch_add(1, Ordering::SeqCst);
                        state.changed.notify_one();
                    }
                    client.write_all(&answered[..len]).await.is_err()
                }
                _ => true,
            },
        };
        if ended {
            return;
        }
    }
}
