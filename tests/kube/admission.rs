//! The webhook as a real API server calls it: what CEL cannot judge is refused with its reasons, and nothing else is held up.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use cloakroom::authz::policy::{Install, Namespaces, RealmRights};
use cloakroom::authz::session::Realm;
use cloakroom::k8s::admission::{self, Judges};
use cloakroom::tls::{Protocol, Tls, TlsFiles};
use e2e::kube::{ApiServer, ApiServerOptions};
use e2e::process::wait_until;
use e2e::tls::Certificates;
use http::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::definitions::{self, namespace, policy};
use crate::resources::any_install;

const PATIENCE: Duration = Duration::from_secs(60);
const POLICIES: &str = "/apis/cloakroom.dev/v1alpha1/namespaces/shop/authpolicies";

/// The realm `tenants` is for the namespace `tenant` alone.
fn install() -> Install {
    let mut install = any_install();
    let only = RealmRights { uses: Namespaces::Only(["tenant".to_owned()].into()), ..RealmRights::default() };
    install.realms.insert(Realm::parse("tenants").expect("a realm"), only);
    install
}

fn files_of(certificates: &Certificates) -> TlsFiles {
    let server = &certificates.server;
    TlsFiles { certificate: server.certificate.clone(), key: server.key.clone(), client_ca: None, client_names: None }
}

fn judges() -> Judges {
    Judges { install: install(), injection: None }
}

/// A webhook that runs in this process.
struct Webhook {
    port: u16,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Webhook {
    async fn start(files: &TlsFiles) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let stop = CancellationToken::new();
        let tls = Arc::new(Tls::load(files.clone(), Protocol::Http1)?);
        let task = tokio::spawn(admission::serve(listener, tls, judges(), stop.clone()));
        Ok(Self { port, stop, task })
    }

    async fn end(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?;
        Ok(())
    }
}

fn configuration(port: u16, ca: &Path, failure_policy: &str) -> Result<String> {
    let bundle = BASE64_STANDARD.encode(std::fs::read(ca)?);
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "cloakroom" },
        "webhooks": [{
            "name": "policies.cloakroom.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": failure_policy,
            "timeoutSeconds": 5,
            "matchPolicy": "Equivalent",
            "clientConfig": { "url": format!("https://127.0.0.1:{port}{}", admission::PATH), "caBundle": bundle },
            "rules": [{
                "apiGroups": ["cloakroom.dev"],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["authpolicies", "identityproviders"],
                "scope": "Namespaced",
            }],
        }],
    });
    Ok(webhook.to_string())
}

fn expression(expression: &str) -> String {
    format!(
        "{{hosts: [shop.example], rules: [{{matches: [{{path: {{type: RegularExpression, value: '{expression}'}}}}]}}]}}"
    )
}

