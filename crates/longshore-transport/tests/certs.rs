//! The development CA (F-057).

mod common;

use std::{fs, os::unix::fs::PermissionsExt};

use common::{Pki, Running, connector, name};
use longshore_format::ErrorKind;
use longshore_transport::{
    certs::{self, Host, Identity},
    grants::{Grants, Role},
};

fn identity(who: &str, roles: &[Role]) -> Identity {
    Identity { name: name(who), roles: roles.to_vec(), hosts: Vec::new() }
}

#[test]
fn running_again_adds_names_and_replaces_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls/deeper");
    let first = certs::init(&path, &[identity("primary", &[Role::Admin])]).unwrap();
    assert!(first.new_ca);
    let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
    let before = ["ca.pem", "ca.key", "primary.pem", "primary.key"].map(read);
    let edited = read("grants.toml") + "\n# a comment of the operator\n[by-hand]\nlogs.orders = [\"read\"]\n";
    fs::write(path.join("grants.toml"), &edited).unwrap();

    let names = [identity("primary", &[Role::Read]), identity("eu-west", &[Role::Replicate]), identity("by-hand", &[])];
    let second = certs::init(&path, &names).unwrap();
    assert!(!second.new_ca);
    assert_eq!(second.kept, [name("primary")]);
    assert_eq!(second.issued, [name("eu-west"), name("by-hand")]);
    assert_eq!(["ca.pem", "ca.key", "primary.pem", "primary.key"].map(read), before);
    let grants = read("grants.toml");
    assert!(grants.starts_with(&edited), "what was there stays");
    let grants = Grants::parse(&grants).unwrap();
    assert!(grants.allows(&name("eu-west"), Role::Replicate, &name("orders")));
    assert!(grants.allows(&name("by-hand"), Role::Read, &name("orders")));
    assert!(!grants.allows(&name("primary"), Role::Read, &name("orders")));
    assert_eq!(certs::init(&path, &names).unwrap().kept.len(), 3);
}

#[test]
fn files_are_the_owners_alone_whatever_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tls");
    certs::init(&path, &[identity("primary", &[Role::Admin])]).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn half_a_ca_is_never_replaced() {
    for missing in ["ca.pem", "ca.key"] {
        let directory = tempfile::tempdir().unwrap();
        certs::init(directory.path(), &[]).unwrap();
        fs::remove_file(directory.path().join(missing)).unwrap();
        let error = certs::init(directory.path(), &[identity("a", &[])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Preflight);
        assert!(error.to_string().contains(&format!("but no {missing}; bring {missing} back")), "{error}");
        assert!(!directory.path().join("a.pem").exists());
    }
}

#[tokio::test]
async fn every_name_and_host_of_a_certificate_can_be_connected_to() {
    let pki = Pki::new();
    let hosts = vec!["db1.example.com".parse().unwrap(), Host::Ip([10, 1, 2, 3].into())];
    let odd = ["7-", "a_b", "0", &"x".repeat(63)].map(|who| identity(who, &[Role::Replicate]));
    certs::init(pki.path(), &odd).unwrap();
    certs::init(pki.path(), &[Identity { hosts, ..identity("many", &[]) }]).unwrap();
    let agent = Running::start(&pki).await;
    for who in ["7-", "a_b", "0", &"x".repeat(63), "many"] {
        let connector = connector(pki.path(), who);
        connector.connect(&agent.pinned()).await.unwrap();
        connector.connect(&agent.by_host()).await.unwrap();
        connector.connect(&agent.address.to_string().parse().unwrap()).await.unwrap();
    }
    agent.stop().await;
}
