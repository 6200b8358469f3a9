//! Every status that refuses.

use std::os::unix::fs::PermissionsExt as _;

use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};

use super::rig::{READER, Rig, problem};
use crate::admin::caller::{CallerConfig, Callers};

const SID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// A body that is sent as it is, with its media type.
struct Body(&'static str, String);

fn json_body(value: Value) -> Option<Body> {
    Some(Body("application/json", value.to_string()))
}

fn text(text: &str) -> Option<Body> {
    Some(Body("application/json", text.to_owned()))
}

#[tokio::test]
async fn every_refusal_has_its_status_and_says_why() {
    let rig = Rig::start().await;
    let (post, get, patch, delete) = (Method::POST, Method::GET, Method::PATCH, Method::DELETE);
    let create = "/v1/sessions".to_owned();
    let one = format!("/v1/sessions/{SID}");
    let rotate = format!("{one}/rotate");
    let wide = json!({ "a": "x".repeat(17 * 1024) });
    for (method, path, body, status, code, says) in [
        // Bodies that cannot be read.
        (&post, &create, text(""), 400, "malformed", "not JSON"),
        (&post, &create, text("{"), 400, "malformed", "line 1"),
        (&post, &create, text("[]"), 400, "malformed", "expected a JSON object"),
        (&post, &create, text(r#"{"subject":"ada"} {}"#), 400, "malformed", "trailing"),
        (&post, &create, text(r#"{"subject":"ada","subject":"eve"}"#), 400, "malformed", "duplicate field `subject`"),
        (&post, &create, text(r#"{"subject":"ada","scopes":"x"}"#), 400, "malformed", "expected a sequence"),
        (&post, &create, json_body(json!({})), 400, "malformed", "missing field `subject`"),
        (&post, &create, json_body(json!({"subject": 7})), 400, "malformed", "expected a string"),
        (&post, &create, json_body(json!({"subject": "a", "scope": []})), 400, "malformed", "unknown field `scope`"),
        (
            &post,
            &create,
            json_body(json!({"subject": "a", "device": {"ip": 1}})),
            400,
            "malformed",
            "unknown field `ip`",
        ),
        (&patch, &one, json_body(json!({"subject": "eve"})), 400, "malformed", "unknown field `subject`"),
        (&patch, &one, json_body(json!({"absolute": "99h"})), 400, "malformed", "unknown field `absolute`"),
        (&patch, &one, json_body(json!({"claims": 7})), 400, "malformed", "expected a map"),
        (&post, &rotate, json_body(json!({})), 400, "malformed", "missing field `token`"),
        // Addresses that cannot be read.
        (&get, &"/v1/sessions/short".to_owned(), None, 400, "malformed", "22 characters"),
        (&get, &"/v1/sessions/%FF".to_owned(), None, 400, "malformed", "22 characters"),
        (&get, &format!("{one}?realms=shop"), None, 400, "malformed", "unknown field `realms`"),
        (&get, &format!("{one}?realm=shop&realm=bank"), None, 400, "malformed", "duplicate field `realm`"),
        (&get, &create, None, 400, "malformed", "missing field `subject`"),
        (&get, &format!("{create}?subject=a&limit=x"), None, 400, "malformed", "query"),
        (&get, &format!("{create}?subject=a&cursor=x"), None, 400, "malformed", "cursor"),
        (&delete, &"/v1/subjects/%FF/sessions".to_owned(), None, 400, "malformed", "cannot be read"),
        // Values out of bounds.
        (&post, &create, json_body(json!({"subject": ""})), 422, "out_of_bounds", "subject"),
        (&post, &create, json_body(json!({"subject": "x".repeat(256)})), 422, "out_of_bounds", "subject"),
        (&post, &create, json_body(json!({"subject": "a\nb"})), 422, "out_of_bounds", "subject"),
        (&post, &create, json_body(json!({"subject": "a", "idle": "soon"})), 422, "out_of_bounds", "idle"),
        (&post, &create, json_body(json!({"subject": "a", "idle": "0s"})), 422, "out_of_bounds", "idle"),
        (&post, &create, json_body(json!({"subject": "a", "absolute": "9999h"})), 422, "out_of_bounds", "absolute"),
        (&post, &create, json_body(json!({"subject": "a", "authTime": "yesterday"})), 422, "out_of_bounds", "authTime"),
        (&post, &create, json_body(json!({"subject": "a", "realm": "No"})), 422, "out_of_bounds", "realm"),
        (&post, &create, json_body(json!({"subject": "a", "realm": "elsewhere"})), 422, "out_of_bounds", "realm"),
        (&post, &create, json_body(json!({"subject": "a", "claims": wide})), 422, "out_of_bounds", "claims"),
        (&get, &format!("{one}?realm=No"), None, 422, "out_of_bounds", "realm"),
        (&get, &format!("{create}?subject=a&limit=0"), None, 422, "out_of_bounds", "limit"),
        (&get, &format!("{create}?subject=a&limit=201"), None, 422, "out_of_bounds", "limit"),
        (&patch, &one, json_body(json!({"idle": null})), 422, "out_of_bounds", "idle"),
        (&patch, &one, json_body(json!({"idle": "1d"})), 422, "out_of_bounds", "idle"),
        (&post, &rotate, json_body(json!({"token": "ckr_short"})), 422, "out_of_bounds", "token"),
        // Media types and sizes.
        (&post, &create, Some(Body("text/plain", "{}".into())), 415, "unsupported_media_type", "application/json"),
        (
            &post,
            &create,
            Some(Body("application/merge-patch+json", "{}".into())),
            415,
            "unsupported_media_type",
            "json",
        ),
        (&post, &create, None, 415, "unsupported_media_type", "application/json"),
        (&patch, &one, Some(Body("application/json-patch+json", "[]".into())), 415, "unsupported_media_type", "merge"),
        (&post, &create, text(&" ".repeat(64 * 1024 + 1)), 413, "content_too_large", "65536"),
        // What is not there.
        (&get, &one, None, 404, "no_such_session", "no such session"),
        (&patch, &one, json_body(json!({"acr": "x"})), 404, "no_such_session", "no such session"),
        (&get, &"/".to_owned(), None, 404, "not_found", "openapi.json"),
        (&get, &"/v1/sessions/".to_owned(), None, 404, "not_found", "openapi.json"),
        (&Method::PUT, &one, None, 405, "method_not_allowed", "Allow"),
        (&Method::OPTIONS, &create, None, 405, "method_not_allowed", "Allow"),
    ] {
        let mut request = rig.request(method.clone(), path);
        if let Some(Body(kind, content)) = body {
            request = request.header("content-type", kind).body(content);
        }
        let answer = request.send().await.unwrap();
        let asked = format!("{method} {path}: {says}");
        assert_eq!(answer.status().as_u16(), status, "{asked}");
        if status == 405 {
            assert!(answer.headers()["allow"].to_str().unwrap().contains("GET"), "{asked}");
        }
        if code == "unsupported_media_type" && method == patch {
            assert!(answer.headers()["accept-patch"].to_str().unwrap().contains("merge-patch"), "{asked}");
        }
        let problem = problem(answer).await;
        assert_eq!(problem.code, code, "{asked}");
        let named = code == "out_of_bounds" && problem.field.as_deref() == Some(says);
        assert!(named || problem.detail.contains(says), "{asked}: {problem:?}");
        assert_eq!(problem.field.is_some(), code == "out_of_bounds", "{asked}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_cut_too() {
    let rig = Rig::start().await;
    let mut request = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n",
        rig.token()
    );
    for _ in 0..65 {
        request += &format!("400\r\n{}\r\n", " ".repeat(1024));
    }
    let answer = rig.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn only_callers_are_served() {
    let rig = Rig::start().await;
    let path = format!("{}/v1/sessions?subject=ada", rig.base);
    let token = rig.token();
    for (authorization, status, error) in [
        (vec![], 401, false),
        (vec![format!("Bearer {token}")], 200, false),
        (vec![format!("bEARER {token}")], 200, false),
        (vec![format!("Bearer {token}x")], 401, true),
        (vec![format!("Bearer {}", "x".repeat(44))], 401, true),
        (vec![format!("Bearer  {token}")], 401, false),
        (vec![format!("Bearer {token} ")], 200, false), // HTTP strips white space around a field's value
        (vec!["Bearer short".to_owned()], 401, false),
        (vec![format!("Basic {token}")], 401, false),
        (vec![token.clone()], 401, false),
        (vec![format!("Bearer {token}"), format!("Bearer {token}")], 401, false),
    ] {
        let mut request = rig.http.get(&path);
        for value in &authorization {
            request = request.header("authorization", value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{authorization:?}");
        if status == 401 {
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
            assert_eq!(challenge.contains("invalid_token"), error, "{authorization:?}");
            assert_eq!(problem(answer).await.code, "unauthorized");
        }
    }
}

#[tokio::test]
async fn a_replaced_token_file_counts_at_once_and_a_broken_one_closes() {
    let rig = Rig::start().await;
    let file = rig.folder.path().join("admin.token");
    let status = async |token: &str| {
        let request = rig.http.get(format!("{}/v1/sessions?subject=ada", rig.base)).bearer_auth(token);
        request.send().await.unwrap().status()
    };
    let old = rig.token();
    let new = "n".repeat(40);
    assert_eq!(status(&old).await, StatusCode::OK);
    std::fs::write(&file, format!("\n  {new}\n")).unwrap();
    assert_eq!((status(&old).await, status(&new).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    for broken in ["", "short", "two words of enough characters to be one"] {
        std::fs::write(&file, broken).unwrap();
        assert_eq!(status(&new).await, StatusCode::SERVICE_UNAVAILABLE, "{broken}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(status(&new).await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(READER).await, StatusCode::OK, "the other callers' files are whole");
}

#[tokio::test]
async fn p36_a_token_file_that_others_may_read_or_change_is_refused() {
    let rig = Rig::start().await;
    let file = rig.folder.path().join("admin.token");
    for (mode, good) in [(0o644, false), (0o602, false), (0o620, false), (0o440, true), (0o640, true), (0o600, true)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let opened = Callers::open(vec![CallerConfig::admin(file.clone())]);
        assert_eq!(opened.is_ok(), good, "{mode:o}");
        if let Err(error) = opened {
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        let want = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!(rig.get("/v1/sessions?subject=ada").send().await.unwrap().status(), want, "{mode:o}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_anything_else() {
    let rig = Rig::start().await;
    let own = rig.base.clone();
    for (origin, status) in
        [("https://evil.example", 403), ("null", 403), ("http://127.0.0.1:1", 403), (own.as_str(), 200)]
    {
        for path in ["/v1/sessions?subject=ada", "/openapi.json"] {
            let answer = rig.get(path).header("origin", origin).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{origin} {path}");
            assert!(!answer.headers().keys().any(|name| name.as_str().starts_with("access-control-")), "{origin}");
        }
    }
    let preflight =
        rig.http.request(Method::OPTIONS, format!("{own}/v1/sessions")).header("origin", "https://evil.example");
    assert_eq!(problem(preflight.send().await.unwrap()).await.code, "foreign_origin");
}
