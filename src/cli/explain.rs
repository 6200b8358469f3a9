//! `cloakroom explain`: which policy and rule a request would meet at the running gate, and why.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, ensure};
use reqwest::{Method, Url};
use serde_json::Value;

use super::client::{HttpClient, read_secret};
use super::output::{self, Output, Table};
use super::written::WrittenArgs;
use crate::admin::explain::{ExplainRequest, HeaderField};
use crate::admin::session_api::document::TokenText;
use crate::authz;
use crate::authz::attributes::{RawRequest, RequestAttributes, RouteClaim};
use crate::authz::plan::explain::Explanation;
use crate::authz::policy::PolicyIndex;
use crate::authz::session::Timestamp;

/// Explains what a request would meet at the running gate: policy, rule, session, verdict and headers. With `--policies` or
/// `--kubernetes` no gate is asked: the policies are compiled as they are written, and sessions are not looked up.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cloakroom explain GET https://shop.example/cart --token-file token
  cloakroom explain POST https://shop.example/admin --policies policies/
  cloakroom explain GET https://shop.example/cart --kubernetes --context dev")]
pub struct ExplainArgs {
    /// The method, such as GET
    method: String,
    /// The address, such as `https://shop.example/cart?x=1`; path and query are taken as they are written
    url: String,
    /// A header, as `name: value`; may come more than once
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<HeaderField>,
    /// The route that the proxy would name, as `HTTPRoute/NAMESPACE/NAME` or with `/RULE`
    #[arg(long, value_name = "ROUTE")]
    route: Option<String>,
    /// The `Cookie` header; a token is better read with --token-file, since others can see the command line
    #[arg(long, value_name = "COOKIES")]
    cookie: Option<String>,
    /// The file with an access token to send along; - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The admin listener of the gate (`listen.admin`)
    #[arg(long, value_name = "URL", env = "CLOAKROOM_ADMIN", default_value = "http://127.0.0.1:9090")]
    admin: Url,
    /// Explain by the policies in this file or folder, in the place of a running gate's; may come more than once
    #[arg(long, value_name = "FILE", conflicts_with = "kubernetes")]
    policies: Vec<PathBuf>,
    #[command(flatten)]
    written: WrittenArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, env = "CLOAKROOM_OUTPUT")]
    output: Output,
}

