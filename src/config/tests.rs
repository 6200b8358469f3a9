use std::path::Path;
use std::time::Duration;

use super::*;
use crate::authz::credential::Carrier;
use crate::authz::policy::Namespaces;
use crate::k8s::{Access as ClusterAccess, ClusterSettings};
use crate::sessions::keyring::algorithm::SigningAlgorithm;
use crate::store::redis::{Access, Address as RedisAddress, RedisConfig, Servers, Tls, Wait};
use crate::tls::TlsFiles;

mod sidecars;

const LEAST: &str = "jwt: { issuer: 'https://cloakroom.example' }\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("/etc/cloakroom/cloakroom.yaml"), text).map_err(|error| error.to_string())
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.realm.as_str(), "default");
    assert_eq!(config.listen.grpc, Address::Unix("/run/cloakroom/gate.sock".into()));
    assert_eq!(config.listen.sessions, None);
    assert_eq!(config.store, StoreConfig::Embedded { path: "/etc/cloakroom/sessions.redb".into() });
    assert_eq!(config.carriers.as_slice(), [Carrier::Cookie("__Host-session".into()), Carrier::Bearer]);
    assert_eq!(config.sessions.idle, Duration::from_secs(3600));
    assert_eq!(config.sessions.rotate_every, Some(Duration::from_secs(900)));
    assert_eq!(config.jwt.header, "x-session-jwt");
    assert_eq!(config.jwt.ring.max_bytes, 6144);
    assert_eq!(config.policies, PoliciesConfig::Dir("/etc/cloakroom/policies".into()));
    assert_eq!(config.check.timeout, Duration::from_millis(200));
    assert_eq!(config.response.timeout, Duration::from_secs(1));
}

#[test]
fn the_example_of_the_reference_is_accepted() {
    let text = "
realm: shop
realms: { shop: { use: ['*'], create: [login], write: [shop] } }
listen:
  grpc: unix:///run/cloakroom/gate.sock
  http: 127.0.0.1:9080
  health: 0.0.0.0:9091
  admin: 127.0.0.1:9090
  sessions: 127.0.0.1:9081
token: { keyFile: token.key, carriers: [{ cookie: __Host-session }, { bearer: {} }] }
sessions:
  store: { kind: embedded, path: sessions.redb }
  idle: 1h
  absolute: 24h
  rotate: { every: 15m, overlap: 30s }
  view: { maxBytes: 64Mi, maxStaleness: 5s, negative: 2s }
jwt: { header: x-session-jwt, algorithm: ES256, keysDir: keys, lifetime: 60s, issuer: 'https://cloakroom.example' }
policies: { dir: policies }
api: { tokenFile: admin.token }
telemetry: { log: info, format: json, decisions: denials }
shutdown: { settle: 2s, drain: 10s }
";
    let config = parse(text).unwrap();
    assert_eq!(config.realm.as_str(), "shop");
    let only = |name: &str| Namespaces::Only([name.to_owned()].into());
    let shop = RealmRights { uses: Namespaces::Everyone, create: only("login"), write: only("shop") };
    assert_eq!(config.realms, [(config.realm.clone(), shop.clone())].into());
    assert_eq!(crate::app::install(&config, None).realms[&config.realm], shop, "policies are held to it");
    assert_eq!(config.callers[0].caller.name, "admin");
}

