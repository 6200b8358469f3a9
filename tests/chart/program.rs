//! What the program refuses when it starts, the chart refuses before, with the names that the values have there; and no more than that.
//! The chart's bounds and forms are copies of those in `src/config`: so each row is put to both.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use cloakroom::config::Config;
use e2e::chart;
use tempfile::TempDir;

use crate::house::{given, helm};
use crate::refusals::{refusal, refused};

/// The program, asked by way of the chart without its refusals: what it says of the files that would be written.
struct Program {
    chart: TempDir,
}

impl Program {
    fn new() -> Result<Self> {
        let chart = tempfile::tempdir()?;
        let mut copy = Command::new("cp");
        ensure!(copy.arg("-R").arg(chart::folder().join(".")).arg(chart.path()).status()?.success(), "no copy");
        std::fs::remove_file(chart.path().join("templates/validate.yaml"))?;
        Ok(Self { chart })
    }

    /// Its words about these values; `None` where it takes them.
    fn refusal(&self, sets: &str) -> Result<Option<String>> {
        let chart = self.chart.path().display().to_string();
        let rendered = helm()?.run(&[&["template", "cloakroom", &chart][..], &given(sets)].concat())?;
        let mut asked = 0;
        for object in chart::objects(&rendered)? {
            for file in ["cloakroom.yaml", "sidecar.yaml"] {
                let Some(text) = object["data"][file].as_str().filter(|_| object["kind"] == "ConfigMap") else {
                    continue;
                };
                let text = text.replace("${namespace}", "shop");
                if let Err(error) = Config::parse(Path::new("/etc/cloakroom/config/cloakroom.yaml"), &text) {
                    return Ok(Some(format!("{error:#}")));
                }
                asked += 1;
            }
        }
        ensure!(asked == 2, "{sets}: {asked} files, not one for the controller and one for gates");
        Ok(None)
    }
}

/// Each row is refused: by the program, which names its own key, and by the chart in all of its words.
fn refused_by_both(table: Vec<(String, &str, Vec<&str>)>) -> Result<()> {
    let program = Program::new()?;
    for (sets, key, _) in &table {
        let told = program.refusal(sets)?.with_context(|| format!("cloakroom takes {sets}"))?;
        ensure!(told.contains(key), "{sets}: no `{key}` in {told}");
    }
    refused(table.into_iter().map(|(sets, _, words)| (sets, words)).collect())
}

