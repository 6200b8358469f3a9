//! Values that the chart refuses, and the words by which it does: what was said, and what to change.

use anyhow::{Result, ensure};
use e2e::chart;

use crate::house::{given, helm};

const GATEWAY: &str = "gateways[0].namespace=infra,gateways[0].name=web";

/// The words of Helm about these values; `None` where it takes them.
pub(crate) fn refusal(sets: &str) -> Result<Option<String>> {
    let chart = chart::folder().display().to_string();
    let answer = helm()?.ask(&[&["template", "cloakroom", &chart][..], &given(sets)].concat())?;
    Ok((!answer.is_good).then_some(answer.errors))
}

#[test]
fn values_that_contradict_each_other_are_refused_with_the_cure() -> Result<()> {
    let shared = |rest: &str| format!("mesh=gatewayApi,{GATEWAY},{rest}");
    let redis = |rest: &str| format!("store.kind=redis,{rest}");
    let listener = |namespace: &str, gateway: &str| {
        let key = "envoyGateway.patchPolicy.listeners[0]";
        format!("{key}.namespace={namespace},{key}.gateway={gateway},{key}.listener=https")
    };
    let table: Vec<(String, Vec<&str>)> = vec![
        ("mesh=gatewayApi,shape=sidecar".into(), vec!["mesh: gatewayApi", "shape: sidecar", "Say shape: shared"]),
        (
            "mesh=envoyGateway,shape=sidecar".into(),
            vec!["mesh: envoyGateway", "shape: sidecar", "sidecar.listen: loopback", "or sidecar.listen: socket"],
        ),
        ("mesh=envoyGateway".into(), vec!["shape: shared", "gateways", "empty", "--set gateways[0]"]),
        ("mesh=istio,shape=shared".into(), vec!["shape: shared", "gateways", "empty", "--set gateways[0]"]),
        ("shape=shared".into(), vec!["gateways", "proxyNamespaces", "both are empty"]),
        ("proxyNamespaces[0]=edge".into(), vec!["proxyNamespaces", "shape: sidecar", "Say shape: shared"]),
        (
            format!("mesh=istio,shape=shared,{GATEWAY},gateways[0].account=default"),
            vec!["gateways", "the account default", "infra/web", "an account of their own"],
        ),
        ("mesh=istio,sidecar.listen=socket".into(), vec!["mesh: istio", "sidecar.listen: socket", "loopback"]),
        (
            "mesh=gatewayApi,gateways[0].namespace=cloakroom-system,gateways[0].name=web".into(),
            vec!["gateways", "cloakroom-system", "a namespace of its own"],
        ),
        (
            "gatewayApi.routeNamespaces={shop}".into(),
            vec![
                "mesh: envoy and gatewayApi.routeNamespaces",
                "Say mesh: gatewayApi",
                "empty gatewayApi.routeNamespaces",
            ],
        ),
        (
            "istio.requestAuthentication.namespaces={shop}".into(),
            vec!["mesh: envoy and istio.requestAuthentication.namespaces", "Say mesh: istio"],
        ),
        ("mesh=istio,envoy.namespaces={shop}".into(), vec!["mesh: istio and envoy.namespaces", "Say mesh: envoy,"]),
        (
            format!("mesh=istio,{}", listener("infra", "web")),
            vec!["mesh: istio and envoyGateway.patchPolicy.listeners", "Say mesh: envoyGateway"],
        ),
        (
            format!("mesh=envoyGateway,{GATEWAY},{}", listener("infra", "other")),
            vec!["envoyGateway.patchPolicy.listeners", "infra/other", "Name it in gateways"],
        ),
        ("store.kind=embedded".into(), vec!["shape: sidecar", "store.kind: embedded", "Say store.kind: bundled"]),
        (
            shared("store.kind=embedded,gate.replicas=2"),
            vec!["store.kind: embedded", "gate.replicas: 2", "Say gate.replicas: 1"],
        ),
        (
            shared("store.kind=embedded,gate.autoscaling.enabled=true"),
            vec!["store.kind: embedded", "gate.autoscaling.enabled: true", "Say store.kind"],
        ),
        ("store.redis.url=redis://x".into(), vec!["store.kind: bundled", "store.redis.url", "say store.kind: redis"]),
        (
            "store.redis.sentinel.master=m".into(),
            vec!["store.kind: bundled", "store.redis.sentinel", "say store.kind: redis"],
        ),
        ("store.kind=redis".into(), vec!["store.kind: redis", "store.redis.url", "empty", "--set store.redis.url"]),
        (
            "store.bundled.maxMemory=513mb".into(),
            vec!["store.bundled.maxMemory: 513mb", "store.bundled.resources.limits.memory: 512Mi", "raise the limit"],
        ),
        ("store.bundled.maxMemory=0mb".into(), vec!["store.bundled.maxMemory: 0mb", "no bound"]),
        (
            redis("store.redis.url=rediss://x,store.redis.tls.certSecret.name=c"),
            vec!["shape: sidecar", "store.redis.tls.certSecret", "Use a password"],
        ),
        (
            shared("gate.autoscaling.enabled=true,gate.autoscaling.minReplicas=20"),
            vec!["minReplicas: 20", "maxReplicas: 10", "raise maxReplicas"],
        ),
        (
            shared("gate.autoscaling.enabled=true,gate.resources.requests.cpu=null"),
            vec!["gate.autoscaling.enabled: true", "gate.resources.requests.cpu", "Set it"],
        ),
        (
            "controller.podDisruptionBudget.minAvailable=1,controller.podDisruptionBudget.maxUnavailable=1".into(),
            vec!["controller.podDisruptionBudget.minAvailable", "maxUnavailable", "leave one"],
        ),
        (
            "controller.hostNetwork=true".into(),
            vec!["controller.hostNetwork: true", "store.bundled.users: true", "Say store.bundled.users: false"],
        ),
        ("controller.webhookPort=9091".into(), vec!["controller.webhookPort: 9091", "choose another"]),
        (
            "config.providers.caFile=/etc/ssl/idp.pem".into(),
            vec!["shape: sidecar", "config.providers.caFile", "gate.extraVolumes", "leave it out"],
        ),
        (
            "shape=shared,proxyNamespaces={other},envoy.namespaces={edge},envoy.upstreamHost=shop.shop.svc".into(),
            vec!["envoy.namespaces names edge", "no client certificate", "name it in proxyNamespaces"],
        ),
        (
            "shape=shared,proxyNamespaces={edge},envoy.namespaces={edge}".into(),
            vec!["shape: shared", "envoy.upstreamHost", "--set envoy.upstreamHost=", "cloakroom snippet envoy"],
        ),
    ];
    refused(table)
}

