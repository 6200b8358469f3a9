use tokio::time::Instant;

use super::flights::{Boarded, Landed};
use super::*;
use crate::sessions::fixtures::{HOUR, House, MINUTE, SECOND, config};

/// A view of the house's store over a link that the test proves.
fn remote(house: &House) -> Arc<View> {
    let stats = Arc::new(SessionsStats::default());
    let view = View::new(&config(), Arc::clone(&house.store), Link::remote(), TaskTracker::new(), stats);
    Arc::new(view)
}

fn is_live(found: &Found) -> bool {
    matches!(found, Found::Live(_))
}

fn is_unavailable(found: &Found) -> bool {
    matches!(found, Found::Unavailable(DenyReason::StoreUnavailable))
}

#[tokio::test]
async fn p18_without_proof_an_entry_answers_for_max_staleness_and_then_503() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = remote(&house);
    let find = async |secs: u32| view.find(&house.realm, sid, Seq::ANY, house.after(secs * SECOND)).await;
    assert!(is_live(&find(0).await));
    view.gate.break_store(true);
    // Proofs come until second 10.
    for secs in [5, 10] {
        view.link().proved(house.after(secs * SECOND));
        assert!(is_live(&find(secs).await), "{secs}");
    }
    assert!(is_live(&find(15).await), "5 s after the last proof");
    for secs in [16, 30, 3_000, 3_599] {
        assert!(is_unavailable(&find(secs).await), "{secs}: never Live, never Absent");
    }
    assert_eq!(view.stats.stale_refusals.get(), 4);
    // A proof that is late news, of an earlier time, changes nothing.
    view.link().proved(house.after(9 * SECOND));
    assert!(is_unavailable(&find(16).await));
    view.gate.break_store(false);
    assert!(is_live(&find(16).await), "what is loaded now is true now");
}

#[tokio::test]
async fn p18_a_restored_link_makes_everything_load_again() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = remote(&house);
    let find = async || view.find(&house.realm, sid, Seq::ANY, house.start).await;
    view.link().proved(house.start);
    assert!(is_live(&find().await));
    // Revoked elsewhere while no notice could arrive.
    house.store.revoke(&house.realm, sid).await.unwrap();
    assert!(is_live(&find().await));
    view.heed(Notice::Everything { told: true }, &Arc::new(Clock::start()));
    assert!(matches!(find().await, Found::Over(Ended::Revoked)));
}

#[tokio::test]
async fn p18_the_hard_ttl_holds_with_a_live_link() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = remote(&house);
    let mut loads = Vec::new();
    for secs in 0..=122 {
        let now = house.after(secs * SECOND);
        view.link().proved(now);
        assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, now).await));
        loads.push(view.stats.loads.get());
    }
    assert_eq!((loads[60], loads[61], loads[121], loads[122]), (1, 2, 2, 3));
}

#[tokio::test]
async fn p19_a_load_begun_before_a_revoke_never_serves_it_afterwards() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = Arc::clone(house.sessions.view());
    view.gate.hold_after(true);
    let find = |now| {
        let (view, realm) = (Arc::clone(&view), house.realm.clone());
        tokio::spawn(async move { view.find(&realm, sid, Seq::ANY, now).await })
    };
    let before = find(house.start);
    // The store has answered "alive", and nobody has seen the answer yet.
    view.gate.reached(1).await;
    assert!(house.sessions.revoke(&house.realm, sid).await.unwrap());
    let after = find(house.start);
    tokio::task::yield_now().await;
    view.gate.hold_after(false);
    for found in [before.await.unwrap(), after.await.unwrap(), find(house.start).await.unwrap()] {
        assert!(matches!(found, Found::Over(Ended::Revoked)), "{found:?}");
    }
    assert!(view.cached(&house.realm, sid, Seq::ANY, house.start).is_none());
}

