//! A gate with one cached session, and checks of it: what the benchmark measures and what `tests/allocations.rs` counts.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use cloakroom::authz::credential::{Carrier, Carriers};
use cloakroom::authz::policy::{Install, PolicyIndex};
use cloakroom::authz::session::{Claims, Realm};
use cloakroom::ext_authz::metrics::CheckMetrics;
use cloakroom::ext_authz::record::Decisions;
use cloakroom::ext_authz::service::{Gate, GateConfig};
use cloakroom::folder;
use cloakroom::identity::Identities;
use cloakroom::identity::outbound::OutboundConfig;
use cloakroom::identity::stats::ProviderStats;
use cloakroom::sessions::clock::Clock;
use cloakroom::sessions::keyring::algorithm::SigningAlgorithm;
use cloakroom::sessions::keyring::{KeyRing, KeyRingConfig, ceremony};
use cloakroom::sessions::token::TokenKeys;
use cloakroom::sessions::{NewSession, Sessions, SessionsConfig};
use cloakroom::store::Store;
use cloakroom::store::memory::MemoryStore;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message as _;
use tokio::runtime::Runtime;

/// A gate, one session that it knows, and the way to ask it.
pub(crate) struct Scene {
    runtime: Runtime,
    gate: Gate,
    token: String,
}

impl Scene {
    /// A gate with so many rules.
    pub(crate) fn set(rules: usize) -> Self {
        Self::with(|folder, realm| policies(folder, rules, realm))
    }

    /// A gate with policies of one's own, which want the role `customer` of the session.
    pub(crate) fn with(policies: impl FnOnce(&std::path::Path, &Realm) -> PolicyIndex) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(Clock::start());
        let keys = folder.path().join("keys");
        ceremony::generate(&keys, SigningAlgorithm::Es256, clock.now()).expect("a key");
        let realm = Realm::parse("shop").expect("a realm");
        let ring = KeyRing::open(KeyRingConfig {
            dir: keys,
            issuer: "https://cloakroom.example".to_owned(),
            algorithm: SigningAlgorithm::Es256,
            lifetime: Duration::from_secs(60),
            max_bytes: 6144,
        });
        let token_keys = TokenKeys::parse(&TokenKeys::generate_line().expect("random bytes")).expect("a key");
        let config = SessionsConfig {
            idle: Duration::from_secs(3600),
            absolute: Duration::from_secs(86_400),
            rotate_every: Some(Duration::from_secs(900)),
            rotate_overlap: Duration::from_secs(30),
            view_bytes: 64 << 20,
            max_staleness: Duration::from_secs(5),
            negative: Duration::from_secs(2),
            hard_ttl: Duration::from_secs(60),
        };
        let store = Arc::new(Store::Memory(MemoryStore::default()));
        let ring = Arc::new(ring.expect("keys"));
        let sessions = Arc::new(Sessions::new(config, store, token_keys, ring, Arc::clone(&clock)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let new = NewSession {
            realm: realm.clone(),
            subject: "ada".to_owned(),
            auth_time: None,
            idle: None,
            absolute: None,
            acr: None,
            amr: vec!["pwd".to_owned()],
            scopes: vec!["orders".to_owned()],
            roles: vec!["customer".to_owned()],
            claims: Claims::empty(),
            device: None,
            provider: None,
        };
        let issued = runtime.block_on(sessions.create(new, clock.now())).expect("a session");
        let policies = Arc::new(ArcSwap::from_pointee(policies(folder.path(), &realm)));
        let config = GateConfig {
            realm,
            jwt_header: "x-session-jwt".into(),
            deadline: Duration::from_secs(1),
            decisions: Decisions::None,
        };
        let metrics = CheckMetrics::register(&prometheus::Registry::new()).expect("metrics");
        let stats = Arc::new(ProviderStats::new().expect("good names"));
        let identities = Arc::new(Identities::new(&OutboundConfig::default(), stats).expect("no file"));
        let gate = Gate::new(config, policies, sessions, identities, clock, metrics);
        Self { runtime, gate, token: issued.token.reveal().to_string() }
    }

    /// Asks the gate.
    pub(crate) fn check(&self, check: &Bytes) -> Bytes {
        self.runtime.block_on(self.gate.check(Ok(check.clone())))
    }

    /// A request with the session's cookie beside another one.
    pub(crate) fn hit(&self) -> Bytes {
        self.request(&format!("theme=dark; __Host-session={}", self.token))
    }

    /// A request without a credential.
    pub(crate) fn stranger(&self) -> Bytes {
        self.request("theme=dark")
    }

    /// A request with a token whose tag is wrong.
    pub(crate) fn invented(&self) -> Bytes {
        self.request(&format!("__Host-session=ckr_{}", "A".repeat(59)))
    }

    fn request(&self, cookie: &str) -> Bytes {
        let headers = [
            (":authority", "shop.example"),
            (":path", "/area-5/orders/7"),
            (":method", "GET"),
            (":scheme", "https"),
            ("accept", "application/json"),
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"),
            ("accept-language", "en-GB,en;q=0.9"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "6d1f3f0a-5f0e-4e7a-9d43-1d2f5b1c8a11"),
            ("sec-fetch-site", "same-origin"),
            ("cookie", cookie),
        ];
        let http = HttpRequest {
            method: "GET".to_owned(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            path: "/area-5/orders/7".to_owned(),
            host: "shop.example".to_owned(),
            scheme: "https".to_owned(),
            ..Default::default()
        };
        let attributes = AttributeContext {
            request: Some(Request { http: Some(http), ..Default::default() }),
            ..Default::default()
        };
        CheckRequest { attributes: Some(attributes) }.encode_to_vec().into()
    }
}

/// Rules over hosts of ten, all of which want a role; the first host is the one that is asked.
fn policies(folder: &std::path::Path, rules: usize, realm: &Realm) -> PolicyIndex {
    let dir = folder.join("policies");
    std::fs::create_dir(&dir).expect("a folder");
    for host in 0..rules / 10 {
        let name = if host == 0 { "shop.example".to_owned() } else { format!("h{host}.example") };
        let mut text = format!(
            "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: {{ name: p{host}, namespace: bench }}\n\
             spec:\n  hosts: [{name}]\n  rules:\n"
        );
        for rule in 0..10 {
            text += &format!(
                "  - matches: [{{ path: {{ value: /area-{rule} }} }}]\n    require: {{ roles: [customer] }}\n"
            );
        }
        std::fs::write(dir.join(format!("{host}.yaml")), text).expect("a file");
    }
    let install = Install::open(
        realm.clone(),
        Carriers::new(vec![Carrier::Cookie("__Host-session".into()), Carrier::Bearer]).expect("carriers"),
    );
    let (index, problems) = folder::check(&[dir], &install).expect("policies");
    assert!(problems.is_empty(), "{problems:?}");
    index
}
