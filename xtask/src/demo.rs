//! `cargo xtask demo`: the scene, the story, and then the stage is yours.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use e2e::stage::{HOST, Stage};
use e2e::tools::{self, EnvoyVersion};
use tokio::signal::unix::SignalKind;

use crate::{cargo, story, terminal};

#[derive(Args)]
pub(crate) struct Options {
    /// Tells the story, checks each step, and ends: 0 if all was as it should be.
    #[arg(long)]
    once: bool,
    /// The port of loopback where Envoy listens; the kernel chooses one unless told.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    terminal::heading("Building cloakroom");
    let binary = cargo::build_cloakroom()?;
    terminal::heading("Finding Envoy");
    let envoy = tools::envoy(EnvoyVersion::Newest)?;
    terminal::line(&format!("Envoy {}: {}", EnvoyVersion::Newest.number(), envoy.display()));

    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let stage = Stage::set(binary, EnvoyVersion::Newest, options.port).await?;
        scene(&stage);
        let missed = story::tell(&stage).await?;
        ensure!(missed == 0, "{missed} checks of the story did not hold; cloakroom wrote:\n{}", stage.gate.output().tail(40));
        if options.once {
            terminal::heading("All as it should be.");
            return Ok(ExitCode::SUCCESS);
        }
        your_turn(&stage);
        let mut terminated = tokio::signal::unix::signal(SignalKind::terminate())?;
        tokio::select! {
            signal = tokio::signal::ctrl_c() => signal.context("waiting for Ctrl-C")?,
            _ = terminated.recv() => {}
            () = a_part_ends(&stage) => anyhow::bail!("a part of the demo ended; cloakroom wrote:\n{}", stage.gate.output().tail(20)),
        }
        terminal::line("\nclosing");
        Ok(ExitCode::SUCCESS)
    })
}

async fn a_part_ends(stage: &Stage) {
    while stage.gate.process().ended().is_none() && stage.envoy.process().ended().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

fn scene(stage: &Stage) {
    terminal::heading("On stage");
    terminal::line(&format!("  you -> Envoy   {}", stage.origin()));
    terminal::line("          | asks  cloakroom, by a socket file: may this pass, and who is it?");
    terminal::line("          |       and on the way back: what becomes of the session?");
    terminal::line(&format!(
        "          + -> the shop and a log-in service (policies: {})",
        stage.gate.folder().join("policies").display()
    ));
}

fn your_turn(stage: &Stage) {
    let origin = stage.origin();
    let port = stage.address().port();
    let folder = stage.gate.folder().display();
    terminal::heading("Your turn (Ctrl-C ends it)");
    terminal::line("In another terminal:\n");
    for command in [
        format!(
            "shop() {{ curl -sS --cacert {folder}/ca.pem --resolve {HOST}:{port}:127.0.0.1 -b {folder}/jar -c {folder}/jar \"$@\"; echo; }}"
        ),
        format!("shop -i {origin}/cart                                        # 401: no ticket"),
        format!("shop -i -d user=bob -d password=builder {origin}/login       # a cookie: the ticket"),
        format!("shop {origin}/cart                                           # what the shop knows of bob"),
        format!("shop -o /dev/null -d item=tea {origin}/cart                  # the shop changes the session ..."),
        format!("shop {origin}/cart                                           # ... and the next JWT knows"),
        format!("shop -i {origin}/admin                                       # 403: not for bob"),
        format!("shop -H 'x-session-jwt: forged' {origin}/cart                # still bob"),
        format!("shop -i -X POST {origin}/logout                              # the session ends"),
        format!("shop -i {origin}/cart                                        # 401 at once"),
        format!(
            "ticket=$(shop -d user=bob -d password=builder {origin}/exchange | cut -d'\"' -f4)   # JWT in, ticket out"
        ),
        format!("shop -H \"Authorization: Bearer $ticket\" {origin}/cart        # a program's way"),
    ] {
        terminal::line(&format!("  {command}"));
    }
    terminal::line(&format!(
        "\nIn a browser: {origin}/ (it does not know the demo's CA: accept it, or import {folder}/ca.pem)"
    ));
    terminal::line("People: ada/lovelace may see /admin, bob/builder may not.");
    terminal::line(&format!(
        "\nBehind the scenes:\n  curl -s {}                 # the keys that services verify with",
        stage.gate.jwks_url()
    ));
    terminal::line(&format!(
        "  curl -s -H \"Authorization: Bearer $(cat {folder}/admin.token)\" 'http://{}/v1/sessions?subject=bob'",
        stage.gate.sessions()
    ));
    terminal::line(&format!(
        "  curl -s http://{}/metrics | grep -E 'verdicts_total|responses_total' | grep -v ' 0$'",
        stage.gate.health()
    ));
    terminal::line(&format!(
        "  edit {folder}/policies/shop.yaml                              # policies are read again at once"
    ));
}
