//! F-124 with real processes: who is let in, who is not, and what they are told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use longshore_testkit::process::{PATIENCE, longshore, must, run_with, until};
use longshore_testkit::site::{LOG, Site, ZERO};

const DENIED: Option<i32> = Some(13);

fn append_as(tls: &str, identity: &str, server: &str) -> Command {
    longshore(["append", "--server", server, "--log", LOG, "--tls-dir", tls, "--identity", identity])
}

#[test]
fn strangers_wrong_roles_and_plaintext_are_refused_and_change_nothing() {
    let place = tempfile::tempdir().unwrap();
    let site = Site::new(place.path());
    let mut primary = site.primary(ZERO);
    let (port, server) = (primary.listening().port(), format!("primary@{}", primary.listening()));

    let rogue = site.at("rogue");
    must(longshore(["certs", &rogue, "--name", "app=append,read"]), b"");
    let stranger = run_with(append_as(&rogue, "app", &server), b"x\n");
    assert_eq!(stranger.status.code(), DENIED, "{}", String::from_utf8_lossy(&stranger.stderr));

    let wrong_role = run_with(append_as(site.tls(), "eu-west", &server), b"x\n");
    let said = String::from_utf8_lossy(&wrong_role.stderr).into_owned();
    assert_eq!(wrong_role.status.code(), DENIED, "{said}");
    assert!(said.contains("grants.toml") && said.contains("append"), "does not say what to grant: {said}");

    let impostor = run_with(append_as(site.tls(), "app", &format!("us-east@127.0.0.1:{port}")), b"x\n");
    assert_eq!(impostor.status.code(), DENIED, "{}", String::from_utf8_lossy(&impostor.stderr));

    let mut plaintext = TcpStream::connect(("127.0.0.1", port)).unwrap();
    plaintext.set_read_timeout(Some(PATIENCE)).unwrap();
    plaintext.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // An alert or a reset, but never HTTP/2 settings.
    drop(plaintext.read_to_end(&mut answer));
    assert!(answer.len() < 16, "answered {answer:?} to a plaintext client");

    assert_eq!(site.numbers(&server), Vec::<u64>::new());
    assert!(primary.terminate().success());
}

#[test]
fn a_replica_that_loses_its_grant_is_cut_off_and_the_others_stay() {
    let place = tempfile::tempdir().unwrap();
    let site = Site::new(place.path());
    let mut primary = site.primary(ZERO);
    let server = format!("primary@{}", primary.listening());
    let _eu = site.replica("eu-west", &server, &[]);
    let _us = site.replica("us-east", &server, &[]);
    assert!(site.append(&server, 1..=10, "replicas:2"));

    let grants = Path::new(site.tls()).join("grants.toml");
    let text = std::fs::read_to_string(&grants).unwrap();
    assert!(text.contains("eu-west"), "{text}");
    std::fs::write(&grants, text.replace("eu-west", "somebody-else")).unwrap();
    primary.signal("HUP");
    until("eu-west to be cut off", Instant::now() + PATIENCE, || {
        (connected(&site, &server) == ["us-east"]).then_some(())
    });
    assert!(site.append(&server, 11..=20, "replicas:1"), "us-east was cut off too");
}

#[test]
fn certificates_are_swapped_under_load_without_a_dropped_stream() {
    let place = tempfile::tempdir().unwrap();
    let site = Site::new(place.path());
    let mut primary = site.primary(ZERO);
    let server = format!("primary@{}", primary.listening());
    let mut eu = site.replica("eu-west", &server, &[]);
    assert!(site.append(&server, 1..=100, "replicas:1"));

    let renewed = site.at("renewed");
    std::fs::create_dir(&renewed).unwrap();
    for file in ["ca.pem", "ca.key"] {
        std::fs::copy(Path::new(site.tls()).join(file), Path::new(&renewed).join(file)).unwrap();
    }
    must(longshore(["certs", &renewed, "--name", "primary=admin,append,read", "--name", "eu-west=replicate"]), b"");
    std::thread::scope(|scope| {
        let load = scope.spawn(|| (0..20).all(|n| site.append(&server, 101 + n * 100..=200 + n * 100, "replicas:1")));
        for name in ["primary", "eu-west"] {
            for ending in ["key", "pem"] {
                let file = format!("{name}.{ending}");
                std::fs::rename(Path::new(&renewed).join(&file), Path::new(site.tls()).join(&file)).unwrap();
            }
        }
        primary.signal("HUP");
        eu.signal("HUP");
        assert!(load.join().unwrap(), "an append failed while certificates were swapped");
    });
    let disconnects: Vec<String> = [primary.said(), eu.said()]
        .iter()
        .flat_map(|said| said.lines())
        .filter(|line| line.contains("disconnected"))
        .map(str::to_owned)
        .collect();
    assert!(disconnects.is_empty(), "{disconnects:?}");
    assert!(eu.terminate().success());
    // A new handshake uses the new pair.
    let again = site.replica("eu-west", &server, &[]);
    assert!(site.append(&server, 2101..=2200, "replicas:1"));
    drop(again);
}

/// Names of the replicas that `status` shows as connected.
fn connected(site: &Site, server: &str) -> Vec<String> {
    let status: serde_json::Value = serde_json::from_str(&must(site.status_json(server), b"")).unwrap();
    let mut names = Vec::new();
    collect(&status, &mut names);
    names.sort();
    names
}

fn collect(value: &serde_json::Value, names: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            let name = fields.get("replica").or(fields.get("name")).and_then(|name| name.as_str());
            if let (Some(name), Some(true)) = (name, fields.get("connected").and_then(|connected| connected.as_bool()))
            {
                names.push(name.to_owned());
            }
            fields.values().for_each(|value| collect(value, names));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, names)),
        _ => {}
    }
}
