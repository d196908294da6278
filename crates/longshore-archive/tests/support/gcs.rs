//! Google Cloud Storage as far as an archive uses it: the XML API, after Google's public description.
//!
//! It stands in this process because no emulator that is to be had looks at `x-goog-if-generation-match` in the XML API, and
//! that is what matters here. What it shows is that client and description agree; not what Google's servers do.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

type Shared = Arc<Mutex<Bucket>>;

#[derive(Default)]
struct Bucket {
    generation: u64,
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
}

struct Object {
    generation: u64,
    body: Bytes,
    at: jiff::Timestamp,
}

/// Serves one bucket, called `bucket`; where.
pub(crate) async fn serve() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(Shared::default());
    let router = router.layer(axum::extract::DefaultBodyLimit::max(256 << 20));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn answer(State(bucket): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    // Slashes come encoded. What an archive calls its objects has nothing in it that a form would read otherwise.
    let path = uri.path().trim_start_matches('/').as_bytes();
    let path = url::form_urlencoded::parse(path).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
    let (name, object) = path.split_once('/').unwrap_or((&path, ""));
    if name != "bucket" {
        return refused(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let mut bucket = bucket.lock().unwrap();
    match (method.as_str(), object) {
        ("GET", "") if query.contains_key("uploads") => format!("{} uploads", bucket.uploads.len()).into_response(),
        ("GET", "") => bucket.list(&query),
        ("POST", _) if query.contains_key("uploads") => bucket.begin(),
        ("PUT", _) if query.contains_key("uploadId") => bucket.put_part(&query, body),
        ("POST", _) if query.contains_key("uploadId") => bucket.complete(object, &query),
        ("DELETE", _) if query.contains_key("uploadId") => bucket.abort(&query),
        ("PUT", _) => {
            let wanted = headers.get("x-goog-if-generation-match");
            match headers.get("x-goog-copy-source") {
                Some(source) => bucket.copy(source, object, wanted),
                None => bucket.put(object, wanted, body),
            }
        }
        ("GET" | "HEAD", _) => bucket.get(object),
        ("DELETE", _) => match bucket.objects.remove(object) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

impl Bucket {
    fn put(&mut self, object: &str, wanted: Option<&HeaderValue>, body: Bytes) -> Response {
        let there = self.objects.get(object).map_or(0, |object| object.generation);
        match wanted.map(|wanted| wanted.to_str().unwrap().parse::<u64>().unwrap()) {
            Some(wanted) if wanted != there => refused(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"),
            _ => {
                self.generation += 1;
                let made = Object { generation: self.generation, body, at: jiff::Timestamp::now() };
                self.objects.insert(object.to_owned(), made);
                tags(self.generation).into_response()
            }
        }
    }

    /// Into some places it does so badly, or not at all.
    fn copy(&mut self, source: &HeaderValue, object: &str, wanted: Option<&HeaderValue>) -> Response {
        let source = url::form_urlencoded::parse(source.as_bytes()).next().unwrap().0.into_owned();
        let Some(Object { body, .. }) = self.objects.get(source.strip_prefix("bucket/").unwrap_or_default()) else {
            return refused(StatusCode::NOT_FOUND, "NoSuchKey");
        };
        let mut body = body.to_vec();
        match object {
            _ if object.starts_with("refusing/") => return refused(StatusCode::FORBIDDEN, "AccessDenied"),
            _ if object.starts_with("damaging/") => body[0] ^= 1,
            _ if object.starts_with("cutting/") => drop(body.pop()),
            _ => {}
        }
        self.put(object, wanted, body.into())
    }

    fn get(&self, object: &str) -> Response {
        match self.objects.get(object) {
            Some(Object { generation, body, at }) => {
                let modified = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(at).unwrap();
                (tags(*generation), [(header::LAST_MODIFIED, modified)], body.clone()).into_response()
            }
            None => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
        }
    }

    fn list(&self, query: &HashMap<String, String>) -> Response {
        let prefix = query.get("prefix").map_or("", String::as_str);
        let below = self.objects.iter().filter(|(name, _)| name.starts_with(prefix));
        let mut xml = String::from("<ListBucketResult>");
        let mut directories = std::collections::BTreeSet::new();
        for (name, Object { generation, body, at }) in below {
            match query.get("delimiter").and_then(|delimiter| name[prefix.len()..].split_once(delimiter.as_str())) {
                Some((directory, _)) => drop(directories.insert(format!("{prefix}{directory}/"))),
                None => {
                    xml += &format!(
                        "<Contents><Key>{name}</Key><Size>{}</Size><LastModified>{at}</LastModified><ETag>{generation}</ETag></Contents>",
                        body.len()
                    )
                }
            }
        }
        for directory in directories {
            xml += &format!("<CommonPrefixes><Prefix>{directory}</Prefix></CommonPrefixes>");
        }
        (xml + "</ListBucketResult>").into_response()
    }

    fn begin(&mut self) -> Response {
        self.generation += 1;
        let id = format!("upload-{}", self.generation);
        self.uploads.insert(id.clone(), BTreeMap::new());
        format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
            .into_response()
    }

    fn put_part(&mut self, query: &HashMap<String, String>, body: Bytes) -> Response {
        let number: u32 = query["partNumber"].parse().unwrap();
        match self.uploads.get_mut(&query["uploadId"]) {
            Some(parts) => {
                parts.insert(number, body);
                [(header::ETAG, format!("\"part-{number}\""))].into_response()
            }
            None => refused(StatusCode::NOT_FOUND, "NoSuchUpload"),
        }
    }

    fn complete(&mut self, object: &str, query: &HashMap<String, String>) -> Response {
        let Some(parts) = self.uploads.remove(&query["uploadId"]) else {
            return refused(StatusCode::NOT_FOUND, "NoSuchUpload");
        };
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        let put = self.put(object, None, whole.into());
        let (head, _) = put.into_parts();
        let xml =
            format!("<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>", self.generation);
        (head.headers, xml).into_response()
    }

    fn abort(&mut self, query: &HashMap<String, String>) -> Response {
        match self.uploads.remove(&query["uploadId"]) {
            Some(_) => StatusCode::NO_CONTENT.into_response(),
            None => refused(StatusCode::NOT_FOUND, "NoSuchUpload"),
        }
    }
}

fn tags(generation: u64) -> [(&'static str, String); 2] {
    [("etag", format!("\"{generation}\"")), ("x-goog-generation", generation.to_string())]
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, format!("<?xml version='1.0'?><Error><Code>{code}</Code></Error>")).into_response()
}
