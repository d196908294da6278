//! What no client of ours would send, after a handshake that was in order (F-088, F-098 … F-101, F-125).

mod common;

use common::{
    PATIENCE, Pki, Running, connector,
    raw::{Pieces, call, framed},
};
use tokio::time::timeout;

const APPEND: &str = "/longshore.v1.Log/Append";
const STREAM: &str = "/longshore.v1.Replication/Stream";
const DESCRIBE: &str = "/longshore.v1.Replication/Describe";

const INVALID_ARGUMENT: u32 = 3;
const OUT_OF_RANGE: u32 = 11;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;

/// Bytes as the payload of field `number`.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u8::try_from(bytes.len()).expect("short");
    [&[number << 3 | 2, len][..], bytes].concat()
}

#[tokio::test]
async fn malformed_requests_are_refused_before_a_service_hears_of_them() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let log = field(1, b"orders");
    let open = |message: &[u8]| framed(&field(1, message));
    let cases: Vec<(&str, &str, &str, Pieces, u32)> = vec![
        // F-099, F-101: 4 GiB are announced and nothing is sent; nothing is waited for or allocated.
        ("a length of 4 GiB", "app", APPEND, Pieces::without_end(vec![0, 0xff, 0xff, 0xff, 0xff]), OUT_OF_RANGE),
        ("a hello of 1 MiB", "replica", STREAM, Pieces::whole(framed(&vec![0; 1 << 20])), OUT_OF_RANGE),
        // F-101: 2 MiB that would become many times as much.
        ("a million records", "app", APPEND, Pieces::whole(framed(&[0x12, 0].repeat(1 << 19))), INVALID_ARGUMENT),
        // F-098
        ("garbage", "app", APPEND, Pieces::whole(framed(&[0xff; 100])), INVALID_ARGUMENT),
        ("a field cut off", "app", APPEND, Pieces::whole(framed(&[0x12, 0x70, 1])), INVALID_ARGUMENT),
        ("no message", "app", APPEND, Pieces::whole(vec![]), INTERNAL),
        ("half a message", "app", APPEND, Pieces::whole(vec![0, 0, 0, 0, 50, 1, 2]), INTERNAL),
        ("a compressed message", "app", APPEND, Pieces::whole(vec![1, 0, 0, 0, 0]), INTERNAL),
        ("an unknown compression", "app", APPEND, Pieces::whole(vec![9, 0, 0, 0, 0]), INTERNAL),
        ("no records", "app", APPEND, Pieces::whole(framed(&log)), INVALID_ARGUMENT),
        // F-125
        ("a path", "app", APPEND, Pieces::whole(framed(&field(1, b"../orders"))), INVALID_ARGUMENT),
        ("a NUL", "replica", DESCRIBE, Pieces::whole(framed(&field(1, b"orders\0"))), INVALID_ARGUMENT),
        ("not UTF-8", "replica", DESCRIBE, Pieces::whole(framed(&field(1, &[0xff, 0xfe]))), INVALID_ARGUMENT),
        ("a name of 120", "replica", DESCRIBE, Pieces::whole(framed(&field(1, &[b'a'; 120]))), INVALID_ARGUMENT),
        // A stream that does not open with what opens a stream.
        ("an empty first message", "replica", STREAM, Pieces::without_end(framed(&[])), INVALID_ARGUMENT),
        ("an ack first", "replica", STREAM, Pieces::without_end(framed(&field(3, &[]))), INVALID_ARGUMENT),
        ("an empty open", "replica", STREAM, Pieces::without_end(open(&[])), INVALID_ARGUMENT),
        ("an open without offer", "replica", STREAM, Pieces::without_end(open(&log)), INVALID_ARGUMENT),
        ("an end at once", "replica", STREAM, Pieces::whole(vec![]), INVALID_ARGUMENT),
        // F-088: a byte, and then nothing; a stream that never says who it is.
        ("a dripping request", "app", APPEND, Pieces::without_end(vec![0, 0]), INVALID_ARGUMENT),
        ("a silent stream", "replica", STREAM, Pieces::without_end(vec![]), INVALID_ARGUMENT),
        ("an unknown method", "app", "/longshore.v1.Log/Erase", Pieces::whole(framed(&[])), UNIMPLEMENTED),
        ("an unknown service", "app", "/../../etc/passwd", Pieces::whole(framed(&[])), UNIMPLEMENTED),
    ];
    for (what, identity, path, body, expected) in cases {
        let answer = timeout(PATIENCE, call(&pki, &agent, identity, path, body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{what}: no answer"));
        assert_eq!(answer.status, Some(expected), "{what}");
        assert!(answer.bytes.is_empty(), "{what}: no data came back");
    }
    assert!(agent.agent.seen(|seen| seen.callers.is_empty()));
    assert!(connector(pki.path(), "app").connect(&agent.pinned()).await.unwrap().healthy().await.unwrap());
    agent.stop().await;
}

#[tokio::test]
async fn the_contract_can_be_asked_for() {
    let pki = Pki::new();
    let agent = Running::start(&pki).await;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let list_services = framed(&field(7, b"*"));
    let answer = call(&pki, &agent, "app", path, Pieces::whole(list_services)).await;
    let text = String::from_utf8_lossy(&answer.bytes);
    for service in ["Replication", "Log", "Admin"].map(|name| format!("longshore.v1.{name}")) {
        assert!(text.contains(&service), "{text}");
    }
    agent.stop().await;
}
