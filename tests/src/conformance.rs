//! What every [`Directory`] must do, run against the real file system and the simulated disk alike.

use std::io::ErrorKind;
use std::sync::Arc;

use longshore_storage::{Access, Directory, File, Trouble};

/// One promise of the storage traits, checked in an empty directory.
pub struct Check {
    /// The promise.
    pub name: &'static str,
    /// Panics if the promise does not hold.
    pub run: fn(&Arc<dyn Directory>),
}

macro_rules! checks {
    ($($name:ident),+ $(,)?) => {
        /// All checks. Each needs an empty directory of its own.
        pub const CHECKS: &[Check] = &[$(Check { name: stringify!($name), run: $name }),+];
    };
}

checks! {
    a_new_file_is_empty_and_listed,
    a_name_is_created_once,
    names_are_one_component,
    missing_names_are_not_found,
    reads_are_short_only_at_the_end,
    writes_extend_and_leave_zeros_between,
    a_file_opened_for_reading_refuses_changes,
    allocation_extends_with_zeros_and_never_shrinks,
    lengths_can_be_cut_and_extended,
    zero_fill_covers_exactly_its_range,
    rename_replaces_and_open_handles_follow,
    rename_reaches_into_a_subdirectory,
    remove_takes_the_name_and_leaves_the_handle,
    subdirectories_are_opened_listed_and_removed_empty,
    a_directory_is_not_a_file,
    the_lock_is_exclusive_and_freed_by_dropping_it,
    stores_through_a_region_are_read_back_from_the_file,
    a_region_starts_with_the_files_bytes_and_nothing_published,
    a_file_has_one_region_at_a_time,
    a_region_longer_than_the_file_is_refused,
    a_region_protects_what_is_published,
    a_removed_file_cannot_be_synced_through_its_region,
    syncs_succeed_and_the_directory_is_intact,
}

fn bytes_of(file: &Arc<dyn File>) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn filled(dir: &Arc<dyn Directory>, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = dir.create(name).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[track_caller]
fn assert_kind<T>(result: std::io::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("succeeded, but {kind} was expected"),
        Err(error) => assert_eq!(error.kind(), kind, "{error}"),
    }
}

fn a_new_file_is_empty_and_listed(dir: &Arc<dyn Directory>) {
    let file = dir.create("b").unwrap();
    assert!(file.is_empty().unwrap());
    filled(dir, "a", b"123");
    let entries = dir.list().unwrap();
    let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.len, e.regular, e.directory)).collect();
    assert_eq!(seen, [("a", 3, true, false), ("b", 0, true, false)]);
}

fn a_name_is_created_once(dir: &Arc<dyn Directory>) {
    filled(dir, "a", b"kept");
    let again = dir.create("a");
    assert_eq!(Trouble::of(again.as_ref().unwrap_err()), Trouble::Busy);
    assert_kind(again, ErrorKind::AlreadyExists);
    assert_eq!(bytes_of(&dir.open("a", Access::Read).unwrap()), b"kept");
}

fn names_are_one_component(dir: &Arc<dyn Directory>) {
    for name in ["", ".", "..", "a/b", "/a", "a\0b"] {
        assert_kind(dir.create(name), ErrorKind::InvalidInput);
        assert_kind(dir.open(name, Access::Read), ErrorKind::InvalidInput);
        assert_kind(dir.remove(name), ErrorKind::InvalidInput);
        assert_kind(dir.subdir(name), ErrorKind::InvalidInput);
    }
    filled(dir, "a", b"");
    assert_kind(dir.rename("a", "../a"), ErrorKind::InvalidInput);
    assert_kind(dir.rename("../a", "a"), ErrorKind::InvalidInput);
}

fn missing_names_are_not_found(dir: &Arc<dyn Directory>) {
    let missing = dir.open("a", Access::Write);
    assert_eq!(Trouble::of(missing.as_ref().unwrap_err()), Trouble::NotFound);
    assert_kind(missing, ErrorKind::NotFound);
    assert_kind(dir.remove("a"), ErrorKind::NotFound);
    assert_kind(dir.rename("a", "b"), ErrorKind::NotFound);
    assert_kind(dir.open_subdir("a"), ErrorKind::NotFound);
    filled(dir, "a", b"");
    assert_kind(dir.rename("a", "sub/a"), ErrorKind::NotFound);
}

