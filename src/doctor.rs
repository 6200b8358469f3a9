//! What is wrong with an install, and the cure of each thing.
//!
//! The asking is apart from the judging: `asking` reads a cluster into a [`scene::Scene`], `request` sends requests to a route of
//! the user's, and everything else is pure: objects in, findings out. Nothing is ever written.

pub mod asking;
pub mod finding;
pub mod probe;
pub mod request;
pub mod scene;

mod ambient;
mod certificate;
mod conditions;
mod custom;
mod envoy_gateway;
mod gateway_api;
mod install;
mod istio;
mod keys;
mod mesh_config;
mod namespaces;
mod pods;
mod policies;
mod webhooks;

#[cfg(test)]
mod tests;

use self::finding::{Check, Finding};
use self::scene::{Gap, Mesh, Scene};

/// Everything that is to be said of a cluster.
pub fn judge(scene: &Scene) -> Vec<Finding> {
    let mut findings = install::judge(scene);
    findings.extend(namespaces::judge(scene));
    findings.extend(pods::judge(scene));
    findings.extend(webhooks::judge(scene));
    findings.extend(policies::judge(scene));
    findings.extend(keys::judge(scene));
    for mesh in &scene.meshes {
        findings.extend(match mesh {
            Mesh::Istio => istio::judge(scene),
            Mesh::EnvoyGateway => envoy_gateway::judge(scene),
            Mesh::GatewayApi => gateway_api::judge(scene),
            // Its configuration is in files, which nobody can see from here; `--url` tells what it does.
            Mesh::Envoy => Vec::new(),
        });
    }
    findings.extend(scene.gaps.iter().map(unseen));
    findings
}

/// What could not be looked at.
fn unseen(gap: &Gap) -> Finding {
    let what = gap.describe();
    if gap.is_refused {
        let cure = format!(
            "grant {} {} {} to whoever runs this, or leave these checks to somebody who may",
            gap.verb,
            gap.kind.resource(),
            gap.place()
        );
        return Finding::unknown(gap.check, what, format!("may not be read: {}", gap.why), cure);
    }
    let cure = "see whether the API server is well: kubectl get --raw /readyz".to_owned();
    Finding::unknown(gap.check, what, format!("could not be read: {}", gap.why), cure)
}

/// The name that finds a check in docs/troubleshooting.md.
pub fn labels() -> impl Iterator<Item = &'static str> {
    Check::ALL.into_iter().map(Check::label)
}
