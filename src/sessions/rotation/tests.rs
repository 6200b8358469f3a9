use super::*;
use crate::authz::session::SecretDigest;
use crate::authz::verdict::{Allow, Decision, Lookup};
use crate::sessions::SessionError;
use crate::sessions::fixtures::{HOUR, House, MINUTE, SECOND, allowed, cookie, permit};
use crate::sessions::token::TokenKeys;

/// The token in a `Set-Cookie` line of ours.
fn token_of(allow: &Allow) -> Option<AccessToken> {
    let line = allow.set_cookie.as_ref()?;
    let (pair, attributes) = line.split_once("; ").expect("attributes follow");
    assert!(attributes.starts_with("Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age="), "{attributes}");
    let (name, value) = pair.split_once('=').expect("a pair");
    assert_eq!(name, "__Host-session");
    Some(AccessToken::parse(value.as_bytes()).expect("a token"))
}

async fn is_alive(house: &House, token: &AccessToken, now: Timestamp) -> bool {
    matches!(house.lookup(token, now).await, Lookup::Active(_))
}

#[tokio::test]
async fn what_a_use_calls_for() {
    let house = House::new();
    let made = Session::clone(&house.create("ada").await.session);
    let old = SecretDigest::from_bytes([9; 32]);
    let waiting = Some(PreviousSecret { digest: old, ends: None });
    let ending = |secs: u32| Some(PreviousSecret { digest: old, ends: Some(house.after(secs * SECOND)) });
    let (present, previous) = (SecretAge::Present, SecretAge::Previous);
    let (rest, end, replace) = ("rest", "end", "replace");
    for (age, before, by_cookie, secs, want) in [
        (present, None, true, 899, rest),
        (present, None, true, 900, replace),
        (present, None, false, 900, rest),
        (present, None, true, 80_000, replace),
        // The successor was presented: whatever carries it, and however old it is.
        (present, waiting, true, 1, end),
        (present, waiting, false, 1, end),
        (present, waiting, true, 900, end),
        // Within the overlap, and after it.
        (present, ending(930), true, 929, rest),
        (present, ending(930), true, 930, replace),
        (present, ending(30), true, 899, rest),
        // The answer may be lost: again, but an overlap apart.
        (previous, waiting, true, 29, rest),
        (previous, waiting, true, 30, replace),
        (previous, waiting, false, 30, rest),
        (previous, ending(40), true, 39, rest),
    ] {
        let session = Session { previous: before, ..made.clone() };
        let step = step(&session, age, by_cookie, Some(900 * SECOND), 30 * SECOND, house.after(secs * SECOND));
        let got = match step {
            Step::Rest => rest,
            Step::End(ended) => {
                assert!(ended.digest.matches(&old));
                assert_eq!(ended.ends, Some(house.after((secs + 30) * SECOND)));
                end
            }
            Step::Replace(kept) => {
                let kept_is_presented = kept.digest.matches(if age == present { &made.secret } else { &old });
                assert!(kept_is_presented && kept.ends.is_none(), "the presented secret goes on counting");
                replace
            }
        };
        assert_eq!(got, want, "{age:?} {before:?} by_cookie={by_cookie} after {secs} s");
    }
    let never = |session: &Session, age, now| step(session, age, true, None, 30 * SECOND, now);
    assert!(matches!(never(&made, present, house.after(20 * HOUR)), Step::Rest));
    let waits = Session { previous: waiting, ..made };
    assert!(matches!(never(&waits, previous, house.after(HOUR)), Step::Rest));
    assert!(matches!(never(&waits, present, house.start), Step::End(_)), "an API rotation ends too");
}

