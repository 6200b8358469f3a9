//! The commands against a running API.

use clap::Parser;
use serde_json::Value;

use super::super::explain::{self, ExplainArgs};
use super::{SessionArgs, run_to};
use crate::admin::explain::tests::Admin;
use crate::admin::session_api::tests::rig::Rig;

#[derive(Parser)]
enum Cli {
    Session(SessionArgs),
    Explain(ExplainArgs),
}

/// Runs a command line and answers what it printed, or its error with all its causes.
async fn cloakroom(args: &[&str]) -> Result<String, String> {
    let mut out = Vec::new();
    let ran = match Cli::try_parse_from(["cloakroom"].iter().chain(args)).map_err(|error| error.to_string())? {
        Cli::Session(args) => run_to(args, &mut out).await,
        Cli::Explain(args) => explain::run_to(args, &mut out).await,
    };
    ran.map_err(|error| format!("{error:#}"))?;
    Ok(String::from_utf8(out).unwrap())
}

/// A session command against `rig`, in the admin's name.
async fn session(rig: &Rig, args: &[&str]) -> Result<String, String> {
    let file = rig.folder.path().join("admin.token");
    let file = file.to_str().unwrap();
    cloakroom(&[&["session", "--api", &rig.base, "--api-token-file", file], args].concat()).await
}