#[tokio::test]
async fn p19_a_refused_session_stays_refused_whatever_the_store_says() {
    let house = House::new();
    let view = Arc::clone(house.sessions.view());
    for ended in [Ended::Revoked, Ended::Expired, Ended::Idle] {
        // The store has it alive: a failover has lost what it knew.
        let sid = house.create("ada").await.session.id;
        assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, house.start).await));
        view.end(&house.realm, sid, ended, house.start);
        let loads = house.loads();
        for minutes in [0, 1, 9, 10] {
            let found = view.find(&house.realm, sid, Seq::ANY, house.after(minutes * MINUTE)).await;
            assert!(matches!(found, Found::Over(kept) if kept == ended), "{found:?} after {minutes} min");
        }
        assert_eq!(house.loads(), loads, "and the store is not asked");
        assert!(house.sessions.get(&house.realm, sid, house.start).await.is_err());
        let (listed, _) = house.sessions.list(&house.realm, "ada", 10, None, house.start).await.unwrap();
        assert!(listed.iter().all(|session| session.id != sid));
    }
}

#[tokio::test]
async fn one_cold_session_asked_for_128_times_at_once_is_one_load() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = Arc::clone(house.sessions.view());
    view.gate.hold_before(true);
    let asked: Vec<_> = (0..128)
        .map(|_| {
            let (view, realm, now) = (Arc::clone(&view), house.realm.clone(), house.start);
            tokio::spawn(async move { view.find(&realm, sid, Seq::ANY, now).await })
        })
        .collect();
    view.gate.reached(1).await;
    while view.stats.joins.get() < 127 {
        tokio::task::yield_now().await;
    }
    view.gate.hold_before(false);
    for found in asked {
        assert!(is_live(&found.await.unwrap()));
    }
    assert_eq!(house.loads(), 1);
}

#[tokio::test]
async fn a_waiter_who_goes_away_takes_nobodys_answer_with_him() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = Arc::clone(house.sessions.view());
    view.gate.hold_before(true);
    let find = || {
        let (view, realm, now) = (Arc::clone(&view), house.realm.clone(), house.start);
        tokio::spawn(async move { view.find(&realm, sid, Seq::ANY, now).await })
    };
    let first = find();
    view.gate.reached(1).await;
    let second = find();
    while view.stats.joins.get() < 1 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    view.gate.hold_before(false);
    assert!(is_live(&second.await.unwrap()));
    assert_eq!(house.loads(), 1);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_503_after_the_wait() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = house.sessions.view();
    view.gate.hold_before(true);
    let begun = Instant::now();
    let found = view.find(&house.realm, sid, Seq::ANY, house.start).await;
    assert!(is_unavailable(&found));
    assert!(begun.elapsed() >= MAX_WAIT);
    view.gate.hold_before(false);
    assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, house.start).await), "the next one is not harmed");
}

#[tokio::test]
async fn p32_too_many_loads_and_too_many_waiters_are_overload() {
    let house = House::new();
    let shop = &house.realm;
    let sid = |n| SessionId::from_bytes([n; 16]);
    let mark = house.sessions.view().stripes.mark();
    let flights = Arc::new(Flights::new(2, 1));
    let mut begun = Vec::new();
    for n in 0..2 {
        match flights.board(shop, sid(n), Seq::ANY, mark, |_| true, || None) {
            Boarded::Begun(_, ticket) => begun.push(ticket),
            Boarded::Joined(_) | Boarded::Landed(_) | Boarded::Full => panic!("{n} has room"),
        }
    }
    assert!(matches!(flights.board(shop, sid(2), Seq::ANY, mark, |_| true, || None), Boarded::Full));
    assert!(
        matches!(flights.board(shop, sid(1), Seq::ANY, mark, |_| true, || None), Boarded::Joined(_)),
        "joining costs no load"
    );
    assert!(
        matches!(flights.board(shop, sid(1), flights.next(), mark, |_| true, || None), Boarded::Full),
        "a later one would"
    );
    drop(begun);
    assert!(matches!(flights.board(shop, sid(2), Seq::ANY, mark, |_| true, || None), Boarded::Begun(..)));

    let place = flights.wait();
    assert!(place.is_some());
    assert!(flights.wait().is_none());
    drop(place);
    assert!(flights.wait().is_some());
}

