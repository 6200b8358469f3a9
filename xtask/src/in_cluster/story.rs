//! From nothing to a protected shop, and back to nothing.

use std::io::Read as _;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::cluster::{self, Cluster};
use e2e::measure::Outcome;
use e2e::services::identity::Identity;
use e2e::services::shop::Seen;
use serde::Deserialize;
use serde_json::{Value, json};

use super::images::Images;
use super::kube::{Kube, until};
use super::{INSTALL, SHOP, objects};
use crate::terminal;

/// A change that takes longer to be felt is not one that is felt.
const FELT: Duration = Duration::from_secs(30);
/// Pods that come and go on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
/// Clients of the load, each with a connection of its own.
const CLIENTS: usize = 8;

/// An answer, as the client in the cluster tells it.
#[derive(Deserialize)]
struct Answer {
    status: u16,
    headers: Value,
    body: String,
}

impl Answer {
    /// What the shop knew of the caller.
    fn identity(&self) -> Option<Identity> {
        serde_json::from_str::<Seen>(&self.body).ok()?.identity
    }

    fn subject(&self) -> Option<String> {
        Some(self.identity()?.sub)
    }

    fn cookie(&self) -> Option<String> {
        let line = self.headers["set-cookie"][0].as_str()?;
        Some(line.split(';').next()?.to_owned())
    }
}

/// How it is told.
pub(super) struct Story<'a> {
    pub(super) kube: &'a Kube,
    pub(super) images: &'a Images,
    /// Whether everything is built to be fast.
    pub(super) release: bool,
    pub(super) requests: usize,
    pub(super) chapter: usize,
    pub(super) passed: usize,
    pub(super) failed: usize,
}

