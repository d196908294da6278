//! One key in an etcd: read, and changed if nobody changed it since.
//!
//! A few calls of etcd's own gRPC API, made with the stubs, the HTTP/2 and the TLS that this crate has anyway. Why no client
//! library of etcd's is here stands in `docs/decisions/0038-lease.md`.

mod url;

pub use url::Place;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use longshore_format::ErrorKind;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::{Code, Response, Status};

use crate::client::http::Http;
use crate::client::root_cause;
use crate::proto::etcd::{
    Compare, KeyValue, PutRequest, RangeRequest, RangeResponse, RequestOp, TxnRequest, compare, kv_client, request_op,
    response_op,
};
use crate::settings::Http2;
use crate::tls::{ClientTls, TlsFiles};
use crate::{Address, Error, Result, lock};

/// An etcd cluster, by the addresses of its members. Connects when it is first asked, and anew after a failure, to the next.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Address>,
    tls: Option<TlsFiles>,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    open: Option<Open>,
    /// The member that is dialled next, counted without end.
    next: usize,
    tls: Option<ClientTls>,
}

#[derive(Clone)]
struct Open {
    http: Http,
    origin: tonic::codegen::http::Uri,
    member: String,
}

enum Next<'a> {
    Open(Open),
    Dial(&'a Address, Option<ClientTls>),
}

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub bytes: Bytes,
    /// At which revision of the cluster they were written. No two writes have the same.
    pub revision: i64,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// The key holds what it was changed into, since this revision.
    Done(i64),
    /// Somebody else was faster: it holds this.
    Conflict(Option<Value>),
}

impl Etcd {
    /// The cluster of a [`Place`]. Nothing is asked of it yet.
    pub fn new(place: &Place) -> Etcd {
        Etcd { members: place.members.clone(), tls: place.tls.clone(), link: Mutex::default() }
    }

    /// What `key` holds, as the whole cluster has it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if no answer is to be had now, [`ErrorKind::Denied`] if it is refused.
    pub async fn get(&self, key: &str) -> Result<Option<Value>> {
        let open = self.open().await?;
        let answer = open.stub().range(RangeRequest { key: key.to_owned().into() }).await;
        self.taken(&open, answer).map(value_of)
    }

    /// Changes `key` if it was last written at `revision`, or if that is 0 makes it where it is not.
    ///
    /// # Errors
    /// As [`get`](Etcd::get). After one the change may have been made, or may still be.
    pub async fn swap(&self, key: &str, revision: i64, bytes: Bytes) -> Result<Swapped> {
        let open = self.open().await?;
        let answer = self.taken(&open, open.stub().txn(transaction(key, revision, bytes)).await)?;
        if answer.succeeded {
            let header = answer.header.ok_or_else(|| Error::malformed("etcd named no revision"))?;
            return Ok(Swapped::Done(header.revision));
        }
        match answer.responses.into_iter().next().and_then(|first| first.response) {
            Some(response_op::Response::ResponseRange(range)) => Ok(Swapped::Conflict(value_of(range))),
            _ => Err(Error::malformed("etcd did not say what is there")),
        }
    }

