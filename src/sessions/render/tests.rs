use std::time::Duration;

use super::*;
use crate::authz::credential::{Carrier, TakeOff};
use crate::authz::identity::{Holder, Identity};
use crate::authz::policy::provider::ProviderName;
use crate::authz::policy::{PolicyName, RuleName};
use crate::authz::session::{Claims, Session};
use crate::authz::verdict::Lookup;
use crate::sessions::SessionChange;
use crate::sessions::fixtures::{HOUR, House, MINUTE, SECOND, allowed, cookie, permit};

async fn jwt(house: &House, token: &crate::authz::credential::AccessToken, audience: &str, now: Timestamp) -> Bytes {
    allowed(house.check(token, &Carrier::Bearer, audience, now).await).jwt.expect("a permit brings a JWT")
}

/// What `explain` says of this permit.
fn foretold(house: &House, decision: Decision, now: Timestamp) -> Option<Denial> {
    let Decision::Permit(permit) = decision else { panic!("{decision:?}") };
    house.sessions.refusal(&permit, now)
}

fn payload(jwt: &[u8]) -> serde_json::Value {
    use base64::Engine as _;
    let middle = jwt.split(|byte| *byte == b'.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(middle).unwrap()).unwrap()
}

#[tokio::test]
async fn a_jwt_is_handed_out_again_until_half_its_life_is_spent() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    // From a whole second on, since a JWT's times are whole seconds.
    let begin = Timestamp::from_millis((house.start.as_secs() + 1) * 1000);
    let first = jwt(&house, &ada, "shop/cart", begin).await;
    for millis in [1, 15_000, 29_999] {
        assert_eq!(jwt(&house, &ada, "shop/cart", begin.plus(Duration::from_millis(millis))).await, first, "{millis}");
    }
    let second = jwt(&house, &ada, "shop/cart", begin.plus(30 * SECOND)).await;
    assert_ne!(second, first);
    assert_eq!(jwt(&house, &ada, "shop/cart", begin.plus(59 * SECOND)).await, second);
    assert_eq!(house.sessions.stats().mints.get(), 2);
    assert_eq!(house.sessions.stats().reuses.get(), 4);
}

#[tokio::test]
async fn p05_a_jwt_is_kept_for_each_audience_and_through_a_reload() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let cart = jwt(&house, &ada, "shop/cart", house.start).await;
    let orders = jwt(&house, &ada, "shop/orders", house.start).await;
    assert_ne!(cart, orders);
    house.sessions.view().changed(ada.sid());
    assert_eq!(jwt(&house, &ada, "shop/cart", house.start).await, cart);
    assert_eq!(jwt(&house, &ada, "shop/orders", house.start).await, orders);
    assert_eq!((house.sessions.stats().mints.get(), house.loads()), (2, 2));
}

#[tokio::test]
async fn p05_an_update_brings_a_new_jwt_at_once() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let before = jwt(&house, &ada, "shop/cart", house.start).await;
    assert_eq!(payload(&before)["roles"], serde_json::Value::Null);
    let change = SessionChange { roles: Some(vec!["admin".to_owned()]), ..SessionChange::default() };
    house.sessions.update(&house.realm, ada.sid(), &change, None, house.start).await.unwrap();
    let after = jwt(&house, &ada, "shop/cart", house.start).await;
    assert_eq!(payload(&after)["roles"], serde_json::json!(["admin"]));
    assert_eq!(payload(&after)["sub"], "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_are_one_signature() {
    let house = Arc::new(House::new());
    let ada = house.create("ada").await.token;
    let asked: Vec<_> = (0..64)
        .map(|_| {
            let (house, ada) = (Arc::clone(&house), ada.clone());
            tokio::spawn(async move { jwt(&house, &ada, "shop/cart", house.start).await })
        })
        .collect();
    for each in asked {
        each.await.unwrap();
    }
    assert_eq!((house.sessions.stats().mints.get(), house.loads()), (1, 1));
}

