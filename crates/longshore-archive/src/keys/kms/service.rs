//! One request to KMS and its answer: signed, within a time, and tried again while it may pass.
//!
//! Signing, credentials and HTTP are those of `object_store`, which are in the program for S3 already.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, HttpResponseBody, ReqwestConnector};
use object_store::{ClientOptions, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use super::key::Key;
use super::refusal::Refusal;
use crate::aws::with_credentials;
use crate::error::told;

/// KMS, as it is asked from any thread.
pub(super) struct Service {
    asker: Asker,
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

#[derive(Clone)]
struct Asker {
    client: HttpClient,
    credentials: AwsCredentialProvider,
}

impl Service {
    /// Finds out where credentials come from. Nothing is asked yet.
    pub(super) fn new(key: &Key) -> Result<Service, String> {
        let retry = RetryConfig { max_retries: TRIES - 1, retry_timeout: TIMEOUT / 2, ..RetryConfig::default() };
        // The name is never used: what is wanted is how the credentials for S3 are found.
        let s3 = AmazonS3Builder::from_env().with_bucket_name("kms").with_region(&key.region).with_retry(retry);
        let s3 = with_credentials(s3).build();
        let credentials = Arc::clone(s3.map_err(|error| error.to_string())?.credentials());
        // Which endpoints may go without TLS is decided where they are parsed.
        let options = ClientOptions::new().with_allow_http(key.endpoint.is_some()).with_timeout(TIMEOUT / 2);
        let client = ReqwestConnector::default().connect(&options).map_err(|error| error.to_string())?;
        // One thread of its own: whoever asks may be on a thread that drives other tasks, and waits on it.
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("longshore-kms").enable_all().build();
        let runtime = Some(runtime.map_err(|error| format!("no thread can be started: {error}"))?);
        Ok(Service { asker: Asker { client, credentials }, runtime })
    }

    /// Asks, and waits for the answer.
    pub(super) fn call(
        &self,
        operation: &str,
        region: &str,
        endpoint: &str,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, Refusal> {
        let runtime = self.runtime.as_ref().expect("it is taken when the service is dropped");
        let (sender, receiver) = mpsc::sync_channel(1);
        let asker = self.asker.clone();
        let (operation, region, endpoint) = (operation.to_owned(), region.to_owned(), endpoint.to_owned());
        runtime.spawn(async move {
            let asked = tokio::time::timeout(TIMEOUT, asker.ask(&operation, &region, &endpoint, body));
            let late = |_| Err(Refusal::unreachable(format!("{endpoint} did not answer within {TIMEOUT:?}")));
            let _nobody_waits = sender.send(asked.await.unwrap_or_else(late));
        });
        receiver.recv().unwrap_or_else(|_| Err(Refusal::other("the request could not be made")))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // May be dropped on a thread that must not block.
        self.runtime.take().expect("taken here alone").shutdown_background();
    }
}

impl Asker {
    async fn ask(&self, operation: &str, region: &str, endpoint: &str, body: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let mut tries = 1;
        loop {
            match self.ask_once(operation, region, endpoint, &body).await {
                Err(refusal) if refusal.is_passing() && tries < TRIES => {
                    tokio::time::sleep(Duration::from_millis(100 << tries)).await;
                    tries += 1;
                }
                asked => return asked,
            }
        }
    }

    async fn ask_once(&self, operation: &str, region: &str, endpoint: &str, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let credential = self.credentials.get_credential().await;
        let credential = credential.map_err(|error| Refusal::no_credentials(&told(&error)))?;
        let mut request = HttpRequest::new(body.to_vec().into());
        *request.method_mut() = "POST".parse().expect("a method");
        *request.uri_mut() = endpoint.parse().map_err(|_| Refusal::other(format!("{endpoint} is no address")))?;
        let target = format!("TrentService.{operation}").parse().expect("letters and a dot");
        request.headers_mut().insert("x-amz-target", target);
        request.headers_mut().insert("content-type", "application/x-amz-json-1.1".parse().expect("a type"));
        AwsAuthorizer::new(&credential, "kms", region)
            .try_authorize(&mut request, None)
            .map_err(|error| Refusal::other(told(&error)))?;
        let unreachable = |error| Refusal::unreachable(format!("{endpoint}: {}", told(&error)));
        let answer = self.client.execute(request).await.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = collect(answer.into_body()).await?;
        if status == 200 { Ok(body) } else { Err(Refusal::of(status, &body)) }
    }
}

async fn collect(body: HttpResponseBody) -> Result<Vec<u8>, Refusal> {
    // As large as it may get: a buffer that grows leaves copies of the key behind.
    let mut bytes = Vec::with_capacity(LONGEST_ANSWER);
    let mut stream = body.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| Refusal::unreachable(told(&error)))?;
        if LONGEST_ANSWER - bytes.len() < piece.len() {
            return Err(Refusal::other(format!("its answer is longer than {LONGEST_ANSWER} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// For a request with all its tries.
const TIMEOUT: Duration = Duration::from_secs(30);
const TRIES: usize = 4;
const LONGEST_ANSWER: usize = 64 << 10;
