use longshore_apply::SnapshotError;
use tempfile::TempDir;

use super::*;
use crate::snapshot::file::{SnapshotReader, SnapshotWriter};

const HEAD: SnapshotHead = SnapshotHead { log: LogId::from_bytes([7; 16]), lsn: Lsn::new(4096), link: 9, time: 11 };

/// What a sink holds; it cannot be read further than it goes.
struct Image(std::vec::IntoIter<Option<Vec<u8>>>);

impl DatabaseImage for Image {
    fn position(&self) -> Lsn {
        Lsn::new(9000)
    }

    fn next_payload(&mut self) -> Result<Option<Vec<u8>>, SnapshotError> {
        match self.0.next() {
            Some(None) => Err("the disk has a bad sector".into()),
            payload => Ok(payload.flatten()),
        }
    }
}

fn image(payloads: &[Vec<u8>]) -> Box<dyn DatabaseImage> {
    Box::new(Image(payloads.iter().cloned().map(Some).collect::<Vec<_>>().into_iter()))
}

/// An upstream with one snapshot.
struct Upstream {
    place: TempDir,
    file: Vec<u8>,
}

impl Upstream {
    fn of(payloads: &[Vec<u8>]) -> Upstream {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("orders.snapshot");
        let mut writer = SnapshotWriter::create(&path, &HEAD).unwrap();
        payloads.iter().for_each(|payload| writer.payload(payload).unwrap());
        writer.finish().unwrap();
        let file = std::fs::read(path).unwrap();
        Upstream { place, file }
    }

    fn outline(&self, offset: u64, most: usize) -> SnapshotOutline {
        let path = self.place.path().join("orders.snapshot");
        let mut reader = SnapshotReader::at(&path, File::open(&path).unwrap(), HEAD, offset).unwrap();
        let (mut records, mut payload) = (Vec::new(), Vec::new());
        while records.len() < most
            && let Some(len) = reader.next_payload(&mut payload).unwrap()
        {
            records.push(RecordOutline { len: len as u32, digest: digest_of(&payload) });
        }
        let place = SnapshotPlace { position: HEAD.lsn, offset };
        SnapshotOutline { place, len: self.file.len() as u64, records }
    }

    fn begin(&self, payloads: Box<dyn DatabaseImage>) -> Difference {
        Difference::begin(&self.part(), payloads, &self.outline(HEAD_LEN as u64, 1)).unwrap()
    }

    fn part(&self) -> PathBuf {
        self.place.path().join("orders.seed-part")
    }

    /// Goes on until all is there or so many bytes have come, in chunks of `chunk`; whether it is whole.
    fn run(&self, difference: &mut Difference, chunk: usize, mut until: usize) -> bool {
        loop {
            let (wanted, asked) = difference.wanted();
            let sent: Vec<u8> = wanted.iter().flat_map(|range| self.bytes(range)).copied().collect();
            for bytes in sent.chunks(chunk) {
                if until < bytes.len() {
                    return false;
                }
                until -= bytes.len();
                difference.take(asked, bytes).unwrap();
            }
            if sent.is_empty() && difference.is_outlined() {
                return true;
            }
            let outline = self.outline(difference.place().offset, 3);
            assert!(difference.goes_on_with(&outline));
            difference.compare(&outline.records).unwrap();
        }
    }

    fn bytes(&self, range: &Range<u64>) -> &[u8] {
        &self.file[range.start as usize..range.end as usize]
    }

    /// The file is the upstream's, and so much of it was fetched.
    fn check(&self, difference: &mut Difference, fetched: usize) {
        let seed = self.place.path().join("orders.seed");
        difference.finish(HEAD.log, &seed).unwrap();
        assert!(std::fs::read(&seed).unwrap() == self.file, "byte for byte");
        difference.finish(HEAD.log, &seed).expect("whoever asked first may not have heard");
        let all = self.file.len() - FRAME_LEN;
        assert_eq!(difference.counts(), (fetched as u64, (all - fetched) as u64));
        assert!(!self.part().exists());
    }
}