#[tokio::test]
async fn p32_kept_jwts_are_bounded_and_weighed() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let mut weights = Vec::new();
    for n in 0..40 {
        jwt(&house, &ada, &format!("shop/service-{n}"), house.start).await;
        weights.push(house.sessions.view().size().1);
    }
    assert!(weights[7] > weights[0], "eight JWTs weigh more than one: {weights:?}");
    assert!(weights[39] <= weights[7] + 64, "and more than eight are not kept: {weights:?}");
    let mints = house.sessions.stats().mints.get();
    jwt(&house, &ada, "shop/service-39", house.start).await;
    assert_eq!(house.sessions.stats().mints.get(), mints, "the newest is among them");
}

#[tokio::test]
async fn p08_a_jwt_never_outlives_the_session() {
    let house = House::new();
    let ada = house.create("ada").await;
    let mut at = house.start;
    let end = ada.session.absolute_end;
    while at < end {
        let resolved = house.resolve(&ada.token, at).await;
        let Lookup::Active(session) = &resolved.lookup else { panic!("alive at {at:?}: {resolved:?}") };
        let verdict = house.sessions.render(permit(session, &Carrier::Bearer, "shop/cart"), &resolved, at).await;
        let exp = payload(&allowed(verdict).jwt.unwrap())["exp"].as_i64().unwrap();
        assert!(exp <= end.as_secs() && exp <= at.as_secs() + 60 && exp > at.as_secs());
        house.settled().await;
        // Long steps, and short ones before the end.
        let left = end.since(at);
        at = at.plus(if left > 2 * MINUTE { left / 2 } else { 7 * SECOND }.min(50 * MINUTE));
        if end.since(at) < 2 * SECOND {
            break;
        }
    }
}

#[tokio::test]
async fn a_use_just_before_the_idle_end_gets_a_jwt_of_full_length() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let late = house.after(HOUR - Duration::from_millis(1));
    let exp = payload(&jwt(&house, &ada, "shop/cart", late).await)["exp"].as_i64().unwrap();
    assert!(exp >= late.as_secs() + 59, "{exp}");
    house.settled().await;
    assert_eq!(house.stored(ada.sid()).await.last_seen, late, "and the use has reached the store");
    assert!(matches!(house.lookup(&ada, late.plus(30 * MINUTE)).await, Lookup::Active(_)));
}

#[tokio::test]
async fn a_session_is_touched_at_most_once_in_a_tenth_of_its_idle_timeout() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let mut touches = Vec::new();
    for minute in 0..=60 {
        jwt(&house, &ada, "shop/cart", house.after(minute * MINUTE)).await;
        jwt(&house, &ada, "shop/cart", house.after(minute * MINUTE)).await;
        house.settled().await;
        touches.push(house.sessions.stats().touches.get());
    }
    assert_eq!((touches[5], touches[6], touches[11], touches[12], touches[60]), (0, 1, 1, 2, 10));
    assert_eq!(house.stored(ada.sid()).await.last_seen, house.after(60 * MINUTE));
    assert_eq!(house.stored(ada.sid()).await.version, 1, "a touch is no change");
}

#[tokio::test]
async fn a_touch_without_a_place_is_tried_by_the_next_use() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let at = house.after(10 * MINUTE);
    let places = u32::try_from(crate::sessions::MAX_BACKGROUND_WRITES).unwrap();
    let all = Arc::clone(&house.sessions.writes).try_acquire_many_owned(places).unwrap();
    jwt(&house, &ada, "shop/cart", at).await;
    house.settled().await;
    assert_eq!(house.stored(ada.sid()).await.last_seen, house.start, "passed, and not written");
    drop(all);
    jwt(&house, &ada, "shop/cart", at).await;
    house.settled().await;
    assert_eq!(house.stored(ada.sid()).await.last_seen, at);
}