#[test]
fn a_shared_gate_listens_with_tls_and_its_controller_makes_the_certificates() {
    let text = "
listen: { grpc: '0.0.0.0:9443', tls: { certFile: tls/tls.crt, keyFile: tls/tls.key, clientCaFile: /etc/ca.crt } }
controller:
  webhook: { listen: '0.0.0.0:9443' }
  certificates:
    webhook: { service: cloakroom-controller, validating: cloakroom-policies }
    gate: { service: cloakroom-gate }
    proxies: [infra]
  gateKeys: true
";
    let config = parse(&format!("{LEAST}{text}")).unwrap();
    let tls = TlsFiles {
        certificate: "/etc/cloakroom/tls/tls.crt".into(),
        key: "/etc/cloakroom/tls/tls.key".into(),
        client_ca: Some("/etc/ca.crt".into()),
        client_names: None,
    };
    assert_eq!(config.listen.grpc, Address::Known { address: ([0, 0, 0, 0], 9443).into(), tls });
    let certificates = config.controller.certificates.unwrap();
    assert_eq!(certificates.life, Duration::from_secs(90 * 86_400));
    assert_eq!((certificates.gate.as_deref(), certificates.proxies.len()), (Some("cloakroom-gate"), 1));
    assert_eq!(certificates.webhook.unwrap().mutating, None);
    assert_eq!(config.controller.webhook.unwrap().tls, None);
    assert_eq!(config.controller.keys.together, Some(SigningAlgorithm::Es256));
    let loopback = parse(&format!(
        "{LEAST}listen: {{ grpc: '127.0.0.1:1', tls: {{ certFile: c, keyFile: k, clientCaFile: a }} }}"
    ));
    assert!(matches!(loopback.unwrap().listen.grpc, Address::Known { .. }));
}

#[test]
fn p10_new_keys_may_be_for_another_algorithm_than_gates_have_yet() {
    for (controller, want, together) in [
        ("{}", "ES256", None),
        ("{ keys: { algorithm: EdDSA }, gateKeys: true }", "EdDSA", Some("ES256")),
        ("{ keys: { algorithm: RS256 } }", "RS256", None),
    ] {
        let keys = parse(&format!("{LEAST}controller: {controller}\n")).unwrap().controller.keys;
        assert_eq!((keys.algorithm.name(), keys.together.map(SigningAlgorithm::name)), (want, together));
    }
}

#[test]
fn p30_a_list_of_names_says_who_is_let_in_and_an_empty_one_nobody() {
    for (written, want) in [
        ("", None),
        (", clientNames: []", Some(vec![])),
        (
            ", clientNames: [b.example, A.proxies.cloakroom.internal]",
            Some(vec!["b.example", "a.proxies.cloakroom.internal"]),
        ),
    ] {
        let text =
            format!("listen: {{ grpc: '0.0.0.0:1', tls: {{ certFile: c, keyFile: k, clientCaFile: a{written} }} }}");
        let config = parse(&format!("{LEAST}{text}")).unwrap();
        let Address::Known { tls, .. } = config.listen.grpc else { panic!("{written}") };
        let names = want.map(|names| names.into_iter().map(|name| name.try_into().unwrap()).collect());
        assert_eq!(tls.client_names, names, "{written}");
    }
}

#[test]
fn a_realms_right_is_everyones_unless_it_is_listed() {
    let only = |names: &[&str]| Namespaces::Only(names.iter().map(|&name| name.to_owned()).collect());
    let all = RealmRights::default();
    for (written, want) in [
        ("", all.clone()),
        ("realms: {}", all.clone()),
        ("realms: { default: {} }", all.clone()),
        ("realms: { default: { use: ['*'], create: ['*'], write: ['*'] } }", all.clone()),
        ("realms: { default: { create: [] } }", RealmRights { create: only(&[]), ..all.clone() }),
        ("realms: { default: { write: [b, a] } }", RealmRights { write: only(&["a", "b"]), ..all.clone() }),
        ("realms: { default: { use: [a], create: ['*'] } }", RealmRights { uses: only(&["a"]), ..all.clone() }),
        ("realms: { other: { use: [] } }", all.clone()),
    ] {
        let config = parse(&format!("{LEAST}{written}\n")).unwrap();
        assert_eq!(config.realms[&config.realm], want, "{written}");
        assert_eq!(config.realms.len(), if written.contains("other") { 2 } else { 1 }, "{written}");
    }
}

