use zeroize::Zeroizing;

use super::*;
use crate::authz::credential::PresentedJwt;
use crate::authz::policy::SessionJwtRule;
use crate::authz::session::{PreviousSecret, SessionId};
use crate::sessions::fixtures::{HOUR, House, MINUTE, SECOND, cookie, realm};
use crate::sessions::token::TokenKeys;
use crate::store::SecretChange;

fn is_active(lookup: &Lookup) -> bool {
    matches!(lookup, Lookup::Active(_))
}

/// The same token with another tag.
fn retagged(token: &AccessToken) -> AccessToken {
    let mut tag = *token.tag();
    tag[7] ^= 1;
    AccessToken::from_parts(token.sid(), Zeroizing::new(*token.secret()), tag)
}

/// A rotation by another replica: this process hears nothing of it.
async fn rotated_elsewhere(house: &House, old: &AccessToken) -> AccessToken {
    let (new, digest) = house.sessions.token_keys.mint(&house.realm, old.sid()).unwrap();
    let stored = house.stored(old.sid()).await;
    let previous = Some(PreviousSecret { digest: stored.secret, ends: Some(house.start) });
    let change = SecretChange { from: stored.secret, to: digest, previous, rotated_at: house.start };
    house.store.rotate(&house.realm, old.sid(), change).await.unwrap();
    new
}

#[tokio::test]
async fn p17_revoked_is_refused_by_the_next_resolve() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    for _ in 0..2 {
        assert!(is_active(&house.lookup(&ada, house.start).await));
    }
    assert!(house.sessions.revoke(&house.realm, ada.sid()).await.unwrap());
    for _ in 0..2 {
        assert!(matches!(house.lookup(&ada, house.start).await, Lookup::Revoked));
    }
    assert!(!house.sessions.revoke(&house.realm, ada.sid()).await.unwrap(), "again, and nothing was there");
}

#[tokio::test]
async fn p17_a_log_out_everywhere_ends_each_session_of_the_subject_and_no_other() {
    let house = House::new();
    let (one, two, bob) = (house.create("ada").await, house.create("ada").await, house.create("bob").await);
    for issued in [&one, &two, &bob] {
        assert!(is_active(&house.lookup(&issued.token, house.start).await));
    }
    assert_eq!(house.sessions.revoke_subject(&house.realm, "ada").await.unwrap(), 2);
    assert!(matches!(house.lookup(&one.token, house.start).await, Lookup::Revoked));
    assert!(matches!(house.lookup(&two.token, house.start).await, Lookup::Revoked));
    assert!(is_active(&house.lookup(&bob.token, house.start).await));
    let again = house.create("ada").await;
    assert!(is_active(&house.lookup(&again.token, house.start).await), "a new log-in counts");
}

#[tokio::test]
async fn p17_a_revoke_whose_caller_goes_away_is_felt_all_the_same() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    assert!(is_active(&house.lookup(&ada, house.start).await));
    let mut call = Box::pin(house.sessions.revoke(&house.realm, ada.sid()));
    assert!(futures_util::poll!(call.as_mut()).is_pending());
    drop(call);
    house.settled().await;
    assert!(matches!(house.lookup(&ada, house.start).await, Lookup::Revoked));
}

#[tokio::test]
async fn a_hit_costs_no_load() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    for _ in 0..100 {
        assert!(is_active(&house.lookup(&ada, house.start).await));
    }
    let stats = house.sessions.stats();
    assert_eq!((stats.loads.get(), stats.misses.get(), stats.hits.get()), (1, 1, 99));
}

#[tokio::test]
async fn a_wrong_tag_is_invalid_on_a_miss_and_on_a_hit() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    assert!(matches!(house.lookup(&retagged(&ada), house.start).await, Lookup::Invalid));
    assert_eq!(house.loads(), 0);
    for _ in 0..2 {
        assert!(is_active(&house.lookup(&ada, house.start).await));
        assert!(matches!(house.lookup(&retagged(&ada), house.start).await, Lookup::Invalid));
    }
    let elsewhere = house.sessions.resolve(&Wanted::Token(ada), &realm("bank"), house.start).await;
    assert!(matches!(elsewhere.lookup, Lookup::Invalid), "another realm's");
}

#[tokio::test]
async fn p32_a_flood_of_invented_tokens_never_reaches_the_store() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    assert!(is_active(&house.lookup(&ada, house.start).await));
    let strangers = TokenKeys::parse(&TokenKeys::generate_line().unwrap()).unwrap();
    for n in 0_u32..10_000 {
        // Half of them know a session's id.
        let mut id = [9; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let sid = if n % 2 == 0 { ada.sid() } else { SessionId::from_bytes(id) };
        let (token, _) = strangers.mint(&house.realm, sid).unwrap();
        assert!(matches!(house.lookup(&token, house.start).await, Lookup::Invalid));
    }
    let stats = house.sessions.stats();
    assert_eq!((stats.loads.get(), stats.invalid_tokens.get()), (1, 10_000));
    assert!(is_active(&house.lookup(&ada, house.start).await));
    assert_eq!(stats.loads.get(), 1, "and pushed nobody out");
}

