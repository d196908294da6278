//! Settings: flag before environment before file before default, and where each came from.

mod common;

use std::path::Path;

use common::{longshore, run};

fn shown(dir: &Path, variables: &[(&str, &str)], args: &[&str]) -> serde_json::Value {
    let output = longshore(dir)
        .envs(variables.iter().copied())
        .args(["config", "--show", "--json"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn setting(document: &serde_json::Value, key: &str) -> (String, String) {
    let settings = document["settings"].as_array().unwrap();
    let setting = settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    let values: Vec<_> = setting["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
    (values.join(" "), setting["origin"].as_str().unwrap().to_owned())
}

#[test]
fn each_layer_goes_before_the_one_below() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("l.toml"), "listen = '127.0.0.1:3'\n[retention]\nslot_cap = '3GiB'\n").unwrap();
    let check = |variables: &[(&str, &str)], args: &[&str], value: &str, origin: &str| {
        let document = shown(dir.path(), variables, args);
        assert_eq!(setting(&document, "listen"), (value.to_owned(), origin.to_owned()), "{variables:?} {args:?}");
    };
    let variable = ("LONGSHORE_LISTEN", "127.0.0.1:2");
    let file = ("LONGSHORE_CONFIG", "l.toml");
    check(&[], &["primary"], "127.0.0.1:7420", "default");
    check(&[file], &["primary"], "127.0.0.1:3", "file");
    check(&[file, variable], &["primary"], "127.0.0.1:2", "environment");
    check(&[file, variable], &["primary", "--listen", "127.0.0.1:1"], "127.0.0.1:1", "flag");
    let document = shown(dir.path(), &[file], &["primary"]);
    assert_eq!(setting(&document, "retention-slot-cap"), ("3GiB".into(), "file".into()));
    assert_eq!(setting(&document, "data-dir"), (String::new(), "unset".into()));
}

#[test]
fn the_table_names_the_source() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("l.toml"), "[primary]\nhttp = '127.0.0.1:9'\n").unwrap();
    let text = run(dir.path(), "config --show --config l.toml primary --data-dir d").ok();
    assert!(text.contains("file l.toml"), "{text}");
    assert!(text.lines().any(|line| line.starts_with("data-dir") && line.ends_with("flag")), "{text}");
}

/// F-126
#[test]
fn what_no_setting_is_called_is_refused_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    for (text, near) in [
        ("lisen = 'x'", "listen"),
        ("data_dri = 'x'", "data-dir"),
        ("[retention]\nslot_cup = '1GiB'", "slot-cap"),
        ("[primary]\nhtpp = 'x'", "http"),
    ] {
        std::fs::write(dir.path().join("l.toml"), text).unwrap();
        let told = run(dir.path(), "primary --config l.toml --data-dir d").fails(2);
        assert!(told.contains(&format!("did you mean `{near}`")), "{text}: {told}");
    }
}

/// F-126
#[test]
fn values_are_checked_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    for (text, told_of) in [
        ("listen = 'everywhere'", "--listen"),
        ("[retention]\nslot_cap = '3 parsecs'", "retention.slot_cap"),
        ("[log]\nsegment_size = '63MiB'", "log.segment_size"),
        ("[network]\nheartbeat = '30'", "network.heartbeat"),
        ("[ack]\ndurability = 'replicas:0'", "ack.durability"),
        ("not toml", "TOML"),
    ] {
        std::fs::write(dir.path().join("l.toml"), text).unwrap();
        let told = run(dir.path(), "primary --config l.toml --data-dir d --insecure-plaintext").fails(2);
        assert!(told.contains(told_of), "{text}: {told}");
    }
    run(dir.path(), "primary --config nowhere.toml --data-dir d").fails(3);
}

#[test]
fn a_misspelt_variable_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let output = longshore(dir.path())
        .env("LONGSHORE_LISTN", "x")
        .env("LONGSHORE_SERVICE_HOST", "10.0.0.1")
        .args(["config", "--show"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("did you mean LONGSHORE_LISTEN?"), "{told}");
}

#[test]
fn the_settings_file_of_the_operations_guide_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let guide = include_str!("../../../docs/OPERATIONS.md");
    let example = guide.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let example = example.into_iter().find(|block| block.contains("data_dir")).expect("it has one");
    std::fs::write(dir.path().join("l.toml"), example).unwrap();
    let document = shown(dir.path(), &[], &["--config", "l.toml", "primary"]);
    for (key, value) in [("identity", "primary"), ("tls-dir", "/etc/longshore"), ("retention-slot-cap", "64GiB")] {
        let (found, origin) = setting(&document, key);
        assert_eq!((found.as_str(), origin.as_str()), (value, "file"), "{key}");
    }
}

#[test]
fn who_an_agent_is_and_who_may_do_what_are_asked_for_by_the_keys_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    std::fs::create_dir(at.join("d")).unwrap();
    let own = "[tls]\nca = 'ca.pem'\ncert = 'a.pem'\nkey = 'a.key'\n";
    run(at, "certs tls --name a=admin").ok();
    for file in ["ca.pem", "a.pem", "a.key", "grants.toml"] {
        std::fs::copy(at.join("tls").join(file), at.join(file)).unwrap();
    }
    for (settings, told) in [
        (String::new(), "tls needs dir and identity, or ca, cert and key"),
        ("[tls]\ngrants = 'grants.toml'\n".to_owned(), "tls needs dir and identity, or ca, cert and key"),
        (own.to_owned(), "tls.grants is not set, and neither is tls.dir"),
    ] {
        std::fs::write(at.join("l.toml"), &settings).unwrap();
        let agent = "primary --data-dir d --config l.toml --listen 127.0.0.1:0 --http 127.0.0.1:0";
        let refused = run(at, agent).fails(2);
        assert!(refused.contains(told), "{settings}: {refused}");
    }
}
