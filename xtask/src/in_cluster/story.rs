//! From nothing to a protected shop, and back to nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::cluster::{self, Cluster};
use serde_json::{Value, json};

use super::client::Client;
use super::images::Images;
use super::install::Install;
use super::kube::{Kube, until};
use super::{INSTALL, SHOP, objects};
use crate::terminal;

/// A change that takes longer to be felt is not one that is felt.
const FELT: Duration = Duration::from_secs(30);
/// Pods that come and go on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

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
        self.test()?;
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
        let answer = self.client().get("/cart", &[])?;
        self.check(answer.status == 503, "503: no gate, no entry");
        Ok(())
    }

    fn install(&mut self) -> Result<()> {
        self.chapter("helm install.");
        self.kube.apply(&objects::namespace(INSTALL))?;
        self.helm().make()?;
        self.check(true, "controller and store are ready, by the strictest Pod Security");
        Ok(())
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
        let answer = self.client().get("/cart", &[])?;
        self.check(answer.status == 403, "403: no policy, no entry");
        Ok(())
    }

    /// Protects the shop, and returns a token by which it opens.
    fn protect(&mut self) -> Result<String> {
        self.chapter("One policy of five lines.");
        let policy = objects::policy();
        policy.lines().for_each(|line| terminal::line(&format!("     {line}")));
        self.kube.apply(&policy)?;
        let felt = until(FELT, "401", || Ok(self.client().get("/cart", &[])?.status == 401))?;
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
        let answer = self.client().get("/cart", &[("authorization", &format!("Bearer {token}"))])?;
        self.check(answer.status == 200, "200 with one");
        self.check(answer.subject().as_deref() == Some("ada"), "the shop verified the JWT: it is ada");
        self.check(!answer.body.contains(&token), "and it never saw the token");
        Ok(token)
    }

    fn change(&mut self) -> Result<()> {
        self.chapter("The policy grows: a log-in, a log-out, a cart.");
        let before = self.client().log_in("bob", "builder")?;
        self.check(before.status == 401, "nobody can log in yet: 401");
        self.kube.apply(&objects::grown_policy())?;
        let felt = until(FELT, "an open log-in", || Ok(self.client().log_in("bob", "builder")?.status == 303))?;
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

    fn test(&mut self) -> Result<()> {
        self.chapter("helm test: a pod without a gate is found, and then all is well.");
        // Old pods of the shop count until they are gone.
        until(PATIENCE, "end of the old pods", || Ok(self.every_pod()?.len() == 2))?;
        // It was let off by this label.
        self.kube.run(&["--namespace", SHOP, "label", "pod", "client", "cloakroom.dev/inject-"])?;
        let checkup = self.helm().test()?;
        let found = checkup.found("problem", "sidecars", "1 pod without the sidecar");
        self.check(!checkup.passed && found, "it fails, and tells of one pod without the sidecar");
        let cure = format!("kubectl -n {SHOP} delete pod client");
        self.check(checkup.found("problem", "sidecars", &cure), "and of the cure");
        let left = self.helm().left_of_test()?;
        self.check(left.trim() == "pod/cloakroom-test", "its pod stays, to be read, and has no rights any more");

        self.kube.run(&["--namespace", SHOP, "label", "pod", "client", "cloakroom.dev/inject=false"])?;
        let checkup = self.helm().test()?;
        self.check(checkup.passed, "it passes when that is mended");
        for (level, check, word) in [
            ("ok", "definitions", "is served"),
            ("ok", "controller", "replicas are ready"),
            ("ok", "lease", "is held by"),
            ("ok", "sidecars", "every pod that should have the sidecar has it (2)"),
            ("ok", "policies", "all are accepted (1)"),
            // It may not read Secrets, and so not compare.
            ("unknown", "key-sets", "answers with"),
        ] {
            self.check(checkup.found(level, check, word), &format!("{check}: {word}"));
        }
        self.check(self.helm().left_of_test()?.trim().is_empty(), "nothing of it is left");
        Ok(())
    }

    fn log_out(&mut self) -> Result<()> {
        self.chapter("bob logs in by one pod and out by it; the other one knows.");
        let pods = self.pods()?;
        let address = |pod: &Value| format!("http://{}:8080", pod["status"]["podIP"].as_str().unwrap_or_default());
        let [one, two] = [address(&pods[0]), address(&pods[1])];
        let form = "user=bob&password=builder";
        let cookie =
            self.client().send("POST", &format!("{one}/login"), &[], Some(form))?.cookie().context("no cookie")?;
        let cookie = [("cookie", cookie.as_str())];
        self.check(cookie[0].1.starts_with("__Host-session=ckr_"), "his browser has an opaque token");
        let answer = self.client().send("GET", &format!("{two}/cart"), &cookie, None)?;
        self.check(answer.status == 200 && answer.subject().as_deref() == Some("bob"), "the other pod knows bob");
        let answer = self.client().send("POST", &format!("{one}/cart"), &cookie, Some("item=tea"))?;
        self.check(answer.status == 200, "he buys tea at the first pod");
        let answer = self.client().send("GET", &format!("{two}/cart"), &cookie, None)?;
        let cart = answer.identity().and_then(|it| it.claim("cart").cloned());
        self.check(cart == Some(json!({ "tea": 1 })), "and it is in his cart at the other one");
        let answer = self.client().send("POST", &format!("{one}/logout"), &cookie, None)?;
        self.check(answer.status == 303, "he logs out at the first pod");
        let felt =
            until(FELT, "401", || Ok(self.client().send("GET", &format!("{two}/cart"), &cookie, None)?.status == 401))?;
        let asked = felt.as_secs_f64();
        self.check(
            true,
            &format!("the other pod refuses him ({asked:.1} s after the first question, each by kubectl)"),
        );
        Ok(())
    }

    fn restart_everything(&mut self, token: &str) -> Result<()> {
        self.chapter("Everything is made anew, one after the other, under load.");
        let load = self.client().start_load(token, self.requests)?;
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
        let outcome = load.end()?;
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

    fn upgrade(&mut self, token: &str) -> Result<()> {
        self.chapter("helm upgrade.");
        let bundles = self.helm().bundles()?;
        self.check(bundles.len() == 2 && bundles.iter().all(|it| it.len() > 100), "the webhooks are trusted");
        self.helm().upgrade("--set=controller.replicas=3")?;
        self.check(self.helm().bundles()? == bundles, "and they still are a moment after");
        self.kube.rolled_out(INSTALL, "deployment/cloakroom-controller")?;
        let answer = self.client().get("/cart", &[("authorization", &format!("Bearer {token}"))])?;
        self.check(answer.status == 200, "the session goes on");
        Ok(())
    }

    fn uninstall(&mut self) -> Result<()> {
        self.chapter("helm uninstall.");
        self.helm().uninstall()?;
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
        let answer = self.client().get("/cart", &[])?;
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
        let mut pods = self.every_pod()?;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(pods)
    }

    /// The pods of the shop, and those that are about to end.
    fn every_pod(&self) -> Result<Vec<Value>> {
        let told = self.kube.json(&["--namespace", SHOP, "get", "pods", "--selector", "app=shop"])?;
        told["items"].as_array().cloned().context("no list of pods")
    }

    fn client(&self) -> Client<'_> {
        Client(self.kube)
    }

    fn helm(&self) -> Install<'_> {
        Install { kube: self.kube, images: self.images, release: self.release }
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

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|it| it["type"] == "Ready" && it["status"] == "True")
}
