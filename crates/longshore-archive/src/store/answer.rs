//! What a store's refusal means, where `object_store` does not tell.
//!
//! A bucket that is not there answers a read as an object that is not there does: only the code in the answer's body tells
//! them apart, and no other request has to be made for it.

use object_store::Error as StoreError;

use crate::error::told;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// There is no such bucket, or what answered is no object store.
    NoBucket(&'static str),
    /// Not with these credentials, or not with this clock.
    Denied,
    /// The bucket is in another region.
    Elsewhere,
    /// Anything else, which may pass.
    Other,
}

impl Answer {
    /// What an error of a store means.
    pub(crate) fn of(error: &StoreError) -> Answer {
        // The answer's body is in one of the causes.
        let text = told(error);
        let has = |codes: &[&str]| codes.iter().any(|code| text.contains(&format!("<Code>{code}</Code>")));
        let page = text.to_ascii_lowercase();
        if has(&["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"]) {
            return Answer::NoBucket("there is no such bucket; make it, or correct the address");
        }
        if page.contains("<!doctype html") || page.contains("<html") {
            return Answer::NoBucket("a web page answered and not an object store; correct the endpoint");
        }
        let denied =
            ["ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed", "InvalidAccessKeyId"];
        match error {
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Answer::Denied,
            _ if has(&denied) || is_forbidden(error) => Answer::Denied,
            _ if has(&["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"]) => {
                Answer::Elsewhere
            }
            _ => Answer::Other,
        }
    }

    /// What to try with a store of this address.
    pub(crate) fn advice(self, store: &str) -> &'static str {
        match self {
            Answer::NoBucket(advice) => advice,
            Answer::Denied if store.starts_with("file:") => {
                "look at its owner and its mode, or run as somebody who may"
            }
            Answer::Denied => "look at the credentials of this process, what they allow, and this machine's clock",
            Answer::Elsewhere => "name the bucket's region with ?region=",
            Answer::Other => "it may pass: look at network, endpoint and the store itself",
        }
    }
}

/// Whether a store refuses for good what was asked: it is not allowed, or not known there.
pub(crate) fn refuses(error: &StoreError) -> bool {
    let unknown = [
        "501 Not Implemented",
        "405 Method Not Allowed",
        "<Code>NotImplemented</Code>",
        "<Code>MethodNotAllowed</Code>",
    ];
    match error {
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => true,
        error if Answer::of(error) == Answer::Denied => true,
        error => {
            let text = told(error);
            unknown.iter().any(|answer| text.contains(answer))
        }
    }
}

/// Whether a file system has refused it.
fn is_forbidden(error: &StoreError) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use object_store::Error as StoreError;

    use super::{Answer, refuses};

    #[test]
    fn the_body_of_an_answer_tells_what_a_status_does_not() {
        let generic = |text: &str| StoreError::Generic { store: "S3", source: text.into() };
        let absent = |text: &str| StoreError::NotFound { path: "a/b".into(), source: text.into() };
        let code = |code: &str| format!("404: <Error><Code>{code}</Code></Error>");
        for (error, means) in [
            (absent(&code("NoSuchKey")), None),
            (absent(&code("BlobNotFound")), None),
            (absent("NoSuchBucket"), None),
            (absent(&code("NoSuchBucket")), Some("no such bucket")),
            (absent(&code("ContainerNotFound")), Some("no such bucket")),
            (absent("404: <!DOCTYPE HTML><title>not here</title>"), Some("web page")),
        ] {
            match (Answer::of(&error), means) {
                (Answer::NoBucket(advice), Some(means)) => assert!(advice.contains(means), "{error}"),
                (answer, means) => assert_eq!((answer, means), (Answer::Other, None), "{error}"),
            }
        }
        assert_eq!(Answer::of(&generic(&code("ExpiredToken"))), Answer::Denied);
        assert_eq!(Answer::of(&generic(&code("AuthorizationHeaderMalformed"))), Answer::Elsewhere);
        assert_eq!(Answer::of(&generic("connection refused")), Answer::Other);
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let forbidden = StoreError::Generic { store: "LocalFileSystem", source: Box::new(io) };
        assert_eq!(Answer::of(&forbidden), Answer::Denied);
    }

    #[test]
    fn only_what_is_not_allowed_or_not_known_is_refused_for_good() {
        let generic = |text: &str| StoreError::Generic { store: "S3", source: text.into() };
        let (path, source) = ("a/b".to_owned(), || "403".into());
        for (error, is_final) in [
            (StoreError::PermissionDenied { path: path.clone(), source: source() }, true),
            (StoreError::NotSupported { source: source() }, true),
            (generic("400: <Error><Code>ExpiredToken</Code></Error>"), true),
            (generic("Server returned non-2xx status code: 501 Not Implemented: "), true),
            (generic("<Error><Code>MethodNotAllowed</Code></Error>"), true),
            (StoreError::NotFound { path: path.clone(), source: source() }, false),
            (StoreError::AlreadyExists { path, source: source() }, false),
            (generic("503: <Error><Code>SlowDown</Code></Error>"), false),
            (generic("operation timed out"), false),
        ] {
            assert_eq!(refuses(&error), is_final, "{error}");
        }
    }
}
