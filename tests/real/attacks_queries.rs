//! Query parameters that a rule names: no careless reading of what arrives may be one that the sender was not allowed (P3).

use anyhow::{Result, ensure};
use e2e::tools::EnvoyVersion;

use crate::attacks::{Shot, Town, Who, Wire};
use crate::on_each_envoy;

on_each_envoy! {
    p03_no_wrong_reading_of_a_query_is_served => queries;
}

/// Ways to write a target so that some server finds the parameter `full=1` at `/public/report`.
const TRICKS: [&str; 34] = [
    "/public/report?full=1",
    "/public/report/x?full=1",
    "/public/report?a=2&full=1",
    "/public/report?full=0&full=1",
    "/public/report?full=1&full=0",
    "/public/report?a=2;full=1",
    "/public/report?Full=1",
    "/public/report?f%75ll=1",
    "/public/report?f%2575ll=1",
    "/public/report?full=%31",
    "/public/report?full=%2531",
    "/public/report?full[]=1",
    "/public/report?a=2%26full=1",
    "/public/report%3Ffull=1",
    "/public/report%3ffull=1",
    "/public/report%253Ffull=1",
    "/public/report%253ffull%253d1",
    "/public/report%3Ffull%3D1",
    "/public/report%3F%66ull=1",
    "/public/report%3FFULL=1",
    "/public/report/%3Ffull=1",
    "/public/report/x%3Ffull=1",
    "/public/report%3Fa=2%26full=1",
    "/public/report%3Fa=2&full=1",
    "/public/report%3Fa=2;full=1",
    "/public/report%3Ffull=1?full=0",
    "/public/report%3Fa=2?full=1",
    "/public/report%3F?full=1",
    "/public/report%23?full=1",
    "/public/report%3Ffull=1%23",
    "/public/report;x%3Ffull=1",
    "/public/report.json?full=1",
    "/public/report/?full=1",
    "/public%2freport%3Ffull=1",
];

/// Ways to write a target so that some server does not find `part=1` at `/brief`, where without it a session is needed.
const HIDDEN: [&str; 10] = [
    "/brief",
    "/brief?part=2",
    "/brief?part=1&part=2",
    "/brief?Part=1",
    "/brief?a=2;part=1",
    "/brief%3Fx?part=1",
    "/brief/%3F?part=1",
    "/brief%23?part=1",
    "/brief/%23?part=1",
    "/brief%253F?part=1",
];

const PASS: [&str; 8] = [
    "/public/report",
    "/public/report?full=0",
    "/public/report?a=1",
    "/public/report%3F",
    "/public/report/What%3F?a=1",
    "/public/C%23?full=1",
    "/public/What%3Ffull=1",
    "/brief?part=1",
];

async fn queries(version: EnvoyVersion) -> Result<()> {
    let town = Town::found().await?;
    let mut shots = Vec::new();
    for target in TRICKS {
        for who in [Who::Nobody, Who::Customer] {
            shots.extend([Wire::Http1, Wire::Http2].map(|wire| Shot::get(who, target).over(wire)));
        }
    }
    shots.extend(HIDDEN.map(|target| Shot::get(Who::Nobody, target)));
    let refused = shots.len();
    shots.extend(PASS.map(|target| Shot::get(Who::Nobody, target)));
    shots.push(Shot::get(Who::Admin, TRICKS[0]));
    for wall in town.walls(version).await? {
        let outcome = wall.attack(&town, &shots).await?;
        for (case, shot) in shots.iter().enumerate() {
            let arrived = outcome.arrived.contains_key(&case);
            ensure!(arrived == (case >= refused), "{:?}: {}: arrived {arrived}", wall.setting, shot.describe());
        }
    }
    Ok(())
}
