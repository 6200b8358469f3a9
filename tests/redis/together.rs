//! What one gate does, the others know.

use anyhow::Result;
use e2e::redis::{Redis, RedisOptions};
use http::Method;
use serde_json::json;

use crate::fleet::Fleet;

#[tokio::test(flavor = "multi_thread")]
async fn p17_what_one_gate_ends_every_gate_refuses() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(3, json!({ "url": redis.url() }), json!({})).await?;
    let (ada, bob) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    let (phone, laptop) = (fleet.log_in("eve").await?, fleet.log_in("eve").await?);
    for gate in &fleet.0 {
        for session in [&ada, &bob, &phone, &laptop] {
            assert_eq!(gate.status(session).await?, 200, "a session of one gate is one of every gate");
        }
    }
    fleet.0[1].process.revoke_session(&ada.sid).await?;
    let (status, _) = fleet.0[2].process.api(Method::DELETE, "/v1/subjects/eve/sessions", None).await?;
    assert!((200..300).contains(&status), "{status}");
    assert_eq!(fleet.0[1].status(&ada).await?, 401, "whoever ended it refuses it at once");
    assert_eq!(fleet.0[2].status(&phone).await?, 401);
    for gate in &fleet.0 {
        gate.until(&ada, 401).await?;
        gate.until(&phone, 401).await?;
        gate.until(&laptop, 401).await?;
        assert_eq!(gate.status(&bob).await?, 200, "the others are not harmed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_gate_changes_the_next_jwt_of_every_gate_says() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(2, json!({ "url": redis.url() }), json!({})).await?;
    let ada = fleet.log_in("ada").await?;
    for gate in &fleet.0 {
        assert_eq!(gate.status(&ada).await?, 200);
    }
    let path = format!("/v1/sessions/{}", ada.sid);
    let (status, _) =
        fleet.0[0].process.api(Method::PATCH, &path, Some(&json!({ "claims": { "tier": "gold" } }))).await?;
    assert_eq!(status, 200);
    for gate in &fleet.0 {
        let told = async || gate.get(&ada).await.is_ok_and(|it| it.claims.unwrap()["claims"]["tier"] == "gold");
        e2e::process::wait_until(crate::fleet::PATIENCE, "the new claim", told).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_log_out_that_the_store_has_lost_is_said_again() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(1, json!({ "url": redis.url() }), json!({})).await?;
    let ada = fleet.log_in("ada").await?;
    let record = format!("ckr:shop:s:{{{}}}", ada.sid);
    redis.command(&["COPY", &record, "before"]).await?;
    fleet.0[0].process.revoke_session(&ada.sid).await?;
    let tombstone = redis.command(&["GET", &record]).await?;
    // What a failover to a replica does that had not heard of it: the session is back, and so are new connections.
    redis.command(&["COPY", "before", &record, "REPLACE"]).await?;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
    let said = async || redis.command(&["GET", &record]).await.is_ok_and(|now| now == tombstone);
    e2e::process::wait_until(crate::fleet::PATIENCE, "the tombstone again", said).await?;
    assert_eq!(fleet.0[0].status(&ada).await?, 401);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_log_out_that_a_new_master_does_not_take_at_first_is_said_until_it_does() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    let fleet = Fleet::start(1, json!({ "url": redis.url() }), json!({})).await?;
    let (ada, bob) = (fleet.log_in("ada").await?, fleet.log_in("bob").await?);
    let record = |sid: &str| format!("ckr:shop:s:{{{sid}}}");
    for session in [&ada, &bob] {
        redis.command(&["COPY", &record(&session.sid), &format!("before-{}", session.sid)]).await?;
        fleet.0[0].process.revoke_session(&session.sid).await?;
    }
    let tombstone = redis.command(&["GET", &record(&bob.sid)]).await?;
    // A failover has lost both, the new master has no replica yet, and junk lies where the older one was.
    redis.command(&["COPY", &format!("before-{}", bob.sid), &record(&bob.sid), "REPLACE"]).await?;
    redis.command(&["SET", &record(&ada.sid), "junk", "KEEPTTL"]).await?;
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await?;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await?;
    let refused = async || fleet.0[0].process.output().contains("the store did not take ends");
    e2e::process::wait_until(crate::fleet::PATIENCE, "an end that is not taken", refused).await?;
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await?;
    let said = async || redis.command(&["GET", &record(&bob.sid)]).await.is_ok_and(|now| now == tombstone);
    e2e::process::wait_until(crate::fleet::PATIENCE, "the tombstone again", said).await?;
    assert_eq!(fleet.0[0].status(&bob).await?, 401);
    Ok(())
}
