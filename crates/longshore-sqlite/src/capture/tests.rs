//! What only the bytes beneath can show: ghosts, broken chains, and a wal-index that was left half written.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use longshore_format::{Content, SegmentSize};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, RecordDraft, Retention, Settings, Threads, Wal};
use rusqlite::Connection;

use super::view::published;
use super::{Capture, CaptureSettings, CaptureStep, shipped};
use crate::error::Error;
use crate::pages::{KIND, page_hash};
use crate::points::watch;
use crate::wal_format::{FRAME_HEAD_LEN, FrameHead, frame_offset};

struct Rig {
    place: tempfile::TempDir,
    log: Wal,
    app: Connection,
    _threads: Threads,
}

impl Rig {
    fn new() -> Rig {
        Rig::with_segments(SegmentSize::DEFAULT)
    }

    fn with_segments(segment_size: SegmentSize) -> Rig {
        let place = tempfile::tempdir().unwrap();
        let directory = Arc::new(FsDirectory::create(place.path().join("log")).unwrap());
        let spec = CreateSpec { content: Content::SqlitePages, segment_size, ..CreateSpec::default() };
        Wal::create(directory.clone(), &SystemEnvironment, &spec).unwrap();
        let (log, _) = Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap();
        let threads = log.start();
        let app = Connection::open(place.path().join("app.db")).unwrap();
        app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
        Rig { place, log, app, _threads: threads }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn attach(&self) -> Capture {
        let settings = CaptureSettings::new(self.at("app.pages"));
        Capture::attach(&self.at("app.db"), self.log.clone(), settings).unwrap()
    }

    fn wal(&self) -> std::fs::File {
        std::fs::OpenOptions::new().read(true).write(true).open(self.at("app.db-wal")).unwrap()
    }

    fn insert(&self) {
        self.app.execute_batch("INSERT INTO t SELECT max(x) + 1 FROM t").unwrap();
    }
}

/// What was shipped is what the database holds.
fn assert_true(capture: &Capture) {
    let mut page = vec![0; capture.size.bytes()];
    for number in 1..=capture.shipped.pages() {
        capture.view.page(&capture.guard, number, &mut page).unwrap();
        assert_eq!(capture.shipped.hash(number), Some(page_hash(number, &page)), "page {number}");
    }
}

#[test]
fn a_ghost_commit_is_not_shipped() {
    let rig = Rig::new();
    let mut capture = rig.attach();
    rig.insert();
    assert_eq!(capture.step().unwrap(), CaptureStep::Captured(1));
    // A writer that died after its last frame and before the wal-index: in the file alone it looks committed.
    let (index, _) = published(&capture.guard, capture.size).unwrap();
    let mut ghost = Vec::new();
    let data = vec![9; capture.size.bytes()];
    FrameHead::encode(2, index.pages, index.salts, &data, index.checksum, &mut ghost);
    rig.wal().write_all_at(&ghost, frame_offset(capture.size, index.max_frame + 1)).unwrap();
    assert_eq!(capture.step().unwrap(), CaptureStep::Idle);
    rig.insert();
    assert_eq!(capture.step().unwrap(), CaptureStep::Captured(1), "the next writer takes its place");
    assert_true(&capture);
}

#[test]
fn a_broken_chain_below_what_is_published_is_an_error_and_never_no_data() {
    let rig = Rig::new();
    let mut capture = rig.attach();
    rig.insert();
    let (index, _) = published(&capture.guard, capture.size).unwrap();
    let at = frame_offset(capture.size, index.max_frame) + FRAME_HEAD_LEN as u64 + 100;
    let mut byte = [0];
    rig.wal().read_exact_at(&mut byte, at).unwrap();
    rig.wal().write_all_at(&[byte[0] ^ 1], at).unwrap();
    let end = rig.log.end();
    assert!(matches!(capture.step(), Err(Error::BrokenWal { .. })));
    assert_eq!(rig.log.end(), end, "nothing of it was shipped");
}

#[test]
fn a_wal_index_that_a_dead_writer_left_half_written_is_recovered() {
    let rig = Rig::new();
    let mut capture = rig.attach();
    rig.insert();
    let mut change = [0];
    capture.guard.load(0, 2, &mut change).unwrap();
    capture.guard.store(0, 2, &[change[0] + 1]).unwrap();
    assert!(matches!(capture.step(), Err(Error::Unstable)));
    drop(capture);
    let mut capture = rig.attach();
    while capture.step().unwrap() != CaptureStep::Idle {}
    assert_true(&capture);
    rig.insert();
    assert_eq!(capture.step().unwrap(), CaptureStep::Captured(1));
    assert_true(&capture);
}

#[test]
fn only_who_commits_fast_is_held_up_and_only_while_a_long_wal_is_worked_at() {
    let rig = Rig::new();
    rig.app.busy_timeout(Duration::ZERO).unwrap();
    rig.app.execute_batch("PRAGMA synchronous=NORMAL").unwrap();
    let settings = CaptureSettings { checkpoint_from: 1 << 20, ..CaptureSettings::new(rig.at("app.pages")) };
    let mut capture = Capture::attach(&rig.at("app.db"), rig.log.clone(), settings).unwrap();
    let insert = || rig.app.execute("INSERT INTO t VALUES (1)", []).is_ok();
    let frames = |capture: &Capture| published(&capture.guard, capture.size).unwrap().0.max_frame;
    while frames(&capture) < 350 {
        assert!(insert(), "nothing is worked at");
    }
    // The little that a slow application commits, and enough looks of the other thread.
    let pass = |time| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(time) {
            std::thread::yield_now();
        }
    };
    pass(60);
    let slow = capture.braked(|_| {
        let committed = (0..10).filter(|_| insert()).count();
        pass(20);
        Ok(committed)
    });
    assert_eq!(slow.unwrap(), 10);
    assert_eq!(capture.status.longest_hold, Duration::ZERO);
    let fast = capture.braked(|_| Ok((0..100_000).find(|_| !insert())));
    assert!(fast.unwrap().is_some(), "a writer that never pauses is never held up");
    assert!(insert(), "the work has ended");
    assert!(!capture.status.longest_hold.is_zero());
    while capture.step().unwrap() != CaptureStep::Idle {}
    assert_true(&capture);
}

