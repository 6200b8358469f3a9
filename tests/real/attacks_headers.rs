//! Headers and cookies as an attacker sends them, and the gate going away, through a real Envoy with the gate behind it.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::gate::{Cloakroom, CreatedSession, GateOptions, Store};
use e2e::http1::{Message, exchange};
use e2e::process::wait_until;
use e2e::sloppy::Sloppy;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use crate::on_each_envoy;
use crate::scene::cloakroom;

const POLICY: &str = "
apiVersion: cloakroom.dev/v1alpha1
kind: AuthPolicy
metadata: { name: web, namespace: shop }
spec:
  hosts: [shop.example]
  rules:
  - matches: [{ path: { value: /public } }]
    access: Public
  - matches: [{ path: { value: /maybe } }]
    authenticate: [{ session: {} }, { anonymous: {} }]
";

on_each_envoy! {
    p07_no_spelling_of_our_headers_arrives => forged_headers;
    p13_p14_cookies_have_one_reading_and_others_pass => cookies;
    p14_an_unsafe_request_of_another_site_is_refused => cross_site;
    p37_dead_tokens_look_alike => alike;
    p02_p19_p33_a_killed_gate_fails_closed_and_revives_nothing => killed;
    p29_a_changed_policy_is_felt_and_a_broken_one_changes_nothing => policy_change;
}

struct Scene {
    gate: Cloakroom,
    envoys: Vec<Envoy>,
    shop: Sloppy,
    session: CreatedSession,
}

impl Scene {
    /// One gate and service behind Envoys of every setting: strict or default paths, both encodings, `_` in names allowed.
    async fn set(version: EnvoyVersion, store: Store) -> Result<Self> {
        let gate =
            Cloakroom::spawn(GateOptions { store, ..GateOptions::new(cloakroom()) }.policy("web.yaml", POLICY)).await?;
        let shop = Sloppy::spawn().await?;
        let mut envoys = Vec::new();
        for (strict, raw) in [(true, true), (false, false), (false, true)] {
            let mut config = EnvoyConfig::shipped()?;
            config.plain()?.gate(&gate.grpc()?)?.service("shop", shop.address())?;
            match strict {
                true => config.allow_underscores()?,
                false => config.default_normalisation()?,
            };
            if !raw {
                config.headers_as_map()?;
            }
            envoys.push(Envoy::spawn(version, &config).await?);
        }
        let session = gate.create_session(&json!({ "subject": "ada" })).await?;
        Ok(Self { gate, envoys, shop, session })
    }

    fn cookie(&self) -> String {
        format!("__Host-session={}", self.session.token)
    }

    /// The same request through each Envoy.
    async fn each(&self, start: &str, lines: &str) -> Result<Vec<Message>> {
        let mut answers = Vec::new();
        for envoy in &self.envoys {
            let request = format!("{start} HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n");
            answers.push(exchange(envoy.address(), request.as_bytes()).await?);
        }
        Ok(answers)
    }
}

async fn forged_headers(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, Store::Memory).await?;
    let names = ["x-session-jwt", "X-Session-JWT", "x_session_jwt", "X.Session.Jwt", "x-session_jwt", "x!session~jwt"];
    let ours = ["x-session-create", "x_session_update", "x.session.end", "X-Session-Anything"];
    let cookie = format!("Cookie: {}\r\n", scene.cookie());
    for (path, credential, identity) in [
        ("/cart", &*cookie, 1),
        ("/public", &*cookie, 0),
        ("/public", "", 0),
        ("/maybe", "", 0),
        ("/maybe", &*cookie, 1),
    ] {
        for name in names.iter().chain(&ours) {
            for lines in [
                format!("{name}: forged\r\n"),
                format!("{name}: forged\r\n{name}: forged\r\nConnection: {name}\r\n"),
                format!("x-session-jwt: forged\r\n{name}: forged\r\n"),
            ] {
                for answer in scene.each(&format!("GET {path}"), &format!("{credential}{lines}")).await? {
                    // Refusing is as good as cleaning; what arrives is clean.
                    ensure!([200, 400].contains(&answer.status()), "{path} {lines}: {}", answer.status());
                }
                for seen in scene.shop.take() {
                    ensure!(!seen.contains("forged"), "{path} {lines}: {seen:?}");
                    ensure!(seen.header_readings("x-session-jwt").len() == identity, "{path} {lines}: {seen:?}");
                    ensure!(!seen.contains(&scene.session.token), "{path}: the token arrived");
                }
            }
        }
    }
    // And the plain request does arrive: a wall that stops everything would pass the above.
    scene.each("GET /cart", &cookie).await?;
    assert_eq!(scene.shop.take().len(), scene.envoys.len());
    Ok(())
}

