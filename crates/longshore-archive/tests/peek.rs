//! Where a restore stops is seen without fetching more than two segments.

#[expect(dead_code, reason = "shared by several test files")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use longshore_archive::{Archive, ArchiveSettings, Begin, CopyPlan, Error, FetchPlan, Finding, LeftOut, Store, Until};
use longshore_format::{ErrorKind, Lsn};
use longshore_wal::RecordDraft;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use support::{Rig, name};

/// A transaction: where it starts and ends, when it was committed, and its records.
type Run = (Lsn, Lsn, u64, u64);

struct Stage {
    rig: Rig,
    objects: Arc<InMemory>,
    store: Store,
}

impl Stage {
    /// A log of many segments with transactions of one record and of many, archived up to its end.
    async fn new() -> Stage {
        let rig = Rig::new();
        let objects = Arc::new(InMemory::new());
        let store = Store::of(Arc::clone(&objects) as Arc<dyn ObjectStore>, "near");
        for _ in 0..12 {
            rig.append(300);
            let payloads: Vec<Vec<u8>> = (0..9).map(|byte| vec![byte; 700]).collect();
            let drafts: Vec<RecordDraft<'_>> = payloads.iter().map(|payload| RecordDraft::user(payload)).collect();
            while rig.wal.append(&drafts, None).is_err() {
                rig.wal.wait_room_blocking(8192, None).map(|_| ()).unwrap();
            }
            rig.append(1);
        }
        rig.seal();
        let stage = Stage { rig, objects, store };
        stage.archive().await;
        stage
    }

    async fn archive(&self) {
        let settings = ArchiveSettings { tail_every: Duration::ZERO, ..ArchiveSettings::default() };
        self.rig.archiver(&self.store, &settings).await.finish().await.unwrap();
    }

    async fn open(&self) -> Archive {
        Archive::open(std::slice::from_ref(&self.store), &name(), None).await.unwrap()
    }

    fn runs(&self) -> Vec<Run> {
        let mut reader = self.rig.wal.reader(self.rig.wal.first()).unwrap();
        let (mut runs, mut start, mut records) = (Vec::new(), None, 0);
        while let Some(record) = reader.next().unwrap() {
            if record.kind.is_user() {
                records += 1;
                let first = *start.get_or_insert(record.start);
                if record.is_last() {
                    runs.push((first, record.end, record.time, std::mem::take(&mut records)));
                    start = None;
                }
            }
        }
        runs
    }
}

#[tokio::test]
async fn every_position_and_time_stops_where_the_log_itself_says() {
    let stage = Stage::new().await;
    let (archive, runs) = (stage.open().await, stage.runs());
    assert!(20 < archive.plan(Until::End, Begin::First).unwrap().segments(), "many segments");
    let left_out = |run: Option<&Run>| {
        run.map(|(start, end, time, records)| LeftOut { start: *start, end: Some((*end, *time, *records)) })
    };
    for at in (0..runs.len()).step_by(7).chain([runs.len() - 2, runs.len() - 1]) {
        let (_, end, time, _) = runs[at];
        let glimpse = archive.peek(Until::Position(end), |lsn, _| lsn <= end).await.unwrap();
        assert_eq!((glimpse.stop, glimpse.time), (end, Some(time)), "lsn:{end}");
        assert_eq!(glimpse.next, left_out(runs.get(at + 1)), "lsn:{end}");

        let last = runs.partition_point(|(_, _, theirs, _)| *theirs <= time);
        let glimpse = archive.peek(Until::Time(time), |_, theirs| theirs <= time).await.unwrap();
        assert_eq!(glimpse.stop, runs[last - 1].1, "time {time}");
        assert_eq!(glimpse.next, left_out(runs.get(last)), "time {time}");

        if 0 < at {
            let glimpse = archive.peek(Until::Position(end), |lsn, _| lsn < end).await.unwrap();
            let between = runs[at - 1].1..=runs[at].0;
            assert!(between.contains(&glimpse.stop), "before {end}: {}", glimpse.stop);
            assert_eq!(glimpse.next, left_out(Some(&runs[at])), "before {end}");
        }
        let size = archive.facts().size.get();
        assert!(glimpse.sample.log_bytes <= 2 * size && 0 < glimpse.sample.bytes, "{:?}", glimpse.sample);
    }
    let glimpse = archive.peek(Until::End, |_, _| true).await.unwrap();
    assert_eq!((glimpse.stop, glimpse.next, glimpse.unfinished), (runs[runs.len() - 1].1, None, None));
}

