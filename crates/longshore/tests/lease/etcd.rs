//! An etcd in this process, of one member and one kind of transaction, and the real one as a process of its own.
//!
//! The stand-in shares no code with what asks it: gRPC is five bytes before a message, and the messages are written down here a
//! second time, from etcd's `rpc.proto`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

/// Key, revision and value, of all that is there; and the revision of the whole.
#[derive(Default)]
struct Store {
    revision: i64,
    keys: BTreeMap<Vec<u8>, (i64, Vec<u8>)>,
}

/// Serves until the runtime ends; where.
pub(crate) async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let store = Arc::new(Mutex::new(Store::default()));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let store = store.clone();
            let service = service_fn(move |request| answer(store.clone(), request));
            tokio::spawn(async move {
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                // A client that goes away is an ordinary end.
                let _gone = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    address
}

type Body = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

async fn answer(store: Arc<Mutex<Store>>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let mut message = request.into_body().collect().await?.to_bytes();
    let message = message.split_off(5);
    let answer = match path.as_str() {
        "/etcdserverpb.KV/Range" => {
            store.lock().unwrap().range(&RangeRequest::decode(message).unwrap()).encode_to_vec()
        }
        "/etcdserverpb.KV/Txn" => store.lock().unwrap().txn(TxnRequest::decode(message).unwrap()).encode_to_vec(),
        other => panic!("{other} is not asked for"),
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(answer.len() as u32);
    framed.extend_from_slice(&answer);
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
    let frames = vec![Ok(Frame::data(framed.freeze())), Ok(Frame::trailers(trailers))];
    let answer = Response::builder().header("content-type", "application/grpc");
    Ok(answer.body(StreamBody::new(stream::iter(frames))).unwrap())
}

impl Store {
    fn range(&self, request: &RangeRequest) -> RangeResponse {
        assert!(!request.serializable, "any member may be behind");
        let kv = |(mod_revision, value): &(i64, Vec<u8>)| KeyValue {
            key: request.key.clone(),
            create_revision: 1,
            mod_revision: *mod_revision,
            version: 1,
            value: value.clone(),
        };
        let kvs: Vec<_> = self.keys.get(&request.key).map(kv).into_iter().collect();
        RangeResponse { header: self.header(), count: kvs.len() as i64, kvs }
    }

    fn txn(&mut self, request: TxnRequest) -> TxnResponse {
        let holds = |compare: &Compare| {
            // Equal, of the revision at which it was written.
            assert_eq!((compare.result, compare.target), (0, 2));
            self.keys.get(&compare.key).map_or(0, |(revision, _)| *revision) == compare.mod_revision.unwrap()
        };
        let succeeded = request.compare.iter().all(holds);
        let ops = if succeeded { request.success } else { request.failure };
        let responses = ops.into_iter().map(|op| self.op(op)).collect();
        TxnResponse { header: self.header(), succeeded, responses }
    }

    fn op(&mut self, op: RequestOp) -> ResponseOp {
        match (op.range, op.put) {
            (Some(range), None) => ResponseOp { range: Some(self.range(&range)), put: None },
            (None, Some(put)) => {
                self.revision += 1;
                self.keys.insert(put.key, (self.revision, put.value));
                ResponseOp { range: None, put: Some(PutResponse { header: self.header() }) }
            }
            _ => panic!("one of the two"),
        }
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { cluster_id: 14, member_id: 7, revision: self.revision, raft_term: 2 })
    }
}

#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "1")]
    cluster_id: u64,
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
    #[prost(uint64, tag = "4")]
    raft_term: u64,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// A `oneof` is a field of which one is there.
#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeRequest>,
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeResponse>,
    #[prost(message, optional, tag = "2")]
    put: Option<PutResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    responses: Vec<ResponseOp>,
}
