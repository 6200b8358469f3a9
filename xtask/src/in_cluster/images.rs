//! The images of the story, made from programs of this machine: no registry is asked.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::image::{self, Image, Made};
use e2e::tools;

use crate::image::Build;
use crate::{cargo, image as own_image, terminal};

/// None of these names can be pulled from anywhere.
const REGISTRY: &str = "cloakroom.localhost";

pub(super) struct Images {
    pub(super) cloakroom: Made,
    /// Envoy, with what tells it to finish.
    pub(super) envoy: Made,
    /// The shop, the log-in service, and the client.
    pub(super) pod: Made,
    pub(super) redis: Made,
}

impl Images {
    pub(super) fn all(&self) -> [&Made; 4] {
        [&self.cloakroom, &self.envoy, &self.pod, &self.redis]
    }
}

pub(super) fn build(release: bool) -> Result<Images> {
    terminal::heading("Building the images");
    let build = if release { Build::Static("release") } else { Build::Ordinary };
    let folder = tools::workspace().join("target/image");
    let cloakroom = own_image::make(&build, &format!("{REGISTRY}/cloakroom:e2e"), Some(&folder.join("e2e.tar")))?;
    let made = cargo::build(["build", "--package", "e2e", "--bin", "e2e-pod"])?;
    let pod = made.into_iter().find(|it| it.name == "e2e-pod").context("cargo made no program `e2e-pod`")?.path;
    // Its client of HTTP wants to know whom it trusts, even where it speaks no TLS.
    let with_pod = |image: Image| -> Result<Image> {
        Ok(image.linked("/usr/bin/e2e-pod", &pod)?.file(own_image::CERTIFICATES, image::certificates()?).uncompressed())
    };
    let envoy = with_pod(image::envoy(&format!("{REGISTRY}/envoy:e2e"))?)?;
    let redis = image::redis(&format!("{REGISTRY}/redis:e2e"))?.uncompressed();
    let pod = with_pod(Image::new(&format!("{REGISTRY}/pod:e2e")).entry_point(&["/usr/bin/e2e-pod"]))?;
    Ok(Images {
        cloakroom,
        envoy: envoy.write(&folder.join("envoy.tar"))?,
        pod: pod.write(&folder.join("pod.tar"))?,
        redis: redis.write(&folder.join("redis.tar"))?,
    })
}

/// Gives an image to a cluster that is not ours.
pub(super) fn load(command: &str, image: &Made) -> Result<()> {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().context("--load names no command")?);
    let status = command.args(words).arg(&image.archive).stdin(Stdio::null()).status()?;
    ensure!(status.success(), "the command of --load {status}");
    Ok(())
}
