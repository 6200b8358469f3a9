//! Who may speak for identity: nothing that a client sends, in any spelling, place or framing, arrives as one of our headers
//! (P7), and nothing that a service answers in them leaves (P11).

use anyhow::{Context as _, Result, ensure};
use e2e::envoy::{EnvoyConfig, GateAddress};
use e2e::http1::Connection;
use e2e::http2;
use e2e::sloppy::{SeenRequest, Sloppy};
use e2e::tools::EnvoyVersion;

use crate::attacks::{HOST, Setting, Shot, Town, Wall, Who, Wire, offence};
use crate::on_each_envoy;

on_each_envoy! {
    p07_no_spelling_of_our_headers_arrives => spellings_in_headers;
    p07_no_spelling_of_our_headers_arrives_in_trailers => trailers;
    p07_no_framing_brings_our_headers_in => framings;
    p07_no_spelling_arrives_while_the_gate_is_away => unchecked;
    p11_nothing_of_ours_leaves => responses;
}

/// The names in use, and one that is ours all the same.
pub(crate) const OURS: [&str; 5] =
    ["x-session-jwt", "x-session-create", "x-session-update", "x-session-end", "x-session-color"];

/// Ways to write a name of ours so that some server takes it for that name.
pub(crate) fn spellings(name: &str) -> Vec<String> {
    let mut all =
        vec![name.to_owned(), name.to_ascii_uppercase(), name.replace("session", "Session"), name.replace("x-", "X-")];
    for sign in ["_", ".", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|", "~"] {
        all.extend([
            name.replace('-', sign),
            name.replacen('-', sign, 1),
            name.to_ascii_uppercase().replace('-', sign),
        ]);
        let (start, end) = name.rsplit_once('-').unwrap();
        all.push(format!("{start}{sign}{end}"));
    }
    all
}

/// Spellings that are no names at all: a lenient parser would still find ours.
fn broken(name: &str) -> Vec<String> {
    let (start, end) = name.split_once('-').unwrap();
    vec![
        format!("{name} "),
        format!("{name}\t"),
        format!(" {name}"),
        format!("\t{name}"),
        format!("{name}\0"),
        format!("{start} {end}"),
        format!("{start}\0{end}"),
        format!("{start}\u{2010}{end}"),
        format!("{start}\u{ad}-{end}"),
        format!("\u{feff}{name}"),
        format!("\"{name}\""),
        format!("X-A: b\r{name}"),
        format!("X-A: b\n{name}"),
        format!("X-A: b\r\r\n{name}"),
        format!("X-A: b\0\r\n{name}"),
        format!("X-A: b\r\n {name}"),
        format!("X-A: b\r\n\t{name}"),
        format!("\r{name}"),
        format!(":{name}"),
    ]
}

/// What our header may be on a request that arrived: one that we minted, exactly where there is a session.
fn identity(seen: &SeenRequest, has_session: bool) -> Result<()> {
    for name in OURS {
        let found = seen.header_readings(name);
        let is_ours = |value: &String| value.starts_with("ey") && value.split('.').count() == 3;
        let fine = match name {
            "x-session-jwt" if has_session => found.len() == 1 && is_ours(&found[0]),
            _ => found.is_empty(),
        };
        ensure!(fine, "{name} arrived as {found:?}: {seen:?}");
    }
    Ok(())
}

/// A wall of the shipped file, and one without its static removal of our headers: then the gate does it alone.
async fn both_walls(town: &Town, setting: Setting) -> Result<[Wall; 2]> {
    let shipped = town.wall_with(setting, |config| config.unchecked("/public/open").map(drop)).await?;
    let gate_alone = town.wall_with(setting, |config| config.no_static_removal().map(drop)).await?;
    Ok([shipped, gate_alone])
}

