//! Errors as gRPC status, and back: the table of `error.proto`.

use longshore_format::ErrorKind;
use prost::Message;
use tonic::{Code, Status};

use crate::{Error, proto};

/// The most facts taken from a peer.
const MAX_FACTS: usize = 32;

/// The longest text sent, and the longest value of a fact: trailers are bounded, and escapes make them
/// longer.
const MAX_TEXT: usize = 1024;
const MAX_FACT: usize = 256;

/// What gRPC calls a kind.
pub(crate) fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::TooOld | ErrorKind::Unreachable => Code::OutOfRange,
        ErrorKind::Gap | ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Busy => Code::AlreadyExists,
        ErrorKind::Preflight => Code::FailedPrecondition,
        ErrorKind::Fenced | ErrorKind::Diverged => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Full => Code::ResourceExhausted,
        ErrorKind::Unconfirmed => Code::DeadlineExceeded,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Interrupted => Code::Cancelled,
        _ => Code::Internal,
    }
}

/// The kind for a status that says no more than its code.
fn kind(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        // Our own servers always say more, but for a message that was too long to be looked at.
        Code::OutOfRange => ErrorKind::Invalid,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::AlreadyExists => ErrorKind::Busy,
        Code::FailedPrecondition | Code::Unimplemented => ErrorKind::Preflight,
        Code::Aborted => ErrorKind::Fenced,
        // Unknown is what tonic makes of a connection that broke off.
        Code::Unavailable | Code::Unknown => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::Full,
        Code::DeadlineExceeded => ErrorKind::Unconfirmed,
        Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
        Code::Cancelled => ErrorKind::Interrupted,
        _ => ErrorKind::Internal,
    }
}

/// A kind by its spelling.
pub(crate) fn parse_kind(text: &str) -> Option<ErrorKind> {
    ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// google.rpc.Status, which by convention is what the binary detail of a status holds.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

const DETAIL_TYPE: &str = "type.googleapis.com/longshore.v1.ErrorDetail";

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let facts = error.facts().iter().take(MAX_FACTS);
        let detail = proto::ErrorDetail {
            kind: error.kind().as_str().to_owned(),
            facts: facts
                .map(|fact| proto::Fact { name: fact.name.clone(), value: cut(&fact.value, MAX_FACT) })
                .collect(),
            next_step: cut(error.next_step(), MAX_TEXT),
            message: cut(error.message(), MAX_TEXT),
        };
        let (code, message) = (code(error.kind()), cut(&error.to_string(), MAX_TEXT));
        let detail = prost_types::Any { type_url: DETAIL_TYPE.to_owned(), value: detail.encode_to_vec() };
        let details = RpcStatus { code: code.into(), message: message.clone(), details: vec![detail] };
        Status::with_details(code, message, details.encode_to_vec().into())
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        let Some(detail) = detail(&status) else {
            let error = Error::new(kind(status.code()), status.message().to_owned(), "");
            return error.because(status);
        };
        let kind = parse_kind(&detail.kind).unwrap_or_else(|| kind(status.code()));
        let error = Error::new(kind, detail.message, detail.next_step);
        detail.facts.into_iter().take(MAX_FACTS).fold(error, |error, fact| error.fact(&fact.name, fact.value))
    }
}

fn detail(status: &Status) -> Option<proto::ErrorDetail> {
    let outer = RpcStatus::decode(status.details()).ok()?;
    let detail = outer.details.iter().find(|detail| detail.type_url == DETAIL_TYPE)?;
    proto::ErrorDetail::decode(detail.value.as_slice()).ok()
}

fn cut(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_same_at_both_ends() {
        for kind in ErrorKind::ALL {
            let error = Error::new(kind, "the log is full", "free space").fact("limit", 17).fact("log", "orders");
            let back = Error::from(Status::from(error.clone()));
            assert_eq!(back.kind(), kind);
            assert_eq!(back.to_string(), "the log is full; free space");
            assert_eq!(back.facts(), error.facts());
            assert_eq!(back.value_of("limit"), Some("17"));
        }
    }

    #[test]
    fn a_status_without_detail_has_the_kind_of_its_code() {
        for kind in ErrorKind::ALL {
            let error = Error::from(Status::new(code(kind), "plain"));
            let too_long = code(kind) == Code::OutOfRange && error.kind() == ErrorKind::Invalid;
            assert!(too_long || code(error.kind()) == code(kind));
            assert_eq!(error.message(), "plain");
        }
        assert_eq!(Error::from(Status::unauthenticated("who?")).kind(), ErrorKind::Denied);
    }

    #[test]
    fn a_detail_that_is_garbage_or_long_is_harmless() {
        let garbage = Status::with_details(Code::Aborted, "text", vec![0xff; 40].into());
        assert_eq!(Error::from(garbage).kind(), ErrorKind::Fenced);
        let long = Error::new(ErrorKind::Invalid, "ä".repeat(100_000), "").fact("x", "y".repeat(100_000));
        let status = Status::from(long);
        assert!(status.message().len() + status.details().len() < 6_000);
    }
}
