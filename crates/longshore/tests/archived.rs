//! Waits for object stores, embedded: they end when a store has it, and never before.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore::archive::{ArchiveSettings, Schedule, Store, archived_to};
use longshore::transport::{Append, ClientSettings, Connector, Draft};
use longshore::{
    Content, DatabaseImage, Durability, ErrorKind, Kind, Lsn, Primary, Settings, SnapshotError, Snapshotter,
};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

struct Site {
    dir: TempDir,
    primary: Primary,
}

impl Site {
    /// A log, and two directories `a` and `b` that are stores.
    fn new(settings: &Settings) -> Site {
        let dir = tempfile::tempdir().unwrap();
        for store in ["a", "b"] {
            std::fs::create_dir(dir.path().join(store)).unwrap();
        }
        let primary = Primary::create(dir.path().join("data"), "orders", Content::Bytes, settings).unwrap();
        Site { dir, primary }
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&format!("file://{}", self.dir.path().join(name).display())).unwrap()
    }

    fn archive_into(&self, names: &[&str]) {
        let settings = ArchiveSettings { tail_every: Duration::from_millis(10), ..ArchiveSettings::default() };
        self.primary.node().archive_into(names.iter().map(|name| self.store(name)).collect(), settings);
    }

    /// What a store really has, by its manifest.
    fn archived(&self, name: &str) -> Option<Lsn> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(archived_to(&self.store(name), self.primary.name(), None)).unwrap()
    }

    fn tail(&self, name: &str) -> PathBuf {
        self.dir.path().join(name).join("orders/tail")
    }
}

fn archived(count: u32) -> Durability {
    Durability::archived(count.try_into().unwrap())
}

/// From here on no tail object can be made there.
fn block(tail: &Path) {
    std::fs::rename(tail, tail.with_extension("aside")).unwrap();
    std::fs::write(tail, "in the way").unwrap();
}

fn unblock(tail: &Path) {
    std::fs::remove_file(tail).unwrap();
    std::fs::rename(tail.with_extension("aside"), tail).unwrap();
}

#[test]
fn a_ticket_is_woken_when_as_many_stores_have_it_as_it_asks_for() {
    let site = Site::new(&Settings::default());
    site.archive_into(&["a", "b"]);
    for _ in 0..10 {
        let ticket = site.primary.append(&["a record"]).unwrap();
        let reached = ticket.wait_blocking(archived(2), LONG).unwrap();
        assert!(ticket.position() <= reached);
        for store in ["a", "b"] {
            assert!(Some(ticket.position()) <= site.archived(store), "it was confirmed, so {store} has it");
        }
    }
    // One store fails: one of two still has it, and the wait for both ends by time, then by its mending.
    block(&site.tail("b"));
    let ticket = site.primary.append(&["another"]).unwrap();
    ticket.wait_blocking(archived(1), LONG).unwrap();
    let error = ticket.wait_blocking(archived(2), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unconfirmed);
    assert!(error.to_string().contains("archived:2"), "{error}");
    assert!(site.archived("b") < Some(ticket.position()));
    unblock(&site.tail("b"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let woken = runtime.block_on(async { tokio::time::timeout(LONG, ticket.wait(archived(2))).await });
    assert!(ticket.position() <= woken.expect("the store that moves wakes it").unwrap());
    site.primary.close().unwrap();
}

/// A database whose copying takes as long as somebody lets it.
struct Held {
    begun: SyncSender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Snapshotter for Held {
    fn begin(&self) -> Result<Box<dyn DatabaseImage>, SnapshotError> {
        self.begun.send(()).unwrap();
        let _ended = self.go_on.lock().unwrap().recv();
        Err("that was long enough".into())
    }
}

#[test]
fn the_log_goes_on_being_archived_while_its_database_is_copied() {
    let site = Site::new(&Settings::default());
    let ((begun, has_begun), (end, go_on)) = (sync_channel(1), sync_channel::<()>(1));
    let held = Held { begun, go_on: Mutex::new(go_on) };
    site.primary.node().offer_snapshots("orders", Arc::new(held)).unwrap();
    let snapshots = Schedule { every: Some(Duration::ZERO), after: None };
    let settings = ArchiveSettings { tail_every: Duration::from_millis(10), snapshots, ..ArchiveSettings::default() };
    site.primary.node().archive_into(vec![site.store("a")], settings);
    site.primary.append(&["a record"]).unwrap().wait_blocking(archived(1), LONG).unwrap();
    has_begun.recv().unwrap();
    site.primary.append(&["another"]).unwrap().wait_blocking(archived(1), LONG).unwrap();
    drop(end);
    site.primary.close().unwrap();
}

#[test]
fn over_the_network_nothing_is_appended_for_what_no_waiting_brings() {
    let mut settings = Settings::default();
    settings.tls.plaintext = true;
    settings.network.listen = "127.0.0.1:0".parse().unwrap();
    let site = Site::new(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let end = runtime.block_on(async {
        let server = site.primary.listen().await.unwrap();
        let address = server.local_addr().to_string().parse().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async { stopped.await.unwrap() }));
        let connector = Connector::plaintext_on_loopback("client".parse().unwrap(), ClientSettings::default());
        let client = connector.connect(&address).await.unwrap();
        let request = Append {
            log: site.primary.name().clone(),
            records: vec![Draft { kind: Kind::USER, payload: "a record".into() }],
            expect: None,
            wait: Some(archived(1)),
            timeout: LONG,
        };
        let before = site.primary.end();
        let error = client.append(request.clone()).await.unwrap_err();
        assert_eq!((error.kind(), error.next_step().contains("--archive")), (ErrorKind::Invalid, true), "{error}");
        assert_eq!(site.primary.end(), before, "nothing was appended");
        site.archive_into(&["a"]);
        let end = client.append(request).await.unwrap().end;
        assert!(end <= client.wait(site.primary.name(), end, &archived(1), LONG).await.unwrap());
        let store = client.status(None).await.unwrap().logs[0].stores[0].clone();
        assert_eq!((store.store.as_str(), store.archived), (site.store("a").label(), Some(end)));
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
        end
    });
    assert!(Some(end) <= site.archived("a"));
}

#[test]
fn what_no_waiting_brings_is_refused_at_once() {
    let mut settings = Settings::default();
    settings.ack.durability = archived(2);
    settings.tls.plaintext = true;
    settings.network.listen = "127.0.0.1:0".parse().unwrap();
    let site = Site::new(&settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listen =
        || runtime.block_on(site.primary.listen()).map(|_| ()).map_err(|error| (error.kind(), error.to_string()));
    let (kind, told) = listen().unwrap_err();
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(told.contains("archives into 0 stores") && told.contains("--archive"), "{told}");
    site.archive_into(&["a", "b"]);
    assert_eq!(listen(), Ok(()));

    let ticket = site.primary.append(&["a record"]).unwrap();
    ticket.confirm_blocking().unwrap();
    let error = ticket.wait_blocking(archived(3), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    site.primary.close().unwrap();
}
