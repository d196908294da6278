//! A link between two ends, and what may go wrong on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use longshore_protocol::{Frames, ToReplica, ToUpstream};
use longshore_testkit::sim_rng::Rng;
use longshore_transport::{BoxStream, Channel, Sender, UpstreamEnd};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::StreamExt;

use crate::node::Tasks;
use crate::tally::Tally;

pub(crate) type ReplicaEnd = Channel<ToUpstream, ToReplica>;

/// How often things go wrong: once in so many messages, zero for never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) cut: u64,
    pub(crate) stall: u64,
    pub(crate) black_hole: u64,
    pub(crate) mangle: u64,
    /// The longest time a message takes, in milliseconds.
    pub(crate) latency: u64,
}

/// Two ends with a link between them, whose tasks run in `tasks`.
pub(crate) fn connect(
    rng: &mut Rng,
    faults: Faults,
    tally: &Arc<Mutex<Tally>>,
    tasks: &Tasks,
) -> (ReplicaEnd, UpstreamEnd) {
    let (replica, beside_replica) = ReplicaEnd::pair();
    let (upstream, beside_upstream) = UpstreamEnd::pair();
    let (to_replica, from_replica) = beside_replica.split();
    let (to_upstream, from_upstream) = beside_upstream.split();
    let cutter = Cutter::default();
    let direction =
        |rng: &mut Rng| Direction { rng: rng.split(), faults, tally: Arc::clone(tally), cutter: cutter.clone() };
    let down = direction(rng).carry(from_upstream, to_replica, mangle_down, tasks);
    let up = direction(rng).carry(from_replica, to_upstream, |_, _, _| {}, tasks);
    let mut all = cutter.0.lock().unwrap();
    // A cut takes everything; one at the replica's end leaves what is under way to the upstream (F-091).
    all.whole.extend([down.0.clone(), down.1.clone(), up.0.clone(), up.1]);
    all.replica_end.extend([down.0, down.1, up.0]);
    drop(all);
    (replica, upstream)
}

#[derive(Clone, Default)]
struct Cutter(Arc<Mutex<Parts>>);

#[derive(Default)]
struct Parts {
    whole: Vec<AbortHandle>,
    replica_end: Vec<AbortHandle>,
}

struct Direction {
    rng: Rng,
    faults: Faults,
    tally: Arc<Mutex<Tally>>,
    cutter: Cutter,
}

/// What a mangler does to the messages under way: it may change, repeat, drop or swap them.
type Mangle<T> = fn(&mut Rng, &mut VecDeque<T>, &mut Tally);

impl Direction {
    /// Carries messages in order, each after its latency: one task takes them in, the other gives them out.
    fn carry<T: Send + 'static>(
        mut self,
        mut from: BoxStream<T>,
        to: Sender<T>,
        mangle: Mangle<T>,
        tasks: &Tasks,
    ) -> (AbortHandle, AbortHandle) {
        let (under_way, mut arriving) = mpsc::channel::<(Instant, T)>(256);
        let latency = 1 + self.faults.latency;
        let mut rng = self.rng.split();
        let intake = tasks.lock().unwrap().spawn(async move {
            while let Some(Ok(message)) = from.next().await {
                let arrives = Instant::now() + Duration::from_micros(rng.below(latency * 1000));
                if under_way.send((arrives, message)).await.is_err() {
                    return;
                }
            }
        });
        let giving = tasks.lock().unwrap().spawn(async move {
            let mut ready = VecDeque::new();
            while let Some((arrives, message)) = arriving.recv().await {
                sleep_until(arrives).await;
                ready.push_back(message);
                if self.happens(self.faults.mangle) {
                    // Swapping needs a second message; without one, the first just goes on.
                    if let Ok((_, message)) = arriving.try_recv() {
                        ready.push_back(message);
                    }
                    mangle(&mut self.rng, &mut ready, &mut self.tally.lock().unwrap());
                }
                if self.happens(self.faults.stall) {
                    self.tally.lock().unwrap().stalls += 1;
                    sleep(Duration::from_millis(self.rng.below(40_000))).await;
                }
                if self.happens(self.faults.black_hole) {
                    self.tally.lock().unwrap().black_holes += 1;
                    while arriving.recv().await.is_some() {}
                }
                if self.happens(self.faults.cut) {
                    self.cut();
                }
                while let Some(message) = ready.pop_front() {
                    if to.send(message).await.is_err() {
                        return;
                    }
                }
            }
        });
        (intake, giving)
    }

    fn happens(&mut self, one_in: u64) -> bool {
        one_in != 0 && self.rng.one_in(one_in)
    }

    /// Cuts the link: for both ends, or so that the upstream does not notice yet.
    fn cut(&mut self) {
        let parts = self.cutter.0.lock().unwrap();
        let mut tally = self.tally.lock().unwrap();
        if self.rng.one_in(3) {
            tally.zombies += 1;
            parts.replica_end.iter().for_each(AbortHandle::abort);
        } else {
            tally.cuts += 1;
            parts.whole.iter().for_each(AbortHandle::abort);
        }
    }
}

/// What a broken proxy or memory does to frames (F-090, F-092, F-098, F-103). Other messages go unharmed: TLS sees to it.
fn mangle_down(rng: &mut Rng, ready: &mut VecDeque<ToReplica>, tally: &mut Tally) {
    let Some(ToReplica::Frames(frames)) = ready.front().cloned() else { return };
    match rng.below(5) {
        0 => {
            tally.repeats += 1;
            ready.push_front(ToReplica::Frames(frames));
        }
        1 if 1 < ready.len() => {
            tally.swaps += 1;
            ready.swap(0, 1);
        }
        2 => {
            tally.losses += 1;
            ready.pop_front();
        }
        3 => {
            tally.truncations += 1;
            let cut = rng.index(frames.bytes.len());
            ready[0] = ToReplica::Frames(Frames { bytes: frames.bytes.slice(..cut), ..frames });
        }
        _ => {
            tally.flips += 1;
            let mut bytes = BytesMut::from(&frames.bytes[..]);
            let at = rng.index(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
            ready[0] = ToReplica::Frames(Frames { bytes: Bytes::from(bytes), ..frames });
        }
    }
}