// kubectl is waited for on one thread, and the webhook answers it on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p26_what_can_never_work_is_refused_before_it_is_stored() -> Result<()> {
    let server = ApiServer::spawn(ApiServerOptions::default()).await?;
    definitions::install(&server).await?;
    server.apply(&namespace("shop")).await?;
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
    let files = files_of(&certificates);

    // Without a webhook the API server takes what its schema cannot judge. The gate closes what it targets.
    server.apply(&policy("broken", &expression("/(a"))).await?;

    let webhook = Webhook::start(&files).await?;
    server.apply(&configuration(webhook.port, &certificates.ca, "Fail")?).await?;
    // The server follows its webhooks by a watch.
    // Another one each time: what is stored already is not judged again.
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let refused = async || {
        let number = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        server.apply(&policy("probe", &expression(&format!("/{number}(")))).await.is_err()
    };
    wait_until(PATIENCE, "the webhook's first word", refused).await?;

    for (spec, words) in [
        (expression("/[a-z]+"), None),
        (
            expression("/(a"),
            Some("denied the request: spec.rules[0].matches[0].path.value: is not an expression that can be used"),
        ),
        (
            "{hosts: [shop.example], realm: nowhere}".to_owned(),
            Some("spec.realm: no realm `nowhere`: the install knows `default`, `shop` and `tenants`"),
        ),
        (
            "{hosts: [shop.example], realm: tenants}".to_owned(),
            Some("spec.realm: namespace `shop` may not use the realm `tenants`"),
        ),
        (
            "{hosts: [shop.example], rules: [{authenticate: [{session: {carriers: [{header: x-token}]}}]}]}".to_owned(),
            Some("the install does not look there: a policy may narrow `token.carriers`"),
        ),
        (
            "{hosts: [shop.example, SHOP.example], realm: nowhere}".to_owned(),
            Some("it can never work as it is written:\n- spec.hosts[1]: `SHOP.example` is there twice"),
        ),
        // Targets come and go: their absence is told in the status.
        ("{targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: not-there}]}".to_owned(), None),
        // CEL comes first, with its own words.
        ("{}".to_owned(), Some("judges nothing")),
    ] {
        match (server.apply(&policy("row", &spec)).await, words) {
            (Ok(_), None) => {}
            (Ok(_), Some(words)) => anyhow::bail!("{spec} is taken, not refused with {words:?}"),
            (Err(error), None) => anyhow::bail!("{spec}: {error:#}"),
            (Err(error), Some(words)) => ensure!(format!("{error:#}").contains(words), "{error:#}\nand not {words}"),
        }
    }

    let file = folder.path().join("policy.yaml");
    let path = file.display().to_string();
    std::fs::write(&file, policy("dry", "{hosts: [dry.example]}"))?;
    let said = server.kubectl(&["apply", "--dry-run=server", "-f", &path])?;
    ensure!(said.contains("authpolicy.cloakroom.dev/dry created (server dry run)"), "{said}");
    std::fs::write(&file, policy("dry", &expression("/(a")))?;
    let said = server.kubectl(&["apply", "-f", &path]).expect_err("bad").to_string();
    println!("{said}");
    ensure!(said.contains("admission webhook \"policies.cloakroom.dev\" denied the request"), "{said}");

    // Who has a bad one can label it, tell its status, mend it, and let it go.
    server.kubectl(&["label", "cauth/broken", "-n", "shop", "team=web"])?;
    let status = json!({ "status": { "ancestors": [] } }).to_string();
    server.kubectl(&["patch", "cauth/broken", "-n", "shop", "--subresource=status", "--type=merge", "-p", &status])?;
    let worse = server.apply(&policy("broken", &expression("/(c"))).await;
    ensure!(worse.is_err(), "a change from bad to bad is stored");
    server.kubectl(&["delete", "cauth/broken", "-n", "shop"])?;

    // New certificate, new authority: read again without a restart.
    let renewed = tempfile::tempdir()?;
    let renewed = Certificates::make(renewed.path(), &["127.0.0.1"])?;
    std::fs::copy(&renewed.server.key, &files.key)?;
    std::fs::copy(&renewed.server.certificate, &files.certificate)?;
    server.apply(&configuration(webhook.port, &renewed.ca, "Fail")?).await?;
    let judged = async || {
        let error = server.apply(&policy("row", &expression("/(d"))).await.err();
        error.is_some_and(|it| format!("{it:#}").contains("is not an expression"))
    };
    wait_until(PATIENCE, "a word under the new certificate", judged).await?;

    // A webhook that is down holds nobody up where the install says so; what it would have refused is the gate's.
    let port = webhook.port;
    webhook.end().await?;
    let said = server.apply(&policy("row", "{hosts: [row.example]}")).await.expect_err("the webhook is down");
    ensure!(format!("{said:#}").contains("failed calling webhook"), "{said:#}");
    server.apply(&configuration(port, &renewed.ca, "Ignore")?).await?;
    let stored = async || server.apply(&policy("row", &expression("/(e"))).await.is_ok();
    wait_until(PATIENCE, "a policy that nobody judged", stored).await?;
    let (_, row) = server.api(Method::GET, &format!("{POLICIES}/row"), None).await?;
    ensure!(row["spec"]["rules"][0]["matches"][0]["path"]["value"] == "/(e", "{row}");
    Ok(())
}

