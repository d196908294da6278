//! The sidecar API from another language: the documented Python example, run against real agents.

use std::path::Path;
use std::process::Command;

use longshore_testkit::process::{Running, longshore, must, top};

/// Stubs generated from `proto/`, or the reason why there can be none here.
fn stubs(dir: &Path) -> Result<(), String> {
    let script = top().join("tests/scripts/python_stubs.sh");
    let made = Command::new(script).arg(dir).output().map_err(|error| error.to_string())?;
    match made.status.code() {
        Some(0) => Ok(()),
        Some(77) => Err(String::from_utf8_lossy(&made.stderr).into_owned()),
        _ => panic!("the stubs cannot be generated: {}", String::from_utf8_lossy(&made.stderr)),
    }
}

#[test]
fn the_python_example_appends_waits_marks_and_reads() {
    // Kept between runs: installing grpcio takes longer than the test.
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
    if let Err(why) = stubs(&python) {
        eprintln!("SKIPPED the_python_example_appends_waits_marks_and_reads: {why}");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).display().to_string();
    let (tls, primary, replica) = (at("tls"), at("primary"), at("replica"));
    let names = ["--name", "primary=admin,append,read", "--name", "app=append,read", "--name", "eu-west=replicate"];
    must(longshore([&["certs", &tls][..], &names].concat()), b"");
    must(longshore(["init", "--data-dir", &primary, "--log", "orders"]), b"");

    let zero = "127.0.0.1:0";
    let mut first = Running::start(longshore([
        "primary",
        "--data-dir",
        &primary,
        "--listen",
        zero,
        "--http",
        zero,
        "--tls-dir",
        &tls,
        "--identity",
        "primary",
    ]));
    let port = first.listening().port();
    let upstream = format!("primary@127.0.0.1:{port}");
    let mut second = Running::start(longshore([
        "replica",
        "--data-dir",
        &replica,
        "--listen",
        zero,
        "--http",
        zero,
        "--upstream",
        &upstream,
        "--tls-dir",
        &tls,
        "--identity",
        "eu-west",
    ]));
    second.listening();

    let mut example = Command::new(python.join("venv/bin/python"));
    example.arg(top().join("docs/sidecar/example.py"));
    example.args([&format!("localhost:{port}"), &tls, "app", "orders", "replicas:1"]);
    example.env("PYTHONPATH", python.join("stubs"));
    let said = must(example, b"");

    assert!(said.contains(", replicas:1\n"), "{said}");
    assert!(said.contains(": debit alice 10\n"), "{said}");
    assert!(said.contains(": credit bob 10\n"), "{said}");
    assert!(said.contains("repeated: FAILED_PRECONDITION"), "{said}");
    assert!(second.terminate().success());
    assert!(first.terminate().success());
}
