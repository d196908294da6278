//! The commands over object stores: what a plan, a check, a drill and a verification say, and with which exit code.

mod common;

use std::path::Path;
use std::process::Stdio;

use common::{Agent, eventually, longshore, run, run_with};
use serde_json::Value;
use tempfile::TempDir;

/// A directory with an archive `a` of a log `orders` that holds `lines` lines, each a transaction; and their positions.
fn archived(lines: usize) -> (TempDir, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "init --data-dir d --log orders --segment-size 1MiB").ok();
    let mut ends = Vec::new();
    for line in 0..lines {
        let text = format!("{line} {}\n", "x".repeat(100_000));
        let end = run_with(dir.path(), "append --data-dir d --log orders", text.as_bytes()).ok();
        ends.push(end.trim().parse().unwrap());
    }
    archive(dir.path(), *ends.last().unwrap());
    (dir, ends)
}

/// Archives what is in `d` into `a` up to there.
fn archive(dir: &Path, end: u64) {
    std::fs::create_dir_all(dir.join("a")).unwrap();
    let store = store(dir);
    let agent =
        Agent::start(dir, &format!("primary --data-dir d --insecure-plaintext --archive {store} --archive-every 20ms"));
    eventually("the log to be archived", || {
        let listed = run(dir, &format!("archive ls --from {store} --json"));
        listed.code == 0 && listed.json()["logs"][0]["end"].as_u64().is_some_and(|archived| end <= archived)
    });
    assert_eq!(agent.terminate(), 0);
}

fn store(dir: &Path) -> String {
    format!("file://{}", dir.join("a").display())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap()
}

/// When the transaction that ends at a position was committed.
fn time(dir: &Path, end: u64) -> String {
    let records = run(dir, &format!("read --data-dir d --log orders --end {end} --format json")).ok();
    json(records.lines().last().unwrap())["time"].as_str().unwrap().to_owned()
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            found.push(format!("{} {:?}", entry.path().display(), entry.metadata().unwrap().modified()));
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// The objects of sealed segments, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let names =
        files(&dir.join("a/orders/segments")).into_iter().map(|line| line.split(' ').next().unwrap().to_owned());
    names.filter(|name| name.matches('-').count() > 1).map(Into::into).collect()
}

#[test]
fn a_plan_names_the_stop_and_the_next_transaction_and_changes_nothing() {
    let (dir, ends) = archived(35);
    let (dir, replay) =
        (dir.path(), format!("replay --from {} --log orders --into jsonl:out.jsonl", store(dir.path())));
    let before = files(dir);
    let stop = time(dir, ends[20]);
    for to in [format!("lsn:{}", ends[20]), ends[20].to_string(), format!("time:{stop}")] {
        let plan = run(dir, &format!("{replay} --plan --json --to {to}")).json();
        assert_eq!((&plan["stop"], &plan["stop_time"]), (&ends[20].into(), &stop.as_str().into()), "{plan}");
        assert_eq!(plan["next"]["end"], ends[21], "{plan}");
        assert_eq!(plan["next"]["time"], time(dir, ends[21]), "{plan}");
        assert_eq!((&plan["next"]["records"], &plan["gaps"]), (&1.into(), &Value::Array(Vec::new())), "{plan}");
        let (bytes, scratch) = (plan["fetched_bytes"].as_u64().unwrap(), plan["scratch_bytes"].as_u64().unwrap());
        assert!(0 < bytes && bytes < scratch && scratch < plan["scratch_free_bytes"].as_u64().unwrap(), "{plan}");
        assert!(plan["fetch_seconds"].as_f64().unwrap() > 0.0, "{plan}");
        assert_eq!(plan["cost"]["requests_usd"], 0.0, "{plan}");
    }
    let plan = run(dir, &format!("{replay} --plan --json --exclusive --to {}", ends[20])).json();
    assert_eq!(plan["next"]["end"], ends[20], "{plan}");
    let plan = run(dir, &format!("{replay} --plan --json")).json();
    assert_eq!(
        (&plan["stop"], &plan["next"]),
        (ends.last().map(|end| Value::from(*end)).as_ref().unwrap(), &Value::Null)
    );
    let text = run(dir, &format!("{replay} --plan --to {}", ends[20])).ok();
    for line in
        ["log  ", "target  ", "snapshot  none", "fetches  ", "gaps      none", "next  ", "space  ", "time  ", "cost  "]
    {
        assert!(text.contains(&format!("\n{line}")) || text.starts_with(line), "{line}: {text}");
    }
    assert_eq!(before, files(dir), "a plan changes nothing");

    run(dir, &format!("{replay} --to {}", ends[20])).ok();
    assert_eq!(std::fs::read_to_string(dir.join("out.jsonl")).unwrap().lines().count(), 21, "and it is what happens");
}