#[tokio::test]
async fn what_is_refused_or_anonymous_stays_so() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let resolved = house.resolve(&ada, house.after(30 * MINUTE)).await;
    let denied = Decision::Deny(Denial::bare(DenyReason::MissingRole));
    match house.sessions.render(denied, &resolved, house.after(30 * MINUTE)).await {
        Verdict::Deny(denial) => assert_eq!(denial.reason, DenyReason::MissingRole),
        Verdict::Allow(allow) => panic!("{allow:?}"),
    }
    let policy = PolicyName { namespace: "shop".into(), name: "shop".into() };
    let rule = Arc::new(RuleName { policy, rule: "health".into() });
    let anonymous = Decision::Anonymous { rule, take_off: TakeOff::default(), audit: None, scope: None };
    let allow = allowed(house.sessions.render(anonymous, &resolved, house.after(30 * MINUTE)).await);
    assert!(allow.jwt.is_none() && allow.set_cookie.is_none());
    house.settled().await;
    assert_eq!(house.sessions.stats().touches.get(), 0, "neither is a use of the session");
}

#[tokio::test]
async fn p10_without_a_signing_key_nothing_is_minted() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let resolved = house.resolve(&ada, house.start).await;
    let Lookup::Active(session) = &resolved.lookup else { panic!("alive") };
    // Before the first key begins to sign.
    let early = Timestamp::from_millis(house.start.as_millis() - 3_600_000);
    assert!(foretold(&house, permit(session, &cookie(), "shop/cart"), house.start).is_none());
    let reason = foretold(&house, permit(session, &cookie(), "shop/cart"), early).map(|it| it.reason);
    assert_eq!(reason, Some(DenyReason::KeysUnavailable));
    match house.sessions.render(permit(session, &cookie(), "shop/cart"), &resolved, early).await {
        Verdict::Deny(denial) => {
            assert_eq!(denial.reason, DenyReason::KeysUnavailable);
            assert!(denial.rule.is_some());
        }
        Verdict::Allow(allow) => panic!("{allow:?}"),
    }
}

#[tokio::test]
async fn p37_a_session_in_its_last_second_looks_like_one_that_is_over() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let resolved = house.resolve(&ada, house.start).await;
    let Lookup::Active(session) = &resolved.lookup else { panic!("alive") };
    let now = Timestamp::from_millis((house.start.as_secs() + 60) * 1000 + 100);
    let soon = now.plus(Duration::from_millis(300));
    let at_absolute_end = Session { last_seen: now, absolute_end: soon, ..Session::clone(session) };
    let at_idle_end = Session { last_seen: now, idle: Duration::from_millis(300), ..Session::clone(session) };
    for (session, carrier, taken_back) in [
        (&at_absolute_end, cookie(), true),
        (&at_absolute_end, Carrier::Bearer, false),
        (&at_idle_end, cookie(), false),
    ] {
        let decision = permit(&Arc::new(session.clone()), &carrier, "shop/cart");
        let foretold = foretold(&house, permit(&Arc::new(session.clone()), &carrier, "shop/cart"), now).unwrap();
        assert_eq!((foretold.reason, foretold.expire_cookie.is_some()), (DenyReason::ExpiredSession, taken_back));
        match house.sessions.render(decision, &resolved, now).await {
            Verdict::Deny(denial) => {
                assert_eq!(denial.reason, DenyReason::ExpiredSession);
                assert_eq!(denial.expire_cookie.is_some(), taken_back, "{carrier:?}");
            }
            Verdict::Allow(allow) => panic!("{allow:?}"),
        }
    }
}

#[tokio::test]
async fn a_jwt_that_is_too_large_is_refused() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let resolved = house.resolve(&ada, house.start).await;
    let Lookup::Active(session) = &resolved.lookup else { panic!("alive") };
    let large = Arc::new(Session { subject: "x".repeat(6_000), ..Session::clone(session) });
    let reason = foretold(&house, permit(&large, &cookie(), "shop/cart"), house.start).map(|it| it.reason);
    assert_eq!(reason, Some(DenyReason::JwtTooLarge));
    match house.sessions.render(permit(&large, &cookie(), "shop/cart"), &resolved, house.start).await {
        Verdict::Deny(denial) => assert_eq!(denial.reason, DenyReason::JwtTooLarge),
        Verdict::Allow(allow) => panic!("{allow:?}"),
    }
}

