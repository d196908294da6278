//! The search for records after a bad one.

use longshore_format::{EpochEntry, Lsn, Resync};

use crate::support::{Image, LOG, SIZE, first_life};

fn search(image: &Image, from: Lsn, lives: &[EpochEntry]) -> Vec<(u64, Option<u64>)> {
    Resync::new(LOG, SIZE, lives, from, image.body_from(from))
        .map(|found| (found.start.get(), found.promise.map(Lsn::get)))
        .collect()
}

/// Four records; the second is bad, and the later ones promise that all before them is durable.
fn damaged() -> (Image, Vec<Lsn>) {
    let mut image = Image::new();
    let mut starts = Vec::new();
    for fill in 1..=4 {
        starts.push(image.single(&[fill; 200]));
        image.durable = image.cursor.position();
    }
    (image, starts)
}

// F-004 against F-005: the promise is what tells them apart.
#[test]
fn later_records_are_found_with_what_they_promise() {
    let (mut image, starts) = damaged();
    let bad = starts[1];
    let offset = SIZE.offset_in(bad) as usize;
    image.segments[0][offset..offset + 32].fill(0xff);
    let found = search(&image, Lsn::new(bad.get() + 8), &[first_life()]);
    // The third record has no sound neighbour before it; the fourth has.
    assert_eq!(found, [(starts[3].get(), Some(starts[3].get()))]);
}

// A body need not be held as a whole to be searched: wherever it is cut, the same is found.
#[test]
fn a_search_in_parts_finds_what_one_over_everything_does() {
    let mut image = Image::new();
    let bad = image.cursor.position();
    for fill in 0..60 {
        image.single(&vec![fill; 7 * usize::from(fill)]);
        image.durable = image.cursor.position();
    }
    let body = image.body_from(bad);
    let longest = 32 + 7 * 60;
    for from in [0, 8, 64] {
        let start = Lsn::new(bad.get() + from);
        let whole: Vec<_> = Resync::new(LOG, SIZE, &[first_life()], start, image.body_from(start)).collect();
        assert!(50 < whole.len());
        for part in [longest + 1, 2 * longest, 1000, 4096, 60_000] {
            let mut search = Resync::new(LOG, SIZE, &[first_life()], start, &[]);
            let mut found = Vec::new();
            loop {
                let rest = &body[search.position().since(bad) as usize..];
                let here = &rest[..part.min(rest.len())];
                let is_last = here.len() == rest.len();
                let mut part = search.over(here, if is_last { 0 } else { longest });
                found.extend(part.by_ref());
                search = part.over(&[], 0);
                if is_last {
                    break;
                }
            }
            assert_eq!(found, whole, "from {from} in parts of {part}");
        }
    }
}

#[test]
fn a_lone_record_is_not_believed() {
    let (mut image, starts) = damaged();
    let offset = SIZE.offset_in(starts[1]) as usize;
    image.segments[0][offset..offset + 32].fill(0xff);
    let offset = SIZE.offset_in(starts[3]) as usize;
    image.segments[0][offset..].fill(0);
    assert_eq!(search(&image, Lsn::new(starts[1].get() + 8), &[first_life()]), []);
}

// F-019
#[test]
fn a_payload_full_of_records_is_never_entered() {
    let (inner, starts) = damaged();
    let mut image = Image::new();
    // The payload is an image of records minted for exactly the positions it comes to lie at.
    let mut payload = inner.body_from(starts[0])[..928].to_vec();
    payload.drain(..32);
    let outer = image.single(&payload);
    assert_eq!(outer, starts[0]);
    // Its header is good, its payload bad: the search starts behind it.
    assert_eq!(search(&image, Lsn::new(outer.get() + 928), &[first_life()]), []);
    // A search that comes upon a sound header steps over all it covers.
    assert_eq!(search(&image, outer, &[first_life()]), []);
}

#[test]
fn only_records_of_the_given_lives_count() {
    let (image, starts) = damaged();
    let mut other = first_life();
    other.epoch.number = 9;
    assert_eq!(search(&image, starts[0], &[other]), []);
    assert_eq!(search(&image, starts[0], &[other, first_life()]).len(), 3);
}

#[test]
fn a_life_that_begins_on_the_way_is_followed() {
    let mut image = Image::new();
    let bad = image.single(&[1; 64]);
    image.single(&[2; 64]);
    image.incarnate(0x99);
    image.single(&[3; 64]);
    image.begin_epoch(2, 0xb2);
    image.single(&[4; 64]);
    let found = search(&image, Lsn::new(bad.get() + 96), &[first_life()]);
    assert_eq!(found.len(), 4);
    let lives: Vec<_> = Resync::new(LOG, SIZE, &[first_life()], bad, image.body_from(bad))
        .map(|found| found.life.incarnation.get())
        .collect();
    assert_eq!(lives, [0x11, 0x11, 0x99, 0x99, 2]);
}

#[test]
fn a_later_segment_vouches_for_its_first_record() {
    let mut image = Image::new();
    (0..4).for_each(|_| _ = image.single(&[1; 16_000]));
    assert_eq!(image.segments.len(), 2);
    let header = longshore_format::SegmentHeader::decode(&image.segments[1]).unwrap();
    let body = image.body_from(header.chain.position);
    let found: Vec<_> = Resync::in_segment(&header, &[], body).map(|found| found.start).collect();
    assert_eq!(found, [header.chain.position]);
}

#[test]
fn a_search_that_begins_between_or_beyond_everything_finds_nothing() {
    let life = [first_life()];
    for from in [0, 1, 4097, u64::MAX - 8, u64::MAX] {
        for bytes in [&[][..], &[0xff; 7], &[0xff; 100]] {
            assert_eq!(Resync::new(LOG, SIZE, &life, Lsn::new(from), bytes).count(), 0);
        }
    }
}