#[test]
fn an_archive_without_its_manifest_is_not_taken_for_none_and_gets_it_back_from_another_store() {
    let (dir, _) = archived(15);
    let (dir, store) = (dir.path(), store(dir.path()));
    std::fs::create_dir_all(dir.join("b")).unwrap();
    std::fs::create_dir_all(dir.join("a/photos/segments")).unwrap();
    std::fs::write(dir.join("a/photos/segments/one.jpg"), "none of ours").unwrap();
    let second = format!("file://{}", dir.join("b").display());
    run(dir, &format!("archive copy --from {store} --to {second}")).ok();
    std::fs::remove_file(dir.join("a/orders/manifest")).unwrap();
    for command in [
        "archive ls --from",
        "archive verify --from",
        "archive prune --log orders --from",
        "replay --log orders --into jsonl:out.jsonl --from",
    ] {
        let told = run(dir, &format!("{command} {store}")).fails(5);
        assert!(told.contains("orders/manifest is missing") && !told.contains("photos"), "{told}");
        assert!(told.contains("longshore archive copy"), "{told}");
    }
    let told = run(dir, &format!("archive verify --from {store} --from {second}")).fails(5);
    assert!(told.contains("orders/manifest is missing"), "{told}");
    run(dir, &format!("replay --log orders --into jsonl:out.jsonl --from {store} --from {second}")).ok();
    run(dir, &format!("archive copy --from {second} --to {store}")).ok();
    run(dir, &format!("archive verify --from {store}")).ok();
    run(dir, &format!("archive verify --log photos --from {store}")).fails(3);
}

#[test]
fn a_plan_over_a_hole_names_it_and_so_does_the_restore_before_it_fetches() {
    let (dir, _) = archived(35);
    let (dir, replay) =
        (dir.path(), format!("replay --from {} --log orders --into jsonl:out.jsonl", store(dir.path())));
    let gone = &segments(dir)[1];
    std::fs::remove_file(gone).unwrap();
    let name = gone.file_name().unwrap().to_str().unwrap();
    let plan = run(dir, &format!("{replay} --plan --json"));
    let gap = &json(&plan.stdout)["gaps"][0];
    assert_eq!((&gap["start"], &gap["end"]), (&(1_u64 << 20).into(), &(2_u64 << 20).into()));
    assert_eq!(plan.code, 5);
    assert!(plan.stderr.contains(name), "{}", plan.stderr);
    assert!(run(dir, &format!("{replay} --plan")).stdout.contains("gaps      1048576 to 2097152"));
    assert!(run(dir, &replay).fails(5).contains(name));
    assert!(!dir.join("out.jsonl.log").exists(), "nothing was fetched");
    // One that was cut short is seen without a fetch, too.
    std::fs::write(gone, "not a segment").unwrap();
    let plan = run(dir, &format!("{replay} --plan"));
    assert!(plan.stdout.contains("it is 13 bytes long, and was"), "{}", plan.stdout);
    assert!(plan.fails(6).contains(name));
}

/// Damages a file in what lies behind its header.
fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len().min(10_000) / 2;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// The restores of a log `orders` of which the second segment, `broken`, is missing or damaged, from `from`.
fn assert_all_before_can_be_restored(dir: &Path, from: &str, ends: &[u64], times: &[String], broken: &Path) {
    let replay = format!("replay --from {from} --log orders --into jsonl:out.jsonl");
    let damage = || std::fs::metadata(broken).map_or("missing", |_| "damaged");
    let whole = ends.iter().take_while(|end| **end < 1 << 20).count();
    assert!(2 < whole && whole + 8 < ends.len(), "{ends:?}");
    // Only an archive tells when what is missing was written, and so that a moment just before it is all there.
    let is_told = from.starts_with("file:") || broken.exists();
    for at in [0, whole / 2, whole - 2, whole - 1] {
        let time = (at + 1 < whole || is_told).then(|| format!("time:{}", times[at]));
        for to in [format!("lsn:{}", ends[at])].into_iter().chain(time) {
            let plan = run(dir, &format!("{replay} --plan --json --to {to}")).json();
            assert_eq!(plan["stop"].as_u64(), Some(ends[at]), "{} {to}: {plan}", damage());
            let text = run(dir, &format!("{replay} --to {to}")).ok();
            assert!(text.contains(&ends[at].to_string()), "{text}");
            let lines = std::fs::read_to_string(dir.join("out.jsonl")).unwrap().lines().count();
            assert_eq!(lines, at + 1, "{} {to}", damage());
            std::fs::remove_file(dir.join("out.jsonl")).unwrap();
        }
    }
    let code = if damage() == "missing" { 5 } else { 6 };
    let mut nearest = None;
    for to in [format!("lsn:{}", ends[whole + 1]), format!("time:{}", times[whole + 1]), "latest".to_owned()] {
        let told = run(dir, &format!("{replay} --to {to}")).fails(code);
        assert!(told.contains("1048576"), "{to}: {told}");
        let (_, lsn) = told.split_once("targets up to lsn:").unwrap_or_else(|| panic!("{to} names no nearest: {told}"));
        nearest = Some(lsn.split(' ').next().unwrap().to_owned());
        let _left = std::fs::remove_dir_all(dir.join("out.jsonl.log"));
    }
    run(dir, &format!("{replay} --to lsn:{}", nearest.unwrap())).ok();
    let lines = std::fs::read_to_string(dir.join("out.jsonl")).unwrap().lines().count();
    assert!(whole <= lines, "the nearest that is named holds {lines} lines of {whole}");
    std::fs::remove_file(dir.join("out.jsonl")).unwrap();
}