#[tokio::test]
async fn p15_a_cookie_is_replaced_and_the_old_one_ends_after_the_overlap() {
    let house = House::new();
    let first = house.create("ada").await.token;
    assert!(token_of(&house.pass(&first, house.after(14 * MINUTE)).await).is_none(), "not due yet");
    let due = house.after(15 * MINUTE);
    let second = token_of(&house.pass(&first, due).await).expect("due");
    assert_eq!(second.sid(), first.sid());
    assert_ne!(second.secret(), first.secret());
    // Requests under way with the old one pass, and get no cookie.
    for secs in [0, 10, 29] {
        assert!(token_of(&house.pass(&first, due.plus(secs * SECOND)).await).is_none(), "{secs}");
    }
    // The new one arrives: 30 s from now the old one is over.
    let arrived = due.plus(20 * SECOND);
    assert!(token_of(&house.pass(&second, arrived).await).is_none());
    house.settled().await;
    assert!(is_alive(&house, &first, arrived.plus(29 * SECOND)).await);
    assert!(token_of(&house.pass(&first, arrived.plus(29 * SECOND)).await).is_none());
    assert!(matches!(house.lookup(&first, arrived.plus(30 * SECOND)).await, Lookup::Unknown));
    assert!(is_alive(&house, &second, arrived.plus(30 * SECOND)).await);
    // And so on.
    let third = token_of(&house.pass(&second, due.plus(15 * MINUTE)).await).expect("due again");
    assert!(is_alive(&house, &third, due.plus(15 * MINUTE)).await);
    assert_eq!(house.stored(first.sid()).await.version, 1, "a rotation is no change");
    assert_eq!(house.sessions.stats().rotations.get(), 2);
}

#[tokio::test]
async fn a_lost_answer_is_made_good_an_overlap_later() {
    let house = House::new();
    let first = house.create("ada").await.token;
    let due = house.after(15 * MINUTE);
    let lost = token_of(&house.pass(&first, due).await).expect("due");
    assert!(token_of(&house.pass(&first, due.plus(29 * SECOND)).await).is_none());
    let second = token_of(&house.pass(&first, due.plus(30 * SECOND)).await).expect("a fresh successor");
    let now = due.plus(31 * SECOND);
    assert!(is_alive(&house, &first, now).await, "the old one counts until a successor was presented");
    assert!(is_alive(&house, &second, now).await);
    assert!(!is_alive(&house, &lost, now).await, "what nobody ever held is over");
    // Hours later still, if the browser never presents the second.
    let later = due.plus(HOUR - MINUTE);
    assert!(token_of(&house.pass(&first, later).await).is_some());
}

#[tokio::test]
async fn only_cookies_are_rotated() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    for carrier in [Carrier::Bearer, Carrier::Header("x-token".into())] {
        let allow = allowed(house.check(&ada, &carrier, "shop/cart", house.after(50 * MINUTE)).await);
        assert!(allow.set_cookie.is_none(), "{carrier:?}");
    }
    assert_eq!(house.sessions.stats().rotations.get(), 0);
}

/// The new cookie would reach the browser behind the line that takes it back.
#[tokio::test]
async fn where_the_response_may_end_the_session_no_cookie_is_replaced() {
    let house = House::new();
    let first = house.create("ada").await.token;
    let pass = async |token: &AccessToken, now| {
        let resolved = house.resolve(token, now).await;
        let Decision::Permit(permit) = permit(resolved.entry.as_ref().unwrap().session(), &cookie(), "shop/cart")
        else {
            unreachable!()
        };
        let decision = Decision::Permit(Box::new(permit.that_may_end()));
        allowed(house.sessions.render(decision, &resolved, now).await)
    };
    for minutes in [15, 30, 50] {
        assert!(token_of(&pass(&first, house.after(minutes * MINUTE)).await).is_none(), "{minutes}");
    }
    assert_eq!(house.sessions.stats().rotations.get(), 0);
    // Another rule does, and here the answer that brought it may be lost, or have arrived.
    let due = house.after(51 * MINUTE);
    let second = token_of(&house.pass(&first, due).await).expect("due");
    assert!(token_of(&pass(&first, due.plus(10 * MINUTE)).await).is_none());
    let arrived = due.plus(11 * MINUTE);
    assert!(token_of(&pass(&second, arrived).await).is_none());
    house.settled().await;
    assert!(!is_alive(&house, &first, arrived.plus(30 * SECOND)).await);
}

