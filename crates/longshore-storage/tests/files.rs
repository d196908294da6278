//! What the real file system adds to the conformance suite: strange files, modes, locks between processes, full disks.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Child, Command};

use longshore_storage::{Access, Directory, FsDirectory, Medium, Trouble};

fn temp() -> (tempfile::TempDir, FsDirectory) {
    let temp = tempfile::tempdir().unwrap();
    let dir = FsDirectory::open(temp.path()).unwrap();
    (temp, dir)
}

#[test]
fn f_050_links_pipes_and_devices_are_not_segments() {
    let (temp, dir) = temp();
    let at = |name: &str| temp.path().join(name);
    fs::write(at("real"), b"bytes").unwrap();
    symlink(at("real"), at("symlink")).unwrap();
    symlink("/dev/zero", at("device")).unwrap();
    fs::hard_link(at("real"), at("second")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    for name in ["symlink", "device", "pipe"] {
        for access in [Access::Read, Access::Write] {
            assert!(dir.open(name, access).is_err(), "{name} was opened");
        }
        let entry = dir.list().unwrap().into_iter().find(|entry| entry.name == name).unwrap();
        assert!(!entry.regular && entry.len == 0, "{name} is listed as a file");
    }
    dir.open("second", Access::Read).unwrap();
    let error = dir.open("second", Access::Write).unwrap_err();
    assert!(error.to_string().contains("hard link"), "{error}");
    assert!(dir.create("symlink").is_err());
    assert!(dir.open_subdir("symlink").is_err());
}

#[test]
fn f_050_a_link_to_the_directory_is_resolved_once() {
    let (temp, _) = temp();
    fs::create_dir(temp.path().join("real")).unwrap();
    symlink("real", temp.path().join("link")).unwrap();
    let dir = FsDirectory::open(temp.path().join("link")).unwrap();
    assert!(dir.path().ends_with("real"));
    fs::remove_file(temp.path().join("link")).unwrap();
    assert!(dir.intact().unwrap());
}

#[test]
fn f_057_modes_are_0600_and_0700_whatever_the_umask() {
    // The umask belongs to the process, so each one gets a process: this test run again.
    const WHERE: &str = "LONGSHORE_TEST_UMASK_DIR";
    if let Ok(path) = std::env::var(WHERE) {
        let dir = FsDirectory::create(std::path::Path::new(&path).join("outer/inner")).unwrap();
        dir.create("file").unwrap();
        dir.subdir("sub").unwrap();
        drop(dir.lock().unwrap());
        return;
    }
    let this = "f_057_modes_are_0600_and_0700_whatever_the_umask";
    for umask in ["000", "022", "277"] {
        let temp = tempfile::tempdir().unwrap();
        let command = format!("umask {umask} && exec \"$0\" --exact {this}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).arg(std::env::current_exe().unwrap()).env(WHERE, temp.path());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "umask {umask}: {}", String::from_utf8_lossy(&output.stdout));
        let mode = |path: &str| fs::metadata(temp.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("outer"), 0o700, "umask {umask}");
        assert_eq!(mode("outer/inner"), 0o700, "umask {umask}");
        assert_eq!(mode("outer/inner/sub"), 0o700, "umask {umask}");
        assert_eq!(mode("outer/inner/file"), 0o600, "umask {umask}");
        assert_eq!(mode("outer/inner/lock"), 0o600, "umask {umask}");
    }
}

/// A child that would run for ever; killed and reaped when dropped, also by a test that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ended_before = self.0.kill();
        self.0.wait().expect("the child was started by us");
    }
}

#[test]
fn f_052_a_second_process_is_told_who_holds_the_lock_and_kill_frees_it() {
    const WHERE: &str = "LONGSHORE_TEST_LOCK_DIR";
    if let Ok(path) = std::env::var(WHERE) {
        let _lock = FsDirectory::open(path).unwrap().lock().unwrap();
        println!("locked");
        loop {
            std::thread::park();
        }
    }
    let (temp, dir) = temp();
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["--exact", "f_052_a_second_process_is_told_who_holds_the_lock_and_kill_frees_it", "--nocapture"]);
    let mut holder = Running(holder.env(WHERE, temp.path()).stdout(std::process::Stdio::piped()).spawn().unwrap());
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(holder.0.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().ends_with("locked")));
    let error = dir.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(error.to_string().contains(&format!("process {};", holder.0.id())), "{error}");
    drop(holder);
    dir.lock().unwrap();
}

#[test]
fn f_051_a_replaced_directory_is_noticed() {
    let (temp, _) = temp();
    let path = temp.path().join("log");
    let dir = FsDirectory::create(&path).unwrap();
    let sub = dir.subdir("sub").unwrap();
    assert!(dir.intact().unwrap() && sub.intact().unwrap());
    fs::rename(&path, temp.path().join("moved")).unwrap();
    assert!(!dir.intact().unwrap() && !sub.intact().unwrap());
    fs::create_dir(&path).unwrap();
    assert!(!dir.intact().unwrap(), "another directory of the same name");
}