#[tokio::test]
async fn p32_a_flood_of_revoked_tokens_pushes_nobody_out() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    assert!(is_active(&house.lookup(&ada, house.start).await));
    let mut dead = Vec::new();
    for n in 0..2_000 {
        let token = house.create(&format!("mallory-{n}")).await.token;
        // Behind this process's back, so that it has to ask.
        house.store.revoke(&house.realm, token.sid()).await.unwrap();
        dead.push(token);
    }
    let loads = house.loads();
    for _ in 0..3 {
        for token in &dead {
            assert!(matches!(house.lookup(token, house.start).await, Lookup::Revoked));
        }
    }
    assert_eq!(house.loads() - loads, 2_000, "each asked for once");
    assert!(is_active(&house.lookup(&ada, house.start).await));
    assert_eq!(house.loads() - loads, 2_000);
    assert_eq!(house.sessions.view().size().0, 1);
}

#[tokio::test]
async fn a_secret_made_elsewhere_is_judged_on_a_fresh_load() {
    let house = House::new();
    let old = house.create("ada").await.token;
    assert!(is_active(&house.lookup(&old, house.start).await));
    let new = rotated_elsewhere(&house, &old).await;
    assert!(is_active(&house.lookup(&new, house.start).await), "although the cached record knows only the old one");
    assert!(matches!(house.lookup(&old, house.start).await, Lookup::Unknown));
}

#[tokio::test]
async fn p32_the_holder_of_an_old_token_causes_few_loads() {
    let house = House::new();
    let old = house.create("ada").await.token;
    let new = rotated_elsewhere(&house, &old).await;
    assert!(is_active(&house.lookup(&new, house.start).await));
    let (loads, begun) = (house.loads(), tokio::time::Instant::now());
    let house = Arc::new(house);
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let (house, old) = (Arc::clone(&house), old.clone());
            tokio::spawn(async move { house.lookup(&old, house.start).await })
        })
        .collect();
    let mut unknown = 0;
    for lookup in asked {
        match lookup.await.unwrap() {
            Lookup::Unknown => unknown += 1,
            Lookup::Unavailable(DenyReason::Overloaded) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(unknown >= MAX_DOUBTING, "{unknown}");
    let spans = u64::try_from(begun.elapsed().as_millis() / DOUBT_INTERVAL.as_millis()).unwrap() + 1;
    // Who waited for the next interval and who comes as it begins may each cause one.
    assert!(house.loads() - loads <= 2 * spans, "{} loads in {spans} intervals", house.loads() - loads);
    assert!(is_active(&house.lookup(&new, house.start).await), "whoever holds the present one is not harmed");
}

#[tokio::test]
async fn the_holder_of_an_old_token_hears_no_within_a_checks_time() {
    /// A quarter of the default `check.timeout`, after which the answer would be 503.
    const SOON: Duration = Duration::from_millis(50);
    let house = House::new();
    let old = house.create("ada").await.token;
    let new = rotated_elsewhere(&house, &old).await;
    assert!(is_active(&house.lookup(&new, house.start).await));
    let entry = house.resolve(&new, house.start).await.entry.unwrap();
    for _ in 0..3 {
        let (_place, at) = entry.shelf.doubt(DOUBT_INTERVAL, MAX_DOUBTING).unwrap();
        assert!(at.saturating_duration_since(tokio::time::Instant::now()) <= SOON);
        assert!(matches!(house.lookup(&old, house.start).await, Lookup::Unknown));
    }
}

#[tokio::test]
async fn p21_idle_and_absolute_limits_are_kept() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    assert!(is_active(&house.lookup(&ada, house.after(HOUR - SECOND)).await));
    assert!(matches!(house.lookup(&ada, house.after(HOUR)).await, Lookup::Idle), "a look-up alone is no use");

    let bob = house.create("bob").await.token;
    let mut at = house.start;
    while at < house.after(24 * HOUR) {
        house.check(&bob, &crate::authz::credential::Carrier::Bearer, "shop/cart", at).await;
        house.settled().await;
        at = at.plus(30 * MINUTE);
    }
    assert!(matches!(house.lookup(&bob, at).await, Lookup::Expired), "used all day");
    assert!(matches!(house.lookup(&bob, at).await, Lookup::Expired));
}

#[tokio::test]
async fn p09_a_session_jwt_counts_only_while_its_session_lives() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let rule = |audience: &str| SessionJwtRule {
        audiences: [audience.to_owned()].into(),
        namespaces: ["shop".to_owned()].into(),
    };
    let allow = crate::sessions::fixtures::allowed(house.check(&ada, &cookie(), "shop/cart", house.start).await);
    let jwt = PresentedJwt(allow.jwt.unwrap());
    let ask = async |rule: &SessionJwtRule, realm: &Realm| {
        let wanted = Wanted::SessionJwt(jwt.clone(), rule.clone());
        house.sessions.resolve(&wanted, realm, house.start).await
    };
    let good = ask(&rule("shop/cart"), &house.realm).await;
    assert!(is_active(&good.lookup) && good.secret.is_none());
    assert!(matches!(ask(&rule("shop/orders"), &house.realm).await.lookup, Lookup::Invalid));
    assert!(matches!(ask(&rule("shop/cart"), &realm("bank")).await.lookup, Lookup::Unknown), "another realm's session");
    house.sessions.revoke(&house.realm, ada.sid()).await.unwrap();
    assert!(matches!(ask(&rule("shop/cart"), &house.realm).await.lookup, Lookup::Revoked));
}
