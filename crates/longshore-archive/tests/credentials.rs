//! Credentials as each cloud's own tools find them: every way that there is, against a stand-in for who hands them out.
//!
//! They are found in the environment, which a test must not change in its own process: each way is tried in a second one, which
//! is this test's binary again.

#[path = "support/cloud.rs"]
mod cloud;
#[path = "support/s3.rs"]
mod s3;

use std::path::Path;
use std::process::Command;

use cloud::{Cloud, PROOF};
use longshore_archive::{Store, credentials};

/// Where the child finds its store.
const STORE: &str = "LONGSHORE_TEST_STORE";

#[tokio::test]
#[ignore = "asked in a process of its own"]
async fn the_store_answers() {
    let Ok(url) = std::env::var(STORE) else { return };
    println!("source: {}", credentials::source(&url));
    assert!(Store::open(&url).unwrap().get("nothing").await.unwrap().is_none());
}

/// The store at `url` answers with what is found with these variables and no other; where that is said to come from.
async fn found(url: &str, home: &Path, environment: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "--nocapture", "the_store_answers"]);
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());
    child.env_clear().env("PATH", path).env("HOME", home).env(STORE, url).envs(environment.iter().copied());
    let done = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && out.contains("1 passed"), "{environment:?}: {out}\n{err}");
    let source = out.lines().find_map(|line| line.split_once("source: ")).expect("it says so");
    source.1.to_owned()
}

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_finds_its_credentials_by_every_way() {
    let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let url = format!("s3://bucket/p?endpoint=http://{}&region=us-east-1", s3::serve(root.path()).await);
    let cloud = Cloud::default();
    let at = format!("http://{}", cloud.serve().await);
    let (container, proof) = (format!("{at}/container"), file(home.path(), "proof", PROOF));
    let region = ("AWS_REGION", "us-east-1");

    // Without AWS's own library an STS is asked over TLS alone.
    #[cfg(feature = "aws-profiles")]
    {
        let sts = format!("{at}/sts");
        let role = ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r");
        let web = [region, role, ("AWS_WEB_IDENTITY_TOKEN_FILE", proof.as_str()), ("AWS_ENDPOINT_URL_STS", &sts)];
        assert_eq!(found(&url, home.path(), &web).await, "web identity (AWS_WEB_IDENTITY_TOKEN_FILE)");
        assert_eq!(cloud.asked(), ["web identity"]);
    }

    let token = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", proof.as_str());
    let of_container = [region, token, ("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.as_str())];
    let source = found(&url, home.path(), &of_container).await;
    assert_eq!(source, "role of the container (AWS_CONTAINER_CREDENTIALS_FULL_URI)");
    assert_eq!(cloud.asked(), ["container"]);

    // One name for each of the two libraries that may ask.
    let instance = [region, ("AWS_METADATA_ENDPOINT", at.as_str()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &at)];
    assert_eq!(found(&url, home.path(), &instance).await, "instance metadata");
    assert_eq!(cloud.asked(), ["instance of AWS", "role of the instance", "keys of the instance"]);
}

#[cfg(feature = "aws-profiles")]
#[tokio::test(flavor = "multi_thread")]
async fn aws_profiles_assume_roles_and_sign_on() {
    let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let url = format!("s3://bucket/p?endpoint=http://{}&region=us-east-1", s3::serve(root.path()).await);
    let cloud = Cloud::default();
    let at = format!("http://{}", cloud.serve().await);
    let sts = format!("{at}/sts");
    file(
        home.path(),
        ".aws/config",
        "[profile assumed]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = keys\nregion = us-east-1\n\
         [profile keys]\naws_access_key_id = anybody\naws_secret_access_key = anything\n\
         [profile signed-on]\nsso_session = home\nsso_account_id = 1\nsso_role_name = r\nregion = us-east-1\n\
         [sso-session home]\nsso_region = us-east-1\nsso_start_url = https://longshore.test/start\n",
    );
    // What `aws sso login` leaves, under the SHA-1 of the session's name.
    file(
        home.path(),
        ".aws/sso/cache/e83249bd3ba79932e16fb1fb5100dafade9954c2.json",
        &format!(r#"{{"accessToken": "{PROOF}", "expiresAt": "2099-01-01T00:00:00Z"}}"#),
    );
    let assumed = [("AWS_PROFILE", "assumed"), ("AWS_ENDPOINT_URL_STS", &sts)];
    assert_eq!(found(&url, home.path(), &assumed).await, "profile assumed (AWS_PROFILE)");
    assert_eq!(cloud.asked(), ["role"]);

    let signed_on = [("AWS_PROFILE", "signed-on"), ("AWS_ENDPOINT_URL_SSO", &at)];
    assert_eq!(found(&url, home.path(), &signed_on).await, "profile signed-on (AWS_PROFILE)");
    assert_eq!(cloud.asked(), ["SSO"]);
}

#[cfg(feature = "gcs")]
#[tokio::test(flavor = "multi_thread")]
async fn google_finds_its_credentials_by_every_way() {
    let home = tempfile::tempdir().unwrap();
    let cloud = Cloud::default();
    let at = cloud.serve().await.to_string();
    let url = format!("gs://bucket/p?endpoint=http://{at}/store");
    let key = serde_json::json!({
        "type": "service_account", "private_key": private_key(), "private_key_id": "1", "client_email": cloud::ACCOUNT,
    });
    let key = file(home.path(), "key.json", &key.to_string());

    let source = found(&url, home.path(), &[("GOOGLE_SERVICE_ACCOUNT", &key)]).await;
    assert_eq!((source.as_str(), cloud.asked()), ("key of a service account (GOOGLE_SERVICE_ACCOUNT)", vec!["store"]));

    let source = found(&url, home.path(), &[("GOOGLE_APPLICATION_CREDENTIALS", &key)]).await;
    let told = "application default credentials (GOOGLE_APPLICATION_CREDENTIALS)";
    assert_eq!((source.as_str(), cloud.asked()), (told, vec!["store"]));

    let source = found(&url, home.path(), &[("GCE_METADATA_HOST", &at)]).await;
    assert_eq!((source.as_str(), cloud.asked()), ("instance metadata", vec!["instance of Google", "store"]));

    std::fs::create_dir_all(home.path().join(".config/gcloud")).unwrap();
    std::fs::copy(&key, home.path().join(".config/gcloud/application_default_credentials.json")).unwrap();
    let source = found(&url, home.path(), &[]).await;
    assert_eq!((source.as_str(), cloud.asked()), ("application default credentials of gcloud", vec!["store"]));
}

/// A new key, as a service account's file holds it.
#[cfg(feature = "gcs")]
fn private_key() -> String {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use base64::Engine;
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let lines = base64::prelude::BASE64_STANDARD.encode(der.as_ref());
    let lines: Vec<_> = lines.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[cfg(feature = "azure")]
#[tokio::test(flavor = "multi_thread")]
async fn azure_finds_its_credentials_by_every_way() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let cloud = Cloud::default();
    let at = format!("http://{}", cloud.serve().await);
    let url = format!("az://container/p?account=account&endpoint={at}/store");
    let (identity, proof) = (format!("{at}/identity"), file(home.path(), "proof", PROOF));

    let managed = [("IDENTITY_ENDPOINT", identity.as_str()), ("IDENTITY_HEADER", PROOF)];
    let source = found(&url, home.path(), &managed).await;
    assert_eq!((source.as_str(), cloud.asked()), ("managed identity", vec!["managed identity", "store"]));

    let who = [("AZURE_AUTHORITY_HOST", at.as_str()), ("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client")];
    let source = found(&url, home.path(), &[&who[..], &[("AZURE_FEDERATED_TOKEN_FILE", &proof)]].concat()).await;
    let told = "workload identity (AZURE_FEDERATED_TOKEN_FILE)";
    assert_eq!((source.as_str(), cloud.asked()), (told, vec!["token of Microsoft", "store"]));

    let source = found(&url, home.path(), &[&who[..], &[("AZURE_CLIENT_SECRET", PROOF)]].concat()).await;
    let told = "service principal (AZURE_CLIENT_ID)";
    assert_eq!((source.as_str(), cloud.asked()), (told, vec!["token of Microsoft", "store"]));

    let cli = file(home.path(), "az", &format!("#!/bin/sh\ncat <<'END'\n{}\nEND\n", cloud::azure_cli()));
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    let source = found(&url, home.path(), &[("AZURE_USE_AZURE_CLI", "true")]).await;
    assert_eq!((source.as_str(), cloud.asked()), ("Azure CLI (AZURE_USE_AZURE_CLI)", vec!["store"]));
}
