use std::path::Path;
use std::time::Duration;

use super::*;
use crate::authz::policy::Namespaces;

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
    assert_eq!(config.policies, Path::new("/etc/cloakroom/policies"));
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
    assert_eq!(crate::app::install(&config).realms[&config.realm], shop, "policies are held to it");
    assert_eq!(config.callers[0].caller.name, "admin");
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
        ("listen: { grpc: '0.0.0.0:9443' }", vec!["listen.grpc", "local proxy"]),
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
        ("sessions: { store: { kind: redis } }", vec!["redis", "embedded"]),
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
        ("{ issuer: 'https://x.example', header: x-forwarded-for }", "proxy"),
        ("{ issuer: 'https://x.example', lifetime: 2m }", "jwt.lifetime"),
        ("{ issuer: 'https://x.example', algorithm: HS256 }", "HS256"),
        ("{ issuer: 'https://x.example', maxBytes: 1Mi }", "jwt.maxBytes"),
    ] {
        let error = parse(&format!("jwt: {jwt}\n")).unwrap_err();
        assert!(error.contains(says), "{jwt}: the message lacks `{says}`: {error}");
    }
}