#[tokio::test]
async fn a_load_that_landed_since_the_look_is_not_made_again() {
    let house = House::new();
    let sid = SessionId::from_bytes([1; 16]);
    let mark = house.sessions.view().stripes.mark();
    let flights = Arc::new(Flights::new(2, 2));
    let landed = || Some(Found::Absent);
    assert!(matches!(
        flights.board(&house.realm, sid, Seq::ANY, mark, |_| true, landed),
        Boarded::Landed(Found::Absent)
    ));
    let Boarded::Begun(_, _ticket) = flights.board(&house.realm, sid, Seq::ANY, mark, |_| true, || None) else {
        panic!("nothing is known, so a load begins")
    };
    assert!(
        matches!(flights.board(&house.realm, sid, Seq::ANY, mark, |_| true, landed), Boarded::Joined(_)),
        "one in flight is newer"
    );
}

#[tokio::test]
async fn a_load_that_panics_tells_its_waiters() {
    let house = House::new();
    let sid = SessionId::from_bytes([1; 16]);
    let mark = house.sessions.view().stripes.mark();
    let flights = Arc::new(Flights::new(2, 2));
    let Boarded::Begun(flight, ticket) = flights.board(&house.realm, sid, Seq::ANY, mark, |_| true, || None) else {
        panic!("there is room")
    };
    drop(ticket);
    assert!(matches!(flight.landed().await, Landed::Failed(DenyReason::Internal)));
}

#[tokio::test]
async fn p32_the_view_stays_within_its_bytes() {
    let house = House::with(SessionsConfig { view_bytes: 256 << 10, ..config() });
    let view = house.sessions.view();
    for n in 0..500 {
        let sid = house.create(&format!("subject-{n}")).await.session.id;
        assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, house.start).await));
        let (entries, bytes) = view.size();
        assert!(bytes <= 256 << 10, "{bytes} bytes in {entries} entries");
    }
    assert!(view.stats.evictions.get() > 0);
    assert!(view.size().0 >= 16, "and it is used: {:?}", view.size());
}

#[tokio::test]
async fn p32_no_such_session_is_believed_for_a_short_while_and_pushes_nobody_out() {
    let house = House::with(SessionsConfig { view_bytes: 64 << 10, ..config() });
    let view = house.sessions.view();
    let ada = house.create("ada").await.session.id;
    assert!(is_live(&view.find(&house.realm, ada, Seq::ANY, house.start).await));
    let gone = |n: u32| {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        SessionId::from_bytes(bytes)
    };
    for n in 0..20_000 {
        let found = view.find(&house.realm, gone(n), Seq::ANY, house.start).await;
        assert!(matches!(found, Found::Absent));
    }
    let loads = house.loads();
    assert!(view.cached(&house.realm, ada, Seq::ANY, house.start).is_some(), "still cached");
    assert!(view.absent.len() <= ABSENT);
    for (secs, more) in [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2)] {
        let found = view.find(&house.realm, gone(19_999), Seq::ANY, house.after(secs * SECOND)).await;
        assert!(matches!(found, Found::Absent));
        assert_eq!(house.loads() - loads, more, "after {secs} s");
    }
}

#[tokio::test]
async fn p21_an_idle_session_is_refused_only_by_a_load_made_after_its_idle_end() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = house.sessions.view();
    let find = async |at: Timestamp| view.find(&house.realm, sid, Seq::ANY, at).await;
    assert!(is_live(&find(house.start).await));
    // Used through another replica meanwhile.
    house.store.touch(&house.realm, sid, house.after(30 * MINUTE)).await.unwrap();
    assert!(is_live(&find(house.after(HOUR)).await), "the cached record is idle, the stored one is not");
    assert!(is_live(&find(house.after(90 * MINUTE - SECOND)).await));
    assert!(matches!(find(house.after(90 * MINUTE)).await, Found::Over(Ended::Idle)));
    let loads = house.loads();
    for _ in 0..100 {
        assert!(matches!(find(house.after(91 * MINUTE)).await, Found::Over(Ended::Idle)));
    }
    assert_eq!(house.loads(), loads, "and then without asking again");
}