impl Story<'_> {
    /// Tells it from the beginning, which was a moment ago, when there was nothing.
    pub(super) fn tell(&mut self, began: Instant) -> Result<()> {
        self.shop_without_a_gate()?;
        let installed = Instant::now();
        self.install()?;
        self.enrol()?;
        let token = self.protect()?;
        self.chapter("What it took.");
        terminal::line(&format!(
            "     from nothing to 200: {:.0} s, of which {:.0} s from `helm install`",
            began.elapsed().as_secs_f64(),
            installed.elapsed().as_secs_f64()
        ));
        let policy = objects::policy();
        self.check(policy.lines().count() == 5, "the user wrote one object of five lines, one command and one label");
        self.change()?;
        self.log_out()?;
        self.restart_everything(&token)?;
        self.upgrade(&token)?;
        self.uninstall()
    }

    fn shop_without_a_gate(&mut self) -> Result<()> {
        self.chapter("A shop: two pods, each with an Envoy that asks a gate which is not there.");
        self.kube.apply(&objects::namespace(SHOP))?;
        self.kube.apply(&objects::shop(self.images, !self.release)?)?;
        self.kube.apply(&objects::client(self.images))?;
        let client = ["--namespace", SHOP, "wait", "--for=condition=Ready", "pod/client", "--timeout=300s"];
        self.kube.ask(&client)?;
        self.kube.rolled_out(SHOP, "deployment/shop")?;
        let answer = self.get("/cart", &[])?;
        self.check(answer.status == 503, "503: no gate, no entry");
        Ok(())
    }

    fn install(&mut self) -> Result<()> {
        self.chapter("helm install.");
        self.kube.apply(&objects::namespace(INSTALL))?;
        let mut words = vec!["install", "cloakroom"];
        let values = self.values();
        words.extend(values.iter().map(String::as_str));
        self.kube.helm(&words)?;
        self.kube.rolled_out(INSTALL, "deployment/cloakroom-controller")?;
        self.kube.rolled_out(INSTALL, "statefulset/cloakroom-store")?;
        self.check(true, "controller and store are ready, by the strictest Pod Security");
        Ok(())
    }

    /// Of install and upgrade: images that no registry has.
    fn values(&self) -> Vec<String> {
        let chart = e2e::tools::workspace().join("charts/cloakroom").display().to_string();
        let mut words = vec![chart, "--namespace".to_owned(), INSTALL.to_owned()];
        let (cloakroom, tag) = named(&self.images.cloakroom.reference);
        let (redis, redis_tag) = named(&self.images.redis.reference);
        let mut set = |name: &str, value: &str| words.push(format!("--set-string={name}={value}"));
        set("image.repository", cloakroom);
        set("image.tag", tag);
        set("store.bundled.image.repository", redis);
        set("store.bundled.image.tag", redis_tag);
        words.push("--set=store.bundled.command={redis-server}".to_owned());
        // The bundled store is one server, and away for some seconds while its pod is made anew. With the usual 5 s, on a slow
        // machine, that is felt (docs/store.md).
        words.push("--set-string=config.sessions.view.maxStaleness=60s".to_owned());
        if !self.release {
            words.push("--set-string=config.check.timeout=5s".to_owned());
        }
        words
    }

    fn enrol(&mut self) -> Result<()> {
        self.chapter("The namespace is enrolled, and its pods are made anew.");
        self.kube.run(&["label", "namespace", SHOP, "cloakroom.dev/enrolled=true"])?;
        self.kube.run(&["--namespace", SHOP, "rollout", "restart", "deployment/shop"])?;
        self.kube.rolled_out(SHOP, "deployment/shop")?;
        let pods = self.pods()?;
        let injected = pods.iter().all(|pod| {
            let sidecar = &pod["spec"]["initContainers"][0];
            sidecar["name"] == "cloakroom" && sidecar["restartPolicy"] == "Always"
        });
        self.check(pods.len() == 2 && injected, "two pods, each with the sidecar as its first container");
        let answer = self.get("/cart", &[])?;
        self.check(answer.status == 403, "403: no policy, no entry");
        Ok(())
    }

    /// Protects the shop, and returns a token by which it opens.
    fn protect(&mut self) -> Result<String> {
        self.chapter("One policy of five lines.");
        let policy = objects::policy();
        policy.lines().for_each(|line| terminal::line(&format!("     {line}")));
        self.kube.apply(&policy)?;
        let felt = until(FELT, "401", || Ok(self.get("/cart", &[])?.status == 401))?;
        self.check(true, &format!("401 without a token, {:.1} s later", felt.as_secs_f64()));
        let told = self.kube.run(&[
            "--namespace",
            SHOP,
            "exec",
            "deployment/shop",
            "--container",
            "cloakroom",
            "--",
            "cloakroom",
            "session",
            "create",
            "--subject",
            "ada",
            "--output",
            "json",
            "--api-token-file",
            "/etc/cloakroom/secrets/admin.token",
        ])?;
        let token = serde_json::from_str::<Value>(&told).context("what `session create` prints")?;
        let token = token["token"].as_str().context("no token")?.to_owned();
        let answer = self.get("/cart", &[("authorization", &format!("Bearer {token}"))])?;
        self.check(answer.status == 200, "200 with one");
        self.check(answer.subject().as_deref() == Some("ada"), "the shop verified the JWT: it is ada");
        self.check(!answer.body.contains(&token), "and it never saw the token");
        Ok(token)
    }

    fn change(&mut self) -> Result<()> {
        self.chapter("The policy grows: a log-in, a log-out, a cart.");
        let before = self.log_in("bob", "builder")?;
        self.check(before.status == 401, "nobody can log in yet: 401");
        self.kube.apply(&objects::grown_policy())?;
        let felt = until(FELT, "an open log-in", || Ok(self.log_in("bob", "builder")?.status == 303))?;
        self.check(true, &format!("the log-in opens {:.1} s later", felt.as_secs_f64()));
        let conditions = || {
            let policy = self.kube.json(&["--namespace", SHOP, "get", "authpolicy", "shop"])?;
            let told = policy["status"].to_string();
            Ok(told.contains("\"Accepted\"") && !told.contains("\"status\":\"False\""))
        };
        until(FELT, "status of the policy", conditions)?;
        self.check(true, "the status of the policy says that it is accepted");
        Ok(())
    }

    fn log_out(&mut self) -> Result<()> {
        self.chapter("bob logs in by one pod and out by it; the other one knows.");
        let pods = self.pods()?;
        let address = |pod: &Value| format!("http://{}:8080", pod["status"]["podIP"].as_str().unwrap_or_default());
        let [one, two] = [address(&pods[0]), address(&pods[1])];
        let form = "user=bob&password=builder";
        let cookie = self.send("POST", &format!("{one}/login"), &[], Some(form))?.cookie().context("no cookie")?;
        let cookie = [("cookie", cookie.as_str())];
        self.check(cookie[0].1.starts_with("__Host-session=ckr_"), "his browser has an opaque token");
        let answer = self.send("GET", &format!("{two}/cart"), &cookie, None)?;
        self.check(answer.status == 200 && answer.subject().as_deref() == Some("bob"), "the other pod knows bob");
        let answer = self.send("POST", &format!("{one}/cart"), &cookie, Some("item=tea"))?;
        self.check(answer.status == 200, "he buys tea at the first pod");
        let answer = self.send("GET", &format!("{two}/cart"), &cookie, None)?;
        let cart = answer.identity().and_then(|it| it.claim("cart").cloned());
        self.check(cart == Some(json!({ "tea": 1 })), "and it is in his cart at the other one");
        let answer = self.send("POST", &format!("{one}/logout"), &cookie, None)?;
        self.check(answer.status == 303, "he logs out at the first pod");
        let felt = until(FELT, "401", || Ok(self.send("GET", &format!("{two}/cart"), &cookie, None)?.status == 401))?;
        let asked = felt.as_secs_f64();
        self.check(
            true,
            &format!("the other pod refuses him ({asked:.1} s after the first question, each by kubectl)"),
        );
        Ok(())
    }

    fn restart_everything(&mut self, token: &str) -> Result<()> {
        self.chapter("Everything is made anew, one after the other, under load.");
        let load = self.start_load(token)?;
        let began = Instant::now();
        // The shop's pods last, so that the gates of all of them have been with the store that goes.
        for (namespace, object) in [
            (INSTALL, "deployment/cloakroom-controller"),
            (INSTALL, "statefulset/cloakroom-store"),
            (SHOP, "deployment/shop"),
        ] {
            self.kube.run(&["--namespace", namespace, "rollout", "restart", object])?;
            self.kube.rolled_out(namespace, object)?;
            terminal::detail(&format!("     {object}: new after {:.0} s", began.elapsed().as_secs_f64()));
        }
        until(PATIENCE, "end of the old pods", || Ok(self.pods()?.len() == 2))?;
        let outcome = end_load(load)?;
        terminal::line(&format!(
            "     {} requests in {:.0} s, {} failed",
            outcome.sent, outcome.seconds, outcome.failed
        ));
        for (failure, count) in &outcome.failures {
            terminal::bad(&format!("{count} times: {failure}"));
        }
        self.check(outcome.failed == 0 && outcome.sent >= self.requests, "none failed");
        Ok(())
    }

    fn start_load(&self, token: &str) -> Result<Child> {
        let (clients, requests) = (CLIENTS.to_string(), self.requests.to_string());
        let header = format!("authorization: Bearer {token}");
        let url = format!("http://shop.{SHOP}.svc/");
        self.kube.start_in(SHOP, "client", &["/usr/bin/e2e-pod", "load", &url, &clients, &requests, &header])
    }

    fn upgrade(&mut self, token: &str) -> Result<()> {
        self.chapter("helm upgrade.");
        let bundles = self.bundles()?;
        self.check(bundles.len() == 2 && bundles.iter().all(|it| it.len() > 100), "the webhooks are trusted");
        let mut words = vec!["upgrade", "cloakroom"];
        let values = self.values();
        words.extend(values.iter().map(String::as_str));
        words.push("--set=controller.replicas=3");
        self.kube.helm(&words)?;
        self.check(self.bundles()? == bundles, "and they still are a moment after");
        self.kube.rolled_out(INSTALL, "deployment/cloakroom-controller")?;
        let answer = self.get("/cart", &[("authorization", &format!("Bearer {token}"))])?;
        self.check(answer.status == 200, "the session goes on");
        Ok(())
    }

    /// Whom the API server trusts for each webhook of ours.
    fn bundles(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for kind in
            ["validatingwebhookconfiguration/cloakroom-policies", "mutatingwebhookconfiguration/cloakroom-injector"]
        {
            let told = self.kube.json(&["get", kind])?;
            let hooks = told["webhooks"].as_array().context("a configuration without webhooks")?;
            let bundle = |hook: &Value| hook["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned();
            found.extend(hooks.iter().take(1).map(bundle));
        }
        Ok(found)
    }

    fn uninstall(&mut self) -> Result<()> {
        self.chapter("helm uninstall.");
        self.kube.helm(&["uninstall", "cloakroom", "--namespace", INSTALL, "--wait"])?;
        for kind in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
            let left = self.kube.ask(&["get", kind, "--output", "name"])?;
            self.check(!left.contains("cloakroom"), &format!("no {kind} stay"));
        }
        self.kube.run(&["--namespace", SHOP, "delete", "pod", "--selector", "app=shop", "--wait=false"])?;
        let plain = || {
            let pods = self.pods()?;
            Ok(pods.len() == 2 && pods.iter().all(|pod| pod["spec"]["initContainers"].is_null() && is_ready(pod)))
        };
        until(PATIENCE, "new pods", plain)?;
        self.check(true, "new pods are made as before, without a sidecar");
        let answer = self.get("/cart", &[])?;
        self.check(answer.status == 503, "and their Envoys let nobody in: 503");
        Ok(())
    }

    /// A cluster that was made for the story ends with it.
    pub(super) fn crash(&mut self, node: &Cluster) -> Result<()> {
        self.chapter("The node crashes with a pod in it, and is taken away.");
        self.kube.apply(&objects::namespace(SHOP))?;
        self.kube.apply(&objects::client(self.images))?;
        self.kube.ask(&["--namespace", SHOP, "wait", "--for=condition=Ready", "pod/client", "--timeout=300s"])?;
        node.crash()?;
        cluster::down()?;
        let left = cluster::remains()?;
        left.iter().for_each(|what| terminal::detail(&format!("     {what} is left")));
        self.check(left.is_empty(), "nothing of it is left on this machine");
        Ok(())
    }

    /// The pods of the shop that are to stay.
    fn pods(&self) -> Result<Vec<Value>> {
        let told = self.kube.json(&["--namespace", SHOP, "get", "pods", "--selector", "app=shop"])?;
        let pods = told["items"].as_array().context("no list of pods")?;
        Ok(pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect())
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send("GET", &format!("http://shop.{SHOP}.svc{path}"), headers, None)
    }

    fn log_in(&self, user: &str, password: &str) -> Result<Answer> {
        let form = format!("user={user}&password={password}");
        self.send("POST", &format!("http://shop.{SHOP}.svc/login"), &[], Some(&form))
    }

    /// From the client inside of the cluster.
    fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], form: Option<&str>) -> Result<Answer> {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let mut words = vec!["--namespace", SHOP, "exec", "client", "--", "/usr/bin/e2e-pod", "request", method, url];
        words.extend(headers.iter().map(String::as_str).chain(form));
        let told = self.kube.ask(&words)?;
        let answer: Answer = serde_json::from_str(&told).context("what the client tells")?;
        terminal::detail(&format!("     > {method} {url}: {}", answer.status));
        Ok(answer)
    }

    fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        terminal::heading(&format!("{:>3}. {title}", self.chapter));
    }

    fn check(&mut self, held: bool, what: &str) {
        if held {
            self.passed += 1;
            terminal::good(what);
        } else {
            self.failed += 1;
            terminal::bad(what);
        }
    }
}

