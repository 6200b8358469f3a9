//! Credentials in transit: one place, one reading, never on to the service (P13, P14); the cookies of others byte for byte; other
//! sites' pages kept out.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::http1::{Message, exchange};
use e2e::http2;
use e2e::process::wait_until;
use e2e::sloppy::{SeenRequest, Sloppy};
use e2e::tools::EnvoyVersion;
use serde_json::json;

use crate::attacks::{HOST, Setting, Town, Wall};
use crate::on_each_envoy;

on_each_envoy! {
    p14_other_cookies_pass_byte_for_byte => others;
    p13_a_credential_has_one_reading => ambiguous;
    p13_the_token_stays_behind_on_open_paths => open_paths;
    p14_other_sites_may_not_use_our_cookie => cross_site;
    p14_a_rotated_cookie_comes_beside_the_services_own => rotated;
    p14_a_dead_cookie_is_taken_back => dead;
}

/// `{T}` stands for the token.
async fn send(wall: &Wall, method: &str, target: &str, lines: &[&[u8]], token: &str) -> Result<Message> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n").into_bytes();
    for line in lines {
        request.extend(filled(line, token));
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    exchange(wall.envoy.address(), &request).await
}

fn filled(line: &[u8], token: &str) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.windows(3).position(|it| it == b"{T}") {
        filled.extend([&rest[..at], token.as_bytes()].concat());
        rest = &rest[at + 3..];
    }
    filled.extend(rest);
    filled
}

fn cookies(seen: &SeenRequest) -> Vec<Vec<u8>> {
    let lines = seen.0.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"));
    lines.map(|(_, value)| value.clone()).collect()
}

/// What arrived must hold the token nowhere, nor a cookie that some server takes for ours.
fn nothing_of_ours(seen: &SeenRequest, token: &str) -> Result<()> {
    ensure!(!seen.contains(token), "the token arrived: {seen:?}");
    ensure!(seen.cookie_readings("__Host-session").is_empty(), "a cookie of our name arrived: {seen:?}");
    Ok(())
}