async fn cookies(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, Store::Memory).await?;
    let (ours, token) = (scene.cookie(), scene.session.token.clone());
    for (lines, status, rest) in [
        (format!("Cookie: {ours}\r\n"), 200, vec![]),
        (format!("Cookie: a=1; {ours}; b=\"x y\"\r\n"), 200, vec!["a=1; b=\"x y\""]),
        (format!("Cookie: a=1,2; {ours}\r\n"), 200, vec!["a=1,2"]),
        (format!("Cookie: {ours}; {ours}\r\n"), 400, vec![]),
        (format!("Cookie: {ours}; __Host-session=ckr_other\r\n"), 400, vec![]),
        (format!("Cookie: {ours}\r\nCookie: {ours}\r\n"), 400, vec![]),
        (format!("Cookie: a=1,{ours}\r\n"), 400, vec![]),
        (format!("Cookie: a=\"; {ours}\"; {ours}\r\n"), 400, vec![]),
        (format!("Cookie: {ours}\r\nAuthorization: Bearer {token}\r\n"), 400, vec![]),
        (format!("Cookie: {ours}\r\nAuthorization: Bearer another\r\n"), 400, vec![]),
        (format!("Authorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n"), 400, vec![]),
        (format!("Authorization: bearer {token}\r\nCookie: a=1\r\n"), 200, vec!["a=1"]),
        ("Cookie: a=1\r\n".to_owned(), 401, vec![]),
    ] {
        for answer in scene.each("GET /cart", &lines).await? {
            ensure!(answer.status() == status, "{lines}: {} {}", answer.status(), answer.text());
        }
        let seen = scene.shop.take();
        ensure!(seen.len() == if status == 200 { scene.envoys.len() } else { 0 }, "{lines}: {} arrived", seen.len());
        for seen in seen {
            ensure!(seen.0.header("cookie") == rest, "{lines}: {:?}", seen.0.header("cookie"));
            ensure!(!seen.contains(&token) && seen.cookie_readings("__Host-session").is_empty(), "{lines}: {seen:?}");
        }
    }
    // Tokens in addresses are nobody's business, on a public path too.
    for answer in scene.each(&format!("GET /cart?access_token={token}&__Host-session={token}"), "").await? {
        assert_eq!(answer.status(), 401);
    }
    for line in [format!("Cookie: {ours}; {ours}; a=1\r\n"), format!("Authorization: Bearer {token}\r\n")] {
        scene.each("GET /public", &line).await?;
        for seen in scene.shop.take() {
            ensure!(!seen.contains(&token), "the token arrived on a public path: {seen:?}");
        }
    }
    Ok(())
}