#[tokio::test]
async fn p21_the_absolute_end_needs_no_store() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = house.sessions.view();
    house.store.touch(&house.realm, sid, house.after(24 * HOUR)).await.unwrap();
    let last = house.after(24 * HOUR - SECOND);
    assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, last).await));
    view.gate.break_store(true);
    let found = view.find(&house.realm, sid, Seq::ANY, house.after(24 * HOUR)).await;
    assert!(matches!(found, Found::Over(Ended::Expired)), "{found:?}");
}

#[tokio::test]
async fn a_session_of_another_realm_is_absent_and_harms_nobody() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = house.sessions.view();
    let bank = Realm::parse("bank").unwrap();
    for _ in 0..2 {
        assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, house.start).await));
        assert!(matches!(view.find(&bank, sid, Seq::ANY, house.start).await, Found::Absent));
        assert!(view.cached(&bank, sid, Seq::ANY, house.start).is_none());
    }
    // Ended there, not here.
    view.end(&bank, sid, Ended::Revoked, house.start);
    assert!(is_live(&view.find(&house.realm, sid, Seq::ANY, house.start).await));
    assert_eq!(view.absent.len(), 1);
}

#[tokio::test]
async fn a_slow_load_does_not_push_out_a_later_one() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = Arc::clone(house.sessions.view());
    view.gate.hold_after(true);
    let find = |earliest| {
        let (view, realm, now) = (Arc::clone(&view), house.realm.clone(), house.start);
        tokio::spawn(async move { view.find(&realm, sid, earliest, now).await })
    };
    let slow = find(Seq::ANY);
    view.gate.reached(1).await;
    let later = view.next_load();
    let fast = find(later);
    view.gate.reached(2).await;
    view.gate.hold_after(false);
    for found in [slow.await.unwrap(), fast.await.unwrap()] {
        assert!(is_live(&found));
    }
    assert!(view.cached(&house.realm, sid, later, house.start).is_some());
}

#[tokio::test]
async fn p19_an_end_found_by_one_load_beats_an_older_load_that_is_slow() {
    let house = House::new();
    let sid = house.create("ada").await.session.id;
    let view = Arc::clone(house.sessions.view());
    view.gate.hold_after(true);
    let find = |earliest| {
        let (view, realm, now) = (Arc::clone(&view), house.realm.clone(), house.start);
        tokio::spawn(async move { view.find(&realm, sid, earliest, now).await })
    };
    let slow = find(Seq::ANY);
    view.gate.reached(1).await;
    // Revoked elsewhere, and another look-up finds that out.
    house.store.revoke(&house.realm, sid).await.unwrap();
    view.bury(&house.realm, sid, Ended::Revoked, house.start);
    view.gate.hold_after(false);
    assert!(matches!(slow.await.unwrap(), Found::Over(Ended::Revoked)));
    assert!(view.cached(&house.realm, sid, Seq::ANY, house.start).is_none());
}

#[tokio::test]
async fn p32_ends_that_are_found_make_nobody_else_load_again() {
    let house = House::new();
    let ada = house.create("ada").await.session.id;
    let view = house.sessions.view();
    assert!(is_live(&view.find(&house.realm, ada, Seq::ANY, house.start).await));
    // The same stripe.
    let mut bytes = *ada.as_bytes();
    bytes[0] ^= 1;
    let twin = SessionId::from_bytes(bytes);
    view.created(&house.realm, twin);
    view.bury(&house.realm, twin, Ended::Revoked, house.start);
    assert!(view.cached(&house.realm, ada, Seq::ANY, house.start).is_some());
    view.end(&house.realm, twin, Ended::Revoked, house.start);
    assert!(view.cached(&house.realm, ada, Seq::ANY, house.start).is_none(), "a change that was answered does");
}