#[test]
fn every_moment_before_what_is_missing_or_damaged_can_be_restored_from_an_archive() {
    let (dir, ends) = archived(35);
    let dir = dir.path();
    let times: Vec<String> = ends.iter().map(|end| time(dir, *end)).collect();
    let broken = segments(dir)[1].clone();
    flip(&broken);
    let told = run(dir, &format!("archive verify --from {} --log orders", store(dir)));
    assert!(told.stdout.contains("\na database can be restored to: lsn:4096 to lsn:1052672\n"), "{}", told.stdout);
    assert_all_before_can_be_restored(dir, &store(dir), &ends, &times, &broken);
    std::fs::remove_file(&broken).unwrap();
    assert_all_before_can_be_restored(dir, &store(dir), &ends, &times, &broken);
}

#[test]
fn every_moment_before_what_is_missing_or_damaged_can_be_restored_from_a_directory() {
    let (dir, ends) = archived(35);
    let dir = dir.path();
    let times: Vec<String> = ends.iter().map(|end| time(dir, *end)).collect();
    let broken = dir.join("d/orders/00000000000001048576.seg");
    run(dir, "replay --from d --log orders --into jsonl:all.jsonl").ok();
    flip(&broken);
    assert_all_before_can_be_restored(dir, "d", &ends, &times, &broken);
    std::fs::remove_file(&broken).unwrap();
    assert_all_before_can_be_restored(dir, "d", &ends, &times, &broken);
    std::fs::rename(dir.join("d/orders/00000000000000000000.seg"), dir.join("first")).unwrap();
    let told = run(dir, "replay --from d --log orders --into jsonl:out.jsonl").fails(4);
    assert!(told.contains("replay --from URL") && told.contains("longshore repair"), "{told}");
    std::fs::rename(dir.join("first"), dir.join("d/orders/00000000000000000000.seg")).unwrap();
    // An output that holds more is not waited with for what will not come.
    assert!(run(dir, "replay --from d --log orders --into jsonl:all.jsonl --follow").fails(5).contains("1048576"));
}