    /// The connection, made anew if there is none that lives, to the first member that can be connected to.
    async fn open(&self) -> Result<Open> {
        let mut failed = None;
        for _ in &self.members {
            let (member, tls) = match self.next()? {
                Next::Open(open) => return Ok(open),
                Next::Dial(member, tls) => (member, tls),
            };
            let dialled = timeout(DIAL, connect(member, tls.as_ref())).await.unwrap_or_else(|_| {
                Err(unavailable(&member.to_string(), format_args!("no connection within {} s", DIAL.as_secs())))
            });
            match dialled {
                Ok(open) => {
                    lock(&self.link).open = Some(open.clone());
                    return Ok(open);
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.expect("a cluster has members"))
    }

    fn next(&self) -> Result<Next<'_>> {
        let link = &mut *lock(&self.link);
        if let Some(open) = link.open.as_ref().filter(|open| !open.http.is_closed()) {
            return Ok(Next::Open(open.clone()));
        }
        if let (None, Some(files)) = (&link.tls, &self.tls) {
            link.tls = Some(ClientTls::load(files.clone())?);
        }
        let member = &self.members[link.next % self.members.len()];
        // Whatever becomes of this one, and even if nobody waits for it to the end, the one after it is another.
        link.next = link.next.wrapping_add(1);
        Ok(Next::Dial(member, link.tls.clone()))
    }

    /// An answer; after a failure the next call goes to the next member, because this one may be cut off from the others.
    fn taken<T>(&self, open: &Open, answer: Result<Response<T>, Status>) -> Result<T> {
        answer.map(Response::into_inner).map_err(|status| {
            lock(&self.link).open = None;
            refused(&open.member, &status)
        })
    }
}

impl Open {
    fn stub(&self) -> kv_client::KvClient<Http> {
        kv_client::KvClient::with_origin(self.http.clone(), self.origin.clone()).max_decoding_message_size(MAX_ANSWER)
    }
}

/// How long a member may take to be connected to.
const DIAL: Duration = Duration::from_secs(5);

/// The most bytes of an answer: far more than a lease, far less than etcd lets a key hold.
const MAX_ANSWER: usize = 64 << 10;

async fn connect(member: &Address, tls: Option<&ClientTls>) -> Result<Open> {
    let name = member.to_string();
    let lost = |error: std::io::Error| unavailable(&name, error);
    let socket = dial(member, tls.is_none()).await?;
    socket.set_nodelay(true).map_err(lost)?;
    let window = 1 << 20;
    let settings = Http2 { stream_window: window, connection_window: window, ..Http2::default() };
    let (http, scheme) = match tls {
        None => (Http::start(socket, &settings, None).await, "http"),
        Some(tls) => {
            let host = ServerName::try_from(member.host().to_owned())
                .map_err(|error| Error::new(ErrorKind::Invalid, format!("{name}: {error}"), "write HOST:PORT"))?;
            let secured = TlsConnector::from(tls.config(None)).connect(host, socket).await.map_err(|error| {
                Error::new(ErrorKind::Denied, format!("no TLS with etcd at {name}: {error}"), TRUST).because(error)
            })?;
            (Http::start(secured, &settings, None).await, "https")
        }
    };
    let http = http.map_err(|error| unavailable(&name, error))?;
    let origin = format!("{scheme}://{}", member.authority()).parse().expect("an address is a URI");
    Ok(Open { http, origin, member: name })
}

const TRUST: &str = "check the address, and that ca, cert and key are those that this etcd goes by";

/// Tries the host's addresses in turn. Plaintext stays on this machine.
async fn dial(member: &Address, plaintext: bool) -> Result<TcpStream> {
    let lost = |error: std::io::Error| unavailable(&member.to_string(), error);
    let mut last = std::io::ErrorKind::NotFound.into();
    let found: Vec<SocketAddr> = lookup_host((member.host(), member.port())).await.map_err(lost)?.collect();
    for target in found {
        if plaintext && !target.ip().is_loopback() {
            let message = format!("refusing plaintext to etcd at {target}, which is not loopback");
            return Err(Error::new(ErrorKind::Invalid, message, "add ?ca=FILE&cert=FILE&key=FILE to its address"));
        }
        match TcpStream::connect(target).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(lost(last))
}

fn transaction(key: &str, revision: i64, bytes: Bytes) -> TxnRequest {
    let key = || key.to_owned().into_bytes();
    let is_as_seen = Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key: key(),
        target_union: Some(compare::TargetUnion::ModRevision(revision)),
    };
    let put = request_op::Request::RequestPut(PutRequest { key: key(), value: bytes.into() });
    let range = request_op::Request::RequestRange(RangeRequest { key: key() });
    let op = |request| vec![RequestOp { request: Some(request) }];
    TxnRequest { compare: vec![is_as_seen], success: op(put), failure: op(range) }
}

fn value_of(range: RangeResponse) -> Option<Value> {
    let KeyValue { mod_revision, value, .. } = range.kvs.into_iter().next()?;
    Some(Value { bytes: value.into(), revision: mod_revision })
}

fn unavailable(member: &str, why: impl std::fmt::Display) -> Error {
    let message = format!("etcd at {member} cannot be asked: {why}");
    Error::new(ErrorKind::Unavailable, message, "look whether it runs and can be reached; it is asked again")
}

fn refused(member: &str, status: &Status) -> Error {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            let message = format!("etcd at {member} refuses: {}", status.message());
            Error::new(ErrorKind::Denied, message, "let the user of this certificate read and write the key")
        }
        _ => unavailable(member, root_cause(status)),
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Link").field("open", &self.open.as_ref().map(|open| &open.member)).finish_non_exhaustive()
    }
}