#[tokio::test]
async fn requests_that_no_api_server_sends_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
    let files = files_of(&certificates);
    let webhook = Webhook::start(&files).await?;
    let ca = reqwest::Certificate::from_pem(&std::fs::read(&certificates.ca)?)?;
    let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build()?;
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", webhook.port);
    for (what, request, want) in [
        ("no JSON", client.post(url("/validate")).body("{"), 400),
        ("another kind", client.post(url("/validate")).body("{\"apiVersion\": \"v1\", \"kind\": \"Pod\"}"), 400),
        ("nothing", client.post(url("/validate")), 400),
        ("too much", client.post(url("/validate")).body(vec![b' '; 5 << 20]), 413),
        ("another method", client.get(url("/validate")), 405),
        ("another path", client.post(url("/mutate")), 404),
    ] {
        let status = request.send().await.with_context(|| what.to_owned())?.status();
        assert_eq!(status, want, "{what}");
    }
    let plain = client.post(format!("http://127.0.0.1:{}/validate", webhook.port)).body("{}").send().await;
    ensure!(plain.is_err(), "no TLS");
    webhook.end().await?;

    std::fs::write(&files.key, "not a key")?;
    let error = Tls::load(files, Protocol::Http1).expect_err("no key");
    ensure!(error.to_string().contains("server.key holds no private key in PEM"), "{error}");
    Ok(())
}

/// A review of a new pod with this spec.
fn review_of(spec: &serde_json::Value) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "operation": "CREATE",
            "namespace": "shop",
            "object": { "metadata": { "name": "p" }, "spec": spec },
        },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p28_whoever_sends_slowly_or_much_keeps_no_review_from_its_answer() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
    let webhook = Webhook::start(&files_of(&certificates)).await?;
    let ca = std::fs::read(&certificates.ca)?;
    let client =
        reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca)?]).no_proxy().build()?;
    let url = format!("https://127.0.0.1:{}{}", webhook.port, admission::INJECT_PATH);
    let ask = async |body: String| -> Result<(u16, serde_json::Value)> {
        let answer = client.post(&url).body(body).timeout(Duration::from_secs(5)).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let variables = |count: usize, variable: serde_json::Value| vec![variable; count];
    let container = |env: Vec<serde_json::Value>| json!({ "name": "c", "image": "i", "env": env });

    // A pod as large as any is, and one that would be 160 MiB.
    let ordinary = json!({ "containers": vec![container(variables(500, json!({ "name": "A_1", "value": "v" }))); 50] });
    let (status, answer) = ask(review_of(&ordinary)).await?;
    ensure!(status == 200 && answer["response"]["allowed"] == true, "{status}: {answer}");
    let huge = json!({ "containers": [container(variables(235_000, json!({ "name": "a" })))] });
    let (status, answer) = ask(review_of(&huge)).await?;
    let response = &answer["response"];
    ensure!(status == 200 && response["allowed"] == false && response["uid"] == "u-1", "{status}: {answer}");
    ensure!(
        response["status"]["message"].as_str().is_some_and(|it| it.contains("one object may take 48 MiB")),
        "{answer}"
    );

    // As many as there are connections have sent a head and a part of a large body, and send no more.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], webhook.port));
    let part = format!("POST /inject HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n{}", " ".repeat(300_000));
    let mut slow = Vec::new();
    for _ in 0..256 {
        let mut stream = certificates.over(TcpStream::connect(address).await?, "127.0.0.1", false).await?;
        // Some are ended while they send.
        let _ = stream.write_all(part.as_bytes()).await;
        slow.push(stream);
    }
    let ordinary = json!({ "containers": [container(variables(500, json!({ "name": "A_1", "value": "v" })))] });
    for turn in 0..3 {
        // The first on the connection that is there already, the others on new ones.
        let new =
            reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca)?]).no_proxy().build()?;
        let client = if turn == 0 { &client } else { &new };
        let answer = client.post(&url).body(review_of(&ordinary)).timeout(Duration::from_secs(4)).send().await?;
        let status = answer.status();
        ensure!(status == 200, "{status}: {}", answer.text().await?);
    }
    drop(slow);
    webhook.end().await
}