#[test]
fn values_that_nobody_could_run_are_refused_with_the_cure() -> Result<()> {
    refused(vec![
        ("image.digest=sha256:1".into(), vec!["image.digest: sha256:1", "64 of 0-9 and a-f", "image.tag"]),
        ("store.bundled.image.digest=8.1".into(), vec!["store.bundled.image.digest: 8.1", "not a digest"]),
        ("controller.replicas=0".into(), vec!["controller.replicas: 0", "say 1 or more"]),
    ])
}

/// What may be secret is told to nobody who reads the words.
#[test]
fn a_password_in_a_place_of_redis_is_not_repeated() -> Result<()> {
    for sets in ["store.redis.url=redis://u:hunter2@host", "store.redis.cluster.addresses={u:hunter2@b:2}"] {
        let told = refusal(&format!("store.kind=redis,{sets}"))?.unwrap_or_default();
        ensure!(told.contains("store.redis") && !told.contains("hunter2"), "{sets}: {told}");
    }
    Ok(())
}

/// Each row is refused in each of its words.
pub(crate) fn refused(table: Vec<(String, Vec<&str>)>) -> Result<()> {
    for (sets, words) in table {
        let Some(told) = refusal(&sets)? else { anyhow::bail!("{sets} is taken") };
        for word in words {
            ensure!(told.contains(word), "{sets}: no `{word}` in {told}");
        }
    }
    Ok(())
}

