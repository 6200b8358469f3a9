//! Policies from the API of Kubernetes (`cargo xtask bench kubernetes`): how soon a written policy is felt through Envoy, and what
//! gates cost the API server that they watch.
//!
//! A real etcd and kube-apiserver, a real Envoy, real gates with their defaults. **Written** is the moment when the API server's
//! answer to the write has arrived; **enforced** the moment when the first request was sent that was judged by the new policy, when
//! none after it was judged by the old one.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark reports to a terminal"
)]

mod kubernetes {
    pub(crate) mod cluster;
    pub(crate) mod enforced;
    pub(crate) mod fleet;
}

use e2e::measure::Table;
use kubernetes::cluster::Cluster;

#[derive(Clone, Copy)]
struct Effort {
    /// Changes of one policy, and policies made and deleted.
    changes: usize,
    deletions: usize,
    /// Policies in the cluster meanwhile, the first figure without any.
    others: [usize; 2],
    /// Gates that watch, for the load of the API server.
    gates: [usize; 2],
}

fn main() -> anyhow::Result<()> {
    let quick = std::env::var_os("CLOAKROOM_BENCH_QUICK").is_some();
    let effort = if quick {
        Effort { changes: 20, deletions: 10, others: [0, 100], gates: [2, 10] }
    } else {
        Effort { changes: 200, deletions: 100, others: [0, 1_000], gates: [10, 100] }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut table = Table::default();
        let cluster = Cluster::start().await?;
        for others in effort.others {
            cluster.fill(others).await?;
            kubernetes::enforced::measure(&cluster, others, effort.changes, effort.deletions, &mut table).await?;
        }
        kubernetes::fleet::measure(&cluster, effort.gates, &mut table).await?;
        table.print("kubernetes")
    })
}