async fn cross_site(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, Store::Memory).await?;
    let cookie = format!("Cookie: {}\r\nContent-Length: 0\r\n", scene.cookie());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (start, lines, status) in [
        ("POST /cart", "Sec-Fetch-Site: same-origin\r\n", 200),
        ("POST /cart", "Sec-Fetch-Site: none\r\n", 200),
        ("POST /cart", "", 200),
        ("POST /cart", "Origin: https://shop.example\r\n", 200),
        ("POST /cart", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("POST /cart", "Sec-Fetch-Site: same-site\r\n", 403),
        ("POST /cart", "Origin: https://evil.example\r\n", 403),
        ("POST /cart", "Origin: null\r\n", 403),
        ("DELETE /cart", "Origin: https://shop.example.evil.example\r\n", 403),
        ("GET /cart", "Sec-Fetch-Site: cross-site\r\n", 200),
        ("GET /cart", &format!("Sec-Fetch-Site: cross-site\r\n{upgrade}"), 403),
    ] {
        for answer in scene.each(start, &format!("{cookie}{lines}")).await? {
            ensure!(answer.status() == status, "{start} {lines}: {} {}", answer.status(), answer.text());
        }
    }
    Ok(())
}

async fn alike(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, Store::Memory).await?;
    scene.gate.revoke_session(&scene.session.sid).await?;
    let other = scene.gate.create_session(&json!({ "subject": "bob" })).await?;
    let invented = format!("ckr_{}", "A".repeat(59));
    let mixed = format!("{}{}", &scene.session.token[..30], &other.token[30..]);
    let mut seen = Vec::new();
    for token in [&scene.session.token, &invented, &mixed, &"ckr_short".to_owned()] {
        for answer in scene.each("GET /cart", &format!("Authorization: Bearer {token}\r\n")).await? {
            assert_eq!((answer.status(), answer.header("cache-control")), (401, vec!["no-store".to_owned()]));
            seen.push((answer.text(), answer.header("www-authenticate"), answer.header("content-type")));
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(scene.shop.take().is_empty());
    Ok(())
}

async fn killed(version: EnvoyVersion) -> Result<()> {
    let mut scene = Scene::set(version, Store::Embedded).await?;
    let dead = scene.gate.create_session(&json!({ "subject": "bob" })).await?;
    scene.gate.revoke_session(&dead.sid).await?;
    let cookie = format!("Cookie: {}\r\n", scene.cookie());
    let gone = format!("Cookie: __Host-session={}\r\n", dead.token);
    scene.gate.process().kill()?;
    for path in ["/cart", "/public", "/maybe"] {
        for answer in scene.each(&format!("GET {path}"), &cookie).await? {
            assert_eq!(answer.status(), 503, "{path}");
        }
    }
    assert!(scene.shop.take().is_empty(), "nothing passes unchecked");
    scene.gate.crash_and_restart().await?;
    let scene = &scene;
    let back =
        || async { scene.each("GET /cart", &cookie).await.is_ok_and(|all| all.iter().all(|it| it.status() == 200)) };
    wait_until(Duration::from_secs(20), "the gate is back", back).await?;
    for answer in scene.each("GET /cart", &gone).await? {
        assert_eq!(answer.status(), 401, "revoked is revoked, over a crash too");
    }
    Ok(())
}

async fn policy_change(version: EnvoyVersion) -> Result<()> {
    let scene = Scene::set(version, Store::Memory).await?;
    let all = |status: u16| {
        let scene = &scene;
        move || async move {
            scene.each("GET /public/x", "").await.is_ok_and(|all| all.iter().all(|it| it.status() == status))
        }
    };
    assert!(all(200)().await);
    scene.gate.write_policy("web.yaml", &POLICY.replace("access: Public", "access: Deny"))?;
    wait_until(Duration::from_secs(10), "the change is felt", all(403)).await?;
    scene.gate.write_policy("web.yaml", &POLICY.replace("access: Public", "access: Pubic"))?;
    let refused = || async { scene.gate.output().contains("Pubic") };
    wait_until(Duration::from_secs(10), "the broken policy is reported", refused).await?;
    assert!(all(403)().await, "the last good form stays");
    scene.gate.write_policy("web.yaml", POLICY)?;
    wait_until(Duration::from_secs(10), "the mended policy is felt", all(200)).await
}
