//! What an archive promises to those who load it.

use std::collections::BTreeMap;
use std::io::Read as _;

use super::*;

fn sample() -> Image {
    let image = Image::new("cloakroom:1.2.3").entry_point(&["/cloakroom"]).label("a", "b");
    image.program("/cloakroom", Path::new("/proc/self/comm")).file("/etc/ssl/certs/ca-certificates.crt", "PEM")
}

fn read(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = std::fs::File::open(archive).expect("written");
    let mut tar = tar::Archive::new(file);
    let entries = tar.entries().expect("a tar");
    let named = entries.map(|entry| {
        let mut entry = entry.expect("whole");
        assert_eq!(entry.header().mtime().expect("a time"), 0);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("whole");
        (entry.path().expect("a path").display().to_string(), content)
    });
    named.collect()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn every_name_leads_to_what_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = sample().write(&folder.path().join("deep/image.tar")).expect("made");
    let files = read(&made.archive);
    let blob = |digest: &Value| {
        let digest = digest.as_str().expect("a digest");
        let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(archive::digest(content), digest);
        content.clone()
    };
    let index = json(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], made.digest);
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "docker.io/library/cloakroom:1.2.3");
    let manifest = json(&blob(&entry["digest"]));
    let config = json(&blob(&manifest["config"]["digest"]));
    assert_eq!(config["config"]["User"], NOBODY);
    assert_eq!(config["config"]["Entrypoint"][0], "/cloakroom");
    let mut layer = Vec::new();
    let packed = blob(&manifest["layers"][0]["digest"]);
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut layer).expect("gzip");
    assert_eq!(config["rootfs"]["diff_ids"][0], archive::digest(&layer));
    let saved = json(&files["manifest.json"]);
    assert_eq!(saved[0]["RepoTags"][0], "cloakroom:1.2.3");
    assert!(files.contains_key(saved[0]["Config"].as_str().expect("a path")));

    let mut tar = tar::Archive::new(layer.as_slice());
    let entries = tar.entries().expect("a tar").map(|it| it.expect("whole"));
    let told: Vec<_> = entries
        .map(|it| (it.path().expect("a path").display().to_string(), it.header().mode().expect("a mode")))
        .collect();
    let want = [
        ("cloakroom", 0o755),
        ("etc/", 0o755),
        ("etc/ssl/", 0o755),
        ("etc/ssl/certs/", 0o755),
        ("etc/ssl/certs/ca-certificates.crt", 0o644),
    ];
    let told: Vec<_> = told.iter().map(|(path, mode)| (path.as_str().trim_end_matches('/'), *mode)).collect();
    assert_eq!(told, want.map(|(path, mode)| (path.trim_end_matches('/'), mode)));
}

#[test]
fn the_same_files_are_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = ["one.tar", "two.tar"].map(|name| sample().write(&folder.path().join(name)).expect("made"));
    let [one, two] = made.map(|it| std::fs::read(it.archive).expect("there"));
    assert!(one == two);
}

#[test]
fn references_are_those_of_containerd() {
    for (reference, want) in [
        ("cloakroom:1", "docker.io/library/cloakroom:1"),
        ("team/cloakroom:1", "docker.io/team/cloakroom:1"),
        ("registry.example/cloakroom:1", "registry.example/cloakroom:1"),
        ("localhost/cloakroom:1", "localhost/cloakroom:1"),
    ] {
        assert_eq!(Image::new(reference).full_reference(), want);
    }
}
