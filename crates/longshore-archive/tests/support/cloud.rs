//! Where programs on a cloud's machine get their credentials, and a store that asks for them: what AWS, Google and Microsoft
//! describe, as far as it takes to be given a credential and use it. No cloud is to be had here; what this shows is that client and
//! description agree.
#![allow(dead_code, reason = "each cloud's feature uses its part")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use bytes::Bytes;

use crate::s3::{KEY, SECRET};

/// What Google and Microsoft hand out here.
const TOKEN: &str = "a-token-of-this-test";
/// What proves to a cloud who asks.
pub(crate) const PROOF: &str = "a-proof-of-this-test";
/// Whose key signs for Google.
pub(crate) const ACCOUNT: &str = "archive@longshore.test";
/// What is handed out ends then.
const LATER: &str = "2099-01-01T00:00:00Z";

/// What was asked, in order.
#[derive(Clone, Default)]
pub(crate) struct Cloud(Arc<Mutex<Vec<&'static str>>>);

impl Cloud {
    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Answers on a port of this machine; which.
    pub(crate) async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }
}

async fn answer(State(cloud): State<Cloud>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let said = format!("{}&{}", uri.query().unwrap_or_default(), String::from_utf8_lossy(&body));
    let has = |name: &str, value: &str| headers.get(name).is_some_and(|there| there == value);
    let (what, answer) = match (method.as_str(), uri.path()) {
        ("PUT", "/latest/api/token") => {
            let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "600")];
            ("instance of AWS", (ttl, PROOF).into_response())
        }
        ("GET", path) if path.starts_with("/latest/") && !has("x-aws-ec2-metadata-token", PROOF) => denied(),
        ("GET", "/latest/meta-data/iam/security-credentials/") => ("role of the instance", "role".into_response()),
        ("GET", "/latest/meta-data/iam/security-credentials/role") => ("keys of the instance", keys().into_response()),
        ("GET", "/container") if has("authorization", PROOF) => ("container", keys().into_response()),
        ("POST", "/sts" | "/sts/") if said.contains("AssumeRoleWithWebIdentity") && said.contains(PROOF) => {
            ("web identity", sts("AssumeRoleWithWebIdentity").into_response())
        }
        ("POST", "/sts" | "/sts/") if said.contains("Action=AssumeRole&") => {
            ("role", sts("AssumeRole").into_response())
        }
        ("GET", "/federation/credentials") if has("x-amz-sso_bearer_token", PROOF) => ("SSO", sso().into_response()),
        ("GET", "/computeMetadata/v1/instance/service-accounts/default/token") if has("metadata-flavor", "Google") => {
            ("instance of Google", token(r#""expires_in": 3600"#).into_response())
        }
        ("GET", "/identity") if said.contains("storage.azure.com") && has("x-identity-header", PROOF) => {
            ("managed identity", token(r#""expires_on": "4070908800", "resource": """#).into_response())
        }
        ("POST", "/tenant/oauth2/v2.0/token") if said.contains(PROOF) => {
            ("token of Microsoft", token(r#""expires_in": 3600"#).into_response())
        }
        ("GET", path) if path.starts_with("/store/") => match headers.get(header::AUTHORIZATION) {
            Some(with) if is_granted(with.to_str().unwrap()) => ("store", missing().into_response()),
            _ => denied(),
        },
        _ => denied(),
    };
    cloud.0.lock().unwrap().push(what);
    answer
}

fn denied() -> (&'static str, Response) {
    ("denied", (StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>").into_response())
}

fn missing() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>")
}

/// A token that was handed out, or what an account's key signed by itself.
fn is_granted(authorization: &str) -> bool {
    let Some(bearer) = authorization.strip_prefix("Bearer ") else { return false };
    let claims =
        bearer.split('.').nth(1).and_then(|claims| base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(claims).ok());
    bearer == TOKEN || claims.is_some_and(|claims| String::from_utf8(claims).unwrap().contains(ACCOUNT))
}

fn keys() -> String {
    format!(
        r#"{{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2020-01-01T00:00:00Z", "RoleArn": "arn:aws:iam::1:role/r",
            "AccessKeyId": "{KEY}", "SecretAccessKey": "{SECRET}", "Token": "of a session", "Expiration": "{LATER}"}}"#
    )
}

fn sts(action: &str) -> String {
    format!(
        r#"<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
            <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>R:s</AssumedRoleId></AssumedRoleUser>
            <Credentials><AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>
            <SessionToken>of a session</SessionToken><Expiration>{LATER}</Expiration></Credentials>
            </{action}Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>"#
    )
}

fn sso() -> String {
    format!(
        r#"{{"roleCredentials": {{"accessKeyId": "{KEY}", "secretAccessKey": "{SECRET}", "sessionToken": "of a session",
            "expiration": 4070908800000}}}}"#
    )
}

fn token(rest: &str) -> String {
    format!(r#"{{"access_token": "{TOKEN}", "token_type": "Bearer", {rest}}}"#)
}

/// What the `az` of a machine prints.
pub(crate) fn azure_cli() -> String {
    format!(
        r#"{{"accessToken": "{TOKEN}", "expiresOn": "2099-01-01 00:00:00.000000", "subscription": "s", "tenant": "t",
            "tokenType": "Bearer"}}"#
    )
}
