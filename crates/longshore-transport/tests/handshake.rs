//! Who gets in, and who is refused before anything is said (F-057, F-088, F-124).

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Pki, Running,
    agent::hello,
    client_settings, connector, eventually, name,
    pki::{Validity, foreign},
    quick,
};
use longshore_format::ErrorKind;
use longshore_transport::{
    Address, Connector, Error, ServerSettings,
    tls::{ClientTls, ServerTls, TlsFiles},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// An hour from now, a minute ago.
const GOOD: Validity = Validity(-60, 3600);

/// Why an identity is refused; that it was refused before any service heard of it.
async fn refusal(pki: &Pki, identity: &str, agent: &Running) -> Error {
    let connected = connector(pki.path(), identity).connect(&agent.pinned()).await;
    assert!(agent.agent.seen(|seen| seen.callers.is_empty()));
    let error = connected.err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    error
}

#[tokio::test]
async fn a_certificate_from_another_ca_is_refused_at_both_ends() {
    let (pki, strangers) = (Pki::new(), Pki::new());
    let agent = Running::start(&pki).await;
    let error = refusal(&strangers, "replica", &agent).await;
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");

    // A client that would believe the server is still refused by it.
    for file in ["replica.pem", "replica.key"] {
        pki.replace(file, &fs::read_to_string(strangers.path().join(file)).unwrap());
    }
    let error = refusal(&pki, "replica", &agent).await;
    assert!(error.to_string().contains("refused our certificate"), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    pki.reissue("replica", Validity(-7200, -3600));
    let error = refusal(&pki, "replica", &agent).await;
    assert!(error.to_string().contains("it is expired"), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn a_certificate_that_is_not_yet_valid_is_refused() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    pki.reissue("replica", Validity(3600, 7200));
    refusal(&pki, "replica", &agent).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    pki.self_sign("replica");
    refusal(&pki, "replica", &agent).await;
    agent.stop().await;
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_others_are_not() {
    let pki = Pki::new();
    pki.revoke(&["replica"]);
    let agent = Running::start(&pki).await;
    let error = refusal(&pki, "replica", &agent).await;
    assert!(error.to_string().contains("it is revoked"), "{error}");
    connector(pki.path(), "other").connect(&agent.pinned()).await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn a_server_that_is_revoked_or_expired_is_not_believed_even_when_its_name_is_pinned() {
    // Pinning replaces the check of the host's name and nothing else.
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    pki.revoke(&["primary"]);
    for address in [agent.pinned(), agent.by_host()] {
        let error = connector(pki.path(), "replica").connect(&address).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(error.to_string().contains("Revoked"), "{error}");
    }
    pki.revoke(&[]);
    pki.reissue("primary", Validity(-7200, -3600));
    agent.access.reload().unwrap();
    // The address is not in this certificate, so that its name does not fit either.
    let error = connector(pki.path(), "replica").connect(&agent.pinned()).await.err().unwrap();
    assert!(error.to_string().contains("xpired"), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn a_server_with_another_name_than_the_pinned_one_is_not_believed() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let address: Address = format!("other@{}", agent.address).parse().unwrap();
    let error = connector(pki.path(), "replica").connect(&address).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("wanted other, found certificate"), "{error}");
    assert!(error.to_string().contains("claiming to be primary"), "{error}");
    agent.stop().await;
}

#[tokio::test]
async fn without_a_pin_the_certificate_must_name_the_host() {
    let pki = Pki::new();
    pki.reissue("primary", GOOD); // names localhost and no address
    let agent = Running::start(&pki).await;
    let connector = connector(pki.path(), "replica");
    connector.connect(&agent.by_host()).await.unwrap();
    connector.connect(&agent.pinned()).await.unwrap();
    let error = connector.connect(&agent.address.to_string().parse().unwrap()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    agent.stop().await;
}

#[tokio::test]
async fn plaintext_and_garbage_get_nothing_from_an_agent_with_tls() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let plaintext = Connector::plaintext_on_loopback(name("replica"), client_settings());
    assert!(plaintext.connect(&agent.by_host()).await.is_err());

    let hello = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    for bytes in [hello.as_bytes(), &[0xff; 5000], &[0x16, 3, 1, 0xff, 0xff], &[]] {
        let mut socket = TcpStream::connect(agent.address).await.unwrap();
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it closes");
        assert!(answer.len() < 100, "at most an alert");
    }
    assert!(agent.agent.seen(|seen| seen.callers.is_empty()));
    connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn a_handshake_that_drips_ends_by_its_deadline_and_holds_up_nobody() {
    // F-088, F-110: more half-open handshakes than may run at once.
    let pki = Pki::new();
    let settings = ServerSettings { max_handshakes: 2, ..quick() };
    let agent = Running::with(&pki, settings).await;
    let start = Instant::now();
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let mut socket = TcpStream::connect(agent.address).await.unwrap();
        socket.write_all(&[0x16, 3, 1]).await.unwrap();
        sockets.push(socket);
    }
    for mut socket in sockets {
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await.expect("it closes");
    }
    assert!(start.elapsed() >= quick().handshake_deadline);
    connector(pki.path(), "replica").connect(&agent.pinned()).await.unwrap();
    agent.stop().await;
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_and_nothing_older_than_tls_1_3_is_spoken() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let socket = TcpStream::connect(agent.address).await.unwrap();
    let config = Arc::new(foreign(&pki, "replica", &[&rustls::version::TLS13]));
    let stream = TlsConnector::from(config).connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let session = stream.get_ref().1;
    assert_eq!(session.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    drop(stream);
    agent.stop().await;
}

#[tokio::test]
async fn a_connection_that_never_calls_is_closed() {
    // F-088: after a good handshake, silence.
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let socket = TcpStream::connect(agent.address).await.unwrap();
    let config = Arc::new(foreign(&pki, "replica", &[&rustls::version::TLS13]));
    let mut stream = TlsConnector::from(config).connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it closes");

    // The same for a client of ours that only connects; while one that called stays.
    let connector = connector(pki.path(), "replica");
    let (idle, busy) =
        (connector.connect(&agent.pinned()).await.unwrap(), connector.connect(&agent.pinned()).await.unwrap());
    let mut channel = busy.follow(&name("orders"), hello("replica")).await.unwrap();
    channel.receive().await.unwrap().unwrap();
    eventually(|| idle.is_closed()).await;
    assert!(!busy.is_closed());
    drop((channel, busy));
    agent.stop().await;
}

#[tokio::test]
async fn one_identity_cannot_take_all_connections() {
    // F-088, F-110
    let pki = Pki::new();
    let settings = ServerSettings { max_connections_per_identity: 2, ..ServerSettings::default() };
    let agent = Running::with(&pki, settings).await;
    let greedy = connector(pki.path(), "replica");
    let first = greedy.connect(&agent.pinned()).await.unwrap();
    let _second = greedy.connect(&agent.pinned()).await.unwrap();
    let error = greedy.connect(&agent.pinned()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let _other = connector(pki.path(), "other").connect(&agent.pinned()).await.unwrap();
    drop(first);
    let again = async {
        while greedy.connect(&agent.pinned()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place is free again");
    drop(_other);
    drop(_second);
    agent.stop().await;
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    // F-057
    let pki = Pki::new();
    let files = TlsFiles::in_directory(pki.path(), &name("primary"));
    for mode in [0o640, 0o604, 0o660, 0o666, 0o610] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        for error in [ServerTls::load(files.clone()).err(), ClientTls::load(files.clone()).err()] {
            let error = error.unwrap_or_else(|| panic!("{mode:o} is refused"));
            assert_eq!(error.kind(), ErrorKind::Preflight);
            assert!(error.to_string().contains(&format!("{mode:03o}; chmod 600")), "{error}");
        }
    }
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(ServerTls::load(files).unwrap().certificate_days_left() > 300);
}

#[test]
fn files_that_do_not_fit_together_are_refused_by_name() {
    let pki = Pki::new();
    let files = |who: &str| TlsFiles::in_directory(pki.path(), &name(who));
    let mixed = TlsFiles { key: files("other").key, ..files("primary") };
    let error = ServerTls::load(mixed).err().unwrap();
    assert!(error.to_string().contains("primary.pem and its key"), "{error}");
    let missing = ServerTls::load(files("absent")).err().unwrap();
    assert!(missing.to_string().contains("absent.key"), "{missing}");
    pki.replace("ca.pem", "not a certificate");
    let error = ClientTls::load(files("primary")).err().unwrap();
    assert!(error.to_string().contains("ca.pem: no certificate in it"), "{error}");
}