/// Records of about 100 bytes that differ by their number and `seed`.
fn records(count: usize, seed: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| [&(number as u64).to_le_bytes()[..], &vec![seed; 90 + number % 7]].concat()).collect()
}

fn changed(payloads: &[Vec<u8>], at: usize) -> Vec<Vec<u8>> {
    let mut payloads = payloads.to_vec();
    payloads[at][10] ^= 1;
    payloads
}

fn framed(payloads: &[Vec<u8>]) -> usize {
    payloads.iter().map(|payload| FRAME_LEN + payload.len()).sum()
}

#[test]
fn what_is_held_is_not_fetched_and_the_file_is_the_same() {
    let there = records(20, 1);
    let shorter_record = [&there[..5], &[b"short".to_vec()], &there[6..]].concat();
    for (what, here, fetched) in [
        ("equal", there.clone(), 0),
        ("one in the middle differs", changed(&there, 11), framed(&there[11..12])),
        ("neighbours differ", changed(&changed(&there, 4), 5), framed(&there[4..6])),
        ("the first and the last", changed(&changed(&there, 0), 19), framed(&there[..1]) + framed(&there[19..])),
        ("one of another length", shorter_record, framed(&there[5..6])),
        ("longer", records(30, 1), 0),
        ("shorter", records(12, 1), framed(&there[12..])),
        ("other pages throughout", records(20, 2), framed(&there)),
        ("nothing", Vec::new(), framed(&there)),
    ] {
        for chunk in [1, 64, 1 << 20] {
            let upstream = Upstream::of(&there);
            let mut difference = upstream.begin(image(&here));
            assert!(upstream.run(&mut difference, chunk, usize::MAX), "{what}");
            upstream.check(&mut difference, HEAD_LEN + fetched);
        }
    }
}

#[test]
fn what_is_held_and_cannot_be_read_is_fetched() {
    let there = records(9, 1);
    let readable = there[..4].iter().cloned().map(Some).chain([None]).collect::<Vec<_>>();
    let upstream = Upstream::of(&there);
    let mut difference = upstream.begin(Box::new(Image(readable.into_iter())));
    assert!(upstream.run(&mut difference, 1000, usize::MAX));
    upstream.check(&mut difference, HEAD_LEN + framed(&there[4..]));
}

#[test]
fn a_database_without_a_row_has_a_snapshot_too() {
    let upstream = Upstream::of(&[]);
    let mut difference = upstream.begin(image(&records(3, 1)));
    assert!(upstream.run(&mut difference, 1000, usize::MAX));
    upstream.check(&mut difference, HEAD_LEN);
}

/// A connection that is lost at any byte: what came before is not fetched again, but for a record that came in part.
#[test]
fn it_goes_on_where_the_connection_was_lost() {
    let there = records(12, 1);
    let upstream = Upstream::of(&there);
    let here = [changed(&there, 3)[..6].to_vec(), records(12, 2)[6..].to_vec()].concat();
    let differs = HEAD_LEN + framed(&there[3..4]) + framed(&there[6..]);
    for lost_at in 0..differs {
        let mut difference = upstream.begin(image(&here));
        assert!(!upstream.run(&mut difference, 1, lost_at), "lost at {lost_at}");
        // Late bytes of that connection change nothing.
        let late = difference.asked;
        assert!(!upstream.run(&mut difference, 1, 0));
        difference.take(late, b"late").unwrap();
        assert!(upstream.run(&mut difference, 1, usize::MAX));
        let fetched = difference.counts().0 as usize;
        assert!((differs..differs + 112).contains(&fetched), "lost at {lost_at}: {fetched} of {differs}");
        let seed = upstream.place.path().join("orders.seed");
        difference.finish(HEAD.log, &seed).unwrap();
        assert!(std::fs::read(&seed).unwrap() == upstream.file, "lost at {lost_at}");
    }
}