async fn spellings_in_headers(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for setting in Setting::all(version) {
        let [shipped, gate_alone] = both_walls(&town, setting).await?;
        for (wall, unchecked) in [(shipped, true), (gate_alone, false)] {
            let mut shots = Vec::new();
            let mut routes = vec![
                (Who::Customer, "/x"),
                (Who::Nobody, "/public"),
                (Who::Customer, "/public"),
                (Who::Nobody, "/maybe"),
            ];
            if unchecked {
                routes.push((Who::Nobody, "/public/open"));
            }
            for (who, target) in routes {
                for name in OURS {
                    for spelling in spellings(name) {
                        let shot = Shot::get(who, target).field(&spelling, "forged");
                        shots.push(shot.clone().over(Wire::Http2));
                        shots.push(shot.clone().field(&spelling, "forged, too"));
                        shots.push(shot);
                    }
                    shots.extend(broken(name).iter().map(|spelling| Shot::get(who, target).field(spelling, "forged")));
                    let all = spellings(name);
                    let together = all.iter().fold(Shot::get(who, target), |shot, name| shot.field(name, "forged"));
                    shots.extend([together.clone(), together.over(Wire::Http2)]);
                }
                shots.push(Shot::get(who, target));
            }
            let outcome = wall.attack(&town, &shots).await?;
            for (case, seen) in &outcome.arrived {
                let shot = &shots[*case];
                let has_session = shot.target == b"/x";
                for seen in seen {
                    identity(seen, has_session).with_context(|| format!("{setting:?}: {}", shot.describe()))?;
                }
            }
            // A folded line takes our number of the request with it.
            for seen in &outcome.strangers {
                identity(seen, seen.target() == "/x").with_context(|| format!("{setting:?}"))?;
            }
            // Removed, and not refused for it: where the proxy takes any name, most arrive.
            let passed = outcome.arrived.len();
            let enough = if setting.strict { shots.len() / 3 } else { shots.len() / 2 };
            ensure!(passed > enough, "{setting:?}: only {passed} of {} arrived", shots.len());
        }
    }
    Ok(())
}

/// `forged` trailers behind an honest body. The second is no name of ours and has to pass.
async fn trailers(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for setting in Setting::all(version) {
        let wall =
            town.wall_with(setting, |config| config.http1_trailers()?.unchecked("/public/open").map(drop)).await?;
        let names: Vec<String> =
            OURS.into_iter().flat_map(spellings).filter(|it| !setting.strict || !it.contains('_')).collect();
        // Envoy takes a hundred fields.
        let rows = [(Who::Customer, "/x"), (Who::Nobody, "/public"), (Who::Nobody, "/public/open")];
        for ((who, target), names) in rows.into_iter().flat_map(|row| names.chunks(40).map(move |names| (row, names))) {
            let token = (who == Who::Customer).then_some(&town.customer.token);
            let cookie = token.map(|token| format!("__Host-session={token}"));
            let cookie_line = cookie.iter().map(|cookie| format!("Cookie: {cookie}\r\n")).collect::<String>();
            let forged: String = names.iter().map(|name| format!("{name}: forged\r\n")).collect();
            let request = format!(
                "POST {target} HTTP/1.1\r\nHost: {HOST}\r\n{cookie_line}TE: trailers\r\nTransfer-Encoding: chunked\r\n\
                 Trailer: x-session-jwt, x-checksum\r\n\r\n2\r\nhi\r\n0\r\n{forged}X-Checksum: mine\r\n{forged}\r\n"
            );
            let status = e2e::http1::exchange(wall.envoy.address(), request.as_bytes()).await?.status();
            let name = format!("{setting:?} {target}");
            ensure!(status == 200, "{name}: HTTP/1.1: {status}");

            let mut fields = vec![
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", HOST),
                (":path", target),
                ("te", "trailers"),
            ];
            fields.extend(cookie.as_deref().map(|cookie| ("cookie", cookie)));
            let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let lower: Vec<String> = names.iter().map(|it| it.to_ascii_lowercase()).collect();
            let mut trailers: Vec<http2::Field<'_>> = lower.iter().map(|it| (it.as_bytes(), &b"forged"[..])).collect();
            trailers.push((b"x-checksum", b"mine"));
            let status = http2::exchange(wall.envoy.address(), &fields, Some(&trailers)).await?;
            ensure!(status == Some(200), "{name}: HTTP/2: {status:?}");

            let seen = wall.shop.take();
            ensure!(seen.len() == 2, "{name}: {seen:?}");
            for seen in seen {
                identity(&seen, target == "/x").context(name.clone())?;
                ensure!(!seen.contains("forged"), "{name}: {seen:?}");
                ensure!(seen.0.trailer("x-checksum") == ["mine"], "{name}: trailers do not arrive at all: {seen:?}");
            }
        }
    }
    Ok(())
}

