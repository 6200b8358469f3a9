//! `controller.sidecars` and `controller.secrets`.

use super::*;
use crate::injector::GateAddress;
use crate::k8s::controller::{FileInSecret, OnceMade};

const SIDECARS: &str = "policies: { kubernetes: { gateways: [], installNamespace: cloakroom-system } }
controller:
  webhook: { listen: '0.0.0.0:9443', certFile: tls.crt, keyFile: tls.key }
";

/// What `controller.sidecars` comes to, beside what it must say.
fn sidecars(written: &str) -> Result<SidecarsSettings, String> {
    let all = format!("{LEAST}{SIDECARS}  sidecars: {{ configFile: sidecar.yaml, image: cloakroom, {written} }}\n");
    Ok(parse(&all)?.controller.sidecars.unwrap())
}

#[test]
fn sidecars_are_read_whole() {
    let least = sidecars("").unwrap();
    assert_eq!(least.namespaces.config_file, PathBuf::from("/etc/cloakroom/sidecar.yaml"));
    assert_eq!((least.namespaces.password, least.namespaces.ca), (None, None));
    assert_eq!(least.namespaces.sentinel_password, None);
    assert_eq!((least.injection.image.as_str(), least.injection.pull_policy.as_str()), ("cloakroom", "IfNotPresent"));
    assert_eq!(least.injection.listen, GateAddress::Loopback);
    assert_eq!(least.injection.proxy_containers, ["envoy", "istio-proxy"]);
    assert_eq!(least.injection.resources.limits, [("memory".to_owned(), "256Mi".to_owned())].into());

    let all = "imagePullPolicy: Never, listen: socket, proxyContainers: [proxy], \
               store: { passwordSecret: s, sentinelPasswordSecret: s, sentinelPasswordKey: p, caSecret: c, caKey: k }, \
               resources: { requests: { cpu: 1 }, limits: {} }";
    let all = sidecars(all).unwrap();
    assert_eq!((all.injection.listen, all.injection.pull_policy.as_str()), (GateAddress::Socket, "Never"));
    assert_eq!(all.injection.resources.requests, [("cpu".to_owned(), "1".to_owned())].into());
    assert!(all.injection.resources.limits.is_empty());
    let file = |secret: &str, key: &str| Some(FileInSecret { secret: secret.into(), key: key.into() });
    assert_eq!((all.namespaces.password, all.namespaces.ca), (file("s", "password"), file("c", "k")));
    assert_eq!(all.namespaces.sentinel_password, file("s", "p"));

    let once = parse(&format!("{LEAST}{SIDECARS}  secrets: [store, token]\n")).unwrap().controller.secrets;
    assert_eq!(once, [OnceMade::Token, OnceMade::Store].into());
}

#[test]
fn wrong_sidecars_name_the_key_and_the_cure() {
    for (written, says) in [
        ("imagePullPolicy: Sometimes", vec!["sidecars.imagePullPolicy", "Always, IfNotPresent, Never"]),
        ("listen: tcp", vec!["sidecars.listen", "loopback, socket"]),
        ("proxyContainers: [Envoy]", vec!["sidecars.proxyContainers", "`Envoy`"]),
        ("resources: { limits: { memory: lots } }", vec!["resources.limits", "`memory: lots`", "64Mi"]),
        ("resources: { requests: { cpu: [] } }", vec!["resources.requests"]),
        ("store: { passwordSecret: A }", vec!["store.passwordSecret", "`A`"]),
        ("store: { passwordKey: p }", vec!["store.passwordKey", "store.passwordSecret"]),
        ("store: { sentinelPasswordKey: p }", vec!["store.sentinelPasswordKey", "store.sentinelPasswordSecret"]),
        ("store: { caSecret: c, caKey: '../x' }", vec!["store.caKey", "`../x`"]),
        ("store: { users: true, passwordSecret: s }", vec!["store.users", "passwordSecret", "exclude each other"]),
        ("store: { users: true }", vec!["store.users", "sessions.store.kind: redis", "passwordFile"]),
        ("images: x", vec!["did you mean `image`?"]),
    ] {
        let error = sidecars(written).unwrap_err();
        for word in says {
            assert!(error.contains(word), "{written}: the message lacks `{word}`: {error}");
        }
    }
    let alone = format!("{LEAST}controller: {{ sidecars: {{ configFile: f, image: i }} }}\n");
    assert!(parse(&alone).unwrap_err().contains("controller.sidecars: needs controller.webhook"));
    let unknown = parse(&format!("{LEAST}controller: {{ secrets: [tokens] }}\n")).unwrap_err();
    assert!(unknown.contains("controller.secrets: `tokens` is not one of token, admin, store"), "{unknown}");
}

