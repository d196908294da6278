//! Ends of the process at every point of a step, and of the machine between the log and a checkpoint.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore_format::{Content, ErrorKind, Flags, Lsn, SegmentSize};
use longshore_storage::{FsDirectory, SystemEnvironment};
use longshore_wal::{CreateSpec, Settings, Wal};
use rusqlite::Connection;

use super::{Capture, CaptureSettings, CaptureStep};
use crate::pages::PageRecord;
use crate::points::watch;

/// A database that an application has open, and a log whose threads do not run: it is durable only up to where somebody waited for it.
struct Place {
    dir: PathBuf,
    log: Wal,
    app: Connection,
}

impl Place {
    fn create(dir: &Path) -> Place {
        let directory = Arc::new(FsDirectory::create(dir.join("log")).unwrap());
        let segment_size = SegmentSize::new(1 << 20).unwrap();
        let spec = CreateSpec { content: Content::SqlitePages, segment_size, ..CreateSpec::default() };
        Wal::create(directory, &SystemEnvironment, &spec).unwrap();
        let place = Place::open(dir);
        place.app.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (x); INSERT INTO t VALUES (1);").unwrap();
        place
    }

    fn open(dir: &Path) -> Place {
        let directory = Arc::new(FsDirectory::create(dir.join("log")).unwrap());
        let log = loop {
            match Wal::open(directory.clone(), Arc::new(SystemEnvironment), Settings::default()) {
                // Another test was just starting a process, which has the lock until it is another program.
                Err(error) if error.kind() == ErrorKind::Busy => std::thread::yield_now(),
                opened => break opened.unwrap().0,
            }
        };
        while log.prepare_once().unwrap() {}
        Place { dir: dir.to_owned(), log, app: connect(dir) }
    }

    /// Seals in every step that comes after some transactions; `truncate_from` says whether with a TRUNCATE.
    fn attach(&self, truncate_from: u64) -> Capture {
        let settings = CaptureSettings {
            checkpoint_from: 4 * 4096,
            truncate_from,
            truncate_after: Duration::ZERO,
            ..CaptureSettings::new(self.dir.join("app.pages"))
        };
        Capture::attach(&self.dir.join("app.db"), self.log.clone(), settings).unwrap()
    }

    /// How many runs came after the image.
    fn runs(&self) -> usize {
        self.log.wait_blocking(self.log.end(), None).unwrap();
        let (mut reader, mut runs) = (self.log.reader(self.log.first()).unwrap(), 0);
        while let Some(record) = reader.next().unwrap() {
            if record.kind.is_user() && record.flags.contains(Flags::LAST) {
                runs += usize::from(!PageRecord::decode(record.payload).unwrap().is_image);
            }
        }
        runs
    }
}

fn connect(dir: &Path) -> Connection {
    let app = Connection::open(dir.join("app.db")).unwrap();
    app.busy_timeout(std::time::Duration::ZERO).unwrap();
    app
}

/// Whether a writer got in: not while it is held up.
fn insert(app: &Connection) -> bool {
    app.execute("INSERT INTO t SELECT max(x) + 1 FROM t", []).is_ok()
}

fn rows(app: &Connection) -> usize {
    let rows: i64 = app.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    rows as usize
}

/// The salts that the `-wal` begins with.
fn salts(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("app.db-wal")).unwrap().get(16..24).unwrap_or_default().to_vec()
}

const NEVER: u64 = u64::MAX;
const ALWAYS: u64 = 0;

#[test]
fn what_a_wal_held_is_durable_in_the_log_before_it_may_begin_anew() {
    for truncate_from in [NEVER, ALWAYS] {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::create(dir.path());
        let mut capture = place.attach(truncate_from);
        let mut anew = 0;
        for round in 0..20 {
            for _ in 0..5 + round % 3 {
                assert!(insert(&place.app));
            }
            let before = salts(dir.path());
            capture.step().unwrap();
            let copied = place.log.end();
            assert!(insert(&place.app));
            if salts(dir.path()) != before {
                anew += 1;
                let durable = place.log.durable().get();
                assert!(copied <= durable, "begun anew, the log being durable up to {durable} of {copied}");
            }
        }
        assert!(anew > 10, "begun anew {anew} times");
    }
}