/// Runs commands where what is below `dir` cannot be written; `None` if that cannot be had here.
fn run_read_only(dir: &Path, script: &str) -> Option<std::process::Output> {
    let script = format!("mount --bind . . && cd \"$PWD\" && mount -o remount,bind,ro . && echo read-only && {script}");
    let mut unshare = std::process::Command::new("unshare");
    let output = unshare
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(longshore(dir).get_program())
        .current_dir(dir);
    let output = output.output().unwrap();
    let is_had = String::from_utf8_lossy(&output.stdout).starts_with("read-only");
    if !is_had {
        println!("SKIPPED: no mount namespace to be had here: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    is_had.then_some(output)
}

#[test]
fn a_plan_is_made_where_nothing_can_be_written_and_says_so_and_a_restore_is_refused_at_once() {
    let (dir, ends) = archived(12);
    let dir = dir.path();
    for from in [store(dir), "d".to_owned()] {
        let replay = format!("\"$1\" replay --from {from} --log orders --to {} --into jsonl:out.jsonl", ends[5]);
        let Some(plan) = run_read_only(dir, &format!("{replay} --plan")) else { return };
        let (text, told) = (String::from_utf8_lossy(&plan.stdout), String::from_utf8_lossy(&plan.stderr));
        assert!(plan.status.success(), "{from}: {text}{told}");
        assert!(text.contains("\nwarning   no file can be made where the output is to be"), "{from}: {text}");
        assert!(text.contains(&format!("\nstops at  {}", ends[5])), "{from}: {text}");
        let run = run_read_only(dir, &replay).expect("it could be had");
        let told = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(8), "{from}: {told}");
        assert!(told.contains(&format!("no file can be made in {}", dir.display())), "{from}: {told}");
    }
}

#[test]
fn a_store_that_cannot_be_read_is_told_of_and_not_done_without_where_more_may_be_needed() {
    let (dir, _) = archived(12);
    let dir = dir.path();
    std::fs::create_dir(dir.join("b")).unwrap();
    std::fs::create_dir(dir.join("empty")).unwrap();
    let [a, b, empty] = ["a", "b", "empty"].map(|name| format!("file://{}", dir.join(name).display()));
    run(dir, &format!("archive copy --from {a} --to {b} --log orders")).ok();
    flip(&dir.join("a/orders/manifest"));
    let from = format!("--from {a} --from {b} --from {empty} --log orders");
    let replay = format!("replay {from} --into jsonl:out.jsonl");
    for told in [run(dir, &format!("{replay} --plan")).ok(), run(dir, &replay).stderr] {
        for what in [format!("may hold more: {a}: orders/manifest"), format!("may hold more: {empty}: ")] {
            assert!(told.contains(&what), "{what}: {told}");
        }
    }
    assert_eq!(std::fs::read_to_string(dir.join("out.jsonl")).unwrap().lines().count(), 12);
    std::fs::remove_file(dir.join("out.jsonl")).unwrap();
    assert!(run(dir, &format!("{replay} --continue c --accept-loss")).fails(6).contains("leave that store out"));
    std::fs::create_dir(dir.join("s")).unwrap();
    assert!(run(dir, &format!("drill {from} --scratch s")).fails(6).contains("orders/manifest"));
    assert!(run(dir, &format!("archive copy --from {b} --to {a}")).fails(6).contains("remove orders/manifest there"));
    std::fs::remove_file(dir.join("a/orders/manifest")).unwrap();
    run(dir, &format!("archive copy --from {b} --to {a}")).ok();
    run(dir, &format!("archive verify {from}")).ok();
}

#[test]
fn what_an_interrupted_restore_to_another_target_has_left_is_named() {
    let (dir, ends) = archived(40);
    let (dir, from) = (dir.path(), store(dir.path()));
    for from in [from.as_str(), "d"] {
        let replay = format!("replay --from {from} --log orders --into jsonl:o/out.jsonl");
        std::fs::create_dir(dir.join("o")).unwrap();
        let mut restore = longshore(dir);
        restore.args(replay.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let partial = dir.join("o/out.jsonl.partial");
        // Killed as soon as it has given something to the output.
        let left = (0..200).any(|_| {
            let mut running = restore.spawn().unwrap();
            while !partial.metadata().is_ok_and(|file| 0 < file.len()) && running.try_wait().unwrap().is_none() {}
            let _ended = running.kill();
            running.wait().unwrap();
            let left = !dir.join("o/out.jsonl").exists();
            if !left {
                std::fs::remove_file(dir.join("o/out.jsonl")).unwrap();
            }
            left
        });
        assert!(left, "it was killed in time once");
        let told = run(dir, &format!("{replay} --to lsn:{}", ends[0]));
        // What it had held may have been no more than that.
        if told.code != 0 {
            assert!(told.fails(4).contains("out.jsonl.partial is of an interrupted replay"));
            for entry in std::fs::read_dir(dir.join("o")).unwrap().map(Result::unwrap) {
                if entry.file_name().to_str().unwrap().starts_with("out.jsonl.partial") {
                    std::fs::remove_file(entry.path()).unwrap();
                }
            }
            run(dir, &format!("{replay} --to lsn:{}", ends[0])).ok();
        }
        assert_eq!(std::fs::read_to_string(dir.join("o/out.jsonl")).unwrap().lines().count(), 1);
        std::fs::remove_dir_all(dir.join("o")).unwrap();
    }
}

#[test]
fn a_segment_that_is_gone_is_repaired_from_an_archive() {
    let (dir, _) = archived(35);
    let dir = dir.path();
    let segment = dir.join("d/orders/00000000000001048576.seg");
    let good = std::fs::read(&segment).unwrap();
    std::fs::remove_file(&segment).unwrap();
    let repair = format!("repair --data-dir d --log orders --from {}", store(dir));
    assert!(run(dir, &format!("{repair} --segment 8388608")).fails(4).contains("begins at 8388608"));
    run(dir, &format!("{repair} --segment 1048576 --plan")).ok();
    assert!(!segment.exists(), "a plan changes nothing");
    run(dir, &format!("{repair} --segment 1048576")).ok();
    assert!(std::fs::read(&segment).unwrap() == good);
    run(dir, "verify --data-dir d --log orders --deep").ok();
}

/// F-126, in each form of the grammar, from an archive and from a directory.
#[test]
fn a_target_out_of_reach_names_the_nearest_and_where() {
    let (dir, ends) = archived(12);
    let dir = dir.path();
    let archive = store(dir);
    run(dir, "mark monday --data-dir d --log orders").ok();
    self::archive(dir, ends[11]);
    let (first, last) = (ends[0], ends[11]);
    std::fs::create_dir(dir.join("s")).unwrap();
    std::fs::write(dir.join("s/mine"), "not to be touched").unwrap();
    for from in [archive.as_str(), "d"] {
        for (to, code, names) in [
            ("lsn:99999992".to_owned(), 4, "lsn:"),
            ("99999992".to_owned(), 4, "lsn:"),
            (format!("lsn:{}", last - 8), 2, "nearest"),
            ("time:2100-01-01T00:00:00Z".to_owned(), 4, "lsn:"),
            ("time:2000-01-01T00:00:00+01:00".to_owned(), 4, &first.to_string()),
            ("mark:friday".to_owned(), 4, "monday at"),
            ("lsn:0".to_owned(), 4, &first.to_string()),
            (format!("lsn:{}", first - 8), 2, &first.to_string()),
        ] {
            let replay = format!("replay --from {from} --log orders --into jsonl:out.jsonl --to {to}");
            let told = run(dir, &replay).fails(code);
            assert!(told.contains(names), "{to}: {told}");
            assert!(from == "d" || told.contains(&archive), "{to} says which store: {told}");
            assert!(!dir.join("out.jsonl").exists());
            // What is named as the nearest can be had.
            let message = told.split("next:").next().unwrap().rsplit("nearest").next().unwrap();
            let numbers = message.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
            for position in numbers.filter(|number| ends.contains(number)) {
                run(dir, &format!("replay --from {from} --log orders --into jsonl:out.jsonl --to {position}")).ok();
                std::fs::remove_file(dir.join("out.jsonl")).unwrap();
            }
        }
        for (to, lines) in [("latest", 12), ("mark:monday", 12)] {
            let restored =
                run(dir, &format!("replay --from {from} --log orders --into jsonl:- --scratch s --to {to}")).ok();
            assert_eq!(restored.lines().count(), lines, "{to}");
        }
    }
    let left: Vec<_> = std::fs::read_dir(dir.join("s")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"], "of a scratch directory only what was made there is removed");
    for to in ["yesterday", "time:2026-01-01", "lsn:x", "mark:A B", "LATEST", ""] {
        let mut replay = longshore(dir);
        replay.args(["replay", "--from", &archive, "--log", "orders", "--into", "jsonl:out.jsonl", "--to", to]);
        let told = replay.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.code() == Some(2) && text.contains("mark:before-upgrade"), "{to:?}: {text}");
    }
}

#[test]
fn progress_is_a_line_a_phase_for_a_program_and_nothing_without_a_terminal() {
    let (dir, _) = archived(12);
    let (dir, from) = (dir.path(), store(dir.path()));
    let replay = format!("replay --from {from} --log orders --into jsonl:out.jsonl --progress json");
    let told = run(dir, &replay);
    let lines: Vec<Value> = told.stderr.lines().map(json).collect();
    for phase in ["fetching", "planning", "applying", "checking"] {
        let last = lines.iter().rfind(|line| line["phase"] == phase).unwrap_or_else(|| panic!("{phase}"));
        assert_eq!((&last["schema"], &last["done"]), (&1.into(), &last["total"]), "{last}");
        for field in ["unit", "rate", "seconds_left"] {
            assert!(last.get(field).is_some(), "{last}");
        }
    }
    let fetched = lines.iter().rfind(|line| line["phase"] == "fetching").unwrap();
    assert!(fetched["rate"].as_f64().unwrap() > 0.0 && fetched["seconds_left"] == 0.0, "{fetched}");
    let commands = [
        format!("archive verify --from {from}"),
        format!("archive copy --from {from} --to {}b", from),
        format!("drill --from {from} --log orders --scratch ."),
    ];
    std::fs::create_dir(dir.join("ab")).unwrap();
    for command in &commands {
        let told = run(dir, &format!("{command} --progress json"));
        assert!(told.stderr.lines().map(json).count() > 0, "{command}");
        assert_eq!(told.code, 0, "{}", told.stderr);
        assert_eq!(run(dir, command).stderr, "", "auto says nothing where nobody looks");
    }
    let plain = run(dir, &format!("{} --progress plain", commands[0]));
    assert!(plain.stderr.starts_with("verifying: ") && plain.stderr.contains(" objects"), "{}", plain.stderr);
}

#[test]
fn a_directory_that_an_archive_lies_in_is_told_to_be_one() {
    let (dir, _) = archived(3);
    let told = run(dir.path(), "replay --from a --log orders --into jsonl:out.jsonl").fails(3);
    assert!(told.contains("an archive lies there") && told.contains("--from file:///"), "{told}");
}

/// A captured database whose rows refer to what is not there, which SQLite lets happen.
#[test]
fn a_full_check_finds_what_the_quick_one_does_not_and_ends_with_10() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let db = rusqlite::Connection::open(dir.join("app.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.pragma_update(None, "foreign_keys", "off").unwrap();
    db.execute_batch("CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p (id))").unwrap();
    let agent = Agent::start(dir, "primary --data-dir d --sqlite app.db --log orders --init --insecure-plaintext");
    db.execute_batch("INSERT INTO c VALUES (7)").unwrap();
    assert_eq!(agent.terminate(), 0);
    let replay = "replay --from d --log orders --into sqlite:out.db";
    let told = run(dir, &format!("{replay} --check full")).fails(10);
    assert!(told.contains("row 1 of table c refers to a row of p that is not there"), "{told}");
    assert!(dir.join("out.db.damaged").exists() && !dir.join("out.db").exists());
    for check in ["--check none", "--check quick", ""] {
        run(dir, &format!("{replay} {check}")).ok();
        for file in ["out.db", "out.db-longshore"] {
            std::fs::remove_file(dir.join(file)).unwrap();
        }
    }
    run(dir, &format!("{replay} --check deep")).fails(2);
}

#[test]
fn verify_tells_missing_corrupt_and_in_flight_apart_and_fetches_only_what_is_new() {
    let (dir, _) = archived(25);
    let dir = dir.path();
    let verify = format!("archive verify --from {} --json --state state.json", store(dir));
    let first = run(dir, &verify).json();
    assert_eq!((&first["intact"], &first["known"]), (&true.into(), &0.into()), "{first}");
    let second = run(dir, &verify).json();
    assert_eq!(second["known"], 2, "{second}");
    assert!(second["objects"].as_u64().unwrap() < first["objects"].as_u64().unwrap(), "{second}");

    let beyond = format!("a/orders/segments/0000000001-x/{:020}-0", 900 << 20);
    std::fs::create_dir_all(dir.join(&beyond).parent().unwrap()).unwrap();
    std::fs::write(dir.join(&beyond), "soon").unwrap();
    let told = run(dir, &verify).json();
    assert_eq!((&told["intact"], &told["in_flight"][0]["start"]), (&true.into(), &(900_u64 << 20).into()), "{told}");
    std::fs::remove_file(dir.join(&beyond)).unwrap();

    let segment = &segments(dir)[1];
    let whole = std::fs::read(segment).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(segment, flipped).unwrap();
    run(dir, &verify).ok();
    let told = run(dir, &format!("{verify} --full"));
    let found = &json(&told.stdout)["corrupt"][0];
    assert_eq!((&found["start"], &found["end"]), (&(1_u64 << 20).into(), &(2_u64 << 20).into()), "{found}");
    assert!(format!("{:?}", segment).contains(found["object"].as_str().unwrap()), "{found}");
    assert_eq!(told.code, 6);
    std::fs::remove_file(segment).unwrap();
    let told = run(dir, &verify);
    assert_eq!(json(&told.stdout)["missing"][0]["start"], 1 << 20);
    assert_eq!(told.code, 5);
    assert!(run(dir, &format!("archive verify --from {}", store(dir))).fails(5).contains("1048576 to 2097152"));
    std::fs::write(segment, whole).unwrap();
    assert_eq!(run(dir, &verify).json()["intact"], true);

    std::fs::write(dir.join("state.json"), "{}").unwrap();
    run(dir, &format!("archive verify --from {} --state state.json", store(dir))).fails(2);
}

#[test]
fn a_damaged_manifest_hides_no_other_log_and_is_named_at_the_end() {
    let (dir, ends) = archived(3);
    let (dir, from) = (dir.path(), store(dir.path()));
    for copy in ["a/another", "a/third"] {
        std::process::Command::new("cp").args(["-r", "a/orders", copy]).current_dir(dir).status().unwrap();
    }
    run(dir, &format!("archive copy --from {from} --to file://{} --log orders", dir.display())).ok();
    for log in ["orders", "third"] {
        std::fs::write(dir.join(format!("a/{log}/manifest")), "not a manifest").unwrap();
    }
    let told = run(dir, &format!("archive ls --from {from} --json"));
    let logs = json(&told.stdout)["logs"].as_array().unwrap().clone();
    assert_eq!((logs.len(), &logs[0]["log"], &logs[0]["end"]), (1, &"another".into(), &ends[2].into()));
    assert_eq!(told.code, 6);
    for object in ["orders/manifest", "third/manifest"] {
        assert!(told.stderr.contains(object), "{object}: {}", told.stderr);
    }
    let told = run(dir, &format!("archive verify --from {from}"));
    assert!(told.stdout.contains("log another  intact") && told.stderr.contains("orders/manifest"), "{}", told.stdout);
    assert_eq!(told.code, 6, "{}", told.stderr);
    run(dir, &format!("archive copy --from {from} --to file://{}", dir.display())).fails(6);
    assert!(dir.join("another/manifest").exists(), "what is whole is copied");
    // Of two stores, one of which is damaged, a restore takes the other; a verification says which one it is.
    let both = format!("--from {from} --from file://{} --log orders", dir.display());
    let told = run(dir, &format!("archive verify {both}"));
    assert!(told.stdout.contains("NOT INTACT") && told.stderr.contains("orders/manifest"), "{}", told.stdout);
    assert_eq!(told.code, 6, "{}", told.stderr);
    run(dir, &format!("replay {both} --into jsonl:out.jsonl")).ok();
}

#[test]
fn a_branch_that_was_set_aside_is_listed_and_restored_by_its_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    run(dir, "init --data-dir d --log orders --segment-size 1MiB").ok();
    let append = |text: &str| -> u64 {
        run_with(dir, "append --data-dir d --log orders", text.as_bytes()).ok().trim().parse().unwrap()
    };
    let shared = append("shared\n");
    // As a crash leaves it: whoever opens the copy begins another life.
    let agent = Agent::start(dir, "primary --data-dir d --insecure-plaintext");
    std::process::Command::new("cp").args(["-r", "d", "copy"]).current_dir(dir).status().unwrap();
    assert_eq!(agent.terminate(), 0);
    let end = append("of the old one\n");
    archive(dir, end);
    std::fs::rename(dir.join("d"), dir.join("old")).unwrap();
    std::fs::rename(dir.join("copy"), dir.join("d")).unwrap();
    let went_on = append("of the new one\n");
    archive(dir, went_on);

    let from = store(dir);
    let listed = run(dir, &format!("archive ls --from {from} --json")).json();
    let branch = &listed["logs"][0]["set_aside"][0];
    assert_eq!(
        (&branch["epoch"], &branch["start"], &branch["end"]),
        (&1.into(), &shared.into(), &end.into()),
        "{listed}"
    );
    assert!(run(dir, &format!("archive ls --from {from}")).ok().contains("--epoch 1"));
    // "of the new one" and "of the old one", behind "shared".
    for (more, last) in [("", "b2YgdGhlIG5ldyBvbmU="), ("--epoch 1", "b2YgdGhlIG9sZCBvbmU=")] {
        let restored = run(dir, &format!("replay --from {from} --log orders --into jsonl:- --scratch . {more}")).ok();
        assert_eq!(restored.lines().count(), 2, "{restored}");
        assert!(restored.lines().next().unwrap().contains("c2hhcmVk"), "{restored}");
        assert!(restored.lines().last().unwrap().contains(last), "{restored}");
    }
    let told = run(dir, &format!("replay --from {from} --log orders --into jsonl:- --scratch . --epoch 7")).fails(3);
    assert!(told.contains("epoch 7"), "{told}");
    run(dir, "replay --from d --log orders --into jsonl:- --epoch 1").fails(2);
}

#[test]
fn a_drill_measures_and_leaves_its_metrics_also_when_it_fails() {
    let (dir, ends) = archived(25);
    let dir = dir.path();
    let drill = format!("drill --from {} --log orders --scratch . --metrics drill.prom", store(dir));
    let before = std::fs::read_dir(dir).unwrap().count();
    let reached = run(dir, &format!("{drill} --json --check full")).json();
    assert_eq!((&reached["position"], &reached["transactions"]), (&ends[24].into(), &25.into()), "{reached}");
    for figure in ["rto_seconds", "rpo_seconds", "fetch_seconds"] {
        assert!(reached[figure].as_f64().unwrap() > 0.0, "{figure}: {reached}");
    }
    let metrics = || std::fs::read_to_string(dir.join("drill.prom")).unwrap();
    assert!(metrics().contains("longshore_drill_success{log=\"orders\"} 1\n"), "{}", metrics());
    assert!(metrics().contains("longshore_drill_rto_seconds{log=\"orders\"} "), "{}", metrics());
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), before + 1, "nothing but the metrics stays");

    std::fs::remove_file(&segments(dir)[0]).unwrap();
    run(dir, &drill).fails(5);
    assert!(metrics().contains("longshore_drill_success{log=\"orders\"} 0\n"), "{}", metrics());
    assert!(!metrics().contains("rto"), "{}", metrics());
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), before + 1);
}

