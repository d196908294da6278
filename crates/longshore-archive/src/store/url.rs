//! The address of a store.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use url::Url;

use super::{Bucket, Store};
use crate::error::{Error, Result};

pub(super) fn open(text: &str) -> Result<Store> {
    let refused = |reason: String| Error::Url { url: shown(text), reason };
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => refused("it is no address".into()),
        error => refused(error.to_string()),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused(
            "credentials do not belong into the address; they are found as the cloud's own tools find them".into(),
        ));
    }
    if url.scheme() == "file" {
        return local(&url, text);
    }
    let (store, options) = match url.scheme() {
        "s3" => s3(&url, text)?,
        "gs" => gcs(&url, text)?,
        "az" => azure(&url, text)?,
        other => return Err(refused(format!("{other}:// is no kind of store that is known"))),
    };
    must_be_known(&url, options).map_err(refused)?;
    let prefix = Path::from_url_path(url.path()).map_err(|error| refused(error.to_string()))?;
    let bucket = Some(Arc::new(Bucket::of(&url)));
    Ok(Store { prefix, label: shown(text).into(), bucket, ..store })
}

/// Refuses options that a kind of store does not take.
fn must_be_known(url: &Url, options: &[&str]) -> std::result::Result<(), String> {
    let Some((key, _)) = url.query_pairs().find(|(key, _)| !options.contains(&&**key)) else { return Ok(()) };
    let near = options.iter().max_by(|a, b| strsim::jaro(a, &key).total_cmp(&strsim::jaro(b, &key)));
    let hint = near.map_or_else(|| "this kind takes none".to_owned(), |near| format!("did you mean {near}?"));
    Err(format!("unknown option {key}: {hint}"))
}

/// Without the query, in which somebody may have put what should not be shown.
fn shown(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    match text[..end].split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{host}"),
            None => text[..end].to_owned(),
        },
        None => text[..end].to_owned(),
    }
}

fn local(url: &Url, text: &str) -> Result<Store> {
    let refused = |reason: String| Error::Url { url: shown(text), reason };
    let root: PathBuf =
        url.to_file_path().map_err(|()| refused("it needs an absolute path: file:///mnt/archive".into()))?;
    must_be_known(url, &[]).map_err(refused)?;
    if !root.is_dir() {
        return Err(Error::NoDirectory { url: shown(text) });
    }
    let files = LocalFileSystem::new_with_prefix(&root).map_err(|error| refused(error.to_string()))?;
    // What is said to be archived must survive a power cut here, too.
    let objects: Arc<dyn ObjectStore> = Arc::new(files.with_fsync(true));
    Ok(Store { local: Some(root), ..Store::of(objects, shown(text).as_str()) })
}

/// The whole of a bucket, and the options that its address takes.
type Opened = (Store, &'static [&'static str]);

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn whole(bucket: impl ObjectStore + MultipartStore) -> Store {
    let bucket = Arc::new(bucket);
    Store::of(Arc::clone(&bucket) as Arc<dyn ObjectStore>, "").with_uploads(bucket)
}

#[cfg(not(all(feature = "s3", feature = "gcs", feature = "azure")))]
fn left_out(text: &str, feature: &'static str) -> Result<Opened> {
    Err(Error::Feature { url: shown(text), feature })
}

#[cfg(not(feature = "s3"))]
fn s3(_url: &Url, text: &str) -> Result<Opened> {
    left_out(text, "s3")
}

#[cfg(not(feature = "gcs"))]
fn gcs(_url: &Url, text: &str) -> Result<Opened> {
    left_out(text, "gcs")
}

#[cfg(not(feature = "azure"))]
fn azure(_url: &Url, text: &str) -> Result<Opened> {
    left_out(text, "azure")
}

/// An archiver and whoever restores try again themselves, and say so; this is for what passes at once.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn retries() -> object_store::RetryConfig {
    let retry_timeout = std::time::Duration::from_secs(30);
    object_store::RetryConfig { max_retries: 5, retry_timeout, ..object_store::RetryConfig::default() }
}

#[cfg(feature = "s3")]
fn s3(url: &Url, text: &str) -> Result<Opened> {
    use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
    let refused = |reason: String| Error::Url { url: shown(text), reason };
    let bucket = url.host_str().ok_or_else(|| refused("it names no bucket".into()))?;
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // The store refuses what did not arrive as it was sent. It costs nothing: the signature needs the same digest.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_retry(retries());
    for (key, value) in url.query_pairs() {
        builder = match &*key {
            "endpoint" => builder.with_allow_http(value.starts_with("http://")).with_endpoint(value),
            "region" => builder.with_region(value),
            _ => builder,
        };
    }
    let store = crate::aws::with_credentials(builder).build().map_err(|error| refused(error.to_string()))?;
    Ok((whole(store), &["endpoint", "region"]))
}

#[cfg(feature = "gcs")]
fn gcs(url: &Url, text: &str) -> Result<Opened> {
    use object_store::ClientConfigKey;
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    let refused = |reason: String| Error::Url { url: shown(text), reason };
    let bucket = url.host_str().ok_or_else(|| refused("it names no bucket".into()))?;
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retries());
    for (key, value) in url.query_pairs() {
        if key == "endpoint" {
            // What is sent is a token, and without TLS for all to see; so that is for this machine alone.
            let plain =
                ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"].iter().any(|near| value.starts_with(near));
            let allow = GoogleConfigKey::Client(ClientConfigKey::AllowHttp);
            builder = builder.with_base_url(&value).with_config(allow, plain.to_string());
        }
    }
    let store = builder.build().map_err(|error| refused(error.to_string()))?;
    Ok((whole(store), &["endpoint", "region"]))
}

#[cfg(feature = "azure")]
fn azure(url: &Url, text: &str) -> Result<Opened> {
    use object_store::azure::MicrosoftAzureBuilder;
    let refused = |reason: String| Error::Url { url: shown(text), reason };
    let container = url.host_str().ok_or_else(|| refused("it names no container".into()))?;
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retries());
    for (key, value) in url.query_pairs() {
        builder = match &*key {
            "endpoint" => builder.with_allow_http(value.starts_with("http://")).with_endpoint(value.into_owned()),
            "account" => builder.with_account(value),
            _ => builder,
        };
    }
    let store = builder.build().map_err(|error| refused(error.to_string()))?;
    Ok((whole(store), &["endpoint", "account", "region"]))
}

#[cfg(test)]
mod tests {
    use longshore_format::ErrorKind;

    use super::*;

    #[test]
    fn addresses_that_cannot_be_are_refused_with_what_to_write() {
        for (url, says) in [
            ("bucket/prefix", "it is no address; write s3://BUCKET/PREFIX"),
            ("file:///?region=here", "unknown option region: this kind takes none"),
            ("ftp://host/x", "ftp:// is no kind of store"),
            ("s3://key:secret@bucket/x", "credentials do not belong"),
        ] {
            let error = open(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
            assert!(error.to_string().contains(says), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[cfg(not(feature = "gcs"))]
    #[test]
    fn an_address_of_a_feature_that_was_left_out_names_the_feature() {
        let error = open("gs://bucket/prefix").unwrap_err();
        assert!(error.to_string().contains("--features gcs"), "{error}");
    }
}
