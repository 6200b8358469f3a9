//! A gate in the pod, beside its proxy.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use cloakroom::wiring::Site;
use e2e::http1::Connection;
use e2e::kube::ADMIN;
use e2e::process::Signal;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::on_istio;
use crate::town::{self, CHECK, INGRESS, PATIENCE, SPELLINGS, TCP_INGRESS, Town, claims, site};

on_istio! {
    p07_only_the_gate_speaks_for_identity => identity(Newest);
    p07_only_the_gate_speaks_for_identity_by_the_oldest_envoy => identity(Oldest);
    p11_the_way_back_changes_sessions_and_shows_nothing => way_back(Newest);
    p11_the_way_back_changes_sessions_and_shows_nothing_by_the_oldest_envoy => way_back(Oldest);
    p02_a_hung_gate_is_no_entry => hung(Newest);
    p01_an_unknown_provider_is_no_entry => unknown_provider(Newest);
    p11_an_interim_answer_shows_no_jwt => interim(Newest);
    p27_the_gates_name_is_nobody_elses => squatted(Newest);
    p01_what_is_not_http_is_refused => not_http(Newest);
    other_policies_may_speak_of_the_claims => claims_elsewhere(Newest);
}

async fn identity(version: EnvoyVersion) -> Result<()> {
    let town = Town::wired(version, true).await?;
    let cookie = format!("Cookie: a=1; {}", town.log_in().await?);

    // The order that WIRING was judged by.
    let chains = town.proxy.filters("127.0.0.1_8080").await?;
    for chain in &chains {
        let at = |name: &str| chain.iter().position(|it| it == name);
        let (first, check, back) =
            (at("envoy.filters.http.header_mutation"), at(CHECK), at("envoy.filters.http.ext_proc"));
        ensure!(first == Some(0) && check.is_some() && back == check.map(|it| it + 1), "{chain:?}");
    }
    ensure!(!chains.is_empty());

    ensure!(town.send("GET", "/x", &[]).await?.status() == 401);
    ensure!(town.shop.take().is_empty());
    let answer = town.send("GET", "/x", &[&cookie]).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    let seen = town.arrived()?;
    ensure!(claims(&seen)?["sub"] == "ada" && claims(&seen)?["iss"] == "https://cloakroom.example/ns/shop", "{seen:?}");
    ensure!(seen.0.header("cookie") == ["a=1"], "{seen:?}");

    for name in SPELLINGS {
        let forged = format!("{name}: forged");
        for (path, lines, want) in
            [("/x", &[&*cookie, &forged][..], 1), ("/open", &[&forged], 0), ("/open", &[&*cookie, &forged], 0)]
        {
            let answer = town.send("GET", path, lines).await?;
            ensure!(answer.status() == 200, "{name}: {answer:?}");
            let seen = town.arrived()?;
            ensure!(
                seen.header_readings("x-session-jwt").len() == want && !seen.contains("forged"),
                "{name}: {seen:?}"
            );
            ensure!(!seen.contains("ckr_"), "{name}: {seen:?}");
        }
    }
    // By which host a client came, it does not say.
    town.send("GET", "/x", &[&cookie, "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"]).await?;
    ensure!(!town.arrived()?.contains("evil.example"));

    // Repeated lines come to the gate joined by commas: one reading or none.
    let answer = town.send("GET", "/x", &["Cookie: a=1", &cookie]).await?;
    match answer.status() {
        200 => ensure!(!town.arrived()?.contains("ckr_")),
        status => ensure!(status == 400, "{answer:?}"),
    }

    // Nobody else's traffic to a common port is taken for gRPC.
    let listeners = town.proxy.admin("/listeners").await?;
    ensure!(listeners.contains("0.0.0.0_19443") && !listeners.contains("_9443"), "{listeners}");
    ensure!(town.istio.refused().is_none());
    Ok(())
}