#[test]
fn a_drill_that_is_interrupted_deletes_what_it_made_and_says_so() {
    use std::io::{BufRead, BufReader};
    let (dir, _) = archived(25);
    let dir = dir.path();
    let args = format!("drill --from {} --log orders --scratch . --progress json", store(dir));
    let before = std::fs::read_dir(dir).unwrap().count();
    let mut drill = longshore(dir).args(args.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(drill.stderr.take().unwrap());
    let mut told = String::new();
    stderr.read_line(&mut told).unwrap();
    assert_eq!(json(&told)["phase"], "fetching");
    let pid = drill.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    std::io::Read::read_to_string(&mut stderr, &mut told).unwrap();
    // It may have been at its end already.
    let code = drill.wait().unwrap().code();
    assert!(
        code == Some(0) || code == Some(130) && told.contains("error: the drill was interrupted"),
        "{code:?}: {told}"
    );
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), before);
}

/// Has the store never answer for one object: a pipe in its place that nobody writes to. Which one, and where it is now.
fn hold(dir: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let mut tail = files(&dir.join("a/orders/tail")).into_iter().map(|line| line.split(' ').next().unwrap().to_owned());
    let held: std::path::PathBuf = tail.rfind(|name| name.matches('-').count() > 1).unwrap().into();
    let aside = dir.join("held");
    std::fs::rename(&held, &aside).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&held).status().unwrap().success());
    (held, aside)
}