#[test]
fn the_file_of_the_sidecars_is_checked_before_it_is_copied() {
    let file = |grpc: &str, namespace: &str| {
        format!("{LEAST}listen: {{ grpc: '{grpc}' }}\npolicies: {{ kubernetes: {{ namespace: '{namespace}' }} }}\n")
    };
    let (own, loopback, socket) = ("${namespace}", "127.0.0.1:9443", "unix:///run/cloakroom/gate/gate.sock");
    for (listen, text, problem) in [
        ("loopback", file(loopback, own), None),
        ("socket", file(socket, own), None),
        ("loopback", file(loopback, "shop"), Some("policies.kubernetes.namespace: must be ${namespace}")),
        ("loopback", LEAST.to_owned(), Some("policies.kubernetes.namespace: must be ${namespace}")),
        ("loopback", file(socket, own), Some("listen.grpc: must be 127.0.0.1:9443")),
        ("loopback", file("127.0.0.1:9444", own), Some("listen.grpc: must be 127.0.0.1:9443")),
        ("socket", file(loopback, own), Some("listen.grpc: must be a socket below /run/cloakroom")),
        ("loopback", "jwts: {}".to_owned(), Some("did you mean `jwt`?")),
    ] {
        let checked = sidecars(&format!("listen: {listen}")).unwrap().check(&text);
        match (checked, problem) {
            (Ok(()), None) => {}
            (Err(error), Some(problem)) => assert!(error.contains(problem), "{text}: {error}"),
            (checked, _) => panic!("{text}: {checked:?}"),
        }
    }
}

/// With users, and this `sessions.store.redis`.
fn with_users(redis: &str) -> Result<SidecarsSettings, String> {
    let store = format!("sessions: {{ store: {{ kind: redis, redis: {redis} }} }}\n");
    let sidecars = "  sidecars: { configFile: sidecar.yaml, image: cloakroom, store: { users: true } }\n";
    Ok(parse(&format!("{LEAST}{store}{SIDECARS}{sidecars}"))?.controller.sidecars.unwrap())
}

#[test]
fn users_are_made_on_one_server_and_by_somebody_else() {
    let good = with_users("{ url: 'redis://store', passwordFile: secrets/password }").unwrap();
    let users = good.users.clone().unwrap();
    assert_eq!((users.address.to_string().as_str(), good.namespaces.users), ("store:6379", true));
    assert_eq!(users.access.password, Some(PathBuf::from("/etc/cloakroom/secrets/password")));
    for (redis, words) in [
        ("{ cluster: { addresses: ['a:1'] } }", "make the users by hand on every server, as docs/store.md shows"),
        ("{ sentinel: { master: m, addresses: ['a:1'] } }", "make the users by hand on every server"),
        ("{ url: 'redis://store', username: cloakroom-x, passwordFile: p }", "must not begin with cloakroom-"),
    ] {
        let error = with_users(redis).unwrap_err();
        assert!(error.contains(words), "{redis}: {error}");
    }
    let file = |user: &str| {
        format!(
            "{LEAST}listen: {{ grpc: '127.0.0.1:9443' }}\npolicies: {{ kubernetes: {{ namespace: '${{namespace}}' }} }}\n\
             sessions: {{ store: {{ kind: redis, redis: {{ url: 'redis://store', {user} passwordFile: p }} }} }}\n"
        )
    };
    assert_eq!(good.check(&file("username: 'cloakroom-${namespace}',")), Ok(()));
    for user in ["", "username: cloakroom-shop,"] {
        let error = good.check(&file(user)).unwrap_err();
        assert!(error.contains("sessions.store.redis.username: must be cloakroom-${namespace}"), "{user}: {error}");
    }
}