async fn others(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let token = &town.customer.token;
    let many: String = (0..200).map(|it| format!("c{it}=v{it}; ")).collect();
    let huge = format!("big={}", "x".repeat(12_000));
    let before = format!("{many}__Host-session={{T}}");
    let around = format!("{huge}; __Host-session={{T}}; {many}z=1");
    let rest_around = format!("{huge}; {many}z=1");
    let rows: [(&[u8], &[u8]); 30] = [
        (b"__Host-session={T}", b""),
        (b"__Host-session={T};", b""),
        (b"a=1; __Host-session={T}", b"a=1"),
        (b"__Host-session={T}; a=1", b"a=1"),
        (b"a=1; __Host-session={T}; b=2", b"a=1; b=2"),
        (b"a=1;__Host-session={T};b=2", b"a=1;b=2"),
        (b"a=1;__Host-session={T}; b=2", b"a=1; b=2"),
        (b"a=\"1\"; __Host-session={T}; b=\"x y\"", b"a=\"1\"; b=\"x y\""),
        (b"a=1,2; __Host-session={T}; b=3,4", b"a=1,2; b=3,4"),
        (b"a=1, 2; __Host-session={T}", b"a=1, 2"),
        (b"a=1; a=2; __Host-session={T}; a=1", b"a=1; a=2; a=1"),
        (b"a; b=; =c; __Host-session={T}; d==e", b"a; b=; =c; d==e"),
        (b"a=%7B%22x%22%3A1%7D; __Host-session={T}", b"a=%7B%22x%22%3A1%7D"),
        (b"a={\"x\":[1,2]}; __Host-session={T}", b"a={\"x\":[1,2]}"),
        (b"a=b=c; __Host-session={T}; d=e/f?g#h", b"a=b=c; d=e/f?g#h"),
        (b"_ga=GA1.2.3; __Host-session={T}; __Secure-x=1; __Host-y=2", b"_ga=GA1.2.3; __Secure-x=1; __Host-y=2"),
        (b"session=1; __Host-session={T}; host-session=2", b"session=1; host-session=2"),
        (b"__Host-session2=1; __Host-session={T}; x__Host-session=3", b"__Host-session2=1; x__Host-session=3"),
        (b"a=1  2; __Host-session={T}; b=\t3", b"a=1  2; b=\t3"),
        (b"a=1;; __Host-session={T};; b=2", b"a=1;;; b=2"),
        ("a=caf\u{e9}; __Host-session={T}; b=\u{65e5}".as_bytes(), "a=caf\u{e9}; b=\u{65e5}".as_bytes()),
        (b"a=don't; __Host-session={T}; b=(x)", b"a=don't; b=(x)"),
        (b"a=<>@,;__Host-session={T};b=[]\\", b"a=<>@,;b=[]\\"),
        (b"a=\"1\\\"2\"; __Host-session={T}; b=2", b"a=\"1\\\"2\"; b=2"),
        (b"A=1; __Host-session={T}; a=1; $x=y", b"A=1; a=1; $x=y"),
        (b"a=ckr_; __Host-session={T}; b=ckr", b"a=ckr_; b=ckr"),
        (b"a=1;\t__Host-x=2; __Host-session={T}", b"a=1;\t__Host-x=2"),
        (before.as_bytes(), many.trim_end_matches("; ").as_bytes()),
        (around.as_bytes(), rest_around.as_bytes()),
        (b"only=others; and=\"more\"", b"only=others; and=\"more\""),
    ];
    for wall in town.walls(version).await? {
        for (sent, want) in rows {
            let name = format!("{:?}: {}", wall.setting, sent.escape_ascii());
            let has_session = sent.windows(3).any(|it| it == b"{T}");
            let target = if has_session { "/x" } else { "/maybe" };
            let line = [b"Cookie: ", sent].concat();
            let status = send(&wall, "GET", target, &[&line], token).await?.status();
            ensure!(status == 200, "{name}: {status}");
            let seen = wall.shop.take().pop().context("nothing arrived")?;
            let want: Vec<Vec<u8>> = if want.is_empty() { vec![] } else { vec![want.to_vec()] };
            ensure!(cookies(&seen) == want, "{name}: arrived {seen:?}");
            ensure!(seen.header_readings("x-session-jwt").len() == usize::from(has_session), "{name}: {seen:?}");
            nothing_of_ours(&seen, token).context(name)?;
        }
        bytes(&wall, token).await?;
        crumbs(&wall, token).await?;
        apart(&wall, token).await?;
    }
    Ok(())
}

/// Bytes that are not UTF-8. The protocol between proxy and gate has no way to write them back: with headers as lines such a
/// request is refused, with headers as a map Envoy itself has put a `!` in their place. Without a cookie of ours they pass.
async fn bytes(wall: &Wall, token: &str) -> Result<()> {
    let name = format!("{:?}", wall.setting);
    let answer = send(wall, "GET", "/x", &[b"Cookie: a=caf\xe9; __Host-session={T}"], token).await?;
    let seen = wall.shop.take();
    if wall.setting.raw {
        ensure!(answer.status() == 400 && seen.is_empty(), "{name}: {answer:?} {seen:?}");
    } else {
        ensure!(answer.status() == 200 && cookies(&seen[0]) == [b"a=caf!"], "{name}: {answer:?} {seen:?}");
        nothing_of_ours(&seen[0], token)?;
    }
    let answer = send(wall, "GET", "/public", &[b"Cookie: a=caf\xe9; b=2"], token).await?;
    let seen = wall.shop.take();
    ensure!(answer.status() == 200 && cookies(&seen[0]) == [b"a=caf\xe9; b=2"], "{name}: {answer:?} {seen:?}");
    let answer = send(wall, "GET", "/x", &[b"Cookie: \xa0__Host-session={T}"], token).await?;
    ensure!(answer.status() == 400 && wall.shop.take().is_empty(), "{name}: {answer:?}");
    Ok(())
}