/// Kills a command once it fetches.
fn kill_while_it_fetches(dir: &Path, command: &str) {
    use std::io::{BufRead, BufReader};
    let mut child = longshore(dir).args(command.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    assert_eq!(json(&told)["phase"], "fetching");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_kill_has_left_goes_with_the_next_run_and_nothing_else_does() {
    let (dir, _) = archived(15);
    let (dir, from) = (dir.path(), store(dir.path()));
    let drills = || {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("drill-")).collect();
        names.sort();
        names
    };
    let (held, aside) = hold(dir);
    let drill = format!("drill --from {from} --log orders --scratch . --progress json");
    kill_while_it_fetches(dir, &drill);
    let replay = format!("replay --from {from} --log orders --into jsonl:out.jsonl --progress json");
    kill_while_it_fetches(dir, &replay);
    std::fs::remove_file(&held).unwrap();
    std::fs::rename(&aside, &held).unwrap();

    // Of a drill: but for one that goes on, one of another log, and what only has such a name.
    let [dead] = &drills()[..] else { panic!("one is left") };
    let marker = std::fs::read_dir(dir.join(dead)).unwrap().map(|entry| entry.unwrap().file_name());
    let marker = marker.map(|name| name.into_string().unwrap()).find(|name| name.contains("made-by")).unwrap();
    let others = ["drill-orders-1", "drill-orders-2024", "drill-orders-2-3"];
    for other in others {
        std::fs::create_dir(dir.join(other)).unwrap();
    }
    for marked in ["drill-orders-1", "drill-orders-2-3"] {
        std::fs::write(dir.join(marked).join(&marker), "").unwrap();
    }
    let goes_on = std::fs::File::open(dir.join(others[0])).unwrap();
    goes_on.lock().unwrap();
    run(dir, &drill).ok();
    assert_eq!(drills(), ["drill-orders-1", "drill-orders-2-3", "drill-orders-2024"]);

    // Of a replay, once its output has its name; until then it is what the next run goes on with.
    std::fs::create_dir(dir.join("mine.jsonl.log")).unwrap();
    for output in ["out.jsonl", "mine.jsonl"] {
        std::fs::write(dir.join(output), "").unwrap();
        run(dir, &format!("replay --from {from} --log orders --into jsonl:{output} --plan")).fails(7);
        assert!(dir.join(format!("{output}.log")).exists(), "a plan changes nothing");
        run(dir, &format!("replay --from {from} --log orders --into jsonl:{output} --if-absent")).ok();
    }
    assert!(!dir.join("out.jsonl.log").exists() && dir.join("mine.jsonl.log").exists());
}

#[test]
fn a_replay_or_drill_that_is_interrupted_while_it_fetches_ends_with_130_and_the_replay_goes_on() {
    use std::io::{BufRead, BufReader, Read};
    let (dir, _) = archived(40);
    let (dir, from) = (dir.path(), store(dir.path()));
    let (held, aside) = hold(dir);
    let replay = format!("replay --from {from} --log orders --into jsonl:out.jsonl --progress json");
    let drill = format!("drill --from {from} --log orders --scratch . --progress json");
    for (command, next) in [(&replay, "goes on where it was"), (&drill, "run it again")] {
        let mut child = longshore(dir).args(command.split_whitespace()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stderr, mut told) = (BufReader::new(child.stderr.take().unwrap()), String::new());
        stderr.read_line(&mut told).unwrap();
        assert_eq!(json(&told)["phase"], "fetching");
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        stderr.read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
        assert!(told.contains("interrupted") && told.contains(next), "{told}");
    }
    assert!(!files(dir).iter().any(|file| file.contains("drill-")), "nothing is left of a drill");
    let fetched = std::fs::read_dir(dir.join("out.jsonl.log/orders")).unwrap().count();
    assert!(0 < fetched);

    std::fs::remove_file(&held).unwrap();
    std::fs::rename(&aside, &held).unwrap();
    run(dir, &replay).ok();
    assert_eq!(std::fs::read_to_string(dir.join("out.jsonl")).unwrap().lines().count(), 40);
    assert!(!dir.join("out.jsonl.log").exists());
}

/// From a directory every object goes through here, and is checked on its way.
#[test]
fn a_copy_tells_how_it_went_and_what_it_asked_for() {
    let (dir, _) = archived(20);
    let (dir, from) = (dir.path(), store(dir.path()));
    std::fs::create_dir(dir.join("b")).unwrap();
    let copy = format!("archive copy --from {from} --to file://{}", dir.join("b").display());
    let planned = json(&run(dir, &format!("{copy} --plan --json")).ok());
    let told = run(dir, &format!("{copy} --plan")).ok();
    assert!(told.contains(" through this machine\n") && told.contains("cost      nothing\n"), "{told}");
    assert!(!dir.join("b/orders").exists());
    let copied = json(&run(dir, &format!("{copy} --json")).ok());
    for same in ["objects", "copied", "bytes", "through_here", "through_here_bytes", "puts"] {
        assert_eq!(planned[same], copied[same], "{same}: {planned} {copied}");
    }
    assert_eq!((&copied["by_store"], &copied["through_here"]), (&0.into(), &copied["copied"]));
    let manifest = dir.join("b/orders/manifest").metadata().unwrap().len();
    assert_eq!(copied["sent_bytes"].as_u64().unwrap(), copied["bytes"].as_u64().unwrap() + manifest, "{copied}");
    assert_eq!(copied["cost"]["requests_usd"], 0.0);
}

#[test]
fn wrong_requests_say_what_to_write() {
    let (dir, _) = archived(1);
    let (dir, from) = (dir.path(), store(dir.path()));
    for inside in ["a/inside", "a/orders/inside"] {
        std::fs::create_dir(dir.join(inside)).unwrap();
    }
    for (args, says) in [
        (format!("archive copy --from {from}"), "needs --to URL"),
        (format!("archive verify --from {from} --to {from}"), "--to is for archive copy"),
        (format!("archive prune --from {from} --state x"), "--state is for archive verify"),
        (format!("archive copy --from {from} --from {from} --to {from}"), "several --from"),
        (format!("archive copy --from {from} --to {from}"), "lie in one another"),
        (format!("archive copy --from {from} --to {from}/inside"), "beside the archive"),
        (format!("archive copy --from {from}/orders/inside --to {from} --log orders"), "lie in one another"),
        (format!("archive copy --from {from} --to a"), "it is no address; write s3://"),
        (format!("archive ls --from {from}?region=here"), "unknown option region"),
        (format!("archive ls --from {from} --log Orders"), "--log must match"),
        (format!("archive ls --from {from} --full"), "--full is for archive verify and copy"),
        (format!("archive copy --from {from} --to {from} --keep 1h"), "are for archive prune"),
        (format!("archive verify --from {from} --older-than 1h"), "are for archive prune"),
        (format!("archive ls --from {from} --plan"), "--plan is for copy and prune"),
        ("archive ls".to_owned(), "--from <URL>"),
        ("archive frob --from x".to_owned(), "ls, verify, copy, prune"),
        (format!("replay --from {from} --log orders --into jsonl:-"), "--scratch DIR"),
        ("replay --into nothing --from d --log orders".to_owned(), "sqlite:PATH"),
        ("drill --log orders".to_owned(), "--from <URL>"),
        ("drill --from x --log orders --scratch . --check deep".to_owned(), "'deep'"),
        ("frobnicate".to_owned(), "longshore help"),
    ] {
        let told = run(dir, &args).fails(2);
        assert!(told.contains(says), "{args}: {told}");
    }
}
