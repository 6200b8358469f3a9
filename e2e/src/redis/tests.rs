//! One server, as its options say.

use super::*;

#[tokio::test]
async fn every_answered_write_outlives_a_crash_where_it_was_asked_for() -> Result<()> {
    for (persistence, left) in [(Persistence::EveryWrite, "red"), (Persistence::None, "")] {
        let mut redis = Redis::spawn(RedisOptions { persistence, ..RedisOptions::default() }).await?;
        let address = redis.address();
        redis.command(&["SET", "coat", "red"]).await?;
        redis.kill()?;
        assert!(!redis.is_up());
        assert!(TcpStream::connect(address).await.is_err());
        redis.restart().await?;
        assert_eq!((redis.address(), redis.command(&["GET", "coat"]).await?.text().as_str()), (address, left));
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_server_takes_bytes_and_answers_when_it_goes_on() -> Result<()> {
    let redis = Redis::spawn(RedisOptions::default()).await?;
    redis.stop().await?;
    assert!(!redis.is_up());
    let mut client = Connection::open(redis.address()).await?;
    client.send(&["PING"]).await?;
    assert!(tokio::time::timeout(Duration::ZERO, client.reply()).await.is_err());
    redis.cont();
    assert_eq!(client.reply().await?.text(), "PONG");
    Ok(())
}

#[tokio::test]
async fn passwords_and_users_are_asked_for() -> Result<()> {
    let password = r#"pass "word\"#;
    let redis = Redis::spawn(RedisOptions {
        password: Some(password.to_owned()),
        users: vec!["ada on >secret ~coat:* -@all +get".to_owned()],
        ..RedisOptions::default()
    })
    .await?;
    assert_eq!(redis.url(), format!("redis://{}/0", redis.address()));
    let rows: [(&[&str], &str, &str); 5] = [
        (&["PING"], "NOAUTH", "no user"),
        (&["AUTH", "wrong"], "WRONGPASS", "a wrong password"),
        (&["AUTH", password], "OK", "the password"),
        (&["AUTH", "ada", "secret"], "OK", "a user"),
        (&["GET", "hat:1"], "NOPERM", "a key that is not hers"),
    ];
    let mut client = Connection::open(redis.address()).await?;
    for (words, want, what) in rows {
        let reply = client.call(words).await?.text();
        assert!(reply.starts_with(want), "{what}: {reply}");
    }
    let error = redis.command(&["NONSENSE"]).await.expect_err("an error reply");
    assert!(format!("{error:#}").contains("unknown command"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn tls_may_demand_a_certificate_of_the_client() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let certificates = Certificates::make(folder.path(), &["127.0.0.1"])?;
    for (transport, demands) in
        [(Transport::Tls(certificates.clone()), false), (Transport::MutualTls(certificates.clone()), true)]
    {
        let redis = Redis::spawn(RedisOptions { transport, ..RedisOptions::default() }).await?;
        assert!(redis.url().starts_with("rediss://127.0.0.1:"));
        for shows in [false, true] {
            let stream = TcpStream::connect(redis.address()).await?;
            // In TLS 1.3 the client is done before the server has judged it.
            let mut client = Connection::over(certificates.over(stream, "127.0.0.1", shows).await?);
            assert_eq!(client.call(&["PING"]).await.is_ok(), shows || !demands, "{demands} {shows}");
        }
        assert!(Connection::open(redis.address()).await?.call(&["PING"]).await.is_err(), "plain");
    }
    Ok(())
}