#[test]
fn a_wal_that_was_never_written_to_proves_nothing() {
    let rig = Rig::new();
    let empty = |app: &Connection| app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    empty(&rig.app);
    let Rig { place, log, app, _threads } = rig;
    // The last connection takes the -wal away, and with it the salts.
    app.close().unwrap();
    let settings = CaptureSettings::new(place.path().join("app.pages"));
    let attach = || Capture::attach(&place.path().join("app.db"), log.clone(), settings.clone()).unwrap();
    attach().detach().unwrap();
    let _ = std::fs::remove_file(place.path().join("app.db-wal"));
    let _ = std::fs::remove_file(place.path().join("app.db-shm"));
    let app = Connection::open(place.path().join("app.db")).unwrap();
    app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    empty(&app);
    app.close().unwrap();
    let _ = std::fs::remove_file(place.path().join("app.db-wal"));
    let _ = std::fs::remove_file(place.path().join("app.db-shm"));
    let capture = attach();
    assert_eq!(capture.status().resyncs, 1);
    assert_true(&capture);
}

const COMPARED: &str = "the file is compared";

fn copy_back(app: &Connection) {
    app.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
}

#[test]
fn an_application_that_goes_on_while_its_file_is_compared_loses_nothing() {
    for has_committed in [false, true] {
        for begins_anew in [false, true] {
            let rig = Rig::new();
            rig.attach().detach().unwrap();
            // Its own checkpoint writes the file. Nobody keeps the -wal afterwards, unless a reader does and there is more of it.
            let reader = (!begins_anew).then(|| Connection::open(rig.at("app.db")).unwrap());
            if let Some(reader) = &reader {
                reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
            }
            copy_back(&rig.app);
            if has_committed {
                rig.insert();
            }
            let salts = || std::fs::read(rig.at("app.db-wal")).unwrap()[16..24].to_vec();
            let (before, compared) = (salts(), Rc::new(Cell::new(0)));
            let (app, count) = (Connection::open(rig.at("app.db")).unwrap(), Rc::clone(&compared));
            watch(Some(Box::new(move |point| {
                if point == COMPARED {
                    count.set(count.get() + 1);
                    for _ in 0..3 {
                        app.execute_batch("INSERT INTO t SELECT max(x) + 1 FROM t").unwrap();
                        copy_back(&app);
                    }
                }
            })));
            let mut capture = rig.attach();
            watch(None);
            let what = format!("has committed: {has_committed}, begins anew: {begins_anew}");
            // A -wal that begins anew before the attach has no place in it to compare for.
            let is_compared = !(has_committed && begins_anew);
            assert_eq!(compared.get(), u32::from(is_compared), "{what}");
            assert_eq!(before != salts(), begins_anew && is_compared, "{what}");
            assert_eq!(capture.status().resyncs, 0, "{what}");
            rig.insert();
            let committed = u64::from(has_committed) + if is_compared { 4 } else { 1 };
            let mut captured = 0;
            while let CaptureStep::Captured(transactions) = capture.step().unwrap() {
                captured += transactions;
            }
            assert_eq!(captured, committed, "{what}: each is one run");
            assert_true(&capture);
        }
    }
}

