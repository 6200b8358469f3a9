//! What anybody may ask: health, metrics and key sets. They are answered on a thread of their own, so that who asks without end
//! takes no time from the checks (P28), and the kubelet gets its answer whatever those are at.

use std::net;

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::health;
use crate::admin::listener::{self, Limits};

/// A listener, and what is asked there.
type Public = (TcpListener, Router);

/// Serves the key sets and health until `stop`, and ends when the requests in flight have; tells what ended, and why if by itself.
/// To bound that, drop the future: the connections end with it.
pub(super) async fn serve(
    key_sets: Public,
    health: Public,
    stop: CancellationToken,
) -> (&'static str, anyhow::Result<()>) {
    let listeners = [(key_sets, Limits::default()), (health, health::LIMITS)];
    ("the thread of health and key sets", begin(listeners.into(), stop).await)
}

async fn begin(listeners: Vec<(Public, Limits)>, stop: CancellationToken) -> anyhow::Result<()> {
    // A socket wakes the runtime in which it was made.
    let unbind = |((listener, router), limits): (Public, Limits)| Ok((listener.into_std()?, router, limits));
    let listeners = listeners.into_iter().map(unbind).collect::<std::io::Result<Vec<_>>>()?;
    let cut_off = CancellationToken::new();
    let _cut_off = cut_off.clone().drop_guard();
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new()
        .name("public".to_owned())
        .spawn(move || {
            let _ = ended.send(run(listeners, &stop, &cut_off));
        })
        .context("cannot start a thread")?;
    end.await.context("it panicked")?
}

fn run(
    listeners: Vec<(net::TcpListener, Router, Limits)>,
    stop: &CancellationToken,
    cut_off: &CancellationToken,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut served = JoinSet::new();
        for (listener, router, limits) in listeners {
            served.spawn(listener::serve(TcpListener::from_std(listener)?, router, limits, stop.clone()));
        }
        cut_off.run_until_cancelled(async { while served.join_next().await.is_some() {} }).await;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use axum::routing::get;

    use super::*;

    /// An answer, waited for on this thread.
    fn ask(address: SocketAddr) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    #[tokio::test]
    async fn p28_what_anybody_may_ask_is_answered_while_the_runtime_of_the_checks_is_at_work() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "ok" }));
        let served = tokio::spawn(begin(vec![((listener, router), Limits::default())], stop.clone()));
        tokio::task::yield_now().await;
        // This test's runtime has one thread, which waits here and does nothing else.
        assert!(ask(address).unwrap().ends_with("ok"));
        stop.cancel();
        served.await.unwrap().unwrap();
        assert!(ask(address).is_err());
    }

    #[tokio::test]
    async fn its_connections_end_with_its_future() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (entered, mut was_entered) = tokio::sync::mpsc::unbounded_channel();
        let hang = move || {
            let _ = entered.send(());
            std::future::pending::<()>()
        };
        let router = Router::new().route("/", get(hang));
        let served = tokio::spawn(begin(vec![((listener, router), Limits::default())], CancellationToken::new()));
        let asked = tokio::task::spawn_blocking(move || ask(address));
        was_entered.recv().await.unwrap();
        served.abort();
        assert!(asked.await.unwrap().is_ok_and(|it| it.is_empty()));
    }
}
