//! What callers do, from beginning to end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use http::StatusCode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::rig::{Log, MAKER, READER, Rig, problem};
use crate::admin::caller::{CallerConfig, Grant, Verb};
use crate::admin::session_api::audit::{RequestId, Target};
use crate::authz::credential::AccessToken;
use crate::authz::plan::Wanted;
use crate::authz::session::Realm;
use crate::authz::verdict::Lookup;

#[tokio::test]
async fn a_session_lives_as_its_callers_ask() {
    let rig = Rig::start().await;
    let body = json!({
        "subject": "ada", "scopes": ["cart:read"], "roles": ["admin"], "claims": {"tenant": {"id": 7}, "tier": "gold"},
        "acr": "urn:mfa", "amr": ["pwd", "otp"], "authTime": "2026-01-31T09:30:00.25Z", "idle": "15m",
        "absolute": "12h", "device": {"label": "laptop", "userAgent": "curl"},
        "provider": {"iss": "https://id.example", "sid": "op-1"},
    });
    let answer = rig.post("/v1/sessions", &body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let (location, etag) = (answer.headers()["location"].clone(), answer.headers()["etag"].clone());
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let issued: Value = answer.json().await.unwrap();
    assert_eq!(issued.as_object().unwrap().keys().collect::<Vec<_>>(), ["session", "sid", "token"]);
    let sid = issued["sid"].as_str().unwrap();
    assert_eq!(location, format!("/v1/sessions/{sid}").as_str());
    assert_eq!(etag, format!("\"{}\"", issued["session"]["version"]).as_str());
    for (field, want) in body.as_object().unwrap() {
        if field != "absolute" {
            let got = &issued["session"][field];
            assert!(got == want || field == "authTime" && got == "2026-01-31T09:30:00.25Z", "{field}: {got}");
        }
    }
    assert_eq!(issued["session"]["realm"], "shop");

    // Read: the same, without the token.
    let answer = rig.get(location.to_str().unwrap()).send().await.unwrap();
    assert_eq!((answer.status(), &answer.headers()["etag"]), (StatusCode::OK, &etag));
    assert_eq!(answer.json::<Value>().await.unwrap(), issued["session"]);

    // Patch: what is left out stays, what is null goes.
    let patch = json!({"claims": {"tier": null, "tenant": {"name": "x"}}, "acr": null, "roles": null, "idle": "20m",
        "device": {"userAgent": null, "address": "192.0.2.7"}});
    let answer = rig.patch(location.to_str().unwrap(), &patch).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_ne!(answer.headers()["etag"], etag);
    let patched: Value = answer.json().await.unwrap();
    assert_eq!(patched["claims"], json!({"tenant": {"id": 7, "name": "x"}}));
    assert_eq!(patched["device"], json!({"label": "laptop", "address": "192.0.2.7"}));
    assert_eq!((&patched["roles"], &patched["scopes"]), (&json!([]), &json!(["cart:read"])));
    assert_eq!((&patched["acr"], &patched["idle"]), (&Value::Null, &json!("20m")));
    let cleared = rig.patch(location.to_str().unwrap(), &json!({"claims": null, "device": null})).send().await.unwrap();
    let cleared: Value = cleared.json().await.unwrap();
    assert_eq!((&cleared["claims"], &cleared["device"]), (&json!({}), &Value::Null));

    // Rotate: only the present token buys the next.
    let rotate = format!("/v1/sessions/{sid}/rotate");
    let answer = rig.post(&rotate, &json!({"token": issued["token"]})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let next: Value = answer.json().await.unwrap();
    assert_ne!(next["token"], issued["token"]);
    let other = rig.create(json!({"subject": "eve"})).await;
    let answer = rig.post(&rotate, &json!({"token": other["token"]})).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem(answer).await.code, "wrong_token");

    // End: idempotent, and then it is unknown.
    for _ in 0..2 {
        let answer = rig.request(Method::DELETE, location.to_str().unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.bytes().await.unwrap().len(), 0);
    }
    let answer = rig.get(location.to_str().unwrap()).send().await.unwrap();
    assert_eq!(problem(answer).await.code, "no_such_session");
}

#[tokio::test]
async fn a_list_goes_page_by_page_without_gaps() {
    let rig = Rig::start().await;
    let mut made = BTreeSet::new();
    for _ in 0..7 {
        made.insert(rig.create(json!({"subject": "ada/b c"})).await["sid"].as_str().unwrap().to_owned());
    }
    rig.create(json!({"subject": "eve"})).await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    for size in [3, 3, 1] {
        let path = format!("/v1/sessions?subject=ada%2Fb+c&limit=3{cursor}");
        let page: Value = rig.get(&path).send().await.unwrap().json().await.unwrap();
        let sessions = page["sessions"].as_array().unwrap();
        assert_eq!(sessions.len(), size);
        seen.extend(sessions.iter().map(|it| it["sid"].as_str().unwrap().to_owned()));
        cursor = page["cursor"].as_str().map(|it| format!("&cursor={it}")).unwrap_or_default();
        assert_eq!(cursor.is_empty(), size == 1);
    }
    assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (7, made));
    let answer = rig.request(Method::DELETE, "/v1/subjects/ada%2Fb%20c/sessions").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"revoked": 7}));
    let again = rig.request(Method::DELETE, "/v1/subjects/ada%2Fb%20c/sessions").send().await.unwrap();
    assert_eq!(again.json::<Value>().await.unwrap(), json!({"revoked": 0}));
    let page: Value = rig.get("/v1/sessions?subject=ada%2Fb%20c").send().await.unwrap().json().await.unwrap();
    assert_eq!(page, json!({"sessions": []}));
    let page: Value = rig.get("/v1/sessions?subject=eve").send().await.unwrap().json().await.unwrap();
    assert_eq!(page["sessions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn of_many_changes_to_one_version_one_wins() {
    let rig = Rig::start().await;
    let sid = rig.create(json!({"subject": "ada"})).await["sid"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{sid}");
    let first = rig.get(&path).send().await.unwrap().headers()["etag"].clone();
    for (tag, want) in [("\"99\"", 412), ("W/\"1\"", 412), ("\"x\"", 412), ("1", 400), ("\"1\", \"2\"", 400)] {
        let answer = rig.patch(&path, &json!({"acr": "x"})).header("if-match", tag).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), want, "{tag}");
    }
    let race = (0..16).map(|racer| {
        let request = rig.patch(&path, &json!({"claims": {"winner": racer}})).header("if-match", &first);
        async move { (racer, request.send().await.unwrap()) }
    });
    let (mut won, mut lost) = (Vec::new(), 0);
    for (racer, answer) in join_all(race).await {
        match answer.status() {
            StatusCode::OK => won.push(racer),
            StatusCode::PRECONDITION_FAILED => lost += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((won.len(), lost), (1, 15));
    let now: Value = rig.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(now["claims"], json!({"winner": won[0]}));
    // Without `If-Match`, or with `*`, every one is merged in, the device's members too.
    let all = (0..6).map(|racer| {
        let body = match racer {
            0 => json!({"device": {"label": "l"}}),
            1 => json!({"device": {"userAgent": "u"}}),
            2 => json!({"device": {"address": "192.0.2.7"}}),
            _ => json!({"claims": {format!("c{racer}"): true}}),
        };
        rig.patch(&path, &body).header("if-match", "*").send()
    });
    assert!(join_all(all).await.into_iter().all(|answer| answer.unwrap().status() == StatusCode::OK));
    let now: Value = rig.get(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(now["device"], json!({"label": "l", "userAgent": "u", "address": "192.0.2.7"}));
    assert_eq!(now["claims"], json!({"winner": won[0], "c3": true, "c4": true, "c5": true}));
}

#[tokio::test]
async fn p17_what_the_api_ended_is_refused() {
    let rig = Rig::start().await;
    let one = rig.create(json!({"subject": "ada"})).await;
    let two = rig.create(json!({"subject": "ada"})).await;
    let other = rig.create(json!({"subject": "eve"})).await;
    let resolve = async |issued: &Value| {
        let token = AccessToken::parse(issued["token"].as_str().unwrap().as_bytes()).unwrap();
        let wanted = Wanted::Token(token);
        rig.sessions.resolve(&wanted, &Realm::parse("shop").unwrap(), rig.clock.now()).await.lookup
    };
    for issued in [&one, &two, &other] {
        assert!(matches!(resolve(issued).await, Lookup::Active(_)));
    }
    let path = format!("/v1/sessions/{}", one["sid"].as_str().unwrap());
    assert_eq!(rig.request(Method::DELETE, &path).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    assert!(matches!(resolve(&one).await, Lookup::Revoked));
    assert!(matches!(resolve(&two).await, Lookup::Active(_)));
    let path = "/v1/subjects/ada/sessions";
    assert_eq!(rig.request(Method::DELETE, path).send().await.unwrap().status(), StatusCode::OK);
    assert!(matches!(resolve(&two).await, Lookup::Revoked));
    assert!(matches!(resolve(&other).await, Lookup::Active(_)));
}

#[tokio::test]
async fn p20_a_store_that_fails_is_never_a_success() {
    let rig = Rig::start_embedded().await;
    let issued = rig.create(json!({"subject": "ada"})).await;
    let path = format!("/v1/sessions/{}", issued["sid"].as_str().unwrap());
    rig.close_store().await;
    for request in [
        rig.post("/v1/sessions", &json!({"subject": "ada"})),
        rig.get(&path),
        rig.get("/v1/sessions?subject=ada"),
        rig.patch(&path, &json!({"acr": "x"})),
        rig.post(&format!("{path}/rotate"), &json!({"token": issued["token"]})),
        rig.request(Method::DELETE, &path),
        rig.request(Method::DELETE, "/v1/subjects/ada/sessions"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{}", answer.url());
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(problem(answer).await.code, "unavailable");
    }
}

#[tokio::test]
async fn p36_callers_do_only_what_they_may() {
    let rig = Rig::start().await;
    let issued = rig.create(json!({"subject": "ada"})).await;
    let path = format!("/v1/sessions/{}", issued["sid"].as_str().unwrap());
    // Last: what ends the session.
    let requests = || {
        [
            ("create", rig.post("/v1/sessions", &json!({"subject": "ada"}))),
            ("read", rig.get(&path)),
            ("read", rig.get("/v1/sessions?subject=ada")),
            ("update", rig.patch(&path, &json!({"acr": "x"}))),
            ("rotate", rig.post(&format!("{path}/rotate"), &json!({"token": issued["token"]}))),
            ("revoke", rig.request(Method::DELETE, &path)),
            ("revoke", rig.request(Method::DELETE, "/v1/subjects/ada/sessions")),
        ]
    };
    for (token, may) in [(READER, "read"), (MAKER, "create")] {
        for (verb, request) in requests() {
            let answer = rig.as_caller(request, token).await;
            assert_eq!(answer.status().is_success(), verb == may, "{may}: {verb}");
            if verb != may {
                assert_eq!(problem(answer).await.code, "not_allowed");
            }
        }
    }
    // Their realm is `shop`; the other one is closed to them.
    let answer = rig.as_caller(rig.get(&format!("{path}?realm=bank")), READER).await;
    assert_eq!(problem(answer).await.code, "not_allowed");
    let answer = rig.as_caller(rig.post("/v1/sessions", &json!({"subject": "a", "realm": "bank"})), MAKER).await;
    assert_eq!(problem(answer).await.code, "not_allowed");
}

#[tokio::test]
async fn p36_a_session_is_unknown_in_every_other_realm() {
    let rig = Rig::start().await;
    let issued = rig.create(json!({"subject": "ada"})).await;
    let path = format!("/v1/sessions/{}", issued["sid"].as_str().unwrap());
    let rotate = rig.post(&format!("{path}/rotate?realm=bank"), &json!({"token": issued["token"]}));
    for request in
        [rig.get(&format!("{path}?realm=bank")), rig.patch(&format!("{path}?realm=bank"), &json!({"acr": "x"})), rotate]
    {
        let answer = request.send().await.unwrap();
        assert!(matches!(answer.status().as_u16(), 403 | 404), "{}", answer.url());
    }
    let ended = rig.request(Method::DELETE, &format!("{path}?realm=bank")).send().await.unwrap();
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    let ended = rig.request(Method::DELETE, "/v1/subjects/ada/sessions?realm=bank").send().await.unwrap();
    assert_eq!(ended.json::<Value>().await.unwrap(), json!({"revoked": 0}));
    assert_eq!(rig.get(&path).send().await.unwrap().json::<Value>().await.unwrap()["acr"], Value::Null);
    let made = rig.post("/v1/sessions", &json!({"subject": "ada", "realm": "bank"})).send().await.unwrap();
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.ends_with("?realm=bank"), "{location}");
    assert_eq!(rig.get(&location).send().await.unwrap().json::<Value>().await.unwrap()["realm"], "bank");
}

#[tokio::test]
async fn p36_a_token_leaves_only_where_it_is_made() {
    let rig = Rig::start().await;
    let issued = rig.create(json!({"subject": "ada"})).await;
    let token = issued["token"].as_str().unwrap();
    let path = format!("/v1/sessions/{}", issued["sid"].as_str().unwrap());
    let wrong = rig.create(json!({"subject": "eve"})).await;
    for request in [
        rig.get(&path),
        rig.get("/v1/sessions?subject=ada"),
        rig.patch(&path, &json!({"acr": "x"})),
        rig.post(&format!("{path}/rotate"), &json!({"token": wrong["token"]})),
        rig.request(Method::DELETE, &path),
        rig.request(Method::DELETE, "/v1/subjects/ada/sessions"),
        rig.get("/openapi.json"),
    ] {
        let answer = request.send().await.unwrap();
        let text = format!("{:?}", answer.headers()) + &answer.text().await.unwrap();
        // The part after the public id, so that a piece of the secret would be found too.
        for secret in [&token[26..40], &token[40..55], &wrong["token"].as_str().unwrap()[26..40]] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(!text.contains("\"token\":\"ckr_"), "{text}");
    }
}

#[tokio::test]
async fn p31_a_token_in_the_wrong_place_is_not_repeated_and_changes_are_in_the_audit_log() {
    let (log, _guard) = Log::capture();
    let rig = Rig::start().await;
    let issued = rig.create(json!({"subject": "ada", "claims": {"canary": "claims-canary"}})).await;
    let token = issued["token"].as_str().unwrap();
    let sid = issued["sid"].as_str().unwrap();
    let path = format!("/v1/sessions/{sid}");
    let mut answers = String::new();
    for request in [
        rig.get(&format!("/v1/sessions/{token}")),
        rig.get(&format!("/{token}")),
        rig.get(&format!("{path}?{token}=1")),
        rig.get(&format!("{path}?realm={token}")),
        rig.get(&format!("/v1/sessions?subject=ada&limit={token}")),
        rig.get(&format!("/v1/sessions?subject=ada&cursor={token}")),
        rig.post("/v1/sessions", &json!(token)),
        rig.post("/v1/sessions", &json!({token: 1})),
        rig.post("/v1/sessions", &json!({"subject": "ada", "scopes": token})),
        rig.post("/v1/sessions", &json!({"subject": "ada", "realm": token})),
        rig.post("/v1/sessions", &json!({"subject": "ada", "idle": token})),
        rig.post("/v1/sessions", &json!({"subject": "ada", "authTime": token})),
        rig.post(&format!("{path}/rotate"), &json!(token)),
        rig.post(&format!("{path}/rotate"), &json!({"token": format!("{token}x")})),
        rig.patch(&path, &json!({"acr": null})).header("if-match", token),
        rig.patch(&path, &json!({"acr": null})).header("x-request-id", token),
        rig.patch(&path, &json!({"acr": "urn:x"})).header("x-request-id", "trace-1"),
        rig.http.get(format!("{}{path}", rig.base)).bearer_auth(token),
        rig.get(&path).header("origin", format!("https://{token}.example")),
        rig.request(Method::DELETE, "/v1/subjects/ada/sessions"),
    ] {
        let answer = request.send().await.unwrap();
        answers += &format!("{:?}", answer.headers());
        answers += &answer.text().await.unwrap();
    }
    let refused = rig.as_caller(rig.post("/v1/sessions", &json!({"subject": "eve"})), READER).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let lines = log.text();
    for (place, text) in [("an answer", &answers), ("the log", &lines)] {
        for secret in [token, &token[26..], rig.token().as_str(), READER] {
            assert!(!text.contains(secret), "in {place}: {text}");
        }
    }
    assert!(!lines.contains("claims-canary"), "{lines}");

    let audit: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["target"] == "audit")
        .map(|line| line["fields"].clone())
        .collect();
    let line = |verb: &str, result: &str| {
        audit
            .iter()
            .find(|it| it["verb"] == verb && it["result"] == result)
            .unwrap_or_else(|| panic!("{verb}: {lines}"))
    };
    let made = line("create", "ok");
    assert_eq!((&made["actor"], &made["realm"]), (&json!("admin"), &json!("shop")));
    assert_eq!((&made["sid"], &made["subject"]), (&json!(sid), &json!("ada")));
    assert_eq!(made["request_id"].as_str().unwrap().len(), 32);
    assert!(audit.iter().any(|it| it["verb"] == "update" && it["request_id"] == "trace-1"), "{lines}");
    assert_eq!(line("revoke", "ok")["subject"], "ada");
    assert_eq!(line("create", "not_allowed")["actor"], "reader");
    assert!(!audit.iter().any(|it| it["verb"] == "read"), "{lines}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_stop_a_change() {
    let rig = Rig::start().await;
    let caller = Arc::new(CallerConfig::admin("unused".into()).caller);
    let grant = Grant::check(caller, None, Verb::Revoke, Realm::parse("shop").unwrap()).unwrap();
    let (parts, ()) = http::Request::new(()).into_parts();
    let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let done = Arc::new(AtomicBool::new(false));
    let work = {
        let (begun, release, done) = (Arc::clone(&begun), Arc::clone(&release), Arc::clone(&done));
        async move {
            begun.notify_one();
            release.notified().await;
            done.store(true, Ordering::Relaxed);
            Ok(())
        }
    };
    let change = rig.api.change(RequestId::of(&parts), grant, Target::default(), work, |()| None);
    tokio::select! {
        _ = change => panic!("it waits"),
        () = begun.notified() => {}
    }
    release.notify_one();
    rig.stop().await;
    assert!(done.load(Ordering::Relaxed));
}