#[test]
fn values_with_which_cloakroom_would_not_start_are_refused_with_the_cure() -> Result<()> {
    let redis = |rest: &str| format!("store.kind=redis,{rest}");
    refused_by_both(vec![
        ("jwt.header=authorization".into(), "jwt.header", vec!["jwt.header: authorization", "begin it with x-"]),
        ("jwt.header=x-".into(), "jwt.header", vec!["jwt.header: x-", "x-session-jwt"]),
        ("jwt.header=x-user_jwt".into(), "jwt.header", vec!["jwt.header: x-user_jwt", "single dashes"]),
        ("jwt.header=x-user--jwt".into(), "jwt.header", vec!["jwt.header: x-user--jwt", "single dashes"]),
        ("jwt.header=x-user-".into(), "jwt.header", vec!["jwt.header: x-user-", "single dashes"]),
        (format!("jwt.header=x-{}", "a".repeat(63)), "jwt.header", vec!["longer than 64 characters", "a shorter one"]),
        ("jwt.header=X-Forwarded-Host".into(), "jwt.header", vec!["jwt.header: X-Forwarded-Host", "the proxy"]),
        ("jwt.header=x-envoy-peer".into(), "jwt.header", vec!["jwt.header: x-envoy-peer", "choose another"]),
        ("jwt.issuer=http://id.example".into(), "jwt.issuer", vec!["jwt.issuer: http://id.example", "leave it empty"]),
        ("jwt.issuer=https://id.example/?a".into(), "jwt.issuer", vec!["jwt.issuer", "without query and fragment"]),
        ("jwt.issuer=https://id.example/#a".into(), "jwt.issuer", vec!["jwt.issuer", "without query and fragment"]),
        ("jwt.issuer=https:///a".into(), "jwt.issuer", vec!["jwt.issuer: https:///a", "https URL"]),
        (
            format!("jwt.issuer=https://id.example/{}", "a".repeat(512)),
            "jwt.issuer",
            vec!["jwt.issuer", "at most 512 signs"],
        ),
        (
            "config.token.carriers[0].cookie=session".into(),
            "token.carriers",
            vec!["config.token.carriers", "the cookie session", "as in __Host-session"],
        ),
        (
            "config.sessions.idle=1d".into(),
            "sessions.idle",
            vec!["config.sessions.idle: 1d", "not a duration", "like 15m"],
        ),
        ("config.jwt.lifetime=30s500ms".into(), "jwt.lifetime", vec!["config.jwt.lifetime: 30s500ms", "whole seconds"]),
        (
            "controller.lease.duration=2500ms".into(),
            "controller.lease.duration",
            vec!["controller.lease.duration: 2500ms", "whole seconds"],
        ),
        // Of these two each is held against what the other is unless told.
        (
            "config.sessions.absolute=59m59s".into(),
            "sessions.absolute",
            vec!["config.sessions.idle: 1h", "config.sessions.absolute: 59m59s", "a shorter idle"],
        ),
        (
            "config.sessions.idle=24h1s".into(),
            "sessions.absolute",
            vec!["config.sessions.idle: 24h1s", "config.sessions.absolute: 24h", "a longer absolute"],
        ),
        (
            "controller.keys.rotateEvery=2h,controller.keys.publishFor=2h".into(),
            "controller.keys.publishFor",
            vec!["controller.keys.publishFor: 2h", "controller.keys.rotateEvery: 2h", "a longer rotateEvery"],
        ),
        (
            "config.sessions.view.maxBytes=banana".into(),
            "sessions.view.maxBytes",
            vec!["config.sessions.view.maxBytes: banana", "like 64Mi"],
        ),
        ("config.jwt.maxBytes=0Ki".into(), "jwt.maxBytes", vec!["config.jwt.maxBytes: 0Ki", "512 to 60Ki"]),
        (
            redis("store.redis.url=redis://x,store.redis.cluster.addresses[0]=y:1"),
            "sessions.store.redis",
            vec!["store.redis.url", "store.redis.cluster", "Leave one"],
        ),
        (
            redis("store.redis.url=redis://x,store.redis.tls.enabled=true"),
            "sessions.store.redis",
            vec!["redis://", "store.redis.tls", "rediss://"],
        ),
        (
            redis("store.redis.url=rediss://x,store.redis.username=u"),
            "sessions.store.redis.passwordFile",
            vec!["store.redis.username", "store.redis.passwordSecret.name", "Name the Secret"],
        ),
        (
            redis(
                "store.redis.sentinel.master=m,store.redis.sentinel.addresses[0]=y:1,store.redis.sentinel.username=u",
            ),
            "sessions.store.redis.sentinel.passwordFile",
            vec!["store.redis.sentinel.username", "store.redis.sentinel.passwordSecret.name", "Name the Secret"],
        ),
        (
            redis("store.redis.url=redis://x/3,store.redis.database=2"),
            "sessions.store.redis.database",
            vec!["store.redis.database: 2", "store.redis.url", "say it once"],
        ),
        (
            redis("store.redis.cluster.addresses[0]=y:1,store.redis.database=2"),
            "sessions.store.redis.database",
            vec!["store.redis.database: 2", "store.redis.cluster", "database 0 alone"],
        ),
        (
            redis("store.redis.url=redis://user:secret@host"),
            "sessions.store.redis.url",
            vec!["store.redis.url", "a password", "store.redis.passwordSecret.name="],
        ),
        (
            redis("store.redis.url=redis.example:6379"),
            "sessions.store.redis.url",
            vec!["store.redis.url", "redis://HOST[:PORT][/DATABASE]"],
        ),
        (
            redis("store.redis.sentinel.addresses={a:1}"),
            "sessions.store.redis.sentinel",
            vec!["store.redis.sentinel", "needs master", "--set store.redis.sentinel.master"],
        ),
        (
            redis("store.redis.sentinel.master=m"),
            "sessions.store.redis.sentinel",
            vec!["store.redis.sentinel needs addresses", "HOST:PORT"],
        ),
        (
            redis("store.redis.cluster.addresses={}"),
            "sessions.store.redis.cluster.addresses",
            vec!["store.redis.cluster.addresses: entry 1", "HOST:PORT"],
        ),
        (
            redis("store.redis.cluster.addresses={a:1,u:secret@b:2}"),
            "sessions.store.redis.cluster.addresses",
            vec!["store.redis.cluster.addresses: entry 2", "HOST:PORT"],
        ),
        (
            redis("store.redis.url=rediss://x,store.redis.wait.timeout=1s"),
            "sessions.store.redis.wait",
            vec!["store.redis.wait.timeout", "store.redis.wait.replicas", "leave wait out"],
        ),
    ])
}

