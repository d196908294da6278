//! Each unsafe block of `memory.rs` is reached from here on the heap backing, so that Miri can judge it.

use std::sync::Mutex;

use super::*;

fn region(len: usize) -> (RegionWriter, RegionReader) {
    Region::heap(vec![0; len].into(), None)
}

#[test]
fn readers_see_what_was_published_and_slices_outlive_every_other_handle() {
    let (mut writer, reader) = region(64);
    writer.copy_in(0, b"first");
    writer.publish(5);
    let slice = reader.slice(0..5);
    writer.copy_in(5, b"second");
    assert_eq!(reader.bytes(0..5), b"first");
    assert_eq!(writer.bytes(0..11), b"firstsecond");
    writer.publish(11);
    assert_eq!(reader.clone().bytes(5..11), b"second");
    drop((writer, reader));
    assert_eq!(slice.as_ref(), b"first");
}

#[test]
fn a_borrow_of_published_bytes_lives_while_the_writer_goes_on() {
    let (mut writer, reader) = region(32);
    writer.copy_in(0, b"abc");
    writer.publish(3);
    let borrowed = reader.bytes(0..3);
    writer.copy_in(3, b"def");
    writer.zero(6..32);
    writer.publish(6);
    assert_eq!(borrowed, b"abc");
    assert_eq!(reader.bytes(0..6), b"abcdef");
}

#[test]
fn a_reader_on_another_thread_never_sees_unwritten_bytes() {
    let len = if cfg!(miri) { 200 } else { 1 << 16 };
    let (mut writer, reader) = region(len);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            loop {
                let published = reader.published();
                assert!(reader.bytes(0..published).iter().all(|byte| *byte == 7), "a published byte was not written");
                if published == len {
                    break;
                }
                std::thread::yield_now();
            }
        });
        for at in 0..len {
            writer.copy_in(at, &[7]);
            writer.publish(at + 1);
        }
    });
}

#[test]
fn the_owner_of_a_heap_region_is_told_of_every_store() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let on_write: OnWrite = Box::new(move |at, bytes| log.lock().unwrap().push((at, bytes.to_vec())));
    let (mut writer, _reader) = Region::heap(vec![9; 8].into(), Some(on_write));
    writer.copy_in(1, b"ab");
    writer.zero(4..8);
    assert_eq!(*told.lock().unwrap(), vec![(1, b"ab".to_vec()), (4, vec![0; 4])]);
    assert_eq!(writer.bytes(0..8), [9, b'a', b'b', 9, 0, 0, 0, 0]);
}

#[test]
#[should_panic(expected = "below the published 4")]
fn published_bytes_cannot_be_stored_over() {
    let (mut writer, _reader) = region(8);
    writer.publish(4);
    writer.copy_in(3, b"x");
}

#[test]
#[should_panic(expected = "below the published 4")]
fn published_bytes_cannot_be_zeroed() {
    let (mut writer, _reader) = region(8);
    writer.publish(4);
    writer.zero(0..8);
}

#[test]
#[should_panic(expected = "publish 3 after 4")]
fn published_never_decreases() {
    let (mut writer, _reader) = region(8);
    writer.publish(4);
    writer.publish(3);
}

#[test]
#[should_panic(expected = "is not published")]
fn readers_cannot_take_unpublished_bytes() {
    let (mut writer, reader) = region(8);
    writer.publish(4);
    reader.slice(0..5);
}

#[test]
#[should_panic(expected = "of a region of 8 bytes")]
fn stores_beyond_the_end_are_refused() {
    let (mut writer, _reader) = region(8);
    writer.copy_in(usize::MAX, b"xy");
}

#[test]
#[should_panic(expected = "publish 9")]
fn no_more_than_the_region_can_be_published() {
    let (mut writer, _reader) = region(8);
    writer.publish(9);
}

#[test]
fn a_watch_sees_the_last_handle_go() {
    let (mut writer, reader) = region(8);
    writer.publish(2);
    let watch = reader.watch();
    assert_eq!(watch.living().map(|living| (living.len, living.published)), Some((8, 2)));
    let slice = reader.slice(0..2);
    drop((writer, reader));
    assert!(watch.living().is_some());
    drop(slice);
    assert!(watch.living().is_none());
}
