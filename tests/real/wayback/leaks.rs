//! Nothing of ours leaves (P11): no spelling of a name of ours, in headers, trailers or interim answers, on routes with the way
//! back and without.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::EnvoyConfig;
use e2e::http2;
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;
use tokio::sync::Notify;

use super::way::{Way, Wire, answer};
use crate::attacks::HOST;
use crate::attacks_headers::{OURS, spellings};
use crate::on_every_envoy;

on_every_envoy! {
    p11_no_spelling_of_our_headers_leaves => shipped;
    p11_the_response_half_alone_takes_our_headers_off => response_half_alone;
    p11_no_interim_answer_brings_our_headers => interim;
    p11_answers_of_the_proxy_itself_have_no_header_of_ours => own_replies;
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
            // The same over HTTP/2, whose client libraries hide what they do not expect: one section of fields, and no other.
            let fields =
                [(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", target), ("cookie", &cookie)];
            let fields: Vec<http2::Field<'_>> =
                fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let sections = http2::field_sections(way.envoy.address(), &fields).await?;
            ensure!(sections == 1, "{status} {target}: {sections} sections");
        }
    }
    // An interim answer is no answer: what it wishes is not done.
    ensure!(way.claims("/off", &session).await?["claims"]["cart"] == json!(["mine"]));
    Ok(())
}

/// Routes that end in answers of Envoy's own: below `/cart/slow` the service takes too long, below `/cart/nobody` there is none, and
/// for what is neither there nor on the list of the shipped file there is no route.
fn dead_ends(config: &mut EnvoyConfig) -> Result<()> {
    let way_back = json!({ "envoy.filters.http.ext_proc": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", "overrides": {},
    } });
    for (prefix, cluster) in [("/cart/slow", "shop"), ("/cart/nobody", "nobody")] {
        config.route_first(json!({
            "match": { "prefix": prefix },
            "route": { "cluster": cluster, "timeout": "0.25s" },
            "typed_per_filter_config": way_back,
        }))?;
    }
    // Nobody listens on port 1.
    let address = json!({ "socket_address": { "address": "127.0.0.1", "port_value": 1 } });
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address } }] }]);
    config.cluster(json!({
        "name": "nobody",
        "type": "STATIC",
        "load_assignment": { "cluster_name": "nobody", "endpoints": endpoints },
    }))?;
    let routes = config.connection_manager()?.pointer_mut("/route_config/virtual_hosts/0/routes");
    let last = routes.and_then(|routes| routes.as_array_mut()?.last_mut()).context("a last route")?;
    last["match"] = json!({ "prefix": "/off" });
    Ok(())
}

/// A refusal, no route, no answer in time, nobody there: what the request or half an answer says of ours is in none of them.
async fn own_replies(version: EnvoyVersion) -> Result<()> {
    for alone in [false, true] {
        let way = Way::with(version, |config| {
            dead_ends(config)?;
            if alone {
                config.no_static_removal()?;
            }
            Ok(())
        })
        .await?;
        let session = way.gate.create_session(&json!({ "subject": "ada" })).await?;
        let dead = way.gate.create_session(&json!({ "subject": "bob" })).await?;
        way.gate.revoke_session(&dead.sid).await?;
        let forged = "x-session-jwt: forged\r\nx-session-end: current\r\nx-session-update: {\"cart\":[]}\r\n";
        let half = format!("HTTP/1.1 103 Early Hints\r\n{forged}\r\nHTTP/1.1 200 OK\r\n{forged}");
        way.answers(vec![Act::Send(half.into_bytes()), Act::Await(Arc::new(Notify::new()))]);
        for (target, token, status) in [
            ("/cart", None, 401),
            ("/cart", Some(&dead.token), 401),
            ("/off", None, 401),
            ("/elsewhere", Some(&session.token), 404),
            ("/cart/slow", Some(&session.token), 504),
            ("/cart/nobody", Some(&session.token), 503),
        ] {
            for wire in Wire::ALL {
                let cookie = token.map(|token| format!("__Host-session={token}"));
                let mut fields = vec![("x-session-jwt", "forged"), ("x-session-end", "current")];
                fields.extend(cookie.iter().map(|cookie| ("cookie", &**cookie)));
                let seen = way.ask_with(wire, "POST", target, &fields).await?;
                let name = format!("{wire:?} {target}, alone: {alone}: {seen:?}");
                ensure!(seen.status == status && seen.ours().is_empty() && !seen.contains("forged"), "{name}");
            }
        }
        way.claims("/off", &session.token).await?;
    }
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
                // On the way there it is named in any case: nothing passes otherwise.
                let rule = config.at_filter(
                    "envoy.filters.http.ext_authz",
                    "/decoder_header_mutation_rules/allow_expression/regex",
                )?;
                *rule = json!(format!("{}|x[^a-z0-9]user[^a-z0-9]jwt", rule.as_str().unwrap()));
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