/// Each row: what is added to the least file, and what the error must say.
#[test]
fn wrong_values_name_the_key_and_the_cure() {
    for (text, says) in [
        ("realn: shop", vec!["realn", "realm"]),
        ("sessions: { idel: 1h }", vec!["idel", "idle"]),
        ("realm: Shop", vec!["realm", "a-z"]),
        ("realms: { Shop: {} }", vec!["realms", "`Shop`", "a-z"]),
        ("realms: { shop: { uses: [a] } }", vec!["realms.shop", "`uses`", "`use`"]),
        ("realms: { shop: { create: [Log_In] } }", vec!["realms.shop.create", "`Log_In`", "did you mean `log-in`?"]),
        ("realms: { shop: { use: ['team-*'] } }", vec!["realms.shop.use", "write the namespaces out"]),
        ("realms: { shop: { write: [''] } }", vec!["realms.shop.write", "1 to 63"]),
        ("realms: { shop: { write: ['*', shop] } }", vec!["realms.shop.write", "write it alone"]),
        ("realms: { shop: { write: [shop, shop] } }", vec!["realms.shop.write", "named twice"]),
        (
            "realms: { shop: { use: [shop], create: [login] } }",
            vec!["realms.shop.create", "`login` may not use the realm", "realms.shop.use"],
        ),
        ("realms: { shop: { use: [shop], write: [login] } }", vec!["realms.shop.write", "add it to realms.shop.use"]),
        ("providers: { networks: ['10.0.0.0'] }", vec!["providers.networks", "`10.0.0.0`", "10.0.0.0/8"]),
        ("providers: { networks: ['10.0.0.1/8'] }", vec!["providers.networks", "is not a network"]),
        ("providers: { network: [] }", vec!["`network`", "`networks`"]),
        ("listen: { grpc: '0.0.0.0:9443' }", vec!["listen.grpc", "can be reached by others", "listen.tls"]),
        ("listen: { grpc: '0.0.0.0:9443', tls: {} }", vec!["listen.tls.certFile", "is missing"]),
        ("listen: { grpc: '0.0.0.0:9443', tls: { certFile: c } }", vec!["listen.tls.keyFile", "is missing"]),
        (
            "listen: { grpc: '0.0.0.0:9443', tls: { certFile: c, keyFile: k } }",
            vec!["listen.tls.clientCaFile", "the proxies show"],
        ),
        ("listen: { tls: { certFile: c, keyFile: k, clientCaFile: a } }", vec!["listen.tls", "socket file"]),
        ("listen: { tls: { caFile: a } }", vec!["`caFile`", "`certFile`"]),
        (
            "listen: { grpc: '0.0.0.0:9443', tls: { certFile: c, keyFile: k, clientNames: [a] } }",
            vec!["listen.tls.clientCaFile", "is missing"],
        ),
        (
            "listen: { grpc: '0.0.0.0:9443', tls: { certFile: c, keyFile: k, clientCaFile: a, clientNames: ['*.example'] } }",
            vec!["listen.tls.clientNames", "`*.example` is not a DNS name", "write each name out"],
        ),
        (
            "listen: { grpc: '0.0.0.0:9443', tls: { certFile: c, keyFile: k, clientCaFile: a, clientNames: [10.0.0.1] } }",
            vec!["listen.tls.clientNames", "`10.0.0.1` is not a DNS name"],
        ),
        (
            "listen: { grpc: '0.0.0.0:9443', tls: { certFile: c, keyFile: k, clientCaFile: a, clientNames: [a.b, A.b] } }",
            vec!["listen.tls.clientNames", "`A.b` is named twice"],
        ),
        ("controller: { webhook: { listen: '0.0.0.0:9443' } }", vec!["webhook.certFile", "controller.certificates"]),
        (
            "controller: { webhook: { listen: '0.0.0.0:9443' }, certificates: { gate: { service: g } } }",
            vec!["webhook.certFile", "controller.certificates.webhook"],
        ),
        ("controller: { webhook: { listen: '0.0.0.0:9443', certFile: c } }", vec!["controller.webhook.keyFile"]),
        ("controller: { webhook: { listen: '0.0.0.0:9443', keyFile: k } }", vec!["controller.webhook.certFile"]),
        ("controller: { certificates: { gate: { service: A.b } } }", vec!["certificates.gate.service", "`A.b`"]),
        ("controller: { certificates: { proxies: [a.b] } }", vec!["certificates.proxies", "`a.b`", "a namespace"]),
        ("controller: { certificates: { life: 1m } }", vec!["controller.certificates.life", "1h"]),
        (
            "controller: { gateKeys: true, keys: { algorithm: RS256 } }",
            vec!["controller.keys.algorithm: RS256 is slower than jwt.algorithm, ES256", "set jwt.algorithm to RS256"],
        ),
        ("listen: { grpc: 'localhost:9443' }", vec!["listen.grpc", "IP:PORT"]),
        (
            "api: { tokenFile: t, callers: [{ name: a, tokenFile: f, verbs: [destroy] }] }\nlisten: { sessions: '127.0.0.1:0' }",
            vec!["destroy", "revoke"],
        ),
        ("listen: { admin: '10.0.0.1:9090' }", vec!["listen.admin", "loopback"]),
        ("listen: { sessions: '127.0.0.1:9081' }", vec!["api", "tokenFile"]),
        (
            "api: { tokenFile: t }\nlisten: { sessions: '0.0.0.0:9081' }",
            vec!["listen.sessions", "TLS proxy", "127.0.0.1:9081"],
        ),
        ("api: { tokenFile: t }\nlisten: { sessions: '[2001:db8::1]:9081' }", vec!["listen.sessions", "TLS proxy"]),
        ("api: { tokenFile: t }", vec!["listen.sessions", "127.0.0.1:9081"]),
        ("token: { carriers: [{ cookie: session }] }", vec!["__Host-"]),
        ("token: { carriers: [{ header: cookie }] }", vec!["token.carriers"]),
        ("token: { carriers: [] }", vec!["no carrier"]),
        ("token: { carriers: [{ bearer: {} }, { bearer: {} }] }", vec!["twice"]),
        ("sessions: { store: { kind: memory, path: x } }", vec!["sessions.store.path", "embedded"]),
        ("sessions: { store: { kind: rediss } }", vec!["rediss", "did you mean `redis`?"]),
        ("sessions: { store: { kind: memory, redis: {} } }", vec!["sessions.store.redis", "kind: redis"]),
        ("sessions: { store: { kind: redis } }", vec!["sessions.store.redis", "url", "sentinel", "cluster"]),
        ("sessions: { store: { kind: redis, path: x } }", vec!["sessions.store.path", "embedded"]),
        ("sessions: { idle: 2h, absolute: 1h }", vec!["sessions.idle"]),
        ("sessions: { view: { maxStaleness: 2m } }", vec!["sessions.view.maxStaleness", "1m"]),
        ("sessions: { view: { maxBytes: 1Ki } }", vec!["sessions.view.maxBytes", "1Mi"]),
        ("shutdown: { drain: forever }", vec!["forever"]),
        ("check: { workers: 0 }", vec!["check.workers", "1 to 256"]),
        ("response: { timeout: 2m }", vec!["response.timeout", "10ms to 1m"]),
        ("telemetry: { format: xml }", vec!["telemetry.format", "json"]),
        ("telemetry: { otlp: 'http://x' }", vec!["otlp"]),
    ] {
        let error = parse(&format!("{LEAST}{text}\n")).unwrap_err();
        for word in says {
            assert!(error.contains(word), "{text}: the message lacks `{word}`: {error}");
        }
        assert!(error.contains("cloakroom.yaml"), "{text}: the message lacks the file: {error}");
    }
}

