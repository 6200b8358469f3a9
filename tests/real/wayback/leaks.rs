//! Nothing of ours leaves (P11): no spelling of a name of ours, in headers, trailers or interim answers, on routes with the way
//! back and without.

use anyhow::{Result, ensure};
use e2e::http2;
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::way::{Way, Wire, answer};
use crate::attacks::HOST;
use crate::attacks_headers::{OURS, spellings};
use crate::on_every_envoy;

on_every_envoy! {
    p11_no_spelling_of_our_headers_leaves => shipped;
    p11_the_response_half_alone_takes_our_headers_off => response_half_alone;
    p11_no_interim_answer_brings_our_headers => interim;
    p11_a_renamed_jwt_header_does_not_leave => renamed;
}

const STATUSES: [&str; 5] = ["200 OK", "302 Found", "401 Unauthorized", "500 Oops", "304 Not Modified"];

/// Every spelling, in sets of as many fields as Envoy takes with some beside them.
fn sets() -> Vec<String> {
    let names: Vec<String> = OURS.into_iter().flat_map(spellings).collect();
    let lines = |names: &[String]| names.iter().map(|name| format!("{name}: forged\r\n")).collect();
    names.chunks(60).map(lines).collect()
}

/// An answer that says `forged` in interim answers, headers and trailers.
fn leaky(status: &str, forged: &str) -> Vec<u8> {
    if status.starts_with("304") {
        return format!("HTTP/1.1 {status}\r\n{forged}X-Sessions-Count: mine\r\n\r\n").into_bytes();
    }
    format!(
        "HTTP/1.1 103 Early Hints\r\n{forged}\r\nHTTP/1.1 {status}\r\n{forged}X-Sessions-Count: mine\r\n\
         Set-Cookie: a=1\r\nTrailer: x-checksum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{forged}X-Checksum: mine\r\n\r\n"
    )
    .into_bytes()
}

/// `trailers`: whether what the trailers say counts.
async fn nothing_leaves(way: &Way, targets: &[&str], trailers: bool) -> Result<()> {
    let session = way.gate.create_session(&json!({ "subject": "ada" })).await?.token;
    for forged in sets() {
        for (target, status) in targets.iter().flat_map(|target| STATUSES.map(|status| (*target, status))) {
            let public = target.starts_with("/login") || target.starts_with("/exchange");
            way.answers(vec![Act::Send(leaky(status, &forged))]);
            for wire in Wire::ALL {
                let mut seen = way.ask(wire, "GET", target, (!public).then_some(&session)).await?;
                let name = format!("{wire:?} {target} {status}: {seen:?}");
                ensure!(status.starts_with(&seen.status.to_string()), "{name}");
                // What is not ours passes, or this test would not see a removal at all.
                ensure!(seen.header("x-sessions-count") == ["mine"], "{name}");
                if !trailers {
                    seen.trailers.clear();
                } else if !seen.body.is_empty() {
                    ensure!(seen.trailers.iter().any(|(it, _)| it.eq_ignore_ascii_case("x-checksum")), "{name}");
                }
                ensure!(seen.ours().is_empty() && !seen.contains("forged"), "{name}");
            }
        }
    }
    Ok(())
}

async fn shipped(version: EnvoyVersion) -> Result<()> {
    let way = Way::with(version, |config| config.http1_trailers().map(drop)).await?;
    nothing_leaves(&way, &["/cart", "/cart/plain", "/off"], true).await?;
    // The log-in cluster takes no trailers of HTTP/1.1.
    nothing_leaves(&way, &["/login", "/login/public", "/exchange/body"], false).await
}

/// Where a proxy has no static removal, headers are still taken off; trailers need it.
async fn response_half_alone(version: EnvoyVersion) -> Result<()> {
    let way = Way::with(version, |config| config.no_static_removal().map(drop)).await?;
    nothing_leaves(&way, &["/cart", "/cart/plain", "/login", "/login/public", "/exchange/body"], false).await
}

/// 100, 102, 103: none brings anything, also when the client asked for one.
async fn interim(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let session = way.gate.create_session(&json!({ "subject": "ada", "claims": { "cart": ["mine"] } })).await?.token;
    let cookie = format!("__Host-session={session}");
    let forged = "x-session-jwt: forged\r\nX_Session_Update: {\"cart\":[]}\r\nx-session-update: {\"cart\":[]}\r\nx-session-end: current\r\n";
    for status in ["100 Continue", "102 Processing", "103 Early Hints", "199 Odd"] {
        for target in ["/cart", "/logout", "/off"] {
            let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
            let twice = format!("HTTP/1.1 {status}\r\n{forged}\r\nHTTP/1.1 {status}\r\n{forged}\r\n{last}");
            way.answers(vec![Act::Send(twice.into_bytes())]);
            for expect in [
                &[("cookie", &*cookie)][..],
                &[("cookie", &*cookie), ("expect", "100-continue"), ("content-length", "0")],
            ] {
                let mut connection = way.sent("POST", target, expect).await?;
                loop {
                    let seen: super::way::Seen = connection.any_response(false).await?.into();
                    ensure!(seen.ours().is_empty() && !seen.contains("forged"), "{status} {target}: {seen:?}");
                    if seen.status >= 200 {
                        break;
                    }
                }
            }
        }
    }
    // The same over HTTP/2, whose client libraries hide what they do not expect: one section of fields, and no other.
    for target in ["/cart", "/off"] {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", target), ("cookie", &cookie)];
        let fields: Vec<http2::Field<'_>> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let sections = http2::field_sections(way.envoy.address(), &fields).await?;
        ensure!(sections == 1, "{target}: {sections} sections");
    }
    // An interim answer is no answer: what it wishes is not done.
    ensure!(way.claims("/off", &session).await?["claims"]["cart"] == json!(["mine"]));
    Ok(())
}

/// `jwt.header` has another name. Who forgets to say so in the proxy's rules gets 503, and no leak.
async fn renamed(version: EnvoyVersion) -> Result<()> {
    for (told, status) in [(true, 200), (false, 503)] {
        let way = Way::with_both(
            version,
            |mut options| {
                options.config["jwt"] = json!({ "header": "x-user-jwt" });
                options
            },
            |config| {
                if told {
                    let rule =
                        config.at_filter("envoy.filters.http.ext_proc", "/mutation_rules/allow_expression/regex")?;
                    *rule = json!(rule.as_str().unwrap().replace("x-login-jwt", "x[!-~]user[!-~]jwt"));
                }
                Ok(())
            },
        )
        .await?;
        for spelling in ["x-user-jwt", "X-User-Jwt", "x.user.jwt", "x_user_jwt"] {
            way.answers(answer(&[(spelling, "forged"), ("x-session-jwt", "forged")]));
            let seen = way.ask(Wire::Http1, "GET", "/login", None).await?;
            ensure!(
                seen.status == status && !seen.contains("forged") && seen.ours().is_empty(),
                "{spelling}: {seen:?}"
            );
        }
    }
    Ok(())
}
