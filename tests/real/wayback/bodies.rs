//! Bodies in which a JWT is to be exchanged, and that are not what they should be: a JWT in one of them stays behind (P11), and an
//! answer without a body passes.

use anyhow::{Context as _, Result, ensure};
use e2e::sloppy::Act;
use e2e::tools::EnvoyVersion;
use serde_json::json;

use super::exchanges::{is_bad_gateway, new_token};
use super::way::{Way, Wire, answer_bytes, our_cookie};
use crate::on_every_envoy;

on_every_envoy! {
    p11_a_body_that_cannot_be_read_stays_behind => unreadable;
    p11_a_body_that_only_lenient_clients_read_stays_behind => lenient;
    p11_a_jwt_that_is_elsewhere_in_the_body_stays_behind => elsewhere;
    p11_a_jwt_in_the_body_stays_behind_when_a_command_is_beside_it => beside_a_command;
    an_answer_without_a_body_passes => bodiless;
}

const JSON: (&str, &[u8]) = ("content-type", b"application/json");

fn body(jwt: &str) -> String {
    json!({ "data": { "access_token": jwt } }).to_string()
}

async fn unreadable(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let said = body(&jwt);
    let twice = format!(r#"{{"data":{{"access_token":"{jwt}","access_token":"{jwt}"}}}}"#);
    let gzip = ("content-encoding", &b"gzip"[..]);
    let padded = |size: usize| answer_bytes(&[JSON], format!("{said}{}", " ".repeat(size)).as_bytes());
    for (what, target, acts, outcome) in [
        ("not held back", "/login/body", answer_bytes(&[JSON], said.as_bytes()), "not_buffered"),
        ("encoded", "/exchange/body", answer_bytes(&[JSON, gzip], said.as_bytes()), "unreadable_body"),
        ("twice", "/exchange/body", answer_bytes(&[JSON], twice.as_bytes()), "unreadable_body"),
    ] {
        for wire in Wire::ALL {
            way.answers(acts.clone());
            let before = (way.counted(outcome).await?, way.responses().await?);
            let seen = way.ask(wire, "POST", target, None).await?;
            ensure!(is_bad_gateway(&seen, &jwt), "{what}, {wire:?}: {seen:?}");
            let after = (way.counted(outcome).await?, way.responses().await?);
            ensure!(after == (before.0 + 1, before.1 + 1), "{what}, {wire:?}: {before:?}, then {after:?}");
        }
    }
    // Envoy's own bounds, and its own answer: 32 KiB over HTTP/1.1, 1 MiB over HTTP/2. Between them is ours, of 64 KiB.
    for (size, wires, status) in [
        (40_000, &[Wire::Http1][..], 500),
        (40_000, &[Wire::Http2], 200),
        (70_000, &[Wire::Http2], 502),
        (1_100_000, &Wire::ALL, 500),
    ] {
        for wire in wires {
            way.answers(padded(size));
            let seen = way.ask(*wire, "POST", "/exchange/body", None).await?;
            ensure!(seen.status == status && !seen.contains(&jwt), "{size}, {wire:?}: {seen:?}");
            ensure!(seen.header("set-cookie").is_empty() && seen.ours().is_empty(), "{size}, {wire:?}: {seen:?}");
        }
    }
    Ok(())
}

/// What strict JSON is not, and some library reads all the same.
async fn lenient(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let planted = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
    let said = body(&jwt);
    let open = said.strip_suffix("}}").unwrap_or(&said);
    let wide =
        |mark: &[u8], unit: fn(u16) -> [u8; 2]| [mark.to_vec(), said.encode_utf16().flat_map(unit).collect()].concat();
    let text = |text: String| text.into_bytes();
    for (what, bytes) in [
        ("something behind it", text(format!("{said} {{}}"))),
        ("itself behind it", text(format!("{said}\n{said}"))),
        ("a comma too many", text(format!("{open}}},}}"))),
        ("a comma too many inside", text(format!("{open},}}}}"))),
        ("no end", text(open.to_owned())),
        ("a comment", text(format!("{open}}}/**/}}"))),
        ("a comment before it", text(format!("{{/**/{}", &said[1..]))),
        ("single quotes", text(said.replace('"', "'"))),
        ("bare names", text(said.replace(r#""data""#, "data"))),
        ("no UTF-8", [&b"{\"note\":\"\xff\","[..], &said.as_bytes()[1..]].concat()),
        ("half a pair as a name", text(format!(r#"{{"\ud800":1,{}"#, &said[1..]))),
        ("no number", text(format!(r#"{{"note":NaN,{}"#, &said[1..]))),
        ("a prefix", text(format!(")]}}',\n{said}"))),
        ("UTF-16", wide(b"\xff\xfe", u16::to_le_bytes)),
        ("UTF-16, the other way", wide(b"\xfe\xff", u16::to_be_bytes)),
        ("UTF-16 without a mark", wide(b"", u16::to_le_bytes)),
        ("UTF-16 without a mark, the other way", wide(b"", u16::to_be_bytes)),
    ] {
        for wire in Wire::ALL {
            way.answers(answer_bytes(&[JSON], &bytes));
            let before = (way.counted("unreadable_body").await?, way.responses().await?);
            let seen = way.ask(wire, "POST", "/exchange/body", Some(&planted)).await?;
            let name = format!("{what}, {wire:?}: {seen:?}");
            ensure!(is_bad_gateway(&seen, &jwt), "{name}");
            let after = (way.counted("unreadable_body").await?, way.responses().await?);
            ensure!(after == (before.0 + 1, before.1 + 1), "{before:?}, then {after:?}: {name}");
        }
    }
    ensure!(way.sids("bob").await?.len() == 1);
    // The mark of UTF-8 is read over, as browsers do; and half a pair in another text is JSON to the letter.
    let marked = [b"\xef\xbb\xbf", said.as_bytes()].concat();
    for whole in [marked, text(format!(r#"{{"note":"\ud800",{}"#, &said[1..]))] {
        for wire in Wire::ALL {
            way.answers(answer_bytes(&[JSON], &whole));
            let seen = way.ask(wire, "POST", "/exchange/body", None).await?;
            ensure!(seen.status == 200 && !seen.contains(&jwt), "{wire:?}: {seen:?}");
            let (before, after) = String::from_utf8(whole.clone())?.split_once(&jwt).map(owned).context("no JWT")?;
            let got = String::from_utf8(seen.body)?;
            let token = got.strip_prefix(&before).and_then(|rest| rest.strip_suffix(&after)).context("another body")?;
            ensure!(way.claims("/cart", token).await?["sub"] == "ada", "{wire:?}");
        }
    }
    Ok(())
}

fn owned((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

/// Not where the rule looks for it, and a JWT all the same.
async fn elsewhere(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let said = body(&jwt);
    let html = ("content-type", &b"text/html"[..]);
    let range = ("content-range", &b"bytes 0-9/10"[..]);
    let part = |bytes: &[u8]| {
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        );
        vec![Act::Send([head.as_bytes(), bytes].concat())]
    };
    for (what, acts) in [
        ("another name", answer_bytes(&[JSON], format!(r#"{{"token":"{jwt}"}}"#).as_bytes())),
        ("another letter case", answer_bytes(&[JSON], said.replace("access_token", "Access_Token").as_bytes())),
        ("a list", answer_bytes(&[JSON], format!("[{said}]").as_bytes())),
        ("a text", answer_bytes(&[JSON], format!("\"{jwt}\"").as_bytes())),
        ("a page", answer_bytes(&[html], format!("<script>token = '{jwt}'</script>").as_bytes())),
        ("no type", answer_bytes(&[], jwt.as_bytes())),
        ("a form", answer_bytes(&[], format!("token_type=bearer&access_token={jwt}").as_bytes())),
        ("a part", part(said.as_bytes())),
        ("a part of it", part(&said.as_bytes()[4..said.len() - 9])),
        ("a part, as it is told", answer_bytes(&[JSON, range], said.as_bytes())),
    ] {
        for wire in Wire::ALL {
            way.answers(acts.clone());
            let before = (way.counted("unreadable_body").await?, way.responses().await?);
            let seen = way.ask(wire, "POST", "/exchange/body", None).await?;
            let name = format!("{what}, {wire:?}: {seen:?}");
            ensure!(is_bad_gateway(&seen, &jwt), "{name}");
            let after = (way.counted("unreadable_body").await?, way.responses().await?);
            ensure!(after == (before.0 + 1, before.1 + 1), "{before:?}, then {after:?}: {name}");
        }
    }
    Ok(())
}

/// A rule that makes sessions of commands and of JWTs: whatever becomes of the command, the JWT does not pass.
async fn beside_a_command(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    let said = body(&jwt);
    let create = |value: &'static [u8]| ("x-session-create", value);
    let end = ("x-session-end", &b"current"[..]);
    // What the service asks for besides, how that is counted, what its client gets, and whether the session that it came with
    // lives on. Where no command is left to be done, the JWT is exchanged.
    for (what, commands, outcome, status, lives) in [
        ("refused by its bounds", vec![create(br#"{"subject":""}"#)], "out_of_bounds", 502, true),
        ("refused as nonsense", vec![create(b"nonsense")], "malformed_command", 200, false),
        ("refused as repeated", vec![create(br#"{"subject":"eve"}"#); 2], "repeated_command", 200, false),
        ("done", vec![create(br#"{"subject":"eve"}"#)], "conflicting_commands", 502, false),
        ("an end", vec![end], "conflicting_commands", 502, false),
    ] {
        for wire in Wire::ALL {
            let planted = way.gate.create_session(&json!({ "subject": "bob" })).await?.token;
            let headers: Vec<_> = [JSON].into_iter().chain(commands.iter().copied()).collect();
            way.answers(answer_bytes(&headers, said.as_bytes()));
            let before = way.counted(outcome).await?;
            let seen = way.ask(wire, "POST", "/exchange/either", Some(&planted)).await?;
            let name = format!("{what}, {wire:?}: {seen:?}");
            ensure!(!seen.contains(&jwt) && seen.ours().is_empty(), "the JWT left: {name}");
            ensure!(seen.status == status, "{name}");
            ensure!(way.counted(outcome).await? == before + 1, "{outcome} is not counted: {name}");
            way.answers(answer_bytes(&[], b"hi"));
            let old = way.ask(Wire::Http1, "GET", "/off", Some(&planted)).await?.status;
            ensure!(old == if lives { 200 } else { 401 }, "{old} for the old session: {name}");
            if status == 200 {
                let token = new_token("/exchange/body", &seen)?;
                ensure!(way.claims("/cart", &token).await?["sub"] == "ada", "{name}");
            } else {
                ensure!(is_bad_gateway(&seen, &jwt), "{name}");
            }
        }
    }
    // Either of them alone is done.
    way.answers(answer_bytes(&[JSON], said.as_bytes()));
    let seen = way.ask(Wire::Http1, "POST", "/exchange/either", None).await?;
    ensure!(seen.status == 200 && !seen.contains(&jwt), "{seen:?}");
    ensure!(way.claims("/cart", &new_token("/exchange/body", &seen)?).await?["sub"] == "ada");
    way.answers(answer_bytes(&[create(br#"{"subject":"eve"}"#)], b"hi"));
    let seen = way.ask(Wire::Http1, "POST", "/exchange/either", None).await?;
    ensure!(seen.status == 200 && seen.body == b"hi", "{seen:?}");
    ensure!(way.claims("/cart", &our_cookie(&seen)?.token).await?["sub"] == "eve");
    Ok(())
}

/// The answer to a HEAD tells the length of a body that does not come; 204 and 304 have none.
async fn bodiless(version: EnvoyVersion) -> Result<()> {
    let way = Way::open(version).await?;
    let head = |first: &str, rest: &str| {
        let lines = format!("HTTP/1.1 {first}\r\nContent-Type: application/json\r\nSet-Cookie: a=1\r\n{rest}\r\n");
        vec![Act::Send(lines.into_bytes())]
    };
    for (method, acts, status) in [
        ("HEAD", head("200 OK", "Content-Length: 200\r\n"), 200),
        ("HEAD", head("200 OK", "Transfer-Encoding: chunked\r\n"), 200),
        ("POST", head("200 OK", "Content-Length: 0\r\n"), 200),
        ("POST", head("204 No Content", ""), 204),
        ("GET", head("304 Not Modified", "ETag: \"x\"\r\n"), 304),
    ] {
        for target in ["/exchange/body", "/login/header", "/login/cookie"] {
            for wire in Wire::ALL {
                way.answers(acts.clone());
                let before = (way.counted("stripped").await?, way.responses().await?);
                let seen = way.ask(wire, method, target, None).await?;
                let name = format!("{method} {target} {wire:?}: {seen:?}");
                ensure!(
                    seen.status == status && seen.body.is_empty() && seen.header("set-cookie") == ["a=1"],
                    "{name}"
                );
                let after = (way.counted("stripped").await?, way.responses().await?);
                ensure!(after == (before.0 + 1, before.1 + 1), "{before:?}, then {after:?}: {name}");
            }
        }
    }
    // Headers count there as anywhere.
    let jwt = way.jwt(&json!({ "sub": "ada", "aud": "cloakroom" }))?;
    for (method, first) in [("HEAD", "200 OK"), ("POST", "204 No Content")] {
        for wire in Wire::ALL {
            way.answers(head(first, &format!("X-Login-Jwt: {jwt}\r\n")));
            let seen = way.ask(wire, method, "/login/header", None).await?;
            ensure!(!seen.contains(&jwt) && first.starts_with(&seen.status.to_string()), "{method} {wire:?}: {seen:?}");
            let token = new_token("/login/header", &seen)?;
            ensure!(way.claims("/cart", &token).await?["sub"] == "ada", "{method} {wire:?}");
        }
    }
    Ok(())
}
