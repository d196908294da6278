//! The simulated disk loses what it should, keeps what it must, and says so.

use std::time::Duration;

use longshore_storage::{Access, Environment, Trouble};
use longshore_testkit::sim_disk::{DiskStats, SimDisk, SyncFault};
use longshore_testkit::sim_env::SimEnvironment;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(seed, SimEnvironment::new(seed))
}

/// Runs `futures` power cuts of one prepared disk and gives the bytes of its file `a` after each.
fn futures(prepare: impl Fn(&SimDisk), futures: u64) -> (Vec<Option<Vec<u8>>>, DiskStats) {
    let mut stats = DiskStats::default();
    let contents = (0..futures).map(|seed| {
        let disk = disk(seed);
        prepare(&disk);
        disk.power_cut();
        stats += disk.stats();
        disk.read("a").map(|bytes| bytes.to_vec())
    });
    (contents.collect(), stats)
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    let (contents, _) = futures(
        |disk| {
            let file = disk.root().create("a").unwrap();
            file.write_all_at(&[1; 2000], 0).unwrap();
            file.sync().unwrap();
            disk.root().sync().unwrap();
        },
        200,
    );
    assert!(contents.iter().all(|content| content.as_deref() == Some(&[1; 2000][..])));
}

#[test]
fn f_072_each_sector_keeps_any_version_since_its_sync_and_is_torn_at_words() {
    let (contents, stats) = futures(
        |disk| {
            let file = disk.root().create("a").unwrap();
            file.write_all_at(&[1; 2048], 0).unwrap();
            file.sync().unwrap();
            disk.root().sync().unwrap();
            let (mut writer, _reader) = file.map(2048).unwrap();
            writer.copy_in(0, &[2; 2048]);
            writer.copy_in(0, &[3; 2048]);
        },
        2000,
    );
    let contents: Vec<Vec<u8>> = contents.into_iter().map(Option::unwrap).collect();
    let whole =
        |sector: usize, value: u8| contents.iter().any(|c| c[sector * 512..][..512].iter().all(|b| *b == value));
    for sector in 0..4 {
        assert!((1..=3).all(|version| whole(sector, version)), "sector {sector} never held one of its versions");
    }
    assert!(contents.iter().any(|c| c[0] == 3 && c[512] == 1), "a later sector older than an earlier one");
    assert!(contents.iter().any(|c| c[0] == 1 && c[512] == 3), "and the other way round");
    assert!(
        contents.iter().flat_map(|c| c.chunks(8)).all(|word| word.iter().all(|b| *b == word[0])),
        "words are whole"
    );
    assert!(contents.iter().flat_map(|c| c.chunks(512)).any(|sector| sector.iter().any(|b| *b != sector[0])), "torn");
    assert!(stats.sectors_dropped > 0 && stats.words_torn > 0);
}

#[test]
fn f_045_names_are_durable_only_after_a_sync_of_their_directory() {
    let create = |disk: &SimDisk| {
        let file = disk.root().create("a").unwrap();
        file.write_all_at(b"x", 0).unwrap();
        file.sync().unwrap();
    };
    let (contents, stats) = futures(create, 200);
    assert!(contents.iter().any(Option::is_none) && contents.iter().any(Option::is_some));
    assert!(stats.entries_lost > 0);
    let (contents, _) = futures(
        |disk| {
            create(disk);
            disk.root().sync().unwrap();
        },
        200,
    );
    assert!(contents.iter().all(Option::is_some));
}

#[test]
fn a_rename_is_kept_or_lost_whole_and_independently_of_others() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..500 {
        let disk = disk(seed);
        let root = disk.root();
        for name in ["a", "b"] {
            root.create(name).unwrap();
        }
        root.subdir("sub").unwrap();
        root.sync().unwrap();
        root.rename("a", "c").unwrap();
        root.rename("b", "sub/b").unwrap();
        disk.power_cut();
        seen.insert((disk.names(""), disk.names("sub")));
    }
    let listed: Vec<(String, String)> = seen.iter().map(|(top, sub)| (top.join(" "), sub.join(" "))).collect();
    let expected = [("a b sub", ""), ("a sub", "b"), ("b c sub", ""), ("c sub", "b")];
    assert_eq!(listed, expected.map(|(top, sub)| (top.to_owned(), sub.to_owned())));
}

#[test]
fn lengths_and_allocations_are_lost_on_their_own() {
    let (contents, stats) = futures(
        |disk| {
            let file = disk.root().create("a").unwrap();
            disk.root().sync().unwrap();
            file.allocate(4096).unwrap();
            file.write_all_at(&[1; 1024], 0).unwrap();
        },
        500,
    );
    let lengths: std::collections::BTreeSet<usize> =
        contents.iter().map(|content| content.as_ref().unwrap().len()).collect();
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [0, 4096]);
    assert!(contents.iter().flatten().any(|content| content.len() == 4096 && content[0] == 0), "length without data");
    assert!(stats.lengths_lost > 0 && stats.allocations_lost > 0);
}