fn header(text: &str) -> Result<HeaderField, String> {
    // A pseudo header's name begins with a colon.
    let colon = text.char_indices().skip(1).find(|(_, c)| *c == ':').map(|(at, _)| at);
    let (name, value) = colon.map(|at| (&text[..at], &text[at + 1..])).ok_or("write it as `name: value`")?;
    Ok(HeaderField { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

/// Runs the command and prints the explanation.
///
/// # Errors
/// What a person needs to know to make it work. A refusal that is explained is no error.
pub async fn run(args: ExplainArgs) -> anyhow::Result<()> {
    run_to(args, &mut io::stdout().lock()).await
}

/// As [`run`], printing to `out`.
///
/// # Errors
/// As there.
pub async fn run_to(args: ExplainArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let (host, path) = target(&args.url)?;
    let mut headers = args.headers;
    headers.extend(args.cookie.map(|value| HeaderField { name: "cookie".to_owned(), value }));
    let token = args.token_file.as_deref().map(read_secret).transpose()?.map(TokenText);
    if args.written.kubernetes || !args.policies.is_empty() {
        ensure!(
            token.is_none(),
            "--token-file: sessions are known to a running gate only: leave out --policies and --kubernetes"
        );
        let (index, problems) = args.written.compile(&args.policies).await?;
        let named = |text| {
            RouteClaim::parse(text).with_context(|| format!("--route: `{text}` is no route: HTTPRoute/NAMESPACE/NAME"))
        };
        let route = args.route.as_deref().map(named).transpose()?;
        let headers = headers.iter().map(|it| (it.name.as_bytes(), it.value.as_bytes())).collect();
        let (method, host, path) = (args.method.as_bytes(), host.as_bytes(), path.as_bytes());
        let mut answer = by(&index, RawRequest { method, host, path, headers, pinned: None, route })?;
        answer["policyProblems"] = problems.iter().filter(|problem| problem.kind.is_error()).count().into();
        return answered(&answer, args.output, out);
    }
    let request = ExplainRequest {
        method: args.method,
        host: host.to_owned(),
        path: path.into_owned(),
        headers,
        route: args.route,
        token,
    };
    let cure =
        "is `cloakroom serve` running on this machine, and is that its `listen.admin` (--admin or CLOAKROOM_ADMIN)?";
    let http = HttpClient::new(args.admin, "the admin listener", cure)?;
    let answer: Value = http.fetch(http.request(Method::POST, &["explain"]).json(&request)).await?;
    answered(&answer, args.output, out)
}

fn answered(answer: &Value, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    match output {
        Output::Json => Ok(output::json(out, answer)?),
        Output::Table => print(out, answer).context("cannot print"),
    }
}

/// What the request meets by these policies, as far as no session is needed to tell.
fn by(index: &PolicyIndex, request: RawRequest<'_>) -> anyhow::Result<Value> {
    let explanation = match RequestAttributes::read(request) {
        Err(reason) => Explanation::unreadable(reason),
        // No session is found, so no time matters.
        Ok(request) => authz::explain(index, &request, None, |_| None, Timestamp::from_millis(0)),
    };
    Ok(serde_json::to_value(explanation)?)
}

/// Host, and path with query. Not read as a URL, which would tidy up what the explanation is about.
fn target(url: &str) -> anyhow::Result<(&str, std::borrow::Cow<'_, str>)> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))
        .ok_or_else(|| anyhow!("{url:?} is not an address: write it like https://shop.example/cart"))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    Ok((host, if path.starts_with('/') { path.into() } else { format!("/{path}").into() }))
}

fn print(out: &mut dyn Write, answer: &Value) -> io::Result<()> {
    let text = |pointer: &str| answer.pointer(pointer).map(plain_value);
    let verdict = match answer["verdict"].as_str() {
        Some("allowSession") => "ALLOWED, with the session's identity".to_owned(),
        Some("allowIdentity") => "ALLOWED, with the identity that a provider vouches for".to_owned(),
        Some("allowAnonymous") => "ALLOWED, without identity".to_owned(),
        Some("needsSession") => "UNDECIDED: it hangs on the session, or on a provider".to_owned(),
        _ => format!("REFUSED with {}: {}", plain_value(&answer["status"]), plain_value(&answer["reason"])),
    };
    writeln!(out, "{}\n", output::plain(&verdict))?;
    if answer["policyProblems"].as_u64().is_some_and(|problems| problems > 0) {
        writeln!(out, "Not every policy is in force as it is written: cloakroom policy check says which\n")?;
    }
    let mut table = Table::of_pairs();
    for (name, pointer) in [
        ("because", "/conflict"),
        ("policy", "/policy"),
        ("rule", "/rule"),
        ("route", "/route"),
        ("  found by", "/routeFoundBy"),
        ("audit policy refuses it for", "/audit"),
        ("credential", "/credential/kind"),
        ("carried in", "/credential/carrier"),
        ("identity provider", "/provider/name"),
        ("  kind", "/provider/kind"),
        ("  says", "/provider/found"),
        ("  subject", "/provider/subject"),
        ("  acr", "/provider/acr"),
        ("  scopes", "/provider/scopes"),
        ("  roles", "/provider/roles"),
        ("session", "/session/found"),
        ("  sid", "/session/sid"),
        ("  subject", "/session/subject"),
        ("  realm", "/session/realm"),
        ("  version", "/session/version"),
        ("  acr", "/session/acr"),
        ("  scopes", "/session/scopes"),
        ("  roles", "/session/roles"),
        ("redirects to", "/redirectTo"),
        ("expires the cookie", "/expireCookie"),
        ("asks for scopes", "/challenge/scopes"),
        ("asks for acr", "/challenge/acrValues"),
        ("asks for max_age", "/challenge/maxAge"),
        ("takes off headers", "/takeOff/headers"),
        ("cookies", "/takeOff/cookie"),
        ("its response may", "/response"),
    ] {
        if let Some(value) = text(pointer).filter(|value| !value.is_empty()) {
            table.row([name, &value]);
        }
    }
    for header in answer["setHeaders"].as_array().into_iter().flatten() {
        table.row(["sets the header", &format!("{}, a JWT that says", plain_value(&header["name"]))]);
        for (name, value) in header["jwt"].as_object().into_iter().flatten() {
            table.row([&format!("  {name}"), &plain_value(value)]);
        }
    }
    write!(out, "{table}")?;
    let rules = answer["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !rules.is_empty() {
        let mut table = Table::new(["POLICY", "RULE", "TARGET", "INHERITANCE", "MODE", "REALM", "BECAUSE"]);
        for rule in rules {
            let because = rule.get("because").or_else(|| rule.get("match")).map(plain_value).unwrap_or_default();
            let [policy, name, target, inheritance, mode, realm] =
                ["policy", "rule", "target", "inheritance", "mode", "realm"].map(|it| plain_value(&rule[it]));
            table.row([&policy, &name, &target, &inheritance, &mode, &realm, &because]);
        }
        write!(out, "\nThe rules that judge it, the outermost first:\n{table}")?;
    }
    Ok(())
}

/// A value as people read it: lists with spaces, objects as JSON.
fn plain_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain_value).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_bytes() {
        for (url, want) in [
            ("https://shop.example/a/../b?x=%2F", Some(("shop.example", "/a/../b?x=%2F"))),
            ("http://shop.example:8080", Some(("shop.example:8080", "/"))),
            ("http://shop.example?x", Some(("shop.example", "/?x"))),
            ("http://shop.example/a#b", Some(("shop.example", "/a"))),
            ("http://[::1]:80//a", Some(("[::1]:80", "//a"))),
            ("shop.example/a", None),
            ("/a", None),
        ] {
            let got = target(url).ok();
            assert_eq!(got.as_ref().map(|(host, path)| (*host, path.as_ref())), want, "{url}");
        }
    }

    #[tokio::test]
    async fn policies_are_explained_as_they_are_written() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            explain: ExplainArgs,
        }
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, spec: &str| {
            let path = folder.path().join(name);
            let head = "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: { name: a, namespace: shop }\n";
            std::fs::write(&path, format!("{head}spec: {spec}\n")).unwrap();
            path.display().to_string()
        };
        let good = file("good.yaml", "{ hosts: [a.example], rules: [{ name: open, access: Public }] }");
        let bad = file("bad.yaml", "{ hosts: [a.example], rules: [{ name: open, access: Pubic }] }");
        let session = file("session.yaml", "{ hosts: [a.example] }");
        for (policies, more, want) in [
            (&good, &[][..], Ok("ALLOWED, without identity")),
            (&good, &["--token-file", "/dev/null"], Err("sessions are known to a running gate only")),
            (&bad, &[], Ok("Not every policy is in force as it is written")),
            (&bad, &[], Ok("REFUSED with 403: broken_policy")),
            (&session, &[], Ok("REFUSED with 401: no_credential")),
            (&session, &["-o", "json"], Ok("\"policyProblems\": 0")),
        ] {
            let line = ["explain", "GET", "https://a.example/", "--policies", policies];
            let line = <Line as clap::Parser>::try_parse_from(line.iter().chain(more)).unwrap();
            let mut out = Vec::new();
            let ran = run_to(line.explain, &mut out).await.map_err(|error| error.to_string());
            let got = ran.map(|()| String::from_utf8(out).unwrap());
            let fits = match (&got, want) {
                (Ok(got), Ok(want)) | (Err(got), Err(want)) => got.contains(want),
                _ => false,
            };
            assert!(fits, "{policies} {more:?}: {got:?}");
        }
    }

    #[test]
    fn a_header_has_a_name_and_a_value() {
        for (text, want) in [
            ("accept: text/html", Some(("accept", "text/html"))),
            ("x:y:z", Some(("x", "y:z"))),
            (":scheme: https", Some((":scheme", "https"))),
            ("x", None),
            (":x", None),
        ] {
            let got = header(text).ok();
            assert_eq!(got.as_ref().map(|it| (it.name.as_str(), it.value.as_str())), want, "{text}");
        }
    }
}