#[test]
fn after_a_power_cut_between_log_and_checkpoint_each_transaction_is_still_one_run() {
    for truncate_from in [NEVER, ALWAYS] {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::create(dir.path());
        let mut capture = place.attach(truncate_from);
        place.log.wait_blocking(place.log.end(), None).unwrap();
        (0..5).for_each(|_| assert!(insert(&place.app)));
        // Two files that were synced at different times: the log as it was when it was last made durable, and a database that
        // reached the disk with all that came after.
        let cut = tempfile::tempdir().unwrap();
        let mut durable = Lsn::ZERO;
        let mut keep_log = |place: &Place| {
            if durable < place.log.durable().get() {
                durable = place.log.durable().get();
                copy_log(&place.dir, cut.path());
            }
        };
        keep_log(&place);
        for _ in 0..4 {
            capture.step().unwrap();
            keep_log(&place);
            (0..5).for_each(|_| assert!(insert(&place.app)));
        }
        let held = rows(&place.app);
        // Closing these drops the locks of this process, which is about to lose its power anyhow.
        for name in ["app.db", "app.db-wal"] {
            std::fs::copy(dir.path().join(name), cut.path().join(name)).unwrap();
        }
        let place = Place::open(cut.path());
        let mut capture = place.attach(NEVER);
        assert_eq!(capture.status().resyncs, 0, "the -wal has all that the log has not");
        while capture.step().unwrap() != CaptureStep::Idle {}
        assert_eq!((place.runs() + 1, rows(&place.app)), (held, held));
    }
}

fn copy_log(from: &Path, to: &Path) {
    let _not_there_yet = std::fs::remove_dir_all(to.join("log"));
    std::fs::create_dir(to.join("log")).unwrap();
    for entry in std::fs::read_dir(from.join("log")).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join("log").join(entry.file_name())).unwrap();
    }
}

const DIR: &str = "LONGSHORE_TEST_POWER_CUT_DIR";
const DIE_AT: &str = "LONGSHORE_TEST_POWER_CUT_AT";
const TRUNCATE_FROM: &str = "LONGSHORE_TEST_POWER_CUT_TRUNCATE_FROM";

/// Not a test: the process that ends at the point that it was told.
#[test]
#[ignore = "run by the test below, as a process of its own"]
fn a_process_that_captures() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let place = Place::open(Path::new(&dir));
    let tail = connect(Path::new(&dir));
    let mut capture = place.attach(number(TRUNCATE_FROM));
    let (mut left, mut committed) = (number(DIE_AT), 0);
    watch(Some(Box::new(move |point| {
        if left == 0 {
            println!("dying where {point}");
            kill_myself();
        }
        left -= 1;
        // Commits that come while it is at it, so that there is a tail to hold writers up for.
        if (committed < 3 || point == "a read mark is set") && insert(&tail) {
            committed += 1;
        }
    })));
    (0..5).for_each(|_| assert!(insert(&place.app)));
    capture.step().unwrap();
    assert!(insert(&place.app));
    println!("came to its end");
}

/// As hard as it gets: no destructor runs.
fn kill_myself() {
    Command::new("kill").args(["-9", &std::process::id().to_string()]).status().expect("there is a kill command");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_process_that_dies_at_any_point_of_a_seal_loses_nothing_and_ships_nothing_twice() {
    for truncate_from in [NEVER, ALWAYS] {
        let mut points = Vec::new();
        for die_at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::create(dir.path());
            drop(place.attach(truncate_from));
            // The application lives on: the last one to close would copy everything back.
            let Place { log, app: _application, .. } = place;
            drop(log);
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "capture::power_cut::a_process_that_captures", "--ignored", "--nocapture"])
                .env(DIR, dir.path())
                .env(DIE_AT, die_at.to_string())
                .env(TRUNCATE_FROM, truncate_from.to_string())
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let point = said.lines().find_map(|line| line.split("dying where ").nth(1)).map(str::to_owned);

            let place = Place::open(dir.path());
            let mut capture = place.attach(truncate_from);
            let at = point.as_deref().unwrap_or("the end");
            assert_eq!(capture.status().resyncs, 0, "after dying at point {die_at}, where {at}");
            assert!(insert(&place.app));
            while capture.step().unwrap() != CaptureStep::Idle {}
            assert_eq!(place.runs() + 1, rows(&place.app), "after dying at point {die_at}, where {at}");
            match point {
                Some(point) => points.push(point),
                None => {
                    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
                    break;
                }
            }
        }
        for point in POINTS {
            assert!(points.iter().any(|reached| reached == point), "{point} in {points:?}");
        }
    }
}

const POINTS: [&str; 8] = [
    "the -wal is synced",
    "a run is appended",
    "a read mark is set",
    "copied back",
    "synced",
    "writers are held",
    "finished",
    "released",
];
