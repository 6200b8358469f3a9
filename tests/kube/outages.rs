//! The API server away, hung, restarted, without its history: what is decided stays, and what was missed is caught up with.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::gate::Cloakroom;

use crate::house::{self, closed, comes_to, public};
use crate::load::Load;

#[tokio::test(flavor = "multi_thread")]
async fn p34_decisions_stay_while_the_api_server_is_away_and_changes_are_caught_up_with() -> Result<()> {
    let mut server = house::server().await?;
    let gate = Cloakroom::spawn(house::options(&server)?).await?;
    let load = Load::begin(&server, &gate).await?;
    server.apply(&public("told")).await?;
    comes_to(&gate, "told.example", 200).await?;

    // Killed, and started again: the watch goes on where it was.
    server.kill()?;
    house::says(&gate, "the API server cannot be followed", 1).await?;
    let restarts = house::metric(&gate, "cloakroom_policy_watch_restarts_total").await?;
    ensure!(house::status(&gate, "told.example").await? == 200);
    server.restart().await?;
    server.apply(&closed("told")).await?;
    let back = Instant::now();
    comes_to(&gate, "told.example", 403).await?;
    println!("caught up {:?} after the API server took a change again", back.elapsed());
    ensure!(restarts > 0.0);

    // Killed, and its history forgotten while it was away: 410, and a new list.
    server.apply(&public("gone")).await?;
    comes_to(&gate, "gone.example", 200).await?;
    server.stop().await?;
    server.cont();
    server.compact_history().await?;
    house::delete(&server, "gone").await?;
    server.apply(&public("told")).await?;
    comes_to(&gate, "told.example", 200).await?;
    comes_to(&gate, "gone.example", 403).await?;
    house::says(&gate, "has forgotten where the watch was", 1).await?;

    // Hung: connections are accepted and nobody answers.
    server.stop().await?;
    ensure!(house::status(&gate, "told.example").await? == 200);
    server.cont();
    server.apply(&closed("told")).await?;
    comes_to(&gate, "told.example", 403).await?;
    ensure!(gate.is_ready().await);
    load.end().await
}