/// A permit for whom a provider vouches, and the verdict on it.
async fn vouched(
    house: &House,
    session: &Arc<Session>,
    identity: &Arc<Identity>,
    mint: &str,
    now: Timestamp,
) -> Verdict {
    let Decision::Permit(permit) = permit(session, &Carrier::Bearer, mint) else { unreachable!() };
    let decision = Decision::Permit(Box::new(permit.of(Holder::Identity(Arc::clone(identity)))));
    house.sessions.render(decision, &Resolved::without(Lookup::Vouched(Arc::clone(identity))), now).await
}

#[tokio::test]
async fn p08_an_identity_of_somebody_else_gets_a_jwt_without_a_session() {
    let house = House::new();
    let session = house.create("ada").await.session;
    let begin = Timestamp::from_millis((house.start.as_secs() + 1) * 1000);
    let name = ProviderName { namespace: "shop".into(), name: "partners".into() };
    let identity = |ends| {
        Arc::new(Identity {
            provider: Arc::new(name.clone()),
            subject: "partner-7".to_owned(),
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            scopes: vec!["read".to_owned()],
            roles: Vec::new(),
            claims: Claims::empty(),
            ends,
        })
    };
    let short = identity(Some(begin.plus(20 * SECOND)));
    let allow = allowed(vouched(&house, &session, &short, "shop/cart", begin).await);
    let said = payload(&allow.jwt.unwrap());
    assert_eq!((&said["sub"], &said["scope"]), (&"partner-7".into(), &"read".into()));
    assert_eq!(said["exp"], begin.as_secs() + 20, "never past the credential's own end");
    assert!(said.get("sid").is_none() && said.get("auth_time").is_none(), "{said}");
    assert_eq!(allow.provider.map(|it| it.to_string()), Some("shop/partners".to_owned()));
    assert!(allow.set_cookie.is_none());
    // Within its last second no JWT could live.
    let late = begin.plus(20 * SECOND);
    let Verdict::Deny(denial) = vouched(&house, &session, &short, "shop/orders", late).await else { panic!("passes") };
    assert_eq!((denial.reason, denial.expire_cookie), (DenyReason::ExpiredCredential, None));
}

#[tokio::test]
async fn p05_a_jwt_is_kept_for_one_word_of_one_provider_and_one_audience() {
    let house = House::new();
    let session = house.create("ada").await.session;
    let begin = Timestamp::from_millis((house.start.as_secs() + 1) * 1000);
    let name = Arc::new(ProviderName { namespace: "shop".into(), name: "partners".into() });
    let facts = Identity {
        provider: name,
        subject: "partner-7".to_owned(),
        auth_time: None,
        acr: None,
        amr: Vec::new(),
        scopes: Vec::new(),
        roles: Vec::new(),
        claims: Claims::empty(),
        ends: None,
    };
    let (one, other) = (Arc::new(facts.clone()), Arc::new(facts));
    let Decision::Permit(permit) = permit(&session, &Carrier::Bearer, "shop/cart") else { unreachable!() };
    let jwt = async |identity: &Arc<Identity>, at: Timestamp| {
        let permit = (*permit).clone().of(Holder::Identity(Arc::clone(identity)));
        let resolved = Resolved::without(Lookup::Vouched(Arc::clone(identity)));
        allowed(house.sessions.render(Decision::Permit(Box::new(permit)), &resolved, at).await).jwt.unwrap()
    };
    let first = jwt(&one, begin).await;
    assert_eq!(jwt(&one, begin.plus(29 * SECOND)).await, first);
    assert_ne!(jwt(&one, begin.plus(30 * SECOND)).await, first, "half of its life is spent");
    assert_ne!(jwt(&other, begin).await, first);
    assert_eq!((house.sessions.stats().mints.get(), house.sessions.stats().reuses.get()), (3, 1));
}
