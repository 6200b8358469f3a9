//! What is not there yet: rights, kinds, objects that read.

use anyhow::{Context as _, Result, ensure};
use e2e::gate::Cloakroom;
use e2e::process::wait_until;

use crate::house::{self, PATIENCE, comes_to, public, readyz};
use crate::load::Load;

async fn waits_for(gate: &Cloakroom, words: &str) -> Result<()> {
    let says = async || {
        let ready = readyz(gate).await.unwrap_or_default();
        ready["reasons"]["policies"].as_str().is_some_and(|reason| reason.contains(words))
    };
    wait_until(PATIENCE, words, says).await.with_context(|| gate.output().tail(30))
}

#[tokio::test(flavor = "multi_thread")]
async fn p29_nothing_is_in_force_before_all_of_it_has_been_told() -> Result<()> {
    let server = house::bare_server().await?;
    let gate = Cloakroom::begin(house::options(&server)?).await?;
    // No rights at all.
    waits_for(&gate, "is forbidden").await?;
    ensure!(house::status(&gate, "a.example").await? == 503);
    // The rights, and no kind of ours: it is not a loop of errors.
    server.apply(house::GRANT).await?;
    waits_for(&gate, "does not know this kind: apply the files of crds/").await?;
    ensure!(house::status(&gate, "a.example").await? == 503);
    ensure!(!gate.is_ready().await);
    // The kind. IdentityProvider is still not there, and none is needed.
    server.apply(house::OUR_KINDS).await?;
    server.apply(&public("a")).await?;
    comes_to(&gate, "a.example", 200).await?;
    wait_until(PATIENCE, "readiness", async || gate.is_ready().await).await?;
    let lines = gate.output().lines();
    let about = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    ensure!(about("a kind of policy objects is not there") <= 2, "each is said once");
    ensure!(about("the API server cannot be followed") <= 6, "each is said once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn p26_an_object_that_does_not_read_is_its_own_trouble() -> Result<()> {
    let server = house::server().await?;
    let gate = Cloakroom::spawn(house::options(&server)?).await?;
    let load = Load::begin(&server, &gate).await?;
    server.apply(&public("a")).await?;
    comes_to(&gate, "a.example", 200).await?;
    for (i, bad) in
        ["spec: 42", "spec: { hosts: 7 }", "spec: { hosts: [a.example], rulez: [] }", "spec: {}"].iter().enumerate()
    {
        let head = "apiVersion: cloakroom.dev/v1alpha1\nkind: AuthPolicy\nmetadata: { name: a, namespace: shop }\n";
        server.apply(&format!("{head}{bad}\n")).await?;
        let other = format!("other-{i}");
        server.apply(&public(&other)).await?;
        comes_to(&gate, &format!("{other}.example"), 200).await?;
        house::says(&gate, "AuthPolicy shop/a", i + 1).await?;
        ensure!(house::status(&gate, "a.example").await? == 200, "its last good form is in force: {bad}");
        ensure!(house::metric(&gate, "cloakroom_policy_problems").await? >= 1.0);
    }
    // What `policy check` says of the cluster is what the gate says.
    let kubeconfig = server.kubeconfig(house::GATE)?;
    let arguments = ["policy", "check", "--kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()];
    let error = format!("{:#}", gate.command(&arguments).unwrap_err());
    ensure!(error.contains("1 problem"), "{error}");
    house::delete(&server, "a").await?;
    let told = gate.command(&arguments)?;
    ensure!(told.contains("5 policies with"), "{told}");
    comes_to(&gate, "a.example", 403).await?;
    load.end().await
}