#[tokio::test]
async fn a_transaction_that_never_ended_is_named() {
    let stage = Stage::new().await;
    let last = stage.runs().last().unwrap().1;
    let mut run = stage.rig.wal.begin().unwrap();
    // More than is kept back in memory.
    for _ in 0..200 {
        while run.append(longshore_format::Kind::USER, &[7; 1000]).is_err() {
            stage.rig.wal.wait_room_blocking(4096, None).map(|_| ()).unwrap();
        }
    }
    let end = stage.rig.wal.end();
    stage.rig.wal.wait_blocking(end, None).unwrap();
    stage.rig.seal();
    stage.archive().await;
    let archive = stage.open().await;
    let glimpse = archive.peek(Until::End, |_, _| true).await.unwrap();
    assert_eq!((glimpse.stop, glimpse.next), (last, None));
    assert_eq!(glimpse.unfinished, Some(last));
    let glimpse = archive.peek(Until::Position(last), |lsn, _| lsn <= last).await.unwrap();
    assert_eq!(
        (glimpse.stop, glimpse.next),
        (last, Some(LeftOut { start: last, end: None })),
        "it is longer than the look"
    );
}

#[tokio::test]
async fn what_is_out_of_reach_names_the_nearest_and_where() {
    let stage = Stage::new().await;
    let (archive, runs) = (stage.open().await, stage.runs());
    let (first, last, end) = (runs[0], runs[runs.len() - 1], archive.end());
    let keeps_none = |_, _| false;

    let error = archive.peek(Until::Position(Lsn::new(end.get() + 8)), |_, _| true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(&format!("near: log app is archived from 4096 to {end}")), "{error}");
    assert!(error.to_string().contains(&format!("the nearest is lsn:{end}")), "{error}");

    let error = archive.peek(Until::Time(first.2 - 1), keeps_none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooOld);
    assert!(
        error.to_string().contains(&format!("the first transaction of log app there is lsn:{}", first.1)),
        "{error}"
    );

    let error = archive.peek(Until::Time(last.2 + 1), |_, _| true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let Error::Moment { store, nearest, time, .. } = &error else { panic!("{error}") };
    assert_eq!((store.as_str(), *nearest, *time), ("near", last.1, last.2));

    let inside = Lsn::new(runs[9].0.get() + 8);
    let error = archive.peek(Until::Position(inside), |lsn, _| lsn <= inside).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(&format!("lsn:{} and lsn:{}", runs[9].0, runs[9].1)), "{error}");
}

fn everything(archive: &Archive) -> FetchPlan {
    archive.plan(Until::End, Begin::First).unwrap()
}

#[tokio::test]
async fn a_hole_is_one_that_no_store_fills() {
    let stage = Stage::new().await;
    let copy = Arc::new(InMemory::new());
    let far = Store::of(Arc::clone(&copy) as Arc<dyn ObjectStore>, "far");
    longshore_archive::copy(&stage.store, &far, &name(), None, CopyPlan::default(), |_| {}).await.unwrap();
    let archive = stage.open().await;
    assert_eq!(archive.holes(&everything(&archive)).await.unwrap(), []);

    use futures_util::TryStreamExt;
    let listed: Vec<_> = stage.objects.list(None).try_collect().await.unwrap();
    let gone = listed.iter().filter(|meta| meta.location.to_string().contains("/segments/")).nth(5).unwrap();
    stage.objects.delete(&gone.location).await.unwrap();
    let [Finding::Missing { store, object, start, end }] = &archive.holes(&everything(&archive)).await.unwrap()[..]
    else {
        panic!("one hole");
    };
    assert_eq!((store.as_str(), object), ("near", &gone.location.to_string()));
    assert_eq!(end.since(*start), archive.facts().size.get());
    let early = archive.plan(Until::Position(archive.first()), Begin::First).unwrap();
    assert_eq!(archive.holes(&early).await.unwrap(), [], "what is not needed is no hole");

    let both = Archive::open(&[stage.store.clone(), far.clone()], &name(), None).await.unwrap();
    assert_eq!(both.holes(&everything(&both)).await.unwrap(), []);
    copy.delete(&gone.location).await.unwrap();
    assert_eq!(both.holes(&everything(&both)).await.unwrap().len(), 1);
}