async fn json(rig: &Rig, args: &[&str]) -> Value {
    serde_json::from_str(&session(rig, &[&["-o", "json"], args].concat()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_commands_tell_the_whole_story() {
    let rig = Rig::start().await;
    let claims = rig.folder.path().join("claims.json");
    std::fs::write(&claims, r#"{"tier": "gold", "n": 1}"#).unwrap();
    let claims = format!("@{}", claims.display());
    let issued = json(
        &rig,
        &[
            "create",
            "--subject",
            "ada",
            "--scope",
            "a",
            "--scope",
            "b",
            "--role",
            "admin",
            "--claims",
            &claims,
            "--acr",
            "urn:mfa",
            "--amr",
            "pwd",
            "--idle",
            "15m",
            "--absolute",
            "12h",
            "--device-label",
            "laptop",
            "--provider-iss",
            "https://id.example",
            "--provider-sid",
            "op-1",
        ],
    )
    .await;
    let sid = issued["sid"].as_str().unwrap();
    assert_eq!(issued["session"]["scopes"], serde_json::json!(["a", "b"]));
    assert_eq!(issued["session"]["claims"]["tier"], "gold");
    assert_eq!(json(&rig, &["get", sid]).await, issued["session"]);

    let changed = json(&rig, &["update", sid, "--claims", r#"{"n": null}"#, "--role", "user", "--clear", "acr"]).await;
    assert_eq!(changed["claims"], serde_json::json!({"tier": "gold"}));
    assert_eq!((&changed["roles"], &changed["acr"]), (&serde_json::json!(["user"]), &Value::Null));
    let stale = session(&rig, &["update", sid, "--acr", "x", "--if-version", "1"]).await.unwrap_err();
    assert!(stale.contains("has changed"), "{stale}");

    let token = rig.folder.path().join("access.token");
    std::fs::write(&token, format!("{}\n", issued["token"].as_str().unwrap())).unwrap();
    let next = json(&rig, &["rotate", sid, "--token-file", token.to_str().unwrap()]).await;
    assert!(next["token"].as_str().unwrap().starts_with("ckr_"));
    assert_ne!(next["token"], issued["token"]);

    for _ in 0..3 {
        json(&rig, &["create", "--subject", "ada"]).await;
    }
    assert_eq!(json(&rig, &["list", "--subject", "ada"]).await["sessions"].as_array().unwrap().len(), 4);
    assert_eq!(
        json(&rig, &["list", "--subject", "ada", "--limit", "2"]).await["sessions"].as_array().unwrap().len(),
        2
    );
    assert_eq!(json(&rig, &["revoke", sid]).await["revoked"], true);
    let gone = session(&rig, &["get", sid]).await.unwrap_err();
    assert!(gone.contains("no such session"), "{gone}");
    assert_eq!(json(&rig, &["revoke-subject", "ada"]).await["revoked"], 3);
    let other = json(&rig, &["--realm", "bank", "create", "--subject", "ada"]).await;
    assert_eq!(other["session"]["realm"], "bank");
    assert_eq!(json(&rig, &["--realm", "bank", "revoke-subject", "ada"]).await["revoked"], 1);
}

#[tokio::test]
async fn people_get_tables() {
    let rig = Rig::start().await;
    let made = session(&rig, &["create", "--subject", "ada", "--scope", "a", "--device-label", "laptop"]).await;
    let made = made.unwrap();
    assert_eq!(made.matches("ckr_").count(), 1, "{made}");
    assert!(made.contains("subject    ada\n") && made.contains("shown this once"), "{made}");
    let list = session(&rig, &["list", "--subject", "ada"]).await.unwrap();
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with("SID ") && lines[0].contains("DEVICE"), "{list}");
    assert!(!list.contains("ckr_"), "{list}");
    assert_eq!(session(&rig, &["list", "--subject", "eve"]).await.unwrap(), "no live sessions\n");
    assert_eq!(session(&rig, &["revoke-subject", "ada"]).await.unwrap(), "1 session of ada is over\n");
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let rig = Rig::start().await;
    let wrong = rig.folder.path().join("wrong.token");
    std::fs::write(&wrong, "w".repeat(40)).unwrap();
    let empty = rig.folder.path().join("empty.token");
    std::fs::write(&empty, "").unwrap();
    let (wrong, empty) = (wrong.to_str().unwrap(), empty.to_str().unwrap());
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let base = rig.base.as_str();
    let get = ["get", "AAAAAAAAAAAAAAAAAAAAAA"];
    for (options, says) in [
        (vec!["--api", base], vec!["--api-token-file", "CLOAKROOM_API_TOKEN_FILE"]),
        (vec!["--api", base, "--api-token-file", "/nowhere"], vec!["cannot read /nowhere"]),
        (vec!["--api", base, "--api-token-file", empty], vec![empty, "one admin token"]),
        (vec!["--api", base, "--api-token-file", wrong], vec![wrong, "api.tokenFile"]),
        (vec!["--api", closed.as_str(), "--api-token-file", wrong], vec!["cannot reach", &closed, "listen.sessions"]),
        (vec!["--api", "https://127.0.0.1", "--api-token-file", wrong], vec!["http://127.0.0.1:9081"]),
    ] {
        let error = cloakroom(&[&["session"], options.as_slice(), &get].concat()).await.unwrap_err();
        for part in says {
            assert!(error.contains(part), "{options:?}: {error}");
        }
        assert!(!error.contains(&"w".repeat(40)), "{error}");
    }
    for (args, says) in [
        (vec!["create", "--subject", "ada", "--claims", "[1]"], "--claims must be a JSON object"),
        (vec!["create", "--subject", "ada", "--idle", "soon"], "idle: must be a duration"),
        (vec!["create", "--subject", "ada", "--provider-sid", "x"], "--provider-iss"),
        (vec!["update", get[1]], "nothing to change"),
        (vec!["update", get[1], "--acr", "x", "--clear", "acr"], "cannot be cleared and set"),
        (vec!["revoke-subject", ".."], "cannot be named"),
        (vec!["get", "short"], "22 characters"),
    ] {
        let error = session(&rig, &args).await.unwrap_err();
        assert!(error.contains(says), "{args:?}: {error}");
    }
}

#[tokio::test]
async fn explain_tells_people_and_programs() {
    let admin = Admin::start().await;
    let issued = admin.rig.create(serde_json::json!({"subject": "ada", "roles": ["admin"]})).await;
    let token = admin.rig.folder.path().join("access.token");
    std::fs::write(&token, issued["token"].as_str().unwrap()).unwrap();
    let token = token.to_str().unwrap();
    let explain =
        async |args: &[&str]| cloakroom(&[&["explain", "--admin", &admin.base], args].concat()).await.unwrap();
    let allowed = explain(&["GET", "https://shop.example/admin?x=1", "--token-file", token]).await;
    for part in ["ALLOWED, with the session's identity", "shop/shop", "admin", "ada", "x-session-jwt", "orders"] {
        assert!(allowed.contains(part), "{part}: {allowed}");
    }
    assert!(!allowed.contains("ckr_"), "{allowed}");
    let refused = explain(&["GET", "https://shop.example/admin", "-H", "accept: text/html", "--cookie", "a=b"]).await;
    assert!(refused.starts_with("REFUSED with 401: no_credential\n"), "{refused}");
    let said: Value =
        serde_json::from_str(&explain(&["-o", "json", "GET", "http://shop.example/healthz"]).await).unwrap();
    assert_eq!((&said["verdict"], &said["rule"]), (&"allowAnonymous".into(), &"health".into()));
    let closed = cloakroom(&["explain", "--admin", "http://127.0.0.1:1", "GET", "http://a/"]).await.unwrap_err();
    assert!(closed.contains("listen.admin"), "{closed}");
}