#[tokio::test]
async fn of_many_requests_at_once_one_brings_the_successor() {
    let house = Arc::new(House::new());
    let first = house.create("ada").await.token;
    let due = house.after(15 * MINUTE);
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let (house, first) = (Arc::clone(&house), first.clone());
            tokio::spawn(async move { house.pass(&first, due).await })
        })
        .collect();
    let mut made = Vec::new();
    for allow in asked {
        made.extend(token_of(&allow.await.unwrap()));
    }
    assert_eq!(made.len(), 1);
    assert!(is_alive(&house, &made[0], due).await);
    assert!(is_alive(&house, &first, due).await);
}

#[tokio::test]
async fn p02_a_rotation_that_is_lost_or_fails_refuses_nobody() {
    let house = House::new();
    let ada = house.create("ada").await.token;
    let due = house.after(15 * MINUTE);
    // Cached as it is now, then changed where this process does not hear of it.
    assert!(is_alive(&house, &ada, due).await);
    let resolved = house.resolve(&ada, due).await;
    let entry = resolved.entry.as_ref().expect("alive");
    let stored = house.stored(ada.sid()).await;
    let (_, other) = house.sessions.token_keys.mint(&house.realm, ada.sid()).unwrap();
    let previous = Some(PreviousSecret { digest: stored.secret, ends: None });
    let change = SecretChange { from: stored.secret, to: other, previous, rotated_at: due };
    house.store.rotate(&house.realm, ada.sid(), change).await.unwrap();
    let decision = permit(entry.session(), &cookie(), "shop/cart");
    let allow = allowed(house.sessions.render(decision, &resolved, due).await);
    assert!(allow.set_cookie.is_none(), "the other replica's successor is the one that counts");
    assert_eq!(house.sessions.stats().rotation_failures.get(), 1);
    // Without a place to write the same: it passes, and gets no cookie.
    let places = u32::try_from(crate::sessions::MAX_BACKGROUND_WRITES).unwrap();
    let bob = house.create("bob").await.token;
    let all = Arc::clone(&house.sessions.writes).try_acquire_many_owned(places).unwrap();
    assert!(token_of(&house.pass(&bob, due).await).is_none());
    drop(all);
    assert!(token_of(&house.pass(&bob, due).await).is_some(), "the next use tries again");
}

#[tokio::test]
async fn p21_a_cookie_lives_no_longer_than_its_session() {
    let house = House::new();
    let ada = house.create("ada").await;
    let late = house.after(24 * HOUR - 90 * SECOND);
    house.store.touch(&house.realm, ada.token.sid(), late).await.unwrap();
    let allow = house.pass(&ada.token, late).await;
    assert!(allow.set_cookie.expect("due").ends_with("; Max-Age=90"));
}

#[tokio::test]
async fn p36_only_who_holds_the_present_token_gets_the_next() {
    let house = House::new();
    let ada = house.create("ada").await;
    let bob = house.create("bob").await;
    let (sid, now) = (ada.session.id, house.after(MINUTE));
    let rotate = async |token: &AccessToken| house.sessions.rotate(&house.realm, sid, token, now).await;
    let strangers = TokenKeys::parse(&TokenKeys::generate_line().unwrap()).unwrap();
    let (invented, _) = strangers.mint(&house.realm, sid).unwrap();
    let (never_given, _) = house.sessions.token_keys.mint(&house.realm, sid).unwrap();
    for wrong in [&bob.token, &invented, &never_given] {
        assert!(matches!(rotate(wrong).await, Err(SessionError::WrongToken)));
    }
    let next = rotate(&ada.token).await.unwrap();
    assert_eq!(next.session.version, 1);
    assert!(matches!(rotate(&ada.token).await, Err(SessionError::WrongToken)), "once");
    // Both count until the new one is presented, whatever carries it.
    assert!(is_alive(&house, &ada.token, now).await);
    house.check(&next.token, &Carrier::Bearer, "shop/cart", now).await;
    house.settled().await;
    assert!(is_alive(&house, &ada.token, now.plus(29 * SECOND)).await);
    assert!(!is_alive(&house, &ada.token, now.plus(30 * SECOND)).await);
    assert!(is_alive(&house, &next.token, now.plus(30 * SECOND)).await);

    house.sessions.revoke(&house.realm, sid).await.unwrap();
    assert!(matches!(rotate(&next.token).await, Err(SessionError::NotFound)));
}
