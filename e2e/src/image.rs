//! Container images made by a few lines, without an engine and without a registry.
//!
//! An image is one layer, a configuration and a manifest, in a tar archive that is both an OCI layout and what `docker save`
//! writes: `docker load`, `podman load`, `ctr images import` and `skopeo copy oci-archive:` take it. The same files give the
//! same bytes, whenever and wherever it is made.

mod archive;
mod content;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::archive::{Archive, Blob};
pub use self::content::{certificates, envoy, is_static, pause, redis};

/// What runs as nobody in particular, and owns nothing.
pub const NOBODY: &str = "65532:65532";

/// An image to be made.
pub struct Image {
    reference: String,
    entry_point: Vec<String>,
    user: String,
    compressed: bool,
    labels: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, Entry>,
}

/// What lies at a path. Folders are made where something lies in them.
enum Entry {
    /// A file of this machine.
    Copy { from: PathBuf, mode: u32 },
    /// A file with these bytes.
    Bytes { content: Vec<u8>, mode: u32 },
}

/// An image that was made.
pub struct Made {
    /// `name:tag`, under which an engine knows it once it is loaded.
    pub reference: String,
    /// The archive.
    pub archive: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Of the manifest: `sha256:…`, by which a registry and an engine know the image.
    pub digest: String,
}

impl Image {
    /// Nothing yet, for [`NOBODY`].
    pub fn new(reference: &str) -> Self {
        Self {
            reference: reference.to_owned(),
            entry_point: Vec::new(),
            user: NOBODY.to_owned(),
            compressed: true,
            labels: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// With the program that it runs.
    #[must_use]
    pub fn entry_point(mut self, words: &[&str]) -> Self {
        self.entry_point = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Larger, and made in a fraction of the time: for images that stay on this machine.
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.compressed = false;
        self
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a program of this machine.
    #[must_use]
    pub fn program(self, path: &str, from: &Path) -> Self {
        self.entry(path, Entry::Copy { from: from.to_owned(), mode: 0o755 })
    }

    /// With a file that everybody may read.
    #[must_use]
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.entry(path, Entry::Bytes { content: content.into(), mode: 0o644 })
    }

    fn entry(mut self, path: &str, entry: Entry) -> Self {
        self.files.insert(PathBuf::from(path.trim_start_matches('/')), entry);
        self
    }

    /// Makes it. The archive appears whole or not at all.
    ///
    /// # Errors
    /// When a file cannot be read, or the archive not be written.
    pub fn write(&self, archive: &Path) -> Result<Made> {
        let (layer, unpacked) = self.layer()?;
        let layer = Blob::new(layer);
        let config = Blob::new(self.config(&unpacked).to_string());
        let manifest = Blob::new(self.manifest(&config, &layer).to_string());
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest.digest(),
                "size": manifest.size(),
                "annotations": {
                    "io.containerd.image.name": self.full_reference(),
                    "org.opencontainers.image.ref.name": self.tag(),
                },
                "platform": { "architecture": architecture(), "os": "linux" },
            }],
        });
        // What engines read that know the OCI layout not.
        let saved = json!([{ "Config": config.path(), "RepoTags": [self.reference], "Layers": [layer.path()] }]);
        let mut whole = Archive::default();
        for blob in [&layer, &config, &manifest] {
            whole.file(Path::new(&blob.path()), blob.content(), 0o644)?;
        }
        whole.file(Path::new("index.json"), index.to_string().as_bytes(), 0o644)?;
        whole.file(Path::new("manifest.json"), saved.to_string().as_bytes(), 0o644)?;
        whole.file(Path::new("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
        let bytes = whole.finish()?;

        let folder = archive.parent().context("an archive lies in a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let partial = tempfile::NamedTempFile::new_in(folder)?;
        std::fs::write(partial.path(), &bytes)?;
        partial.persist(archive).with_context(|| format!("cannot write {}", archive.display()))?;
        let size = u64::try_from(bytes.len())?;
        let (reference, archive) = (self.reference.clone(), archive.to_owned());
        Ok(Made { reference, archive, size, digest: manifest.digest() })
    }

    /// The layer, and the digest of what it is unpacked.
    fn layer(&self) -> Result<(Vec<u8>, String)> {
        let mut layer = Archive::default();
        for (path, entry) in &self.files {
            match entry {
                Entry::Copy { from, mode } => {
                    let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
                    layer.file(path, &content, *mode)?;
                }
                Entry::Bytes { content, mode } => layer.file(path, content, *mode)?,
            }
        }
        let bytes = layer.finish()?;
        let digest = archive::digest(&bytes);
        Ok((if self.compressed { archive::compress(&bytes)? } else { bytes }, digest))
    }

    fn config(&self, unpacked: &str) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            // Not when it was made: the same files are the same image.
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "User": self.user,
                "Entrypoint": self.entry_point,
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [unpacked] },
            "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image" }],
        })
    }

    fn manifest(&self, config: &Blob, layer: &Blob) -> Value {
        let packing = if self.compressed { "+gzip" } else { "" };
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest(),
                "size": config.size(),
            },
            "layers": [{
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar{packing}"),
                "digest": layer.digest(),
                "size": layer.size(),
            }],
        })
    }

    fn tag(&self) -> &str {
        self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag)
    }

    /// As containerd wants it: what names no registry is Docker's.
    fn full_reference(&self) -> String {
        let registry = self.reference.split_once('/').map(|(first, _)| first);
        if registry.is_some_and(|it| it.contains(['.', ':']) || it == "localhost") {
            return self.reference.clone();
        }
        let library = if registry.is_some() { "" } else { "library/" };
        format!("docker.io/{library}{}", self.reference)
    }
}

/// As images call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