fn reads_are_short_only_at_the_end(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", b"0123456789");
    let mut buf = [0; 4];
    assert_eq!(file.read_at(&mut buf, 2).unwrap(), 4);
    assert_eq!(&buf, b"2345");
    assert_eq!(file.read_at(&mut buf, 8).unwrap(), 2);
    assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_kind(file.read_exact_at(&mut buf, 8), ErrorKind::UnexpectedEof);
}

fn writes_extend_and_leave_zeros_between(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", b"ab");
    file.write_all_at(b"z", 5).unwrap();
    assert_eq!(bytes_of(&file), b"ab\0\0\0z");
    file.write_all_at(b"", 100).unwrap();
    assert_eq!(file.len().unwrap(), 6);
}

fn a_file_opened_for_reading_refuses_changes(dir: &Arc<dyn Directory>) {
    filled(dir, "a", b"kept");
    let file = dir.open("a", Access::Read).unwrap();
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(file.set_len(0).is_err());
    assert!(file.allocate(100).is_err());
    assert!(file.map(4).is_err());
    assert_eq!(bytes_of(&file), b"kept");
}

fn allocation_extends_with_zeros_and_never_shrinks(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", b"ab");
    file.allocate(10_000).unwrap();
    file.allocate(100).unwrap();
    let bytes = bytes_of(&file);
    assert_eq!(bytes.len(), 10_000);
    assert_eq!(&bytes[..2], b"ab");
    assert!(bytes[2..].iter().all(|byte| *byte == 0));
}

fn lengths_can_be_cut_and_extended(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", b"abcdef");
    file.set_len(3).unwrap();
    file.set_len(5).unwrap();
    assert_eq!(bytes_of(&file), b"abc\0\0");
}

fn zero_fill_covers_exactly_its_range(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", &[7; 10_000]);
    file.zero_fill(1000..9000).unwrap();
    let zeros: Vec<usize> = bytes_of(&file).iter().enumerate().filter(|(_, b)| **b == 0).map(|(i, _)| i).collect();
    assert_eq!((zeros[0], zeros[zeros.len() - 1], zeros.len()), (1000, 8999, 8000));
    file.zero_fill(0..0).unwrap();
    assert_eq!(bytes_of(&file)[0], 7);
}

fn rename_replaces_and_open_handles_follow(dir: &Arc<dyn Directory>) {
    let first = filled(dir, "a", b"first");
    filled(dir, "b", b"second");
    dir.rename("a", "b").unwrap();
    assert_kind(dir.open("a", Access::Read), ErrorKind::NotFound);
    first.write_all_at(b"F", 0).unwrap();
    assert_eq!(bytes_of(&dir.open("b", Access::Read).unwrap()), b"First");
    assert_eq!(dir.list().unwrap().len(), 1);
}

fn rename_reaches_into_a_subdirectory(dir: &Arc<dyn Directory>) {
    filled(dir, "a", b"x");
    let sub = dir.subdir("sub").unwrap();
    dir.rename("a", "sub/b").unwrap();
    assert_eq!(bytes_of(&sub.open("b", Access::Read).unwrap()), b"x");
    assert_kind(dir.open("a", Access::Read), ErrorKind::NotFound);
}

fn remove_takes_the_name_and_leaves_the_handle(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", b"still here");
    dir.remove("a").unwrap();
    assert!(dir.list().unwrap().is_empty());
    assert_eq!(bytes_of(&file), b"still here");
    dir.create("a").unwrap();
}

fn subdirectories_are_opened_listed_and_removed_empty(dir: &Arc<dyn Directory>) {
    let sub = dir.subdir("sub").unwrap();
    sub.create("a").unwrap();
    assert_eq!(dir.open_subdir("sub").unwrap().list().unwrap()[0].name, "a");
    assert_eq!(dir.subdir("sub").unwrap().list().unwrap().len(), 1);
    let entry = &dir.list().unwrap()[0];
    assert_eq!((entry.name.as_str(), entry.regular, entry.directory), ("sub", false, true));
    assert_kind(dir.remove_subdir("sub"), ErrorKind::DirectoryNotEmpty);
    sub.remove("a").unwrap();
    dir.remove_subdir("sub").unwrap();
    assert!(dir.list().unwrap().is_empty());
}

fn a_directory_is_not_a_file(dir: &Arc<dyn Directory>) {
    dir.subdir("sub").unwrap();
    filled(dir, "a", b"");
    assert!(dir.open("sub", Access::Read).is_err());
    assert!(dir.open("sub", Access::Write).is_err());
    assert!(dir.remove("sub").is_err());
    assert!(dir.open_subdir("a").is_err());
    assert!(dir.remove_subdir("a").is_err());
}

