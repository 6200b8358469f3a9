//! Checks that go on while something happens, and what was wrong with any of them.

use anyhow::{Context as _, Result, ensure};
use e2e::checker::Checker;
use e2e::gate::Cloakroom;
use e2e::kube::ApiServer;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::house;

/// The policy that the checks of a [`Load`] meet.
const STEADY: &str = "[{ name: open, access: Public, matches: [{ path: { type: PathPrefix, value: /open } }] }, \
                       { name: closed, access: Deny, matches: [{ path: { type: PathPrefix, value: /closed } }] }]";

/// Checks one after the other, each with the answer that it must get.
pub(crate) struct Load {
    stop: CancellationToken,
    task: JoinHandle<(u64, Vec<String>)>,
}

impl Load {
    /// Writes the policy, waits until it is in force, and begins.
    pub(crate) async fn begin(server: &ApiServer, gate: &Cloakroom) -> Result<Self> {
        server.apply(&house::policy("steady", STEADY)).await?;
        house::comes_to(gate, "steady.example", 401).await?;
        let session = gate.create_session(&json!({ "subject": "ada" })).await?;
        let checker = Checker::connect(&gate.grpc()?).await?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut asked, mut wrong) = (0, Vec::new());
            while !stopped.is_cancelled() {
                for (path, token, want) in [
                    ("/open", "x", 200),
                    ("/closed", session.token.as_str(), 403),
                    ("/cart", session.token.as_str(), 200),
                    ("/cart", "x", 401),
                ] {
                    asked += 1;
                    match checker.get("steady.example", path, token).await {
                        Ok(answer) if answer.status == want => {}
                        Ok(answer) => wrong.push(format!("{path}: {} and not {want}", answer.status)),
                        Err(error) => wrong.push(format!("{path}: {error:#}")),
                    }
                }
                // Other parts of the test need the processor too.
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            (asked, wrong)
        });
        Ok(Self { stop, task })
    }

    /// Ends it: not one answer was wrong.
    pub(crate) async fn end(self) -> Result<()> {
        self.stop.cancel();
        let (asked, wrong) = self.task.await.context("the load")?;
        ensure!(wrong.is_empty(), "{} of {asked} answers were wrong: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
        ensure!(asked > 100, "only {asked} checks were made");
        Ok(())
    }
}