#[test]
fn all_that_is_wrong_is_said_at_once() -> Result<()> {
    let told = refusal("mesh=gatewayApi,shape=sidecar,store.kind=embedded,controller.webhookPort=9080")?.unwrap();
    for word in ["mesh: gatewayApi", "store.kind: embedded", "controller.webhookPort: 9080"] {
        ensure!(told.contains(word), "no `{word}` in {told}");
    }
    Ok(())
}

#[test]
fn unknown_and_malformed_values_are_refused_by_the_schema() -> Result<()> {
    for (sets, words) in [
        ("replicas=2", vec!["replicas"]),
        ("store.bundled.password=x", vec!["/store/bundled", "password"]),
        ("gate.autoscaling.max=2", vec!["/gate/autoscaling", "max"]),
        ("config.listen.grpc=0.0.0.0:9443", vec!["/config", "listen"]),
        ("config.policies.dir=x", vec!["/config", "policies"]),
        ("config.sessions.store.kind=memory", vec!["/config/sessions", "store"]),
        ("mesh=linkerd", vec!["/mesh", "istio"]),
        ("shape=both", vec!["/shape"]),
        ("store.kind=memory", vec!["/store/kind"]),
        ("gateways[0].name=web", vec!["/gateways/0", "namespace"]),
        ("realm=Shop", vec!["/realm"]),
        ("controller.replicas=two", vec!["/controller/replicas"]),
        ("controller.webhookPort=443", vec!["/controller/webhookPort"]),
        ("crds.keep=maybe", vec!["/crds/keep"]),
        ("global.listenAddress=127.0.0.1", vec!["/global/listenAddress"]),
    ] {
        let Some(told) = refusal(sets)? else { anyhow::bail!("{sets} is taken") };
        for word in words {
            ensure!(told.contains(word), "{sets}: no `{word}` in {told}");
        }
    }
    Ok(())
}

/// Every object of the schema knows its keys, but for those that are the API server's own.
#[test]
fn the_schema_leaves_nothing_open() -> Result<()> {
    fn walk(schema: &serde_json::Value, path: &str, open: &mut Vec<String>) {
        if schema["type"] == "object" && schema["additionalProperties"].is_null() {
            open.push(path.to_owned());
        }
        match schema {
            serde_json::Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), open));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|it| walk(it, path, open)),
            _ => {}
        }
    }
    let text = std::fs::read_to_string(chart::folder().join("values.schema.json"))?;
    let mut open = Vec::new();
    walk(&serde_json::from_str(&text)?, "", &mut open);
    ensure!(open == ["/$defs/object", "/$defs/objects/items"], "open objects: {open:?}");
    Ok(())
}

/// Each default is one that the schema takes, and each value of the schema has a default.
#[test]
fn values_and_schema_name_the_same() -> Result<()> {
    fn names(
        schema: &serde_json::Value,
        all: &serde_json::Value,
        values: &serde_json::Value,
        path: &str,
    ) -> Vec<String> {
        let schema = match schema["$ref"].as_str() {
            Some(reference) => &all["$defs"][reference.trim_start_matches("#/$defs/")],
            None => schema,
        };
        let mut missing = Vec::new();
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let here = format!("{path}.{key}");
            match values.get(key) {
                // What is empty by default is described by its comment.
                None if values.as_object().is_some_and(serde_json::Map::is_empty) => {}
                None if here.ends_with("resources.claims") => {}
                None => missing.push(here),
                Some(value) => missing.extend(names(inner, all, value, &here)),
            }
        }
        missing
    }
    let schema: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(chart::folder().join("values.schema.json"))?)?;
    let values: serde_json::Value =
        serde_saphyr::from_str(&std::fs::read_to_string(chart::folder().join("values.yaml"))?)?;
    let missing = names(&schema, &schema, &values, "");
    ensure!(missing.is_empty(), "values.yaml has no default for {missing:?}");
    Ok(())
}