async fn way_back(version: EnvoyVersion) -> Result<()> {
    let town = Town::wired(version, true).await?;
    let answer = town.send("POST", "/login", &[]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-create").is_empty(), "{answer:?}");
    let cookies = answer.header("set-cookie");
    ensure!(cookies.len() == 3 && cookies.iter().any(|it| it == "app=1"), "{cookies:?}");
    let ours = cookies.iter().find(|it| it.starts_with("__Host-session=ckr_"));
    let cookie = format!("Cookie: {}", ours.map_or("", |it| it.split(';').next().unwrap_or_default()));
    town.shop.take();

    let answer = town.send("GET", "/cart", &[&cookie]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-update").is_empty(), "{answer:?}");
    town.shop.take();
    town.send("GET", "/x", &[&cookie]).await?;
    let claims = claims(&town.arrived()?)?;
    ensure!(claims["claims"]["cart"] == json!(["tea"]), "{claims}");

    for path in ["/cart/careless", "/open/careless", "/careless"] {
        let answer = town.send("GET", path, &[&cookie]).await?;
        ensure!(answer.status() == 200, "{path}: {answer:?}");
        let head = String::from_utf8_lossy(&answer.head).to_ascii_lowercase();
        ensure!(!head.contains("session"), "{path}: {head}");
    }

    let answer = town.send("POST", "/logout", &[&cookie]).await?;
    ensure!(answer.status() == 200 && answer.header("x-session-end").is_empty(), "{answer:?}");
    ensure!(answer.header("set-cookie").iter().any(|it| it.contains("Max-Age=0")), "{answer:?}");
    ensure!(town.send("GET", "/x", &[&cookie]).await?.status() == 401);
    ensure!(town.istio.refused().is_none());
    Ok(())
}

/// The gate is there and does not answer: the times are those that the chart says.
async fn hung(version: EnvoyVersion) -> Result<()> {
    let town = Town::wired(version, false).await?;
    let cookie = format!("Cookie: {}", town.log_in().await?);
    town.gate.process().stop().await?;
    for path in ["/x", "/open", "/cart"] {
        let answer = town.send("GET", path, &[&cookie]).await?;
        ensure!(answer.status() == 503, "{path}: {answer:?}");
        ensure!(town.shop.take().is_empty());
    }
    // What the alerts of the chart look for, under the names by which they do.
    let told = town.proxy.admin("/stats/prometheus").await?;
    // Of all that the proxy listens for.
    let counted = |name: &str| {
        let of_it = told.lines().filter(|it| it.starts_with(&format!("{name}{{")));
        of_it
            .map(|it| it.rsplit(' ').next()?.parse::<u64>().ok())
            .sum::<Option<u64>>()
            .filter(|_| told.contains(&format!("{name}{{")))
    };
    ensure!(counted("envoy_http_ext_authz_error").is_some_and(|it| it >= 3), "{told}");
    for name in ["streams_failed", "message_timeouts", "rejected_header_mutations", "failure_mode_allowed"] {
        ensure!(counted(&format!("envoy_http_ext_proc_cloakroom_{name}")).is_some(), "{name}: {told}");
    }
    town.gate.process().signal(Signal::CONT);
    let again = async || town.send("GET", "/x", &[&cookie]).await.is_ok_and(|it| it.status() == 200);
    town.gate.process().wait_until(PATIENCE, "an answer", again).await
}

/// The AuthorizationPolicy is there and the mesh's configuration lacks its lines. istiod's log and this answer are all that tells
/// within Istio: the policy's status stays empty. So `cloakroom doctor` tells.
async fn unknown_provider(version: EnvoyVersion) -> Result<()> {
    let town = Town::without_wiring(version).await?;
    let cookie = format!("Cookie: {}", town.log_in().await?);
    ensure!(town.send("GET", "/x", &[]).await?.status() == 200);
    town.apply(&town::objects(&site())?, true).await?;
    town.proxy_has("envoy.filters.http.rbac").await?;
    let denied = async || {
        let answer = town.send("GET", "/open", &[&cookie]).await;
        answer.is_ok_and(|it| it.status() == 403 && it.text().contains("RBAC: access denied"))
    };
    town.proxy.process().wait_until(PATIENCE, "403", denied).await?;
    let (status, said) = doctor(&town)?;
    let told = said
        .iter()
        .find(|it| it["seen"].as_str().is_some_and(|it| it.contains("has no extension provider `cloakroom`")));
    let told = told.with_context(|| format!("{said:#?}"))?;
    ensure!(
        status == Some(1) && told["level"] == "problem" && told["about"] == "ConfigMap istio-system/istio",
        "{told:#}"
    );
    ensure!(told["cure"] == "add it to extensionProviders: cloakroom snippet istio prints it", "{told:#}");

    town.provide(true).await?;
    let answered = async || town.send("GET", "/x", &[&cookie]).await.is_ok_and(|it| it.status() == 200);
    town.proxy.process().wait_until(PATIENCE, "200 with the provider", answered).await?;
    town.provide(false).await?;
    let (_, said) = doctor(&town)?;
    let said: Vec<_> = said.into_iter().filter(|it| it["check"] == "istio-provider").collect();
    ensure!(said.len() == 1 && said[0]["level"] == "ok", "{said:#?}");
    Ok(())
}

/// Its exit status and what it finds.
fn doctor(town: &Town) -> Result<(Option<i32>, Vec<Value>)> {
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    doctor.args(["doctor", "--mesh", "istio", "-o", "json", "--kubeconfig"]).arg(town.server.kubeconfig(ADMIN)?);
    let answer = doctor.env_remove("KUBERNETES_SERVICE_HOST").stdin(Stdio::null()).output()?;
    let mut told: Value =
        serde_json::from_slice(&answer.stdout).with_context(|| String::from_utf8_lossy(&answer.stderr).into_owned())?;
    let findings = told["findings"].as_array_mut().map(std::mem::take);
    Ok((answer.status.code(), findings.unwrap_or_default()))
}

/// An answer before the answer, which no filter sees.
async fn interim(version: EnvoyVersion) -> Result<()> {
    let _town = Town::wired(version, true).await?;
    let mut connection = Connection::open(INGRESS).await?;
    connection.send(b"GET /open/early HTTP/1.1\r\nHost: shop.example\r\n\r\n").await?;
    let early = connection.any_response(false).await?;
    ensure!(early.status() == 103 && early.header("link").len() == 1, "{early:?}");
    let answer = connection.response(false).await?;
    ensure!(answer.status() == 200, "{answer:?}");
    ensure!(!format!("{early:?}{answer:?}").to_ascii_lowercase().contains("session"), "{early:?}{answer:?}");
    Ok(())
}

/// Somebody declared the host of the gate for everybody, before cloakroom was installed.
async fn squatted(version: EnvoyVersion) -> Result<()> {
    let stranger = std::net::TcpListener::bind("127.0.0.1:0")?;
    stranger.set_nonblocking(true)?;
    let port = format!("grpc: {}", stranger.local_addr()?.port());
    let town = Town::without_wiring(version).await?;
    // Times are whole seconds to Istio, and the name decides between equals: this one is before ours either way.
    town.server.apply(&e2e::istio::namespace("a-stranger")).await?;
    let objects = town::objects(&site())?;
    let theirs = objects.split("\n---\n").find(|it| it.contains("kind: ServiceEntry")).unwrap_or_default();
    let theirs = theirs.replace("namespace: istio-system", "namespace: a-stranger").replace("grpc: 9443", &port);
    ensure!(theirs.contains("namespace: a-stranger") && theirs.contains(&port), "{theirs}");
    town.server.apply(&theirs).await?;
    town.provide(true).await?;
    town.apply(&objects, true).await?;
    town.proxy_has(CHECK).await?;

    // The name is theirs, and nothing depends on it.
    let squat = format!("outbound|19443||cloakroom.sidecar.internal::{}", stranger.local_addr()?);
    let clusters = town.proxy.admin("/clusters").await?;
    ensure!(clusters.contains(&squat), "{clusters}");
    let cookie = format!("Cookie: {}", town.log_in().await?);
    for _ in 0..5 {
        ensure!(town.send("GET", "/x", &[&cookie]).await?.status() == 200);
        ensure!(town.send("GET", "/x", &[]).await?.status() == 401);
        ensure!(town.send("GET", "/cart", &[&cookie]).await?.status() == 200);
    }
    town.shop.take();
    let mut connection = Connection::open(TCP_INGRESS).await?;
    connection.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await?;
    ensure!(connection.response(false).await.is_err());
    ensure!(town.shop.take().is_empty());
    let reached = stranger.accept();
    ensure!(reached.as_ref().is_err_and(|it| it.kind() == std::io::ErrorKind::WouldBlock), "{reached:?}");
    Ok(())
}

/// A port whose traffic Istio does not read as HTTP.
async fn not_http(version: EnvoyVersion) -> Result<()> {
    let town = Town::wired(version, true).await?;
    town.shop.take();
    let mut connection = Connection::open(TCP_INGRESS).await?;
    connection.send(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await?;
    ensure!(connection.response(false).await.is_err());
    ensure!(town.shop.take().is_empty());
    Ok(())
}

/// Istio verifies the JWT in the same proxy, and a policy of somebody else's speaks of its claims.
async fn claims_elsewhere(version: EnvoyVersion) -> Result<()> {
    let town = Town::wired(version, true).await?;
    let site = Site { namespaces: vec!["shop".to_owned()], issuer: e2e::gate::ISSUER.to_owned(), ..site() };
    let objects = town::objects(&site)?;
    let ours = objects.split("\n---\n").find(|it| it.contains("kind: RequestAuthentication")).unwrap_or_default();
    // No DNS here, and the gate has the key set, too.
    let keys = format!("http://{}/", town.gate.http());
    let moved = ours.replace(&format!("http://{}:9080/", site.controller_host()), &keys);
    ensure!(moved.contains(&keys), "{ours}");
    let admins = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: admins, namespace: shop }
spec:
  action: DENY
  rules:
  - to: [{ operation: { paths: [/admin*] } }]
    when: [{ key: 'request.auth.claims[roles]', notValues: [admin] }]
";
    town.server.apply(&format!("{moved}\n---{admins}")).await?;
    town.proxy_has("envoy.filters.http.jwt_authn").await?;
    let ada = format!("Cookie: {}", town.log_in().await?);
    let bob = town.gate.create_session(&json!({ "subject": "bob", "roles": ["customer"] })).await?;
    let bob = format!("Cookie: __Host-session={}", bob.token);
    let verified = async || town.send("GET", "/x", &[&ada]).await.is_ok_and(|it| it.status() == 200);
    town.istio.process().wait_until(PATIENCE, "a JWT that verifies", verified).await?;
    for (cookie, path, want) in [(&ada, "/admin", 200), (&bob, "/admin", 403), (&bob, "/x", 200)] {
        let answer = town.send("GET", path, &[cookie]).await?;
        ensure!(answer.status() == want, "{path}: {answer:?}");
    }
    // Forged, it is gone before Istio looks: not even a refusal.
    ensure!(town.send("GET", "/open", &["x-session-jwt: a.b.c"]).await?.status() == 200);
    Ok(())
}
