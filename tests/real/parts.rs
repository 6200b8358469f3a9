//! The parts that other tests stand on, each alone.

use std::path::Path;

use anyhow::Result;
use e2e::browser::Browser;
use e2e::envoy::{Envoy, EnvoyConfig};
use e2e::jose::Jose;
use e2e::sloppy::{Sloppy, ok};
use e2e::tls::Certificates;
use e2e::tools::EnvoyVersion;

/// Chromium trusts our certificate, keeps a `__Host-` cookie that came over TLS, and sends forms.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_a_host_cookie() -> Result<()> {
    let page = "<form method=post action=/next><input id=user name=user><button id=go>go</button></form>";
    let shop = Sloppy::answering(move |request| {
        let body = if request.target() == "/next" { request.0.text() } else { page.to_owned() };
        let cookie = "HTTP/1.1 200 OK\r\nSet-Cookie: __Host-session=ticket; Path=/; Secure; HttpOnly; SameSite=Lax";
        ok("text/html", &body).strip_prefix(b"HTTP/1.1 200 OK").map(|rest| [cookie.as_bytes(), rest].concat()).unwrap()
    })
    .await?;
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["shop.localhost"])?;
    let mut config = EnvoyConfig::shipped()?;
    config.tls(&certificates.server)?.unchecked("/")?.service("shop", shop.address())?;
    let envoy = Envoy::spawn(EnvoyVersion::Newest, &config).await?;
    let origin = format!("https://shop.localhost:{}", envoy.address().port());
    let cookies = tokio::task::spawn_blocking(move || {
        let mut browser = Browser::spawn(&certificates)?;
        browser.open(&format!("{origin}/"))?;
        browser.type_into("#user", "ada & bob")?;
        browser.click("#go")?;
        browser.until("document.body.innerText.includes('user=ada+%26+bob')")?;
        browser.cookies()
    })
    .await??;
    assert_eq!((cookies[0]["name"].as_str(), cookies[0]["value"].as_str()), (Some("__Host-session"), Some("ticket")));
    let posted = shop.take().into_iter().find(|it| it.target() == "/next").unwrap();
    assert_eq!(posted.cookie_readings("__Host-session"), ["ticket"]);
    assert_eq!(posted.0.header("sec-fetch-site"), ["same-origin"]);
    Ok(())
}

#[test]
fn the_independent_verifier_refuses_what_is_no_jwt() -> Result<()> {
    let mut jose = Jose::spawn("http://127.0.0.1:9/jwks", "https://issuer.example", "shop")?;
    // The library's own error, not the end of the process.
    for _ in 0..2 {
        let error = jose.verify("nonsense").unwrap_err().to_string();
        assert!(error.contains("ERR_JWS_INVALID"), "{error}");
    }
    assert!(Path::new(&e2e::tools::jose()?).join("node_modules/jose").is_dir());
    assert!(Path::new(&e2e::tools::oidc_provider()?).join("node_modules/oidc-provider").is_dir());
    Ok(())
}