fn the_lock_is_exclusive_and_freed_by_dropping_it(dir: &Arc<dyn Directory>) {
    let sub = dir.subdir("sub").unwrap();
    assert!(!dir.locked().unwrap());
    assert!(dir.list().unwrap().iter().all(|entry| entry.directory), "looking at a lock makes none");
    let held = dir.lock().unwrap();
    assert!(dir.locked().unwrap() && !sub.locked().unwrap());
    let second = dir.lock();
    assert_eq!(Trouble::of(second.as_ref().unwrap_err()), Trouble::Busy);
    assert!(second.unwrap_err().to_string().contains("process"), "the message names the holder");
    drop(sub.lock().unwrap());
    drop(held);
    assert!(!dir.locked().unwrap());
    dir.lock().unwrap();
}

fn stores_through_a_region_are_read_back_from_the_file(dir: &Arc<dyn Directory>) {
    let file = dir.create("a").unwrap();
    file.allocate(8192).unwrap();
    let (mut writer, reader) = file.map(8192).unwrap();
    writer.copy_in(100, b"mapped");
    writer.zero(103..104);
    let mut buf = [0; 6];
    file.read_exact_at(&mut buf, 100).unwrap();
    assert_eq!(&buf, b"map\0ed");
    writer.publish(106);
    file.sync().unwrap();
    assert_eq!(reader.bytes(100..106), b"map\0ed");
    drop((writer, reader));
    assert_eq!(&bytes_of(&dir.open("a", Access::Read).unwrap())[100..106], b"map\0ed");
}

fn a_region_starts_with_the_files_bytes_and_nothing_published(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", &[5; 4096]);
    let (mut writer, reader) = file.map(4096).unwrap();
    assert_eq!((writer.len(), writer.published(), reader.published()), (4096, 0, 0));
    assert_eq!(writer.bytes(10..12), [5, 5]);
    writer.publish(4096);
    assert!(reader.slice(0..4096).as_ref().iter().all(|byte| *byte == 5));
}

fn a_file_has_one_region_at_a_time(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", &[0; 4096]);
    let (writer, reader) = file.map(4096).unwrap();
    drop(writer);
    assert_kind(file.map(4096), ErrorKind::InvalidInput);
    drop(reader);
    file.map(4096).unwrap();
}

fn a_region_longer_than_the_file_is_refused(dir: &Arc<dyn Directory>) {
    // F-041: an allocation that failed leaves a short file, and a map beyond its end would be a SIGBUS.
    let file = filled(dir, "a", &[0; 100]);
    assert_kind(file.map(101), ErrorKind::InvalidInput);
    assert_kind(file.map(0), ErrorKind::InvalidInput);
    file.map(100).unwrap();
}

fn a_region_protects_what_is_published(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", &[1; 4096]);
    let (mut writer, reader) = file.map(2048).unwrap();
    writer.publish(512);
    assert_kind(file.write_all_at(b"x", 511), ErrorKind::InvalidInput);
    assert_kind(file.set_len(2047), ErrorKind::InvalidInput);
    file.write_all_at(b"x", 2048).unwrap();
    file.set_len(4000).unwrap();
    assert_eq!(reader.bytes(511..512), [1]);
    drop((writer, reader));
    file.write_all_at(b"x", 511).unwrap();
    file.set_len(0).unwrap();
}

fn a_removed_file_cannot_be_synced_through_its_region(dir: &Arc<dyn Directory>) {
    // F-055: what is appended to it would be acknowledged and then gone.
    let file = filled(dir, "a", &[0; 4096]);
    let (_writer, _reader) = file.map(4096).unwrap();
    file.sync().unwrap();
    dir.remove("a").unwrap();
    assert_kind(file.sync(), ErrorKind::InvalidInput);
}

fn syncs_succeed_and_the_directory_is_intact(dir: &Arc<dyn Directory>) {
    let file = filled(dir, "a", b"x");
    file.sync().unwrap();
    dir.sync().unwrap();
    assert!(dir.intact().unwrap());
    assert!(dir.free_space().unwrap() > 0);
    dir.medium().unwrap();
    assert!(!dir.path_hint().is_empty());
    let sub = dir.subdir("sub").unwrap();
    assert!(sub.intact().unwrap());
    dir.remove_subdir("sub").unwrap();
    assert!(!sub.intact().unwrap(), "F-051: a directory that was removed is not intact");
}