#[test]
fn f_063_after_a_failed_sync_the_cache_lies_and_the_second_sync_succeeds() {
    let (mut lied, mut reverted) = (0, 0);
    for seed in 0..200 {
        for fault in [SyncFault::MarkedClean, SyncFault::NoSpace, SyncFault::Reverted] {
            let disk = disk(seed);
            let file = disk.root().create("a").unwrap();
            file.write_all_at(&[1; 512], 0).unwrap();
            file.sync().unwrap();
            disk.root().sync().unwrap();
            file.write_all_at(&[2; 512], 0).unwrap();
            disk.arm_sync(0, fault);
            let error = file.sync().unwrap_err();
            let trouble = if fault == SyncFault::NoSpace { Trouble::NoSpace } else { Trouble::Device };
            assert_eq!(Trouble::of(&error), trouble);
            file.sync().unwrap();
            disk.kill();
            let cached = disk.read("a").unwrap();
            if fault == SyncFault::Reverted {
                reverted += u64::from(cached[0] == 1);
            } else {
                assert_eq!(**cached, [2; 512], "the cache keeps what the disk may not have");
            }
            disk.power_cut();
            lied += u64::from(disk.read("a").unwrap() != cached);
        }
    }
    assert!(lied > 0 && reverted > 0);
}

#[test]
fn f_063_writing_the_same_bytes_again_makes_them_durable_after_all() {
    for seed in 0..200 {
        let disk = disk(seed);
        let file = disk.root().create("a").unwrap();
        file.write_all_at(&[2; 512], 0).unwrap();
        disk.root().sync().unwrap();
        disk.arm_sync(0, SyncFault::MarkedClean);
        file.sync().unwrap_err();
        file.write_all_at(&[2; 512], 0).unwrap();
        file.sync().unwrap();
        disk.power_cut();
        assert_eq!(**disk.read("a").unwrap(), [2; 512]);
    }
}

#[test]
fn f_070_a_killed_process_loses_nothing_and_its_handles_are_dead() {
    let disk = disk(1);
    let file = disk.root().create("a").unwrap();
    file.allocate(512).unwrap();
    let (mut writer, _reader) = file.map(512).unwrap();
    writer.copy_in(0, b"kept");
    let _lock = disk.root().lock().unwrap();
    disk.kill();
    writer.copy_in(0, b"late");
    assert!(file.sync().is_err());
    assert_eq!(&disk.read("a").unwrap()[..4], b"kept");
    disk.root().lock().unwrap();
    disk.root().open("a", Access::Write).unwrap().map(512).unwrap();
}

#[test]
fn the_power_fails_in_the_chosen_operation_and_nothing_works_until_it_is_back() {
    let disk = disk(1);
    let file = disk.root().create("a").unwrap();
    disk.power_off_after(1);
    file.write_all_at(b"1", 0).unwrap();
    assert!(!disk.is_off());
    assert!(file.write_all_at(b"2", 1).is_err());
    assert!(disk.is_off());
    assert!(file.write_all_at(b"3", 2).is_err());
    assert!(file.sync().is_err());
    assert!(file.len().is_err());
    disk.power_cut();
    assert!(disk.read("a").is_none_or(|bytes| bytes.len() <= 2));
    assert!(disk.root().list().is_ok());
}

#[test]
fn f_041_f_059_a_full_disk_leaves_a_short_file_and_works_again_with_space() {
    let disk = disk(1);
    disk.set_capacity(10_000);
    let file = disk.root().create("a").unwrap();
    file.allocate(8_000).unwrap();
    let second = disk.root().create("b").unwrap();
    let error = second.allocate(8_000).unwrap_err();
    assert_eq!(Trouble::of(&error), Trouble::NoSpace);
    assert_eq!(second.len().unwrap(), 2_000);
    file.write_all_at(&[1; 8_000], 0).unwrap();
    assert_eq!(Trouble::of(&file.write_all_at(b"x", 8_000).unwrap_err()), Trouble::NoSpace);
    disk.set_capacity(20_000);
    second.allocate(8_000).unwrap();
}

#[test]
fn f_030_a_bad_sector_is_an_error_until_it_is_written() {
    let disk = disk(1);
    let file = disk.root().create("a").unwrap();
    file.write_all_at(&[1; 2048], 0).unwrap();
    assert!(disk.spoil("a", 600));
    let mut buf = [0; 512];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(Trouble::of(&file.read_at(&mut buf, 1000).unwrap_err()), Trouble::Device);
    assert!(file.map(2048).is_err());
    file.write_all_at(&[2; 512], 512).unwrap();
    file.read_exact_at(&mut buf, 512).unwrap();
    assert_eq!(disk.stats().read_errors, 1);
}

#[test]
fn f_069_a_slow_sync_works_and_takes_its_time() {
    let environment = SimEnvironment::new(1);
    let disk = SimDisk::new(1, environment.clone());
    let file = disk.root().create("a").unwrap();
    let before = environment.monotonic();
    disk.arm_sync(0, SyncFault::Slow(Duration::from_secs(30)));
    file.sync().unwrap();
    assert_eq!(environment.monotonic() - before, Duration::from_secs(30));
}

#[test]
fn f_067_too_many_open_files_is_told_apart() {
    let disk = disk(1);
    disk.arm_open(24);
    assert_eq!(Trouble::of(&disk.root().create("a").unwrap_err()), Trouble::TooManyFiles);
    disk.root().create("a").unwrap();
}

#[test]
fn a_fork_is_a_disk_of_its_own() {
    let disk = disk(1);
    let file = disk.root().create("a").unwrap();
    file.write_all_at(b"first", 0).unwrap();
    let fork = disk.fork(2);
    file.write_all_at(b"later", 0).unwrap();
    fork.root().remove("a").unwrap();
    assert_eq!(**disk.read("a").unwrap(), *b"later");
    assert!(fork.names("").is_empty());
}