#[test]
fn a_file_is_compared_only_where_somebody_else_wrote_it() {
    let rig = Rig::new();
    let settings = CaptureSettings { checkpoint_from: 4 * 4096, ..CaptureSettings::new(rig.at("app.pages")) };
    let compared = Rc::new(Cell::new(0));
    let count = Rc::clone(&compared);
    watch(Some(Box::new(move |point| count.set(count.get() + u32::from(point == COMPARED)))));
    let attach = || Capture::attach(&rig.at("app.db"), rig.log.clone(), settings.clone()).unwrap();
    // Each ends as by kill -9, having copied the -wal back by itself.
    for _ in 0..3 {
        let mut capture = attach();
        (0..20).for_each(|_| rig.insert());
        while capture.step().unwrap() != CaptureStep::Idle {}
        assert!(0 < capture.status().checkpoints);
        rig.insert();
    }
    assert_eq!(compared.get(), 0);
    attach().detach().unwrap();
    copy_back(&rig.app);
    // In the same tick of the file system's clock it would pass for ours.
    let file = File::options().write(true).open(rig.at("app.db")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    attach().detach().unwrap();
    assert_eq!(compared.get(), 1);
    attach();
    assert_eq!(compared.get(), 1, "it is noted");
    watch(None);
}

#[test]
fn a_capture_ends_in_order_after_it_has_emptied_the_wal() {
    let rig = Rig::new();
    let (truncate_from, truncate_after) = (0, Duration::ZERO);
    let settings = CaptureSettings { truncate_from, truncate_after, ..CaptureSettings::new(rig.at("app.pages")) };
    let attach = || Capture::attach(&rig.at("app.db"), rig.log.clone(), settings.clone()).unwrap();
    let mut capture = attach();
    rig.app.execute_batch("CREATE TABLE other (x)").unwrap();
    // More than is read at once: its first frames are not in memory any more.
    rig.app.execute_batch("INSERT INTO t VALUES (zeroblob(3 << 20))").unwrap();
    while capture.step().unwrap() != CaptureStep::Idle {}
    assert_eq!(capture.status().wal_bytes, 0);
    capture.detach().unwrap();
    assert_eq!(attach().status().resyncs, 0);
}

#[test]
fn an_agent_that_is_killed_after_its_log_was_trimmed_ships_no_image_anew() {
    let rig = Rig::with_segments(SegmentSize::MIN);
    let segment = rig.log.segment_size().get();
    rig.log.set_retention(Retention { keep_bytes: segment, ..Retention::default() });
    let mut capture = rig.attach();
    let (begun, killed) = (rig.log.end(), 8 * segment);
    while rig.log.end().since(begun) < killed {
        rig.app.execute_batch("UPDATE t SET x = randomblob(10000)").unwrap();
        while capture.step().unwrap() != CaptureStep::Idle {}
        rig.log.retain().unwrap();
    }
    assert!(begun < rig.log.first(), "it was trimmed");
    drop(capture);
    let capture = rig.attach();
    assert_eq!((capture.status().transactions, capture.status().resyncs), (0, 0));
    assert_true(&capture);
}

#[test]
fn what_was_written_down_is_not_taken_for_that_of_a_log_that_parted_before() {
    let rig = Rig::new();
    rig.attach().detach().unwrap();
    let kept = || shipped::load(&rig.at("app.pages"), rig.log.id());
    let lsn = kept().unwrap().table.lsn;
    let size = kept().unwrap().table.size();
    assert!(shipped::gather(&rig.log, kept(), size).unwrap().is_some());

    // Another history of the same log: as long, and every record ends where one ends here.
    let directory = Arc::new(FsDirectory::create(rig.at("other")).unwrap());
    let (content, log) = (Content::SqlitePages, Some(rig.log.id()));
    Wal::create(directory.clone(), &SystemEnvironment, &CreateSpec { content, log, ..CreateSpec::default() }).unwrap();
    let (other, _) = Wal::open(directory, Arc::new(SystemEnvironment), Settings::default()).unwrap();
    let _threads = other.start();
    let mut records = rig.log.reader(rig.log.first()).unwrap();
    while let Some(record) = records.next().unwrap() {
        if record.kind.is_user() {
            // What it would say does not matter: nothing of it is read before it is compared.
            let payload = vec![1; record.payload.len()];
            other.append(&[RecordDraft { kind: KIND, payload: &payload }], None).unwrap();
        }
    }
    other.wait_blocking(lsn, None).unwrap();
    assert_eq!(other.end(), lsn);
    assert!(shipped::gather(&other, kept(), size).is_err(), "it is read from its beginning");
}