/// What an agent that was killed has left, whatever it is, of this snapshot or another one.
#[test]
fn what_an_earlier_attempt_has_left_is_used_where_it_holds() {
    let there = records(12, 1);
    let upstream = Upstream::of(&there);
    let mut difference = upstream.begin(image(&[]));
    let before = HEAD_LEN + framed(&there[..7]);
    assert!(!upstream.run(&mut difference, 1, before + 50));
    drop(difference);
    let mut difference = upstream.begin(image(&[]));
    assert!(upstream.run(&mut difference, 1000, usize::MAX));
    upstream.check(&mut difference, HEAD_LEN + framed(&there[7..]));

    for left in [vec![0; 5], vec![0; 10_000], Upstream::of(&records(40, 3)).file] {
        std::fs::write(upstream.part(), left).unwrap();
        let mut difference = upstream.begin(image(&there[..5]));
        assert!(upstream.run(&mut difference, 1000, usize::MAX));
        upstream.check(&mut difference, HEAD_LEN + framed(&there[5..]));
    }
}

#[test]
fn an_outline_or_bytes_that_lie_are_refused() {
    let there = records(6, 1);
    let upstream = Upstream::of(&there);
    let first = upstream.outline(HEAD_LEN as u64, 6);
    let begin = |outline: &SnapshotOutline| Difference::begin(&upstream.part(), image(&there), outline);
    let compare = |len: u64, records: &[RecordOutline]| {
        let mut difference = begin(&SnapshotOutline { len, ..first.clone() })?;
        difference.compare(records)
    };
    let refused = |what: &str, result: Result<()>| {
        let error = result.expect_err(what);
        assert!(is_of_outline(&error), "{what}: {error}");
    };
    let record = |len| RecordOutline { len, digest: [0; 16] };
    assert!(compare(first.len, &first.records).is_ok());
    refused("it ends too early", compare(first.len, &[]));
    refused("a record that reaches beyond the file", compare(first.len, &[record(first.len as u32)]));
    refused("one more than there is room for", compare(first.len, &[&first.records[..], &[record(1)]].concat()));
    refused("a record longer than any", compare(u64::MAX, &[record(u32::MAX)]));
    refused("a record of nothing", compare(first.len, &[record(0)]));
    for (offset, len) in [(0, first.len), (53, first.len), (HEAD_LEN as u64, 52), (HEAD_LEN as u64, 0)] {
        let place = SnapshotPlace { position: HEAD.lsn, offset };
        refused("a file that begins elsewhere", begin(&SnapshotOutline { place, len, records: Vec::new() }).map(drop));
    }

    // Bytes that are not what the outline said, too many of them, and a head of another log.
    let fetch = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut difference = Difference::begin(&upstream.part(), image(&[]), &first)?;
        difference.compare(&first.records)?;
        let (wanted, asked) = difference.wanted();
        let mut sent: Vec<u8> = wanted.iter().flat_map(|range| upstream.bytes(range)).copied().collect();
        change(&mut sent);
        difference.take(asked, &sent)?;
        difference.finish(HEAD.log, &upstream.place.path().join("orders.seed"))
    };
    assert!(fetch(&|_| {}).is_ok());
    refused("a payload that was changed", fetch(&|sent| sent[HEAD_LEN + 20] ^= 1));
    refused("a frame that was changed", fetch(&|sent| sent[HEAD_LEN] ^= 1));
    refused("more than was asked for", fetch(&|sent| sent.push(0)));
    refused("a head that does not hold", fetch(&|sent| sent[0] ^= 1));
    let other = LogId::from_bytes([8; 16]);
    let mut difference = upstream.begin(image(&there));
    assert!(upstream.run(&mut difference, 1000, usize::MAX));
    refused("a head of another log", difference.finish(other, &upstream.place.path().join("orders.seed")));
}
