//! `jwt.header` with another name: what a client forges under it never arrives, and what we mint does, where the proxy's file
//! names it in each of its places (docs/install.md).

use anyhow::{Result, ensure};
use e2e::envoy::EnvoyConfig;
use e2e::tools::EnvoyVersion;
use serde_json::{Value, json};

use crate::attacks::{Setting, Shot, Town, Who};
use crate::attacks_headers::spellings;
use crate::on_each_envoy;

on_each_envoy! {
    p07_a_renamed_jwt_header_comes_from_us_alone => renamed;
    p07_a_renamed_jwt_header_that_the_check_may_not_set_does_not_come_at_all => half;
}

const HEADER: &str = "x-user-jwt";
const SHIPPED: &str = "x[^a-z0-9]session[^a-z0-9].*";
const RENAMED: &str = "x[^a-z0-9](session[^a-z0-9].*|user[^a-z0-9]jwt)";
const CHECK: &str = "envoy.filters.http.ext_authz";
const CHECK_RULES: &str = "/decoder_header_mutation_rules/allow_expression/regex";

/// Writes the new name beside the old pattern wherever that stands; answers in how many places.
fn rename(it: &mut Value) -> usize {
    match it {
        Value::String(text) if text.contains(SHIPPED) => {
            *text = text.replace(SHIPPED, RENAMED);
            1
        }
        Value::Array(items) => items.iter_mut().map(rename).sum(),
        Value::Object(fields) => fields.values_mut().map(rename).sum(),
        _ => 0,
    }
}

fn told(config: &mut EnvoyConfig) -> Result<()> {
    // Early mutation, four lists of the filter, and what the check may touch.
    ensure!(rename(config.at("")?) == 6, "the shipped file has other places than docs/install.md says");
    Ok(())
}

async fn town() -> Result<Town> {
    Town::with(|mut options| {
        options.config["jwt"] = json!({ "header": HEADER });
        options
    })
    .await
}

/// A request of each for a page of everybody's and one of theirs, with the header forged in every spelling.
fn shots() -> Vec<Shot> {
    let mut shots = Vec::new();
    for name in spellings(HEADER) {
        for (who, target) in [(Who::Nobody, "/public"), (Who::Nobody, "/maybe"), (Who::Customer, "/x")] {
            shots.push(Shot::get(who, target).field(&name, "forged"));
        }
    }
    shots.push(Shot::get(Who::Customer, "/x"));
    shots
}

async fn renamed(version: EnvoyVersion) -> Result<()> {
    let town = town().await?;
    for setting in Setting::all(version) {
        let (wall, shots) = (town.wall_with(setting, told).await?, shots());
        let outcome = wall.attack(&town, &shots).await?;
        ensure!(outcome.arrived.len() > shots.len() / 3, "{setting:?}: {} arrived", outcome.arrived.len());
        ensure!(outcome.arrived.contains_key(&(shots.len() - 1)));
        for (case, seen) in outcome.arrived.iter().flat_map(|(case, all)| all.iter().map(move |seen| (*case, seen))) {
            let found = seen.header_readings(HEADER);
            let ours = found.iter().filter(|value| value.split('.').count() == 3).count();
            let want = usize::from(shots[case].who == Who::Customer);
            let name = shots[case].describe();
            ensure!((found.len(), ours) == (want, want), "{setting:?}: {name}: {found:?}");
            ensure!(
                seen.header_readings("x-session-jwt").is_empty() && !seen.contains("forged"),
                "{setting:?}: {name}"
            );
        }
    }
    Ok(())
}

/// Who forgets it in the rules of the check: Envoy refuses what the check may not touch, and the service sees nobody.
async fn half(version: EnvoyVersion) -> Result<()> {
    let town = town().await?;
    for setting in Setting::all(version) {
        let wall = town.wall_with(setting, |config| {
            let shipped = config.at_filter(CHECK, CHECK_RULES)?.clone();
            told(config)?;
            *config.at_filter(CHECK, CHECK_RULES)? = shipped;
            Ok(())
        });
        let (wall, shots) = (wall.await?, shots());
        let outcome = wall.attack(&town, &shots).await?;
        for seen in outcome.arrived.values().flatten() {
            ensure!(seen.header_readings(HEADER).is_empty() && !seen.contains("forged"), "{setting:?}: {seen:?}");
        }
    }
    Ok(())
}