/// What a client can do to the framing of its request so that somebody finds a header of ours, or another request, in it.
async fn framings(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let cookie = format!("Cookie: __Host-session={}\r\n", town.customer.token);
    let bearer = format!("Authorization: Bearer {}\r\n", town.customer.token);
    let hidden = "GET /admin HTTP/1.1\r\nHost: shop.example\r\nX-Session-Jwt: forged\r\n\r\n";
    let length = hidden.len();
    let lines = [
        "Connection: x-session-jwt",
        "Connection: close, x-session-jwt",
        "Connection: X-Session-Jwt, cookie, authorization",
        "Connection: cookie",
        "Connection: authorization",
        "Connection: host",
        "Connection: x-forwarded-for, x-envoy-internal",
        "Connection: te\r\nTE: x-session-jwt",
        "Proxy-Connection: x-session-jwt",
        "Keep-Alive: x-session-jwt",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings, x-session-jwt\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        "Upgrade: websocket\r\nConnection: Upgrade, x-session-jwt",
        "Expect: 100-continue\r\nContent-Length: 0\r\nX-Session-Jwt: forged",
        "X-A: 1\r\n X-Session-Jwt: forged",
        "X-A: 1\r\n\tX-Session-Jwt: forged",
        "X-A: 1\rX-Session-Jwt: forged",
        "X-A: 1\nX-Session-Jwt: forged",
        "X-A: 1\r\rX-Session-Jwt: forged",
        "X-A: 1\0\nX-Session-Jwt: forged",
        "X-A: \r\n\r X-Session-Jwt: forged",
        "X-A\r\n : 1\r\nX-Session-Jwt: forged",
        "X-Session-Jwt:\r\n forged",
        "X-Session-Jwt\r\n: forged",
        "X-Session-Jwt",
        "X-Session-Jwt:",
        "X-Session-Jwt: ",
        "X-Session-Jwt: forged\r\nX-Session-Jwt: forged",
        "Trailer: x-session-jwt",
        "Transfer-Encoding: identity\r\nX-Session-Jwt: forged",
    ];
    let mut requests = Vec::new();
    for line in lines {
        for (target, credential) in
            [("/x", &*cookie), ("/x", &*bearer), ("/public", ""), ("/public", &*cookie), ("/public", &*bearer)]
        {
            for version in ["1.1", "1.0"] {
                requests.push(format!("GET {target} HTTP/{version}\r\nHost: {HOST}\r\n{credential}{line}\r\n\r\n"));
            }
        }
    }
    for (head, body) in [
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), format!("0\r\n\r\n{hidden}")),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked".into(), format!("0\r\n\r\n{hidden}")),
        (format!("Content-Length: 0\r\nContent-Length: {length}"), hidden.into()),
        (format!("Content-Length: 0, {length}"), hidden.into()),
        (format!("Content-Length: {length}"), hidden.into()),
        (format!("Content-Length: +{length}"), hidden.into()),
        (format!("Content-Length: 0x{length:x}"), hidden.into()),
        (format!("Content-Length : {length}"), hidden.into()),
        (format!("Content-Length:\x0b{length}"), hidden.into()),
        ("Transfer-Encoding: xchunked".into(), format!("0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked, identity".into(), format!("0\r\n\r\n{hidden}")),
        ("Transfer-Encoding : chunked".into(), format!("0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".into(), format!("0\r\n\r\n{hidden}")),
        ("Transfer-Encoding:\x0bchunked".into(), format!("0\r\n\r\n{hidden}")),
        ("X: y\r\n Transfer-Encoding: chunked".into(), format!("0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked".into(), format!("0;\n\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked".into(), format!("0\n\n{hidden}")),
        ("Transfer-Encoding: chunked".into(), format!("1\r\nhXX0\r\n\r\n{hidden}")),
        ("Transfer-Encoding: chunked".into(), format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n")),
        ("Expect: 100-continue\r\nContent-Length: 0".into(), hidden.into()),
        ("Upgrade: websocket\r\nConnection: Upgrade".into(), hidden.into()),
    ] {
        for credential in [&*cookie, ""] {
            requests.push(format!("POST /public HTTP/1.1\r\nHost: {HOST}\r\n{credential}{head}\r\n\r\n{body}"));
        }
    }
    requests.push(format!("CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}\r\n\r\n{hidden}"));
    requests.push(format!("GET /public\r\n\r\n{hidden}"));
    requests.push(format!("GET /public HTTP/1.1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    requests.push(format!("GET /public HTTP/1.1\r\nHost: {HOST}\r\n\r\n{hidden}"));
    requests.push(format!("GET /public\0 /admin HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    requests.push(format!("GET /public\n/admin HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    requests.push(format!(" GET /admin HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    requests.push(format!("\r\n\r\nGET /admin HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    for wall in town.walls(version).await? {
        let mut served = 0;
        for request in &requests {
            let mut connection = Connection::open(wall.envoy.address()).await?;
            connection.send(request.as_bytes()).await?;
            // Whoever reads two requests in it answers two: wait for both, so that none arrives later.
            let mut statuses = vec![connection.response(false).await.map_or(0, |answer| answer.status())];
            if request.contains(hidden) && (200..300).contains(&statuses[0]) {
                connection.finish().await?;
                statuses.extend(connection.response(false).await.ok().map(|answer| answer.status()));
            }
            for seen in wall.shop.take() {
                served += 1;
                let name = format!("{:?}: {statuses:?} {}", wall.setting, request.escape_debug());
                let who = if request.contains(&town.customer.token) { Who::Customer } else { Who::Nobody };
                if let Some(offence) = offence(&seen, who) {
                    anyhow::bail!("{name}: {offence}");
                }
                identity(&seen, seen.target() == "/x").context(name.clone())?;
                ensure!(!seen.contains(&town.customer.token), "{name}: the token arrived: {seen:?}");
            }
        }
        ensure!(served > requests.len() / 5, "{:?}: only {served} of {} arrived", wall.setting, requests.len());
    }
    Ok(())
}

/// Where the check is switched off, and nobody is there to be asked.
async fn unchecked(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    for setting in Setting::all(version) {
        let away = |config: &mut EnvoyConfig| {
            config.unchecked("/public/open")?.gate(&GateAddress::Unix("/nonexistent/gate.sock".into())).map(drop)
        };
        let wall = town.wall_with(setting, away).await?;
        let mut shots = Vec::new();
        for target in ["/public/open", "/public", "/x"] {
            for spelling in OURS.into_iter().flat_map(spellings) {
                let shot = Shot::get(Who::Nobody, target).field(&spelling, "forged").field("X-Sessions-Count", "mine");
                shots.extend([shot.clone(), shot.over(Wire::Http2)]);
            }
        }
        let outcome = wall.fire(&town, &shots).await;
        for (case, status) in outcome.statuses.iter().enumerate() {
            let shot = &shots[case];
            let name = format!("{setting:?}: {}", shot.describe());
            let seen = outcome.arrived.get(&case);
            // Envoy refuses the underscore, and what is no name to HTTP/2.
            let refused = setting.strict && shot.fields[0].0.contains('_');
            match (shot.target.as_slice(), refused) {
                (b"/public/open", false) => {
                    ensure!(*status == Some(200), "{name}: {status:?}");
                    let seen = &seen.context(name.clone())?[0];
                    identity(seen, false).context(name.clone())?;
                    ensure!(seen.0.header("x-sessions-count") == ["mine"], "{name}: {seen:?}");
                }
                (b"/public/open", true) => ensure!(seen.is_none(), "{name}: {seen:?}"),
                (_, refused) => {
                    ensure!(refused || *status == Some(503), "{name}: {status:?}");
                    ensure!(seen.is_none(), "{name}: {seen:?}");
                }
            }
        }
    }
    Ok(())
}

const STATUSES: [&str; 7] =
    ["200 OK", "201 Created", "302 Found", "401 Unauthorized", "500 Oops", "204 No Content", "304 Not Modified"];

/// A service that says all it can in our names, in interim answers, headers and trailers.
async fn responses(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let names: Vec<String> = OURS.into_iter().flat_map(spellings).collect();
    // Envoy takes a hundred fields.
    let lines = |names: &[String]| names.iter().map(|name| format!("{name}: forged\r\n")).collect::<String>();
    let sets: Vec<String> = names.chunks(60).map(lines).collect();
    for setting in Setting::all(version) {
        let answer = {
            let sets = sets.clone();
            move |request: &SeenRequest| {
                let set = request.0.header("x-set").first().and_then(|it| it.parse::<usize>().ok());
                let forged = &sets[set.unwrap_or_default()];
                let status = request.0.header("x-answer").first().cloned().unwrap_or_default();
                if matches!(&*status, "204 No Content" | "304 Not Modified") {
                    return format!("HTTP/1.1 {status}\r\n{forged}X-Sessions-Count: mine\r\n\r\n").into_bytes();
                }
                format!(
                    "HTTP/1.1 103 Early Hints\r\n{forged}\r\nHTTP/1.1 {status}\r\n{forged}X-Sessions-Count: mine\r\n\
                     Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nTrailer: x-checksum\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\nhi\r\n0\r\n{forged}X-Checksum: mine\r\n\r\n"
                )
                .into_bytes()
            }
        };
        let change = |config: &mut EnvoyConfig| config.http1_trailers()?.unchecked("/public/open").map(drop);
        let wall = town.wall_before(setting, Sloppy::answering(answer).await?, change).await?;
        for (target, credential) in [
            ("/x", format!("Cookie: __Host-session={}\r\n", town.customer.token)),
            ("/public", String::new()),
            ("/public/open", String::new()),
        ] {
            for (status, set) in STATUSES.into_iter().flat_map(|status| (0..sets.len()).map(move |set| (status, set))) {
                let name = format!("{setting:?} {target} {status}");
                let mut client = Connection::open(wall.envoy.address()).await?;
                let request = format!(
                    "GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{credential}TE: trailers\r\nX-Answer: {status}\r\nX-Set: {set}\r\n\r\n"
                );
                client.send(request.as_bytes()).await?;
                let answer = client.any_response(false).await?;
                ensure!(status.starts_with(&answer.status().to_string()), "{name}: {answer:?}");
                for (field, value) in answer.headers.iter().chain(&answer.trailers) {
                    let field = String::from_utf8_lossy(field);
                    ensure!(value != b"forged", "{name}: {field} left: {answer:?}");
                }
                ensure!(answer.header("x-sessions-count") == ["mine"], "{name}: {answer:?}");
                if !answer.body.is_empty() {
                    ensure!(answer.header("set-cookie") == ["a=1; Path=/", "b=2"], "{name}: {answer:?}");
                    ensure!(answer.trailer("x-checksum") == ["mine"], "{name}: {answer:?}");
                }
            }
        }
    }
    Ok(())
}
