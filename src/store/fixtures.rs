//! Sessions for the tests of the stores.

use std::time::Duration;

use proptest::prelude::*;

use crate::authz::session::{
    Claims, Device, PreviousSecret, Provider, Realm, SecretDigest, Session, SessionId, Timestamp,
};

pub(super) fn realm(name: &str) -> Realm {
    Realm::parse(name).unwrap()
}

/// Ids that sort as their numbers do.
pub(super) fn sid(number: u64) -> SessionId {
    SessionId::from_bytes(u128::from(number).to_be_bytes())
}

pub(super) fn secret(byte: u8) -> SecretDigest {
    SecretDigest::from_bytes([byte; 32])
}

/// Times are counted from 2100 on: some stores forget by a clock of their own.
const EPOCH: i64 = 4_102_444_800_000;

pub(super) const fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(EPOCH.saturating_add(millis))
}

/// Made at 1,000, over at 100,000, version 1.
pub(super) fn session(number: u64, subject: &str) -> Session {
    let claims = serde_json::json!({"cart": ["apple"]});
    Session {
        id: sid(number),
        realm: realm("shop"),
        subject: subject.to_owned(),
        secret: secret(1),
        previous: None,
        rotated_at: at(1_000),
        created: at(1_000),
        auth_time: at(900),
        last_seen: at(1_000),
        idle: Duration::from_secs(30),
        absolute_end: at(100_000),
        version: 1,
        epoch: 0,
        acr: Some("urn:mfa".to_owned()),
        amr: vec!["pwd".to_owned(), "otp".to_owned()],
        scopes: vec!["cart:read".to_owned()],
        roles: Vec::new(),
        claims: Claims::from_object(claims.as_object().unwrap()).unwrap(),
        device: Some(Device { label: Some("laptop".to_owned()), user_agent: None, address: None }),
        provider: Some(Provider { iss: "https://id.example".to_owned(), sid: Some(format!("op-{number}")) }),
    }
}

/// Any session whatever, also with values that no caller would choose.
#[derive(Clone, Debug)]
pub(super) struct Made(pub(super) Session);

impl Arbitrary for Made {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let time = || any::<i64>().prop_map(Timestamp::from_millis);
        let digest = || any::<[u8; 32]>().prop_map(SecretDigest::from_bytes);
        let texts = || prop::collection::vec(".{0,12}", 0..4);
        let previous = prop::option::of(
            (digest(), prop::option::of(time())).prop_map(|(digest, ends)| PreviousSecret { digest, ends }),
        );
        let maybe = || prop::option::of(".{0,20}");
        let device = prop::option::of((maybe(), maybe(), maybe()).prop_map(|(label, user_agent, address)| Device {
            label,
            user_agent,
            address,
        }));
        let provider = prop::option::of((".{0,20}", maybe()).prop_map(|(iss, sid)| Provider { iss, sid }));
        let claims = prop::collection::btree_map(".{0,8}", ".{0,8}", 0..4).prop_map(|map| {
            let object = map.into_iter().map(|(name, value)| (name, value.into())).collect();
            Claims::from_object(&object).unwrap()
        });
        let key = (any::<[u8; 16]>(), "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", ".{0,40}");
        let times = (time(), time(), time(), time(), time(), any::<u64>());
        let secrets = (digest(), previous);
        let numbers = (any::<u64>(), any::<u64>());
        let lists = (maybe(), texts(), texts(), texts());
        (key, times, secrets, numbers, lists, (claims, device, provider))
            .prop_map(|(key, times, (secret, previous), (version, epoch), lists, (claims, device, provider))| {
                let (acr, amr, scopes, roles) = lists;
                let (rotated_at, created, auth_time, last_seen, absolute_end, idle) = times;
                Self(Session {
                    id: SessionId::from_bytes(key.0),
                    realm: realm(&key.1),
                    subject: key.2,
                    secret,
                    previous,
                    rotated_at,
                    created,
                    auth_time,
                    last_seen,
                    idle: Duration::from_millis(idle),
                    absolute_end,
                    version,
                    epoch,
                    acr,
                    amr,
                    scopes,
                    roles,
                    claims,
                    device,
                    provider,
                })
            })
            .boxed()
    }
}