#[test]
fn f_054_a_file_cut_short_while_it_is_mapped_cannot_be_synced() {
    let (temp, dir) = temp();
    let file = dir.create("a").unwrap();
    file.allocate(8192).unwrap();
    let (_writer, _reader) = file.map(8192).unwrap();
    file.sync().unwrap();
    let other = fs::OpenOptions::new().write(true).open(temp.path().join("a")).unwrap();
    other.set_len(4096).unwrap();
    let error = file.sync().unwrap_err();
    assert!(error.to_string().contains("cut short"), "{error}");
}

#[test]
fn f_060_blocks_are_there_before_a_file_is_mapped() {
    use std::os::unix::fs::MetadataExt;
    let (temp, dir) = temp();
    let file = dir.create("a").unwrap();
    file.set_len(1 << 20).unwrap();
    assert_eq!(fs::metadata(temp.path().join("a")).unwrap().blocks(), 0, "sparse");
    let _region = file.map(1 << 20).unwrap();
    assert!(fs::metadata(temp.path().join("a")).unwrap().blocks() * 512 >= 1 << 20);
}

#[test]
fn f_059_f_060_a_full_file_system_is_an_error_and_never_a_signal() {
    const WHERE: &str = "LONGSHORE_TEST_FULL_DIR";
    if let Ok(path) = std::env::var(WHERE) {
        let dir = FsDirectory::open(path).unwrap();
        assert_eq!(dir.medium().unwrap(), Medium::Memory);
        let file = dir.create("a").unwrap();
        file.allocate(512 << 10).unwrap();
        let (mut writer, _reader) = file.map(512 << 10).unwrap();
        let second = dir.create("b").unwrap();
        let error = second.allocate(1 << 20).unwrap_err();
        assert_eq!(Trouble::of(&error), Trouble::NoSpace, "{error}");
        while second.write_all_at(&[1; 4096], second.len().unwrap()).is_ok() {}
        writer.copy_in(0, &vec![7; 512 << 10]);
        file.sync().unwrap();
        assert!(dir.free_space().unwrap() < 4096);
        dir.remove("b").unwrap();
        drop(second);
        dir.create("c").unwrap().allocate(256 << 10).unwrap();
        println!("the whole of it ran");
        return;
    }
    // A file system of one mebibyte, in a mount namespace of its own so that nothing is left behind.
    let temp = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$1\" && exec \"$0\" --exact --nocapture \
                  f_059_f_060_a_full_file_system_is_an_error_and_never_a_signal";
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", script]);
    unshare.arg(std::env::current_exe().unwrap()).arg(temp.path()).env(WHERE, temp.path());
    let output = unshare.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains("running 1 test") {
        let why = String::from_utf8_lossy(&output.stderr);
        println!("SKIPPED: no mount namespace to be had here: {}", why.trim());
        return;
    }
    assert!(output.status.success() && text.contains("the whole of it ran"), "{text}");
}

#[test]
fn f_067_too_many_open_files_is_an_error_that_passes() {
    const WHERE: &str = "LONGSHORE_TEST_OPEN_DIR";
    if let Ok(path) = std::env::var(WHERE) {
        let dir = FsDirectory::open(path).unwrap();
        let mut held = Vec::new();
        let error = loop {
            match dir.create(&format!("f{}", held.len())) {
                Ok(file) => held.push(file),
                Err(error) => break error,
            }
        };
        assert_eq!(Trouble::of(&error), Trouble::TooManyFiles, "{error}");
        held.pop();
        dir.open("f0", Access::Read).unwrap();
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let script = "ulimit -n 40 && exec \"$0\" --exact f_067_too_many_open_files_is_an_error_that_passes";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(std::env::current_exe().unwrap()).env(WHERE, temp.path());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn f_056_a_directory_that_may_not_be_read_is_denied() {
    let (temp, _) = temp();
    fs::write(temp.path().join("file"), b"").unwrap();
    assert!(FsDirectory::open(temp.path().join("file")).is_err());
    assert_eq!(Trouble::of(&FsDirectory::open(temp.path().join("none")).unwrap_err()), Trouble::NotFound);
    assert_eq!(Trouble::of(&std::io::Error::from_raw_os_error(13)), Trouble::Denied);
}

#[test]
fn f_079_a_forked_child_knows_that_it_is_not_the_owner() {
    unsafe extern "C" {
        fn fork() -> i32;
        fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
        fn _exit(status: i32) -> !;
    }
    let guard = longshore_storage::ForkGuard::new();
    // SAFETY: the child of this many-threaded process does nothing but load an atomic and leave.
    let child = unsafe { fork() };
    if child == 0 {
        // SAFETY: ends the child at once, running nothing of the parent's.
        unsafe { _exit(i32::from(guard.same_process())) }
    }
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: `status` is a place for one int.
    assert_eq!(unsafe { waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child took itself for the owner");
    assert!(guard.same_process());
}