/// What each is next to, at either end. What stands at the ends is taken.
#[test]
fn what_is_out_of_its_bounds_is_refused_with_them() -> Result<()> {
    const REDIS: &str = "store.kind=redis,store.redis.url=rediss://x,store.redis.wait.replicas=1";
    let (mut table, mut least, mut most) = (Vec::new(), Vec::new(), Vec::new());
    for (path, outside, cure) in [
        ("config.sessions.idle", &["9s", "9601h"][..], "say 10s to 9600h"),
        ("config.sessions.absolute", &["59s", "9601h"], "say 1m to 9600h"),
        ("config.sessions.rotate.every", &["9601h"], "say 0s to 9600h"),
        ("config.sessions.rotate.overlap", &["999ms", "601s"], "say 1s to 10m"),
        ("config.sessions.view.maxBytes", &["1000k", "1025Gi"], "say 1Mi to 1Ti"),
        ("config.sessions.view.maxStaleness", &["99ms", "61s"], "say 100ms to 60s"),
        ("config.sessions.view.negative", &["99ms", "61s"], "say 100ms to 60s"),
        ("config.jwt.lifetime", &["9s", "61s"], "say 10s to 60s"),
        ("config.jwt.maxBytes", &["511", "61Ki"], "say 512 to 60Ki"),
        ("config.check.timeout", &["9ms", "61s"], "say 10ms to 60s"),
        ("config.response.timeout", &["9ms", "61s"], "say 10ms to 60s"),
        ("config.shutdown.settle", &["301s"], "say 0s to 5m"),
        ("config.shutdown.drain", &["61m"], "say 0s to 1h"),
        ("controller.keys.rotateEvery", &["59m", "9601h"], "say 1h to 9600h"),
        ("controller.keys.publishFor", &["359s", "25h"], "say 6m to 24h"),
        ("controller.lease.duration", &["1s", "301s"], "say 2s to 5m"),
        ("controller.certificateLife", &["59m", "87601h"], "say 1h to 87600h"),
        ("store.redis.wait.timeout", &["9ms", "1501ms"], "say 10ms to 1500ms"),
    ] {
        let ends = cure.trim_start_matches("say ").split_once(" to ").context("two ends")?;
        let key = match path {
            "controller.certificateLife" => "controller.certificates.life",
            "store.redis.wait.timeout" => "sessions.store.redis.wait.timeout",
            other => other.trim_start_matches("config."),
        };
        table.extend(outside.iter().map(|value| (format!("{REDIS};{path}={value}"), key, vec![path, *value, cure])));
        least.push(format!("{path}={}", ends.0));
        most.push(format!("{path}={}", ends.1));
    }
    for ends in [least, most] {
        taken_by_both(&[&format!("{REDIS};{}", ends.join(","))])?;
    }
    refused_by_both(table)
}

/// The ends of what may be said, and forms that look like mistakes.
#[test]
fn what_cloakroom_takes_is_not_refused() -> Result<()> {
    taken_by_both(&[
        "realm=default",
        "jwt.issuer=https://id.example/",
        "jwt.header=X-User-JWT",
        "jwt.header=x-1-a",
        "config.jwt.maxBytes=1k,config.sessions.view.maxBytes=1048576k",
        "config.jwt.lifetime=1m,config.sessions.idle=1h30m,config.sessions.absolute=90m",
        "config.sessions.idle=24h",
        "config.sessions.absolute=1h",
        "controller.keys.rotateEvery=1h,controller.keys.publishFor=59m59s999ms,controller.lease.duration=08s",
        "config.token.carriers[0].cookie=__Host-session,config.token.carriers[1].header=x-token",
        "store.kind=redis,store.redis.url=rediss://[fd00::7]:6380/1",
        "store.kind=redis,store.redis.url=redis://redis.example/",
        "store.kind=redis,store.redis.sentinel.master=m,store.redis.sentinel.addresses={a:26379,[::1]:2}",
        "mesh=gatewayApi,gateways[0].namespace=infra,gateways[0].name=web,config.providers.caFile=/etc/idp/ca.pem",
        "shape=shared,proxyNamespaces={edge},envoy.namespaces={edge},envoy.upstreamHost=127.0.0.1",
    ])
}

fn taken_by_both(rows: &[&str]) -> Result<()> {
    let program = Program::new()?;
    for sets in rows {
        let (by_program, by_chart) = (program.refusal(sets)?, refusal(sets)?);
        ensure!(by_program.is_none(), "{sets}: cloakroom says {by_program:?}");
        ensure!(by_chart.is_none(), "{sets}: the chart says {by_chart:?}");
    }
    Ok(())
}
