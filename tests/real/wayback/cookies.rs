//! The service's own `Set-Cookie` lines are none of our business: they arrive byte for byte and in order, with ours beside them
//! (P14).

use anyhow::{Result, ensure};
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::way::{Way, Wire, answer_bytes};
use crate::on_every_envoy;

on_every_envoy! {
    p14_the_services_cookies_arrive_byte_for_byte => byte_for_byte;
    p14_an_exchanged_cookie_leaves_the_others_alone => beside_an_exchange;
}

/// Sets of lines, from none to many, and of shapes that parsers stumble over.
fn sets() -> Vec<Vec<Vec<u8>>> {
    let many = (0..60).map(|n| format!("c{n}=v{n}; Path=/{n}; Max-Age={n}").into_bytes()).collect();
    let odd: [&[u8]; 18] = [
        b"a=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        b"a=1; Path=/; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
        b"a=2; Path=/",
        b"A=3",
        b"=nameless",
        b"valueless",
        b"empty=",
        b"q=\"quo;ted, and \\\" more\"",
        b"comma=a,b, c",
        b"tabs=a\tb\t;\tPath=/",
        b"latin=caf\xe9; Path=/",
        b"utf8=\xe2\x9c\x93\xf0\x9f\x8d\xaa",
        b"bytes=\x80\xfe\xff",
        b"semi;;;;; ;;",
        b"session=of the service's own; HttpOnly",
        b"__Host-other=x; Path=/; Secure",
        b"__Secure-__Host-session=y; Path=/; Secure",
        b"pct=%5f%5fHost-session%3d",
    ];
    let long = [b"long=".to_vec(), vec![b'x'; 4000]].concat();
    vec![vec![], vec![b"one=1".to_vec()], many, odd.map(<[u8]>::to_vec).to_vec(), vec![long; 4]]
}

async fn byte_for_byte(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    for lines in sets() {
        // What the service wishes, where, and whether a cookie of ours comes of it.
        for (target, wish, ours) in [
            ("/login", Some(("x-session-create", &br#"{"subject":"ada"}"#[..])), true),
            ("/login", Some(("x-session-create", b"nonsense")), false),
            ("/login", None, false),
            ("/cart", Some(("x-session-update", br#"{"cart":[1]}"#)), false),
            ("/cart", None, false),
            ("/logout", Some(("x-session-end", b"current")), true),
            ("/exchange/body", None, false),
            ("/off", None, false),
        ] {
            for wire in Wire::ALL {
                let public = target.starts_with("/login") || target.starts_with("/exchange");
                let session = match public {
                    true => None,
                    false => Some(way.gate.create_session(&json!({ "subject": "ada" })).await?.token),
                };
                let (before, after) = lines.split_at(lines.len() / 2);
                let mut headers: Vec<(&str, &[u8])> = before.iter().map(|line| ("Set-Cookie", &**line)).collect();
                headers.extend(wish);
                headers.extend(after.iter().map(|line| ("sEt-cOOkie", &**line)));
                way.answers(answer_bytes(&headers, b"{}"));
                let seen = way.ask(wire, "POST", target, session.as_deref()).await?;
                let name = format!("{wire:?} {target} {wish:?}, {} lines", lines.len());
                ensure!(seen.status == 200, "{name}: {seen:?}");
                let (mine, theirs): (Vec<_>, Vec<_>) =
                    seen.header_bytes("set-cookie").into_iter().partition(|line| line.starts_with(b"__Host-session="));
                ensure!(theirs == lines, "{name}: {seen:?}");
                ensure!(mine.len() == usize::from(ours), "{name}: {seen:?}");
            }
        }
    }
    Ok(())
}

/// The JWT's own cookie goes, and no other.
async fn beside_an_exchange(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let with_jwt = format!("app_jwt={jwt}; Path=/; HttpOnly");
    for lines in sets() {
        for wire in Wire::ALL {
            let mut headers: Vec<(&str, &[u8])> = lines.iter().map(|line| ("Set-Cookie", &**line)).collect();
            headers.insert(lines.len() / 3, ("Set-Cookie", with_jwt.as_bytes()));
            way.answers(answer_bytes(&headers, b"hi"));
            let seen = way.ask(wire, "POST", "/login/cookie", None).await?;
            ensure!(seen.status == 200 && !seen.contains(&jwt), "{wire:?}: {seen:?}");
            let (mine, theirs): (Vec<_>, Vec<_>) =
                seen.header_bytes("set-cookie").into_iter().partition(|line| line.starts_with(b"__Host-session="));
            ensure!(theirs == lines && mine.len() == 1, "{wire:?}, {} lines: {seen:?}", lines.len());
        }
    }
    Ok(())
}
