//! A client that appends numbers for as long as it is let, and writes down which of them were confirmed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore::transport::{Client, Connector};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, NAMES, POLICY, append, connect, until};

/// What the client knows. A number is sent once: whatever becomes of it, the next attempt takes the next one.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    sent: u64,
    confirmed: Vec<u64>,
    last: Option<Instant>,
    /// The longest time between two confirmations.
    pause: Duration,
}

/// The client, which goes to another node whenever one refuses it.
pub(crate) struct Writer {
    ledger: Arc<Mutex<Ledger>>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(cluster: &Cluster) -> Writer {
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let task = tokio::spawn(write(cluster.connector(), Arc::clone(&ledger)));
        Writer { ledger, task }
    }

    /// Waits until so many more were confirmed.
    pub(crate) async fn confirms(&self, more: usize) {
        let confirmed = || self.ledger.lock().unwrap().confirmed.len();
        let wanted = confirmed() + more;
        until("the client's appends are confirmed", async || wanted <= confirmed()).await;
    }

    /// The longest time without a confirmation since this was asked last.
    pub(crate) fn pause(&self) -> Duration {
        std::mem::take(&mut self.ledger.lock().unwrap().pause)
    }

    /// Ends the client, and checks that each node has everything that it was told is confirmed, once and in order, and all
    /// have the same. `writer` is who writes by now.
    pub(crate) async fn check(self, cluster: &Cluster, writer: usize) {
        self.task.abort();
        let _aborted = self.task.await;
        let mut ledger = std::mem::take(&mut *self.ledger.lock().unwrap());
        until("everybody follows the last writer", async || {
            let Ok(client) = connect(&cluster.connector(), writer).await else { return false };
            ledger.sent += 1;
            let appended = append(&client, ledger.sent, "replicas:2").await;
            ledger.confirmed.extend(appended.is_ok().then_some(ledger.sent));
            appended.is_ok()
        })
        .await;
        let expected = cluster.numbers(writer).await;
        println!("{} confirmed of {} sent, {} in the log", ledger.confirmed.len(), ledger.sent, expected.len());
        assert!(expected.is_sorted_by(|a, b| a < b), "each number once, and in order");
        let missing: Vec<_> = ledger.confirmed.iter().filter(|n| expected.binary_search(n).is_err()).collect();
        assert!(missing.is_empty(), "{missing:?} were confirmed and are gone");
        for (node, name) in NAMES.iter().enumerate() {
            assert!(cluster.numbers(node).await == expected, "{name} holds something else");
        }
    }
}

async fn write(connector: Connector, ledger: Arc<Mutex<Ledger>>) {
    let (mut at, mut client): (usize, Option<Client>) = (0, None);
    loop {
        if client.is_none() {
            client = connect(&connector, at).await.ok();
        }
        let number = {
            let mut ledger = ledger.lock().unwrap();
            ledger.sent += 1;
            ledger.sent
        };
        let confirmed = match &client {
            Some(client) => append(client, number, POLICY).await.is_ok(),
            None => false,
        };
        if confirmed {
            let mut ledger = ledger.lock().unwrap();
            ledger.confirmed.push(number);
            let pause = ledger.last.map_or(Duration::ZERO, |last| last.elapsed());
            ledger.pause = ledger.pause.max(pause);
            ledger.last = Some(Instant::now());
        } else {
            (at, client) = ((at + 1) % NAMES.len(), None);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