#[test]
fn the_issuer_and_the_header_are_checked() {
    for (jwt, says) in [
        ("{}", "required"),
        ("{ issuer: 'http://x.example' }", "https"),
        ("{ issuer: 'https://x.example?a' }", "query"),
        ("{ issuer: 'https://x.example', header: session }", "x-"),
        ("{ issuer: 'https://x.example', header: x_jwt }", "x-"),
        ("{ issuer: 'https://x.example', header: x-user--jwt }", "x-"),
        ("{ issuer: 'https://x.example', header: x-user- }", "x-"),
        ("{ issuer: 'https://x.example', header: x-forwarded-for }", "proxy"),
        ("{ issuer: 'https://x.example', lifetime: 2m }", "jwt.lifetime"),
        ("{ issuer: 'https://x.example', lifetime: 30s500ms }", "whole seconds"),
        ("{ issuer: 'https://x.example', algorithm: HS256 }", "HS256"),
        ("{ issuer: 'https://x.example', maxBytes: 1Mi }", "jwt.maxBytes"),
    ] {
        let error = parse(&format!("jwt: {jwt}\n")).unwrap_err();
        assert!(error.contains(says), "{jwt}: the message lacks `{says}`: {error}");
    }
}

/// What `sessions.store.redis` comes to.
fn redis(written: &str) -> Result<RedisConfig, String> {
    match parse(&format!("{LEAST}sessions: {{ store: {{ kind: redis, redis: {{ {written} }} }} }}\n"))?.store {
        StoreConfig::Redis(config) => Ok(*config),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_place_in_redis_is_read_whole() {
    let one = redis("url: 'redis://redis.example'").unwrap();
    assert_eq!(one.servers, Servers::One(RedisAddress::parse("redis.example:6379").unwrap()));
    assert_eq!((one.database, &one.access, one.wait), (0, &Access::default(), None));
    assert_eq!((one.probe_every, one.probe_within), (Duration::from_secs(1), Duration::from_secs(1)));

    let secure = "url: 'rediss://[::1]:6380/3', username: gate, passwordFile: pass, tls: { caFile: ca, certFile: c, keyFile: k }";
    let secure = redis(secure).unwrap();
    assert_eq!(secure.servers, Servers::One(RedisAddress::parse("[::1]:6380").unwrap()));
    assert_eq!(secure.database, 3);
    let file = |name: &str| PathBuf::from("/etc/cloakroom").join(name);
    let tls = Tls { ca: Some(file("ca")), identity: Some((file("c"), file("k"))) };
    assert_eq!(secure.access, Access { user: Some("gate".into()), password: Some(file("pass")), tls: Some(tls) });

    let sentinel =
        redis("sentinel: { master: m, addresses: ['a:1', 'b:2'], passwordFile: s }, tls: {}, passwordFile: p").unwrap();
    let Servers::Sentinel(of) = sentinel.servers else { panic!("not by sentinels") };
    assert_eq!((of.master.as_str(), of.addresses.len(), of.access.password), ("m", 2, Some(file("s"))));
    assert_eq!((of.access.tls, sentinel.access.password), (Some(Tls::default()), Some(file("p"))));

    let cluster = redis("cluster: { addresses: ['a:1'] }, wait: { replicas: 2 }").unwrap();
    assert!(matches!(cluster.servers, Servers::Cluster(seeds) if seeds.len() == 1));
    assert_eq!(cluster.wait, Some(Wait { replicas: 2, timeout: Duration::from_millis(500) }));
}

#[test]
fn wrong_places_in_redis_name_the_key_and_the_cure() {
    for (written, says) in [
        ("url: 'http://redis'", vec!["redis.url", "redis://HOST"]),
        ("url: 'redis://'", vec!["redis.url", "redis://HOST"]),
        ("url: 'redis://a:b:c'", vec!["redis.url"]),
        ("url: 'redis://a/x'", vec!["redis.url"]),
        ("url: 'redis://a?x'", vec!["redis.url"]),
        ("url: 'redis://fd00::7'", vec!["redis.url"]),
        ("url: 'redis://a', username: gate", vec!["redis.passwordFile", "username"]),
        ("sentinel: { master: m, addresses: ['a:1'], username: u }", vec!["sentinel.passwordFile"]),
        ("url: 'redis://ada:secret-word@redis'", vec!["redis.url", "passwordFile"]),
        ("url: 'redis://a', tls: {}", vec!["redis.url", "rediss://"]),
        ("url: 'redis://a', sentinel: { master: m, addresses: ['a:1'] }", vec!["one of url", "cluster"]),
        ("url: 'redis://a/1', database: 1", vec!["redis.database", "once"]),
        ("url: 'redis://a', database: -1", vec!["redis.database", "0 to 1023"]),
        ("cluster: { addresses: ['a:1'] }, database: 1", vec!["redis.database", "0 to 0"]),
        ("cluster: { addresses: [] }", vec!["cluster.addresses", "1 to 64"]),
        ("cluster: { addresses: ['a'] }", vec!["cluster.addresses", "entry 1", "HOST:PORT"]),
        ("cluster: { addresses: ['redis://:secret-word@a:1'] }", vec!["cluster.addresses", "HOST:PORT"]),
        ("sentinel: { master: 'a b', addresses: ['a:1'] }", vec!["sentinel.master"]),
        ("sentinel: { master: m, addresses: ['a:1', 'a:1'] }", vec!["sentinel.addresses", "twice"]),
        ("sentinel: { master: m }", vec!["addresses"]),
        ("url: 'rediss://a', tls: { certFile: c }", vec!["tls.keyFile"]),
        ("url: 'rediss://a', tls: { keyFile: c }", vec!["tls.certFile"]),
        ("url: 'redis://a', wait: { replicas: 0 }", vec!["wait.replicas", "1 to 16"]),
        ("url: 'redis://a', wait: { replicas: 1, timeout: 5s }", vec!["wait.timeout", "10ms to"]),
        ("url: 'redis://a', password: x", vec!["password", "passwordFile"]),
    ] {
        let error = redis(written).unwrap_err();
        for word in says {
            assert!(error.contains(word), "{written}: the message lacks `{word}`: {error}");
        }
        assert!(!error.contains("secret-word"), "P31: {error}");
    }
}

#[test]
fn policies_come_from_a_folder_or_from_a_cluster() {
    let cluster = |text: &str| match parse(&format!("{LEAST}policies: {{ kubernetes: {{ {text} }} }}\n"))?.policies {
        PoliciesConfig::Kubernetes(settings) => Ok::<_, String>(*settings),
        PoliciesConfig::Dir(_) => panic!("a folder"),
    };
    assert_eq!(cluster("gateways: ['*']").unwrap(), ClusterSettings::default());
    assert_eq!(cluster("gateways: []").unwrap().gateways, Some([].into()));
    let own = cluster("namespace: shop").unwrap();
    assert_eq!(own, ClusterSettings { namespace: Some("shop".to_owned()), ..ClusterSettings::default() });
    let all = "namespace: shop, selector: 'team in (shop, web)', gateways: [infra/web], installNamespace: cloakroom, \
               namespaceLabels: true, snapshot: run/policies, kubeconfig: kube.config, context: dev";
    let want = ClusterSettings {
        access: ClusterAccess::Kubeconfig {
            file: Some("/etc/cloakroom/kube.config".into()),
            context: Some("dev".to_owned()),
        },
        namespace: Some("shop".to_owned()),
        selector: Some("team in (shop, web)".to_owned()),
        gateways: Some([("infra".to_owned(), "web".to_owned())].into()),
        install_namespace: Some("cloakroom".to_owned()),
        namespace_labels: true,
        secrets: false,
        snapshot: Some("/etc/cloakroom/run/policies".into()),
    };
    assert_eq!(cluster(all).unwrap(), want);
    for (text, words) in [
        ("", "policies.kubernetes.gateways: is required without namespace"),
        ("gateways: ['*', a/b]", "policies.kubernetes.gateways: `*` names no Gateway"),
        ("namespace: Shop", "policies.kubernetes.namespace: `Shop` is not a namespace"),
        ("namespace: shop, installNamespace: ''", "policies.kubernetes.installNamespace: `` is not a namespace"),
        ("gateways: [web]", "policies.kubernetes.gateways: `web` names no Gateway: write NAMESPACE/NAME"),
        ("namespace: shop, selector: ''", "policies.kubernetes.selector: `` is not a label selector"),
        (
            "namespace: shop, selector: 'a=b&watch=false'",
            "policies.kubernetes.selector: `a=b&watch=false` is not a label selector",
        ),
        ("snapshots: x", "did you mean `snapshot`?"),
    ] {
        let error = cluster(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
    let both = parse(&format!("{LEAST}policies: {{ dir: policies, kubernetes: {{}} }}\n")).unwrap_err();
    assert!(both.contains("policies: has both dir and kubernetes"), "{both}");
}
