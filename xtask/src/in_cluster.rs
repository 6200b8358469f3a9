//! `cargo xtask e2e`: cloakroom installed in a cluster as a user installs it, and what becomes of requests.

mod client;
mod images;
mod install;
mod kube;
mod objects;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use e2e::cluster::{self, Cluster, Life};

use self::images::Images;
use self::kube::Kube;
use self::story::Story;
use crate::{cluster as own_cluster, terminal};

/// The namespace of the install. Not the usual one: this may be a cluster of somebody's.
const INSTALL: &str = "cloakroom-e2e-system";
/// The namespace of the shop.
const SHOP: &str = "cloakroom-e2e-shop";
/// Of the requests during the restart of everything, none may fail.
const REQUESTS: usize = 100_000;

#[derive(Args)]
pub(crate) struct Options {
    /// A cluster that is there. Without one it is that of `cargo xtask cluster up`; where that is not up, it is made, and
    /// taken away in the end.
    #[arg(long, value_name = "FILE", requires = "load")]
    kubeconfig: Option<PathBuf>,
    /// How that cluster gets an image: a command to which the path of an archive is added, as in `kind load image-archive`.
    #[arg(long, value_name = "COMMAND", requires = "kubeconfig")]
    load: Option<String>,
    /// Leaves everything as it is in the end.
    #[arg(long)]
    keep: bool,
    /// The release build, static, as it is shipped. Otherwise the program is built as tests build it.
    #[arg(long)]
    release: bool,
    /// How many requests are sent during the restart of everything.
    #[arg(long, default_value_t = REQUESTS)]
    requests: usize,
}

/// Where it happens.
enum Stage {
    /// The cluster of this machine, and whether it was there before.
    Own { cluster: Cluster, was_up: bool },
    /// Another one, and how it gets images.
    Foreign { kubeconfig: PathBuf, load: String },
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let images = images::build(options.release)?;
    let began = Instant::now();
    let stage = set(options)?;
    let told = tell(options, &stage, &images, began);
    if let Stage::Own { was_up: false, .. } = stage
        && !options.keep
    {
        cluster::down()?;
    }
    let (passed, failed) = told?;
    terminal::heading(&format!("{passed} passed, {failed} failed"));
    Ok(if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(options: &Options, stage: &Stage, images: &Images, began: Instant) -> Result<(usize, usize)> {
    let kubeconfig = match stage {
        Stage::Own { cluster, .. } => cluster.kubeconfig(),
        Stage::Foreign { kubeconfig, .. } => kubeconfig.clone(),
    };
    let kube = Kube::new(e2e::tools::kubectl()?, e2e::tools::helm()?, kubeconfig)?;
    for namespace in [INSTALL, SHOP] {
        ensure!(!kube.has(&["namespace", namespace])?, "there is a namespace {namespace} already: delete it first");
    }
    let had_kinds = install::has_kinds(&kube)?;

    terminal::heading("Loading the images");
    for image in images.all() {
        match stage {
            Stage::Own { cluster, .. } => cluster.load(image)?,
            Stage::Foreign { load, .. } => images::load(load, image)?,
        }
        terminal::detail(&format!("     {} ({} MB)", image.reference, image.size / 1_000_000));
    }
    let (release, requests) = (options.release, options.requests);
    let mut story = Story { kube: &kube, images, release, requests, chapter: 0, passed: 0, failed: 0 };
    if let Err(error) = story.tell(began) {
        story.failed += 1;
        terminal::bad(&format!("{error:#}"));
        kube.tell_trouble(&[INSTALL, SHOP]);
    }
    if options.keep {
        terminal::line(&format!("\nKept: export KUBECONFIG={}", kube.kubeconfig().display()));
        terminal::line("`cargo xtask cluster down` takes a cluster of this machine away.");
    } else {
        install::clear(&kube, had_kinds)?;
        if let Stage::Own { was_up: false, cluster } = stage {
            story.crash(cluster)?;
        }
    }
    Ok((story.passed, story.failed))
}

fn set(options: &Options) -> Result<Stage> {
    if let (Some(kubeconfig), Some(load)) = (&options.kubeconfig, &options.load) {
        return Ok(Stage::Foreign { kubeconfig: kubeconfig.clone(), load: load.clone() });
    }
    if let Some(cluster) = cluster::running()? {
        terminal::heading("In the cluster that is up");
        return Ok(Stage::Own { cluster, was_up: true });
    }
    terminal::heading("Making a cluster");
    let life = if options.keep { Life::UntilDown } else { Life::OurOwn };
    let began = Instant::now();
    let cluster = tokio::runtime::Runtime::new()?.block_on(own_cluster::start(life))?;
    terminal::detail(&format!("     the node is ready after {:.0} s", began.elapsed().as_secs_f64()));
    Ok(Stage::Own { cluster, was_up: false })
}