/// The name and the tag of an image.
fn named(reference: &str) -> (&str, &str) {
    reference.rsplit_once(':').unwrap_or((reference, "latest"))
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}

/// Lets the load end, as soon as it has sent what it is to send.
fn end_load(mut load: Child) -> Result<Outcome> {
    drop(load.stdin.take());
    let mut told = String::new();
    load.stdout.take().context("the load has no output")?.read_to_string(&mut told)?;
    let mut words = String::new();
    load.stderr.take().context("the load has no output")?.read_to_string(&mut words)?;
    ensure!(load.wait()?.success(), "the load ended: {}", words.trim());
    serde_json::from_str(&told).context("what the load tells")
}

/// The kinds of cloakroom, which outlive an install.
const KINDS: [&str; 2] =
    ["customresourcedefinition/authpolicies.cloakroom.dev", "customresourcedefinition/identityproviders.cloakroom.dev"];

/// Takes away what is left of it. Other installs of the cluster keep the kinds that they need.
pub(super) fn clear(kube: &Kube, had_kinds: bool) -> Result<()> {
    terminal::heading("Clearing up");
    // Best effort: where the story ended early, not all of it is there.
    if kube.has(&["namespace", INSTALL])? {
        kube.helm(&["uninstall", "cloakroom", "--namespace", INSTALL, "--ignore-not-found", "--wait"])?;
    }
    for namespace in [SHOP, INSTALL] {
        kube.run(&["delete", "namespace", namespace, "--ignore-not-found", "--timeout=300s"])?;
    }
    if !had_kinds {
        kube.run(&[&["delete", "--ignore-not-found"], &KINDS[..]].concat())?;
    }
    Ok(())
}

/// Whether the cluster knows the kinds of cloakroom.
pub(super) fn has_kinds(kube: &Kube) -> Result<bool> {
    kube.has(&KINDS)
}