/// HTTP/2 clients send cookies in crumbs (RFC 9113 §8.2.3).
async fn crumbs(wall: &Wall, token: &str) -> Result<()> {
    let ours = format!("__Host-session={token}");
    for (crumbs, want) in [
        (&["a=1", &ours, "b=2"][..], &["a=1; b=2"][..]),
        (&[&ours], &[]),
        (&["a=1; c=3", &ours], &["a=1; c=3"]),
        (&[&ours, "a=\"x,y\""], &["a=\"x,y\""]),
    ] {
        let mut fields = vec![(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/x")];
        fields.extend(crumbs.iter().map(|crumb| ("cookie", *crumb)));
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let status = http2::exchange(wall.envoy.address(), &fields, None).await?;
        ensure!(status == Some(200), "{:?}: {want:?}: {status:?}", wall.setting);
        let seen = wall.shop.take().pop().context("nothing arrived")?;
        ensure!(seen.0.header("cookie") == want, "{:?}: {want:?}: {seen:?}", wall.setting);
        nothing_of_ours(&seen, token)?;
    }
    Ok(())
}

/// Lines that the client sent apart, without ours: none of our business.
async fn apart(wall: &Wall, token: &str) -> Result<()> {
    let answer = send(wall, "GET", "/public", &[b"Cookie: a=1", b"Cookie: b=2,3; c=4"], token).await?;
    ensure!(answer.status() == 200, "{:?}: {answer:?}", wall.setting);
    let seen = wall.shop.take().pop().context("nothing arrived")?;
    let lines = seen.0.header("cookie");
    ensure!(lines == ["a=1", "b=2,3; c=4"], "{:?}: {lines:?}", wall.setting);
    Ok(())
}

/// More than one credential, or one that servers would find differently. `{T}` is good: what is refused is refused for its place.
const AMBIGUOUS: [&[&[u8]]; 47] = [
    &[b"Cookie: __Host-session={T}; __Host-session={T}"],
    &[b"Cookie: __Host-session={T}; __Host-session=x"],
    &[b"Cookie: __Host-session=x; __Host-session={T}"],
    &[b"Cookie: __Host-session={T}", b"Cookie: __Host-session={T}"],
    &[b"Cookie: __Host-session={T}", b"Cookie: a=1"],
    &[b"Cookie: a=1", b"Cookie: __Host-session={T}"],
    &[b"Cookie: a=1, __Host-session={T}"],
    &[b"Cookie: a=1,__Host-session={T}"],
    &[b"Cookie: __Host-session={T},a=1"],
    &[b"Cookie: __Host-session={T}, __Host-session={T}"],
    &[b"Cookie: a=\"1; __Host-session={T}; b=2\""],
    &[b"Cookie: a=\"1, __Host-session={T}\""],
    &[b"Cookie: a=\"1\\\"; __Host-session={T}; b=\"2\""],
    &[b"Cookie: a=\"; __Host-session={T}"],
    &[b"Cookie: $Version=1; __Host-session={T}; $Path=/"],
    &[b"Cookie: $Version=\"1\"; a=1; $Domain=x; __Host-session={T}"],
    &[b"Cookie: a=1;  __Host-session={T}"],
    &[b"Cookie: a=1;\t__Host-session={T}"],
    &[b"Cookie: a=1; __Host-session ={T}"],
    &[b"Cookie: __Host-session= {T}"],
    &[b"Cookie: __Host-session={T} x"],
    &[b"Cookie: __Host-session\t={T}"],
    &[b"Cookie: __host-session={T}"],
    &[b"Cookie: __HOST-SESSION={T}"],
    &[b"Cookie: %5f_Host-session={T}"],
    &[b"Cookie: __Host%2dsession={T}"],
    &[b"Cookie: ..Host-session={T}"],
    &[b"Cookie: _[Host-session={T}"],
    &[b"Cookie: __Host-session[]={T}"],
    &[b"Cookie: __Host-session[0]={T}"],
    &[b"Cookie: \"__Host-session\"={T}"],
    &[b"Cookie: $__Host-session={T}"],
    &[b"Cookie: \xc2\xa0__Host-session={T}"],
    &[b"Cookie: a __Host-session={T}"],
    &[b"Cookie: =__Host-session={T}"],
    &[b"Cookie: __Host-session"],
    &[b"Cookie: __Host-session={T}", b"Authorization: Bearer {T}"],
    &[b"Cookie: __Host-session=x", b"Authorization: Bearer {T}"],
    &[b"Cookie: __Host-session={T}", b"Authorization: Bearer x"],
    &[b"Cookie: __Host-session={T}", b"Authorization: Bearer eyJ0eXAiOiJzZXNzaW9uK2p3dCJ9.e30.x"],
    &[b"Authorization: Bearer {T}", b"Authorization: Bearer {T}"],
    &[b"Authorization: Bearer {T}", b"Authorization: Basic YTpi"],
    &[b"Authorization: Basic YTpi", b"Authorization: Bearer {T}"],
    &[b"Authorization: Bearer {T}, Bearer {T}"],
    &[b"Authorization: Bearer {T},Basic YTpi"],
    &[b"Authorization: Basic YTpi, Bearer {T}"],
    &[b"Authorization: Digest a=\"b\", Bearer {T}"],
];

/// Places and spellings in which a token is none.
const NOWHERE: [(&str, &[&[u8]]); 24] = [
    ("/x?access_token={T}", &[]),
    ("/x?token={T}", &[]),
    ("/x?__Host-session={T}", &[]),
    ("/x;__Host-session={T}", &[]),
    ("/x/{T}", &[]),
    ("/x", &[b"X-Access-Token: {T}"]),
    ("/x", &[b"X-Auth-Token: {T}"]),
    ("/x", &[b"Proxy-Authorization: Bearer {T}"]),
    ("/x", &[b"X-Authorization: Bearer {T}"]),
    ("/x", &[b"Set-Cookie: __Host-session={T}"]),
    ("/x", &[b"Cookie2: __Host-session={T}"]),
    ("/x", &[b"X-Session-Jwt: {T}"]),
    ("/x", &[b"Cookie: session={T}"]),
    ("/x", &[b"Cookie: a=__Host-session:{T}"]),
    ("/x", &[b"Cookie: __Host-session=\"{T}\""]),
    ("/x", &[b"Cookie: __Host-session=x{T}"]),
    ("/x", &[b"Cookie: __Host-session={T}="]),
    ("/x", &[b"Cookie: __Host-session="]),
    ("/x", &[b"Authorization: {T}"]),
    ("/x", &[b"Authorization: Token {T}"]),
    ("/x", &[b"Authorization: Basic {T}"]),
    ("/x", &[b"Authorization: Bearer"]),
    ("/x", &[b"Authorization: Bearer {T}x"]),
    ("/x", &[b"Authorization: Bearer {T} {T}"]),
];

async fn ambiguous(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let token = &town.customer.token;
    for wall in town.walls(version).await? {
        for lines in AMBIGUOUS {
            // Also where strangers are welcome: a bad credential is not none (P6).
            for target in ["/x", "/maybe"] {
                let answer = send(&wall, "GET", target, lines, token).await?;
                let seen = wall.shop.take();
                ensure!(
                    answer.status() == 400 && seen.is_empty(),
                    "{:?}: {target} {}: {} {seen:?}",
                    wall.setting,
                    lines.join(&b' ').escape_ascii(),
                    answer.status()
                );
                ensure!(!answer.text().contains(token.as_str()), "{answer:?}");
            }
        }
        for (target, lines) in NOWHERE {
            let target = target.replace("{T}", token);
            let answer = send(&wall, "GET", &target, lines, token).await?;
            let name = format!("{:?}: {target} {}", wall.setting, lines.join(&b' ').escape_ascii());
            ensure!(answer.status() == 401, "{name}: {}", answer.status());
            ensure!(wall.shop.take().is_empty(), "{name}");
            ensure!(!answer.text().contains(token.as_str()), "{answer:?}");
        }
        // What is another's credential passes beside ours, and alone.
        for lines in
            [&[&b"Cookie: __Host-session={T}"[..], b"Authorization: Basic YTpi"][..], &[b"authorization: bearer {T}"]]
        {
            let answer = send(&wall, "GET", "/x", lines, token).await?;
            ensure!(answer.status() == 200, "{answer:?}");
            let seen = wall.shop.take().pop().context("nothing arrived")?;
            nothing_of_ours(&seen, token)?;
            ensure!(seen.0.header("authorization").len() == lines.len() - 1, "{seen:?}");
        }
    }
    Ok(())
}

/// Where credentials are not looked at they are taken off all the same, in every form that some server would find.
async fn open_paths(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let token = &town.customer.token;
    let more: [&[&[u8]]; 8] = [
        &[b"Authorization: Bearer {T}"],
        &[b"authorization: BEARER   {T}"],
        &[b"Authorization: Token {T}"],
        &[b"Authorization: Bearer \"{T}\""],
        &[b"Authorization: {T}"],
        &[b"Authorization: Bearer {T}, {T}"],
        &[b"Cookie: __Host-session=\"{T}\""],
        &[b"Cookie: a=1; __Host-session={T}; b=2; __Host-session={T}; c=3"],
    ];
    for wall in town.walls(version).await? {
        for lines in AMBIGUOUS.into_iter().chain(more) {
            let answer = send(&wall, "GET", "/public", lines, token).await?;
            let name = format!("{:?}: {}", wall.setting, lines.join(&b' ').escape_ascii());
            let seen = wall.shop.take();
            ensure!(answer.status() == 200 && seen.len() == 1, "{name}: {answer:?} {seen:?}");
            nothing_of_ours(&seen[0], token).context(name)?;
        }
        // What is not ours stays, byte for byte.
        for lines in [&[&b"Authorization: Basic YTpi"[..]][..], &[b"Authorization: Bearer eyJhbGciOiJub25lIn0.e30."]] {
            ensure!(send(&wall, "GET", "/public", lines, token).await?.status() == 200);
            let seen = wall.shop.take().pop().context("nothing arrived")?;
            let want = String::from_utf8_lossy(&lines[0][15..]).into_owned();
            ensure!(seen.0.header("authorization") == [want], "{seen:?}");
        }
        let lines: [&[u8]; 1] = [b"Cookie: a=1; __Host-session={T}; b=2; __Host-session={T}; c=3"];
        ensure!(send(&wall, "GET", "/public", &lines, token).await?.status() == 200);
        let seen = wall.shop.take().pop().context("nothing arrived")?;
        ensure!(seen.0.header("cookie") == ["a=1; b=2; c=3"], "{seen:?}");
    }
    Ok(())
}

/// What a browser says about the page that sent the request, and whether it may use our cookie.
const CROSS_SITE: [(&str, &[&[u8]], bool); 28] = [
    ("POST", &[], true), // no browser
    ("POST", &[b"Sec-Fetch-Site: same-origin"], true),
    ("POST", &[b"Sec-Fetch-Site: none"], true),
    ("POST", &[b"Sec-Fetch-Site: same-site"], false),
    ("POST", &[b"Sec-Fetch-Site: cross-site"], false),
    ("POST", &[b"Sec-Fetch-Site: "], false),
    ("POST", &[b"Sec-Fetch-Site: same-origin", b"Sec-Fetch-Site: cross-site"], false),
    ("POST", &[b"Sec-Fetch-Site: same-origin,cross-site"], false),
    ("POST", &[b"Sec-Fetch-Site: cross-site", b"Origin: http://shop.example"], false),
    ("POST", &[b"Sec-Fetch-Site: cross-site", b"Origin: https://partner.example"], true),
    ("POST", &[b"Origin: https://partner.example"], true),
    ("POST", &[b"Origin: https://partner.example.evil.example"], false),
    ("POST", &[b"Origin: http://partner.example"], false),
    ("POST", &[b"Origin: https://shop.example"], true), // TLS may end before the proxy
    ("POST", &[b"Origin: https://shop.example:444"], false),
    ("POST", &[b"Origin: http://shop.example"], true), // the request came without TLS
    ("POST", &[b"Origin: https://evil.example"], false),
    ("POST", &[b"Origin: https://shop.example.evil.example"], false),
    ("POST", &[b"Origin: https://shop.example@evil.example"], false),
    ("POST", &[b"Origin: null"], false),
    ("POST", &[b"Origin: "], false),
    ("POST", &[b"Origin: http://shop.example", b"Origin: https://evil.example"], false),
    ("PUT", &[b"Sec-Fetch-Site: cross-site"], false),
    ("PATCH", &[b"Origin: https://evil.example"], false),
    ("GET", &[b"Sec-Fetch-Site: cross-site", b"Origin: https://evil.example"], true),
    ("HEAD", &[b"Sec-Fetch-Site: cross-site"], true),
    ("OPTIONS", &[b"Origin: https://evil.example"], true),
    ("GET", &[b"Sec-Fetch-Site: cross-site", b"X-HTTP-Method-Override: PATCH"], false),
];

const WEBSOCKET: [&[u8]; 4] = [
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

async fn cross_site(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let token = &town.customer.token;
    let cookie: &[u8] = b"Cookie: __Host-session={T}";
    for setting in Setting::all(version) {
        let wall = town
            .wall_with(setting, |config| {
                let manager = config.connection_manager()?;
                manager["upgrade_configs"] = json!([{ "upgrade_type": "websocket" }]);
                manager["http2_protocol_options"] = json!({ "allow_connect": true });
                Ok(())
            })
            .await?;
        let sent = async |method: &str, lines: &[&[u8]], served: bool| -> Result<()> {
            let answer = send(&wall, method, "/x", &[&[cookie], lines].concat(), token).await?;
            let name = format!("{setting:?}: {method} {}", lines.join(&b' ').escape_ascii());
            ensure!(answer.status() == if served { 200 } else { 403 }, "{name}: {}", answer.status());
            ensure!(wall.shop.take().len() == usize::from(served), "{name}");
            // A token that a page cannot send by itself does not need the defence.
            let bearer = &b"Authorization: Bearer {T}"[..];
            let answer = send(&wall, method, "/x", &[&[bearer], lines].concat(), token).await?;
            ensure!(answer.status() == 200 && wall.shop.take().len() == 1, "{name}: bearer: {}", answer.status());
            Ok(())
        };
        for (method, lines, served) in CROSS_SITE {
            sent(method, lines, served).await?;
            // An upgrade is as good as an unsafe method.
            if method == "POST" {
                sent("GET", &[&WEBSOCKET, lines].concat(), served).await?;
            }
        }
        for upgrade in ["WebSocket", "WEBSOCKET"] {
            let line = format!("Upgrade: {upgrade}");
            sent("GET", &[b"Connection: upgrade", line.as_bytes(), b"Sec-Fetch-Site: cross-site"], false).await?;
        }
        extended_connect(&wall, token).await?;
    }
    Ok(())
}

/// A WebSocket over HTTP/2 (RFC 8441).
async fn extended_connect(wall: &Wall, token: &str) -> Result<()> {
    let cookie = format!("__Host-session={token}");
    for (site, served) in [("same-origin", true), ("cross-site", false), ("same-site", false)] {
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", "/x"),
            ("cookie", &cookie),
            ("sec-websocket-version", "13"),
            ("sec-fetch-site", site),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let status = http2::exchange(wall.envoy.address(), &fields, None).await?;
        let arrived = wall.shop.take().len();
        ensure!(arrived == usize::from(served), "{:?}: {site}: {status:?}, {arrived} arrived", wall.setting);
        ensure!(served || status == Some(403), "{:?}: {site}: {status:?}", wall.setting);
    }
    Ok(())
}

async fn rotated(version: EnvoyVersion) -> Result<()> {
    let town = Town::with(|mut options| {
        options.config = json!({ "sessions": { "rotate": { "every": "1s" } } });
        options
    })
    .await?;
    let answer = |_: &SeenRequest| {
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nCache-Control: max-age=60\r\n\
          CDN-Cache-Control: max-age=60\r\nSurrogate-Control: max-age=60\r\nExpires: tomorrow\r\nContent-Length: 0\r\n\r\n".to_vec()
    };
    let setting = Setting::all(version)[0];
    let wall = town.wall_before(setting, Sloppy::answering(answer).await?, |_| Ok(())).await?;
    let token = &town.customer.token;
    let last = std::cell::RefCell::new(Message::default());
    wait_until(Duration::from_secs(30), "rotation", async || {
        let answer = send(&wall, "GET", "/x", &[b"Cookie: __Host-session={T}"], token).await.unwrap();
        let rotated = answer.header("set-cookie").len() > 2;
        last.replace(answer);
        rotated
    })
    .await?;
    let last = last.into_inner();
    let set = last.header("set-cookie");
    ensure!(last.status() == 200 && set.len() == 3, "{last:?}");
    ensure!(set[..2] == ["a=1; Path=/", "b=2"], "{set:?}");
    let (pair, attributes) = set[2].split_once("; ").context("attributes")?;
    ensure!(attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="), "{attributes}");
    ensure!(last.header("cache-control") == ["no-store"], "{last:?}");
    for (name, value) in [("cdn-cache-control", "no-store"), ("surrogate-control", "no-store"), ("expires", "0")] {
        ensure!(last.header(name) == [value], "{last:?}");
    }
    let new = pair.strip_prefix("__Host-session=").context("our name")?;
    ensure!(new != token);
    wall.shop.take();
    // The new one counts, and does not reach the service either.
    ensure!(send(&wall, "GET", "/x", &[b"Cookie: __Host-session={T}"], new).await?.status() == 200);
    nothing_of_ours(&wall.shop.take()[0], new)?;
    // A token that does not travel in a cookie is not exchanged behind its owner's back.
    let bearer = send(&wall, "GET", "/x", &[b"Authorization: Bearer {T}"], new).await?;
    ensure!(bearer.header("set-cookie").len() == 2, "{bearer:?}");
    Ok(())
}

async fn dead(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for wall in town.walls(version).await? {
        let session = town.gate.create_session(&json!({ "subject": "eve" })).await?;
        let cookie: [&[u8]; 1] = [b"Cookie: a=1; __Host-session={T}"];
        ensure!(send(&wall, "GET", "/x", &cookie, &session.token).await?.status() == 200);
        town.gate.revoke_session(&session.sid).await?;
        wall.shop.take();
        let answer = send(&wall, "GET", "/x", &cookie, &session.token).await?;
        ensure!(answer.status() == 401 && wall.shop.take().is_empty(), "{answer:?}");
        let gone = "__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
        ensure!(answer.header("set-cookie") == [gone], "{answer:?}");
        ensure!(answer.header("cache-control") == ["no-store"], "{answer:?}");
        // Who sent no cookie has none to lose.
        let answer = send(&wall, "GET", "/x", &[b"Authorization: Bearer {T}"], &session.token).await?;
        ensure!(answer.status() == 401 && answer.header("set-cookie").is_empty(), "{answer:?}");
    }
    Ok(())
}
