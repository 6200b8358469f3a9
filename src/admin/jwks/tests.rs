mod independent;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::sessions::keyring::tests::Fixture;

fn served(started: impl FnOnce(&Clock) -> crate::authz::session::Timestamp) -> (Router, Fixture) {
    let clock = Clock::start();
    let fixture = Fixture::new(SigningAlgorithm::Es256, started(&clock));
    (router(Arc::new(fixture.open()), Arc::new(clock)), fixture)
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: bytes::Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(Request::builder().method(method).uri(path), |it, (name, value)| it.header(*name, *value));
    let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

#[tokio::test]
async fn each_path_answers_as_documented() {
    let (router, _fixture) = served(Clock::now);
    for (method, path, status, kind) in [
        ("GET", "/.well-known/jwks.json", 200, "application/json"),
        ("HEAD", "/.well-known/jwks.json", 200, "application/json"),
        ("GET", "/.well-known/openid-configuration", 200, "application/json"),
        ("HEAD", "/.well-known/openid-configuration", 200, "application/json"),
        ("GET", "/ns/shop/.well-known/openid-configuration", 200, "application/json"),
        ("GET", "/ns/Shop/.well-known/openid-configuration", 404, "application/problem+json"),
        ("GET", "/ns/a%2Fb/.well-known/openid-configuration", 404, "application/problem+json"),
        ("GET", "/ns/%22/.well-known/openid-configuration", 404, "application/problem+json"),
        ("GET", "/ns//.well-known/openid-configuration", 404, "application/problem+json"),
        ("GET", "/ns/shop/.well-known/jwks.json", 200, "application/json"),
        ("GET", "/ns/Shop/.well-known/jwks.json", 404, "application/problem+json"),
        ("GET", "/.well-known/jwks.json/", 404, "application/problem+json"),
        ("GET", "/", 404, "application/problem+json"),
        ("GET", "/metrics", 404, "application/problem+json"),
        ("POST", "/.well-known/jwks.json", 405, "application/problem+json"),
        ("DELETE", "/.well-known/openid-configuration", 405, "application/problem+json"),
    ] {
        let answer = ask(&router, method, path, &[]).await;
        assert_eq!((answer.status, answer.header("content-type")), (status, kind), "{method} {path}");
        match status {
            200 => assert_eq!(answer.header("cache-control"), "public, max-age=300", "{method} {path}"),
            _ => assert_eq!(answer.header("cache-control"), "no-store", "{method} {path}"),
        }
        assert_eq!(answer.header("allow"), if status == 405 { "GET, HEAD" } else { "" }, "{method} {path}");
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method} {path}");
    }
}

#[tokio::test]
async fn an_unchanged_key_set_is_not_sent_again() {
    let (router, _fixture) = served(Clock::now);
    let first = ask(&router, "GET", "/.well-known/jwks.json", &[]).await;
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    for (tag, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"other\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (etag.trim_matches('"').to_owned(), 200),
    ] {
        let again = ask(&router, "GET", "/.well-known/jwks.json", &[("if-none-match", &tag)]).await;
        assert_eq!((again.status, again.header("etag")), (status, etag.as_str()), "{tag}");
        assert_eq!(again.body.is_empty(), status == 304, "{tag}");
    }
}

#[tokio::test]
async fn discovery_names_the_issuer_asked_for() {
    let (router, _fixture) = served(Clock::now);
    for (path, issuer) in [
        ("/.well-known/openid-configuration", "https://cloakroom.example"),
        ("/ns/shop/.well-known/openid-configuration", "https://cloakroom.example/ns/shop"),
    ] {
        let document = ask(&router, "GET", path, &[]).await.json();
        // OpenID Connect Discovery 1.0 §4.3: the issuer is the URL that the document was found below.
        assert_eq!(document["issuer"], issuer);
        assert_eq!(document["jwks_uri"], "https://cloakroom.example/.well-known/jwks.json");
        assert_eq!(document["id_token_signing_alg_values_supported"], serde_json::json!(["ES256"]));
        for required in ["response_types_supported", "subject_types_supported"] {
            assert!(document[required].is_array(), "{required}");
        }
    }
}

#[tokio::test]
async fn p10_no_empty_key_set_is_served() {
    let (router, _fixture) = served(|clock| clock.now().plus(std::time::Duration::from_secs(3600)));
    for path in ["/.well-known/jwks.json", "/.well-known/openid-configuration"] {
        let answer = ask(&router, "GET", path, &[]).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"), "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
}
